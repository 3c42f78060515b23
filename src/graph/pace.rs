//! What steps are thought to cost, from the sizes in statistics. The figures are round ones from a
//! laptop's disk; they order steps and give a reader a feeling, nothing depends on them.

use super::Estimate;

/// Copy of rows, read and written.
const COPY_BYTES_PER_SECOND: f64 = 60e6;
const COPY_ROWS_PER_SECOND: f64 = 500e3;
/// Index builds: sorting dominates, so both bytes and rows count.
const INDEX_BYTES_PER_SECOND: f64 = 20e6;
const INDEX_ROWS_PER_SECOND: f64 = 2e6;
/// A foreign key is checked by one join.
const CHECK_ROWS_PER_SECOND: f64 = 2e6;
/// Statistics are made from a sample.
const ANALYZE_SECONDS_MAX: f64 = 5.0;
/// A statement and its commit.
const STATEMENT_SECONDS: f64 = 0.005;

pub(super) fn copy(rows: u64, bytes: u64) -> Estimate {
    let seconds = (bytes as f64 / COPY_BYTES_PER_SECOND).max(rows as f64 / COPY_ROWS_PER_SECOND);
    rounded(rows, bytes, seconds + STATEMENT_SECONDS)
}

/// `bytes` of the index; zero where statistics do not know them.
pub(super) fn index(rows: u64, bytes: u64) -> Estimate {
    let seconds = bytes as f64 / INDEX_BYTES_PER_SECOND + rows as f64 / INDEX_ROWS_PER_SECOND;
    rounded(rows, bytes, seconds + STATEMENT_SECONDS)
}

pub(super) fn check(rows: u64) -> Estimate {
    rounded(rows, 0, rows as f64 / CHECK_ROWS_PER_SECOND + STATEMENT_SECONDS)
}

pub(super) fn analyze(rows: u64) -> Estimate {
    rounded(rows, 0, (rows as f64 / COPY_ROWS_PER_SECOND).min(ANALYZE_SECONDS_MAX) + STATEMENT_SECONDS)
}

pub(super) fn statement() -> Estimate {
    rounded(0, 0, STATEMENT_SECONDS)
}

/// Milliseconds are as exact as it gets, and read the same when written and read again.
fn rounded(rows: u64, bytes: u64, seconds: f64) -> Estimate {
    Estimate { rows, bytes, seconds: (seconds * 1000.0).round() / 1000.0 }
}
