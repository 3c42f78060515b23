//! MariaDB to PostgreSQL and to SQLite: what arrives, what is refused, and what a user reads when
//! something is wrong.

use tempfile::TempDir;

use super::resume::pseudo_random;
use crate::support::mariadb::{Database, PASSWORD_OF_OTHERS, same_as_postgres, same_as_sqlite};
use crate::support::scenario::{EVERYTHING, Job};
use crate::support::sqlite::File;
use crate::support::wait_until;
use crate::{need_mariadb, need_server};

/// The film rental has names that compare without case.
const RENTAL: &str = "tables: { \"*\": {} }\naccept:\n  - { hazard: K301, reason: \"one spelling only\" }\n";

const FILMS: [&str; 8] =
    ["category", "film", "film_category", "language", "payment", "rental", "staff", "store"];
pub(super) const TYPES: [&str; 4] = ["bytes", "moments", "numbers", "texts"];

#[test]
fn mariadb_to_postgres_sakila() {
    to_postgres_sakila(&need_mariadb!().fixture("sakila_like"));
}

pub(super) fn to_postgres_sakila(source: &Database) {
    let target = need_server!().database("target");
    let job = Job::new(&source.url(), &target.url(), RENTAL);
    job.run(&["plan", "--all"])
        .expect(0)
        .says("fulltext")
        .says("film_list")
        .says("upd_film")
        .says("films_in_stock")
        .says("tidy_up")
        .says("film.last_update");
    job.move_all();
    same_as_postgres(source, &target, "public", &FILMS);
    let rules = "SELECT count(*)::text FROM pg_constraint WHERE contype = 'f' AND confupdtype = 'c'";
    assert_eq!(target.value(rules), "9");
    let indexes = "SELECT count(*)::text FROM pg_indexes WHERE schemaname = 'public'";
    assert_eq!(target.value(indexes), "19");
    // M-26: it counts on from the counter, not from the largest row.
    let added =
        "INSERT INTO rental (rental_date, film_id, staff_id) VALUES (now(), 1, 1) RETURNING rental_id::text";
    assert_eq!(target.value(added), "16050");
    let added =
        "INSERT INTO film (title, language_id) VALUES ('x', 1) RETURNING film_id || ' ' || yearly_cost";
    assert_eq!(target.value(added), "4 59.88");
    target.execute("UPDATE payment SET amount = 3.00 WHERE payment_id = 1");
    job.run(&["verify", "--level", "rows"]).expect(7).says("payment");
}

/// Names, a filter in the source's own words, a skipped column and types, through one projection.
#[test]
fn a_plan_that_renames_filters_and_retypes() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (maria.fixture("odd"), server.database("target"));
    let flags = |filter: &str| {
        format!(
            "tables:\n  m_02_flags:\n    to: flags\n{filter}    columns: {{ v: {{ to: flag, type: boolean }} }}\n"
        )
    };
    let job = Job::new(&source.url(), &target.url(), &flags(""));
    // M-02: it may hold more than two values, and here it does.
    job.run(&["plan"]).expect(3).says("V206").says("m_02_flags.v");
    job.write_plan(&flags("    where: \"v IN (0, 1) || (v IS NULL && 'a' = \\\"A\\\")\"\n"));
    job.move_all();
    let rows = "SELECT string_agg(id || '=' || coalesce(flag::text, 'null'), ',' ORDER BY id) FROM flags";
    assert_eq!(target.value(rows), "1=false,2=true,5=null");
    for odd in ["v = 1; DROP TABLE x", "v = (SELECT 1)", "v = 1 -- all", "sleep(9) = v"] {
        job.write_plan(&flags(&format!("    where: \"{odd}\"\n")));
        job.run(&["plan"]).expect(65).says("E127");
    }
}

#[test]
fn mariadb_to_sqlite_sakila() {
    let maria = need_mariadb!();
    let directory = TempDir::new().unwrap();
    let (source, target) = (maria.fixture("sakila_like"), File::new(directory.path(), "target.db"));
    let job = Job::new(&source.url(), &target.url(), RENTAL);
    job.move_all();
    same_as_sqlite(&source, &target, &FILMS);
    assert_eq!(target.rows("PRAGMA foreign_key_check").len(), 0);
    target.execute("INSERT INTO film (title, language_id, last_update) VALUES ('x', 1, '2024-01-01')");
    assert_eq!(target.rows("SELECT max(film_id) FROM film"), [["4".to_string()]]);
}

#[test]
fn m_01_to_m_22_every_type_to_postgres() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (maria.fixture("types"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.move_all();
    same_as_postgres(&source, &target, "public", &TYPES);
}

#[test]
fn m_01_to_m_22_every_type_to_sqlite() {
    let maria = need_mariadb!();
    let directory = TempDir::new().unwrap();
    let (source, target) = (maria.fixture("types"), File::new(directory.path(), "target.db"));
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    // M-01: the largest unsigned number has no place in an integer there.
    job.run(&["plan"]).expect(3).says("V201").says("numbers.bu");
    job.write_plan("tables:\n  \"*\": {}\n  numbers: { columns: { bu: { type: text } } }\n");
    job.move_all();
    same_as_sqlite(&source, &target, &TYPES);
}

/// A counter of an unsigned bigint is one on the target where the plan says that it fits.
#[test]
fn m_26_an_unsigned_bigint_counts_on_as_bigint() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (maria.database("counts"), server.database("target"));
    source.execute(
        "CREATE TABLE users (id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY);
         CREATE TABLE posts (id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, user_id bigint unsigned,
           CONSTRAINT by_user FOREIGN KEY (user_id) REFERENCES users (id));
         INSERT INTO users VALUES (41); INSERT INTO posts VALUES (1, 41);",
    );
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.run(&["plan"]).expect(0).says("to: bigint").says("U903");
    job.write_plan("tables: { \"*\": {} }\ntypes: [{ from: bigint unsigned, to: bigint }]\n");
    job.move_all();
    assert_eq!(target.value("INSERT INTO users DEFAULT VALUES RETURNING id::text"), "42");
}

/// A counter that has given out all of its values, columns computed from computed ones, and defaults of other
/// types than their columns.
#[test]
fn m_24_m_26_what_counted_to_its_end_and_what_is_computed_from_what_is() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (maria.database("past"), server.database("target"));
    source.execute(
        "CREATE TABLE spent (id tinyint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY); INSERT INTO spent VALUES (255);
         CREATE TABLE made (id int PRIMARY KEY, a int AS (id + 1) STORED, b int AS (a + 1) VIRTUAL);
         INSERT INTO made (id) VALUES (1);
         CREATE TABLE odd (id int PRIMARY KEY, b blob DEFAULT 1, e varbinary(9) DEFAULT '', n decimal(30) DEFAULT now());
         INSERT INTO odd (id) VALUES (1)",
    );
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.run(&["plan"]).expect(3).says("U903").says("made.b").says("generated itself");
    job.write_plan(&format!("{EVERYTHING}accept: [{{ hazard: U903, reason: known }}]\n"));
    job.move_all();
    assert_eq!(target.value("SELECT a || ' ' || b FROM made"), "2 3");
    assert_eq!(target.value("SELECT encode(b, 'escape') || encode(e, 'hex') FROM odd"), "1");
    assert!(target.session().try_execute("INSERT INTO spent DEFAULT VALUES").is_err(), "all were given out");
}

/// Each odd table alone is refused at plan time, and nothing of it reaches the target.
#[test]
fn values_and_tables_that_do_not_fit_are_refused() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (maria.fixture("odd"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    let refused = [
        ("m_07_nul", 3, "V203"),
        ("m_11_error", 3, "V210"),
        ("m_13_dates", 3, "V202"),
        ("m_15_zero", 3, "V202"),
        ("m_16_spans", 3, "V209"),
        ("m_21_place", 65, "E125"),
        ("m_24_generated", 3, "U903"),
        ("k_301_mail", 3, "K301"),
        ("s_29_child", 3, "K303"),
        ("s_35_defaults", 3, "K306"),
        ("s_37_myisam", 3, "C501"),
    ];
    for (table, exit, code) in refused {
        let parent = if table == "s_29_child" { "\n  s_29_parent: {}" } else { "" };
        job.write_plan(&format!("tables:\n  {table}: {{}}{parent}\n"));
        job.run(&["plan"]).expect(exit).says(table).says(code);
        job.run(&["apply", "--yes"]).expect(exit);
    }
    let tables =
        "SELECT count(*)::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    assert_eq!(target.value(tables), "0");
}

/// What is odd and still has a place on the target arrives.
#[test]
fn odd_tables_that_fit_arrive() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (maria.fixture("odd"), server.database("target"));
    let kept = [
        "m_01_beyond",
        "m_02_flags",
        "m_08_charset",
        "m_16_spans",
        "m_24_generated",
        "s_01_keyless",
        "s_15_drawn",
        "s_16_parts",
        "s_35_defaults",
        "s_37_myisam",
    ];
    let tables: String = kept.iter().map(|table| format!("  {table}: {{}}\n")).collect();
    let tables = tables.replace("m_16_spans: {}", "m_16_spans: { columns: { t: { type: text } } }");
    let rest = format!(
        "tables:\n{tables}  s_38_versioned: {{}}\naccept:\n  - {{ hazard: K302, reason: \"loaded once\" }}\n  \
         - {{ hazard: U903, reason: \"tried\" }}\n  - {{ hazard: K306, reason: \"tried\" }}\n  \
         - {{ hazard: C501, reason: \"nobody writes\" }}\n"
    );
    let job = Job::new(&source.url(), &target.url(), &rest);
    job.move_all();
    same_as_postgres(&source, &target, "public", &kept);
    // S-38: the present rows only.
    assert_eq!(target.value("SELECT string_agg(v::text, ',') FROM s_38_versioned"), "2");
    // S-15: no value that the source's sequence may have handed out is handed out again.
    let drawn: i64 =
        target.value("INSERT INTO s_15_drawn (v) VALUES (3) RETURNING id::text").parse().unwrap();
    assert!(drawn >= 110, "{drawn}");
    let defaults = target.value(
        "INSERT INTO s_35_defaults DEFAULT VALUES RETURNING id || ' ' || text || ' ' || nul || ' ' || n || ' ' || bits || ' ' || e",
    );
    assert_eq!(defaults, "6 it's \\ ok NULL -1.50 0101 y");
}

fn message_of(source: &str, server: &crate::support::postgres::Server) -> crate::support::command::Outcome {
    let target = server.database("target");
    Job::new(source, &target.url(), EVERYTHING).run(&["plan"])
}

/// What a user reads when the URL leads nowhere, or to somebody else.
#[test]
fn u_11_and_u_12_what_is_wrong_with_a_source_is_said() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let source = maria.database("empty");
    message_of(&source.url_of("towpath", "canary-wr0ng"), server)
        .expect(69)
        .says("1045")
        .says("check user and password");
    let nowhere = Database { name: "no_such".into(), port: maria.port };
    message_of(&nowhere.url(), server).expect(69).says("no_such").says("never creates");
    let closed = Database { name: "x".into(), port: 1 };
    message_of(&closed.url(), server).expect(69).says("E311").says("nothing listens on port 1");
    let verified = source.url().replace("?sslmode=disable", "");
    // From 11.4 on a server makes a certificate for itself.
    let (why, way) = match source.value("SELECT @@have_ssl").as_str() {
        "YES" => ("not signed by an authority", "sslmode=require"),
        _ => ("does not offer TLS", "sslmode=disable"),
    };
    message_of(&verified, server).expect(69).says(why).says(way);
    let other = Database { name: "x".into(), port: server.port };
    message_of(&other.url().replace("?", "?connect_timeout=1&"), server)
        .expect(69)
        .says("no answer within 1 s");
}

/// As far as the server's own rights go, a user that may only read its tables is enough.
#[test]
fn p_802_grants_are_told_and_suffice() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (maria.fixture("sakila_like"), server.database("target"));
    let name = format!("reader_{}", maria.port);
    maria.admin(&format!("CREATE OR REPLACE USER {name}@'127.0.0.1' IDENTIFIED BY '{PASSWORD_OF_OTHERS}'"));
    maria.admin(&format!("GRANT SELECT ON {}.film TO {name}@'127.0.0.1'", source.name));
    maria.admin(&format!("GRANT SELECT (store_id) ON {}.store TO {name}@'127.0.0.1'", source.name));
    let job = Job::new(&source.url_of(&name, PASSWORD_OF_OTHERS), &target.url(), RENTAL);
    job.run(&["plan"])
        .expect(3)
        .says("P802")
        .says(&format!("GRANT SELECT ON `{}`.`store` TO '{name}'@'127.0.0.1'", source.name))
        .says("GRANT SHOW VIEW ON");
    let own = Job::new(&source.url(), &target.url(), RENTAL);
    let statements = own.run(&["grants", "--role", &format!("{name}@127.0.0.1")]).expect(0).stdout;
    let mine = statements.lines().filter(|line| line.contains(&format!("'{name}'@")));
    mine.for_each(|statement| maria.admin(statement.trim_end_matches(';')));
    job.move_all();
    same_as_postgres(&source, &target, "public", &FILMS);
}

/// Many rows in many pieces; `kill -9` at random moments, then the same command again.
#[test]
fn f_01_killed_at_random_times_and_resumed() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (maria.database("bulk"), server.database("target"));
    source.execute(
        "CREATE TABLE items (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, body varchar(200) NOT NULL, n bigint);
         CREATE TABLE pairs (a varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL, b int NOT NULL, v double, PRIMARY KEY (a, b));
         INSERT INTO items (body, n) SELECT REPEAT(MD5(seq), 5), seq * 7 FROM seq_1_to_60000;
         INSERT INTO pairs SELECT MD5(seq % 300), seq, seq / 3 FROM seq_1_to_30000;",
    );
    let rest = format!("{EVERYTHING}limits: {{ chunk: 1MiB, readers: 2, writers: 2 }}\n");
    let job = Job::new(&source.url(), &target.url(), &rest);
    let mut killed = 0;
    for attempt in 0..5 {
        let mut run = job.start_apply();
        let after = std::time::Duration::from_millis(150 + pseudo_random(attempt) % 900);
        let start = std::time::Instant::now();
        wait_until("its moment has come", std::time::Duration::from_secs(60), || {
            run.ended() || start.elapsed() >= after
        });
        killed += u32::from(!run.ended());
        run.kill();
    }
    assert!(killed > 0, "it always ended before it could be killed");
    job.apply().expect(0);
    job.is_done();
    same_as_postgres(&source, &target, "public", &["items", "pairs"]);
}
