//! There and back with a file at one end or at both: the triggers are on the side that is written.

use tempfile::TempDir;

use super::*;
use crate::need_server;
use crate::support::sqlite::File;

const SCHEMA: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL UNIQUE, paid REAL, face BLOB) STRICT;
    CREATE TABLE notes (a TEXT NOT NULL, b INTEGER NOT NULL, word TEXT, PRIMARY KEY (a, b)) STRICT;
    INSERT INTO users (email, paid, face) VALUES ('a', 1.5, x'00ff'), ('b', NULL, NULL);
    INSERT INTO notes VALUES ('x', 1, 'one'), ('x', 2, NULL);";

const PLAN: &str = "\
defaults: { cdc: true }
tables:
  \"*\": {}
  users: { to: accounts, columns: { email: { to: mail } } }
cdc: { sqlite: triggers }
reverse: true
cutover: { fence: tables, max_lag: 30s }
accept:
  - { hazard: C513, reason: test }
  - { hazard: U904, reason: test }
";

/// Writes of an application, in the words of both engines.
pub(super) fn application(users: &str, email: &str, who: &str) -> [String; 5] {
    [
        format!("INSERT INTO {users} ({email}, paid) VALUES ('{who} 1', 0.25)"),
        format!("UPDATE {users} SET {email} = '{who} a', paid = 7.5 WHERE id = 1"),
        format!("INSERT INTO notes VALUES ('{who}', 3, 'three')"),
        format!("UPDATE notes SET b = b + 10 WHERE a = '{who}'"),
        "DELETE FROM notes WHERE a = 'x' AND b = 1".to_string(),
    ]
}

const OLD_ROWS: [&str; 2] =
    ["SELECT id, email, paid FROM users ORDER BY 1", "SELECT * FROM notes ORDER BY 1, 2"];
const NEW_ROWS: [&str; 2] =
    ["SELECT id, mail, paid FROM accounts ORDER BY 1", "SELECT * FROM notes ORDER BY 1, 2"];

#[test]
fn from_file_to_file_and_back() {
    let directory = TempDir::new().unwrap();
    let (old, new) = (File::new(directory.path(), "old.db"), File::new(directory.path(), "new.db"));
    old.execute(SCHEMA);
    let job = job(&old.url(), &new.url(), PLAN);
    job.apply().expect(0);
    application("users", "email", "before").iter().for_each(|sql| old.execute(sql));
    job.run(&["cutover", "--yes"]).expect(0);
    let closed = old.open().execute_batch("DELETE FROM notes").expect_err("closed").to_string();
    assert!(closed.contains("has moved to another database"), "{closed}");
    application("accounts", "mail", "after").iter().for_each(|sql| new.execute(sql));
    job.run(&["follow", "--back", "--until-lag", "0s"]).expect(0);
    for (a, b) in OLD_ROWS.iter().zip(NEW_ROWS) {
        assert_eq!(old.rows(a), new.rows(b));
    }
    new.execute("INSERT INTO notes VALUES ('last', 1, '')");
    job.run(&["verify", "--back", "--level", "rows"]).expect(0);
    job.run(&["cutover", "--back", "--yes"]).expect(0).says("fence of users");
    assert_eq!(old.rows("SELECT * FROM notes WHERE a = 'last'").len(), 1);
    old.execute("INSERT INTO users (email) VALUES ('first')");
    new.open().execute_batch("DELETE FROM notes").expect_err("closed");
    job.run(&["clean", "--back", "--open-source"]).expect(0);
    job.run(&["clean"]).expect(0);
    for file in [&old, &new] {
        assert_eq!(file.rows("SELECT name FROM sqlite_schema WHERE name LIKE 'towpath%'"), [[""; 0]; 0]);
    }
}

#[test]
fn f_71_killed_at_any_point_a_file_comes_back_too() {
    for point in
        ["cut::back_opened", "cut::point_of_no_return", "cut::sealed", "cut::back_begun", "cut::closed"]
    {
        let directory = TempDir::new().unwrap();
        let (old, new) = (File::new(directory.path(), "old.db"), File::new(directory.path(), "new.db"));
        old.execute(SCHEMA);
        let job = job(&old.url(), &new.url(), PLAN);
        job.apply().expect(0);
        let dying = job.towpath.clone().env("FAILPOINTS", format!("{point}=return"));
        assert_eq!(dying.run(&["cutover", "--yes"]).code, None, "{point} was never reached");
        job.run(&["cutover", "--yes"]).expect(0);
        application("accounts", "mail", "after").iter().for_each(|sql| new.execute(sql));
        job.run(&["cutover", "--back", "--yes"]).expect(0);
        for (a, b) in OLD_ROWS.iter().zip(NEW_ROWS) {
            assert_eq!(old.rows(a), new.rows(b), "{point}");
        }
        old.execute("INSERT INTO users (email) VALUES ('first')");
    }
}

#[test]
fn from_a_file_to_postgresql_and_back() {
    let server = need_server!();
    let directory = TempDir::new().unwrap();
    let (old, new) = (File::new(directory.path(), "old.db"), server.database("new"));
    old.execute(SCHEMA);
    let job = job(&old.url(), &new.url(), PLAN);
    job.apply().expect(0);
    application("users", "email", "before").iter().for_each(|sql| old.execute(sql));
    job.run(&["cutover", "--yes"]).expect(0);
    application("accounts", "mail", "after").iter().for_each(|sql| new.execute(sql));
    new.execute("INSERT INTO accounts (mail, face) VALUES ('of postgres', '\\x0102')");
    job.run(&["follow", "--back", "--until-lag", "0s"]).expect(0);
    job.run(&["verify", "--back", "--level", "rows"]).expect(0);
    job.run(&["cutover", "--back", "--yes"]).expect(0);
    assert_eq!(
        old.rows("SELECT email, face FROM users WHERE face = x'0102'"),
        [["'of postgres'", "x'0102'"]]
    );
    assert_eq!(old.rows("SELECT a, b FROM notes WHERE a = 'after'"), [["'after'", "13"]]);
    old.execute("INSERT INTO users (email) VALUES ('first')");
    let last = new.value("SELECT max(id) FROM accounts");
    let first = old.rows("SELECT id FROM users WHERE email = 'first'");
    assert!(first[0][0].parse::<u32>().unwrap() > last.parse::<u32>().unwrap(), "{first:?} after {last}");
}

#[test]
fn from_postgresql_to_a_file_and_back() {
    let server = need_server!();
    let directory = TempDir::new().unwrap();
    let (old, new) = (server.database("old"), File::new(directory.path(), "new.db"));
    old.execute(
        "CREATE TABLE users (id bigserial PRIMARY KEY, email text NOT NULL UNIQUE, paid double precision, face bytea, \
         age int, ok boolean, at timestamptz, price numeric(12,2), day date, key uuid); \
         CREATE TABLE notes (a text, b bigint, word text, PRIMARY KEY (a, b)); \
         INSERT INTO users (email, age, ok, at, price, day, key) SELECT 'u' || i, i, i % 2 = 0, \
           '2026-05-01 10:00:00.25+02', i * 1.05, '2026-02-03', md5(i::text)::uuid FROM generate_series(1, 20) i; \
         INSERT INTO notes VALUES ('x', 1, 'one'), ('x', 2, NULL)",
    );
    let job = job(&old.url(), &new.url(), PLAN);
    job.apply().expect(0);
    application("users", "email", "before").iter().for_each(|sql| old.execute(sql));
    job.run(&["cutover", "--yes"]).expect(0);
    application("accounts", "mail", "after").iter().for_each(|sql| new.execute(sql));
    new.execute(
        "INSERT INTO accounts SELECT 1000, 'copied', paid, face, age, ok, at, price, day, key FROM accounts WHERE id = 7; \
         UPDATE accounts SET ok = 1 - ok, price = price WHERE id IN (4, 5)",
    );
    job.run(&["follow", "--back", "--until-lag", "0s"]).expect(0);
    job.run(&["verify", "--back", "--level", "rows"]).expect(0);
    let same = "SELECT count(*) FROM users a, users b WHERE a.id = 7 AND b.id = 1000 AND (a.age, a.ok, a.at, a.price, \
                a.day, a.key) = (b.age, b.ok, b.at, b.price, b.day, b.key)";
    assert_eq!(old.value(same), "1");
    assert_eq!(old.value("SELECT count(*) FROM users WHERE ok AND id = 5"), "1");
    job.run(&["cutover", "--back", "--yes"]).expect(0);
    old.execute("INSERT INTO users (email) VALUES ('first')");
    assert_eq!(old.value("SELECT id > 1000 FROM users WHERE email = 'first'"), "t");
}
