//! The change log of a source: its binary log, read as a replica reads it. Nothing is made on the
//! source and nothing is kept there for us: the log goes when the server's own settings say, and a
//! place that is gone is said, never stepped over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Guarded, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};
use tokio::sync::Mutex;

use super::connect::{Flavor, Link, close};
use super::error::from_driver;
use super::events::{DOING, Decoder, Endless};
use super::followed::{self, Layout};
use super::gtids::Gtids;
use super::moment::{log_status, snapshot_place};
use super::place::{At, digest, split};
use super::replication::{self, Reading};
use super::snapshot::Held;
use super::{obstacle, quote};
use crate::change::Position;
use crate::engine::{
    Capture, CaptureSpec, Cause, ChangeStream, EngineError, Limits, Obstacle, Snapshot, Standing,
};

/// The way on from a gap.
pub(super) const RECOPY: &str = "the tables have to be copied again: `towpath apply --recopy` empties them, copies \
     them and follows them from there; keep the log longer (binlog_expire_logs_seconds)";

/// The log of a server.
pub(super) struct Kept {
    link: Arc<Link>,
    limits: Limits,
    shared: Arc<Shared>,
    /// The session that looks where the log has come to.
    looking: Mutex<Option<Conn>>,
    /// Bytes of each log file, by number, when they were last looked at.
    sizes: Guarded<BTreeMap<u64, u64>>,
}

/// What streams tell those who ask.
#[derive(Default)]
pub(super) struct Shared {
    acknowledged: Guarded<Option<At>>,
    active: AtomicUsize,
    /// Transactions without an end: whoever reads the log next tells nothing of them.
    endless: Guarded<Endless>,
}

impl Shared {
    pub fn acknowledge(&self, safe: &Position) {
        if let Some(at) = At::parse(safe) {
            *locked(&self.acknowledged) = Some(at);
        }
    }

    pub fn endless(&self, found: &Endless) {
        locked(&self.endless).clone_from(found);
    }

    pub fn reading(&self, begins: bool) {
        match begins {
            true => self.active.fetch_add(1, Ordering::Relaxed),
            false => self.active.fetch_sub(1, Ordering::Relaxed),
        };
    }
}

fn locked<T>(guarded: &Guarded<T>) -> std::sync::MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A log file and its bytes.
pub(super) type LogFile = (String, u64);

/// The files of the log, the oldest first; none where this user may not see them.
pub(super) async fn log_files(conn: &mut Conn) -> Result<Option<Vec<LogFile>>, EngineError> {
    let rows: Result<Vec<Row>, Error> = conn.query("SHOW BINARY LOGS").await;
    match rows {
        Ok(rows) => {
            let file = |row: Row| Some((row.get_opt(0)?.ok()?, row.get_opt(1)?.ok()?));
            Ok(Some(rows.into_iter().filter_map(file).collect()))
        }
        Err(Error::Server(error)) if super::error::cause(error.code) == Cause::Privilege => Ok(None),
        // There is no log.
        Err(Error::Server(error)) if error.code == 1381 => Ok(Some(Vec::new())),
        Err(error) => Err(from_driver("look at the log files of", error)),
    }
}

/// Where the log stands: every transaction that others may see is before it.
pub(super) async fn place_of_head(conn: &mut Conn, flavor: Flavor) -> Result<Option<LogFile>, EngineError> {
    let fail = |error| from_driver("find the end of the log of", error);
    if flavor == Flavor::MySql {
        // Written there before anybody sees it.
        let row = log_status(conn).await?;
        return Ok(row.and_then(|row| Some((row.get_opt(0)?.ok()?, row.get_opt(1)?.ok()?))));
    }
    conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await.map_err(fail)?;
    let found = snapshot_place(conn).await;
    conn.query_drop("ROLLBACK").await.map_err(fail)?;
    found
}

fn stale(why: impl Into<String>) -> EngineError {
    EngineError::new(Cause::Stale, DOING, why).contract("G10").hint(RECOPY)
}

/// MySQL has done all transactions of the place. That none of them comes after it, and that its file
/// is the same one, shows when the log is read.
async fn check_set(conn: &mut Conn, at: &At) -> Result<(), EngineError> {
    let set = Gtids::parse(&at.gtid).and_then(|gtids| gtids.set()).unwrap_or_default();
    let sql = format!("SELECT GTID_SUBSET({}, @@GLOBAL.gtid_executed)", quote::literal(&set));
    let done: Option<Option<bool>> =
        conn.query_first(sql).await.map_err(|error| from_driver(DOING, error))?;
    match done.flatten() {
        Some(true) => Ok(()),
        _ => Err(stale(
            "the server has not done all transactions before that place any more (its gtid_executed lacks some): its \
             log was begun anew (RESET BINARY LOGS AND GTIDS), it was restored, or it lost the end of its log in a crash",
        )),
    }
}

impl Kept {
    pub fn new(link: &Arc<Link>, limits: &Limits) -> Self {
        Self {
            link: Arc::clone(link),
            limits: limits.clone(),
            shared: Arc::default(),
            looking: Mutex::default(),
            sizes: Guarded::default(),
        }
    }

    fn on(&self, error: EngineError) -> EngineError {
        if error.object.is_some() { error } else { error.on(self.link.shown()) }
    }

    fn server(&self) -> String {
        digest(&self.link.server.identity)
    }

    /// Asks on the session for looking; a broken one is replaced at the next question.
    async fn look(&self) -> Result<At, EngineError> {
        let mut looking = self.looking.lock().await;
        let mut tries = 0;
        loop {
            let known = looking.take();
            let fresh = known.is_none();
            let mut conn = match known {
                Some(conn) => conn,
                None => self.link.session().await?,
            };
            match self.look_with(&mut conn).await {
                Ok(at) => {
                    *looking = Some(conn);
                    return Ok(at);
                }
                // One that stood still may have been cut.
                Err(error) if error.cause == Cause::Connection && !fresh && tries == 0 => tries += 1,
                Err(error) => return Err(self.on(error)),
            }
        }
    }

    async fn look_with(&self, conn: &mut Conn) -> Result<At, EngineError> {
        let (file, offset) = place_of_head(conn, self.link.server.flavor)
            .await?
            .ok_or_else(|| stale("the server keeps no binary log (log_bin is off)"))?;
        let number = split(&file).map_or(0, |(_, number)| number);
        if !locked(&self.sizes).contains_key(&number) {
            let files = log_files(conn).await?.unwrap_or_default();
            let sized = |(file, bytes): LogFile| Some((split(&file)?.1, bytes));
            *locked(&self.sizes) = files.into_iter().filter_map(sized).collect();
        }
        locked(&self.sizes).insert(number, offset);
        Ok(At { server: self.server(), file, offset, ..At::default() })
    }

    /// A place of this server, as the target's marks have it.
    fn parse(&self, position: &Position) -> Result<At, EngineError> {
        let at =
            At::parse(position).ok_or_else(|| stale(format!("{position} is no place in a binary log")))?;
        match at.server == self.server() {
            true => Ok(at),
            false => Err(stale(
                "the place belongs to the log of another server: a failover, or a server that was made anew \
                 (F-37, F-48)",
            )),
        }
    }

    /// The log from there on is there, and is the one that the place was in.
    async fn check_place(&self, conn: &mut Conn, at: &At) -> Result<(), EngineError> {
        if let Some(files) = log_files(conn).await? {
            if !files.iter().any(|(file, _)| *file == at.file) {
                let oldest = files.first().map_or("none", |(file, _)| file.as_str());
                return Err(stale(format!(
                    "the log file {} is gone: the server has purged it, or its log was begun anew (the oldest now \
                     is {oldest})",
                    at.file
                )));
            }
            let beyond = files.iter().any(|(file, bytes)| *file == at.file && *bytes < at.offset);
            if beyond {
                return Err(stale(format!(
                    "the log file {} ends before byte {}: the server lost the end of its log in a crash, or its log \
                     was begun anew; the target may be ahead of the source",
                    at.file, at.offset
                )));
            }
        }
        let sql = match (Gtids::parse(&at.gtid), at.gtid.is_empty()) {
            (_, true) => return Ok(()),
            (Some(Gtids::Set(_)), _) => return check_set(conn, at).await,
            _ => format!("SELECT BINLOG_GTID_POS({}, {})", quote::literal(&at.file), at.offset),
        };
        let found: Option<Option<String>> = match conn.query_first(sql).await {
            Ok(found) => found,
            Err(Error::Server(_)) => None,
            Err(error) => return Err(from_driver(DOING, error)),
        };
        let found = found.flatten().and_then(|text| Gtids::parse(&text));
        match found.is_some() && found == Gtids::parse(&at.gtid) {
            true => Ok(()),
            false => Err(stale(
                "the log holds other transactions before that place than it did: it was begun anew (RESET MASTER), or \
                 its files were replaced",
            )),
        }
    }

    async fn stream(
        &self,
        conn: &mut Conn,
        spec: &CaptureSpec<'_>,
        from: &Position,
        starts: &[Position],
    ) -> Result<Reading, EngineError> {
        let from = self.parse(from)?;
        let starts = starts.iter().map(|start| self.parse(start)).collect::<Result<Vec<_>, _>>()?;
        obstacle::check_settings(conn).await?;
        self.check_place(conn, &from).await?;
        let found = followed::read(conn, &self.link, spec.tables).await?;
        let layouts = Layout::all(spec.tables, &found, spec.cascades)?;
        let endless = locked(&self.shared.endless).clone();
        let mut decoder = Decoder::new(self.link.server.flavor, layouts, &from, &starts, endless)?;
        decoder.folds = self.link.server.folds;
        let log = replication::open(&self.link, spec.plan, &from).await?;
        Ok(Reading::new(log, decoder, Arc::clone(&self.shared), (Arc::clone(&self.link), spec.plan)))
    }

    async fn held(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        let held = Held::take(Arc::clone(&self.link), &self.limits, true).await?;
        if At::parse(held.position()).is_none() {
            let why = "the server does not tell where in its log a snapshot stands (log_bin is off?)";
            return Err(self.on(EngineError::new(Cause::NotFound, DOING, why).contract("C502")));
        }
        Ok(Box::new(held))
    }
}

#[async_trait]
impl Capture for Kept {
    async fn check(&self, spec: &CaptureSpec<'_>) -> Result<Vec<Obstacle>, EngineError> {
        let mut conn = self.link.session().await?;
        let found = obstacle::all(&self.link, &mut conn, spec).await;
        close(conn).await;
        found.map_err(|error| self.on(error))
    }

    /// The server knows of no plan: the log is kept from its oldest file on, for everybody. Whether
    /// the place of a plan is still in it shows when it is read from there.
    fn leaves_traces(&self) -> bool {
        false
    }

    async fn standing(&self, _plan: &str) -> Result<Standing, EngineError> {
        let mut conn = self.link.session().await?;
        let files = log_files(&mut conn).await;
        let head = self.look_with(&mut conn).await;
        close(conn).await;
        let (files, head) = (files.map_err(|error| self.on(error))?, head.map_err(|error| self.on(error))?);
        let oldest = files.and_then(|files| files.into_iter().next()).map(|(file, _)| file);
        let acknowledged = locked(&self.shared.acknowledged).clone();
        let oldest = oldest.unwrap_or_else(|| head.file.clone());
        if let Some(at) = &acknowledged
            && let (Some((_, ours)), Some((_, first))) = (split(&at.file), split(&oldest))
            && ours < first
        {
            return Ok(Standing::Lost(format!("the log file {} was purged", at.file)));
        }
        let retained = acknowledged.as_ref().map_or(0, |at| self.distance(&at.position(), &head.position()));
        let from = acknowledged.unwrap_or(At { file: oldest, offset: 4, ..head });
        let active = self.shared.active.load(Ordering::Relaxed) > 0;
        Ok(Standing::Kept { acknowledged: from.position(), retained, room: None, active })
    }

    async fn open(&self, _spec: &CaptureSpec<'_>, _wait: Duration) -> Result<Box<dyn Snapshot>, EngineError> {
        self.held().await
    }

    async fn snapshot(&self, _plan: &str, _wait: Duration) -> Result<Box<dyn Snapshot>, EngineError> {
        self.held().await
    }

    async fn head(&self) -> Result<Position, EngineError> {
        Ok(self.look().await?.position())
    }

    fn reached(&self, at: &Position, goal: &Position) -> bool {
        match (At::parse(at), At::parse(goal)) {
            (Some(at), Some(goal)) => at.reached(&goal),
            _ => at == goal,
        }
    }

    fn distance(&self, at: &Position, goal: &Position) -> u64 {
        let (Some(at), Some(goal)) = (At::parse(at), At::parse(goal)) else { return 0 };
        if at.reached(&goal) {
            return 0;
        }
        let number = |place: &At| split(&place.file).map_or(0, |(_, number)| number);
        let (first, last) = (number(&at), number(&goal));
        if first == last {
            return goal.offset.saturating_sub(at.offset);
        }
        let sizes = locked(&self.sizes);
        let between: u64 = sizes.range(first..last).map(|(_, bytes)| bytes).sum();
        (between + goal.offset).saturating_sub(at.offset)
    }

    async fn changes(
        &self,
        spec: &CaptureSpec<'_>,
        from: &Position,
        starts: &[Position],
    ) -> Result<Box<dyn ChangeStream>, EngineError> {
        let mut conn = self.link.session().await?;
        let stream = self.stream(&mut conn, spec, from, starts).await;
        close(conn).await;
        Ok(Box::new(stream.map_err(|error| self.on(error))?))
    }

    /// Nothing was made on the source, so there is nothing to remove.
    async fn close(&self, _plan: &str) -> Result<Vec<String>, EngineError> {
        *locked(&self.shared.acknowledged) = None;
        Ok(Vec::new())
    }
}
