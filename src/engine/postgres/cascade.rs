//! What a foreign key of the source did without a word in its log, done here: one statement for all
//! rows at the end of a path.

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::apply_sql::Table;
use super::arrays::{Unbound, bind_each};
use crate::change::{Cascade, Path};
use crate::engine::EngineError;
use crate::engine::cascade::{self, Wording};

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
    let values = cascade::values(path, cascade, &widths)?;
    // Few sources need these, and each of their tables a few of them: not worth being kept.
    if let Err(error) = frontend::parse("", &cascade::statement(path, &Words(tables), "UPDATE"), [], out) {
        return Ok(Err(Unbound::Fault(error.into())));
    }
    let values = values.into_iter().map(|(table, place, datum)| (&tables[table].encoder, place, datum));
    Ok(bind_each(out, "", scratch, values))
}
