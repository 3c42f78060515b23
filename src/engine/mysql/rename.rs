//! Renames in a text that a server printed: names stand in backticks there, strings in quotes, and
//! what is bare is a word of the language. Pure.

use std::collections::HashSet;

use super::quote::{self, identifier};
use crate::catalog::Name;
use crate::catalog::dialect::Renames;

/// What a printed text is made of.
enum Piece<'a> {
    Plain(&'a str),
    Name(String),
    /// A name behind a point belongs to the one before it.
    Qualified(Name),
}

/// Takes the first piece; none at the end.
fn piece(text: &str) -> Option<(Piece<'_>, &str)> {
    let first = text.chars().next()?;
    let plain = |length: usize| Some((Piece::Plain(&text[..length]), &text[length..]));
    match first {
        '\'' => plain(string_end(text)),
        '`' => {
            let Some((one, length)) = name(text) else { return plain(text.len()) };
            let rest = &text[length..];
            Some(match rest.strip_prefix('.').and_then(name) {
                Some((two, more)) => (Piece::Qualified(Name::new(one, two)), &rest[1 + more..]),
                None => (Piece::Name(one), rest),
            })
        }
        c => plain(c.len_utf8()),
    }
}

/// The text with columns and qualified objects under their new names.
pub(super) fn rename(native: &str, renames: &Renames) -> String {
    if renames.columns.is_empty() && renames.objects.is_empty() && renames.schemas.is_empty() {
        return native.to_string();
    }
    let mut out = String::with_capacity(native.len());
    let mut rest = native;
    while let Some((found, after)) = piece(rest) {
        match found {
            Piece::Plain(text) => out.push_str(text),
            Piece::Name(name) => out.push_str(&identifier(column(&name, renames))),
            Piece::Qualified(name) => out.push_str(&quote::name(&renames.object(&name))),
        }
        rest = after;
    }
    out
}

/// Qualified names in the text, and whether an opening parenthesis follows.
pub(super) fn mentions(native: &str) -> HashSet<(Name, bool)> {
    let mut found = HashSet::new();
    let mut rest = native;
    while let Some((piece, after)) = piece(rest) {
        if let Piece::Qualified(name) = piece {
            found.insert((name, after.starts_with('(')));
        }
        rest = after;
    }
    found
}

fn column<'a>(name: &'a str, renames: &'a Renames) -> &'a str {
    let same = |old: &&String| old.to_lowercase() == name.to_lowercase();
    let found = renames.columns.keys().find(same);
    found.and_then(|old| renames.columns.get(old)).map_or(name, String::as_str)
}

/// The end of the string that begins here.
pub(super) fn string_end(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
            }
            '\'' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The name in backticks that begins here, and how long it is with them.
pub(super) fn name(text: &str) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut chars = text.char_indices().peekable();
    chars.next().filter(|(_, c)| *c == '`')?;
    while let Some((at, c)) = chars.next() {
        match c {
            '`' if chars.peek().is_some_and(|(_, next)| *next == '`') => {
                name.push('`');
                chars.next();
            }
            '`' => return Some((name, at + 1)),
            c => name.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn renames_touch_names_only() {
        let mut renames = Renames::default();
        renames.columns.insert("a`b".into(), "c".into());
        renames.schemas = Arc::new([("old".to_string(), "new".to_string())].into());
        let text = "`a``b` > 'a`b''\\'' and `x` = 1 and nextval(`old`.`s`)";
        assert_eq!(mentions(text), HashSet::from([(Name::new("old", "s"), false)]));
        assert_eq!(mentions("'\\'' + `d`.`f`(`x`)"), HashSet::from([(Name::new("d", "f"), true)]));
        assert_eq!(rename(text, &renames), "`c` > 'a`b''\\'' and `x` = 1 and nextval(`new`.`s`)");
    }
}
