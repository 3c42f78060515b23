//! Sequences: the objects that MariaDB has, and where counters of tables stand.

use super::{Asking, DOING};
use crate::catalog::{Catalog, Name, OtherObject, Sequence};
use crate::engine::mysql::connect::{Flavor, Link};
use crate::engine::mysql::{error, quote};
use crate::engine::{Cause, EngineError, SequenceValue};
use mysql_async::Conn;

/// How many sequences one query asks.
const AT_ONCE: usize = 100;

/// Definitions of sequence objects: each is a table of one row. An unsigned one may go beyond what
/// others have: that part of its range is listed.
pub(super) async fn read(
    asking: &mut Asking<'_>,
    names: &[String],
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
                comment: None,
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
            Some(owner) => next.get(&owner.table.name).copied().unwrap_or(1),
            None => object(&mut asking, name).await?,
        };
        let last = i64::try_from(next).map_err(|_| {
            EngineError::new(Cause::Data, "read the sequence", "its next value is beyond 9223372036854775807")
                .on(name)
                .hint("carry the column without counting on: nothing there counts so far")
        })?;
        found.push(SequenceValue { name: name.clone(), last, called: false });
    }
    Ok(found)
}

/// The next value of a sequence object that no session can have been given: a server hands out
/// whole caches.
async fn object(asking: &mut Asking<'_>, name: &Name) -> Result<u64, EngineError> {
    debug_assert!(asking.flavor == Flavor::MariaDb);
    let sql = format!("SELECT NEXT_NOT_CACHED_VALUE FROM {}", quote::name(name));
    let row = asking.rows(&sql).await?.pop();
    let value = row.and_then(|mut row| row.text(0).parse().ok());
    value.ok_or_else(|| error::from_io(DOING, &std::io::Error::other("the server sent no number")).on(name))
}
