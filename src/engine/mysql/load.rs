//! The writing session of a run: transactions whose every commit checks the fence, rows, marks, and
//! statements that change structure, each between two transactions (see `intent`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::apply::{APPLY, Follower};
use super::connect::{self, Link};
use super::error::{from_driver, from_io};
use super::insert::{Inserter, LOAD};
use super::intent::Intent;
use super::lock::{Plan, take_slot};
use super::{ddl, quote, sequence};
use crate::catalog::{Name, Sequence};
use crate::change::{Followed, Net, Records};
use crate::checkpoint::Checkpoint;
use crate::engine::crash::{crash_point, fault_point};
use crate::engine::{Applied, Batch, BatchStream, Cause, EngineError, Load, Loaded, SequenceValue, Session};

const BEGIN: &str = "begin a transaction in";
const COMMIT: &str = "commit to";
const CHANGE: &str = "change the structure of";

/// How long a session that was cut off may take to end, before its last commit is looked for.
const SETTLE: Duration = Duration::from_secs(20);

/// One writing connection.
pub(super) struct Writing {
    link: Arc<Link>,
    plan: Plan,
    epoch: i64,
    /// None: it broke, and the next transaction begins on another one.
    conn: Option<Conn>,
    open: bool,
    /// Names the open transaction, in the marks that it writes.
    unit: String,
    /// The open transaction has written a mark.
    marked: bool,
    /// What was made and is not marked yet.
    made: Vec<Intent>,
    follower: Option<Follower>,
}

impl Writing {
    pub async fn open(link: Arc<Link>, plan: &Plan, epoch: i64) -> Result<Self, EngineError> {
        let mut session = Self {
            link,
            plan: plan.clone(),
            epoch,
            conn: None,
            open: false,
            unit: String::new(),
            marked: false,
            made: Vec::new(),
            follower: None,
        };
        session.conn = Some(session.connect().await?);
        Ok(session)
    }

    async fn connect(&self) -> Result<Conn, EngineError> {
        let mut conn = self.link.writer().await?;
        take_slot(&mut conn, &self.plan).await?;
        Ok(conn)
    }

    /// Goes on with another connection.
    fn take_over(&mut self, conn: Conn) {
        self.conn = Some(conn);
        if let Some(follower) = self.follower.as_mut() {
            follower.unsettle();
        }
    }

    /// The connection, and what applies changes with it.
    fn applying(&mut self) -> Result<(&mut Conn, &mut Follower), EngineError> {
        let gone = || EngineError::new(Cause::Connection, APPLY, "the session has ended");
        let missing = || EngineError::new(Cause::Other, APPLY, "this session does not follow");
        Ok((self.conn.as_mut().ok_or_else(gone)?, self.follower.as_mut().ok_or_else(missing)?))
    }

    fn conn(&mut self) -> Result<&mut Conn, EngineError> {
        let gone = || EngineError::new(Cause::Connection, LOAD, "the session has ended");
        self.conn.as_mut().ok_or_else(gone)
    }

    /// A session whose connection broke is given up.
    fn fail(&mut self, error: EngineError) -> EngineError {
        if error.cause == Cause::Connection {
            self.conn = None;
            self.open = false;
        }
        match error.object {
            Some(_) => error,
            None => error.on(self.link.shown()),
        }
    }

    async fn run(&mut self, doing: &str, sql: &str) -> Result<(), EngineError> {
        let done = self.conn()?.query_drop(sql).await;
        done.map_err(|error| self.fail(from_driver(doing, error)))
    }

    async fn start(&mut self) -> Result<(), EngineError> {
        self.run(BEGIN, "START TRANSACTION").await?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let id = self.conn()?.id();
        self.unit = format!("{}-{id}-{}", self.epoch, now.as_nanos());
        (self.open, self.marked) = (true, false);
        Ok(())
    }

    /// Holds the fence until the transaction ends, and fails where it is no longer ours or nobody
    /// holds the plan's lock.
    async fn check_fence(&mut self) -> Result<(), EngineError> {
        let sql = format!(
            "SELECT `epoch`, IS_USED_LOCK({}) IS NOT NULL FROM {} WHERE `plan` = ? LOCK IN SHARE MODE",
            self.plan.lock(),
            self.plan.state.table("towpath_lock")
        );
        let name = self.plan.name.clone();
        let found: Result<Option<(i64, u8)>, _> = self.conn()?.exec_first(sql, (&name,)).await;
        let found = found.map_err(|error| self.fail(from_driver(COMMIT, error)))?;
        let why = match found {
            Some((epoch, 1)) if epoch == self.epoch => return Ok(()),
            Some((epoch, _)) if epoch == self.epoch => "the session that holds the plan's lock has ended",
            _ => "another run has taken over this plan",
        };
        Err(EngineError::new(Cause::Locked, COMMIT, why)
            .on(&name)
            .hint("nothing uncommitted was kept; run the same command again: it continues"))
    }

    async fn finish(&mut self) -> Result<(), EngineError> {
        let applies = self.follower.is_some();
        if applies {
            crash_point("apply::progress_updated");
        }
        self.check_fence().await?;
        let id = self.conn()?.id();
        let sent = self.conn()?.query_drop("COMMIT").await.map_err(|error| from_driver(COMMIT, error));
        let heard = match sent {
            Ok(()) if self.marked => {
                let lost = fault_point("copy::commit_sent");
                let lost = if applies { lost.and_then(|()| fault_point("apply::commit_sent")) } else { lost };
                lost.map_err(|error| from_io(COMMIT, &error))
            }
            sent => sent,
        };
        let Err(error) = heard else {
            self.open = false;
            return Ok(());
        };
        let error = self.fail(error);
        match error.cause == Cause::Connection && self.marked {
            true => self.look_for(id, error).await,
            false => Err(error),
        }
    }

    /// The answer to a COMMIT was lost: once the session that sent it is gone, its mark tells.
    async fn look_for(&mut self, id: u32, error: EngineError) -> Result<(), EngineError> {
        let Ok(mut conn) = self.connect().await else { return Err(error) };
        let until = tokio::time::Instant::now() + SETTLE;
        // It ends by itself; the one that is asked to is told nothing if it did.
        let _ = conn.query_drop(format!("KILL CONNECTION {id}")).await;
        let there = format!("SELECT EXISTS (SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = {id})");
        while tokio::time::Instant::now() < until {
            match conn.query_first::<u8, _>(&there).await {
                Ok(Some(0)) => {
                    let committed = self.plan.state.committed(&mut conn, &self.plan.name, &self.unit).await?;
                    self.take_over(conn);
                    return if committed { Ok(()) } else { Err(error) };
                }
                Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(_) => break,
            }
        }
        Err(error)
    }

    /// A statement that ends the transaction it is in: what is open commits first, with the note of
    /// what is made; what comes after it is in a transaction of its own.
    async fn structure(&mut self, statement: &str) -> Result<(), EngineError> {
        if !self.open {
            return self.run(CHANGE, statement).await;
        }
        self.keep_defaults(statement).await?;
        let intent = Intent::of(statement);
        let mut noted = false;
        if let Some(intent) = &intent {
            let (state, plan) = (self.plan.state.clone(), self.plan.name.clone());
            let note = intent.note(self.conn()?, &state, &plan).await;
            noted = note.map_err(|error| self.fail(error))?;
        }
        self.finish().await?;
        if !(noted && self.is_there(intent.as_ref()).await?) {
            let done = self.run(CHANGE, statement).await;
            // One that was sent before, and whose answer was lost, may have come to its end meanwhile.
            if let Err(error) = done
                && !(noted && self.conn.is_some() && self.is_there(intent.as_ref()).await?)
            {
                self.forget_note(intent.as_ref()).await;
                return Err(error);
            }
        }
        let heard = fault_point("ddl::sent_no_reply");
        heard.map_err(|error| self.fail(from_io(CHANGE, &error)))?;
        self.start().await?;
        self.made.extend(intent);
        Ok(())
    }

    /// Refuses what the server would add a default and ON UPDATE to.
    async fn keep_defaults(&mut self, statement: &str) -> Result<(), EngineError> {
        let Some(table) = ddl::leaves_moment_open(statement) else { return Ok(()) };
        let sql = "SHOW SESSION VARIABLES LIKE 'explicit_defaults_for_timestamp'";
        let found: Result<Option<(String, String)>, _> = self.conn()?.query_first(sql).await;
        let found = found.map_err(|error| self.fail(from_driver(CHANGE, error)))?;
        if found.is_none_or(|(_, value)| value != "OFF") {
            return Ok(());
        }
        let why =
            "the server gives a TIMESTAMP that is NOT NULL a default of its own, and the first one ON UPDATE";
        let hint =
            "set explicit_defaults_for_timestamp = ON there; or `type: datetime` for what has no default";
        Err(EngineError::new(Cause::NotFound, CHANGE, why).on(table).hint(hint))
    }

    /// What the server refused was not made, and what may be there later is somebody else's.
    async fn forget_note(&mut self, intent: Option<&Intent>) {
        let (state, plan) = (self.plan.state.clone(), self.plan.name.clone());
        if let (Some(intent), Some(conn)) = (intent, self.conn.as_mut()) {
            // The error that is told is the statement's.
            let _ = intent.done(conn, &state, &plan).await;
        }
    }

    async fn is_there(&mut self, intent: Option<&Intent>) -> Result<bool, EngineError> {
        let Some(intent) = intent else { return Ok(false) };
        let database = self.link.address.database.clone();
        let found = intent.is_there(self.conn()?, &database).await;
        found.map_err(|error| self.fail(error))
    }

    /// Takes the stream to its end. One batch is inserted while the next is awaited.
    async fn take(
        &mut self,
        load: &Load<'_>,
        stream: &mut dyn BatchStream,
    ) -> Result<(Loaded, u64), EngineError> {
        let flavor = self.link.server.flavor;
        let conn = self.conn()?;
        let mut inserter = Inserter::new(conn, load.projection, flavor).await?;
        let mut done = Loaded::default();
        let mut next = stream.next().await?;
        loop {
            let batch = match next {
                Batch::Rows(batch) => batch,
                Batch::Native { .. } => {
                    let message = "native bytes came where rows were announced";
                    return Err(EngineError::new(Cause::Other, LOAD, message).on(&load.projection.target));
                }
                Batch::End { rows } => {
                    inserter.close(conn).await;
                    return Ok((done, rows));
                }
            };
            let (inserted, read) = tokio::join!(inserter.insert(conn, &batch), stream.next());
            inserted?;
            let (bytes, rows) = (batch.bytes() as u64, batch.rows() as u64);
            done.rows += rows;
            done.bytes += bytes;
            (load.gauge)(bytes, rows);
            stream.recycle(batch);
            next = read?;
        }
    }
}

/// True for statements that are part of a transaction.
fn is_of_rows(statement: &str) -> bool {
    ["DELETE ", "SET ", "INSERT ", "UPDATE "].iter().any(|word| statement.starts_with(word))
}

#[async_trait]
impl Session for Writing {
    async fn begin(&mut self) -> Result<(), EngineError> {
        self.made.clear();
        if self.conn.is_none() {
            let conn = self.connect().await?;
            self.take_over(conn);
        }
        match self.follower.is_some() {
            true => {
                let (conn, follower) = self.applying()?;
                let settled = follower.settle(conn).await;
                settled.map_err(|error| self.fail(error))?;
            }
            false => self.run(BEGIN, ddl::CHECKED).await?,
        }
        self.start().await
    }

    async fn execute(&mut self, statements: &[String]) -> Result<(), EngineError> {
        for statement in statements {
            match is_of_rows(statement) {
                true => self.run(CHANGE, statement).await?,
                false => self.structure(statement).await?,
            }
        }
        Ok(())
    }

    async fn violations(&mut self, query: &str) -> Result<u64, EngineError> {
        let sql = format!("SELECT COUNT(*) FROM ({query}) AS violations");
        let count: Result<Option<u64>, _> = self.conn()?.query_first(sql).await;
        let count = count.map_err(|error| self.fail(from_driver("check rows of", error)))?;
        count.ok_or_else(|| EngineError::new(Cause::Other, "check rows of", "the server sent no number"))
    }

    async fn load(&mut self, load: &Load<'_>, stream: &mut dyn BatchStream) -> Result<Loaded, EngineError> {
        // What points to rows that are still to come is checked after all of them.
        self.run(LOAD, ddl::UNCHECKED).await?;
        let taken = self.take(load, stream).await;
        let (done, counted) = taken.map_err(|error| self.fail(error))?;
        if done.rows != counted {
            let message = format!("{} rows arrived, the source counts {counted}", done.rows);
            return Err(EngineError::new(Cause::Data, LOAD, message)
                .on(&load.projection.target)
                .hint("apply again; nothing of this piece was kept"));
        }
        Ok(done)
    }

    async fn set_sequence(
        &mut self,
        sequence: &Sequence,
        value: &SequenceValue,
        margin: u64,
    ) -> Result<Option<i64>, EngineError> {
        let raised = sequence::raise(self.conn()?, sequence, value, margin).await;
        let Some((statement, value)) = raised.map_err(|error| self.fail(error))? else { return Ok(None) };
        self.structure(&statement).await?;
        Ok(Some(value))
    }

    async fn mark(&mut self, plan: &str, mark: &Checkpoint) -> Result<(), EngineError> {
        let (state, unit) = (self.plan.state.clone(), self.unit.clone());
        let conn = self.conn()?;
        let written = state.write(conn, plan, mark, &unit).await;
        written.map_err(|error| self.fail(error))?;
        self.marked = true;
        if matches!(mark, Checkpoint::Step(_)) {
            for intent in std::mem::take(&mut self.made) {
                let done = intent.done(self.conn()?, &state, plan).await;
                done.map_err(|error| self.fail(error))?;
            }
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), EngineError> {
        self.finish().await
    }

    async fn rollback(&mut self) -> Result<(), EngineError> {
        self.open = false;
        self.made.clear();
        if self.conn.is_none() {
            // The server rolls back what its client leaves.
            return Ok(());
        }
        self.run("roll back", "ROLLBACK").await
    }

    async fn follow(&mut self, tables: &[Followed]) -> Result<(), EngineError> {
        let flavor = self.link.server.flavor;
        let follower = Follower::open(self.conn()?, tables, flavor).await;
        self.follower = Some(follower.map_err(|error| self.fail(error))?);
        Ok(())
    }

    fn keeps_still(&self) -> bool {
        self.follower.as_ref().is_some_and(|follower| !follower.triggers)
    }

    async fn apply_rows(&mut self, records: Records<'_>) -> Result<(), EngineError> {
        let (conn, follower) = self.applying()?;
        let applied = follower.rows(conn, records).await;
        applied.map_err(|error| self.fail(error))
    }

    async fn apply_net(&mut self, net: &Net<'_>) -> Result<Applied, EngineError> {
        let (conn, follower) = self.applying()?;
        let applied = follower.net(conn, net).await;
        applied.map_err(|error| self.fail(error))
    }

    async fn any_row(&mut self, table: &Name) -> Result<bool, EngineError> {
        let sql = format!("SELECT 1 FROM {} LIMIT 1", quote::name(table));
        let found: Result<Option<u8>, _> = self.conn()?.query_first(sql).await;
        let found = found.map_err(|error| self.fail(from_driver("read", error).on(table)))?;
        Ok(found.is_some())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        // Said to the server at once, so that what is open does not keep its locks.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(connect::close(conn));
        }
    }
}
