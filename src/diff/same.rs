//! Whether an object of the target is what is wanted: by structure, with texts compared by meaning
//! where it can be told. Comments, estimates and the order of columns do not count.

use super::definition;
use super::road::Road;
use crate::catalog::{
    Check, Column, ForeignKey, Index, IndexPart, Key, KeyKind, Sequence, Table, TableKind, UserType,
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
            let same = self.column(there, column, is_key(want, column) || is_key(have, there));
            from.push(definition::column(if same { column } else { there }));
        }
        for check in &have.checks {
            let wanted = want.checks.iter().find(|wanted| {
                (!check.name.is_empty() && wanted.name == check.name)
                    || self.text(&check.native, &wanted.native)
            });
            let same = wanted.filter(|wanted| self.text(&check.native, &wanted.native));
            from.extend(wanted.map(|_| definition::check(same.unwrap_or(check))));
        }
        let mut to: Vec<_> = want.columns.iter().map(definition::column).collect();
        // A check that is not valid is added by a later step than the table.
        let later = |check: &&Check| {
            self.lenient && !check.validated && !have.checks.iter().any(|there| there.name == check.name)
        };
        to.extend(want.checks.iter().filter(|check| !later(check)).map(definition::check));
        // A check's own order means nothing.
        let (checks_from, checks_to) = (from.split_off(count(have, want)), to.split_off(want.columns.len()));
        let mut changes = definition::changes(&from, &to);
        let (mut checks_from, mut checks_to) = (checks_from, checks_to);
        checks_from.sort();
        checks_to.sort();
        changes.extend(definition::changes(&checks_from, &checks_to));
        changes.extend(self.kind_changes(have, want));
        changes.extend(self.extra_changes(have, want));
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
            (TableKind::Partitioned { by: a, .. }, TableKind::Partitioned { by: b, .. }) => self.text(a, b),
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        };
        let places = match (have.partition(), want.partition()) {
            (Some(a), Some(b)) => a.parent == b.parent && self.text(&a.bound, &b.bound),
            (a, b) => a.is_none() && b.is_none(),
        };
        let options = !self.road.same || sorted(&have.options) == sorted(&want.options);
        if kinds && places && options && have.inherits == want.inherits && have.unlogged == want.unlogged {
            return Vec::new();
        }
        let bare = |table: &Table| {
            let mut lines =
                definition::body(&Table { columns: Vec::new(), checks: Vec::new(), ..table.clone() });
            lines.retain(|line| {
                !line.starts_with("comment ") && (self.road.same || !line.starts_with("option "))
            });
            lines
        };
        definition::changes(&bare(have), &bare(want))
    }

    /// `key`: the column is in a primary key on one side, which keeps nulls out by itself.
    fn column(&self, have: &Column, want: &Column, key: bool) -> bool {
        let counts = self.road.to.features().sequences;
        self.native(&have.native, &want.native)
            && (have.not_null == want.not_null || key)
            && (have.identity == want.identity || !counts)
            && have.collation == want.collation
            && self.maybe(
                have.default.as_ref().map(|default| default.native.as_str()),
                want.default.as_ref().map(|default| default.native.as_str()),
            )
            && self.maybe(
                have.generated.as_ref().map(|generated| generated.native.as_str()),
                want.generated.as_ref().map(|generated| generated.native.as_str()),
            )
    }

    fn native(&self, have: &str, want: &str) -> bool {
        let normal = |text: &str| self.road.to.normal_type(text, Some(self.road.known()));
        have == want || (normal(have).is_some() && normal(have) == normal(want))
    }

    fn text(&self, have: &str, want: &str) -> bool {
        let unreadable = |text: &str| self.road.to.parse_expr(text).is_none();
        self.road.same_text(have, want) || (self.lenient && (unreadable(have) || unreadable(want)))
    }

    fn maybe(&self, have: Option<&str>, want: Option<&str>) -> bool {
        match (have, want) {
            (Some(have), Some(want)) => self.text(have, want),
            (have, want) => have.is_none() && want.is_none(),
        }
    }

    pub fn key(&self, have: &Key, want: &Key) -> bool {
        have.kind == want.kind
            && self.parts(&have.parts, &want.parts)
            && have.include == want.include
            && have.nulls_not_distinct == want.nulls_not_distinct
            && have.deferrable == want.deferrable
            && have.initially_deferred == want.initially_deferred
            && (want.kind != KeyKind::Exclusion || have.method == want.method)
            && self.maybe(have.predicate.as_deref(), want.predicate.as_deref())
    }

    pub fn index(&self, have: &Index, want: &Index) -> bool {
        have.unique == want.unique
            && method(&have.method) == method(&want.method)
            && self.parts(&have.parts, &want.parts)
            && have.include == want.include
            && have.nulls_not_distinct == want.nulls_not_distinct
            && self.maybe(have.predicate.as_deref(), want.predicate.as_deref())
    }

    fn parts(&self, have: &[IndexPart], want: &[IndexPart]) -> bool {
        have.len() == want.len() && have.iter().zip(want).all(|(have, want)| self.part(have, want))
    }

    fn part(&self, have: &IndexPart, want: &IndexPart) -> bool {
        have.column == want.column
            && self.maybe(have.expression.as_deref(), want.expression.as_deref())
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

/// Lines that stand for columns on the target's side.
fn count(have: &Table, want: &Table) -> usize {
    want.columns.iter().filter(|column| have.column(&column.name).is_some()).count()
}

fn is_key(table: &Table, column: &Column) -> bool {
    let mut parts = table.keys.iter().filter(|key| key.kind == KeyKind::Primary).flat_map(|key| &key.parts);
    parts.any(|part| part.column.as_ref() == Some(&column.name))
}

fn sorted(options: &[(String, String)]) -> Vec<&(String, String)> {
    let mut options: Vec<_> = options.iter().collect();
    options.sort();
    options
}

/// The one method that engines without a choice have.
fn method(name: &str) -> &str {
    if name.is_empty() { "btree" } else { name }
}
