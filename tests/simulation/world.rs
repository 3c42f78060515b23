//! The world of a simulation: a source that others write to, a target with transactions, marks
//! and a fence, and the faults that may happen at any await. All state, no trait of the engines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use towpath::catalog::Name;
use towpath::checkpoint::{Checkpoint, ChunkMark, StepMark, StreamProgress};
use towpath::engine::{Cause, EngineError};

use super::applying::{self, RowOp};
use super::disk::DiskState;
use super::history::History;
use super::random::Random;
use super::stream::number;

/// A row: key, value, and the source transaction that wrote it.
pub type SourceRow = (String, u64);
pub type SourceTable = BTreeMap<i64, SourceRow>;
/// Rows as they lie in the target: a doubled one would be seen.
pub type TargetTable = Vec<(i64, String)>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub tables: BTreeMap<Name, TargetTable>,
    /// Indexes and foreign keys.
    pub objects: BTreeSet<String>,
    pub sequences: BTreeMap<Name, i64>,
    pub steps: BTreeMap<String, StepMark>,
    pub chunks: BTreeMap<(Name, u32), ChunkMark>,
    pub stream: Option<StreamProgress>,
}

/// One change in a transaction, applied when it commits.
#[derive(Clone, Debug)]
pub enum Op {
    Create(Name),
    Empty(Name),
    Insert(Name, i64, String),
    Object(String),
    Sequence(Name, i64),
    Row(RowOp),
    Mark(Checkpoint),
}

/// A transaction whose commit was sent by a session that is gone.
#[derive(Clone, Debug)]
pub struct InDoubt {
    pub ops: Vec<Op>,
    pub fence: u64,
}

#[derive(Debug, Default)]
pub struct Faults {
    /// One in so many awaits fails; zero: none does.
    pub one_in: u64,
    /// Faults left: a run must be able to end.
    pub left: u32,
    /// Writes of others on the source, one in so many awaits.
    pub write_one_in: u64,
    /// Snapshots that die while they are read, whatever else happens.
    pub dying_snapshots: u32,
    /// Tables whose loading always fails for good.
    pub poisoned: BTreeSet<Name>,
}

/// Faults put in on purpose: a simulation that does not find them is worth nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    /// What was sent is acknowledged.
    pub early_ack: bool,
    /// The mark commits by itself, after its rows.
    pub mark_apart: bool,
    /// No commit of changes is durable, whatever it was asked to be.
    pub all_lazy: bool,
    /// A transaction that begins just where reading starts is passed over.
    pub skip_equal: bool,
    /// Changes are applied so that they always fit.
    pub upsert: bool,
    /// A run that lost its lock may commit.
    pub no_fence: bool,
}

#[derive(Debug)]
pub struct World {
    pub random: Random,
    pub source: BTreeMap<Name, SourceTable>,
    pub sequences: BTreeMap<Name, i64>,
    pub transaction: u64,
    /// The source as the last snapshot showed it.
    pub last_snapshot: Option<BTreeMap<Name, SourceTable>>,
    pub snapshots: u64,
    pub target: Target,
    /// What a crash of the target goes back to, where that is not what it holds now.
    pub durable: Option<Target>,
    pub in_doubt: Vec<InDoubt>,
    pub commits: u64,
    pub fence: u64,
    /// The fence of the run that holds the lock.
    pub holder: Option<u64>,
    /// Another run may take the lock over from a live holder, as after a lost connection.
    pub steal: bool,
    pub faults: Faults,
    /// Chunks read, by table.
    pub reads: BTreeMap<Name, u64>,
    pub history: History,
    /// Writes of others that are still to come, where changes are followed.
    pub writes_left: u32,
    /// What the source need not keep any more, and all it ever heard of that.
    pub acknowledged: u64,
    pub heard: Vec<u64>,
    /// The last commit that was sent to anybody.
    pub seen: u64,
    /// Where the stream of each followed table begins, to be checked at every commit.
    pub starts: BTreeMap<Name, u64>,
    /// What is acknowledged may be in the spool alone. Losses of power show whether it is.
    pub spools: bool,
    pub disk: DiskState,
    pub plants: Plants,
    /// Promises that were broken.
    pub violations: Vec<String>,
    /// What happened how often.
    pub happened: BTreeMap<&'static str, u64>,
    /// No commit gets through.
    pub stalled: bool,
    /// The log cannot be read beyond the transaction that begins here, and never will.
    pub unreadable: Option<u64>,
    /// When the source was spoken to.
    pub spoken: Vec<tokio::time::Instant>,
    /// After so many changes of rows the target is busy, once for each number.
    pub busy_after: Vec<u32>,
}

pub type Shared = Arc<Mutex<World>>;

pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives others a turn, lets others write to the source, and may fail.
pub async fn pass(world: &Shared) -> Result<(), EngineError> {
    let turns = lock(world).random.below(3);
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
    let mut world = lock(world);
    let write = world.faults.write_one_in;
    if write > 0 && world.random.once_in(write) {
        world.write_source();
    }
    match world.strikes() {
        true => Err(world.fault()),
        false => Ok(()),
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            source: BTreeMap::new(),
            sequences: BTreeMap::new(),
            transaction: 1,
            last_snapshot: None,
            snapshots: 0,
            target: Target::default(),
            durable: None,
            in_doubt: Vec::new(),
            commits: 0,
            fence: 0,
            holder: None,
            steal: false,
            faults: Faults::default(),
            reads: BTreeMap::new(),
            history: History::default(),
            writes_left: 0,
            acknowledged: 0,
            heard: Vec::new(),
            seen: 0,
            starts: BTreeMap::new(),
            spools: false,
            disk: DiskState::default(),
            plants: Plants::default(),
            violations: Vec::new(),
            happened: BTreeMap::new(),
            stalled: false,
            unreadable: None,
            spoken: Vec::new(),
            busy_after: Vec::new(),
        }
    }

    /// Whether the target has had enough of changes for once.
    pub fn is_busy(&mut self) -> bool {
        let Some(left) = self.busy_after.last_mut() else { return false };
        *left = left.saturating_sub(1);
        let busy = *left == 0;
        if busy {
            self.busy_after.pop();
        }
        busy
    }

    pub fn note(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    pub fn strikes(&mut self) -> bool {
        let Faults { one_in, left, .. } = self.faults;
        let strikes = one_in > 0 && left > 0 && self.random.once_in(one_in);
        self.faults.left -= u32::from(strikes);
        strikes
    }

    pub fn fault(&mut self) -> EngineError {
        let cause = if self.random.once_in(4) { Cause::Busy } else { Cause::Connection };
        EngineError::new(cause, "go on", "a simulated fault")
    }

    /// One transaction of somebody else on the source.
    pub fn write_source(&mut self) {
        self.transaction += 1;
        let by = self.transaction;
        let names: Vec<Name> = self.source.keys().cloned().collect();
        for _ in 0..self.random.between(1, 2) {
            let Some(name) = self.random.pick(&names).cloned() else { return };
            let key = self.random.below(14) as i64;
            let value = format!("{by}");
            let remove = self.random.once_in(3);
            let table = self.source.entry(name.clone()).or_default();
            match remove {
                true => drop(table.remove(&key)),
                false => drop(table.insert(key, (value, by))),
            }
            if let Some(last) = self.sequences.get_mut(&name) {
                *last += 1;
            }
        }
    }

    /// Applies a transaction as a whole, or not at all.
    pub fn commit(&mut self, ops: &[Op]) -> Result<(), EngineError> {
        let mut next = self.target.clone();
        for op in ops {
            self.apply(&mut next, op)?;
        }
        self.target = next;
        self.durable = None;
        self.commits += 1;
        self.check_commit();
        Ok(())
    }

    /// A commit that a crash may take back.
    pub fn commit_lazily(&mut self, ops: &[Op]) -> Result<(), EngineError> {
        let durable = self.durable.clone().unwrap_or_else(|| self.target.clone());
        self.commit(ops)?;
        self.durable = Some(durable);
        Ok(())
    }

    /// The target's server crashes: what is not durable is gone, and the lock with its session.
    pub fn crash_target(&mut self) {
        if let Some(durable) = self.durable.take() {
            self.target = durable;
            self.note("the target loses commits");
        }
        self.fence += 1;
        self.holder = None;
    }

    /// C-02: each table is the source's at the marked position, or still at its start.
    fn check_commit(&mut self) {
        let Some(stream) = &self.target.stream else { return };
        let at = number(&stream.position);
        let mut wrong = Vec::new();
        for (name, start) in &self.starts {
            let state = self.history.state(at.max(*start));
            let expected: Vec<(i64, String)> =
                state[name].iter().map(|(key, (value, _))| (*key, value.clone())).collect();
            let mut rows = self.target.tables.get(name).cloned().unwrap_or_default();
            rows.sort();
            if rows != expected {
                wrong.push(format!("C-02: {name} at {at} is {rows:?}, not {expected:?}"));
            }
        }
        self.violations.extend(wrong);
    }

    /// The source is told that it need not keep what comes before `at`.
    pub fn acknowledge(&mut self, at: u64) {
        let durable = self.durable.as_ref().unwrap_or(&self.target);
        let durable = durable.stream.as_ref().map_or(0, |stream| number(&stream.position));
        if at > durable && !self.spools {
            self.violations.push(format!("C-06: {at} is acknowledged, and {durable} durable"));
        }
        self.acknowledged = self.acknowledged.max(at);
        self.heard.push(at);
    }

    /// The source has sent a commit.
    pub fn sent(&mut self, at: u64) {
        self.seen = self.seen.max(at);
        if self.plants.early_ack {
            self.acknowledge(at);
        }
    }

    /// The outcome of commits that nobody heard of: each happened, or did not.
    pub fn settle(&mut self, touches: impl Fn(&InDoubt) -> bool) {
        let (settled, rest) = std::mem::take(&mut self.in_doubt).into_iter().partition(|one| touches(one));
        self.in_doubt = rest;
        let settled: Vec<InDoubt> = settled;
        for one in settled {
            if one.fence == self.fence && self.random.once_in(2) {
                // A conflict with what was committed meanwhile means that it did not happen.
                let happened = self.commit(&one.ops).is_ok();
                self.note(if happened { "in doubt, and happened" } else { "in doubt, and conflicts" });
            }
        }
    }

    /// Whoever would wait for a lock that a transaction in doubt holds, waits for its outcome.
    pub fn wait_for(&mut self, op: &Op) {
        let op = op.clone();
        self.settle(|doubt| doubt.ops.iter().any(|other| conflicts(&op, other)));
    }
}

/// Two open transactions cannot hold both of these.
fn conflicts(one: &Op, other: &Op) -> bool {
    let table = |op: &Op| match op {
        Op::Create(name) | Op::Empty(name) | Op::Insert(name, ..) => Some(name.clone()),
        _ => None,
    };
    match (one, other) {
        (Op::Insert(..), Op::Insert(..)) => false,
        (Op::Object(one), Op::Object(other)) => one == other,
        (Op::Sequence(one, _), Op::Sequence(other, _)) => one == other,
        (Op::Mark(one), Op::Mark(other)) => mark_key(one) == mark_key(other),
        (Op::Row(one), Op::Row(other)) => applying::conflicts(one, other),
        _ => table(one).is_some() && table(one) == table(other),
    }
}

fn mark_key(mark: &Checkpoint) -> String {
    match mark {
        Checkpoint::Step(mark) => format!("step {}", mark.step),
        Checkpoint::Chunk(mark) => format!("chunk {} {}", mark.table, mark.number),
        Checkpoint::Recopy { table, .. } => format!("recopy {table}"),
        Checkpoint::Void(step) => format!("step {step}"),
        Checkpoint::Opened(_) | Checkpoint::Applied(_) => "stream".to_string(),
    }
}

pub fn broken(why: impl Into<String>) -> EngineError {
    EngineError::new(Cause::Data, "write", why)
}

impl World {
    fn apply(&self, target: &mut Target, op: &Op) -> Result<(), EngineError> {
        match op {
            Op::Row(row) => applying::apply(target, row, self.plants.upsert),
            Op::Mark(Checkpoint::Opened(position)) => {
                let (opened, position) = (position.clone(), position.clone());
                target.stream = Some(StreamProgress { opened, position, ..StreamProgress::default() });
                Ok(())
            }
            Op::Mark(Checkpoint::Applied(mark)) => {
                let stream = target.stream.get_or_insert_default();
                if mark.after.as_ref().is_some_and(|after| *after != stream.position) {
                    return Err(EngineError::new(Cause::Stale, "mark", "the stream stands elsewhere"));
                }
                // The same again says that it is still there.
                let (at, marked) = (number(&mark.position), number(&stream.position));
                if at < marked || at == marked && mark.transactions > 0 {
                    return Err(broken(format!("{} is marked after {}", mark.position, stream.position)));
                }
                stream.position.clone_from(&mark.position);
                stream.committed_at = mark.committed_at.or(stream.committed_at);
                stream.transactions += mark.transactions;
                for (name, counts) in &mark.tables {
                    match stream.tables.iter_mut().find(|(table, _)| table == name) {
                        Some((_, sum)) => sum.add(*counts),
                        None => stream.tables.push((name.clone(), *counts)),
                    }
                }
                Ok(())
            }
            _ => apply(target, op),
        }
    }
}

fn apply(target: &mut Target, op: &Op) -> Result<(), EngineError> {
    let refuse = |clash: bool, what: String| if clash { Err(broken(what)) } else { Ok(()) };
    match op {
        Op::Create(name) => {
            let clash = target.tables.insert(name.clone(), Vec::new()).is_some();
            refuse(clash, format!("{name} exists"))
        }
        Op::Empty(name) => match target.tables.get_mut(name) {
            Some(rows) => {
                rows.clear();
                Ok(())
            }
            None => Err(broken(format!("no {name} to empty"))),
        },
        Op::Insert(name, key, value) => match target.tables.get_mut(name) {
            Some(rows) => {
                rows.push((*key, value.clone()));
                Ok(())
            }
            None => Err(broken(format!("no {name} to load"))),
        },
        Op::Object(name) => refuse(!target.objects.insert(name.clone()), format!("{name} exists")),
        Op::Sequence(name, value) => {
            target.sequences.insert(name.clone(), *value);
            Ok(())
        }
        Op::Mark(Checkpoint::Step(mark)) => {
            // The time it took is the one thing that a seed does not repeat.
            let timeless = StepMark { millis: 0, ..mark.clone() };
            let clash = target.steps.insert(mark.step.clone(), timeless).is_some();
            refuse(clash, format!("the mark {} exists", mark.step))
        }
        Op::Mark(Checkpoint::Chunk(mark)) => {
            let key = (mark.table.clone(), mark.number);
            let clash = target.chunks.insert(key, mark.clone()).is_some();
            refuse(clash, format!("the mark of chunk {} exists", mark.number))
        }
        Op::Mark(Checkpoint::Recopy { table, step }) => {
            target.steps.remove(step);
            target.chunks.retain(|(name, _), _| name != table);
            Ok(())
        }
        Op::Mark(Checkpoint::Void(step)) => {
            target.steps.remove(step);
            Ok(())
        }
        Op::Row(_) | Op::Mark(Checkpoint::Opened(_) | Checkpoint::Applied(_)) => {
            unreachable!("applied by the world")
        }
    }
}
