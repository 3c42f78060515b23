//! Changes as they come: looks whether somebody has committed, then reads what is new. What is seen
//! by one look are whole transactions of the source, one or several: they are told as one.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use tokio::sync::oneshot;

use super::capture::Borders;
use super::connect::{File, Worker, received};
use super::decode::{Decoder, Logged, READ};
use super::dialect::quote;
use super::error::classify;
use super::ledger::{self, At, Ledger, lost};
use super::triggers;
use crate::change::{Changes, Position};
use crate::engine::{Cause, ChangeStream, EngineError, Limits};

/// Pauses between two looks: shortest after something was seen, longest where nothing happens.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// How long a write of the application is waited for before acknowledging is put off.
const POLITE: Duration = Duration::from_millis(100);
/// Changes that are forgotten in one transaction, a few milliseconds of work.
const FORGET_ROWS: i64 = 5_000;
/// How long one acknowledgement goes on.
const FORGET_TIME: Duration = Duration::from_millis(500);

/// The half that lives with the connection, on its thread.
pub(super) struct Polling {
    plan: String,
    file: File,
    ledger: Ledger,
    decoder: Decoder,
    borders: Borders,
    sql: String,
    slots: usize,
    /// The last change that was read.
    at: i64,
    /// The end of the transactions that are being read, or of those read last.
    upto: i64,
    /// The newest change that was seen.
    newest: i64,
    /// A begin was told, and no commit yet.
    open: bool,
    data_version: Option<i64>,
    schema_version: Option<i64>,
}

impl Polling {
    pub fn new(plan: &str, file: &File, ledger: Ledger, decoder: Decoder, borders: Borders, at: i64) -> Self {
        let table = quote(&triggers::table(plan));
        Self {
            plan: plan.to_string(),
            file: file.clone(),
            slots: ledger.layouts.iter().map(triggers::Layout::slots).max().unwrap_or(0),
            ledger,
            decoder,
            borders,
            sql: format!("SELECT * FROM main.{table} WHERE n > ?1 AND n <= ?2 ORDER BY n"),
            at,
            upto: at,
            newest: at,
            open: false,
            data_version: None,
            schema_version: None,
        }
    }

    /// Reads what is there, about `bytes` of it; nothing where nobody has committed.
    fn step(&mut self, conn: &Connection, bytes: usize) -> Result<Changes, EngineError> {
        let mut changes = Changes::default();
        if self.at == self.upto {
            self.look(conn)?;
        }
        if self.at < self.upto {
            self.read(conn, bytes, &mut changes)?;
        }
        Ok(changes)
    }

    /// Looks for transactions that were committed since, and checks that nothing else happened.
    fn look(&mut self, conn: &Connection) -> Result<(), EngineError> {
        if ledger::inode(&self.file)? != self.ledger.inode {
            return Err(lost("the file was replaced by another one while its changes were read"));
        }
        let version: i64 = number(conn, "PRAGMA main.data_version")?;
        if self.data_version == Some(version) && self.at == self.newest {
            return Ok(());
        }
        let tx = conn.unchecked_transaction().map_err(|error| classify(READ, error))?;
        let borders = Arc::clone(&self.borders);
        let borders = borders.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(&tx)?;
        let (_, newest) = ledger::span(&tx, &self.plan)?;
        if newest < self.newest {
            return Err(lost("the newest changes are gone: an older state of the file was put back"));
        }
        self.newest = newest;
        let border = borders.range(self.at + 1..).next().copied();
        self.upto = border.map_or(newest, |border| border.min(newest));
        self.data_version = Some(version);
        Ok(())
    }

    /// The structure is as it was when the capture was opened.
    fn check(&mut self, conn: &Connection) -> Result<(), EngineError> {
        let version = number(conn, "PRAGMA main.schema_version")?;
        if self.schema_version == Some(version) {
            return Ok(());
        }
        match ledger::read(conn, &self.plan)? {
            Some(ledger) if ledger == self.ledger => {}
            _ => return Err(lost("the capture was closed or opened anew while its changes were read")),
        }
        if let Some(why) = ledger::fault(conn, &self.file, &self.plan, &self.ledger)? {
            return Err(lost(why));
        }
        self.schema_version = Some(version);
        Ok(())
    }

    /// Reads on. What was seen once stays until it is acknowledged, so that no read transaction has
    /// to be held between two pieces.
    fn read(&mut self, conn: &Connection, bytes: usize, into: &mut Changes) -> Result<(), EngineError> {
        let fail = |error| classify(READ, error).on(&self.file);
        let mut query = conn.prepare_cached(&self.sql).map_err(fail)?;
        let mut rows = query.query([self.at, self.upto]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let number: i64 = row.get(0).map_err(fail)?;
            if number != self.at + 1 {
                return Err(gap(self.at + 1));
            }
            let told = into.rows();
            if !self.open {
                into.begin(&ledger::position(&self.ledger.log, self.at).0);
            }
            one(&mut self.decoder, row, number, self.slots, into)?;
            if into.rows() > told {
                self.open = true;
            } else if !self.open {
                into.clear();
            }
            self.at = number;
            if into.len() >= bytes {
                break;
            }
        }
        drop(rows);
        if self.at == self.upto {
            self.end(into);
        } else if into.len() < bytes {
            return Err(gap(self.at + 1));
        }
        Ok(())
    }

    /// The end of the transactions that were seen together.
    fn end(&mut self, into: &mut Changes) {
        let position = ledger::position(&self.ledger.log, self.upto);
        match self.open {
            // When they committed is not in the log; this is when they were seen.
            true => into.commit(&position.0, jiff::Timestamp::now().as_microsecond()),
            false => into.reached(&position.0),
        }
        self.open = false;
        self.decoder.forget();
    }
}

/// Decodes one row of the change table.
fn one(
    decoder: &mut Decoder,
    row: &Row<'_>,
    number: i64,
    slots: usize,
    into: &mut Changes,
) -> Result<(), EngineError> {
    let fail = |error| classify(READ, error);
    let (table, kind) = (row.get(1).map_err(fail)?, row.get(2).map_err(fail)?);
    let slots: Vec<ValueRef<'_>> =
        (3..3 + slots).map(|index| row.get_ref(index)).collect::<Result<_, _>>().map_err(fail)?;
    decoder.row(number, &Logged { table, kind, slots: &slots }, into)
}

fn gap(number: i64) -> EngineError {
    lost(format!("change {number} is missing: somebody else deletes from the change table"))
}

fn number(conn: &Connection, sql: &str) -> Result<i64, EngineError> {
    conn.prepare_cached(sql)
        .and_then(|mut query| query.query_row([], |row| row.get(0)))
        .map_err(|error| classify(READ, error))
}

type Step = (Polling, Result<Changes, EngineError>);

/// A stream of changes.
pub(super) struct Reading {
    worker: Worker,
    /// None while a step runs, and after one that failed.
    polling: Option<Polling>,
    /// A step that runs, or whose outcome nobody has taken yet.
    running: Option<oneshot::Receiver<Step>>,
    pause: Duration,
    log: String,
    plan: String,
    file: File,
    limits: Limits,
    /// Opened when something is to be forgotten.
    writer: Option<Worker>,
    active: Arc<AtomicUsize>,
}

impl Reading {
    pub fn new(
        worker: Worker,
        polling: Polling,
        file: &File,
        limits: &Limits,
        active: &Arc<AtomicUsize>,
    ) -> Self {
        active.fetch_add(1, Ordering::SeqCst);
        Self {
            worker,
            running: None,
            pause: PAUSE_MIN,
            log: polling.ledger.log.clone(),
            plan: polling.plan.clone(),
            polling: Some(polling),
            file: file.clone(),
            limits: limits.clone(),
            writer: None,
            active: Arc::clone(active),
        }
    }

    /// Goes on with a step that was begun before, or begins one.
    async fn step(&mut self, bytes: usize) -> Result<Changes, EngineError> {
        let over = || EngineError::new(Cause::Connection, READ, "reading has ended").on(&self.file);
        if self.running.is_none() {
            let mut polling = self.polling.take().ok_or_else(over)?;
            self.running = Some(self.worker.send(move |conn| {
                let changes = polling.step(conn, bytes);
                (polling, changes)
            }));
        }
        let Some(running) = &mut self.running else { return Err(over()) };
        let ended = running.await;
        self.running = None;
        let (polling, changes) = ended.map_err(|_| over())?;
        let changes = changes.map_err(|error| match error.object {
            None => error.on(&self.file),
            Some(_) => error,
        })?;
        self.polling = Some(polling);
        Ok(changes)
    }

    fn writer(&mut self) -> Result<Worker, EngineError> {
        if let Some(writer) = &self.writer {
            return Ok(writer.clone());
        }
        let writer = Worker::start(self.file.open_capture(&self.limits, POLITE)?)?;
        self.writer = Some(writer.clone());
        Ok(writer)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.active.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl ChangeStream for Reading {
    async fn next(&mut self, into: &mut Changes, bytes: usize) -> Result<(), EngineError> {
        loop {
            let changes = self.step(bytes.saturating_sub(into.len()).max(1)).await?;
            if !changes.is_empty() {
                self.pause = PAUSE_MIN;
                into.extend(changes.records());
                return Ok(());
            }
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }

    async fn acknowledge(&mut self, safe: &Position) -> Result<(), EngineError> {
        let Some(At { number, .. }) = At::parse(safe).filter(|at| at.log == self.log) else {
            return Err(lost(format!("position {safe} is of another capture than the one that is read")));
        };
        let (plan, log, file) = (self.plan.clone(), self.log.clone(), self.file.clone());
        let forget = move |conn: &mut Connection| forget(conn, &file, &plan, &log, number);
        received(READ, self.writer()?.send(forget)).await
    }
}

/// Deletes what is safe, in small transactions. Where the application writes, it has precedence:
/// what is not forgotten now is forgotten the next time.
fn forget(conn: &Connection, file: &File, plan: &str, log: &str, safe: i64) -> Result<(), EngineError> {
    let begun = Instant::now();
    while begun.elapsed() < FORGET_TIME {
        match ledger::transaction(conn, FORGET, || forget_some(conn, plan, log, safe)) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if error.cause == Cause::Busy => return Ok(()),
            Err(error) => return Err(error.on(file)),
        }
    }
    Ok(())
}

const FORGET: &str = "forget changes of";

/// True where there is more. The newest change always stays: its number is the head.
fn forget_some(conn: &Connection, plan: &str, log: &str, safe: i64) -> Result<bool, EngineError> {
    let fail = |error| classify(FORGET, error);
    let sql = format!("SELECT log FROM main.{} WHERE plan = ?1", triggers::CAPTURES);
    let now: Option<String> = conn.query_row(&sql, [plan], |row| row.get(0)).optional().map_err(fail)?;
    if now.as_deref() != Some(log) {
        return Err(lost("the capture was closed or opened anew while its changes were read"));
    }
    let (first, newest) = ledger::span(conn, plan)?;
    let upto = safe.min(newest - 1).min(first + FORGET_ROWS - 1);
    if upto < first {
        return Ok(false);
    }
    let sql = format!("DELETE FROM main.{} WHERE n <= ?1", quote(&triggers::table(plan)));
    conn.execute(&sql, [upto]).map_err(fail)?;
    Ok(true)
}
