//! Definitions of objects as lines of text, one per attribute, in a fixed order and without
//! estimates: what plans are compared by, and what a reader sees of a difference. Never SQL that runs.

use sha2::{Digest, Sha256};

use crate::catalog::name::show;
use crate::catalog::{
    Check, Column, Extension, ForeignKey, Identity, Index, IndexPart, Key, KeyKind, Name, Nulls, Sequence,
    Table, TableKind, UserType,
};
use crate::catalog::{UserTypeKind, table::Action, table::MatchKind};

/// `sha256:` of a definition.
pub fn hash(lines: &[String]) -> String {
    let mut hasher = Sha256::new();
    for line in lines {
        hasher.update(line.as_bytes());
        hasher.update(b"\n");
    }
    hex(&hasher.finalize())
}

/// `sha256:` and the bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.map(|digit| char::from(DIGITS[usize::from(digit)]));
    let mut text = String::with_capacity("sha256:".len() + 2 * bytes.len());
    text.push_str("sha256:");
    digits.for_each(|digit| text.push(digit));
    text
}

/// A table with all that hangs on it.
pub fn table(table: &Table) -> Vec<String> {
    let mut lines = body(table);
    lines.extend(sorted(table.keys.iter().map(key)));
    lines.extend(sorted(table.indexes.iter().map(index)));
    lines.extend(sorted(table.foreign_keys.iter().map(foreign_key)));
    lines
}

/// A table without keys, indexes and foreign keys.
pub fn body(table: &Table) -> Vec<String> {
    let mut lines = vec![kind(&table.kind)];
    lines.extend(table.columns.iter().map(column));
    lines.extend(sorted(table.checks.iter().map(check)));
    lines.extend(table.inherits.iter().map(|parent| format!("inherits {parent}")));
    lines.extend(table.unlogged.then(|| "unlogged".to_string()));
    lines.extend(table.options.iter().map(|(key, value)| format!("option {key} = {value}")));
    lines.extend(table.collation.iter().map(|name| format!("collate {name}")));
    lines.extend(table.comment.iter().map(|text| format!("comment {text:?}")));
    lines
}

/// Lists whose order means nothing read the same in any order.
fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

fn kind(kind: &TableKind) -> String {
    match kind {
        TableKind::Plain => "table".into(),
        TableKind::Partitioned { by, of: None } => format!("partitioned by {by}"),
        TableKind::Partitioned { by, of: Some(of) } => {
            format!("partition of {} {}, partitioned by {by}", of.parent, of.bound)
        }
        TableKind::Leaf(of) => format!("partition of {} {}", of.parent, of.bound),
    }
}

/// `total  numeric(10,2) not null default 0`
pub fn column(column: &Column) -> String {
    let mut line = format!("{}  {}", show(&column.name), attributes(column));
    let mut add = |text: String| line.push_str(&text);
    if let Some(storage) = &column.storage {
        add(format!(" storage {storage}"));
    }
    if let Some(compression) = &column.compression {
        add(format!(" compression {compression}"));
    }
    if let Some(comment) = &column.comment {
        add(format!(" comment {comment:?}"));
    }
    line
}

/// What a column is, without its name and what is only storage.
pub fn attributes(column: &Column) -> String {
    let mut line = column.native.clone();
    let mut add = |text: String| line.push_str(&text);
    if let Some(collation) = &column.collation {
        add(format!(" collate {collation}"));
    }
    if column.not_null {
        add(" not null".into());
    }
    if let Some(default) = &column.default {
        add(format!(" default {}", default.native));
    }
    if let Some(generated) = &column.generated {
        let kind = if generated.stored { "stored" } else { "virtual" };
        add(format!(" generated ({}) {kind}", generated.native));
    }
    if column.stamped {
        add(" on update current_timestamp".into());
    }
    match column.identity {
        Some(Identity::Always) => add(" identity always".into()),
        Some(Identity::ByDefault) => add(" identity by default".into()),
        None => {}
    }
    line
}

pub fn check(check: &Check) -> String {
    let mut line = format!("check {} ({})", show(&check.name), check.native);
    line.push_str(if check.validated { "" } else { " not valid" });
    line.push_str(if check.no_inherit { " no inherit" } else { "" });
    comment(&mut line, &check.comment);
    line
}

pub fn key(key: &Key) -> String {
    let kind = match key.kind {
        KeyKind::Primary => "primary key",
        KeyKind::Unique => "unique",
        KeyKind::Exclusion => "exclude",
    };
    let mut line = format!("{kind} {} {}({})", show(&key.name), spaced(&key.method), parts(&key.parts));
    include(&mut line, &key.include);
    line.push_str(if key.nulls_not_distinct { " nulls not distinct" } else { "" });
    if let Some(predicate) = &key.predicate {
        line.push_str(&format!(" where {predicate}"));
    }
    deferral(&mut line, key.deferrable, key.initially_deferred);
    options(&mut line, &key.options);
    line.push_str(if key.clustered { " clustered" } else { "" });
    comment(&mut line, &key.comment);
    line
}

pub fn index(index: &Index) -> String {
    let unique = if index.unique { "unique index" } else { "index" };
    let mut line =
        format!("{unique} {} {}({})", show(&index.name), spaced(&index.method), parts(&index.parts));
    include(&mut line, &index.include);
    line.push_str(if index.nulls_not_distinct { " nulls not distinct" } else { "" });
    if let Some(predicate) = &index.predicate {
        line.push_str(&format!(" where {predicate}"));
    }
    options(&mut line, &index.options);
    line.push_str(if index.clustered { " clustered" } else { "" });
    line.push_str(if index.valid { "" } else { " invalid" });
    comment(&mut line, &index.comment);
    line
}

pub fn foreign_key(key: &ForeignKey) -> String {
    let list = |names: &[String]| names.iter().map(|name| show(name)).collect::<Vec<_>>().join(", ");
    let mut line = format!("foreign key {} ({}) -> {}", show(&key.name), list(&key.columns), key.parent);
    if !key.parent_columns.is_empty() {
        line.push_str(&format!(" ({})", list(&key.parent_columns)));
    }
    line.push_str(if key.matching == MatchKind::Full { " match full" } else { "" });
    for (event, action) in [("delete", key.on_delete), ("update", key.on_update)] {
        if action != Action::NoAction {
            line.push_str(&format!(" on {event} {}", action_words(action)));
        }
    }
    if !key.set_columns.is_empty() {
        line.push_str(&format!(" ({})", list(&key.set_columns)));
    }
    deferral(&mut line, key.deferrable, key.initially_deferred);
    line.push_str(if key.validated { "" } else { " not valid" });
    comment(&mut line, &key.comment);
    line
}

pub fn action_words(action: Action) -> &'static str {
    match action {
        Action::NoAction => "no action",
        Action::Restrict => "restrict",
        Action::Cascade => "cascade",
        Action::SetNull => "set null",
        Action::SetDefault => "set default",
    }
}

pub fn sequence(sequence: &Sequence) -> Vec<String> {
    let mut lines = vec![
        format!("sequence {}", sequence.data_type),
        format!("start {} increment {}", sequence.start, sequence.increment),
        format!("min {} max {}", sequence.min, sequence.max),
        format!("cache {}{}", sequence.cache, if sequence.cycle { " cycle" } else { "" }),
    ];
    if let Some(owner) = &sequence.owner {
        lines.push(format!("owned by {}.{}", owner.table, show(&owner.column)));
    }
    lines.extend(sequence.comment.iter().map(|text| format!("comment {text:?}")));
    lines
}

pub fn extension(extension: &Extension) -> Vec<String> {
    vec![format!("extension {} in {}", show(&extension.name), show(&extension.schema))]
}

pub fn user_type(user_type: &UserType) -> Vec<String> {
    let mut lines = Vec::new();
    match &user_type.kind {
        UserTypeKind::Enum { labels } => {
            lines.push("enum".to_string());
            lines.extend(labels.iter().map(|label| format!("label {label:?}")));
        }
        UserTypeKind::Domain { base, not_null, default, collation, checks } => {
            lines.push(format!("domain {base}{}", if *not_null { " not null" } else { "" }));
            lines.extend(default.iter().map(|text| format!("default {text}")));
            lines.extend(collation.iter().map(|name| format!("collate {name}")));
            lines.extend(checks.iter().map(check));
        }
        UserTypeKind::Composite { fields } => {
            lines.push("composite".to_string());
            lines.extend(fields.iter().map(|(name, native)| format!("{}  {native}", show(name))));
        }
        UserTypeKind::Range { options, multirange } => {
            lines.push(format!("range {options}"));
            lines.extend(multirange.iter().map(|name| format!("multirange {name}")));
        }
    }
    lines.extend(user_type.comment.iter().map(|text| format!("comment {text:?}")));
    lines
}

/// `id, lower(email) collate pg_catalog.C desc nulls last`
pub fn parts(parts: &[IndexPart]) -> String {
    parts.iter().map(part).collect::<Vec<_>>().join(", ")
}

fn part(part: &IndexPart) -> String {
    let column = part.column.as_deref().map(show);
    let mut text = column.or_else(|| part.expression.clone()).unwrap_or_default();
    let name = |name: &Name| name.to_string();
    if let Some(collation) = part.collation.as_ref().map(name) {
        text.push_str(&format!(" collate {collation}"));
    }
    if let Some(opclass) = &part.opclass {
        text.push_str(&format!(" {opclass}"));
    }
    text.push_str(if part.descending { " desc" } else { "" });
    text.push_str(match part.nulls {
        Some(Nulls::First) => " nulls first",
        Some(Nulls::Last) => " nulls last",
        None => "",
    });
    if let Some(operator) = &part.operator {
        text.push_str(&format!(" with {operator}"));
    }
    text
}

fn spaced(word: &str) -> String {
    if word.is_empty() { String::new() } else { format!("{word} ") }
}

fn include(line: &mut String, columns: &[String]) {
    if !columns.is_empty() {
        let columns: Vec<_> = columns.iter().map(|name| show(name)).collect();
        line.push_str(&format!(" include ({})", columns.join(", ")));
    }
}

fn deferral(line: &mut String, deferrable: bool, deferred: bool) {
    line.push_str(if deferrable { " deferrable" } else { "" });
    line.push_str(if deferred { " initially deferred" } else { "" });
}

fn options(line: &mut String, options: &[(String, String)]) {
    for (key, value) in options {
        line.push_str(&format!(" {key}={value}"));
    }
}

fn comment(line: &mut String, comment: &Option<String>) {
    if let Some(text) = comment {
        line.push_str(&format!(" comment {text:?}"));
    }
}

/// What differs between two definitions, line by line: `+`, `-` and nothing for equal ones.
pub fn changes(from: &[String], to: &[String]) -> Vec<String> {
    use similar::{Algorithm, DiffOp, capture_diff_slices};
    let mut out = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, from, to) {
        let (tag, old, new) = op.as_tag_tuple();
        if matches!(op, DiffOp::Equal { .. }) {
            continue;
        }
        let _ = tag;
        out.extend(from[old].iter().map(|line| format!("- {line}")));
        out.extend(to[new].iter().map(|line| format!("+ {line}")));
    }
    out
}
