//! The saved plan: canonical JSON and its digest, and what differs between two plans. Nothing is
//! ever executed from a saved plan: it is compared with one that is made again.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Action, EndFacts, Graph, Step};
use crate::change::Followed;
use crate::diff::definition::{changes, hex};

/// The plan file that `plan --out` writes and `apply` compares with. The digest covers all but
/// itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// `towpath.plan/1`.
    pub format: String,
    pub digest: String,
    /// Digest of the goal alone (steps and the structure of both ends, without estimates, hazards
    /// and what follows from them): equal for two plans that would do the same, whenever they
    /// were made.
    pub goal: String,
    pub tool: Tool,
    pub created_at: String,
    pub expires_at: String,
    /// `sha256:` of the YAML.
    pub config: String,
    pub graph: Graph,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub version: String,
    /// Raised whenever planning changes its meaning.
    pub planner: u32,
}

/// This version's planner.
pub const PLANNER: u32 = 1;

/// Serde values of our own plain data; nothing in them can fail to serialize.
fn to_value<T: Serialize>(data: &T) -> Value {
    serde_json::to_value(data).expect("broken invariant: plans are plain data")
}

/// Digest of everything in a saved plan but itself.
pub fn digest(saved: &SavedPlan) -> String {
    let mut value = to_value(saved);
    if let Value::Object(fields) = &mut value {
        fields.remove("digest");
    }
    sha(&value)
}

fn sha(value: &Value) -> String {
    hex(&Sha256::digest(canonical(value).as_bytes()))
}

/// Canonical JSON (RFC 8785): keys sorted by UTF-16 units, no white space, shortest numbers.
pub fn canonical<T: Serialize>(data: &T) -> String {
    let mut out = String::new();
    write(&to_value(data), &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (at, (key, item)) in fields.into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(item, out);
            }
            out.push('}');
        }
        Value::Number(number) => out.push_str(&shortest(number)),
        other => out.push_str(&other.to_string()),
    }
}

/// A whole float is written as ECMAScript writes it: without a fraction.
fn shortest(number: &serde_json::Number) -> String {
    let text = number.to_string();
    match text.strip_suffix(".0") {
        Some(whole) if number.is_f64() => {
            if whole == "-0" {
                "0".into()
            } else {
                whole.into()
            }
        }
        _ => text,
    }
}

/// Hash of the list of followed tables.
pub(super) fn followed(tables: &[Followed]) -> String {
    sha(&to_value(&tables))
}

/// Hash of everything a step was made from, without what follows from estimates: a step that is
/// done stays done when statistics move.
pub(super) fn inputs(id: &str, action: &Action) -> String {
    sha(&json!({ "id": id, "action": essence(action) }))
}

fn essence(action: &Action) -> Value {
    let mut value = to_value(action);
    if let Some(Value::Object(copy)) = value.get_mut("copy") {
        for field in ["chunk_bytes", "empty", "frozen"] {
            copy.remove(field);
        }
    }
    value
}

/// Digest of what a graph would bring about. Units and the order of steps follow estimates and are
/// not in it; neither are hazards, which are judged anew by every run.
pub fn goal(graph: &Graph) -> String {
    let mut steps: Vec<(&String, Value)> = graph.steps.iter().map(|step| (&step.id, facts(step))).collect();
    steps.sort_by(|a, b| a.0.cmp(b.0));
    let steps: Vec<Value> = steps.into_iter().map(|(_, facts)| facts).collect();
    sha(&json!({
        "name": graph.name,
        "source": end(&graph.source),
        "target": end(&graph.target),
        "steps": steps,
    }))
}

fn facts(step: &Step) -> Value {
    json!({ "id": step.id, "phase": step.phase, "needs": step.needs, "inputs": step.inputs })
}

fn end(facts: &EndFacts) -> Value {
    json!({ "engine": facts.engine, "place": to_value(&facts.place), "objects": facts.objects })
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
    let names: std::collections::BTreeSet<&String> = saved.objects.keys().chain(now.objects.keys()).collect();
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
    let by_id = |graph: &'_ Graph| -> std::collections::BTreeMap<String, Value> {
        graph.steps.iter().map(|step| (step.id.clone(), facts(step))).collect()
    };
    let (before, after) = (by_id(saved), by_id(now));
    for id in before.keys().chain(after.keys()).collect::<std::collections::BTreeSet<_>>() {
        match (before.get(id), after.get(id)) {
            (Some(a), Some(b)) if a == b => {}
            (Some(_), Some(_)) => {
                lines.push(format!("step {id} would do something else"));
                lines.extend(statement_changes(saved.step(id), now.step(id)));
            }
            (Some(_), None) => lines.push(format!("step {id} is no longer there")),
            _ => lines.push(format!("step {id} is new")),
        }
    }
}

fn statement_changes(before: Option<&Step>, after: Option<&Step>) -> Vec<String> {
    let text = |step: Option<&Step>| -> Vec<String> {
        match step.map(|step| &step.action) {
            Some(Action::Sql { statements, .. }) => {
                statements.iter().flat_map(|text| text.lines()).map(|line| line.trim().to_string()).collect()
            }
            Some(action) => {
                let value = essence(action);
                serde_json::to_string_pretty(&value).unwrap_or_default().lines().map(str::to_string).collect()
            }
            None => Vec::new(),
        }
    };
    changes(&text(before), &text(after)).into_iter().map(|line| format!("  {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_sorts_keys_and_writes_the_shortest_numbers() {
        let value = json!({ "b": [1.0, 0.005, -0.0, 12], "a": { "\u{e9}": null, "z": "q\"\n" } });
        assert_eq!(canonical(&value), "{\"a\":{\"z\":\"q\\\"\\n\",\"é\":null},\"b\":[1,0.005,0,12]}");
    }

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
