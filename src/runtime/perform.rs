//! Performs steps: what belongs together in one transaction with its marks, again after errors
//! that may pass. Decides no order and starts nothing in parallel.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::chunk::Marks;
use super::copy::Share;
use super::event::Event;
use super::points::points;
use super::retry::{Attempts, jitter};
use super::run::{Run, Shared};
use super::trouble::{Slip, Trouble, Way};
use crate::catalog::Name;
use crate::checkpoint::{Checkpoint, ChunkMark, StepMark};
use crate::engine::crash::{crash_during, crash_point};
use crate::engine::{Build, Cause, Chunk, EngineError, Loaded, Session};
use crate::graph::{Action, Estimate, Phase, Step};

/// How one table's rows are read in this run: the snapshot and what is left of the table.
#[derive(Clone)]
pub(super) struct Road {
    pub(super) snapshot: Shared,
    /// Chunks still to be copied.
    pub(super) chunks: Vec<Chunk>,
    /// Chunks the table is cut into.
    pub(super) of: u32,
    /// What earlier chunks brought.
    pub(super) before: Loaded,
}

impl Road {
    /// One transaction holds all of it.
    pub(super) fn is_single(&self) -> bool {
        self.of == 1 && self.chunks.len() == 1
    }
}

/// A part of a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// Performs a step and marks it.
    Step(usize),
    /// Sees to it that the table of a copy is ready for its chunks. Leaves no mark.
    Open(usize),
    /// Marks the opening of the capture, with its position.
    Opened { place: usize, millis: u64 },
    /// Marks a step whose work is in already: a copy of several chunks, a catch-up.
    Close { place: usize, loaded: Loaded, millis: u64 },
}

impl Act {
    fn place(&self) -> usize {
        match self {
            Self::Step(place)
            | Self::Open(place)
            | Self::Opened { place, .. }
            | Self::Close { place, .. } => *place,
        }
    }
}

/// Where a unit got to.
pub(super) enum Advance {
    Done,
    /// This copy is several chunks; its table is ready for them. `rest`: the steps after it.
    Split {
        place: usize,
        road: Road,
        rest: Vec<usize>,
    },
}

/// What a transaction did, told once it is committed.
#[derive(Default)]
pub(super) struct Deeds {
    /// With the rows and bytes that this transaction brought itself.
    marks: Vec<(StepMark, Loaded)>,
    sequences: Vec<(String, i64)>,
    pub(super) loaded: Vec<(String, ChunkMark)>,
}

/// A session in its transaction. It leaves for the time of a load.
pub(super) struct Hand {
    pub(super) session: Option<Box<dyn Session>>,
    /// Tables created in this transaction.
    pub(super) created: HashSet<Name>,
    /// What its loads have told of themselves.
    pub(super) shares: Vec<Share>,
}

impl Hand {
    pub(super) fn new(session: Box<dyn Session>) -> Self {
        Self { session: Some(session), created: HashSet::new(), shares: Vec::new() }
    }

    pub(super) fn session(&mut self) -> &mut dyn Session {
        self.session.as_mut().expect("broken invariant: the session is back after every load").as_mut()
    }
}

impl Run<'_> {
    /// Runs a unit's steps in one transaction, up to a copy of several chunks.
    pub(super) async fn advance(&self, marks: &Marks<'_>, steps: &[usize]) -> Result<Advance, Trouble> {
        match steps.first() {
            Some(&first) if self.step(first).is_shared() => self.advance_shared(marks, steps).await,
            _ => self.advance_in_order(marks, steps, true).await,
        }
    }

    /// Runs steps in one transaction when `fused`, else each in one of its own.
    pub(super) async fn advance_in_order(
        &self,
        marks: &Marks<'_>,
        steps: &[usize],
        fused: bool,
    ) -> Result<Advance, Trouble> {
        if let [place] = steps
            && self.streams(*place)
        {
            self.advance_stream(*place).await?;
            return Ok(Advance::Done);
        }
        let mut roads = HashMap::new();
        for (at, &place) in steps.iter().enumerate() {
            if !matches!(self.step(place).action, Action::Copy { .. }) {
                continue;
            }
            let road = self.cut(marks, place).await?;
            if !road.is_single() {
                self.prepare(&steps[..at], place, &road, &roads, fused).await?;
                return Ok(Advance::Split { place, road, rest: steps[at + 1..].to_vec() });
            }
            roads.insert(place, road);
        }
        self.transact_all(steps, &roads, fused).await?;
        Ok(Advance::Done)
    }

    async fn transact_all(
        &self,
        steps: &[usize],
        roads: &HashMap<usize, Road>,
        fused: bool,
    ) -> Result<(), Trouble> {
        let acts: Vec<Act> = steps.iter().map(|&place| Act::Step(place)).collect();
        for group in acts.chunks(if fused { acts.len().max(1) } else { 1 }) {
            self.transact(group, roads).await?;
        }
        Ok(())
    }

    /// What comes before the chunks of a copy, and the table itself.
    async fn prepare(
        &self,
        head: &[usize],
        place: usize,
        road: &Road,
        roads: &HashMap<usize, Road>,
        fused: bool,
    ) -> Result<(), Trouble> {
        self.transact_all(head, roads, fused).await?;
        self.tell(Event::StepStarted { step: self.step(place).id.clone() });
        if road.chunks.len() == road.of as usize {
            self.transact(&[Act::Open(place)], roads).await?;
        }
        let (chunks, done) = (road.of, road.of - road.chunks.len() as u32);
        self.tell_chunked(place, road, chunks, done);
        Ok(())
    }

    /// Runs acts in one transaction, and again where the error may pass. After a commit whose
    /// outcome is unknown the marks are read first: nothing is done twice.
    pub(super) async fn transact(&self, acts: &[Act], roads: &HashMap<usize, Road>) -> Result<(), Trouble> {
        if acts.is_empty() {
            return Ok(());
        }
        let mut tries = Attempts::new(self.options.attempts);
        let mut uncertain = false;
        loop {
            let mut slip = match self.attempt(acts, roads, tries.made() == 0).await {
                Ok(deeds) => {
                    self.record(deeds);
                    return Ok(());
                }
                Err(slip) => slip,
            };
            uncertain |= slip.uncertain;
            if uncertain {
                self.book(|book| book.written = true);
                match self.committed(acts).await {
                    Ok(Some(deeds)) => {
                        for (mark, here) in &deeds.marks {
                            self.gauge(&mark.step).add(here.rows, here.bytes);
                        }
                        self.record(deeds);
                        return Ok(());
                    }
                    Ok(None) => {}
                    Err(error) => slip.error = error,
                }
            }
            let again = self.again(&mut tries, slip).await;
            self.book(|book| book.in_doubt |= uncertain && again.is_err());
            again?;
        }
    }

    async fn attempt(&self, acts: &[Act], roads: &HashMap<usize, Road>, first: bool) -> Result<Deeds, Slip> {
        let step = self.step(acts[0].place());
        let session = self.pool.take().await.map_err(|error| Slip::new(step, error))?;
        let mut hand = Hand::new(session);
        let filled = self.fill(&mut hand, acts, roads, first).await;
        let last = self.step(acts[acts.len() - 1].place());
        self.seal(hand, last, filled).await
    }

    /// Commits what was filled in, or gives the session up.
    pub(super) async fn seal<T>(
        &self,
        mut hand: Hand,
        last: &Step,
        filled: Result<T, Slip>,
    ) -> Result<T, Slip> {
        let filled = match filled {
            Ok(filled) => filled,
            Err(slip) => {
                if let Some(session) = hand.session.take() {
                    self.pool.give_failed(session, &slip.error).await;
                }
                return Err(slip);
            }
        };
        crash_point("copy::before_commit");
        let around = points(last);
        if let Err(error) = crash_during(around.ambiguous, hand.session().commit()).await {
            return Err(Slip { uncertain: true, ..Slip::new(last, error) });
        }
        crash_point("copy::after_commit_before_mark");
        crash_point(around.after);
        hand.shares.drain(..).for_each(Share::keep);
        if let Some(session) = hand.session.take() {
            self.pool.give(session);
        }
        Ok(filled)
    }

    async fn fill(
        &self,
        hand: &mut Hand,
        acts: &[Act],
        roads: &HashMap<usize, Road>,
        first: bool,
    ) -> Result<Deeds, Slip> {
        let mut deeds = Deeds::default();
        let begun = hand.session().begin().await;
        begun.map_err(|error| Slip::new(self.step(acts[0].place()), error))?;
        for act in acts {
            let step = self.step(act.place());
            match act {
                Act::Open(_) => {
                    self.open_table(hand, step).await.map_err(|error| Slip::new(step, error))?;
                }
                Act::Close { loaded, millis, .. } => {
                    let mark = self.mark(hand, step, *loaded, *millis).await?;
                    deeds.marks.push((mark, Loaded::default()));
                }
                Act::Opened { millis, .. } => {
                    let opened = Checkpoint::Opened(self.opened());
                    let marked = hand.session().mark(&self.graph.name, &opened).await;
                    marked.map_err(|error| Slip::new(step, error))?;
                    let mark = self.mark(hand, step, Loaded::default(), *millis).await?;
                    deeds.marks.push((mark, Loaded::default()));
                }
                Act::Step(place) => {
                    if first {
                        self.tell(Event::StepStarted { step: step.id.clone() });
                    }
                    let began = Instant::now();
                    let loaded = self.perform(hand, &mut deeds, step, roads.get(place), first).await?;
                    let mark = self.mark(hand, step, loaded, millis_since(began)).await?;
                    deeds.marks.push((mark, loaded));
                }
            }
        }
        Ok(deeds)
    }

    async fn mark(
        &self,
        hand: &mut Hand,
        step: &Step,
        loaded: Loaded,
        millis: u64,
    ) -> Result<StepMark, Slip> {
        crash_point("ddl::after_before_mark");
        let mark = StepMark {
            step: step.id.clone(),
            inputs: step.inputs.clone(),
            rows: loaded.rows,
            bytes: loaded.bytes,
            millis,
            at: String::new(),
        };
        let marked = hand.session().mark(&self.graph.name, &Checkpoint::Step(mark.clone())).await;
        marked.map_err(|error| Slip::new(step, error))?;
        crash_point("ddl::after_mark");
        Ok(mark)
    }

    async fn perform(
        &self,
        hand: &mut Hand,
        deeds: &mut Deeds,
        step: &Step,
        road: Option<&Road>,
        first: bool,
    ) -> Result<Loaded, Slip> {
        let slip = |error| Slip::new(step, error);
        match &step.action {
            Action::Sql { statements, index_build } => {
                crash_point(points(step).before);
                match index_build {
                    true => hand.session().build(statements, &self.build(step)).await.map_err(slip)?,
                    false => hand.session().execute(statements).await.map_err(slip)?,
                }
                hand.created.extend(self.creates(step).cloned());
            }
            Action::Copy { .. } => {
                let road = road.expect("broken invariant: a copy is cut before its transaction");
                return self.copy_whole(hand, deeds, step, road, first).await;
            }
            Action::Check { query, message } => {
                crash_point(points(step).before);
                let found = hand.session().violations(query).await.map_err(slip)?;
                if found > 0 {
                    return Err(slip(violated(step, message, found)));
                }
            }
            Action::OpenCapture { .. } | Action::CatchUp { .. } => {
                unreachable!("broken invariant: steps of the stream have units of their own")
            }
            Action::SetSequence { source, sequence, margin } => {
                let value = self.sequence_value(source).await.map_err(slip)?;
                let set = hand.session().set_sequence(sequence, &value, *margin).await.map_err(slip)?;
                crash_point("sequence::set");
                deeds.sequences.extend(set.map(|value| (step.id.clone(), value)));
            }
        }
        Ok(Loaded::default())
    }

    fn build(&self, step: &Step) -> Build {
        let Estimate { rows, bytes, .. } = step.estimate;
        Build { rows, bytes, alone: self.running.load(Ordering::Relaxed) <= 1 }
    }

    /// After a failure: waits before the next attempt, or says that there is none.
    pub(super) async fn again(&self, tries: &mut Attempts, slip: Slip) -> Result<(), Trouble> {
        if slip.error.cause == Cause::Locked {
            return Err(slip.into_trouble(Way::LockLost));
        }
        if let Some(snapshot) = &slip.snapshot
            && !snapshot.alive().await
        {
            return Err(slip.into_trouble(Way::SnapshotLost));
        }
        let Some(wait) = tries.failed(&slip.error, jitter()) else {
            return Err(slip.into_trouble(Way::Failed));
        };
        if !self.stop.asked() {
            self.tell(Event::Retrying {
                step: slip.step.clone(),
                attempt: tries.made(),
                millis: wait.as_millis() as u64,
                error: slip.error.to_string(),
            });
            tokio::select! {
                biased;
                () = self.clock.sleep(wait) => {}
                () = self.stop.wait() => {}
            }
        }
        match self.stop.asked() {
            true => Err(slip.into_trouble(Way::Stopped)),
            false => Ok(()),
        }
    }

    /// Whether these acts are in the target after all: the last mark stands for all, they
    /// committed together.
    async fn committed(&self, acts: &[Act]) -> Result<Option<Deeds>, EngineError> {
        let progress = self.target.progress(&self.graph.name).await?;
        let known: HashMap<&str, &StepMark> =
            progress.steps.iter().map(|mark| (mark.step.as_str(), mark)).collect();
        let marked = acts.iter().filter(|act| !matches!(act, Act::Open(_))).map(|act| {
            let step = self.step(act.place());
            let mark = known.get(step.id.as_str()).filter(|mark| mark.inputs == step.inputs)?;
            let here = match act {
                Act::Close { .. } | Act::Opened { .. } => Loaded::default(),
                _ => Loaded { rows: mark.rows, bytes: mark.bytes },
            };
            Some(((*mark).clone(), here))
        });
        let Some(marks) = marked.collect::<Option<Vec<_>>>() else { return Ok(None) };
        Ok((!marks.is_empty()).then(|| Deeds { marks, ..Deeds::default() }))
    }

    fn record(&self, deeds: Deeds) {
        for (step, mark) in &deeds.loaded {
            self.tell_chunk(step, mark);
        }
        for (step, value) in deeds.sequences {
            self.tell(Event::SequenceSet { step, value });
        }
        self.book(|book| book.written = true);
        for (mark, here) in deeds.marks {
            self.flush_gauge(&mark.step);
            self.drop_gauge(&mark.step);
            let StepMark { step, rows, bytes, millis, .. } = mark;
            self.book(|book| {
                book.done.push(step.clone());
                book.bring(&step, here);
            });
            self.tell(Event::StepDone { step, rows, bytes, millis });
        }
    }

    /// The table that a step creates, if it creates one.
    fn creates<'s>(&self, step: &'s Step) -> impl Iterator<Item = &'s Name> {
        let schema = step.phase == Phase::Schema;
        let table = step.table.iter().filter(move |_| schema);
        table.filter(|table| self.is_created(table)).collect::<Vec<_>>().into_iter()
    }
}

pub(super) fn millis_since(began: Instant) -> u64 {
    began.elapsed().as_millis() as u64
}

fn violated(step: &Step, message: &str, found: u64) -> EngineError {
    let error = EngineError::new(Cause::Data, "check", format!("{message} ({found} found)"));
    match &step.table {
        Some(table) => error.on(table),
        None => error.on(&step.id),
    }
}
