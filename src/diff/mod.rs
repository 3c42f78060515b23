//! Floor 4: what the target lacks. Pure: a plan, two catalogs and the progress go in, facts come
//! out. Knows no engine by name: it sees `&dyn Dialect`.

mod acting;
mod against;
mod back;
mod columns;
mod compare;
pub mod definition;
pub mod difference;
pub mod following;
mod found;
pub mod hazard;
pub mod id;
mod keys;
mod kinds;
mod meaning;
mod naming;
mod needed;
mod partitions;
mod road;
mod same;
mod sequences;
mod settle;
mod tables;
pub mod typemap;
mod values;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::catalog::{
    Catalog, Dialect, Extension, ForeignKey, Index, Key, Name, Probe, Projection, Schema, Sequence, Table,
    UserType,
};
use crate::change::{Followed, Identity};
use crate::checkpoint::Progress;
use crate::plan::{Plan, Policy, Problem, Span};

pub use difference::{Difference, State};
pub use following::Finding;
pub use hazard::{Asked, Hazard, Level};
pub use keys::orphans_of;
pub use road::shown;
pub use settle::{Settled, settle};

use road::Road;

/// Both dialects of a pair.
#[derive(Clone, Copy)]
pub struct Dialects<'a> {
    pub source: &'a dyn Dialect,
    pub target: &'a dyn Dialect,
}

/// The facts. Every `want` is in the target's terms, with the target's names.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    pub schemas: Vec<Wanted<Schema>>,
    pub extensions: Vec<Wanted<Extension>>,
    pub types: Vec<Wanted<UserType>>,
    pub sequences: Vec<Wanted<SequencePair>>,
    pub tables: Vec<TableDiff>,
    /// Hazards that need no probe.
    pub hazards: Vec<Hazard>,
    /// What must be asked before the graph can be trusted, and what the answers mean.
    pub asked: Vec<Asked>,
    pub left_behind: Vec<LeftBehind>,
    /// Findings that stop nothing.
    pub warnings: Vec<Problem>,
    /// Tables whose changes are followed, in the order of the list that capture and target get.
    pub followed: Vec<Followed>,
    /// The way back, where the plan asks for one: what is carried from the target to the source.
    pub back: Option<Box<Diff>>,
    /// The target remembers steps of this plan.
    pub begun: bool,
}

impl Diff {
    /// The questions alone, in their order.
    pub fn probes(&self) -> Vec<Probe> {
        self.asked.iter().map(|asked| asked.probe.clone()).collect()
    }
}

/// An object that the target should have, and how it stands with it.
#[derive(Clone, Debug)]
pub struct Wanted<T> {
    pub want: T,
    pub state: State,
}

/// A sequence to be created or reused, and set from its source.
#[derive(Clone, Debug)]
pub struct SequencePair {
    pub source: Name,
    pub want: Sequence,
    /// Columns of the source with numbers out of it, where the plan goes by those.
    pub drawn: Vec<(Name, String)>,
}

/// One carried table.
#[derive(Clone, Debug)]
pub struct TableDiff {
    pub source: Name,
    pub want: Table,
    pub state: State,
    pub projection: Arc<Projection>,
    pub policy: Policy,
    /// By what its rows are told apart while its changes are followed; none: they are not.
    pub identity: Option<Identity>,
    /// How the target's table differs from the source's, line by line for display: renamed,
    /// retyped, skipped columns.
    pub differences: Vec<Difference>,
    pub keys: Vec<Wanted<Key>>,
    pub indexes: Vec<Wanted<Index>>,
    pub foreign_keys: Vec<Wanted<ForeignKey>>,
    /// Tables whose rows come first: foreign keys that are there look for them.
    pub behind: BTreeSet<Name>,
    /// Estimates, of the rows that come.
    pub rows: u64,
    pub bytes: u64,
    /// The entry of `tables:` that brought it.
    pub span: Span,
}

/// Seen on the source, not carried.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct LeftBehind {
    /// `view`, `table`, `index`...
    pub kind: String,
    pub name: Name,
    /// `not carried yet`, `skipped by "tmp_*"`, `indexes: none`.
    pub why: String,
}

/// Compares. Problems are findings that no step can resolve (conflicts, impossible types, names
/// that collide), all at once, with their place in the plan file where there is one.
pub fn compare(
    plan: &Plan,
    source: &Catalog,
    target: &Catalog,
    progress: &Progress,
    dialects: Dialects<'_>,
) -> Result<Diff, Vec<Problem>> {
    let selection = crate::plan::select(plan, source, dialects.source)?;
    compare::run(Road::new(plan, source, target, dialects, &selection), &selection, progress)
}
