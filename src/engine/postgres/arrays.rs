//! Values of changes, bound to statements in place: one text per parameter, or one array of texts
//! per parameter in the binary form, where no byte needs an escape.
//!
//! ```text
//!   array = dimensions (4) + has nulls (4) + element type (4) + length (4) + first index (4) + elements
//!   element = length (4), -1 for null + bytes
//! ```

use bytes::{BufMut, BytesMut};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend::{self, BindError};

use super::encode::{Bad, Encoder};
use super::form::BoundForm;
use super::wire::Fault;
use crate::change::{Datum, Rows};

/// Object id of the type `text`.
const TEXT: u32 = 25;

/// Why values could not be bound. Nothing of the message is left in the buffer.
#[derive(Debug)]
pub enum Unbound {
    Bad(Bad),
    Fault(Fault),
}

/// One column of rows: the values at `at` in each row go into the projection's `column`.
#[derive(Clone, Copy)]
pub struct ColumnOf<'r, 'a> {
    pub rows: &'r Rows<'a>,
    pub at: usize,
    pub column: usize,
}

/// Binds a value per parameter. Each comes with the column of the projection that it is for.
pub fn bind_row<'a>(
    out: &mut BytesMut,
    statement: &str,
    encoder: &Encoder,
    scratch: &mut Vec<u8>,
    values: impl Iterator<Item = (usize, Datum<'a>)>,
) -> Result<(), Unbound> {
    bind(out, statement, 0, values, |(column, datum), out| put_value(encoder, scratch, column, datum, out))
}

/// As [`bind_row`], with the encoder of the table that each value's column is in.
pub fn bind_each<'e, 'a>(
    out: &mut BytesMut,
    statement: &str,
    scratch: &mut Vec<u8>,
    values: impl Iterator<Item = (&'e Encoder, usize, Datum<'a>)>,
) -> Result<(), Unbound> {
    bind(out, statement, 0, values, |(encoder, column, datum), out| {
        put_value(encoder, scratch, column, datum, out)
    })
}

/// Binds an array per parameter: the rows of `range` of each column.
pub fn bind_set<'r, 'a: 'r>(
    out: &mut BytesMut,
    statement: &str,
    encoder: &Encoder,
    scratch: &mut Vec<u8>,
    columns: impl Iterator<Item = ColumnOf<'r, 'a>>,
    range: std::ops::Range<usize>,
) -> Result<(), Unbound> {
    bind(out, statement, 1, columns, |column, out| {
        put_array(encoder, scratch, &column, range.clone(), out).map(|()| IsNull::No)
    })
}

fn bind<T>(
    out: &mut BytesMut,
    statement: &str,
    format: i16,
    values: impl Iterator<Item = T>,
    mut put: impl FnMut(T, &mut BytesMut) -> Result<IsNull, Bad>,
) -> Result<(), Unbound> {
    let start = out.len();
    let mut bad = None;
    let write = |value: T, out: &mut BytesMut| {
        put(value, out).map_err(|found| {
            bad = Some(found);
            "a value that does not fit".into()
        })
    };
    let result = frontend::bind("", statement, [format], values, write, [], out);
    let Err(error) = result else { return Ok(()) };
    out.truncate(start);
    Err(match (bad, error) {
        (Some(bad), _) => Unbound::Bad(bad),
        (None, BindError::Serialization(error)) => Unbound::Fault(Fault::Io(error)),
        (None, BindError::Conversion(error)) => Unbound::Fault(Fault::garbled(&error.to_string())),
    })
}

fn put_value(
    encoder: &Encoder,
    scratch: &mut Vec<u8>,
    column: usize,
    datum: Datum<'_>,
    out: &mut BytesMut,
) -> Result<IsNull, Bad> {
    match datum {
        Datum::Null => return Ok(IsNull::Yes),
        // Most values come in the text that they are bound as.
        Datum::Text(text) if encoder.is_native() => out.extend_from_slice(text),
        datum => {
            scratch.clear();
            encoder.datum::<BoundForm>(column, datum, scratch)?;
            out.extend_from_slice(scratch);
        }
    }
    Ok(IsNull::No)
}

fn put_array(
    encoder: &Encoder,
    scratch: &mut Vec<u8>,
    column: &ColumnOf<'_, '_>,
    range: std::ops::Range<usize>,
    out: &mut BytesMut,
) -> Result<(), Bad> {
    let too_many = |_| Bad { column: column.column, why: "there are too many rows in one set" };
    let count = i32::try_from(range.len()).map_err(too_many)?;
    out.put_i32(1);
    // Whether there are nulls, the server finds itself.
    out.put_i32(1);
    out.put_u32(TEXT);
    out.put_i32(count);
    out.put_i32(1);
    for row in range {
        let start = out.len();
        out.put_i32(-1);
        let datum = column.rows.row(row)[column.at];
        if let IsNull::No = put_value(encoder, scratch, column.column, datum, out)? {
            let too_long = |_| Bad { column: column.column, why: "the value is longer than 1 GB" };
            let length = i32::try_from(out.len() - start - 4).map_err(too_long)?;
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
    Ok(())
}
