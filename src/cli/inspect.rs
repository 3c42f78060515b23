//! `inspect`: the structure of a database, printed or saved. Reads only.

use std::path::Path;

use super::args::{CatalogFormat, InspectArgs, SavedArgs};
use super::ends;
use super::escape::{block, line};
use super::failure::Failure;
use super::number::count;
use super::saved_catalog::{is_json, to_json, to_yaml};
use super::write::{Access, atomic};
use super::{Face, exit, mermaid};
use crate::catalog::dialect::Inline;
use crate::catalog::{Catalog, Dialect, Key, KeyKind};
use crate::engine::{Limits, engine_named};

pub async fn run(args: &InspectArgs, face: &Face) -> Result<u8, Failure> {
    let catalog = read(&args.url, face).await?;
    let format = args.format.unwrap_or_else(|| format_of(args.out.as_deref()));
    let text = rendered(&catalog, format)?;
    match &args.out {
        Some(path) => {
            atomic(path, text.as_bytes(), Access::Usual)?;
            let tables = count(catalog.tables.len(), "table");
            face.screen.say(&format!("saved {tables} in {}", line(&path.display().to_string())));
        }
        None => face.screen.out(&block(&text)),
    }
    Ok(exit::DONE)
}

/// The catalog of `source`, `target` or a URL.
pub async fn read(what: &str, face: &Face) -> Result<Catalog, Failure> {
    match what {
        "source" => {
            let loaded = ends::read_plan(&face.global, &SavedArgs::default())?;
            Ok(ends::open_source(&loaded).await?.inspect().await?)
        }
        "target" => {
            let loaded = ends::read_plan(&face.global, &SavedArgs::default())?;
            Ok(ends::open_target(&loaded, true).await?.inspect().await?)
        }
        url => {
            let (engine, url) = ends::typed_door(url, &face.global.vars)?;
            Ok(engine.source(&url, &Limits::default()).await?.inspect().await?)
        }
    }
}

fn format_of(path: Option<&Path>) -> CatalogFormat {
    let ending = path.and_then(Path::extension).and_then(|ending| ending.to_str());
    match ending {
        Some("sql") => CatalogFormat::Sql,
        Some("mmd" | "mermaid") => CatalogFormat::Mermaid,
        _ if path.is_some_and(is_json) => CatalogFormat::Json,
        _ => CatalogFormat::Yaml,
    }
}

fn rendered(catalog: &Catalog, format: CatalogFormat) -> Result<String, Failure> {
    match format {
        CatalogFormat::Yaml => to_yaml(catalog),
        CatalogFormat::Json => to_json(catalog),
        CatalogFormat::Mermaid => Ok(mermaid::entities(catalog)),
        CatalogFormat::Sql => {
            let engine = engine_named(&catalog.engine)
                .ok_or_else(|| Failure::usage(format!("no engine is called {}", line(&catalog.engine))))?;
            Ok(ddl(catalog, engine.dialect()))
        }
    }
}

/// The statements that would make the catalog, in an order that works.
fn ddl(catalog: &Catalog, dialect: &dyn Dialect) -> String {
    let mut statements = Vec::new();
    catalog.schemas.iter().for_each(|schema| statements.extend(dialect.create_schema(schema)));
    let installed = catalog.extensions.iter().filter(|extension| extension.installed);
    installed.for_each(|extension| statements.extend(dialect.create_extension(extension)));
    catalog.types.iter().for_each(|one| statements.extend(dialect.create_type(one)));
    let owned_by_identity = |s: &&crate::catalog::Sequence| s.owner.as_ref().is_some_and(|o| o.identity);
    let free = || catalog.sequences.iter().filter(|sequence| !owned_by_identity(sequence));
    free().for_each(|sequence| statements.extend(dialect.create_sequence(sequence)));
    let late = dialect.features().alter_adds_constraints;
    for table in &catalog.tables {
        let of_table =
            |s: &&crate::catalog::Sequence| s.owner.as_ref().is_some_and(|o| o.table == table.name);
        let identity: Vec<_> = catalog.sequences.iter().filter(owned_by_identity).filter(of_table).collect();
        let inline = Inline { keys: !late, foreign_keys: !late };
        statements.extend(dialect.create_table(table, &identity, inline));
    }
    free().for_each(|sequence| statements.extend(dialect.own_sequence(sequence)));
    for table in &catalog.tables {
        if late {
            let with_table = |key: &&Key| dialect.features().clustered && key.kind == KeyKind::Primary;
            let keys = table.keys.iter().filter(|key| !with_table(key));
            keys.for_each(|key| statements.extend(dialect.add_key(table, key)));
        }
        table.indexes.iter().for_each(|index| statements.extend(dialect.create_index(table, index)));
    }
    if late {
        for table in &catalog.tables {
            for key in &table.foreign_keys {
                statements.extend(dialect.add_foreign_key(table, key, true));
            }
        }
    }
    statements.into_iter().map(|statement| statement + ";\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_tells_the_format() {
        for (path, format) in [
            ("a.yaml", CatalogFormat::Yaml),
            ("a.JSON", CatalogFormat::Json),
            ("a.sql", CatalogFormat::Sql),
            ("a", CatalogFormat::Yaml),
        ] {
            assert_eq!(format_of(Some(Path::new(path))), format, "{path}");
        }
        assert_eq!(format_of(None), CatalogFormat::Yaml);
    }
}
