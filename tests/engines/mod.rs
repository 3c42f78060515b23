//! What each engine promises through its traits, on real servers: no command, no plan.

use towpath::change::{Changes, Datum, RowKind};

mod mysql;
mod postgres;

/// One transaction made by the test.
#[derive(Default)]
pub struct Log(pub Changes);

impl Log {
    pub fn row(&mut self, table: usize, kind: RowKind, old: &[Datum<'_>], new: &[Datum<'_>]) -> &mut Self {
        self.0.begin_row(table, kind, old.len(), new.len());
        old.iter().chain(new).for_each(|datum| self.0.push(*datum));
        self.0.end_row();
        self
    }

    pub fn insert(&mut self, table: usize, new: &[Datum<'_>]) -> &mut Self {
        self.row(table, RowKind::Insert, &[], new)
    }

    pub fn update(&mut self, table: usize, old: &[Datum<'_>], new: &[Datum<'_>]) -> &mut Self {
        self.row(table, RowKind::Update, old, new)
    }

    pub fn delete(&mut self, table: usize, old: &[Datum<'_>]) -> &mut Self {
        self.row(table, RowKind::Delete, old, &[])
    }

    pub fn truncate(&mut self, tables: &[usize]) -> &mut Self {
        self.0.truncate(tables, true);
        self
    }
}
