//! The change log of a file: triggers write each changed row into a table beside it. SQLite has no
//! log that could be read; what it promises is that what triggers write commits with what made
//! them fire. Opening, acknowledging and closing write to the source, nothing else does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;

use super::connect::{File, Worker};
use super::decode::Decoder;
use super::error::classify;
use super::ledger::{self, At, LOOK, Ledger, OPEN, lost};
use super::obstacles;
use super::snapshot::{Held, Told};
use super::stream::{Polling, Reading};
use crate::change::Position;
use crate::engine::{
    Capture, CaptureSpec, Cause, ChangeStream, EngineError, Limits, Obstacle, Snapshot, Standing,
};

/// Numbers that are the end of a source transaction, because nothing later was visible when they
/// were read. Locked while they are found, so that a reader of changes never goes past one unknown.
pub(super) type Borders = Arc<Mutex<BTreeSet<i64>>>;

/// Borders that are remembered; the oldest were passed long ago.
const BORDERS_MAX: usize = 10_000;

/// Adds a border.
pub(super) fn mark(borders: &mut BTreeSet<i64>, number: i64) {
    borders.insert(number);
    if borders.len() > BORDERS_MAX {
        borders.pop_first();
    }
}

/// The changes of a file.
pub(super) struct Kept {
    file: File,
    limits: Limits,
    /// The plan that was spoken of last.
    plan: Mutex<Option<String>>,
    borders: Borders,
    /// Streams that read now.
    active: Arc<AtomicUsize>,
    /// Of a change, on average when it was last looked.
    change_bytes: Arc<AtomicU64>,
}

/// Taken for a change before there is one.
const CHANGE_BYTES: u64 = 100;

impl Kept {
    pub fn new(file: &File, limits: &Limits) -> Self {
        Self {
            file: file.clone(),
            limits: limits.clone(),
            plan: Mutex::default(),
            borders: Borders::default(),
            active: Arc::default(),
            change_bytes: Arc::new(AtomicU64::new(CHANGE_BYTES)),
        }
    }

    fn speak_of(&self, plan: &str) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan.to_string());
    }

    /// Runs a look at the file as it is now, in one read transaction.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection, &File) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let worker = Worker::start(self.file.open_source(&self.limits)?)?;
        let file = self.file.clone();
        let looked = worker.call(LOOK, move |conn| {
            let tx = conn.unchecked_transaction().map_err(|error| classify(LOOK, error))?;
            look(&tx, &file)
        });
        looked.await.map_err(|error| self.name(error))
    }

    /// Runs work that writes, waiting for others that do.
    async fn write<T: Send + 'static>(
        &self,
        wait: Duration,
        work: impl FnOnce(&Connection, &File) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let worker = Worker::start(self.file.open_capture(&self.limits, wait)?)?;
        let file = self.file.clone();
        let done = worker.call(OPEN, move |conn| work(conn, &file)).await;
        done.map_err(|error| self.name(error))
    }

    fn name(&self, error: EngineError) -> EngineError {
        if error.object.is_none() { error.on(&self.file) } else { error }
    }

    /// A snapshot whose position is the newest change that it shows.
    async fn snapshot_of(&self, plan: &str) -> Result<Box<dyn Snapshot>, EngineError> {
        let (plan, borders, file) = (plan.to_string(), Arc::clone(&self.borders), self.file.clone());
        let told: Told = Box::new(move |begin, conn| {
            let mut borders = borders.lock().unwrap_or_else(PoisonError::into_inner);
            begin()?;
            newest(conn, &file, &plan, &mut borders)
        });
        let held = Held::take_at(&self.file, &self.limits, File::open_source, told).await;
        Ok(Box::new(held.map_err(|error| self.name(error))?))
    }
}

/// The newest position, which is a border from now on.
fn newest(
    conn: &Connection,
    file: &File,
    plan: &str,
    borders: &mut BTreeSet<i64>,
) -> Result<Position, EngineError> {
    let ledger = standing(conn, file, plan)?;
    let (_, newest) = ledger::span(conn, plan)?;
    mark(borders, newest);
    Ok(ledger::position(&ledger.log, newest))
}

fn measure(conn: &Connection, plan: &str, ledger: &Ledger, average: &AtomicU64) -> Result<(), EngineError> {
    if let Some(bytes) = ledger::change_bytes(conn, plan, ledger)? {
        average.store(bytes, Ordering::Relaxed);
    }
    Ok(())
}

/// The capture of a plan, whole and unchanged.
fn standing(conn: &Connection, file: &File, plan: &str) -> Result<Ledger, EngineError> {
    let Some(ledger) = ledger::read(conn, plan)? else {
        return Err(lost(format!("no changes are kept for plan {plan}")));
    };
    match ledger::fault(conn, file, plan, &ledger)? {
        Some(why) => Err(lost(why)),
        None => Ok(ledger),
    }
}

#[async_trait]
impl Capture for Kept {
    async fn check(&self, spec: &CaptureSpec<'_>) -> Result<Vec<Obstacle>, EngineError> {
        let (tables, writable) = (spec.tables.to_vec(), self.file.is_writable()?);
        self.look(move |conn, file| obstacles::find(conn, file, writable, &tables)).await
    }

    async fn standing(&self, plan: &str) -> Result<Standing, EngineError> {
        self.speak_of(plan);
        let (plan, active) = (plan.to_string(), self.active.load(Ordering::SeqCst) > 0);
        let average = Arc::clone(&self.change_bytes);
        self.look(move |conn, file| {
            let Some(ledger) = ledger::read(conn, &plan)? else { return Ok(Standing::Missing) };
            if let Some(why) = ledger::fault(conn, file, &plan, &ledger)? {
                return Ok(Standing::Lost(why));
            }
            let (first, newest) = ledger::span(conn, &plan)?;
            measure(conn, &plan, &ledger, &average)?;
            Ok(Standing::Kept {
                acknowledged: ledger::position(&ledger.log, first - 1),
                retained: (newest - first) as u64 * average.load(Ordering::Relaxed),
                room: None,
                active,
            })
        })
        .await
    }

    async fn open(&self, spec: &CaptureSpec<'_>, wait: Duration) -> Result<Box<dyn Snapshot>, EngineError> {
        self.speak_of(spec.plan);
        let (plan, tables) = (spec.plan.to_string(), spec.tables.to_vec());
        self.borders.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.write(wait, move |conn, file| {
            ledger::make(conn, file, &CaptureSpec { plan: &plan, tables: &tables, cascades: false })
        })
        .await?;
        match self.snapshot_of(spec.plan).await {
            Ok(snapshot) => Ok(snapshot),
            Err(error) => {
                // Nothing is left of what failed; the error that is told is the first one.
                let _ = self.close(spec.plan).await;
                Err(error)
            }
        }
    }

    async fn snapshot(&self, plan: &str, _wait: Duration) -> Result<Box<dyn Snapshot>, EngineError> {
        self.speak_of(plan);
        self.snapshot_of(plan).await
    }

    async fn head(&self) -> Result<Position, EngineError> {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let borders = Arc::clone(&self.borders);
        self.look(move |conn, file| {
            // Before anything is read: what is read then is not older than what streams have seen.
            let mut borders = borders.lock().unwrap_or_else(PoisonError::into_inner);
            let plan = match plan {
                Some(plan) => plan,
                None => ledger::only_plan(conn)?.ok_or_else(|| lost("no changes are kept here"))?,
            };
            newest(conn, file, &plan, &mut borders)
        })
        .await
    }

    fn reached(&self, at: &Position, goal: &Position) -> bool {
        match (At::parse(at), At::parse(goal)) {
            (Some(at), Some(goal)) => at.log == goal.log && at.number >= goal.number,
            _ => at == goal,
        }
    }

    /// In bytes of an average change.
    fn distance(&self, at: &Position, goal: &Position) -> u64 {
        let changes = match (At::parse(at), At::parse(goal)) {
            (Some(at), Some(goal)) if at.log == goal.log => (goal.number - at.number).max(0) as u64,
            _ => 0,
        };
        changes * self.change_bytes.load(Ordering::Relaxed)
    }

    async fn changes(
        &self,
        spec: &CaptureSpec<'_>,
        from: &Position,
        starts: &[Position],
    ) -> Result<Box<dyn ChangeStream>, EngineError> {
        self.speak_of(spec.plan);
        let conn = self.file.open_source(&self.limits)?;
        let worker = Worker::start(conn)?;
        let (plan, tables, from) = (spec.plan.to_string(), spec.tables.to_vec(), from.clone());
        let (starts, file, borders) = (starts.to_vec(), self.file.clone(), Arc::clone(&self.borders));
        let average = Arc::clone(&self.change_bytes);
        let begun = worker.call(LOOK, move |conn| {
            let tx = conn.unchecked_transaction().map_err(|error| classify(LOOK, error))?;
            let ledger = standing(&tx, &file, &plan)?;
            let numbers = numbers(&ledger, &from, &starts)?;
            check_spec(&ledger, &tables)?;
            measure(&tx, &plan, &ledger, &average)?;
            let (first, newest) = ledger::span(&tx, &plan)?;
            let at = numbers[0];
            if at + 1 < first || at > newest {
                return Err(lost(format!(
                    "changes {first} to {newest} are kept, and the target stands at change {at}"
                )));
            }
            let mut known = borders.lock().unwrap_or_else(PoisonError::into_inner);
            numbers.iter().for_each(|&number| mark(&mut known, number));
            drop(known);
            let decoder = Decoder::new(&tx, &tables, &ledger.layouts, &numbers[1..])?;
            Ok(Polling::new(&plan, &file, ledger, decoder, borders, at))
        });
        let polling = begun.await.map_err(|error| self.name(error))?;
        let reading = Reading::new(worker, polling, &self.file, &self.limits, &self.active);
        Ok(Box::new(reading))
    }

    async fn close(&self, plan: &str) -> Result<Vec<String>, EngineError> {
        let plan = plan.to_string();
        let wait = Duration::from_secs(self.limits.lock_seconds);
        self.write(wait, move |conn, _| ledger::remove(conn, &plan)).await
    }
}

/// Where to read from, then where each table begins.
fn numbers(ledger: &Ledger, from: &Position, starts: &[Position]) -> Result<Vec<i64>, EngineError> {
    let number = |position: &Position| match At::parse(position) {
        Some(at) if at.log == ledger.log => Ok(at.number),
        _ => Err(lost(format!("position {position} is of another capture than the one that stands"))),
    };
    std::iter::once(from).chain(starts).map(number).collect()
}

/// The tables are those that the triggers were made for.
fn check_spec(ledger: &Ledger, tables: &[crate::change::Followed]) -> Result<(), EngineError> {
    let same = ledger.layouts.len() == tables.len()
        && ledger.layouts.iter().zip(tables).all(|(layout, table)| layout.is_of(table));
    if same {
        return Ok(());
    }
    let message = "the plan has other tables, columns or keys than when its changes began to be kept";
    Err(EngineError::new(Cause::Stale, LOOK, message)
        .hint("go on with the plan as it was, or begin again with a new capture"))
}
