//! Following on the memory engine, one thing at a time: who may write, what is told, where it ends,
//! what is held at most.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use towpath::change::{Identity, Position};
use towpath::checkpoint::StreamProgress;
use towpath::engine::Cause;
use towpath::runtime::follow::{Acknowledge, Ended, FollowOptions, Goal, Mode};
use towpath::runtime::{Event, Stop};

use super::following::{Case, Run, Told, check_end, followed, name, simulate};
use super::random::Random;
use super::stream::position;
use super::world::{Plants, World, lock};

/// One table with five rows, at position 1, and nothing else happens.
fn quiet() -> Case {
    let mut world = World::new(5);
    let rows = (0..5).map(|key| (key, (format!("v{key}|w"), 1))).collect();
    world.source.insert(name(0), rows);
    world.record();
    let copied = world.source[&name(0)].iter().map(|(key, (value, _))| (*key, value.clone())).collect();
    world.target.tables.insert(name(0), copied);
    world.starts.insert(name(0), 1);
    (world.acknowledged, world.heard) = (1, vec![1]);
    let (opened, at) = (position(1), position(1));
    world.target.stream = Some(StreamProgress { opened, position: at, ..StreamProgress::default() });
    let tables = vec![followed(0, Identity::Columns(vec![0]))];
    Case { world: Arc::new(Mutex::new(world)), tables, starts: vec![position(1)] }
}

fn options() -> FollowOptions {
    FollowOptions { mode: Mode::Batch, spill_bytes: 0, attempts: 4, ..FollowOptions::default() }
}

fn run<'a>(told: &'a Told, goal: Goal) -> Run<'a> {
    Run { options: options(), goal, stop: Stop::default(), told, disk_may_fill: false, from_seen: false }
}

/// Writes so many transactions, and returns the position after them.
fn write(case: &Case, transactions: usize) -> Position {
    let mut world = lock(&case.world);
    let before = world.history.log.len();
    while world.history.log.len() < before + transactions {
        world.write_logged();
    }
    position(world.transaction)
}

async fn until(case: &Case, what: impl Fn(&World) -> bool) {
    while !what(&lock(&case.world)) {
        tokio::time::sleep(Duration::from_millis(16)).await;
    }
}

/// Two runs of which the second takes the lock over. What is wrong in the end.
fn overtaken(seed: u64, plants: Plants) -> (Vec<String>, bool) {
    simulate(async {
        let case = Case::random(seed);
        lock(&case.world).plants = plants;
        let head = write(&case, 30);
        lock(&case.world).steal = true;
        let (one, two) = (Told::default(), Told::default());
        let mut random = Random::new(seed);
        let small = FollowOptions { batch_rows: random.between(1, 4) as usize, batch_bytes: 90, ..options() };
        let first = Run { options: small.clone(), ..run(&one, Goal::Past(head.clone())) };
        let second = Run { options: small, ..run(&two, Goal::Past(head)) };
        let wait = random.below(40);
        let later = async {
            for _ in 0..wait {
                tokio::task::yield_now().await;
            }
            case.run(&second).await
        };
        let (first, second) = tokio::join!(case.run(&first), later);
        let mut wrong: Vec<String> = std::mem::take(&mut lock(&case.world).violations);
        if first.is_err() && second.is_err() {
            wrong.push(format!("both: {first:?} {second:?}"));
        }
        let errors: Vec<_> = [first.err(), second.err()].into_iter().flatten().collect();
        let fenced = errors.iter().any(|error| error.cause == Cause::Locked);
        wrong.extend(errors.iter().filter(|_| !fenced).map(|error| format!("{error:?}")));
        wrong.extend(check_end(&case));
        (wrong, fenced)
    })
}

#[test]
fn f_05_g_15_a_run_that_was_overtaken_applies_nothing_more() {
    let mut fenced = 0;
    for seed in 0..200 {
        let (wrong, was) = overtaken(seed, Plants::default());
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        fenced += u32::from(was);
    }
    assert!(fenced > 20, "only {fenced} were overtaken while they ran");
    let planted = Plants { no_fence: true, ..Plants::default() };
    assert!((0..200).any(|seed| !overtaken(seed, planted).0.is_empty()), "a missing fence is not found");
}

/// Somebody else takes a row away that the source changes next.
fn foreign_write(plants: Plants) -> Option<Cause> {
    simulate(async {
        let case = quiet();
        lock(&case.world).plants = plants;
        lock(&case.world).target.tables.get_mut(&name(0)).expect("it is there").retain(|(key, _)| *key != 3);
        lock(&case.world).starts.clear();
        let told = Told::default();
        let head = write(&case, 20);
        let ended = case.run(&run(&told, Goal::Past(head))).await;
        ended.err().map(|error| error.cause)
    })
}

#[test]
fn f_62_g_11_a_row_that_is_not_there_ends_it() {
    assert_eq!(foreign_write(Plants::default()), Some(Cause::Diverged));
    let planted = Plants { upsert: true, ..Plants::default() };
    assert_ne!(foreign_write(planted), Some(Cause::Diverged), "applying without strictness is not found");
}

#[test]
fn g_21_reading_pauses_when_there_is_no_room_and_the_source_hears_of_us() {
    simulate(async {
        let case = quiet();
        lock(&case.world).stalled = true;
        let told = Told::default();
        write(&case, 400);
        let run = Run {
            options: FollowOptions { memory_bytes: 600, batch_rows: 5, ..options() },
            ..run(&told, Goal::Forever)
        };
        let look = async {
            until(&case, |_| told.count(|event| matches!(event, Event::ReadingPaused { .. })) == 1).await;
            let heard = lock(&case.world).spoken.len();
            tokio::time::sleep(Duration::from_secs(60)).await;
            let spoken = lock(&case.world).spoken[heard..].to_vec();
            assert!(spoken.len() >= 6, "{spoken:?}");
            assert!(spoken.windows(2).all(|two| two[1] - two[0] <= Duration::from_secs(10)), "{spoken:?}");
            assert_eq!(told.count(|event| matches!(event, Event::ReadingPaused { .. })), 1, "told once");
            assert_eq!(told.count(|event| matches!(event, Event::ReadingResumed { .. })), 0);
            let held = told.0.lock().unwrap().iter().filter_map(buffered).max().unwrap_or(0);
            // A quarter of the limit is kept for what is applied.
            assert!((450..4_000).contains(&held), "{held} bytes are held");
            lock(&case.world).stalled = false;
            until(&case, |world| world.acknowledged == world.transaction).await;
            run.stop.ask();
        };
        let (ended, ()) = tokio::join!(case.run(&run), look);
        assert_eq!(ended.expect("no error").1.ended, Ended::Stopped);
        assert!(told.count(|event| matches!(event, Event::ReadingResumed { .. })) > 0);
        assert_eq!(check_end(&case), [""; 0]);
    });
}

fn buffered(event: &Event) -> Option<u64> {
    match event {
        Event::Streamed { buffered_bytes, .. } => Some(*buffered_bytes),
        _ => None,
    }
}

#[test]
fn f_40_r_03_what_only_the_log_came_to_is_marked_now_and_then_and_acknowledged_after() {
    simulate(async {
        let case = quiet();
        let told = Told::default();
        let run = run(&told, Goal::Forever);
        let look = async {
            for _ in 0..60 {
                lock(&case.world).transaction += 3;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let commits = lock(&case.world).commits;
            assert!((4..=8).contains(&commits), "{commits} commits in a minute");
            run.stop.ask();
        };
        let (ended, ()) = tokio::join!(case.run(&run), look);
        let world = lock(&case.world);
        let (_, report) = ended.expect("no error");
        assert!(world.violations.is_empty(), "{:?}", world.violations);
        assert_eq!(report.position, position(world.transaction), "the end is marked too");
        assert_eq!(world.acknowledged, world.transaction, "and acknowledged");
        assert_eq!((report.transactions, report.counts.rows()), (0, 0));
    });
}

#[test]
fn at_a_low_rate_each_transaction_goes_at_once() {
    simulate(async {
        let case = quiet();
        let told = Told::default();
        let run = run(&told, Goal::Forever);
        let look = async {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(2)).await;
                let at = write(&case, 1);
                let before = tokio::time::Instant::now();
                let applied =
                    |world: &World| world.target.stream.as_ref().is_some_and(|stream| stream.position == at);
                until(&case, applied).await;
                assert!(before.elapsed() < Duration::from_millis(1500), "{:?}", before.elapsed());
            }
            run.stop.ask();
        };
        let (ended, ()) = tokio::join!(case.run(&run), look);
        assert!(ended.expect("no error").1.transactions >= 20);
    });
}

#[test]
fn h_24_what_the_log_told_before_an_error_is_applied_first() {
    for seed in 0..20 {
        simulate(async {
            let case = quiet();
            lock(&case.world).random = Random::new(seed);
            write(&case, 12);
            let (bad, before) = {
                let mut world = lock(&case.world);
                let bad = world.history.log[8].begin;
                world.unreadable = Some(bad);
                (bad, world.history.log[7].end)
            };
            let told = Told::default();
            let error = case.run(&run(&told, Goal::Forever)).await.expect_err("it cannot be read");
            assert_eq!(error.cause, Cause::Stale, "seed {seed}: {error:?}");
            let world = lock(&case.world);
            let at = world.target.stream.as_ref().map(|stream| stream.position.clone());
            let at: u64 = at.and_then(|at| at.0.parse().ok()).expect("a position");
            assert!((before..=bad).contains(&at), "seed {seed}: {at}, not {before} to {bad}");
            assert!(world.violations.is_empty(), "seed {seed}: {:?}", world.violations);
        });
    }
}

#[test]
fn f_52_a_transaction_larger_than_all_limits_passes_in_one_commit() {
    for (spill, acknowledge) in
        [(0, Acknowledge::Applied), (900, Acknowledge::Applied), (900, Acknowledge::Spooled)]
    {
        for mode in [Mode::Batch, Mode::Transactional] {
            simulate(async {
                let case = quiet();
                lock(&case.world).write_large(300);
                write(&case, 2);
                let told = Told::default();
                let head = position(lock(&case.world).transaction);
                lock(&case.world).spools = acknowledge == Acknowledge::Spooled;
                let run = Run {
                    options: FollowOptions {
                        mode,
                        acknowledge,
                        memory_bytes: 700,
                        spill_bytes: spill,
                        batch_rows: 20,
                        batch_bytes: 300,
                        ..options()
                    },
                    ..run(&told, Goal::Past(head))
                };
                // Twice on the way the target has had enough.
                lock(&case.world).busy_after = vec![12, 6];
                case.run(&run).await.expect("no error");
                assert_eq!(check_end(&case), [""; 0]);
                assert!(lock(&case.world).violations.is_empty());
                assert!(lock(&case.world).busy_after.is_empty(), "it was busy twice");
                let most = told.0.lock().unwrap().iter().filter_map(held).max().unwrap_or(0);
                assert!(most < 4_000, "{most} bytes were held: {spill} {acknowledge:?} {mode:?}");
            });
        }
    }
}

fn held(event: &Event) -> Option<u64> {
    match event {
        Event::Streamed { buffered_bytes, spilled_bytes, .. } => Some(buffered_bytes + spilled_bytes),
        _ => None,
    }
}

#[test]
fn following_ends_where_the_target_is_close_enough() {
    simulate(async {
        let case = quiet();
        write(&case, 20);
        let told = Told::default();
        let (_, report) = case.run(&run(&told, Goal::Lag(Duration::from_secs(5)))).await.expect("no error");
        assert_eq!(report.ended, Ended::Goal);
        assert_eq!(check_end(&case), [""; 0]);
        let last = told.0.lock().unwrap().iter().rev().find_map(|event| match event {
            Event::Streamed { lag, lag_bytes, tables, .. } => Some((*lag, *lag_bytes, tables.clone())),
            _ => None,
        });
        let (lag, bytes, tables) = last.expect("figures are told at the end");
        assert_eq!((lag, bytes), (Some(Duration::ZERO), Some(0)));
        assert_eq!(tables.len(), 1);
        assert_eq!((tables[0].applied, tables[0].captured), (report.counts, report.counts));
    });
}

#[test]
fn a_goal_that_is_reached_already_opens_nothing() {
    simulate(async {
        let case = quiet();
        let told = Told::default();
        for goal in [Goal::Past(position(1)), Goal::Exactly(position(1))] {
            let (_, report) = case.run(&run(&told, goal)).await.expect("no error");
            assert_eq!((report.ended, report.position), (Ended::Goal, position(1)));
        }
        assert_eq!(lock(&case.world).commits, 0);
        assert_eq!(told.count(|event| matches!(event, Event::StreamOpened { .. })), 0);
    });
}

#[test]
fn a_spool_needs_a_limit() {
    simulate(async {
        let case = quiet();
        let told = Told::default();
        let options = FollowOptions { acknowledge: Acknowledge::Spooled, ..options() };
        let error = case.run(&Run { options, ..run(&told, Goal::Forever) }).await.expect_err("refused");
        assert!(error.to_string().contains("spill limit"), "{error}");
    });
}
