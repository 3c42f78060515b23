//! Connections: a SQLite connection lives on a thread of its own and runs what is sent to it. Here
//! the file is opened, with every way that can go wrong told apart (contract L-16). The database
//! file is never opened by other means than SQLite: closing such a handle would drop the locks
//! that SQLite holds for this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, InterruptHandle, OpenFlags};
use tokio::sync::oneshot;

use super::error::classify;
use super::exact;
use crate::engine::{Cause, EngineError, Limits, Url, UrlError};

/// Page cache of a reader, in KiB: it scans and keeps nothing.
const READER_CACHE_KIB: i64 = 2 << 10;
/// Page cache of a writer, in KiB. Index builds sort in several times as much: 2 million rows with
/// an index peaked at 45 MB with 8 MiB and at 108 MB with 32 MiB, in the same time.
const WRITER_CACHE_KIB: i64 = 8 << 10;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A connection on its own thread. Clones reach the same one; it closes with the last of them.
#[derive(Clone)]
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
    interrupt: Arc<InterruptHandle>,
}

impl Worker {
    /// Gives the connection a thread.
    pub fn start(mut conn: Connection) -> Result<Self, EngineError> {
        let interrupt = Arc::new(conn.get_interrupt_handle());
        let (jobs, queue) = mpsc::channel::<Job>();
        let run = move || {
            while let Ok(job) = queue.recv() {
                job(&mut conn);
            }
        };
        let started = std::thread::Builder::new().name("sqlite".into()).spawn(run);
        started
            .map_err(|error| EngineError::new(Cause::Resources, "start a thread for", error.to_string()))?;
        Ok(Self { jobs, interrupt })
    }

    /// Queues work and returns at once; the receiver gets its result.
    pub fn send<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (reply, result) = oneshot::channel();
        // A worker that is gone drops the job and with it `reply`: the receiver then fails.
        let _ = self.jobs.send(Box::new(move |conn| {
            let _ = reply.send(work(conn));
        }));
        result
    }

    /// Runs work on the connection's thread.
    pub async fn call<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        received(doing, self.send(work)).await
    }

    /// Ends the statement that runs now, if any, with `SQLITE_INTERRUPT`.
    pub fn interrupt(&self) {
        self.interrupt.interrupt();
    }
}

/// Waits for the answer of [`Worker::send`].
pub(super) async fn received<T>(
    doing: &'static str,
    answer: oneshot::Receiver<Result<T, EngineError>>,
) -> Result<T, EngineError> {
    match answer.await {
        Ok(result) => result,
        Err(_) => Err(EngineError::new(Cause::Other, doing, "the connection's thread has ended")),
    }
}

/// A database file by its literal path.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// As the user wrote it, for messages.
    shown: String,
    /// Absolute, without symbolic links: SQLite reads nothing else into such a path.
    pub path: PathBuf,
}

/// Refuses paths that mean something else than a file to SQLite's users.
pub(super) fn check_path(path: &str) -> Result<(), UrlError> {
    if path.is_empty() {
        return Err(UrlError::new("E323", "no file is named after sqlite:").help("write sqlite:PATH"));
    }
    if path.contains('\0') {
        return Err(UrlError::new("E323", "a file path cannot hold a NUL byte"));
    }
    if path == ":memory:" {
        return Err(UrlError::new("E323", "sqlite::memory: has no file that a later run could find")
            .help("name a file; for a file of that very name write sqlite:./:memory:"));
    }
    if path.starts_with("file:") {
        return Err(UrlError::new("E323", "SQLite file: URIs and their parameters are not taken")
            .help("write sqlite:PATH; for a file of that very name write sqlite:./file:..."));
    }
    Ok(())
}

impl File {
    /// Finds the file; its directory must exist.
    pub fn find(url: &Url, doing: &str) -> Result<Self, EngineError> {
        let shown = url.path.clone();
        let missing = |error: std::io::Error| {
            let cause = match error.kind() {
                std::io::ErrorKind::PermissionDenied => Cause::Privilege,
                _ => Cause::NotFound,
            };
            EngineError::new(cause, doing, format!("{error}")).on(url).contract("E320")
        };
        let path = std::path::absolute(&shown).map_err(missing)?;
        if std::fs::symlink_metadata(&path).is_ok() {
            let path = path.canonicalize().map_err(missing)?;
            return Ok(Self { shown, path });
        }
        let name = path.file_name().map(PathBuf::from);
        let directory = path.parent().map(Path::canonicalize);
        match (directory, name) {
            (Some(Ok(directory)), Some(name)) => Ok(Self { shown, path: directory.join(name) }),
            (Some(Err(error)), _) => Err(missing(error).hint("create its directory first")),
            _ => Err(EngineError::new(Cause::NotFound, doing, "this is not a file").on(url).contract("E321")),
        }
    }

    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// The file beside it with a suffix: `-wal`, `-journal`, `-towpath-lock`.
    pub fn sibling(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        PathBuf::from(path)
    }

    /// Opens it for reading. Never creates it, never writes to it, never runs code of its schema.
    pub fn open_source(&self, limits: &Limits) -> Result<Connection, EngineError> {
        const DOING: &str = "open";
        let meta = std::fs::metadata(&self.path).map_err(|error| self.refuse_io(error))?;
        self.refuse_kind(&meta)?;
        if meta.len() == 0 {
            let error = self.refuse(Cause::NotFound, "E322", "the file is empty (0 bytes)");
            return Err(error.hint("there is no database in it; is it the right file?"));
        }
        self.open_reading(limits, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(|error| self.explain(DOING, error))
    }

    /// Opens a target for planning: reads only, but lets SQLite undo what a killed writer left
    /// half-written, without which nothing could be read.
    pub fn open_target_reading(&self, limits: &Limits) -> Result<Connection, EngineError> {
        let meta = std::fs::metadata(&self.path).map_err(|error| self.refuse_io(error))?;
        self.refuse_kind(&meta)?;
        match self.open_reading(limits, OpenFlags::SQLITE_OPEN_READ_ONLY) {
            Err(error) if extended(&error) == Some(rusqlite::ffi::SQLITE_READONLY_ROLLBACK) => {
                self.open_reading(limits, OpenFlags::SQLITE_OPEN_READ_WRITE)
            }
            other => other,
        }
        .map_err(|error| self.explain("open", error))
    }

    fn open_reading(&self, limits: &Limits, mode: OpenFlags) -> rusqlite::Result<Connection> {
        let conn = Connection::open_with_flags(&self.path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        prepare(&conn, limits, READER_CACHE_KIB)?;
        conn.execute_batch("PRAGMA query_only = 1")?;
        conn.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))?;
        Ok(conn)
    }

    /// Opens it for writing, and makes it where it is missing. Rows are checked against foreign
    /// keys after the load, not during it; each commit is on the disk when it returns. The file
    /// keeps its journal mode; a new one has SQLite's default, a rollback journal, which loads
    /// faster than a WAL: new pages are written once.
    pub fn open_target(&self, limits: &Limits) -> Result<Connection, EngineError> {
        if let Ok(meta) = std::fs::metadata(&self.path) {
            self.refuse_kind(&meta)?;
        }
        let open = || -> rusqlite::Result<Connection> {
            let mode = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
            let conn = Connection::open_with_flags(&self.path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            prepare(&conn, limits, WRITER_CACHE_KIB)?;
            conn.execute_batch("PRAGMA foreign_keys = 0; PRAGMA synchronous = FULL; PRAGMA threads = 1")?;
            // The rows come as the source has them; what its triggers did is among them.
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
            conn.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))?;
            Ok(conn)
        };
        open().map_err(|error| self.explain("open", error))
    }

    /// Whether this user may write to it, as SQLite finds out when it opens a file: without a
    /// statement it reads and writes nothing.
    pub fn is_writable(&self) -> Result<bool, EngineError> {
        let mode = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn =
            Connection::open_with_flags(&self.path, mode).map_err(|error| self.explain("open", error))?;
        conn.is_readonly("main").map(|readonly| !readonly).map_err(|error| self.explain("open", error))
    }

    /// Opens a source for what a capture writes: its change table and triggers. Waits up to `wait`
    /// for other writers. A file that this user may not write to opens all the same, for reading.
    pub fn open_capture(&self, limits: &Limits, wait: Duration) -> Result<Connection, EngineError> {
        let meta = std::fs::metadata(&self.path).map_err(|error| self.refuse_io(error))?;
        self.refuse_kind(&meta)?;
        let open = || -> rusqlite::Result<Connection> {
            let mode = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let conn = Connection::open_with_flags(&self.path, mode)?;
            prepare(&conn, limits, READER_CACHE_KIB)?;
            conn.busy_timeout(wait)?;
            conn.execute_batch("PRAGMA foreign_keys = 0; PRAGMA synchronous = FULL")?;
            conn.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))?;
            Ok(conn)
        };
        open().map_err(|error| self.explain("open", error))
    }

    fn refuse(&self, cause: Cause, code: &'static str, message: impl Into<String>) -> EngineError {
        EngineError::new(cause, "open", message).on(self).contract(code)
    }

    fn refuse_io(&self, error: std::io::Error) -> EngineError {
        match error.kind() {
            std::io::ErrorKind::NotFound => self
                .refuse(Cause::NotFound, "E320", "the file does not exist")
                .hint("the path is taken literally: no ~, no variables, no %20"),
            std::io::ErrorKind::PermissionDenied => {
                self.refuse(Cause::Privilege, "E320", "this user may not read the file or its directory")
            }
            _ => self.refuse(Cause::Resources, "E320", error.to_string()),
        }
    }

    fn refuse_kind(&self, meta: &std::fs::Metadata) -> Result<(), EngineError> {
        if meta.is_dir() {
            return Err(self
                .refuse(Cause::NotFound, "E321", "this is a directory")
                .hint("name the file in it"));
        }
        if !meta.is_file() {
            return Err(self.refuse(Cause::NotFound, "E321", "this is not a regular file"));
        }
        Ok(())
    }

    /// Says what an error on opening means for this file.
    fn explain(&self, doing: &str, error: rusqlite::Error) -> EngineError {
        use rusqlite::ffi;
        let code = error.sqlite_error_code();
        let wal = extended(&error).is_some_and(|code| {
            matches!(code, ffi::SQLITE_READONLY_CANTINIT | ffi::SQLITE_READONLY_RECOVERY)
        });
        if extended(&error) == Some(ffi::SQLITE_READONLY_ROLLBACK) {
            return self
                .refuse(
                    Cause::NotFound,
                    "E324",
                    "a journal of an unfinished transaction lies beside the file",
                )
                .hint("open it once with its own application (or sqlite3) so that SQLite rolls it back");
        }
        if wal || (code == Some(ErrorCode::CannotOpen) && self.path.is_file()) {
            return self
                .refuse(Cause::Privilege, "E324", "SQLite cannot open the file or the -wal and -shm files beside it")
                .hint("a database in WAL mode needs a directory this user may write to, or its -wal and -shm files in place");
        }
        match code {
            Some(ErrorCode::NotADatabase) => self.refuse_foreign(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => self
                .refuse(Cause::Busy, "E324", "another process has locked the file")
                .hint("end the transaction that writes to it, or try again later"),
            _ => classify(doing, error).on(self),
        }
    }

    /// The file is there and is no database that SQLite can read. It has no locks to lose.
    fn refuse_foreign(&self) -> EngineError {
        let mut head = Vec::new();
        if let Ok(file) = std::fs::File::open(&self.path) {
            let _ = std::io::Read::read_to_end(&mut std::io::Read::take(file, 512), &mut head);
        }
        let error = self.refuse(Cause::NotFound, "E322", "the file is not a SQLite database");
        let distinct = head.iter().collect::<std::collections::BTreeSet<_>>().len();
        if head.len() == 512 && distinct > 200 {
            return error.hint(
                "its first bytes look random: it may be encrypted (SQLCipher, SEE); decrypt a copy first",
            );
        }
        error.hint("is it the right file?")
    }
}

impl std::fmt::Display for File {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "sqlite:{}", self.shown.escape_debug())
    }
}

/// What every connection is pinned to, whatever the file or the build's defaults say.
fn prepare(conn: &Connection, limits: &Limits, cache_kib: i64) -> rusqlite::Result<()> {
    conn.busy_timeout(Duration::from_secs(limits.lock_seconds))?;
    conn.set_prepared_statement_cache_capacity(8);
    conn.execute_batch(&format!(
        "PRAGMA trusted_schema = 0; PRAGMA temp_store = 0; PRAGMA cache_size = -{cache_kib}"
    ))?;
    exact::register(conn)
}

fn extended(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}
