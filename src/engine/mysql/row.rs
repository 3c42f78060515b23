//! One row image of the log, told as cells; and before it, what its change does to rows that refer to
//! it. Pure.

use super::cascade::{Effect, Given, When};
use super::decode::Refused;
use super::events::DOING;
use super::followed::Layout;
use super::relation::{Input, Relation};
use crate::catalog::{Cell, RowBatch};
use crate::change::{Changes, Datum, RowKind};
use crate::engine::{Cause, EngineError};

/// A flag of rows: the session did not look at foreign keys, which then do nothing either.
const NO_KEYS: u64 = 2;
/// A flag of rows: what foreign keys did is logged as rows of its own, before these (MySQL 9.6 and newer).
const KEYS_LOGGED: u64 = 16;

/// What foreign keys did when these rows changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// They acted without a word in the log.
    Act,
    /// The session did not look at them, and they did nothing.
    Off,
    /// What they did is told by rows of its own.
    Logged,
}

impl Keys {
    pub fn of(flags: u64, logs_keys: bool) -> Self {
        match (logs_keys && flags & KEYS_LOGGED != 0, flags & NO_KEYS) {
            (true, _) => Self::Logged,
            (_, 0) => Self::Act,
            _ => Self::Off,
        }
    }
}

/// The columns that a row image tells.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    bits: &'a [u8],
    count: usize,
}

impl<'a> Told<'a> {
    fn read(input: &mut Input<'a>, width: usize) -> Option<Self> {
        let told = Self { bits: input.take(width.div_ceil(8))?, count: 0 };
        let count = (0..width).filter(|column| told.has(*column)).count();
        Some(Self { count, ..told })
    }

    fn has(self, column: usize) -> bool {
        self.bits[column / 8] >> (column % 8) & 1 == 1
    }
}

/// What stands before rows.
pub(super) struct RowsHead<'a> {
    pub flags: u64,
    /// Columns of the table, told or not.
    pub width: usize,
    /// Of the first image of each row, and of the one after its change; the same where there is one.
    pub first: Told<'a>,
    pub after: Told<'a>,
}

impl<'a> RowsHead<'a> {
    /// What comes behind are the rows.
    pub fn read(input: &mut Input<'a>, version: u8, update: bool) -> Option<Self> {
        let flags = input.number(2)?;
        if version == 2 {
            let extra = input.number(2)? as usize;
            input.take(extra.checked_sub(2)?)?;
        }
        let width = input.packed()?;
        let first = Told::read(input, width)?;
        let after = if update { Told::read(input, width)? } else { first };
        Some(Self { flags, width, first, after })
    }

    /// Columns that are left out.
    pub fn lacking(&self) -> impl Iterator<Item = usize> {
        (0..self.width).filter(|column| !(self.first.has(*column) && self.after.has(*column)))
    }
}

/// A column of a row image: where its value is in it; none for null, and for what is not told.
pub(super) type Field = Option<(usize, usize)>;

/// Columns of a row, and where the row ends.
pub(super) fn read_fields(
    rows: &[u8],
    relation: &Relation,
    told: Told<'_>,
    fields: &mut Vec<Field>,
) -> Option<usize> {
    fields.clear();
    let nulls = told.count.div_ceil(8);
    let (mut at, mut bit) = (nulls, 0);
    for (column, stored) in relation.columns.iter().enumerate() {
        if !told.has(column) {
            fields.push(None);
            continue;
        }
        let is_null = rows.get(bit / 8)? >> (bit % 8) & 1 == 1;
        bit += 1;
        if is_null {
            fields.push(None);
            continue;
        }
        let (prefix, length) = stored.extent(rows.get(at..)?)?;
        fields.push(Some((at + prefix, at + prefix + length)));
        at += prefix + length;
    }
    (at <= rows.len() && nulls <= rows.len()).then_some(at)
}

/// What a row is told with.
pub(super) struct Row<'a> {
    pub relation: &'a Relation,
    pub layout: &'a Layout,
    pub cells: &'a mut RowBatch,
    pub spare: &'a mut Vec<u8>,
    pub into: &'a mut Changes,
}

pub(super) type Image<'a> = (&'a [u8], &'a [Field]);

fn bytes_of<'a>((row, fields): Image<'a>, at: usize) -> Option<&'a [u8]> {
    fields[at].map(|(start, end)| &row[start..end])
}

impl Row<'_> {
    pub fn same_identity(&self, old: Image<'_>, new: Image<'_>) -> bool {
        let Some(identity) = &self.layout.identity else { return false };
        identity.iter().all(|place| {
            let at = self.layout.places[*place].at;
            bytes_of(old, at) == bytes_of(new, at)
        })
    }

    /// Planned were deletes whose cascades are in the log, and these are not.
    pub fn refuse_delete(&self, keys: Keys) -> Result<(), EngineError> {
        let Some(child) = self.layout.taken.as_ref().filter(|_| keys == Keys::Act) else { return Ok(()) };
        let why = format!(
            "rows were deleted that {child} refers to with an action on delete, while the server logged nothing of that \
             (it was an older one, or innodb_native_foreign_keys was on)"
        );
        Err(EngineError::new(Cause::Stale, DOING, why).on(&self.layout.name).contract("C504").hint(
            "`towpath apply --recopy` copies the tables again; cdc: { cascades: emulate } derives what such a server does",
        ))
    }

    /// InnoDB changes the rows of children without a word in the log.
    pub fn refuse_cascade(&self, keys: Keys, old: Image<'_>, new: Image<'_>) -> Result<(), EngineError> {
        if keys == Keys::Logged {
            return Ok(());
        }
        let moved = self.layout.referred.iter().find(|(at, _)| bytes_of(old, *at) != bytes_of(new, *at));
        moved.map_or(Ok(()), |(_, child)| {
            let why = format!(
                "a key changed that {child} refers to with an action on update: the server changed rows there and \
                 logged nothing"
            );
            Err(EngineError::new(Cause::Stale, DOING, why).on(&self.layout.name).contract("C504").hint(
                "`towpath apply --recopy` copies the tables again; update children by statements of their own",
            ))
        })
    }

    pub fn tell(
        &mut self,
        table: usize,
        kind: RowKind,
        old: Option<Image<'_>>,
        new: Option<Image<'_>>,
    ) -> Result<(), EngineError> {
        let width = self.layout.places.len();
        let count = |image: &Option<Image<'_>>| if image.is_some() { width } else { 0 };
        self.into.begin_row(table, kind, count(&old), count(&new));
        for (image, identity_only) in [(old, self.layout.identity.is_some()), (new, false)] {
            let Some(image) = image else { continue };
            if let Err((place, refused)) = self.tell_image(image, identity_only) {
                self.into.cancel_row();
                return Err(self.refused(place, refused));
            }
        }
        self.into.end_row();
        Ok(())
    }

    fn tell_image(&mut self, image: Image<'_>, identity_only: bool) -> Result<(), (usize, Refused)> {
        for place in 0..self.layout.places.len() {
            let wanted = !identity_only
                || self.layout.identity.as_ref().is_some_and(|identity| identity.contains(&place));
            match wanted {
                true => self.tell_cell(image, place)?,
                false => self.into.push(Datum::Absent),
            }
        }
        Ok(())
    }

    fn tell_cell(&mut self, image: Image<'_>, place: usize) -> Result<(), (usize, Refused)> {
        let column = &self.layout.places[place];
        let Some(bytes) = bytes_of(image, column.at) else {
            self.into.push(Datum::Null);
            return Ok(());
        };
        self.cells.clear();
        let stored = self.relation.columns[column.at];
        let value = stored.value(&column.meaning, bytes, std::mem::take(self.spare));
        let value = value.map_err(|refused| (place, refused))?;
        let pushed = column.decode.push(&value, self.cells);
        if let mysql_async::Value::Bytes(bytes) = value {
            *self.spare = bytes;
        }
        pushed.map_err(|refused| (place, refused))?;
        let cell = self.cells.last().unwrap_or(Cell::Null);
        self.into.push(match cell {
            Cell::Null => Datum::Null,
            Cell::Bool(value) => Datum::Bool(value),
            Cell::Int(value) => Datum::Int(value),
            Cell::UInt(value) => Datum::UInt(value),
            Cell::Float(value) => Datum::Float(value),
            Cell::Text { .. } => Datum::Text(self.cells.data(cell)),
            Cell::Bytes { .. } => Datum::Bytes(self.cells.data(cell)),
        });
        Ok(())
    }

    /// What the change of this row does further down; it comes before the change itself.
    pub fn tell_effects(&mut self, old: Image<'_>, new: Option<Image<'_>>) -> Result<(), EngineError> {
        let layout = self.layout;
        let bytes = |image, place: usize| bytes_of(image, layout.places[place].at);
        for effect in &layout.effects {
            let happens = match (&effect.when, new) {
                (When::Deleted, None) => true,
                (When::Changed(on), Some(new)) => {
                    on.iter().any(|&place| bytes(old, place) != bytes(new, place))
                }
                _ => false,
            };
            // Nothing refers to a key with a null in it.
            if !happens || effect.key.iter().any(|&place| bytes(old, place).is_none()) {
                continue;
            }
            self.into.begin_cascade(&effect.path);
            if let Err((place, refused)) = self.tell_effect(effect, old, new) {
                self.into.cancel_row();
                return Err(self.refused(place, refused));
            }
            self.into.end_cascade();
        }
        Ok(())
    }

    fn tell_effect(
        &mut self,
        effect: &Effect,
        old: Image<'_>,
        new: Option<Image<'_>>,
    ) -> Result<(), (usize, Refused)> {
        for &place in &effect.key {
            self.tell_cell(old, place)?;
        }
        for given in &effect.set {
            match (*given, new) {
                (Given::New(place), Some(new)) => self.tell_cell(new, place)?,
                _ => self.into.push(Datum::Null),
            }
        }
        Ok(())
    }

    fn refused(&self, place: usize, refused: Refused) -> EngineError {
        let column = super::quote::identifier(&self.layout.places[place].name);
        EngineError::new(Cause::Data, DOING, refused.why())
            .on(format!("{}, column {column}", self.layout.name))
            .hint(refused.hint(&column))
    }
}
