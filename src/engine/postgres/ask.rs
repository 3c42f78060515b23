//! Questions that planning asks about rows and sequences: read-only, bounded in time, none of
//! them ever answered with a guess.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Executor, Row};

use super::connect::{Link, Role};
use super::wire::{Answer as Rows, Fault, Wire};
use super::{error, marks, probe, quote};
use crate::catalog::probe::Measured;
use crate::catalog::{Answer, Name, Probe};
use crate::engine::{Cause, EngineError, SequenceValue};

/// `last_value` and `is_called` of many sequences in one query. The view `pg_sequences` would hide
/// a missing privilege behind a null.
pub async fn sequence_values(
    connection: &mut PgConnection,
    sequences: &[Name],
) -> Result<Vec<SequenceValue>, EngineError> {
    const DOING: &str = "read sequences of";
    let mut values = Vec::with_capacity(sequences.len());
    // A hundred at a time keep the server's parser out of deep recursion.
    for names in sequences.chunks(100) {
        let select = |(index, name): (usize, &Name)| {
            format!("SELECT {index}, last_value, is_called FROM {}", quote::name(name))
        };
        let parts: Vec<String> = names.iter().enumerate().map(select).collect();
        let sql = format!("{} ORDER BY 1", parts.join(" UNION ALL "));
        let rows = connection.fetch_all(marks::safe(sql)).await;
        let rows = rows.map_err(|error| error::from_sqlx(DOING, error))?;
        for (name, row) in names.iter().zip(rows) {
            let last = row.try_get(1).map_err(|error| error::from_sqlx(DOING, error))?;
            let called = row.try_get(2).map_err(|error| error::from_sqlx(DOING, error))?;
            values.push(SequenceValue { name: name.clone(), last, called });
        }
    }
    Ok(values)
}

/// Rows of a query that must return none.
pub async fn violations(link: &Link, query: &str) -> Result<u64, EngineError> {
    const DOING: &str = "check rows of";
    let mut wire = link.wire(Role::Reader).await?;
    let sql = format!("SELECT pg_catalog.count(*) FROM ({query}) AS violations");
    let answers = wire.query(&sql).await.map_err(|fault: Fault| fault.doing(DOING).on(link.shown()))?;
    wire.terminate().await;
    let count = answers.first().and_then(|answer| answer.cell(0)).and_then(|text| text.parse().ok());
    count.ok_or_else(|| EngineError::new(Cause::Other, DOING, "the server sent no number").on(link.shown()))
}

const DOING: &str = "look at the rows of";

/// Answers probes in one transaction. One that takes longer than `each`, waits for a lock or
/// cannot be computed is not measured; a missing privilege is an error.
pub async fn answers(
    wire: &mut Wire,
    probes: &[Probe],
    each: Option<Duration>,
) -> Result<Vec<Answer>, EngineError> {
    let millis = each.map_or(0, |each| each.as_millis().clamp(1, 2_000_000_000));
    let begin =
        format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {millis}");
    wire.query(&begin).await.map_err(|fault| fault.doing(DOING))?;
    let mut answers = Vec::with_capacity(probes.len());
    for probe in probes {
        let answer = match probe::query(probe) {
            Some(sql) => answer(wire, &sql).await.map_err(|error| error.on(&probe.table))?,
            None => unmeasured(),
        };
        answers.push(answer);
    }
    wire.query("ROLLBACK").await.map_err(|fault| fault.doing(DOING))?;
    Ok(answers)
}

async fn answer(wire: &mut Wire, sql: &str) -> Result<Answer, EngineError> {
    let asked = wire.query(&format!("SAVEPOINT probe; {sql}; RELEASE SAVEPOINT probe")).await;
    match asked {
        Ok(answers) => Ok(answers.get(1).map_or_else(unmeasured, read)),
        Err(Fault::Io(error)) => Err(error::from_io(DOING, &error)),
        Err(Fault::Server(error)) if error::cause(&error.code) == Cause::Privilege => {
            Err(error::engine_error(DOING, &error))
        }
        Err(Fault::Server(_)) => {
            let back = wire.query("ROLLBACK TO SAVEPOINT probe").await;
            back.map_err(|fault| fault.doing(DOING))?;
            Ok(unmeasured())
        }
    }
}

fn unmeasured() -> Answer {
    Answer { rows: None, measured: Measured::Not, extremes: None }
}

fn read(rows: &Rows) -> Answer {
    let Some(count) = rows.cell(0).and_then(|text| text.parse().ok()) else { return unmeasured() };
    let extremes = rows.cell(1).zip(rows.cell(2)).map(|(low, high)| (low.to_string(), high.to_string()));
    Answer { rows: Some(count), measured: Measured::Exact, extremes }
}
