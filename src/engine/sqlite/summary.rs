//! Summaries for verification between two SQLite files: one scan, each row hashed with its values'
//! classes and lengths, so that `NULL`, `''` and `0` differ and cells cannot run together. Sums
//! wrap and never cancel in pairs. Reads only.

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::error::classify;
use super::read::{Range, select};
use crate::catalog::Projection;
use crate::engine::{EngineError, Summary};

const DOING: &str = "sum up";

/// Longest part of a key's text that is listed, in characters.
const SHOWN_MAX: usize = 200;

/// Sums over all rows of a projection.
pub(super) fn summary(
    conn: &Connection,
    projection: &Projection,
    buckets: u32,
) -> Result<Summary, EngineError> {
    let mut sums = vec![(0u64, 0i128); buckets.max(1) as usize];
    scan(conn, projection, buckets, |bucket, hash, _| {
        let (rows, sum) = &mut sums[bucket as usize];
        *rows += 1;
        *sum = sum.wrapping_add(hash);
        true
    })?;
    Ok(Summary { buckets: sums })
}

/// Key text and hash of each row in the buckets asked for.
pub(super) fn bucket_rows(
    conn: &Connection,
    projection: &Projection,
    buckets: &[u32],
    of: u32,
    limit: usize,
) -> Result<Vec<(String, i128)>, EngineError> {
    let mut found = Vec::new();
    scan(conn, projection, of, |bucket, hash, row| {
        if buckets.contains(&bucket) && found.len() < limit {
            found.push((key_text(projection, hash, row), hash));
        }
        found.len() < limit
    })?;
    Ok(found)
}

/// Gives bucket, hash and row to `each` until it returns false.
fn scan(
    conn: &Connection,
    projection: &Projection,
    buckets: u32,
    mut each: impl FnMut(u32, i128, &rusqlite::Row<'_>) -> bool,
) -> Result<(), EngineError> {
    let fail = |error| classify(DOING, error).on(&projection.source);
    let sql = select("main", projection, None, Range::default());
    let mut statement = conn.prepare(&sql).map_err(fail)?;
    let mut rows = statement.query([]).map_err(fail)?;
    let (mut cells, mut key) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next().map_err(fail)? {
        cells.clear();
        key.clear();
        for index in 0..projection.columns.len() {
            let start = cells.len();
            encode(row.get_ref(index).map_err(fail)?, &mut cells);
            if projection.key.contains(&index) {
                key.extend_from_slice(&cells[start..]);
            }
        }
        let place = xxh3_64(if projection.key.is_empty() { &cells } else { &key });
        let bucket = (place % u64::from(buckets.max(1))) as u32;
        if !each(bucket, xxh3_128(&cells) as i128, row) {
            return Ok(());
        }
    }
    Ok(())
}

/// Class, length, bytes.
fn encode(value: ValueRef<'_>, out: &mut Vec<u8>) {
    let mut sized = |class: u8, bytes: &[u8]| {
        out.push(class);
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    match value {
        ValueRef::Null => out.push(0),
        ValueRef::Integer(integer) => {
            out.push(1);
            out.extend_from_slice(&integer.to_le_bytes());
        }
        ValueRef::Real(real) => {
            out.push(2);
            out.extend_from_slice(&real.to_bits().to_le_bytes());
        }
        ValueRef::Text(text) => sized(3, text),
        ValueRef::Blob(bytes) => sized(4, bytes),
    }
}

fn key_text(projection: &Projection, hash: i128, row: &rusqlite::Row<'_>) -> String {
    if projection.key.is_empty() {
        return format!("row without key {:032x}", hash as u128);
    }
    let part = |&index: &usize| match row.get_ref(index) {
        Ok(ValueRef::Null) | Err(_) => "null".to_string(),
        Ok(ValueRef::Integer(integer)) => integer.to_string(),
        Ok(ValueRef::Real(real)) => real.to_string(),
        Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).chars().take(SHOWN_MAX).collect(),
        Ok(ValueRef::Blob(bytes)) => {
            let hex = bytes.iter().take(SHOWN_MAX / 2).map(|byte| format!("{byte:02x}"));
            format!("x'{}'", hex.collect::<String>())
        }
    };
    projection.key.iter().map(part).collect::<Vec<_>>().join(", ")
}
