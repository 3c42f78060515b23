//! Marks of streams with their changes: kept together, found again, fenced, and raised from the
//! layout that had none.

use super::*;

const WORDS: &str = "CREATE TABLE words (id int PRIMARY KEY, word text)";

fn words() -> Followed {
    keyed(table_of("words", &[("id", "integer"), ("word", "text")]))
}

fn one(key: &str) -> Log {
    let mut log = Log::default();
    log.insert(0, &[t(key), t("x")]);
    log
}

fn mark(position: &str, transactions: u64, tables: Vec<(Name, Counts)>) -> Checkpoint {
    let committed_at = Some(1_700_000_000_000_000);
    Checkpoint::Applied(StreamMark {
        after: None,
        position: Position(position.into()),
        committed_at,
        transactions,
        tables,
    })
}

async fn stream(to: &Database) -> Option<StreamProgress> {
    target(&to.url()).await.unwrap().progress(PLAN).await.unwrap().stream
}

impl Applier {
    async fn mark(&mut self, mark: Checkpoint) -> Result<(), EngineError> {
        self.session.begin().await?;
        self.session.mark(PLAN, &mark).await?;
        self.session.commit().await
    }

    /// A row with its mark.
    async fn marked(&mut self, key: &str, position: &str) -> Result<(), EngineError> {
        self.session.begin().await?;
        self.session.apply_rows(one(key).0.records()).await?;
        self.session.mark(PLAN, &mark(position, 1, vec![])).await?;
        self.session.commit().await
    }
}

#[test]
fn r1_a_stream_is_marked_with_its_changes() {
    let server = need_server!();
    let to = server.database("stream");
    to.execute(WORDS);
    let odd = Name::new("a\"b\\", "c,{d} 'e'");
    run(async {
        let mut applier = Applier::new(&to.url(), &[words()]).await;
        assert_eq!(stream(&to).await, None);
        // What is counted from nowhere is refused, and with it the changes.
        let error = applier.marked("1", "0/1").await.expect_err("nothing was opened");
        assert_eq!(error.cause, Cause::Stale, "{error}");
        applier.mark(Checkpoint::Opened(Position("0/10".into()))).await.unwrap();
        let opened = stream(&to).await.unwrap();
        assert_eq!((opened.opened.0.as_str(), opened.position.0.as_str()), ("0/10", "0/10"));
        assert_eq!((opened.committed_at, opened.transactions, opened.tables.len()), (None, 0, 0));

        let counts = |inserts, updates| Counts { inserts, updates, deletes: 3, truncates: 4 };
        let tables = vec![
            (odd.clone(), counts(1, 2)),
            (words().projection.target, counts(5, 6)),
            (odd.clone(), counts(10, 20)),
        ];
        applier.mark(mark("0/20", 7, tables.clone())).await.unwrap();
        applier.mark(mark("0/30", 2, tables[..1].to_vec())).await.unwrap();
        let now = stream(&to).await.unwrap();
        assert_eq!((now.opened.0.as_str(), now.position.0.as_str()), ("0/10", "0/30"));
        assert_eq!((now.transactions, now.committed_at), (9, Some(1_700_000_000_000_000)));
        let sums = [
            (odd.clone(), Counts { inserts: 12, updates: 24, deletes: 9, truncates: 12 }),
            (words().projection.target, counts(5, 6)),
        ];
        assert_eq!(now.tables, sums);
        assert!(now.at.ends_with('Z') && now.at.contains('T'), "{}", now.at);

        // No transaction of the source was in it: its time stays.
        let quiet = StreamMark { position: Position("0/40".into()), ..StreamMark::default() };
        applier.mark(Checkpoint::Applied(quiet)).await.unwrap();
        let now = stream(&to).await.unwrap();
        assert_eq!((now.position.0.as_str(), now.committed_at.is_some()), ("0/40", true));

        // One that goes on where the stream does not stand fails, and its changes with it.
        let from = |after: &str| StreamMark {
            after: Some(Position(after.into())),
            position: Position("0/45".into()),
            ..StreamMark::default()
        };
        let late = Checkpoint::Applied(from("0/30"));
        let error = applier.mark(late).await.expect_err("it stands at 0/40");
        assert_eq!(error.cause, Cause::Stale, "{error}");
        applier.session.begin().await.unwrap();
        applier.session.mark(PLAN, &Checkpoint::Applied(from("0/40"))).await.unwrap();
        applier.session.rollback().await.unwrap();

        // Rolled back, both are gone.
        applier.session.begin().await.unwrap();
        applier.session.apply_rows(one("1").0.records()).await.unwrap();
        applier.session.mark(PLAN, &mark("0/50", 1, vec![])).await.unwrap();
        applier.session.rollback().await.unwrap();
        assert_eq!(stream(&to).await.unwrap().position.0, "0/40");

        // Opened again, it begins anew.
        applier.mark(Checkpoint::Opened(Position("1/0".into()))).await.unwrap();
        let now = stream(&to).await.unwrap();
        assert_eq!((now.opened.0.as_str(), now.transactions, now.tables.len()), ("1/0", 0, 0));
        assert_eq!(now.committed_at, None);
    });
    assert_eq!(to.value("SELECT count(*) FROM words"), "0");
}

#[test]
fn f_31_and_h_17_a_lost_commit_of_changes_is_found_by_its_mark() {
    let server = need_server!();
    for (fault, kept) in [
        (Fault::LoseMessage { kind: b'C', body: b"COMMIT" }, true),
        (Fault::Cut { way: Way::ToServer, after: 1 }, false),
    ] {
        let to = server.database("lost");
        to.execute(WORDS);
        let proxy = Proxy::before(to.port);
        run(async {
            let mut applier = Applier::new(&to.url_at(proxy.port), &[words()]).await;
            applier.mark(Checkpoint::Opened(Position("0/1".into()))).await.unwrap();
            applier.session.begin().await.unwrap();
            applier.session.apply_rows(one("1").0.records()).await.unwrap();
            applier.session.mark(PLAN, &mark("0/2", 1, vec![])).await.unwrap();
            proxy.fault(fault);
            let result = applier.session.commit().await;
            assert_eq!(proxy.struck(), 1);
            assert_eq!(result.is_ok(), kept, "{result:?}");
            assert_eq!(stream(&to).await.unwrap().position.0 == "0/2", kept);
            if let Err(error) = result {
                assert_eq!(error.cause, Cause::Connection);
                assert_ne!(error.code.as_deref(), Some("08007"), "it could be found out: {error}");
            }
            // The new connection applies as the old one did.
            applier.marked(if kept { "2" } else { "1" }, "0/3").await.unwrap();
            applier.session.begin().await.unwrap();
            applier.session.execute(&[SETTINGS_ARE.into()]).await.unwrap();
            applier.session.commit().await.unwrap();
        });
        assert_eq!(to.value("SELECT count(*) FROM words"), if kept { "2" } else { "1" });
    }
}

/// Fails unless the session's settings are those of one that applies.
const SETTINGS_ARE: &str = "SELECT 1 / (current_setting('synchronous_commit') = 'on' \
     AND current_setting('session_replication_role') = 'replica' \
     AND current_setting('enable_seqscan') = 'off' \
     AND current_setting('plan_cache_mode') = 'force_generic_plan')::int";

#[test]
fn r3_every_connection_of_the_session_applies_durably() {
    let server = need_server!();
    let to = server.database("settings");
    to.execute(WORDS);
    run(async {
        let mut applier = Applier::new(&to.url(), &[words()]).await;
        applier.mark(Checkpoint::Opened(Position("0/1".into()))).await.unwrap();
        for round in ["1", "2", "3"] {
            applier.session.begin().await.unwrap();
            applier.session.execute(&[SETTINGS_ARE.into()]).await.unwrap();
            applier.session.apply_rows(one(round).0.records()).await.unwrap();
            applier.session.commit().await.unwrap();
            outside(|| {
                to.value(
                    "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity \
                     WHERE datname = current_database() AND query LIKE '%COMMIT%' AND pid <> pg_backend_pid()",
                )
            });
            // The next one may notice only when it writes.
            if applier.session.begin().await.is_ok() {
                let error = applier.session.apply_rows(one("9").0.records()).await.expect_err("it was cut");
                assert_eq!(error.cause, Cause::Connection, "{error}");
            }
        }
    });
    assert_eq!(to.value("SELECT string_agg(id::text, ',' ORDER BY id) FROM words"), "1,2,3");
}

#[test]
fn f_05_an_applier_that_lost_its_lock_cannot_commit() {
    let server = need_server!();
    let to = server.database("fence");
    to.execute(WORDS);
    run(async {
        let mut old = Applier::new(&to.url(), &[words()]).await;
        old.mark(Checkpoint::Opened(Position("0/1".into()))).await.unwrap();
        outside(|| {
            to.value(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            )
        });
        let end = target(&to.url()).await.unwrap();
        let new = end.lock(PLAN, &goal("d"), Duration::from_secs(10)).await.unwrap();
        for _ in 0..2 {
            // Its own connections hold a share of the lock and went with it.
            let error = old.marked("1", "0/2").await.expect_err("fenced");
            assert!(matches!(error.cause, Cause::Locked | Cause::Connection), "{error}");
        }
        assert_eq!(old.lock.heartbeat().await.expect_err("lost").cause, Cause::Locked);
        assert_eq!(stream(&to).await.unwrap().position.0, "0/1");
        new.close("done").await.unwrap();
    });
    assert_eq!(to.value("SELECT count(*) FROM words"), "0");
}

/// The state as the version before streams left it.
const FORMAT_1: &str = "CREATE SCHEMA towpath; \
    CREATE TABLE towpath.run (plan text NOT NULL, epoch bigint NOT NULL, digest text NOT NULL, \
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(), finished_at timestamptz, outcome text, \
    holder text NOT NULL, tool text NOT NULL, PRIMARY KEY (plan, epoch)); \
    CREATE TABLE towpath.step (plan text NOT NULL, step text NOT NULL, inputs text NOT NULL, \
    rows bigint NOT NULL, bytes bigint NOT NULL, millis bigint NOT NULL, \
    at timestamptz NOT NULL DEFAULT clock_timestamp(), unit text NOT NULL, PRIMARY KEY (plan, step)); \
    CREATE TABLE towpath.copy (plan text NOT NULL, table_schema text NOT NULL, table_name text NOT NULL, \
    number bigint NOT NULL, of bigint NOT NULL, bounds text NOT NULL, position text NOT NULL, \
    rows bigint NOT NULL, bytes bigint NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(), \
    unit text NOT NULL, PRIMARY KEY (plan, table_schema, table_name, number)); \
    CREATE TABLE towpath.lock (plan text PRIMARY KEY, epoch bigint NOT NULL, holder text NOT NULL, \
    since timestamptz NOT NULL DEFAULT clock_timestamp()); \
    COMMENT ON TABLE towpath.run IS 'towpath state, format 1'; \
    INSERT INTO towpath.lock VALUES ('old', 4, 'somebody'); \
    INSERT INTO towpath.run (plan, epoch, digest, holder, tool) VALUES ('old', 4, 'sha256:old', 'somebody', 'towpath 0.1.0'); \
    INSERT INTO towpath.step (plan, step, inputs, rows, bytes, millis, unit) VALUES ('old', 'copy a', 'x', 1, 2, 3, '4.1.1')";

#[test]
fn f_81_the_state_before_streams_is_read_and_raised() {
    let server = need_server!();
    let to = server.database("format1");
    to.execute(FORMAT_1);
    run(async {
        let end = target(&to.url()).await.unwrap();
        // Looking changes nothing.
        let before = end.progress("old").await.unwrap();
        assert_eq!((before.digest.as_deref(), before.stream.is_none()), (Some("sha256:old"), true));
        assert_eq!(before.steps.len(), 1);
        assert_eq!(end.plans().await.unwrap(), ["old"]);
        assert_eq!(end.holder("old").await.unwrap(), None);
        let tables =
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'towpath'::regnamespace AND relkind = 'r'";
        assert_eq!(outside(|| to.value(tables)), "4");

        let lock = end.lock("old", &goal("d"), Duration::ZERO).await.unwrap();
        let mut session = lock.session().await.unwrap();
        session.begin().await.unwrap();
        session.mark("old", &Checkpoint::Opened(Position("0/1".into()))).await.unwrap();
        session.commit().await.unwrap();
        let after = end.progress("old").await.unwrap();
        assert_eq!(after.steps, before.steps);
        assert_eq!(after.stream.unwrap().position.0, "0/1");
        assert_eq!(outside(|| to.value(tables)), "7");
        assert_eq!(
            outside(|| to.value("SELECT obj_description('towpath.run'::regclass)")),
            "towpath state, format 1"
        );
        // A run of another plan finds it raised.
        end.lock("new", &goal("d"), Duration::ZERO).await.unwrap().close("done").await.unwrap();
        lock.close("done").await.unwrap();
    });
}
