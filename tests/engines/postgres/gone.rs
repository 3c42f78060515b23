//! Logs that cannot be read any more, or not by us: each is told as what it is, and nothing is
//! ever passed over.

use std::time::{Duration, Instant};

use towpath::change::Followed;
use towpath::engine::{Cause, Source, Standing};

use super::replica::{Replica, Told, capture, followed, open, spec, stream, told, version};
use super::{bigint, outside, run, source};
use crate::need_server;
use crate::support::postgres::{Database, Server};

const TABLES: &str =
    "CREATE TABLE t (id bigint PRIMARY KEY, n bigint); CREATE TABLE u (id bigint PRIMARY KEY, n bigint)";

fn tables() -> Vec<Followed> {
    vec![followed("t", &[("id", bigint(), "bigint"), ("n", bigint(), "bigint")])]
}

async fn made(database: &Database) -> Box<dyn Source> {
    outside(|| database.execute(TABLES));
    source(&database.url()).await.unwrap()
}

fn name(database: &Database) -> String {
    outside(|| database.value("SELECT pubname FROM pg_publication"))
}

#[track_caller]
fn stale(told: &Told, says: &str) {
    let error = told.error();
    assert_eq!((error.cause, error.contract), (Cause::Stale, Some("C508")), "{error}");
    let text = format!("{error} / {}", error.hint.clone().unwrap_or_default());
    assert!(text.contains(says), "{text}");
    assert!(text.contains("--recopy` copies the tables again"), "{text}");
}

#[test]
fn f_42_log_that_the_server_removed_is_missed() {
    let Some(server) = Server::with(&["max_slot_wal_keep_size=1MB", "max_replication_slots=1"]) else {
        return;
    };
    let database = server.database("removed");
    let tables = tables();
    run(async {
        let source = made(&database).await;
        let start = open(source.as_ref(), "p", &tables).await;
        // F-19: its own slot is no reason to refuse it, another plan's is.
        let full = |plan: &'static str| {
            let source = source.as_ref();
            let tables = &tables;
            async move {
                let found = capture(source).check(&spec(plan, tables)).await.unwrap();
                assert!(found.iter().any(|found| found.code == "C505" && !found.blocks), "{found:?}");
                found.iter().any(|found| found.blocks && found.message.contains("slots are in use"))
            }
        };
        assert!(!full("p").await);
        assert!(full("other").await);
        let wait = Duration::from_secs(5);
        let error = capture(source.as_ref()).open(&spec("other", &tables), wait).await.err().unwrap();
        assert!(error.hint.unwrap().contains("max_replication_slots"));
        let replica = Replica::new(&tables, &start);
        let mut live = stream(source.as_ref(), "p", &replica, &tables, &start).await;
        outside(|| {
            for _ in 0..4 {
                database.execute("INSERT INTO u VALUES ((random() * 1e9)::bigint); SELECT pg_switch_wal()");
            }
            server.admin("CHECKPOINT");
        });
        // A reader that does not keep up is thrown out; one that comes back is refused.
        let mut thrown = Told::default();
        while thrown.error.is_none() {
            thrown.more(live.as_mut()).await;
        }
        drop(live);
        let standing = capture(source.as_ref()).standing("p").await.unwrap();
        assert!(
            matches!(&standing, Standing::Lost(why) if why.contains("lost") || why.contains("wal_removed")),
            "{standing:?}"
        );
        stale(&told(source.as_ref(), "p", &start, &tables).await, "the server");
        // The lost one is replaced like any leftover.
        let start = open(source.as_ref(), "p", &tables).await;
        assert!(told(source.as_ref(), "p", &start, &tables).await.error.is_none());
    });
}

#[test]
fn f_44_a_slot_in_use_is_waited_for_and_then_told_with_its_reader() {
    let server = need_server!();
    let database = server.database("busy");
    let tables = tables();
    run(async {
        let source = made(&database).await;
        let start = open(source.as_ref(), "p", &tables).await;
        let replica = Replica::new(&tables, &start);
        let first = stream(source.as_ref(), "p", &replica, &tables, &start).await;
        let pid = outside(|| {
            database.value("SELECT active_pid FROM pg_replication_slots WHERE database = current_database()")
        });
        let began = Instant::now();
        let second = told(source.as_ref(), "p", &start, &tables).await;
        assert!(began.elapsed() >= Duration::from_secs(5), "it waited {:?}", began.elapsed());
        assert_eq!(second.error().cause, Cause::Busy, "{}", second.error());
        assert!(second.error().hint.as_deref().unwrap().contains(&format!("pid {pid}")));
        let error = capture(source.as_ref()).close("p").await.err().unwrap();
        assert_eq!(error.cause, Cause::Busy, "{error}");
        // The first one goes while the next waits.
        let waiting = told(source.as_ref(), "p", &start, &tables);
        let leaving = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            drop(first);
        };
        let (third, ()) = tokio::join!(waiting, leaving);
        assert!(third.error.is_none(), "{:?}", third.error);
    });
}

#[test]
fn f_44_a_slot_that_was_dropped_is_missed() {
    let server = need_server!();
    let database = server.database("dropped");
    let tables = tables();
    run(async {
        let source = made(&database).await;
        let start = open(source.as_ref(), "p", &tables).await;
        let name = name(&database);
        outside(|| database.execute(&format!("SELECT pg_drop_replication_slot('{name}')")));
        assert_eq!(capture(source.as_ref()).standing("p").await.unwrap(), Standing::Missing);
        stale(&told(source.as_ref(), "p", &start, &tables).await, "there is no slot");
    });
}

#[test]
fn f_45_a_publication_that_was_altered_or_dropped_is_found() {
    let server = need_server!();
    for (alter, says) in [
        ("ALTER PUBLICATION NAME ADD TABLE u", "was altered"),
        ("ALTER PUBLICATION NAME DROP TABLE t", "was altered"),
        ("ALTER PUBLICATION NAME SET (publish = 'insert')", "was altered"),
        ("ALTER PUBLICATION NAME SET TABLE t (id)", "was altered"),
        ("DROP TABLE t", "was altered"),
        ("DROP PUBLICATION NAME", "was dropped"),
        ("DROP PUBLICATION NAME; CREATE PUBLICATION NAME FOR TABLE t", "is not one that Towpath made"),
    ] {
        if alter.contains("(id)") && version(server) < 15 {
            continue;
        }
        let database = server.database("altered");
        let tables = tables();
        run(async {
            let source = made(&database).await;
            let start = open(source.as_ref(), "p", &tables).await;
            let alter = alter.replace("NAME", &name(&database));
            outside(|| database.execute(&alter));
            let standing = capture(source.as_ref()).standing("p").await.unwrap();
            assert!(matches!(&standing, Standing::Lost(why) if why.contains(says)), "{alter}: {standing:?}");
            let told = told(source.as_ref(), "p", &start, &tables).await;
            assert_eq!(told.error().cause, Cause::Stale, "{alter}");
            assert!(told.error().to_string().contains(says), "{}", told.error());
        });
    }
}

#[test]
fn f_45_a_publication_that_changes_under_the_stream_stops_it() {
    let server = need_server!();
    for alter in ["DROP PUBLICATION NAME", "ALTER PUBLICATION NAME ADD TABLE u"] {
        let database = server.database("under");
        let tables = tables();
        run(async {
            let source = made(&database).await;
            let start = open(source.as_ref(), "p", &tables).await;
            let replica = Replica::new(&tables, &start);
            let mut live = stream(source.as_ref(), "p", &replica, &tables, &start).await;
            let alter = alter.replace("NAME", &name(&database));
            outside(|| {
                database.execute("INSERT INTO t VALUES (1, 1)");
                database.execute(&alter);
                database.execute("INSERT INTO u VALUES (2, 2)");
                database.execute("INSERT INTO t VALUES (3, 3)");
            });
            let mut told = Told::default();
            while told.error.is_none() {
                told.more(live.as_mut()).await;
            }
            assert_eq!(told.rows(), ["insert 0 [] [1,1]"], "{alter}");
            assert_eq!(told.error().cause, Cause::Stale, "{}", told.error());
        });
    }
}

#[test]
fn f_46_another_replica_identity_stops_the_stream_before_it_is_used() {
    let server = need_server!();
    for (alter, write, says) in [
        ("ALTER TABLE t REPLICA IDENTITY NOTHING", "INSERT INTO t VALUES (2, 2)", "is gone"),
        (
            "ALTER TABLE t ALTER n SET NOT NULL; CREATE UNIQUE INDEX by_n ON t (n); \
             ALTER TABLE t REPLICA IDENTITY USING INDEX by_n",
            "UPDATE t SET id = 5",
            "is (n) and was (id)",
        ),
        ("ALTER TABLE t DROP CONSTRAINT t_pkey", "INSERT INTO t VALUES (2, 2)", "is gone"),
    ] {
        let database = server.database("other");
        let tables = tables();
        run(async {
            let source = made(&database).await;
            let start = open(source.as_ref(), "p", &tables).await;
            outside(|| {
                database.execute("INSERT INTO t VALUES (1, 1)");
                database.execute(alter);
                database.execute(write);
            });
            let told = told(source.as_ref(), "p", &start, &tables).await;
            assert_eq!(told.rows(), ["insert 0 [] [1,1]"], "{alter}");
            assert!(told.error().to_string().contains(says), "{}", told.error());
            let found = capture(source.as_ref()).check(&spec("p", &tables)).await.unwrap();
            assert!(found.iter().any(|found| found.code == "C503" && found.blocks), "{found:?}");
        });
    }
}

/// The marks of another cluster and of another timeline, as a restored copy or a promoted standby
/// would show them.
#[test]
fn f_37_f_41_another_server_or_timeline_is_refused() {
    let server = need_server!();
    let database = server.database("moved");
    let tables = tables();
    run(async {
        let source = made(&database).await;
        let start = open(source.as_ref(), "p", &tables).await;
        let name = name(&database);
        let comment =
            outside(|| database.value("SELECT obj_description(oid, 'pg_publication') FROM pg_publication"));
        let with = |from: &str, to: &str| {
            let comment = comment.replace(from, to);
            outside(|| database.execute(&format!("COMMENT ON PUBLICATION {name} IS '{comment}'")));
        };
        with("timeline 1 ", "timeline 7 ");
        stale(&told(source.as_ref(), "p", &start, &tables).await, "timeline 1 and was on 7");
        with("system ", "system 1");
        stale(&told(source.as_ref(), "p", &start, &tables).await, "another server");
        with("nothing", "");
        assert!(told(source.as_ref(), "p", &start, &tables).await.error.is_none());
    });
}

#[test]
fn f_17_f_29_a_source_that_went_down_goes_on_where_it_was() {
    let Some(server) = Server::with(&[]) else { return };
    let database = server.database("down");
    let tables = tables();
    run(async {
        let source = made(&database).await;
        let start = open(source.as_ref(), "p", &tables).await;
        let replica = Replica::new(&tables, &start);
        let mut live = stream(source.as_ref(), "p", &replica, &tables, &start).await;
        outside(|| database.execute("INSERT INTO t VALUES (1, 1)"));
        let mut first = Told::default();
        while first.rows().is_empty() {
            first.more(live.as_mut()).await;
        }
        // Every session is ended at once, ours among them.
        outside(|| {
            server.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')")
        });
        while first.error.is_none() {
            first.more(live.as_mut()).await;
        }
        assert!(first.error().retryable(), "{}", first.error());
        outside(|| database.execute("INSERT INTO t VALUES (2, 2)"));
        let next = told(source.as_ref(), "p", &first.at, &tables).await;
        assert_eq!(next.rows(), ["insert 0 [] [2,2]"]);
    });
}
