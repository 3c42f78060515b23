//! Changes that are applied: strictly, in whole source transactions, each value as a copy brings it.

use rusqlite::Connection;

use super::{Place, dump, name};
use crate::catalog::{Cast, ColumnMap, Form, Projection, Type};
use crate::change::{
    Changes, Counts, Datum, Followed, Identity, Net, NetTable, NetUpdates, Position, RowKind, Rows,
};
use crate::checkpoint::{Checkpoint, StreamMark};
use crate::engine::{Applied, Cause, EngineError, Lock, Session, Target};

use Datum::{Absent, Int, Null, Text};

pub(in super::super) fn column(name: &str, native: &str) -> ColumnMap {
    let ty = super::super::types::parse_type(native);
    ColumnMap {
        source: name.into(),
        target: name.into(),
        source_type: ty.clone(),
        source_native: native.into(),
        target_type: ty,
        target_native: native.into(),
        not_null: false,
        zero_date: Default::default(),
        error_value_null: false,
        cast: None,
    }
}

/// A table whose first column is its key.
pub(in super::super) fn followed(table: &str, columns: &[(&str, &str)], form: Form) -> Followed {
    let projection = Projection {
        source: name(table),
        target: name(table),
        columns: columns.iter().map(|(name, native)| column(name, native)).collect(),
        filter: None,
        key: vec![0],
        form,
    };
    Followed { projection, identity: Identity::Columns(vec![0]), skipped: Vec::new() }
}

fn row(changes: &mut Changes, table: usize, kind: RowKind, old: &[Datum<'_>], new: &[Datum<'_>]) {
    changes.begin_row(table, kind, old.len(), new.len());
    old.iter().chain(new).for_each(|cell| changes.push(*cell));
    changes.end_row();
}

fn insert(changes: &mut Changes, new: &[Datum<'_>]) {
    row(changes, 0, RowKind::Insert, &[], new);
}

fn update(changes: &mut Changes, old: &[Datum<'_>], new: &[Datum<'_>]) {
    row(changes, 0, RowKind::Update, old, new);
}

fn delete(changes: &mut Changes, old: &[Datum<'_>]) {
    row(changes, 0, RowKind::Delete, old, &[]);
}

/// A target with a session that follows.
struct Applying {
    place: Place,
    target: Box<dyn Target>,
    lock: Box<dyn Lock>,
    session: Box<dyn Session>,
}

impl Applying {
    async fn new(sql: &str, tables: &[Followed]) -> Self {
        let place = Place::new();
        place.make("b.db", sql);
        let target = place.target("b.db").await;
        let lock = super::lock(target.as_ref()).await;
        let mut session = lock.session().await.expect("a session");
        session.follow(tables).await.expect("followed");
        Self { place, target, lock, session }
    }

    /// One target transaction of these changes.
    async fn apply(&mut self, changes: &Changes) -> Result<(), EngineError> {
        self.session.begin().await?;
        let applied = self.session.apply_rows(changes.records()).await;
        match applied {
            Ok(()) => self.session.commit().await,
            Err(error) => {
                self.session.rollback().await?;
                Err(error)
            }
        }
    }

    fn open(&self) -> Connection {
        Connection::open(self.place.path("b.db")).expect("opened")
    }

    fn rows(&self, sql: &str) -> String {
        dump(&self.open(), sql)
    }
}

/// One source transaction.
fn transaction(fill: impl FnOnce(&mut Changes)) -> Changes {
    let mut changes = Changes::default();
    changes.begin("1");
    fill(&mut changes);
    changes.commit("2", 0);
    changes
}

const KEYED: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n INT)";

fn keyed() -> Followed {
    followed("t", &[("id", "INTEGER"), ("v", "TEXT"), ("n", "INT")], Form::Rows)
}

#[tokio::test]
async fn r_06_changes_are_applied_in_their_order_and_columns_that_are_not_told_stay() {
    let mut to =
        Applying::new(&format!("{KEYED}; INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)"), &[keyed()]).await;
    let changes = transaction(|c| {
        insert(c, &[Int(3), Text(b"c"), Null]);
        update(c, &[], &[Int(3), Absent, Int(33)]);
        update(c, &[], &[Int(1), Text(b"A"), Absent]);
        update(c, &[], &[Int(1), Absent, Absent]);
        update(c, &[Int(2), Absent, Absent], &[Int(20), Absent, Int(5)]);
        delete(c, &[Int(1), Absent, Absent]);
        insert(c, &[Int(1), Text(b""), Int(9)]);
    });
    to.apply(&changes).await.expect("applied");
    assert_eq!(
        to.rows("SELECT * FROM t ORDER BY id"),
        "Integer(1)|Text([])|Integer(9)|\nInteger(3)|Text([99])|Integer(33)|\nInteger(20)|Text([98])|Integer(5)|\n"
    );
}

#[tokio::test]
async fn g_11_what_the_target_does_not_hold_is_an_error_that_names_table_and_key() {
    let mut to = Applying::new(&format!("{KEYED}; INSERT INTO t VALUES (1, 'secret', 1)"), &[keyed()]).await;
    let before = to.rows("SELECT * FROM t");
    type Fill = fn(&mut Changes);
    let bad: [(&str, Fill); 5] = [
        ("id = 7", |c| delete(c, &[Int(7), Absent, Absent])),
        ("id = 7", |c| update(c, &[], &[Int(7), Text(b"secret"), Absent])),
        ("id = 7", |c| update(c, &[Int(7), Absent, Absent], &[Int(8), Text(b"secret"), Int(1)])),
        ("id = 7", |c| update(c, &[], &[Int(7), Absent, Absent])),
        ("id = 1", |c| insert(c, &[Int(1), Text(b"secret"), Null])),
    ];
    for (key, fill) in bad {
        let error = to
            .apply(&transaction(|c| {
                insert(c, &[Int(100), Null, Null]);
                fill(c);
            }))
            .await
            .expect_err("refused");
        assert_eq!(error.cause, Cause::Diverged, "{error}");
        let text = format!("{error}");
        assert!(text.contains("main.t") && text.contains(key) && !text.contains("secret"), "{text}");
        assert_eq!(to.rows("SELECT * FROM t"), before, "nothing of the transaction stays");
    }
    let applied = transaction(|c| insert(c, &[Int(2), Null, Null]));
    to.apply(&applied).await.expect("once");
    assert_eq!(to.apply(&applied).await.expect_err("twice").cause, Cause::Diverged);
}

#[tokio::test]
async fn s_07_values_that_move_between_rows_find_their_places_at_the_end_of_the_transaction() {
    let table = followed("t", &[("id", "INTEGER"), ("u", "TEXT"), ("v", "INT")], Form::Rows);
    let make = "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE, v INT, beyond DEFAULT 'd', made AS (v * 2) STORED);
        INSERT INTO t (id, u, v, beyond) VALUES (1, 'a', 1, 'x'), (2, 'b', 2, 'y'), (3, 'c', 3, NULL)";
    let mut to = Applying::new(make, &[table]).await;
    // A ring of three, a change of a row that waits, a new row that comes too early, and one that
    // waits and is deleted.
    let changes = transaction(|c| {
        update(c, &[], &[Int(1), Text(b"b"), Absent]);
        update(c, &[], &[Int(2), Text(b"c"), Absent]);
        update(c, &[], &[Int(1), Absent, Int(11)]);
        insert(c, &[Int(4), Text(b"c"), Int(4)]);
        insert(c, &[Int(5), Text(b"c"), Int(5)]);
        update(c, &[], &[Int(4), Text(b"d"), Int(44)]);
        delete(c, &[Int(5), Absent, Absent]);
        update(c, &[], &[Int(3), Text(b"a"), Absent]);
    });
    to.apply(&changes).await.expect("applied");
    assert_eq!(
        to.rows("SELECT id, u, v, beyond, made FROM t ORDER BY id"),
        "Integer(1)|Text([98])|Integer(11)|Text([120])|Integer(22)|\nInteger(2)|Text([99])|Integer(2)|Text([121])|Integer(4)|\n\
         Integer(3)|Text([97])|Integer(3)|Null|Integer(6)|\nInteger(4)|Text([100])|Integer(44)|Text([100])|Integer(88)|\n"
    );
    assert_eq!(dump(&to.open(), "PRAGMA integrity_check"), "Text([111, 107])|\n");
}

#[tokio::test]
async fn s_07_a_transaction_in_pieces_and_one_that_is_rolled_back() {
    let table = followed("t", &[("id", "INTEGER"), ("u", "TEXT")], Form::Rows);
    let make =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE); INSERT INTO t VALUES (1, 'a'), (2, 'b')";
    let mut to = Applying::new(make, &[table]).await;
    let mut first = Changes::default();
    first.begin("1");
    update(&mut first, &[], &[Int(1), Text(b"b")]);
    let mut second = Changes::from_bytes(Vec::new(), true).expect("nothing");
    update(&mut second, &[], &[Int(2), Text(b"a")]);
    second.commit("2", 0);
    to.session.begin().await.expect("begun");
    to.session.apply_rows(first.records()).await.expect("the first piece");
    to.session.rollback().await.expect("rolled back");
    assert_eq!(to.rows("SELECT u FROM t ORDER BY id"), "Text([97])|\nText([98])|\n");
    to.session.begin().await.expect("begun");
    to.session.apply_rows(first.records()).await.expect("the first piece");
    to.session.apply_rows(second.records()).await.expect("the second piece");
    to.session.commit().await.expect("committed");
    assert_eq!(to.rows("SELECT u FROM t ORDER BY id"), "Text([98])|\nText([97])|\n");
    // A value that is somebody else's to the end is no swap.
    let error = to.apply(&transaction(|c| update(c, &[], &[Int(1), Text(b"a")]))).await.expect_err("taken");
    assert_eq!(error.cause, Cause::Diverged, "{error}");
    assert!(error.to_string().contains("t.u"), "{error}");
    assert_eq!(to.rows("SELECT u FROM t ORDER BY id"), "Text([98])|\nText([97])|\n");
}

#[tokio::test]
async fn s_06_keys_change_and_swap_by_their_old_values() {
    let table = followed("t", &[("id", "INTEGER"), ("big", "TEXT")], Form::Rows);
    let make =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, big TEXT); INSERT INTO t VALUES (1, 'one'), (2, 'two')";
    let mut to = Applying::new(make, &[table]).await;
    let old = |id: i64| [Int(id), Absent];
    // By way of a third value, as a source does that checks at once.
    let changes = transaction(|c| {
        update(c, &old(1), &[Int(0), Absent]);
        update(c, &old(2), &[Int(1), Absent]);
        update(c, &old(0), &[Int(2), Absent]);
    });
    to.apply(&changes).await.expect("applied");
    assert_eq!(to.rows("SELECT big FROM t ORDER BY id"), "Text([116, 119, 111])|\nText([111, 110, 101])|\n");
    // At once, as a source does that checks later: the whole old row tells which is meant.
    let changes = transaction(|c| {
        update(c, &[Int(1), Text(b"two")], &[Int(2), Text(b"two")]);
        update(c, &[Int(2), Text(b"one")], &[Int(1), Text(b"one")]);
    });
    to.apply(&changes).await.expect("applied");
    assert_eq!(to.rows("SELECT big FROM t ORDER BY id"), "Text([111, 110, 101])|\nText([116, 119, 111])|\n");
    // With the key alone nothing tells it, and nothing is guessed.
    let changes = transaction(|c| {
        update(c, &old(1), &[Int(2), Absent]);
        update(c, &old(2), &[Int(1), Absent]);
    });
    let error = to.apply(&changes).await.expect_err("refused");
    assert_eq!(error.cause, Cause::Diverged, "{error}");
    assert!(error.to_string().contains("for a moment"), "{error}");
}

#[tokio::test]
async fn s_08_and_s_09_foreign_keys_wait_for_nothing_and_do_not_act() {
    let table = |name: &str| followed(name, &[("id", "INTEGER"), ("other", "INTEGER")], Form::Rows);
    let make = "CREATE TABLE staff (id INTEGER PRIMARY KEY, other INTEGER REFERENCES store ON DELETE CASCADE);
        CREATE TABLE store (id INTEGER PRIMARY KEY, other INTEGER NOT NULL REFERENCES staff ON DELETE CASCADE ON UPDATE CASCADE)";
    let mut to = Applying::new(make, &[table("staff"), table("store")]).await;
    let changes = transaction(|c| {
        row(c, 0, RowKind::Insert, &[], &[Int(1), Int(1)]);
        row(c, 1, RowKind::Insert, &[], &[Int(1), Int(1)]);
        row(c, 0, RowKind::Insert, &[], &[Int(2), Int(1)]);
    });
    to.apply(&changes).await.expect("applied");
    // The source's own cascade is in its log: a cascade here would leave nothing to delete.
    let changes = transaction(|c| {
        row(c, 1, RowKind::Delete, &[Int(1), Absent], &[]);
        row(c, 0, RowKind::Delete, &[Int(2), Absent], &[]);
        row(c, 0, RowKind::Delete, &[Int(1), Absent], &[]);
    });
    to.apply(&changes).await.expect("applied");
    assert_eq!(
        to.rows("SELECT (SELECT count(*) FROM staff), (SELECT count(*) FROM store)"),
        "Integer(0)|Integer(0)|\n"
    );
}

#[tokio::test]
async fn s_28_triggers_of_the_target_do_not_fire_on_changes() {
    let make = format!(
        "{KEYED}; CREATE TRIGGER stamp AFTER INSERT ON t BEGIN UPDATE t SET n = -1 WHERE id = new.id; END"
    );
    let mut to = Applying::new(&make, &[keyed()]).await;
    to.apply(&transaction(|c| insert(c, &[Int(1), Null, Int(5)]))).await.expect("applied");
    assert_eq!(to.rows("SELECT n FROM t"), "Integer(5)|\n");
}

#[tokio::test]
async fn s_21_truncate_empties_exactly_its_tables() {
    let tables = ["t", "u", "v"].map(|name| followed(name, &[("id", "INTEGER"), ("k", "TEXT")], Form::Rows));
    let make = "CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT UNIQUE); CREATE TABLE u (id INTEGER PRIMARY KEY, k REFERENCES t);
        CREATE TABLE v (id INTEGER PRIMARY KEY, k);
        INSERT INTO t VALUES (1, 'a'), (2, 'b'); INSERT INTO u VALUES (1, 1); INSERT INTO v VALUES (1, 1)";
    let mut to = Applying::new(make, &tables).await;
    let changes = transaction(|c| {
        // A row that waits is emptied with its table.
        update(c, &[], &[Int(1), Text(b"b")]);
        c.truncate(&[0, 2], true);
        row(c, 2, RowKind::Insert, &[], &[Int(1), Text(b"new")]);
    });
    to.apply(&changes).await.expect("applied");
    let counts = "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u), (SELECT count(*) FROM v)";
    assert_eq!(to.rows(counts), "Integer(0)|Integer(1)|Integer(1)|\n");
}

#[tokio::test]
async fn s_02_of_equal_rows_exactly_one_is_changed() {
    let mut table = followed("t", &[("a", ""), ("b", "TEXT")], Form::Rows);
    table.identity = Identity::Whole;
    let make = "CREATE TABLE t (a, b TEXT COLLATE NOCASE);
        INSERT INTO t VALUES (1, 'x'), (1, 'x'), (1, 'X'), (1.0, 'x'), ('1', 'x'), (NULL, NULL), (NULL, NULL)";
    let mut to = Applying::new(make, &[table]).await;
    let changes = transaction(|c| {
        delete(c, &[Int(1), Text(b"x")]);
        update(c, &[Null, Null], &[Null, Text(b"n")]);
        update(c, &[Datum::Float(1.0), Text(b"x")], &[Datum::Float(2.0), Text(b"x")]);
        update(c, &[Text(b"1"), Text(b"x")], &[Text(b"2"), Text(b"x")]);
    });
    to.apply(&changes).await.expect("applied");
    assert_eq!(
        to.rows("SELECT a, b FROM t ORDER BY typeof(a), a, b COLLATE BINARY"),
        "Integer(1)|Text([88])|\nInteger(1)|Text([120])|\nNull|Null|\nNull|Text([110])|\nReal(2.0)|Text([120])|\nText([50])|Text([120])|\n"
    );
    let error = to.apply(&transaction(|c| delete(c, &[Int(1), Text(b"y")]))).await.expect_err("not there");
    assert_eq!(error.cause, Cause::Diverged, "{error}");
}

#[tokio::test]
async fn i_09_keys_that_a_collation_takes_for_equal_are_told_apart() {
    let table = followed("t", &[("k", "TEXT"), ("v", "INT")], Form::Rows);
    let make = "CREATE TABLE t (k TEXT COLLATE NOCASE, v INT); CREATE UNIQUE INDEX i ON t (k COLLATE BINARY);
        INSERT INTO t VALUES ('a', 1), ('A', 2)";
    let mut to = Applying::new(make, &[table]).await;
    to.apply(&transaction(|c| update(c, &[], &[Text(b"A"), Int(20)]))).await.expect("applied");
    assert_eq!(to.rows("SELECT v FROM t ORDER BY v"), "Integer(1)|\nInteger(20)|\n");
}

#[tokio::test]
async fn s_32_names_are_data() {
    let hostile = "t\"; DROP TABLE x; -- 💧'";
    let mut table =
        followed(hostile, &[("select \"", "INTEGER"), ("rowid", "TEXT"), ("", "ANY")], Form::Rows);
    let make = "CREATE TABLE \"t\"\"; DROP TABLE x; -- 💧'\" (\"select \"\"\" INTEGER PRIMARY KEY, rowid TEXT UNIQUE, \"\" ANY) STRICT;
        INSERT INTO \"t\"\"; DROP TABLE x; -- 💧'\" VALUES (1, 'a', 1), (2, 'b', 1.5)";
    let swap = transaction(|c| {
        update(c, &[], &[Int(1), Text(b"b"), Absent]);
        update(c, &[], &[Int(2), Text(b"a"), Absent]);
        insert(c, &[Int(3), Null, Text(b"x")]);
        delete(c, &[Int(3), Null, Text(b"x")]);
    });
    let mut to = Applying::new(make, &[table.clone()]).await;
    to.apply(&swap).await.expect("applied");
    let all = "SELECT * FROM \"t\"\"; DROP TABLE x; -- 💧'\"";
    assert_eq!(to.rows(all), "Integer(1)|Text([98])|Integer(1)|\nInteger(2)|Text([97])|Real(1.5)|\n");
    table.projection.target = name("gone");
    let mut session = to.lock.session().await.expect("a session");
    let error = session.follow(&[table]).await.expect_err("no such table");
    assert_eq!(error.cause, Cause::Stale, "{error}");
}

/// What a copy refuses, a change does not smuggle in.
#[tokio::test]
async fn g_03_values_that_would_change_are_refused_with_their_place() {
    let table = |ty: Type, native: &str| {
        let mut table = followed("t", &[("id", "INTEGER"), ("v", native)], Form::Rows);
        table.projection.columns[1].source_type = ty;
        table
    };
    let float = Type::Float { bits: 64 };
    let cases = [
        (float, "REAL", Datum::Float(f64::NAN)),
        (Type::UInt { bits: 64 }, "INTEGER", Datum::UInt(u64::MAX)),
        (Type::Date, "TEXT", Text(b"infinity")),
        (Type::Decimal { precision: None, scale: None }, "TEXT", Text(b"NaN")),
    ];
    for (ty, native, value) in cases {
        let mut to = Applying::new(
            &format!("CREATE TABLE t (id INTEGER PRIMARY KEY, v {native})"),
            &[table(ty, native)],
        )
        .await;
        let error = to.apply(&transaction(|c| insert(c, &[Int(1), value]))).await.expect_err("refused");
        assert_eq!(error.cause, Cause::Data, "{error}");
        assert!(error.to_string().contains("column \"v\""), "{error}");
    }
    let zoned = table(Type::TimestampTz { precision: 6 }, "TEXT");
    let mut to = Applying::new("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", &[zoned]).await;
    to.apply(&transaction(|c| insert(c, &[Int(1), Text(b"2024-02-29 23:59:59.5+00")])))
        .await
        .expect("applied");
    assert_eq!(to.rows("SELECT v = '2024-02-29 23:59:59.5Z' FROM t"), "Integer(1)|\n");
}

#[tokio::test]
async fn p_02_between_equal_engines_classes_stay_and_casts_are_made_here() {
    let mut table = followed("t", &[("id", "INTEGER"), ("a", ""), ("n", "TEXT")], Form::NativeText);
    table.projection.columns[2].cast = Some(Cast { native: "INTEGER".into(), zone: None });
    table.projection.columns[2].target_native = "INTEGER".into();
    let mut to = Applying::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a, n INTEGER)", &[table]).await;
    let values: [Datum<'_>; 7] = [
        Null,
        Int(i64::MIN),
        Datum::Float(-0.0),
        Text(b""),
        Text(b"a\0\xff"),
        Datum::Bytes(b""),
        Datum::Bytes(b"\0\xff"),
    ];
    let changes = transaction(|c| {
        for (id, value) in (1..).zip(values) {
            insert(c, &[Int(id), value, Text(b"12")]);
        }
    });
    to.apply(&changes).await.expect("applied");
    assert_eq!(
        to.rows("SELECT a FROM t ORDER BY id"),
        format!(
            "Null|\nInteger({})|\nReal(-0.0)|\nText([])|\nText([97, 0, 255])|\nBlob([])|\nBlob([0, 255])|\n",
            i64::MIN
        )
    );
    assert_eq!(to.rows("SELECT DISTINCT n FROM t"), "Integer(12)|\n");
    let error =
        to.apply(&transaction(|c| insert(c, &[Int(99), Null, Text(b"x")]))).await.expect_err("refused");
    assert_eq!(error.cause, Cause::Data, "{error}");
}

fn net_of<'a>(deletes: &[i64], updates: &[(i64, Datum<'a>)], inserts: &[[Datum<'a>; 3]]) -> Net<'a> {
    let mut table = NetTable { deletes: Rows::new(1), inserts: Rows::new(3), ..NetTable::default() };
    deletes.iter().for_each(|&id| table.deletes.push([Int(id)]));
    inserts.iter().for_each(|row| table.inserts.push(*row));
    let mut some = NetUpdates { columns: vec![1], keys: Rows::new(1), rows: Rows::new(1) };
    for &(id, value) in updates {
        some.keys.push([Int(id)]);
        some.rows.push([value]);
    }
    table.updates.push(some);
    Net { tables: vec![table] }
}

#[tokio::test]
async fn net_changes_are_applied_whole_or_the_transaction_goes_on_without_them() {
    let make = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE, n INT); INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)";
    let mut to = Applying::new(make, &[keyed()]).await;
    to.session.begin().await.expect("begun");
    to.session.execute(&["INSERT INTO t VALUES (50, 'kept', 0)".into()]).await.expect("a row before");
    for clashing in [
        net_of(&[3], &[(1, Text(b"b")), (2, Text(b"a"))], &[]),
        net_of(&[3, 77], &[], &[]),
        net_of(&[3], &[(77, Null)], &[]),
        net_of(&[3], &[], &[[Int(1), Null, Null]]),
    ] {
        assert_eq!(to.session.apply_net(&clashing).await.expect("an answer"), Applied::Clashed);
    }
    let net = net_of(&[3], &[(1, Text(b"c"))], &[[Int(3), Text(b"a"), Null], [Int(4), Null, Int(4)]]);
    assert_eq!(to.session.apply_net(&net).await.expect("an answer"), Applied::Done);
    to.session.commit().await.expect("committed");
    assert_eq!(
        to.rows("SELECT id, v, n FROM t ORDER BY id"),
        "Integer(1)|Text([99])|Integer(1)|\nInteger(2)|Text([98])|Integer(2)|\nInteger(3)|Text([97])|Null|\n\
         Integer(4)|Null|Integer(4)|\nInteger(50)|Text([107, 101, 112, 116])|Integer(0)|\n"
    );
}

#[tokio::test]
async fn g_06_the_marks_of_a_stream_commit_with_its_changes_and_add_up() {
    let mut to = Applying::new(KEYED, &[keyed()]).await;
    let mark = |position: &str, inserts: u64| {
        Checkpoint::Applied(StreamMark {
            after: None,
            position: Position(position.into()),
            committed_at: (inserts > 1).then_some(77),
            transactions: 2,
            tables: vec![(name("t"), Counts { inserts, ..Counts::default() })],
        })
    };
    to.session.begin().await.expect("begun");
    let error = to.session.mark("plan", &mark("5", 1)).await.expect_err("no stream was opened");
    assert_eq!(error.cause, Cause::Stale, "{error}");
    to.session.mark("plan", &Checkpoint::Opened(Position("1".into()))).await.expect("marked");
    to.session.commit().await.expect("committed");
    for (position, inserts, commits) in [("5", 2, true), ("9", 3, false), ("8", 1, true)] {
        to.session.begin().await.expect("begun");
        to.session.mark("plan", &mark(position, inserts)).await.expect("marked");
        match commits {
            true => to.session.commit().await.expect("committed"),
            false => to.session.rollback().await.expect("rolled back"),
        }
    }
    let stream = to.target.progress("plan").await.expect("progress").stream.expect("a stream");
    assert_eq!((stream.opened.0.as_str(), stream.position.0.as_str()), ("1", "8"));
    assert_eq!((stream.committed_at, stream.transactions), (Some(77), 4));
    assert_eq!(stream.tables, [(name("t"), Counts { inserts: 3, ..Counts::default() })]);
    assert!(stream.at.ends_with('Z'), "{}", stream.at);
    let from = |after: &str| {
        let (after, position) = (Some(Position(after.into())), Position("9".into()));
        Checkpoint::Applied(StreamMark { after, position, ..StreamMark::default() })
    };
    to.session.begin().await.expect("begun");
    let error = to.session.mark("plan", &from("5")).await.expect_err("the stream stands at 8");
    assert_eq!(error.cause, Cause::Stale, "{error}");
    to.session.mark("plan", &from("8")).await.expect("marked");
    to.session.rollback().await.expect("rolled back");
    to.session.begin().await.expect("begun");
    to.session.mark("plan", &Checkpoint::Opened(Position("20".into()))).await.expect("marked");
    to.session.commit().await.expect("committed");
    let stream = to.target.progress("plan").await.expect("progress").stream.expect("a stream");
    assert_eq!((stream.position.0.as_str(), stream.transactions, stream.tables.len()), ("20", 0, 0));
    assert_eq!(to.target.inspect().await.expect("inspected").tables.len(), 1, "state is never in a catalog");
}

#[tokio::test]
async fn f_81_a_state_without_streams_is_read_and_raised_and_a_later_one_is_refused() {
    let place = Place::new();
    place.make(
        "b.db",
        "CREATE TABLE towpath_run (run TEXT NOT NULL PRIMARY KEY, plan TEXT NOT NULL, digest TEXT NOT NULL, started_at TEXT NOT NULL,
           finished_at TEXT, outcome TEXT, by TEXT NOT NULL, tool TEXT NOT NULL) STRICT;
         CREATE TABLE towpath_step (plan TEXT NOT NULL, step TEXT NOT NULL, inputs TEXT NOT NULL, rows INTEGER NOT NULL,
           bytes INTEGER NOT NULL, millis INTEGER NOT NULL, at TEXT NOT NULL, PRIMARY KEY (plan, step)) STRICT;
         CREATE TABLE towpath_copy (plan TEXT NOT NULL, table_name TEXT NOT NULL, number INTEGER NOT NULL, of INTEGER NOT NULL,
           bounds TEXT NOT NULL, position TEXT NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
           PRIMARY KEY (plan, table_name, number)) STRICT;
         CREATE TABLE towpath_lock (plan TEXT NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, run TEXT NOT NULL) STRICT;
         INSERT INTO towpath_run VALUES ('r', 'plan', 'old', 'then', NULL, 'done', 'me', 'towpath 0');
         INSERT INTO towpath_step VALUES ('plan', 's', 'i', 1, 2, 3, 'then')",
    );
    let target = place.target("b.db").await;
    let progress = target.progress("plan").await.expect("read");
    assert_eq!((progress.digest.as_deref(), progress.steps.len(), progress.stream), (Some("old"), 1, None));
    let lock = super::lock(target.as_ref()).await;
    let mut session = lock.session().await.expect("a session");
    session.begin().await.expect("begun");
    session.mark("plan", &Checkpoint::Opened(Position("1".into()))).await.expect("marked");
    session.commit().await.expect("committed");
    drop(session);
    lock.close("done").await.expect("closed");
    let progress = target.progress("plan").await.expect("read");
    assert_eq!((progress.digest.as_deref(), progress.steps.len()), (Some("old"), 1));
    assert!(progress.stream.is_some());
    place.make("b.db", "UPDATE towpath_format SET format = 99");
    let error = target.progress("plan").await.expect_err("unknown");
    assert_eq!(error.cause, Cause::Stale, "{error}");
    let Err(error) = target.lock("plan", &super::goal("digest"), std::time::Duration::ZERO).await else {
        panic!("a state of a later version was taken")
    };
    assert_eq!(error.cause, Cause::Stale, "{error}");
}
