//! Rows into a table, in the open transaction of a session: with MariaDB's bulk of parameters, or by
//! inserts of many rows, all values bound. After each statement as many rows must be in as were sent,
//! and the server must not have warned of anything.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Row, Statement, Value};

use super::connect::Flavor;
use super::encode::{Bad, Encoder};
use super::error::{escape, from_driver};
use super::quote::{identifier, name};
use crate::catalog::{Name, Projection, RowBatch};
use crate::engine::{Cause, EngineError};

pub(super) const LOAD: &str = "load rows into";

/// Bytes of one statement's values, as near as whole rows allow.
pub(super) const STATEMENT_BYTES: usize = 1 << 20;
/// Parameters of a prepared statement.
const PARAMETERS_MAX: usize = 65_535;
pub(super) const ROWS_MAX: usize = 1_000;
/// Room in a packet for what is not values.
pub(super) const PACKET_SPARE: usize = 1 << 10;

/// What is done with every batch of one table.
pub(super) struct Inserter<'a> {
    projection: &'a Projection,
    encoder: Encoder,
    flavor: Flavor,
    /// Largest packet that the server takes.
    packet: usize,
    /// Of one row.
    bulk: Option<Statement>,
    /// Of many rows, and how many.
    many: Option<(Statement, usize)>,
    rows: u64,
}

impl<'a> Inserter<'a> {
    pub async fn new(
        conn: &mut Conn,
        projection: &'a Projection,
        flavor: Flavor,
    ) -> Result<Self, EngineError> {
        let fail = |error| from_driver(LOAD, error).on(&projection.target);
        let encoder = Encoder::new(projection, flavor == Flavor::MySql)
            .map_err(|bad| refuse(projection, &bad, None))?;
        let packet = packet(conn).await.map_err(fail)?;
        Ok(Self { projection, encoder, flavor, packet, bulk: None, many: None, rows: 0 })
    }

    /// Inserts a batch.
    pub async fn insert(&mut self, conn: &mut Conn, batch: &RowBatch) -> Result<(), EngineError> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        let most_rows = match self.projection.columns.len() {
            0 => ROWS_MAX,
            width => (PARAMETERS_MAX / width).clamp(1, ROWS_MAX),
        };
        let most_bytes = STATEMENT_BYTES.min(self.packet / 2);
        for index in 0..batch.rows() {
            let place = self.rows + rows.len() as u64 + 1;
            let (row, own) =
                self.encoder.row(batch, index).map_err(|bad| refuse(self.projection, &bad, Some(place)))?;
            if own + PACKET_SPARE > self.packet {
                return Err(self.too_large(own, place));
            }
            if !rows.is_empty() && (bytes + own > most_bytes || rows.len() == most_rows) {
                self.send(conn, std::mem::take(&mut rows)).await?;
                bytes = 0;
            }
            bytes += own;
            rows.push(row);
        }
        if !rows.is_empty() {
            self.send(conn, rows).await?;
        }
        Ok(())
    }

    fn too_large(&self, bytes: usize, place: u64) -> EngineError {
        let message = format!(
            "row {place} of the chunk has {bytes} bytes, and the server takes packets of {}",
            self.packet
        );
        EngineError::new(Cause::Data, LOAD, message)
            .on(&self.projection.target)
            .hint("raise max_allowed_packet on the target's server (1073741824 at most), or leave such rows out with where:")
    }

    async fn send(&mut self, conn: &mut Conn, rows: Vec<Vec<Value>>) -> Result<(), EngineError> {
        let sent = rows.len() as u64;
        let done = match (self.flavor, self.projection.columns.len()) {
            (Flavor::MariaDb, 1..) => self.bulk(conn, rows).await,
            _ => self.many(conn, rows).await,
        };
        done.map_err(|error| from_driver(LOAD, error).on(&self.projection.target))?;
        warned(conn, LOAD, &self.projection.target).await?;
        if conn.affected_rows() != sent {
            let message = format!("the server took {} of {sent} rows", conn.affected_rows());
            return Err(EngineError::new(Cause::Data, LOAD, message)
                .on(&self.projection.target)
                .hint("a trigger or another engine of the table may keep rows out"));
        }
        self.rows += sent;
        Ok(())
    }

    async fn bulk(&mut self, conn: &mut Conn, rows: Vec<Vec<Value>>) -> Result<(), mysql_async::Error> {
        if self.bulk.is_none() {
            self.bulk = Some(conn.prep(statement(self.projection, 1)).await?);
        }
        match &self.bulk {
            Some(statement) => conn.exec_batch(statement, rows.into_iter().map(Params::Positional)).await,
            None => Ok(()),
        }
    }

    async fn many(&mut self, conn: &mut Conn, rows: Vec<Vec<Value>>) -> Result<(), mysql_async::Error> {
        if self.many.as_ref().is_none_or(|(_, count)| *count != rows.len()) {
            if let Some((old, _)) = self.many.take() {
                conn.close(old).await?;
            }
            self.many = Some((conn.prep(statement(self.projection, rows.len())).await?, rows.len()));
        }
        let values: Vec<Value> = rows.into_iter().flatten().collect();
        let values = if values.is_empty() { Params::Empty } else { Params::Positional(values) };
        match &self.many {
            Some((statement, _)) => conn.exec_drop(statement, values).await,
            None => Ok(()),
        }
    }

    /// Lets go of the statements.
    pub async fn close(self, conn: &mut Conn) {
        let statements = self.bulk.into_iter().chain(self.many.map(|(statement, _)| statement));
        for statement in statements {
            // The session ends them, too.
            let _ = conn.close(statement).await;
        }
    }
}

/// The insert of so many rows.
pub(super) fn statement(projection: &Projection, rows: usize) -> String {
    let columns: Vec<_> = projection.columns.iter().map(|map| identifier(&map.target)).collect();
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    format!(
        "INSERT INTO {} ({}) VALUES {}",
        name(&projection.target),
        columns.join(", "),
        vec![row; rows].join(", ")
    )
}

/// Bytes of the largest packet that the server takes.
pub(super) async fn packet(conn: &mut Conn) -> Result<usize, mysql_async::Error> {
    let packet: Option<u64> = conn.query_first("SELECT @@max_allowed_packet").await?;
    Ok(usize::try_from(packet.unwrap_or(1 << 24)).unwrap_or(usize::MAX))
}

/// That a statement is no safe one in a log of statements, which says nothing of its rows.
const UNSAFE_FOR_STATEMENTS: u16 = 1592;

/// Fails where the last statement warned: a value did not go in as it came. The text may quote it.
pub(super) async fn warned(conn: &mut Conn, doing: &str, table: &Name) -> Result<(), EngineError> {
    if conn.get_warnings() == 0 {
        return Ok(());
    }
    let rows: Vec<Row> = conn.query("SHOW WARNINGS").await.unwrap_or_default();
    let warning =
        |mut row: Row| Some((row.take_opt::<u16, _>(1)?.ok()?, row.take_opt::<String, _>(2)?.ok()?));
    let found: Vec<(u16, String)> = rows.into_iter().filter_map(warning).collect();
    if !found.is_empty() && found.iter().all(|(code, _)| *code == UNSAFE_FOR_STATEMENTS) {
        return Ok(());
    }
    let place = found.iter().find_map(|(_, text)| text.rsplit_once(" for column "));
    let message = match place {
        Some((_, place)) => format!("the server would change a value for column {}", escape(place)),
        None => "the server would change a value".to_string(),
    };
    Err(EngineError::new(Cause::Data, doing, message)
        .on(table)
        .hint("map the column to a type that takes such values, or leave those rows out with where:"))
}

fn refuse(projection: &Projection, bad: &Bad, row: Option<u64>) -> EngineError {
    let column = projection.columns.get(bad.column).map_or("", |map| map.target.as_str());
    let place = row.map(|row| format!(", row {row} of the chunk")).unwrap_or_default();
    EngineError::new(Cause::Data, LOAD, bad.why)
        .on(format!("{}, column {}{place}", projection.target, identifier(column)))
        .hint("map the column to a type that holds such values, or leave those rows out with where:")
}
