//! Texts that the server printed or a user wrote: reading them, comparing them, renaming inside
//! them, and telling a condition from an attempt. Works on tokens, never inside strings.

use crate::catalog::dialect::{Renames, Unspeakable};
use crate::catalog::expr::{self, BytesStyle, LikeStyle, Now, Syntax};
use crate::catalog::token::{self, Kind, Rules, Token};
use crate::catalog::{Expr, Name};

use super::{quote, types};

/// How PostgreSQL writes expressions.
pub static SYNTAX: Syntax = Syntax {
    tokens: Rules {
        backticks: false,
        brackets: false,
        escapes: true,
        dollar_quotes: true,
        nested_comments: true,
        open_operators: true,
        named_params: false,
    },
    quote: quote::identifier,
    literal: quote::literal,
    ignores_case: false,
    quoted_may_be_text: false,
    boolean_words: true,
    bytes: BytesStyle::Bytea,
    concat_binds_tight: false,
    like: LikeStyle::CaseAndEscape,
    cast: types::cast_kind,
    now: &[
        ("CURRENT_TIMESTAMP", Now::Timestamp),
        ("now()", Now::Timestamp),
        ("transaction_timestamp()", Now::Timestamp),
        ("statement_timestamp()", Now::Timestamp),
        ("LOCALTIMESTAMP", Now::Timestamp),
        ("timezone('utc'::text,now())", Now::Timestamp),
        ("timezone('utc'::text,CURRENT_TIMESTAMP)", Now::Timestamp),
        ("now()ATTIMEZONE'utc'::text", Now::Timestamp),
        ("CURRENT_TIMESTAMPATTIMEZONE'utc'::text", Now::Timestamp),
        ("CURRENT_DATE", Now::Date),
        ("CURRENT_TIME", Now::Time),
        ("LOCALTIME", Now::Time),
    ],
    functions: &[
        ("lower", "lower"),
        ("upper", "upper"),
        ("length", "length"),
        ("char_length", "length"),
        ("character_length", "length"),
        ("abs", "abs"),
        ("coalesce", "coalesce"),
        ("btrim", "trim"),
        ("trim", "trim"),
        ("nullif", "nullif"),
        ("round", "round"),
    ],
};

/// Writes a neutral expression.
pub fn spell(expr: &Expr) -> Result<String, Unspeakable> {
    expr::spell(expr, &SYNTAX)
}

/// A text with columns, objects and schemas renamed, quoted as the server prints them. Bare
/// names are columns unless they are called, follow a `::` or `COLLATE`, or stand where no operand
/// can; names of two parts are objects. Functions and operators move with their schema as types do:
/// those of an extension move with it, others must be on the target already.
pub fn rename(native: &str, renames: &Renames) -> Result<String, Unspeakable> {
    if renames.columns.is_empty() && renames.objects.is_empty() && renames.schemas.is_empty() {
        return Ok(native.to_string());
    }
    let tokens = token::tokenize(native, &SYNTAX.tokens)
        .map_err(|error| Unspeakable { what: format!("the text {native}: {error}") })?;
    let mut renamer = Renamer { native, tokens: &tokens, renames, out: String::new(), copied: 0 };
    let mut at = 0;
    while at < tokens.len() {
        at = renamer.step(at);
    }
    renamer.out.push_str(&native[renamer.copied..]);
    Ok(renamer.out)
}

struct Renamer<'a> {
    native: &'a str,
    tokens: &'a [Token<'a>],
    renames: &'a Renames,
    out: String,
    /// How far `native` is in `out`.
    copied: usize,
}

impl Renamer<'_> {
    fn is(&self, at: usize, mark: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is(mark))
    }

    /// Deals with the token at `at`; returns the next to look at.
    fn step(&mut self, at: usize) -> usize {
        let token = &self.tokens[at];
        if token.kind == Kind::Text {
            return self.object_literal(at);
        }
        let Some(first) = types::fold(token) else { return at + 1 };
        if self.is(at + 1, ".")
            && let Some(second) = self.tokens.get(at + 2)
        {
            return self.qualified(at, first, second);
        }
        if at > 0 && self.tokens[at - 1].is("::") {
            return expr::type_end(self.tokens, at).unwrap_or(at + 1);
        }
        if self.is_column(at)
            && let Some(new) = self.renames.columns.get(&first)
        {
            let new = quote::identifier(new);
            self.replace(token.start, token.end(), &new);
        }
        at + 1
    }

    fn is_column(&self, at: usize) -> bool {
        let token = &self.tokens[at];
        let bare = token.kind == Kind::Word;
        if bare && (quote::is_key_word(&token.text.to_lowercase()) || token.text != token.text.to_lowercase())
        {
            return false;
        }
        if self.is(at + 1, "(") || self.is(at + 1, "=>") {
            return false;
        }
        let Some(before) = at.checked_sub(1).map(|before| &self.tokens[before]) else { return true };
        if before.is_word("collate") || before.is(".") || before.is("::") {
            return false;
        }
        // `EXTRACT(year FROM ...)`: a field, not a column.
        if before.is("(") && at > 1 && self.tokens[at - 2].is_word("extract") {
            return false;
        }
        !ends_operand(before)
    }

    /// `schema.name`, or the `schema.&&` of an operator.
    fn qualified(&mut self, at: usize, schema: String, second: &Token<'_>) -> usize {
        let start = self.tokens[at].start;
        if let Some(name) = types::fold(second) {
            let name = Name::new(schema, name);
            let new = self.renames.object(&name);
            if new != name {
                self.replace(start, second.end(), &quote::name(&new));
            }
        } else if second.kind == Kind::Op
            && let Some(new) = self.renames.schemas.get(&schema)
        {
            self.replace(start, self.tokens[at].end(), &quote::identifier(new));
        }
        at + 3
    }

    /// `'schema.name'::regclass`, the argument of `nextval`.
    fn object_literal(&mut self, at: usize) -> usize {
        let named =
            self.is(at + 1, "::") && self.tokens.get(at + 2).is_some_and(|token| token.is_word("regclass"));
        let token = &self.tokens[at];
        if named
            && let Some(name) = token.string().and_then(|text| parse_name(&text))
            && self.renames.object(&name) != name
        {
            let text = quote::literal(&quote::name(&self.renames.object(&name)));
            self.replace(token.start, token.end(), &text);
        }
        at + 1
    }

    fn replace(&mut self, start: usize, end: usize, text: &str) {
        self.out.push_str(&self.native[self.copied..start]);
        self.out.push_str(text);
        self.copied = end;
    }
}

/// True where the next name cannot be an operand: it is an operator class or a part of a type.
fn ends_operand(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Word => token.text == token.text.to_lowercase() && !quote::is_key_word(token.text),
        Kind::Quoted | Kind::Text | Kind::Number => true,
        _ => token.is(")") || token.is("]"),
    }
}

/// `schema.name` as the server prints it in a string.
pub fn parse_name(text: &str) -> Option<Name> {
    let tokens = token::tokenize(text, &SYNTAX.tokens).ok()?;
    match tokens.as_slice() {
        [schema, dot, name] if dot.is(".") => Some(Name::new(types::fold(schema)?, types::fold(name)?)),
        _ => None,
    }
}

/// True for a text with an operator or a word such as `AND` outside of parentheses, as neutral
/// expressions are spelled; the server prints its own in parentheses.
pub fn is_operation(native: &str) -> bool {
    let Ok(tokens) = token::tokenize(native, &SYNTAX.tokens) else { return true };
    let mut depth = 0_i32;
    tokens.iter().any(|token| {
        depth += i32::from(token.is("(") || token.is("["));
        depth -= i32::from(token.is(")") || token.is("]"));
        let word =
            ["and", "or", "not", "is", "in", "between", "like", "at"].iter().any(|word| token.is_word(word));
        depth == 0 && (word || token.kind == Kind::Op && !token.is("::"))
    })
}

/// A text in parentheses, once.
pub fn group(native: &str) -> String {
    let grouped = token::tokenize(native, &SYNTAX.tokens).is_ok_and(|tokens| {
        let mut depth = 0_i32;
        let ends = tokens.iter().position(|token| {
            depth += i32::from(token.is("(")) - i32::from(token.is(")"));
            depth <= 0
        });
        tokens.len() > 1 && ends == Some(tokens.len() - 1) && native.starts_with('(') && native.ends_with(')')
    });
    if grouped { native.to_string() } else { format!("({native})") }
}

/// The sequence that a default draws from, where it does nothing else.
pub fn parse_nextval(native: &str) -> Option<Name> {
    let tokens = token::tokenize(native, &SYNTAX.tokens).ok()?;
    match tokens.as_slice() {
        [call, open, name, cast, class, close]
            if call.is_word("nextval")
                && open.is("(")
                && cast.is("::")
                && class.is_word("regclass")
                && close.is(")") =>
        {
            parse_name(&name.string()?)
        }
        _ => None,
    }
}

/// Is a text one scalar condition? Says what is wrong with it.
pub fn check_condition(text: &str) -> Result<(), String> {
    let tokens = token::tokenize(text, &SYNTAX.tokens).map_err(|error| error.to_string())?;
    if tokens.is_empty() {
        return Err("it is empty".to_string());
    }
    let mut open: Vec<&str> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            _ if token.kind == Kind::Comment => return Err("it holds a comment".to_string()),
            _ if token.kind == Kind::Param => return Err(format!("it holds the parameter {}", token.text)),
            ";" => return Err("it holds a ;".to_string()),
            "," if open.is_empty() => return Err("it is a list, not one condition".to_string()),
            "(" | "[" if token.kind == Kind::Punct => open.push(token.text),
            ")" | "]" if token.kind == Kind::Punct => {
                let wanted = if token.text == ")" { "(" } else { "[" };
                if open.pop() != Some(wanted) {
                    return Err(format!("a {} closes nothing", token.text));
                }
            }
            _ => refuse_word(&tokens, at)?,
        }
    }
    match open.pop() {
        Some(mark) => Err(format!("a {mark} is never closed")),
        None => Ok(()),
    }
}

/// Words that make more of a condition than one. Those that may also be column names are refused
/// only where a sub-select can begin.
fn refuse_word(tokens: &[Token<'_>], at: usize) -> Result<(), String> {
    const NEVER: &[&str] = &[
        "except",
        "fetch",
        "group",
        "having",
        "intersect",
        "into",
        "limit",
        "offset",
        "returning",
        "select",
        "union",
        "window",
    ];
    const NOT_FIRST: &[&str] = &["delete", "insert", "merge", "table", "update", "values", "with"];
    let token = &tokens[at];
    if token.kind != Kind::Word {
        return Ok(());
    }
    let word = token.text.to_ascii_lowercase();
    let first = at == 0 || tokens[at - 1].is("(");
    let name_follows = tokens.get(at + 1).is_some_and(|next| next.name().is_some() || next.is("("));
    let query = NEVER.contains(&word.as_str()) || first && name_follows && NOT_FIRST.contains(&word.as_str());
    match query {
        true => Err(format!("{} makes it a query, not one condition", token.text.to_uppercase())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::Table;

    fn renames() -> Renames {
        let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
        Renames {
            columns: [pair("a", "Alpha"), pair("text", "words"), pair("year", "y"), pair("Odd", "even")]
                .into(),
            objects: Arc::new([(Name::new("public", "seq"), Name::new("app", "Seq 2"))].into()),
            schemas: Arc::new([pair("public", "app")].into()),
        }
    }

    #[test]
    fn names_are_renamed_where_they_are_names() {
        for (native, expected) in [
            ("(a > 0)", "(\"Alpha\" > 0)"),
            ("((text)::text = 'a'::text)", "((words)::text = 'a'::text)"),
            ("a(a)", "a(\"Alpha\")"),
            ("(x.a = y.a)", "(x.a = y.a)"),
            ("(a).a", "(\"Alpha\").a"),
            ("'a'::public.status", "'a'::app.status"),
            ("nextval('public.seq'::regclass)", "nextval('app.\"Seq 2\"'::regclass)"),
            ("nextval('other.seq'::regclass)", "nextval('other.seq'::regclass)"),
            ("'public.seq'::text", "'public.seq'::text"),
            ("public.f(a)", "app.f(\"Alpha\")"),
            ("(a OPERATOR(public.&&) other.f(a))", "(\"Alpha\" OPERATOR(app.&&) other.f(\"Alpha\"))"),
            ("EXTRACT(year FROM year)", "EXTRACT(year FROM y)"),
            ("(a COLLATE \"Odd\")", "(\"Alpha\" COLLATE \"Odd\")"),
            ("RANGE (a text_ops, \"Odd\")", "RANGE (\"Alpha\" text_ops, even)"),
            ("LIST (lower(text) a)", "LIST (lower(words) a)"),
            ("(\"Odd\" = 'Odd'::text)", "(even = 'Odd'::text)"),
            ("f(a => a)", "f(a => \"Alpha\")"),
            ("CASE WHEN a THEN text ELSE year END", "CASE WHEN \"Alpha\" THEN words ELSE y END"),
            ("public.status[]", "app.status[]"),
            ("FOR VALUES FROM (MINVALUE) TO ('a')", "FOR VALUES FROM (MINVALUE) TO ('a')"),
            ("((ts)::timestamp without time zone > a)", "((ts)::timestamp without time zone > \"Alpha\")"),
        ] {
            assert_eq!(rename(native, &renames()).as_deref(), Ok(expected), "{native}");
        }
        assert!(rename("'open", &renames()).is_err());
        assert_eq!(rename("'open", &Renames::default()).as_deref(), Ok("'open"));
    }

    #[test]
    fn y_23_a_condition_is_one_expression() {
        for good in [
            "created_at >= '2025-01-01'",
            "(a or b) and lower(c) in ('x;', '--y')",
            "values > 3",
            "extract(year from d) = 2020",
            "a[1] = 2",
        ] {
            assert_eq!(check_condition(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "  ",
            "a = 1; drop table t",
            "a = 1 -- rest",
            "a = 1 /* b */",
            "exists (select 1)",
            "(select true)",
            "a in (values (1))",
            "a in (table t)",
            "a = 1) or (b = 2",
            "(a = 1",
            "a = 'x",
            "a = $1",
            "a, b",
            "a[1",
            "a = 1 union all select 2",
            "a = 1 limit 1",
        ] {
            assert!(check_condition(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_plain_nextval_is_a_sequence() {
        let name = |text| parse_nextval(text).map(|name| name.to_string());
        assert_eq!(name("nextval('public.s'::regclass)").as_deref(), Some("public.s"));
        assert_eq!(name("nextval('\"A b\".\"S\"\"\"'::regclass)").as_deref(), Some("\"A b\".\"S\"\"\""));
        assert_eq!(name("(nextval('public.s'::regclass) + 1)"), None);
        assert_eq!(name("nextval(('public.s'::text)::regclass)"), None);
    }

    #[test]
    fn s_35_what_the_server_prints_is_read() {
        let empty = Table::default();
        for (printed, expected) in [
            ("'x'::character varying", Expr::Text("x".into())),
            ("'active'::public.status", Expr::Text("active".into())),
            ("(now() AT TIME ZONE 'utc'::text)", Expr::Now(Now::Timestamp)),
            ("timezone('utc'::text, now())", Expr::Now(Now::Timestamp)),
            ("'{}'::jsonb", Expr::Text("{}".into())),
            ("'2020-01-01'::date", Expr::Text("2020-01-01".into())),
            ("'-1'::integer", Expr::Number("-1".into())),
            ("NULL::character varying", Expr::Null),
        ] {
            assert_eq!(expr::parse_of(printed, &SYNTAX, &empty), Some(expected), "{printed}");
        }
        for printed in [
            "gen_random_uuid()",
            "nextval('public.s'::regclass)",
            "'1 day'::interval",
            "'today'::date",
            "(5.55)::numeric(3,1)",
            "'1'::money",
            "'public.t'::regclass",
        ] {
            assert_eq!(expr::parse_of(printed, &SYNTAX, &empty), None, "{printed}");
        }
    }

    #[test]
    fn parentheses_are_put_once() {
        for (text, grouped) in
            [("a", "(a)"), ("(a > 1)", "(a > 1)"), ("(a) > (b)", "((a) > (b))"), ("f(a)", "(f(a))")]
        {
            assert_eq!(group(text), grouped);
        }
    }

    #[test]
    fn operations_are_told_from_operands() {
        for text in ["a AND b", "NOT a", "1 + 2", "a IS NULL", "- 1"] {
            assert!(is_operation(text), "{text}");
        }
        for text in [
            "'a and b'::text",
            "f(a AND b)",
            "(a + b)",
            "nextval('s'::regclass)",
            "'x'::timestamp with time zone",
        ] {
            assert!(!is_operation(text), "{text}");
        }
    }
}
