//! Quoting, in one place: identifiers in backticks, strings in single quotes. Sessions are pinned
//! to an SQL mode in which a backslash escapes (contract, R8); what is written here is right there.

use crate::catalog::Name;

/// An identifier in backticks.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A table with its database.
pub(super) fn name(name: &Name) -> String {
    format!("{}.{}", identifier(&name.schema), identifier(&name.name))
}

/// A string literal.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// A label of an ENUM or SET as both servers print it, whatever the SQL mode (`append_unescaped` in their
/// sources); a string literal, too.
pub(super) fn label(text: &str) -> String {
    literal(text).replace('\n', "\\n").replace('\r', "\\r")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i_01_quotes_and_backslashes_stay_text() {
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(name(&Name::new("d.b", "t")), "`d.b`.`t`");
        assert_eq!(literal("it's \\ \0"), "'it''s \\\\ \\0'");
    }
}
