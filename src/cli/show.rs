//! `show`: a saved plan, without any database.

use super::args::ShowArgs;
use super::escape::{block, line};
use super::failure::Failure;
use super::look::Look;
use super::review::{self, Done};
use super::{Face, number, plan, plan_file, sql, text};
use crate::graph::{Graph, Step};

pub fn run(args: &ShowArgs, face: &Face) -> Result<u8, Failure> {
    let saved = plan_file::read(&args.plan)?;
    let graph = &saved.graph;
    let done = Done::new();
    let named = plan_file::named(&args.plan, &saved);
    plan::emit(&args.emit, graph, &done, Some(&named), face)?;
    if let Some(id) = &args.step {
        face.screen.out(&step_page(graph, find(graph, id)?));
    } else if args.sql {
        face.screen.out(&block(&sql::render(graph, &done)));
    } else if !plan::on_stdout(&args.emit) {
        let look = Look { all: args.all, ..face.screen.look() };
        face.screen.out(&text::render(graph, &done, look));
        face.screen.out("\n");
        face.screen.out(&text::saved_lines(&named, review::blocked(graph), look));
    }
    Ok(plan::verdict(graph, &done, args.detailed_exitcode))
}

fn find<'a>(graph: &'a Graph, id: &str) -> Result<&'a Step, Failure> {
    if let Some(step) = graph.step(id) {
        return Ok(step);
    }
    let failure = Failure::usage(format!("the plan has no step {}", line(id)));
    let near = graph.steps.iter().max_by(|a, b| {
        strsim::normalized_levenshtein(&a.id, id).total_cmp(&strsim::normalized_levenshtein(&b.id, id))
    });
    Err(match near {
        Some(step) => failure.help(format!("did you mean {}?", line(&step.id))),
        None => failure,
    })
}

/// One step in full.
fn step_page(graph: &Graph, step: &Step) -> String {
    let mut out = format!("{}\n", line(&step.id));
    let mut row = |name: &str, value: String| out.push_str(&format!("  {name:<9} {value}\n"));
    row("phase", step.phase.word().into());
    row("does", review::kind(step));
    if let Some(table) = &step.table {
        row("table", table.to_string());
    }
    row("needs", ids(&step.needs));
    let waiting = graph.steps.iter().filter(|other| other.needs.contains(&step.id));
    row("before", ids(&waiting.map(|other| other.id.clone()).collect::<Vec<_>>()));
    row("estimate", number::seconds(step.estimate.seconds));
    row("inputs", line(&step.inputs));
    if step.unit != step.id {
        row("unit", format!("{} (one transaction)", line(&step.unit)));
    }
    out.push('\n');
    out.push_str(&block(&sql::step_sql(step, false)));
    out
}

fn ids(ids: &[String]) -> String {
    match ids.is_empty() {
        true => "nothing".into(),
        false => ids.iter().map(|id| line(id)).collect::<Vec<_>>().join("\n            "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_step_is_shown_with_what_it_needs_and_what_needs_it() {
        let graph = sample::graph();
        let step = find(&graph, "app.orders/copy").map_err(|f| f.exit).expect("it is there");
        let page = step_page(&graph, step);
        assert!(page.contains("needs     app.orders/create\n"), "{page}");
        assert!(page.contains("before    app.orders/index/orders_created_idx\n"), "{page}");
        assert!(page.contains("-- copy 1 columns of public.orders"), "{page}");
    }

    #[test]
    fn a_step_that_is_not_there_has_a_near_one() {
        let failure = find(&sample::graph(), "app.orders/cpy").expect_err("it is not there");
        let super::super::failure::What::Message(message) = failure.what else { panic!("a message") };
        assert_eq!(message.help.as_deref(), Some("did you mean app.orders/copy?"));
    }
}
