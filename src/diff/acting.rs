//! Foreign keys that are on the target before the load. Each looks at the rows that come, so the rows
//! it points to come first; and it holds back the emptying of what it points to. Where no order helps,
//! a key is suspended: dropped before the rows and made again after them, or, on engines that load
//! without a look at any key, checked after them.

use std::collections::{BTreeSet, HashMap, HashSet};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::against::There;
use super::difference::State;
use super::found::Found;
use super::road::Road;
use super::{TableDiff, id};
use crate::catalog::name::show;
use crate::catalog::{ForeignKey, Name};
use crate::plan::{Load, Problem};

/// Suspends keys, and sets which tables come first. Keys of the target that the plan does not carry
/// and that point to what is to be emptied are problems.
pub(super) fn settle(road: &Road<'_>, tables: &mut [TableDiff], there: &There<'_>, found: &mut Found) {
    let acting = Acting::new(tables, there);
    acting.look_outside(road, tables, found);
    let unchecked = road.to.features().loads_unchecked;
    for table in tables.iter_mut() {
        let child = acting.root(&table.want.name);
        for key in table.foreign_keys.iter_mut().filter(|key| key.state == State::Present) {
            let parent = acting.root(&key.want.parent);
            let suspended = match unchecked {
                true => acting.loads(child) || acting.is_emptied(parent),
                false => acting.is_in_the_way(child, parent),
            };
            if !suspended {
                continue;
            }
            key.state = State::Suspended;
            if !unchecked {
                let name = show(&key.want.name);
                let what = format!("foreign key {name}: dropped before the load, made again after it");
                let ways = ["drop it yourself: the plan makes it as the source has it"];
                found.hazard("D103", road.at(&table.source), what, &ways);
            }
        }
    }
    if !unchecked {
        acting.order(tables);
    }
}

/// What tells a key of the target from others.
fn told_by<'a>(table: &'a Name, key: &'a ForeignKey) -> (&'a Name, &'a str, &'a [String], &'a Name) {
    (table, &key.name, &key.columns, &key.parent)
}

/// Which tables wait for the rows of which. The partitions of one table count as it.
#[derive(Default)]
struct Acting {
    /// From each root to those that it points to.
    points: DiGraph<Root, ()>,
    roots: HashMap<Name, NodeIndex>,
    /// The circle that each root is in, be it alone.
    circles: HashMap<NodeIndex, usize>,
}

/// A table, with its partitions where it has any.
#[derive(Default)]
struct Root {
    /// Places in the list of tables.
    tables: Vec<usize>,
    loads: bool,
    /// Rows that are there go first.
    emptied: bool,
    /// Some of its rows are still to be loaded.
    waits: bool,
}

impl Acting {
    fn new(tables: &[TableDiff], there: &There<'_>) -> Self {
        let known: HashMap<&Name, &TableDiff> =
            tables.iter().map(|table| (&table.want.name, table)).collect();
        let mut acting = Self::default();
        for (place, table) in tables.iter().enumerate() {
            let name = &table.want.name;
            let node = acting.node(root(name, &known));
            acting.roots.insert(name.clone(), node);
            let (root, loads) = (&mut acting.points[node], table.policy.load != Load::None);
            let loads = loads && table.want.holds_rows();
            root.tables.push(place);
            root.loads |= loads;
            root.emptied |= loads && table.policy.load == Load::Replace && table.state == State::Present;
            root.waits |= loads && !there.did(&id::copy(name));
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

    /// True where rows could not come, or go, with the key in force: what it points to is to be
    /// emptied, or rows point at each other in a circle, if only those of one table.
    fn is_in_the_way(&self, child: Option<NodeIndex>, parent: Option<NodeIndex>) -> bool {
        let (Some(child), Some(parent)) = (child, parent) else { return false };
        let waits = |root: NodeIndex| self.points[root].waits;
        match child == parent || self.circles[&child] == self.circles[&parent] {
            true => self.points[child].loads && waits(child),
            false => self.points[parent].emptied && waits(parent),
        }
    }

    fn loads(&self, root: Option<NodeIndex>) -> bool {
        root.is_some_and(|root| self.points[root].loads)
    }

    fn is_emptied(&self, root: Option<NodeIndex>) -> bool {
        root.is_some_and(|root| self.points[root].emptied)
    }

    fn root(&self, table: &Name) -> Option<NodeIndex> {
        self.roots.get(table).copied()
    }

    /// Keys that the plan does not carry hold rows of other tables.
    fn look_outside(&self, road: &Road<'_>, tables: &[TableDiff], found: &mut Found) {
        let carried: HashSet<_> = tables
            .iter()
            .flat_map(|table| table.foreign_keys.iter().map(move |key| (&table.want.name, key)))
            .filter(|(_, key)| key.state != State::Missing)
            .map(|(table, key)| told_by(table, &key.want))
            .collect();
        for table in &road.target.tables {
            for key in &table.foreign_keys {
                let Some(parent) = self.root(&key.parent) else { continue };
                let emptied = self.points[parent].emptied && self.points[parent].waits;
                let own = self.root(&table.name) == Some(parent);
                if !emptied || own || carried.contains(&told_by(&table.name, key)) {
                    continue;
                }
                let message = format!(
                    "foreign key {} of {} refers to {}, whose rows are replaced, and the plan does not carry it",
                    show(&id::foreign_label(key)),
                    table.name,
                    key.parent
                );
                let help = "drop it on the target, or carry its table with the key; or empty the tables yourself, \
                            with load: copy";
                found.problems.push(Problem::error("E209", message).help(help));
            }
        }
    }

    /// The rows that keys in force look for come first. Tables that point at each other in a circle
    /// have no order, and get none.
    fn order(&self, tables: &mut [TableDiff]) {
        let mut parents: HashMap<NodeIndex, BTreeSet<NodeIndex>> = HashMap::new();
        for table in tables.iter() {
            for key in table.foreign_keys.iter().filter(|key| key.state == State::Present) {
                let (Some(from), Some(to)) = (self.root(&table.want.name), self.root(&key.want.parent))
                else {
                    continue;
                };
                if self.circles[&from] != self.circles[&to] {
                    parents.entry(from).or_default().insert(to);
                }
            }
        }
        for (own, parents) in parents {
            let places = parents.iter().flat_map(|parent| &self.points[*parent].tables);
            let behind: BTreeSet<Name> = places.map(|place| tables[*place].want.name.clone()).collect();
            for place in &self.points[own].tables {
                tables[*place].behind = behind.clone();
            }
        }
    }

    fn node(&mut self, name: &Name) -> NodeIndex {
        match self.roots.get(name) {
            Some(node) => *node,
            None => {
                let node = self.points.add_node(Root::default());
                self.roots.insert(name.clone(), node);
                node
            }
        }
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
