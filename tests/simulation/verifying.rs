//! Verification over tables in memory: what it must find, and what it must not take for a
//! difference.

use std::time::Duration;

use async_trait::async_trait;
use towpath::catalog::{Answer, Catalog, Cell, Name, Place, Probe, Projection, RowBatch};
use towpath::change::Position;
use towpath::checkpoint::{Goal, Progress};
use towpath::engine::{
    Batch, BatchStream, Cause, Chunk, EngineError, Fence, Lock, LockHolder, Read, SequenceValue, Snapshot,
    Source, Summary, Target,
};
use towpath::runtime::{TableVerdict, VerifyLevel, verify};

use super::executing::Told;
use super::shapes::projection;
use super::world::broken;

type Rows = Vec<(i64, Option<&'static str>)>;

/// One end: a table, and how it lies about it.
#[derive(Clone)]
struct End {
    rows: Rows,
    /// Rows that its count does not see.
    uncounted: u64,
}

impl End {
    fn hash(row: &(i64, Option<&str>)) -> i128 {
        xxhash_rust::xxh3::xxh3_128(format!("{row:?}").as_bytes()) as i128
    }

    fn bucket(row: &(i64, Option<&str>), of: u32) -> u32 {
        row.0.rem_euclid(i64::from(of)) as u32
    }
}

struct Stream(std::vec::IntoIter<(i64, Option<&'static str>)>, u64);

#[async_trait]
impl BatchStream for Stream {
    async fn next(&mut self) -> Result<Batch, EngineError> {
        let Some((key, value)) = self.0.next() else { return Ok(Batch::End { rows: self.1 }) };
        let mut batch = RowBatch::new(2);
        batch.push(Cell::Int(key));
        match value {
            Some(value) => batch.push_text(value.as_bytes()),
            None => batch.push(Cell::Null),
        }
        batch.end_row();
        self.1 += 1;
        Ok(Batch::Rows(batch))
    }
}

#[async_trait]
impl Snapshot for End {
    fn position(&self) -> &Position {
        const { &Position(String::new()) }
    }

    /// Even and odd rows, so that chunks do not follow keys.
    async fn chunks(&self, _: &Projection, _: u64) -> Result<Vec<Chunk>, EngineError> {
        let chunk = |number| Chunk { number, of: 2, bounds: number.to_string(), rows: 0, bytes: 0 };
        Ok(vec![chunk(0), chunk(1)])
    }

    async fn read(&self, read: &Read<'_>) -> Result<Box<dyn BatchStream>, EngineError> {
        let rows = self.rows.iter().enumerate().filter(|(at, _)| at % 2 == read.chunk.number as usize);
        Ok(Box::new(Stream(rows.map(|(_, row)| *row).collect::<Vec<_>>().into_iter(), 0)))
    }

    async fn unchanged(&self, _: &Projection, _: &Position, _: &[(Chunk, u64)]) -> Result<bool, EngineError> {
        Ok(false)
    }

    async fn summary(&self, _: &Projection, buckets: u32) -> Result<Summary, EngineError> {
        let mut summary = Summary { buckets: vec![(0, 0); buckets as usize] };
        for row in &self.rows {
            let sum = &mut summary.buckets[Self::bucket(row, buckets) as usize];
            *sum = (sum.0 + 1, sum.1.wrapping_add(Self::hash(row)));
        }
        Ok(summary)
    }

    async fn bucket_rows(
        &self,
        _: &Projection,
        buckets: &[u32],
        of: u32,
        limit: usize,
    ) -> Result<Vec<(String, i128)>, EngineError> {
        let rows = self.rows.iter().filter(|row| buckets.contains(&Self::bucket(row, of)));
        Ok(rows.map(|row| (row.0.to_string(), Self::hash(row))).take(limit).collect())
    }

    async fn count(&self, _: &Projection) -> Result<u64, EngineError> {
        Ok(self.rows.len() as u64 - self.uncounted)
    }

    async fn close(self: Box<Self>) -> Result<(), EngineError> {
        Ok(())
    }
}

#[async_trait]
impl Source for End {
    async fn inspect(&self) -> Result<Catalog, EngineError> {
        Ok(Catalog::default())
    }

    async fn place(&self) -> Result<Place, EngineError> {
        Ok(Place::default())
    }

    async fn probe(&self, _: &[Probe], _: Option<Duration>) -> Result<Vec<Answer>, EngineError> {
        Ok(Vec::new())
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        Ok(Box::new(self.clone()))
    }

    async fn sequence_values(&self, _: &[Name]) -> Result<Vec<SequenceValue>, EngineError> {
        Ok(Vec::new())
    }

    async fn violations(&self, _: &str) -> Result<u64, EngineError> {
        Ok(0)
    }

    async fn fence(&self, _: &str, _: &[Name]) -> Result<Box<dyn Fence>, EngineError> {
        Err(EngineError::new(Cause::Other, "fence", "this model has no writers of its own"))
    }

    async fn fenced(&self, _: &str) -> Result<Vec<Name>, EngineError> {
        Ok(Vec::new())
    }

    async fn unfence(&self, _: &str) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Target for End {
    async fn inspect(&self) -> Result<Catalog, EngineError> {
        Ok(Catalog::default())
    }

    async fn place(&self) -> Result<Place, EngineError> {
        Ok(Place::default())
    }

    async fn probe(&self, _: &[Probe], _: Option<Duration>) -> Result<Vec<Answer>, EngineError> {
        Ok(Vec::new())
    }

    async fn progress(&self, _: &str) -> Result<Progress, EngineError> {
        Ok(Progress::default())
    }

    async fn plans(&self) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }

    async fn lock(&self, _: &str, _: &Goal, _: Duration) -> Result<Box<dyn Lock>, EngineError> {
        Err(broken("verification takes no lock"))
    }

    async fn holder(&self, _: &str) -> Result<Option<LockHolder>, EngineError> {
        Ok(None)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        Ok(Box::new(self.clone()))
    }
}

/// The three roads: sums of the servers, and cells read from alike and from unlike engines.
const ROADS: [(bool, VerifyLevel); 3] =
    [(true, VerifyLevel::Checksum), (true, VerifyLevel::Rows), (false, VerifyLevel::Checksum)];

fn compare(
    source: &End,
    target: &End,
    road: (bool, VerifyLevel),
    key: &[usize],
) -> Result<TableVerdict, EngineError> {
    let projections = [Projection { key: key.to_vec(), ..projection(&Name::new("main", "t")) }];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let told = Told::default();
    let work = verify(&projections, source, target, road.0, road.1, 10, &told);
    runtime.block_on(work).map(|mut verdicts| verdicts.remove(0))
}

fn end(rows: &[(i64, Option<&'static str>)]) -> End {
    End { rows: rows.to_vec(), uncounted: 0 }
}

fn rows() -> Rows {
    (0..40).map(|key| (key, Some(["a", "b", "c"][key as usize % 3]))).collect()
}

/// The findings, one per line, as every road must have them.
fn findings(change: impl Fn(&mut Rows), key: &[usize]) -> Vec<String> {
    let mut changed = rows();
    change(&mut changed);
    let mut seen: Vec<Vec<String>> = Vec::new();
    for road in ROADS {
        let verdict = compare(&end(&rows()), &end(&changed), road, key).unwrap();
        assert!(!verdict.equal, "{road:?}");
        assert_eq!(verdict.more, 0, "{road:?}");
        seen.push(verdict.findings.iter().map(|finding| format!("{finding:?}")).collect());
    }
    assert_eq!(seen[1], seen[2]);
    if !key.is_empty() {
        assert_eq!(seen[0], seen[1]);
    }
    seen.remove(1)
}

#[test]
fn c_10_equal_tables_are_equal_in_any_order_and_chunking() {
    let mut turned = rows();
    turned.reverse();
    turned.rotate_left(7);
    for road in ROADS {
        let verdict = compare(&end(&rows()), &end(&turned), road, &[0]).unwrap();
        assert!(verdict.equal && verdict.findings.is_empty(), "{road:?} {verdict:?}");
        assert_eq!((verdict.source_rows, verdict.target_rows), (40, 40));
    }
}

#[test]
fn c_10_every_planted_difference_is_found() {
    let key = &[0][..];
    assert_eq!(findings(|rows| rows[5].1 = Some("cc"), key), [r#"Differs { key: "5" }"#]);
    assert_eq!(findings(|rows| rows.retain(|row| row.0 != 5), key), [r#"OnlySource { key: "5" }"#]);
    assert_eq!(findings(|rows| rows.push((77, Some("a"))), key), [r#"OnlyTarget { key: "77" }"#]);
    let swapped = findings(|rows| (rows[3].1, rows[4].1) = (rows[4].1, rows[3].1), key);
    assert_eq!(swapped, [r#"Differs { key: "3" }"#, r#"Differs { key: "4" }"#]);
    let replaced = findings(|rows| rows[5].0 = 78, key);
    assert_eq!(replaced, [r#"OnlySource { key: "5" }"#, r#"OnlyTarget { key: "78" }"#]);
}

#[test]
fn c_10_null_is_not_the_empty_text() {
    for road in ROADS {
        let (null, empty) = (end(&[(1, None)]), end(&[(1, Some(""))]));
        assert!(!compare(&null, &empty, road, &[0]).unwrap().equal, "{road:?}");
        assert!(compare(&null, &null, road, &[0]).unwrap().equal, "{road:?}");
    }
}

#[test]
fn p_08_duplicates_are_counted_where_there_is_no_key() {
    let (twice_a, twice_b) =
        ([(1, Some("a")), (1, Some("a")), (1, Some("b"))], [(1, Some("a")), (1, Some("b")), (1, Some("b"))]);
    for road in ROADS {
        let verdict = compare(&end(&twice_a), &end(&twice_b), road, &[]).unwrap();
        assert!(!verdict.equal && !verdict.findings.is_empty(), "{road:?} {verdict:?}");
        assert!(compare(&end(&twice_b), &end(&twice_b), road, &[]).unwrap().equal);
        // Sums that cancel in pairs would be zero at both ends, within chunks and across them.
        let (a, b) = (end(&[(1, Some("a")); 4]), end(&[(1, Some("b")); 4]));
        assert!(!compare(&a, &b, road, &[0]).unwrap().equal, "{road:?}");
    }
}

#[test]
fn p_10_rows_compared_must_be_rows_counted() {
    let lying = End { rows: rows(), uncounted: 1 };
    for road in ROADS {
        assert!(compare(&lying, &lying, road, &[0]).is_err(), "{road:?}");
    }
    let (more, less) = (end(&rows()), End { rows: rows(), uncounted: 2 });
    let verdict = compare(&more, &less, (true, VerifyLevel::Count), &[0]).unwrap();
    assert!(!verdict.equal);
    assert_eq!((verdict.source_rows, verdict.target_rows), (40, 38));
}

#[test]
fn differences_beyond_the_limit_are_counted() {
    let none = end(&[]);
    let verdict = compare(&end(&rows()), &none, (true, VerifyLevel::Rows), &[0]).unwrap();
    assert_eq!((verdict.findings.len(), verdict.more), (10, 30));
}
