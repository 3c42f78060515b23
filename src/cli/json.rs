//! A plan as JSON for machines: the graph with its sums, what is done, and what stands in the
//! way. Keys are stable; it is not the plan file, and apply does not read it.

use serde_json::{Value, json};

use super::review::{self, CriticalPath, Done};
use crate::graph::Graph;

pub fn render(graph: &Graph, done: &Done) -> String {
    pretty(&value(graph, done))
}

/// Pretty JSON with a line feed. Controls inside strings are escaped by JSON itself; direction
/// marks are escaped here, so that the text is safe on a terminal too.
pub fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value)
        .unwrap_or_else(|error| json!({"error": error.to_string()}).to_string());
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c != '\n' && crate::catalog::name::is_hidden(c) {
            out.push_str(&format!("\\u{:04x}", c as u32));
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}

pub fn value(graph: &Graph, done: &Done) -> Value {
    let path = review::critical_path(graph, done);
    let ids: Vec<&str> = path.steps.iter().map(|at| graph.steps[*at].id.as_str()).collect();
    json!({
        "format": "towpath.review/1",
        "name": graph.name,
        "blocked": review::blocked(graph),
        "nothing_to_do": review::nothing_left(graph, done),
        "summary": summary(graph, done),
        "critical_path": { "seconds": path.seconds, "steps": ids },
        "phases": phases(graph, done, &path),
        "hazards": review::sorted_hazards(graph),
        "tables": graph.tables,
        "left_behind": graph.left_behind,
        "stream": graph.stream,
        "steps": graph.steps,
        "done": done,
        "probes": graph.probes,
        "source": end(&graph.source),
        "target": end(&graph.target),
    })
}

fn end(facts: &crate::graph::EndFacts) -> Value {
    json!({
        "engine": facts.engine,
        "version": facts.version,
        "database": facts.database,
        "identity": facts.place,
        "objects": facts.objects.len(),
    })
}

pub fn summary(graph: &Graph, done: &Done) -> Value {
    let sums = review::summary(graph, done);
    json!({
        "tables": sums.tables,
        "rows": sums.rows,
        "bytes": sums.bytes,
        "unique_keys": sums.keys,
        "indexes": sums.indexes,
        "foreign_keys": sums.foreign_keys,
        "sequences": sums.sequences,
        "change_streams": sums.streams,
        "removed": sums.removed,
        "blocking": sums.blocking,
        "accepted": sums.accepted,
        "warnings": sums.warnings,
        "notes": sums.notes,
        "steps": sums.steps,
        "done": sums.done,
    })
}

fn phases(graph: &Graph, done: &Done, path: &CriticalPath) -> Value {
    let phases = review::phases(graph, done, path).into_iter().map(|facts| {
        json!({
            "phase": facts.phase,
            "steps": facts.steps,
            "done": facts.done,
            "seconds": facts.seconds,
        })
    });
    Value::Array(phases.collect())
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_sums_and_the_verdict_are_machine_readable() {
        let text = render(&sample::graph(), &["app.accounts/create".to_string()].into());
        let read: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(read["blocked"], true);
        assert_eq!(read["nothing_to_do"], false);
        assert_eq!(read["summary"]["rows"], 34_300_000);
        assert_eq!(read["summary"]["done"], 1);
        assert_eq!(read["hazards"][0]["code"], "V202");
        assert_eq!(read["critical_path"]["steps"][0], "app.orders/create");
    }

    #[test]
    fn i_05_no_control_or_direction_mark_is_written_raw() {
        let text = render(&sample::hostile(), &Done::new());
        assert!(!text.chars().any(|c| c != '\n' && crate::catalog::name::is_hidden(c)));
        let read: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(read["name"], sample::hostile().name);
    }
}
