//! Renames in a text that a server printed: names stand in backticks there, strings in quotes, and
//! what is bare is a word of the language. Pure.

use std::collections::HashSet;

use super::quote::identifier;
use crate::catalog::Name;
use crate::catalog::dialect::Renames;

/// The text with columns and qualified objects under their new names.
pub(super) fn rename(native: &str, renames: &Renames) -> String {
    if renames.columns.is_empty() && renames.objects.is_empty() && renames.schemas.is_empty() {
        return native.to_string();
    }
    let mut out = String::with_capacity(native.len());
    let mut rest = native;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => string_end(rest),
            '`' => match name(rest) {
                Some((one, length)) => {
                    // A name behind a point belongs to the one before it.
                    let second = rest[length..].strip_prefix('.').and_then(name);
                    match second {
                        Some((two, more)) => {
                            let object = renames.object(&Name::new(one, two));
                            out.push_str(&format!(
                                "{}.{}",
                                identifier(&object.schema),
                                identifier(&object.name)
                            ));
                            rest = &rest[length + 1 + more..];
                        }
                        None => {
                            out.push_str(&identifier(column(&one, renames)));
                            rest = &rest[length..];
                        }
                    }
                    continue;
                }
                None => rest.len(),
            },
            c => c.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

/// Qualified names in the text, and whether an opening parenthesis follows.
pub(super) fn mentions(native: &str) -> HashSet<(Name, bool)> {
    let mut found = HashSet::new();
    let mut rest = native;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => string_end(rest),
            '`' => match name(rest) {
                Some((one, length)) => match rest[length..].strip_prefix('.').and_then(name) {
                    Some((two, more)) => {
                        let length = length + 1 + more;
                        found.insert((Name::new(one, two), rest[length..].starts_with('(')));
                        length
                    }
                    None => length,
                },
                None => rest.len(),
            },
            c => c.len_utf8(),
        };
        rest = &rest[length..];
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
