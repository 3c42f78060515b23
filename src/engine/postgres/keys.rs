//! Statements for what hangs on a table: keys, indexes, foreign keys, and how those of
//! partitions hang on their parents'.

use crate::catalog::{
    Action, ForeignKey, Index, IndexPart, Key, KeyKind, MatchKind, Name, Nulls, Table, TableKind,
};

use super::ddl::{column_list, comment, constraint_comment, with_options};
use super::quote::{identifier, name};
use super::text;

/// A primary, unique or exclusion constraint. One of a partition also attaches its index to the
/// parent's, which must exist.
pub fn add_key(table: &Table, key: &Key) -> Vec<String> {
    let quoted = name(&table.name);
    let constraint = constraint_name(&key.name);
    let mut out = vec![format!("ALTER TABLE ONLY {quoted} ADD {constraint}{}", key_clause(key))];
    let index = Name::new(&table.name.schema, &key.name);
    out.extend(attach(&index, &key.parent));
    out.extend(cluster(table, &key.name, key.clustered));
    out.extend(constraint_comment(&table.name, &key.name, &key.comment));
    out
}

/// A key as an index that is built beside others, and the short statement that makes it a key
/// (manual, ALTER TABLE, `ADD table_constraint_using_index`). Not for roots of partition trees, for
/// which the server refuses it, nor for keys that an index alone cannot say.
pub fn add_key_in_parts(table: &Table, key: &Key) -> Option<(Vec<String>, Vec<String>)> {
    let plain = key.kind != KeyKind::Exclusion && key.method.is_empty() && !key.deferrable;
    if !plain || key.name.is_empty() || !table.holds_rows() {
        return None;
    }
    let quoted = name(&table.name);
    let mut build = format!("CREATE UNIQUE INDEX {} ON {quoted} ({})", identifier(&key.name), key_columns(key));
    if !key.include.is_empty() {
        build += &format!(" INCLUDE {}", column_list(&key.include));
    }
    if key.nulls_not_distinct {
        build += " NULLS NOT DISTINCT";
    }
    build += &with_options(&key.options);
    let word = if key.kind == KeyKind::Primary { "PRIMARY KEY" } else { "UNIQUE" };
    let constraint = constraint_name(&key.name);
    let using = format!("{word} USING INDEX {}", identifier(&key.name));
    let mut attached = vec![format!("ALTER TABLE ONLY {quoted} ADD {constraint}{using}")];
    let index = Name::new(&table.name.schema, &key.name);
    attached.extend(attach(&index, &key.parent));
    attached.extend(cluster(table, &key.name, key.clustered));
    attached.extend(constraint_comment(&table.name, &key.name, &key.comment));
    Some((vec![build], attached))
}

fn constraint_name(constraint: &str) -> String {
    match constraint.is_empty() {
        true => String::new(),
        false => format!("CONSTRAINT {} ", identifier(constraint)),
    }
}

fn key_clause(key: &Key) -> String {
    let mut text = match key.kind {
        KeyKind::Primary => format!("PRIMARY KEY ({})", key_columns(key)),
        KeyKind::Unique if key.nulls_not_distinct => {
            format!("UNIQUE NULLS NOT DISTINCT ({})", key_columns(key))
        }
        KeyKind::Unique => format!("UNIQUE ({})", key_columns(key)),
        KeyKind::Exclusion => {
            let part = |part: &IndexPart| {
                let operator = part.operator.as_deref().unwrap_or("=");
                format!("{} WITH {operator}", index_part(part))
            };
            let parts: Vec<String> = key.parts.iter().map(part).collect();
            format!("EXCLUDE USING {} ({})", identifier(&key.method), parts.join(", "))
        }
    };
    if !key.include.is_empty() {
        text += &format!(" INCLUDE {}", column_list(&key.include));
    }
    text += &with_options(&key.options);
    if let Some(predicate) = &key.predicate {
        text += &format!(" WHERE {}", text::group(predicate));
    }
    text + deferral(key.deferrable, key.initially_deferred)
}

/// The columns; a temporal key (PostgreSQL 18) is one with an index method of its own.
fn key_columns(key: &Key) -> String {
    let columns: Vec<&str> = key.parts.iter().filter_map(|part| part.column.as_deref()).collect();
    let columns = super::quote::identifiers(&columns);
    if key.method.is_empty() { columns } else { format!("{columns} WITHOUT OVERLAPS") }
}

fn deferral(deferrable: bool, deferred: bool) -> &'static str {
    match (deferrable, deferred) {
        (_, true) => " DEFERRABLE INITIALLY DEFERRED",
        (true, false) => " DEFERRABLE",
        (false, false) => "",
    }
}

fn attach<'a>(index: &'a Name, parent: &'a Option<Name>) -> impl Iterator<Item = String> + 'a {
    let statement = |parent| format!("ALTER INDEX {} ATTACH PARTITION {}", name(parent), name(index));
    parent.iter().map(statement)
}

fn cluster(table: &Table, index: &str, clustered: bool) -> Option<String> {
    clustered.then(|| format!("ALTER TABLE {} CLUSTER ON {}", name(&table.name), identifier(index)))
}

/// An index. That of a partitioned table is created on it alone; those of the partitions attach
/// themselves, and the last one makes it valid.
pub fn create_index(table: &Table, index: &Index) -> Vec<String> {
    let unique = if index.unique { "UNIQUE " } else { "" };
    let only = if matches!(table.kind, TableKind::Partitioned { .. }) { "ONLY " } else { "" };
    let mut text = format!("CREATE {unique}INDEX {} ON {only}{}", identifier(&index.name), name(&table.name));
    if !index.method.is_empty() {
        text += &format!(" USING {}", identifier(&index.method));
    }
    text += &format!(" ({})", index.parts.iter().map(index_part).collect::<Vec<_>>().join(", "));
    if !index.include.is_empty() {
        text += &format!(" INCLUDE {}", column_list(&index.include));
    }
    if index.nulls_not_distinct {
        text += " NULLS NOT DISTINCT";
    }
    text += &with_options(&index.options);
    if let Some(predicate) = &index.predicate {
        text += &format!(" WHERE {}", text::group(predicate));
    }
    let mut out = vec![text];
    let own = Name::new(&table.name.schema, &index.name);
    out.extend(attach(&own, &index.parent));
    out.extend(cluster(table, &index.name, index.clustered));
    out.extend(comment("INDEX", &name(&own), &index.comment));
    out
}

fn index_part(part: &IndexPart) -> String {
    let mut text = match (&part.column, &part.expression) {
        (Some(column), _) => identifier(column),
        (None, Some(expression)) => text::group(expression),
        (None, None) => String::new(),
    };
    if let Some(collation) = &part.collation {
        text += &format!(" COLLATE {}", name(collation));
    }
    if let Some(opclass) = &part.opclass {
        text += &format!(" {opclass}");
    }
    if part.descending {
        text += " DESC";
    }
    match part.nulls {
        Some(Nulls::First) => text += " NULLS FIRST",
        Some(Nulls::Last) => text += " NULLS LAST",
        None => {}
    }
    text
}

/// A foreign key. Without `validate` it holds for new rows only, and [`validate_foreign_key`]
/// checks the others with a weaker lock. A partitioned table cannot have such a one, and one without
/// a name could not be named afterwards: these are checked at once.
pub fn add_foreign_key(table: &Table, key: &ForeignKey, validate: bool) -> Vec<String> {
    let partitioned = !table.holds_rows();
    let only = if partitioned { "" } else { "ONLY " };
    let at_once = validate || partitioned || key.name.is_empty();
    let not_valid = if at_once { "" } else { " NOT VALID" };
    let constraint = constraint_name(&key.name);
    let clause = foreign_key_clause(key);
    let mut out =
        vec![format!("ALTER TABLE {only}{} ADD {constraint}{clause}{not_valid}", name(&table.name))];
    out.extend(constraint_comment(&table.name, &key.name, &key.comment));
    out
}

fn foreign_key_clause(key: &ForeignKey) -> String {
    let mut text = format!("FOREIGN KEY {} REFERENCES {}", column_list(&key.columns), name(&key.parent));
    if !key.parent_columns.is_empty() {
        text += &format!(" {}", column_list(&key.parent_columns));
    }
    if key.matching == MatchKind::Full {
        text += " MATCH FULL";
    }
    if key.on_update != Action::NoAction {
        text += &format!(" ON UPDATE {}", action(key.on_update));
    }
    if key.on_delete != Action::NoAction {
        text += &format!(" ON DELETE {}", action(key.on_delete));
        if !key.set_columns.is_empty() {
            text += &format!(" {}", column_list(&key.set_columns));
        }
    }
    text + deferral(key.deferrable, key.initially_deferred)
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

/// Nothing for a partitioned table, whose foreign keys were checked when they were added.
pub fn validate_foreign_key(table: &Table, key: &ForeignKey) -> Vec<String> {
    if !table.holds_rows() || key.name.is_empty() {
        return Vec::new();
    }
    vec![format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", name(&table.name), identifier(&key.name))]
}
