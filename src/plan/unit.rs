//! Sizes and durations: digits and one unit, no space, no fraction, no sign. One grammar for the
//! plan file and the command line.

use std::time::Duration;

/// A text is not a size or a duration. Never holds more than the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(pub String);

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const SPANS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// Bytes from `512MiB` or `20GB`.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    parse(text, SIZES, "a size is digits and a unit, such as 512MiB or 20GB")
}

/// A duration from `500ms`, `5s`, `10m`, `2h` or `7d`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let form = "a duration is digits and a unit, such as 500ms, 5s, 10m, 2h or 7d";
    parse(text, SPANS, form).map(Duration::from_millis)
}

fn parse(text: &str, units: &[(&str, u64)], form: &str) -> Result<u64, UnitError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError(form.into()));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(UnitError(suggest(number, unit, units, form)));
    };
    let value = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
    value.ok_or_else(|| UnitError("the number is too big".into()))
}

/// What was probably meant: `10MiB` for `10 mib`.
fn suggest(number: &str, unit: &str, units: &[(&str, u64)], form: &str) -> String {
    let unit = unit.trim();
    if unit.is_empty() {
        return format!("the unit is missing: {form}");
    }
    match units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        Some((name, _)) => format!("write {number}{name}"),
        None => form.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y_10_sizes_have_one_grammar() {
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size("20GB"), Ok(20_000_000_000));
        for bad in ["10", "10mb", "10 MiB", "-5MB", "1.5GB", "NaN", "", "MB", "99999999999TB", "１MB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_size("10 mib"), Err(UnitError("write 10MiB".into())));
    }

    #[test]
    fn y_10_durations_have_one_grammar() {
        assert_eq!(parse_duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in ["10", "1h30", "-5s", "5 s", "NaN", "inf", "5S x"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
