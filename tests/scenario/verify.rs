//! Verification finds every difference that is planted, however small, and none that is not.

use tempfile::TempDir;

use super::pairs::KEYLESS;
use crate::need_server;
use crate::support::postgres::Database;
use crate::support::scenario::{EVERYTHING, Job};
use crate::support::sqlite::{self, File};

/// A difference: its name, its table, how it is planted, how it is undone.
pub type Plant = (&'static str, &'static str, &'static str, &'static str);

/// In the words of both engines. Each is invisible to at least one simpler way of comparing.
pub const PLANTS: [Plant; 8] = [
    (
        "one changed byte",
        "big",
        "UPDATE big SET filler = substr(filler, 1, 20) || 'y' || substr(filler, 22) WHERE id = 31234",
        "UPDATE big SET filler = substr(filler, 1, 20) || 'x' || substr(filler, 22) WHERE id = 31234",
    ),
    (
        "a missing row",
        "small",
        "DELETE FROM small WHERE id = 1500",
        "INSERT INTO small VALUES (1500, 1500, 'note 1500')",
    ),
    (
        "an extra row",
        "small",
        "INSERT INTO small VALUES (5000, 1, 'note 5000')",
        "DELETE FROM small WHERE id = 5000",
    ),
    (
        "two rows with swapped values",
        "small",
        "UPDATE small SET big = CASE id WHEN 10 THEN 20 ELSE 10 END WHERE id IN (10, 20)",
        "UPDATE small SET big = id WHERE id IN (10, 20)",
    ),
    (
        "two columns with swapped values",
        "keyless",
        "INSERT INTO keyless VALUES (7, 'b8')",
        "DELETE FROM keyless WHERE b = 'b8'",
    ),
    (
        "null for the empty string",
        "keyless",
        "UPDATE keyless SET b = NULL WHERE b = ''",
        "UPDATE keyless SET b = '' WHERE b IS NULL",
    ),
    (
        "a row in place of its key's neighbour",
        "small",
        "UPDATE small SET id = 9999 WHERE id = 700",
        "UPDATE small SET id = 700 WHERE id = 9999",
    ),
    (
        "a trailing blank",
        "small",
        "UPDATE small SET note = note || ' ' WHERE id = 42",
        "UPDATE small SET note = 'note 42' WHERE id = 42",
    ),
];

/// Rows that the plants need, in the words of both engines.
pub const PREPARE: &str = "INSERT INTO keyless VALUES (-7, '')";

#[track_caller]
fn finds_all(job: &Job, plant: impl Fn(&str)) {
    job.apply().expect(0);
    for (name, table, planted, undone) in PLANTS {
        plant(planted);
        for level in ["checksum", "rows"] {
            let outcome = job.run(&["verify", "--level", level]);
            assert_eq!(outcome.code, Some(7), "{name} is not seen at level {level}\n{outcome}");
            outcome.says(table);
        }
        plant(undone);
        job.run(&["verify", "--level", "rows"]).expect(0);
    }
    finds_exchanged_duplicates(job, plant);
}

/// As many rows, the same set of rows, other multiplicities.
#[track_caller]
fn finds_exchanged_duplicates(job: &Job, plant: impl Fn(&str)) {
    plant("INSERT INTO keyless SELECT a, b FROM keyless WHERE a = 1 AND b = 'b1' LIMIT 1");
    job.run(&["verify", "--level", "rows"]).expect(7).says("keyless");
}

#[test]
fn c_10_postgres_to_postgres() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    source.execute(PREPARE);
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    finds_all(&job, |sql| target.execute(sql));
}

#[test]
fn c_10_sqlite_to_sqlite() {
    let directory = TempDir::new().unwrap();
    let (source, target) =
        (sqlite::fixture("bulk", directory.path()), File::new(directory.path(), "target.db"));
    source.execute(PREPARE);
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    finds_all(&job, |sql| target.execute(sql));
}

#[test]
fn c_10_sqlite_to_postgres() {
    let server = need_server!();
    let directory = TempDir::new().unwrap();
    let (source, target) = (sqlite::fixture("bulk", directory.path()), server.database("target"));
    source.execute(PREPARE);
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    finds_all(&job, |sql| target.execute(sql));
}

#[test]
fn c_10_duplicates_exchanged_for_others() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    job.apply().expect(0);
    // One copy less of one row, one more of another: counts and sets are equal.
    target.execute(
        "DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless WHERE a = 1 AND b = 'b1');
         INSERT INTO keyless SELECT a, b FROM keyless WHERE a = 2 AND b = 'b2' LIMIT 1",
    );
    job.run(&["verify", "--level", "count"]).expect(0);
    job.run(&["verify", "--level", "checksum"]).expect(7).says("keyless");
    // And two pairs at once, which cancel in a sum that is no sum (exclusive or).
    target.execute(
        "DELETE FROM keyless; INSERT INTO keyless SELECT i % 100, 'b' || i % 7 FROM generate_series(1, 5000) i;
         DELETE FROM keyless WHERE ctid IN (SELECT ctid FROM keyless WHERE a = 1 AND b = 'b1' LIMIT 2);
         INSERT INTO keyless SELECT 2, 'b2' FROM generate_series(1, 2)",
    );
    job.run(&["verify", "--level", "rows"]).expect(7).says("keyless");
}

/// Two copies less of one row and two more of another, where both rows fall into the same sum: only
/// a sum that adds can tell.
#[test]
fn p_08_h_08_pairs_exchanged_within_one_sum() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    let pairs = source.rows(
        "SELECT min(i)::text, max(i)::text FROM generate_series(1, 20000) i \
         GROUP BY ((hashtextextended(ROW(i)::text COLLATE \"C\", 1) % 1024) + 1024) % 1024 HAVING min(i) < max(i) LIMIT 1",
    );
    let [one, other] = [0, 1].map(|at| pairs[0][at].clone().unwrap());
    let rows = format!("({one}), ({one}), ({other}), ({other})");
    source.execute(&format!("CREATE TABLE keyless (a int); INSERT INTO keyless VALUES {rows}"));
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    job.apply().expect(0);
    job.run(&["verify", "--level", "checksum"]).expect(0);
    target.execute(&format!("UPDATE keyless SET a = {other}"));
    job.run(&["verify", "--level", "checksum"]).expect(7).says("keyless");
}

/// The rows that differ are named by their keys where that is asked for.
#[test]
fn c_10_keys_of_different_rows_are_listed() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    job.apply().expect(0);
    target.execute("UPDATE big SET word = 'changed' WHERE id = 31234; DELETE FROM small WHERE id = 1517");
    let outcome = job.run(&["verify", "--level", "rows", "--show-keys"]).expect(7).says("31234").says("1517");
    assert!(!outcome.both().contains("31235"), "{outcome}");
}

/// Timestamps without a zone at one end and with one at the other: in the zone that the plan
/// names, as the server has its history, gaps and repeated hours included.
const MOMENTS: &str = "
    INSERT INTO moment VALUES (1, '2024-01-15 12:00:00'), (2, '2024-07-15 12:00:00'), (3, '1890-01-01 00:00:00'),
    (4, '1941-06-01 12:00:00'), (5, '2024-03-31 02:30:00'), (6, '2024-10-27 02:30:00'), (7, '0044-03-15 12:00:00'),
    (8, '2499-12-31 23:59:59'), (9, '2731-07-01 12:00:00.5'), (10, NULL);";

fn in_zone(zone: &str, native: &str) -> String {
    format!(
        "tables: {{ moment: {{ columns: {{ at: {{ type: {native}, zone: \"{zone}\" }} }} }} }}
accept: [{{ hazard: V207, at: moment.at, reason: \"the zone is named\" }}]\n"
    )
}

#[test]
fn p_09_a_zone_other_than_utc_sqlite_to_postgres() {
    let server = need_server!();
    for (zone, noon) in [("Europe/Zurich", "2024-07-15 10:00:00"), ("+02:00", "2024-07-15 10:00:00")] {
        let directory = TempDir::new().unwrap();
        let (source, target) = (File::new(directory.path(), "source.db"), server.database("target"));
        source.execute("CREATE TABLE moment (id integer PRIMARY KEY, at datetime)");
        source.execute(MOMENTS);
        let job = Job::new(&source.url(), &target.url(), &in_zone(zone, "timestamptz"));
        job.apply().expect(0);
        job.run(&["verify", "--level", "rows"]).expect(0);
        let at = "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM moment WHERE id = 2";
        assert_eq!(target.value(at), noon, "{zone}");
        target.execute("UPDATE moment SET at = at + interval '1 hour' WHERE id = 6");
        job.run(&["verify", "--level", "rows"]).expect(7);
    }
}

#[test]
fn p_09_a_zone_other_than_utc_from_postgres() {
    let server = need_server!();
    for zone in ["Europe/Zurich", "+02:00"] {
        let directory = TempDir::new().unwrap();
        let source = server.database("source");
        source.execute("CREATE TABLE moment (id int PRIMARY KEY, at timestamp)");
        source.execute(MOMENTS);
        let (file, target) = (File::new(directory.path(), "target.db"), server.database("target"));
        for to in [file.url(), target.url()] {
            let job = Job::new(&source.url(), &to, &in_zone(zone, "timestamptz"));
            job.apply().expect(0);
            job.run(&["verify", "--level", "rows"]).expect(0);
            job.run(&["verify", "--level", "checksum"]).expect(0);
        }
        let at = "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM moment WHERE id = 2";
        assert_eq!(target.value(at), "2024-07-15 10:00:00", "{zone}");
        file.execute("UPDATE moment SET at = '2024-07-15 11:00:00Z' WHERE id = 2");
        let job = Job::new(&source.url(), &file.url(), &in_zone(zone, "timestamptz"));
        job.run(&["verify", "--level", "rows"]).expect(7);
    }
}

/// The server spells an interval in one of four styles: both ends' sums are of the same.
#[test]
fn p_09_intervals_are_equal_to_themselves() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    source.execute("CREATE TABLE span (id int PRIMARY KEY, i interval, many interval[])");
    source.execute("INSERT INTO span VALUES (1, '1 mon -2 days 03:04:05.6', '{1 day,-00:00:01}')");
    let job = Job::new(&source.url(), &target.url(), "tables: { \"*\": {} }\n");
    job.apply().expect(0);
    for level in ["checksum", "rows"] {
        job.run(&["verify", "--level", level]).expect(0);
    }
    target.execute("UPDATE span SET i = '1 mon -2 days 03:04:05.7'");
    for level in ["checksum", "rows"] {
        job.run(&["verify", "--level", level]).expect(7);
    }
}

/// Sums of a server are of its bytes, which another encoding has others of for the same text.
#[test]
fn p_09_text_in_another_encoding_is_equal_to_itself() {
    let server = need_server!();
    let (admin, target) = (server.database("admin"), server.database("target"));
    admin.execute("CREATE DATABASE latin_1 ENCODING latin1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    let source = Database::named("latin_1", server.port);
    source.execute("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'é'), (2, 'x')");
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.apply().expect(0);
    job.run(&["verify"]).expect(0);
    target.execute("UPDATE t SET a = 'è' WHERE id = 1");
    job.run(&["verify"]).expect(7);
}
