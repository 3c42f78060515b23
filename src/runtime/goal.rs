//! What a run works towards: the graph with its barrier between rows and keys, and which of its
//! steps are done already. Pure.

use std::collections::{HashMap, HashSet};

use crate::checkpoint::Progress;
use crate::engine::{Cause, EngineError};
use crate::graph::{Action, Estimate, Graph, Phase, Step};

/// The step that stands between the last row and the first foreign key. It does nothing and
/// leaves no mark.
pub(super) const BARRIER: &str = "(all rows)";

/// The graph, with foreign keys, sequences and what follows them waiting for the rows of all
/// tables: until then a table may have to be emptied and copied again, which keys would forbid.
pub(super) fn with_barrier(mut graph: Graph) -> Graph {
    let copies: Vec<usize> = (0..graph.steps.len()).filter(|&at| is_copy(&graph.steps[at])).collect();
    let Some(&last) = copies.last() else { return graph };
    let before = needed_by(&graph, &copies);
    let mut needs: Vec<String> = copies.iter().map(|&at| graph.steps[at].id.clone()).collect();
    needs.sort();
    for (at, step) in graph.steps.iter_mut().enumerate() {
        if step.phase >= Phase::Key && !before.contains(&at) {
            step.needs.push(BARRIER.to_string());
        }
    }
    let barrier = Step {
        id: BARRIER.to_string(),
        phase: Phase::Load,
        needs,
        action: Action::Sql { statements: Vec::new(), index_build: false },
        table: None,
        locks: Vec::new(),
        estimate: Estimate::default(),
        inputs: String::new(),
        unit: BARRIER.to_string(),
    };
    graph.steps.insert(last + 1, barrier);
    graph
}

/// The steps of a graph with its barrier, without that.
pub(super) fn own_steps(graph: &Graph) -> impl Iterator<Item = &Step> {
    graph.steps.iter().filter(|step| step.id != BARRIER)
}

pub(super) fn is_copy(step: &Step) -> bool {
    matches!(step.action, Action::Copy { .. })
}

/// These steps and all that they wait for, directly or not.
pub(super) fn needed_by(graph: &Graph, steps: &[usize]) -> HashSet<usize> {
    let places: HashMap<&str, usize> =
        graph.steps.iter().enumerate().map(|(at, step)| (step.id.as_str(), at)).collect();
    let mut found: HashSet<usize> = HashSet::new();
    let mut queue = steps.to_vec();
    while let Some(at) = queue.pop() {
        if found.insert(at) {
            queue.extend(graph.steps[at].needs.iter().filter_map(|need| places.get(need.as_str())));
        }
    }
    found
}

/// The finished steps of the graph. A mark of a step that was made from something else is never
/// taken for it.
pub(super) fn done_steps(graph: &Graph, progress: &Progress) -> Result<HashSet<String>, EngineError> {
    let steps: HashMap<&str, &Step> = graph.steps.iter().map(|step| (step.id.as_str(), step)).collect();
    let mut done = HashSet::new();
    for mark in &progress.steps {
        let Some(step) = steps.get(mark.step.as_str()) else { continue };
        if step.inputs != mark.inputs {
            let why =
                "an earlier run finished this step from other inputs: the plan or an end has changed since";
            return Err(EngineError::new(Cause::Stale, "go on with", why).on(&step.id).hint(
                "go back to the plan that was applied, or drop what it made and use another plan name",
            ));
        }
        done.insert(mark.step.clone());
    }
    if graph.steps.iter().filter(|step| is_copy(step)).all(|step| done.contains(&step.id)) {
        done.insert(BARRIER.to_string());
    }
    Ok(done)
}

/// Steps that a run up to `until` has to do.
pub(super) fn within(step: &Step, until: Option<Phase>) -> bool {
    until.is_none_or(|last| step.phase <= last)
}
