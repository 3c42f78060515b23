//! Numbers as people read them: rows, bytes, durations, counts with their noun. Always marked
//! where a figure is an estimate; never used where an exact number decides something.

pub use crate::catalog::noun::plural;

/// A count, exact, in groups of three: `4 102`.
pub fn exact(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A count, short: `950`, `9 482`, `812 k`, `4.1 M`.
pub fn short(number: u64) -> String {
    match number {
        0..10_000 => exact(number),
        // What would round up to a thousand of its unit is one of the next.
        10_000..999_500 => format!("{} k", (number + 500) / 1000),
        999_500..999_500_000 => scaled(number, 1_000_000, "M"),
        _ => scaled(number, 1_000_000_000, "bn"),
    }
}

/// Bytes in decimal units: `512 B`, `4.2 MB`, `18.2 GB`.
pub fn bytes(number: u64) -> String {
    match number {
        0..1_000 => format!("{number} B"),
        1_000..1_000_000 => scaled(number, 1_000, "kB"),
        1_000_000..1_000_000_000 => scaled(number, 1_000_000, "MB"),
        1_000_000_000..1_000_000_000_000 => scaled(number, 1_000_000_000, "GB"),
        _ => scaled(number, 1_000_000_000_000, "TB"),
    }
}

fn scaled(number: u64, unit: u64, name: &str) -> String {
    let tenths = (u128::from(number) * 10 + u128::from(unit) / 2) / u128::from(unit);
    if tenths >= 1000 {
        return format!("{} {name}", (tenths + 5) / 10);
    }
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// Seconds: `under 1 s`, `38 s`, `31 min`, `1 h 12 min`, `2 d 3 h`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0 => "under 1 s".into(),
        1..100 => format!("{whole} s"),
        100..5_970 => format!("{} min", (whole + 30) / 60),
        5_970..172_800 => pair((whole + 30) / 60, 60, "h", "min"),
        _ => pair((whole + 1800) / 3600, 24, "d", "h"),
    }
}

/// As [`seconds`], said to be an estimate.
pub fn about(estimate: f64) -> String {
    match seconds(estimate) {
        short if short.starts_with("under") => short,
        long => format!("about {long}"),
    }
}

fn pair(number: u64, of: u64, large: &str, small: &str) -> String {
    match (number / of, number % of) {
        (whole, 0) => format!("{whole} {large}"),
        (whole, rest) => format!("{whole} {large} {rest} {small}"),
    }
}

/// Milliseconds as they passed: `0.42 s`, `38.1 s`, then as [`seconds`].
pub fn millis(millis: u64) -> String {
    match millis {
        0..10_000 => format!("{}.{:02} s", millis / 1000, millis % 1000 / 10),
        10_000..100_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => seconds(millis as f64 / 1000.0),
    }
}

/// A count with its noun: `1 index`, `3 indexes`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{} {}", exact(number as u64), plural(number, noun))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_well_at_every_size() {
        assert_eq!(exact(18_402_113), "18 402 113");
        assert_eq!(exact(0), "0");
        assert_eq!(short(9_482), "9 482");
        assert_eq!(short(812_345), "812 k");
        assert_eq!(short(4_100_000), "4.1 M");
        assert_eq!(short(999_499), "999 k");
        assert_eq!(short(999_950), "1.0 M");
        assert_eq!(short(999_999_999), "1.0 bn");
        assert_eq!(short(2_500_000_000), "2.5 bn");
        assert_eq!(short(u64::MAX), "18446744074 bn");
    }

    #[test]
    fn bytes_and_times_read_well() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1_900_000_000), "1.9 GB");
        assert_eq!(bytes(140_000_000), "140 MB");
        assert_eq!(seconds(0.2), "under 1 s");
        assert_eq!(seconds(38.0), "38 s");
        assert_eq!(seconds(52.0 * 60.0), "52 min");
        assert_eq!(seconds(2.0 * 3600.0), "2 h");
        assert_eq!(seconds(7_500.0), "2 h 5 min");
        assert_eq!(seconds(200_000.0), "2 d 8 h");
        assert_eq!(millis(420), "0.42 s");
        assert_eq!(millis(38_150), "38.1 s");
    }

    #[test]
    fn nouns_follow_their_number() {
        assert_eq!(count(1, "index"), "1 index");
        assert_eq!(count(3, "index"), "3 indexes");
        assert_eq!(count(2, "unique key"), "2 unique keys");
        assert_eq!(count(2, "policy"), "2 policies");
        assert_eq!(count(0, "table"), "0 tables");
    }
}
