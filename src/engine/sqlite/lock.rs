//! One writer per file: an operating-system lock on a file beside the database, which a killed run
//! loses at once, and a fence number in the database that every commit checks.

use std::fs::{File as OsFile, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::connect::{File, Worker};
use super::error::classify;
use super::marks::{self, NewRun};
use super::target::Writing;
use crate::checkpoint::Goal;
use crate::engine::crash::crash_point;
use crate::engine::{Cause, EngineError, Limits, Lock, LockHolder, Session};

const LOCK: &str = "lock";

/// Pause between two attempts to get the lock.
const PAUSE: Duration = Duration::from_millis(50);

/// Attempts that are made even when no waiting is wanted: a look at the holder takes the lock for
/// a moment.
const ATTEMPTS_MIN: u32 = 3;

/// The lock file, held.
pub(super) struct LockFile {
    file: OsFile,
    path: PathBuf,
}

impl LockFile {
    /// Takes it, or says who has it.
    async fn take(database: &File, plan: &str, by: &str, wait: Duration) -> Result<Self, EngineError> {
        let path = database.sibling("-towpath-lock");
        let start = Instant::now();
        let mut attempts = 0;
        loop {
            if let Some(mut lock) = Self::attempt(&path).map_err(|error| refuse_io(database, &error))? {
                let since = jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default();
                lock.describe(plan, by, &since.to_string()).map_err(|error| refuse_io(database, &error))?;
                return Ok(lock);
            }
            attempts += 1;
            if start.elapsed() >= wait && attempts >= ATTEMPTS_MIN {
                return Err(refuse_held(database, &path));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One try. The file that was locked must still be the one under that name: the last holder
    /// may have removed it in between.
    fn attempt(path: &Path) -> std::io::Result<Option<Self>> {
        let file = OsFile::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let lock = Self { file, path: path.to_path_buf() };
        Ok(lock.in_place().then_some(lock))
    }

    /// False once somebody removed or replaced the file: then another run could lock a new one.
    fn in_place(&self) -> bool {
        match (self.file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(ours), Ok(named)) => same_file(&ours, &named),
            _ => false,
        }
    }

    fn describe(&mut self, plan: &str, by: &str, since: &str) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        let line = serde_json::json!({ "plan": plan, "by": by, "since": since });
        self.file.write_all(line.to_string().as_bytes())
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if self.in_place() {
            // Removed while it is held, so that nobody else can be holding it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(unix)]
fn same_file(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same_file(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    a.created().ok() == b.created().ok()
}

/// Plan and holder, where the lock is held now.
pub(super) fn held_by(database: &File) -> Option<(String, LockHolder)> {
    let path = database.sibling("-towpath-lock");
    let file = OsFile::open(&path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => read_holder(&path),
        _ => None,
    }
}

fn read_holder(path: &Path) -> Option<(String, LockHolder)> {
    let mut text = String::new();
    OsFile::open(path).ok()?.take(4096).read_to_string(&mut text).ok()?;
    let line: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let word = |name: &str| line.get(name).and_then(|value| value.as_str()).unwrap_or("unknown").to_string();
    Some((word("plan"), LockHolder { by: word("by"), since: word("since") }))
}

fn refuse_held(database: &File, path: &Path) -> EngineError {
    let message = match read_holder(path) {
        Some((plan, holder)) => {
            format!("plan {plan} is being applied by {} since {}", holder.by, holder.since)
        }
        None => "another run is writing to it".to_string(),
    };
    EngineError::new(Cause::Locked, LOCK, message).on(database).hint("wait for it to end, or stop it")
}

fn refuse_io(database: &File, error: &std::io::Error) -> EngineError {
    let cause = match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Cause::Privilege,
        _ => Cause::Resources,
    };
    EngineError::new(cause, LOCK, format!("the lock file beside it: {error}"))
        .on(database)
        .hint("the directory of a target must be writable: SQLite's journal is written there, too")
}

/// Who we are: `user@host pid 123`.
fn whoami() -> String {
    let word = |name: &str| std::env::var(name).ok().filter(|word| !word.is_empty());
    let user = word("USER").or_else(|| word("LOGNAME")).unwrap_or_else(|| "unknown".into());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|host| host.trim().to_string());
    let host = host.or_else(|| word("HOSTNAME")).unwrap_or_else(|| "localhost".into());
    format!("{user}@{host} pid {}", std::process::id())
}

/// The right to write for one plan.
pub(super) struct Held {
    database: File,
    limits: Limits,
    run: NewRun,
    epoch: i64,
    worker: Worker,
    file: LockFile,
}

impl Held {
    pub async fn take(
        database: &File,
        limits: &Limits,
        plan: &str,
        goal: &Goal,
        wait: Duration,
    ) -> Result<Self, EngineError> {
        let by = whoami();
        let file = LockFile::take(database, plan, &by, wait).await?;
        let stamp = jiff::Timestamp::now().as_microsecond();
        let run = NewRun {
            run: format!("{stamp}-{}", std::process::id()),
            plan: plan.to_string(),
            goal: goal.clone(),
            by,
        };
        let worker = Worker::start(database.open_target(limits)?)?;
        let new = run.clone();
        let epoch = worker.call(LOCK, move |conn| begin(conn, &new)).await?;
        crash_point("progress::epoch_bumped");
        Ok(Self { database: database.clone(), limits: limits.clone(), run, epoch, worker, file })
    }
}

fn begin(conn: &rusqlite::Connection, run: &NewRun) -> Result<i64, EngineError> {
    let fail = |error| classify(LOCK, error);
    conn.execute_batch("BEGIN IMMEDIATE").map_err(fail)?;
    let begun = marks::create(conn).and_then(|()| {
        crash_point("progress::schema_created");
        marks::begin_run(conn, run)
    });
    let end = if begun.is_ok() { "COMMIT" } else { "ROLLBACK" };
    conn.execute_batch(end).map_err(fail)?;
    begun
}

#[async_trait]
impl Lock for Held {
    async fn session(&self) -> Result<Box<dyn Session>, EngineError> {
        let conn = self.database.open_target(&self.limits)?;
        Ok(Box::new(Writing::new(Worker::start(conn)?, &self.database, &self.run.plan, self.epoch)))
    }

    /// Asks nothing of the database: a writing session may keep readers out for long.
    async fn heartbeat(&self) -> Result<(), EngineError> {
        if self.file.in_place() && self.database.exists() {
            return Ok(());
        }
        let message = "the lock file or the database file was removed or replaced";
        Err(EngineError::new(Cause::Locked, LOCK, message).on(&self.database))
    }

    async fn close(self: Box<Self>, outcome: &str) -> Result<(), EngineError> {
        let (run, outcome, epoch) = (self.run.clone(), outcome.to_string(), self.epoch);
        let write = move |conn: &mut rusqlite::Connection| match marks::epoch(conn, &run.plan)? {
            Some(now) if now == epoch => marks::end_run(conn, &run.run, &outcome),
            _ => Err(EngineError::new(Cause::Locked, LOCK, "another run has taken over this plan")),
        };
        // Each commit was synced before; the connection closes before the lock file goes.
        self.worker.call(LOCK, write).await.map_err(|error| error.on(&self.database))
    }

    async fn forget(self: Box<Self>) -> Result<Vec<String>, EngineError> {
        let (plan, epoch) = (self.run.plan.clone(), self.epoch);
        let remove = move |conn: &mut rusqlite::Connection| {
            let fail = |error| classify("remove the state of the plan in", error);
            conn.execute_batch("BEGIN IMMEDIATE").map_err(fail)?;
            let removed = match marks::epoch(conn, &plan) {
                Ok(Some(now)) if now == epoch => marks::forget_plan(conn, &plan),
                Ok(_) => Err(EngineError::new(Cause::Locked, LOCK, "another run has taken over this plan")),
                Err(error) => Err(error),
            };
            let end = if removed.is_ok() { "COMMIT" } else { "ROLLBACK" };
            conn.execute_batch(end).map_err(fail)?;
            removed
        };
        let whole = self.worker.call(LOCK, remove).await.map_err(|error| error.on(&self.database))?;
        let mut removed = vec![format!("state of plan {}", self.run.plan)];
        if whole {
            removed.push(format!("tables {}", marks::TABLES.join(", ")));
        }
        Ok(removed)
    }
}
