//! The writing session: DDL, COPY and marks on one connection, in as few messages as that
//! takes. BEGIN travels with the first statement; marks, fence and COMMIT travel together at the
//! end. A connection that broke is replaced at the next `begin`; nothing of it was committed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::apply::{self, Follower};
use super::apply_net::{self, Undo};
use super::apply_rows::{self, Refused};
use super::connect::{Link, Role};
use super::encode::{Bad, Encoder};
use super::error::{self, ServerError};
use super::marks;
use super::quote;
use super::select::copy_in;
use super::wire::{Answer, Fault, Wire};
use crate::catalog::{Form, Name, Projection, RowBatch, Sequence, name::show};
use crate::change::{Followed, Net, Records};
use crate::checkpoint::Checkpoint;
use crate::engine::crash::{crash_point, fault_point};
use crate::engine::stand::{Stand, Unset, target};
use crate::engine::{
    Applied, Batch, BatchStream, Build, Cause, EngineError, Load, Loaded, SequenceValue, Session,
};

/// Bytes of encoded rows sent in one frame.
const FRAME_BYTES: usize = 128 << 10;
/// How long to wait for the end of a backend whose COMMIT got no answer.
const UNKNOWN_SECONDS: u64 = 30;

/// Ends a backend whose client is gone, so that its transaction is decided. The number may have
/// been given to a newer process: only one older than ourselves is meant.
const END_OLD: &str = "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a \
     WHERE a.pid = $1::integer AND a.datname = pg_catalog.current_database() AND a.usename = current_user \
     AND a.backend_start < (SELECT b.backend_start FROM pg_catalog.pg_stat_activity b \
     WHERE b.pid = pg_catalog.pg_backend_pid())";

/// A writing session under a plan's fence.
pub struct PgSession {
    link: Arc<Link>,
    wire: Option<Wire>,
    plan: String,
    epoch: String,
    keys: Keys,
    transaction: Transaction,
    /// Marks of the open transaction, written when it commits.
    marks: Vec<marks::Bound>,
    /// What it takes to apply changes, once that was asked for.
    follower: Option<Follower>,
    /// A savepoint of the open transaction stands before the last set.
    saved: bool,
    /// Counts transactions, for their names.
    units: u64,
    /// Tells sessions of one run apart.
    id: i32,
    buffer: Vec<u8>,
}

/// Numbers of advisory locks of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Held by the run, alone.
    pub plan: i64,
    /// Held by all its writing sessions.
    pub writers: i64,
}

/// A connection for writing, known as one of the plan's.
async fn writer(link: &Link, keys: &Keys) -> Result<Wire, EngineError> {
    let mut wire = link.wire(Role::Writer).await?;
    let sql = format!("SELECT pg_catalog.pg_advisory_lock_shared({})", keys.writers);
    wire.query(&sql).await.map_err(|fault| fault.doing("write").on(link.shown()))?;
    Ok(wire)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    /// Asked for; BEGIN goes out with the first statement.
    Wanted,
    Open,
}

impl PgSession {
    pub async fn open(link: Arc<Link>, plan: &str, epoch: i64, keys: Keys) -> Result<Self, EngineError> {
        let wire = writer(&link, &keys).await?;
        Ok(Self {
            link,
            id: wire.pid,
            wire: Some(wire),
            plan: plan.to_string(),
            epoch: epoch.to_string(),
            keys,
            transaction: Transaction::None,
            marks: Vec::new(),
            follower: None,
            saved: false,
            units: 0,
            buffer: Vec::with_capacity(FRAME_BYTES + (16 << 10)),
        })
    }

    /// The name of the open transaction.
    fn unit(&self) -> String {
        format!("{}.{}.{}", self.epoch, self.id, self.units)
    }

    fn wire(&mut self) -> Result<&mut Wire, EngineError> {
        self.wire.as_mut().ok_or_else(gone)
    }

    /// What begins a transaction of this session.
    fn begin_with(&self) -> &'static [&'static str] {
        if self.follower.is_some() { &apply::BEGIN } else { &apply::BEGIN[..1] }
    }

    /// Goes on with another connection.
    fn take(&mut self, wire: Wire) {
        self.wire = Some(wire);
        if let Some(follower) = &mut self.follower {
            follower.unsettle();
        }
    }

    /// Statements with the BEGIN that is still to be sent.
    fn with_begin(&mut self, sql: &str) -> String {
        match self.transaction {
            Transaction::Wanted => {
                self.transaction = Transaction::Open;
                format!("{};\n{sql}", self.begin_with().join(";\n"))
            }
            _ => sql.to_string(),
        }
    }

    /// Runs statements and keeps the session only if it is still of use.
    async fn ask(&mut self, sql: &str) -> Result<Vec<Answer>, Fault> {
        let skipped = if self.transaction == Transaction::Wanted { self.begin_with().len() } else { 0 };
        let sql = self.with_begin(sql);
        let gone = || Fault::Io(std::io::ErrorKind::NotConnected.into());
        let wire = self.wire.as_mut().ok_or_else(gone)?;
        let result = match wire.send_query(&sql).await {
            Ok(()) => match fault_point("ddl::sent_no_reply") {
                Ok(()) => wire.answers().await,
                Err(error) => Err(error.into()),
            },
            Err(fault) => Err(fault),
        };
        match result {
            Ok(mut answers) => {
                answers.drain(..skipped.min(answers.len()));
                Ok(answers)
            }
            Err(Fault::Server(mut error)) => {
                error.statement = error.statement.saturating_sub(skipped);
                Err(Fault::Server(error))
            }
            Err(fault) => {
                self.wire = None;
                Err(fault)
            }
        }
    }

    async fn one(&mut self, doing: &str, object: &Name, sql: &str) -> Result<Answer, EngineError> {
        let answers = self.ask(sql).await.map_err(|fault| fault.doing(doing).on(object))?;
        Ok(answers.into_iter().next().unwrap_or_default())
    }

    /// The COPY itself; returns the rows that the server took and what the stream said.
    async fn copy(&mut self, load: &Load<'_>, stream: &mut dyn BatchStream) -> Result<Loaded, EngineError> {
        let projection = load.projection;
        let encoder = (projection.form == Form::Rows).then(|| Encoder::new(projection));
        let binary = encoder.as_ref().map_or(projection.form == Form::NativeFast, Encoder::is_binary);
        let sql = copy_in(projection, binary, load.frozen);
        let sql = self.with_begin(&sql);
        let started = self.wire()?.copy_in(&sql).await;
        started.map_err(|fault| self.refused(projection, fault))?;
        if let Some(encoder) = &encoder {
            self.put_frame(projection, encoder.head()).await?;
        }
        let mut loaded = Loaded::default();
        let said = loop {
            let batch = match stream.next().await {
                Ok(batch) => batch,
                Err(error) => {
                    self.give_up();
                    return Err(error);
                }
            };
            match batch {
                Batch::End { rows } => break rows,
                Batch::Native { bytes, rows } => self.put_native(load, &bytes, rows, &mut loaded).await?,
                Batch::Rows(rows) => {
                    let Some(encoder) = &encoder else {
                        self.give_up();
                        return Err(unannounced(projection));
                    };
                    let (count, bytes) = self.put_rows(projection, encoder, &rows, loaded.rows).await?;
                    loaded.rows += count;
                    loaded.bytes += bytes;
                    (load.gauge)(bytes, count);
                    stream.recycle(rows);
                }
            }
        };
        if let Some(encoder) = &encoder {
            self.put_frame(projection, encoder.tail()).await?;
        }
        let taken = self.wire()?.copy_end().await;
        let taken = taken.map_err(|fault| self.refused(projection, fault))?;
        if taken != said {
            return Err(lost_rows(projection, said, taken));
        }
        loaded.rows = taken;
        Ok(loaded)
    }

    async fn put_native(
        &mut self,
        load: &Load<'_>,
        bytes: &[u8],
        rows: u64,
        loaded: &mut Loaded,
    ) -> Result<(), EngineError> {
        let put = self.wire()?.put(bytes).await;
        put.map_err(|fault| self.broken(load.projection, fault))?;
        loaded.rows += rows;
        loaded.bytes += bytes.len() as u64;
        (load.gauge)(bytes.len() as u64, rows);
        Ok(())
    }

    /// Sends what belongs to no row.
    async fn put_frame(&mut self, projection: &Projection, body: &[u8]) -> Result<(), EngineError> {
        if body.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(body.len() + 4).map_err(|_| too_long(projection))?;
        let frame = [b"d", &length.to_be_bytes()[..], body].concat();
        let put = self.wire()?.put(&frame).await;
        put.map_err(|fault| self.broken(projection, fault))
    }

    /// Encodes and sends a batch, in frames of whole rows.
    async fn put_rows(
        &mut self,
        projection: &Projection,
        encoder: &Encoder,
        rows: &RowBatch,
        before: u64,
    ) -> Result<(u64, u64), EngineError> {
        let mut total = 0;
        let mut index = 0;
        while index < rows.rows() {
            let mut frame = std::mem::take(&mut self.buffer);
            frame.clear();
            frame.extend_from_slice(b"d\0\0\0\0");
            while index < rows.rows() && frame.len() < FRAME_BYTES {
                if let Err(bad) = encoder.row(rows, index, &mut frame) {
                    self.give_up();
                    return Err(bad_cell(projection, &bad, before + index as u64 + 1));
                }
                index += 1;
            }
            let length = i32::try_from(frame.len() - 1).map_err(|_| too_long(projection))?;
            frame[1..5].copy_from_slice(&length.to_be_bytes());
            total += frame.len() as u64;
            let put = self.wire()?.put(&frame).await;
            self.buffer = frame;
            put.map_err(|fault| self.broken(projection, fault))?;
        }
        // A row of hundreds of megabytes must not be kept for the next one.
        if self.buffer.capacity() > 4 * FRAME_BYTES {
            self.buffer = Vec::with_capacity(FRAME_BYTES);
        }
        Ok((rows.rows() as u64, total))
    }

    /// Ends a COPY that cannot be completed. Native bytes may have stopped in the middle of a
    /// frame, so the connection is given up with it; the server rolls back.
    fn give_up(&mut self) {
        self.wire = None;
    }

    /// An error while rows were being sent: the connection is of no more use.
    fn broken(&mut self, projection: &Projection, fault: Fault) -> EngineError {
        self.wire = None;
        fault.doing("load").on(&projection.target)
    }

    /// An error between frames.
    fn refused(&mut self, projection: &Projection, fault: Fault) -> EngineError {
        if !self.wire.as_ref().is_some_and(Wire::is_ready) || matches!(fault, Fault::Io(_)) {
            self.wire = None;
        }
        fault.doing("load").on(&projection.target)
    }

    /// Marks, fence and COMMIT in one message: what fails skips what follows.
    fn queue_commit(&mut self, begin: bool, marks: &[marks::Bound], lazily: bool) -> Result<(), Fault> {
        let gone = || Fault::Io(std::io::ErrorKind::NotConnected.into());
        let wire = self.wire.as_mut().ok_or_else(gone)?;
        if begin {
            wire.bind("BEGIN", &[])?;
        }
        for mark in marks {
            let values: Vec<Option<&str>> = mark.values.iter().map(Option::as_deref).collect();
            wire.bind(mark.sql, &values)?;
        }
        let key = self.keys.plan.to_string();
        wire.bind(marks::FENCE, &[Some(&self.plan), Some(&self.epoch), Some(&key)])?;
        if lazily {
            wire.bind("SET LOCAL synchronous_commit = off", &[])?;
        }
        wire.bind("COMMIT", &[])
    }

    /// Commits. When the answer is lost, looks for the transaction's mark on a new connection.
    /// Without a mark to look for, the outcome stays unknown: `Cause::Connection` with code `08007`,
    /// and the caller reads `progress` again.
    async fn end(&mut self, lazily: bool) -> Result<(), EngineError> {
        let marks = std::mem::take(&mut self.marks);
        let proven = marks.iter().any(|mark| mark.proves);
        let begin = self.transaction == Transaction::Wanted;
        self.transaction = Transaction::None;
        if begin && marks.is_empty() {
            return Ok(());
        }
        self.queue_commit(begin, &marks, lazily).map_err(|fault| fault.doing("commit"))?;
        let fence = usize::from(begin) + marks.len();
        if self.follower.is_some() {
            crash_point("apply::progress_updated");
        }
        let following = self.follower.is_some();
        let wire = self.wire()?;
        let old_pid = wire.pid;
        let result = match wire.send_sync().await {
            Ok(()) => {
                let lost = fault_point("copy::commit_sent");
                let lost =
                    if following { lost.and_then(|()| fault_point("apply::commit_sent")) } else { lost };
                match lost {
                    Ok(()) => wire.answers().await,
                    Err(error) => Err(error.into()),
                }
            }
            Err(fault) => Err(fault),
        };
        match result {
            // A COMMIT in a failed transaction answers ROLLBACK.
            Ok(answers) if answers.last().is_some_and(|answer| answer.tag == "COMMIT") => Ok(()),
            Ok(_) => Err(EngineError::new(Cause::Other, "commit", "the transaction had failed before")),
            Err(Fault::Server(error)) => {
                self.rollback().await?;
                Err(self.not_committed(&error, fence))
            }
            Err(fault) => self.settle(fault, old_pid, proven).await,
        }
    }

    /// `fence` is the fence's place among the statements.
    fn not_committed(&self, error: &ServerError, fence: usize) -> EngineError {
        // The mark of a stream that nobody opened, or that stands elsewhere, divides by zero.
        if error.code == "22012" && error.statement < fence {
            let message = "changes are to be marked, and no capture was opened for this plan, or its stream is \
                           not marked where these changes go on";
            return EngineError::new(Cause::Stale, "commit", message).on(&self.plan);
        }
        // So does the fence when it is not ours.
        if error.code == "22012" {
            let message = "the lock of this plan is no longer held, or another run has taken it over";
            return EngineError::new(Cause::Locked, "commit", message)
                .on(&self.plan)
                .hint("nothing of this transaction was kept");
        }
        error::engine_error("commit", error)
    }

    /// Finds out whether a transaction whose COMMIT got no answer was committed (contract, R2).
    /// Waits for the old backend to end first: until then, nobody can know.
    async fn find_out(&mut self, old_pid: i32, unit: &str) -> Result<bool, EngineError> {
        let mut wire = self.link.wire(Role::Writer).await?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(UNKNOWN_SECONDS);
        let doing = |fault: Fault| fault.doing("ask about the last commit");
        loop {
            wire.bind(END_OLD, &[Some(&old_pid.to_string())]).map_err(doing)?;
            let answers = wire.sync().await.map_err(doing)?;
            if answers.first().is_none_or(|answer| answer.rows.is_empty()) {
                break;
            }
            if tokio::time::Instant::now() > deadline {
                return Err(EngineError::new(
                    Cause::Connection,
                    "ask about the last commit",
                    "its backend does not end",
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        wire.bind(marks::COMMITTED, &[Some(&self.plan), Some(unit)]).map_err(doing)?;
        let answers = wire.sync().await.map_err(doing)?;
        let committed = answers.first().and_then(|answer| answer.cell(0)) == Some("t");
        self.take(wire);
        Ok(committed)
    }

    /// After a COMMIT without an answer: success if it is found to have happened.
    async fn settle(&mut self, fault: Fault, old_pid: i32, proven: bool) -> Result<(), EngineError> {
        let unit = self.unit();
        self.wire = None;
        let unknown = |error: EngineError| {
            let message = format!("the connection broke while it was answered: {}", error.message);
            EngineError::new(Cause::Connection, "commit", message)
                .code("08007")
                .hint("run the same command again: it looks at what was committed and continues")
        };
        if !proven {
            return Err(unknown(fault.doing("commit")));
        }
        match self.find_out(old_pid, &unit).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(EngineError::new(
                Cause::Connection,
                "commit",
                "the connection broke, and nothing of it was committed",
            )),
            Err(error) => Err(unknown(error)),
        }
    }
}

impl PgSession {
    /// Whether the changes that follow begin the transaction.
    fn starts_changes(&mut self) -> Result<bool, EngineError> {
        let none = || EngineError::new(Cause::Other, "apply changes", "no transaction was begun");
        match std::mem::replace(&mut self.transaction, Transaction::Open) {
            Transaction::Wanted => Ok(true),
            Transaction::Open => Ok(false),
            Transaction::None => {
                self.transaction = Transaction::None;
                Err(none())
            }
        }
    }

    fn applying(&mut self) -> Result<(&mut Wire, &mut Follower), EngineError> {
        let wire = self.wire.as_mut().ok_or_else(gone)?;
        let asked = || EngineError::new(Cause::Other, "apply changes", "the session was not made to follow");
        Ok((wire, self.follower.as_mut().ok_or_else(asked)?))
    }

    /// Takes a set back that clashed; the transaction goes on.
    async fn undo(&mut self, undo: Undo) -> Result<(), Fault> {
        let gone = || Fault::Io(std::io::ErrorKind::NotConnected.into());
        let wire = self.wire.as_mut().ok_or_else(gone)?;
        match undo {
            Undo::Begin => {
                wire.query("ROLLBACK").await?;
                self.transaction = Transaction::Wanted;
            }
            Undo::Savepoint { .. } => {
                wire.query("ROLLBACK TO SAVEPOINT net").await?;
            }
        }
        Ok(())
    }
}

fn gone() -> EngineError {
    EngineError::new(Cause::Connection, "write", "the connection is gone")
        .hint("run the same command again: it continues")
}

fn lost_rows(projection: &Projection, said: u64, taken: u64) -> EngineError {
    let message = format!("{said} rows were sent and {taken} arrived");
    EngineError::new(Cause::Data, "load", message)
        .on(&projection.target)
        .hint("a trigger or rule on the target drops or adds rows; nothing was committed")
}

fn unannounced(projection: &Projection) -> EngineError {
    EngineError::new(Cause::Other, "load", "rows came where native bytes were announced")
        .on(&projection.target)
}

fn bad_cell(projection: &Projection, bad: &Bad, row: u64) -> EngineError {
    let column = projection.columns.get(bad.column).map_or("", |column| &column.target);
    let message = format!("row {row} of this chunk, column {}: {}", show(column), bad.why);
    EngineError::new(Cause::Data, "load", message)
        .on(&projection.target)
        .hint("correct the row at the source, or map the column to another type in the plan")
}

fn too_long(projection: &Projection) -> EngineError {
    EngineError::new(Cause::Data, "load", "a row is longer than 2 GB on its way").on(&projection.target)
}

/// A statement for a person: one line, not too long.
fn shown(statement: &str) -> String {
    let line: Vec<&str> = statement.split_whitespace().collect();
    let text: String = error::escape(&line.join(" ")).chars().take(120).collect();
    format!("`{text}`")
}

fn statement_error(fault: Fault, statements: &[String]) -> EngineError {
    let at = match &fault {
        Fault::Server(error) => error.statement,
        Fault::Io(_) => 0,
    };
    let mut made = fault.doing("run");
    let statement = statements.get(at).or(statements.first());
    if let Some(statement) = statement {
        made.object = Some(shown(statement));
    }
    made
}

#[async_trait]
impl Session for PgSession {
    async fn begin(&mut self) -> Result<(), EngineError> {
        self.marks.clear();
        self.units += 1;
        self.transaction = Transaction::None;
        self.saved = false;
        if self.wire.as_ref().is_none_or(|wire| !wire.is_ready()) {
            let wire = writer(&self.link, &self.keys).await?;
            self.id = wire.pid;
            self.take(wire);
        }
        if self.wire()?.status != b'I' {
            // What an error left open.
            self.rollback().await?;
        }
        if let (Some(follower), Some(wire)) = (&mut self.follower, &mut self.wire) {
            follower.settle(wire).await?;
        }
        self.transaction = Transaction::Wanted;
        Ok(())
    }

    async fn execute(&mut self, statements: &[String]) -> Result<(), EngineError> {
        if self.transaction == Transaction::None {
            for statement in statements {
                let one = std::slice::from_ref(statement);
                self.ask(statement).await.map_err(|fault| statement_error(fault, one))?;
            }
        } else if !statements.is_empty() {
            let joined = statements.join(";\n");
            self.ask(&joined).await.map_err(|fault| statement_error(fault, statements))?;
        }
        Ok(())
    }

    async fn build(&mut self, statements: &[String], build: &Build) -> Result<(), EngineError> {
        let means = self.link.server.means;
        if let Some(settings) = statements.first().and_then(|first| means.settings(build, first)) {
            self.ask(&settings).await.map_err(|fault| fault.doing("prepare an index build"))?;
        }
        self.execute(statements).await
    }

    async fn violations(&mut self, query: &str) -> Result<u64, EngineError> {
        let sql = format!("SELECT pg_catalog.count(*) FROM ({query}) AS violations");
        let doing = |fault: Fault| fault.doing("check rows");
        let answers = self.ask(&sql).await.map_err(doing)?;
        let count = answers.first().and_then(|answer| answer.cell(0)).and_then(|text| text.parse().ok());
        count.ok_or_else(|| EngineError::new(Cause::Other, "check rows", "the server sent no number"))
    }

    async fn load(&mut self, load: &Load<'_>, stream: &mut dyn BatchStream) -> Result<Loaded, EngineError> {
        self.copy(load, stream).await
    }

    async fn set_sequence(
        &mut self,
        sequence: &Sequence,
        value: &SequenceValue,
        margin: u64,
    ) -> Result<Option<i64>, EngineError> {
        const DOING: &str = "set sequence";
        let name = &sequence.name;
        let read = format!("SELECT last_value, is_called FROM {}", quote::name(name));
        let answer = self.one(DOING, name, &read).await?;
        let odd = || EngineError::new(Cause::Other, DOING, "its present value cannot be read").on(name);
        let last = answer.cell(0).and_then(|text| text.parse().ok()).ok_or_else(odd)?;
        let present = Stand { last, called: answer.cell(1) == Some("t") };
        let source = Stand { last: value.last, called: value.called };
        let wanted = target(sequence, source, present, margin).map_err(|Unset::Outside| {
            let message =
                format!("the source stands at {}, outside {} to {}", value.last, sequence.min, sequence.max);
            EngineError::new(Cause::Data, DOING, message).on(name).hint("widen the sequence on the target")
        })?;
        let Some(wanted) = wanted else { return Ok(None) };
        let set = format!(
            "SELECT pg_catalog.setval({}::pg_catalog.regclass, {}, {})",
            quote::literal(&quote::name(name)),
            wanted.last,
            wanted.called
        );
        self.one(DOING, name, &set).await?;
        Ok(Some(wanted.last))
    }

    async fn mark(&mut self, plan: &str, mark: &Checkpoint) -> Result<(), EngineError> {
        let unit = self.unit();
        self.marks.extend(marks::statements(plan, mark, &unit));
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), EngineError> {
        self.end(false).await
    }

    async fn commit_lazily(&mut self) -> Result<(), EngineError> {
        self.end(true).await
    }

    async fn rollback(&mut self) -> Result<(), EngineError> {
        self.marks.clear();
        self.transaction = Transaction::None;
        let Some(wire) = self.wire.as_mut() else { return Ok(()) };
        if !wire.is_ready() {
            self.wire = None;
            return Ok(());
        }
        if wire.status != b'I' && wire.query("ROLLBACK").await.is_err() {
            // The server rolls back what its client has left.
            self.wire = None;
        }
        Ok(())
    }

    async fn any_row(&mut self, table: &Name) -> Result<bool, EngineError> {
        let name = quote::name(table);
        let sql = format!(
            "SELECT CASE WHEN (SELECT relkind FROM pg_catalog.pg_class WHERE oid = {}::pg_catalog.regclass) = 'p' \
             THEN EXISTS (SELECT FROM {name}) ELSE EXISTS (SELECT FROM ONLY {name}) END",
            quote::literal(&name)
        );
        let answer = self.one("look for rows in", table, &sql).await?;
        Ok(answer.cell(0) == Some("t"))
    }

    async fn follow(&mut self, tables: &[Followed]) -> Result<(), EngineError> {
        let follower = Follower::open(self.wire()?, tables).await?;
        self.follower = Some(follower);
        Ok(())
    }

    fn keeps_still(&self) -> bool {
        self.follower.as_ref().is_some_and(|follower| follower.replica)
    }

    async fn apply_rows(&mut self, records: Records<'_>) -> Result<(), EngineError> {
        let begin = self.starts_changes()?;
        let (wire, follower) = self.applying()?;
        let applied = apply_rows::apply(wire, follower, begin, records).await;
        applied.map_err(|refused| match refused {
            Refused::Error(error) => error,
            Refused::Broken(error) => {
                self.wire = None;
                error
            }
        })
    }

    async fn apply_net(&mut self, net: &Net<'_>) -> Result<Applied, EngineError> {
        let undo = match self.starts_changes()? {
            true => Undo::Begin,
            false => Undo::Savepoint { again: std::mem::replace(&mut self.saved, true) },
        };
        let (wire, follower) = self.applying()?;
        let applied = apply_net::apply(wire, follower, undo, net).await;
        let broken = |session: &mut Self, fault: Fault| {
            session.wire = None;
            fault.doing("apply changes")
        };
        let applied = applied.map_err(|fault| broken(self, fault))??;
        if applied == Applied::Clashed {
            self.undo(undo).await.map_err(|fault| broken(self, fault))?;
        }
        Ok(applied)
    }
}
