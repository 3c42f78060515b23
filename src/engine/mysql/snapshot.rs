//! A consistent read point: sessions that began at one moment (see `moment`) and are lent to
//! whoever reads. After each read a session returns to its savepoint, so that no lock on a table's
//! structure outlives a chunk. A session that breaks is gone for good: no other can take its
//! place, and the snapshot lives as long as one is left.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Guarded, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::chunks;
use super::connect::{Link, close};
use super::error::from_driver;
use super::facts::Facts;
use super::moment::{SAVEPOINT, Together, shows_the_same, together};
use super::read::RowStream;
use super::rebuilt::Seen;
use super::select::{Range, from_where};
use super::summary;
use crate::catalog::{Name, Projection};
use crate::change::Position;
use crate::engine::{BatchStream, Cause, Chunk, EngineError, Limits, Read, Snapshot, Summary};

/// Seconds until a session that says nothing counts as dead.
const PING_SECONDS: u64 = 5;

/// A held snapshot.
pub(super) struct Held {
    readers: Arc<Readers>,
    position: Position,
    /// Cuts that were made: the server's estimates move, the cuts of one snapshot do not.
    cuts: Guarded<HashMap<(Name, u64), Vec<Chunk>>>,
}

/// The sessions of a snapshot.
pub(super) struct Readers {
    link: Arc<Link>,
    idle: Guarded<Vec<Conn>>,
    free: Arc<Semaphore>,
    living: AtomicUsize,
    closed: AtomicBool,
    facts: Guarded<HashMap<Name, Arc<Facts>>>,
    seen: Seen,
}

/// A session on loan. Dropped without [`Lease::give`] it is lost, for nobody knows what it does.
pub(super) struct Lease {
    conn: Option<Conn>,
    readers: Arc<Readers>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// `logged`: changes are followed from there.
    pub async fn take(link: Arc<Link>, limits: &Limits, logged: bool) -> Result<Self, EngineError> {
        let mut seen = Seen::before(&link).await?;
        // One more than those that read: what it looks at stays locked for as long as it lives.
        let sessions = limits.readers.max(1) + usize::from(seen.asks());
        let Together { mut conns, position } = together(&link, sessions, logged).await?;
        if seen.asks()
            && let Some(mut asker) = conns.pop()
        {
            seen.fill(&mut asker).await.map_err(|error| error.on(link.shown()))?;
            match conns.is_empty() {
                true => conns.push(asker),
                false => close(asker).await,
            }
        }
        let living = conns.len();
        let readers = Readers {
            link,
            idle: Guarded::new(conns),
            free: Arc::new(Semaphore::new(living)),
            living: AtomicUsize::new(living),
            closed: AtomicBool::new(false),
            facts: Guarded::default(),
            seen,
        };
        Ok(Self { readers: Arc::new(readers), position, cuts: Guarded::default() })
    }

    /// One number of one row.
    async fn number(&self, table: &Name, sql: &str) -> Result<u64, EngineError> {
        let mut lease = self.readers.lease().await?;
        let found = lease.query_first(sql).await.map_err(|error| from_driver("count", error).on(table));
        lease
            .read(table, found)
            .await?
            .ok_or_else(|| EngineError::new(Cause::Other, "count", "the server sent no number").on(table))
    }
}

fn locked<T>(guarded: &Guarded<T>) -> std::sync::MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Readers {
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// A session; waits until one is free.
    pub async fn lease(self: &Arc<Self>) -> Result<Lease, EngineError> {
        let permit = Arc::clone(&self.free).acquire_owned().await.map_err(|_| self.over())?;
        let conn = locked(&self.idle).pop().ok_or_else(|| self.over())?;
        Ok(Lease { conn: Some(conn), readers: Arc::clone(self), permit: Some(permit) })
    }

    fn over(&self) -> EngineError {
        if self.closed.load(Ordering::Relaxed) {
            return EngineError::new(Cause::Other, "read", "the snapshot is closed");
        }
        EngineError::new(
            Cause::Connection,
            "read",
            "the snapshot is gone: all sessions that held it have ended",
        )
        .on(self.link.shown())
        .hint("run the same command again: it continues with a fresh snapshot")
    }

    /// What is known of a table; asked once.
    pub async fn facts(self: &Arc<Self>, table: &Name) -> Result<Arc<Facts>, EngineError> {
        if let Some(known) = locked(&self.facts).get(table) {
            return Ok(Arc::clone(known));
        }
        let mut lease = self.lease().await?;
        let found = Facts::read(&mut lease, table).await;
        let facts = Arc::new(lease.done(found).await?);
        locked(&self.facts).insert(table.clone(), Arc::clone(&facts));
        Ok(facts)
    }

    fn lost(&self) {
        if self.living.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.free.close();
        }
    }
}

impl Lease {
    pub fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// Goes back to the savepoint, then to the others.
    pub async fn give(mut self) {
        let rolled = self.query_drop(format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}")).await;
        if rolled.is_ok()
            && let Some(conn) = self.conn.take()
        {
            locked(&self.readers.idle).push(conn);
            // Only now may another be told that one is free.
            drop(self.permit.take());
        }
    }

    /// Fails where what was read of a table is not what it was when the snapshot began.
    pub async fn check(&mut self, table: &Name) -> Result<(), EngineError> {
        let readers = Arc::clone(&self.readers);
        readers.seen.check(self, table).await
    }

    /// As [`Lease::done`], after a look at the table that was read.
    async fn read<T>(mut self, table: &Name, result: Result<T, EngineError>) -> Result<T, EngineError> {
        let result = match result {
            Ok(read) => self.check(table).await.map(|()| read),
            failed => failed,
        };
        self.done(result).await
    }

    /// Gives the session back, unless what it did broke it.
    pub async fn done<T>(self, result: Result<T, EngineError>) -> Result<T, EngineError> {
        match &result {
            Err(error) if error.cause == Cause::Connection => drop(self),
            _ => self.give().await,
        }
        result
    }
}

impl Deref for Lease {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        self.conn.as_ref().expect("broken invariant: a lease has its session until it is given back")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("broken invariant: a lease has its session until it is given back")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.forget();
            self.readers.lost();
        }
    }
}

#[async_trait]
impl Snapshot for Held {
    fn position(&self) -> &Position {
        &self.position
    }

    async fn alive(&self) -> bool {
        let idle = self.readers.free.available_permits();
        for _ in 0..idle {
            let Ok(mut lease) = self.readers.lease().await else { break };
            let limit = Duration::from_secs(PING_SECONDS);
            if matches!(tokio::time::timeout(limit, lease.ping()).await, Ok(Ok(()))) {
                lease.give().await;
                return true;
            }
        }
        // Those on loan tell by themselves.
        self.readers.living.load(Ordering::Relaxed) > 0
    }

    async fn chunks(&self, projection: &Projection, chunk_bytes: u64) -> Result<Vec<Chunk>, EngineError> {
        let place = (projection.source.clone(), chunk_bytes);
        if let Some(known) = locked(&self.cuts).get(&place) {
            return Ok(known.clone());
        }
        let facts = self.readers.facts(&projection.source).await?;
        let mut lease = self.readers.lease().await?;
        let cut = chunks::cut(&mut lease, &projection.source, &facts, chunk_bytes.max(1)).await;
        let cut = lease.done(cut).await?;
        Ok(locked(&self.cuts).entry(place).or_insert(cut).clone())
    }

    async fn read(&self, read: &Read<'_>) -> Result<Box<dyn BatchStream>, EngineError> {
        let facts = self.readers.facts(&read.projection.source).await?;
        let lease = self.readers.lease().await?;
        Ok(Box::new(RowStream::open(lease, &facts, read).await?))
    }

    /// Only a view that both have in common proves it (see `view`): a commit may go by the log, and
    /// a row does not say when it was written.
    async fn unchanged(
        &self,
        projection: &Projection,
        position: &Position,
        chunks: &[(Chunk, u64)],
    ) -> Result<bool, EngineError> {
        if !shows_the_same(&self.position, position) {
            return Ok(false);
        }
        let facts = self.readers.facts(&projection.source).await?;
        if !facts.innodb {
            return Ok(false);
        }
        for (chunk, rows) in chunks {
            let range = Range::of(chunk)?;
            if range.as_ref().is_some_and(|range| !range.fits(&facts)) {
                return Ok(false);
            }
            // A filter may choose by more than what is in the row.
            let counted = format!("SELECT COUNT(*) {}", from_where(projection, &facts, range.as_ref()));
            if self.number(&projection.source, &counted).await? != *rows {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn summary(&self, projection: &Projection, buckets: u32) -> Result<Summary, EngineError> {
        let facts = self.readers.facts(&projection.source).await?;
        let mut lease = self.readers.lease().await?;
        let summed = summary::summary(&mut lease, projection, &facts, buckets).await;
        lease.read(&projection.source, summed).await
    }

    async fn bucket_rows(
        &self,
        projection: &Projection,
        buckets: &[u32],
        of: u32,
        limit: usize,
    ) -> Result<Vec<(String, i128)>, EngineError> {
        let facts = self.readers.facts(&projection.source).await?;
        let mut lease = self.readers.lease().await?;
        let listed = summary::bucket_rows(&mut lease, projection, &facts, (buckets, of), limit).await;
        lease.read(&projection.source, listed).await
    }

    async fn count(&self, projection: &Projection) -> Result<u64, EngineError> {
        let facts = self.readers.facts(&projection.source).await?;
        let rows = from_where(projection, &facts, None::<&Range>);
        self.number(&projection.source, &format!("SELECT COUNT(*) {rows}")).await
    }

    async fn close(self: Box<Self>) -> Result<(), EngineError> {
        // Sessions on loan end when they are given back: nobody holds the pool then.
        self.readers.closed.store(true, Ordering::Relaxed);
        self.readers.free.close();
        let idle = std::mem::take(&mut *locked(&self.readers.idle));
        for conn in idle {
            close(conn).await;
        }
        Ok(())
    }
}
