//! What was approved is what runs. Anything else is refused, and says what changed.

use std::fs;

use tempfile::TempDir;

use crate::need_server;
use crate::support::postgres::Database;
use crate::support::scenario::{EVERYTHING, Job};
use crate::support::sqlite::{self, File};

struct Planned {
    source: Database,
    target: Database,
    job: Job,
}

/// A plan is made; nothing is applied.
fn planned(server: &crate::support::postgres::Server) -> Planned {
    let (source, target) = (server.fixture("chinook_like"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.plan();
    Planned { source, target, job }
}

impl Planned {
    #[track_caller]
    fn is_untouched(&self) {
        let tables = "SELECT count(*)::text FROM pg_class WHERE relname = 'Track'";
        assert_eq!(self.target.value(tables), "0", "a stale plan was applied");
    }
}

#[test]
fn f_10_the_source_changed_after_the_plan() {
    let server = need_server!();
    let changes = [
        ("ALTER TABLE \"Track\" ADD COLUMN coupon_code varchar(20)", "coupon_code"),
        ("ALTER TABLE \"Track\" ALTER COLUMN \"UnitPrice\" TYPE numeric(12,2)", "UnitPrice"),
        ("DROP INDEX \"IFK_TrackGenreId\"", "IFK_TrackGenreId"),
        ("CREATE TABLE newcomer (id integer PRIMARY KEY)", "newcomer"),
        ("ALTER TABLE \"Track\" ALTER COLUMN \"Composer\" SET NOT NULL", "Composer"),
    ];
    for (change, name) in changes {
        let planned = planned(server);
        planned.source.execute("UPDATE \"Track\" SET \"Composer\" = '' WHERE \"Composer\" IS NULL");
        planned.source.execute(change);
        planned.job.apply_planned().expect(4).says(name);
        planned.is_untouched();
    }
}

#[test]
fn f_10_more_rows_are_no_other_plan() {
    let planned = planned(need_server!());
    planned.source.execute("INSERT INTO \"Genre\" VALUES (1000, 'new'); ANALYZE");
    planned.job.apply_planned().expect(0);
    assert_eq!(planned.target.value("SELECT count(*)::text FROM \"Genre\""), "26");
    planned.job.is_done();
}

#[test]
fn f_11_the_target_changed_after_the_plan() {
    let planned = planned(need_server!());
    planned.target.execute("CREATE TABLE \"Genre\" (\"GenreId\" integer PRIMARY KEY, \"Name\" varchar(120))");
    planned.job.apply_planned().expect(4).says("Genre");
    planned.is_untouched();
}

#[test]
fn f_11_the_target_changed_between_crash_and_resume() {
    let server = need_server!();
    let planned = planned(server);
    let dying = planned.job.towpath.clone().env("FAILPOINTS", "copy::before_commit=2*off->return");
    let died = dying.run(&["apply", "p.json"]);
    assert_eq!(died.code, None, "it did not die\n{died}");
    // Half-way is still approved.
    let made = planned.target.rows(
        "SELECT relname, attname FROM pg_class c JOIN pg_attribute ON attrelid = c.oid AND attnum = 1
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
    );
    let names = made.first().expect("no table was made before the crash");
    let (table, key) = (names[0].clone().unwrap(), names[1].clone().unwrap());
    let retype =
        |ty: &str| planned.target.execute(&format!("ALTER TABLE \"{table}\" ALTER \"{key}\" TYPE {ty}"));
    retype("bigint");
    let outcome = planned.job.apply_planned();
    assert!(matches!(outcome.code, Some(3 | 4 | 65)), "{outcome}");
    outcome.says(&table);
    retype("integer");
    planned.job.apply_planned().expect(0);
    planned.job.is_done();
}

#[test]
fn f_09_an_edited_plan_is_refused() {
    let planned = planned(need_server!());
    let file = planned.job.path().join("p.json");
    let text = fs::read_to_string(&file).unwrap();
    let edits = [
        text.replacen("Track", "Trick", 1),
        text[..text.len() / 2].to_string(),
        text.replacen("towpath.plan/1", "towpath.plan/2", 1),
        String::new(),
        "{}".into(),
    ];
    for edit in edits {
        assert_ne!(edit, text);
        fs::write(&file, edit).unwrap();
        planned.job.run(&["apply", "p.json"]).expect(4);
    }
    planned.is_untouched();
}

#[test]
fn f_09_another_digest_than_expected() {
    let planned = planned(need_server!());
    planned.job.run(&["apply", "p.json", "--expect", "0123456789abcdef"]).expect(4);
    planned.is_untouched();
}

#[test]
fn f_37_other_databases_than_planned() {
    let server = need_server!();
    let planned = planned(server);
    let other = server.database("other");
    let job = planned.job.with_env("TARGET_URL", &other.url());
    job.run(&["apply", "p.json"]).expect(4);
    assert_eq!(other.value("SELECT count(*)::text FROM pg_class WHERE relname = 'Track'"), "0");
}

#[test]
fn f_10_a_sqlite_source_that_changed() {
    let directory = TempDir::new().unwrap();
    let source = sqlite::fixture("chinook_like", directory.path());
    let target = File::new(directory.path(), "target.db");
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.plan();
    source.execute("ALTER TABLE \"Track\" ADD COLUMN coupon_code TEXT");
    job.apply_planned().expect(4).says("coupon_code");
    assert!(
        !target.path.exists() || target.rows("SELECT 1 FROM sqlite_schema WHERE name = 'Track'").is_empty()
    );
}

/// Equal inputs give equal plans, byte for byte but for the moments in it.
#[test]
fn g_23_planning_twice_gives_one_plan() {
    let server = need_server!();
    let (source, target) = (server.fixture("sakila_like"), server.database("target"));
    let rest = format!("tables: {{ \"*.*\": {{}} }}{}", super::pairs::KEYLESS);
    let job = Job::new(&source.url(), &target.url(), &rest);
    let plan_without_moments = || {
        job.plan();
        let text = fs::read_to_string(job.path().join("p.json")).unwrap();
        let mut plan: serde_json::Value = serde_json::from_str(&text).unwrap();
        for key in ["created_at", "expires_at", "digest"] {
            assert!(plan.as_object_mut().unwrap().remove(key).is_some(), "no {key}");
        }
        plan.to_string()
    };
    assert_eq!(plan_without_moments(), plan_without_moments());
}

/// A plan made of saved structures needs no database, and says the same.
#[test]
fn offline_planning_from_saved_structures() {
    let server = need_server!();
    let (source, target) = (server.fixture("chinook_like"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.run(&["inspect", "source", "--out", "source.yaml"]).expect(0);
    job.run(&["inspect", "target", "--out", "target.yaml"]).expect(0);
    let nowhere = |name: &str| format!("postgres://nobody@127.0.0.1:1/{name}?sslmode=disable");
    let offline = job.with_env("SOURCE_URL", &nowhere("a")).with_env("TARGET_URL", &nowhere("b"));
    let saved = ["--source-catalog", "source.yaml", "--target-catalog", "target.yaml"];
    let arguments = [&["plan", "--detailed-exitcode"][..], &saved].concat();
    offline.run(&arguments).expect(2).says("Track");
}
