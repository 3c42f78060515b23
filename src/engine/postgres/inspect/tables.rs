//! Tables with their columns, parents and partition bounds. What hangs on them is put in its place
//! by `constraints` and `indexes`.

use std::collections::{HashMap, HashSet};

use super::types::Types;
use super::{Fields, Reader, comment, not_member, users_relation};
use crate::catalog::{
    Column, Default, Generated, Identity, Name, OtherObject, Partition, ReplicaIdentity, Table, TableKind,
};
use crate::engine::EngineError;
use crate::engine::postgres::text;

/// Tables by their number, while they are put together.
pub struct Tables {
    by_oid: HashMap<u32, Entry>,
    /// Columns of tables that are not carried: foreign keys may point at them.
    others: HashMap<(u32, i16), String>,
}

pub struct Entry {
    pub table: Table,
    /// As many as the table has columns, by their numbers.
    attributes: Vec<Attribute>,
    is_partition: bool,
    bound: Option<String>,
}

/// What other catalogs call a column by, and what they ask about it.
struct Attribute {
    number: i16,
    ty: u32,
    collation: u32,
}

impl Tables {
    pub fn get(&self, oid: u32) -> Option<&Entry> {
        self.by_oid.get(&oid)
    }

    pub fn get_mut(&mut self, oid: u32) -> Option<&mut Entry> {
        self.by_oid.get_mut(&oid)
    }

    /// The tables, once all that hangs on them is in its place.
    pub fn finish(self) -> Vec<Table> {
        let sorted = |entry: Entry| {
            let mut table = entry.table;
            table.checks.sort_by(|a, b| a.name.cmp(&b.name));
            table.keys.sort_by(|a, b| a.name.cmp(&b.name));
            table.indexes.sort_by(|a, b| a.name.cmp(&b.name));
            table.foreign_keys.sort_by(|a, b| a.name.cmp(&b.name));
            table
        };
        self.by_oid.into_values().map(sorted).collect()
    }

    /// Names of a table's columns by their numbers.
    pub fn names(&self, oid: u32, numbers: &[i16]) -> Vec<String> {
        let other = |number: &i16| self.others.get(&(oid, *number)).cloned();
        match self.by_oid.get(&oid) {
            Some(entry) => entry.names(numbers).unwrap_or_default(),
            None => numbers.iter().filter_map(other).collect(),
        }
    }
}

/// Number of the collation that stands for the database's own.
const DEFAULT_COLLATION: u32 = 100;

impl Entry {
    /// The collation that an expression over the columns has by itself, where that can be told.
    pub fn habit(&self, expression: &str) -> Option<u32> {
        let plain = self.attributes.iter().all(|known| matches!(known.collation, 0 | DEFAULT_COLLATION));
        (plain && !expression.contains("COLLATE")).then_some(DEFAULT_COLLATION)
    }

    fn place(&self, number: i16) -> Option<usize> {
        self.attributes.binary_search_by_key(&number, |known| known.number).ok()
    }

    /// A column's name and type by its number.
    pub fn column(&self, number: i16) -> Option<(&str, u32)> {
        self.place(number).map(|at| (self.table.columns[at].name.as_str(), self.attributes[at].ty))
    }

    /// A column's collation by its number.
    pub fn collation(&self, number: i16) -> Option<u32> {
        self.place(number).map(|at| self.attributes[at].collation)
    }

    /// Names of columns by their numbers; the whole is nothing where one is missing.
    pub fn names(&self, numbers: &[i16]) -> Option<Vec<String>> {
        numbers.iter().map(|number| self.column(*number).map(|(name, _)| name.to_string())).collect()
    }

    /// Takes a column in at its place: the server sends them in no order of tables.
    fn insert(&mut self, attribute: Attribute, column: Column) {
        let at = self.attributes.partition_point(|known| known.number < attribute.number);
        self.attributes.insert(at, attribute);
        self.table.columns.insert(at, column);
    }
}

/// Reads all tables, bare of what hangs on them.
pub async fn read(
    reader: &mut Reader<'_>,
    types: &Types,
    notes: &mut Vec<OtherObject>,
) -> Result<Tables, EngineError> {
    let mut tables = tables(reader).await?;
    columns(reader, types, &mut tables, notes).await?;
    parents(reader, &mut tables).await?;
    note_column_orders(&tables, notes);
    Ok(tables)
}

async fn tables(reader: &mut Reader<'_>) -> Result<Tables, EngineError> {
    let (member, users) = (not_member("pg_class", "c"), users_relation());
    let comment = comment("pg_class", "c");
    let sql = format!(
        "SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind, \
         c.relpersistence = 'u' AS unlogged, c.reloptions AS options, toast.reloptions AS toast_options, \
         c.relispartition AS is_partition, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bound, \
         CASE c.relkind WHEN 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END AS partition_key, \
         CASE WHEN c.relrowsecurity THEN pg_catalog.row_security_active(c.oid) ELSE false END AS hides, \
         CASE WHEN c.relrowsecurity THEN (SELECT pg_catalog.string_agg(p.polname, ', ' ORDER BY p.polname) \
           FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid) END AS policies, \
         c.relreplident::text AS replica_identity, (SELECT x.relname::text FROM pg_catalog.pg_index AS i \
           JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisreplident) \
           AS replica_index, \
         greatest(c.reltuples, 0)::pg_catalog.float8 AS rows, \
         (c.relpages::pg_catalog.int8 + coalesce(toast.relpages, 0)) * \
           pg_catalog.current_setting('block_size')::pg_catalog.int8 AS bytes, words.description AS comment \
         FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_class AS toast ON toast.oid = c.reltoastrelid {comment} \
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {users} AND {member}"
    );
    let mut by_oid = HashMap::new();
    let take = |row: Fields| -> Result<(), EngineError> {
        by_oid.insert(row.oid("oid")?, entry(&row)?);
        Ok(())
    };
    reader.each(&sql, take).await?;
    Ok(Tables { by_oid, others: HashMap::new() })
}

fn entry(row: &Fields) -> Result<Entry, EngineError> {
    let kind = match row.maybe("partition_key")? {
        Some(by) => TableKind::Partitioned { by, of: None },
        None => TableKind::Plain,
    };
    let mut options = options(row.need("options")?, "");
    options.extend(self::options(row.need("toast_options")?, "toast."));
    options.sort();
    let hidden = row.truth("hides")?.then(|| row.maybe("policies")).transpose()?;
    let hidden = hidden.map(|policies| match policies {
        Some(policies) => format!("row-level security is on for this role, with the policies {policies}"),
        None => "row-level security is on for this role, without a policy".to_string(),
    });
    let table = Table {
        name: Name::new(row.text("schema")?, row.text("name")?),
        kind,
        unlogged: row.truth("unlogged")?,
        options,
        comment: row.maybe("comment")?,
        hidden_rows: hidden,
        replica_identity: replica_identity(row)?,
        rows: row.need::<f64>("rows")? as u64,
        bytes: u64::try_from(row.need::<i64>("bytes")?).unwrap_or_default(),
        ..Table::default()
    };
    Ok(Entry {
        table,
        attributes: Vec::new(),
        is_partition: row.truth("is_partition")?,
        bound: row.maybe("bound")?,
    })
}

/// An index that was dropped since leaves nothing to identify rows by.
fn replica_identity(row: &Fields) -> Result<ReplicaIdentity, EngineError> {
    let index = row.maybe("replica_index")?;
    Ok(match (row.text("replica_identity")?.as_str(), index) {
        ("d", _) => ReplicaIdentity::Primary,
        ("f", _) => ReplicaIdentity::Full,
        ("i", Some(index)) => ReplicaIdentity::Index(index),
        _ => ReplicaIdentity::Nothing,
    })
}

/// `fillfactor=70` cut at its first `=`.
pub fn options(stored: Option<Vec<String>>, prefix: &str) -> Vec<(String, String)> {
    let cut = |option: &String| {
        let (key, value) = option.split_once('=').unwrap_or((option, "true"));
        (format!("{prefix}{key}"), value.to_string())
    };
    let mut all: Vec<(String, String)> = stored.iter().flatten().map(cut).collect();
    all.sort();
    all
}

async fn columns(
    reader: &mut Reader<'_>,
    types: &Types,
    tables: &mut Tables,
    notes: &mut Vec<OtherObject>,
) -> Result<(), EngineError> {
    // From PostgreSQL 18 on a not-null constraint may be there and not hold for old rows, or for children.
    let loose = "(SELECT CASE WHEN NOT k.convalidated THEN 'v' WHEN k.connoinherit THEN 'i' END \
                 FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = a.attrelid AND k.contype = 'n' \
                 AND k.conkey[1] = a.attnum LIMIT 1)";
    // A default names no column: printed without its table, the server need not open and lock that.
    let sql = format!(
        "SELECT a.attrelid, a.attnum, a.attname::text AS name, a.atttypid, \
         pg_catalog.format_type(a.atttypid, a.atttypmod) AS native, \
         CASE WHEN a.attnotnull THEN {loose} END AS loose, \
         a.attnotnull AS not_null, c.relhassubclass AS has_children, pg_catalog.pg_get_expr(d.adbin, CASE a.attgenerated WHEN '' \
           THEN 0 ELSE d.adrelid END) AS expression, \
         a.attidentity::text AS identity, a.attgenerated::text AS generated, a.attcollation, \
         co.collname::text AS collation, cn.nspname::text AS collation_schema, \
         CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage::text END AS storage, \
         a.attcompression::text AS compression, a.attislocal AS local, words.description AS comment \
         FROM pg_catalog.pg_attribute AS a \
         JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid \
         LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = a.attcollation AND a.attcollation <> t.typcollation \
         LEFT JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace \
         LEFT JOIN pg_catalog.pg_description AS words ON words.objoid = a.attrelid \
           AND words.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND words.objsubid = a.attnum \
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {users} \
         AND a.attnum > 0 AND NOT a.attisdropped",
        users = users_relation(),
        loose = reader.since(18, loose, "NULL::text")
    );
    // Since PostgreSQL 17 partitions draw from the root's identity and say so, but own nothing.
    let of_root = reader.has(17);
    let take = |row: Fields| -> Result<(), EngineError> {
        let table = row.oid("attrelid")?;
        let Some(entry) = tables.by_oid.get_mut(&table) else {
            tables.others.insert((table, row.need("attnum")?), row.text("name")?);
            return Ok(());
        };
        let column = column(&row, types, entry.is_partition && of_root)?;
        if let Some(loose) = Loose::of(&row)? {
            let name = Name::new(&entry.table.name.schema, &column.name);
            let table = Some(entry.table.name.clone());
            notes.push(OtherObject { kind: loose.kind().to_string(), name, table });
        }
        let (number, ty, collation) = (row.need("attnum")?, row.oid("atttypid")?, row.oid("attcollation")?);
        entry.insert(Attribute { number, ty, collation }, column);
        Ok(())
    };
    reader.each(&sql, take).await
}

fn column(row: &Fields, types: &Types, identity_of_root: bool) -> Result<Column, EngineError> {
    let native = row.text("native")?;
    let oid = row.oid("atttypid")?;
    let expression = row.maybe("expression")?;
    let generated = row.text("generated")?;
    let (default, generated) = match (expression, generated.as_str()) {
        (Some(native), "") => {
            let sequence = text::parse_nextval(&native);
            (Some(Default { native, sequence }), None)
        }
        (Some(native), how) => (None, Some(Generated { native, stored: how == "s" })),
        (None, _) => (None, None),
    };
    let identity = match row.text("identity")?.as_str() {
        _ if identity_of_root => None,
        "a" => Some(Identity::Always),
        "d" => Some(Identity::ByDefault),
        _ => None,
    };
    let collation = match row.maybe("collation")? {
        Some(collation) => Some(Name::new(row.text("collation_schema")?, collation)),
        None => None,
    };
    Ok(Column {
        name: row.text("name")?,
        ty: types.neutral(oid, &native),
        native,
        not_null: row.truth("not_null")? && holds(row)?,
        default,
        generated,
        identity,
        collation,
        storage: row.maybe("storage")?.map(|letter| storage(&letter).to_string()),
        compression: compression(&row.text("compression")?),
        unchecked_text: false,
        inherited: !row.truth("local")?,
        portable: types.portable(oid),
        stamped: false,
        comment: row.maybe("comment")?,
    })
}

/// A not-null constraint that is not one of all rows, those of children too: such a one cannot be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loose {
    NotValid,
    NotInherited,
}

impl Loose {
    fn of(row: &Fields) -> Result<Option<Self>, EngineError> {
        let letter = row.maybe("loose")?;
        Ok(letter.map(|letter| if letter == "v" { Self::NotValid } else { Self::NotInherited }))
    }

    fn kind(self) -> &'static str {
        match self {
            Self::NotValid => "not-null constraint that is not valid",
            Self::NotInherited => "not-null constraint that children do not inherit",
        }
    }
}

/// Whether a column that is NOT NULL is so in all rows.
fn holds(row: &Fields) -> Result<bool, EngineError> {
    Ok(match Loose::of(row)? {
        None => true,
        Some(Loose::NotInherited) => !row.truth("has_children")?,
        Some(Loose::NotValid) => false,
    })
}

fn storage(letter: &str) -> &'static str {
    match letter {
        "p" => "PLAIN",
        "e" => "EXTERNAL",
        "m" => "MAIN",
        _ => "EXTENDED",
    }
}

fn compression(letter: &str) -> Option<String> {
    match letter {
        "p" => Some("pglz".to_string()),
        "l" => Some("lz4".to_string()),
        _ => None,
    }
}

/// A child is created with its parents' columns first: one that was made a child later may have them
/// elsewhere.
fn note_column_orders(tables: &Tables, notes: &mut Vec<OtherObject>) {
    let by_name: HashMap<&Name, &Table> =
        tables.by_oid.values().map(|entry| (&entry.table.name, &entry.table)).collect();
    for child in by_name.values().filter(|table| !table.inherits.is_empty()) {
        let parents = child.inherits.iter().filter_map(|parent| by_name.get(parent));
        let mut seen = HashSet::new();
        let names = parents.flat_map(|parent| &parent.columns).map(|column| column.name.as_str());
        let first: Vec<&str> = names.filter(|name| seen.insert(*name)).collect();
        let own = child.columns.iter().map(|column| column.name.as_str());
        if !own.take(first.len()).eq(first) {
            let table = Some(child.name.clone());
            notes.push(OtherObject { kind: "order of columns".to_string(), name: child.name.clone(), table });
        }
    }
}

/// Parents by partitioning and by inheritance.
async fn parents(reader: &mut Reader<'_>, tables: &mut Tables) -> Result<(), EngineError> {
    let sql = "SELECT i.inhrelid, n.nspname::text AS schema, c.relname::text AS name \
               FROM pg_catalog.pg_inherits AS i \
               JOIN pg_catalog.pg_class AS c ON c.oid = i.inhparent \
               JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p') ORDER BY i.inhrelid, i.inhseqno";
    for row in reader.rows(sql).await? {
        let Some(entry) = tables.get_mut(row.oid("inhrelid")?) else { continue };
        let parent = Name::new(row.text("schema")?, row.text("name")?);
        let Some(bound) = entry.bound.clone().filter(|_| entry.is_partition) else {
            entry.table.inherits.push(parent);
            continue;
        };
        let partition = Partition { parent, bound };
        match &mut entry.table.kind {
            TableKind::Partitioned { of, .. } => *of = Some(partition),
            kind => *kind = TableKind::Leaf(partition),
        }
    }
    Ok(())
}
