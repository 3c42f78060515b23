//! PostgreSQL and MariaDB, written to all the while, into MariaDB: copied, followed through deaths of
//! the tool, compared, put right, handed over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

use super::mariadb_follow::{self, Clients, after, copies_and_follows};
use crate::support::mariadb::{self, Server, same_as_postgres, same_as_sqlite};
use crate::support::postgres::Database;
use crate::support::scenario::Job;
use crate::support::sqlite::File;
use crate::support::wait_until;
use crate::{need_mariadb, need_mysql, need_server};

const SCHEMA: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL, code varchar(40) UNIQUE, price numeric(12,3), at timestamptz DEFAULT now());
    CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account int NOT NULL REFERENCES accounts ON DELETE CASCADE, amount bigint, f double precision);
    CREATE TABLE documents (id int PRIMARY KEY, title text, body text, b bytea, meta jsonb);
    ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE events (kind text, at int, extra text);
    ALTER TABLE events REPLICA IDENTITY FULL;
    INSERT INTO accounts SELECT i, 1000, 'Code ' || i, i / 7.0 FROM generate_series(1, 300) i;
    INSERT INTO ledger (account, amount, f) SELECT 1 + i % 300, i, i / 3.0 FROM generate_series(1, 5000) i;
    INSERT INTO documents SELECT i, 'title ' || i, repeat(md5(i::text), 120), '\\x00ff', '{\"a\": 1}' FROM generate_series(1, 60) i;
    INSERT INTO events SELECT 'k' || i % 3, i % 5, NULL FROM generate_series(1, 40) i;";
const TABLES: [&str; 4] = ["accounts", "documents", "events", "ledger"];

/// `NUM` is another number each time.
const STEPS: [&str; 9] = [
    "UPDATE accounts SET balance = balance - 1 WHERE id = 1 + NUM % 300; UPDATE accounts SET balance = balance + 1, price = price * 1.01 WHERE id = 1 + NUM % 299",
    "INSERT INTO ledger (account, amount, f) SELECT 1 + (NUM + i) % 290, i, NUM / 7.0 FROM generate_series(1, 20) i",
    "DELETE FROM ledger WHERE id % 97 = NUM % 97 AND id > 100",
    "UPDATE documents SET title = 'NUM é' WHERE id = 1 + NUM % 60",
    "UPDATE documents SET body = repeat('NUM', 1000), b = decode(md5('NUM'), 'hex') WHERE id = 1 + NUM % 60",
    "INSERT INTO events VALUES ('k', NUM % 9, 'x'), ('k', NUM % 9, 'x'); DELETE FROM events WHERE ctid = (SELECT ctid FROM events LIMIT 1)",
    "BEGIN; UPDATE documents SET id = id + 1000 WHERE id = 1 + NUM % 60; UPDATE documents SET id = id - 1000 WHERE id = 1001 + NUM % 60; COMMIT",
    "BEGIN; DELETE FROM accounts WHERE id = 295 + NUM % 5; INSERT INTO accounts VALUES (295 + NUM % 5, NUM, 'back NUM', NULL); COMMIT",
    "BEGIN; INSERT INTO events VALUES ('never', NUM, NULL); ROLLBACK",
];

fn step(source: &Database, number: u64) {
    source.execute(&STEPS[number as usize % STEPS.len()].replace("NUM", &number.to_string()));
}

fn steps(source: &Database, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| step(source, number));
}

/// Somebody who writes until he is stopped.
struct Writer(Arc<AtomicBool>, JoinHandle<u64>);

impl Writer {
    fn start(source: &Database) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (stopped, source) = (Arc::clone(&stop), source.clone());
        let write = move || {
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                step(&source, number);
                number += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            number
        };
        Self(stop, std::thread::spawn(write))
    }

    fn stop(self) -> u64 {
        self.0.store(true, Ordering::Relaxed);
        self.1.join().unwrap()
    }
}

fn plan(more: &str) -> String {
    format!(
        "defaults: {{ cdc: true }}\ntables: {{ \"*\": {{}} }}\n{more}\
         accept:\n  - {{ hazard: K302, at: events, reason: test }}\n"
    )
}

#[track_caller]
fn same(source: &Database, target: &mariadb::Database) {
    same_as_postgres(target, source, "public", &TABLES);
}

#[test]
fn postgres_to_mariadb_followed_through_deaths_and_cut_over() {
    followed_through_deaths_and_cut_over(need_mariadb!(), &["transactional", "batch"]);
}

#[test]
fn postgres_to_mysql_followed_through_deaths_and_cut_over() {
    followed_through_deaths_and_cut_over(need_mysql!(), &["transactional", "batch"]);
}

fn followed_through_deaths_and_cut_over(maria: &Server, modes: &[&str]) {
    let server = need_server!();
    for mode in modes {
        let (source, target) = (server.database("shop"), maria.database("target"));
        source.execute(SCHEMA);
        let more =
            format!("cdc: {{ mode: {mode} }}\ncutover: {{ fence: tables, sequences: {{ margin: 10 }} }}\n");
        let job = Job::new(&source.url(), &target.url(), &plan(&more));
        let writer = Writer::start(&source);
        let mut copying = job.start_apply();
        after(Duration::from_millis(500), || copying.ended());
        copying.kill();
        job.apply().expect(0);
        for _ in 0..3 {
            let mut following = job.towpath.start(&["follow"]);
            after(Duration::from_secs(1), || following.ended());
            assert!(!following.ended(), "following has no end of its own: {}", following.so_far());
            following.kill();
        }
        job.run(&["verify", "--level", "rows"]).expect(0);
        source.execute("TRUNCATE events");
        job.run(&["status"]).expect(0).says("ledger");
        assert!(writer.stop() > 10, "too little was written");
        job.run(&["cutover", "--yes"]).expect(0);
        same(&source, &target);
        let largest: i64 = source.value("SELECT max(id)::text FROM ledger").parse().unwrap();
        target.execute("INSERT INTO ledger (account, amount) VALUES (1, 3)");
        let added: i64 = target.value("SELECT MAX(id) FROM ledger").parse().unwrap();
        assert!(added > largest, "{added} after {largest}");
        assert!(source.session().try_execute("DELETE FROM events").is_err(), "the source is open");
        job.run(&["cutover", "--yes"]).expect(0).says("already");
        job.run(&["clean"]).expect(0);
        let left = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'towpath%'";
        assert_eq!(target.value(left), "0");
    }
}

#[test]
fn mariadb_to_mariadb_followed_through_deaths_and_cut_over() {
    let maria = need_mariadb!();
    for mode in ["transactional", "batch"] {
        let settings =
            ["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1", "--log-bin-trust-function-creators=ON"];
        let Some(server) = Server::start(&settings) else { return };
        let (source, target) = (server.database("shop"), maria.database("target"));
        source.execute(mariadb_follow::SHOP);
        let more =
            format!("cdc: {{ mode: {mode} }}\ncutover: {{ fence: tables, sequences: {{ margin: 10 }} }}\n");
        let job = Job::new(&source.url(), &target.url(), &mariadb_follow::plan(&more));
        let clients = Clients::start(&source, 3);
        copies_and_follows(&job, &server);
        job.run(&["verify", "--level", "rows"]).expect(0);
        job.run(&["cutover", "--yes"]).expect(0);
        clients.stop();
        for table in mariadb_follow::TABLES {
            assert_eq!(source.lines(table).1, target.lines(table).1, "{table}");
        }
        let largest: i64 = source.value("SELECT MAX(id) FROM ledger").parse().unwrap();
        target.execute("INSERT INTO ledger (source, target, amount) VALUES (1, 2, 3)");
        let added: i64 = target.value("SELECT MAX(id) FROM ledger").parse().unwrap();
        assert!(added > largest, "{added} after {largest}");
    }
}

/// The process dies around the commit, and the same command goes on; an answer that is lost is looked
/// for. Nothing is doubled, nothing is lost.
#[test]
fn f_02_f_31_dies_around_the_commit_and_loses_its_answer() {
    let (server, maria) = (need_server!(), need_mariadb!());
    for mode in ["transactional", "batch"] {
        let (source, target) = (server.database("dying"), maria.database("target"));
        source.execute(SCHEMA);
        let job = Job::new(&source.url(), &target.url(), &plan(&format!("cdc: {{ mode: {mode} }}\n")));
        job.apply().expect(0);
        let follow = ["follow", "--until-lag", "0s"];
        let points =
            ["apply::mid_tx", "apply::progress_updated", "apply::commit_sent", "apply::commit_ok_before_ack"];
        for (number, point) in (0..).zip(points) {
            steps(&source, number * 20..number * 20 + 20);
            let died = job.towpath.clone().env("FAILPOINTS", format!("{point}=return")).run(&follow);
            assert!(died.code.is_none(), "{point} was not reached: {}", died.stderr);
            job.run(&follow).expect(0);
            same(&source, &target);
        }
        for told in ["1*return(error)->off", "1*off->1*return(error)->off"] {
            steps(&source, 100..140);
            let lost =
                job.towpath.clone().env("FAILPOINTS", format!("apply::commit_sent={told}")).run(&follow);
            assert_eq!(lost.code, Some(0), "{lost}");
            same(&source, &target);
        }
        job.run(&["verify", "--level", "rows"]).expect(0);
    }
}

/// Sessions are ended by an administrator while rows are applied: they go on by themselves.
#[test]
fn f_33_a_session_that_is_ended_is_made_again() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (server.database("ended"), maria.database("target"));
    source.execute(SCHEMA);
    let job = Job::new(&source.url(), &target.url(), &plan("cdc: { mode: transactional }\n"));
    job.apply().expect(0);
    let mut following = job.towpath.start(&["follow"]);
    // The sessions of the run before, and of planning, are older than the one with the lock.
    source.execute("INSERT INTO accounts VALUES (4999, 1)");
    wait_until("it follows", Duration::from_secs(60), || {
        target.value("SELECT COUNT(*) FROM accounts WHERE id = 4999") == "1"
    });
    for number in 0..6 {
        steps(&source, number * 9..number * 9 + 9);
        let id = 5000 + number;
        source.execute(&format!("INSERT INTO accounts VALUES ({id}, 1)"));
        let there = format!("SELECT COUNT(*) FROM accounts WHERE id = {id}");
        // All but the one that holds the plan's lock, which is no session that applies.
        let ends = "SELECT GROUP_CONCAT('KILL CONNECTION ', ID SEPARATOR ';') FROM information_schema.PROCESSLIST \
             WHERE DB = DATABASE() AND ID <> CONNECTION_ID() AND ID <> (SELECT MIN(ID) FROM information_schema.PROCESSLIST \
             WHERE DB = DATABASE() AND ID <> CONNECTION_ID())";
        let ends = target.value(ends);
        if !ends.is_empty() {
            // One that has ended by itself by now is no error.
            let _ = target.try_execute(&ends);
        }
        wait_until("it arrives", Duration::from_secs(60), || {
            following.ended() || target.value(&there) == "1"
        });
        assert!(!following.ended(), "it ended: {}", following.so_far());
    }
    following.signal("TERM");
    following.wait().expect(0);
    same(&source, &target);
}

/// A row that somebody changed on the target stops the stream, in both modes; a repair sets it going.
#[test]
fn r6_a_row_that_differs_stops_with_its_key_and_a_repair_goes_on() {
    let (server, maria) = (need_server!(), need_mariadb!());
    for mode in ["transactional", "batch"] {
        let (source, target) = (server.database("differs"), maria.database("target"));
        source.execute(SCHEMA);
        let job = Job::new(&source.url(), &target.url(), &plan(&format!("cdc: {{ mode: {mode} }}\n")));
        job.apply().expect(0);
        target.execute("SET foreign_key_checks = 0; DELETE FROM accounts WHERE id = 5");
        source.execute("UPDATE accounts SET balance = 7 WHERE id = 6; UPDATE accounts SET balance = 7 WHERE id = 5; UPDATE accounts SET balance = 7 WHERE id = 8");
        job.run(&["follow", "--until-lag", "0s"]).expect(7).says("accounts").says("(5)").says("is not there");
        assert_eq!(target.value("SELECT balance FROM accounts WHERE id = 8"), "1000");
        job.run(&["verify", "--repair", "--yes"]).expect(0).says("accounts");
        steps(&source, 0..20);
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        same(&source, &target);
        // Not stuck: while the source is followed, at one commit of it.
        target.execute("UPDATE documents SET title = 'else' WHERE id = 3; DELETE FROM ledger WHERE id = 17");
        steps(&source, 0..9);
        job.run(&["verify"]).expect(7);
        job.run(&["verify", "--repair", "--yes"]).expect(0).says("documents");
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        same(&source, &target);
    }
}

/// F-47: where the log is gone the tables are copied again, and followed from there.
#[test]
fn f_47_copied_again_where_the_log_is_gone() {
    let maria = need_mariadb!();
    let Some(server) = Server::start(&[]) else { return };
    let (source, target) = (server.database("gap"), maria.database("target"));
    source.execute(mariadb_follow::SHOP);
    let job = Job::new(&source.url(), &target.url(), &mariadb_follow::plan(""));
    job.apply().expect(0);
    source.execute("UPDATE accounts SET balance = 6");
    server.purge("binlog.000001", "binlog.000002");
    job.run(&["follow", "--until-lag", "0s"]).says("G10").says("--recopy");
    job.run(&["apply", "--recopy", "--yes"]).expect(0);
    source.execute("UPDATE accounts SET balance = 7 WHERE id < 50; DELETE FROM ledger WHERE id < 9");
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    for table in mariadb_follow::TABLES {
        assert_eq!(source.lines(table).1, target.lines(table).1, "{table}");
    }
}

/// Triggers of the target are said before anything is done.
#[test]
fn c_509_triggers_of_the_target_are_said() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (server.database("acts"), maria.database("target"));
    source.execute("CREATE TABLE t (id int PRIMARY KEY, v int)");
    target.execute("CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TRIGGER acts BEFORE INSERT ON t FOR EACH ROW SET NEW.v = 1");
    let job = Job::new(&source.url(), &target.url(), "tables: { t: { cdc: true } }\n");
    job.run(&["plan"]).expect(3).says("C509").says("acts");
}

/// F-52: one transaction of many rows is one there, whatever way it goes, and through the disk.
#[test]
fn f_52_a_large_transaction_arrives_whole() {
    let (server, maria) = (need_server!(), need_mariadb!());
    for mode in ["transactional", "batch"] {
        let (source, target) = (server.database("large"), maria.database("target"));
        source.execute(SCHEMA);
        let spill = "memory: { limit: 16MiB, keep: 1s }";
        let job =
            Job::new(&source.url(), &target.url(), &plan(&format!("cdc: {{ mode: {mode}, {spill} }}\n")));
        job.apply().expect(0);
        source.execute(
            "BEGIN; INSERT INTO ledger (account, amount, f) SELECT 1 + i % 300, i, i FROM generate_series(1, 60000) i; \
             UPDATE ledger SET amount = amount + 1 WHERE account > 250; DELETE FROM ledger WHERE account < 50; COMMIT; \
             TRUNCATE events; INSERT INTO events VALUES ('one', 1, 'x')",
        );
        job.run(&["follow", "--until-lag", "1s"]).expect(0);
        same(&source, &target);
    }
}

/// From a file, whose changes its triggers keep.
#[test]
fn sqlite_to_mariadb_followed_and_cut_over() {
    let maria = need_mariadb!();
    let directory = TempDir::new().unwrap();
    let (source, target) = (File::new(directory.path(), "source.db"), maria.database("target"));
    source.execute(
        "PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT, r REAL, b BLOB) STRICT;
         INSERT INTO t (v, r, b) VALUES ('a', 0.5, x'00ff'), (NULL, NULL, NULL), ('', 1e300, x'')",
    );
    let rest = "defaults: { cdc: true }\ntables: { \"*\": {} }\ncdc: { sqlite: triggers }\n";
    let job = Job::new(&source.url(), &target.url(), rest);
    job.apply().expect(0);
    source.execute(
        "UPDATE t SET v = 'b', r = -r WHERE id = 1; INSERT INTO t (v) VALUES ('c'); UPDATE t SET id = 40 WHERE id = 2; \
         INSERT OR REPLACE INTO t VALUES (3, 'again', 2.5, x'0102'); DELETE FROM t WHERE id = 40; INSERT INTO t (v) VALUES ('é💧')",
    );
    job.run(&["cutover", "--yes"]).expect(0);
    same_as_sqlite(&target, &source, &["t"]);
    target.execute("INSERT INTO t (v) VALUES ('first')");
    assert_eq!(target.value("SELECT COUNT(*) FROM t WHERE v = 'first' AND id > 5"), "1");
}
