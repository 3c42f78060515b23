//! Decimal numbers as PostgreSQL's binary form has them: digits to the base of 10,000 (`numeric.c`,
//! `numeric_send`). A number keeps every digit it is written with, zeros at its end included.

use super::form::Fit;

/// Digits before and after the point that a numeric can have.
const WHOLE_MAX: i64 = 131_072;
const SCALE_MAX: i64 = 16_383;
const BEYOND: &str = "the number is beyond the range of numeric";
const NO_NUMBER: &str = "the text is no decimal number";

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const MINUS_INFINITY: u16 = 0xf000;

/// Writes a number as `strict::decimal` lets it pass: digits, a point, an exponent.
pub fn write(text: &str, out: &mut Vec<u8>) -> Fit {
    let special = match text {
        "NaN" => NAN,
        "Infinity" => INFINITY,
        "-Infinity" => MINUS_INFINITY,
        _ => return write_digits(text, out),
    };
    head(out, 0, 0, special, 0);
    Ok(())
}

fn head(out: &mut Vec<u8>, count: u16, weight: i16, sign: u16, scale: u16) {
    for part in [count.to_be_bytes(), weight.to_be_bytes(), sign.to_be_bytes(), scale.to_be_bytes()] {
        out.extend_from_slice(&part);
    }
}

fn write_digits(text: &str, out: &mut Vec<u8>) -> Fit {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| BEYOND)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> =
        whole.bytes().chain(fraction.bytes()).map(|digit| digit.wrapping_sub(b'0')).collect();
    if digits.iter().any(|digit| *digit > 9) {
        return Err(NO_NUMBER);
    }
    // Where the point stands among the digits, and how many are shown behind it.
    let point = whole.len() as i64 + i64::from(exponent);
    let scale = (fraction.len() as i64 - i64::from(exponent)).max(0);
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    if scale > SCALE_MAX || (leading < digits.len() && point - leading as i64 > WHOLE_MAX) {
        return Err(BEYOND);
    }
    let (groups, weight) = groups(&digits, point);
    let sign = if negative && !groups.is_empty() { NEGATIVE } else { 0 };
    let small = |number: i64| u16::try_from(number).map_err(|_| BEYOND);
    let weight = i16::try_from(weight).map_err(|_| BEYOND)?;
    head(out, small(groups.len() as i64)?, weight, sign, small(scale)?);
    out.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
    Ok(())
}

/// Groups of four digits, counted from the point, without zeros at either end; and the power of
/// 10,000 of the first. The point may lie outside the digits.
fn groups(digits: &[u8], point: i64) -> (Vec<u16>, i64) {
    let significant = digits.iter().position(|digit| *digit != 0);
    let Some(first) = significant else { return (Vec::new(), 0) };
    let last = digits.iter().rposition(|digit| *digit != 0).unwrap_or(first);
    let weight_of = |at: usize| (point - 1 - at as i64).div_euclid(4);
    let (high, low) = (weight_of(first), weight_of(last));
    let mut groups = vec![0_u16; usize::try_from(high - low + 1).unwrap_or(0)];
    for (at, digit) in digits.iter().enumerate().take(last + 1).skip(first) {
        let place = point - 1 - at as i64;
        let group = usize::try_from(high - place.div_euclid(4)).unwrap_or(0);
        groups[group] += u16::from(*digit) * 10_u16.pow(place.rem_euclid(4) as u32);
    }
    (groups, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Count, weight, sign, scale, digits.
    fn words(text: &str) -> Result<Vec<u16>, &'static str> {
        let mut out = Vec::new();
        write(text, &mut out)?;
        Ok(out.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
    }

    #[test]
    fn pg_08_binary_decimals() {
        let minus_one = u16::MAX;
        let known: [(&str, &[u16]); 13] = [
            ("0", &[0, 0, 0, 0]),
            ("-0.00", &[0, 0, 0, 2]),
            ("1", &[1, 0, 0, 0, 1]),
            ("-1.5000", &[2, 0, NEGATIVE, 4, 1, 5000]),
            ("10000", &[1, 1, 0, 0, 1]),
            ("12345.678", &[3, 1, 0, 3, 1, 2345, 6780]),
            ("0.0001", &[1, minus_one, 0, 4, 1]),
            (".00001", &[1, minus_one - 1, 0, 5, 1000]),
            ("1e3", &[1, 0, 0, 0, 1000]),
            ("1.25e-2", &[1, minus_one, 0, 4, 125]),
            ("5.", &[1, 0, 0, 0, 5]),
            ("NaN", &[0, 0, NAN, 0]),
            ("-Infinity", &[0, 0, MINUS_INFINITY, 0]),
        ];
        for (text, expected) in known {
            assert_eq!(words(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn pg_08_what_numeric_cannot_hold_is_refused() {
        assert!(words("1e131072").is_err());
        assert!(words("1e131071").is_ok());
        assert!(words("1e-16384").is_err());
        assert!(words("1e2000000000").is_err());
        assert!(words("1x").is_err());
        assert_eq!(words("0e2000000000").as_deref(), Ok(&[0_u16, 0, 0, 0][..]));
    }
}
