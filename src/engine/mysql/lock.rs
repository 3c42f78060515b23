//! One writer per plan: a named lock on a session of its own, and a fence number that every commit
//! checks. Whoever gets the lock raises the number, so that a run which lost its lock without
//! noticing cannot commit any more.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::connect::{self, Link};
use super::error::{escape, from_driver};
use super::load::Writing;
use super::marks::State;
use super::quote::literal;
use crate::checkpoint::Goal;
use crate::engine::crash::crash_point;
use crate::engine::{Cause, EngineError, Lock, LockHolder, Session};

const DOING: &str = "take the lock of plan";

/// Names of locks that writing sessions hold, so that whoever takes over finds what was left behind.
const SLOTS: usize = 64;

/// A plan in a target.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub name: String,
    pub state: State,
    /// Of its lock. Such names are of the whole server.
    lock: String,
}

impl Plan {
    pub fn new(database: &str, name: &str) -> Self {
        let digest = Sha256::digest(format!("{database}\0{name}"));
        let digits: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name: name.to_string(), state: State::of(database), lock: format!("towpath {digits}") }
    }

    /// The plan's lock, as a literal.
    pub fn lock(&self) -> String {
        literal(&self.lock)
    }

    /// The lock of one writing session, as a literal.
    pub fn slot(&self, number: usize) -> String {
        literal(&format!("{} {number}", self.lock))
    }

    /// Who holds the plan's lock now. The row tells who it was; the lock, whether he lives.
    pub async fn holder(&self, conn: &mut Conn) -> Result<Option<LockHolder>, EngineError> {
        if !self.state.is_there(conn).await? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT `holder`, DATE_FORMAT(`since`, '%Y-%m-%dT%H:%i:%s.%fZ') FROM {} WHERE `plan` = ? \
             AND IS_USED_LOCK({}) IS NOT NULL",
            self.state.table("towpath_lock"),
            self.lock()
        );
        let found: Option<(String, String)> = conn
            .exec_first(sql, (&self.name,))
            .await
            .map_err(|error| from_driver("ask who holds plan", error).on(&self.name))?;
        Ok(found.map(|(by, since)| LockHolder { by, since }))
    }
}

/// The lock, for as long as its session lives.
pub(super) struct Held {
    link: Arc<Link>,
    conn: Mutex<Option<Conn>>,
    plan: Plan,
    epoch: i64,
}

impl Held {
    /// Waits up to `wait` for whoever has it.
    pub async fn take(link: Arc<Link>, plan: &str, goal: &Goal, wait: Duration) -> Result<Self, EngineError> {
        let plan = Plan::new(&link.address.database, plan);
        let mut conn = link.writer().await?;
        let on = |error: EngineError| match error.object {
            Some(_) => error,
            None => error.on(link.shown()),
        };
        acquire(&mut conn, &plan, wait).await?;
        plan.state.create(&mut conn).await.map_err(on)?;
        crash_point("progress::schema_created");
        let epoch = raise_fence(&mut conn, &plan, goal).await?;
        end_writers(&mut conn, &plan).await?;
        crash_point("progress::epoch_bumped");
        Ok(Self { link, conn: Mutex::new(Some(conn)), plan, epoch })
    }

    fn lost(&self, why: impl Into<String>) -> EngineError {
        EngineError::new(Cause::Locked, "keep the lock of plan", why)
            .on(&self.plan.name)
            .hint("nothing uncommitted was kept; run the same command again: it continues")
    }
}

/// Takes the named lock; the server does the waiting.
async fn acquire(conn: &mut Conn, plan: &Plan, wait: Duration) -> Result<(), EngineError> {
    let sql = format!("SELECT GET_LOCK({}, {})", plan.lock(), wait.as_secs().min(86_400));
    let fail = |error| from_driver(DOING, error).on(&plan.name);
    let taken: Option<Option<u8>> = conn.query_first(sql).await.map_err(fail)?;
    if taken.flatten() == Some(1) {
        return Ok(());
    }
    let who = plan.holder(conn).await?;
    let who = who.map_or("another run".to_string(), |holder| format!("{} since {}", holder.by, holder.since));
    Err(EngineError::new(Cause::Locked, DOING, format!("it is held by {who}"))
        .on(&plan.name)
        .hint("wait for that run to end, or stop it; a dead one is released by the server within minutes"))
}

/// Raises the fence and records the run with its goal. Waits for commits that hold the old fence.
async fn raise_fence(conn: &mut Conn, plan: &Plan, goal: &Goal) -> Result<i64, EngineError> {
    let fail = |error| from_driver(DOING, error).on(&plan.name);
    let lock = plan.state.table("towpath_lock");
    let by = whoami();
    conn.query_drop("START TRANSACTION").await.map_err(fail)?;
    let raise = format!(
        "INSERT INTO {lock} (`plan`, `epoch`, `holder`, `since`) VALUES (?, 1, ?, UTC_TIMESTAMP(6)) \
         ON DUPLICATE KEY UPDATE `epoch` = `epoch` + 1, `holder` = ?, `since` = UTC_TIMESTAMP(6)"
    );
    conn.exec_drop(raise, (&plan.name, &by, &by)).await.map_err(fail)?;
    let sql = format!("SELECT `epoch` FROM {lock} WHERE `plan` = ? FOR UPDATE");
    let epoch: Option<i64> = conn.exec_first(sql, (&plan.name,)).await.map_err(fail)?;
    let epoch =
        epoch.ok_or_else(|| EngineError::new(Cause::Other, DOING, "its fence is gone").on(&plan.name))?;
    record_goal(conn, plan, goal).await?;
    let record = format!(
        "INSERT INTO {} (`plan`, `epoch`, `digest`, `started_at`, `holder`, `tool`) \
         VALUES (?, ?, ?, UTC_TIMESTAMP(6), ?, ?)",
        plan.state.table("towpath_run")
    );
    let tool = concat!("towpath ", env!("CARGO_PKG_VERSION"));
    conn.exec_drop(record, (&plan.name, epoch, &goal.digest, &by, tool)).await.map_err(fail)?;
    conn.query_drop("COMMIT").await.map_err(fail)?;
    Ok(epoch)
}

/// Remembers the goal's steps, unless the run before had the same goal.
async fn record_goal(conn: &mut Conn, plan: &Plan, goal: &Goal) -> Result<(), EngineError> {
    let fail = |error| from_driver(DOING, error).on(&plan.name);
    let table = plan.state.table("towpath_goal");
    let known = format!(
        "SELECT EXISTS (SELECT 1 FROM {table} WHERE `plan` = ?) AND COALESCE((SELECT `digest` = ? FROM {} \
         WHERE `plan` = ? ORDER BY `epoch` DESC LIMIT 1), 0)",
        plan.state.table("towpath_run")
    );
    let same: Option<u8> =
        conn.exec_first(known, (&plan.name, &goal.digest, &plan.name)).await.map_err(fail)?;
    if same == Some(1) {
        return Ok(());
    }
    conn.exec_drop(format!("DELETE FROM {table} WHERE `plan` = ?"), (&plan.name,)).await.map_err(fail)?;
    let insert = format!("INSERT INTO {table} (`plan`, `place`, `step`, `phase`) VALUES (?, ?, ?, ?)");
    let steps = goal.steps.iter().enumerate();
    let rows: Vec<_> =
        steps.map(|(place, step)| (&plan.name, place as u64, &step.step, &step.phase)).collect();
    if rows.is_empty() {
        return Ok(());
    }
    conn.exec_batch(insert, rows).await.map_err(fail)
}

/// Ends sessions of a run before that are still there: of one that was killed in a long statement,
/// or whose network is gone. The fence keeps them from committing, but not from holding their locks.
/// Those of another user are left to the server.
async fn end_writers(conn: &mut Conn, plan: &Plan) -> Result<(), EngineError> {
    let fail = |error| from_driver("end what is left of an earlier run of plan", error).on(&plan.name);
    let until = tokio::time::Instant::now() + WRITERS_END;
    let asked: Vec<_> =
        (0..SLOTS).map(|slot| format!("SELECT IS_USED_LOCK({}) AS id", plan.slot(slot))).collect();
    let sql = format!("SELECT id FROM ({}) AS slots WHERE id IS NOT NULL", asked.join(" UNION ALL "));
    loop {
        let left: Vec<u64> = conn.query(&sql).await.map_err(fail)?;
        if left.is_empty() || tokio::time::Instant::now() > until {
            return Ok(());
        }
        for id in left {
            // It may have ended by itself.
            let _ = conn.query_drop(format!("KILL CONNECTION {id}")).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How long sessions that were told to end may take for it.
const WRITERS_END: Duration = Duration::from_secs(10);

/// `user@host pid 123`, for the one who waits.
fn whoami() -> String {
    let user =
        std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "somebody".into());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    let host = host.map_or_else(|_| "unknown host".to_string(), |host| host.trim().to_string());
    escape(&format!("{user}@{host} pid {}", std::process::id()))
}

/// Takes the first free slot for a writing session.
pub(super) async fn take_slot(conn: &mut Conn, plan: &Plan) -> Result<(), EngineError> {
    for slot in 0..SLOTS {
        let sql = format!("SELECT GET_LOCK({}, 0)", plan.slot(slot));
        let taken: Option<Option<u8>> =
            conn.query_first(sql).await.map_err(|error| from_driver(DOING, error).on(&plan.name))?;
        if taken.flatten() == Some(1) {
            break;
        }
    }
    Ok(())
}

#[async_trait]
impl Lock for Held {
    async fn session(&self) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(Writing::open(Arc::clone(&self.link), &self.plan, self.epoch).await?))
    }

    async fn heartbeat(&self) -> Result<(), EngineError> {
        let sql = format!(
            "SELECT COALESCE(IS_USED_LOCK({}) = CONNECTION_ID(), 0), \
             EXISTS (SELECT 1 FROM {} WHERE `plan` = ? AND `epoch` = ?)",
            self.plan.lock(),
            self.plan.state.table("towpath_lock")
        );
        let mut held = self.conn.lock().await;
        let Some(conn) = held.as_mut() else { return Err(self.lost("its session has ended")) };
        let found: Result<Option<(u8, u8)>, _> = conn.exec_first(sql, (&self.plan.name, self.epoch)).await;
        match found {
            Ok(Some((1, 1))) => Ok(()),
            Ok(Some((1, _))) => Err(self.lost("another run has taken it over")),
            Ok(_) => Err(self.lost("its session no longer holds it")),
            Err(error) => Err(self.lost(from_driver("ask", error).message)),
        }
    }

    async fn close(self: Box<Self>, outcome: &str) -> Result<(), EngineError> {
        let fail = |error| from_driver("record the end of plan", error).on(&self.plan.name);
        let Some(mut conn) = self.conn.lock().await.take() else { return Ok(()) };
        let sql = format!(
            "UPDATE {} SET `finished_at` = UTC_TIMESTAMP(6), `outcome` = ? WHERE `plan` = ? AND `epoch` = ?",
            self.plan.state.table("towpath_run")
        );
        conn.exec_drop(sql, (outcome, &self.plan.name, self.epoch)).await.map_err(fail)?;
        // At once, and not when the server has noticed that the session is gone.
        conn.query_drop(format!("DO RELEASE_LOCK({})", self.plan.lock())).await.map_err(fail)?;
        connect::close(conn).await;
        Ok(())
    }

    async fn forget(self: Box<Self>) -> Result<Vec<String>, EngineError> {
        const REMOVE: &str = "remove the state of plan";
        let fail = |error| from_driver(REMOVE, error).on(&self.plan.name);
        let Some(mut conn) = self.conn.lock().await.take() else { return Ok(Vec::new()) };
        conn.query_drop("START TRANSACTION").await.map_err(fail)?;
        let sql =
            format!("DELETE FROM {} WHERE `plan` = ? AND `epoch` = ?", self.plan.state.table("towpath_lock"));
        conn.exec_drop(sql, (&self.plan.name, self.epoch)).await.map_err(fail)?;
        if conn.affected_rows() != 1 {
            let why = "another run has taken this plan over";
            return Err(EngineError::new(Cause::Locked, REMOVE, why).on(&self.plan.name));
        }
        let mut removed = vec![format!("state of plan {}", self.plan.name)];
        if self.plan.state.forget(&mut conn, &self.plan.name).await? {
            removed.push("state tables (towpath_...)".to_string());
        }
        // The lock goes with its session.
        connect::close(conn).await;
        Ok(removed)
    }
}
