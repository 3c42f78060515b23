//! One moment for all readers while others write, chunks that cover a table of any key, and
//! streams, tables and sessions that break on the way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use towpath::catalog::Projection;
use towpath::engine::{Cause, Chunk, Read, Snapshot};

use super::{outside, projection, read, read_all, run, source_with};
use crate::support::mariadb::{Database, Server};
use crate::support::mysql;
use crate::support::postgres::PASSWORD;
use crate::support::proxy::{Fault, Proxy, Way};
use crate::support::wait_until;
use crate::{need_mariadb, need_mysql};

const ROWS: usize = 200_000;

/// A table whose balances add up to nothing.
fn accounts(database: &Database) -> Projection {
    outside(|| {
        database.execute(&format!(
            "CREATE TABLE a (id int PRIMARY KEY, balance int NOT NULL, filler char(40) NOT NULL); \
             INSERT INTO a SELECT seq, 0, 'some bytes that make a row a bit longer' FROM seq_1_to_{ROWS}; \
             ANALYZE TABLE a"
        ))
    });
    projection(database, "a", &[("id", "int(11)"), ("balance", "int(11)"), ("filler", "char(40)")])
}

/// The chunks read at once; how many rows, and the sum of the second column.
async fn sum(snapshot: &dyn Snapshot, projection: &Projection, chunks: &[Chunk]) -> (usize, i64) {
    let reading = chunks.iter().map(|chunk| read(snapshot, projection, chunk));
    let parts = futures_util::future::try_join_all(reading).await.unwrap();
    let rows: Vec<Vec<String>> = parts.into_iter().flat_map(|(rows, _)| rows).collect();
    let balance = |row: &Vec<String>| row[1].trim_start_matches("int ").parse::<i64>().unwrap();
    (rows.len(), rows.iter().map(balance).sum())
}

/// Runs the work while two writers move what the balances are made of.
fn while_written(database: &Database, work: impl FnOnce() + std::panic::UnwindSafe) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..2usize {
            let (database, stop) = (database.clone(), &stop);
            scope.spawn(move || {
                run(async {
                    let mut session = database.session().await;
                    let mut at = worker * 7 + 1;
                    while !stop.load(Ordering::Relaxed) {
                        let (from, to) = (at % ROWS + 1, (at * 31) % ROWS + 1);
                        let transfer = format!(
                            "START TRANSACTION; UPDATE a SET balance = balance - 3 WHERE id = {from}; \
                             UPDATE a SET balance = balance + 3 WHERE id = {to}; COMMIT"
                        );
                        // Two writers may wait for each other; one of them is then told so.
                        let _ = session.query_drop(transfer).await;
                        at += 104_729;
                    }
                });
            });
        }
        let result = std::panic::catch_unwind(work);
        stop.store(true, Ordering::Relaxed);
        result.unwrap();
    });
}

#[test]
fn g04_all_readers_see_one_moment_while_others_write() {
    let database = need_mariadb!().database("moment");
    let projection = accounts(&database);
    let url = database.url();
    while_written(&database, || {
        run(async {
            let source = source_with(&url, 4).await.unwrap();
            let mut seen = String::new();
            for _ in 0..5 {
                let snapshot = source.snapshot().await.unwrap();
                let position = snapshot.position().0.clone();
                assert_ne!(position, seen, "nobody wrote");
                seen.clone_from(&position);
                assert!(position.contains("binlog.") && position.contains("/0-"), "{position}");
                let chunks = snapshot.chunks(&projection, 1 << 20).await.unwrap();
                assert!(chunks.len() > 4, "{}", chunks.len());
                assert_eq!(sum(snapshot.as_ref(), &projection, &chunks).await, (ROWS, 0));
                assert_eq!(snapshot.count(&projection).await.unwrap(), ROWS as u64);
                assert_eq!(chunks, snapshot.chunks(&projection, 1 << 20).await.unwrap());
                snapshot.close().await.unwrap();
            }
        });
    });
}

/// How many sessions a snapshot of this user has, once all its chunks were read and add up.
async fn sessions(database: &Database, user: &str, projection: &Projection) -> String {
    let source = source_with(&database.url_of(user, PASSWORD), 4).await.unwrap();
    let snapshot = source.snapshot().await.unwrap();
    let chunks = snapshot.chunks(projection, 1 << 20).await.unwrap();
    assert_eq!(sum(snapshot.as_ref(), projection, &chunks).await, (ROWS, 0));
    let counted = format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = '{user}'");
    let counted = outside(|| database.value(&counted));
    snapshot.close().await.unwrap();
    counted
}

/// A server without a log, where nothing but the test writes.
fn quiet_server() -> Option<Server> {
    Server::start(&["--skip-log-bin", "--innodb-stats-auto-recalc=OFF"])
}

#[test]
fn g04_without_a_log_there_are_as_many_readers_as_one_moment_can_be_had_for() {
    let Some(server) = quiet_server() else { return };
    let database = server.database("nolog");
    let projection = accounts(&database);
    for (user, rights) in [("locker", "RELOAD"), ("watcher", "PROCESS"), ("plain", "USAGE")] {
        server.admin(&format!(
            "CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; GRANT {rights} ON *.* TO {user}@'127.0.0.1'; \
             GRANT SELECT ON {}.* TO {user}@'127.0.0.1'",
            database.name
        ));
    }
    assert_eq!(run(sessions(&database, "watcher", &projection)), "4");
    while_written(&database, || {
        assert_eq!(run(sessions(&database, "locker", &projection)), "4");
        assert_eq!(run(sessions(&database, "plain", &projection)), "1");
    });
}

#[test]
fn rows_are_unchanged_only_where_both_snapshots_show_the_same() {
    let Some(server) = quiet_server() else { return };
    let database = server.database("unchanged");
    outside(|| {
        database.execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2); \
             CREATE TABLE other (id int PRIMARY KEY, v int) ENGINE = MyISAM; INSERT INTO other VALUES (1, 1)",
        )
    });
    let columns = [("id", "int(11)"), ("v", "int(11)")];
    let (t, other) = (projection(&database, "t", &columns), projection(&database, "other", &columns));
    let whole = Chunk { number: 0, of: 1, bounds: "whole".into(), rows: 0, bytes: 0 };
    run(async {
        let source = source_with(&database.url(), 2).await.unwrap();
        let first = source.snapshot().await.unwrap().position().clone();
        let same = async |projection: &Projection, rows: u64| {
            let snapshot = source.snapshot().await.unwrap();
            snapshot.unchanged(projection, &first, &[(whole.clone(), rows)]).await.unwrap()
        };
        assert!(same(&t, 2).await);
        assert!(!same(&t, 3).await);
        assert!(!same(&other, 1).await);
        outside(|| database.execute("UPDATE t SET v = 3 WHERE id = 2"));
        assert!(!same(&t, 2).await);
    });
}

/// Chunks of the table hold each row once. Returns the chunks, and the rows of the largest.
async fn covered(
    snapshot: &dyn Snapshot,
    projection: &Projection,
    chunk_bytes: u64,
    least: usize,
) -> (Vec<Chunk>, usize) {
    let whole = Chunk { number: 0, of: 1, bounds: "whole".into(), rows: 0, bytes: 0 };
    let (mut expected, _) = read(snapshot, projection, &whole).await.unwrap();
    let chunks = snapshot.chunks(projection, chunk_bytes).await.unwrap();
    let mut found = Vec::new();
    let mut largest = 0;
    for chunk in &chunks {
        let (rows, told) = read(snapshot, projection, chunk).await.unwrap();
        assert_eq!(rows.len() as u64, told);
        largest = largest.max(rows.len());
        found.extend(rows);
    }
    expected.sort();
    found.sort();
    let table = &projection.source;
    assert!(chunks.len() >= least, "{table}: {} chunks", chunks.len());
    assert!(found == expected, "{table}: {} rows of {}", found.len(), expected.len());
    if least > 1 {
        assert!(largest < expected.len() / 2, "{table}: one chunk has {largest} of {} rows", expected.len());
    }
    (chunks, largest)
}

#[test]
fn p_06_chunks_cover_tables_of_any_key() {
    let database = need_mariadb!().database("cut");
    outside(|| {
        database.execute(
            "CREATE TABLE gaps (id bigint unsigned PRIMARY KEY, v char(50)); \
             INSERT INTO gaps SELECT seq, 'x' FROM seq_1_to_20000; \
             INSERT INTO gaps SELECT 18446744073709551615 - seq, 'x' FROM seq_0_to_20000; \
             CREATE TABLE negative (id int PRIMARY KEY, v char(50)); \
             INSERT INTO negative SELECT 10000 - CAST(seq AS signed), 'x' FROM seq_1_to_20000; \
             CREATE TABLE tenants (t int, id int, v char(50), PRIMARY KEY (t, id)); \
             INSERT INTO tenants SELECT IF(seq < 30000, 7, seq), seq, 'x' FROM seq_1_to_31000; \
             CREATE TABLE texts (k varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, v char(50)); \
             INSERT INTO texts SELECT MD5(seq), 'x' FROM seq_1_to_20000; \
             INSERT INTO texts SELECT CONCAT('Ä', seq), 'x' FROM seq_1_to_500; \
             CREATE TABLE latin (k char(36) CHARACTER SET latin1 PRIMARY KEY, v char(50)); \
             INSERT INTO latin SELECT CONCAT('user-', seq), 'x' FROM seq_1_to_20000; \
             CREATE TABLE bytes (k binary(16) PRIMARY KEY, v char(50)); \
             INSERT INTO bytes SELECT UNHEX(MD5(seq)), 'x' FROM seq_1_to_20000; \
             CREATE TABLE second (a int, b int NOT NULL UNIQUE, v char(50)); \
             INSERT INTO second SELECT NULL, seq, 'x' FROM seq_1_to_20000; \
             CREATE TABLE keyless (a int, v char(50)); \
             INSERT INTO keyless SELECT seq, 'x' FROM seq_1_to_20000; \
             CREATE TABLE other (id int PRIMARY KEY, v char(50)) ENGINE = MyISAM; \
             INSERT INTO other SELECT seq, 'x' FROM seq_1_to_20000; \
             ANALYZE TABLE gaps, negative, tenants, texts, latin, bytes, second, keyless, other",
        )
    });
    let table = |name: &str, columns: &[(&str, &str)]| projection(&database, name, columns);
    run(async {
        let source = source_with(&database.url(), 2).await.unwrap();
        let snapshot = source.snapshot().await.unwrap();
        for (name, columns, least) in [
            ("gaps", vec![("id", "bigint(20) unsigned")], 4),
            ("negative", vec![("id", "int(11)")], 4),
            ("tenants", vec![("t", "int(11)"), ("id", "int(11)")], 4),
            ("texts", vec![("k", "varchar(40)")], 4),
            ("latin", vec![("k", "char(36)")], 4),
            ("bytes", vec![("k", "binary(16)")], 4),
            ("second", vec![("b", "int(11)")], 4),
            ("keyless", vec![("a", "int(11)")], 1),
            ("other", vec![("id", "int(11)")], 1),
        ] {
            covered(snapshot.as_ref(), &table(name, &columns), 200_000, least).await;
        }
    });
}

/// Table, type of its key, a value of row `seq`, and the literal of a value as the server prints it. The
/// last five have no counterpart on MySQL.
const SCALES: [(&str, &str, &str, &str); 13] = [
    ("counts", "bigint", "seq * 3", "{}"),
    ("days", "date", "'1990-01-01' + INTERVAL seq * 3 DAY", "DATE'{}'"),
    ("seconds", "datetime", "'2000-01-01' + INTERVAL seq * 7 SECOND", "TIMESTAMP'{}'"),
    ("micros", "datetime(6)", "'2000-01-01' + INTERVAL seq * 7 MICROSECOND", "TIMESTAMP'{}'"),
    ("moments", "timestamp(3)", "'2020-06-30' + INTERVAL seq * 3600001000 MICROSECOND", "TIMESTAMP'{}'"),
    ("prices", "decimal(12,4)", "seq * 1.0001 - 9000", "{}"),
    ("sums", "decimal(30,0)", "(CAST(seq AS signed) - 5000) * 1000000000000000000000", "{}"),
    ("years", "year", "1950 + seq % 100", "{}"),
    (
        "random_ids",
        "uuid",
        "CONCAT(LEFT(MD5(seq), 12), '4', MID(MD5(seq), 14, 3), 'a', MID(MD5(seq), 18))",
        "CAST('{}' AS UUID)",
    ),
    (
        "timed_ids",
        "uuid",
        "CONCAT(LPAD(HEX(1700000000000 + seq * 1000), 12, '0'), '7', MID(MD5(seq), 14, 3), 'a', MID(MD5(seq), 18))",
        "CAST('{}' AS UUID)",
    ),
    (
        "old_ids",
        "uuid",
        "CONCAT(LPAD(HEX(seq * 99991), 8, '0'), 'ea5b11f1bf4c02fc00000001')",
        "CAST('{}' AS UUID)",
    ),
    (
        "mixed_ids",
        "uuid",
        "CONCAT(LEFT(MD5(seq), 12), 1 + seq % 8, MID(MD5(seq), 14, 3), 'a', MID(MD5(seq), 18))",
        "CAST('{}' AS UUID)",
    ),
    (
        "words",
        "varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "CONCAT(IF(seq > 19990, 'ж', ''), MD5(seq))",
        "",
    ),
];

/// Chunks of about one size, whose bounds are values of the table and ranges of its key to the server.
fn cut_evenly(database: &Database, scales: &[(&str, &str, &str, &str)]) {
    run(async {
        let source = source_with(&database.url(), 1).await.unwrap();
        let snapshot = source.snapshot().await.unwrap();
        for (name, native, _, literal) in scales {
            let native = native.split(" CHARACTER").next().unwrap();
            let projection = projection(database, name, &[("k", native), ("n", "int(11)")]);
            let (chunks, largest) = covered(snapshot.as_ref(), &projection, 200_000, 4).await;
            assert!(
                largest * chunks.len() <= 4 * 20_000,
                "{name}: {largest} rows in one of {}",
                chunks.len()
            );
            for chunk in chunks.iter().skip(1).filter(|_| !literal.is_empty()) {
                let bounds: serde_json::Value = serde_json::from_str(&chunk.bounds).unwrap();
                let from = &bounds["from"][0];
                let value =
                    literal.replace("{}", from["printed"].as_str().or(from["number"].as_str()).unwrap());
                let there = format!("SELECT COUNT(*) > 0 FROM {name} WHERE k = {value}");
                assert_eq!(outside(|| database.value(&there)), "1", "{name}: {value} is not there");
                let explain = format!(
                    "EXPLAIN FORMAT=TRADITIONAL SELECT 1 FROM {name} FORCE INDEX (PRIMARY) WHERE k >= {value}"
                );
                let plan = outside(|| database.rows(&explain));
                assert!(plan[0].contains(&Some("range".to_string())), "{name}: {plan:?}");
            }
        }
    });
}

fn of_every_scale(
    server: &Server,
    scales: &[(&str, &str, &str, &str)],
    told: fn(&str) -> String,
) -> Database {
    let database = server.database("scales");
    for (name, native, value, _) in scales {
        database.execute(&told(&format!(
            "CREATE TABLE {name} (k {native} NOT NULL, n int, v char(50), PRIMARY KEY (k, n)); \
             INSERT INTO {name} SELECT {value}, seq, 'x' FROM seq_1_to_20000; ANALYZE TABLE {name}"
        )));
    }
    database
}

#[test]
fn p_06_keys_of_every_scale_are_cut_evenly() {
    let server = need_mariadb!();
    cut_evenly(&of_every_scale(server, &SCALES, str::to_string), &SCALES);
}

#[test]
fn p_06_keys_of_mysql_are_cut_evenly() {
    let server = need_mysql!();
    cut_evenly(&of_every_scale(server, &SCALES[..8], mysql::told), &SCALES[..8]);
}

#[test]
fn f_26_a_cut_stream_is_an_error_and_never_an_end() {
    let database = need_mariadb!().database("cut_stream");
    let projection = accounts(&database);
    for after in [100_000, 1_000_003, 3_000_000] {
        let proxy = outside(|| Proxy::before_foreign(database.port));
        let url = database.through(proxy.port).url();
        run(async {
            let source = source_with(&url, 1).await.unwrap();
            let snapshot = source.snapshot().await.unwrap();
            proxy.fault(Fault::Cut { way: Way::ToClient, after });
            let error = read_all(snapshot.as_ref(), &projection).await.expect_err("the stream was cut");
            assert_eq!(error.cause, Cause::Connection, "{error}");
            assert!(error.to_string().contains("a"), "{error}");
            assert!(!snapshot.alive().await);
            let gone = read_all(snapshot.as_ref(), &projection).await.expect_err("no session is left");
            assert_eq!(gone.cause, Cause::Connection, "{gone}");
        });
    }
}

#[test]
fn a_stream_that_nobody_reads_to_its_end_gives_its_session_back() {
    let database = need_mariadb!().database("abandoned");
    let projection = accounts(&database);
    run(async {
        let source = source_with(&database.url(), 1).await.unwrap();
        let snapshot = source.snapshot().await.unwrap();
        let whole = &snapshot.chunks(&projection, 1 << 40).await.unwrap()[0];
        for _ in 0..3 {
            let read = Read { projection: &projection, chunk: whole, batch_bytes: 1 << 12, paced: false };
            let mut stream = snapshot.read(&read).await.unwrap();
            stream.next().await.unwrap();
            drop(stream);
        }
        let rows =
            tokio::time::timeout(Duration::from_secs(60), read_all(snapshot.as_ref(), &projection)).await;
        assert_eq!(rows.expect("no session came back").unwrap().len(), ROWS);
        assert!(snapshot.alive().await);
    });
}

#[test]
fn f_23_a_table_that_changed_since_the_snapshot_is_stale() {
    let database = need_mariadb!().database("stale");
    for change in [
        "TRUNCATE t",
        "ALTER TABLE t ADD w int, ALGORITHM = COPY",
        "DROP TABLE t",
        "ALTER TABLE t CHANGE v w int",
    ] {
        outside(|| {
            database.execute("DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)")
        });
        let projection = projection(&database, "t", &[("id", "int(11)"), ("v", "int(11)")]);
        run(async {
            let source = source_with(&database.url(), 2).await.unwrap();
            let snapshot = source.snapshot().await.unwrap();
            assert_eq!(read_all(snapshot.as_ref(), &projection).await.unwrap().len(), 1);
            // No lock on the table outlives the read.
            outside(|| database.execute(&format!("SET lock_wait_timeout = 5; {change}")));
            let error = read_all(snapshot.as_ref(), &projection).await.expect_err(change);
            assert_eq!(error.cause, Cause::Stale, "{change}: {error}");
            assert!(error.to_string().contains(&projection.source.to_string()), "{error}");
            assert!(snapshot.alive().await);
        });
    }
}

/// MariaDB forgets that a table was rebuilt once its definition has left the cache, and would then show
/// an older snapshot what is there now.
#[test]
fn f_23_a_table_that_changed_is_stale_when_the_server_has_forgotten_it() {
    let Some(server) = Server::start(&["--table-definition-cache=400", "--table-open-cache=50"]) else {
        return;
    };
    let database = server.database("forgotten");
    let others = |make: fn(u32) -> String| (0..1200).map(make).collect::<Vec<_>>().join(";");
    database.execute(&others(|n| format!("CREATE TABLE x{n} (a int PRIMARY KEY)")));
    for change in [
        "TRUNCATE t",
        "ALTER TABLE t ADD w int, ALGORITHM = COPY",
        "ALTER TABLE t FORCE, ALGORITHM = INPLACE",
    ] {
        outside(|| {
            database.execute("DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)");
            // Times of definitions are told in seconds.
            std::thread::sleep(Duration::from_millis(1100));
        });
        let projection = projection(&database, "t", &[("id", "int(11)"), ("v", "int(11)")]);
        run(async {
            let source = source_with(&database.url(), 2).await.unwrap();
            let snapshot = source.snapshot().await.unwrap();
            outside(|| database.execute(&format!("UPDATE t SET v = 100; {change}")));
            // It forgets when it comes to it, within a second or two; the answer is the same.
            for _ in 0..2 {
                outside(|| {
                    database.execute("FLUSH TABLES");
                    database.execute(&others(|n| format!("SELECT * FROM x{n}")));
                });
                tokio::time::sleep(Duration::from_millis(1500)).await;
                let error = read_all(snapshot.as_ref(), &projection).await.expect_err(change);
                assert_eq!(error.cause, Cause::Stale, "{change}: {error}");
                let counted = snapshot.count(&projection).await.expect_err(change);
                assert_eq!(counted.cause, Cause::Stale, "{change}: {counted}");
            }
        });
    }
}

#[test]
fn f_21_a_snapshot_lives_as_long_as_one_of_its_sessions() {
    let database = need_mariadb!().database("killed");
    let projection = accounts(&database);
    let ids = |session: &str| outside(|| database.value(session));
    run(async {
        let source = source_with(&database.url(), 2).await.unwrap();
        let snapshot = source.snapshot().await.unwrap();
        let mine = format!(
            "SELECT GROUP_CONCAT(ID) FROM information_schema.PROCESSLIST WHERE DB = '{}' AND ID <> CONNECTION_ID()",
            database.name
        );
        let two = || ids(&mine).split(',').count() == 2;
        outside(|| wait_until("the session that only looked is gone", Duration::from_secs(20), two));
        let found = ids(&mine);
        let found: Vec<&str> = found.split(',').collect();
        outside(|| database.execute(&format!("KILL {}", found[0])));
        // Whichever session is taken, the snapshot is there for those who ask again.
        let mut rows = read_all(snapshot.as_ref(), &projection).await;
        if rows.is_err() {
            assert!(snapshot.alive().await);
            rows = read_all(snapshot.as_ref(), &projection).await;
        }
        assert_eq!(rows.unwrap().len(), ROWS);
        outside(|| database.execute(&format!("KILL {}", found[1])));
        outside(|| {
            wait_until("the session is gone", Duration::from_secs(20), || !ids(&mine).contains(found[1]))
        });
        assert!(read_all(snapshot.as_ref(), &projection).await.is_err());
        let _ = read_all(snapshot.as_ref(), &projection).await;
        assert!(!snapshot.alive().await);
    });
}
