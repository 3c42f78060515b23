//! A value on its way into a column, the same for rows that are copied and for changes: what
//! SQLite would change silently is refused (contract G03), never mended. Pure.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use super::exact;
use super::types::{Affinity, affinity};
use crate::catalog::{ColumnMap, Form, Type};
use crate::change::Datum;

/// How one column's cells are made into what the column stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Dynamic columns and equal engines: every class goes in as it came.
    as_is: bool,
    to: Affinity,
    from: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Plain,
    Decimal,
    /// A date or timestamp; with `zoned`, in UTC.
    Moment {
        zoned: bool,
    },
}

impl Rule {
    pub fn new(form: Form, column: &ColumnMap) -> Self {
        let from = match column.source_type {
            Type::Decimal { .. } => Origin::Decimal,
            Type::Date | Type::Timestamp { .. } => Origin::Moment { zoned: false },
            Type::TimestampTz { .. } => Origin::Moment { zoned: true },
            _ => Origin::Plain,
        };
        let native = column.target_native.as_str();
        let as_is = form != Form::Rows || native.is_empty() || native.eq_ignore_ascii_case("ANY");
        Self { as_is, to: affinity(native), from }
    }
}

/// A value ready to be bound: borrowed from where the row lies, or made.
pub(super) enum Bound<'a> {
    Borrowed(ValueRef<'a>),
    Made(Value),
}

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Bound::Borrowed(value) => *value,
            Bound::Made(value) => value.into(),
        }))
    }
}

/// Makes a value what its column stores, or says why that is impossible. Of a change, a value
/// that is not in the log is no value, and nobody asks for it.
#[inline]
pub(super) fn convert(rule: Rule, value: Datum<'_>) -> Result<Bound<'_>, String> {
    let value = match value {
        Datum::Null | Datum::Absent => ValueRef::Null,
        Datum::Bool(bool) => ValueRef::Integer(i64::from(bool)),
        Datum::Int(integer) => ValueRef::Integer(integer),
        Datum::UInt(integer) => match i64::try_from(integer) {
            Ok(integer) => ValueRef::Integer(integer),
            Err(_) if rule.to == Affinity::Text => return Ok(made(integer.to_string())),
            Err(_) => return Err("an unsigned integer beyond 2^63-1 has no place in SQLite".into()),
        },
        Datum::Float(real) if real.is_nan() => return Err("NaN would become NULL in SQLite".into()),
        Datum::Float(real) => ValueRef::Real(real),
        Datum::Text(text) => ValueRef::Text(text),
        Datum::Bytes(bytes) => ValueRef::Blob(bytes),
    };
    if rule.as_is {
        return Ok(Bound::Borrowed(value));
    }
    match (rule.from, value) {
        (_, ValueRef::Null) => Ok(Bound::Borrowed(ValueRef::Null)),
        (Origin::Moment { zoned }, ValueRef::Text(text)) => moment(text, zoned),
        (Origin::Decimal, ValueRef::Text(text)) if !exact::is_decimal(text) => {
            Err("NaN and infinity are no decimals in SQLite".into())
        }
        (_, value) => fit(rule.to, value),
    }
}

fn made(text: String) -> Bound<'static> {
    Bound::Made(Value::Text(text))
}

/// A value in the class of its column. Affinity does the same, but silently also what loses.
fn fit(to: Affinity, value: ValueRef<'_>) -> Result<Bound<'_>, String> {
    let fits = match (to, value) {
        (Affinity::Integer | Affinity::Numeric, ValueRef::Integer(_))
        | (Affinity::Real | Affinity::Numeric, ValueRef::Real(_))
        | (Affinity::Text, ValueRef::Text(_))
        | (Affinity::Blob, _) => Some(value),
        (Affinity::Integer, ValueRef::Real(real)) => exact::integer_of_real(real).map(ValueRef::Integer),
        (Affinity::Integer, ValueRef::Text(text)) => exact::integer_of_text(text).map(ValueRef::Integer),
        (Affinity::Real, ValueRef::Integer(integer)) => exact::real_of_integer(integer).map(ValueRef::Real),
        (Affinity::Real, ValueRef::Text(text)) => exact::real_of_text(text).map(ValueRef::Real),
        (Affinity::Text, ValueRef::Integer(integer)) => return Ok(made(integer.to_string())),
        (Affinity::Text, ValueRef::Real(real)) => return Ok(made(exact::decimal_of_real(real))),
        (Affinity::Numeric, ValueRef::Text(text)) => numeric(text),
        (_, ValueRef::Blob(_)) | (_, ValueRef::Null) => (to != Affinity::Text).then_some(value),
    };
    fits.map(Bound::Borrowed).ok_or_else(|| {
        format!("a value of class {} would change in a column of {to:?} affinity", value.data_type())
    })
}

/// What a NUMERIC column makes of a text, where that is the same number.
fn numeric(text: &[u8]) -> Option<ValueRef<'_>> {
    if !exact::is_decimal(text) {
        return Some(ValueRef::Text(text));
    }
    if let Some(integer) = exact::integer_of_text(text) {
        return Some(ValueRef::Integer(integer));
    }
    let real = exact::real_of_text(text)?;
    let shown = exact::decimal_of_real(real);
    let plain = std::str::from_utf8(text).ok()?;
    let trimmed = if plain.contains('.') { plain.trim_end_matches('0').trim_end_matches('.') } else { plain };
    (shown == trimmed).then_some(ValueRef::Real(real))
}

/// Dates that SQLite's date functions understand: years 0001 to 9999, UTC as `Z`.
fn moment(text: &[u8], zoned: bool) -> Result<Bound<'_>, String> {
    let year = text.len() >= 10 && text[..4].iter().all(u8::is_ascii_digit) && text[4] == b'-';
    if !year || text.ends_with(b" BC") || text.starts_with(b"0000") {
        return Err("infinity and years outside 0001 to 9999 have no date text in SQLite".into());
    }
    match text.strip_suffix(b"+00") {
        Some(plain) if zoned => Ok(made(format!("{}Z", String::from_utf8_lossy(plain)))),
        _ => Ok(Bound::Borrowed(ValueRef::Text(text))),
    }
}
