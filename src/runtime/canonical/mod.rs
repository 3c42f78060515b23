//! One form for equal values, whatever engine they were read from: what verification hashes.
//! Both ends are brought to the meaning of the target's column. Never changes a row, never
//! decides what is equal enough: a value that has no common form is compared as it is.

mod json;
mod moment;
mod number;

use std::collections::HashMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::catalog::members;
use crate::catalog::{Cell, ColumnMap, Projection, RowBatch, Type};
use crate::engine::source::Zone;

/// What a column's values mean when they are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning {
    /// `true`, `t`, `1` are one value, so are `false`, `f`, `0`; other numbers stay numbers.
    Bool,
    /// A number without size or scale: `7`, `007`, `7.0`, `7.00`, `7e0` are one value. Serves
    /// integers and decimals.
    Number,
    /// A binary float, as 32 or 64 bits: `-0` is `0`, every NaN is one value.
    Float { single: bool },
    /// Text without its trailing blanks.
    Padded,
    /// Text byte by byte; a number is its decimal text.
    Text,
    /// The members of a set by commas, or an array of them.
    Members,
    /// Bytes; text is its bytes.
    Bytes,
    /// 32 hexadecimal digits, however they are grouped or wrapped; 16 bytes are the same.
    Uuid,
    /// JSON by value: order of keys, white space, escapes and number spelling do not count, of
    /// equal keys the last one does.
    Json,
    /// A date. A time of midnight behind it does not count.
    Date,
    /// A time of day with its zone, if any: fraction rounded to `digits`, `Z` is `+00`.
    Time { digits: u32 },
    /// A moment without zone; a zone behind it does not count, unless the column is cast from
    /// one with zones: then it is moved to the wanted zone.
    Timestamp { digits: u32, to: Option<Shift> },
    /// A moment in UTC: `10:00+02` is `08:00Z`. Without a zone it is in this one.
    TimestampTz { digits: u32, from: Shift },
    /// As it is, the class of value included (SQLite's columns without a type).
    Exact,
}

/// How far a zone is from UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shift {
    /// So many seconds east, always.
    Fixed(i64),
    /// As the server that moves the timestamps has it.
    Known(Arc<Zone>),
}

/// Zones by their names, as a server has them.
pub(super) type Zones = HashMap<String, Arc<Zone>>;

/// How to hash the rows of one table; the same for both ends.
#[derive(Clone, Debug)]
pub(super) struct Canon {
    meanings: Vec<Meaning>,
    key: Vec<usize>,
}

/// The hashes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowHash {
    /// Of the key columns; of the row where there are none.
    pub(super) key: u128,
    pub(super) row: u128,
}

impl Canon {
    /// `cast_done`: the source casts while it reads, so that its cells are the target's already.
    /// The error says what cannot be compared.
    pub(super) fn new(projection: &Projection, cast_done: bool, zones: &Zones) -> Result<Self, String> {
        let meanings = projection.columns.iter().map(|column| match cast_done {
            true => Ok(meaning_of(&column.target_type)),
            false => meaning(column, zones),
        });
        Ok(Self { meanings: meanings.collect::<Result<_, _>>()?, key: projection.key.clone() })
    }

    /// Hashes a row. `scratch` is only there to be reused.
    pub(super) fn hash(&self, rows: &RowBatch, row: usize, scratch: &mut Vec<u8>) -> RowHash {
        let cells = rows.row(row);
        scratch.clear();
        for (meaning, cell) in self.meanings.iter().zip(cells) {
            append(scratch, meaning, rows, *cell);
        }
        let whole = xxh3_128(scratch);
        if self.key.is_empty() {
            return RowHash { key: whole, row: whole };
        }
        scratch.clear();
        for &at in &self.key {
            append(scratch, &self.meanings[at], rows, cells[at]);
        }
        RowHash { key: xxh3_128(scratch), row: whole }
    }

    /// The key for a human: `7`, `7, abc`; the beginning of the row where there is no key.
    pub(super) fn show_key(&self, rows: &RowBatch, row: usize) -> String {
        let cells = rows.row(row);
        let all: Vec<usize> = (0..cells.len()).collect();
        let shown = if self.key.is_empty() { &all } else { &self.key };
        let mut text = String::new();
        for &at in shown {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&show(rows, cells[at]));
            if text.len() > 200 {
                text = text.chars().take(200).collect::<String>() + "...";
                break;
            }
        }
        text
    }
}

/// The meaning of a column is the target's. Where the target keeps as text what the source
/// keeps as something else, and may spell it in its own way, it is the source's.
fn meaning(column: &ColumnMap, zones: &Zones) -> Result<Meaning, String> {
    let textual = matches!(column.target_type, Type::Text | Type::VarChar { .. } | Type::Any);
    let zoned = matches!(column.source_type, Type::TimestampTz { .. });
    let own = match &column.source_type {
        Type::Set { .. } if matches!(column.target_type, Type::Array { .. }) => Meaning::Members,
        Type::TimestampTz { .. } | Type::Time { zone: true, .. } | Type::Float { .. } if textual => {
            meaning_of(&column.source_type)
        }
        _ => meaning_of(&column.target_type),
    };
    let zone = column.cast.as_ref().and_then(|cast| cast.zone.as_deref());
    Ok(match (own, zone) {
        (Meaning::TimestampTz { digits, .. }, Some(zone)) => {
            Meaning::TimestampTz { digits, from: shift(column, zone, zones)? }
        }
        (Meaning::Timestamp { digits, .. }, zone) if zoned => {
            let to = zone.map_or(Ok(Shift::Fixed(0)), |zone| shift(column, zone, zones))?;
            Meaning::Timestamp { digits, to: Some(to) }
        }
        (own, _) => own,
    })
}

/// A zone that is a fixed offset, in seconds east of Greenwich.
fn fixed(zone: &str) -> Option<i64> {
    if ["utc", "gmt", "z", "etc/utc"].contains(&zone.to_ascii_lowercase().as_str()) {
        return Some(0);
    }
    moment::zone(zone)
}

/// Names of places have a history, which only the servers know.
fn shift(column: &ColumnMap, zone: &str, zones: &Zones) -> Result<Shift, String> {
    let known = || zones.get(zone).map(|zone| Shift::Known(zone.clone()));
    fixed(zone).map(Shift::Fixed).or_else(known).ok_or_else(|| {
        format!(
            "column {} is moved from or to the time zone {zone}, which neither end can tell of",
            crate::catalog::name::show(&column.source)
        )
    })
}

/// The zones of a projection that a server has to be asked for.
pub(super) fn unknown_zones(projection: &Projection) -> Vec<&str> {
    let zones = projection.columns.iter().filter_map(|column| column.cast.as_ref()?.zone.as_deref());
    zones.filter(|zone| fixed(zone).is_none()).collect()
}

fn meaning_of(ty: &Type) -> Meaning {
    let digits = |precision: &u8| u32::from(*precision).min(9);
    match ty {
        Type::Bool => Meaning::Bool,
        Type::Int { .. } | Type::UInt { .. } | Type::Decimal { .. } => Meaning::Number,
        Type::Float { bits } => Meaning::Float { single: *bits == 32 },
        Type::Char { .. } => Meaning::Padded,
        Type::Binary { .. } | Type::Blob => Meaning::Bytes,
        Type::Uuid => Meaning::Uuid,
        Type::Json { binary: true } => Meaning::Json,
        Type::Date => Meaning::Date,
        Type::Time { precision, .. } => Meaning::Time { digits: digits(precision) },
        Type::Timestamp { precision } => Meaning::Timestamp { digits: digits(precision), to: None },
        Type::TimestampTz { precision } => {
            Meaning::TimestampTz { digits: digits(precision), from: Shift::Fixed(0) }
        }
        Type::Any => Meaning::Exact,
        Type::VarChar { .. }
        | Type::Text
        | Type::Bit { .. }
        | Type::Interval
        | Type::Json { binary: false }
        | Type::Xml
        | Type::Enum { .. }
        | Type::Set { .. }
        | Type::Array { .. }
        | Type::Network { .. }
        | Type::Native { .. } => Meaning::Text,
    }
}

/// Appends a cell: a tag, the length, the bytes. No value can run into its neighbour, and null,
/// the empty text and the text `NULL` are three values.
fn append(to: &mut Vec<u8>, meaning: &Meaning, rows: &RowBatch, cell: Cell) {
    if cell == Cell::Null {
        return to.push(0);
    }
    let tag = to.len();
    to.extend_from_slice(&[1; 9]);
    to[tag] = canonical(to, meaning, rows, cell).unwrap_or_else(|| {
        to.truncate(tag + 9);
        plain(to, rows, cell)
    });
    let length = (to.len() - tag - 9) as u64;
    to[tag + 1..tag + 9].copy_from_slice(&length.to_le_bytes());
}

/// Tags of values that were brought to their meaning, and of such as were not.
const MEANT: u8 = 1;
const TEXT: u8 = 2;
const BYTES: u8 = 3;
const NUMBER: u8 = 4;
const FLOAT: u8 = 5;

/// Appends the canonical form; none where the cell has none under this meaning.
fn canonical(to: &mut Vec<u8>, meaning: &Meaning, rows: &RowBatch, cell: Cell) -> Option<u8> {
    let text = || std::str::from_utf8(rows.data(cell)).ok();
    match meaning {
        Meaning::Bool => to.push(number::truth(cell, rows)?),
        Meaning::Number => number::decimal(to, cell, rows)?,
        Meaning::Float { single } => {
            let value = number::float(cell, rows)?;
            let value = if *single { f64::from(value as f32) } else { value };
            let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
            to.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        Meaning::Padded => {
            let text = text()?;
            to.extend_from_slice(text.trim_end_matches(' ').as_bytes());
        }
        Meaning::Members => match text()? {
            array if array.starts_with('{') => members::append_members(array, to)?,
            set => to.extend_from_slice(set.as_bytes()),
        },
        Meaning::Text => return Some(plain_text(to, rows, cell)),
        Meaning::Bytes => match cell {
            Cell::Text { .. } | Cell::Bytes { .. } => to.extend_from_slice(rows.data(cell)),
            _ => return None,
        },
        Meaning::Uuid => uuid(to, rows, cell)?,
        Meaning::Json => json::append(to, text()?)?,
        Meaning::Date => moment::date(to, text()?)?,
        Meaning::Time { digits } => moment::time(to, text()?, *digits)?,
        Meaning::Timestamp { digits, to: None } => moment::timestamp(to, text()?, *digits, |_, _| Some(0))?,
        Meaning::Timestamp { digits, to: Some(east) } => {
            moment::timestamp(to, text()?, *digits, |zone, _| match (zone, east) {
                // The source has moved it.
                (None, _) => Some(0),
                (Some(zone), Shift::Fixed(east)) => Some(east - zone),
                (Some(_), Shift::Known(_)) => None,
            })?;
        }
        Meaning::TimestampTz { digits, from } => {
            moment::timestamp(to, text()?, *digits, |zone, local| match (zone, from) {
                (Some(zone), _) => Some(-zone),
                (None, Shift::Fixed(east)) => Some(-east),
                (None, Shift::Known(from)) => Some(-from.east(local)),
            })?;
        }
        Meaning::Exact => return None,
    }
    Some(MEANT)
}

/// Text as it is; numbers and truth values as their text.
fn plain_text(to: &mut Vec<u8>, rows: &RowBatch, cell: Cell) -> u8 {
    match cell {
        Cell::Text { .. } | Cell::Bytes { .. } => to.extend_from_slice(rows.data(cell)),
        _ => to.extend_from_slice(show(rows, cell).as_bytes()),
    }
    TEXT
}

/// The cell as it is, with the class of its value.
fn plain(to: &mut Vec<u8>, rows: &RowBatch, cell: Cell) -> u8 {
    to.extend_from_slice(match cell {
        Cell::Text { .. } | Cell::Bytes { .. } => rows.data(cell),
        _ => &[],
    });
    match cell {
        Cell::Text { .. } => TEXT,
        Cell::Float(value) => {
            to.extend_from_slice(&value.to_bits().to_le_bytes());
            FLOAT
        }
        Cell::Null | Cell::Bytes { .. } => BYTES,
        Cell::Bool(_) | Cell::Int(_) | Cell::UInt(_) => {
            // A truth value and an integer are one class: engines without one store the other.
            let number = match cell {
                Cell::Bool(value) => i128::from(value),
                Cell::Int(value) => i128::from(value),
                Cell::UInt(value) => i128::from(value),
                _ => 0,
            };
            to.extend_from_slice(&number.to_le_bytes());
            NUMBER
        }
    }
}

fn uuid(to: &mut Vec<u8>, rows: &RowBatch, cell: Cell) -> Option<()> {
    let data = rows.data(cell);
    if matches!(cell, Cell::Bytes { .. }) {
        to.extend_from_slice(<&[u8; 16]>::try_from(data).ok()?);
        return Some(());
    }
    let text = std::str::from_utf8(data).ok()?;
    let digits: Vec<u32> =
        text.chars().filter(|c| !"{}-".contains(*c)).map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    if digits.len() != 32 {
        return None;
    }
    to.extend(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8));
    Some(())
}

/// A cell for a human, and the text of a number.
fn show(rows: &RowBatch, cell: Cell) -> String {
    match cell {
        Cell::Null => "null".to_string(),
        Cell::Bool(value) => value.to_string(),
        Cell::Int(value) => value.to_string(),
        Cell::UInt(value) => value.to_string(),
        Cell::Float(value) => value.to_string(),
        Cell::Text { .. } => String::from_utf8_lossy(rows.data(cell)).into_owned(),
        Cell::Bytes { .. } => {
            rows.data(cell).iter().fold("\\x".to_string(), |text, byte| text + &format!("{byte:02x}"))
        }
    }
}

#[cfg(test)]
mod tests;
