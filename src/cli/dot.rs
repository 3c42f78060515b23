//! A picture in Graphviz's DOT language. Every label is escaped.

use super::escape::dot;
use super::picture::Picture;

pub fn render(name: &str, picture: &Picture) -> String {
    let mut out = format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box];\n", dot(&one_line(name)));
    for (at, node) in picture.nodes.iter().enumerate() {
        let label = format!("{}\n{}", one_line(&node.title), one_line(&node.detail));
        let style = match (node.done, node.critical) {
            (true, _) => ", style=dashed",
            (_, true) => ", penwidth=3",
            _ => "",
        };
        out.push_str(&format!("  n{at} [label=\"{}\"{style}];\n", dot(&label)));
    }
    for (from, to) in &picture.edges {
        out.push_str(&format!("  n{from} -> n{to};\n"));
    }
    out.push_str("}\n");
    out
}

fn one_line(text: &str) -> String {
    super::escape::line(text)
}

#[cfg(test)]
mod tests {
    use super::super::args::GraphLevel;
    use super::super::picture::picture;
    use super::super::review::Done;
    use super::super::sample;
    use super::*;

    #[test]
    fn nodes_and_edges_are_drawn() {
        let shown = render("shop", &picture(&sample::graph(), &Done::new(), GraphLevel::Table, false));
        assert!(shown.starts_with("digraph \"shop\" {\n"), "{shown}");
        assert!(shown.contains("n0 [label=\"app.accounts\\n2 steps, 4.1 M rows, 2 min\"];"), "{shown}");
        assert!(shown.contains("  n0 -> n1;\n"), "{shown}");
    }

    #[test]
    fn i_02_a_name_cannot_leave_its_label() {
        let shown = render("a\"b", &picture(&sample::hostile(), &Done::new(), GraphLevel::Step, false));
        for text in shown.lines().filter(|text| text.contains("label")) {
            let unescaped = text.replace("\\\\", "").replace("\\\"", "");
            assert_eq!(unescaped.matches('"').count(), 2, "{text}");
        }
        assert!(!shown.chars().any(|c| c != '\n' && crate::catalog::name::is_hidden(c)));
    }
}
