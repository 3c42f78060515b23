//! Partitioning that is part of its table, not a tree of tables: a server of the same maker is told it as
//! it is.

use std::collections::BTreeMap;

use super::found::Found;
use super::road::Road;
use crate::catalog::table::{PARTITION_BY, PARTITIONING};
use crate::catalog::{OtherObject, Table};
use crate::plan::TableIntent;

/// Storage options of a carried table, its partitioning with the names that columns have there.
/// What the target keeps in a way of its own is listed.
pub(super) fn map_options(road: &Road<'_>, table: &Table, found: &mut Found) -> Vec<(String, String)> {
    if !road.same {
        return Vec::new();
    }
    let mut options = table.options.clone();
    options.retain(|(key, value)| {
        let left = road.to.leaves_option(key, value);
        if let Some((kind, why)) = &left {
            found.left(kind, table.name.clone(), why);
        }
        left.is_none() && key != PARTITION_BY
    });
    options.extend(carried(road, table).map(|by| (PARTITION_BY.to_string(), by)));
    options
}

/// Whether this is the partitioning of a table that keeps it.
pub(super) fn is_carried(road: &Road<'_>, other: &OtherObject) -> bool {
    other.kind == PARTITIONING && road.table(&other.name).is_some_and(|table| carried(road, table).is_some())
}

fn carried(road: &Road<'_>, table: &Table) -> Option<String> {
    let by = table.option(PARTITION_BY).filter(|_| road.same && road.same_maker())?;
    let intent = road.intent(&table.name)?;
    let reword = |columns: BTreeMap<String, String>| road.reword(by, table, &columns).ok();
    // By a column that does not come nothing can be partitioned.
    let skipped = intent.columns.iter().filter(|rule| rule.skip);
    let marked: BTreeMap<_, _> =
        skipped.map(|rule| (rule.column.clone(), format!("{}_", rule.column))).collect();
    reword(marked).filter(|text| text == by)?;
    reword(renamed(intent))
}

/// Columns that have another name on the target.
pub(super) fn renamed(intent: &TableIntent) -> BTreeMap<String, String> {
    let rules = intent.columns.iter();
    rules.filter_map(|rule| rule.to.as_ref().map(|(to, _)| (rule.column.clone(), to.clone()))).collect()
}
