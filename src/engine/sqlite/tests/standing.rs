//! A capture as a whole: opened, closed, beside others, on a file that was replaced or put back, and
//! what cannot be captured at all.

use std::time::Duration;

use super::Place;
use super::apply::followed;
use super::capture::{Captured, KEYED, PLAN, WAIT, keyed, read_to};
use crate::catalog::Form;
use crate::change::{Changes, Followed, Identity};
use crate::engine::{CaptureSpec, Cause, Standing};

#[tokio::test]
async fn f_78_a_file_that_was_replaced_or_put_back_is_noticed() {
    let at = Captured::open(KEYED, &[keyed()]).await;
    at.run("INSERT INTO t VALUES (1, 1)");
    let copy = at.place.path("copy.db");
    at.run(&format!("VACUUM INTO '{}'", copy.display()));
    at.run("INSERT INTO t VALUES (2, 2)");
    let head = at.capture().head().await.expect("a head");
    let mut stream = at.stream(&at.opened).await.expect("a stream");
    read_to(stream.as_mut(), at.capture(), &head, 1 << 20).await.expect("read");
    // Under the same name, another file with the same capture in it.
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(at.place.path(&format!("a.db{suffix}")));
    }
    std::fs::rename(&copy, at.place.path("a.db")).expect("replaced");
    let mut piece = Changes::default();
    let next = tokio::time::timeout(WAIT, stream.next(&mut piece, 1 << 20)).await.expect("in time");
    let error = next.expect_err("replaced");
    assert_eq!(error.cause, Cause::Stale, "{error}");
    assert!(error.to_string().contains("replaced"), "{error}");
    let standing = at.capture().standing(PLAN).await.expect("an answer");
    assert!(matches!(&standing, Standing::Lost(why) if why.contains("replaced")), "{standing:?}");
    assert_eq!(at.stream(&head).await.err().expect("replaced").cause, Cause::Stale);
}

#[tokio::test]
async fn f_78_an_older_state_put_back_in_place_is_noticed() {
    let at = Captured::open(KEYED, &[keyed()]).await;
    at.run("INSERT INTO t VALUES (1, 1)");
    let copy = at.place.path("copy.db");
    at.run(&format!("VACUUM INTO '{}'", copy.display()));
    at.run("INSERT INTO t VALUES (2, 2), (3, 3)");
    let head = at.capture().head().await.expect("a head");
    let mut stream = at.stream(&at.opened).await.expect("a stream");
    read_to(stream.as_mut(), at.capture(), &head, 1 << 20).await.expect("read");
    // As a restore does that writes into the same file.
    at.run(&format!(
        "ATTACH '{}' AS old; BEGIN; DELETE FROM towpath_changes_plan; INSERT INTO towpath_changes_plan SELECT * FROM old.towpath_changes_plan; COMMIT",
        copy.display()
    ));
    let mut piece = Changes::default();
    let next = tokio::time::timeout(WAIT, stream.next(&mut piece, 1 << 20)).await.expect("in time");
    let error = next.expect_err("put back");
    assert_eq!(error.cause, Cause::Stale, "{error}");
    let error = at.stream(&head).await.err().expect("the target is ahead of the source");
    assert_eq!(error.cause, Cause::Stale, "{error}");
}

#[tokio::test]
async fn f_17_a_capture_is_opened_in_place_of_what_was_left_and_old_positions_are_void() {
    let at = Captured::open(KEYED, &[keyed()]).await;
    at.run("INSERT INTO t VALUES (1, 1)");
    let snapshot = at.capture().open(&at.spec(), WAIT).await.expect("opened again");
    assert!(!at.capture().reached(snapshot.position(), &at.opened));
    let error = at.stream(&at.opened).await.err().expect("another history");
    assert_eq!(error.cause, Cause::Stale, "{error}");
    let other = CaptureSpec { plan: "PLAN", ..at.spec() };
    let error = at.capture().open(&other, WAIT).await.err().expect("the same name to SQLite");
    assert_eq!(error.cause, Cause::Stale, "{error}");
    let mut unplanned = keyed();
    unplanned.projection.columns.pop();
    let late = CaptureSpec { plan: "late", tables: &[unplanned], cascades: false };
    let error = at.capture().open(&late, WAIT).await.err().expect("a column that the plan does not know");
    assert!(error.cause == Cause::Stale && error.to_string().contains("column \"v\""), "{error}");
    // Another plan's capture stands beside it.
    let other = CaptureSpec { plan: "plan_0", ..at.spec() };
    at.capture().open(&other, WAIT).await.expect("opened");
    at.capture().close(PLAN).await.expect("closed");
    assert!(matches!(at.capture().standing("plan_0").await.expect("an answer"), Standing::Kept { .. }));
    assert_eq!(at.capture().standing(PLAN).await.expect("an answer"), Standing::Missing);
    assert_eq!(at.capture().close("plan_0").await.expect("closed").len(), 7);
}

#[tokio::test]
async fn f_18_a_writer_that_does_not_end_is_waited_for_and_nothing_is_left() {
    let place = Place::new();
    let app = place.make("a.db", &format!("PRAGMA journal_mode = wal; {KEYED}"));
    let source = place.source("a.db").await;
    let capture = source.capture().expect("a capture");
    app.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1, 1)").expect("begun");
    let tables = [keyed()];
    let spec = CaptureSpec { plan: PLAN, tables: &tables, cascades: false };
    let error = capture.open(&spec, Duration::from_millis(200)).await.err().expect("busy");
    assert_eq!(error.cause, Cause::Busy, "{error}");
    app.execute_batch("COMMIT").expect("committed");
    assert_eq!(capture.standing(PLAN).await.expect("an answer"), Standing::Missing);
    let snapshot = capture.open(&spec, WAIT).await.expect("opened");
    assert_eq!(snapshot.count(&tables[0].projection).await.expect("counted"), 1);
}

#[tokio::test]
async fn in_rollback_journal_mode_changes_are_told_too() {
    let place = Place::new();
    let app = place.make("a.db", KEYED);
    app.busy_timeout(WAIT).expect("a timeout");
    let source = place.source("a.db").await;
    let capture = source.capture().expect("a capture");
    let tables = [keyed()];
    let spec = CaptureSpec { plan: PLAN, tables: &tables, cascades: false };
    let found = capture.check(&spec).await.expect("looked");
    assert!(found.iter().any(|found| found.message.contains("journal mode is delete") && !found.blocks));
    let snapshot = capture.open(&spec, WAIT).await.expect("opened");
    let from = snapshot.position().clone();
    snapshot.close().await.expect("closed");
    let mut stream = capture.changes(&spec, &from, std::slice::from_ref(&from)).await.expect("a stream");
    for id in 0..50 {
        app.execute("INSERT INTO t VALUES (?1, 1)", [id]).expect("written while it is read");
    }
    let head = capture.head().await.expect("a head");
    let changes = read_to(stream.as_mut(), capture, &head, 1 << 20).await.expect("read");
    assert_eq!(changes.rows(), 50);
    stream.acknowledge(&head).await.expect("acknowledged");
}

#[tokio::test]
async fn what_cannot_be_followed_is_found_before_anything_is_made() {
    let place = Place::new();
    place.make(
        "a.db",
        "CREATE VIRTUAL TABLE f USING fts5(a); CREATE VIEW w AS SELECT 1 AS id, 2 AS v;
         CREATE TABLE k (id TEXT PRIMARY KEY, v); INSERT INTO k VALUES (NULL, 1);
         CREATE TABLE p (id INTEGER PRIMARY KEY, v); CREATE UNIQUE INDEX part ON p (v) WHERE v > 0; CREATE UNIQUE INDEX expr ON p (lower(v))",
    );
    let source = place.source("a.db").await;
    let capture = source.capture().expect("a capture");
    let look = async |table: Followed| {
        let spec = CaptureSpec { plan: PLAN, tables: &[table], cascades: false };
        let found = capture.check(&spec).await.expect("looked");
        found.into_iter().filter(|found| found.at.starts_with("main.")).collect::<Vec<_>>()
    };
    let table = |name: &str| followed(name, &[("id", "TEXT"), ("v", "")], Form::NativeText);
    for (name, code, word) in [
        ("f", "C502", "virtual"),
        ("w", "C502", "view"),
        ("gone", "C502", "no longer"),
        ("k", "C503", "null"),
    ] {
        let found = look(table(name)).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].blocks && found[0].code == code && found[0].message.contains(word), "{found:?}");
    }
    let found = look(table("p")).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|found| found.code == "C507" && !found.blocks), "{found:?}");
    let mut wide = table("p");
    let column = wide.projection.columns[1].clone();
    wide.projection.columns.extend(std::iter::repeat_n(column, 1200));
    wide.identity = Identity::Whole;
    let found = look(wide).await;
    assert!(found.iter().any(|found| found.blocks && found.message.contains("columns")), "{found:?}");
    assert!(source.inspect().await.expect("inspected").others.iter().all(|other| other.kind != "trigger"));
}
