//! Character sets whose stored bytes are made into UTF-8 here: a log has values as they are stored,
//! while a SELECT has them converted by the server. Both give the same text.

use super::decode::Refused;

/// How a text is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    Utf8,
    /// Windows code page 1252, with the five codes that it leaves out as control characters.
    Latin1,
    Ucs2,
    Utf16,
    Utf16Le,
    Utf32,
}

/// Windows code page 1252 from 0x80 to 0x9F.
const WINDOWS: [u16; 32] = [
    0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152,
    0x008D, 0x017D, 0x008F, 0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122,
    0x0161, 0x203A, 0x0153, 0x009D, 0x017E, 0x0178,
];

impl Charset {
    /// By the name that a catalog has for it; none for one that only the server can convert.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "utf8mb4" | "utf8mb3" | "utf8" | "ascii" => Self::Utf8,
            "latin1" => Self::Latin1,
            "ucs2" => Self::Ucs2,
            "utf16" => Self::Utf16,
            "utf16le" => Self::Utf16Le,
            "utf32" => Self::Utf32,
            _ => return None,
        })
    }

    /// Characters of more than one byte each.
    pub fn is_wide(self) -> bool {
        !matches!(self, Self::Utf8 | Self::Latin1)
    }

    /// Appends a stored text in UTF-8. What is no text at all is refused here or where it is read.
    pub fn put(self, stored: &[u8], out: &mut Vec<u8>) -> Result<(), Refused> {
        match self {
            Self::Utf8 => out.extend_from_slice(stored),
            Self::Latin1 if stored.is_ascii() => out.extend_from_slice(stored),
            Self::Latin1 => {
                for &byte in stored {
                    let code = match byte {
                        0x80..=0x9F => WINDOWS[usize::from(byte - 0x80)],
                        _ => u16::from(byte),
                    };
                    put_char(char::from_u32(code.into()), out)?;
                }
            }
            Self::Ucs2 | Self::Utf16 => put_units(units(stored, u16::from_be_bytes)?, out)?,
            Self::Utf16Le => put_units(units(stored, u16::from_le_bytes)?, out)?,
            Self::Utf32 => {
                let (codes, rest) = stored.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(Refused::NotText);
                }
                for code in codes {
                    put_char(char::from_u32(u32::from_be_bytes(*code)), out)?;
                }
            }
        }
        Ok(())
    }
}

fn units(stored: &[u8], of: fn([u8; 2]) -> u16) -> Result<impl Iterator<Item = u16>, Refused> {
    let (pairs, rest) = stored.as_chunks::<2>();
    match rest {
        [] => Ok(pairs.iter().map(move |pair| of(*pair))),
        _ => Err(Refused::NotText),
    }
}

fn put_units(units: impl Iterator<Item = u16>, out: &mut Vec<u8>) -> Result<(), Refused> {
    for found in char::decode_utf16(units) {
        put_char(found.ok(), out)?;
    }
    Ok(())
}

fn put_char(found: Option<char>, out: &mut Vec<u8>) -> Result<(), Refused> {
    let found = found.ok_or(Refused::NotText)?;
    out.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(charset: &str, stored: &[u8]) -> Result<String, Refused> {
        let mut out = Vec::new();
        Charset::of(charset).expect("known").put(stored, &mut out)?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn m_08_stored_texts_become_utf_8() {
        assert_eq!(text("latin1", b"a\xE9\x80\x81"), Ok("aé€\u{81}".into()));
        assert_eq!(text("ucs2", b"\0a\x20\xAC"), Ok("a€".into()));
        assert_eq!(text("utf16", b"\xD8\x3D\xDC\xA7"), Ok("💧".into()));
        assert_eq!(text("utf16le", b"\x3D\xD8\xA7\xDC"), Ok("💧".into()));
        assert_eq!(text("utf32", b"\0\x01\xF4\xA7"), Ok("💧".into()));
        for (charset, broken) in
            [("ucs2", &b"\xD8\x3D"[..]), ("utf16", b"\0"), ("utf32", b"\0\0\xD8\0"), ("utf16le", b"abc")]
        {
            assert_eq!(text(charset, broken), Err(Refused::NotText), "{charset}");
        }
        assert_eq!(Charset::of("sjis"), None);
    }
}
