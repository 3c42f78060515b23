//! Names that look like other names: hidden and direction-changing characters, and letters of one
//! script among those of another. Allowed, but said.

use crate::catalog::name::is_hidden;

/// Why a name may not be what it seems, for a human; none for a plain one.
pub fn find(name: &str) -> Option<&'static str> {
    if name.chars().any(is_hidden) {
        return Some("holds characters that cannot be seen");
    }
    let latin = name.chars().any(|c| c.is_ascii_alphabetic() || ('\u{c0}'..='\u{24f}').contains(&c));
    (latin && name.chars().any(is_double)).then_some("mixes letters of scripts that look alike")
}

/// `name` with everything that is not ASCII spelt out, so that two lookalikes differ.
pub fn spell(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            ' '..='~' => out.push(c),
            c => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
        }
    }
    out
}

/// Letters of scripts with doubles of Latin ones: Greek, Cyrillic, Armenian, Cherokee, fullwidth
/// forms, mathematical letters.
fn is_double(c: char) -> bool {
    matches!(c,
        '\u{370}'..='\u{3ff}' | '\u{400}'..='\u{52f}' | '\u{530}'..='\u{58f}' | '\u{13a0}'..='\u{13ff}'
        | '\u{ff21}'..='\u{ff5a}' | '\u{1d400}'..='\u{1d7ff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y_29_lookalikes_are_seen_and_plain_names_are_not() {
        assert!(find("p\u{430}ypal").is_some());
        assert!(find("users\u{200b}").is_some());
        assert!(find("\u{202e}txt").is_some());
        assert!(find("Größe").is_none());
        assert!(find("заказы").is_none());
        assert_eq!(spell("p\u{430}ypal"), "p\\u{430}ypal");
    }
}
