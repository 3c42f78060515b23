//! The neutral types: a small closed tree through which every engine speaks to every other.

use serde::{Deserialize, Serialize};

use super::Name;

/// What a column may hold, free of any engine. The comment of each says how a value of it
/// travels in a [`super::RowBatch`] cell; text forms are canonical, so equal values are equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Type {
    /// `Cell::Bool`.
    Bool,
    /// Signed integer of 8, 16, 24, 32 or 64 bits: `Cell::Int`.
    Int { bits: u8 },
    /// Unsigned integer: `Cell::UInt`.
    UInt { bits: u8 },
    /// Text: `-12.340` with the stored scale, `NaN`, `Infinity`, `-Infinity`. No precision: any.
    Decimal { precision: Option<u32>, scale: Option<i32> },
    /// Binary floating point of 32 or 64 bits: `Cell::Float` (a 32-bit value widened).
    Float { bits: u8 },
    /// Blank-padded text of `length` characters; travels without the trailing blanks.
    Char { length: u32 },
    /// Text of at most `length` characters.
    VarChar { length: u32 },
    /// Text without limit.
    Text,
    /// Bytes of exactly `length`: `Cell::Bytes`.
    Binary { length: u32 },
    /// Bytes without limit: `Cell::Bytes`.
    Blob,
    /// Bit string; text of `0` and `1`.
    Bit { length: Option<u32>, varying: bool },
    /// Text `2024-02-29`, `-infinity`, `0044-03-15 BC`.
    Date,
    /// Text `23:59:59.5`, with fraction digits as stored, trailing zeros cut; `zone` adds `+02`.
    Time { precision: u8, zone: bool },
    /// Text `2024-02-29 23:59:59.5`, no zone.
    Timestamp { precision: u8 },
    /// Text `2024-02-29 23:59:59.5+00`, always UTC.
    TimestampTz { precision: u8 },
    /// Text in the ISO 8601 form of PostgreSQL (`P1Y2M3DT4H5M6.5S`).
    Interval,
    /// Text, lower case, with hyphens.
    Uuid,
    /// Text. `binary`: stored parsed (jsonb), so that spelling is not kept.
    Json { binary: bool },
    /// Text.
    Xml,
    /// One of the labels, as text. `name`: the named type, where the engine has one.
    Enum { name: Option<Name>, labels: Vec<String> },
    /// A comma-separated subset of the labels in their order, as text.
    Set { labels: Vec<String> },
    /// Text in PostgreSQL's array form.
    Array { of: Box<Type> },
    /// Any class of value in any row (SQLite without a declared type): cells of any kind.
    Any,
    /// A network address; text.
    Network { native: String },
    /// Known to one engine only; text in that engine's own form. `text` is its native spelling.
    Native { text: String },
}
