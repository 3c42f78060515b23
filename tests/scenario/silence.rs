//! Ends that fall silent without a word, and runs that do: what is waited for in vain is noticed
//! and taken up again, and who slept too long writes nothing any more.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::cut::{apply_until_done, is_copying};
use super::pairs::{postgres_arrived, sqlite_arrived};
use super::resume::small_chunks;
use crate::need_server;
use crate::support::postgres::Database;
use crate::support::proxy::{Proxy, Way};
use crate::support::scenario::Job;
use crate::support::sqlite::{self, File};
use crate::support::wait_until;

/// Two seconds of silence are long here, a minute in real life.
fn impatient(url: &str) -> String {
    format!("{url}&keepalives_idle=2&keepalives_interval=1&connect_timeout=3")
}

/// Slow enough to be met in the middle.
fn slow() -> String {
    small_chunks().replace("chunk:", "rows_per_second: 15000, chunk:")
}

/// The connections to the source vanish in mid-copy; new ones work. The same run goes on.
#[test]
fn f_33_the_source_vanishes_without_a_word() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let proxy = Proxy::before(source.port);
    let job = Job::new(&impatient(&source.url_at(proxy.port)), &target.url(), &slow());
    let mut run = job.start_apply();
    let copied = || proxy.carried(Way::ToClient) > 2_000_000;
    wait_until("it copies", Duration::from_secs(60), || run.ended() || copied());
    assert!(!run.ended(), "it ended before it could be disturbed: {}", run.so_far());
    assert!(proxy.swallow() > 2);
    let silent = Instant::now();
    let outcome = run.wait().expect(0);
    // The copy itself takes a few seconds more; without a bound it would wait for ever.
    assert!(silent.elapsed() < Duration::from_secs(60), "{:?}\n{outcome}", silent.elapsed());
    postgres_arrived(&source, &target);
    job.is_done();
}

/// The connections to the target vanish, that of the lock among them: the run ends by itself, and
/// the same command goes on.
#[test]
fn f_33_the_target_vanishes_without_a_word() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let proxy = Proxy::before(target.port);
    let job = Job::new(&source.url(), &impatient(&target.url_at(proxy.port)), &slow());
    let mut run = job.start_apply();
    let copied = || proxy.carried(Way::ToServer) > 2_000_000;
    wait_until("it copies", Duration::from_secs(60), || run.ended() || copied());
    assert!(!run.ended(), "it ended before it could be disturbed: {}", run.so_far());
    assert!(proxy.swallow() > 2);
    let silent = Instant::now();
    let outcome = run.wait();
    assert!(matches!(outcome.code, Some(5 | 6 | 69)), "{outcome}");
    assert!(silent.elapsed() < Duration::from_secs(60), "{:?}\n{outcome}", silent.elapsed());
    // The server's own keepalive ends what it still holds.
    proxy.close_silent();
    apply_until_done(&job);
    postgres_arrived(&source, &target);
    job.is_done();
}

/// Nothing answers at all for a while: planning says so within its bound.
#[test]
fn f_33_a_silent_server_is_not_waited_for_at_the_start() {
    let server = need_server!();
    let (source, target) = (server.fixture("chinook_like"), server.database("target"));
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let job = Job::new(&impatient(&source.url_at(port)), &target.url(), "tables: { \"*\": {} }\n");
    let start = Instant::now();
    job.run(&["plan"]).expect(69).says("E313");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// A long statement is silent, too, and is left alone: the server says that it works.
#[test]
fn f_33_a_long_statement_is_not_taken_for_a_dead_one() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    // Its index takes longer than any silence that is allowed here.
    source.execute(
        "CREATE FUNCTION public.slowly(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE
           AS 'BEGIN PERFORM pg_catalog.pg_sleep(0.8); RETURN i; END';
         CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10);
         CREATE INDEX t_slowly ON t (public.slowly(id)); ANALYZE",
    );
    target.execute(
        "CREATE FUNCTION public.slowly(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE
           AS 'BEGIN PERFORM pg_catalog.pg_sleep(0.8); RETURN i; END';",
    );
    let job = Job::new(&source.url(), &impatient(&target.url()), "tables: { \"*\": {} }\n");
    let start = Instant::now();
    job.apply().expect(0);
    assert!(start.elapsed() > Duration::from_secs(6), "it was not silent for long: {:?}", start.elapsed());
    postgres_arrived(&source, &target);
}

fn lock_sessions(target: &Database) -> String {
    format!(
        "FROM pg_locks JOIN pg_stat_activity a USING (pid) WHERE locktype = 'advisory' AND granted \
         AND mode = 'ExclusiveLock' \
         AND a.datname = '{target}'"
    )
}

/// The run sleeps while its lock's session is ended and another run takes over. Awake again it
/// cannot write.
#[test]
fn f_03_and_f_05_a_run_that_slept_too_long_writes_nothing_more() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), &slow());
    let mut sleeper = job.start_apply();
    wait_until("it copies", Duration::from_secs(60), || sleeper.ended() || is_copying(&target));
    sleeper.signal("STOP");
    target.execute(&format!("SELECT pg_terminate_backend(pid) {}", lock_sessions(&target)));
    job.write_plan(&small_chunks());
    job.apply().expect(0);
    postgres_arrived(&source, &target);
    let state = "SELECT table_name || number, unit FROM towpath.copy UNION ALL SELECT step, unit FROM towpath.step ORDER BY 1";
    let before = target.rows(state);
    sleeper.signal("CONT");
    let outcome = sleeper.wait();
    assert!(matches!(outcome.code, Some(5 | 6)), "{outcome}");
    assert_eq!(target.rows(state), before, "the sleeper wrote\n{outcome}");
    postgres_arrived(&source, &target);
    job.is_done();
}

/// A run that was asleep and lost nothing meanwhile just goes on.
#[test]
fn f_03_a_run_that_slept_goes_on() {
    let server = need_server!();
    let directory = TempDir::new().unwrap();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(&impatient(&source.url()), &impatient(&target.url()), &slow());
    let from = sqlite::fixture("bulk", directory.path());
    let to = File::new(directory.path(), "target.db");
    let file_job = Job::new(&from.url(), &to.url(), &slow());
    let (mut run, mut file_run) = (job.start_apply(), file_job.start_apply());
    wait_until("it copies", Duration::from_secs(60), || run.ended() || is_copying(&target));
    run.signal("STOP");
    let file_sleeps = !file_run.ended();
    if file_sleeps {
        file_run.signal("STOP");
    }
    // Longer than every bound of its connections.
    std::thread::sleep(Duration::from_secs(6));
    run.signal("CONT");
    if file_sleeps {
        file_run.signal("CONT");
    }
    run.wait().expect(0);
    file_run.wait().expect(0);
    postgres_arrived(&source, &target);
    sqlite_arrived(&from, &to);
}

/// Only the lock's session goes: the run ends at its next heartbeat or commit, by itself.
#[test]
fn f_06_a_lock_that_is_lost_silently_ends_the_run() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), &slow());
    let mut run = job.start_apply();
    wait_until("it copies", Duration::from_secs(60), || run.ended() || is_copying(&target));
    assert_eq!(
        target.value(&format!("SELECT count(pg_terminate_backend(pid)) {}", lock_sessions(&target))),
        "1"
    );
    let outcome = run.wait();
    assert!(matches!(outcome.code, Some(5 | 6)), "{outcome}");
    outcome.says("lock of");
    job.apply().expect(0);
    postgres_arrived(&source, &target);
    job.is_done();
}
