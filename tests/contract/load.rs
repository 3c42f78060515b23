//! Rows: all of a transaction or nothing of it, its mark included; every value as it was.

use std::time::{Duration, Instant};

use towpath::catalog::Form;
use towpath::change::Position;
use towpath::checkpoint::{Checkpoint, ChunkMark, StepMark};

use super::ends::{
    End, PLAN, block_on, each_engine, each_target, load_all, postgres, postgres_fixture, sqlite,
    sqlite_fixture,
};

const COLUMNS: [(&str, &str); 2] = [("id", "integer"), ("v", "text")];

async fn with_tables(source: &End, target: &End) {
    source.sql.execute(
        "CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, NULL), (3, '')",
    );
    target.sql.execute("CREATE TABLE t (id integer PRIMARY KEY, v text)");
}

fn marks(end: &End) -> [Checkpoint; 2] {
    [
        Checkpoint::Chunk(ChunkMark {
            table: end.table("t"),
            number: 0,
            of: 1,
            bounds: "whole".into(),
            position: Position("here".into()),
            rows: 3,
            bytes: 10,
        }),
        Checkpoint::Step(StepMark {
            step: "t/copy".into(),
            inputs: "sha256:01".into(),
            rows: 3,
            bytes: 10,
            millis: 5,
            at: String::new(),
        }),
    ]
}

#[test]
fn a_load_is_all_or_nothing_with_its_marks() {
    each_target(|source, target| async move {
        with_tables(&source, &target).await;
        let projection = source.projection_to(&target, "t", &COLUMNS);
        let lock = target.lock().await;
        for commits in [false, true] {
            let mut session = lock.session().await.unwrap();
            session.begin().await.unwrap();
            assert_eq!(load_all(&source, session.as_mut(), &projection).await.unwrap().rows, 3);
            for mark in marks(&target) {
                session.mark(PLAN, &mark).await.unwrap();
            }
            if commits {
                session.commit().await.unwrap();
            } else {
                // Not even asked to roll back: the process may be gone.
                drop(session);
            }
            if commits {
                break;
            }
            let progress = target.target().await.progress(PLAN).await.unwrap();
            assert_eq!((progress.steps.len(), progress.chunks.len()), (0, 0), "{}", target.engine.name());
            assert_eq!(target.sql.count("t"), 0);
        }
        let progress = target.target().await.progress(PLAN).await.unwrap();
        let [Checkpoint::Chunk(chunk), Checkpoint::Step(step)] = marks(&target) else { unreachable!() };
        assert_eq!(progress.chunks, [chunk]);
        assert_eq!(progress.step("t/copy").map(|mark| (&mark.inputs, mark.rows)), Some((&step.inputs, 3)));
        assert_eq!(
            target.sql.rows("SELECT id, v FROM t ORDER BY id"),
            source.sql.rows("SELECT id, v FROM t ORDER BY id")
        );
        lock.close("done").await.unwrap();
    });
}

#[test]
fn a_void_mark_is_gone() {
    each_target(|_, target| async move {
        target.sql.execute("CREATE TABLE t (id integer PRIMARY KEY, v text)");
        let lock = target.lock().await;
        let mut session = lock.session().await.unwrap();
        session.begin().await.unwrap();
        for mark in marks(&target) {
            session.mark(PLAN, &mark).await.unwrap();
        }
        session.commit().await.unwrap();
        session.begin().await.unwrap();
        let recopy = Checkpoint::Recopy { table: target.table("t"), step: "t/copy".into() };
        session.mark(PLAN, &recopy).await.unwrap();
        session.commit().await.unwrap();
        let progress = target.target().await.progress(PLAN).await.unwrap();
        assert_eq!((progress.steps.len(), progress.chunks.len()), (0, 0));
        drop(session);
        lock.close("done").await.unwrap();
    });
}

/// A row that the target refuses is an error of the load, and nothing of it stays.
#[test]
fn a_row_that_does_not_fit_fails_the_load() {
    each_target(|source, target| async move {
        source.sql.execute("CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'secret-cell')");
        target.sql.execute("CREATE TABLE t (id integer PRIMARY KEY, v text CHECK (length(v) < 5))");
        let projection = source.projection_to(&target, "t", &COLUMNS);
        let lock = target.lock().await;
        let mut session = lock.session().await.unwrap();
        session.begin().await.unwrap();
        let error =
            load_all(&source, session.as_mut(), &projection).await.expect_err("the check was not asked");
        assert_eq!(error.cause, towpath::engine::Cause::Data, "{error}");
        assert!(!error.to_string().contains("secret-cell"), "{error}");
        drop(session);
        assert_eq!(target.sql.count("t"), 0);
        lock.close("failed").await.unwrap();
    });
}

async fn every_row_survives(source: End, target: End, table: &str, ddl: &str, columns: &[(&str, &str)]) {
    target.sql.execute(ddl);
    let projection = source.projection(table, columns);
    let lock = target.lock().await;
    let mut session = lock.session().await.unwrap();
    session.begin().await.unwrap();
    load_all(&source, session.as_mut(), &projection).await.unwrap_or_else(|error| panic!("{table}: {error}"));
    session.commit().await.unwrap();
    drop(session);
    lock.close("done").await.unwrap();
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let all = format!("SELECT {} FROM {table} ORDER BY {}", names.join(", "), names[0]);
    let rows = source.sql.rows(&all);
    assert!(!rows.is_empty(), "{table} is empty");
    assert_eq!(target.sql.rows(&all), rows, "{table}");
}

/// In the neutral form, which crosses engines: each type to itself.
#[test]
fn p_03_every_value_survives_its_neutral_form_postgres() {
    let tables: [(&str, &[(&str, &str)]); 16] = [
        ("pg_01_integers", &[("id", "integer"), ("s", "smallint"), ("i", "integer"), ("b", "bigint")]),
        (
            "pg_02_numeric",
            &[
                ("id", "integer"),
                ("p", "numeric(65,30)"),
                ("money", "numeric(10,2)"),
                ("whole", "numeric(38,0)"),
            ],
        ),
        ("pg_04_numeric_free", &[("id", "integer"), ("n", "numeric")]),
        ("pg_05_numeric_special", &[("id", "integer"), ("n", "numeric")]),
        ("pg_06_floats", &[("id", "integer"), ("r", "real"), ("d", "double precision")]),
        ("pg_07_floats_special", &[("id", "integer"), ("r", "real"), ("d", "double precision")]),
        ("pg_09_boolean", &[("id", "integer"), ("b", "boolean")]),
        (
            "pg_11_varchar",
            &[("id", "integer"), ("v", "character varying(10)"), ("free", "character varying")],
        ),
        ("pg_12_text", &[("id", "integer"), ("t", "text")]),
        ("pg_14_bytea", &[("id", "integer"), ("b", "bytea")]),
        ("pg_15_date_beyond", &[("id", "integer"), ("d", "date")]),
        (
            "pg_16_time",
            &[("id", "integer"), ("t", "time without time zone"), ("t3", "time(3) without time zone")],
        ),
        (
            "pg_18_timestamp_beyond",
            &[("id", "integer"), ("t", "timestamp without time zone"), ("z", "timestamp with time zone")],
        ),
        ("pg_20_interval", &[("id", "integer"), ("i", "interval")]),
        ("pg_21_uuid", &[("id", "uuid"), ("u", "uuid")]),
        ("pg_23_jsonb", &[("id", "integer"), ("j", "jsonb")]),
    ];
    let Some(source) = postgres_fixture("types") else { return };
    for (table, columns) in tables {
        let target = postgres("target").expect("there was a server");
        let list: Vec<String> = columns.iter().map(|(name, native)| format!("{name} {native}")).collect();
        let ddl = format!("CREATE TABLE {table} ({})", list.join(", "));
        block_on(every_row_survives(source.clone(), target, table, &ddl, columns));
    }
}

#[test]
fn p_03_every_value_survives_its_neutral_form_sqlite() {
    let tables: [(&str, &[(&str, &str)]); 7] = [
        ("l_01_untyped", &[("id", "INTEGER"), ("v", "")]),
        ("l_04_integers", &[("id", "INTEGER"), ("v", "INTEGER")]),
        ("l_09_text", &[("id", "INTEGER"), ("v", "TEXT")]),
        ("l_11_odd_any", &[("id", "INTEGER"), ("a", "ANY")]),
        ("floats", &[("id", "INTEGER"), ("r", "REAL")]),
        ("odd_floats", &[("id", "INTEGER"), ("r", "REAL")]),
        ("blobs", &[("id", "INTEGER"), ("b", "BLOB")]),
    ];
    let source = sqlite_fixture("types");
    for (table, columns) in tables {
        let list: Vec<String> = columns.iter().map(|(name, native)| format!("{name} {native}")).collect();
        let strict = if table == "l_11_odd_any" { " STRICT" } else { "" };
        let ddl = format!("CREATE TABLE {table} ({}){strict}", list.join(", "));
        block_on(every_row_survives(source.clone(), sqlite("target"), table, &ddl, columns));
    }
}

/// Chunks are disjoint and cover all rows, however finely the table is cut.
#[test]
fn p_06_chunks_are_a_partition_of_the_rows() {
    let ends = [postgres_fixture("bulk"), Some(sqlite_fixture("bulk"))];
    for end in ends.into_iter().flatten() {
        block_on(async {
            let projection = end.projection("big", &[("id", "bigint"), ("word", "text")]);
            let source = end.source().await;
            let snapshot = source.snapshot().await.unwrap();
            for bytes in [1 << 17, 1 << 20, 1 << 40] {
                let chunks = snapshot.chunks(&projection, bytes).await.unwrap();
                assert_eq!(chunks.len(), chunks[0].of as usize);
                assert!(bytes > 1 << 20 || chunks.len() > 1, "{} does not cut", end.engine.name());
                let mut rows = 0;
                for chunk in &chunks {
                    rows += read_rows(snapshot.as_ref(), &projection, chunk).await;
                }
                assert_eq!(rows, 60_000, "{} in {} chunks", end.engine.name(), chunks.len());
            }
            snapshot.close().await.unwrap();
        });
    }
}

async fn read_rows(
    snapshot: &dyn towpath::engine::Snapshot,
    projection: &towpath::catalog::Projection,
    chunk: &towpath::engine::Chunk,
) -> u64 {
    let read = towpath::engine::Read { projection, chunk, batch_bytes: 1 << 16, paced: false };
    let mut stream = snapshot.read(&read).await.unwrap();
    let mut seen = 0;
    loop {
        match stream.next().await.unwrap() {
            towpath::engine::Batch::Rows(batch) => {
                seen += batch.rows() as u64;
                stream.recycle(batch);
            }
            towpath::engine::Batch::Native { .. } => panic!("native bytes in the neutral form"),
            towpath::engine::Batch::End { rows } => {
                assert_eq!(rows, seen, "the end marker counts otherwise");
                return rows;
            }
        }
    }
}

/// Two readers of one snapshot, and a reader that comes late, see one moment.
#[test]
fn g_04_a_snapshot_is_one_moment() {
    each_engine(|source, _| async move {
        // A SQLite reader in rollback-journal mode would keep the writer out.
        if source.engine.name() == "sqlite" {
            source.sql.execute("PRAGMA journal_mode = WAL");
        }
        source.sql.execute(
            "CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
        );
        let projection = source.projection("t", &COLUMNS);
        let reading = source.source().await;
        let snapshot = reading.snapshot().await.unwrap();
        source.sql.execute("INSERT INTO t VALUES (3, 'late'); UPDATE t SET v = 'changed' WHERE id = 1");
        let chunks = snapshot.chunks(&projection, 1 << 30).await.unwrap();
        assert_eq!(snapshot.count(&projection).await.unwrap(), 2);
        assert_eq!(read_rows(snapshot.as_ref(), &projection, &chunks[0]).await, 2);
        snapshot.close().await.unwrap();
        let later = reading.snapshot().await.unwrap();
        assert_eq!(later.count(&projection).await.unwrap(), 3);
        later.close().await.unwrap();
    });
}

/// Rows read before a change are not taken for rows read after it.
#[test]
fn unchanged_says_no_when_a_row_changed() {
    each_engine(|source, _| async move {
        if source.engine.name() == "sqlite" {
            source.sql.execute("PRAGMA journal_mode = WAL");
        }
        source.sql.execute(
            "CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
        );
        let projection = source.projection("t", &COLUMNS);
        let reading = source.source().await;
        let began = Instant::now();
        // Transactions of others that are older than the rows make it doubt, and end sometime.
        let (position, counted) = loop {
            let first = reading.snapshot().await.unwrap();
            let position = first.position().clone();
            let chunks = first.chunks(&projection, 1 << 30).await.unwrap();
            let counted: Vec<_> = chunks.into_iter().map(|chunk| (chunk, 2)).collect();
            first.close().await.unwrap();
            let same = reading.snapshot().await.unwrap();
            let unchanged = same.unchanged(&projection, &position, &counted).await.unwrap();
            same.close().await.unwrap();
            if unchanged {
                break (position, counted);
            }
            assert!(began.elapsed() < Duration::from_secs(120), "{} doubts for ever", source.engine.name());
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        for change in [
            "UPDATE t SET v = 'x' WHERE id = 1",
            "DELETE FROM t WHERE id = 2",
            "INSERT INTO t VALUES (9, 'new')",
        ] {
            source.sql.execute(change);
            let changed = reading.snapshot().await.unwrap();
            let answer = changed.unchanged(&projection, &position, &counted).await.unwrap();
            assert!(!answer, "{}: {change}", source.engine.name());
            changed.close().await.unwrap();
        }
    });
}

/// Sums find what counts do not, for each form that rows travel in.
#[test]
fn summaries_tell_tables_apart() {
    each_engine(|a, b| async move {
        let make = "CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, NULL), (3, '')";
        a.sql.execute(make);
        b.sql.execute(make);
        let projection = a.projection("t", &COLUMNS);
        for form in [Form::Rows, Form::NativeText, Form::NativeFast] {
            let mut projection = projection.clone();
            projection.form = form;
            assert_eq!(summary(&a, &projection).await, summary(&b, &projection).await);
        }
        for change in [
            "UPDATE t SET v = '' WHERE id = 2",
            "UPDATE t SET v = CASE id WHEN 1 THEN '' ELSE 'a' END WHERE id IN (1, 3)",
        ] {
            b.sql.execute(change);
            assert_ne!(
                summary(&a, &projection).await,
                summary(&b, &projection).await,
                "{}: {change}",
                a.engine.name()
            );
        }
    });
}

async fn summary(end: &End, projection: &towpath::catalog::Projection) -> towpath::engine::Summary {
    let source = end.source().await;
    let snapshot = source.snapshot().await.unwrap();
    let summary = snapshot.summary(projection, 4).await.unwrap();
    snapshot.close().await.unwrap();
    summary
}
