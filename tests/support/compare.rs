//! The oracle: are two databases the same? Reads both by plain queries of its own, in text, and
//! compares whole tables and whole lists of definitions. Shares no code with the tool.

use std::collections::{BTreeMap, BTreeSet};

use super::postgres::{Database, Session};
use super::sqlite::File;

/// Rows of each table, by qualified name, sorted.
pub type Dump = BTreeMap<String, Vec<String>>;

/// One line of definition for each object, sorted.
pub type Objects = BTreeSet<String>;

const USER_SCHEMA: &str = "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'towpath')";

/// Fails with the first differences where tables or rows differ.
#[track_caller]
pub fn same_rows(source: &Dump, target: &Dump) {
    let (a, b): (Vec<_>, Vec<_>) = (source.keys().collect(), target.keys().collect());
    assert_eq!(a, b, "other tables");
    for (table, rows) in source {
        same_lines(table, rows, &target[table]);
    }
}

#[track_caller]
fn same_lines(what: &str, source: &[String], target: &[String]) {
    if source == target {
        return;
    }
    let missing = subtract(source, target);
    let extra = subtract(target, source);
    let show = |lines: &[&String]| {
        lines.iter().take(5).map(|line| format!("\n    {:.300}", line)).collect::<String>()
    };
    panic!(
        "{what}: {} in the source, {} in the target\n  {} missing:{}\n  {} extra:{}",
        source.len(),
        target.len(),
        missing.len(),
        show(&missing),
        extra.len(),
        show(&extra)
    );
}

/// What is in `a` and not in `b`, duplicates counted. Both are sorted.
fn subtract<'a>(a: &'a [String], b: &[String]) -> Vec<&'a String> {
    let mut left = BTreeMap::new();
    b.iter().for_each(|line| *left.entry(line).or_insert(0) += 1);
    let gone = |line: &&String| match left.get_mut(*line) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    a.iter().filter(gone).collect()
}

/// Fails with all differences where definitions differ.
#[track_caller]
pub fn same_objects(source: &Objects, target: &Objects) {
    let missing: Vec<_> = source.difference(target).collect();
    let extra: Vec<_> = target.difference(source).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing: {missing:#?}\nextra: {extra:#?}");
}

/// Every row of every table that holds rows itself (partitions, not their roots).
pub fn postgres_rows(database: &Database) -> Dump {
    let mut session = database.session();
    let tables = postgres_tables(&mut session);
    let dump = |(name, columns): (String, String)| {
        let sql = format!("COPY (SELECT {columns} FROM ONLY {name}) TO STDOUT");
        let lines = session.copy_lines(&sql);
        let mut lines: Vec<String> =
            lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        lines.sort_unstable();
        (name, lines)
    };
    tables.into_iter().map(dump).collect()
}

/// Quoted, qualified names of tables with rows, and their columns by name.
fn postgres_tables(session: &mut Session) -> Vec<(String, String)> {
    let sql = format!(
        "SELECT format('%I.%I', n.nspname, c.relname),
                coalesce(string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname), '')
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE c.relkind = 'r' AND {USER_SCHEMA} AND NOT EXISTS
           (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')
         GROUP BY 1"
    );
    session.rows(&sql).into_iter().map(|row| (cell(&row, 0), cell(&row, 1))).collect()
}

fn cell(row: &[Option<String>], at: usize) -> String {
    row[at].clone().unwrap_or_default()
}

/// Definitions of everything that is carried, as the server prints it.
pub fn postgres_objects(database: &Database) -> Objects {
    let mut session = database.session();
    session.execute("SET search_path = ''");
    let major: u32 = session.value("SHOW server_version_num").parse::<u32>().unwrap() / 10_000;
    let mut objects = Objects::new();
    for query in object_queries(major) {
        objects.extend(session.rows(&query).iter().map(|row| {
            let fields = row.iter().map(|field| field.as_deref().unwrap_or("-"));
            fields.collect::<Vec<_>>().join(" | ")
        }));
    }
    objects
}

/// Objects in schemas of the user's that no extension brought.
fn of_user(oid: &str, class: &str) -> String {
    format!(
        "{USER_SCHEMA} AND NOT EXISTS (SELECT FROM pg_depend d
           WHERE d.objid = {oid} AND d.classid = '{class}'::regclass AND d.deptype = 'e')"
    )
}

fn object_queries(major: u32) -> Vec<String> {
    let table = of_user("c.oid", "pg_class");
    let user_type = of_user("t.oid", "pg_type");
    let compression = if major >= 14 { "a.attcompression::text" } else { "''" };
    let nulls = if major >= 15 { "x.indnullsnotdistinct::text" } else { "''" };
    // Since 18, not-null constraints have names; the column says the same.
    let named = if major >= 18 { "AND k.contype <> 'n'" } else { "" };
    vec![
        "SELECT 'extension', extname FROM pg_extension WHERE extname <> 'plpgsql'".into(),
        format!("SELECT 'schema', n.nspname, obj_description(n.oid) FROM pg_namespace n WHERE {USER_SCHEMA}"),
        format!(
            "SELECT 'table', c.oid::regclass::text, c.relkind::text, c.relpersistence::text,
               array_to_string((SELECT array_agg(o ORDER BY o) FROM unnest(c.reloptions) o), ','),
               pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid),
               (SELECT string_agg(i.inhparent::regclass::text, ',' ORDER BY i.inhseqno)
                FROM pg_inherits i WHERE i.inhrelid = c.oid),
               obj_description(c.oid, 'pg_class')
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p') AND {table}"
        ),
        format!(
            "SELECT 'column', c.oid::regclass::text, a.attname,
               (SELECT count(*) FROM pg_attribute b
                WHERE b.attrelid = c.oid AND b.attnum > 0 AND b.attnum <= a.attnum AND NOT b.attisdropped)::text,
               format_type(a.atttypid, a.atttypmod),
               a.attnotnull::text, a.attidentity::text, a.attgenerated::text, pg_get_expr(e.adbin, e.adrelid),
               CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
               a.attstorage::text, {compression}, a.attislocal::text, a.attinhcount::text,
               col_description(c.oid, a.attnum)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             JOIN pg_type t ON t.oid = a.atttypid
             LEFT JOIN pg_attrdef e ON e.adrelid = c.oid AND e.adnum = a.attnum
             WHERE c.relkind IN ('r', 'p') AND {table}"
        ),
        format!(
            "SELECT 'constraint', c.oid::regclass::text, k.conname, pg_get_constraintdef(k.oid),
               k.convalidated::text, k.condeferrable::text, k.condeferred::text, k.conislocal::text,
               (k.contype = 'c' AND k.connoinherit)::text, obj_description(k.oid, 'pg_constraint')
             FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.contype <> 't' {named} AND {table}"
        ),
        format!(
            "SELECT 'index', pg_get_indexdef(x.indexrelid), x.indisvalid::text, x.indisprimary::text,
               x.indisclustered::text, {nulls}, obj_description(x.indexrelid, 'pg_class'),
               (SELECT string_agg(i.inhparent::regclass::text, ',') FROM pg_inherits i WHERE i.inhrelid = x.indexrelid)
             FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND {table}"
        ),
        format!(
            "SELECT 'type', t.oid::regtype::text, t.typtype::text, t.typnotnull::text, t.typdefault,
               CASE WHEN t.typbasetype <> 0 THEN format_type(t.typbasetype, t.typtypmod) END,
               (SELECT string_agg(quote_literal(enumlabel), ',' ORDER BY enumsortorder)
                FROM pg_enum WHERE enumtypid = t.oid),
               (SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), ',' ORDER BY conname)
                FROM pg_constraint WHERE contypid = t.oid AND contype <> 'n'),
               (SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ',' ORDER BY attnum)
                FROM pg_attribute WHERE attrelid = t.typrelid AND NOT attisdropped AND t.typtype = 'c'),
               (SELECT format_type(rngsubtype, -1) FROM pg_range WHERE rngtypid = t.oid),
               obj_description(t.oid, 'pg_type')
             FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
             LEFT JOIN pg_class c ON c.oid = t.typrelid
             WHERE t.typtype IN ('e', 'd', 'r', 'm') AND {user_type}
                OR t.typtype = 'c' AND c.relkind = 'c' AND {user_type}"
        ),
        format!(
            "SELECT 'sequence', c.oid::regclass::text, format_type(s.seqtypid, NULL), s.seqstart::text,
               s.seqincrement::text, s.seqmin::text, s.seqmax::text, s.seqcache::text, s.seqcycle::text,
               (SELECT d.refobjid::regclass::text || '.' || a.attname || ' ' || d.deptype::text
                FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
                  AND d.refclassid = 'pg_class'::regclass),
               obj_description(c.oid, 'pg_class')
             FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {table}"
        ),
    ]
}

/// Fails where a sequence of the target would hand out a value that the source has handed out.
#[track_caller]
pub fn sequences_are_beyond(source: &Database, target: &Database) {
    let (before, after) = (sequences(source), sequences(target));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "other sequences");
    for (name, (next, step)) in before {
        let (got, _) = after[&name];
        let beyond = if step > 0 { got >= next } else { got <= next };
        assert!(beyond, "{name}: the source's next value is {next}, the target's is {got}");
    }
}

/// The next value of each sequence (as if it had no end), and its increment.
fn sequences(database: &Database) -> BTreeMap<String, (i128, i128)> {
    let mut session = database.session();
    let names = session.rows(&format!(
        "SELECT format('%I.%I', n.nspname, c.relname), s.seqincrement::text
         FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {}",
        of_user("c.oid", "pg_class")
    ));
    let next = |row: Vec<Option<String>>| {
        let (name, step) = (cell(&row, 0), cell(&row, 1).parse::<i128>().unwrap());
        let at = session.rows(&format!("SELECT last_value::text, is_called::text FROM {name}")).remove(0);
        let last: i128 = cell(&at, 0).parse().unwrap();
        let called = cell(&at, 1) == "true";
        (name, (if called { last + step } else { last }, step))
    };
    names.into_iter().map(next).collect()
}

const SQLITE_TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' \
    AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'towpath\\_%' ESCAPE '\\' \
    AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name";

fn unquote(value: &str) -> String {
    value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value).to_string()
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub fn sqlite_tables(file: &File) -> Vec<String> {
    file.rows(SQLITE_TABLES).iter().map(|row| unquote(&row[0])).collect()
}

/// Every row of every table, each value with its class.
pub fn sqlite_rows(file: &File) -> Dump {
    let dump = |name: String| {
        let rows = file.rows(&format!("SELECT * FROM {}", quote(&name)));
        let mut lines: Vec<String> = rows.iter().map(|row| row.join(" | ")).collect();
        lines.sort_unstable();
        (name, lines)
    };
    sqlite_tables(file).into_iter().map(dump).collect()
}

/// What SQLite itself says about its tables, columns, indexes and keys.
pub fn sqlite_objects(file: &File) -> Objects {
    let mut objects = Objects::new();
    for table in sqlite_tables(file) {
        let literal = format!("'{}'", table.replace('\'', "''"));
        let lists = [
            ("table", format!("SELECT wr, strict FROM pragma_table_list({literal}) WHERE schema = 'main'")),
            // A row id is never null, whether or not that is said.
            (
                "column",
                format!(
                    "SELECT cid, name, type, \"notnull\" AND NOT (pk = 1 AND upper(type) = 'INTEGER'),
                       dflt_value, pk, hidden FROM pragma_table_xinfo({literal})"
                ),
            ),
            // A parent's key need not be named.
            (
                "foreign key",
                format!(
                    "SELECT seq, \"table\", \"from\", coalesce(\"to\",
                         (SELECT p.name FROM pragma_table_info(f.\"table\") p WHERE p.pk = f.seq + 1)),
                       on_update, on_delete FROM pragma_foreign_key_list({literal}) f"
                ),
            ),
            (
                "index",
                format!(
                    "SELECT CASE WHEN l.origin = 'c' THEN l.name END, l.\"unique\", l.origin, l.partial,
                       (SELECT group_concat(coalesce(x.name, '(expression)') || ' ' || x.\"desc\" || ' ' || x.coll)
                        FROM pragma_index_xinfo(l.name) x WHERE x.key)
                     FROM pragma_index_list({literal}) l"
                ),
            ),
            (
                "words",
                format!(
                    "SELECT (length(s) - length(replace(s, 'CHECK', ''))) / 5, s LIKE '%AUTOINCREMENT%'
                     FROM (SELECT upper(sql) AS s FROM sqlite_schema WHERE type = 'table' AND name = {literal})"
                ),
            ),
        ];
        for (kind, query) in lists {
            objects.extend(
                file.rows(&query).iter().map(|row| format!("{kind} of {table} | {}", row.join(" | "))),
            );
        }
    }
    let autoincrement = "SELECT name FROM sqlite_schema WHERE name = 'sqlite_sequence'";
    if !file.rows(autoincrement).is_empty() {
        let counters = file.rows("SELECT name, seq FROM sqlite_sequence WHERE name NOT LIKE 'towpath%'");
        objects.extend(counters.iter().map(|row| format!("counter | {}", row.join(" | "))));
    }
    objects
}

/// How a PostgreSQL column's values are compared with SQLite's.
#[derive(Clone, Copy, PartialEq)]
enum Meaning {
    Bool,
    Number,
    Single,
    Float,
    Bytes,
    Moment,
    Json,
    Text,
}

impl Meaning {
    fn of(native: &str) -> Self {
        match native.split('(').next().unwrap_or_default() {
            "boolean" => Self::Bool,
            "smallint" | "integer" | "bigint" | "numeric" => Self::Number,
            "real" => Self::Single,
            "double precision" => Self::Float,
            "bytea" => Self::Bytes,
            "json" | "jsonb" => Self::Json,
            text if text.starts_with("time") || text == "date" => Self::Moment,
            _ => Self::Text,
        }
    }

    /// One spelling for all equal values. `value` is PostgreSQL's text or SQLite's quoted one.
    fn canonical(self, value: &str) -> String {
        let bare = unquote(value);
        match self {
            Self::Bool => match bare.as_str() {
                "t" | "true" | "1" => "true".into(),
                "f" | "false" | "0" => "false".into(),
                other => other.into(),
            },
            Self::Number => number(&bare),
            // SQLite holds it widened.
            Self::Single => bare.parse::<f32>().map_or(bare, |value| format!("{value:?}")),
            Self::Float => bare.parse::<f64>().map_or(bare, |value| format!("{value:?}")),
            Self::Bytes => {
                bare.trim_start_matches("\\x").trim_start_matches("x'").trim_end_matches('\'').into()
            }
            Self::Moment => moment(&bare),
            Self::Json => {
                serde_json::from_str::<serde_json::Value>(&bare).map_or(bare, |json| json.to_string())
            }
            Self::Text => bare,
        }
    }
}

/// `10.50` and `10.5` are one number; `1e3` is spelled out.
fn number(text: &str) -> String {
    let plain = if text.contains(['e', 'E']) {
        text.parse::<f64>().map_or_else(|_| text.to_string(), |value| format!("{value}"))
    } else {
        text.to_string()
    };
    if plain.contains('.') { plain.trim_end_matches('0').trim_end_matches('.').to_string() } else { plain }
}

/// `2024-01-01T10:00:00.500Z` and `2024-01-01 10:00:00.5+00` are one moment.
fn moment(text: &str) -> String {
    let text = text.replacen('T', " ", 1);
    let (text, zone) = match text.strip_suffix("+00").or_else(|| text.strip_suffix('Z')) {
        Some(text) => (text.to_string(), "+00"),
        None => (text, ""),
    };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{zone}")
}

/// Fails where a PostgreSQL and a SQLite database do not hold the same rows. `skip` names what
/// only one has.
#[track_caller]
pub fn same_rows_across(postgres: &Database, schema: &str, file: &File, skip: &[&str]) {
    let mut session = postgres.session();
    let wanted = |name: &String| !skip.contains(&name.as_str());
    let here: Vec<String> = sqlite_tables(file).into_iter().filter(wanted).collect();
    let there: BTreeSet<String> = session
        .rows(&format!(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = '{schema}' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        ))
        .iter()
        .map(|row| cell(row, 0))
        .filter(wanted)
        .collect();
    assert_eq!(here.iter().cloned().collect::<BTreeSet<_>>(), there, "other tables");
    for table in here {
        let (from, to) = rows_across(&mut session, schema, file, &table);
        same_lines(&table, &from, &to);
    }
}

fn rows_across(session: &mut Session, schema: &str, file: &File, table: &str) -> (Vec<String>, Vec<String>) {
    let columns: Vec<(String, Meaning)> = session
        .rows(&format!(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
             WHERE a.attrelid = '{schema}.{}'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            quote(table).replace('\'', "''")
        ))
        .iter()
        .map(|row| (cell(row, 0), Meaning::of(&cell(row, 1))))
        .collect();
    let names: Vec<String> = columns.iter().map(|(name, _)| quote(name)).collect();
    let select = format!("SELECT {} FROM", names.join(", "));
    let line = |cells: Vec<String>| cells.join(" | ");
    let postgres = session.rows(&format!("{select} {schema}.{}", quote(table))).into_iter().map(|row| {
        let cells = row.iter().zip(&columns).map(|(value, (_, meaning))| match value {
            Some(value) => meaning.canonical(value),
            None => "NULL".into(),
        });
        line(cells.collect())
    });
    let sqlite = file.rows(&format!("{select} {}", quote(table))).into_iter().map(|row| {
        let cells = row.iter().zip(&columns).map(|(value, (_, meaning))| match value.as_str() {
            "NULL" => "NULL".into(),
            value => meaning.canonical(value),
        });
        line(cells.collect())
    });
    let (mut postgres, mut sqlite): (Vec<_>, Vec<_>) = (postgres.collect(), sqlite.collect());
    postgres.sort_unstable();
    sqlite.sort_unstable();
    (postgres, sqlite)
}
