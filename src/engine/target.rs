//! The writing end.

use std::time::Duration;

use async_trait::async_trait;

use super::source::SequenceValue;
use super::{BatchStream, Cause, Duties, EngineError, Obstacle, Snapshot};
use crate::catalog::{Answer, Catalog, Name, Place, Probe, Projection, Sequence};
use crate::change::{Followed, Net, Records};
use crate::checkpoint::{Checkpoint, Goal, Progress};

/// A database that rows go to.
#[async_trait]
pub trait Target: Send + Sync {
    async fn inspect(&self) -> Result<Catalog, EngineError>;
    async fn place(&self) -> Result<Place, EngineError>;
    async fn probe(&self, probes: &[Probe], each: Option<Duration>) -> Result<Vec<Answer>, EngineError>;
    /// What this target remembers of the plan; empty when it never heard of it. Writes nothing.
    async fn progress(&self, plan: &str) -> Result<Progress, EngineError>;
    /// Names of all plans it remembers.
    async fn plans(&self) -> Result<Vec<String>, EngineError>;
    /// Makes the state tables where they are missing, takes the plan's lock, raises its fence
    /// and records the run with its goal. Waits up to `wait` for another holder, then
    /// `Cause::Locked` naming it.
    async fn lock(&self, plan: &str, goal: &Goal, wait: Duration) -> Result<Box<dyn Lock>, EngineError>;
    /// Who holds the plan's lock now.
    async fn holder(&self, plan: &str) -> Result<Option<LockHolder>, EngineError>;
    /// A snapshot for verification: the same answers as the source's.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError>;
    /// Everything that keeps changes of these tables from being applied here one day, found by
    /// reading only. `fenced`: a sealed fence will keep all others out.
    async fn check(&self, _tables: &[Followed], _fenced: bool) -> Result<Vec<Obstacle>, EngineError> {
        Ok(Vec::new())
    }
    /// The statements that give a role what it needs to write; none where the engine has no roles.
    async fn grants(&self, _duties: &Duties<'_>) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }
}

/// The right to write for one plan. Released when dropped or closed.
#[async_trait]
pub trait Lock: Send + Sync {
    /// Opens a writing session whose every commit checks the fence: a run that lost its lock
    /// cannot commit.
    async fn session(&self) -> Result<Box<dyn Session>, EngineError>;
    /// Fails with `Cause::Locked` once the lock is lost. Called every few seconds.
    async fn heartbeat(&self) -> Result<(), EngineError>;
    /// Records the outcome of the run (`done`, `partial`, `failed`), makes everything before it
    /// durable, and lets go.
    async fn close(self: Box<Self>, outcome: &str) -> Result<(), EngineError>;
    /// Removes everything that the target remembers of the plan, and the state tables where no
    /// other plan is left; then lets go. Says what was removed.
    async fn forget(self: Box<Self>) -> Result<Vec<String>, EngineError>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// `user@host pid 123`.
    pub by: String,
    pub since: String,
}

/// One connection that writes. Everything between `begin` and `commit` is one transaction,
/// the marks included; an error or a drop in between rolls all of it back.
#[async_trait]
pub trait Session: Send {
    async fn begin(&mut self) -> Result<(), EngineError>;
    /// Runs DDL as the dialect wrote it. Outside a transaction each statement is its own.
    async fn execute(&mut self, statements: &[String]) -> Result<(), EngineError>;
    /// Runs the DDL of an index or key that is built over rows. How dear it will be is a hint.
    async fn build(&mut self, statements: &[String], _build: &Build) -> Result<(), EngineError> {
        self.execute(statements).await
    }
    /// Runs a query that must return no row; returns how many it did return.
    async fn violations(&mut self, query: &str) -> Result<u64, EngineError>;
    /// Takes the stream to its end; the rows are in when it returns. Checks the stream's own
    /// count against what arrived. `frozen`: the table was emptied or created in this transaction.
    async fn load(&mut self, load: &Load<'_>, stream: &mut dyn BatchStream) -> Result<Loaded, EngineError>;
    /// Sets a sequence so that its next value is one the source has not used, `margin` further
    /// on in its own direction; never backwards. Returns the value set, none when nothing was to do.
    async fn set_sequence(
        &mut self,
        sequence: &Sequence,
        value: &SequenceValue,
        margin: u64,
    ) -> Result<Option<i64>, EngineError>;
    /// Writes a mark in the open transaction.
    async fn mark(&mut self, plan: &str, mark: &Checkpoint) -> Result<(), EngineError>;
    /// Checks the fence, then commits.
    async fn commit(&mut self) -> Result<(), EngineError>;
    /// As [`Self::commit`], without waiting for the disk: a crash of the server may take this
    /// commit back, with its mark and all later ones. The next `commit` makes it durable too, and so
    /// does taking the lock.
    async fn commit_lazily(&mut self) -> Result<(), EngineError> {
        self.commit().await
    }
    async fn rollback(&mut self) -> Result<(), EngineError>;
    /// Rows in a table now, for `load: copy` into a table that must be empty. 0 or 1.
    async fn any_row(&mut self, table: &Name) -> Result<bool, EngineError>;
    /// Makes this session one that applies changes of these tables: what it does not commit lazily
    /// is durable when it returns, and triggers and foreign keys of the target do not act on replayed rows where
    /// this role may say so. Called once, outside a transaction; a connection that is replaced
    /// later is made the same.
    async fn follow(&mut self, _tables: &[Followed]) -> Result<(), EngineError> {
        Err(EngineError::new(Cause::Other, "apply changes", "this engine does not apply changes yet"))
    }
    /// False where triggers and foreign keys of the target act on what this session applies. Known
    /// once it follows.
    fn keeps_still(&self) -> bool {
        true
    }
    /// Applies rows and truncates one by one in their order, in the open transaction; other
    /// records are passed over. Each update and delete must find exactly one row and each insert
    /// must be new, else `Cause::Diverged` naming table and key.
    async fn apply_rows(&mut self, _records: Records<'_>) -> Result<(), EngineError> {
        Err(EngineError::new(Cause::Other, "apply changes", "this engine does not apply changes yet"))
    }
    /// Applies net changes set by set, in the open transaction, as strictly. Where that fails
    /// nothing of these changes is kept, and the transaction goes on: [`Applied::Clashed`].
    async fn apply_net(&mut self, _net: &Net<'_>) -> Result<Applied, EngineError> {
        Err(EngineError::new(Cause::Other, "apply changes", "this engine does not apply changes yet"))
    }
}

/// What came of applying a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Done,
    /// The rows stand in each other's way as sets (a unique value that moves from one row to
    /// another), or the target differs from the source: one by one they may go, or the row that
    /// differs will be found.
    Clashed,
}

/// An index build, as far as it is known beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    pub rows: u64,
    /// Of the index; zero where statistics do not know them.
    pub bytes: u64,
    /// No other work of the run goes on beside it.
    pub alone: bool,
}

/// What to load.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    pub projection: &'a Projection,
    pub frozen: bool,
    /// Told after each batch with the bytes and rows that have gone in since the last call.
    pub gauge: &'a (dyn Fn(u64, u64) + Send + Sync),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub rows: u64,
    pub bytes: u64,
}
