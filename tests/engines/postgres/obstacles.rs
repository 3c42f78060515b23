//! What is found out about a source before a capture is opened on it.

use towpath::change::{Followed, Identity};
use towpath::engine::{Obstacle, Source};

use super::replica::{WAIT, capture, followed, spec, version};
use super::{bigint, outside, run, source};
use crate::need_server;
use crate::support::postgres::{Database, PASSWORD, Server};

fn numbers(name: &str) -> Followed {
    followed(name, &[("id", bigint(), "bigint"), ("n", bigint(), "bigint")])
}

async fn check(source: &dyn Source, tables: &[Followed]) -> Vec<Obstacle> {
    capture(source).check(&spec("p", tables)).await.unwrap()
}

/// Code, place and whether it blocks.
fn brief(found: &[Obstacle]) -> Vec<(&str, &str, bool)> {
    found.iter().map(|found| (found.code, found.at.as_str(), found.blocks)).collect()
}

/// The URL of a role of the test's own.
fn url_of(database: &Database, role: &str) -> String {
    database.url().replace("postgres://towpath:", &format!("postgres://{role}:"))
}

#[test]
fn c_503_tables_whose_rows_the_log_cannot_tell_apart_block() {
    let server = need_server!();
    let database = server.database("tables");
    database.execute(
        "CREATE TABLE good (id bigint PRIMARY KEY, n bigint); CREATE TABLE nokey (id bigint, n bigint); \
         CREATE TABLE nothing (id bigint PRIMARY KEY, n bigint); ALTER TABLE nothing REPLICA IDENTITY NOTHING; \
         CREATE TABLE late (id bigint PRIMARY KEY DEFERRABLE, n bigint); \
         CREATE UNLOGGED TABLE unlogged (id bigint PRIMARY KEY, n bigint); \
         CREATE TABLE other (id bigint PRIMARY KEY, n bigint UNIQUE NOT NULL); \
         CREATE TABLE part (id bigint PRIMARY KEY, n bigint) PARTITION BY RANGE (id); \
         CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (9); ALTER TABLE part1 REPLICA IDENTITY FULL; \
         CREATE TABLE whole (id bigint, n bigint, x text); ALTER TABLE whole REPLICA IDENTITY FULL; \
         CREATE TABLE computed (id bigint PRIMARY KEY, n bigint GENERATED ALWAYS AS (id * 2) STORED)",
    );
    let names =
        ["good", "nokey", "nothing", "late", "unlogged", "other", "part", "whole", "computed", "absent"];
    let mut tables: Vec<_> = names.iter().map(|name| numbers(name)).collect();
    tables[5].identity = Identity::Columns(vec![1]);
    tables[7].identity = Identity::Whole;
    run(async {
        let source = source(&database.url()).await.unwrap();
        let found = check(source.as_ref(), &tables).await;
        assert_eq!(
            brief(&found),
            [
                ("C506", "server", false),
                ("C503", "public.nokey", true),
                ("C503", "public.nothing", true),
                ("C503", "public.late", true),
                ("C507", "public.unlogged", true),
                ("C503", "public.other", true),
                ("C507", "public.part", false),
                ("C503", "public.part", true),
                ("C503", "public.whole", true),
                ("C502", "public.computed", true),
                ("C502", "public.absent", true),
            ]
        );
        assert!(found.iter().all(|found| !found.hint.is_empty()));
        // Finding 7: a table without identity is never published, so its application goes on.
        assert_eq!(outside(|| database.value("SELECT count(*) FROM pg_publication")), "0");
    });
}

#[test]
fn p_802_g_19_what_a_role_lacks_comes_with_the_statement_that_grants_it() {
    let server = need_server!();
    let database = server.database("grants");
    database.execute(&format!(
        "CREATE ROLE p802_reader LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE p802_owner; \
         CREATE TABLE t (id bigint PRIMARY KEY, n bigint); ALTER TABLE t OWNER TO p802_owner; \
         CREATE TABLE hidden (id bigint PRIMARY KEY, n bigint); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; \
         GRANT SELECT ON hidden TO p802_reader"
    ));
    let tables = vec![numbers("t")];
    run(async {
        let source = source(&url_of(&database, "p802_reader")).await.unwrap();
        let found = check(source.as_ref(), &[numbers("t"), numbers("hidden")]).await;
        let blocking = brief(&found);
        assert!(blocking.contains(&("P801", "public.hidden", true)), "{found:?}");
        let found = check(source.as_ref(), &tables).await;
        let missing: Vec<_> = found.iter().filter(|found| found.blocks).collect();
        assert!(missing.iter().all(|found| found.code == "P802"), "{missing:?}");
        assert_eq!(missing.len(), 3, "{missing:?}");
        let error = capture(source.as_ref()).open(&spec("p", &tables), WAIT).await.err().unwrap();
        assert!(matches!(error.cause, towpath::engine::Cause::Privilege), "{error}");
        // As they stand in the hints, run by whoever may.
        outside(|| {
            for found in &missing {
                database.execute(found.hint.split(" (").next().unwrap());
            }
        });
        let found = check(source.as_ref(), &tables).await;
        assert!(!found.iter().any(|found| found.blocks), "{found:?}");
        let snapshot = capture(source.as_ref()).open(&spec("p", &tables), WAIT).await.unwrap();
        let start = snapshot.position().clone();
        snapshot.close().await.unwrap();
        outside(|| database.execute("INSERT INTO t VALUES (1, 1)"));
        let told = super::replica::told(source.as_ref(), "p", &start, &tables).await;
        assert_eq!(told.rows(), ["insert 0 [] [1,1]"]);
        capture(source.as_ref()).close("p").await.unwrap();
    });
    database.execute("DROP OWNED BY p802_reader; DROP OWNED BY p802_owner CASCADE");
    server.admin("DROP ROLE p802_reader; DROP ROLE p802_owner");
}

#[test]
fn c_502_f_19_a_server_that_keeps_no_such_log() {
    let Some(server) = Server::with(&["wal_level=replica", "max_wal_senders=1"]) else { return };
    let database = server.database("level");
    database.execute("CREATE TABLE t (id bigint PRIMARY KEY, n bigint)");
    let tables = vec![numbers("t")];
    let major = version(&server);
    run(async {
        let source = source(&database.url()).await.unwrap();
        let found = check(source.as_ref(), &tables).await;
        let says = |what: &str| {
            found.iter().any(|found| found.code == "C502" && found.blocks && found.message.contains(what))
        };
        assert!(says("free sessions for replication: 1"), "{found:?}");
        // Later servers raise the level themselves.
        if major >= 19 {
            assert!(!says("wal_level"), "{found:?}");
            return;
        }
        assert!(says("wal_level is replica"), "{found:?}");
        let error = capture(source.as_ref()).open(&spec("p", &tables), WAIT).await.err().unwrap();
        assert!(error.to_string().contains("wal_level"), "{error}");
        let left = outside(|| database.value("SELECT count(*) FROM pg_publication"));
        assert_eq!(left, "0", "nothing is left of it");
    });
}

#[test]
fn r_12_transactions_that_the_slot_would_wait_for_are_named() {
    let server = need_server!();
    let database = server.database("old");
    database.execute("CREATE TABLE t (id bigint PRIMARY KEY, n bigint); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'r_12'");
    run(async {
        let source = source(&database.url()).await.unwrap();
        // Not before they are a minute old: short ones pass by themselves.
        let found = check(source.as_ref(), &[numbers("t")]).await;
        assert!(!found.iter().any(|found| found.message.contains("r_12")), "{found:?}");
    });
    database.execute("ROLLBACK PREPARED 'r_12'");
}
