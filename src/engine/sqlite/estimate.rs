//! Guesses of rows and bytes for a plan's estimates: from page statistics where the file is small
//! enough to walk it, else from ANALYZE's numbers and the largest row ids. Never exact, never slow.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::dialect::quote;

/// Largest file whose pages are walked for a plan.
const WALK_BYTES_MAX: i64 = 128 << 20;

/// Tables asked in one statement; SQLite's own limit is 500.
const COMPOUND_MAX: usize = 400;

/// Rows and bytes by name of table or index.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Estimates {
    rows: BTreeMap<String, u64>,
    bytes: BTreeMap<String, u64>,
}

impl Estimates {
    /// Rows and bytes of a table.
    pub fn of(&self, table: &str) -> (u64, u64) {
        let get = |map: &BTreeMap<String, u64>| map.get(table).copied().unwrap_or(0);
        (get(&self.rows), get(&self.bytes))
    }

    /// Bytes of an index; where nothing is known, what a narrow one would take.
    pub fn index(&self, index: &str, table: &str) -> u64 {
        let rows = self.rows.get(table).copied().unwrap_or(0);
        self.bytes.get(index).copied().unwrap_or(rows * 20)
    }
}

/// Asks the file about these tables.
pub(super) fn read(conn: &Connection, tables: &[&str]) -> rusqlite::Result<Estimates> {
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let size = number("PRAGMA main.page_count")? * number("PRAGMA main.page_size")?;
    let mut estimates = Estimates { rows: largest_ids(conn, tables)?, ..Estimates::default() };
    analyzed(conn, &mut estimates.rows)?;
    if size <= WALK_BYTES_MAX {
        walk(conn, tables, &mut estimates)?;
    } else {
        share(size as u64, &mut estimates);
    }
    Ok(estimates)
}

fn largest_ids(conn: &Connection, tables: &[&str]) -> rusqlite::Result<BTreeMap<String, u64>> {
    let mut rows = BTreeMap::new();
    // A table without row ids, or with a column of that name, is left to the other sources.
    let plain = "SELECT l.name FROM pragma_table_list AS l WHERE l.schema = 'main' AND l.wr = 0 AND NOT EXISTS
                 (SELECT 1 FROM pragma_table_xinfo(l.name, 'main') AS x WHERE lower(x.name) = '_rowid_') AND l.type = 'table'";
    let plain = conn.prepare(plain)?.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let asked: Vec<_> = plain.iter().filter(|name| tables.contains(&name.as_str())).collect();
    for some in asked.chunks(COMPOUND_MAX) {
        let one = |name: &&String| {
            let table = quote(name);
            format!("SELECT '{}', (SELECT max(_rowid_) FROM main.{table})", name.replace('\'', "''"))
        };
        let sql = some.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ");
        let mut query = conn.prepare(&sql)?;
        let found = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?)))?;
        for row in found {
            let (name, id) = row?;
            rows.insert(name, id.unwrap_or(0).max(0) as u64);
        }
    }
    Ok(rows)
}

/// The first number of an entry of `sqlite_stat1` is the number of rows.
fn analyzed(conn: &Connection, rows: &mut BTreeMap<String, u64>) -> rusqlite::Result<()> {
    let there = "SELECT 1 FROM main.sqlite_schema WHERE name = 'sqlite_stat1'";
    if conn.query_row(there, [], |_| Ok(())).optional()?.is_none() {
        return Ok(());
    }
    // A partial index counts only its own rows, hence the largest.
    let sql = "SELECT tbl, max(CAST(stat AS INTEGER)) FROM main.sqlite_stat1 GROUP BY tbl";
    let mut query = conn.prepare(sql)?;
    for row in query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?)))? {
        let (name, count) = row?;
        rows.insert(name, count.unwrap_or(0).max(0) as u64);
    }
    Ok(())
}

/// Counts pages of every tree, and the cells in the leaves of those without row ids.
fn walk(conn: &Connection, tables: &[&str], estimates: &mut Estimates) -> rusqlite::Result<()> {
    let sql = "SELECT name, sum(pgsize), sum(CASE WHEN pagetype = 'leaf' THEN ncell ELSE 0 END) FROM dbstat('main') GROUP BY name";
    let mut query = conn.prepare(sql)?;
    let found = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))?;
    for row in found {
        let (name, bytes, cells): (String, i64, i64) = row?;
        if tables.contains(&name.as_str()) {
            estimates.rows.insert(name.clone(), cells.max(0) as u64);
        }
        estimates.bytes.insert(name, bytes.max(0) as u64);
    }
    Ok(())
}

/// Gives each table its part of the file by its rows.
fn share(size: u64, estimates: &mut Estimates) {
    let total: u128 = estimates.rows.values().map(|rows| u128::from(*rows)).sum();
    for (name, rows) in &estimates.rows {
        let part = u128::from(size) * u128::from(*rows) / total.max(1);
        estimates.bytes.insert(name.clone(), part as u64);
    }
}
