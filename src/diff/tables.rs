//! One carried table in the target's terms: the wanted table, the projection of its rows, and what
//! about it needs a look. Columns and keys have files of their own.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::columns::{Columns, Work, map_columns};
use super::difference::State;
use super::found::Found;
use super::hazard::{Level, Verdict};
use super::partitions::{map_options, renamed};
use super::road::Road;
use super::{TableDiff, Wanted, definition, following, keys};
use crate::catalog::table::PARTITION_BY;
use crate::catalog::{Column, Form, KeyKind, Name, Partition, Projection, Question, Table, TableKind};
use crate::change::Identity;
use crate::plan::{Load, Problem, TableIntent};

/// Maps a table. States are set later, against the target.
pub(super) fn map_table(
    road: &Road<'_>,
    intent: &TableIntent,
    source: &Table,
    found: &mut Found,
) -> TableDiff {
    let work = Work { road, table: source, intent };
    let mut columns = map_columns(&work, found);
    let mut want = Table {
        name: road.renames.object(&source.name),
        kind: map_kind(&work, found),
        columns: std::mem::take(&mut columns.columns),
        inherits: map_parents(&work, found),
        unlogged: source.unlogged && road.same,
        options: map_options(road, source, found),
        collation: source
            .collation
            .as_ref()
            .filter(|name| road.has_both(name))
            .map(|name| road.renames.object(name)),
        comment: source.comment.clone(),
        rows: source.rows,
        bytes: source.bytes,
        ..Table::default()
    };
    keep_nulls_out(&work, &mut want);
    want.checks = keys::map_checks(&work, &columns, found);
    want.keys = keys::map_keys(&work, &want, &columns, found);
    refuse_columns(&work, &want, found);
    want.indexes = keys::map_indexes(&work, &want, &columns, found);
    want.foreign_keys = keys::map_foreign_keys(&work, &want, &columns, found);
    put_in_order(&mut want);
    if !source.holds_rows() {
        // Statistics of a root are those of its partitions once more.
        (want.rows, want.bytes) = (0, 0);
    }
    let projection = Arc::new(project(&work, &want, &mut columns));
    let identity = following::identify(&work, &want, &projection, found);
    look(&work, &want, &columns, &projection, &identity, found);
    TableDiff {
        source: source.name.clone(),
        state: State::Missing,
        projection,
        policy: intent.policy.clone(),
        identity,
        differences: columns.differences,
        keys: missing(&want.keys),
        indexes: missing(&want.indexes),
        foreign_keys: missing(&want.foreign_keys),
        behind: BTreeSet::new(),
        rows: want.rows,
        bytes: want.bytes,
        span: intent.span,
        want,
    }
}

/// What hangs on a table has no order of its own: the same comes out however it was listed.
fn put_in_order(want: &mut Table) {
    want.keys.sort_by_cached_key(|key| (key.kind, key.name.clone(), definition::parts(&key.parts)));
    want.indexes.sort_by(|a, b| a.name.cmp(&b.name));
    want.foreign_keys.sort_by_cached_key(|key| (key.name.clone(), definition::foreign_key(key)));
    want.checks.sort_by(|a, b| (&a.name, &a.native).cmp(&(&b.name, &b.native)));
}

fn missing<T: Clone>(wanted: &[T]) -> Vec<Wanted<T>> {
    wanted.iter().map(|want| Wanted { want: want.clone(), state: State::Missing }).collect()
}

/// Partitions stay partitions of a carried parent on the same engine; elsewhere a root is one
/// plain table (its leaves are read through it and not carried on their own).
fn map_kind(work: &Work<'_, '_>, found: &mut Found) -> TableKind {
    let road = work.road;
    let at = || road.at(&work.table.name);
    if !road.same {
        match &work.table.kind {
            TableKind::Plain => {}
            TableKind::Partitioned { .. } => {
                found.hazard("U902", at(), "its partitions become one plain table", &[]);
            }
            TableKind::Leaf(_) => found.hazard("U902", at(), "a partition becomes a table of its own", &[]),
        }
        return TableKind::Plain;
    }
    let mut of = work.table.partition().cloned();
    if let Some(partition) = &of
        && road.intent(&partition.parent).is_none()
    {
        found.hazard("U902", at(), "a partition becomes a table of its own: its root is skipped", &[]);
        of = None;
    }
    let of = of.and_then(|partition| map_partition(work, &partition, found));
    match (&work.table.kind, of) {
        (TableKind::Partitioned { by, .. }, of) => match road.reword(by, work.table, &renamed(work.intent)) {
            Ok(by) => TableKind::Partitioned { by, of },
            Err(unspeakable) => refuse_partition(work, &unspeakable.what, found),
        },
        (_, Some(partition)) => TableKind::Leaf(partition),
        _ => TableKind::Plain,
    }
}

fn map_partition(work: &Work<'_, '_>, partition: &Partition, found: &mut Found) -> Option<Partition> {
    let road = work.road;
    match road.reword(&partition.bound, work.table, &renamed(work.intent)) {
        Ok(bound) => Some(Partition { parent: road.renames.object(&partition.parent), bound }),
        Err(unspeakable) => {
            refuse_partition(work, &unspeakable.what, found);
            None
        }
    }
}

fn refuse_partition(work: &Work<'_, '_>, what: &str, found: &mut Found) -> TableKind {
    let message = format!("the partitioning of {} cannot be written: {what}", work.table.name);
    found.problems.push(Problem::error("E208", message).at(work.intent.span));
    TableKind::Plain
}

fn map_parents(work: &Work<'_, '_>, found: &mut Found) -> Vec<Name> {
    let road = work.road;
    if work.table.inherits.is_empty() {
        return Vec::new();
    }
    if !road.same {
        let what = "the target has no inheritance: queries on its parent no longer see its rows";
        found.hazard_as("U902", Level::Block, &road.at(&work.table.name), what, &["accept it"]);
        return Vec::new();
    }
    for parent in work.table.inherits.iter().filter(|parent| road.intent(parent).is_none()) {
        let message = format!("{} inherits from {parent}, which is skipped", work.table.name);
        let help = format!("carry {parent} too, or skip {}", work.table.name);
        found.problems.push(Problem::error("E126", message).at(work.intent.span).help(help));
    }
    work.table.inherits.iter().map(|parent| road.renames.object(parent)).collect()
}

/// A primary key of another engine keeps nulls out, whatever the columns said before.
fn keep_nulls_out(work: &Work<'_, '_>, want: &mut Table) {
    if work.road.same || !work.intent.policy.keys.primary {
        return;
    }
    let parts = work.table.primary_key().into_iter().flat_map(|key| &key.parts);
    for name in parts.filter_map(|part| part.column.as_deref()) {
        let Some(to) = work.road.column(&work.table.name, name) else { return };
        if let Some(column) = want.columns.iter_mut().find(|column| column.name == to) {
            column.not_null = true;
        }
    }
}

fn refuse_columns(work: &Work<'_, '_>, want: &Table, found: &mut Found) {
    for column in &want.columns {
        if let Some(unspeakable) = work.road.to.refuse_column(want, column) {
            let message =
                format!("column {} of {} cannot be made: {}", column.name, want.name, unspeakable.what);
            found.problems.push(Problem::error("E125", message).at(work.intent.span));
        }
    }
}

fn project(work: &Work<'_, '_>, want: &Table, columns: &mut Columns) -> Projection {
    let maps = std::mem::take(&mut columns.maps);
    Projection {
        source: work.table.name.clone(),
        target: want.name.clone(),
        filter: work.intent.filter.clone(),
        key: key_places(work.table, &maps),
        form: form(work, &maps),
        columns: maps,
    }
}

/// How rows travel: bytes of the same engine pass through, in their fast form where no type's own
/// numbers are in them.
fn form(work: &Work<'_, '_>, maps: &[crate::catalog::ColumnMap]) -> Form {
    if !work.road.same {
        return Form::Rows;
    }
    let portable = |name: &str| work.table.column(name).is_some_and(|column: &Column| column.portable);
    let plain = maps.iter().all(|map| map.cast.is_none() && portable(&map.source));
    if plain { Form::NativeFast } else { Form::NativeText }
}

/// Where in the projection the columns are that tell rows apart.
pub(super) fn key_places(table: &Table, maps: &[crate::catalog::ColumnMap]) -> Vec<usize> {
    let place = |name: &str| maps.iter().position(|map| map.source == name);
    let whole = |parts: &[crate::catalog::IndexPart], nulls: bool| -> Option<Vec<usize>> {
        let columns = parts.iter().map(|part| part.column.as_deref());
        let columns = columns.collect::<Option<Vec<_>>>().filter(|columns| !columns.is_empty())?;
        let solid = |name: &&str| nulls || table.column(name).is_some_and(|column| column.not_null);
        if !columns.iter().all(solid) {
            return None;
        }
        columns.into_iter().map(place).collect()
    };
    let primary = table.keys.iter().filter(|key| key.kind == KeyKind::Primary);
    let solid_primary = primary.filter_map(|key| whole(&key.parts, false));
    let unique = table.keys.iter().filter(|key| key.kind == KeyKind::Unique && !key.deferrable);
    let unique = unique.filter_map(|key| whole(&key.parts, false));
    let indexes =
        table.indexes.iter().filter(|index| index.unique && index.valid && index.predicate.is_none());
    let indexes = indexes.filter_map(|index| whole(&index.parts, false));
    solid_primary.chain(unique).chain(indexes).next().unwrap_or_default()
}

/// Hazards and questions about the table as a whole.
fn look(
    work: &Work<'_, '_>,
    want: &Table,
    columns: &Columns,
    projection: &Projection,
    identity: &Option<Identity>,
    found: &mut Found,
) {
    let road = work.road;
    let spot = road.spot(&work.table.name, None);
    if let Some(why) = &work.table.hidden_rows {
        let ways = ["read as the table's owner, or as a role with BYPASSRLS"];
        found.hazard("P801", &spot.at, why.clone(), &ways);
    }
    // Partitioning is listed by its own name.
    let options = work.table.options.iter().any(|(key, _)| key != PARTITION_BY);
    let dropped = columns.stripped || (!road.same && (options || work.table.unlogged));
    if dropped && !road.from.holds().loose_values {
        found.hazard("U904", &spot.at, "storage options are dropped", &[]);
    }
    if work.intent.policy.load == Load::None || !want.holds_rows() {
        return;
    }
    if let Some(why) = &work.table.outside_snapshot {
        let ways = ["accept it where nobody writes to it meanwhile", "on the source: ENGINE = InnoDB"];
        found.hazard("C501", &spot.at, why.clone(), &ways);
    }
    if projection.key.is_empty() && *identity != Some(Identity::Whole) {
        let what = "no key: copied as one piece, and again as a whole if interrupted";
        found.hazard_as("K302", Level::Warn, &spot.at, what, &[]);
    }
    if work.intent.filter.is_some() {
        let what = "rows outside the filter";
        found.ask_as("D104", &spot, Question::FilteredOut, what, &[], Verdict::Filter, Some(Level::Note));
    }
}
