//! Constraints: checks and foreign keys go to their tables; keys wait for their indexes, which
//! know their columns, and are handed on by index.

use std::collections::HashMap;

use super::tables::Tables;
use super::{Fields, Reader, comment, users_relation};
use crate::catalog::{Action, Check, ForeignKey, Key, KeyKind, MatchKind, Name, OtherObject};
use crate::engine::EngineError;

/// What an index that belongs to a constraint gets from it, by the index's number.
pub type OfKeys = HashMap<u32, OfKey>;

pub struct OfKey {
    pub key: Key,
    /// Operators of an exclusion constraint, in the order of its parts.
    pub operators: Vec<String>,
    /// The last column is a period (PostgreSQL 18).
    pub temporal: bool,
}

/// All constraints as they stand in the catalog: their columns are numbers.
pub async fn read(reader: &mut Reader<'_>) -> Result<Vec<Fields>, EngineError> {
    let comment = comment("pg_constraint", "k");
    let operators = "ARRAY(SELECT CASE WHEN opn.nspname = 'pg_catalog' THEN op.oprname::text ELSE 'OPERATOR(' || \
                     pg_catalog.quote_ident(opn.nspname) || '.' || op.oprname || ')' END \
                     FROM pg_catalog.unnest(k.conexclop) WITH ORDINALITY AS x(oid, at) \
                     JOIN pg_catalog.pg_operator AS op ON op.oid = x.oid \
                     JOIN pg_catalog.pg_namespace AS opn ON opn.oid = op.oprnamespace ORDER BY x.at)";
    let sql = format!(
        "SELECT k.conrelid, k.conname::text AS name, k.contype::text AS kind, k.conindid, k.conkey, \
         CASE k.contype WHEN 'c' THEN pg_catalog.pg_get_expr(k.conbin, k.conrelid) END AS native, \
         k.convalidated, k.connoinherit, k.conislocal, k.condeferrable, k.condeferred, \
         k.confrelid, fn.nspname::text AS parent_schema, f.relname::text AS parent_name, \
         k.confkey, \
         k.confupdtype::text AS on_update, k.confdeltype::text AS on_delete, k.confmatchtype::text AS matching, \
         {set_columns} AS set_columns, {temporal} AS temporal, {enforced} AS enforced, \
         CASE WHEN k.conexclop IS NOT NULL THEN {operators} END AS operators, words.description AS comment \
         FROM pg_catalog.pg_constraint AS k \
         JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_class AS f ON f.oid = k.confrelid \
         LEFT JOIN pg_catalog.pg_namespace AS fn ON fn.oid = f.relnamespace {comment} \
         WHERE k.contype IN ('c', 'p', 'u', 'x', 'f') AND {users} \
         AND NOT (k.contype = 'f' AND k.conparentid <> 0)",
        users = users_relation(),
        set_columns = reader.since(15, "k.confdelsetcols", "NULL::pg_catalog.int2[]"),
        temporal = reader.since(18, "k.conperiod", "false"),
        enforced = reader.since(18, "k.conenforced", "true"),
    );
    reader.rows(&sql).await
}

/// Gives constraints to their tables, and hands on what waits for its index.
pub fn place(
    constraints: Vec<Fields>,
    tables: &mut Tables,
    notes: &mut Vec<OtherObject>,
) -> Result<OfKeys, EngineError> {
    let mut keys = OfKeys::new();
    for row in constraints {
        let kind = row.text("kind")?;
        let parent_columns = match kind.as_str() {
            "f" => tables.names(row.oid("confrelid")?, &row.need::<Vec<i16>>("confkey")?),
            _ => Vec::new(),
        };
        let Some(entry) = tables.get_mut(row.oid("conrelid")?) else { continue };
        if let Some(unknown) = unknown(&row, &kind)? {
            let name = Name::new(&entry.table.name.schema, row.text("name")?);
            let table = Some(entry.table.name.clone());
            notes.push(OtherObject { kind: unknown.to_string(), name, table });
            continue;
        }
        match kind.as_str() {
            "c" => entry.table.checks.push(check(&row)?),
            "f" => {
                let columns = entry.names(&row.need::<Vec<i16>>("conkey")?).unwrap_or_default();
                let set = row.need::<Option<Vec<i16>>>("set_columns")?.unwrap_or_default();
                let set = entry.names(&set).unwrap_or_default();
                entry.table.foreign_keys.push(foreign_key(&row, columns, parent_columns, set)?);
            }
            letter => {
                let operators = row.need::<Option<Vec<String>>>("operators")?.unwrap_or_default();
                let (key, temporal) = (key(&row, letter)?, row.truth("temporal")?);
                keys.insert(row.oid("conindid")?, OfKey { key, operators, temporal });
            }
        }
    }
    Ok(keys)
}

/// What a constraint is called that is not carried.
fn unknown(row: &Fields, kind: &str) -> Result<Option<&'static str>, EngineError> {
    let (temporal, enforced) = (row.truth("temporal")?, row.truth("enforced")?);
    Ok(match kind {
        "f" if temporal => Some("foreign key with a period"),
        "f" if !enforced => Some("foreign key that is not enforced"),
        "c" if !enforced => Some("check constraint that is not enforced"),
        _ => None,
    })
}

fn check(row: &Fields) -> Result<Check, EngineError> {
    Ok(Check {
        name: row.text("name")?,
        native: row.text("native")?,
        validated: row.truth("convalidated")?,
        no_inherit: row.truth("connoinherit")?,
        inherited: !row.truth("conislocal")?,
        comment: row.maybe("comment")?,
    })
}

fn key(row: &Fields, letter: &str) -> Result<Key, EngineError> {
    Ok(Key {
        name: row.text("name")?,
        kind: match letter {
            "p" => KeyKind::Primary,
            "u" => KeyKind::Unique,
            _ => KeyKind::Exclusion,
        },
        parts: Vec::new(),
        include: Vec::new(),
        nulls_not_distinct: false,
        deferrable: row.truth("condeferrable")?,
        initially_deferred: row.truth("condeferred")?,
        method: String::new(),
        predicate: None,
        options: Vec::new(),
        parent: None,
        clustered: false,
        comment: row.maybe("comment")?,
        bytes: 0,
    })
}

fn foreign_key(
    row: &Fields,
    columns: Vec<String>,
    parent_columns: Vec<String>,
    set_columns: Vec<String>,
) -> Result<ForeignKey, EngineError> {
    Ok(ForeignKey {
        name: row.text("name")?,
        columns,
        parent: Name::new(row.text("parent_schema")?, row.text("parent_name")?),
        parent_columns,
        on_delete: action(&row.text("on_delete")?),
        on_update: action(&row.text("on_update")?),
        set_columns,
        matching: if row.text("matching")? == "f" { MatchKind::Full } else { MatchKind::Simple },
        deferrable: row.truth("condeferrable")?,
        initially_deferred: row.truth("condeferred")?,
        validated: row.truth("convalidated")?,
        comment: row.maybe("comment")?,
    })
}

fn action(letter: &str) -> Action {
    match letter {
        "r" => Action::Restrict,
        "c" => Action::Cascade,
        "n" => Action::SetNull,
        "d" => Action::SetDefault,
        _ => Action::NoAction,
    }
}
