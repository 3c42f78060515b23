//! Indexes, keys, foreign keys and checks.

use std::collections::{BTreeMap, BTreeSet};

use super::columns::printed;
use super::{Asking, Tables};
use crate::catalog::{
    Action, Check, ForeignKey, Index, IndexPart, Key, KeyKind, MatchKind, Name, Table, Type,
};
use crate::engine::EngineError;
use crate::engine::mysql::connect::Flavor;
use crate::engine::mysql::quote;

/// An index under construction.
struct Parts {
    unique: bool,
    method: String,
    parts: Vec<IndexPart>,
    comment: Option<String>,
    visible: bool,
}

/// Indexes of all tables. Unique ones over whole columns are keys.
pub(super) async fn indexes(asking: &mut Asking<'_>, tables: &mut Tables) -> Result<(), EngineError> {
    let (expression, hidden) = match asking.flavor {
        Flavor::MariaDb => ("NULL", "IGNORED = 'YES'"),
        Flavor::MySql => ("EXPRESSION", "IS_VISIBLE = 'NO'"),
    };
    let sql = format!(
        "SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, COLLATION, SUB_PART, INDEX_TYPE, \
         INDEX_COMMENT, {expression}, {hidden} FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = {} \
         ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX",
        asking.database
    );
    let flavor = asking.flavor;
    let mut found: BTreeMap<(String, String), Parts> = BTreeMap::new();
    for mut row in asking.rows(&sql).await? {
        let (table, index) = (row.text(0), row.text(1));
        let entry = found.entry((table, index)).or_insert_with(|| Parts {
            unique: row.number(2) == 0,
            method: row.text(6).to_lowercase(),
            parts: Vec::new(),
            comment: row.maybe(7).filter(|text| !text.is_empty()),
            visible: row.number(9) == 0,
        });
        let column = row.maybe(3);
        // The beginning of a column is an expression elsewhere.
        let prefix = row.maybe(5).filter(|_| !matches!(entry.method.as_str(), "spatial" | "fulltext"));
        let expression = match (&column, prefix) {
            (Some(column), Some(length)) => Some(format!("left({}, {length})", quote::identifier(column))),
            (None, _) => row.maybe(8).map(|text| printed(flavor, text)),
            _ => None,
        };
        entry.parts.push(IndexPart {
            column: column.filter(|_| expression.is_none()),
            expression,
            descending: row.maybe(4).as_deref() == Some("D"),
            ..IndexPart::default()
        });
    }
    for ((table, name), parts) in found {
        if let Some(table) = tables.get_mut(&table) {
            add_index(table, name, parts);
        }
    }
    Ok(())
}

fn add_index(table: &mut Table, name: String, found: Parts) {
    let primary = name == "PRIMARY";
    let hidden = !found.visible;
    let options: Vec<_> = hidden.then(|| ("ignored".to_string(), "true".to_string())).into_iter().collect();
    let plain = found.parts.iter().all(|part| part.column.is_some());
    if primary || (found.unique && plain) {
        table.keys.push(Key {
            name: if primary { String::new() } else { name },
            kind: if primary { KeyKind::Primary } else { KeyKind::Unique },
            parts: found.parts,
            include: Vec::new(),
            nulls_not_distinct: false,
            deferrable: false,
            initially_deferred: false,
            method: String::new(),
            predicate: None,
            options,
            parent: None,
            clustered: false,
            comment: found.comment,
            bytes: 0,
        });
        return;
    }
    table.indexes.push(Index {
        name,
        unique: found.unique,
        // Hashes of tables in memory answer what a tree answers.
        method: if found.method == "hash" { "btree".to_string() } else { found.method },
        parts: found.parts,
        include: Vec::new(),
        nulls_not_distinct: false,
        predicate: None,
        options,
        parent: None,
        valid: true,
        clustered: false,
        comment: found.comment,
        bytes: 0,
    });
}

/// Foreign keys of all tables. Returns the tables whose keys are seen and their rules are not.
pub(super) async fn foreign_keys(
    asking: &mut Asking<'_>,
    tables: &mut Tables,
) -> Result<Vec<Name>, EngineError> {
    let database = asking.database.clone();
    let sql = format!(
        "SELECT TABLE_NAME, CONSTRAINT_NAME, DELETE_RULE, UPDATE_RULE \
         FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = {database}"
    );
    let mut rules = BTreeMap::new();
    for mut row in asking.rows(&sql).await? {
        rules.insert((row.text(0), row.text(1)), (action(&row.text(2)), action(&row.text(3))));
    }
    let sql = format!(
        "SELECT TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, \
         REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = {database} \
         AND REFERENCED_TABLE_NAME IS NOT NULL ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION"
    );
    let mut unruled = BTreeSet::new();
    let mut found: BTreeMap<(String, String), ForeignKey> = BTreeMap::new();
    for mut row in asking.rows(&sql).await? {
        let place = (row.text(0), row.text(1));
        let rule = rules.get(&place).copied();
        if let (None, Some(table)) = (rule, tables.get(&place.0)) {
            unruled.insert(table.name.clone());
        }
        let (on_delete, on_update) = rule.unwrap_or_default();
        let key = found.entry(place.clone()).or_insert_with(|| ForeignKey {
            name: place.1,
            columns: Vec::new(),
            parent: Name::new(row.text(3), row.text(4)),
            parent_columns: Vec::new(),
            on_delete,
            on_update,
            set_columns: Vec::new(),
            matching: MatchKind::Simple,
            deferrable: false,
            initially_deferred: false,
            validated: true,
            comment: None,
        });
        key.columns.push(row.text(2));
        key.parent_columns.push(row.text(5));
    }
    for ((table, _), key) in found {
        if let Some(table) = tables.get_mut(&table) {
            table.foreign_keys.push(key);
        }
    }
    Ok(unruled.into_iter().collect())
}

/// InnoDB checks at once: its NO ACTION is RESTRICT, and which of the two was written says nothing.
fn action(rule: &str) -> Action {
    match rule {
        "CASCADE" => Action::Cascade,
        "SET NULL" => Action::SetNull,
        "SET DEFAULT" => Action::SetDefault,
        _ => Action::NoAction,
    }
}

/// Checks of all tables. The one that makes a text JSON makes the column's type, and goes.
pub(super) async fn checks(asking: &mut Asking<'_>, tables: &mut Tables) -> Result<(), EngineError> {
    let database = asking.database.clone();
    let sql = match asking.flavor {
        Flavor::MariaDb => format!(
            "SELECT TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE, 'YES' FROM information_schema.CHECK_CONSTRAINTS \
             WHERE CONSTRAINT_SCHEMA = {database}"
        ),
        Flavor::MySql => format!(
            "SELECT t.TABLE_NAME, c.CONSTRAINT_NAME, c.CHECK_CLAUSE, t.ENFORCED \
             FROM information_schema.CHECK_CONSTRAINTS AS c JOIN information_schema.TABLE_CONSTRAINTS AS t \
             ON t.CONSTRAINT_SCHEMA = c.CONSTRAINT_SCHEMA AND t.CONSTRAINT_NAME = c.CONSTRAINT_NAME \
             WHERE c.CONSTRAINT_SCHEMA = {database} AND t.CONSTRAINT_TYPE = 'CHECK'"
        ),
    };
    let flavor = asking.flavor;
    for mut row in asking.rows(&sql).await? {
        let Some(table) = tables.get_mut(&row.text(0)) else { continue };
        let native = printed(flavor, row.text(2));
        if flavor == Flavor::MariaDb && makes_json(table, &native) {
            continue;
        }
        table.checks.push(Check {
            name: row.text(1),
            native,
            // A check that is not enforced is like one that was never validated.
            validated: row.text(3) != "NO",
            no_inherit: false,
            inherited: false,
            comment: None,
        });
    }
    Ok(())
}

/// MariaDB's JSON is a long text with a check.
fn makes_json(table: &mut Table, native: &str) -> bool {
    let column = table.columns.iter_mut().find(|column| {
        column.ty == Type::Text && native == format!("json_valid({})", quote::identifier(&column.name))
    });
    let Some(column) = column else { return false };
    column.ty = Type::Json { binary: false };
    column.native = "json".into();
    column.collation = None;
    true
}
