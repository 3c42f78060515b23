//! A held read point. All readers stand in read transactions that began while nothing was
//! committed, so that they show one moment. In rollback-journal mode the application's commits
//! wait (and may fail with SQLITE_BUSY) until the snapshot is closed; in WAL mode they do not.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::{File, Worker};
use super::error::classify;
use super::read::{self, Pull, Range, RowStream, shape, span};
use super::summary;
use crate::catalog::{Form, Projection};
use crate::change::Position;
use crate::engine::{BatchStream, Cause, Chunk, EngineError, Limits, Read, Snapshot, Summary};

const OPEN: &str = "take a snapshot of";

/// Attempts to begin all read transactions between two commits of the application.
const ATTEMPTS: u32 = 100;

/// Rows that become values of another engine cost a thread each piece: pieces this small let
/// several readers share a table, and a commit costs little beside one. A fixed number, so that a
/// later run cuts at the same places.
const PIECE_BYTES: u64 = 32 << 20;

/// Readers that stand in one moment.
pub(super) struct Held {
    readers: Arc<Readers>,
    position: Position,
    file: File,
    encoding: String,
    /// WAL mode: others may commit while this is held, so only these readers show the moment.
    moving: bool,
}

struct Readers {
    idle: Mutex<Vec<Worker>>,
    free: Arc<Semaphore>,
}

/// A reader on loan; goes back when dropped.
pub(super) struct Lease {
    worker: Option<Worker>,
    readers: Arc<Readers>,
    _permit: OwnedSemaphorePermit,
}

impl Deref for Lease {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        self.worker.as_ref().expect("broken invariant: a lease has its worker until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut idle = self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.extend(self.worker.take());
    }
}

impl Readers {
    async fn lease(self: &Arc<Self>) -> Result<Lease, EngineError> {
        let closed = || EngineError::new(Cause::Other, OPEN, "the snapshot is closed");
        let permit = Arc::clone(&self.free).acquire_owned().await.map_err(|_| closed())?;
        let worker = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Lease { worker: Some(worker.ok_or_else(closed)?), readers: Arc::clone(self), _permit: permit })
    }
}

/// How the file is opened: as a source, or as a target that may first need recovery.
pub(super) type Open = fn(&File, &Limits) -> Result<Connection, EngineError>;

/// Lets the readers begin, and tells the moment at which they stand.
pub(super) type Told = Box<dyn Fn(&dyn Fn() -> Result<(), EngineError>, &Connection) -> Moment + Send>;
type Moment = Result<Position, EngineError>;

impl Held {
    /// Opens the readers and lets them begin together.
    pub async fn take(file: &File, limits: &Limits, open: Open) -> Result<Self, EngineError> {
        let known = file.clone();
        // A digest of the file: it has no log that numbers its states.
        let told: Told = Box::new(move |begin, conn| begin().and_then(|()| position(&known, conn)));
        Self::take_at(file, limits, open, told).await
    }

    /// As [`Self::take`], at a position that `told` reads in one of the read transactions.
    pub async fn take_at(file: &File, limits: &Limits, open: Open, told: Told) -> Result<Self, EngineError> {
        let (file, limits) = (file.clone(), limits.clone());
        let work = move || Self::take_now(file, &limits, open, &told);
        let taken = tokio::task::spawn_blocking(work).await;
        taken.map_err(|error| EngineError::new(Cause::Other, OPEN, error.to_string()))?
    }

    fn take_now(file: File, limits: &Limits, open: Open, told: &Told) -> Result<Self, EngineError> {
        let fail = |error| classify(OPEN, error).on(&file);
        let probe = open(&file, limits)?;
        let readers =
            (0..limits.readers.max(1)).map(|_| open(&file, limits)).collect::<Result<Vec<_>, _>>()?;
        let text = |sql: &str| probe.query_row(sql, [], |row| row.get::<_, String>(0)).map_err(fail);
        let (mode, encoding) = (text("PRAGMA main.journal_mode")?, text("PRAGMA main.encoding")?);
        let position = begin_together(&file, &probe, &readers, told)?;
        let idle = readers.into_iter().map(Worker::start).collect::<Result<Vec<_>, _>>()?;
        let free = Arc::new(Semaphore::new(idle.len()));
        let readers = Arc::new(Readers { idle: Mutex::new(idle), free });
        let moving = mode.eq_ignore_ascii_case("wal");
        Ok(Self { readers, position, file, encoding, moving })
    }

    /// What the target needs to fetch the rows by itself; none where it would see another moment.
    fn pull(&self, read: &Read<'_>) -> Option<Pull> {
        if self.moving || read.paced || read.projection.form != Form::NativeFast {
            return None;
        }
        let path = self.file.path.to_str()?.to_string();
        Some(Pull { path, range: Range::parse(&read.chunk.bounds)?, encoding: self.encoding.clone() })
    }
}

/// Begins all read transactions such that no commit falls between the first and the last.
fn begin_together(
    file: &File,
    probe: &Connection,
    readers: &[Connection],
    told: &Told,
) -> Result<Position, EngineError> {
    let fail = |error| classify(OPEN, error).on(file);
    let version = || probe.query_row("PRAGMA main.data_version", [], |row| row.get::<_, i64>(0));
    let begin = || {
        readers.iter().try_for_each(|reader| {
            reader.execute_batch("BEGIN").map_err(fail)?;
            reader.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(())).map_err(fail)
        })
    };
    for attempt in 0..ATTEMPTS {
        let before = version().map_err(fail)?;
        let position = told(&begin, &readers[0])?;
        if version().map_err(fail)? == before {
            return Ok(position);
        }
        for reader in readers {
            reader.execute_batch("ROLLBACK").map_err(fail)?;
        }
        // A writer that commits without pause needs us to fall between two of its commits.
        std::thread::sleep(Duration::from_millis(u64::from(attempt.min(20))));
    }
    let message = "the file is written to so often that no moment between two commits was found";
    Err(EngineError::new(Cause::Busy, OPEN, message).on(file))
}

/// A digest of everything that changes when rows change, taken without opening the file: its
/// identity, sizes and times, those of its WAL, and what SQLite counts in the header.
fn position(file: &File, conn: &Connection) -> Result<Position, EngineError> {
    let fail = |error: std::io::Error| {
        EngineError::new(Cause::NotFound, OPEN, error.to_string()).on(file).contract("E320")
    };
    let mut hash = Sha256::new();
    hash.update(facts(&std::fs::metadata(&file.path).map_err(fail)?));
    if let Ok(wal) = std::fs::File::open(file.sibling("-wal")) {
        let meta = wal.metadata().map_err(fail)?;
        if meta.len() > 0 {
            // The header's salts change with every restart of the log.
            let mut header = Vec::new();
            std::io::Read::read_to_end(&mut std::io::Read::take(wal, 32), &mut header).map_err(fail)?;
            hash.update(facts(&meta));
            hash.update(header);
        }
    }
    for pragma in ["schema_version", "page_count", "freelist_count", "user_version"] {
        let value = conn.query_row(&format!("PRAGMA main.{pragma}"), [], |row| row.get::<_, i64>(0));
        hash.update(value.map_err(|error| classify(OPEN, error).on(file))?.to_le_bytes());
    }
    let digest = hash.finalize();
    Ok(Position(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()))
}

/// Identity, size and times to the nanosecond.
#[cfg(unix)]
fn facts(meta: &std::fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
    format!("{} {} {} {times:?};", meta.dev(), meta.ino(), meta.len())
}

#[cfg(not(unix))]
fn facts(meta: &std::fs::Metadata) -> String {
    format!("{} {:?} {:?};", meta.len(), meta.created().ok(), meta.modified().ok())
}

#[async_trait]
impl Snapshot for Held {
    fn position(&self) -> &Position {
        &self.position
    }

    async fn chunks(&self, projection: &Projection, chunk_bytes: u64) -> Result<Vec<Chunk>, EngineError> {
        let lease = self.readers.lease().await?;
        let projection = projection.clone();
        let piece = match projection.form {
            Form::Rows => chunk_bytes.min(PIECE_BYTES),
            _ => chunk_bytes,
        };
        lease.call("cut", move |conn| cut(conn, &projection, piece.max(1))).await
    }

    async fn read(&self, read: &Read<'_>) -> Result<Box<dyn BatchStream>, EngineError> {
        let lease = self.readers.lease().await?;
        let native = self.pull(read);
        Ok(Box::new(RowStream::open(lease, read.projection, read.chunk, read.batch_bytes, native)?))
    }

    async fn unchanged(
        &self,
        _projection: &Projection,
        position: &Position,
        _chunks: &[(Chunk, u64)],
    ) -> Result<bool, EngineError> {
        Ok(*position == self.position)
    }

    async fn summary(&self, projection: &Projection, buckets: u32) -> Result<Summary, EngineError> {
        let lease = self.readers.lease().await?;
        let projection = projection.clone();
        lease.call("sum up", move |conn| summary::summary(conn, &projection, buckets)).await
    }

    async fn bucket_rows(
        &self,
        projection: &Projection,
        buckets: &[u32],
        of: u32,
        limit: usize,
    ) -> Result<Vec<(String, i128)>, EngineError> {
        let lease = self.readers.lease().await?;
        let (projection, buckets) = (projection.clone(), buckets.to_vec());
        lease
            .call("list rows of", move |conn| summary::bucket_rows(conn, &projection, &buckets, of, limit))
            .await
    }

    async fn count(&self, projection: &Projection) -> Result<u64, EngineError> {
        let lease = self.readers.lease().await?;
        let projection = projection.clone();
        lease.call("count", move |conn| read::count(conn, &projection, Range::default())).await
    }

    async fn close(self: Box<Self>) -> Result<(), EngineError> {
        // Readers on loan end their transactions when they come back and nobody holds the pool.
        self.readers.free.close();
        let idle = std::mem::take(&mut *self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in idle {
            let end = |conn: &mut Connection| conn.execute_batch("ROLLBACK");
            worker.call("close", move |conn| end(conn).map_err(|error| classify("close", error))).await?;
        }
        Ok(())
    }
}

/// Cuts a table by ranges of its row id, as many as its bytes ask for.
fn cut(conn: &Connection, projection: &Projection, chunk_bytes: u64) -> Result<Vec<Chunk>, EngineError> {
    let fail = |error| classify("cut", error).on(&projection.source);
    let shape = shape(conn, &projection.source.name)?;
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(fail);
    let file_bytes = (number("PRAGMA main.page_count")? * number("PRAGMA main.page_size")?) as u64;
    let span = match shape.rowid.as_deref() {
        Some(rowid) => span(conn, &projection.source.name, rowid).map_err(fail)?,
        None => None,
    };
    let Some((low, high)) = span else {
        return Ok(vec![Chunk { number: 0, of: 1, bounds: "whole".into(), rows: 0, bytes: 0 }]);
    };
    let ids = (i128::from(high) - i128::from(low) + 1) as u128;
    let row_bytes = row_bytes(conn, projection, &shape, low, high)?;
    let bytes = (ids.saturating_mul(u128::from(row_bytes))).min(u128::from(file_bytes)) as u64;
    let of = bytes.div_ceil(chunk_bytes).clamp(1, 10_000).min(ids.min(10_000) as u64) as u32;
    let rows = (bytes / row_bytes.max(1)).max(1);
    let edge = |number: u32| (i128::from(low) + (ids * u128::from(number) / u128::from(of)) as i128) as i64;
    let chunk = |number: u32| Chunk {
        number,
        of,
        bounds: Range {
            low: (number > 0).then(|| edge(number)),
            high: (number + 1 < of).then(|| edge(number + 1) - 1),
        }
        .to_string(),
        rows: rows / u64::from(of),
        bytes: bytes / u64::from(of),
    };
    Ok((0..of).map(chunk).collect())
}

/// Average bytes of a row, from small samples at five places.
fn row_bytes(
    conn: &Connection,
    projection: &Projection,
    shape: &read::Shape,
    low: i64,
    high: i64,
) -> Result<u64, EngineError> {
    let fail = |error| classify("cut", error).on(&projection.source);
    let Some(rowid) = shape.rowid.as_deref() else { return Ok(1) };
    let size = |name: &String| {
        let name = super::dialect::quote(name);
        format!(
            "2 + CASE typeof({name}) WHEN 'text' THEN length(CAST({name} AS BLOB)) WHEN 'blob' THEN length({name}) ELSE 6 END"
        )
    };
    let sizes = shape.stored.iter().map(size).collect::<Vec<_>>().join(" + ");
    let sizes = if sizes.is_empty() { "8".to_string() } else { sizes };
    let table = super::dialect::quote(&projection.source.name);
    let sql = format!(
        "SELECT count(*), coalesce(sum(bytes), 0) FROM (SELECT {sizes} AS bytes FROM main.{table} WHERE {rowid} >= ?1 LIMIT 40)"
    );
    let (mut rows, mut bytes) = (0i64, 0i64);
    for fifth in 0..5i128 {
        let at = (i128::from(low) + (i128::from(high) - i128::from(low)) * fifth / 5) as i64;
        let found = conn.query_row(&sql, [at], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        let (more, sum) = found.map_err(fail)?;
        (rows, bytes) = (rows + more, bytes + sum);
    }
    Ok((bytes / rows.max(1)).max(1) as u64 + 6)
}
