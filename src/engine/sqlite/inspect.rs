//! Reads the structure of a file by a fixed number of queries: pragmas for columns, the kept
//! CREATE texts for all else. What is seen and cannot be carried goes into `others`, never away.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};
use sha2::{Digest, Sha256};

use super::connect::File;
use super::error::classify;
use super::estimate::{self, Estimates};
use super::parse::{self, ForeignKeyText, KeyText, TableText};
use super::types::parse_type;
use super::{SCHEMA, marks, triggers};
use crate::catalog::{
    Catalog, Check, Column, Default, ForeignKey, Generated, Identity, Index, Key, KeyKind, MatchKind, Name,
    OtherObject, Place, Schema, Sequence, Table, TableKind,
};
use crate::engine::EngineError;

const DOING: &str = "read the catalog of";

/// A row of `sqlite_schema`.
struct Object {
    kind: String,
    name: String,
    table: String,
    sql: String,
}

/// A row of `pragma_table_xinfo`.
struct Info {
    name: String,
    native: String,
    not_null: bool,
    default: Option<String>,
    /// 0 plain, 2 virtual and 3 stored generated.
    hidden: i64,
}

/// What `pragma_table_list` says of a table.
struct Listed {
    kind: String,
    without_rowid: bool,
    strict: bool,
}

/// Everything the queries gave.
struct Facts {
    objects: Vec<Object>,
    columns: BTreeMap<String, Vec<Info>>,
    listed: BTreeMap<String, Listed>,
    estimates: Estimates,
}

/// The catalog of an open file.
pub(super) fn catalog(conn: &Connection, file: &File) -> Result<Catalog, EngineError> {
    let facts = facts(conn).map_err(|error| classify(DOING, error).on(file))?;
    let encoding = conn.query_row("PRAGMA main.encoding", [], |row| row.get(0));
    let mut catalog = empty(file)?;
    catalog.encoding = encoding.map_err(|error| classify(DOING, error).on(file))?;
    let mut places = BTreeMap::new();
    for object in &facts.objects {
        add(&mut catalog, &mut places, &facts, object);
    }
    resolve_names(&mut catalog.tables);
    catalog.tables.sort_by(|a, b| a.name.cmp(&b.name));
    catalog.sequences.sort_by(|a, b| a.name.cmp(&b.name));
    catalog.others.sort();
    Ok(catalog)
}

/// The catalog of a file that is not there yet.
pub(super) fn empty(file: &File) -> Result<Catalog, EngineError> {
    let database = file.path.file_name().map(|name| name.to_string_lossy().into_owned());
    let collation = |name: &str| Name::new(SCHEMA, name);
    Ok(Catalog {
        engine: "sqlite".into(),
        version: rusqlite::version().into(),
        place: place(file)?,
        database: database.unwrap_or_default(),
        default_schema: SCHEMA.into(),
        encoding: "UTF-8".into(),
        schemas: vec![Schema { name: SCHEMA.into(), comment: None }],
        collations: ["BINARY", "NOCASE", "RTRIM"].map(collation).to_vec(),
        ..Catalog::default()
    })
}

/// Identity of a database: its directory and its name in there, so that it is the same before and
/// after the file is made; for a file of several names, the file itself.
pub(super) fn place(file: &File) -> Result<Place, EngineError> {
    let facts = place_facts(file).map_err(|error| {
        EngineError::new(crate::engine::Cause::NotFound, DOING, error.to_string()).on(file).contract("E320")
    })?;
    let digest: String = Sha256::digest(facts).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Place { kind: "sqlite-file".into(), hash: format!("sha256:{digest}") })
}

#[cfg(unix)]
fn place_facts(file: &File) -> std::io::Result<Vec<u8>> {
    use std::os::unix::{ffi::OsStrExt, fs::MetadataExt};
    if let Ok(meta) = std::fs::metadata(&file.path)
        && meta.nlink() > 1
    {
        return Ok(format!("file {} {}", meta.dev(), meta.ino()).into_bytes());
    }
    let directory = std::fs::metadata(file.path.parent().unwrap_or(&file.path))?;
    let mut facts = format!("entry {} {} ", directory.dev(), directory.ino()).into_bytes();
    facts.extend_from_slice(file.path.file_name().unwrap_or_default().as_bytes());
    Ok(facts)
}

#[cfg(not(unix))]
fn place_facts(file: &File) -> std::io::Result<Vec<u8>> {
    Ok(file.path.to_string_lossy().into_owned().into_bytes())
}

fn facts(conn: &Connection) -> rusqlite::Result<Facts> {
    let tx = conn.unchecked_transaction()?;
    let objects = tx
        .prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM main.sqlite_schema ORDER BY rowid")?
        .query_map([], object)?
        .collect::<Result<Vec<_>, _>>()?;
    let mut listed = BTreeMap::new();
    let sql = "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main'";
    for row in tx.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, table_of(row)?)))? {
        let (name, table): (String, Listed) = row?;
        listed.insert(name, table);
    }
    let mut columns: BTreeMap<String, Vec<Info>> = BTreeMap::new();
    // A virtual table whose module is missing cannot be asked for its columns.
    let sql = "SELECT l.name, x.name, x.type, x.\"notnull\", x.dflt_value, x.hidden
               FROM pragma_table_list AS l, pragma_table_xinfo(l.name, 'main') AS x
               WHERE l.schema = 'main' AND l.type = 'table' ORDER BY l.name, x.cid";
    for row in tx.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, info(row)?)))? {
        let (table, info): (String, Info) = row?;
        columns.entry(table).or_default().push(info);
    }
    let names: Vec<&str> = columns.keys().map(String::as_str).filter(|name| ours(name)).collect();
    let estimates = estimate::read(&tx, &names)?;
    Ok(Facts { objects, columns, listed, estimates })
}

fn object(row: &Row<'_>) -> rusqlite::Result<Object> {
    Ok(Object { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? })
}

fn table_of(row: &Row<'_>) -> rusqlite::Result<Listed> {
    Ok(Listed { kind: row.get(1)?, without_rowid: row.get(2)?, strict: row.get(3)? })
}

fn info(row: &Row<'_>) -> rusqlite::Result<Info> {
    Ok(Info {
        name: row.get(1)?,
        native: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
        not_null: row.get(3)?,
        default: row.get(4)?,
        hidden: row.get(5)?,
    })
}

/// False for what belongs to SQLite or to Towpath itself.
fn ours(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    !lower.starts_with("sqlite_") && !marks::TABLES.contains(&lower.as_str()) && !triggers::ours(&lower)
}

/// `places`: where in the catalog each table is.
fn add<'a>(catalog: &mut Catalog, places: &mut BTreeMap<&'a str, usize>, facts: &Facts, object: &'a Object) {
    if !ours(&object.name) || !ours(&object.table) {
        return;
    }
    let other = |kind: &str, table: Option<&str>| OtherObject {
        kind: kind.into(),
        name: Name::new(SCHEMA, &object.name),
        table: table.map(|table| Name::new(SCHEMA, table)),
    };
    match object.kind.as_str() {
        "table" => match facts.listed.get(&object.name).map(|listed| listed.kind.as_str()) {
            Some("virtual") => catalog.others.push(other("virtual table", None)),
            Some("shadow") => catalog.others.push(other("shadow table", None)),
            _ => match table(facts, object) {
                Some((table, sequence)) => {
                    places.insert(&object.name, catalog.tables.len());
                    catalog.tables.push(table);
                    catalog.sequences.extend(sequence.map(|sequence| unique_name(catalog, sequence)));
                }
                None => catalog.others.push(other("unreadable table", None)),
            },
        },
        "index" => {
            let place = places.get(object.table.as_str());
            let table = place.and_then(|&place| catalog.tables.get_mut(place));
            match table.and_then(|table| index(facts, object, table).map(|index| (table, index))) {
                Some((table, index)) => {
                    table.indexes.push(index);
                    table.indexes.sort_by(|a, b| a.name.cmp(&b.name));
                }
                None => catalog.others.push(other("index", Some(&object.table))),
            }
        }
        kind => catalog.others.push(other(kind, (kind == "trigger").then_some(object.table.as_str()))),
    }
}

fn table(facts: &Facts, object: &Object) -> Option<(Table, Option<Sequence>)> {
    let text = parse::table(&object.sql).ok()?;
    let infos = facts.columns.get(&object.name)?;
    let listed = facts.listed.get(&object.name)?;
    if infos.len() != text.columns.len() {
        return None;
    }
    let (rows, bytes) = facts.estimates.of(&object.name);
    let mut table = Table {
        name: Name::new(SCHEMA, &object.name),
        kind: TableKind::Plain,
        columns: infos.iter().zip(&text.columns).map(|(info, text)| column(info, text)).collect(),
        options: options(listed, &text),
        rows,
        bytes,
        ..Table::default()
    };
    table.keys = text.keys.iter().map(key).collect();
    table.keys.sort_by(|a, b| (a.kind, &a.name, columns_of(a)).cmp(&(b.kind, &b.name, columns_of(b))));
    table.checks = text.checks.iter().map(|(name, native)| check(name, native)).collect();
    table.checks.sort_by(|a, b| a.name.cmp(&b.name));
    table.foreign_keys = text.foreign_keys.iter().map(foreign_key).collect();
    table.foreign_keys.sort_by(|a, b| (&a.name, &a.columns).cmp(&(&b.name, &b.columns)));
    let sequence = identity(&mut table, &text, listed);
    Some((table, sequence))
}

fn columns_of(key: &Key) -> Vec<Option<String>> {
    key.parts.iter().map(|part| part.column.clone()).collect()
}

fn options(listed: &Listed, text: &TableText) -> Vec<(String, String)> {
    let mut options = Vec::new();
    let truth = |name: &str| (name.to_string(), "true".to_string());
    if text.autoincrement {
        options.push(truth("autoincrement"));
    }
    for column in text.columns.iter() {
        if let Some(way) = &column.not_null_conflict {
            options.push((format!("not_null_conflict.{}", column.name), way.clone()));
        }
    }
    // Always said: a table without the option comes from elsewhere, and is made strict.
    options.push(("strict".to_string(), listed.strict.to_string()));
    if listed.without_rowid {
        options.push(truth("without_rowid"));
    }
    options
}

fn column(info: &Info, text: &parse::ColumnText) -> Column {
    let collation = text.collation.as_deref().filter(|name| !name.eq_ignore_ascii_case("BINARY"));
    Column {
        name: info.name.clone(),
        ty: parse_type(&info.native),
        native: info.native.clone(),
        not_null: info.not_null,
        default: info.default.clone().map(|native| Default { native, sequence: None }),
        generated: text.generated.clone().map(|(native, _)| Generated { native, stored: info.hidden == 3 }),
        identity: None,
        collation: collation.map(|name| Name::new(SCHEMA, name.to_ascii_uppercase())),
        storage: None,
        compression: None,
        unchecked_text: false,
        inherited: false,
        portable: true,
        stamped: false,
        comment: None,
    }
}

fn key(text: &KeyText) -> Key {
    Key {
        name: text.name.clone(),
        kind: if text.primary { KeyKind::Primary } else { KeyKind::Unique },
        parts: text.parts.clone(),
        include: Vec::new(),
        nulls_not_distinct: false,
        deferrable: false,
        initially_deferred: false,
        method: String::new(),
        predicate: None,
        options: text.conflict.iter().map(|way| ("on_conflict".to_string(), way.clone())).collect(),
        parent: None,
        clustered: false,
        comment: None,
        bytes: 0,
    }
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

fn foreign_key(text: &ForeignKeyText) -> ForeignKey {
    ForeignKey {
        name: text.name.clone(),
        columns: text.columns.clone(),
        parent: Name::new(SCHEMA, &text.parent),
        parent_columns: text.parent_columns.clone(),
        on_delete: text.on_delete,
        on_update: text.on_update,
        set_columns: Vec::new(),
        // SQLite takes MATCH and does not act on it.
        matching: MatchKind::Simple,
        deferrable: text.deferrable,
        initially_deferred: text.initially_deferred,
        validated: true,
        comment: None,
    }
}

/// An `INTEGER PRIMARY KEY` is the row id: it fills itself, and is never null.
fn identity(table: &mut Table, text: &TableText, listed: &Listed) -> Option<Sequence> {
    let primary = text.keys.iter().find(|key| key.primary)?;
    let [part] = primary.parts.as_slice() else { return None };
    if listed.without_rowid || (primary.in_column && part.descending) {
        return None;
    }
    let name = part.column.as_deref()?;
    let column = table.columns.iter_mut().find(|column| column.name.eq_ignore_ascii_case(name))?;
    if !column.native.eq_ignore_ascii_case("INTEGER") {
        return None;
    }
    column.identity = Some(Identity::ByDefault);
    column.not_null = true;
    let column = column.name.clone();
    if let Some(key) = table.keys.iter_mut().find(|key| key.kind == KeyKind::Primary) {
        // The direction means nothing to a row id.
        key.parts[0].descending = false;
    }
    Some(sequence(&table.name, &column))
}

fn sequence(table: &Name, column: &str) -> Sequence {
    Sequence {
        name: Name::new(SCHEMA, format!("{}_{column}_seq", table.name)),
        data_type: "INTEGER".into(),
        start: 1,
        increment: 1,
        min: 1,
        max: i64::MAX,
        cache: 1,
        cycle: false,
        owner: Some(crate::catalog::SequenceOwner {
            table: table.clone(),
            column: column.into(),
            identity: true,
        }),
        comment: None,
    }
}

fn index(facts: &Facts, object: &Object, table: &Table) -> Option<Index> {
    let columns: Vec<_> = table.columns.iter().map(|column| column.name.clone()).collect();
    let text = parse::index(&object.sql, &columns).ok()?;
    Some(Index {
        name: object.name.clone(),
        unique: object.sql.get(..13).is_some_and(|start| start.eq_ignore_ascii_case("CREATE UNIQUE")),
        method: String::new(),
        parts: text.parts,
        include: Vec::new(),
        nulls_not_distinct: false,
        predicate: text.predicate,
        options: Vec::new(),
        parent: None,
        valid: true,
        clustered: false,
        comment: None,
        bytes: facts.estimates.index(&object.name, &object.table),
    })
}

/// Gives names inside tables the spelling of what they name: SQLite compares them without case.
fn resolve_names(tables: &mut [Table]) {
    let spelled: BTreeMap<String, (Name, Vec<String>)> = tables
        .iter()
        .map(|table| {
            let columns = table.columns.iter().map(|column| column.name.clone()).collect();
            (table.name.name.to_ascii_lowercase(), (table.name.clone(), columns))
        })
        .collect();
    let fix = |name: &mut String, columns: &[String]| {
        if let Some(column) = columns.iter().find(|column| column.eq_ignore_ascii_case(name)) {
            name.clone_from(column);
        }
    };
    for table in tables {
        let own: Vec<_> = table.columns.iter().map(|column| column.name.clone()).collect();
        for part in table.keys.iter_mut().flat_map(|key| &mut key.parts) {
            if let Some(column) = &mut part.column {
                fix(column, &own);
            }
        }
        for key in &mut table.foreign_keys {
            key.columns.iter_mut().for_each(|column| fix(column, &own));
            if let Some((parent, columns)) = spelled.get(&key.parent.name.to_ascii_lowercase()) {
                key.parent.clone_from(parent);
                key.parent_columns.iter_mut().for_each(|column| fix(column, columns));
            }
        }
    }
}

/// Tables `a_b` and `a` may have columns `c` and `b_c`.
fn unique_name(catalog: &Catalog, mut sequence: Sequence) -> Sequence {
    while catalog.sequence(&sequence.name).is_some() {
        sequence.name.name.push('_');
    }
    sequence
}

/// True where a table's row ids are never used twice.
pub(super) fn autoincrement(conn: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE";
    let sql: String = conn.query_row(sql, [table], |row| row.get(0))?;
    Ok(parse::table(&sql).is_ok_and(|text| text.autoincrement))
}
