//! Connections that break in the middle, replies that never come, rows that get lost on the way:
//! the tool goes on, or says so and goes on when it is called again. Never a wrong success.

use std::time::Duration;

use super::pairs::postgres_arrived;
use super::resume::{pseudo_random, small_chunks};
use crate::need_server;
use crate::support::postgres::{Database, Server};
use crate::support::proxy::{Fault, Proxy, Way};
use crate::support::scenario::Job;
use crate::support::wait_until;

/// Runs the command until it is content; an error must say that running again helps.
#[track_caller]
pub fn apply_until_done(job: &Job) {
    for _ in 0..4 {
        let outcome = job.apply();
        if outcome.code == Some(0) {
            return;
        }
        assert!(matches!(outcome.code, Some(1 | 6 | 69)), "not an end that allows another run\n{outcome}");
    }
    panic!("four runs were not enough:\n{}", job.apply());
}

/// Breaks the way to the source or to the target, and expects the databases to be equal.
fn with_fault(server: &Server, at_source: bool, fault: &Fault) {
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let proxy = Proxy::before(source.port);
    let (from, to) = match at_source {
        true => (source.url_at(proxy.port), target.url()),
        false => (source.url(), target.url_at(proxy.port)),
    };
    let job = Job::new(&from, &to, &small_chunks());
    proxy.fault(fault.clone());
    apply_until_done(&job);
    assert!(proxy.struck() > 0, "{fault:?} never struck: nothing was tested");
    postgres_arrived(&source, &target);
    job.is_done();
}

#[test]
fn f_26_the_source_is_cut_off_in_mid_copy() {
    let server = need_server!();
    for after in [100, 5_000, 60_000, 700_000] {
        with_fault(server, true, &Fault::Cut { way: Way::ToClient, after });
    }
}

#[test]
fn f_27_the_target_is_cut_off_in_mid_copy() {
    let server = need_server!();
    for after in [100, 3_000, 100_000, 700_000] {
        with_fault(server, false, &Fault::Cut { way: Way::ToServer, after });
    }
}

/// Where a cut falls is nobody's choice.
#[test]
fn f_26_and_f_27_cut_anywhere() {
    let server = need_server!();
    for seed in 0..8 {
        let (at_source, after) = (seed % 2 == 0, pseudo_random(seed) % 1_800_000);
        let way = if seed % 4 < 2 { Way::ToClient } else { Way::ToServer };
        // Little goes against the stream of rows.
        let after = if at_source == (way == Way::ToClient) { after } else { after % 4_000 };
        with_fault(server, at_source, &Fault::Cut { way, after });
    }
}

#[test]
fn f_12_the_reply_to_a_statement_is_lost() {
    let server = need_server!();
    for after in [700, 1_500, 3_000, 6_000] {
        with_fault(server, false, &Fault::Cut { way: Way::ToClient, after });
    }
    for body in [&b"CREATE TABLE"[..], b"CREATE INDEX", b"ALTER TABLE"] {
        with_fault(server, false, &Fault::LoseMessage { kind: b'C', body });
    }
}

/// The commit happened, but nobody said so.
#[test]
fn f_31_the_reply_to_a_commit_is_lost() {
    let server = need_server!();
    with_fault(server, false, &Fault::LoseMessage { kind: b'C', body: b"COMMIT" });
    with_fault(server, false, &Fault::LoseMessage { kind: b'C', body: b"COPY" });
}

/// The stream ends as it should, but rows in its middle never came.
#[test]
fn f_28_rows_that_are_lost_are_noticed() {
    let server = need_server!();
    with_fault(server, true, &Fault::SwallowRows { after: 1_000, count: 1 });
    with_fault(server, true, &Fault::SwallowRows { after: 20, count: 50 });
}

#[test]
fn f_32_a_slow_line_is_only_slow() {
    let server = need_server!();
    let (source, target) = (server.fixture("chinook_like"), server.database("target"));
    let (up, down) = (Proxy::before(source.port), Proxy::before(target.port));
    up.delay(Duration::from_millis(8));
    down.delay(Duration::from_millis(8));
    let job =
        Job::new(&source.url_at(up.port), &target.url_at(down.port), crate::support::scenario::EVERYTHING);
    job.apply().expect(0);
    postgres_arrived(&source, &target);
}

pub fn is_copying(database: &Database) -> bool {
    let sql = format!("SELECT count(*)::text FROM pg_stat_progress_copy WHERE datname = '{database}'");
    database.value(&sql) != "0"
}

/// An administrator ends all sessions of one end in the middle of the copy.
fn sessions_ended(server: &Server, of_source: bool) {
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let slow = small_chunks().replace("readers: 2", "readers: 2, rows_per_second: 20000");
    let job = Job::new(&source.url(), &target.url(), &slow);
    let mut run = job.start_apply();
    wait_until("it copies", Duration::from_secs(60), || run.ended() || is_copying(&target));
    assert!(!run.ended(), "it ended before it could be disturbed: {}", run.so_far());
    let victim = if of_source { &source } else { &target };
    server
        .admin(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{victim}'"));
    let outcome = run.wait();
    assert!(matches!(outcome.code, Some(0 | 1 | 5 | 6 | 69)), "{outcome}");
    apply_until_done(&job);
    postgres_arrived(&source, &target);
    job.is_done();
}

#[test]
fn f_21_the_sessions_of_the_source_are_ended() {
    sessions_ended(need_server!(), true);
}

#[test]
fn f_30_the_sessions_of_the_target_are_ended() {
    sessions_ended(need_server!(), false);
}

/// A table is rewritten after the snapshot was taken: through it, it would read as empty.
#[test]
fn f_24_a_table_rewritten_after_the_snapshot_is_not_taken_for_empty() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let slow =
        small_chunks().replace("readers: 2, writers: 2", "readers: 1, writers: 1, rows_per_second: 15000");
    let job = Job::new(&source.url(), &target.url(), &slow);
    let mut run = job.start_apply();
    wait_until("it copies", Duration::from_secs(60), || run.ended() || is_copying(&source));
    source.execute(
        "CREATE TEMP TABLE kept AS SELECT * FROM keyless; TRUNCATE keyless; INSERT INTO keyless SELECT * FROM kept;
         CREATE TEMP TABLE kept_too AS SELECT * FROM small; TRUNCATE small; INSERT INTO small SELECT * FROM kept_too;",
    );
    assert!(!run.ended(), "it ended before the table could be rewritten: {}", run.so_far());
    let outcome = run.wait();
    assert!(matches!(outcome.code, Some(0 | 1 | 4 | 6)), "{outcome}");
    apply_until_done(&job);
    postgres_arrived(&source, &target);
}
