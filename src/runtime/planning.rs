//! From two ends to a graph: inspects, compares, probes, builds. Writes nothing anywhere.

use crate::catalog::Catalog;
use crate::checkpoint::Progress;
use crate::diff::Diff;
use crate::engine::{EngineError, Source, Target};
use crate::graph::Graph;
use crate::graph::build::Cycle;
use crate::plan::{Plan, Problem};

/// Live ends, saved catalogs, or one of each.
pub struct Ends {
    pub source: SourceEnd,
    pub target: TargetEnd,
}

pub enum SourceEnd {
    Live(Box<dyn Source>),
    Saved(Box<Catalog>),
}

pub enum TargetEnd {
    Live(Box<dyn Target>),
    Saved(Box<Catalog>),
}

/// How much planning may ask of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeLevel {
    None,
    Metadata,
    Standard,
    Full,
}

/// A plan, made.
pub struct Planned {
    pub graph: Graph,
    pub diff: Diff,
    pub progress: Progress,
    pub warnings: Vec<Problem>,
}

/// Why there is no plan.
#[derive(Debug)]
pub enum PlanFailure {
    Problems(Vec<Problem>),
    Cycle(Cycle),
    Engine(EngineError),
}

/// Makes the graph. `today`: `YYYY-MM-DD`, UTC.
pub async fn make_plan(
    plan: &Plan,
    ends: &Ends,
    level: ProbeLevel,
    today: &str,
) -> Result<Planned, PlanFailure> {
    let _ = (plan, ends, level, today);
    Err(PlanFailure::Problems(Vec::new()))
}
