//! The neutral expressions, in the two kinds of syntax there are.

use proptest::prelude::*;

use super::normal::{and, not, or};
use super::*;
use crate::catalog::{Column, Table, Type};

fn server_cast(native: &str) -> CastKind {
    match native {
        "text" | "character varying" => CastKind::Text,
        "integer" | "bigint" => CastKind::Integer,
        "numeric" | "double precision" => CastKind::Number,
        "bytea" => CastKind::Bytes,
        "boolean" => CastKind::Bool,
        "date" => CastKind::Moment(Now::Date),
        "timestamp without time zone" => CastKind::Moment(Now::Timestamp),
        "uuid" | "public.status" => CastKind::Canonical,
        native if native.starts_with("character varying(") => CastKind::LimitedText,
        _ => CastKind::Other,
    }
}

const FUNCTIONS: &[(&str, &str)] = &[
    ("lower", "lower"),
    ("upper", "upper"),
    ("length", "length"),
    ("abs", "abs"),
    ("coalesce", "coalesce"),
    ("trim", "trim"),
    ("btrim", "trim"),
    ("nullif", "nullif"),
    ("round", "round"),
];

/// As PostgreSQL writes.
const SERVER: Syntax = Syntax {
    tokens: Rules {
        backticks: false,
        brackets: false,
        escapes: true,
        dollar_quotes: true,
        nested_comments: true,
        open_operators: true,
        named_params: false,
    },
    quote: |name| format!("\"{}\"", name.replace('"', "\"\"")),
    literal: |text| format!("'{}'", text.replace('\'', "''")),
    ignores_case: false,
    quoted_may_be_text: false,
    boolean_words: true,
    bytes: BytesStyle::Bytea,
    concat_binds_tight: false,
    like: LikeStyle::CaseAndEscape,
    cast: server_cast,
    now: &[
        ("CURRENT_TIMESTAMP", Now::Timestamp),
        ("now()", Now::Timestamp),
        ("CURRENT_DATE", Now::Date),
        ("CURRENT_TIME", Now::Time),
    ],
    functions: FUNCTIONS,
};

/// As SQLite writes.
const LITE: Syntax = Syntax {
    tokens: Rules {
        backticks: true,
        brackets: true,
        escapes: false,
        dollar_quotes: false,
        nested_comments: false,
        open_operators: false,
        named_params: true,
    },
    ignores_case: true,
    quoted_may_be_text: true,
    bytes: BytesStyle::Hex,
    concat_binds_tight: true,
    like: LikeStyle::Glob,
    cast: |_| CastKind::Other,
    now: &[
        ("CURRENT_TIMESTAMP", Now::Timestamp),
        ("datetime('now')", Now::Timestamp),
        ("CURRENT_DATE", Now::Date),
        ("date('now')", Now::Date),
        ("CURRENT_TIME", Now::Time),
    ],
    ..SERVER
};

fn table() -> Table {
    let column = |name: &str, ty: Type| Column {
        name: name.to_string(),
        ty,
        native: String::new(),
        not_null: false,
        default: None,
        generated: None,
        identity: None,
        collation: None,
        storage: None,
        compression: None,
        unchecked_text: false,
        inherited: false,
        portable: false,
        stamped: false,
        comment: None,
    };
    Table {
        columns: vec![
            column("a", Type::Int { bits: 32 }),
            column("b", Type::Int { bits: 32 }),
            column("name", Type::VarChar { length: 9 }),
            column("on_sale", Type::Bool),
            column("price", Type::Decimal { precision: None, scale: None }),
        ],
        ..Table::default()
    }
}

fn server(text: &str) -> Option<Expr> {
    parse_of(text, &SERVER, &table())
}

fn lite(text: &str) -> Option<Expr> {
    parse_of(text, &LITE, &table())
}

#[test]
fn what_two_engines_print_for_one_meaning_is_one_tree() {
    for (printed, written) in [
        ("((a >= 1) AND (a <= 5))", "a BETWEEN 1 AND 5"),
        ("((a < 1) OR (a > 5))", "a NOT BETWEEN 1 AND 5"),
        ("(((a >= 1) AND (a <= 5)) AND on_sale)", "a between 1 and 5 and ON_SALE"),
        (
            "((name)::text = ANY ((ARRAY['x'::character varying, 'y'::character varying])::text[]))",
            "name IN ('x','y')",
        ),
        ("(a = ANY (ARRAY[1, 2, 3]))", "a in (1, 2, 3)"),
        ("(a <> ALL (ARRAY[1, 2]))", "a not in (1,2)"),
        ("((a = 1) OR (a = 2))", "a IN (1, 2)"),
        ("((name)::text = 'x'::text)", "\"name\" = \"x\""),
        ("((name)::text = 'it''s'::text)", "(name == 'it''s')"),
        ("(a > '-1'::integer)", "a > -1"),
        ("(price >= (0)::numeric)", "price >= 0"),
        ("(price >= 0.50)", "price >= 00.50"),
        ("(NOT (a IS NULL))", "a IS NOT NULL"),
        ("(a IS NOT NULL)", "a NOTNULL"),
        ("((name)::text ~~ '%@%'::text)", "name LIKE '%@%'"),
        ("((name)::text !~~ 'ab\\%c%'::text)", "name NOT GLOB 'ab%c*'"),
        ("(length((name)::text) > 3)", "length(name)>3"),
        ("(a = ANY (ARRAY['1'::integer, '-2'::integer]))", "a in (1,-2)"),
        ("COALESCE((a + 1), abs((b * 2)))", "coalesce(a+1, abs(b*2))"),
        ("TRIM(BOTH FROM name)", "trim([name])"),
        ("(((name)::text || '-'::text) || 'x'::text)", "name || '-' || 'x'"),
    ] {
        let (printed_as, written_as) = (server(printed), lite(written));
        assert!(printed_as.is_some(), "{printed}");
        assert_eq!(printed_as, written_as, "{printed} and {written}");
    }
}

#[test]
fn defaults_see_no_column() {
    let empty = Table::default();
    for (printed, written, expected) in [
        ("'x'::character varying", "\"x\"", Expr::Text("x".into())),
        ("now()", "datetime('now')", Expr::Now(Now::Timestamp)),
        ("CURRENT_TIMESTAMP", "current_timestamp", Expr::Now(Now::Timestamp)),
        ("('now'::text)::date", "(date('now'))", Expr::Now(Now::Date)),
        ("'\\x00ff'::bytea", "X'00FF'", Expr::Bytes(vec![0, 255])),
        ("NULL::character varying", "null", Expr::Null),
        ("true", "TRUE", Expr::Bool(true)),
        ("'-1.50'::numeric", "-1.50", Expr::Number("-1.50".into())),
        ("1e+10", "1E10", Expr::Number("1e10".into())),
    ] {
        assert_eq!(parse_of(printed, &SERVER, &empty).as_ref(), Some(&expected), "{printed}");
        assert_eq!(parse_of(written, &LITE, &empty).as_ref(), Some(&expected), "{written}");
    }
    assert_eq!(parse_of("name", &LITE, &empty), None);
}

#[test]
fn what_may_mean_something_else_is_refused() {
    for text in [
        "(on_sale)::text = 'true'::text",
        "(a = 5) = true = false",
        "name LIKE 'a%' ESCAPE '!'",
        "price / a",
        "now() - 1",
        "name + 1",
        "public.f(a)",
        "random()",
        "CURRENT_USER",
        "'today'::date",
        "'1 day'::interval",
        "(price)::integer",
        "a IS DISTINCT FROM b",
        "name COLLATE \"C\"",
        "(SELECT 1)",
        "a = $1",
        "a; b",
        "missing = 1",
        "(a, b)",
        "ARRAY[a]",
        "a = ANY (b)",
        "",
    ] {
        assert_eq!(server(text), None, "{text}");
    }
    for text in [
        "name LIKE 'a%'",
        "name GLOB '[ab]*'",
        "datetime('now','localtime')",
        "a = ?1",
        "a IS b",
        "name || a * 2 || 'x'",
    ] {
        assert_eq!(lite(text), None, "{text}");
    }
    assert_eq!(parse("\"x\" = 1", &LITE), None, "a column or a string, nobody knows");
}

#[test]
fn deep_and_long_texts_end() {
    let deep = format!("{}1{}", "(".repeat(50_000), ")".repeat(50_000));
    let long = format!("a{}", " + a".repeat(50_000));
    let many = format!("a IN ({}1)", "-1, ".repeat(20_000));
    let nots = format!("{}a", "NOT ".repeat(50_000));
    assert_eq!((server(&deep), server(&long), server(&nots)), (None, None, None));
    assert!(server(&many).is_some());
}

#[test]
fn columns_are_found_and_renamed() {
    let mut expr = server("((a + b) > 1) AND (name IS NULL)").expect("neutral");
    assert_eq!(expr.columns().into_iter().collect::<Vec<_>>(), ["a", "b", "name"]);
    expr.rename(&|name| (name == "a").then(|| "z".to_string()));
    assert_eq!(expr.columns().into_iter().collect::<Vec<_>>(), ["b", "name", "z"]);
}

fn leaf() -> impl Strategy<Value = Expr> {
    prop_oneof![
        prop_oneof!["a", "b", "name", "on_sale", "price"].prop_map(Expr::Column),
        Just(Expr::Null),
        any::<bool>().prop_map(Expr::Bool),
        any::<i32>().prop_map(|n| Expr::Number(n.to_string())),
        "[^\0]{0,6}".prop_map(Expr::Text),
        proptest::collection::vec(any::<u8>(), 0..4).prop_map(Expr::Bytes),
        prop_oneof![Just(Now::Timestamp), Just(Now::Date), Just(Now::Time)].prop_map(Expr::Now),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    leaf().prop_recursive(4, 40, 4, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let all = || proptest::collection::vec(inner.clone(), 2..4);
        let op =
            prop_oneof![Just(Op::Eq), Just(Op::Ne), Just(Op::Lt), Just(Op::Le), Just(Op::Gt), Just(Op::Ge)];
        let number = prop_oneof![
            prop_oneof!["a", "b"].prop_map(Expr::Column),
            any::<i16>().prop_map(|n| Expr::Number(n.to_string())),
            Just(Expr::Negate(Box::new(Expr::Column("a".into())))),
        ];
        let sign = prop_oneof![Just(Op::Add), Just(Op::Sub), Just(Op::Mul), Just(Op::Div), Just(Op::Mod)];
        prop_oneof![
            inner.clone().prop_map(not),
            all().prop_map(and),
            all().prop_map(or),
            (op, inner.clone(), inner.clone()).prop_map(|(op, a, b)| Expr::binary(op, a, b)),
            (sign, number.clone(), number).prop_map(|(op, a, b)| Expr::binary(op, a, b)),
            (boxed(), any::<bool>()).prop_map(|(of, negated)| Expr::IsNull { of, negated }),
            (boxed(), all(), any::<bool>()).prop_map(|(of, list, negated)| Expr::In { of, list, negated }),
            (boxed(), boxed(), boxed(), any::<bool>()).prop_map(|(of, low, high, negated)| Expr::Between {
                of,
                low,
                high,
                negated
            }),
            (boxed(), "([a-c%_*?\\[\\]é-]|\\\\[%_\\\\]){0,6}", any::<bool>()).prop_map(
                |(of, text, negated)| { Expr::Like { of, pattern: Box::new(Expr::Text(text)), negated } }
            ),
            (prop_oneof![Just("lower"), Just("abs"), Just("trim")], inner)
                .prop_map(|(name, arg)| Expr::Call { name: name.into(), args: vec![arg] }),
        ]
    })
}

proptest! {
    #[test]
    fn p_13_what_is_spelled_is_read_back(expr in expr()) {
        for syntax in [SERVER, LITE] {
            let text = spell(&expr, &syntax).expect("all of it can be said");
            prop_assert_eq!(parse_of(&text, &syntax, &table()), Some(expr.clone()), "{}", text);
        }
    }

    #[test]
    fn p_13_any_text_is_read_or_refused(text in "([a-e()'\"=<>:.,0-9 ]|AND|OR|NOT|IN|::text|ANY|ARRAY|\\[|\\]|LIKE|IS NULL){0,30}") {
        for syntax in [SERVER, LITE] {
            if let Some(expr) = parse(&text, &syntax) {
                let again = spell(&expr, &syntax).expect("what was read can be written");
                prop_assert_eq!(parse_of(&again, &syntax, &everything(&expr)), Some(expr), "{}", again);
            }
        }
    }
}

/// A table with the columns that an expression names.
fn everything(expr: &Expr) -> Table {
    let mut table = table();
    let sample = table.columns[0].clone();
    let known = |name: &str| sample.name == name;
    table.columns = expr
        .columns()
        .into_iter()
        .map(|name| if known(name) { sample.clone() } else { Column { name: name.into(), ..sample.clone() } })
        .collect();
    table
}
