//! Follows a source's changes: reads them without ever waiting for the target, and applies them in
//! whole source transactions, each commit with its mark.
//!
//! ```text
//!   ChangeStream -> reader -> pieces -> buffer -> applier -> Session: begin, apply, mark, commit
//!        ^                                           |
//!        +------------- acknowledge <----------------+  only what the target holds for good
//! ```
//!
//! Reader and applier are two halves of one task. The lock's heartbeat is the caller's.

mod applier;
mod flow;
mod group;
mod intake;
mod reader;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::applier::Applier;
use self::flow::Flow;
use self::reader::Reader;
use super::buffer::PIECE_BYTES;
use super::clock::Clock;
use super::event::{Event, Reporter};
use super::executor::Stop;
use super::spill::{Disk, Files};
use crate::catalog::Name;
use crate::change::{Counts, Followed, Position};
use crate::engine::{Capture, Cause, EngineError, Lock, Target};

/// What is followed, from where to where.
pub struct Following<'a> {
    pub plan: &'a str,
    pub capture: &'a dyn Capture,
    /// Asked for the stream's progress, where a commit's outcome is unknown.
    pub target: &'a dyn Target,
    /// Held, and kept by the caller's heartbeat.
    pub lock: &'a dyn Lock,
    pub tables: &'a [Followed],
    /// Where the stream of each table begins.
    pub starts: &'a [Position],
    /// What the target's progress says: every change before it is applied.
    pub from: Position,
    pub options: &'a FollowOptions,
    pub reporter: &'a dyn Reporter,
    pub stop: &'a Stop,
    pub clock: Arc<dyn Clock>,
}

/// How changes are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Row by row in the order of the source, few source transactions to a commit.
    Transactional,
    /// Sets of net changes.
    Batch,
}

/// From when on the source need not keep a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// Once it is committed in the target.
    Applied,
    /// Once it is durable in the spill directory: the source keeps less, and the directory must
    /// not be lost.
    Spooled,
}

#[derive(Clone, Debug)]
pub struct FollowOptions {
    pub mode: Mode,
    /// Bytes of changes that are held in memory, whether they wait or are applied.
    pub memory_bytes: u64,
    /// How long a change may wait in memory before it goes to disk.
    pub memory_keep: Duration,
    pub spill_dir: PathBuf,
    /// Bytes of segment files. Zero: nothing goes to disk.
    pub spill_bytes: u64,
    pub acknowledge: Acknowledge,
    /// Rows and bytes of changes in one target transaction. A larger source transaction is one.
    pub batch_rows: usize,
    pub batch_bytes: usize,
    /// What foreign keys change without a word in the source's log is derived.
    pub cascades: bool,
    /// Attempts at work that fails retryably, without any progress between.
    pub attempts: u32,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Batch,
            memory_bytes: 1 << 30,
            memory_keep: Duration::from_secs(60),
            spill_dir: std::env::temp_dir().join("towpath"),
            spill_bytes: 16 << 30,
            acknowledge: Acknowledge::Applied,
            batch_rows: 50_000,
            batch_bytes: 32 << 20,
            cascades: false,
            attempts: 10,
        }
    }
}

impl FollowOptions {
    /// Bytes of changes that are taken to be applied at once: where memory is small no more than an
    /// eighth of it, for they are worked on in further forms.
    fn round_bytes(&self) -> usize {
        let most = usize::try_from(self.memory_bytes / 8).unwrap_or(usize::MAX);
        self.batch_bytes.min(most.max(PIECE_BYTES))
    }

    /// Bytes of changes that may wait in memory meanwhile. The further forms take about as much again
    /// as what is applied.
    fn waiting_bytes(&self) -> u64 {
        self.memory_bytes - (self.memory_bytes / 4).min(2 * self.batch_bytes as u64)
    }
}

/// Where following ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Before the first transaction whose begin has reached it, with all that come earlier.
    Exactly(Position),
    /// As soon as all that was committed before it is applied.
    Past(Position),
    /// As soon as the target is no more than this behind.
    Lag(Duration),
    Forever,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Goal,
    /// Stopping was asked for.
    Stopped,
}

/// What one following did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowReport {
    /// Every change before it is in the target, and the target's progress says so.
    pub position: Position,
    /// When the last applied transaction committed at the source, microseconds since 1970 UTC.
    pub committed_at: Option<i64>,
    pub transactions: u64,
    /// Applied, in all tables.
    pub counts: Counts,
    /// By target table; those that were touched.
    pub tables: Vec<TableFlow>,
    pub ended: Ended,
}

/// What flowed for one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFlow {
    pub table: Name,
    /// Read from the log.
    pub captured: Counts,
    /// Committed in the target.
    pub applied: Counts,
}

/// Follows until the goal, until stopping is asked for, or until an error that does not pass.
/// What the log told before such an error is applied first.
pub async fn follow(following: &Following<'_>, goal: &Goal) -> Result<FollowReport, EngineError> {
    let files = Files::new(&following.options.spill_dir, following.plan);
    follow_with(following, goal, &files).await
}

/// As [`follow`], with a disk of the caller's.
pub async fn follow_with(
    following: &Following<'_>,
    goal: &Goal,
    disk: &dyn Disk,
) -> Result<FollowReport, EngineError> {
    let options = following.options;
    if options.acknowledge == Acknowledge::Spooled && options.spill_bytes == 0 {
        let why = "what is acknowledged once it is spooled needs a spill limit above zero";
        return Err(EngineError::new(Cause::Other, "follow changes", why)
            .on(following.plan)
            .hint("set cdc.spill.limit, or cdc.acknowledge: applied"));
    }
    let flow = Flow::new(following, disk);
    let mut applier = Applier::new(&flow, goal);
    if applier.is_at_goal() {
        return Ok(flow.report(Ended::Goal));
    }
    let read_from = flow.buffer.recover(&following.from, |at, goal| flow.reached(at, goal)).await?;
    let opened = Event::StreamOpened { position: read_from.clone(), tables: following.tables.len() };
    following.reporter.event(&opened);
    let mut reader = Reader::new(&flow, read_from);
    let ended = tokio::select! {
        biased;
        ended = applier.run() => ended,
        () = reader.run() => unreachable!("broken invariant: the reader waits for the applier"),
        error = flow.keep_durable() => Err(error),
        () = flow.ask_head() => unreachable!("broken invariant: the source is asked again and again"),
        () = flow.tell_figures() => unreachable!("broken invariant: figures have no end"),
    };
    drop(applier);
    reader.close().await;
    flow.tell_now();
    // What stays of it is removed at the next start.
    let _ = flow.buffer.spill.discard().await;
    ended.map(|ended| flow.report(ended))
}
