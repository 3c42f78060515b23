//! How PostgreSQL writes things down: the face of this folder's pure half. It only hands on to
//! the file that knows; it opens nothing.

use crate::catalog::dialect::{ChangeLog, Inline, Length, Renames, Unspeakable};
use crate::catalog::expr;
use crate::catalog::{
    Catalog, Check, Column, Dialect, Expr, Extension, Features, ForeignKey, Holds, Index, Key, Name, Probe,
    Schema, Sequence, Table, Type, UserType,
};

use super::{ddl, keys, probe, quote, same, text, types};

/// The dialect.
pub struct PostgresDialect;

pub static DIALECT: PostgresDialect = PostgresDialect;

/// NAMEDATALEN less its closing zero byte.
const IDENTIFIER_BYTES_MAX: usize = 63;

static FEATURES: Features = Features {
    alter_adds_constraints: true,
    validates_later: true,
    transactional_ddl: true,
    schemas: true,
    sequences: true,
    analyze: true,
    // What a default server of 100 connections can spare.
    writers_max: 64,
    identifier_max: Some(Length::Bytes(IDENTIFIER_BYTES_MAX)),
    generated_from_generated: false,
    folds_case: false,
    index_names_per_schema: true,
    named_constraints: true,
    constraint_names_per_schema: false,
    folds_columns: false,
    clustered: false,
    applies: true,
    frozen_load: true,
    loads_unchecked: false,
    capture: ChangeLog::Log,
};

/// Most columns of a table (manual, appendix K).
const COLUMNS_MAX: usize = 1600;

/// Columns that every table has (manual, 5.5).
const SYSTEM_COLUMNS: &[&str] = &["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

impl Dialect for PostgresDialect {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn features(&self) -> &Features {
        &FEATURES
    }

    /// Types are kept to; numbers and dates go further than elsewhere. Text of a SQL_ASCII database
    /// may be anything, which its encoding tells.
    fn holds(&self) -> Holds {
        Holds { nan: true, infinity: true, far_dates: true, ..Holds::default() }
    }

    fn quote(&self, identifier: &str) -> String {
        quote::identifier(identifier)
    }

    fn quote_name(&self, name: &Name) -> String {
        quote::name(name)
    }

    fn literal(&self, text: &str) -> String {
        quote::literal(text)
    }

    fn bad_identifier(&self, identifier: &str) -> Option<String> {
        if identifier.is_empty() {
            return Some("a name cannot be empty".to_string());
        }
        if identifier.contains('\0') {
            return Some("a name cannot hold a zero character".to_string());
        }
        let bytes = identifier.len();
        let long = bytes > IDENTIFIER_BYTES_MAX;
        long.then(|| format!("it has {bytes} bytes, and the server cuts names at {IDENTIFIER_BYTES_MAX}"))
    }

    fn bad_column(&self, name: &str) -> Option<String> {
        let clash = SYSTEM_COLUMNS.contains(&name);
        clash.then(|| format!("{name} is a system column, which every table has already"))
    }

    fn system_schema(&self, name: &str) -> bool {
        name.starts_with("pg_") || name == "information_schema" || name == "towpath"
    }

    fn parse_type(&self, native: &str) -> Type {
        types::parse(native)
    }

    fn spell_type(&self, ty: &Type) -> Option<String> {
        types::spell(ty)
    }

    fn normal_type(&self, native: &str, catalog: Option<&Catalog>) -> Option<String> {
        types::normal(native, catalog)
    }

    fn parse_expr(&self, native: &str) -> Option<Expr> {
        expr::parse(native, &text::SYNTAX)
    }

    fn parse_expr_of(&self, native: &str, table: &Table) -> Option<Expr> {
        expr::parse_of(native, &text::SYNTAX, table)
    }

    fn spell_expr(&self, expr: &Expr) -> Result<String, Unspeakable> {
        text::spell(expr)
    }

    fn rename(&self, native: &str, renames: &Renames) -> Result<String, Unspeakable> {
        text::rename(native, renames)
    }

    fn same_expr(&self, a: &str, b: &str) -> bool {
        same::same(a, b)
    }

    fn check_condition(&self, text: &str) -> Result<(), String> {
        text::check_condition(text)
    }

    fn create_schema(&self, schema: &Schema) -> Vec<String> {
        ddl::create_schema(schema)
    }

    fn create_extension(&self, extension: &Extension) -> Vec<String> {
        ddl::create_extension(extension)
    }

    fn create_type(&self, user_type: &UserType) -> Vec<String> {
        ddl::create_type(user_type)
    }

    fn create_sequence(&self, sequence: &Sequence) -> Vec<String> {
        ddl::create_sequence(sequence)
    }

    fn own_sequence(&self, sequence: &Sequence) -> Vec<String> {
        ddl::own_sequence(sequence)
    }

    fn create_table(&self, table: &Table, identity: &[&Sequence], inline: Inline) -> Vec<String> {
        let mut out = ddl::create_table(table, identity);
        if inline.keys {
            out.extend(table.keys.iter().flat_map(|key| keys::add_key(table, key)));
        }
        if inline.foreign_keys {
            out.extend(table.foreign_keys.iter().flat_map(|key| keys::add_foreign_key(table, key, true)));
        }
        out
    }

    fn add_check(&self, table: &Table, check: &Check) -> Vec<String> {
        ddl::add_check(table, check)
    }

    fn add_key(&self, table: &Table, key: &Key) -> Vec<String> {
        keys::add_key(table, key)
    }

    fn add_key_in_parts(&self, table: &Table, key: &Key) -> Option<(Vec<String>, Vec<String>)> {
        keys::add_key_in_parts(table, key)
    }

    fn create_index(&self, table: &Table, index: &Index) -> Vec<String> {
        keys::create_index(table, index)
    }

    fn add_foreign_key(&self, table: &Table, key: &ForeignKey, validate: bool) -> Vec<String> {
        keys::add_foreign_key(table, key, validate)
    }

    fn drop_foreign_key(&self, table: &Name, key: &ForeignKey) -> Vec<String> {
        keys::drop_foreign_key(table, key)
    }

    fn validate_foreign_key(&self, table: &Table, key: &ForeignKey) -> Vec<String> {
        keys::validate_foreign_key(table, key)
    }

    fn analyze(&self, table: &Name) -> Vec<String> {
        vec![format!("ANALYZE {}", quote::name(table))]
    }

    fn empty_table(&self, table: &Name) -> Vec<String> {
        vec![format!("TRUNCATE TABLE ONLY {}", quote::name(table))]
    }

    fn refuse_key(&self, _table: &Table, key: &Key) -> Option<Unspeakable> {
        keys::refuse_key(key)
    }

    fn refuse_index(&self, _table: &Table, index: &Index) -> Option<Unspeakable> {
        keys::refuse_index(index)
    }

    fn refuse_foreign_key(&self, _table: &Table, key: &ForeignKey) -> Option<Unspeakable> {
        keys::refuse_foreign_key(key)
    }

    fn refuse_column(&self, table: &Table, column: &Column) -> Option<Unspeakable> {
        let at = table.columns.iter().position(|other| other.name == column.name);
        let beyond = at.is_some_and(|at| at >= COLUMNS_MAX);
        beyond.then(|| Unspeakable { what: format!("more than {COLUMNS_MAX} columns") })
    }

    /// `regclass` names relations, and `regtype` the row types that come with them.
    fn names_tables(&self, column: &Column) -> bool {
        let native = column.native.trim_end_matches("[]");
        matches!(native, "regclass" | "regtype")
    }

    fn probe(&self, probe: &Probe) -> Option<String> {
        probe::query(probe)
    }
}
