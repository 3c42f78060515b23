//! The writing session: marks with their data, the lock and its fence, sequences.

use super::*;

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

        let lock = end.lock(PLAN, &goal("sha256:goal"), Duration::ZERO).await.unwrap();
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
        assert_eq!(progress.chunks, std::slice::from_ref(&chunk));
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
        let lock = end.lock(PLAN, &goal("d"), Duration::ZERO).await;
        assert_eq!(lock.err().map(|error| error.cause), Some(Cause::Stale));
    });
}

#[test]
fn f_04_the_second_run_is_told_who_holds_the_lock() {
    let server = need_server!();
    let to = server.database("lock");
    run(async {
        let end = target(&to.url()).await.unwrap();
        let first = end.lock(PLAN, &goal("d"), Duration::ZERO).await.unwrap();
        let wait = Duration::from_millis(50);
        let error = target(&to.url()).await.unwrap().lock(PLAN, &goal("d"), wait).await.err().unwrap();
        assert_eq!(error.cause, Cause::Locked);
        assert!(error.message.contains(&format!("pid {}", std::process::id())), "{error}");
        // Another plan is not concerned.
        end.lock("other", &goal("d"), Duration::ZERO).await.unwrap().close("done").await.unwrap();
        first.heartbeat().await.unwrap();
        first.close("done").await.unwrap();
        end.lock(PLAN, &goal("d"), Duration::ZERO).await.unwrap();
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
                 AND mode = 'ExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            )
        });
        // Nobody has it now, and that is enough.
        outside(|| {
            let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
                 AND mode = 'ExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            wait_until("the lock is free", Duration::from_secs(30), || to.value(held) == "0");
        });
        let error = session.commit().await.expect_err("not locked");
        assert_eq!(error.cause, Cause::Locked, "{error}");
        session.begin().await.unwrap();
        session.execute(&["INSERT INTO public.numbers VALUES (1, 'old')".into()]).await.unwrap();
        session.mark(PLAN, &step("old")).await.unwrap();
        let end = target(&to.url()).await.unwrap();
        let new = end.lock(PLAN, &goal("d"), Duration::from_secs(10)).await.unwrap();
        assert_eq!(old.heartbeat().await.expect_err("lost").cause, Cause::Locked);
        // Whoever took over has ended the session, and with it what it had not committed.
        let error = session.commit().await.expect_err("ended");
        assert_eq!(error.cause, Cause::Connection, "{error}");
        // Nor can the next transaction commit, on a new connection.
        session.begin().await.unwrap();
        session.execute(&["INSERT INTO public.numbers VALUES (2, 'old')".into()]).await.unwrap();
        assert_eq!(session.commit().await.expect_err("fenced").cause, Cause::Locked);
        new.heartbeat().await.unwrap();
        assert!(end.progress(PLAN).await.unwrap().steps.is_empty());
    });
    assert_eq!(to.value("SELECT count(*) FROM numbers"), "0");
}

/// Commits of the load are not on disk at once, and a crash of the server takes the last of them
/// back. The lock goes down with them: nothing that builds on them can be committed.
#[test]
fn f_30_nothing_builds_on_commits_that_a_crash_took_back() {
    let Some(server) = Server::own() else { return };
    let to = server.database("crash");
    to.execute(NUMBERS);
    for late in ["wal_writer_delay = '10s'", "wal_writer_flush_after = '64MB'"] {
        server.admin(&format!("ALTER SYSTEM SET {late}"));
    }
    server.admin("SELECT pg_reload_conf()");
    run(async {
        let lock = locked(&to).await;
        let mut session = lock.session().await.unwrap();
        // Whoever writes the log late must have heard of it.
        tokio::time::sleep(Duration::from_millis(500)).await;
        session.begin().await.unwrap();
        session.execute(&["INSERT INTO public.numbers VALUES (1, 'a')".into()]).await.unwrap();
        session.mark(PLAN, &step("first")).await.unwrap();
        session.commit().await.unwrap();
        outside(|| server.crash());
        assert_eq!(outside(|| to.value("SELECT count(*) FROM numbers")), "0", "nothing was taken back");
        let mut error = None;
        for _ in 0..2 {
            // The first finds its connection broken.
            let again = async {
                session.begin().await?;
                session.execute(&["INSERT INTO public.numbers VALUES (2, 'b')".into()]).await?;
                session.mark(PLAN, &step("second")).await?;
                session.commit().await
            };
            error = again.await.err();
        }
        assert_eq!(error.expect("it has committed").cause, Cause::Locked);
        assert_eq!(lock.heartbeat().await.expect_err("lost").cause, Cause::Locked);
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
            let lock = end.lock(PLAN, &goal("d"), Duration::ZERO).await.unwrap();
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
    to.execute("CREATE EXTENSION pageinspect");
    // Both bits of the writer's state are set in every row.
    let thawed = "SELECT count(*) FROM generate_series(0, pg_relation_size('numbers') / 8192 - 1) AS page, \
         heap_page_items(get_raw_page('numbers', page::int)) WHERE t_infomask & 768 <> 768";
    assert_eq!(to.value(thawed), "0");
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
