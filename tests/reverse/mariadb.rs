//! There and back with MariaDB at one end or at both: its log is read where it was written to, and its
//! fence lets the way back pass.

use super::job;
use super::sqlite::application;
use crate::support::mariadb::{Database, PASSWORD_OF_OTHERS, Server, same_as_postgres};
use crate::{need_mariadb, need_server};

pub const SCHEMA: &str = "
    CREATE TABLE users (id bigint AUTO_INCREMENT PRIMARY KEY, email varchar(100) NOT NULL UNIQUE, paid double, face longblob,
        at timestamp(6) NULL, seen datetime(3), price decimal(12,2), day date) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
    CREATE TABLE notes (a varchar(20) NOT NULL, b bigint NOT NULL, word longtext, PRIMARY KEY (a, b)) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
    INSERT INTO users (email, paid, face, at, seen, price, day) VALUES ('a', 1.5, x'00ff', '2026-05-01 10:00:00.25', '2026-05-01 10:00:00.125', 1.05, '2026-02-03'), ('b', NULL, NULL, NULL, NULL, NULL, NULL);
    INSERT INTO notes VALUES ('x', 1, 'one'), ('x', 2, NULL);";

const PLAN: &str = "\
defaults: { cdc: true }
tables: { \"*\": {} }
reverse: true
cutover: { fence: tables, max_lag: 30s }
accept:
  - { hazard: C513, reason: test }
";
const TABLES: [&str; 2] = ["users", "notes"];

fn state_tables(database: &Database) -> String {
    database.value(
        "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'towpath%'",
    )
}

#[test]
fn from_mariadb_to_postgresql_and_back() {
    to_postgresql_and_back(need_mariadb!(), SCHEMA);
}

pub fn to_postgresql_and_back(maria: &Server, schema: &str) {
    let server = need_server!();
    let (old, new) = (maria.database("old"), server.database("new"));
    old.execute(schema);
    let job = job(&old.url(), &new.url(), PLAN);
    job.apply().expect(0);
    application("users", "email", "before").iter().for_each(|sql| old.execute(sql));
    job.run(&["cutover", "--yes"]).expect(0);
    let closed = old.try_execute("DELETE FROM notes").expect_err("closed");
    assert!(closed.contains("has moved to another database"), "{closed}");
    application("users", "email", "after").iter().for_each(|sql| new.execute(sql));
    new.execute("INSERT INTO users (email, face, at, seen, price) VALUES ('of postgres', '\\x0102', '2026-06-01 12:00:00.5+02', '2026-06-01 12:00:00.5', 7.25); UPDATE users SET price = price + 1, face = '\\x' WHERE id = 1");
    job.run(&["follow", "--back", "--until-lag", "0s"]).expect(0);
    same_as_postgres(&old, &new, "public", &TABLES);
    old.try_execute("INSERT INTO users (email) VALUES ('late')").expect_err("closed");
    new.execute("INSERT INTO notes VALUES ('last', 1, '')");
    job.run(&["verify", "--back", "--level", "rows"]).expect(0);
    job.run(&["cutover", "--back", "--yes"]).expect(0).says("fence of");
    same_as_postgres(&old, &new, "public", &TABLES);
    old.execute("INSERT INTO users (email) VALUES ('first')");
    let (first, last) = (
        old.value("SELECT id FROM users WHERE email = 'first'"),
        new.value("SELECT max(id)::text FROM users"),
    );
    assert!(first.parse::<u32>().unwrap() > last.parse::<u32>().unwrap(), "{first} after {last}");
    job.run(&["clean", "--back", "--open-source"]).expect(0);
    job.run(&["clean"]).expect(0);
    assert_eq!(state_tables(&old), "0");
}

#[test]
fn from_postgresql_to_mariadb_and_back() {
    from_postgresql_and_back(need_mariadb!());
}

pub fn from_postgresql_and_back(maria: &Server) {
    let server = need_server!();
    let (old, new) = (server.database("old"), maria.database("new"));
    old.execute(
        "CREATE TABLE users (id bigserial PRIMARY KEY, email varchar(100) NOT NULL UNIQUE, paid double precision, face bytea, \
         age int, ok boolean, at timestamptz, price numeric(12,2), day date, key uuid); \
         CREATE TABLE notes (a varchar(20), b bigint, word text, PRIMARY KEY (a, b)); \
         INSERT INTO users (email, age, ok, at, price, day, key) SELECT 'u' || i, i, i % 2 = 0, \
           '2026-05-01 10:00:00.25+02', i * 1.05, '2026-02-03', md5(i::text)::uuid FROM generate_series(1, 20) i; \
         INSERT INTO notes VALUES ('x', 1, 'one'), ('x', 2, NULL)",
    );
    let job = job(&old.url(), &new.url(), PLAN);
    job.apply().expect(0);
    application("users", "email", "before").iter().for_each(|sql| old.execute(sql));
    job.run(&["cutover", "--yes"]).expect(0);
    application("users", "email", "after").iter().for_each(|sql| new.execute(sql));
    new.execute(
        "INSERT INTO users SELECT 1000, 'copied', paid, x'00ff', age, ok, at, price, day, `key` FROM users WHERE id = 7; \
         UPDATE users SET ok = 1 - ok WHERE id IN (4, 5)",
    );
    job.run(&["follow", "--back", "--until-lag", "0s"]).expect(0);
    job.run(&["verify", "--back", "--level", "rows"]).expect(0);
    let same = "SELECT count(*)::text FROM users a, users b WHERE a.id = 7 AND b.id = 1000 AND b.face = '\\x00ff' AND (a.age, a.ok, a.at, a.price, \
                a.day, a.key) = (b.age, b.ok, b.at, b.price, b.day, b.key)";
    assert_eq!(old.value(same), "1");
    assert_eq!(old.value("SELECT count(*)::text FROM users WHERE ok AND id = 5"), "1");
    job.run(&["cutover", "--back", "--yes"]).expect(0);
    new.try_execute("DELETE FROM notes").expect_err("closed");
    old.execute("INSERT INTO users (email) VALUES ('first')");
    assert_eq!(old.value("SELECT (id > 1000)::text FROM users WHERE email = 'first'"), "true");
    job.run(&["clean", "--back", "--open-source"]).expect(0);
    job.run(&["clean"]).expect(0);
    assert_eq!(state_tables(&new), "0");
}

/// Sequences of MariaDB count on there, and back here.
#[test]
fn s_14_sequences_from_mariadb_to_mariadb_and_back() {
    let maria = need_mariadb!();
    let (old, new) = (maria.database("old"), maria.database("new"));
    old.execute(
        "CREATE SEQUENCE shared INCREMENT BY 10; CREATE SEQUENCE down MINVALUE -100 MAXVALUE -1 START WITH -1 INCREMENT BY -1 NOCACHE;
         CREATE TABLE a (id bigint DEFAULT nextval(shared) PRIMARY KEY, d bigint DEFAULT nextval(down));
         CREATE TABLE b (id bigint DEFAULT nextval(shared) PRIMARY KEY); INSERT INTO a VALUES (), (); INSERT INTO b VALUES ()",
    );
    let job = job(&old.url(), &new.url(), PLAN);
    job.apply().expect(0);
    old.execute("INSERT INTO a VALUES ()");
    job.run(&["cutover", "--yes"]).expect(0);
    new.execute("INSERT INTO a VALUES (), (); INSERT INTO b VALUES ()");
    job.run(&["follow", "--back", "--until-lag", "0s"]).expect(0);
    job.run(&["cutover", "--back", "--yes"]).expect(0);
    old.execute("INSERT INTO a VALUES (); INSERT INTO b VALUES ()");
    assert_eq!(old.value("SELECT GROUP_CONCAT(d ORDER BY d DESC) FROM a"), "-1,-2,-3,-4,-5,-6");
    let all =
        "SELECT COUNT(*), COUNT(DISTINCT id) FROM (SELECT id FROM a UNION ALL SELECT id FROM b) AS every";
    assert_eq!(old.rows(all), [[Some("9".to_string()), Some("9".to_string())]]);
    job.run(&["clean", "--back", "--open-source"]).expect(0);
    job.run(&["clean"]).expect(0);
    assert_eq!(state_tables(&old), "0");
}

/// Killed around the point of no return, and in the middle of a change that comes back: nothing of
/// what Towpath wrote itself comes back, and nothing is doubled.
#[test]
fn f_71_from_mariadb_to_mariadb_killed_and_back() {
    let points = ["cut::back_opened", "cut::point_of_no_return", "cut::sealed", "cut::back_begun"];
    killed_and_back(need_mariadb!(), SCHEMA, &points);
}

pub fn killed_and_back(maria: &Server, schema: &str, points: &[&str]) {
    for point in points {
        let (old, new) = (maria.database("old"), maria.database("new"));
        old.execute(schema);
        let job = job(&old.url(), &new.url(), PLAN);
        job.apply().expect(0);
        application("users", "email", "before").iter().for_each(|sql| old.execute(sql));
        let dying = job.towpath.clone().env("FAILPOINTS", format!("{point}=return"));
        let died = dying.run(&["cutover", "--yes"]);
        assert_eq!(died.code, None, "{point} was never reached: {}", died.stderr);
        job.run(&["cutover", "--yes"]).expect(0);
        application("users", "email", "after").iter().for_each(|sql| new.execute(sql));
        let follow = ["follow", "--back", "--until-lag", "0s"];
        let dying = job.towpath.clone().env("FAILPOINTS", "apply::commit_sent=return");
        assert_eq!(dying.run(&follow).code, None, "nothing came back");
        job.run(&follow).expect(0);
        job.run(&["cutover", "--back", "--yes"]).expect(0);
        for table in TABLES {
            assert_eq!(old.lines(table).1, new.lines(table).1, "{point}: {table}");
        }
        old.execute("INSERT INTO users (email) VALUES ('first')");
    }
}

/// The user of both ends has the rights that are printed and no others; what is missing is said before.
#[test]
fn p_802_the_printed_grants_are_enough_for_there_and_back() {
    let Some(server) = Server::start(&["--log-bin-trust-function-creators=ON"]) else { return };
    printed_grants_are_enough(&server, SCHEMA, "REPLICATION SLAVE, BINLOG MONITOR");
}

/// `log`: what the log alone needs.
pub fn printed_grants_are_enough(server: &Server, schema: &str, log: &str) {
    let (old, new) = (server.database("old"), server.database("new"));
    old.execute(schema);
    server.admin(&format!("CREATE USER mover@'127.0.0.1' IDENTIFIED BY '{PASSWORD_OF_OTHERS}'"));
    server.admin(&format!("GRANT SELECT, SHOW VIEW ON `{}`.* TO mover@'127.0.0.1'", old.name));
    server.admin(&format!("GRANT ALL ON `{}`.* TO mover@'127.0.0.1'", new.name));
    server.admin(&format!("GRANT {log} ON *.* TO mover@'127.0.0.1'"));
    let of = |database: &Database| database.url_of("mover", PASSWORD_OF_OTHERS);
    let mine = job(&of(&old), &of(&new), PLAN);
    mine.run(&["plan"]).expect(3).says("may not insert its rows").says("may not make the state tables");
    server.admin("REVOKE ALL, GRANT OPTION FROM mover@'127.0.0.1'");
    let own = job(&old.url(), &new.url(), PLAN);
    let statements = own.run(&["grants", "--role", "mover@127.0.0.1"]).expect(0).stdout;
    let statements = statements.lines().filter(|line| !line.starts_with("--"));
    statements.for_each(|statement| server.admin(statement.trim_end_matches(';')));
    mine.apply().expect(0);
    application("users", "email", "before").iter().for_each(|sql| old.execute(sql));
    mine.run(&["cutover", "--yes"]).expect(0);
    application("users", "email", "after").iter().for_each(|sql| new.execute(sql));
    mine.run(&["cutover", "--back", "--yes"]).expect(0);
    for table in TABLES {
        assert_eq!(old.lines(table).1, new.lines(table).1, "{table}");
    }
}
