//! A picture as a Mermaid flowchart, and a catalog as an entity diagram. Every label is escaped:
//! a name can neither end its quotes nor add a directive.

use super::escape::mermaid;
use super::picture::Picture;
use crate::catalog::{Catalog, KeyKind, Table};

pub fn render(picture: &Picture) -> String {
    let mut out = String::from("flowchart LR\n");
    for (at, node) in picture.nodes.iter().enumerate() {
        let label = match node.detail.is_empty() {
            true => mermaid(&node.title),
            false => format!("{}<br/>{}", mermaid(&node.title), mermaid(&node.detail)),
        };
        let class = match (node.done, node.critical) {
            (true, _) => ":::done",
            (_, true) => ":::critical",
            _ => "",
        };
        out.push_str(&format!("  n{at}[\"{label}\"]{class}\n"));
    }
    for (from, to) in &picture.edges {
        out.push_str(&format!("  n{from} --> n{to}\n"));
    }
    out.push_str("  classDef critical stroke-width:3px\n  classDef done stroke-dasharray:4\n");
    out
}

/// Tables, columns and foreign keys of a catalog.
pub fn entities(catalog: &Catalog) -> String {
    let mut out = String::from("erDiagram\n");
    for (at, table) in catalog.tables.iter().enumerate() {
        out.push_str(&format!("  t{at}[\"{}\"] {{\n", mermaid(&table.name.to_string())));
        for column in &table.columns {
            let mark = if in_primary_key(table, &column.name) { " PK" } else { "" };
            let (ty, name) = (word(&column.native), word(&column.name));
            out.push_str(&format!("    {ty} {name}{mark} \"{}\"\n", mermaid(&column.name)));
        }
        out.push_str("  }\n");
    }
    for (at, table) in catalog.tables.iter().enumerate() {
        for key in &table.foreign_keys {
            let parent = catalog.tables.iter().position(|other| other.name == key.parent);
            if let Some(parent) = parent {
                out.push_str(&format!(
                    "  t{parent} ||--o{{ t{at} : \"{}\"\n",
                    mermaid(&key.columns.join(", "))
                ));
            }
        }
    }
    out
}

fn in_primary_key(table: &Table, column: &str) -> bool {
    let primary = table.keys.iter().find(|key| key.kind == KeyKind::Primary);
    primary.is_some_and(|key| key.parts.iter().any(|part| part.column.as_deref() == Some(column)))
}

/// A bare word, as attribute names and types must be.
fn word(text: &str) -> String {
    let safe: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match safe.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => safe,
        false => format!("x{safe}"),
    }
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
        let shown = render(&picture(&sample::graph(), &Done::new(), GraphLevel::Table, false));
        assert!(shown.starts_with("flowchart LR\n"), "{shown}");
        assert!(shown.contains("n0[\"app.accounts<br/>2 steps, 4.1 M rows, 2 min\"]\n"), "{shown}");
        assert!(
            shown.contains("n1[\"app.orders<br/>4 steps, 30.2 M rows, 43 min\"]:::critical\n"),
            "{shown}"
        );
        assert!(shown.contains("  n0 --> n1\n"), "{shown}");
    }

    #[test]
    fn i_02_a_name_cannot_leave_its_label() {
        let shown = render(&picture(&sample::hostile(), &Done::new(), GraphLevel::Step, false));
        for text in shown.lines().filter(|text| text.contains('[')) {
            assert_eq!(text.matches('"').count(), 2, "{text}");
        }
        assert!(!shown.chars().any(|c| c != '\n' && crate::catalog::name::is_hidden(c)));
    }
}
