//! Literals in one spelling each, to compare what was written with what a server prints of it.

use super::Expr;

/// Digits that a number may be written out in: those of the largest double.
const DIGITS_MAX: i32 = 400;

impl Expr {
    /// Numbers without exponents and needless zeros; with `moments`, texts that are moments or times of day
    /// with all their parts and in UTC. Other texts are what they are.
    pub fn settled(mut self, moments: bool) -> Self {
        let mut rest = vec![&mut self];
        while let Some(expr) = rest.pop() {
            match expr {
                Self::Number(text) => *text = number(text).unwrap_or_else(|| text.clone()),
                Self::Text(text) if moments => {
                    let settled = moment(text).or_else(|| clock(text));
                    *text = settled.unwrap_or_else(|| text.clone());
                }
                other => rest.extend(other.parts_mut()),
            }
        }
        self
    }
}

/// `-1.5e3` is `-1500`. None for what is no number, or too long.
fn number(text: &str) -> Option<String> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (digits, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let exponent: i32 = exponent.strip_prefix('+').unwrap_or(exponent).parse().ok()?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Where the point stands, from the left.
    let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let length = i32::try_from(all.len()).ok()?;
    if point.abs() > DIGITS_MAX || length > DIGITS_MAX {
        return None;
    }
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let padded = format!("{}{all}{}", zeros(-point), zeros(point - length));
    let (whole, fraction) = padded.split_at(usize::try_from(point.max(0)).ok()?);
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if whole == "0" && fraction.is_empty() { "" } else { sign };
    Some(match fraction {
        "" => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    })
}

/// `2020-01-01` is `2020-01-01 00:00:00`, and so is `2020-01-01 00:00:00.0+00`.
fn moment(text: &str) -> Option<String> {
    let (day, rest) = text.split_at_checked(10)?;
    let part = |from: usize, to: usize| {
        day.get(from..to).is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let bytes = day.as_bytes();
    if !(part(0, 4) && bytes[4] == b'-' && part(5, 7) && bytes[7] == b'-' && part(8, 10)) {
        return None;
    }
    let rest = rest.strip_suffix("+00").or_else(|| rest.strip_suffix("+00:00")).unwrap_or(rest);
    Some(match rest.strip_prefix([' ', 'T']) {
        Some(time) => format!("{day} {}", clock(time)?),
        None if rest.is_empty() => format!("{day} 00:00:00"),
        None => return None,
    })
}

/// `10:00` is `10:00:00`, and so is `10:00:00.000`.
fn clock(text: &str) -> Option<String> {
    let (time, fraction) = text.split_once('.').unwrap_or((text, ""));
    let parts: Vec<&str> = time.split(':').collect();
    let two = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let known = matches!(parts.len(), 2 | 3) && parts.iter().all(two);
    if !known || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = parts.get(2).unwrap_or(&"00");
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{}:{}:{seconds}{point}{fraction}", parts[0], parts[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_one_spelling() {
        let number = |text: &str| Expr::Number(text.into()).settled(false);
        for (a, b) in
            [("1e15", "1000000000000000"), ("-1.5e-5", "-0.000015"), ("007.50", "7.5"), ("-0.0", "0")]
        {
            assert_eq!(number(a), number(b), "{a} {b}");
        }
        for (a, b) in [
            ("1e15", "1e14"),
            ("0.10000000000000000001", "0.1"),
            ("1e9999999999", "1"),
            ("e", "0"),
            (".", "0"),
        ] {
            assert_ne!(number(a), number(b), "{a} {b}");
        }
        let moment = |text: &str| Expr::Text(text.into()).settled(true);
        for (a, b) in [
            ("2020-01-01", "2020-01-01 00:00:00+00"),
            ("2020-01-01 10:00:00.120", "2020-01-01T10:00:00.12"),
            ("10:00", "10:00:00.000"),
        ] {
            assert_eq!(moment(a), moment(b), "{a} {b}");
        }
        for (a, b) in [("2020-01-01 00:00:00+01", "2020-01-01 00:00:00"), ("10:00:01", "10:00"), ("007", "7")]
        {
            assert_ne!(moment(a), moment(b), "{a} {b}");
        }
    }

    #[test]
    fn a_text_is_what_it_is() {
        let text = |text: &str| Expr::Text(text.into()).settled(false);
        for (a, b) in [("007", "7"), ("10:00", "10:00:00"), ("2020-01-01", "2020-01-01 00:00:00")] {
            assert_ne!(text(a), text(b), "{a} {b}");
        }
    }
}
