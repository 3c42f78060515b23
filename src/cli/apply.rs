//! `apply`: plans again, holds it against what was approved, asks where nobody approved anything,
//! and lets the runtime execute it. Decides nothing about data.

use std::time::Duration;

use jiff::Timestamp;

use super::args::{ApplyArgs, ProbeArg, ProgressFormat, SavedArgs, Until};
use super::ends;
use super::escape::line;
use super::failure::Failure;
use super::look::Look;
use super::making::{self, Made};
use super::number::count;
use super::progress::Progress;
use super::review::{self, Done};
use super::serve::{self, Board, Both, Serving};
use super::tally::Tally;
use super::{Face, exit, plan_file, report, signals, text};
use crate::catalog::Name;
use crate::engine::Source;
use crate::graph::digest::{self, SavedPlan};
use crate::graph::{Graph, Phase};
use crate::plan::Plan;
use crate::runtime::planning::SourceEnd;
use crate::runtime::{Planned, Report, RunOptions, Stop, cutover, execute, recopy, stream};

/// Attempts at work that fails in a way that may pass: with growing waits, about half a minute.
const ATTEMPTS: u32 = 8;
/// How often a lock that is waited for is looked at.
const LOCK_LOOK: Duration = Duration::from_millis(500);

pub async fn run(args: &ApplyArgs, face: &Face) -> Result<u8, Failure> {
    // What the command line alone decides comes before any connection.
    if args.plan.is_none() && args.expect.is_none() && !args.yes && !face.screen.can_ask() {
        return Err(Failure::usage("apply cannot ask here: no terminal")
            .help("name a saved plan, or pass --expect DIGEST or --yes")
            .next("towpath plan --out plan.json"));
    }
    let saved = args.plan.as_ref().map(|path| plan_file::read(path)).transpose()?;
    if let Some(saved) = &saved {
        plan_file::check(saved, args.expect.as_deref(), Timestamp::now())?;
    }
    let serving = Serving::start("apply", args.serve, face).await?;
    let result = plan_and_execute(args, saved, &serving.board, face).await;
    serving.end(&result).await;
    result
}

async fn plan_and_execute(
    args: &ApplyArgs,
    saved: Option<SavedPlan>,
    board: &Board,
    face: &Face,
) -> Result<u8, Failure> {
    let made = make(args, face).await?;
    let graph = &made.planned.graph;
    board.planned(graph, |step| made.done.contains(step), &made.planned.progress);
    cutover::refuse_decided(&made.planned.progress, &graph.name)?;
    let goal = digest::goal(graph);
    let approved = saved.is_some() || args.expect.is_some();
    match saved {
        Some(saved) => plan_file::same_goal(saved, graph, &goal)?,
        None => expected(args, &goal)?,
    }
    if review::blocked(graph) {
        return Err(blocked(face, graph, &made.done));
    }
    let made = match args.recopy {
        true => recopy(made, args, approved, face).await?,
        false => {
            if !approved {
                ask(args, face, graph, &made.done)?;
            }
            made
        }
    };
    let graph = &made.planned.graph;
    let options = options(args, &made.loaded.plan, goal);
    let name = graph.name.clone();
    let report = execute_made(made, &options, args.progress, board, face).await?;
    if args.json {
        face.screen.out(&super::json::pretty(&report::value(&report, &name, &options.goal)));
    }
    if !args.json || !report.failures.is_empty() {
        let text = report::render(&report, &name, &command(args), face.screen.message_look());
        if !face.screen.quiet || !report.failures.is_empty() {
            face.screen.err(&text);
        }
    }
    Ok(report::exit_code(&report))
}

/// Plans, once no other run of this plan is at work: planning while one writes would see halves.
async fn make(args: &ApplyArgs, face: &Face) -> Result<Made, Failure> {
    let saved = SavedArgs::default();
    let loaded = ends::read_plan(&face.global, &saved)?;
    let ends = ends::open(&loaded, &saved).await?;
    let until = tokio::time::Instant::now() + args.lock_timeout;
    while let Err(held) = making::free(&ends, &loaded.plan.name).await {
        if held.exit != exit::LOCKED || tokio::time::Instant::now() >= until {
            return Err(held);
        }
        tokio::time::sleep(LOCK_LOOK).await;
    }
    let planned = making::plan(face, &loaded, &ends, ProbeArg::Standard).await?;
    let done = making::done(&planned.graph, &planned.progress);
    Ok(Made { loaded, ends, planned, done })
}

fn expected(args: &ApplyArgs, goal: &str) -> Result<(), Failure> {
    match &args.expect {
        Some(expect) if !plan_file::matches(goal, expect) => Err(plan_file::unexpected(expect, goal)),
        _ => Ok(()),
    }
}

/// Shows why, then ends.
fn blocked(face: &Face, graph: &Graph, done: &Done) -> Failure {
    face.screen.err(&text::render(graph, done, face.screen.message_look()));
    let sums = review::summary(graph, done);
    Failure::new(exit::BLOCKED, format!("the plan is blocked: {} to decide, see above", sums.blocking))
        .help("nothing was changed")
}

/// Shows the plan and asks, unless everything is done or nobody wants to be asked.
fn ask(args: &ApplyArgs, face: &Face, graph: &Graph, done: &Done) -> Result<(), Failure> {
    if review::nothing_left(graph, done) {
        return Ok(());
    }
    let look = Look { all: false, ..face.screen.message_look() };
    if !face.screen.quiet {
        face.screen.err(&format!("{}\n", text::render(graph, done, look)));
    }
    if args.yes || face.screen.confirm("Apply this plan?") {
        return Ok(());
    }
    face.screen.say("declined: nothing was done");
    Err(Failure::silent(exit::DECLINED))
}

/// Makes everything void that is to be copied again, and plans what is left to do by then.
async fn recopy(made: Made, args: &ApplyArgs, approved: bool, face: &Face) -> Result<Made, Failure> {
    let recopy = recopy::prepare(&made.planned)?;
    let mut what = format!("{} of the target emptied and copied again", count(recopy.tables.len(), "table"));
    if recopy.foreign_keys > 0 {
        what.push_str(&format!(", {} made again", count(recopy.foreign_keys, "foreign key")));
    }
    if !face.screen.quiet {
        let names: Vec<String> = recopy.tables.iter().map(Name::to_string).collect();
        face.screen.err(&format!("{what}: {}\n", line(&names.join(", "))));
    }
    if !approved && !args.yes && !face.screen.confirm("Copy them again?") {
        face.screen.say("declined: nothing was done");
        return Err(Failure::silent(exit::DECLINED));
    }
    let target = ends::open_target(&made.loaded, false).await?;
    let spill = stream::follow_options(&made.loaded.plan, ATTEMPTS);
    recopy.run(&made.planned, target.as_ref(), &spill, args.lock_timeout).await?;
    make(args, face).await
}

/// The command that goes on with this run.
fn command(args: &ApplyArgs) -> String {
    match &args.plan {
        Some(path) => format!("towpath apply {}", text::shell_word(&path.display().to_string())),
        None => "towpath apply".into(),
    }
}

fn options(args: &ApplyArgs, plan: &Plan, goal: String) -> RunOptions {
    let jobs = |limit: usize| args.jobs.map_or(limit, |jobs| limit.min(usize::from(jobs)));
    RunOptions {
        readers: jobs(plan.limits.readers),
        writers: jobs(plan.limits.writers),
        index_builds: jobs(plan.limits.index_builds),
        rows_per_second: args.rate.or(plan.limits.rows_per_second),
        goal,
        lock_wait: args.lock_timeout,
        until: args.until.map(|until| match until {
            Until::Schema => Phase::Schema,
            Until::Loaded => Phase::Load,
            Until::Synced => Phase::Sync,
        }),
        keep_going: args.keep_going,
        fail_fast: args.fail_fast,
        attempts: ATTEMPTS,
        follow: stream::follow_options(plan, ATTEMPTS),
        keep_log: plan.cdc.keep_log,
    }
}

/// Executes a made plan, showing progress.
async fn execute_made(
    made: Made,
    options: &RunOptions,
    format: ProgressFormat,
    board: &Board,
    face: &Face,
) -> Result<Report, Failure> {
    let Made { loaded, ends, planned: Planned { mut graph, diff, .. }, done } = made;
    // Of thousands of tables these are large, and a run asks for neither.
    drop(diff);
    graph.source.definitions.clear();
    graph.target.definitions.clear();
    let SourceEnd::Live(source) = &ends.source else {
        return Err(Failure::usage("a saved catalog has no rows to copy"));
    };
    let source: &dyn Source = source.as_ref();
    // The session that planned is read-only; what writes is opened only now.
    let target = ends::open_target(&loaded, false).await?;
    let progress = Progress::start(format, &face.screen, Tally::new(&graph, &done));
    drop(done);
    let (told, stop) = (Both(&progress, board), Stop::default());
    let report = tokio::select! {
        report = execute(graph, source, target.as_ref(), options, &told, &stop) => report,
        never = signals::listen(&stop) => match never {},
    };
    progress.finish();
    // A step's failure was told when it happened.
    let whole = report.failures.iter().find(|failure| failure.step.is_none());
    if let Some(failure) = whole {
        board.end(serve::Phase::Failed, Some(failure.error.to_string()));
    }
    Ok(report)
}
