//! Sequences of MariaDB between its servers: made, drawn from, set, also through deaths of the tool.

use crate::support::mariadb::Database;
use crate::support::scenario::{EVERYTHING, Job};
use crate::{need_mariadb, need_mysql, need_server};

const DRAWN: &str = "
    CREATE SEQUENCE `s``1` START WITH 100 INCREMENT BY 5 COMMENT = 'it''s';
    CREATE SEQUENCE down START WITH -1 MINVALUE -9 MAXVALUE -1 INCREMENT BY -1 NOCACHE;
    CREATE SEQUENCE round START WITH 2 MINVALUE 2 MAXVALUE 4 INCREMENT BY 1 CACHE 1 CYCLE;
    CREATE SEQUENCE alone START WITH 7 CACHE 10;
    CREATE TABLE t (id bigint NOT NULL DEFAULT nextval(`s``1`) PRIMARY KEY, v int);
    CREATE TABLE u (id int AUTO_INCREMENT PRIMARY KEY, n bigint DEFAULT nextval(`s``1`), note varchar(50) CHARACTER SET ascii DEFAULT concat('n''', nextval(down)));
    INSERT INTO t (v) VALUES (1), (2); INSERT INTO u (id) VALUES (1);
    SELECT nextval(round); SELECT nextval(round); SELECT nextval(round); SELECT nextval(round)";

const PLAN: &str = "defaults: { cdc: true }\ntables: { \"*\": {} }\ncdc: { cascades: emulate }\n";

/// How sequences are made, but for their database.
fn made(database: &Database) -> Vec<Vec<Option<String>>> {
    let mut all = Vec::new();
    for name in ["s`1", "down", "round", "alone"] {
        let quoted = format!("`{}`", name.replace('`', "``"));
        all.extend(database.rows(&format!(
            "SELECT START_VALUE, MINIMUM_VALUE, MAXIMUM_VALUE, INCREMENT, GREATEST(CACHE_SIZE, 1), CYCLE_OPTION, \
             (SELECT TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{name}') \
             FROM {quoted}"
        )));
    }
    all
}

#[test]
fn s_14_sequences_of_mariadb_arrive_and_count_on() {
    let server = need_mariadb!();
    for rest in ["cutover: { fence: none }\n", "cutover: { fence: none, sequences: { from: max } }\n"] {
        let (source, target) = (server.database("drawn"), server.database("target"));
        source.execute(DRAWN);
        let job = Job::new(&source.url(), &target.url(), &format!("{PLAN}{rest}"));
        job.run(&["plan", "--all"]).expect(0).says("4 sequences").says("\"s`1\": shared by t.id, u.n");
        job.apply().expect(0);
        assert_eq!(made(&source), made(&target));
        source.execute("INSERT INTO t (v) VALUES (3); INSERT INTO u VALUES (); SELECT nextval(alone); SELECT nextval(round)");
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        job.run(&["verify", "--level", "rows"]).expect(0);
        job.run(&["cutover", "--yes"]).expect(0);
        let all = "SELECT GROUP_CONCAT(id ORDER BY id) FROM t UNION ALL SELECT GROUP_CONCAT(id, ' ', n, ' ', note ORDER BY id) FROM u";
        assert_eq!(source.rows(all), target.rows(all));
        let drawn =
            target.value("SELECT MAX(n) FROM (SELECT id AS n FROM t UNION ALL SELECT n FROM u) AS drawn");
        let drawn: i64 = drawn.parse().unwrap();
        target.execute("INSERT INTO t (v) VALUES (4); INSERT INTO u VALUES ()");
        let next: i64 = target.value("SELECT id FROM t WHERE v = 4").parse().unwrap();
        assert!(next > drawn && next % 5 == 0, "{next} after {drawn}");
        assert_eq!(target.value("SELECT GROUP_CONCAT(note ORDER BY id) FROM u"), "n'-1,n'-2,n'-3");
        // The source has handed out a whole cache.
        assert_eq!(target.value("SELECT nextval(alone)"), "17");
        assert_eq!(target.value("SELECT nextval(round)"), "4");
        assert_eq!(target.value("SELECT nextval(round)"), "2");
        job.run(&["cutover", "--yes"]).expect(0).says("already");
    }
}

/// What the source has used up is used up on the target, and none turns back.
#[test]
fn f_73_sequences_of_mariadb_at_their_ends() {
    let server = need_mariadb!();
    let (source, target) = (server.database("ends"), server.database("target"));
    source.execute(
        "CREATE TABLE t (id int); CREATE SEQUENCE spent MINVALUE 1 MAXVALUE 2 NOCACHE; SELECT nextval(spent); SELECT nextval(spent);
         CREATE SEQUENCE down MINVALUE -2 MAXVALUE -1 START WITH -1 INCREMENT BY -1 NOCACHE; SELECT nextval(down); SELECT nextval(down);
         CREATE SEQUENCE near MINVALUE 1 MAXVALUE 100 NOCACHE; SELECT setval(near, 98)",
    );
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.apply().expect(0);
    for spent in ["spent", "down"] {
        assert!(target.try_execute(&format!("SELECT nextval({spent})")).is_err(), "{spent} was used up");
    }
    assert_eq!(target.value("SELECT nextval(near)"), "99");
    job.has_nothing_to_do();
}

#[test]
fn f_12_killed_between_a_sequence_and_its_mark() {
    let server = need_mariadb!();
    let source = server.database("drawn");
    source.execute(DRAWN);
    for skipped in 0..6 {
        for point in ["ddl::sent_no_reply", "sequence::set"] {
            let target = server.database("target");
            let job = Job::new(&source.url(), &target.url(), "tables: { \"*\": {} }\n");
            job.plan();
            let digest = job.digest();
            let told = format!("{point}={skipped}*off->return");
            let died =
                job.towpath.clone().env("FAILPOINTS", &told).run(&["apply", "p.json", "--expect", &digest]);
            assert!(
                died.code.is_none() || point == "sequence::set" && skipped > 0,
                "{told} was not reached: {}",
                died.stderr
            );
            job.run(&["apply", "p.json", "--expect", &digest]).expect(0);
            job.is_done();
            assert_eq!(made(&source), made(&target));
            target.execute("INSERT INTO t (v) VALUES (4); INSERT INTO u VALUES ()");
        }
    }
}

/// Servers without sequences get the rows, and what draws from them is told; another engine gets counters.
#[test]
fn s_14_sequences_of_mariadb_have_no_place_elsewhere() {
    let (server, mysql, other) = (need_mariadb!(), need_mysql!(), need_server!());
    let (source, target, postgres) =
        (server.database("drawn"), mysql.database("target"), other.database("target"));
    source.execute(DRAWN);
    let job = Job::new(&source.url(), &target.url(), "tables: { \"*\": {} }\n");
    job.run(&["plan", "--all"])
        .expect(0)
        .says("default nextval(`")
        .says("its default draws from a sequence, and the target has none")
        .says(&format!("sequence {}.down", source.name))
        .says(&format!("sequence {}.\"s`1\"", source.name));
    job.move_all();
    assert_eq!(target.value("SELECT COUNT(*) FROM t"), "2");
    let job = Job::new(&source.url(), &postgres.url(), "tables: { \"*\": {} }\n");
    job.run(&["plan"]).expect(0).says("it no longer counts up by itself").says("n ");
    job.move_all();
    assert_eq!(postgres.value("INSERT INTO u (n) VALUES (NULL) RETURNING id::text"), "2");
}
