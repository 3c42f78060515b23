//! The reading end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use rusqlite::{Connection, OptionalExtension, Row};

use super::capture::Kept;
use super::connect::{File, Worker};
use super::dialect::{DIALECT, quote};
use super::error::{classify, interrupted};
use super::look::Looks;
use super::read::{shape, span};
use super::{SCHEMA, fence, inspect, probe, snapshot};
use crate::catalog::probe::Measured;
use crate::catalog::{Answer, Catalog, Dialect, Name, Place, Probe, Sequence};
use crate::engine::{Capture, Cause, EngineError, Fence, Limits, SequenceValue, Snapshot, Source};

/// A file to read from.
pub(super) struct Readable {
    file: File,
    limits: Limits,
    worker: Worker,
    changes: Kept,
}

impl Readable {
    pub fn open(file: File, limits: &Limits) -> Result<Self, EngineError> {
        let worker = Worker::start(file.open_source(limits)?)?;
        Ok(Self { changes: Kept::new(&file, limits), file, limits: limits.clone(), worker })
    }

    /// Connections that look at the rows of one large table together.
    fn probers(&self) -> Result<Vec<Worker>, EngineError> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let more = self.limits.readers.min(processors).saturating_sub(1);
        let more = (0..more).map(|_| Worker::start(self.file.open_source(&self.limits)?));
        std::iter::once(Ok(self.worker.clone())).chain(more).collect()
    }
}

#[async_trait]
impl Source for Readable {
    async fn violations(&self, query: &str) -> Result<u64, EngineError> {
        const DOING: &str = "check rows of";
        let sql = format!("SELECT count(*) FROM ({query})");
        let count = move |conn: &mut Connection| -> Result<i64, EngineError> {
            conn.query_row(&sql, [], |row| row.get(0)).map_err(|error| classify(DOING, error))
        };
        Ok(self.worker.call(DOING, count).await?.unsigned_abs())
    }

    async fn fence(&self, plan: &str, tables: &[Name]) -> Result<Box<dyn Fence>, EngineError> {
        Ok(Box::new(fence::raise(&self.file, &self.limits, plan, tables).await?))
    }

    async fn fenced(&self, plan: &str) -> Result<Vec<Name>, EngineError> {
        let plan = plan.to_string();
        self.worker.call(fence::LOOK, move |conn| fence::standing(conn, &plan)).await
    }

    async fn writing(&self, _tables: &[Name]) -> Result<Vec<String>, EngineError> {
        let written = fence::is_written(&self.file, &self.limits).await?;
        Ok(written.then(|| "another connection to the file".to_string()).into_iter().collect())
    }

    async fn unfence(&self, plan: &str) -> Result<Vec<String>, EngineError> {
        fence::remove(&self.file, &self.limits, plan).await
    }

    async fn inspect(&self) -> Result<Catalog, EngineError> {
        let file = self.file.clone();
        self.worker.call("read the catalog of", move |conn| inspect::catalog(conn, &file)).await
    }

    async fn place(&self) -> Result<Place, EngineError> {
        inspect::place(&self.file)
    }

    async fn probe(&self, probes: &[Probe], each: Option<Duration>) -> Result<Vec<Answer>, EngineError> {
        let rows = probes.iter().any(probe::is_of_rows);
        answer(&if rows { self.probers()? } else { vec![self.worker.clone()] }, probes, each).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        Ok(Box::new(snapshot::Held::take(&self.file, &self.limits, File::open_source).await?))
    }

    async fn sequence_values(&self, sequences: &[Name]) -> Result<Vec<SequenceValue>, EngineError> {
        let (file, wanted) = (self.file.clone(), sequences.to_vec());
        let read = move |conn: &mut Connection| {
            let catalog = inspect::catalog(conn, &file)?;
            wanted.iter().map(|name| value(conn, &catalog, name)).collect()
        };
        self.worker.call("read sequences of", read).await
    }

    fn capture(&self) -> Option<&dyn Capture> {
        Some(&self.changes)
    }
}

fn value(conn: &Connection, catalog: &Catalog, name: &Name) -> Result<SequenceValue, EngineError> {
    const DOING: &str = "read the sequence";
    let gone = || EngineError::new(Cause::Stale, DOING, "its table is no longer there").on(name);
    let sequence: &Sequence = catalog.sequence(name).ok_or_else(gone)?;
    let owner = sequence.owner.as_ref().ok_or_else(gone)?;
    let fail = |error| classify(DOING, error).on(name);
    let table = quote(&owner.table.name);
    let sql = format!("SELECT max({}) FROM {SCHEMA}.{table}", quote(&owner.column));
    let largest: Option<i64> = conn.query_row(&sql, [], |row| row.get(0)).map_err(fail)?;
    let counted = catalog.table(&owner.table).and_then(|table| table.option("autoincrement"));
    let kept = match counted == Some("true") {
        true => conn
            .query_row("SELECT seq FROM main.sqlite_sequence WHERE name = ?1", [&owner.table.name], |row| {
                row.get(0)
            })
            .optional()
            .map_err(fail)?,
        false => None,
    };
    // The next row id is one more than the largest ever seen; the first is 1.
    let last = largest.max(kept).filter(|last| *last >= 1);
    Ok(SequenceValue { name: name.clone(), last: last.unwrap_or(1), called: last.is_some() })
}

/// Questions that one reading of a table may answer: far from what SQLite allows in one query.
const COUNTS_MAX: usize = 100;

/// Row ids for which another connection is worth its while.
const SHARE: i128 = 100_000;

/// Answers probes, those about the rows of one table in one reading of it, which the workers share.
/// The first one's answers are of one read transaction. What runs out of its time is interrupted.
pub(super) async fn answer(
    workers: &[Worker],
    probes: &[Probe],
    each: Option<Duration>,
) -> Result<Vec<Answer>, EngineError> {
    let Some(worker) = workers.first() else { return Ok(vec![unasked(); probes.len()]) };
    let batch = |sql: &'static str| {
        worker.call("probe", move |conn| conn.execute_batch(sql).map_err(|error| classify("probe", error)))
    };
    batch("BEGIN").await?;
    let mut answers = vec![unasked(); probes.len()];
    for places in readings(probes) {
        let asked: Vec<&Probe> = places.iter().map(|place| &probes[*place]).collect();
        let found = match asked.as_slice() {
            [probe] if !probe::is_of_rows(probe) => one(worker, probe, each).await.map(|answer| vec![answer]),
            _ => several(workers, &asked, each).await,
        };
        match found {
            Ok(found) => places.into_iter().zip(found).for_each(|(place, found)| answers[place] = found),
            Err(error) => {
                batch("ROLLBACK").await?;
                return Err(error.on(&asked[0].table));
            }
        }
    }
    batch("COMMIT").await?;
    Ok(answers)
}

/// Places of probes that are asked together, in the order of their first ones.
fn readings(probes: &[Probe]) -> Vec<Vec<usize>> {
    let mut readings: Vec<Vec<usize>> = Vec::new();
    let mut open: HashMap<(&Name, Option<&str>), usize> = HashMap::new();
    for (place, probe) in probes.iter().enumerate() {
        if !probe::is_of_rows(probe) {
            readings.push(vec![place]);
            continue;
        }
        let of = (&probe.table, probe.filter.as_deref());
        match open
            .get(&of)
            .map(|reading| &mut readings[*reading])
            .filter(|reading| reading.len() < COUNTS_MAX)
        {
            Some(reading) => reading.push(place),
            None => {
                open.insert(of, readings.len());
                readings.push(vec![place]);
            }
        }
    }
    readings
}

async fn one(worker: &Worker, probe: &Probe, each: Option<Duration>) -> Result<Answer, EngineError> {
    let Some(sql) = DIALECT.probe(probe) else { return Ok(unasked()) };
    type Numbers = (Option<i64>, Option<String>, Option<String>);
    let read = |row: &Row<'_>| -> rusqlite::Result<Numbers> { Ok((row.get(0)?, row.get(1)?, row.get(2)?)) };
    let found = within(worker, each, move |conn| conn.query_row(&sql, [], read)).await?;
    let Some((rows, low, high)) = found else { return Ok(unasked()) };
    let rows = rows.map(|rows| rows.max(0) as u64);
    Ok(Answer { rows, measured: Measured::Exact, extremes: low.zip(high) })
}

/// Together they have the time that they would have had one by one.
async fn several(
    workers: &[Worker],
    probes: &[&Probe],
    each: Option<Duration>,
) -> Result<Vec<Answer>, EngineError> {
    let wanted = probes.len();
    let Some(looks) = Looks::new(probes).map(Arc::new) else { return Ok(vec![unasked(); wanted]) };
    let time = each.map(|each| each.saturating_mul(wanted as u32));
    let (table, most) = (probes[0].table.name.clone(), workers.len());
    let parts = workers[0].call("probe", move |conn| parts(conn, &table, most)).await?;
    let counted = parts.into_iter().zip(workers).map(|(part, worker)| {
        let looks = looks.clone();
        within(worker, time, move |conn| looks.counts(conn, part.as_deref()))
    });
    let mut sums = vec![0; wanted];
    for counts in join_all(counted).await {
        let Some(counts) = counts? else { return Ok(vec![unasked(); wanted]) };
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let counted = |rows| Answer { rows: Some(rows), measured: Measured::Exact, extremes: None };
    Ok(sums.into_iter().map(counted).collect())
}

/// Conditions that cut a table into parts of about as many row ids; no condition where it is read
/// as a whole.
fn parts(conn: &Connection, table: &str, most: usize) -> Result<Vec<Option<String>>, EngineError> {
    let Some(rowid) = shape(conn, table)?.rowid.filter(|_| most > 1) else { return Ok(vec![None]) };
    let span = span(conn, table, &rowid).map_err(|error| classify("probe", error))?;
    let Some((low, high)) = span else { return Ok(vec![None]) };
    let (low, ids) = (i128::from(low), i128::from(high) - i128::from(low) + 1);
    let of = (ids / SHARE).clamp(1, most as i128);
    let edge = |number: i128| low + ids * number / of;
    let part = |number: i128| match (number, number + 1 == of) {
        (0, true) => None,
        (0, false) => Some(format!("{rowid} < {}", edge(1))),
        (_, true) => Some(format!("{rowid} >= {}", edge(number))),
        (_, false) => Some(format!("{rowid} >= {} AND {rowid} < {}", edge(number), edge(number + 1))),
    };
    Ok((0..of).map(part).collect())
}

/// What is found; none where that takes longer than this.
async fn within<T: Send + 'static>(
    worker: &Worker,
    time: Option<Duration>,
    find: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<Option<T>, EngineError> {
    let asked = worker.call("probe", move |conn| find(conn).map_err(|error| classify("probe", error)));
    tokio::pin!(asked);
    let result = match time {
        None => asked.await,
        Some(time) => match tokio::time::timeout(time, &mut asked).await {
            Ok(result) => result,
            Err(_) => {
                worker.interrupt();
                asked.await
            }
        },
    };
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if interrupted(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The answer to what was not asked, or not answered in time.
pub(super) fn unasked() -> Answer {
    Answer { rows: None, measured: Measured::Not, extremes: None }
}
