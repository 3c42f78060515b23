//! Acts. A step is self-contained data: what runs is what was rendered and reviewed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalog::{Name, Projection, Sequence};

/// One act.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Stable and readable: `app.orders/copy`, `app.orders/index/orders_created_idx`.
    pub id: String,
    pub phase: Phase,
    /// Ids of steps that come first, sorted.
    pub needs: Vec<String>,
    pub action: Action,
    /// The target table it works on, if it works on one.
    pub table: Option<Name>,
    /// Tables that it locks strongly while it runs: two steps that share one never run together.
    pub locks: Vec<Name>,
    pub estimate: Estimate,
    /// Hash of everything the step was made from.
    pub inputs: String,
    /// Steps of the same unit run in one transaction on one session, in their order.
    pub unit: String,
}

/// How units begin that several tables share; no table is called so.
const SHARED: &str = "tables/";

/// The name of a unit that several tables share.
pub(super) fn shared_unit(number: usize) -> String {
    format!("{SHARED}{number}")
}

impl Step {
    /// True where its unit holds several tables that need nothing of each other: they are together
    /// to save commits, and can as well be done one by one.
    pub fn is_shared(&self) -> bool {
        self.unit.starts_with(SHARED)
    }
}

/// Phases, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Schema,
    /// The change log is kept from here on.
    Capture,
    Load,
    Index,
    Key,
    Sequence,
    Finish,
    /// Changes up to the source's head.
    Sync,
}

impl Phase {
    /// What it is called before people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Capture => "capture",
            Self::Load => "load",
            Self::Index => "indexes",
            Self::Key => "keys",
            Self::Sequence => "sequences",
            Self::Finish => "finish",
            Self::Sync => "catch up",
        }
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Runs statements as they stand. `index_build`: counts against that budget.
    Sql { statements: Vec<String>, index_build: bool },
    /// Copies a table.
    Copy {
        projection: Arc<Projection>,
        /// Statements that empty the target table first: `load: replace`, a resumed copy, or
        /// what a frozen load of a table made by an earlier step needs.
        empty: Vec<String>,
        /// Empty it even on the first run (`load: replace`).
        replace: bool,
        /// Loaded frozen when it turns out to be one chunk.
        frozen: bool,
        chunk_bytes: u64,
    },
    /// Runs a query that must return no row (foreign keys of engines that check them late).
    Check { query: String, message: String },
    /// Sets a sequence beyond the source's value.
    SetSequence { source: Name, sequence: Box<Sequence>, margin: u64 },
    /// Makes the source keep its changes, and takes the snapshot that all rows are read in.
    /// `followed`: hash of the list of followed tables.
    OpenCapture { followed: String },
    /// Applies changes up to a point.
    CatchUp { followed: String, to: CatchUpTo },
}

/// Where catching up ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUpTo {
    /// The latest moment at which any table was copied: from there on all rows belong together.
    Consistent,
    /// What the source has when it begins.
    Head,
}

/// What it is thought to cost, from statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub rows: u64,
    pub bytes: u64,
    pub seconds: f64,
}
