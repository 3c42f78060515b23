//! Secrets in texts that a user wrote: finds them so that nobody prints them, and puts variables
//! in their place. Works on any text, also one that is no valid URL.

use std::ops::Range;

use super::Variables;

/// Byte ranges of `text` that may hold a secret: passwords in URLs, and values after words such
/// as `password`. References such as `${NAME}` alone are no secrets. Rather one too many.
pub fn find(text: &str) -> Vec<Range<usize>> {
    let mut found = url_passwords(text);
    found.extend(word_values(text));
    found.retain(|range| !is_reference(&text[range.clone()]));
    found.sort_by_key(|range| (range.start, range.end));
    found
}

/// `text` with every secret, and all of `more` (ranges of bytes), replaced by as many `*` as it has
/// bytes, so that offsets and lines stay.
pub fn mask(text: &str, more: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for range in find(text).iter().chain(more) {
        let end = range.end.min(bytes.len());
        for byte in &mut bytes[range.start.min(end)..end] {
            if *byte != b'\n' {
                *byte = b'*';
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// `scheme://user:HERE@host`, up to the last `@` of the line: a raw password may hold any other
/// character, also a quote or another `://`, so the first one of a line covers all that follow.
fn url_passwords(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut offset = 0;
    for line in text.split('\n') {
        if let Some(start) = line.find("://").map(|at| at + 3) {
            let last = line.rfind('@').filter(|last| *last > start);
            let colon = last.and_then(|last| line[start..last].find(':'));
            if let (Some(colon), Some(last)) = (colon, last) {
                found.push(offset + start + colon + 1..offset + last);
            }
        }
        offset += line.len() + 1;
    }
    found.retain(|range| !range.is_empty());
    found
}

const WORDS: &[&str] =
    &["password", "passwd", "passphrase", "passwort", "pwd", "pass", "secret", "token", "sslpassword"];

/// The value after `password=`, `password:` and the like.
fn word_values(text: &str) -> Vec<Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for word in WORDS {
        let mut done = 0;
        for (at, _) in lower.match_indices(word) {
            if at < done {
                continue;
            }
            let mut value = at + word.len();
            let rest = &lower[value..];
            let skip = rest.len() - rest.trim_start_matches(['"', '\'', ' ', '\t']).len();
            let Some(sign) = rest[skip..].chars().next().filter(|c| matches!(c, '=' | ':')) else { continue };
            value += skip + sign.len_utf8();
            value += lower[value..].len() - lower[value..].trim_start_matches([' ', '\t', '"', '\'']).len();
            let stop = |c: char| matches!(c, '&' | '"' | '\'' | '\n' | '}' | ',');
            let end = lower[value..].find(stop).map_or(lower.len(), |end| value + end);
            // `${NAME}` ends with its brace.
            let end = if lower[value..].starts_with("${") { (end + 1).min(lower.len()) } else { end };
            let end = value + lower[value..end].trim_end().len();
            if end > value {
                found.push(value..end);
                done = end;
            }
        }
    }
    found
}

/// `${NAME}` or several of them, and nothing else.
fn is_reference(text: &str) -> bool {
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix("${") {
        match inner.split_once('}') {
            Some((name, after)) if is_variable(name) => rest = after,
            _ => return false,
        }
    }
    rest.is_empty()
}

fn is_variable(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Why a reference cannot be filled. Names a variable, never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// `${` without a name and `}`.
    Form,
    Unset(String),
    Empty(String),
}

/// `text` with `${NAME}` replaced and `$$` made `$`. A value is taken as it is, never read again.
pub fn substitute(text: &str, variables: &Variables) -> Result<String, Missing> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let (name, after) = inner.split_once('}').ok_or(Missing::Form)?;
            if !is_variable(name) {
                return Err(Missing::Form);
            }
            match variables.get(name) {
                Some(value) if !value.is_empty() => out.push_str(value),
                Some(_) => return Err(Missing::Empty(name.into())),
                None => return Err(Missing::Unset(name.into())),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_wherever_they_stand() {
        for (text, masked) in [
            ("url: postgres://u:geheim@h/db", "url: postgres://u:******@h/db"),
            ("url: postgres://u:ge@he:im/#@h/db # x", "url: postgres://u:**********@h/db # x"),
            ("postgres://u@h/db?password=geheim&x=1", "postgres://u@h/db?password=******&x=1"),
            ("  password: geheim", "  password: ******"),
            ("{ \"password\": \"geheim\" }", "{ \"password\": \"******\" }"),
            ("postgres://u:${PW}@h/db", "postgres://u:${PW}@h/db"),
            ("password: ${PW}", "password: ${PW}"),
            ("postgres://u:a${PW}@h/db", "postgres://u:******@h/db"),
            ("postgres://u@h:5432/db", "postgres://u@h:5432/db"),
            ("nothing here: at all@", "nothing here: at all@"),
            ("a://u:x'\"://y@h b://u@h", "a://u:***************@h"),
        ] {
            assert_eq!(mask(text, &[]), masked);
        }
    }

    #[test]
    fn variables_are_filled_once_and_never_read_again() {
        let variables =
            Variables::from([("A".into(), "x${B}\n- y: $$".into()), ("EMPTY".into(), String::new())]);
        assert_eq!(substitute("p${A}s", &variables), Ok("px${B}\n- y: $$s".into()));
        assert_eq!(substitute("$${A} $A $", &variables), Ok("${A} $A $".into()));
        assert_eq!(substitute("${NO}", &variables), Err(Missing::Unset("NO".into())));
        assert_eq!(substitute("${EMPTY}", &variables), Err(Missing::Empty("EMPTY".into())));
        for bad in ["${", "${}", "${A", "${A${B}}", "${A B}", "${1}"] {
            assert_eq!(substitute(bad, &variables), Err(Missing::Form), "{bad}");
        }
    }
}
