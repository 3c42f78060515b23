//! The real executor on the memory engine: random graphs, faults, kills and other writers, run
//! again until done. Then the target must be the source at the last snapshot, and stay so.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use towpath::engine::Cause;
use towpath::graph::{Action, Graph, Phase};
use towpath::runtime::{Clock, Event, Outcome, Report, Reporter, RunOptions, Stop, execute_with};

use super::memory::{MemorySource, MemoryTarget};
use super::random::{Random, seeds};
use super::shapes::{Shape, build, table};
use super::world::{Faults, Shared, World, lock};

/// Waiting is a turn for others.
struct Turns;

impl Clock for Turns {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::task::yield_now())
    }
}

/// Keeps what was told, and may do something about it.
#[derive(Default)]
pub struct Told {
    pub events: Mutex<Vec<Event>>,
    stop_at_first: Option<Stop>,
}

impl Told {
    /// Rows told of as moved, less those taken back.
    fn moved(&self) -> i64 {
        let rows = |event: &Event| if let Event::Moved { rows, .. } = event { *rows } else { 0 };
        self.events.lock().unwrap().iter().map(rows).sum()
    }
}

impl Reporter for Told {
    fn event(&self, event: &Event) {
        if let (Some(stop), Event::StepDone { .. } | Event::ChunkDone { .. }) = (&self.stop_at_first, event) {
            stop.ask();
        }
        self.events.lock().unwrap().push(event.clone());
    }
}

fn random_case(seed: u64) -> (Shared, Graph) {
    let mut world = World::new(seed);
    let shapes: Vec<Shape> =
        (0..world.random.between(1, 4)).map(|_| Shape::random(&mut world.random)).collect();
    let graph = build(&mut world, &shapes);
    (Arc::new(Mutex::new(world)), graph)
}

fn options(random: &mut Random) -> RunOptions {
    RunOptions {
        readers: random.between(1, 3) as usize,
        writers: random.between(1, 4) as usize,
        index_builds: random.between(1, 2) as usize,
        rows_per_second: None,
        goal: "goal".into(),
        lock_wait: Duration::ZERO,
        until: None,
        keep_going: random.once_in(3),
        fail_fast: random.once_in(4),
        attempts: 3,
        follow: Default::default(),
        keep_log: None,
    }
}

async fn run(world: &Shared, graph: &Graph, options: &RunOptions, told: &Told, stop: &Stop) -> Report {
    let (source, target) = (MemorySource(world.clone()), MemoryTarget(world.clone()));
    execute_with(graph.clone(), &source, &target, options, told, stop, Arc::new(Turns)).await
}

/// Polls so often, then drops: the process is gone.
async fn killed_after<T>(mut polls: u64, work: impl Future<Output = T>) -> Option<T> {
    let mut work = Some(Box::pin(work));
    let end = std::future::poll_fn(|context| {
        let Some(running) = work.as_mut() else { return Poll::Ready(None) };
        if polls == 0 {
            work = None;
            return Poll::Ready(None);
        }
        polls -= 1;
        running.as_mut().poll(context).map(Some)
    });
    let end = end.await;
    // Tasks of a run that is gone end when they are next looked at.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    end
}

fn simulate<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn random_faults(random: &mut Random) -> Faults {
    Faults {
        one_in: random.between(6, 60),
        left: random.below(6) as u32,
        write_one_in: if random.once_in(2) { 0 } else { random.between(10, 80) },
        ..Faults::default()
    }
}

/// What holds after every run, however it ended.
fn check_always(world: &World, graph: &Graph, context: &str) {
    for card in graph.tables.iter().filter(|card| card.load == "copy") {
        let Some(rows) = world.target.tables.get(&card.target) else { continue };
        let mut keys: Vec<i64> = rows.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), rows.len(), "{context}: {} has doubled rows", card.target);
    }
    for step in &graph.steps {
        if let (Action::Sql { statements, .. }, true) =
            (&step.action, world.target.steps.contains_key(&step.id))
            && let Some(object) = statements[0].strip_prefix("object ")
        {
            assert!(world.target.objects.contains(object), "{context}: {} is marked, not made", step.id);
        }
    }
}

/// Only what was done to the run made it fail: it never stumbled over its own work.
fn check_failures(report: &Report, context: &str) {
    assert!(!report.failures.is_empty(), "{context}");
    for failure in &report.failures {
        let cause = failure.error.cause;
        let from_outside = matches!(cause, Cause::Connection | Cause::Busy | Cause::Other);
        assert!(from_outside, "{context}: {failure:?}");
    }
}

fn check_done(world: &World, graph: &Graph, context: &str) {
    let snapshot = world.last_snapshot.as_ref().expect("rows were copied");
    for card in &graph.tables {
        let expected: Vec<(i64, String)> =
            snapshot[&card.source].iter().map(|(key, (value, _))| (*key, value.clone())).collect();
        let mut rows = world.target.tables[&card.target].clone();
        rows.sort();
        assert_eq!(rows, expected, "{context}: {}", card.target);
        assert!(world.target.sequences[&card.target] >= 43, "{context}: the sequence of {}", card.target);
    }
    for step in &graph.steps {
        assert!(world.target.steps.contains_key(&step.id), "{context}: {} is not marked", step.id);
    }
    assert_eq!(world.holder, None, "{context}: the lock is held for ever");
}

/// Runs until done, with everything that can happen. Returns how many runs it took.
async fn until_done(seed: u64, world: &Shared, graph: &Graph) -> u64 {
    for attempt in 0..200 {
        let (options, kill) = {
            let mut world = lock(world);
            let faults = if attempt > 100 { Faults::default() } else { random_faults(&mut world.random) };
            world.faults = faults;
            let kill =
                if attempt > 100 || world.random.once_in(2) { u64::MAX } else { world.random.below(400) };
            (options(&mut world.random), kill)
        };
        let before = lock(world).target.clone();
        let (told, stop) = (Told::default(), Stop::default());
        let report = killed_after(kill, run(world, graph, &options, &told, &stop)).await;
        let mut world = lock(world);
        let context = format!("seed {seed}, run {attempt}");
        check_always(&world, graph, &context);
        let Some(report) = report else { continue };
        if report.untouched && world.in_doubt.is_empty() {
            assert_eq!(before, world.target, "{context}: untouched, but changed");
        }
        for done in &report.done {
            assert!(world.target.steps.contains_key(done), "{context}: {done} is reported, not marked");
        }
        if !options.fail_fast {
            // What failed and was tried again counts once (H-13).
            assert_eq!(told.moved(), report.rows as i64, "{context}: what moved is not what arrived");
        }
        match report.outcome {
            Outcome::Done | Outcome::Nothing => {
                world.settle(|_| true);
                check_done(&world, graph, &context);
                return attempt + 1;
            }
            Outcome::Failed => check_failures(&report, &context),
            Outcome::Partial => panic!("{context}: nobody asked to stop: {report:?}"),
        }
        if world.random.once_in(2) {
            world.write_source();
        }
    }
    panic!("seed {seed}: never done");
}

#[test]
fn g_08_after_any_fault_the_same_command_ends_at_the_source() {
    for seed in seeds(400) {
        simulate(async {
            let (world, graph) = random_case(seed);
            until_done(seed, &world, &graph).await;
            again_changes_nothing(seed, &world, &graph).await;
        });
    }
}

/// A run after the last one writes nothing and takes no snapshot.
async fn again_changes_nothing(seed: u64, world: &Shared, graph: &Graph) {
    let (commits, snapshots, fence) = {
        let mut world = lock(world);
        world.faults = Faults::default();
        world.write_source();
        (world.commits, world.snapshots, world.fence)
    };
    let options = options(&mut Random::new(seed));
    let report = run(world, graph, &options, &Told::default(), &Stop::default()).await;
    assert_eq!(report.outcome, Outcome::Nothing, "seed {seed}: {report:?}");
    assert!(report.untouched && report.done.is_empty() && report.left.is_empty(), "seed {seed}");
    let world = lock(world);
    let now = (world.commits, world.snapshots, world.fence);
    assert_eq!(now, (commits, snapshots, fence), "seed {seed}: a run with nothing to do wrote");
}

#[test]
fn a_seed_repeats_its_run() {
    let trace = |seed: u64| {
        simulate(async {
            let (world, graph) = random_case(seed);
            let runs = until_done(seed, &world, &graph).await;
            let world = lock(&world);
            (runs, world.commits, world.snapshots, world.target.clone())
        })
    };
    for seed in 0..10 {
        let same = trace(seed) == trace(seed);
        assert!(same, "seed {seed} ran differently the second time");
    }
}

#[test]
fn f_04_a_second_run_is_refused_while_the_first_lives() {
    for seed in seeds(60) {
        simulate(async {
            let (world, graph) = random_case(seed);
            let options = options(&mut Random::new(seed));
            let (told, stop) = (Told::default(), Stop::default());
            let first = run(&world, &graph, &options, &told, &stop);
            let (told, stop) = (Told::default(), Stop::default());
            let second = async {
                while lock(&world).holder.is_none() && lock(&world).commits == 0 {
                    tokio::task::yield_now().await;
                }
                run(&world, &graph, &options, &told, &stop).await
            };
            let (first, second) = tokio::join!(first, second);
            assert_eq!(first.outcome, Outcome::Done, "seed {seed}: {first:?}");
            assert_eq!(second.outcome, Outcome::Failed, "seed {seed}: {second:?}");
            assert_eq!(second.failures[0].error.cause, Cause::Locked, "seed {seed}");
            assert!(second.untouched, "seed {seed}");
            check_done(&lock(&world), &graph, &format!("seed {seed}"));
        });
    }
}

#[test]
fn f_05_a_run_that_lost_its_lock_writes_nothing_more() {
    let mut overtaken = 0;
    for seed in seeds(150) {
        simulate(async {
            let (world, graph) = random_case(seed);
            lock(&world).steal = true;
            let start = lock(&world).random.below(60);
            let mut random = Random::new(seed);
            let (one, other) = (options(&mut random), options(&mut random));
            let (told, stop) = (Told::default(), Stop::default());
            let first = run(&world, &graph, &one, &told, &stop);
            let (told, stop) = (Told::default(), Stop::default());
            let second = async {
                for _ in 0..start {
                    tokio::task::yield_now().await;
                }
                run(&world, &graph, &other, &told, &stop).await
            };
            let (first, _) = tokio::join!(first, second);
            if let Some(failure) = first.failures.first() {
                // The first to be told, whatever else it ran into.
                assert_eq!(failure.error.cause, Cause::Locked, "seed {seed}: {first:?}");
                overtaken += 1;
            }
            check_always(&lock(&world), &graph, &format!("seed {seed}"));
            lock(&world).steal = false;
            until_done(seed, &world, &graph).await;
        });
    }
    assert!(overtaken > 0 || seeds(150).end - seeds(150).start == 1, "no run was ever overtaken");
}

fn plain(chunk: u64) -> Shape {
    Shape { create: true, replace: false, fused: false, shared: false, frozen: false, chunk, indexes: 1 }
}

/// A table that shares its unit.
fn shared(chunk: u64) -> Shape {
    Shape { shared: true, ..plain(chunk) }
}

/// A quiet world of tables with ten rows each.
fn quiet(shapes: &[Shape]) -> (Shared, Graph) {
    let mut world = World::new(7);
    let graph = build(&mut world, shapes);
    for rows in world.source.values_mut() {
        *rows = (0..10).map(|key| (key, (format!("row {key}"), 1))).collect();
    }
    (Arc::new(Mutex::new(world)), graph)
}

fn calm() -> RunOptions {
    RunOptions { keep_going: false, fail_fast: false, readers: 1, writers: 1, ..options(&mut Random::new(1)) }
}

fn outcome_of(world: &Shared, graph: &Graph, options: &RunOptions) -> Report {
    simulate(run(world, graph, options, &Told::default(), &Stop::default()))
}

#[test]
fn d101_rows_of_others_are_never_mixed_with_ours() {
    for chunk in [3, 100] {
        let (world, graph) = quiet(&[Shape { create: false, ..plain(chunk) }]);
        lock(&world).target.tables.insert(table(0), vec![(5, "theirs".into())]);
        let report = outcome_of(&world, &graph, &calm());
        assert_eq!(report.failures[0].error.contract, Some("D101"), "{report:?}");
        assert!(report.untouched);
        assert_eq!(lock(&world).target.tables[&table(0)], vec![(5, "theirs".to_string())]);
    }
}

#[test]
fn keep_going_runs_what_does_not_need_the_failed_step() {
    let (world, graph) = quiet(&[plain(100), plain(3), plain(100)]);
    lock(&world).faults.poisoned.insert(table(1));
    let report = outcome_of(&world, &graph, &RunOptions { keep_going: true, ..calm() });
    assert_eq!(report.outcome, Outcome::Failed);
    assert_eq!(report.failures.len(), 1, "one failure for all chunks of a table: {report:?}");
    assert_eq!(report.failures[0].step.as_deref(), Some("t1/copy"));
    for done in ["t0/copy", "t0/index/0", "t2/copy", "t2/index/0", "t1/create"] {
        assert!(report.done.iter().any(|step| step == done), "{done} in {report:?}");
    }
    let blamed =
        |step: &str| report.left.iter().find(|(left, _)| left == step).map(|(_, why)| why.as_deref());
    assert_eq!(blamed("t1/index/0"), Some(Some("t1/copy")));
    // Foreign keys wait for the rows of all tables, which may have to be copied again.
    assert_eq!(blamed("t0/key"), Some(Some("t1/copy")));
    let all = report.done.len() + report.left.len() + report.failures.len();
    assert_eq!(all, graph.steps.len(), "every step is told of once");

    lock(&world).faults.poisoned.clear();
    let reads = lock(&world).reads.clone();
    assert_eq!(outcome_of(&world, &graph, &calm()).outcome, Outcome::Done);
    assert_eq!(lock(&world).reads[&table(0)], reads[&table(0)], "a finished table is not read again");
    check_done(&lock(&world), &graph, "after the way out");
}

#[test]
fn tables_that_share_a_unit_commit_together() {
    let commits = |shape: Shape| {
        let (world, graph) = quiet(&[shape; 3]);
        assert_eq!(outcome_of(&world, &graph, &calm()).outcome, Outcome::Done);
        check_done(&lock(&world), &graph, "together");
        lock(&world).commits
    };
    // Three tables of three steps become one transaction, and so do their keys and checks.
    assert_eq!(commits(plain(100)) - commits(shared(100)), (3 * 3 - 1) + (3 * 2 - 1));
}

#[test]
fn a_shared_table_larger_than_was_thought_is_copied_in_chunks() {
    let (world, graph) = quiet(&[shared(100), shared(3), shared(100)]);
    assert_eq!(outcome_of(&world, &graph, &calm()).outcome, Outcome::Done);
    assert_eq!(lock(&world).target.chunks.len(), 1 + 4 + 1, "{:?}", lock(&world).target.chunks);
    check_done(&lock(&world), &graph, "one of several chunks");
}

#[test]
fn a_table_that_fails_holds_up_no_other_of_its_unit() {
    for keep_going in [true, false] {
        let (world, graph) = quiet(&[shared(100), shared(100), shared(100)]);
        lock(&world).faults.poisoned.insert(table(1));
        let report = outcome_of(&world, &graph, &RunOptions { keep_going, ..calm() });
        assert_eq!(report.outcome, Outcome::Failed);
        assert_eq!(report.failures.len(), 1, "{report:?}");
        assert_eq!(report.failures[0].step.as_deref(), Some("t1/copy"));
        let done = |step: &str| report.done.iter().any(|done| done == step);
        let blamed =
            |step: &str| report.left.iter().find(|(left, _)| left == step).map(|(_, why)| why.as_deref());
        assert!(done("t0/copy") && done("t0/index/0"), "{report:?}");
        assert_eq!(blamed("t1/index/0"), Some(Some("t1/copy")));
        match keep_going {
            true => assert!(done("t2/copy") && done("t2/index/0"), "{report:?}"),
            false => assert_eq!(blamed("t2/copy"), Some(None), "{report:?}"),
        }
        let all = report.done.len() + report.left.len() + report.failures.len();
        assert_eq!(all, graph.steps.len(), "every step is told of once");

        lock(&world).faults.poisoned.clear();
        assert_eq!(outcome_of(&world, &graph, &calm()).outcome, Outcome::Done);
        check_done(&lock(&world), &graph, "after the way out");
    }
}

#[test]
fn all_failures_of_a_shared_unit_are_told() {
    let (world, graph) = quiet(&[shared(100), shared(100), shared(100)]);
    lock(&world).faults.poisoned.extend([table(0), table(2)]);
    let report = outcome_of(&world, &graph, &RunOptions { keep_going: true, ..calm() });
    let mut failed: Vec<&str> =
        report.failures.iter().filter_map(|failure| failure.step.as_deref()).collect();
    failed.sort_unstable();
    assert_eq!(failed, ["t0/copy", "t2/copy"]);
    assert!(report.done.iter().any(|step| step == "t1/index/0"), "{report:?}");
}

#[test]
fn a_final_failure_starts_nothing_new() {
    let (world, graph) = quiet(&[plain(100), plain(100), plain(100)]);
    lock(&world).faults.poisoned.extend([table(0), table(1), table(2)]);
    let report = outcome_of(&world, &graph, &RunOptions { readers: 1, ..calm() });
    assert_eq!(report.failures.len(), 1, "{report:?}");
}

#[test]
fn stopping_finishes_what_runs_and_the_next_run_goes_on() {
    for chunk in [3, 100] {
        let (world, graph) = quiet(&[plain(chunk), plain(chunk)]);
        let stop = Stop::default();
        let told = Told { stop_at_first: Some(stop.clone()), ..Told::default() };
        let report = simulate(run(&world, &graph, &calm(), &told, &stop));
        assert_eq!(report.outcome, Outcome::Partial, "{report:?}");
        assert!(!report.left.is_empty() && report.failures.is_empty());
        assert!(told.events.lock().unwrap().contains(&Event::Stopping));
        if chunk == 3 {
            let copied = lock(&world).reads.values().sum::<u64>();
            assert!(copied <= 1, "{copied} chunks were read after stopping was asked for");
        }
        assert_eq!(outcome_of(&world, &graph, &calm()).outcome, Outcome::Done);
        check_done(&lock(&world), &graph, "after stopping");
    }
}

#[test]
fn g_08_finished_chunks_are_not_read_again_when_nothing_changed() {
    let (world, graph) = quiet(&[plain(2)]);
    let stop = Stop::default();
    for _ in 0..40 {
        let stop = Stop::default();
        let told = Told { stop_at_first: Some(stop.clone()), ..Told::default() };
        if simulate(run(&world, &graph, &calm(), &told, &stop)).outcome == Outcome::Done {
            break;
        }
        lock(&world).transaction += 1;
    }
    simulate(run(&world, &graph, &calm(), &Told::default(), &stop));
    assert_eq!(lock(&world).reads[&table(0)], 5, "ten rows in chunks of two");
    check_done(&lock(&world), &graph, "chunk by chunk");
}

#[test]
fn g_04_a_finished_table_is_copied_again_when_the_source_moved_on() {
    let (world, graph) = quiet(&[plain(100), plain(100)]);
    lock(&world).faults.poisoned.insert(table(1));
    outcome_of(&world, &graph, &RunOptions { keep_going: true, ..calm() });
    {
        let mut world = lock(&world);
        world.faults.poisoned.clear();
        world.transaction += 1;
        let by = world.transaction;
        world.source.get_mut(&table(0)).unwrap().insert(3, ("new".into(), by));
    }
    let told = Told::default();
    let report = simulate(run(&world, &graph, &calm(), &told, &Stop::default()));
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    let recopied = |event: &Event| matches!(event, Event::Recopying { table: name, .. } if *name == table(0));
    assert!(told.events.lock().unwrap().iter().any(recopied));
    check_done(&lock(&world), &graph, "one moment");
}

#[test]
fn a_table_that_is_cut_elsewhere_now_is_copied_again() {
    let (world, graph) = quiet(&[plain(3)]);
    let stop = Stop::default();
    let told = Told { stop_at_first: Some(stop.clone()), ..Told::default() };
    // Stops once before and once after the first chunk.
    simulate(run(&world, &graph, &calm(), &told, &stop));
    let stop = Stop::default();
    let told = Told { stop_at_first: Some(stop.clone()), ..Told::default() };
    simulate(run(&world, &graph, &calm(), &told, &stop));
    assert_eq!(lock(&world).target.chunks.len(), 1);
    {
        // The first chunk is as it was, but one chunk less follows it.
        let mut world = lock(&world);
        world.transaction += 1;
        world.source.get_mut(&table(0)).unwrap().retain(|key, _| *key < 6);
    }
    let told = Told::default();
    let report = simulate(run(&world, &graph, &calm(), &told, &Stop::default()));
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert!(told.events.lock().unwrap().iter().any(|event| matches!(event, Event::Recopying { .. })));
    check_done(&lock(&world), &graph, "cut elsewhere");
}

#[test]
fn f_21_a_snapshot_that_dies_is_followed_by_a_new_one_in_the_same_run() {
    for chunk in [3, 100] {
        let (world, graph) = quiet(&[plain(chunk), plain(chunk)]);
        lock(&world).faults.dying_snapshots = 2;
        let report = outcome_of(&world, &graph, &calm());
        assert_eq!(report.outcome, Outcome::Done, "{report:?}");
        assert_eq!(lock(&world).snapshots, 3);
        check_done(&lock(&world), &graph, "a third snapshot");
    }
    let (world, graph) = quiet(&[plain(100)]);
    lock(&world).faults.dying_snapshots = 100;
    let report = outcome_of(&world, &graph, &calm());
    assert_eq!(report.outcome, Outcome::Failed, "it does not try for ever");
}

#[test]
fn until_a_phase_leaves_the_rest_for_another_run() {
    let (world, graph) = quiet(&[Shape { fused: true, frozen: true, ..plain(100) }]);
    let schema = RunOptions { until: Some(Phase::Schema), ..calm() };
    let report = outcome_of(&world, &graph, &schema);
    assert_eq!((report.outcome, report.done), (Outcome::Partial, vec!["t0/create".to_string()]));
    assert_eq!(lock(&world).snapshots, 0, "no row was wanted yet");
    let again = outcome_of(&world, &graph, &schema);
    assert!(again.untouched && again.outcome == Outcome::Partial);
    assert_eq!(outcome_of(&world, &graph, &calm()).outcome, Outcome::Done);
    check_done(&lock(&world), &graph, "in two runs");
}

#[test]
fn a_step_done_from_other_inputs_is_never_reused() {
    let (world, mut graph) = quiet(&[plain(100)]);
    outcome_of(&world, &graph, &RunOptions { until: Some(Phase::Schema), ..calm() });
    graph.steps[0].inputs = "others".into();
    let commits = lock(&world).commits;
    let report = outcome_of(&world, &graph, &calm());
    assert_eq!(report.failures[0].error.cause, Cause::Stale);
    assert_eq!(report.failures[0].error.object.as_deref(), Some("t0/create"));
    assert_eq!(lock(&world).commits, commits);
}
