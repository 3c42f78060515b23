//! The comparison, step by step: map what is carried, find what it needs, settle names, hold it
//! against the target, look at both databases as a whole.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::acting;
use super::against::{self, There};
use super::columns::ON_UPDATE;
use super::definition;
use super::difference::State;
use super::found::Found;
use super::road::Road;
use super::same::Same;
use super::{
    Diff, SequencePair, TableDiff, Wanted, back, following, id, naming, needed, partitions, sequences, tables,
};
use crate::catalog::noun::counted;
use crate::catalog::{Extension, Name, OtherObject, Schema, Sequence, UserType};
use crate::checkpoint::Progress;
use crate::plan::{Problem, Selection};

pub(super) fn run(
    mut road: Road<'_>,
    selection: &Selection,
    progress: &Progress,
) -> Result<Diff, Vec<Problem>> {
    let mut found = Found { warnings: selection.warnings.clone(), ..Found::default() };
    let used = needed::follow(&road, selection, &mut found);
    road.learn(&used);
    let road = &road;
    let mut tables = map_tables(road, selection, &mut found);
    let types = needed::map_types(road, &used, &mut found);
    let extensions = needed::map_extensions(road, &used, &mut found);
    let sequences = sequences::map_sequences(road, &tables, &used, &mut found);
    naming::settle(road, &mut tables, &sequences, &mut found);
    need_parent_keys(road, &mut tables, &mut found);
    unused_rules(road, &mut found);
    let idle = idle(road, selection, &used);
    look_at_ends(road, &tables, &idle, &mut found);
    look_at_grants(road, &sequences, &mut found);
    leave_behind(road, selection, idle, &mut found);
    let followed = following::look(road, &tables, &mut found);

    let there = There::new(road, progress);
    for table in &mut tables {
        against::compare_table(road, table, &there, &mut found);
    }
    acting::settle(road, &mut tables, &there, &mut found);
    let schemas = schemas_of(&tables, &types, &sequences, &extensions);
    let schemas = needed::map_schemas(road, schemas);
    let diff = Diff {
        schemas: compare_schemas(road, schemas, &there, &mut found),
        extensions: compare_extensions(road, extensions, &there, &mut found),
        types: compare_types(road, types, &there, &mut found),
        sequences: compare_sequences(road, sequences, &tables, &there, &mut found),
        tables,
        followed,
        begun: !progress.steps.is_empty(),
        ..Diff::default()
    };
    let back = road.plan.reverse.and_then(|_| back::look(road, &diff, &mut found));
    let diff = Diff { back: back.map(Box::new), ..diff };
    forget_loaded(&diff, &there, &mut found);
    finish(diff, found)
}

/// Rows that are in need no questions any more. What a key may meet is still asked: steps follow
/// from the answer.
fn forget_loaded(diff: &Diff, there: &There<'_>, found: &mut Found) {
    let loaded = diff.tables.iter().filter(|table| there.did(&id::copy(&table.want.name)));
    let loaded: HashSet<&Name> = loaded.flat_map(|table| [&table.source, &table.want.name]).collect();
    found.asked.retain(|asked| asked.probe.code.starts_with('K') || !loaded.contains(&asked.probe.table));
}

/// What this role may not read, with the statement that lets it.
fn look_at_grants(road: &Road<'_>, sequences: &[SequencePair], found: &mut Found) {
    for denied in &road.source.denied {
        let drawn = sequences.iter().any(|pair| pair.source == denied.object);
        if drawn || road.intent(&denied.object).is_some() {
            let at = road.spot(&denied.object, None).at;
            let way = format!("on the source, as its owner: {};", denied.grant.trim_end_matches(';'));
            let what = denied.what.as_deref().unwrap_or("it");
            found.hazard("P802", at, format!("this role may not read {what}"), &[way.as_str()]);
            // A question that cannot be answered would hide the grant behind its error.
            found.asked.retain(|asked| asked.probe.table != denied.object);
        }
    }
}

/// Sorts what was found; problems end it.
fn finish(diff: Diff, mut found: Found) -> Result<Diff, Vec<Problem>> {
    let order =
        |problem: &Problem| (problem.span.unwrap_or_default(), problem.code.clone(), problem.message.clone());
    found.problems.sort_by_cached_key(order);
    found.problems.dedup();
    if !found.problems.is_empty() {
        return Err(found.problems);
    }
    found.warnings.sort_by_cached_key(order);
    found.hazards.sort_by(|a, b| (&a.code, &a.at, &a.what).cmp(&(&b.code, &b.at, &b.what)));
    found.hazards.dedup();
    found.asked.sort_by_cached_key(|asked| {
        let probe = &asked.probe;
        (
            probe.end as u8,
            probe.table.clone(),
            probe.code.clone(),
            probe.column.clone(),
            asked.hazard.what.clone(),
        )
    });
    found.left_behind.sort();
    found.left_behind.dedup();
    Ok(Diff {
        hazards: found.hazards,
        asked: found.asked,
        left_behind: found.left_behind,
        warnings: found.warnings,
        ..diff
    })
}

/// All carried tables, in the order of their source names. On another engine a partition tree is
/// one table, read through its root.
fn map_tables(road: &Road<'_>, selection: &Selection, found: &mut Found) -> Vec<TableDiff> {
    let mut out: BTreeMap<Name, TableDiff> = BTreeMap::new();
    let mut folded: Vec<(Name, u64, u64)> = Vec::new();
    for intent in &selection.tables {
        let Some(table) = road.table(&intent.source) else { continue };
        match top(road, &table.name).filter(|_| !road.same) {
            Some(root) => folded.push((root, table.rows, table.bytes)),
            None => {
                out.insert(table.name.clone(), tables::map_table(road, intent, table, found));
            }
        }
    }
    for (root, rows, bytes) in folded {
        if let Some(table) = out.get_mut(&root) {
            table.rows += rows;
            table.bytes += bytes;
        }
    }
    out.into_values().collect()
}

/// The carried root that a partition hangs below, directly or not.
fn top(road: &Road<'_>, name: &Name) -> Option<Name> {
    let mut found = None;
    let mut at = name.clone();
    for _ in 0..=road.source.tables.len().min(64) {
        let Some(parent) = road.table(&at).and_then(|table| table.partition()) else { break };
        at = parent.parent.clone();
        if road.intent(&at).is_some() {
            found = Some(at.clone());
        }
    }
    found
}

/// A foreign key needs a unique key on its parent's columns; one that the plan left out takes the
/// foreign key with it.
fn need_parent_keys(road: &Road<'_>, tables: &mut [TableDiff], found: &mut Found) {
    let mut unique: HashSet<(Name, BTreeSet<String>)> = HashSet::new();
    let columns = |parts: &[crate::catalog::IndexPart]| -> Option<BTreeSet<String>> {
        parts.iter().map(|part| part.column.clone()).collect()
    };
    let wanted = tables.iter().map(|table| &table.want);
    for table in wanted.chain(&road.target.tables) {
        let keys = table.keys.iter().filter(|key| key.predicate.is_none()).map(|key| &key.parts);
        let indexes = table.indexes.iter().filter(|index| index.unique && index.predicate.is_none());
        for parts in keys.chain(indexes.map(|index| &index.parts)) {
            unique.extend(columns(parts).map(|columns| (table.name.clone(), columns)));
        }
    }
    let keyed = tables.iter().filter(|table| table.want.primary_key().is_some());
    let primary: HashSet<Name> = keyed.map(|table| table.want.name.clone()).collect();
    for table in tables {
        let at = road.at(&table.source);
        let schema = table.source.schema.clone();
        table.foreign_keys.retain(|key| {
            let key = &key.want;
            let wanted = (key.parent.clone(), key.parent_columns.iter().cloned().collect());
            if unique.contains(&wanted) || (key.parent_columns.is_empty() && primary.contains(&key.parent)) {
                return true;
            }
            let label = id::foreign_label(key);
            let why = format!("{} has no unique key on ({})", key.parent, key.parent_columns.join(", "));
            let ways = ["accept it: it is left out", "keys: [primary, unique, foreign] for the parent"];
            found.hazard("K306", &at, format!("foreign key {label}: {why}"), &ways);
            found.left("foreign key", Name::new(&schema, label), why);
            false
        });
        if table.foreign_keys.len() < table.want.foreign_keys.len() {
            table.want.foreign_keys = table.foreign_keys.iter().map(|key| key.want.clone()).collect();
        }
    }
}

fn unused_rules(road: &Road<'_>, found: &mut Found) {
    for rule in road.unused_rules() {
        let message = format!("no carried column is of type {}", rule.from);
        found.warnings.push(Problem::warning("W206", message).at(rule.span));
    }
}

/// Bytes whose reading holds a snapshot for hours rather than minutes.
const LONG_SNAPSHOT_BYTES: u64 = 100 << 30;

fn look_at_ends(road: &Road<'_>, tables: &[TableDiff], idle: &[(&str, Name)], found: &mut Found) {
    let (source, target) = (road.source, road.target);
    if !source.place.hash.is_empty() && source.place == target.place {
        found.hazard(
            "P805",
            "target",
            "source and target are the same database",
            &["correct one of the URLs"],
        );
    }
    // One that takes any bytes takes these, too.
    let whole = |encoding: &str| {
        let encoding = encoding.to_uppercase();
        encoding.contains("UTF") || encoding == "SQL_ASCII"
    };
    if !whole(&target.encoding) && source.encoding != target.encoding && !target.encoding.is_empty() {
        let what = format!("its encoding {} cannot hold all text of {}", target.encoding, source.encoding);
        found.hazard("P803", "target", what, &["create the target database with UTF8"]);
    }
    let bytes: u64 = tables.iter().map(|table| table.bytes).sum();
    if bytes > LONG_SNAPSHOT_BYTES {
        found.hazard("R702", "source", format!("one snapshot over about {} GiB", bytes >> 30), &[]);
    }
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let others = source.others.iter().filter(|other| stays(road, other)).map(|other| other.kind.as_str());
    for kind in others.chain(idle.iter().map(|(kind, _)| *kind)) {
        *kinds.entry(kind).or_default() += 1;
    }
    let clauses = found.left_behind.iter().filter(|left| left.kind == ON_UPDATE).count();
    kinds.extend((clauses > 0).then_some((ON_UPDATE, clauses)));
    let is_right = |kind: &str| matches!(kind, "policy" | "grant" | "owner" | "default privileges");
    let sum = |rights: bool| {
        let kinds = kinds.iter().filter(|(kind, _)| is_right(kind) == rights);
        kinds.map(|(kind, count)| counted(*count, kind)).collect::<Vec<_>>().join(", ")
    };
    for (code, rights) in [("U901", false), ("P804", true)] {
        if !sum(rights).is_empty() {
            found.hazard(code, "source", format!("not carried: {}", sum(rights)), &[]);
        }
    }
}

/// A collation that both ends have goes with its column, and partitioning with its table.
fn stays(road: &Road<'_>, other: &OtherObject) -> bool {
    (other.kind != "collation" || !road.has_both(&other.name)) && !partitions::is_carried(road, other)
}

/// Kind and name of what nothing carried has any use for, and the target has not.
fn idle(road: &Road<'_>, selection: &Selection, used: &needed::Used) -> Vec<(&'static str, Name)> {
    let mut out = Vec::new();
    let there: HashSet<&Name> = road.target.types.iter().map(|known| &known.name).collect();
    out.extend(
        used.idle_types.iter().filter(|name| !there.contains(name)).map(|name| ("type", name.clone())),
    );
    if !road.same {
        return out;
    }
    let has: HashSet<&Name> = road.target.collations.iter().collect();
    let collations = road.source.collations.iter().filter(|name| !has.contains(name));
    out.extend(collations.map(|name| ("collation", name.clone())));
    let names = selection.tables.iter().map(|intent| &intent.source);
    let names = names.chain(&used.types).chain(&used.sequences).map(|name| name.schema.as_str());
    let known = road.target.schemas.iter().map(|schema| schema.name.as_str());
    let extensions = road.source.extensions.iter().map(|extension| extension.schema.as_str());
    let live: HashSet<&str> = names.chain(known).chain(extensions).collect();
    let schemas = road.source.schemas.iter().filter(|schema| !live.contains(schema.name.as_str()));
    let default = &road.source.default_schema;
    out.extend(
        schemas
            .filter(|schema| schema.name != *default)
            .map(|schema| ("schema", Name::new("", &schema.name))),
    );
    out
}

fn leave_behind(road: &Road<'_>, selection: &Selection, idle: Vec<(&'static str, Name)>, found: &mut Found) {
    for (kind, name) in idle {
        found.left(
            kind,
            name,
            if kind == "collation" { "not carried yet" } else { "nothing carried uses it" },
        );
    }

    for (name, pattern) in &selection.skipped {
        let why = match pattern {
            Some(pattern) => format!("skipped by {pattern:?}"),
            None => "no pattern of tables: matches it".to_string(),
        };
        found.left("table", name.clone(), why);
    }
    for other in road.source.others.iter().filter(|other| stays(road, other)) {
        found.left(&other.kind, other.name.clone(), "not carried yet");
    }
}

/// The schemas of all that is wanted; an extension is made in one, too, and makes none by itself.
fn schemas_of<'a>(
    tables: &'a [TableDiff],
    types: &'a [UserType],
    sequences: &'a [SequencePair],
    extensions: &'a [Extension],
) -> impl Iterator<Item = &'a str> {
    let tables = tables.iter().map(|table| &table.want.name.schema);
    let types = types.iter().map(|user_type| &user_type.name.schema);
    let sequences = sequences.iter().map(|pair| &pair.want.name.schema);
    let extensions = extensions.iter().map(|extension| &extension.schema);
    tables.chain(types).chain(sequences).chain(extensions).map(String::as_str)
}

fn compare_schemas(
    road: &Road<'_>,
    wanted: Vec<Schema>,
    there: &There<'_>,
    found: &mut Found,
) -> Vec<Wanted<Schema>> {
    let have: HashMap<&str, &Schema> =
        road.target.schemas.iter().map(|schema| (schema.name.as_str(), schema)).collect();
    let describe = |want: &Schema| (format!("schema {}", want.name), id::schema(&want.name));
    let find = |want: &Schema| have.contains_key(want.name.as_str()).then(Vec::new);
    let wanted = against::compare_objects(wanted, there, describe, find, found);
    for schema in wanted.iter().filter(|wanted| wanted.state == State::Present) {
        let have = have.get(schema.want.name.as_str()).and_then(|have| have.comment.as_ref());
        against::leave_comment("schema", Name::new("", &schema.want.name), &schema.want.comment, have, found);
    }
    wanted
}

fn compare_extensions(
    road: &Road<'_>,
    wanted: Vec<Extension>,
    there: &There<'_>,
    found: &mut Found,
) -> Vec<Wanted<Extension>> {
    let installed = road.target.extensions.iter().filter(|extension| extension.installed);
    let have: HashMap<&str, &Extension> = installed.map(|have| (have.name.as_str(), have)).collect();
    let describe = |want: &Extension| (format!("extension {}", want.name), id::extension(&want.name));
    let find = |want: &Extension| {
        let have = have.get(want.name.as_str())?;
        Some(definition::changes(&definition::extension(have), &definition::extension(want)))
    };
    against::compare_objects(wanted, there, describe, find, found)
}

fn compare_types(
    road: &Road<'_>,
    wanted: Vec<UserType>,
    there: &There<'_>,
    found: &mut Found,
) -> Vec<Wanted<UserType>> {
    let have: HashMap<&Name, &UserType> = road.target.types.iter().map(|have| (&have.name, have)).collect();
    let describe = |want: &UserType| (format!("type {}", want.name), id::user_type(&want.name));
    let find = |want: &UserType| {
        let same = Same { road, lenient: there.did(&id::user_type(&want.name)) };
        Some(same.type_changes(have.get(&want.name)?, want))
    };
    let wanted = against::compare_objects(wanted, there, describe, find, found);
    for user_type in wanted.iter().filter(|wanted| wanted.state == State::Present) {
        let have = have.get(&user_type.want.name).and_then(|have| have.comment.as_ref());
        let UserType { name, comment, .. } = &user_type.want;
        against::leave_comment("type", name.clone(), comment, have, found);
    }
    wanted
}

/// Sequences stand for themselves, but for those of identity columns: they stand as their table.
fn compare_sequences(
    road: &Road<'_>,
    wanted: Vec<SequencePair>,
    tables: &[TableDiff],
    there: &There<'_>,
    found: &mut Found,
) -> Vec<Wanted<SequencePair>> {
    let have: HashMap<&Name, &Sequence> =
        road.target.sequences.iter().map(|have| (&have.name, have)).collect();
    let states: HashMap<&Name, State> = tables.iter().map(|table| (&table.want.name, table.state)).collect();
    let same = Same { road, lenient: false };
    let (with_table, alone): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|pair| pair.want.owner.as_ref().is_some_and(|owner| owner.identity));
    let describe =
        |pair: &SequencePair| (format!("sequence {}", pair.want.name), id::sequence(&pair.want.name));
    let find = |pair: &SequencePair| Some(same.sequence_changes(have.get(&pair.want.name)?, &pair.want));
    let mut out = against::compare_objects(alone, there, describe, find, found);
    for pair in out.iter().filter(|pair| pair.state == State::Present) {
        let want = &pair.want.want;
        let have = have.get(&want.name).and_then(|have| have.comment.as_ref());
        against::leave_comment("sequence", want.name.clone(), &want.comment, have, found);
    }
    out.extend(with_table.into_iter().map(|want| {
        let table = want.want.owner.as_ref().and_then(|owner| states.get(&owner.table));
        let state = table.copied().unwrap_or(State::Present);
        Wanted { want, state }
    }));
    out.sort_by(|a, b| a.want.want.name.cmp(&b.want.want.name));
    out
}
