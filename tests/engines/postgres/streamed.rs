//! Transactions that the source tells before they commit: what comes of them is what comes of the
//! same transactions told whole.

use std::time::Duration;

use towpath::change::Followed;
use towpath::engine::{self, Limits, Scratch, Source};

use super::replica::{capture, drain, followed, made, now, open, opened, rows, told, version};
use super::{bigint, outside, run, url};
use crate::need_server;
use crate::support::postgres::Database;

/// A source that may keep so many bytes of transactions in progress.
async fn keeping(database: &Database, bytes: u64, dir: &tempfile::TempDir) -> Box<dyn Source> {
    let url = url(&database.url());
    let scratch = Scratch { dir: dir.path().join("not yet there"), bytes };
    engine::engine(&url).unwrap().source(&url, &Limits { scratch, ..Limits::default() }).await.unwrap()
}

/// From 64 KiB on a transaction is told while it goes on.
fn tells_early(database: &Database) {
    database.execute(&format!("ALTER DATABASE {database} SET logical_decoding_work_mem = '64kB'"));
}

fn numbers(name: &str) -> Followed {
    followed(name, &[("id", bigint(), "bigint"), ("n", bigint(), "bigint")])
}

/// How many transactions the server told early, and how many it wrote to its own disk.
fn early(database: &Database) -> (u64, u64) {
    let sql = format!(
        "SELECT coalesce(sum(stream_txns), 0) || ' ' || coalesce(sum(spill_txns), 0) FROM pg_stat_replication_slots \
         JOIN pg_replication_slots USING (slot_name) WHERE database = '{database}'"
    );
    let answer = database.value(&sql);
    let (streamed, spilled) = answer.split_once(' ').expect("two numbers");
    (streamed.parse().unwrap(), spilled.parse().unwrap())
}

#[test]
fn s_25_f_52_transactions_in_progress_are_told_as_if_they_were_whole() {
    let server = need_server!();
    if version(server) < 14 {
        return;
    }
    let database = server.database("early");
    tells_early(&database);
    let tables = vec![numbers("t"), numbers("u")];
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let table = |name| format!("CREATE TABLE {name} (id bigint PRIMARY KEY, n bigint)");
        let whole = made(&database, &[table("t"), table("u")].join(";")).await;
        let start = open(whole.as_ref(), "p", &tables).await;
        outside(|| {
            let many = |table: &str, from: u32| {
                format!("INSERT INTO {table} SELECT i, i FROM generate_series({from}, {from} + 2999) i")
            };
            let (mut slow, mut lost) = (database.session(), database.session());
            slow.execute(&format!("BEGIN; {}", many("t", 0)));
            lost.execute(&format!("BEGIN; {}", many("t", 10_000)));
            database.execute("INSERT INTO t VALUES (9000, 1)");
            database.execute(&format!("BEGIN; {}; UPDATE u SET n = n + 1; COMMIT", many("u", 0)));
            slow.execute(&format!("SAVEPOINT a; {}; SAVEPOINT b; {}", many("t", 20_000), many("t", 30_000)));
            lost.execute("ROLLBACK");
            slow.execute(&format!("ROLLBACK TO b; UPDATE t SET n = -1 WHERE id < 10; {}", many("t", 40_000)));
            slow.execute(&format!("RELEASE a; SAVEPOINT c; {}", many("t", 50_000)));
            database.execute("UPDATE u SET id = id + 100000 WHERE id < 5");
            slow.execute("ROLLBACK TO c; TRUNCATE u; INSERT INTO u VALUES (1, 1); COMMIT");
            slow.execute(&format!("BEGIN; {}; PREPARE TRANSACTION 'early'", many("u", 60_000)));
            slow.execute("COMMIT PREPARED 'early'");
            database.execute("ALTER TABLE u ALTER n SET DEFAULT 5; INSERT INTO u (id) VALUES (-1)");
        });
        let expected = told(whole.as_ref(), "p", &start, &tables).await;
        assert!(expected.error.is_none());
        let (streamed, spilled) = outside(|| early(&database));
        assert!(streamed == 0 && spilled > 0, "{streamed} {spilled}");
        let early_source = keeping(&database, 64 << 20, &dir).await;
        let found = told(early_source.as_ref(), "p", &start, &tables).await;
        assert_eq!(found.words.len(), expected.words.len());
        assert!(found.words == expected.words, "the same changes in the same order");
        let streamed = outside(|| early(&database)).0;
        // From PostgreSQL 18 on a transaction that is known to be lost is not told at all.
        assert!(streamed >= 3, "{streamed}");
        assert_eq!(std::fs::read_dir(dir.path().join("not yet there")).unwrap().count(), 0);
        capture(whole.as_ref()).close("p").await.unwrap();
    });
}

#[test]
fn f_52_what_does_not_fit_on_the_disk_stays_at_the_source() {
    let server = need_server!();
    if version(server) < 14 {
        return;
    }
    let database = server.database("narrow");
    tells_early(&database);
    let tables = vec![numbers("t")];
    let dir = tempfile::tempdir().unwrap();
    run(async {
        made(&database, "CREATE TABLE t (id bigint PRIMARY KEY, n bigint)").await;
        let source = keeping(&database, 100 << 10, &dir).await;
        let mut replica = opened(source.as_ref(), "p", &tables).await;
        let start = replica.position.clone();
        outside(|| database.execute("INSERT INTO t SELECT i, i FROM generate_series(1, 20000) i"));
        let narrow = told(source.as_ref(), "p", &start, &tables).await;
        let error = narrow.error.expect("there is no room");
        assert!(narrow.words.is_empty() && error.retryable(), "{error}");
        let drained = drain(source.as_ref(), "p", &mut replica, &tables, &start);
        tokio::time::timeout(Duration::from_secs(60), drained).await.expect("it comes whole");
        assert_eq!(replica.commits, 1);
        assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
        capture(source.as_ref()).close("p").await.unwrap();
    });
}
