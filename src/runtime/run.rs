//! What all work of one run shares: the two ends, the sessions, the snapshot, and the book of
//! what was done. Runs nothing by itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use super::clock::Clock;
use super::copy::Gauge;
use super::event::{Event, Reporter};
use super::executor::{Failure, RunOptions, Stop};
use super::pool::Pool;
use super::rate::RateLimit;
use super::trouble::Trouble;
use crate::catalog::{Name, Projection};
use crate::change::Position;
use crate::engine::{Cause, EngineError, Loaded, Lock, SequenceValue, Snapshot, Source, Target};
use crate::graph::{Action, Graph, Step};

/// The snapshot that all readers share.
pub(super) type Shared = Arc<Box<dyn Snapshot>>;

/// What a run has done so far.
#[derive(Default)]
pub(super) struct Book {
    /// Steps that were done when the present round began.
    pub(super) standing: HashSet<String>,
    /// Steps done in this run.
    pub(super) done: Vec<String>,
    /// What this run has brought, by copy.
    brought: HashMap<String, Loaded>,
    pub(super) failures: Vec<Failure>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Something was committed.
    pub(super) written: bool,
    /// The step that each step not done waits for, where that one failed.
    pub(super) blamed: HashMap<String, String>,
    /// A commit has an unknown outcome, and what it was for was given up.
    pub(super) in_doubt: bool,
    /// The lock is gone: nothing may be written any more, not even the end of the run.
    pub(super) lock_lost: bool,
}

impl Book {
    /// Notes rows of a copy that are committed.
    pub(super) fn bring(&mut self, step: &str, loaded: Loaded) {
        let brought = self.brought.entry(step.to_string()).or_default();
        brought.rows += loaded.rows;
        brought.bytes += loaded.bytes;
        self.rows += loaded.rows;
        self.bytes += loaded.bytes;
    }

    /// Forgets a copy whose rows are to come again, and what this run had brought of it.
    fn forget(&mut self, step: &str) -> Loaded {
        self.done.retain(|done| done != step);
        let brought = self.brought.remove(step).unwrap_or_default();
        self.rows -= brought.rows;
        self.bytes -= brought.bytes;
        brought
    }
}

/// One run of one graph.
pub(super) struct Run<'a> {
    pub(super) graph: &'a Graph,
    pub(super) source: &'a dyn Source,
    pub(super) target: &'a dyn Target,
    pub(super) options: &'a RunOptions,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) stop: &'a Stop,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lock: &'a dyn Lock,
    pub(super) pool: Pool<'a>,
    pub(super) rate: Option<Arc<RateLimit>>,
    /// Units that run now.
    pub(super) running: AtomicUsize,
    /// Steps by id, as places in the graph.
    places: HashMap<&'a str, usize>,
    /// Target tables that the graph creates.
    created: HashSet<&'a Name>,
    snapshot: tokio::sync::Mutex<Option<Shared>>,
    /// Where this run opened the capture.
    opened: Mutex<Option<Position>>,
    sequences: tokio::sync::OnceCell<Vec<SequenceValue>>,
    gauges: Mutex<BTreeMap<String, Arc<Gauge>>>,
    book: &'a Mutex<Book>,
}

/// The parts of a run that come from outside.
#[derive(Clone)]
pub(super) struct Setting<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) target: &'a dyn Target,
    pub(super) options: &'a RunOptions,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) stop: &'a Stop,
    pub(super) clock: Arc<dyn Clock>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        setting: &Setting<'a>,
        lock: &'a dyn Lock,
        book: &'a Mutex<Book>,
    ) -> Self {
        let rate = setting.options.rows_per_second;
        let cards = graph.tables.iter().filter(|card| card.create);
        Self {
            graph,
            source: setting.source,
            target: setting.target,
            options: setting.options,
            reporter: setting.reporter,
            stop: setting.stop,
            clock: setting.clock.clone(),
            lock,
            pool: Pool::new(lock),
            rate: rate.map(|rows| Arc::new(RateLimit::new(rows, std::time::Instant::now()))),
            running: AtomicUsize::new(0),
            places: graph.steps.iter().enumerate().map(|(at, step)| (step.id.as_str(), at)).collect(),
            created: cards.map(|card| &card.target).collect(),
            snapshot: tokio::sync::Mutex::new(None),
            opened: Mutex::new(None),
            sequences: tokio::sync::OnceCell::new(),
            gauges: Mutex::new(BTreeMap::new()),
            book,
        }
    }

    pub(super) fn step(&self, place: usize) -> &'a Step {
        &self.graph.steps[place]
    }

    pub(super) fn place(&self, step: &Step) -> usize {
        self.places[step.id.as_str()]
    }

    /// The projection of a copy, shared with the graph.
    pub(super) fn projection(&self, step: &Step) -> Arc<Projection> {
        match &step.action {
            Action::Copy { projection, .. } => projection.clone(),
            _ => unreachable!("broken invariant: only copies have a projection"),
        }
    }

    /// True where the graph makes this table.
    pub(super) fn is_created(&self, table: &Name) -> bool {
        self.created.contains(table)
    }

    pub(super) fn tell(&self, event: Event) {
        self.reporter.event(&event);
    }

    pub(super) fn book<T>(&self, write: impl FnOnce(&mut Book) -> T) -> T {
        write(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes a step that failed for good.
    pub(super) fn fail(&self, trouble: Trouble) {
        let Trouble { step, error, .. } = trouble;
        self.flush_gauge(&step);
        self.tell(Event::StepFailed { step: step.clone(), error: error.to_string() });
        self.book(|book| book.failures.push(Failure { step: Some(step), error }));
    }

    /// The snapshot, opened when it is first needed.
    pub(super) async fn snapshot(&self) -> Result<Shared, EngineError> {
        let mut held = self.snapshot.lock().await;
        if let Some(snapshot) = held.as_ref() {
            return Ok(snapshot.clone());
        }
        let snapshot: Shared = Arc::new(self.new_snapshot().await?);
        *held = Some(snapshot.clone());
        Ok(snapshot)
    }

    /// Takes the snapshot that came with the opening of the capture.
    pub(super) async fn hold_snapshot(&self, snapshot: Shared) {
        let position = snapshot.position().clone();
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
        *self.snapshot.lock().await = Some(snapshot);
    }

    /// Where this run opened the capture.
    pub(super) fn opened(&self) -> Position {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
        opened.expect("broken invariant: it is marked after it was opened")
    }

    /// Lets go of the snapshot, where nobody reads in it any more. An error changes nothing:
    /// it was only read from, and its session ends with it.
    pub(super) async fn drop_snapshot(&self) {
        let held = self.snapshot.lock().await.take();
        if let Some(snapshot) = held.and_then(Arc::into_inner) {
            let _ = snapshot.close().await;
        }
    }

    /// The source's value of a sequence. All of the graph are read at once, when the first is
    /// wanted, which is after the rows.
    pub(super) async fn sequence_value(&self, name: &Name) -> Result<SequenceValue, EngineError> {
        let values = self.sequences.get_or_try_init(|| async {
            let names = self.graph.steps.iter().filter_map(|step| match &step.action {
                Action::SetSequence { source, .. } => Some(source.clone()),
                _ => None,
            });
            self.source.sequence_values(&names.collect::<Vec<_>>()).await
        });
        let value = values.await?.iter().find(|value| value.name == *name).cloned();
        value.ok_or_else(|| {
            EngineError::new(Cause::Stale, "read the sequence", "it is no longer on the source")
                .on(name)
                .hint("plan again")
        })
    }

    /// The gauge of a copy, made when it starts.
    pub(super) fn gauge(&self, step: &str) -> Arc<Gauge> {
        self.gauges().entry(step.to_string()).or_default().clone()
    }

    /// Tells what has moved since the last time.
    pub(super) fn flush_gauges(&self) {
        let moved: Vec<_> = self.gauges().iter().map(|(step, gauge)| (step.clone(), gauge.take())).collect();
        for (step, (rows, bytes)) in moved {
            self.tell_moved(&step, rows, bytes);
        }
    }

    pub(super) fn flush_gauge(&self, step: &str) {
        let moved = self.gauges().get(step).map(|gauge| gauge.take());
        if let Some((rows, bytes)) = moved {
            self.tell_moved(step, rows, bytes);
        }
    }

    /// Forgets the gauge of a copy that is over.
    pub(super) fn drop_gauge(&self, step: &str) {
        self.gauges().remove(step);
    }

    /// A copy is emptied: what this run had brought of it does not count any more.
    pub(super) fn forget_copy(&self, step: &str) {
        let brought = self.book(|book| {
            book.written = true;
            book.forget(step)
        });
        self.gauge(step).take_back(brought.rows, brought.bytes);
        self.flush_gauge(step);
    }

    fn tell_moved(&self, step: &str, rows: i64, bytes: i64) {
        if rows != 0 || bytes != 0 {
            self.tell(Event::Moved { step: step.to_string(), rows, bytes });
        }
    }

    fn gauges(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Gauge>>> {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
