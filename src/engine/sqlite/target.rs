//! The writing end: one session writes at a time, and everything between begin and commit, the
//! marks included, is one transaction of SQLite.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::apply::{self, APPLY, Applier};
use super::connect::{File, Worker, received};
use super::dialect::quote;
use super::error::{classify, is_left_half};
use super::load::{self, Loader};
use super::lock;
use super::source::{self, answer};
use super::{inspect, marks, obstacles, snapshot};
use crate::catalog::{Answer, Catalog, Name, Place, Probe, Sequence};
use crate::change::{Changes, Followed, Net, Records};
use crate::checkpoint::{Checkpoint, Goal, Progress};
use crate::engine::crash::crash_point;
use crate::engine::{
    Applied, Batch, BatchStream, Cause, EngineError, Limits, Load, Loaded, Lock, LockHolder, Obstacle,
    SequenceValue, Session, Snapshot, Target,
};

const COMMIT: &str = "commit to";

/// How often the growth of the file is told while SQLite fetches rows by itself.
const GAUGE_EVERY: Duration = Duration::from_millis(250);

/// A file to write to, which need not exist yet.
pub(super) struct Writable {
    file: File,
    limits: Limits,
}

impl Writable {
    /// Checks that it can be opened. With `read_only`, a missing file stays missing.
    pub fn open(file: File, limits: &Limits, read_only: bool) -> Result<Self, EngineError> {
        if read_only && file.exists() {
            file.open_target_reading(limits)?;
        } else if !read_only {
            file.open_target(limits)?;
        }
        Ok(Self { file, limits: limits.clone() })
    }

    /// Runs a look at the file; none where there is no file, or nothing in it. One that meets a
    /// transaction which is just being rolled back takes it for one that a killed process left, and
    /// looks once more.
    async fn look<T: Send + 'static>(
        &self,
        look: impl Fn(&mut Connection) -> Result<T, EngineError> + Clone + Send + 'static,
    ) -> Result<Option<T>, EngineError> {
        if !self.file.exists() {
            return Ok(None);
        }
        for last in [false, true] {
            let worker = Worker::start(self.file.open_target_reading(&self.limits)?)?;
            match worker.call("read", look.clone()).await {
                Err(error) if is_left_half(&error) && !last => {}
                Err(error) if error.object.is_none() => return Err(error.on(&self.file)),
                found => return found.map(Some),
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Target for Writable {
    async fn inspect(&self) -> Result<Catalog, EngineError> {
        let file = self.file.clone();
        match self.look(move |conn| inspect::catalog(conn, &file)).await? {
            Some(catalog) => Ok(catalog),
            None => inspect::empty(&self.file),
        }
    }

    async fn place(&self) -> Result<Place, EngineError> {
        inspect::place(&self.file)
    }

    async fn probe(&self, probes: &[Probe], each: Option<Duration>) -> Result<Vec<Answer>, EngineError> {
        if !self.file.exists() {
            return Ok(probes.iter().map(|_| source::unasked()).collect());
        }
        let worker = Worker::start(self.file.open_target_reading(&self.limits)?)?;
        answer(&[worker], probes, each).await
    }

    async fn progress(&self, plan: &str) -> Result<Progress, EngineError> {
        let plan = plan.to_string();
        Ok(self.look(move |conn| marks::progress(conn, &plan)).await?.unwrap_or_default())
    }

    async fn plans(&self) -> Result<Vec<String>, EngineError> {
        Ok(self.look(|conn| marks::plans(conn)).await?.unwrap_or_default())
    }

    async fn lock(&self, plan: &str, goal: &Goal, wait: Duration) -> Result<Box<dyn Lock>, EngineError> {
        Ok(Box::new(lock::Held::take(&self.file, &self.limits, plan, goal, wait).await?))
    }

    async fn holder(&self, plan: &str) -> Result<Option<LockHolder>, EngineError> {
        let held = lock::held_by(&self.file);
        Ok(held.filter(|(holding, _)| holding == plan).map(|(_, holder)| holder))
    }

    async fn check(&self, _: &[Followed], _: bool) -> Result<Vec<Obstacle>, EngineError> {
        Ok(obstacles::unwritable(&self.file)?.into_iter().collect())
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        let open = File::open_target_reading;
        Ok(Box::new(snapshot::Held::take(&self.file, &self.limits, open).await?))
    }
}

/// One writing connection.
pub(super) struct Writing {
    worker: Worker,
    file: File,
    plan: String,
    epoch: i64,
    open: bool,
    following: Option<Following>,
}

/// What a session needs that applies changes.
#[derive(Clone)]
struct Following {
    tables: Arc<Vec<Followed>>,
    /// Used by the connection's thread only.
    applier: Arc<Mutex<Applier>>,
}

impl Following {
    fn with<T>(&self, work: impl FnOnce(&mut Applier) -> T) -> T {
        work(&mut self.applier.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Writing {
    pub fn new(worker: Worker, file: &File, plan: &str, epoch: i64) -> Self {
        let plan = plan.to_string();
        Self { worker, file: file.clone(), plan, epoch, open: false, following: None }
    }

    fn following(&self) -> Result<Following, EngineError> {
        let missing = || EngineError::new(Cause::Other, APPLY, "this session does not follow");
        self.following.clone().ok_or_else(missing)
    }

    /// Runs work and names the file where the error names nothing.
    async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let done = self.worker.call(doing, work).await;
        done.map_err(|error| if error.object.is_none() { error.on(&self.file) } else { error })
    }

    async fn batch(&self, doing: &'static str, sql: &'static str) -> Result<(), EngineError> {
        self.run(doing, move |conn| conn.execute_batch(sql).map_err(|error| classify(doing, error))).await
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.file.path).map(|meta| meta.len()).unwrap_or(0)
    }

    /// Lets SQLite fetch the rows, telling the gauge meanwhile how the file grows.
    async fn pull(&self, load: &Load<'_>, loader: &Arc<Loader>, bytes: &[u8]) -> Result<Loaded, EngineError> {
        let pull = load::pull_of(bytes, load.projection)?;
        let before = self.bytes();
        let loader = Arc::clone(loader);
        let fetched = received("load rows into", self.worker.send(move |conn| loader.pull(conn, &pull)));
        tokio::pin!(fetched);
        let mut told = 0;
        loop {
            tokio::select! {
                loaded = &mut fetched => {
                    let loaded = loaded?;
                    (load.gauge)(loaded.bytes.saturating_sub(told), loaded.rows);
                    return Ok(loaded);
                }
                () = tokio::time::sleep(GAUGE_EVERY) => {
                    let grown = self.bytes().saturating_sub(before);
                    (load.gauge)(grown.saturating_sub(told), 0);
                    told = told.max(grown);
                }
            }
        }
    }

    /// Takes the stream to its end. One batch is inserted while the next is awaited.
    async fn take(
        &self,
        load: &Load<'_>,
        stream: &mut dyn BatchStream,
    ) -> Result<(Loaded, u64), EngineError> {
        let loader = Loader::new(load.projection);
        let mut done = Loaded::default();
        let mut inserting = None;
        loop {
            let batch = stream.next().await?;
            if let Some(answer) = inserting.take() {
                let emptied = received("load rows into", answer).await?;
                stream.recycle(emptied);
            }
            match batch {
                Batch::Rows(batch) => {
                    let (loader, before) = (Arc::clone(&loader), done.rows);
                    done.rows += batch.rows() as u64;
                    done.bytes += batch.bytes() as u64;
                    (load.gauge)(batch.bytes() as u64, batch.rows() as u64);
                    inserting = Some(self.worker.send(move |conn| loader.insert(conn, batch, before)));
                }
                Batch::Native { bytes, .. } => {
                    let pulled = self.pull(load, &loader, &bytes).await?;
                    done.rows += pulled.rows;
                    done.bytes += pulled.bytes;
                }
                Batch::End { rows } => return Ok((done, rows)),
            }
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if self.open {
            self.worker.interrupt();
        }
    }
}

#[async_trait]
impl Session for Writing {
    async fn begin(&mut self) -> Result<(), EngineError> {
        if let Some(following) = self.following.clone() {
            let forget = move |_: &mut Connection| {
                following.with(Applier::begin);
                Ok(())
            };
            self.run(APPLY, forget).await?;
        }
        self.batch("begin a transaction in", "BEGIN IMMEDIATE").await?;
        self.open = true;
        Ok(())
    }

    async fn execute(&mut self, statements: &[String]) -> Result<(), EngineError> {
        let statements = statements.to_vec();
        self.run("change", move |conn| {
            for statement in &statements {
                conn.execute_batch(statement).map_err(|error| classify("change", error))?;
            }
            Ok(())
        })
        .await
    }

    async fn violations(&mut self, query: &str) -> Result<u64, EngineError> {
        let query = query.to_string();
        self.run("check", move |conn| {
            let sql = format!("SELECT count(*) FROM ({query})");
            let rows: rusqlite::Result<i64> = conn.query_row(&sql, [], |row| row.get(0));
            rows.map(|rows| rows as u64).map_err(|error| classify("check", error))
        })
        .await
    }

    async fn load(&mut self, load: &Load<'_>, stream: &mut dyn BatchStream) -> Result<Loaded, EngineError> {
        let (done, counted) = self.take(load, stream).await?;
        if done.rows != counted {
            let message = format!("{} rows arrived, the source counts {counted}", done.rows);
            return Err(EngineError::new(Cause::Data, "load rows into", message)
                .on(&load.projection.target)
                .hint("apply again; if it repeats, check the source file with PRAGMA integrity_check"));
        }
        Ok(done)
    }

    async fn set_sequence(
        &mut self,
        sequence: &Sequence,
        value: &SequenceValue,
        margin: u64,
    ) -> Result<Option<i64>, EngineError> {
        let Some(owner) = &sequence.owner else { return Ok(None) };
        let (table, last, called) = (owner.table.name.clone(), value.last, value.called);
        let set = move |conn: &mut Connection| raise(conn, &table, last, called, margin);
        self.run("set a sequence in", set).await.map_err(|error| error.on(&sequence.name))
    }

    async fn mark(&mut self, plan: &str, mark: &Checkpoint) -> Result<(), EngineError> {
        let (plan, mark) = (plan.to_string(), mark.clone());
        self.run("write the progress into", move |conn| marks::write(conn, &plan, &mark)).await
    }

    async fn commit(&mut self) -> Result<(), EngineError> {
        let (plan, epoch, following) = (self.plan.clone(), self.epoch, self.following.clone());
        let applies = following.is_some();
        if applies {
            crash_point("apply::progress_updated");
        }
        self.run(COMMIT, move |conn| {
            if let Some(following) = following {
                following.with(|applier| applier.settle(conn))?;
            }
            if marks::epoch(conn, &plan)? != Some(epoch) {
                return Err(EngineError::new(Cause::Locked, COMMIT, "another run has taken over this plan"));
            }
            conn.execute_batch("COMMIT").map_err(|error| classify(COMMIT, error))
        })
        .await?;
        self.open = false;
        crash_point("copy::commit_sent");
        if applies {
            crash_point("apply::commit_sent");
        }
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), EngineError> {
        self.open = false;
        self.run("roll back", |conn| {
            // An error such as a full disk has rolled the transaction back already.
            if conn.is_autocommit() {
                return Ok(());
            }
            conn.execute_batch("ROLLBACK").map_err(|error| classify("roll back", error))
        })
        .await
    }

    async fn any_row(&mut self, table: &Name) -> Result<bool, EngineError> {
        let sql = format!("SELECT 1 FROM main.{} LIMIT 1", quote(&table.name));
        let found = move |conn: &mut Connection| {
            let row = conn.query_row(&sql, [], |_| Ok(())).optional();
            row.map(|row| row.is_some()).map_err(|error| classify("read", error))
        };
        self.run("read", found).await.map_err(|error| error.on(table))
    }

    /// Triggers and foreign keys are off in every writing session, and its commits are synced: a
    /// source transaction is whole before anything could look at it, and what its triggers and
    /// foreign keys did is among its changes.
    async fn follow(&mut self, tables: &[Followed]) -> Result<(), EngineError> {
        let tables = Arc::new(tables.to_vec());
        let looked = Arc::clone(&tables);
        let applier = self.run(APPLY, move |conn| Applier::new(conn, &looked)).await?;
        self.following = Some(Following { tables, applier: Arc::new(Mutex::new(applier)) });
        Ok(())
    }

    async fn apply_rows(&mut self, records: Records<'_>) -> Result<(), EngineError> {
        let following = self.following()?;
        // The connection's thread needs bytes of its own.
        let changes = Changes::from_bytes(records.rest().to_vec(), true)
            .map_err(|error| EngineError::new(Cause::Other, APPLY, error.to_string()))?;
        self.run(APPLY, move |conn| following.with(|applier| applier.rows(conn, &changes))).await
    }

    /// In one process a set costs as much as its rows: they are applied one by one, in a savepoint.
    async fn apply_net(&mut self, net: &Net<'_>) -> Result<Applied, EngineError> {
        let following = self.following()?;
        let changes = apply::records(net, &following.tables);
        self.run(APPLY, move |conn| following.with(|applier| applier.net(conn, &changes))).await
    }
}

/// Raises an AUTOINCREMENT counter; other row ids follow the largest by themselves.
fn raise(
    conn: &Connection,
    table: &str,
    last: i64,
    called: bool,
    margin: u64,
) -> Result<Option<i64>, EngineError> {
    const DOING: &str = "set a sequence in";
    let fail = |error| classify(DOING, error);
    if !inspect::autoincrement(conn, table).map_err(fail)? {
        return Ok(None);
    }
    let used = if called { Some(last) } else { last.checked_sub(1) };
    let wanted = used.and_then(|used| i64::try_from(margin).ok().and_then(|margin| used.checked_add(margin)));
    let Some(wanted) = wanted.filter(|wanted| *wanted < i64::MAX) else {
        let message = "the value and its margin go beyond the largest row id";
        return Err(EngineError::new(Cause::Data, DOING, message).hint("choose a smaller sequence margin"));
    };
    let sql = "SELECT name, seq FROM main.sqlite_sequence WHERE name = ?1 COLLATE NOCASE";
    let row = conn.query_row(sql, [table], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)));
    match row.optional().map_err(fail)? {
        Some((_, now)) if now >= wanted => return Ok(None),
        Some((name, _)) => conn.execute("UPDATE main.sqlite_sequence SET seq = ?2 WHERE name = ?1", (name, wanted)),
        None if wanted <= 0 => return Ok(None),
        None => conn.execute("INSERT INTO main.sqlite_sequence (name, seq) VALUES ((SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE), ?2)", (table, wanted)),
    }
    .map_err(fail)?;
    Ok(Some(wanted))
}
