//! The change log of a PostgreSQL source: what is in the snapshot and what comes after it, what
//! is told of a change, and what is left on the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use towpath::catalog::Type;
use towpath::change::{Changes, Followed, Position};
use towpath::engine::{Cause, ChangeStream, EngineError, Read, Source, Standing};

use super::replica::{
    Replica, WAIT, capture, catch_up, drain, followed, now, open, opened, rows, rows_of, spec, stream, told,
};
use super::{bigint, outside, run, source};
use crate::need_server;
use crate::support::postgres::Database;
use crate::support::proxy::{Fault, Proxy, Way};

fn accounts() -> Vec<Followed> {
    vec![
        followed(
            "accounts",
            &[("id", bigint(), "bigint"), ("balance", bigint(), "bigint"), ("note", Type::Text, "text")],
        ),
        followed(
            "history",
            &[("id", bigint(), "bigint"), ("account", bigint(), "bigint"), ("delta", bigint(), "bigint")],
        ),
    ]
}

const BANK: &str = "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL, note text); \
    CREATE TABLE history (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account bigint, delta bigint); \
    INSERT INTO accounts SELECT i, 1000, repeat('n', 200) FROM generate_series(1, 4000) i; ANALYZE accounts";

#[test]
fn a_capture_opened_before_a_write_sees_it() {
    let server = need_server!();
    let database = server.database("sees");
    database.execute(BANK);
    let tables = accounts();
    run(async {
        let source = source(&database.url()).await.unwrap();
        assert_eq!(capture(source.as_ref()).standing("p").await.unwrap(), Standing::Missing);
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        outside(|| {
            database.execute("INSERT INTO history (account, delta) VALUES (1, 5), (2, -5)");
            database.execute("UPDATE accounts SET balance = balance + 5 WHERE id = 1");
            database.execute("DELETE FROM accounts WHERE id = 3; UPDATE accounts SET id = 9001 WHERE id = 4");
        });
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(replica.commits, 3);
        assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
        let Standing::Kept { acknowledged, .. } = capture(source.as_ref()).standing("p").await.unwrap()
        else {
            panic!("the capture stands");
        };
        assert!(capture(source.as_ref()).reached(&replica.position, &acknowledged));
        let removed = capture(source.as_ref()).close("p").await.unwrap();
        assert_eq!(removed.len(), 2, "{removed:?}");
        assert!(capture(source.as_ref()).close("p").await.unwrap().is_empty());
        assert_eq!(capture(source.as_ref()).standing("p").await.unwrap(), Standing::Missing);
    });
}

/// Transfers with history, deletes, moves of keys, rollbacks.
fn write(database: &Database, seed: u64, stop: &AtomicBool) {
    let mut session = database.session();
    let mut random = seed;
    while !stop.load(Ordering::Relaxed) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (a, b) = (random >> 33 & 3999, random >> 17 & 3999);
        let sql = match random >> 60 {
            0 => format!("BEGIN; UPDATE accounts SET balance = 0 WHERE id = {a}; ROLLBACK"),
            1 => format!("DELETE FROM accounts WHERE id = {a}"),
            2 => format!("INSERT INTO accounts VALUES ({a}, 7, 'again') ON CONFLICT DO NOTHING"),
            3 => format!("UPDATE accounts SET id = id + 100000 WHERE id = {a}"),
            4 => format!(
                "BEGIN; SAVEPOINT s; UPDATE accounts SET balance = -1 WHERE id = {a}; ROLLBACK TO s; INSERT INTO history (account, delta) VALUES ({b}, 0); COMMIT"
            ),
            _ => format!(
                "BEGIN; UPDATE accounts SET balance = balance - 1 WHERE id = {}; UPDATE accounts SET balance = balance + 1 \
                 WHERE id = {}; INSERT INTO history (account, delta) VALUES ({a}, -1), ({b}, 1); COMMIT",
                a.min(b),
                a.max(b)
            ),
        };
        // Two that wait for each other are told so, and one is rolled back.
        if session.try_execute(&sql).is_err() {
            session.execute("ROLLBACK");
        }
    }
}

/// Lets the writers end where a test fails, which would wait for them.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn g_05_snapshot_and_stream_are_everything_exactly_once() {
    let server = need_server!();
    let database = server.database("once");
    database.execute(BANK);
    let proxy = Proxy::before(database.port);
    let tables = accounts();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 1..4 {
            let (database, stop) = (&database, &stop);
            scope.spawn(move || write(database, seed, stop));
        }
        let _stops = Stops(&stop);
        run(async {
            let source = source(&database.url_at(proxy.port)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut replica = opened(source.as_ref(), "p", &tables).await;
            let start = replica.position.clone();
            let mut cuts = 0;
            for after in [20_000, 50_001, 90_007, 30_011, 70_003] {
                proxy.fault(Fault::Cut { way: Way::ToClient, after });
                let mut stream = match reconnect(source.as_ref(), &replica, &tables, &start).await {
                    Ok(stream) => stream,
                    Err(error) => panic!("{error}"),
                };
                let mut changes = Changes::default();
                loop {
                    changes.clear();
                    let next = stream.next(&mut changes, 4096).await;
                    replica.take(&changes);
                    match next {
                        Ok(()) => stream.acknowledge(&replica.position).await.unwrap_or_default(),
                        Err(error) => {
                            assert!(error.retryable(), "{error}");
                            break;
                        }
                    }
                }
                cuts += 1;
                replica.forget();
            }
            assert_eq!((cuts, proxy.struck()), (5, 5));
            stop.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
            drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
            assert!(replica.commits > 100, "{} commits prove little", replica.commits);
            assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
        });
    });
}

async fn reconnect(
    source: &dyn Source,
    replica: &Replica,
    tables: &[Followed],
    start: &Position,
) -> Result<Box<dyn ChangeStream>, EngineError> {
    let starts = vec![start.clone(); tables.len()];
    capture(source).changes(&spec("p", tables), &replica.position, &starts).await
}

#[test]
fn g_05_tables_that_are_copied_later_have_their_own_start() {
    let server = need_server!();
    let database = server.database("later");
    database.execute(BANK);
    let tables = accounts();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (writer, stop) = (&database, &stop);
        scope.spawn(move || write(writer, 9, stop));
        let _stops = Stops(stop);
        run(async {
            let source = source(&database.url()).await.unwrap();
            let first = capture(source.as_ref()).open(&spec("p", &tables), WAIT).await.unwrap();
            let mut replica = Replica::new(&tables, first.position());
            replica.copy(first.as_ref(), 0).await;
            let mut starts = vec![first.position().clone(); 2];
            first.close().await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let second = capture(source.as_ref()).snapshot("p", WAIT).await.unwrap();
            starts[1] = second.position().clone();
            assert_ne!(starts[0], starts[1]);
            replica.copy(second.as_ref(), 1).await;
            second.close().await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            stop.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
            let head = capture(source.as_ref()).head().await.unwrap();
            let from = starts[0].clone();
            let changes = capture(source.as_ref()).changes(&spec("p", &tables), &from, &starts).await;
            let mut stream = changes.unwrap();
            catch_up(stream.as_mut(), &mut replica, |at| capture(source.as_ref()).reached(at, &head)).await;
            assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
            let slots = outside(|| database.value(SLOTS));
            assert_eq!(slots, "1", "the second slot went with its snapshot");
        });
    });
}

const SLOTS: &str = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
const PUBLICATIONS: &str = "SELECT count(*) FROM pg_publication";

fn left(database: &Database) -> (String, String) {
    outside(|| (database.value(SLOTS), database.value(PUBLICATIONS)))
}

#[test]
fn f_17_leftovers_of_an_earlier_attempt_are_replaced() {
    let server = need_server!();
    let database = server.database("again");
    database.execute(BANK);
    let tables = accounts();
    run(async {
        let source = source(&database.url()).await.unwrap();
        // Dropped without a word, as by a crash: the slot stays.
        let first = capture(source.as_ref()).open(&spec("p", &tables), WAIT).await.unwrap();
        let old = first.position().clone();
        drop(first);
        outside(|| database.execute("DELETE FROM accounts WHERE id > 10"));
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        assert_ne!(replica.position, old);
        assert_eq!(left(&database), ("1".into(), "1".into()));
        let start = replica.position.clone();
        outside(|| database.execute("UPDATE accounts SET balance = 1"));
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
        // What the first one promised is gone, and said to be.
        let starts = vec![old.clone(); 2];
        let error = capture(source.as_ref()).changes(&spec("p", &tables), &old, &starts).await.err().unwrap();
        assert_eq!(error.cause, Cause::Stale, "{error}");
    });
}

#[test]
fn f_18_whoever_keeps_a_slot_from_being_made_is_named_and_nothing_is_left() {
    let server = need_server!();
    let database = server.database("blocked");
    database.execute(BANK);
    let tables = accounts();
    let mut writer = database.session();
    writer.execute("BEGIN; UPDATE accounts SET balance = 2 WHERE id = 1");
    let pid = writer.value("SELECT pg_backend_pid()");
    database
        .execute("BEGIN; UPDATE accounts SET balance = 3 WHERE id = 2; PREPARE TRANSACTION 'forgotten one'");
    run(async {
        let source = source(&database.url()).await.unwrap();
        let wait = Duration::from_millis(1500);
        let error = capture(source.as_ref()).open(&spec("p", &tables), wait).await.err().unwrap();
        assert_eq!(error.cause, Cause::Busy, "{error}");
        let text = error.to_string();
        assert!(text.contains("'forgotten one'") && text.contains(&format!("pid {pid} ")), "{text}");
        assert_eq!(left(&database), ("0".into(), "0".into()));
        let error = capture(source.as_ref()).snapshot("p", wait).await.err().unwrap();
        assert_eq!(error.cause, Cause::Busy, "{error}");
        outside(|| database.execute("ROLLBACK PREPARED 'forgotten one'"));
        outside(|| writer.execute("COMMIT"));
        assert_eq!(left(&database), ("0".into(), "0".into()));
        capture(source.as_ref()).open(&spec("p", &tables), WAIT).await.unwrap().close().await.unwrap();
        assert_eq!(left(&database), ("1".into(), "1".into()));
    });
}

#[test]
fn f_17_f_18_a_slot_that_is_still_in_the_making_is_replaced() {
    let server = need_server!();
    let database = server.database("making");
    database.execute(BANK);
    let tables = accounts();
    database.execute("BEGIN; UPDATE accounts SET balance = 3 WHERE id = 2; PREPARE TRANSACTION 'making'");
    run(async {
        let source = source(&database.url()).await.unwrap();
        // As a run that is killed while it waits: its server process waits on.
        let capture = capture(source.as_ref());
        let killed = spec("p", &tables);
        let killed = tokio::time::timeout(Duration::from_millis(800), capture.open(&killed, WAIT));
        assert!(killed.await.is_err(), "it waits");
        assert_eq!(left(&database), ("1".into(), "1".into()));
        let error = capture.open(&spec("p", &tables), Duration::from_secs(1)).await.err().unwrap();
        assert!(error.to_string().contains("'making'"), "{error}");
        assert_eq!(left(&database), ("0".into(), "0".into()));
    });
    database.execute("ROLLBACK PREPARED 'making'");
}

#[test]
fn s_23_prepared_transactions_count_when_they_are_committed() {
    let server = need_server!();
    let database = server.database("prepared");
    database.execute(BANK);
    let tables = accounts();
    database
        .execute("BEGIN; UPDATE accounts SET balance = 11 WHERE id = 1; PREPARE TRANSACTION 'before_s23'");
    run(async {
        let source = source(&database.url()).await.unwrap();
        let committer = std::thread::spawn({
            let database = database.clone();
            move || {
                std::thread::sleep(Duration::from_millis(700));
                database.execute("COMMIT PREPARED 'before_s23'");
            }
        });
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        outside(|| committer.join().unwrap());
        let start = replica.position.clone();
        assert_eq!(replica.tables[0][&vec![Some("1".to_string())]][1].as_deref(), Some("11"));
        outside(|| {
            let prepare =
                "BEGIN; UPDATE accounts SET balance = 12 WHERE id = 1; PREPARE TRANSACTION 'after_s23'";
            database.execute(prepare);
            database.execute("BEGIN; DELETE FROM accounts WHERE id = 5; PREPARE TRANSACTION 'never_s23'");
            database.execute("UPDATE accounts SET balance = 7 WHERE id = 7");
        });
        // Read, and read again from there on, before the end of the two is known.
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(replica.commits, 1);
        outside(|| {
            database.execute("COMMIT PREPARED 'after_s23'");
            database.execute("ROLLBACK PREPARED 'never_s23'");
        });
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(replica.commits, 2);
        assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
    });
}

#[test]
fn f_20_objects_of_others_are_refused_and_stay() {
    let server = need_server!();
    let database = server.database("foreign");
    database.execute(BANK);
    let tables = accounts();
    run(async {
        let source = source(&database.url()).await.unwrap();
        open(source.as_ref(), "p", &tables).await;
        let name = outside(|| database.value("SELECT pubname FROM pg_publication"));
        assert!(name.starts_with("towpath_p_"), "{name}");
        capture(source.as_ref()).close("p").await.unwrap();
        for (make, unmake) in [
            (format!("CREATE PUBLICATION {name}"), format!("DROP PUBLICATION {name}")),
            (
                format!("SELECT pg_create_logical_replication_slot('{name}', 'test_decoding')"),
                format!("SELECT pg_drop_replication_slot('{name}')"),
            ),
            (
                format!("SELECT pg_create_physical_replication_slot('{name}')"),
                format!("SELECT pg_drop_replication_slot('{name}')"),
            ),
        ] {
            outside(|| database.execute(&make));
            let before = left(&database);
            let error = capture(source.as_ref()).open(&spec("p", &tables), WAIT).await.err().unwrap();
            assert!(error.to_string().contains("did not make it"), "{error}");
            let error = capture(source.as_ref()).close("p").await.err().unwrap();
            assert!(error.to_string().contains("did not make it"), "{error}");
            let found = capture(source.as_ref()).check(&spec("p", &tables)).await.unwrap();
            assert!(found.iter().any(|obstacle| obstacle.blocks && obstacle.at == name), "{found:?}");
            assert_eq!(left(&database), before);
            outside(|| database.execute(&unmake));
        }
    });
}

#[test]
fn f_40_a_target_that_went_back_is_refused() {
    let server = need_server!();
    let database = server.database("back");
    database.execute(BANK);
    let tables = accounts();
    run(async {
        let source = source(&database.url()).await.unwrap();
        let start = open(source.as_ref(), "p", &tables).await;
        outside(|| database.execute("DELETE FROM accounts WHERE id = 1"));
        let first = told(source.as_ref(), "p", &start, &tables).await;
        assert_eq!(first.rows().len(), 1);
        // Read again: nothing was acknowledged.
        let second = told(source.as_ref(), "p", &start, &tables).await;
        assert_eq!(second.rows(), first.rows());
        let mut replica = Replica::new(&tables, &second.at);
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        let mut stream = stream(source.as_ref(), "p", &replica, &tables, &start).await;
        stream.acknowledge(&replica.position).await.unwrap();
        drop(stream);
        for _ in 0..100 {
            let Standing::Kept { acknowledged, .. } = capture(source.as_ref()).standing("p").await.unwrap()
            else {
                panic!("the capture stands");
            };
            if acknowledged == replica.position {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let error = told(source.as_ref(), "p", &start, &tables).await;
        assert_eq!(error.error().cause, Cause::Stale);
        assert!(error.error().to_string().contains("acknowledged beyond"), "{}", error.error());
        // A position that the log has not come to is of another history.
        let ahead = Position("FFFF/0".into());
        let error = told(source.as_ref(), "p", &ahead, &tables).await;
        assert!(error.error().to_string().contains("last transactions were lost"), "{}", error.error());
    });
}

#[test]
fn f_21_f_24_the_snapshot_of_a_capture_is_checked_as_any_other() {
    let server = need_server!();
    let database = server.database("held");
    database.execute(BANK);
    let tables = accounts();
    run(async {
        let source = source(&database.url()).await.unwrap();
        let snapshot = capture(source.as_ref()).open(&spec("p", &tables), WAIT).await.unwrap();
        assert!(snapshot.alive().await);
        assert_eq!(rows_of(snapshot.as_ref(), &tables[0].projection).await.len(), 4000);
        assert!(snapshot.alive().await, "being asked does not end it");
        outside(|| database.execute("TRUNCATE accounts"));
        let chunks = snapshot.chunks(&tables[0].projection, u64::MAX).await.unwrap();
        let read =
            Read { projection: &tables[0].projection, chunk: &chunks[0], batch_bytes: 1 << 16, paced: false };
        let mut rows = snapshot.read(&read).await.unwrap();
        assert_eq!(rows.next().await.err().unwrap().cause, Cause::Stale);
        drop(rows);
        outside(|| {
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender' \
                 AND datname = current_database()",
            )
        });
        for _ in 0..100 {
            if !snapshot.alive().await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!snapshot.alive().await);
    });
}
