//! State, lock and fence in the target.

use std::time::Duration;

use rusqlite::Connection;

use super::super::dialect::DIALECT;
use super::super::exact;
use super::{Place, dump, goal, lock, name};
use crate::catalog::probe::{End, Measured};
use crate::catalog::{Dialect, Probe, Question, Type};
use crate::change::Position;
use crate::checkpoint::{Checkpoint, ChunkMark, StepMark};
use crate::engine::{Cause, Engine, SequenceValue};

fn step(id: &str) -> Checkpoint {
    let step = id.to_string();
    Checkpoint::Step(StepMark { step, inputs: "i".into(), rows: 1, bytes: 2, millis: 3, at: String::new() })
}

fn chunk(number: u32) -> Checkpoint {
    Checkpoint::Chunk(ChunkMark {
        table: name("odd.name"),
        number,
        of: 2,
        bounds: "rowid ..5".into(),
        position: Position("p".into()),
        rows: 4,
        bytes: 5,
    })
}

#[tokio::test]
async fn marks_commit_with_the_rows_they_describe_or_not_at_all() {
    let place = Place::new();
    let target = place.target("b.db").await;
    let held = lock(target.as_ref()).await;
    let mut session = held.session().await.expect("a session");
    session.begin().await.expect("begun");
    session.execute(&["CREATE TABLE t (a)".into(), "INSERT INTO t VALUES (1)".into()]).await.expect("done");
    session.mark("plan", &step("t/copy")).await.expect("marked");
    session.mark("plan", &chunk(0)).await.expect("marked");
    session.commit().await.expect("committed");
    session.begin().await.expect("begun");
    session.execute(&["INSERT INTO t VALUES (2)".into()]).await.expect("done");
    session.mark("plan", &chunk(1)).await.expect("marked");
    drop(session);
    let progress = target.progress("plan").await.expect("progress");
    assert_eq!(progress.digest.as_deref(), Some("digest"));
    assert_eq!((progress.steps.len(), progress.chunks.len()), (1, 1));
    assert_eq!(progress.chunks[0].table, name("odd.name"));
    assert_eq!(target.plans().await.expect("plans"), ["plan"]);
    let b = Connection::open(place.path("b.db")).expect("opened");
    assert_eq!(dump(&b, "SELECT * FROM t"), "Integer(1)|\n");
    assert_eq!(target.inspect().await.expect("inspected").tables.len(), 1, "state is never in a catalog");
    let mut session = held.session().await.expect("a session");
    session.begin().await.expect("begun");
    let recopy = Checkpoint::Recopy { table: name("odd.name"), step: "t/copy".into() };
    session.mark("plan", &recopy).await.expect("marked");
    session.commit().await.expect("committed");
    let progress = target.progress("plan").await.expect("progress");
    assert_eq!((progress.steps.len(), progress.chunks.len()), (0, 0));
    held.close("done").await.expect("closed");
    assert_eq!(target.progress("plan").await.expect("progress").runs[0].outcome.as_deref(), Some("done"));
}

#[tokio::test]
async fn f_04_a_second_run_is_told_who_holds_the_file() {
    let place = Place::new();
    let target = place.target("b.db").await;
    let held = lock(target.as_ref()).await;
    let pid = format!("pid {}", std::process::id());
    let second = target.lock("other", &goal("d"), Duration::ZERO).await.err().expect("held");
    assert!(second.cause == Cause::Locked && second.message.contains(&pid), "{second}");
    assert!(target.holder("plan").await.expect("an answer").expect("a holder").by.contains(&pid));
    assert_eq!(target.holder("other").await.expect("an answer"), None);
    held.heartbeat().await.expect("held");
    held.close("done").await.expect("closed");
    assert_eq!(target.holder("plan").await.expect("an answer"), None);
    assert!(!place.path("b.db-towpath-lock").exists(), "nothing is left behind");
    lock(target.as_ref()).await;
}

#[tokio::test]
async fn f_05_a_run_that_was_overtaken_cannot_commit() {
    let place = Place::new();
    let target = place.target("b.db").await;
    let old = lock(target.as_ref()).await;
    let mut session = old.session().await.expect("a session");
    std::fs::remove_file(place.path("b.db-towpath-lock")).expect("removed");
    assert_eq!(old.heartbeat().await.expect_err("lost").cause, Cause::Locked);
    let new = lock(target.as_ref()).await;
    session.begin().await.expect("begun");
    session.execute(&["CREATE TABLE t (a)".into()]).await.expect("done");
    assert_eq!(session.commit().await.expect_err("fenced").cause, Cause::Locked);
    session.rollback().await.expect("rolled back");
    assert_eq!(old.close("failed").await.expect_err("fenced").cause, Cause::Locked);
    new.heartbeat().await.expect("the new lock file is still there");
    assert!(target.inspect().await.expect("inspected").tables.is_empty());
}

#[tokio::test]
async fn s_15_counters_are_raised_and_never_lowered() {
    let place = Place::new();
    let b = place.make("b.db", "CREATE TABLE Counted (id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE plain (id INTEGER PRIMARY KEY)");
    let target = place.target("b.db").await;
    let sequences = target.inspect().await.expect("inspected").sequences;
    let held = lock(target.as_ref()).await;
    let mut session = held.session().await.expect("a session");
    let value = |last, called| SequenceValue { name: name("x"), last, called };
    session.begin().await.expect("begun");
    let counted = sequences.iter().find(|sequence| sequence.name.name == "Counted_id_seq").expect("one");
    let plain = sequences.iter().find(|sequence| sequence.name.name == "plain_id_seq").expect("one");
    assert_eq!(session.set_sequence(counted, &value(40, true), 2).await.expect("set"), Some(42));
    assert_eq!(session.set_sequence(counted, &value(40, true), 0).await.expect("kept"), None);
    assert_eq!(session.set_sequence(plain, &value(40, true), 2).await.expect("nothing"), None);
    assert!(session.set_sequence(counted, &value(i64::MAX, true), 2).await.is_err());
    session.commit().await.expect("committed");
    b.execute_batch("INSERT INTO counted DEFAULT VALUES").expect("a row");
    assert_eq!(dump(&b, "SELECT id FROM counted"), "Integer(43)|\n");
}

#[tokio::test]
async fn f_16_orphans_are_counted_per_key() {
    let place = Place::new();
    place.make("b.db", "CREATE TABLE p (id INTEGER PRIMARY KEY, k TEXT UNIQUE); INSERT INTO p VALUES (1, 'a');
        CREATE TABLE c (a INT REFERENCES p, b TEXT REFERENCES p (k)); INSERT INTO c VALUES (1, 'a'), (2, 'a'), (3, 'z'), (NULL, NULL)");
    let target = place.target("b.db").await;
    let table = target.inspect().await.expect("inspected").tables.remove(0);
    let held = lock(target.as_ref()).await;
    let mut session = held.session().await.expect("a session");
    let mut found = Vec::new();
    for key in &table.foreign_keys {
        let query = super::Sqlite.dialect().validate_foreign_key(&table, key).remove(0);
        found.push((key.columns[0].clone(), session.violations(&query).await.expect("checked")));
    }
    assert_eq!(found, [("a".to_string(), 2), ("b".to_string(), 1)]);
    assert!(session.any_row(&name("c")).await.expect("an answer"));
}

#[tokio::test]
async fn probes_count_what_would_be_refused() {
    let place = Place::new();
    place.make("a.db", "CREATE TABLE p (id INTEGER PRIMARY KEY);
      CREATE TABLE t (i INT, s TEXT, f REAL, p INT);
      INSERT INTO t VALUES (1, 'abc', 1.0, 5), (70000, 'a' || char(0), 9e999, NULL), ('x', 'ABC', 2.5, 6), (NULL, CAST(x'ff' AS TEXT), NULL, NULL), (-3, '2024-02-30', 0.0, 1)");
    let source = place.source("a.db").await;
    let ask = async |column: Option<&str>, question: Question| {
        let probe = Probe {
            code: "V".into(),
            end: End::Source,
            table: name("t"),
            column: column.map(Into::into),
            question,
            filter: None,
        };
        source.probe(&[probe], Some(Duration::from_secs(9))).await.expect("answered").remove(0)
    };
    let count = async |column: &str, question: Question| ask(Some(column), question).await.rows;
    let range = ask(Some("i"), Question::OutsideRange { min: "-32768".into(), max: "32767".into() }).await;
    assert_eq!((range.rows, range.measured), (Some(1), Measured::Exact));
    assert_eq!(range.extremes, Some(("-3".into(), "70000".into())));
    assert_eq!(count("i", Question::NotOfType { ty: Type::Int { bits: 64 } }).await, Some(1));
    assert_eq!(count("i", Question::Null).await, Some(1));
    assert_eq!(count("s", Question::HoldsNul).await, Some(1));
    assert_eq!(count("s", Question::BadEncoding).await, Some(1));
    assert_eq!(count("s", Question::LongerThan { characters: 3 }).await, Some(1));
    assert_eq!(count("s", Question::NotOfType { ty: Type::Date }).await, Some(5));
    assert_eq!(count("f", Question::NotFinite { nan_only: false }).await, Some(1));
    assert_eq!(count("s", Question::NotIn { values: vec!["abc".into(), "ABC".into()] }).await, Some(3));
    let duplicate = |ignoring_case| Question::Duplicate { columns: vec!["s".into()], ignoring_case };
    assert_eq!(ask(None, duplicate(false)).await.rows, Some(0));
    assert_eq!(ask(None, duplicate(true)).await.rows, Some(2));
    let orphan =
        Question::Orphan { columns: vec!["p".into()], parent: name("p"), parent_columns: vec!["id".into()] };
    assert_eq!(ask(None, orphan).await.rows, Some(3));
    assert_eq!(ask(None, Question::AnyRow).await.rows, Some(1));
    assert_eq!(ask(None, Question::CheckFails { condition: "i > 0".into() }).await.rows, Some(1));
}

#[tokio::test]
async fn questions_about_one_table_are_answered_in_their_order_as_if_alone() {
    let place = Place::new();
    place.make("a.db", "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE q (s TEXT);
      INSERT INTO q VALUES ('a' || char(0)), ('b');
      CREATE TABLE t (i INT, s TEXT, f REAL);
      INSERT INTO t VALUES (1, 'abc', 9e999), (70000, 'a' || char(0), -9e999), ('x', NULL, 'y'), (NULL, CAST(x'ff' AS TEXT), 1), (-3, '', x'00')");
    let source = place.source("a.db").await;
    let probe = |table: &str, column: &str, question: Question, filter: Option<&str>| Probe {
        code: "V".into(),
        end: End::Source,
        table: name(table),
        column: Some(column.into()),
        question,
        filter: filter.map(Into::into),
    };
    let integers = || Question::NotOfType { ty: Type::Int { bits: 64 } };
    let range = Question::OutsideRange { min: "-32768".into(), max: "32767".into() };
    let orphan =
        Question::Orphan { columns: vec!["i".into()], parent: name("p"), parent_columns: vec!["id".into()] };
    let mut probes = vec![
        probe("t", "s", Question::HoldsNul, None),
        probe("q", "s", Question::HoldsNul, None),
        probe("t", "i", integers(), None),
        probe("t", "i", range, None),
        probe("t", "i", integers(), Some("s IS NOT NULL")),
        probe("t", "s", Question::BadEncoding, None),
        probe("t", "i", orphan, None),
        probe("t", "s", Question::NotNull, Some("s IS NOT NULL")),
        probe("t", "i", Question::Null, None),
    ];
    let of_type = |ty: Type| Question::NotOfType { ty };
    for (column, question) in [
        ("f", Question::NotFinite { nan_only: false }),
        ("f", of_type(Type::Float { bits: 64 })),
        ("f", of_type(Type::Blob)),
        ("s", of_type(Type::Text)),
        ("i", of_type(Type::VarChar { length: 3 })),
        ("s", of_type(Type::Date)),
        ("s", Question::LongerThan { characters: 2 }),
        ("i", Question::CheckFails { condition: "i > 0".into() }),
    ] {
        probes.push(probe("t", column, question, None));
    }
    // More than one reading may bring.
    probes.extend((0..150).map(|_| probe("t", "i", Question::NotNull, None)));
    let answers = source.probe(&probes, Some(Duration::from_secs(9))).await.expect("answered");
    let counts: Vec<_> = answers.iter().map(|answer| answer.rows).collect();
    assert_eq!(counts[..9], [1, 1, 1, 1, 0, 1, 4, 4, 1].map(Some));
    assert_eq!(counts[9..17], [2, 2, 4, 0, 3, 4, 1, 1].map(Some));
    assert!(counts[17..].iter().all(|rows| *rows == Some(4)), "{counts:?}");
    assert_eq!(answers[3].extremes, Some(("-3".into(), "70000".into())));
    let conn = Connection::open(place.path("a.db")).expect("the file");
    exact::register(&conn).expect("functions");
    for (probe, together) in probes.iter().zip(&answers) {
        let alone = source.probe(std::slice::from_ref(probe), None).await.expect("answered");
        assert_eq!(alone[0], *together, "{probe:?}");
        let sql = DIALECT.probe(probe).expect("a query");
        let count: i64 = conn.query_row(&sql, [], |row| row.get(0)).expect("a count");
        assert_eq!(Some(count as u64), together.rows, "{sql}");
    }
}

/// Few rows far apart: what is shared out are row ids. Every row is looked at by one connection.
#[tokio::test]
async fn a_large_table_is_looked_at_by_several_connections() {
    let place = Place::new();
    place.make(
        "a.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT);
         INSERT INTO t SELECT column1, 'a' || char(0) FROM (VALUES (-9223372036854775808), (-300000), (-1));
         INSERT INTO t VALUES (0, 'b'), (1, NULL), (499999, 'c' || char(0)), (500000, 'x'), (9223372036854775807, char(0));
         CREATE TABLE near AS SELECT * FROM t WHERE id BETWEEN -300000 AND 500000;
         CREATE TABLE plain (id INTEGER, s TEXT, PRIMARY KEY (id)) WITHOUT ROWID; INSERT INTO plain SELECT * FROM t",
    );
    let source = place.source("a.db").await;
    for (table, filter, held, null) in [
        ("t", None, 5, 1),
        ("t", Some("id < 0 OR id = 1"), 3, 1),
        ("near", None, 3, 1),
        ("plain", None, 5, 1),
    ] {
        let probe = |question: Question| Probe {
            code: "V".into(),
            end: End::Source,
            table: name(table),
            column: Some("s".into()),
            question,
            filter: filter.map(Into::into),
        };
        let probes = [probe(Question::HoldsNul), probe(Question::Null)];
        let answers = source.probe(&probes, Some(Duration::from_secs(9))).await.expect("answered");
        let counts: Vec<_> = answers.iter().map(|answer| (answer.rows, answer.measured)).collect();
        assert_eq!(counts, [held, null].map(|rows| (Some(rows), Measured::Exact)), "{table} {filter:?}");
    }
}

#[tokio::test]
async fn a_probe_that_takes_too_long_is_unmeasured_and_the_next_is_answered() {
    let place = Place::new();
    place.make("a.db", "CREATE TABLE t (a)");
    let source = place.source("a.db").await;
    let endless =
        "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n) > 0";
    let probe = |condition: &str| Probe {
        code: "V".into(),
        end: End::Source,
        table: name("t"),
        column: None,
        question: Question::CheckFails { condition: condition.into() },
        filter: None,
    };
    place.make("a.db", "INSERT INTO t VALUES (1)");
    let probes = [probe(endless), probe("a > 0")];
    let answers = source.probe(&probes, Some(Duration::from_millis(50))).await.expect("answered");
    assert_eq!((answers[0].measured, answers[0].rows), (Measured::Not, None));
    assert_eq!((answers[1].measured, answers[1].rows), (Measured::Exact, Some(0)));
}
