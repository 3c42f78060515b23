//! Every type's values, the extreme ones first: what is read is what was written, or is refused.

use towpath::catalog::{Cast, Type};
use towpath::engine::{Cause, EngineError};

use super::{outside, projection, read_all, run, source_with};
use crate::need_mariadb;
use crate::support::mariadb::{Database, Server};

/// Reads one column of a table `t (id, v)` in the order of the key.
async fn column(database: &Database, native: &str) -> Result<Vec<String>, EngineError> {
    let source = source_with(&database.url(), 1).await?;
    let snapshot = source.snapshot().await?;
    let projection = projection(database, "t", &[("id", "int(11)"), ("v", native)]);
    let rows = read_all(snapshot.as_ref(), &projection).await;
    snapshot.close().await?;
    Ok(rows?.into_iter().map(|row| row[1].clone()).collect())
}

/// Writes values and reads them back.
fn round(database: &Database, native: &str, values: &[&str]) -> Result<Vec<String>, EngineError> {
    let rows: Vec<String> = values.iter().enumerate().map(|(at, value)| format!("({at}, {value})")).collect();
    let mode = "SET sql_mode = 'ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION'";
    database.execute(&format!(
        "DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, v {native} NULL); {mode}; \
         INSERT INTO t VALUES {}",
        rows.join(", ")
    ));
    run(column(database, native.split(" CHARACTER").next().unwrap()))
}

fn expect(database: &Database, native: &str, pairs: &[(&str, &str)]) {
    let mut values: Vec<&str> = pairs.iter().map(|(value, _)| *value).collect();
    values.push("NULL");
    let mut expected: Vec<&str> = pairs.iter().map(|(_, expected)| *expected).collect();
    expected.push("null");
    let found = round(database, native, &values).unwrap_or_else(|error| panic!("{native}: {error}"));
    assert_eq!(found, expected, "{native}");
}

fn refused(database: &Database, native: &str, values: &[&str], row: usize, word: &str) {
    let error = round(database, native, values).expect_err(native);
    let text = error.to_string();
    assert_eq!(error.cause, Cause::Data, "{text}");
    assert!(text.contains(word) && text.contains("column `v`"), "{text}");
    assert!(text.contains(&format!("row {row} of the chunk")), "{text}");
    assert!(error.hint.is_some(), "{text}");
}

#[test]
fn m_01_and_m_17_whole_numbers() {
    let database = need_mariadb!().database("numbers");
    let extremes: [(&str, i128, i128); 6] = [
        ("tinyint(4)", -128, 127),
        ("smallint(6)", -32_768, 32_767),
        ("mediumint(9)", -8_388_608, 8_388_607),
        ("int(11)", -2_147_483_648, 2_147_483_647),
        ("bigint(20)", i64::MIN as i128, i64::MAX as i128),
        ("tinyint(1)", -1, 2),
    ];
    for (native, low, high) in extremes {
        let (low, high) = (low.to_string(), high.to_string());
        expect(
            &database,
            native,
            &[(&low, &format!("int {low}")), ("-1", "int -1"), (&high, &format!("int {high}"))],
        );
    }
    for (native, high) in [
        ("tinyint(3) unsigned", "255"),
        ("mediumint(8) unsigned zerofill", "16777215"),
        ("int(10) unsigned", "4294967295"),
        ("bigint(20) unsigned", "18446744073709551615"),
    ] {
        expect(&database, native, &[("0", "uint 0"), (high, &format!("uint {high}"))]);
    }
    expect(&database, "year(4)", &[("0", "int 0"), ("1901", "int 1901"), ("2155", "int 2155")]);
}

#[test]
fn m_03_and_m_04_numbers_with_fractions() {
    let database = need_mariadb!().database("fractions");
    let (nines, small) = ("9".repeat(35), "0".repeat(29));
    let large = format!("-{nines}.{}", "9".repeat(30));
    let tiny = format!("0.{small}1");
    expect(
        &database,
        "decimal(65,30)",
        &[(&large, &format!("text {large}")), (&tiny, &format!("text {tiny}"))],
    );
    expect(&database, "decimal(10,2) unsigned zerofill", &[("1.5", "text 1.50"), ("0", "text 0.00")]);
    expect(&database, "decimal(5,0)", &[("-7", "text -7"), ("0", "text 0")]);
    let float = |value: f32| format!("float {:?}", f64::from(value));
    expect(
        &database,
        "float",
        &[
            ("16777216", &float(16_777_216.0)),
            ("3.4028234e38", &float(f32::MAX)),
            ("-1.17549435e-38", &float(-f32::MIN_POSITIVE)),
            ("0.1", &float(0.1)),
            ("1.17549421e-38", &float(1.175_494_2e-38)),
        ],
    );
    expect(
        &database,
        "double",
        &[
            ("1.7976931348623157e308", "float 1.7976931348623157e308"),
            ("2.2250738585072014e-308", "float 2.2250738585072014e-308"),
            ("0.1", "float 0.1"),
            ("-123456789.12345678", "float -123456789.12345678"),
        ],
    );
    expect(&database, "float(7,2)", &[("12345.67", &float(12_345.67))]);
}

#[test]
fn m_05_bits() {
    let database = need_mariadb!().database("bits");
    expect(&database, "bit(1)", &[("b'0'", "text 0"), ("b'1'", "text 1")]);
    expect(&database, "bit(9)", &[("b'100000001'", "text 100000001"), ("b'1'", "text 000000001")]);
    let ones = format!("text {}", "1".repeat(64));
    expect(&database, "bit(64)", &[("b'1'", &format!("text {}1", "0".repeat(63))), ("~0", &ones)]);
}

#[test]
fn m_06_and_m_08_texts_of_every_character_set() {
    let database = need_mariadb!().database("texts");
    expect(&database, "char(5)", &[("'ab '", "text ab"), ("''", "text ")]);
    expect(
        &database,
        "varchar(20) CHARACTER SET utf8mb4",
        &[("'ab '", "text ab "), ("'😀?'", "text 😀?"), ("'NULL'", "text NULL")],
    );
    expect(&database, "varchar(20) CHARACTER SET utf8mb3", &[("'ä?€'", "text ä?€")]);
    expect(&database, "char(20) CHARACTER SET utf8mb3", &[("'ä? '", "text ä?")]);
    expect(&database, "varchar(20) CHARACTER SET ascii", &[("'a?'", "text a?")]);
    expect(
        &database,
        "varchar(20) CHARACTER SET latin1",
        &[("X'81E93F80'", "text \u{81}é?€"), ("X'8D8F909D'", "text \u{8d}\u{8f}\u{90}\u{9d}")],
    );
    expect(&database, "varchar(20) CHARACTER SET utf16", &[("'😀ä?'", "text 😀ä?")]);
    expect(&database, "varchar(20) CHARACTER SET ucs2", &[("'ä?Ŀ'", "text ä?Ŀ")]);
    expect(&database, "varchar(20) CHARACTER SET utf32", &[("'😀'", "text 😀")]);
    expect(&database, "varchar(20) CHARACTER SET sjis", &[("'日本?'", "text 日本?")]);
    expect(&database, "varchar(20) CHARACTER SET gbk", &[("'中文?'", "text 中文?")]);
    expect(&database, "varchar(20) CHARACTER SET cp932", &[("X'ED403F'", "text 纊?")]);
    expect(&database, "varchar(20) CHARACTER SET latin2", &[("'ł?'", "text ł?")]);
    expect(
        &database,
        "longtext CHARACTER SET utf8mb3",
        &[("REPEAT('ä', 100000)", &format!("text {}", "ä".repeat(100_000)))],
    );
    // M-07: a NUL is text here; a target that has no such text refuses it.
    expect(&database, "varchar(20)", &[("CHAR(97, 0, 98)", "text a\0b")]);
}

#[test]
fn m_08_bytes_that_are_no_text_are_refused() {
    let database = need_mariadb!().database("no_texts");
    // A lone surrogate has a place in UCS-2 and none in UTF-8.
    refused(&database, "varchar(5) CHARACTER SET ucs2", &["X'0041'", "X'D83D'"], 2, "not valid");
    // No check is made of what an index-less change of type brings in.
    database.execute(
        "DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, v varbinary(20)); \
        INSERT INTO t VALUES (1, 'a'), (2, X'FF')",
    );
    let as_text = run(async {
        let source = source_with(&database.url(), 1).await?;
        let snapshot = source.snapshot().await?;
        let mut projection = projection(&database, "t", &[("id", "int(11)"), ("v", "varbinary(20)")]);
        projection.columns[1].source_type = Type::Text;
        read_all(snapshot.as_ref(), &projection).await
    });
    assert!(as_text.expect_err("no text").to_string().contains("not valid"));
}

#[test]
fn m_10_bytes() {
    let database = need_mariadb!().database("bytes");
    expect(&database, "binary(4)", &[("X'0100'", "bytes 01000000"), ("''", "bytes 00000000")]);
    expect(&database, "varbinary(20)", &[("X'00FF00'", "bytes 00ff00"), ("''", "bytes ")]);
    let big = "ab".repeat(3_000_000);
    expect(&database, "longblob", &[("REPEAT(X'AB', 3000000)", &format!("bytes {big}")), ("X''", "bytes ")]);
}

#[test]
fn m_11_and_m_12_labels() {
    let database = need_mariadb!().database("labels");
    expect(
        &database,
        "enum('a','2','it''s')",
        &[("'a'", "text a"), ("2", "text 2"), ("'it''s'", "text it's")],
    );
    expect(&database, "enum('a','')", &[("''", "text "), ("'a'", "text a")]);
    expect(&database, "set('b','a','c')", &[("'a,b'", "text b,a"), ("''", "text ")]);
    refused(&database, "enum('a','b')", &["'a'", "'nosuch'"], 2, "index 0");
    refused(&database, "enum('a','')", &["'nosuch'"], 1, "index 0");
    expect(&database, "enum('ä','b') CHARACTER SET latin1", &[("'ä'", "text ä")]);
}

#[test]
fn m_13_to_m_16_dates_and_times() {
    let database = need_mariadb!().database("times");
    expect(
        &database,
        "date",
        &[
            ("'1000-01-01'", "text 1000-01-01"),
            ("'9999-12-31'", "text 9999-12-31"),
            ("'0001-01-01'", "text 0001-01-01"),
        ],
    );
    expect(
        &database,
        "datetime(6)",
        &[
            ("'0001-01-01 00:00:00'", "text 0001-01-01 00:00:00"),
            ("'9999-12-31 23:59:59.999999'", "text 9999-12-31 23:59:59.999999"),
            ("'2024-03-31 02:30:00.5'", "text 2024-03-31 02:30:00.5"),
        ],
    );
    expect(
        &database,
        "timestamp(6)",
        &[
            ("'1970-01-01 00:00:01'", "text 1970-01-01 00:00:01+00"),
            ("'2038-01-19 03:14:07.999999'", "text 2038-01-19 03:14:07.999999+00"),
        ],
    );
    expect(
        &database,
        "time(6)",
        &[
            ("'-838:59:59.999999'", "text -838:59:59.999999"),
            ("'838:59:59.999999'", "text 838:59:59.999999"),
            ("'00:00:00'", "text 00:00:00"),
            ("'-00:00:00.000001'", "text -00:00:00.000001"),
        ],
    );
    refused(&database, "date", &["'2024-01-01'", "'0000-00-00'"], 2, "zero");
    refused(&database, "date", &["'2023-00-10'"], 1, "zero");
    refused(&database, "date", &["'2023-02-31'"], 1, "month does not have");
    refused(&database, "datetime", &["'0000-00-00 00:00:00'"], 1, "zero");
    refused(&database, "timestamp", &["'0000-00-00 00:00:00'"], 1, "zero");
}

#[test]
fn m_15_a_moment_is_moved_by_a_zone_that_the_server_knows() {
    let database = need_mariadb!().database("zones");
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v timestamp(6) NULL); INSERT INTO t VALUES (1, '2024-03-31 01:00:00.25'), (2, NULL)",
    );
    let read_in = |zone: &str| {
        let mut moved = projection(&database, "t", &[("id", "int(11)"), ("v", "timestamp(6)")]);
        moved.columns[1].target_type = Type::Timestamp { precision: 6 };
        moved.columns[1].cast = Some(Cast { native: "timestamp(6)".into(), zone: Some(zone.into()) });
        let url = database.url();
        run(async move {
            let source = source_with(&url, 1).await?;
            let snapshot = source.snapshot().await?;
            read_all(snapshot.as_ref(), &moved).await
        })
    };
    assert_eq!(read_in("+02:00").unwrap(), [["int 1", "text 2024-03-31 03:00:00.25"], ["int 2", "null"]]);
    let error = read_in("Nowhere/City").expect_err("an unknown zone");
    assert!(error.to_string().contains("Nowhere/City"), "{error}");
}

#[test]
fn m_19_to_m_22_json_shapes_and_addresses() {
    let database = need_mariadb!().database("others");
    expect(&database, "json", &[(r#"'{"b": 1,  "a": [1.0e400]}'"#, r#"text {"b": 1,  "a": [1.0e400]}"#)]);
    expect(
        &database,
        "inet6",
        &[("'::ffff:1.2.3.4'", "text ::ffff:1.2.3.4"), ("'2001:db8::1'", "text 2001:db8::1")],
    );
    expect(
        &database,
        "uuid",
        &[("'123E4567-E89B-12D3-A456-426655440000'", "text 123e4567-e89b-12d3-a456-426655440000")],
    );
    // Number of the reference system, then well-known binary.
    expect(
        &database,
        "point",
        &[("POINT(1, 2)", "bytes 000000000101000000000000000000f03f0000000000000040")],
    );
}

#[test]
fn m_28_rows_of_many_columns() {
    let database = need_mariadb!().database("wide");
    for count in [8usize, 9, 16, 17, 600] {
        let names: Vec<String> = (0..count).map(|at| format!("c{at}")).collect();
        let defined: Vec<String> = names.iter().map(|name| format!("{name} int")).collect();
        let values: Vec<String> =
            (0..count).map(|at| if at % 3 == 0 { "NULL".into() } else { at.to_string() }).collect();
        database.execute(&format!(
            "DROP TABLE IF EXISTS w; CREATE TABLE w (id int PRIMARY KEY, {}); INSERT INTO w VALUES (1, {})",
            defined.join(", "),
            values.join(", ")
        ));
        let mut columns = vec![("id", "int(11)")];
        columns.extend(names.iter().map(|name| (name.as_str(), "int(11)")));
        let rows = run(async {
            let source = source_with(&database.url(), 1).await.unwrap();
            let snapshot = source.snapshot().await.unwrap();
            read_all(snapshot.as_ref(), &projection(&database, "w", &columns)).await.unwrap()
        });
        let expected: Vec<String> = values
            .iter()
            .map(|value| if value == "NULL" { "null".into() } else { format!("int {value}") })
            .collect();
        assert_eq!(rows[0][1..], expected[..], "{count}");
    }
}

#[test]
fn m_29_values_larger_than_the_servers_packet() {
    let Some(server) = Server::start(&[]) else { return };
    let database = server.database("large");
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a longtext CHARACTER SET utf8mb4, b longtext CHARACTER SET utf8mb3, \
         c longtext CHARACTER SET latin1, d longblob, e longtext CHARACTER SET sjis); \
         INSERT INTO t SELECT 1, x, x, x, x, x FROM (SELECT REPEAT('0123456789', 300000) AS x) AS y",
    );
    // What is stored stays: only sessions that begin now are held to it.
    server.admin("SET GLOBAL max_allowed_packet = 1048576");
    let natives =
        [("id", "int(11)"), ("a", "longtext"), ("b", "longtext"), ("c", "longtext"), ("d", "longblob")];
    let read = |columns: &[(&str, &str)]| {
        run(async {
            let source = source_with(&database.url(), 1).await.unwrap();
            let snapshot = source.snapshot().await.unwrap();
            read_all(snapshot.as_ref(), &projection(&database, "t", columns)).await
        })
    };
    let rows = read(&natives).unwrap();
    let lengths: Vec<usize> = rows[0].iter().map(String::len).collect();
    assert_eq!(lengths[1..], [3_000_005, 3_000_005, 3_000_005, 6_000_006]);
    // A character set whose values are proved: the proof may fail, the value may not be lost.
    match read(&[("id", "int(11)"), ("e", "longtext")]) {
        Ok(rows) => assert_eq!(rows[0][1].len(), 3_000_005),
        Err(error) => assert_eq!(error.cause, Cause::Data, "{error}"),
    }
}

#[test]
fn a_limit_that_the_server_sets_for_everybody_cuts_nothing_off() {
    let Some(server) = Server::start(&[]) else { return };
    let database = server.database("limited");
    database.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3)");
    server.admin("SET GLOBAL sql_select_limit = 2");
    let rows = run(async {
        let source = source_with(&database.url(), 1).await.unwrap();
        let snapshot = source.snapshot().await.unwrap();
        read_all(snapshot.as_ref(), &projection(&database, "t", &[("id", "int(11)")])).await.unwrap()
    });
    assert_eq!(rows.len(), 3);
}

#[test]
fn a_filter_and_odd_names() {
    let database = need_mariadb!().database("odd");
    outside(|| {
        database.execute(
            "CREATE TABLE `a``b \"x` (`i.d` int PRIMARY KEY, `sel``ect` varchar(9)); \
             INSERT INTO `a``b \"x` VALUES (1, 'a'), (2, 'b'), (3, NULL)",
        )
    });
    let mut some = projection(&database, "a`b \"x", &[("i.d", "int(11)"), ("sel`ect", "varchar(9)")]);
    some.filter = Some("`sel``ect` = 'a' OR `i.d` = 3".into());
    let (rows, count) = run(async {
        let source = source_with(&database.url(), 2).await.unwrap();
        let snapshot = source.snapshot().await.unwrap();
        (read_all(snapshot.as_ref(), &some).await.unwrap(), snapshot.count(&some).await.unwrap())
    });
    assert_eq!(rows, [["int 1", "text a"], ["int 3", "null"]]);
    assert_eq!(count, 2);
}
