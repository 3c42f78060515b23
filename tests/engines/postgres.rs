//! PostgreSQL through the engine's traits: snapshots, copies in every form, marks with their
//! data, the lock and its fence, sequences, sums, and what a user reads when something is wrong.

use std::time::Duration;

use towpath::catalog::{Cast, ColumnMap, Form, Name, Projection, RowBatch, Sequence, Type};
use towpath::checkpoint::{Checkpoint, ChunkMark, StepMark};
use towpath::engine::{
    self, Batch, BatchStream, Cause, Chunk, EngineError, Limits, Load, Loaded, Lock, Read, SequenceValue,
    Session, Snapshot, Source, Target, Url,
};

use crate::need_server;
use crate::support::postgres::{Database, PASSWORD, other_server};
use crate::support::proxy::{Fault, Proxy, Way};

const PLAN: &str = "plan \"with' odd name";

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

async fn source(text: &str) -> Result<Box<dyn Source>, EngineError> {
    let url = url(text);
    engine::engine(&url).unwrap().source(&url, &Limits::default()).await
}

async fn target(text: &str) -> Result<Box<dyn Target>, EngineError> {
    let url = url(text);
    engine::engine(&url).unwrap().target(&url, &Limits::default(), false).await
}

async fn locked(database: &Database) -> Box<dyn Lock> {
    target(&database.url()).await.unwrap().lock(PLAN, "sha256:goal", Duration::ZERO).await.unwrap()
}

/// Runs an async test where blocking calls to the test's own sessions are allowed too.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A call of the support's blocking helpers, inside a test's runtime.
fn outside<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(call).join().unwrap())
}

fn map(name: &str, ty: &Type, native: &str) -> ColumnMap {
    ColumnMap {
        source: name.into(),
        target: name.into(),
        source_type: ty.clone(),
        source_native: native.into(),
        target_type: ty.clone(),
        target_native: native.into(),
        not_null: false,
        cast: None,
    }
}

fn table(name: &str, form: Form, columns: Vec<ColumnMap>) -> Projection {
    Projection {
        source: Name::new("public", name),
        target: Name::new("public", name),
        key: if columns.is_empty() { vec![] } else { vec![0] },
        columns,
        filter: None,
        form,
    }
}

fn bigint() -> Type {
    Type::Int { bits: 64 }
}

fn numbers(form: Form) -> Projection {
    table("numbers", form, vec![map("id", &bigint(), "bigint"), map("word", &Type::Text, "text")])
}

const NUMBERS: &str = "CREATE TABLE numbers (id bigint, word text)";
const FILLED: &str = "CREATE TABLE numbers (id bigint PRIMARY KEY, word text); \
    INSERT INTO numbers SELECT i, 'word ' || i FROM generate_series(1, 5000) i; ANALYZE numbers";

fn no_gauge(_: u64, _: u64) {}

async fn whole(snapshot: &dyn Snapshot, projection: &Projection) -> Box<dyn BatchStream> {
    let chunks = snapshot.chunks(projection, u64::MAX).await.unwrap();
    assert_eq!(chunks.len(), 1);
    let read = Read { projection, chunk: &chunks[0], batch_bytes: 1 << 16 };
    snapshot.read(&read).await.unwrap()
}

async fn load(
    session: &mut dyn Session,
    projection: &Projection,
    stream: &mut dyn BatchStream,
) -> Result<Loaded, EngineError> {
    session.load(&Load { projection, frozen: false, gauge: &no_gauge }, stream).await
}

/// Copies a whole table in a transaction of its own.
async fn copy(from: &Database, to: &Database, projection: &Projection) -> Result<Loaded, EngineError> {
    let snapshot = source(&from.url()).await?.snapshot().await?;
    let lock = locked(to).await;
    let mut session = lock.session().await?;
    session.begin().await?;
    let mut stream = whole(snapshot.as_ref(), projection).await;
    let loaded = load(session.as_mut(), projection, stream.as_mut()).await?;
    session.commit().await?;
    snapshot.close().await?;
    lock.close("done").await?;
    Ok(loaded)
}

fn step(name: &str) -> Checkpoint {
    Checkpoint::Step(StepMark {
        step: name.into(),
        inputs: "sha256:x".into(),
        rows: 3,
        bytes: 4,
        millis: 5,
        at: String::new(),
    })
}

/// A stream made by the test.
struct Script(Vec<Result<Batch, EngineError>>);

#[async_trait::async_trait]
impl BatchStream for Script {
    async fn next(&mut self) -> Result<Batch, EngineError> {
        self.0.remove(0)
    }
}

#[test]
fn every_form_brings_the_same_rows() {
    let server = need_server!();
    let values = "CREATE TABLE odd (id bigint PRIMARY KEY, \"a\"\"b\" text, flag boolean, part real, whole double precision, \
         amount numeric, raw bytea, born date, at time, stamp timestamp, moment timestamptz, span interval, \
         code char(5), tags text[], nothing text); \
         INSERT INTO odd VALUES \
         (1, E'tab\\tnew\\nline\\\\N', true, 0.1, 0.1, 12.3400, '\\x00ff5c', '2024-02-29', '23:59:59.5', \
          '2024-02-29 23:59:59.123456', '2024-02-29 23:59:59+02', '1 year 2 months 3 days 04:05:06.5', 'ab', '{\"a,b\",NULL,\"\"}', NULL), \
         (2, '', false, 'NaN', '-Infinity', 'NaN', '', '-infinity', '24:00:00', '0044-03-15 00:00:00 BC', 'infinity', \
          '-178000000 years', '', '{}', NULL), \
         (3, E'\\\\.', NULL, 1e-38, 1e-320, 99999999999999999999.5, NULL, '5874897-01-01', NULL, NULL, NULL, '-1 mon +1 day', NULL, NULL, NULL)";
    let time = Type::Time { precision: 6, zone: false };
    let array = Type::Array { of: Box::new(Type::Text) };
    let columns = |form| {
        table(
            "odd",
            form,
            vec![
                map("id", &bigint(), "bigint"),
                map("a\"b", &Type::Text, "text"),
                map("flag", &Type::Bool, "boolean"),
                map("part", &Type::Float { bits: 32 }, "real"),
                map("whole", &Type::Float { bits: 64 }, "double precision"),
                map("amount", &Type::Decimal { precision: None, scale: None }, "numeric"),
                map("raw", &Type::Blob, "bytea"),
                map("born", &Type::Date, "date"),
                map("at", &time, "time"),
                map("stamp", &Type::Timestamp { precision: 6 }, "timestamp"),
                map("moment", &Type::TimestampTz { precision: 6 }, "timestamptz"),
                map("span", &Type::Interval, "interval"),
                map("code", &Type::Char { length: 5 }, "character(5)"),
                map("tags", &array, "text[]"),
                map("nothing", &Type::Text, "text"),
            ],
        )
    };
    for form in [Form::NativeFast, Form::NativeText, Form::Rows] {
        let (from, to) = (server.database("forms"), server.database("forms"));
        from.execute(values);
        to.execute(values.split("; INSERT").next().unwrap());
        let loaded = run(copy(&from, &to, &columns(form))).unwrap();
        assert_eq!(loaded.rows, 3);
        let all = "SELECT o.*::text FROM odd o ORDER BY id".replace("o.*::text", "o::text");
        assert_eq!(from.rows(&all), to.rows(&all), "{form:?}");
    }
}

#[test]
fn p_06_chunks_cover_the_table_and_casts_and_filters_work_in_each() {
    let server = need_server!();
    let (from, to) = (server.database("chunks"), server.database("chunks"));
    from.execute(FILLED);
    to.execute("CREATE TABLE numbers (id text, word text)");
    let mut projection = numbers(Form::NativeFast);
    projection.columns[0].target_type = Type::Text;
    projection.columns[0].cast = Some(Cast { native: "text".into(), zone: None });
    projection.filter = Some("id % 2 = 0 OR id = 1".into());
    run(async {
        let snapshot = source(&from.url()).await.unwrap().snapshot().await.unwrap();
        let chunks = snapshot.chunks(&projection, 50_000).await.unwrap();
        assert!(chunks.len() > 3, "{chunks:?}");
        let lock = locked(&to).await;
        let mut session = lock.session().await.unwrap();
        let mut rows = 0;
        for chunk in &chunks {
            session.begin().await.unwrap();
            let read = Read { projection: &projection, chunk, batch_bytes: 1 << 16 };
            let mut stream = snapshot.read(&read).await.unwrap();
            rows += load(session.as_mut(), &projection, stream.as_mut()).await.unwrap().rows;
            session.commit().await.unwrap();
        }
        assert_eq!(rows, 2501);
        assert_eq!(snapshot.count(&projection).await.unwrap(), 2501);
    });
    assert_eq!(to.value("SELECT count(DISTINCT id) FROM numbers"), "2501");
}

#[test]
fn s_20_a_table_without_columns_keeps_its_rows() {
    let server = need_server!();
    for form in [Form::NativeFast, Form::NativeText, Form::Rows] {
        let (from, to) = (server.database("bare"), server.database("bare"));
        from.execute(
            "CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES",
        );
        to.execute("CREATE TABLE bare ()");
        assert_eq!(run(copy(&from, &to, &table("bare", form, vec![]))).unwrap().rows, 2);
        assert_eq!(to.value("SELECT count(*) FROM bare"), "2");
    }
}

#[test]
fn g_04_all_readers_see_one_moment() {
    let server = need_server!();
    let from = server.database("moment");
    from.execute(FILLED);
    run(async {
        let projection = numbers(Form::Rows);
        let snapshot = source(&from.url()).await.unwrap().snapshot().await.unwrap();
        outside(|| {
            from.execute("UPDATE numbers SET word = 'new'; INSERT INTO numbers VALUES (9999, 'late')")
        });
        let mut stream = whole(snapshot.as_ref(), &projection).await;
        let mut seen = 0;
        loop {
            match stream.next().await.unwrap() {
                Batch::Rows(rows) => {
                    for index in 0..rows.rows() {
                        assert!(rows.data(rows.row(index)[1]).starts_with(b"word "));
                    }
                    seen += rows.rows() as u64;
                }
                Batch::End { rows } => break assert_eq!((rows, seen), (5000, 5000)),
                Batch::Native(_) => panic!("rows were asked for"),
            }
        }
        // The holder touches no table and readers leave theirs: an ALTER waits for nobody.
        drop(stream);
        outside(|| from.execute("SET lock_timeout = '2s'; ALTER TABLE numbers ADD COLUMN more int"));
    });
}

#[test]
fn f_24_and_f_25_a_table_that_changed_since_the_snapshot_is_never_read_as_empty() {
    let server = need_server!();
    let changes = [
        "TRUNCATE numbers",
        "VACUUM FULL numbers",
        "ALTER TABLE numbers ALTER id TYPE numeric",
        "ALTER TABLE numbers ADD COLUMN more int",
        "ALTER TABLE numbers DROP COLUMN word; ALTER TABLE numbers ADD COLUMN word text",
        "ALTER TABLE numbers RENAME COLUMN word TO werd",
        "DROP TABLE numbers",
        "ALTER TABLE numbers RENAME TO old; CREATE TABLE numbers AS SELECT * FROM old",
    ];
    for change in changes {
        for form in [Form::NativeFast, Form::Rows] {
            let from = server.database("stale");
            from.execute(FILLED);
            run(async {
                let projection = numbers(form);
                let snapshot = source(&from.url()).await.unwrap().snapshot().await.unwrap();
                let chunks = snapshot.chunks(&projection, u64::MAX).await.unwrap();
                outside(|| change.split("; ").for_each(|sql| from.execute(sql)));
                let read = Read { projection: &projection, chunk: &chunks[0], batch_bytes: 1 << 16 };
                let error = match snapshot.read(&read).await {
                    Err(error) => error,
                    Ok(mut stream) => loop {
                        match stream.next().await {
                            Ok(Batch::End { rows }) => {
                                panic!("{change}: {rows} rows were taken for the truth")
                            }
                            Ok(_) => {}
                            Err(error) => break error,
                        }
                    },
                };
                assert_eq!(error.cause, Cause::Stale, "{change}: {error}");
                assert!(error.to_string().contains("public.numbers"), "{error}");
                let count = snapshot.count(&projection).await;
                assert_eq!(count.expect_err("no count either").cause, Cause::Stale, "{change}");
            });
        }
    }
}

/// What `unchanged` says of finished chunks of `numbers` after something happened.
fn unchanged_after(change: &str, chunk_bytes: u64) -> bool {
    let server = crate::support::postgres::server().unwrap();
    let from = server.database("unchanged");
    from.execute(FILLED);
    run(async {
        let projection = numbers(Form::NativeFast);
        let source = source(&from.url()).await.unwrap();
        let before = source.snapshot().await.unwrap();
        let mut done: Vec<(Chunk, u64)> = Vec::new();
        for chunk in before.chunks(&projection, chunk_bytes).await.unwrap().into_iter().take(2) {
            let read = Read { projection: &projection, chunk: &chunk, batch_bytes: 1 << 16 };
            let mut stream = before.read(&read).await.unwrap();
            loop {
                if let Batch::End { rows } = stream.next().await.unwrap() {
                    break done.push((chunk, rows));
                }
            }
        }
        let position = before.position().clone();
        before.close().await.unwrap();
        outside(|| change.split("; ").for_each(|sql| from.execute(sql)));
        let after = source.snapshot().await.unwrap();
        after.unchanged(&projection, &position, &done).await.unwrap()
    })
}

#[test]
fn finished_chunks_stay_while_their_rows_are_the_same() {
    need_server!();
    // Nothing, other tables, and rows beyond the finished chunks.
    for change in [
        "SELECT 1",
        "CREATE TABLE other (a int); INSERT INTO other VALUES (1)",
        "UPDATE numbers SET word = 'x' WHERE id = 5000",
        "DELETE FROM numbers WHERE id = 4999; VACUUM numbers",
        "VACUUM FREEZE numbers",
    ] {
        assert!(unchanged_after(change, 50_000), "{change}");
    }
}

#[test]
fn finished_chunks_are_void_when_a_row_in_them_changed() {
    need_server!();
    for change in [
        "UPDATE numbers SET word = 'x' WHERE id = 7",
        "UPDATE numbers SET word = word WHERE id = 7",
        "DELETE FROM numbers WHERE id = 7",
        "DELETE FROM numbers WHERE id = 7; VACUUM numbers; INSERT INTO numbers VALUES (7, 'word 7')",
        "TRUNCATE numbers",
        "VACUUM FULL numbers",
        "CREATE INDEX ON numbers (word); CLUSTER numbers USING numbers_word_idx",
        "ALTER TABLE numbers DROP COLUMN word; ALTER TABLE numbers ADD COLUMN word text",
        "DROP TABLE numbers",
    ] {
        assert!(!unchanged_after(change, 50_000), "{change}");
    }
    // As one chunk the table may be moved as a whole, and may not change.
    assert!(unchanged_after("VACUUM FULL numbers", u64::MAX));
    assert!(!unchanged_after("INSERT INTO numbers VALUES (6000, 'x')", u64::MAX));
}

#[test]
fn a_transaction_that_was_open_at_the_snapshot_is_in_doubt() {
    let server = need_server!();
    let from = server.database("doubt");
    from.execute(FILLED);
    // Written by a subtransaction that began before the snapshot and ends after it.
    let mut writer = from.session();
    writer.execute("BEGIN; SAVEPOINT s; UPDATE numbers SET word = 'x' WHERE id = 7; RELEASE s; SELECT pg_current_xact_id()");
    from.execute("CREATE TABLE other (a int)");
    run(async {
        let projection = numbers(Form::NativeFast);
        let source = source(&from.url()).await.unwrap();
        let before = source.snapshot().await.unwrap();
        let chunk = before.chunks(&projection, u64::MAX).await.unwrap().remove(0);
        let position = before.position().clone();
        outside(|| writer.execute("COMMIT"));
        let after = source.snapshot().await.unwrap();
        assert!(!after.unchanged(&projection, &position, &[(chunk, 5000)]).await.unwrap());
    });
}

#[test]
fn marks_commit_with_their_data_or_not_at_all() {
    let server = need_server!();
    let to = server.database("marks");
    to.execute(NUMBERS);
    run(async {
        let end = target(&to.url()).await.unwrap();
        assert_eq!(end.progress(PLAN).await.unwrap(), Default::default());
        assert_eq!(end.plans().await.unwrap(), Vec::<String>::new());
        assert_eq!(end.holder(PLAN).await.unwrap(), None);
        assert_eq!(outside(|| to.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'towpath'")), "0");

        let lock = end.lock(PLAN, "sha256:goal", Duration::ZERO).await.unwrap();
        assert!(end.holder(PLAN).await.unwrap().unwrap().by.contains("pid"));
        let mut session = lock.session().await.unwrap();
        session.begin().await.unwrap();
        session.execute(&["INSERT INTO public.numbers VALUES (1, 'a')".into()]).await.unwrap();
        session.mark(PLAN, &step("rolled back")).await.unwrap();
        session.rollback().await.unwrap();

        session.begin().await.unwrap();
        session.execute(&["INSERT INTO public.numbers VALUES (2, 'b')".into()]).await.unwrap();
        session.mark(PLAN, &step("kept")).await.unwrap();
        let chunk = ChunkMark {
            table: Name::new("pub.lic", "num\"bers"),
            number: 1,
            of: 7,
            bounds: "blocks 0-9 of x".into(),
            position: towpath::change::Position("pg1/1".into()),
            rows: 10,
            bytes: 20,
        };
        session.mark(PLAN, &Checkpoint::Chunk(chunk.clone())).await.unwrap();
        session.commit().await.unwrap();

        let progress = end.progress(PLAN).await.unwrap();
        assert_eq!(progress.digest.as_deref(), Some("sha256:goal"));
        assert_eq!(progress.steps.len(), 1);
        let kept = progress.step("kept").unwrap();
        assert_eq!((kept.rows, kept.bytes, kept.millis, kept.inputs.as_str()), (3, 4, 5, "sha256:x"));
        assert!(kept.at.ends_with('Z') && kept.at.contains('T'), "{}", kept.at);
        assert_eq!(progress.chunks, [chunk.clone()]);
        assert_eq!(progress.runs[0].outcome, None);

        session.begin().await.unwrap();
        let void = Checkpoint::Recopy { table: chunk.table.clone(), step: "kept".into() };
        session.mark(PLAN, &void).await.unwrap();
        session.commit().await.unwrap();
        drop(session);
        lock.close("partial").await.unwrap();
        let progress = end.progress(PLAN).await.unwrap();
        assert!(progress.steps.is_empty() && progress.chunks.is_empty());
        assert_eq!(progress.runs[0].outcome.as_deref(), Some("partial"));
        assert_eq!(end.holder(PLAN).await.unwrap(), None);
        assert_eq!(end.plans().await.unwrap(), [PLAN]);
    });
    assert_eq!(to.value("SELECT string_agg(id::text, ',') FROM numbers"), "2");
}

#[test]
fn f_81_a_state_in_another_form_is_refused() {
    let server = need_server!();
    let to = server.database("format");
    to.execute("CREATE SCHEMA towpath; CREATE TABLE towpath.run (a int)");
    run(async {
        let end = target(&to.url()).await.unwrap();
        assert_eq!(end.progress(PLAN).await.expect_err("refused").cause, Cause::Stale);
        let lock = end.lock(PLAN, "d", Duration::ZERO).await;
        assert_eq!(lock.err().map(|error| error.cause), Some(Cause::Stale));
    });
}

#[test]
fn f_04_the_second_run_is_told_who_holds_the_lock() {
    let server = need_server!();
    let to = server.database("lock");
    run(async {
        let end = target(&to.url()).await.unwrap();
        let first = end.lock(PLAN, "d", Duration::ZERO).await.unwrap();
        let wait = Duration::from_millis(50);
        let error = target(&to.url()).await.unwrap().lock(PLAN, "d", wait).await.err().unwrap();
        assert_eq!(error.cause, Cause::Locked);
        assert!(error.message.contains(&format!("pid {}", std::process::id())), "{error}");
        // Another plan is not concerned.
        end.lock("other", "d", Duration::ZERO).await.unwrap().close("done").await.unwrap();
        first.heartbeat().await.unwrap();
        first.close("done").await.unwrap();
        end.lock(PLAN, "d", Duration::ZERO).await.unwrap();
    });
}

#[test]
fn f_05_and_f_06_a_run_that_lost_its_lock_cannot_commit() {
    let server = need_server!();
    let to = server.database("fence");
    to.execute(NUMBERS);
    run(async {
        let old = locked(&to).await;
        let mut session = old.session().await.unwrap();
        session.begin().await.unwrap();
        session.execute(&["INSERT INTO public.numbers VALUES (1, 'old')".into()]).await.unwrap();
        session.mark(PLAN, &step("old")).await.unwrap();
        outside(|| {
            to.value(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            )
        });
        let end = target(&to.url()).await.unwrap();
        let new = end.lock(PLAN, "d", Duration::from_secs(10)).await.unwrap();
        assert_eq!(old.heartbeat().await.expect_err("lost").cause, Cause::Locked);
        let error = session.commit().await.expect_err("fenced");
        assert_eq!(error.cause, Cause::Locked, "{error}");
        // Nor with the next transaction of the same session.
        session.begin().await.unwrap();
        session.execute(&["INSERT INTO public.numbers VALUES (2, 'old')".into()]).await.unwrap();
        assert_eq!(session.commit().await.expect_err("fenced").cause, Cause::Locked);
        new.heartbeat().await.unwrap();
        assert!(end.progress(PLAN).await.unwrap().steps.is_empty());
    });
    assert_eq!(to.value("SELECT count(*) FROM numbers"), "0");
}

#[test]
fn f_31_a_commit_without_an_answer_is_looked_up() {
    let server = need_server!();
    for (fault, kept) in [
        (Fault::LoseMessage { kind: b'C', body: b"COMMIT" }, true),
        (Fault::Cut { way: Way::ToServer, after: 1 }, false),
    ] {
        let to = server.database("unknown");
        to.execute(NUMBERS);
        let proxy = Proxy::before(to.port);
        run(async {
            let end = target(&to.url_at(proxy.port)).await.unwrap();
            let lock = end.lock(PLAN, "d", Duration::ZERO).await.unwrap();
            let mut session = lock.session().await.unwrap();
            session.begin().await.unwrap();
            session.execute(&["INSERT INTO public.numbers VALUES (1, 'x')".into()]).await.unwrap();
            session.mark(PLAN, &step("x")).await.unwrap();
            proxy.fault(fault);
            let result = session.commit().await;
            assert_eq!(proxy.struck(), 1);
            assert_eq!(result.is_ok(), kept, "{result:?}");
            if let Err(error) = result {
                assert_eq!(error.cause, Cause::Connection);
                assert_ne!(error.code.as_deref(), Some("08007"), "it could be found out: {error}");
            }
            let progress = target(&to.url()).await.unwrap().progress(PLAN).await.unwrap();
            assert_eq!(progress.step("x").is_some(), kept);
            // The session goes on with a new connection.
            session.begin().await.unwrap();
            session.mark(PLAN, &step("y")).await.unwrap();
            session.commit().await.unwrap();
        });
    }
}

#[test]
fn f_26_a_cut_in_mid_copy_keeps_nothing() {
    let server = need_server!();
    for after in [30_000, 60_000, 90_001] {
        let (from, to) = (server.database("cut"), server.database("cut"));
        from.execute(FILLED);
        to.execute(NUMBERS);
        let proxy = Proxy::before(from.port);
        run(async {
            let projection = numbers(Form::NativeFast);
            let snapshot = source(&from.url_at(proxy.port)).await.unwrap().snapshot().await.unwrap();
            let lock = locked(&to).await;
            let mut session = lock.session().await.unwrap();
            session.begin().await.unwrap();
            proxy.fault(Fault::Cut { way: Way::ToClient, after });
            let mut stream = whole(snapshot.as_ref(), &projection).await;
            let error = load(session.as_mut(), &projection, stream.as_mut()).await.expect_err("cut");
            assert_eq!(error.cause, Cause::Connection, "{error}");
            assert_eq!(proxy.struck(), 1);
            session.rollback().await.unwrap();
            // Both ends go on.
            assert!(snapshot.alive().await);
            session.begin().await.unwrap();
            let mut stream = whole(snapshot.as_ref(), &projection).await;
            assert_eq!(load(session.as_mut(), &projection, stream.as_mut()).await.unwrap().rows, 5000);
            session.commit().await.unwrap();
        });
        assert_eq!(to.value("SELECT count(*) FROM numbers"), "5000");
    }
}

#[test]
fn f_28_rows_that_vanish_on_the_way_are_missed() {
    let server = need_server!();
    for form in [Form::NativeFast, Form::NativeText, Form::Rows] {
        let (from, to) = (server.database("vanish"), server.database("vanish"));
        from.execute(FILLED);
        to.execute(NUMBERS);
        let proxy = Proxy::before(from.port);
        run(async {
            let projection = numbers(form);
            let snapshot = source(&from.url_at(proxy.port)).await.unwrap().snapshot().await.unwrap();
            let lock = locked(&to).await;
            let mut session = lock.session().await.unwrap();
            session.begin().await.unwrap();
            proxy.fault(Fault::SwallowRows { after: 1000, count: 1 });
            let mut stream = whole(snapshot.as_ref(), &projection).await;
            let result = load(session.as_mut(), &projection, stream.as_mut()).await;
            assert_eq!(proxy.struck(), 1);
            assert!(result.expect_err("one is missing").message.contains("5000"));
        });
    }
}

#[test]
fn a_trigger_that_drops_rows_is_found_out() {
    let server = need_server!();
    let (from, to) = (server.database("trigger"), server.database("trigger"));
    from.execute(FILLED);
    to.execute(NUMBERS);
    to.execute(
        "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE WARNING 'a chatty trigger'; IF new.id = 7 THEN RETURN NULL; END IF; RETURN new; END $$; \
         CREATE TRIGGER odd BEFORE INSERT ON numbers FOR EACH ROW EXECUTE FUNCTION odd()",
    );
    let error = run(copy(&from, &to, &numbers(Form::NativeFast))).expect_err("a row is missing");
    assert!(error.message.contains("5000 rows were sent and 4999 arrived"), "{error}");
    assert_eq!(to.value("SELECT count(*) FROM numbers"), "0");
}

#[test]
fn s_sec_3_errors_name_the_place_and_no_value() {
    let server = need_server!();
    let (from, to) = (server.database("values"), server.database("values"));
    from.execute(
        "CREATE TABLE numbers (id bigint, word text); INSERT INTO numbers VALUES (1, '7'), (2, 'canary')",
    );
    for (definition, form) in [
        ("id bigint, word integer", Form::NativeText),
        ("id bigint, word varchar(3)", Form::NativeFast),
        ("id bigint, word text CHECK (word < 'a')", Form::NativeText),
        ("id bigint, word integer", Form::Rows),
    ] {
        to.execute(&format!(
            "DROP TABLE IF EXISTS public.numbers; CREATE TABLE public.numbers ({definition})"
        ));
        let mut projection = numbers(form);
        if form == Form::Rows {
            projection.columns[1].target_type = Type::Int { bits: 32 };
        }
        let error = run(copy(&from, &to, &projection)).expect_err("does not fit");
        let text = format!("{error} {:?}", error.hint);
        assert_eq!(error.cause, Cause::Data, "{text}");
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("public.numbers") && text.contains("row 2"), "{text}");
    }
}

#[test]
fn pg_42_cells_that_postgresql_cannot_hold_are_refused_before_they_are_sent() {
    let server = need_server!();
    let to = server.database("cells");
    to.execute(NUMBERS);
    run(async {
        let lock = locked(&to).await;
        let mut session = lock.session().await.unwrap();
        session.begin().await.unwrap();
        let mut rows = RowBatch::new(2);
        for text in ["fine", "canary\0"] {
            rows.push(towpath::catalog::Cell::Int(1));
            rows.push_text(text.as_bytes());
            rows.end_row();
        }
        let mut stream = Script(vec![Ok(Batch::Rows(rows))]);
        let error = load(session.as_mut(), &numbers(Form::Rows), &mut stream).await.expect_err("a NUL");
        let text = error.to_string();
        assert!(text.contains("row 2") && text.contains("column word") && text.contains("NUL"), "{text}");
        assert!(!text.contains("canary"), "{text}");
        session.rollback().await.unwrap();
        session.begin().await.unwrap();
        assert!(!session.any_row(&Name::new("public", "numbers")).await.unwrap());
        session.rollback().await.unwrap();
    });
}

#[test]
fn h_15_a_stream_that_claims_too_much_is_no_success() {
    let server = need_server!();
    let to = server.database("claims");
    to.execute(NUMBERS);
    run(async {
        let lock = locked(&to).await;
        let mut session = lock.session().await.unwrap();
        session.begin().await.unwrap();
        let mut stream = Script(vec![Ok(Batch::End { rows: 1 })]);
        assert!(load(session.as_mut(), &numbers(Form::NativeText), &mut stream).await.is_err());
    });
}

#[test]
fn statements_run_together_and_the_one_that_fails_is_named() {
    let server = need_server!();
    let to = server.database("statements");
    run(async {
        let lock = locked(&to).await;
        let mut session = lock.session().await.unwrap();
        session.begin().await.unwrap();
        let statements = ["CREATE TABLE public.a (x int)", "CREATE TABLE public.b (x nonsense)", "SELECT 1"];
        let error = session.execute(&statements.map(String::from)).await.expect_err("no such type");
        assert!(error.object.as_deref().is_some_and(|object| object.contains("public.b")), "{error}");
        session.rollback().await.unwrap();
        session.begin().await.unwrap();
        session
            .execute(&statements[..1].iter().map(|sql| sql.to_string()).collect::<Vec<_>>())
            .await
            .unwrap();
        assert!(!session.any_row(&Name::new("public", "a")).await.unwrap());
        session.execute(&["INSERT INTO public.a VALUES (1), (2)".into()]).await.unwrap();
        assert!(session.any_row(&Name::new("public", "a")).await.unwrap());
        assert_eq!(session.violations("SELECT x FROM public.a WHERE x > 1").await.unwrap(), 1);
        session.commit().await.unwrap();
        // Outside a transaction each is its own.
        session.execute(&["CREATE INDEX CONCURRENTLY ON public.a (x)".into()]).await.unwrap();
    });
    assert_eq!(to.value("SELECT count(*) FROM pg_indexes WHERE tablename = 'a'"), "1");
}

#[test]
fn a_table_made_in_the_same_transaction_is_loaded_frozen() {
    let server = need_server!();
    let (from, to) = (server.database("frozen"), server.database("frozen"));
    from.execute(FILLED);
    run(async {
        let projection = numbers(Form::NativeFast);
        let snapshot = source(&from.url()).await.unwrap().snapshot().await.unwrap();
        let lock = locked(&to).await;
        let mut session = lock.session().await.unwrap();
        session.begin().await.unwrap();
        session.execute(&[NUMBERS.replace("numbers", "public.numbers")]).await.unwrap();
        let mut stream = whole(snapshot.as_ref(), &projection).await;
        let what = Load { projection: &projection, frozen: true, gauge: &no_gauge };
        assert_eq!(session.load(&what, stream.as_mut()).await.unwrap().rows, 5000);
        session.commit().await.unwrap();
    });
    to.execute("CREATE EXTENSION pg_visibility");
    assert_eq!(to.value("SELECT count(*) FROM pg_visibility_map('numbers') WHERE NOT all_frozen"), "0");
}

#[test]
fn s_15_sequences_go_where_the_next_value_is_unused() {
    let server = need_server!();
    let (from, to) = (server.database("sequences"), server.database("sequences"));
    let make = "CREATE SEQUENCE plain; CREATE SEQUENCE down INCREMENT -3 MAXVALUE -1 MINVALUE -100; \
                CREATE SEQUENCE fresh START 7 CACHE 50; CREATE SEQUENCE \"Odd\"\"name\"";
    from.execute(make);
    to.execute(make);
    from.execute("SELECT setval('plain', 42); SELECT nextval('down'), nextval('down')");
    let name = |text: &str| Name::new("public", text);
    run(async {
        let end = source(&from.url()).await.unwrap();
        let names = ["plain", "down", "fresh", "Odd\"name"].map(name);
        let values = end.sequence_values(&names).await.unwrap();
        let plain = SequenceValue { name: names[0].clone(), last: 42, called: true };
        assert_eq!(values[0], plain);
        assert_eq!((values[1].last, values[2].last, values[2].called), (-4, 7, false));
        let missing = end.sequence_values(&[name("gone")]).await.expect_err("not there");
        assert_eq!(missing.cause, Cause::Stale);
        // The session for questions survives an error.
        assert_eq!(end.sequence_values(&names[..1]).await.unwrap(), [plain]);

        let lock = locked(&to).await;
        let mut session = lock.session().await.unwrap();
        let sequence = |name: &Name, increment, min, max| Sequence {
            name: name.clone(),
            data_type: "bigint".into(),
            start: 1,
            increment,
            min,
            max,
            cache: 1,
            cycle: false,
            owner: None,
            comment: None,
        };
        session.begin().await.unwrap();
        let up = sequence(&names[0], 1, 1, i64::MAX);
        assert_eq!(session.set_sequence(&up, &values[0], 10).await.unwrap(), Some(52));
        assert_eq!(session.set_sequence(&up, &values[0], 0).await.unwrap(), None);
        let down = sequence(&names[1], -3, -100, -1);
        assert_eq!(session.set_sequence(&down, &values[1], 0).await.unwrap(), Some(-4));
        let fresh = sequence(&names[2], 1, 1, i64::MAX);
        assert_eq!(session.set_sequence(&fresh, &values[2], 0).await.unwrap(), None);
        let odd = sequence(&names[3], 1, 1, i64::MAX);
        assert_eq!(session.set_sequence(&odd, &values[0], 0).await.unwrap(), Some(42));
        session.commit().await.unwrap();
    });
    assert_eq!(to.value("SELECT nextval('plain')"), "53");
    assert_eq!(to.value("SELECT nextval('down')"), "-7");
    assert_eq!(to.value("SELECT nextval('fresh')"), "7");
}

/// Sums of `numbers` on both ends, and the keys of rows in buckets that differ.
fn compared(from: &Database, to: &Database, projection: &Projection) -> Vec<String> {
    run(async {
        let here = source(&from.url()).await.unwrap().snapshot().await.unwrap();
        let there = target(&to.url()).await.unwrap().snapshot().await.unwrap();
        let a = here.summary(projection, 64).await.unwrap();
        let b = there.summary(projection, 64).await.unwrap();
        assert_eq!(a.rows(), here.count(projection).await.unwrap());
        let differ: Vec<u32> =
            (0..64).filter(|at| a.buckets[*at as usize] != b.buckets[*at as usize]).collect();
        if differ.is_empty() {
            return Vec::new();
        }
        let mut left = here.bucket_rows(projection, &differ, 64, 100_000).await.unwrap();
        let mut right = there.bucket_rows(projection, &differ, 64, 100_000).await.unwrap();
        left.retain(|row| match right.iter().position(|other| other == row) {
            Some(at) => {
                right.remove(at);
                false
            }
            None => true,
        });
        let mut keys: Vec<String> = left.into_iter().chain(right).map(|(key, _)| key).collect();
        keys.sort();
        keys.dedup();
        keys
    })
}

#[test]
fn c_10_sums_find_every_planted_difference() {
    let server = need_server!();
    let from = server.database("sums");
    from.execute(FILLED);
    from.execute("INSERT INTO numbers VALUES (6000, ''), (6001, NULL)");
    let projection = numbers(Form::NativeFast);
    for (change, keys) in [
        ("SELECT 1", vec![]),
        ("UPDATE numbers SET word = 'word 0' WHERE id = 7", vec!["(7)"]),
        ("DELETE FROM numbers WHERE id = 7", vec!["(7)"]),
        ("INSERT INTO numbers VALUES (7000, 'x')", vec!["(7000)"]),
        (
            "UPDATE numbers SET word = CASE id WHEN 1 THEN 'word 2' ELSE 'word 1' END WHERE id IN (1, 2)",
            vec!["(1)", "(2)"],
        ),
        ("UPDATE numbers SET word = NULL WHERE id = 6000", vec!["(6000)"]),
    ] {
        let to = server.database("sums");
        to.execute(NUMBERS);
        run(copy(&from, &to, &projection)).unwrap();
        to.execute(change);
        assert_eq!(compared(&from, &to, &projection), keys, "{change}");
    }
    // Without a key: a duplicate exchanged for another.
    let keyless = Projection { key: vec![], ..projection };
    let to = server.database("sums");
    to.execute(NUMBERS);
    run(copy(&from, &to, &keyless)).unwrap();
    assert!(compared(&from, &to, &keyless).is_empty());
    from.execute(
        "ALTER TABLE numbers DROP CONSTRAINT numbers_pkey; INSERT INTO numbers VALUES (1, 'word 1')",
    );
    to.execute("INSERT INTO numbers VALUES (2, 'word 2')");
    assert_eq!(compared(&from, &to, &keyless).len(), 2);
}

#[test]
fn sums_agree_across_casts_filters_and_long_values() {
    let server = need_server!();
    let (from, to) = (server.database("sums"), server.database("sums"));
    from.execute(
        "CREATE TABLE numbers (id bigint PRIMARY KEY, word text, raw bytea); INSERT INTO numbers \
         SELECT i, CASE WHEN i = 3 THEN repeat('x\"', 3000000) ELSE i::text END, \
         CASE WHEN i = 4 THEN decode(repeat('00ff', 2000000), 'hex') END FROM generate_series(1, 50) i",
    );
    to.execute("CREATE TABLE numbers (id text, word text, raw bytea)");
    let mut projection = numbers(Form::NativeFast);
    projection.columns.push(map("raw", &Type::Blob, "bytea"));
    projection.columns[0].target_type = Type::Text;
    projection.columns[0].cast = Some(Cast { native: "text".into(), zone: None });
    projection.filter = Some("id <> 9".into());
    run(copy(&from, &to, &projection)).unwrap();
    assert!(compared(&from, &to, &projection).is_empty());
    to.execute("UPDATE numbers SET raw = set_byte(raw, 3000000, 1) WHERE id = '4'");
    assert_eq!(compared(&from, &to, &projection), ["(4)"]);
}

#[test]
fn u_11_to_u_13_what_a_first_time_user_reads() {
    let server = need_server!();
    let database = server.database("first");
    let good = database.url();
    let wrong = |from: &str, to: &str| good.replace(from, to);
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let cases = [
        (wrong(PASSWORD, "canary-wrong"), Cause::Authentication, None, "check user and password"),
        (wrong(&format!(":{PASSWORD}"), ""), Cause::Authentication, None, "the URL has none"),
        (wrong("first_", "nowhere_"), Cause::NotFound, None, "create the database"),
        (wrong("?sslmode=disable", ""), Cause::Tls, None, "sslmode=disable"),
        (wrong("?sslmode=disable", "?sslmode=require"), Cause::Tls, None, "does not offer TLS"),
        (
            wrong(&database.port.to_string(), &closed.to_string()),
            Cause::Connection,
            Some("E311"),
            "nothing listens",
        ),
        (wrong("127.0.0.1", "nowhere.invalid"), Cause::Connection, Some("E310"), "not known to DNS"),
    ];
    for (url, cause, contract, says) in cases {
        let error = run(source(&url)).err().unwrap_or_else(|| panic!("{says} was expected"));
        let text = format!("{error} / {}", error.hint.clone().unwrap_or_default());
        assert_eq!((error.cause, error.contract), (cause, contract), "{text}");
        assert!(text.contains(says), "{text}");
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("postgres://"), "{text}");
    }
    assert!(run(source(&wrong("sslmode=disable", "sslmode=prefer"))).is_ok());
}

#[test]
fn u_12_something_else_answers() {
    use std::io::{Read as _, Write as _};
    for (answer, contract) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "E314"),
        (b"\x4a\x00\x00\x00\x0a8.0.36\x00", "E314"),
        (b"N", "E313"),
    ] {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.write_all(answer).unwrap();
            let _ = socket.read_to_end(&mut Vec::new());
        });
        let url = format!("postgres://u:canary@127.0.0.1:{port}/d?sslmode=disable&connect_timeout=1");
        let error = run(source(&url)).err().unwrap();
        assert_eq!(error.contract, Some(contract), "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
        server.join().unwrap();
    }
}

#[test]
fn f_64_settings_of_role_and_database_do_not_reach_our_sessions() {
    let server = need_server!();
    let database = server.database("settings");
    for setting in [
        "TimeZone = 'Asia/Tokyo'",
        "DateStyle = 'SQL, DMY'",
        "statement_timeout = 1",
        "idle_in_transaction_session_timeout = 1",
        "search_path = public",
        "extra_float_digits = -5",
        "bytea_output = 'escape'",
        "array_nulls = off",
        "default_transaction_isolation = 'serializable'",
    ] {
        server.admin(&format!("ALTER DATABASE {database} SET {setting}"));
    }
    let to = server.database("settings");
    let mut session = database.session();
    session.execute("SET statement_timeout = 0; SET DateStyle = ISO");
    session.execute(
        "CREATE TABLE numbers (id timestamptz, word double precision); \
         INSERT INTO numbers SELECT '2024-06-01 12:00:00+00', 0.1::float8 + i FROM generate_series(1, 20000) i",
    );
    to.execute("CREATE TABLE numbers (id text, word text)");
    let mut projection = numbers(Form::NativeText);
    for column in &mut projection.columns {
        column.cast = Some(Cast { native: "text".into(), zone: None });
    }
    run(copy(&database, &to, &projection)).unwrap();
    assert_eq!(to.value("SELECT min(id) FROM numbers"), "2024-06-01 12:00:00+00");
    assert_eq!(to.value("SELECT word FROM numbers WHERE word LIKE '1.%' ORDER BY word LIMIT 1"), "1.1");
}

#[test]
fn f_37_another_server_at_the_same_address_is_noticed() {
    let server = need_server!();
    let Some(other) = other_server() else { return };
    let database = server.database("identity");
    other.admin(&format!("CREATE DATABASE {database}"));
    let place = std::sync::Arc::new(std::sync::atomic::AtomicU16::new(server.port));
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = place.clone();
    std::thread::spawn(move || {
        while let Ok((mut near, _)) = listener.accept() {
            let port = to.load(std::sync::atomic::Ordering::SeqCst);
            let mut far = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut near_in, &mut far_out));
            std::thread::spawn(move || std::io::copy(&mut far, &mut near));
        }
    });
    run(async {
        let end = source(&database.url_at(port)).await.unwrap();
        end.snapshot().await.unwrap();
        place.store(other.port, std::sync::atomic::Ordering::SeqCst);
        let error = end.snapshot().await.err().unwrap();
        assert!(error.to_string().contains("another server"), "{error}");
    });
}
