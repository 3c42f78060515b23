//! Foreign keys that are on the target before the load: they look at every row that comes, so the
//! rows they point to come first.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::catalog::Name;
use crate::diff::{State, TableDiff};

/// Which tables wait for the rows of which. The partitions of one table count as it.
#[derive(Default)]
pub(super) struct Acting<'a> {
    roots: HashMap<&'a Name, &'a Name>,
    /// The tables below each root, with itself.
    trees: HashMap<&'a Name, Vec<&'a Name>>,
    /// From each root to those that it points to.
    points: HashMap<&'a Name, BTreeSet<&'a Name>>,
}

impl<'a> Acting<'a> {
    pub fn new(tables: &'a [TableDiff], known: &HashMap<&'a Name, &'a TableDiff>) -> Self {
        let mut acting = Self::default();
        for table in tables {
            let root = root(&table.want.name, known);
            acting.roots.insert(&table.want.name, root);
            acting.trees.entry(root).or_default().push(&table.want.name);
        }
        for table in tables {
            let from = acting.root(&table.want.name);
            let keys = table.foreign_keys.iter().filter(|key| key.state == State::Present);
            let to = keys.map(|key| acting.root(&key.want.parent)).filter(|to| *to != from);
            let to: Vec<&Name> = to.collect();
            acting.points.entry(from).or_default().extend(to);
        }
        acting
    }

    /// The tables whose rows come before those of the table. Tables that point at each other in a
    /// circle have no order, and get none.
    pub fn before(&self, table: &'a Name) -> impl Iterator<Item = &'a Name> {
        let own = self.root(table);
        let parents =
            self.points.get(own).into_iter().flatten().filter(move |parent| !self.leads(parent, own));
        parents.filter_map(|parent| self.trees.get(parent)).flatten().copied()
    }

    fn root(&self, table: &'a Name) -> &'a Name {
        self.roots.get(table).copied().unwrap_or(table)
    }

    fn leads(&self, from: &'a Name, to: &Name) -> bool {
        let (mut seen, mut queue) = (HashSet::from([from]), vec![from]);
        while let Some(at) = queue.pop() {
            if at == to {
                return true;
            }
            let next = self.points.get(at).into_iter().flatten().copied();
            queue.extend(next.filter(|next| seen.insert(*next)));
        }
        false
    }
}

/// The partitioned table that a table belongs to in the end.
fn root<'a>(name: &'a Name, known: &HashMap<&'a Name, &'a TableDiff>) -> &'a Name {
    let mut at = name;
    // No more steps than tables: a doctored catalog may go round.
    for _ in 0..known.len() {
        match known.get(at).and_then(|table| table.want.partition()) {
            Some(partition) => at = &partition.parent,
            None => break,
        }
    }
    at
}
