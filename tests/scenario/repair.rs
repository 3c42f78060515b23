//! `verify --repair`: what differs on the target becomes what the source has, and nothing else is
//! touched; what nothing tells apart stays, and is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

use super::pairs::KEYLESS;
use super::verify::{PLANTS, PREPARE};
use crate::need_server;
use crate::support::postgres::{Database, PASSWORD, USER};
use crate::support::scenario::{EVERYTHING, Job};
use crate::support::sqlite::{self, File};

/// Rows for what is planted here beside [`PLANTS`].
const MORE: &str = "UPDATE small SET note = '' WHERE id = 77";
/// In the words of both engines, in a table with a key.
const IN_KEYED: [(&str, &str); 2] = [
    ("null for the empty string", "UPDATE small SET note = NULL WHERE id = 77"),
    (
        "all of it at once",
        "UPDATE small SET big = 61 WHERE id < 50; DELETE FROM small WHERE id > 1900; INSERT INTO small VALUES (-5, 1, NULL), (7000, 2, 'note 1950');
         UPDATE big SET word = '' WHERE id % 1000 = 3",
    ),
];

const REPAIR: [&str; 3] = ["verify", "--repair", "--yes"];

#[track_caller]
fn repairs_all(job: &Job, plant: impl Fn(&str)) {
    job.apply().expect(0);
    job.run(&REPAIR).expect(0).says("Equal");
    for (name, table, planted, undone) in PLANTS {
        plant(planted);
        let outcome = job.run(&REPAIR);
        if table == "keyless" {
            outcome.expect(7).says("stays as it is: it has no key");
            plant(undone);
        } else {
            assert_eq!(outcome.code, Some(0), "{name} is not repaired\n{outcome}");
            outcome.says("Different").says("Equal").says(table);
        }
        job.run(&["verify", "--level", "rows"]).expect(0);
    }
    for (name, planted) in IN_KEYED {
        plant(planted);
        let outcome = job.run(&REPAIR);
        assert_eq!(outcome.code, Some(0), "{name} is not repaired\n{outcome}");
        job.run(&["verify", "--level", "rows"]).expect(0);
    }
    job.has_nothing_to_do();
}

/// A trigger that lets nobody write.
const CLOSED: &str = "CREATE FUNCTION closed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trigger acts'; END $$;
    CREATE TRIGGER closed BEFORE INSERT OR UPDATE OR DELETE ON small FOR EACH ROW EXECUTE FUNCTION closed()";
const CLOSED_FILE: &str =
    "CREATE TRIGGER closed BEFORE DELETE ON small BEGIN SELECT RAISE(ABORT, 'a trigger acts'); END;
    CREATE TRIGGER closed_too BEFORE INSERT ON small BEGIN SELECT RAISE(ABORT, 'a trigger acts'); END";

/// Two rows have each other's value of a unique key.
const EXCHANGED: &str =
    "UPDATE small SET note = 'x' WHERE id = 10; UPDATE small SET note = 'note 10' WHERE id = 20;
    UPDATE small SET note = 'note 20' WHERE id = 10; DELETE FROM small WHERE id = 30";

#[test]
fn f_62_c_10_repaired_postgres_to_postgres() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    source.execute(&format!("{PREPARE}; {MORE}"));
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    repairs_all(&job, |sql| target.execute(sql));
    target.execute(&format!(
        "DELETE FROM small WHERE id = 5; INSERT INTO small VALUES (-7, 1, 'note 5'); {CLOSED}"
    ));
    job.run(&REPAIR).expect(0);
    // It looks at a key row by row: then nothing is done, and what would help is said.
    target.execute(&format!("DROP TRIGGER closed ON small; {EXCHANGED}"));
    job.run(&REPAIR).expect(7).says("nothing was written").says("copy the table again");
    assert_eq!(target.value("SELECT count(*)::text FROM small WHERE id = 30"), "0");
}

#[test]
fn f_62_c_10_repaired_sqlite_to_sqlite() {
    let directory = TempDir::new().unwrap();
    let (source, target) =
        (sqlite::fixture("bulk", directory.path()), File::new(directory.path(), "target.db"));
    source.execute(&format!("{PREPARE}; {MORE}"));
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    repairs_all(&job, |sql| target.execute(sql));
    target.execute(&format!(
        "DELETE FROM small WHERE id = 5; INSERT INTO small VALUES (-7, 1, 'note 5'); {CLOSED_FILE}"
    ));
    job.run(&REPAIR).expect(0);
    target.execute(&format!("DROP TRIGGER closed; {EXCHANGED}"));
    job.run(&REPAIR).expect(0);
}

#[test]
fn f_62_c_10_repaired_between_engines() {
    let server = need_server!();
    let directory = TempDir::new().unwrap();
    let (source, target) = (sqlite::fixture("bulk", directory.path()), server.database("target"));
    source.execute(&format!("{PREPARE}; {MORE}"));
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    repairs_all(&job, |sql| target.execute(sql));
    let (source, target) = (server.fixture("bulk"), File::new(directory.path(), "back.db"));
    source.execute(&format!("{PREPARE}; {MORE}"));
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    repairs_all(&job, |sql| target.execute(sql));
}

/// What is told of them is what is in them: a value of each kind, changed on the target.
#[test]
fn p_02_values_of_every_kind_are_repaired_as_they_are() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    source.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'it''s'); CREATE DOMAIN positive AS numeric(10,-2) CHECK (VALUE > 0);
         CREATE TABLE kinds (code char(4) PRIMARY KEY, n numeric, p positive, f real, b bytea, j json, jb jsonb, a text[],
           m mood, at timestamptz, t timetz, d date, i interval, r int4range, u uuid, bits bit(3), net inet,
           born bigint GENERATED ALWAYS AS IDENTITY, twice numeric GENERATED ALWAYS AS (n * 2) STORED, zoned timestamp);
         INSERT INTO kinds (code, n, p, f, b, j, jb, a, m, at, t, d, i, r, u, bits, net, zoned) VALUES
           ('a', 'NaN', 1200, '-0', '\\x00ff5c', '{\"a\" : 1, \"a\":2}', '{\"b\": [1.50]}', ARRAY['x,y', NULL, '{\\\"'], 'it''s',
            'infinity', '23:59:59.5+02', '0044-03-15 BC', '1 mon -3 days 04:05:06', '[1,5)', gen_random_uuid(), '101', '10.0.0.1/8', '2024-07-15 12:00'),
           ('b', 1.50, 100, 'Infinity', '', 'null', 'null', '{}', 'sad', '2731-01-01 00:00Z', NULL, 'infinity', NULL, 'empty', NULL, NULL, NULL, NULL),
           ('c', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    );
    let plans = [
        EVERYTHING.to_string(),
        "tables: { kinds: { columns: { zoned: { type: timestamptz, zone: Europe/Zurich }, d: { type: text } } } }\n"
            .to_string(),
    ];
    for plan in plans {
        let target = match plan == EVERYTHING {
            true => &target,
            false => &server.database("cast"),
        };
        let job = Job::new(&source.url(), &target.url(), &plan);
        job.apply().expect(0);
        let rows = "SELECT string_agg(k::text, E'\\n' ORDER BY code) FROM kinds k";
        let before = target.value(rows);
        for sql in [
            "DELETE FROM kinds",
            "UPDATE kinds SET n = '7', p = 300, f = 1, b = '\\x01', j = '1', jb = '1', a = ARRAY['z'], m = 'sad', at = now(),
             t = '10:00+00', d = '2000-01-01', i = '1 day', r = '[3,4)', u = gen_random_uuid(), bits = '000', net = '::1', zoned = now()",
            "INSERT INTO kinds (code, n) VALUES ('d', '1')",
            "UPDATE kinds SET code = 'e' WHERE code = 'a'",
        ] {
            target.execute(sql);
            job.run(&REPAIR).expect(0);
            assert_eq!(target.value(rows), before, "after {sql}");
        }
    }
}

/// Values whose class is not what their column declares.
#[test]
fn sl_01_values_of_any_class_are_repaired_as_they_are() {
    let directory = TempDir::new().unwrap();
    let (source, target) =
        (File::new(directory.path(), "source.db"), File::new(directory.path(), "target.db"));
    source.execute(
        "CREATE TABLE odd (id integer PRIMARY KEY AUTOINCREMENT, n integer, t text, d decimal(5,2), at timestamp, x);
         INSERT INTO odd VALUES (1, 'abc', x'00ff', 1.5, '2024-01-01 10:00:00+00', '1'), (2, 1.5, 'x', 'NaN', '', 1),
           (3, x'', '', 0.1 + 0.2, NULL, 1.0), (9, NULL, NULL, NULL, NULL, NULL)",
    );
    let accept = "accept: [{ hazard: V215, at: \"odd.*\", reason: odd }]\n";
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{accept}"));
    let job = match job.run(&["plan"]).code {
        Some(0) => job,
        _ => Job::new(&source.url(), &target.url(), EVERYTHING),
    };
    job.apply().expect(0);
    let rows = "SELECT *, typeof(n), typeof(t), typeof(d), typeof(x) FROM odd ORDER BY id";
    let before = source.rows(rows);
    for sql in [
        "DELETE FROM odd",
        "UPDATE odd SET n = 1, t = 'y', d = 2, at = 'z', x = NULL",
        "UPDATE odd SET x = CASE typeof(x) WHEN 'integer' THEN 1.0 ELSE 1 END WHERE id IN (2, 3)",
        "INSERT INTO odd VALUES (77, 1, 2, 3, 4, 5)",
    ] {
        target.execute(sql);
        job.run(&REPAIR).expect(0);
        assert_eq!(target.rows(rows), before, "after {sql}");
    }
}

#[test]
fn repairing_asks_first_and_finds_rows_only() {
    let directory = TempDir::new().unwrap();
    let (source, target) =
        (sqlite::fixture("bulk", directory.path()), File::new(directory.path(), "target.db"));
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    job.run(&["verify", "--repair"]).expect(64).says("--yes");
    job.run(&["verify", "--yes"]).expect(64);
    for level in ["count", "checksum"] {
        job.run(&["verify", "--repair", "--yes", "--level", level]).expect(64).says("--level rows");
    }
    // What is not copied yet is no difference.
    job.run(&["apply", "--yes", "--until", "schema"]).expect(6);
    job.run(&REPAIR).expect(1).says("not done yet");
    job.apply().expect(0);
    target.execute("DELETE FROM small WHERE id < 10; DELETE FROM keyless WHERE a = 3");
    let one = job.run(&["verify", "--repair", "--yes", "--tables", "small", "--format", "json"]).expect(0);
    let json: serde_json::Value = serde_json::from_str(&one.stdout).unwrap();
    assert_eq!((&json["equal"], &json["repair"]["written"]), (&true.into(), &true.into()), "{one}");
    assert_eq!(json["repair"]["tables"][0]["missing"], 9, "{one}");
    job.run(&REPAIR).expect(7).says("keyless").says("it has no key");
}

/// Where the target's triggers would act, nothing is written.
#[test]
fn a_role_that_cannot_keep_triggers_still_repairs_nothing() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    source.execute("CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'a')");
    let role = format!("{target}_mover");
    target.execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; GRANT CREATE ON DATABASE {target} TO {role};
         GRANT ALL ON SCHEMA public TO {role}"
    ));
    let job = Job::new(&source.url(), &target.url().replacen(USER, &role, 1), EVERYTHING);
    job.apply().expect(0);
    target.execute("DELETE FROM t");
    job.run(&REPAIR).expect(77).says("session_replication_role");
    assert_eq!(target.value("SELECT count(*)::text FROM t"), "0");
}

/// The first insert works, though a row came that is newer than the sequence.
#[test]
fn a_row_that_came_later_takes_its_sequence_along() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    source.execute("CREATE TABLE t (id serial PRIMARY KEY, note text); INSERT INTO t (note) VALUES ('a')");
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.apply().expect(0);
    source.execute("INSERT INTO t (note) VALUES ('b'), ('c')");
    job.run(&REPAIR).expect(0).says("2 missing");
    target.execute("INSERT INTO t (note) VALUES ('d')");
    assert_eq!(target.value("SELECT max(id)::text FROM t"), "4");
}

/// Writes to a source until it is told to stop.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Writer {
    fn start(write: impl Fn(u64) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !stopped.load(Ordering::SeqCst) {
                number += 1;
                write(number);
                std::thread::sleep(Duration::from_millis(2));
            }
            number
        });
        Self { stop, thread }
    }

    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        assert!(self.thread.join().unwrap() > 10, "nobody wrote meanwhile");
    }
}

const ACCOUNTS: &str = "CREATE TABLE accounts (id integer PRIMARY KEY, balance integer NOT NULL, note text);
    CREATE TABLE log (id integer PRIMARY KEY, line text)";

/// One transaction: what leaves one account comes to another, and a line of the log comes or goes.
fn transaction(number: u64) -> String {
    let (from, to) = (number % 97, number * 7 % 97);
    let log = match number.is_multiple_of(5) {
        true => format!("DELETE FROM log WHERE id = {}", number / 2),
        false => format!("INSERT INTO log VALUES ({}, 'line')", 1_000 + number),
    };
    format!(
        "BEGIN; UPDATE accounts SET balance = balance - 1 WHERE id = {from};
         UPDATE accounts SET balance = balance + 1, note = '' WHERE id = {to}; {log}; COMMIT"
    )
}

fn fill() -> String {
    let accounts: Vec<String> = (0..97).map(|id| format!("({id}, 100, 'account {id}')")).collect();
    let log: Vec<String> = (0..500).map(|id| format!("({id}, 'line')")).collect();
    format!(
        "{ACCOUNTS}; INSERT INTO accounts VALUES {}; INSERT INTO log VALUES {}",
        accounts.join(","),
        log.join(",")
    )
}

const DAMAGE: &str =
    "UPDATE accounts SET note = NULL WHERE id = 3; UPDATE accounts SET balance = balance + 50 WHERE id = 50;
    DELETE FROM log WHERE id % 50 = 1; INSERT INTO log VALUES (-1, 'mine')";

#[track_caller]
fn repairs_under_load(job: &Job, writer: Writer, damage: impl Fn(&str)) {
    damage(DAMAGE);
    let found = job.run(&["verify", "--level", "rows", "--show-keys"]).expect(7);
    assert!(found.stdout.contains("- 401  missing") && found.stdout.contains("+ -1  only"), "{found}");
    job.run(&REPAIR).expect(0).says("Equal: 2 tables");
    job.run(&["verify", "--level", "rows"]).expect(0);
    // Following goes on from where it was: a change that was applied twice would not.
    job.run(&["follow", "--for", "1s"]).expect(0);
    damage(UNDER_THE_WRITER);
    job.run(&["follow", "--for", "5s"]).expect(7).says("towpath verify --repair");
    job.run(&["verify"]).expect(7);
    job.run(&["verify", "--repair", "--yes", "--tables", "log"]).expect(7).says("leave --tables out");
    job.run(&REPAIR).expect(0).says("the stream is stuck").says("Equal: 2 tables");
    job.run(&["follow", "--for", "1s"]).expect(0);
    writer.end();
    job.run(&["verify", "--level", "rows"]).expect(0);
    job.run(&["cutover", "--yes"]).expect(0);
    damage(DAMAGE);
    job.run(&REPAIR).expect(4).says("cut over");
}

/// Rows that the writer changes next, and rows that it does not.
const UNDER_THE_WRITER: &str =
    "DELETE FROM accounts WHERE id < 90; UPDATE log SET line = 'mine' WHERE id % 50 = 1";

const FOLLOWED: &str = "defaults: { cdc: true }\ntables: { \"*\": {} }\ncutover: { fence: tables }\n";

#[test]
fn f_74_f_62_repaired_at_one_point_while_postgres_is_written() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    source.execute(&fill());
    let job = Job::new(&source.url(), &target.url(), FOLLOWED);
    job.apply().expect(0);
    let session: Database = source.clone();
    let writer = Writer::start(move |number| session.execute(&transaction(number)));
    repairs_under_load(&job, writer, |damage| target.execute(damage));
}

#[test]
fn f_74_f_62_repaired_at_one_point_while_a_file_is_written() {
    let directory = TempDir::new().unwrap();
    let (source, target) =
        (File::new(directory.path(), "source.db"), File::new(directory.path(), "target.db"));
    source.execute("PRAGMA journal_mode = WAL");
    source.execute(&fill());
    let plan = format!("{FOLLOWED}cdc: {{ sqlite: triggers }}\n");
    let job = Job::new(&source.url(), &target.url(), &plan);
    job.apply().expect(0);
    let written = source.clone();
    let writer = Writer::start(move |number| {
        let connection = written.open();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection.execute_batch(&transaction(number)).unwrap();
    });
    repairs_under_load(&job, writer, |damage| target.execute(damage));
}
