//! `verify`: compares the rows of source and target, and says of each table what was found.
//! Changes nothing. Keys of rows that differ are shown only to a person, or when asked for.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::{Plainness, ProbeArg, SavedArgs, VerifyArg, VerifyArgs};
use super::escape::{capped, line};
use super::failure::Failure;
use super::look::{Line, Look, Page, Tone};
use super::making::{self, Made};
use super::number::{count, exact};
use super::progress::Progress;
use super::tally::Tally;
use super::{Face, ends, exit, repair, signals};
use crate::catalog::{Name, Projection};
use crate::diff::TableDiff;
use crate::engine::{Cause, EngineError, Snapshot, Source, Target};
use crate::graph::digest;
use crate::plan::Verify;
use crate::plan::pattern::Pattern;
use crate::runtime::follow::FollowOptions;
use crate::runtime::meeting::common_point;
use crate::runtime::planning::{SourceEnd, TargetEnd};
use crate::runtime::serve::Service;
use crate::runtime::verify::{Finding, verify_in};
use crate::runtime::{Reporter, Stop, SystemClock, TableVerdict, VerifyLevel, cutover, stream, verify};

/// Attempts at work that fails in a way that may pass.
pub const ATTEMPTS: u32 = 5;
/// Keys listed of one table.
const KEYS_MAX: usize = 20;
/// Characters of one key.
const KEY_WIDTH: usize = 120;

/// Projections by the level they are compared at.
pub type Groups = Vec<(VerifyLevel, Vec<Projection>)>;

pub async fn run(args: &VerifyArgs, face: &Face) -> Result<u8, Failure> {
    if args.repair {
        return repair::run(args, face).await;
    }
    let made = making::make(face, &SavedArgs::default(), ProbeArg::None).await?;
    if cutover::is_decided(&made.planned.progress) {
        face.screen.say("it was cut over: the target is in use, and what is written there is a difference");
    }
    let verdicts = verify_made(&made, args, face).await?;
    let keys = args.show_keys || face.screen.stdout_terminal;
    match args.format {
        Plainness::Text => face.screen.out(&render(&verdicts, keys, face.screen.look())),
        Plainness::Json => face.screen.out(&super::json::pretty(&value(&verdicts, keys))),
    }
    Ok(exit_code(&verdicts))
}

pub fn exit_code(verdicts: &[TableVerdict]) -> u8 {
    if verdicts.iter().all(|verdict| verdict.equal) { exit::DONE } else { exit::MISMATCH }
}

/// Compares the tables that the arguments choose.
async fn verify_made(made: &Made, args: &VerifyArgs, face: &Face) -> Result<Vec<TableVerdict>, Failure> {
    let (SourceEnd::Live(source), TargetEnd::Live(target)) = (&made.ends.source, &made.ends.target) else {
        return Err(Failure::usage("a saved catalog has no rows to compare"));
    };
    let groups = chosen(&made.planned.diff.tables, args)?;
    let progress = Progress::start(args.progress, &face.screen, Tally::default());
    let stop = Stop::default();
    let comparing = async {
        match follows(made) {
            false => {
                let comparing = verify_groups(groups, (source.as_ref(), target.as_ref()), made, &progress);
                until_stopped(&stop, comparing).await
            }
            true => verify_at_one_point(groups, source.as_ref(), made, &progress, &stop).await,
        }
    };
    let result = tokio::select! {
        result = comparing => result,
        never = signals::listen(&stop) => match never {},
    };
    progress.finish();
    let mut verdicts = result?;
    verdicts.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(verdicts)
}

/// True where the source goes on and the target follows it.
pub fn follows(made: &Made) -> bool {
    let cut_over = cutover::is_decided(&made.planned.progress);
    !cut_over && made.planned.graph.stream.is_some() && made.planned.progress.stream.is_some()
}

/// Work that changes nothing ends at the first signal.
pub async fn until_stopped<T>(
    stop: &Stop,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = stop.wait() => Err(Failure::new(exit::INTERRUPTED, "stopped before all was compared")
            .help("nothing was changed")),
        done = work => done,
    }
}

async fn verify_groups(
    groups: Groups,
    (source, target): (&dyn Source, &dyn Target),
    made: &Made,
    progress: &Progress,
) -> Result<Vec<TableVerdict>, Failure> {
    let mut verdicts = Vec::new();
    for (level, projections) in groups {
        let same = same_engine(made);
        verdicts.extend(verify(&projections, source, target, same, level, KEYS_MAX, progress).await?);
    }
    Ok(verdicts)
}

/// Where the source goes on: both ends as of one commit.
async fn verify_at_one_point(
    groups: Groups,
    source: &dyn Source,
    made: &Made,
    progress: &Progress,
    stop: &Stop,
) -> Result<Vec<TableVerdict>, Failure> {
    let target = ends::open_target(&made.loaded, false).await?;
    let goal = digest::goal(&made.planned.graph);
    let follow = stream::follow_options(&made.loaded.plan, ATTEMPTS);
    let service = service(made, (source, target.as_ref()), &follow, &goal, progress, stop);
    let point = common_point(&service).await.map_err(held)?;
    let snapshots = (point.source.as_ref(), point.target.as_ref());
    let verdicts = until_stopped(stop, compare(&groups, snapshots, made, progress)).await;
    // They were only read from: failing to let go of them changes no verdict.
    let _ = point.source.close().await;
    let _ = point.target.close().await;
    verdicts
}

/// Compares in snapshots that are held.
pub async fn compare(
    groups: &Groups,
    snapshots: (&dyn Snapshot, &dyn Snapshot),
    made: &Made,
    progress: &Progress,
) -> Result<Vec<TableVerdict>, Failure> {
    let mut verdicts = Vec::new();
    for (level, projections) in groups {
        let same = same_engine(made);
        verdicts.extend(verify_in(projections, snapshots, same, *level, KEYS_MAX, progress).await?);
    }
    Ok(verdicts)
}

pub fn same_engine(made: &Made) -> bool {
    made.planned.graph.source.engine == made.planned.graph.target.engine
}

/// What holds the plan's lock and catches up, for as long as is compared.
pub fn service<'a>(
    made: &'a Made,
    (source, target): (&'a dyn Source, &'a dyn Target),
    follow: &'a FollowOptions,
    digest: &'a str,
    reporter: &'a dyn Reporter,
    stop: &'a Stop,
) -> Service<'a> {
    Service {
        graph: &made.planned.graph,
        source,
        target,
        follow,
        digest,
        lock_wait: Duration::ZERO,
        keep_log: None,
        reporter,
        stop,
        clock: Arc::new(SystemClock),
    }
}

/// Who follows elsewhere moves the target on.
pub fn held(error: EngineError) -> Failure {
    let locked = error.cause == Cause::Locked;
    let failure = Failure::from(error);
    match locked {
        true => failure.help("stop the follow that runs, verify, then follow again"),
        false => failure,
    }
}

/// The tables that the arguments choose.
pub fn chosen(tables: &[TableDiff], args: &VerifyArgs) -> Result<Groups, Failure> {
    let patterns = args.tables.iter().map(|text| pattern(text)).collect::<Result<Vec<Pattern>, Failure>>()?;
    for (pattern, text) in patterns.iter().zip(&args.tables) {
        if !tables.iter().any(|table| names(pattern, table)) {
            return Err(Failure::usage(format!("no table of the plan matches {}", line(text))));
        }
    }
    let mut groups = Groups::new();
    for table in tables {
        let named = patterns.iter().any(|pattern| names(pattern, table));
        let Some(level) = level(table, args.level, named) else { continue };
        if !patterns.is_empty() && !named || !holds_rows(table) {
            continue;
        }
        match groups.iter_mut().find(|(other, _)| *other == level) {
            Some((_, group)) => group.push(Projection::clone(&table.projection)),
            None => groups.push((level, vec![Projection::clone(&table.projection)])),
        }
    }
    Ok(groups)
}

fn holds_rows(table: &TableDiff) -> bool {
    table.want.holds_rows()
}

/// How closely a table is looked at; none: not at all.
fn level(table: &TableDiff, asked: Option<VerifyArg>, named: bool) -> Option<VerifyLevel> {
    if table.policy.verify == Verify::None && !named {
        return None;
    }
    Some(match (asked, table.policy.verify) {
        (Some(VerifyArg::Count), _) | (None, Verify::Count) => VerifyLevel::Count,
        (Some(VerifyArg::Checksum), _) | (None, _) => VerifyLevel::Checksum,
        (Some(VerifyArg::Rows), _) => VerifyLevel::Rows,
    })
}

fn pattern(text: &str) -> Result<Pattern, Failure> {
    Pattern::parse(text)
        .map_err(|error| Failure::usage(format!("{} is no table pattern: {error}", line(text))))
}

/// A pattern names a table by its source or target name; without a schema it means any.
fn names(pattern: &Pattern, table: &TableDiff) -> bool {
    let either = |name: &Name| pattern.matches(name, &name.schema, false);
    either(&table.source) || either(&table.want.name)
}

/// One line per table, then the keys that differ.
pub fn render(verdicts: &[TableVerdict], keys: bool, look: Look) -> String {
    let mut page = Page::new(look);
    let widest = verdicts.iter().map(|v| v.target.to_string().chars().count()).max().unwrap_or(0).min(48);
    for verdict in verdicts {
        page.line(table_line(verdict, widest));
        if keys {
            verdict.findings.iter().for_each(|finding| page.line(finding_line(finding)));
        }
        let hidden = verdict.more + if keys { 0 } else { verdict.findings.len() as u64 };
        if hidden > 0 {
            let how = if keys { "" } else { " (--show-keys lists keys)" };
            page.say(&format!("      at least {} more{how}", exact(hidden)));
        }
    }
    page.gap();
    page.line(total(verdicts));
    page.finish()
}

fn table_line(verdict: &TableVerdict, widest: usize) -> Line {
    let (tone, word) = if verdict.equal { (Tone::Good, "equal") } else { (Tone::Stop, "different") };
    let rows = match verdict.source_rows == verdict.target_rows {
        true => format!("{} rows", exact(verdict.source_rows)),
        false => format!("{} rows, target has {}", exact(verdict.source_rows), exact(verdict.target_rows)),
    };
    Line::new()
        .text("  ")
        .cell(tone, word, 11)
        .cell(Tone::Plain, &verdict.target.to_string(), widest)
        .text("  ")
        .text(rows)
}

fn finding_line(finding: &Finding) -> Line {
    let (mark, key, what) = match finding {
        Finding::OnlySource { key } => ("-", key, "missing on the target"),
        Finding::OnlyTarget { key } => ("+", key, "only on the target"),
        Finding::Differs { key } => ("~", key, "differs"),
    };
    Line::new().text("      ").add(Tone::Differ, mark).text(format!(" {}  {what}", capped(key, KEY_WIDTH)))
}

fn total(verdicts: &[TableVerdict]) -> Line {
    let different = verdicts.iter().filter(|verdict| !verdict.equal).count();
    let rows: u64 = verdicts.iter().map(|verdict| verdict.source_rows).sum();
    match different {
        _ if verdicts.is_empty() => Line::new().add(Tone::Warn, "Nothing was compared: no table is chosen."),
        0 => Line::new().add(Tone::Good, "Equal").text(format!(
            ": {}, {} rows.",
            count(verdicts.len(), "table"),
            exact(rows)
        )),
        number => Line::new()
            .add(Tone::Stop, "Different")
            .text(format!(": {number} of {}.", count(verdicts.len(), "table"))),
    }
}

pub fn value(verdicts: &[TableVerdict], keys: bool) -> Value {
    let tables = verdicts.iter().map(|verdict| {
        let findings = verdict.findings.iter().map(|finding| match finding {
            Finding::OnlySource { key } => json!({ "only_source": key }),
            Finding::OnlyTarget { key } => json!({ "only_target": key }),
            Finding::Differs { key } => json!({ "differs": key }),
        });
        json!({
            "source": verdict.source,
            "target": verdict.target,
            "equal": verdict.equal,
            "source_rows": verdict.source_rows,
            "target_rows": verdict.target_rows,
            "found": verdict.findings.len(),
            "more": verdict.more,
            "keys": if keys { Value::Array(findings.collect()) } else { Value::Null },
        })
    });
    json!({
        "format": "towpath.verify/1",
        "equal": verdicts.iter().all(|verdict| verdict.equal),
        "tables": tables.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts() -> Vec<TableVerdict> {
        let equal = TableVerdict {
            source: Name::new("public", "users"),
            target: Name::new("app", "accounts"),
            equal: true,
            source_rows: 1_234,
            target_rows: 1_234,
            findings: Vec::new(),
            more: 0,
        };
        let different = TableVerdict {
            target: Name::new("app", "orders"),
            equal: false,
            target_rows: 1_233,
            findings: vec![Finding::OnlySource { key: "31\u{1b}[2J".into() }],
            more: 4,
            ..equal.clone()
        };
        vec![equal, different]
    }

    #[test]
    fn each_table_has_its_verdict_and_keys_are_shown_to_people_only() {
        let shown = render(&verdicts(), true, Look::default());
        assert_eq!(
            shown,
            "  equal      app.accounts  1 234 rows\n  \
             different  app.orders    1 234 rows, target has 1 233\n      \
             - 31\\u{1b}[2J  missing on the target\n      \
             at least 4 more\n\nDifferent: 1 of 2 tables.\n"
        );
        let piped = render(&verdicts(), false, Look::default());
        assert!(!piped.contains("31"), "{piped}");
        assert!(piped.contains("at least 5 more (--show-keys"), "{piped}");
    }

    #[test]
    fn one_different_table_is_exit_7() {
        assert_eq!(exit_code(&verdicts()), exit::MISMATCH);
        assert_eq!(exit_code(&verdicts()[..1]), exit::DONE);
        assert_eq!(value(&verdicts(), false)["equal"], false);
        assert_eq!(value(&verdicts(), false)["tables"][1]["keys"], Value::Null);
    }
}
