//! DDL. A table is made with its primary key, by which InnoDB stores the rows; other keys, indexes
//! and foreign keys are added to it. Every statement ends the transaction that it is in, so that
//! each step is one. Pure.

use super::quote::{identifier, label, literal, name};
use super::types;
use crate::catalog::dialect::Inline;
use crate::catalog::table::PARTITION_BY;
use crate::catalog::{
    Action, Check, Column, ForeignKey, Index, IndexPart, Key, KeyKind, Name, Sequence, Table, Type,
};

const OPTIONS: &str = "ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT";

/// Texts compare by their bytes, blanks at the end included; each flavor has its own name for that
/// and skips the other's.
const BY_BYTES: &str =
    "CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */";

/// The statement that makes a table with columns, checks and its primary key.
pub(super) fn create_table(table: &Table, inline: Inline) -> String {
    let mut lines: Vec<_> = table.columns.iter().map(|column| column_line(table, column)).collect();
    lines.extend(table.primary_key().map(key_text));
    if inline.keys {
        lines.extend(table.keys.iter().filter(|key| key.kind != KeyKind::Primary).map(key_text));
    }
    lines.extend(table.checks.iter().filter(|check| check.validated).map(check_text));
    let comment = table.comment.as_ref().map(|text| format!(" COMMENT={}", literal(text)));
    let partitions = table.option(PARTITION_BY).map(|by| format!("\nPARTITION BY {by}"));
    format!(
        "CREATE TABLE {} (\n  {}\n) {OPTIONS} {}{}{}",
        name(&table.name),
        lines.join(",\n  "),
        collation(table.collation.as_ref()),
        comment.unwrap_or_default(),
        partitions.unwrap_or_default()
    )
}

/// A sequence of MariaDB ("CREATE SEQUENCE" in its manual).
pub(super) fn create_sequence(sequence: &Sequence) -> String {
    let Sequence { start, increment, min, max, .. } = sequence;
    let cache = if sequence.cache > 1 { format!("CACHE {}", sequence.cache) } else { "NOCACHE".to_string() };
    let cycle = if sequence.cycle { "CYCLE" } else { "NOCYCLE" };
    let comment = sequence.comment.as_ref().map(|text| format!(" COMMENT = {}", literal(text)));
    format!(
        "CREATE SEQUENCE {} START WITH {start} MINVALUE {min} MAXVALUE {max} INCREMENT BY {increment} {cache} {cycle} \
         ENGINE = InnoDB{}",
        name(&sequence.name),
        comment.unwrap_or_default()
    )
}

fn collation(named: Option<&Name>) -> String {
    named.map_or_else(|| BY_BYTES.to_string(), |named| format!("COLLATE {}", identifier(&named.name)))
}

/// The column that counts up: it leads the primary key.
pub(super) fn counts(table: &Table, column: &Column) -> bool {
    let first = table.primary_key().and_then(|key| key.parts.first()).and_then(|part| part.column.as_deref());
    column.identity.is_some() && first == Some(column.name.as_str())
}

/// The type as a statement takes it, which the executable comments in some are not part of.
fn type_text(column: &Column) -> String {
    let labels = |labels: &[String]| labels.iter().map(|of| label(of)).collect::<Vec<_>>().join(",");
    match types::parse(&column.native) {
        Type::Enum { labels: of, .. } => format!("enum({})", labels(&of)),
        Type::Set { labels: of } => format!("set({})", labels(&of)),
        _ => column.native.split(" /*").next().unwrap_or(&column.native).to_string(),
    }
}

fn column_line(table: &Table, column: &Column) -> String {
    let mut line = format!("{} {}", identifier(&column.name), type_text(column));
    let kept = |word: &str| column.storage.as_deref().is_some_and(|storage| storage.contains(word));
    if kept("zerofill") && !column.native.contains("zerofill") {
        line.push_str(" ZEROFILL");
    }
    if column.compression.is_some() {
        line.push_str(" /*M!100301 COMPRESSED*/");
    }
    let textual = matches!(
        types::parse(&column.native),
        Type::Char { .. } | Type::VarChar { .. } | Type::Text | Type::Enum { .. } | Type::Set { .. }
    );
    // Else it would compare as the table says.
    if column.collation.is_some() || textual && table.collation.is_some() {
        line.push_str(&format!(" {}", collation(column.collation.as_ref())));
    }
    if let Some(generated) = &column.generated {
        let how = if generated.stored { "STORED" } else { "VIRTUAL" };
        line.push_str(&format!(" GENERATED ALWAYS AS ({}) {how}", generated.native));
    }
    // MariaDB refuses the word for generated columns, and a TIMESTAMP without one is NOT NULL on some
    // servers.
    match (column.not_null, &column.generated) {
        (_, Some(_)) => {}
        (true, None) => line.push_str(" NOT NULL"),
        (false, None) => line.push_str(" NULL"),
    }
    if let Some(default) = &column.default {
        line.push_str(&format!(" DEFAULT {}", default_text(column, &default.native)));
    }
    if column.stamped {
        line.push_str(&format!(" ON UPDATE {}", present(column)));
    }
    if counts(table, column) {
        line.push_str(" AUTO_INCREMENT");
    }
    // The values of MariaDB say theirs themselves.
    let reference = column.storage.as_deref().and_then(|storage| storage.split_once("srid "));
    if let Some((_, reference)) = reference {
        line.push_str(&format!(" /*!80003 SRID {reference} */"));
    }
    if kept("invisible") {
        line.push_str(" INVISIBLE");
    }
    if let Some(comment) = &column.comment {
        line.push_str(&format!(" COMMENT {}", literal(comment)));
    }
    line
}

/// The table that a statement makes with a TIMESTAMP whose default some servers choose themselves, and for
/// the first of them ON UPDATE too (`explicit_defaults_for_timestamp = OFF`).
pub(super) fn leaves_moment_open(statement: &str) -> Option<&str> {
    let (table, columns) = statement.strip_prefix("CREATE TABLE ")?.split_once(" (\n")?;
    let open = |line: &str| {
        let Some(said) = past_name(line).filter(|rest| rest.starts_with(" timestamp")) else { return false };
        let said = said.split(" COMMENT ").next().unwrap_or(said);
        said.contains(" NOT NULL") && !said.contains(" DEFAULT ") && !said.contains(" AS (")
    };
    columns.lines().any(open).then_some(table)
}

/// What a line of a table says of a column, behind its quoted name.
fn past_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start().strip_prefix('`')?;
    loop {
        rest = rest.split_once('`')?.1;
        match rest.strip_prefix('`') {
            Some(more) => rest = more,
            None => return Some(rest),
        }
    }
}

/// The present moment in the digits of its column.
fn present(column: &Column) -> String {
    let precision = |ty: &Type| match ty {
        Type::Timestamp { precision } | Type::TimestampTz { precision } => Some(*precision),
        _ => None,
    };
    match precision(&types::parse(&column.native)).or_else(|| precision(&column.ty)) {
        None | Some(0) => "current_timestamp()".into(),
        Some(digits) => format!("current_timestamp({digits})"),
    }
}

/// What is no literal, and any default of a long text, stands in parentheses.
fn default_text(column: &Column, native: &str) -> String {
    let lower = native.to_ascii_lowercase();
    if lower.starts_with("current_timestamp") || lower.starts_with("now(") {
        return present(column);
    }
    let long = matches!(types::parse(&column.native), Type::Text | Type::Blob | Type::Json { .. });
    let is_literal = native.starts_with('\'') && native.ends_with('\'')
        || lower == "null"
        || native.starts_with("b'")
        || native.starts_with("x'")
        || native.parse::<f64>().is_ok();
    if is_literal && !long { native.to_string() } else { format!("({native})") }
}

fn part_list(parts: &[IndexPart]) -> String {
    let part = |part: &IndexPart| {
        let mut text = match (&part.column, &part.expression) {
            (Some(column), _) => identifier(column),
            (None, Some(expression)) => match prefix(expression) {
                Some((column, length)) => format!("{column}({length})"),
                None => format!("({expression})"),
            },
            (None, None) => String::new(),
        };
        if part.descending {
            text.push_str(" DESC");
        }
        text
    };
    parts.iter().map(part).collect::<Vec<_>>().join(", ")
}

/// The beginning of a column, as it is read: the quoted column and so many characters.
pub(super) fn prefix(expression: &str) -> Option<(&str, &str)> {
    let inside = expression.strip_prefix("left(`")?.strip_suffix(')')?;
    let (_, length) = inside.rsplit_once("`, ")?;
    let column = &expression["left(".len()..expression.len() - length.len() - ", )".len()];
    length.bytes().all(|byte| byte.is_ascii_digit()).then_some((column, length))
}

fn key_text(key: &Key) -> String {
    let name = match key.kind {
        KeyKind::Primary => "PRIMARY KEY".to_string(),
        _ if key.name.is_empty() => "UNIQUE KEY".to_string(),
        _ => format!("UNIQUE KEY {}", identifier(&key.name)),
    };
    format!("{name} ({}){}", part_list(&key.parts), rest_of_index(&key.options, key.comment.as_ref()))
}

/// What is said of an index behind its parts. Each flavor has its own word for one that no query uses,
/// and skips the other's.
fn rest_of_index(options: &[(String, String)], comment: Option<&String>) -> String {
    let parser = options.iter().find(|(name, _)| name == "parser");
    let parser = parser.map(|(_, parser)| format!(" WITH PARSER {}", identifier(parser))).unwrap_or_default();
    let comment = comment.map(|text| format!(" COMMENT {}", literal(text))).unwrap_or_default();
    let hidden = options.iter().any(|(name, _)| name == "ignored");
    let hidden = if hidden { " /*M! IGNORED */ /*!80000 INVISIBLE */" } else { "" };
    format!("{parser}{comment}{hidden}")
}

fn check_text(check: &Check) -> String {
    let constraint = match check.name.is_empty() {
        true => String::new(),
        false => format!("CONSTRAINT {} ", identifier(&check.name)),
    };
    format!("{constraint}CHECK ({})", check.native)
}

pub(super) fn add_check(table: &Table, check: &Check) -> String {
    format!("ALTER TABLE {} ADD {}", name(&table.name), check_text(check))
}

pub(super) fn add_key(table: &Table, key: &Key) -> String {
    format!("ALTER TABLE {} ADD {}", name(&table.name), key_text(key))
}

pub(super) fn create_index(table: &Table, index: &Index) -> String {
    let kind = match index.method.as_str() {
        "fulltext" => "FULLTEXT ",
        "spatial" => "SPATIAL ",
        _ if index.unique => "UNIQUE ",
        _ => "",
    };
    format!(
        "CREATE {kind}INDEX {} ON {} ({}){}",
        identifier(&index.name),
        name(&table.name),
        part_list(&index.parts),
        rest_of_index(&index.options, index.comment.as_ref())
    )
}

fn action(action: Action) -> &'static str {
    match action {
        Action::NoAction => "NO ACTION",
        Action::Restrict => "RESTRICT",
        Action::Cascade => "CASCADE",
        Action::SetNull => "SET NULL",
        Action::SetDefault => "SET DEFAULT",
    }
}

/// From here on a session writes rows without a look at foreign keys.
pub(super) const UNCHECKED: &str = "SET foreign_key_checks = 0";
/// From here on it looks again.
pub(super) const CHECKED: &str = "SET foreign_key_checks = 1";

/// Rows of the table that point to none of the parent's. A row with a null in the key points nowhere.
pub(super) fn orphans(table: &Table, key: &ForeignKey) -> String {
    let set = key.columns.iter().map(|column| format!("c.{} IS NOT NULL", identifier(column)));
    let pairs = key.columns.iter().zip(&key.parent_columns);
    let same = pairs.map(|(own, theirs)| format!("p.{} = c.{}", identifier(theirs), identifier(own)));
    format!(
        "SELECT 1 FROM {} AS c WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE {})",
        name(&table.name),
        set.collect::<Vec<_>>().join(" AND "),
        name(&key.parent),
        same.collect::<Vec<_>>().join(" AND "),
    )
}

/// With its checks on, a server looks at the rows that are there when a key is added.
pub(super) fn add_foreign_key(table: &Table, key: &ForeignKey, validate: bool) -> Vec<String> {
    let list = |names: &[String]| names.iter().map(|name| identifier(name)).collect::<Vec<_>>().join(", ");
    let constraint = match key.name.is_empty() {
        true => String::new(),
        false => format!("CONSTRAINT {} ", identifier(&key.name)),
    };
    let add = format!(
        "ALTER TABLE {} ADD {constraint}FOREIGN KEY ({}) REFERENCES {} ({}) ON DELETE {} ON UPDATE {}",
        name(&table.name),
        list(&key.columns),
        name(&key.parent),
        list(&key.parent_columns),
        action(key.on_delete),
        action(key.on_update)
    );
    match validate {
        true => vec![add],
        false => {
            vec![UNCHECKED.into(), add, CHECKED.into()]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::table::{Default as ColumnDefault, Identity};

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
    fn the_name_of_a_column_does_not_hide_what_the_server_would_add() {
        let table = |line: &str| format!("CREATE TABLE `t` (\n  {line},\n  `b` int NULL\n)");
        let open = |line: &str| leaves_moment_open(&table(line)).is_some();
        assert!(open("`a` timestamp NOT NULL"));
        assert!(open("`a COMMENT `` b` timestamp(3) NOT NULL COMMENT 'x'"));
        assert!(open("`a DEFAULT b` timestamp NOT NULL"));
        assert!(open("`a` timestamp NOT NULL COMMENT 'has no DEFAULT '"));
        assert!(!open("`a` timestamp NOT NULL DEFAULT current_timestamp() COMMENT 'x'"));
        assert!(!open("`a` timestamp NULL"));
        assert!(!open("`a`` timestamp NOT NULL` int"));
    }

    fn default(native: &str) -> Option<ColumnDefault> {
        Some(ColumnDefault { native: native.into(), sequence: None })
    }

    fn key(kind: KeyKind, name: &str, column: &str) -> Key {
        Key {
            name: name.into(),
            kind,
            parts: vec![IndexPart { column: Some(column.into()), ..IndexPart::default() }],
            include: Vec::new(),
            nulls_not_distinct: false,
            deferrable: false,
            initially_deferred: false,
            method: String::new(),
            predicate: None,
            options: Vec::new(),
            parent: None,
            clustered: false,
            comment: None,
            bytes: 0,
        }
    }

    #[test]
    fn i_01_a_table_is_one_statement_with_its_primary_key() {
        let table = Table {
            name: Name::new("d`b", "t"),
            columns: vec![
                Column { identity: Some(Identity::ByDefault), not_null: true, ..column("id", "int") },
                Column { default: default("current_timestamp()"), ..column("at", "datetime(6)") },
                Column { default: default("'a'"), comment: Some("it's".into()), ..column("t", "longtext") },
                Column { default: default("'x'"), ..column("e", r"enum('x','b\\c')") },
            ],
            keys: vec![key(KeyKind::Primary, "", "id"), key(KeyKind::Unique, "u", "t")],
            ..Table::default()
        };
        let sql = create_table(&table, Inline::default());
        let body = "CREATE TABLE `d``b`.`t` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  \
             `at` datetime(6) NULL DEFAULT current_timestamp(6),\n  \
             `t` longtext NULL DEFAULT ('a') COMMENT 'it''s',\n  \
             `e` enum('x','b\\\\c') NULL DEFAULT 'x',\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB ";
        assert!(sql.starts_with(body), "{sql}");
        assert_eq!(add_key(&table, &table.keys[1]), "ALTER TABLE `d``b`.`t` ADD UNIQUE KEY `u` (`t`)");
    }

    #[test]
    fn s_34_the_beginning_of_a_column_is_indexed_as_such() {
        let part =
            |expression: &str| IndexPart { expression: Some(expression.into()), ..IndexPart::default() };
        assert_eq!(part_list(&[part("left(`a``b`, 10)"), part("lower(`c`)")]), "`a``b`(10), (lower(`c`))");
    }
}
