//! `status`: how far a plan is: steps done, tables half copied, what is left, the stream, runs, the
//! lock, the next command. Reads the target's own state, and asks the source about the stream.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::args::{Plainness, SavedArgs, StatusArgs};
use super::ends::{self, Loaded};
use super::escape::line;
use super::failure::Failure;
use super::look::{Line, Look, Page, Tone};
use super::number::{bytes, count, exact, short};
use super::stream_status::{self, StreamStatus};
use super::{Face, exit, watch};
use crate::catalog::Name;
use crate::checkpoint::{PlannedStep, Progress, RunRecord};
use crate::diff::id;
use crate::engine::{LockHolder, Source, Target};
use crate::runtime::cutover;

/// Runs listed, newest first.
const RUNS_MAX: usize = 5;
/// Steps listed that are left, in the plan's order.
const LEFT_MAX: usize = 10;

/// Everything that is shown.
pub struct Status {
    name: String,
    progress: Progress,
    holder: Option<LockHolder>,
    others: Vec<String>,
    stream: Option<StreamStatus>,
}

pub async fn run(args: &StatusArgs, face: &Face) -> Result<u8, Failure> {
    let loaded = ends::read_plan(&face.global, &SavedArgs::default())?;
    if args.watch {
        return watch::run(args, face, &loaded).await;
    }
    let status = Looking::new(&loaded).look().await?;
    match args.format {
        Plainness::Json => face.screen.out(&super::json::pretty(&value(&status))),
        Plainness::Text => face.screen.out(&render(&status, face.screen.look())),
    }
    let unfinished = args.exit_code && standing(&status) != Standing::Done;
    Ok(if unfinished { exit::DIFFERENT } else { exit::DONE })
}

/// Looks at a plan, once or again and again: what was opened is used again while it works.
pub struct Looking<'a> {
    loaded: &'a Loaded,
    target: Option<Box<dyn Target>>,
    source: Option<Box<dyn Source>>,
}

impl<'a> Looking<'a> {
    pub fn new(loaded: &'a Loaded) -> Self {
        Self { loaded, target: None, source: None }
    }

    pub async fn look(&mut self) -> Result<Status, Failure> {
        let target = match self.target.take() {
            Some(target) => target,
            None => ends::open_target(self.loaded, true).await?,
        };
        let status = self.read(target.as_ref()).await?;
        self.target = Some(target);
        Ok(status)
    }

    async fn read(&mut self, target: &dyn Target) -> Result<Status, Failure> {
        let name = self.loaded.plan.name.clone();
        let mut others = target.plans().await?;
        others.retain(|other| *other != name);
        let progress = target.progress(&name).await?;
        let stream = match progress.stream.clone() {
            // Its capture is gone, and nothing is behind.
            Some(_) if progress.step(cutover::DONE).is_some() => None,
            Some(stream) => Some(stream_status::read(self.loaded, &mut self.source, stream).await),
            None => None,
        };
        Ok(Status { progress, holder: target.holder(&name).await?, others, name, stream })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The target never heard of the plan.
    New,
    Running,
    Done,
    /// Stopped at a clean point.
    Partial,
    Failed,
    /// The last run ended without saying so.
    Broken,
}

fn standing(status: &Status) -> Standing {
    let outcome = last_run(&status.progress).map(|run| run.outcome.as_deref());
    match outcome {
        _ if status.holder.is_some() => Standing::Running,
        None => Standing::New,
        Some(Some("done")) => Standing::Done,
        // Killed after its last step, or stopped just then.
        _ if is_complete(&status.progress) => Standing::Done,
        Some(Some("partial")) => Standing::Partial,
        Some(Some(_)) => Standing::Failed,
        Some(None) => Standing::Broken,
    }
}

/// Everything that the last apply worked towards is done.
fn is_complete(progress: &Progress) -> bool {
    !progress.planned.is_empty() && progress.left().is_empty()
}

fn last_run(progress: &Progress) -> Option<&RunRecord> {
    progress.runs.iter().max_by(|a, b| a.started_at.cmp(&b.started_at))
}

fn words(standing: Standing) -> (&'static str, Tone) {
    match standing {
        Standing::New => ("not begun, or cleaned away", Tone::Plain),
        Standing::Running => ("running", Tone::Load),
        Standing::Done => ("done", Tone::Good),
        Standing::Partial => ("stopped, can go on", Tone::Warn),
        Standing::Failed => ("failed, can go on", Tone::Stop),
        Standing::Broken => ("broken off, can go on", Tone::Warn),
    }
}

fn next(status: &Status) -> &'static str {
    let synced = status.progress.step(id::SYNCED).is_some();
    match standing(status) {
        Standing::New => "towpath plan",
        Standing::Running => "towpath status",
        _ if status.progress.step(cutover::DONE).is_some() => "towpath clean",
        _ if cutover::is_decided(&status.progress) => "towpath cutover",
        _ if status.stream.as_ref().is_some_and(StreamStatus::is_gone) => "towpath apply --recopy",
        _ if status.stream.is_some() && synced => "towpath follow",
        _ if status.stream.is_some() => "towpath apply",
        Standing::Done => "towpath verify",
        Standing::Partial | Standing::Failed | Standing::Broken => "towpath apply",
    }
}

/// A table with finished chunks whose copy is not finished: chunks done and in all, rows.
fn half_copied(progress: &Progress) -> BTreeMap<&Name, (u32, u32, u64)> {
    let finished = |table: &Name| progress.step(&format!("{table}/copy")).is_some();
    let mut tables: BTreeMap<&Name, (u32, u32, u64)> = BTreeMap::new();
    for chunk in progress.chunks.iter().filter(|chunk| !finished(&chunk.table)) {
        let entry = tables.entry(&chunk.table).or_default();
        *entry = (entry.0 + 1, chunk.of, entry.2 + chunk.rows);
    }
    tables
}

fn sums(progress: &Progress) -> (u64, u64) {
    progress.steps.iter().fold((0, 0), |(rows, bytes), mark| (rows + mark.rows, bytes + mark.bytes))
}

pub fn render(status: &Status, look: Look) -> String {
    let mut page = Page::new(look);
    let standing = standing(status);
    let (word, tone) = words(standing);
    page.line(Line::new().add(Tone::Strong, line(&status.name)).text(": ").add(tone, word));
    if let Some(phase) = phase(status) {
        page.say(&format!("  phase   {}", line(&phase)));
    }
    if let Some(holder) = &status.holder {
        page.say(&format!("  lock    held by {} since {}", line(&holder.by), line(&holder.since)));
    }
    let (rows, size) = sums(&status.progress);
    let done = count(status.progress.steps.len(), "step");
    let size = if size > 0 { format!(" ({})", bytes(size)) } else { String::new() };
    page.say(&format!("  done    {done}, {} rows{size}", short(rows)));
    for (table, (chunks, of, rows)) in half_copied(&status.progress) {
        page.say(&format!("  half    {table}: {chunks} of {of} chunks, {} rows", exact(rows)));
    }
    left(&mut page, &status.progress);
    if let Some(stream) = &status.stream {
        stream.render(&mut page, jiff::Timestamp::now());
    }
    runs(&mut page, &status.progress);
    if let Some(goal) = &status.progress.digest {
        page.say(&format!("  goal    {}", super::text::short_digest(goal)));
    }
    if !status.others.is_empty() {
        let names: Vec<String> = status.others.iter().map(|name| line(name)).collect();
        page.say(&format!("  other   plans here: {}", names.join(", ")));
    }
    page.line(Line::new().text("  next    ").add(Tone::Strong, next(status)));
    page.finish()
}

/// How many steps each phase still has, in the order of the phases.
fn left_by_phase(left: &[&PlannedStep]) -> Vec<(String, usize)> {
    let mut phases: Vec<(String, usize)> = Vec::new();
    for planned in left {
        match phases.iter_mut().find(|(phase, _)| *phase == planned.phase) {
            Some((_, steps)) => *steps += 1,
            None => phases.push((planned.phase.clone(), 1)),
        }
    }
    phases
}

/// What the last apply worked towards and has not reached.
fn left(page: &mut Page, progress: &Progress) {
    let left = progress.left();
    if left.is_empty() {
        return;
    }
    let phases: Vec<String> =
        left_by_phase(&left).iter().map(|(phase, steps)| format!("{} {steps}", line(phase))).collect();
    page.say(&format!("  left    {}: {}", count(left.len(), "step"), phases.join(", ")));
    for planned in left.iter().take(LEFT_MAX) {
        page.say(&format!("          {}", line(&planned.step)));
    }
    if left.len() > LEFT_MAX {
        page.say(&format!("          and {} more", left.len() - LEFT_MAX));
    }
}

/// What it is at: of a stream in its own words, else the first phase that has steps left.
fn phase(status: &Status) -> Option<String> {
    let is_done = |step: &str| status.progress.step(step).is_some();
    match &status.stream {
        _ if is_done(cutover::DONE) => Some("cut over: the target is in use".into()),
        _ if is_done(cutover::DECIDED) => Some("cut over; closing the source is not finished".into()),
        Some(_) => Some(stream_status::phase(is_done).into()),
        None => status.progress.left().first().map(|planned| planned.phase.clone()),
    }
}

fn runs(page: &mut Page, progress: &Progress) {
    let mut runs: Vec<&RunRecord> = progress.runs.iter().collect();
    runs.sort_by(|a, b| b.started_at.cmp(&a.started_at));
    for run in runs.iter().take(RUNS_MAX) {
        let outcome = run.outcome.as_deref().unwrap_or("no end");
        let until = run.finished_at.as_deref().unwrap_or("?");
        let text = format!("{} to {}  {}  {}", run.started_at, until, outcome, run.by);
        page.say(&format!("  run     {}", line(&text)));
    }
    if runs.len() > RUNS_MAX {
        page.say(&format!("          and {} before", runs.len() - RUNS_MAX));
    }
}

pub fn value(status: &Status) -> Value {
    let standing = standing(status);
    let (rows, size) = sums(&status.progress);
    let half = half_copied(&status.progress).into_iter().map(
        |(table, (chunks, of, rows))| json!({ "table": table, "chunks": chunks, "of": of, "rows": rows }),
    );
    json!({
        "format": "towpath.status/1",
        "name": status.name,
        "standing": format!("{standing:?}").to_lowercase(),
        "goal": status.progress.digest,
        "lock": status.holder.as_ref().map(|holder| json!({ "by": holder.by, "since": holder.since })),
        "steps_done": status.progress.steps,
        "rows": rows,
        "bytes": size,
        "half_copied": half.collect::<Vec<_>>(),
        "left": status.progress.left(),
        "runs": status.progress.runs,
        "other_plans": status.others,
        "phase": phase(status),
        "stream": status.stream.as_ref().map(|stream| stream.value(jiff::Timestamp::now())),
        "next": next(status),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Position;
    use crate::checkpoint::{ChunkMark, StepMark};

    const PLANNED: [(&str, &str); 4] = [
        ("app.users/copy", "load"),
        ("app.orders/copy", "load"),
        ("app.orders/index/by_day", "indexes"),
        ("app.orders/index/by_user", "indexes"),
    ];

    fn run(at: &str, outcome: Option<&str>) -> RunRecord {
        RunRecord {
            run: at.into(),
            started_at: at.into(),
            finished_at: None,
            outcome: outcome.map(Into::into),
            by: "me@here pid 1".into(),
            tool: "0.1.0".into(),
        }
    }

    fn status(outcome: Option<&str>) -> Status {
        let chunk = |table: &str, number| ChunkMark {
            table: Name::new("app", table),
            number,
            of: 9,
            bounds: String::new(),
            position: Position::default(),
            rows: 100,
            bytes: 1,
        };
        let mark = StepMark {
            step: "app.users/copy".into(),
            inputs: String::new(),
            rows: 4_000,
            bytes: 50_000,
            millis: 1,
            at: String::new(),
        };
        let progress = Progress {
            digest: Some("sha256:7f3a91c2e0b84d55".into()),
            steps: vec![mark],
            chunks: vec![chunk("users", 1), chunk("orders", 1), chunk("orders", 2)],
            runs: vec![run("2026-11-22T09:00:00Z", Some("failed")), run("2026-11-22T10:00:00Z", outcome)],
            stream: None,
            planned: PLANNED
                .iter()
                .map(|(step, phase)| PlannedStep { step: (*step).into(), phase: (*phase).into() })
                .collect(),
        };
        Status { name: "shop".into(), progress, holder: None, others: Vec::new(), stream: None }
    }

    #[test]
    fn a_broken_run_shows_what_is_half_done_and_how_to_go_on() {
        let shown = render(&status(None), Look::default());
        assert!(shown.starts_with("shop: broken off, can go on\n  phase   load\n"), "{shown}");
        assert!(shown.contains("  half    app.orders: 2 of 9 chunks, 200 rows\n"), "{shown}");
        assert!(!shown.contains("app.users:"), "{shown}");
        assert!(shown.ends_with("  next    towpath apply\n"), "{shown}");
        let left = "  left    3 steps: load 1, indexes 2\n          app.orders/copy\n          app.orders/index/by_day\n";
        assert!(shown.contains(left), "{shown}");
    }

    #[test]
    fn a_run_killed_after_its_last_step_is_done() {
        let mut status = status(None);
        status.progress.planned.truncate(1);
        assert_eq!(standing(&status), Standing::Done);
        status.progress.planned.clear();
        assert_eq!(standing(&status), Standing::Broken);
    }

    #[test]
    fn a_long_list_of_what_is_left_is_cut() {
        let mut status = status(None);
        let more = (0..20).map(|at| PlannedStep { step: format!("t{at}/analyze"), phase: "finish".into() });
        status.progress.planned.extend(more);
        let shown = render(&status, Look::default());
        assert!(shown.contains("  left    23 steps: load 1, indexes 2, finish 20\n"), "{shown}");
        assert!(shown.contains("          t6/analyze\n          and 13 more\n"), "{shown}");
        assert_eq!(value(&status)["left"].as_array().map(Vec::len), Some(23));
    }

    #[test]
    fn the_last_run_decides_the_standing() {
        assert_eq!(standing(&status(Some("done"))), Standing::Done);
        assert_eq!(standing(&status(Some("partial"))), Standing::Partial);
        let mut held = status(Some("done"));
        held.holder = Some(LockHolder { by: "x".into(), since: "y".into() });
        assert_eq!(standing(&held), Standing::Running);
        held.progress.runs.clear();
        held.holder = None;
        assert_eq!(standing(&held), Standing::New);
        assert_eq!(value(&held)["next"], "towpath plan");
    }
}
