//! The questions that PostgreSQL is asked about rows before anything moves, with their answers
//! counted by hand.

use towpath::catalog::probe::{End, Question};
use towpath::catalog::{Dialect, Name, Probe, Type};
use towpath::engine::postgres::dialect::DIALECT;

use crate::need_server;
use crate::support::postgres::Database;

const TABLE: &str = "
create table parents (id int primary key);
insert into parents values (1), (2);
create table \"Odd \"\"t\" (
  id int, t text, n numeric, f float8, d date, ts timestamptz, \"par ent\" int, big bigint
);
insert into \"Odd \"\"t\" values
  (1, 'abc',  1.5,    1,          '2020-01-01',    '2020-01-01',       1,    5),
  (2, 'ABC',  123.45, 'NaN',      'infinity',      '-infinity',        3,    -7),
  (3, 'äöüß', 'NaN',  'Infinity', '0044-03-15 BC', '0044-03-15 BC',    null, 9000000000),
  (4, null,   null,   null,       null,            null,               2,    null),
  (5, '12',   99.994, -2.5,       '10000-01-01',   '10000-01-01',      4,    1),
  (6, 'abc',  -100,   0,          '9999-12-31',    '9999-12-31 12:00', 4,    2)
";

/// Count and extremes, as the query answers them.
fn answer(
    database: &Database,
    column: Option<&str>,
    filter: Option<&str>,
    question: Question,
) -> (String, Option<String>, Option<String>) {
    let probe = Probe {
        code: "V000".into(),
        end: End::Source,
        table: Name::new("public", "Odd \"t"),
        column: column.map(str::to_string),
        question,
        filter: filter.map(str::to_string),
    };
    let query = DIALECT.probe(&probe).unwrap();
    let mut rows = database.rows(&query);
    assert_eq!((rows.len(), rows[0].len()), (1, 3), "one row of three values from {query}");
    let row = rows.remove(0);
    (row[0].clone().unwrap(), row[1].clone(), row[2].clone())
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| word.to_string()).collect()
}

#[test]
fn every_question_is_answered_with_one_row() {
    let server = need_server!();
    let database = server.database("probe");
    database.execute(TABLE);
    let decimal = |precision, scale| Question::DecimalBeyond { precision, scale };
    let of_type = |ty| Question::NotOfType { ty };
    let duplicate = |ignoring_case| Question::Duplicate { columns: words(&["t"]), ignoring_case };
    let orphan = Question::Orphan {
        columns: words(&["par ent"]),
        parent: Name::new("public", "parents"),
        parent_columns: words(&["id"]),
    };
    for (column, filter, question, rows) in [
        (None, None, Question::AnyRow, "1"),
        (None, Some("id > 6"), Question::AnyRow, "0"),
        (None, Some("t = 'abc'"), Question::FilteredOut, "4"),
        (Some("t"), None, Question::NotNull, "5"),
        (Some("t"), Some("id < 3"), Question::NotNull, "2"),
        (Some("t"), None, Question::Null, "1"),
        (Some("t"), None, Question::LongerThan { characters: 3 }, "1"),
        (Some("f"), None, Question::NotFinite { nan_only: false }, "2"),
        (Some("f"), None, Question::NotFinite { nan_only: true }, "1"),
        (Some("n"), None, Question::NotFinite { nan_only: true }, "1"),
        (Some("d"), None, Question::DateBeyond, "3"),
        (Some("ts"), None, Question::DateBeyond, "3"),
        (Some("n"), None, decimal(4, 2), "4"),
        (Some("n"), None, decimal(6, 3), "1"),
        (Some("t"), None, Question::NotIn { values: words(&["abc", "it's"]) }, "3"),
        (Some("t"), None, Question::NotIn { values: vec![] }, "5"),
        (Some("t"), None, of_type(Type::Int { bits: 32 }), "4"),
        (None, None, orphan, "3"),
        (None, None, duplicate(false), "2"),
        (None, None, duplicate(true), "3"),
        (None, Some("id <> 6"), duplicate(false), "0"),
        (None, None, Question::CheckFails { condition: "id < 3".into() }, "4"),
        (None, Some("id = 1"), Question::CheckFails { condition: "id < 3".into() }, "0"),
    ] {
        let name = format!("{question:?} of {column:?} where {filter:?}");
        assert_eq!(answer(&database, column, filter, question).0, rows, "{name}");
    }
}

#[test]
fn v_201_a_range_is_answered_with_its_extremes() {
    let server = need_server!();
    let database = server.database("probe");
    database.execute(TABLE);
    let range = || Question::OutsideRange { min: "-2147483648".into(), max: "2147483647".into() };
    let some = |text: &str| Some(text.to_string());
    assert_eq!(answer(&database, Some("big"), None, range()), ("1".into(), some("-7"), some("9000000000")));
    assert_eq!(answer(&database, Some("big"), Some("id > 4"), range()), ("0".into(), some("1"), some("2")));
    let hostile = Question::OutsideRange { min: "0".into(), max: "1; drop table parents".into() };
    let probe = Probe {
        code: "V201".into(),
        end: End::Source,
        table: Name::new("public", "parents"),
        column: Some("id".into()),
        question: hostile,
        filter: None,
    };
    assert_eq!(DIALECT.probe(&probe), None, "a bound is a number or the question is not asked");
}
