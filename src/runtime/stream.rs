//! The executor's part in following changes: opens the capture, sees to it that it still stands,
//! says from where each table is followed, and catches up. Follows nothing by itself.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::event::Event;
use super::follow::{self, Ended, FollowOptions, FollowReport, Following, Goal, follow};
use super::perform::{Act, millis_since};
use super::retry::{Attempts, jitter};
use super::run::{Run, Shared};
use super::serve::{give_up, watch_log};
use super::trouble::{Slip, Trouble, Way};
use crate::catalog::Name;
use crate::change::{Followed, Position};
use crate::checkpoint::{Progress, StreamProgress};
use crate::diff::id;
use crate::engine::crash::crash_point;
use crate::engine::url::Url;
use crate::engine::{Capture, CaptureSpec, Cause, EngineError, Loaded, Scratch, Snapshot, Source, Standing};
use crate::graph::{Action, CatchUpTo, Graph, Step, Stream};
use crate::plan::{self, Plan};

/// How long one attempt to open waits for transactions that began before it.
pub(super) const OPEN_WAIT: Duration = Duration::from_secs(60);
/// Tables that an error names one by one.
const NAMED_MAX: usize = 8;

/// What `cdc:` of a plan means for following.
pub fn follow_options(plan: &Plan, attempts: u32) -> FollowOptions {
    let cdc = &plan.cdc;
    let usual = FollowOptions::default();
    FollowOptions {
        mode: match cdc.mode {
            plan::Mode::Batch => follow::Mode::Batch,
            plan::Mode::Transactional => follow::Mode::Transactional,
        },
        memory_bytes: cdc.memory_bytes,
        memory_keep: cdc.memory_keep,
        spill_dir: spill_dir(plan),
        spill_bytes: cdc.spill_bytes,
        acknowledge: match cdc.acknowledge {
            plan::Acknowledge::Applied => follow::Acknowledge::Applied,
            plan::Acknowledge::Spooled => follow::Acknowledge::Spooled,
        },
        cascades: cdc.cascades,
        attempts,
        ..usual
    }
}

/// Where an engine may put what its stream tells too early: beside the spill, and as much again.
pub fn scratch(plan: &Plan) -> Scratch {
    let bytes = if plan.cdc.read_ahead { plan.cdc.spill_bytes } else { 0 };
    Scratch { dir: spill_dir(plan), bytes }
}

/// One directory for each plan: two may run on one machine. Where the plan names none, one of its
/// name with other ends has another: the same file moves a database of each environment.
fn spill_dir(plan: &Plan) -> PathBuf {
    let base = match &plan.cdc.spill_dir {
        Some(named) => PathBuf::from(named),
        None => {
            let ends = [&plan.source.url, &plan.target.url].map(|url| place_of(url));
            let number = xxh3_64(format!("{ends:?}").as_bytes());
            FollowOptions::default().spill_dir.join(format!("{number:016x}"))
        }
    };
    base.join(&plan.name)
}

/// Where a URL leads; who goes there, and how, may change.
fn place_of(url: &str) -> Option<(Option<String>, Option<u16>, String)> {
    let url = Url::parse(url).ok()?;
    Some((url.host, url.port, url.path))
}

/// The source's change log; a graph that follows has one.
pub fn capture_of(source: &dyn Source) -> Result<&dyn Capture, EngineError> {
    source.capture().ok_or_else(|| {
        EngineError::new(Cause::Other, "follow the source", "this engine's change log cannot be followed")
            .contract("C502")
    })
}

/// How far the stream has come, and where that of each table begins.
pub struct Origin {
    pub starts: Vec<Position>,
    pub progress: StreamProgress,
}

/// Reads it from the target's marks. All rows of a table were read in one snapshot; where they
/// were there before, the opening of the capture is where it begins.
pub fn origin(stream: &Stream, progress: &Progress) -> Result<Origin, EngineError> {
    let opened = |hint: &str| {
        let unopened = || EngineError::new(Cause::Stale, "follow", "the change log was not opened yet");
        progress.stream.clone().ok_or_else(|| unopened().hint(hint))
    };
    if stream.there {
        let progress = opened("towpath cutover opens it")?;
        return Ok(Origin { starts: vec![progress.opened.clone(); stream.tables.len()], progress });
    }
    let positions: HashMap<&Name, &Position> =
        progress.chunks.iter().map(|mark| (&mark.table, &mark.position)).collect();
    let starts = stream.tables.iter().map(|followed| {
        let table = &followed.projection.target;
        let start = positions.get(table).map(|position| (*position).clone());
        start.ok_or_else(|| {
            EngineError::new(Cause::Stale, "follow", "its rows are not copied yet")
                .on(table)
                .hint("towpath apply copies them")
        })
    });
    let starts = starts.collect::<Result<Vec<_>, _>>()?;
    Ok(Origin { starts, progress: opened("towpath apply opens it")? })
}

impl Origin {
    /// The latest start: from there on all rows belong together.
    pub fn consistent(&self, capture: &dyn Capture) -> Position {
        let mut latest = &self.progress.opened;
        for start in &self.starts {
            if capture.reached(start, latest) {
                latest = start;
            }
        }
        latest.clone()
    }
}

/// Whether the capture that a target's progress counts on is still there. `Cause::Stale` where it
/// is not: no way leads on from there but another copy.
pub async fn check_standing(
    capture: &dyn Capture,
    graph: &Graph,
    stream: &Stream,
) -> Result<(), EngineError> {
    let why = match capture.standing(&graph.name).await? {
        Standing::Kept { .. } => return Ok(()),
        Standing::Missing => "the source keeps no changes for this plan any more".to_string(),
        Standing::Lost(why) => format!("the source has given up what it kept for this plan: {why}"),
    };
    Err(lost(stream, why))
}

/// What a stream counts on is gone.
pub fn lost(stream: &Stream, why: String) -> EngineError {
    match stream.there {
        false => gap(&stream.tables, why),
        true => EngineError::new(Cause::Stale, "follow", why).contract("G10").hint(
            "there is no way back any more: what was written since stays in the new database; `towpath clean \
             --back` removes what is left of it",
        ),
    }
}

/// Changes are missing between the rows and what can still be read.
pub fn gap(tables: &[Followed], why: String) -> EngineError {
    EngineError::new(Cause::Stale, "follow", why).contract("G10").hint(format!(
        "these tables have to be copied again: {}. `towpath apply --recopy` empties them, opens the change \
         log anew and copies them",
        named(tables.iter().map(|followed| &followed.projection.target))
    ))
}

fn named<'n>(tables: impl ExactSizeIterator<Item = &'n Name>) -> String {
    let more = tables.len().saturating_sub(NAMED_MAX);
    let mut names: Vec<String> = tables.take(NAMED_MAX).map(Name::to_string).collect();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

/// Rows that were copied before their changes were kept: what happened in between is known to
/// nobody.
fn copied_too_early(graph: &Graph, progress: &Progress) -> Result<(), EngineError> {
    let Some(stream) = &graph.stream else { return Ok(()) };
    if progress.step(id::OPEN).is_some() {
        return Ok(());
    }
    let early: Vec<Followed> = stream
        .tables
        .iter()
        .filter(|followed| progress.chunks_of(&followed.projection.target).next().is_some())
        .cloned()
        .collect();
    match early.is_empty() {
        true => Ok(()),
        false => Err(gap(&early, "rows were copied before their changes were kept".into())),
    }
}

impl<'a> Run<'a> {
    pub(super) fn stream(&self) -> Option<&'a Stream> {
        self.graph.stream.as_ref()
    }

    /// True for a step that is more than one transaction on the target.
    pub(super) fn streams(&self, place: usize) -> bool {
        matches!(self.step(place).action, Action::OpenCapture { .. } | Action::CatchUp { .. })
    }

    /// True where this table's changes are followed.
    pub(super) fn is_followed(&self, table: &Name) -> bool {
        self.stream()
            .is_some_and(|stream| stream.tables.iter().any(|followed| followed.projection.target == *table))
    }

    /// Returns once the source keeps more log than it may.
    pub(super) async fn watch_log(&self) -> String {
        let (graph, limit) = (self.graph, self.options.keep_log);
        match self.source.capture().filter(|_| self.stream().is_some()) {
            Some(capture) => watch_log(capture, graph, limit, self.reporter, self.clock.as_ref()).await,
            None => std::future::pending().await,
        }
    }

    /// Gives the capture up, nobody reading from it any more.
    pub(super) async fn give_up_log(&self, why: String) -> EngineError {
        match capture_of(self.source) {
            Ok(capture) => give_up(capture, self.graph, why).await,
            Err(error) => error,
        }
    }

    /// What has to hold before a round of a plan that follows changes.
    pub(super) async fn check_stream(&self, progress: &Progress) -> Result<(), EngineError> {
        let Some(stream) = self.stream() else { return Ok(()) };
        copied_too_early(self.graph, progress)?;
        if progress.step(id::OPEN).is_none() {
            return Ok(());
        }
        let capture = capture_of(self.source)?;
        let mut tries = Attempts::new(self.options.attempts);
        loop {
            let Err(error) = check_standing(capture, self.graph, stream).await else { return Ok(()) };
            match tries.failed(&error, jitter()) {
                Some(wait) if !self.stop.asked() => self.clock.sleep(wait).await,
                _ => return Err(error),
            }
        }
    }

    /// The snapshot that rows are read in: of the capture, where changes are followed.
    pub(super) async fn new_snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        match self.stream() {
            None => self.source.snapshot().await,
            Some(_) => capture_of(self.source)?.snapshot(&self.graph.name, OPEN_WAIT).await,
        }
    }

    /// Performs a step of the stream, and marks it.
    pub(super) async fn advance_stream(&self, place: usize) -> Result<(), Trouble> {
        let step = self.step(place);
        let began = Instant::now();
        self.tell(Event::StepStarted { step: step.id.clone() });
        let act = match &step.action {
            Action::OpenCapture { .. } => {
                self.open_capture(step).await?;
                crash_point("slot::created_before_mark");
                Act::Opened { place, millis: millis_since(began) }
            }
            Action::CatchUp { to, .. } => {
                let rows = self.catch_up(step, *to).await?;
                crash_point("stream::caught_up");
                Act::Close { place, loaded: Loaded { rows, bytes: 0 }, millis: millis_since(began) }
            }
            _ => unreachable!("broken invariant: only steps of the stream come here"),
        };
        self.transact(&[act], &HashMap::new()).await?;
        crash_point("slot::after_mark");
        Ok(())
    }

    async fn open_capture(&self, step: &Step) -> Result<(), Trouble> {
        let stream = self.stream().expect("broken invariant: its graph follows changes");
        let mut tries = Attempts::new(self.options.attempts);
        loop {
            let opened = async {
                let spec = CaptureSpec {
                    plan: &self.graph.name,
                    tables: &stream.tables,
                    cascades: self.options.follow.cascades,
                };
                capture_of(self.source)?.open(&spec, OPEN_WAIT).await
            };
            match opened.await {
                Ok(snapshot) => {
                    self.hold_snapshot(Shared::new(snapshot)).await;
                    return Ok(());
                }
                Err(error) => self.again(&mut tries, Slip::new(step, error)).await?,
            }
        }
    }

    /// Applies changes up to a point; the number of rows they changed.
    async fn catch_up(&self, step: &Step, to: CatchUpTo) -> Result<u64, Trouble> {
        let mut tries = Attempts::new(self.options.attempts);
        let (origin, goal) = loop {
            match self.way_to(to).await {
                Ok(way) => break way,
                Err(error) => self.again(&mut tries, Slip::new(step, error)).await?,
            }
        };
        let failed = |error: EngineError| {
            let way = if error.cause == Cause::Locked { Way::LockLost } else { Way::Failed };
            Slip::new(step, error).into_trouble(way)
        };
        let capture = capture_of(self.source).map_err(failed)?;
        if to == CatchUpTo::Consistent && capture.reached(&origin.progress.position, &goal) {
            return Ok(0);
        }
        self.book(|book| book.written = true);
        let FollowReport { counts, ended, .. } =
            self.follow(capture, origin, &Goal::Past(goal)).await.map_err(failed)?;
        match ended {
            Ended::Goal => Ok(counts.rows()),
            Ended::Stopped => {
                let error = EngineError::new(Cause::Other, "catch up", "stopping was asked for");
                Err(Slip::new(step, error).into_trouble(Way::Stopped))
            }
        }
    }

    /// Where the stream is, and where it is to come to.
    async fn way_to(&self, to: CatchUpTo) -> Result<(Origin, Position), EngineError> {
        let stream = self.stream().expect("broken invariant: its graph follows changes");
        let progress = self.target.progress(&self.graph.name).await?;
        let origin = origin(stream, &progress)?;
        let capture = capture_of(self.source)?;
        let goal = match to {
            CatchUpTo::Consistent => origin.consistent(capture),
            CatchUpTo::Head => capture.head().await?,
        };
        Ok((origin, goal))
    }

    async fn follow(
        &self,
        capture: &dyn Capture,
        origin: Origin,
        goal: &Goal,
    ) -> Result<FollowReport, EngineError> {
        let stream = self.stream().expect("broken invariant: its graph follows changes");
        let following = Following {
            plan: &self.graph.name,
            capture,
            target: self.target,
            lock: self.lock,
            tables: &stream.tables,
            starts: &origin.starts,
            from: origin.progress.position,
            options: &self.options.follow,
            reporter: self.reporter,
            stop: self.stop,
            clock: self.clock.clone(),
        };
        follow(&following, goal).await
    }
}

#[cfg(test)]
mod tests {
    use super::place_of;

    #[test]
    fn a_place_is_the_same_whoever_goes_there() {
        let place = |url: &str| place_of(url).expect("a URL");
        assert_eq!(place("postgres://a:b@h:5433/db?sslmode=require"), place("postgres://c@h:5433/db"));
        assert_ne!(place("postgres://a@h:5433/db"), place("postgres://a@h:5434/db"));
        assert_ne!(place("postgres://a@h/db"), place("postgres://a@h/bd"));
    }
}
