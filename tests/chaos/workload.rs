//! Clients that write to the source until they are stopped: transfers that keep a sum, lists that
//! grow by one, rows that are born and die, keys that change places, values too long for their
//! row, tables without a key, transactions that roll back, end late, or are prepared first. A
//! client that loses its server tries again. One seed decides everything but the timing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::postgres::{Database, Session};

pub const ACCOUNTS: u64 = 200;
pub const START: i64 = 1_000;

/// Recorded tables and their keys.
pub const TABLES: [(&str, &[&str]); 8] = [
    ("public.accounts", &["id"]),
    ("public.ledger", &["id"]),
    ("public.lists", &["client", "n"]),
    ("public.born", &["id"]),
    ("public.places", &["id"]),
    ("public.documents", &["id"]),
    ("public.parents", &["id"]),
    ("public.children", &["id"]),
];

/// A table without a key, told apart by whole rows.
pub const KEYLESS: (&str, &[&str]) = ("public.events", &[]);

pub const SCHEMA: &str = "
CREATE TABLE accounts (id integer PRIMARY KEY, balance bigint NOT NULL, note text);
CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, source integer NOT NULL,
  target integer NOT NULL, amount bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ledger_source_idx ON ledger (source);
CREATE TABLE lists (client integer, n integer, PRIMARY KEY (client, n));
CREATE TABLE born (id serial PRIMARY KEY, name text);
CREATE TABLE places (id integer PRIMARY KEY, seat integer NOT NULL UNIQUE DEFERRABLE INITIALLY IMMEDIATE, price numeric(10,2));
CREATE TABLE documents (id integer PRIMARY KEY, title text, body text, meta jsonb);
ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
CREATE TABLE parents (id integer PRIMARY KEY, name text UNIQUE);
CREATE TABLE children (id serial PRIMARY KEY, parent integer REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE, x real);
CREATE TABLE events (kind text, at integer, extra text);
ALTER TABLE events REPLICA IDENTITY FULL;
";

/// The rows that are there before anybody writes.
pub fn fill() -> String {
    format!(
        "INSERT INTO accounts SELECT i, {START}, 'account ' || i FROM generate_series(1, {ACCOUNTS}) i;
         INSERT INTO places SELECT i, i, i FROM generate_series(1, 60) i;
         INSERT INTO documents SELECT i, 'title ' || i, repeat(md5(i::text), 120), jsonb_build_object('n', i) FROM generate_series(1, 60) i;
         INSERT INTO parents SELECT i, 'parent ' || i FROM generate_series(1, 40) i;
         INSERT INTO children (parent, x) SELECT 1 + i % 40, i / 3.0 FROM generate_series(1, 120) i;
         INSERT INTO events SELECT 'k' || i % 3, i % 5, NULL FROM generate_series(1, 40) i;"
    )
}

/// SplitMix64: small, and the same everywhere.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Running clients. Dropped, they are stopped.
pub struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// `calm`: waits between transactions, so that a slow machine can keep up.
    pub fn start(database: &Database, seed: u64, count: u32, calm: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|number| {
            let (database, stop) = (database.clone(), stop.clone());
            let random = Random(seed.wrapping_mul(1000).wrapping_add(u64::from(number)));
            let mut client = Client { number, random, session: None, database, batch: 0, prepared: None };
            std::thread::spawn(move || {
                // What is prepared is committed before the end: it would hold up everything for ever.
                while !stop.load(Ordering::Relaxed) || client.prepared.is_some() {
                    client.step();
                    std::thread::sleep(calm);
                }
            })
        });
        Self { threads: threads.collect(), stop }
    }

    /// Waits until the clients have ended what they were at.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client panicked");
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn code(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(|error| error.code());
    code.map(|code| code.into_owned()).unwrap_or_default()
}

struct Client {
    number: u32,
    random: Random,
    session: Option<Session>,
    database: Database,
    batch: u64,
    /// A transaction that was prepared, perhaps, and is to be committed.
    prepared: Option<String>,
}

impl Client {
    /// One transaction, unless the server is away.
    fn step(&mut self) {
        let Some(mut session) = self.session.take().or_else(|| self.database.try_session().ok()) else {
            std::thread::sleep(Duration::from_millis(50));
            return;
        };
        let prepared = self.prepared.take();
        let sql = match &prepared {
            Some(name) => format!("COMMIT PREPARED '{name}'"),
            None => self.transaction(),
        };
        let done = session.try_execute(&sql);
        if let (Some(name), Err(error)) = (prepared, &done)
            && code(error) != "42704"
        {
            // Nobody knows; once it is committed, or was never prepared, there is none of that name.
            self.prepared = Some(name);
        }
        // An error may have left a transaction open; one that cannot be ended is of no use.
        if done.is_ok() || session.try_execute("ROLLBACK").is_ok() {
            self.session = Some(session);
        }
    }

    fn transaction(&mut self) -> String {
        let operations = match self.random.below(40) {
            0 => 200,
            1..6 => 1 + self.random.below(20),
            _ => 1 + self.random.below(4),
        };
        let body: Vec<String> = (0..operations).map(|_| self.operation()).collect();
        let body = body.join(";\n");
        self.batch += 1;
        let list = format!(
            "INSERT INTO lists SELECT {0}, coalesce(max(n), 0) + 1 FROM lists WHERE client = {0}",
            self.number
        );
        match self.random.below(12) {
            0 => format!("BEGIN;\n{body};\nROLLBACK"),
            1 => format!("BEGIN;\n{body};\nSELECT pg_sleep(0.05);\n{list};\nCOMMIT"),
            2 => {
                let name = format!("c{}_{}", self.number, self.batch);
                self.prepared = Some(name.clone());
                format!("BEGIN;\n{list};\n{body};\nPREPARE TRANSACTION '{name}'")
            }
            3 => format!(
                "BEGIN;\n{list};\nSAVEPOINT a;\n{body};\nROLLBACK TO a;\n{};\nCOMMIT",
                self.operation()
            ),
            _ => format!("BEGIN;\n{body};\n{list};\nCOMMIT"),
        }
    }

    fn operation(&mut self) -> String {
        let random = &mut self.random;
        let (a, b) = (1 + random.below(ACCOUNTS), 1 + random.below(ACCOUNTS));
        let (x, amount) = (1 + random.below(60), random.below(90));
        match random.below(16) {
            0..5 => format!(
                "UPDATE accounts SET balance = balance - {amount} WHERE id = {a};\
                 UPDATE accounts SET balance = balance + {amount} WHERE id = {b};\
                 INSERT INTO ledger (source, target, amount) VALUES ({a}, {b}, {amount})"
            ),
            5 => format!("INSERT INTO born (name) VALUES ('it''s {amount}\\N\t'), (NULL), ('')"),
            6 => "DELETE FROM born WHERE id = (SELECT min(id) FROM born)".into(),
            7 => format!(
                "SET CONSTRAINTS places_seat_key DEFERRED; UPDATE places SET seat = CASE seat WHEN {x} THEN {y} ELSE {x} END \
                 WHERE seat IN ({x}, {y}); UPDATE places SET price = price + 0.10 WHERE id = {x}",
                y = 1 + (x + amount) % 60
            ),
            8 => format!("UPDATE documents SET title = 'new {amount}' WHERE id = {x}"),
            9 => format!(
                "UPDATE documents SET id = id + 100 WHERE id = {x}; UPDATE documents SET id = id - 100 WHERE id = {}",
                x + 100
            ),
            10 => format!(
                "UPDATE documents SET body = repeat(md5('{amount}'), {}) WHERE id = {x}",
                1 + amount * 3
            ),
            11 => format!(
                "DELETE FROM parents WHERE id = {p}; INSERT INTO parents VALUES ({p}, 'again {p}'); \
                 INSERT INTO children (parent, x) VALUES ({p}, {amount}), ({p}, NULL)",
                p = 1 + x % 40
            ),
            12 => format!(
                "UPDATE parents SET id = id + 1000 WHERE id = {p}; UPDATE parents SET id = id - 1000 WHERE id = {p} + 1000",
                p = 1 + x % 40
            ),
            13 => format!("INSERT INTO events VALUES ('k{}', {}, NULL)", amount % 3, amount % 5),
            14 => format!(
                "DELETE FROM events WHERE ctid = (SELECT min(ctid) FROM events); \
                 UPDATE events SET extra = 'x{amount}' WHERE ctid = (SELECT max(ctid) FROM events)"
            ),
            _ => format!("UPDATE accounts SET note = note WHERE id = {a}"),
        }
    }
}
