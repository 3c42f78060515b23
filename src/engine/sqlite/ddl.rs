//! DDL: what a table carries is created with it, for SQLite adds nothing to a table but columns.
//! Tables that come from other engines are strict (contract L-18). Pure.

use super::dialect::{literal, quote};
use super::parse::RULES;
use super::types::strict_type;
use crate::catalog::dialect::{Inline, Unspeakable};
use crate::catalog::token::{self, Kind};
use crate::catalog::{
    Action, Check, Column, ForeignKey, Index, IndexPart, Key, KeyKind, MatchKind, Name, Table,
};

/// The statement that makes a table with all that is inline.
pub(super) fn create_table(table: &Table, inline: Inline) -> String {
    let primary = table.primary_key().filter(|_| inline.keys);
    let mut lines: Vec<_> = table.columns.iter().map(|column| column_line(table, column, primary)).collect();
    if inline.keys {
        let own_line = |key: &&Key| !(key.kind == KeyKind::Primary && in_column(table, key));
        lines.extend(table.keys.iter().filter(own_line).map(|key| key_line(table, key)));
    }
    lines.extend(table.checks.iter().map(check_line));
    if inline.foreign_keys {
        lines.extend(table.foreign_keys.iter().map(foreign_key_line));
    }
    let mut options = Vec::new();
    if is_strict(table) {
        options.push("STRICT");
    }
    if table.option("without_rowid") == Some("true") && primary.is_some() {
        options.push("WITHOUT ROWID");
    }
    let options = if options.is_empty() { String::new() } else { format!(" {}", options.join(", ")) };
    format!("CREATE TABLE {} (\n  {}\n){options}", quote(&table.name.name), lines.join(",\n  "))
}

/// A table that was read from SQLite says what it is; any other is strict, where its types allow.
fn is_strict(table: &Table) -> bool {
    let typed = table.columns.iter().all(|column| strict_type(&column.native));
    match table.option("strict") {
        Some(strict) => strict == "true",
        None => typed,
    }
}

/// True where the column is another name of the row id.
fn is_rowid(table: &Table, column: &Column, primary: Option<&Key>) -> bool {
    let Some([part]) = primary.map(|key| key.parts.as_slice()) else { return false };
    part.column.as_ref() == Some(&column.name)
        && column.native.eq_ignore_ascii_case("INTEGER")
        && !part.descending
        && table.option("without_rowid") != Some("true")
}

/// A primary key that is written behind its column: the row id without a name of its own, and
/// `INTEGER PRIMARY KEY DESC`, which means something else as a table constraint.
fn in_column(table: &Table, key: &Key) -> bool {
    let [part] = key.parts.as_slice() else { return false };
    let column = part.column.as_deref().and_then(|name| table.column(name));
    column.is_some_and(|column| {
        let descending = part.descending && column.native.eq_ignore_ascii_case("INTEGER");
        descending || (key.name.is_empty() && is_rowid(table, column, Some(key)))
    })
}

/// Row ids that are never used twice: as the source says, and for every identity from elsewhere.
fn autoincrement(table: &Table, column: &Column) -> bool {
    match table.option("strict") {
        Some(_) => table.option("autoincrement") == Some("true"),
        None => column.identity.is_some() || draws_from_sequence(column),
    }
}

fn draws_from_sequence(column: &Column) -> bool {
    column.default.as_ref().is_some_and(|default| default.sequence.is_some())
}

fn column_line(table: &Table, column: &Column, primary: Option<&Key>) -> String {
    let mut line = quote(&column.name);
    if !column.native.is_empty() {
        line.push(' ');
        line.push_str(&column.native);
    }
    let rowid = is_rowid(table, column, primary);
    if let Some(key) = primary.filter(|key| in_column(table, key))
        && key.parts[0].column.as_ref() == Some(&column.name)
    {
        line.push_str(&constraint(&key.name, " CONSTRAINT ", ""));
        line.push_str(" PRIMARY KEY");
        if key.parts[0].descending {
            line.push_str(" DESC");
        }
        line.push_str(&conflict(key));
        if rowid && autoincrement(table, column) {
            line.push_str(" AUTOINCREMENT");
        }
    }
    if column.not_null && !rowid {
        line.push_str(" NOT NULL");
        if let Some(way) = table.option(&format!("not_null_conflict.{}", column.name)) {
            line.push_str(&format!(" ON CONFLICT {way}"));
        }
    }
    if let Some(default) = column.default.as_ref().filter(|default| default.sequence.is_none()) {
        line.push_str(&format!(" DEFAULT {}", default_text(&default.native)));
    }
    if let Some(collation) = &column.collation {
        line.push_str(&format!(" COLLATE {}", quote(&collation.name)));
    }
    if let Some(generated) = &column.generated {
        let kept = if generated.stored { "STORED" } else { "VIRTUAL" };
        line.push_str(&format!(" GENERATED ALWAYS AS ({}) {kept}", generated.native));
    }
    line
}

/// A literal stands bare; anything else needs parentheses.
fn default_text(native: &str) -> String {
    let tokens = token::tokenize(native, &RULES).unwrap_or_default();
    let bare = match tokens.as_slice() {
        [one] => !matches!(one.kind, Kind::Comment | Kind::Param),
        [sign, number] => (sign.is("-") || sign.is("+")) && number.kind == Kind::Number,
        _ => false,
    };
    if bare { native.to_string() } else { format!("({native})") }
}

fn key_line(table: &Table, key: &Key) -> String {
    let kind = if key.kind == KeyKind::Primary { "PRIMARY KEY" } else { "UNIQUE" };
    let mut parts = part_list(&key.parts);
    if key.kind == KeyKind::Primary
        && let [part] = key.parts.as_slice()
        && let Some(column) = part.column.as_deref().and_then(|name| table.column(name))
        && is_rowid(table, column, Some(key))
        && autoincrement(table, column)
    {
        parts.push_str(" AUTOINCREMENT");
    }
    format!("{}{kind} ({parts}){}", constraint(&key.name, "CONSTRAINT ", " "), conflict(key))
}

/// The words that name a constraint; nothing for one without a name.
fn constraint(name: &str, before: &str, after: &str) -> String {
    if name.is_empty() { String::new() } else { format!("{before}{}{after}", quote(name)) }
}

fn conflict(key: &Key) -> String {
    let way = key.options.iter().find(|(name, _)| name == "on_conflict");
    way.map(|(_, way)| format!(" ON CONFLICT {way}")).unwrap_or_default()
}

fn check_line(check: &Check) -> String {
    format!("{}CHECK ({})", constraint(&check.name, "CONSTRAINT ", " "), check.native)
}

fn part_list(parts: &[IndexPart]) -> String {
    let part = |part: &IndexPart| {
        let mut text = match (&part.column, &part.expression) {
            (Some(column), _) => quote(column),
            (None, expression) => expression.clone().unwrap_or_default(),
        };
        if let Some(collation) = &part.collation {
            text.push_str(&format!(" COLLATE {}", quote(&collation.name)));
        }
        if part.descending {
            text.push_str(" DESC");
        }
        text
    };
    parts.iter().map(part).collect::<Vec<_>>().join(", ")
}

fn names(columns: &[String]) -> String {
    columns.iter().map(|column| quote(column)).collect::<Vec<_>>().join(", ")
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

fn foreign_key_line(key: &ForeignKey) -> String {
    let mut line = format!(
        "{}FOREIGN KEY ({}) REFERENCES {}",
        constraint(&key.name, "CONSTRAINT ", " "),
        names(&key.columns),
        quote(&key.parent.name)
    );
    if !key.parent_columns.is_empty() {
        line.push_str(&format!(" ({})", names(&key.parent_columns)));
    }
    for (event, what) in [("DELETE", key.on_delete), ("UPDATE", key.on_update)] {
        if what != Action::NoAction {
            line.push_str(&format!(" ON {event} {}", action(what)));
        }
    }
    if key.deferrable {
        let when = if key.initially_deferred { "DEFERRED" } else { "IMMEDIATE" };
        line.push_str(&format!(" DEFERRABLE INITIALLY {when}"));
    }
    line
}

/// The statement that makes an index.
pub(super) fn create_index(table: &Table, index: &Index) -> String {
    let unique = if index.unique { "UNIQUE " } else { "" };
    let mut sql = format!(
        "CREATE {unique}INDEX {} ON {} ({})",
        quote(&index.name),
        quote(&table.name.name),
        part_list(&index.parts)
    );
    if let Some(predicate) = &index.predicate {
        sql.push_str(&format!(" WHERE {predicate}"));
    }
    sql
}

/// A query for the rows that break a foreign key, by SQLite's own check: it knows which affinity
/// and collation the parent's key compares with, and counts every row of a missing parent.
pub(super) fn check_foreign_key(table: &Table, key: &ForeignKey) -> String {
    let first = key.columns.first().map(String::as_str).unwrap_or_default();
    format!(
        "SELECT * FROM pragma_foreign_key_check({table}) WHERE fkid IN (SELECT id FROM \
         pragma_foreign_key_list({table}) WHERE seq = 0 AND lower(\"from\") = lower({}) AND lower(\"table\") = lower({}))",
        literal(first),
        literal(&key.parent.name),
        table = literal(&table.name.name),
    )
}

fn refused(what: impl Into<String>) -> Option<Unspeakable> {
    Some(Unspeakable { what: what.into() })
}

fn bad_collation(collation: Option<&Name>) -> Option<Unspeakable> {
    let known =
        |name: &str| ["BINARY", "NOCASE", "RTRIM"].iter().any(|known| name.eq_ignore_ascii_case(known));
    match collation {
        // Both compare by bytes, as BINARY does.
        Some(name) if !known(&name.name) && name.name != "C" && name.name != "POSIX" => {
            refused(format!("collation {name}"))
        }
        _ => None,
    }
}

fn bad_parts(parts: &[IndexPart]) -> Option<Unspeakable> {
    parts.iter().find_map(|part| {
        if let Some(opclass) = &part.opclass {
            return refused(format!("operator class {opclass}"));
        }
        if part.nulls.is_some() {
            return refused("a place for nulls in an index");
        }
        bad_collation(part.collation.as_ref())
    })
}

pub(super) fn refuse_key(key: &Key) -> Option<Unspeakable> {
    match key {
        key if key.kind == KeyKind::Exclusion => refused("an exclusion constraint"),
        key if key.nulls_not_distinct => refused("a unique key that takes one null only"),
        key if key.deferrable => refused("a deferrable key"),
        key if !key.include.is_empty() => refused("included columns of a key"),
        key if key.parts.iter().any(|part| part.column.is_none()) => refused("an expression in a key"),
        key => bad_parts(&key.parts),
    }
}

pub(super) fn refuse_index(index: &Index) -> Option<Unspeakable> {
    match index {
        index if !matches!(index.method.as_str(), "" | "btree") => {
            refused(format!("index method {}", index.method))
        }
        index if !index.include.is_empty() => refused("included columns of an index"),
        index if index.nulls_not_distinct => refused("a unique index that takes one null only"),
        index => bad_parts(&index.parts),
    }
}

pub(super) fn refuse_foreign_key(key: &ForeignKey) -> Option<Unspeakable> {
    if key.matching == MatchKind::Full && key.columns.len() > 1 {
        return refused("MATCH FULL of several columns");
    }
    if key.set_columns.is_empty() { None } else { refused("an action on some columns of a foreign key") }
}

pub(super) fn refuse_column(table: &Table, column: &Column) -> Option<Unspeakable> {
    let rowid = is_rowid(table, column, table.primary_key());
    if column.identity.is_some() && !rowid {
        return refused("an identity column that is not the integer primary key");
    }
    if draws_from_sequence(column) && !rowid {
        return refused("a default from a sequence in a column that is not the integer primary key");
    }
    bad_collation(column.collation.as_ref())
}
