//! The change log of a PostgreSQL source: what is in the snapshot and what comes after it, what
//! is told of a change, and what is left on the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use towpath::catalog::{Form, Type};
use towpath::change::{Changes, Followed, Position, Record, RowKind};
use towpath::engine::{Capture, ChangeStream, EngineError, Source, Standing};

use super::replica::{Replica, catch_up, followed, rows_of, spec, values};
use super::{bigint, outside, run, source};
use crate::need_server;
use crate::support::postgres::Database;
use crate::support::proxy::{Fault, Proxy, Way};

const WAIT: Duration = Duration::from_secs(30);

fn capture(source: &dyn Source) -> &dyn Capture {
    source.capture().expect("PostgreSQL has a change log")
}

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

/// Rows of a table as the replica has them.
async fn now(source: &dyn Source, tables: &[Followed]) -> Vec<Vec<Vec<Option<String>>>> {
    let snapshot = source.snapshot().await.unwrap();
    let mut all = Vec::new();
    for followed in tables {
        let mut rows = rows_of(snapshot.as_ref(), &followed.projection).await;
        rows.sort();
        all.push(rows);
    }
    all
}

fn rows(replica: &Replica) -> Vec<Vec<Vec<Option<String>>>> {
    let sorted = |rows: &super::replica::Rows| {
        let mut rows: Vec<_> = rows.values().cloned().collect();
        rows.sort();
        rows
    };
    replica.tables.iter().map(sorted).collect()
}

/// A capture that was just opened, with its tables copied.
async fn opened(source: &dyn Source, plan: &str, tables: &[Followed]) -> Replica {
    let snapshot = capture(source).open(&spec(plan, tables), WAIT).await.unwrap();
    let mut replica = Replica::new(tables, snapshot.position());
    for table in 0..tables.len() {
        replica.copy(snapshot.as_ref(), table).await;
    }
    snapshot.close().await.unwrap();
    replica
}

async fn stream(
    source: &dyn Source,
    plan: &str,
    replica: &Replica,
    tables: &[Followed],
    start: &Position,
) -> Box<dyn ChangeStream> {
    let starts = vec![start.clone(); tables.len()];
    capture(source).changes(&spec(plan, tables), &replica.position, &starts).await.unwrap()
}

/// Everything that was committed before now is in the replica then.
async fn drain(
    source: &dyn Source,
    plan: &str,
    replica: &mut Replica,
    tables: &[Followed],
    start: &Position,
) {
    let head = capture(source).head().await.unwrap();
    let mut stream = stream(source, plan, replica, tables, start).await;
    catch_up(stream.as_mut(), replica, |at| capture(source).reached(at, &head)).await;
}

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
        run(async {
            let source = source(&database.url_at(proxy.port)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut replica = opened(source.as_ref(), "p", &tables).await;
            let start = replica.position.clone();
            let mut cuts = 0;
            let mut cut_in_half = 0;
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
                cut_in_half += u32::from(changes.is_open());
                replica.forget();
            }
            assert_eq!((cuts, proxy.struck()), (5, 5));
            stop.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
            drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
            let _ = cut_in_half;
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

/// What is told of one statement: kinds, old and new rows.
async fn told(
    source: &dyn Source,
    plan: &str,
    from: &Position,
    tables: &[Followed],
) -> (Vec<String>, Position) {
    let head = capture(source).head().await.unwrap();
    let starts = vec![from.clone(); tables.len()];
    let mut stream = capture(source).changes(&spec(plan, tables), from, &starts).await.unwrap();
    let mut words = Vec::new();
    let mut at = from.clone();
    while !capture(source).reached(&at, &head) {
        let mut changes = Changes::default();
        stream.next(&mut changes, 1 << 20).await.unwrap();
        for record in changes.records() {
            match record {
                Record::Begin { .. } => words.push("begin".into()),
                Record::Row(row) => {
                    let kind = match row.kind {
                        RowKind::Insert => "insert",
                        RowKind::Update => "update",
                        RowKind::Delete => "delete",
                    };
                    let list = |values: Vec<Option<String>>| {
                        let words: Vec<_> =
                            values.into_iter().map(|value| value.unwrap_or("?".into())).collect();
                        words.join(",")
                    };
                    words.push(format!(
                        "{kind} {} [{}] [{}]",
                        row.table,
                        list(values(row.old)),
                        list(values(row.new))
                    ));
                }
                Record::Truncate { tables, restart_identity } => {
                    let mut tables: Vec<_> = tables.iter().collect();
                    tables.sort();
                    words.push(format!("truncate {tables:?} {restart_identity}"));
                }
                Record::Commit { position, .. } => {
                    words.push("commit".into());
                    at = Position(position.into());
                }
                Record::Reached { position } => at = Position(position.into()),
            }
        }
    }
    (words, at)
}

#[test]
fn s_06_s_12_a_moved_key_and_unchanged_large_values() {
    let server = need_server!();
    let database = server.database("large");
    database.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, n bigint, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; \
         INSERT INTO t VALUES (1, 1, repeat('x', 9000)), (2, NULL, 'small')",
    );
    let mut tables = vec![followed(
        "t",
        &[("id", bigint(), "bigint"), ("n", bigint(), "bigint"), ("big", Type::Text, "text")],
    )];
    tables[0].projection.form = Form::NativeText;
    run(async {
        let source = source(&database.url()).await.unwrap();
        let snapshot = capture(source.as_ref()).open(&spec("p", &tables), WAIT).await.unwrap();
        let start = snapshot.position().clone();
        outside(|| database.execute("UPDATE t SET n = 2 WHERE id = 1"));
        outside(|| database.execute("UPDATE t SET id = 10 WHERE id = 1"));
        outside(|| database.execute("UPDATE t SET id = 20 WHERE id = 2; DELETE FROM t"));
        let (words, _) = told(source.as_ref(), "p", &start, &tables).await;
        assert_eq!(
            words,
            [
                "begin",
                "update 0 [] ['1,'2,?]",
                "commit",
                "begin",
                "update 0 ['1,?,?] ['10,'2,?]",
                "commit",
                "begin",
                "update 0 ['2,?,?] ['20,NULL,'small]",
                "delete 0 ['10,?,?] []",
                "delete 0 ['20,?,?] []",
                "commit"
            ]
        );
        capture(source.as_ref()).close("p").await.unwrap();
    });
}
