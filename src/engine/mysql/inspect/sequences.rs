//! Sequences: the objects that MariaDB has, and where counters of tables stand.

use std::collections::BTreeMap;

use super::{Asking, DOING};
use crate::catalog::{Catalog, Name, OtherObject, Sequence};
use crate::engine::mysql::connect::Link;
use crate::engine::mysql::{error, quote};
use crate::engine::{Cause, EngineError, SequenceValue};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// How many sequences one query asks.
const AT_ONCE: usize = 100;

/// Definitions of sequence objects: each is a table of one row. An unsigned one may go beyond what
/// others have: that part of its range is listed.
pub(super) async fn read(
    asking: &mut Asking<'_>,
    names: &[String],
    comments: &BTreeMap<String, String>,
    catalog: &mut Catalog,
) -> Result<(), EngineError> {
    let database = catalog.default_schema.clone();
    for names in names.chunks(AT_ONCE) {
        let select = |(at, name): (usize, &String)| {
            let name = quote::name(&Name::new(&database, name));
            format!(
                "SELECT {at}, START_VALUE, INCREMENT, MINIMUM_VALUE, MAXIMUM_VALUE, CACHE_SIZE, CYCLE_OPTION \
                 FROM {name}"
            )
        };
        let parts: Vec<_> = names.iter().enumerate().map(select).collect();
        let rows = asking.rows(&format!("{} ORDER BY 1", parts.join(" UNION ALL "))).await?;
        for (name, mut row) in names.iter().zip(rows) {
            let comment = comments.get(name).cloned();
            let name = Name::new(&database, name);
            let mut beyond = false;
            let mut number = |at: usize| {
                let (number, exact) = bounded(&row.text(at));
                beyond |= !exact;
                number
            };
            catalog.sequences.push(Sequence {
                name: name.clone(),
                data_type: "bigint".into(),
                start: number(1),
                increment: number(2),
                min: number(3),
                max: number(4),
                cache: number(5).max(1),
                cycle: number(6) != 0,
                owner: None,
                comment,
            });
            if beyond {
                catalog.others.push(OtherObject { kind: BEYOND.into(), name, table: None });
            }
        }
    }
    Ok(())
}

const BEYOND: &str = "sequence range that is beyond bigint";

/// A number of a sequence, and whether it is that one: one beyond a bigint becomes its end.
fn bounded(text: &str) -> (i64, bool) {
    let number: i128 = text.parse().unwrap_or(0);
    let end = if number < 0 { i64::MIN } else { i64::MAX };
    i64::try_from(number).map_or((end, false), |number| (number, true))
}

/// Next values: of a table's counter, or of a sequence object.
pub(in crate::engine::mysql) async fn values(
    conn: &mut Conn,
    link: &Link,
    wanted: &[Name],
) -> Result<Vec<SequenceValue>, EngineError> {
    let catalog = super::inspect(conn, link).await?;
    let database = &link.address.database;
    let mut asking = Asking { conn, flavor: link.server.flavor, database: quote::literal(database) };
    let next = super::tables(&mut asking, database).await?.counters;
    let mut found = Vec::with_capacity(wanted.len());
    for name in wanted {
        let gone = || EngineError::new(Cause::Stale, "read the sequence", "it is no longer there").on(name);
        let sequence = catalog.sequence(name).ok_or_else(gone)?;
        let next = match &sequence.owner {
            Some(owner) => i64::try_from(next.get(&owner.table.name).copied().unwrap_or(1)).ok(),
            None => next_of(asking.conn, name).await?,
        };
        let last = next.ok_or_else(|| {
            EngineError::new(Cause::Data, "read the sequence", "its next value is beyond 9223372036854775807")
                .on(name)
                .hint("carry the column without counting on: nothing there counts so far")
        })?;
        found.push(SequenceValue { name: name.clone(), last, called: false });
    }
    Ok(found)
}

/// The next value of a sequence object of MariaDB that no session can have been given: a server hands out
/// whole caches. None where it is beyond a bigint.
pub(in crate::engine::mysql) async fn next_of(
    conn: &mut Conn,
    name: &Name,
) -> Result<Option<i64>, EngineError> {
    let sql = format!("SELECT CAST(NEXT_NOT_CACHED_VALUE AS CHAR) FROM {}", quote::name(name));
    let found: Result<Option<String>, _> = conn.query_first(sql).await;
    let found = found.map_err(|error| error::from_driver(DOING, error).on(name))?;
    Ok(found.and_then(|text| text.parse().ok()))
}
