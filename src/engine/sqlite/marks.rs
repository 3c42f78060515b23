//! The state that a target keeps of its plans: a few tables with the prefix `towpath_`, written only
//! in the transaction that wrote what they describe. Reading tolerates their absence, and the
//! state of a version that knew no streams; another version's is refused.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::classify;
use crate::catalog::Name;
use crate::change::{Counts, Position};
use crate::checkpoint::{
    Checkpoint, ChunkMark, Goal, PlannedStep, Progress, RunRecord, StepMark, StreamMark, StreamProgress,
};
use crate::engine::{Cause, EngineError};

const READ: &str = "read the progress in";
const WRITE: &str = "write the progress into";

/// The layout below; one without a number is 1, which had no streams. A later one is refused, never
/// guessed at.
const FORMAT: i64 = 2;

/// The tables, as a user meets them in `.tables`; those of format 1 come first.
pub(super) const TABLES: [&str; 8] = [
    "towpath_run",
    "towpath_step",
    "towpath_copy",
    "towpath_lock",
    "towpath_stream",
    "towpath_stream_table",
    GOAL,
    "towpath_format",
];

/// A file may lack it, whatever its format.
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
CREATE TABLE IF NOT EXISTS main.towpath_stream (
  plan TEXT NOT NULL PRIMARY KEY, opened TEXT NOT NULL, position TEXT NOT NULL, committed_at INTEGER,
  transactions INTEGER NOT NULL, at TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS main.towpath_stream_table (
  plan TEXT NOT NULL, table_name TEXT NOT NULL, inserts INTEGER NOT NULL, updates INTEGER NOT NULL,
  deletes INTEGER NOT NULL, truncates INTEGER NOT NULL, PRIMARY KEY (plan, table_name)) STRICT;
CREATE TABLE IF NOT EXISTS main.towpath_format (format INTEGER NOT NULL) STRICT;
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

/// Makes the tables where they are missing, and raises an older state to the present format.
pub(super) fn create(conn: &Connection) -> Result<(), EngineError> {
    let fail = |error| classify("make the state tables of", error);
    present(conn)?;
    conn.execute_batch(CREATE).map_err(fail)?;
    conn.execute("DELETE FROM main.towpath_format", []).map_err(fail)?;
    conn.execute("INSERT INTO main.towpath_format VALUES (?1)", [FORMAT]).map(drop).map_err(fail)
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

/// Removes all rows of a plan in the open transaction; where it was the last one, the tables too.
/// True where they are gone.
pub(super) fn forget_plan(conn: &Connection, plan: &str) -> Result<bool, EngineError> {
    let fail = |error| classify("remove the state of the plan in", error);
    let of_plans = TABLES.iter().filter(|table| **table != "towpath_format");
    for table in of_plans {
        conn.execute(&format!("DELETE FROM main.{table} WHERE plan = ?1"), [plan]).map_err(fail)?;
    }
    let others: bool = conn
        .query_row("SELECT EXISTS (SELECT 1 FROM main.towpath_run)", [], |row| row.get(0))
        .map_err(fail)?;
    if !others {
        for table in TABLES {
            conn.execute_batch(&format!("DROP TABLE main.{table}")).map_err(fail)?;
        }
    }
    Ok(!others)
}

/// Writes one mark in the open transaction. What is marked already was done twice, and fails.
pub(super) fn write(conn: &Connection, plan: &str, mark: &Checkpoint) -> Result<(), EngineError> {
    let written = match mark {
        Checkpoint::Step(mark) => write_step(conn, plan, mark),
        Checkpoint::Chunk(mark) => write_chunk(conn, plan, mark),
        Checkpoint::Recopy { table, step } => forget(conn, plan, table, step),
        Checkpoint::Opened(position) => write_opened(conn, plan, position),
        Checkpoint::Applied(mark) => write_applied(conn, plan, mark),
        Checkpoint::Void(step) => forget_step(conn, plan, step),
    };
    written.map_err(|error| classify(WRITE, error))
}

/// A new stream: what was remembered of an earlier one is void.
fn write_opened(conn: &Connection, plan: &str, position: &Position) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM main.towpath_stream_table WHERE plan = ?1", [plan])?;
    let sql = format!(
        "INSERT OR REPLACE INTO main.towpath_stream (plan, opened, position, transactions, at)
         VALUES (?1, ?2, ?2, 0, {NOW})"
    );
    conn.execute(&sql, params![plan, position.0]).map(drop)
}

/// The stream must have been opened, and stand where the mark goes on: else `QueryReturnedNoRows`.
fn write_applied(conn: &Connection, plan: &str, mark: &StreamMark) -> rusqlite::Result<()> {
    let sql = format!(
        "UPDATE main.towpath_stream SET position = ?2, committed_at = coalesce(?3, committed_at),
         transactions = transactions + ?4, at = {NOW} WHERE plan = ?1 AND (?5 IS NULL OR position = ?5)"
    );
    let mut update = conn.prepare_cached(&sql)?;
    let after = mark.after.as_ref().map(|after| &after.0);
    let values = params![plan, mark.position.0, mark.committed_at, mark.transactions as i64, after];
    if update.execute(values)? != 1 {
        return Err(rusqlite::Error::QueryReturnedNoRows);
    }
    let mut add = conn.prepare_cached(
        "INSERT INTO main.towpath_stream_table VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (plan, table_name) DO UPDATE SET inserts = inserts + excluded.inserts,
         updates = updates + excluded.updates, deletes = deletes + excluded.deletes,
         truncates = truncates + excluded.truncates",
    )?;
    for (table, counts) in &mark.tables {
        let Counts { inserts, updates, deletes, truncates } = *counts;
        let table = table.to_string();
        let counts = [inserts, updates, deletes, truncates].map(|count| count as i64);
        add.execute(params![plan, table, counts[0], counts[1], counts[2], counts[3]])?;
    }
    Ok(())
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
    forget_step(conn, plan, step)
}

fn forget_step(conn: &Connection, plan: &str, step: &str) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM main.towpath_step WHERE plan = ?1 AND step = ?2", params![plan, step]).map(drop)
}

/// The format of the state that is there, if any.
fn present(conn: &Connection) -> Result<Option<i64>, EngineError> {
    let fail = |error| classify(READ, error);
    for table in &TABLES[..4] {
        if !has_table(conn, table)? {
            return Ok(None);
        }
    }
    if !has_table(conn, "towpath_format")? {
        return Ok(Some(1));
    }
    let sql = "SELECT coalesce(max(format), 0) FROM main.towpath_format";
    let format: i64 = conn.query_row(sql, [], |row| row.get(0)).map_err(fail)?;
    if (1..=FORMAT).contains(&format) {
        return Ok(Some(format));
    }
    let message = format!("the state in it has format {format}; this version knows up to {FORMAT}");
    Err(EngineError::new(Cause::Stale, READ, message)
        .hint("a later version of Towpath wrote it: use that version for this target"))
}

fn has_table(conn: &Connection, table: &str) -> Result<bool, EngineError> {
    let sql = "SELECT count(*) > 0 FROM main.sqlite_schema WHERE type = 'table' AND name = ?1";
    conn.query_row(sql, [table], |row| row.get(0)).map_err(|error| classify(READ, error))
}

/// Everything remembered of one plan, from one moment.
pub(super) fn progress(conn: &Connection, plan: &str) -> Result<Progress, EngineError> {
    let Some(format) = present(conn)? else { return Ok(Progress::default()) };
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
    let stream = if format > 1 { stream(&tx, plan)? } else { None };
    Ok(Progress { digest, steps, chunks, runs, planned, stream })
}

fn stream(conn: &Connection, plan: &str) -> Result<Option<StreamProgress>, EngineError> {
    let sql =
        "SELECT opened, position, committed_at, transactions, at FROM main.towpath_stream WHERE plan = ?1";
    let Some(mut stream) = all(conn, sql, plan, stream_row)?.pop() else { return Ok(None) };
    stream.tables = all(
        conn,
        "SELECT table_name, inserts, updates, deletes, truncates FROM main.towpath_stream_table WHERE plan = ?1 ORDER BY table_name",
        plan,
        counts,
    )?;
    Ok(Some(stream))
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

fn stream_row(row: &Row<'_>) -> rusqlite::Result<StreamProgress> {
    Ok(StreamProgress {
        opened: Position(row.get(0)?),
        position: Position(row.get(1)?),
        committed_at: row.get(2)?,
        transactions: row.get::<_, i64>(3)? as u64,
        tables: Vec::new(),
        at: row.get(4)?,
    })
}

fn counts(row: &Row<'_>) -> rusqlite::Result<(Name, Counts)> {
    let count = |column: usize| row.get::<_, i64>(column).map(|count| count as u64);
    let counts = Counts { inserts: count(1)?, updates: count(2)?, deletes: count(3)?, truncates: count(4)? };
    Ok((table_name(row)?, counts))
}

/// The first column as a table's name.
fn table_name(row: &Row<'_>) -> rusqlite::Result<Name> {
    let table: String = row.get(0)?;
    let unreadable = |error: crate::catalog::name::NameError| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    };
    table.parse().map_err(unreadable)
}

fn chunk(row: &Row<'_>) -> rusqlite::Result<ChunkMark> {
    Ok(ChunkMark {
        table: table_name(row)?,
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
    if present(conn)?.is_none() {
        return Ok(Vec::new());
    }
    let collect = || -> rusqlite::Result<Vec<String>> {
        conn.prepare("SELECT DISTINCT plan FROM main.towpath_run ORDER BY 1")?
            .query_map([], |row| row.get(0))?
            .collect()
    };
    collect().map_err(|error| classify(READ, error))
}
