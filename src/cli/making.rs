//! Makes a plan for the commands that need one: reads the file, opens the ends, plans. Writes to
//! no database.

use std::collections::HashMap;

use jiff::Timestamp;

use super::args::{ProbeArg, SavedArgs};
use super::ends::{self, Loaded};
use super::escape::line;
use super::failure::{Failure, of_planning};
use super::review::Done;
use super::{Face, exit, problem};
use crate::checkpoint::Progress;
use crate::graph::{Graph, Step};
use crate::runtime::planning::{BackEnds, SourceEnd, TargetEnd};
use crate::runtime::{Ends, Planned, ProbeLevel, cutover, make_plan};

/// A plan with everything it was made from.
pub struct Made {
    pub loaded: Loaded,
    pub ends: Ends,
    pub planned: Planned,
    pub done: Done,
}

/// Reads, opens and plans.
pub async fn make(face: &Face, saved: &SavedArgs, level: ProbeArg) -> Result<Made, Failure> {
    let loaded = ends::read_plan(&face.global, saved)?;
    let ends = ends::open(&loaded, saved).await?;
    let planned = plan(face, &loaded, &ends, level).await?;
    let done = done(&planned.graph, &planned.progress);
    Ok(Made { loaded, ends, planned, done })
}

/// As [`make`], for a command that can be meant for the way back.
pub async fn make_either(face: &Face, back: bool) -> Result<Made, Failure> {
    let made = make(face, &SavedArgs::default(), ProbeArg::None).await?;
    if back { turned(made).await } else { Ok(made) }
}

/// The way back of a plan that was cut over. Before that, what is written to the source would come
/// through it.
async fn turned(made: Made) -> Result<Made, Failure> {
    let Made { loaded, ends, planned, .. } = made;
    let back = loaded.turned()?;
    if planned.progress.step(cutover::DONE).is_none() {
        let text = format!("{} is not cut over: there is no way back yet", line(&loaded.plan.name));
        return Err(Failure::new(exit::FAILED, text).next("towpath status"));
    }
    let (Some(graph), Some(diff), Some(BackEnds { source, target })) =
        (planned.graph.turned(), planned.diff.back, ends.back)
    else {
        return Err(Failure::usage(format!("{} follows no table", line(&loaded.plan.name))));
    };
    let progress = target.progress(&graph.name).await?;
    Ok(Made {
        loaded: back,
        ends: Ends { source: SourceEnd::Live(source), target: TargetEnd::Live(target), back: None },
        planned: Planned { graph, diff: *diff, progress, warnings: Vec::new() },
        done: Done::new(),
    })
}

/// Plans over open ends, and shows the warnings.
pub async fn plan(face: &Face, loaded: &Loaded, ends: &Ends, level: ProbeArg) -> Result<Planned, Failure> {
    face.screen.detail("reading both structures");
    let made = make_plan(&loaded.plan, ends, probe_level(level), &today()).await;
    let planned = match made {
        Ok(planned) => planned,
        Err(failure) => {
            // What a run at work has half done looks like a conflict, and is none.
            free(ends, &loaded.plan.name).await?;
            return Err(of_planning(failure, &loaded.path, &loaded.text));
        }
    };
    let warnings = [loaded.warnings.as_slice(), planned.warnings.as_slice()].concat();
    if !warnings.is_empty() && !face.screen.quiet {
        let color = face.screen.message_look().color;
        face.screen.err(&problem::render(&loaded.path, &loaded.text, &warnings, color));
    }
    Ok(planned)
}

/// Fails naming the run that holds the plan's lock, if there is one.
pub async fn free(ends: &Ends, name: &str) -> Result<(), Failure> {
    let TargetEnd::Live(target) = &ends.target else { return Ok(()) };
    let Some(holder) = target.holder(name).await? else { return Ok(()) };
    let text = format!(
        "another run of {} holds the lock: {} since {}",
        line(name),
        line(&holder.by),
        line(&holder.since)
    );
    Err(Failure::new(exit::LOCKED, text).help("wait for it to end").next("towpath status"))
}

fn probe_level(level: ProbeArg) -> ProbeLevel {
    match level {
        ProbeArg::None => ProbeLevel::None,
        ProbeArg::Metadata => ProbeLevel::Metadata,
        ProbeArg::Standard => ProbeLevel::Standard,
        ProbeArg::Full => ProbeLevel::Full,
    }
}

/// Steps that the target remembers, made from the same inputs.
pub fn done(graph: &Graph, progress: &Progress) -> Done {
    let marks: HashMap<&str, &str> =
        progress.steps.iter().map(|mark| (mark.step.as_str(), mark.inputs.as_str())).collect();
    let same = |step: &&Step| marks.get(step.id.as_str()) == Some(&step.inputs.as_str());
    graph.steps.iter().filter(same).map(|step| step.id.clone()).collect()
}

/// `YYYY-MM-DD`, UTC.
pub fn today() -> String {
    Timestamp::now().strftime("%Y-%m-%d").to_string()
}
