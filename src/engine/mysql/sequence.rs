//! Counters of tables, and sequences of MariaDB: set beyond what the source has handed out, never backwards.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::error::from_driver;
use super::inspect;
use super::quote::{literal, name};
use crate::catalog::{Name, Sequence};
use crate::engine::stand::{Stand, Unset, target};
use crate::engine::{Cause, EngineError, SequenceValue};

pub(super) const DOING: &str = "set the counter of";

/// The statement that raises a counter or a sequence, and the value that it sets; none where it stands there.
pub(super) async fn raise(
    conn: &mut Conn,
    sequence: &Sequence,
    value: &SequenceValue,
    margin: u64,
) -> Result<Option<(String, i64)>, EngineError> {
    let Some(owner) = &sequence.owner else { return object(conn, sequence, value, margin).await };
    let next = next(sequence, value, margin).map_err(|why| {
        EngineError::new(Cause::Data, DOING, why)
            .on(&owner.table)
            .hint("choose a smaller sequence margin, or skip the column")
    })?;
    let stands = counter(conn, &owner.table).await?;
    if stands.is_some_and(|stands| stands >= next) {
        return Ok(None);
    }
    let sql = format!("ALTER TABLE {} AUTO_INCREMENT = {next}", name(&owner.table));
    Ok(i64::try_from(next).ok().map(|next| (sql, next)))
}

async fn object(
    conn: &mut Conn,
    sequence: &Sequence,
    value: &SequenceValue,
    margin: u64,
) -> Result<Option<(String, i64)>, EngineError> {
    let quoted = name(&sequence.name);
    let fail = |why: &str| EngineError::new(Cause::Data, "set the sequence", why).on(&sequence.name);
    let last = inspect::next_of(conn, &sequence.name).await?;
    let present =
        Stand { last: last.ok_or_else(|| fail("its next value is beyond a bigint"))?, called: false };
    let source = Stand { last: value.last, called: value.called };
    let wanted = target(sequence, source, present, margin).map_err(|Unset::Outside| {
        let why =
            format!("the source stands at {}, outside {} to {}", value.last, sequence.min, sequence.max);
        fail(&why).hint("widen the sequence on the target")
    })?;
    let Some(Stand { last, called }) = wanted else { return Ok(None) };
    let sql = match sequence.cycle {
        false => format!("SELECT SETVAL({quoted}, {last}, {})", u8::from(called)),
        // Which SETVAL would not turn back.
        true => format!("ALTER SEQUENCE {quoted} RESTART WITH {}", after(sequence, last, called)),
    };
    Ok(Some((sql, last)))
}

/// The next value of a sequence that begins again.
fn after(sequence: &Sequence, last: i64, called: bool) -> i64 {
    let next = last.checked_add(if called { sequence.increment } else { 0 });
    match next.filter(|next| (sequence.min..=sequence.max).contains(next)) {
        Some(next) => next,
        None if sequence.increment > 0 => sequence.min,
        None => sequence.max,
    }
}

/// The value that the table hands out next.
fn next(sequence: &Sequence, value: &SequenceValue, margin: u64) -> Result<u64, &'static str> {
    if sequence.increment < 1 {
        return Err("the source counts down, and counters there count up");
    }
    let beyond = "the value and its margin go beyond the range of the column";
    let step = if value.called { sequence.increment } else { 0 };
    let margin = i64::try_from(margin).ok().and_then(|margin| margin.checked_mul(sequence.increment));
    let next = value.last.checked_add(step).zip(margin).and_then(|(next, margin)| next.checked_add(margin));
    let next = next.filter(|next| *next <= sequence.max).ok_or(beyond)?;
    Ok(u64::try_from(next).unwrap_or(0).max(1))
}

async fn counter(conn: &mut Conn, table: &Name) -> Result<Option<u64>, EngineError> {
    let sql = format!(
        "SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        literal(&table.schema),
        literal(&table.name)
    );
    let found: Option<Option<u64>> =
        conn.query_first(sql).await.map_err(|error| from_driver(DOING, error).on(table))?;
    Ok(found.flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_73_a_counter_goes_beyond_what_was_handed_out() {
        let sequence = |increment, max| Sequence {
            name: Name::new("d", "s"),
            data_type: "int".into(),
            start: 1,
            increment,
            min: 1,
            max,
            cache: 1,
            cycle: false,
            owner: None,
            comment: None,
        };
        let value = |last, called| SequenceValue { name: Name::new("d", "s"), last, called };
        assert_eq!(next(&sequence(1, 100), &value(7, true), 0), Ok(8));
        assert_eq!(next(&sequence(1, 100), &value(7, false), 0), Ok(7));
        assert_eq!(next(&sequence(5, 100), &value(7, true), 2), Ok(22));
        assert_eq!(next(&sequence(1, 100), &value(-7, true), 0), Ok(1));
        assert!(next(&sequence(1, 100), &value(100, true), 0).is_err());
        assert!(next(&sequence(-1, 100), &value(7, true), 0).is_err());
    }
}
