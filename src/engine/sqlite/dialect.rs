//! How SQLite writes SQL: the only place that quotes identifiers. DDL is in `ddl.rs`, questions
//! about rows in `probe.rs`. Pure.

use super::types;
use super::{SCHEMA, ddl, marks, parse, probe};
use crate::catalog::dialect::{ChangeLog, Holds, Inline, Renames, Unspeakable};
use crate::catalog::expr::{self, BytesStyle, CastKind, LikeStyle, Now, Syntax};
use crate::catalog::token::{self, Kind, Token};
use crate::catalog::{
    Catalog, Check, Column, Dialect, Expr, Features, ForeignKey, Index, Key, Name, Probe, Sequence, Table,
    Type,
};

/// SQLite's way of writing.
pub(super) struct Sqlite;

pub(super) static DIALECT: Sqlite = Sqlite;

static FEATURES: Features = Features {
    alter_adds_constraints: false,
    validates_later: false,
    transactional_ddl: true,
    schemas: false,
    sequences: false,
    analyze: false,
    writers_max: 1,
    identifier_max: None,
    generated_from_generated: true,
    folds_case: true,
    index_names_per_schema: true,
    named_constraints: true,
    constraint_names_per_schema: false,
    folds_columns: false,
    clustered: false,
    applies: true,
    frozen_load: false,
    loads_unchecked: true,
    capture: ChangeLog::Triggers,
};

static SYNTAX: Syntax = Syntax {
    tokens: parse::RULES,
    quote,
    literal,
    ignores_case: true,
    quoted_may_be_text: true,
    boolean_words: false,
    bytes: BytesStyle::Hex,
    concat_binds_tight: true,
    like: LikeStyle::Glob,
    cast,
    now: &[
        ("CURRENT_TIMESTAMP", Now::Timestamp),
        ("CURRENT_DATE", Now::Date),
        ("CURRENT_TIME", Now::Time),
        ("datetime('now')", Now::Timestamp),
        ("date('now')", Now::Date),
        ("time('now')", Now::Time),
    ],
    functions: &[
        ("lower", "lower"),
        ("upper", "upper"),
        ("length", "length"),
        ("abs", "abs"),
        ("coalesce", "coalesce"),
        ("ifnull", "coalesce"),
        ("trim", "trim"),
        ("nullif", "nullif"),
        ("round", "round"),
    ],
};

fn cast(native: &str) -> CastKind {
    match types::affinity(native) {
        types::Affinity::Text => CastKind::Text,
        types::Affinity::Integer => CastKind::Integer,
        types::Affinity::Real => CastKind::Number,
        types::Affinity::Blob if native.eq_ignore_ascii_case("BLOB") => CastKind::Bytes,
        _ => CastKind::Other,
    }
}

/// An identifier in double quotes.
pub(super) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A string literal; SQLite reads none beyond a NUL, so such a text is written as bytes.
pub(super) fn literal(text: &str) -> String {
    if text.contains('\0') {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        return format!("CAST(x'{hex}' AS TEXT)");
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// Words that make a text more than a condition.
// `replace(` is also a function, and harmless.
const NOT_IN_CONDITIONS: [&str; 11] =
    ["SELECT", "WITH", "VALUES", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "ATTACH", "PRAGMA"];

impl Dialect for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn features(&self) -> &Features {
        &FEATURES
    }

    fn holds(&self) -> Holds {
        Holds {
            nul: true,
            bad_text: true,
            nan: false,
            infinity: true,
            far_dates: false,
            loose_values: true,
            orphans: true,
            ..Holds::default()
        }
    }

    fn quote(&self, identifier: &str) -> String {
        quote(identifier)
    }

    /// Without the schema: there is one, and SQLite refuses it in references.
    fn quote_name(&self, name: &Name) -> String {
        quote(&name.name)
    }

    fn literal(&self, text: &str) -> String {
        literal(text)
    }

    fn bad_identifier(&self, identifier: &str) -> Option<String> {
        let lower = identifier.to_ascii_lowercase();
        if identifier.contains('\0') {
            Some("SQLite names cannot hold a NUL character".into())
        } else if lower.starts_with("sqlite_") {
            Some("names that start with sqlite_ belong to SQLite".into())
        } else if lower.starts_with("towpath_") || marks::TABLES.contains(&lower.as_str()) {
            Some("names that start with towpath_ belong to Towpath's own tables".into())
        } else {
            None
        }
    }

    fn system_schema(&self, name: &str) -> bool {
        name != SCHEMA
    }

    fn parse_type(&self, native: &str) -> Type {
        types::parse_type(native)
    }

    fn spell_type(&self, ty: &Type) -> Option<String> {
        types::spell_type(ty).map(str::to_string)
    }

    fn normal_type(&self, native: &str, _catalog: Option<&Catalog>) -> Option<String> {
        types::normal_type(native)
    }

    fn parse_expr(&self, native: &str) -> Option<Expr> {
        expr::parse(native, &SYNTAX)
    }

    fn parse_expr_of(&self, native: &str, table: &Table) -> Option<Expr> {
        expr::parse_of(native, &SYNTAX, table)
    }

    fn spell_expr(&self, expr: &Expr) -> Result<String, Unspeakable> {
        expr::spell(expr, &SYNTAX)
    }

    fn rename(&self, native: &str, renames: &Renames) -> Result<String, Unspeakable> {
        rename(native, renames)
    }

    fn same_expr(&self, a: &str, b: &str) -> bool {
        match (normal_tokens(a), normal_tokens(b)) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        }
    }

    fn check_condition(&self, text: &str) -> Result<(), String> {
        check_condition(text)
    }

    fn create_table(&self, table: &Table, _identity: &[&Sequence], inline: Inline) -> Vec<String> {
        vec![ddl::create_table(table, inline)]
    }

    /// Nothing: SQLite adds no constraint to a table that exists, as its features say.
    fn add_check(&self, _table: &Table, _check: &Check) -> Vec<String> {
        Vec::new()
    }

    fn add_key(&self, _table: &Table, _key: &Key) -> Vec<String> {
        Vec::new()
    }

    fn create_index(&self, table: &Table, index: &Index) -> Vec<String> {
        vec![ddl::create_index(table, index)]
    }

    fn add_foreign_key(&self, _table: &Table, _key: &ForeignKey, _validate: bool) -> Vec<String> {
        Vec::new()
    }

    fn validate_foreign_key(&self, table: &Table, key: &ForeignKey) -> Vec<String> {
        vec![ddl::check_foreign_key(table, key)]
    }

    fn analyze(&self, _table: &Name) -> Vec<String> {
        Vec::new()
    }

    fn empty_table(&self, table: &Name) -> Vec<String> {
        vec![format!("DELETE FROM {}", self.quote_name(table))]
    }

    fn refuse_key(&self, _table: &Table, key: &Key) -> Option<Unspeakable> {
        ddl::refuse_key(key)
    }

    fn refuse_index(&self, _table: &Table, index: &Index) -> Option<Unspeakable> {
        ddl::refuse_index(index)
    }

    fn refuse_foreign_key(&self, _table: &Table, key: &ForeignKey) -> Option<Unspeakable> {
        ddl::refuse_foreign_key(key)
    }

    fn refuse_column(&self, table: &Table, column: &Column) -> Option<Unspeakable> {
        ddl::refuse_column(table, column)
    }

    fn probe(&self, probe: &Probe) -> Option<String> {
        probe::query(probe)
    }
}

/// The tokens of a text, without comments; none where it is no SQL.
pub(super) fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let tokens = token::tokenize(text, &parse::RULES).ok()?;
    Some(tokens.into_iter().filter(|token| token.kind != Kind::Comment).collect())
}

/// Renames columns and tables in an expression; what stands behind COLLATE, behind AS or before a
/// parenthesis is another kind of name.
fn rename(native: &str, renames: &Renames) -> Result<String, Unspeakable> {
    let unreadable = || Unspeakable { what: "an expression that is not understood".into() };
    let tokens = tokens(native).ok_or_else(unreadable)?;
    let (mut out, mut copied) = (String::new(), 0);
    for (at, token) in tokens.iter().enumerate() {
        let Some(name) = token.name() else { continue };
        let before = at.checked_sub(1).map(|at| &tokens[at]);
        let after = tokens.get(at + 1);
        let other = before.is_some_and(|token| token.is_word("COLLATE") || token.is_word("AS"));
        if other || after.is_some_and(|token| token.is("(")) {
            continue;
        }
        let new = match after.is_some_and(|token| token.is(".")) {
            true => renamed_table(&name, renames),
            false => {
                let found = renames.columns.iter().find(|(old, _)| old.eq_ignore_ascii_case(&name));
                found.map(|(_, new)| new.clone())
            }
        };
        if let Some(new) = new {
            out.push_str(&native[copied..token.start]);
            out.push_str(&quote(&new));
            copied = token.end();
        }
    }
    out.push_str(&native[copied..]);
    Ok(out)
}

fn renamed_table(name: &str, renames: &Renames) -> Option<String> {
    let found = renames.objects.iter().find(|(old, _)| old.name.eq_ignore_ascii_case(name));
    found.map(|(_, new)| new.name.clone())
}

/// Tokens in one spelling, without comments and outer parentheses.
fn normal_tokens(text: &str) -> Option<Vec<String>> {
    let all = tokens(text)?;
    let mut tokens = all.as_slice();
    while encloses_all(tokens) {
        tokens = &tokens[1..tokens.len() - 1];
    }
    let normal = |token: &Token<'_>| match token.name() {
        Some(name) => format!("n {}", name.to_ascii_lowercase()),
        None if matches!(token.kind, Kind::Hex | Kind::Number) => token.text.to_ascii_lowercase(),
        None => token.text.to_string(),
    };
    Some(tokens.iter().map(normal).collect())
}

/// True where the first token opens a parenthesis that the last one closes.
fn encloses_all(tokens: &[Token<'_>]) -> bool {
    if tokens.len() < 2 || !tokens[0].is("(") {
        return false;
    }
    let mut depth = 0;
    let closes = tokens.iter().position(|token| {
        depth += i32::from(token.is("(")) - i32::from(token.is(")"));
        depth == 0
    });
    closes == Some(tokens.len() - 1)
}

fn check_condition(text: &str) -> Result<(), String> {
    let tokens = token::tokenize(text, &parse::RULES).map_err(|error| error.to_string())?;
    token::one_condition(&tokens, &NOT_IN_CONDITIONS)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn y_23_only_one_condition_is_taken() {
        for good in ["a > 1", "a IN (1, 2) AND \"b c\" = ';'", "replace(a, 'x', 'y') = 'z'", "[select] = 1"] {
            assert_eq!(check_condition(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a = 1; DROP TABLE t",
            "a -- x",
            "a /* x */",
            "(SELECT 1)",
            "a = (1",
            "a)",
            "a, b",
            "a = ?1",
            "'a",
        ] {
            assert!(check_condition(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn renames_touch_names_of_columns_only() {
        let mut renames = Renames::default();
        renames.columns.insert("Name".into(), "full name".into());
        renames.objects = Arc::new([(Name::new("main", "t"), Name::new("main", "u"))].into());
        let renamed = |text: &str| DIALECT.rename(text, &renames).expect("renamed");
        assert_eq!(
            renamed("name > 'name' AND [NAME] <> \"x\""),
            "\"full name\" > 'name' AND \"full name\" <> \"x\""
        );
        assert_eq!(renamed("t.name COLLATE name"), "\"u\".\"full name\" COLLATE name");
        assert_eq!(renamed("name(1) + CAST(name AS name)"), "name(1) + CAST(\"full name\" AS name)");
    }

    #[test]
    fn expressions_compare_by_form() {
        assert!(DIALECT.same_expr("( a > 1 )", "\"A\">1"));
        assert!(DIALECT.same_expr("(a) + (b)", "(a)+(b)"));
        assert!(!DIALECT.same_expr("a = 'X'", "a = 'x'"));
        assert!(!DIALECT.same_expr("(a) + (b)", "a) + (b"));
    }

    #[test]
    fn i_06_and_i_08_own_and_reserved_names_are_refused() {
        assert!(DIALECT.bad_identifier("SQLite_x").is_some());
        assert!(DIALECT.bad_identifier("towpath_step").is_some());
        assert!(DIALECT.bad_identifier("a\0b").is_some());
        assert!(DIALECT.bad_identifier("select \"x\"").is_none());
    }
}
