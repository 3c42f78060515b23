//! What a role needs for a phase of a plan, as the statements that give it exactly that. Reads who
//! owns what; grants nothing itself.

use std::collections::BTreeSet;

use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::error::from_sqlx;
use super::quote::{identifier, name};
use crate::catalog::Name;
use crate::engine::{Duties, EngineError};

const DOING: &str = "ask who owns the tables of";

/// The version that can grant the right to set one parameter.
const GRANTS_PARAMETERS: i32 = 150_000;

/// What of a database decides about the statements.
struct Place {
    database: String,
    /// The role, quoted.
    role: String,
    version: i32,
    /// Owners of the tables, quoted, without the role itself.
    owners: BTreeSet<String>,
    /// Row-level security acts on who does not own them.
    guarded: bool,
    /// Who owns the state that is there already, if not the role.
    state_owner: Option<String>,
}

impl Place {
    async fn look(connection: &mut PgConnection, duties: &Duties<'_>) -> Result<Self, EngineError> {
        let fail = |error| from_sqlx(DOING, error);
        let here = "SELECT pg_catalog.current_database(), COALESCE($1, CURRENT_USER::pg_catalog.text), \
                    pg_catalog.current_setting('server_version_num')::pg_catalog.int4, \
                    (SELECT pg_catalog.pg_get_userbyid(nspowner)::pg_catalog.text \
                     FROM pg_catalog.pg_namespace WHERE nspname = 'towpath')";
        let row = sqlx::query(here).bind(duties.role).fetch_one(&mut *connection).await.map_err(fail)?;
        let text = |at: usize| row.try_get::<String, _>(at).map_err(fail);
        let (database, role, version) = (text(0)?, text(1)?, row.try_get(2).map_err(fail)?);
        let state: Option<String> = row.try_get(3).map_err(fail)?;
        let of = |part: fn(&Name) -> &String| duties.tables.iter().map(part).cloned().collect::<Vec<_>>();
        let sql = "SELECT pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text, pg_catalog.bool_or(c.relrowsecurity) \
                   FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS wanted(schema, name) \
                   JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema \
                   JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name \
                   GROUP BY 1";
        let rows = sqlx::query(sql).bind(of(|table| &table.schema)).bind(of(|table| &table.name));
        let rows = rows.fetch_all(connection).await.map_err(fail)?;
        let mut place = Self {
            database: identifier(&database),
            role: identifier(&role),
            version,
            owners: BTreeSet::new(),
            guarded: false,
            state_owner: state.filter(|owner| *owner != role).map(|owner| identifier(&owner)),
        };
        for row in rows {
            let owner: String = row.try_get(0).map_err(fail)?;
            place.guarded |= row.try_get::<bool, _>(1).map_err(fail)? && owner != role;
            if owner != role {
                place.owners.insert(identifier(&owner));
            }
        }
        Ok(place)
    }

    fn connect(&self) -> String {
        format!("GRANT CONNECT ON DATABASE {} TO {}", self.database, self.role)
    }

    /// As a member of who owns an object a role may do what only owners may.
    fn join_owners(&self) -> impl Iterator<Item = String> {
        self.owners.iter().map(|owner| format!("GRANT {owner} TO {}", self.role))
    }
}

fn schemas(tables: &[Name], sequences: &[Name]) -> BTreeSet<String> {
    tables.iter().chain(sequences).map(|object| identifier(&object.schema)).collect()
}

/// For the role that reads.
pub async fn source(connection: &mut PgConnection, duties: &Duties<'_>) -> Result<Vec<String>, EngineError> {
    let place = Place::look(connection, duties).await?;
    let role = &place.role;
    let mut out = vec![place.connect()];
    let reads = duties.load || duties.cutover;
    if reads {
        let used = schemas(duties.tables, duties.sequences);
        out.extend(used.iter().map(|schema| format!("GRANT USAGE ON SCHEMA {schema} TO {role}")));
        out.extend(
            duties.tables.iter().map(|table| format!("GRANT SELECT ON TABLE {} TO {role}", name(table))),
        );
        let sequences = duties.sequences.iter();
        out.extend(
            sequences.map(|sequence| format!("GRANT SELECT ON SEQUENCE {} TO {role}", name(sequence))),
        );
        // Members of an owner are not spared by its policies.
        out.extend(place.guarded.then(|| format!("ALTER ROLE {role} BYPASSRLS")));
    }
    if duties.follow {
        // Only who owns a table may publish it.
        out.push(format!("ALTER ROLE {role} REPLICATION"));
        out.push(format!("GRANT CREATE ON DATABASE {} TO {role}", place.database));
    }
    if duties.follow || duties.fence {
        out.extend(place.join_owners());
    }
    if let Some(first) = duties.tables.iter().min().filter(|_| duties.fence) {
        // A fence is, or is remembered by, a function beside the first table.
        out.push(format!("GRANT USAGE, CREATE ON SCHEMA {} TO {role}", identifier(&first.schema)));
    }
    Ok(out)
}

/// For the role that writes.
pub async fn target(connection: &mut PgConnection, duties: &Duties<'_>) -> Result<Vec<String>, EngineError> {
    let place = Place::look(connection, duties).await?;
    let role = &place.role;
    let mut out = vec![place.connect()];
    if duties.load {
        // For the state, and for schemas that are not there yet.
        out.push(format!("GRANT CREATE ON DATABASE {} TO {role}", place.database));
        out.extend(place.state_owner.iter().map(|owner| format!("GRANT {owner} TO {role}")));
        let used: BTreeSet<String> = duties.schemas.iter().map(|schema| identifier(schema)).collect();
        out.extend(used.iter().map(|schema| format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}")));
        // Keys and indexes are added by owners only.
        out.extend(place.join_owners());
    }
    if duties.follow && place.version >= GRANTS_PARAMETERS {
        out.push(format!("GRANT SET ON PARAMETER session_replication_role TO {role}"));
    }
    Ok(out)
}
