//! The reading end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::sync::Mutex;

use super::capture::Kept;
use super::connect::{Address, Link};
use super::snapshot::Held;
use super::{error, fence, grants, inspect, prober, quote};
use crate::catalog::{Answer, Catalog, Name, Place, Probe};
use crate::engine::{
    Capture, Cause, Duties, EngineError, Fence, Limits, SequenceValue, Snapshot, Source, Url,
};

/// A database to read from.
pub(super) struct Readable {
    link: Arc<Link>,
    limits: Limits,
    /// The session for questions, made at the first one.
    asking: Mutex<Option<Conn>>,
    changes: Kept,
}

impl Readable {
    pub async fn open(url: &Url, limits: &Limits) -> Result<Self, EngineError> {
        let address = Address::from_url(url, limits).map_err(|error| {
            let mut made =
                EngineError::new(Cause::NotFound, "use this URL", error.message).contract(error.code);
            made.hint = error.help;
            made.on(url)
        })?;
        let link = Arc::new(Link::open(address).await?);
        Ok(Self { changes: Kept::new(&link, limits), link, limits: limits.clone(), asking: Mutex::default() })
    }

    pub fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }

    /// The account of a role, or of the session.
    pub async fn account(&self, role: Option<&str>) -> Result<String, EngineError> {
        const DOING: &str = "ask who the user of the session is at";
        let mut conn = self.asking().await?;
        let own: Option<String> = conn
            .query_first("SELECT CURRENT_USER()")
            .await
            .map_err(|error| self.on(error::from_driver(DOING, error)))?;
        self.keep(conn).await;
        let role = role.map(str::to_string).or(own).unwrap_or_default();
        let (user, host) = role.rsplit_once('@').unwrap_or((&role, "%"));
        Ok(account(user, host))
    }

    /// The session for questions. It is lost when a question fails, so that the next one starts on
    /// a fresh one.
    async fn asking(&self) -> Result<Conn, EngineError> {
        match self.asking.lock().await.take() {
            Some(conn) => Ok(conn),
            None => self.link.session().await,
        }
    }

    async fn keep(&self, conn: Conn) {
        *self.asking.lock().await = Some(conn);
    }

    fn on(&self, error: EngineError) -> EngineError {
        match error.object {
            Some(_) => error,
            None => error.on(self.link.shown()),
        }
    }
}

#[async_trait]
impl Source for Readable {
    async fn inspect(&self) -> Result<Catalog, EngineError> {
        let mut conn = self.asking().await?;
        let found = inspect::inspect(&mut conn, &self.link).await.map_err(|error| self.on(error))?;
        self.keep(conn).await;
        Ok(found)
    }

    async fn place(&self) -> Result<Place, EngineError> {
        Ok(inspect::place(&self.link))
    }

    async fn probe(&self, probes: &[Probe], each: Option<Duration>) -> Result<Vec<Answer>, EngineError> {
        prober::answer(&self.link, self.limits.readers, probes, each).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        Ok(Box::new(Held::take(Arc::clone(&self.link), &self.limits, false).await?))
    }

    async fn sequence_values(&self, sequences: &[Name]) -> Result<Vec<SequenceValue>, EngineError> {
        let mut conn = self.asking().await?;
        let found = inspect::sequence_values(&mut conn, &self.link, sequences).await;
        let found = found.map_err(|error| self.on(error))?;
        self.keep(conn).await;
        Ok(found)
    }

    async fn violations(&self, query: &str) -> Result<u64, EngineError> {
        const DOING: &str = "check rows of";
        let mut conn = self.asking().await?;
        let sql = format!("SELECT COUNT(*) FROM ({query}) AS violations");
        let count: Option<u64> =
            conn.query_first(sql).await.map_err(|error| self.on(error::from_driver(DOING, error)))?;
        self.keep(conn).await;
        count.ok_or_else(|| self.on(EngineError::new(Cause::Other, DOING, "the server sent no number")))
    }

    async fn fence(&self, plan: &str, tables: &[Name]) -> Result<Box<dyn Fence>, EngineError> {
        Ok(Box::new(fence::raise(&self.link, plan, tables).await?))
    }

    async fn fenced(&self, plan: &str) -> Result<Vec<Name>, EngineError> {
        fence::sealed(&self.link, plan).await
    }

    async fn writing(&self, tables: &[Name]) -> Result<Vec<String>, EngineError> {
        fence::writing(&self.link, tables).await
    }

    async fn unfence(&self, plan: &str) -> Result<Vec<String>, EngineError> {
        fence::remove(&self.link, plan).await
    }

    fn capture(&self) -> Option<&dyn Capture> {
        Some(&self.changes)
    }

    async fn grants(&self, duties: &Duties<'_>) -> Result<Vec<String>, EngineError> {
        let mut conn = self.asking().await?;
        let objects =
            inspect::sequence_objects(&mut conn, &self.link).await.map_err(|error| self.on(error))?;
        self.keep(conn).await;
        // Counters of columns are read with their tables.
        let sequences = duties.sequences.iter().filter(|sequence| objects.contains(&sequence.name));
        let sequences: Vec<_> = sequences.cloned().collect();
        Ok(grants::source(
            &self.account(duties.role).await?,
            &self.link.server,
            &Duties { sequences: &sequences, ..*duties },
        ))
    }
}

/// An account as a statement names it.
pub(super) fn account(user: &str, host: &str) -> String {
    format!("{}@{}", quote::literal(user), quote::literal(host))
}
