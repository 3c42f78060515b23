//! What a foreign key of the source did without a word in its log, done here: one statement for all
//! rows at the end of a path.

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::apply_sql::Table;
use super::arrays::{Unbound, bind_each};
use crate::change::{Cascade, Path, Wording};
use crate::engine::{Cause, EngineError};

struct Words<'t>(&'t [Table]);

impl Wording for Words<'_> {
    fn table(&self, table: usize) -> String {
        self.0[table].only().to_string()
    }

    fn column(&self, table: usize, place: usize) -> String {
        self.0[table].column_name(place).to_string()
    }

    fn equal(&self, table: usize, place: usize, left: &str, right: &str) -> String {
        format!("{left} {} {right}", self.0[table].equals(place))
    }

    fn given(&self, table: usize, place: usize, number: usize) -> String {
        self.0[table].given(place, number)
    }
}

/// Prepares the statement of a cascade and binds its values.
pub fn bind(
    out: &mut BytesMut,
    tables: &[Table],
    scratch: &mut Vec<u8>,
    path: &Path,
    cascade: Cascade<'_>,
) -> Result<Result<(), Unbound>, EngineError> {
    let widths: Vec<usize> = tables.iter().map(|table| table.projection.columns.len()).collect();
    if !path.fits(&widths) {
        let message = "a cascade through a table that is not followed";
        return Err(EngineError::new(Cause::Other, "apply changes", message));
    }
    let end = path.end().table;
    // Few sources need these, and each of their tables a few of them: not worth being kept.
    if let Err(error) = frontend::parse("", &sql(path, &Words(tables)), [], out) {
        return Ok(Err(Unbound::Fault(error.into())));
    }
    let first = &path.hops[0];
    let set = path.set.iter().map(|place| (end, *place)).zip(cascade.set);
    let key = first.columns.iter().map(|place| (first.table, *place)).zip(cascade.key);
    let values = set.chain(key).map(|((table, place), datum)| (&tables[table].encoder, place, datum));
    Ok(bind_each(out, "", scratch, values))
}

fn sql(path: &Path, words: &Words<'_>) -> String {
    let (table, condition) = (words.table(path.end().table), path.condition(words));
    match path.set.is_empty() {
        true => format!("DELETE FROM {table} AS t0 WHERE {condition}"),
        false => format!("UPDATE {table} AS t0 SET {} WHERE {condition}", path.assignments(words)),
    }
}
