//! The saved plan: canonical JSON and its digest, and what differs between two plans. Nothing is
//! ever executed from a saved plan: it is compared with one that is made again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::canonical::Writer;
use super::{Action, EndFacts, Graph, Phase, Step};
use crate::catalog::{Place, Projection};
use crate::change::Followed;
use crate::diff::definition::{changes, hex};

pub use super::canonical::canonical;

/// The plan file that `plan --out` writes and `apply` compares with. The digest covers all but
/// itself. Fields stand in canonical order, so that writing a large plan copies nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedPlan<G = Graph> {
    /// `sha256:` of the YAML.
    pub config: String,
    pub created_at: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    pub expires_at: String,
    /// `towpath.plan/1`.
    pub format: String,
    /// Digest of the goal alone (steps and the structure of both ends, without estimates, hazards
    /// and what follows from them): equal for two plans that would do the same, whenever they
    /// were made.
    pub goal: String,
    pub graph: G,
    pub tool: Tool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub version: String,
    /// Raised whenever planning changes its meaning.
    pub planner: u32,
}

/// This version's planner.
pub const PLANNER: u32 = 1;

/// Digest of everything in a saved plan but itself.
pub fn digest<G: Serialize>(saved: &SavedPlan<G>) -> String {
    sha(&SavedPlan {
        config: saved.config.clone(),
        created_at: saved.created_at.clone(),
        digest: String::new(),
        expires_at: saved.expires_at.clone(),
        format: saved.format.clone(),
        goal: saved.goal.clone(),
        graph: &saved.graph,
        tool: saved.tool.clone(),
    })
}

fn sha<T: Serialize>(data: &T) -> String {
    hex(&Sha256::digest(Writer::default().write(data)))
}

/// Hashes steps one after another.
#[derive(Default)]
pub(super) struct Hasher(Writer);

impl Hasher {
    /// Hash of everything a step was made from, without what follows from estimates: a step that
    /// is done stays done when statistics move.
    pub(super) fn inputs(&mut self, id: &str, action: &Action) -> String {
        hex(&Sha256::digest(self.0.write(&Made { action: essence(action), id })))
    }
}

/// What the mark of a step says that it was made from.
pub fn inputs(id: &str, action: &Action) -> String {
    Hasher::default().inputs(id, action)
}

#[derive(Serialize)]
struct Made<'a> {
    action: Essence<'a>,
    id: &'a str,
}

/// An action without what follows from estimates.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Essence<'a> {
    Copy {
        projection: &'a Projection,
        replace: bool,
    },
    #[serde(untagged)]
    Whole(&'a Action),
}

fn essence(action: &Action) -> Essence<'_> {
    match action {
        Action::Copy { projection, replace, .. } => Essence::Copy { projection, replace: *replace },
        _ => Essence::Whole(action),
    }
}

/// Hash of the list of followed tables.
pub(super) fn followed(tables: &[Followed]) -> String {
    sha(&tables)
}

/// Digest of what a graph would bring about: canonical JSON of both ends, then of each step in the
/// order of their ids, one line each. Units and the order of steps follow estimates and are not in
/// it; neither are hazards, which are judged anew by every run.
pub fn goal(graph: &Graph) -> String {
    let mut steps: Vec<Facts<'_>> = graph.steps.iter().map(facts).collect();
    steps.sort_unstable_by_key(|step| step.id);
    let mut writer = Writer::default();
    let mut hash = Sha256::new();
    let ends = Ends {
        name: &graph.name,
        source: end(&graph.source),
        target: end(&graph.target),
        back: graph.back.as_ref().map(|back| followed(&back.tables)),
    };
    hash.update(writer.write(&ends));
    for step in steps {
        hash.update(b"\n");
        hash.update(writer.write(&step));
    }
    hex(&hash.finalize())
}

/// What of a step is its goal.
#[derive(PartialEq, Serialize)]
struct Facts<'a> {
    id: &'a str,
    inputs: &'a str,
    needs: &'a [String],
    phase: Phase,
}

fn facts(step: &Step) -> Facts<'_> {
    Facts { id: &step.id, inputs: &step.inputs, needs: &step.needs, phase: step.phase }
}

#[derive(Serialize)]
struct Ends<'a> {
    name: &'a str,
    source: End<'a>,
    target: End<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    back: Option<String>,
}

#[derive(Serialize)]
struct End<'a> {
    engine: &'a str,
    objects: &'a BTreeMap<String, String>,
    place: &'a Place,
}

fn end(facts: &EndFacts) -> End<'_> {
    End { engine: &facts.engine, objects: &facts.objects, place: &facts.place }
}

/// How a plan made now differs from a saved one, the first object or step first: lines for a
/// reader, nothing where both have the same goal.
pub fn differences(saved: &Graph, now: &Graph) -> Vec<String> {
    let mut lines = Vec::new();
    if saved.name != now.name {
        lines.push(format!("the plan is called {}, not {}", now.name, saved.name));
    }
    end_differences("source", &saved.source, &now.source, &mut lines);
    end_differences("target", &saved.target, &now.target, &mut lines);
    if lines.is_empty() {
        step_differences(saved, now, &mut lines);
    }
    lines
}

fn end_differences(which: &str, saved: &EndFacts, now: &EndFacts, lines: &mut Vec<String>) {
    if saved.engine != now.engine || saved.place != now.place {
        lines.push(format!("the {which} is another database than the plan was made for"));
        return;
    }
    let names: BTreeSet<&String> = saved.objects.keys().chain(now.objects.keys()).collect();
    for name in names {
        match (saved.objects.get(name), now.objects.get(name)) {
            (Some(a), Some(b)) if a == b => {}
            (Some(_), Some(_)) => {
                lines.push(format!("{which} {name} changed after the plan was made"));
                let none = Vec::new();
                let before = saved.definitions.get(name).unwrap_or(&none);
                let after = now.definitions.get(name).unwrap_or(&none);
                lines.extend(in_place(changes(before, after)).into_iter().map(|line| format!("  {line}")));
            }
            (Some(_), None) => lines.push(format!("{which} {name} is gone")),
            _ => lines.push(format!("{which} {name} is new")),
        }
    }
}

/// A line removed and one added for the same column read as one change: `~ total  a -> b`.
fn in_place(lines: Vec<String>) -> Vec<String> {
    let cut =
        |line: &str| line[2..].split_once("  ").map(|(name, rest)| (name.to_string(), rest.to_string()));
    let mut out: Vec<String> = Vec::new();
    for line in lines {
        let before = out.iter().position(|known| {
            line.starts_with("+ ")
                && known.starts_with("- ")
                && cut(known).is_some_and(|(name, _)| cut(&line).is_some_and(|(new, _)| new == name))
        });
        match (before, cut(&line)) {
            (Some(at), Some((name, rest))) => {
                let old = cut(&out[at]).map(|(_, old)| old).unwrap_or_default();
                out[at] = format!("~ {name}  {old} -> {rest}");
            }
            _ => out.push(line),
        }
    }
    out
}

fn step_differences(saved: &Graph, now: &Graph, lines: &mut Vec<String>) {
    let (before, after) = (by_id(saved), by_id(now));
    for id in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        match (before.get(id), after.get(id)) {
            (Some(a), Some(b)) if facts(a) == facts(b) => {}
            (Some(a), Some(b)) => {
                lines.push(format!("step {id} would do something else"));
                lines.extend(statement_changes(a, b));
            }
            (Some(_), None) => lines.push(format!("step {id} is no longer there")),
            _ => lines.push(format!("step {id} is new")),
        }
    }
}

fn by_id(graph: &Graph) -> BTreeMap<&str, &Step> {
    graph.steps.iter().map(|step| (step.id.as_str(), step)).collect()
}

fn statement_changes(before: &Step, after: &Step) -> Vec<String> {
    let text = |step: &Step| -> Vec<String> {
        match &step.action {
            Action::Sql { statements, .. } => {
                statements.iter().flat_map(|text| text.lines()).map(|line| line.trim().to_string()).collect()
            }
            action => {
                let text = serde_json::to_string_pretty(&essence(action));
                text.unwrap_or_default().lines().map(str::to_string).collect()
            }
        }
    };
    changes(&text(before), &text(after)).into_iter().map(|line| format!("  {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_column_reads_as_one_line() {
        let changed = vec![
            "- total  numeric(10,2)".to_string(),
            "+ coupon_code  varchar(20)".to_string(),
            "+ total  numeric(12,2)".to_string(),
        ];
        assert_eq!(
            in_place(changed),
            ["~ total  numeric(10,2) -> numeric(12,2)", "+ coupon_code  varchar(20)"]
        );
    }
}
