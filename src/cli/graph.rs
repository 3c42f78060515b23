//! `graph`: the steps and what they wait for, drawn or listed.

use serde_json::json;

use super::args::{GraphArgs, GraphFormat, ProbeArg};
use super::escape::line;
use super::failure::Failure;
use super::look::{Line, Look, Page, Tone};
use super::picture::{Picture, picture};
use super::review::Done;
use super::{Face, dot, exit, making, mermaid, plan_file};
use crate::graph::Graph;

pub async fn run(args: &GraphArgs, face: &Face) -> Result<u8, Failure> {
    let (graph, done) = match &args.plan {
        Some(path) => (plan_file::read(path)?.graph, Done::new()),
        None => {
            let made = making::make(face, &args.saved, ProbeArg::Metadata).await?;
            (made.planned.graph, made.done)
        }
    };
    let drawn = picture(&graph, &done, args.level, args.critical_path);
    face.screen.out(&rendered(args.format, &graph, &drawn, face.screen.look()));
    Ok(exit::DONE)
}

fn rendered(format: GraphFormat, graph: &Graph, drawn: &Picture, look: Look) -> String {
    match format {
        GraphFormat::Text => text(drawn, look),
        GraphFormat::Mermaid => mermaid::render(drawn),
        GraphFormat::Dot => dot::render(&graph.name, drawn),
        GraphFormat::Json => super::json::pretty(&value(drawn)),
    }
}

fn text(drawn: &Picture, look: Look) -> String {
    let mut page = Page::new(look);
    for (at, node) in drawn.nodes.iter().enumerate() {
        let tone = if node.critical { Tone::Strong } else { Tone::Plain };
        let mark = match (node.done, node.critical) {
            (true, _) => "=",
            (_, true) => "*",
            _ => " ",
        };
        let head = Line::new().text(mark).text(" ").add(tone, line(&node.title));
        page.line(head.right(Tone::Dim, line(&node.detail)));
        for (from, _) in drawn.edges.iter().filter(|(_, to)| *to == at) {
            page.line(Line::new().text("    after ").add(Tone::Dim, line(&drawn.nodes[*from].title)));
        }
    }
    page.gap();
    page.line(Line::new().add(Tone::Dim, "* on the critical path   = done"));
    page.finish()
}

fn value(drawn: &Picture) -> serde_json::Value {
    let nodes = drawn.nodes.iter().map(|node| {
        json!({ "title": node.title, "detail": node.detail, "done": node.done, "critical": node.critical })
    });
    let edges = drawn.edges.iter().map(|(from, to)| json!({ "from": from, "to": to }));
    json!({ "nodes": nodes.collect::<Vec<_>>(), "edges": edges.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::super::args::GraphLevel;
    use super::super::sample;
    use super::*;

    #[test]
    fn each_node_says_what_it_waits_for() {
        let graph = sample::graph();
        let drawn = picture(&graph, &Done::new(), GraphLevel::Table, false);
        let shown = text(&drawn, Look::default());
        assert!(shown.contains("* app.orders"), "{shown}");
        assert!(shown.contains("    after app.accounts\n"), "{shown}");
        assert_eq!(value(&drawn)["edges"][0]["from"], 0);
    }
}
