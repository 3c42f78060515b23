//! Takes one chunk from the snapshot into the open transaction of a session, on a task of its
//! own so that several chunks use several processors. Looks at no row, marks nothing, commits
//! nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use tokio::task::JoinHandle;

use super::clock::Clock;
use super::rate::RateLimit;
use crate::catalog::{Projection, RowBatch};
use crate::engine::crash::crash_point;
use crate::engine::{Batch, BatchStream, Cause, EngineError, Load, Loaded, Session};

/// Rows and bytes on their way that nobody was told of yet; less than nothing where some were told
/// of that are not on their way any more.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    rows: AtomicI64,
    bytes: AtomicI64,
}

impl Gauge {
    /// Rows and bytes since the last call.
    pub(super) fn take(&self) -> (i64, i64) {
        (self.rows.swap(0, Ordering::Relaxed), self.bytes.swap(0, Ordering::Relaxed))
    }

    pub(super) fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows as i64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as i64, Ordering::Relaxed);
    }

    pub(super) fn take_back(&self, rows: u64, bytes: u64) {
        self.rows.fetch_sub(rows as i64, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes as i64, Ordering::Relaxed);
    }
}

/// What one attempt has put on the gauge. Dropped before its commit it takes all of it back: a
/// chunk that is tried again is counted once.
#[derive(Debug)]
pub(super) struct Share {
    gauge: Arc<Gauge>,
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Share {
    pub(super) fn of(gauge: Arc<Gauge>) -> Self {
        Self { gauge, rows: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.gauge.add(rows, bytes);
    }

    /// It is committed.
    pub(super) fn keep(mut self) {
        (self.rows, self.bytes) = Default::default();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.gauge.take_back(*self.rows.get_mut(), *self.bytes.get_mut());
    }
}

/// One chunk's way.
pub(super) struct Passage {
    pub(super) projection: Arc<Projection>,
    pub(super) frozen: bool,
    pub(super) share: Share,
    pub(super) rate: Option<Arc<RateLimit>>,
    pub(super) clock: Arc<dyn Clock>,
}

/// How a load ended: the session comes back whatever happened to its transaction.
pub(super) struct Passed {
    pub(super) session: Box<dyn Session>,
    pub(super) loaded: Result<Loaded, EngineError>,
    /// What it has told of itself, until it is committed.
    pub(super) share: Share,
    /// The error came from the source's stream.
    pub(super) at_source: bool,
}

impl Passage {
    /// Loads the stream. Success means: the stream came to its end marker, and as many rows
    /// arrived as the source counted.
    pub(super) async fn load(self, session: Box<dyn Session>, stream: Box<dyn BatchStream>) -> Passed {
        AbortOnDrop::spawn(self.load_here(session, stream)).join().await
    }

    async fn load_here(self, mut session: Box<dyn Session>, stream: Box<dyn BatchStream>) -> Passed {
        let failed = Arc::new(AtomicBool::new(false));
        let mut stream = Watched {
            stream,
            failed: failed.clone(),
            end: None,
            first: true,
            rate: self.rate.clone(),
            clock: self.clock.clone(),
        };
        let gauge = |bytes: u64, rows: u64| self.share.add(rows, bytes);
        let load = Load { projection: &self.projection, frozen: self.frozen, gauge: &gauge };
        let loaded = session.load(&load, &mut stream).await;
        crash_point("copy::end_of_stream_before_check");
        let loaded = loaded.and_then(|loaded| self.check(loaded, stream.end));
        Passed { session, loaded, share: self.share, at_source: failed.load(Ordering::Relaxed) }
    }

    /// Success must be proved, not inferred from a stream that stops.
    fn check(&self, loaded: Loaded, end: Option<u64>) -> Result<Loaded, EngineError> {
        let why = match end {
            Some(rows) if rows == loaded.rows => return Ok(loaded),
            Some(rows) => format!("the source sent {rows} rows and {} arrived", loaded.rows),
            None => "the rows stopped without their end marker".to_string(),
        };
        Err(EngineError::new(Cause::Connection, "copy", why).on(&self.projection.target))
    }
}

/// A stream that remembers how it ended and keeps to the rate.
struct Watched {
    stream: Box<dyn BatchStream>,
    failed: Arc<AtomicBool>,
    end: Option<u64>,
    first: bool,
    rate: Option<Arc<RateLimit>>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl BatchStream for Watched {
    async fn next(&mut self) -> Result<Batch, EngineError> {
        let batch = self.stream.next().await;
        crash_point(if self.first { "copy::first_row" } else { "copy::mid_rows" });
        self.first = false;
        match &batch {
            Err(_) => self.failed.store(true, Ordering::Relaxed),
            Ok(Batch::End { rows }) => self.end = Some(*rows),
            Ok(Batch::Rows(rows)) => self.keep_rate(rows.rows() as f64).await,
            Ok(Batch::Native { rows, .. }) => self.keep_rate(*rows as f64).await,
        }
        batch
    }

    fn recycle(&mut self, rows: RowBatch) {
        self.stream.recycle(rows);
    }
}

impl Watched {
    async fn keep_rate(&mut self, rows: f64) {
        if let Some(rate) = &self.rate {
            let wait = rate.wait_after(rows, Instant::now());
            if !wait.is_zero() {
                self.clock.sleep(wait).await;
            }
        }
    }
}

/// A task that ends when nobody waits for it any more, so that a cancelled run stops writing.
pub(super) struct AbortOnDrop<T>(JoinHandle<T>);

impl<T: Send + 'static> AbortOnDrop<T> {
    pub(super) fn spawn(task: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }

    /// Its result; a panic goes on in the caller.
    pub(super) async fn join(mut self) -> T {
        match (&mut self.0).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
