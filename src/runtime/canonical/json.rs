//! JSON by value: a small reader that keeps every digit, and writes keys in order. Reads no
//! number as a float.

use std::collections::BTreeMap;

use super::number::decimal_text;

/// Deeper nesting than this is compared as text: no engine needs it and a stack has an end.
const DEPTH_MAX: usize = 500;

/// Appends the canonical form of a JSON text; none where it is not JSON.
pub(super) fn append(to: &mut Vec<u8>, text: &str) -> Option<()> {
    let mut reader = Reader { rest: text };
    let value = reader.value(0)?;
    reader.space();
    if !reader.rest.is_empty() {
        return None;
    }
    to.extend_from_slice(&value);
    Some(())
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, token: &str) -> Option<()> {
        self.space();
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<Vec<u8>> {
        self.space();
        if depth > DEPTH_MAX {
            return None;
        }
        match self.rest.chars().next()? {
            '{' => self.object(depth),
            '[' => self.array(depth),
            '"' => self.string().map(|text| framed(b'"', text.as_bytes())),
            '-' | '0'..='9' => self.number(),
            _ => ["null", "true", "false"].into_iter().find_map(|word| {
                self.eat(word)?;
                Some(word.as_bytes().to_vec())
            }),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Vec<u8>> {
        let mut members = BTreeMap::new();
        self.eat("{")?;
        if self.eat("}").is_none() {
            loop {
                self.space();
                let key = self.string()?;
                self.eat(":")?;
                members.insert(key, self.value(depth + 1)?);
                if self.eat("}").is_some() {
                    break;
                }
                self.eat(",")?;
            }
        }
        let mut written = vec![b'{'];
        for (key, value) in members {
            written.extend(framed(b'"', key.as_bytes()));
            written.extend(value);
        }
        written.push(b'}');
        Some(written)
    }

    fn array(&mut self, depth: usize) -> Option<Vec<u8>> {
        let mut written = vec![b'['];
        self.eat("[")?;
        if self.eat("]").is_some() {
            written.push(b']');
            return Some(written);
        }
        loop {
            written.extend(self.value(depth + 1)?);
            if self.eat("]").is_some() {
                written.push(b']');
                return Some(written);
            }
            self.eat(",")?;
        }
    }

    fn number(&mut self) -> Option<Vec<u8>> {
        let end = self.rest.find(|c: char| !"+-.eE0123456789".contains(c)).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        let mut written = Vec::new();
        decimal_text(&mut written, number)?;
        Some(framed(b'#', &written))
    }

    fn string(&mut self) -> Option<String> {
        let mut chars = self.rest.strip_prefix('"')?.char_indices();
        let body = &self.rest[1..];
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &body[at + 1..];
                    return Some(text);
                }
                '\\' => match chars.next()?.1 {
                    'u' => {
                        let high = hex4(&mut chars)?;
                        text.push(unescape(high, &mut chars)?);
                    }
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    plain @ ('"' | '\\' | '/') => text.push(plain),
                    _ => return None,
                },
                c if (c as u32) < 0x20 => return None,
                c => text.push(c),
            }
        }
        None
    }
}

fn hex4(chars: &mut std::str::CharIndices<'_>) -> Option<u32> {
    (0..4).try_fold(0, |value, _| Some(value * 16 + chars.next()?.1.to_digit(16)?))
}

/// The character of an escape; a surrogate pair takes the second escape too.
fn unescape(high: u32, chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    if !(0xd800..0xdc00).contains(&high) {
        return char::from_u32(high);
    }
    (chars.next()?.1 == '\\' && chars.next()?.1 == 'u').then_some(())?;
    let low = hex4(chars)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)
}

/// A tag, the length and the bytes.
fn framed(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut written = vec![tag];
    written.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    written.extend_from_slice(bytes);
    written
}
