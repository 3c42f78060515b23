//! Periods of application time (MariaDB), and keys that let no two of them overlap. Only a table's
//! own statement tells of them on every server; which tables to ask is told by the check that each
//! period makes. That check is carried, and the key as a plain one: what is more to them is listed.

use super::{Asking, Tables};
use crate::catalog::{Check, Name, OtherObject, Table, Type};
use crate::engine::EngineError;
use crate::engine::mysql::quote;

/// What there is of both.
pub(super) async fn read(asking: &mut Asking<'_>, tables: &Tables) -> Result<Vec<OtherObject>, EngineError> {
    let mut found = Vec::new();
    for table in tables.values().filter(|table| table.checks.iter().any(|check| may_be(table, check))) {
        let text = asking.statement(&table.name).await?;
        found.extend(text.lines().filter_map(|line| said(table, line.trim())));
    }
    Ok(found)
}

/// A period checks that it ends after it begins: two columns that are never null.
fn may_be(table: &Table, check: &Check) -> bool {
    let moment = |name: &str| {
        let timed = |ty: &Type| matches!(ty, Type::Date | Type::Timestamp { .. } | Type::TimestampTz { .. });
        table
            .columns
            .iter()
            .any(|column| quote::identifier(&column.name) == name && column.not_null && timed(&column.ty))
    };
    check.native.split_once(" < ").is_some_and(|(from, to)| moment(from) && moment(to))
}

/// What a line of the statement says of a period. That of the row history has no name in quotes.
fn said(table: &Table, line: &str) -> Option<OtherObject> {
    let other = |kind: &str, name: &str| OtherObject {
        kind: kind.into(),
        name: Name::new(&table.name.schema, format!("{}.{}", table.name.name, name.replace("``", "`"))),
        table: Some(table.name.clone()),
    };
    if let Some(rest) = line.strip_prefix("PERIOD FOR `") {
        return Some(other("period", rest.split_once("` (")?.0));
    }
    if !line.contains(" WITHOUT OVERLAPS)") {
        return None;
    }
    match line.strip_prefix("UNIQUE KEY `") {
        Some(rest) => Some(other("key without overlaps", rest.split_once("` (")?.0)),
        None => line.starts_with("PRIMARY KEY").then(|| other("key without overlaps", "PRIMARY")),
    }
}
