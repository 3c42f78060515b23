//! What a cutover and a resume must not leave out, in the moments that a test has to make: a write
//! just before the fence, numbers that the source may still give, half of a table that is followed.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use tempfile::TempDir;

use super::followed::{Followed, LONG};
use crate::support::compare::{postgres_rows, same_rows};
use crate::support::postgres::moving_server;
use crate::support::scenario::Job;
use crate::support::sqlite::File;
use crate::support::{mariadb, wait_until};
use crate::{need_mariadb, need_mysql, need_server};

/// The stream had been caught up with, and the fence was not there yet.
#[test]
fn g_12_h_24_what_is_written_right_before_the_fence_arrives() {
    let Some(followed) = Followed::new(super::followed::PLAN) else { return };
    let waits = followed.job.towpath.clone().env("FAILPOINTS", "cut::fence_before=sleep(2500)");
    let mut cutting = waits.start(&["cutover", "--yes"]);
    let mut session = followed.source.session();
    let mut written = 0;
    // Until the fence stands, and so at any moment before it.
    wait_until("the fence stands", LONG, || {
        std::thread::sleep(Duration::from_millis(20));
        let added = session.try_execute("INSERT INTO items (n) VALUES (-7)").is_ok();
        written += u32::from(added);
        !added || cutting.ended()
    });
    let outcome = cutting.wait().expect(0);
    let arrived = followed.target.value("SELECT count(*)::text FROM items WHERE n = -7");
    assert_eq!(arrived, written.to_string(), "{outcome}");
    assert!(written > 10, "{written} rows prove little");
    followed.is_equal();
}

/// Nothing is there to be followed, and nothing remembers that somebody tried.
#[test]
fn g_16_following_before_the_first_load_leaves_nothing_behind() {
    let Some(server) = moving_server() else { return };
    let followed = Followed::not_yet(server, server, super::followed::PLAN);
    followed.job.run(&["follow"]).expect(1).says("steps of the plan are not done yet").says("towpath apply");
    assert_eq!(
        followed.target.value("SELECT count(*)::text FROM pg_namespace WHERE nspname = 'towpath'"),
        "0"
    );
}

/// Without a fence the writers are looked for: what an open transaction has written is in no log yet.
#[test]
fn g_12_without_a_fence_an_open_transaction_is_not_left_behind() {
    let plan = super::followed::PLAN.replace("{ fence: tables }", "{ fence: none }");
    let Some(followed) = Followed::new(&plan) else { return };
    let mut session = followed.source.session();
    session.execute("BEGIN; INSERT INTO items (n) VALUES (-8)");
    followed.job.run(&["cutover", "--yes"]).expect(3).says("S604").says("open");
    session.execute("COMMIT");
    let outcome = followed.job.run(&["cutover", "--yes"]).expect(0).says("takes writes as before");
    assert_eq!(followed.target.value("SELECT count(*)::text FROM items WHERE n = -8"), "1", "{outcome}");
}

const UNFENCED: &str = "defaults: { cdc: true }\ntables: { \"*\": {} }\ncutover: { fence: none }\n";

#[test]
fn g_12_without_a_fence_an_open_transaction_of_mariadb_is_not_left_behind() {
    open_in_the_family(need_mariadb!());
}

#[test]
fn g_12_without_a_fence_an_open_transaction_of_mysql_is_not_left_behind() {
    open_in_the_family(need_mysql!());
}

/// By a user who sees no other sessions; who only reads is in nobody's way.
fn open_in_the_family(server: &mariadb::Server) {
    let (source, target) = (server.database("open"), need_server!().database("target"));
    source.execute(
        "CREATE TABLE items (id int AUTO_INCREMENT PRIMARY KEY, n int); INSERT INTO items (n) VALUES (1)",
    );
    let user = format!("u_{}", source.name);
    server.admin(&format!("CREATE USER {user}@127.0.0.1 IDENTIFIED BY 'canary'"));
    let job = Job::new(&source.url_of(&user, "canary"), &target.url(), UNFENCED);
    let asked = Job::new(&source.url(), &target.url(), UNFENCED).run(&[
        "grants",
        "--role",
        &format!("{user}@127.0.0.1"),
    ]);
    let granted = asked.expect(0).stdout;
    let statements = granted.lines().skip_while(|line| !line.starts_with("-- source"));
    let statements: Vec<&str> = statements.take_while(|line| !line.starts_with("-- target")).collect();
    let [others, locks]: [Vec<&str>; 2] = [false, true].map(|locks| {
        let grants = statements.iter().filter(|line| line.starts_with("GRANT"));
        grants.filter(|line| line.contains("LOCK TABLES") == locks).copied().collect()
    });
    server.admin(&others.join("\n"));
    job.apply().expect(0);
    job.run(&["cutover", "--yes"]).expect(77).says("LOCK TABLES").says("fence: tables");
    server.admin(&locks.join("\n"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let [mut reader, mut writer] = [(); 2].map(|()| runtime.block_on(source.session()));
    runtime.block_on(reader.query_drop("BEGIN; SELECT * FROM items")).unwrap();
    runtime.block_on(writer.query_drop("BEGIN; INSERT INTO items (n) VALUES (-8)")).unwrap();
    job.run(&["cutover", "--yes"]).expect(3).says("S604").says("open");
    runtime.block_on(writer.query_drop("COMMIT")).unwrap();
    job.run(&["cutover", "--yes"]).expect(0).says("takes writes as before");
    assert_eq!(target.value("SELECT count(*)::text FROM items WHERE n = -8"), "1");
    drop((reader, writer));
}

/// Of a file one connection alone can write.
#[test]
fn g_12_without_a_fence_an_open_transaction_of_a_file_is_not_left_behind() {
    let directory = TempDir::new().unwrap();
    let (source, target) = (File::new(directory.path(), "s.db"), File::new(directory.path(), "t.db"));
    source.execute("PRAGMA journal_mode = wal; CREATE TABLE items (id INTEGER PRIMARY KEY, n INTEGER)");
    let job = Job::new(&source.url(), &target.url(), &format!("{UNFENCED}cdc: {{ sqlite: triggers }}\n"));
    job.apply().expect(0);
    let writer = source.open();
    writer.execute_batch("BEGIN; INSERT INTO items (n) VALUES (-8)").unwrap();
    job.run(&["cutover", "--yes"]).expect(3).says("S604").says("open");
    writer.execute_batch("COMMIT").unwrap();
    job.run(&["cutover", "--yes"]).expect(0).says("takes writes as before");
    assert_eq!(target.rows("SELECT count(*) FROM items WHERE n = -8"), [["1".to_string()]]);
}

/// Values that the source may have given to a transaction that is still open are not given again.
#[test]
fn s_15_f_73_sequences_are_ahead_by_the_margin_of_the_plan() {
    let plan =
        super::followed::PLAN.replace("{ fence: tables }", "{ fence: tables, sequences: { margin: 25 } }");
    let Some(followed) = Followed::new(&plan) else { return };
    followed.source.execute("INSERT INTO notes (note) VALUES ('one more')");
    let last = |sequence: &str| -> i64 {
        followed.source.value(&format!("SELECT last_value::text FROM {sequence}")).parse().unwrap()
    };
    let sequences = ["items_id_seq", "notes_id_seq"].map(|name| (name, last(name)));
    followed.cuts_over();
    for (name, last) in sequences {
        // Cutting over has ended with one first row of each.
        assert_eq!(
            followed.target.value(&format!("SELECT last_value::text FROM {name}")),
            (last + 26).to_string()
        );
    }
}

/// Its stream begins at one moment, and so must all its rows.
#[test]
fn f_21_g_05_a_followed_table_that_was_half_copied_is_copied_again() {
    let server = need_server!();
    let (source, target) = (server.database("half"), server.database("target"));
    source.execute(
        "CREATE TABLE wide (id int PRIMARY KEY, n int NOT NULL, body text); ALTER TABLE wide ALTER body SET STORAGE PLAIN; \
         INSERT INTO wide SELECT i, 0, repeat(md5(i::text), 60) FROM generate_series(1, 3000) i; ANALYZE wide",
    );
    let plan =
        "defaults: { cdc: true }\ntables: { \"*\": {} }\nlimits: { chunk: 1MiB, readers: 1, writers: 1 }\n";
    let job = Job::new(&source.url(), &target.url(), plan);
    let rows = || -> u32 {
        let there = "SELECT pg_catalog.to_regclass('wide') IS NOT NULL";
        if target.value(there) == "f" {
            return 0;
        }
        target.value("SELECT count(*)::text FROM wide").parse().unwrap()
    };
    // Dies after its second commit, again and again, until that was one of rows.
    let dying = job.towpath.clone().env("FAILPOINTS", "copy::after_commit_before_mark=1*off->return");
    for _ in 0..6 {
        let died = dying.run(&["apply", "--yes"]);
        assert_eq!(died.code, None, "{died}");
        if rows() > 0 {
            break;
        }
    }
    assert!((1..3000).contains(&rows()), "{} rows are no half", rows());
    // Rows that are in the target already, and rows that are not.
    source.execute("UPDATE wide SET n = 1 WHERE id % 100 = 7; DELETE FROM wide WHERE id % 100 = 8");
    job.apply().expect(0);
    same_rows(&postgres_rows(&source), &postgres_rows(&target));
    source.execute("UPDATE wide SET n = 2 WHERE id % 100 = 7");
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    same_rows(&postgres_rows(&source), &postgres_rows(&target));
}
