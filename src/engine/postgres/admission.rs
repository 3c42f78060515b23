//! What keeps a role from applying changes to a database that is not its target yet: privileges,
//! and a fence that only a replica passes. Found by reading only.

use super::connect::{Link, Role};
use super::quote::{array, identifier, literal, name};
use super::wire::{Fault, Wire};
use crate::catalog::Name;
use crate::change::Followed;
use crate::engine::{EngineError, Obstacle};

const DOING: &str = "look at what applying changes needs at";

/// The version that can grant the right to set one parameter.
const GRANTS_PARAMETERS: u32 = 150_000;

/// All of it. `fenced`: triggers will keep everybody out who is no replica.
pub async fn check(link: &Link, tables: &[Followed], fenced: bool) -> Result<Vec<Obstacle>, EngineError> {
    let mut wire = link.wire(Role::Reader).await?;
    let found = look(&mut wire, link.server.version, tables, fenced).await;
    wire.terminate().await;
    found.map_err(|fault| fault.doing(DOING).on(link.shown()))
}

async fn look(
    wire: &mut Wire,
    version: u32,
    tables: &[Followed],
    fenced: bool,
) -> Result<Vec<Obstacle>, Fault> {
    let answers = wire.query(&rights(version)).await?;
    let answer = answers.into_iter().next().unwrap_or_default();
    let is = |cell: usize| answer.cell(cell) == Some("t");
    let text = |cell: usize| identifier(answer.cell(cell).unwrap_or(""));
    let (role, database) = (text(0), text(1));
    let mut found = Vec::new();
    if is(2) {
        let (what, way) =
            ("this is a standby: nothing can be written to it", "use the address of the primary");
        found.push(stop("C502", "server", what, way.to_string()));
    }
    if !is(3) {
        let what = format!("the role {role} may not make the schema towpath in this database");
        found.push(stop("P802", "server", what, format!("GRANT CREATE ON DATABASE {database} TO {role}")));
    }
    let replica = is(4);
    let way = match version >= GRANTS_PARAMETERS {
        true => format!("GRANT SET ON PARAMETER session_replication_role TO {role}"),
        false => format!("use a superuser, which {role} is not"),
    };
    if fenced && !replica {
        let what = format!("the role {role} may not write as a replica, which alone passes the fence");
        found.push(stop("P802", "server", what, way.clone()));
    }
    for Facts { table, writable, own, always } in facts(wire, tables).await? {
        if !writable {
            let what = format!("the role {role} may not write to it");
            let way = format!("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {} TO {role}", name(&table));
            found.push(stop("P802", &table, what, way));
        }
        if own && !replica {
            let what = format!(
                "its triggers would act on what is applied, for the role {role} may not write as a replica"
            );
            found.push(stop("P802", &table, what, way.clone()));
        }
        if always {
            let what = "a trigger on it acts on what a replica writes, too (ENABLE ALWAYS or ENABLE REPLICA)";
            let way = "disable it, if what it does is done on the target already".to_string();
            found.push(Obstacle { blocks: false, ..stop("C509", &table, what, way) });
        }
    }
    Ok(found)
}

/// What there is to say of one table.
struct Facts {
    table: Name,
    writable: bool,
    /// It has triggers that act on what an ordinary session writes.
    own: bool,
    /// It has triggers that act on what a replica writes.
    always: bool,
}

fn stop(code: &'static str, at: impl ToString, message: impl Into<String>, hint: String) -> Obstacle {
    Obstacle { code, at: at.to_string(), message: message.into(), hint, blocks: true }
}

fn rights(version: u32) -> String {
    let replica = match version >= GRANTS_PARAMETERS {
        true => "pg_catalog.has_parameter_privilege('session_replication_role', 'SET')",
        false => "r.rolsuper",
    };
    format!(
        "SELECT r.rolname, pg_catalog.current_database(), pg_catalog.pg_is_in_recovery(), \
         CASE WHEN pg_catalog.to_regnamespace('towpath') IS NULL \
           THEN pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') \
           ELSE pg_catalog.has_schema_privilege('towpath', 'CREATE') END, {replica} \
         FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER"
    )
}

async fn facts(wire: &mut Wire, tables: &[Followed]) -> Result<Vec<Facts>, Fault> {
    let names = tables.iter().map(|followed| &followed.projection.target);
    let schemas: Vec<&str> = names.clone().map(|name| name.schema.as_str()).collect();
    let relations: Vec<&str> = names.map(|name| name.name.as_str()).collect();
    let acts = "(SELECT 1 FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgname !~";
    let fence = literal(super::fence::NAMES);
    let sql = format!(
        "SELECT n.nspname, c.relname, pg_catalog.has_table_privilege(c.oid, 'SELECT') \
         AND pg_catalog.has_table_privilege(c.oid, 'INSERT') AND pg_catalog.has_table_privilege(c.oid, 'UPDATE') \
         AND pg_catalog.has_table_privilege(c.oid, 'DELETE') AND pg_catalog.has_table_privilege(c.oid, 'TRUNCATE'), \
         EXISTS {acts} {fence} AND t.tgenabled IN ('O', 'A')), EXISTS {acts} {fence} AND t.tgenabled IN ('R', 'A')) \
         FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS w(s, t) \
         JOIN pg_catalog.pg_namespace n ON n.nspname = w.s \
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.t ORDER BY 1, 2"
    );
    wire.bind(&sql, &[Some(&array(&schemas)), Some(&array(&relations))])?;
    let rows = wire.sync().await?.into_iter().next().unwrap_or_default().rows;
    let row = |row: Vec<Option<String>>| match row.as_slice() {
        [Some(schema), Some(table), rest @ ..] => {
            let is = |at: usize| rest.get(at).and_then(Option::as_deref) == Some("t");
            Some(Facts { table: Name::new(schema, table), writable: is(0), own: is(1), always: is(2) })
        }
        _ => None,
    };
    Ok(rows.into_iter().filter_map(row).collect())
}
