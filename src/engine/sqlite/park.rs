//! Rows that wait. SQLite checks a unique key row by row, where the source may check it at the end
//! of a statement or transaction: two rows swap a value, and for a moment both have it. The row
//! that comes too early moves into a temporary table without keys, takes its changes there, and
//! comes back at the end of the source transaction, where each value has one owner again.

use rusqlite::Connection;

use super::apply::{APPLY, Taken, clash};
use super::dialect::quote;
use super::error::classify;
use super::road::Road;
use crate::change::RowKind;
use crate::engine::{Cause, EngineError};

/// Both rows that have the key are meant equally.
pub(super) const TWICE: &str =
    "two rows have this key for a moment, and the log does not tell which of them it means";

pub(super) struct Park {
    /// Rows that wait in the open transaction.
    pub rows: u64,
    table: String,
    /// A column that tells rows which are new from rows that were moved.
    fresh: String,
}

impl Park {
    pub fn new(number: usize, road: &Road) -> Self {
        let mut fresh = String::from("towpath_new");
        while road.shape.stored.iter().any(|column| column.eq_ignore_ascii_case(&fresh)) {
            fresh.push('_');
        }
        Self { rows: 0, table: format!("temp.towpath_parked_{number}"), fresh: quote(&fresh) }
    }

    /// With a transaction that was rolled back, its rows are gone.
    pub fn forget(&mut self) {
        self.rows = 0;
    }

    /// Takes the row of a change that met a value of another row, and changes it here.
    pub fn take(
        &mut self,
        conn: &Connection,
        road: &Road,
        taken: &Taken<'_>,
        what: &str,
    ) -> Result<(), EngineError> {
        self.create(conn, road)?;
        match taken.kind {
            RowKind::Insert => self.insert(conn, road, taken, what)?,
            _ => {
                self.move_here(conn, road, taken)?;
                if self.apply(conn, road, taken)? != 1 {
                    return Err(road.diverged(taken, TWICE));
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn create(&self, conn: &Connection, road: &Road) -> Result<(), EngineError> {
        if self.rows > 0 {
            return Ok(());
        }
        let columns = stored(road);
        let (main, table, fresh) = (main(road), &self.table, &self.fresh);
        self.batch(
            conn,
            road,
            &format!(
                "CREATE TABLE IF NOT EXISTS {table} AS SELECT 0 AS {fresh}, {columns} FROM {main} WHERE 0"
            ),
        )
    }

    /// A new row whose key is there already is no row that comes too early.
    fn insert(
        &self,
        conn: &Connection,
        road: &Road,
        taken: &Taken<'_>,
        what: &str,
    ) -> Result<(), EngineError> {
        if road.is_there(conn, taken)? {
            return Err(road.diverged(taken, what));
        }
        self.run(conn, road, &road.sql(&self.table, taken), taken)?;
        let sql = format!("UPDATE {} SET {fresh} = 1 WHERE {fresh} IS NULL", self.table, fresh = self.fresh);
        self.batch(conn, road, &sql)
    }

    fn move_here(&self, conn: &Connection, road: &Road, taken: &Taken<'_>) -> Result<(), EngineError> {
        let (main, columns) = (main(road), stored(road));
        let which = road.condition(&main, taken);
        let copy = format!(
            "INSERT INTO {} ({}, {columns}) SELECT 0, {columns} FROM {main} WHERE {which}",
            self.table, self.fresh
        );
        for sql in [copy, format!("DELETE FROM {main} WHERE {which}")] {
            let rows = self.run(conn, road, &sql, taken)?;
            if rows != 1 {
                return Err(road.diverged(taken, &format!("{rows} rows are alike")));
            }
        }
        Ok(())
    }

    /// Applies a change to the rows that wait; how many it found.
    pub fn apply(&mut self, conn: &Connection, road: &Road, taken: &Taken<'_>) -> Result<usize, EngineError> {
        let rows = self.run(conn, road, &road.sql(&self.table, taken), taken)?;
        if taken.kind == RowKind::Delete {
            self.rows -= rows as u64;
        }
        Ok(rows)
    }

    /// The source transaction is over: all rows go back.
    pub fn settle(&mut self, conn: &Connection, road: &Road) -> Result<(), EngineError> {
        let (main, table, fresh) = (main(road), &self.table, &self.fresh);
        // Columns that the log does not bring keep their values in moved rows, and have their
        // defaults in new ones.
        for (columns, new) in [(stored(road), 0), (road.targets(), 1)] {
            let sql = format!(
                "INSERT OR ABORT INTO {main} ({columns}) SELECT {columns} FROM {table} WHERE {fresh} = {new}"
            );
            conn.execute(&sql, []).map_err(|error| refuse(road, error))?;
        }
        self.empty(conn)
    }

    /// Forgets all rows that wait.
    pub fn empty(&mut self, conn: &Connection) -> Result<(), EngineError> {
        if self.rows > 0 {
            let sql = format!("DELETE FROM {}", self.table);
            conn.execute(&sql, []).map_err(|error| classify(APPLY, error))?;
        }
        self.rows = 0;
        Ok(())
    }

    fn run(
        &self,
        conn: &Connection,
        road: &Road,
        sql: &str,
        taken: &Taken<'_>,
    ) -> Result<usize, EngineError> {
        let fail = |error| classify(APPLY, error).on(&road.projection.target);
        let mut statement = conn.prepare_cached(sql).map_err(fail)?;
        road.bind(&mut statement, taken)?;
        statement.raw_execute().map_err(fail)
    }

    fn batch(&self, conn: &Connection, road: &Road, sql: &str) -> Result<(), EngineError> {
        conn.execute_batch(sql).map_err(|error| classify(APPLY, error).on(&road.projection.target))
    }
}

fn main(road: &Road) -> String {
    format!("main.{}", quote(&road.projection.target.name))
}

/// All columns that hold values, those beyond the plan among them.
fn stored(road: &Road) -> String {
    road.shape.stored.iter().map(|column| quote(column)).collect::<Vec<_>>().join(", ")
}

fn refuse(road: &Road, error: rusqlite::Error) -> EngineError {
    match clash(&error) {
        Some(what) => {
            let message = format!("at the end of a source transaction a unique value is still taken: {what}");
            EngineError::new(Cause::Diverged, APPLY, message)
                .on(&road.projection.target)
                .hint("the target has a unique key that the source does not keep, or rows of somebody else")
        }
        None => classify(APPLY, error).on(&road.projection.target),
    }
}
