//! Labels of MySQL and MariaDB where another type, or null, is asked for: copied, followed, compared; and
//! the question what they hold, over a table that two sessions share.

use crate::support::mariadb::Server;
use crate::support::scenario::{EVERYTHING, Job};
use crate::{need_mariadb, need_mysql, need_server};

const WRONG: &str = "
    SET sql_mode = '';
    CREATE TABLE t (id int PRIMARY KEY, e enum('b','a') NOT NULL DEFAULT 'a', n enum('x','0') CHARACTER SET utf16, f enum('f',''));
    INSERT INTO t VALUES (1, 'nosuch', 'x', 'f'), (2, 'a', 'nosuch', NULL), (3, 'b', NULL, ''), (4, '', '', 'f')";

const WRITTEN: &str = "
    SET sql_mode = ''; INSERT INTO t VALUES (5, 'nosuch', 'nosuch', ''), (6, 'a', '0', 'f');
    UPDATE t SET e = 'nosuch', n = 'nosuch' WHERE id = 3; UPDATE t SET e = 'b', n = 'x' WHERE id = 1; DELETE FROM t WHERE id = 4";

const NULLS: &str = "e: { error_value: null }, n: { error_value: null }";

fn plan(columns: &str, more: &str) -> String {
    format!("defaults: {{ cdc: true }}\ntables: {{ t: {{ columns: {{ {columns} }} }} }}\n{more}")
}

/// The error value blocks with its number, and becomes null where the plan says so.
fn error_values(source: &Server) {
    let target = need_server!();
    for mode in ["transactional", "batch"] {
        let (source, target) = (source.database("labels"), target.database("target"));
        source.execute(WRONG);
        let mode = format!("cdc: {{ mode: {mode} }}\n");
        let job = Job::new(&source.url(), &target.url(), &plan("e: { error_value: null }", &mode));
        job.run(&["plan"]).expect(3).says("V210").says("t.n").says("2 rows").says("error_value: null");
        job.write_plan(&plan("id: { error_value: null }", &mode));
        job.run(&["plan"]).expect(65).says("E125").says("is no enum");
        job.write_plan(&plan("f: { error_value: null }", &mode));
        job.run(&["plan"]).expect(65).says("E125").says("empty label");
        job.write_plan(&plan(NULLS, &mode));
        job.run(&["plan", "--all"]).expect(0).says("V210 note");
        job.apply().expect(0);
        job.run(&["verify", "--level", "rows"]).expect(0);
        let rows = "SELECT string_agg(concat_ws(' ', id, coalesce(e, '-'), coalesce(n, '-'), coalesce(f, '-')), ', ' ORDER BY id) FROM t";
        assert_eq!(target.value(rows), "1 - x f, 2 a - -, 3 b - , 4 - - f");
        source.execute(WRITTEN);
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        job.run(&["verify", "--level", "rows"]).expect(0);
        assert_eq!(target.value(rows), "1 b x f, 2 a - -, 3 - - , 5 - - , 6 a 0 f");
        // What is not asked for stops, as ever.
        source.execute("SET sql_mode = ''; UPDATE t SET f = 'nosuch' WHERE id = 1");
        job.run(&["follow", "--until-lag", "0s"]).says("index 0");
    }
}

#[test]
fn m_11_error_values_become_null_where_the_plan_says_so() {
    error_values(need_mariadb!());
}

#[test]
fn m_11_error_values_of_mysql_become_null_where_the_plan_says_so() {
    error_values(need_mysql!());
}

/// Between servers of the family such a value cannot be written by a strict session, which is said before
/// anything is copied.
#[test]
fn m_11_error_values_block_between_servers_of_the_family() {
    let server = need_mariadb!();
    let (source, target) = (server.database("labels"), server.database("target"));
    source.execute(WRONG);
    source.execute(
        "SET sql_mode = 'ALLOW_INVALID_DATES'; CREATE TABLE days (id int PRIMARY KEY, d date, m datetime, z date);
         INSERT INTO days VALUES (1, '2024-02-30', '2023-02-29', '0000-00-31'), (2, '2024-02-29', '2024-04-31', '2024-02-00'), (3, NULL, NULL, NULL)",
    );
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    let days = "days that their month does not have";
    let said = job.run(&["plan"]).expect(3).says("V210").says("t.e").says("t.n");
    let said = said.says(&format!("days.d  {days}: 1 row")).says(&format!("days.m  {days}: 2 rows"));
    assert!(!said.both().contains("days.z"), "{said}");
    job.write_plan(&plan(NULLS, ""));
    job.apply().expect(0);
    source.execute(WRITTEN);
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    job.run(&["verify", "--level", "rows"]).expect(0);
    let rows = "SELECT GROUP_CONCAT(CONCAT_WS(' ', id, COALESCE(e, '-'), COALESCE(CONVERT(n USING utf8mb4), '-'), COALESCE(f, '-')) ORDER BY id) FROM t";
    assert_eq!(target.value(rows), "1 b x f,2 a - -,3 - - ,5 - - ,6 a 0 f");
}

/// A SET becomes an array where the plan says so.
fn sets(source: &Server) {
    let target = need_server!();
    for mode in ["transactional", "batch"] {
        let (source, target) = (source.database("sets"), target.database("target"));
        source.execute(
            r#"CREATE TABLE t (id int PRIMARY KEY, s set('b','a "quoted"','{x}y','NULL','back\\slash') NOT NULL DEFAULT 'b,NULL',
                 l set('a','ж') CHARACTER SET utf8mb4, p set('p','q'), odd set('','z'));
               INSERT INTO t VALUES (1, '', 'ж', 'q,p', 'z'), (2, 'b,a "quoted",NULL,back\\slash', NULL, '', ''), (3, 'NULL', 'a,ж', NULL, NULL)"#,
        );
        let mode = format!("cdc: {{ mode: {mode} }}\n");
        let job = Job::new(&source.url(), &target.url(), &plan("odd: { type: \"text[]\" }", &mode));
        job.run(&["plan"]).expect(65).says("t.odd").says("empty");
        // One that looks like an array by its first letter cannot be told from one.
        source.execute("ALTER TABLE t MODIFY s set('b','a \"quoted\"','x}y','NULL','back\\\\slash') NOT NULL DEFAULT 'b,NULL'");
        job.write_plan(&plan("s: { type: \"text[]\" }, l: { type: \"text[]\" }", &mode));
        job.apply().expect(0);
        job.run(&["verify", "--level", "rows"]).expect(0);
        source.execute(
            r#"INSERT INTO t VALUES (4, 'b,x}y', 'a', 'p', NULL); UPDATE t SET s = 'back\\slash', l = '' WHERE id = 1;
               UPDATE t SET l = 'a' WHERE id = 2; DELETE FROM t WHERE id = 3; INSERT INTO t (id) VALUES (5)"#,
        );
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        job.run(&["verify", "--level", "rows"]).expect(0);
        let rows = "SELECT string_agg(concat_ws(' ', id, s, l, p), ' | ' ORDER BY id) FROM t";
        assert_eq!(
            target.value(rows),
            r#"1 {"back\\slash"} {} p,q | 2 {b,"a \"quoted\"","NULL","back\\slash"} {a}  | 4 {b,"x}y"} {a} p | 5 {b,"NULL"}"#
        );
        assert_eq!(target.value("INSERT INTO t (id) VALUES (9) RETURNING s::text"), r#"{b,"NULL"}"#);
        // What differs is seen.
        target.execute("UPDATE t SET s = '{b}' WHERE id = 4");
        job.run(&["verify", "--level", "rows"]).expect(7);
        job.run(&["verify", "--repair", "--yes"]).expect(0);
        assert_eq!(target.value("SELECT s::text FROM t WHERE id = 4"), r#"{b,"x}y"}"#);
    }
}

/// Labels with what servers print escaped.
const ESCAPED: &str = r#"CREATE TABLE t (id int PRIMARY KEY, e enum('x\\y','p\nq','it''s','r\rs','\\') NOT NULL DEFAULT 'x\\y',
    s set('x\\y','p\nq','it''s','\\n') DEFAULT 'x\\y,it''s', `b\\n` enum('\\') DEFAULT '\\');
    INSERT INTO t VALUES (1, 'x\\y', 'x\\y,\\n', '\\'), (2, 'p\nq', 'p\nq', NULL), (3, 'r\rs', '', NULL); INSERT INTO t (id) VALUES (4)"#;

/// The copy, the stream and the definition take such labels for the same.
fn escaped(source: &Server) {
    let server = need_server!();
    let (from, target, family) =
        (source.database("marks"), server.database("target"), source.database("copy"));
    from.execute(ESCAPED);
    let jobs = [&target.url(), &family.url()].map(|url| Job::new(&from.url(), url, &plan("", "")));
    for job in &jobs {
        job.apply().expect(0);
    }
    from.execute(
        r#"INSERT INTO t VALUES (5, 'it''s', 'it''s', NULL), (6, '\\', 'x\\y,\\n', '\\'); UPDATE t SET e = '\\', s = '\\n' WHERE id = 2;
           INSERT INTO t (id) VALUES (7); DELETE FROM t WHERE id = 3"#,
    );
    for job in &jobs {
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        job.run(&["verify", "--level", "rows"]).expect(0);
        job.has_nothing_to_do();
    }
    target.execute("INSERT INTO t (id) VALUES (9)");
    family.execute("INSERT INTO t (id) VALUES (9)");
    let rows = r#"SELECT string_agg(id || e || ' ' || s, ', ' ORDER BY id) FROM t"#;
    assert_eq!(
        target.value(rows),
        r"1x\y x\y,\n, 2\ \n, 4x\y x\y,it's, 5it's it's, 6\ x\y,\n, 7x\y x\y,it's, 9x\y x\y,it's"
    );
    let kinds = "SELECT GROUP_CONCAT(HEX(COLUMN_TYPE), COALESCE(HEX(COLUMN_DEFAULT), '') ORDER BY 1) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 't'";
    assert_eq!(from.value(kinds), family.value(kinds));
    let values = "SELECT GROUP_CONCAT(HEX(e), HEX(s) ORDER BY id) FROM t WHERE id ";
    assert_eq!(from.value(&format!("{values} < 9")), family.value(&format!("{values} < 9")));
    assert_eq!(family.value(&format!("{values} = 9")), from.value(&format!("{values} = 7")));
}

#[test]
fn m_11_m_12_labels_with_backslashes_and_ends_of_lines() {
    escaped(need_mariadb!());
}

#[test]
fn m_11_m_12_labels_of_mysql_with_backslashes_and_ends_of_lines() {
    escaped(need_mysql!());
}

#[test]
fn m_12_sets_become_arrays_where_the_plan_says_so() {
    sets(need_mariadb!());
}

#[test]
fn m_12_sets_of_mysql_become_arrays_where_the_plan_says_so() {
    sets(need_mysql!());
}

/// Rows of which a large table has few that cannot be carried, wherever they lie.
const LARGE: &str = "
    SET sql_mode = 'ALLOW_INVALID_DATES';
    CREATE TABLE t (id int PRIMARY KEY, body varchar(1100), wide varchar(20) CHARACTER SET utf16, d date, m datetime(6), s timestamp NULL, clock time(6), e enum('a','b'));
    INSERT INTO t WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 399),
      m (m) AS (SELECT 0 UNION ALL SELECT m + 1 FROM m WHERE m < 99)
      SELECT n * 100 + m, REPEAT('x', 1000), 'wide Ā', DATE'2024-01-01' + INTERVAL n DAY, '2024-02-29 23:59:59.999999', '2024-03-31', '23:59:59.999999', 'a' FROM n, m;
    UPDATE t SET body = CONCAT('a', CHAR(0)), d = '2024-02-31', m = '0000-00-00', clock = '24:00:00' WHERE id IN (1, 20000, 39999);
    UPDATE t SET wide = CONCAT(CHAR(0 USING utf16), 'x'), d = '2023-02-29', s = 0, clock = '-00:00:00.000001' WHERE id IN (2, 39998);
    UPDATE t SET d = '2024-11-31', m = '2000-00-10' WHERE id IN (3, 30000); UPDATE t SET d = '2100-02-29' WHERE id = 39990;
    UPDATE t SET body = NULL, wide = NULL, d = NULL, m = NULL, s = NULL, clock = NULL, e = NULL WHERE id = 5;
    ANALYZE TABLE t";

/// What a plan says is the number of all such rows.
fn counts_all(source: &Server) {
    let target = need_server!();
    let (source, target) = (source.database("large"), target.database("target"));
    source.execute(LARGE);
    for (readers, filter, (nul, date)) in
        [(1, "", (3, 8)), (4, "", (3, 8)), (4, "where: \"id < 20001\"", (2, 4))]
    {
        let rest = format!("tables: {{ t: {{ {filter} }} }}\nlimits: {{ readers: {readers} }}\n");
        let job = Job::new(&source.url(), &target.url(), &rest);
        job.run(&["plan", "--all"])
            .expect(3)
            .says(&format!("! body            text with NUL bytes: {nul} rows"))
            .says(&format!("! d               zero or impossible dates: {date} rows"));
    }
}

#[test]
fn h_v_202_rows_are_counted_in_all_of_a_large_table() {
    counts_all(need_mariadb!());
}

#[test]
fn h_v_202_rows_are_counted_in_all_of_a_large_table_of_mysql() {
    counts_all(need_mysql!());
}

/// Two sessions look at a large table, each at its own part, and one at a small one.
#[test]
fn two_sessions_share_a_large_table() {
    let target = need_server!();
    let Some(server) = Server::start(&["--general-log=ON", "--log-output=TABLE"]) else { return };
    let (source, target) = (server.database("large"), target.database("target"));
    source.execute(
        &LARGE
            .replace("CREATE TABLE t", "CREATE TABLE small (id int PRIMARY KEY, body text); CREATE TABLE t"),
    );
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.run(&["plan"]).expect(3);
    let looks = |table: &str| {
        let look = format!(
            "argument LIKE 'SELECT CO%FROM `large%`.`{table}`%' AND argument NOT LIKE '%general_log%'"
        );
        source.value(&format!(
            "SELECT CONCAT(COUNT(*), ' ', COUNT(DISTINCT thread_id)) FROM mysql.general_log WHERE {look}"
        ))
    };
    assert_eq!(looks("t"), "2 2");
    assert_eq!(looks("small").split(' ').next_back(), Some("1"));
}
