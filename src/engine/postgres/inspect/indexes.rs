//! Indexes, as such and of keys, with their parts taken apart: column or expression, collation and
//! operator class where not the column's habit, direction, nulls.

use std::collections::HashMap;
use std::str::FromStr;

use super::constraints::{OfKey, OfKeys};
use super::tables::{Entry, Tables, options};
use super::types::Types;
use super::{DOING, Fields, Reader, comment, users_relation};
use crate::catalog::{Index, IndexPart, Key, KeyKind, Name, Nulls};
use crate::engine::postgres::quote;
use crate::engine::{Cause, EngineError};

/// What the parts of an index refer to by number.
struct Words {
    classes: HashMap<u32, OpClass>,
    collations: HashMap<u32, Name>,
}

struct OpClass {
    name: Name,
    is_default: bool,
    /// The type it is for.
    of: u32,
}

/// Bits of `indoption`.
const DESCENDING: i16 = 1;
const NULLS_FIRST: i16 = 2;

/// An index, its own number and its table's.
pub struct Found {
    index: Index,
    number: u32,
    table: u32,
}

/// Reads all indexes of tables.
pub async fn read(
    reader: &mut Reader<'_>,
    types: &Types,
    tables: &Tables,
) -> Result<Vec<Found>, EngineError> {
    let words = words(reader).await?;
    let comment = comment("pg_class", "ic");
    let sql = format!(
        "SELECT i.indexrelid, i.indrelid, ic.relname::text AS name, am.amname::text AS method, \
         i.indisunique, i.indisvalid, i.indisclustered, {nulls_not_distinct} AS nulls_not_distinct, i.indnkeyatts, \
         i.indkey::text AS columns, i.indoption::text AS directions, \
         i.indclass::text AS classes, i.indcollation::text AS collations, \
         ic.reloptions AS options, pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS predicate, \
         CASE WHEN i.indexprs IS NOT NULL THEN ARRAY(SELECT pg_catalog.pg_get_indexdef(i.indexrelid, k, false) \
           FROM pg_catalog.generate_series(1, i.indnkeyatts) AS k WHERE i.indkey[k - 1] = 0 ORDER BY k) END \
           AS expressions, \
         CASE WHEN parameters.some THEN ARRAY(SELECT pg_catalog.array_to_string(a.attoptions, ', ') \
           FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = i.indexrelid ORDER BY a.attnum) END AS parameters, \
         pn.nspname::text AS parent_schema, p.relname::text AS parent_name, words.description AS comment, \
         ic.relpages::pg_catalog.int8 * pg_catalog.current_setting('block_size')::pg_catalog.int8 AS bytes \
         FROM pg_catalog.pg_index AS i \
         JOIN pg_catalog.pg_class AS ic ON ic.oid = i.indexrelid \
         JOIN pg_catalog.pg_am AS am ON am.oid = ic.relam \
         JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_inherits AS h ON h.inhrelid = i.indexrelid \
         LEFT JOIN pg_catalog.pg_class AS p ON p.oid = h.inhparent \
         LEFT JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace \
         LEFT JOIN (SELECT a.attrelid, true AS some FROM pg_catalog.pg_attribute AS a \
           WHERE a.attoptions IS NOT NULL GROUP BY 1) AS parameters ON parameters.attrelid = i.indexrelid \
         {comment} \
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {users}",
        users = users_relation(),
        nulls_not_distinct = reader.since(15, "i.indnullsnotdistinct", "false"),
    );
    let mut found = Vec::new();
    let take = |row: Fields| -> Result<(), EngineError> {
        let table = row.oid("indrelid")?;
        let Some(entry) = tables.get(table) else { return Ok(()) };
        let index = index(&row, entry, types, &words)?;
        found.push(Found { index, number: row.oid("indexrelid")?, table });
        Ok(())
    };
    reader.each(&sql, take).await?;
    Ok(found)
}

/// Gives indexes to their tables, those of constraints as keys.
pub fn place(found: Vec<Found>, tables: &mut Tables, mut of_keys: OfKeys) {
    for Found { index, number, table } in found {
        let Some(entry) = tables.get_mut(table) else { continue };
        match of_keys.remove(&number) {
            Some(of_key) => entry.table.keys.push(key(index, of_key)),
            None => entry.table.indexes.push(index),
        }
    }
}

async fn words(reader: &mut Reader<'_>) -> Result<Words, EngineError> {
    let mut words = Words { classes: HashMap::new(), collations: HashMap::new() };
    let sql = "SELECT o.oid, n.nspname::text AS schema, o.opcname::text AS name, o.opcdefault, o.opcintype \
               FROM pg_catalog.pg_opclass AS o JOIN pg_catalog.pg_namespace AS n ON n.oid = o.opcnamespace";
    for row in reader.rows(sql).await? {
        let class = OpClass {
            name: Name::new(row.text("schema")?, row.text("name")?),
            is_default: row.truth("opcdefault")?,
            of: row.oid("opcintype")?,
        };
        words.classes.insert(row.oid("oid")?, class);
    }
    let sql = "SELECT o.oid, n.nspname::text AS schema, o.collname::text AS name FROM pg_catalog.pg_collation AS o \
               JOIN pg_catalog.pg_namespace AS n ON n.oid = o.collnamespace WHERE o.oid IN \
               (SELECT pg_catalog.unnest(i.indcollation::pg_catalog.oid[]) FROM pg_catalog.pg_index AS i)";
    for row in reader.rows(sql).await? {
        words.collations.insert(row.oid("oid")?, Name::new(row.text("schema")?, row.text("name")?));
    }
    Ok(words)
}

fn index(row: &Fields, entry: &Entry, types: &Types, words: &Words) -> Result<Index, EngineError> {
    let columns: Vec<i16> = vector(row, "columns")?;
    let parts = usize::try_from(row.need::<i16>("indnkeyatts")?).unwrap_or_default();
    let (keys, include) = columns.split_at(parts.min(columns.len()));
    let parent = match (row.maybe("parent_schema")?, row.maybe("parent_name")?) {
        (Some(schema), Some(name)) => Some(Name::new(schema, name)),
        _ => None,
    };
    Ok(Index {
        name: row.text("name")?,
        unique: row.truth("indisunique")?,
        method: row.text("method")?,
        parts: self::parts(row, keys, entry, types, words)?,
        include: entry.names(include).unwrap_or_default(),
        nulls_not_distinct: row.truth("nulls_not_distinct")?,
        predicate: row.maybe("predicate")?,
        options: options(row.need("options")?, ""),
        parent,
        valid: row.truth("indisvalid")?,
        clustered: row.truth("indisclustered")?,
        comment: row.maybe("comment")?,
        bytes: u64::try_from(row.need::<i64>("bytes")?).unwrap_or_default(),
    })
}

/// A vector of numbers; their binary form counts from zero, which the driver refuses.
fn vector<T: FromStr>(row: &Fields, column: &str) -> Result<Vec<T>, EngineError> {
    let text = row.text(column)?;
    let numbers: Result<Vec<T>, T::Err> = text.split_whitespace().map(str::parse).collect();
    numbers
        .map_err(|_| EngineError::new(Cause::Other, DOING, format!("{column} of an index is not a vector")))
}

fn parts(
    row: &Fields,
    keys: &[i16],
    entry: &Entry,
    types: &Types,
    words: &Words,
) -> Result<Vec<IndexPart>, EngineError> {
    let directions: Vec<i16> = vector(row, "directions")?;
    let classes: Vec<u32> = vector(row, "classes")?;
    let collations: Vec<u32> = vector(row, "collations")?;
    let parameters: Option<Vec<Option<String>>> = row.need("parameters")?;
    let expressions: Option<Vec<String>> = row.need("expressions")?;
    let mut expressions = expressions.unwrap_or_default().into_iter();
    let mut parts = Vec::with_capacity(keys.len());
    for (at, number) in keys.iter().enumerate() {
        let column = entry.column(*number);
        let direction = directions.get(at).copied().unwrap_or_default();
        let collation = collations.get(at).copied().unwrap_or_default();
        let expression = if column.is_none() { expressions.next() } else { None };
        let habit = match &expression {
            Some(expression) => entry.habit(expression),
            None => entry.collation(*number),
        };
        let class = classes.get(at).and_then(|oid| words.classes.get(oid));
        let parameters = parameters.as_ref().and_then(|all| all.get(at).cloned().flatten());
        parts.push(IndexPart {
            column: column.map(|(name, _)| name.to_string()),
            expression,
            collation: own_collation(collation, habit, words),
            opclass: class.and_then(|class| class_text(class, column.map(|(_, oid)| oid), types, parameters)),
            descending: direction & DESCENDING != 0,
            nulls: nulls(direction),
            operator: None,
        });
    }
    Ok(parts)
}

fn own_collation(collation: u32, habit: Option<u32>, words: &Words) -> Option<Name> {
    let differs = collation != 0 && Some(collation) != habit;
    differs.then(|| words.collations.get(&collation).cloned()).flatten()
}

fn nulls(direction: i16) -> Option<Nulls> {
    match (direction & DESCENDING != 0, direction & NULLS_FIRST != 0) {
        (true, false) => Some(Nulls::Last),
        (false, true) => Some(Nulls::First),
        _ => None,
    }
}

/// The class where it is not the column's default, has parameters, or is an extension's for a type
/// that is not: then it is named, so that whoever reads it sees that the extension is needed.
fn class_text(
    class: &OpClass,
    column: Option<u32>,
    types: &Types,
    parameters: Option<String>,
) -> Option<String> {
    if class.is_default && serves(class, column, types) && parameters.is_none() {
        return None;
    }
    let name = match class.name.schema.as_str() {
        "pg_catalog" => quote::identifier(&class.name.name),
        _ => quote::name(&class.name),
    };
    Some(match parameters {
        Some(parameters) => format!("{name} ({parameters})"),
        None => name,
    })
}

/// True where a column has the class by itself: it is for the column's type, for one that is the
/// same to the server, or for any array, enum or range.
fn serves(class: &OpClass, column: Option<u32>, types: &Types) -> bool {
    let system = class.name.schema == "pg_catalog";
    let Some(base) = column.map(|oid| types.base(oid)) else { return system };
    if class.of == base {
        return system || types.system_name(base).is_none();
    }
    let pair = (types.system_name(base), types.system_name(class.of));
    let alike = matches!(pair, (Some("varchar"), Some("text")) | (Some("cidr"), Some("inet")));
    system && (alike || types.system_name(class.of).is_none())
}

/// The key of a constraint, completed from its index.
fn key(index: Index, of_key: OfKey) -> Key {
    let OfKey { mut key, operators, temporal } = of_key;
    key.parts = index.parts;
    if key.kind == KeyKind::Exclusion {
        for (part, operator) in key.parts.iter_mut().zip(operators) {
            part.operator = Some(operator);
        }
    }
    if key.kind == KeyKind::Exclusion || temporal {
        key.method = index.method;
    }
    key.include = index.include;
    key.nulls_not_distinct = index.nulls_not_distinct;
    key.predicate = index.predicate;
    key.options = index.options;
    key.parent = index.parent;
    key.clustered = index.clustered;
    key.bytes = index.bytes;
    key
}
