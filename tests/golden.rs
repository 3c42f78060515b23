//! Golden cases: a plan, two catalogs and the progress in one text file, and what planning makes of
//! them: graph with SQL, hazards, problems. No database. `TOWPATH_GOLDEN=update` writes what came
//! out into the files, to be reviewed as a diff.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use towpath::catalog::probe::Measured;
use towpath::catalog::{Answer, Catalog};
use towpath::checkpoint::{Progress, StepMark};
use towpath::diff::{self, Dialects};
use towpath::engine::engine_named;
use towpath::graph::build::{Inputs, done_otherwise};
use towpath::graph::{self, Action, Graph};
use towpath::plan::{self, Plan, Problem, Variables};

/// A case file's sections, in their order.
const SECTIONS: [&str; 6] = ["plan", "source", "target", "progress", "answers", "expect"];
const TODAY: &str = "2026-06-01";

struct Case {
    path: PathBuf,
    text: String,
}

/// What a case is made of.
pub struct Setting {
    pub plan: Plan,
    pub source: Catalog,
    pub target: Catalog,
    pub progress: Progress,
    /// Rows found by code and place, such as `V203 users.bio`.
    pub answers: Vec<(String, u64)>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "case"))
        .collect();
    paths.sort();
    paths.into_iter().map(|path| Case { text: std::fs::read_to_string(&path).unwrap(), path }).collect()
}

/// A section's text; empty where the case has none.
fn section<'a>(text: &'a str, name: &str) -> &'a str {
    let mark = format!("=== {name}\n");
    let Some(start) = text.find(&mark) else { return "" };
    let body = &text[start + mark.len()..];
    let end = SECTIONS.iter().filter_map(|next| body.find(&format!("=== {next}\n"))).min();
    &body[..end.unwrap_or(body.len())]
}

pub fn catalog(yaml: &str) -> Catalog {
    serde_yaml::from_str(yaml).unwrap_or_else(|error| panic!("catalog: {error}\n{yaml}"))
}

pub fn plan_of(text: &str) -> Result<Plan, Vec<Problem>> {
    plan::resolve("case.yaml", text.as_bytes(), &Variables::new()).map(|(plan, _)| plan)
}

fn setting(text: &str) -> Result<Setting, Vec<Problem>> {
    Ok(Setting {
        plan: plan_of(section(text, "plan"))?,
        source: catalog(section(text, "source")),
        target: catalog(section(text, "target")),
        progress: Progress::default(),
        answers: section(text, "answers").lines().filter_map(answer).collect(),
    })
}

/// `V203 users.bio: 12`
fn answer(line: &str) -> Option<(String, u64)> {
    let (place, rows) = line.rsplit_once(": ")?;
    Some((place.to_string(), rows.trim().parse().unwrap()))
}

/// Plans as `make_plan` does, with the answers of the case; whatever has none is zero.
pub fn make(setting: &Setting) -> Result<(Graph, Vec<Problem>), Vec<Problem>> {
    let dialect = |catalog: &Catalog| engine_named(&catalog.engine).unwrap().dialect();
    let dialects = Dialects { source: dialect(&setting.source), target: dialect(&setting.target) };
    let Setting { plan, source, target, progress, .. } = setting;
    let diff = diff::compare(plan, source, target, progress, dialects)?;
    let answers: Vec<Answer> = diff
        .asked
        .iter()
        .map(|asked| {
            let place = format!("{} {}", asked.hazard.code, asked.hazard.at);
            let rows = setting.answers.iter().find(|(known, _)| *known == place).map_or(0, |(_, rows)| *rows);
            let extremes = Some(("7".to_string(), "42".to_string()));
            Answer { rows: Some(rows), measured: Measured::Exact, extremes }
        })
        .collect();
    let settled = diff::settle(plan, source, &diff, &answers, TODAY);
    if !settled.problems.is_empty() {
        return Err(settled.problems);
    }
    let inputs =
        Inputs { plan, source, target, diff: &diff, hazards: &settled.hazards, answers: &answers, dialects };
    let graph = graph::build(&inputs).unwrap_or_else(|cycle| panic!("{cycle}"));
    let (problems, stale) = done_otherwise(&graph, progress);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok((graph, [diff.warnings.as_slice(), &settled.warnings, &stale].concat()))
}

/// Marks for the steps that a case says are done; `!` behind one: with other inputs.
fn progress(text: &str, graph: &Graph) -> Progress {
    let mark = |line: &str| {
        let (id, other) = line.strip_suffix(" !").map_or((line, false), |id| (id, true));
        let step = graph.step(id).map(|step| step.inputs.clone()).unwrap_or_default();
        StepMark {
            step: id.to_string(),
            inputs: if other { "sha256:other".into() } else { step },
            rows: 0,
            bytes: 0,
            millis: 1,
            at: String::new(),
        }
    };
    Progress {
        steps: text.lines().filter(|line| !line.is_empty()).map(mark).collect(),
        ..Progress::default()
    }
}

fn outcome(text: &str) -> String {
    let mut setting = match setting(text) {
        Ok(setting) => setting,
        Err(problems) => return problems_text(&problems),
    };
    let marks = section(text, "progress");
    if !marks.trim().is_empty() {
        // The marks carry the inputs that the same plan has with an empty target.
        let empty = Catalog {
            tables: Vec::new(),
            sequences: Vec::new(),
            types: Vec::new(),
            ..setting.target.clone()
        };
        let had = Setting { target: empty, ..self::setting(text).unwrap() };
        let (first, _) = make(&had).unwrap_or_else(|problems| panic!("{}", problems_text(&problems)));
        setting.progress = progress(marks, &first);
    }
    match make(&setting) {
        Ok((graph, warnings)) => render(&graph, &setting.progress, &warnings),
        Err(problems) => problems_text(&problems),
    }
}

fn problems_text(problems: &[Problem]) -> String {
    let mut out = String::new();
    for problem in problems {
        let line = problem.span.map_or(String::new(), |span| format!(" (line {})", span.line));
        writeln!(out, "{:?} {}{line}: {}", problem.severity, problem.code, problem.message).unwrap();
        for note in &problem.notes {
            writeln!(out, "  {note}").unwrap();
        }
        if let Some(help) = &problem.help {
            writeln!(out, "  help: {help}").unwrap();
        }
    }
    out
}

fn render(graph: &Graph, progress: &Progress, warnings: &[Problem]) -> String {
    let mut out = problems_text(warnings);
    for hazard in &graph.hazards {
        let rows = hazard.rows.map_or(String::new(), |rows| format!(", {rows} rows"));
        let state = if hazard.blocks() { " BLOCKS" } else { "" };
        let accepted = matches!(hazard.state, diff::hazard::Standing::Accepted { .. });
        let accepted = if accepted { " accepted" } else { "" };
        writeln!(
            out,
            "{:?} {} {}: {}{rows}{state}{accepted}",
            hazard.level, hazard.code, hazard.at, hazard.what
        )
        .unwrap();
    }
    for card in &graph.tables {
        let act = if card.create { "create" } else { "reuse" };
        writeln!(out, "table {} -> {}: {act}, load {}, {}", card.source, card.target, card.load, card.form)
            .unwrap();
        for difference in &card.differences {
            let diff::Difference { kind, what, before, after, note } = difference;
            let note = note.as_ref().map_or(String::new(), |note| format!("  # {note}"));
            writeln!(out, "  {kind:?} {what}: {before} -> {after}{note}").unwrap();
        }
    }
    for step in &graph.steps {
        let done = if progress.step(&step.id).is_some() { " done" } else { "" };
        let needs =
            if step.needs.is_empty() { String::new() } else { format!(" <- {}", step.needs.join(", ")) };
        writeln!(out, "step {} [{} {:?}]{done}{needs}", step.id, step.unit, step.phase).unwrap();
        render_action(&step.action, &mut out);
    }
    for left in &graph.left_behind {
        writeln!(out, "left behind: {} {}: {}", left.kind, left.name, left.why).unwrap();
    }
    for (end, facts) in [("source", &graph.source), ("target", &graph.target)] {
        let names: Vec<&str> = facts.objects.keys().map(String::as_str).collect();
        writeln!(out, "{end} objects: {}", names.join(", ")).unwrap();
    }
    out
}

fn render_action(action: &Action, out: &mut String) {
    match action {
        Action::Sql { statements, .. } => {
            for line in statements.iter().flat_map(|text| text.lines()) {
                writeln!(out, "    {line}").unwrap();
            }
        }
        Action::Copy { projection, replace, frozen, .. } => {
            let columns = projection.columns.iter().map(|map| {
                let cast = map.cast.as_ref().map_or(String::new(), |cast| {
                    let zone = cast.zone.as_ref().map_or(String::new(), |zone| format!(" at {zone}"));
                    format!(" as {}{zone}", cast.native)
                });
                if map.source == map.target {
                    format!("{}{cast}", map.source)
                } else {
                    format!("{}>{}{cast}", map.source, map.target)
                }
            });
            let columns: Vec<String> = columns.collect();
            let filter =
                projection.filter.as_ref().map_or(String::new(), |filter| format!(" where {filter}"));
            let flags = [(*replace, " replace"), (*frozen, " frozen")];
            let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
            writeln!(out, "    copy ({}) key {:?}{filter}{flags}", columns.join(", "), projection.key)
                .unwrap();
        }
        Action::Check { query, message } => writeln!(out, "    check {query}\n    else {message}").unwrap(),
        Action::SetSequence { source, sequence, .. } => {
            writeln!(out, "    set {} from {source}", sequence.name).unwrap();
        }
    }
}

#[test]
fn every_case_comes_out_as_written() {
    let update = std::env::var("TOWPATH_GOLDEN").is_ok_and(|word| word == "update");
    let mut wrong = Vec::new();
    for case in cases() {
        let out = outcome(&case.text);
        if out == section(&case.text, "expect") {
            continue;
        }
        if update {
            let head = case.text.find("=== expect\n").map_or(case.text.as_str(), |at| &case.text[..at]);
            std::fs::write(&case.path, format!("{}\n=== expect\n{out}", head.trim_end())).unwrap();
        } else {
            wrong.push(format!("{}\n{out}", case.path.display()));
        }
    }
    assert!(wrong.is_empty(), "TOWPATH_GOLDEN=update writes these:\n{}", wrong.join("\n"));
}

#[test]
fn there_are_enough_cases() {
    assert!(cases().len() >= 15);
}
