//! Changes applied one by one in their order, pipelined: each update and delete must find exactly
//! one row, each insert must be new. What differs is named by table and key, never by another
//! value. Statements are prepared once for each table, act and set of columns.

use super::apply::{Act, BEGIN, Follower};
use super::apply_sql::Table;
use super::arrays::{Unbound, bind_row};
use super::cascade;
use super::error;
use super::pipeline::{Failure, Pipeline};
use super::wire::{Fault, Wire};
use crate::catalog::Name;
use crate::catalog::name::show;
use crate::change::{Cascade, Datum, Record, Records, RowChange, RowKind, shown};
use crate::engine::crash::crash_point;
use crate::engine::{Cause, EngineError};

const DOING: &str = "apply changes";

/// What a statement was sent for.
#[derive(Clone, Copy)]
enum Sent<'a> {
    Begin,
    Row(RowChange<'a>),
    Truncate {
        first: usize,
    },
    /// Into this table.
    Cascade {
        table: usize,
    },
}

/// What came of it.
pub enum Refused {
    /// The transaction has failed.
    Error(EngineError),
    /// The connection is of no more use.
    Broken(EngineError),
}

impl From<EngineError> for Refused {
    fn from(error: EngineError) -> Self {
        Self::Error(error)
    }
}

fn broken(fault: Fault) -> Refused {
    Refused::Broken(fault.doing(DOING))
}

/// Applies rows and truncates; begins the transaction where that is still to be done.
pub async fn apply(
    wire: &mut Wire,
    follower: &mut Follower,
    begin: bool,
    records: Records<'_>,
) -> Result<(), Refused> {
    let mut pipeline = Pipeline::begin(wire);
    if begin {
        BEGIN.iter().try_for_each(|sql| pipeline.run(sql, Sent::Begin)).map_err(broken)?;
    }
    let sent = send(&mut pipeline, follower, records).await;
    if let Err(refused @ Refused::Broken(_)) = sent {
        return Err(refused);
    }
    crash_point("apply::mid_tx");
    let failure = pipeline.finish().await.map_err(broken)?;
    if sent.is_err() || failure.is_some() {
        follower.statements.doubt();
    }
    match failure {
        // It comes first in the order of the log.
        Some(failure) => Err(Refused::Error(explain(follower, failure))),
        None => sent,
    }
}

async fn send<'a>(
    pipeline: &mut Pipeline<'_, Sent<'a>>,
    follower: &mut Follower,
    records: Records<'a>,
) -> Result<(), Refused> {
    if follower.statements.take_doubt() {
        pipeline.run("DEALLOCATE ALL", Sent::Begin).map_err(broken)?;
    }
    let mut cells = Cells::default();
    for record in records {
        match record {
            Record::Row(change) => queue_row(pipeline, follower, change, &mut cells)?,
            Record::Truncate { tables, .. } => {
                // RESTART IDENTITY is not repeated: sequences are set at cutover, from where the
                // source's stand then.
                let tables: Vec<usize> = tables.iter().collect();
                queue_truncate(pipeline, follower, &tables)?;
            }
            Record::Cascade(cascade) => queue_cascade(pipeline, follower, cascade)?,
            Record::Begin { .. } | Record::Commit { .. } | Record::Reached { .. } => {}
        }
        pipeline.flow().await.map_err(broken)?;
        if pipeline.has_failed() {
            break;
        }
    }
    Ok(())
}

/// The cells of one change, and which columns its statement names. Reused from row to row.
#[derive(Default)]
struct Cells<'a> {
    old: Vec<Datum<'a>>,
    new: Vec<Datum<'a>>,
    set: Vec<usize>,
    known: Vec<usize>,
}

impl<'a> Cells<'a> {
    fn take(&mut self, table: &Table, change: &RowChange<'a>) {
        self.old.clear();
        self.old.extend(change.old);
        self.new.clear();
        self.new.extend(change.new);
        self.known.clear();
        if table.is_whole() {
            let known = self.old.iter().enumerate().filter(|(_, datum)| **datum != Datum::Absent);
            self.known.extend(known.map(|(column, _)| column));
        } else {
            self.known.extend_from_slice(table.identity());
        }
        self.set.clear();
        if change.kind == RowKind::Update {
            for column in 0..self.new.len() {
                if self.new[column] != Datum::Absent && !self.stays(table, column) {
                    self.set.push(column);
                }
            }
        }
    }

    /// A column whose value is what it was, where that matters: of the identity, or one that an
    /// UPDATE cannot set.
    fn stays(&self, table: &Table, column: usize) -> bool {
        let known = table.identity().contains(&column)
            || table.is_always(column) && !matches!(self.old.get(column), None | Some(Datum::Absent));
        known && self.before(column) == self.new[column]
    }

    /// The value by which the row is found: the log tells the old one where it changed.
    fn before(&self, column: usize) -> Datum<'a> {
        match self.old.get(column) {
            None | Some(Datum::Absent) => self.new.get(column).copied().unwrap_or(Datum::Absent),
            Some(datum) => *datum,
        }
    }
}

fn queue_row<'a>(
    pipeline: &mut Pipeline<'_, Sent<'a>>,
    follower: &mut Follower,
    change: RowChange<'a>,
    cells: &mut Cells<'a>,
) -> Result<(), Refused> {
    let unknown = || EngineError::new(Cause::Other, DOING, "a change of a table that is not followed");
    let table = follower.tables.get(change.table).ok_or_else(unknown)?;
    cells.take(table, &change);
    let Cells { old, new, set, known } = &*cells;
    let width = table.projection.columns.len();
    let has_row = |row: &[Datum<'_>]| row.len() == width;
    let whole = match change.kind {
        RowKind::Insert => has_row(new),
        RowKind::Update => has_row(new) && (old.is_empty() || has_row(old)),
        RowKind::Delete => has_row(old),
    };
    if !whole {
        let message = "a change has another number of columns than its table";
        return Err(EngineError::new(Cause::Other, DOING, message).on(&table.projection.target).into());
    }
    let (act, columns): (Act, [&[usize]; 2]) = match change.kind {
        RowKind::Insert => (Act::Insert, [&[], &[]]),
        RowKind::Update => (Act::Update, [set, known]),
        RowKind::Delete => (Act::Delete, [&[], known]),
    };
    let sql = || match (change.kind, table.is_whole()) {
        (RowKind::Insert, _) => table.insert_row(),
        (RowKind::Update, false) => table.update_row(set),
        (RowKind::Update, true) => table.update_whole(set, known),
        (RowKind::Delete, false) => table.delete_row(),
        (RowKind::Delete, true) => table.delete_whole(known),
    };
    if table.replaces(set) && !follower.replica {
        return Err(irreplaceable(table, &change).into());
    }
    let out = pipeline.wire.out();
    let name = follower.statements.name(out, change.table, act, columns, sql).map_err(broken)?;
    let encoder = &table.encoder;
    let scratch = &mut follower.scratch;
    let bound = match change.kind {
        RowKind::Insert => bind_row(out, name, encoder, scratch, new.iter().copied().enumerate()),
        _ => {
            let set = set.iter().map(|column| (*column, new[*column]));
            let values = set.chain(known.iter().map(|column| (*column, cells.before(*column))));
            bind_row(out, name, encoder, scratch, values)
        }
    };
    match bound {
        Ok(()) => pipeline.execute(Some(1), Sent::Row(change)).map_err(broken),
        Err(Unbound::Fault(fault)) => Err(broken(fault)),
        Err(Unbound::Bad(bad)) => {
            let column = table.projection.columns.get(bad.column).map_or("", |column| &column.target);
            let message = format!("column {} of {}: {}", show(column), the_row(table, &change), bad.why);
            let error = EngineError::new(Cause::Data, doing(change.kind), message);
            let hint = "map the column to another type in the plan, and copy the table again";
            Err(error.on(&table.projection.target).hint(hint).into())
        }
    }
}

/// Put in anew, the row would drag along whatever hangs on it by a foreign key.
fn irreplaceable(table: &Table, change: &RowChange<'_>) -> EngineError {
    let message = format!(
        "{} has another value in a column that is GENERATED ALWAYS, and this role may not set \
         session_replication_role, without which the row cannot be put in anew",
        the_row(table, change)
    );
    EngineError::new(Cause::Privilege, doing(change.kind), message)
        .on(&table.projection.target)
        .hint("GRANT SET ON PARAMETER session_replication_role TO the role (PostgreSQL 15 or newer), or make the column BY DEFAULT")
}

/// Exactly these tables are emptied, as the log says (S-21).
fn queue_truncate(
    pipeline: &mut Pipeline<'_, Sent<'_>>,
    follower: &Follower,
    tables: &[usize],
) -> Result<(), Refused> {
    let mut names = Vec::with_capacity(tables.len());
    for &table in tables {
        names.push(follower.table(table)?.only());
    }
    let Some(&first) = tables.first() else { return Ok(()) };
    pipeline.run(&format!("TRUNCATE {}", names.join(", ")), Sent::Truncate { first }).map_err(broken)
}

/// As many rows as there are (S-27).
fn queue_cascade<'a>(
    pipeline: &mut Pipeline<'_, Sent<'a>>,
    follower: &mut Follower,
    cascade: Cascade<'a>,
) -> Result<(), Refused> {
    let path = cascade.path();
    let table = path.end().table;
    match cascade::bind(pipeline.wire.out(), &follower.tables, &mut follower.scratch, &path, cascade)? {
        Ok(()) => pipeline.execute(None, Sent::Cascade { table }).map_err(broken),
        Err(Unbound::Fault(fault)) => Err(broken(fault)),
        Err(Unbound::Bad(bad)) => {
            let error =
                EngineError::new(Cause::Data, DOING, format!("a key that is referred to: {}", bad.why));
            Err(error.on(&follower.table(table)?.projection.target).into())
        }
    }
}

fn doing(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Insert => "apply an insert to",
        RowKind::Update => "apply an update to",
        RowKind::Delete => "apply a delete to",
    }
}

fn explain(follower: &Follower, failure: Failure<Sent<'_>>) -> EngineError {
    let (what, found) = match failure {
        Failure::Server(error, Sent::Row(change)) => return refused_row(follower, &error, &change),
        Failure::Server(error, Sent::Begin) => return error::engine_error("begin a transaction", &error),
        Failure::Server(error, Sent::Truncate { first: table } | Sent::Cascade { table }) => {
            let made = error::engine_error(DOING, &error);
            return match (&made.object, follower.table(table)) {
                (None, Ok(table)) => made.on(&table.projection.target),
                _ => made,
            };
        }
        Failure::Rows { found, of } => (of, found),
    };
    let Sent::Row(change) = what else {
        return EngineError::new(Cause::Other, DOING, "the server counted rows where there are none");
    };
    let Some(table) = follower.tables.get(change.table) else {
        return EngineError::new(Cause::Other, DOING, "a change of a table that is not followed");
    };
    let row = the_row(table, &change);
    let message = match (change.kind, found) {
        (RowKind::Insert, 0) => format!("{row} did not go in: a trigger or rule of the target drops it"),
        (_, 0) => format!("{row} is not there"),
        (_, found) => format!("{row} is there {found} times"),
    };
    diverged(follower, change.kind, message, &table.projection.target)
}

/// The server refused a row. Where another row stands in its way, the target differs.
fn refused_row(follower: &Follower, error: &error::ServerError, change: &RowChange<'_>) -> EngineError {
    let kind = change.kind;
    let made = error::engine_error(doing(kind), error);
    let Some(table) = follower.tables.get(change.table) else { return made };
    let target = &table.projection.target;
    let row = the_row(table, change);
    let constraint = error.constraint.as_deref().map(show).unwrap_or_default();
    let message = match error.code.as_str() {
        "23505" | "23P01" => format!("{row} meets one that is there already ({constraint})"),
        "23503" => format!("{row} breaks the foreign key {constraint}"),
        _ => {
            let message = format!("{row}: {}", made.message);
            return EngineError { message, ..made }.on(target);
        }
    };
    diverged(follower, kind, message, target).code(error.code.clone())
}

fn diverged(follower: &Follower, kind: RowKind, message: String, table: &Name) -> EngineError {
    let error = EngineError::new(Cause::Diverged, doing(kind), message).on(table);
    match follower.replica {
        true => error,
        false => error.hint(
            "triggers and foreign keys of the target act on replayed rows, because this role may not set \
             session_replication_role: grant it (GRANT SET ON PARAMETER), or see with `towpath verify --repair` what they did",
        ),
    }
}

/// `the row with the key (5)`: by the values of the identity and no others.
fn the_row(table: &Table, change: &RowChange<'_>) -> String {
    if table.is_whole() {
        return "the row (its table has no key)".to_string();
    }
    let mut cells = Cells::default();
    cells.take(table, change);
    let insert = change.kind == RowKind::Insert;
    let value = |column: &usize| match insert {
        true => cells.new.get(*column).copied().unwrap_or(Datum::Absent),
        false => cells.before(*column),
    };
    let values: Vec<String> = table.identity().iter().map(|column| shown(value(column))).collect();
    format!("the row with the key ({})", values.join(", "))
}
