//! Foreign keys that are on the target before the load: they order it, and where no order helps they
//! are out of force until all rows are there.

use tempfile::TempDir;

use super::followed::{Followed, PLAN};
use crate::support::mariadb;
use crate::support::postgres::{Database, moving_server};
use crate::support::scenario::{EVERYTHING, Job};
use crate::support::sqlite::File;
use crate::{need_mariadb, need_server};

const REPLACE: &str = "
defaults: { load: replace }
tables: { \"*\": {} }
";
const AGREED: &str = "
accept:
  - { hazard: D102, reason: \"last week's rows\" }
  - { hazard: D103, reason: \"made again\" }
";

/// Tables that were made before, with their foreign keys, which look at every row: parents come first.
#[test]
fn s_34_foreign_keys_that_are_there_order_the_load() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    let tables = "CREATE TABLE z_region (id int, part int, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
         CREATE TABLE z_one PARTITION OF z_region FOR VALUES IN (1);
         CREATE TABLE y_user (id int PRIMARY KEY, boss int REFERENCES y_user, region int, part int,
            FOREIGN KEY (region, part) REFERENCES z_region);
         CREATE TABLE x_order (id int PRIMARY KEY, by int REFERENCES y_user) PARTITION BY RANGE (id);
         CREATE TABLE a_orders PARTITION OF x_order FOR VALUES FROM (0) TO (100);";
    source.execute(tables);
    target.execute(tables);
    source.execute(
        "INSERT INTO z_region VALUES (1, 1); INSERT INTO y_user VALUES (1, 1, 1, 1);
         INSERT INTO x_order VALUES (1, 1)",
    );
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{AGREED}"));
    job.apply().expect(0);
    job.run(&["verify"]).expect(0);
}

/// Two tables that point at each other, one that points at itself, and children of them, one of them
/// by a partitioned table's key.
const ORGANIZED: &str = "
CREATE TABLE org (id int PRIMARY KEY, owner int);
CREATE TABLE person (id int PRIMARY KEY, org int REFERENCES org, boss int REFERENCES person ON DELETE CASCADE);
ALTER TABLE org ADD CONSTRAINT org_owner_fkey FOREIGN KEY (owner) REFERENCES person DEFERRABLE;
CREATE TABLE badge (id int PRIMARY KEY, person int REFERENCES person ON DELETE CASCADE);
CREATE TABLE visit (id int, day int, badge int REFERENCES badge, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM (0) TO (100);
CREATE TABLE visit_2 PARTITION OF visit FOR VALUES FROM (100) TO (200);
CREATE TABLE stamp (visit int, day int, FOREIGN KEY (visit, day) REFERENCES visit);
";

fn keys(database: &Database) -> Vec<Vec<Option<String>>> {
    database.rows(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated::text
           FROM pg_constraint WHERE contype = 'f' ORDER BY 1, 2",
    )
}

fn organize(source: &Database, target: &Database) {
    for end in [source, target] {
        end.execute(ORGANIZED);
    }
    source.execute(
        "INSERT INTO org VALUES (1, NULL), (2, NULL); INSERT INTO person VALUES (1, 2, 1), (2, 1, 1), (3, 1, 2);
         UPDATE org SET owner = id; INSERT INTO badge VALUES (7, 3); INSERT INTO visit VALUES (1, 1, 7), (2, 150, 7);
         INSERT INTO stamp VALUES (2, 150)",
    );
    target.execute(
        "ALTER TABLE badge RENAME CONSTRAINT badge_person_fkey TO \"of whom\";
         INSERT INTO org VALUES (9, NULL); INSERT INTO person VALUES (8, 9, 8); INSERT INTO badge VALUES (6, 8);
         INSERT INTO visit VALUES (5, 5, 6); INSERT INTO stamp VALUES (5, 5)",
    );
}

const KEYLESS: &str = "  - { hazard: K302, reason: \"loaded once\" }\n";

#[test]
fn s_34_rows_are_replaced_under_foreign_keys_that_are_there() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    organize(&source, &target);
    let before = keys(&target);
    let job = Job::new(&source.url(), &target.url(), REPLACE);
    job.run(&["plan"])
        .expect(3)
        .says("D103")
        .says("\"of whom\"")
        .says("org_owner_fkey")
        .says("person_boss_fkey");
    job.write_plan(&format!("{REPLACE}{AGREED}{KEYLESS}"));
    job.plan();
    job.apply_planned().expect(0);
    assert_eq!(keys(&target), before);
    job.run(&["verify"]).expect(0);
    job.has_nothing_to_do();
}

/// Killed when the keys are gone and no row has come: the same plan goes on.
#[test]
fn f_01_a_load_without_its_foreign_keys_goes_on() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    organize(&source, &target);
    let before = keys(&target);
    let job = Job::new(&source.url(), &target.url(), &format!("{REPLACE}{AGREED}{KEYLESS}"));
    job.plan();
    let digest = job.digest();
    job.towpath.clone().env("FAILPOINTS", "copy::mid_rows=return").run(&["apply", "--yes"]);
    assert!(keys(&target).len() < before.len(), "nothing was dropped");
    job.plan();
    assert_eq!(job.digest(), digest, "the plan is another one");
    job.apply().expect(0);
    assert_eq!(keys(&target), before);
    job.run(&["verify"]).expect(0);
    job.has_nothing_to_do();
}

/// A circle of keys does not stop a load into empty tables, either.
#[test]
fn s_34_tables_that_point_at_each_other_are_loaded() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    organize(&source, &target);
    target.execute("TRUNCATE org, person, badge, visit, stamp");
    let before = keys(&target);
    let job = Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{AGREED}{KEYLESS}"));
    job.plan();
    job.apply_planned().expect(0);
    assert_eq!(keys(&target), before);
    job.has_nothing_to_do();
}

/// What the plan does not carry may refer to rows that are to go: nothing is touched.
#[test]
fn s_34_a_key_that_the_plan_does_not_carry_stops_it() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    for end in [&source, &target] {
        end.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    }
    target.execute(
        "CREATE TABLE theirs (t int CONSTRAINT \"to t\" REFERENCES t); INSERT INTO theirs VALUES (1)",
    );
    let job = Job::new(&source.url(), &target.url(), &format!("{REPLACE}{AGREED}"));
    job.run(&["plan"]).expect(3).says("E209").says("\"to t\"").says("public.theirs");
    target.execute("ALTER TABLE theirs DROP CONSTRAINT \"to t\"");
    job.apply().expect(0);
}

/// Copying again empties tables under keys that were there before the plan.
#[test]
fn g_10_tables_are_copied_again_under_foreign_keys_that_are_there() {
    let Some(server) = moving_server() else { return };
    let followed = Followed::not_yet(server, server, PLAN);
    followed.target.execute(
        "CREATE TABLE items (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, n bigint NOT NULL DEFAULT 0, body text);
         CREATE TABLE notes (id serial PRIMARY KEY, item bigint CONSTRAINT \"of it\" REFERENCES items ON DELETE CASCADE,
            note text)",
    );
    followed.job.apply().expect(0);
    let before = keys(&followed.target);
    let again = followed.job.run(&["apply", "--yes", "--recopy"]).expect(0);
    again.says("2 tables of the target emptied and copied again, 1 foreign key made again");
    assert_eq!(keys(&followed.target), before);
    followed.source.execute("INSERT INTO items (n) VALUES (6)");
    followed.catches_up();
    followed.cuts_over();
}

const FAMILY: &str = "
CREATE TABLE a_child (id INT PRIMARY KEY, p INT, CONSTRAINT a_p FOREIGN KEY (p) REFERENCES z_parent (id) ON DELETE CASCADE);
";

/// The server would delete what hangs on the rows that go, or refuse rows whose parents come later.
#[test]
fn s_34_rows_are_replaced_under_foreign_keys_on_mariadb() {
    replaced_in_the_family(need_mariadb!());
}

pub(super) fn replaced_in_the_family(maria: &mariadb::Server) {
    let server = need_server!();
    let (source, target) = (server.database("source"), maria.database("target"));
    source.execute(
        "CREATE TABLE z_parent (id int PRIMARY KEY, self int);
         INSERT INTO z_parent VALUES (1, 2), (2, 1), (3, NULL);
         CREATE TABLE a_child (id int PRIMARY KEY, p int CONSTRAINT a_p REFERENCES z_parent ON DELETE CASCADE);
         ALTER TABLE z_parent ADD CONSTRAINT z_self FOREIGN KEY (self) REFERENCES z_parent;
         INSERT INTO a_child VALUES (1, 3), (2, NULL)",
    );
    target.execute(
        "CREATE TABLE z_parent (id INT PRIMARY KEY, self INT, CONSTRAINT z_self FOREIGN KEY (self) REFERENCES z_parent (id))",
    );
    target.execute(FAMILY);
    target.execute("INSERT INTO z_parent VALUES (8, 8), (9, 8); INSERT INTO a_child VALUES (5, 9)");
    let job = Job::new(&source.url(), &target.url(), &format!("{REPLACE}{AGREED}"));
    job.plan();
    job.apply_planned().expect(0);
    job.run(&["verify"]).expect(0);
    job.has_nothing_to_do();
    assert_eq!(target.value("SELECT COUNT(*) FROM a_child JOIN z_parent ON p = z_parent.id"), "1");
    assert!(target.try_execute("INSERT INTO a_child VALUES (9, 77)").is_err(), "the key does not hold");
}

/// Rows are loaded without a look at keys that are there: what has no parent is found after them.
#[test]
fn s_34_rows_without_a_parent_are_found_on_mariadb() {
    let (server, maria) = (need_server!(), need_mariadb!());
    let (source, target) = (server.database("source"), maria.database("target"));
    source.execute(
        "CREATE TABLE z_parent (id int PRIMARY KEY); INSERT INTO z_parent VALUES (1), (2);
         CREATE TABLE a_child (id int PRIMARY KEY, p int CONSTRAINT a_p REFERENCES z_parent ON DELETE CASCADE);
         INSERT INTO a_child VALUES (1, 1), (2, 2)",
    );
    target.execute("CREATE TABLE z_parent (id INT PRIMARY KEY)");
    target.execute(FAMILY);
    let plan = "tables:\n  a_child: {}\n  z_parent: { where: \"id = 1\" }\n\
                accept: [{ hazard: D104, reason: \"part of it\" }]\n";
    let job = Job::new(&source.url(), &target.url(), plan);
    job.apply().expect(6).says("a_child").says("a_p").says("1 found");
    target.execute("DELETE FROM a_child WHERE p = 2");
    job.apply().expect(0);
}

/// SQLite looks at no key by itself.
#[test]
fn s_34_rows_without_a_parent_are_found_on_sqlite() {
    let directory = TempDir::new().unwrap();
    let (source, target) = (File::new(directory.path(), "s.db"), File::new(directory.path(), "t.db"));
    for end in [&source, &target] {
        end.execute(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY); \
             CREATE TABLE child (id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent (id));",
        );
    }
    source.execute("INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 2)");
    let plan = "tables:\n  child: {}\n  parent: { where: \"id = 1\" }\n\
                accept: [{ hazard: D104, reason: \"part of it\" }]\n";
    let job = Job::new(&source.url(), &target.url(), plan);
    job.apply().expect(6).says("child").says("1 found");
    target.execute("DELETE FROM child WHERE p = 2");
    job.apply().expect(0);
    job.has_nothing_to_do();
}
