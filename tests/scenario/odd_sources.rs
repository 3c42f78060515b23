//! What only some servers of the MySQL family hold or say: names by case and character set, old types,
//! labels that no catalog prints, defaults that another server prints in its own way.

use crate::support::scenario::{EVERYTHING, Job};
use crate::{need_mariadb, need_mysql, need_server};

const FOLLOWED: &str = "defaults: { cdc: true }\n";

/// S-22: two tables whose names differ by case are two, also where one of them is followed only.
#[test]
fn s_22_truncate_of_the_table_that_is_meant() {
    let (server, maria) = (need_server!(), need_mariadb!());
    for mode in ["batch", "transactional"] {
        let source = maria.database("cases");
        source.execute(
            "CREATE TABLE `Case` (id int PRIMARY KEY, v int); CREATE TABLE `case` (id int PRIMARY KEY, v int); CREATE TABLE t (id int PRIMARY KEY);
             CREATE TABLE T (id int PRIMARY KEY); INSERT INTO `case` VALUES (1, 1); INSERT INTO `Case` VALUES (2, 2); INSERT INTO t VALUES (1); INSERT INTO T VALUES (2)",
        );
        let (target, family) = (server.database("target"), maria.database("target"));
        let rest =
            format!("{FOLLOWED}tables: {{ case: {{}}, Case: {{}}, t: {{}} }}\ncdc: {{ mode: {mode} }}\n");
        let jobs = [&target.url(), &family.url()].map(|url| Job::new(&source.url(), url, &rest));
        for job in &jobs {
            job.apply().expect(0);
        }
        source.execute("TRUNCATE `case`; TRUNCATE T; ALTER TABLE T ADD COLUMN v int; DROP TABLE T; CREATE TABLE T (a int)");
        for job in &jobs {
            job.run(&["follow", "--until-lag", "0s"]).expect(0);
            job.run(&["verify", "--level", "rows"]).expect(0);
        }
        assert_eq!(target.value("SELECT (SELECT count(*) FROM \"Case\") || ' ' || (SELECT count(*) FROM \"case\") || ' ' || (SELECT count(*) FROM t)"), "1 0 1");
        assert_eq!(family.value("SELECT CONCAT((SELECT COUNT(*) FROM `Case`), (SELECT COUNT(*) FROM `case`), (SELECT COUNT(*) FROM t))"), "101");
    }
}

/// S-22: a name is in the character set of the client that wrote it.
#[test]
fn s_22_names_of_clients_that_do_not_speak_utf8() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (maria.database("names"), server.database("target"));
    source.execute("CREATE TABLE `Ä` (id int PRIMARY KEY); INSERT INTO `Ä` VALUES (1), (2); CREATE TABLE plain (id int PRIMARY KEY)");
    let job = Job::new(&source.url(), &target.url(), &format!("{FOLLOWED}{EVERYTHING}"));
    job.apply().expect(0);
    // What these bytes are in latin1, as the server converts them.
    source.execute("SET @t = CONCAT('TRUNCATE `', 'Ä', '`'); SET NAMES latin1; PREPARE s FROM @t; EXECUTE s; INSERT INTO plain VALUES (1)");
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    job.run(&["verify", "--level", "rows"]).expect(0);
    assert_eq!(target.value("SELECT count(*)::text FROM \"Ä\""), "0");
    // Of a character set that is not read here, it is in doubt, and stops.
    source.execute("SET @t = CONCAT('TRUNCATE `', 'Ä', '`'); SET NAMES cp850; PREPARE s FROM @t; EXECUTE s");
    job.run(&["follow", "--until-lag", "0s"]).expect(4).says("C508").says("Ä");
}

/// M-17: years of two digits are what the server shows, by the copy and by the stream.
#[test]
fn m_17_years_of_two_digits() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let source = maria.database("years");
    source.execute("CREATE TABLE t (id int PRIMARY KEY, y year(2)); INSERT INTO t VALUES (1, 99), (2, 1), (3, 70), (4, NULL); CREATE TABLE k (y year(2) PRIMARY KEY, v int); INSERT INTO k VALUES (99, 1), (5, 1)");
    let (target, family) = (server.database("target"), maria.database("target"));
    let jobs = [&target.url(), &family.url()]
        .map(|url| Job::new(&source.url(), url, &format!("{FOLLOWED}{EVERYTHING}")));
    for job in &jobs {
        job.apply().expect(0);
        job.run(&["verify", "--level", "rows"]).expect(0);
    }
    source.execute("INSERT INTO t VALUES (5, 98), (6, 3); UPDATE t SET y = 69 WHERE id = 1; UPDATE k SET v = 2 WHERE y = 99; DELETE FROM k WHERE y = 5");
    for job in &jobs {
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        job.run(&["verify", "--level", "rows"]).expect(0);
        job.has_nothing_to_do();
    }
    assert_eq!(
        target.value("SELECT string_agg(id || ' ' || coalesce(y::text, '-'), ', ' ORDER BY id) FROM t"),
        "1 69, 2 1, 3 70, 4 -, 5 98, 6 3"
    );
    assert_eq!(family.value("SELECT COLUMN_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'k' AND COLUMN_NAME = 'y'"), "year(2)");
}

/// M-11, M-12: a label that the catalog prints with a question mark is never written as one.
#[test]
fn m_11_labels_beyond_the_basic_plane_stop_the_stream() {
    let (server, maria) = (need_server!(), need_mariadb!());
    for (column, value) in
        [("enum('😀','b','?') CHARACTER SET utf8mb4", "😀"), ("set('b','😀') CHARACTER SET utf8mb4", "b,😀")]
    {
        let (source, target) = (maria.database("labels"), server.database("target"));
        source.execute(&format!("SET NAMES utf8mb4; CREATE TABLE t (id int PRIMARY KEY, e {column}); INSERT INTO t VALUES (1, 'b')"));
        let job = Job::new(&source.url(), &target.url(), &format!("{FOLLOWED}{EVERYTHING}"));
        job.run(&["plan", "--all"]).expect(0).says("label with a question mark");
        job.apply().expect(0);
        source.execute(&format!(
            "SET NAMES utf8mb4; INSERT INTO t VALUES (2, 'b'); INSERT INTO t VALUES (3, '{value}')"
        ));
        let stopped = job.run(&["follow", "--until-lag", "0s"]);
        assert_ne!(stopped.code, Some(0), "{stopped}");
        stopped.says("question mark").says("t");
        assert_eq!(target.value("SELECT count(*)::text FROM t"), "2");
    }
}

/// U-901: what the catalog does not print is listed by the column or check that has it.
#[test]
fn u_901_texts_that_the_catalog_does_not_print_are_listed() {
    let server = need_mariadb!();
    let (source, target) = (server.database("texts"), server.database("target"));
    source.execute(
        "SET NAMES utf8mb4; CREATE TABLE t (id int PRIMARY KEY, e varchar(20) CHARACTER SET utf8mb4 DEFAULT 'plain', g varchar(40) CHARACTER SET utf8mb4 AS (concat(e, '😀')),
           d varchar(20) CHARACTER SET utf8mb4 DEFAULT '😀', ok varchar(20) DEFAULT 'ж', CONSTRAINT faces CHECK (e <> '😁'));
         CREATE TABLE plain (id int PRIMARY KEY, v varchar(9) DEFAULT 'x', CHECK (v <> 'y'))",
    );
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    let said = job.run(&["plan", "--all"]);
    let said = said.says("text with characters that the catalog does not print").says("with a question mark");
    for name in ["t.g", "t.faces", "t.d"] {
        assert!(said.both().contains(&format!("{}.\"{name}\"", source.name)), "{name}\n{said}");
    }
    for name in ["t.ok", "t.e", "plain."] {
        assert!(!said.both().contains(&format!("{}.\"{name}", source.name)), "{name}\n{said}");
    }
}

/// M-12: a server that is not strict takes more members than a value has.
#[test]
fn m_12_more_than_64_members() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (maria.database("many"), server.database("target"));
    let members: Vec<_> = (0..70).map(|at| format!("'m{}'", at % 64)).collect();
    source.execute(&format!(
        "SET sql_mode = ''; CREATE TABLE t (id int PRIMARY KEY, s set({})); INSERT INTO t VALUES (1, 'm1')",
        members.join(",")
    ));
    let job = Job::new(&source.url(), &target.url(), &format!("{FOLLOWED}{EVERYTHING}"));
    job.apply().expect(0);
    source.execute("INSERT INTO t VALUES (2, ~0), (3, 'm63,m0')");
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    job.run(&["verify", "--level", "rows"]).expect(0);
}

/// G23: what PostgreSQL prints in its own way is still what was planned.
#[test]
fn g_23_moments_and_numbers_that_are_printed_otherwise() {
    let server = need_server!();
    for maria in [Some(need_mariadb!()), Some(need_mysql!())].into_iter().flatten() {
        let (source, target) = (maria.database("printed"), server.database("target"));
        source.execute(
            "CREATE TABLE t (id int PRIMARY KEY, a timestamp NULL DEFAULT '2020-01-01 00:00:00', b datetime(3) DEFAULT '2020-01-01', c datetime(6) DEFAULT '2020-01-01 00:00:00.5',
               d time(3) DEFAULT '10:00:00.5', e time(6) DEFAULT '10:00:00', f double DEFAULT 1e15, g double DEFAULT 1.7976931348623157e308, h float DEFAULT 1e30, i double DEFAULT 1e300, w varchar(9) DEFAULT '007',
               CHECK (b >= '2020-01-01'), CHECK (f > 1e10), CHECK (f >= -1.5e-5));
             INSERT INTO t (id) VALUES (1)",
        );
        let job = Job::new(&source.url(), &target.url(), &format!("{FOLLOWED}{EVERYTHING}"));
        job.apply().expect(0);
        job.has_nothing_to_do();
        source.execute("INSERT INTO t (id) VALUES (2)");
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        job.run(&["verify", "--level", "rows"]).expect(0);
        target.execute("INSERT INTO t (id) VALUES (3)");
        assert_eq!(target.value("SELECT count(DISTINCT (a, b, c, d, e, f, g, h, i))::text FROM t"), "1");
        // A text that looks like a number is none.
        target.execute("ALTER TABLE t ALTER w SET DEFAULT '7'");
        job.run(&["plan"]).expect(3).says("E203").says("007");
    }
}

/// S-15: the counter of a table with a name as long as names are has a name of its own.
#[test]
fn s_15_counters_of_tables_with_long_names() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (maria.database("long"), server.database("target"));
    let (one, two) = ("x".repeat(63), format!("{}y", "x".repeat(62)));
    for name in [&one, &two] {
        source.execute(&format!(
            "CREATE TABLE {name} (id int AUTO_INCREMENT PRIMARY KEY); INSERT INTO {name} VALUES (7)"
        ));
    }
    Job::new(&source.url(), &target.url(), EVERYTHING).move_all();
    assert_eq!(target.value(&format!("INSERT INTO {two} DEFAULT VALUES RETURNING id::text")), "8");
}
