//! Net changes: what several transactions come to, with at most one change for each row. The
//! cells lie in the changes they were made of; nothing is copied.

use super::log::Datum;

/// Net changes of several tables, in the order of the list of followed tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Net<'a> {
    pub tables: Vec<NetTable<'a>>,
}

/// Net changes of one table. To be applied in this order: deletes, updates, inserts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetTable<'a> {
    /// Place in the list of followed tables.
    pub table: usize,
    /// Identities of rows that go; cells in the order of [`super::Identity::Columns`].
    pub deletes: Rows<'a>,
    /// Rows that change, sorted by which columns they bring.
    pub updates: Vec<NetUpdates<'a>>,
    /// Whole rows.
    pub inserts: Rows<'a>,
}

/// Updates that set the same columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetUpdates<'a> {
    /// Places in the projection, ascending; identity columns are not among them.
    pub columns: Vec<usize>,
    /// Identities, as in deletes; row by row with `rows`.
    pub keys: Rows<'a>,
    /// Cells of `columns`.
    pub rows: Rows<'a>,
}

/// Rows of equal width.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows<'a> {
    pub width: usize,
    /// Row after row.
    pub cells: Vec<Datum<'a>>,
    pub count: usize,
}

impl<'a> Rows<'a> {
    pub fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    pub fn push(&mut self, cells: impl IntoIterator<Item = Datum<'a>>) {
        self.cells.extend(cells);
        self.count += 1;
        debug_assert_eq!(self.cells.len(), self.count * self.width);
    }

    pub fn row(&self, index: usize) -> &[Datum<'a>] {
        &self.cells[index * self.width..(index + 1) * self.width]
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Net<'_> {
    /// Rows that are changed.
    pub fn rows(&self) -> usize {
        let rows = |table: &NetTable<'_>| {
            let updates: usize = table.updates.iter().map(|updates| updates.keys.count).sum();
            table.deletes.count + updates + table.inserts.count
        };
        self.tables.iter().map(rows).sum()
    }
}
