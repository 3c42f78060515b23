//! The example's door: makes a database file from SQL text, and writes to one as an application
//! does that knows nothing of Towpath. Never makes a file anew that exists. Blocks.

use std::path::Path;
use std::time::Duration;

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::{Batch, Connection, ErrorCode, OpenFlags, ffi};

use super::error::classify;
use crate::engine::{Cause, EngineError};

/// Runs `sql` in one transaction on a new file. Blocks until it is done. A file that exists is
/// `Cause::Other`; one that cannot be made is removed again.
pub fn create_from_sql(path: &Path, sql: &str) -> Result<(), EngineError> {
    let shown = path.display().to_string();
    let failed = |message: String| EngineError::new(Cause::Other, "make", message).on(&shown);
    // Reserves the name: of two makers, one fails.
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| failed(error.to_string()))?;
    fill(path, sql).map_err(|error| {
        // The first error is the one that matters.
        let _ = std::fs::remove_file(path);
        classify("make", error).on(&shown)
    })
}

fn fill(path: &Path, sql: &str) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    // Nothing is lost if the machine stops: the file is made again. Rows may come before parents.
    conn.execute_batch("pragma journal_mode = off; pragma synchronous = off; pragma foreign_keys = off;")?;
    conn.execute_batch(&format!("begin;\n{sql};\ncommit;\nanalyze; pragma journal_mode = wal;"))?;
    conn.close().map_err(|(_, error)| error)
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrote {
    Committed,
    /// Somebody else writes: it may be tried again.
    Busy,
    /// A trigger refused it, with these words.
    Refused(String),
}

/// An application's connection to a file that exists.
pub struct Application {
    conn: Connection,
    shown: String,
}

impl Application {
    /// A transaction waits up to `wait` for others that write.
    pub fn open(path: &Path, wait: Duration) -> Result<Self, EngineError> {
        let shown = path.display().to_string();
        let open = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let conn = Connection::open_with_flags(path, flags)?;
            conn.busy_timeout(wait)?;
            // As most applications have it, and in WAL mode a crash loses nothing that was whole.
            conn.execute_batch("pragma foreign_keys = on; pragma synchronous = normal;")?;
            Ok(conn)
        };
        let conn = open().map_err(|error| classify("open", error).on(&shown))?;
        Ok(Self { conn, shown })
    }

    /// Runs statements in one transaction; `:n` in them is this number.
    pub fn transact(&self, statements: &str, number: i64) -> Result<Wrote, EngineError> {
        let run = || -> rusqlite::Result<()> {
            self.conn.execute_batch("begin immediate")?;
            let mut batch = Batch::new(&self.conn, statements);
            while let Some(mut statement) = batch.next()? {
                if statement.parameter_count() > 0 {
                    statement.raw_bind_parameter(1, number)?;
                }
                // Rows that a statement returns are of no interest.
                let mut rows = statement.raw_query();
                while rows.next()?.is_some() {}
            }
            self.conn.execute_batch("commit")
        };
        let Err(error) = run() else { return Ok(Wrote::Committed) };
        if !self.conn.is_autocommit() {
            self.conn.execute_batch("rollback").map_err(|error| self.classify(error))?;
        }
        let code = error.sqlite_error().copied();
        match (code.map(|code| code.code), code.map(|code| code.extended_code)) {
            (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => Ok(Wrote::Busy),
            (_, Some(ffi::SQLITE_CONSTRAINT_TRIGGER)) => Ok(Wrote::Refused(error.to_string())),
            _ => Err(self.classify(error)),
        }
    }

    /// The numbers in the first column of a query's rows.
    pub fn numbers(&self, query: &str) -> Result<Vec<i64>, EngineError> {
        let read = || -> rusqlite::Result<Vec<i64>> {
            let mut statement = self.conn.prepare(query)?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(|error| self.classify(error))
    }

    fn classify(&self, error: rusqlite::Error) -> EngineError {
        classify("use", error).on(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_commits_waits_and_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("a.db");
        let moment = Duration::from_millis(1);
        assert!(Application::open(&path, moment).is_err(), "it makes no file");
        let sql = "create table t (a integer primary key); create table closed (a);
            create trigger x before insert on closed begin select raise(abort, 'it is closed'); end;";
        create_from_sql(&path, sql).expect("made");
        let [one, other] = [(); 2].map(|()| Application::open(&path, moment).expect("opened"));
        let write = "insert into t values (:n); insert into t values (:n + 1) returning a; select 1";
        assert_eq!(one.transact(write, 5).expect("written"), Wrote::Committed);
        assert_eq!(other.numbers("select a from t order by a").expect("read"), [5, 6]);
        other.conn.execute_batch("begin immediate").expect("begun");
        assert_eq!(one.transact(write, 7).expect("tried"), Wrote::Busy);
        other.conn.execute_batch("rollback").expect("ended");
        let refused = one.transact("insert into t values (9); insert into closed values (1)", 0);
        assert_eq!(refused.expect("tried"), Wrote::Refused("it is closed".into()));
        assert_eq!(one.numbers("select count(*) from t").expect("read"), [2]);
    }

    #[test]
    fn a_file_that_exists_is_left_alone() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("a.db");
        std::fs::write(&path, "mine").expect("writable");
        assert!(create_from_sql(&path, "create table t (a)").is_err());
        assert_eq!(std::fs::read(&path).expect("readable"), b"mine");
    }

    #[test]
    fn a_failure_leaves_no_file() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("a.db");
        assert!(create_from_sql(&path, "create table t (a); insert into nothing values (1);").is_err());
        assert!(!path.exists());
    }
}
