//! Names of database objects. Compared by bytes; printed so that they can be read back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A schema-qualified name. Engines without schemas use one fixed word (`main` in SQLite).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub schema: String,
    pub name: String,
}

impl Name {
    /// A name from its two parts, taken literally.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for Name {
    /// `schema.name`; a part that could be misread is put in double quotes, with control and
    /// direction-changing characters shown as `\u{...}` so that a name cannot forge output.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_part(out, &self.schema)?;
        out.write_str(".")?;
        write_part(out, &self.name)
    }
}

/// Prints one identifier as [`Name`] prints its parts.
pub fn show(part: &str) -> String {
    struct Part<'a>(&'a str);
    impl fmt::Display for Part<'_> {
        fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_part(out, self.0)
        }
    }
    Part(part).to_string()
}

fn write_part(out: &mut fmt::Formatter<'_>, part: &str) -> fmt::Result {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_$*?-".contains(&byte);
    let wide = |c: char| if c.is_ascii() { plain(c as u8) } else { c.is_alphanumeric() };
    // Most names are ASCII, and names are printed by the hundred thousand.
    if !part.is_empty() && (part.bytes().all(plain) || part.chars().all(wide)) {
        return out.write_str(part);
    }
    out.write_str("\"")?;
    for c in part.chars() {
        match c {
            '"' => out.write_str("\"\"")?,
            '\\' => out.write_str("\\\\")?,
            c if is_hidden(c) => write!(out, "\\u{{{:x}}}", c as u32)?,
            c => write!(out, "{c}")?,
        }
    }
    out.write_str("\"")
}

/// Characters that a terminal may act on or not show: controls, bidirectional marks, zero width.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A text is not one or two dot-separated parts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a table name: write name, schema.name, or \"odd name\" in double quotes")]
pub struct NameError(pub String);

/// Splits `a`, `a.b`, `"a.b".c` into its parts, undoing what [`Name`]'s `Display` does.
pub fn split(text: &str) -> Result<Vec<String>, NameError> {
    let bad = || NameError(text.to_string());
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => split_quoted(quoted).ok_or_else(bad)?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].to_string(), &rest[end..])
            }
        };
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(parts),
            None => return Err(bad()),
        }
    }
}

fn split_quoted(text: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                chars.next();
                part.push('"');
            }
            '"' => return Some((part, &text[at + 1..])),
            '\\' => match chars.next()? {
                (_, '\\') => part.push('\\'),
                (_, 'u') => {
                    let hex: String =
                        chars.by_ref().skip(1).map(|(_, c)| c).take_while(|c| *c != '}').collect();
                    part.push(char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?);
                }
                _ => return None,
            },
            c => part.push(c),
        }
    }
    None
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match <[String; 2]>::try_from(split(text)?) {
            Ok([schema, name]) => Ok(Self { schema, name }),
            Err(_) => Err(NameError(text.to_string())),
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_it_was_printed() {
        for (schema, name) in [
            ("public", "users"),
            ("a.b", "c"),
            ("", " "),
            ("x", "a\"b"),
            ("x", "a\\b"),
            ("x", "line\nfeed"),
            ("x", "\u{202e}rtl"),
            ("Schema", "Ünï"),
        ] {
            let whole = Name::new(schema, name);
            let text = whole.to_string();
            assert!(!text.chars().any(is_hidden), "{text:?}");
            assert_eq!(text.parse::<Name>().as_ref(), Ok(&whole), "{text}");
        }
    }
}
