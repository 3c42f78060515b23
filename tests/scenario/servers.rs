//! Servers that are killed, restarted, read-only, full of odd settings, or behind a pooler; roles
//! that lose their rights while a run is at work.

use std::time::Duration;

use super::cut::{apply_until_done, is_copying};
use super::pairs::postgres_arrived;
use super::resume::small_chunks;
use crate::need_server;
use crate::support::pooler::Pooler;
use crate::support::postgres::{Database, PASSWORD, Server, USER};
use crate::support::scenario::{EVERYTHING, Job};
use crate::support::{fixture, wait_until};

fn slow() -> String {
    small_chunks().replace("chunk:", "rows_per_second: 15000, chunk:")
}

/// A server of this test's own, with the rows on it where it is the source.
fn own(of_source: bool) -> Option<(Server, Database)> {
    let server = Server::own()?;
    let database = server.database("moved");
    if of_source {
        database.execute(&fixture::sql("postgres", "bulk"));
    }
    Some((server, database))
}

/// Kills or stops a server in the middle of the copy, starts it again, and expects the end.
fn restarted(of_source: bool, kill: bool) {
    let server = need_server!();
    let Some((mortal, moved)) = own(of_source) else { return };
    let (source, target) = match of_source {
        true => (moved, server.database("target")),
        false => (server.fixture("bulk"), moved),
    };
    let job = Job::new(&source.url(), &target.url(), &slow());
    let mut run = job.start_apply();
    wait_until("it copies", Duration::from_secs(60), || run.ended() || is_copying(&target));
    assert!(!run.ended(), "it ended before it could be disturbed: {}", run.so_far());
    if kill {
        mortal.kill()
    } else {
        mortal.stop_immediately()
    }
    mortal.start_again();
    let outcome = run.wait();
    assert!(matches!(outcome.code, Some(0 | 1 | 5 | 6 | 69)), "{outcome}");
    apply_until_done(&job);
    postgres_arrived(&source, &target);
    job.is_done();
}

#[test]
fn f_29_the_source_server_is_restarted_in_mid_copy() {
    restarted(true, false);
}

#[test]
fn f_29_the_source_server_is_killed_in_mid_copy() {
    restarted(true, true);
}

#[test]
fn f_30_the_target_server_is_restarted_in_mid_copy() {
    restarted(false, false);
}

#[test]
fn f_30_the_target_server_is_killed_in_mid_copy() {
    restarted(false, true);
}

/// One session is killed, again and again: the server ends all others, recovers at once, and
/// commits that were not on disk yet are gone.
#[test]
fn f_30_a_session_of_the_target_is_killed() {
    let server = need_server!();
    let Some((mortal, target)) = own(false) else { return };
    // Its log is written late, so that a crash takes much back.
    mortal.admin("ALTER SYSTEM SET wal_writer_delay = '10s'");
    mortal.admin("ALTER SYSTEM SET wal_writer_flush_after = '64MB'");
    mortal.admin("SELECT pg_reload_conf()");
    let source = server.fixture("bulk");
    let job = Job::new(&source.url(), &target.url(), &slow());
    for round in 0..3 {
        let mut run = job.start_apply();
        let rows = "SELECT coalesce(sum(rows), 0)::text FROM towpath.copy";
        wait_until("chunks are in", Duration::from_secs(60), || {
            run.ended()
                || (!target.value("SELECT to_regclass('towpath.copy')::text").is_empty() && {
                    let rows: u64 = target.value(rows).parse().unwrap();
                    rows > 8_000 * (round + 1)
                })
        });
        if run.ended() {
            break;
        }
        mortal.crash();
        let outcome = run.wait();
        assert!(matches!(outcome.code, Some(0 | 1 | 5 | 6 | 69)), "{outcome}");
    }
    apply_until_done(&job);
    postgres_arrived(&source, &target);
    job.is_done();
}

/// Who made a role or database read-only meant it: nothing is overridden, and nothing half done.
#[test]
fn f_61_a_target_that_is_read_only() {
    let server = need_server!();
    let (source, target) = (server.fixture("chinook_like"), server.database("target"));
    let role = format!("reader_{target}");
    server.admin(&format!(
        "CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{PASSWORD}';
         ALTER ROLE {role} SET default_transaction_read_only = on"
    ));
    let job = Job::new(&source.url(), &target.url().replacen(USER, &role, 1), EVERYTHING);
    job.plan();
    let outcome = job.apply_planned().expect(1).says("25006").says("read-only").says("nothing was changed");
    assert!(outcome.both().contains(&target.name), "it does not say where\n{outcome}");
    server.admin(&format!("ALTER ROLE {role} RESET ALL"));
    job.apply_planned().expect(0);
    postgres_arrived(&source, &target);
}

/// The same of a standby, which no setting makes writable.
#[test]
fn f_61_a_target_that_is_a_standby() {
    let server = need_server!();
    let Some((standby, target)) = own(false) else { return };
    standby.stop_immediately();
    std::fs::write(standby.directory().join("data/standby.signal"), "").unwrap();
    standby.start_again();
    let source = server.fixture("chinook_like");
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    let outcome = job.apply();
    assert!(matches!(outcome.code, Some(1 | 3 | 69 | 77)), "{outcome}");
    outcome.says("read-only").says("primary");
}

/// Grants that go while the run is at work: it stops, names what is missing, and goes on once it
/// is given back.
#[test]
fn f_63_a_grant_is_revoked_in_mid_copy() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let role = format!("mover_{source}");
    source.execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};
         GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}"
    ));
    let one_by_one = slow().replace("readers: 2, writers: 2", "readers: 1, writers: 1");
    let job = Job::new(&source.url().replacen(USER, &role, 1), &target.url(), &one_by_one);
    let mut run = job.start_apply();
    wait_until("it copies", Duration::from_secs(60), || run.ended() || is_copying(&target));
    source.execute(&format!("REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM {role}"));
    let outcome = run.wait();
    assert!(matches!(outcome.code, Some(6 | 77)), "{outcome}");
    outcome.says("42501").says("grant");
    source.execute(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"));
    apply_until_done(&job);
    postgres_arrived(&source, &target);
    job.is_done();
}

/// The password changes while the run is at work: what has a session goes on, a new one is
/// refused, and the right password goes on from there.
#[test]
fn f_63_the_password_is_changed_in_mid_copy() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let role = format!("mover_of_{target}");
    server.admin(&format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{PASSWORD}'"));
    let url = target.url().replacen(USER, &role, 1);
    let job = Job::new(&source.url(), &url, &slow());
    let mut run = job.start_apply();
    wait_until("it copies", Duration::from_secs(60), || run.ended() || is_copying(&target));
    server.admin(&format!("ALTER ROLE {role} PASSWORD 'another-canary'"));
    target.execute(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}' AND query LIKE '%COPY%'"
    ));
    let outcome = run.wait();
    assert!(matches!(outcome.code, Some(6 | 69)), "{outcome}");
    outcome.says("28P01").says("password");
    let job = job.with_env("TARGET_URL", &url.replace(PASSWORD, "another-canary"));
    let outcome = job.apply().expect(0);
    assert!(!outcome.both().contains("another-canary"), "{outcome}");
    postgres_arrived(&source, &target);
}

/// Timeouts and defaults of roles and databases that would end or bend a session.
#[test]
fn f_64_settings_of_role_and_database_change_nothing() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let role = format!("bent_{target}");
    server.admin(&format!(
        "CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{PASSWORD}';
         ALTER ROLE {role} SET statement_timeout = '50ms';
         ALTER ROLE {role} SET idle_in_transaction_session_timeout = '50ms';
         ALTER ROLE {role} SET lock_timeout = '1ms';
         ALTER ROLE {role} SET DateStyle = 'SQL, DMY';
         ALTER ROLE {role} SET TimeZone = 'Asia/Kathmandu';
         ALTER ROLE {role} SET search_path = pg_temp;
         ALTER ROLE {role} SET bytea_output = 'escape'"
    ));
    for database in [&source, &target] {
        server.admin(&format!("ALTER DATABASE {database} SET statement_timeout = '50ms'"));
        server.admin(&format!("ALTER DATABASE {database} SET extra_float_digits = 0"));
    }
    let bent = |database: &Database| database.url().replacen(USER, &role, 1);
    let slow = small_chunks().replace("chunk:", "rows_per_second: 30000, chunk:");
    let job = Job::new(&bent(&source), &bent(&target), &slow);
    job.apply().expect(0);
    job.is_done();
    for database in [&source, &target] {
        server.admin(&format!("ALTER DATABASE {database} RESET ALL"));
    }
    postgres_arrived(&source, &target);
}

/// A pooler that gives each transaction another session is refused, at both ends, before anything
/// is done.
#[test]
fn f_65_a_pooler_in_transaction_mode_is_refused() {
    let server = need_server!();
    let (source, target) = (server.fixture("chinook_like"), server.database("target"));
    let pooler = Pooler::before(server);
    for (from, to) in [(source.url_at(pooler.port), target.url()), (source.url(), target.url_at(pooler.port))]
    {
        let job = Job::new(&from, &to, EVERYTHING);
        let outcome = job.apply().says("C510").says("pooler");
        assert!(!matches!(outcome.code, Some(0)), "{outcome}");
        assert_eq!(target.value("SELECT count(*)::text FROM pg_namespace WHERE nspname = 'towpath'"), "0");
    }
    assert!(pooler.switched() > 0, "it never gave another session: nothing was tested");
}
