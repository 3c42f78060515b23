//! Golden cases: a plan, two catalogs and the progress in one text file, and what planning makes of
//! them: graph with SQL, hazards, problems. No database. `TOWPATH_GOLDEN=update` writes what came
//! out into the files, to be reviewed as a diff.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use towpath::catalog::probe::Measured;
use towpath::catalog::{Answer, Catalog, ForeignKey, Index, Name, Projection, Table};
use towpath::change::Followed;
use towpath::checkpoint::{Progress, StepMark};
use towpath::diff::{self, Dialects};
use towpath::engine::engine_named;
use towpath::graph::build::{Inputs, done_otherwise};
use towpath::graph::digest::{canonical, differences, goal};
use towpath::graph::schedule::{Budgets, Schedule, UnitId};
use towpath::graph::{self, Action, Graph, Phase};
use towpath::plan::{self, Plan, Problem, Variables};

use crate::support::thread_time;

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
    let (source, target) = (Cow::Borrowed(source), Cow::Borrowed(target));
    let inputs =
        Inputs { plan, source, target, diff: &diff, hazards: &settled.hazards, answers: &answers, dialects };
    let graph = graph::build(inputs).unwrap_or_else(|cycle| panic!("{cycle}"));
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
    for followed in graph.back.iter().flat_map(|back| &back.tables) {
        let Followed { projection, identity, skipped } = followed;
        let (source, target, form) = (&projection.source, &projection.target, projection.form);
        let columns = columns_text(projection);
        writeln!(out, "back {source} -> {target}: {form:?} ({columns}) {identity:?} without {skipped:?}")
            .unwrap();
    }
    for aim in graph.back.iter().flat_map(|back| &back.sequences) {
        writeln!(out, "back set {} from {}", aim.sequence.name, aim.source).unwrap();
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

fn columns_text(projection: &Projection) -> String {
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
    columns.collect::<Vec<String>>().join(", ")
}

fn render_action(action: &Action, out: &mut String) {
    match action {
        Action::Sql { statements, .. } => {
            for line in statements.iter().flat_map(|text| text.lines()) {
                writeln!(out, "    {line}").unwrap();
            }
        }
        Action::Copy { projection, replace, frozen, .. } => {
            let columns = columns_text(projection);
            let filter =
                projection.filter.as_ref().map_or(String::new(), |filter| format!(" where {filter}"));
            let flags = [(*replace, " replace"), (*frozen, " frozen")];
            let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
            writeln!(out, "    copy ({columns}) key {:?}{filter}{flags}", projection.key).unwrap();
        }
        Action::Check { query, message } => writeln!(out, "    check {query}\n    else {message}").unwrap(),
        Action::SetSequence { source, sequence, .. } => {
            writeln!(out, "    set {} from {source}", sequence.name).unwrap();
        }
        Action::OpenCapture { .. } => writeln!(out, "    open").unwrap(),
        Action::CatchUp { to, .. } => writeln!(out, "    catch up to {to:?}").unwrap(),
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

fn good() -> Vec<(PathBuf, Setting, Graph)> {
    let settings = cases().into_iter().filter_map(|case| Some((case.path, setting(&case.text).ok()?)));
    settings
        .filter_map(|(path, setting)| make(&setting).ok().map(|(graph, _)| (path, setting, graph)))
        .collect()
}

#[test]
fn g_23_planning_twice_gives_the_same_bytes() {
    for (path, setting, graph) in good() {
        let again = make(&setting).unwrap().0;
        assert_eq!(canonical(&graph), canonical(&again), "{}", path.display());
        assert_eq!(goal(&graph), goal(&again));
        assert!(differences(&graph, &again).is_empty());
    }
}

#[test]
fn p_11_the_order_of_lists_in_a_catalog_means_nothing() {
    let mut seen = 0;
    for (path, mut setting, graph) in good() {
        for catalog in [&mut setting.source, &mut setting.target] {
            catalog.tables.reverse();
            catalog.sequences.reverse();
            catalog.types.reverse();
            catalog.extensions.reverse();
            catalog.schemas.reverse();
            catalog.others.reverse();
            for table in &mut catalog.tables {
                table.keys.reverse();
                table.indexes.reverse();
                table.foreign_keys.reverse();
                table.checks.reverse();
            }
        }
        let turned = make(&setting).unwrap().0;
        assert_eq!(canonical(&graph), canonical(&turned), "{}", path.display());
        seen += 1;
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn p_11_steps_come_after_what_they_need_and_units_stand_together() {
    for (path, _, graph) in good() {
        let mut before: HashMap<&str, Phase> = HashMap::new();
        let mut units: Vec<&str> = Vec::new();
        for step in &graph.steps {
            for need in &step.needs {
                let phase = before.get(need.as_str());
                let phase = phase.unwrap_or_else(|| panic!("{}: {} before {need}", path.display(), step.id));
                assert!(*phase <= step.phase, "{} is of a phase before {need}", step.id);
            }
            before.insert(&step.id, step.phase);
            if units.last() != Some(&step.unit.as_str()) {
                assert!(!units.contains(&step.unit.as_str()), "{}: {} is torn", path.display(), step.unit);
                units.push(&step.unit);
            }
        }
        assert_eq!(before.len(), graph.steps.len(), "ids are unique");
    }
}

/// Tables in a chain of foreign keys, each with four indexes.
fn many(tables: usize) -> Setting {
    let mut setting = setting(&cases()[0].text).unwrap();
    let pattern = setting.source.tables.iter().find(|table| table.name.name == "users").unwrap().clone();
    setting.source.tables = (0..tables)
        .map(|number| {
            let mut table = pattern.clone();
            table.name.name = format!("t{number:05}");
            for key in &mut table.keys {
                key.name = format!("{}_{number:05}", key.name);
            }
            let index = table.indexes[0].clone();
            table.indexes =
                (0..4).map(|at| Index { name: format!("i{number:05}_{at}"), ..index.clone() }).collect();
            let parent = Name::new("public", format!("t{:05}", number / 2));
            table.foreign_keys = vec![ForeignKey {
                name: "parent".into(),
                columns: vec!["flags".into()],
                parent,
                parent_columns: vec!["id".into()],
                on_delete: Default::default(),
                on_update: Default::default(),
                set_columns: Vec::new(),
                matching: Default::default(),
                deferrable: false,
                initially_deferred: false,
                validated: true,
                comment: None,
            }];
            table
        })
        .collect();
    setting.source.sequences.clear();
    setting
}

#[test]
fn two_thousand_tables_are_planned_in_linear_time() {
    let time = |tables| {
        let setting = many(tables);
        let start = thread_time();
        let (graph, _) = make(&setting).unwrap_or_else(|problems| panic!("{}", problems_text(&problems)));
        assert!(graph.steps.len() > 10 * tables);
        thread_time() - start
    };
    let (small, large) = (time(500), time(2000));
    // Four times the tables; a square would be sixteen times the time.
    assert!(large < small * 10, "500 tables {small:?}, 2000 tables {large:?}");
}

#[test]
fn small_tables_share_units_of_bounded_size_where_one_session_writes() {
    let case = cases().into_iter().find(|case| case.path.ends_with("16_sqlite_to_sqlite.case")).unwrap();
    let mut setting = setting(&case.text).unwrap();
    let pattern = setting.source.tables[0].clone();
    let sized = |(number, bytes): (usize, u64)| {
        let name = Name::new("main", format!("t{number:04}"));
        Table { name, indexes: Vec::new(), bytes, ..pattern.clone() }
    };
    let sizes = [vec![4096; 250], vec![6 << 20; 5], vec![1 << 30]].concat();
    setting.source.tables.extend(sizes.into_iter().enumerate().map(sized));
    let graph = make(&setting).unwrap_or_else(|problems| panic!("{}", problems_text(&problems))).0;
    let mut units: HashMap<&str, Vec<u64>> = HashMap::new();
    for copy in graph.steps.iter().filter(|step| matches!(step.action, Action::Copy { .. })) {
        assert_eq!(copy.is_shared(), copy.estimate.bytes < 1 << 30, "{}", copy.unit);
        units.entry(&copy.unit).or_default().push(copy.estimate.bytes);
    }
    assert!(units.values().all(|sizes| sizes.len() <= 100));
    assert!(units.values().all(|sizes| sizes.len() == 1 || sizes.iter().sum::<u64>() <= 16 << 20));
    assert!(units.len() <= 7, "{units:?}");
    // Whether rows have their parents is asked at the end, in as few transactions.
    let checks = graph.steps.iter().filter(|step| matches!(step.action, Action::Check { .. }));
    let of_checks: HashSet<&str> = checks.map(|step| step.unit.as_str()).collect();
    assert!(of_checks.iter().all(|unit| unit.ends_with("/foreign")) && of_checks.len() <= 7, "{of_checks:?}");
}

/// Runs a schedule to its end, with the unit that ends next chosen by a simple generator.
fn run(graph: &Graph, budgets: Budgets, mut seed: u64, fail: Option<&str>) -> (Vec<String>, Schedule) {
    let mut schedule = Schedule::new(graph, &HashSet::new(), budgets, None);
    let (mut running, mut done): (Vec<UnitId>, Vec<String>) = (Vec::new(), Vec::new());
    loop {
        running.extend(schedule.next());
        assert!(running.len() <= budgets.writers);
        check_tokens(graph, &schedule, &running, budgets);
        if running.is_empty() {
            break;
        }
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let unit = running.swap_remove((seed >> 33) as usize % running.len());
        let steps: Vec<&str> = schedule.steps(unit).iter().map(|&at| graph.steps[at].id.as_str()).collect();
        match fail.filter(|step| steps.contains(step)) {
            Some(step) => schedule.failed(unit, step, true),
            None => {
                done.extend(steps.into_iter().map(str::to_string));
                schedule.done(unit);
            }
        }
    }
    assert!(schedule.is_over());
    (done, schedule)
}

fn check_tokens(graph: &Graph, schedule: &Schedule, running: &[UnitId], budgets: Budgets) {
    let steps = |unit: UnitId| schedule.steps(unit).iter().map(|&at| &graph.steps[at]);
    let copies = |unit: &&UnitId| steps(**unit).any(|step| matches!(step.action, Action::Copy { .. }));
    assert!(running.iter().filter(copies).count() <= budgets.readers);
    for (place, &one) in running.iter().enumerate() {
        for lock in steps(one).flat_map(|step| &step.locks) {
            for (at, &other) in running.iter().enumerate() {
                let touches =
                    |step: &graph::Step| step.table.as_ref() == Some(lock) || step.locks.contains(lock);
                assert!(at == place || !steps(other).any(touches), "{lock} is locked and worked on");
            }
        }
    }
}

#[test]
fn a_schedule_ends_in_any_order_of_ends_and_keeps_its_budgets() {
    let budgets = Budgets { readers: 2, writers: 3, index_builds: 1 };
    for (path, _, graph) in good() {
        for seed in 0..20 {
            let (done, schedule) = run(&graph, budgets, seed, None);
            assert_eq!(done.len(), graph.steps.len(), "{}", path.display());
            assert!(schedule.is_complete() && schedule.left().is_empty());
            let place = |id: &str| done.iter().position(|step| step == id).unwrap();
            for step in &graph.steps {
                assert!(step.needs.iter().all(|need| place(need) < place(&step.id)));
            }
        }
    }
}

#[test]
fn a_failed_step_is_the_reason_of_those_that_wait_for_it() {
    let graph = make(&setting(&cases()[0].text).unwrap()).unwrap().0;
    let budgets = Budgets { readers: 4, writers: 8, index_builds: 2 };
    let (done, schedule) = run(&graph, budgets, 1, Some("public.orders/copy"));
    assert!(done.contains(&"public.users/key/users_pkey".to_string()));
    let left = schedule.left();
    assert!(left.iter().any(|(step, _)| step == "public.orders/foreign/orders_user_fkey"));
    assert!(left.iter().all(|(_, why)| why.as_deref() == Some("public.orders/copy")), "{left:?}");
}

#[test]
fn until_a_phase_leaves_the_later_steps_of_a_unit() {
    let graph = make(&setting(&cases()[0].text).unwrap()).unwrap().0;
    let budgets = Budgets { readers: 4, writers: 8, index_builds: 2 };
    let mut schedule = Schedule::new(&graph, &HashSet::new(), budgets, Some(Phase::Schema));
    let mut ran = Vec::new();
    loop {
        let units = schedule.next();
        if units.is_empty() {
            break;
        }
        for unit in units {
            ran.extend(schedule.steps(unit).iter().map(|&at| graph.steps[at].phase));
            schedule.done(unit);
        }
    }
    assert!(!ran.is_empty() && ran.iter().all(|phase| *phase == Phase::Schema));
    assert!(schedule.is_complete() && !schedule.left().is_empty());
}

#[test]
fn the_critical_path_leads_through_the_largest_table() {
    let graph = make(&setting(&cases()[0].text).unwrap()).unwrap().0;
    let (path, seconds) = graph::critical_path(&graph);
    assert!(path.contains(&"public.orders/copy".to_string()), "{path:?}");
    assert!(seconds > 200.0 && seconds < 600.0, "{seconds}");
    let total: f64 = path.iter().map(|id| graph.step(id).unwrap().estimate.seconds).sum();
    assert!((total - seconds).abs() < 1e-6);
}

#[test]
fn g_02_a_stale_plan_says_what_changed() {
    let mut setting = setting(&cases()[0].text).unwrap();
    let before = make(&setting).unwrap().0;
    let orders = setting.source.tables.iter_mut().find(|table| table.name.name == "orders").unwrap();
    let total = orders.columns.iter_mut().find(|column| column.name == "total").unwrap();
    total.native = "numeric(12,2)".into();
    let after = make(&setting).unwrap().0;
    assert_ne!(goal(&before), goal(&after));
    let lines = differences(&before, &after);
    assert_eq!(
        lines,
        ["source public.orders changed after the plan was made", "  ~ total  numeric(10,2) -> numeric(12,2)",]
    );
}

#[test]
fn estimates_move_and_the_goal_stays() {
    let mut setting = setting(&cases()[0].text).unwrap();
    let before = make(&setting).unwrap().0;
    for table in &mut setting.source.tables {
        (table.rows, table.bytes) = (table.rows / 1000, table.bytes / 100_000);
    }
    let after = make(&setting).unwrap().0;
    assert_ne!(canonical(&before), canonical(&after));
    assert_eq!(goal(&before), goal(&after));
    for step in &before.steps {
        assert_eq!(after.step(&step.id).map(|step| &step.inputs), Some(&step.inputs));
    }
}
