//! The reading end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tokio::sync::Mutex;

use super::capture::Kept;
use super::connect::{self, Address, Link};
use super::snapshot::Held;
use super::{error, fence, grants, inspect, probe, quote};
use crate::catalog::probe::Measured;
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
        const DOING: &str = "look at the rows of";
        let fail = |error| self.on(error::from_driver(DOING, error));
        let mut conn = self.link.session().await?;
        conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await.map_err(fail)?;
        let mut answers = Vec::with_capacity(probes.len());
        for group in groups(probes) {
            let asked = several(&self.link, &mut conn, &group, each).await;
            answers.extend(asked.map_err(|error| error::from_driver(DOING, error).on(&group[0].table))?);
        }
        connect::close(conn).await;
        Ok(answers)
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

/// How many questions one pass over a table answers.
const AT_ONCE: usize = 50;

/// Neighbours that can be answered by one pass over their table.
fn groups(probes: &[Probe]) -> Vec<Vec<&Probe>> {
    let mut groups: Vec<Vec<&Probe>> = Vec::new();
    for probe in probes {
        let joins = |group: &&mut Vec<&Probe>| {
            group.len() < AT_ONCE
                && group[0].table == probe.table
                && group[0].filter == probe.filter
                && [group[0], probe].iter().all(|one| probe::condition(one).is_some())
        };
        match groups.last_mut().filter(joins) {
            Some(group) => group.push(probe),
            None => groups.push(vec![probe]),
        }
    }
    groups
}

/// Answers one group. What fails together is asked one by one: one of them may be at fault.
async fn several(
    link: &Link,
    conn: &mut Conn,
    group: &[&Probe],
    each: Option<Duration>,
) -> Result<Vec<Answer>, mysql_async::Error> {
    let limit = each.map(|each| each * u32::try_from(group.len()).unwrap_or(1));
    if let (2.., Some(sql)) = (group.len(), probe::together(group)) {
        match ask(link, conn, &sql, limit).await {
            Ok(Asked::Row(mut row)) => return Ok((0..group.len()).map(|at| counted(&mut row, at)).collect()),
            Ok(Asked::Late) => return Ok(vec![unasked(); group.len()]),
            Ok(Asked::Failed) => {}
            Err(error) => return Err(error),
        }
    }
    let mut answers = Vec::with_capacity(group.len());
    for probe in group {
        let asked = match probe::query(probe) {
            Some(sql) => ask(link, conn, &sql, each).await?,
            None => Asked::Failed,
        };
        answers.push(match asked {
            Asked::Row(row) => read(row),
            Asked::Late | Asked::Failed => unasked(),
        });
    }
    Ok(answers)
}

/// What came of a question.
enum Asked {
    Row(Row),
    /// It was ended when its time was over.
    Late,
    /// The server cannot compute it.
    Failed,
}

/// One question, ended from another session when its time is over. A privilege that is missing is an
/// error; what cannot be computed is not measured.
async fn ask(
    link: &Link,
    conn: &mut Conn,
    sql: &str,
    limit: Option<Duration>,
) -> Result<Asked, mysql_async::Error> {
    let id = conn.id();
    let asked = conn.query_first::<Row, _>(sql);
    tokio::pin!(asked);
    let (found, late) = match limit {
        None => (asked.await, false),
        Some(limit) => match tokio::time::timeout(limit, &mut asked).await {
            Ok(found) => (found, false),
            Err(_) => {
                link.kill_query(id).await;
                (asked.await, true)
            }
        },
    };
    match found {
        Ok(Some(row)) => Ok(Asked::Row(row)),
        Ok(None) => Ok(Asked::Failed),
        Err(mysql_async::Error::Server(_)) if late => Ok(Asked::Late),
        Err(mysql_async::Error::Server(error)) if error::cause(error.code) != Cause::Privilege => {
            Ok(Asked::Failed)
        }
        Err(error) => Err(error),
    }
}

fn read(mut row: Row) -> Answer {
    let mut answer = counted(&mut row, 0);
    let mut text = |at: usize| row.take_opt::<Option<String>, _>(at).and_then(Result::ok).flatten();
    answer.extremes = text(1).zip(text(2));
    answer
}

fn counted(row: &mut Row, at: usize) -> Answer {
    let count = row.take_opt::<Option<String>, _>(at).and_then(Result::ok).flatten();
    match count.and_then(|count| count.parse().ok()) {
        Some(rows) => Answer { rows: Some(rows), measured: Measured::Exact, extremes: None },
        None => unasked(),
    }
}

/// The answer to what was not asked, or not answered in time.
fn unasked() -> Answer {
    Answer { rows: None, measured: Measured::Not, extremes: None }
}
