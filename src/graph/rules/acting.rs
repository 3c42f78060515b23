//! Foreign keys that are on the target before the load: they look at every row that comes, so the
//! rows they point to come first.

use std::collections::{BTreeSet, HashMap};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::catalog::Name;
use crate::diff::{State, TableDiff};

/// Which tables wait for the rows of which. The partitions of one table count as it.
#[derive(Default)]
pub(super) struct Acting<'a> {
    /// From each root to those that it points to; with each its tables.
    points: DiGraph<Vec<&'a Name>, ()>,
    roots: HashMap<&'a Name, NodeIndex>,
    /// The circle that each root is in, be it alone.
    circles: HashMap<NodeIndex, usize>,
}

impl<'a> Acting<'a> {
    pub fn new(tables: &'a [TableDiff], known: &HashMap<&'a Name, &'a TableDiff>) -> Self {
        let mut acting = Self::default();
        for table in tables {
            let root = acting.node(root(&table.want.name, known));
            acting.points[root].push(&table.want.name);
            acting.roots.insert(&table.want.name, root);
        }
        for table in tables {
            let from = acting.node(&table.want.name);
            for key in table.foreign_keys.iter().filter(|key| key.state == State::Present) {
                let to = acting.node(&key.want.parent);
                acting.points.update_edge(from, to, ());
            }
        }
        for (number, circle) in tarjan_scc(&acting.points).into_iter().enumerate() {
            acting.circles.extend(circle.into_iter().map(|root| (root, number)));
        }
        acting
    }

    /// The tables whose rows come before those of the table. Tables that point at each other in a
    /// circle have no order, and get none.
    pub fn before(&self, table: &Name) -> BTreeSet<&'a Name> {
        let Some(&own) = self.roots.get(table) else { return BTreeSet::new() };
        let parents = self.points.neighbors(own).filter(|to| self.circles[to] != self.circles[&own]);
        parents.flat_map(|to| self.points[to].iter().copied()).collect()
    }

    fn node(&mut self, name: &'a Name) -> NodeIndex {
        *self.roots.entry(name).or_insert_with(|| self.points.add_node(Vec::new()))
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
