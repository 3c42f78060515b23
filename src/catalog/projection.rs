//! Which source column feeds which target column, and how. Computed once; the copy, the DDL and
//! the verification all carry the same one, so that a rename or a filter cannot be forgotten.

use serde::{Deserialize, Serialize};

use super::{Name, Type};

/// The road of one table's rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Projection {
    pub source: Name,
    pub target: Name,
    /// In the target's column order; generated columns are not in it.
    pub columns: Vec<ColumnMap>,
    /// A condition in the source's SQL: one expression, checked when the plan was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Positions in `columns` of the primary key (else of a unique key without nulls); empty
    /// where the table has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<usize>,
    pub form: Form,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnMap {
    pub source: String,
    pub target: String,
    pub source_type: Type,
    pub source_native: String,
    pub target_type: Type,
    pub target_native: String,
    pub not_null: bool,
    #[serde(default, skip_serializing_if = "ZeroDate::is_refused")]
    pub zero_date: ZeroDate,
    /// The error value of an ENUM (MySQL: the empty text at index 0) is read as null, not refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub error_value_null: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cast: Option<Cast>,
}

/// What becomes of a date that no calendar has (MySQL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroDate {
    #[default]
    Refused,
    /// It is read as null.
    Null,
    /// It is carried: the target has such dates, too. But for days that a month has not (`2024-02-31`).
    Kept,
}

impl ZeroDate {
    fn is_refused(&self) -> bool {
        *self == Self::Refused
    }
}

/// A change of type that the source makes while reading (equal engines), or the target's writer
/// makes from the neutral cell (different engines).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cast {
    /// The target's native type.
    pub native: String,
    /// What zone a timestamp without one is in, or is wanted in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// How rows travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The engine's own bytes in their fast form (PostgreSQL: binary COPY), passed through unread.
    NativeFast,
    /// The engine's own bytes in their portable form (PostgreSQL: text COPY).
    NativeText,
    /// Neutral cells: [`super::RowBatch`].
    Rows,
}
