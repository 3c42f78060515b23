//! Keeps units and chunks running within the budgets until nothing is left, something failed,
//! or stopping was asked for. One round: from one reading of the progress, in one snapshot.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::chunk::Marks;
use super::event::Event;
use super::perform::{Act, Advance, Road, millis_since};
use super::run::Run;
use super::trouble::{Trouble, Way};
use crate::engine::crash::crash_point;
use crate::engine::{Chunk, EngineError, Loaded};
use crate::graph::schedule::{Schedule, UnitId};
use crate::graph::{Action, Phase};

/// How often moved rows are told of.
const TICK: Duration = Duration::from_millis(200);

/// How a round ended.
pub(super) enum RoundEnd {
    /// Nothing more can be done in this run.
    Over,
    /// The snapshot is gone; a new round may go on.
    SnapshotLost(EngineError),
}

/// A copy of several chunks.
struct TableCopy {
    place: usize,
    road: Road,
    waiting: VecDeque<Chunk>,
    running: usize,
    rest: Vec<usize>,
    began: Instant,
    /// Chunks that came in this round, and all rows of the table so far.
    arrived: usize,
    loaded: Loaded,
    /// Its step, once a chunk has failed for good.
    failed: Option<String>,
}

/// Something that ended.
enum JobEnd {
    Advanced(UnitId, Result<Advance, Trouble>),
    Chunk(UnitId, Result<Loaded, Trouble>),
}

type Job<'r> = Pin<Box<dyn Future<Output = JobEnd> + Send + 'r>>;

/// The state of one round.
struct Round<'r, 'a> {
    run: &'r Run<'a>,
    marks: &'r Marks<'r>,
    schedule: Schedule,
    jobs: FuturesUnordered<Job<'r>>,
    tables: BTreeMap<UnitId, TableCopy>,
    /// Nothing new starts.
    halted: bool,
    /// What runs is dropped.
    cancelled: bool,
    stopping: bool,
    lost: Option<EngineError>,
    /// Copies of this round that are not over yet.
    copies: HashSet<usize>,
}

impl<'a> Run<'a> {
    /// Runs what the schedule offers. `barrier`: the step that only waits, if there is one.
    pub(super) async fn round<'r>(
        &'r self,
        marks: &'r Marks<'r>,
        schedule: Schedule,
        done: &HashSet<String>,
        until: Option<Phase>,
    ) -> RoundEnd {
        let open = |place: &usize| {
            let step = self.step(*place);
            matches!(step.action, Action::Copy { .. })
                && !done.contains(&step.id)
                && until.is_none_or(|last| step.phase <= last)
        };
        let mut round = Round {
            run: self,
            marks,
            schedule,
            jobs: FuturesUnordered::new(),
            tables: BTreeMap::new(),
            halted: false,
            cancelled: false,
            stopping: false,
            lost: None,
            copies: (0..self.graph.steps.len()).filter(open).collect(),
        };
        round.go().await;
        let blamed = round.schedule.left().into_iter().filter_map(|(step, why)| Some((step, why?)));
        self.book(|book| book.blamed.extend(blamed));
        let lost = round.lost.take();
        drop(round);
        self.drop_snapshot().await;
        lost.map_or(RoundEnd::Over, RoundEnd::SnapshotLost)
    }
}

impl Round<'_, '_> {
    async fn go(&mut self) {
        loop {
            self.start_units();
            self.start_chunks();
            self.run.running.store(self.schedule.running(), Ordering::Relaxed);
            if self.jobs.is_empty() || self.cancelled {
                return;
            }
            tokio::select! {
                biased;
                () = self.run.stop.wait(), if !self.stopping => self.stopping(),
                Some(end) = self.jobs.next() => {
                    self.settle(end);
                    if self.copies.is_empty() {
                        self.run.drop_snapshot().await;
                    }
                }
                () = self.run.clock.sleep(TICK) => self.run.flush_gauges(),
            }
        }
    }

    fn stopping(&mut self) {
        self.stopping = true;
        self.halt();
        self.run.tell(Event::Stopping);
    }

    fn halt(&mut self) {
        self.halted = true;
        self.schedule.stop();
    }

    fn start_units(&mut self) {
        if self.run.stop.asked() && !self.stopping {
            self.stopping();
        }
        loop {
            let units = self.schedule.next();
            if units.is_empty() {
                return;
            }
            for unit in units {
                self.start_unit(unit);
            }
        }
    }

    fn start_unit(&mut self, unit: UnitId) {
        let steps = self.schedule.steps(unit).to_vec();
        if self.run.is_barrier(&steps) {
            return self.schedule.done(unit);
        }
        let failed = self.run.book(|book| {
            let ids = book.failures.iter().filter_map(|failure| failure.step.clone());
            ids.collect::<HashSet<_>>()
        });
        let again = steps.iter().map(|&place| &self.run.step(place).id).find(|id| failed.contains(*id));
        if let Some(step) = again {
            // Failed for good in an earlier round of this run.
            return self.schedule.failed(unit, step, self.run.options.keep_going);
        }
        let (run, marks) = (self.run, self.marks);
        self.jobs.push(Box::pin(async move { JobEnd::Advanced(unit, run.advance(marks, &steps).await) }));
    }

    /// Every table keeps one chunk running; readers that nobody else wants help it.
    fn start_chunks(&mut self) {
        if self.halted {
            return;
        }
        for (&unit, table) in &mut self.tables {
            while !table.waiting.is_empty()
                && table.failed.is_none()
                && (table.running == 0 || self.schedule.widen(unit))
            {
                let Some(chunk) = table.waiting.pop_front() else { break };
                table.running += 1;
                let (run, place, snapshot) = (self.run, table.place, table.road.snapshot.clone());
                self.jobs.push(Box::pin(async move {
                    JobEnd::Chunk(unit, run.transact_chunk(place, &snapshot, &chunk).await)
                }));
            }
        }
    }

    fn settle(&mut self, end: JobEnd) {
        match end {
            JobEnd::Advanced(unit, Ok(Advance::Done)) => {
                for place in self.schedule.steps(unit) {
                    self.copies.remove(place);
                }
                self.schedule.done(unit);
            }
            JobEnd::Advanced(unit, Ok(Advance::Split { place, road, rest })) => {
                self.split(unit, place, road, rest);
            }
            JobEnd::Advanced(unit, Err(trouble)) => {
                if let Some(step) = self.trouble(trouble) {
                    self.schedule.failed(unit, &step, self.run.options.keep_going);
                }
            }
            JobEnd::Chunk(unit, end) => self.settle_chunk(unit, end),
        }
    }

    fn split(&mut self, unit: UnitId, place: usize, road: Road, rest: Vec<usize>) {
        let table = TableCopy {
            place,
            waiting: road.chunks.iter().cloned().collect(),
            loaded: road.before,
            road,
            running: 0,
            rest,
            began: Instant::now(),
            arrived: 0,
            failed: None,
        };
        let whole = table.waiting.is_empty();
        self.tables.insert(unit, table);
        if whole {
            self.close(unit);
        }
    }

    fn settle_chunk(&mut self, unit: UnitId, end: Result<Loaded, Trouble>) {
        let table = self.tables.get_mut(&unit).expect("broken invariant: its chunk ran");
        table.running -= 1;
        let last = table.running == 0;
        let known = table.failed.is_some();
        match end {
            Ok(loaded) => {
                table.arrived += 1;
                table.loaded.rows += loaded.rows;
                table.loaded.bytes += loaded.bytes;
            }
            // A failure is told once per table, however many of its chunks fail.
            Err(trouble) if known && trouble.way == Way::Failed => {}
            Err(trouble) => {
                let failed = self.trouble(trouble);
                let table = self.tables.get_mut(&unit).expect("broken invariant: its chunk ran");
                table.failed = table.failed.take().or(failed);
            }
        }
        match last {
            true => self.last_chunk(unit),
            false => self.schedule.narrow(unit),
        }
    }

    /// No chunk of the table runs any more: it is over, or goes on with the next.
    fn last_chunk(&mut self, unit: UnitId) {
        let table = &self.tables[&unit];
        if let Some(step) = table.failed.clone() {
            self.tables.remove(&unit);
            self.schedule.failed(unit, &step, self.run.options.keep_going);
        } else if table.arrived == table.road.chunks.len() {
            self.close(unit);
        }
    }

    /// All chunks are in: marks the copy, then goes on with what follows it in the unit.
    fn close(&mut self, unit: UnitId) {
        let Some(table) = self.tables.remove(&unit) else { return };
        self.copies.remove(&table.place);
        let (run, marks) = (self.run, self.marks);
        let rest = if self.halted { Vec::new() } else { table.rest };
        let act = Act::Close { place: table.place, loaded: table.loaded, millis: millis_since(table.began) };
        self.jobs.push(Box::pin(async move {
            crash_point("copy::table_done");
            let closed = run.transact(&[act], &Default::default()).await;
            let end = match closed {
                Ok(()) => run.advance_in_order(marks, &rest, false).await,
                Err(trouble) => Err(trouble),
            };
            JobEnd::Advanced(unit, end)
        }));
    }

    /// What a failure means for the round. The step, where it failed for good.
    fn trouble(&mut self, trouble: Trouble) -> Option<String> {
        match trouble.way {
            Way::Failed => {
                let step = trouble.step.clone();
                self.run.fail(trouble);
                self.halted |= !self.run.options.keep_going;
                self.cancelled |= self.run.options.fail_fast;
                return Some(step);
            }
            Way::Stopped => {}
            Way::SnapshotLost => {
                self.lost = Some(trouble.error);
                self.halt();
            }
            Way::LockLost => {
                self.run.lose_lock(trouble.error);
                self.cancelled = true;
            }
        }
        None
    }
}
