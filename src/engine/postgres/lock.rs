//! One writer per plan: an advisory lock on a connection of its own, and a fence number that
//! every commit checks. Whoever gets the lock raises the number, so that a run which lost its
//! lock without noticing cannot commit any more.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};
use tokio::sync::Mutex;

use super::connect::{Link, Role};
use super::error::{self, from_sqlx};
use super::load::{Keys, PgSession};
use super::marks::{self, rfc3339};
use crate::checkpoint::Goal;
use crate::engine::crash::crash_point;
use crate::engine::{Cause, EngineError, Lock, LockHolder, Session};

const DOING: &str = "take the lock of plan";

/// The lock, for as long as its connection lives.
pub struct PgLock {
    link: Arc<Link>,
    connection: Mutex<PgConnection>,
    pid: i32,
    plan: String,
    epoch: i64,
    key: i64,
}

/// The number of a plan's advisory lock.
fn key(plan: &str) -> i64 {
    number(&format!("towpath plan {plan}"))
}

/// The number that the writing sessions of a plan hold together, so that whoever takes over finds
/// those that were left behind.
fn writers_key(plan: &str) -> i64 {
    number(&format!("towpath writers of plan {plan}"))
}

fn number(words: &str) -> i64 {
    Sha256::digest(words).first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

impl PgLock {
    /// Waits up to `wait` for whoever has it.
    pub async fn take(link: Arc<Link>, plan: &str, goal: &Goal, wait: Duration) -> Result<Self, EngineError> {
        let (mut connection, pid) = link.sqlx(Role::Writer).await?;
        let key = key(plan);
        let taking = async {
            acquire(&mut connection, plan, key, wait).await?;
            create_state(&mut connection).await?;
            crash_point("progress::schema_created");
            let epoch = raise_fence(&mut connection, plan, goal).await?;
            end_writers(&mut connection, plan).await?;
            Ok(epoch)
        };
        let epoch = link.watch.over_sqlx(pid, taking).await;
        let epoch = epoch.map_err(|error| match error.object {
            Some(_) => error,
            None => error.on(link.shown()),
        })?;
        crash_point("progress::epoch_bumped");
        Ok(Self { link, connection: Mutex::new(connection), pid, plan: plan.to_string(), epoch, key })
    }

    fn lost(&self, why: &str) -> EngineError {
        EngineError::new(Cause::Locked, "keep the lock of plan", why)
            .on(&self.plan)
            .hint("nothing uncommitted was kept; run the same command again: it continues")
    }
}

/// Takes the advisory lock; the server does the waiting.
async fn acquire(
    connection: &mut PgConnection,
    plan: &str,
    key: i64,
    wait: Duration,
) -> Result<(), EngineError> {
    let fail = |error| from_sqlx(DOING, error).on(plan);
    let free = sqlx::query("SELECT pg_catalog.pg_try_advisory_lock($1)").bind(key);
    if free.fetch_one(&mut *connection).await.and_then(|row| row.try_get(0)).map_err(fail)? {
        return Ok(());
    }
    if !wait.is_zero() {
        let timeout = format!("SET lock_timeout = {}", wait.as_millis().clamp(1, 2_000_000_000));
        connection.execute(marks::safe(timeout)).await.map_err(fail)?;
        let waited =
            sqlx::query("SELECT pg_catalog.pg_advisory_lock($1)").bind(key).execute(&mut *connection).await;
        connection.execute("RESET lock_timeout").await.map_err(fail)?;
        match waited.map_err(fail) {
            Ok(_) => return Ok(()),
            Err(error) if error.code.as_deref() == Some("55P03") => {}
            Err(error) => return Err(error),
        }
    }
    let who = holder(connection, plan).await?;
    let who = who.map_or("another run".to_string(), |holder| format!("{} since {}", holder.by, holder.since));
    Err(EngineError::new(Cause::Locked, DOING, format!("it is held by {who}"))
        .on(plan)
        .hint("wait for that run to end, or stop it; a dead one is released by the server within minutes"))
}

/// Makes the state tables where they are missing, and raises an older layout. One lock for all
/// plans keeps two first runs from doing it at the same time.
async fn create_state(connection: &mut PgConnection) -> Result<(), EngineError> {
    const DOING: &str = "create the state tables (schema towpath) in";
    if marks::missing(connection).await?.is_empty() {
        return Ok(());
    }
    let fail = |error| from_sqlx(DOING, error);
    let mut transaction = connection.begin().await.map_err(fail)?;
    let guard = sqlx::query("SELECT pg_catalog.pg_advisory_xact_lock($1)").bind(key("\u{0}state tables"));
    guard.execute(&mut *transaction).await.map_err(fail)?;
    // Made by somebody else it needs no right to create one.
    let schema = sqlx::query(marks::HAS_SCHEMA).fetch_one(&mut *transaction).await;
    if !schema.and_then(|row| row.try_get(0)).map_err(fail)? {
        transaction.execute("CREATE SCHEMA towpath").await.map_err(fail)?;
    }
    for table in marks::missing(&mut transaction).await? {
        transaction.execute(marks::safe(table.create())).await.map_err(fail)?;
        transaction.execute(marks::safe(table.stamp())).await.map_err(fail)?;
    }
    transaction.commit().await.map_err(fail)
}

/// Raises the fence and records the run with its goal. Waits for commits that hold the old fence,
/// and makes durable what was committed lazily before.
async fn raise_fence(connection: &mut PgConnection, plan: &str, goal: &Goal) -> Result<i64, EngineError> {
    let fail = |error| from_sqlx(DOING, error).on(plan);
    let mut transaction = connection.begin().await.map_err(fail)?;
    transaction.execute("SET LOCAL synchronous_commit = on").await.map_err(fail)?;
    let raise = sqlx::query(
        "INSERT INTO towpath.lock AS l (plan, epoch, holder) VALUES ($1, 1, $2) \
         ON CONFLICT (plan) DO UPDATE SET epoch = l.epoch + 1, holder = excluded.holder, since = excluded.since \
         RETURNING epoch",
    );
    let by = whoami();
    let row = raise.bind(plan).bind(&by).fetch_one(&mut *transaction).await.map_err(fail)?;
    let epoch: i64 = row.try_get(0).map_err(fail)?;
    record_goal(&mut transaction, plan, goal).await.map_err(fail)?;
    let run = sqlx::query(
        "INSERT INTO towpath.run (plan, epoch, digest, holder, tool) VALUES ($1, $2, $3, $4, $5)",
    );
    let tool = concat!("towpath ", env!("CARGO_PKG_VERSION"));
    let run = run.bind(plan).bind(epoch).bind(&goal.digest).bind(&by).bind(tool);
    run.execute(&mut *transaction).await.map_err(fail)?;
    transaction.commit().await.map_err(fail)?;
    Ok(epoch)
}

/// Ends sessions of a run before that are still there: of one that was killed in a long statement,
/// or that sleeps, or whose network is gone. The fence keeps them from committing ever again, but
/// not from holding their locks. Those of another role are left to the server's keepalive.
async fn end_writers(connection: &mut PgConnection, plan: &str) -> Result<(), EngineError> {
    let fail = |error| from_sqlx("end what is left of an earlier run of plan", error).on(plan);
    let until = tokio::time::Instant::now() + WRITERS_END;
    loop {
        let ended = sqlx::query(END_WRITERS).bind(writers_key(plan)).fetch_all(&mut *connection).await;
        if ended.map_err(fail)?.is_empty() || tokio::time::Instant::now() > until {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How long sessions that were told to end may take for it.
const WRITERS_END: Duration = Duration::from_secs(10);

const END_WRITERS: &str = "SELECT pg_catalog.pg_terminate_backend(l.pid) FROM pg_catalog.pg_locks AS l \
     JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid AND a.usename = current_user \
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
     AND (l.classid::bigint << 32) | l.objid::bigint = $1 AND l.database = (SELECT oid \
     FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())";

/// Remembers the goal's steps, unless the run before had the same goal.
async fn record_goal(connection: &mut PgConnection, plan: &str, goal: &Goal) -> Result<(), sqlx::Error> {
    let known = sqlx::query(marks::KNOWN_GOAL).bind(plan).bind(&goal.digest);
    if known.fetch_one(&mut *connection).await?.try_get(0)? {
        return Ok(());
    }
    sqlx::query("DELETE FROM towpath.goal WHERE plan = $1").bind(plan).execute(&mut *connection).await?;
    let (steps, phases): (Vec<&str>, Vec<&str>) =
        goal.steps.iter().map(|planned| (planned.step.as_str(), planned.phase.as_str())).unzip();
    let insert = sqlx::query(marks::INSERT_GOAL).bind(plan).bind(steps).bind(phases);
    insert.execute(&mut *connection).await.map(drop)
}

/// `user@host pid 123`, for the one who waits.
fn whoami() -> String {
    let user =
        std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "somebody".into());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    let host = host.map_or_else(|_| "unknown host".to_string(), |host| host.trim().to_string());
    error::escape(&format!("{user}@{host} pid {}", std::process::id()))
}

/// Who holds the plan's lock now. The row tells who it was; the advisory lock, whether he lives.
pub async fn holder(connection: &mut PgConnection, plan: &str) -> Result<Option<LockHolder>, EngineError> {
    let fail = |error| from_sqlx("ask who holds plan", error).on(plan);
    if !marks::is_present(connection).await? {
        return Ok(None);
    }
    let sql = concat!(
        "SELECT holder, ",
        rfc3339!("since"),
        " FROM towpath.lock WHERE plan = $1 AND EXISTS (SELECT FROM pg_catalog.pg_locks \
         WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
         AND (classid::bigint << 32) | objid::bigint = $2 AND database = (SELECT oid \
         FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))"
    );
    let row = sqlx::query(sql).bind(plan).bind(key(plan)).fetch_optional(connection).await.map_err(fail)?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(LockHolder { by: row.try_get(0).map_err(fail)?, since: row.try_get(1).map_err(fail)? }))
}

#[async_trait]
impl Lock for PgLock {
    async fn session(&self) -> Result<Box<dyn Session>, EngineError> {
        let keys = Keys { plan: self.key, writers: writers_key(&self.plan) };
        let session = PgSession::open(self.link.clone(), &self.plan, self.epoch, keys).await?;
        Ok(Box::new(session))
    }

    async fn heartbeat(&self) -> Result<(), EngineError> {
        let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted \
             AND pid = pg_catalog.pg_backend_pid() AND objsubid = 1 \
             AND (classid::bigint << 32) | objid::bigint = $1), \
             EXISTS (SELECT FROM towpath.lock WHERE plan = $2 AND epoch = $3)";
        let mut connection = self.connection.lock().await;
        let query = sqlx::query(sql).bind(self.key).bind(&self.plan).bind(self.epoch);
        let asking =
            async { query.fetch_one(&mut *connection).await.map_err(|error| from_sqlx("ask", error)) };
        let row = self.link.watch.over_sqlx(self.pid, asking).await;
        let row = row.map_err(|error| self.lost(&error.message))?;
        let has = |column: usize| row.try_get::<bool, _>(column).unwrap_or(false);
        match (has(0), has(1)) {
            (true, true) => Ok(()),
            (false, _) => Err(self.lost("its session no longer holds it")),
            (_, false) => Err(self.lost("another run has taken it over")),
        }
    }

    async fn close(self: Box<Self>, outcome: &str) -> Result<(), EngineError> {
        let fail = |error| from_sqlx("record the end of plan", error).on(&self.plan);
        let (watch, pid) = (self.link.watch.clone(), self.pid);
        let mut connection = self.connection.into_inner();
        let closing = async {
            connection.execute("SET synchronous_commit = on").await.map_err(fail)?;
            // In the order of the log: when this commit is on disk, so is all before it.
            let sql = "UPDATE towpath.run SET finished_at = pg_catalog.clock_timestamp(), outcome = $3 \
                   WHERE plan = $1 AND epoch = $2";
            let query = sqlx::query(sql).bind(&self.plan).bind(self.epoch).bind(outcome);
            query.execute(&mut connection).await.map_err(fail)?;
            // At once, and not when the server has noticed that the session is gone.
            let free = sqlx::query("SELECT pg_catalog.pg_advisory_unlock($1)").bind(self.key);
            free.execute(&mut connection).await.map_err(fail)?;
            connection.close().await.map_err(fail)
        };
        watch.over_sqlx(pid, closing).await
    }

    async fn forget(self: Box<Self>) -> Result<Vec<String>, EngineError> {
        let fail = |error| from_sqlx("remove the state of plan", error).on(&self.plan);
        let mut connection = self.connection.into_inner();
        let mut removed = vec![format!("state of plan {}", self.plan)];
        let mut transaction = connection.begin().await.map_err(fail)?;
        transaction.execute("SET LOCAL synchronous_commit = on").await.map_err(fail)?;
        let guard = sqlx::query("SELECT pg_catalog.pg_advisory_xact_lock($1)").bind(key("\u{0}state tables"));
        guard.execute(&mut *transaction).await.map_err(fail)?;
        let own = sqlx::query("DELETE FROM towpath.lock WHERE plan = $1 AND epoch = $2");
        let own = own.bind(&self.plan).bind(self.epoch).execute(&mut *transaction).await.map_err(fail)?;
        if own.rows_affected() != 1 {
            let why = "another run has taken this plan over";
            return Err(EngineError::new(Cause::Locked, "remove the state of plan", why).on(&self.plan));
        }
        if marks::forget(&mut transaction, &self.plan).await? {
            removed.push("schema towpath".to_string());
        }
        transaction.commit().await.map_err(fail)?;
        // The lock goes with its session.
        connection.close().await.map_err(fail)?;
        Ok(removed)
    }
}
