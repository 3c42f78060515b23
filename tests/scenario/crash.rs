//! The process dies at each crash point there is; the same command then reaches the same end and
//! brings no finished chunk again. A point that no run reaches fails, and so does a point of the
//! contract that does not exist.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use towpath::engine::crash::POINTS;

use super::pairs::{KEYLESS, postgres_arrived, sqlite_arrived};
use crate::need_server;
use crate::support::command::Outcome;
use crate::support::postgres::{Database, Server};
use crate::support::scenario::{EVERYTHING, Job};
use crate::support::sqlite::File;

/// The points of contract 2.1 that concern a full load. There is no journal to open: the state
/// is the target's.
const CONTRACT: &[&str] = &[
    "plan::before_write",
    "plan::after_tmp_before_rename",
    "plan::after_rename",
    "lock::acquired",
    "progress::schema_created",
    "progress::epoch_bumped",
    "ddl::before",
    "ddl::sent_no_reply",
    "ddl::after_before_mark",
    "ddl::after_mark",
    "copy::chunk_planned",
    "copy::first_row",
    "copy::mid_rows",
    "copy::end_of_stream_before_check",
    "copy::before_commit",
    "copy::commit_sent",
    "copy::after_commit_before_mark",
    "copy::table_done",
    "index::before",
    "index::ambiguous",
    "index::after",
    "fk::before",
    "fk::ambiguous",
    "fk::after",
    "validate::fk",
    "analyze",
    "verify::chunk",
    "verify::mismatch",
];

/// Messages of a protocol and steps that a file does not have: its foreign keys are made with its
/// tables, and it needs no statistics.
const NOT_OF_SQLITE: &[&str] =
    &["ddl::sent_no_reply", "snapshot::exported", "snapshot::worker_import", "fk::before", "analyze"];

/// Rows for three chunks of the smallest size, and tables around them, in the words of both engines.
const SCHEMA: &str = "
    CREATE TABLE big (id SERIAL_KEY, parent bigint REFERENCES big, word text NOT NULL, filler text NOT NULL);
    CREATE INDEX big_word ON big (word);
    CREATE TABLE small (id integer PRIMARY KEY, big bigint NOT NULL REFERENCES big, note text UNIQUE);
    CREATE TABLE keyless (a integer, b text);";
const ROWS: &str = "
    INSERT INTO big SELECT i, NULL, 'word' || (i * 7919 % 60013), 'FILLER' FROM n;
    UPDATE big SET parent = id / 2 WHERE id > 1 AND id < 400;
    INSERT INTO small SELECT i, i, 'note ' || i FROM n WHERE i <= 300;
    INSERT INTO keyless SELECT i % 100, 'b' || (i % 7) FROM n WHERE i <= 500;";

fn limits() -> String {
    format!("{EVERYTHING}{KEYLESS}limits: {{ chunk: 1MiB, readers: 2, writers: 2 }}\n")
}

/// A source, and a fresh target for each death.
trait Ends: Sync {
    fn fresh(&self) -> Box<dyn Try>;
    fn has(&self, point: &str) -> bool;
}

/// One move from the source to a target of its own.
trait Try {
    fn job(&self) -> &Job;
    fn arrived(&self);
    /// The marks of finished chunks, each with what tells it from one written again.
    fn marks(&self) -> BTreeSet<String>;
    fn change_target(&self, sql: &str);
    /// The source may be that of other tries, too.
    fn change_source(&self, sql: &str);
}

struct PostgresEnds {
    server: &'static Server,
    source: Database,
}

struct PostgresTry {
    job: Job,
    source: Database,
    target: Database,
}

impl PostgresEnds {
    fn new(server: &'static Server) -> Self {
        let source = server.database("crash");
        source.execute(&SCHEMA.replace("SERIAL_KEY", "bigserial PRIMARY KEY"));
        source.execute("CREATE TABLE n AS SELECT i FROM generate_series(1, 9000) i");
        source.execute(&ROWS.replace("FILLER", &"x".repeat(220)));
        source.execute("DROP TABLE n; SELECT setval('big_id_seq', 9000); ANALYZE");
        Self { server, source }
    }
}

impl Ends for PostgresEnds {
    fn fresh(&self) -> Box<dyn Try> {
        let (source, target) = (self.source.clone(), self.server.database("target"));
        Box::new(PostgresTry { job: Job::new(&source.url(), &target.url(), &limits()), source, target })
    }

    fn has(&self, _: &str) -> bool {
        true
    }
}

impl Try for PostgresTry {
    fn job(&self) -> &Job {
        &self.job
    }

    fn arrived(&self) {
        postgres_arrived(&self.source, &self.target);
    }

    fn marks(&self) -> BTreeSet<String> {
        if self.target.value("SELECT to_regclass('towpath.copy')::text").is_empty() {
            return BTreeSet::new();
        }
        let marks = "SELECT format('%s %s in %s', table_name, number, unit) FROM towpath.copy";
        self.target.rows(marks).into_iter().filter_map(|mut row| row.remove(0)).collect()
    }

    fn change_target(&self, sql: &str) {
        self.target.execute(sql);
    }

    fn change_source(&self, sql: &str) {
        self.source.execute(sql);
    }
}

struct SqliteEnds {
    directory: TempDir,
}

struct SqliteTry {
    job: Job,
    source: File,
    target: File,
}

impl SqliteEnds {
    fn new() -> Self {
        let ends = Self { directory: TempDir::new().unwrap() };
        let source = File::new(ends.directory.path(), "source.db");
        source.execute(&SCHEMA.replace("SERIAL_KEY", "INTEGER PRIMARY KEY AUTOINCREMENT"));
        source.execute(&format!(
            "BEGIN; CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
             WHERE i < 9000) SELECT i FROM n; {} DROP TABLE n; COMMIT",
            ROWS.replace("FILLER", &"x".repeat(300))
        ));
        ends
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Ends for SqliteEnds {
    fn fresh(&self) -> Box<dyn Try> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let folder = self.path().join(NUMBER.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir(&folder).unwrap();
        let (source, target) = (File::new(&folder, "source.db"), File::new(&folder, "target.db"));
        std::fs::copy(self.path().join("source.db"), &source.path).unwrap();
        Box::new(SqliteTry { job: Job::new(&source.url(), &target.url(), &limits()), source, target })
    }

    fn has(&self, point: &str) -> bool {
        !NOT_OF_SQLITE.contains(&point)
    }
}

impl Try for SqliteTry {
    fn job(&self) -> &Job {
        &self.job
    }

    fn arrived(&self) {
        sqlite_arrived(&self.source, &self.target);
    }

    fn marks(&self) -> BTreeSet<String> {
        let there = "SELECT 1 FROM sqlite_schema WHERE name = 'towpath_copy'";
        if !self.target.path.exists() || self.target.rows(there).is_empty() {
            return BTreeSet::new();
        }
        let marks = "SELECT format('%s %s as %s', table_name, number, rowid) FROM towpath_copy";
        self.target.rows(marks).into_iter().map(|mut row| row.remove(0)).collect()
    }

    fn change_target(&self, sql: &str) {
        self.target.execute(sql);
    }

    fn change_source(&self, sql: &str) {
        self.source.execute(sql);
    }
}

/// Runs with this crash point set.
fn dying(job: &Job, point: &str, hit: u32, arguments: &[&str]) -> Outcome {
    let action = if hit == 1 { "return".to_string() } else { format!("{}*off->return", hit - 1) };
    job.towpath.clone().env("FAILPOINTS", format!("{point}={action}")).run(arguments)
}

/// Dies at a point's first or later hit, then does the same again. A later hit there may not be.
fn dies_and_goes_on(ends: &dyn Ends, point: &str, hit: u32) {
    let tried = ends.fresh();
    let job = tried.job();
    let died = match point {
        _ if point.starts_with("plan::") => planning(tried.as_ref(), point, hit),
        _ if point.starts_with("verify::") => verifying(tried.as_ref(), point, hit),
        "copy::emptied" => emptying(tried.as_ref(), point, hit),
        _ => {
            let died = dying(job, point, hit, &["apply", "--yes"]);
            let kept = tried.marks();
            job.apply().expect(0);
            let now = tried.marks();
            assert!(kept.is_subset(&now), "{point} {hit}: chunks were brought again: {kept:?}, then {now:?}");
            died
        }
    };
    assert!(died.code.is_none() || hit > 1, "{point} was never reached\n{died}");
    if died.code.is_none() {
        tried.arrived();
        job.has_nothing_to_do();
    }
}

/// The plan file is the old one or the new one, whole.
fn planning(tried: &dyn Try, point: &str, hit: u32) -> Outcome {
    let job = tried.job();
    let plan = job.path().join("p.json");
    std::fs::write(&plan, "old").unwrap();
    let died = dying(job, point, hit, &["plan", "--out", "p.json"]);
    let old = std::fs::read(&plan).unwrap() == b"old";
    assert_eq!(old, died.code.is_none() && point != "plan::after_rename", "{point}");
    if !old {
        job.run(&["show", "p.json"]).expect(0);
    }
    job.plan();
    job.apply_planned().expect(0);
    died
}

/// Verification changes nothing, however it ends; its verdict is the same the next time.
fn verifying(tried: &dyn Try, point: &str, hit: u32) -> Outcome {
    let job = tried.job();
    job.apply().expect(0);
    let differs = point == "verify::mismatch";
    if differs {
        tried.change_target("UPDATE small SET note = 'other' WHERE id = 7");
    }
    let died = dying(job, point, hit, &["verify", "--level", "rows"]);
    job.run(&["verify", "--level", "rows"]).expect(if differs { 7 } else { 0 });
    if differs {
        tried.change_target("UPDATE small SET note = 'note 7' WHERE id = 7");
    }
    died
}

/// Rows of a table that is emptied to be copied again are there or gone with their marks.
fn emptying(tried: &dyn Try, point: &str, hit: u32) -> Outcome {
    let job = tried.job();
    let first = dying(job, "copy::table_done", 1, &["apply", "--yes"]);
    assert_eq!(first.code, None, "it did not die\n{first}");
    tried.change_source("UPDATE big SET word = 'changed' WHERE id = 5");
    let died = dying(job, point, hit, &["apply", "--yes"]);
    job.apply().expect(0);
    died
}

/// Works through all points, some at once.
fn dies_everywhere(ends: &dyn Ends) {
    let mut deaths: VecDeque<(&str, u32)> = VecDeque::new();
    for point in POINTS.iter().copied().filter(|point| ends.has(point)) {
        deaths.extend([(point, 1), (point, 2)]);
    }
    // What changes the source comes when no other try reads it.
    let (alone, together): (VecDeque<_>, _) =
        deaths.into_iter().partition(|(point, _)| *point == "copy::emptied");
    let failed = [die_in_turn(ends, together, 3), die_in_turn(ends, alone, 1)].concat();
    assert!(failed.is_empty(), "{failed:?}: see above");
}

/// What went wrong.
fn die_in_turn(ends: &dyn Ends, deaths: VecDeque<(&str, u32)>, threads: usize) -> Vec<String> {
    let (deaths, failed) = (Mutex::new(deaths), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let next = deaths.lock().unwrap().pop_front();
            let Some((point, hit)) = next else { return };
            let going_on = AssertUnwindSafe(|| dies_and_goes_on(ends, point, hit));
            if catch_unwind(going_on).is_err() {
                failed.lock().unwrap().push(format!("{point}, hit {hit}"));
            }
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    failed.into_inner().unwrap()
}

#[test]
fn f_01_all_crash_points_of_the_contract_exist() {
    let missing: Vec<_> = CONTRACT.iter().filter(|point| !POINTS.contains(point)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(NOT_OF_SQLITE.iter().all(|point| POINTS.contains(point)));
}

#[test]
fn f_01_killed_at_each_crash_point_postgres() {
    dies_everywhere(&PostgresEnds::new(need_server!()));
}

#[test]
fn f_01_killed_at_each_crash_point_sqlite() {
    dies_everywhere(&SqliteEnds::new());
}

/// Errors in place of deaths: a connection that breaks at such a point is taken up again by the
/// same run, and nothing is done twice.
#[test]
fn f_01_a_connection_that_breaks_at_a_point_is_taken_up_again() {
    let ends = PostgresEnds::new(need_server!());
    for point in ["snapshot::exported", "snapshot::worker_import", "ddl::sent_no_reply", "copy::commit_sent"]
    {
        for skipped in [0, 3] {
            let tried = ends.fresh();
            let told = format!("{point}={skipped}*off->1*return(error)->off");
            let run = tried.job().towpath.clone().env("FAILPOINTS", told).run(&["apply", "--yes"]);
            assert_eq!(run.code, Some(0), "{point}\n{run}");
            tried.arrived();
            tried.job().has_nothing_to_do();
        }
    }
}
