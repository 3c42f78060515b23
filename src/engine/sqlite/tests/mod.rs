//! The contract's promises about SQLite, on real files in a fresh directory each.

mod apply;
mod capture;
mod copy;
mod fence;
mod follow;
mod opening;
mod standing;
mod state;
mod structure;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::Sqlite;
use crate::catalog::dialect::Inline;
use crate::catalog::{Catalog, Column, ColumnMap, Form, Name, Projection, Table};
use crate::checkpoint::Goal;
use crate::engine::{
    Batch, BatchStream, Chunk, Engine, EngineError, Limits, Load, Loaded, Lock, Read, Snapshot, Source,
    Target, Url,
};

/// A directory of its own for a test.
pub(super) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn url(&self, name: &str) -> Url {
        url(&self.path(name))
    }

    /// Makes a database by statements.
    pub fn make(&self, name: &str, sql: &str) -> Connection {
        let conn = Connection::open(self.path(name)).expect("opened");
        conn.execute_batch("PRAGMA foreign_keys = 0").expect("pragma");
        conn.execute_batch(sql).expect("made");
        conn
    }

    pub async fn source(&self, name: &str) -> Box<dyn Source> {
        Sqlite.source(&self.url(name), &limits()).await.expect("a source")
    }

    pub async fn target(&self, name: &str) -> Box<dyn Target> {
        Sqlite.target(&self.url(name), &limits(), false).await.expect("a target")
    }
}

pub(super) fn url(path: &Path) -> Url {
    Url::parse(&format!("sqlite:{}", path.display())).expect("a URL")
}

pub(super) fn limits() -> Limits {
    Limits { lock_seconds: 1, readers: 3, ..Limits::default() }
}

pub(super) fn name(table: &str) -> Name {
    Name::new("main", table)
}

/// The projection of a whole table onto one of the same name.
pub(super) fn projection(table: &Table, form: Form) -> Projection {
    let stored: Vec<_> = table.columns.iter().filter(|column| column.generated.is_none()).collect();
    let map = |column: &&Column| ColumnMap {
        source: column.name.clone(),
        target: column.name.clone(),
        source_type: column.ty.clone(),
        source_native: column.native.clone(),
        target_type: column.ty.clone(),
        target_native: column.native.clone(),
        not_null: column.not_null,
        zero_date: Default::default(),
        error_value_null: false,
        cast: None,
    };
    let parts = table.primary_key().map(|key| key.parts.clone()).unwrap_or_default();
    let position = |name: &String| stored.iter().position(|column| column.name == *name);
    Projection {
        source: table.name.clone(),
        target: table.name.clone(),
        columns: stored.iter().map(map).collect(),
        filter: None,
        key: parts.iter().filter_map(|part| position(part.column.as_ref()?)).collect(),
        form,
    }
}

/// The statements that make a table and its indexes.
pub(super) fn statements(table: &Table) -> Vec<String> {
    let dialect = Sqlite.dialect();
    let mut all = dialect.create_table(table, &[], Inline { keys: true, foreign_keys: true });
    all.extend(table.indexes.iter().flat_map(|index| dialect.create_index(table, index)));
    all
}

/// A goal that nobody looks into.
pub(super) fn goal(digest: &str) -> Goal {
    Goal { digest: digest.into(), ..Goal::default() }
}

pub(super) async fn lock(target: &dyn Target) -> Box<dyn Lock> {
    target.lock("plan", &goal("digest"), Duration::ZERO).await.expect("the lock")
}

/// Loads one chunk and commits it.
pub(super) async fn load_chunk(
    lock: &dyn Lock,
    snapshot: &dyn Snapshot,
    projection: &Projection,
    chunk: &Chunk,
) -> Result<Loaded, EngineError> {
    let mut stream = snapshot.read(&Read { projection, chunk, batch_bytes: 4096, paced: false }).await?;
    let mut session = lock.session().await?;
    session.begin().await?;
    let load = Load { projection, frozen: false, gauge: &|_, _| {} };
    let loaded = session.load(&load, stream.as_mut()).await?;
    session.commit().await?;
    Ok(loaded)
}

/// Copies every table of a source into a fresh target, as the runtime does.
pub(super) async fn copy_all(
    place: &Place,
    from: &str,
    to: &str,
    form: Form,
) -> Result<Catalog, EngineError> {
    let source = place.source(from).await;
    let catalog = source.inspect().await?;
    let target = place.target(to).await;
    let lock = lock(target.as_ref()).await;
    let snapshot = source.snapshot().await?;
    for table in &catalog.tables {
        let mut session = lock.session().await?;
        session
            .execute(&Sqlite.dialect().create_table(table, &[], Inline { keys: true, foreign_keys: true }))
            .await?;
        drop(session);
        let projection = projection(table, form);
        for chunk in snapshot.chunks(&projection, 1 << 30).await? {
            load_chunk(lock.as_ref(), snapshot.as_ref(), &projection, &chunk).await?;
        }
        let mut session = lock.session().await?;
        for index in &table.indexes {
            session.execute(&Sqlite.dialect().create_index(table, index)).await?;
        }
    }
    lock.close("done").await?;
    Ok(catalog)
}

/// All that a stream brings, as text, and the count at its end.
pub(super) async fn drain(stream: &mut dyn BatchStream) -> Result<(usize, u64), EngineError> {
    let mut rows = 0;
    loop {
        match stream.next().await? {
            Batch::Rows(batch) => {
                rows += batch.rows();
                stream.recycle(batch);
            }
            Batch::Native { .. } => {}
            Batch::End { rows: counted } => return Ok((rows, counted)),
        }
    }
}

pub(super) fn whole() -> Chunk {
    Chunk { number: 0, of: 1, bounds: "whole".into(), rows: 0, bytes: 0 }
}

/// The rows of a query as one text, to be compared.
pub(super) fn dump(conn: &Connection, sql: &str) -> String {
    let mut query = conn.prepare(sql).expect("prepared");
    let width = query.column_count();
    let mut rows = query.query([]).expect("queried");
    let mut out = String::new();
    while let Some(row) = rows.next().expect("a row") {
        for index in 0..width {
            out.push_str(&format!("{:?}|", row.get_ref(index).expect("a value")));
        }
        out.push('\n');
    }
    out
}
