//! The road of one table's changes: which columns a change writes, which tell the row, and the
//! statements that do it. Generated columns are on no road. Reads the table's structure once and
//! writes nothing itself.

use rusqlite::{Connection, Statement};

use super::apply::{APPLY, Taken};
use super::dialect::quote;
use super::error::{classify, data};
use super::exact;
use super::read::{Shape, shape};
use super::types::{Affinity, affinity};
use super::value::{Bound, Rule, convert};
use crate::catalog::{Form, Projection};
use crate::change::{Datum, Followed, Identity, RowKind};
use crate::engine::{Cause, EngineError};

/// Statements that are remembered of a table; more shapes than these are made again.
const KNOWN_MAX: usize = 64;

/// Longest part of a key that an error shows, in characters.
const SHOWN_MAX: usize = 100;

pub(super) struct Road {
    pub projection: Projection,
    pub shape: Shape,
    identity: Vec<usize>,
    /// Nothing but the whole row tells it from others, and others may be equal.
    whole: bool,
    rules: Vec<Rule>,
    known: Vec<Known>,
    /// Number of the first of `known`; numbers are never used twice.
    first: usize,
}

/// A statement that was made before.
pub(super) struct Known {
    kind: RowKind,
    set: Vec<usize>,
    by: Vec<usize>,
    pub sql: String,
}

/// Places of the columns that tell a row from others.
pub(super) fn places(identity: &Identity, width: usize) -> Vec<usize> {
    match identity {
        Identity::Columns(places) => places.clone(),
        Identity::Whole => (0..width).collect(),
    }
}

impl Road {
    pub fn new(conn: &Connection, table: &Followed) -> Result<Self, EngineError> {
        let Followed { projection, identity, .. } = table;
        let shape = shape(conn, &projection.target.name)?;
        let lacks = |name: &str| !shape.stored.iter().any(|stored| stored.eq_ignore_ascii_case(name));
        if let Some(column) = projection.columns.iter().find(|column| lacks(&column.target)) {
            let message = format!("column {} is no longer there", quote(&column.target));
            return Err(EngineError::new(Cause::Stale, APPLY, message).on(&projection.target));
        }
        let places = places(identity, projection.columns.len());
        if places.is_empty() {
            let message = "a table without columns has no rows that could be told apart";
            return Err(EngineError::new(Cause::Other, APPLY, message).on(&projection.target));
        }
        Ok(Self {
            projection: projection.clone(),
            shape,
            identity: places,
            whole: *identity == Identity::Whole,
            rules: projection.columns.iter().map(|column| Rule::new(projection.form, column)).collect(),
            known: Vec::new(),
            first: 0,
        })
    }

    /// Chooses what is written and what tells the row. `wide`: by all that the log tells of the
    /// old row, because rows of the same key may wait.
    pub fn choose(&self, taken: &mut Taken<'_>, wide: bool) -> Result<(), EngineError> {
        let Taken { kind, old, new, set, by } = taken;
        let width = self.projection.columns.len();
        set.clear();
        by.clear();
        if [&*old, &*new].into_iter().any(|cells| !cells.is_empty() && cells.len() != width) {
            return Err(self.refuse("a change has another number of columns than the plan"));
        }
        match kind {
            RowKind::Insert => set.extend(0..new.len()),
            RowKind::Update => set.extend((0..new.len()).filter(|&place| self.changes(place, old, new))),
            RowKind::Delete => {}
        }
        if *kind != RowKind::Insert {
            match wide && !old.is_empty() {
                true => by.extend((0..width).filter(|&place| old[place] != Datum::Absent)),
                false => by.extend(&self.identity),
            }
        }
        self.check(taken)
    }

    fn check(&self, taken: &Taken<'_>) -> Result<(), EngineError> {
        let absent = |cell: Option<&Datum<'_>>| cell.is_none_or(|cell| *cell == Datum::Absent);
        let lacks = match taken.kind {
            RowKind::Insert => (0..self.rules.len()).any(|place| absent(taken.new.get(place))),
            RowKind::Update if taken.new.is_empty() => true,
            _ => self.identity.iter().any(|&place| absent(taken.which().get(place))),
        };
        if lacks {
            return Err(self.refuse("the log does not tell all that is needed of a row"));
        }
        Ok(())
    }

    /// True where an update has something to write. What the log does not bring stays as it is.
    fn changes(&self, place: usize, old: &[Datum<'_>], new: &[Datum<'_>]) -> bool {
        match (old.get(place), new[place]) {
            (_, Datum::Absent) => false,
            (Some(old), new) => !same(*old, new),
            (None, _) => !self.identity.contains(&place),
        }
    }

    /// The statement of a change of this shape, made where it is new.
    pub fn known(&mut self, taken: &Taken<'_>) -> usize {
        let like = |known: &Known| known.kind == taken.kind && known.set == taken.set && known.by == taken.by;
        if let Some(index) = self.known.iter().position(like) {
            return self.first + index;
        }
        if self.known.len() >= KNOWN_MAX {
            self.first += self.known.len();
            self.known.clear();
        }
        let sql = self.sql(&self.table(), taken);
        let (kind, set, by) = (taken.kind, taken.set.clone(), taken.by.clone());
        self.known.push(Known { kind, set, by, sql });
        self.first + self.known.len() - 1
    }

    pub fn statement(&self, known: usize) -> &Known {
        &self.known[known - self.first]
    }

    /// The statement for `table`, which is this one or one of the same columns. Parameters: what is
    /// set, then what tells the row.
    pub fn sql(&self, table: &str, taken: &Taken<'_>) -> String {
        match taken.kind {
            RowKind::Insert => {
                let values: Vec<_> = (1..=taken.set.len()).map(|number| format!("?{number}")).collect();
                // A conflict clause of the table must not replace or skip rows.
                format!("INSERT OR ABORT INTO {table} ({}) VALUES ({})", self.targets(), values.join(", "))
            }
            RowKind::Update => {
                let set = taken.set.iter().zip(1..);
                let mut set: Vec<_> =
                    set.map(|(&place, number)| format!("{} = ?{number}", self.column(place))).collect();
                if set.is_empty() {
                    // The row must be there all the same.
                    let column = self.column(self.identity[0]);
                    set.push(format!("{column} = {column}"));
                }
                let set = set.join(", ");
                format!("UPDATE OR ABORT {table} SET {set} WHERE {}", self.condition(table, taken))
            }
            RowKind::Delete => format!("DELETE FROM {table} WHERE {}", self.condition(table, taken)),
        }
    }

    pub fn truncate(&self) -> String {
        format!("DELETE FROM {}", self.table())
    }

    pub fn table(&self) -> String {
        format!("main.{}", quote(&self.projection.target.name))
    }

    /// The columns that a row of the log brings.
    pub fn targets(&self) -> String {
        (0..self.rules.len()).map(|place| self.column(place)).collect::<Vec<_>>().join(", ")
    }

    pub fn column(&self, place: usize) -> String {
        quote(&self.projection.columns[place].target)
    }

    /// Which row. Of equal rows, any one.
    pub fn condition(&self, table: &str, taken: &Taken<'_>) -> String {
        let exact = self.whole || taken.by.len() > self.identity.len();
        let numbers = taken.set.len() + 1..;
        let terms = taken.by.iter().zip(numbers).map(|(&place, number)| self.term(place, number, exact));
        let terms = terms.collect::<Vec<_>>().join(" AND ");
        match self.shape.rowid.as_deref().filter(|_| self.whole) {
            Some(rowid) => format!("{rowid} = (SELECT {rowid} FROM {table} WHERE {terms} LIMIT 1)"),
            None => terms,
        }
    }

    /// One column's part in telling the row. Whatever the column's collation takes for equal, the
    /// bytes must be; in a column that keeps every class, the class must be.
    fn term(&self, place: usize, number: usize, exact: bool) -> String {
        let name = self.column(place);
        let to = affinity(&self.projection.columns[place].target_native);
        match (exact, to) {
            (true, Affinity::Blob) => {
                format!("{name} IS ?{number} COLLATE BINARY AND typeof({name}) = typeof(?{number})")
            }
            (true, _) => format!("{name} IS ?{number} COLLATE BINARY"),
            (false, Affinity::Integer | Affinity::Real) => format!("{name} = ?{number}"),
            (false, _) => format!("{name} = ?{number} AND {name} = ?{number} COLLATE BINARY"),
        }
    }

    /// Whether the row that would be inserted has a key that is in the table.
    pub fn is_there(&self, conn: &Connection, taken: &Taken<'_>) -> Result<bool, EngineError> {
        if self.whole {
            return Ok(false);
        }
        let (old, set) = (Vec::new(), Vec::new());
        let same =
            Taken { kind: RowKind::Delete, old, new: taken.new.clone(), set, by: self.identity.clone() };
        let table = self.table();
        let sql = format!("SELECT count(*) FROM {table} WHERE {}", self.condition(&table, &same));
        let fail = |error| classify(APPLY, error).on(&self.projection.target);
        let mut query = conn.prepare_cached(&sql).map_err(fail)?;
        self.bind(&mut query, &same)?;
        let mut rows = query.raw_query();
        let found = rows.next().and_then(|row| row.map_or(Ok(0), |row| row.get::<_, i64>(0)));
        found.map(|found| found > 0).map_err(fail)
    }

    /// Binds what is set, then what tells the row.
    pub fn bind(&self, statement: &mut Statement<'_>, taken: &Taken<'_>) -> Result<(), EngineError> {
        let written = taken.set.iter().map(|&place| (place, taken.new[place]));
        let telling = taken.by.iter().map(|&place| (place, taken.which()[place]));
        for ((place, value), number) in written.chain(telling).zip(1..) {
            let bound = self.value(place, value)?;
            statement
                .raw_bind_parameter(number, bound)
                .map_err(|error| classify(APPLY, error).on(&self.projection.target))?;
        }
        Ok(())
    }

    #[inline]
    pub fn value<'a>(&self, place: usize, value: Datum<'a>) -> Result<Bound<'a>, EngineError> {
        let column = &self.projection.columns[place];
        let bound = convert(self.rules[place], value);
        let made = match (&column.cast, bound) {
            (Some(cast), Ok(Bound::Borrowed(value))) if self.projection.form != Form::Rows => {
                exact::cast(value, &cast.native).map(Bound::Made)
            }
            (_, bound) => bound,
        };
        made.map_err(|why| {
            let place = format!("{}, column {}", self.projection.target, quote(&column.target));
            data(APPLY, place, why).hint("map the column to a type that holds such values, and copy again")
        })
    }

    fn refuse(&self, message: &str) -> EngineError {
        EngineError::new(Cause::Other, APPLY, message).on(&self.projection.target)
    }

    /// The target does not hold what the change speaks of.
    pub fn diverged(&self, taken: &Taken<'_>, what: &str) -> EngineError {
        let verb = match taken.kind {
            RowKind::Insert => "insert",
            RowKind::Update => "update",
            RowKind::Delete => "delete",
        };
        let message = format!("{verb} of the row with {}: {what}", self.key_text(taken));
        EngineError::new(Cause::Diverged, APPLY, message).on(&self.projection.target)
    }

    /// The key and no other cell.
    fn key_text(&self, taken: &Taken<'_>) -> String {
        if self.whole {
            return "no key".into();
        }
        let cells = taken.which();
        let part = |&place: &usize| {
            let name = &self.projection.columns[place].target;
            format!("{} = {}", crate::catalog::name::show(name), shown(cells[place]))
        };
        self.identity.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

/// The same value to the bit.
fn same(a: Datum<'_>, b: Datum<'_>) -> bool {
    match (a, b) {
        (Datum::Float(a), Datum::Float(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}

fn shown(value: Datum<'_>) -> String {
    match value {
        Datum::Null | Datum::Absent => "null".into(),
        Datum::Bool(value) => value.to_string(),
        Datum::Int(value) => value.to_string(),
        Datum::UInt(value) => value.to_string(),
        Datum::Float(value) => value.to_string(),
        Datum::Text(text) => String::from_utf8_lossy(text).chars().take(SHOWN_MAX).collect(),
        Datum::Bytes(bytes) => {
            let hex = bytes.iter().take(SHOWN_MAX / 2).map(|byte| format!("{byte:02x}"));
            format!("x'{}'", hex.collect::<String>())
        }
    }
}
