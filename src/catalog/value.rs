//! Rows on their way from one engine to another: one arena of bytes per batch, no allocation per
//! row or cell. How a type uses a cell is said at each [`super::Type`].

/// One value. `Text` and `Bytes` are ranges of the batch's arena.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text { start: usize, end: usize },
    Bytes { start: usize, end: usize },
}

/// Rows of equal width, row after row. Cleared and reused by readers and writers.
#[derive(Clone, Debug, Default)]
pub struct RowBatch {
    width: usize,
    cells: Vec<Cell>,
    arena: Vec<u8>,
    rows: usize,
}

impl RowBatch {
    /// An empty batch for rows of `width` cells; zero is allowed (tables without columns).
    pub fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    pub fn clear(&mut self) {
        self.cells.clear();
        self.arena.clear();
        self.rows = 0;
    }

    /// Cells in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whole rows in the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes held: the arena and the cells.
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.cells.len() * size_of::<Cell>()
    }

    /// Adds a cell that needs no arena: null, a boolean or a number.
    pub fn push(&mut self, cell: Cell) {
        debug_assert!(!matches!(cell, Cell::Text { .. } | Cell::Bytes { .. }));
        self.cells.push(cell);
    }

    pub fn push_text(&mut self, text: &[u8]) {
        let start = self.arena.len();
        self.arena.extend_from_slice(text);
        self.cells.push(Cell::Text { start, end: self.arena.len() });
    }

    pub fn push_bytes(&mut self, bytes: &[u8]) {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        self.cells.push(Cell::Bytes { start, end: self.arena.len() });
    }

    /// Lets a decoder append to the arena in place, then closes the appended bytes as a text cell.
    pub fn push_text_with(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len();
        fill(&mut self.arena);
        self.cells.push(Cell::Text { start, end: self.arena.len() });
    }

    /// As [`Self::push_text_with`], for a bytes cell.
    pub fn push_bytes_with(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len();
        fill(&mut self.arena);
        self.cells.push(Cell::Bytes { start, end: self.arena.len() });
    }

    /// Closes a row. Panics in debug builds when the row is not `width` cells long.
    pub fn end_row(&mut self) {
        self.rows += 1;
        debug_assert_eq!(self.cells.len(), self.rows * self.width);
    }

    /// The cell that was added last.
    pub fn last(&self) -> Option<Cell> {
        self.cells.last().copied()
    }

    /// The cells of row `index`.
    pub fn row(&self, index: usize) -> &[Cell] {
        &self.cells[index * self.width..(index + 1) * self.width]
    }

    /// The arena's bytes of a text or bytes cell; empty for any other.
    pub fn data(&self, cell: Cell) -> &[u8] {
        match cell {
            Cell::Text { start, end } | Cell::Bytes { start, end } => &self.arena[start..end],
            _ => &[],
        }
    }
}
