//! What the log tells of each kind of change, in what order, and how far it says to have come.

use std::time::Duration;

use towpath::catalog::{Cast, Form, Name, Type};
use towpath::change::{Changes, Followed, Identity, Position, Record};

use super::replica::{capture, drain, followed, made, now, open, opened, rows, spec, stream, told, values};
use super::{bigint, outside, run, source};
use crate::need_server;
use crate::support::proxy::Proxy;

fn numbers(name: &str) -> Followed {
    followed(name, &[("id", bigint(), "bigint"), ("n", bigint(), "bigint")])
}

fn native(mut followed: Followed) -> Followed {
    followed.projection.form = Form::NativeText;
    followed
}

#[test]
fn s_06_s_12_a_moved_key_and_unchanged_large_values() {
    let server = need_server!();
    let database = server.database("large");
    let sql = "CREATE TABLE t (id bigint PRIMARY KEY, n bigint, big text); ALTER TABLE t ALTER big SET STORAGE \
        EXTERNAL; INSERT INTO t VALUES (1, 1, repeat('x', 9000)), (2, NULL, 'small')";
    let columns = [("id", bigint(), "bigint"), ("n", bigint(), "bigint"), ("big", Type::Text, "text")];
    let mut tables = vec![native(followed("t", &columns))];
    run(async {
        let source = made(&database, sql).await;
        let start = open(source.as_ref(), "p", &tables).await;
        outside(|| {
            database.execute("UPDATE t SET n = 2 WHERE id = 1");
            database.execute("UPDATE t SET id = 10 WHERE id = 1");
            database.execute("UPDATE t SET id = 20 WHERE id = 2; DELETE FROM t");
        });
        let first = told(source.as_ref(), "p", &start, &tables).await;
        assert_eq!(
            first.words,
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
        // The whole row is told under REPLICA IDENTITY FULL.
        outside(|| {
            database.execute(
                "INSERT INTO t VALUES (3, 3, repeat('y', 9000)); ALTER TABLE t REPLICA IDENTITY FULL",
            )
        });
        let start = open(source.as_ref(), "p", &tables).await;
        outside(|| database.execute("UPDATE t SET n = NULL"));
        let big = "y".repeat(9000);
        let full = told(source.as_ref(), "p", &start, &tables).await;
        assert_eq!(full.rows(), [format!("update 0 ['3,'3,'{big}] ['3,NULL,?]")]);
        tables[0].identity = Identity::Whole;
        let whole = told(source.as_ref(), "p", &start, &tables).await;
        assert_eq!(whole.rows(), full.rows());
    });
}

#[test]
fn s_21_truncates_name_their_tables() {
    let server = need_server!();
    let database = server.database("truncate");
    let sql = "CREATE TABLE parent (id bigint PRIMARY KEY, n bigint); CREATE TABLE child (id bigint PRIMARY KEY, n \
        bigint REFERENCES parent); CREATE TABLE other (id bigint PRIMARY KEY REFERENCES parent); \
        CREATE TABLE lone (id bigint PRIMARY KEY, n bigint)";
    let tables = vec![numbers("parent"), numbers("child"), numbers("lone")];
    run(async {
        let source = made(&database, sql).await;
        let start = open(source.as_ref(), "p", &tables).await;
        outside(|| {
            database.execute("TRUNCATE lone");
            database.execute("TRUNCATE lone, parent RESTART IDENTITY CASCADE");
            database.execute("TRUNCATE other");
            database.execute("INSERT INTO lone VALUES (1); TRUNCATE lone; INSERT INTO lone VALUES (2)");
        });
        let told = told(source.as_ref(), "p", &start, &tables).await;
        assert_eq!(
            told.rows(),
            [
                "truncate [2] false",
                "truncate [0, 1, 2] true",
                "insert 2 [] [1,NULL]",
                "truncate [2] false",
                "insert 2 [] [2,NULL]"
            ]
        );
    });
}

#[test]
fn s_25_f_53_only_committed_rows_are_told() {
    let server = need_server!();
    let database = server.database("savepoints");
    let tables = vec![numbers("t")];
    run(async {
        let source = made(&database, "CREATE TABLE t (id bigint PRIMARY KEY, n bigint)").await;
        let start = open(source.as_ref(), "p", &tables).await;
        outside(|| {
            database.execute(
                "BEGIN; INSERT INTO t VALUES (1, 1); SAVEPOINT a; INSERT INTO t VALUES (2, 2); SAVEPOINT b; \
                 INSERT INTO t VALUES (3, 3); ROLLBACK TO b; INSERT INTO t VALUES (4, 4); RELEASE a; \
                 SAVEPOINT c; DELETE FROM t; ROLLBACK TO c; COMMIT",
            );
            database.execute("BEGIN; DELETE FROM t; ROLLBACK");
            database.execute(
                "DO $$ BEGIN FOR i IN 100..10099 LOOP BEGIN INSERT INTO t VALUES (i, 1); IF i % 2 = 0 THEN RAISE \
                 division_by_zero; END IF; EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$",
            );
        });
        let told = told(source.as_ref(), "p", &start, &tables).await;
        assert_eq!(told.rows()[..3], ["insert 0 [] [1,1]", "insert 0 [] [2,2]", "insert 0 [] [4,4]"]);
        assert_eq!(told.rows().len(), 3 + 5000);
        assert_eq!(told.words.iter().filter(|word| *word == "commit").count(), 2);
    });
}

#[test]
fn s_26_what_does_not_concern_us_moves_the_position_only() {
    let server = need_server!();
    let database = server.database("empty");
    let tables = vec![numbers("t")];
    run(async {
        let source = made(
            &database,
            "CREATE TABLE t (id bigint PRIMARY KEY, n bigint); CREATE TABLE u (id bigint); CREATE TYPE mood AS ENUM ('a')",
        )
        .await;
        let start = open(source.as_ref(), "p", &tables).await;
        outside(|| {
            database.execute("SELECT pg_logical_emit_message(true, 'towpath', 'x')");
            database.execute("SELECT pg_logical_emit_message(false, 'towpath', 'x')");
            database.execute("INSERT INTO u VALUES (1)");
            database.execute("CREATE TABLE v (m mood)");
            database.execute("SELECT txid_current()");
        });
        let told = told(source.as_ref(), "p", &start, &tables).await;
        assert!(told.error.is_none() && told.words.is_empty(), "{:?}", told.words);
        assert_ne!(told.at, start);
    });
}

/// One that began first commits last: it is told last, with rows that were written before.
#[test]
fn h_01_transactions_come_in_the_order_of_their_commits() {
    let server = need_server!();
    let database = server.database("inversion");
    let tables = vec![numbers("t")];
    run(async {
        let source = made(&database, "CREATE TABLE t (id bigint PRIMARY KEY, n bigint)").await;
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        let mut slow = outside(|| {
            let mut slow = database.session();
            slow.execute("BEGIN; INSERT INTO t VALUES (1, 1)");
            database.execute("INSERT INTO t VALUES (2, 2)");
            slow
        });
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(replica.commits, 1);
        outside(move || {
            slow.execute("INSERT INTO t VALUES (3, 3); COMMIT");
            drop(slow);
        });
        // A new connection goes on from the position, and must not take the slow one for old.
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(replica.commits, 2);
        assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
    });
}

/// A commit may stand exactly where the one before it ended, with nothing between them.
#[test]
fn h_01_r4_a_transaction_that_commits_where_another_ended_is_told() {
    let server = need_server!();
    let database = server.database("adjacent");
    let tables = vec![numbers("t")];
    run(async {
        let source = made(&database, "CREATE TABLE t (id bigint PRIMARY KEY, n bigint)").await;
        let replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        // Others write to this server, too: one pair without anything between is enough.
        outside(|| {
            let (mut slow, mut fast) = (database.session(), database.session());
            for id in 1..=20 {
                slow.execute(&format!("BEGIN; INSERT INTO t VALUES ({id}, 1)"));
                fast.execute(&format!("BEGIN; INSERT INTO t VALUES ({}, 2)", id + 100));
                fast.execute("COMMIT");
                slow.execute("COMMIT");
            }
        });
        let mut stream = stream(source.as_ref(), "p", &replica, &tables, &start).await;
        let (mut changes, mut begins, mut ends) = (Changes::default(), Vec::new(), Vec::new());
        while ends.len() < 40 {
            changes.clear();
            stream.next(&mut changes, 1 << 20).await.unwrap();
            for record in changes.records() {
                match record {
                    Record::Begin { position } => begins.push(Position(position.into())),
                    Record::Commit { position, .. } => ends.push(Position(position.into())),
                    _ => {}
                }
            }
        }
        drop(stream);
        let next = (1..40).find(|at| begins[*at] == ends[at - 1]).expect("two commits side by side");
        let again = told(source.as_ref(), "p", &ends[next - 1], &tables).await;
        assert_eq!(again.rows().len(), 40 - next, "{:?}", again.words);
    });
}

/// The log is told as text, which the settings of its session make: a setting of the database would
/// cut floats off, and shift or turn moments around.
#[test]
fn f_64_r8_settings_of_the_database_do_not_reach_the_stream() {
    let server = need_server!();
    let database = server.database("settings");
    for setting in [
        "extra_float_digits = 0",
        "DateStyle = 'SQL, DMY'",
        "TimeZone = 'Asia/Kolkata'",
        "bytea_output = 'escape'",
    ] {
        database.execute(&format!("ALTER DATABASE {database} SET {setting}"));
    }
    let columns = [
        ("id", bigint(), "bigint"),
        ("d", Type::Float { bits: 64 }, "double precision"),
        ("m", Type::TimestampTz { precision: 6 }, "timestamp with time zone"),
        ("b", Type::Blob, "bytea"),
    ];
    let tables = vec![native(followed("t", &columns))];
    run(async {
        let sql = "CREATE TABLE t (id bigint PRIMARY KEY, d double precision, m timestamptz, b bytea)";
        let source = made(&database, sql).await;
        let start = open(source.as_ref(), "p", &tables).await;
        let insert =
            "INSERT INTO t VALUES (1, 0.1::float8 + 0.2::float8, '2024-02-03 21:59:59.5+00', '\\x00ff')";
        outside(|| database.execute(insert));
        let told = told(source.as_ref(), "p", &start, &tables).await;
        assert_eq!(told.rows(), ["insert 0 [] ['1,'0.30000000000000004,'2024-02-03 21:59:59.5+00,'\\x00ff]"]);
    });
}

/// What an open transaction wrote is not on the disk, and nothing else brings it there: an idle
/// server would have the drain wait for its next checkpoint.
#[test]
fn a_drain_ends_while_a_transaction_is_open() {
    let server = need_server!();
    let database = server.database("open");
    let tables = vec![numbers("t")];
    run(async {
        let source = made(&database, "CREATE TABLE t (id bigint PRIMARY KEY, n bigint)").await;
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        let open = outside(|| {
            let mut open = database.session();
            open.execute("BEGIN; INSERT INTO t SELECT i, i FROM generate_series(10, 300) i");
            database.execute("INSERT INTO t VALUES (1, 1)");
            open.execute("INSERT INTO t SELECT i, i FROM generate_series(301, 700) i");
            open
        });
        // The server by itself would need fifteen.
        let soon = Duration::from_secs(8);
        let drained = drain(source.as_ref(), "p", &mut replica, &tables, &start);
        tokio::time::timeout(soon, drained).await.expect("the head is not reached");
        assert_eq!((replica.commits, replica.tables[0].len()), (1, 1));
        outside(move || drop(open));
    });
}

/// Whatever position is told, everything that was committed before it was told before it.
#[test]
fn h_02_no_position_runs_ahead_of_what_was_told() {
    let server = need_server!();
    let database = server.database("ahead");
    database.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, n bigint); CREATE TABLE u (id bigint); \
         CREATE TABLE ends (id bigint PRIMARY KEY, lsn pg_lsn)",
    );
    let proxy = Proxy::before(database.port);
    proxy.delay(Duration::from_millis(3));
    let tables = vec![numbers("t")];
    run(async {
        let source = source(&database.url_at(proxy.port)).await.unwrap();
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        let writer = std::thread::spawn({
            let database = database.clone();
            move || {
                let mut session = database.session();
                for id in 1..300 {
                    session.execute(&format!("INSERT INTO t SELECT {id}, {id} FROM generate_series(1, 1)"));
                    let end = session.value("SELECT pg_current_wal_insert_lsn()");
                    session.execute(&format!(
                        "INSERT INTO ends VALUES ({id}, '{end}'); INSERT INTO u VALUES (1)"
                    ));
                }
            }
        });
        let mut stream = stream(source.as_ref(), "p", &replica, &tables, &start).await;
        let mut positions: Vec<(Position, usize)> = Vec::new();
        let (mut changes, mut rows) = (Changes::default(), 0);
        while replica.tables[0].len() < 299 {
            changes.clear();
            stream.next(&mut changes, 4096).await.unwrap();
            for record in changes.records() {
                match record {
                    Record::Row(_) => rows += 1,
                    Record::Commit { position, .. } | Record::Reached { position } => {
                        positions.push((Position(position.into()), rows));
                    }
                    _ => {}
                }
            }
            replica.take(&changes);
            stream.acknowledge(&replica.position).await.unwrap();
        }
        outside(|| writer.join().unwrap());
        let ends = outside(|| database.rows("SELECT id, lsn FROM ends ORDER BY id"));
        assert!(positions.len() > 50, "{} positions prove little", positions.len());
        for (position, rows) in positions {
            let committed = ends.iter().filter(|row| {
                let end = Position(row[1].clone().unwrap());
                // The end of the log after a commit is the commit's own end, or something after it.
                capture(source.as_ref()).reached(&position, &end)
            });
            assert!(committed.count() <= rows, "{position} was told after {rows} rows");
        }
    });
}

/// What was told is confirmed only once the caller says that it is safe.
#[test]
fn r3_g_09_only_what_is_safe_is_confirmed() {
    let server = need_server!();
    let database = server.database("confirmed");
    let tables = vec![numbers("t")];
    run(async {
        let source = made(&database, "CREATE TABLE t (id bigint PRIMARY KEY, n bigint)").await;
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        outside(|| database.execute("INSERT INTO t VALUES (1, 1); INSERT INTO t VALUES (2, 2)"));
        let mut stream = stream(source.as_ref(), "p", &replica, &tables, &start).await;
        let mut changes = Changes::default();
        while replica.commits == 0 {
            changes.clear();
            stream.next(&mut changes, 1 << 20).await.unwrap();
            replica.take(&changes);
        }
        let confirmed = || {
            let sql =
                "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE database = current_database()";
            Position(outside(|| database.value(sql)))
        };
        for (safe, goes_on) in [(&start, false), (&replica.position, true)] {
            stream.acknowledge(safe).await.unwrap();
            // The server has taken it once the slot moves; where it must not, it has had time to.
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                if capture(source.as_ref()).reached(&confirmed(), &replica.position) {
                    break;
                }
            }
            assert!(
                capture(source.as_ref()).reached(safe, &confirmed()),
                "{safe} is safe, and {}",
                confirmed()
            );
            assert_eq!(capture(source.as_ref()).reached(&confirmed(), &replica.position), goes_on);
        }
    });
}

#[test]
fn h_18_rows_that_share_a_place_in_the_log_are_all_told() {
    let server = need_server!();
    let database = server.database("multi");
    let tables = vec![numbers("t")];
    run(async {
        let source = made(&database, "CREATE TABLE t (id bigint PRIMARY KEY, n bigint)").await;
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        outside(|| {
            // COPY writes one record for a page of rows.
            database.execute("COPY t (id) FROM PROGRAM 'seq 5000'; UPDATE t SET n = id + 1");
        });
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(replica.tables[0].len(), 5000);
        assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
    });
}

const TYPES: &str = "CREATE TYPE mood AS ENUM ('so, so', 'o\"k'); CREATE TABLE t (id bigint PRIMARY KEY, a boolean, \
    b smallint, c real, d double precision, e numeric, f char(5), g varchar(9), h text, i bytea, j date, k time, \
    l timestamp, m timestamptz, n interval, o uuid, p json, q jsonb, r int[], s mood, t bit(3), u inet, v timestamp)";

const VALUES: &str = "INSERT INTO t VALUES \
    (1, true, -32768, 0.1, 1e-320, 12.3400, 'ab', 'x y', E'a\\tb\\n\\\\N\\\\.\\u2028', '\\x00ff5c', '0044-03-15 BC', \
     '24:00:00', '2024-02-29 23:59:59.5', '2024-02-29 23:59:59.5+02', '1 year 2 mons -3 days 04:05:06.5', \
     'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\": 1, \"a\":  2}', '{\"b\": 1.50}', '{1,NULL,3}', 'so, so', B'101', \
     '10.0.0.1/8', 'infinity'), \
    (2, false, 32767, 'NaN', '-Infinity', 'NaN', '', '', '', '', 'infinity', '00:00:00.000001', '-infinity', \
     '0044-03-15 00:00:00+00 BC', '-178000000 years', '00000000-0000-0000-0000-000000000000', 'null', '[]', '{}', \
     'o\"k', B'000', '::1', '2024-01-01 12:00:00.25'); INSERT INTO t (id) VALUES (3)";

fn typed() -> Followed {
    let enumerated =
        Type::Enum { name: Some(Name::new("public", "mood")), labels: vec!["so, so".into(), "o\"k".into()] };
    let mut table = followed(
        "t",
        &[
            ("id", bigint(), "bigint"),
            ("a", Type::Bool, "boolean"),
            ("b", Type::Int { bits: 16 }, "smallint"),
            ("c", Type::Float { bits: 32 }, "real"),
            ("d", Type::Float { bits: 64 }, "double precision"),
            ("e", Type::Decimal { precision: None, scale: None }, "numeric"),
            ("f", Type::Char { length: 5 }, "character(5)"),
            ("g", Type::VarChar { length: 9 }, "character varying(9)"),
            ("h", Type::Text, "text"),
            ("i", Type::Blob, "bytea"),
            ("j", Type::Date, "date"),
            ("k", Type::Time { precision: 6, zone: false }, "time without time zone"),
            ("l", Type::Timestamp { precision: 6 }, "timestamp without time zone"),
            ("m", Type::TimestampTz { precision: 6 }, "timestamp with time zone"),
            ("n", Type::Interval, "interval"),
            ("o", Type::Uuid, "uuid"),
            ("p", Type::Json { binary: false }, "json"),
            ("q", Type::Json { binary: true }, "jsonb"),
            ("r", Type::Array { of: Box::new(Type::Int { bits: 32 }) }, "integer[]"),
            ("s", enumerated, "public.mood"),
            ("t", Type::Bit { length: Some(3), varying: false }, "bit(3)"),
            ("u", Type::Network { native: "inet".into() }, "inet"),
            ("v", Type::Timestamp { precision: 6 }, "timestamp without time zone"),
        ],
    );
    let shifted = &mut table.projection.columns[22];
    shifted.target_type = Type::TimestampTz { precision: 6 };
    shifted.cast = Some(Cast { native: "timestamptz".into(), zone: Some("UTC".into()) });
    table
}

#[test]
fn p_02_values_are_the_same_in_the_copy_and_in_the_stream() {
    let server = need_server!();
    let database = server.database("types");
    let tables = vec![typed()];
    run(async {
        let source = made(&database, TYPES).await;
        let mut streamed = opened(source.as_ref(), "p", &tables).await;
        let start = streamed.position.clone();
        outside(|| database.execute(VALUES));
        drain(source.as_ref(), "p", &mut streamed, &tables, &start).await;
        assert_eq!(streamed.tables[0].len(), 3);
        assert_eq!(rows(&streamed), now(source.as_ref(), &tables).await);
        // And as the server's own text, where both ends are PostgreSQL.
        let native = vec![native(typed())];
        let mut changes = Changes::default();
        let starts = vec![start.clone()];
        let from = open(source.as_ref(), "q", &native).await;
        outside(|| database.execute("UPDATE t SET b = b"));
        let stream = capture(source.as_ref()).changes(&spec("q", &native), &from, &starts).await;
        let mut stream = stream.unwrap();
        while changes.commits() == 0 {
            stream.next(&mut changes, 1 << 20).await.unwrap();
        }
        let told = changes.records().filter_map(|record| match record {
            Record::Row(row) => Some(values(row.new)),
            _ => None,
        });
        let told: Vec<Vec<String>> = told.map(|row| row.into_iter().map(Option::unwrap).collect()).collect();
        // By the type's own output, which a cast to text is not for all.
        let text = |name: &str| format!("CASE WHEN {name} IS NOT NULL THEN format('%s', {name}) END");
        let list: Vec<String> = native[0].projection.columns.iter().map(|c| text(&c.source)).collect();
        let texts = outside(|| {
            let settings = "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'";
            let mut session = database.session();
            session.execute(settings);
            session.rows(&format!("SELECT {} FROM t ORDER BY id", list.join(", ")))
        });
        let texts: Vec<Vec<String>> = texts
            .into_iter()
            .map(|row| {
                row.into_iter().map(|cell| cell.map_or("NULL".into(), |text| format!("'{text}"))).collect()
            })
            .collect();
        assert_eq!(told, texts);
        assert_eq!(told.len(), 3);
    });
}
