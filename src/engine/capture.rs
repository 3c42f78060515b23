//! The change log of a source: what is made there to keep it, and the changes read from it.

use std::time::Duration;

use async_trait::async_trait;

use super::{EngineError, Snapshot};
use crate::change::{Changes, Followed, Position};

/// What a capture is about. Names of all it makes on the source derive from the plan's name.
#[derive(Clone, Copy, Debug)]
pub struct CaptureSpec<'a> {
    pub plan: &'a str,
    pub tables: &'a [Followed],
    /// What foreign keys change without a word in the log is derived from them, and told.
    pub cascades: bool,
}

/// The way on after the structure of a followed table changed. A plan of the same state knows the old
/// structure only: it is undone, or everything begins anew.
pub const CHANGED: &str = "everything before it is told. To undo it: change the source back, then `towpath apply --recopy` \
     copies the tables again. To keep it: make the same change on the target, then begin anew with `towpath clean`, \
     `load: replace` in the plan, `towpath apply`";

/// The change log of a source.
#[async_trait]
pub trait Capture: Send + Sync {
    /// Everything that keeps this capture from working or makes it a danger to the source, found
    /// by reading only. Empty: [`Self::open`] may be tried.
    async fn check(&self, spec: &CaptureSpec<'_>) -> Result<Vec<Obstacle>, EngineError>;
    /// False where a log is read that the source keeps for itself: then nothing of a capture is there.
    fn leaves_traces(&self) -> bool {
        true
    }
    /// What there is of the plan's capture on the source.
    async fn standing(&self, plan: &str) -> Result<Standing, EngineError>;
    /// Makes what keeps the log from now on, and a snapshot of the rows exactly there: each
    /// transaction is in the snapshot or comes after its position. Leftovers of an earlier attempt
    /// under the plan's own names are replaced. Waits up to `wait` for transactions that were
    /// begun before, then `Cause::Busy` naming them, and nothing is left.
    async fn open(&self, spec: &CaptureSpec<'_>, wait: Duration) -> Result<Box<dyn Snapshot>, EngineError>;
    /// Another exact snapshot, beside a capture that stands, for tables that are copied later.
    async fn snapshot(&self, plan: &str, wait: Duration) -> Result<Box<dyn Snapshot>, EngineError>;
    /// The newest position: every transaction that was committed before this call is before it.
    async fn head(&self) -> Result<Position, EngineError>;
    /// Whether `at` has come to `goal`, or is the same. Positions have no other order.
    fn reached(&self, at: &Position, goal: &Position) -> bool;
    /// Bytes of log (or changes, where the log has no bytes) between two positions; 0 when `at`
    /// has reached `goal`.
    fn distance(&self, at: &Position, goal: &Position) -> u64;
    /// Reads the log from `from` on. Of table number `n` only transactions that have reached
    /// `starts[n]` are told: the others are in its copy. Fails when the log from there on is gone,
    /// belongs to another history, or was acknowledged beyond `from` (`Cause::Stale`).
    async fn changes(
        &self,
        spec: &CaptureSpec<'_>,
        from: &Position,
        starts: &[Position],
    ) -> Result<Box<dyn ChangeStream>, EngineError>;
    /// Removes what [`Self::open`] made, by the plan's name; says what was removed. Done twice, it
    /// finds nothing.
    async fn close(&self, plan: &str) -> Result<Vec<String>, EngineError>;
}

/// Something in the way of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Hazard or error code: `C502`, `C503`, `C510`, `P802`.
    pub code: &'static str,
    /// The table or setting it concerns.
    pub at: String,
    pub message: String,
    /// Statement or setting that helps.
    pub hint: String,
    /// False: worth knowing, and no reason to stop.
    pub blocks: bool,
}

/// What there is of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Missing,
    /// The log is kept from `acknowledged` on.
    Kept {
        acknowledged: Position,
        /// Bytes of log that the source keeps for it.
        retained: u64,
        /// Bytes that may be logged before the source gives it up by itself; none where it never does.
        room: Option<u64>,
        /// Somebody reads from it now.
        active: bool,
    },
    /// It is of no more use, and why.
    Lost(String),
}

/// Changes as they come. One task owns it; dropping it ends the reading and loses nothing.
#[async_trait]
pub trait ChangeStream: Send {
    /// Waits for the log to say something and appends it, up to about `bytes` in all, stopping
    /// earlier at the end of what is there. May be dropped in the middle and called again.
    async fn next(&mut self, into: &mut Changes, bytes: usize) -> Result<(), EngineError>;
    /// Keeps the conversation alive while nothing is read, and tells the source that everything
    /// up to `safe` may be forgotten. To be called at least every ten seconds.
    async fn acknowledge(&mut self, safe: &Position) -> Result<(), EngineError>;
    /// Bytes that it keeps on this machine's disk: of transactions that have not committed.
    fn held(&self) -> u64 {
        0
    }
}
