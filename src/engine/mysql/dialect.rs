//! How MySQL and MariaDB write things down: names, types, expressions and questions. DDL is in
//! `ddl.rs`, what has no place there in `refuse.rs`. Pure.

use std::collections::HashSet;

use crate::catalog::dialect::{ChangeLog, Holds, Inline, Length, Renames, Unspeakable, family};
use crate::catalog::{
    Catalog, Check, Column, Dialect, Expr, Features, ForeignKey, Index, Key, Name, Probe, Sequence, Table,
    Type,
};

use super::connect::Flavor;
use super::{ddl, probe, quote, refuse, rename, select, text, types};

/// The dialect.
pub(super) struct MysqlDialect;

pub(super) static DIALECT: MysqlDialect = MysqlDialect;

static FEATURES: Features = Features {
    alter_adds_constraints: true,
    validates_later: false,
    transactional_ddl: false,
    schemas: false,
    sequences: false,
    analyze: true,
    writers_max: 64,
    identifier_max: Some(Length::Characters(64)),
    generated_from_generated: true,
    folds_case: false,
    index_names_per_schema: false,
    named_constraints: true,
    constraint_names_per_schema: true,
    folds_columns: true,
    clustered: true,
    applies: true,
    frozen_load: false,
    loads_unchecked: true,
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

    fn reads_as(&self, from: &Type, to: &Type) -> bool {
        select::reads_as(from, to)
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
        if identifier.is_empty() || characters > 64 {
            Some(format!("it has {characters} characters; a name has 1 to 64"))
        } else if identifier.chars().any(|c| c == '\0' || u32::from(c) > 0xffff) {
            Some("a name there holds characters of the basic plane only, without U+0000".into())
        } else if identifier.ends_with(' ') {
            Some("a name there cannot end in a blank".into())
        } else if identifier.to_lowercase().starts_with("towpath_") {
            Some("names that start with towpath_ belong to Towpath's own tables".into())
        } else {
            None
        }
    }

    fn system_schema(&self, name: &str) -> bool {
        SYSTEM.contains(&name)
    }

    fn parse_type(&self, native: &str) -> Type {
        types::parse(native)
    }

    fn spell_type(&self, ty: &Type) -> Option<String> {
        types::spell(ty)
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
        text::spell(expr)
    }

    fn rename(&self, native: &str, renames: &Renames) -> Result<String, Unspeakable> {
        Ok(rename::rename(native, renames))
    }

    fn same_expr(&self, a: &str, b: &str) -> bool {
        text::same(a, b)
    }

    fn check_condition(&self, text: &str) -> Result<(), String> {
        text::check_condition(text)
    }

    fn mentions(&self, native: &str) -> HashSet<(Name, bool)> {
        rename::mentions(native)
    }

    fn makes_sequences(&self, catalog: &Catalog) -> bool {
        catalog.version.starts_with(Flavor::MariaDb.name())
    }

    fn create_sequence(&self, sequence: &Sequence) -> Vec<String> {
        vec![ddl::create_sequence(sequence)]
    }

    fn create_table(&self, table: &Table, _identity: &[&Sequence], inline: Inline) -> Vec<String> {
        vec![ddl::create_table(table, inline)]
    }

    fn add_check(&self, table: &Table, check: &Check) -> Vec<String> {
        vec![ddl::add_check(table, check)]
    }

    fn add_key(&self, table: &Table, key: &Key) -> Vec<String> {
        vec![ddl::add_key(table, key)]
    }

    fn create_index(&self, table: &Table, index: &Index) -> Vec<String> {
        vec![ddl::create_index(table, index)]
    }

    fn add_foreign_key(&self, table: &Table, key: &ForeignKey, validate: bool) -> Vec<String> {
        ddl::add_foreign_key(table, key, validate)
    }

    /// None: a key that is added is checked then, or never.
    fn validate_foreign_key(&self, table: &Table, key: &ForeignKey) -> Vec<String> {
        vec![ddl::orphans(table, key)]
    }

    fn analyze(&self, table: &Name) -> Vec<String> {
        vec![format!("ANALYZE TABLE {}", quote::name(table))]
    }

    /// Not TRUNCATE, which ends the transaction that it is in. With its checks on, a server would refuse
    /// it for the rows that point here, or delete them.
    fn empty_table(&self, table: &Name) -> Vec<String> {
        vec![ddl::UNCHECKED.to_string(), format!("DELETE FROM {}", quote::name(table))]
    }

    fn refuse_key(&self, table: &Table, key: &Key) -> Option<Unspeakable> {
        refuse::key(table, key)
    }

    fn refuse_index(&self, table: &Table, index: &Index) -> Option<Unspeakable> {
        refuse::index(table, index)
    }

    fn refuse_foreign_key(&self, table: &Table, key: &ForeignKey) -> Option<Unspeakable> {
        refuse::foreign_key(table, key)
    }

    /// InnoDB wants numbers of equal size and sign.
    fn joins(&self, own: &Type, parent: &Type) -> bool {
        let number =
            matches!(own, Type::Int { .. } | Type::UInt { .. } | Type::Decimal { .. } | Type::Float { .. });
        if number { own == parent } else { family(own) == family(parent) }
    }

    fn leaves_option(&self, key: &str, value: &str) -> Option<(String, String)> {
        refuse::leaves_option(key, value)
    }

    fn refuse_column(&self, table: &Table, column: &Column) -> Option<Unspeakable> {
        refuse::column(table, column)
    }

    fn probe(&self, probe: &Probe) -> Option<String> {
        probe::query(probe)
    }
}
