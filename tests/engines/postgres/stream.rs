//! What the log tells of each kind of change, in what order, and how far it says to have come.

use std::time::Duration;

use towpath::catalog::{Cast, Form, Name, Type};
use towpath::change::{Changes, Followed, Identity, Position, Record};
use towpath::engine::{Cause, Source};

use super::replica::{
    Replica, WAIT, capture, drain, followed, now, open, opened, rows, spec, stream, told, values, version,
};
use super::{bigint, map, outside, run, source};
use crate::need_server;
use crate::support::postgres::Database;
use crate::support::proxy::Proxy;

/// A database with these statements run, and its end.
async fn made(database: &Database, sql: &str) -> Box<dyn Source> {
    outside(|| database.execute(sql));
    source(&database.url()).await.unwrap()
}

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
fn s_22_a_change_of_structure_stops_the_stream_at_its_place() {
    let server = need_server!();
    let cases = [
        (
            "ALTER TABLE t ADD extra int",
            "INSERT INTO t VALUES (2, 2, 2)",
            "a column extra that the plan does not know",
        ),
        ("ALTER TABLE t DROP n", "INSERT INTO t VALUES (2)", "the column n that the plan carries is gone"),
        (
            "ALTER TABLE t RENAME n TO m",
            "INSERT INTO t VALUES (2, 2)",
            "the column n that the plan carries is gone",
        ),
        ("ALTER TABLE t ALTER n TYPE int", "INSERT INTO t VALUES (2, 2)", "no longer of the type bigint"),
        ("ALTER TABLE t RENAME TO u", "INSERT INTO u VALUES (2, 2)", "it is called public.u now"),
        (
            "ALTER TABLE t RENAME TO u; CREATE TABLE t (id bigint PRIMARY KEY, n bigint)",
            "INSERT INTO u VALUES (2, 2)",
            "it is called public.u now",
        ),
    ];
    for (ddl, write, says) in cases {
        let database = server.database("ddl");
        let tables = vec![numbers("t"), numbers("fine")];
        run(async {
            let sql = "CREATE TABLE t (id bigint PRIMARY KEY, n bigint); CREATE TABLE fine (id bigint PRIMARY KEY, n bigint)";
            let source = made(&database, sql).await;
            let start = open(source.as_ref(), "p", &tables).await;
            outside(|| {
                database.execute("INSERT INTO t VALUES (1, 1)");
                // Structure and rows in one transaction; those before it and beside it are fine.
                database.execute(&format!("BEGIN; INSERT INTO fine VALUES (1, 1); {ddl}; {write}; COMMIT"));
            });
            let told = told(source.as_ref(), "p", &start, &tables).await;
            assert_eq!(
                told.words,
                ["begin", "insert 0 [] [1,1]", "commit", "begin", "insert 1 [] [1,1]"],
                "{ddl}"
            );
            let error = told.error();
            assert_eq!((error.cause, error.contract), (Cause::Stale, Some("C508")), "{error}");
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.object.as_deref(), Some("public.t"));
        });
    }
}

#[test]
fn s_22_what_the_plan_skips_may_come_and_a_known_change_may_pass() {
    let server = need_server!();
    let database = server.database("skips");
    let mut tables = vec![numbers("t")];
    run(async {
        let source = made(&database, "CREATE TABLE t (id bigint PRIMARY KEY, n bigint)").await;
        let start = open(source.as_ref(), "p", &tables).await;
        outside(|| {
            database.execute("INSERT INTO t VALUES (1, 1)");
            database.execute("ALTER TABLE t ADD extra text DEFAULT 'e'; ALTER TABLE t ALTER n SET DEFAULT 5");
            database.execute("INSERT INTO t VALUES (2, 2)");
            database.execute(
                "CREATE INDEX ON t (n); ALTER TABLE t ADD CHECK (n < 100); CREATE TABLE u AS SELECT * FROM t",
            );
            database.execute("INSERT INTO t VALUES (3, 3)");
        });
        let stopped = told(source.as_ref(), "p", &start, &tables).await;
        assert_eq!(stopped.rows(), ["insert 0 [] [1,1]"]);
        assert!(stopped.error().to_string().contains("extra"));
        // The plan says that it does not want it.
        tables[0].skipped = vec!["extra".into()];
        let went = told(source.as_ref(), "p", &stopped.at, &tables).await;
        assert_eq!(went.rows(), ["insert 0 [] [2,2]", "insert 0 [] [3,3]"]);
        // Or that it wants it.
        tables[0].skipped.clear();
        tables[0].projection.columns.push(map("extra", &Type::Text, "text"));
        let went = told(source.as_ref(), "p", &stopped.at, &tables).await;
        assert_eq!(went.rows(), ["insert 0 [] [2,2,'e]", "insert 0 [] [3,3,'e]"]);
    });
}

#[test]
fn s_22_skipped_columns_are_not_even_published() {
    let server = need_server!();
    if version(server) < 15 {
        return;
    }
    let database = server.database("list");
    let mut tables = vec![numbers("t")];
    tables[0].skipped = vec!["secret".into()];
    run(async {
        let source = made(&database, "CREATE TABLE t (id bigint PRIMARY KEY, secret text, n bigint)").await;
        let start = open(source.as_ref(), "p", &tables).await;
        let list = outside(|| database.value("SELECT prattrs FROM pg_publication_rel"));
        assert_eq!(list, "1 3");
        outside(|| {
            database.execute("INSERT INTO t VALUES (1, 's', 1); UPDATE t SET secret = 'x'; DELETE FROM t")
        });
        let told_first = told(source.as_ref(), "p", &start, &tables).await;
        assert_eq!(told_first.rows(), ["insert 0 [] [1,1]", "update 0 [] [1,1]", "delete 0 [1,?] []"]);
        outside(|| database.execute("ALTER TABLE t ADD extra text"));
        let added = told(source.as_ref(), "p", &start, &tables).await;
        assert!(
            added.error().to_string().contains("a column extra that the plan does not know"),
            "{}",
            added.error()
        );
        tables[0].skipped.push("extra".into());
        assert!(told(source.as_ref(), "p", &start, &tables).await.error.is_none());
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

const TREE: &str = "CREATE TABLE m (id bigint, n bigint, PRIMARY KEY (id)) PARTITION BY RANGE (id); \
    CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10); \
    CREATE TABLE m2 (n bigint, gone int, id bigint NOT NULL, PRIMARY KEY (id)); ALTER TABLE m2 DROP gone; \
    ALTER TABLE m ATTACH PARTITION m2 FOR VALUES FROM (10) TO (20); \
    CREATE TABLE base (id bigint PRIMARY KEY, n bigint); CREATE TABLE derived (PRIMARY KEY (id)) INHERITS (base)";

const TREE_WRITES: &str = "INSERT INTO m VALUES (1, 1), (11, 11); UPDATE m SET id = 12 WHERE id = 1; DELETE FROM m \
    WHERE id = 11; INSERT INTO base VALUES (1, 1); INSERT INTO derived VALUES (2, 2); TRUNCATE m";

#[test]
fn s_16_s_17_a_tree_is_followed_through_its_root_or_by_its_leaves() {
    let server = need_server!();
    let database = server.database("tree");
    run(async {
        let source = made(&database, TREE).await;
        let root = vec![numbers("m"), numbers("base")];
        let start = open(source.as_ref(), "root", &root).await;
        let leaves = vec![numbers("m1"), numbers("m2"), numbers("base"), numbers("derived")];
        let other = open(source.as_ref(), "leaves", &leaves).await;
        outside(|| database.execute(TREE_WRITES));
        assert_eq!(
            told(source.as_ref(), "root", &start, &root).await.rows(),
            [
                "insert 0 [] [1,1]",
                "insert 0 [] [11,11]",
                "delete 0 [1,?] []",
                "insert 0 [] [12,1]",
                "delete 0 [11,?] []",
                "insert 1 [] [1,1]",
                "truncate [0] false"
            ]
        );
        assert_eq!(
            told(source.as_ref(), "leaves", &other, &leaves).await.rows(),
            [
                "insert 0 [] [1,1]",
                "insert 1 [] [11,11]",
                "delete 0 [1,?] []",
                "insert 1 [] [12,1]",
                "delete 1 [11,?] []",
                "insert 2 [] [1,1]",
                "insert 3 [] [2,2]",
                "truncate [0, 1] false"
            ]
        );
    });
}

#[test]
fn s_16_a_partition_that_comes_or_goes_stops_the_stream() {
    let server = need_server!();
    let database = server.database("attach");
    run(async {
        let source = made(&database, TREE).await;
        let root = vec![numbers("m")];
        let start = open(source.as_ref(), "root", &root).await;
        let leaves = vec![numbers("m1"), numbers("m2")];
        let other = open(source.as_ref(), "leaves", &leaves).await;
        // Attached while the stream runs: its first row is not taken.
        let replica = Replica::new(&root, &start);
        let mut live = stream(source.as_ref(), "root", &replica, &root, &start).await;
        outside(|| {
            database.execute("INSERT INTO m VALUES (1, 1)");
            database.execute("CREATE TABLE m3 PARTITION OF m FOR VALUES FROM (20) TO (30)");
            database.execute("INSERT INTO m VALUES (21, 21)");
        });
        let mut told_live = super::replica::Told::default();
        while told_live.error.is_none() {
            told_live.more(live.as_mut()).await;
        }
        assert_eq!(told_live.rows(), ["insert 0 [] [1,1]"]);
        assert_eq!(told_live.error().cause, Cause::Stale);
        assert!(told_live.error().to_string().contains("m3"), "{}", told_live.error());
        for (plan, from, tables) in [("root", &start, &root), ("leaves", &other, &leaves)] {
            let error = told(source.as_ref(), plan, from, tables).await;
            assert_eq!(error.error().cause, Cause::Stale);
            assert!(error.error().to_string().contains("attached or detached"), "{}", error.error());
        }
        outside(|| database.execute("DROP TABLE m3"));
        assert!(told(source.as_ref(), "leaves", &other, &leaves).await.error.is_none());
        outside(|| database.execute("ALTER TABLE m DETACH PARTITION m1"));
        assert_eq!(told(source.as_ref(), "leaves", &other, &leaves).await.error().cause, Cause::Stale);
    });
}

#[test]
fn s_02_s_04_rows_are_told_apart_as_the_table_says() {
    let server = need_server!();
    let database = server.database("identity");
    let sql = "CREATE TABLE i (id bigint, n bigint NOT NULL); CREATE UNIQUE INDEX by_n ON i (n) INCLUDE (id); \
        ALTER TABLE i REPLICA IDENTITY USING INDEX by_n; \
        CREATE TABLE f (id bigint, n bigint); ALTER TABLE f REPLICA IDENTITY FULL";
    let mut tables = vec![numbers("i"), numbers("f")];
    tables[0].identity = Identity::Columns(vec![1]);
    tables[1].identity = Identity::Whole;
    run(async {
        let source = made(&database, sql).await;
        let catalog = source.inspect().await.unwrap();
        let identity = |name| catalog.table(&Name::new("public", name)).unwrap().replica_identity.clone();
        assert_eq!(identity("i"), towpath::catalog::ReplicaIdentity::Index("by_n".into()));
        assert_eq!(identity("f"), towpath::catalog::ReplicaIdentity::Full);
        let found = capture(source.as_ref()).check(&spec("p", &tables)).await.unwrap();
        assert!(!found.iter().any(|obstacle| obstacle.blocks), "{found:?}");
        let start = open(source.as_ref(), "p", &tables).await;
        outside(|| {
            database.execute("INSERT INTO i VALUES (1, 7); UPDATE i SET n = 8; DELETE FROM i");
            database.execute("INSERT INTO f VALUES (1, 1), (1, 1); UPDATE f SET n = NULL; DELETE FROM f");
        });
        assert_eq!(
            told(source.as_ref(), "p", &start, &tables).await.rows(),
            [
                "insert 0 [] [1,7]",
                "update 0 [?,7] [1,8]",
                "delete 0 [?,8] []",
                "insert 1 [] [1,1]",
                "insert 1 [] [1,1]",
                "update 1 [1,1] [1,NULL]",
                "update 1 [1,1] [1,NULL]",
                "delete 1 [1,NULL] []",
                "delete 1 [1,NULL] []"
            ]
        );
    });
}

#[test]
fn y_24_a_filter_is_kept_by_the_server_or_refused() {
    let server = need_server!();
    let database = server.database("filter");
    let filtered = |filter: &str| {
        let mut table = numbers("t");
        table.projection.filter = Some(filter.into());
        vec![table]
    };
    run(async {
        let source = made(&database, "CREATE TABLE t (id bigint PRIMARY KEY, n bigint)").await;
        let tables = filtered("id % 2 = 0 OR id > 100");
        if outside(|| version(server)) < 15 {
            let error = capture(source.as_ref()).open(&spec("p", &tables), WAIT).await.err().unwrap();
            assert!(error.to_string().contains("before PostgreSQL 15"), "{error}");
            let found = capture(source.as_ref()).check(&spec("p", &tables)).await.unwrap();
            assert!(found.iter().any(|found| found.blocks && found.message.contains("before PostgreSQL 15")));
            return;
        }
        let start = open(source.as_ref(), "p", &tables).await;
        outside(|| {
            database.execute("INSERT INTO t VALUES (1, 1), (2, 2), (4, 4), (101, 1)");
            database.execute(
                "UPDATE t SET n = 0; UPDATE t SET id = 3 WHERE id = 4; UPDATE t SET id = 6 WHERE id = 1",
            );
            database.execute("DELETE FROM t");
        });
        assert_eq!(
            told(source.as_ref(), "p", &start, &tables).await.rows(),
            [
                "insert 0 [] [2,2]",
                "insert 0 [] [4,4]",
                "insert 0 [] [101,1]",
                "update 0 [] [2,0]",
                "update 0 [] [4,0]",
                "update 0 [] [101,0]",
                "delete 0 [4,?] []",
                "insert 0 [] [6,0]",
                "delete 0 [2,?] []",
                "delete 0 [101,?] []",
                "delete 0 [6,?] []"
            ]
        );
        capture(source.as_ref()).close("p").await.unwrap();
        for bad in ["n > 5", "id > 5 AND n IS NULL", "id > random()", "nosuch(id)"] {
            let tables = filtered(bad);
            let wait = Duration::from_secs(5);
            let error = capture(source.as_ref()).open(&spec("p", &tables), wait).await.err().unwrap();
            assert_eq!(error.contract, Some("E128"), "{bad}: {error}");
            let blocks = capture(source.as_ref()).check(&spec("p", &tables)).await.unwrap();
            let found = blocks.iter().any(|obstacle| obstacle.code == "E128" && obstacle.blocks);
            assert_eq!(found, bad.contains('n') && !bad.contains('('), "{bad}: {blocks:?}");
            // The application goes on undisturbed.
            outside(|| database.execute("INSERT INTO t VALUES (1, 1); UPDATE t SET n = 2; DELETE FROM t"));
            assert_eq!(outside(|| database.value("SELECT count(*) FROM pg_publication")), "0");
        }
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

#[test]
fn a_zone_that_only_the_source_can_shift_is_refused() {
    let server = need_server!();
    let database = server.database("zone");
    let mut table = followed(
        "t",
        &[
            ("id", bigint(), "bigint"),
            ("at", Type::Timestamp { precision: 6 }, "timestamp without time zone"),
        ],
    );
    table.projection.columns[1].target_type = Type::TimestampTz { precision: 6 };
    table.projection.columns[1].cast =
        Some(Cast { native: "text".into(), zone: Some("Europe/Berlin".into()) });
    let tables = vec![table];
    run(async {
        let source = made(&database, "CREATE TABLE t (id bigint PRIMARY KEY, at timestamp)").await;
        let start = open(source.as_ref(), "p", &tables).await;
        let error = told(source.as_ref(), "p", &start, &tables).await;
        assert!(error.error().to_string().contains("zone"), "{}", error.error());
        let found = capture(source.as_ref()).check(&spec("p", &tables)).await.unwrap();
        assert!(
            found.iter().any(|obstacle| obstacle.blocks && obstacle.message.contains("zone")),
            "{found:?}"
        );
    });
}
