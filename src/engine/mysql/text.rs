//! Expressions: what a server prints, or a user writes in `where:`, in standard form, and from
//! there into the neutral subset. Strings compare by collation here, so that a comparison of text
//! is only neutral where the column compares by bytes, or its labels are known.

use crate::catalog::dialect::Unspeakable;
use crate::catalog::expr::{self, BytesStyle, CastKind, LikeStyle, Now, Op, Syntax};
use crate::catalog::token::{self, Rules};
use crate::catalog::{Column, Expr, Table, Type};

use super::quote;

const RULES: Rules = Rules {
    backticks: true,
    brackets: false,
    escapes: false,
    dollar_quotes: false,
    nested_comments: false,
    open_operators: false,
    named_params: true,
};

const READ: Syntax = Syntax {
    tokens: RULES,
    quote: quote::identifier,
    literal: quote::literal,
    ignores_case: true,
    quoted_may_be_text: false,
    boolean_words: true,
    bytes: BytesStyle::Hex,
    concat_binds_tight: true,
    like: LikeStyle::CaseAndEscape,
    cast,
    now: &[
        ("current_timestamp()", Now::Timestamp),
        ("current_timestamp", Now::Timestamp),
        ("current_timestamp(0)", Now::Timestamp),
        ("current_timestamp(1)", Now::Timestamp),
        ("current_timestamp(2)", Now::Timestamp),
        ("current_timestamp(3)", Now::Timestamp),
        ("current_timestamp(4)", Now::Timestamp),
        ("current_timestamp(5)", Now::Timestamp),
        ("current_timestamp(6)", Now::Timestamp),
        ("now()", Now::Timestamp),
        ("localtimestamp()", Now::Timestamp),
        ("curdate()", Now::Date),
        ("current_date()", Now::Date),
        ("current_date", Now::Date),
        ("curtime()", Now::Time),
        ("current_time()", Now::Time),
    ],
    // `length` counts bytes, and `round` rounds binary numbers in another way.
    functions: &[
        ("char_length", "length"),
        ("character_length", "length"),
        ("lower", "lower"),
        ("lcase", "lower"),
        ("upper", "upper"),
        ("ucase", "upper"),
        ("abs", "abs"),
        ("coalesce", "coalesce"),
        ("ifnull", "coalesce"),
        ("nullif", "nullif"),
        ("trim", "trim"),
    ],
};

pub(super) static SYNTAX: Syntax = READ;

/// As [`SYNTAX`]; a server prints truth as 1.
static SPELLED: Syntax = Syntax { boolean_words: false, ..READ };

/// Writes a neutral expression. What the signs mean otherwise here is refused.
pub(super) fn spell(expr: &Expr) -> Result<String, Unspeakable> {
    let mut rest = vec![expr];
    while let Some(part) = rest.pop() {
        let what = match part {
            Expr::Binary { op: Op::Div | Op::Mod, .. } => "a division, which rounds in another way",
            Expr::Binary { op: Op::Concat, .. } => "||, which is OR there",
            Expr::Bytes(_) => "a literal of bytes",
            _ => {
                rest.extend(part.parts());
                continue;
            }
        };
        return Err(Unspeakable { what: what.into() });
    }
    expr::spell(expr, &SPELLED)
}

fn cast(native: &str) -> CastKind {
    match native.split('(').next().unwrap_or(native).trim() {
        "char" if !native.contains('(') => CastKind::Text,
        "char" => CastKind::LimitedText,
        "signed" | "signed integer" => CastKind::Integer,
        "decimal" | "double" => CastKind::Number,
        _ => CastKind::Other,
    }
}

/// A text in standard form: strings in single quotes without escapes, words for `&&`, no comments.
/// An error names what it holds that has no such form.
pub(super) fn standard(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '\'' | '"' => string(rest, first, &mut out)?,
            '`' => {
                let end = closing_tick(rest).ok_or("a name that is never closed")?;
                out.push_str(&rest[..end]);
                &rest[end..]
            }
            '#' => return Err("a comment".into()),
            _ if rest.starts_with("--") || rest.starts_with("/*") => return Err("a comment".into()),
            _ if rest.starts_with("&&") => {
                out.push_str(" and ");
                &rest[2..]
            }
            _ if rest.starts_with("||") => {
                return Err("||, which is OR here and joins texts elsewhere".into());
            }
            c if c.is_alphanumeric() || c == '_' => word(rest, &mut out)?,
            c => {
                out.push(c);
                &rest[c.len_utf8()..]
            }
        };
    }
    Ok(out)
}

fn closing_tick(text: &str) -> Option<usize> {
    let mut at = 1;
    loop {
        at += text[at..].find('`')? + 1;
        match text[at..].starts_with('`') {
            true => at += 1,
            false => return Some(at),
        }
    }
}

/// Copies a string in standard form; gives what follows.
fn string<'a>(text: &'a str, quote: char, out: &mut String) -> Result<&'a str, String> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                let Some((_, escaped)) = chars.next() else { break };
                match escaped {
                    '0' => value.push('\0'),
                    'n' => value.push('\n'),
                    'r' => value.push('\r'),
                    't' => value.push('\t'),
                    'b' => value.push('\u{8}'),
                    'Z' => value.push('\u{1a}'),
                    // Kept with the backslash, for LIKE.
                    '%' | '_' => value.extend(['\\', escaped]),
                    other => value.push(other),
                }
            }
            c if c == quote => match chars.peek() {
                Some((_, next)) if *next == quote => {
                    value.push(quote);
                    chars.next();
                }
                _ => {
                    out.push('\'');
                    out.push_str(&value.replace('\'', "''"));
                    out.push('\'');
                    return Ok(&text[at + 1..]);
                }
            },
            c => value.push(c),
        }
    }
    Err("a string that is never closed".into())
}

/// Copies a word or number. `_utf8mb4'x'` loses its first part, `0xff` and `b'1'` change theirs.
fn word<'a>(text: &'a str, out: &mut String) -> Result<&'a str, String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || "_$".contains(c))).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let quoted = rest.trim_start().starts_with('\'');
    let lower = word.to_ascii_lowercase();
    if quoted && lower.starts_with('_') && lower.len() > 1 {
        let rest = rest.trim_start();
        let start = out.len();
        let after = string(rest, '\'', out)?;
        // A text in another encoding, as it is printed here, may be shown as other characters.
        let unicode = lower.starts_with("_utf8") || lower == "_ucs2" || lower.starts_with("_utf16");
        return match unicode || out[start..].is_ascii() && lower != "_binary" {
            true => Ok(after),
            false => Err(format!("a string in {word}")),
        };
    }
    if quoted && lower == "b" && rest.starts_with('\'') {
        return string(rest, '\'', out);
    }
    match lower.strip_prefix("0x") {
        Some(digits) if digits.len() % 2 == 0 && !digits.is_empty() => {
            out.push_str(&format!("x'{digits}'"));
        }
        _ => out.push_str(word),
    }
    Ok(rest)
}

/// Reads a text without knowing its table.
pub(super) fn parse(native: &str) -> Option<Expr> {
    let expr = expr::parse(&standard(native).ok()?, &SYNTAX)?;
    is_neutral(&expr, &Table::default()).then_some(expr)
}

/// Reads a text of that table; an empty one for defaults.
pub(super) fn parse_of(native: &str, table: &Table) -> Option<Expr> {
    let expr = expr::parse_of(&standard(native).ok()?, &SYNTAX, table)?;
    // A comparison is a number here: as the value of a column it would be another type elsewhere.
    let is_value = table
        .columns
        .iter()
        .any(|column| column.generated.as_ref().is_some_and(|generated| generated.native == native));
    let decides = is_value && is_condition(&expr);
    (!decides && is_neutral(&expr, table)).then_some(expr)
}

fn is_condition(expr: &Expr) -> bool {
    match expr {
        Expr::Not(_) | Expr::And(_) | Expr::Or(_) | Expr::IsNull { .. } => true,
        Expr::In { .. } | Expr::Between { .. } | Expr::Like { .. } | Expr::Bool(_) => true,
        Expr::Binary { op, .. } => op.compares(),
        _ => false,
    }
}

/// How a side of a comparison compares.
#[derive(Clone, Copy, PartialEq)]
enum Side<'a> {
    Text { of: Option<&'a Column> },
    Literal(&'a str),
    Number,
    Other,
}

fn side<'a>(expr: &'a Expr, table: &'a Table) -> Side<'a> {
    match expr {
        Expr::Text(text) => Side::Literal(text),
        Expr::Number(_) | Expr::Negate(_) => Side::Number,
        Expr::Column(name) => match table.column(name) {
            Some(column) => match column.ty {
                Type::Text
                | Type::VarChar { .. }
                | Type::Char { .. }
                | Type::Enum { .. }
                | Type::Set { .. } => Side::Text { of: Some(column) },
                Type::Int { .. } | Type::UInt { .. } | Type::Decimal { .. } | Type::Float { .. } => {
                    Side::Number
                }
                _ => Side::Other,
            },
            None => Side::Other,
        },
        Expr::Call { name, args } => match name.as_str() {
            "length" | "abs" => Side::Number,
            _ => args.first().map_or(Side::Other, |first| match side(first, table) {
                // What becomes of labels is text.
                Side::Text { of } => Side::Text { of },
                other => other,
            }),
        },
        Expr::Binary { op, .. } if !op.compares() => Side::Number,
        _ => Side::Other,
    }
}

/// Whether these compare alike everywhere.
fn compare_alike(sides: &[Side<'_>]) -> bool {
    let text = sides.iter().any(|side| matches!(side, Side::Text { .. }));
    let number = sides.contains(&Side::Number);
    let literal = sides.iter().any(|side| matches!(side, Side::Literal(_)));
    // One side is converted to the other's type here, and refused elsewhere.
    if number && (text || literal) {
        return false;
    }
    sides.iter().all(|side| match side {
        Side::Text { of: Some(column) } => match &column.ty {
            Type::Enum { labels, .. } => sides.iter().all(|other| match other {
                Side::Literal(text) => labels.iter().any(|label| label == text),
                other => other == side,
            }),
            _ => column.collation.is_none(),
        },
        Side::Text { of: None } => false,
        _ => true,
    })
}

/// Whether an expression means the same to an engine that compares text by bytes, divides integers
/// without a rest, and knows conditions from numbers.
fn is_neutral(expr: &Expr, table: &Table) -> bool {
    let own = match expr {
        Expr::Binary { op: Op::Div | Op::Mod | Op::Concat, .. } => false,
        Expr::Binary { op, left, right } if op.compares() => {
            compare_alike(&[side(left, table), side(right, table)])
        }
        Expr::In { of, list, .. } => {
            let sides: Vec<_> = std::iter::once(&**of).chain(list).map(|expr| side(expr, table)).collect();
            compare_alike(&sides)
        }
        Expr::Between { of, low, high, .. } => {
            compare_alike(&[side(of, table), side(low, table), side(high, table)])
        }
        Expr::Like { of, pattern, .. } => {
            let of = side(of, table);
            matches!(of, Side::Text { .. }) && compare_alike(&[of, side(pattern, table)])
        }
        Expr::And(all) | Expr::Or(all) => all.iter().all(is_condition),
        Expr::Not(of) => is_condition(of),
        Expr::Text(text) => !is_zero_date(text),
        _ => true,
    };
    own && expr.parts().into_iter().all(|part| is_neutral(part, table))
}

/// `0000-00-00`, `2020-00-10 00:00:00`: no date elsewhere.
fn is_zero_date(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        text.get(range).is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let dated = digits(0..4) && digits(5..7) && digits(8..10);
    let dashes = text.get(4..5) == Some("-") && text.get(7..8) == Some("-");
    dated && dashes && (&text[..4] == "0000" || &text[5..7] == "00" || &text[8..10] == "00")
}

/// Words that make a text more than a condition.
const NOT_IN_CONDITIONS: [&str; 15] = [
    "SELECT",
    "WITH",
    "VALUES",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "ALTER",
    "CALL",
    "INTO",
    "LOAD_FILE",
    "SLEEP",
    "BENCHMARK",
    "GET_LOCK",
];

/// Is `text` one scalar condition: no `;`, no comment, no sub-select, balanced?
pub(super) fn check_condition(text: &str) -> Result<(), String> {
    // `||` is an ordinary OR where a condition stays on its server.
    let spelled = standard(&text.replace("||", " OR ")).map_err(|what| format!("it holds {what}"))?;
    let tokens = token::tokenize(&spelled, &RULES).map_err(|error| error.to_string())?;
    token::one_condition(&tokens, &NOT_IN_CONDITIONS)
}

/// True where two texts are the same but for spacing, or are literals of one value: a server prints
/// them with the digits of their column.
pub(super) fn same(a: &str, b: &str) -> bool {
    let normal = |text: &str| -> Option<Vec<String>> {
        let spelled = standard(text).ok()?;
        let tokens = token::tokenize(&spelled, &RULES).ok()?;
        Some(tokens.iter().map(|token| token.text.to_string()).collect())
    };
    if let (Some(a), Some(b)) = (digits(a), digits(b)) {
        return a == b;
    }
    match (normal(a), normal(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// A literal number or moment, without zeros at the end of its fraction.
fn digits(text: &str) -> Option<String> {
    let quoted = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    let inside = quoted.unwrap_or(text);
    // What stands in quotes may be a text, in which every character counts.
    let moment =
        inside.contains([':', '-']) && inside.len() >= 10 && inside.starts_with(|c: char| c.is_ascii_digit());
    let plain = inside.bytes().all(|byte| byte.is_ascii_digit() || b"-:. ".contains(&byte));
    if inside.is_empty() || !plain || (quoted.is_some() && !moment) {
        return None;
    }
    Some(match inside.contains('.') {
        true => inside.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => inside.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, ty: Type, collated: bool) -> Column {
        let collation = collated.then(|| crate::catalog::Name::new("d", "utf8mb4_general_ci"));
        Column {
            name: name.into(),
            ty,
            native: String::new(),
            not_null: false,
            default: None,
            generated: None,
            identity: None,
            collation,
            storage: None,
            compression: None,
            unchecked_text: false,
            inherited: false,
            portable: false,
            stamped: false,
            comment: None,
        }
    }

    fn table() -> Table {
        let labels = vec!["new".to_string(), "paid".to_string()];
        let columns = vec![
            column("n", Type::Int { bits: 32 }, false),
            column("ci", Type::VarChar { length: 9 }, true),
            column("bin", Type::VarChar { length: 9 }, false),
            column("status", Type::Enum { name: None, labels }, true),
        ];
        Table { columns, ..Table::default() }
    }

    #[test]
    fn s_35_what_means_the_same_elsewhere_is_translated() {
        for text in [
            "`n` > 0 and `n` < 10",
            "(`status` in (_utf8mb4'new',_utf8mb4'paid'))",
            "`bin` = 'it\\'s'",
            "char_length(`ci`) > 2",
            "`ci` is not null",
            "`n` between 1 and 5 && `n` <> 3",
        ] {
            assert!(parse_of(text, &table()).is_some(), "{text}");
        }
        for text in [
            "`ci` = 'x'",
            "`n` / 2 > 1",
            "`n` = '5'",
            "`bin` = 5",
            "`status` = 'other'",
            "`n` || `n`",
            "`n` and `n`",
            "length(`ci`) > 2",
            "`n` xor 1",
            "json_valid(`ci`)",
        ] {
            assert!(parse_of(text, &table()).is_none(), "{text}");
        }
    }

    #[test]
    fn s_35_defaults_are_read() {
        let read = |text: &str| parse_of(text, &Table::default());
        assert_eq!(read("'a\\\\b'"), Some(Expr::Text("a\\b".into())));
        assert_eq!(read("current_timestamp(6)"), Some(Expr::Now(Now::Timestamp)));
        assert_eq!(read("-1.50"), Some(Expr::Number("-1.50".into())));
        assert_eq!(read("NULL"), Some(Expr::Null));
        assert_eq!(read("b'101'"), Some(Expr::Text("101".into())));
        assert_eq!(read("'0000-00-00 00:00:00'"), None);
        assert_eq!(read("uuid()"), None);
    }

    #[test]
    fn y_23_only_one_condition_is_taken() {
        for good in ["a > 1", "a IN (1, 2) AND `b c` = ';'", "s = \"x -- y\" || n = 1", "a = 'it\\'s'"] {
            assert_eq!(check_condition(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a = 1; DROP TABLE t",
            "a -- x",
            "a # x",
            "a /* x */",
            "(SELECT 1)",
            "a = (1",
            "a)",
            "a, b",
            "a = @x",
            "'a",
            "'a\\'",
            "sleep(10) = 0",
        ] {
            assert!(check_condition(bad).is_err(), "{bad}");
        }
    }
}
