//! What keeps a way back from being made: told when planning, with a code, a place and a way out;
//! and a cutover that does not come off leaves nothing of it on either end.

use super::*;
use crate::need_server;

/// A gate that fails behind the fence, and one that fails before it.
#[test]
fn a_gate_that_fails_leaves_nothing_behind() {
    let check = "sequences: { margin: 5 }, checks: [{ db: target, sql: \"SELECT 1 FROM sales.lines\" }]";
    let world = World::new(need_server!(), &PLAN.replace("sequences: { margin: 5 }", check)).moved();
    world.job.run(&["cutover", "--yes"]).expect(7).says("a check of the plan returned");
    world.has_no_way_back();
    world.source.execute(&work(&OLD, "one", 1));
    world.run(&["status"]);

    let late = world.target.value("SELECT count(*) FROM accounts");
    world.target.execute("INSERT INTO accounts (mail) VALUES ('nobody asked')");
    world.job.write_plan(PLAN);
    world.job.run(&["cutover", "--yes"]).expect(7).says("differ in");
    world.has_no_way_back();
    world.target.execute("DELETE FROM accounts WHERE mail = 'nobody asked'");
    assert_eq!(
        world.target.value("SELECT count(*) FROM accounts"),
        (late.parse::<u32>().unwrap() + 1).to_string()
    );

    world.run(&["cutover", "--dry-run"]).says("Ready");
    world.has_no_way_back();
    world.run(&["cutover", "--yes"]);
    world.are_equal();
}

/// What changed on the target since the plan was made: told while everybody may still write.
#[test]
fn a_target_that_cannot_be_followed_is_told_before_anything_is_made() {
    let world = World::new(need_server!(), PLAN).moved();
    world.target.execute("ALTER TABLE accounts REPLICA IDENTITY NOTHING");
    world.job.run(&["cutover", "--yes"]).expect(3).says("C514").says("replica identity is nothing");
    world.target.execute("ALTER TABLE accounts REPLICA IDENTITY FULL");
    world.has_no_way_back();
    world.run(&["cutover", "--yes"]);
    world.target.execute(&work(&NEW, "after", 3));
    world.run(&["follow", "--back", "--until-lag", "0s"]);
    world.are_equal();
}

/// A transaction on the target that does not end: no slot can be made, and nobody is fenced for it.
#[test]
fn f_72_a_slot_that_cannot_be_made_leaves_nothing_behind() {
    let Some(other) = crate::support::postgres::other_server() else { return };
    let world = World::of(need_server!().database("old"), other.database("new"), PLAN).moved();
    let mut holder = world.target.session();
    holder.execute("BEGIN; SELECT pg_current_xact_id()");
    let began = std::time::Instant::now();
    world.job.run(&["cutover", "--yes"]).expect(1).says("pid ");
    assert!(began.elapsed() > std::time::Duration::from_secs(30), "it waits for it");
    world.has_no_way_back();
    world.source.execute(&work(&OLD, "one", 1));
    holder.execute("ROLLBACK");
    world.run(&["cutover", "--yes"]);
    world.are_equal();
}

/// What a plan says of tables that cannot come back as they are.
#[test]
fn what_cannot_come_back_is_refused_by_name_when_planning() {
    let server = need_server!();
    let (source, target) = (server.database("old"), server.database("new"));
    source.execute(
        "CREATE TABLE part (id int PRIMARY KEY, a int); \
         CREATE TABLE needy (id int PRIMARY KEY, must int NOT NULL, may int); \
         CREATE TABLE made (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a + 1) STORED); \
         CREATE TABLE still (id int PRIMARY KEY); \
         CREATE TABLE keyed (id int PRIMARY KEY, a int UNIQUE); \
         CREATE TABLE wide (id int PRIMARY KEY, n int, t text); \
         CREATE TABLE child (id int PRIMARY KEY, wide int REFERENCES wide)",
    );
    let plan = "\
defaults: { cdc: true }
tables:
  part: { where: \"id > 0\" }
  needy: { columns: { must: skip, may: skip } }
  made: {}
  still: { cdc: false }
  keyed: { keys: [primary] }
  wide: { columns: { n: { type: bigint }, t: { type: varchar(9) } } }
  child: { keys: [primary, unique] }
reverse: true
cutover: { fence: tables }
";
    let job = job(&source.url(), &target.url(), plan);
    let plan = job.run(&["plan", "--emit", "json=p.json"]).expect(3);
    let text = std::fs::read_to_string(job.path().join("p.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let hazards = json["hazards"].as_array().unwrap();
    let has = |code: &str, at: &str, level: &str, what: &str| {
        let found = hazards.iter().any(|hazard| {
            hazard["code"] == code
                && hazard["at"] == at
                && hazard["level"] == level
                && hazard["what"].as_str().unwrap().contains(what)
                && hazard["ways"].as_array().is_some_and(|ways| !ways.is_empty())
        });
        assert!(found, "{code} at {at} ({what}) is not in {hazards:#?}\n{plan}");
    };
    has("C514", "part", "stop", "where:");
    has("C514", "needy.must", "stop", "has no value for this column");
    has("C513", "needy.may", "block", "come back without this column");
    has("C513", "still", "block", "its changes are not followed");
    has("C513", "keyed", "block", "1 unique key of the source");
    has("C513", "wide.n", "block", "integers outside");
    has("C513", "child", "block", "1 foreign key of the source");
    assert!(!hazards.iter().any(|hazard| hazard["at"].as_str().unwrap().starts_with("made")), "{hazards:#?}");
    assert!(
        !hazards.iter().any(|hazard| hazard["at"] == "wide.t" && hazard["code"] == "C513"),
        "it only grows"
    );
    job.run(&["explain", "C514"]).expect(0);
}

/// The old source has to let the applier through its own fence.
#[test]
fn a_role_that_may_not_write_back_is_told_with_the_grant() {
    let server = need_server!();
    let (source, target) = (server.database("old"), server.database("new"));
    source.execute("CREATE TABLE t (id int PRIMARY KEY, a text)");
    let role = format!("mover_{}", std::process::id());
    server.admin(&format!("CREATE ROLE {role} LOGIN PASSWORD 'x' REPLICATION"));
    let name = source.name.clone();
    source.execute(&format!("GRANT CREATE ON DATABASE {name} TO {role}; ALTER TABLE t OWNER TO {role}; GRANT CREATE ON SCHEMA public TO {role}"));
    let url = |database: &Database| {
        format!("postgres://{role}:x@127.0.0.1:{}/{}?sslmode=disable", database.port, database.name)
    };
    let plan =
        "tables: { t: { cdc: true } }\nreverse: true\ncutover: { fence: tables }\ncdc: { keep_log: 1GB }\n";
    let job = job(&url(&source), &target.url(), plan);
    let needed = format!("GRANT SET ON PARAMETER session_replication_role TO {role}");
    job.run(&["plan"]).expect(3).says("may not write as a replica").says(&needed);
    let grants = job.run(&["grants"]).expect(0).says(&needed);
    grants.says("REPLICATION");
    // With the writers kept out by the user there is no fence to pass, and triggers would act.
    job.write_plan(&plan.replace("fence: tables", "fence: none"));
    job.run(&["plan"]).expect(0);
    source.execute(
        "CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN NEW.a := NEW.a || '!'; RETURN NEW; END $$; \
         CREATE TRIGGER twice BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION twice()",
    );
    job.run(&["plan"]).expect(3).says("its triggers would act on what is applied");
    job.write_plan(plan);
    server.admin(&needed);
    job.run(&["apply", "--yes"]).expect(0);
    job.run(&["cutover", "--yes"]).expect(0);
    target.execute("INSERT INTO t VALUES (1, 'new')");
    job.run(&["follow", "--back", "--until-lag", "0s"]).expect(0);
    assert_eq!(source.value("SELECT a FROM t"), "new");
}
