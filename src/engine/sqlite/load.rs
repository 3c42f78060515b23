//! Loading rows: cells are bound where they lie, one prepared INSERT per table; rows of another
//! SQLite file that stands still are fetched by an INSERT ... SELECT of SQLite itself. A value that
//! SQLite would change on its way in is refused, naming its place (contract G03).

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, Statement};

use super::dialect::quote;
use super::error::{classify, data};
use super::exact;
use super::read::{Pull, Range, from_where, select, shape};
use super::value::{Bound, Rule, convert};
use crate::catalog::{Cell, Form, Projection, RowBatch};
use crate::change::Datum;
use crate::engine::{Cause, EngineError, Loaded};

const LOAD: &str = "load rows into";

/// The name under which the source's file is attached to a writing session.
const ATTACHED: &str = "towpath_source";

/// What is done with every batch of one table.
pub(super) struct Loader {
    projection: Projection,
    insert: String,
    rules: Vec<Rule>,
}

impl Loader {
    pub fn new(projection: &Projection) -> Arc<Self> {
        let rules = projection.columns.iter().map(|column| Rule::new(projection.form, column)).collect();
        let table = quote(&projection.target.name);
        let names: Vec<_> = projection.columns.iter().map(|column| quote(&column.target)).collect();
        // A conflict clause of the table must not replace or skip rows.
        let insert = match names.len() {
            0 => format!("INSERT OR ABORT INTO main.{table} DEFAULT VALUES"),
            width => format!(
                "INSERT OR ABORT INTO main.{table} ({}) VALUES ({})",
                names.join(", "),
                vec!["?"; width].join(", ")
            ),
        };
        Arc::new(Self { projection: projection.clone(), insert, rules })
    }

    /// Inserts a batch and gives it back. `before`: rows of this load that went in earlier.
    pub fn insert(&self, conn: &Connection, batch: RowBatch, before: u64) -> Result<RowBatch, EngineError> {
        let fail = |error| classify(LOAD, error).on(&self.projection.target);
        let mut statement = conn.prepare_cached(&self.insert).map_err(fail)?;
        for index in 0..batch.rows() {
            for (column, cell) in batch.row(index).iter().enumerate() {
                self.bind(&mut statement, column, *cell, &batch, before + index as u64)?;
            }
            statement.raw_execute().map_err(fail)?;
        }
        drop(statement);
        Ok(batch)
    }

    #[inline]
    fn bind(
        &self,
        statement: &mut Statement<'_>,
        column: usize,
        cell: Cell,
        batch: &RowBatch,
        row: u64,
    ) -> Result<(), EngineError> {
        match convert(self.rules[column], datum(cell, batch)) {
            Ok(bound) => statement
                .raw_bind_parameter(column + 1, bound)
                .map_err(|error| classify(LOAD, error).on(&self.projection.target)),
            Err(why) => {
                let name = quote(&self.projection.columns[column].target);
                let place =
                    format!("{}, column {name}, row {} of the chunk", self.projection.target, row + 1);
                Err(data(LOAD, place, why).hint(
                    "map the column to a type that holds such values, or leave those rows out with where:",
                ))
            }
        }
    }

    /// Fetches rows that stand still in another file. Returns how many went in, and the bytes by
    /// which this file grew.
    pub fn pull(&self, conn: &Connection, pull: &Pull) -> Result<Loaded, EngineError> {
        let pages = |what: &str| {
            let found = conn.query_row(&format!("PRAGMA main.{what}"), [], |row| row.get::<_, i64>(0));
            found.map_err(|error| classify(LOAD, error).on(&self.projection.target))
        };
        let before = pages("page_count")?;
        let rows = self.fetch(conn, pull)?;
        let grown = (pages("page_count")? - before).max(0) * pages("page_size")?;
        Ok(Loaded { rows, bytes: grown as u64 })
    }

    fn fetch(&self, conn: &Connection, pull: &Pull) -> Result<u64, EngineError> {
        let fail = |error| classify(LOAD, error).on(&self.projection.target);
        let text = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, String>(0)).map_err(fail);
        if text("PRAGMA main.encoding")? != pull.encoding {
            return self.pull_by_value(conn, pull);
        }
        attach(conn, &pull.path).map_err(fail)?;
        let sql = match self.whole_records(conn, pull)? {
            true => format!(
                "INSERT OR ABORT INTO main.{} SELECT * FROM {ATTACHED}.{}",
                quote(&self.projection.target.name),
                quote(&self.projection.source.name)
            ),
            false => self.insert_select(conn, pull)?,
        };
        conn.execute(&sql, []).map(|rows| rows as u64).map_err(fail)
    }

    /// True where both tables store the same columns in the same order and all rows are wanted:
    /// then `SELECT *` lets SQLite copy records without taking them apart.
    fn whole_records(&self, conn: &Connection, pull: &Pull) -> Result<bool, EngineError> {
        let target = shape(conn, &self.projection.target.name)?;
        let columns = &self.projection.columns;
        let cast = columns.iter().any(|column| column.cast.is_some());
        if target.generated || cast || self.projection.filter.is_some() || pull.range != Range::default() {
            return Ok(false);
        }
        let source = attached_columns(conn, &self.projection.source.name)?;
        let sources = columns.iter().map(|column| &column.source);
        let targets = columns.iter().map(|column| &column.target);
        Ok(sources.eq(source.iter()) && targets.eq(target.stored.iter()))
    }

    fn insert_select(&self, conn: &Connection, pull: &Pull) -> Result<String, EngineError> {
        let rowid = match pull.range == Range::default() {
            true => None,
            false => Some(free_rowid(&attached_columns(conn, &self.projection.source.name)?)),
        };
        let body = select_in(ATTACHED, &self.projection, rowid, pull.range);
        let names: Vec<_> = self.projection.columns.iter().map(|column| quote(&column.target)).collect();
        let table = quote(&self.projection.target.name);
        Ok(format!("INSERT OR ABORT INTO main.{table} ({}) {body}", names.join(", ")))
    }

    /// The same rows value by value, for files that cannot be attached to each other.
    fn pull_by_value(&self, conn: &Connection, pull: &Pull) -> Result<u64, EngineError> {
        let fail = |error| classify(LOAD, error).on(&self.projection.target);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let source = Connection::open_with_flags(Path::new(&pull.path), flags).map_err(fail)?;
        exact::register(&source).map_err(fail)?;
        let rowid = shape(&source, &self.projection.source.name)?.rowid;
        let bounded = rowid.as_deref().filter(|_| pull.range != Range::default());
        let sql = select_in("main", &self.projection, bounded, pull.range);
        let mut query = source.prepare(&sql).map_err(fail)?;
        let mut rows = query.query([]).map_err(fail)?;
        let mut insert = conn.prepare_cached(&self.insert).map_err(fail)?;
        let mut done = 0;
        while let Some(row) = rows.next().map_err(fail)? {
            for index in 0..self.projection.columns.len() {
                let value = Bound::Borrowed(row.get_ref(index).map_err(fail)?);
                insert.raw_bind_parameter(index + 1, value).map_err(fail)?;
            }
            insert.raw_execute().map_err(fail)?;
            done += 1;
        }
        Ok(done)
    }
}

/// As [`select`], without the row id in the list.
fn select_in(schema: &str, projection: &Projection, rowid: Option<&str>, range: Range) -> String {
    let open = select(schema, projection, None, Range::default());
    let from = from_where(schema, projection, None, Range::default());
    let list = open.strip_suffix(&from).expect("broken invariant: a select ends with its own from");
    format!("{list}{}", from_where(schema, projection, rowid, range))
}

fn free_rowid(columns: &[String]) -> &'static str {
    let taken = |name: &str| columns.iter().any(|column| column.eq_ignore_ascii_case(name));
    ["rowid", "_rowid_", "oid"].into_iter().find(|name| !taken(name)).unwrap_or("rowid")
}

fn attached_columns(conn: &Connection, table: &str) -> Result<Vec<String>, EngineError> {
    let fail = |error| classify(LOAD, error);
    let sql = format!("SELECT name FROM pragma_table_xinfo(?1, '{ATTACHED}') ORDER BY cid");
    let mut query = conn.prepare(&sql).map_err(fail)?;
    let names = query.query_map([table], |row| row.get(0)).map_err(fail)?;
    names.collect::<Result<Vec<_>, _>>().map_err(fail)
}

/// Attaches the source's file read-only, once per session.
fn attach(conn: &Connection, path: &str) -> rusqlite::Result<()> {
    let sql = "SELECT count(*) FROM pragma_database_list WHERE name = ?1";
    let attached: i64 = conn.query_row(sql, [ATTACHED], |row| row.get(0))?;
    if attached > 0 {
        return Ok(());
    }
    let mut uri = String::from("file:");
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(byte as char),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?mode=ro");
    conn.execute(&format!("ATTACH ?1 AS {ATTACHED}"), [uri]).map(drop)
}

/// A cell as a change would hold it.
#[inline]
pub(super) fn datum(cell: Cell, batch: &RowBatch) -> Datum<'_> {
    match cell {
        Cell::Null => Datum::Null,
        Cell::Bool(value) => Datum::Bool(value),
        Cell::Int(value) => Datum::Int(value),
        Cell::UInt(value) => Datum::UInt(value),
        Cell::Float(value) => Datum::Float(value),
        Cell::Text { .. } => Datum::Text(batch.data(cell)),
        Cell::Bytes { .. } => Datum::Bytes(batch.data(cell)),
    }
}

/// A batch of native bytes can only be this engine's own.
pub(super) fn pull_of(bytes: &[u8], projection: &Projection) -> Result<Pull, EngineError> {
    if projection.form == Form::Rows {
        let message = "native bytes came where rows were announced";
        return Err(EngineError::new(Cause::Other, LOAD, message).on(&projection.target));
    }
    Pull::from_bytes(bytes)
}
