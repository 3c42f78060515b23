//! Floor 2: what a target remembers of a plan. A [`Checkpoint`] commits in the transaction that
//! wrote the data it describes; [`Progress`] is all of them read back.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::catalog::Name;
use crate::change::{Counts, Position};

/// One durable mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checkpoint {
    /// A step is done.
    Step(StepMark),
    /// A chunk of a table is in the target.
    Chunk(ChunkMark),
    /// The marks of this table's chunks, and of its copy step, are void: it is copied again.
    Recopy { table: Name, step: String },
    /// The mark of this step is void: it is done again.
    Void(String),
    /// A capture was opened at this position, and nothing is applied yet.
    Opened(Position),
    /// Changes are in the target.
    Applied(StreamMark),
}

/// Changes that one transaction of the target brought. Counts are added to those before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamMark {
    /// Where the stream is marked before it. Where it is marked elsewhere by then, this mark fails
    /// with `Cause::Stale`, and its changes with it: a commit that nobody heard of, and that comes
    /// late, neither doubles what was tried again nor sets the stream back. None: not looked at.
    pub after: Option<Position>,
    /// Every change before it is in the target.
    pub position: Position,
    /// When the last of these transactions committed at the source, microseconds since 1970 UTC.
    pub committed_at: Option<i64>,
    pub transactions: u64,
    /// By target table; those that were touched.
    pub tables: Vec<(Name, Counts)>,
}

/// How far a stream has come, read back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamProgress {
    /// Where the capture was opened.
    pub opened: Position,
    /// Every change before it is in the target.
    pub position: Position,
    pub committed_at: Option<i64>,
    /// Source transactions applied since the opening.
    pub transactions: u64,
    pub tables: Vec<(Name, Counts)>,
    /// When the last mark was written, by the target's clock: UTC, RFC 3339.
    pub at: String,
}

/// A finished step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepMark {
    pub step: String,
    /// Hash of what the step was made from; a finished step with other inputs is never reused.
    pub inputs: String,
    /// Rows copied, for a copy step.
    pub rows: u64,
    pub bytes: u64,
    pub millis: u64,
    /// UTC, RFC 3339; set by the target when it is read back, ignored when it is written.
    pub at: String,
}

/// A finished chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkMark {
    /// The table on the target.
    pub table: Name,
    pub number: u32,
    /// Chunks the table was cut into.
    pub of: u32,
    /// The source engine's own words for the range.
    pub bounds: String,
    /// The snapshot the chunk was read in.
    pub position: Position,
    pub rows: u64,
    pub bytes: u64,
}

/// What an apply works towards. The target remembers it from the first apply on, so that what is
/// left can be told from the target alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goal {
    /// Digest of what the plan would bring about.
    pub digest: String,
    pub steps: Vec<PlannedStep>,
}

/// A step that a plan consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    pub step: String,
    /// The phase it belongs to, in one word.
    pub phase: String,
}

/// Everything the target remembers of one plan. Empty before the first apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The goal digest that the first apply recorded.
    pub digest: Option<String>,
    pub steps: Vec<StepMark>,
    pub chunks: Vec<ChunkMark>,
    pub runs: Vec<RunRecord>,
    /// The change stream, once its capture was opened.
    #[serde(default)]
    pub stream: Option<StreamProgress>,
    /// The steps of the goal that the last apply worked towards, in their order.
    #[serde(default)]
    pub planned: Vec<PlannedStep>,
}

/// One run of apply, for `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    pub run: String,
    pub started_at: String,
    pub finished_at: Option<String>,
    /// `done`, `partial`, `failed`; none while it runs or when it was killed.
    pub outcome: Option<String>,
    /// `user@host pid 123`.
    pub by: String,
    pub tool: String,
}

impl Progress {
    /// The mark of a step, if it is done.
    pub fn step(&self, id: &str) -> Option<&StepMark> {
        self.steps.iter().find(|mark| mark.step == id)
    }

    /// The planned steps that have no mark, in their order.
    pub fn left(&self) -> Vec<&PlannedStep> {
        let done: HashSet<&str> = self.steps.iter().map(|mark| mark.step.as_str()).collect();
        self.planned.iter().filter(|planned| !done.contains(planned.step.as_str())).collect()
    }

    /// The finished chunks of a table, in their order.
    pub fn chunks_of<'a>(&'a self, table: &'a Name) -> impl Iterator<Item = &'a ChunkMark> {
        self.chunks.iter().filter(move |mark| mark.table == *table)
    }
}
