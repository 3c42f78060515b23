//! Each pair of engines, with everything the fixtures hold: the data arrive, the definitions
//! arrive, sequences stand beyond their source, and planning again has nothing to do.

use tempfile::TempDir;

use crate::need_server;
use crate::support::compare::{
    postgres_objects, postgres_rows, same_objects, same_rows, same_rows_across, sequences_are_beyond,
    sqlite_objects, sqlite_rows,
};
use crate::support::postgres::{Database, other_server};
use crate::support::scenario::{EVERYTHING, Job};
use crate::support::sqlite::{self, File};

/// Tables without a key are wanted as they are.
pub const KEYLESS: &str = "
accept:
  - { hazard: K302, reason: \"loaded once\" }
";

#[track_caller]
pub fn postgres_arrived(source: &Database, target: &Database) {
    same_rows(&postgres_rows(source), &postgres_rows(target));
    same_objects(&postgres_objects(source), &postgres_objects(target));
    sequences_are_beyond(source, target);
}

#[track_caller]
pub fn sqlite_arrived(source: &File, target: &File) {
    same_rows(&sqlite_rows(source), &sqlite_rows(target));
    same_objects(&sqlite_objects(source), &sqlite_objects(target));
    let broken = target.rows("PRAGMA integrity_check");
    assert_eq!(broken, [["'ok'".to_string()]]);
}

fn postgres_to_postgres(fixture: &'static str, rest: &str) {
    let server = need_server!();
    let (source, target) = (server.fixture(fixture), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), rest);
    job.move_all();
    postgres_arrived(&source, &target);
}

#[test]
fn postgres_to_postgres_chinook() {
    postgres_to_postgres("chinook_like", EVERYTHING);
}

#[test]
fn postgres_to_postgres_sakila_and_the_odd_schema() {
    postgres_to_postgres("sakila_like", &format!("tables: {{ \"*.*\": {{}} }}{KEYLESS}"));
}

#[test]
fn postgres_to_postgres_every_type() {
    postgres_to_postgres("types", &format!("{EVERYTHING}{KEYLESS}"));
}

#[test]
fn postgres_to_another_postgres_server() {
    let server = need_server!();
    let Some(other) = other_server() else { return };
    let (source, target) = (server.fixture("types"), other.database("target"));
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    job.move_all();
    postgres_arrived(&source, &target);
}

/// The first insert after the move works: no sequence hands out a value that is taken.
#[test]
fn s_15_the_first_insert_works() {
    let server = need_server!();
    let (source, target) = (server.fixture("sakila_like"), server.database("target"));
    Job::new(&source.url(), &target.url(), &format!("tables: {{ \"*.*\": {{}} }}{KEYLESS}"))
        .apply()
        .expect(0);
    target.execute(
        "INSERT INTO country (country) VALUES ('new');
         INSERT INTO language (name) VALUES ('new');
         INSERT INTO odd.left_hand (x) VALUES (1);
         INSERT INTO odd.numbered DEFAULT VALUES;
         INSERT INTO payment (customer_id, staff_id, amount, payment_date) VALUES (1, 1, 1, '2022-02-10');",
    );
    assert_eq!(target.value("SELECT nextval('odd.untouched')::text"), "77");
}

/// An extension in a schema that holds nothing else.
/// Values that name tables come when all tables are there; a name that never comes is not shown.
#[test]
fn s_34_values_that_name_tables_come_after_all_tables() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    source.execute(
        "CREATE TABLE a_log (id int PRIMARY KEY, what regclass, of regtype[]); CREATE TABLE b_log (what regclass);
         CREATE TABLE z_last (id int PRIMARY KEY);
         INSERT INTO a_log VALUES (1, 'z_last', '{z_last,b_log}'); INSERT INTO b_log VALUES ('a_log'), ('b_log')",
    );
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.apply().expect(0);
    let names = "SELECT what::text || of::text FROM a_log";
    assert_eq!(target.value(names), "z_last{z_last,b_log}");
    job.run(&["verify"]).expect(0);

    source.execute("CREATE VIEW secret AS SELECT 1 AS a; INSERT INTO b_log VALUES ('secret')");
    let target = server.database("target_2");
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    let refused = job.apply().expect(6).says("b_log").says("column what").says("type: text");
    assert!(!refused.to_string().contains("secret\""), "{refused}");
}

#[test]
fn s_34_an_extension_brings_its_schema() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    source.execute(
        "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE TABLE t (id int PRIMARY KEY, c ext.citext);
         INSERT INTO t VALUES (1, 'A')",
    );
    Job::new(&source.url(), &target.url(), EVERYTHING).move_all();
    assert_eq!(target.value("SELECT c::text FROM t"), "A");
}

fn sqlite_to_sqlite(fixture: &'static str) {
    let directory = TempDir::new().unwrap();
    let source = sqlite::fixture(fixture, directory.path());
    let target = File::new(directory.path(), "target.db");
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    job.move_all();
    sqlite_arrived(&source, &target);
}

#[test]
fn sqlite_to_sqlite_chinook() {
    sqlite_to_sqlite("chinook_like");
}

#[test]
fn sqlite_to_sqlite_sakila() {
    sqlite_to_sqlite("sakila_like");
}

/// Equal engines: also what no column type allows arrives as it is stored, orphans excepted.
#[test]
fn sqlite_to_sqlite_every_value() {
    let directory = TempDir::new().unwrap();
    let source = sqlite::fixture("types", directory.path());
    let target = File::new(directory.path(), "target.db");
    source.execute("DROP TABLE l_13_odd_orphan; DROP TABLE l_13_odd_nowhere;");
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    job.move_all();
    sqlite_arrived(&source, &target);
}

fn sqlite_to_postgres(fixture: &'static str, rest: &str, skip: &[&str]) {
    let server = need_server!();
    let directory = TempDir::new().unwrap();
    let (source, target) = (sqlite::fixture(fixture, directory.path()), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), rest);
    job.move_all();
    same_rows_across(&target, "public", &source, skip);
}

#[test]
fn sqlite_to_postgres_chinook() {
    sqlite_to_postgres("chinook_like", EVERYTHING, &[]);
}

/// Values of another class than their column declares are refused, so those tables stay.
#[test]
fn sqlite_to_postgres_every_value_that_fits() {
    let server = need_server!();
    let directory = TempDir::new().unwrap();
    let (source, target) = (sqlite::fixture("types", directory.path()), server.database("target"));
    let rest = "
tables:
  \"*\": {}
  \"*odd*\": skip
  l_01_untyped: skip
  l_14_collations: skip
accept:
  - { hazard: K302, reason: \"loaded once\" }
";
    let job = Job::new(&source.url(), &target.url(), rest);
    job.move_all();
    let odd: Vec<String> = crate::support::compare::sqlite_tables(&source)
        .into_iter()
        .filter(|name| name.contains("odd"))
        .collect();
    let skip: Vec<&str> = odd.iter().map(String::as_str).chain(["l_01_untyped", "l_14_collations"]).collect();
    same_rows_across(&target, "public", &source, &skip);
    assert_eq!(target.value("SELECT nextval(pg_get_serial_sequence('l_03_counter', 'id'))::text"), "501");
}

/// Each odd table alone is refused at plan time, and nothing of it reaches the target.
#[test]
fn l_01_values_that_do_not_fit_are_refused() {
    let server = need_server!();
    let directory = TempDir::new().unwrap();
    let (source, target) = (sqlite::fixture("types", directory.path()), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    let refused = [
        ("l_01_odd_int", "V215"),
        ("l_01_odd_text", "V215"),
        ("l_04_odd_beyond", "V215"),
        ("l_05_odd_long", "V204"),
        ("l_06_odd_numeric", "V2"),
        ("l_07_odd_dates", "V215"),
        ("l_09_odd_text", "V203"),
        ("l_13_odd_orphan", "K303"),
    ];
    for (table, code) in refused {
        let parent = if table.starts_with("l_13") { "\n  l_13_parent: {}" } else { "" };
        job.write_plan(&format!("tables:\n  {table}: {{}}{parent}\n"));
        job.run(&["plan"]).expect(3).says(table).says(code);
        job.apply().expect(3);
    }
    assert_eq!(
        target.value("SELECT count(*)::text FROM pg_class WHERE relname LIKE 'l\\_%' AND relkind = 'r'"),
        "0"
    );
}

#[test]
fn postgres_to_sqlite_chinook() {
    let server = need_server!();
    let directory = TempDir::new().unwrap();
    let (source, target) = (server.fixture("chinook_like"), File::new(directory.path(), "target.db"));
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.move_all();
    same_rows_across(&source, "public", &target, &[]);
    assert_eq!(target.rows("PRAGMA foreign_key_check").len(), 0);
    // A decimal is text there: its check compares it as the number that it is.
    let sql = target.rows("SELECT sql FROM sqlite_schema WHERE name = 'Invoice'");
    assert!(format!("{sql:?}").contains("+ 0) >= 0"), "{sql:?}");
}

/// A generated column whose expression cannot be said there comes with its values.
#[test]
fn u_903_a_generated_column_becomes_a_plain_one() {
    let server = need_server!();
    let directory = TempDir::new().unwrap();
    let (source, target) = (server.database("generated"), File::new(directory.path(), "target.db"));
    source.execute(
        "CREATE TABLE g (id int PRIMARY KEY, t text, v text GENERATED ALWAYS AS (regexp_replace(t, 'a', 'b')) STORED);
         INSERT INTO g (id, t) VALUES (1, 'aa'), (2, NULL)",
    );
    let accepted = "\naccept: [{ hazard: U903, reason: \"its values are wanted\" }]\n";
    Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{accepted}")).move_all();
    assert_eq!(target.rows("SELECT v FROM g ORDER BY id"), [["'ba'"], ["NULL"]]);
}

/// The types that SQLite can hold exactly; the others are refused by name.
#[test]
fn postgres_to_sqlite_types() {
    let server = need_server!();
    let directory = TempDir::new().unwrap();
    let (source, target) = (server.fixture("types"), File::new(directory.path(), "target.db"));
    let kept = [
        "pg_01_integers",
        "pg_02_numeric",
        "pg_04_numeric_free",
        "pg_06_floats",
        "pg_09_boolean",
        "pg_11_varchar",
        "pg_12_text",
        "pg_14_bytea",
        "pg_15_date",
        "pg_16_time",
        "pg_18_timestamp",
        "pg_19_timestamptz",
        "pg_21_uuid",
        "pg_22_json",
        "pg_24_xml",
        "pg_26_enum",
        "pg_31_network",
        "many_columns",
    ];
    let tables: String = kept.iter().map(|table| format!("  {table}: {{}}\n")).collect();
    let rest = format!("tables:\n{tables}accept:\n  - {{ hazard: V212, reason: \"kept as text\" }}\n");
    let job = Job::new(&source.url(), &target.url(), &rest);
    job.move_all();
    let all = source
        .rows("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace");
    let all: Vec<String> = all.into_iter().filter_map(|mut row| row.remove(0)).collect();
    let skip: Vec<&str> = all.iter().map(String::as_str).filter(|name| !kept.contains(name)).collect();
    same_rows_across(&source, "public", &target, &skip);
    let refused =
        [("pg_05_numeric_special", 3, "V216"), ("pg_25_arrays", 65, "E125"), ("pg_30_ranges", 65, "E125")];
    for (table, exit, code) in refused {
        job.write_plan(&format!("tables:\n  {table}: {{}}\n"));
        job.run(&["plan"]).expect(exit).says(code);
    }
}

/// A schema, names, a filter, a skipped column and a type, all through one projection.
#[test]
fn a_plan_that_renames_filters_and_retypes() {
    let server = need_server!();
    let (source, target) = (server.fixture("chinook_like"), server.database("target"));
    let rest = "
tables:
  \"*\": skip
  Track:
    to: songs
    where: \"\\\"Milliseconds\\\" > 250000\"
    indexes: none
    columns:
      TrackId: { to: id, type: bigint }
      Composer: skip
  Genre: {}
  MediaType: {}
  Album: {}
  Artist: {}
accept:
  - { hazard: D105, at: Track.Composer, reason: \"kept elsewhere\" }
";
    let job = Job::new(&source.url(), &target.url(), rest);
    std::fs::write(
        job.path().join("towpath.yaml"),
        std::fs::read_to_string(job.path().join("towpath.yaml"))
            .unwrap()
            .replace("${TARGET_URL}\" }", "${TARGET_URL}\", schema: app }"),
    )
    .unwrap();
    job.move_all();
    let columns =
        "\"Name\", \"AlbumId\", \"MediaTypeId\", \"GenreId\", \"Milliseconds\", \"Bytes\", \"UnitPrice\"";
    let here = source.rows(&format!(
        "SELECT \"TrackId\", {columns} FROM \"Track\" WHERE \"Milliseconds\" > 250000 ORDER BY 1"
    ));
    let there = target.rows(&format!("SELECT id, {columns} FROM app.songs ORDER BY 1"));
    assert!(!here.is_empty());
    assert_eq!(here, there);
    assert_eq!(target.value("SELECT pg_typeof(id)::text FROM app.songs LIMIT 1"), "bigint");
    assert_eq!(target.value("SELECT count(*)::text FROM pg_indexes WHERE tablename = 'songs'"), "1");
}
