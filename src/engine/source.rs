//! The reading end.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Capture, Cause, Duties, EngineError, Fence, Obstacle};
use crate::catalog::{Answer, Catalog, Name, Place, Probe, Projection, RowBatch};
use crate::change::Position;

const NO_ROLES: &str = "in this engine rights on single tables cannot be taken from roles";
const FENCE_TABLES: &str = "cutover: { fence: tables }";

/// A database that rows come from. All sessions are read-only.
#[async_trait]
pub trait Source: Send + Sync {
    /// Its structure, by a fixed number of queries whatever the number of tables.
    async fn inspect(&self) -> Result<Catalog, EngineError>;
    /// Which database this is.
    async fn place(&self) -> Result<Place, EngineError>;
    /// Answers probes in one read-only snapshot; one that exceeds `each` is answered `Not`.
    async fn probe(&self, probes: &[Probe], each: Option<Duration>) -> Result<Vec<Answer>, EngineError>;
    /// A consistent read point of the rows, shared by all readers for as long as it lives.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError>;
    /// Present values of sequences. Read after the rows: sequences are outside any snapshot.
    async fn sequence_values(&self, sequences: &[Name]) -> Result<Vec<SequenceValue>, EngineError>;
    /// Runs a query that must return no row; returns how many it did return.
    async fn violations(&self, query: &str) -> Result<u64, EngineError>;
    /// Keeps all writers out of these tables for as long as the fence is held. Waits for writers at
    /// work as long as a lock is waited for, then `Cause::Busy` naming them. What it leaves when it
    /// is sealed says which plan it belongs to.
    async fn fence(&self, plan: &str, tables: &[Name]) -> Result<Box<dyn Fence>, EngineError>;
    /// As [`Self::fence`], but sealed it keeps only these roles out, by what it takes from them, and
    /// remembers that. Refuses roles that would go on writing.
    async fn fence_roles(
        &self,
        _plan: &str,
        _tables: &[Name],
        _roles: &[String],
    ) -> Result<Box<dyn Fence>, EngineError> {
        Err(EngineError::new(Cause::Other, "keep roles out", NO_ROLES).hint(FENCE_TABLES))
    }
    /// What would let these roles write in spite of that, found by reading only.
    async fn check_roles(&self, _tables: &[Name], _roles: &[String]) -> Result<Vec<Obstacle>, EngineError> {
        let (at, message, hint) = ("roles".to_string(), NO_ROLES.to_string(), FENCE_TABLES.to_string());
        Ok(vec![Obstacle { code: "S604", at, message, hint, blocks: true }])
    }
    /// The tables that a sealed fence of this plan keeps closed for writes, sorted.
    async fn fenced(&self, plan: &str) -> Result<Vec<Name>, EngineError>;
    /// Sessions, in words, that have written to these tables and not committed yet, where the engine
    /// tells: the change log knows nothing of them.
    async fn writing(&self, _tables: &[Name]) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }
    /// Takes the sealed fence of this plan away, and gives back exactly what it took; says what was
    /// removed. Done twice, it finds nothing.
    async fn unfence(&self, plan: &str) -> Result<Vec<String>, EngineError>;
    /// The statements that give a role what it needs to read; none where the engine has no roles.
    async fn grants(&self, _duties: &Duties<'_>) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }
    /// The change log, where the engine has one that Towpath follows.
    fn capture(&self) -> Option<&dyn Capture> {
        None
    }
}

/// A held snapshot.
#[async_trait]
pub trait Snapshot: Send + Sync {
    fn position(&self) -> &Position;
    /// False once the session that holds it is gone: then nothing more can be read in it, and
    /// whoever copies needs a new one. Asked only after a failure.
    async fn alive(&self) -> bool {
        true
    }
    /// Cuts a table into pieces of about `chunk_bytes`, from one catalog lookup. A table without
    /// a way to cut it, or with a filter, may be one chunk. Pieces are disjoint and cover all
    /// rows, the last being open-ended. Deterministic for the same snapshot.
    async fn chunks(&self, projection: &Projection, chunk_bytes: u64) -> Result<Vec<Chunk>, EngineError>;
    /// Opens a stream over one chunk in this snapshot, in the projection's form. A table that was
    /// rewritten or emptied since the snapshot is `Cause::Stale`, never zero rows.
    async fn read(&self, read: &Read<'_>) -> Result<Box<dyn BatchStream>, EngineError>;
    /// True when the rows of these chunks, read at `position`, are exactly what this snapshot
    /// shows of them: then a half-copied table may go on. False when in doubt.
    async fn unchanged(
        &self,
        projection: &Projection,
        position: &Position,
        chunks: &[(Chunk, u64)],
    ) -> Result<bool, EngineError>;
    /// Summaries for verification, computed by the server: rows fall into `buckets` buckets by
    /// the hash of their key (of the whole row, where there is none).
    async fn summary(&self, projection: &Projection, buckets: u32) -> Result<Summary, EngineError>;
    /// Key text and row hash of every row in one of `buckets` of `of`, as the summary hashed
    /// them; at most `limit` rows.
    async fn bucket_rows(
        &self,
        projection: &Projection,
        buckets: &[u32],
        of: u32,
        limit: usize,
    ) -> Result<Vec<(String, i128)>, EngineError>;
    /// How the server's texts are made of bytes, which its sums are of. Sums of two encodings say nothing.
    async fn encoding(&self) -> Result<String, EngineError> {
        Ok(String::new())
    }
    /// Exact number of rows that the projection selects.
    async fn count(&self, projection: &Projection) -> Result<u64, EngineError>;
    /// How the engine itself moves local time in this zone to UTC; none where it knows no zones.
    async fn zone(&self, _name: &str) -> Result<Option<Zone>, EngineError> {
        Ok(None)
    }
    /// Lets go of it. Dropping without closing is allowed and may take until the server notices.
    async fn close(self: Box<Self>) -> Result<(), EngineError>;
}

/// A time zone as steps of local time: from each second since 1970 on, so many seconds east of
/// UTC. In order, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    pub steps: Vec<(i64, i64)>,
    /// The second up to which the steps are known. From there on the 400 years before it repeat.
    pub until: i64,
}

/// Seconds of 400 years, after which the calendar repeats.
const CALENDAR_SECONDS: i64 = 146_097 * 86_400;

impl Zone {
    /// Seconds east of UTC at this local second.
    pub fn east(&self, local: i64) -> i64 {
        let local = match local - self.until {
            beyond @ 0.. => self.until - CALENDAR_SECONDS + beyond % CALENDAR_SECONDS,
            _ => local,
        };
        let at = self.steps.partition_point(|(since, _)| *since <= local);
        self.steps.get(at.saturating_sub(1)).map_or(0, |(_, east)| *east)
    }
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    pub projection: &'a Projection,
    pub chunk: &'a Chunk,
    /// Bytes of one batch, as near as whole rows allow (native bytes are cut anywhere).
    pub batch_bytes: usize,
    /// The rows themselves must come, because somebody keeps them to a rate: never a hint at
    /// where the target may fetch them.
    pub paced: bool,
}

/// A range of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub number: u32,
    pub of: u32,
    /// The engine's own words for it; no other engine reads them. `whole` for a whole table.
    pub bounds: String,
    /// Estimates for progress display.
    pub rows: u64,
    pub bytes: u64,
}

/// Rows of one chunk, in pieces.
#[async_trait]
pub trait BatchStream: Send {
    /// The next piece. After [`Batch::End`] the stream is over; a stream that stops without it
    /// was cut, and is an error here, never a silent end.
    async fn next(&mut self) -> Result<Batch, EngineError>;
    /// Gives an emptied batch back for reuse.
    fn recycle(&mut self, _rows: RowBatch) {}
}

/// A piece of a chunk.
#[derive(Debug)]
pub enum Batch {
    Rows(RowBatch),
    /// Bytes that the target half of the same engine understands, in which so many rows end.
    Native {
        bytes: Bytes,
        rows: u64,
    },
    /// The chunk is complete and had this many rows, by the source's own count.
    End {
        rows: u64,
    },
}

/// Where a sequence stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceValue {
    pub name: Name,
    pub last: i64,
    /// False: `last` itself is the next value.
    pub called: bool,
}

/// Order-independent sums over rows: equal tables have equal summaries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Count of rows and sum of row hashes, by bucket. Sums add and never cancel in pairs.
    pub buckets: Vec<(u64, i128)>,
}

impl Summary {
    pub fn rows(&self) -> u64 {
        self.buckets.iter().map(|(rows, _)| rows).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_holds_before_its_first_step_and_repeats_in_the_end() {
        let steps = vec![(-100, 34), (0, 3600), (1_000, 7200), (2_000, 3600)];
        let zone = Zone { steps, until: CALENDAR_SECONDS };
        for (local, east) in [
            (-1_000_000, 34),
            (-100, 34),
            (-1, 34),
            (0, 3600),
            (999, 3600),
            (1_000, 7200),
            (CALENDAR_SECONDS - 1, 3600),
            (CALENDAR_SECONDS, 3600),
            (CALENDAR_SECONDS + 1_000, 7200),
            (9 * CALENDAR_SECONDS + 1_000, 7200),
        ] {
            assert_eq!(zone.east(local), east, "{local}");
        }
    }
}
