//! How MySQL and MariaDB write things down, as far as a source needs it: names, types, expressions
//! and questions. There is no DDL: nothing is ever made there. Pure.

use crate::catalog::dialect::{ChangeLog, Holds, Inline, Renames, Unspeakable};
use crate::catalog::expr;
use crate::catalog::{
    Catalog, Check, Dialect, Expr, Extension, Features, ForeignKey, Index, Key, Name, Probe, Schema,
    Sequence, Table, Type, UserType,
};

use super::{probe, quote, text, types};

/// The dialect.
pub(super) struct MysqlDialect;

pub(super) static DIALECT: MysqlDialect = MysqlDialect;

static FEATURES: Features = Features {
    alter_adds_constraints: true,
    validates_later: false,
    transactional_ddl: false,
    schemas: true,
    sequences: false,
    analyze: true,
    writers_max: 64,
    identifier_bytes_max: Some(64),
    folds_case: false,
    index_names_per_schema: false,
    named_constraints: true,
    frozen_load: false,
    capture: ChangeLog::WholeRows,
};

/// Databases that every server has.
const SYSTEM: [&str; 4] = ["mysql", "information_schema", "performance_schema", "sys"];

impl Dialect for MysqlDialect {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn features(&self) -> &Features {
        &FEATURES
    }

    /// Types are kept to where the SQL mode is strict; no server knows that it always was.
    fn holds(&self) -> Holds {
        Holds {
            nul: true,
            orphans: true,
            zero_dates: true,
            loose_labels: true,
            long_times: true,
            ..Holds::default()
        }
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
        let characters = identifier.chars().count();
        (identifier.is_empty() || characters > 64)
            .then(|| format!("it has {characters} characters; a name has 1 to 64"))
    }

    fn system_schema(&self, name: &str) -> bool {
        SYSTEM.contains(&name)
    }

    fn parse_type(&self, native: &str) -> Type {
        types::parse(native)
    }

    /// None: no column is made there.
    fn spell_type(&self, _ty: &Type) -> Option<String> {
        None
    }

    fn normal_type(&self, native: &str, _catalog: Option<&Catalog>) -> Option<String> {
        types::normal(native)
    }

    fn parse_expr(&self, native: &str) -> Option<Expr> {
        text::parse(native)
    }

    fn parse_expr_of(&self, native: &str, table: &Table) -> Option<Expr> {
        text::parse_of(native, table)
    }

    fn spell_expr(&self, expr: &Expr) -> Result<String, Unspeakable> {
        expr::spell(expr, &text::SYNTAX)
    }

    fn rename(&self, _native: &str, _renames: &Renames) -> Result<String, Unspeakable> {
        Err(Unspeakable { what: "an expression of a target that cannot be written".into() })
    }

    fn same_expr(&self, a: &str, b: &str) -> bool {
        text::same(a, b)
    }

    fn check_condition(&self, text: &str) -> Result<(), String> {
        text::check_condition(text)
    }

    fn create_schema(&self, _schema: &Schema) -> Vec<String> {
        Vec::new()
    }

    fn create_extension(&self, _extension: &Extension) -> Vec<String> {
        Vec::new()
    }

    fn create_type(&self, _user_type: &UserType) -> Vec<String> {
        Vec::new()
    }

    fn create_sequence(&self, _sequence: &Sequence) -> Vec<String> {
        Vec::new()
    }

    fn own_sequence(&self, _sequence: &Sequence) -> Vec<String> {
        Vec::new()
    }

    fn create_table(&self, _table: &Table, _identity: &[&Sequence], _inline: Inline) -> Vec<String> {
        Vec::new()
    }

    fn add_check(&self, _table: &Table, _check: &Check) -> Vec<String> {
        Vec::new()
    }

    fn add_key(&self, _table: &Table, _key: &Key) -> Vec<String> {
        Vec::new()
    }

    fn create_index(&self, _table: &Table, _index: &Index) -> Vec<String> {
        Vec::new()
    }

    fn add_foreign_key(&self, _table: &Table, _key: &ForeignKey, _validate: bool) -> Vec<String> {
        Vec::new()
    }

    fn validate_foreign_key(&self, _table: &Table, _key: &ForeignKey) -> Vec<String> {
        Vec::new()
    }

    fn analyze(&self, _table: &Name) -> Vec<String> {
        Vec::new()
    }

    fn empty_table(&self, _table: &Name) -> Vec<String> {
        Vec::new()
    }

    fn probe(&self, probe: &Probe) -> Option<String> {
        probe::query(probe)
    }
}
