//! Names on the target: that they can be held and told apart there, and others for constraints
//! and indexes where theirs are taken. Always the same ones for the same plan and source.

use std::collections::{BTreeMap, HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::difference::{Change, Difference};
use super::found::Found;
use super::road::Road;
use super::{SequencePair, TableDiff, Wanted};
use crate::catalog::dialect::Length;
use crate::catalog::name::show;
use crate::catalog::{Key, KeyKind, Name};
use crate::plan::Problem;

/// Settles all names. Tables are in the order of their source names.
pub(super) fn settle(
    road: &Road<'_>,
    tables: &mut [TableDiff],
    sequences: &[SequencePair],
    found: &mut Found,
) {
    check_tables(road, tables, found);
    for table in tables.iter() {
        check_columns(road, table, found);
    }
    let mut taken = Taken::new(road, tables, sequences);
    let mut constraints = HashSet::new();
    let mut moved = BTreeMap::new();
    for table in tables.iter_mut() {
        name_constraints(road, table, &mut taken, &mut constraints, &mut moved);
        name_indexes(road, table, &mut taken, &mut moved);
    }
    let parts: HashSet<Name> = tables.iter().flat_map(parts).collect();
    for table in tables.iter_mut() {
        follow_parents(table, &moved, &parts);
        write_names(table);
    }
}

/// The names of a table's keys and indexes.
fn parts(table: &TableDiff) -> impl Iterator<Item = Name> {
    let keys = table.keys.iter().map(|key| &key.want.name);
    let names = keys.chain(table.indexes.iter().map(|index| &index.want.name));
    names.map(|name| Name::new(&table.want.name.schema, name))
}

/// The wanted table holds its parts once more, for the engines that make them with it.
fn write_names(table: &mut TableDiff) {
    let want = &mut table.want;
    for (key, Wanted { want, .. }) in want.keys.iter_mut().zip(&table.keys) {
        key.name.clone_from(&want.name);
        key.parent.clone_from(&want.parent);
    }
    for (index, Wanted { want, .. }) in want.indexes.iter_mut().zip(&table.indexes) {
        index.name.clone_from(&want.name);
        index.parent.clone_from(&want.parent);
    }
    for (key, Wanted { want, .. }) in want.foreign_keys.iter_mut().zip(&table.foreign_keys) {
        key.name.clone_from(&want.name);
    }
}

/// How the target tells names apart.
fn folded(road: &Road<'_>, name: &str) -> String {
    if road.to.features().folds_case { name.to_ascii_lowercase() } else { name.to_string() }
}

fn folded_column(road: &Road<'_>, name: &str) -> String {
    if road.to.features().folds_columns { name.to_lowercase() } else { folded(road, name) }
}

fn check_tables(road: &Road<'_>, tables: &[TableDiff], found: &mut Found) {
    let mut seen: HashMap<(String, String), &TableDiff> = HashMap::new();
    let mut schemas = HashSet::new();
    for table in tables {
        let name = &table.want.name;
        let error = |code: &str, message: String| Problem::error(code, message).at(table.span);
        let rename = format!("rename it: {}: {{ to: new_name }}", road.at(&table.source));
        if let Some(why) = road.to.bad_identifier(&name.name) {
            let message = format!("{} cannot have a table {name}: {why}", road.to.name());
            found.problems.push(error("E141", message).help(rename.clone()));
        }
        if schemas.insert(name.schema.clone()) && road.to.features().schemas {
            if road.to.system_schema(&name.schema) {
                let message = format!(
                    "schema {} is kept for {} itself or for Towpath",
                    show(&name.schema),
                    road.to.name()
                );
                found.problems.push(error("E144", message));
            } else if let Some(why) = road.to.bad_identifier(&name.schema) {
                let message =
                    format!("{} cannot have a schema {}: {why}", road.to.name(), show(&name.schema));
                found.problems.push(error("E141", message));
            }
        }
        if !road.to.features().schemas && name.schema != road.target.default_schema {
            let message = format!(
                "{} has one schema for all tables: {name} cannot be in {}",
                road.to.name(),
                show(&name.schema)
            );
            found.problems.push(error("E144", message).help("leave the schema out of to: and target:"));
        }
        if let Some(other) = seen.insert((folded(road, &name.schema), folded(road, &name.name)), table) {
            let code = if other.want.name == *name { "E124" } else { "E142" };
            let message =
                format!("{} and {} are one table on the target: {name}", other.source, table.source);
            found.problems.push(error(code, message).help(rename));
        }
    }
}

fn check_columns(road: &Road<'_>, table: &TableDiff, found: &mut Found) {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for column in &table.want.columns {
        if let Some(other) = seen.insert(folded_column(road, &column.name), &column.name) {
            let code = if other == column.name { "E124" } else { "E142" };
            let message = format!(
                "columns {} and {} of {} are one column on the target",
                show(other),
                show(&column.name),
                table.source
            );
            let help = format!("rename one: columns: {{ {}: {{ to: new_name }} }}", show(&column.name));
            found.problems.push(Problem::error(code, message).at(table.span).help(help));
        }
    }
}

/// Names that are given out, by schema (by table, where indexes belong to their table).
struct Taken {
    names: HashSet<(String, String)>,
    per_schema: bool,
}

impl Taken {
    fn new(road: &Road<'_>, tables: &[TableDiff], sequences: &[SequencePair]) -> Self {
        let relations = tables.iter().map(|table| &table.want.name);
        let relations = relations.chain(sequences.iter().map(|pair| &pair.want.name));
        let names = relations.map(|name| (name.schema.clone(), folded(road, &name.name))).collect();
        Self { names, per_schema: road.to.features().index_names_per_schema }
    }

    /// Takes a name, or the first free one made from it.
    fn take(&mut self, road: &Road<'_>, table: &Name, name: &str) -> String {
        let most = road.to.features().identifier_max;
        let space = if self.per_schema { table.schema.clone() } else { table.to_string() };
        let first = std::iter::once(name.to_string());
        let prefixed = format!("{}_{name}", table.name);
        let numbered = (2..).map(|number| format!("{prefixed}_{number}"));
        let mut candidates = first.chain([prefixed.clone()]).chain(numbered).map(|name| shorten(&name, most));
        let free = candidates.find(|name| self.names.insert((space.clone(), folded(road, name))));
        free.unwrap_or_else(|| name.to_string())
    }
}

/// A name within the limit: cut, with eight digits of the whole name's hash to tell it from others.
pub(super) fn shorten(name: &str, most: Option<Length>) -> String {
    let Some(most) = most.filter(|most| most.cut(name, 0).len() < name.len()) else {
        return name.to_string();
    };
    let digest = Sha256::digest(name.as_bytes());
    let digits: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}_{digits}", most.cut(name, digits.len() + 1))
}

type Moved = BTreeMap<Name, Name>;

/// `own`: names of foreign keys and checks that are given out.
fn name_constraints(
    road: &Road<'_>,
    table: &mut TableDiff,
    taken: &mut Taken,
    own: &mut HashSet<String>,
    moved: &mut Moved,
) {
    let features = road.to.features();
    // Where constraints are added by name, each has one; where keys are indexes, they share
    // their names with them.
    let named = features.named_constraints && features.alter_adds_constraints;
    let name = table.want.name.clone();
    for place in 0..table.keys.len() {
        let key = &table.keys[place].want;
        let old = key.name.clone();
        if !named || (old.is_empty() && road.same) {
            continue;
        }
        let wanted = if old.is_empty() { key_name(&name.name, key) } else { old.clone() };
        let new = taken.take(road, &name, &wanted);
        note_rename(table, &old, &new, moved);
        table.keys[place].want.name = new;
    }
    if !named || road.same {
        return;
    }
    if !features.constraint_names_per_schema {
        own.clear();
    }
    let most = features.identifier_max;
    let mut free = |wanted: String| {
        let numbered = (1..).map(|number| format!("{wanted}{number}"));
        let mut names = std::iter::once(wanted.clone()).chain(numbered).map(|name| shorten(&name, most));
        names.find(|name| own.insert(folded_column(road, name))).unwrap_or_default()
    };
    for key in &mut table.foreign_keys {
        let said = Some(key.want.name.clone()).filter(|name| !name.is_empty());
        key.want.name =
            free(said.unwrap_or_else(|| format!("{}_{}_fkey", name.name, key.want.columns.join("_"))));
    }
    for check in &mut table.want.checks {
        let said = Some(check.name.clone()).filter(|name| !name.is_empty());
        check.name = free(said.unwrap_or_else(|| format!("{}_check", name.name)));
    }
}

fn key_name(table: &str, key: &Key) -> String {
    if key.kind == KeyKind::Primary {
        return format!("{table}_pkey");
    }
    let columns: Vec<_> = key.parts.iter().filter_map(|part| part.column.as_deref()).collect();
    format!("{table}_{}_key", columns.join("_"))
}

fn name_indexes(road: &Road<'_>, table: &mut TableDiff, taken: &mut Taken, moved: &mut Moved) {
    for place in 0..table.indexes.len() {
        let old = table.indexes[place].want.name.clone();
        let new = taken.take(road, &table.want.name, &old);
        note_rename(table, &old, &new, moved);
        table.indexes[place].want.name = new;
    }
}

fn note_rename(table: &mut TableDiff, old: &str, new: &str, moved: &mut Moved) {
    if old == new || old.is_empty() {
        return;
    }
    let schema = &table.want.name.schema;
    moved.insert(Name::new(schema, old), Name::new(schema, new));
    table.differences.push(Difference {
        kind: Change::Renamed,
        what: old.to_string(),
        before: show(old),
        after: show(new),
        note: Some("its name is taken or too long on the target".into()),
    });
}

/// Attached indexes and keys name their parents. One whose parent does not come (it is invalid, or the
/// plan leaves it out) stands for itself.
fn follow_parents(table: &mut TableDiff, moved: &Moved, parts: &HashSet<Name>) {
    // An index lives in its table's schema, wherever the plan has put that.
    let schema = table.want.partition().map(|partition| partition.parent.schema.clone());
    let follow = |parent: &mut Option<Name>| {
        match (&schema, parent.as_mut()) {
            (Some(schema), Some(name)) => name.schema.clone_from(schema),
            _ => *parent = None,
        }
        if let Some(to) = parent.as_ref().and_then(|name| moved.get(name)) {
            *parent = Some(to.clone());
        }
        *parent = parent.take().filter(|name| parts.contains(name));
    };
    table.keys.iter_mut().for_each(|Wanted { want, .. }| follow(&mut want.parent));
    table.indexes.iter_mut().for_each(|Wanted { want, .. }| follow(&mut want.parent));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i_04_a_long_name_is_cut_within_the_limit_and_still_told_apart() {
        let (a, b) = ("ä".repeat(40) + "a", "ä".repeat(40) + "b");
        let bytes = Some(Length::Bytes(63));
        let (short_a, short_b) = (shorten(&a, bytes), shorten(&b, bytes));
        assert!(short_a.len() <= 63 && short_b.len() <= 63);
        assert_ne!(short_a, short_b);
        assert_eq!(shorten("short", bytes), "short");
        let characters = Some(Length::Characters(64));
        assert_eq!(shorten(&a, characters), a);
        assert_eq!(shorten(&a.repeat(2), characters).chars().count(), 64);
    }
}
