//! Which tables' changes are followed, and by what their rows are told apart. From the catalogs
//! alone: what only the live source knows is asked of it, and comes back as findings.

use std::collections::{BTreeSet, HashMap};

use super::columns::Work;
use super::found::{self, Found};
use super::hazard::Level;
use super::id;
use super::road::Road;
use super::{Diff, TableDiff};
use crate::catalog::{ChangeLog, Index, IndexPart, Key, KeyKind, Name, Projection, ReplicaIdentity, Table};
use crate::change::{Followed, Identity};
use crate::plan::{Load, Problem};

/// What the live source finds in the way of following it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub code: String,
    pub at: String,
    pub what: String,
    pub way: String,
    /// False: worth knowing, and no reason to stop.
    pub blocks: bool,
}

impl Diff {
    /// Adds what the source was asked about its change log.
    pub fn learn(&mut self, findings: Vec<Finding>) {
        for Finding { code, at, what, way, blocks } in findings {
            let usual = found::level(&code);
            let level = match blocks {
                true => usual.max(Level::Block),
                false => usual.min(Level::Warn),
            };
            let ways = if way.is_empty() { Vec::new() } else { vec![way.as_str()] };
            self.hazards.push(found::hazard(&code, level, at, what, &ways));
        }
        self.hazards.sort_by(|a, b| (&a.code, &a.at, &a.what).cmp(&(&b.code, &b.at, &b.what)));
        self.hazards.dedup();
    }
}

/// By what the rows of a followed table are told apart; none where the table is not followed, or
/// cannot be, which is said then.
pub(super) fn identify(
    work: &Work<'_, '_>,
    want: &Table,
    projection: &Projection,
    found: &mut Found,
) -> Option<Identity> {
    let policy = &work.intent.policy;
    if !policy.cdc || policy.load == Load::None || !want.holds_rows() {
        return None;
    }
    let (road, at) = (work.road, work.road.at(&work.table.name));
    let log = road.from.features().capture;
    if !road.to.features().applies {
        let why = "changes are not applied to the target's engine in this version";
        found.hazard("C502", &at, why, &["cdc: false"]);
        return None;
    }
    let missing = match log {
        ChangeLog::None => Some("changes of the source's engine are not followed in this version"),
        ChangeLog::Triggers if !road.plan.cdc.triggers => {
            Some("the source has no change log: following it needs triggers and a change table in it")
        }
        ChangeLog::Log if work.table.unlogged => Some("the table is unlogged: its changes are in no log"),
        _ => None,
    };
    if let Some(why) = missing {
        let ways: &[&str] = match log {
            ChangeLog::None => &["cdc: false"],
            ChangeLog::Triggers => &["cdc: { sqlite: triggers }", "cdc: false"],
            ChangeLog::Log | ChangeLog::WholeRows => {
                &["cdc: false", "on the source: ALTER TABLE ... SET LOGGED"]
            }
        };
        found.hazard("C502", &at, why, ways);
        return None;
    }
    let identity = told_apart(work, projection, log, &at, found)?;
    if identity == Identity::Whole {
        let what = "no key: its changes find their rows by all columns, each by reading the whole table";
        let ways = ["give it a key", "cdc: false", "accept it for a small table"];
        found.hazard("K302", &at, what, &ways);
    }
    check_filter(work, projection, &identity, found);
    check_key_comes(want, projection, &identity, &at, found);
    Some(identity)
}

/// The columns by which the log tells rows apart, as the catalog has them.
fn told_apart(
    work: &Work<'_, '_>,
    projection: &Projection,
    log: ChangeLog,
    at: &str,
    found: &mut Found,
) -> Option<Identity> {
    let own_key = || match projection.key.is_empty() {
        true => Identity::Whole,
        false => Identity::Columns(projection.key.clone()),
    };
    let columns = match told_by(work.table, log) {
        Told::Whole => return Some(own_key()),
        Told::By(columns) => columns,
        Told::Nothing(why) => {
            unidentified(work, at, why.to_string(), found);
            return None;
        }
    };
    let places: Vec<Option<usize>> = columns
        .iter()
        .map(|column| projection.columns.iter().position(|map| map.source == *column))
        .collect();
    if let Some(gap) = places.iter().position(Option::is_none) {
        let what = format!("its rows are told apart by {}, which stays behind", columns[gap]);
        unidentified(work, at, what, found);
        return None;
    }
    Some(Identity::Columns(places.into_iter().flatten().collect()))
}

/// What a change log tells of the row that is changed.
pub(super) enum Told {
    /// All its columns.
    Whole,
    /// These columns.
    By(Vec<String>),
    /// Not which row it is, and why.
    Nothing(&'static str),
}

/// As the catalog has it.
pub(super) fn told_by(table: &Table, log: ChangeLog) -> Told {
    // Triggers write whole rows, too.
    if matches!(log, ChangeLog::Triggers | ChangeLog::WholeRows) {
        return Told::Whole;
    }
    let named = match &table.replica_identity {
        ReplicaIdentity::Full => return Told::Whole,
        ReplicaIdentity::Primary => table.primary_key().filter(|key| !key.deferrable).map(|key| &key.parts),
        ReplicaIdentity::Index(name) => index_parts(table, name),
        ReplicaIdentity::Nothing => None,
    };
    let columns = named.and_then(|parts| columns_of(parts)).filter(|columns| !columns.is_empty());
    columns.map_or_else(
        || {
            Told::Nothing(match &table.replica_identity {
                ReplicaIdentity::Nothing => {
                    "its replica identity is nothing: the log does not say which rows change"
                }
                ReplicaIdentity::Index(_) => "its replica identity is an index that is not there any more",
                _ if table.primary_key().is_some() => {
                    "its primary key is deferrable: the log does not say which rows change"
                }
                _ => "no primary key: the log does not say which rows change",
            })
        },
        Told::By,
    )
}

fn index_parts<'t>(table: &'t Table, name: &str) -> Option<&'t Vec<IndexPart>> {
    let key = table.keys.iter().find(|key| key.name == name).map(|key: &Key| &key.parts);
    key.or_else(|| table.indexes.iter().find(|index| index.name == name).map(|index: &Index| &index.parts))
}

fn columns_of(parts: &[IndexPart]) -> Option<Vec<String>> {
    parts.iter().map(|part| part.column.clone()).collect()
}

fn unidentified(work: &Work<'_, '_>, at: &str, what: String, found: &mut Found) {
    let alter = format!(
        "on the source: ALTER TABLE {} REPLICA IDENTITY FULL, or USING INDEX one of its unique indexes",
        work.road.from.quote_name(&work.table.name)
    );
    found.hazard_as("C503", Level::Stop, at, what, &["give it a primary key", &alter, "cdc: false"]);
}

/// E128: the log has the old row's identity and nothing else, so a filter on other columns cannot
/// be decided for a row that goes.
fn check_filter(work: &Work<'_, '_>, projection: &Projection, identity: &Identity, found: &mut Found) {
    let Some(filter) = &work.intent.filter else { return };
    let whole = work.table.replica_identity == ReplicaIdentity::Full
        || matches!(work.road.from.features().capture, ChangeLog::Triggers | ChangeLog::WholeRows);
    let Identity::Columns(places) = identity else { return };
    if whole {
        return;
    }
    let known: BTreeSet<&str> =
        places.iter().map(|place| projection.columns[*place].source.as_str()).collect();
    let others = work.table.columns.iter().map(|column| &column.name);
    let others: BTreeSet<String> = others.filter(|name| !known.contains(name.as_str())).cloned().collect();
    let Some(column) = work.road.names_one_of(filter, &others) else { return };
    let what = format!(
        "where uses {}, which the change log does not carry for a row of {} that goes",
        crate::catalog::name::show(&column),
        work.table.name
    );
    let rule = work.road.plan.rules.iter().find(|rule| rule.span == work.intent.span);
    let span = rule.and_then(|rule| rule.filter.as_ref()).map_or(work.intent.span, |(_, span)| *span);
    let known: Vec<&str> = known.into_iter().collect();
    let help = format!(
        "filter by {} only, set REPLICA IDENTITY FULL on the source, or write cdc: false",
        known.join(", ")
    );
    found.problems.push(Problem::error("E128", what).at(span).help(help));
}

/// Without a key on the target every change reads the whole table.
pub(super) fn check_key_comes(
    want: &Table,
    projection: &Projection,
    identity: &Identity,
    at: &str,
    found: &mut Found,
) {
    let Identity::Columns(places) = identity else { return };
    let wanted: BTreeSet<&str> =
        places.iter().map(|place| projection.columns[*place].target.as_str()).collect();
    let covers = |parts: &[IndexPart]| {
        let columns: Option<BTreeSet<&str>> = parts.iter().map(|part| part.column.as_deref()).collect();
        columns.is_some_and(|columns| columns == wanted)
    };
    let keys = want.keys.iter().filter(|key| key.kind != KeyKind::Exclusion && key.predicate.is_none());
    let indexes = want.indexes.iter().filter(|index| index.unique && index.predicate.is_none());
    let comes =
        keys.map(|key| &key.parts).chain(indexes.map(|index| &index.parts)).any(|parts| covers(parts));
    if !comes {
        let columns: Vec<&str> = wanted.into_iter().collect();
        let what = format!(
            "no key on ({}) comes: each change would read the whole table to find its row",
            columns.join(", ")
        );
        let ways = ["keys: [primary, unique, foreign]", "cdc: false", "accept it for a small table"];
        found.hazard("C503", at, what, &ways);
    }
}

/// What concerns the stream as a whole, once all tables are known. Returns the followed tables.
pub(super) fn look(road: &Road<'_>, tables: &[TableDiff], found: &mut Found) -> Vec<Followed> {
    let followed: Vec<Followed> = tables.iter().filter_map(|table| followed(road, table)).collect();
    if followed.is_empty() {
        return followed;
    }
    split_keys(road, tables, found);
    let log = road.from.features().capture;
    if matches!(log, ChangeLog::Log | ChangeLog::WholeRows) {
        if log == ChangeLog::Log && road.plan.cdc.keep_log.is_none() {
            let what = "it keeps its log for as long as changes are not applied, whatever that takes";
            found.hazard("C506", "source", what, &["cdc: { keep_log: 20GB }"]);
        }
        let what = "not in the change log: structure, which stops the stream when it changes; values of \
                    sequences, which are set at the cutover; large objects";
        found.hazard_as("C507", Level::Note, "source", what, &[]);
    }
    followed
}

fn followed(road: &Road<'_>, table: &TableDiff) -> Option<Followed> {
    let identity = table.identity.clone()?;
    let projection = table.projection.as_ref().clone();
    let carried: BTreeSet<&str> = projection.columns.iter().map(|map| map.source.as_str()).collect();
    let columns = road.table(&table.source).into_iter().flat_map(|source| &source.columns);
    let skipped = columns.filter(|column| !carried.contains(column.name.as_str()));
    let skipped = skipped.map(|column| column.name.clone()).collect();
    Some(Followed { projection, identity, skipped })
}

/// A foreign key between a table that moves on and one that stands still holds at the copy and at
/// no time after.
fn split_keys(road: &Road<'_>, tables: &[TableDiff], found: &mut Found) {
    let moves: HashMap<&Name, bool> =
        tables.iter().map(|table| (&table.want.name, table.identity.is_some())).collect();
    for table in tables.iter().filter(|table| table.want.holds_rows()) {
        for key in &table.foreign_keys {
            let own = table.identity.is_some();
            let parent = moves.get(&key.want.parent).copied().unwrap_or(own);
            if own == parent {
                continue;
            }
            let (label, parent) = (id::foreign_label(&key.want), &key.want.parent);
            let what = match own {
                true => format!("foreign key {label}: changes of {parent} are not followed, its own are"),
                false => format!("foreign key {label}: changes of {parent} are followed, its own are not"),
            };
            let ways = ["cdc: true for both", "cdc: false for both", "keys: [primary, unique]"];
            found.hazard_as("C507", Level::Block, &road.at(&table.source), what, &ways);
        }
    }
}
