//! Which database this is, whatever the URL said: the cluster's own number and the database's.

use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::Reader;
use crate::catalog::Place;
use crate::engine::EngineError;

/// The identity of the database a session is in.
pub async fn place(connection: &mut PgConnection) -> Result<Place, EngineError> {
    read(&mut Reader::new(connection)).await
}

pub(super) async fn read(reader: &mut Reader<'_>) -> Result<Place, EngineError> {
    // Some providers take pg_control_system() away; asking first keeps the transaction alive.
    let allowed =
        "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS ok";
    let allowed = reader.rows(allowed).await?.first().map(|row| row.truth("ok")).transpose()?;
    let database = "FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()";
    let (kind, sql) = match allowed == Some(true) {
        true => (
            "pg-system-identifier",
            format!(
                "SELECT pg_catalog.concat_ws(' ', (SELECT s.system_identifier FROM \
                 pg_catalog.pg_control_system() AS s), d.oid) AS facts {database}"
            ),
        ),
        // Weaker: what was decided when the database was created, and numbers given out then.
        false => (
            "pg-database-facts",
            format!(
                "SELECT pg_catalog.concat_ws(' ', d.oid, d.datname, d.encoding, d.datcollate, d.datctype, \
                 d.datdba, (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', r.oid, r.rolname), ',' \
                 ORDER BY r.oid) FROM (SELECT oid, rolname FROM pg_catalog.pg_roles WHERE oid >= 16384 ORDER \
                 BY oid LIMIT 3) AS r)) AS facts {database}"
            ),
        ),
    };
    let facts = reader.rows(&sql).await?.first().map(|row| row.text("facts")).transpose()?;
    let facts = facts.unwrap_or_default();
    let hex: String = Sha256::digest(facts.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Place { kind: kind.to_string(), hash: format!("sha256:{hex}") })
}
