//! A copy of followed tables in memory, kept by their changes and as strict as a target has to
//! be: each update and delete finds its row, each insert is new, and nothing of a transaction
//! counts before its commit.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath::catalog::{Cell, Form, Name, Projection, Type};
use towpath::change::{Cells, Changes, Datum, Followed, Identity, Position, Record, RowChange, RowKind};
use towpath::engine::{Batch, Capture, CaptureSpec, ChangeStream, EngineError, Read, Snapshot, Source};

use super::{map, outside, source};
use crate::support::postgres::{Database, Server};

/// A cell in words; `Absent` is none.
pub type Value = Option<String>;

fn value(datum: Datum<'_>) -> Value {
    Some(match datum {
        Datum::Absent => return None,
        Datum::Null => "NULL".into(),
        Datum::Bool(value) => value.to_string(),
        Datum::Int(value) => value.to_string(),
        Datum::UInt(value) => value.to_string(),
        Datum::Float(value) => value.to_string(),
        Datum::Text(text) => format!("'{}", String::from_utf8(text.to_vec()).unwrap()),
        Datum::Bytes(bytes) => format!("{bytes:?}"),
    })
}

pub fn values(cells: Cells<'_>) -> Vec<Value> {
    cells.map(value).collect()
}

/// Rows by their identity.
pub type Rows = BTreeMap<Vec<Value>, Vec<Value>>;

pub struct Replica {
    followed: Vec<Followed>,
    pub tables: Vec<Rows>,
    /// Changes of a transaction whose commit has not come.
    open: Vec<Change>,
    /// Where to go on from.
    pub position: Position,
    pub commits: u64,
}

enum Change {
    Row { table: usize, kind: RowKind, old: Vec<Value>, new: Vec<Value> },
    Truncate(Vec<usize>),
}

impl Replica {
    pub fn new(followed: &[Followed], position: &Position) -> Self {
        Self {
            followed: followed.to_vec(),
            tables: vec![Rows::new(); followed.len()],
            open: Vec::new(),
            position: position.clone(),
            commits: 0,
        }
    }

    fn key(&self, table: usize, row: &[Value]) -> Vec<Value> {
        match &self.followed[table].identity {
            Identity::Columns(places) => places.iter().map(|place| row[*place].clone()).collect(),
            Identity::Whole => row.to_vec(),
        }
    }

    /// Copies a table out of a snapshot.
    pub async fn copy(&mut self, snapshot: &dyn Snapshot, table: usize) {
        let projection = self.followed[table].projection.clone();
        for row in rows_of(snapshot, &projection).await {
            let key = self.key(table, &row);
            assert!(self.tables[table].insert(key, row).is_none(), "a row was copied twice");
        }
    }

    /// The connection is gone: what was not committed comes again.
    pub fn forget(&mut self) {
        self.open.clear();
    }

    pub fn take(&mut self, changes: &Changes) {
        for record in changes.records() {
            match record {
                Record::Begin { .. } => assert!(self.open.is_empty(), "a transaction inside another"),
                Record::Row(RowChange { table, kind, old, new }) => {
                    self.open.push(Change::Row { table, kind, old: values(old), new: values(new) });
                }
                Record::Cascade(_) => unreachable!("this log hides nothing"),
                Record::Truncate { tables, .. } => self.open.push(Change::Truncate(tables.iter().collect())),
                Record::Commit { position, .. } => {
                    for change in std::mem::take(&mut self.open) {
                        self.apply(change);
                    }
                    self.commits += 1;
                    self.position = Position(position.into());
                }
                Record::Reached { position } => {
                    assert!(self.open.is_empty(), "reached in the middle of a transaction");
                    self.position = Position(position.into());
                }
            }
        }
    }

    fn apply(&mut self, change: Change) {
        let (table, kind, old, new) = match change {
            Change::Truncate(tables) => {
                tables.into_iter().for_each(|table| self.tables[table].clear());
                return;
            }
            Change::Row { table, kind, old, new } => (table, kind, old, new),
        };
        let key = self.key(table, if old.is_empty() { &new } else { &old });
        let was = match kind {
            RowKind::Insert => None,
            _ => Some(self.tables[table].remove(&key).expect("the row of an update or delete is there")),
        };
        if kind == RowKind::Delete {
            return;
        }
        let row: Vec<Value> = match was {
            Some(was) => new.into_iter().zip(was).map(|(new, was)| new.or(was)).collect(),
            None => new,
        };
        assert!(row.iter().all(Option::is_some), "a new row is whole");
        let key = self.key(table, &row);
        assert!(self.tables[table].insert(key, row).is_none(), "a new row is new");
    }
}

/// All rows of a table in a snapshot, in the projection's form of neutral cells.
pub async fn rows_of(snapshot: &dyn Snapshot, projection: &Projection) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for chunk in snapshot.chunks(projection, 64 << 10).await.unwrap() {
        let read = Read { projection, chunk: &chunk, batch_bytes: 1 << 16, paced: false };
        let mut stream = snapshot.read(&read).await.unwrap();
        while let Batch::Rows(batch) = stream.next().await.unwrap() {
            for at in 0..batch.rows() {
                let cell = |cell: &Cell| match *cell {
                    Cell::Null => value(Datum::Null),
                    Cell::Bool(truth) => value(Datum::Bool(truth)),
                    Cell::Int(number) => value(Datum::Int(number)),
                    Cell::UInt(number) => value(Datum::UInt(number)),
                    Cell::Float(number) => value(Datum::Float(number)),
                    Cell::Text { .. } => value(Datum::Text(batch.data(*cell))),
                    Cell::Bytes { .. } => value(Datum::Bytes(batch.data(*cell))),
                };
                rows.push(batch.row(at).iter().map(cell).collect());
            }
        }
    }
    rows
}

/// A followed table of these columns, told apart by its first one.
pub fn followed(name: &str, columns: &[(&str, Type, &str)]) -> Followed {
    let columns: Vec<_> = columns.iter().map(|(name, ty, native)| map(name, ty, native)).collect();
    let projection = Projection {
        source: Name::new("public", name),
        target: Name::new("public", name),
        columns,
        filter: None,
        key: vec![0],
        form: Form::Rows,
    };
    Followed { projection, identity: Identity::Columns(vec![0]), skipped: Vec::new() }
}

pub fn spec<'a>(plan: &'a str, tables: &'a [Followed]) -> CaptureSpec<'a> {
    CaptureSpec { plan, tables, cascades: false }
}

/// Takes changes into the replica until it has come to a position.
pub async fn catch_up(
    stream: &mut dyn ChangeStream,
    replica: &mut Replica,
    come: impl Fn(&Position) -> bool,
) {
    let mut changes = Changes::default();
    while !come(&replica.position) {
        changes.clear();
        let next = stream.next(&mut changes, 1 << 20);
        tokio::time::timeout(Duration::from_secs(60), next)
            .await
            .expect("the stream tells something within a minute")
            .unwrap();
        replica.take(&changes);
        stream.acknowledge(&replica.position).await.unwrap();
    }
}

pub const WAIT: Duration = Duration::from_secs(30);

pub fn capture(source: &dyn Source) -> &dyn Capture {
    source.capture().expect("PostgreSQL has a change log")
}

/// Rows of a table as the replica has them.
pub async fn now(source: &dyn Source, tables: &[Followed]) -> Vec<Vec<Vec<Option<String>>>> {
    let snapshot = source.snapshot().await.unwrap();
    let mut all = Vec::new();
    for followed in tables {
        let mut rows = rows_of(snapshot.as_ref(), &followed.projection).await;
        rows.sort();
        all.push(rows);
    }
    all
}

pub fn rows(replica: &Replica) -> Vec<Vec<Vec<Option<String>>>> {
    let sorted = |rows: &Rows| {
        let mut rows: Vec<_> = rows.values().cloned().collect();
        rows.sort();
        rows
    };
    replica.tables.iter().map(sorted).collect()
}

/// A capture that was just opened, with its tables copied.
pub async fn opened(source: &dyn Source, plan: &str, tables: &[Followed]) -> Replica {
    let snapshot = capture(source).open(&spec(plan, tables), WAIT).await.unwrap();
    let mut replica = Replica::new(tables, snapshot.position());
    for table in 0..tables.len() {
        replica.copy(snapshot.as_ref(), table).await;
    }
    snapshot.close().await.unwrap();
    replica
}

pub async fn stream(
    source: &dyn Source,
    plan: &str,
    replica: &Replica,
    tables: &[Followed],
    start: &Position,
) -> Box<dyn ChangeStream> {
    let starts = vec![start.clone(); tables.len()];
    capture(source).changes(&spec(plan, tables), &replica.position, &starts).await.unwrap()
}

/// Everything that was committed before now is in the replica then.
pub async fn drain(
    source: &dyn Source,
    plan: &str,
    replica: &mut Replica,
    tables: &[Followed],
    start: &Position,
) {
    let head = capture(source).head().await.unwrap();
    let mut stream = stream(source, plan, replica, tables, start).await;
    catch_up(stream.as_mut(), replica, |at| capture(source).reached(at, &head)).await;
}

/// The server's major version.
pub fn version(server: &Server) -> u32 {
    let number: u32 =
        Database::named("postgres", server.port).value("SHOW server_version_num").parse().unwrap();
    number / 10_000
}

/// A database with these statements run, and its end.
pub async fn made(database: &Database, sql: &str) -> Box<dyn Source> {
    outside(|| database.execute(sql));
    source(&database.url()).await.unwrap()
}

/// Opens a capture and copies nothing.
pub async fn open(source: &dyn Source, plan: &str, tables: &[Followed]) -> Position {
    let snapshot = capture(source).open(&spec(plan, tables), WAIT).await.unwrap();
    let position = snapshot.position().clone();
    snapshot.close().await.unwrap();
    position
}

/// What was told in words, how far the stream came, and what ended it.
#[derive(Default)]
pub struct Told {
    pub words: Vec<String>,
    pub at: Position,
    pub error: Option<EngineError>,
}

/// Everything up to the source's head, or to an error.
pub async fn told(source: &dyn Source, plan: &str, from: &Position, tables: &[Followed]) -> Told {
    let head = capture(source).head().await.unwrap();
    let starts = vec![from.clone(); tables.len()];
    let mut told = Told { at: from.clone(), ..Told::default() };
    let mut stream = match capture(source).changes(&spec(plan, tables), from, &starts).await {
        Ok(stream) => stream,
        Err(error) => return Told { error: Some(error), ..told },
    };
    while !capture(source).reached(&told.at, &head) && told.error.is_none() {
        told.more(stream.as_mut()).await;
    }
    told
}

impl Told {
    /// One more run of changes, which must come within a minute.
    pub async fn more(&mut self, stream: &mut dyn ChangeStream) {
        let mut changes = Changes::default();
        let next = tokio::time::timeout(Duration::from_secs(60), stream.next(&mut changes, 1 << 20)).await;
        self.error = next.expect("the stream tells something within a minute").err();
        for record in changes.records() {
            self.words.extend(word(&record));
            match record {
                Record::Commit { position, .. } | Record::Reached { position } => {
                    self.at = Position(position.into());
                }
                _ => {}
            }
        }
    }

    /// The words of whole transactions without their marks.
    pub fn rows(&self) -> Vec<&str> {
        let marks = |word: &&str| !matches!(*word, "begin" | "commit");
        self.words.iter().map(String::as_str).filter(marks).collect()
    }

    #[track_caller]
    pub fn error(&self) -> &EngineError {
        self.error.as_ref().expect("the stream stops")
    }
}

fn word(record: &Record<'_>) -> Option<String> {
    let list = |cells: Cells<'_>| {
        let words: Vec<_> = values(cells).into_iter().map(|value| value.unwrap_or("?".into())).collect();
        words.join(",")
    };
    Some(match record {
        Record::Begin { .. } => "begin".into(),
        Record::Row(row) => {
            let kind = match row.kind {
                RowKind::Insert => "insert",
                RowKind::Update => "update",
                RowKind::Delete => "delete",
            };
            format!("{kind} {} [{}] [{}]", row.table, list(row.old), list(row.new))
        }
        Record::Truncate { tables, restart_identity } => {
            let mut tables: Vec<_> = tables.iter().collect();
            tables.sort();
            format!("truncate {tables:?} {restart_identity}")
        }
        Record::Cascade(cascade) => format!("{cascade:?}"),
        Record::Commit { .. } => "commit".into(),
        Record::Reached { .. } => return None,
    })
}
