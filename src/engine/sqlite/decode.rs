//! From rows of the change table to changes. Values become cells as a copy makes them; rows that
//! REPLACE deleted unseen are told before the row that took their place; a row that enters or
//! leaves what a condition chooses comes or goes.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::dialect::quote;
use super::error::data;
use super::filter::Filter;
use super::read::{Kind, cell, kinds};
use super::triggers::{DELETED, INSERTED, Layout, STOOD, UPDATED};
use crate::catalog::Projection;
use crate::change::{Changes, Datum, Followed, RowKind};
use crate::engine::{Cause, EngineError};

pub(super) const READ: &str = "read the changes of";

/// Rows that stood in the way and are remembered. Between such a row and the one that replaces it
/// lie only changes that triggers of the application make.
const STANDING_MAX: usize = 10_000;

pub(super) struct Decoder {
    tables: Vec<Table>,
    standing: Vec<Standing>,
    made: Vec<u8>,
}

struct Table {
    layout: Layout,
    projection: Projection,
    kinds: Vec<Kind>,
    filter: Option<Filter>,
    /// Changes up to this number are in the copy.
    start: i64,
}

/// At some moment this row had these values of a unique key.
struct Standing {
    table: usize,
    key: usize,
    values: Vec<Kept>,
    identity: Vec<Kept>,
}

/// One row of the change table, without its number.
pub(super) struct Logged<'a> {
    pub table: i64,
    pub kind: i64,
    /// `c0` and on.
    pub slots: &'a [ValueRef<'a>],
}

impl Decoder {
    /// For tables whose structure `source` shows.
    pub fn new(
        source: &Connection,
        tables: &[Followed],
        layouts: &[Layout],
        starts: &[i64],
    ) -> Result<Self, EngineError> {
        let table = |((followed, layout), &start): ((&Followed, &Layout), &i64)| {
            Ok(Table {
                layout: layout.clone(),
                kinds: kinds(&followed.projection),
                projection: followed.projection.clone(),
                filter: Filter::new(source, followed)?,
                start,
            })
        };
        let tables = tables.iter().zip(layouts).zip(starts).map(table);
        let tables = tables.collect::<Result<_, EngineError>>()?;
        Ok(Self { tables, standing: Vec::new(), made: Vec::new() })
    }

    /// Between transactions nothing stands in the way of anything.
    pub fn forget(&mut self) {
        self.standing.clear();
    }

    /// Appends what row `number` of the change table says.
    pub fn row(&mut self, number: i64, logged: &Logged<'_>, into: &mut Changes) -> Result<(), EngineError> {
        let unknown =
            || EngineError::new(Cause::Stale, READ, format!("change {number} is not of this capture"));
        // The mark of the opening is of no table.
        let Ok(index) = usize::try_from(logged.table) else { return Ok(()) };
        let table = self.tables.get(index).ok_or_else(unknown)?;
        let (old, new) = logged.cut(&table.layout).ok_or_else(unknown)?;
        if number <= table.start {
            return Ok(());
        }
        if logged.kind >= STOOD {
            let key = (logged.kind - STOOD) as usize;
            self.stood(Standing { table: index, key, values: keep(new), identity: keep(old) });
            return Ok(());
        }
        if logged.kind != INSERTED {
            self.standing.retain(|standing| standing.table != index || !is(&standing.identity, old));
        }
        if logged.kind != DELETED && !self.standing.is_empty() {
            self.replaced(index, new, into)?;
        }
        let table = &self.tables[index];
        match logged.kind {
            INSERTED | UPDATED | DELETED => table.tell(index, old, new, &mut self.made, into),
            _ => Err(unknown()),
        }
        .map_err(|mut error| {
            error.message.push_str(&format!(" (change {number})"));
            error
        })
    }

    fn stood(&mut self, standing: Standing) {
        if self.standing.len() >= STANDING_MAX {
            self.standing.remove(0);
        }
        self.standing.push(standing);
    }

    /// Tells that rows are gone that had a unique value of the row that is written now.
    fn replaced(
        &mut self,
        index: usize,
        new: &[ValueRef<'_>],
        into: &mut Changes,
    ) -> Result<(), EngineError> {
        let Self { tables, standing, made } = self;
        let table = &tables[index];
        while let Some(at) = standing.iter().position(|stood| stood.gives_way(index, &table.layout, new)) {
            let gone = standing.swap_remove(at).identity;
            let old: Vec<_> = gone.iter().map(Kept::value).collect();
            standing.retain(|stood| stood.table != index || !is(&stood.identity, &old));
            table.tell(index, &old, &[], made, into)?;
        }
        Ok(())
    }
}

impl Standing {
    /// True where the new row has its unique value: two rows never have, so this one is gone.
    fn gives_way(&self, table: usize, layout: &Layout, new: &[ValueRef<'_>]) -> bool {
        let Some(key) = layout.keys.get(self.key).filter(|_| self.table == table) else { return false };
        key.parts.iter().zip(&self.values).all(|((place, _), value)| equal(value.value(), new[*place]))
    }
}

impl<'a> Logged<'a> {
    /// The old identity and the new row, or the values of a key; none where they do not fit.
    fn cut(&self, layout: &Layout) -> Option<(&'a [ValueRef<'a>], &'a [ValueRef<'a>])> {
        let new = match self.kind {
            DELETED => 0,
            kind if kind >= STOOD => layout.keys.get((kind - STOOD) as usize)?.parts.len(),
            _ => layout.columns.len(),
        };
        let old = if self.kind == INSERTED { 0 } else { layout.identity.len() };
        Some((self.slots.get(..old)?, self.slots.get(old..old + new)?))
    }
}

impl Table {
    /// Tells a change from the old identity, if there was such a row, to the new row, if there is.
    fn tell(
        &self,
        index: usize,
        old: &[ValueRef<'_>],
        new: &[ValueRef<'_>],
        made: &mut Vec<u8>,
        into: &mut Changes,
    ) -> Result<(), EngineError> {
        let (was, is) = (self.chooses(old, true)?, self.chooses(new, false)?);
        match (was, is) {
            (false, false) => Ok(()),
            (false, true) => self.write(index, RowKind::Insert, &[], new, made, into),
            (true, false) => self.write(index, RowKind::Delete, old, &[], made, into),
            (true, true) => self.write(index, RowKind::Update, old, new, made, into),
        }
    }

    /// Whether there is a row on this side of a change, and the condition chooses it.
    fn chooses(&self, row: &[ValueRef<'_>], identity: bool) -> Result<bool, EngineError> {
        match &self.filter {
            _ if row.is_empty() => Ok(false),
            None => Ok(true),
            Some(filter) if identity => filter.chooses(row),
            Some(filter) => {
                let known: Vec<_> = self.layout.identity.iter().map(|&place| row[place]).collect();
                filter.chooses(&known)
            }
        }
    }

    fn write(
        &self,
        index: usize,
        kind: RowKind,
        old: &[ValueRef<'_>],
        new: &[ValueRef<'_>],
        made: &mut Vec<u8>,
        into: &mut Changes,
    ) -> Result<(), EngineError> {
        let Layout { width, identity, whole, .. } = &self.layout;
        let same = || identity.iter().zip(old).all(|(&place, value)| equal(*value, new[place]));
        let told = !old.is_empty() && (kind == RowKind::Delete || *whole || !same());
        let written = if new.is_empty() { 0 } else { *width };
        into.begin_row(index, kind, if told { *width } else { 0 }, written);
        let mut filled = Ok(());
        if told {
            filled = self.old(old, made, into);
        }
        for (place, value) in new.iter().take(written).enumerate() {
            filled = filled.and_then(|()| self.push(place, *value, made, into));
        }
        match filled {
            Ok(()) => into.end_row(),
            Err(_) => into.cancel_row(),
        }
        filled
    }

    /// The old row, of which the identity is known.
    fn old(&self, old: &[ValueRef<'_>], made: &mut Vec<u8>, into: &mut Changes) -> Result<(), EngineError> {
        for place in 0..self.layout.width {
            match self.layout.identity.iter().position(|&known| known == place) {
                Some(at) => self.push(place, old[at], made, into)?,
                None => into.push(Datum::Absent),
            }
        }
        Ok(())
    }

    fn push(
        &self,
        place: usize,
        value: ValueRef<'_>,
        made: &mut Vec<u8>,
        into: &mut Changes,
    ) -> Result<(), EngineError> {
        match cell(self.kinds[place], value, made) {
            Ok(datum) => {
                into.push(datum);
                Ok(())
            }
            Err(why) => {
                let column = quote(&self.projection.columns[place].source);
                Err(data(READ, format!("{}, column {column}", self.projection.source), why)
                    .hint("map the column to a type that takes every class, and copy again"))
            }
        }
    }
}

/// A value that outlives its row. A text need not be UTF-8.
#[derive(Clone, Debug)]
enum Kept {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Kept {
    fn new(value: &ValueRef<'_>) -> Self {
        match *value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(integer) => Self::Integer(integer),
            ValueRef::Real(real) => Self::Real(real),
            ValueRef::Text(text) => Self::Text(text.to_vec()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }

    fn value(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Integer(integer) => ValueRef::Integer(*integer),
            Self::Real(real) => ValueRef::Real(*real),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }
}

fn keep(values: &[ValueRef<'_>]) -> Vec<Kept> {
    values.iter().map(Kept::new).collect()
}

fn is(identity: &[Kept], other: &[ValueRef<'_>]) -> bool {
    identity.len() == other.len() && identity.iter().zip(other).all(|(one, other)| equal(one.value(), *other))
}

/// The same class and the same bytes.
fn equal(a: ValueRef<'_>, b: ValueRef<'_>) -> bool {
    match (a, b) {
        (ValueRef::Real(a), ValueRef::Real(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}
