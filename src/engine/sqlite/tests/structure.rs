//! What inspection sees, and that DDL made from it is seen the same way.

use rusqlite::Connection;

use super::{Place, dump, name, statements};
use crate::catalog::{Action, Catalog, Identity, KeyKind, Type};
use crate::engine::{Engine, Limits};

/// A file with every structural oddity of SQLite that is carried.
pub(super) const ODD: &str = r#"
CREATE TABLE plain (id INTEGER PRIMARY KEY, name VARCHAR(20) NOT NULL DEFAULT 'x''y', n DEFAULT -1,
  at TEXT DEFAULT CURRENT_TIMESTAMP, e INT DEFAULT (1 + 2), b BLOB DEFAULT x'00ff', q TEXT DEFAULT "dq");
CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, "odd ""name""" TEXT COLLATE NOCASE);
CREATE TABLE named (a INT, b INT, CONSTRAINT pk PRIMARY KEY (a, b DESC), CONSTRAINT uq UNIQUE (b) ON CONFLICT REPLACE,
  CONSTRAINT positive CHECK (a > 0), CHECK (b <> ';'), UNIQUE (a COLLATE NOCASE, b));
CREATE TABLE quirk (id INTEGER PRIMARY KEY DESC, v ANY);
CREATE TABLE narrow (k TEXT PRIMARY KEY, v) WITHOUT ROWID;
CREATE TABLE exact (id INT PRIMARY KEY, a ANY, t TEXT NOT NULL ON CONFLICT IGNORE, r REAL) STRICT;
CREATE TABLE made (a INTEGER, twice INT GENERATED ALWAYS AS (a * 2) STORED, thrice AS (a * 3));
CREATE TABLE child (id INTEGER PRIMARY KEY, p INT REFERENCES PLAIN(ID) ON DELETE CASCADE ON UPDATE SET NULL,
  x INT, y INT, self INT REFERENCES child, CONSTRAINT two FOREIGN KEY (x, y) REFERENCES named (a, b) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE [select] ([from] TEXT, `group` INT, "Ünï 💧" REAL, "" INT);
CREATE INDEX plain_name ON plain (name COLLATE NOCASE DESC, id) WHERE n > 0 AND name <> 'it''s';
CREATE UNIQUE INDEX plain_lower ON plain (lower(name), e + 1);
CREATE VIEW v AS SELECT * FROM plain;
CREATE TRIGGER tr AFTER INSERT ON plain BEGIN SELECT 1; END;
CREATE VIRTUAL TABLE search USING fts5(body);
"#;

async fn inspect(place: &Place, file: &str) -> Catalog {
    place.source(file).await.inspect().await.expect("inspected")
}

#[tokio::test]
async fn inspecting_what_was_created_from_an_inspection_gives_the_same() {
    let place = Place::new();
    place.make("a.db", ODD);
    let a = inspect(&place, "a.db").await;
    let sql: Vec<_> = a.tables.iter().flat_map(statements).collect();
    place.make("b.db", &sql.join(";\n"));
    let mut b = inspect(&place, "b.db").await;
    assert_eq!(a.tables.len(), 9);
    for (a, b) in a.tables.iter().zip(&mut b.tables) {
        b.rows = a.rows;
        b.bytes = a.bytes;
        for (a, b) in a.indexes.iter().zip(&mut b.indexes) {
            b.bytes = a.bytes;
        }
        assert_eq!(a, b, "{}", statements(a).join(";\n"));
    }
    assert_eq!(a.sequences, b.sequences);
    // And SQLite's own view of both is the same.
    let pragma = "SELECT l.name, x.* FROM pragma_table_list AS l, pragma_table_xinfo(l.name) AS x WHERE l.name NOT LIKE 'sqlite_%' AND l.name NOT LIKE 'search%' AND l.type = 'table' ORDER BY 1, 2";
    let look = |file: &str| dump(&Connection::open(place.path(file)).expect("opened"), pragma);
    assert_eq!(look("a.db"), look("b.db"));
}

#[tokio::test]
async fn l_02_the_row_id_is_told_from_other_keys() {
    let place = Place::new();
    place.make("a.db", ODD);
    let catalog = inspect(&place, "a.db").await;
    let identity = |table: &str, column: &str| {
        catalog.table(&name(table)).and_then(|table| table.column(column)).expect("a column").identity
    };
    assert_eq!(identity("plain", "id"), Some(Identity::ByDefault));
    assert_eq!(identity("counted", "id"), Some(Identity::ByDefault));
    assert_eq!(identity("quirk", "id"), None);
    assert_eq!(identity("exact", "id"), None);
    assert_eq!(identity("narrow", "k"), None);
}

#[tokio::test]
async fn l_03_counters_are_carried_and_row_ids_are_not() {
    let place = Place::new();
    let conn = place.make("a.db", ODD);
    conn.execute_batch(
        "INSERT INTO counted VALUES (41, 'a'), (42, 'b'); DELETE FROM counted WHERE id = 42; INSERT INTO plain (id) VALUES (7)",
    )
    .expect("rows");
    let source = place.source("a.db").await;
    let catalog = source.inspect().await.expect("inspected");
    let names: Vec<_> = catalog.sequences.iter().map(|sequence| sequence.name.clone()).collect();
    assert_eq!(names, [name("child_id_seq"), name("counted_id_seq"), name("plain_id_seq")]);
    let values = source.sequence_values(&names).await.expect("values");
    let pairs: Vec<_> = values.iter().map(|value| (value.last, value.called)).collect();
    assert_eq!(pairs, [(1, false), (42, true), (7, true)]);
}

#[tokio::test]
async fn l_10_generated_columns_are_seen() {
    let place = Place::new();
    place.make("a.db", ODD);
    let catalog = inspect(&place, "a.db").await;
    let made = catalog.table(&name("made")).expect("a table");
    let generated: Vec<_> = made
        .columns
        .iter()
        .map(|column| column.generated.as_ref().map(|made| (made.native.as_str(), made.stored)))
        .collect();
    assert_eq!(generated, [None, Some(("a * 2", true)), Some(("a * 3", false))]);
}

#[tokio::test]
async fn l_12_what_is_not_carried_is_listed() {
    let place = Place::new();
    place.make("a.db", ODD);
    let catalog = inspect(&place, "a.db").await;
    let others: Vec<_> =
        catalog.others.iter().map(|other| format!("{} {}", other.kind, other.name.name)).collect();
    assert!(others.contains(&"view v".to_string()), "{others:?}");
    assert!(others.contains(&"trigger tr".to_string()), "{others:?}");
    assert!(others.contains(&"virtual table search".to_string()), "{others:?}");
    assert!(others.contains(&"shadow table search_data".to_string()), "{others:?}");
    assert_eq!(others.len(), 8, "{others:?}");
}

#[tokio::test]
async fn l_13_references_keep_actions_and_take_their_parents_spelling() {
    let place = Place::new();
    place.make("a.db", &format!("{ODD} CREATE TABLE lost (a REFERENCES nowhere (b));"));
    let catalog = inspect(&place, "a.db").await;
    let child = catalog.table(&name("child")).expect("a table");
    let key = child.foreign_keys.iter().find(|key| key.columns == ["p"]).expect("a key");
    assert_eq!((&key.parent, key.parent_columns.as_slice()), (&name("plain"), &["id".to_string()][..]));
    assert_eq!((key.on_delete, key.on_update), (Action::Cascade, Action::SetNull));
    let two = child.foreign_keys.iter().find(|key| key.name == "two").expect("a key");
    assert!(two.deferrable && two.initially_deferred);
    assert_eq!(catalog.table(&name("lost")).expect("a table").foreign_keys[0].parent, name("nowhere"));
}

#[tokio::test]
async fn l_14_collations_directions_and_predicates_are_seen() {
    let place = Place::new();
    place.make("a.db", ODD);
    let catalog = inspect(&place, "a.db").await;
    let plain = catalog.table(&name("plain")).expect("a table");
    let index = plain.indexes.iter().find(|index| index.name == "plain_name").expect("an index");
    assert_eq!(index.parts[0].collation, Some(name("NOCASE")));
    assert!(index.parts[0].descending && !index.unique);
    assert_eq!(index.predicate.as_deref(), Some("n > 0 AND name <> 'it''s'"));
    let lower = plain.indexes.iter().find(|index| index.name == "plain_lower").expect("an index");
    assert!(lower.unique);
    assert_eq!(lower.parts[0].expression.as_deref(), Some("lower(name)"));
}

#[tokio::test]
async fn s_33_names_and_conflict_clauses_of_constraints_are_seen() {
    let place = Place::new();
    place.make("a.db", ODD);
    let catalog = inspect(&place, "a.db").await;
    let named = catalog.table(&name("named")).expect("a table");
    let keys: Vec<_> =
        named.keys.iter().map(|key| (key.name.as_str(), key.kind, key.options.len())).collect();
    assert_eq!(keys, [("pk", KeyKind::Primary, 0), ("", KeyKind::Unique, 0), ("uq", KeyKind::Unique, 1)]);
    assert_eq!(
        named.checks.iter().map(|check| check.native.as_str()).collect::<Vec<_>>(),
        ["b <> ';'", "a > 0"]
    );
}

#[tokio::test]
async fn a_table_from_elsewhere_is_strict_and_its_identity_is_never_used_twice() {
    let place = Place::new();
    place.make("a.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)");
    let mut table = inspect(&place, "a.db").await.tables.remove(0);
    table.options.clear();
    table.keys[0].name = "t_pkey".into();
    let sql = statements(&table).join(";");
    assert_eq!(
        sql,
        "CREATE TABLE \"t\" (\n  \"id\" INTEGER,\n  \"v\" TEXT,\n  CONSTRAINT \"t_pkey\" PRIMARY KEY (\"id\" AUTOINCREMENT)\n) STRICT"
    );
    place.make("b.db", &sql);
    let made = inspect(&place, "b.db").await.tables.remove(0);
    assert_eq!(made.columns[0].identity, Some(Identity::ByDefault));
    assert_eq!(made.columns[0].ty, Type::Int { bits: 64 });
}

#[tokio::test]
async fn a_missing_target_is_an_empty_catalog_and_stays_missing() {
    let place = Place::new();
    let target =
        super::Sqlite.target(&place.url("new.db"), &Limits::default(), true).await.expect("a target");
    let before = target.place().await.expect("a place");
    assert!(target.inspect().await.expect("inspected").tables.is_empty());
    assert!(target.progress("plan").await.expect("progress").runs.is_empty());
    assert!(target.plans().await.expect("plans").is_empty());
    assert_eq!(target.holder("plan").await.expect("no holder"), None);
    assert!(!place.path("new.db").exists());
    place.make("new.db", "CREATE TABLE t (a)");
    assert_eq!(target.place().await.expect("a place"), before, "the same before and after it is made");
}

#[tokio::test]
async fn u_14_one_file_by_two_paths_is_one_place() {
    let place = Place::new();
    place.make("a.db", "CREATE TABLE t (a)");
    place.make("b.db", "CREATE TABLE t (a)");
    std::fs::create_dir(place.path("sub")).expect("a directory");
    let of = async |path: &str| place.source(path).await.place().await.expect("a place");
    assert_eq!(of("a.db").await, of("sub/../a.db").await);
    assert_ne!(of("a.db").await, of("b.db").await);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(place.path("a.db"), place.path("link.db")).expect("a link");
        assert_eq!(of("a.db").await, of("link.db").await);
        std::fs::hard_link(place.path("b.db"), place.path("hard.db")).expect("a link");
        assert_eq!(of("b.db").await, of("hard.db").await);
    }
}
