//! The unique keys of a table, as `INSERT OR REPLACE` meets them. Reads only.

use rusqlite::Connection;

use super::error::classify;
use super::read::Shape;
use super::triggers::UniqueKey;
use crate::engine::EngineError;

const READ: &str = "read the unique keys of";

/// What makes rows of a table unique.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Uniques {
    pub keys: Vec<UniqueKey>,
    /// Unique indexes on expressions or on some of the rows: whether a new row is in the way of
    /// another is not told by columns alone.
    pub odd: Vec<String>,
}

/// The keys of a table, the row id first.
pub(super) fn read(conn: &Connection, table: &str, shape: &Shape) -> Result<Uniques, EngineError> {
    let fail = |error| classify(READ, error).on(super::dialect::quote(table));
    let mut uniques = Uniques::default();
    if let Some(name) = row_id(conn, table, shape).map_err(fail)? {
        uniques.keys.push(UniqueKey { parts: vec![(name, None)] });
    }
    let sql = "SELECT name, partial FROM pragma_index_list(?1) WHERE \"unique\" ORDER BY name";
    let mut query = conn.prepare_cached(sql).map_err(fail)?;
    let indexes = query.query_map([table], |row| Ok((row.get(0)?, row.get(1)?))).map_err(fail)?;
    for index in indexes {
        let (name, partial): (String, bool) = index.map_err(fail)?;
        match parts(conn, &name).map_err(fail)? {
            Some(parts) if !partial => uniques.keys.push(UniqueKey { parts }),
            _ => uniques.odd.push(name),
        }
    }
    Ok(uniques)
}

/// A name of the row id, under which an application may set it.
fn row_id(conn: &Connection, table: &str, shape: &Shape) -> rusqlite::Result<Option<String>> {
    let Some(hidden) = &shape.rowid else { return Ok(None) };
    // A column that is the row id has a primary key without an index.
    let sql =
        "SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE pk = 1 AND type = 'INTEGER' COLLATE NOCASE
               AND NOT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')";
    let mut query = conn.prepare_cached(sql)?;
    let names = query.query_map([table], |row| row.get::<_, String>(0))?;
    let alias = names.collect::<rusqlite::Result<Vec<_>>>()?.pop();
    Ok(Some(alias.unwrap_or_else(|| hidden.clone())))
}

/// A column of an index and its collation.
type Part = (String, Option<String>);

/// Columns and collations of an index; none where it has an expression.
fn parts(conn: &Connection, index: &str) -> rusqlite::Result<Option<Vec<Part>>> {
    let sql = "SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno";
    let mut query = conn.prepare_cached(sql)?;
    let parts = query.query_map([index], |row| Ok((row.get::<_, Option<String>>(0)?, row.get(1)?)))?;
    let parts = parts.collect::<rusqlite::Result<Vec<(Option<String>, Option<String>)>>>()?;
    Ok(parts.into_iter().map(|(name, collation)| name.map(|name| (name, collation))).collect())
}
