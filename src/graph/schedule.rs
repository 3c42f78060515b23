//! Which unit may run next: pure, so that the order can be tested without running anything. It
//! counts budgets and table tokens; it starts nothing itself.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Action, Graph, Phase};
use crate::catalog::Name;

/// How much may run at once. A zero counts as one: a run must be able to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Copies (and further readers of one copy, see [`Schedule::widen`]).
    pub readers: usize,
    /// Units of any kind, further readers of a copy included; the target's `writers_max` is the
    /// caller's to apply.
    pub writers: usize,
    /// Units that build an index and copy nothing.
    pub index_builds: usize,
}

/// Steps that run together, by its number in the schedule.
pub type UnitId = usize;

/// What decides about a unit's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Copy,
    IndexBuild,
    Other,
}

const KINDS: [Kind; 3] = [Kind::Copy, Kind::IndexBuild, Kind::Other];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing of it is to be run: done before, or beyond the last phase asked for.
    Idle,
    Waiting,
    Running,
    Done,
    Failed,
}

#[derive(Debug)]
struct Unit {
    name: String,
    /// Steps still to run, as places in `Graph::steps`, in their order.
    steps: Vec<usize>,
    /// Steps of it that `until` leaves for another run.
    held: Vec<usize>,
    kind: Kind,
    standing: Standing,
    /// Units that it waits for and that are not done.
    waits: usize,
    feeds: Vec<UnitId>,
    /// Seconds from its start to the end of everything that waits for it.
    path: f64,
    /// Tables it has for itself / works on beside others that do so.
    locks: Vec<Name>,
    shares: Vec<Name>,
    /// Readers it holds beyond its own.
    wide: usize,
}

/// Tokens of one table.
#[derive(Debug, Default)]
struct Token {
    locked: bool,
    shared: usize,
}

/// The state of one run. Call [`Self::next`], run what it returns, report each unit by
/// [`Self::done`] or [`Self::failed`], call `next` again, until [`Self::is_over`].
#[derive(Debug)]
pub struct Schedule {
    units: Vec<Unit>,
    ids: Vec<String>,
    ready: [BTreeSet<(std::cmp::Reverse<u64>, UnitId)>; 3],
    running: usize,
    free: Budgets,
    tokens: HashMap<Name, Token>,
    stopped: bool,
    /// The step at which a unit failed.
    failed_at: HashMap<UnitId, String>,
}

impl Schedule {
    /// `done`: ids of steps that are finished; `until`: the last phase to run.
    pub fn new(graph: &Graph, done: &HashSet<String>, budgets: Budgets, until: Option<Phase>) -> Self {
        let mut units = units_of(graph, done, until);
        connect(graph, &mut units);
        weigh(graph, &mut units);
        let free = Budgets {
            readers: budgets.readers.max(1),
            writers: budgets.writers.max(1),
            index_builds: budgets.index_builds.max(1),
        };
        let mut schedule = Self {
            units,
            ids: graph.steps.iter().map(|step| step.id.clone()).collect(),
            ready: Default::default(),
            running: 0,
            free,
            tokens: HashMap::new(),
            stopped: false,
            failed_at: HashMap::new(),
        };
        for unit in 0..schedule.units.len() {
            schedule.offer(unit);
        }
        schedule
    }

    /// Units to start now, most urgent first; they count as running from here on.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: an empty answer is not the end")]
    pub fn next(&mut self) -> Vec<UnitId> {
        let mut started = Vec::new();
        while !self.stopped && self.free.writers > 0 {
            let Some(unit) = self.best() else { break };
            self.start(unit);
            started.push(unit);
        }
        started
    }

    /// The steps of a unit that this run has to do, as places in `Graph::steps`, in their order.
    pub fn steps(&self, unit: UnitId) -> &[usize] {
        &self.units[unit].steps
    }

    /// The unit's name, as in `Step::unit`.
    pub fn name(&self, unit: UnitId) -> &str {
        &self.units[unit].name
    }

    /// One more reader and writer for a running copy, if no other work waits for them.
    pub fn widen(&mut self, unit: UnitId) -> bool {
        let copies_wait = !self.ready[Kind::Copy as usize].is_empty();
        let free = self.free.readers > 0 && self.free.writers > 0 && !copies_wait && !self.stopped;
        if free {
            self.free.readers -= 1;
            self.free.writers -= 1;
            self.units[unit].wide += 1;
        }
        free
    }

    /// Gives back one reader that [`Self::widen`] gave.
    pub fn narrow(&mut self, unit: UnitId) {
        if self.units[unit].wide > 0 {
            self.units[unit].wide -= 1;
            self.free.readers += 1;
            self.free.writers += 1;
        }
    }

    /// All steps of the unit are committed.
    pub fn done(&mut self, unit: UnitId) {
        self.release(unit, Standing::Done);
        for fed in self.units[unit].feeds.clone() {
            self.units[fed].waits -= 1;
            self.offer(fed);
        }
    }

    /// The unit failed for good, at this step. Without `keep_going` nothing new starts.
    pub fn failed(&mut self, unit: UnitId, step: &str, keep_going: bool) {
        self.release(unit, Standing::Failed);
        self.failed_at.insert(unit, step.to_string());
        self.stopped |= !keep_going;
    }

    /// Nothing new starts from here on.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Units that run now.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Nothing runs and nothing can be started any more.
    pub fn is_over(&self) -> bool {
        self.running == 0 && (self.stopped || self.ready.iter().all(BTreeSet::is_empty))
    }

    /// Everything this run was asked to do is done.
    pub fn is_complete(&self) -> bool {
        self.units.iter().all(|unit| matches!(unit.standing, Standing::Idle | Standing::Done))
    }

    /// Steps not done, in the graph's order, with the failed step that each waits for, if one
    /// failed. The steps of failed units are not in it; those left by `until` are.
    pub fn left(&self) -> Vec<(String, Option<String>)> {
        let mut cause: HashMap<UnitId, &str> = HashMap::new();
        let mut queue: Vec<UnitId> = self.failed_at.keys().copied().collect();
        queue.sort_unstable();
        while let Some(unit) = queue.pop() {
            let why = self.failed_at.get(&unit).map_or_else(|| cause[&unit], String::as_str);
            for &fed in &self.units[unit].feeds {
                if cause.insert(fed, why).is_none() {
                    queue.push(fed);
                }
            }
        }
        let mut left = Vec::new();
        for (number, unit) in self.units.iter().enumerate() {
            let waiting = unit.standing == Standing::Waiting || unit.standing == Standing::Running;
            let open = unit.steps.iter().filter(|_| waiting).chain(&unit.held);
            left.extend(open.map(|&step| (step, cause.get(&number).map(|why| why.to_string()))));
        }
        left.sort_by_key(|(step, _)| *step);
        left.into_iter().map(|(step, why)| (self.ids[step].clone(), why)).collect()
    }

    /// The most urgent unit that the budgets and tokens allow.
    fn best(&self) -> Option<UnitId> {
        let open = |kind: &Kind| match kind {
            Kind::Copy => self.free.readers > 0,
            Kind::IndexBuild => self.free.index_builds > 0,
            Kind::Other => true,
        };
        let kinds = KINDS.iter().filter(|kind| open(kind));
        let heads = kinds
            .filter_map(|kind| self.ready[*kind as usize].iter().find(|(_, unit)| self.tokens_free(*unit)));
        heads.min().map(|(_, unit)| *unit)
    }

    fn tokens_free(&self, unit: UnitId) -> bool {
        let unit = &self.units[unit];
        let free = |name: &Name, alone: bool| {
            self.tokens.get(name).is_none_or(|token| !token.locked && (!alone || token.shared == 0))
        };
        unit.locks.iter().all(|name| free(name, true)) && unit.shares.iter().all(|name| free(name, false))
    }

    fn offer(&mut self, unit: UnitId) {
        let Unit { standing, waits, kind, path, .. } = self.units[unit];
        if standing == Standing::Waiting && waits == 0 {
            self.ready[kind as usize].insert((urgency(path), unit));
        }
    }

    fn start(&mut self, unit: UnitId) {
        let Unit { kind, path, .. } = self.units[unit];
        self.ready[kind as usize].remove(&(urgency(path), unit));
        self.take(unit, true);
        self.units[unit].standing = Standing::Running;
        self.running += 1;
    }

    fn release(&mut self, unit: UnitId, standing: Standing) {
        debug_assert_eq!(self.units[unit].standing, Standing::Running);
        while self.units[unit].wide > 0 {
            self.narrow(unit);
        }
        self.take(unit, false);
        self.units[unit].standing = standing;
        self.running -= 1;
    }

    /// Takes the unit's share of the budgets and its tokens, or gives them back.
    fn take(&mut self, unit: UnitId, take: bool) {
        let count = |free: &mut usize| *free = if take { *free - 1 } else { *free + 1 };
        count(&mut self.free.writers);
        match self.units[unit].kind {
            Kind::Copy => count(&mut self.free.readers),
            Kind::IndexBuild => count(&mut self.free.index_builds),
            Kind::Other => {}
        }
        for name in &self.units[unit].locks {
            self.tokens.entry(name.clone()).or_default().locked = take;
        }
        for name in &self.units[unit].shares {
            count_up(&mut self.tokens.entry(name.clone()).or_default().shared, take);
        }
    }
}

fn count_up(count: &mut usize, up: bool) {
    *count = if up { *count + 1 } else { *count - 1 };
}

/// Longest path first; bits of a float that is not negative sort as the float does.
fn urgency(path: f64) -> std::cmp::Reverse<u64> {
    std::cmp::Reverse(path.max(0.0).to_bits())
}

/// The units in the order of their first steps.
fn units_of(graph: &Graph, done: &HashSet<String>, until: Option<Phase>) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut by_name: HashMap<&str, UnitId> = HashMap::new();
    for (place, step) in graph.steps.iter().enumerate() {
        let number = *by_name.entry(&step.unit).or_insert_with(|| {
            units.push(Unit::new(&step.unit));
            units.len() - 1
        });
        let unit = &mut units[number];
        if done.contains(&step.id) {
            continue;
        }
        if until.is_some_and(|last| step.phase > last) {
            unit.held.push(place);
            continue;
        }
        unit.steps.push(place);
    }
    for unit in &mut units {
        unit.settle(graph);
    }
    units
}

impl Unit {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_string(),
            steps: Vec::new(),
            held: Vec::new(),
            kind: Kind::Other,
            standing: Standing::Idle,
            waits: 0,
            feeds: Vec::new(),
            path: 0.0,
            locks: Vec::new(),
            shares: Vec::new(),
            wide: 0,
        }
    }

    /// Kind, tokens and standing, once all its steps are known.
    fn settle(&mut self, graph: &Graph) {
        if self.steps.is_empty() {
            return;
        }
        self.standing = Standing::Waiting;
        let mut locks = BTreeSet::new();
        let mut shares = BTreeSet::new();
        for step in self.steps.iter().map(|&place| &graph.steps[place]) {
            match &step.action {
                Action::Copy { .. } => self.kind = Kind::Copy,
                Action::Sql { index_build: true, .. } if self.kind == Kind::Other => {
                    self.kind = Kind::IndexBuild;
                }
                _ => {}
            }
            locks.extend(step.locks.iter().cloned());
            shares.extend(step.table.iter().cloned());
        }
        self.shares = shares.difference(&locks).cloned().collect();
        self.locks = locks.into_iter().collect();
    }

    fn is_open(&self) -> bool {
        self.standing == Standing::Waiting
    }
}

/// Edges between units: those of their steps that still have to run. A step that waits for one
/// which `until` holds back waits for ever, which is right: its own phase is later still.
fn connect(graph: &Graph, units: &mut [Unit]) {
    let mut unit_of: HashMap<&str, UnitId> = HashMap::new();
    for (number, unit) in units.iter().enumerate() {
        for &place in unit.steps.iter().chain(&unit.held) {
            unit_of.insert(&graph.steps[place].id, number);
        }
    }
    let mut edges = BTreeSet::new();
    for (number, unit) in units.iter().enumerate() {
        let needs = unit.steps.iter().flat_map(|&place| &graph.steps[place].needs);
        let froms = needs.filter_map(|need| unit_of.get(need.as_str()));
        edges.extend(froms.filter(|from| **from != number).map(|from| (*from, number)));
    }
    for (from, to) in edges {
        units[from].feeds.push(to);
        units[to].waits += 1;
    }
}

/// Remaining path of every open unit: its own seconds and the longest of what it feeds.
fn weigh(graph: &Graph, units: &mut [Unit]) {
    for number in (0..units.len()).filter(|&number| units[number].is_open()).rev().collect::<Vec<_>>() {
        let own: f64 = units[number].steps.iter().map(|&place| graph.steps[place].estimate.seconds).sum();
        let after = units[number].feeds.iter().map(|&fed| units[fed].path).fold(0.0, f64::max);
        units[number].path = own + after;
    }
}
