//! Risks as data: code, level, place, measured number, way out. The catalogue of codes is one
//! table, from which `explain`, the README and the rendered plans are made.

use serde::{Deserialize, Serialize};

use crate::catalog::{Probe, probe::Measured};

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

/// A question to the rows, and the hazard that its answer makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub probe: Probe,
    /// As it stands when rows are found; `rows` and `measured` are filled from the answer.
    pub hazard: Hazard,
    pub verdict: Verdict,
    /// The level when nobody could answer; none: then it is not mentioned.
    pub unmeasured: Option<Level>,
}

/// How an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A hazard where rows were counted, nothing where there are none.
    Rows,
    /// As `Rows`; a note where there are none.
    RowsOrNote,
    /// As `Rows`; a note with the largest value where there are none.
    RangeOrNote,
    /// A note with the rows filtered out; blocks when the filter holds for none.
    Filter,
    /// There is a row; how many is not known.
    AnyRow,
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

pub use super::kinds::KINDS;

/// The catalogue's entry of a code.
pub fn kind(code: &str) -> Option<&'static Kind> {
    KINDS.binary_search_by(|kind| kind.code.cmp(code)).ok().map(|at| &KINDS[at])
}
