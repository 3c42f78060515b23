//! Verification by the server: rows become text, text becomes hashes, hashes are summed by
//! bucket. The row text is that of a composite value, in which null, an empty string and a
//! separator cannot be confused; the hash is `hashtextextended`, the same in all versions.

use super::select::{Side, columns, from_where};
use super::wire::Answer;
use crate::catalog::{Form, Projection, Type};
use crate::engine::{Cause, EngineError, Summary};

/// Values beyond this many bytes take part by their own hash: a row's text must stay under 1 GB.
const LONG_BYTES: u32 = 1 << 20;

/// Count and sum of hashes of each bucket that has rows.
pub fn query(projection: &Projection, side: Side, partitioned: bool, buckets: u32) -> String {
    format!(
        "SELECT b, pg_catalog.count(*), pg_catalog.sum(h) FROM ({}) AS hashed GROUP BY b",
        hashed(projection, side, partitioned, buckets)
    )
}

/// Key text and row hash of rows in some buckets.
pub fn rows_query(
    projection: &Projection,
    side: Side,
    partitioned: bool,
    buckets: &[u32],
    of: u32,
    limit: usize,
) -> String {
    let list: Vec<String> = buckets.iter().map(u32::to_string).collect();
    let list = if list.is_empty() { "NULL".to_string() } else { list.join(", ") };
    format!(
        "SELECT k, h FROM ({}) AS hashed WHERE b IN ({list}) LIMIT {limit}",
        hashed(projection, side, partitioned, of)
    )
}

/// Key text `k`, row hash `h` and bucket `b` of every row.
fn hashed(projection: &Projection, side: Side, partitioned: bool, buckets: u32) -> String {
    let texts = row_parts(projection, side);
    let all: Vec<usize> = (0..texts.len()).collect();
    let row = row_text(&texts, &all);
    let (key, name) = match projection.key.is_empty() {
        true => (String::new(), "r"),
        false => (format!("{} AS k, ", row_text(&texts, &projection.key)), "k"),
    };
    let rows = from_where(projection, side, partitioned, None);
    let n = buckets.max(1);
    // OFFSET 0: each text is made once. The bucket's hash has another seed than the row's, or
    // the buckets of a table without key would not mix.
    format!(
        "SELECT {name} AS k, pg_catalog.hashtextextended(r, 0) AS h, \
         ((pg_catalog.hashtextextended({name}, 1) % {n}) + {n}) % {n} AS b FROM \
         (SELECT {key}{row} AS r {rows} OFFSET 0) AS read"
    )
}

fn row_text(texts: &[String], which: &[usize]) -> String {
    let parts: Vec<&str> = which.iter().filter_map(|index| texts.get(*index)).map(String::as_str).collect();
    format!("(ROW({})::text COLLATE pg_catalog.\"C\")", parts.join(", "))
}

fn row_parts(projection: &Projection, side: Side) -> Vec<String> {
    let form = if projection.form == Form::Rows { Form::Rows } else { Form::NativeText };
    let expressions = columns(projection, side, form);
    let parts = expressions.into_iter().zip(&projection.columns);
    parts.map(|(expression, column)| shortened(&expression, side.cell_type(column))).collect()
}

fn shortened(expression: &str, ty: &Type) -> String {
    match ty {
        Type::Text | Type::VarChar { .. } | Type::Json { .. } | Type::Xml => format!(
            "CASE WHEN pg_catalog.octet_length({expression}::text) > {LONG_BYTES} \
             THEN pg_catalog.hashtextextended({expression}::text COLLATE pg_catalog.\"C\", 2)::text \
             ELSE {expression}::text END"
        ),
        Type::Blob | Type::Binary { .. } => format!(
            "CASE WHEN pg_catalog.octet_length({expression}) > {LONG_BYTES} \
             THEN pg_catalog.sha256({expression}) ELSE {expression} END"
        ),
        _ => expression.to_string(),
    }
}

fn odd() -> EngineError {
    EngineError::new(Cause::Other, "compare", "the server's sums are not as expected")
}

/// Reads the answer to [`query`].
pub fn parse(answer: &Answer, buckets: u32) -> Result<Summary, EngineError> {
    let mut summary = Summary { buckets: vec![(0, 0); buckets.max(1) as usize] };
    for row in &answer.rows {
        let cell = |column: usize| row.get(column).and_then(Option::as_deref).ok_or_else(odd);
        let bucket: usize = cell(0)?.parse().map_err(|_| odd())?;
        let slot = summary.buckets.get_mut(bucket).ok_or_else(odd)?;
        *slot = (cell(1)?.parse().map_err(|_| odd())?, cell(2)?.parse().map_err(|_| odd())?);
    }
    Ok(summary)
}

/// Reads the answer to [`rows_query`].
pub fn parse_rows(answer: Answer) -> Result<Vec<(String, i128)>, EngineError> {
    let pair = |row: Vec<Option<String>>| {
        let mut cells = row.into_iter();
        let key = cells.next().flatten().ok_or_else(odd)?;
        let hash = cells.next().flatten().and_then(|text| text.parse().ok()).ok_or_else(odd)?;
        Ok((key, hash))
    };
    answer.rows.into_iter().map(pair).collect()
}
