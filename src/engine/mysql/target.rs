//! The writing end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;

use super::connect::{self, Flavor, Link, Server, Version};
use super::error::from_driver;
use super::lock::{self, Plan};
use super::marks::State;
use super::source::Readable;
use super::{apply, grants, intent};
use crate::catalog::{Answer, Catalog, Name, Place, Probe};
use crate::change::Followed;
use crate::checkpoint::{Goal, Progress};
use crate::engine::{
    Cause, Duties, EngineError, Limits, Lock, LockHolder, Obstacle, Snapshot, Source, Target, Url,
};

/// From here on a MariaDB has collations that go with several character sets.
const FULL_NAMES: Version = Version(10, 10, 1);

/// A database to write to. What it tells of itself, a source would tell, too.
pub(super) struct Writable {
    reading: Readable,
    link: Arc<Link>,
}

impl Writable {
    pub async fn open(url: &Url, limits: &Limits) -> Result<Self, EngineError> {
        const DOING: &str = "use as a target";
        let reading = Readable::open(url, limits).await?;
        let link = reading.link();
        let mut conn = link.session().await?;
        let fail = |error| from_driver(DOING, error).on(url);
        let facts: Option<(u64, String)> = conn
            .query_first("SELECT @@GLOBAL.lower_case_table_names, CAST(@@GLOBAL.read_only AS CHAR)")
            .await
            .map_err(fail)?;
        connect::close(conn).await;
        let refused = match facts {
            Some((1.., _)) => (
                "this server folds the names of tables (lower_case_table_names), which would not be found again",
                "use a server with lower_case_table_names = 0",
            ),
            Some((_, only)) if !matches!(only.as_str(), "0" | "OFF") => {
                ("this server is read-only", "SET GLOBAL read_only = 0, or use the primary")
            }
            _ => return Ok(Self { reading, link }),
        };
        Err(EngineError::new(Cause::NotFound, DOING, refused.0).on(url).hint(refused.1))
    }

    fn state(&self) -> State {
        State::of(&self.link.address.database)
    }

    fn on(&self, error: EngineError) -> EngineError {
        match error.object {
            Some(_) => error,
            None => error.on(self.link.shown()),
        }
    }
}

/// Asks for all collations by the names that columns print: newer MariaDB servers list those of several
/// character sets once, without the one that they go by in a column.
fn collations(server: &Server) -> &'static str {
    match server.flavor {
        Flavor::MariaDb if server.version >= FULL_NAMES => {
            "SELECT FULL_COLLATION_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
        }
        _ => "SELECT COLLATION_NAME FROM information_schema.COLLATIONS",
    }
}

#[async_trait]
impl Target for Writable {
    async fn inspect(&self) -> Result<Catalog, EngineError> {
        let mut catalog = self.reading.inspect().await?;
        let mut conn = self.link.session().await?;
        let names: Vec<Option<String>> = conn
            .query(collations(&self.link.server))
            .await
            .map_err(|error| from_driver("read the catalog of", error).on(self.link.shown()))?;
        let database = &self.link.address.database;
        catalog.collations = names.into_iter().flatten().map(|name| Name::new(database, name)).collect();
        intent::hide(&mut conn, &self.state(), &mut catalog).await.map_err(|error| self.on(error))?;
        connect::close(conn).await;
        Ok(catalog)
    }

    async fn place(&self) -> Result<Place, EngineError> {
        self.reading.place().await
    }

    async fn probe(&self, probes: &[Probe], each: Option<Duration>) -> Result<Vec<Answer>, EngineError> {
        self.reading.probe(probes, each).await
    }

    async fn progress(&self, plan: &str) -> Result<Progress, EngineError> {
        let mut conn = self.link.session().await?;
        let found = self.state().progress(&mut conn, plan).await.map_err(|error| self.on(error))?;
        connect::close(conn).await;
        Ok(found)
    }

    async fn plans(&self) -> Result<Vec<String>, EngineError> {
        let mut conn = self.link.session().await?;
        let found = self.state().plans(&mut conn).await.map_err(|error| self.on(error))?;
        connect::close(conn).await;
        Ok(found)
    }

    async fn lock(&self, plan: &str, goal: &Goal, wait: Duration) -> Result<Box<dyn Lock>, EngineError> {
        Ok(Box::new(lock::Held::take(Arc::clone(&self.link), plan, goal, wait).await?))
    }

    async fn holder(&self, plan: &str) -> Result<Option<LockHolder>, EngineError> {
        let mut conn = self.link.session().await?;
        let found = Plan::new(&self.link.address.database, plan).holder(&mut conn).await?;
        connect::close(conn).await;
        Ok(found)
    }

    async fn check(&self, tables: &[Followed], _fenced: bool) -> Result<Vec<Obstacle>, EngineError> {
        // What a read-only session may not do it may not prepare either; nothing is run here.
        let mut conn = self.link.writer().await?;
        let found = apply::check(&mut conn, &self.state(), tables, self.link.server.flavor).await;
        let found = found.map_err(|error| self.on(error))?;
        connect::close(conn).await;
        Ok(found)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        self.reading.snapshot().await
    }

    async fn grants(&self, duties: &Duties<'_>) -> Result<Vec<String>, EngineError> {
        let account = self.reading.account(duties.role).await?;
        Ok(grants::target(&account, &self.link.address.database, duties))
    }
}
