//! What the tests of both servers' logs share: a bank that is written to, its rows by the log and by
//! a SELECT, and where a stream stops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use towpath::catalog::Column;
use towpath::change::{Changes, Followed, Identity, Position};
use towpath::engine::{EngineError, Source};

use super::{outside, projection, run, source_with};
use crate::engines::postgres::replica::{Replica, Told, capture, drain, now, open, opened, rows, spec, told};
use crate::support::mariadb::Database;
use crate::support::proxy::{Fault, Proxy, Way};

pub async fn source(database: &Database) -> Box<dyn Source> {
    source_with(&database.url(), 2).await.unwrap()
}

pub fn followed(database: &Database, table: &str, columns: &[(&str, &str)]) -> Followed {
    let projection = projection(database, table, columns);
    Followed { projection, identity: Identity::Columns(vec![0]), skipped: Vec::new() }
}

/// A table with all its columns as the catalog has them; its first column tells rows apart.
pub async fn whole(source: &dyn Source, database: &Database, table: &str) -> Followed {
    without(source, database, table, &|_| false).await
}

/// As [`whole`], without the columns that the server computes.
pub async fn written(source: &dyn Source, database: &Database, table: &str) -> Followed {
    without(source, database, table, &|column| column.generated.is_some()).await
}

async fn without(
    source: &dyn Source,
    database: &Database,
    table: &str,
    left: &dyn Fn(&Column) -> bool,
) -> Followed {
    let catalog = source.inspect().await.unwrap();
    let found = catalog.tables.iter().find(|found| found.name.name == table).unwrap();
    let (left, carried): (Vec<_>, Vec<_>) = found.columns.iter().partition(|column| left(column));
    let columns: Vec<_> =
        carried.iter().map(|column| (column.name.as_str(), column.native.as_str())).collect();
    let mut followed = followed(database, table, &columns);
    for (map, column) in followed.projection.columns.iter_mut().zip(carried) {
        map.source_type = column.ty.clone();
    }
    followed.skipped = left.into_iter().map(|column| column.name.clone()).collect();
    followed
}

pub const BANK: &str = "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL, note text);
    CREATE TABLE history (id bigint AUTO_INCREMENT PRIMARY KEY, account bigint, delta bigint);
    INSERT INTO accounts SELECT seq, 1000, REPEAT('n', 200) FROM seq_1_to_4000;";

pub fn accounts(database: &Database) -> Vec<Followed> {
    vec![
        followed(database, "accounts", &[("id", "bigint"), ("balance", "bigint"), ("note", "text")]),
        followed(database, "history", &[("id", "bigint"), ("account", "bigint"), ("delta", "bigint")]),
    ]
}

/// Stops the writers, also where a test fails.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Transfers with history, deletes, moves of keys, rollbacks.
pub fn write(database: &Database, seed: u64, stop: &AtomicBool) {
    use mysql_async::prelude::Queryable;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut session = database.session().await;
        // Some of them compress what they write, where the server can.
        if seed == 2 {
            let on = "SET @on = 1 /*!80020 , SESSION binlog_transaction_compression = ON */";
            session.query_drop(on).await.unwrap();
        }
        let mut random = seed;
        while !stop.load(Ordering::Relaxed) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (a, b) = (random >> 33 & 3999, random >> 17 & 3999);
            let sql = match random >> 60 {
                0 => format!("BEGIN; UPDATE accounts SET balance = 0 WHERE id = {a}; ROLLBACK"),
                1 => format!("DELETE FROM accounts WHERE id = {a}"),
                2 => format!("INSERT IGNORE INTO accounts VALUES ({a}, 7, 'again')"),
                3 => format!("UPDATE accounts SET id = id + 100000 WHERE id = {a}"),
                4 => format!(
                    "BEGIN; SAVEPOINT s; UPDATE accounts SET balance = -1 WHERE id = {a}; ROLLBACK TO s; \
                     INSERT INTO history (account, delta) VALUES ({b}, 0); COMMIT"
                ),
                5 => format!("REPLACE INTO accounts VALUES ({a}, 8, 'replaced')"),
                _ => format!(
                    "BEGIN; UPDATE accounts SET balance = balance - 1 WHERE id = {}; UPDATE accounts SET balance = \
                     balance + 1 WHERE id = {}; INSERT INTO history (account, delta) VALUES ({a}, -1), ({b}, 1); COMMIT",
                    a.min(b),
                    a.max(b)
                ),
            };
            // Two that wait for each other are told so, and one is rolled back.
            if session.query_drop(sql).await.is_err() {
                session.query_drop("ROLLBACK").await.unwrap();
            }
        }
        session.disconnect().await.unwrap();
    });
}

/// A copy and a stream that is cut again and again, under writers: what comes out is what is there.
pub fn everything_exactly_once(database: &Database) {
    let proxy = Proxy::before_foreign(database.port);
    let tables = accounts(database);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 1..4 {
            let stop = &stop;
            scope.spawn(move || write(database, seed, stop));
        }
        let _stop = Stop(&stop);
        run(async {
            let source = source_with(&database.through(proxy.port).url(), 3).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut replica = opened(source.as_ref(), "p", &tables).await;
            let start = replica.position.clone();
            for after in [120_000, 150_001, 190_007, 130_011, 170_003] {
                proxy.fault(Fault::Cut { way: Way::ToClient, after });
                until_cut(source.as_ref(), &mut replica, &tables, &start).await;
                replica.forget();
            }
            assert_eq!(proxy.struck(), 5);
            stop.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(300)).await;
            drain(source.as_ref(), "p", &mut replica, &tables, &start).await;
            assert!(replica.commits > 100, "{} commits prove little", replica.commits);
            assert_eq!(rows(&replica), now(source.as_ref(), &tables).await);
        });
    });
}

/// Reads until the connection is cut, be it while it is made.
async fn until_cut(source: &dyn Source, replica: &mut Replica, tables: &[Followed], start: &Position) {
    let starts = vec![start.clone(); tables.len()];
    let changes = capture(source).changes(&spec("p", tables), &replica.position, &starts).await;
    let mut stream = match changes {
        Ok(stream) => stream,
        Err(error) => return assert!(error.retryable(), "{error}"),
    };
    let mut changes = Changes::default();
    loop {
        changes.clear();
        let next = stream.next(&mut changes, 4096).await;
        replica.take(&changes);
        match next {
            Ok(()) => stream.acknowledge(&replica.position).await.unwrap(),
            Err(error) => return assert!(error.retryable(), "{error}"),
        }
    }
}

/// Every row is told anew by the log, and reads as a SELECT reads it.
pub async fn log_and_select_agree(database: &Database, tables: &[&str], write: &str) {
    let source = source(database).await;
    let mut all = Vec::new();
    for table in tables {
        all.push(whole(source.as_ref(), database, table).await);
    }
    agree(database, &all, write).await;
}

/// As [`log_and_select_agree`], of tables as a plan has them.
pub async fn agree(database: &Database, all: &[Followed], write: &str) {
    let source = source(database).await;
    let found = capture(source.as_ref()).check(&spec("p", all)).await.unwrap();
    assert!(found.iter().all(|obstacle| !obstacle.blocks), "{found:?}");
    let position = open(source.as_ref(), "p", all).await;
    let mut replica = Replica::new(all, &position);
    let before = now(source.as_ref(), all).await;
    outside(|| database.execute(write));
    for (table, rows) in before.iter().enumerate() {
        // As the copy has them, so that keys may change.
        for row in rows {
            replica.tables[table].insert(vec![row[0].clone()], row.clone());
        }
    }
    drain(source.as_ref(), "p", &mut replica, all, &position).await;
    let (told, read) = (rows(&replica), now(source.as_ref(), all).await);
    for (at, followed) in all.iter().enumerate() {
        let table = &followed.projection.source;
        assert!(!read[at].is_empty(), "{table}");
        assert_eq!(told[at], read[at], "{table}");
    }
    assert_ne!(before, read);
}

pub async fn stops_at(database: &Database, tables: &[Followed], write: &str) -> (Told, EngineError) {
    let source = source(database).await;
    let position = open(source.as_ref(), "p", tables).await;
    outside(|| database.execute("INSERT INTO history (account, delta) VALUES (1, 1)"));
    outside(|| database.execute(write));
    let mut told = told(source.as_ref(), "p", &position, tables).await;
    let error = told.error.take().unwrap_or_else(|| panic!("it did not stop at {write}"));
    (told, error)
}
