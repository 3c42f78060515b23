//! Cutting over: the source's writers are kept out, the stream is drained to the last thing they
//! wrote, sequences are set, both ends are compared, and only then the source is closed. Up to that
//! point everything is taken back by letting go of the fence; a crash lets go of it too. After it
//! the same command goes on: from the beginning, where the source was not closed yet, for then
//! somebody may have written; else with what is left to do. The way back is cut over the same way,
//! and ends by opening the source that was closed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::event::Event;
use super::follow::{Ended, FollowReport, Goal};
use super::serve::{Service, follow_locked, stream_of};
use super::stream::capture_of;
use super::verify::{TableVerdict, VerifyLevel, verify};
use super::way_back::{self, WayBack};
use crate::catalog::probe::{End, Measured};
use crate::catalog::{Name, Probe, Projection, Question};
use crate::change::Position;
use crate::checkpoint::{Checkpoint, Progress, StepMark};
use crate::engine::crash::crash_point;
use crate::engine::fence::Fence;
use crate::engine::{Capture, Cause, EngineError, Lock, Obstacle, SequenceValue, Source};
use crate::graph::SequenceAim;
use crate::plan;

/// The point of no return: the target is what applications may write to. Made from the position
/// where the way back begins, where there is one.
pub const DECIDED: &str = "cutover/decided";
/// The source is closed: all that it ever had is in the target, and its log is of no more use.
const SEALED: &str = "cutover/sealed";
/// The capture is gone, too.
pub const DONE: &str = "cutover/done";
/// Keys of differing rows that a verdict lists.
const KEYS_MAX: usize = 20;
/// Rounds of catching up before the fence: each is shorter than the one before.
const ROUNDS: u32 = 3;

/// How to cut over.
#[derive(Clone, Debug)]
pub struct CutoverOptions {
    /// The stream may be this far behind when the writers are kept out.
    pub max_lag: Duration,
    /// Longest time in which nobody can write; then the writers are let in again.
    pub budget: Duration,
    /// None: the user keeps the writers out by himself.
    pub fence: plan::Fence,
    /// Values that sequences are set further than the source has come.
    pub margin: u64,
    /// What is compared before the source is closed.
    pub verify: Vec<(VerifyLevel, Vec<Projection>)>,
    /// Queries that must return no row.
    pub checks: Vec<(CheckedEnd, String)>,
    /// Goes up to the fence and says what would happen.
    pub dry_run: bool,
}

/// Where a check is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckedEnd {
    Source,
    Target,
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CutoverReport {
    /// None: cut over. Else why not, with everything as it was.
    pub refused: Option<Gate>,
    /// It had been done before.
    pub already: bool,
    /// Everything before it is in the target.
    pub position: Position,
    /// How far behind the stream was at the fence.
    pub lag: Duration,
    /// How long nobody could write.
    pub outage: Duration,
    /// Changed rows applied behind the fence.
    pub drained: u64,
    /// Sequences of the target and the values they were set to.
    pub sequences: Vec<(Name, i64)>,
    /// Sequences that needed nothing: their next value is one that the source has not used.
    pub ahead: usize,
    /// Tables of the source that refuse writes from now on.
    pub closed: usize,
    /// The roles that they refuse; none: everybody.
    pub closed_for: Vec<String>,
    pub verdicts: Vec<TableVerdict>,
    /// What was removed from the source.
    pub removed: Vec<String>,
    /// The way back begins here.
    pub back: Option<Position>,
    /// What was taken from the old source, so that it can be written again.
    pub opened: Vec<String>,
}

/// What a cutover does beside handing over.
pub enum Also<'a> {
    Nothing,
    /// Keeps a way back; the service is that of its stream.
    WayBack(&'a Service<'a>),
    /// This was the way back: the fence of that plan is taken from the source that it was cut over
    /// from.
    Open {
        source: &'a dyn Source,
        plan: &'a str,
    },
}

/// Why a cutover did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Hazard code: `S604`, `S605`, `S606`; none where nothing is wrong.
    pub code: Option<&'static str>,
    pub why: String,
    pub hint: String,
}

/// A gate that is closed, or an error.
enum Halt {
    Gate(Gate),
    Error(EngineError),
}

impl From<EngineError> for Halt {
    fn from(error: EngineError) -> Self {
        Self::Error(error)
    }
}

fn gate(code: impl Into<Option<&'static str>>, why: impl Into<String>, hint: impl Into<String>) -> Halt {
    Halt::Gate(Gate { code: code.into(), why: why.into(), hint: hint.into() })
}

/// True once the target has become the database that is written to.
pub fn is_decided(progress: &Progress) -> bool {
    progress.step(DECIDED).is_some()
}

/// The error of a command that would write changes of the source into a target that is in use.
pub fn refuse_decided(progress: &Progress, plan: &str) -> Result<(), EngineError> {
    if !is_decided(progress) {
        return Ok(());
    }
    Err(EngineError::new(Cause::Stale, "go on with", "it was cut over: the target is in use")
        .on(plan)
        .hint("towpath status tells when; towpath clean removes what is left of the plan"))
}

/// Cuts over, or says why not. Errors of an end are errors; a gate that is closed is a report.
pub async fn cut_over(
    service: &Service<'_>,
    options: &CutoverOptions,
    also: &Also<'_>,
) -> Result<CutoverReport, EngineError> {
    let capture = capture_of(service.source)?;
    let progress = service.target.progress(&service.graph.name).await?;
    if progress.step(DONE).is_some() {
        return Ok(CutoverReport { already: true, ..CutoverReport::default() });
    }
    let lock = service.lock().await?;
    let run = Run { service, options, also, capture, lock: lock.as_ref(), applied: AtomicU64::new(0) };
    let mut report = CutoverReport::default();
    let ended = match progress.step(DECIDED) {
        None => run.first(&mut report).await,
        Some(decided) => run.again(&mut report, &progress, Position(decided.inputs.clone())).await,
    };
    let closed = lock.close(if ended.is_ok() { "done" } else { "partial" }).await;
    match ended {
        Ok(()) => closed?,
        Err(Halt::Gate(gate)) => report.refused = Some(gate),
        Err(Halt::Error(error)) => return Err(error),
    }
    Ok(report)
}

struct Run<'a> {
    service: &'a Service<'a>,
    options: &'a CutoverOptions,
    also: &'a Also<'a>,
    capture: &'a dyn Capture,
    lock: &'a dyn Lock,
    /// Rows applied by this run.
    applied: AtomicU64,
}

impl Run<'_> {
    /// Nothing is decided yet: what is made is taken back unless it comes to that.
    async fn first(&self, report: &mut CutoverReport) -> Result<(), Halt> {
        if self.options.dry_run {
            self.come_near(report).await?;
            self.look_back().await?;
            self.look_at_roles().await?;
            return Err(gate(
                None,
                "this was a dry run: nothing was changed",
                "the same without --dry-run cuts over",
            ));
        }
        self.look_back().await?;
        self.look_at_roles().await?;
        let way = self.way_back(false).await?;
        match (self.hand_over(report, way.as_ref(), false).await, way) {
            (Ok(at), way) => self.finish(report, way, &at).await,
            (Err(Halt::Error(error)), Some(way)) => Err(way.undo_after(error).await.into()),
            (Err(halt), Some(way)) => Err(way.undo().await.err().map_or(halt, Halt::Error)),
            (Err(halt), None) => Err(halt),
        }
    }

    /// It was decided, and not finished. `at`: where the way back was to begin.
    async fn again(&self, report: &mut CutoverReport, progress: &Progress, at: Position) -> Result<(), Halt> {
        if at.0.is_empty() && matches!(self.also, Also::WayBack(_)) {
            let why = "it was decided without a way back, and where that would begin is not known any more";
            let error = EngineError::new(Cause::Stale, "go on with", why).on(&self.service.graph.name);
            return Err(error.hint("reverse: false, and cut over again to finish it").into());
        }
        let sealed = progress.step(SEALED).is_some() || self.is_closed().await?;
        if sealed || self.kept_out(report).await? {
            report.position = progress.stream.as_ref().map(|at| at.position.clone()).unwrap_or_default();
            let way = match self.also {
                Also::WayBack(service) => Some(WayBack::lock(service, true).await?),
                _ => None,
            };
            return self.finish(report, way, &at).await;
        }
        let way = self.way_back(true).await?;
        let at = self.hand_over(report, way.as_ref(), true).await?;
        self.finish(report, way, &at).await
    }

    /// What would keep the way back from working is a gate.
    async fn look_back(&self) -> Result<(), Halt> {
        let Also::WayBack(service) = self.also else { return Ok(()) };
        let Some((end, obstacle)) =
            way_back::obstacle(service, self.options.fence == plan::Fence::Tables).await?
        else {
            return Ok(());
        };
        let end = match end {
            way_back::End::Followed => "target",
            way_back::End::Written => "source",
        };
        let why = format!("no way back: on the {end}, {}: {}", obstacle.at, obstacle.message);
        Err(gate(obstacle.code, why, obstacle.hint))
    }

    async fn way_back(&self, again: bool) -> Result<Option<WayBack<'_>>, Halt> {
        Ok(match self.also {
            Also::WayBack(service) => Some(WayBack::open(service, again).await?),
            _ => None,
        })
    }

    /// True where nobody can have written to the source since it was decided.
    async fn is_closed(&self) -> Result<bool, EngineError> {
        let fenced = self.service.source.fenced(&self.service.graph.name).await?;
        let tables = self.tables();
        Ok(!tables.is_empty() && tables.iter().all(|table| fenced.contains(table)))
    }

    /// True where the user keeps the writers out himself, and nothing has come since it was decided:
    /// then both ends were compared as they are, and the target may be in use by now.
    async fn kept_out(&self, report: &mut CutoverReport) -> Result<bool, Halt> {
        if self.options.fence != plan::Fence::None {
            return Ok(false);
        }
        self.come_near(report).await?;
        Ok(self.applied.load(Ordering::Relaxed) == 0)
    }

    /// Everything up to the closed source. Returns where the way back begins.
    async fn hand_over(
        &self,
        report: &mut CutoverReport,
        way: Option<&WayBack<'_>>,
        again: bool,
    ) -> Result<Position, Halt> {
        self.come_near(report).await?;
        crash_point("cut::fence_before");
        let mut fence = self.fence().await?;
        let began = Instant::now();
        self.service.reporter.event(&Event::Fenced { by_us: fence.is_some() });
        crash_point("cut::fence_after");
        let budget = self.options.budget;
        let inside = tokio::select! {
            inside = self.inside(report, &mut fence, way) => inside,
            () = self.service.clock.sleep(budget) => Err(gate(
                "S605",
                format!("it took longer than the {:.1} s that cutover.budget allows", budget.as_secs_f64()),
                "raise cutover.budget, compare less (cutover.verify), or let the stream catch up first",
            )),
        };
        let at = match inside {
            Ok(at) => at,
            Err(halt) => {
                report.outage = began.elapsed();
                if let Some(fence) = fence {
                    fence.lift().await?;
                }
                self.service.reporter.event(&Event::Unfenced);
                return Err(halt);
            }
        };
        self.decide(&at, again).await?;
        crash_point("cut::point_of_no_return");
        if let Some(fence) = fence {
            fence.seal().await?;
            report.closed = self.tables().len();
            if let plan::Fence::Roles(roles) = &self.options.fence {
                report.closed_for.clone_from(roles);
            }
        }
        report.outage = began.elapsed();
        self.mark(&[Checkpoint::Step(mark(SEALED, ""))]).await?;
        crash_point("cut::sealed");
        Ok(at)
    }

    /// What is left to do once the source is closed. From here on nothing of it is read any more: a
    /// capture that is gone was removed by an earlier attempt. Each of it may be done twice.
    async fn finish(
        &self,
        report: &mut CutoverReport,
        way: Option<WayBack<'_>>,
        at: &Position,
    ) -> Result<(), Halt> {
        if let Some(way) = &way {
            way.begin(at).await?;
            report.back = Some(at.clone());
            crash_point("cut::back_begun");
        }
        report.removed = self.capture.close(&self.service.graph.name).await?;
        crash_point("cut::closed");
        // Last: as long as something is read from here, nobody else writes there.
        if let Also::Open { source, plan } = self.also {
            report.opened = source.unfence(plan).await?;
            crash_point("cut::source_opened");
        }
        self.mark(&[Checkpoint::Step(mark(DONE, ""))]).await?;
        crash_point("cut::done_mark");
        match way {
            Some(way) => Ok(way.close().await?),
            None => Ok(()),
        }
    }

    /// Keeps the writers out, unless the user does.
    async fn fence(&self) -> Result<Option<Box<dyn Fence>>, EngineError> {
        let Service { source, graph, .. } = self.service;
        Ok(match &self.options.fence {
            plan::Fence::None => None,
            plan::Fence::Tables => Some(source.fence(&graph.name, &self.tables()).await?),
            plan::Fence::Roles(roles) => Some(source.fence_roles(&graph.name, &self.tables(), roles).await?),
        })
    }

    /// A role that the fence would not stop is a gate, before anybody has to wait.
    async fn look_at_roles(&self) -> Result<(), Halt> {
        let plan::Fence::Roles(roles) = &self.options.fence else { return Ok(()) };
        let found = self.service.source.check_roles(&self.tables(), roles).await?;
        match found.into_iter().find(|obstacle| obstacle.blocks) {
            None => Ok(()),
            Some(Obstacle { code, at, message, hint, .. }) => {
                Err(gate(code, format!("the fence would not hold: {at}: {message}"), hint))
            }
        }
    }

    /// Catches up while everybody still writes, so that little is left to do behind the fence.
    async fn come_near(&self, report: &mut CutoverReport) -> Result<(), Halt> {
        for _ in 0..ROUNDS {
            let began = Instant::now();
            self.drain().await?;
            report.lag = began.elapsed();
            if report.lag <= self.options.max_lag {
                return Ok(());
            }
        }
        let why = format!(
            "catching up takes {:.1} s, and cutover.max_lag is {:.1} s",
            report.lag.as_secs_f64(),
            self.options.max_lag.as_secs_f64()
        );
        Err(gate("S605", why, "let `towpath follow` catch up, or raise cutover.max_lag"))
    }

    /// What happens while nobody can write.
    async fn inside(
        &self,
        report: &mut CutoverReport,
        fence: &mut Option<Box<dyn Fence>>,
        way: Option<&WayBack<'_>>,
    ) -> Result<Position, Halt> {
        let drained = self.drain().await?;
        report.drained = drained.counts.rows();
        report.position = drained.position;
        crash_point("cut::drained");
        self.stands_still(fence.is_some()).await?;
        self.set_sequences(report).await?;
        self.compare(report).await?;
        crash_point("cut::verified");
        self.check().await?;
        // Before the last look at the writers: nobody has written to either end until here.
        let at = match way {
            Some(way) => way.head().await?,
            None => Position::default(),
        };
        match fence {
            Some(fence) => fence.holds().await?,
            None => self.stands_still(false).await?,
        }
        Ok(at)
    }

    /// Applies all that was committed until now.
    async fn drain(&self) -> Result<FollowReport, Halt> {
        let head = self.capture.head().await?;
        let report = follow_locked(self.service, self.lock, &Goal::Past(head)).await?;
        match report.ended {
            Ended::Goal => {
                self.applied.fetch_add(report.counts.rows(), Ordering::Relaxed);
                Ok(report)
            }
            Ended::Stopped => Err(gate(
                None,
                "it was asked to stop; everything is as it was",
                "cut over again when you like",
            )),
        }
    }

    /// Nobody has written since, and nobody is about to commit: else whoever should have stopped has not.
    async fn stands_still(&self, fenced: bool) -> Result<(), Halt> {
        if fenced {
            return Ok(());
        }
        // Before the log is read to its end: who commits in between is in it.
        let writing = self.service.source.writing(&self.tables()).await?;
        if !writing.is_empty() {
            let who = writing.join(", ");
            return Err(gate(
                "S604",
                format!("the {} is still being written to, in a transaction that is open: {who}", self.old()),
                "end it, or let `cutover: { fence: tables }` wait for it",
            ));
        }
        match self.drain().await?.counts.rows() {
            0 => Ok(()),
            rows => Err(gate(
                "S604",
                format!("the {} is still being written to: {rows} rows changed after the drain", self.old()),
                "stop the writers, or let `cutover: { fence: tables }` keep them out",
            )),
        }
    }

    async fn set_sequences(&self, report: &mut CutoverReport) -> Result<(), Halt> {
        let aims = &stream_of(self.service.graph)?.sequences;
        let names: Vec<Name> = aims.iter().map(|aim| aim.source.clone()).collect();
        let values = self.service.source.sequence_values(&names).await?;
        let mut session = self.lock.session().await?;
        for aim in aims {
            let value = values.iter().find(|value| value.name == aim.source).ok_or_else(|| {
                EngineError::new(Cause::Stale, "read the sequence", "it is no longer on the source")
                    .on(&aim.source)
            })?;
            let value = match aim.largest_of.is_empty() {
                true => value.clone(),
                false => self.largest(aim).await?,
            };
            crash_point("cut::seq");
            session.begin().await?;
            let set = session.set_sequence(&aim.sequence, &value, self.options.margin).await?;
            session.commit().await?;
            report.ahead += usize::from(set.is_none());
            report.sequences.extend(set.map(|set| (aim.sequence.name.clone(), set)));
        }
        Ok(())
    }

    /// How far a sequence is by the values that came from it: the largest one (the smallest, where it
    /// counts down), or that none has come yet.
    async fn largest(&self, aim: &SequenceAim) -> Result<SequenceValue, Halt> {
        let SequenceAim { source, sequence, largest_of } = aim;
        let probe = |(table, column): &(Name, String)| Probe {
            code: "S601".to_string(),
            end: End::Source,
            table: table.clone(),
            column: Some(column.clone()),
            question: Question::Extremes,
            filter: None,
        };
        let probes: Vec<Probe> = largest_of.iter().map(probe).collect();
        let answers = self.service.source.probe(&probes, None).await?;
        let mut value = SequenceValue { name: source.clone(), last: sequence.start, called: false };
        for ((table, column), answer) in largest_of.iter().zip(&answers) {
            let refuse = |why: &str| {
                let why = format!("{source} cannot be set by {table}.{column}: {why}");
                gate("S601", why, "cutover: { sequences: { from: source } }")
            };
            if answer.measured != Measured::Exact {
                return Err(refuse("its largest value could not be read"));
            }
            let Some((low, high)) = &answer.extremes else { continue };
            let furthest = if sequence.increment < 0 { low } else { high };
            let last: i64 =
                furthest.parse().map_err(|_| refuse("its largest value is no whole number of 64 bits"))?;
            let further = if sequence.increment < 0 { last <= value.last } else { last >= value.last };
            if further {
                value = SequenceValue { name: source.clone(), last, called: true };
            }
        }
        Ok(value)
    }

    async fn compare(&self, report: &mut CutoverReport) -> Result<(), Halt> {
        let Service { graph, source, target, reporter, .. } = self.service;
        let same = graph.source.engine == graph.target.engine;
        for (level, projections) in &self.options.verify {
            let verdicts = verify(projections, *source, *target, same, *level, KEYS_MAX, *reporter).await?;
            report.verdicts.extend(verdicts);
        }
        let differing = report.verdicts.iter().filter(|verdict| !verdict.equal);
        let names: Vec<String> = differing.map(|verdict| verdict.target.to_string()).collect();
        match names.is_empty() {
            true => Ok(()),
            false => Err(gate(
                "S606",
                format!("source and target differ in {}", names.join(", ")),
                "`towpath verify --level rows` lists the rows; `towpath verify --repair` puts them right",
            )),
        }
    }

    async fn check(&self) -> Result<(), Halt> {
        for (end, query) in &self.options.checks {
            let found = match end {
                CheckedEnd::Source => self.service.source.violations(query).await?,
                CheckedEnd::Target => {
                    let mut session = self.lock.session().await?;
                    session.begin().await?;
                    let found = session.violations(query).await;
                    session.rollback().await?;
                    found?
                }
            };
            if found > 0 {
                let why = format!("a check of the plan returned {found} rows: {query}");
                return Err(gate("S606", why, "mend what it found, then cut over again"));
            }
        }
        Ok(())
    }

    /// What is handed over from, as the plan calls it.
    fn old(&self) -> &'static str {
        if matches!(self.also, Also::Open { .. }) { "target" } else { "source" }
    }

    /// Everything that is fenced: tables of the plan that hold rows.
    fn tables(&self) -> Vec<Name> {
        let followed = self.service.graph.stream.iter().flat_map(|stream| &stream.tables);
        let mut tables: Vec<Name> = followed.map(|followed| followed.projection.source.clone()).collect();
        tables.sort();
        tables.dedup();
        tables
    }

    /// A mark is written once: what was decided before with another position is void.
    async fn decide(&self, at: &Position, again: bool) -> Result<(), EngineError> {
        let void = again.then(|| Checkpoint::Void(DECIDED.to_string()));
        let marks: Vec<Checkpoint> =
            void.into_iter().chain([Checkpoint::Step(mark(DECIDED, &at.0))]).collect();
        self.mark(&marks).await
    }

    async fn mark(&self, marks: &[Checkpoint]) -> Result<(), EngineError> {
        let mut session = self.lock.session().await?;
        // What is acted upon must be on the disk.
        session.follow(&[]).await?;
        session.begin().await?;
        for mark in marks {
            session.mark(&self.service.graph.name, mark).await?;
        }
        session.commit().await
    }
}

fn mark(step: &str, inputs: &str) -> StepMark {
    StepMark {
        step: step.to_string(),
        inputs: inputs.to_string(),
        rows: 0,
        bytes: 0,
        millis: 0,
        at: String::new(),
    }
}
