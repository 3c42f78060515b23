//! Cutting over: the source's writers are kept out, the stream is drained to the last thing they
//! wrote, sequences are set, both ends are compared, and only then the source is closed. Up to that
//! point everything is taken back by letting go of the fence; a crash lets go of it too. After it
//! the same command goes on from the beginning: each of its parts may be done twice.

use std::time::{Duration, Instant};

use super::event::Event;
use super::follow::{Ended, FollowReport, Goal};
use super::serve::{Service, follow_locked, stream_of};
use super::stream::capture_of;
use super::verify::{TableVerdict, VerifyLevel, verify};
use crate::catalog::{Name, Projection};
use crate::change::Position;
use crate::checkpoint::{Checkpoint, Progress, StepMark};
use crate::engine::crash::crash_point;
use crate::engine::fence::Fence;
use crate::engine::{Capture, Cause, EngineError, Lock};

/// The point of no return: the target is what applications may write to.
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
    /// False: the user keeps the writers out by himself.
    pub fence: bool,
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
    pub verdicts: Vec<TableVerdict>,
    /// What was removed from the source.
    pub removed: Vec<String>,
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
pub async fn cut_over(service: &Service<'_>, options: &CutoverOptions) -> Result<CutoverReport, EngineError> {
    let capture = capture_of(service.source)?;
    let progress = service.target.progress(&service.graph.name).await?;
    if progress.step(DONE).is_some() {
        return Ok(CutoverReport { already: true, ..CutoverReport::default() });
    }
    let lock = service.lock().await?;
    let run = Run { service, options, capture, lock: lock.as_ref() };
    let mut report = CutoverReport::default();
    let ended = match progress.step(SEALED) {
        Some(_) => {
            report.position = progress.stream.as_ref().map(|at| at.position.clone()).unwrap_or_default();
            run.finish(&mut report).await
        }
        None => run.go(&mut report, is_decided(&progress)).await,
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
    capture: &'a dyn Capture,
    lock: &'a dyn Lock,
}

impl Run<'_> {
    async fn go(&self, report: &mut CutoverReport, again: bool) -> Result<(), Halt> {
        self.come_near(report).await?;
        if self.options.dry_run {
            return Err(gate(
                None,
                "this was a dry run: nothing was changed",
                "the same without --dry-run cuts over",
            ));
        }
        crash_point("cut::fence_before");
        let mut fence = match self.options.fence {
            true => Some(self.service.source.fence(&self.tables()).await?),
            false => None,
        };
        let began = Instant::now();
        self.service.reporter.event(&Event::Fenced { by_us: fence.is_some() });
        crash_point("cut::fence_after");
        let budget = self.options.budget;
        let inside = tokio::select! {
            inside = self.inside(report, &mut fence) => inside,
            () = self.service.clock.sleep(budget) => Err(gate(
                "S605",
                format!("it took longer than the {:.1} s that cutover.budget allows", budget.as_secs_f64()),
                "raise cutover.budget, compare less (cutover.verify), or let the stream catch up first",
            )),
        };
        if let Err(halt) = inside {
            report.outage = began.elapsed();
            if let Some(fence) = fence {
                fence.lift().await?;
            }
            self.service.reporter.event(&Event::Unfenced);
            return Err(halt);
        }
        if !again {
            self.mark(DECIDED).await?;
        }
        crash_point("cut::point_of_no_return");
        if let Some(fence) = fence {
            fence.seal().await?;
            report.closed = self.tables().len();
        }
        report.outage = began.elapsed();
        self.mark(SEALED).await?;
        crash_point("cut::sealed");
        self.finish(report).await
    }

    /// Removes the capture. From here on nothing of the source is read any more: a capture that is
    /// gone was removed by an earlier attempt.
    async fn finish(&self, report: &mut CutoverReport) -> Result<(), Halt> {
        report.removed = self.capture.close(&self.service.graph.name).await?;
        crash_point("cut::closed");
        self.mark(DONE).await?;
        crash_point("cut::done_mark");
        Ok(())
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
    ) -> Result<(), Halt> {
        let drained = self.drain().await?;
        report.drained = drained.counts.rows();
        report.position = drained.position;
        crash_point("cut::drained");
        self.stands_still(fence.is_some()).await?;
        self.set_sequences(report).await?;
        self.compare(report).await?;
        crash_point("cut::verified");
        self.check().await?;
        match fence {
            Some(fence) => Ok(fence.holds().await?),
            None => self.stands_still(false).await,
        }
    }

    /// Applies all that was committed until now.
    async fn drain(&self) -> Result<FollowReport, Halt> {
        let head = self.capture.head().await?;
        let report = follow_locked(self.service, self.lock, &Goal::Past(head)).await?;
        match report.ended {
            Ended::Goal => Ok(report),
            Ended::Stopped => Err(gate(
                None,
                "it was asked to stop; everything is as it was",
                "cut over again when you like",
            )),
        }
    }

    /// Nobody has written since: else whoever should have stopped has not.
    async fn stands_still(&self, fenced: bool) -> Result<(), Halt> {
        if fenced {
            return Ok(());
        }
        match self.drain().await?.counts.rows() {
            0 => Ok(()),
            rows => Err(gate(
                "S604",
                format!("the source is still being written to: {rows} rows changed after the drain"),
                "stop the writers, or let `cutover: { fence: tables }` keep them out",
            )),
        }
    }

    async fn set_sequences(&self, report: &mut CutoverReport) -> Result<(), EngineError> {
        let aims = &stream_of(self.service.graph)?.sequences;
        let names: Vec<Name> = aims.iter().map(|aim| aim.source.clone()).collect();
        let values = self.service.source.sequence_values(&names).await?;
        let mut session = self.lock.session().await?;
        for aim in aims {
            let value = values.iter().find(|value| value.name == aim.source).ok_or_else(|| {
                EngineError::new(Cause::Stale, "read the sequence", "it is no longer on the source")
                    .on(&aim.source)
            })?;
            crash_point("cut::seq");
            session.begin().await?;
            let set = session.set_sequence(&aim.sequence, value, self.options.margin).await?;
            session.commit().await?;
            report.ahead += usize::from(set.is_none());
            report.sequences.extend(set.map(|set| (aim.sequence.name.clone(), set)));
        }
        Ok(())
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

    /// Everything that is fenced: tables of the plan that hold rows.
    fn tables(&self) -> Vec<Name> {
        let followed = self.service.graph.stream.iter().flat_map(|stream| &stream.tables);
        let mut tables: Vec<Name> = followed.map(|followed| followed.projection.source.clone()).collect();
        tables.sort();
        tables.dedup();
        tables
    }

    async fn mark(&self, step: &str) -> Result<(), EngineError> {
        let mut session = self.lock.session().await?;
        // What is acted upon must be on the disk.
        session.follow(&[]).await?;
        session.begin().await?;
        let mark = StepMark {
            step: step.to_string(),
            inputs: String::new(),
            rows: 0,
            bytes: 0,
            millis: 0,
            at: String::new(),
        };
        session.mark(&self.service.graph.name, &Checkpoint::Step(mark)).await?;
        session.commit().await
    }
}
