//! A MySQL source that is written to all the while: copied, followed through deaths of the tool and
//! of the server, compared, handed over.

use tempfile::TempDir;

use super::mariadb_follow::{
    Clients, FAMILIES, FAMILY, FATES, SHOP, TABLES, copies_and_follows, cut_off, plan,
};
use crate::support::mariadb::{Server, same_as_postgres, same_as_sqlite};
use crate::support::mysql;
use crate::support::scenario::Job;
use crate::support::sqlite::File;
use crate::{need_mysql, need_server};

const DURABLE: [&str; 2] = ["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"];

#[test]
fn mysql_to_postgres_followed_through_deaths_and_cut_over() {
    let target = need_server!();
    let Some(server) = mysql::start(&DURABLE) else { return };
    for (mode, fence) in [("transactional", "none"), ("batch", "tables")] {
        let (source, target) = (server.database("shop"), target.database("target"));
        source.execute_told(SHOP);
        if mode == "batch" {
            server.admin("SET GLOBAL binlog_transaction_compression = ON");
        }
        let more =
            format!("cdc: {{ mode: {mode} }}\ncutover: {{ fence: {fence}, sequences: {{ margin: 10 }} }}\n");
        let job = Job::new(&source.url(), &target.url(), &plan(&more));
        job.run(&["plan", "--all"]).expect(0);
        let clients = Clients::start(&source, 3);
        copies_and_follows(&job, &server);
        job.run(&["status"]).expect(0).says("ledger");
        job.run(&["verify", "--level", "rows"]).expect(0);
        if fence == "none" {
            // S604: whoever should have stopped has not.
            job.run(&["cutover", "--yes"]).says("S604");
            assert!(clients.stop() > 200, "too little was written");
            job.run(&["cutover", "--yes"]).expect(0);
        } else {
            job.run(&["cutover", "--yes"]).expect(0);
            let refused = source.try_execute("INSERT INTO events VALUES ('late', 1, NULL)");
            assert!(refused.unwrap_err().contains("has moved"));
            clients.stop();
        }
        same_as_postgres(&source, &target, "public", &TABLES);
        let largest: i64 = source.value("SELECT MAX(id) FROM ledger").parse().unwrap();
        let added =
            target.value("INSERT INTO ledger (source, target, amount) VALUES (1, 2, 3) RETURNING id::text");
        assert!(added.parse::<i64>().unwrap() > largest, "{added} after {largest}");
        job.run(&["cutover", "--yes"]).expect(0).says("already");
    }
}

/// F-29: what the server was writing when it fell is no transaction, and its GTID is given again.
#[test]
fn f_29_a_transaction_of_mysql_that_was_cut_off_is_none() {
    let target = need_server!();
    let Some(server) = mysql::start(&DURABLE) else { return };
    let (source, target) = (server.database("fallen"), target.database("target"));
    source.execute_told(SHOP);
    let job = Job::new(&source.url(), &target.url(), &plan(""));
    job.apply().expect(0);
    source.execute("UPDATE accounts SET balance = balance + 1 WHERE id < 100");
    server.crash();
    cut_off(&server.directory.join("data/binlog.000001"));
    source.execute("UPDATE accounts SET balance = balance + 1 WHERE id < 50");
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    same_as_postgres(&source, &target, "public", &TABLES);
    assert_eq!(target.value("SELECT max(balance)::text FROM accounts"), "1002");
}

/// What foreign keys did arrives once, whether the log tells it (9.6 and newer) or it is derived.
fn family(server: &Server, logged: bool, more: &str, to: &str) {
    let Some(postgres) = crate::support::postgres::server() else { return };
    let source = server.database("family");
    source.execute_told(FAMILY);
    let directory = TempDir::new().unwrap();
    let (target, file) = (postgres.database("family"), File::new(directory.path(), "family.db"));
    let other = server.database("adopted");
    let url = match to {
        "postgres" => target.url(),
        "sqlite" => file.url(),
        _ => other.url(),
    };
    // A word of the one engine that is no type of the other.
    let number = if to == "sqlite" { "INTEGER" } else { "bigint" };
    let plan = |more: &str| {
        format!(
            "defaults: {{ cdc: true }}\ntables: {{ \"*\": {{}} }}\ncdc: {{ {more} }}\n\
             types: [{{ from: bigint unsigned, to: {number} }}]\n"
        )
    };
    if !logged {
        let refused = Job::new(&source.url(), &url, &plan("mode: batch")).run(&["plan"]).expect(3);
        refused.says("C504").says("cascades: emulate");
    }
    let job = Job::new(&source.url(), &url, &plan(more));
    job.apply().expect(0);
    // Where it does so itself the server goes to no more than 30 tables, one met again counting again.
    let far = |fate: &&&str| !(logged && fate.contains("tree"));
    FATES.iter().filter(far).for_each(|fate| source.execute(fate));
    source.execute("DELETE FROM tree WHERE id = 62");
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

#[test]
fn s_27_cascades_that_mysql_logs_arrive_once() {
    let server = need_mysql!();
    family(server, true, "mode: batch", "postgres");
    family(server, true, "mode: transactional, cascades: emulate", "sqlite");
    family(server, true, "mode: batch", "mysql");
}

/// The same log may hold both: a server that was renewed, or told to do it the other way.
#[test]
fn s_27_cascades_that_mysql_keeps_to_itself_are_derived_or_refused() {
    let postgres = need_server!();
    let Some(server) = mysql::start(&DURABLE) else { return };
    let (source, target) = (server.database("both"), postgres.database("both"));
    let plan = |more: &str| {
        format!("defaults: {{ cdc: true }}\ntables: {{ \"*\": {{}} }}\ncdc: {{ mode: batch{more} }}\n")
    };
    source.execute(
        "CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE children (id int PRIMARY KEY, parent int, \
         FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE ON UPDATE CASCADE); \
         INSERT INTO parents VALUES (1), (2), (3), (4), (5); INSERT INTO children SELECT id, id FROM parents",
    );
    let unaware = Job::new(&source.url(), &target.url(), &plan(""));
    unaware.apply().expect(0);
    source.execute("DELETE FROM parents WHERE id = 1");
    mysql::restart(&server, "innodb_native_foreign_keys = ON");
    family(&server, false, "mode: batch, cascades: emulate", "postgres");
    family(&server, false, "mode: transactional, cascades: emulate", "mysql");
    let aware = postgres.database("aware");
    let derived = Job::new(&source.url(), &aware.url(), &plan(", cascades: emulate"));
    derived.apply().expect(0);
    source.execute("DELETE FROM parents WHERE id = 2; UPDATE parents SET id = 30 WHERE id = 3");
    mysql::restart(&server, "innodb_native_foreign_keys = OFF");
    source.execute("DELETE FROM parents WHERE id = 30; UPDATE parents SET id = 40 WHERE id = 4");
    derived.run(&["follow", "--until-lag", "0s"]).expect(0);
    same_as_postgres(&source, &aware, "public", &["parents", "children"]);
    unaware.run(&["follow", "--until-lag", "0s"]).says("C504").says("parents").says("--recopy");
    let left = "SELECT string_agg(parent::text, ',' ORDER BY parent) FROM children";
    assert_eq!(target.value(left), "2,3,4,5", "all before it is there, and once");
}
