//! The two forms in which COPY takes cells (manual, COPY, "File Formats"). What is written here
//! has been found to fit its column already; the binary form must read texts to write them, and
//! refuses those that the server would have refused in the text form.

use super::{moment, numeric};

pub type Fit = Result<(), &'static str>;

/// How rows and cells are written.
pub trait CopyForm {
    /// What comes before the first row, and after the last.
    const HEAD: &'static [u8];
    const TAIL: &'static [u8];

    fn begin_row(columns: usize, out: &mut Vec<u8>);
    fn begin_cell(column: usize, out: &mut Vec<u8>);
    fn end_row(out: &mut Vec<u8>);
    fn null(out: &mut Vec<u8>);
    fn boolean(value: bool, out: &mut Vec<u8>);
    /// A whole number for an integer type of so many bits.
    fn integer(value: i64, bits: u32, out: &mut Vec<u8>);
    fn float(value: f64, single: bool, out: &mut Vec<u8>);
    fn float_text(text: &str, single: bool, out: &mut Vec<u8>) -> Fit;
    fn numeric(text: &str, out: &mut Vec<u8>) -> Fit;
    fn text(text: &str, out: &mut Vec<u8>) -> Fit;
    fn bytes(data: &[u8], out: &mut Vec<u8>);
    fn date(text: &str, out: &mut Vec<u8>) -> Fit;
    fn time(text: &str, out: &mut Vec<u8>) -> Fit;
    /// With the zone that is in the text, if there is one.
    fn timestamp(text: &str, out: &mut Vec<u8>) -> Fit;
    fn uuid(text: &str, out: &mut Vec<u8>) -> Fit;
    /// `binary`: for `jsonb`.
    fn json(text: &str, binary: bool, out: &mut Vec<u8>) -> Fit;
}

/// A line for a row, tabs between cells.
pub struct TextForm;

impl CopyForm for TextForm {
    const HEAD: &'static [u8] = b"";
    const TAIL: &'static [u8] = b"";

    fn begin_row(_: usize, _: &mut Vec<u8>) {}

    fn begin_cell(column: usize, out: &mut Vec<u8>) {
        if column > 0 {
            out.push(b'\t');
        }
    }

    fn end_row(out: &mut Vec<u8>) {
        out.push(b'\n');
    }

    fn null(out: &mut Vec<u8>) {
        out.extend_from_slice(b"\\N");
    }

    fn boolean(value: bool, out: &mut Vec<u8>) {
        out.push(if value { b't' } else { b'f' });
    }

    fn integer(value: i64, _: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(Digits::of(value.into()).as_str().as_bytes());
    }

    fn float(value: f64, _: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(shortest(value).as_bytes());
    }

    fn float_text(text: &str, _: bool, out: &mut Vec<u8>) -> Fit {
        escape(text, out)
    }

    fn numeric(text: &str, out: &mut Vec<u8>) -> Fit {
        escape(text, out)
    }

    fn text(text: &str, out: &mut Vec<u8>) -> Fit {
        escape(text, out)
    }

    fn bytes(data: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"\\\\x");
        hex(data, out);
    }

    fn date(text: &str, out: &mut Vec<u8>) -> Fit {
        escape(text, out)
    }

    fn time(text: &str, out: &mut Vec<u8>) -> Fit {
        escape(text, out)
    }

    fn timestamp(text: &str, out: &mut Vec<u8>) -> Fit {
        escape(text, out)
    }

    fn uuid(text: &str, out: &mut Vec<u8>) -> Fit {
        escape(text, out)
    }

    fn json(text: &str, _: bool, out: &mut Vec<u8>) -> Fit {
        escape(text, out)
    }
}

/// One value as text, every byte standing for itself: what is bound to a statement.
pub struct BoundForm;

impl CopyForm for BoundForm {
    const HEAD: &'static [u8] = b"";
    const TAIL: &'static [u8] = b"";

    fn begin_row(_: usize, _: &mut Vec<u8>) {}

    fn begin_cell(_: usize, _: &mut Vec<u8>) {}

    fn end_row(_: &mut Vec<u8>) {}

    /// A null is said beside the bytes, not by them.
    fn null(_: &mut Vec<u8>) {}

    fn boolean(value: bool, out: &mut Vec<u8>) {
        TextForm::boolean(value, out);
    }

    fn integer(value: i64, bits: u32, out: &mut Vec<u8>) {
        TextForm::integer(value, bits, out);
    }

    fn float(value: f64, single: bool, out: &mut Vec<u8>) {
        TextForm::float(value, single, out);
    }

    fn float_text(text: &str, _: bool, out: &mut Vec<u8>) -> Fit {
        plain(text, out)
    }

    fn numeric(text: &str, out: &mut Vec<u8>) -> Fit {
        plain(text, out)
    }

    fn text(text: &str, out: &mut Vec<u8>) -> Fit {
        plain(text, out)
    }

    fn bytes(data: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"\\x");
        hex(data, out);
    }

    fn date(text: &str, out: &mut Vec<u8>) -> Fit {
        plain(text, out)
    }

    fn time(text: &str, out: &mut Vec<u8>) -> Fit {
        plain(text, out)
    }

    fn timestamp(text: &str, out: &mut Vec<u8>) -> Fit {
        plain(text, out)
    }

    fn uuid(text: &str, out: &mut Vec<u8>) -> Fit {
        plain(text, out)
    }

    fn json(text: &str, _: bool, out: &mut Vec<u8>) -> Fit {
        plain(text, out)
    }
}

/// A length before each cell, and values as the types' receive functions take them.
pub struct BinaryForm;

/// Writes a cell whose length is known when it is written.
fn sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Fit) -> Fit {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    let length = i32::try_from(out.len() - at - 4).map_err(|_| "the value is longer than 2 GB")?;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn fixed<const SIZE: usize>(bytes: [u8; SIZE], out: &mut Vec<u8>) {
    out.extend_from_slice(&(SIZE as u32).to_be_bytes());
    out.extend_from_slice(&bytes);
}

impl CopyForm for BinaryForm {
    /// Signature, flags and the length of a header extension that is not there.
    const HEAD: &'static [u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    const TAIL: &'static [u8] = &[0xff, 0xff];

    fn begin_row(columns: usize, out: &mut Vec<u8>) {
        // A table has at most 1600 columns.
        out.extend_from_slice(&u16::try_from(columns).unwrap_or(u16::MAX).to_be_bytes());
    }

    fn begin_cell(_: usize, _: &mut Vec<u8>) {}

    fn end_row(_: &mut Vec<u8>) {}

    fn null(out: &mut Vec<u8>) {
        out.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    fn boolean(value: bool, out: &mut Vec<u8>) {
        fixed([u8::from(value)], out);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the caller has compared it with the type's range")]
    fn integer(value: i64, bits: u32, out: &mut Vec<u8>) {
        match bits {
            16 => fixed((value as i16).to_be_bytes(), out),
            32 => fixed((value as i32).to_be_bytes(), out),
            _ => fixed(value.to_be_bytes(), out),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the caller has seen that it stays the same")]
    fn float(value: f64, single: bool, out: &mut Vec<u8>) {
        // The server has one NaN.
        let value = if value.is_nan() { f64::NAN } else { value };
        match single {
            true => fixed((value as f32).to_be_bytes(), out),
            false => fixed(value.to_be_bytes(), out),
        }
    }

    fn float_text(text: &str, single: bool, out: &mut Vec<u8>) -> Fit {
        const BEYOND: &str = "the number is beyond the range of the column's type";
        let bad = |_| "the text is no number";
        // The nearest number of the column's own type: by way of the other it could be another.
        let value = match single {
            true => f64::from(text.parse::<f32>().map_err(bad)?),
            false => text.parse::<f64>().map_err(bad)?,
        };
        let mantissa = text.split(['e', 'E']).next().unwrap_or("");
        let vanished = value == 0.0 && mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
        if vanished || (value.is_infinite() && !text.ends_with("Infinity")) {
            return Err(BEYOND);
        }
        Self::float(value, single, out);
        Ok(())
    }

    fn numeric(text: &str, out: &mut Vec<u8>) -> Fit {
        sized(out, |out| numeric::write(text, out))
    }

    fn text(text: &str, out: &mut Vec<u8>) -> Fit {
        if text.as_bytes().contains(&0) {
            return Err(NUL);
        }
        sized(out, |out| {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        })
    }

    fn bytes(data: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(data);
    }

    fn date(text: &str, out: &mut Vec<u8>) -> Fit {
        moment::date(text).map(|days| fixed(days.to_be_bytes(), out))
    }

    fn time(text: &str, out: &mut Vec<u8>) -> Fit {
        moment::time(text).map(|micros| fixed(micros.to_be_bytes(), out))
    }

    fn timestamp(text: &str, out: &mut Vec<u8>) -> Fit {
        moment::timestamp(text).map(|micros| fixed(micros.to_be_bytes(), out))
    }

    fn uuid(text: &str, out: &mut Vec<u8>) -> Fit {
        let hex = text.bytes().filter(|byte| *byte != b'-').filter_map(|byte| (byte as char).to_digit(16));
        let number = hex.fold(0_u128, |number, digit| number << 4 | u128::from(digit));
        fixed(number.to_be_bytes(), out);
        Ok(())
    }

    fn json(text: &str, binary: bool, out: &mut Vec<u8>) -> Fit {
        if text.as_bytes().contains(&0) {
            return Err(NUL);
        }
        sized(out, |out| {
            if binary {
                // The version of the form.
                out.push(1);
            }
            out.extend_from_slice(text.as_bytes());
            Ok(())
        })
    }
}

const NUL: &str = "the text holds a NUL character, which PostgreSQL cannot store";

fn plain(text: &str, out: &mut Vec<u8>) -> Fit {
    if text.as_bytes().contains(&0) {
        return Err(NUL);
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn hex(data: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(data.len() * 2);
    for byte in data {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// COPY's escapes. NUL is the one character that PostgreSQL's text cannot hold.
fn escape(text: &str, out: &mut Vec<u8>) -> Fit {
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let letter = match byte {
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0 => return Err(NUL),
            _ => continue,
        };
        out.extend_from_slice(&bytes[start..at]);
        out.extend_from_slice(&[b'\\', letter]);
        start = at + 1;
    }
    out.extend_from_slice(&bytes[start..]);
    Ok(())
}

/// The digits of a whole number, without an allocation.
pub struct Digits {
    digits: [u8; 40],
    at: usize,
}

impl Digits {
    pub fn of(value: i128) -> Self {
        let mut digits = [0_u8; 40];
        let mut at = digits.len();
        let mut rest = value.unsigned_abs();
        // Nearly all numbers fit 64 bits, whose division is many times cheaper.
        while rest > u128::from(u64::MAX) {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        let mut rest = u64::try_from(rest).unwrap_or(0);
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            at -= 1;
            digits[at] = b'-';
        }
        Self { digits, at }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[self.at..]).unwrap_or("")
    }
}

/// A text that is read back as the same number.
pub fn shortest(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        value => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(write: impl FnOnce(&mut Vec<u8>) -> Fit) -> Result<Vec<u8>, &'static str> {
        let mut out = Vec::new();
        write(&mut out).map(|()| out)
    }

    #[test]
    fn v_201_binary_numbers_beyond_their_type_are_refused() {
        let float = |text, single| binary(|out| BinaryForm::float_text(text, single, out));
        for (text, single) in
            [("1e400", false), ("-1e400", false), ("1e-400", false), ("1e40", true), ("1e-60", true)]
        {
            assert!(float(text, single).is_err(), "{text}");
        }
        assert_eq!(float("-0", false), Ok([&[0, 0, 0, 8], &(-0.0_f64).to_be_bytes()[..]].concat()));
        assert_eq!(float("0e-400", false), Ok([&[0, 0, 0, 8], &0.0_f64.to_be_bytes()[..]].concat()));
        assert_eq!(
            float("-Infinity", true),
            Ok([&[0, 0, 0, 4], &f32::NEG_INFINITY.to_be_bytes()[..]].concat())
        );
        assert_eq!(float("16777217", true), Ok([&[0, 0, 0, 4], &16_777_216_f32.to_be_bytes()[..]].concat()));
    }

    #[test]
    fn pg_21_a_binary_uuid() {
        let uuid = binary(|out| BinaryForm::uuid("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", out)).expect("fits");
        assert_eq!(uuid[..8], [0, 0, 0, 16, 0xa0, 0xee, 0xbc, 0x99]);
        assert_eq!(uuid.len(), 20);
    }

    #[test]
    fn pg_42_no_form_takes_nul() {
        assert!(binary(|out| BinaryForm::text("a\0b", out)).is_err());
        assert!(binary(|out| BinaryForm::json("\"a\0b\"", true, out)).is_err());
        assert!(binary(|out| TextForm::text("a\0b", out)).is_err());
    }

    #[test]
    fn digits_of_extremes() {
        for value in [0, -1, 9, 10, i128::from(i64::MIN), i128::from(u64::MAX), i128::MAX, i128::MIN + 1] {
            assert_eq!(Digits::of(value).as_str(), value.to_string());
        }
    }
}
