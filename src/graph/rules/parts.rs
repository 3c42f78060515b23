//! Keys and indexes, and which steps make one transaction.

use std::collections::{BTreeSet, HashSet};

use super::{Draft, Rules, made, missing};
use crate::catalog::{Index, KeyKind, Name, TableKind};
use crate::diff::{TableDiff, id};
use crate::graph::pace;
use crate::graph::step::{Action, Estimate, Phase, shared_unit};
use crate::plan::Indexes;

/// A table this small goes through in one transaction, its keys and indexes included: the commit
/// would cost more than the work.
const SMALL_BYTES: u64 = 16 << 20;
/// Where only one session writes, commits follow each other, and each waits for the disk: small
/// tables share one. So many, and [`SMALL_BYTES`] in all, are what a crash may have to repeat.
const SHARED_TABLES: usize = 100;

impl<'a> Rules<'a> {
    /// The top of the tree that a table hangs in, or itself.
    pub(super) fn root(&self, table: &'a TableDiff) -> &'a TableDiff {
        let mut at = table;
        for _ in 0..self.tables.len() {
            let parent = at.want.partition().and_then(|partition| self.tables.get(&partition.parent));
            match parent {
                Some(parent) => at = parent,
                None => break,
            }
        }
        at
    }

    /// The table and all that hangs below it.
    pub(super) fn tree(&self, table: &'a TableDiff) -> Vec<&'a TableDiff> {
        let mut tree = vec![table];
        let mut seen: HashSet<&Name> = HashSet::from([&table.want.name]);
        let mut at = 0;
        while at < tree.len() {
            for below in self.below.get(&tree[at].want.name).into_iter().flatten() {
                if seen.insert(&below.want.name) {
                    tree.push(below);
                }
            }
            at += 1;
        }
        tree
    }

    /// A partition tree is created as a whole: attaching locks its root. A table of one chunk is
    /// created in the transaction that loads it.
    pub(super) fn create_unit(&self, table: &'a TableDiff) -> String {
        let root = self.root(table);
        if !std::ptr::eq(root, table) || matches!(table.want.kind, TableKind::Partitioned { .. }) {
            return id::create(&root.want.name);
        }
        if self.is_fused(table) { self.unit_of(table) } else { id::create(&table.want.name) }
    }

    /// Gives small tables their shares in units, in the order of their names.
    pub(super) fn share_units(&mut self) {
        if self.to.features().writers_max > 1 || !self.to.features().transactional_ddl {
            return;
        }
        let diff = self.inputs.diff;
        let plain =
            |table: &&TableDiff| table.want.kind == TableKind::Plain && table.want.inherits.is_empty();
        let small = diff.tables.iter().filter(plain).filter(|table| table.bytes <= SMALL_BYTES);
        let (mut number, mut tables, mut bytes) = (1, 0, 0);
        for table in small {
            if tables == SHARED_TABLES || bytes + table.bytes > SMALL_BYTES {
                (number, tables, bytes) = (number + 1, 0, 0);
            }
            (tables, bytes) = (tables + 1, bytes + table.bytes);
            self.shared.insert(&table.want.name, shared_unit(number));
        }
    }

    /// The unit of all that is done to a table at once.
    pub(super) fn unit_of(&self, table: &TableDiff) -> String {
        self.shared.get(&table.want.name).cloned().unwrap_or_else(|| table.want.name.to_string())
    }

    /// The unit of a table's foreign keys; each has its own where no transaction holds two.
    pub(super) fn foreign_unit(&self, table: &TableDiff, id: &str) -> String {
        match self.to.features().transactional_ddl {
            true => format!("{}/foreign", self.unit_of(table)),
            false => id.to_string(),
        }
    }

    /// Created and loaded in one transaction.
    pub(super) fn is_fused(&self, table: &TableDiff) -> bool {
        let features = self.to.features();
        table.want.kind == TableKind::Plain
            && made(table)
            && table.bytes <= self.inputs.plan.limits.chunk_bytes
            && (features.frozen_load || features.transactional_ddl)
            && !self.names_tables(table)
    }

    /// Whether rows of it name tables.
    pub(super) fn names_tables(&self, table: &TableDiff) -> bool {
        table.want.columns.iter().any(|column| self.to.names_tables(column))
    }

    pub(super) fn is_small(&self, table: &TableDiff) -> bool {
        self.shared.contains_key(&table.want.name) || self.is_fused(table) && table.bytes <= SMALL_BYTES
    }

    /// The unit of a step on a table's structure: the table's own where all is one transaction.
    pub(super) fn part_unit(&self, table: &'a TableDiff, id: &str) -> String {
        if self.is_small(table) || (self.is_early(table) && self.is_fused(table)) {
            return self.unit_of(table);
        }
        if !table.want.holds_rows() {
            return self.create_unit(table);
        }
        id.to_string()
    }

    /// Keys and indexes come before the rows: where the plan says so, and on roots, which have
    /// none of their own.
    pub(super) fn is_early(&self, table: &TableDiff) -> bool {
        table.policy.indexes == Indexes::BeforeLoad || !table.want.holds_rows()
    }

    pub(super) fn part_phase(&self, table: &TableDiff) -> Phase {
        if self.is_early(table) { Phase::Schema } else { Phase::Index }
    }

    /// What a key or index waits for: its table, and the rows unless it comes before them. On a
    /// root: all partitions, for attaching one later would make indexes of its own.
    pub(super) fn part_needs(&self, table: &'a TableDiff) -> BTreeSet<String> {
        let tree = if table.want.holds_rows() { vec![table] } else { self.tree(table) };
        let mut needs: BTreeSet<String> = tree.iter().map(|table| id::create(&table.want.name)).collect();
        if !self.is_early(table) {
            needs.insert(id::copy(&table.want.name));
        }
        needs
    }

    /// Primary, unique and exclusion keys. One that hangs on a root's key comes after that.
    pub(super) fn keys(&mut self, table: &'a TableDiff) {
        if !self.to.features().alter_adds_constraints {
            return;
        }
        let with_table = self.to.features().clustered && made(table);
        let wanted = table.keys.iter().filter(|key| missing(key)).map(|wanted| &wanted.want);
        for key in wanted.filter(|key| !(with_table && key.kind == KeyKind::Primary)) {
            let name = &table.want.name;
            let own = id::key(name, key);
            let mut needs = self.part_needs(table);
            needs.extend(key.parent.as_ref().and_then(|parent| self.parents.get(parent)).cloned());
            let estimate = pace::index(table.rows, key.bytes);
            let phase = self.part_phase(table);
            let draft = match self.to.add_key_in_parts(&table.want, key) {
                Some((build, attach)) => {
                    let first = id::build(name, key);
                    let mut draft = Draft::sql(first.clone(), phase, build);
                    draft.needs = needs;
                    draft.unit = self.part_unit(table, &first);
                    self.add_part(table, draft, estimate, true);
                    let mut draft = Draft::sql(own.clone(), phase, attach);
                    draft.needs = BTreeSet::from([first]);
                    draft.locks = self.attach_locks(table, key.parent.is_some());
                    draft.estimate = pace::statement();
                    draft.table = Some(name.clone());
                    draft.unit = self.part_unit(table, &own);
                    self.add(draft);
                    continue;
                }
                None => Draft::sql(own.clone(), phase, self.to.add_key(&table.want, key)),
            };
            let unit = self.part_unit(table, &own);
            let locks = self.attach_locks(table, key.parent.is_some());
            self.add_part(table, Draft { needs, unit, locks, ..draft }, estimate, true);
        }
    }

    /// Attaching makes the root's index whole when it finds all others attached. Two that do so at
    /// once do not see each other, and the root's stays unusable: one at a time.
    pub(super) fn attach_locks(&self, table: &'a TableDiff, attaches: bool) -> Vec<Name> {
        let root = attaches.then(|| self.root(table).want.name.clone());
        [table.want.name.clone()].into_iter().chain(root).collect()
    }

    pub(super) fn add_part(&mut self, table: &TableDiff, mut draft: Draft, estimate: Estimate, build: bool) {
        if let Action::Sql { index_build, .. } = &mut draft.action {
            *index_build = build && table.want.holds_rows();
        }
        draft.table = Some(table.want.name.clone());
        draft.estimate = if self.is_early(table) { pace::statement() } else { estimate };
        self.add(draft);
    }

    /// Secondary indexes, as keys; several on one table build side by side. One that hangs on a
    /// root's index is attached on its own, so that builds need not wait for each other.
    pub(super) fn indexes(&mut self, table: &'a TableDiff) {
        for index in table.indexes.iter().filter(|index| missing(index)).map(|wanted| &wanted.want) {
            let own = id::index(&table.want.name, &index.name);
            let mut alone = self.to.create_index(&table.want, index);
            let mut attach = Vec::new();
            if index.parent.is_some() {
                let whole = alone;
                alone = self.to.create_index(&table.want, &Index { parent: None, ..index.clone() });
                attach = whole.into_iter().filter(|text| !alone.contains(text)).collect();
            }
            let mut draft = Draft::sql(own.clone(), self.part_phase(table), alone);
            draft.needs = self.part_needs(table);
            draft.unit = self.part_unit(table, &own);
            self.add_part(table, draft, pace::index(table.rows, index.bytes), true);
            let Some(parent) = index.parent.as_ref().filter(|_| !attach.is_empty()) else { continue };
            let id = id::attach(&table.want.name, &index.name);
            let mut draft = Draft::sql(id.clone(), self.part_phase(table), attach);
            draft.needs = self.parents.get(parent).cloned().into_iter().chain([own]).collect();
            draft.locks = self.attach_locks(table, true);
            draft.table = Some(table.want.name.clone());
            draft.unit = self.part_unit(table, &id);
            self.add(draft);
        }
    }

    pub(super) fn part_ids(&self, table: &TableDiff) -> Vec<String> {
        let name = &table.want.name;
        let keys = table.keys.iter().map(|key| id::key(name, &key.want));
        keys.chain(table.indexes.iter().flat_map(|index| index_ids(name, &index.want))).collect()
    }
}

/// The steps of an index, the second only where it is attached.
pub(super) fn index_ids(table: &Name, index: &Index) -> impl Iterator<Item = String> {
    let attach = index.parent.is_some().then(|| id::attach(table, &index.name));
    std::iter::once(id::index(table, &index.name)).chain(attach)
}
