//! The fence of a cutover. The server has no transaction around structure, so nothing that is made
//! here goes away by itself. What does is a lock by name, held by a session: on each table stand
//! triggers that refuse every write as long as somebody holds that lock. Given up, or lost in a
//! crash, the triggers let everything pass; sealed, others stand beside them that always refuse.
//!
//! ```text
//!   GET_LOCK -> triggers "refuse while the lock is held" -> drain, compare
//!                 lift:  RELEASE_LOCK, drop the triggers
//!                 seal:  triggers "refuse", then RELEASE_LOCK
//!                 crash: the session ends, and with it the lock
//! ```
//!
//! Sessions that apply the changes of a way back pass: they say so in a variable of their own.
//!
//! Making a trigger waits for every transaction that has touched its table, so that none which began
//! before the fence is at work behind it. TRUNCATE and ALTER fire no triggers and pass.

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use sha2::{Digest, Sha256};

use super::connect::{Link, close};
use super::error::from_driver;
use super::quote::{literal, name};
use crate::catalog::Name;
use crate::engine::fence::Fence;
use crate::engine::{Cause, EngineError};

const DOING: &str = "keep writers out of";
const EVENTS: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];
/// Triggers of the fence begin with this.
pub(super) const PREFIX: &str = "towpath_fence_";
/// Set in sessions that a fence lets pass. There is no right that would tell them from others.
pub(super) const PASSES: &str = "@towpath_applies";
/// Seconds that our own lock may be held by an earlier session that is ending.
const LOCK_SECONDS: u64 = 10;

/// A fence that stands as long as its session holds the lock.
pub(super) struct Held {
    conn: Conn,
    plan: String,
    tables: Vec<Name>,
    lock: String,
    on: String,
}

fn short(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A name for what belongs to a table: names of triggers have 64 characters at most.
fn digest(table: &Name) -> String {
    short(&format!("{}\0{}", table.schema, table.name))
}

/// How all triggers of a plan begin.
fn prefix(plan: &str) -> String {
    format!("{PREFIX}{}_", short(plan))
}

fn trigger(plan: &str, table: &Name, event: &str, sealed: bool) -> Name {
    let always = if sealed { "_always" } else { "" };
    Name::new(&table.schema, format!("{}{}_{}{always}", prefix(plan), event.to_lowercase(), digest(table)))
}

/// `lock`: refuse while it is held only.
fn create(plan: &str, table: &Name, event: &str, lock: Option<&str>) -> String {
    // The text of a condition has 128 characters at most.
    let shown: String = table.name.chars().take(64).collect();
    let why = literal(&format!("table {shown} has moved to another database"));
    let refuse = format!("SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = {why}");
    let held =
        lock.map(|lock| format!(" AND IS_USED_LOCK({}) IS NOT NULL", literal(lock))).unwrap_or_default();
    let body = format!("IF {PASSES} IS NULL{held} THEN {refuse}; END IF");
    format!(
        "CREATE TRIGGER {} BEFORE {event} ON {} FOR EACH ROW {body}",
        name(&trigger(plan, table, event, lock.is_none())),
        name(table)
    )
}

/// Makes the triggers of all tables in place of what a crash left of them: MySQL cannot replace one.
async fn create_all(
    conn: &mut Conn,
    plan: &str,
    tables: &[Name],
    lock: Option<&str>,
) -> Result<(), EngineError> {
    let left = triggers(conn, plan).await.map_err(|error| from_driver(DOING, error))?;
    for table in tables {
        for event in EVENTS {
            let own = trigger(plan, table, event, lock.is_none());
            let fail = |error| refused(error, table);
            if left.iter().any(|(_, name, _)| *name == own.name) {
                conn.query_drop(format!("DROP TRIGGER IF EXISTS {}", name(&own))).await.map_err(fail)?;
            }
            conn.query_drop(create(plan, table, event, lock)).await.map_err(fail)?;
        }
    }
    Ok(())
}

/// One for the tables of a plan: what a crash left on others stays without effect.
fn lock_of(tables: &[Name]) -> String {
    let all: Vec<String> = tables.iter().map(digest).collect();
    format!("{PREFIX}{}", digest(&Name::new("", all.join(" "))))
}

async fn writer(link: &Link) -> Result<Conn, EngineError> {
    let mut conn = link.session().await?;
    let sql = "SET SESSION TRANSACTION READ WRITE";
    conn.query_drop(sql).await.map_err(|error| from_driver(DOING, error).on(link.shown()))?;
    Ok(conn)
}

/// Raises it. Waits for writers at work as long as a lock may be waited for, then `Cause::Busy`.
pub(super) async fn raise(link: &Link, plan: &str, tables: &[Name]) -> Result<Held, EngineError> {
    let mut tables = tables.to_vec();
    tables.sort();
    tables.dedup();
    let mut conn = writer(link).await?;
    let lock = lock_of(&tables);
    let sql = format!("SELECT GET_LOCK({}, {LOCK_SECONDS})", literal(&lock));
    let got: Option<Option<i64>> =
        conn.query_first(sql).await.map_err(|error| from_driver(DOING, error).on(link.shown()))?;
    if got.flatten() != Some(1) {
        return Err(EngineError::new(Cause::Busy, DOING, "another session holds the fence of these tables")
            .on(link.shown())
            .hint("another cutover is at work; or wait until the server has noticed that it is gone"));
    }
    if let Err(refused) = create_all(&mut conn, plan, &tables, Some(&lock)).await {
        // What was made stands without effect once the lock is gone; it is removed all the same.
        let _ = drop_all(&mut conn, plan).await;
        close(conn).await;
        return Err(refused);
    }
    Ok(Held { conn, plan: plan.to_string(), tables, lock, on: link.shown().to_string() })
}

fn refused(error: Error, table: &Name) -> EngineError {
    let code = match &error {
        Error::Server(server) => server.code,
        _ => 0,
    };
    let made = from_driver(DOING, error).on(table);
    match code {
        1419 => EngineError { cause: Cause::Privilege, ..made }.hint(
            "with a binary log, making triggers wants SET GLOBAL log_bin_trust_function_creators = 1 (or SUPER for the \
             user of this URL); or keep the writers out yourself: cutover: { fence: none }",
        ),
        1142 | 1227 | 1044 => made.hint(format!(
            "GRANT TRIGGER ON {} to the user of this URL; or keep the writers out yourself: cutover: {{ fence: none }}",
            name(table)
        )),
        1205 => made.hint("a transaction that has touched the table is still open: end it (SHOW FULL PROCESSLIST), then cut over again"),
        _ => made,
    }
}

/// Seconds that are waited for transactions at work: a pause that every writer takes as a hiccup.
const LOOK_SECONDS: u64 = 1;
const WRITERS: &str = "look for writers of";

/// Who has written to the tables and not committed yet. Asked for by locks that only a writer stands in
/// the way of: those of InnoDB, which a session takes that commits for itself, and the server's own. So
/// no right is needed to see other sessions, and whoever is prepared only (XA) counts, too.
pub(super) async fn writing(link: &Link, tables: &[Name]) -> Result<Vec<String>, EngineError> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let mut conn = link.session().await?;
    let locks: Vec<String> = tables.iter().map(|table| format!("{} READ", name(table))).collect();
    let settings = format!(
        "SET SESSION autocommit = 0, innodb_table_locks = 1, lock_wait_timeout = {LOOK_SECONDS}, \
         innodb_lock_wait_timeout = {LOOK_SECONDS}"
    );
    let fail = |error| from_driver(WRITERS, error).on(link.shown());
    conn.query_drop(settings).await.map_err(fail)?;
    let locked = conn.query_drop(format!("LOCK TABLES {}", locks.join(", "))).await;
    let found = match &locked {
        Err(Error::Server(server)) if server.code == 1205 => writers(&mut conn).await,
        _ => Vec::new(),
    };
    // What is held ends with the session.
    close(conn).await;
    match locked {
        Err(Error::Server(server)) if server.code == 1205 => Ok(found),
        Err(Error::Server(server)) if matches!(server.code, 1044 | 1142 | 1227) => {
            Err(from_driver(WRITERS, Error::Server(server)).on(link.shown()).hint(
                "without a fence open transactions are looked for: GRANT LOCK TABLES on the database to the user of \
                 this URL (`towpath grants` prints it); or let cutover: { fence: tables } keep the writers out",
            ))
        }
        Err(error) => Err(fail(error)),
        Ok(()) => Ok(found),
    }
}

/// Their sessions, as far as this user may see them. A lock may also be held by one that has written
/// nothing yet (SELECT ... FOR UPDATE, LOCK TABLES ... WRITE).
async fn writers(conn: &mut Conn) -> Vec<String> {
    let sql = "SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX WHERE trx_rows_modified > 0 ORDER BY 1";
    let found: Vec<u64> = conn.query(sql).await.unwrap_or_default();
    let named = found.into_iter().map(|id| match id {
        0 => "a prepared transaction (XA RECOVER)".to_string(),
        id => format!("connection {id}"),
    });
    let named: Vec<String> = named.collect();
    let unseen = "one that holds a lock on the tables, of which this user may see no more";
    if named.is_empty() { vec![unseen.into()] } else { named }
}

/// Triggers of a plan in this database: the table, the trigger's name, and what it does.
async fn triggers(conn: &mut Conn, plan: &str) -> Result<Vec<(Name, String, String)>, Error> {
    let sql = format!(
        "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME, ACTION_STATEMENT FROM \
         information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() AND LEFT(TRIGGER_NAME, {}) = {} \
         ORDER BY 1, 2, 3",
        prefix(plan).len(),
        literal(&prefix(plan))
    );
    let rows: Vec<(String, String, String, String)> = conn.query(sql).await?;
    Ok(rows.into_iter().map(|(schema, table, name, does)| (Name::new(schema, table), name, does)).collect())
}

/// Drops the triggers of the fence; says of which tables.
async fn drop_all(conn: &mut Conn, plan: &str) -> Result<Vec<String>, EngineError> {
    const REMOVE: &str = "remove the fence from";
    let there = triggers(conn, plan).await.map_err(|error| from_driver(REMOVE, error))?;
    let mut removed = Vec::new();
    for (table, trigger, _) in there {
        let fail = |error| from_driver(REMOVE, error).on(&table);
        let trigger = Name::new(&table.schema, trigger);
        conn.query_drop(format!("DROP TRIGGER IF EXISTS {}", name(&trigger))).await.map_err(fail)?;
        removed.push(format!("fence of {table}"));
    }
    removed.dedup();
    Ok(removed)
}

/// The tables that a sealed fence of the plan keeps closed, sorted. What a crash left of one that
/// was not sealed keeps nobody out.
pub(super) async fn sealed(link: &Link, plan: &str) -> Result<Vec<Name>, EngineError> {
    let mut conn = link.session().await?;
    let found = triggers(&mut conn, plan).await;
    close(conn).await;
    let found =
        found.map_err(|error| from_driver("look for the fence of the plan in", error).on(link.shown()))?;
    let refusing = found.into_iter().filter(|(_, _, does)| !does.contains("IS_USED_LOCK"));
    let mut tables: Vec<Name> = refusing.map(|(table, _, _)| table).collect();
    tables.sort();
    Ok(tables
        .chunk_by(PartialEq::eq)
        .filter(|all| all.len() == EVENTS.len())
        .map(|all| all[0].clone())
        .collect())
}

/// Takes a sealed fence away, or what a crash left of one; says what was removed.
pub(super) async fn remove(link: &Link, plan: &str) -> Result<Vec<String>, EngineError> {
    let mut conn = writer(link).await?;
    let removed = drop_all(&mut conn, plan).await;
    close(conn).await;
    removed
}

impl Held {
    async fn release(&mut self) -> Result<(), EngineError> {
        let sql = format!("DO RELEASE_LOCK({})", literal(&self.lock));
        self.conn.query_drop(sql).await.map_err(|error| from_driver(DOING, error).on(&self.on))
    }
}

#[async_trait]
impl Fence for Held {
    async fn holds(&mut self) -> Result<(), EngineError> {
        let sql = format!("SELECT IS_USED_LOCK({}) = CONNECTION_ID()", literal(&self.lock));
        let held: Result<Option<Option<i64>>, Error> = self.conn.query_first(sql).await;
        if matches!(held, Ok(Some(Some(1)))) {
            return Ok(());
        }
        Err(EngineError::new(
            Cause::Connection,
            DOING,
            "the fence is gone: the session that held it has ended",
        )
        .on(&self.on)
        .hint("writers may have been at work since; cut over again"))
    }

    /// The triggers that always refuse are made while the lock still makes the others refuse, so that
    /// there is no moment in which a writer gets through.
    async fn seal(mut self: Box<Self>) -> Result<(), EngineError> {
        create_all(&mut self.conn, &self.plan, &self.tables, None).await?;
        self.release().await?;
        close(self.conn).await;
        Ok(())
    }

    async fn lift(mut self: Box<Self>) -> Result<(), EngineError> {
        // First let the writers in, then tidy up: what stays of it has no effect.
        let released = self.release().await;
        let dropped = drop_all(&mut self.conn, &self.plan).await;
        close(self.conn).await;
        released?;
        dropped.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i_01_names_are_quoted_and_fit() {
        let table = Name::new("d`b", "it's `odd`".repeat(6));
        let sql = create("shop", &table, "INSERT", Some("lock"));
        assert!(sql.contains("BEFORE INSERT ON `d``b`.`it's ``odd``"), "{sql}");
        assert!(
            sql.contains("IF @towpath_applies IS NULL AND IS_USED_LOCK('lock') IS NOT NULL THEN SIGNAL"),
            "{sql}"
        );
        assert!(trigger("shop", &table, "INSERT", true).name.len() <= 64);
        assert!(!create("shop", &table, "DELETE", None).contains("IS_USED_LOCK"));
        let of = |plan: &str, table: &str| trigger(plan, &Name::new("a", table), "INSERT", false);
        assert_ne!(of("shop", "b"), of("shop", "c"));
        assert_ne!(of("shop", "b"), of("shop2", "b"));
    }
}
