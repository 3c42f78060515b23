//! The change log of a MySQL source: what differs from MariaDB's. GTIDs and their absence, JSON as
//! it is kept, foreign keys whose work is logged, and where following has to stop.

use std::time::Duration;

use towpath::change::{Changes, Position};
use towpath::engine::{Cause, Standing};

use super::capture::{edges, held_lost_lifted_and_sealed};
use super::log::{BANK, accounts, everything_exactly_once, log_and_select_agree, source, stops_at, whole};
use super::{outside, run, source_with};
use crate::engines::postgres::replica::{Told, capture, drain, now, open, opened, rows, spec, told};
use crate::need_mysql;
use crate::support::mariadb::{Database, Server};
use crate::support::{mysql, wait_until};

fn bank(server: &Server, name: &str) -> Database {
    let database = server.database(name);
    database.execute_told(BANK);
    database
}

#[test]
fn a_capture_of_mysql_opened_before_a_write_sees_it() {
    let database = bank(need_mysql!(), "sees");
    let tables = accounts(&database);
    run(async {
        let source = source(&database).await;
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        outside(|| {
            database.execute("INSERT INTO history (account, delta) VALUES (1, 5), (2, -5)");
            database.execute(
                "SET gtid_next = 'AUTOMATIC:night'; UPDATE accounts SET balance = balance + 5 WHERE id = 1",
            );
            database.execute("DELETE FROM accounts WHERE id = 3; UPDATE accounts SET id = 9001 WHERE id = 4");
            database.execute("BEGIN; DELETE FROM accounts; ROLLBACK");
            database.execute(
                "BEGIN; UPDATE accounts SET balance = 0; SAVEPOINT s; DELETE FROM accounts; ROLLBACK TO s; COMMIT",
            );
            database.execute(
                "CREATE TABLE elsewhere (a int); INSERT INTO elsewhere VALUES (1); CREATE TABLE more AS SELECT * FROM \
                 elsewhere; DROP TABLE elsewhere, more; CREATE TEMPORARY TABLE t (a int); DROP TEMPORARY TABLE t",
            );
            database.execute(
                "SET binlog_rows_query_log_events = ON; INSERT INTO history (account, delta) SELECT account, 1 FROM history",
            );
            database.execute("CREATE INDEX by_account ON history (account); ANALYZE TABLE history");
        });
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(replica.commits, 6);
        assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
        assert!(replica.position.0.contains(":night:1,"), "{}", replica.position);
        // S-21, and rows that come after it in the same second.
        outside(|| database.execute("TRUNCATE TABLE accounts; INSERT INTO accounts VALUES (1, 2, NULL)"));
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
        let capture = capture(source.as_ref());
        let Standing::Kept { active, .. } = capture.standing("p").await.unwrap() else {
            panic!("the log stands");
        };
        assert!(!active);
        let head = capture.head().await.unwrap();
        assert!(capture.reached(&head, &start) && capture.reached(&head, &replica.position));
        assert!(!capture.reached(&start, &head) && capture.distance(&start, &head) > 100_000);
        assert_eq!(capture.close("p").await.unwrap(), Vec::<String>::new(), "nothing was made there");
    });
}

/// C-05: under the lock every snapshot stands at one place of the log, whatever is written meanwhile.
#[test]
fn g_05_c_05_snapshot_and_stream_of_mysql_are_everything_exactly_once() {
    everything_exactly_once(&bank(need_mysql!(), "once"));
}

const PACKED: &str = "SET SESSION binlog_transaction_compression = ON";

/// F-50: between others, and larger than what one call reads; gone on from its middle.
#[test]
fn f_50_compressed_transactions_of_mysql_are_transactions() {
    let database = bank(need_mysql!(), "packed");
    let tables = accounts(&database);
    run(async {
        let source = source(&database).await;
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        outside(|| {
            database.execute("UPDATE accounts SET balance = balance + 1");
            database.execute(&format!(
                "{PACKED}; INSERT INTO history VALUES (1, 2, 3); UPDATE accounts SET note = REPEAT('m', 10000); \
                 BEGIN; DELETE FROM accounts WHERE id < 100; SAVEPOINT s; DELETE FROM accounts; ROLLBACK TO s; \
                 UPDATE accounts SET id = id + 10000 WHERE id < 200; COMMIT; CREATE TABLE more AS SELECT * FROM history; \
                 TRUNCATE TABLE history; INSERT INTO more VALUES (4, 5, 6); XA START 'o'; INSERT INTO history VALUES \
                 (7, 7, 7); XA END 'o'; XA COMMIT 'o' ONE PHASE"
            ));
            database.execute("INSERT INTO history VALUES (8, 8, 8); DROP TABLE more");
        });
        let starts = vec![start.clone(); tables.len()];
        let mut changes = Changes::default();
        for pieces in [30, 60] {
            let read =
                capture(source.as_ref()).changes(&spec("p", &tables), &replica.position, &starts).await;
            let mut stream = read.unwrap();
            for _ in 0..pieces {
                changes.clear();
                stream.next(&mut changes, 64 << 10).await.unwrap();
                assert!(changes.len() < 128 << 10, "{} bytes at once", changes.len());
                replica.take(&changes);
            }
            replica.forget();
        }
        assert_eq!(replica.commits, 2, "the third is so large that it was not read to its end");
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(replica.commits, 7);
        assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
    });
}

/// Texts that MySQL prints from a form of its own: nothing may differ, down to the last digit.
fn documents() -> String {
    let mut sql = String::from(
        "CREATE TABLE documents (id int PRIMARY KEY, j json, made json AS (JSON_OBJECT('id', id)) VIRTUAL, n json NOT NULL DEFAULT (JSON_ARRAY()));
         INSERT INTO documents (id, j) VALUES (1, NULL), (2, 'null'), (3, '{}'), (4, '[]'), (5, '\"\"'), (6, 'true'), (7, '[false, null, [[]], {}]'),
           (8, '{\"zz\": 1, \"a\": {\"b\": [1, {\"c\": \"d\"}]}, \"\": 2, \"a b\": \"\\\\\\\\ \\\\\" / \\\\b\\\\f\\\\n\\\\r\\\\t\\\\u0000\\\\u001f\\\\u007f é 😀\", \"é\": 0}'),
           (9, JSON_OBJECT('d', CAST(-1.50 AS decimal(65,30)), 'm', CAST('-838:59:58.999999' AS time(6)), 't', CAST('00:00:01' AS time), 'dt', CAST('9999-12-31 23:59:59.999999' AS datetime(6)),
              'da', CAST('0001-01-01' AS date), 'y', CAST(2155 AS year), 'bit', b'101', 'bin', CAST(REPEAT(x'00ff10', 100) AS binary), 'one', CAST(x'00' AS binary), 'line', CAST(REPEAT('x', 57) AS binary),
              'g', ST_GeomFromText('POINT(1 2)', 4326), 'ts', TIMESTAMP('2020-01-02 03:04:05'), 'dec', CAST(0.000001 AS decimal(10,6)), 'none', CAST(0 AS decimal(5,0)))),
           (10, JSON_ARRAY(32767, 32768, -32768, -32769, 65535, 65536, 2147483647, 2147483648, -2147483648, -2147483649, 4294967295, 4294967296, 18446744073709551615, -9223372036854775808)),
           (11, CONCAT('[', REPEAT('\"a long text\", ', 8000), '1]')), (12, JSON_OBJECT('large', REPEAT('é', 70000), 'n', 100000, 'i', 5, 'k', TRUE)),
           (13, CONCAT(REPEAT('[', 99), REPEAT(']', 99))), (14, JSON_ARRAY(REPEAT('x', 127), REPEAT('x', 128), REPEAT('x', 16383), REPEAT('x', 16384)));",
    );
    // Doubles of all sizes, as bits from a generator.
    let mut random = 7_u64;
    for row in 0..20 {
        let mut numbers = Vec::new();
        for at in 0..100 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = match at % 3 {
                0 => f64::from_bits(random),
                1 => (random >> 40) as f64 / 1000.0,
                _ => 10_f64.powi((random >> 33) as i32 % 40 - 20) * ((random >> 20 & 0xFF) as f64),
            };
            if number.is_finite() {
                numbers.push(format!("{number:e}"));
            }
        }
        sql.push_str(&format!(
            "INSERT INTO documents (id, j) VALUES ({}, '[{}, -0.0, 1e15, 1e-15]');",
            100 + row,
            numbers.join(",")
        ));
    }
    sql
}

/// What MariaDB has not, or has otherwise.
const SHAPES: &str = "
    CREATE TABLE hidden (id int PRIMARY KEY, f int, inv int INVISIBLE DEFAULT 7, v int AS (f + 1) VIRTUAL, s int AS (f * 2) STORED, j json, b blob, vb blob AS (CONCAT(b, 'x')) VIRTUAL,
      c varchar(20) COLLATE utf8mb4_0900_ai_ci, k varchar(20) COLLATE utf8mb4_ja_0900_as_cs, KEY fun ((f * 3)), KEY many ((CAST(j->'$.tags' AS unsigned ARRAY))));
    INSERT INTO hidden (id, f, j, b, c, k) VALUES (1, 4, '{\"tags\": [1, 2]}', 'bb', 'é ', '日本'), (2, NULL, NULL, NULL, NULL, '');
    CREATE TABLE grown (id int PRIMARY KEY, a int); INSERT INTO grown VALUES (1, 2);
    ALTER TABLE grown ADD COLUMN z varchar(9) DEFAULT 'later' AFTER id, ALGORITHM = INSTANT; INSERT INTO grown (id, a) VALUES (2, 3);
    ALTER TABLE grown DROP COLUMN a, ALGORITHM = INSTANT;
    SET sql_generate_invisible_primary_key = ON; CREATE TABLE keyless (x int); INSERT INTO keyless VALUES (3), (3);
    SET sql_generate_invisible_primary_key = OFF;
    CREATE TABLE shapes (id int PRIMARY KEY, g geometry, p point SRID 4326); INSERT INTO shapes VALUES (1, ST_GeomFromText('LINESTRING(0 0, 1 1)'), ST_GeomFromText('POINT(1 2)', 4326));";

#[test]
fn p_02_m_01_to_m_25_a_change_of_mysql_is_worth_a_copy() {
    let database = need_mysql!().database("types");
    let sql = mysql::types();
    let edges = edges(30);
    // Up to the end of the table of types that MySQL has not.
    let (_, edges) = edges.split_once("CREATE TABLE wide").unwrap();
    // It rounds where the other one cuts.
    let edges = edges.replace("-838:59:59.999999", "-838:59:58.999999");
    let edges = edges.replace("9999-12-31 23:59:59.999999", "9999-12-31 23:59:59");
    let zone = "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES', time_zone = '+00:00'";
    for sql in [sql.as_str(), &format!("{zone}; CREATE TABLE wide{edges}"), &documents(), SHAPES] {
        database.execute(sql);
    }
    let tables = [
        "numbers",
        "texts",
        "bytes",
        "moments",
        "wide",
        "years",
        "fractions",
        "decimals",
        "w7",
        "w8",
        "w9",
        "w15",
        "w16",
        "w17",
        "w64",
        "labels",
        "documents",
        "hidden",
        "grown",
        "shapes",
    ];
    let write: Vec<_> = tables.iter().map(|table| format!("UPDATE {table} SET id = id + 100000")).collect();
    run(log_and_select_agree(&database, &tables, &write.join("; ")));
    run(log_and_select_agree(&database, &tables, &format!("{PACKED}; {}", write.join("; "))));
    run(log_and_select_agree(
        &database,
        &["keyless"],
        "UPDATE keyless SET x = 4; INSERT INTO keyless VALUES (5)",
    ));
}

#[test]
fn s_22_s_24_f_49_m_18_what_mysql_cannot_tell_stops_where_it_happened() {
    let server = need_mysql!();
    for (write, says) in [
        ("ALTER TABLE accounts ADD COLUMN x int", "structure changed"),
        ("RENAME TABLE accounts TO old, history TO accounts, old TO history", "structure changed"),
        ("DROP TABLE accounts", "structure changed"),
        ("SET SESSION binlog_format = STATEMENT; UPDATE accounts SET balance = 7", "logged as a statement"),
        (
            "CREATE TABLE spare (a int); CREATE TRIGGER g AFTER INSERT ON spare FOR EACH ROW DELETE FROM accounts; \
             SET SESSION binlog_format = STATEMENT; INSERT INTO spare VALUES (1)",
            "names no followed table",
        ),
        ("SET SESSION binlog_row_image = MINIMAL; UPDATE accounts SET balance = 7", "in part only"),
        (
            "SET SESSION binlog_row_value_options = PARTIAL_JSON; UPDATE accounts SET note = JSON_SET(note, '$.a', 5)",
            "(binlog_row_value_options",
        ),
        ("XA START 'x'; UPDATE accounts SET balance = 7; XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'", "(XA)"),
        // Compressed or not, what is inside is the same.
        (
            "SET SESSION binlog_transaction_compression = ON; SET SESSION binlog_row_image = MINIMAL; \
             UPDATE accounts SET balance = 7",
            "in part only",
        ),
        (
            "SET SESSION binlog_transaction_compression = ON; XA START 'z'; UPDATE accounts SET balance = 7; XA END 'z'; \
             XA PREPARE 'z'; XA COMMIT 'z'",
            "(XA)",
        ),
    ] {
        let database = server.database("stops");
        database.execute_told(BANK);
        database.execute(
            "DELETE FROM accounts WHERE id > 50; UPDATE accounts SET note = CONCAT('{\"a\": 1, \"b\": \"', note, '\"}'); \
             ALTER TABLE accounts MODIFY note json",
        );
        run(async {
            let source = source(&database).await;
            let mut tables = accounts(&database);
            tables[0] = whole(source.as_ref(), &database, "accounts").await;
            let (told, error) = stops_at(&database, &tables, write).await;
            assert_eq!(error.cause, Cause::Stale, "{write}: {error}");
            let before_start =
                error.to_string().contains("was added since") || error.to_string().contains("any more");
            assert!(before_start || error.to_string().contains(says), "{write}: {error}");
            assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("--recopy")), "{error:?}");
            if !before_start {
                assert_eq!(told.words.first().map(String::as_str), Some("begin"), "{write}");
                assert!(told.words[1].starts_with("insert 1"), "{:?}", told.words);
            }
        });
    }
}

/// MySQL says which databases a statement wrote to, through triggers, views and routines, too: one that
/// wrote to others only is no concern, whatever its format.
#[test]
fn f_49_statements_that_wrote_to_other_databases_pass() {
    // Its own server: where foreign keys lead anywhere it is not said, and would stop whoever follows others.
    let Some(server) = mysql::start(&[]) else { return };
    let (followed, other) = (bank(&server, "followed"), server.database("other"));
    other.execute(
        "CREATE TABLE a (n int PRIMARY KEY); CREATE TABLE b (n int);
         CREATE VIEW v AS SELECT * FROM b;
         CREATE TRIGGER g AFTER INSERT ON a FOR EACH ROW INSERT INTO v VALUES (NEW.n);
         CREATE FUNCTION f() RETURNS int DETERMINISTIC MODIFIES SQL DATA BEGIN DELETE FROM b; RETURN 1; END",
    );
    let statement = "SET SESSION binlog_format = STATEMENT";
    run(async {
        let source = source(&followed).await;
        let tables = accounts(&followed);
        let position = open(source.as_ref(), "p", &tables).await;
        outside(|| {
            other.execute(&format!(
                "{statement}; INSERT INTO a VALUES (1); UPDATE v SET n = 2; DO f(); SELECT f(); DELETE FROM a"
            ));
            followed.execute("INSERT INTO history VALUES (77, 1, 1)");
        });
        let told_all = told(source.as_ref(), "p", &position, &tables).await;
        assert!(told_all.error.is_none(), "{:?}", told_all.error);
        assert_eq!(told_all.rows(), ["insert 1 [] [77,1,1]"]);
    });
    // The same from there to a followed table, through each of them.
    let name = &followed.name;
    for (makes, writes) in [
        (format!("CREATE VIEW w AS SELECT * FROM {name}.accounts"), "UPDATE w SET balance = 3"),
        (
            format!("CREATE TRIGGER h AFTER DELETE ON a FOR EACH ROW DELETE FROM {name}.accounts"),
            "INSERT INTO a VALUES (3); DELETE FROM a",
        ),
        (
            format!(
                "CREATE FUNCTION k() RETURNS int DETERMINISTIC MODIFIES SQL DATA BEGIN DELETE FROM {name}.accounts; \
                 RETURN 1; END"
            ),
            "SET @x = k()",
        ),
        (
            format!(
                "CREATE TABLE parent (id bigint PRIMARY KEY); INSERT INTO parent VALUES (1), (9); \
                 ALTER TABLE {name}.history ADD FOREIGN KEY (delta) REFERENCES {other}.parent (id) ON DELETE CASCADE",
                other = other.name
            ),
            "DELETE FROM parent",
        ),
    ] {
        other.execute(&makes);
        run(async {
            let source = source(&followed).await;
            let tables = accounts(&followed);
            let position = open(source.as_ref(), "p", &tables).await;
            outside(|| other.execute(&format!("{statement}; {writes}")));
            let told_all = told(source.as_ref(), "p", &position, &tables).await;
            assert!(
                told_all.error().to_string().contains("names no followed"),
                "{makes}: {}",
                told_all.error()
            );
        });
    }
}

#[test]
fn s_24_xa_of_mysql_that_is_no_concern_passes() {
    let database = bank(need_mysql!(), "passes");
    database.execute("CREATE TABLE elsewhere (a int)");
    run(async {
        let source = source(&database).await;
        let tables = accounts(&database);
        let position = open(source.as_ref(), "p", &tables).await;
        outside(|| {
            for end in ["COMMIT", "ROLLBACK"] {
                database.execute(&format!(
                    "XA START 'y'; INSERT INTO elsewhere VALUES (1); XA END 'y'; XA PREPARE 'y'; XA {end} 'y'"
                ));
            }
            database.execute(
                "XA START 'o'; INSERT INTO history VALUES (77, 1, 1); XA END 'o'; XA COMMIT 'o' ONE PHASE",
            );
        });
        let told_all = told(source.as_ref(), "p", &position, &tables).await;
        assert!(told_all.error.is_none(), "{:?}", told_all.error);
        assert_eq!(told_all.rows(), ["insert 1 [] [77,1,1]"]);
    });
}

#[test]
fn f_70_the_fence_of_mysql_is_held_lost_lifted_and_sealed() {
    held_lost_lifted_and_sealed(&bank(need_mysql!(), "fence"));
}

/// Two readers of one plan: the second one takes the place, and the first one is told.
#[test]
fn f_51_a_second_reader_under_the_same_number_is_said() {
    let database = bank(need_mysql!(), "twice");
    let tables = accounts(&database);
    run(async {
        let source = source(&database).await;
        let at = open(source.as_ref(), "p", &tables).await;
        let starts = vec![at.clone(); tables.len()];
        let changes =
            async || capture(source.as_ref()).changes(&spec("p", &tables), &at, &starts).await.unwrap();
        let mut first = changes().await;
        let mut told = Told { at: at.clone(), ..Told::default() };
        outside(|| database.execute("UPDATE accounts SET balance = 1 WHERE id = 1"));
        told.more(first.as_mut()).await;
        let mut second = changes().await;
        Told::default().more(second.as_mut()).await;
        while told.error.is_none() {
            told.more(first.as_mut()).await;
        }
        assert!(told.error().to_string().contains("under the same number"), "{}", told.error());
    });
}

/// F-39, F-47, F-48, with GTIDs and without, and C502 to C505: on one server, which all of this upsets.
#[test]
fn f_39_f_47_f_48_c_502_a_mysql_log_that_is_gone_begun_anew_or_of_no_use_is_said() {
    let durable = ["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"];
    let Some(server) = mysql::start(&durable) else { return };
    let database = bank(&server, "gone");
    let tables = accounts(&database);
    run(async {
        let source = source(&database).await;
        let stale = async |position: &Position, says: &str| {
            let told = told(source.as_ref(), "p", position, &tables).await;
            let error = told.error();
            assert_eq!((error.cause, error.contract), (Cause::Stale, Some("G10")), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        };
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        outside(|| {
            database.execute("UPDATE accounts SET balance = 1");
            server.crash();
            database.execute("UPDATE accounts SET balance = balance + 1 WHERE id < 10");
        });
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
        outside(|| server.purge("binlog.000001", "binlog.000002"));
        stale(&start, "binlog.000001").await;

        // Begun anew, and longer than before. What tells is that its transactions are not done any more,
        // or the second in which its file was begun.
        let second = || database.value("SELECT UNIX_TIMESTAMP()");
        let anew = |size: u32| {
            let now = second();
            wait_until("the next second", Duration::from_secs(5), || second() != now);
            server.admin("RESET BINARY LOGS AND GTIDS");
            for _ in 0..size {
                database.execute("UPDATE accounts SET balance = balance + 1");
            }
        };
        outside(|| anew(2));
        stale(&replica.position, "binlog.000002").await;
        let at = open(source.as_ref(), "p", &tables).await;
        outside(|| {
            anew(0);
            // Longer than the other one, in fewer transactions.
            let update = "UPDATE accounts SET balance = balance + 1;";
            database.execute(&format!("BEGIN; {} COMMIT", update.repeat(4)));
        });
        stale(&at, "gtid_executed").await;
        let at = open(source.as_ref(), "p", &tables).await;
        outside(|| anew(6));
        stale(&at, "begun at another time").await;

        outside(|| {
            for mode in ["ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"] {
                server.admin(&format!("SET GLOBAL gtid_mode = {mode}"));
            }
            anew(1);
        });
        let at = open(source.as_ref(), "p", &tables).await;
        assert!(at.0.ends_with('@'), "{at}");
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        outside(|| {
            database.execute("UPDATE accounts SET balance = 5; INSERT INTO history (account) VALUES (9)")
        });
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
        outside(|| anew(3));
        stale(&at, "begun at another time").await;

        settings(&server, &database).await;
    });
}

/// C502, C505, P802: what stands in the way, and that it is gone once it is put right.
async fn settings(server: &Server, database: &Database) {
    let tables = accounts(database);
    let source = source(database).await;
    let check = async || capture(source.as_ref()).check(&spec("p", &tables)).await.unwrap();
    let found = check().await;
    assert!(found.iter().all(|found| !found.blocks), "{found:?}");
    outside(|| server.admin("SET GLOBAL binlog_transaction_compression = ON"));
    let found = check().await;
    assert!(found.iter().any(|found| !found.blocks && found.message.contains("compression")), "{found:?}");
    outside(|| server.admin("SET GLOBAL binlog_transaction_compression = OFF"));
    for (name, bad, good) in [
        ("binlog_format", "MIXED", "ROW"),
        ("binlog_row_image", "MINIMAL", "FULL"),
        ("binlog_row_value_options", "'PARTIAL_JSON'", "''"),
    ] {
        outside(|| server.admin(&format!("SET GLOBAL {name} = {bad}")));
        let found = check().await;
        assert!(
            found.iter().any(|found| found.blocks && found.code == "C502" && found.message.contains(name)),
            "{found:?}"
        );
        outside(|| server.admin(&format!("SET GLOBAL {name} = {good}")));
    }
    outside(|| server.admin("SET GLOBAL binlog_expire_logs_seconds = 3600"));
    assert!(check().await.iter().any(|found| found.code == "C505" && !found.blocks));
    outside(|| {
        server.admin("CREATE USER lean@'127.0.0.1' IDENTIFIED BY 'canary-lean'");
        server.admin(&format!("GRANT SELECT ON {}.* TO lean@'127.0.0.1'", database.name));
    });
    let lean = source_with(&database.url_of("lean", "canary-lean"), 1).await.unwrap();
    // Each right that is missing is named, until all are there.
    for right in ["REPLICATION CLIENT", "REPLICATION SLAVE", "FLUSH_TABLES", ""] {
        let found = capture(lean.as_ref()).check(&spec("p", &tables)).await.unwrap();
        let denied = found.iter().find(|found| found.code == "P802" && found.blocks);
        let wanted = "GRANT REPLICATION SLAVE, REPLICATION CLIENT, FLUSH_TABLES ON *.* TO 'lean'@'127.0.0.1'";
        assert_eq!(
            denied.map(|found| found.hint.as_str()),
            (!right.is_empty()).then_some(wanted),
            "{found:?}"
        );
        if !right.is_empty() {
            outside(|| server.admin(&format!("GRANT {right} ON *.* TO lean@'127.0.0.1'")));
        }
    }
    let mut replica = opened(lean.as_ref(), "p", &tables).await;
    let start = replica.position.clone();
    outside(|| database.execute("DELETE FROM accounts WHERE id < 9"));
    drain(lean.as_ref(), "p", &mut replica, &tables, &start).await;
    assert_eq!(rows(&replica), now(lean.as_ref(), &tables).await);
}
