//! A graph reduced to nodes and edges at one level, for the drawings: phases, tables or steps.
//! Pure; draws nothing itself.

use std::collections::{BTreeMap, BTreeSet};

use super::args::GraphLevel;
use super::number::{seconds, short};
use super::review::{self, Done};
use super::text::phase_text;
use crate::graph::{Action, Graph, Step};

/// What is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    pub nodes: Vec<Node>,
    /// From and to, as positions in `nodes`; sorted, each once.
    pub edges: Vec<(usize, usize)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub title: String,
    /// A second line.
    pub detail: String,
    pub done: bool,
    /// On the critical path.
    pub critical: bool,
}

/// The graph at a level. `only_critical` keeps the critical path alone.
pub fn picture(graph: &Graph, done: &Done, level: GraphLevel, only_critical: bool) -> Picture {
    let whole = match level {
        GraphLevel::Phase => phases(graph, done),
        GraphLevel::Table => grouped(graph, done, table_of),
        GraphLevel::Step => grouped(graph, done, |step| step.id.clone()),
    };
    if only_critical { keep_critical(&whole) } else { whole }
}

/// Phases one after the other: their edges are their order.
fn phases(graph: &Graph, done: &Done) -> Picture {
    let node = |facts: review::PhaseFacts| Node {
        title: facts.phase.word().into(),
        detail: format!("{}, {}", phase_text(&facts), seconds(facts.seconds)),
        done: facts.steps == facts.done,
        critical: facts.seconds > 0.0,
    };
    let path = review::critical_path(graph, done);
    let nodes: Vec<Node> = review::phases(graph, done, &path).into_iter().map(node).collect();
    let edges = (1..nodes.len()).map(|at| (at - 1, at)).collect();
    Picture { nodes, edges }
}

fn table_of(step: &Step) -> String {
    match &step.table {
        Some(table) => table.to_string(),
        None => step.phase.word().into(),
    }
}

/// Steps that share a name become one node.
fn grouped(graph: &Graph, done: &Done, name: impl Fn(&Step) -> String) -> Picture {
    let critical: BTreeSet<usize> = review::critical_path(graph, done).steps.into_iter().collect();
    let mut at: BTreeMap<String, usize> = BTreeMap::new();
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (number, step) in graph.steps.iter().enumerate() {
        let node = *at.entry(name(step)).or_insert_with(|| {
            members.push(Vec::new());
            members.len() - 1
        });
        members[node].push(number);
    }
    let home: BTreeMap<&str, usize> =
        graph.steps.iter().map(|step| (step.id.as_str(), at[&name(step)])).collect();
    let mut edges = BTreeSet::new();
    for step in &graph.steps {
        let to = home[step.id.as_str()];
        let from = step.needs.iter().filter_map(|id| home.get(id.as_str()));
        edges.extend(from.filter(|from| **from != to).map(|from| (*from, to)));
    }
    let nodes = members.iter().map(|steps| node(graph, done, steps, &critical, &name)).collect();
    Picture { nodes, edges: edges.into_iter().collect() }
}

fn node(
    graph: &Graph,
    done: &Done,
    members: &[usize],
    critical: &BTreeSet<usize>,
    name: &impl Fn(&Step) -> String,
) -> Node {
    let steps: Vec<&Step> = members.iter().map(|at| &graph.steps[*at]).collect();
    let copies = steps.iter().filter(|step| matches!(step.action, Action::Copy { .. }));
    let rows: u64 = copies.map(|step| step.estimate.rows).sum();
    let time: f64 = steps.iter().map(|step| step.estimate.seconds).sum();
    let count = match steps.len() {
        1 => String::new(),
        number => format!("{number} steps, "),
    };
    let rows = if rows > 0 { format!("{} rows, ", short(rows)) } else { String::new() };
    Node {
        title: steps.first().map(|step| name(step)).unwrap_or_default(),
        detail: format!("{count}{rows}{}", seconds(time)),
        done: steps.iter().all(|step| done.contains(&step.id)),
        critical: members.iter().any(|at| critical.contains(at)),
    }
}

fn keep_critical(whole: &Picture) -> Picture {
    let kept: Vec<usize> = (0..whole.nodes.len()).filter(|at| whole.nodes[*at].critical).collect();
    let place = |old: usize| kept.binary_search(&old).ok();
    let edges = whole.edges.iter().filter_map(|(from, to)| Some((place(*from)?, place(*to)?)));
    Picture { edges: edges.collect(), nodes: kept.iter().map(|at| whole.nodes[*at].clone()).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn titles(picture: &Picture) -> Vec<&str> {
        picture.nodes.iter().map(|node| node.title.as_str()).collect()
    }

    #[test]
    fn tables_are_joined_by_what_their_steps_need() {
        let picture = picture(&sample::graph(), &Done::new(), GraphLevel::Table, false);
        assert_eq!(titles(&picture), ["app.accounts", "app.orders"]);
        assert_eq!(picture.edges, [(0, 1)]);
        assert_eq!(picture.nodes[1].detail, "4 steps, 30.2 M rows, 43 min");
    }

    #[test]
    fn every_step_and_edge_is_drawn_at_step_level() {
        let graph = sample::graph();
        let picture = picture(&graph, &Done::new(), GraphLevel::Step, false);
        assert_eq!(picture.nodes.len(), graph.steps.len());
        assert_eq!(picture.edges.len(), graph.steps.iter().map(|step| step.needs.len()).sum::<usize>());
    }

    #[test]
    fn the_critical_path_alone_is_a_chain() {
        let picture = picture(&sample::graph(), &Done::new(), GraphLevel::Step, true);
        assert_eq!(picture.nodes.len(), 4);
        assert!(picture.nodes.iter().all(|node| node.critical));
        assert!(picture.edges.contains(&(0, 1)) && picture.edges.contains(&(1, 2)));
    }
}
