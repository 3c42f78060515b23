//! Executes a graph: takes the lock, runs rounds of units until done or stopped, lets go, and
//! reports what happened. Copies no row and orders no step itself.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::chunk::Marks;
use super::clock::{Clock, SystemClock};
use super::drive::RoundEnd;
use super::event::{Event, Reporter};
use super::follow::FollowOptions;
use super::goal::{BARRIER, done_steps, is_copy, own_steps, with_barrier, within};
use super::retry::{Attempts, jitter};
use super::run::{Book, Run, Setting};
use super::stream::{capture_of, check_standing};
use super::trouble::Way;
use crate::checkpoint::{Goal, PlannedStep, Progress};
use crate::diff::id;
use crate::engine::crash::crash_point;
use crate::engine::{Cause, EngineError, Lock, Source, Target};
use crate::graph::schedule::{Budgets, Schedule};
use crate::graph::{Graph, Step};

/// Seconds between two looks at the lock: a few of them pass before another run may take over.
const BEAT: Duration = Duration::from_secs(3);

/// Asked to stop: finish what runs at its next checkpoint, start nothing.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    asked: AtomicBool,
    notify: Notify,
}

impl Stop {
    pub fn ask(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    pub fn asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Returns once stopping is asked for.
    pub async fn wait(&self) {
        let notified = self.0.notify.notified();
        if !self.asked() {
            notified.await;
        }
    }
}

#[derive(Clone, Debug)]
pub struct RunOptions {
    pub readers: usize,
    pub writers: usize,
    pub index_builds: usize,
    pub rows_per_second: Option<u64>,
    /// The digest of the goal, recorded with the run.
    pub goal: String,
    pub lock_wait: Duration,
    /// Last phase to run.
    pub until: Option<crate::graph::Phase>,
    /// After a final failure: go on with steps that do not need the failed one.
    pub keep_going: bool,
    /// After a final failure: cancel what runs. Neither: finish what runs, start nothing.
    pub fail_fast: bool,
    /// Attempts at work that fails retryably.
    pub attempts: u32,
    /// How changes are followed, where the graph follows any.
    pub follow: FollowOptions,
    /// Bytes of log that the source may keep before the capture is given up.
    pub keep_log: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Everything was done before.
    Nothing,
    /// Stopped when asked, or `until` was reached; run again to go on.
    Partial,
    Failed,
}

#[derive(Debug)]
pub struct Failure {
    pub step: Option<String>,
    pub error: EngineError,
}

/// What a run did.
#[derive(Debug)]
pub struct Report {
    pub outcome: Outcome,
    pub done: Vec<String>,
    pub failures: Vec<Failure>,
    /// Steps not run, with the step they wait for where that one failed.
    pub left: Vec<(String, Option<String>)>,
    pub rows: u64,
    pub bytes: u64,
    pub elapsed: Duration,
    /// No step was committed, not even in part: apart from the record of the run itself the
    /// target is as it was.
    pub untouched: bool,
}

/// Runs the graph. Takes the lock, skips finished steps, releases the lock. Where everything is
/// done already nothing is written, the lock included.
pub async fn execute(
    graph: Graph,
    source: &dyn Source,
    target: &dyn Target,
    options: &RunOptions,
    reporter: &dyn Reporter,
    stop: &Stop,
) -> Report {
    execute_with(graph, source, target, options, reporter, stop, Arc::new(SystemClock)).await
}

/// As [`execute`], with a clock of the caller's.
pub async fn execute_with(
    graph: Graph,
    source: &dyn Source,
    target: &dyn Target,
    options: &RunOptions,
    reporter: &dyn Reporter,
    stop: &Stop,
    clock: Arc<dyn Clock>,
) -> Report {
    let began = Instant::now();
    let book = Mutex::new(Book::default());
    let setting = Setting { source, target, options, reporter, stop, clock };
    let graph = with_barrier(graph);
    if begin(&graph, &setting, &book).await {
        run_locked(&graph, &setting, &book).await;
    }
    let book = book.into_inner().unwrap_or_else(PoisonError::into_inner);
    let report = report(&graph, book, began);
    reporter.event(&Event::Finished {
        done: report.done.len(),
        failed: report.failures.len(),
        left: report.left.len(),
        millis: report.elapsed.as_millis() as u64,
    });
    report
}

/// Looks at what is done. True where something is left to do.
async fn begin(graph: &Graph, setting: &Setting<'_>, book: &Mutex<Book>) -> bool {
    let progress = setting.target.progress(&graph.name).await;
    let done = match progress.and_then(|progress| done_steps(graph, &progress)) {
        Ok(done) => done,
        Err(error) => {
            note(book, |book| book.failures.push(Failure { step: None, error }));
            return false;
        }
    };
    let copies = graph.steps.iter().filter(|step| is_copy(step) && !done.contains(&step.id));
    let (rows, bytes) =
        copies.fold((0, 0), |(rows, bytes), step| (rows + step.estimate.rows, bytes + step.estimate.bytes));
    let finished: Vec<&str> =
        own_steps(graph).map(|step| step.id.as_str()).filter(|id| done.contains(*id)).collect();
    let (steps, known) = (own_steps(graph).count(), finished.len());
    setting.reporter.event(&Event::Started { steps, done: known, rows, bytes });
    for step in finished {
        setting.reporter.event(&Event::StepSkipped { step: step.to_string() });
    }
    let until = setting.options.until;
    let open = own_steps(graph).any(|step| within(step, until) && !done.contains(&step.id));
    let opened = done.contains(id::OPEN);
    note(book, |book| book.standing = done);
    if open || !opened {
        return open;
    }
    // That all is done says little where the changes since are lost.
    if let Err(error) = still_followed(graph, setting.source).await {
        note(book, |book| book.failures.push(Failure { step: None, error }));
    }
    false
}

async fn still_followed(graph: &Graph, source: &dyn Source) -> Result<(), EngineError> {
    match &graph.stream {
        Some(stream) => check_standing(capture_of(source)?, graph, stream).await,
        None => Ok(()),
    }
}

/// Holds the lock for the time of all rounds.
async fn run_locked(graph: &Graph, setting: &Setting<'_>, book: &Mutex<Book>) {
    let options = setting.options;
    let named = goal_of(graph, &options.goal);
    let lock = match setting.target.lock(&graph.name, &named, options.lock_wait).await {
        Ok(lock) => lock,
        Err(error) => return note(book, |book| book.failures.push(Failure { step: None, error })),
    };
    crash_point("lock::acquired");
    {
        let run = Run::new(graph, setting, lock.as_ref(), book);
        let overfull = tokio::select! {
            biased;
            error = run.beat(lock.as_ref()) => {
                run.lose_lock(error);
                None
            }
            why = run.watch_log() => Some(why),
            () = run.rounds() => None,
        };
        if let Some(why) = overfull {
            run.fail_run(run.give_up_log(why).await);
        }
        run.flush_gauges();
    }
    let (lost, outcome) = note(book, |book| (book.lock_lost, outcome_of(graph, book)));
    if lost {
        return;
    }
    let word = match outcome {
        Outcome::Done | Outcome::Nothing => "done",
        Outcome::Partial => "partial",
        Outcome::Failed => "failed",
    };
    crash_point("lock::before_release");
    if let Err(error) = lock.close(word).await {
        note(book, |book| book.failures.push(Failure { step: None, error }));
    }
}

/// The goal as the target is to remember it.
pub(super) fn goal_of(graph: &Graph, digest: &str) -> Goal {
    let planned = |step: &Step| PlannedStep { step: step.id.clone(), phase: step.phase.word().to_string() };
    Goal { digest: digest.to_string(), steps: own_steps(graph).map(planned).collect() }
}

fn note<T>(book: &Mutex<Book>, write: impl FnOnce(&mut Book) -> T) -> T {
    write(&mut book.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Run<'_> {
    /// Rounds, until one is over without having lost its snapshot.
    async fn rounds(&self) {
        let mut tries = Attempts::new(self.options.attempts);
        let mut rows = 0;
        loop {
            let lost = match self.one_round().await {
                Ok(RoundEnd::Over) => return,
                Ok(RoundEnd::SnapshotLost(error)) if self.book(|book| book.in_doubt) => {
                    // Only taking the lock anew settles a commit of unknown outcome; until then a
                    // new snapshot could cut the table elsewhere and bring its rows twice.
                    let hint = "a commit of this run has an unknown outcome; run the same command again";
                    return self.fail_run(error.hint(hint));
                }
                Ok(RoundEnd::SnapshotLost(error)) => error,
                Err(error) => return self.fail_run(error),
            };
            let now = self.book(|book| book.rows);
            if std::mem::replace(&mut rows, now) != now {
                tries = Attempts::new(self.options.attempts);
            }
            match tries.passed(jitter()) {
                Some(_) if self.stop.asked() => return,
                Some(wait) => self.clock.sleep(wait).await,
                None => return self.fail_run(lost),
            }
        }
    }

    /// Reads the progress, settles what may stay of earlier rows, and runs what is left.
    async fn one_round(&self) -> Result<RoundEnd, EngineError> {
        let mut progress = self.read_progress().await?;
        let mut done = done_steps(self.graph, &progress)?;
        self.check_stream(&progress).await?;
        let settled = self.settle_rows(&progress, &done).await;
        match settled {
            Ok(again) if again.is_empty() => {}
            Ok(_) => {
                progress = self.read_progress().await?;
                done = done_steps(self.graph, &progress)?;
            }
            Err(trouble) => match trouble.way {
                Way::SnapshotLost => {
                    self.drop_snapshot().await;
                    return Ok(RoundEnd::SnapshotLost(trouble.error));
                }
                Way::Failed => {
                    self.fail(trouble);
                    return Ok(RoundEnd::Over);
                }
                Way::Stopped => return Ok(RoundEnd::Over),
                Way::LockLost => {
                    self.lose_lock(trouble.error);
                    return Ok(RoundEnd::Over);
                }
            },
        }
        self.book(|book| book.standing = done.clone());
        let RunOptions { readers, writers, index_builds, until, .. } = *self.options;
        let budgets = Budgets { readers, writers, index_builds };
        let schedule = Schedule::new(self.graph, &done, budgets, until);
        Ok(self.round(&Marks::new(&progress), schedule, &done, until).await)
    }

    async fn read_progress(&self) -> Result<Progress, EngineError> {
        let mut tries = Attempts::new(self.options.attempts);
        loop {
            let error = match self.target.progress(&self.graph.name).await {
                Ok(progress) => return Ok(progress),
                Err(error) => error,
            };
            match tries.failed(&error, jitter()) {
                Some(wait) if !self.stop.asked() => self.clock.sleep(wait).await,
                _ => return Err(error),
            }
        }
    }

    /// Returns once the lock is lost, or nobody can say any more whether it is held.
    async fn beat(&self, lock: &dyn Lock) -> EngineError {
        let mut tries = Attempts::new(self.options.attempts);
        loop {
            self.clock.sleep(BEAT).await;
            match lock.heartbeat().await {
                Ok(()) => tries = Attempts::new(self.options.attempts),
                Err(error) if error.cause == Cause::Locked => return error,
                Err(error) => {
                    if tries.failed(&error, jitter()).is_none() {
                        return error;
                    }
                }
            }
        }
    }

    /// Another run may write now. Told first: other failures may come of it.
    pub(super) fn lose_lock(&self, error: EngineError) {
        self.book(|book| {
            if !std::mem::replace(&mut book.lock_lost, true) {
                book.failures.insert(0, Failure { step: None, error });
            }
        });
    }

    fn fail_run(&self, error: EngineError) {
        self.book(|book| book.failures.push(Failure { step: None, error }));
    }

    /// The unit that does nothing.
    pub(super) fn is_barrier(&self, steps: &[usize]) -> bool {
        steps.iter().all(|&place| self.step(place).id == BARRIER)
    }
}

fn outcome_of(graph: &Graph, book: &Book) -> Outcome {
    if !book.failures.is_empty() {
        return Outcome::Failed;
    }
    let all: HashSet<&String> = book.standing.iter().chain(&book.done).collect();
    match own_steps(graph).all(|step| all.contains(&step.id)) {
        true if book.done.is_empty() && !book.written => Outcome::Nothing,
        true => Outcome::Done,
        false => Outcome::Partial,
    }
}

fn report(graph: &Graph, book: Book, began: Instant) -> Report {
    let outcome = outcome_of(graph, &book);
    let failed: HashSet<&str> = book.failures.iter().filter_map(|failure| failure.step.as_deref()).collect();
    let known: HashSet<&String> = book.standing.iter().chain(&book.done).collect();
    let open = own_steps(graph).filter(|step| !known.contains(&step.id));
    // Tables that share a unit do not fail with each other.
    let fails_with = |step: &Step| (step.unit.clone(), step.table.clone().filter(|_| step.is_shared()));
    let failed_steps = graph.steps.iter().filter(|step| failed.contains(step.id.as_str()));
    let failed_units: HashMap<_, &str> =
        failed_steps.map(|step| (fails_with(step), step.id.as_str())).collect();
    let left = open.filter(|step| !failed.contains(step.id.as_str())).map(|step| {
        // What failed in a unit took the unit's other steps with it.
        let blamed = failed_units.get(&fails_with(step)).map(|step| step.to_string());
        (step.id.clone(), blamed.or_else(|| book.blamed.get(&step.id).cloned()))
    });
    Report {
        outcome,
        left: left.collect(),
        rows: book.rows,
        bytes: book.bytes,
        elapsed: began.elapsed(),
        untouched: !book.written,
        done: book.done,
        failures: book.failures,
    }
}
