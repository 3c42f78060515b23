//! The order of steps, and the longest way through them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use petgraph::Direction::{Incoming, Outgoing};
use petgraph::graph::{DiGraph, NodeIndex};

use super::build::Cycle;
use super::{Graph, Step};

/// Sorts steps so that each comes after those it needs, the steps of a unit stand together, and
/// ties fall by phase, then by the longer remaining path, then by id. Needs that no step meets are
/// for objects that are there already, and are dropped.
pub(super) fn sort(mut steps: Vec<Step>) -> Result<Vec<Step>, Cycle> {
    let edges = edges(&mut steps);
    let alphabet = alphabet(&steps);
    let rank = |(at, step): (usize, &Step)| Rank {
        phase: step.phase as u8,
        seconds: step.estimate.seconds,
        id: alphabet[at],
    };
    let ranks: Vec<Rank> = steps.iter().enumerate().map(rank).collect();
    let name = |at: usize| steps[at].id.clone();
    let single = arrange(&ranks, &edges).map_err(|cycle| Cycle(cycle.into_iter().map(name).collect()))?;
    let (units, unit_of) = units(&steps, &single);
    let between = edges.iter().map(|(from, to)| (unit_of[*from], unit_of[*to]));
    let between: Vec<(usize, usize)> = between.filter(|(from, to)| from != to).collect();
    let seconds = |unit: &[usize]| unit.iter().map(|at| ranks[*at].seconds).sum();
    let rank = |unit: &Vec<usize>| Rank { seconds: seconds(unit), ..ranks[unit[0]] };
    let ranks: Vec<Rank> = units.iter().map(rank).collect();
    let first = |at: usize| name(units[at][0]);
    let order = arrange(&ranks, &between).map_err(|cycle| Cycle(cycle.into_iter().map(first).collect()))?;
    let order: Vec<usize> = order.into_iter().flat_map(|unit| units[unit].iter().copied()).collect();
    put_in_order(&mut steps, order);
    Ok(steps)
}

/// Brings each step to its place, where it lies: a second list would be large.
fn put_in_order(steps: &mut [Step], mut order: Vec<usize>) {
    for place in 0..order.len() {
        // What is wanted here was moved on by those before.
        let mut from = order[place];
        while from < place {
            from = order[from];
        }
        order[place] = from;
        steps.swap(place, from);
    }
}

/// What needs what, as places of steps.
fn edges(steps: &mut [Step]) -> Vec<(usize, usize)> {
    let place: HashMap<&str, usize> = steps.iter().enumerate().map(|(at, step)| (&*step.id, at)).collect();
    let mut edges = Vec::new();
    let mut unmet = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        for (number, need) in step.needs.iter().enumerate() {
            match place.get(need.as_str()) {
                Some(from) => edges.push((*from, at)),
                None => unmet.push((at, number)),
            }
        }
    }
    // From the last on, so that the places of those before stay.
    for (at, number) in unmet.into_iter().rev() {
        steps[at].needs.remove(number);
    }
    edges
}

/// The places of steps in the order of their ids: numbers compare faster than names.
fn alphabet(steps: &[Step]) -> Vec<usize> {
    let mut sorted: Vec<usize> = (0..steps.len()).collect();
    sorted.sort_by_key(|at| &steps[*at].id);
    let mut places = vec![0; steps.len()];
    for (place, at) in sorted.into_iter().enumerate() {
        places[at] = place;
    }
    places
}

/// Steps by unit, each in this order, and the unit of each step.
fn units(steps: &[Step], order: &[usize]) -> (Vec<Vec<usize>>, Vec<usize>) {
    let mut units: Vec<Vec<usize>> = Vec::new();
    let mut unit_of = vec![0; steps.len()];
    let mut places: HashMap<&str, usize> = HashMap::new();
    for &at in order {
        let unit = *places.entry(&steps[at].unit).or_insert_with(|| {
            units.push(Vec::new());
            units.len() - 1
        });
        units[unit].push(at);
        unit_of[at] = unit;
    }
    (units, unit_of)
}

/// What ties fall by; the id by its place among all.
#[derive(Clone, Copy)]
struct Rank {
    phase: u8,
    seconds: f64,
    id: usize,
}

/// Places in order, or one cycle as the way around it, its first place again at the end.
fn arrange(ranks: &[Rank], edges: &[(usize, usize)]) -> Result<Vec<usize>, Vec<usize>> {
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
