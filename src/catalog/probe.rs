//! Questions about rows that a plan needs answered, as data: read-only, bounded, listed in the plan.

use serde::{Deserialize, Serialize};

use super::{Name, Type};

/// One question to one end, and the hazard that its answer decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Probe {
    /// Hazard code, such as `V215`.
    pub code: String,
    pub end: End,
    pub table: Name,
    /// The column asked about; none for questions about whole rows.
    pub column: Option<String>,
    pub question: Question,
    /// The table's filter in the source's SQL, so that rows that stay behind are not judged.
    pub filter: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Source,
    Target,
}

/// What is counted. The answer's count is the number of rows for which the words below hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// The table has a row (count is 0 or 1).
    AnyRow,
    /// The filter does not hold for the row. Second number: rows for which it holds.
    FilteredOut,
    /// The column is not null.
    NotNull,
    /// The column is null.
    Null,
    /// The integer lies outside `[min, max]`. Extremes: smallest and largest value.
    OutsideRange { min: String, max: String },
    /// No row. Extremes: smallest and largest number of the column, in the table and all below it.
    Extremes,
    /// The value is not of a class that the type takes (SQLite's `typeof`), or its text is not
    /// a literal of it.
    NotOfType { ty: Type },
    /// The text has more than this many characters.
    LongerThan { characters: u32 },
    /// The text holds U+0000.
    HoldsNul,
    /// The text is not valid in the database's encoding.
    BadEncoding,
    /// The number is NaN or infinite.
    NotFinite { nan_only: bool },
    /// The date or timestamp is infinite, BC, or beyond year 9999.
    DateBeyond,
    /// The date is none of the calendar: year, month or day is zero, or the month has no such day.
    ZeroDate,
    /// The month has no such day; one of day zero has.
    NoSuchDay,
    /// The time of day is negative, or 24 hours and more.
    TimeBeyond,
    /// The decimal does not fit `(precision, scale)`.
    DecimalBeyond { precision: u32, scale: i32 },
    /// The value is not one of these.
    NotIn { values: Vec<String> },
    /// The row has no parent in the table by these columns.
    Orphan { columns: Vec<String>, parent: Name, parent_columns: Vec<String> },
    /// The row shares these column values with another row, all not null; `ignoring_case` folds
    /// ASCII case.
    Duplicate { columns: Vec<String>, ignoring_case: bool },
    /// The native condition is false.
    CheckFails { condition: String },
}

/// What came back. A probe that ran out of its time says so and its hazard is unmeasured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub rows: Option<u64>,
    pub measured: Measured,
    /// Extremes, where the question has them; numbers only, never text from a cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extremes: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measured {
    Exact,
    Estimated,
    /// Not asked, or timed out.
    Not,
}
