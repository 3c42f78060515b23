//! What a catalog cannot print: characters beyond the basic plane stand there as question marks. Which they are
//! only a table's own statement tells, and of plain defaults nothing does: they are listed.

use super::{Asking, Tables};
use crate::catalog::{Column, Name, OtherObject, Table};
use crate::engine::EngineError;

const UNPRINTED: &str = "text with characters that the catalog does not print";
const DOUBTED: &str = "default with a question mark, which may stand for another character";

/// Columns and checks whose texts are not what the catalog says, or may not be.
pub(super) async fn read(asking: &mut Asking<'_>, tables: &Tables) -> Result<Vec<OtherObject>, EngineError> {
    let mut found = Vec::new();
    for table in tables.values().filter(|table| is_marked(table)) {
        let text = asking.statement(&table.name).await?;
        found.extend(text.lines().filter_map(|line| said(table, line.trim())));
        let defaults = table.columns.iter().filter(|column| default(column).is_some_and(marked));
        let doubted: Vec<_> = defaults.map(|column| other(table, DOUBTED, &column.name)).collect();
        found.extend(doubted);
    }
    Ok(found)
}

fn marked(text: &str) -> bool {
    text.contains('?')
}

fn default(column: &Column) -> Option<&str> {
    Some(column.default.as_ref()?.native.as_str())
}

fn is_marked(table: &Table) -> bool {
    let generated = |column: &Column| column.generated.as_ref().is_some_and(|made| marked(&made.native));
    table.columns.iter().any(|column| default(column).is_some_and(marked) || generated(column))
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
    let name = line.strip_prefix("CONSTRAINT ").unwrap_or(line).strip_prefix('`')?;
    let beyond = line.chars().any(|c| u32::from(c) > 0xffff);
    beyond.then(|| other(table, UNPRINTED, &name.split('`').next().unwrap_or_default().replace("``", "`")))
}
