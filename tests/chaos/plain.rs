//! Values as two databases can both tell them, for logs that are held against each other.

/// As many digits as a log of MariaDB has of a `float`.
pub fn float(text: &str) -> String {
    let value: f32 = text.trim().parse().unwrap_or_else(|_| panic!("no number: {text:?}"));
    format!("{:.5e}", f64::from(value))
}

/// Microseconds since 1970 of `2026-11-27 00:26:07.5+00`.
pub fn moment(text: &str) -> String {
    let text = text.strip_suffix("+00").unwrap_or(text);
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let numbers: Vec<i64> = whole.split(['-', ' ', ':']).map(|number| number.parse().unwrap()).collect();
    let [year, month, day, hour, minute, second] = numbers[..] else { panic!("no moment: {text:?}") };
    let seconds = (days(year, month, day) * 24 + hour) * 3600 + minute * 60 + second;
    micros(&format!("{seconds}.{part}"))
}

/// Microseconds of `1795739360.818826`.
pub fn micros(seconds: &str) -> String {
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, ""));
    format!("{whole}{part:0<6}")
}

/// Days since 1970; years begin in March, so that the odd day is the last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[test]
fn two_logs_tell_the_same_value() {
    assert_eq!(float("0.33333334"), float("0.333333             "));
    assert_eq!(float("7"), float("7.0"));
    assert_ne!(float("0.33333"), float("0.33334"));
    assert_eq!(moment("2026-11-27 00:29:20.818826+00"), micros("1795739360.818826"));
    assert_eq!(moment("2026-01-01 10:00:00.5+00"), micros("1767261600.500000"));
    assert_eq!(moment("1970-01-01 00:00:00+00"), "0000000");
}
