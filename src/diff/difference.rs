//! Single facts about one object.

use serde::{Deserialize, Serialize};

/// How an object of the target stands to what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not there: a step creates it.
    Missing,
    /// There and right, and not by us: reused.
    Present,
    /// There and right, created by this plan before: its step is done (or will be found done).
    Ours,
    /// There and right, and not by us, and out of force from before the rows until after them
    /// (foreign keys).
    Suspended,
}

/// One way in which the target's table differs from the source's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub kind: Change,
    /// The column or object, by its source name.
    pub what: String,
    /// Source's definition in one line; empty when there is none.
    pub before: String,
    /// Target's definition in one line; empty when it is left behind.
    pub after: String,
    /// `read as UTC`, `no limit on length`...
    pub note: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Renamed,
    Retyped,
    Skipped,
    /// Default, check, collation, generated expression: carried in other words.
    Reworded,
    /// Constraint or attribute that the target does not get.
    Dropped,
}
