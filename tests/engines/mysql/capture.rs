//! The change log of a MariaDB source: what is in the snapshot and what comes after it, what is told
//! of a change, and where following has to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use towpath::change::Position;
use towpath::engine::{CaptureSpec, Cause, Standing};

use super::log::{
    BANK, Stop, accounts, agree, everything_exactly_once, log_and_select_agree, source, stops_at, whole,
    write, written,
};
use super::{outside, run, source_with};
use crate::engines::postgres::replica::{
    Replica, Told, WAIT, capture, drain, now, open, opened, rows, spec, told,
};
use crate::need_mariadb;
use crate::support::mariadb::{Database, Server};

#[test]
fn a_capture_opened_before_a_write_sees_it() {
    let database = need_mariadb!().database("sees");
    database.execute(BANK);
    let tables = accounts(&database);
    run(async {
        let source = source(&database).await;
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        outside(|| {
            database.execute("INSERT INTO history (account, delta) VALUES (1, 5), (2, -5)");
            database.execute("UPDATE accounts SET balance = balance + 5 WHERE id = 1");
            database.execute("DELETE FROM accounts WHERE id = 3; UPDATE accounts SET id = 9001 WHERE id = 4");
            database.execute("BEGIN; DELETE FROM accounts; ROLLBACK");
            database.execute(
                "BEGIN; UPDATE accounts SET balance = 0; SAVEPOINT s; DELETE FROM accounts; ROLLBACK TO s; COMMIT",
            );
            database.execute(
                "CREATE TABLE elsewhere (a int); INSERT INTO elsewhere VALUES (1); DROP TABLE elsewhere",
            );
            database.execute("CREATE INDEX by_account ON history (account); ANALYZE TABLE history");
        });
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(replica.commits, 5);
        assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
        // S-21, and rows that come after it in the same second.
        outside(|| {
            database.execute("TRUNCATE TABLE accounts; INSERT INTO accounts VALUES (1, 2, NULL)");
            database.execute(
                "SET STATEMENT lock_wait_timeout = 5, sort_buffer_size = 65536 FOR TRUNCATE history; \
                 INSERT INTO history VALUES (1, 1, 1)",
            );
        });
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

#[test]
fn g_05_snapshot_and_stream_are_everything_exactly_once() {
    let database = need_mariadb!().database("once");
    database.execute(BANK);
    everything_exactly_once(&database);
}

#[test]
fn g_05_tables_that_are_copied_later_have_their_own_start() {
    let database = need_mariadb!().database("later");
    database.execute(BANK);
    let tables = accounts(&database);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (writer, stop) = (&database, &stop);
        scope.spawn(move || write(writer, 9, stop));
        let _stop = Stop(stop);
        run(async {
            let source = source(&database).await;
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
            tokio::time::sleep(Duration::from_millis(300)).await;
            let head = capture(source.as_ref()).head().await.unwrap();
            let changes = capture(source.as_ref()).changes(&spec("p", &tables), &starts[0], &starts).await;
            let mut stream = changes.unwrap();
            let come = |at: &Position| capture(source.as_ref()).reached(at, &head);
            crate::engines::postgres::replica::catch_up(stream.as_mut(), &mut replica, come).await;
            assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
        });
    });
}

/// What keys do is found through tables of one moment, whichever of them was copied later.
#[test]
fn s_27_keys_between_tables_of_different_moments_stop() {
    let database = need_mariadb!().database("apart");
    database.execute(
        "CREATE TABLE parents (id int PRIMARY KEY, v int); INSERT INTO parents VALUES (1, 1), (2, 2), (3, 3);
         CREATE TABLE children (id int PRIMARY KEY, parent int, FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE);
         INSERT INTO children VALUES (1, 1), (2, 2), (3, 3)",
    );
    run(async {
        let source = source(&database).await;
        let mut tables = Vec::new();
        for table in ["parents", "children"] {
            tables.push(whole(source.as_ref(), &database, table).await);
        }
        let spec = CaptureSpec { cascades: true, ..spec("p", &tables) };
        let capture = capture(source.as_ref());
        let opened = capture.open(&spec, WAIT).await.unwrap();
        let first = opened.position().clone();
        opened.close().await.unwrap();
        outside(|| database.execute("DELETE FROM parents WHERE id = 1"));
        let second = capture.head().await.unwrap();
        outside(|| database.execute("DELETE FROM parents WHERE id = 2"));
        let head = capture.head().await.unwrap();
        for starts in [[&first, &second], [&second, &first]] {
            let starts = starts.map(Clone::clone);
            let mut stream = capture.changes(&spec, &first, &starts).await.unwrap();
            let mut told = Told { at: first.clone(), ..Told::default() };
            while told.error.is_none() && !capture.reached(&told.at, &head) {
                told.more(stream.as_mut()).await;
            }
            let error = told.error.unwrap_or_else(|| panic!("it went on: {:?}", told.words));
            assert_eq!((error.contract, told.words), (Some("C508"), vec![]), "{error}");
        }
        // What both have in their copies is no concern.
        let mut stream = capture.changes(&spec, &first, &[second.clone(), second]).await.unwrap();
        let mut told = Told { at: first.clone(), ..Told::default() };
        while !capture.reached(&told.at, &head) {
            told.more(stream.as_mut()).await;
            assert!(told.error.is_none(), "{:?}", told.error);
        }
    });
}

#[test]
fn p_02_m_01_to_m_22_a_change_is_worth_a_copy() {
    let database = need_mariadb!().fixture("types");
    let tables = ["numbers", "texts", "bytes", "moments"];
    let write: Vec<_> = tables.iter().map(|table| format!("UPDATE {table} SET id = id + 100000")).collect();
    run(log_and_select_agree(&database, &tables, &write.join("; ")));
}

/// Values and widths that the fixture has not; decimals with up to so many digits behind the point.
pub fn edges(scale: usize) -> String {
    let mut sql = String::from(
        "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
         CREATE TABLE ids (id int PRIMARY KEY, u uuid, i6 inet6, i4 inet4);
         INSERT INTO ids VALUES (1, '6ccd780c-baba-1026-9564-5b8c656024db', '::', '255.0.0.0'),
           (2, 'f47ac10b-58cc-4372-a567-0e02b2c3d479', '1:0:0:2::', '0.0.0.1'),
           (3, '018f2b6e-1d2c-7a3b-8c4d-000000000000', '1:2:3:4:5:6:7:0', '1.2.3.0'),
           (4, 'ffffffff-ffff-ffff-ffff-ffffffffffff', '::1.2.3.4', '0.0.0.0'),
           (5, '1ec9414c-232a-6b00-b3c8-9f6bdeced846', '2001:db8:0:0:1:0:0:1', NULL),
           (6, '320c3d4d-cc00-875b-8ec9-32d5f69181c0', '::ffff:0:1', NULL),
           (7, '00000000-0000-0000-0000-000000000001', '1:0:2:3:4:5:6:7', NULL),
           (8, '123e4567-e89b-32d3-6456-426614174000', 'fe80::', NULL), (9, '00000000-0000-4000-8000-000000000000', '::1', NULL);
         CREATE TABLE wide (id int PRIMARY KEY, c char(200), b binary(255), v varchar(300), l varchar(60) CHARACTER SET latin1,
           lc char(10) CHARACTER SET latin1, u2 varchar(9) CHARACTER SET ucs2, t32 text CHARACTER SET utf32,
           a varchar(5) CHARACTER SET ascii, vb varbinary(300), p geometry);
         INSERT INTO wide (id, c, b, v, l, lc, u2, t32, a, vb, p) VALUES
           (1, REPEAT('Ü', 200), REPEAT('a', 255), REPEAT('é', 300), _latin1 x'80818D8F909DFFE9', 'é  ', '€ ', '💧a', 'abc', x'0000', ST_GeomFromText('POINT(1 2)', 4326)),
           (2, '', x'00', '', '', '', '', '', '', x'', NULL), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
         CREATE TABLE years (id int PRIMARY KEY, y year); INSERT INTO years VALUES (1, 0000), (2, 1901), (3, 2155), (4, 1970);",
    );
    let fractions: Vec<_> = (0..=6)
        .map(|digits| {
            format!(
                "t{digits} time({digits}), d{digits} datetime({digits}), s{digits} timestamp({digits}) NULL"
            )
        })
        .collect();
    sql.push_str(&format!("CREATE TABLE fractions (id int PRIMARY KEY, {});", fractions.join(", ")));
    let moments = [
        ("-838:59:59.999999", "9999-12-31 23:59:59.999999", "2038-01-19 03:14:06.999999"),
        ("-00:00:00.000001", "1000-01-01 00:00:00.000001", "1970-01-01 00:00:01"),
        ("-00:00:01.5", "2000-02-29 12:00:00.5", "2000-02-29 12:00:00.5"),
        ("838:59:59", "0001-01-01", "2024-12-31 23:59:59.123456"),
        ("-01:00:00.1", "2100-03-01 00:00:00", "2001-09-09 01:46:40.01"),
    ];
    for (id, (time, date, stamp)) in moments.iter().enumerate() {
        let row = format!("'{time}', '{date}', '{stamp}'");
        sql.push_str(&format!(
            "SET time_zone = '+00:00', @@timestamp = DEFAULT; INSERT INTO fractions VALUES ({id}, {});",
            [row.as_str(); 7].join(", ")
        ));
    }
    let decimals = [
        (1, 0),
        (1, 1),
        (9, 9),
        (10, 9),
        (18, 9),
        (19, 10),
        (38, 0),
        (38, 38),
        (65, 0),
        (65, 30),
        (30, 15),
        (5, 2),
    ];
    let decimals: Vec<_> = decimals.into_iter().filter(|(_, s)| *s <= scale).collect();
    let columns: Vec<_> = decimals.iter().map(|(p, s)| format!("d{p}_{s} decimal({p},{s})")).collect();
    sql.push_str(&format!("CREATE TABLE decimals (id int PRIMARY KEY, {});", columns.join(", ")));
    for (id, sign) in ["", "-"].iter().enumerate() {
        let most = |(p, s): &(usize, usize)| format!("{sign}{}.{}", "9".repeat(p - s), "9".repeat(*s));
        let least = |(_, s): &(usize, usize)| {
            if *s > 0 { format!("{sign}0.{}1", "0".repeat(s - 1)) } else { format!("{sign}1") }
        };
        for (more, row) in
            [decimals.iter().map(most).collect::<Vec<_>>(), decimals.iter().map(least).collect()]
                .iter()
                .enumerate()
        {
            let row: Vec<_> = row
                .iter()
                .map(|text| {
                    if text.starts_with('.') || text.starts_with("-.") {
                        text.replace('.', "0.")
                    } else {
                        text.clone()
                    }
                })
                .collect();
            sql.push_str(&format!("INSERT INTO decimals VALUES ({}, {});", id * 2 + more, row.join(", ")));
        }
    }
    for width in [7, 8, 9, 15, 16, 17, 64] {
        let columns: Vec<_> = (1..width).map(|at| format!("c{at} tinyint")).collect();
        let values: Vec<_> =
            (1..width).map(|at| if at % 3 == 0 { "NULL".to_string() } else { at.to_string() }).collect();
        sql.push_str(&format!(
            "CREATE TABLE w{width} (id int PRIMARY KEY, {}); INSERT INTO w{width} VALUES (1, {});",
            columns.join(", "),
            values.join(", ")
        ));
    }
    let labels: Vec<_> = (0..300).map(|at| format!("'l{at}'")).collect();
    let members: Vec<_> = (0..64).map(|at| format!("'m{at}'")).collect();
    sql.push_str(&format!(
        "CREATE TABLE labels (id int PRIMARY KEY, e enum({}), s set({}), bits bit(64), b9 bit(9), b8 bit(8));
         INSERT INTO labels VALUES (1, 'l0', 'm0,m63', ~0, b'100000001', b'10000000'), (2, 'l299', '', 0, 0, 0), (3, 'l256', 'm1', 1, 1, 1);",
        labels.join(", "),
        members.join(", ")
    ));
    sql
}

#[test]
fn p_02_edges_of_types_and_of_row_images() {
    let database = need_mariadb!().database("edges");
    database.execute(&edges(38));
    let tables = [
        "ids",
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
    ];
    let write: Vec<_> = tables.iter().map(|table| format!("UPDATE {table} SET id = id + 1000")).collect();
    run(log_and_select_agree(&database, &tables, &write.join("; ")));
}

/// Generated columns and the hashes of long unique keys, which newer servers leave out of updates and
/// deletes: what the target computes is not asked for, and what it does not is refused.
#[test]
fn p_02_c_502_columns_that_the_log_may_leave_out() {
    let database = need_mariadb!().database("computed");
    database.execute(
        "CREATE TABLE computed (id int PRIMARY KEY, s int AS (a * 2) STORED, a int, v int AS (a * 3) VIRTUAL, t longtext, \
         last int, UNIQUE (t), UNIQUE k (last) USING HASH);
         INSERT INTO computed (id, a, t, last) VALUES (1, 1, 'one', 1), (2, NULL, NULL, NULL), (3, 3, 'three', 3), (4, 4, 'four', 4);",
    );
    let write = "UPDATE computed SET a = a + 10; UPDATE computed SET id = 9, t = 'nine' WHERE id = 1; \
                 DELETE FROM computed WHERE id = 3; INSERT INTO computed (id, a, t) VALUES (5, 5, 'five'); \
                 REPLACE INTO computed (id, a, t) VALUES (5, 6, 'six');";
    run(async {
        let source = source(&database).await;
        let asked = written(source.as_ref(), &database, "computed").await;
        agree(&database, &[asked], write).await;
        let all = [whole(source.as_ref(), &database, "computed").await];
        let found = capture(source.as_ref()).check(&spec("p", &all)).await.unwrap();
        let stands: Vec<_> = found.iter().filter(|obstacle| obstacle.message.contains("generated")).collect();
        let position = open(source.as_ref(), "p", &all).await;
        outside(|| database.execute("UPDATE computed SET a = a + 1 WHERE id = 5"));
        let told = told(source.as_ref(), "p", &position, &all).await;
        // Told from the server's log itself: which server began to leave them out is not asked.
        match told.error {
            None => assert!(stands.is_empty(), "{stands:?}"),
            Some(error) => {
                assert_eq!(stands.len(), 2, "{found:?}");
                assert!(stands.iter().all(|one| one.blocks && one.code == "C502"), "{stands:?}");
                assert!(error.to_string().contains("generated column s"), "{error}");
            }
        }
    });
}

/// M-23, F-50: compressed events, and rows larger than a packet of the protocol.
#[test]
fn f_50_compressed_events_and_long_rows() {
    let Some(server) = Server::start(&[
        "--log-bin-compress=ON",
        "--max-allowed-packet=256M",
        "--log-bin-compress-min-len=10",
    ]) else {
        return;
    };
    let database = server.database("packed");
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a longtext, b longblob);
         INSERT INTO t SELECT seq, REPEAT('some text ', seq * 100), REPEAT(x'00ff', seq) FROM seq_1_to_300;
         INSERT INTO t VALUES (1000, REPEAT('x', 20000000), REPEAT('y', 17000000));",
    );
    run(log_and_select_agree(
        &database,
        &["t"],
        "UPDATE t SET id = id + 10000; DELETE FROM t WHERE id < 10100; INSERT INTO t VALUES (1, 'short', ''); \
         CREATE TABLE a_table_of_no_concern_with_a_long_enough_statement (a int, b int, c int, d int)",
    ));
}

#[test]
fn s_22_s_24_f_49_what_cannot_be_followed_stops_where_it_happened() {
    // Its own server: what it writes as statements would stop whoever follows others there.
    let Some(server) = Server::start(&[]) else { return };
    for (write, says) in [
        ("ALTER TABLE accounts ADD COLUMN x int", "structure changed"),
        ("ALTER TABLE accounts RENAME COLUMN note TO remark", "structure changed"),
        ("DROP TABLE accounts", "structure changed"),
        ("RENAME TABLE accounts TO old, history TO accounts, old TO history", "structure changed"),
        ("CREATE OR REPLACE TABLE accounts (a int)", "structure changed"),
        (
            "SET STATEMENT lock_wait_timeout = 5 FOR ALTER TABLE accounts ADD COLUMN x int",
            "structure changed",
        ),
        ("SET SESSION binlog_format = STATEMENT; UPDATE accounts SET balance = 7", "logged as a statement"),
        (
            "SET STATEMENT binlog_format = 'STATEMENT' FOR UPDATE accounts SET balance = 7",
            "logged as a statement",
        ),
        (
            "SET SESSION binlog_format = STATEMENT; ANALYZE UPDATE accounts SET balance = 7",
            "logged as a statement",
        ),
        (
            "CREATE VIEW v AS SELECT * FROM accounts; SET SESSION binlog_format = STATEMENT; UPDATE v SET balance = 7",
            "names no followed table",
        ),
        (
            "CREATE FUNCTION f() RETURNS int DETERMINISTIC BEGIN DELETE FROM accounts; RETURN 1; END; \
             SET SESSION binlog_format = STATEMENT; SET @x = f()",
            "names no followed table",
        ),
        (
            "CREATE TABLE mysql.pulse (a int); SET SESSION binlog_format = STATEMENT; \
             UPDATE mysql.pulse RIGHT JOIN accounts ON true SET balance = 7",
            "logged as a statement",
        ),
        ("SET SESSION binlog_row_image = MINIMAL; UPDATE accounts SET balance = 7", "in part only"),
        ("XA START 'x'; UPDATE accounts SET balance = 7; XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'", "(XA)"),
    ] {
        let database = server.database("stops");
        database.execute(BANK);
        let mut tables = accounts(&database);
        // What is renamed under the plan's feet shows at the next start, too.
        tables.truncate(2);
        let (told, error) = run(stops_at(&database, &tables, write));
        assert_eq!(error.cause, Cause::Stale, "{write}: {error}");
        let before_start =
            error.to_string().contains("was added since") || error.to_string().contains("any more");
        assert!(before_start || error.to_string().contains(says), "{write}: {error}");
        assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("--recopy")), "{error:?}");
        if !before_start {
            assert_eq!(told.words.first().map(String::as_str), Some("begin"), "{write}");
            assert!(told.words[1].starts_with("insert 1"), "{:?}", told.words);
        }
    }
}

/// A stream that is open when the structure changes has told everything before.
#[test]
fn s_22_an_open_stream_stops_at_the_change() {
    let database = need_mariadb!().database("open");
    database.execute(BANK);
    let tables = accounts(&database);
    run(async {
        let source = source(&database).await;
        let position = open(source.as_ref(), "p", &tables).await;
        let starts = vec![position.clone(); 2];
        let mut stream =
            capture(source.as_ref()).changes(&spec("p", &tables), &position, &starts).await.unwrap();
        outside(|| {
            database.execute(
                "UPDATE accounts SET balance = 1 WHERE id = 1; ALTER TABLE accounts MODIFY note varchar(300)",
            )
        });
        let mut told = Told { at: position, ..Told::default() };
        while told.error.is_none() {
            told.more(stream.as_mut()).await;
        }
        assert_eq!(told.rows().len(), 1, "{:?}", told.words);
        assert_eq!(told.error().contract, Some("C508"));
        assert!(told.error().to_string().contains("accounts"), "{}", told.error());
    });
}

/// XA of tables that are none of ours passes; a key that children follow does not.
#[test]
fn s_24_s_27_what_is_no_concern_passes_and_a_cascade_does_not() {
    let database = need_mariadb!().database("passes");
    database.execute(BANK);
    database.execute(
        "CREATE TABLE elsewhere (a int);
         CREATE TABLE parents (id int PRIMARY KEY, v int); INSERT INTO parents VALUES (1, 1), (2, 2);
         CREATE TABLE children (id int PRIMARY KEY, parent int, FOREIGN KEY (parent) REFERENCES parents (id) ON UPDATE CASCADE);
         CREATE TABLE grand (id int PRIMARY KEY, child int, CONSTRAINT gone FOREIGN KEY (child) REFERENCES children (id) ON DELETE CASCADE);
         INSERT INTO children VALUES (1, 1);",
    );
    run(async {
        let source = source(&database).await;
        let mut tables = accounts(&database);
        for table in ["parents", "children"] {
            tables.push(whole(source.as_ref(), &database, table).await);
        }
        let found = capture(source.as_ref()).check(&spec("p", &tables)).await.unwrap();
        let cascades: Vec<_> = found.iter().filter(|found| found.code == "C504").collect();
        assert!(
            cascades.len() == 1 && !cascades[0].blocks && cascades[0].at.contains("children"),
            "{cascades:?}"
        );
        let grand = [whole(source.as_ref(), &database, "grand").await];
        let found = capture(source.as_ref()).check(&spec("p", &grand)).await.unwrap();
        assert!(found.iter().any(|found| found.code == "C504" && found.blocks), "{found:?}");
        let position = open(source.as_ref(), "p", &tables).await;
        outside(|| {
            database.execute(
                "XA START 'y'; INSERT INTO elsewhere VALUES (1); XA END 'y'; XA PREPARE 'y'; XA COMMIT 'y'",
            );
            database.execute(
                "XA START 'z'; INSERT INTO elsewhere VALUES (1); XA END 'z'; XA PREPARE 'z'; XA ROLLBACK 'z'",
            );
            database.execute(
                "XA START 'o'; INSERT INTO history VALUES (77, 1, 1); XA END 'o'; XA COMMIT 'o' ONE PHASE",
            );
            database.execute("UPDATE parents SET v = 3 WHERE id = 1");
        });
        let told_all = told(source.as_ref(), "p", &position, &tables).await;
        assert!(told_all.error.is_none(), "{:?}", told_all.error);
        assert_eq!(told_all.rows(), ["insert 1 [] [77,1,1]", "update 2 [] [1,3]"]);
        outside(|| database.execute("UPDATE parents SET id = 5 WHERE id = 1"));
        let stopped = told(source.as_ref(), "p", &told_all.at, &tables).await;
        assert_eq!(stopped.error().contract, Some("C504"));
    });
}

#[test]
fn f_47_f_48_a_log_that_is_gone_or_begun_anew_is_said() {
    let Some(server) = Server::start(&[]) else { return };
    let database = server.database("gone");
    database.execute(BANK);
    let tables = accounts(&database);
    run(async {
        let source = source(&database).await;
        let position = open(source.as_ref(), "p", &tables).await;
        outside(|| {
            database.execute("UPDATE accounts SET balance = 1");
            server.purge("binlog.000001", "binlog.000002");
        });
        let purged = told(source.as_ref(), "p", &position, &tables).await;
        let error = purged.error();
        assert_eq!((error.cause, error.contract), (Cause::Stale, Some("G10")), "{error}");
        assert!(error.to_string().contains("binlog.000001"), "{error}");

        let position = open(source.as_ref(), "p", &tables).await;
        outside(|| {
            server.admin("RESET MASTER");
            database.execute("UPDATE accounts SET balance = 2; UPDATE accounts SET balance = 3");
            server.admin("FLUSH BINARY LOGS");
            database.execute("UPDATE accounts SET balance = 4; UPDATE accounts SET balance = 5");
        });
        let reset = told(source.as_ref(), "p", &position, &tables).await;
        assert_eq!(
            (reset.error().cause, reset.error().contract),
            (Cause::Stale, Some("G10")),
            "{}",
            reset.error()
        );

        let elsewhere = Position(position.0.replacen("my1/", "my1/0", 1));
        let other = told(source.as_ref(), "p", &elsewhere, &tables).await;
        assert!(other.error().to_string().contains("another server"), "{}", other.error());
    });
}

#[test]
fn f_39_a_server_that_fell_goes_on_in_another_file() {
    let durable = ["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"];
    let Some(server) = Server::start(&durable) else { return };
    let database = server.database("falls");
    database.execute(BANK);
    let tables = accounts(&database);
    run(async {
        let source = source(&database).await;
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        outside(|| {
            database.execute("UPDATE accounts SET balance = 1");
            server.crash();
            database.execute("UPDATE accounts SET balance = balance + 1 WHERE id < 10");
        });
        drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
        assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
        assert!(replica.position.0.contains("binlog.000002:"), "{}", replica.position);
    });
}

#[test]
fn c_502_settings_and_tables_that_stand_in_the_way_are_named() {
    let Some(server) = Server::start(&[
        "--binlog-format=MIXED",
        "--binlog-row-image=MINIMAL",
        "--binlog-expire-logs-seconds=3600",
    ]) else {
        return;
    };
    let database = server.database("ways");
    database.execute(BANK);
    database.execute(
        "CREATE TABLE old (id int PRIMARY KEY) ENGINE = MyISAM;
         CREATE TABLE kanji (id int PRIMARY KEY, v varchar(10) CHARACTER SET sjis);
         CREATE TABLE small (id int PRIMARY KEY, v varchar(100) COMPRESSED);
         CREATE TABLE past (id int PRIMARY KEY) WITH SYSTEM VERSIONING;",
    );
    run(async {
        let source = source(&database).await;
        let mut tables = accounts(&database);
        for table in ["old", "kanji", "small", "past"] {
            tables.push(whole(source.as_ref(), &database, table).await);
        }
        tables[0].projection.filter = Some("balance > 5".into());
        let check = async || capture(source.as_ref()).check(&spec("p", &tables)).await.unwrap();
        let found = check().await;
        let of = |at: &str| -> Vec<_> {
            found
                .iter()
                .filter(|found| found.at.ends_with(at))
                .map(|found| (found.code, found.blocks))
                .collect()
        };
        assert!(
            of("server").contains(&("C502", true)) && of("server").contains(&("C505", false)),
            "{found:?}"
        );
        assert_eq!(of("accounts"), [("C502", true)], "a filter");
        assert_eq!(of("old"), [("C507", true)]);
        assert_eq!(
            (of("kanji"), of("small"), of("past")),
            (vec![("C502", true)], vec![("C502", true)], vec![("C502", true)])
        );
        let said =
            |what: &str| found.iter().any(|found| found.message.contains(what) && !found.hint.is_empty());
        assert!(said("binlog_format is MIXED") && said("sjis") && said("compressed"), "{found:?}");
        outside(|| server.admin("SET GLOBAL binlog_format = ROW"));
        assert!(check().await.iter().any(|found| found.message.contains("binlog_row_image is MINIMAL")));
        outside(|| server.admin("SET GLOBAL binlog_row_image = FULL"));
        let found = check().await;
        assert!(found.iter().all(|found| found.at != "server" || !found.blocks), "{found:?}");
        outside(|| {
            server.admin("CREATE USER lean@'127.0.0.1' IDENTIFIED BY 'canary-lean'");
            server.admin(&format!("GRANT SELECT, SHOW VIEW ON {}.* TO lean@'127.0.0.1'", database.name));
        });
        let lean = source_with(&database.url_of("lean", "canary-lean"), 1).await.unwrap();
        let found = capture(lean.as_ref()).check(&spec("p", &tables)).await.unwrap();
        let denied = found.iter().find(|found| found.code == "P802" && found.blocks);
        let hint = denied.map(|found| found.hint.as_str()).unwrap_or_default();
        assert!(
            hint.contains("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO 'lean'@'127.0.0.1'"),
            "{found:?}"
        );
    });
}

/// The fence keeps writers out as long as it is held, lets them in when it is gone, and stays
/// where it is sealed.
#[test]
fn f_70_the_fence_is_held_lost_lifted_and_sealed() {
    let Some(server) = Server::start(&["--log-bin-trust-function-creators=ON"]) else { return };
    let database = server.database("fence");
    database.execute(BANK);
    held_lost_lifted_and_sealed(&database);
}

pub fn held_lost_lifted_and_sealed(database: &Database) {
    run(async {
        let source = source(database).await;
        let tables: Vec<_> = accounts(database).iter().map(|table| table.projection.source.clone()).collect();
        let write =
            || outside(|| database.try_execute("UPDATE accounts SET balance = balance + 1 WHERE id = 1"));
        let all = || {
            outside(|| {
                [
                    "INSERT INTO history (account) VALUES (1)",
                    "DELETE FROM accounts WHERE id = 2",
                    "REPLACE INTO accounts VALUES (1, 1, '')",
                ]
                .map(|sql| database.try_execute(sql))
            })
        };
        let mut fence = source.fence("shop", &tables).await.unwrap();
        fence.holds().await.unwrap();
        assert!(source.fenced("shop").await.unwrap().is_empty(), "nothing is decided yet");
        assert!(write().unwrap_err().contains("has moved"));
        assert!(all().iter().all(Result::is_err));
        // A session that ends without a word, as in a crash.
        drop(fence);
        crate::support::wait_until("the lock is gone", Duration::from_secs(20), || write().is_ok());
        let fence = source.fence("shop", &tables).await.unwrap();
        assert!(write().is_err());
        fence.lift().await.unwrap();
        write().unwrap();
        assert!(source.unfence("shop").await.unwrap().is_empty(), "lifting left nothing");
        let fence = source.fence("shop", &tables).await.unwrap();
        fence.seal().await.unwrap();
        assert!(write().is_err() && all().iter().all(Result::is_err));
        assert_eq!(source.fenced("shop").await.unwrap(), tables);
        assert!(source.unfence("another").await.unwrap().is_empty(), "the fence of another plan stays");
        assert_eq!(source.unfence("shop").await.unwrap().len(), 2);
        write().unwrap();
    });
}
