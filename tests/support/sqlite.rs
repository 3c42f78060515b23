//! SQLite files for the tests. Fixtures are built once per process and copied.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::fixture;

/// A database file in a directory that outlives it.
#[derive(Clone)]
pub struct File {
    pub path: PathBuf,
}

/// Builds a fixture of `schemas/sqlite/` in `directory`, from a copy made once.
pub fn fixture(name: &'static str, directory: &Path) -> File {
    static BUILT: OnceLock<Mutex<HashMap<&'static str, Vec<u8>>>> = OnceLock::new();
    let file = File { path: directory.join(format!("{name}.db")) };
    let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(bytes) = built.get(name) {
        std::fs::write(&file.path, bytes).unwrap();
        return file;
    }
    file.execute(&fixture::sql("sqlite", name));
    built.insert(name, std::fs::read(&file.path).unwrap());
    file
}

impl File {
    pub fn new(directory: &Path, name: &str) -> Self {
        Self { path: directory.join(name) }
    }

    pub fn url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    /// Foreign keys are off, as in most applications' shells: fixtures plant what that lets in.
    pub fn open(&self) -> Connection {
        let connection =
            Connection::open(&self.path).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        connection
    }

    pub fn execute(&self, sql: &str) {
        self.open().execute_batch(sql).unwrap_or_else(|error| panic!("{error}\n  in {:.300}", sql));
    }

    /// Rows with each value as SQLite's `quote()` would write it, so that classes stay apart.
    pub fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let connection = self.open();
        let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{error}\n  in {sql}"));
        let width = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            all.push((0..width).map(|at| quoted(row.get_ref(at).unwrap())).collect());
        }
        all
    }
}

fn quoted(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".into(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => format!("'{text}'"),
            Err(_) => format!("not utf-8 x'{}'", hex(bytes)),
        },
        ValueRef::Blob(bytes) => format!("x'{}'", hex(bytes)),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
