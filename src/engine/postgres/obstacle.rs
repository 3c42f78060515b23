//! What keeps a capture from working, or makes it a danger to the source: settings, privileges,
//! tables whose rows the log cannot tell apart, transactions that the slot would wait for. Found
//! by reading only; each with a code and a way out.

use super::connect::{Link, Role};
use super::error::escape;
use super::followed::{self, Leaf, Present};
use super::publication::{self, Found, identity_columns};
use super::quote::{identifier, is_key_word, name};
use super::relation::How;
use super::slot;
use super::text::SYNTAX;
use super::types;
use super::wire::{Answer, Wire};
use crate::catalog::name::show;
use crate::catalog::token::{Kind, Token, tokenize};
use crate::change::{Followed, Identity};
use crate::engine::{CaptureSpec, Cause, EngineError, Obstacle};

const DOING: &str = "look at what a capture needs at";

/// All obstacles.
pub async fn all(
    link: &Link,
    wire: &mut Wire,
    spec: &CaptureSpec<'_>,
    object: &str,
) -> Result<Vec<Obstacle>, EngineError> {
    let mut found = Vec::new();
    let version = link.server.version;
    let facts = wire.query(&settings(version)).await.map_err(|fault| fault.doing(DOING))?;
    let facts = Facts(facts.into_iter().next().unwrap_or_default());
    let slot = slot::find(wire, object).await?;
    let publication = publication::find(wire, spec.plan, object, version).await?;
    server(&facts, version, slot.is_some(), &mut found);
    if slot.is_some_and(|slot| slot.foreign) {
        found.push(stands_in_the_way("replication slot", object));
    }
    if publication == Found::Foreign {
        found.push(stands_in_the_way("publication", object));
    }
    let present = followed::read(wire, spec.tables).await?;
    for (followed, present) in spec.tables.iter().zip(&present) {
        match present {
            Some(present) => table(followed, present, version, &facts, &mut found),
            None => found.push(missing(followed)),
        }
    }
    waiting(wire, &mut found).await?;
    // The last word is the server's own: a pooler, pg_hba.conf or a full house shows only there.
    if !found.iter().any(|obstacle| obstacle.blocks && obstacle.at == SERVER) {
        match link.wire(Role::Replication).await {
            Ok(wire) => wire.terminate().await,
            Err(error) => found.push(unreachable(error)?),
        }
    }
    Ok(found)
}

/// What an obstacle of the whole server is at.
const SERVER: &str = "server";

fn settings(version: u32) -> String {
    // A standby that reads from here hangs on a slot of its own, or shows as a walsender.
    let idle = match version >= 180_000 {
        true => "pg_catalog.current_setting('idle_replication_slot_timeout')",
        false => "'0'",
    };
    // From PostgreSQL 19 on the first logical slot raises the level from replica by itself.
    let level = "pg_catalog.current_setting('wal_level')";
    let level = match version >= 190_000 {
        true => format!("CASE {level} WHEN 'replica' THEN 'logical' ELSE {level} END"),
        false => level.to_string(),
    };
    format!(
        "SELECT {level}, \
         pg_catalog.current_setting('max_replication_slots')::pg_catalog.int4 - \
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots), \
         pg_catalog.current_setting('max_wal_senders')::pg_catalog.int4 - (SELECT pg_catalog.count(*) \
           FROM pg_catalog.pg_stat_activity AS a WHERE a.backend_type = 'walsender'), \
         pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_slot_wal_keep_size')), \
         pg_catalog.pg_is_in_recovery(), r.rolreplication OR r.rolsuper, r.rolname, \
         pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), pg_catalog.current_database(), \
         (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots AS s WHERE s.slot_type = 'physical') + \
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication AS s WHERE s.application_name <> 'towpath' \
            AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_replication_slots AS l WHERE l.active_pid = s.pid)), \
         pg_catalog.current_setting('max_slot_wal_keep_size'), {idle}, \
         coalesce((SELECT pg_catalog.pg_has_role(m.oid, 'MEMBER') FROM pg_catalog.pg_roles AS m \
           WHERE m.rolname IN ('rds_replication') LIMIT 1), false) \
         FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER"
    )
}

/// The answer of [`settings`].
struct Facts(Answer);

impl Facts {
    fn text(&self, at: usize) -> &str {
        self.0.cell(at).unwrap_or("")
    }

    fn number(&self, at: usize) -> i64 {
        self.text(at).parse().unwrap_or_default()
    }

    fn truth(&self, at: usize) -> bool {
        self.text(at) == "t"
    }

    fn role(&self) -> String {
        identifier(self.text(6))
    }
}

fn stop(
    code: &'static str,
    at: impl ToString,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Obstacle {
    Obstacle { code, at: at.to_string(), message: message.into(), hint: hint.into(), blocks: true }
}

fn warn(
    code: &'static str,
    at: impl ToString,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Obstacle {
    Obstacle { blocks: false, ..stop(code, at, message, hint) }
}

/// Settings of the server and privileges of the role.
fn server(facts: &Facts, version: u32, stands: bool, found: &mut Vec<Obstacle>) {
    let level = facts.text(0);
    if level != "logical" {
        found.push(stop(
            "C502",
            SERVER,
            format!("wal_level is {level}: the log does not tell rows apart"),
            "ALTER SYSTEM SET wal_level = logical; then restart the server",
        ));
    }
    if facts.number(1) < 1 && !stands {
        found.push(stop(
            "C502",
            SERVER,
            "all replication slots are in use",
            "raise max_replication_slots (needs a restart), or drop a slot that nobody reads from",
        ));
    }
    // One holds the snapshot, one reads the log.
    if facts.number(2) < 2 {
        found.push(stop(
            "C502",
            SERVER,
            format!("free sessions for replication: {}; a capture needs 2", facts.number(2).max(0)),
            "raise max_wal_senders (needs a restart)",
        ));
    }
    if facts.truth(4) {
        let message = match version < 160_000 {
            true => "this is a standby, and before PostgreSQL 16 a standby has no log to read",
            false => "this is a standby: the publication has to be made on its primary",
        };
        found.push(stop("C502", SERVER, message, "use the address of the primary"));
    }
    privileges(facts, found);
    retention(facts, found);
    if let Some(fixed) = lossy(version) {
        found.push(warn(
            "C502",
            SERVER,
            format!(
                "this server loses changes when a publication is altered while tables are written \
                 (fixed in {fixed})"
            ),
            format!("update the server to {fixed}; do not alter publications meanwhile"),
        ));
    }
    if facts.number(9) > 0 {
        found.push(warn(
            "C511",
            SERVER,
            "the source has a standby, and the slot does not survive a failover to it",
            "after a failover the capture is opened again and the tables are copied again",
        ));
    }
}

fn privileges(facts: &Facts, found: &mut Vec<Obstacle>) {
    let role = facts.role();
    if !facts.truth(5) && !facts.truth(12) {
        found.push(stop(
            "P802",
            SERVER,
            format!("the role {role} may not read the log"),
            format!(
                "ALTER ROLE {role} REPLICATION (a managed service may want: GRANT rds_replication TO {role})"
            ),
        ));
    }
    if !facts.truth(7) {
        let database = identifier(facts.text(8));
        found.push(stop(
            "P802",
            SERVER,
            format!("the role {role} may not make a publication in this database"),
            format!("GRANT CREATE ON DATABASE {database} TO {role}"),
        ));
    }
}

fn retention(facts: &Facts, found: &mut Vec<Obstacle>) {
    match facts.number(3) {
        ..0 => found.push(warn(
            "C506",
            SERVER,
            "the source keeps log for the slot without any limit: a follow that stands still fills its disk",
            "set max_slot_wal_keep_size to what the disk can spare, or watch the lag",
        )),
        _ => found.push(warn(
            "C505",
            SERVER,
            format!("the source keeps at most {} of log for the slot", escape(facts.text(10))),
            "the copy and any pause must write less log than that, or the tables are copied again",
        )),
    }
    let idle = facts.text(11);
    if !matches!(idle, "" | "0") {
        found.push(warn(
            "C505",
            SERVER,
            format!("the source drops a slot that nobody reads from for {}", escape(idle)),
            "the copy and any pause must be shorter, or set idle_replication_slot_timeout = 0",
        ));
    }
}

/// The release in which a server stops losing changes (PostgreSQL commits 4909b38af0 and the one
/// that followed it), for versions before it.
fn lossy(version: u32) -> Option<&'static str> {
    match (version / 10_000, version % 10_000) {
        (14, ..18) => Some("14.18"),
        (15, ..13) => Some("15.13"),
        (16, ..9) => Some("16.9"),
        (17, ..5) => Some("17.5"),
        _ => None,
    }
}

fn stands_in_the_way(kind: &str, object: &str) -> Obstacle {
    stop(
        "C502",
        object,
        format!("a {kind} of this name is there, and Towpath did not make it for this plan"),
        "drop it if nobody needs it, or rename the plan",
    )
}

fn missing(followed: &Followed) -> Obstacle {
    stop("C502", &followed.projection.source, "the table is not there", "plan again")
}

/// One table: can its rows be told apart, by the log and in the way of the plan?
fn table(followed: &Followed, present: &Present, version: u32, facts: &Facts, found: &mut Vec<Obstacle>) {
    let at = &followed.projection.source;
    if !present.owned {
        let (owner, role) = (identifier(&present.owner), facts.role());
        found.push(stop(
            "P802",
            at,
            format!("only its owner {owner} may publish it"),
            format!("GRANT {owner} TO {role}"),
        ));
    }
    if present.persistence != 'p' || present.leaves.iter().any(|leaf| leaf.persistence != 'p') {
        found.push(stop(
            "C507",
            at,
            "it is unlogged: the log tells nothing of it",
            format!("ALTER TABLE {} SET LOGGED, or copy it without cdc", name(at)),
        ));
    }
    if present.partitioned {
        found.push(warn(
            "C507",
            at,
            "its rows are told under its own name: of a TRUNCATE of a single partition the log tells nothing",
            "empty partitions by DELETE, or the whole table by TRUNCATE, while it is followed",
        ));
    }
    if present.hides {
        found.push(stop(
            "P801",
            at,
            "row-level security hides rows from this role, in the copy and not in the log",
            format!("ALTER ROLE {} BYPASSRLS, or use the table's owner", facts.role()),
        ));
    }
    if let Some((message, hint)) = unidentified(followed, present) {
        found.push(stop("C503", at, message, hint));
    }
    filter(followed, present, version, found);
    for column in present.columns.iter().filter(|column| column.generated) {
        if followed.projection.columns.iter().any(|map| map.source == column.name) {
            let column = show(&column.name);
            found.push(stop(
                "C502",
                at,
                format!("values of its generated column {column} are not in the log"),
                format!("leave it behind (`{column}: skip`), or write cdc: false for this table"),
            ));
        }
    }
    for column in &followed.projection.columns {
        if How::of(column, followed.projection.form).is_none() {
            found.push(stop(
                "C502",
                at,
                format!(
                    "the column {} is moved to another zone, which a stream cannot do",
                    show(&column.source)
                ),
                "take the zone UTC, or copy this table without cdc",
            ));
        }
    }
}

/// Why the log does not tell which row was changed; publishing such a table would break the
/// application's own updates.
fn unidentified(followed: &Followed, present: &Present) -> Option<(String, String)> {
    let table = name(&followed.projection.source);
    let full = format!("ALTER TABLE {table} REPLICA IDENTITY FULL, or give it a primary key");
    let mut keys: Vec<&str> = present.columns.iter().filter(|c| c.key).map(|c| c.name.as_str()).collect();
    keys.sort_unstable();
    let lines = keys.join("\n");
    let differs =
        |leaf: &&Leaf| leaf.identity != present.identity || present.identity != 'f' && leaf.key != lines;
    if let Some(leaf) = present.leaves.iter().find(differs) {
        let message = format!(
            "its partition {} tells rows apart in another way than the table itself",
            escape(&leaf.name)
        );
        return Some((message, "give all partitions the same replica identity".to_string()));
    }
    if present.identity == 'f' {
        return match &followed.identity {
            Identity::Columns(_) => None,
            Identity::Whole => whole(followed, present),
        };
    }
    if keys.is_empty() {
        let message = match present.identity {
            'n' => "its replica identity is NOTHING: the log does not tell which row was changed",
            'i' => "the index of its replica identity is gone: the log does not tell which row was changed",
            _ => "it has no primary key that is checked at once: the log does not tell which row was changed",
        };
        return Some((message.to_string(), full));
    }
    let mut planned = identity_columns(followed);
    planned.sort_unstable();
    (planned != keys).then(|| {
        let list = |names: &[&str]| names.iter().map(|name| show(name)).collect::<Vec<_>>().join(", ");
        let message = match planned.is_empty() {
            true => {
                format!("the log tells its rows apart by ({}), and the plan by the whole row", list(&keys))
            }
            false => format!(
                "the log tells its rows apart by ({}), and the plan by ({})",
                list(&keys),
                list(&planned)
            ),
        };
        (message, full)
    })
}

/// A whole row identifies only with all of its columns.
fn whole(followed: &Followed, present: &Present) -> Option<(String, String)> {
    let carried = |name: &str| followed.projection.columns.iter().any(|column| column.source == name);
    let left = present.columns.iter().find(|column| !column.generated && !carried(&column.name))?;
    let message =
        format!("rows are told apart by all columns, and the plan leaves {} behind", show(&left.name));
    Some((message, "carry all columns, or give the table a primary key".to_string()))
}

/// A filter is decided by the server, for the old row and the new one: by the identity alone.
fn filter(followed: &Followed, present: &Present, version: u32, found: &mut Vec<Obstacle>) {
    let Some(text) = &followed.projection.filter else { return };
    let at = &followed.projection.source;
    if version < 150_000 {
        found.push(stop(
            "C502",
            at,
            publication::NO_FILTER,
            "follow the whole table, or copy it without cdc",
        ));
        return;
    }
    if present.identity == 'f' {
        return;
    }
    let Ok(tokens) = tokenize(text, &SYNTAX.tokens) else { return };
    let called = |at: usize| tokens.get(at + 1).is_some_and(|next| next.is("("));
    let key_word = |token: &Token<'_>| token.kind == Kind::Word && is_key_word(&token.text.to_lowercase());
    let plain = tokens.iter().enumerate().filter(|(at, token)| !called(*at) && !key_word(token));
    let names: Vec<String> = plain.filter_map(|(_, token)| types::fold(token)).collect();
    let outside = present.columns.iter().filter(|column| !column.key && names.contains(&column.name));
    for column in outside {
        let error = publication::filter_outside(followed, &column.name);
        found.push(stop("E128", at, error.message, error.hint.unwrap_or_default()));
    }
}

/// Transactions that a slot made now would wait for.
async fn waiting(wire: &mut Wire, found: &mut Vec<Obstacle>) -> Result<(), EngineError> {
    let moment = "pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => 60)";
    let answers = wire.query(&slot::old_transactions(moment)).await.map_err(|fault| fault.doing(DOING))?;
    for who in answers.first().map(slot::described).unwrap_or_default() {
        found.push(warn(
            "C502",
            SERVER,
            format!("the slot would wait for {who}"),
            "end it before the capture is opened: COMMIT or ROLLBACK, COMMIT PREPARED or ROLLBACK PREPARED",
        ));
    }
    Ok(())
}

/// Plain sessions come through, and one for replication does not. A connection that breaks is no
/// obstacle: the next one may come through.
fn unreachable(error: EngineError) -> Result<Obstacle, EngineError> {
    let pooled = error.contract == Some("C510")
        || error.code.as_deref() == Some("08P01")
        || error.cause == Cause::NotFound;
    let hint = error.hint.clone().unwrap_or_else(|| {
        "allow replication connections of this role, and use the address of the server itself".to_string()
    });
    let message = format!("no session for replication: {}", error.message);
    match pooled {
        true => Ok(stop("C510", SERVER, message, hint)),
        false if error.cause == Cause::Connection => Err(EngineError { message, ..error }),
        false => Ok(stop("C502", SERVER, message, hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_33_a_connection_that_breaks_is_no_obstacle() {
        let asked = |cause| unreachable(EngineError::new(cause, DOING, "why"));
        let error = asked(Cause::Connection).expect_err("an error");
        assert!(error.message.contains("for replication: why"), "{error}");
        for (cause, code) in
            [(Cause::NotFound, "C510"), (Cause::Authentication, "C502"), (Cause::Resources, "C502")]
        {
            assert_eq!(asked(cause).expect("an obstacle").code, code, "{cause:?}");
        }
    }

    #[test]
    fn h_20_versions_that_lose_changes() {
        assert_eq!(lossy(150_012), Some("15.13"));
        assert_eq!(lossy(150_013), None);
        assert_eq!(lossy(170_004), Some("17.5"));
        assert_eq!(lossy(180_000), None);
        assert_eq!(lossy(140_023), None);
    }
}
