//! A fresh database of each engine, as the traits see it and as a plain SQL session sees it.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use towpath::catalog::{ColumnMap, Form, Name, Projection};
use towpath::checkpoint::Goal;
use towpath::engine::{
    BatchStream, Engine, EngineError, Limits, Load, Loaded, Lock, Read, Session, Source, Target, Url, engine,
};

use crate::support::postgres::{Database, server};
use crate::support::sqlite::{self, File};
use crate::support::{mariadb, mysql};

/// The plan's name in all contract tests.
pub const PLAN: &str = "contract";

/// One database.
#[derive(Clone)]
pub struct End {
    pub engine: &'static dyn Engine,
    pub url: Url,
    pub sql: Sql,
}

/// A plain session's view.
#[derive(Clone)]
pub enum Sql {
    Postgres(Database),
    Maria(mariadb::Database),
    /// With the directory that goes when nobody needs it any more.
    Sqlite(File, #[expect(dead_code, reason = "only kept")] Arc<TempDir>),
}

impl Sql {
    pub fn execute(&self, sql: &str) {
        match self {
            Self::Postgres(database) => aside(|| database.execute(sql)),
            Self::Maria(database) => aside(|| database.execute(sql)),
            Self::Sqlite(file, _) => file.execute(sql),
        }
    }

    /// The rows as text, in their order; null and text stay apart.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let line = |cells: Vec<String>| cells.join(" | ");
        match self {
            Self::Postgres(database) => texts(aside(|| database.rows(sql))).into_iter().map(line).collect(),
            Self::Maria(database) => texts(aside(|| database.rows(sql))).into_iter().map(line).collect(),
            Self::Sqlite(file, _) => file.rows(sql).into_iter().map(line).collect(),
        }
    }

    /// The only number of the only row.
    pub fn count(&self, from: &str) -> usize {
        let rows = self.rows(&format!("SELECT count(*) FROM {from}"));
        rows[0].trim_matches('\'').parse().unwrap()
    }
}

fn texts(rows: Vec<Vec<Option<String>>>) -> Vec<Vec<String>> {
    let cell = |cell: Option<String>| cell.map_or("NULL".into(), |cell| format!("'{cell}'"));
    rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect()
}

fn end(text: &str, sql: Sql) -> End {
    let url = Url::parse(text).unwrap();
    End { engine: engine(&url).unwrap(), url, sql }
}

/// An empty PostgreSQL database; none where tests run without servers.
pub fn postgres(name: &str) -> Option<End> {
    let database = server()?.database(name);
    Some(end(&database.url(), Sql::Postgres(database)))
}

/// An empty MariaDB database; none where tests run without servers.
pub fn maria(name: &str) -> Option<End> {
    let database = mariadb::server()?.database(name);
    Some(end(&database.url(), Sql::Maria(database)))
}

/// An empty MySQL database; none where there is no such server.
pub fn mysql(name: &str) -> Option<End> {
    let database = mysql::server()?.database(name);
    Some(end(&database.url(), Sql::Maria(database)))
}

pub fn maria_fixture(fixture: &'static str) -> Option<End> {
    let database = mariadb::server()?.fixture(fixture);
    Some(end(&database.url(), Sql::Maria(database)))
}

pub fn postgres_fixture(fixture: &'static str) -> Option<End> {
    let database = server()?.fixture(fixture);
    Some(end(&database.url(), Sql::Postgres(database)))
}

/// An empty SQLite file, which does not exist before somebody writes.
pub fn sqlite(name: &str) -> End {
    let directory = Arc::new(TempDir::new().unwrap());
    let file = File::new(directory.path(), &format!("{name}.db"));
    end(&file.url(), Sql::Sqlite(file, directory))
}

pub fn sqlite_fixture(fixture: &'static str) -> End {
    let directory = Arc::new(TempDir::new().unwrap());
    let file = sqlite::fixture(fixture, directory.path());
    end(&file.url(), Sql::Sqlite(file, directory))
}

/// Runs on a thread of its own: a plain session has a runtime of its own, which none may be inside.
fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs a promise for each engine, on a pair of its databases.
pub fn each_engine<T: Future<Output = ()>>(promise: impl Fn(End, End) -> T) {
    let pairs = [postgres("source").zip(postgres("target")), Some((sqlite("source"), sqlite("target")))];
    for (source, target) in pairs.into_iter().flatten() {
        block_on(promise(source, target));
    }
}

/// As [`each_engine`], with MariaDB and MySQL, whose snapshots have tests of their own.
pub fn each_target<T: Future<Output = ()>>(promise: impl Fn(End, End) -> T) {
    each_engine(&promise);
    let pairs = [maria("source").zip(maria("target")), mysql("source").zip(mysql("target"))];
    for (source, target) in pairs.into_iter().flatten() {
        block_on(promise(source, target));
    }
}

/// A goal that nobody looks into.
pub fn goal(digest: &str) -> Goal {
    Goal { digest: digest.into(), ..Goal::default() }
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

impl End {
    pub async fn source(&self) -> Box<dyn Source> {
        self.engine.source(&self.url, &Limits::default()).await.unwrap()
    }

    pub async fn target(&self) -> Box<dyn Target> {
        self.engine.target(&self.url, &Limits::default(), false).await.unwrap()
    }

    pub async fn lock(&self) -> Box<dyn Lock> {
        self.target().await.lock(PLAN, &goal("sha256:00"), Duration::ZERO).await.unwrap()
    }

    pub fn table(&self, name: &str) -> Name {
        let schema = match &self.sql {
            Sql::Postgres(_) => "public",
            Sql::Maria(database) => &database.name,
            Sql::Sqlite(..) => "main",
        };
        Name::new(schema, name)
    }

    /// As [`Self::projection`], to a table of that name at another end.
    pub fn projection_to(&self, target: &Self, table: &str, columns: &[(&str, &str)]) -> Projection {
        Projection { target: target.table(table), ..self.projection(table, columns) }
    }

    /// All columns of a table to a table of that name and type, in the neutral form. `columns`
    /// are names and native types; the first is the key.
    pub fn projection(&self, table: &str, columns: &[(&str, &str)]) -> Projection {
        let map = |(name, native): &(&str, &str)| {
            let ty = self.engine.dialect().parse_type(native);
            ColumnMap {
                source: (*name).into(),
                target: (*name).into(),
                source_type: ty.clone(),
                source_native: (*native).into(),
                target_type: ty,
                target_native: (*native).into(),
                not_null: false,
                zero_date: Default::default(),
                error_value_null: false,
                cast: None,
            }
        };
        Projection {
            source: self.table(table),
            target: self.table(table),
            columns: columns.iter().map(map).collect(),
            filter: None,
            key: vec![0],
            form: Form::Rows,
        }
    }
}

/// Reads the whole table from the source into an open transaction of the session.
pub async fn load_all(
    source: &End,
    session: &mut dyn Session,
    projection: &Projection,
) -> Result<Loaded, EngineError> {
    let source = source.source().await;
    let snapshot = source.snapshot().await?;
    let mut loaded = Loaded::default();
    for chunk in snapshot.chunks(projection, 1 << 30).await? {
        let read = Read { projection, chunk: &chunk, batch_bytes: 1 << 16, paced: false };
        let mut stream: Box<dyn BatchStream> = snapshot.read(&read).await?;
        let load = Load { projection, frozen: false, gauge: &|_, _| {} };
        let more = session.load(&load, stream.as_mut()).await?;
        loaded.rows += more.rows;
        loaded.bytes += more.bytes;
    }
    snapshot.close().await?;
    Ok(loaded)
}
