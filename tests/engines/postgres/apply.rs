//! Changes applied row by row and set by set: strictly, in order, exactly as the source says.

use towpath::change::{Counts, Datum, Followed, Identity, Net, NetTable, NetUpdates, Position, Rows};
use towpath::checkpoint::{StreamMark, StreamProgress};
use towpath::engine::Applied;

use super::*;
use crate::engines::Log;

mod marks;
mod nets;
mod strict;
mod values;

/// A text, or null.
fn t(text: &str) -> Datum<'_> {
    Datum::Text(text.as_bytes())
}

const NULL: Datum<'static> = Datum::Null;
const ABSENT: Datum<'static> = Datum::Absent;

fn keyed(projection: Projection) -> Followed {
    let identity = Identity::Columns(projection.key.clone());
    Followed { projection, identity, skipped: Vec::new() }
}

fn whole_rows(projection: Projection) -> Followed {
    Followed { projection, identity: Identity::Whole, skipped: Vec::new() }
}

/// A table of text columns by native types, the first one being the key.
fn table_of(name: &str, columns: &[(&str, &str)]) -> Projection {
    let columns =
        columns.iter().map(|(name, native)| map(name, &Type::Native { text: (*native).into() }, native));
    table(name, Form::NativeText, columns.collect())
}

/// A session that follows, under its lock.
struct Applier {
    session: Box<dyn Session>,
    lock: Box<dyn Lock>,
}

impl Applier {
    async fn new(url: &str, tables: &[Followed]) -> Self {
        let lock = target(url).await.unwrap().lock(PLAN, &goal("sha256:goal"), Duration::ZERO).await.unwrap();
        let mut session = lock.session().await.unwrap();
        session.follow(tables).await.unwrap();
        Self { session, lock }
    }

    /// Applies rows in a transaction of their own.
    async fn rows(&mut self, log: &Log) -> Result<(), EngineError> {
        self.session.begin().await?;
        self.session.apply_rows(log.0.records()).await?;
        self.session.commit().await
    }

    async fn net(&mut self, net: &Net<'_>) -> Result<Applied, EngineError> {
        self.session.begin().await?;
        let applied = self.session.apply_net(net).await?;
        self.session.commit().await?;
        Ok(applied)
    }
}

fn rows_of<'a>(width: usize, rows: &[&[Datum<'a>]]) -> Rows<'a> {
    let mut all = Rows::new(width);
    rows.iter().for_each(|row| all.push(row.iter().copied()));
    all
}

/// What the user reads of an error, in one text.
fn told(error: &EngineError) -> String {
    format!("{error} / {}", error.hint.clone().unwrap_or_default())
}

/// A URL of a role that is not a superuser and owns the schema `public` of the database.
fn plain_role(database: &Database) -> String {
    let role = format!("plain_{database}");
    database.execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; GRANT CREATE ON DATABASE {database} TO {role}; \
         ALTER SCHEMA public OWNER TO {role}; \
         DO $$ DECLARE t text; BEGIN FOR t IN SELECT oid::regclass FROM pg_class \
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') LOOP \
         EXECUTE 'ALTER TABLE ' || t || ' OWNER TO {role}'; END LOOP; END $$"
    ));
    database.url().replacen("towpath:", &format!("{role}:"), 1)
}
