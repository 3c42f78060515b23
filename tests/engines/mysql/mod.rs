//! MySQL and MariaDB at both ends, through the engine's traits, on a real server: every type's
//! values, one moment for all readers, and what happens when a stream is cut.

mod apply;
mod capture;
mod door;
mod equal;
mod log;
mod moments;
mod mysql_log;
mod target;
mod values;

use towpath::catalog::{Cell, ColumnMap, Form, Name, Projection, RowBatch};
use towpath::engine::{self, Batch, Chunk, EngineError, Limits, Read, Snapshot, Source, Url};

use crate::support::mariadb::Database;

async fn source_with(text: &str, readers: usize) -> Result<Box<dyn Source>, EngineError> {
    let url = Url::parse(text).unwrap();
    let limits = Limits { readers, ..Limits::default() };
    engine::engine(&url).unwrap().source(&url, &limits).await
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

/// Columns by name and native type, the first being the key.
fn projection(database: &Database, table: &str, columns: &[(&str, &str)]) -> Projection {
    let dialect = engine::engine_named("mysql").unwrap().dialect();
    let map = |(name, native): &(&str, &str)| ColumnMap {
        source: (*name).into(),
        target: (*name).into(),
        source_type: dialect.parse_type(native),
        source_native: (*native).into(),
        target_type: dialect.parse_type(native),
        target_native: (*native).into(),
        not_null: false,
        zero_date: Default::default(),
        error_value_null: false,
        cast: None,
    };
    Projection {
        source: Name::new(&database.name, table),
        target: Name::new("public", table),
        columns: columns.iter().map(map).collect(),
        filter: None,
        key: vec![0],
        form: Form::Rows,
    }
}

/// All rows of a chunk, and the number in its end mark.
async fn read(
    snapshot: &dyn Snapshot,
    projection: &Projection,
    chunk: &Chunk,
) -> Result<(Vec<Vec<String>>, u64), EngineError> {
    let read = Read { projection, chunk, batch_bytes: 1 << 14, paced: false };
    let mut stream = snapshot.read(&read).await?;
    let mut rows = Vec::new();
    loop {
        match stream.next().await? {
            Batch::Rows(batch) => {
                rows.extend((0..batch.rows()).map(|row| shown(&batch, row)));
                stream.recycle(batch);
            }
            Batch::End { rows: told } => return Ok((rows, told)),
            Batch::Native { .. } => panic!("no native bytes were asked for"),
        }
    }
}

async fn read_all(snapshot: &dyn Snapshot, projection: &Projection) -> Result<Vec<Vec<String>>, EngineError> {
    let chunks = snapshot.chunks(projection, 1 << 40).await?;
    assert_eq!(chunks.len(), 1);
    let (rows, told) = read(snapshot, projection, &chunks[0]).await?;
    assert_eq!(rows.len() as u64, told);
    Ok(rows)
}

/// A row as text: what the cell is, too.
fn shown(batch: &RowBatch, row: usize) -> Vec<String> {
    let cell = |cell: &Cell| match *cell {
        Cell::Null => "null".to_string(),
        Cell::Bool(value) => format!("bool {value}"),
        Cell::Int(value) => format!("int {value}"),
        Cell::UInt(value) => format!("uint {value}"),
        Cell::Float(value) => format!("float {value:?}"),
        Cell::Text { .. } => format!("text {}", String::from_utf8(batch.data(*cell).to_vec()).unwrap()),
        Cell::Bytes { .. } => {
            let hex: String = batch.data(*cell).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("bytes {hex}")
        }
    };
    batch.row(row).iter().map(cell).collect()
}
