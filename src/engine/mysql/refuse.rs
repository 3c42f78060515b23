//! What a table of MySQL or MariaDB cannot have, told before anything is made. Where the flavors
//! differ, what one of them lacks is refused. Pure.

use super::{ddl, types};
use crate::catalog::dialect::Unspeakable;
use crate::catalog::{Action, Column, ForeignKey, Index, IndexPart, Key, KeyKind, MatchKind, Table, Type};

/// Longest key of an index of InnoDB.
const KEY_BYTES_MAX: u64 = 3072;
/// Longest row, without what is stored outside it.
const ROW_BYTES_MAX: u64 = 65_535;
const COLUMNS_MAX: usize = 1017;
const COMMENT_CHARACTERS_MAX: usize = 1024;

fn refused(what: impl Into<String>) -> Option<Unspeakable> {
    Some(Unspeakable { what: what.into() })
}

pub(super) fn key(table: &Table, key: &Key) -> Option<Unspeakable> {
    match key {
        key if key.kind == KeyKind::Exclusion => refused("an exclusion constraint"),
        key if key.nulls_not_distinct => refused("a unique key that takes one null only"),
        key if key.deferrable => refused("a deferrable key"),
        key if key.parts.iter().any(is_expression) => refused("an expression in a key"),
        key => parts(table, &key.parts),
    }
}

/// The beginning of a column is none.
fn is_expression(part: &IndexPart) -> bool {
    part.column.is_none() && part.expression.as_deref().is_none_or(|text| ddl::prefix(text).is_none())
}

pub(super) fn index(table: &Table, index: &Index) -> Option<Unspeakable> {
    match index {
        index if matches!(index.method.as_str(), "fulltext" | "spatial") => None,
        index if !matches!(index.method.as_str(), "" | "btree") => {
            refused(format!("index method {}", index.method))
        }
        index if index.predicate.is_some() => refused("an index over some of the rows"),
        index if !index.include.is_empty() => refused("included columns of an index"),
        index if index.nulls_not_distinct => refused("a unique index that takes one null only"),
        index => parts(table, &index.parts),
    }
}

fn parts(table: &Table, parts: &[IndexPart]) -> Option<Unspeakable> {
    let mut bytes = 0;
    for part in parts {
        if let Some(opclass) = &part.opclass {
            return refused(format!("operator class {opclass}"));
        }
        if part.nulls.is_some() {
            return refused("a place for nulls in an index");
        }
        match (&part.column, &part.expression) {
            (Some(name), _) => {
                let Some(column) = table.column(name) else { continue };
                match stored_bytes(column) {
                    Some(own) => bytes += own,
                    None => {
                        return refused(format!(
                            "a key over {name}, a text or bytes without a limit (`type: varchar(255)` in columns: sets one)"
                        ));
                    }
                }
            }
            (None, Some(expression)) if ddl::prefix(expression).is_some() => {}
            _ => return refused("an expression in an index"),
        }
    }
    match bytes > KEY_BYTES_MAX {
        true => refused(format!("a key of {bytes} bytes; {KEY_BYTES_MAX} at most")),
        false => None,
    }
}

/// Most bytes of a character, by the character set that the column's collation begins with.
fn character_bytes(column: &Column) -> u64 {
    let Some(collation) = &column.collation else { return 4 };
    match collation.name.split('_').next().unwrap_or_default() {
        "latin1" | "latin2" | "latin5" | "latin7" | "ascii" | "cp1250" | "cp1251" | "cp1256" | "cp1257"
        | "cp850" | "cp852" | "cp866" | "koi8r" | "koi8u" | "greek" | "hebrew" | "tis620" | "armscii8"
        | "geostd8" | "macce" | "macroman" | "dec8" | "hp8" | "keybcs2" | "swe7" => 1,
        "ucs2" | "gbk" | "sjis" | "big5" | "gb2312" | "euckr" | "cp932" => 2,
        "utf8mb3" | "utf8" | "ujis" | "eucjpms" => 3,
        _ => 4,
    }
}

/// Bytes of a value where it is stored in the row; none for what has no limit.
fn stored_bytes(column: &Column) -> Option<u64> {
    Some(match types::parse(&column.native) {
        Type::Char { length } | Type::VarChar { length } => u64::from(length) * character_bytes(column),
        Type::Binary { length } => length.into(),
        Type::Blob => {
            let inside = column.native.to_ascii_lowercase();
            let inside = inside.strip_prefix("varbinary(")?.strip_suffix(')')?;
            inside.parse().ok()?
        }
        Type::Text | Type::Json { .. } | Type::Native { .. } => return None,
        Type::Decimal { precision, .. } => u64::from(precision.unwrap_or(65)) / 2 + 1,
        Type::Uuid | Type::Network { .. } => 16,
        _ => 8,
    })
}

pub(super) fn foreign_key(table: &Table, key: &ForeignKey) -> Option<Unspeakable> {
    let nullable = |name: &String| table.column(name).is_none_or(|column| !column.not_null);
    let sets_null = [key.on_delete, key.on_update].contains(&Action::SetNull);
    match key {
        key if key.matching == MatchKind::Full && key.columns.len() > 1 => {
            refused("MATCH FULL of several columns")
        }
        key if !key.set_columns.is_empty() => refused("an action on some columns of a foreign key"),
        key if key.deferrable => refused("a deferrable foreign key"),
        key if [key.on_delete, key.on_update].contains(&Action::SetDefault) => {
            refused("SET DEFAULT of a foreign key")
        }
        key if sets_null && !key.columns.iter().all(nullable) => {
            refused("SET NULL over a column that takes no null")
        }
        key => {
            let long =
                |name: &&String| table.column(name).is_some_and(|column| stored_bytes(column).is_none());
            let name = key.columns.iter().find(long)?;
            refused(format!("a foreign key over {name}, a text or bytes without a limit"))
        }
    }
}

/// Engines whose tables hold rows of their own, which InnoDB keeps as well and in transactions. Others show
/// rows that are elsewhere.
const OWN_ROWS: [&str; 5] = ["MyISAM", "Aria", "MEMORY", "ARCHIVE", "CSV"];

pub(super) fn leaves_option(key: &str, value: &str) -> Option<(String, String)> {
    let holds = key == "engine" && OWN_ROWS.iter().any(|known| known.eq_ignore_ascii_case(value));
    holds.then(|| (format!("storage engine {value}"), "InnoDB on the target".to_string()))
}

pub(super) fn column(table: &Table, column: &Column) -> Option<Unspeakable> {
    let place = table.columns.iter().position(|other| other.name == column.name)?;
    // Said of the first column, and meant of all.
    if let Some(engine) = table.option("engine").filter(|_| place == 0) {
        return refused(format!(
            "a table of engine {engine}, which holds no rows of its own in transactions; skip it, or ALTER TABLE ... \
             ENGINE = InnoDB at the source"
        ));
    }
    if column.native.to_ascii_lowercase().starts_with("vector(") {
        return refused(
            "a vector, which this target is not given in this version; `type: longblob` carries its bytes",
        );
    }
    if column.identity.is_some() && !ddl::counts(table, column) {
        return refused("a column that counts up and does not lead the primary key");
    }
    if column.comment.as_ref().is_some_and(|text| text.chars().count() > COMMENT_CHARACTERS_MAX) {
        return refused(format!("a comment of more than {COMMENT_CHARACTERS_MAX} characters"));
    }
    if place >= COLUMNS_MAX {
        return refused(format!("more than {COLUMNS_MAX} columns"));
    }
    // The row is told of at the column that is one too many.
    let bytes =
        |columns: &[Column]| columns.iter().map(|column| stored_bytes(column).unwrap_or(12) + 2).sum::<u64>();
    let (before, with) = (bytes(&table.columns[..place]), bytes(&table.columns[..=place]));
    match before <= ROW_BYTES_MAX && with > ROW_BYTES_MAX {
        true => refused(format!(
            "a row of more than {ROW_BYTES_MAX} bytes; `type: longtext` is stored outside it"
        )),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, native: &str) -> Column {
        Column {
            name: name.into(),
            ty: types::parse(native),
            native: native.into(),
            not_null: false,
            default: None,
            generated: None,
            identity: None,
            collation: None,
            storage: None,
            compression: None,
            unchecked_text: false,
            inherited: false,
            portable: false,
            stamped: false,
            comment: None,
        }
    }

    #[test]
    fn m_22_a_vector_is_refused_before_anything_is_made() {
        let table = Table { columns: vec![column("v", "vector(3)")], ..Table::default() };
        let why = super::column(&table, &table.columns[0]).map(|refused| refused.what);
        assert!(why.is_some_and(|what| what.contains("longblob")));
    }

    fn part(column: &str) -> IndexPart {
        IndexPart { column: Some(column.into()), ..IndexPart::default() }
    }

    #[test]
    fn pg_13_a_key_needs_a_limit_and_a_row_has_one() {
        let table = Table {
            columns: vec![
                column("t", "longtext"),
                column("v", "varchar(768)"),
                column("w", "varchar(16000)"),
                column("x", "varchar(1000)"),
            ],
            ..Table::default()
        };
        let why = |names: &[&str]| {
            let list: Vec<_> = names.iter().map(|name| part(name)).collect();
            parts(&table, &list).map(|refused| refused.what)
        };
        assert!(why(&["t"]).is_some_and(|what| what.contains("varchar(255)")));
        assert_eq!(why(&["v"]), None);
        assert!(why(&["v", "x"]).is_some_and(|what| what.contains("3072")));
        let latin = Column {
            collation: Some(crate::catalog::Name::new("d", "latin1_swedish_ci")),
            ..column("l", "varchar(3000)")
        };
        let latin = Table { columns: vec![latin], ..Table::default() };
        assert_eq!(parts(&latin, &[part("l")]), None);
        let wide: Vec<_> = table.columns.iter().filter(|own| super::column(&table, own).is_some()).collect();
        assert_eq!(wide.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["w"]);
    }
}
