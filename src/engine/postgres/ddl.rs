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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Default, Partition, SequenceOwner, Type};

    fn column(name: &str, native: &str) -> Column {
        Column {
            name: name.into(),
            ty: Type::Text,
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
            portable: true,
            stamped: false,
            comment: None,
        }
    }

    fn default(native: &str) -> Option<Default> {
        Some(Default { native: native.into(), sequence: None })
    }

    fn check(name: &str, native: &str) -> Check {
        Check {
            name: name.into(),
            native: native.into(),
            validated: true,
            no_inherit: false,
            inherited: false,
            comment: None,
        }
    }

    fn sequence(owner: Option<(&str, &str, bool)>) -> Sequence {
        Sequence {
            name: Name::new("app", "s"),
            data_type: "bigint".into(),
            start: 5,
            increment: -1,
            min: -9,
            max: 5,
            cache: 1,
            cycle: true,
            owner: owner.map(|(table, column, identity)| SequenceOwner {
                table: Name::new("app", table),
                column: column.into(),
                identity,
            }),
            comment: None,
        }
    }

    #[test]
    fn s_13_columns_keep_all_they_have() {
        let table = Table {
            name: Name::new("app", "t"),
            columns: vec![
                Column { identity: Some(Identity::Always), not_null: true, ..column("id", "bigint") },
                Column {
                    collation: Some(Name::new("pg_catalog", "C")),
                    compression: Some("lz4".into()),
                    storage: Some("EXTERNAL".into()),
                    comment: Some("a \\ b".into()),
                    default: default("'x'::text"),
                    ..column("Te\"xt", "text")
                },
                Column {
                    generated: Some(Generated { native: "(id * 2)".into(), stored: true }),
                    ..column("twice", "bigint")
                },
                Column { default: default("1 + 2"), ..column("sum", "integer") },
            ],
            checks: vec![
                check("c1", "(id > 0)"),
                Check { no_inherit: true, ..check("", "id < 9") },
                Check { validated: false, ..check("c2", "id <> 5") },
            ],
            unlogged: true,
            options: vec![
                ("fillfactor".into(), "70".into()),
                ("toast.autovacuum_enabled".into(), "false".into()),
            ],
            comment: Some("it's".into()),
            ..Table::default()
        };
        let sequence = sequence(Some(("t", "id", true)));
        assert_eq!(
            create_table(&table, &[&sequence]),
            [
                "CREATE UNLOGGED TABLE app.t (\n    id bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME app.s START \
                 WITH 5 INCREMENT BY -1 MINVALUE -9 MAXVALUE 5 CACHE 1 CYCLE) NOT NULL,\n    \"Te\"\"xt\" text \
                 COMPRESSION lz4 COLLATE pg_catalog.\"C\" DEFAULT 'x'::text,\n    twice bigint GENERATED ALWAYS AS \
                 (id * 2) STORED,\n    sum integer DEFAULT (1 + 2),\n    CONSTRAINT c1 CHECK (id > 0),\n    CHECK \
                 (id < 9) NO INHERIT\n) WITH (fillfactor='70', toast.autovacuum_enabled='false')",
                "ALTER TABLE app.t ADD CONSTRAINT c2 CHECK (id <> 5) NOT VALID",
                "ALTER TABLE ONLY app.t ALTER COLUMN \"Te\"\"xt\" SET STORAGE EXTERNAL",
                "COMMENT ON TABLE app.t IS 'it''s'",
                "COMMENT ON COLUMN app.t.\"Te\"\"xt\" IS E'a \\\\ b'",
            ]
        );
    }

    #[test]
    fn s_16_a_partition_is_made_alone_and_attached() {
        let inherited = Column { inherited: true, not_null: true, ..column("a", "integer") };
        let parent = Partition { parent: Name::new("app", "p"), bound: "FOR VALUES IN (1)".into() };
        let table = Table {
            name: Name::new("app", "p1"),
            kind: TableKind::Leaf(parent),
            columns: vec![inherited.clone()],
            checks: vec![Check { inherited: true, ..check("c", "(a > 0)") }],
            ..Table::default()
        };
        assert_eq!(
            create_table(&table, &[]),
            [
                "CREATE TABLE app.p1 (\n    a integer NOT NULL,\n    CONSTRAINT c CHECK (a > 0)\n)",
                "ALTER TABLE ONLY app.p ATTACH PARTITION app.p1 FOR VALUES IN (1)",
            ]
        );
        let root = Table {
            name: Name::new("app", "p"),
            kind: TableKind::Partitioned { by: "LIST (a)".into(), of: None },
            columns: vec![Column { inherited: false, ..inherited }],
            ..Table::default()
        };
        assert_eq!(
            create_table(&root, &[]),
            ["CREATE TABLE app.p (\n    a integer NOT NULL\n) PARTITION BY LIST (a)"]
        );
    }

    #[test]
    fn s_17_a_child_lists_what_is_its_own() {
        let table = Table {
            name: Name::new("app", "kid"),
            columns: vec![
                Column { inherited: true, default: default("7"), ..column("a", "integer") },
                Column { inherited: true, not_null: true, ..column("b", "integer") },
                column("c", "integer"),
            ],
            checks: vec![Check { inherited: true, ..check("c", "(a > 0)") }],
            inherits: vec![Name::new("app", "base"), Name::new("app", "Other")],
            ..Table::default()
        };
        assert_eq!(
            create_table(&table, &[]),
            [
                "CREATE TABLE app.kid (\n    c integer\n) INHERITS (app.base, app.\"Other\")",
                "ALTER TABLE ONLY app.kid ALTER COLUMN a SET DEFAULT 7",
                "ALTER TABLE ONLY app.kid ALTER COLUMN b DROP DEFAULT",
                "ALTER TABLE ONLY app.kid ALTER COLUMN b SET NOT NULL",
            ]
        );
        let nothing = Table { name: Name::new("app", "nothing"), ..Table::default() };
        assert_eq!(create_table(&nothing, &[]), ["CREATE TABLE app.nothing ()"]);
    }

    #[test]
    fn s_14_a_sequence_is_owned_once_its_table_is_there() {
        let serial = sequence(Some(("t", "Id", false)));
        assert_eq!(
            create_sequence(&serial),
            [
                "CREATE SEQUENCE app.s AS bigint START WITH 5 INCREMENT BY -1 MINVALUE -9 MAXVALUE 5 CACHE 1 CYCLE"
            ]
        );
        assert_eq!(own_sequence(&serial), ["ALTER SEQUENCE app.s OWNED BY app.t.\"Id\""]);
        assert!(own_sequence(&sequence(None)).is_empty());
        assert!(own_sequence(&sequence(Some(("t", "id", true)))).is_empty());
    }

    #[test]
    fn i_10_types_take_any_label() {
        let user_type = |kind| UserType { name: Name::new("app", "T"), kind, comment: None };
        let labels = ["it's", "a\\b", "", "line\nfeed"].map(str::to_string).to_vec();
        assert_eq!(
            create_type(&user_type(UserTypeKind::Enum { labels })),
            ["CREATE TYPE app.\"T\" AS ENUM ('it''s', E'a\\\\b', '', 'line\nfeed')"]
        );
        let domain = UserTypeKind::Domain {
            base: "text".into(),
            not_null: true,
            default: Some("'x'::text".into()),
            collation: Some(Name::new("pg_catalog", "C")),
            checks: vec![
                check("c", "(VALUE > ''::text)"),
                Check { validated: false, ..check("d", "VALUE > 'a'") },
            ],
        };
        assert_eq!(
            create_type(&user_type(domain)),
            [
                "CREATE DOMAIN app.\"T\" AS text COLLATE pg_catalog.\"C\" DEFAULT 'x'::text NOT NULL CONSTRAINT c \
                 CHECK (VALUE > ''::text)",
                "ALTER DOMAIN app.\"T\" ADD CONSTRAINT d CHECK (VALUE > 'a') NOT VALID",
            ]
        );
        let composite = UserTypeKind::Composite { fields: vec![("The A".into(), "integer".into())] };
        assert_eq!(create_type(&user_type(composite)), ["CREATE TYPE app.\"T\" AS (\"The A\" integer)"]);
        let range = UserTypeKind::Range {
            options: "subtype = double precision".into(),
            multirange: Some(Name::new("app", "M")),
        };
        assert_eq!(
            create_type(&user_type(range)),
            ["CREATE TYPE app.\"T\" AS RANGE (subtype = double precision, multirange_type_name = app.\"M\")"]
        );
    }
}
