//! The way back after a cutover: writers first on the source, then on the target, then on the
//! source again. Nothing that was committed anywhere is lost, and each cutover can be tried again.

pub mod crash;
mod gates;
mod mariadb;
mod mysql;
mod postgres;
mod sqlite;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::support::command::Outcome;
use crate::support::postgres::{Database, Server};
use crate::support::scenario::Job;

/// A shop whose tables are called otherwise on the target, with all that a way back has to carry:
/// a column left behind, keys of two columns, an identity, a partition tree, foreign keys.
pub const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('low', 'high');
    CREATE TABLE users (id bigserial PRIMARY KEY, email text NOT NULL UNIQUE, mood mood NOT NULL DEFAULT 'low',
        legacy text, seen timestamp NOT NULL DEFAULT '2026-01-01');
    CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \"user\" bigint NOT NULL REFERENCES users,
        total numeric(10,2), twice numeric GENERATED ALWAYS AS (total * 2) STORED, tags text[]);
    CREATE TABLE lines (\"order\" int REFERENCES orders, number int, what text, PRIMARY KEY (number, \"order\"));
    CREATE TABLE parts (day int NOT NULL, n int NOT NULL, big text, PRIMARY KEY (day, n)) PARTITION BY RANGE (day);
    CREATE TABLE parts_old PARTITION OF parts FOR VALUES FROM (0) TO (10);
    CREATE TABLE parts_new PARTITION OF parts FOR VALUES FROM (10) TO (1000);
    INSERT INTO users (email, legacy) SELECT 'u' || i, 'old ' || i FROM generate_series(1, 200) i;
    INSERT INTO orders (\"user\", total, tags) SELECT i, i * 1.5, ARRAY['a', NULL] FROM generate_series(1, 200) i;
    INSERT INTO lines SELECT i, 1, 'line' FROM generate_series(1, 200) i;
    INSERT INTO parts SELECT i % 20, i, repeat(md5(i::text), 200) FROM generate_series(1, 200) i;";

pub const PLAN: &str = "\
defaults: { cdc: true }
tables:
  \"*\": {}
  users: { to: accounts, columns: { email: { to: mail }, legacy: skip, seen: { type: timestamptz, zone: UTC } } }
  lines: { to: sales.lines, columns: { what: { to: \"What it is\" } } }
reverse: true
cutover: { fence: tables, max_lag: 30s, budget: 2m, sequences: { margin: 5 } }
accept:
  - { hazard: D105, reason: test }
  - { hazard: C513, reason: test }
";

/// Names at the source, and at the target.
pub struct Names {
    pub users: &'static str,
    pub email: &'static str,
    pub lines: &'static str,
    pub what: &'static str,
}

pub const OLD: Names = Names { users: "users", email: "email", lines: "lines", what: "what" };
pub const NEW: Names =
    Names { users: "accounts", email: "mail", lines: "sales.lines", what: "\"What it is\"" };

/// What a writer does in one transaction, told from all others by its number. Two writes to rows
/// that were there, a change of key, a row that moves to another partition, a delete.
fn work(names: &Names, who: &str, n: u32) -> String {
    let Names { users, email, lines, what } = names;
    let old = n % 190 + 1;
    // Nobody else's, of whoever is told from the others by the first four letters.
    let own = who.bytes().take(4).fold(0, |sum, byte| sum * 26 + u32::from(byte - b'a')) * 4000 + n;
    format!(
        "BEGIN; \
         WITH u AS (INSERT INTO {users} ({email}, mood) VALUES ('{who} {n}', 'high') RETURNING id), \
         o AS (INSERT INTO orders (\"user\", total, tags) SELECT id, {n}, '{{x,y}}' FROM u RETURNING id) \
         INSERT INTO {lines} (\"order\", number, {what}) SELECT id, {n}, '{who}' FROM o; \
         UPDATE {users} SET mood = 'high', seen = seen + interval '1 hour' WHERE id = {old}; \
         UPDATE {lines} SET number = -number WHERE \"order\" = {old}; \
         UPDATE parts SET day = (day + 7) % 20 WHERE n = {old}; \
         INSERT INTO parts VALUES ({n} % 20, {own}, 'by {who}'); \
         DELETE FROM parts WHERE n = {n} + 150; COMMIT"
    )
}

/// Somebody who writes until he is told to stop, or not let any more.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, Option<String>)>,
}

impl Writer {
    pub fn start(database: &Database, names: &'static Names, who: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (database, told) = (database.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut session = database.session();
            let mut done = 0;
            while !told.load(Ordering::Relaxed) {
                if let Err(error) = session.try_execute(&work(names, who, done)) {
                    return (done, Some(error.to_string()));
                }
                done += 1;
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
            (done, None)
        });
        Self { stop, thread }
    }

    /// Transactions that were committed; he was let.
    #[track_caller]
    pub fn stop(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        let (done, error) = self.thread.join().unwrap();
        assert_eq!(error, None);
        done
    }

    /// Transactions that were committed before the table was closed.
    #[track_caller]
    pub fn shut_out(self) -> u32 {
        let (done, error) = self.thread.join().unwrap();
        let error = error.unwrap();
        assert!(error.contains("has moved to another database"), "{error}");
        done
    }
}

/// All plans of the tests have one name, and changes on their way may go to disk under it.
pub fn job(source: &str, target: &str, plan: &str) -> Job {
    let job = Job::new(source, target, plan);
    let directory = job.path().to_string_lossy().into_owned();
    job.with_env("TMPDIR", &directory)
}

/// Two databases and a plan that keeps a way back.
pub struct World {
    pub source: Database,
    pub target: Database,
    pub job: Job,
}

impl World {
    /// Both on the same server, which is the harder case: a slot waits for every transaction there.
    pub fn new(server: &Server, plan: &str) -> Self {
        Self::of(server.database("old"), server.database("new"), plan)
    }

    pub fn of(source: Database, target: Database, plan: &str) -> Self {
        source.execute(SCHEMA);
        let job = job(&source.url(), &target.url(), plan);
        Self { source, target, job }
    }

    /// Up to where a cutover may begin.
    #[track_caller]
    pub fn moved(self) -> Self {
        self.job.apply().expect(0);
        self
    }

    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.job.run(arguments).expect(0)
    }

    /// Runs, with this crash point set: it has to die.
    #[track_caller]
    pub fn dies(&self, point: &str, arguments: &[&str]) {
        let towpath = self.job.towpath.clone().env("FAILPOINTS", format!("{point}=return"));
        let died = towpath.run(arguments);
        assert_eq!(died.code, None, "{point} was never reached\n{died}");
    }

    /// The transactions of a writer that are in a database, by its rows of three tables.
    #[track_caller]
    pub fn has_all(&self, database: &Database, names: &Names, who: &str, done: u32) {
        let Names { users, email, lines, what } = names;
        for sql in [
            format!("SELECT count(*) FROM {users} WHERE {email} LIKE '{who} %'"),
            format!("SELECT count(*) FROM {lines} WHERE {what} = '{who}'"),
            format!("SELECT count(*) FROM parts WHERE big = 'by {who}'"),
        ] {
            assert_eq!(database.value(&sql), done.to_string(), "{sql}");
        }
    }

    /// Both hold the same rows, compared without the tool.
    #[track_caller]
    pub fn are_equal(&self) {
        for (old, new) in [
            (
                "SELECT id, email, mood, seen AT TIME ZONE 'UTC' FROM users",
                "SELECT id, mail, mood, seen FROM accounts",
            ),
            ("SELECT * FROM orders", "SELECT * FROM orders"),
            ("SELECT * FROM lines", "SELECT * FROM sales.lines"),
            ("SELECT * FROM parts", "SELECT * FROM parts"),
            ("SELECT * FROM parts_old", "SELECT * FROM parts_old"),
        ] {
            let (old, new) = (
                self.source.rows(&format!("{old} ORDER BY 1, 2")),
                self.target.rows(&format!("{new} ORDER BY 1, 2")),
            );
            assert_eq!(old, new);
        }
    }

    /// Nothing of the tool's is on either end but what the plan's own state is.
    #[track_caller]
    pub fn has_no_way_back(&self) {
        let of_target = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
        assert_eq!(self.target.value(of_target), "0", "a slot is left on the target");
        assert_eq!(self.target.value("SELECT count(*) FROM pg_publication"), "0", "a publication is left");
        let state = "SELECT coalesce(to_regclass('towpath.run')::text, 'none')";
        assert_eq!(self.source.value(state), "none", "state is left on the source");
    }

    /// The first insert that draws from each sequence works.
    #[track_caller]
    pub fn takes_first_inserts(database: &Database, names: &Names) {
        let Names { users, email, .. } = names;
        database.execute(&format!(
            "INSERT INTO {users} ({email}) VALUES ('first of all'); \
             INSERT INTO orders (\"user\", total) SELECT max(id), 1 FROM {users}; \
             DELETE FROM orders WHERE \"user\" IN (SELECT id FROM {users} WHERE {email} = 'first of all'); \
             DELETE FROM {users} WHERE {email} = 'first of all'"
        ));
    }
}
