//! Sums and lists of row hashes over one end of a table, read here. Each chunk is hashed on a
//! task of its own. Holds no row longer than its batch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt;

use super::canonical::{Canon, RowHash};
use super::copy::AbortOnDrop;
use super::repair::{Picked, Wanted};
use super::verify::Listed;
use crate::catalog::{Cell, Projection, RowBatch};
use crate::change::{Datum, RowKind};
use crate::engine::crash::crash_point;
use crate::engine::{Batch, BatchStream, Cause, Chunk, EngineError, Read, Snapshot, Summary};

/// Bytes of a chunk: verification holds no transaction open, so chunks are for parallel reading.
const CHUNK_BYTES: u64 = 256 << 20;
const BATCH_BYTES: usize = 1 << 18;
/// Chunks of one table read at once at each end.
const CHUNKS: usize = 2;

/// What is gathered from the rows of a chunk.
trait Gather: Send + 'static {
    fn row(&mut self, hash: RowHash, rows: &RowBatch, row: usize);
}

impl Gather for Summary {
    fn row(&mut self, hash: RowHash, _rows: &RowBatch, _row: usize) {
        let bucket = bucket(hash, self.buckets.len() as u32);
        let (rows, sum) = &mut self.buckets[bucket as usize];
        *rows += 1;
        *sum = sum.wrapping_add(hash.row as i128);
    }
}

/// The rows of some buckets.
struct List {
    canon: Arc<Canon>,
    buckets: Arc<HashSet<u32>>,
    of: u32,
    rows: Vec<Listed>,
}

impl Gather for List {
    fn row(&mut self, hash: RowHash, rows: &RowBatch, row: usize) {
        if self.buckets.contains(&bucket(hash, self.of)) {
            let key = self.canon.show_key(rows, row);
            self.rows.push(Listed { id: format!("{:032x}", hash.key), hash: hash.row as i128, key });
        }
    }
}

/// The rows of some keys, as changes of a table.
struct Pick {
    wanted: Wanted,
    key: Arc<Vec<usize>>,
    table: usize,
    bytes_max: usize,
    picked: Picked,
}

impl Gather for Pick {
    fn row(&mut self, hash: RowHash, rows: &RowBatch, row: usize) {
        let Some(&kind) = self.wanted.get(&hash.key).filter(|_| !self.picked.full) else { return };
        self.picked.full = self.picked.bytes() > self.bytes_max;
        let cells = rows.row(row);
        let changes = self.picked.of(kind);
        let (old, new) = if kind == RowKind::Delete { (cells.len(), 0) } else { (0, cells.len()) };
        changes.begin_row(self.table, kind, old, new);
        for (at, cell) in cells.iter().enumerate() {
            // A row that goes is told by its key.
            let told = kind != RowKind::Delete || self.key.contains(&at);
            changes.push(if told { datum(rows, *cell) } else { Datum::Absent });
        }
        changes.end_row();
    }
}

fn datum(rows: &RowBatch, cell: Cell) -> Datum<'_> {
    match cell {
        Cell::Null => Datum::Null,
        Cell::Bool(value) => Datum::Bool(value),
        Cell::Int(value) => Datum::Int(value),
        Cell::UInt(value) => Datum::UInt(value),
        Cell::Float(value) => Datum::Float(value),
        Cell::Text { .. } => Datum::Text(rows.data(cell)),
        Cell::Bytes { .. } => Datum::Bytes(rows.data(cell)),
    }
}

fn bucket(hash: RowHash, of: u32) -> u32 {
    (hash.key % u128::from(of)) as u32
}

/// Adds the hashes of all rows up by bucket. Sums wrap: they add up the same in any order, and
/// equal pairs do not cancel.
pub(super) async fn summarize(
    snapshot: &dyn Snapshot,
    projection: &Projection,
    canon: &Canon,
    buckets: u32,
) -> Result<Summary, EngineError> {
    let empty = || Summary { buckets: vec![(0, 0); buckets as usize] };
    let parts = gather(snapshot, projection, canon, empty).await?;
    let mut whole = empty();
    for part in parts {
        for (sum, (rows, hashes)) in whole.buckets.iter_mut().zip(part.buckets) {
            sum.0 += rows;
            sum.1 = sum.1.wrapping_add(hashes);
        }
    }
    Ok(whole)
}

/// Lists the rows of these buckets.
pub(super) async fn list(
    snapshot: &dyn Snapshot,
    projection: &Projection,
    canon: &Canon,
    buckets: &[u32],
    of: u32,
) -> Result<Vec<Listed>, EngineError> {
    let wanted: Arc<HashSet<u32>> = Arc::new(buckets.iter().copied().collect());
    let canon_shared = Arc::new(canon.clone());
    let empty = || List { canon: canon_shared.clone(), buckets: wanted.clone(), of, rows: Vec::new() };
    let parts = gather(snapshot, projection, canon, empty).await?;
    Ok(parts.into_iter().flat_map(|part| part.rows).collect())
}

/// Reads the rows whose keys are wanted, as changes of table number `table`, each reader about
/// `bytes_max` at most.
pub(super) async fn pick(
    snapshot: &dyn Snapshot,
    projection: &Projection,
    canon: &Canon,
    wanted: &HashMap<u128, RowKind>,
    table: usize,
    bytes_max: usize,
) -> Result<Vec<Picked>, EngineError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let (wanted, key) = (Arc::new(wanted.clone()), Arc::new(projection.key.clone()));
    let empty =
        || Pick { wanted: wanted.clone(), key: key.clone(), table, bytes_max, picked: Picked::default() };
    let parts = gather(snapshot, projection, canon, empty).await?;
    Ok(parts.into_iter().map(|part| part.picked).collect())
}

async fn gather<G: Gather>(
    snapshot: &dyn Snapshot,
    projection: &Projection,
    canon: &Canon,
    empty: impl Fn() -> G + Sync,
) -> Result<Vec<G>, EngineError> {
    let chunks = snapshot.chunks(projection, CHUNK_BYTES).await?;
    let canon = Arc::new(canon.clone());
    let reading =
        chunks.iter().map(|chunk| gather_chunk(snapshot, projection, chunk, canon.clone(), empty()));
    let parts: Vec<Result<G, EngineError>> =
        futures_util::stream::iter(reading).buffer_unordered(CHUNKS).collect().await;
    parts.into_iter().collect()
}

async fn gather_chunk<G: Gather>(
    snapshot: &dyn Snapshot,
    projection: &Projection,
    chunk: &Chunk,
    canon: Arc<Canon>,
    gathered: G,
) -> Result<G, EngineError> {
    let read = Read { projection, chunk, batch_bytes: BATCH_BYTES, paced: false };
    let stream = snapshot.read(&read).await?;
    crash_point("verify::chunk");
    let table = projection.source.to_string();
    AbortOnDrop::spawn(gather_stream(stream, table, canon, gathered)).join().await
}

async fn gather_stream<G: Gather>(
    mut stream: Box<dyn BatchStream>,
    table: String,
    canon: Arc<Canon>,
    mut gathered: G,
) -> Result<G, EngineError> {
    let mut scratch = Vec::new();
    let mut seen = 0u64;
    let broken = |why: String| EngineError::new(Cause::Other, "read the rows of", why).on(&table);
    loop {
        match stream.next().await? {
            Batch::Rows(rows) => {
                for row in 0..rows.rows() {
                    gathered.row(canon.hash(&rows, row, &mut scratch), &rows, row);
                }
                seen += rows.rows() as u64;
                stream.recycle(rows);
            }
            Batch::Native { .. } => return Err(broken("they came in a form that cannot be compared".into())),
            Batch::End { rows } if rows == seen => return Ok(gathered),
            Batch::End { rows } => return Err(broken(format!("{seen} of {rows} rows arrived"))),
        }
    }
}
