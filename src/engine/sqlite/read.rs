//! Reading rows: the SELECT for a projection, and a scan on the connection's thread that fills
//! batches and hands them over through a short queue. A value that its type cannot carry ends the
//! scan with an error that names the place, never the value (contract L-01).

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};
use std::sync::mpsc as std_mpsc;
use tokio::sync::mpsc;

use super::connect::Worker;
use super::dialect::quote;
use super::error::{classify, data};
use super::exact;
use super::snapshot::Lease;
use crate::catalog::{Cell, Form, Projection, RowBatch, Type};
use crate::change::Datum;
use crate::engine::{Batch, BatchStream, Cause, Chunk, EngineError};

const READ: &str = "read rows of";

/// Batches on their way at once: one being filled, one waiting, one being written.
const QUEUE: usize = 1;

/// A range of row ids, both ends included; open where none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub low: Option<i64>,
    pub high: Option<i64>,
}

impl Range {
    /// Reads what [`Range::to_string`] wrote: `whole`, `rowid 5..9`, `rowid ..9`, `rowid 5..`.
    pub fn parse(bounds: &str) -> Option<Self> {
        if bounds == "whole" {
            return Some(Self::default());
        }
        let (low, high) = bounds.strip_prefix("rowid ")?.split_once("..")?;
        let end = |text: &str| match text {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        };
        Some(Self { low: end(low)?, high: end(high)? })
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::default() {
            return out.write_str("whole");
        }
        let end = |end: Option<i64>| end.map(|end| end.to_string()).unwrap_or_default();
        write!(out, "rowid {}..{}", end(self.low), end(self.high))
    }
}

/// What a table's rows are addressed by, from one look at its structure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// A name that means the row id here; none for tables without one (or that hide all names).
    pub rowid: Option<String>,
    /// All columns that hold values, in order: an insert-select of exactly these copies records.
    pub stored: Vec<String>,
    /// It has generated columns, which `*` would include.
    pub generated: bool,
}

/// Looks at a table; a missing one is `Cause::Stale`.
pub(super) fn shape(conn: &Connection, table: &str) -> Result<Shape, EngineError> {
    let fail = |error| classify(READ, error).on(quote(table));
    let mut shape = Shape::default();
    let mut names = Vec::new();
    let sql = "SELECT name, hidden FROM pragma_table_xinfo(?1, 'main') ORDER BY cid";
    let mut query = conn.prepare_cached(sql).map_err(fail)?;
    let mut rows = query.query([table]).map_err(fail)?;
    while let Some(row) = rows.next().map_err(fail)? {
        let (name, hidden): (String, i64) = (row.get(0).map_err(fail)?, row.get(1).map_err(fail)?);
        names.push(name.to_ascii_lowercase());
        match hidden {
            0 => shape.stored.push(name),
            _ => shape.generated = true,
        }
    }
    if names.is_empty() {
        return Err(EngineError::new(Cause::Stale, READ, "the table is no longer there").on(quote(table)));
    }
    let without: bool = conn
        .query_row("SELECT wr FROM pragma_table_list(?1) WHERE schema = 'main'", [table], |row| row.get(0))
        .map_err(fail)?;
    if !without {
        let free = ["rowid", "_rowid_", "oid"].into_iter().find(|name| !names.iter().any(|n| n == name));
        shape.rowid = free.map(str::to_string);
    }
    Ok(shape)
}

/// Smallest and largest row id; two lookups.
pub(super) fn span(conn: &Connection, table: &str, rowid: &str) -> rusqlite::Result<Option<(i64, i64)>> {
    let from = format!("FROM main.{}", quote(table));
    // Two sub-selects: SQLite looks up one extreme at a time, and would scan for both at once.
    let sql = format!("SELECT (SELECT min({rowid}) {from}), (SELECT max({rowid}) {from})");
    let (low, high): (Option<i64>, Option<i64>) =
        conn.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(low.zip(high))
}

/// Names the source column in a SELECT list, converted where the plan casts between equal engines.
fn column(projection: &Projection, index: usize) -> String {
    let column = &projection.columns[index];
    match &column.cast {
        Some(cast) if projection.form != Form::Rows => {
            format!("towpath_cast({}, '{}')", quote(&column.source), cast.native.replace('\'', "''"))
        }
        _ => quote(&column.source),
    }
}

/// `FROM` and `WHERE` of a projection's rows in one range.
pub(super) fn from_where(schema: &str, projection: &Projection, rowid: Option<&str>, range: Range) -> String {
    let mut sql = format!("FROM {}.{}", quote(schema), quote(&projection.source.name));
    let mut conditions = Vec::new();
    if let Some(filter) = &projection.filter {
        conditions.push(format!("({filter})"));
    }
    if let (Some(rowid), Some(low)) = (rowid, range.low) {
        conditions.push(format!("{rowid} >= {low}"));
    }
    if let (Some(rowid), Some(high)) = (rowid, range.high) {
        conditions.push(format!("{rowid} <= {high}"));
    }
    if !conditions.is_empty() {
        sql.push_str(" WHERE ");
        sql.push_str(&conditions.join(" AND "));
    }
    sql
}

/// The SELECT of a projection. With a row id, that is one more column at the end.
pub(super) fn select(schema: &str, projection: &Projection, rowid: Option<&str>, range: Range) -> String {
    let mut list: Vec<_> = (0..projection.columns.len()).map(|index| column(projection, index)).collect();
    list.extend(rowid.map(str::to_string));
    if list.is_empty() {
        list.push("NULL".into());
    }
    format!("SELECT {} {}", list.join(", "), from_where(schema, projection, rowid, range))
}

/// The number of rows in a range, counted by SQLite and not by the scan.
pub(super) fn count(conn: &Connection, projection: &Projection, range: Range) -> Result<u64, EngineError> {
    let shape = shape(conn, &projection.source.name)?;
    let sql = format!("SELECT count(*) {}", from_where("main", projection, shape.rowid.as_deref(), range));
    conn.query_row(&sql, [], |row| row.get::<_, i64>(0))
        .map(|rows| rows as u64)
        .map_err(|error| classify("count rows of", error).on(&projection.source))
}

/// How a column's values become cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    UInt,
    Decimal,
    Float,
    Text,
    /// Text in UTC: `Z` here, `+00` in a cell.
    Zoned,
    Bytes,
    /// Whatever the row holds.
    Any,
}

fn kind(ty: &Type) -> Kind {
    match ty {
        Type::Bool => Kind::Bool,
        Type::Int { .. } => Kind::Int,
        Type::UInt { .. } => Kind::UInt,
        Type::Decimal { .. } => Kind::Decimal,
        Type::Float { .. } => Kind::Float,
        Type::Binary { .. } | Type::Blob => Kind::Bytes,
        Type::TimestampTz { .. } => Kind::Zoned,
        Type::Any | Type::Native { .. } => Kind::Any,
        _ => Kind::Text,
    }
}

pub(super) fn kinds(projection: &Projection) -> Vec<Kind> {
    let dynamic = projection.form != Form::Rows;
    let columns = projection.columns.iter();
    columns.map(|column| if dynamic { Kind::Any } else { kind(&column.source_type) }).collect()
}

/// A value as a cell, the same in a copy and in a change; `made` holds a text that had to be made.
/// The error says what class was met where another was declared.
#[inline]
pub(super) fn cell<'a>(kind: Kind, value: ValueRef<'a>, made: &'a mut Vec<u8>) -> Result<Datum<'a>, String> {
    Ok(match (kind, value) {
        (_, ValueRef::Null) => Datum::Null,
        (Kind::Int | Kind::Any, ValueRef::Integer(integer)) => Datum::Int(integer),
        (Kind::Text | Kind::Any, ValueRef::Text(text)) => Datum::Text(text),
        (Kind::Float | Kind::Any, ValueRef::Real(real)) => Datum::Float(real),
        (Kind::Bytes | Kind::Any, ValueRef::Blob(bytes)) => Datum::Bytes(bytes),
        (Kind::Bool, ValueRef::Integer(bit @ 0..=1)) => Datum::Bool(bit == 1),
        (Kind::UInt, ValueRef::Integer(integer @ 0..)) => Datum::UInt(integer as u64),
        (Kind::Float, ValueRef::Integer(integer)) => match exact::real_of_integer(integer) {
            Some(real) => Datum::Float(real),
            None => return Err("an integer has more digits than a floating-point number".into()),
        },
        (Kind::Decimal, ValueRef::Integer(integer)) => text_of(made, &integer.to_string()),
        (Kind::Decimal, ValueRef::Real(real)) => text_of(made, &exact::decimal_of_real(real)),
        (Kind::Decimal, ValueRef::Text(text)) if exact::is_decimal(text) => Datum::Text(text),
        (Kind::Zoned, ValueRef::Text(text)) => match text.strip_suffix(b"Z") {
            Some(plain) => {
                made.clear();
                made.extend_from_slice(plain);
                made.extend_from_slice(b"+00");
                Datum::Text(made)
            }
            None => Datum::Text(text),
        },
        (kind, value) => {
            let wanted = format!("{kind:?}").to_lowercase();
            return Err(format!(
                "the column is of type {wanted} and holds a value of class {}",
                class(value)
            ));
        }
    })
}

fn text_of<'a>(made: &'a mut Vec<u8>, text: &str) -> Datum<'a> {
    made.clear();
    made.extend_from_slice(text.as_bytes());
    Datum::Text(made)
}

/// Appends one value.
#[inline]
fn push(kind: Kind, value: ValueRef<'_>, made: &mut Vec<u8>, batch: &mut RowBatch) -> Result<(), String> {
    match cell(kind, value, made)? {
        Datum::Null | Datum::Absent => batch.push(Cell::Null),
        Datum::Bool(value) => batch.push(Cell::Bool(value)),
        Datum::Int(value) => batch.push(Cell::Int(value)),
        Datum::UInt(value) => batch.push(Cell::UInt(value)),
        Datum::Float(value) => batch.push(Cell::Float(value)),
        Datum::Text(text) => batch.push_text(text),
        Datum::Bytes(bytes) => batch.push_bytes(bytes),
    }
    Ok(())
}

fn class(value: ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Null => "null",
        ValueRef::Integer(_) => "integer",
        ValueRef::Real(_) => "real",
        ValueRef::Text(_) => "text",
        ValueRef::Blob(_) => "blob",
    }
}

/// Description of rows that the target reads for itself from the same file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pull {
    pub path: String,
    pub range: Range,
    /// What every database of a connection must share.
    pub encoding: String,
}

impl Pull {
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("broken invariant: a plain struct is JSON"))
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EngineError> {
        serde_json::from_slice(bytes).map_err(|error| {
            EngineError::new(Cause::Other, "load rows", format!("not our own batch: {error}"))
        })
    }
}

/// Rows of one chunk on their way from a reader's thread.
pub(super) struct RowStream {
    batches: mpsc::Receiver<Result<Batch, EngineError>>,
    empties: std_mpsc::Sender<RowBatch>,
    /// Holds the reader until the stream is dropped.
    lease: Lease,
    batch_bytes: usize,
    ended: bool,
}

impl RowStream {
    /// Starts the scan. `native`: tells the target where the rows are instead of sending them.
    pub fn open(
        lease: Lease,
        projection: &Projection,
        chunk: &Chunk,
        batch_bytes: usize,
        native: Option<Pull>,
    ) -> Result<Self, EngineError> {
        let range = Range::parse(&chunk.bounds).ok_or_else(|| {
            EngineError::new(Cause::Stale, READ, "the bounds of a chunk are not of this engine")
                .on(&projection.source)
        })?;
        let (queue, batches) = mpsc::channel(QUEUE);
        let (empties, returned) = std_mpsc::channel();
        let scan = Scan { projection: projection.clone(), range, batch_bytes, queue, returned };
        let worker: &Worker = &lease;
        drop(worker.send(move |conn| match native {
            Some(pull) => scan.announce(conn, &pull),
            None => scan.run(conn),
        }));
        Ok(Self { batches, empties, lease, batch_bytes, ended: false })
    }
}

#[async_trait]
impl BatchStream for RowStream {
    async fn next(&mut self) -> Result<Batch, EngineError> {
        if self.ended {
            return Err(EngineError::new(Cause::Other, READ, "the stream is over"));
        }
        match self.batches.recv().await {
            Some(Ok(Batch::End { rows })) => {
                self.ended = true;
                Ok(Batch::End { rows })
            }
            Some(other) => other,
            None => Err(EngineError::new(Cause::Connection, READ, "the rows ended without their end mark")),
        }
    }

    fn recycle(&mut self, mut rows: RowBatch) {
        // One huge row must not leave every batch as large as itself.
        if rows.bytes() > 4 * self.batch_bytes {
            return;
        }
        rows.clear();
        // A scan that is over needs no batches any more.
        let _ = self.empties.send(rows);
    }
}

impl Drop for RowStream {
    fn drop(&mut self) {
        if !self.ended {
            self.lease.interrupt();
        }
    }
}

/// The half that runs on the reader's thread. Sends fail when nobody listens any more.
struct Scan {
    projection: Projection,
    range: Range,
    batch_bytes: usize,
    queue: mpsc::Sender<Result<Batch, EngineError>>,
    returned: std_mpsc::Receiver<RowBatch>,
}

impl Scan {
    fn announce(self, conn: &Connection, pull: &Pull) {
        let _ = self.queue.blocking_send(Ok(Batch::Native { bytes: pull.to_bytes(), rows: 0 }));
        self.end(conn);
    }

    fn run(self, conn: &Connection) {
        match self.rows(conn) {
            Ok(true) => self.end(conn),
            Ok(false) => {}
            Err(error) => {
                let _ = self.queue.blocking_send(Err(error));
            }
        }
    }

    fn end(&self, conn: &Connection) {
        let end = count(conn, &self.projection, self.range).map(|rows| Batch::End { rows });
        let _ = self.queue.blocking_send(end);
    }

    /// False when the listener went away.
    fn rows(&self, conn: &Connection) -> Result<bool, EngineError> {
        let source = &self.projection.source;
        let fail = |error| classify(READ, error).on(source);
        let shape = shape(conn, &source.name)?;
        let sql = select("main", &self.projection, shape.rowid.as_deref(), self.range);
        let kinds = kinds(&self.projection);
        let mut statement = conn.prepare(&sql).map_err(fail)?;
        let mut rows = statement.query([]).map_err(fail)?;
        let (mut batch, mut made) = (self.empty(), Vec::new());
        let mut done = 0u64;
        while let Some(row) = rows.next().map_err(fail)? {
            for (index, kind) in kinds.iter().enumerate() {
                let value = row.get_ref(index).map_err(fail)?;
                if let Err(why) = push(*kind, value, &mut made, &mut batch) {
                    let rowid = shape.rowid.as_ref().and_then(|_| row.get::<_, i64>(kinds.len()).ok());
                    return Err(self.refuse(index, rowid, done, why));
                }
            }
            batch.end_row();
            done += 1;
            if batch.bytes() >= self.batch_bytes {
                let full = std::mem::replace(&mut batch, self.empty());
                if self.queue.blocking_send(Ok(Batch::Rows(full))).is_err() {
                    return Ok(false);
                }
            }
        }
        Ok(batch.is_empty() || self.queue.blocking_send(Ok(Batch::Rows(batch))).is_ok())
    }

    fn empty(&self) -> RowBatch {
        let width = self.projection.columns.len();
        self.returned.try_recv().unwrap_or_else(|_| RowBatch::new(width))
    }

    fn refuse(&self, index: usize, rowid: Option<i64>, done: u64, why: String) -> EngineError {
        let column = &self.projection.columns[index];
        let row = match rowid {
            Some(rowid) => format!("rowid {rowid}"),
            None => format!("row {} of the chunk", done + 1),
        };
        let place = format!("{}, column {}, {row}", self.projection.source, quote(&column.source));
        data(READ, place, why).hint(format!(
            "map the column to a type that takes every class, or mend the rows where typeof({}) differs",
            quote(&column.source)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_read_back_as_they_were_written() {
        for (low, high) in
            [(None, None), (Some(-5), Some(9)), (None, Some(0)), (Some(i64::MIN), None), (Some(1), Some(1))]
        {
            let range = Range { low, high };
            assert_eq!(Range::parse(&range.to_string()), Some(range));
        }
        assert_eq!(Range::parse("ctid 0..5"), None);
    }
}
