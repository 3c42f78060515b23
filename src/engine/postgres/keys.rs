//! Statements for what hangs on a table: keys, indexes, foreign keys, and how those of
//! partitions hang on their parents'.

use crate::catalog::{
    Action, ForeignKey, Index, IndexPart, Key, KeyKind, MatchKind, Name, Nulls, Table, TableKind,
};

use crate::catalog::dialect::Unspeakable;

use super::ddl::{column_list, comment, constraint_comment, with_options};
use super::quote::{identifier, name};
use super::text;

/// Most columns of an index, the included ones counted, and of a foreign key (manual, appendix K).
const COLUMNS_MAX: usize = 32;

/// Keys of columns only, each with its own collation, are constraints here. Direction and nulls
/// order nothing in a key and may go.
pub fn refuse_key(key: &Key) -> Option<Unspeakable> {
    if key.kind == KeyKind::Exclusion {
        return too_many(key.parts.len() + key.include.len());
    }
    let odd = key.parts.iter().find_map(|part| match part {
        IndexPart { expression: Some(_), .. } => Some("an expression".to_string()),
        IndexPart { collation: Some(collation), .. } => Some(format!("the collation {collation}")),
        // Those of a temporal key are the defaults, named for the extension that brings them.
        IndexPart { opclass: Some(opclass), .. } if key.method.is_empty() => {
            Some(format!("the operator class {opclass}"))
        }
        IndexPart { column: None, .. } => Some("a part that is no column".to_string()),
        _ => None,
    });
    let odd = odd.or_else(|| key.predicate.as_ref().map(|_| "a condition".to_string()));
    match odd {
        Some(odd) => Some(Unspeakable { what: format!("a key with {odd}: only an index can have that") }),
        None => too_many(key.parts.len() + key.include.len()),
    }
}

pub fn refuse_index(index: &Index) -> Option<Unspeakable> {
    too_many(index.parts.len() + index.include.len())
}

pub fn refuse_foreign_key(key: &ForeignKey) -> Option<Unspeakable> {
    too_many(key.columns.len())
}

fn too_many(columns: usize) -> Option<Unspeakable> {
    let many = columns > COLUMNS_MAX;
    many.then(|| Unspeakable { what: format!("{columns} columns; {COLUMNS_MAX} are the most") })
}

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
    let mut build =
        format!("CREATE UNIQUE INDEX {} ON {quoted} ({})", identifier(&key.name), key_columns(key));
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

/// One without a name has none that is known.
pub fn drop_foreign_key(table: &Name, key: &ForeignKey) -> Vec<String> {
    match key.name.is_empty() {
        true => Vec::new(),
        false => {
            vec![format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}", name(table), identifier(&key.name))]
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table(kind: TableKind) -> Table {
        Table { name: Name::new("app", "Or\"ders"), kind, ..Table::default() }
    }

    fn column(name: &str) -> IndexPart {
        IndexPart { column: Some(name.into()), ..IndexPart::default() }
    }

    fn key() -> Key {
        Key {
            name: "k".into(),
            kind: KeyKind::Unique,
            parts: vec![column("a"), column("select")],
            include: vec![],
            nulls_not_distinct: false,
            deferrable: false,
            initially_deferred: false,
            method: String::new(),
            predicate: None,
            options: vec![],
            parent: None,
            clustered: false,
            comment: None,
            bytes: 0,
        }
    }

    fn foreign_key() -> ForeignKey {
        ForeignKey {
            name: "f".into(),
            columns: vec!["a".into()],
            parent: Name::new("app", "p"),
            parent_columns: vec!["id".into()],
            on_delete: Action::NoAction,
            on_update: Action::NoAction,
            set_columns: vec![],
            matching: MatchKind::Simple,
            deferrable: false,
            initially_deferred: false,
            validated: true,
            comment: None,
        }
    }

    #[test]
    fn s_10_keys_keep_all_they_have() {
        let plain = table(TableKind::Plain);
        let on = "ALTER TABLE ONLY app.\"Or\"\"ders\" ADD CONSTRAINT k";
        assert_eq!(add_key(&plain, &key()), [format!("{on} UNIQUE (a, \"select\")")]);
        let full = Key {
            include: vec!["b".into()],
            nulls_not_distinct: true,
            initially_deferred: true,
            options: vec![("fillfactor".into(), "70".into())],
            parent: Some(Name::new("app", "parent_k")),
            clustered: true,
            comment: Some("it's".into()),
            ..key()
        };
        assert_eq!(
            add_key(&plain, &full),
            [
                format!(
                    "{on} UNIQUE NULLS NOT DISTINCT (a, \"select\") INCLUDE (b) WITH (fillfactor='70') DEFERRABLE \
                     INITIALLY DEFERRED"
                ),
                "ALTER INDEX app.parent_k ATTACH PARTITION app.k".to_string(),
                "ALTER TABLE app.\"Or\"\"ders\" CLUSTER ON k".to_string(),
                "COMMENT ON CONSTRAINT k ON app.\"Or\"\"ders\" IS 'it''s'".to_string(),
            ]
        );
        let part = IndexPart { operator: Some("&&".into()), ..column("during") };
        let exclusion = Key {
            kind: KeyKind::Exclusion,
            parts: vec![part],
            method: "gist".into(),
            predicate: Some("(a > 1)".into()),
            ..key()
        };
        assert_eq!(
            add_key(&plain, &exclusion),
            [format!("{on} EXCLUDE USING gist (during WITH &&) WHERE (a > 1)")]
        );
    }

    #[test]
    fn s_34_indexes_keep_all_they_have() {
        let expression = IndexPart {
            expression: Some("lower(b)".into()),
            collation: Some(Name::new("pg_catalog", "C")),
            opclass: Some("text_pattern_ops".into()),
            descending: true,
            nulls: Some(Nulls::Last),
            ..IndexPart::default()
        };
        let index = Index {
            name: "i".into(),
            unique: true,
            method: "btree".into(),
            parts: vec![column("a"), expression],
            include: vec!["c".into()],
            nulls_not_distinct: false,
            predicate: Some("c IS NULL".into()),
            options: vec![],
            parent: None,
            valid: true,
            clustered: false,
            comment: None,
            bytes: 0,
        };
        let rest = "USING btree (a, (lower(b)) COLLATE pg_catalog.\"C\" text_pattern_ops DESC NULLS LAST) INCLUDE \
                    (c) WHERE (c IS NULL)";
        let on = "app.\"Or\"\"ders\"";
        assert_eq!(
            create_index(&table(TableKind::Plain), &index),
            [format!("CREATE UNIQUE INDEX i ON {on} {rest}")]
        );
        let root = TableKind::Partitioned { by: "LIST (a)".into(), of: None };
        assert_eq!(
            create_index(&table(root), &index),
            [format!("CREATE UNIQUE INDEX i ON ONLY {on} {rest}")]
        );
    }

    #[test]
    fn s_11_foreign_keys_are_added_first_and_checked_later() {
        let plain = table(TableKind::Plain);
        let on = "ALTER TABLE ONLY app.\"Or\"\"ders\" ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES app.p (id)";
        assert_eq!(add_foreign_key(&plain, &foreign_key(), false), [format!("{on} NOT VALID")]);
        assert_eq!(add_foreign_key(&plain, &foreign_key(), true), [on]);
        assert_eq!(
            validate_foreign_key(&plain, &foreign_key()),
            ["ALTER TABLE app.\"Or\"\"ders\" VALIDATE CONSTRAINT f"]
        );
        let full = ForeignKey {
            on_delete: Action::SetNull,
            set_columns: vec!["a".into()],
            on_update: Action::Cascade,
            matching: MatchKind::Full,
            deferrable: true,
            ..foreign_key()
        };
        let rest = "MATCH FULL ON UPDATE CASCADE ON DELETE SET NULL (a) DEFERRABLE NOT VALID";
        assert_eq!(add_foreign_key(&plain, &full, false), [format!("{on} {rest}")]);
    }

    #[test]
    fn what_cannot_be_checked_later_is_checked_at_once() {
        let root = table(TableKind::Partitioned { by: "LIST (a)".into(), of: None });
        let added = add_foreign_key(&root, &foreign_key(), false);
        assert!(!added[0].contains("NOT VALID") && !added[0].contains("ONLY"), "{added:?}");
        assert!(validate_foreign_key(&root, &foreign_key()).is_empty());
        let nameless = ForeignKey { name: String::new(), ..foreign_key() };
        let added = add_foreign_key(&table(TableKind::Plain), &nameless, false);
        assert!(!added[0].contains("NOT VALID") && !added[0].contains("CONSTRAINT"), "{added:?}");
        assert!(validate_foreign_key(&table(TableKind::Plain), &nameless).is_empty());
    }

    #[test]
    fn k_306_keys_that_only_an_index_can_be_are_refused() {
        let with = |part: IndexPart| refuse_key(&Key { parts: vec![part], ..key() });
        assert_eq!(refuse_key(&key()), None);
        assert_eq!(with(IndexPart { descending: true, ..column("a") }), None);
        assert!(with(IndexPart { expression: Some("lower(a)".into()), ..IndexPart::default() }).is_some());
        assert!(with(IndexPart { collation: Some(Name::new("x", "nocase")), ..column("a") }).is_some());
        assert!(refuse_key(&Key { predicate: Some("a > 1".into()), ..key() }).is_some());
        assert!(refuse_key(&Key { parts: vec![column("a"); 33], ..key() }).is_some());
    }
}
