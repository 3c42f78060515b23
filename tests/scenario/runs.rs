//! Runs and their neighbours: twice, at once, interrupted, and what they leave alone.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::pairs::{KEYLESS, postgres_arrived, sqlite_arrived};
use super::resume::{pseudo_random, small_chunks};
use crate::need_server;
use crate::support::postgres::{Database, PASSWORD, USER};
use crate::support::scenario::{EVERYTHING, Job};
use crate::support::sqlite::{self, File};
use crate::support::{command::Running, wait_until};

/// Slow enough to be met in the middle.
fn slow() -> String {
    small_chunks().replace("chunk:", "rows_per_second: 15000, chunk:")
}

fn wait_for_rows(run: &mut Running, target: &Database) {
    wait_until("it copies", Duration::from_secs(60), || {
        let sql = format!("SELECT count(*)::text FROM pg_stat_progress_copy WHERE datname = '{target}'");
        assert!(!run.ended(), "it ended too soon: {}", run.so_far());
        target.value(&sql) != "0"
    });
}

#[test]
fn g_01_planning_writes_nothing() {
    let server = need_server!();
    let (source, target) = (server.fixture("chinook_like"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    let facts = "SELECT (SELECT count(*) FROM pg_class)::text, (SELECT count(*) FROM pg_namespace)::text, pg_current_wal_lsn() <> '0/0'";
    let before = target.rows(facts);
    job.plan();
    assert_eq!(target.rows(facts), before);
    let directory = TempDir::new().unwrap();
    let (from, to) =
        (sqlite::fixture("chinook_like", directory.path()), File::new(directory.path(), "target.db"));
    let bytes = fs::read(&from.path).unwrap();
    let job = Job::new(&from.url(), &to.url(), EVERYTHING);
    job.plan();
    assert!(!to.path.exists(), "planning made the target's file");
    assert_eq!(fs::read(&from.path).unwrap(), bytes, "planning changed the source's file");
}

#[test]
fn f_08_applying_again_does_nothing() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{KEYLESS}"));
    job.plan();
    job.apply_planned().expect(0);
    // Who wrote each row, and which files hold the tables and indexes.
    let state = "SELECT relname, relfilenode::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
         UNION ALL SELECT 'big', sum(xmin::text::numeric)::text FROM big
         UNION ALL SELECT 'small', sum(xmin::text::numeric)::text FROM small
         UNION ALL SELECT 'keyless', sum(xmin::text::numeric)::text FROM keyless ORDER BY 1, 2";
    let before = target.rows(state);
    job.apply().expect(0);
    job.apply_planned().expect(0);
    assert_eq!(target.rows(state), before);
    postgres_arrived(&source, &target);
}

#[test]
fn f_04_two_applies_at_once() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), &slow());
    let mut first = job.start_apply();
    wait_for_rows(&mut first, &target);
    job.run(&["apply", "--yes"]).expect(5);
    job.run(&["status"]).expect(0);
    first.wait().expect(0);
    postgres_arrived(&source, &target);
    job.is_done();
}

#[test]
fn f_04_two_applies_to_one_sqlite_file() {
    let directory = TempDir::new().unwrap();
    let source = sqlite::fixture("bulk", directory.path());
    let target = File::new(directory.path(), "target.db");
    let job = Job::new(&source.url(), &target.url(), &slow());
    let mut first = job.start_apply();
    wait_until("it writes", Duration::from_secs(60), || {
        assert!(!first.ended(), "it ended too soon: {}", first.so_far());
        fs::metadata(&target.path).is_ok_and(|file| file.len() > 40_000)
            || fs::metadata(format!("{}-wal", target.path.display())).is_ok_and(|file| file.len() > 40_000)
    });
    job.run(&["apply", "--yes"]).expect(5);
    first.wait().expect(0);
    sqlite_arrived(&source, &target);
    job.is_done();
}

/// The first signal lets running chunks finish; the same command goes on from there.
#[test]
fn f_02_interrupted_then_resumed() {
    let server = need_server!();
    for signal in ["INT", "TERM"] {
        let (source, target) = (server.fixture("bulk"), server.database("target"));
        let job = Job::new(&source.url(), &target.url(), &slow());
        let mut run = job.start_apply();
        wait_for_rows(&mut run, &target);
        run.signal(signal);
        run.wait().expect(6);
        job.run(&["status"]).expect(0);
        job.run(&["plan", "--detailed-exitcode"]).expect(2);
        job.apply().expect(0);
        postgres_arrived(&source, &target);
        job.is_done();
    }
}

#[test]
fn f_02_a_second_signal_aborts() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), &slow().replace("15000", "2000"));
    let mut run = job.start_apply();
    wait_for_rows(&mut run, &target);
    run.signal("INT");
    wait_until("it says that it stops", Duration::from_secs(30), || {
        run.ended() || run.so_far().to_lowercase().contains("stop")
    });
    if !run.ended() {
        run.signal("INT");
        let code = run.wait().code;
        assert!(matches!(code, Some(130 | 6)), "{code:?}");
    }
    job.write_plan(&small_chunks());
    job.apply().expect(0);
    postgres_arrived(&source, &target);
}

/// A signal at any moment: the run ends by itself, soon, and at a clean point.
#[test]
fn f_02_signalled_at_random_moments() {
    let server = need_server!();
    let directory = TempDir::new().unwrap();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let (from, to) = (sqlite::fixture("bulk", directory.path()), File::new(directory.path(), "target.db"));
    for job in [Job::new(&source.url(), &target.url(), &slow()), Job::new(&from.url(), &to.url(), &slow())] {
        let mut stopped = 0;
        for seed in 0..8 {
            let mut run = job.start_apply();
            std::thread::sleep(Duration::from_millis(pseudo_random(seed) % 700));
            if run.ended() {
                continue;
            }
            run.signal(if seed % 2 == 0 { "TERM" } else { "INT" });
            let asked = std::time::Instant::now();
            let outcome = run.wait();
            // Before anybody listens, a signal just ends the process.
            assert!(matches!(outcome.code, Some(0 | 6) | None), "{outcome}");
            assert!(asked.elapsed() < Duration::from_secs(30), "{:?} {outcome}", asked.elapsed());
            stopped += u32::from(outcome.code == Some(6));
        }
        assert!(stopped > 0, "it was never met at work");
        job.apply().expect(0);
        job.is_done();
    }
    postgres_arrived(&source, &target);
    sqlite_arrived(&from, &to);
}

/// Two at once, again and again, at any distance in time: one works, the other is told so or
/// finds nothing to do. The state tables are made once.
#[test]
fn f_04_two_applies_at_any_distance() {
    let server = need_server!();
    let source = server.fixture("chinook_like");
    for seed in 0..8 {
        let target = server.database("target");
        let job = Job::new(&source.url(), &target.url(), EVERYTHING);
        let first = job.start_apply();
        std::thread::sleep(Duration::from_millis(pseudo_random(seed) % 300));
        let second = job.start_apply();
        let codes = [first.wait(), second.wait()].map(|outcome| {
            // The plan of the second may be older than what the first has made since.
            assert!(matches!(outcome.code, Some(0 | 3 | 4 | 5)), "{outcome}");
            outcome.code.unwrap()
        });
        assert!(codes.contains(&0), "nobody has done it: {codes:?}");
        postgres_arrived(&source, &target);
        job.has_nothing_to_do();
    }
}

/// Nothing is kept on the machine that applies: another one, with the plan file alone, goes on.
#[test]
fn f_66_another_machine_goes_on_from_the_target_alone() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let first = Job::new(&source.url(), &target.url(), &small_chunks());
    let dying = first.towpath.clone().env("FAILPOINTS", "copy::after_commit_before_mark=5*off->return");
    assert_eq!(dying.run(&["apply", "--yes"]).code, None);
    let marks = "SELECT table_name || ' ' || number || ' in ' || unit FROM towpath.copy";
    let before = target.rows(marks);
    assert!(!before.is_empty());
    let files: Vec<_> = fs::read_dir(first.path()).unwrap().flatten().map(|file| file.file_name()).collect();
    assert_eq!(files.len(), 2, "something but the plan file and our own outputs is kept: {files:?}");
    drop(first);
    let second = Job::new(&source.url(), &target.url(), &small_chunks()).with_env("HOSTNAME", "another");
    second.apply().expect(0);
    let after = target.rows(marks);
    assert!(before.iter().all(|mark| after.contains(mark)), "{before:?}, then {after:?}");
    postgres_arrived(&source, &target);
    second.is_done();
}

/// A saved plan that is torn or has one bit flipped is refused, wherever that is.
#[test]
fn f_67_a_torn_plan_file_is_refused() {
    let directory = TempDir::new().unwrap();
    let (source, target) =
        (sqlite::fixture("chinook_like", directory.path()), File::new(directory.path(), "target.db"));
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.plan();
    let plan = job.path().join("p.json");
    let whole = fs::read(&plan).unwrap();
    for seed in 0..40 {
        let at = pseudo_random(seed) as usize % whole.len();
        let mut broken = whole.clone();
        if seed % 2 == 0 {
            broken.truncate(at);
        } else {
            broken[at] ^= 1 << (seed % 7);
        }
        fs::write(&plan, &broken).unwrap();
        let outcome = job.run(&["apply", "p.json"]);
        assert_eq!(outcome.code, Some(4), "broken at byte {at}\n{outcome}");
        assert!(!target.path.exists(), "broken at byte {at}, and the target was written to");
    }
    fs::write(&plan, &whole).unwrap();
    job.apply_planned().expect(0);
}

/// What is left is told from the target alone: the source may be gone.
#[test]
fn g_08_status_lists_what_is_left() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), &small_chunks());
    job.run(&["status"]).expect(0).says("not begun").says("next    towpath plan");
    job.run(&["apply", "--yes", "--until", "schema"]).expect(6);
    let job = job.with_env("SOURCE_URL", "postgres://nobody@127.0.0.1:1/gone?sslmode=disable");
    let shown = job.run(&["status"]).expect(0).says("public.small/copy").says("next    towpath apply");
    assert!(
        shown.stdout.contains("left")
            && shown.stdout.contains("24 steps: load 4, indexes 14, keys 4, sequences 2"),
        "{shown}"
    );
    assert!(!shown.stdout.contains("/create"), "{shown}");
    let job = job.with_env("SOURCE_URL", &source.url());
    job.apply().expect(0);
    let json = job.run(&["status", "--format", "json"]).expect(0);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(value["left"].as_array().map(Vec::len), Some(0), "{json}");
}

/// The same of a SQLite target, after a crash.
#[test]
fn g_08_status_lists_what_is_left_in_a_file() {
    let directory = TempDir::new().unwrap();
    let source = sqlite::fixture("bulk", directory.path());
    let target = File::new(directory.path(), "target.db");
    let job = Job::new(&source.url(), &target.url(), &small_chunks());
    let dying = job.towpath.clone().env("FAILPOINTS", "copy::after_commit_before_mark=2*off->return");
    assert_eq!(dying.run(&["apply", "--yes"]).code, None);
    fs::remove_file(&source.path).unwrap();
    job.run(&["status"])
        .expect(0)
        .says("broken off")
        .says("left")
        .says("/copy")
        .says("next    towpath apply");
}

/// A target table with rows in it is nobody's to overwrite.
#[test]
fn g_14_rows_on_the_target_are_left_alone() {
    let server = need_server!();
    let (source, target) = (server.fixture("chinook_like"), server.database("target"));
    target.execute(
        "CREATE TABLE \"Genre\" (\"GenreId\" integer PRIMARY KEY, \"Name\" varchar(120));
         INSERT INTO \"Genre\" VALUES (1, 'mine');",
    );
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.run(&["plan"]).expect(3).says("D101");
    job.apply().expect(3);
    assert_eq!(target.value("SELECT \"Name\" FROM \"Genre\""), "mine");
}

/// A table of the same name and another form is in the way.
#[test]
fn g_14_another_table_of_that_name_is_a_conflict() {
    let server = need_server!();
    let (source, target) = (server.fixture("chinook_like"), server.database("target"));
    target.execute("CREATE TABLE \"Genre\" (something_else text)");
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    let outcome = job.run(&["plan"]).says("Genre");
    assert!(!matches!(outcome.code, Some(0 | 2)), "{outcome}");
    assert_eq!(target.rows("SELECT * FROM \"Genre\"").len(), 0);
}

#[test]
fn without_a_plan_or_a_yes_nothing_is_applied_off_a_terminal() {
    let directory = TempDir::new().unwrap();
    let (source, target) =
        (sqlite::fixture("chinook_like", directory.path()), File::new(directory.path(), "target.db"));
    Job::new(&source.url(), &target.url(), EVERYTHING).run(&["apply"]).expect(64);
    assert!(!target.path.exists());
}

#[test]
fn y_05_a_misspelt_key_is_a_fault_of_the_file() {
    let job = Job::new("sqlite:a.db", "sqlite:b.db", "tabels: { \"*\": {} }\n");
    job.run(&["validate"]).expect(65).says("tabels").says("tables");
    job.run(&["plan"]).expect(65);
}

#[test]
fn u_11_ends_that_cannot_be_reached() {
    let server = need_server!();
    let target = server.database("target");
    let nobody = format!("postgres://{USER}:{PASSWORD}@127.0.0.1:1/x?sslmode=disable");
    Job::new(&nobody, &target.url(), EVERYTHING).run(&["plan"]).expect(69);
    let nowhere = Database::named("no_such_database", server.port);
    Job::new(&nowhere.url(), &target.url(), EVERYTHING).run(&["plan"]).expect(69).says("no_such_database");
    let wrong = target.url().replace(PASSWORD, "wr0ng-canary");
    let outcome = Job::new(&wrong, &target.url(), EVERYTHING).run(&["plan"]);
    assert!(matches!(outcome.code, Some(69 | 77)), "{outcome}");
    assert!(!outcome.both().contains("wr0ng-canary"), "{outcome}");
    Job::new("sqlite:no/such.db", &target.url(), EVERYTHING).run(&["plan"]).expect(69).says("such.db");
}

#[test]
fn u_14_source_and_target_are_one() {
    let server = need_server!();
    let source = server.fixture("chinook_like");
    let other_way = source.url().replace("127.0.0.1", "localhost");
    let outcome = Job::new(&source.url(), &other_way, EVERYTHING).run(&["plan"]);
    assert!(!matches!(outcome.code, Some(0 | 2)), "{outcome}");
}

/// A role that may only read is enough to plan and to load from (contract, 1.5).
#[test]
fn g_19_a_reader_is_enough_for_the_source() {
    let server = need_server!();
    let (source, target) = (server.fixture("chinook_like"), server.database("target"));
    let role = format!("reader_of_{source}");
    source.execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; REVOKE CREATE ON SCHEMA public FROM PUBLIC;
         GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}"
    ));
    let as_reader = source.url().replacen(USER, &role, 1);
    let job = Job::new(&as_reader, &target.url(), EVERYTHING);
    job.move_all();
    postgres_arrived(&source, &target);
    source.execute(&format!("REVOKE SELECT ON \"Track\" FROM {role}"));
    let fresh = server.database("target");
    let outcome = Job::new(&as_reader, &fresh.url(), EVERYTHING).run(&["plan"]);
    assert!(matches!(outcome.code, Some(3 | 77)), "{outcome}");
    outcome.says("Track");
}

/// Half the rows and no error would be the worst of all.
#[test]
fn s_19_row_level_security_is_refused() {
    let server = need_server!();
    let (source, target) = (server.fixture("sakila_like"), server.database("target"));
    let role = format!("reader_of_{source}");
    source.execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON secret_note TO {role}"
    ));
    let job =
        Job::new(&source.url().replacen(USER, &role, 1), &target.url(), "tables: { secret_note: {} }\n");
    job.run(&["plan"]).expect(3).says("P801").says("secret_note");
}

/// The number of rows per second holds on every road, also where the target could fetch the rows
/// by itself.
#[test]
fn g_21_the_rate_is_kept() {
    let server = need_server!();
    let directory = TempDir::new().unwrap();
    let table = "CREATE TABLE t (id integer PRIMARY KEY, v text)";
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)";
    let fill = format!("{table}; {numbers} INSERT INTO t SELECT i, 'row ' || i FROM n");
    let (file, database) = (File::new(directory.path(), "source.db"), server.database("source"));
    file.execute(&fill);
    database
        .execute(&fill.replace("; WITH", "; INSERT INTO t WITH").replace("INSERT INTO t SELECT", "SELECT"));
    for (at, source) in [file.url(), database.url()].into_iter().enumerate() {
        let (near, far) = (File::new(directory.path(), &format!("target{at}.db")), server.database("target"));
        for target in [near.url(), far.url()] {
            let job = Job::new(&source, &target, EVERYTHING);
            let began = std::time::Instant::now();
            job.run(&["apply", "--yes", "--rate", "4000"]).expect(0);
            assert!(began.elapsed() >= Duration::from_millis(1500), "{source} to {target}: it was passed");
            job.is_done();
        }
    }
}
