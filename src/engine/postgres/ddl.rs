//! Statements that create schemas, extensions, types, sequences and tables. What is native in the
//! catalog is written as it stands; names are quoted here.

use crate::catalog::{
    Check, Column, Extension, Generated, Identity, Name, Schema, Sequence, Table, TableKind, UserType,
    UserTypeKind,
};

use super::quote::{identifier, identifiers, literal, name};
use super::text;

pub fn create_schema(schema: &Schema) -> Vec<String> {
    let quoted = identifier(&schema.name);
    let mut out = vec![format!("CREATE SCHEMA {quoted}")];
    out.extend(comment("SCHEMA", &quoted, &schema.comment));
    out
}

/// The version is the target's default: the source's may not be installed there.
pub fn create_extension(extension: &Extension) -> Vec<String> {
    let place = match extension.schema.as_str() {
        "" | "pg_catalog" => String::new(),
        schema => format!(" WITH SCHEMA {}", identifier(schema)),
    };
    vec![format!("CREATE EXTENSION IF NOT EXISTS {}{place}", identifier(&extension.name))]
}

pub fn create_type(user_type: &UserType) -> Vec<String> {
    let quoted = name(&user_type.name);
    let (word, mut out) = match &user_type.kind {
        UserTypeKind::Enum { labels } => {
            let labels: Vec<String> = labels.iter().map(|label| literal(label)).collect();
            ("TYPE", vec![format!("CREATE TYPE {quoted} AS ENUM ({})", labels.join(", "))])
        }
        UserTypeKind::Domain { .. } => ("DOMAIN", create_domain(&quoted, &user_type.kind)),
        UserTypeKind::Composite { fields } => {
            let fields = fields.iter().map(|(field, native)| format!("{} {native}", identifier(field)));
            let fields: Vec<String> = fields.collect();
            ("TYPE", vec![format!("CREATE TYPE {quoted} AS ({})", fields.join(", "))])
        }
        UserTypeKind::Range { options, multirange } => {
            let multirange = multirange.as_ref();
            let multirange = multirange.map(|of| format!(", multirange_type_name = {}", name(of)));
            let options = format!("{options}{}", multirange.unwrap_or_default());
            ("TYPE", vec![format!("CREATE TYPE {quoted} AS RANGE ({options})")])
        }
    };
    out.extend(comment(word, &quoted, &user_type.comment));
    out
}

fn create_domain(quoted: &str, kind: &UserTypeKind) -> Vec<String> {
    let UserTypeKind::Domain { base, not_null, default, collation, checks } = kind else { return Vec::new() };
    let mut text = format!("CREATE DOMAIN {quoted} AS {base}");
    if let Some(collation) = collation {
        text += &format!(" COLLATE {}", name(collation));
    }
    if let Some(default) = default {
        text += &format!(" DEFAULT {}", default_text(default));
    }
    if *not_null {
        text += " NOT NULL";
    }
    let constraint = |check: &Check| {
        format!(" CONSTRAINT {} CHECK {}", identifier(&check.name), text::group(&check.native))
    };
    for check in checks.iter().filter(|check| check.validated) {
        text += &constraint(check);
    }
    let mut out = vec![text];
    for check in checks.iter().filter(|check| !check.validated) {
        out.push(format!("ALTER DOMAIN {quoted} ADD{} NOT VALID", constraint(check)));
    }
    for check in checks {
        let place = format!("{} ON DOMAIN {quoted}", identifier(&check.name));
        out.extend(comment("CONSTRAINT", &place, &check.comment));
    }
    out
}

pub fn create_sequence(sequence: &Sequence) -> Vec<String> {
    let quoted = name(&sequence.name);
    let data_type = &sequence.data_type;
    let mut out = vec![format!("CREATE SEQUENCE {quoted} AS {data_type} {}", sequence_options(sequence))];
    out.extend(comment("SEQUENCE", &quoted, &sequence.comment));
    out
}

fn sequence_options(sequence: &Sequence) -> String {
    let Sequence { start, increment, min, max, cache, .. } = sequence;
    let cycle = if sequence.cycle { " CYCLE" } else { "" };
    format!("START WITH {start} INCREMENT BY {increment} MINVALUE {min} MAXVALUE {max} CACHE {cache}{cycle}")
}

/// `OWNED BY` for the sequence of a `serial` column; that of an identity column has its owner.
pub fn own_sequence(sequence: &Sequence) -> Vec<String> {
    let owner = sequence.owner.as_ref().filter(|owner| !owner.identity);
    let statement = owner.map(|owner| {
        let column = format!("{}.{}", name(&owner.table), identifier(&owner.column));
        format!("ALTER SEQUENCE {} OWNED BY {column}", name(&sequence.name))
    });
    statement.into_iter().collect()
}

/// The table as described at `Dialect::create_table`, without keys of any kind.
pub fn create_table(table: &Table, identity: &[&Sequence]) -> Vec<String> {
    let quoted = name(&table.name);
    let partition = table.partition();
    // A partition is created on its own and attached, so that its columns keep their order; a
    // child by inheritance gets its parents' columns from them.
    let own = |inherited: bool| !inherited || partition.is_some();
    let mut lines: Vec<String> = Vec::new();
    for column in table.columns.iter().filter(|column| own(column.inherited)) {
        lines.push(column_line(table, column, identity));
    }
    for check in table.checks.iter().filter(|check| own(check.inherited) && check.validated) {
        lines.push(check_clause(check));
    }
    let mut text = String::from(if table.unlogged { "CREATE UNLOGGED TABLE " } else { "CREATE TABLE " });
    text += &quoted;
    text += &match lines.is_empty() {
        true => " ()".to_string(),
        false => format!(" (\n    {}\n)", lines.join(",\n    ")),
    };
    if !table.inherits.is_empty() && partition.is_none() {
        text += &format!(" INHERITS ({})", table.inherits.iter().map(name).collect::<Vec<_>>().join(", "));
    }
    if let TableKind::Partitioned { by, .. } = &table.kind {
        text += &format!(" PARTITION BY {by}");
    }
    text += &with_options(&table.options);
    let mut out = vec![text];
    for check in table.checks.iter().filter(|check| own(check.inherited) && !check.validated) {
        out.extend(add_check(table, check));
    }
    out.extend(column_settings(table));
    if let Some(partition) = partition {
        let parent = name(&partition.parent);
        out.push(format!("ALTER TABLE ONLY {parent} ATTACH PARTITION {quoted} {}", partition.bound));
    }
    out.extend(table_comments(table));
    out
}

fn column_line(table: &Table, column: &Column, identity: &[&Sequence]) -> String {
    let mut text = format!("{} {}", identifier(&column.name), column.native);
    if let Some(compression) = &column.compression {
        text += &format!(" COMPRESSION {compression}");
    }
    if let Some(collation) = &column.collation {
        text += &format!(" COLLATE {}", name(collation));
    }
    if let Some(Generated { native, stored }) = &column.generated {
        let how = if *stored { "STORED" } else { "VIRTUAL" };
        text += &format!(" GENERATED ALWAYS AS {} {how}", text::group(native));
    } else if let Some(kind) = column.identity {
        text += &identity_clause(table, column, kind, identity);
    } else if let Some(default) = &column.default {
        text += &format!(" DEFAULT {}", default_text(&default.native));
    }
    if column.not_null {
        text += " NOT NULL";
    }
    text
}

/// A default as the grammar takes it: an operation goes in parentheses.
fn default_text(native: &str) -> String {
    if text::is_operation(native) { text::group(native) } else { native.to_string() }
}

fn identity_clause(table: &Table, column: &Column, kind: Identity, sequences: &[&Sequence]) -> String {
    let when = match kind {
        Identity::Always => "ALWAYS",
        Identity::ByDefault => "BY DEFAULT",
    };
    let owns = |sequence: &&&Sequence| {
        let owner = sequence.owner.as_ref();
        owner.is_some_and(|owner| owner.table == table.name && owner.column == column.name)
    };
    let options = sequences
        .iter()
        .find(owns)
        .map(|sequence| format!(" (SEQUENCE NAME {} {})", name(&sequence.name), sequence_options(sequence)));
    format!(" GENERATED {when} AS IDENTITY{}", options.unwrap_or_default())
}

/// `WITH (fillfactor='70')`, or nothing.
pub fn with_options(options: &[(String, String)]) -> String {
    if options.is_empty() {
        return String::new();
    }
    let option = |(key, value): &(String, String)| format!("{}={}", option_name(key), literal(value));
    format!(" WITH ({})", options.iter().map(option).collect::<Vec<_>>().join(", "))
}

/// `toast.autovacuum_enabled` has a dot that is not part of the name.
fn option_name(key: &str) -> String {
    match key.split_once('.') {
        Some((space, key)) => format!("{}.{}", identifier(space), identifier(key)),
        None => identifier(key),
    }
}

/// What a column line cannot say: storage, and how an inherited column differs from the parents'.
fn column_settings(table: &Table) -> Vec<String> {
    let quoted = name(&table.name);
    let alter = |column: &Column, what: String| {
        format!("ALTER TABLE ONLY {quoted} ALTER COLUMN {} {what}", identifier(&column.name))
    };
    let mut out = Vec::new();
    for column in &table.columns {
        if column.inherited && table.partition().is_none() && column.generated.is_none() {
            out.push(alter(
                column,
                match &column.default {
                    Some(default) => format!("SET DEFAULT {}", default_text(&default.native)),
                    None => "DROP DEFAULT".to_string(),
                },
            ));
            if column.not_null {
                out.push(alter(column, "SET NOT NULL".to_string()));
            }
        }
        if let Some(storage) = &column.storage {
            out.push(alter(column, format!("SET STORAGE {storage}")));
        }
    }
    out
}

fn table_comments(table: &Table) -> Vec<String> {
    let quoted = name(&table.name);
    let mut out: Vec<String> = comment("TABLE", &quoted, &table.comment).collect();
    for column in &table.columns {
        let place = format!("{quoted}.{}", identifier(&column.name));
        out.extend(comment("COLUMN", &place, &column.comment));
    }
    for check in table.checks.iter().filter(|check| check.validated) {
        out.extend(constraint_comment(&table.name, &check.name, &check.comment));
    }
    out
}

fn check_clause(check: &Check) -> String {
    let constraint = match check.name.is_empty() {
        true => String::new(),
        false => format!("CONSTRAINT {} ", identifier(&check.name)),
    };
    let no_inherit = if check.no_inherit { " NO INHERIT" } else { "" };
    format!("{constraint}CHECK {}{no_inherit}", text::group(&check.native))
}

/// A check that is not valid at the source stays so: it holds for new rows only. Children of the
/// table get it too, or keep theirs of that name.
pub fn add_check(table: &Table, check: &Check) -> Vec<String> {
    let not_valid = if check.validated { "" } else { " NOT VALID" };
    let mut out = vec![format!("ALTER TABLE {} ADD {}{not_valid}", name(&table.name), check_clause(check))];
    out.extend(constraint_comment(&table.name, &check.name, &check.comment));
    out
}

/// `COMMENT ON`, where there is a comment.
pub fn comment<'a>(
    kind: &'a str,
    quoted: &'a str,
    text: &'a Option<String>,
) -> impl Iterator<Item = String> + 'a {
    text.iter().map(move |text| format!("COMMENT ON {kind} {quoted} IS {}", literal(text)))
}

pub fn constraint_comment(table: &Name, constraint: &str, text: &Option<String>) -> Vec<String> {
    let place = format!("{} ON {}", identifier(constraint), name(table));
    let named = !constraint.is_empty();
    comment("CONSTRAINT", &place, text).filter(|_| named).collect()
}

/// `(a, b)`.
pub fn column_list<S: AsRef<str>>(names: &[S]) -> String {
    format!("({})", identifiers(names))
}
