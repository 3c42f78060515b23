//! Cutting over behind a fence of roles, and by the largest values instead of sequences that are
//! not to be trusted.

use super::followed::{Followed, LONG};
use crate::support::postgres::{Database, Session, moving_server};
use crate::support::wait_until;

const ROLES: &str =
    "defaults: { cdc: true }\ntables: { \"*\": {} }\ncutover: { fence: { roles: [ROLE] }, budget: 10m }\n";

/// A move whose application is a role that owns nothing; and what the role may do.
fn moved(role: &str) -> Option<(Followed, String)> {
    let server = moving_server()?;
    server.admin(&format!("CREATE ROLE {role}"));
    let followed = Followed::between(server, server, &ROLES.replace("ROLE", role));
    followed.source.execute(&format!(
        "GRANT SELECT, INSERT, UPDATE ON items, notes TO {role}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
    ));
    let rights = rights(&followed.source);
    Some((followed, rights))
}

fn rights(of: &Database) -> String {
    of.value("SELECT string_agg(relname || relacl::text, ' ' ORDER BY relname) FROM pg_class WHERE relname IN ('items', 'notes')")
}

fn application(of: &Database, role: &str) -> Session {
    let mut session = of.session();
    session.execute(&format!("SET ROLE {role}"));
    session
}

const WRITES: &str = "INSERT INTO items (n) VALUES (-9)";

/// An open session writes until the fence, then waits, and is refused once it is decided; others
/// are not. After a gate that failed and after every death it has its rights, neither more nor less.
#[test]
fn g_12_f_70_named_roles_lose_their_rights_to_write_and_only_then() {
    const ROLE: &str = "fenced_app";
    let Some((followed, before)) = moved(ROLE) else { return };
    let mut session = application(&followed.source, ROLE);
    session.execute(WRITES);

    // A gate that stays closed.
    let with_check =
        ROLES.replace("ROLE", ROLE).replace("budget", "checks: [{ db: target, sql: \"select 1\" }], budget");
    followed.job.write_plan(&with_check);
    followed.job.run(&["cutover", "--yes"]).expect(7).says("S606");
    assert_eq!(rights(&followed.source), before);
    session.execute(WRITES);

    followed.job.write_plan(&ROLES.replace("ROLE", ROLE));
    for point in ["cut::fence_after", "cut::drained", "cut::verified", "cut::point_of_no_return"] {
        let died = followed
            .job
            .towpath
            .clone()
            .env("FAILPOINTS", format!("{point}=return"))
            .run(&["cutover", "--yes"]);
        assert_eq!(died.code, None, "{died}");
        // The server lets go of what a client leaves once it notices.
        wait_until("the session writes again", LONG, || session.try_execute(WRITES).is_ok());
        assert_eq!(rights(&followed.source), before, "{point}");
    }
    // From here on the rights are gone, and a death gives nothing back.
    let died =
        followed.job.towpath.clone().env("FAILPOINTS", "cut::sealed=return").run(&["cutover", "--yes"]);
    assert_eq!(died.code, None, "{died}");
    let error = session.try_execute(WRITES).expect_err("it may not write").to_string();
    assert!(error.contains("permission denied"), "{error}");
    followed.job.run(&["cutover", "--yes"]).expect(0);
    followed.is_equal();
    session.try_execute(WRITES).expect_err("it may not write");
    session.execute("SELECT count(*) FROM items");
    // Who was not named goes on.
    followed.source.execute(WRITES);
    followed.job.run(&["clean", "--open-source"]).expect(0).says("fence of");
    assert_eq!(rights(&followed.source), before);
    session.execute(WRITES);
}

/// Who waits for a table while it is cut over has looked at no right yet.
#[test]
fn f_70_a_statement_that_waits_behind_the_fence_is_refused() {
    const ROLE: &str = "fenced_waiting";
    let Some((followed, _)) = moved(ROLE) else { return };
    let slow = followed.job.towpath.clone().env("FAILPOINTS", "cut::verified=sleep(3000)");
    let mut cutting = slow.start(&["cutover", "--yes"]);
    let mut session = application(&followed.source, ROLE);
    let mut written = 0;
    let mut refused = String::new();
    wait_until("the fence stands", LONG, || {
        match session.try_execute(WRITES) {
            Ok(()) => written += 1,
            Err(error) => refused = error.to_string(),
        }
        !refused.is_empty() || cutting.ended()
    });
    let outcome = cutting.wait().expect(0).says("for writes of fenced_waiting");
    assert!(refused.contains("permission denied"), "{refused}\n{outcome}");
    let arrived = followed.target.value("SELECT count(*)::text FROM items WHERE n = -9");
    assert_eq!(arrived, written.to_string(), "{outcome}");
    followed.is_equal();
}

/// A transaction that has written is waited for as long as a lock is, and named.
#[test]
fn f_70_an_open_transaction_of_a_role_keeps_the_fence_away() {
    const ROLE: &str = "fenced_open";
    let Some((followed, before)) = moved(ROLE) else { return };
    let mut session = application(&followed.source, ROLE);
    session.execute("BEGIN");
    session.execute(WRITES);
    followed.job.run(&["cutover", "--yes"]).expect(1).says("oldest open transaction");
    assert_eq!(rights(&followed.source), before);
    session.execute(WRITES);
    session.execute("COMMIT");
    followed.job.run(&["cutover", "--yes"]).expect(0);
    followed.is_equal();
}

/// A role that would go on writing is told when planning, and stops nothing but the cutover.
#[test]
fn g_12_a_role_that_no_fence_stops_is_refused_before_anybody_waits() {
    const ROLE: &str = "fenced_owner";
    let Some((followed, _)) = moved(ROLE) else { return };
    followed.source.execute(&format!("ALTER TABLE notes OWNER TO {ROLE}"));
    followed.job.run(&["plan"]).expect(3).says("S604").says("owns public.notes").says("fence: tables");
    followed.job.run(&["cutover", "--yes"]).expect(3).says("owns public.notes");
    assert!(followed.takes_writes());
}

/// One sequence is far behind its column and one far beyond it.
#[test]
fn s_15_f_73_sequences_by_the_largest_value_of_their_columns() {
    let plan = super::followed::PLAN
        .replace("{ fence: tables }", "{ fence: tables, sequences: { from: max, margin: 5 } }");
    let Some(followed) = Followed::new(&plan) else { return };
    followed
        .source
        .execute("INSERT INTO items (id, n) VALUES (7000, 1); SELECT setval('notes_id_seq', 900000)");
    followed.cuts_over();
    let last = |sequence: &str| followed.target.value(&format!("SELECT last_value::text FROM {sequence}"));
    // Cutting over has ended with one first row of each.
    assert_eq!(last("items_id_seq"), "7006");
    assert_eq!(last("notes_id_seq"), "56");
}
