//! `cutover`: hands the work over to the target. Plans again to know what is followed, asks where
//! nobody said yes, and lets the runtime do it. Decides nothing about data.

use std::sync::Arc;

use serde_json::{Value, json};

use super::args::CutoverArgs;
use super::escape::line;
use super::failure::Failure;
use super::look::{Line, Look, Page, Tone};
use super::making::{self, Made};
use super::number::{count, exact};
use super::progress::Progress;
use super::tally::Tally;
use super::{Face, clean, ends, exit, plan_file, signals};
use crate::catalog::Projection;
use crate::engine::{Source, Target};
use crate::graph::{Graph, digest};
use crate::plan;
use crate::plan::back::forward_name;
use crate::runtime::cutover::{self, Also, CheckedEnd, CutoverOptions, CutoverReport, Gate, cut_over};
use crate::runtime::planning::{BackEnds, SourceEnd};
use crate::runtime::serve::{Service, stream_of};
use crate::runtime::{FollowOptions, Stop, SystemClock, VerifyLevel, stream};

const ATTEMPTS: u32 = 5;

pub async fn run(args: &CutoverArgs, face: &Face) -> Result<u8, Failure> {
    if !args.yes && !args.dry_run && args.expect.is_none() && !face.screen.can_ask() {
        return Err(Failure::usage("cutover cannot ask here: no terminal")
            .help("pass --yes, --expect DIGEST, or --dry-run to see how it would go"));
    }
    let made = making::make_either(face, args.back).await?;
    let graph = &made.planned.graph;
    stream_of(graph)?;
    let goal = digest::goal(graph);
    if let Some(expect) = &args.expect
        && !plan_file::matches(&goal, expect)
    {
        return Err(plan_file::unexpected(expect, &goal));
    }
    may_come_back(&made)?;
    let asks = !args.yes && !args.dry_run && args.expect.is_none();
    let question = match args.back {
        false => "Close the source and let the target take over?",
        true => "Close the target and let the source take over again?",
    };
    if asks && !face.screen.confirm(question) {
        face.screen.say("declined: nothing was done");
        return Err(Failure::silent(exit::DECLINED));
    }
    let report = cut(&made, args, &goal, face).await?;
    if args.json {
        face.screen.out(&super::json::pretty(&value(&report, &graph.name)));
    } else if !face.screen.quiet || report.refused.is_some() {
        face.screen.err(&render(&report, args, face.screen.message_look()));
    }
    Ok(exit_code(&report, args.dry_run))
}

/// A way back that would leave something out is not begun: what stands in its way is decided first.
fn may_come_back(made: &Made) -> Result<(), Failure> {
    let graph = &made.planned.graph;
    let decided = cutover::is_decided(&made.planned.progress);
    let mut blocking = graph.hazards.iter().filter(|hazard| hazard.blocks());
    let Some(first) = blocking.next().filter(|_| made.loaded.plan.reverse.is_some() && !decided) else {
        return Ok(());
    };
    let text = format!("the plan is blocked: {} at {}: {}", first.code, line(&first.at), line(&first.what));
    let more = blocking.count();
    let failure = Failure::new(exit::BLOCKED, text).next("towpath plan");
    Err(if more > 0 { failure.help(format!("and {more} more; nothing was changed")) } else { failure })
}

async fn cut(made: &Made, args: &CutoverArgs, goal: &str, face: &Face) -> Result<CutoverReport, Failure> {
    let SourceEnd::Live(source) = &made.ends.source else {
        return Err(Failure::usage("a saved catalog has no changes to follow"));
    };
    let target = ends::open_target(&made.loaded, false).await?;
    let graph = &made.planned.graph;
    let options = options(made, args)?;
    let progress = Progress::start(args.progress, &face.screen, Tally::new(graph, &made.done));
    let stop = Stop::default();
    let service = Service {
        graph,
        source: source.as_ref(),
        target: target.as_ref(),
        follow: &stream::follow_options(&made.loaded.plan, ATTEMPTS),
        digest: goal,
        lock_wait: args.lock_timeout,
        keep_log: None,
        reporter: &progress,
        stop: &stop,
        clock: Arc::new(SystemClock),
    };
    let other = Other::open(made, args).await?;
    let back = other.back_service(&service);
    let also = match (&other, &back) {
        (Other::OldSource { source, plan }, _) => Also::Open { source: source.as_ref(), plan },
        (_, Some(back)) => Also::WayBack(back),
        _ => Also::Nothing,
    };
    let report = tokio::select! {
        report = cut_over(&service, &options, &also) => report,
        never = signals::listen(&stop) => match never {},
    };
    progress.finish();
    Ok(report?)
}

/// What a cutover deals with beside the two ends of its stream.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum Other<'a> {
    Nothing,
    /// The ends of the way back that is to be kept.
    WayBack {
        ends: &'a BackEnds,
        target: Box<dyn Target>,
        graph: Graph,
        follow: FollowOptions,
        digest: String,
    },
    /// This is the way back: what was cut over from, by that plan.
    OldSource {
        source: Box<dyn Source>,
        plan: String,
    },
}

impl<'a> Other<'a> {
    async fn open(made: &'a Made, args: &CutoverArgs) -> Result<Self, Failure> {
        if args.back {
            let source = ends::target_as_source(&made.loaded).await?;
            return Ok(Self::OldSource { source, plan: forward_name(&made.loaded.plan.name).to_string() });
        }
        let (Some(graph), Some(ends)) = (made.planned.graph.turned(), &made.ends.back) else {
            return Ok(Self::Nothing);
        };
        let turned = made.loaded.turned()?;
        Ok(Self::WayBack {
            ends,
            target: ends::open_target(&turned, false).await?,
            follow: stream::follow_options(&turned.plan, ATTEMPTS),
            digest: digest::goal(&graph),
            graph,
        })
    }

    fn back_service<'s>(&'s self, forward: &Service<'s>) -> Option<Service<'s>> {
        let Self::WayBack { ends, target, graph, follow, digest } = self else { return None };
        Some(Service {
            graph,
            source: ends.source.as_ref(),
            target: target.as_ref(),
            follow,
            digest,
            clock: forward.clock.clone(),
            ..*forward
        })
    }
}

/// What `cutover:` of the plan says, and what the command line says over it.
fn options(made: &Made, args: &CutoverArgs) -> Result<CutoverOptions, Failure> {
    let cutover = made.loaded.plan.cutover.clone().unwrap_or_default();
    let level = match cutover.verify {
        plan::Verify::None => None,
        plan::Verify::Count => Some(VerifyLevel::Count),
        plan::Verify::Checksum => Some(VerifyLevel::Checksum),
    };
    let end = |which| match which {
        plan::Which::Source => CheckedEnd::Source,
        plan::Which::Target => CheckedEnd::Target,
    };
    Ok(CutoverOptions {
        max_lag: args.max_lag.unwrap_or(cutover.max_lag),
        budget: cutover.budget,
        fence: cutover.fence.clone(),
        margin: cutover.margin,
        verify: level.map(|level| (level, followed(made))).into_iter().collect(),
        checks: cutover.checks.iter().map(|check| (end(check.db), check.sql.clone())).collect(),
        dry_run: args.dry_run,
    })
}

/// Only tables that are followed are equal at any moment.
fn followed(made: &Made) -> Vec<Projection> {
    let tables = made.planned.graph.stream.iter().flat_map(|stream| &stream.tables);
    tables.map(|table| table.projection.clone()).collect()
}

fn exit_code(report: &CutoverReport, dry_run: bool) -> u8 {
    match &report.refused {
        None => exit::DONE,
        Some(_) if dry_run => exit::DONE,
        Some(Gate { code: Some("S606"), .. }) => exit::MISMATCH,
        Some(Gate { code: Some(_), .. }) => exit::BLOCKED,
        Some(Gate { code: None, .. }) => exit::PARTIAL,
    }
}

fn render(report: &CutoverReport, args: &CutoverArgs, look: Look) -> String {
    let dry_run = args.dry_run;
    // The databases as the plan file calls them.
    let (new, old) = if args.back { ("source", "target") } else { ("target", "source") };
    let mut page = Page::new(look);
    if report.already {
        page.say(&format!("Nothing to do: it was cut over already; the {new} is in use."));
        return page.finish();
    }
    if let Some(gate) = &report.refused {
        let code = gate.code.map(|code| format!("{code}: ")).unwrap_or_default();
        let (tone, word) =
            if dry_run && gate.code.is_none() { (Tone::Good, "Ready") } else { (Tone::Stop, "Not cut over") };
        page.line(Line::new().add(tone, word).text(format!(": {code}{}.", line(&gate.why))));
        page.say(&format!("  catching up took {:.2} s", report.lag.as_secs_f64()));
        page.say(&format!("  nothing was decided, and writers may write; {}", line(&gate.hint)));
        return page.finish();
    }
    let head = Line::new().add(Tone::Good, "Cut over");
    let (whole, behind) = match report.closed {
        0 => (format!("nobody wrote to the {old}"), ""),
        _ => ("nobody could write".to_string(), " behind the fence"),
    };
    page.line(head.text(format!(
        ": the {new} has every change before {}; {whole} for {:.2} s.",
        line(&report.position.0),
        report.outage.as_secs_f64()
    )));
    page.say(&format!("  drained    {} rows{behind}", exact(report.drained)));
    for (sequence, value) in &report.sequences {
        page.say(&format!("  sequence   {} at {value}", line(&sequence.to_string())));
    }
    if report.ahead > 0 {
        let verb = if report.ahead == 1 { "was" } else { "were" };
        page.say(&format!("  sequences  {} {verb} far enough already", exact(report.ahead as u64)));
    }
    let rows: u64 = report.verdicts.iter().map(|verdict| verdict.target_rows).sum();
    if !report.verdicts.is_empty() {
        page.say(&format!(
            "  compared   {}, {} rows, equal",
            count(report.verdicts.len(), "table"),
            exact(rows)
        ));
    }
    for object in clean::together(&report.removed) {
        page.say(&format!("  removed    {}", line(&object)));
    }
    if report.closed > 0 {
        let roles: Vec<String> = report.closed_for.iter().map(|role| line(role).to_string()).collect();
        let whom = if roles.is_empty() { String::new() } else { format!(" of {}", roles.join(", ")) };
        page.say(&format!("  closed     {} of the {old} for writes{whom}", count(report.closed, "table")));
    }
    if report.closed == 0 {
        page.say(&format!(
            "  open       the {old} takes writes as before (fence: none): they are lost on the {new}"
        ));
    }
    for object in clean::together(&report.opened) {
        page.say(&format!("  opened     {}", line(&object)));
    }
    page.say(&format!("  next       let the applications write to the {new}"));
    if report.back.is_some() {
        let follow = "towpath follow --back";
        page.say(&format!("             {follow} keeps the {old} up to date, so that this can be undone"));
    }
    page.finish()
}

fn value(report: &CutoverReport, name: &str) -> Value {
    json!({
        "format": "towpath.cutover/1",
        "name": name,
        "done": report.refused.is_none(),
        "already": report.already,
        "refused": report.refused.as_ref().map(|gate| json!({ "code": gate.code, "why": gate.why, "hint": gate.hint })),
        "position": report.position,
        "outage_seconds": report.outage.as_secs_f64(),
        "lag_seconds": report.lag.as_secs_f64(),
        "drained_rows": report.drained,
        "sequences": report.sequences.iter().map(|(name, value)| json!({ "sequence": name.to_string(), "value": value })).collect::<Vec<_>>(),
        "sequences_ahead": report.ahead,
        "tables_closed": report.closed,
        "closed_for": report.closed_for,
        "tables_equal": report.verdicts.iter().filter(|verdict| verdict.equal).count(),
        "removed": report.removed,
        "way_back_from": report.back,
        "opened": report.opened,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Position;

    fn args() -> CutoverArgs {
        CutoverArgs {
            back: false,
            expect: None,
            max_lag: None,
            dry_run: false,
            lock_timeout: std::time::Duration::ZERO,
            yes: true,
            progress: crate::cli::args::ProgressFormat::None,
            json: false,
        }
    }

    #[test]
    fn f_70_a_gate_that_is_closed_says_why_and_that_nothing_was_decided() {
        let gate =
            Gate { code: Some("S604"), why: "still written to".into(), hint: "stop the writers".into() };
        let report = CutoverReport { refused: Some(gate), ..CutoverReport::default() };
        let text = render(&report, &args(), Look::default());
        assert!(text.starts_with("Not cut over: S604: still written to.\n"), "{text}");
        assert!(text.contains("writers may write; stop the writers"), "{text}");
        assert_eq!(exit_code(&report, false), exit::BLOCKED);
    }

    #[test]
    fn the_end_tells_the_outage_and_the_sequences() {
        let report = CutoverReport {
            position: Position("0/16B3748".into()),
            outage: std::time::Duration::from_millis(1250),
            sequences: vec![(crate::catalog::Name::new("app", "s"), 42)],
            ahead: 1,
            closed: 2,
            ..CutoverReport::default()
        };
        let text = render(&report, &args(), Look::default());
        assert!(text.contains("before 0/16B3748; nobody could write for 1.25 s."), "{text}");
        assert!(text.contains("sequence   app.s at 42"), "{text}");
        assert!(text.contains("sequences  1 was far enough"), "{text}");
        assert!(text.contains("closed     2 tables of the source"), "{text}");
        assert_eq!(exit_code(&report, false), exit::DONE);
    }
}
