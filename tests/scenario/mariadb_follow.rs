//! A MariaDB source that is written to all the while: copied, followed through deaths of the tool
//! and of the server, compared, handed over.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use tempfile::TempDir;

use crate::support::mariadb::{Database, Server, same_as_postgres, same_as_sqlite};
use crate::support::proxy::{Fault, Proxy};
use crate::support::scenario::Job;
use crate::support::sqlite::File;
use crate::support::wait_until;
use crate::{need_mariadb, need_server};

pub(super) const SHOP: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL, note varchar(100), price decimal(12,3), at timestamp(6) NOT NULL DEFAULT current_timestamp(6));
    CREATE TABLE ledger (id bigint AUTO_INCREMENT PRIMARY KEY, source int NOT NULL, target int NOT NULL, amount bigint NOT NULL, KEY (source));
    CREATE TABLE lists (client int, n int, body text, PRIMARY KEY (client, n));
    CREATE TABLE events (kind varchar(20), at int, extra varchar(50));
    INSERT INTO accounts (id, balance, note, price) SELECT seq, 1000, CONCAT('account ', seq), seq / 7 FROM seq_1_to_500;
    INSERT INTO ledger (source, target, amount) SELECT seq % 500, seq % 499, seq FROM seq_1_to_40000;
    INSERT INTO events SELECT CONCAT('k', seq % 3), seq, NULL FROM seq_1_to_40;";
pub(super) const TABLES: [&str; 4] = ["accounts", "events", "ledger", "lists"];

pub(super) fn plan(more: &str) -> String {
    format!(
        "defaults: {{ cdc: true }}\ntables: {{ \"*\": {{}} }}\n{more}\
         accept:\n  - {{ hazard: K302, at: events, reason: test }}\n"
    )
}

/// Clients that write until they are stopped. One that loses its server tries again.
pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    transactions: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    pub(super) fn start(database: &Database, clients: u64) -> Self {
        let (stop, transactions) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let client = |seed: u64| {
            let (database, stop, transactions) =
                (database.clone(), Arc::clone(&stop), Arc::clone(&transactions));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(write(&database, seed, &stop, &transactions));
            })
        };
        let threads = (1..=clients).map(client).collect();
        Self { stop, transactions, threads }
    }

    pub(super) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.transactions.load(Ordering::Relaxed)
    }
}

async fn write(database: &Database, seed: u64, stop: &AtomicBool, transactions: &AtomicU64) {
    let mut random = seed;
    let mut n = 0_u64;
    'connect: while !stop.load(Ordering::Relaxed) {
        let Ok(mut session) = database.try_session().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // What was in doubt when the server fell is there or not.
        let sql = format!("SELECT COALESCE(MAX(n), 0) FROM lists WHERE client = {seed}");
        n = session.query_first(sql).await.ok().flatten().unwrap_or(n);
        while !stop.load(Ordering::Relaxed) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (a, b) = (1 + (random >> 33) % 500, 1 + (random >> 13) % 500);
            n += 1;
            let sql = match random >> 61 {
                0 => format!("BEGIN; DELETE FROM ledger WHERE id % 1000 = {a}; ROLLBACK"),
                1 => format!("DELETE FROM ledger WHERE id = {}", random >> 40 & 0xFFFF),
                2 => format!("INSERT INTO events VALUES ('k', {a}, 'x'), ('k', {a}, 'x')"),
                3 => format!("UPDATE events SET extra = 'seen' WHERE at = {a} LIMIT 1"),
                4 => format!(
                    "UPDATE accounts SET id = id + 1000, price = price * 1.001 WHERE id = {a}; UPDATE accounts SET id = id - 1000 WHERE id = {a} + 1000"
                ),
                _ => format!(
                    "BEGIN; UPDATE accounts SET balance = balance - 1 WHERE id = {}; UPDATE accounts SET balance = balance + 1, note = 'Ü {n}' \
                     WHERE id = {}; INSERT INTO ledger (source, target, amount) VALUES ({a}, {b}, 1); COMMIT",
                    a.min(b),
                    a.max(b)
                ),
            };
            let list = format!("INSERT INTO lists VALUES ({seed}, {n}, REPEAT('l', {}))", random % 50);
            for sql in [list, sql] {
                match session.query_drop(sql).await {
                    Ok(()) => {
                        transactions.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(mysql_async::Error::Server(error)) if error.code == 1213 || error.code == 1205 => {
                        let _ = session.query_drop("ROLLBACK").await;
                    }
                    Err(_) => continue 'connect,
                }
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        let _ = session.disconnect().await;
    }
}

pub(super) fn after(time: Duration, ended: impl FnMut() -> bool) {
    let (start, mut ended) = (Instant::now(), ended);
    wait_until("its moment has come", Duration::from_secs(120), || ended() || start.elapsed() >= time);
}

/// Copies, follows through two deaths of the tool and one of the server, and says when it is near.
pub(super) fn copies_and_follows(job: &Job, server: &Server) {
    let mut copying = job.start_apply();
    after(Duration::from_millis(700), || copying.ended());
    copying.kill();
    job.apply().expect(0);
    let mut following = job.towpath.start(&["follow"]);
    after(Duration::from_secs(2), || following.ended());
    assert!(!following.ended(), "following has no end of its own:\n{}", following.so_far());
    following.kill();
    let mut following = job.towpath.start(&["follow"]);
    after(Duration::from_secs(1), || following.ended());
    server.crash();
    after(Duration::from_secs(2), || following.ended());
    assert!(!following.ended(), "a restart of the server is waited for:\n{}", following.so_far());
    following.kill();
    job.run(&["follow", "--until-lag", "2s"]).expect(0);
}

/// One bit is a truth value where the plan says so.
#[test]
fn m_05_a_bit_becomes_a_boolean_where_the_plan_says_so() {
    let (server, target) = (need_mariadb!(), need_server!());
    let (source, target) = (server.database("flags"), target.database("target"));
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a bit(1) NOT NULL DEFAULT b'0', b bit, c bit(2), k bit(1) NOT NULL, UNIQUE (k, id));
         INSERT INTO t VALUES (1, b'0', NULL, b'10', 1), (2, b'1', b'1', NULL, 0)",
    );
    let plan = "defaults: { cdc: true }\ntypes: [{ from: bit(1), to: boolean }]\ntables: { \"*\": {} }\n";
    let job = Job::new(&source.url(), &target.url(), plan);
    job.apply().expect(0);
    job.run(&["verify", "--level", "rows"]).expect(0);
    source.execute("INSERT INTO t (id, b, k) VALUES (3, 0, 1); UPDATE t SET a = b'1' WHERE id = 1; DELETE FROM t WHERE id = 2");
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    job.run(&["verify", "--level", "rows"]).expect(0);
    let rows = "SELECT string_agg(concat_ws(' ', id, a, coalesce(b::text, '-'), coalesce(c::text, '-'), k), ', ' ORDER BY id) FROM t";
    assert_eq!(target.value(rows), "1 t - 10 t, 3 f false - t");
    target.execute("INSERT INTO t (id, k) VALUES (4, true)");
    assert_eq!(target.value("SELECT a::text FROM t WHERE id = 4"), "false");
}

/// A TIME is a span of time as much as a time of day.
#[test]
fn m_16_a_time_becomes_an_interval_where_the_plan_says_so() {
    let (server, target) = (need_mariadb!(), need_server!());
    let (source, target) = (server.database("spans"), target.database("target"));
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, t time(6), d time);
         INSERT INTO t VALUES (1, '-838:59:59.999999', '838:59:59'), (2, '00:00:00', NULL), (3, '-00:00:00.5', '24:00:00'),
           (4, '13:14:15.000016', '-26:00:00')",
    );
    let wanted = "tables: { t: { columns: { t: { type: interval }, d: { type: interval } } } }";
    let plan = format!("defaults: {{ cdc: true }}\n{wanted}\n");
    let job = Job::new(&source.url(), &target.url(), &plan);
    job.apply().expect(0);
    job.run(&["verify", "--level", "rows"]).expect(0);
    source.execute(
        "INSERT INTO t SELECT id + 10, t, d FROM t; UPDATE t SET t = '-100:00:00.25' WHERE id = 2; DELETE FROM t WHERE id = 3",
    );
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    job.run(&["verify", "--level", "rows"]).expect(0);
    let hours = "SELECT string_agg(extract(epoch FROM t)::text || ' ' || coalesce(extract(epoch FROM d)::text, '-'), ', ' ORDER BY id) FROM t";
    assert_eq!(
        target.value(hours),
        "-3020399.999999 3020399.000000, -360000.250000 -, 47655.000016 -93600.000000, -3020399.999999 3020399.000000, \
         0.000000 -, -0.500000 86400.000000, 47655.000016 -93600.000000"
    );
}

/// Dates that no calendar has become null where the plan says so, and block where it does not.
#[test]
fn m_13_zero_dates_become_null_where_the_plan_says_so() {
    let (server, target) = (need_mariadb!(), need_server!());
    let (source, target) = (server.database("zeros"), target.database("target"));
    source.execute(
        "SET sql_mode = 'ALLOW_INVALID_DATES';
         CREATE TABLE t (id int PRIMARY KEY, d date NOT NULL DEFAULT '0000-00-00', m datetime(3) NOT NULL DEFAULT '0000-00-00 00:00:00',
           s timestamp NULL, untouched date);
         INSERT INTO t VALUES (1, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', NULL),
           (2, '2024-02-29', '2024-02-29 23:59:59.5', '2024-02-29 23:59:59', '2024-01-01'), (3, '2023-00-10', '2023-02-31 01:00:00', NULL, NULL)",
    );
    let plan = |columns: &str| {
        format!("defaults: {{ cdc: true }}\ntables: {{ t: {{ columns: {{ {columns} }} }} }}\n")
    };
    let job = Job::new(&source.url(), &target.url(), &plan("d: { zero_date: null }"));
    job.run(&["plan"]).expect(3).says("V202").says("zero_date: null").says("t.m").says("t.s");
    job.write_plan(&plan("id: { zero_date: null }"));
    job.run(&["plan"]).expect(65).says("E125").says("holds no dates");
    job.write_plan(&plan("d: { zero_date: null }, m: { zero_date: \"null\" }, s: { zero_date: null }"));
    job.run(&["plan", "--all"]).expect(0).says("become null, and the column may be null");
    job.apply().expect(0);
    job.run(&["verify", "--level", "rows"]).expect(0);
    source.execute(
        "SET sql_mode = 'ALLOW_INVALID_DATES'; INSERT INTO t (id) VALUES (4); UPDATE t SET d = '0000-00-00' WHERE id = 2;
         UPDATE t SET m = '2025-01-01' WHERE id = 1; DELETE FROM t WHERE id = 3",
    );
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    job.run(&["verify", "--level", "rows"]).expect(0);
    let rows = "SELECT string_agg(concat_ws(' ', id, coalesce(d::text, '-'), coalesce(m::text, '-'), coalesce((s AT TIME ZONE 'UTC')::text, '-')), ', ' ORDER BY id) FROM t";
    assert_eq!(
        target.value(rows),
        "1 - 2025-01-01 00:00:00 -, 2 - 2024-02-29 23:59:59.5 2024-02-29 23:59:59, 4 - - -"
    );
    // What is not asked for stops, as ever.
    source
        .execute("SET sql_mode = 'ALLOW_INVALID_DATES'; UPDATE t SET untouched = '2023-02-31' WHERE id = 4");
    job.run(&["follow", "--until-lag", "0s"]).says("untouched");
}

#[test]
fn mariadb_to_postgres_followed_through_deaths_and_cut_over() {
    let target = need_server!();
    for mode in ["transactional", "batch"] {
        let Some(server) = Server::start(&["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"]) else {
            return;
        };
        let (source, target) = (server.database("shop"), target.database("target"));
        source.execute(SHOP);
        let more =
            format!("cdc: {{ mode: {mode} }}\ncutover: {{ fence: none, sequences: {{ margin: 10 }} }}\n");
        let job = Job::new(&source.url(), &target.url(), &plan(&more));
        job.run(&["plan", "--all"]).expect(0).says("C507").says("ledger");
        let clients = Clients::start(&source, 3);
        copies_and_follows(&job, &server);
        job.run(&["verify", "--level", "rows"]).expect(0);
        // S604: whoever should have stopped has not.
        job.run(&["cutover", "--yes"]).says("S604");
        assert!(clients.stop() > 200, "too little was written");
        job.run(&["cutover", "--yes"]).expect(0);
        same_as_postgres(&source, &target, "public", &TABLES);
        let largest: i64 = source.value("SELECT MAX(id) FROM ledger").parse().unwrap();
        let added =
            target.value("INSERT INTO ledger (source, target, amount) VALUES (1, 2, 3) RETURNING id::text");
        assert!(added.parse::<i64>().unwrap() > largest, "{added} after {largest}");
        job.run(&["cutover", "--yes"]).expect(0).says("already");
    }
}

#[test]
fn mariadb_to_sqlite_followed_through_deaths_and_cut_over_behind_a_fence() {
    let settings =
        ["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1", "--log-bin-trust-function-creators=ON"];
    let Some(server) = Server::start(&settings) else { return };
    let directory = TempDir::new().unwrap();
    let (source, target) = (server.database("shop"), File::new(directory.path(), "target.db"));
    source.execute(SHOP);
    let job = Job::new(&source.url(), &target.url(), &plan("cutover: { fence: tables }\n"));
    let clients = Clients::start(&source, 2);
    copies_and_follows(&job, &server);
    job.run(&["cutover", "--yes"]).expect(0);
    let refused = source.try_execute("INSERT INTO events VALUES ('late', 1, NULL)");
    assert!(refused.unwrap_err().contains("has moved"));
    clients.stop();
    same_as_sqlite(&source, &target, &TABLES);
    target.execute("INSERT INTO ledger (source, target, amount) VALUES (1, 2, 3)");
}

/// F-52: one transaction of many rows is one on the target, whatever way it goes.
#[test]
fn f_52_a_large_transaction_arrives_whole() {
    let target = need_server!();
    let server = need_mariadb!();
    for mode in ["transactional", "batch"] {
        let (source, target) = (server.database("large"), target.database("target"));
        source.execute(SHOP);
        let spill = "memory: { limit: 16MiB, keep: 1s }";
        let job =
            Job::new(&source.url(), &target.url(), &plan(&format!("cdc: {{ mode: {mode}, {spill} }}\n")));
        job.apply().expect(0);
        source.execute(
            "BEGIN; INSERT INTO ledger (source, target, amount) SELECT seq, seq, seq FROM seq_1_to_100000; \
             UPDATE ledger SET amount = amount + 1 WHERE source > 400; DELETE FROM ledger WHERE source < 100; COMMIT; \
             TRUNCATE TABLE events; INSERT INTO events VALUES ('one', 1, 'x')",
        );
        job.run(&["follow", "--until-lag", "1s"]).expect(0);
        job.run(&["verify", "--level", "rows"]).expect(0);
        same_as_postgres(&source, &target, "public", &TABLES);
    }
}

/// F-47, S-22: what cannot be followed on is said, with the way on, and everything before it is told.
#[test]
fn f_47_s_22_a_gap_and_a_changed_table_are_said() {
    let target = need_server!();
    let Some(server) = Server::start(&[]) else { return };
    let (source, target) = (server.database("gap"), target.database("target"));
    source.execute(SHOP);
    let job = Job::new(&source.url(), &target.url(), &plan(""));
    job.apply().expect(0);
    source.execute(
        "UPDATE accounts SET balance = 6; ALTER TABLE accounts FORCE; UPDATE accounts SET balance = 7",
    );
    job.run(&["follow", "--until-lag", "0s"]).says("C508").says("accounts").says("--recopy");
    assert_eq!(target.value("SELECT min(balance)::text FROM accounts"), "6");
    server.purge("binlog.000001", "binlog.000002");
    job.run(&["follow", "--until-lag", "0s"]).expect(4).says("G10").says("binlog.000001").says("--recopy");
    // The way on that all of this names.
    job.run(&["apply", "--yes", "--recopy"]).expect(0);
    source.execute("UPDATE accounts SET balance = 8 WHERE id < 10");
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    same_as_postgres(&source, &target, "public", &TABLES);
}

/// F-33: a connection that breaks while the log is tried out is no reason to change anything.
#[test]
fn f_33_a_log_that_could_not_be_tried_out_is_not_in_the_way() {
    const DUMP: &[u8] = b"\x18\0\0\0\x12";
    let target = need_server!();
    let Some(server) = Server::start(&[]) else { return };
    let (source, target) = (server.database("tried"), target.database("target"));
    source.execute(SHOP);
    let proxy = Proxy::before_foreign(server.port);
    proxy.fault(Fault::LoseAnswer { to: DUMP });
    let job = Job::new(&source.through(proxy.port).url(), &target.url(), &plan(""));
    job.run(&["plan"]).expect(69).says("closed the connection");
    assert_eq!(proxy.struck(), 1);
    job.run(&["plan"]).expect(0);
}

/// Events of a log file: kind and bytes.
fn events(log: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut events, mut rest) = (Vec::new(), &log[4..]);
    while let Some(size) = rest.get(9..13) {
        let (event, after) = rest.split_at(u32::from_le_bytes(size.try_into().unwrap()) as usize);
        events.push((event[4], event));
        rest = after;
    }
    events
}

/// Appends the last transaction of a log file once more, as far as a server gets that falls while it
/// writes one: without its end.
pub(super) fn cut_off(file: &Path) {
    /// Of MariaDB, and of MySQL, with its number.
    const GTIDS: [u8; 2] = [162, 33];
    const NUMBER: std::ops::Range<usize> = 36..44;
    const XID: u8 = 16;
    let mut log = fs::read(file).unwrap();
    let bytes = log.clone();
    let all = events(&bytes);
    let last = all.iter().rposition(|(kind, _)| GTIDS.contains(kind)).unwrap();
    for (kind, event) in all[last..].iter().take_while(|(kind, _)| *kind != XID) {
        let mut event = event.to_vec();
        if *kind == GTIDS[1] {
            // The one that is given again.
            let number = u64::from_le_bytes(event[NUMBER].try_into().unwrap()) + 1;
            event[NUMBER].copy_from_slice(&number.to_le_bytes());
        }
        let end = u32::try_from(log.len() + event.len()).unwrap();
        event[13..17].copy_from_slice(&end.to_le_bytes());
        let sum = event.len() - 4;
        let mut crc = flate2::Crc::new();
        crc.update(&event[..sum]);
        event[sum..].copy_from_slice(&crc.sum().to_le_bytes());
        log.extend(event);
    }
    fs::write(file, log).unwrap();
}

/// F-29: what the server was writing when it fell is in its log without an end, and was never
/// committed.
#[test]
fn f_29_a_transaction_that_the_fall_of_the_server_cut_off_is_none() {
    let target = need_server!();
    for mode in ["transactional", "batch"] {
        let Some(server) = Server::start(&["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"]) else {
            return;
        };
        let (source, target) = (server.database("fallen"), target.database("target"));
        source.execute(SHOP);
        let job = Job::new(&source.url(), &target.url(), &plan(&format!("cdc: {{ mode: {mode} }}\n")));
        job.apply().expect(0);
        source.execute("UPDATE accounts SET balance = balance + 1 WHERE id < 100");
        server.crash();
        cut_off(&server.directory.join("data/binlog.000001"));
        source.execute("UPDATE accounts SET balance = balance + 1 WHERE id < 50");
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        same_as_postgres(&source, &target, "public", &TABLES);
        assert_eq!(target.value("SELECT max(balance)::text FROM accounts"), "1002");
    }
}

/// F-29: what the server was writing when it fell may end in the middle of an event, behind which it
/// sends nothing of that file.
#[test]
fn f_29_an_event_that_the_fall_of_the_server_tore_is_none() {
    let target = need_server!();
    let Some(server) = Server::start(&["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"]) else {
        return;
    };
    let (source, target) = (server.database("torn"), target.database("target"));
    source.execute(SHOP);
    let job = Job::new(&source.url(), &target.url(), &plan(""));
    job.apply().expect(0);
    for (file, whole) in [("data/binlog.000001", true), ("data/binlog.000002", false)] {
        source.execute("UPDATE accounts SET balance = balance + 1 WHERE id < 100");
        server.crash();
        let path = server.directory.join(file);
        if !whole {
            cut_off(&path);
        }
        let mut log = fs::read(&path).unwrap();
        // The head of an event that has 200 bytes.
        let end = log.len() as u32 + 200;
        log.extend([0, 0, 0, 0, 162]);
        log.extend(1_u32.to_le_bytes().into_iter().chain(200_u32.to_le_bytes()).chain(end.to_le_bytes()));
        log.extend([0; 40]);
        fs::write(&path, log).unwrap();
        source.execute("UPDATE accounts SET balance = balance + 1 WHERE id < 50");
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        same_as_postgres(&source, &target, "public", &TABLES);
    }
    assert_eq!(target.value("SELECT max(balance)::text FROM accounts"), "1004");
    // With transactions behind it that were committed, it is no end.
    source.execute("UPDATE accounts SET balance = 1 WHERE id = 1");
    server.crash();
    let path = server.directory.join("data/binlog.000003");
    let log = fs::read(&path).unwrap();
    let (_, last) = events(&log).into_iter().rfind(|(kind, _)| *kind == 162).unwrap();
    let at = last.as_ptr() as usize - log.as_ptr() as usize;
    let mut torn = log.clone();
    torn[at + 9..at + 13].copy_from_slice(&0x00FF_FFFF_u32.to_le_bytes());
    fs::write(&path, torn).unwrap();
    job.run(&["follow", "--until-lag", "0s"]).expect(4).says("G10").says("in the middle of event");
}

/// S-24: a transaction of two phases that touched nothing of ours may end in a later run.
#[test]
fn s_24_a_transaction_that_is_no_concern_may_end_after_a_restart() {
    let target = need_server!();
    // A prepared one is in the way of every plan of its server.
    let Some(server) = Server::start(&[]) else { return };
    let (source, target) = (server.database("phases"), target.database("target"));
    source.execute(SHOP);
    source.execute("CREATE TABLE elsewhere (a int)");
    let job = Job::new(&source.url(), &target.url(), &plan("").replace("{} }", "{}, elsewhere: skip }"));
    job.apply().expect(0);
    let write = |xid: &str| {
        format!("XA START '{xid}'; INSERT INTO elsewhere VALUES (1); XA END '{xid}'; XA PREPARE '{xid}'")
    };
    source.execute(&write("one"));
    source.execute(&write("two"));
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    source.execute("XA COMMIT 'one'; UPDATE accounts SET balance = 8 WHERE id < 10");
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    source.execute("XA ROLLBACK 'two'; UPDATE accounts SET balance = 9 WHERE id < 10");
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    same_as_postgres(&source, &target, "public", &TABLES);
}

pub(super) const FAMILY: &str = "
    CREATE TABLE groups_ (id int PRIMARY KEY, code int NOT NULL, region bigint unsigned NOT NULL, UNIQUE (code, region));
    CREATE TABLE members (id int PRIMARY KEY, group_id int, code int, region bigint unsigned,
        FOREIGN KEY (group_id) REFERENCES groups_ (id) ON DELETE CASCADE ON UPDATE CASCADE,
        FOREIGN KEY (code, region) REFERENCES groups_ (code, region) ON DELETE SET NULL ON UPDATE CASCADE);
    CREATE TABLE letters (id int PRIMARY KEY, member int,
        FOREIGN KEY (member) REFERENCES members (id) ON DELETE CASCADE ON UPDATE SET NULL);
    CREATE TABLE pages (letter int, n int, PRIMARY KEY (letter, n),
        FOREIGN KEY (letter) REFERENCES letters (id) ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE TABLE profiles (group_id int PRIMARY KEY,
        FOREIGN KEY (group_id) REFERENCES groups_ (id) ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE TABLE stamps (id int PRIMARY KEY, profile int,
        FOREIGN KEY (profile) REFERENCES profiles (group_id) ON DELETE SET NULL ON UPDATE CASCADE);
    CREATE TABLE seals (id int PRIMARY KEY, profile int,
        FOREIGN KEY (profile) REFERENCES profiles (group_id) ON DELETE CASCADE ON UPDATE SET NULL);
    CREATE TABLE tree (id int PRIMARY KEY, above int, FOREIGN KEY (above) REFERENCES tree (id) ON DELETE CASCADE);
    INSERT INTO groups_ SELECT seq, seq * 10, seq % 3 FROM seq_1_to_30;
    INSERT INTO members SELECT seq, seq % 30 + 1, (seq % 29 + 1) * 10, (seq % 29 + 1) % 3 FROM seq_1_to_300;
    INSERT INTO letters SELECT seq, seq % 300 + 1 FROM seq_1_to_900;
    INSERT INTO pages SELECT seq % 900 + 1, seq FROM seq_1_to_2700;
    INSERT INTO profiles SELECT seq FROM seq_1_to_30;
    INSERT INTO stamps SELECT seq, seq % 30 + 1 FROM seq_1_to_90;
    INSERT INTO seals SELECT seq, seq % 30 + 1 FROM seq_1_to_90;
    INSERT INTO tree SELECT seq, NULLIF(seq DIV 2, 0) FROM seq_1_to_127;";
pub(super) const FAMILIES: [&str; 8] =
    ["groups_", "letters", "members", "pages", "profiles", "seals", "stamps", "tree"];

/// What foreign keys do at the source without a word in its log, several levels down and around,
/// between statements that the log does tell.
pub(super) const FATES: &[&str] = &[
    "DELETE FROM groups_ WHERE id IN (3, 4)",
    "UPDATE groups_ SET code = code + 1000 WHERE id BETWEEN 6 AND 9",
    "UPDATE groups_ SET region = 77, id = id + 500 WHERE id = 10",
    "BEGIN; INSERT INTO groups_ VALUES (900, 9000, 1); INSERT INTO members VALUES (900, 900, 9000, 1), (901, 900, NULL, 1); \
     INSERT INTO letters VALUES (2000, 900); INSERT INTO pages VALUES (2000, 1), (2000, 2); \
     UPDATE groups_ SET code = 9001 WHERE id = 900; UPDATE members SET id = 905 WHERE id = 900; \
     UPDATE letters SET id = 2001 WHERE id = 2000; DELETE FROM groups_ WHERE id = 900; COMMIT",
    "DELETE FROM tree WHERE id = 2",
    "INSERT INTO tree VALUES (2, 1), (4, 2), (5, 4), (8, 5), (9, 8)",
    "DELETE FROM tree WHERE id IN (5, 3)",
    "SET foreign_key_checks = 0; DELETE FROM members WHERE id = 100; UPDATE letters SET id = 3000 WHERE id = 7",
    "SET foreign_key_checks = 1; INSERT INTO members VALUES (100, 1, NULL, NULL); DELETE FROM members WHERE id = 100",
    "UPDATE letters SET id = 7 WHERE id = 3000",
    "BEGIN; DELETE FROM groups_ WHERE id = 12; ROLLBACK",
    "REPLACE INTO groups_ VALUES (15, 150, 0)",
];

#[test]
fn s_27_cascades_are_refused_or_derived() {
    let (server, maria) = (need_server!(), need_mariadb!());
    for (mode, to) in
        [("batch", "postgres"), ("transactional", "postgres"), ("batch", "sqlite"), ("batch", "mariadb")]
    {
        let source = maria.database("family");
        source.execute(FAMILY);
        let directory = TempDir::new().unwrap();
        let (target, file) = (server.database("family"), File::new(directory.path(), "family.db"));
        let other = maria.database("adopted");
        let url = match to {
            "postgres" => target.url(),
            "sqlite" => file.url(),
            _ => other.url(),
        };
        let plan = |more: &str| {
            // A word of the one engine that is no type of the other.
            let number = if to == "sqlite" { "INTEGER" } else { "bigint" };
            format!(
                "defaults: {{ cdc: true }}\ntables: {{ \"*\": {{}} }}\ncdc: {{ mode: {mode}{more} }}\n\
                 types: [{{ from: bigint unsigned, to: {number} }}]\n"
            )
        };
        Job::new(&source.url(), &url, &plan(""))
            .run(&["plan"])
            .expect(3)
            .says("C504")
            .says("cascades: emulate");
        let job = Job::new(&source.url(), &url, &plan(", cascades: emulate"));
        job.apply().expect(0);
        for fate in FATES {
            source.execute(fate);
        }
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        match to {
            "postgres" => same_as_postgres(&source, &target, "public", &FAMILIES),
            "sqlite" => same_as_sqlite(&source, &file, &FAMILIES),
            _ => {}
        }
        // One by one, each at the head of the log.
        source.execute("DELETE FROM groups_ WHERE id = 20; UPDATE groups_ SET id = 700 WHERE id = 21");
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        job.run(&["verify", "--level", "rows"]).expect(0);
    }
}
