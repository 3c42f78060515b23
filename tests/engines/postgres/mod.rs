//! PostgreSQL through the engine's traits: snapshots, copies in every form, marks with their
//! data, the lock and its fence, sequences, sums, and what a user reads when something is wrong.

mod apply;
mod capture;
mod fence;
mod forms;
mod gone;
mod obstacles;
pub mod replica;
mod rows;
mod session;
mod shapes;
mod stream;
mod streamed;
mod trouble;

use std::time::Duration;

use towpath::catalog::{Cast, ColumnMap, Form, Name, Projection, RowBatch, Sequence, Type};
use towpath::checkpoint::{Checkpoint, ChunkMark, Goal, StepMark};
use towpath::engine::{
    self, Batch, BatchStream, Cause, Chunk, EngineError, Limits, Load, Loaded, Lock, Read, SequenceValue,
    Session, Snapshot, Source, Target, Url,
};

use crate::need_server;
use crate::support::postgres::{Database, PASSWORD, Server, other_server};
use crate::support::proxy::{Fault, Proxy, Way};
use crate::support::wait_until;

const PLAN: &str = "plan \"with' odd name";

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

async fn source(text: &str) -> Result<Box<dyn Source>, EngineError> {
    let url = url(text);
    engine::engine(&url).unwrap().source(&url, &Limits::default()).await
}

async fn target(text: &str) -> Result<Box<dyn Target>, EngineError> {
    let url = url(text);
    engine::engine(&url).unwrap().target(&url, &Limits::default(), false).await
}

async fn locked(database: &Database) -> Box<dyn Lock> {
    target(&database.url()).await.unwrap().lock(PLAN, &goal("sha256:goal"), Duration::ZERO).await.unwrap()
}

/// A goal that nobody looks into.
fn goal(digest: &str) -> Goal {
    Goal { digest: digest.into(), ..Goal::default() }
}

/// Runs an async test where blocking calls to the test's own sessions are allowed too.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A call of the support's blocking helpers, inside a test's runtime.
fn outside<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(call).join().unwrap())
}

fn map(name: &str, ty: &Type, native: &str) -> ColumnMap {
    ColumnMap {
        source: name.into(),
        target: name.into(),
        source_type: ty.clone(),
        source_native: native.into(),
        target_type: ty.clone(),
        target_native: native.into(),
        not_null: false,
        zero_date: Default::default(),
        error_value_null: false,
        cast: None,
    }
}

fn table(name: &str, form: Form, columns: Vec<ColumnMap>) -> Projection {
    Projection {
        source: Name::new("public", name),
        target: Name::new("public", name),
        key: if columns.is_empty() { vec![] } else { vec![0] },
        columns,
        filter: None,
        form,
    }
}

fn bigint() -> Type {
    Type::Int { bits: 64 }
}

fn numbers(form: Form) -> Projection {
    table("numbers", form, vec![map("id", &bigint(), "bigint"), map("word", &Type::Text, "text")])
}

const NUMBERS: &str = "CREATE TABLE numbers (id bigint, word text)";
const FILLED: &str = "CREATE TABLE numbers (id bigint PRIMARY KEY, word text); \
    INSERT INTO numbers SELECT i, 'word ' || i FROM generate_series(1, 5000) i; ANALYZE numbers";

fn no_gauge(_: u64, _: u64) {}

async fn whole(snapshot: &dyn Snapshot, projection: &Projection) -> Box<dyn BatchStream> {
    let chunks = snapshot.chunks(projection, u64::MAX).await.unwrap();
    assert_eq!(chunks.len(), 1);
    let read = Read { projection, chunk: &chunks[0], batch_bytes: 1 << 16, paced: false };
    snapshot.read(&read).await.unwrap()
}

async fn load(
    session: &mut dyn Session,
    projection: &Projection,
    stream: &mut dyn BatchStream,
) -> Result<Loaded, EngineError> {
    session.load(&Load { projection, frozen: false, gauge: &no_gauge }, stream).await
}

/// Copies a whole table in a transaction of its own.
async fn copy(from: &Database, to: &Database, projection: &Projection) -> Result<Loaded, EngineError> {
    let snapshot = source(&from.url()).await?.snapshot().await?;
    let lock = locked(to).await;
    let mut session = lock.session().await?;
    session.begin().await?;
    let mut stream = whole(snapshot.as_ref(), projection).await;
    let loaded = load(session.as_mut(), projection, stream.as_mut()).await?;
    session.commit().await?;
    snapshot.close().await?;
    lock.close("done").await?;
    Ok(loaded)
}

fn step(name: &str) -> Checkpoint {
    Checkpoint::Step(StepMark {
        step: name.into(),
        inputs: "sha256:x".into(),
        rows: 3,
        bytes: 4,
        millis: 5,
        at: String::new(),
    })
}

/// A stream made by the test.
struct Script(Vec<Result<Batch, EngineError>>);

#[async_trait::async_trait]
impl BatchStream for Script {
    async fn next(&mut self) -> Result<Batch, EngineError> {
        self.0.remove(0)
    }
}
