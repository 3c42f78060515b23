//! Answers probes: questions about one table in one pass over it, which two sessions share where the
//! table is large. Each session sees one moment; what is counted is advice, and the load looks at
//! each value again.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::connect::{Link, close};
use super::facts::Facts;
use super::probe::Part;
use super::{chunks, error, probe, quote};
use crate::catalog::probe::Measured;
use crate::catalog::{Answer, Name, Probe};
use crate::engine::{Cause, EngineError};

const DOING: &str = "look at the rows of";

/// Bytes of a table for which another session is worth its while.
const LARGE: u64 = 32 << 20;

/// How many questions one pass over a table answers.
const AT_ONCE: usize = 50;

/// One answer for each probe, each in its time, with at most `readers` sessions.
pub(super) async fn answer(
    link: &Link,
    readers: usize,
    probes: &[Probe],
    each: Option<Duration>,
) -> Result<Vec<Answer>, EngineError> {
    let mut sessions = vec![begin(link).await?];
    let large = match readers {
        0 | 1 => HashSet::new(),
        _ => large(&mut sessions[0], probes).await?,
    };
    let mut answers = Vec::with_capacity(probes.len());
    for group in groups(probes) {
        let table = &group[0].table;
        let parts = match large.contains(table) && probe::condition(group[0]).is_some() {
            true => halves(&mut sessions[0], table).await?,
            false => None,
        };
        if sessions.len() < 2 && parts.is_some() {
            sessions.push(begin(link).await?);
        }
        let asked = match &parts {
            Some(parts) => shared(link, &mut sessions, parts, &group, each).await,
            None => several(link, &mut sessions[0], &group, each).await,
        };
        answers.extend(asked.map_err(|error| error::from_driver(DOING, error).on(table))?);
    }
    for session in sessions {
        close(session).await;
    }
    Ok(answers)
}

async fn begin(link: &Link) -> Result<Conn, EngineError> {
    let mut conn = link.session().await?;
    let begun = conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await;
    begun.map_err(|error| error::from_driver(DOING, error).on(link.shown()))?;
    Ok(conn)
}

/// The large ones among the tables that are asked about: one question for each database.
async fn large(conn: &mut Conn, probes: &[Probe]) -> Result<HashSet<Name>, EngineError> {
    let asked = probes.iter().filter(|probe| probe::condition(probe).is_some());
    let databases: HashSet<&str> = asked.map(|probe| probe.table.schema.as_str()).collect();
    let mut large = HashSet::new();
    for database in databases {
        let sql = format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND DATA_LENGTH > {LARGE}",
            quote::literal(database)
        );
        let found: Vec<String> =
            conn.query(sql).await.map_err(|error| error::from_driver(DOING, error).on(database))?;
        large.extend(found.into_iter().map(|table| Name::new(database, &table)));
    }
    Ok(large)
}

/// Two parts of a table's key; none where it is not to be parted.
async fn halves(conn: &mut Conn, table: &Name) -> Result<Option<[Part; 2]>, EngineError> {
    let facts = Facts::read(conn, table).await?;
    let Some(ranges) = chunks::halves(conn, table, &facts).await? else { return Ok(None) };
    Ok(Some(ranges.map(|range| Part { index: range.index.clone(), condition: range.condition(&facts) })))
}

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

/// Together they have the time that they would have had one by one.
fn limit(group: &[&Probe], each: Option<Duration>) -> Option<Duration> {
    each.map(|each| each * u32::try_from(group.len()).unwrap_or(1))
}

/// Answers one group, each part of the table by a session of its own.
async fn shared(
    link: &Link,
    sessions: &mut [Conn],
    parts: &[Part],
    group: &[&Probe],
    each: Option<Duration>,
) -> Result<Vec<Answer>, mysql_async::Error> {
    let asked = sessions.iter_mut().zip(parts).filter_map(|(conn, part)| {
        let sql = probe::together(group, Some(part))?;
        Some(async move { ask(link, conn, &sql, limit(group, each)).await })
    });
    let mut sums = vec![Answer { rows: Some(0), measured: Measured::Exact, extremes: None }; group.len()];
    let found = join_all(asked).await;
    if found.len() < parts.len() {
        return several(link, &mut sessions[0], group, each).await;
    }
    for part in found {
        match part? {
            Asked::Row(mut row) => {
                for (at, sum) in sums.iter_mut().enumerate() {
                    *sum = plus(sum, &counted(&mut row, at));
                }
            }
            Asked::Late => return Ok(vec![unasked(); group.len()]),
            Asked::Failed => return several(link, &mut sessions[0], group, each).await,
        }
    }
    Ok(sums)
}

fn plus(one: &Answer, other: &Answer) -> Answer {
    match one.rows.zip(other.rows).and_then(|(one, other)| one.checked_add(other)) {
        Some(rows) => Answer { rows: Some(rows), ..one.clone() },
        None => unasked(),
    }
}

/// Answers one group. What fails together is asked one by one: one of them may be at fault.
async fn several(
    link: &Link,
    conn: &mut Conn,
    group: &[&Probe],
    each: Option<Duration>,
) -> Result<Vec<Answer>, mysql_async::Error> {
    if let (2.., Some(sql)) = (group.len(), probe::together(group, None)) {
        match ask(link, conn, &sql, limit(group, each)).await {
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
