//! Floor 1: what a change log says, and places in it. Plain data: a run of bytes that goes from the
//! decoder through memory or disk to the target without an object per row.

pub mod cascade;
pub mod log;
pub mod net;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use cascade::{Hop, Path};
pub use log::{Cascade, Cells, Changes, Datum, Malformed, Record, Records, RowChange, RowKind};
pub use net::{Net, NetTable, NetUpdates, Rows};

use crate::catalog::Projection;
use crate::catalog::name::is_hidden;

/// A place in the source's history, opaque outside its engine: compare it only by asking that
/// engine. Every chunk mark carries the position of the snapshot it was read in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position(pub String);

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A table whose changes are followed. The capture and the session that applies get the same
/// list: a change names its table by its place in it, and its cells are in the projection's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Followed {
    pub projection: Projection,
    pub identity: Identity,
    /// Columns of the source that the plan leaves behind. One that is in neither list was added
    /// since, and stops the stream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// What tells a changed row from all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// These columns, by their places in the projection: unique and never null.
    Columns(Vec<usize>),
    /// The whole row. Equal rows are told apart by nothing: a change concerns any one of them.
    Whole,
}

/// How many rows were changed how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    pub truncates: u64,
}

impl Counts {
    pub fn rows(&self) -> u64 {
        self.inserts + self.updates + self.deletes
    }

    pub fn add(&mut self, more: Self) {
        self.inserts += more.inserts;
        self.updates += more.updates;
        self.deletes += more.deletes;
        self.truncates += more.truncates;
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Characters of a key that are shown.
const KEY_WIDTH: usize = 120;

/// A value of a key on one line, not too long.
pub fn shown(datum: Datum<'_>) -> String {
    let text = match datum {
        Datum::Null | Datum::Absent => return "null".to_string(),
        Datum::Bool(value) => value.to_string(),
        Datum::Int(value) => value.to_string(),
        Datum::UInt(value) => value.to_string(),
        Datum::Float(value) => value.to_string(),
        Datum::Text(text) => String::from_utf8_lossy(&text[..text.len().min(4 * KEY_WIDTH)]).into_owned(),
        Datum::Bytes(bytes) => {
            let hex = bytes.iter().take(KEY_WIDTH / 2).map(|byte| format!("{byte:02x}"));
            format!("\\x{}", hex.collect::<String>())
        }
    };
    let mut line = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == KEY_WIDTH {
            line.push_str("...");
            break;
        }
        match is_hidden(c) {
            true => line.extend(c.escape_unicode()),
            false => line.push(c),
        }
    }
    line
}
