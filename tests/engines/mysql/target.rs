//! MariaDB as a target, through the engine's traits: what a server checks when a key is added, what it
//! would change is refused, and nothing larger than it takes is sent.

use std::time::Duration;

use towpath::catalog::{ColumnMap, Form, Name, Projection, RowBatch, Type};
use towpath::catalog::{ForeignKey, Table};
use towpath::checkpoint::Goal;
use towpath::engine::{self, Batch, BatchStream, Cause, EngineError, Limits, Load, Loaded, Lock, Url};

use super::run;
use crate::need_mariadb;
use crate::support::mariadb::{Database, Server};

async fn locked(database: &Database) -> Box<dyn Lock> {
    let url = Url::parse(&database.url()).unwrap();
    let target = engine::engine(&url).unwrap().target(&url, &Limits::default(), false).await.unwrap();
    target.lock("test", &Goal::default(), Duration::ZERO).await.unwrap()
}

/// Rows that are there already.
struct Given(Vec<RowBatch>, u64);

#[async_trait::async_trait]
impl BatchStream for Given {
    async fn next(&mut self) -> Result<Batch, EngineError> {
        Ok(self.0.pop().map_or(Batch::End { rows: self.1 }, Batch::Rows))
    }
}

fn projection(database: &Database, native: &str, ty: Type) -> Projection {
    Projection {
        source: Name::new("public", "t"),
        target: Name::new(&database.name, "t"),
        columns: vec![ColumnMap {
            source: "v".into(),
            target: "v".into(),
            source_type: ty.clone(),
            source_native: String::new(),
            target_type: ty,
            target_native: native.into(),
            not_null: false,
            zero_date: Default::default(),
            error_value_null: false,
            cast: None,
        }],
        filter: None,
        key: Vec::new(),
        form: Form::Rows,
    }
}

async fn load(database: &Database, native: &str, ty: Type, texts: &[&[u8]]) -> Result<Loaded, EngineError> {
    let projection = projection(database, native, ty);
    let mut batch = RowBatch::new(1);
    for text in texts {
        batch.push_text(text);
        batch.end_row();
    }
    let lock = locked(database).await;
    let mut session = lock.session().await?;
    session.begin().await?;
    let load = Load { projection: &projection, frozen: false, gauge: &|_, _| {} };
    let done = session.load(&load, &mut Given(vec![batch], texts.len() as u64)).await;
    let end = match &done {
        Ok(_) => session.commit().await,
        Err(_) => session.rollback().await,
    };
    drop(session);
    lock.close("done").await?;
    end.and(done)
}

#[test]
fn k_303_an_orphan_is_refused_when_its_key_is_added() {
    let maria = need_mariadb!();
    let database = maria.database("orphans");
    database.execute(
        "CREATE TABLE parents (id int PRIMARY KEY) ENGINE=InnoDB; CREATE TABLE children (id int PRIMARY KEY, p int) ENGINE=InnoDB;
         INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1, 1), (2, 7)",
    );
    let dialect = engine::engine_named("mysql").unwrap().dialect();
    let key = ForeignKey {
        name: "by_parent".into(),
        columns: vec!["p".into()],
        parent: Name::new(&database.name, "parents"),
        parent_columns: vec!["id".into()],
        on_delete: Default::default(),
        on_update: Default::default(),
        set_columns: Vec::new(),
        matching: Default::default(),
        deferrable: false,
        initially_deferred: false,
        validated: true,
        comment: None,
    };
    let table = Table { name: Name::new(&database.name, "children"), ..Table::default() };
    run(async {
        let lock = locked(&database).await;
        let mut session = lock.session().await.unwrap();
        session.begin().await.unwrap();
        let error = session.execute(&dialect.add_foreign_key(&table, &key, true)).await.expect_err("added");
        assert_eq!((error.cause, error.code.as_deref()), (Cause::Data, Some("1452")), "{error}");
        assert!(error.hint.is_some_and(|hint| hint.contains("no parent")));
        session.rollback().await.unwrap();
        // Asked not to look, it does not.
        session.begin().await.unwrap();
        session.execute(&dialect.add_foreign_key(&table, &key, false)).await.unwrap();
        session.commit().await.unwrap();
        drop(session);
        lock.close("done").await.unwrap();
    });
}

#[test]
fn g_03_what_the_server_would_change_is_refused() {
    let maria = need_mariadb!();
    let cases: [(&str, Type, &[u8]); 9] = [
        ("decimal(5,2)", Type::Decimal { precision: None, scale: None }, b"1.234"),
        ("decimal(5,2)", Type::Decimal { precision: None, scale: None }, b"12345.6"),
        ("varchar(3)", Type::Text, b"abc "),
        ("date", Type::Date, b"2023-02-29"),
        ("datetime", Type::Timestamp { precision: 6 }, b"2023-01-01 00:00:00.5"),
        ("timestamp", Type::TimestampTz { precision: 6 }, b"2110-01-01 00:00:00+00"),
        ("time", Type::Time { precision: 6, zone: false }, b"839:00:00"),
        ("enum('a','b')", Type::Enum { name: None, labels: vec!["a".into()] }, b"canary"),
        ("tinytext", Type::Text, &[b'x'; 300]),
    ];
    for (native, ty, bad) in cases {
        let database = maria.database("strict");
        database.execute(&format!("CREATE TABLE t (v {native} NULL) ENGINE=InnoDB CHARACTER SET utf8mb4"));
        let error = run(load(&database, native, ty, &[bad])).expect_err(native);
        assert_eq!(error.cause, Cause::Data, "{native}: {error}");
        assert!(error.to_string().contains("`v`") || error.to_string().contains("'v'"), "{native}: {error}");
        let text = String::from_utf8_lossy(bad);
        assert!(!error.to_string().contains(&*text), "{native}: {error}");
        assert_eq!(database.rows("SELECT COUNT(*) FROM t")[0][0].as_deref(), Some("0"), "{native}");
    }
}

#[test]
fn m_29_a_row_larger_than_a_packet_is_refused_and_one_within_goes() {
    let Some(maria) = Server::start(&["--max-allowed-packet=1M"]) else { return };
    let database = maria.database("packets");
    database.execute("CREATE TABLE t (v longtext) ENGINE=InnoDB CHARACTER SET utf8mb4");
    let (large, fits) = (vec![b'x'; 1 << 20], vec![b'x'; 900 << 10]);
    let error = run(load(&database, "longtext", Type::Text, &[b"a", &large])).expect_err("sent");
    assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("max_allowed_packet")), "{error}");
    let done = run(load(&database, "longtext", Type::Text, &[b"a", &fits, b"b", &fits])).unwrap();
    assert_eq!(done.rows, 4);
    assert_eq!(database.rows("SELECT COUNT(*), SUM(LENGTH(v)) FROM t")[0][1].as_deref(), Some("1843202"));
}

/// Nothing is left where the last plan was.
#[test]
fn g_14_what_is_remembered_goes_with_its_plan() {
    let maria = need_mariadb!();
    let database = maria.database("state");
    database.execute("CREATE TABLE mine (id int PRIMARY KEY)");
    run(async {
        locked(&database).await.close("done").await.unwrap();
        let removed = locked(&database).await.forget().await.unwrap();
        assert_eq!(removed.len(), 2, "{removed:?}");
    });
    assert_eq!(
        database.value(
            "SELECT GROUP_CONCAT(TABLE_NAME) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
        ),
        "mine"
    );
}
