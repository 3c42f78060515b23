//! Risks as data: code, level, place, measured number, way out. The catalogue of codes is one
//! table, from which `explain`, the README and the rendered plans are made.

use serde::{Deserialize, Serialize};

use crate::catalog::probe::Measured;

/// What a step may hurt, or a type mapping gives up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hazard {
    /// `V215`.
    pub code: String,
    pub level: Level,
    /// `users.legacy_flags`, in the plan file's spelling, as `accept.at` takes it.
    pub at: String,
    /// What was found, in words, without the number: `bytes stored in a text column`.
    pub what: String,
    /// How many rows, if that is the measure.
    pub rows: Option<u64>,
    pub measured: Measured,
    /// Lines of YAML or words that resolve it, best first.
    pub ways: Vec<String>,
    pub state: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Note,
    Warn,
    Block,
    /// Cannot be accepted.
    Stop,
}

/// Whether a hazard stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// In the way, if its level blocks.
    Open,
    /// Accepted by an entry of `accept:`.
    Accepted { reason: String, max_rows: Option<u64>, until: Option<String>, line: usize },
}

impl Hazard {
    /// True when apply must refuse.
    pub fn blocks(&self) -> bool {
        self.level >= Level::Block && self.state == Standing::Open || self.level == Level::Stop
    }
}

/// One entry of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub code: &'static str,
    pub level: Level,
    /// One line: `a column marked skip holds values`.
    pub title: &'static str,
    /// The page that `explain` prints: why it matters, how it is found, ways out.
    pub page: &'static str,
}

/// All hazards that this version can find, sorted by code.
pub static KINDS: &[Kind] = &[];
