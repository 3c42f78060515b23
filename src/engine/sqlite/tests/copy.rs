//! Rows from one file to another: every class of value, both ways of travelling, one moment.

use rusqlite::Connection;

use super::structure::ODD;
use super::{Place, copy_all, drain, dump, load_chunk, lock, name, projection, whole};
use crate::catalog::{Cell, ColumnMap, Form, Projection, RowBatch, Type};
use crate::engine::{Batch, BatchStream, Cause, EngineError, Load, Read, Snapshot};

const VALUES: &str = r#"
CREATE TABLE v (id INTEGER PRIMARY KEY, a, t TEXT, i INT, r REAL, b BLOB, n NUMERIC);
INSERT INTO v VALUES (1, NULL, NULL, NULL, NULL, NULL, NULL),
  (-9223372036854775808, 9223372036854775807, '', 0, -0.0, x'', 0.1),
  (2, 'a' || char(0) || 'b', 'line
feed', -1, 9e999, x'00ff', 9223372036854775807),
  (3, x'c328', CAST(x'c328' AS TEXT), 'not a number', -9e999, 'text in blob', '1e500'),
  (4, 1.5, 'é💧', 9.5, 5e-324, zeroblob(100000), 1e300);
"#;

#[tokio::test]
async fn l_01_and_l_09_every_class_of_value_is_copied_as_it_is() {
    for (form, mode) in
        [(Form::NativeFast, "delete"), (Form::NativeFast, "wal"), (Form::NativeText, "delete")]
    {
        let place = Place::new();
        let a = place.make("a.db", &format!("PRAGMA journal_mode = {mode}; {VALUES}"));
        copy_all(&place, "a.db", "b.db", form).await.expect("copied");
        let b = Connection::open(place.path("b.db")).expect("opened");
        let all =
            "SELECT *, typeof(a), typeof(t), typeof(i), typeof(r), typeof(b), typeof(n) FROM v ORDER BY id";
        assert_eq!(dump(&a, all), dump(&b, all), "{form:?} {mode}");
    }
}

#[tokio::test]
async fn a_whole_schema_with_rows_is_copied_and_sums_up_the_same() {
    let place = Place::new();
    let a = place.make("a.db", ODD);
    a.execute_batch(
        "INSERT INTO plain (id, name) VALUES (1, 'a'), (2, 'B'); INSERT INTO named VALUES (1, 2); INSERT INTO quirk VALUES (NULL, 1), (NULL, 'x');
         INSERT INTO narrow VALUES ('k', 1); INSERT INTO made (a) VALUES (5); INSERT INTO child (id, p) VALUES (1, 1); INSERT INTO [select] VALUES ('f', 1, 2, 3)",
    )
    .expect("rows");
    let catalog = copy_all(&place, "a.db", "b.db", Form::NativeFast).await.expect("copied");
    let (source, target) = (place.source("a.db").await, place.target("b.db").await);
    let (from, to) = (source.snapshot().await.expect("one"), target.snapshot().await.expect("two"));
    for table in &catalog.tables {
        let projection = projection(table, Form::NativeFast);
        let (one, two) = (from.summary(&projection, 16).await, to.summary(&projection, 16).await);
        assert_eq!(one.expect("a sum"), two.expect("a sum"), "{}", table.name);
    }
    let plan_again = target.inspect().await.expect("inspected");
    assert_eq!(
        plan_again.tables.iter().map(|table| &table.columns).collect::<Vec<_>>(),
        catalog.tables.iter().map(|table| &table.columns).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn l_09_a_utf_16_file_is_copied_into_a_utf_8_one() {
    let place = Place::new();
    let a = place.make("a.db", "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (a TEXT, b); INSERT INTO t VALUES ('é💧', 'x'), (NULL, 1)");
    copy_all(&place, "a.db", "b.db", Form::NativeFast).await.expect("copied");
    let b = Connection::open(place.path("b.db")).expect("opened");
    assert_eq!(dump(&a, "SELECT * FROM t"), dump(&b, "SELECT * FROM t"));
}

#[tokio::test]
async fn l_01_a_value_of_another_class_is_refused_with_its_place_and_without_its_text() {
    let place = Place::new();
    place.make(
        "a.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, i INT); INSERT INTO t VALUES (7, 1), (9, 'secret')",
    );
    let source = place.source("a.db").await;
    let table = source.inspect().await.expect("inspected").tables.remove(0);
    let snapshot = source.snapshot().await.expect("a snapshot");
    let projection = projection(&table, Form::Rows);
    let (projection, chunk) = (&projection, &whole());
    let mut stream = snapshot
        .read(&Read { projection, chunk, batch_bytes: 1 << 16, paced: false })
        .await
        .expect("a stream");
    let error = drain(stream.as_mut()).await.expect_err("refused");
    let text = format!("{error}{:?}", error.hint);
    assert_eq!(error.cause, Cause::Data);
    assert!(text.contains("\"i\"") && text.contains("rowid 9") && text.contains("text"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn p_06_chunks_are_disjoint_and_cover_all_rows() {
    let place = Place::new();
    let fill = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);
        WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
        INSERT INTO t SELECT (i - 300) * (i % 7 + 1) * 1000 + i, hex(zeroblob(100)) FROM n; INSERT INTO t VALUES (9223372036854775807, 'last')";
    place.make("a.db", fill);
    let source = place.source("a.db").await;
    let table = source.inspect().await.expect("inspected").tables.remove(0);
    let snapshot = source.snapshot().await.expect("a snapshot");
    let projection = projection(&table, Form::Rows);
    let chunks = snapshot.chunks(&projection, 10_000).await.expect("chunks");
    assert!(chunks.len() > 5, "{chunks:?}");
    assert_eq!(chunks, snapshot.chunks(&projection, 10_000).await.expect("again"), "deterministic");
    let mut all = 0;
    for chunk in &chunks {
        let read = Read { projection: &projection, chunk, batch_bytes: 1000, paced: false };
        let mut stream = snapshot.read(&read).await.expect("a stream");
        let (rows, counted) = drain(stream.as_mut()).await.expect("rows");
        assert_eq!(rows as u64, counted);
        all += counted;
    }
    assert_eq!(all, snapshot.count(&projection).await.expect("a count"));
    assert_eq!(all, 1001);
}

#[tokio::test]
async fn a_large_table_on_its_way_to_another_engine_is_shared_by_readers() {
    let place = Place::new();
    place.make("a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 80) INSERT INTO t SELECT i, zeroblob(1 << 20) FROM n");
    let source = place.source("a.db").await;
    let table = source.inspect().await.expect("inspected").tables.remove(0);
    let snapshot = source.snapshot().await.expect("a snapshot");
    let cut = async |form: Form| snapshot.chunks(&projection(&table, form), 1 << 30).await.expect("chunks");
    let bounds: Vec<String> = cut(Form::Rows).await.into_iter().map(|chunk| chunk.bounds).collect();
    assert_eq!(bounds, ["rowid ..26", "rowid 27..53", "rowid 54.."]);
    assert_eq!(cut(Form::NativeFast).await.len(), 1, "one statement of the target fetches them all");
}

#[tokio::test]
async fn chunks_of_a_file_that_stands_still_are_fetched_by_the_target() {
    let place = Place::new();
    let a = place.make("a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, rowid TEXT, v);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT i, 'r', hex(i) FROM n");
    let source = place.source("a.db").await;
    let table = source.inspect().await.expect("inspected").tables.remove(0);
    let target = place.target("b.db").await;
    let lock = lock(target.as_ref()).await;
    lock.session().await.expect("a session").execute(&super::statements(&table)).await.expect("made");
    let snapshot = source.snapshot().await.expect("a snapshot");
    let mut projection = projection(&table, Form::NativeFast);
    projection.filter = Some("v <> 'x'".into());
    let chunks = snapshot.chunks(&projection, 20_000).await.expect("chunks");
    assert!(chunks.len() > 2);
    for chunk in &chunks {
        load_chunk(lock.as_ref(), snapshot.as_ref(), &projection, chunk).await.expect("loaded");
    }
    let b = Connection::open(place.path("b.db")).expect("opened");
    assert_eq!(dump(&a, "SELECT * FROM t"), dump(&b, "SELECT * FROM t"));
}

#[tokio::test]
async fn f_78_readers_in_wal_mode_share_one_moment_while_others_commit() {
    let place = Place::new();
    let a = place.make(
        "a.db",
        "PRAGMA journal_mode = wal; CREATE TABLE t (a); CREATE TABLE u (a); INSERT INTO t VALUES (1)",
    );
    let source = place.source("a.db").await;
    let catalog = source.inspect().await.expect("inspected");
    let snapshot = source.snapshot().await.expect("a snapshot");
    a.execute_batch("INSERT INTO t VALUES (2); INSERT INTO u VALUES (2)").expect("the application goes on");
    let rows = async |snapshot: &dyn Snapshot, index: usize| {
        let projection = projection(&catalog.tables[index], Form::NativeFast);
        let (projection, chunk) = (&projection, &whole());
        let mut stream = snapshot
            .read(&Read { projection, chunk, batch_bytes: 99, paced: false })
            .await
            .expect("a stream");
        drain(stream.as_mut()).await.expect("rows")
    };
    assert_eq!((rows(snapshot.as_ref(), 0).await, rows(snapshot.as_ref(), 1).await), ((1, 1), (0, 0)));
    let old = snapshot.position().clone();
    drop(snapshot);
    let snapshot = source.snapshot().await.expect("a snapshot");
    assert_eq!((rows(snapshot.as_ref(), 0).await, rows(snapshot.as_ref(), 1).await), ((2, 2), (1, 1)));
    let projection = projection(&catalog.tables[0], Form::Rows);
    assert!(!snapshot.unchanged(&projection, &old, &[]).await.expect("an answer"));
}

#[tokio::test]
async fn l_17_a_snapshot_holds_up_commits_and_knows_its_position_again() {
    let place = Place::new();
    let a = place.make("a.db", "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    a.busy_timeout(std::time::Duration::ZERO).expect("no waiting");
    let source = place.source("a.db").await;
    let table = source.inspect().await.expect("inspected").tables.remove(0);
    let projection = projection(&table, Form::Rows);
    let first = source.snapshot().await.expect("a snapshot");
    assert!(a.execute_batch("UPDATE t SET a = 2").is_err(), "the commit waits");
    let old = first.position().clone();
    first.close().await.expect("closed");
    let second = source.snapshot().await.expect("a snapshot");
    assert!(second.unchanged(&projection, &old, &[]).await.expect("an answer"));
    second.close().await.expect("closed");
    a.execute_batch("UPDATE t SET a = 2").expect("the file is free");
    let third = source.snapshot().await.expect("a snapshot");
    assert!(!third.unchanged(&projection, &old, &[]).await.expect("an answer"));
}

/// A stream made by hand.
struct Made(Vec<Batch>);

#[async_trait::async_trait]
impl BatchStream for Made {
    async fn next(&mut self) -> Result<Batch, EngineError> {
        Ok(self.0.remove(0))
    }
}

/// Loads one cell of a type from another engine into a strict table; the stored text, or the error.
async fn load_one(ty: Type, native: &str, fill: impl FnOnce(&mut RowBatch)) -> Result<String, EngineError> {
    let place = Place::new();
    let target = place.target("b.db").await;
    let lock = lock(target.as_ref()).await;
    let mut session = lock.session().await.expect("a session");
    session.execute(&[format!("CREATE TABLE t (c {native}) STRICT")]).await.expect("made");
    let column = ColumnMap {
        source: "c".into(),
        target: "c".into(),
        source_type: ty.clone(),
        source_native: "x".into(),
        target_type: ty,
        target_native: native.into(),
        not_null: false,
        zero_date: Default::default(),
        error_value_null: false,
        cast: None,
    };
    let (source, target) = (name("t"), name("t"));
    let projection =
        Projection { source, target, columns: vec![column], filter: None, key: vec![], form: Form::Rows };
    let mut batch = RowBatch::new(1);
    fill(&mut batch);
    batch.end_row();
    let mut stream = Made(vec![Batch::Rows(batch), Batch::End { rows: 1 }]);
    session.begin().await?;
    session.load(&Load { projection: &projection, frozen: false, gauge: &|_, _| {} }, &mut stream).await?;
    session.commit().await?;
    let b = Connection::open(place.path("b.db")).expect("opened");
    Ok(dump(&b, "SELECT c FROM t"))
}

#[tokio::test]
async fn g_03_values_that_sqlite_would_change_are_refused() {
    let text = |text: &'static str| move |batch: &mut RowBatch| batch.push_text(text.as_bytes());
    let cell = |cell: Cell| move |batch: &mut RowBatch| batch.push(cell);
    let decimal = Type::Decimal { precision: None, scale: None };
    let zoned = Type::TimestampTz { precision: 6 };
    let float = Type::Float { bits: 64 };
    let unsigned = Type::UInt { bits: 64 };
    // PG-05, PG-07, PG-15, PG-18, M-01
    for (ty, native, value) in
        [(&decimal, "TEXT", "NaN"), (&decimal, "TEXT", "Infinity"), (&Type::Date, "TEXT", "infinity")]
    {
        let error = load_one(ty.clone(), native, text(value)).await.expect_err(value);
        assert_eq!(error.cause, Cause::Data);
    }
    assert!(load_one(Type::Date, "TEXT", text("0044-03-15 BC")).await.is_err());
    assert!(load_one(zoned.clone(), "TEXT", text("10000-01-01 00:00:00+00")).await.is_err());
    assert!(load_one(float.clone(), "REAL", cell(Cell::Float(f64::NAN))).await.is_err());
    assert!(load_one(unsigned.clone(), "INTEGER", cell(Cell::UInt(u64::MAX))).await.is_err());
    assert!(load_one(Type::Text, "INTEGER", text("007x")).await.is_err());
}

#[tokio::test]
async fn values_from_other_engines_are_kept_in_their_canonical_form() {
    let text = |text: &'static str| move |batch: &mut RowBatch| batch.push_text(text.as_bytes());
    let cell = |cell: Cell| move |batch: &mut RowBatch| batch.push(cell);
    let decimal = Type::Decimal { precision: None, scale: None };
    let zoned = Type::TimestampTz { precision: 6 };
    let float = Type::Float { bits: 64 };
    let stored = |text: &str| format!("Text({:?})|\n", text.as_bytes());
    let loaded = load_one(decimal, "TEXT", text("12.3400")).await;
    assert_eq!(loaded.expect("loaded"), stored("12.3400"), "PG-02");
    let loaded = load_one(zoned, "TEXT", text("2024-02-29 23:59:59.5+00")).await;
    assert_eq!(loaded.expect("loaded"), stored("2024-02-29 23:59:59.5Z"), "PG-19");
    let loaded = load_one(float.clone(), "REAL", cell(Cell::Float(f64::INFINITY))).await;
    assert_eq!(loaded.expect("loaded"), "Real(inf)|\n", "PG-07");
    let loaded = load_one(float, "REAL", cell(Cell::Float(-0.0))).await;
    // A REAL column keeps whole numbers as integers, which have no negative zero; both are equal.
    assert_eq!(loaded.expect("loaded"), "Real(0.0)|\n", "PG-06");
    let loaded = load_one(Type::Bool, "INTEGER", cell(Cell::Bool(true))).await;
    assert_eq!(loaded.expect("loaded"), "Integer(1)|\n", "PG-09");
    let loaded = load_one(Type::Text, "TEXT", text("a\0b")).await;
    assert_eq!(loaded.expect("loaded"), stored("a\0b"), "M-07");
}

#[tokio::test]
async fn a_stream_that_counts_other_rows_than_came_is_not_loaded() {
    let place = Place::new();
    let target = place.target("b.db").await;
    let lock = lock(target.as_ref()).await;
    let mut session = lock.session().await.expect("a session");
    session.execute(&["CREATE TABLE t (c)".into()]).await.expect("made");
    let (source, target) = (name("t"), name("t"));
    let projection =
        Projection { source, target, columns: vec![], filter: None, key: vec![], form: Form::Rows };
    let mut batch = RowBatch::new(0);
    batch.end_row();
    let mut stream = Made(vec![Batch::Rows(batch), Batch::End { rows: 2 }]);
    session.begin().await.expect("begun");
    let load = Load { projection: &projection, frozen: false, gauge: &|_, _| {} };
    let error = session.load(&load, &mut stream).await.expect_err("refused");
    assert!(error.to_string().contains("1 rows arrived, the source counts 2"), "{error}");
    drop(session);
    let b = Connection::open(place.path("b.db")).expect("opened");
    assert_eq!(dump(&b, "SELECT count(*) FROM t"), "Integer(0)|\n");
}

#[tokio::test]
async fn s_28_triggers_of_the_target_do_not_fire_on_rows_that_are_copied() {
    let place = Place::new();
    place.make("a.db", "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    place.make("b.db", "CREATE TABLE t (a); CREATE TRIGGER double AFTER INSERT ON t WHEN new.a < 9 BEGIN INSERT INTO t VALUES (9); END");
    let source = place.source("a.db").await;
    let table = source.inspect().await.expect("inspected").tables.remove(0);
    let target = place.target("b.db").await;
    let lock = lock(target.as_ref()).await;
    let snapshot = source.snapshot().await.expect("a snapshot");
    let projection = projection(&table, Form::NativeFast);
    let loaded = load_chunk(lock.as_ref(), snapshot.as_ref(), &projection, &whole()).await.expect("loaded");
    assert_eq!(loaded.rows, 1);
    let b = Connection::open(place.path("b.db")).expect("opened");
    assert_eq!(dump(&b, "SELECT a FROM t"), "Integer(1)|\n");
}

#[tokio::test]
async fn c_10_summaries_see_every_kind_of_difference() {
    let place = Place::new();
    let make = |file: &str, rows: &str| {
        drop(place.make(
            file,
            &format!("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); INSERT INTO t VALUES {rows}"),
        ));
    };
    make("same.db", "(1, 'x', 'yz'), (2, '', 5), (3, 'q', 'r'), (4, 'q', 'r')");
    let others = [
        ("one byte", "(1, 'x', 'yZ'), (2, '', 5), (3, 'q', 'r'), (4, 'q', 'r')"),
        ("missing row", "(1, 'x', 'yz'), (2, '', 5), (3, 'q', 'r')"),
        ("extra row", "(1, 'x', 'yz'), (2, '', 5), (3, 'q', 'r'), (4, 'q', 'r'), (5, 1, 1)"),
        ("swapped values", "(1, 'yz', 'x'), (2, '', 5), (3, 'q', 'r'), (4, 'q', 'r')"),
        ("moved border", "(1, 'xy', 'z'), (2, '', 5), (3, 'q', 'r'), (4, 'q', 'r')"),
        ("null for empty", "(1, 'x', 'yz'), (2, NULL, 5), (3, 'q', 'r'), (4, 'q', 'r')"),
        ("text for number", "(1, 'x', 'yz'), (2, '', '5'), (3, 'q', 'r'), (4, 'q', 'r')"),
        ("pair exchanged", "(1, 'x', 'yz'), (2, '', 5), (3, 's', 's'), (4, 's', 's')"),
    ];
    let sum = async |file: &str, keyed: bool| {
        let source = place.source(file).await;
        let table = source.inspect().await.expect("inspected").tables.remove(0);
        let mut projection = projection(&table, Form::NativeFast);
        if !keyed {
            projection.columns.remove(0);
            projection.key.clear();
        }
        let snapshot = source.snapshot().await.expect("a snapshot");
        let rows = snapshot.bucket_rows(&projection, &[0, 1, 2, 3], 4, 99).await.expect("rows");
        (snapshot.summary(&projection, 4).await.expect("a sum"), rows)
    };
    for keyed in [true, false] {
        let (same, rows) = sum("same.db", keyed).await;
        assert_eq!((same.rows(), rows.len()), (4, 4));
        let listed = rows.iter().fold(0i128, |sum, (_, hash)| sum.wrapping_add(*hash));
        assert_eq!(listed, same.buckets.iter().fold(0i128, |sum, (_, part)| sum.wrapping_add(*part)));
        for (what, rows) in others {
            let file = format!("{what} {keyed}.db");
            make(&file, rows);
            assert_ne!(sum(&file, keyed).await.0, same, "{what}");
        }
    }
}

/// Every table's rows as SQLite shows them, in their own order where they have one.
fn rows_of(conn: &Connection, tables: &[crate::catalog::Table]) -> Vec<String> {
    let text = |table: &crate::catalog::Table| {
        let columns: Vec<_> = (0..table.columns.len()).map(|index| (index + 1).to_string()).collect();
        let quoted = super::super::dialect::quote(&table.name.name);
        format!(
            "{} {}",
            table.name,
            dump(conn, &format!("SELECT * FROM {quoted} ORDER BY {}", columns.join(", ")))
        )
    };
    tables.iter().map(text).collect()
}

#[tokio::test]
async fn the_sample_databases_arrive_whole() {
    for (what, sql) in [
        ("chinook", include_str!("../../../../schemas/sqlite/chinook_like.sql")),
        ("sakila", include_str!("../../../../schemas/sqlite/sakila_like.sql")),
        ("types", include_str!("../../../../schemas/sqlite/types.sql")),
    ] {
        let place = Place::new();
        let a = place.make("a.db", sql);
        let catalog = copy_all(&place, "a.db", "b.db", Form::NativeFast).await.expect(what);
        let b = Connection::open(place.path("b.db")).expect("opened");
        assert_eq!(rows_of(&a, &catalog.tables), rows_of(&b, &catalog.tables), "{what}");
        let mut again = place.source("b.db").await.inspect().await.expect("inspected");
        for (old, new) in catalog.tables.iter().zip(&mut again.tables) {
            (new.rows, new.bytes) = (old.rows, old.bytes);
            new.indexes.iter_mut().zip(&old.indexes).for_each(|(new, old)| new.bytes = old.bytes);
        }
        assert_eq!(catalog.tables, again.tables, "{what}");
        assert_eq!(dump(&b, "PRAGMA integrity_check"), format!("Text({:?})|\n", b"ok"), "{what}");
    }
}
