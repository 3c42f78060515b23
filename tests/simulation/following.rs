//! The real following on the memory engine: random histories, tables copied at different
//! positions, faults at any await, kills, lost answers, a source that forgets acknowledgements. At
//! every commit the target must be the source at the marked position.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use towpath::catalog::{ColumnMap, Form, Name, Projection, Type};
use towpath::change::{Counts, Followed, Identity, Position};
use towpath::checkpoint::StreamProgress;
use towpath::engine::{Cause, EngineError, Target};
use towpath::runtime::follow::{
    Acknowledge, Ended, FollowOptions, FollowReport, Following, Goal, Mode, follow_with,
};
use towpath::runtime::{Clock, Event, Reporter, Stop};

use super::disk::MemoryDisk;
use super::history::Change;
use super::memory::MemoryTarget;
use super::random::{Random, seeds};
use super::stream::{MemoryCapture, number, position};
use super::world::{Faults, Plants, Shared, World, lock};

/// Simulated time. Waits are rounded down to steps, so that no draw of the real world shows.
pub struct Steps;

impl Clock for Steps {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let millis = time.as_millis() as u64;
        let step = if millis < 125 { millis } else { 125 << (millis / 125).ilog2() };
        Box::pin(tokio::time::sleep(Duration::from_millis(step)))
    }
}

#[derive(Default)]
pub struct Told(pub Mutex<Vec<Event>>);

impl Reporter for Told {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Told {
    pub fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| which(event)).count()
    }
}

fn column(name: &str, ty: Type) -> ColumnMap {
    ColumnMap {
        source: name.to_string(),
        target: name.to_string(),
        source_type: ty.clone(),
        source_native: String::new(),
        target_type: ty,
        target_native: String::new(),
        not_null: false,
        zero_date: Default::default(),
        error_value_null: false,
        cast: None,
    }
}

pub fn name(table: usize) -> Name {
    Name::new("main", format!("t{table}"))
}

pub fn followed(table: usize, identity: Identity) -> Followed {
    let columns = vec![column("k", Type::Int { bits: 64 }), column("v", Type::Text), column("w", Type::Text)];
    let (source, target) = (name(table), name(table));
    let projection = Projection { source, target, columns, filter: None, key: vec![0], form: Form::Rows };
    Followed { projection, identity, skipped: Vec::new() }
}

/// What is followed.
pub struct Case {
    pub world: Shared,
    pub tables: Vec<Followed>,
    pub starts: Vec<Position>,
}

impl Case {
    pub fn random(seed: u64) -> Self {
        let mut world = World::new(seed);
        let count = world.random.between(1, 3) as usize;
        let identity = |random: &mut Random| match random.once_in(5) {
            true => Identity::Whole,
            false => Identity::Columns(vec![0]),
        };
        let tables: Vec<Followed> = (0..count).map(|at| followed(at, identity(&mut world.random))).collect();
        for table in 0..count {
            let rows = (0..world.random.below(10) as i64).map(|key| (key, (format!("old{key}|x"), 1)));
            let rows = rows.collect();
            world.source.insert(name(table), rows);
        }
        world.record();
        let apart = world.random.once_in(2);
        let mut starts = Vec::new();
        for table in 0..count {
            if apart || table == 0 {
                for _ in 0..world.random.below(6) {
                    world.write_logged();
                }
            }
            let at = world.transaction;
            let rows = world.source[&name(table)].iter().map(|(key, (value, _))| (*key, value.clone()));
            let rows = rows.collect();
            world.target.tables.insert(name(table), rows);
            world.starts.insert(name(table), at);
            starts.push(position(at));
        }
        let first = world.starts.values().copied().min().unwrap_or(0);
        world.acknowledged = first;
        world.heard.push(first);
        world.target.stream = Some(StreamProgress {
            opened: position(first),
            position: position(first),
            ..StreamProgress::default()
        });
        Self { world: Arc::new(Mutex::new(world)), tables, starts }
    }

    /// One run: takes the lock, reads the progress, follows.
    pub async fn run(&self, run: &Run<'_>) -> Result<(StreamProgress, FollowReport), EngineError> {
        let target = MemoryTarget(self.world.clone());
        let held = target
            .lock(
                "plan",
                &towpath::checkpoint::Goal { digest: "goal".into(), ..Default::default() },
                Duration::ZERO,
            )
            .await?;
        let progress = target.progress("plan").await?;
        let before = progress.stream.expect("it was opened");
        let mut from = before.position.clone();
        if run.from_seen {
            from = position(lock(&self.world).seen.max(number(&from)));
        }
        let capture = MemoryCapture(self.world.clone());
        let following = Following {
            plan: "plan",
            capture: &capture,
            target: &target,
            lock: held.as_ref(),
            tables: &self.tables,
            starts: &self.starts,
            from,
            options: &run.options,
            reporter: run.told,
            stop: &run.stop,
            clock: Arc::new(Steps),
        };
        let report = follow_with(&following, &run.goal, &MemoryDisk::new(&self.world)).await?;
        Ok((before, report))
    }
}

/// How one run goes.
pub struct Run<'a> {
    pub options: FollowOptions,
    pub goal: Goal,
    pub stop: Stop,
    pub told: &'a Told,
    pub disk_may_fill: bool,
    /// A planted fault: reading starts at what was seen last, not at what was committed.
    pub from_seen: bool,
}

pub fn options(random: &mut Random) -> FollowOptions {
    let acknowledge = if random.once_in(3) { Acknowledge::Spooled } else { Acknowledge::Applied };
    FollowOptions {
        mode: if random.once_in(3) { Mode::Transactional } else { Mode::Batch },
        memory_bytes: if random.once_in(3) { random.between(1, 400) } else { 1 << 20 },
        memory_keep: Duration::from_millis(if random.once_in(3) { random.below(300) } else { 60_000 }),
        spill_bytes: match random.below(3) {
            0 => random.between(1, 2000),
            1 => 1 << 20,
            _ => u64::from(acknowledge == Acknowledge::Spooled),
        },
        acknowledge,
        batch_rows: random.between(1, 30) as usize,
        batch_bytes: if random.once_in(2) { random.between(1, 300) as usize } else { 1 << 20 },
        attempts: 4,
        ..FollowOptions::default()
    }
}

fn faults(random: &mut Random) -> Faults {
    Faults { one_in: random.between(6, 60), left: random.below(8) as u32, ..Faults::default() }
}

pub fn simulate<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

/// Polls so often, then drops: the process is gone.
async fn killed_after<T>(mut polls: u64, work: impl Future<Output = T>) -> Option<T> {
    let mut work = Some(Box::pin(work));
    std::future::poll_fn(|context| {
        let Some(running) = work.as_mut() else { return Poll::Ready(None) };
        if polls == 0 {
            work = None;
            return Poll::Ready(None);
        }
        polls -= 1;
        running.as_mut().poll(context).map(Some)
    })
    .await
}

/// Simulated hours that no run may take: one that hangs is found so.
const PATIENCE: Duration = Duration::from_secs(36_000);

/// What a simulation came to.
pub struct Outcome {
    pub runs: u64,
    pub violations: Vec<String>,
}

/// Follows until the target has all there ever was, with everything that can happen.
pub async fn until_caught_up(case: &Case, plants: Plants, from_seen: bool) -> Outcome {
    let violations = |case: &Case| std::mem::take(&mut lock(&case.world).violations);
    {
        let mut world = lock(&case.world);
        world.plants = plants;
        world.writes_left = world.random.between(5, 40) as u32;
    }
    let mut found = Vec::new();
    let troubled = lock(&case.world).random.between(1, 8);
    for run in 0..100 {
        let told = Told::default();
        let calm = run >= troubled;
        let (run_of, kill) = prepare(case, calm, &told, from_seen);
        let stop = run_of.stop.clone();
        let stop_at = lock(&case.world).random.between(1, 20_000);
        let stopper = async {
            tokio::time::sleep(Duration::from_millis(stop_at)).await;
            stop.ask();
            std::future::pending::<()>().await;
        };
        let work = async {
            tokio::select! {
                biased;
                ended = case.run(&run_of) => ended,
                () = stopper, if !calm => unreachable!(),
            }
        };
        let work = tokio::time::timeout(PATIENCE, work);
        let ended = killed_after(kill, work).await;
        {
            let mut world = lock(&case.world);
            // Whoever has said that he is done has left nothing to lose.
            if world.random.once_in(3) {
                world.crash_target();
            }
            if world.random.once_in(3) {
                world.lose_power();
                world.note("power is lost");
            }
        }
        let ended = match ended {
            None => continue,
            Some(Err(_)) => {
                found.push(format!("run {run} hangs: {:?}", run_of.goal));
                break;
            }
            Some(Ok(ended)) => ended,
        };
        note_told(case, &told);
        found.extend(violations(case));
        match ended {
            Ok((before, report)) => {
                found.extend(check_report(case, &before, &report, &run_of.goal));
                if calm {
                    found.extend(check_end(case));
                    return Outcome { runs: run + 1, violations: found };
                }
            }
            Err(error) if error.cause == Cause::Resources && run_of.disk_may_fill => {}
            Err(error) if matches!(error.cause, Cause::Connection | Cause::Busy) => {}
            // Its session went with the server.
            Err(error) if error.cause == Cause::Locked && lock(&case.world).holder.is_none() => {}
            Err(error) => found.push(format!("run {run}: {error:?}")),
        }
        if !found.is_empty() {
            break;
        }
    }
    found.extend(violations(case));
    Outcome { runs: 100, violations: found }
}

fn note_told(case: &Case, told: &Told) {
    for event in told.0.lock().unwrap().iter() {
        match event {
            Event::ReadingPaused { .. } => lock(&case.world).note("reading is paused"),
            Event::Streamed { spilled_bytes: 1.., .. } => lock(&case.world).note("something waits on disk"),
            _ => {}
        }
    }
}

fn prepare<'a>(case: &Case, calm: bool, told: &'a Told, from_seen: bool) -> (Run<'a>, u64) {
    let mut world = lock(&case.world);
    let mut options = options(&mut world.random);
    if calm {
        world.faults = Faults::default();
        while world.writes_left > 0 {
            world.writes_left -= 1;
            world.write_logged();
        }
        world.quiesce_source();
        world.settle(|_| true);
        options.attempts = 10;
    } else {
        world.faults = faults(&mut world.random);
    }
    let disk_may_fill = !calm && world.random.once_in(4);
    world.disk.full_one_in = if disk_may_fill { 8 } else { 0 };
    world.spools |= options.acknowledge == Acknowledge::Spooled;
    let kill = if calm || world.random.once_in(2) { u64::MAX } else { world.random.below(600) };
    let head = world.transaction;
    let goal = match world.random.below(4) {
        _ if calm => Goal::Past(position(head)),
        0 => Goal::Exactly(position(head + world.random.below(20))),
        1 => Goal::Past(position(head + world.random.below(10))),
        _ => Goal::Forever,
    };
    (Run { options, goal, stop: Stop::default(), told, disk_may_fill, from_seen }, kill)
}

/// What a run says of itself is so.
pub fn check_report(case: &Case, before: &StreamProgress, report: &FollowReport, goal: &Goal) -> Vec<String> {
    let world = lock(&case.world);
    let stream = world.target.stream.clone().unwrap_or_default();
    let mut wrong = Vec::new();
    if stream.position != report.position {
        wrong.push(format!("C-11: reported {}, marked {}", report.position, stream.position));
    }
    if stream.transactions != before.transactions + report.transactions {
        wrong.push(format!(
            "C-11: {report:?} after {before:?}, now {stream:?}, in doubt {}",
            world.in_doubt.len()
        ));
    }
    let at = number(&report.position);
    match (goal, report.ended) {
        (_, Ended::Stopped) | (Goal::Forever | Goal::Lag(_), _) => {}
        (Goal::Past(goal) | Goal::Exactly(goal), Ended::Goal) if at < number(goal) => {
            wrong.push(format!("the goal {goal} is not reached at {at}"));
        }
        (Goal::Exactly(goal), Ended::Goal) => {
            let from = number(&before.position);
            let beyond = world.history.after(number(goal)).find(|one| one.end <= at && one.begin >= from);
            wrong.extend(beyond.map(|one| format!("{} is applied, beyond {goal}", one.begin)));
        }
        (Goal::Past(_), Ended::Goal) => {}
    }
    wrong
}

/// C-01, and every transaction was counted once.
pub fn check_end(case: &Case) -> Vec<String> {
    let world = lock(&case.world);
    let mut wrong = Vec::new();
    for name in world.starts.keys() {
        let expected: Vec<(i64, String)> =
            world.source[name].iter().map(|(key, (value, _))| (*key, value.clone())).collect();
        let mut rows = world.target.tables[name].clone();
        rows.sort();
        if rows != expected {
            wrong.push(format!("C-01: {name} is {rows:?}, not {expected:?}"));
        }
    }
    let stream = world.target.stream.clone().unwrap_or_default();
    let concerns = |change: &Change, begin: u64, table: &Name| match change {
        Change::Row { table: of, .. } => of == table && begin >= world.starts[table],
        Change::Truncate(names) => names.contains(table) && begin >= world.starts[table],
    };
    let concerned = |one: &&super::history::Logged| {
        one.changes.iter().any(|change| world.starts.keys().any(|name| concerns(change, one.begin, name)))
    };
    let transactions = world.history.log.iter().filter(concerned).count() as u64;
    if stream.transactions != transactions {
        wrong.push(format!("{} transactions are counted, {transactions} were", stream.transactions));
    }
    for name in world.starts.keys() {
        let mut expected = Counts::default();
        for one in &world.history.log {
            for change in one.changes.iter().filter(|change| concerns(change, one.begin, name)) {
                match change {
                    Change::Row { old: None, .. } => expected.inserts += 1,
                    Change::Row { new: None, .. } => expected.deletes += 1,
                    Change::Row { .. } => expected.updates += 1,
                    Change::Truncate(_) => expected.truncates += 1,
                }
            }
        }
        let counted = stream.tables.iter().find(|(table, _)| table == name);
        let counted = counted.map(|(_, counts)| *counts).unwrap_or_default();
        if counted != expected {
            wrong.push(format!("F-59: {name} counts {counted:?}, not {expected:?}"));
        }
    }
    wrong
}

#[test]
fn c_01_c_02_c_06_g_07_g_08_every_commit_is_the_source_at_its_mark() {
    let mut happened: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds(1500) {
        simulate(async {
            let case = Case::random(seed);
            let outcome = until_caught_up(&case, Plants::default(), false).await;
            assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
            for (what, times) in &lock(&case.world).happened {
                *happened.entry(what).or_default() += times;
            }
        });
    }
    if std::env::var("TOWPATH_SIM_SHOW").is_ok() {
        eprintln!("{happened:#?}");
    }
    if seeds(1500).count() > 1000 {
        for what in EXPECTED {
            assert!(happened.contains_key(what), "never: {what}");
        }
    }
}

/// What so many simulations must have met, to be worth their time.
const EXPECTED: [&str; 10] = [
    "the target loses commits",
    "told again",
    "broke inside a transaction",
    "an older acknowledgement is remembered",
    "sets clash",
    "in doubt, and happened",
    "reading is paused",
    "power is lost",
    "the disk is full",
    "something waits on disk",
];

/// The first seed whose simulation finds something wrong.
pub fn found_by(plants: Plants, from_seen: bool) -> Option<(u64, String)> {
    (0..400).find_map(|seed| {
        simulate(async {
            let case = Case::random(seed);
            let outcome = until_caught_up(&case, plants, from_seen).await;
            Some((seed, outcome.violations.first()?.clone()))
        })
    })
}

#[test]
fn planted_faults_are_found() {
    let plants = [
        ("acknowledging before the commit", Plants { early_ack: true, ..Plants::default() }, false),
        ("progress in a transaction of its own", Plants { mark_apart: true, ..Plants::default() }, false),
        ("lazy commits taken for durable", Plants { all_lazy: true, ..Plants::default() }, false),
        ("skipping what begins at the start", Plants { skip_equal: true, ..Plants::default() }, false),
        ("going on from what was seen", Plants::default(), true),
    ];
    for (what, plants, from_seen) in plants {
        let found = found_by(plants, from_seen);
        assert!(found.is_some(), "{what} is not found");
        if std::env::var("TOWPATH_SIM_SHOW").is_ok() {
            eprintln!("{what}: {found:?}");
        }
    }
}

#[test]
fn a_seed_repeats_its_following() {
    let trace = |seed: u64| {
        simulate(async {
            let case = Case::random(seed);
            let runs = until_caught_up(&case, Plants::default(), false).await.runs;
            let world = lock(&case.world);
            (runs, world.commits, world.transaction, world.target.clone())
        })
    };
    for seed in 0..20 {
        assert!(trace(seed) == trace(seed), "seed {seed} ran differently the second time");
    }
}
