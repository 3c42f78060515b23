//! Reads the structure of a database: a fixed number of set-based catalog queries, whatever the
//! number of tables, in read-only transactions with an empty search path, so that no object of a
//! user can stand in for one of the server's. Two sessions share the queries, in one snapshot:
//! making the rows is nearly all the work, and a server does it for both at once. Writes nothing.
//!
//! ```text
//! schemas, extensions, types ────┐
//! tables, columns, indexes ──────┤
//!                                ├─> Catalog
//! constraints, sequences ────────┤
//! collations, rights, all others ┘
//! ```

mod constraints;
mod indexes;
mod objects;
mod place;
mod tables;
mod types;

use futures_util::StreamExt;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Decode, PgConnection, Postgres, Row, Type, ValueRef};

use crate::catalog::Catalog;
use crate::engine::{Cause, EngineError};

use self::tables::Tables;
use super::marks::NOT_OURS;
use super::quote;

pub use place::place;

const DOING: &str = "read the catalog";

/// Everything this role can see of the database. Fails with `Cause::Connection` or
/// `Cause::Privilege` (a hardened catalog).
pub async fn inspect(first: &mut PgConnection, second: &mut PgConnection) -> Result<Catalog, EngineError> {
    let catalog = read_both(first, second).await;
    // Whatever happened, the sessions go back clean; the first error is the one that counts.
    let ended = [run(first, "ROLLBACK").await, run(second, "ROLLBACK").await];
    let catalog = catalog?;
    ended.into_iter().collect::<Result<(), _>>()?;
    Ok(catalog)
}

async fn read_both(first: &mut PgConnection, second: &mut PgConnection) -> Result<Catalog, EngineError> {
    begin(first, "").await?;
    let mut one = Reader::open(first).await?;
    let snapshot = one.rows("SELECT pg_catalog.pg_export_snapshot() AS name").await?;
    let snapshot = snapshot.first().map(|row| row.text("name")).transpose()?.unwrap_or_default();
    begin(second, &format!("SET TRANSACTION SNAPSHOT {};", quote::literal(&snapshot))).await?;
    let mut two = Reader { connection: second, role: one.role.clone(), ..one };
    read(&mut one, &mut two).await
}

async fn begin(connection: &mut PgConnection, first: &str) -> Result<(), EngineError> {
    let settings = "SET LOCAL search_path = ''; SET LOCAL row_security = off; SET LOCAL TimeZone = 'UTC'; \
                 SET LOCAL DateStyle = 'ISO'; SET LOCAL IntervalStyle = 'postgres'; \
                 SET LOCAL quote_all_identifiers = off; SET LOCAL standard_conforming_strings = on; SET LOCAL extra_float_digits = 3; \
                 SET LOCAL bytea_output = 'hex'";
    let isolation = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
    run(connection, &format!("{isolation}; {first} {settings}")).await
}

async fn read(one: &mut Reader<'_>, two: &mut Reader<'_>) -> Result<Catalog, EngineError> {
    let (tables, rest) = tokio::try_join!(read_tables(one), read_rest(two))?;
    let ((catalog, mut tables, indexes), (rest, constraints)) = (tables, rest);
    let Catalog { sequences, collations, denied, others, .. } = rest;
    let mut catalog = Catalog { sequences, collations, denied, ..catalog };
    catalog.others.extend(others);
    let of_keys = constraints::place(constraints, &mut tables, &mut catalog.others)?;
    indexes::place(indexes, &mut tables, of_keys);
    catalog.tables = tables.finish();
    sort(&mut catalog);
    Ok(catalog)
}

/// What the first session reads: the tables, and what their columns are explained by.
async fn read_tables(reader: &mut Reader<'_>) -> Result<(Catalog, Tables, Vec<indexes::Found>), EngineError> {
    let mut catalog = objects::database(reader).await?;
    catalog.place = place::read(reader).await?;
    catalog.schemas = objects::schemas(reader).await?;
    catalog.extensions = objects::extensions(reader).await?;
    let types = types::read(reader).await?;
    catalog.types = types.carried();
    types.notes(&mut catalog.others);
    let tables = tables::read(reader, &types, &mut catalog.others).await?;
    let indexes = indexes::read(reader, &types, &tables).await?;
    Ok((catalog, tables, indexes))
}

/// What the second session reads meanwhile.
async fn read_rest(reader: &mut Reader<'_>) -> Result<(Catalog, Vec<Fields>), EngineError> {
    let constraints = constraints::read(reader).await?;
    let rest = Catalog {
        sequences: objects::sequences(reader).await?,
        collations: objects::collations(reader).await?,
        denied: objects::denied(reader).await?,
        others: objects::others(reader).await?,
        ..Catalog::default()
    };
    Ok((rest, constraints))
}

fn sort(catalog: &mut Catalog) {
    catalog.schemas.sort_by(|a, b| a.name.cmp(&b.name));
    catalog.extensions.sort_by(|a, b| a.name.cmp(&b.name));
    catalog.types.sort_by(|a, b| a.name.cmp(&b.name));
    catalog.collations.sort();
    catalog.sequences.sort_by(|a, b| a.name.cmp(&b.name));
    catalog.tables.sort_by(|a, b| a.name.cmp(&b.name));
    catalog.denied.sort();
    catalog.denied.dedup();
    catalog.others.sort();
    catalog.others.dedup();
}

/// A session in its transaction, and what depends on the server's version.
struct Reader<'a> {
    connection: &'a mut PgConnection,
    /// As in `server_version_num`: 150020.
    version: i32,
    /// Who asks, for the grants that are missing.
    role: String,
}

impl<'a> Reader<'a> {
    fn new(connection: &'a mut PgConnection) -> Self {
        Self { connection, version: 0, role: String::new() }
    }

    async fn open(connection: &'a mut PgConnection) -> Result<Self, EngineError> {
        let mut reader = Self::new(connection);
        let sql = "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version, \
                   CURRENT_USER::pg_catalog.text AS role";
        for row in reader.rows(sql).await? {
            reader.version = row.need("version")?;
            reader.role = row.text("role")?;
        }
        Ok(reader)
    }

    /// True for a major version or later.
    fn has(&self, major: i32) -> bool {
        self.version >= major * 10_000
    }

    /// An expression that older servers do not know, and what stands for it there.
    fn since<'s>(&self, major: i32, expression: &'s str, else_: &'s str) -> &'s str {
        if self.has(major) { expression } else { else_ }
    }

    /// Few rows, all at once.
    async fn rows(&mut self, sql: &str) -> Result<Vec<Fields>, EngineError> {
        let mut rows = Vec::new();
        self.each(sql, |row| {
            rows.push(row);
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// Rows one by one while the server still makes the others: there may be hundreds of thousands.
    async fn each(
        &mut self,
        sql: &str,
        mut take: impl FnMut(Fields) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        // The texts are ours: no value and no name of a user is ever put into one.
        let query = sqlx::query(AssertSqlSafe(sql.to_string())).persistent(false);
        let mut rows = query.fetch(&mut *self.connection);
        while let Some(row) = rows.next().await {
            take(Fields(row.map_err(failed)?))?;
        }
        Ok(())
    }
}

/// One row, read by column name.
struct Fields(PgRow);

impl Fields {
    /// The value of a column, which may be null where `T` is an option. A column of another type
    /// than asked is an error, never a default.
    fn need<'r, T: Decode<'r, Postgres> + Type<Postgres>>(&'r self, column: &str) -> Result<T, EngineError> {
        self.0.try_get(column).map_err(failed)
    }

    fn text(&self, column: &str) -> Result<String, EngineError> {
        self.need(column)
    }

    fn maybe(&self, column: &str) -> Result<Option<String>, EngineError> {
        self.need(column)
    }

    fn truth(&self, column: &str) -> Result<bool, EngineError> {
        self.need(column)
    }

    fn oid(&self, column: &str) -> Result<u32, EngineError> {
        let oid: sqlx::postgres::types::Oid = self.need(column)?;
        Ok(oid.0)
    }

    fn is_null(&self, column: &str) -> Result<bool, EngineError> {
        Ok(self.0.try_get_raw(column).map_err(failed)?.is_null())
    }
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), EngineError> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_string())).execute(&mut *connection).await.map(|_| ()).map_err(failed)
}

/// Errors of catalog queries hold no row data of users.
fn failed(error: sqlx::Error) -> EngineError {
    let cause = match &error {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            Some("42501") => Cause::Privilege,
            Some(code) if code.starts_with("08") || code.starts_with("57P") => Cause::Connection,
            Some("40001" | "40P01" | "55P03" | "57014") => Cause::Busy,
            Some(code) if code.starts_with("53") => Cause::Resources,
            _ => Cause::Other,
        },
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => Cause::Connection,
        _ => Cause::Other,
    };
    let message = match &error {
        sqlx::Error::Database(database) => database.message().to_string(),
        other => other.to_string(),
    };
    let code = error.as_database_error().and_then(|database| database.code().map(|code| code.into_owned()));
    let found = EngineError::new(cause, DOING, message);
    match code {
        Some(code) => found.code(code),
        None => found,
    }
}

/// Schemas whose objects are a user's, not the server's or a session's; the condition on `n`.
const USERS: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// Relations of a user: as [`USERS`], without our own state; the condition on `c` in `n`.
fn users_relation() -> String {
    format!("{USERS} AND {NOT_OURS}")
}

/// The anti-join that leaves out members of extensions, for the catalog `class` whose row is `alias`.
fn not_member(class: &str, alias: &str) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend AS member WHERE member.classid = \
         'pg_catalog.{class}'::pg_catalog.regclass AND member.objid = {alias}.oid AND member.objsubid = 0 AND \
         member.deptype = 'e')"
    )
}

/// The join that brings the comment on the whole object, as `words.description`. There are few
/// comments and many objects: the server reads the former once, not once for each of the latter.
fn comment(class: &str, alias: &str) -> String {
    format!(
        "LEFT JOIN pg_catalog.pg_description AS words ON words.objoid = {alias}.oid AND words.classoid = \
         'pg_catalog.{class}'::pg_catalog.regclass AND words.objsubid = 0"
    )
}
