//! Dates and times as PostgreSQL's binary form has them: days, and microseconds, since 2000. The
//! texts have passed `strict`, so their form is known; whether there is such a day is found out
//! here, by the rules of the server's own reader (`ParseDateTime`, `DecodeTime`).

const NO_DAY: &str = "there is no such day";
const NO_TIME: &str = "there is no such time of day";
const NO_ZONE: &str = "there is no such time zone displacement";
const BEYOND: &str = "the time is beyond the range of the column's type";

const DAY_MICROS: i64 = 86_400_000_000;
/// Days from 1970 to 2000.
const EPOCH_DAYS: i64 = 10_957;
/// The first day there is, 4714-11-24 BC, and the last one of a date.
const FIRST_DAY: i64 = -2_451_545;
const LAST_DAY: i64 = 2_145_031_948;
/// The first microsecond after the last timestamp, 294276-12-31.
const END_MICROS: i64 = 9_223_371_331_200_000_000;

/// Days since 2000-01-01.
pub fn date(text: &str) -> Result<i32, &'static str> {
    match text {
        "infinity" => return Ok(i32::MAX),
        "-infinity" => return Ok(i32::MIN),
        _ => {}
    }
    let (text, before_christ) = without_era(text);
    let days = day(text, before_christ)?;
    match days {
        FIRST_DAY..=LAST_DAY => i32::try_from(days).map_err(|_| BEYOND),
        _ => Err(BEYOND),
    }
}

/// Microseconds since midnight.
pub fn time(text: &str) -> Result<i64, &'static str> {
    clock(text)
}

/// Microseconds since 2000-01-01 00:00, in UTC where a zone is in the text.
pub fn timestamp(text: &str) -> Result<i64, &'static str> {
    match text {
        "infinity" => return Ok(i64::MAX),
        "-infinity" => return Ok(i64::MIN),
        _ => {}
    }
    let (text, before_christ) = without_era(text);
    let (date, rest) = match text.split_once([' ', 'T']) {
        Some((date, rest)) => (date, rest),
        None => (text, ""),
    };
    let (time, zone) = rest.split_at(rest.find(['+', '-', 'Z', 'z']).unwrap_or(rest.len()));
    let days = day(date, before_christ)?;
    let micros = if time.is_empty() { 0 } else { clock(time)? };
    let shift = displacement(zone)? * 1_000_000;
    let since = days.checked_mul(DAY_MICROS).and_then(|since| since.checked_add(micros - shift));
    since.filter(|since| *since < END_MICROS && *since >= FIRST_DAY * DAY_MICROS).ok_or(BEYOND)
}

fn without_era(text: &str) -> (&str, bool) {
    match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    }
}

/// Days since 2000 of `2024-02-29`.
fn day(text: &str, before_christ: bool) -> Result<i64, &'static str> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<i64>().map_err(|_| NO_DAY));
    let mut part = || parts.next().unwrap_or(Err(NO_DAY));
    let (year, month, day) = (part()?, part()?, part()?);
    // The year before 1 is 1 BC.
    let astronomic = if before_christ { 1 - year } else { year };
    let leap =
        astronomic.rem_euclid(4) == 0 && (astronomic.rem_euclid(100) != 0 || astronomic.rem_euclid(400) == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1 || !(1..=12).contains(&month) || !(1..=length).contains(&day) {
        return Err(NO_DAY);
    }
    Ok(since_1970(astronomic, month, day) - EPOCH_DAYS)
}

/// Days since 1970-01-01 in the Gregorian calendar. Years begin in March here, so that the leap
/// day comes last.
fn since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Microseconds of `23:59`, `23:59:59` or `23:59:59.5`. Midnight may end a day, and a minute may
/// have a sixtieth second.
fn clock(text: &str) -> Result<i64, &'static str> {
    let number = |part: &str| part.parse::<i64>().map_err(|_| NO_TIME);
    let mut parts = text.splitn(3, ':');
    let (hour, minute) = (number(parts.next().unwrap_or(""))?, number(parts.next().unwrap_or(""))?);
    let (second, fraction) = match parts.next().unwrap_or("0").split_once('.') {
        Some((second, fraction)) => (number(second)?, fraction),
        None => (number(text.splitn(3, ':').nth(2).unwrap_or("0"))?, ""),
    };
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(6);
    let micros = digits.fold(0_i64, |micros, digit| micros * 10 + i64::from(digit.wrapping_sub(b'0') % 10));
    let total = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros;
    match hour <= 24 && minute <= 59 && second <= 60 && total <= DAY_MICROS {
        true => Ok(total),
        false => Err(NO_TIME),
    }
}

/// Seconds east of UTC of `Z`, `+02`, `+0230`, `-02:30` or `+02:30:15`; none is UTC.
fn displacement(text: &str) -> Result<i64, &'static str> {
    let Some(rest) = text.strip_prefix(['+', '-']) else { return Ok(0) };
    let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
    let pair =
        |at: usize| digits.get(at..at + 2).map_or(Ok(0), |pair| pair.parse::<i64>().map_err(|_| NO_ZONE));
    let (hours, minutes, seconds) = (pair(0)?, pair(2)?, pair(4)?);
    if hours > 15 || minutes > 59 || seconds > 59 {
        return Err(NO_ZONE);
    }
    let east = (hours * 60 + minutes) * 60 + seconds;
    Ok(if text.starts_with('-') { -east } else { east })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pg_15_binary_dates() {
        let known = [
            ("2000-01-01", 0),
            ("1999-12-31", -1),
            ("1970-01-01", -10_957),
            ("2000-03-01", 60),
            ("2024-02-29", 8825),
            ("0001-01-01", -730_119),
            ("0001-12-31 BC", -730_120),
            ("4714-11-24 BC", -2_451_545),
            ("5874897-12-31", 2_145_031_948),
            ("infinity", i32::MAX),
            ("-infinity", i32::MIN),
        ];
        for (text, days) in known {
            assert_eq!(date(text), Ok(days), "{text}");
        }
        for bad in [
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-04-31",
            "0000-01-01",
            "5874898-01-01",
            "4714-11-23 BC",
        ] {
            assert!(date(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pg_16_binary_times() {
        assert_eq!(time("00:00"), Ok(0));
        assert_eq!(time("01:02:03"), Ok(3_723_000_000));
        assert_eq!(time("23:59:59.000001"), Ok(DAY_MICROS - 999_999));
        assert_eq!(time("23:59:60"), Ok(DAY_MICROS));
        assert_eq!(time("24:00:00"), Ok(DAY_MICROS));
        assert_eq!(time("00:00:00.500000000"), Ok(500_000));
        for bad in ["24:00:01", "25:00:00", "10:60:00", "10:00:61", "23:59:60.5"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pg_18_binary_timestamps() {
        let hour = 3_600_000_000;
        assert_eq!(timestamp("2000-01-01 00:00:00"), Ok(0));
        assert_eq!(timestamp("2000-01-02"), Ok(DAY_MICROS));
        assert_eq!(timestamp("1999-12-31T23:00:00Z"), Ok(-hour));
        assert_eq!(timestamp("2000-01-01 02:00:00+02"), Ok(0));
        assert_eq!(timestamp("2000-01-01 00:00:00-0130"), Ok(hour * 3 / 2));
        assert_eq!(timestamp("2000-01-01 00:00:00.25+00:00:01"), Ok(-750_000));
        assert_eq!(timestamp("4714-11-24 00:00:00 BC"), Ok(-211_813_488_000_000_000));
        assert_eq!(timestamp("294276-12-31 23:59:59.999999"), Ok(END_MICROS - 1));
        assert_eq!(timestamp("infinity"), Ok(i64::MAX));
        for bad in [
            "294277-01-01",
            "4714-11-23 23:59:59 BC",
            "9999999-01-01",
            "2024-02-30 00:00:00",
            "2024-01-01 00:00:00+16",
        ] {
            assert!(timestamp(bad).is_err(), "{bad}");
        }
    }
}
