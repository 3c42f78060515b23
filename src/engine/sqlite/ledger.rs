//! What a capture keeps in the source: the change table, its triggers, and one row that says which
//! tables they are for and how everything looked when it was made. Works on a connection that is
//! given; nothing here waits.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::connect::File;
use super::dialect::quote;
use super::error::classify;
use super::read::shape;
use super::triggers::{self, CAPTURES, Layout};
use super::unique;
use crate::change::{Followed, Position};
use crate::engine::{CaptureSpec, Cause, EngineError};

pub(super) const OPEN: &str = "keep the changes of";
pub(super) const LOOK: &str = "look at the changes of";

/// A capture that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ledger {
    /// Chosen at random: positions of other captures are of another history.
    pub log: String,
    /// The file's number in its file system.
    pub inode: String,
    pub layouts: Vec<Layout>,
    /// Digest of each object that must stay as it is, by kind and name.
    objects: BTreeMap<String, String>,
}

/// A place in a change table: `log:number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At<'a> {
    pub log: &'a str,
    pub number: i64,
}

impl<'a> At<'a> {
    pub fn parse(position: &'a Position) -> Option<Self> {
        let (log, number) = position.0.rsplit_once(':')?;
        Some(Self { log, number: number.parse().ok()? })
    }
}

pub(super) fn position(log: &str, number: i64) -> Position {
    Position(format!("{log}:{number}"))
}

/// Makes the change table and its triggers, in place of what an earlier attempt of the plan left.
/// Runs in one write transaction of its own.
pub(super) fn make(conn: &Connection, file: &File, spec: &CaptureSpec<'_>) -> Result<(), EngineError> {
    transaction(conn, OPEN, || {
        remove_all(conn, spec.plan)?;
        refuse_alike(conn, spec.plan)?;
        let layouts = spec.tables.iter().map(|table| layout(conn, table)).collect::<Result<Vec<_>, _>>()?;
        let mut statements = vec![triggers::create_table(spec.plan, &layouts)];
        for (number, layout) in layouts.iter().enumerate() {
            statements.extend(triggers::create_triggers(spec.plan, number, layout));
        }
        let table = quote(&triggers::table(spec.plan));
        // The last change always stays, so that the newest number is known; this is the first one.
        statements.push(format!("INSERT INTO main.{table} (t, k) VALUES (-1, 0)"));
        statements.push(format!(
            "CREATE TABLE IF NOT EXISTS main.{CAPTURES} (plan TEXT NOT NULL PRIMARY KEY, log TEXT NOT NULL, \
             inode TEXT NOT NULL, layouts TEXT NOT NULL, objects TEXT NOT NULL, at TEXT NOT NULL)"
        ));
        for sql in &statements {
            conn.execute_batch(sql).map_err(|error| classify(OPEN, error))?;
        }
        record(conn, file, spec.plan, &layouts)
    })
}

fn record(conn: &Connection, file: &File, plan: &str, layouts: &[Layout]) -> Result<(), EngineError> {
    let json =
        |value: Result<String, serde_json::Error>| value.expect("broken invariant: a plain struct is JSON");
    let objects = json(serde_json::to_string(&objects(conn, plan, layouts)?));
    let sql = format!(
        "INSERT INTO main.{CAPTURES} VALUES (?1, lower(hex(randomblob(8))), ?2, ?3, ?4, \
         strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"
    );
    let layouts = json(serde_json::to_string(layouts));
    conn.execute(&sql, params![plan, inode(file)?, layouts, objects])
        .map(drop)
        .map_err(|error| classify(OPEN, error))
}

/// Names of plans that differ in case only would name one change table.
fn refuse_alike(conn: &Connection, plan: &str) -> Result<(), EngineError> {
    let sql = "SELECT count(*) FROM main.sqlite_schema WHERE name = ?1 COLLATE NOCASE";
    let found: i64 = conn
        .query_row(sql, [triggers::table(plan)], |row| row.get(0))
        .map_err(|error| classify(OPEN, error))?;
    if found == 0 {
        return Ok(());
    }
    let message = format!("table {} belongs to another plan or to somebody else", triggers::table(plan));
    Err(EngineError::new(Cause::Stale, OPEN, message).hint("give the plan another name"))
}

fn layout(conn: &Connection, followed: &Followed) -> Result<Layout, EngineError> {
    let table = &followed.projection.source.name;
    let shape = shape(conn, table)?;
    let carried = followed.projection.columns.iter().map(|column| &column.source);
    let known: Vec<_> = carried.chain(&followed.skipped).collect();
    let new = shape.stored.iter().find(|name| !known.iter().any(|known| known.eq_ignore_ascii_case(name)));
    if let Some(column) = new {
        let message = format!("column {} was added since the plan was made", quote(column));
        return Err(EngineError::new(Cause::Stale, OPEN, message)
            .on(&followed.projection.source)
            .hint("plan again"));
    }
    let uniques = unique::read(conn, table, &shape)?;
    Ok(Layout::new(followed, &uniques.keys))
}

/// Takes away what [`make`] made; says what that was.
pub(super) fn remove(conn: &Connection, plan: &str) -> Result<Vec<String>, EngineError> {
    transaction(conn, "remove the capture from", || remove_all(conn, plan))
}

fn remove_all(conn: &Connection, plan: &str) -> Result<Vec<String>, EngineError> {
    let fail = |error| classify("remove the capture from", error);
    let mut gone = Vec::new();
    let names = schema(conn, "trigger").map_err(fail)?;
    for name in names.iter().filter(|name| triggers::is_trigger_of(name, plan)) {
        conn.execute_batch(&format!("DROP TRIGGER main.{}", quote(name))).map_err(fail)?;
        gone.push(format!("trigger {name}"));
    }
    let tables = schema(conn, "table").map_err(fail)?;
    let table = triggers::table(plan);
    if tables.contains(&table) {
        conn.execute_batch(&format!("DROP TABLE main.{}", quote(&table))).map_err(fail)?;
        gone.push(format!("table {table}"));
    }
    if tables.iter().any(|table| table == CAPTURES) {
        conn.execute(&format!("DELETE FROM main.{CAPTURES} WHERE plan = ?1"), [plan]).map_err(fail)?;
        let sql = format!("SELECT count(*) FROM main.{CAPTURES}");
        if conn.query_row(&sql, [], |row| row.get::<_, i64>(0)).map_err(fail)? == 0 {
            conn.execute_batch(&format!("DROP TABLE main.{CAPTURES}")).map_err(fail)?;
            gone.push(format!("table {CAPTURES}"));
        }
    }
    Ok(gone)
}

/// Names of objects of a kind.
fn schema(conn: &Connection, kind: &str) -> rusqlite::Result<Vec<String>> {
    let mut query = conn.prepare("SELECT name FROM main.sqlite_schema WHERE type = ?1 ORDER BY name")?;
    query.query_map([kind], |row| row.get(0))?.collect()
}

/// Runs work in a write transaction; nothing of it stays where it fails.
pub(super) fn transaction<T>(
    conn: &Connection,
    doing: &str,
    work: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let batch = |sql: &str| conn.execute_batch(sql).map_err(|error| classify(doing, error));
    batch("BEGIN IMMEDIATE")?;
    let done = work().and_then(|done| batch("COMMIT").map(|()| done));
    if done.is_err() && !conn.is_autocommit() {
        // The error that is told is the first one.
        let _ = conn.execute_batch("ROLLBACK");
    }
    done
}

/// What was made for the plan; none where nothing is.
pub(super) fn read(conn: &Connection, plan: &str) -> Result<Option<Ledger>, EngineError> {
    let fail = |error| classify(LOOK, error);
    if !schema(conn, "table").map_err(fail)?.iter().any(|table| table == CAPTURES) {
        return Ok(None);
    }
    let sql = format!("SELECT log, inode, layouts, objects FROM main.{CAPTURES} WHERE plan = ?1");
    let row = conn.query_row(&sql, [plan], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
    });
    let Some((log, inode, layouts, objects)) = row.optional().map_err(fail)? else { return Ok(None) };
    let unreadable = |error: serde_json::Error| {
        let message = format!("table {CAPTURES} is not in the form this version writes: {error}");
        EngineError::new(Cause::Stale, LOOK, message)
    };
    let layouts = serde_json::from_str(&layouts).map_err(unreadable)?;
    Ok(Some(Ledger { log, inode, layouts, objects: serde_json::from_str(&objects).map_err(unreadable)? }))
}

/// The one plan that has a capture here, if there is one.
pub(super) fn only_plan(conn: &Connection) -> Result<Option<String>, EngineError> {
    let fail = |error| classify(LOOK, error);
    if !schema(conn, "table").map_err(fail)?.iter().any(|table| table == CAPTURES) {
        return Ok(None);
    }
    let sql = format!("SELECT plan FROM main.{CAPTURES} WHERE (SELECT count(*) FROM main.{CAPTURES}) = 1");
    conn.query_row(&sql, [], |row| row.get(0)).optional().map_err(fail)
}

/// Why the capture is of no more use, if so.
pub(super) fn fault(
    conn: &Connection,
    file: &File,
    plan: &str,
    ledger: &Ledger,
) -> Result<Option<String>, EngineError> {
    if inode(file)? != ledger.inode {
        return Ok(Some("the file was replaced by another one since its changes are kept".into()));
    }
    let now = objects(conn, plan, &ledger.layouts)?;
    let changed = ledger.objects.iter().find(|(name, digest)| now.get(*name) != Some(digest));
    if let Some((name, _)) = changed {
        let how = if now.contains_key(name) { "was changed" } else { "is gone" };
        return Ok(Some(format!("{name} {how} since the changes are kept")));
    }
    let new = now.keys().find(|name| !ledger.objects.contains_key(*name));
    Ok(new.map(|name| format!("{name} is new since the changes are kept")))
}

/// What the changes depend on: followed tables, their unique indexes, our table and triggers.
fn objects(
    conn: &Connection,
    plan: &str,
    layouts: &[Layout],
) -> Result<BTreeMap<String, String>, EngineError> {
    let fail = |error| classify(LOOK, error);
    let followed = |table: &str| layouts.iter().any(|layout| layout.table.eq_ignore_ascii_case(table));
    let log = triggers::table(plan);
    let sql = "SELECT type, name, tbl_name, coalesce(sql, '') FROM main.sqlite_schema";
    let mut query = conn.prepare_cached(sql).map_err(fail)?;
    let mut rows = query.query([]).map_err(fail)?;
    let mut objects = BTreeMap::new();
    while let Some(row) = rows.next().map_err(fail)? {
        let cell = |index| row.get::<_, String>(index).map_err(fail);
        let (kind, name, table, sql) = (cell(0)?, cell(1)?, cell(2)?, cell(3)?);
        let unique = || sql.get(..13).is_some_and(|start| start.eq_ignore_ascii_case("CREATE UNIQUE"));
        let matters = match kind.as_str() {
            "table" => followed(&name) || name == log,
            "trigger" => triggers::is_trigger_of(&name, plan),
            "index" => followed(&table) && unique(),
            _ => false,
        };
        if matters {
            let digest = Sha256::digest(sql.as_bytes());
            let digest = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            objects.insert(format!("{kind} {name}"), digest);
        }
    }
    Ok(objects)
}

/// Number of the first change that is kept, and of the newest.
pub(super) fn span(conn: &Connection, plan: &str) -> Result<(i64, i64), EngineError> {
    let table = quote(&triggers::table(plan));
    // Two sub-selects: SQLite looks up one extreme at a time.
    let sql = format!("SELECT (SELECT min(n) FROM main.{table}), (SELECT max(n) FROM main.{table})");
    let mut query = conn.prepare_cached(&sql).map_err(|error| classify(LOOK, error))?;
    let ends = query.query_row([], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)));
    match ends.map_err(|error| classify(LOOK, error))? {
        (Some(first), Some(newest)) => Ok((first, newest)),
        _ => Err(lost("the change table was emptied by somebody else")),
    }
}

/// Bytes of a change, on average of the newest; none before the first change.
pub(super) fn change_bytes(
    conn: &Connection,
    plan: &str,
    ledger: &Ledger,
) -> Result<Option<u64>, EngineError> {
    let slots = ledger.layouts.iter().map(Layout::slots).max().unwrap_or(0);
    let size = |slot| {
        format!(
            " + CASE typeof(c{slot}) WHEN 'null' THEN 1 WHEN 'text' THEN length(CAST(c{slot} AS BLOB)) WHEN 'blob' THEN length(c{slot}) ELSE 9 END"
        )
    };
    let sum: String = (0..slots).map(size).collect();
    let sql = format!(
        "SELECT avg(bytes) FROM (SELECT 10{sum} AS bytes FROM main.{} WHERE t >= 0 ORDER BY n DESC LIMIT 200)",
        quote(&triggers::table(plan))
    );
    let average: Option<f64> =
        conn.query_row(&sql, [], |row| row.get(0)).map_err(|error| classify(LOOK, error))?;
    Ok(average.map(|average| average as u64))
}

/// What the file is known by beside its name.
pub(super) fn inode(file: &File) -> Result<String, EngineError> {
    let meta = std::fs::metadata(&file.path).map_err(|error| {
        EngineError::new(Cause::NotFound, LOOK, error.to_string()).on(file).contract("E320")
    })?;
    Ok(inode_of(&meta))
}

#[cfg(unix)]
fn inode_of(meta: &std::fs::Metadata) -> String {
    std::os::unix::fs::MetadataExt::ino(meta).to_string()
}

#[cfg(not(unix))]
fn inode_of(meta: &std::fs::Metadata) -> String {
    format!("{:?}", meta.created().ok())
}

/// The log does not go on from where it was read.
pub(super) fn lost(why: impl Into<String>) -> EngineError {
    EngineError::new(Cause::Stale, LOOK, why)
        .hint("changes may be missing; `towpath apply --recopy` copies the followed tables again, with a new capture")
}
