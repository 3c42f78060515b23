//! The condition that chooses a table's rows, judged for rows of the change table. There values have
//! lost the affinity and collation of their columns, which decide whether `a = '1'` holds; so
//! they are put into a table like the source's, in memory, and SQLite is asked as a copy asks it.
//! A condition sees the identity only: no more is known of an old row.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension};

use super::dialect::{quote, tokens};
use super::error::classify;
use super::parse;
use super::types::{Affinity, affinity};
use crate::change::{Followed, Identity};
use crate::engine::EngineError;

const JUDGE: &str = "judge the condition for rows of";

pub(super) struct Filter {
    memory: Connection,
    insert: String,
    judge: String,
}

/// A column as its comparisons see it.
struct Column {
    name: String,
    declared: String,
    collation: Option<String>,
    strict: bool,
}

impl Filter {
    /// The filter of a table, from its structure in the source; none where all rows are wanted.
    pub fn new(source: &Connection, followed: &Followed) -> Result<Option<Self>, EngineError> {
        let Some(condition) = &followed.projection.filter else { return Ok(None) };
        let fail = |error| classify(JUDGE, error).on(&followed.projection.source);
        let columns = columns(source, &followed.projection.source.name).map_err(fail)?;
        let wanted: Vec<_> = identity(followed)
            .iter()
            .filter_map(|name| columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)))
            .map(Column::definition)
            .collect();
        let encoding: String =
            source.query_row("PRAGMA main.encoding", [], |row| row.get(0)).map_err(fail)?;
        let memory = Connection::open_in_memory().map_err(fail)?;
        let create = format!(
            "PRAGMA encoding = '{encoding}'; CREATE TABLE {} ({})",
            quote(&followed.projection.source.name),
            wanted.join(", ")
        );
        memory.execute_batch(&create).map_err(fail)?;
        let table = quote(&followed.projection.source.name);
        let insert = format!("INSERT INTO {table} VALUES ({})", vec!["?"; wanted.len()].join(", "));
        let judge = format!("SELECT count(*) FROM {table} WHERE ({condition})");
        memory.prepare_cached(&judge).map_err(fail)?;
        Ok(Some(Self { memory, insert, judge }))
    }

    /// True where a row with these identity values is chosen.
    pub fn chooses(&self, identity: &[ValueRef<'_>]) -> Result<bool, EngineError> {
        self.ask(identity).map_err(|error| classify(JUDGE, error))
    }

    fn ask(&self, identity: &[ValueRef<'_>]) -> rusqlite::Result<bool> {
        let tx = self.memory.unchecked_transaction()?;
        let mut insert = tx.prepare_cached(&self.insert)?;
        for (value, number) in identity.iter().zip(1..) {
            insert.raw_bind_parameter(number, ToSqlOutput::Borrowed(*value))?;
        }
        insert.raw_execute()?;
        let chosen: i64 = tx.prepare_cached(&self.judge)?.query_row([], |row| row.get(0))?;
        drop(insert);
        // Dropped, it is rolled back: the next row finds the table empty.
        drop(tx);
        Ok(chosen > 0)
    }
}

/// Names of the columns that are known of an old row.
fn identity(followed: &Followed) -> Vec<String> {
    let columns = &followed.projection.columns;
    match &followed.identity {
        Identity::Columns(places) => places.iter().map(|&place| columns[place].source.clone()).collect(),
        Identity::Whole => columns.iter().map(|column| column.source.clone()).collect(),
    }
}

/// What a condition names that is not known of an old row, if anything.
pub(super) fn stranger(source: &Connection, followed: &Followed) -> Result<Option<String>, EngineError> {
    let Some(condition) = &followed.projection.filter else { return Ok(None) };
    let fail = |error| classify(JUDGE, error).on(&followed.projection.source);
    let columns = columns(source, &followed.projection.source.name).map_err(fail)?;
    let known = identity(followed);
    let is = |name: &str, other: &String| other.eq_ignore_ascii_case(name);
    let hidden =
        |name: &str| ["rowid", "_rowid_", "oid"].iter().any(|hidden| hidden.eq_ignore_ascii_case(name));
    let names = tokens(condition).unwrap_or_default();
    let mut names = names.iter().filter_map(|token| token.name());
    let strange = names.find(|name| {
        let column = columns.iter().any(|column| is(name, &column.name)) || hidden(name);
        column && !known.iter().any(|known| is(name, known))
    });
    Ok(strange.map(|name| name.into_owned()))
}

fn columns(source: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let sql = "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE";
    let text: Option<String> = source.query_row(sql, [table], |row| row.get(0)).optional()?;
    let text = text.and_then(|text| parse::table(&text).ok());
    let collation = |name: &str| {
        let columns = text.as_ref().map(|text| text.columns.as_slice()).unwrap_or_default();
        columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))?.collation.clone()
    };
    let sql =
        "SELECT x.name, x.type, l.strict FROM pragma_table_xinfo(?1, 'main') AS x, pragma_table_list(?1) AS l
               WHERE l.schema = 'main' ORDER BY x.cid";
    let mut query = source.prepare(sql)?;
    let columns = query.query_map([table], |row| {
        let name: String = row.get(0)?;
        let collation = collation(&name);
        Ok(Column { name, declared: row.get(1)?, collation, strict: row.get(2)? })
    })?;
    columns.collect()
}

impl Column {
    fn definition(&self) -> String {
        let any = self.declared.eq_ignore_ascii_case("ANY");
        let declared = match affinity(&self.declared) {
            Affinity::Blob if any && !self.strict => "NUM",
            Affinity::Blob => "BLOB",
            Affinity::Integer => "INT",
            Affinity::Text => "TEXT",
            Affinity::Real => "REAL",
            Affinity::Numeric => "NUM",
        };
        let collation = self.collation.as_ref().map(|name| format!(" COLLATE {}", quote(name)));
        format!("{} {declared}{}", quote(&self.name), collation.unwrap_or_default())
    }
}
