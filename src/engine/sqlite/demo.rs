//! Makes a database file from SQL text: the door through which the example database comes into
//! being. Never touches a file that exists.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

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
    conn.execute_batch(&format!("begin;\n{sql}\ncommit;\nanalyze;"))?;
    conn.close().map_err(|(_, error)| error)
}

#[cfg(test)]
mod tests {
    use super::*;

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
