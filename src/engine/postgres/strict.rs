//! Texts that PostgreSQL reads as exactly what they say. Its own readers are generous: `now` is
//! a timestamp, a date drops a time behind it, a timestamp without zone drops the zone. Here only
//! forms pass that are kept whole; whether the day exists is the server's to say.

type Fit = Result<(), &'static str>;

/// `t`, `f`, `true`, `false`, `1`, `0`.
pub fn boolean(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "true" | "1" => Ok(true),
        "f" | "false" | "0" => Ok(false),
        _ => Err("the text is no boolean"),
    }
}

/// A whole number as it would be printed again.
pub fn integer(text: &str) -> Result<i128, &'static str> {
    let value: i128 = text.parse().map_err(|_| "the text is no whole number")?;
    match value.to_string() == text {
        true => Ok(value),
        false => Err("the text is a number with leading zeros or a plus sign, which would be lost"),
    }
}

/// A decimal number with no more digits behind the point than the column keeps.
pub fn decimal(text: &str, scale: Option<i32>) -> Fit {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return Ok(());
    }
    let digits = fraction_digits(text).ok_or("the text is no decimal number")?;
    match scale {
        Some(scale) if digits > i64::from(scale) => Err("the number has more decimals than the column keeps"),
        _ => Ok(()),
    }
}

/// Digits behind the point that are not trailing zeros; none where the text is no number.
fn fraction_digits(text: &str) -> Option<i64> {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    let all = format!("{whole}{fraction}");
    let zeros = all.len() - all.trim_end_matches('0').len();
    let behind = i64::try_from(fraction.len()).ok()? - i64::from(exponent) - i64::try_from(zeros).ok()?;
    Some(behind.max(0))
}

/// A floating point number.
pub fn float(text: &str) -> Fit {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return Ok(());
    }
    fraction_digits(text).map(|_| ()).ok_or("the text is no number")
}

/// Zeros and ones; PostgreSQL would also read a hexadecimal form.
pub fn bits(text: &str) -> Fit {
    let good = text.bytes().all(|byte| matches!(byte, b'0' | b'1'));
    good.then_some(()).ok_or("the text is no bit string")
}

/// 32 hexadecimal digits, with or without the usual hyphens.
pub fn uuid(text: &str) -> Fit {
    let bytes = text.as_bytes();
    let hyphen = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    let good = match bytes.len() {
        32 => bytes.iter().all(u8::is_ascii_hexdigit),
        36 => bytes.iter().enumerate().all(|(at, byte)| match hyphen(at) {
            true => *byte == b'-',
            false => byte.is_ascii_hexdigit(),
        }),
        _ => false,
    };
    good.then_some(()).ok_or("the text is no UUID")
}

/// `2024-02-29`, with ` BC`, or an infinity.
pub fn date(text: &str) -> Fit {
    if matches!(text, "infinity" | "-infinity") {
        return Ok(());
    }
    let text = text.strip_suffix(" BC").unwrap_or(text);
    match day(text) {
        Some("") => Ok(()),
        _ => Err("the text is no date in the form 2024-02-29"),
    }
}

/// `23:59`, `23:59:59`, `23:59:59.5`, with a zone where the type has one.
pub fn time(text: &str, precision: u8, zone: bool) -> Fit {
    let (fraction, rest) = clock(text).ok_or("the text is no time in the form 23:59:59")?;
    if fraction > precision.into() {
        return Err("the time has more decimals than the column keeps");
    }
    match (zone, rest, offset(rest)) {
        (false, "", _) | (true, _, true) => Ok(()),
        (false, ..) => Err("the time has something behind it that would be lost"),
        (true, ..) => Err("the time has no zone"),
    }
}

/// `2024-02-29 23:59:59.5` or with a `T`, or a date alone; says whether a zone follows.
pub fn timestamp(text: &str, precision: u8) -> Result<bool, &'static str> {
    const FORM: &str = "the text is no timestamp in the form 2024-02-29 23:59:59";
    if matches!(text, "infinity" | "-infinity") {
        // Has no need of a zone.
        return Ok(false);
    }
    let text = text.strip_suffix(" BC").unwrap_or(text);
    let rest = day(text).ok_or(FORM)?;
    if rest.is_empty() {
        return Ok(false);
    }
    let (fraction, rest) = rest.strip_prefix([' ', 'T']).and_then(clock).ok_or(FORM)?;
    if fraction > precision.into() {
        return Err("the timestamp has more decimals than the column keeps");
    }
    match rest {
        "" => Ok(false),
        rest if offset(rest) => Ok(true),
        _ => Err(FORM),
    }
}

/// Takes `2024-02-29`; what follows it.
fn day(text: &str) -> Option<&str> {
    let (year, rest) = digits(text, 4..=7)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2..=2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2..=2)?;
    (!year.is_empty() && !month.is_empty() && !day.is_empty()).then_some(rest)
}

/// Takes `23:59:59.50`; the digits of its fraction that count, and what follows.
fn clock(text: &str) -> Option<(usize, &str)> {
    let (_, rest) = digits(text, 2..=2)?;
    let (_, rest) = digits(rest.strip_prefix(':')?, 2..=2)?;
    let Some(seconds) = rest.strip_prefix(':') else { return Some((0, rest)) };
    let (_, rest) = digits(seconds, 2..=2)?;
    let Some(fraction) = rest.strip_prefix('.') else { return Some((0, rest)) };
    let (fraction, rest) = digits(fraction, 1..=30)?;
    Some((fraction.trim_end_matches('0').len(), rest))
}

/// `Z`, `+02`, `+0230`, `-02:30`, `+02:30:15`.
fn offset(text: &str) -> bool {
    if matches!(text, "Z" | "z") {
        return true;
    }
    let Some(text) = text.strip_prefix(['+', '-']) else { return false };
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    matches!(shape.as_str(), "00" | "0000" | "00:00" | "00:00:00")
}

/// Takes a run of digits whose number lies in `count`.
fn digits(text: &str, count: std::ops::RangeInclusive<usize>) -> Option<(&str, &str)> {
    let run = text.bytes().take_while(u8::is_ascii_digit).count();
    count.contains(&run).then(|| text.split_at(run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pg_15_dates() {
        for good in ["2024-02-29", "0044-03-15 BC", "infinity", "-infinity", "5874897-12-31"] {
            assert_eq!(date(good), Ok(()), "{good}");
        }
        for bad in
            ["now", "today", "2024-02-29 10:00:00", "20-01-01", "2024-2-9", "Feb 29 2024", "", "20240229"]
        {
            assert!(date(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pg_16_times() {
        for good in ["24:00:00", "23:59:59.999999", "00:00", "01:02:03.500000000"] {
            assert_eq!(time(good, 6, false), Ok(()), "{good}");
        }
        for bad in ["2024-01-01 10:00:00", "10:00:00+02", "10", "10:00 PM", "allballs", "01:02:03.1234567"] {
            assert!(time(bad, 6, false).is_err(), "{bad}");
        }
        assert_eq!(time("24:00:00+15:59:59", 6, true), Ok(()));
        assert!(time("24:00:00", 6, true).is_err());
    }

    #[test]
    fn pg_18_timestamps() {
        assert_eq!(timestamp("2024-02-29 23:59:59.5", 6), Ok(false));
        assert_eq!(timestamp("2024-02-29T23:59:59Z", 6), Ok(true));
        assert_eq!(timestamp("2024-02-29 23:59:59.5+00", 6), Ok(true));
        assert_eq!(timestamp("2024-02-29", 6), Ok(false));
        assert_eq!(timestamp("0044-03-15 00:00:00 BC", 6), Ok(false));
        assert_eq!(timestamp("294276-12-31 23:59:59.999999", 6), Ok(false));
        for bad in
            ["now", "epoch", "2024-01-01 10:00:00 Europe/Berlin", "2024-01-01 10:00:00 PM", "20240101T10"]
        {
            assert!(timestamp(bad, 6).is_err(), "{bad}");
        }
    }

    #[test]
    fn decimals() {
        for good in ["1", "-1.50", ".5", "5.", "1e3", "1.25e1", "100e-2"] {
            assert_eq!(decimal(good, Some(1)), Ok(()), "{good}");
        }
        for bad in ["", ".", "0x10", "1_000", " 1", "1 ", "1.25", "125e-2", "abc", "1e", "--1"] {
            assert!(decimal(bad, Some(1)).is_err(), "{bad}");
        }
        assert_eq!(decimal("1.23456789", None), Ok(()));
    }

    #[test]
    fn uuids_and_bits() {
        assert_eq!(uuid("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"), Ok(()));
        assert_eq!(uuid("a0eebc999c0b4ef8bb6d6bb9bd380a11"), Ok(()));
        assert!(uuid("{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}").is_err());
        assert!(bits("x1f").is_err());
        assert_eq!(bits("0101"), Ok(()));
    }
}
