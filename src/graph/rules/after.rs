//! What closes a table: statistics, and sequences brought beyond their source's.

use super::{Draft, Rules};
use crate::catalog::TableKind;
use crate::diff::{TableDiff, id};
use crate::graph::pace;
use crate::graph::step::{Action, Phase};

impl<'a> Rules<'a> {
    /// Statistics come after rows and indexes; a partition tree is looked at from its root.
    pub(super) fn analyze(&mut self, table: &'a TableDiff) {
        let below = table.want.partition().is_some() && !std::ptr::eq(self.root(table), table);
        let rooted = matches!(table.want.kind, TableKind::Partitioned { .. });
        let tree = if rooted { self.tree(table) } else { vec![table] };
        if !self.to.features().analyze || below || !tree.iter().any(|table| self.loads(table)) {
            return;
        }
        let name = &table.want.name;
        let own = id::analyze(name);
        let mut draft = Draft::sql(own.clone(), Phase::Index, self.to.analyze(name));
        for table in &tree {
            draft.needs.extend([id::create(&table.want.name), id::copy(&table.want.name)]);
            draft.needs.extend(self.part_ids(table));
        }
        draft.table = Some(name.clone());
        draft.estimate = pace::analyze(tree.iter().map(|table| table.rows).sum());
        draft.unit = self.part_unit_small(table, own);
        self.add(draft);
    }

    pub(super) fn part_unit_small(&self, table: &TableDiff, id: String) -> String {
        if self.is_small(table) { self.unit_of(table) } else { id }
    }

    /// Sequences are set after the rows of all tables that draw from them; where changes are
    /// followed, at the cutover.
    pub(super) fn set_sequences(&mut self) {
        if !self.inputs.diff.followed.is_empty() {
            return;
        }
        for wanted in &self.inputs.diff.sequences {
            let sequence = &wanted.want.want;
            let drawers = self.drawers.get(&sequence.name);
            let tables: Vec<_> =
                drawers.into_iter().flatten().filter_map(|name| self.tables.get(*name)).collect();
            let tables: Vec<&'a TableDiff> = tables.into_iter().copied().collect();
            let load = tables.iter().any(|table| self.tree(table).iter().any(|table| self.loads(table)));
            if !load && !tables.is_empty() {
                continue;
            }
            let mut draft = Draft::sql(id::set(&sequence.name), Phase::Sequence, Vec::new());
            draft.action = Action::SetSequence {
                source: wanted.want.source.clone(),
                sequence: Box::new(sequence.clone()),
                margin: 0,
            };
            draft.needs = tables.iter().flat_map(|table| self.rows_in(table)).collect();
            draft.needs.insert(id::sequence(&sequence.name));
            if self.to.features().transactional_ddl {
                draft.unit = "sequences".into();
            }
            self.add(draft);
        }
    }
}
