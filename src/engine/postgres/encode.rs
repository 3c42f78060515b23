//! Neutral cells, encoded as COPY takes them for columns of PostgreSQL: in its binary form where
//! every column's type is one that is written here, else as text. What the server would refuse is
//! refused here, where the column is known; what it would take and silently change (a third
//! decimal, a time zone, a word like `now`, blanks at the end) is refused as well.

use super::form::{BinaryForm, CopyForm, Digits, Fit, TextForm, shortest};
use super::{strict, types};
use crate::catalog::members;
use crate::catalog::{Cell, ColumnMap, Form, Projection, RowBatch, Type};
use crate::change::Datum;

/// Writes rows of one projection.
pub struct Encoder {
    columns: Vec<Put>,
    binary: bool,
    native: bool,
}

/// A cell that cannot be written: which column, and why. Never the value.
#[derive(Debug, PartialEq, Eq)]
pub struct Bad {
    pub column: usize,
    pub why: &'static str,
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
    Json {
        binary: bool,
    },
    /// Members by commas, as an array.
    Members,
    /// Text that the server checks and keeps as it is meant.
    Verbatim,
}

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
            Type::Json { binary } => Self::Json { binary: *binary },
            Type::Array { .. } if matches!(column.source_type, Type::Set { .. }) => Self::Members,
            _ => Self::Verbatim,
        }
    }

    /// True where the binary form of exactly this built-in type is known here. A domain or a type
    /// of an extension may look alike; a zone by name only the server knows.
    fn is_binary(&self, column: &ColumnMap) -> bool {
        let known = match self {
            Self::Bit | Self::Time { zone: true, .. } | Self::TimestampTz { zone: Some(_), .. } => false,
            Self::Members | Self::Verbatim => false,
            // "char" and name are no texts.
            Self::Text { characters: Some(_) } => column.target_native.starts_with("character"),
            _ => true,
        };
        known && types::parse(&column.target_native) == column.target_type
    }
}

impl Encoder {
    pub fn new(projection: &Projection) -> Self {
        let columns: Vec<Put> = projection.columns.iter().map(Put::of).collect();
        let binary = columns.iter().zip(&projection.columns).all(|(put, column)| put.is_binary(column));
        Self { columns, binary, native: false }
    }

    /// For changes. Between equal engines values come in the source's own text, and are what
    /// they are.
    pub fn of_changes(projection: &Projection) -> Self {
        match projection.form {
            Form::Rows => Self::new(projection),
            _ => Self { columns: vec![Put::Verbatim; projection.columns.len()], binary: false, native: true },
        }
    }

    /// Values come in the text that PostgreSQL itself has made of them.
    pub fn is_native(&self) -> bool {
        self.native
    }

    /// Appends a value of a change, which is not null.
    pub fn datum<F: CopyForm>(&self, column: usize, datum: Datum<'_>, out: &mut Vec<u8>) -> Result<(), Bad> {
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
        put_cell::<F>(put, cell, data, out).map_err(|why| Bad { column, why })
    }

    /// Rows go in COPY's binary form.
    pub fn is_binary(&self) -> bool {
        self.binary
    }

    /// What comes before the first row.
    pub fn head(&self) -> &'static [u8] {
        if self.binary { BinaryForm::HEAD } else { TextForm::HEAD }
    }

    /// What comes after the last row.
    pub fn tail(&self) -> &'static [u8] {
        if self.binary { BinaryForm::TAIL } else { TextForm::TAIL }
    }

    /// Appends one row. After an error `out` ends in half a row.
    pub fn row(&self, batch: &RowBatch, index: usize, out: &mut Vec<u8>) -> Result<(), Bad> {
        match self.binary {
            true => self.row_as::<BinaryForm>(batch, index, out),
            false => self.row_as::<TextForm>(batch, index, out),
        }
    }

    fn row_as<F: CopyForm>(&self, batch: &RowBatch, index: usize, out: &mut Vec<u8>) -> Result<(), Bad> {
        F::begin_row(self.columns.len(), out);
        for (column, (put, cell)) in self.columns.iter().zip(batch.row(index)).enumerate() {
            F::begin_cell(column, out);
            put_cell::<F>(put, *cell, batch.data(*cell), out).map_err(|why| Bad { column, why })?;
        }
        F::end_row(out);
        Ok(())
    }
}

#[inline]
fn put_cell<F: CopyForm>(put: &Put, cell: Cell, data: &[u8], out: &mut Vec<u8>) -> Fit {
    match cell {
        Cell::Null => {
            F::null(out);
            Ok(())
        }
        Cell::Bool(value) => put_bool::<F>(put, value, out),
        Cell::Int(value) => put_number::<F>(put, i128::from(value), out),
        Cell::UInt(value) => put_number::<F>(put, i128::from(value), out),
        Cell::Float(value) => put_float::<F>(put, value, out),
        Cell::Bytes { .. } => put_bytes::<F>(put, data, out),
        Cell::Text { .. } => {
            let text = std::str::from_utf8(data).map_err(|_| "the text is not valid UTF-8")?;
            put_text::<F>(put, text, out)
        }
    }
}

fn put_bool<F: CopyForm>(put: &Put, value: bool, out: &mut Vec<u8>) -> Fit {
    let digit = if value { "1" } else { "0" };
    match put {
        Put::Bool => F::boolean(value, out),
        Put::Int { bits } => F::integer(value.into(), *bits, out),
        Put::Decimal { .. } => return F::numeric(digit, out),
        Put::Bit => return F::text(digit, out),
        Put::Text { characters: None } => return F::text(if value { "true" } else { "false" }, out),
        _ => return Err("a boolean does not fit this type"),
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "it has just been compared with what is exact")]
fn put_number<F: CopyForm>(put: &Put, value: i128, out: &mut Vec<u8>) -> Fit {
    match put {
        Put::Bool => match value {
            0 | 1 => F::boolean(value == 1, out),
            _ => return Err("a boolean must be 0 or 1"),
        },
        Put::Int { bits } => {
            const OUTSIDE: &str = "the number is outside the range of the column's type";
            let value = i64::try_from(value).map_err(|_| OUTSIDE)?;
            if value.checked_shr(bits - 1).is_none_or(|rest| rest != 0 && rest != -1) {
                return Err(OUTSIDE);
            }
            F::integer(value, *bits, out);
        }
        Put::Float { single } => {
            let exact = if *single { 1_i128 << 24 } else { 1 << 53 };
            if value.abs() > exact {
                return Err("the whole number has more digits than this floating point type keeps");
            }
            F::float(value as f64, *single, out);
        }
        Put::Decimal { .. } => return F::numeric(Digits::of(value).as_str(), out),
        Put::Verbatim | Put::Json { .. } => return put_text::<F>(put, Digits::of(value).as_str(), out),
        Put::Text { characters } => {
            let digits = Digits::of(value);
            if characters.is_some_and(|most| digits.as_str().len() > most as usize) {
                return Err("the text is longer than the column allows");
            }
            return F::text(digits.as_str(), out);
        }
        _ => return Err("a number does not fit this type"),
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "that it is exact is what is being asked")]
fn put_float<F: CopyForm>(put: &Put, value: f64, out: &mut Vec<u8>) -> Fit {
    match put {
        Put::Float { single: true } if value.is_finite() && f64::from(value as f32) != value => {
            Err("the number has more digits than a 32-bit floating point column keeps")
        }
        Put::Float { single } => {
            F::float(value, *single, out);
            Ok(())
        }
        Put::Text { characters: None } | Put::Verbatim | Put::Json { .. } => {
            put_text::<F>(put, &shortest(value), out)
        }
        Put::Decimal { .. } if !value.is_finite() => F::numeric(&shortest(value), out),
        Put::Decimal { scale } => {
            let text = format!("{value}");
            strict::decimal(&text, *scale)?;
            F::numeric(&text, out)
        }
        Put::Int { .. } if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 => {
            put_number::<F>(put, value as i128, out)
        }
        Put::Int { .. } => Err("a number with a fraction does not fit a whole number"),
        _ => Err("a floating point number does not fit this type"),
    }
}

fn put_bytes<F: CopyForm>(put: &Put, data: &[u8], out: &mut Vec<u8>) -> Fit {
    let Put::Bytes { length } = put else { return Err("bytes do not fit this type") };
    if length.is_some_and(|length| length as usize != data.len()) {
        return Err("the bytes have another length than the column's");
    }
    F::bytes(data, out);
    Ok(())
}

fn put_text<F: CopyForm>(put: &Put, text: &str, out: &mut Vec<u8>) -> Fit {
    match put {
        Put::Text { characters } => {
            if let Some(most) = characters
                && text.len() > *most as usize
                && text.chars().count() > *most as usize
            {
                return Err("the text is longer than the column allows");
            }
            F::text(text, out)
        }
        Put::Members => {
            let mut array = String::new();
            members::append_array(text, &mut array);
            F::text(&array, out)
        }
        Put::Verbatim => F::text(text, out),
        Put::Json { binary } => F::json(text, *binary, out),
        Put::Bool => put_bool::<F>(put, strict::boolean(text)?, out),
        Put::Int { .. } => put_number::<F>(put, strict::integer(text)?, out),
        Put::Decimal { scale } => strict::decimal(text, *scale).and_then(|()| F::numeric(text, out)),
        Put::Float { single } => strict::float(text).and_then(|()| F::float_text(text, *single, out)),
        Put::Bytes { .. } => Err("text does not fit bytes"),
        Put::Bit => strict::bits(text).and_then(|()| F::text(text, out)),
        Put::Date => strict::date(text).and_then(|()| F::date(text, out)),
        Put::Time { precision, zone } => {
            strict::time(text, *precision, *zone).and_then(|()| F::time(text, out))
        }
        Put::Timestamp { precision } => match strict::timestamp(text, *precision)? {
            true => Err("the timestamp has a zone and the column has none"),
            false => F::timestamp(text, out),
        },
        Put::TimestampTz { precision, zone } => put_timestamp_tz::<F>(text, *precision, zone.as_deref(), out),
        Put::Uuid => strict::uuid(text).and_then(|()| F::uuid(text, out)),
    }
}

fn put_timestamp_tz<F: CopyForm>(text: &str, precision: u8, zone: Option<&str>, out: &mut Vec<u8>) -> Fit {
    let has_zone = strict::timestamp(text, precision)?;
    match zone {
        _ if has_zone || text.ends_with("infinity") => F::timestamp(text, out),
        // Only the text form is asked to take a zone by its name.
        Some(zone) => F::timestamp(&format!("{text} {zone}"), out),
        None => Err("the timestamp has no zone and the plan names none (`zone:`)"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::{Decode, decode_row};
    use super::*;
    use crate::catalog::{Cast, Form, Name};

    fn encoder(types: Vec<Type>) -> Encoder {
        Encoder::new(&projection(types))
    }

    fn projection(types: Vec<Type>) -> Projection {
        let column = |ty: Type| ColumnMap {
            source: "a".into(),
            target: "a".into(),
            source_type: Type::Any,
            source_native: String::new(),
            target_type: ty,
            target_native: String::new(),
            not_null: false,
            zero_date: Default::default(),
            error_value_null: false,
            cast: None,
        };
        Projection {
            source: Name::new("s", "t"),
            target: Name::new("s", "t"),
            columns: types.into_iter().map(column).collect(),
            filter: None,
            key: vec![],
            form: Form::Rows,
        }
    }

    #[test]
    fn the_binary_form_is_for_tables_of_known_types_only() {
        let binary = |natives: &[&str]| {
            let column = |native: &&str| ColumnMap {
                source: "a".into(),
                target: "a".into(),
                source_type: Type::Any,
                source_native: String::new(),
                target_type: types::parse(native),
                target_native: native.to_string(),
                not_null: false,
                zero_date: Default::default(),
                error_value_null: false,
                cast: None,
            };
            let mut projection = projection(vec![]);
            projection.columns = natives.iter().map(column).collect();
            Encoder::new(&projection).is_binary()
        };
        for native in
            ["boolean", "bigint", "numeric(4,1)", "real", "text", "character(3)", "bytea", "date", "uuid"]
        {
            assert!(binary(&[native]), "{native}");
        }
        for native in
            ["inet", "interval", "name", "\"char\"", "bit(3)", "text[]", "app.colour", "time with time zone"]
        {
            assert!(!binary(&["bigint", native]), "{native}");
        }
        // A domain over text: the catalog gives its basis as the type.
        let mut domain = projection(vec![Type::Text]);
        domain.columns[0].target_native = "app.email".into();
        assert!(!Encoder::new(&domain).is_binary());
        let mut zoned = projection(vec![Type::TimestampTz { precision: 6 }]);
        zoned.columns[0].target_native = "timestamp with time zone".into();
        assert!(Encoder::new(&zoned).is_binary());
        zoned.columns[0].cast = Some(Cast { native: String::new(), zone: Some("Europe/Berlin".into()) });
        assert!(!Encoder::new(&zoned).is_binary());
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
        put_text::<TextForm>(&put, "2024-01-01 00:00:00", &mut out).expect("fits");
        assert_eq!(out, b"2024-01-01 00:00:00 Europe/Berlin");
    }

    #[test]
    fn pg_14_bytes() {
        assert_eq!(one(Type::Blob, |batch| batch.push_bytes(b"\x00\xff\\")), Ok("\\\\x00ff5c".into()));
        assert_eq!(one(Type::Blob, |batch| batch.push_bytes(b"")), Ok("\\\\x".into()));
    }
}
