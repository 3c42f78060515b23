//! Changes applied to MariaDB, through the engine's traits: one row each, found by its bytes, and
//! nothing of the target acting on them.

use std::time::Duration;

use towpath::catalog::{Name, Projection};
use towpath::change::{Counts, Datum, Followed, Identity, Net, NetTable, NetUpdates, Position, Rows};
use towpath::checkpoint::{Checkpoint, Goal, StreamMark};
use towpath::engine::{self, Applied, Cause, EngineError, Limits, Lock, Session, Target, Url};

use super::{projection, run};
use crate::engines::Log;
use crate::need_mariadb;
use crate::support::mariadb::Database;

const NULL: Datum<'static> = Datum::Null;
const ABSENT: Datum<'static> = Datum::Absent;

fn t(text: &str) -> Datum<'_> {
    Datum::Text(text.as_bytes())
}

fn i(number: i64) -> Datum<'static> {
    Datum::Int(number)
}

async fn target(database: &Database) -> Box<dyn Target> {
    let url = Url::parse(&database.url()).unwrap();
    engine::engine(&url).unwrap().target(&url, &Limits::default(), false).await.unwrap()
}

/// Columns by name and native type; `key`: how many of the first tell a row.
fn table(database: &Database, name: &str, key: usize, columns: &[(&str, &str)]) -> Followed {
    let projection = Projection {
        target: Name::new(&database.name, name),
        key: (0..key).collect(),
        ..projection(database, name, columns)
    };
    let identity = match key {
        0 => Identity::Whole,
        key => Identity::Columns((0..key).collect()),
    };
    Followed { projection, identity, skipped: Vec::new() }
}

struct Applier {
    lock: Box<dyn Lock>,
    session: Box<dyn Session>,
}

impl Applier {
    async fn new(database: &Database, tables: &[Followed]) -> Self {
        let lock = target(database).await.lock("p", &Goal::default(), Duration::ZERO).await.unwrap();
        let mut session = lock.session().await.unwrap();
        session.follow(tables).await.unwrap();
        Self { lock, session }
    }

    async fn rows(&mut self, log: &Log) -> Result<(), EngineError> {
        self.session.begin().await?;
        match self.session.apply_rows(log.0.records()).await {
            Ok(()) => self.session.commit().await,
            Err(error) => {
                self.session.rollback().await?;
                Err(error)
            }
        }
    }

    async fn net(&mut self, net: &Net<'_>) -> Applied {
        self.session.begin().await.unwrap();
        let applied = self.session.apply_net(net).await.unwrap();
        self.session.commit().await.unwrap();
        applied
    }

    async fn end(self) {
        drop(self.session);
        self.lock.close("done").await.unwrap();
    }
}

const ITEMS: &str = "CREATE TABLE items (id bigint PRIMARY KEY, code varchar(20), big longtext, more int, UNIQUE KEY by_code (code)) ENGINE=InnoDB CHARACTER SET utf8mb4";

fn items(database: &Database) -> Followed {
    let columns = [("id", "bigint"), ("code", "varchar(20)"), ("big", "longtext"), ("more", "int")];
    table(database, "items", 1, &columns)
}

fn all(database: &Database, from: &str) -> String {
    database.value(&format!("SELECT GROUP_CONCAT({from}"))
}

#[test]
fn g_06_rows_arrive_in_the_order_of_the_log() {
    let maria = need_mariadb!();
    let to = maria.database("order");
    to.execute(ITEMS);
    run(async {
        let mut applier = Applier::new(&to, &[items(&to)]).await;
        let mut log = Log::default();
        log.insert(0, &[i(1), t("a"), t("x"), NULL]).update(0, &[], &[i(1), t("b"), ABSENT, i(7)]);
        log.insert(0, &[i(2), t("a"), NULL, NULL]).delete(0, &[i(2), ABSENT, ABSENT, ABSENT]);
        log.insert(0, &[i(2), NULL, NULL, i(-1)]).insert(0, &[i(3), NULL, t(""), NULL]);
        log.insert(0, &[i(0), NULL, NULL, NULL]);
        applier.rows(&log).await.unwrap();
        let mut log = Log::default();
        log.update(0, &[], &[i(1), t("c"), ABSENT, i(8)]).delete(0, &[i(3), ABSENT, ABSENT, ABSENT]);
        // Another key, the same values, and nothing to set at all.
        log.update(0, &[i(2), ABSENT, ABSENT, ABSENT], &[i(20), NULL, ABSENT, i(-1)]);
        log.update(0, &[], &[i(20), NULL, NULL, i(-1)]).update(0, &[], &[i(20), ABSENT, ABSENT, ABSENT]);
        applier.rows(&log).await.unwrap();
        applier.end().await;
    });
    let text = "id, '/', COALESCE(code, '-'), '/', COALESCE(big, '-'), '/', COALESCE(more, '-') ORDER BY id) FROM items";
    assert_eq!(all(&to, text), "0/-/-/-,1/c/x/8,20/-/-/-1");
}

/// In a bulk of rows as well as alone, the row that differs is named, and nothing of the others stays.
#[test]
fn r6_a_row_that_is_not_as_it_should_be_is_named() {
    let maria = need_mariadb!();
    let to = maria.database("missing");
    to.execute(ITEMS);
    to.execute("INSERT INTO items VALUES (1, 'a', NULL, NULL), (2, 'b', NULL, NULL)");
    run(async {
        let mut applier = Applier::new(&to, &[items(&to)]).await;
        let only = |id| [i(id), ABSENT, ABSENT, ABSENT];
        let mut logs: Vec<(Log, &str, &str)> = Vec::new();
        let mut log = |fill: &dyn Fn(&mut Log), says, key| {
            let mut log = Log::default();
            fill(&mut log);
            logs.push((log, says, key));
        };
        log(
            &|log| {
                log.update(0, &[], &[i(77), t("canary"), NULL, NULL]);
            },
            "an update",
            "(77)",
        );
        log(
            &|log| {
                log.delete(0, &only(77));
            },
            "a delete",
            "(77)",
        );
        log(
            &|log| {
                log.insert(0, &[i(1), t("canary"), NULL, NULL]);
            },
            "an insert",
            "(1)",
        );
        log(
            &|log| {
                log.insert(0, &[i(9), t("b"), t("canary"), NULL]);
            },
            "by_code",
            "(9)",
        );
        log(
            &|log| {
                log.update(0, &only(77), &[i(78), t("canary"), NULL, NULL]);
            },
            "an update",
            "(77)",
        );
        let many = |log: &mut Log| {
            for id in 100..400 {
                log.insert(0, &[i(id), NULL, NULL, NULL]);
            }
            for id in 100..400 {
                let id = if id == 333 { 3330 } else { id };
                log.update(0, &[], &[i(id), NULL, t("canary"), NULL]);
            }
        };
        log(&many, "an update", "(3330)");
        log(
            &|log| {
                for id in [500, 501, 2, 502] {
                    log.insert(0, &[i(id), NULL, t("canary"), NULL]);
                }
            },
            "an insert",
            "(2)",
        );
        log(
            &|log| {
                log.delete(0, &only(1)).delete(0, &only(1)).delete(0, &only(2));
            },
            "a delete",
            "(1)",
        );
        for (log, says, key) in &logs {
            let error = applier.rows(log).await.expect_err("it differs");
            let text = error.to_string();
            assert_eq!(error.cause, Cause::Diverged, "{text}");
            assert!(
                text.contains(says) && text.contains(key) && text.contains("items"),
                "{says} {key}: {text}"
            );
            assert!(!text.contains("canary"), "{text}");
        }
        // The session goes on.
        let mut log = Log::default();
        applier.rows(log.insert(0, &[i(3), t("c"), NULL, NULL])).await.unwrap();
        applier.end().await;
    });
    assert_eq!(all(&to, "id, code ORDER BY id) FROM items"), "1a,2b,3c");
}

/// A collation, a text made a number, or a number made shorter finds other rows than the one meant.
#[test]
fn k_301_a_row_is_found_by_its_exact_key() {
    let maria = need_mariadb!();
    let bytes = |bytes: &'static [u8]| Datum::Bytes(bytes);
    let cases: [(&str, Datum<'_>, Datum<'_>); 12] = [
        ("varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", t("Ab"), t("ab")),
        ("varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", t("ab"), t("ab ")),
        ("varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin", t("ab"), t("ab ")),
        ("varchar(9) CHARACTER SET latin1 COLLATE latin1_swedish_ci", t("é"), t("e")),
        ("varchar(9) CHARACTER SET latin1 COLLATE latin1_swedish_ci", t("?"), t("💧")),
        (
            "decimal(40,20)",
            t("1234567890123456789.12345678901234567890"),
            t("1234567890123456789.12345678901234567891"),
        ),
        (
            "bit(40)",
            t("1000000000000000000000000000000000000001"),
            t("1000000000000000000000000000000000000011"),
        ),
        ("varbinary(9)", bytes(b"\xffa"), bytes(b"\xffa ")),
        ("datetime(6)", t("2024-02-29 23:59:59.123456"), t("2024-02-29 23:59:59.123457")),
        ("bigint unsigned", Datum::UInt(u64::MAX), Datum::UInt(u64::MAX - 1)),
        ("enum('a','A ','b') CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", t("a"), t("b")),
        ("uuid", t("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), t("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12")),
    ];
    for (native, there, other) in cases {
        let to = maria.database("exact");
        to.execute(&format!("CREATE TABLE k (k {native} NOT NULL PRIMARY KEY, v int) ENGINE=InnoDB"));
        let short = native.split(" CHARACTER").next().unwrap();
        run(async {
            let keyed = table(&to, "k", 1, &[("k", short), ("v", "int")]);
            let mut applier = Applier::new(&to, &[keyed]).await;
            let mut log = Log::default();
            applier
                .rows(log.insert(0, &[there, i(1)]))
                .await
                .unwrap_or_else(|error| panic!("{native}: {error}"));
            let mut update = Log::default();
            update.update(0, &[], &[other, i(9)]);
            let mut delete = Log::default();
            delete.delete(0, &[other, ABSENT]);
            for log in [&update, &delete] {
                let error = applier.rows(log).await.expect_err(native);
                // What the column's character set does not have is in no row of it.
                let none = error.code.as_deref() == Some("1977");
                assert_eq!(
                    error.cause,
                    if none { Cause::Data } else { Cause::Diverged },
                    "{native}: {error}"
                );
                assert!(!error.to_string().contains("F09F"), "{error}");
            }
            let mut log = Log::default();
            applier
                .rows(log.update(0, &[], &[there, i(2)]))
                .await
                .unwrap_or_else(|error| panic!("{native}: {error}"));
            assert_eq!(super::outside(|| to.value("SELECT v FROM k")), "2", "{native}");
            let mut log = Log::default();
            applier.rows(log.delete(0, &[there, ABSENT])).await.unwrap();
            assert_eq!(super::outside(|| to.value("SELECT COUNT(*) FROM k")), "0", "{native}");
            applier.end().await;
        });
    }
}

#[test]
fn s_02_of_equal_rows_any_one_is_changed() {
    let maria = need_mariadb!();
    let to = maria.database("keyless");
    let types = [
        ("a", "int"),
        ("b", "text"),
        ("f", "float"),
        ("d", "double"),
        ("n", "decimal(9,2)"),
        ("x", "bit(3)"),
        ("m", "timestamp(6)"),
        ("p", "blob"),
    ];
    to.execute(
        "CREATE TABLE k (a int, b text, f float, d double, n decimal(9,2), x bit(3), m timestamp(6) NULL, p blob) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
    );
    run(async {
        let mut applier = Applier::new(&to, &[table(&to, "k", 0, &types)]).await;
        let row = |b: Datum<'static>, d: f64| {
            let m = t("2024-02-29 23:59:59.5");
            [i(1), b, Datum::Float(0.5), Datum::Float(d), t("1.50"), t("101"), m, Datum::Bytes(b"\0\xff")]
        };
        let nulls = [NULL; 8];
        let mut log = Log::default();
        for each in [row(t("x"), 0.0), row(t("x"), 0.0), row(t("X"), 0.0), row(t("x"), -0.0), nulls, nulls] {
            log.insert(0, &each);
        }
        log.delete(0, &row(t("x"), -0.0)).delete(0, &row(t("x"), 0.0)).delete(0, &nulls);
        log.update(0, &row(t("X"), 0.0), &row(NULL, 1.5));
        applier.rows(&log).await.unwrap();
        let left = "SELECT GROUP_CONCAT(COALESCE(b, '-'), '/', COALESCE(d, '-') ORDER BY b, d) FROM k";
        assert_eq!(super::outside(|| to.value(left)), "-/-,-/1.5,x/0");
        let mut log = Log::default();
        log.delete(0, &row(t("X"), 0.0));
        assert_eq!(applier.rows(&log).await.expect_err("no such row").cause, Cause::Diverged);
        applier.end().await;
    });
}

/// What foreign keys and ON UPDATE did at the source is in its log.
#[test]
fn g_12_nothing_of_the_target_acts_on_what_is_applied() {
    let maria = need_mariadb!();
    let to = maria.database("still");
    to.execute(
        "CREATE TABLE p (id int PRIMARY KEY, v int, seen timestamp(6) NOT NULL DEFAULT current_timestamp(6) ON UPDATE current_timestamp(6)) ENGINE=InnoDB;
         CREATE TABLE c (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE) ENGINE=InnoDB;
         INSERT INTO p VALUES (1, 1, '2020-01-01'), (2, 2, '2020-01-01'); INSERT INTO c VALUES (1, 1), (2, 2)",
    );
    let tables = [
        table(&to, "p", 1, &[("id", "int"), ("v", "int")]),
        table(&to, "c", 1, &[("id", "int"), ("p", "int")]),
    ];
    run(async {
        let mut applier = Applier::new(&to, &tables).await;
        assert!(applier.session.keeps_still());
        let mut log = Log::default();
        log.update(0, &[i(1), ABSENT], &[i(10), i(1)]).delete(0, &[i(2), ABSENT]).insert(1, &[i(3), i(77)]);
        log.update(0, &[], &[i(10), i(5)]);
        applier.rows(&log).await.unwrap();
        applier.end().await;
    });
    assert_eq!(all(&to, "id, '/', p ORDER BY id) FROM c"), "1/1,2/2,3/77");
    assert_eq!(all(&to, "id, '/', v, '/', YEAR(seen) ORDER BY id) FROM p"), "10/5/2020");
    to.execute("CREATE TRIGGER acts BEFORE INSERT ON p FOR EACH ROW SET NEW.v = 0");
    run(async {
        let mut applier = Applier::new(&to, &tables).await;
        assert!(!applier.session.keeps_still());
        // S-21: exactly this table.
        let mut log = Log::default();
        log.0.truncate(&[1], false);
        applier.rows(&log).await.unwrap();
        applier.end().await;
    });
    assert_eq!(to.value("SELECT COUNT(*) FROM c"), "0");
    assert_eq!(to.value("SELECT COUNT(*) FROM p"), "1");
}

fn rows<'a>(width: usize, all: &[Vec<Datum<'a>>]) -> Rows<'a> {
    let mut rows = Rows::new(width);
    all.iter().for_each(|row| rows.push(row.iter().copied()));
    rows
}

#[test]
fn g_07_sets_go_whole_or_not_at_all() {
    let maria = need_mariadb!();
    let to = maria.database("sets");
    to.execute(ITEMS);
    to.execute("INSERT INTO items SELECT seq, CONCAT('c', seq), REPEAT('x', 300), seq FROM seq_1_to_6000");
    run(async {
        let mut applier = Applier::new(&to, &[items(&to)]).await;
        let change = |to: i64| NetUpdates {
            columns: vec![3],
            keys: rows(1, &(1..=to).map(|id| vec![i(id)]).collect::<Vec<_>>()),
            rows: rows(1, &(1..=to).map(|id| vec![i(-id)]).collect::<Vec<_>>()),
        };
        let net = |deletes: std::ops::Range<i64>, updates: i64, inserts: std::ops::Range<i64>| Net {
            tables: vec![NetTable {
                table: 0,
                deletes: rows(1, &deletes.map(|id| vec![i(id)]).collect::<Vec<_>>()),
                updates: vec![change(updates)],
                inserts: rows(4, &inserts.map(|id| vec![i(id), NULL, t("new"), NULL]).collect::<Vec<_>>()),
            }],
        };
        assert_eq!(applier.net(&net(3000..6001, 2999, 3000..8000)).await, Applied::Done);
        let sums = "SELECT CONCAT(COUNT(*), '/', SUM(more), '/', SUM(big = 'new')) FROM items";
        let sum = || super::outside(|| to.value(sums));
        assert_eq!(sum(), "7999/-4498500/5000");
        // A row that is as it is to be was found, too.
        assert_eq!(applier.net(&net(0..0, 2999, 0..0)).await, Applied::Done);
        // One row of thousands is missing, or there: nothing of them is kept.
        for bad in [net(7990..8001, 10, 0..0), net(0..0, 0, 7999..9000), net(0..0, 8000, 9000..9001)] {
            assert_eq!(applier.net(&bad).await, Applied::Clashed);
            assert_eq!(sum(), "7999/-4498500/5000");
        }
        // Two rows exchange a unique value.
        let swap = Net {
            tables: vec![NetTable {
                table: 0,
                deletes: Rows::new(1),
                updates: vec![NetUpdates {
                    columns: vec![1],
                    keys: rows(1, &[vec![i(1)], vec![i(2)]]),
                    rows: rows(1, &[vec![t("c2")], vec![t("c1")]]),
                }],
                inserts: Rows::new(4),
            }],
        };
        assert_eq!(applier.net(&swap).await, Applied::Clashed);
        applier.end().await;
    });
}

/// What the server would cut, round or pad is refused, and what it warns of, too.
#[test]
fn g_03_a_change_that_does_not_fit_is_an_error() {
    let maria = need_mariadb!();
    let to = maria.database("fits");
    to.execute("CREATE TABLE k (id int PRIMARY KEY, e enum('a'), s varchar(3), d date) ENGINE=InnoDB CHARACTER SET utf8mb4; INSERT INTO k VALUES (1, 'a', 'b', NULL)");
    run(async {
        let columns = [("id", "int"), ("e", "enum('a')"), ("s", "varchar(3)"), ("d", "date")];
        let mut applier = Applier::new(&to, &[table(&to, "k", 1, &columns)]).await;
        for bad in
            [[t("canary"), t("b"), NULL], [t("a"), t("canary"), NULL], [t("a"), t("b"), t("2023-02-29")]]
        {
            let mut log = Log::default();
            log.update(0, &[], &[i(1), bad[0], bad[1], bad[2]]);
            let error = applier.rows(&log).await.expect_err("it does not fit");
            assert_eq!(error.cause, Cause::Data, "{error}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
        applier.end().await;
    });
}

#[test]
fn g_08_the_mark_of_a_stream_goes_on_from_where_it_stands() {
    let maria = need_mariadb!();
    let to = maria.database("marks");
    to.execute(ITEMS);
    run(async {
        let mut applier = Applier::new(&to, &[items(&to)]).await;
        let at = |text: &str| Position(text.to_string());
        let mark = |after: &str, position: &str| {
            let counts = Counts { inserts: 2, truncates: 1, ..Counts::default() };
            Checkpoint::Applied(StreamMark {
                after: Some(at(after)),
                position: at(position),
                committed_at: Some(5),
                transactions: 3,
                tables: vec![(Name::new(&to.name, "items"), counts)],
            })
        };
        let session = &mut applier.session;
        for each in [Checkpoint::Opened(at("a")), mark("a", "b"), mark("b", "c")] {
            session.begin().await.unwrap();
            session.mark("p", &each).await.unwrap();
            session.commit().await.unwrap();
        }
        session.begin().await.unwrap();
        let late = session.mark("p", &mark("b", "d")).await.expect_err("it stands at c");
        assert_eq!(late.cause, Cause::Stale, "{late}");
        session.rollback().await.unwrap();
        let stream = target(&to).await.progress("p").await.unwrap().stream.unwrap();
        assert_eq!((stream.opened, stream.position, stream.transactions), (at("a"), at("c"), 6));
        assert_eq!(stream.committed_at, Some(5));
        assert_eq!(stream.tables[0].1, Counts { inserts: 4, truncates: 2, ..Counts::default() });
        session.begin().await.unwrap();
        session.mark("p", &Checkpoint::Opened(at("z"))).await.unwrap();
        session.commit().await.unwrap();
        let stream = target(&to).await.progress("p").await.unwrap().stream.unwrap();
        assert_eq!((stream.position, stream.transactions, stream.tables.len()), (at("z"), 0, 0));
        // A state of the format before is raised to the present one, and keeps what it knows.
        drop(applier.session);
        applier.lock.close("done").await.unwrap();
        super::outside(|| {
            to.execute(
                "DROP TABLE towpath_stream, towpath_stream_table; UPDATE towpath_format SET format = 1",
            );
        });
        let progress = target(&to).await.progress("p").await.unwrap();
        assert_eq!((progress.runs.len(), progress.stream), (1, None));
        Applier::new(&to, &[]).await.end().await;
        assert_eq!(target(&to).await.progress("p").await.unwrap().runs.len(), 2);
        assert_eq!(super::outside(|| to.value("SELECT format FROM towpath_format")), "2");
    });
}
