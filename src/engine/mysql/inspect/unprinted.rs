//! What a catalog cannot print: characters beyond the basic plane stand there as question marks. Which they are
//! only a table's own statement tells, and of plain defaults and labels nothing does: they are listed.

use super::{Asking, Tables};
use crate::catalog::{Column, Name, OtherObject, Table, Type};
use crate::engine::EngineError;
use crate::engine::mysql::rename;

const UNPRINTED: &str = "text with characters that the catalog does not print";
const DOUBTED: &str = "default or label with a question mark, which may stand for another character";

/// Character sets with characters that a catalog does not print. What is text has a collation.
const BEYOND: [&str; 3] = ["utf8mb4", "utf16", "utf32"];

/// Columns and checks whose texts are not what the catalog says, or may not be.
pub(super) async fn read(asking: &mut Asking<'_>, tables: &Tables) -> Result<Vec<OtherObject>, EngineError> {
    let mut found = Vec::new();
    for table in tables.values().filter(|table| is_marked(table)) {
        let text = asking.statement(&table.name).await?;
        found.extend(text.lines().filter_map(|line| said(table, line.trim())));
        let doubted = table.columns.iter().filter(|column| is_doubted(column));
        found.extend(doubted.map(|column| other(table, DOUBTED, &column.name)));
    }
    Ok(found)
}

fn marked(text: &str) -> bool {
    text.contains('?')
}

fn is_doubted(column: &Column) -> bool {
    let collation = column.collation.as_ref().map_or("", |collation| collation.name.as_str());
    let labelled = matches!(column.ty, Type::Enum { .. } | Type::Set { .. }) && marked(&column.native);
    let default = column.default.as_ref().is_some_and(|default| marked(&default.native));
    (labelled || default) && BEYOND.iter().any(|set| collation.starts_with(set))
}

fn is_marked(table: &Table) -> bool {
    let generated = |column: &Column| column.generated.as_ref().is_some_and(|made| marked(&made.native));
    table.columns.iter().any(|column| is_doubted(column) || generated(column))
        || table.checks.iter().any(|check| marked(&check.native))
}

fn other(table: &Table, kind: &str, name: &str) -> OtherObject {
    OtherObject {
        kind: kind.into(),
        name: Name::new(&table.name.schema, format!("{}.{name}", table.name.name)),
        table: Some(table.name.clone()),
    }
}

/// The column or constraint of a line that holds such a character.
fn said(table: &Table, line: &str) -> Option<OtherObject> {
    let (name, _) = rename::name(line.strip_prefix("CONSTRAINT ").unwrap_or(line))?;
    let beyond = line.chars().any(|c| u32::from(c) > 0xffff);
    beyond.then(|| other(table, UNPRINTED, &name))
}
