//! What keeps triggers from telling the changes of a table, and what is worth knowing before they
//! are made. Reads only.

use rusqlite::{Connection, OptionalExtension};

use super::connect::File;
use super::dialect::quote;
use super::error::classify;
use super::filter;
use super::ledger::LOOK;
use super::read::shape;
use super::triggers::Layout;
use super::unique;
use crate::change::{Followed, Identity};
use crate::engine::{EngineError, Obstacle};

/// Everything about a file and its followed tables.
pub(super) fn find(
    conn: &Connection,
    file: &File,
    writable: bool,
    tables: &[Followed],
) -> Result<Vec<Obstacle>, EngineError> {
    let mut found = of_file(conn, file, writable)?;
    for table in tables {
        of_table(conn, table, &mut found)?;
    }
    Ok(found)
}

fn of_file(conn: &Connection, file: &File, writable: bool) -> Result<Vec<Obstacle>, EngineError> {
    let fail = |error| classify(LOOK, error);
    let mut found = Vec::new();
    if !writable {
        found.push(Obstacle {
            code: "P802",
            at: file.to_string(),
            message: "this user may not write to the file, and changes are kept in it".into(),
            hint: "let the user who runs this write to the file and its directory".into(),
            blocks: true,
        });
    }
    let mode: String = conn.query_row("PRAGMA main.journal_mode", [], |row| row.get(0)).map_err(fail)?;
    if !mode.eq_ignore_ascii_case("wal") {
        found.push(Obstacle {
            code: "C502",
            at: file.to_string(),
            message: format!(
                "its journal mode is {mode}: while tables are copied the application's commits wait or \
                 fail with SQLITE_BUSY, and each short read of changes may hold one up"
            ),
            hint: "PRAGMA journal_mode = WAL, once, by the application".into(),
            blocks: false,
        });
    }
    Ok(found)
}

fn of_table(conn: &Connection, followed: &Followed, found: &mut Vec<Obstacle>) -> Result<(), EngineError> {
    let name = &followed.projection.source;
    let blocks = |message: &str, hint: &str| Obstacle {
        code: "C502",
        at: name.to_string(),
        message: message.into(),
        hint: hint.into(),
        blocks: true,
    };
    match kind(conn, &name.name)?.as_deref() {
        Some("table") => {}
        Some(kind) => {
            let message = format!("triggers cannot keep the changes of a {kind}");
            found.push(blocks(&message, "leave it out, or copy it without following"));
            return Ok(());
        }
        None => {
            found.push(blocks("the table is no longer there", "plan again"));
            return Ok(());
        }
    }
    let uniques = unique::read(conn, &name.name, &shape(conn, &name.name)?)?;
    if !Layout::new(followed, &uniques.keys).fits() {
        let message = "it has more columns than fit into one row of a change table";
        found.push(blocks(message, "skip columns, or copy it without following"));
    }
    if let Some(stranger) = filter::stranger(conn, followed)? {
        let message = format!(
            "its filter asks for {}: of a row that is changed or deleted, only the key as it was is known",
            quote(&stranger)
        );
        found.push(blocks(
            &message,
            "filter by the key only, or write cdc: false for this table: it is copied once",
        ));
    }
    for index in uniques.odd {
        found.push(Obstacle {
            code: "C507",
            at: name.to_string(),
            message: format!(
                "a row that REPLACE removes because of {}, a unique index on an expression or on some rows, \
                 is not told",
                quote(&index)
            ),
            hint: "let the application set PRAGMA recursive_triggers = 1 where it uses REPLACE; verify at the end"
                .into(),
            blocks: false,
        });
    }
    if let Some(column) = null_in_key(conn, followed)? {
        found.push(Obstacle {
            code: "C503",
            at: name.to_string(),
            message: format!("its key column {} holds null, which tells no row from another", quote(&column)),
            hint: "give those rows a key, or name another unique key".into(),
            blocks: true,
        });
    }
    Ok(())
}

/// `table`, `view`, `virtual`, `shadow`; none where nothing of that name is there.
fn kind(conn: &Connection, table: &str) -> Result<Option<String>, EngineError> {
    let sql = "SELECT type FROM pragma_table_list(?1) WHERE schema = 'main'";
    conn.query_row(sql, [table], |row| row.get(0)).optional().map_err(|error| classify(LOOK, error))
}

fn null_in_key(conn: &Connection, followed: &Followed) -> Result<Option<String>, EngineError> {
    let Identity::Columns(places) = &followed.identity else { return Ok(None) };
    let projection = &followed.projection;
    for &place in places {
        let column = &projection.columns[place].source;
        let table = quote(&projection.source.name);
        let sql = format!("SELECT 1 FROM main.{table} WHERE {} IS NULL LIMIT 1", quote(column));
        let found = conn.query_row(&sql, [], |_| Ok(())).optional();
        if found.map_err(|error| classify(LOOK, error).on(&projection.source))?.is_some() {
            return Ok(Some(column.clone()));
        }
    }
    Ok(None)
}
