//! Tables that were rebuilt or emptied since a snapshot began. MariaDB refuses to read them (error
//! 1412), but only while it remembers: once the definition has left the cache of all tables
//! (`table_definition_cache`), an older snapshot reads what is there now: after an ALTER TABLE rows as
//! they were changed since, after a TRUNCATE none (seen on 10.11). So what a table was is noted when
//! a snapshot begins, and looked at after each read, while the read's lock on its structure holds.

use std::collections::{HashMap, HashSet};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::connect::{Flavor, Link, close};
use super::error::from_driver;
use super::moment::{DOING, SAVEPOINT};
use super::quote::{literal, name};
use super::read::READ;
use crate::catalog::Name;
use crate::engine::{Cause, EngineError};

/// Tables that are asked about at once.
const ASKED: usize = 50;

/// What tables of InnoDB were.
#[derive(Default)]
pub(super) struct Seen {
    /// When their definition was made, in the server's words: every ALTER makes it anew, a TRUNCATE
    /// does not.
    created: HashMap<Name, String>,
    /// Those with a row in the snapshot, which can lose none.
    filled: HashSet<Name>,
}

impl Seen {
    /// To be noted before the snapshot begins: what changes in between is refused, not overlooked.
    /// Nothing on MySQL, which keeps in the table what is too new for whom.
    pub async fn before(link: &Link) -> Result<Self, EngineError> {
        if link.server.flavor != Flavor::MariaDb {
            return Ok(Self::default());
        }
        let mut conn = link.session().await?;
        let listed: Result<Vec<(String, String, String)>, _> = conn
            .query(
                "SELECT TABLE_SCHEMA, TABLE_NAME, CAST(CREATE_TIME AS CHAR) FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA = DATABASE() AND ENGINE = 'InnoDB' AND CREATE_TIME IS NOT NULL",
            )
            .await;
        close(conn).await;
        let listed = listed.map_err(|error| from_driver(DOING, error).on(link.shown()))?;
        let created =
            listed.into_iter().map(|(schema, table, at)| (Name::new(&schema, &table), at)).collect();
        Ok(Self { created, filled: HashSet::new() })
    }

    /// Whether there is anything to ask in the snapshot.
    pub fn asks(&self) -> bool {
        !self.created.is_empty()
    }

    /// Notes which tables have rows in the snapshot that the session holds. One that cannot be read is
    /// left to whoever wants to.
    pub async fn fill(&mut self, conn: &mut Conn) -> Result<(), EngineError> {
        let tables: Vec<&Name> = self.created.keys().collect();
        for group in tables.chunks(ASKED) {
            match with_rows(conn, group).await {
                Ok(found) => self.filled.extend(found),
                Err(error) if error.cause == Cause::Connection => return Err(error),
                Err(_) => {
                    for table in group {
                        self.filled.extend(with_rows(conn, &[table]).await.unwrap_or_default());
                    }
                }
            }
        }
        let rolled = conn.query_drop(format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}")).await;
        rolled.map_err(|error| from_driver(DOING, error))
    }

    /// To be called after a read of the snapshot, on its session, before that lets go of the table.
    pub async fn check(&self, conn: &mut Conn, table: &Name) -> Result<(), EngineError> {
        let Some(created) = self.created.get(table) else { return Ok(()) };
        let sql = format!(
            "SELECT CAST(CREATE_TIME AS CHAR), EXISTS(SELECT 1 FROM {}) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            name(table),
            literal(&table.schema),
            literal(&table.name)
        );
        let found: Option<(Option<String>, bool)> =
            conn.query_first(sql).await.map_err(|error| from_driver(READ, error).on(table))?;
        match found {
            Some((Some(now), filled)) if now == *created && filled >= self.filled.contains(table) => Ok(()),
            _ => Err(EngineError::new(
                Cause::Stale,
                READ,
                "it was rebuilt or emptied since the snapshot began, and cannot be read as it was then",
            )
            .on(table)
            .hint(
                "run the same command again when nobody changes tables: what is copied of it is copied anew",
            )),
        }
    }
}

/// Those of the tables that have a row.
async fn with_rows(conn: &mut Conn, tables: &[&Name]) -> Result<Vec<Name>, EngineError> {
    let asked: Vec<String> =
        tables.iter().map(|table| format!("EXISTS(SELECT 1 FROM {})", name(table))).collect();
    let row: Option<mysql_async::Row> = conn
        .query_first(format!("SELECT {}", asked.join(", ")))
        .await
        .map_err(|error| from_driver(DOING, error))?;
    let has = |at: usize| {
        row.as_ref().and_then(|row| row.get_opt::<bool, _>(at)).is_some_and(|has| has == Ok(true))
    };
    Ok(tables.iter().enumerate().filter(|(at, _)| has(*at)).map(|(_, table)| (*table).clone()).collect())
}
