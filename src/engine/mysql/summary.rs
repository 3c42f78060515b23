//! Sums for verification between two servers of this family: each computes them by itself in one
//! pass, and only sums come over the wire. Values take part in forms that all its versions print
//! alike; long ones by their own hash. With another engine at the other end rows are read and
//! compared here instead, by the runtime.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::error::from_driver;
use super::facts::{Column, Facts};
use super::quote::identifier;
use super::select::from_where;
use crate::catalog::Projection;
use crate::engine::{Cause, EngineError, Summary};

const DOING: &str = "sum up";

/// Added for a row that the server could not hash: no sum of hashes comes near it, and none that
/// holds it fits where sums are read into.
const NO_HASH: &str = "10000000000000000000000000000000000000000";

/// Sums over all rows of a projection.
pub(super) async fn summary(
    conn: &mut Conn,
    projection: &Projection,
    facts: &Facts,
    buckets: u32,
) -> Result<Summary, EngineError> {
    let rows: Vec<(Option<u64>, u64, Option<String>)> =
        conn.query(query(projection, facts, buckets)?).await.map_err(|error| fail(projection, error))?;
    let mut summary = Summary { buckets: vec![(0, 0); buckets.max(1) as usize] };
    for (bucket, rows, sum) in rows {
        let slot = bucket.and_then(|bucket| summary.buckets.get_mut(usize::try_from(bucket).ok()?));
        let sum = sum.and_then(|sum| sum.parse().ok());
        *slot.ok_or_else(|| odd(projection))? = (rows, sum.ok_or_else(|| odd(projection))?);
    }
    Ok(summary)
}

/// Key text and hash of each row in the buckets asked for.
pub(super) async fn bucket_rows(
    conn: &mut Conn,
    projection: &Projection,
    facts: &Facts,
    (buckets, of): (&[u32], u32),
    limit: usize,
) -> Result<Vec<(String, i128)>, EngineError> {
    let sql = rows_query(projection, facts, (buckets, of), limit)?;
    let rows: Vec<(Option<String>, Option<u64>)> =
        conn.query(sql).await.map_err(|error| fail(projection, error))?;
    let pair =
        |(key, hash): (Option<String>, Option<u64>)| Some((key.unwrap_or_default(), i128::from(hash?)));
    rows.into_iter().map(|row| pair(row).ok_or_else(|| odd(projection))).collect()
}

fn fail(projection: &Projection, error: mysql_async::Error) -> EngineError {
    from_driver(DOING, error).on(&projection.source)
}

fn odd(projection: &Projection) -> EngineError {
    EngineError::new(Cause::Other, DOING, "the server could not hash every row")
        .on(&projection.source)
        .hint("compare this table with --level rows")
}

fn query(projection: &Projection, facts: &Facts, buckets: u32) -> Result<String, EngineError> {
    let Hashes { bucket, row, .. } = hashes(projection, facts, buckets)?;
    let rows = from_where(projection, facts, None);
    Ok(format!(
        "SELECT {bucket} AS b, COUNT(*), CAST(SUM(IFNULL({row}, {NO_HASH})) AS CHAR) {rows} GROUP BY b"
    ))
}

fn rows_query(
    projection: &Projection,
    facts: &Facts,
    (buckets, of): (&[u32], u32),
    limit: usize,
) -> Result<String, EngineError> {
    let Hashes { bucket, row, key } = hashes(projection, facts, of)?;
    let list: Vec<String> = buckets.iter().map(u32::to_string).collect();
    let list = if list.is_empty() { "NULL".to_string() } else { list.join(", ") };
    let rows = from_where(projection, facts, None);
    let place = if projection.filter.is_some() { "AND" } else { "WHERE" };
    Ok(format!("SELECT {key}, {row} {rows} {place} {bucket} IN ({list}) LIMIT {limit}"))
}

struct Hashes {
    bucket: String,
    row: String,
    /// The key for a human.
    key: String,
}

fn hashes(projection: &Projection, facts: &Facts, buckets: u32) -> Result<Hashes, EngineError> {
    let gone = |name: &str| {
        let why = format!("it has no column {} any more", crate::catalog::name::show(name));
        EngineError::new(Cause::Stale, DOING, why).on(&projection.source)
    };
    let columns: Vec<&Column> = projection
        .columns
        .iter()
        .map(|map| facts.column(&map.source).ok_or_else(|| gone(&map.source)))
        .collect::<Result<_, _>>()?;
    let parts = |which: &[usize]| -> String {
        let parts: Vec<String> = which.iter().map(|&at| part(columns[at])).collect();
        format!("CONCAT_WS(',', '', {})", parts.join(", "))
    };
    let all: Vec<usize> = (0..columns.len()).collect();
    let keyed = if projection.key.is_empty() { &all } else { &projection.key };
    let shown: Vec<String> = keyed.iter().map(|&at| shown(columns[at])).collect();
    // Another part of the digest than the row's, or the buckets of a table without key would hold
    // rows of like hashes.
    let bucket =
        format!("CAST(CONV(RIGHT(SHA2({}, 256), 8), 16, 10) AS UNSIGNED) % {}", parts(keyed), buckets.max(1));
    Ok(Hashes {
        bucket: format!("({bucket})"),
        row: format!("CAST(CONV(LEFT(SHA2({}, 256), 16), 16, 10) AS UNSIGNED)", parts(&all)),
        key: match projection.key.is_empty() {
            true => format!("CONCAT('row without key ', SHA2({}, 256))", parts(&all)),
            false => format!("CONCAT_WS(', ', {})", shown.join(", ")),
        },
    })
}

/// What a column adds to the text of a row: no comma in it, and null is like no value.
fn part(column: &Column) -> String {
    let quoted = identifier(&column.name);
    let text = match (column.data_type.as_str(), &column.charset) {
        (_, Some(_)) | ("json", None) => format!("SHA2(CONVERT({quoted} USING utf8mb4), 256)"),
        ("float" | "double", _) => format!("{quoted} + 0e0"),
        ("tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year", _)
        | ("date" | "time" | "datetime" | "timestamp", _) => quoted,
        ("uuid" | "inet4" | "inet6", _) => format!("CAST({quoted} AS CHAR)"),
        _ => format!("SHA2({quoted}, 256)"),
    };
    format!("IFNULL({text}, 'N')")
}

fn shown(column: &Column) -> String {
    let quoted = identifier(&column.name);
    match (column.data_type.as_str(), &column.charset) {
        ("binary" | "varbinary" | "bit" | "tinyblob" | "blob" | "mediumblob" | "longblob", None) => {
            format!("IFNULL(CONCAT('x', QUOTE(HEX({quoted}))), 'null')")
        }
        _ => format!("IFNULL({quoted}, 'null')"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(data_type: &str, charset: Option<&str>) -> Column {
        Column {
            name: "c".into(),
            data_type: data_type.into(),
            charset: charset.map(str::to_string),
            collation: None,
        }
    }

    #[test]
    fn p_07_texts_take_part_by_their_hash_and_null_by_a_letter() {
        assert_eq!(
            part(&column("varchar", Some("latin1"))),
            "IFNULL(SHA2(CONVERT(`c` USING utf8mb4), 256), 'N')"
        );
        assert_eq!(part(&column("bigint", None)), "IFNULL(`c`, 'N')");
        assert_eq!(part(&column("float", None)), "IFNULL(`c` + 0e0, 'N')");
        assert_eq!(part(&column("varbinary", None)), "IFNULL(SHA2(`c`, 256), 'N')");
    }
}
