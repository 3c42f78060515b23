//! COPY's text form, decoded into neutral cells (manual, page of COPY, "Text Format"). PostgreSQL
//! prints nearly all types in our canonical form already, with the settings that every session
//! has; only what a cell holds as a number, a boolean or bytes is parsed.

use crate::catalog::{Cell, RowBatch, Type};
use crate::change::Datum;

/// How a column's text becomes a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decode {
    Bool,
    Int,
    UInt,
    Float32,
    Float64,
    Text,
    /// `char(n)`: the blanks at the end are padding.
    Padded,
    Bytes,
}

impl Decode {
    /// By the type that the cell shall have.
    pub fn of(ty: &Type) -> Self {
        match ty {
            Type::Bool => Self::Bool,
            Type::Int { .. } => Self::Int,
            Type::UInt { .. } => Self::UInt,
            Type::Float { bits: 32 } => Self::Float32,
            Type::Float { .. } => Self::Float64,
            Type::Char { .. } => Self::Padded,
            Type::Binary { .. } | Type::Blob => Self::Bytes,
            _ => Self::Text,
        }
    }
}

/// Adds one line as a row. Says what is wrong with a line that is not as it should be; the line
/// itself is never shown.
pub fn decode_row(line: &[u8], columns: &[Decode], batch: &mut RowBatch) -> Result<(), &'static str> {
    let mut rest = line.strip_suffix(b"\n").ok_or("a COPY line without its end")?;
    for (index, decode) in columns.iter().enumerate() {
        let last = index + 1 == columns.len();
        let end = match last {
            true => rest.len(),
            false => find_tab(rest).ok_or("a COPY line with too few columns")?,
        };
        decode_field(&rest[..end], *decode, batch)?;
        rest = if last { &[] } else { &rest[end + 1..] };
    }
    if !rest.is_empty() {
        return Err("a COPY line with too many columns");
    }
    batch.end_row();
    Ok(())
}

/// Fields are short more often than not: a plain loop beats a call.
fn find_tab(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\t')
}

fn decode_field(field: &[u8], decode: Decode, batch: &mut RowBatch) -> Result<(), &'static str> {
    if field == b"\\N" {
        batch.push(Cell::Null);
        return Ok(());
    }
    match decode {
        Decode::Text => push_text(field, batch),
        Decode::Padded => push_text(field.trim_suffix_blanks(), batch),
        Decode::Bytes => {
            // A backslash is doubled in COPY's text form: `\\x00ff`.
            let hex = hex_digits(field, b"\\\\x")?;
            batch.push_bytes_with(|arena| unhex(hex, arena));
        }
        _ => batch.push(scalar(field, decode)?),
    }
    Ok(())
}

/// One value as the change log tells it: the server's text without COPY's escapes. `spare` takes
/// the bytes of what is printed as hexadecimal digits.
pub fn decode_value<'a>(
    text: &'a [u8],
    decode: Decode,
    spare: &'a mut Vec<u8>,
) -> Result<Datum<'a>, &'static str> {
    Ok(match decode {
        Decode::Text => Datum::Text(text),
        Decode::Padded => Datum::Text(text.trim_suffix_blanks()),
        Decode::Bytes => {
            spare.clear();
            unhex(hex_digits(text, b"\\x")?, spare);
            Datum::Bytes(spare)
        }
        _ => match scalar(text, decode)? {
            Cell::Bool(value) => Datum::Bool(value),
            Cell::Int(value) => Datum::Int(value),
            Cell::UInt(value) => Datum::UInt(value),
            Cell::Float(value) => Datum::Float(value),
            _ => return Err("a value of an unknown kind"),
        },
    })
}

/// A number or a truth, whose text holds nothing that could be escaped.
fn scalar(field: &[u8], decode: Decode) -> Result<Cell, &'static str> {
    const NO_INTEGER: &str = "an integer that is none";
    const NO_NUMBER: &str = "a number that is none";
    Ok(match decode {
        Decode::Int => Cell::Int(parse_int(field).ok_or(NO_INTEGER)?),
        Decode::UInt => Cell::UInt(parse(field).ok_or(NO_INTEGER)?),
        Decode::Float32 => Cell::Float(parse::<f32>(field).ok_or(NO_NUMBER)?.into()),
        Decode::Float64 => Cell::Float(parse(field).ok_or(NO_NUMBER)?),
        _ => match field {
            b"t" => Cell::Bool(true),
            b"f" => Cell::Bool(false),
            _ => return Err("a boolean that is none"),
        },
    })
}

/// The digits behind the mark, an even number of them.
fn hex_digits<'a>(field: &'a [u8], mark: &[u8]) -> Result<&'a [u8], &'static str> {
    let hex = field.strip_prefix(mark);
    let hex = hex.filter(|hex| hex.len() % 2 == 0 && hex.iter().all(u8::is_ascii_hexdigit));
    hex.ok_or("bytes that are not in hex form")
}

fn unhex(hex: &[u8], out: &mut Vec<u8>) {
    out.extend(hex.chunks_exact(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])));
}

trait TrimBlanks {
    fn trim_suffix_blanks(&self) -> &[u8];
}

impl TrimBlanks for [u8] {
    fn trim_suffix_blanks(&self) -> &[u8] {
        let end = self.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        &self[..end]
    }
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

fn parse<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn parse_int(field: &[u8]) -> Option<i64> {
    let (negative, digits) = match field {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 {
        return parse(field);
    }
    let mut value = 0_i64;
    for digit in digits {
        value = value * 10 + i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    Some(if negative { -value } else { value })
}

/// Undoes the escapes; most text has none.
fn push_text(field: &[u8], batch: &mut RowBatch) {
    let Some(first) = field.iter().position(|byte| *byte == b'\\') else {
        return batch.push_text(field);
    };
    batch.push_text_with(|arena| {
        arena.extend_from_slice(&field[..first]);
        let mut bytes = field[first..].iter();
        while let Some(byte) = bytes.next() {
            match (byte, bytes.as_slice().first()) {
                (b'\\', Some(next)) => {
                    arena.push(unescape(*next));
                    bytes.next();
                }
                _ => arena.push(*byte),
            }
        }
    });
}

fn unescape(letter: u8) -> u8 {
    match letter {
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: &[u8], columns: &[Decode]) -> RowBatch {
        let mut batch = RowBatch::new(columns.len());
        decode_row(line, columns, &mut batch).expect("a good line");
        batch
    }

    fn text(line: &[u8]) -> Vec<u8> {
        let batch = row(line, &[Decode::Text]);
        batch.data(batch.row(0)[0]).to_vec()
    }

    #[test]
    fn pg_12_text_and_its_traps() {
        assert_eq!(text(b"\n"), b"");
        assert_eq!(text(b"NULL\n"), b"NULL");
        assert_eq!(text(b"\\\\N\n"), b"\\N");
        assert_eq!(text(b"\\\\.\n"), b"\\.");
        assert_eq!(text(b"a\\tb\\nc\\rd\\\\e\\bf\\fg\\vh\n"), b"a\tb\nc\rd\\e\x08f\x0cg\x0bh");
        assert_eq!(row(b"\\N\n", &[Decode::Text]).row(0), [Cell::Null]);
        assert_eq!(text("ä\u{2028}\u{feff}\n".as_bytes()), "ä\u{2028}\u{feff}".as_bytes());
    }

    #[test]
    fn pg_01_numbers() {
        let int = |line: &[u8]| row(line, &[Decode::Int]).row(0)[0];
        for value in
            [0, 7, -1, i64::MIN, i64::MAX, -32768, 999_999_999_999_999_999, 1_000_000_000_000_000_000]
        {
            assert_eq!(int(format!("{value}\n").as_bytes()), Cell::Int(value));
        }
        let float = |line: &[u8], decode| row(line, &[decode]).row(0)[0];
        assert_eq!(float(b"0.1\n", Decode::Float32), Cell::Float(f64::from(0.1_f32)));
        assert_eq!(float(b"1e-320\n", Decode::Float64), Cell::Float(1e-320));
        assert_eq!(float(b"-Infinity\n", Decode::Float64), Cell::Float(f64::NEG_INFINITY));
        assert!(matches!(float(b"NaN\n", Decode::Float64), Cell::Float(value) if value.is_nan()));
        assert!(matches!(float(b"-0\n", Decode::Float64), Cell::Float(value) if value.is_sign_negative()));
        let mut batch = RowBatch::new(1);
        assert!(decode_row(b"1x\n", &[Decode::Int], &mut batch).is_err());
    }

    #[test]
    fn pg_14_bytes() {
        let all: Vec<u8> = (0..=255).collect();
        let hex: String = all.iter().map(|byte| format!("{byte:02x}")).collect();
        let batch = row(format!("\\\\x{hex}\t\\\\x\n").as_bytes(), &[Decode::Bytes, Decode::Bytes]);
        assert_eq!(batch.data(batch.row(0)[0]), all);
        assert_eq!(batch.data(batch.row(0)[1]), b"");
        assert!(matches!(batch.row(0)[1], Cell::Bytes { .. }));
    }

    #[test]
    fn p_02_the_change_log_tells_the_same_values_as_a_copy() {
        let mut spare = Vec::new();
        let mut value = |text: &'static [u8], decode| match decode_value(text, decode, &mut spare)? {
            Datum::Bytes(bytes) => Ok(format!("{bytes:?}")),
            datum => Ok::<_, &str>(format!("{datum:?}")),
        };
        assert_eq!(value(b"-5", Decode::Int), Ok("Int(-5)".into()));
        assert_eq!(value(b"f", Decode::Bool), Ok("Bool(false)".into()));
        assert_eq!(value(b"0.1", Decode::Float32), Ok(format!("Float({})", f64::from(0.1_f32))));
        assert_eq!(value(b"\\x00ff", Decode::Bytes), Ok("[0, 255]".into()));
        assert_eq!(value(b"a\\tb ", Decode::Text), Ok(format!("{:?}", Datum::Text(b"a\\tb "))));
        assert_eq!(value(b"ab  ", Decode::Padded), Ok(format!("{:?}", Datum::Text(b"ab"))));
        assert!(value(b"00ff", Decode::Bytes).is_err() && value(b"", Decode::Int).is_err());
    }

    #[test]
    fn pg_10_padding_is_no_data() {
        let batch = row(b"ab   \n", &[Decode::Padded]);
        assert_eq!(batch.data(batch.row(0)[0]), b"ab");
    }

    #[test]
    fn s_20_rows_without_columns_and_wrong_numbers_of_them() {
        assert_eq!(row(b"\n", &[]).rows(), 1);
        let mut batch = RowBatch::new(2);
        assert!(decode_row(b"1\n", &[Decode::Int, Decode::Int], &mut batch).is_err());
        assert!(decode_row(b"x\n", &[], &mut RowBatch::new(0)).is_err());
        assert!(decode_row(b"1", &[Decode::Int], &mut RowBatch::new(1)).is_err());
    }
}
