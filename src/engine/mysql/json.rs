//! JSON values as MySQL keeps and logs them, printed as the server prints them for a SELECT. Pure.
//!
//! ```text
//!   value    = kind, then what it says
//!   object   = count, size, an entry for each key (place, length), for each value (kind, place or
//!              small value), then keys and values; large ones have 4 bytes where small ones have 2
//!   array    = the same without keys
//!   string   = length, seven bits to a byte, then UTF-8
//!   opaque   = type code of a column, length as above, its bytes: decimals and moments, or base64
//! ```

use std::fmt::Write;

/// Deeper ones the server does not take.
const DEPTH_MAX: u32 = 100;
/// Characters that a byte is printed with at most; more come of parts that are used twice.
const GROWTH_MAX: usize = 16;

/// Kinds.
const SMALL_OBJECT: u8 = 0;
const LARGE_OBJECT: u8 = 1;
const SMALL_ARRAY: u8 = 2;
const LARGE_ARRAY: u8 = 3;
const LITERAL: u8 = 4;
const INT16: u8 = 5;
const UINT16: u8 = 6;
const INT32: u8 = 7;
const UINT32: u8 = 8;
const INT64: u8 = 9;
const UINT64: u8 = 10;
const DOUBLE: u8 = 11;
const STRING: u8 = 12;
const OPAQUE: u8 = 15;

/// Type codes of columns that an opaque value may be of.
const TIMESTAMP: u8 = 7;
const DATE: u8 = 10;
const TIME: u8 = 11;
const DATETIME: u8 = 12;
const NEWDECIMAL: u8 = 246;

/// Appends the text of a value; none where the bytes are not of that form.
pub(super) fn print(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let Some((&kind, data)) = bytes.split_first() else {
        // What the server reads where nothing was kept.
        out.extend_from_slice(b"null");
        return Some(());
    };
    let room = Room { depth: DEPTH_MAX, end: out.len() + 64 + GROWTH_MAX * bytes.len() };
    value(kind, data, room, out)
}

/// What is left of the depth, and where the text has to have ended.
#[derive(Clone, Copy)]
struct Room {
    depth: u32,
    end: usize,
}

fn value(kind: u8, data: &[u8], room: Room, out: &mut Vec<u8>) -> Option<()> {
    let number = |bytes: usize| data.get(..bytes).map(little);
    match kind {
        SMALL_OBJECT | LARGE_OBJECT | SMALL_ARRAY | LARGE_ARRAY => {
            container(kind, data, Room { depth: room.depth.checked_sub(1)?, ..room }, out)
        }
        LITERAL => {
            let text = match data.first()? {
                0 => "null",
                1 => "true",
                2 => "false",
                _ => return None,
            };
            out.extend_from_slice(text.as_bytes());
            Some(())
        }
        INT16 => put(out, number(2)? as u16 as i16),
        UINT16 => put(out, number(2)?),
        INT32 => put(out, number(4)? as u32 as i32),
        UINT32 => put(out, number(4)?),
        INT64 => put(out, number(8)? as i64),
        UINT64 => put(out, number(8)?),
        DOUBLE => double(f64::from_bits(number(8)?), out),
        STRING => {
            let (length, start) = varied(data)?;
            quote(data.get(start..start.checked_add(length)?)?, out);
            Some(())
        }
        OPAQUE => {
            let (code, rest) = data.split_first()?;
            let (length, start) = varied(rest)?;
            opaque(*code, rest.get(start..start.checked_add(length)?)?, out)
        }
        _ => None,
    }
}

/// An object or an array; places in it count from its own beginning.
fn container(kind: u8, data: &[u8], room: Room, out: &mut Vec<u8>) -> Option<()> {
    let large = matches!(kind, LARGE_OBJECT | LARGE_ARRAY);
    let keys = matches!(kind, SMALL_OBJECT | LARGE_OBJECT);
    let wide = if large { 4 } else { 2 };
    let number =
        |at: usize, bytes: usize| data.get(at..at.checked_add(bytes)?).map(|found| little(found) as usize);
    let (count, size) = (number(0, wide)?, number(wide, wide)?);
    data.get(..size)?;
    let key_entry = if keys { wide + 2 } else { 0 };
    let values = (2 * wide).checked_add(count.checked_mul(key_entry)?)?;
    // Each has an entry, so that the bytes bound how many there are.
    data.get(..values.checked_add(count.checked_mul(wide + 1)?)?)?;
    out.push(if keys { b'{' } else { b'[' });
    for at in 0..count {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        if keys {
            let entry = 2 * wide + at * key_entry;
            let (place, length) = (number(entry, wide)?, number(entry + wide, 2)?);
            quote(data.get(place..place.checked_add(length)?)?, out);
            out.extend_from_slice(b": ");
        }
        let entry = values + at * (wide + 1);
        let kind = *data.get(entry)?;
        let inside = match kind {
            LITERAL | INT16 | UINT16 => true,
            INT32 | UINT32 => large,
            _ => false,
        };
        let place = if inside { entry + 1 } else { number(entry + 1, wide)? };
        value(kind, data.get(place..)?, room, out)?;
        if out.len() > room.end {
            return None;
        }
    }
    out.push(if keys { b'}' } else { b']' });
    Some(())
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A length of seven bits to a byte, and how many bytes it has.
fn varied(data: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0_u64;
    for (at, byte) in data.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(length).ok()?, at + 1));
        }
    }
    None
}

/// Writing into memory cannot fail.
fn put(out: &mut Vec<u8>, shown: impl std::fmt::Display) -> Option<()> {
    std::io::Write::write_fmt(out, format_args!("{shown}")).ok()
}

/// The shortest digits that give the number back; with an exponent from 1e15 on and below 1e-15.
fn double(number: f64, out: &mut Vec<u8>) -> Option<()> {
    /// Digits before the point, and zeros behind it, that are written out.
    const PLAIN: std::ops::RangeInclusive<i32> = -14..=15;
    let mut text = Small::default();
    write!(text, "{number:e}").ok()?;
    let text = std::str::from_utf8(text.bytes()).ok()?;
    let exponent: i32 = text.split_once('e')?.1.parse().ok()?;
    if !PLAIN.contains(&(exponent + 1)) {
        out.extend_from_slice(text.as_bytes());
        return Some(());
    }
    let start = out.len();
    put(out, number)?;
    if !out[start..].contains(&b'.') {
        out.extend_from_slice(b".0");
    }
    Some(())
}

/// Room for a number's text.
#[derive(Default)]
struct Small {
    room: [u8; 32],
    used: usize,
}

impl Small {
    fn bytes(&self) -> &[u8] {
        &self.room[..self.used]
    }
}

impl Write for Small {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.used + text.len();
        self.room.get_mut(self.used..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

fn quote(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    out.push(b'"');
    while let Some(at) = rest.iter().position(|byte| *byte < 32 || matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        let short = match rest[at] {
            8 => b'b',
            9 => b't',
            10 => b'n',
            12 => b'f',
            13 => b'r',
            byte => byte,
        };
        match short {
            0..=31 => {
                let _ = put(out, format_args!("\\u{short:04x}"));
            }
            _ => out.extend_from_slice(&[b'\\', short]),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn opaque(code: u8, data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match code {
        NEWDECIMAL => {
            let (&[precision, scale], digits) = data.split_first_chunk()?;
            if !(1..=65).contains(&precision) || scale > precision {
                return None;
            }
            let stored = super::image::Stored::Decimal { precision, scale };
            if stored.extent(digits)?.1 != digits.len() {
                return None;
            }
            super::image::decimal(digits, precision, scale, out);
            Some(())
        }
        DATE | TIME | DATETIME | TIMESTAMP => {
            let packed = little(data.get(..8)?) as i64;
            moment(code, packed, out)
        }
        _ => {
            put(out, format_args!("\"base64:type{code}:"))?;
            base64(data, out);
            out.push(b'"');
            Some(())
        }
    }
}

fn base64(data: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    /// Groups of a line, behind which the server puts a line's end.
    const LINE: usize = 19;
    for (at, three) in data.chunks(3).enumerate() {
        if at > 0 && at % LINE == 0 {
            out.extend_from_slice(b"\\n");
        }
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= three.len() { digit } else { b'=' });
        }
    }
}

/// A number with the fraction in its last 24 bits.
fn moment(code: u8, packed: i64, out: &mut Vec<u8>) -> Option<()> {
    let (sign, number) = (if packed < 0 { "-" } else { "" }, packed.unsigned_abs());
    let (micros, whole) = (number & 0xFF_FFFF, number >> 24);
    let (minute, second) = (whole >> 6 & 63, whole & 63);
    if code == TIME {
        let hour = whole >> 12 & 1023;
        return put(out, format_args!("\"{sign}{hour:02}:{minute:02}:{second:02}.{micros:06}\""));
    }
    let (days, hour) = (whole >> 17, whole >> 12 & 31);
    let (months, day) = (days >> 5, days & 31);
    let (year, month) = (months / 13, months % 13);
    match code {
        DATE => put(out, format_args!("\"{year:04}-{month:02}-{day:02}\"")),
        _ => put(
            out,
            format_args!("\"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}\""),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        print(bytes, &mut out)?;
        Some(String::from_utf8(out).expect("UTF-8"))
    }

    /// `{"b": 1.5, "tags": [1, 2]}` as MySQL 9.7 logs it.
    const OBJECT: &[u8] =
        b"\x00\x02\x00\x29\x00\x12\x00\x01\x00\x13\x00\x04\x00\x0b\x17\x00\x02\x1f\x00btags\
        \x00\x00\x00\x00\x00\x00\xf8\x3f\x02\x00\x0a\x00\x05\x01\x00\x05\x02\x00";

    #[test]
    fn m_18_values_as_the_server_prints_them() {
        assert_eq!(text(OBJECT).as_deref(), Some(r#"{"b": 1.5, "tags": [1, 2]}"#));
        assert_eq!(text(b"").as_deref(), Some("null"));
        assert_eq!(text(b"\x04\x01").as_deref(), Some("true"));
        assert_eq!(text(b"\x05\xff\xff").as_deref(), Some("-1"));
        assert_eq!(text(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff").as_deref(), Some("18446744073709551615"));
        assert_eq!(text(b"\x0c\x05a\"\x01\n"), None, "too short");
        assert_eq!(text(b"\x0c\x04a\"\x01\n").as_deref(), Some(r#""a\"\u0001\n""#));
        let of = |number: f64| {
            let mut bytes = vec![DOUBLE];
            bytes.extend_from_slice(&number.to_le_bytes());
            text(&bytes).expect("a number")
        };
        for (number, shown) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e14, "100000000000000.0"),
            (1e15, "1e15"),
            (123_456_789_012_345_680.0, "1.2345678901234568e17"),
            (1e-15, "0.000000000000001"),
            (1e-16, "1e-16"),
            (f64::MAX, "1.7976931348623157e308"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(of(number), shown);
        }
    }

    #[test]
    fn p_14_what_is_cut_or_changed_is_refused_or_read_but_never_followed_out_of_its_bytes() {
        for end in 1..OBJECT.len() {
            assert_eq!(text(&OBJECT[..end]), None, "{end}");
        }
        let mut out = Vec::new();
        for at in 0..OBJECT.len() {
            for byte in 0..=255 {
                let mut bytes = OBJECT.to_vec();
                bytes[at] = byte;
                out.clear();
                let _ = print(&bytes, &mut out);
            }
        }
        // Arrays that hold themselves, once and twice.
        assert_eq!(text(b"\x02\x01\x00\x07\x00\x02\x00\x00"), None);
        assert_eq!(text(b"\x02\x02\x00\x0a\x00\x02\x00\x00\x02\x00\x00"), None);
    }
}
