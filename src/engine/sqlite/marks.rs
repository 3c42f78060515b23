//! The state that a target keeps of its plans: five tables with the prefix `towpath_`, written only
//! in the transaction that wrote what they describe. Reading tolerates their absence.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::classify;
use crate::catalog::Name;
use crate::change::Position;
use crate::checkpoint::{Checkpoint, ChunkMark, Goal, PlannedStep, Progress, RunRecord, StepMark};
use crate::engine::EngineError;

const READ: &str = "read the progress in";
const WRITE: &str = "write the progress into";

/// The tables, as a user meets them in `.tables`.
pub(super) const TABLES: [&str; 5] =
    ["towpath_run", "towpath_step", "towpath_copy", "towpath_lock", "towpath_goal"];

/// Younger than the others: a file may lack it.
const GOAL: &str = "towpath_goal";

const CREATE: &str = "
CREATE TABLE IF NOT EXISTS main.towpath_run (
  run TEXT NOT NULL PRIMARY KEY, plan TEXT NOT NULL, digest TEXT NOT NULL, started_at TEXT NOT NULL,
  finished_at TEXT, outcome TEXT, by TEXT NOT NULL, tool TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS main.towpath_step (
  plan TEXT NOT NULL, step TEXT NOT NULL, inputs TEXT NOT NULL, rows INTEGER NOT NULL,
  bytes INTEGER NOT NULL, millis INTEGER NOT NULL, at TEXT NOT NULL, PRIMARY KEY (plan, step)) STRICT;
CREATE TABLE IF NOT EXISTS main.towpath_copy (
  plan TEXT NOT NULL, table_name TEXT NOT NULL, number INTEGER NOT NULL, of INTEGER NOT NULL,
  bounds TEXT NOT NULL, position TEXT NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
  PRIMARY KEY (plan, table_name, number)) STRICT;
CREATE TABLE IF NOT EXISTS main.towpath_lock (
  plan TEXT NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, run TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS main.towpath_goal (
  plan TEXT NOT NULL, place INTEGER NOT NULL, step TEXT NOT NULL, phase TEXT NOT NULL,
  PRIMARY KEY (plan, place)) STRICT;
";

/// Present time, RFC 3339 in UTC, as SQL.
const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";

/// A run that begins.
#[derive(Clone, Debug)]
pub(super) struct NewRun {
    pub run: String,
    pub plan: String,
    pub goal: Goal,
    pub by: String,
}

/// Makes the tables where they are missing.
pub(super) fn create(conn: &Connection) -> Result<(), EngineError> {
    conn.execute_batch(CREATE).map_err(|error| classify("make the state tables of", error))
}

/// Raises the plan's fence and records the run. Returns the new epoch.
pub(super) fn begin_run(conn: &Connection, run: &NewRun) -> Result<i64, EngineError> {
    let fail = |error| classify(WRITE, error);
    let raise = "INSERT INTO main.towpath_lock (plan, epoch, run) VALUES (?1, 1, ?2)
                 ON CONFLICT (plan) DO UPDATE SET epoch = epoch + 1, run = excluded.run RETURNING epoch";
    let epoch = conn.query_row(raise, params![run.plan, run.run], |row| row.get(0)).map_err(fail)?;
    record_goal(conn, run).map_err(fail)?;
    let record = format!(
        "INSERT INTO main.towpath_run (run, plan, digest, started_at, by, tool) VALUES (?1, ?2, ?3, {NOW}, ?4, ?5)"
    );
    let tool = concat!("towpath ", env!("CARGO_PKG_VERSION"));
    conn.execute(&record, params![run.run, run.plan, run.goal.digest, run.by, tool]).map_err(fail)?;
    Ok(epoch)
}

/// Remembers the goal's steps, unless the run before had the same goal.
fn record_goal(conn: &Connection, run: &NewRun) -> rusqlite::Result<()> {
    let known =
        "SELECT EXISTS (SELECT 1 FROM main.towpath_goal WHERE plan = ?1) AND coalesce((SELECT digest = ?2
                 FROM main.towpath_run WHERE plan = ?1 ORDER BY rowid DESC LIMIT 1), 0)";
    if conn.query_row(known, params![run.plan, run.goal.digest], |row| row.get(0))? {
        return Ok(());
    }
    conn.execute("DELETE FROM main.towpath_goal WHERE plan = ?1", [&run.plan])?;
    let mut insert =
        conn.prepare("INSERT INTO main.towpath_goal (plan, place, step, phase) VALUES (?1, ?2, ?3, ?4)")?;
    for (place, planned) in run.goal.steps.iter().enumerate() {
        insert.execute(params![run.plan, place as i64, planned.step, planned.phase])?;
    }
    Ok(())
}

/// Records how a run ended.
pub(super) fn end_run(conn: &Connection, run: &str, outcome: &str) -> Result<(), EngineError> {
    let sql = format!("UPDATE main.towpath_run SET finished_at = {NOW}, outcome = ?2 WHERE run = ?1");
    conn.execute(&sql, params![run, outcome]).map(drop).map_err(|error| classify(WRITE, error))
}

/// The fence of a plan, as this transaction sees it.
pub(super) fn epoch(conn: &Connection, plan: &str) -> Result<Option<i64>, EngineError> {
    conn.prepare_cached("SELECT epoch FROM main.towpath_lock WHERE plan = ?1")
        .and_then(|mut query| query.query_row([plan], |row| row.get(0)).optional())
        .map_err(|error| classify(READ, error))
}

/// Writes one mark in the open transaction. What is marked already was done twice, and fails.
pub(super) fn write(conn: &Connection, plan: &str, mark: &Checkpoint) -> Result<(), EngineError> {
    let written = match mark {
        Checkpoint::Step(mark) => write_step(conn, plan, mark),
        Checkpoint::Chunk(mark) => write_chunk(conn, plan, mark),
        Checkpoint::Recopy { table, step } => forget(conn, plan, table, step),
        Checkpoint::Opened(_) | Checkpoint::Applied(_) => Ok(()),
    };
    written.map_err(|error| classify(WRITE, error))
}

fn write_step(conn: &Connection, plan: &str, mark: &StepMark) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO main.towpath_step (plan, step, inputs, rows, bytes, millis, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, {NOW})"
    );
    let (rows, bytes, millis) = (mark.rows as i64, mark.bytes as i64, mark.millis as i64);
    conn.execute(&sql, params![plan, mark.step, mark.inputs, rows, bytes, millis]).map(drop)
}

fn write_chunk(conn: &Connection, plan: &str, mark: &ChunkMark) -> rusqlite::Result<()> {
    let sql = "INSERT INTO main.towpath_copy
               (plan, table_name, number, of, bounds, position, rows, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let (rows, bytes) = (mark.rows as i64, mark.bytes as i64);
    let table = mark.table.to_string();
    conn.execute(sql, params![plan, table, mark.number, mark.of, mark.bounds, mark.position.0, rows, bytes])
        .map(drop)
}

fn forget(conn: &Connection, plan: &str, table: &Name, step: &str) -> rusqlite::Result<()> {
    let chunks = "DELETE FROM main.towpath_copy WHERE plan = ?1 AND table_name = ?2";
    conn.execute(chunks, params![plan, table.to_string()])?;
    conn.execute("DELETE FROM main.towpath_step WHERE plan = ?1 AND step = ?2", params![plan, step]).map(drop)
}

/// True where a target was used before.
fn present(conn: &Connection) -> Result<bool, EngineError> {
    for table in TABLES.iter().filter(|table| **table != GOAL) {
        if !has_table(conn, table)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_table(conn: &Connection, table: &str) -> Result<bool, EngineError> {
    let sql = "SELECT count(*) > 0 FROM main.sqlite_schema WHERE type = 'table' AND name = ?1";
    conn.query_row(sql, [table], |row| row.get(0)).map_err(|error| classify(READ, error))
}

/// Everything remembered of one plan, from one moment.
pub(super) fn progress(conn: &Connection, plan: &str) -> Result<Progress, EngineError> {
    if !present(conn)? {
        return Ok(Progress::default());
    }
    let fail = |error| classify(READ, error);
    let tx = conn.unchecked_transaction().map_err(fail)?;
    let runs = all(
        &tx,
        "SELECT run, started_at, finished_at, outcome, by, tool FROM main.towpath_run WHERE plan = ?1 ORDER BY rowid",
        plan,
        run,
    )?;
    let steps = all(
        &tx,
        "SELECT step, inputs, rows, bytes, millis, at FROM main.towpath_step WHERE plan = ?1 ORDER BY rowid",
        plan,
        step,
    )?;
    let chunks = all(
        &tx,
        "SELECT table_name, number, of, bounds, position, rows, bytes FROM main.towpath_copy WHERE plan = ?1 ORDER BY table_name, number",
        plan,
        chunk,
    )?;
    let first = "SELECT digest FROM main.towpath_run WHERE plan = ?1 ORDER BY rowid LIMIT 1";
    let digest = tx.query_row(first, [plan], |row| row.get(0)).optional().map_err(fail)?;
    let planned = match has_table(&tx, GOAL)? {
        true => all(
            &tx,
            "SELECT step, phase FROM main.towpath_goal WHERE plan = ?1 ORDER BY place",
            plan,
            planned,
        )?,
        false => Vec::new(),
    };
    Ok(Progress { digest, steps, chunks, runs, planned, stream: None })
}

fn all<T>(
    conn: &Connection,
    sql: &str,
    plan: &str,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, EngineError> {
    let collect = || -> rusqlite::Result<Vec<T>> { conn.prepare(sql)?.query_map([plan], read)?.collect() };
    collect().map_err(|error| classify(READ, error))
}

fn run(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    Ok(RunRecord {
        run: row.get(0)?,
        started_at: row.get(1)?,
        finished_at: row.get(2)?,
        outcome: row.get(3)?,
        by: row.get(4)?,
        tool: row.get(5)?,
    })
}

fn planned(row: &Row<'_>) -> rusqlite::Result<PlannedStep> {
    Ok(PlannedStep { step: row.get(0)?, phase: row.get(1)? })
}

fn step(row: &Row<'_>) -> rusqlite::Result<StepMark> {
    Ok(StepMark {
        step: row.get(0)?,
        inputs: row.get(1)?,
        rows: row.get::<_, i64>(2)? as u64,
        bytes: row.get::<_, i64>(3)? as u64,
        millis: row.get::<_, i64>(4)? as u64,
        at: row.get(5)?,
    })
}

fn chunk(row: &Row<'_>) -> rusqlite::Result<ChunkMark> {
    let table: String = row.get(0)?;
    let unreadable = |error: crate::catalog::name::NameError| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    };
    Ok(ChunkMark {
        table: table.parse().map_err(unreadable)?,
        number: row.get(1)?,
        of: row.get(2)?,
        bounds: row.get(3)?,
        position: Position(row.get(4)?),
        rows: row.get::<_, i64>(5)? as u64,
        bytes: row.get::<_, i64>(6)? as u64,
    })
}

/// Names of all plans remembered, sorted.
pub(super) fn plans(conn: &Connection) -> Result<Vec<String>, EngineError> {
    if !present(conn)? {
        return Ok(Vec::new());
    }
    let collect = || -> rusqlite::Result<Vec<String>> {
        conn.prepare("SELECT DISTINCT plan FROM main.towpath_run ORDER BY 1")?
            .query_map([], |row| row.get(0))?
            .collect()
    };
    collect().map_err(|error| classify(READ, error))
}
