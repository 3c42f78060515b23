//! Servers that go down, commits whose answer is lost, connections that fall silent, and runs that
//! sleep, while changes are followed: the same run goes on, and nothing is applied twice.

use std::time::Duration;

use super::followed::{Followed, LONG, PLAN, ends};
use crate::chaos::clients::Clients;
use crate::chaos::judge::Judge;
use crate::chaos::shop::Shop;
use crate::support::postgres::{Database, PASSWORD, Server, USER, moving_server};
use crate::support::proxy::{Fault, Proxy};
use crate::support::scenario::Job;
use crate::support::wait_until;

/// A database that clients write to from before the load on, followed and recorded at both ends.
struct Busy {
    source: Database,
    target: Database,
    job: Job,
    clients: Clients,
    judge: Judge,
}

impl Busy {
    fn new(from: &Server, to: &Server, through: Option<&Proxy>) -> Self {
        let (source, target) = (from.database("busy"), to.database("target"));
        let shop = Shop::of(&source, &target, false);
        let judge = Judge::of(&source, &target, &shop);
        shop.open(&source);
        let clients = Clients::start(&source, &shop, 3, 2, Duration::from_millis(6));
        let plan = "defaults: { cdc: true }\ntables: { \"*\": {} }\n\
             cutover: { fence: tables, sequences: { margin: 10 } }\n\
             accept:\n  - { hazard: K302, at: events, reason: test }\n";
        let job =
            Job::new(&source.url(), &target.url_at(through.map_or(target.port, |proxy| proxy.port)), plan);
        job.apply().expect(0);
        Self { source, target, job, clients, judge }
    }

    /// Rows that the clients have made known at the target.
    fn ledger(&self) -> u64 {
        let asked = self.target.try_session().map(|mut session| session.value("SELECT count(*) FROM ledger"));
        asked.map_or(0, |count| count.parse().unwrap())
    }

    /// Nothing is broken any more.
    fn ends(self) {
        self.clients.stop();
        self.job.run(&["cutover", "--yes"]).expect(0);
        self.judge.judge();
        Judge::handed_over(&self.source, &self.target);
    }
}

/// Kills a server three times while it follows. The run lives on, and goes on by itself.
fn killed_in_mid_follow(of_source: bool) {
    let Some(server) = moving_server() else { return };
    let settings = ["max_prepared_transactions=10", "wal_writer_delay=10s", "wal_writer_flush_after=64MB"];
    let Some(mortal) = Server::with(&settings) else { return };
    let busy = match of_source {
        true => Busy::new(&mortal, server, None),
        false => Busy::new(server, &mortal, None),
    };
    let mut running = busy.job.towpath.start(&["follow"]);
    for round in 0..3 {
        let before = busy.ledger();
        wait_until("it follows", LONG, || running.ended() || busy.ledger() > before + 20);
        assert!(!running.ended(), "it ended: {}", running.so_far());
        match round {
            1 => mortal.crash(),
            _ => {
                mortal.kill();
                mortal.start_again();
            }
        }
    }
    let before = busy.ledger();
    wait_until("it follows again", LONG, || running.ended() || busy.ledger() > before);
    assert!(!running.ended(), "it ended: {}", running.so_far());
    ends(running);
    busy.ends();
}

/// What was acknowledged since the last checkpoint is told again (F-38).
#[test]
fn f_29_f_38_the_source_server_is_killed_while_it_is_followed() {
    killed_in_mid_follow(true);
}

#[test]
fn f_30_the_target_server_is_killed_while_changes_are_applied() {
    killed_in_mid_follow(false);
}

#[test]
fn f_31_h_17_answers_to_commits_of_changes_are_lost() {
    let Some(server) = moving_server() else { return };
    let proxy = Proxy::before(server.port);
    let busy = Busy::new(server, server, Some(&proxy));
    let mut running = busy.job.towpath.start(&["follow"]);
    for round in 1..=6 {
        proxy.fault(Fault::LoseMessage { kind: b'C', body: b"COMMIT\0" });
        wait_until("an answer is lost", LONG, || running.ended() || proxy.struck() == round);
    }
    let before = busy.ledger();
    wait_until("it goes on", LONG, || running.ended() || busy.ledger() > before + 5);
    assert!(!running.ended(), "it ended: {}", running.so_far());
    ends(running);
    busy.ends();
}

/// Two seconds of silence are long here, a minute in real life.
fn impatient(url: &str) -> String {
    format!("{url}&keepalives_idle=2&keepalives_interval=1&connect_timeout=3")
}

/// The connections there are vanish without a word, at both ends in turn; new ones work.
#[test]
fn f_33_an_end_vanishes_without_a_word_while_it_is_followed() {
    let Some(server) = moving_server() else { return };
    let proxies = [Proxy::before(server.port), Proxy::before(server.port)];
    let followed = Followed::not_yet(server, server, PLAN);
    let from = impatient(&followed.source.url_at(proxies[0].port));
    let to = impatient(&followed.target.url_at(proxies[1].port));
    let job = Job::new(&from, &to, PLAN);
    job.apply().expect(0);
    let followed = Followed { job, ..followed };
    let mut running = followed.follow();
    for proxy in &proxies {
        followed.is_followed(&mut running);
        assert!(proxy.swallow() > 1);
        // The server of a vanished client learns of it by its own keepalives.
        std::thread::sleep(Duration::from_secs(2));
        proxy.close_silent();
        followed.is_followed(&mut running);
    }
    ends(running);
    followed.catches_up();
    followed.cuts_over();
}

/// The run is stopped for longer than its lock lives, another takes over, and the first wakes up
/// with changes in its hands: it may not apply them.
#[test]
fn f_03_f_05_a_follower_that_slept_too_long_applies_nothing_more() {
    let Some(server) = moving_server() else { return };
    let busy = Busy::new(server, server, None);
    let follower = || busy.job.towpath.start(&["follow"]);
    let mut sleeper = follower();
    for _ in 0..3 {
        let before = busy.ledger();
        wait_until("it follows", LONG, || sleeper.ended() || busy.ledger() > before + 5);
        sleeper.signal("STOP");
        for end in [&busy.source, &busy.target] {
            end.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'towpath'",
            );
        }
        let mut next = follower();
        let before = busy.ledger();
        wait_until("the next follows", LONG, || next.ended() || busy.ledger() > before + 5);
        assert!(!next.ended(), "{}", next.so_far());
        sleeper.signal("CONT");
        let outcome = sleeper.wait().expect(5);
        assert!(outcome.both().contains("lock"), "{outcome}");
        sleeper = next;
    }
    ends(sleeper);
    busy.ends();
}

/// Only the lock's session goes: the same run takes it anew.
#[test]
fn f_06_a_lock_that_is_lost_is_taken_anew() {
    let Some(followed) = Followed::new(PLAN) else { return };
    let mut running = followed.follow();
    followed.is_followed(&mut running);
    let lost = followed.target.value(
        "SELECT count(pg_terminate_backend(pid))::text FROM pg_locks JOIN pg_stat_activity a USING (pid) \
         WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock' AND a.datname = current_database()",
    );
    assert_eq!(lost, "1");
    followed.is_followed(&mut running);
    ends(running);
    followed.catches_up();
}

#[test]
fn f_04_a_second_follower_is_told_who_follows() {
    let Some(followed) = Followed::new(PLAN) else { return };
    let mut running = followed.follow();
    followed.is_followed(&mut running);
    for command in [&["follow"][..], &["cutover", "--yes"], &["apply", "--yes"], &["verify"]] {
        let outcome = followed.job.run(command);
        // There is nothing to apply, so apply needs no lock.
        let fine: &[i32] = if command[0] == "apply" { &[0, 5] } else { &[5] };
        assert!(outcome.code.is_some_and(|code| fine.contains(&code)), "{outcome}");
    }
    followed.is_followed(&mut running);
    ends(running);
    followed.catches_up();
}

/// The applier is the victim of a deadlock with a user of the target: all of it is done again.
#[test]
fn f_59_h_13_a_deadlock_on_the_target_is_tried_again() {
    let Some(followed) =
        Followed::new("defaults: { cdc: true }\ntables: { \"*\": {} }\ncdc: { mode: transactional }\n")
    else {
        return;
    };
    let mut running = followed.follow();
    followed.is_followed(&mut running);
    let mut user = followed.target.session();
    user.execute("SET deadlock_timeout = '30s'; BEGIN; SELECT FROM items WHERE id = 1 FOR UPDATE");
    followed
        .source
        .execute("BEGIN; UPDATE items SET n = 77 WHERE id = 2; UPDATE items SET n = 77 WHERE id = 1; COMMIT");
    let waits = "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'";
    followed.arrives(&mut running, waits, "1");
    // Waits until the server has ended the other's transaction.
    user.execute("SELECT FROM items WHERE id = 2 FOR UPDATE; ROLLBACK");
    followed.arrives(&mut running, "SELECT count(*)::text FROM items WHERE n = 77", "2");
    let said = ends(running);
    followed.catches_up();
    let status = followed.job.run(&["status", "--format", "json"]).expect(0);
    let updates = "SELECT sum(updates)::text FROM towpath.stream_table";
    assert_eq!(followed.target.value(updates), "2", "{said}\n{status}");
}

/// New sessions of the target are read-only for a while: that is said, and it goes on after.
#[test]
fn f_61_the_target_becomes_read_only() {
    let Some(server) = moving_server() else { return };
    let followed = Followed::between(server, server, PLAN);
    let mut running = followed.follow();
    followed.is_followed(&mut running);
    let target = &followed.target;
    target.execute(&format!("ALTER DATABASE {target} SET default_transaction_read_only = on"));
    followed.end_sessions(target);
    let outcome = running.wait();
    assert!(matches!(outcome.code, Some(1 | 6)), "{outcome}");
    outcome.says("25006").says("read-only");
    server.admin(&format!("ALTER DATABASE {target} RESET ALL"));
    followed.source.execute("INSERT INTO items (n) VALUES (5)");
    followed.catches_up();
}

/// The password is another when the connection has to be made anew.
#[test]
fn f_63_the_password_is_changed_while_it_is_followed() {
    let Some(server) = moving_server() else { return };
    let followed = Followed::not_yet(server, server, PLAN);
    let role = format!("mover_{}", followed.source);
    server.admin(&format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{PASSWORD}'"));
    let url = followed.source.url().replacen(USER, &role, 1);
    let job = Job::new(&url, &followed.target.url(), PLAN);
    job.apply().expect(0);
    let mut followed = Followed { job, ..followed };
    let mut running = followed.follow();
    followed.is_followed(&mut running);
    server.admin(&format!("ALTER ROLE {role} PASSWORD 'another-canary'"));
    followed.end_sessions(&followed.source);
    running.wait().expect(69).says("28P01").says("password");
    followed.source.execute("INSERT INTO items (n) VALUES (5)");
    followed.job = followed.job.with_env("SOURCE_URL", &url.replace(PASSWORD, "another-canary"));
    let outcome = followed.catches_up();
    assert!(!outcome.both().contains("another-canary"), "{outcome}");
}

/// Both ends are compared at one commit, however much is written meanwhile.
#[test]
fn f_74_verified_while_clients_write() {
    let Some(server) = moving_server() else { return };
    let busy = Busy::new(server, server, None);
    for level in ["checksum", "rows"] {
        busy.job.run(&["verify", "--level", level]).expect(0).says("equal");
    }
    let ledger = busy.ledger();
    assert!(ledger > 0, "the clients wrote nothing");
    busy.ends();
}
