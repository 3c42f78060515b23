//! MariaDB and MySQL among themselves: what no other engine has arrives, and what does not is listed.

use crate::support::mariadb::{Database, Server};
use crate::support::mysql;
use crate::support::scenario::{EVERYTHING, Job};
use crate::{need_mariadb, need_mysql};

/// Columns that an update sets to the present moment, with moments that are long past.
const STAMPED: &str = "
    CREATE TABLE parents (id int PRIMARY KEY, v int, plain timestamp NOT NULL,
        seen timestamp(6) NOT NULL DEFAULT current_timestamp(6) ON UPDATE current_timestamp(6),
        changed datetime(3) NULL ON UPDATE current_timestamp(3));
    CREATE TABLE children (id int PRIMARY KEY, parent int, open timestamp NOT NULL,
        seen timestamp NOT NULL DEFAULT '2001-01-01 00:00:00' ON UPDATE current_timestamp(),
        FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE SET NULL ON UPDATE CASCADE);
    INSERT INTO parents VALUES (1, 1, '2001-02-03', '2001-01-01 00:00:00.5', '2001-01-01'), (2, 2, '2001-02-03', '2001-01-01', NULL),
        (3, 3, '2001-02-03', '2001-01-01', NULL), (4, 4, '2001-02-03', '2001-01-01', NULL), (5, 5, '2001-02-03', '2001-01-01', NULL);
    INSERT INTO children VALUES (1, 1, '2001-02-03', '2001-01-01'), (2, 2, '2001-02-03', '2001-01-01'), (3, 3, '2001-02-03', '2001-01-01');";

/// Some of them keep the moment that was, others set it.
const CHANGES: &str = "
    UPDATE parents SET v = 7, seen = seen, changed = changed WHERE id = 1; UPDATE parents SET v = 8 WHERE id = 4;
    UPDATE parents SET v = v + 1, seen = seen, changed = '2002-02-02' WHERE id IN (2, 3, 5);
    UPDATE parents SET id = 20, seen = seen, changed = changed WHERE id = 2; DELETE FROM parents WHERE id = 3;
    UPDATE children SET open = '2003-01-01', seen = seen WHERE id = 1";

/// What a table's columns, indexes and the table itself are.
fn structure(database: &Database, flavor: &str) -> Vec<Vec<Option<String>>> {
    let hidden = if flavor == "mysql" { "IS_VISIBLE" } else { "IGNORED" };
    let mut all = database.rows(
        "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, COLLATION_NAME, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, COLUMN_COMMENT \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME NOT LIKE 'towpath%' \
         ORDER BY 1, ORDINAL_POSITION",
    );
    all.extend(database.rows(&format!(
        "SELECT TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, COLLATION, SUB_PART, NON_UNIQUE, INDEX_TYPE, \
         INDEX_COMMENT, {hidden} FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() \
         AND TABLE_NAME NOT LIKE 'towpath%' ORDER BY 1, 2, 3"
    )));
    all.extend(database.rows(
        "SELECT TABLE_NAME, TABLE_COMMENT, TABLE_COLLATION FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME NOT LIKE 'towpath%' ORDER BY 1",
    ));
    all
}

#[track_caller]
fn same_structure(source: &Database, target: &Database, flavor: &str) {
    let (wanted, found) = (structure(source, flavor), structure(target, flavor));
    for (wanted, found) in wanted.iter().zip(&found) {
        assert_eq!(wanted, found);
    }
    assert_eq!(wanted.len(), found.len());
}

#[track_caller]
fn same_rows(source: &Database, target: &Database, tables: &[&str]) {
    for table in tables {
        assert_eq!(source.lines(table).1, target.lines(table).1, "{table}");
    }
}

#[test]
fn m_15_on_update_arrives_and_does_not_act_on_what_is_applied() {
    let maria = need_mariadb!();
    stamps(maria, "mariadb");
}

#[test]
fn m_15_on_update_of_mysql_arrives_and_does_not_act_on_what_is_applied() {
    let mysql = need_mysql!();
    stamps(mysql, "mysql");
}

fn stamps(server: &Server, flavor: &str) {
    for mode in ["transactional", "batch"] {
        let (source, target) = (server.database("stamped"), server.database("target"));
        source.execute(STAMPED);
        let rest =
            format!("{EVERYTHING}defaults: {{ cdc: true }}\ncdc: {{ mode: {mode}, cascades: emulate }}\n");
        let job = Job::new(&source.url(), &target.url(), &rest);
        job.apply().expect(0);
        same_structure(&source, &target, flavor);
        source.execute(CHANGES);
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        same_rows(&source, &target, &["parents", "children"]);
        assert_eq!(target.value("SELECT YEAR(seen) FROM parents WHERE id = 20"), "2001");
        assert_ne!(target.value("SELECT YEAR(seen) FROM parents WHERE id = 4"), "2001");
        // What is put right keeps its moments, too.
        target.execute("UPDATE parents SET v = 99, seen = seen; UPDATE children SET parent = NULL");
        job.run(&["verify", "--repair", "--yes"]).expect(0).says("parents").says("children");
        same_rows(&source, &target, &["parents", "children"]);
        job.has_nothing_to_do();
    }
}

/// Dates with zeros in them are what they are on servers of the family; tables whose rows are in no transaction
/// become such whose rows are.
#[test]
fn m_13_zero_dates_and_tables_of_other_engines_arrive() {
    let maria = need_mariadb!();
    zeros(maria);
}

#[test]
fn m_13_zero_dates_and_tables_of_other_engines_of_mysql_arrive() {
    let mysql = need_mysql!();
    zeros(mysql);
}

fn zeros(server: &Server) {
    for mode in ["transactional", "batch"] {
        let (source, target) = (server.database("zeros"), server.database("target"));
        source.execute(
            "SET sql_mode = '';
             CREATE TABLE t (id int PRIMARY KEY, d date NOT NULL DEFAULT '0000-00-00', m datetime(3) DEFAULT '0000-00-00 00:00:00',
               s timestamp NULL);
             INSERT INTO t VALUES (1, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00'), (2, '2024-02-00', '2024-00-10 23:59:59.5', NULL),
               (3, '0000-03-04', NULL, NULL);
             CREATE TABLE k (d date, n int, PRIMARY KEY (d, n)); INSERT INTO k VALUES ('0000-00-00', 1), ('2024-01-00', 2), ('2024-01-01', 3);
             CREATE TABLE old (id int PRIMARY KEY, d date, FULLTEXT KEY (x), x text) ENGINE = MyISAM;
             INSERT INTO old VALUES (1, '0000-00-00', 'words'); CREATE TABLE gone (a int) ENGINE = MEMORY",
        );
        let rest = format!(
            "defaults: {{ cdc: true }}\ntables: {{ \"*\": {{}}, old: {{ cdc: false }}, gone: {{ cdc: false }} }}\ncdc: {{ mode: {mode} }}\n\
             accept: [{{ hazard: C501, reason: \"nobody writes\" }}]\n"
        );
        let job = Job::new(&source.url(), &target.url(), &rest);
        job.run(&["plan", "--all"]).expect(0).says("storage engine MyISAM").says("storage engine MEMORY");
        job.apply().expect(0);
        same_rows(&source, &target, &["t", "k", "old"]);
        let others = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND ENGINE <> 'InnoDB'";
        assert_eq!(target.value(others), "0");
        source.execute(
            "SET sql_mode = ''; INSERT INTO t (id) VALUES (4); UPDATE t SET s = '0000-00-00', d = '1999-00-00' WHERE id = 2;
             UPDATE k SET n = 5 WHERE d = '2024-01-00'; DELETE FROM k WHERE d = '0000-00-00'; INSERT INTO k VALUES ('0000-00-00', 9)",
        );
        job.run(&["follow", "--until-lag", "0s"]).expect(0);
        same_rows(&source, &target, &["t", "k", "old"]);
        job.run(&["verify", "--level", "rows"]).expect(0);
        job.has_nothing_to_do();
    }
}

/// What fits its server fits another one: by the bytes of its characters, by the characters of its names, and
/// where a division by zero is null.
#[test]
fn m_22_what_fits_one_server_fits_another() {
    let maria = need_mariadb!();
    let (source, target) = (maria.database("wide"), maria.database("target"));
    let name = "имя_индекса_которое_длиннее_чем_шестьдесят_четыре_байта";
    source.execute(&format!(
        "SET sql_mode = ''; CREATE TABLE t (id int PRIMARY KEY, k varchar(3000) CHARACTER SET latin1, w varchar(40000) CHARACTER SET latin1,
           z int AS (100 / id) VIRTUAL, n int(5) zerofill, m decimal(9,2) unsigned zerofill,
           e enum('raw','compressed','a /* b','zerofill)') DEFAULT 'compressed', UNIQUE KEY k (k), KEY `{name}` (z));
         INSERT INTO t (id, k, w) VALUES (0, 'a', 'b'), (5, 'c', NULL)"
    ));
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.move_all();
    same_structure(&source, &target, "mariadb");
    same_rows(&source, &target, &["t"]);
}

/// A difference of the clause is a difference of the column.
#[test]
fn m_15_on_update_is_compared() {
    let maria = need_mariadb!();
    let (source, target) = (maria.database("stamped"), maria.database("target"));
    source.execute(STAMPED);
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.move_all();
    let take = "ALTER TABLE children MODIFY seen timestamp NOT NULL DEFAULT '2001-01-01 00:00:00'";
    target.execute(take);
    job.run(&["plan"]).expect(3).says("children").says("on update current_timestamp");
    source.execute(take);
    let other = Job::new(&source.url(), &target.url(), EVERYTHING);
    target.execute(&format!("{take} ON UPDATE current_timestamp()"));
    other.run(&["plan"]).expect(3).says("children").says("on update current_timestamp");
}

/// Servers that choose defaults of their own for the first TIMESTAMP, and for others, do not do so here.
#[test]
fn m_15_no_clause_is_added_where_none_was() {
    let maria = need_mariadb!();
    let settings = ["--explicit-defaults-for-timestamp=OFF"];
    let source = maria.database("stamped");
    source.execute(STAMPED);
    let Some(server) = Server::start(&settings) else { return };
    let target = server.database("target");
    Job::new(&source.url(), &target.url(), EVERYTHING).move_all();
    same_structure(&source, &target, "mariadb");
    // MySQL lets few users say that it should not.
    let Some(server) = mysql::start(&settings) else { return };
    let target = server.database("target");
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.apply().expect(69).says("explicit_defaults_for_timestamp");
    assert_eq!(
        target.value("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME = 'parents'"),
        "0"
    );
}

const ONLY_HERE: &str = "
    CREATE TABLE places (
        id int NOT NULL COMMENT 'the ''one''', words varchar(200) COLLATE utf8mb4_general_ci COMMENT 'said', more text COLLATE utf8mb4_general_ci,
        exact varchar(20) COLLATE utf8mb4_bin, place point NOT NULL, hidden int INVISIBLE DEFAULT 3, hidden_too varchar(9) AS (LEFT(words, 9)) STORED INVISIBLE,
        PRIMARY KEY (id DESC) COMMENT 'by number', UNIQUE KEY exactly (exact) COMMENT 'once', KEY unseen (words) COMMENT 'idle' HIDDEN,
        UNIQUE KEY unseen_too (exact) HIDDEN, KEY down (words DESC, exact), FULLTEXT KEY text (words, more) COMMENT 'searched', SPATIAL KEY spot (place)
    ) COMMENT 'where''s what' DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
    CREATE TABLE latin (id int PRIMARY KEY, word varchar(9), byte varchar(9) CHARACTER SET utf8mb4 COLLATE BYTES, newest varchar(9) CHARACTER SET utf8mb4 COLLATE NEWEST, kind enum('a', 'b'))
        DEFAULT CHARACTER SET latin1 COLLATE latin1_swedish_ci;
    INSERT INTO places (id, words, more, exact, place, hidden) VALUES (1, 'some words', 'more words', 'A', POINT(1, 2), 42), (2, NULL, NULL, 'a', POINT(3, 4), NULL);
    INSERT INTO latin VALUES (1, 'é', 'é ', 'ß', 'a')";

fn only_here(server: &Server, flavor: &str) {
    let (source, target) = (server.database("source"), server.database("target"));
    let [hidden, bytes, newest] = match flavor {
        "mysql" => ["INVISIBLE", "utf8mb4_0900_bin", "utf8mb4_0900_ai_ci"],
        _ => ["IGNORED", "utf8mb4_nopad_bin", "uca1400_ai_ci"],
    };
    let mut sql = ONLY_HERE.replace("HIDDEN", hidden).replace("BYTES", bytes).replace("NEWEST", newest);
    if flavor == "mysql" {
        sql = sql.replace("point NOT NULL", "point NOT NULL SRID 0");
    }
    source.execute(&sql);
    Job::new(&source.url(), &target.url(), EVERYTHING).move_all();
    same_structure(&source, &target, flavor);
    same_rows(&source, &target, &["latin"]);
    let values = "SELECT GROUP_CONCAT(id, words, hidden, ST_AsText(place)) FROM places";
    assert_eq!(target.value(values), source.value(values));
    let search = "SELECT COUNT(*) FROM places WHERE MATCH (words, more) AGAINST ('words')";
    assert_eq!(target.value(search), "1");
    if flavor == "mysql" {
        let reference = "SELECT SRS_ID FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'places' AND COLUMN_NAME = 'place'";
        assert_eq!(target.value(reference), "0");
    }
}

#[test]
fn s_34_s_36_m_25_indexes_comments_and_hidden_columns_arrive() {
    only_here(need_mariadb!(), "mariadb");
}

#[test]
fn s_34_s_36_m_25_indexes_comments_and_hidden_columns_of_mysql_arrive() {
    only_here(need_mysql!(), "mysql");
}

/// M-23: how a column is kept goes along.
#[test]
fn m_23_compressed_columns_stay_compressed() {
    let maria = need_mariadb!();
    let (source, target) = (maria.database("source"), maria.database("target"));
    source.execute(
        "CREATE TABLE packed (id int PRIMARY KEY, t text COMPRESSED, v varchar(99) COMPRESSED COLLATE latin1_bin, n varchar(9));
         INSERT INTO packed VALUES (1, REPEAT('x', 3000), 'y', 'z')",
    );
    Job::new(&source.url(), &target.url(), EVERYTHING).move_all();
    same_structure(&source, &target, "mariadb");
    same_rows(&source, &target, &["packed"]);
}

/// S-36: what is not carried is listed with its name.
#[test]
fn s_36_what_stays_is_listed_by_name() {
    let maria = need_mariadb!();
    let (source, target) = (maria.database("source"), maria.database("target"));
    source.execute(
        "CREATE TABLE packed (id int PRIMARY KEY, v text) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8 STATS_PERSISTENT=1;
         CREATE TABLE plain (id int PRIMARY KEY) ROW_FORMAT=DYNAMIC;
         CREATE TABLE parts (id int PRIMARY KEY, v int) PARTITION BY HASH (id) PARTITIONS 2;
         CREATE TABLE past (id int PRIMARY KEY) WITH SYSTEM VERSIONING",
    );
    // By a column that does not come nothing can be partitioned.
    let rest = "tables: { '*': {}, parts: { keys: [], columns: { id: skip } } }\naccept: [{ hazard: D105, reason: x }, { hazard: K302, reason: x }]\n";
    let job = Job::new(&source.url(), &target.url(), rest);
    let plan = job.run(&["plan", "--all"]).expect(0);
    let said = plan.both();
    for line in [
        "table option source.\"packed.row_format=COMPRESSED\"",
        "table option source.\"packed.key_block_size=8\"",
        "table option source.\"packed.stats_persistent=1\"",
        "partitioning source.parts",
        "row history source.past",
    ] {
        let line = line.replace("source.", &format!("{}.", source.name));
        assert!(said.contains(&line), "{line}\n{said}");
    }
    assert!(!said.contains("plain.row_format"), "{said}");
    job.move_all();
}

/// A primary key over the beginnings of columns is one, and no row is told by it.
fn beginnings(server: &Server, flavor: &str) {
    let (source, target) = (server.database("source"), server.database("target"));
    source.execute(
        "CREATE TABLE p (a varchar(300) NOT NULL, b text NOT NULL, n int, PRIMARY KEY (a(10), b(5)), UNIQUE KEY u (b(3), n));
         INSERT INTO p VALUES ('x', 'long text', 1), ('x', 'another', 2), ('', '', NULL)",
    );
    let job = Job::new(
        &source.url(),
        &target.url(),
        &format!("{EVERYTHING}accept: [{{ hazard: K302, reason: x }}]\n"),
    );
    job.move_all();
    same_structure(&source, &target, flavor);
    same_rows(&source, &target, &["p"]);
}

#[test]
fn s_34_primary_keys_over_beginnings_arrive() {
    beginnings(need_mariadb!(), "mariadb");
}

#[test]
fn s_34_primary_keys_over_beginnings_of_mysql_arrive() {
    beginnings(need_mysql!(), "mysql");
}

const PARTITIONED: &str = "
    CREATE TABLE ranges (id int NOT NULL, d date NOT NULL, v varchar(20) COMMENT 'x PARTITION BY y', PRIMARY KEY (id, d))
        COMMENT 'it''s' PARTITION BY RANGE (YEAR(d)) (PARTITION p0 VALUES LESS THAN (2020),
        PARTITION `p 1` VALUES LESS THAN (2021) COMMENT = 'it''s', PARTITION pmax VALUES LESS THAN MAXVALUE);
    CREATE TABLE pairs (a int NOT NULL, b varchar(10) NOT NULL, PRIMARY KEY (a, b)) PARTITION BY RANGE COLUMNS (a, b)
        (PARTITION p0 VALUES LESS THAN (10, 'm'), PARTITION p1 VALUES LESS THAN (MAXVALUE, MAXVALUE));
    CREATE TABLE lists (id int PRIMARY KEY) PARTITION BY LIST (id % 3) (PARTITION p0 VALUES IN (0, 1), PARTITION p2 VALUES IN (2));
    CREATE TABLE hashes (id int PRIMARY KEY, v int) PARTITION BY LINEAR HASH (id) PARTITIONS 4;
    CREATE TABLE keyed (id int PRIMARY KEY) PARTITION BY KEY () PARTITIONS 3;
    CREATE TABLE parts_of_parts (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (TO_DAYS(d)) SUBPARTITION BY HASH (id)
        SUBPARTITIONS 2 (PARTITION p0 VALUES LESS THAN (738000), PARTITION p1 VALUES LESS THAN MAXVALUE);
    INSERT INTO ranges VALUES (1, '2019-01-01', 'a'), (2, '2020-01-01', 'b'), (3, '2030-01-01', 'c');
    INSERT INTO pairs VALUES (1, 'a'), (10, 'n'), (99, 'z'); INSERT INTO lists VALUES (1), (2), (3), (5);
    INSERT INTO hashes VALUES (1, 1), (2, 2), (3, 3), (4, 4); INSERT INTO keyed VALUES (1), (2);
    INSERT INTO parts_of_parts VALUES (1, '2019-01-01'), (2, '2029-01-01');";

const TABLES: [&str; 6] = ["ranges", "pairs", "lists", "hashes", "keyed", "parts_of_parts"];

/// How many rows lie where.
fn places(database: &Database) -> Vec<Vec<Option<String>>> {
    for table in TABLES {
        database.rows(&format!("ANALYZE TABLE {table}"));
    }
    database.rows(
        "SELECT TABLE_NAME, PARTITION_NAME, SUBPARTITION_NAME, PARTITION_METHOD, SUBPARTITION_METHOD, PARTITION_EXPRESSION, \
         SUBPARTITION_EXPRESSION, PARTITION_DESCRIPTION, PARTITION_COMMENT, TABLE_ROWS FROM information_schema.PARTITIONS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME NOT LIKE 'towpath%' ORDER BY 1, PARTITION_ORDINAL_POSITION, \
         SUBPARTITION_ORDINAL_POSITION",
    )
}

fn partitions(server: &Server) {
    let (source, target) = (server.database("source"), server.database("target"));
    source.execute(PARTITIONED);
    let rest = format!("{EVERYTHING}defaults: {{ cdc: true }}\n");
    let job = Job::new(&source.url(), &target.url(), &rest);
    let said = job.run(&["plan", "--all"]).expect(0).both();
    assert!(!said.contains("partitioning"), "{said}");
    job.apply().expect(0);
    assert_eq!(places(&source), places(&target));
    source.execute(
        "INSERT INTO ranges VALUES (4, '2020-05-05', 'd'); UPDATE ranges SET d = '2019-02-02' WHERE id = 3; DELETE FROM lists WHERE id = 2;
         INSERT INTO hashes VALUES (5, 5); TRUNCATE keyed; UPDATE pairs SET a = 2 WHERE a = 99",
    );
    job.run(&["follow", "--until-lag", "0s"]).expect(0);
    same_rows(&source, &target, &TABLES);
    assert_eq!(places(&source), places(&target));
    job.has_nothing_to_do();
    // Rows that go by a change of structure are not told one by one.
    source.execute("ALTER TABLE ranges TRUNCATE PARTITION p0");
    job.run(&["follow", "--until-lag", "0s"]).expect(4).says("ranges");
}

#[test]
fn s_36_partitions_of_mariadb_arrive() {
    partitions(need_mariadb!());
}

#[test]
fn s_36_partitions_of_mysql_arrive() {
    partitions(need_mysql!());
}

/// Names within go with their columns; a table that is there may be partitioned in its own way.
#[test]
fn s_36_partitions_are_renamed_and_the_targets_own_stay() {
    let maria = need_mariadb!();
    let (source, target) = (maria.database("source"), maria.database("target"));
    source.execute(PARTITIONED);
    let rest = "tables: { '*': {}, ranges: { to: moved, columns: { d: { to: day } } } }\n";
    let job = Job::new(&source.url(), &target.url(), rest);
    job.move_all();
    let expression = "SELECT DISTINCT PARTITION_EXPRESSION FROM information_schema.PARTITIONS \
                      WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'moved'";
    assert_eq!(target.value(expression), "year(`day`)");
    target.execute(
        "ALTER TABLE hashes REMOVE PARTITIONING; ALTER TABLE lists PARTITION BY HASH (id) PARTITIONS 2",
    );
    job.has_nothing_to_do();
}

/// Functional parts of an index are MySQL's alone.
#[test]
fn s_34_functional_indexes_of_mysql_are_listed() {
    let mysql = need_mysql!();
    let (source, target) = (mysql.database("source"), mysql.database("target"));
    source.execute("CREATE TABLE named (id int PRIMARY KEY, name varchar(20), KEY folded ((LOWER(name))))");
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.run(&["plan", "--all"]).expect(0).says("folded").says("an expression in an index").says("I402");
    job.move_all();
}

/// Which parser takes the texts apart only the table's own statement tells.
#[test]
fn s_34_parsers_of_full_text_indexes_arrive_or_are_listed() {
    let (mysql, maria) = (need_mysql!(), need_mariadb!());
    let (source, target) = (mysql.database("source"), mysql.database("target"));
    source.execute(
        "CREATE TABLE words (id int PRIMARY KEY, t text, FULLTEXT KEY plain (t) COMMENT 'WITH PARSER `none`',
           FULLTEXT KEY `by``two` (t) WITH PARSER ngram COMMENT 'it''s') COLLATE utf8mb4_general_ci;
         INSERT INTO words VALUES (1, 'some words')",
    );
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.move_all();
    let made = |database: &Database| database.rows("SHOW CREATE TABLE words")[0][1].clone().unwrap();
    assert_eq!(made(&source).matches("WITH PARSER `ngram`").count(), 1);
    let keys = |text: String| {
        let mut keys: Vec<_> =
            text.lines().filter(|line| line.contains("KEY")).map(|line| line.replace(',', "")).collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(made(&target)), keys(made(&source)));
    job.has_nothing_to_do();
    let other = maria.database("target");
    let job = Job::new(&source.url(), &other.url(), EVERYTHING);
    job.run(&["plan", "--all"]).expect(0).says("by`two").says("parser ngram").says("I402");
    job.move_all();
    assert!(!made(&other).contains("by``two") && made(&other).contains("FULLTEXT KEY `plain`"));
}
