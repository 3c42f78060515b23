//! What happens while a graph runs, for whoever shows it.

use std::time::Duration;

use super::follow::TableFlow;
use crate::catalog::Name;
use crate::change::Position;
use crate::engine::Standing;

/// What [`Event::Retrying`] names where no step is tried again: following as a whole, reading the
/// source's log, applying what it told.
pub const FOLLOW: &str = "follow";
pub const READ: &str = "read changes";
pub const APPLY: &str = "apply changes";

/// Told what happens. Called from many tasks; must not block.
pub trait Reporter: Send + Sync {
    fn event(&self, event: &Event);
}

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Steps in the graph, and how many are done already.
    Started {
        steps: usize,
        done: usize,
        rows: u64,
        bytes: u64,
    },
    StepStarted {
        step: String,
    },
    /// A copy knows its chunks: how many there are, and how many are done already.
    Chunked {
        step: String,
        chunks: u32,
        done: u32,
        rows: u64,
        bytes: u64,
    },
    /// Rows and bytes that have gone into the target since the last such event of the step. Less
    /// than nothing where an attempt failed, or rows are to come again: what was told is taken back.
    Moved {
        step: String,
        rows: i64,
        bytes: i64,
    },
    ChunkDone {
        step: String,
        chunk: u32,
        of: u32,
        rows: u64,
        bytes: u64,
    },
    StepDone {
        step: String,
        rows: u64,
        bytes: u64,
        millis: u64,
    },
    /// Done in an earlier run.
    StepSkipped {
        step: String,
    },
    StepFailed {
        step: String,
        error: String,
    },
    /// An error that is tried again.
    Retrying {
        step: String,
        attempt: u32,
        millis: u64,
        error: String,
    },
    /// Rows copied by an earlier run changed on the source since: the table is copied again.
    Recopying {
        step: String,
        table: Name,
        /// The step was done.
        done: bool,
        why: String,
    },
    /// Changes of so many tables are read from here on.
    StreamOpened {
        position: Position,
        tables: usize,
    },
    /// The source's log is being read, from there on: told at each connection.
    Reading {
        position: Position,
    },
    /// How far following has come, about once a second and at its end. Counts are of this
    /// following alone.
    Streamed {
        /// Every change before it is in the target.
        position: Position,
        /// From there to the newest position that the source told of.
        lag_bytes: Option<u64>,
        /// Age of the last applied commit; zero at the source's head. None before the first.
        lag: Option<Duration>,
        transactions: u64,
        rows: u64,
        /// Changes that wait or are being applied, in memory and on disk.
        buffered_bytes: u64,
        spilled_bytes: u64,
        /// Those that were touched.
        tables: Vec<TableFlow>,
    },
    /// What the source keeps for this plan, looked at about every ten seconds, and how much of its
    /// log it may keep.
    SourceKeeps {
        standing: Standing,
        limit: Option<u64>,
    },
    /// The source keeps this much of its log, and may keep so much: told at half and at four fifths.
    LogKept {
        bytes: u64,
        limit: u64,
    },
    /// No room for changes is left: nothing is read from the source until there is some. The
    /// connection is kept.
    ReadingPaused {
        why: String,
    },
    /// Reading goes on, after so long.
    ReadingResumed {
        millis: u64,
    },
    SequenceSet {
        step: String,
        value: i64,
    },
    /// Nobody can write to the source's tables any more; `by_us`: or nobody should.
    Fenced {
        by_us: bool,
    },
    /// Writers are let in again.
    Unfenced,
    /// Stopping was asked for: what runs is finished, nothing new starts.
    Stopping,
    /// A table's verdict.
    Verified {
        table: Name,
        equal: bool,
        source_rows: u64,
        target_rows: u64,
    },
    Finished {
        done: usize,
        failed: usize,
        left: usize,
        millis: u64,
    },
}
