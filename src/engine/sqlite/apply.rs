//! Applying changes one by one: a prepared statement for each shape of change, cells bound where
//! they lie. Each update and delete finds exactly one row and each insert is new, or it is an
//! error. A row whose unique value is still another's is set aside until the end of its source
//! transaction (`park.rs`).

use rusqlite::{CachedStatement, Connection, ErrorCode, Statement, ffi};

use super::error::classify;
use super::park::{Park, TWICE};
use super::road::{Known, Road};
use crate::change::{Cascade, Cells, Changes, Datum, Followed, Net, NetTable, Record, RowChange, RowKind};
use crate::engine::cascade::{self, Wording};
use crate::engine::{Applied, Cause, EngineError};

pub(super) const APPLY: &str = "apply changes to";

/// Statements kept prepared: a few for each of many tables.
const STATEMENTS: usize = 256;

/// What is done with the changes of the followed tables.
pub(super) struct Applier {
    tables: Vec<Lane>,
}

/// One table: how its changes are written, and its rows that wait.
struct Lane {
    road: Road,
    park: Park,
}

/// A change taken apart.
pub(super) struct Taken<'a> {
    pub kind: RowKind,
    pub old: Vec<Datum<'a>>,
    pub new: Vec<Datum<'a>>,
    /// Places of the columns that are written.
    pub set: Vec<usize>,
    /// Places of the columns that tell which row it is.
    pub by: Vec<usize>,
}

impl<'a> Taken<'a> {
    /// The cells that tell which row it is.
    pub fn which(&self) -> &[Datum<'a>] {
        if self.old.is_empty() { &self.new } else { &self.old }
    }
}

/// The statement of the change before, which the next one mostly needs again.
struct Hand<'c> {
    table: usize,
    known: usize,
    statement: CachedStatement<'c>,
}

impl Applier {
    /// Looks at the tables; one that is missing is `Cause::Stale`.
    pub fn new(conn: &Connection, tables: &[Followed]) -> Result<Self, EngineError> {
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        let lane = |(number, table): (usize, &Followed)| {
            let road = Road::new(conn, table)?;
            Ok(Lane { park: Park::new(number, &road), road })
        };
        Ok(Self { tables: tables.iter().enumerate().map(lane).collect::<Result<_, EngineError>>()? })
    }

    /// A transaction begins: what waited in one that was rolled back is gone.
    pub fn begin(&mut self) {
        self.tables.iter_mut().for_each(|lane| lane.park.forget());
    }

    /// Applies all records in their order; the transaction may end in a later run.
    pub fn rows(&mut self, conn: &Connection, changes: &Changes) -> Result<(), EngineError> {
        self.run(conn, changes, true)
    }

    /// Applies net changes in a savepoint, which is rolled back where they do not go.
    pub fn net(&mut self, conn: &Connection, changes: &Changes) -> Result<Applied, EngineError> {
        let batch = |sql: &str| conn.execute_batch(sql).map_err(|error| classify(APPLY, error));
        batch("SAVEPOINT towpath_net")?;
        match self.run(conn, changes, false) {
            Ok(()) => batch("RELEASE towpath_net").map(|()| Applied::Done),
            Err(error) if error.cause == Cause::Diverged => {
                batch("ROLLBACK TO towpath_net; RELEASE towpath_net").map(|()| Applied::Clashed)
            }
            Err(error) => Err(error),
        }
    }

    /// Brings the rows back that wait; at the end of a source transaction they must go in.
    pub fn settle(&mut self, conn: &Connection) -> Result<(), EngineError> {
        let waiting = self.tables.iter_mut().filter(|lane| lane.park.rows > 0);
        waiting.into_iter().try_for_each(|lane| lane.park.settle(conn, &lane.road))
    }

    fn run(&mut self, conn: &Connection, changes: &Changes, parking: bool) -> Result<(), EngineError> {
        let empty = || Taken { kind: RowKind::Insert, old: vec![], new: vec![], set: vec![], by: vec![] };
        let (mut taken, mut hand) = (empty(), None);
        for record in changes.records() {
            match record {
                Record::Row(row) => {
                    self.take(&row, &mut taken)?;
                    self.one(conn, row.table, &taken, &mut hand, parking)?;
                    crate::engine::crash::crash_point("apply::mid_tx");
                }
                Record::Truncate { tables, .. } => {
                    hand = None;
                    for table in tables.iter() {
                        self.lane(table)?.truncate(conn)?;
                    }
                }
                Record::Cascade(cascade) => {
                    hand = None;
                    self.cascade(conn, &cascade)?;
                }
                Record::Commit { .. } => self.settle(conn)?,
                Record::Begin { .. } | Record::Reached { .. } => {}
            }
        }
        Ok(())
    }

    /// What a foreign key of the source did without a word in its log (S-27). A row that waits may be
    /// among those that it concerns.
    fn cascade(&mut self, conn: &Connection, cascade: &Cascade<'_>) -> Result<(), EngineError> {
        let path = cascade.path();
        let widths: Vec<usize> = self.tables.iter().map(|lane| lane.road.projection.columns.len()).collect();
        let values = cascade::values(&path, *cascade, &widths)?;
        for hop in &path.hops {
            let Lane { road, park } = &mut self.tables[hop.table];
            if park.rows > 0 {
                park.settle(conn, road)?;
            }
        }
        let end = path.end().table;
        let sql = cascade::statement(&path, self, "UPDATE OR ABORT");
        let fail = |error| classify(APPLY, error).on(&self.tables[end].road.projection.target);
        let mut statement = conn.prepare_cached(&sql).map_err(fail)?;
        for ((table, place, datum), number) in values.into_iter().zip(1..) {
            let bound = self.tables[table].road.value(place, datum)?;
            statement.raw_bind_parameter(number, bound).map_err(fail)?;
        }
        statement.raw_execute().map(drop).map_err(fail)
    }

    fn lane(&mut self, table: usize) -> Result<&mut Lane, EngineError> {
        let unknown = || EngineError::new(Cause::Other, APPLY, "a change of a table that is not followed");
        self.tables.get_mut(table).ok_or_else(unknown)
    }

    /// Takes a change apart into vectors that are reused.
    fn take<'a>(&mut self, row: &RowChange<'a>, taken: &mut Taken<'a>) -> Result<(), EngineError> {
        let lane = self.lane(row.table)?;
        let fill = |cells: Cells<'a>, into: &mut Vec<Datum<'a>>| {
            into.clear();
            into.extend(cells);
        };
        taken.kind = row.kind;
        fill(row.old, &mut taken.old);
        fill(row.new, &mut taken.new);
        lane.road.choose(taken, lane.park.rows > 0)
    }

    fn one<'c>(
        &mut self,
        conn: &'c Connection,
        table: usize,
        taken: &Taken<'_>,
        hand: &mut Option<Hand<'c>>,
        parking: bool,
    ) -> Result<(), EngineError> {
        let lane = &mut self.tables[table];
        let known = lane.road.known(taken);
        let mut now = match hand.take() {
            Some(hand) if (hand.table, hand.known) == (table, known) => hand,
            _ => Hand { table, known, statement: lane.prepare(conn, known)? },
        };
        let done = lane.execute(&mut now.statement, taken)?;
        *hand = Some(now);
        match done {
            Done::Rows(1) if lane.park.rows == 0 || taken.kind == RowKind::Insert => Ok(()),
            Done::Rows(found) => lane.settle_count(conn, taken, found),
            Done::Clash(what) if parking => lane.park.take(conn, &lane.road, taken, &what),
            Done::Clash(what) => Err(lane.road.diverged(taken, &what)),
        }
    }
}

impl Wording for Applier {
    fn table(&self, table: usize) -> String {
        self.tables[table].road.table()
    }

    fn column(&self, table: usize, place: usize) -> String {
        self.tables[table].road.column(place)
    }

    /// Whatever a column's collation takes for equal, the bytes must be.
    fn equal(&self, _: usize, _: usize, left: &str, right: &str) -> String {
        format!("{left} = {right} COLLATE BINARY")
    }

    fn given(&self, _: usize, _: usize, number: usize) -> String {
        format!("?{}", number + 1)
    }
}

/// What came of one statement.
enum Done {
    Rows(usize),
    /// A unique value is another row's, in SQLite's words.
    Clash(String),
}

impl Lane {
    fn prepare<'c>(&self, conn: &'c Connection, known: usize) -> Result<CachedStatement<'c>, EngineError> {
        let Known { sql, .. } = self.road.statement(known);
        conn.prepare_cached(sql).map_err(|error| classify(APPLY, error).on(&self.road.projection.target))
    }

    fn execute(&self, statement: &mut Statement<'_>, taken: &Taken<'_>) -> Result<Done, EngineError> {
        self.road.bind(statement, taken)?;
        match statement.raw_execute() {
            Ok(rows) => Ok(Done::Rows(rows)),
            Err(error) => match clash(&error) {
                Some(what) => Ok(Done::Clash(what)),
                None => Err(classify(APPLY, error).on(&self.road.projection.target)),
            },
        }
    }

    /// The row must be in the table or among those that wait, once.
    fn settle_count(
        &mut self,
        conn: &Connection,
        taken: &Taken<'_>,
        found: usize,
    ) -> Result<(), EngineError> {
        let waiting = if self.park.rows > 0 { self.park.apply(conn, &self.road, taken)? } else { 0 };
        match (found, waiting) {
            (1, 0) | (0, 1) => Ok(()),
            (0, 0) => Err(self.road.diverged(taken, "no such row")),
            (1, 1) => Err(self.road.diverged(taken, TWICE)),
            (found, waiting) => {
                let message = format!("{} rows are alike", found + waiting);
                Err(self.road.diverged(taken, &message))
            }
        }
    }

    fn truncate(&mut self, conn: &Connection) -> Result<(), EngineError> {
        self.park.empty(conn)?;
        let sql = self.road.truncate();
        conn.execute(&sql, [])
            .map(drop)
            .map_err(|error| classify(APPLY, error).on(&self.road.projection.target))
    }
}

/// SQLite's words where a unique value, or the row id, is taken.
pub(super) fn clash(error: &rusqlite::Error) -> Option<String> {
    let code = error.sqlite_error()?;
    let unique =
        [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_CONSTRAINT_PRIMARYKEY, ffi::SQLITE_CONSTRAINT_ROWID];
    let taken = code.code == ErrorCode::ConstraintViolation && unique.contains(&code.extended_code);
    taken.then(|| error.to_string())
}

/// Net changes as records, in the order in which they are to be applied.
pub(super) fn records(net: &Net<'_>, tables: &[Followed]) -> Changes {
    let mut out = Changes::default();
    for table in &net.tables {
        let Followed { projection, identity, .. } = &tables[table.table];
        let width = projection.columns.len();
        let identity = super::road::places(identity, width);
        append(&mut out, table, &identity, width);
    }
    out
}

fn append(out: &mut Changes, table: &NetTable<'_>, identity: &[usize], width: usize) {
    let all: Vec<_> = (0..width).collect();
    let mut row = Sparse { table: table.table, cells: Vec::with_capacity(width), width };
    for index in 0..table.deletes.count {
        row.push(out, RowKind::Delete, [(identity, table.deletes.row(index)), (&[], &[])]);
    }
    for updates in &table.updates {
        for index in 0..updates.keys.count {
            let (key, set) = (updates.keys.row(index), updates.rows.row(index));
            row.push(out, RowKind::Update, [(identity, key), (&updates.columns, set)]);
        }
    }
    for index in 0..table.inserts.count {
        row.push(out, RowKind::Insert, [(&all, table.inserts.row(index)), (&[], &[])]);
    }
}

/// A row of which some cells are known.
struct Sparse<'a> {
    table: usize,
    cells: Vec<Datum<'a>>,
    width: usize,
}

impl<'a> Sparse<'a> {
    fn push(&mut self, out: &mut Changes, kind: RowKind, parts: [(&[usize], &[Datum<'a>]); 2]) {
        self.cells.clear();
        self.cells.resize(self.width, Datum::Absent);
        for (places, values) in parts {
            for (&place, &value) in places.iter().zip(values) {
                self.cells[place] = value;
            }
        }
        let (old, new) = if kind == RowKind::Delete { (self.width, 0) } else { (0, self.width) };
        out.begin_row(self.table, kind, old, new);
        self.cells.iter().for_each(|&cell| out.push(cell));
        out.end_row();
    }
}
