//! The fence of a cutover: a transaction that locks the tables against writers (readers go on),
//! creates a statement trigger on each that raises an error, and stays open until the cutover is
//! decided. COMMIT makes it last; ROLLBACK, or the end of the session, takes all of it away.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::connect::{Link, Role};
use super::quote::{identifier, literal, name};
use super::wire::{Fault, Wire};
use crate::catalog::Name;
use crate::engine::fence::Fence;
use crate::engine::{Cause, EngineError};

const DOING: &str = "keep writers out of";
/// How long one attempt waits for all locks together.
const ATTEMPT: Duration = Duration::from_millis(700);
/// The trigger on each table, and the function that it calls in the schema of the first table.
const TRIGGER: &str = "towpath_fence";

/// The open transaction.
pub struct PgFence {
    wire: Wire,
    on: String,
}

/// Locks the tables and puts the triggers on them. Waits for open writers as long as a lock may be
/// waited for, then `Cause::Busy`.
pub async fn raise(link: &Link, tables: &[Name]) -> Result<PgFence, EngineError> {
    let mut wire = link.wire(Role::Writer).await?;
    let on = link.shown().to_string();
    let fail = |fault: Fault| fault.doing(DOING).on(&on);
    wire.query("SET synchronous_commit = on").await.map_err(fail)?;
    let Some(FenceSql { lock, close }) = fence_sql(tables) else {
        wire.query("BEGIN").await.map_err(fail)?;
        return Ok(PgFence { wire, on });
    };
    if let Err(fault) = lock_all(&mut wire, &lock, link.lock_wait()).await {
        return Err(blocked(link, fault).await);
    }
    wire.query(&close).await.map_err(fail)?;
    Ok(PgFence { wire, on })
}

/// Begins a transaction that holds all tables. Writers come in an order of their own: whoever
/// waits for a table while it holds another may keep a writer waiting that holds the first. Such an
/// attempt is given up before a server looks for deadlocks (after a second, as a rule), for it may
/// end the writer; and nobody queues behind one for long.
async fn lock_all(wire: &mut Wire, lock: &str, wait: Duration) -> Result<(), Fault> {
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

/// Locks come in the order of names, so that two fences cannot wait for each other.
fn fence_sql(tables: &[Name]) -> Option<FenceSql> {
    let mut tables: Vec<&Name> = tables.iter().collect();
    tables.sort();
    tables.dedup();
    let list: Vec<String> = tables.iter().map(|table| format!("ONLY {}", name(table))).collect();
    let function = name(&Name::new(&tables.first()?.schema, TRIGGER));
    let lock = format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", list.join(", "));
    let mut close = format!(
        "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS {}",
        literal(
            "BEGIN RAISE EXCEPTION 'table %.% has moved to another database and is closed for writes', \
             TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'read_only_sql_transaction'; END"
        ),
    );
    for table in tables {
        close.push_str(&format!(
            "; CREATE OR REPLACE TRIGGER {TRIGGER} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {} \
             FOR EACH STATEMENT EXECUTE FUNCTION {function}()",
            name(table)
        ));
    }
    Some(FenceSql { lock, close })
}

/// A lock that was not had, with those who hold it.
async fn blocked(link: &Link, fault: Fault) -> EngineError {
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

/// Takes a sealed fence away; says what was removed.
pub async fn remove(link: &Link, tables: &[Name]) -> Result<Vec<String>, EngineError> {
    let mut wire = link.wire(Role::Writer).await?;
    let fail = |fault: Fault| fault.doing("remove the fence from").on(link.shown());
    let sql = "SELECT n.nspname, c.relname, f.nspname FROM pg_catalog.pg_trigger t \
         JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_namespace f ON f.oid = p.pronamespace \
         WHERE t.tgname = 'towpath_fence' AND p.proname = 'towpath_fence' AND NOT t.tgisinternal \
         AND t.tgparentid = 0 ORDER BY 1, 2";
    let answers = wire.query(sql).await.map_err(fail)?;
    let rows = answers.into_iter().next().unwrap_or_default().rows;
    let mut statements = Vec::new();
    let mut removed = Vec::new();
    let mut functions = std::collections::BTreeSet::new();
    for row in rows {
        let [Some(schema), Some(table), Some(function)] = row.as_slice() else { continue };
        let table = Name::new(schema, table);
        if tables.contains(&table) {
            statements.push(format!("DROP TRIGGER {TRIGGER} ON {}", name(&table)));
            removed.push(format!("trigger {} on {table}", identifier(TRIGGER)));
            functions.insert(name(&Name::new(function, TRIGGER)));
        }
    }
    if statements.is_empty() {
        return Ok(removed);
    }
    // Refused, with all of it, where another plan's tables still call the function.
    let drop = functions.into_iter().map(|function| format!("DROP FUNCTION {function}()"));
    statements.extend(drop);
    wire.query(&format!("BEGIN; {}; COMMIT", statements.join("; "))).await.map_err(fail)?;
    wire.terminate().await;
    Ok(removed)
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
    fn i_01_every_table_is_locked_and_gets_a_trigger_and_names_are_quoted() {
        let tables = [Name::new("s", "b\"x"), Name::new("A", "t")];
        let FenceSql { lock, close: sql } = fence_sql(&tables).expect("tables");
        assert!(
            lock.contains(r#"LOCK TABLE ONLY "A".t, ONLY s."b""x" IN SHARE ROW EXCLUSIVE MODE"#),
            "{lock}"
        );
        assert_eq!(sql.matches("CREATE OR REPLACE TRIGGER").count(), 2);
        assert!(
            sql.contains(r#"ON s."b""x" FOR EACH STATEMENT EXECUTE FUNCTION "A".towpath_fence()"#),
            "{sql}"
        );
        assert!(fence_sql(&[]).is_none());
    }
}
