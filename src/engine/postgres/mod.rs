//! The postgres engine: the door, and the two ends behind it. Rows travel on our own wire
//! client, questions about catalogs and state on sqlx.

mod admission;
mod apply;
mod apply_net;
mod apply_rows;
mod apply_sql;
mod arrays;
mod ask;
mod builds;
mod capture;
mod cascade;
mod connect;
mod ddl;
mod decode;
pub mod dialect;
mod encode;
mod error;
mod fence;
mod fence_roles;
mod followed;
mod form;
mod frames;
mod grants;
mod input;
pub mod inspect;
mod keys;
mod load;
mod lock;
mod login;
mod lsn;
mod marks;
mod moment;
mod numeric;
mod obstacle;
mod pipeline;
mod probe;
mod publication;
mod quote;
mod read;
mod relation;
mod replication;
mod rows;
mod same;
mod select;
mod slot;
mod snapshot;
mod streamed;
mod strict;
mod summary;
mod text;
mod tls;
mod types;
mod watch;
mod wire;
mod zone;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use tokio::sync::Mutex;

use self::connect::{Address, Link, Role};
use self::lock::PgLock;
use self::select::Side;
use self::snapshot::PgSnapshot;
use super::source::SequenceValue;
use super::target::{Lock, LockHolder};
use super::{
    Capture, Cause, Duties, Engine, EngineError, Fence, Limits, Obstacle, Snapshot, Source, Target, Url,
    UrlError,
};
use crate::catalog::{Answer, Catalog, Dialect, Name, Place, Probe};
use crate::change::Followed;
use crate::checkpoint::{Goal, Progress};

/// The door.
pub struct Postgres;

#[async_trait]
impl Engine for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["postgres", "postgresql"]
    }

    fn password_variable(&self) -> Option<&'static str> {
        Some("PGPASSWORD")
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &dialect::DIALECT
    }

    fn check_url(&self, url: &Url) -> Result<(), UrlError> {
        Address::from_url(url, &Limits::default()).map(|_| ())
    }

    async fn source(&self, url: &Url, limits: &Limits) -> Result<Box<dyn Source>, EngineError> {
        Ok(Box::new(End::open(url, limits, Role::Reader).await?))
    }

    async fn target(
        &self,
        url: &Url,
        limits: &Limits,
        read_only: bool,
    ) -> Result<Box<dyn Target>, EngineError> {
        let role = if read_only { Role::Reader } else { Role::Writer };
        Ok(Box::new(End::open(url, limits, role).await?))
    }
}

/// One database. Both ends ask the same questions; only a target writes.
struct End {
    link: Arc<Link>,
    limits: Limits,
    role: Role,
    /// The session for questions, made at the first one.
    asking: Mutex<Option<(PgConnection, i32)>>,
    /// The session that looks for the end of the log, again and again; made at the first look.
    looking: Mutex<Option<wire::Wire>>,
    /// Streams tell whole transactions only.
    whole: Arc<AtomicBool>,
}

impl End {
    async fn open(url: &Url, limits: &Limits, role: Role) -> Result<Self, EngineError> {
        let address = Address::from_url(url, limits).map_err(|error| {
            let mut made =
                EngineError::new(Cause::NotFound, "use this URL", error.message).contract(error.code);
            made.hint = error.help;
            made.on(url)
        })?;
        let link = Arc::new(Link::open(address).await?);
        Ok(Self {
            link,
            limits: limits.clone(),
            role,
            asking: Mutex::default(),
            looking: Mutex::default(),
            whole: Arc::default(),
        })
    }

    /// The session for questions; always read-only. It is lost when the question fails, so that
    /// the next one starts on a fresh one.
    async fn asking(&self) -> Result<(PgConnection, i32), EngineError> {
        match self.asking.lock().await.take() {
            Some(connection) => Ok(connection),
            None => self.link.sqlx(Role::Reader).await,
        }
    }

    async fn keep(&self, connection: PgConnection, pid: i32) {
        *self.asking.lock().await = Some((connection, pid));
    }
}

/// Asks on the kept session, and puts it back if that went well.
macro_rules! ask {
    ($end:expr, $connection:ident => $question:expr) => {{
        let (mut $connection, pid) = $end.asking().await?;
        let answer =
            $end.link.watch.over_sqlx(pid, $question).await.map_err(|error: EngineError| {
                match error.object {
                    Some(_) => error,
                    None => error.on($end.link.shown()),
                }
            })?;
        $end.keep($connection, pid).await;
        Ok(answer)
    }};
}

#[async_trait]
impl Source for End {
    async fn inspect(&self) -> Result<Catalog, EngineError> {
        let (mut second, pid) = self.link.sqlx(Role::Reader).await?;
        ask!(self, first => self.link.watch.over_sqlx(pid, inspect::inspect(&mut first, &mut second)))
    }

    async fn place(&self) -> Result<Place, EngineError> {
        ask!(self, connection => inspect::place(&mut connection))
    }

    async fn probe(&self, probes: &[Probe], each: Option<Duration>) -> Result<Vec<Answer>, EngineError> {
        let mut wire = self.link.wire(Role::Reader).await?;
        let answers = ask::answers(&mut wire, probes, each).await?;
        wire.terminate().await;
        Ok(answers)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        Ok(Box::new(PgSnapshot::open(self.link.clone(), Side::Source, &self.limits).await?))
    }

    async fn sequence_values(&self, sequences: &[Name]) -> Result<Vec<SequenceValue>, EngineError> {
        ask!(self, connection => ask::sequence_values(&mut connection, sequences))
    }

    async fn violations(&self, query: &str) -> Result<u64, EngineError> {
        ask::violations(&self.link, query).await
    }

    async fn fence(&self, plan: &str, tables: &[Name]) -> Result<Box<dyn Fence>, EngineError> {
        Ok(Box::new(fence::raise(&self.link, plan, tables).await?))
    }

    async fn fence_roles(
        &self,
        plan: &str,
        tables: &[Name],
        roles: &[String],
    ) -> Result<Box<dyn Fence>, EngineError> {
        Ok(Box::new(fence_roles::raise(&self.link, plan, tables, roles).await?))
    }

    async fn check_roles(&self, tables: &[Name], roles: &[String]) -> Result<Vec<Obstacle>, EngineError> {
        fence_roles::check(&self.link, tables, roles).await
    }

    async fn fenced(&self, plan: &str) -> Result<Vec<Name>, EngineError> {
        fence::standing(&self.link, plan).await
    }

    async fn writing(&self, tables: &[Name]) -> Result<Vec<String>, EngineError> {
        fence::writing(&self.link, tables).await
    }

    async fn unfence(&self, plan: &str) -> Result<Vec<String>, EngineError> {
        fence::remove(&self.link, plan).await
    }

    async fn grants(&self, duties: &Duties<'_>) -> Result<Vec<String>, EngineError> {
        ask!(self, connection => grants::source(&mut connection, duties))
    }

    fn capture(&self) -> Option<&dyn Capture> {
        Some(self)
    }
}

#[async_trait]
impl Target for End {
    async fn inspect(&self) -> Result<Catalog, EngineError> {
        Source::inspect(self).await
    }

    async fn place(&self) -> Result<Place, EngineError> {
        Source::place(self).await
    }

    async fn probe(&self, probes: &[Probe], each: Option<Duration>) -> Result<Vec<Answer>, EngineError> {
        Source::probe(self, probes, each).await
    }

    async fn progress(&self, plan: &str) -> Result<Progress, EngineError> {
        ask!(self, connection => marks::progress(&mut connection, plan))
    }

    async fn plans(&self) -> Result<Vec<String>, EngineError> {
        ask!(self, connection => marks::plans(&mut connection))
    }

    async fn lock(&self, plan: &str, goal: &Goal, wait: Duration) -> Result<Box<dyn Lock>, EngineError> {
        if self.role == Role::Reader {
            return Err(EngineError::new(Cause::Other, "lock", "the target was opened to be read only"));
        }
        Ok(Box::new(PgLock::take(self.link.clone(), plan, goal, wait).await?))
    }

    async fn holder(&self, plan: &str) -> Result<Option<LockHolder>, EngineError> {
        ask!(self, connection => lock::holder(&mut connection, plan))
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        Ok(Box::new(PgSnapshot::open(self.link.clone(), Side::Target, &self.limits).await?))
    }

    async fn check(&self, tables: &[Followed], fenced: bool) -> Result<Vec<Obstacle>, EngineError> {
        admission::check(&self.link, tables, fenced).await
    }

    async fn grants(&self, duties: &Duties<'_>) -> Result<Vec<String>, EngineError> {
        ask!(self, connection => grants::target(&mut connection, duties))
    }
}
