//! Parsers of full-text indexes, and those that a server has. Which one an index has only the table's own
//! statement tells.

use super::{Asking, Tables};
use crate::engine::EngineError;
use crate::engine::mysql::statement;

/// Adds to each index the parser that it names.
pub(super) async fn read(asking: &mut Asking<'_>, tables: &mut Tables) -> Result<(), EngineError> {
    for table in tables.values_mut() {
        if !table.indexes.iter().any(|index| index.method == "fulltext") {
            continue;
        }
        let text = asking.statement(&table.name).await?;
        for (name, parser) in text.lines().filter_map(statement::parser) {
            if let Some(index) = table.indexes.iter_mut().find(|index| index.name == name) {
                index.options.push(("parser".into(), parser));
            }
        }
    }
    Ok(())
}

/// What this server has.
pub(super) async fn all(asking: &mut Asking<'_>) -> Result<Vec<String>, EngineError> {
    let sql = "SELECT PLUGIN_NAME FROM information_schema.PLUGINS WHERE PLUGIN_TYPE = 'FTPARSER' \
               AND PLUGIN_STATUS = 'ACTIVE' ORDER BY 1";
    Ok(asking.rows(sql).await?.iter_mut().map(|row| row.text(0)).collect())
}
