//! Every way in which a file cannot be opened has a message of its own.

use super::{Place, limits, url};
use crate::engine::sqlite::Sqlite;
use crate::engine::{Cause, Engine, EngineError, Url};

async fn refused(place: &Place, name: &str) -> EngineError {
    match Sqlite.source(&place.url(name), &limits()).await {
        Ok(_) => panic!("{name} was opened"),
        Err(error) => error,
    }
}

#[test]
fn u_16_paths_with_another_meaning_are_refused() {
    for (path, good) in [(":memory:", false), ("file:x.db", false), ("./:memory:", true), ("x.db", true)] {
        let url = Url::parse(&format!("sqlite:{path}")).expect("a URL");
        let checked = Sqlite.check_url(&url);
        assert_eq!(checked.is_ok(), good, "{path}");
        assert!(checked.err().is_none_or(|error| error.code == "E323"));
    }
}

#[tokio::test]
async fn l_16_each_kind_of_bad_file_is_told_apart() {
    let place = Place::new();
    assert_eq!(refused(&place, "none.db").await.contract, Some("E320"));
    assert!(!place.path("none.db").exists(), "a source is never made");
    std::fs::create_dir(place.path("dir.db")).expect("a directory");
    assert_eq!(refused(&place, "dir.db").await.contract, Some("E321"));
    std::fs::write(place.path("empty.db"), b"").expect("written");
    let empty = refused(&place, "empty.db").await;
    assert!(empty.contract == Some("E322") && empty.message.contains("0 bytes"), "{empty}");
    std::fs::write(place.path("text.db"), b"just some text, long enough for a header. ".repeat(99))
        .expect("written");
    let text = refused(&place, "text.db").await;
    assert!(text.contract == Some("E322") && !text.hint.unwrap_or_default().contains("encrypted"));
    let noise: Vec<u8> = (0..8192u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(place.path("noise.db"), noise).expect("written");
    assert!(refused(&place, "noise.db").await.hint.unwrap_or_default().contains("encrypted"));
}

#[tokio::test]
async fn l_16_a_locked_file_is_busy() {
    let place = Place::new();
    let conn = place.make("a.db", "CREATE TABLE t (a)");
    conn.execute_batch("BEGIN EXCLUSIVE").expect("locked");
    let error = refused(&place, "a.db").await;
    assert_eq!((error.cause, error.contract), (Cause::Busy, Some("E324")), "{error}");
}

/// Leaves a file as a writer that was killed in its transaction leaves it.
fn killed_writer(place: &Place, name: &str) {
    let conn =
        place.make("live.db", "PRAGMA cache_size = 5; CREATE TABLE t (a); INSERT INTO t VALUES ('kept')");
    conn.execute_batch("BEGIN; UPDATE t SET a = 'lost'").expect("a transaction");
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO t SELECT hex(zeroblob(500)) FROM n";
    conn.execute_batch(fill).expect("spilled");
    std::fs::copy(place.path("live.db"), place.path(name)).expect("copied");
    std::fs::copy(place.path("live.db-journal"), place.path(&format!("{name}-journal"))).expect("copied");
}

#[tokio::test]
async fn l_16_a_hot_journal_of_a_source_is_left_to_its_owner() {
    let place = Place::new();
    killed_writer(&place, "hot.db");
    let before = std::fs::read(place.path("hot.db")).expect("read");
    let error = refused(&place, "hot.db").await;
    assert!(error.contract == Some("E324") && error.message.contains("journal"), "{error}");
    assert!(before == std::fs::read(place.path("hot.db")).expect("read"), "not touched");
}

#[tokio::test]
async fn f_79_a_target_that_a_killed_run_left_is_read_at_its_last_commit() {
    let place = Place::new();
    killed_writer(&place, "hot.db");
    let target = Sqlite.target(&place.url("hot.db"), &limits(), true).await.expect("a target");
    assert_eq!(target.inspect().await.expect("inspected").tables[0].rows, 1);
}

#[tokio::test]
async fn u_17_paths_are_literal() {
    let place = Place::new();
    for name in ["with space.db", "%20.db", "~.db", "a#b.db", "quote'\".db"] {
        place.make(name, "CREATE TABLE t (a)");
        let catalog = place.source(name).await.inspect().await.expect("inspected");
        assert_eq!((catalog.tables.len(), catalog.database.as_str()), (1, name));
    }
    std::fs::create_dir(place.path("sub")).expect("a directory");
    let up = url(&place.path("sub").join("..").join("with space.db"));
    assert!(Sqlite.source(&up, &limits()).await.is_ok());
}

/// SQLite may leave an empty `-wal` and its index beside such a file; the file itself is as it was.
#[tokio::test]
async fn g_01_planning_does_not_change_a_file_in_wal_mode() {
    let place = Place::new();
    let other = place.make("a.db", "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    let bytes = |name: &str| std::fs::read(place.path(name)).expect("read");
    let before = (bytes("a.db"), bytes("a.db-wal"));
    let source = place.source("a.db").await;
    assert_eq!(source.inspect().await.expect("inspected").tables.len(), 1);
    source.snapshot().await.expect("a snapshot").close().await.expect("closed");
    drop(source);
    assert!(before == (bytes("a.db"), bytes("a.db-wal")));
    drop(other);
}
