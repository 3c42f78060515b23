//! From one file to another by changes alone, with everything that applications do to a file, with
//! writers of their own processes, and with readers that are cut off anywhere.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;

use super::apply::followed;
use super::{Place, dump, lock};
use crate::catalog::Form;
use crate::change::{Changes, Followed, Identity, Position, Record};
use crate::checkpoint::{Checkpoint, StreamMark};
use crate::engine::{Capture, CaptureSpec, Cause, Lock, Session, Source, Target};

const PLAN: &str = "plan";
const WAIT: Duration = Duration::from_secs(20);

/// Two accounts tables whose sums are equal after each transaction, one with unique values that
/// are replaced, one without a key.
const MAKE: &str = "CREATE TABLE a (id INTEGER PRIMARY KEY, n INT, u TEXT UNIQUE);
    CREATE TABLE b (k TEXT COLLATE NOCASE PRIMARY KEY, n INT) WITHOUT ROWID;
    CREATE TABLE c (x, y)";

fn tables() -> Vec<Followed> {
    let mut whole = followed("c", &[("x", ""), ("y", "")], Form::NativeText);
    whole.identity = Identity::Whole;
    vec![
        followed("a", &[("id", "INTEGER"), ("n", "INT"), ("u", "TEXT")], Form::NativeText),
        followed("b", &[("k", "TEXT"), ("n", "INT")], Form::NativeText),
        whole,
    ]
}

/// A row of small numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// One transaction of an application, which keeps `sum(a.n) = sum(b.n)`. Statements that fail are
/// part of it.
fn transact(conn: &Connection, dice: &mut Dice) {
    conn.execute_batch("BEGIN IMMEDIATE").expect("begun");
    let depth = dice.roll(4);
    for _ in 0..=depth {
        statement(conn, dice);
    }
    if dice.roll(5) == 0 {
        conn.execute_batch("SAVEPOINT s").expect("a savepoint");
        statement(conn, dice);
        conn.execute_batch(if dice.roll(2) == 0 { "ROLLBACK TO s; RELEASE s" } else { "RELEASE s" })
            .expect("ended");
    }
    // What the statements did to one side is done to the other.
    let sql = "INSERT INTO b SELECT 'balance', (SELECT coalesce(sum(n), 0) FROM a) - (SELECT coalesce(sum(n), 0) FROM b)
               WHERE true ON CONFLICT (k) DO UPDATE SET n = n + excluded.n";
    conn.execute_batch(sql).expect("balanced");
    conn.execute_batch(if dice.roll(6) == 0 { "ROLLBACK" } else { "COMMIT" }).expect("ended");
}

fn statement(conn: &Connection, dice: &mut Dice) {
    let (id, other, n) = (dice.roll(40), dice.roll(40), dice.roll(1000));
    let sql = match dice.roll(16) {
        0 => format!("INSERT INTO a VALUES ({id}, {n}, 'u{other}')"),
        1 => format!("INSERT OR REPLACE INTO a VALUES ({id}, {n}, 'u{other}')"),
        2 => format!("REPLACE INTO a (n, u) VALUES ({n}, 'u{other}')"),
        3 => format!("INSERT OR IGNORE INTO a VALUES ({id}, {n}, 'u{other}'), ({other}, {n}, 'u{id}')"),
        4 => format!("INSERT INTO a VALUES ({id}, {n}, 'u{other}') ON CONFLICT (id) DO UPDATE SET n = {n}"),
        5 => format!("UPDATE OR REPLACE a SET u = 'u{other}', n = n + 1 WHERE id = {id}"),
        6 => format!("UPDATE OR REPLACE a SET id = {other} WHERE id = {id}"),
        7 => format!("UPDATE OR IGNORE a SET id = id + 1, u = 'u{other}' WHERE id > {id}"),
        8 => format!("UPDATE OR FAIL a SET u = 'u' || (id + 1) WHERE id % 3 = {}", id % 3),
        9 => format!("DELETE FROM a WHERE id = {id} OR n = {n}"),
        10 => format!("REPLACE INTO b VALUES ('{}', {n})", if n % 2 == 0 { "key" } else { "KEY" }),
        11 => format!("UPDATE OR REPLACE b SET k = 'K{}' WHERE k = 'k{}'", id % 7, other % 7),
        12 => format!("INSERT OR REPLACE INTO b SELECT 'k' || (id % 7), n FROM a WHERE id < {id}"),
        13 => format!("INSERT INTO c VALUES ({}, {n}), ({}, {n})", id % 3, id % 3),
        14 => format!("REPLACE INTO c (rowid, x, y) VALUES ({id}, {}, NULL)", other % 3),
        _ => format!("UPDATE c SET x = x + 0.5 WHERE rowid = {id}; DELETE FROM c WHERE rowid = {other}"),
    };
    let _ = conn.execute_batch(&sql);
}

/// A target that remembers where it is.
struct Replica {
    place: Place,
    target: Box<dyn Target>,
    lock: Box<dyn Lock>,
    session: Box<dyn Session>,
}

impl Replica {
    async fn new(opened: &Position) -> Self {
        let place = Place::new();
        place.make("b.db", MAKE);
        let target = place.target("b.db").await;
        let lock = lock(target.as_ref()).await;
        let mut session = lock.session().await.expect("a session");
        session.begin().await.expect("begun");
        session.mark(PLAN, &Checkpoint::Opened(opened.clone())).await.expect("marked");
        session.commit().await.expect("committed");
        session.follow(&tables()).await.expect("followed");
        Self { place, target, lock, session }
    }

    async fn position(&self) -> Position {
        let progress = self.target.progress(PLAN).await.expect("progress");
        progress.stream.expect("a stream").position
    }

    /// Applies whole transactions and what they come to, in one target transaction.
    async fn apply(&mut self, changes: &Changes) {
        let mut position = None;
        for record in changes.records() {
            if let Record::Commit { position: at, .. } | Record::Reached { position: at } = record {
                position = Some(Position(at.into()));
            }
        }
        let Some(position) = position else { return };
        self.session.begin().await.expect("begun");
        self.session.apply_rows(changes.records()).await.expect("applied");
        let mark = StreamMark { position, transactions: changes.commits(), ..StreamMark::default() };
        self.session.mark(PLAN, &Checkpoint::Applied(mark)).await.expect("marked");
        self.session.commit().await.expect("committed");
        let sums = dump(&self.open(), "SELECT (SELECT total(n) FROM a) = (SELECT total(n) FROM b)");
        assert_eq!(sums, "Integer(1)|\n", "not a moment of the source");
    }

    fn open(&self) -> Connection {
        Connection::open(self.place.path("b.db")).expect("opened")
    }
}

fn rows(conn: &Connection) -> String {
    [
        "SELECT * FROM a ORDER BY id",
        "SELECT * FROM b ORDER BY k",
        "SELECT x, y FROM c ORDER BY x, typeof(x), y",
    ]
    .map(|sql| dump(conn, sql))
    .join("--\n")
}

/// Reads from where the replica is until `goal`, or until the dice end it.
async fn read_some(
    capture: &dyn Capture,
    replica: &mut Replica,
    start: &Position,
    goal: &Position,
    bytes: u64,
    dice: &mut Dice,
) -> bool {
    let tables = tables();
    let spec = CaptureSpec { plan: PLAN, tables: &tables, cascades: false };
    let from = replica.position().await;
    if capture.reached(&from, goal) {
        return true;
    }
    let starts = vec![start.clone(); tables.len()];
    let mut stream = capture.changes(&spec, &from, &starts).await.expect("a stream");
    let mut changes = Changes::default();
    loop {
        if dice.roll(12) == 0 {
            // Cut off, with whatever was read and not applied.
            return false;
        }
        let bytes = bytes as usize + dice.roll(bytes * 10) as usize;
        let mut piece = Changes::default();
        let next = tokio::time::timeout(WAIT, stream.next(&mut piece, bytes)).await;
        match next.expect("the log says nothing any more") {
            Ok(()) => {}
            // Writers that are killed one after the other may hold the file for long: tried again.
            Err(error) if error.cause == Cause::Busy => return false,
            Err(error) => panic!("read: {error:?}"),
        }
        changes.extend(piece.records());
        replica.apply(&changes.split_whole()).await;
        let position = replica.position().await;
        if dice.roll(3) == 0 {
            match stream.acknowledge(&position).await {
                Ok(()) => {}
                // As above: what is not forgotten now is told once more, or forgotten later.
                Err(error) if error.cause == Cause::Busy => return false,
                Err(error) => panic!("acknowledge: {error:?}"),
            }
        }
        if capture.reached(&position, goal) {
            return true;
        }
    }
}

#[tokio::test]
async fn g_06_a_replica_that_is_cut_off_anywhere_ends_as_its_source() {
    for seed in 1..=12 {
        let mut dice = Dice(seed);
        let place = Place::new();
        let app = place.make("a.db", &format!("PRAGMA journal_mode = wal; {MAKE}"));
        app.busy_timeout(WAIT).expect("a timeout");
        app.pragma_update(None, "recursive_triggers", seed % 2 == 0).expect("set");
        let source: Box<dyn Source> = place.source("a.db").await;
        let capture = source.capture().expect("a capture");
        let tables = tables();
        let snapshot = capture
            .open(&CaptureSpec { plan: PLAN, tables: &tables, cascades: false }, WAIT)
            .await
            .expect("opened");
        let start = snapshot.position().clone();
        snapshot.close().await.expect("closed");
        let mut replica = Replica::new(&start).await;
        for _ in 0..12 {
            for _ in 0..dice.roll(12) {
                transact(&app, &mut dice);
            }
            let goal = capture.head().await.expect("a head");
            while !read_some(capture, &mut replica, &start, &goal, 300, &mut dice).await {}
            assert_eq!(rows(&app), rows(&replica.open()), "seed {seed}");
        }
        let check = dump(&replica.open(), "PRAGMA integrity_check");
        assert_eq!(check, "Text([111, 107])|\n");
        drop(replica.session);
        replica.lock.close("done").await.expect("closed");
    }
}

const FILE: &str = "TOWPATH_TEST_WRITES_TO";

/// The application, in a process of its own; nothing unless it is started as that.
#[test]
fn an_application_of_its_own_process() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let conn = Connection::open(path).expect("opened");
    conn.busy_timeout(WAIT).expect("a timeout");
    let mut dice = Dice(u64::from(std::process::id()));
    loop {
        transact(&conn, &mut dice);
        // It is killed at any moment, not only while it writes.
        std::thread::sleep(Duration::from_millis(dice.roll(5)));
    }
}

fn application(place: &Place) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["engine::sqlite::tests::follow::an_application_of_its_own_process", "--exact", "--nocapture"])
        .env(FILE, place.path("a.db"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started")
}

/// Where the file stands now; writers that never rest may keep a look at it waiting for too long.
async fn head(capture: &dyn Capture) -> Position {
    loop {
        match capture.head().await {
            Err(error) if error.cause == Cause::Busy => {}
            found => return found.expect("a head"),
        }
    }
}

/// Two processes write and are killed at any moment; what was committed is told, and nothing else.
#[tokio::test]
async fn f_78_two_processes_write_and_are_killed_while_they_are_followed() {
    for mode in ["wal", "delete"] {
        let place = Place::new();
        let app = place.make("a.db", &format!("PRAGMA journal_mode = {mode}; {MAKE}"));
        app.busy_timeout(WAIT).expect("a timeout");
        let source: Box<dyn Source> = place.source("a.db").await;
        let capture = source.capture().expect("a capture");
        let tables = tables();
        let snapshot = capture
            .open(&CaptureSpec { plan: PLAN, tables: &tables, cascades: false }, WAIT)
            .await
            .expect("opened");
        let start = snapshot.position().clone();
        snapshot.close().await.expect("closed");
        let mut replica = Replica::new(&start).await;
        let mut dice = Dice(7);
        for _ in 0..3 {
            let mut writers = [application(&place), application(&place)];
            let mut goal = head(capture).await;
            for _ in 0..6 {
                while !read_some(capture, &mut replica, &start, &goal, 1 << 20, &mut dice).await {}
                goal = head(capture).await;
            }
            writers.iter_mut().for_each(|writer| writer.kill().expect("killed"));
            writers.iter_mut().for_each(|writer| assert!(!writer.wait().expect("ended").success()));
            // In rollback-journal mode the next who writes undoes what the killed one left.
            app.execute_batch("BEGIN IMMEDIATE; COMMIT").expect("recovered");
            let goal = head(capture).await;
            while !read_some(capture, &mut replica, &start, &goal, 1 << 20, &mut dice).await {}
            assert_eq!(rows(&app), rows(&replica.open()), "{mode}");
        }
        assert!(dump(&app, "SELECT count(*) FROM a") != "Integer(0)|\n", "nobody wrote");
        drop(replica.session);
        replica.lock.close("done").await.expect("closed");
    }
}
