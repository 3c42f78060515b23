//! Neutral cells, encoded as text for columns of PostgreSQL: in COPY's form, or plain for bound
//! values. What the server would refuse is refused here, where the column is known; what it would
//! take and silently change (a third decimal, a time zone, a word like `now`) is refused as well.

use std::io::Write;

use super::strict;
use crate::catalog::{Cell, ColumnMap, Form, Projection, RowBatch, Type};
use crate::change::Datum;

/// Writes rows of one projection.
pub struct Encoder {
    columns: Vec<Put>,
    native: bool,
}

/// A cell that cannot be written: which column, and why. Never the value.
#[derive(Debug, PartialEq, Eq)]
pub struct Bad {
    pub column: usize,
    pub why: &'static str,
}

/// Where the text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A line of COPY: backslashes and line ends are escaped.
    Copy,
    /// A bound value: every byte stands for itself.
    Bound,
}

/// How cells go into one column.
#[derive(Clone, Debug, PartialEq)]
enum Put {
    Bool,
    Int {
        bits: u32,
    },
    Decimal {
        scale: Option<i32>,
    },
    Float {
        single: bool,
    },
    Text {
        characters: Option<u32>,
    },
    Bytes {
        length: Option<u32>,
    },
    Bit,
    Date,
    Time {
        precision: u8,
        zone: bool,
    },
    Timestamp {
        precision: u8,
    },
    /// `zone`: what zone a text without one is in.
    TimestampTz {
        precision: u8,
        zone: Option<String>,
    },
    Uuid,
    /// Text that the server checks and keeps as it is meant.
    Verbatim,
}

type Fit = Result<(), &'static str>;

impl Put {
    fn of(column: &ColumnMap) -> Self {
        let zone = || column.cast.as_ref().and_then(|cast| cast.zone.clone());
        match &column.target_type {
            Type::Bool => Self::Bool,
            Type::Int { bits } => Self::Int { bits: u32::from(*bits).max(16) },
            Type::Decimal { scale, precision } => Self::Decimal { scale: scale.or(precision.map(|_| 0)) },
            Type::Float { bits } => Self::Float { single: *bits == 32 },
            Type::Text => Self::Text { characters: None },
            Type::VarChar { length } | Type::Char { length } => Self::Text { characters: Some(*length) },
            Type::Blob => Self::Bytes { length: None },
            Type::Binary { length } => Self::Bytes { length: Some(*length) },
            Type::Bit { .. } => Self::Bit,
            Type::Date => Self::Date,
            Type::Time { precision, zone } => Self::Time { precision: *precision, zone: *zone },
            Type::Timestamp { precision } => Self::Timestamp { precision: *precision },
            Type::TimestampTz { precision } => Self::TimestampTz { precision: *precision, zone: zone() },
            Type::Uuid => Self::Uuid,
            _ => Self::Verbatim,
        }
    }
}

impl Encoder {
    pub fn new(projection: &Projection) -> Self {
        Self { columns: projection.columns.iter().map(Put::of).collect(), native: false }
    }

    /// For changes. Between equal engines values come in the source's own text, and are what
    /// they are.
    pub fn of_changes(projection: &Projection) -> Self {
        match projection.form {
            Form::Rows => Self::new(projection),
            _ => Self { columns: vec![Put::Verbatim; projection.columns.len()], native: true },
        }
    }

    /// Values come in the text that PostgreSQL itself has made of them.
    pub fn is_native(&self) -> bool {
        self.native
    }

    /// Appends a value of a change, which is not null.
    pub fn datum(&self, column: usize, datum: Datum<'_>, way: Way, out: &mut Vec<u8>) -> Result<(), Bad> {
        let (cell, data): (Cell, &[u8]) = match datum {
            Datum::Null | Datum::Absent => return Err(Bad { column, why: "the change has no value for it" }),
            Datum::Bool(value) => (Cell::Bool(value), &[]),
            Datum::Int(value) => (Cell::Int(value), &[]),
            Datum::UInt(value) => (Cell::UInt(value), &[]),
            Datum::Float(value) => (Cell::Float(value), &[]),
            Datum::Text(text) => (Cell::Text { start: 0, end: 0 }, text),
            Datum::Bytes(bytes) => (Cell::Bytes { start: 0, end: 0 }, bytes),
        };
        let put = self.columns.get(column).ok_or(Bad { column, why: "there is no such column" })?;
        put_cell(put, way, cell, data, out).map_err(|why| Bad { column, why })
    }

    /// Appends one row. After an error `out` ends in half a row.
    pub fn row(&self, batch: &RowBatch, index: usize, out: &mut Vec<u8>) -> Result<(), Bad> {
        for (column, (put, cell)) in self.columns.iter().zip(batch.row(index)).enumerate() {
            if column > 0 {
                out.push(b'\t');
            }
            put_cell(put, Way::Copy, *cell, batch.data(*cell), out).map_err(|why| Bad { column, why })?;
        }
        out.push(b'\n');
        Ok(())
    }
}

fn put_cell(put: &Put, way: Way, cell: Cell, data: &[u8], out: &mut Vec<u8>) -> Fit {
    match cell {
        Cell::Null => {
            out.extend_from_slice(b"\\N");
            Ok(())
        }
        Cell::Bool(value) => put_bool(put, value, out),
        Cell::Int(value) => put_number(put, i128::from(value), out),
        Cell::UInt(value) => put_number(put, i128::from(value), out),
        Cell::Float(value) => put_float(put, value, out),
        Cell::Bytes { .. } => put_bytes(put, way, data, out),
        Cell::Text { .. } => {
            let text = std::str::from_utf8(data).map_err(|_| "the text is not valid UTF-8")?;
            put_text(put, way, text, out)
        }
    }
}

fn put_bool(put: &Put, value: bool, out: &mut Vec<u8>) -> Fit {
    match put {
        Put::Bool => out.push(if value { b't' } else { b'f' }),
        Put::Int { .. } | Put::Decimal { .. } | Put::Bit => out.push(if value { b'1' } else { b'0' }),
        Put::Text { characters: None } => out.extend_from_slice(if value { b"true" } else { b"false" }),
        _ => return Err("a boolean does not fit this type"),
    }
    Ok(())
}

fn put_number(put: &Put, value: i128, out: &mut Vec<u8>) -> Fit {
    match put {
        Put::Bool => match value {
            0 | 1 => out.push(if value == 1 { b't' } else { b'f' }),
            _ => return Err("a boolean must be 0 or 1"),
        },
        Put::Int { bits } => {
            if value.checked_shr(bits - 1).is_none_or(|rest| rest != 0 && rest != -1) {
                return Err("the number is outside the range of the column's type");
            }
            put_int(value, out);
        }
        Put::Float { single } => {
            let exact = if *single { 1_i128 << 24 } else { 1 << 53 };
            if value.abs() > exact {
                return Err("the whole number has more digits than this floating point type keeps");
            }
            put_int(value, out);
        }
        Put::Decimal { .. } | Put::Verbatim => put_int(value, out),
        Put::Text { characters } => {
            let start = out.len();
            put_int(value, out);
            if characters.is_some_and(|most| out.len() - start > most as usize) {
                return Err("the text is longer than the column allows");
            }
        }
        _ => return Err("a number does not fit this type"),
    }
    Ok(())
}

fn put_int(value: i128, out: &mut Vec<u8>) {
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
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

#[expect(clippy::cast_possible_truncation, reason = "that it is exact is what is being asked")]
fn put_float(put: &Put, value: f64, out: &mut Vec<u8>) -> Fit {
    match put {
        Put::Float { single: true } if value.is_finite() && f64::from(value as f32) != value => {
            Err("the number has more digits than a 32-bit floating point column keeps")
        }
        Put::Float { .. } | Put::Text { characters: None } | Put::Verbatim => {
            put_shortest(value, out);
            Ok(())
        }
        Put::Decimal { scale } => {
            if !value.is_finite() {
                put_shortest(value, out);
                return Ok(());
            }
            let text = format!("{value}");
            strict::decimal(&text, *scale)?;
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
        Put::Int { .. } if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 => {
            put_number(put, value as i128, out)
        }
        Put::Int { .. } => Err("a number with a fraction does not fit a whole number"),
        _ => Err("a floating point number does not fit this type"),
    }
}

fn put_shortest(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
    // Writing to a vector does not fail.
    let _ = write!(out, "{value:?}");
}

fn put_bytes(put: &Put, way: Way, data: &[u8], out: &mut Vec<u8>) -> Fit {
    let Put::Bytes { length } = put else { return Err("bytes do not fit this type") };
    if length.is_some_and(|length| length as usize != data.len()) {
        return Err("the bytes have another length than the column's");
    }
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(data.len() * 2 + 3);
    out.extend_from_slice(if way == Way::Copy { b"\\\\x" } else { b"\\x" });
    for byte in data {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    Ok(())
}

fn put_text(put: &Put, way: Way, text: &str, out: &mut Vec<u8>) -> Fit {
    match put {
        Put::Text { characters } => {
            if let Some(most) = characters
                && text.len() > *most as usize
                && text.chars().count() > *most as usize
            {
                return Err("the text is longer than the column allows");
            }
            escape(text, way, out)
        }
        Put::Verbatim => escape(text, way, out),
        Put::Bool => put_bool(put, strict::boolean(text)?, out),
        Put::Int { .. } => put_number(put, strict::integer(text)?, out),
        Put::Decimal { scale } => strict::decimal(text, *scale).and_then(|()| escape(text, way, out)),
        Put::Float { .. } => strict::float(text).and_then(|()| escape(text, way, out)),
        Put::Bytes { .. } => Err("text does not fit bytes"),
        Put::Bit => strict::bits(text).and_then(|()| escape(text, way, out)),
        Put::Date => strict::date(text).and_then(|()| escape(text, way, out)),
        Put::Time { precision, zone } => {
            strict::time(text, *precision, *zone).and_then(|()| escape(text, way, out))
        }
        Put::Timestamp { precision } => match strict::timestamp(text, *precision)? {
            true => Err("the timestamp has a zone and the column has none"),
            false => escape(text, way, out),
        },
        Put::TimestampTz { precision, zone } => put_timestamp_tz(text, *precision, zone.as_deref(), way, out),
        Put::Uuid => strict::uuid(text).and_then(|()| escape(text, way, out)),
    }
}

fn put_timestamp_tz(text: &str, precision: u8, zone: Option<&str>, way: Way, out: &mut Vec<u8>) -> Fit {
    let has_zone = strict::timestamp(text, precision)?;
    escape(text, way, out)?;
    match zone {
        _ if has_zone || text.ends_with("infinity") => Ok(()),
        Some(zone) => {
            out.push(b' ');
            escape(zone, way, out)
        }
        None => Err("the timestamp has no zone and the plan names none (`zone:`)"),
    }
}

const NUL: &str = "the text holds a NUL character, which PostgreSQL cannot store";

/// COPY's escapes, where they are wanted. NUL is the one character that PostgreSQL's text cannot
/// hold.
fn escape(text: &str, way: Way, out: &mut Vec<u8>) -> Fit {
    let bytes = text.as_bytes();
    if way == Way::Bound {
        out.extend_from_slice(bytes);
        return if bytes.contains(&0) { Err(NUL) } else { Ok(()) };
    }
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

#[cfg(test)]
mod tests {
    use super::super::rows::{Decode, decode_row};
    use super::*;
    use crate::catalog::{Form, Name};

    fn encoder(types: Vec<Type>) -> Encoder {
        let column = |ty: Type| ColumnMap {
            source: "a".into(),
            target: "a".into(),
            source_type: Type::Any,
            source_native: String::new(),
            target_type: ty,
            target_native: String::new(),
            not_null: false,
            cast: None,
        };
        Encoder::new(&Projection {
            source: Name::new("s", "t"),
            target: Name::new("s", "t"),
            columns: types.into_iter().map(column).collect(),
            filter: None,
            key: vec![],
            form: Form::Rows,
        })
    }

    fn one(ty: Type, fill: impl FnOnce(&mut RowBatch)) -> Result<String, &'static str> {
        let mut batch = RowBatch::new(1);
        fill(&mut batch);
        batch.end_row();
        let mut out = Vec::new();
        encoder(vec![ty]).row(&batch, 0, &mut out).map_err(|bad| bad.why)?;
        Ok(String::from_utf8(out).expect("text").trim_end_matches('\n').to_string())
    }

    fn text(ty: Type, text: &str) -> Result<String, &'static str> {
        one(ty, |batch| batch.push_text(text.as_bytes()))
    }

    #[test]
    fn pg_12_what_was_encoded_decodes_to_the_same() {
        let texts = [
            "",
            "\\N",
            "NULL",
            "\\.",
            "a\tb\nc\rd\\e",
            "ä\u{2028}\u{feff}😀",
            "\\x41",
            "'\"",
            "\u{1}\u{8}\u{b}",
        ];
        for value in texts {
            let mut batch = RowBatch::new(2);
            batch.push_text(value.as_bytes());
            batch.push(Cell::Null);
            batch.end_row();
            let mut line = Vec::new();
            encoder(vec![Type::Text, Type::Text]).row(&batch, 0, &mut line).expect("fits");
            let mut back = RowBatch::new(2);
            decode_row(&line, &[Decode::Text, Decode::Text], &mut back).expect("a line");
            assert_eq!(back.data(back.row(0)[0]), value.as_bytes());
            assert_eq!(back.row(0)[1], Cell::Null);
        }
    }

    #[test]
    fn pg_42_nul_and_broken_text_are_refused_before_sending() {
        assert!(text(Type::Text, "a\0b").expect_err("NUL").contains("NUL"));
        let broken = one(Type::Text, |batch| batch.push_text(b"a\xffb"));
        assert!(broken.expect_err("not UTF-8").contains("UTF-8"));
    }

    #[test]
    fn v_201_numbers_out_of_range() {
        let int = |bits, value| one(Type::Int { bits }, |batch| batch.push(Cell::Int(value)));
        assert_eq!(int(16, -32768), Ok("-32768".into()));
        assert!(int(16, 32768).is_err());
        assert!(int(32, -2_147_483_649).is_err());
        assert_eq!(int(64, i64::MIN), Ok(i64::MIN.to_string()));
        let large = one(Type::Int { bits: 64 }, |batch| batch.push(Cell::UInt(u64::MAX)));
        assert!(large.is_err());
        let decimal = Type::Decimal { precision: None, scale: None };
        assert_eq!(one(decimal, |batch| batch.push(Cell::UInt(u64::MAX))), Ok(u64::MAX.to_string()));
    }

    #[test]
    fn nothing_is_rounded() {
        let float = |bits, value| one(Type::Float { bits }, |batch| batch.push(Cell::Float(value)));
        assert_eq!(float(64, 0.1), Ok("0.1".into()));
        assert_eq!(float(64, -0.0), Ok("-0.0".into()));
        assert_eq!(float(64, f64::INFINITY), Ok("Infinity".into()));
        assert!(float(32, 0.1).is_err());
        assert_eq!(float(32, f64::from(0.1_f32)).map(|text| text.parse::<f32>()), Ok(Ok(0.1)));
        let int = one(Type::Float { bits: 64 }, |batch| batch.push(Cell::Int((1 << 53) + 1)));
        assert!(int.is_err());
        let money = Type::Decimal { precision: Some(10), scale: Some(2) };
        assert_eq!(text(money.clone(), "1.5000"), Ok("1.5000".into()));
        assert!(text(money.clone(), "1.005").is_err());
        assert!(one(money, |batch| batch.push(Cell::Float(1.005))).is_err());
        assert!(text(Type::Timestamp { precision: 3 }, "2024-01-01 00:00:00.1234").is_err());
    }

    #[test]
    fn v_204_long_text_is_refused_even_where_the_rest_is_blanks() {
        assert!(text(Type::VarChar { length: 3 }, "abc ").is_err());
        assert_eq!(text(Type::VarChar { length: 3 }, "äöü"), Ok("äöü".into()));
    }

    #[test]
    fn v_215_values_of_another_class() {
        assert!(text(Type::Int { bits: 64 }, "abc").is_err());
        assert!(text(Type::Int { bits: 64 }, "007").is_err());
        assert_eq!(text(Type::Int { bits: 64 }, "-7"), Ok("-7".into()));
        assert!(text(Type::Blob, "abc").is_err());
        assert!(one(Type::Text, |batch| batch.push_bytes(b"abc")).is_err());
        assert!(one(Type::Bool, |batch| batch.push(Cell::Int(2))).is_err());
        assert_eq!(one(Type::Bool, |batch| batch.push(Cell::Int(1))), Ok("t".into()));
        assert!(one(Type::Date, |batch| batch.push(Cell::Int(1))).is_err());
    }

    #[test]
    fn v_207_zones_are_never_guessed() {
        let zoned = Type::TimestampTz { precision: 6 };
        assert!(text(zoned.clone(), "2024-01-01 00:00:00").is_err());
        assert_eq!(text(zoned, "2024-01-01 00:00:00Z"), Ok("2024-01-01 00:00:00Z".into()));
        assert!(text(Type::Timestamp { precision: 6 }, "2024-01-01 00:00:00+02").is_err());
        assert_eq!(text(Type::TimestampTz { precision: 6 }, "-infinity"), Ok("-infinity".into()));
        let put = Put::TimestampTz { precision: 6, zone: Some("Europe/Berlin".into()) };
        let mut out = Vec::new();
        put_text(&put, Way::Copy, "2024-01-01 00:00:00", &mut out).expect("fits");
        assert_eq!(out, b"2024-01-01 00:00:00 Europe/Berlin");
    }

    #[test]
    fn pg_14_bytes() {
        assert_eq!(one(Type::Blob, |batch| batch.push_bytes(b"\x00\xff\\")), Ok("\\\\x00ff5c".into()));
        assert_eq!(one(Type::Blob, |batch| batch.push_bytes(b"")), Ok("\\\\x".into()));
    }
}
