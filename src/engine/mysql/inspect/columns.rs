//! Columns: types, defaults, generated expressions, counters, collations.

use std::collections::BTreeSet;

use super::{Asking, Facts, Found};
use crate::catalog::table::{Default as ColumnDefault, Generated};
use crate::catalog::{Catalog, Column, Identity, Name, Sequence, Type};
use crate::engine::EngineError;
use crate::engine::mysql::connect::Flavor;
use crate::engine::mysql::{quote, types};

/// Fills the columns of all tables, in their order. Returns the tables that may not be read.
pub(super) async fn read(
    asking: &mut Asking<'_>,
    found: &mut Found,
    catalog: &mut Catalog,
) -> Result<Vec<Name>, EngineError> {
    // MariaDB keeps a reference system with each value only.
    let reference = if asking.flavor == Flavor::MySql { "SRS_ID" } else { "NULL" };
    let sql = format!(
        "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, COLUMN_DEFAULT, IS_NULLABLE, EXTRA, \
         GENERATION_EXPRESSION, COLLATION_NAME, CHARACTER_SET_NAME, COLUMN_COMMENT, PRIVILEGES, {reference} \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} ORDER BY TABLE_NAME, ORDINAL_POSITION",
        asking.database
    );
    let flavor = asking.flavor;
    let mut denied = BTreeSet::new();
    for mut row in asking.rows(&sql).await? {
        let (name, privileges) = (row.text(0), row.text(10).to_lowercase());
        let readable = privileges.split(',').any(|privilege| privilege.trim() == "select");
        // A sequence is a table of one row, and its columns are here too.
        if !readable && let Some(at) = found.sequences.iter().position(|sequence| *sequence == name) {
            denied.insert(Name::new(&catalog.default_schema, found.sequences.remove(at)));
            continue;
        }
        let Some(table) = found.tables.get_mut(&name) else { continue };
        if !readable {
            denied.insert(table.name.clone());
        }
        let extra = row.text(5).to_lowercase();
        // The periods of a versioned table are hidden, and filled by the server.
        if extra.contains("row start") || extra.contains("row end") {
            continue;
        }
        let column = column(flavor, &mut row, &extra, &table.name.schema);
        if column.identity.is_some() {
            catalog.sequences.push(counter(&table.name, &column));
        }
        table.columns.push(column);
    }
    Ok(denied.into_iter().collect())
}

fn column(flavor: Flavor, row: &mut Facts, extra: &str, schema: &str) -> Column {
    let (name, native) = (row.text(1), row.text(2));
    let (default, nullable) = (row.maybe(3), row.text(4) == "YES");
    let (expression, collation, charset) = (row.maybe(6), row.maybe(7), row.maybe(8));
    let mut ty = types::parse(&native);
    if flavor == Flavor::MySql && ty == (Type::Json { binary: false }) {
        ty = Type::Json { binary: true };
    }
    let generated = expression.filter(|text| !text.is_empty()).map(|text| Generated {
        native: printed(flavor, text),
        stored: extra.contains("stored") || extra.contains("persistent"),
    });
    let default = match (&generated, extra.contains("auto_increment")) {
        (None, false) => default.and_then(|text| default_of(flavor, text, extra, &ty)),
        _ => None,
    };
    // Attributes that no other engine has; a plan notes that they go.
    let (_, attributes) = parted(&native);
    let words = [("zerofill", attributes.contains("zerofill")), ("invisible", extra.contains("invisible"))];
    let words = words.into_iter().filter(|(_, there)| *there).map(|(word, _)| word.to_string());
    let words: Vec<String> = words.chain(row.maybe(11).map(|number| format!("srid {number}"))).collect();
    Column {
        unchecked_text: charset.as_deref().is_some_and(unchecked) && is_textual(&ty),
        collation: collation
            .filter(|name| !by_bytes(name) && is_textual(&ty))
            .map(|name| Name::new(schema, name)),
        native: bare(&native, &ty),
        not_null: !nullable,
        default,
        generated,
        identity: extra.contains("auto_increment").then_some(Identity::ByDefault),
        storage: (!words.is_empty()).then(|| words.join(" ")),
        compression: attributes.to_lowercase().contains("compressed").then(|| "compressed".to_string()),
        inherited: false,
        portable: false,
        stamped: extra.contains("on update"),
        comment: row.maybe(9).filter(|text| !text.is_empty()),
        name,
        ty,
    }
}

/// A printed type with what is in its parentheses, labels for instance, and what follows them.
fn parted(native: &str) -> (&str, &str) {
    native.split_at(native.rfind(')').map_or(0, |end| end + 1))
}

/// The printed type without widths of integers, which say how a number is shown (but one that is filled up
/// with zeros), and without `COMPRESSED`, which says how it is kept.
fn bare(native: &str, ty: &Type) -> String {
    let (head, attributes) = parted(native);
    let native = format!("{head}{}", attributes.split(" /*").next().unwrap_or_default());
    let filled = native.strip_suffix(" zerofill");
    match (ty, filled) {
        (Type::Int { .. } | Type::UInt { .. }, Some(wide)) => wide.to_string(),
        (Type::Int { .. } | Type::UInt { .. }, None) => types::normal(&native).unwrap_or(native),
        _ => native,
    }
}

fn is_textual(ty: &Type) -> bool {
    matches!(ty, Type::Char { .. } | Type::VarChar { .. } | Type::Text | Type::Enum { .. } | Type::Set { .. })
}

/// Character sets with characters that have no counterpart in Unicode, or no single one.
fn unchecked(charset: &str) -> bool {
    matches!(
        charset,
        "big5"
            | "sjis"
            | "cp932"
            | "ujis"
            | "eucjpms"
            | "euckr"
            | "gb2312"
            | "gbk"
            | "gb18030"
            | "armscii8"
            | "dec8"
            | "hp8"
            | "swe7"
            | "geostd8"
            | "keybcs2"
            | "tis620"
    )
}

/// Collations under which texts are equal when their bytes are. Those that pad with blanks are not
/// among them: to them `a` is `a `.
pub(super) fn by_bytes(collation: &str) -> bool {
    collation == "binary" || collation.ends_with("_nopad_bin") || collation == "utf8mb4_0900_bin"
}

/// A default as MariaDB prints it: literals in quotes, expressions as they are, NULL for none.
fn default_of(flavor: Flavor, text: String, extra: &str, ty: &Type) -> Option<ColumnDefault> {
    let native = match flavor {
        Flavor::MariaDb if text.eq_ignore_ascii_case("null") => return None,
        Flavor::MariaDb => text,
        Flavor::MySql if extra.contains("default_generated") => printed(flavor, text),
        Flavor::MySql => match ty {
            Type::Int { .. } | Type::UInt { .. } | Type::Decimal { .. } | Type::Float { .. } => text,
            Type::Bit { .. } => text,
            _ => quote::literal(&text),
        },
    };
    Some(ColumnDefault { native: widened(native, ty), sequence: None }).map(|default| {
        match sequence_of(&default.native) {
            Some(sequence) => ColumnDefault { sequence: Some(sequence), ..default },
            None => default,
        }
    })
}

/// The bits of a default in the length of their column: `b'1'` of a `bit(4)` is `b'0001'`.
fn widened(native: String, ty: &Type) -> String {
    let Type::Bit { length: Some(length), .. } = ty else { return native };
    let bits = native.strip_prefix("b'").and_then(|rest| rest.strip_suffix('\''));
    match bits {
        Some(bits) => format!("b'{bits:0>width$}'", width = *length as usize),
        None => native,
    }
}

/// The sequence of a default that does nothing but draw from it.
fn sequence_of(native: &str) -> Option<Name> {
    let inside = native.strip_prefix("nextval(")?.strip_suffix(')')?;
    let (schema, name) = inside.strip_prefix('`')?.strip_suffix('`')?.split_once("`.`")?;
    Some(Name::new(schema.replace("``", "`"), name.replace("``", "`")))
}

/// An expression as it was written: MySQL prints it with its quotes escaped once more.
pub(super) fn printed(flavor: Flavor, text: String) -> String {
    match flavor {
        Flavor::MariaDb => text,
        Flavor::MySql => text.replace("\\'", "'").replace("\\\\", "\\"),
    }
}

/// What a column that counts up draws from. Its range is the column's.
fn counter(table: &Name, column: &Column) -> Sequence {
    let max = match column.ty {
        Type::Int { bits } => i64::MAX >> (64 - u32::from(bits)),
        Type::UInt { bits } if bits < 64 => (1_i64 << bits) - 1,
        _ => i64::MAX,
    };
    Sequence {
        name: Name::new(&table.schema, format!("{}_{}_seq", table.name, column.name)),
        data_type: "bigint".into(),
        start: 1,
        increment: 1,
        min: 1,
        max,
        cache: 1,
        cycle: false,
        owner: Some(crate::catalog::SequenceOwner {
            table: table.clone(),
            column: column.name.clone(),
            identity: true,
        }),
        comment: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_35_defaults_are_told_from_their_absence() {
        let read = |flavor, text: &str, extra: &str, ty: Type| {
            default_of(flavor, text.into(), extra, &ty).map(|default| default.native)
        };
        let text = || Type::VarChar { length: 9 };
        assert_eq!(read(Flavor::MariaDb, "NULL", "", text()), None);
        assert_eq!(read(Flavor::MariaDb, "'NULL'", "", text()).as_deref(), Some("'NULL'"));
        assert_eq!(read(Flavor::MySql, "it's", "", text()).as_deref(), Some("'it''s'"));
        assert_eq!(read(Flavor::MySql, "uuid()", "default_generated", text()).as_deref(), Some("uuid()"));
        let bit = Type::Bit { length: Some(4), varying: false };
        assert_eq!(read(Flavor::MariaDb, "b'1'", "", bit).as_deref(), Some("b'0001'"));
        assert_eq!(sequence_of("nextval(`d`.`s``x`)"), Some(Name::new("d", "s`x")));
    }
}
