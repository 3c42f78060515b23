//! The fence of a cutover: a transaction that locks the tables against writers (readers go on),
//! creates triggers on each that raise an error, and stays open until the cutover is decided.
//! COMMIT makes it last; ROLLBACK, or the end of the session, takes all of it away. Triggers act on
//! ordinary sessions only, so that changes which are applied as a replica pass.

use std::collections::BTreeSet;

use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::connect::{Link, Role};
use super::fence_roles::{self, Record};
use super::quote::{literal, name};
use super::wire::{Fault, Wire};
use crate::catalog::Name;
use crate::engine::fence::Fence;
use crate::engine::{Cause, EngineError};

const DOING: &str = "keep writers out of";
/// How long one attempt waits for all locks together.
const ATTEMPT: Duration = Duration::from_millis(700);

/// The open transaction.
pub struct PgFence {
    wire: Wire,
    on: String,
}

impl PgFence {
    /// Of a session whose open transaction keeps the writers out.
    pub fn new(wire: Wire, link: &Link) -> Self {
        Self { wire, on: link.shown().to_string() }
    }
}

/// The name of the plan's triggers, and of the function that they call in the schema of the first
/// table. Plans that fence the same table do not meet.
pub fn object_name(plan: &str) -> String {
    let hash = Sha256::digest(format!("towpath fence\0{plan}"));
    let hash: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("towpath_fence_{hash}")
}

/// Names of triggers and functions of fences, as a pattern.
pub const NAMES: &str = "^towpath_fence_[0-9a-f]{12}(_rows|_roles)?$";

/// What the comment on a trigger says, and on nobody else's.
pub fn comment(plan: &str) -> String {
    format!("Towpath: fence of the plan {plan}")
}

/// Locks the tables and puts the triggers on them. Waits for open writers as long as a lock may be
/// waited for, then `Cause::Busy`.
pub async fn raise(link: &Link, plan: &str, tables: &[Name]) -> Result<PgFence, EngineError> {
    let mut wire = link.wire(Role::Writer).await?;
    let fail = |fault: Fault| fault.doing(DOING).on(link.shown());
    wire.query("SET synchronous_commit = on").await.map_err(fail)?;
    let Some(FenceSql { lock, close }) = fence_sql(plan, tables) else {
        wire.query("BEGIN").await.map_err(fail)?;
        return Ok(PgFence::new(wire, link));
    };
    if let Err(fault) = lock_all(&mut wire, &lock, link.lock_wait()).await {
        return Err(blocked(link, fault).await);
    }
    wire.query(&close).await.map_err(fail)?;
    Ok(PgFence::new(wire, link))
}

/// Begins a transaction that holds all tables. Writers come in an order of their own: whoever
/// waits for a table while it holds another may keep a writer waiting that holds the first. Such an
/// attempt is given up before a server looks for deadlocks (after a second, as a rule), for it may
/// end the writer; and nobody queues behind one for long.
pub async fn lock_all(wire: &mut Wire, lock: &str, wait: Duration) -> Result<(), Fault> {
    let deadline = Instant::now() + wait;
    let begin = format!("BEGIN; SET LOCAL statement_timeout = {}", ATTEMPT.as_millis());
    let mut pause = Duration::from_millis(20);
    loop {
        wire.query(&begin).await?;
        match wire.query(lock).await {
            Ok(_) => return wire.query("SET LOCAL statement_timeout = 0").await.map(drop),
            Err(Fault::Server(error)) if passes(&error.code) && Instant::now() < deadline => {}
            Err(fault) => return Err(fault),
        }
        wire.query("ROLLBACK").await?;
        sleep(pause).await;
        pause = (pause * 2).min(ATTEMPT);
    }
}

/// Cancelled by our own timeout, a lock that was not had, a deadlock.
fn passes(code: &str) -> bool {
    matches!(code, "57014" | "55P03" | "40P01")
}

/// The statements of a fence.
struct FenceSql {
    lock: String,
    close: String,
}

/// Locks the tables in their order, which is that of names, so that two fences cannot wait for each
/// other.
pub fn lock_sql<'n>(tables: impl IntoIterator<Item = &'n Name>) -> String {
    let list: Vec<String> = tables.into_iter().map(|table| format!("ONLY {}", name(table))).collect();
    format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", list.join(", "))
}

/// The trigger for
/// statements says no at once. That for rows also sees what comes by another name: through the
/// root of a partition tree or a parent, and, where the root is fenced, straight into a partition.
fn fence_sql(plan: &str, tables: &[Name]) -> Option<FenceSql> {
    let mut tables: Vec<&Name> = tables.iter().collect();
    tables.sort();
    tables.dedup();
    let (object, comment) = (object_name(plan), literal(&comment(plan)));
    let function = name(&Name::new(&tables.first()?.schema, &object));
    let lock = lock_sql(tables.iter().copied());
    let mut close = format!(
        "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS {}",
        literal(
            "BEGIN RAISE EXCEPTION 'table %.% has moved to another database and is closed for writes', \
             TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'read_only_sql_transaction'; END"
        ),
    );
    for table in tables.into_iter().map(name) {
        close.push_str(&format!(
            "; CREATE OR REPLACE TRIGGER {object} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} \
             FOR EACH STATEMENT EXECUTE FUNCTION {function}(); \
             CREATE OR REPLACE TRIGGER {object}_rows BEFORE INSERT OR UPDATE OR DELETE ON {table} \
             FOR EACH ROW EXECUTE FUNCTION {function}(); \
             COMMENT ON TRIGGER {object} ON {table} IS {comment}"
        ));
    }
    Some(FenceSql { lock, close })
}

/// A lock that was not had, with those who hold it.
pub async fn blocked(link: &Link, fault: Fault) -> EngineError {
    let mut error = fault.doing(DOING).on(link.shown());
    if error.code.as_deref().is_some_and(passes) {
        error.cause = Cause::Busy;
    }
    if error.cause == Cause::Privilege {
        return error
            .hint("the tables must belong to this role, which also needs CREATE on their schema; or fence the writers yourself: cutover: { fence: none }");
    }
    if error.cause != Cause::Busy {
        return error;
    }
    match oldest_writer(link).await {
        Some(writer) => error.hint(format!("{writer}; wait for it to end, or end it, and cut over again")),
        None => error.hint("another transaction holds a table; cut over again"),
    }
}

const WRITERS: &str = "SELECT a.pid, a.usename, (extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start))::bigint \
     FROM pg_catalog.pg_stat_activity a WHERE a.datname = pg_catalog.current_database() AND a.xact_start IS NOT NULL \
     AND a.backend_type = 'client backend' AND a.pid <> pg_catalog.pg_backend_pid() ORDER BY a.xact_start LIMIT 1";

async fn oldest_writer(link: &Link) -> Option<String> {
    let mut wire = link.wire(Role::Reader).await.ok()?;
    let answers = wire.query(WRITERS).await.ok()?;
    let answer = answers.first()?;
    let user = crate::catalog::name::show(answer.cell(1)?);
    Some(format!(
        "the oldest open transaction is of {user}, pid {}, since {} s",
        answer.cell(0)?,
        answer.cell(2)?
    ))
}

/// The tables with the plan's trigger, and the schema of the function that it calls.
async fn look(wire: &mut Wire, plan: &str) -> Result<Vec<(Name, String)>, Fault> {
    let sql = format!(
        "SELECT n.nspname, c.relname, f.nspname FROM pg_catalog.pg_trigger t \
         JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_namespace f ON f.oid = p.pronamespace \
         WHERE t.tgname = {} AND NOT t.tgisinternal \
         AND pg_catalog.obj_description(t.oid, 'pg_trigger') = {} ORDER BY 1, 2",
        literal(&object_name(plan)),
        literal(&comment(plan)),
    );
    let rows = wire.query(&sql).await?.into_iter().next().unwrap_or_default().rows;
    let row = |row: Vec<Option<String>>| match row.as_slice() {
        [Some(schema), Some(table), Some(function)] => Some((Name::new(schema, table), function.clone())),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

/// The tables that a sealed fence of the plan keeps closed.
pub async fn standing(link: &Link, plan: &str) -> Result<Vec<Name>, EngineError> {
    let mut wire = link.wire(Role::Reader).await?;
    let fail = |fault: Fault| fault.doing("look for a fence in").on(link.shown());
    let found = look(&mut wire, plan).await.map_err(fail)?;
    let records = fence_roles::records(&mut wire, link, plan).await?;
    wire.terminate().await;
    Ok(closed(&found, &records).into_iter().cloned().collect())
}

/// Who holds a lock that only writers take, on a table or on what hangs below it.
pub async fn writing(link: &Link, tables: &[Name]) -> Result<Vec<String>, EngineError> {
    let roots: Vec<String> = tables.iter().map(|table| literal(&name(table))).collect();
    let sql = format!(
        "SELECT DISTINCT coalesce('pid ' || l.pid, 'a prepared transaction') FROM pg_catalog.pg_locks AS l \
         WHERE l.locktype = 'relation' AND l.granted AND l.mode IN ('RowExclusiveLock', 'AccessExclusiveLock') \
         AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
         AND l.relation IN (SELECT coalesce(t.relid, r.oid) FROM \
           (SELECT pg_catalog.to_regclass(n) AS oid FROM pg_catalog.unnest(ARRAY[{}]::pg_catalog.text[]) AS n) AS r \
           LEFT JOIN LATERAL pg_catalog.pg_partition_tree(r.oid) AS t ON true) ORDER BY 1",
        roots.join(", ")
    );
    let mut wire = link.wire(Role::Reader).await?;
    let found = wire.query(&sql).await;
    let found = found.map_err(|fault| fault.doing("look for writers of").on(link.shown()))?;
    wire.terminate().await;
    let rows = found.into_iter().flat_map(|answer| answer.rows);
    Ok(rows.filter_map(|row| row.into_iter().next().flatten()).collect())
}

/// Takes the plan's sealed fence away; says what was removed.
pub async fn remove(link: &Link, plan: &str) -> Result<Vec<String>, EngineError> {
    let mut wire = link.wire(Role::Writer).await?;
    let fail = |fault: Fault| fault.doing("remove the fence from").on(link.shown());
    wire.query("SET synchronous_commit = on").await.map_err(fail)?;
    let found = look(&mut wire, plan).await.map_err(fail)?;
    let records = fence_roles::records(&mut wire, link, plan).await?;
    let statements = removal_sql(plan, &found).into_iter().chain(records.iter().map(Record::give_back));
    let statements: Vec<String> = statements.collect();
    if !statements.is_empty() {
        let sql = format!("BEGIN; {}; COMMIT", statements.join("; "));
        wire.query(&sql).await.map_err(|fault| {
            let error = fail(fault);
            match records.is_empty() {
                true => error,
                false => error.hint(
                    "what was taken from roles is in the function towpath_fence_..._roles: grant \
                                     it by hand, drop the function, and open the source again",
                ),
            }
        })?;
    }
    wire.terminate().await;
    Ok(closed(&found, &records).into_iter().map(|table| format!("fence of {table}")).collect())
}

/// The tables of both kinds of fence, sorted.
fn closed<'f>(found: &'f [(Name, String)], records: &'f [Record]) -> BTreeSet<&'f Name> {
    let by_roles = records.iter().flat_map(|record| &record.tables);
    found.iter().map(|(table, _)| table).chain(by_roles).collect()
}

fn removal_sql(plan: &str, found: &[(Name, String)]) -> Vec<String> {
    let object = object_name(plan);
    let drops = found.iter().map(|(table, _)| {
        let table = name(table);
        format!("DROP TRIGGER {object} ON {table}; DROP TRIGGER IF EXISTS {object}_rows ON {table}")
    });
    let schemas: BTreeSet<&String> = found.iter().map(|(_, schema)| schema).collect();
    let functions =
        schemas.into_iter().map(|schema| format!("DROP FUNCTION {}()", name(&Name::new(schema, &object))));
    drops.chain(functions).collect()
}

#[async_trait]
impl Fence for PgFence {
    async fn holds(&mut self) -> Result<(), EngineError> {
        let asked = self.wire.query("SELECT 1").await;
        let lost = |why: EngineError| {
            EngineError::new(Cause::Connection, DOING, format!("the fence is gone: {}", why.message))
                .on(&self.on)
                .hint("writers may have been at work since; cut over again")
        };
        asked.map(drop).map_err(|fault| lost(fault.doing(DOING)))
    }

    async fn seal(mut self: Box<Self>) -> Result<(), EngineError> {
        let sealed = self
            .wire
            .query("COMMIT")
            .await
            .map_err(|fault| fault.doing("close the tables of").on(&self.on))?;
        // A COMMIT in a failed transaction answers ROLLBACK.
        match sealed.first().map(|answer| answer.tag.as_str()) {
            Some("COMMIT") => Ok(()),
            _ => Err(EngineError::new(
                Cause::Other,
                "close the tables of",
                "the transaction had failed before",
            )
            .on(&self.on)),
        }
    }

    async fn lift(mut self: Box<Self>) -> Result<(), EngineError> {
        // The server rolls back what its client leaves, so an error changes nothing.
        let _ = self.wire.query("ROLLBACK").await;
        self.wire.terminate().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i_01_every_table_is_locked_and_gets_triggers_and_names_are_quoted() {
        let tables = [Name::new("s", "b\"x"), Name::new("A", "t")];
        let FenceSql { lock, close: sql } = fence_sql("shop", &tables).expect("tables");
        assert!(
            lock.contains(r#"LOCK TABLE ONLY "A".t, ONLY s."b""x" IN SHARE ROW EXCLUSIVE MODE"#),
            "{lock}"
        );
        assert_eq!(sql.matches("CREATE OR REPLACE TRIGGER").count(), 4);
        let (object, quoted) = (object_name("shop"), r#"ON s."b""x""#);
        for each in ["STATEMENT", "ROW"] {
            let calls = format!(r#"{quoted} FOR EACH {each} EXECUTE FUNCTION "A".{object}()"#);
            assert!(sql.contains(&calls), "{sql}");
        }
        assert!(sql.contains(&format!("COMMENT ON TRIGGER {object} {quoted} IS '{}'", comment("shop"))));
        assert!(fence_sql("shop", &[]).is_none());
    }

    #[test]
    fn fences_of_two_plans_do_not_meet() {
        assert_ne!(object_name("shop"), object_name("shop2"));
    }
}
