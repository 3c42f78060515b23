//! Tables as the log describes them: changes of structure, partition trees, what tells rows apart,
//! filters. Each difference from the plan stops the stream at its place.

use std::time::Duration;

use towpath::catalog::{Cast, Name, Type};
use towpath::change::{Followed, Identity};
use towpath::engine::Cause;

use super::replica::{Replica, Told, WAIT, capture, followed, made, open, spec, stream, told, version};
use super::{bigint, map, outside, run};
use crate::need_server;

fn numbers(name: &str) -> Followed {
    followed(name, &[("id", bigint(), "bigint"), ("n", bigint(), "bigint")])
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

/// The log shows nothing of a column that the list does not have: the stream looks for it.
#[test]
fn f_25_a_column_added_beside_the_list_stops_the_stream() {
    let server = need_server!();
    if version(server) < 15 {
        return;
    }
    let database = server.database("beside");
    let mut tables = vec![numbers("t")];
    tables[0].skipped = vec!["secret".into()];
    run(async {
        let source = made(&database, "CREATE TABLE t (id bigint PRIMARY KEY, secret text, n bigint)").await;
        let start = open(source.as_ref(), "p", &tables).await;
        let replica = Replica::new(&tables, &start);
        let mut live = stream(source.as_ref(), "p", &replica, &tables, &start).await;
        outside(|| database.execute("ALTER TABLE t ADD extra text"));
        let mut told = Told { at: start.clone(), ..Told::default() };
        while told.error.is_none() {
            outside(|| database.execute("INSERT INTO t (id, extra) SELECT count(*), 'x' FROM t"));
            told.more(live.as_mut()).await;
            told.error = told.error.take().or(live.acknowledge(&start).await.err());
        }
        assert_eq!(told.error().cause, Cause::Stale, "{}", told.error());
        let says = "a column extra that the plan does not know";
        assert!(told.error().to_string().contains(says), "{}", told.error());
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
        // Where the list names both, the leaves are meant.
        let both = vec![numbers("m"), numbers("m1"), numbers("m2")];
        let start = open(source.as_ref(), "both", &both).await;
        outside(|| database.execute("INSERT INTO m VALUES (1, 1), (11, 11); TRUNCATE m"));
        assert_eq!(
            told(source.as_ref(), "both", &start, &both).await.rows(),
            ["insert 1 [] [1,1]", "insert 2 [] [11,11]", "truncate [1, 2] false"]
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
        let mut told_live = Told::default();
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
