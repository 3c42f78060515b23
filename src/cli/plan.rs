//! `plan`: compares both ends, shows what would be done, saves it. Writes to no database.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::args::{GraphLevel, PlanArgs, PlanFormat};
use super::failure::Failure;
use super::look::Look;
use super::making::{self, Made};
use super::picture::picture;
use super::review::{self, Done};
use super::text::SavedAs;
use super::write::{Access, atomic};
use super::{Face, dot, exit, json, markdown, mermaid, plan_file, sql, text};
use crate::graph::{Graph, digest};
use crate::runtime::Planned;

pub async fn run(args: &PlanArgs, face: &Face) -> Result<u8, Failure> {
    let Made { loaded, planned: Planned { graph, .. }, done, .. } =
        making::make(face, &args.saved, args.probe).await?;
    let graph = &graph;
    let goal = digest::goal(graph);
    let named = match &args.out {
        Some(path) => {
            let saved = plan_file::saved(graph, &goal, &loaded.plan.digest, Timestamp::now(), args.valid_for);
            plan_file::write(path, &saved)?;
            Some(plan_file::named(path, &saved))
        }
        None => None,
    };
    emit(&args.emit, graph, &done, named.as_ref(), face)?;
    if !on_stdout(&args.emit) {
        let look = Look { all: args.all, ..face.screen.look() };
        face.screen.out(&text::render(graph, &done, look));
        closing(face, graph, &done, named.as_ref(), &goal);
    }
    Ok(verdict(graph, &done, args.detailed_exitcode))
}

/// The lines after the plan: where it is, how to apply it.
fn closing(face: &Face, graph: &Graph, done: &Done, named: Option<&SavedAs>, goal: &str) {
    let look = face.screen.look();
    let blocked = review::blocked(graph);
    match named {
        Some(named) => {
            face.screen.out("\n");
            face.screen.out(&text::saved_lines(named, blocked, look));
        }
        None if blocked || review::nothing_left(graph, done) => {}
        None => {
            let digest = text::short_digest(goal);
            face.screen.out(&format!("\nApply exactly this:  towpath apply --expect {digest}\n"));
        }
    }
}

/// The exit code of a plan that was shown.
pub fn verdict(graph: &Graph, done: &Done, detailed: bool) -> u8 {
    match review::blocked(graph) {
        true => exit::BLOCKED,
        false if detailed && !review::nothing_left(graph, done) => exit::DIFFERENT,
        false => exit::DONE,
    }
}

/// Writes the plan in other forms.
pub fn emit(
    wanted: &[(PlanFormat, PathBuf)],
    graph: &Graph,
    done: &Done,
    saved: Option<&SavedAs>,
    face: &Face,
) -> Result<(), Failure> {
    for (format, path) in wanted {
        let text = rendered(*format, graph, done, saved);
        match path == Path::new("-") {
            true => face.screen.out(&text),
            false => atomic(path, text.as_bytes(), Access::Usual)?,
        }
    }
    Ok(())
}

/// Whether standard output is taken by a form of the plan.
pub fn on_stdout(wanted: &[(PlanFormat, PathBuf)]) -> bool {
    wanted.iter().any(|(_, path)| path == Path::new("-"))
}

fn rendered(format: PlanFormat, graph: &Graph, done: &Done, saved: Option<&SavedAs>) -> String {
    let drawn = || picture(graph, done, GraphLevel::Table, false);
    match format {
        PlanFormat::Text => text::render(graph, done, Look::default()),
        PlanFormat::Json => json::render(graph, done),
        PlanFormat::Markdown => markdown::render(graph, done, saved),
        PlanFormat::Sql => sql::render(graph, done),
        PlanFormat::Mermaid => mermaid::render(&drawn()),
        PlanFormat::Dot => dot::render(&graph.name, &drawn()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_blocked_plan_exits_3_whatever_else_was_asked() {
        let graph = sample::graph();
        assert_eq!(verdict(&graph, &Done::new(), true), exit::BLOCKED);
        assert_eq!(verdict(&graph, &Done::new(), false), exit::BLOCKED);
    }

    #[test]
    fn work_to_do_is_2_only_when_asked() {
        let mut graph = sample::graph();
        graph.hazards.clear();
        assert_eq!(verdict(&graph, &Done::new(), true), exit::DIFFERENT);
        assert_eq!(verdict(&graph, &Done::new(), false), exit::DONE);
        let done = graph.steps.iter().map(|step| step.id.clone()).collect();
        assert_eq!(verdict(&graph, &done, true), exit::DONE);
    }
}
