//! The fence of a cutover: a write transaction, which keeps all other writers out of the file, in
//! which each table got triggers that refuse every write. COMMIT makes them last; ROLLBACK, or the
//! end of the process, takes them away.

use async_trait::async_trait;
use rusqlite::Connection;

use super::connect::{File, Worker};
use super::dialect::{literal, quote};
use super::error::classify;
use crate::catalog::Name;
use crate::engine::fence::Fence;
use crate::engine::{EngineError, Limits};

const DOING: &str = "keep writers out of";
const EVENTS: [&str; 3] = ["insert", "update", "delete"];

/// The open transaction.
pub(super) struct FileFence {
    worker: Worker,
    file: File,
}

/// Begins the transaction and creates the triggers.
pub(super) async fn raise(file: &File, limits: &Limits, tables: &[Name]) -> Result<FileFence, EngineError> {
    let worker =
        Worker::start(file.open_capture(limits, std::time::Duration::from_secs(limits.lock_seconds))?)?;
    let sql = fence_sql(tables);
    let made =
        worker.call(DOING, move |conn| conn.execute_batch(&sql).map_err(|error| classify(DOING, error)));
    made.await.map_err(|error| error.on(file))?;
    Ok(FileFence { worker, file: file.clone() })
}

fn trigger(table: &Name, event: &str) -> String {
    quote(&format!("towpath_fence_{event}_{}", table.name))
}

fn fence_sql(tables: &[Name]) -> String {
    let mut sql = String::from("BEGIN IMMEDIATE");
    for table in tables {
        let why =
            literal(&format!("table {} has moved to another database and is closed for writes", table.name));
        for event in EVENTS {
            sql.push_str(&format!(
                ";\nCREATE TRIGGER IF NOT EXISTS main.{} BEFORE {event} ON {} BEGIN SELECT RAISE(ABORT, {why}); END",
                trigger(table, event),
                quote(&table.name),
            ));
        }
    }
    sql
}

/// Takes a sealed fence away; says what was removed.
pub(super) async fn remove(
    file: &File,
    limits: &Limits,
    tables: &[Name],
) -> Result<Vec<String>, EngineError> {
    let worker =
        Worker::start(file.open_capture(limits, std::time::Duration::from_secs(limits.lock_seconds))?)?;
    let tables = tables.to_vec();
    let remove = move |conn: &mut Connection| remove_from(conn, &tables);
    worker.call("remove the fence from", remove).await.map_err(|error| error.on(file))
}

fn remove_from(conn: &mut Connection, tables: &[Name]) -> Result<Vec<String>, EngineError> {
    let fail = |error| classify("remove the fence from", error);
    let transaction =
        conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fail)?;
    let mut removed = Vec::new();
    for (table, event) in tables.iter().flat_map(|table| EVENTS.map(|event| (table, event))) {
        let name = format!("towpath_fence_{event}_{}", table.name);
        let sql = "SELECT count(*) FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?1";
        let there: i64 = transaction.query_row(sql, [&name], |row| row.get(0)).map_err(fail)?;
        if there > 0 {
            transaction
                .execute_batch(&format!("DROP TRIGGER main.{}", trigger(table, event)))
                .map_err(fail)?;
            removed.push(format!("trigger {}", crate::catalog::name::show(&name)));
        }
    }
    transaction.commit().map_err(fail)?;
    Ok(removed)
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
