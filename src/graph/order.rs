//! The order of steps, and the longest way through them. The only file that names petgraph.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use petgraph::Direction::{Incoming, Outgoing};
use petgraph::graph::{DiGraph, NodeIndex};

use super::build::Cycle;
use super::{Graph, Step};

/// Sorts steps so that each comes after those it needs, the steps of a unit stand together, and
/// ties fall by phase, then by the longer remaining path, then by id.
pub(super) fn sort(steps: Vec<Step>) -> Result<Vec<Step>, Cycle> {
    let steps = sort_within(steps)?;
    let mut units: Vec<Vec<Step>> = Vec::new();
    let mut place: HashMap<String, usize> = HashMap::new();
    for step in steps {
        let at = *place.entry(step.unit.clone()).or_insert_with(|| {
            units.push(Vec::new());
            units.len() - 1
        });
        units[at].push(step);
    }
    let unit_of: HashMap<&str, usize> = units
        .iter()
        .enumerate()
        .flat_map(|(at, unit)| unit.iter().map(move |step| (&*step.id, at)))
        .collect();
    let mut edges = Vec::new();
    for (at, unit) in units.iter().enumerate() {
        let needs = unit.iter().flat_map(|step| &step.needs).filter_map(|need| unit_of.get(need.as_str()));
        edges.extend(needs.filter(|from| **from != at).map(|from| (*from, at)));
    }
    let keys: Vec<Rank<'_>> = units
        .iter()
        .map(|unit| Rank {
            phase: unit[0].phase as u8,
            seconds: unit.iter().map(|step| step.estimate.seconds).sum(),
            id: &unit[0].id,
        })
        .collect();
    let order = arrange(&keys, &edges)
        .map_err(|cycle| Cycle(cycle.into_iter().map(|at| units[at][0].id.clone()).collect()))?;
    let mut units: Vec<Option<Vec<Step>>> = units.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|at| units[at].take()).flatten().collect())
}

/// Steps in an order that respects their needs, whatever their units.
fn sort_within(steps: Vec<Step>) -> Result<Vec<Step>, Cycle> {
    let place: HashMap<&str, usize> = steps.iter().enumerate().map(|(at, step)| (&*step.id, at)).collect();
    let mut edges = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        edges.extend(step.needs.iter().filter_map(|need| place.get(need.as_str())).map(|from| (*from, at)));
    }
    let ranks: Vec<Rank<'_>> = steps
        .iter()
        .map(|step| Rank { phase: step.phase as u8, seconds: step.estimate.seconds, id: &step.id })
        .collect();
    let order = arrange(&ranks, &edges)
        .map_err(|cycle| Cycle(cycle.into_iter().map(|at| steps[at].id.clone()).collect()))?;
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|at| steps[at].take()).collect())
}

/// What ties fall by.
struct Rank<'a> {
    phase: u8,
    seconds: f64,
    id: &'a str,
}

/// Places in order, or one cycle as the way around it, its first place again at the end.
fn arrange(ranks: &[Rank<'_>], edges: &[(usize, usize)]) -> Result<Vec<usize>, Vec<usize>> {
    let mut graph: DiGraph<usize, ()> = DiGraph::with_capacity(ranks.len(), edges.len());
    for at in 0..ranks.len() {
        graph.add_node(at);
    }
    for (from, to) in edges {
        graph.add_edge(NodeIndex::new(*from), NodeIndex::new(*to), ());
    }
    let sorted = petgraph::algo::toposort(&graph, None).map_err(|_| way_around(&graph))?;
    let mut path = vec![0.0f64; ranks.len()];
    for node in sorted.iter().rev() {
        let after = graph.neighbors_directed(*node, Outgoing).map(|next| path[next.index()]);
        path[node.index()] = ranks[node.index()].seconds + after.fold(0.0, f64::max);
    }
    let key = |at: usize| Reverse((ranks[at].phase, Reverse(path[at].to_bits()), ranks[at].id, at));
    let mut waits: Vec<usize> =
        (0..ranks.len()).map(|at| graph.neighbors_directed(NodeIndex::new(at), Incoming).count()).collect();
    let mut ready: BinaryHeap<_> = (0..ranks.len()).filter(|at| waits[*at] == 0).map(key).collect();
    let mut order = Vec::with_capacity(ranks.len());
    while let Some(Reverse((_, _, _, at))) = ready.pop() {
        order.push(at);
        for next in graph.neighbors_directed(NodeIndex::new(at), Outgoing) {
            waits[next.index()] -= 1;
            if waits[next.index()] == 0 {
                ready.push(key(next.index()));
            }
        }
    }
    Ok(order)
}

/// Some cycle of a graph that has one.
fn way_around(graph: &DiGraph<usize, ()>) -> Vec<usize> {
    let knots = petgraph::algo::tarjan_scc(graph);
    let loops = |node: &NodeIndex| graph.find_edge(*node, *node).is_some();
    let knot = knots.into_iter().find(|knot| knot.len() > 1 || knot.first().is_some_and(loops));
    let mut knot = knot.unwrap_or_default();
    knot.sort();
    let Some(start) = knot.first().copied() else { return Vec::new() };
    let mut path = vec![start];
    let mut at = start;
    // Every node of a knot leads on inside it; sooner or later one comes again.
    loop {
        let mut next: Vec<_> =
            graph.neighbors_directed(at, Outgoing).filter(|node| knot.contains(node)).collect();
        next.sort();
        let Some(next) = next.first().copied() else { return Vec::new() };
        if let Some(first) = path.iter().position(|node| *node == next) {
            let mut cycle: Vec<usize> = path[first..].iter().map(|node| node.index()).collect();
            cycle.push(next.index());
            return cycle;
        }
        path.push(next);
        at = next;
    }
}

/// The longest way through a graph by estimated seconds: its steps in order, and their sum.
pub fn critical_path(graph: &Graph) -> (Vec<String>, f64) {
    let place: HashMap<&str, usize> =
        graph.steps.iter().enumerate().map(|(at, step)| (&*step.id, at)).collect();
    let mut ends = vec![0.0f64; graph.steps.len()];
    let mut before: Vec<Option<usize>> = vec![None; graph.steps.len()];
    for (at, step) in graph.steps.iter().enumerate() {
        let needs = step.needs.iter().filter_map(|need| place.get(need.as_str())).copied();
        // The first of equal ones, so that the answer is always the same.
        let last = needs.fold(None, |best: Option<usize>, need| match best {
            Some(best) if ends[best] >= ends[need] => Some(best),
            _ => Some(need),
        });
        before[at] = last;
        ends[at] = step.estimate.seconds + last.map_or(0.0, |last| ends[last]);
    }
    let mut at = (0..ends.len()).reduce(|best, at| if ends[at] > ends[best] { at } else { best });
    let seconds = at.map_or(0.0, |at| ends[at]);
    let mut path = Vec::new();
    while let Some(step) = at {
        path.push(graph.steps[step].id.clone());
        at = before[step];
    }
    path.reverse();
    (path, seconds)
}
