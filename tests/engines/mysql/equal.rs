//! Rows that were copied compare equal, and rows that differ do not: with PostgreSQL and SQLite by
//! reading both ends, between two servers of the family by the sums that each computes.

use std::fmt::Write;
use std::time::Duration;

use tempfile::TempDir;
use towpath::catalog::{ColumnMap, Form, Name, Projection};
use towpath::checkpoint::Goal;
use towpath::engine::{self, Limits, Load, Read, Source, Target, Url};
use towpath::runtime::{Event, Reporter, VerifyLevel, verify};

use super::{outside, projection, run, source_with};
use crate::need_mariadb;
use crate::support::mariadb::Database;
use crate::support::{postgres, sqlite};

/// Column, type here, in PostgreSQL, in SQLite.
const COLUMNS: [(&str, &str, &str, &str); 20] = [
    ("id", "bigint(20)", "bigint", "INTEGER"),
    ("small", "tinyint(4)", "smallint", "INTEGER"),
    ("huge", "bigint(20) unsigned", "numeric(20,0)", "TEXT"),
    ("price", "decimal(30,10)", "numeric(30,10)", "TEXT"),
    ("single", "float", "real", "REAL"),
    ("dbl", "double", "double precision", "REAL"),
    ("padded", "char(10)", "character varying(10)", "TEXT"),
    ("name", "varchar(50)", "character varying(50)", "TEXT"),
    ("old", "varchar(50)", "text", "TEXT"),
    ("body", "text", "text", "TEXT"),
    ("raw", "varbinary(30)", "bytea", "BLOB"),
    ("fixed", "binary(5)", "bytea", "BLOB"),
    ("flags", "bit(10)", "bit(10)", "TEXT"),
    ("day", "date", "date", "TEXT"),
    ("at", "time(6)", "time(6) without time zone", "TEXT"),
    ("moment", "datetime(6)", "timestamp(6) without time zone", "TEXT"),
    ("stamp", "timestamp(6)", "timestamp(6) with time zone", "TEXT"),
    ("kind", "enum('a','B','it''s')", "text", "TEXT"),
    ("doc", "json", "json", "TEXT"),
    ("born", "year(4)", "smallint", "INTEGER"),
];

struct Silent;

impl Reporter for Silent {
    fn event(&self, _: &Event) {}
}

/// A sequence of numbers without any pattern, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.next(from.len() as u64) as usize]
    }

    /// A value of a column, or null.
    fn value(&mut self, column: &str) -> String {
        if self.next(8) == 0 {
            return "NULL".into();
        }
        let text =
            ["''", "' '", "'a'", "'NULL'", "'\\\\N'", "'tab\\tline\\nquote\\''", "'ä€😀'", "'e\u{301}'"];
        match column {
            "small" => (self.next(256) as i64 - 128).to_string(),
            "huge" => self.pick(&["0", "1", "18446744073709551615", "9223372036854775808"]).into(),
            "price" => format!("{}.{:010}", self.next(1 << 30) as i64 - (1 << 29), self.next(1 << 30)),
            "single" => {
                self.pick(&["0", "-0.1", "16777216", "3.4028234e38", "1.17549435e-38", "1e-7"]).into()
            }
            "dbl" => format!("{}e{}", self.next(1 << 30) as i64 - (1 << 29), self.next(500) as i64 - 250),
            "padded" => self.pick(&["''", "'ab  '", "'x'"]).into(),
            "name" | "body" => self.pick(&text).into(),
            "old" => self.pick(&["'é'", "X'80'", "'plain'", "'a '"]).into(),
            "raw" | "fixed" => self.pick(&["X''", "X'00'", "X'FF0000'", "'abc'"]).into(),
            "flags" => self.next(1024).to_string(),
            "day" => {
                format!("'{:04}-{:02}-{:02}'", 1 + self.next(9999), 1 + self.next(12), 1 + self.next(28))
            }
            "at" => format!(
                "'{:02}:{:02}:{:02}.{:06}'",
                self.next(24),
                self.next(60),
                self.next(60),
                self.next(1_000_000)
            ),
            "moment" => {
                format!("'{:04}-02-28 23:59:59.{}'", 1 + self.next(9999), self.pick(&["0", "5", "999999"]))
            }
            "stamp" => format!("FROM_UNIXTIME({}.{:06})", 1 + self.next(1 << 31), self.next(1_000_000)),
            "kind" => self.pick(&["'a'", "'B'", "'it''s'"]).into(),
            "doc" => self.pick(&["'{\"b\": 1, \"a\": [1.50, null]}'", "'[]'", "'\"x\"'"]).into(),
            "born" => self.pick(&["0", "1901", "2155"]).into(),
            other => panic!("no values for {other}"),
        }
    }
}

fn fill(database: &Database, table: &str, rows: usize) {
    let mut defined: Vec<String> =
        COLUMNS[1..].iter().map(|(name, native, ..)| format!("`{name}` {native} NULL")).collect();
    for column in &mut defined {
        if column.starts_with("`old`") {
            *column = "`old` varchar(50) CHARACTER SET latin1 NULL".into();
        }
    }
    let mut sql = format!(
        "SET time_zone = '+00:00'; CREATE TABLE {table} (id bigint PRIMARY KEY, {}); ",
        defined.join(", ")
    );
    let mut numbers = Numbers(42);
    write!(sql, "INSERT INTO {table} VALUES ").unwrap();
    for row in 0..rows {
        let values: Vec<String> = COLUMNS[1..].iter().map(|(name, ..)| numbers.value(name)).collect();
        write!(sql, "{}({}, {})", if row == 0 { "" } else { ", " }, row as i64 - 7, values.join(", "))
            .unwrap();
    }
    database.execute(&sql);
}

/// What stands in the way to one target.
fn across(database: &Database, schema: &str, to: &str, native: impl Fn(usize) -> &'static str) -> Projection {
    let dialect = engine::engine_named(to).unwrap().dialect();
    let from: Vec<(&str, &str)> = COLUMNS.iter().map(|(name, native, ..)| (*name, *native)).collect();
    let here = projection(database, "t", &from);
    let map = |(at, column): (usize, ColumnMap)| ColumnMap {
        target_native: native(at).into(),
        target_type: dialect.parse_type(native(at)),
        ..column
    };
    Projection {
        target: Name::new(schema, "t"),
        columns: here.columns.clone().into_iter().enumerate().map(map).collect(),
        form: Form::Rows,
        ..here
    }
}

async fn copy(source: &dyn Source, target: &dyn Target, projection: &Projection) -> u64 {
    let goal = Goal { digest: "sha256:00".into(), ..Goal::default() };
    let lock = target.lock("equal", &goal, Duration::ZERO).await.unwrap();
    let mut session = lock.session().await.unwrap();
    let snapshot = source.snapshot().await.unwrap();
    let mut rows = 0;
    session.begin().await.unwrap();
    for chunk in snapshot.chunks(projection, 50_000).await.unwrap() {
        let read = Read { projection, chunk: &chunk, batch_bytes: 1 << 16, paced: false };
        let mut stream = snapshot.read(&read).await.unwrap();
        let load = Load { projection, frozen: false, gauge: &|_, _| {} };
        rows += session.load(&load, stream.as_mut()).await.unwrap().rows;
    }
    session.commit().await.unwrap();
    drop(session);
    lock.close("done").await.unwrap();
    snapshot.close().await.unwrap();
    rows
}

/// Copies, compares, changes one row there and compares again.
async fn copied_and_compared(
    database: &Database,
    url: &str,
    projection: &Projection,
    spoil: &(dyn Fn() + Sync),
) {
    let source = source_with(&database.url(), 2).await.unwrap();
    let url = Url::parse(url).unwrap();
    let target = engine::engine(&url).unwrap().target(&url, &Limits::default(), false).await.unwrap();
    assert_eq!(copy(source.as_ref(), target.as_ref(), projection).await, 1500);
    let reading = engine::engine(&url).unwrap().target(&url, &Limits::default(), true).await.unwrap();
    let all = [projection.clone()];
    let compare = || verify(&all, source.as_ref(), reading.as_ref(), false, VerifyLevel::Rows, 10, &Silent);
    let verdict = compare().await.unwrap().remove(0);
    assert!(verdict.equal, "{verdict:?}");
    assert_eq!((verdict.source_rows, verdict.target_rows), (1500, 1500));
    outside(spoil);
    let verdict = compare().await.unwrap().remove(0);
    assert!(!verdict.equal && verdict.findings.len() == 1, "{verdict:?}");
}

#[test]
fn p_07_what_is_copied_to_postgresql_is_equal() {
    let (database, target) =
        (need_mariadb!().database("equal"), postgres::server().unwrap().database("equal"));
    fill(&database, "t", 1500);
    let defined: Vec<String> =
        COLUMNS.iter().map(|(name, _, native, _)| format!("\"{name}\" {native}")).collect();
    target.execute(&format!("CREATE TABLE t ({}, PRIMARY KEY (id))", defined.join(", ")));
    let projection = across(&database, "public", "postgres", |at| COLUMNS[at].2);
    let spoil =
        || target.execute("UPDATE t SET dbl = coalesce(dbl, 0) * 1.0000000000000002 + 1e-300 WHERE id = 77");
    run(copied_and_compared(&database, &target.url(), &projection, &spoil));
}

#[test]
fn m_16_a_time_that_becomes_an_interval_is_equal() {
    let (database, target) =
        (need_mariadb!().database("spans"), postgres::server().unwrap().database("spans"));
    database.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, at time(6)); INSERT INTO t VALUES (1, '838:59:59.999999'), \
         (2, '-838:59:59.999999'), (3, '00:00:00'), (4, '-00:00:00.5'), (5, NULL), (6, '23:00:00'), (7, '-00:01:00')",
    );
    target.execute("CREATE TABLE t (id bigint PRIMARY KEY, at interval)");
    let mut spans = projection(&database, "t", &[("id", "bigint(20)"), ("at", "time(6)")]);
    for (column, native) in spans.columns.iter_mut().zip(["bigint", "interval"]) {
        column.target_native = native.into();
        column.target_type = engine::engine_named("postgres").unwrap().dialect().parse_type(native);
    }
    run(async {
        let source = source_with(&database.url(), 1).await.unwrap();
        let url = Url::parse(&target.url()).unwrap();
        let there = engine::engine(&url).unwrap().target(&url, &Limits::default(), false).await.unwrap();
        assert_eq!(copy(source.as_ref(), there.as_ref(), &spans).await, 7);
        let verdict =
            verify(&[spans], source.as_ref(), there.as_ref(), false, VerifyLevel::Rows, 10, &Silent)
                .await
                .unwrap();
        assert!(verdict[0].equal, "{verdict:?}");
    });
    assert_eq!(target.value("SELECT extract(epoch FROM at) FROM t WHERE id = 2"), "-3020399.999999");
}

#[test]
fn p_08_what_is_copied_to_sqlite_is_equal() {
    let database = need_mariadb!().database("equal");
    let folder = TempDir::new().unwrap();
    let target = sqlite::File::new(folder.path(), "equal.db");
    fill(&database, "t", 1500);
    let defined: Vec<String> =
        COLUMNS.iter().map(|(name, _, _, native)| format!("\"{name}\" {native}")).collect();
    target.execute(&format!("CREATE TABLE t ({}, PRIMARY KEY (id))", defined.join(", ")));
    let projection = across(&database, "main", "sqlite", |at| COLUMNS[at].3);
    let spoil = || target.execute("UPDATE t SET body = coalesce(body, '') || ' ' WHERE id = 77");
    run(copied_and_compared(&database, &target.url(), &projection, &spoil));
}

#[test]
fn p_09_the_servers_own_sums_find_one_row_that_differs() {
    let database = need_mariadb!().database("sums");
    fill(&database, "t", 1500);
    database.execute("CREATE TABLE u LIKE t; INSERT INTO u SELECT * FROM t ORDER BY id DESC");
    let columns: Vec<(&str, &str)> = COLUMNS.iter().map(|(name, native, ..)| (*name, *native)).collect();
    let (t, u) = (projection(&database, "t", &columns), projection(&database, "u", &columns));
    let sums = |projection: &Projection| {
        let (url, projection) = (database.url(), projection.clone());
        run(async move {
            let snapshot = source_with(&url, 1).await.unwrap().snapshot().await.unwrap();
            let summary = snapshot.summary(&projection, 64).await.unwrap();
            let all: Vec<u32> = (0..64).collect();
            let mut rows = snapshot.bucket_rows(&projection, &all, 64, 10_000).await.unwrap();
            rows.sort();
            (summary, rows)
        })
    };
    let (first, rows) = sums(&t);
    assert_eq!((first.rows(), rows.len()), (1500, 1500));
    assert_eq!(
        first.buckets.iter().map(|(_, sum)| sum).sum::<i128>(),
        rows.iter().map(|(_, hash)| hash).sum()
    );
    assert_eq!(sums(&u), (first.clone(), rows.clone()));
    for change in [
        "body = CONCAT(IFNULL(body, ''), ' ')",
        "raw = CONCAT(IFNULL(raw, ''), X'00')",
        "single = IFNULL(single, 0) + 1",
    ] {
        database.execute(&format!(
            "TRUNCATE u; INSERT INTO u SELECT * FROM t; UPDATE u SET {change} WHERE id = 77"
        ));
        let (changed, listed) = sums(&u);
        let differing: Vec<_> = (0..64).filter(|&at| first.buckets[at] != changed.buckets[at]).collect();
        assert_eq!(differing.len(), 1, "{change}");
        let unlike: Vec<_> = rows.iter().zip(&listed).filter(|(a, b)| a != b).collect();
        assert_eq!((unlike.len(), unlike[0].0.0.as_str(), unlike[0].1.0.as_str()), (1, "77", "77"));
    }
}
