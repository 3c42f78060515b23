//! Dates and times: one form for equal moments, by whole numbers of the civil calendar.

/// Seconds and a fraction of `digits` digits.
struct Clock {
    seconds: i64,
    fraction: u64,
}

/// Appends a date as the number of its day.
pub(super) fn date(to: &mut Vec<u8>, text: &str) -> Option<()> {
    let text = text.trim();
    if is_infinity(text) {
        to.extend_from_slice(text.as_bytes());
        return Some(());
    }
    let (text, before_christ) = cut_bc(text);
    let (day, rest) = parse_day(text, before_christ)?;
    if !rest.is_empty() {
        let (clock, zone) = parse_clock(rest.trim_start_matches(['T', ' ']), 9)?;
        if clock.seconds != 0 || clock.fraction != 0 || !matches!(zone, None | Some(0)) {
            return None;
        }
    }
    to.extend_from_slice(&day.to_le_bytes());
    Some(())
}

/// Appends a time of day, with its offset where it has one.
pub(super) fn time(to: &mut Vec<u8>, text: &str, digits: u32) -> Option<()> {
    let (clock, zone) = parse_clock(text.trim(), digits)?;
    write(to, &clock);
    to.extend(zone.map(i64::to_le_bytes).into_iter().flatten());
    Some(())
}

/// Appends a moment as seconds since 1970 and a fraction, moved by what `shift` makes of its
/// offset in seconds east and of its own seconds. None where it cannot tell.
pub(super) fn timestamp(
    to: &mut Vec<u8>,
    text: &str,
    digits: u32,
    shift: impl Fn(Option<i64>, i64) -> Option<i64>,
) -> Option<()> {
    let text = text.trim();
    if is_infinity(text) {
        to.extend_from_slice(text.as_bytes());
        return Some(());
    }
    let (text, before_christ) = cut_bc(text);
    let (day, rest) = parse_day(text, before_christ)?;
    let rest = rest.trim_start_matches(['T', 't', ' ']);
    let (mut clock, zone) = match rest.is_empty() {
        true => (Clock { seconds: 0, fraction: 0 }, None),
        false => parse_clock(rest, digits)?,
    };
    clock.seconds += day.checked_mul(86_400)?;
    clock.seconds += shift(zone, clock.seconds)?;
    write(to, &clock);
    Some(())
}

fn write(to: &mut Vec<u8>, clock: &Clock) {
    to.extend_from_slice(&clock.seconds.to_le_bytes());
    to.extend_from_slice(&clock.fraction.to_le_bytes());
}

fn is_infinity(text: &str) -> bool {
    matches!(text, "infinity" | "-infinity")
}

fn cut_bc(text: &str) -> (&str, bool) {
    match text.strip_suffix(" BC") {
        Some(rest) => (rest, true),
        None => (text, false),
    }
}

/// `2024-02-29` and what follows it.
fn parse_day(text: &str, before_christ: bool) -> Option<(i64, &str)> {
    let (year, rest) = text.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (day, rest) = rest.split_at(end);
    let year: i64 = digits_only(year, 4, 7)?.parse().ok()?;
    let month: i64 = digits_only(month, 1, 2)?.parse().ok()?;
    let day: i64 = digits_only(day, 1, 2)?.parse().ok()?;
    let year = if before_christ { 1 - year } else { year };
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    Some((day_number(year, month, day), rest))
}

/// `23:59:59.5+02:30`: the time rounded to `digits` digits, and the offset in seconds.
fn parse_clock(text: &str, digits: u32) -> Option<(Clock, Option<i64>)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(text.len());
    let (clock, zone) = text.split_at(end);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let seconds = parse_sexagesimal(clock)?;
    let (fraction, carry) = round(fraction, digits)?;
    Some((Clock { seconds: seconds + carry, fraction }, parse_zone(zone.trim())?))
}

/// The seconds east of a fixed offset such as `+02:00`.
pub(super) fn zone(text: &str) -> Option<i64> {
    parse_zone(text)?
}

/// `Z`, `+02`, `-0230`, `+02:30:15`, or nothing. The outer option: whether it could be read.
#[expect(clippy::option_option, reason = "no zone is an answer, not a failure")]
fn parse_zone(text: &str) -> Option<Option<i64>> {
    let sign = match text.chars().next() {
        None => return Some(None),
        Some('Z' | 'z') => return (text.len() == 1).then_some(Some(0)),
        Some('+') => 1,
        Some('-') => -1,
        Some(_) => return None,
    };
    let digits = &text[1..];
    let offset = match digits.len() == 4 && !digits.contains(':') {
        true => parse_sexagesimal(&format!("{}:{}", digits.get(..2)?, digits.get(2..)?))?,
        false => parse_sexagesimal(digits)?,
    };
    Some(Some(sign * offset))
}

/// `hh`, `hh:mm` or `hh:mm:ss`, in seconds. 24 hours and a leap second are allowed.
fn parse_sexagesimal(text: &str) -> Option<i64> {
    let mut seconds = 0;
    let mut parts = 0;
    for part in text.split(':') {
        let value: i64 = digits_only(part, 1, 2)?.parse().ok()?;
        if value > if parts == 0 { 24 } else { 60 } {
            return None;
        }
        seconds = seconds * 60 + value;
        parts += 1;
    }
    (1..=3).contains(&parts).then(|| seconds * [3600, 60, 1][parts - 1])
}

/// A fraction rounded to `digits` digits, and the second it may carry over.
fn round(fraction: &str, digits: u32) -> Option<(u64, i64)> {
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let keep = fraction.len().min(digits as usize);
    let kept: u64 = if keep == 0 { 0 } else { fraction[..keep].parse().ok()? };
    let mut value = kept * 10u64.pow(digits - keep as u32);
    if fraction.as_bytes().get(keep).is_some_and(|digit| *digit >= b'5') {
        value += 1;
    }
    let one = 10u64.pow(digits);
    Some((value % one, (value / one) as i64))
}

fn digits_only(text: &str, least: usize, most: usize) -> Option<&str> {
    let fits = (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then_some(text)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (years counted from March, eras of
/// 400 years).
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}
