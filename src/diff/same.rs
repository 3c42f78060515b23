//! Whether an object of the target is what is wanted: by structure, with texts compared by meaning
//! where it can be told. Comments, estimates, the order of columns, and how later columns compare do not
//! count.

use super::definition;
use super::road::Road;
use crate::catalog::table::PARTITION_BY;
use crate::catalog::{
    Check, Column, ForeignKey, Index, IndexPart, Key, KeyKind, Sequence, Table, TableKind, Type, UserType,
    UserTypeKind,
};

pub(super) struct Same<'a, 'r> {
    pub road: &'r Road<'a>,
    /// For what this plan made itself: a text that cannot be read back is believed.
    pub lenient: bool,
}

impl Same<'_, '_> {
    /// What differs between a table's body on the target and the wanted one, line by line.
    pub fn body_changes(&self, have: &Table, want: &Table) -> Vec<String> {
        let mut from = Vec::new();
        for column in &want.columns {
            let Some(there) = have.column(&column.name) else { continue };
            let same = self.column(there, column, is_key(want, column) || is_key(have, there), have);
            from.push(definition::column(if same { column } else { there }));
        }
        let to: Vec<_> = want.columns.iter().map(definition::column).collect();
        let mut changes = definition::changes(&from, &to);
        changes.extend(self.check_changes(have, want));
        changes.extend(self.kind_changes(have, want));
        changes.extend(self.extra_changes(have, want));
        changes
    }

    /// Checks by name, else by meaning. What this plan made and nobody can read back is paired off
    /// at the end: as many as were made are there.
    fn check_changes(&self, have: &Table, want: &Table) -> Vec<String> {
        let mut left: Vec<&Check> = have.checks.iter().collect();
        let mut lacking: Vec<&Check> = Vec::new();
        let mut changes = Vec::new();
        let equal = |a: &Check, b: &Check| self.road.same_text(&a.native, &b.native, have);
        for check in &want.checks {
            let named = left.iter().position(|there| !check.name.is_empty() && there.name == check.name);
            match named.or_else(|| left.iter().position(|there| equal(there, check) == Some(true))) {
                Some(at) => {
                    let there = left.remove(at);
                    if !equal(there, check).unwrap_or(self.lenient) {
                        changes.extend(definition::changes(
                            &[definition::check(there)],
                            &[definition::check(check)],
                        ));
                    }
                }
                // One that is not valid is added by a later step than the table.
                None if self.lenient && !check.validated => {}
                None => lacking.push(check),
            }
        }
        for check in lacking {
            let unread = |there: &&Check| self.lenient && equal(there, check).is_none();
            match left.iter().position(unread) {
                Some(at) => drop(left.remove(at)),
                None => changes.push(format!("+ {}", definition::check(check))),
            }
        }
        changes
    }

    /// A column that only the target has must fill itself.
    fn extra_changes(&self, have: &Table, want: &Table) -> Vec<String> {
        let extra = have.columns.iter().filter(|column| want.column(&column.name).is_none());
        let needy = extra.filter(|column| {
            column.not_null
                && column.default.is_none()
                && column.identity.is_none()
                && column.generated.is_none()
        });
        needy.map(|column| format!("- {}", definition::column(column))).collect()
    }

    fn kind_changes(&self, have: &Table, want: &Table) -> Vec<String> {
        let kinds = match (&have.kind, &want.kind) {
            (TableKind::Partitioned { by: a, .. }, TableKind::Partitioned { by: b, .. }) => {
                self.text(a, b, have)
            }
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        };
        let places = match (have.partition(), want.partition()) {
            (Some(a), Some(b)) => a.parent == b.parent && self.text(&a.bound, &b.bound, have),
            (a, b) => a.is_none() && b.is_none(),
        };
        let options = !self.road.same || sorted(&have.options) == sorted(&want.options);
        if kinds && places && options && have.inherits == want.inherits && have.unlogged == want.unlogged {
            return Vec::new();
        }
        let bare = |table: &Table| {
            let (columns, checks) = (Vec::new(), Vec::new());
            let options = sorted(&table.options).into_iter().cloned().collect();
            let table = Table { columns, checks, collation: None, comment: None, options, ..table.clone() };
            let mut lines = definition::body(&table);
            lines.retain(|line| self.road.same || !line.starts_with("option "));
            lines
        };
        definition::changes(&bare(have), &bare(want))
    }

    /// `key`: the column is in a primary key on one side, which keeps nulls out by itself.
    fn column(&self, have: &Column, want: &Column, key: bool, table: &Table) -> bool {
        let counts = self.road.to.features().sequences;
        self.native(&have.native, &want.native)
            && (have.not_null == want.not_null || key)
            && (have.identity == want.identity || !counts)
            && have.collation == want.collation
            // An engine without such a thing may be given one in place of its triggers.
            && (have.stamped == want.stamped || !self.road.same)
            && self.value(
                have.default.as_ref().map(|default| default.native.as_str()),
                want.default.as_ref().map(|default| default.native.as_str()),
                (&Table::default(), &have.ty),
            )
            && self.value(
                have.generated.as_ref().map(|generated| generated.native.as_str()),
                want.generated.as_ref().map(|generated| generated.native.as_str()),
                (table, &have.ty),
            )
    }

    /// Texts whose values are of a column's type.
    fn value(&self, have: Option<&str>, want: Option<&str>, (table, ty): (&Table, &Type)) -> bool {
        match (have, want) {
            (Some(have), Some(want)) => {
                self.road.same_value(have, want, table, Some(ty)).unwrap_or(self.lenient)
            }
            (have, want) => have.is_none() && want.is_none(),
        }
    }

    fn native(&self, have: &str, want: &str) -> bool {
        let normal = |text: &str| self.road.to.normal_type(text, Some(self.road.known()));
        have == want || (normal(have).is_some() && normal(have) == normal(want))
    }

    fn text(&self, have: &str, want: &str, table: &Table) -> bool {
        self.road.same_text(have, want, table).unwrap_or(self.lenient)
    }

    fn maybe(&self, have: Option<&str>, want: Option<&str>, table: &Table) -> bool {
        match (have, want) {
            (Some(have), Some(want)) => self.text(have, want, table),
            (have, want) => have.is_none() && want.is_none(),
        }
    }

    pub fn key(&self, have: &Key, want: &Key, table: &Table) -> bool {
        have.kind == want.kind
            && self.parts(&have.parts, &want.parts, table)
            && have.include == want.include
            && have.nulls_not_distinct == want.nulls_not_distinct
            && have.deferrable == want.deferrable
            && have.initially_deferred == want.initially_deferred
            && (want.kind != KeyKind::Exclusion || have.method == want.method)
            && self.maybe(have.predicate.as_deref(), want.predicate.as_deref(), table)
    }

    pub fn index(&self, have: &Index, want: &Index, table: &Table) -> bool {
        have.unique == want.unique
            && method(&have.method) == method(&want.method)
            && self.parts(&have.parts, &want.parts, table)
            && have.include == want.include
            && have.nulls_not_distinct == want.nulls_not_distinct
            && self.maybe(have.predicate.as_deref(), want.predicate.as_deref(), table)
    }

    fn parts(&self, have: &[IndexPart], want: &[IndexPart], table: &Table) -> bool {
        have.len() == want.len() && have.iter().zip(want).all(|(have, want)| self.part(have, want, table))
    }

    fn part(&self, have: &IndexPart, want: &IndexPart, table: &Table) -> bool {
        have.column == want.column
            && self.maybe(have.expression.as_deref(), want.expression.as_deref(), table)
            && have.collation == want.collation
            && have.opclass == want.opclass
            && have.descending == want.descending
            && have.nulls == want.nulls
            && have.operator == want.operator
    }

    pub fn foreign_key(&self, have: &ForeignKey, want: &ForeignKey) -> bool {
        let parents = |key: &ForeignKey| key.parent_columns.is_empty() || want.parent_columns.is_empty();
        have.columns == want.columns
            && have.parent == want.parent
            && (have.parent_columns == want.parent_columns || parents(have))
            && have.on_delete == want.on_delete
            && have.on_update == want.on_update
            && have.set_columns == want.set_columns
            && have.matching == want.matching
            && have.deferrable == want.deferrable
            && have.initially_deferred == want.initially_deferred
    }

    pub fn sequence_changes(&self, have: &Sequence, want: &Sequence) -> Vec<String> {
        let facts = |sequence: &Sequence| {
            let mut lines =
                definition::sequence(&Sequence { owner: None, comment: None, ..sequence.clone() });
            lines[0] = format!("sequence {}", self.normal(&sequence.data_type));
            lines
        };
        definition::changes(&facts(have), &facts(want))
    }

    fn normal(&self, native: &str) -> String {
        self.road.to.normal_type(native, None).unwrap_or_else(|| native.to_string())
    }

    pub fn type_changes(&self, have: &UserType, want: &UserType) -> Vec<String> {
        let bare =
            |user_type: &UserType| definition::user_type(&UserType { comment: None, ..user_type.clone() });
        if let (UserTypeKind::Domain { base: a, .. }, UserTypeKind::Domain { base: b, .. }) =
            (&have.kind, &want.kind)
            && self.lenient
            && self.native(a, b)
        {
            return Vec::new();
        }
        definition::changes(&bare(have), &bare(want))
    }
}

fn is_key(table: &Table, column: &Column) -> bool {
    let mut parts = table.keys.iter().filter(|key| key.kind == KeyKind::Primary).flat_map(|key| &key.parts);
    parts.any(|part| part.column.as_ref() == Some(&column.name))
}

/// Options that count. How a table is cut that is there already is its owner's choice.
fn sorted(options: &[(String, String)]) -> Vec<&(String, String)> {
    let mut options: Vec<_> = options.iter().filter(|(key, _)| key != PARTITION_BY).collect();
    options.sort();
    options
}

/// The one method that engines without a choice have.
fn method(name: &str) -> &str {
    if name.is_empty() { "btree" } else { name }
}
