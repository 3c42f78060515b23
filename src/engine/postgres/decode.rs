//! pgoutput, version 1 (manual, section 55.9), decoded in place into [`Changes`]. Pure: bytes go
//! in, records come out. Nothing is passed over that is not known to be of no concern.
//!
//! ```text
//!   B  R R  I U D T ...  C     B  C          (nothing of ours: told as `reached`)
//!   |  |    |            `-- end of the transaction: where to go on from
//!   |  |    `-- rows: a number of columns, each n(ull), u(nchanged) or t(ext)
//!   |  `-- a table as it is from here on, by its number
//!   `-- where the transaction will commit: what table starts are compared with
//! ```

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use super::input::{Input, Short};
use super::lsn::Lsn;
use super::relation::{Expected, How, Place, Shape, ShapeColumn, fit};
use super::rows::decode_value;
use crate::catalog::Name;
use crate::change::{Changes, Datum, Followed, RowKind};
use crate::engine::{CHANGED, Cause, EngineError};

pub const DOING: &str = "read the changes of";
/// Microseconds from 1970 to 2000, where PostgreSQL's time begins.
pub const EPOCH: i64 = 946_684_800_000_000;

/// What a stream has to know before its first message.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub tables: Vec<Followed>,
    /// By table, then by column of the projection.
    pub expected: Vec<Vec<Expected>>,
    /// By table: transactions that commit before it are in its copy.
    pub starts: Vec<Lsn>,
    /// Partitions whose rows come under their root's name.
    pub leaves: HashSet<u32>,
}

/// The decoder of one connection: what it has learned of tables is worth nothing on another.
pub struct Decoder {
    known: Known,
    names: HashMap<Name, usize>,
    /// Which table goes by this number since its first description.
    bound: HashMap<u32, usize>,
    /// Types of the carried columns by the first description of each table.
    first: Vec<Option<Vec<(u32, i32)>>>,
    relations: HashMap<u32, Relation>,
    from: Lsn,
    /// The last position that was told.
    told: Lsn,
    /// A position between transactions that is still to be told.
    passed: Lsn,
    transaction: Transaction,
    /// Kept for reuse.
    scratch: Scratch,
}

/// A table as it is described now.
struct Relation {
    name: Name,
    table: usize,
    start: Lsn,
    width: usize,
    /// By column of the log.
    key: Vec<bool>,
    /// By column of the projection.
    places: Vec<Place>,
    /// Why its rows cannot be taken.
    trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    Inside {
        commits_at: Lsn,
        told: bool,
    },
    /// One that was told before.
    Repeated {
        commits_at: Lsn,
    },
}

#[derive(Default)]
struct Scratch {
    old: Vec<Field>,
    new: Vec<Field>,
    tables: Vec<usize>,
    bytes: Vec<u8>,
    position: String,
}

/// A column of a row: its kind, and where its text is in the message.
#[derive(Clone, Copy)]
struct Field {
    kind: u8,
    start: usize,
    end: usize,
}

impl From<Short> for EngineError {
    fn from(_: Short) -> Self {
        garbled("a message ends early")
    }
}

/// Bytes that the server would not send. A fresh connection may bring good ones.
pub fn garbled(what: &str) -> EngineError {
    EngineError::new(Cause::Connection, DOING, format!("protocol error: {what}"))
}

impl Decoder {
    /// For a stream that goes on from a position.
    pub fn new(known: Known, from: Lsn) -> Self {
        let name = |(at, followed): (usize, &Followed)| (followed.projection.source.clone(), at);
        Self {
            names: known.tables.iter().enumerate().map(name).collect(),
            bound: HashMap::new(),
            first: vec![None; known.tables.len()],
            relations: HashMap::new(),
            from,
            told: from,
            passed: from,
            transaction: Transaction::None,
            scratch: Scratch::default(),
            known,
        }
    }

    /// Takes one message. After an error nothing more can be decoded; what was appended before it
    /// is whole.
    pub fn decode(&mut self, message: &[u8], into: &mut Changes) -> Result<(), EngineError> {
        let mut input = Input::new(message);
        match input.u8()? {
            b'I' => self.row(RowKind::Insert, message, into),
            b'U' => self.row(RowKind::Update, message, into),
            b'D' => self.row(RowKind::Delete, message, into),
            b'B' => self.begin(&mut input),
            b'C' => self.commit(&mut input, into),
            b'R' => self.relation(&mut input),
            b'T' => self.truncate(&mut input, into),
            // Types, origins and messages of applications do not concern the rows.
            b'Y' | b'O' | b'M' => Ok(()),
            tag => Err(garbled(&format!("a message of the unknown kind {tag:#04x}"))),
        }
    }

    /// Where the log has come to, between transactions.
    pub fn come_to(&self) -> Lsn {
        self.told.max(self.passed)
    }

    /// The server has come to `end` and has told all that committed before it.
    pub fn keepalive(&mut self, end: Lsn) {
        if self.transaction == Transaction::None {
            self.passed = self.passed.max(end);
        }
    }

    /// Tells how far the log has come without anything for us. To be called when there is nothing
    /// more to decode for now.
    pub fn settle(&mut self, into: &mut Changes) {
        if self.passed <= self.told
            || into.is_open()
            || matches!(self.transaction, Transaction::Inside { told: true, .. })
        {
            return;
        }
        self.told = self.passed;
        let position = &mut self.scratch.position;
        write_lsn(position, self.told);
        into.reached(position);
    }

    fn begin(&mut self, input: &mut Input<'_>) -> Result<(), EngineError> {
        let (commits_at, _at, _xid) = (Lsn(input.u64()?), input.u64()?, input.u32()?);
        input.end()?;
        if self.transaction != Transaction::None {
            return Err(garbled("a transaction begins inside another"));
        }
        self.transaction = match commits_at < self.from {
            true => Transaction::Repeated { commits_at },
            false => Transaction::Inside { commits_at, told: false },
        };
        Ok(())
    }

    fn commit(&mut self, input: &mut Input<'_>, into: &mut Changes) -> Result<(), EngineError> {
        let (_flags, at, end) = (input.u8()?, Lsn(input.u64()?), Lsn(input.u64()?));
        let time = input.u64()? as i64;
        input.end()?;
        let begun = std::mem::replace(&mut self.transaction, Transaction::None);
        match begun {
            Transaction::Inside { commits_at, .. } | Transaction::Repeated { commits_at }
                if commits_at == at && end > at => {}
            _ => return Err(garbled("a commit of a transaction that did not begin")),
        }
        if let Transaction::Inside { told: true, .. } = begun {
            write_lsn(&mut self.scratch.position, end);
            into.commit(&self.scratch.position, time.saturating_add(EPOCH));
            self.told = end;
        }
        self.passed = self.passed.max(end);
        Ok(())
    }

    fn row(&mut self, kind: RowKind, message: &[u8], into: &mut Changes) -> Result<(), EngineError> {
        let mut input = Input::new(message);
        input.skip(1)?;
        let oid = input.u32()?;
        let mut scratch = std::mem::take(&mut self.scratch);
        let done = self.row_of(oid, kind, message, &mut input, &mut scratch, into);
        self.scratch = scratch;
        done
    }

    fn row_of(
        &mut self,
        oid: u32,
        kind: RowKind,
        message: &[u8],
        input: &mut Input<'_>,
        scratch: &mut Scratch,
        into: &mut Changes,
    ) -> Result<(), EngineError> {
        let Some(relation) = wanted(&self.relations, self.transaction, oid)? else { return Ok(()) };
        let mut told = input.u8()?;
        let mut keyed = false;
        let has_old = matches!(told, b'K' | b'O');
        if has_old {
            keyed = told == b'K';
            read_fields(input, relation.width, &mut scratch.old)?;
            told = if kind == RowKind::Delete { b'-' } else { input.u8()? };
        }
        match (kind, has_old, told) {
            (RowKind::Delete, true, b'-') => {}
            (RowKind::Insert, false, b'N') | (RowKind::Update, _, b'N') => {
                read_fields(input, relation.width, &mut scratch.new)?;
            }
            _ => return Err(garbled("a change without its row")),
        }
        input.end()?;
        let absent = |field: &Field| field.kind == b'u';
        if kind == RowKind::Insert && relation.places.iter().any(|place| absent(&scratch.new[place.at])) {
            return Err(incomplete(&relation.name));
        }
        let (table, width) = (relation.table, relation.places.len());
        let old = if has_old { width } else { 0 };
        let new = if kind == RowKind::Delete { 0 } else { width };
        tell_begin(&mut self.transaction, &mut scratch.position, into);
        into.begin_row(table, kind, old, new);
        let mut cells = Ok(());
        if has_old {
            let known = |at: usize| !keyed || relation.key[at];
            cells = push_cells(relation, message, &scratch.old, known, &mut scratch.bytes, into);
        }
        if new > 0 && cells.is_ok() {
            cells = push_cells(relation, message, &scratch.new, |_| true, &mut scratch.bytes, into);
        }
        match cells {
            Ok(()) => into.end_row(),
            Err(what) => {
                into.cancel_row();
                return Err(garbled(what).on(&relation.name));
            }
        }
        Ok(())
    }

    fn truncate(&mut self, input: &mut Input<'_>, into: &mut Changes) -> Result<(), EngineError> {
        const RESTART_IDENTITY: u8 = 2;
        let (count, options) = (input.u32()?, input.u8()?);
        let mut tables = std::mem::take(&mut self.scratch.tables);
        tables.clear();
        for _ in 0..count {
            if let Some(relation) = wanted(&self.relations, self.transaction, input.u32()?)? {
                tables.push(relation.table);
            }
        }
        input.end()?;
        if !tables.is_empty() {
            tell_begin(&mut self.transaction, &mut self.scratch.position, into);
            into.truncate(&tables, options & RESTART_IDENTITY != 0);
        }
        self.scratch.tables = tables;
        Ok(())
    }

    fn relation(&mut self, input: &mut Input<'_>) -> Result<(), EngineError> {
        let oid = input.u32()?;
        let name = Name::new(input.text()?, input.text()?);
        let shape = read_shape(input)?;
        input.end()?;
        let Some((table, renamed)) = self.place(oid, &name)? else { return Ok(()) };
        let followed = &self.known.tables[table];
        let fitted = match renamed {
            Some(trouble) => Err(trouble),
            None => fit(followed, &self.known.expected[table], &shape),
        };
        let mut relation = Relation {
            name: followed.projection.source.clone(),
            table,
            start: self.known.starts[table],
            width: shape.columns.len(),
            key: shape.columns.iter().map(|column| column.key).collect(),
            places: Vec::new(),
            trouble: None,
        };
        match fitted.and_then(|places| self.as_before(table, &places, &shape).map(|()| places)) {
            Ok(places) => relation.places = places,
            Err(trouble) => relation.trouble = Some(trouble),
        }
        self.relations.insert(oid, relation);
        Ok(())
    }

    /// Which table is described, and what is wrong with its name; none for a partition whose rows
    /// come under its root's name.
    fn place(&mut self, oid: u32, name: &Name) -> Result<Option<(usize, Option<String>)>, EngineError> {
        let by_name = self.names.get(name).copied();
        match (self.bound.get(&oid).copied(), by_name) {
            (Some(bound), Some(table)) if bound == table => Ok(Some((table, None))),
            (Some(bound), _) => Ok(Some((bound, Some(format!("it is called {name} now"))))),
            (None, Some(table)) if self.bound.values().any(|bound| *bound == table) => {
                Ok(Some((table, Some("another table has taken its name".to_string()))))
            }
            (None, Some(table)) => {
                self.bound.insert(oid, table);
                Ok(Some((table, None)))
            }
            (None, None) if self.known.leaves.contains(&oid) => Ok(None),
            (None, None) => Err(EngineError::new(
                Cause::Stale,
                DOING,
                "changes of a table come that the plan does not follow: it is a partition that was attached, a \
                 table that was renamed, or the publication was altered",
            )
            .on(name)
            .contract("C508")
            .hint("compare the source with the plan, then plan again; `towpath apply --recopy` copies the tables again")),
        }
    }

    /// Compares types with the table's first description.
    fn as_before(&mut self, table: usize, places: &[Place], shape: &Shape) -> Result<(), String> {
        let types = places.iter().map(|place| (shape.columns[place.at].ty, shape.columns[place.at].modifier));
        let types: Vec<_> = types.collect();
        let first = self.first[table].get_or_insert_with(|| types.clone());
        let columns = &self.known.tables[table].projection.columns;
        match types.iter().zip(first.iter()).position(|(now, before)| now != before) {
            None => Ok(()),
            Some(at) => Err(format!(
                "the type of its column {} was changed",
                crate::catalog::name::show(&columns[at].source)
            )),
        }
    }
}

/// The table of a number, if its rows are to be told in this transaction.
fn wanted(
    relations: &HashMap<u32, Relation>,
    transaction: Transaction,
    oid: u32,
) -> Result<Option<&Relation>, EngineError> {
    let commits_at = match transaction {
        Transaction::Inside { commits_at, .. } => commits_at,
        Transaction::Repeated { .. } => return Ok(None),
        Transaction::None => return Err(garbled("a change outside of any transaction")),
    };
    let relation = relations.get(&oid);
    let relation = relation.ok_or_else(|| garbled("a change of a table that was not described"))?;
    if commits_at < relation.start {
        return Ok(None);
    }
    match &relation.trouble {
        None => Ok(Some(relation)),
        Some(trouble) => Err(stopped(&relation.name, trouble, commits_at)),
    }
}

/// A row that comes into the plan's filter by an update is told as new, and without the large
/// values that the update did not touch.
fn incomplete(table: &Name) -> EngineError {
    let what =
        "a row was changed so that the plan's filter takes it now, and its large values are not in the log";
    EngineError::new(Cause::Stale, DOING, what)
        .on(table)
        .contract("C508")
        .hint("`towpath apply --recopy` copies the tables again; REPLICA IDENTITY FULL on it keeps this from happening")
}

fn stopped(table: &Name, trouble: &str, commits_at: Lsn) -> EngineError {
    let message = format!("{trouble}, in the transaction that commits at {commits_at}");
    EngineError::new(Cause::Stale, DOING, message).on(table).contract("C508").hint(CHANGED)
}

/// Tells the beginning of the transaction before the first change in it.
fn tell_begin(transaction: &mut Transaction, position: &mut String, into: &mut Changes) {
    if let Transaction::Inside { commits_at, told: told @ false } = transaction {
        write_lsn(position, *commits_at);
        into.begin(position);
        *told = true;
    }
}

fn write_lsn(position: &mut String, lsn: Lsn) {
    position.clear();
    // Writing into a string cannot fail.
    let _ = write!(position, "{lsn}");
}

fn read_shape(input: &mut Input<'_>) -> Result<Shape, EngineError> {
    const KEY: u8 = 1;
    let identity = input.u8()?;
    let count = input.u16()?;
    let mut columns = Vec::with_capacity(count.min(1600).into());
    for _ in 0..count {
        columns.push(ShapeColumn {
            key: input.u8()? & KEY != 0,
            name: input.text()?.to_string(),
            ty: input.u32()?,
            modifier: input.u32()? as i32,
        });
    }
    Ok(Shape { identity, columns })
}

/// Finds the columns of a row, without looking into them.
fn read_fields(input: &mut Input<'_>, width: usize, fields: &mut Vec<Field>) -> Result<(), EngineError> {
    fields.clear();
    if usize::from(input.u16()?) != width {
        return Err(garbled("a row with another number of columns than its table"));
    }
    for _ in 0..width {
        let kind = input.u8()?;
        let length = match kind {
            b't' => input.u32()? as usize,
            b'n' | b'u' => 0,
            _ => return Err(garbled("a value of an unknown kind")),
        };
        let start = input.at();
        input.skip(length)?;
        fields.push(Field { kind, start, end: start + length });
    }
    Ok(())
}

/// Appends the projection's cells in its order.
fn push_cells(
    relation: &Relation,
    message: &[u8],
    fields: &[Field],
    known: impl Fn(usize) -> bool,
    spare: &mut Vec<u8>,
    into: &mut Changes,
) -> Result<(), &'static str> {
    for place in &relation.places {
        let field = fields[place.at];
        let datum = match field.kind {
            _ if !known(place.at) => Datum::Absent,
            b'n' => Datum::Null,
            b'u' => Datum::Absent,
            _ => datum(&message[field.start..field.end], place.how, spare)?,
        };
        into.push(datum);
    }
    Ok(())
}

fn datum<'a>(text: &'a [u8], how: How, spare: &'a mut Vec<u8>) -> Result<Datum<'a>, &'static str> {
    match how {
        How::Native => Ok(Datum::Text(text)),
        How::Cell(decode) => decode_value(text, decode, spare),
        How::AddUtc | How::CutUtc if text.ends_with(b"infinity") => Ok(Datum::Text(text)),
        How::AddUtc => {
            let (time, era) = split_era(text);
            Ok(join(&[time, b"+00", era], spare))
        }
        How::CutUtc => {
            let (time, era) = split_era(text);
            let time = time.strip_suffix(b"+00").ok_or("a time that is not in UTC")?;
            Ok(join(&[time, era], spare))
        }
    }
}

/// A time, and ` BC` where it is that old.
fn split_era(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(if text.ends_with(b" BC") { text.len() - 3 } else { text.len() })
}

fn join<'a>(parts: &[&[u8]], spare: &'a mut Vec<u8>) -> Datum<'a> {
    spare.clear();
    parts.iter().for_each(|part| spare.extend_from_slice(part));
    Datum::Text(spare)
}

#[cfg(test)]
mod tests;
