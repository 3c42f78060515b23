//! The fence of a cutover: a write transaction, which keeps all other writers out of the file, in
//! which each table got triggers that refuse every write. COMMIT makes them last; ROLLBACK, or the
//! end of the process, takes them away.

use std::collections::BTreeSet;

use async_trait::async_trait;
use rusqlite::Connection;

use super::SCHEMA;
use super::connect::{File, Worker};
use super::dialect::{literal, quote};
use super::error::classify;
use crate::catalog::Name;
use crate::engine::fence::Fence;
use crate::engine::{Cause, EngineError, Limits};

const DOING: &str = "keep writers out of";
pub(super) const LOOK: &str = "look for a fence in";
const REMOVE: &str = "remove the fence from";
const EVENTS: [&str; 3] = ["insert", "update", "delete"];

/// The open transaction.
pub(super) struct FileFence {
    worker: Worker,
    file: File,
}

/// Begins the transaction and creates the triggers.
pub(super) async fn raise(
    file: &File,
    limits: &Limits,
    plan: &str,
    tables: &[Name],
) -> Result<FileFence, EngineError> {
    let worker =
        Worker::start(file.open_capture(limits, std::time::Duration::from_secs(limits.lock_seconds))?)?;
    let sql = fence_sql(plan, tables);
    let made =
        worker.call(DOING, move |conn| conn.execute_batch(&sql).map_err(|error| classify(DOING, error)));
    made.await.map_err(|error| error.on(file))?;
    Ok(FileFence { worker, file: file.clone() })
}

/// Milliseconds that a transaction at work is waited for.
const LOOK_MILLIS: u64 = 1_000;

/// Whether another connection has begun to write, and not committed: of a file one alone can.
pub(super) async fn is_written(file: &File, limits: &Limits) -> Result<bool, EngineError> {
    const DOING: &str = "look for writers of";
    let worker = Worker::start(file.open_capture(limits, std::time::Duration::from_millis(LOOK_MILLIS))?)?;
    let begun = worker.call(DOING, |conn| {
        conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").map_err(|error| classify(DOING, error))
    });
    match begun.await {
        Ok(()) => Ok(false),
        Err(error) if error.cause == Cause::Busy => Ok(true),
        Err(error) => Err(error.on(file)),
    }
}

/// Plans that fence the same table do not meet: no plan's name has a colon.
fn trigger(plan: &str, table: &str, event: &str) -> String {
    format!("towpath_fence_{plan}:{event}:{table}")
}

fn fence_sql(plan: &str, tables: &[Name]) -> String {
    let mut sql = String::from("BEGIN IMMEDIATE");
    for table in tables.iter().map(|table| &table.name) {
        let why = literal(&format!("table {table} has moved to another database and is closed for writes"));
        for event in EVENTS {
            sql.push_str(&format!(
                ";\nCREATE TRIGGER IF NOT EXISTS main.{} BEFORE {event} ON {} BEGIN SELECT RAISE(ABORT, {why}); END",
                quote(&trigger(plan, table, event)),
                quote(table),
            ));
        }
    }
    sql
}

/// The plan's triggers, each with its table.
fn look(conn: &Connection, plan: &str) -> rusqlite::Result<Vec<(String, String)>> {
    let sql = "SELECT name, tbl_name FROM main.sqlite_schema WHERE type = 'trigger' ORDER BY rowid";
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let all = rows.collect::<rusqlite::Result<Vec<(String, String)>>>()?;
    let ours = |name: &str, table: &str| EVENTS.iter().any(|event| name == trigger(plan, table, event));
    Ok(all.into_iter().filter(|(name, table)| ours(name, table)).collect())
}

/// The tables that a sealed fence of the plan keeps closed.
pub(super) fn standing(conn: &Connection, plan: &str) -> Result<Vec<Name>, EngineError> {
    let found = look(conn, plan).map_err(|error| classify(LOOK, error))?;
    let tables: BTreeSet<String> = found.into_iter().map(|(_, table)| table).collect();
    Ok(tables.into_iter().map(|table| Name::new(SCHEMA, table)).collect())
}

/// Takes the plan's sealed fence away; says what was removed.
pub(super) async fn remove(file: &File, limits: &Limits, plan: &str) -> Result<Vec<String>, EngineError> {
    let worker =
        Worker::start(file.open_capture(limits, std::time::Duration::from_secs(limits.lock_seconds))?)?;
    let plan = plan.to_string();
    let remove =
        move |conn: &mut Connection| remove_from(conn, &plan).map_err(|error| classify(REMOVE, error));
    worker.call(REMOVE, remove).await.map_err(|error| error.on(file))
}

fn remove_from(conn: &mut Connection, plan: &str) -> rusqlite::Result<Vec<String>> {
    let transaction = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found = look(&transaction, plan)?;
    for (name, _) in &found {
        transaction.execute_batch(&format!("DROP TRIGGER main.{}", quote(name)))?;
    }
    transaction.commit()?;
    let tables: BTreeSet<String> = found.into_iter().map(|(_, table)| table).collect();
    Ok(tables.iter().map(|table| format!("fence of {}", crate::catalog::name::show(table))).collect())
}

#[async_trait]
impl Fence for FileFence {
    /// The transaction ends with the connection's thread only.
    async fn holds(&mut self) -> Result<(), EngineError> {
        self.worker.call(DOING, |_| Ok(())).await.map_err(|error| error.on(&self.file))
    }

    async fn seal(self: Box<Self>) -> Result<(), EngineError> {
        const SEAL: &str = "close the tables of";
        let commit =
            |conn: &mut Connection| conn.execute_batch("COMMIT").map_err(|error| classify(SEAL, error));
        self.worker.call(SEAL, commit).await.map_err(|error| error.on(&self.file))
    }

    async fn lift(self: Box<Self>) -> Result<(), EngineError> {
        const LIFT: &str = "open the tables of";
        let rollback =
            |conn: &mut Connection| conn.execute_batch("ROLLBACK").map_err(|error| classify(LIFT, error));
        self.worker.call(LIFT, rollback).await.map_err(|error| error.on(&self.file))
    }
}
