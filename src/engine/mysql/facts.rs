//! What a read must know of one table beyond the plan: the character sets of its columns, and the
//! key by which its rows lie and may be cut. One lookup per table; never the rows.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::error::from_driver;
use super::quote;
use crate::catalog::Name;
use crate::engine::{Cause, EngineError};

const READ: &str = "read";

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub columns: Vec<Column>,
    /// The key that the rows are stored by; none where the table is not to be cut.
    pub key: Option<Key>,
    /// Its rows are InnoDB's, of whose snapshots most is known.
    pub innodb: bool,
    /// Estimates of the server.
    pub rows: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    /// `varchar`, in lower case.
    pub data_type: String,
    /// None: no text.
    pub charset: Option<String>,
    pub collation: Option<String>,
}

/// A primary key, or a unique index without nulls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub index: String,
    pub columns: Vec<String>,
}

/// Storage engines whose rows a consistent snapshot holds still.
const TRANSACTIONAL: [&str; 3] = ["innodb", "rocksdb", "tokudb"];

type TableRow = (String, Option<String>, Option<u64>, Option<u64>);
type ColumnRow = (String, String, Option<String>, Option<String>);
/// Index, not unique, column, length of a prefix, may be null.
type IndexRow = (String, u8, Option<String>, Option<u64>, Option<String>);

impl Facts {
    pub async fn read(conn: &mut Conn, table: &Name) -> Result<Self, EngineError> {
        let fail = |error| from_driver(READ, error).on(table);
        let here = format!(
            "TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            quote::literal(&table.schema),
            quote::literal(&table.name)
        );
        let sql = format!(
            "SELECT TABLE_TYPE, ENGINE, TABLE_ROWS, DATA_LENGTH FROM information_schema.TABLES WHERE {here}"
        );
        let found: Option<TableRow> = conn.query_first(sql).await.map_err(fail)?;
        let Some((_, engine, rows, bytes)) = found else { return Err(gone(table)) };
        let sql = format!(
            "SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLUMNS \
             WHERE {here} ORDER BY ORDINAL_POSITION"
        );
        let columns: Vec<ColumnRow> = conn.query(sql).await.map_err(fail)?;
        let column = |(name, data_type, charset, collation): ColumnRow| Column {
            name,
            data_type: data_type.to_ascii_lowercase(),
            charset,
            collation,
        };
        let sql = format!(
            "SELECT INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART, NULLABLE FROM information_schema.STATISTICS \
             WHERE {here} ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX"
        );
        let parts: Vec<IndexRow> = conn.query(sql).await.map_err(fail)?;
        Ok(Self {
            columns: columns.into_iter().map(column).collect(),
            key: key(&parts).filter(|_| keeps_still(engine.as_deref())),
            innodb: engine.is_some_and(|engine| engine.eq_ignore_ascii_case("InnoDB")),
            rows: rows.unwrap_or(0),
            bytes: bytes.unwrap_or(0),
        })
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        // Names of columns are the same in any case.
        let same =
            |column: &&Column| column.name == name || column.name.to_lowercase() == name.to_lowercase();
        self.columns.iter().find(same)
    }
}

fn gone(table: &Name) -> EngineError {
    EngineError::new(Cause::Stale, READ, "the table is not there")
        .on(table)
        .hint("it was dropped or renamed since the plan was made: plan again")
}

/// A snapshot shows tables of other storage engines as they are at each moment: such a table is read
/// by one statement, during which it keeps still by itself.
pub(super) fn keeps_still(engine: Option<&str>) -> bool {
    let engine = engine.unwrap_or_default().to_ascii_lowercase();
    TRANSACTIONAL.contains(&engine.as_str())
}

/// The primary key, else the first unique index by name that holds whole columns without nulls.
fn key(parts: &[IndexRow]) -> Option<Key> {
    parts.chunk_by(|a, b| a.0 == b.0).find_map(|parts| {
        let whole = |(_, not_unique, column, prefix, nullable): &IndexRow| {
            *not_unique == 0 && column.is_some() && prefix.is_none() && nullable.as_deref() != Some("YES")
        };
        parts.iter().all(whole).then(|| Key {
            index: parts[0].0.clone(),
            columns: parts.iter().filter_map(|part| part.2.clone()).collect(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(
        index: &str,
        not_unique: u8,
        column: Option<&str>,
        prefix: Option<u64>,
        nullable: &str,
    ) -> IndexRow {
        (index.into(), not_unique, column.map(str::to_string), prefix, Some(nullable.into()))
    }

    #[test]
    fn s_34_only_whole_columns_without_nulls_tell_rows_apart() {
        let parts = [
            part("a", 1, Some("x"), None, ""),
            part("b", 0, Some("y"), None, "YES"),
            part("c", 0, Some("z"), Some(10), ""),
            part("d", 0, None, None, ""),
            part("e", 0, Some("v"), None, ""),
            part("e", 0, Some("w"), None, ""),
        ];
        let found = Key { index: "e".into(), columns: vec!["v".into(), "w".into()] };
        assert_eq!(key(&parts), Some(found));
        assert_eq!(key(&parts[..4]), None);
    }

    #[test]
    fn g04_a_table_that_no_snapshot_holds_is_not_cut() {
        assert!(keeps_still(Some("InnoDB")) && keeps_still(Some("ROCKSDB")));
        assert!(!keeps_still(Some("MyISAM")) && !keeps_still(None));
    }
}
