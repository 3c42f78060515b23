//! Literals and the types behind `::`: what a cast makes of a literal, numbers in canonical form,
//! and where a type's name ends.

use super::normal::negate;
use super::{CastKind, Expr};
use crate::catalog::token::{self, Kind, Token};

pub(super) fn cast_text(text: String, kind: CastKind) -> Option<Expr> {
    const WORDS: &[&str] = &["now", "today", "tomorrow", "yesterday", "epoch", "allballs"];
    match kind {
        CastKind::Text | CastKind::LimitedText | CastKind::Canonical => Some(Expr::Text(text)),
        CastKind::Moment(now) if text.eq_ignore_ascii_case("now") => Some(Expr::Now(now)),
        CastKind::Moment(_) => {
            (!WORDS.contains(&text.trim().to_ascii_lowercase().as_str())).then_some(Expr::Text(text))
        }
        CastKind::Integer => is_integer(&text).then(|| signed(&text))?,
        CastKind::Number => signed(&text),
        CastKind::Bytes => token::from_hex(text.strip_prefix("\\x")?).map(Expr::Bytes),
        CastKind::Bool | CastKind::Other => None,
    }
}

pub(super) fn is_integer(digits: &str) -> bool {
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// A number that may have a minus sign.
pub(super) fn signed(text: &str) -> Option<Expr> {
    match text.strip_prefix('-') {
        Some(rest) => number(rest).map(negate),
        None => number(text),
    }
}

/// The canonical form of an unsigned decimal number; none for other texts.
pub(super) fn number(text: &str) -> Option<Expr> {
    let text = text.to_ascii_lowercase();
    let (digits, power) = match text.split_once('e') {
        Some((digits, power)) => (digits, Some(power.strip_prefix('+').unwrap_or(power))),
        None => (text.as_str(), None),
    };
    let (whole, part) = match digits.split_once('.') {
        Some((whole, part)) => (whole, Some(part)),
        None => (digits, None),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !part.is_none_or(all_digits) || digits.len() <= usize::from(part.is_some()) {
        return None;
    }
    if power.is_some_and(|power| !is_integer(power)) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let mut out = String::from(if whole.is_empty() { "0" } else { whole });
    if let Some(part) = part.filter(|part| !part.is_empty()) {
        out = format!("{out}.{part}");
    }
    if let Some(power) = power {
        out = format!("{out}e{power}");
    }
    Some(Expr::Number(out))
}

/// The index behind the type's name that starts at `at`: a name that may be qualified, the words
/// of the types that have several, modifiers, brackets.
pub fn type_end(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    let is = |at: usize, mark: &str| tokens.get(at).is_some_and(|token| token.is(mark));
    let is_word = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is_word(word));
    let first = tokens.get(at)?;
    first.name()?;
    let mut end = at + 1;
    if is(end, ".") {
        tokens.get(end + 1)?.name()?;
        end += 2;
    } else if first.is_word("double") && is_word(end, "precision")
        || (first.is_word("character") || first.is_word("bit")) && is_word(end, "varying")
    {
        end += 1;
    } else if first.is_word("interval") {
        const FIELDS: [&str; 7] = ["year", "month", "day", "hour", "minute", "second", "to"];
        while FIELDS.iter().any(|field| is_word(end, field)) {
            end += 1;
        }
    }
    if is(end, "(") {
        end += tokens[end..].iter().position(|token| token.is(")"))? + 1;
    }
    if (first.is_word("timestamp") || first.is_word("time"))
        && (is_word(end, "with") || is_word(end, "without"))
        && is_word(end + 1, "time")
        && is_word(end + 2, "zone")
    {
        end += 3;
    }
    while is(end, "[") && is(end + 1, "]") {
        end += 2;
    }
    Some(end)
}

/// The tokens of a type's name in one spacing: `character varying(20)[]`.
pub fn type_text(tokens: &[Token<'_>]) -> String {
    let mut out = String::new();
    let mut glue = true;
    for token in tokens {
        let names = token.name().is_some();
        if names && !glue {
            out.push(' ');
        }
        match token.kind {
            Kind::Word => out.push_str(&token.text.to_ascii_lowercase()),
            _ => out.push_str(token.text),
        }
        glue = !(names || token.is(")"));
    }
    out
}
