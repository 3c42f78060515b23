//! A plan as SQL to read: every statement in order, under the id of its step. What no statement
//! expresses (a copy, a sequence's value) is a comment. Never read back by us.

use super::escape::line;
use super::number::{bytes, short};
use super::review::Done;
use crate::graph::{Action, CatchUpTo, Graph, Step};

pub fn render(graph: &Graph, done: &Done) -> String {
    let mut out = format!(
        "-- {} for {}: {} steps\n-- for review only: towpath apply makes these statements itself\n",
        line(&graph.name),
        line(&graph.target.engine),
        graph.steps.len()
    );
    for step in &graph.steps {
        out.push('\n');
        out.push_str(&step_sql(step, done.contains(&step.id)));
    }
    out
}

/// How many statements the plan has.
pub fn statements(graph: &Graph) -> usize {
    let of = |step: &Step| match &step.action {
        Action::Sql { statements, .. } => statements.len(),
        _ => 0,
    };
    graph.steps.iter().map(of).sum()
}

/// One step.
pub fn step_sql(step: &Step, done: bool) -> String {
    let mark = if done { " (done)" } else { "" };
    let mut out = format!("-- {}{mark}\n", line(&step.id));
    match &step.action {
        Action::Sql { statements, .. } => push_all(&mut out, statements),
        Action::Copy { projection, empty, replace, .. } => {
            if *replace {
                push_all(&mut out, empty);
            }
            let filter =
                projection.filter.as_ref().map(|f| format!(" where {}", line(f))).unwrap_or_default();
            out.push_str(&format!(
                "-- copy {} columns of {} into {}{filter}: about {} rows, {}\n",
                projection.columns.len(),
                projection.source,
                projection.target,
                short(step.estimate.rows),
                bytes(step.estimate.bytes)
            ));
        }
        Action::Check { query, message } => {
            out.push_str(&format!("-- must return no row: {}\n", line(message)));
            push_all(&mut out, std::slice::from_ref(query));
        }
        Action::OpenCapture { .. } => {
            out.push_str("-- make the source keep its changes, and take the snapshot of all copies there\n");
        }
        Action::CatchUp { to: CatchUpTo::Consistent, .. } => {
            out.push_str("-- apply changes up to the latest start of any copy: all rows belong together\n");
        }
        Action::CatchUp { to: CatchUpTo::Head, .. } => {
            out.push_str("-- apply changes up to what the source has then\n");
        }
        Action::SetSequence { source, sequence, margin } => out.push_str(&format!(
            "-- set {} beyond the value of {} at that time, by {margin}\n",
            sequence.name, source
        )),
    }
    out
}

fn push_all(out: &mut String, statements: &[String]) {
    for statement in statements {
        out.push_str(statement.trim_end());
        out.push_str(";\n");
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn every_statement_is_there_in_order_under_its_step() {
        let shown = render(&sample::graph(), &["app.accounts/create".to_string()].into());
        let expected =
            "\n-- app.accounts/create (done)\ncreate table app.accounts ();\n\n-- app.orders/create\n";
        assert!(shown.contains(expected), "{shown}");
        assert!(
            shown.contains("-- copy 1 columns of public.orders into app.orders: about 30.2 M rows"),
            "{shown}"
        );
        assert_eq!(statements(&sample::graph()), 4);
    }

    #[test]
    fn i_02_a_step_id_cannot_leave_its_comment() {
        let shown = render(&sample::hostile(), &Done::new());
        for text in shown.lines() {
            let ours = text.is_empty() || text.starts_with("-- ") || text.ends_with(';');
            assert!(ours, "{text:?} in\n{shown}");
        }
    }
}
