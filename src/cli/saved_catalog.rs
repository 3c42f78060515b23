//! Catalogs in files: what `inspect --out` writes and `--source-catalog` reads. YAML or JSON by
//! the file's ending; unknown fields are refused.

use std::path::Path;

use super::escape::line;
use super::exit;
use super::failure::Failure;
use crate::catalog::Catalog;

/// Bytes of the largest saved catalog: some ten thousand tables.
const CATALOG_BYTES_MAX: u64 = 256 << 20;

pub fn read(path: &Path) -> Result<Catalog, Failure> {
    let shown = line(&path.display().to_string());
    let bad =
        |error: String| Failure::new(exit::INVALID, format!("cannot read the catalog {shown}: {error}"));
    let meta = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?;
    if meta.len() > CATALOG_BYTES_MAX {
        return Err(bad(format!("it is larger than {} MiB", CATALOG_BYTES_MAX >> 20)));
    }
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let catalog = match is_json(path) {
        true => serde_json::from_str(&text).map_err(|error| error.to_string()),
        false => serde_yaml::from_str(&text).map_err(|error| error.to_string()),
    };
    catalog.map_err(|error| bad(error).help("save one with: towpath inspect URL --out FILE.yaml"))
}

pub fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
}

pub fn to_yaml(catalog: &Catalog) -> Result<String, Failure> {
    serde_yaml::to_string(catalog)
        .map_err(|error| Failure::new(exit::INTERNAL, format!("cannot write the catalog as YAML: {error}")))
}

pub fn to_json(catalog: &Catalog) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(catalog).map_err(|error| {
        Failure::new(exit::INTERNAL, format!("cannot write the catalog as JSON: {error}"))
    })?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Column, Name, Table, Type};

    fn sample() -> Catalog {
        let column = |name: &str, native: &str, ty| Column {
            name: name.into(),
            ty,
            native: native.into(),
            not_null: true,
            default: None,
            generated: None,
            identity: None,
            collation: None,
            storage: None,
            compression: None,
            unchecked_text: false,
            inherited: false,
            portable: true,
            stamped: false,
            comment: Some("yes: \"no\" # 0123".into()),
        };
        let table = Table {
            name: Name::new("public", "odd \u{202e}\nname"),
            columns: vec![
                column("no", "bigint", Type::Int { bits: 64 }),
                column("on", "numeric(10,2)", Type::Decimal { precision: Some(10), scale: Some(2) }),
            ],
            ..Table::default()
        };
        Catalog {
            engine: "postgres".into(),
            version: "15.10".into(),
            tables: vec![table],
            ..Catalog::default()
        }
    }

    #[test]
    fn a_saved_catalog_reads_back_equal_in_both_forms() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in [("c.yaml", to_yaml(&sample())), ("c.json", to_json(&sample()))] {
            let path = folder.path().join(name);
            let text = text.map_err(|f| f.exit).expect("serializable");
            std::fs::write(&path, &text).expect("writable");
            let read = read(&path).unwrap_or_else(|failure| panic!("{failure:?}\n{text}"));
            assert_eq!(read, sample(), "{text}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("c.yaml");
        let text = to_yaml(&sample()).map_err(|f| f.exit).expect("serializable");
        std::fs::write(&path, format!("{text}\nsurprise: 1\n")).expect("writable");
        assert_eq!(read(&path).map(|_| ()).map_err(|failure| failure.exit), Err(exit::INVALID));
    }
}
