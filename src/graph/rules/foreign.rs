//! Foreign keys, and checks that hold for new rows only: what comes after all rows. Keys that are out
//! of force while rows come go before them.

use std::collections::BTreeSet;

use super::parts::index_ids;
use super::{Draft, Rules, made, missing};
use crate::catalog::{ForeignKey, Key, KeyKind, TableKind};
use crate::diff::hazard::{Hazard, Standing};
use crate::diff::{State, TableDiff, id, orphans_of, shown};
use crate::graph::pace;
use crate::graph::step::{Action, Phase};

impl<'a> Rules<'a> {
    /// A check that is not valid holds for new rows only: it comes after the old ones.
    pub(super) fn checks(&mut self, table: &'a TableDiff) {
        if !made(table) || !self.to.features().alter_adds_constraints {
            return;
        }
        for check in table.want.checks.iter().filter(|check| !check.validated && !check.inherited) {
            let own = id::check(&table.want.name, &check.name);
            let mut draft = Draft::sql(own, Phase::Key, self.to.add_check(&table.want, check));
            draft.needs = self.rows_in(table).into_iter().collect();
            draft.table = Some(table.want.name.clone());
            draft.locks = vec![table.want.name.clone()];
            self.add(draft);
        }
    }

    /// Foreign keys come after the rows of both tables and the parent's unique keys; those of one
    /// child go together. An engine that made them with the table, or does not look at them while it
    /// loads, checks them at the end.
    pub(super) fn foreign_keys(&mut self, table: &'a TableDiff) {
        for wanted in table.foreign_keys.iter().filter(|key| missing(key)) {
            let (key, suspended) = (&wanted.want, wanted.state == State::Suspended);
            let there = suspended && self.to.features().loads_unchecked;
            if self.to.features().alter_adds_constraints && !there {
                if suspended {
                    self.drop_foreign_key(table, key);
                }
                self.add_foreign_key(table, key, suspended);
            } else if (made(table) || there) && key.validated && !self.orphans_accepted(table, key) {
                self.check_foreign_key(table, key);
            }
        }
    }

    /// Before any row: the rows would come in an order that it does not allow.
    fn drop_foreign_key(&mut self, table: &'a TableDiff, key: &ForeignKey) {
        let name = &table.want.name;
        let own = id::drop_foreign(name, key);
        let mut draft = Draft::sql(own, Phase::Load, self.to.drop_foreign_key(name, key));
        draft.table = Some(name.clone());
        draft.locks = vec![name.clone(), key.parent.clone()];
        self.add(draft);
    }

    /// The keys that are dropped, by both of their tables.
    pub(super) fn know_drops(&mut self) {
        if self.to.features().loads_unchecked {
            return;
        }
        for table in &self.inputs.diff.tables {
            let suspended = table.foreign_keys.iter().filter(|key| key.state == State::Suspended);
            for key in suspended.map(|key| &key.want) {
                let own = id::drop_foreign(&table.want.name, key);
                let parent = self.tables.get(&key.parent).copied();
                for end in [Some(table), parent].into_iter().flatten() {
                    let root = &self.root(end).want.name;
                    self.drops.entry(root).or_default().push(own.clone());
                }
            }
        }
    }

    pub(super) fn foreign_needs(&self, table: &'a TableDiff, key: &ForeignKey) -> BTreeSet<String> {
        let mut needs: BTreeSet<String> = self.rows_in(table).into_iter().collect();
        if let Some(parent) = self.tables.get(&key.parent) {
            needs.extend(self.rows_in(parent));
            // The key of a root is whole when those of all its partitions are.
            let trees = if parent.want.holds_rows() { vec![*parent] } else { self.tree(parent) };
            needs.extend(trees.iter().flat_map(|table| self.unique_ids(table, key)));
        }
        needs
    }

    /// The keys and unique indexes that a foreign key may lean on.
    pub(super) fn unique_ids(&self, parent: &TableDiff, key: &ForeignKey) -> Vec<String> {
        let name = &parent.want.name;
        let wanted: BTreeSet<&str> = key.parent_columns.iter().map(String::as_str).collect();
        let leans = |parts: &[crate::catalog::IndexPart], primary: bool| {
            let columns: BTreeSet<&str> = parts.iter().filter_map(|part| part.column.as_deref()).collect();
            columns == wanted || (wanted.is_empty() && primary)
        };
        let is_primary = |key: &Key| key.kind == KeyKind::Primary;
        let keys = parent.keys.iter().filter(|key| leans(&key.want.parts, is_primary(&key.want)));
        let indexes =
            parent.indexes.iter().filter(|index| index.want.unique && leans(&index.want.parts, false));
        let keys = keys.map(|key| id::key(name, &key.want));
        keys.chain(indexes.flat_map(|index| index_ids(name, &index.want))).collect()
    }

    /// Roots cannot have unchecked foreign keys.
    pub(super) fn is_tree(&self, table: &TableDiff, key: &ForeignKey) -> bool {
        let rooted = |table: &TableDiff| matches!(table.want.kind, TableKind::Partitioned { .. });
        rooted(table) || self.tables.get(&key.parent).is_some_and(|parent| rooted(parent))
    }

    fn add_foreign_key(&mut self, table: &'a TableDiff, key: &ForeignKey, again: bool) {
        let name = &table.want.name;
        let later = self.to.features().validates_later;
        let at_once = !later || self.is_tree(table, key);
        // Where nothing can be validated later, what is not to be checked never is.
        let unchecked = !later && (!key.validated || self.orphans_accepted(table, key));
        let own = id::foreign(name, key);
        let statements = self.to.add_foreign_key(&table.want, key, at_once && !unchecked);
        let mut draft = Draft::sql(own.clone(), Phase::Key, statements);
        draft.needs = self.foreign_needs(table, key);
        draft.needs.extend(again.then(|| id::drop_foreign(name, key)));
        draft.table = Some(name.clone());
        draft.locks = vec![name.clone(), key.parent.clone()];
        draft.estimate = if at_once { pace::check(table.rows) } else { pace::statement() };
        draft.unit = self.foreign_unit(table, &own);
        self.add(draft);
        if at_once || !key.validated || self.orphans_accepted(table, key) {
            return;
        }
        let validate = id::validate(name, key);
        let statements = self.to.validate_foreign_key(&table.want, key);
        let mut draft = Draft::sql(validate.clone(), Phase::Key, statements);
        draft.needs = BTreeSet::from([own]);
        draft.table = Some(name.clone());
        // Two validations of one table wait for each other anyway.
        draft.locks = vec![name.clone()];
        draft.estimate = pace::check(table.rows);
        draft.unit = if self.is_small(table) { self.foreign_unit(table, &validate) } else { validate };
        self.add(draft);
    }

    fn check_foreign_key(&mut self, table: &'a TableDiff, key: &ForeignKey) {
        let name = &table.want.name;
        let Some(query) = self.to.validate_foreign_key(&table.want, key).into_iter().next() else { return };
        let label = id::foreign_label(key);
        let message = format!("rows of {name} have no parent in {} by foreign key {label}", key.parent);
        let own = id::validate(name, key);
        let mut draft = Draft::sql(own.clone(), Phase::Key, Vec::new());
        draft.action = Action::Check { query, message };
        draft.needs = self.foreign_needs(table, key);
        draft.table = Some(name.clone());
        draft.estimate = pace::check(table.rows);
        draft.unit = self.foreign_unit(table, &own);
        self.add(draft);
    }

    /// An accepted K303 adds the key and leaves the old rows unchecked.
    pub(super) fn orphans_accepted(&self, table: &TableDiff, key: &ForeignKey) -> bool {
        let source = |name: &String| {
            let map = table.projection.columns.iter().find(|map| map.target == *name);
            map.map_or_else(|| name.clone(), |map| map.source.clone())
        };
        let columns: Vec<String> = key.columns.iter().map(source).collect();
        let (what, at) = (orphans_of(&columns), shown(&self.inputs.source, &table.source));
        self.accepted.iter().any(|(place, words)| *place == at && words.starts_with(&what))
    }
}

/// Places and words of accepted K303.
pub(super) fn accepted_orphans(hazards: &[Hazard]) -> Vec<(&str, &str)> {
    let accepted = hazards
        .iter()
        .filter(|hazard| hazard.code == "K303" && matches!(hazard.state, Standing::Accepted { .. }));
    accepted.map(|hazard| (hazard.at.as_str(), hazard.what.as_str())).collect()
}
