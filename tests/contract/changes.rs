//! Changes: seen once the capture is open, applied strictly, and worth the same as a copy.

use std::time::Duration;

use towpath::catalog::{Form, Projection, Type};
use towpath::change::{Changes, Followed, Identity, Position, Record};
use towpath::engine::{Capture, CaptureSpec, Cause, ChangeStream, Load, Lock, Read, Session};

use super::ends::{
    End, PLAN, Sql, block_on, each_target, load_all, maria, maria_fixture, mysql, postgres, postgres_fixture,
    sqlite,
};

const WAIT: Duration = Duration::from_secs(20);
const COLUMNS: [(&str, &str); 3] = [("id", "integer"), ("v", "text"), ("n", "integer")];
const MAKE: &str = "CREATE TABLE t (id integer PRIMARY KEY, v text, n integer)";

/// All rows, numbers of all engines in one spelling.
fn all(end: &End) -> Vec<String> {
    let text = if matches!(end.sql, Sql::Maria(_)) { "char" } else { "text" };
    end.sql.rows(&format!("SELECT cast(id AS {text}), v, cast(n AS {text}) FROM t ORDER BY t.id"))
}

/// From one end to the other, in the neutral form, under the same names.
fn road(source: &End, target: &End, table: &str, columns: &[(&str, &str)]) -> Followed {
    let (from, to) = (source.projection(table, columns), target.projection(table, columns));
    let mut projection = Projection { target: to.target, ..from };
    for (column, there) in projection.columns.iter_mut().zip(to.columns) {
        let normal = source.engine.dialect().normal_type(&column.source_native, None);
        column.source_native = normal.unwrap_or_else(|| column.source_native.clone());
        column.target_type = there.target_type;
        column.target_native = there.target_native;
    }
    Followed { projection, identity: Identity::Columns(vec![0]), skipped: Vec::new() }
}

/// All pairs of engines.
fn each_pair<T: Future<Output = ()>>(promise: impl Fn(End, End) -> T) {
    let ends = [postgres as fn(&str) -> Option<End>, |name| Some(sqlite(name)), maria, mysql];
    for (from, to) in ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to))) {
        if let Some((source, target)) = from("source").zip(to("target")) {
            block_on(promise(source, target));
        }
    }
}

/// What readers and the application must not do to each other, they do not in WAL mode.
fn prepare(source: &End) {
    if source.engine.name() == "sqlite" {
        source.sql.execute("PRAGMA journal_mode = WAL");
    }
}

/// Appends what the log says until it has come to the goal; whole transactions.
async fn read_to(stream: &mut dyn ChangeStream, capture: &dyn Capture, goal: &Position) -> Changes {
    let mut changes = Changes::default();
    loop {
        let next = tokio::time::timeout(WAIT, stream.next(&mut changes, 1 << 30)).await;
        next.expect("the log says nothing any more").unwrap();
        let come = changes.records().filter_map(|record| match record {
            Record::Commit { position, .. } | Record::Reached { position } => Some(position),
            _ => None,
        });
        if come.last().is_some_and(|last| capture.reached(&Position(last.into()), goal)) && !changes.is_open()
        {
            return changes;
        }
    }
}

/// Applies and commits.
async fn apply(session: &mut dyn Session, changes: &Changes) -> Result<(), towpath::engine::EngineError> {
    session.begin().await?;
    match session.apply_rows(changes.records()).await {
        Ok(()) => session.commit().await,
        Err(error) => {
            session.rollback().await?;
            Err(error)
        }
    }
}

async fn following(lock: &dyn Lock, tables: &[Followed]) -> Box<dyn Session> {
    let mut session = lock.session().await.unwrap();
    session.follow(tables).await.unwrap();
    session
}

#[test]
fn g_05_a_snapshot_and_what_comes_after_it_are_everything_once() {
    each_pair(|source, target| async move {
        prepare(&source);
        source.sql.execute(MAKE);
        target.sql.execute(MAKE);
        source.sql.execute("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, NULL, NULL), (4, '', 4)");
        let tables = [road(&source, &target, "t", &COLUMNS)];
        let spec = CaptureSpec { plan: PLAN, tables: &tables, cascades: false };
        let reading = source.source().await;
        let capture = reading.capture().unwrap();
        assert!(capture.check(&spec).await.unwrap().iter().all(|found| !found.blocks));
        let snapshot = capture.open(&spec, WAIT).await.unwrap();
        let start = snapshot.position().clone();
        source.sql.execute("INSERT INTO t VALUES (5, 'after', 5); DELETE FROM t WHERE id = 2; UPDATE t SET id = 30, n = 7 WHERE id = 3; UPDATE t SET v = 'a2' WHERE id = 1");
        source.sql.execute("BEGIN; DELETE FROM t WHERE id = 5; INSERT INTO t VALUES (2, 'again', 2), (5, 'again', 6); COMMIT");
        let lock = target.lock().await;
        let mut session = following(lock.as_ref(), &tables).await;
        session.begin().await.unwrap();
        let projection = &tables[0].projection;
        for chunk in snapshot.chunks(projection, 1 << 30).await.unwrap() {
            let read = Read { projection, chunk: &chunk, batch_bytes: 1 << 16, paced: false };
            let mut stream = snapshot.read(&read).await.unwrap();
            let load = Load { projection, frozen: false, gauge: &|_, _| {} };
            session.load(&load, stream.as_mut()).await.unwrap();
        }
        session.commit().await.unwrap();
        snapshot.close().await.unwrap();
        assert_eq!(target.sql.count("t"), 4);
        let head = capture.head().await.unwrap();
        let mut stream = capture.changes(&spec, &start, std::slice::from_ref(&start)).await.unwrap();
        let changes = read_to(stream.as_mut(), capture, &head).await;
        apply(session.as_mut(), &changes).await.unwrap();
        assert_eq!(all(&target), all(&source));
        // Once is all: a second time is noticed, and nothing of it stays.
        let error = apply(session.as_mut(), &changes).await.expect_err("applied twice");
        assert_eq!(error.cause, Cause::Diverged, "{error}");
        assert_eq!(all(&target), all(&source));
        drop(stream);
        assert_eq!(capture.close(PLAN).await.unwrap().is_empty(), !capture.leaves_traces());
        assert_eq!(capture.close(PLAN).await.unwrap(), [""; 0]);
        drop(session);
        lock.close("done").await.unwrap();
    });
}

#[test]
fn g_11_a_change_of_a_row_that_is_not_there_is_refused_by_every_target() {
    each_target(|source, target| async move {
        target.sql.execute(MAKE);
        target.sql.execute("INSERT INTO t VALUES (1, 'a', 1)");
        let tables = [road(&source, &target, "t", &COLUMNS)];
        let lock = target.lock().await;
        let mut session = following(lock.as_ref(), &tables).await;
        use towpath::change::{Datum, RowKind};
        type Cells = [Datum<'static>];
        let cases: [(RowKind, &Cells, &Cells); 3] = [
            (RowKind::Insert, &[], &[Datum::Int(1), Datum::Null, Datum::Null]),
            (RowKind::Update, &[], &[Datum::Int(7), Datum::Null, Datum::Null]),
            (RowKind::Delete, &[Datum::Int(7), Datum::Absent, Datum::Absent], &[]),
        ];
        for (kind, old, new) in cases {
            let mut changes = Changes::default();
            changes.begin("1");
            changes.begin_row(0, kind, old.len(), new.len());
            old.iter().chain(new).for_each(|cell| changes.push(*cell));
            changes.end_row();
            changes.commit("2", 0);
            let error = apply(session.as_mut(), &changes).await.expect_err("applied");
            assert_eq!(error.cause, Cause::Diverged, "{error}");
            assert!(error.object.as_deref().is_some_and(|object| object.contains('t')), "{error:?}");
        }
        assert_eq!(target.sql.count("t WHERE v = 'a' AND n = 1"), 1);
        assert_eq!(target.sql.count("t"), 1);
        drop(session);
        lock.close("failed").await.unwrap();
    });
}

/// Rows that are written while a capture is open arrive as rows that are copied do.
async fn a_change_is_worth_a_copy(
    source: End,
    target: End,
    table: &str,
    columns: &[(&str, &str)],
    write: &str,
) {
    let followed = road_of_types(&source, &target, table, columns);
    let list: Vec<String> = followed
        .projection
        .columns
        .iter()
        .map(|column| format!("{} {}", column.target, column.target_native))
        .collect();
    for name in ["copied", "followed"] {
        target.sql.execute(&format!("CREATE TABLE {name} ({})", list.join(", ")));
    }
    let binary = matches!(target.sql, Sql::Maria(_));
    let named = |name: &str| {
        let mut followed = followed.clone();
        followed.projection.target = target.table(name);
        followed
    };
    let (copy, tables) = (named("copied"), [named("followed")]);
    let spec = CaptureSpec { plan: PLAN, tables: &tables, cascades: false };
    let reading = source.source().await;
    let capture = reading.capture().unwrap();
    let snapshot = capture.open(&spec, WAIT).await.unwrap();
    let start = snapshot.position().clone();
    snapshot.close().await.unwrap();
    source.sql.execute(write);
    let head = capture.head().await.unwrap();
    let mut stream = capture.changes(&spec, &start, std::slice::from_ref(&start)).await.unwrap();
    let changes = read_to(stream.as_mut(), capture, &head).await;
    let lock = target.lock().await;
    let mut session = following(lock.as_ref(), &tables).await;
    apply(session.as_mut(), &changes).await.unwrap_or_else(|error| panic!("{table}: {error}"));
    session.begin().await.unwrap();
    load_all(&source, session.as_mut(), &copy.projection)
        .await
        .unwrap_or_else(|error| panic!("{table}: {error}"));
    session.commit().await.unwrap();
    // Bytes are no text to a plain session.
    let shown = |column: &towpath::catalog::ColumnMap| match binary {
        true => format!("HEX(`{}`)", column.target),
        false => format!("\"{}\"", column.target),
    };
    let shown: Vec<String> = copy.projection.columns.iter().map(shown).collect();
    let rows = |name: &str| target.sql.rows(&format!("SELECT {} FROM {name} ORDER BY 1", shown.join(", ")));
    assert_eq!(rows("followed"), rows("copied"), "{table}");
    assert_eq!(changes.rows() as usize, rows("copied").len(), "{table}");
    assert!(changes.rows() > 0, "{table} is empty");
    drop((stream, session));
    capture.close(PLAN).await.unwrap();
    lock.close("done").await.unwrap();
}

/// As the plan does it: what the target has no type for goes into the next wider one.
fn road_of_types(source: &End, target: &End, table: &str, columns: &[(&str, &str)]) -> Followed {
    let mut projection = source.projection(table, columns);
    for column in projection.columns.iter_mut().filter(|_| source.engine.name() != target.engine.name()) {
        let spelled = target.engine.dialect().spell_type(&column.source_type);
        column.target_native = spelled.or_else(|| target.engine.dialect().spell_type(&Type::Text)).unwrap();
        column.target_type = target.engine.dialect().parse_type(&column.target_native);
    }
    Followed { projection, identity: Identity::Columns(vec![0]), skipped: Vec::new() }
}

#[test]
fn p_02_a_postgres_change_is_worth_a_copy_in_sqlite() {
    let tables: [(&str, &[(&str, &str)]); 10] = [
        ("pg_01_integers", &[("id", "integer"), ("s", "smallint"), ("i", "integer"), ("b", "bigint")]),
        (
            "pg_02_numeric",
            &[
                ("id", "integer"),
                ("p", "numeric(65,30)"),
                ("money", "numeric(10,2)"),
                ("whole", "numeric(38,0)"),
            ],
        ),
        ("pg_06_floats", &[("id", "integer"), ("r", "real"), ("d", "double precision")]),
        ("pg_09_boolean", &[("id", "integer"), ("b", "boolean")]),
        (
            "pg_11_varchar",
            &[("id", "integer"), ("v", "character varying(10)"), ("free", "character varying")],
        ),
        ("pg_12_text", &[("id", "integer"), ("t", "text")]),
        ("pg_14_bytea", &[("id", "integer"), ("b", "bytea")]),
        ("pg_15_date", &[("id", "integer"), ("d", "date")]),
        ("pg_21_uuid", &[("id", "uuid"), ("u", "uuid")]),
        ("pg_23_jsonb", &[("id", "integer"), ("j", "jsonb")]),
    ];
    let Some(source) = postgres_fixture("types") else { return };
    for (table, columns) in tables {
        source.sql.execute(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}; TRUNCATE {table}"));
        let write = format!("INSERT INTO {table} SELECT * FROM kept_{table}");
        block_on(a_change_is_worth_a_copy(source.clone(), sqlite("target"), table, columns, &write));
    }
}

#[test]
fn p_02_a_sqlite_change_is_worth_a_copy_in_postgres() {
    /// Name, columns and rows of a table.
    type Sample = (&'static str, &'static [(&'static str, &'static str)], &'static str);
    let tables: [Sample; 4] = [
        (
            "i",
            &[("id", "INTEGER"), ("v", "INTEGER")],
            "(-9223372036854775808, 1), (9223372036854775807, NULL), (0, -5)",
        ),
        ("r", &[("id", "INTEGER"), ("v", "REAL")], "(1, 1), (2, -2.5), (3, 9e999), (4, 5e-324), (5, NULL)"),
        (
            "s",
            &[("id", "INTEGER"), ("v", "TEXT")],
            "(1, ''), (2, 'é💧'), (3, NULL), (4, '\\N'), (5, 'a' || char(10, 9, 92))",
        ),
        (
            "b",
            &[("id", "INTEGER"), ("v", "BLOB")],
            "(1, x''), (2, x'00ff'), (3, NULL), (4, zeroblob(100000))",
        ),
    ];
    for (table, columns, values) in tables {
        let Some(target) = postgres("target") else { return };
        let source = sqlite("source");
        prepare(&source);
        source.sql.execute(&format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY, v {})", columns[1].1));
        let write = format!("INSERT INTO {table} VALUES {values}");
        block_on(a_change_is_worth_a_copy(source, target, table, columns, &write));
    }
}

/// Form and engine being equal, values pass as they are, those among them that no other engine has.
#[test]
fn p_02_a_sqlite_change_is_worth_a_copy_in_sqlite() {
    for table in [
        "l_01_odd_int",
        "l_01_odd_text",
        "l_01_untyped",
        "l_04_integers",
        "l_04_odd_beyond",
        "l_05_odd_long",
        "l_06_numeric",
        "l_06_odd_numeric",
        "l_09_text",
        "l_09_odd_text",
        "floats",
        "odd_floats",
        "blobs",
    ] {
        let source = super::ends::sqlite_fixture("types");
        prepare(&source);
        source.sql.execute(&format!("CREATE TABLE kept AS SELECT * FROM {table}; DELETE FROM {table}"));
        let target = sqlite("target");
        let catalog = block_on(async { source.source().await.inspect().await.unwrap() });
        let columns = &catalog.table(&source.table(table)).unwrap().columns;
        let columns: Vec<(&str, &str)> =
            columns.iter().map(|column| (column.name.as_str(), column.native.as_str())).collect();
        let native = |source: &End, target: &End| {
            let mut followed = road(source, target, table, &columns);
            followed.projection.form = Form::NativeText;
            followed
        };
        block_on(native_is_worth_a_copy(&source, &target, native(&source, &target)));
    }
}

async fn native_is_worth_a_copy(source: &End, target: &End, followed: Followed) {
    let table = followed.projection.source.name.clone();
    let list: Vec<String> = followed
        .projection
        .columns
        .iter()
        .map(|column| format!("{} {}", column.target, column.target_native))
        .collect();
    target.sql.execute(&format!("CREATE TABLE {table} ({})", list.join(", ")));
    let tables = [followed];
    let spec = CaptureSpec { plan: PLAN, tables: &tables, cascades: false };
    let reading = source.source().await;
    let capture = reading.capture().unwrap();
    let snapshot = capture.open(&spec, WAIT).await.unwrap();
    let start = snapshot.position().clone();
    snapshot.close().await.unwrap();
    source.sql.execute(&format!("INSERT INTO {table} SELECT * FROM kept"));
    let head = capture.head().await.unwrap();
    let mut stream = capture.changes(&spec, &start, std::slice::from_ref(&start)).await.unwrap();
    let changes = read_to(stream.as_mut(), capture, &head).await;
    let lock = target.lock().await;
    let mut session = following(lock.as_ref(), &tables).await;
    apply(session.as_mut(), &changes).await.unwrap();
    let all = format!("SELECT * FROM {table} ORDER BY 1");
    assert_eq!(target.sql.rows(&all), source.sql.rows(&all), "{table}");
    drop((stream, session));
    lock.close("done").await.unwrap();
}

/// The types of one engine in another one, or in itself: what its columns are read from its catalog.
fn types_are_worth_a_copy(source: &End, target: fn(&str) -> Option<End>, tables: &[&str]) {
    let catalog = block_on(async { source.source().await.inspect().await.unwrap() });
    for table in tables {
        let Some(target) = target("target") else { return };
        let columns = &catalog.table(&source.table(table)).unwrap().columns;
        let columns: Vec<(&str, &str)> = columns
            .iter()
            .filter(|column| column.generated.is_none())
            .map(|column| (column.name.as_str(), column.native.as_str()))
            .collect();
        let list: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let list = list.join(", ");
        source
            .sql
            .execute(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}; DELETE FROM {table}"));
        let write = format!("INSERT INTO {table} ({list}) SELECT {list} FROM kept_{table}");
        block_on(a_change_is_worth_a_copy(source.clone(), target, table, &columns, &write));
    }
}

#[test]
fn p_02_a_postgres_change_is_worth_a_copy_in_mariadb() {
    let Some(source) = postgres_fixture("types") else { return };
    let tables = [
        "pg_01_integers",
        "pg_02_numeric",
        "pg_06_floats",
        "pg_09_boolean",
        "pg_11_varchar",
        "pg_12_text",
        "pg_14_bytea",
        "pg_15_date",
        "pg_16_time",
        "pg_18_timestamp",
        "pg_19_timestamptz",
        "pg_21_uuid",
        "pg_22_json",
        "pg_23_jsonb",
        "pg_24_xml",
        "pg_26_enum",
        "pg_31_network",
        "pg_32_bits",
        "many_columns",
    ];
    types_are_worth_a_copy(&source, maria, &tables);
}

#[test]
fn p_02_a_mariadb_change_is_worth_a_copy_in_mariadb() {
    let Some(source) = maria_fixture("types") else { return };
    types_are_worth_a_copy(&source, maria, &["bytes", "moments", "numbers", "texts"]);
    let Some(source) = maria_fixture("odd") else { return };
    let odd =
        ["m_01_beyond", "m_02_flags", "m_07_nul", "m_16_spans", "m_21_place", "k_301_mail", "s_01_keyless"];
    types_are_worth_a_copy(&source, maria, &odd);
}

#[test]
fn p_02_a_mysql_change_is_worth_a_copy_in_its_family() {
    for target in [mysql as fn(&str) -> Option<End>, maria] {
        let Some(source) = mysql("types") else { return };
        source.sql.execute(&crate::support::mysql::types());
        // Spelled as MariaDB's exact text, it is refused there.
        source.sql.execute("ALTER TABLE texts DROP COLUMN j");
        types_are_worth_a_copy(&source, target, &["bytes", "moments", "numbers", "texts"]);
    }
}
