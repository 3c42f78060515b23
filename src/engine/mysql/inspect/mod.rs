//! Reads the structure of a database by a fixed number of queries over `information_schema`, never
//! one per table, but for those that are partitioned, have full-text indexes or may have periods. What is
//! seen and cannot be carried goes into `others`, never away.

mod columns;
mod keys;
mod parsers;
mod partitions;
mod periods;
mod sequences;
mod unprinted;

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use sha2::{Digest, Sha256};

pub(super) use sequences::{next_of, values as sequence_values};

use super::connect::{Flavor, Link};
use super::{error, marks, quote, source};
use crate::catalog::{Catalog, Denied, Name, OtherObject, Place, Schema, Table, TableKind};
use crate::engine::{Cause, EngineError};

const DOING: &str = "read the catalog of";

/// A row of `information_schema`, read by position. Every cell is a text or null.
struct Facts(Row);

impl Facts {
    fn maybe(&mut self, at: usize) -> Option<String> {
        // Some columns are of a binary type, and some flavors print numbers as such.
        let bytes = self.0.take_opt::<Option<Vec<u8>>, _>(at)?.ok().flatten()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn text(&mut self, at: usize) -> String {
        self.maybe(at).unwrap_or_default()
    }

    fn number(&mut self, at: usize) -> u64 {
        self.maybe(at).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// What all the queries are asked with.
struct Asking<'a> {
    conn: &'a mut Conn,
    flavor: Flavor,
    /// The database, as a literal.
    database: String,
}

impl Asking<'_> {
    async fn rows(&mut self, sql: &str) -> Result<Vec<Facts>, EngineError> {
        let rows: Result<Vec<Row>, _> = self.conn.query(sql).await;
        rows.map(|rows| rows.into_iter().map(Facts).collect())
            .map_err(|error| error::from_driver(DOING, error))
    }

    /// The statement that makes a table; empty where this user may not see it. Nor may its rows be read
    /// then, which is said.
    async fn statement(&mut self, table: &Name) -> Result<String, EngineError> {
        match self.rows(&format!("SHOW CREATE TABLE {}", quote::name(table))).await {
            Err(error) if error.cause == Cause::Privilege => Ok(String::new()),
            rows => Ok(rows?.pop().map(|mut row| row.text(1)).unwrap_or_default()),
        }
    }
}

/// The tables under construction, by name. Rows of the other queries find theirs here.
type Tables = BTreeMap<String, Table>;

/// The catalog of the session's database.
pub(super) async fn inspect(conn: &mut Conn, link: &Link) -> Result<Catalog, EngineError> {
    let database = link.address.database.clone();
    let mut asking = Asking { conn, flavor: link.server.flavor, database: quote::literal(&database) };
    let mut catalog = Catalog {
        engine: "mysql".into(),
        version: format!("{} {}", link.server.flavor.name(), link.server.version),
        place: place(link),
        database: database.clone(),
        default_schema: database.clone(),
        encoding: "utf8mb4".into(),
        schemas: vec![Schema { name: database.clone(), comment: None }],
        ..Catalog::default()
    };
    let mut found = tables(&mut asking, &database).await?;
    catalog.others = std::mem::take(&mut found.others);
    let partitioned = std::mem::take(&mut found.partitioned);
    catalog.others.extend(partitions::read(&mut asking, &mut found.tables, partitioned).await?);
    let unread = columns::read(&mut asking, &mut found, &mut catalog).await?;
    keys::indexes(&mut asking, &mut found.tables).await?;
    parsers::read(&mut asking, &mut found.tables).await?;
    catalog.parsers = parsers::all(&mut asking).await?;
    let unruled = keys::foreign_keys(&mut asking, &mut found.tables).await?;
    keys::checks(&mut asking, &mut found.tables).await?;
    if asking.flavor == Flavor::MariaDb {
        catalog.others.extend(periods::read(&mut asking, &found.tables).await?);
    }
    catalog.others.extend(unprinted::read(&mut asking, &found.tables).await?);
    catalog.others.extend(collations(&found.tables));
    sequences::read(&mut asking, &found.sequences, &found.comments, &mut catalog).await?;
    others(&mut asking, &mut catalog, &database).await?;
    unseen(&mut asking, &mut catalog, &database).await?;
    let mut unread: BTreeSet<_> = unread.into_iter().collect();
    unread.extend(half_seen(&mut asking, &found.tables).await?);
    catalog.denied = deny(&mut asking, &database, unread, unruled).await?;
    catalog.tables = found.tables.into_values().collect();
    for table in &mut catalog.tables {
        table.keys.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        table.indexes.sort_by(|a, b| a.name.cmp(&b.name));
        table.checks.sort_by(|a, b| a.name.cmp(&b.name));
        table.foreign_keys.sort_by(|a, b| (&a.name, &a.columns).cmp(&(&b.name, &b.columns)));
    }
    catalog.tables.sort_by(|a, b| a.name.cmp(&b.name));
    catalog.sequences.sort_by(|a, b| a.name.cmp(&b.name));
    catalog.others.sort();
    catalog.others.dedup();
    catalog.denied.sort();
    Ok(catalog)
}

/// Identity of a database: its server and its name there.
pub(super) fn place(link: &Link) -> Place {
    let facts = format!("{} {}", link.server.identity, link.address.database);
    let digest: String = Sha256::digest(facts).iter().map(|byte| format!("{byte:02x}")).collect();
    Place { kind: "mysql-server-database".into(), hash: format!("sha256:{digest}") }
}

/// What the first query gives.
#[derive(Default)]
struct Found {
    tables: Tables,
    /// Names of sequence objects.
    sequences: Vec<String>,
    /// Their comments.
    comments: BTreeMap<String, String>,
    /// Next values of tables that count up.
    counters: BTreeMap<String, u64>,
    /// Tables that are partitioned.
    partitioned: BTreeSet<String>,
    others: Vec<OtherObject>,
}

/// Engines whose rows a consistent snapshot does not cover: what is written to them meanwhile is
/// seen, or seen in part.
fn outside_snapshot(engine: &str) -> bool {
    !matches!(engine, "InnoDB" | "MyRocks" | "ROCKSDB" | "TokuDB")
}

async fn tables(asking: &mut Asking<'_>, database: &str) -> Result<Found, EngineError> {
    let sql = format!(
        "SELECT TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_ROWS, DATA_LENGTH, AUTO_INCREMENT, CREATE_OPTIONS, \
         TABLE_COMMENT, TABLE_COLLATION FROM information_schema.TABLES WHERE TABLE_SCHEMA = {}",
        asking.database
    );
    let mut found = Found::default();
    for mut row in asking.rows(&sql).await? {
        let name = row.text(0);
        // What a target remembers is nobody's table.
        if marks::is_state(&name) {
            continue;
        }
        let other =
            |kind: &str| OtherObject { kind: kind.into(), name: Name::new(database, &name), table: None };
        let (kind, engine) = (row.text(1), row.maybe(2));
        match kind.as_str() {
            "BASE TABLE" | "SYSTEM VERSIONED" => {}
            "VIEW" | "SYSTEM VIEW" => {
                found.others.push(other("view"));
                continue;
            }
            "SEQUENCE" => {
                let comment = row.maybe(7).filter(|text| !text.is_empty());
                found.comments.extend(comment.map(|text| (name.clone(), text)));
                found.sequences.push(name);
                continue;
            }
            _ => {
                found.others.push(other(&kind.to_lowercase()));
                continue;
            }
        }
        // A table that is damaged, or whose file is gone, has no engine.
        let Some(engine) = engine else {
            found.others.push(other("unreadable table"));
            continue;
        };
        if kind == "SYSTEM VERSIONED" {
            found.others.push(other("row history"));
        }
        for option in options(&row.text(6)) {
            if option == "partitioned" {
                found.partitioned.insert(name.clone());
                continue;
            }
            found.others.push(OtherObject {
                kind: "table option".into(),
                name: Name::new(database, format!("{name}.{option}")),
                table: Some(Name::new(database, &name)),
            });
        }
        if let Some(next) = row.maybe(5).and_then(|text| text.parse().ok()) {
            found.counters.insert(name.clone(), next);
        }
        let table = Table {
            name: Name::new(database, &name),
            kind: TableKind::Plain,
            outside_snapshot: outside_snapshot(&engine)
                .then(|| format!("engine {engine} has no consistent snapshot")),
            options: if engine == "InnoDB" { Vec::new() } else { vec![("engine".into(), engine)] },
            collation: row.maybe(8).filter(|one| !columns::by_bytes(one)).map(|one| Name::new(database, one)),
            comment: row.maybe(7).filter(|text| !text.is_empty()),
            rows: row.number(3),
            bytes: row.number(4),
            ..Table::default()
        };
        found.tables.insert(name, table);
    }
    Ok(found)
}

/// What was said of a table when it was made, one by one. The row format is left out that tables of a
/// target are given.
fn options(printed: &str) -> Vec<&str> {
    let mut quoted = false;
    let parts = printed.split(|c: char| {
        quoted ^= c == '\'';
        c == ' ' && !quoted
    });
    parts.filter(|option| !option.is_empty() && *option != "row_format=DYNAMIC").collect()
}

/// The collations of columns and tables, for they compare in ways of their own.
fn collations(tables: &Tables) -> Vec<OtherObject> {
    let columns = tables.values().flat_map(|table| &table.columns);
    let columns = columns.filter_map(|column| column.collation.as_ref());
    let names: BTreeSet<_> =
        tables.values().filter_map(|table| table.collation.as_ref()).chain(columns).collect();
    let other = |name: &Name| OtherObject { kind: "collation".into(), name: name.clone(), table: None };
    names.into_iter().map(other).collect()
}

/// Names of sequence objects.
pub(super) async fn sequence_objects(conn: &mut Conn, link: &Link) -> Result<Vec<String>, EngineError> {
    let database = &link.address.database;
    let mut asking = Asking { conn, flavor: link.server.flavor, database: quote::literal(database) };
    Ok(tables(&mut asking, database).await?.sequences)
}

/// Triggers, routines and events: what this user may see of them.
async fn others(asking: &mut Asking<'_>, catalog: &mut Catalog, database: &str) -> Result<(), EngineError> {
    let place = asking.database.clone();
    for (kind, sql) in [
        (
            "trigger",
            format!(
                "SELECT TRIGGER_NAME, NULL, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {place}"
            ),
        ),
        (
            "",
            format!(
                "SELECT ROUTINE_NAME, LOWER(ROUTINE_TYPE), NULL FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {place}"
            ),
        ),
        (
            "event",
            format!(
                "SELECT EVENT_NAME, NULL, NULL FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {place}"
            ),
        ),
    ] {
        for mut row in asking.rows(&sql).await? {
            catalog.others.push(OtherObject {
                kind: row.maybe(1).unwrap_or_else(|| kind.to_string()),
                name: Name::new(database, row.text(0)),
                table: row.maybe(2).map(|table| Name::new(database, table)),
            });
        }
    }
    Ok(())
}

/// Kinds of objects that this user may not see: nobody can say that there are none.
async fn unseen(asking: &mut Asking<'_>, catalog: &mut Catalog, database: &str) -> Result<(), EngineError> {
    let sql = format!(
        "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES UNION SELECT PRIVILEGE_TYPE FROM \
         information_schema.SCHEMA_PRIVILEGES WHERE {} LIKE TABLE_SCHEMA",
        asking.database
    );
    let held: Vec<_> = asking.rows(&sql).await?.iter_mut().map(|row| row.text(0)).collect();
    let holds = |one: &str| held.iter().any(|privilege| privilege == one);
    for (kinds, name, privileges) in [
        (&["trigger"][..], "triggers", &["TRIGGER"][..]),
        (&["procedure", "function"], "routines", &["EXECUTE", "CREATE ROUTINE", "SHOW_ROUTINE"]),
        (&["event"], "events", &["EVENT"]),
    ] {
        let seen = catalog.others.iter().any(|other| kinds.contains(&other.kind.as_str()));
        if !seen && !privileges.iter().any(|privilege| holds(privilege)) {
            let name = Name::new(database, name);
            catalog.others.push(OtherObject { kind: "unseen kind".into(), name, table: None });
        }
    }
    Ok(())
}

/// Tables of which this user is granted single columns: the others are hidden from the catalog.
async fn half_seen(asking: &mut Asking<'_>, tables: &Tables) -> Result<Vec<Name>, EngineError> {
    let place = asking.database.clone();
    let sql = format!(
        "SELECT DISTINCT TABLE_NAME FROM information_schema.COLUMN_PRIVILEGES WHERE TABLE_SCHEMA = {place} \
         AND PRIVILEGE_TYPE = 'SELECT' AND NOT EXISTS (SELECT 1 FROM information_schema.USER_PRIVILEGES \
         WHERE PRIVILEGE_TYPE = 'SELECT') AND NOT EXISTS (SELECT 1 FROM information_schema.SCHEMA_PRIVILEGES \
         WHERE PRIVILEGE_TYPE = 'SELECT' AND {place} LIKE TABLE_SCHEMA) AND TABLE_NAME NOT IN (SELECT TABLE_NAME \
         FROM information_schema.TABLE_PRIVILEGES WHERE TABLE_SCHEMA = {place} AND PRIVILEGE_TYPE = 'SELECT')"
    );
    let rows = asking.rows(&sql).await?;
    let names = rows.into_iter().filter_map(|mut row| tables.get(&row.text(0)));
    Ok(names.map(|table| table.name.clone()).collect())
}

/// Tables of which this user may not read every column, or not what its foreign keys do: for that
/// MariaDB wants a right over the whole database, and takes the one to look at views.
async fn deny(
    asking: &mut Asking<'_>,
    database: &str,
    unread: BTreeSet<Name>,
    unruled: Vec<Name>,
) -> Result<Vec<Denied>, EngineError> {
    if unread.is_empty() && unruled.is_empty() {
        return Ok(Vec::new());
    }
    let user =
        asking.rows("SELECT CURRENT_USER()").await?.pop().map(|mut row| row.text(0)).unwrap_or_default();
    let (user, host) = user.rsplit_once('@').unwrap_or((&user, "%"));
    let account = source::account(user, host);
    let read = unread.into_iter().map(|object| {
        let grant = format!("GRANT SELECT ON {} TO {account}", quote::name(&object));
        Denied { object, grant, what: None }
    });
    let look = format!("GRANT SHOW VIEW ON {}.* TO {account}", quote::identifier(database));
    let ruled = unruled.into_iter().map(|object| {
        let what = Some("what its foreign keys do on delete and update".to_string());
        Denied { object, grant: look.clone(), what }
    });
    Ok(read.chain(ruled).collect())
}
