//! `clean`: removes what a plan made to work with: what keeps the source's log, and what the target
//! remembers. Never touches a row. The capture goes first: as long as something is left on the
//! source, the target knows of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::{CleanArgs, Plainness};
use super::ends::{self, Loaded};
use super::escape::line;
use super::failure::Failure;
use super::look::{Line, Page, Tone};
use super::number::{bytes, count};
use super::{Face, exit};
use crate::catalog::Name;
use crate::checkpoint::{Goal, Progress};
use crate::engine::{Capture, Source, Standing, Target};

/// What there is to remove.
struct Found {
    capture: Option<String>,
    state: Option<Progress>,
    /// Tables of the source that a cutover closed for writes.
    closed: Vec<Name>,
}

/// What was done, or would be.
struct Outcome {
    removed: Vec<String>,
    /// Tables that stay closed for writes.
    closed: Vec<Name>,
}

pub async fn run(args: &CleanArgs, face: &Face) -> Result<u8, Failure> {
    if args.target_tables {
        return Err(Failure::usage("--target-tables is not built yet: tables that the plan made stay")
            .code("E132")
            .help("drop them by hand, if they are not wanted"));
    }
    let loaded = ends::read_either(&face.global, args.back)?;
    let name = &loaded.plan.name;
    let source = ends::open_source(&loaded).await?;
    let target = ends::open_target(&loaded, true).await?;
    if let Some(holder) = target.holder(name).await? {
        let text = format!("a run of {} is at work: {}", line(name), line(&holder.by));
        return Err(Failure::new(exit::LOCKED, text).help("stop it, then clean").next("towpath status"));
    }
    let found = look(name, source.as_ref(), target.as_ref()).await?;
    if !args.dry_run {
        first_the_way_back(&loaded).await?;
    }
    let removed = match args.dry_run {
        true => would_go(name, &found, args),
        false => remove(args, &loaded, source.as_ref(), &found).await?,
    };
    let closed = if args.open_source { Vec::new() } else { found.closed };
    let outcome = Outcome { removed, closed };
    match args.format {
        Plainness::Text => face.screen.out(&render(&outcome, args, face)),
        Plainness::Json => face.screen.out(&super::json::pretty(&value(name, &outcome, args))),
    }
    Ok(exit::DONE)
}

/// The way back needs what the plan remembers: it is given up by name, and before.
async fn first_the_way_back(loaded: &Loaded) -> Result<(), Failure> {
    if loaded.plan.reverse.is_none() {
        return Ok(());
    }
    let turned = loaded.turned()?;
    let name = &turned.plan.name;
    let kept = match ends::open_followed(loaded).await? {
        Some(source) => match source.capture() {
            Some(capture) => kept(capture, name).await?,
            None => None,
        },
        None => None,
    };
    let remembered = ends::open_target(&turned, true).await?.plans().await?.contains(name);
    if kept.is_none() && !remembered {
        return Ok(());
    }
    let text = format!("{} still has its way back", line(&loaded.plan.name));
    Err(Failure::new(exit::BLOCKED, text).help("give it up first").next("towpath clean --back"))
}

async fn look(name: &str, source: &dyn Source, target: &dyn Target) -> Result<Found, Failure> {
    let capture = match source.capture() {
        Some(capture) => kept(capture, name).await?,
        None => None,
    };
    let known = target.plans().await?.iter().any(|plan| plan == name);
    let state = if known { Some(target.progress(name).await?) } else { None };
    Ok(Found { capture, state, closed: source.fenced(name).await? })
}

async fn kept(capture: &dyn Capture, name: &str) -> Result<Option<String>, Failure> {
    if !capture.leaves_traces() {
        return Ok(None);
    }
    Ok(match capture.standing(name).await? {
        Standing::Missing => None,
        Standing::Kept { retained, .. } => Some(format!(
            "the capture of {} on the source, which keeps {} of log",
            line(name),
            bytes(retained)
        )),
        Standing::Lost(why) => {
            Some(format!("the capture of {} on the source, lost: {}", line(name), line(&why)))
        }
    })
}

fn remembered(name: &str, progress: &Progress) -> String {
    let steps = count(progress.steps.len(), "step");
    format!("the state of {} on the target: {steps}, {}", line(name), count(progress.runs.len(), "run"))
}

fn would_go(name: &str, found: &Found, args: &CleanArgs) -> Vec<String> {
    let state = found.state.iter().filter(|_| !args.keep_state).map(|progress| remembered(name, progress));
    let fence = found.closed.iter().filter(|_| args.open_source).map(|table| format!("fence of {table}"));
    found.capture.iter().cloned().chain(fence).chain(state).collect()
}

async fn remove(
    args: &CleanArgs,
    loaded: &Loaded,
    source: &dyn Source,
    found: &Found,
) -> Result<Vec<String>, Failure> {
    let name = &loaded.plan.name;
    // The lock is in the state: where there is none, no run can be at work.
    let lock = match &found.state {
        Some(progress) => {
            let target = ends::open_target(loaded, false).await?;
            let digest = progress.digest.clone().unwrap_or_default();
            let goal = Goal { digest, steps: progress.planned.clone() };
            Some(target.lock(name, &goal, Duration::ZERO).await?)
        }
        None => None,
    };
    let mut removed = Vec::new();
    if let Some(capture) = source.capture() {
        removed.extend(capture.close(name).await?);
    }
    if args.open_source {
        removed.extend(source.unfence(name).await?);
    }
    if let Some(lock) = lock {
        match args.keep_state {
            true => lock.close("partial").await?,
            false => removed.extend(lock.forget().await?),
        }
    }
    Ok(removed)
}

fn render(outcome: &Outcome, args: &CleanArgs, face: &Face) -> String {
    let Outcome { removed, closed } = outcome;
    let mut page = Page::new(face.screen.look());
    let verb = if args.dry_run { "would remove" } else { "removed" };
    for object in together(removed) {
        page.line(Line::new().add(Tone::Leave, format!("  {verb}")).text(format!("  {}", line(&object))));
    }
    if removed.is_empty() {
        page.say("nothing is left to remove");
    }
    if !closed.is_empty() {
        let end = if args.back { "target" } else { "source" };
        let tables = count(closed.len(), "table");
        let named: Vec<String> = closed.iter().take(ALIKE_MAX).map(Name::to_string).collect();
        let more = if closed.len() > ALIKE_MAX { " and others" } else { "" };
        page.say(&format!("  {tables} of the {end} closed for writes since the cutover:"));
        page.say(&format!("    {}{more}", line(&named.join(", "))));
        let command =
            if args.back { "towpath clean --back --open-source" } else { "towpath clean --open-source" };
        page.say(&format!("  {command} opens them; then two databases can be written"));
    }
    page.finish()
}

/// Objects as they are shown: of many of one kind, which is their first word, the number and the
/// first one.
pub fn together(objects: &[String]) -> Vec<String> {
    let kind = |object: &str| object.split(' ').next().unwrap_or_default().to_string();
    let mut shown: Vec<String> = Vec::new();
    let mut kinds: Vec<String> = Vec::new();
    for object in objects {
        let kind_here = kind(object);
        let alike = objects.iter().filter(|other| kind(other) == kind_here).count();
        if alike <= ALIKE_MAX {
            shown.push(object.clone());
        } else if !kinds.contains(&kind_here) {
            let name = object[kind_here.len()..].trim_start();
            shown.push(format!("{}, {name} and the like", count(alike, &kind_here)));
            kinds.push(kind_here);
        }
    }
    shown
}

/// Objects of one kind that are named one by one.
const ALIKE_MAX: usize = 4;

fn value(name: &str, outcome: &Outcome, args: &CleanArgs) -> Value {
    json!({
        "format": "towpath.clean/1",
        "name": name,
        "dry_run": args.dry_run,
        "removed": outcome.removed,
        "closed": outcome.closed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_objects_of_one_kind_are_one_line() {
        let mut removed: Vec<String> = (0..120).map(|at| format!("trigger t_{at}")).collect();
        removed.push("table changes".into());
        assert_eq!(together(&removed), ["120 triggers, t_0 and the like", "table changes"]);
        assert_eq!(together(&removed[118..]), ["trigger t_118", "trigger t_119", "table changes"]);
    }
}
