//! Table maps: what the log says of a table before it tells rows of it. A number for the table,
//! its name, how each column is stored. The number is good until the next map.

use super::followed::Layout;
use super::image::Stored;

/// A table as the log describes it.
#[derive(Debug)]
pub(super) struct Relation {
    /// The map's own bytes, by which one that comes again is known.
    raw: Vec<u8>,
    /// Place in the list of followed tables.
    pub table: Option<usize>,
    /// Empty where its rows are not told.
    pub columns: Vec<Stored>,
}

/// The parts of a table map.
pub(super) struct Map<'a> {
    pub number: u64,
    pub schema: &'a [u8],
    pub name: &'a [u8],
    types: &'a [u8],
    metadata: &'a [u8],
}

/// Bytes read from the front; none when there are too few.
pub(super) struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes, the least significant first.
    pub fn number(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.take(bytes)?;
        Some(taken.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A number whose first byte says how long it is.
    pub fn packed(&mut self) -> Option<usize> {
        let number = match self.number(1)? {
            0xFC => self.number(2)?,
            0xFD => self.number(3)?,
            0xFE => self.number(8)?,
            0xFB | 0xFF => return None,
            small => small,
        };
        usize::try_from(number).ok()
    }

    /// A name behind its length and before a zero.
    fn name(&mut self) -> Option<&'a [u8]> {
        let length = self.number(1)? as usize;
        let name = self.take(length)?;
        (self.number(1)? == 0).then_some(name)
    }
}

impl<'a> Map<'a> {
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let mut input = Input(body);
        let (number, _flags) = (input.number(6)?, input.number(2)?);
        let (schema, name) = (input.name()?, input.name()?);
        let width = input.packed()?;
        let types = input.take(width)?;
        let length = input.packed()?;
        Some(Self { number, schema, name, types, metadata: input.take(length)? })
    }
}

impl Relation {
    /// Whether this map says the same as the one before.
    pub fn is_of(&self, body: &[u8]) -> bool {
        self.raw == body
    }

    pub fn ignored(body: &[u8]) -> Self {
        Self { raw: body.to_vec(), table: None, columns: Vec::new() }
    }

    /// A followed table whose copy has this already, so that its form does not matter. The next map of
    /// it is read anew.
    pub fn copied(table: usize) -> Self {
        Self { raw: Vec::new(), table: Some(table), columns: Vec::new() }
    }

    /// The relation of a followed table; why it cannot be read, where it is another than the
    /// catalog had.
    pub fn new(body: &[u8], map: &Map<'_>, table: usize, layout: &Layout) -> Result<Self, String> {
        if map.types.len() != layout.width {
            return Err(format!(
                "the log tells {} columns of it, and it has {}",
                map.types.len(),
                layout.width
            ));
        }
        let mut metadata = map.metadata;
        let mut columns = Vec::with_capacity(map.types.len());
        for (at, &code) in map.types.iter().enumerate() {
            let Some(stored) = Stored::read(code, &mut metadata) else {
                return Err(format!(
                    "its column {} is stored in a form that is not read here ({code})",
                    at + 1
                ));
            };
            columns.push(stored);
        }
        for place in &layout.places {
            if !columns[place.at].can_mean(&place.meaning) {
                let name = crate::catalog::name::show(&place.name);
                return Err(format!("its column {name} has another type in the log than it has now"));
            }
        }
        Ok(Self { raw: body.to_vec(), table: Some(table), columns })
    }
}
