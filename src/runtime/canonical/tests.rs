//! What verification takes for equal, and what it must never take for equal.

use proptest::prelude::*;

use super::*;
use crate::catalog::{Form, Name};

/// A cell in a test.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

fn text(text: &str) -> Value {
    Value::Text(text.to_string())
}

fn push(batch: &mut RowBatch, value: &Value) {
    match value {
        Value::Null => batch.push(Cell::Null),
        Value::Bool(value) => batch.push(Cell::Bool(*value)),
        Value::Int(value) => batch.push(Cell::Int(*value)),
        Value::Float(value) => batch.push(Cell::Float(*value)),
        Value::Text(value) => batch.push_text(value.as_bytes()),
        Value::Bytes(value) => batch.push_bytes(value),
    }
}

fn projection(source: &Type, target: &Type, columns: usize) -> Projection {
    let column = |number: usize| ColumnMap {
        source: format!("c{number}"),
        target: format!("c{number}"),
        source_type: source.clone(),
        source_native: String::new(),
        target_type: target.clone(),
        target_native: String::new(),
        not_null: false,
        zero_date: Default::default(),
        error_value_null: false,
        cast: None,
    };
    Projection {
        source: Name::new("a", "t"),
        target: Name::new("b", "t"),
        columns: (0..columns).map(column).collect(),
        filter: None,
        key: Vec::new(),
        form: Form::Rows,
    }
}

fn canon(source: &Type, target: &Type, columns: usize) -> Canon {
    Canon::new(&projection(source, target, columns), false, &Zones::new()).expect("comparable")
}

fn hash_row(canon: &Canon, row: &[Value]) -> u128 {
    let mut batch = RowBatch::new(row.len());
    row.iter().for_each(|value| push(&mut batch, value));
    batch.end_row();
    canon.hash(&batch, 0, &mut Vec::new()).row
}

/// Whether two values count as one in a column of this type.
fn same(ty: &Type, one: &Value, other: &Value) -> bool {
    let rule = canon(ty, ty, 1);
    hash_row(&rule, std::slice::from_ref(one)) == hash_row(&rule, std::slice::from_ref(other))
}

const TZ: Type = Type::TimestampTz { precision: 6 };
const PLAIN: Type = Type::Timestamp { precision: 6 };
const DECIMAL: Type = Type::Decimal { precision: None, scale: None };
const INT: Type = Type::Int { bits: 64 };
const FLOAT: Type = Type::Float { bits: 64 };
const JSONB: Type = Type::Json { binary: true };

#[test]
fn p_09_forms_of_one_value_are_one_value() {
    let equal = [
        (Type::Bool, Value::Bool(true), Value::Int(1)),
        (Type::Bool, Value::Bool(false), text("F")),
        (INT, Value::Int(7), Value::Float(7.0)),
        (INT, Value::Bool(true), Value::Int(1)),
        (DECIMAL, text("12.300"), text("12.3")),
        (DECIMAL, text("-0.00"), Value::Int(0)),
        (DECIMAL, text("1.5e3"), Value::Int(1500)),
        (DECIMAL, text("nan"), text("NaN")),
        (DECIMAL, text("0.000001"), Value::Float(0.000001)),
        (FLOAT, Value::Float(-0.0), Value::Int(0)),
        (FLOAT, Value::Float(f64::NAN), text("NaN")),
        (Type::Float { bits: 32 }, Value::Float(0.1), Value::Float(f64::from(0.1_f32))),
        (Type::Char { length: 5 }, text("ab   "), text("ab")),
        (
            Type::Uuid,
            text("{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}"),
            text("a0eebc999c0b4ef8bb6d6bb9bd380a11"),
        ),
        (Type::Blob, text("ab"), Value::Bytes(b"ab".to_vec())),
        (Type::Date, text("2024-02-29"), text("2024-02-29 00:00:00")),
        (Type::Time { precision: 6, zone: true }, text("10:00:00.50Z"), text("10:00:00.5+00")),
        (PLAIN, text("2024-02-29T10:00"), text("2024-02-29 10:00:00.000")),
        (PLAIN, text("2024-02-29"), text("2024-02-29 00:00:00")),
        (TZ, text("2024-02-29T10:00:00+02:30"), text("2024-02-29 07:30:00Z")),
        (TZ, text("2023-12-31 23:59:59.9999996+00"), text("2024-01-01 00:00:00+00")),
        (TZ, text("0044-03-15 10:00:00+00 BC"), text("0044-03-15 11:00:00+01 BC")),
        (
            JSONB,
            text(r#"{"b": 1.0, "a": "\u00e9\ud83d\ude00", "a2": [ ]}"#),
            text("{\"a\":\"é😀\",\"a2\":[],\"b\":1}"),
        ),
        (JSONB, text(r#"{"a":1,"a":2}"#), text(r#"{"a":2}"#)),
    ];
    for (ty, one, other) in equal {
        assert!(same(&ty, &one, &other), "{ty:?}: {one:?} and {other:?}");
    }
}

#[test]
fn p_09_other_values_stay_other_values() {
    let other = [
        (Type::Bool, Value::Bool(true), Value::Int(2)),
        (INT, Value::Int(i64::MAX), Value::Int(i64::MAX - 1)),
        (INT, Value::Int(9007199254740993), Value::Float(9007199254740992.0)),
        (DECIMAL, text("0.1"), text("0.10000000000000000001")),
        (DECIMAL, text("1e3"), text("1e4")),
        (DECIMAL, text("Infinity"), text("-Infinity")),
        (DECIMAL, text("12"), text("1.2")),
        (FLOAT, Value::Float(0.1), Value::Float(0.1 + f64::EPSILON)),
        (Type::Text, text("ab "), text("ab")),
        (Type::Text, text("12.30"), text("12.3")),
        (Type::Char { length: 5 }, text(" ab"), text("ab")),
        (Type::Blob, Value::Bytes(vec![1, 0]), Value::Bytes(vec![1])),
        (Type::Date, text("2024-02-29"), text("2024-03-01")),
        (Type::Date, text("2024-02-30"), text("2024-03-01")),
        (TZ, text("2024-02-29 10:00:00+00"), text("2024-02-29 10:00:00+01")),
        (TZ, text("infinity"), text("-infinity")),
        (TZ, text("0044-03-15 10:00:00+00 BC"), text("0044-03-15 10:00:00+00")),
        (PLAIN, text("2024-02-29 10:00:00.1"), text("2024-02-29 10:00:00.01")),
        (Type::Any, Value::Int(1), Value::Float(1.0)),
        (Type::Any, Value::Int(1), text("1")),
        (Type::Any, Value::Bytes(b"a".to_vec()), text("a")),
        (JSONB, text("[1, 2]"), text("[2, 1]")),
        (JSONB, text("[12345678901234567890]"), text("[12345678901234567891]")),
        (JSONB, text(r#""1""#), text("1")),
        (Type::Json { binary: false }, text("{ }"), text("{}")),
    ];
    for (ty, one, other) in other {
        assert!(!same(&ty, &one, &other), "{ty:?}: {one:?} and {other:?}");
    }
}

#[test]
fn a_moment_kept_as_text_may_be_spelled_by_its_engine() {
    let rule = canon(&TZ, &Type::Text, 1);
    let (zulu, offset) = (text("2024-02-29T10:00:00Z"), text("2024-02-29 10:00:00+00"));
    assert_eq!(hash_row(&rule, &[zulu]), hash_row(&rule, &[offset]));
    let rule = canon(&Type::Text, &Type::Text, 1);
    let (zulu, offset) = (text("2024-02-29T10:00:00Z"), text("2024-02-29 10:00:00+00"));
    assert_ne!(hash_row(&rule, &[zulu]), hash_row(&rule, &[offset]));
}

#[test]
fn a_cast_to_another_zone_is_followed_or_refused() {
    let cast = |source: &Type, target: &Type, zone: &str| {
        let mut projection = projection(source, target, 1);
        projection.columns[0].cast =
            Some(crate::catalog::Cast { native: String::new(), zone: Some(zone.to_string()) });
        let steps = vec![(0, 3600), (1_711_850_400, 7200)];
        let zurich = Arc::new(Zone { steps, until: 16_725_225_600 });
        Canon::new(&projection, false, &Zones::from([("Europe/Zurich".to_string(), zurich)]))
    };
    let same = |canon: &Canon, one: &str, other: &str| {
        hash_row(canon, &[text(one)]) == hash_row(canon, &[text(other)])
    };
    let east = cast(&PLAIN, &TZ, "+02:00").expect("a fixed offset");
    assert!(same(&east, "2024-02-29 10:00:00", "2024-02-29 08:00:00+00"));
    let utc = cast(&PLAIN, &TZ, "UTC").expect("a fixed offset");
    assert!(same(&utc, "2024-02-29 10:00:00", "2024-02-29 10:00:00+00"));
    let away = cast(&TZ, &PLAIN, "+02:00").expect("a fixed offset");
    assert!(same(&away, "2024-02-29 08:00:00+00", "2024-02-29 10:00:00"));
    // With a history that a server told: before and after the clocks were changed.
    let zurich = cast(&PLAIN, &TZ, "Europe/Zurich").expect("a known zone");
    assert!(same(&zurich, "2024-03-31 01:59:59", "2024-03-31 00:59:59+00"));
    assert!(same(&zurich, "2024-03-31 03:00:00", "2024-03-31 01:00:00+00"));
    assert!(!same(&zurich, "2024-03-31 03:00:00", "2024-03-31 02:00:00+00"));
    let moved = cast(&TZ, &PLAIN, "Europe/Zurich").expect("moved by the source");
    assert!(same(&moved, "2024-03-31 03:00:00", "2024-03-31 03:00:00"));
    assert!(cast(&PLAIN, &TZ, "Mars/Olympus").is_err());
}

#[test]
fn p_07_columns_are_apart_and_null_is_not_a_text() {
    let rule = canon(&Type::Text, &Type::Text, 2);
    let rows = [
        [text("a"), text("bc")],
        [text("ab"), text("c")],
        [Value::Null, text("")],
        [text(""), Value::Null],
        [text(""), text("")],
        [text("NULL"), text("")],
        [Value::Null, Value::Null],
        [text("\0"), text("")],
    ];
    for (at, one) in rows.iter().enumerate() {
        for (other_at, other) in rows.iter().enumerate() {
            assert_eq!(hash_row(&rule, one) == hash_row(&rule, other), at == other_at, "{one:?} {other:?}");
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        ".{0,12}".prop_map(Value::Text),
        proptest::collection::vec(any::<u8>(), 0..12).prop_map(Value::Bytes),
    ]
}

proptest! {
    /// Rows that differ in any cell differ in their hash, whatever the cells run into.
    #[test]
    fn p_07_a_hash_is_equal_only_for_equal_rows(
        one in proptest::collection::vec(value(), 3),
        other in proptest::collection::vec(value(), 3),
    ) {
        let rule = canon(&Type::Any, &Type::Any, 3);
        let bits = |row: &[Value]| format!("{row:?}");
        let number = |row: &[Value]| row.iter().map(|value| match value {
            Value::Bool(truth) => Value::Int(i64::from(*truth)),
            other => other.clone(),
        }).collect::<Vec<_>>();
        let equal = bits(&number(&one)) == bits(&number(&other));
        prop_assert_eq!(hash_row(&rule, &one) == hash_row(&rule, &other), equal);
    }

    #[test]
    fn p_09_an_integer_is_one_number_in_all_its_forms(number: i32, zeros in 0usize..5) {
        let (ty, plain) = (DECIMAL, Value::Int(i64::from(number)));
        let sign = if number < 0 { "-" } else { "" };
        let digits = number.unsigned_abs();
        let spelled = format!("{sign}{}{digits}.{}", "0".repeat(zeros), "0".repeat(zeros));
        prop_assert!(same(&ty, &plain, &Value::Text(spelled)));
        prop_assert!(same(&ty, &plain, &Value::Float(f64::from(number))));
        let mixed = Value::Text(format!("{sign}{digits}e0"));
        prop_assert!(same(&ty, &plain, &mixed));
    }

    #[test]
    fn p_09_a_moment_is_one_in_all_zones(seconds in 0i64..4_000_000_000, hours in -12i64..=12) {
        let at = |seconds: i64, zone: &str| {
            let (days, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
            let date = jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(days);
            let (h, m, s) = (clock / 3600, clock / 60 % 60, clock % 60);
            Value::Text(format!("{date} {h:02}:{m:02}:{s:02}{zone}"))
        };
        let local = at(seconds + hours * 3600, &format!("{hours:+03}"));
        prop_assert!(same(&TZ, &at(seconds, "+00"), &local));
        let other = at(seconds + hours * 3600 + 1, &format!("{hours:+03}"));
        prop_assert!(!same(&TZ, &at(seconds, "+00"), &other));
    }

    #[test]
    fn p_13_any_text_is_compared_under_any_type(one: String) {
        for ty in [Type::Bool, INT, DECIMAL, FLOAT, TZ, PLAIN, JSONB, Type::Uuid, Type::Date] {
            prop_assert!(same(&ty, &text(&one), &text(&one)));
        }
    }
}
