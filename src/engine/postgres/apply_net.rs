//! Net changes applied set by set: one statement takes thousands of rows in arrays, one COPY takes
//! the inserts. All of it goes out without waiting for an answer. What does not go as a set (a
//! unique value that moves from row to row, a row that differs) is no error here: nothing of it
//! is kept, and the caller applies the same changes in their order.

use std::ops::Range;

use postgres_protocol::message::frontend;

use super::apply::{Act, BEGIN, Follower};
use super::arrays::{ColumnOf, Unbound, bind_set};
use super::error;
use super::form::TextForm;
use super::pipeline::{Failure, Pipeline, SEND_BYTES};
use super::wire::{Fault, Wire};
use crate::change::{Datum, Net, NetTable, NetUpdates, Rows};
use crate::engine::crash::crash_point;
use crate::engine::{Applied, Cause, EngineError};

const DOING: &str = "apply changes";

/// Rows of one statement. More than this gains nothing that could be measured.
const SET_ROWS_MAX: usize = 10_000;
/// Bytes of values of one statement, as near as whole rows allow; what is sent is held once here
/// and once at the server.
const SET_BYTES_MAX: usize = 4 << 20;
/// Inserts that are worth a COPY.
const COPY_ROWS_MIN: usize = 64;

/// How the transaction gets rid of a set that clashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// The transaction begins with this set: it is begun again.
    Begin,
    /// A savepoint before the set; `again` where an older one of that name is to be given up.
    Savepoint { again: bool },
}

/// Why a set could not be sent.
enum Stop {
    /// The server refused something; it is in the pipeline's failure.
    Failed,
    /// A value that the column cannot take: the row is found when they are applied one by one.
    Bad,
    Error(EngineError),
    Broken(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Broken(fault)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(Fault::Io(error))
    }
}

impl From<Unbound> for Stop {
    fn from(unbound: Unbound) -> Self {
        match unbound {
            Unbound::Bad(_) => Self::Bad,
            Unbound::Fault(fault) => Self::Broken(fault),
        }
    }
}

/// Applies the sets; [`Applied::Clashed`] leaves the undoing to the caller, who knows the
/// transaction. A fault means that the connection is of no more use.
pub async fn apply(
    wire: &mut Wire,
    follower: &mut Follower,
    undo: Undo,
    net: &Net<'_>,
) -> Result<Result<Applied, EngineError>, Fault> {
    let mut pipeline = Pipeline::begin(wire);
    let sent = send(&mut pipeline, follower, undo, net).await;
    if let Err(Stop::Broken(fault)) = sent {
        return Err(fault);
    }
    crash_point("apply::mid_tx");
    let failure = pipeline.finish().await?;
    if sent.is_err() || failure.is_some() {
        follower.statements.doubt();
    }
    Ok(match (failure, sent) {
        (Some(Failure::Server(error, ())), _) if !is_of_rows(&error.code) => {
            Err(error::engine_error(DOING, &error))
        }
        (_, Err(Stop::Error(error))) => Err(error),
        (None, Ok(())) => Ok(Applied::Done),
        _ => Ok(Applied::Clashed),
    })
}

/// Errors that the rows are to blame for: values that do not fit, constraints.
fn is_of_rows(code: &str) -> bool {
    code.starts_with("22") || code.starts_with("23")
}

type Pipe<'w> = Pipeline<'w, ()>;

async fn send(
    pipeline: &mut Pipe<'_>,
    follower: &mut Follower,
    undo: Undo,
    net: &Net<'_>,
) -> Result<(), Stop> {
    let first: &[&str] = match undo {
        Undo::Begin => &BEGIN,
        Undo::Savepoint { again: false } => &["SAVEPOINT net"],
        Undo::Savepoint { again: true } => &["RELEASE SAVEPOINT net", "SAVEPOINT net"],
    };
    for sql in first {
        pipeline.run(sql, ())?;
    }
    if follower.statements.take_doubt() {
        pipeline.run("DEALLOCATE ALL", ())?;
    }
    // Where foreign keys act, children go before their parents and come after them.
    for table in net.tables.iter().rev() {
        deletes(pipeline, follower, table).await?;
    }
    for table in &net.tables {
        for updates in &table.updates {
            update(pipeline, follower, table.table, updates).await?;
        }
        match table.inserts.count >= COPY_ROWS_MIN
            && follower.tables.get(table.table).is_some_and(|t| t.copies())
        {
            true => copy(pipeline, follower, table).await?,
            false => inserts(pipeline, follower, table).await?,
        }
    }
    Ok(())
}

async fn deletes(pipeline: &mut Pipe<'_>, follower: &mut Follower, net: &NetTable<'_>) -> Result<(), Stop> {
    let rows = &net.deletes;
    for range in pieces(&[rows]) {
        let table = follower.tables.get(net.table).ok_or_else(unknown)?;
        let identity = table.identity();
        check(rows, identity.len())?;
        let out = pipeline.wire.out();
        let sql = || table.delete_set();
        let name = follower.statements.name(out, net.table, Act::DeleteSet, [&[], &[]], sql)?;
        let columns = identity.iter().enumerate().map(|(at, column)| ColumnOf { rows, at, column: *column });
        bind_set(out, name, &table.encoder, &mut follower.scratch, columns, range.clone())?;
        execute(pipeline, &range).await?;
    }
    Ok(())
}

async fn update(
    pipeline: &mut Pipe<'_>,
    follower: &mut Follower,
    index: usize,
    net: &NetUpdates<'_>,
) -> Result<(), Stop> {
    let (set, rows, keys) = (net.columns.as_slice(), &net.rows, &net.keys);
    for range in pieces(&[rows, keys]) {
        let table = follower.tables.get(index).ok_or_else(unknown)?;
        let identity = table.identity();
        check(keys, identity.len())?;
        if rows.width != set.len() || rows.count != keys.count {
            check(rows, 0)?;
        }
        if table.replaces(set) && !follower.replica {
            return Err(Stop::Bad);
        }
        let out = pipeline.wire.out();
        let sql = || table.update_set(set);
        let name = follower.statements.name(out, index, Act::UpdateSet, [set, &[]], sql)?;
        let values = set.iter().enumerate().map(|(at, column)| ColumnOf { rows, at, column: *column });
        let key =
            identity.iter().enumerate().map(|(at, column)| ColumnOf { rows: keys, at, column: *column });
        bind_set(out, name, &table.encoder, &mut follower.scratch, values.chain(key), range.clone())?;
        execute(pipeline, &range).await?;
    }
    Ok(())
}

async fn inserts(pipeline: &mut Pipe<'_>, follower: &mut Follower, net: &NetTable<'_>) -> Result<(), Stop> {
    let rows = &net.inserts;
    for range in pieces(&[rows]) {
        let table = follower.tables.get(net.table).ok_or_else(unknown)?;
        let width = table.projection.columns.len();
        check(rows, width)?;
        let out = pipeline.wire.out();
        let sql = || table.insert_set();
        let name = follower.statements.name(out, net.table, Act::InsertSet, [&[], &[]], sql)?;
        let columns = (0..width).map(|at| ColumnOf { rows, at, column: at });
        bind_set(out, name, &table.encoder, &mut follower.scratch, columns, range.clone())?;
        execute(pipeline, &range).await?;
    }
    Ok(())
}

async fn execute(pipeline: &mut Pipe<'_>, range: &Range<usize>) -> Result<(), Stop> {
    pipeline.execute(Some(range.len() as u64), ())?;
    flow(pipeline).await
}

async fn flow(pipeline: &mut Pipe<'_>) -> Result<(), Stop> {
    pipeline.flow().await?;
    if pipeline.has_failed() { Err(Stop::Failed) } else { Ok(()) }
}

/// All inserts of a table in one COPY, whatever their number.
async fn copy(pipeline: &mut Pipe<'_>, follower: &mut Follower, net: &NetTable<'_>) -> Result<(), Stop> {
    let table = follower.tables.get(net.table).ok_or_else(unknown)?;
    check(&net.inserts, table.projection.columns.len())?;
    let out = pipeline.wire.out();
    let sql = || table.copy_in();
    let name = follower.statements.name(out, net.table, Act::CopyIn, [&[], &[]], sql)?;
    bind_set(out, name, &table.encoder, &mut Vec::new(), std::iter::empty(), 0..0)?;
    pipeline.execute(Some(net.inserts.count as u64), ())?;
    let sent = copy_rows(pipeline, follower, net).await;
    match &sent {
        Ok(()) => frontend::copy_done(pipeline.wire.out()),
        // The server would wait for the rest.
        Err(Stop::Broken(_)) => {}
        Err(_) => frontend::copy_fail("the set is given up", pipeline.wire.out())?,
    }
    sent
}

async fn copy_rows(pipeline: &mut Pipe<'_>, follower: &mut Follower, net: &NetTable<'_>) -> Result<(), Stop> {
    let table = follower.tables.get(net.table).ok_or_else(unknown)?;
    let frame = &mut follower.scratch;
    let mut row = 0;
    while row < net.inserts.count {
        frame.clear();
        while row < net.inserts.count && frame.len() < SEND_BYTES {
            for (column, datum) in net.inserts.row(row).iter().enumerate() {
                if column > 0 {
                    frame.push(b'\t');
                }
                match datum {
                    Datum::Null => frame.extend_from_slice(b"\\N"),
                    datum => table.encoder.datum::<TextForm>(column, *datum, frame).map_err(|_| Stop::Bad)?,
                }
            }
            frame.push(b'\n');
            row += 1;
        }
        let too_long = |_| EngineError::new(Cause::Data, DOING, "a row is longer than 1 GB in text form");
        let length = i32::try_from(frame.len() + 4).map_err(too_long);
        let length = length.map_err(|error| Stop::Error(error.on(&table.projection.target)))?;
        let out = pipeline.wire.out();
        out.extend_from_slice(b"d");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(frame);
        flow(pipeline).await?;
    }
    Ok(())
}

fn unknown() -> Stop {
    Stop::Error(EngineError::new(Cause::Other, DOING, "a change of a table that is not followed"))
}

/// Arrays hold rows only where there is a column at least.
fn check(rows: &Rows<'_>, width: usize) -> Result<(), Stop> {
    let error = || EngineError::new(Cause::Other, DOING, "rows of another width than their table's");
    if rows.width == width && width > 0 { Ok(()) } else { Err(Stop::Error(error())) }
}

/// Cuts rows into what one statement takes.
fn pieces<'r>(rows: &'r [&'r Rows<'r>]) -> impl Iterator<Item = Range<usize>> + 'r {
    let count = rows.iter().map(|rows| rows.count).max().unwrap_or(0);
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from;
        let mut bytes = 0;
        while from < count && from - start < SET_ROWS_MAX && (from == start || bytes < SET_BYTES_MAX) {
            bytes += rows.iter().map(|rows| row_bytes(rows, from)).sum::<usize>();
            from += 1;
        }
        (from > start).then_some(start..from)
    })
}

fn row_bytes(rows: &Rows<'_>, at: usize) -> usize {
    let bytes = |datum: &Datum<'_>| match datum {
        Datum::Text(bytes) | Datum::Bytes(bytes) => bytes.len() + 4,
        _ => 12,
    };
    rows.row(at).iter().map(bytes).sum()
}
