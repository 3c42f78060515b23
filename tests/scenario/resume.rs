//! The process dies at any moment, the source moves on meanwhile: the same command then reaches
//! the same end.

use tempfile::TempDir;

use super::pairs::{KEYLESS, postgres_arrived, sqlite_arrived};
use crate::need_server;
use crate::support::scenario::{EVERYTHING, Job};
use crate::support::sqlite::{self, File};
use crate::support::{postgres, wait_until};

/// Many chunks, and all of one table's marks matter.
pub fn small_chunks() -> String {
    format!("{EVERYTHING}{KEYLESS}limits: {{ chunk: 1MiB, readers: 2, writers: 2 }}\n")
}

/// A number that looks random and is the same in every run.
pub fn pseudo_random(seed: u64) -> u64 {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x2545_F491_4F6C_DD1D;
    x ^= x >> 31;
    x.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 33
}

/// `kill -9` after a random number of bytes has come from the source: often, into one target.
#[test]
fn f_01_killed_at_random_times() {
    use crate::support::proxy::{Proxy, Way};
    let server = need_server!();
    let source = server.fixture("bulk");
    let proxy = Proxy::before(source.port);
    for round in 0..4 {
        let target = server.database("target");
        let job = Job::new(&source.url_at(proxy.port), &target.url(), &small_chunks());
        let mut killed = 0;
        for attempt in 0..6 {
            let from = proxy.carried(Way::ToClient);
            let bytes = pseudo_random(round * 100 + attempt) % 9_000_000;
            let mut run = job.start_apply();
            wait_until("it has read enough", std::time::Duration::from_secs(120), || {
                run.ended() || proxy.carried(Way::ToClient) - from >= bytes
            });
            killed += u32::from(!run.ended());
            run.kill();
        }
        assert!(killed > 0, "round {round}: it always ended before it could be killed");
        job.apply().expect(0);
        postgres_arrived(&source, &target);
        job.has_nothing_to_do();
    }
}

/// Finished chunks are not read again where the source did not change.
#[test]
fn f_01_finished_tables_are_kept() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), &small_chunks());
    let dying = job.towpath.clone().env("FAILPOINTS", "copy::after_commit_before_mark=5*off->return");
    assert_eq!(dying.run(&["apply", "--yes"]).code, None, "it did not die");
    let before = filenodes(&target);
    assert!(!before.is_empty(), "nothing was copied before the crash");
    job.apply().expect(0);
    let after = filenodes(&target);
    let kept = before.iter().filter(|node| after.contains(node)).count();
    assert!(kept > 0, "every table was copied again");
    postgres_arrived(&source, &target);
}

/// Tables that hold rows, with the file that holds them: a table copied again has another.
fn filenodes(database: &postgres::Database) -> Vec<Vec<Option<String>>> {
    database.rows(
        "SELECT relname, pg_relation_filenode(oid)::text FROM pg_class
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0",
    )
}

/// Rows that change between the crash and the next run arrive as they are then.
#[test]
fn f_21_rows_that_change_before_the_resume_arrive() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), &small_chunks());
    let died =
        job.towpath.clone().env("FAILPOINTS", "copy::mid_rows=40*off->return").run(&["apply", "--yes"]);
    assert_eq!(died.code, None, "it did not die\n{died}");
    source.execute(
        "UPDATE big SET word = 'changed' WHERE id % 1000 = 1;
         DELETE FROM small WHERE id % 3 = 0;
         INSERT INTO keyless VALUES (-1, 'new');
         INSERT INTO big (word) VALUES ('new');",
    );
    job.apply().expect(0);
    postgres_arrived(&source, &target);
    job.is_done();
}

/// The source's file changed between the crash and the next run.
#[test]
fn f_78_a_sqlite_source_that_changes_before_the_resume() {
    let directory = TempDir::new().unwrap();
    let source = sqlite::fixture("bulk", directory.path());
    let target = File::new(directory.path(), "target.db");
    let job = Job::new(&source.url(), &target.url(), &small_chunks());
    let died = job
        .towpath
        .clone()
        .env("FAILPOINTS", "copy::after_commit_before_mark=2*off->return")
        .run(&["apply", "--yes"]);
    assert_eq!(died.code, None, "it did not die\n{died}");
    source.execute("UPDATE big SET word = 'changed' WHERE id % 1000 = 1; DELETE FROM keyless WHERE a = 3;");
    job.apply().expect(0);
    sqlite_arrived(&source, &target);
    job.is_done();
}
