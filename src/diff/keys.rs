//! Keys, indexes, checks and foreign keys in the target's terms. What cannot come is left out,
//! listed, and a hazard; nothing is made that would mean something else.

use super::columns::{Columns, Work};
use super::found::Found;
use super::hazard::{Level, Verdict};
use crate::catalog::name::show;
use crate::catalog::{Check, ForeignKey, Index, IndexPart, Key, KeyKind, Name, Question, Table, Type};
use crate::plan::{Indexes, Load};

const LEFT_OUT: &[&str] = &["accept it: it is left out and listed"];

/// Why an object of the table does not come.
enum Why {
    /// It needs a column that the plan skips.
    Skipped(String),
    /// It has no counterpart.
    Unspeakable(String),
}

impl Why {
    fn text(&self) -> String {
        match self {
            Why::Skipped(column) => format!("uses {}, which is skipped", show(column)),
            Why::Unspeakable(what) => format!("no counterpart of {what}"),
        }
    }
}

/// Checks that come, those that stand for types among them.
pub(super) fn map_checks(work: &Work<'_, '_>, columns: &Columns, found: &mut Found) -> Vec<Check> {
    let mut checks = Vec::new();
    for check in &work.table.checks {
        let place = Name::new(work.table.name.to_string(), &check.name);
        match map_check(work, check, columns) {
            Ok(native) => {
                if !check.validated && !work.road.to.features().validates_later {
                    ask_check(work, check, found);
                }
                let name = constraint_name(work, &check.name);
                checks.push(Check { name, native, ..check.clone() });
            }
            Err(why) => {
                let at = work.road.spot(&work.table.name, None).at;
                let what = format!("check {}: {}", show(&check.name), why.text());
                match why {
                    Why::Skipped(_) => found.hazard("K308", at, what, &[]),
                    Why::Unspeakable(_) => found.hazard("K306", at, what, LEFT_OUT),
                }
                found.left("check", place, why.text());
            }
        }
    }
    let own = columns.checks.iter().filter(|own| !checks.iter().any(|check| check.native == own.native));
    let own: Vec<_> = own.cloned().collect();
    checks.extend(own);
    checks
}

fn map_check(work: &Work<'_, '_>, check: &Check, columns: &Columns) -> Result<String, Why> {
    if let Some(column) = work.road.names_one_of(&check.native, &columns.skipped) {
        return Err(Why::Skipped(column));
    }
    work.road
        .reword(&check.native, work.table, &columns.renamed)
        .map_err(|unspeakable| Why::Unspeakable(unspeakable.what))
}

fn ask_check(work: &Work<'_, '_>, check: &Check, found: &mut Found) {
    let spot = work.road.spot(&work.table.name, None);
    let question = Question::CheckFails { condition: check.native.clone() };
    let what = format!("rows that check {} would refuse (it is not valid on the source)", show(&check.name));
    found.ask("K304", &spot, question, &what, &["mend the rows on the source"]);
}

/// Where constraints have no names on the target, none is wanted.
fn constraint_name(work: &Work<'_, '_>, name: &str) -> String {
    if work.road.to.features().named_constraints { name.to_string() } else { String::new() }
}

/// Primary, unique and exclusion keys that come.
pub(super) fn map_keys(work: &Work<'_, '_>, want: &Table, columns: &Columns, found: &mut Found) -> Vec<Key> {
    let (wanted, mut keys, mut unwanted) = (work.intent.policy.keys, Vec::new(), Vec::new());
    for key in &work.table.keys {
        let asked = if key.kind == KeyKind::Primary { wanted.primary } else { wanted.unique };
        let label = label(&key.name, &key.parts, kind_word(key.kind));
        if !asked {
            unwanted.push(label.clone());
            found.left(kind_word(key.kind), place(work, &label), "not among keys:");
            continue;
        }
        match map_key(work, want, key, columns) {
            Ok(key) => keys.push(key),
            Err(why) => refuse(work, kind_word(key.kind), &label, &why, "K306", found),
        }
        ask_key(work, key, columns, found);
    }
    if !unwanted.is_empty() {
        let at = work.road.spot(&work.table.name, None).at;
        found.hazard("K308", at, format!("left out on request: {}", unwanted.join(", ")), &[]);
    }
    keys
}

/// Lists an object that does not come, with its hazard.
fn refuse(work: &Work<'_, '_>, kind: &str, label: &str, why: &Why, code: &str, found: &mut Found) {
    let at = work.road.spot(&work.table.name, None).at;
    let what = format!("{kind} {label}: {}", why.text());
    match why {
        Why::Skipped(_) => found.hazard("K308", at, what, &[]),
        Why::Unspeakable(_) if code == "K306" => found.hazard(code, at, what, LEFT_OUT),
        Why::Unspeakable(_) => found.hazard(code, at, what, &[]),
    }
    found.left(kind, place(work, label), why.text());
}

fn place(work: &Work<'_, '_>, name: &str) -> Name {
    Name::new(&work.table.name.schema, name)
}

pub(super) fn kind_word(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Primary => "primary key",
        KeyKind::Unique => "unique key",
        KeyKind::Exclusion => "exclusion constraint",
    }
}

/// A key's name, or its columns where it has none.
fn label(name: &str, parts: &[IndexPart], kind: &str) -> String {
    if !name.is_empty() {
        return name.to_string();
    }
    let columns: Vec<_> = parts.iter().filter_map(|part| part.column.as_deref()).collect();
    if columns.is_empty() { kind.to_string() } else { format!("({})", columns.join(", ")) }
}

fn map_key(work: &Work<'_, '_>, want: &Table, key: &Key, columns: &Columns) -> Result<Key, Why> {
    let road = work.road;
    let mut to = Key {
        name: constraint_name(work, &key.name),
        parts: map_parts(work, &key.parts, columns)?,
        include: map_names(&key.include, columns)?,
        predicate: map_text(work, key.predicate.as_deref(), columns)?,
        parent: key.parent.as_ref().map(|parent| road.renames.object(parent)),
        ..key.clone()
    };
    if !road.same {
        to.options.clear();
        to.include.clear();
        to.clustered = false;
        // A key has no direction but that of its index, which is the engine's own affair.
        to.parts.iter_mut().for_each(|part| part.descending = false);
    }
    match road.to.refuse_key(want, &to) {
        Some(unspeakable) => Err(Why::Unspeakable(unspeakable.what)),
        None => Ok(to),
    }
}

fn map_parts(work: &Work<'_, '_>, parts: &[IndexPart], columns: &Columns) -> Result<Vec<IndexPart>, Why> {
    parts.iter().map(|part| map_part(work, part, columns)).collect()
}

fn map_part(work: &Work<'_, '_>, part: &IndexPart, columns: &Columns) -> Result<IndexPart, Why> {
    let road = work.road;
    let mut to = part.clone();
    to.column = part.column.as_deref().map(|name| map_name(name, columns)).transpose()?;
    to.expression = map_text(work, part.expression.as_deref(), columns)?;
    if road.same {
        to.collation = part.collation.as_ref().map(|name| road.renames.object(name));
        to.opclass = part.opclass.as_deref().map(|text| reword(work, text)).transpose()?;
        to.operator = part.operator.as_deref().map(|text| reword(work, text)).transpose()?;
        return Ok(to);
    }
    if let Some(opclass) = &part.opclass {
        return Err(Why::Unspeakable(format!("operator class {opclass}")));
    }
    if let Some(operator) = &part.operator {
        return Err(Why::Unspeakable(format!("operator {operator}")));
    }
    to.collation = None;
    Ok(to)
}

fn reword(work: &Work<'_, '_>, text: &str) -> Result<String, Why> {
    work.road.reword_bare(text).map_err(|unspeakable| Why::Unspeakable(unspeakable.what))
}

fn map_name(name: &str, columns: &Columns) -> Result<String, Why> {
    if columns.skipped.contains(name) {
        return Err(Why::Skipped(name.to_string()));
    }
    Ok(columns.renamed.get(name).map_or(name, String::as_str).to_string())
}

fn map_names(names: &[String], columns: &Columns) -> Result<Vec<String>, Why> {
    names.iter().map(|name| map_name(name, columns)).collect()
}

fn map_text(work: &Work<'_, '_>, text: Option<&str>, columns: &Columns) -> Result<Option<String>, Why> {
    let Some(text) = text else { return Ok(None) };
    if let Some(column) = work.road.names_one_of(text, &columns.skipped) {
        return Err(Why::Skipped(column));
    }
    let reworded = work.road.reword(text, work.table, &columns.renamed);
    reworded.map(Some).map_err(|unspeakable| Why::Unspeakable(unspeakable.what))
}

/// What a key of one engine may let in that another's does not.
fn ask_key(work: &Work<'_, '_>, key: &Key, columns: &Columns, found: &mut Found) {
    if work.road.same || key.kind == KeyKind::Exclusion {
        return;
    }
    ask_collation(work, &key.parts, columns, found);
    look_at_numbers(work, &key.parts, found);
    if key.kind == KeyKind::Primary && work.intent.policy.load != Load::None {
        for name in key.parts.iter().filter_map(|part| part.column.as_deref()) {
            let Some(column) = work.table.column(name) else { continue };
            if !column.not_null && column.identity.is_none() && !columns.skipped.contains(name) {
                let spot = work.road.spot(&work.table.name, Some(name));
                let ways = ["mend the rows on the source", "keys: [unique] leaves the primary key out"];
                found.ask("K304", &spot, Question::Null, "nulls in the primary key", &ways);
            }
        }
    }
}

/// Numbers that become text are told apart by their spelling: `1.0` is not `1.00` any more.
fn look_at_numbers(work: &Work<'_, '_>, parts: &[IndexPart], found: &mut Found) {
    for name in parts.iter().filter_map(|part| part.column.as_deref()) {
        let Some(column) = work.table.column(name) else { continue };
        let free = matches!(column.ty, Type::Decimal { scale: None, .. });
        if free && work.road.stored_type(&work.table.name, column) == Type::Text {
            let at = work.road.spot(&work.table.name, Some(name)).at;
            let what = "a key over numbers that become text: equal numbers may be spelled differently";
            found.hazard("K301", at, what, &["accept it", "choose an integer type"]);
        }
    }
}

/// A unique key over text that the source compares in its own way.
fn ask_collation(work: &Work<'_, '_>, parts: &[IndexPart], columns: &Columns, found: &mut Found) {
    let own = |part: &IndexPart| {
        let column = part.column.as_deref().and_then(|name| work.table.column(name));
        if column.is_some_and(|column| work.road.is_overridden(&work.table.name, column)) {
            return None;
        }
        part.collation.clone().or_else(|| column.and_then(|column| column.collation.clone()))
    };
    let folded = parts.iter().find_map(|part| own(part).map(|collation| (part, collation)));
    let Some((part, collation)) = folded.filter(|(_, name)| !work.road.from.system_schema(&name.schema))
    else {
        return;
    };
    let names: Vec<_> = parts.iter().filter_map(|part| part.column.clone()).collect();
    if names.iter().any(|name| columns.skipped.contains(name)) {
        return;
    }
    let spot = work.road.spot(&work.table.name, part.column.as_deref());
    let what = format!("a unique key compares by {} here and by bytes there", collation.name);
    let ways = ["choose a type or collation that compares alike", "accept it"];
    found.hazard("K301", spot.at, what, &ways);
}

/// Indexes that come. A unique one is a promise about rows and goes with the unique keys.
pub(super) fn map_indexes(
    work: &Work<'_, '_>,
    want: &Table,
    columns: &Columns,
    found: &mut Found,
) -> Vec<Index> {
    let policy = &work.intent.policy;
    let (mut indexes, mut unwanted) = (Vec::new(), 0);
    for index in &work.table.indexes {
        let asked = if index.unique { policy.keys.unique } else { policy.indexes != Indexes::None };
        if !asked || !index.valid {
            let why = match (index.valid, index.unique) {
                (false, _) => "invalid on the source",
                (true, true) => "not among keys:",
                (true, false) => "indexes: none",
            };
            unwanted += usize::from(index.valid);
            found.left("index", place(work, &index.name), why);
            continue;
        }
        match map_index(work, want, index, columns) {
            Ok(to) => {
                if index.unique && !work.road.same {
                    ask_collation(work, &index.parts, columns, found);
                }
                indexes.push(to);
            }
            Err(why) => {
                let code = if index.unique { "K306" } else { "I402" };
                refuse(work, "index", &index.name, &why, code, found);
            }
        }
    }
    let at = work.road.spot(&work.table.name, None).at;
    if unwanted > 0 {
        let plural = if unwanted == 1 { "index" } else { "indexes" };
        found.hazard("I401", &at, format!("{unwanted} {plural} left out"), &[]);
    }
    if policy.indexes == Indexes::BeforeLoad && policy.load != Load::None && !indexes.is_empty() {
        let what = format!("{} kept up to date row by row while loading", indexes.len());
        found.hazard("I403", at, what, &["indexes: after_load"]);
    }
    indexes
}

fn map_index(work: &Work<'_, '_>, want: &Table, index: &Index, columns: &Columns) -> Result<Index, Why> {
    let road = work.road;
    let mut to = Index {
        parts: map_parts(work, &index.parts, columns)?,
        include: map_names(&index.include, columns)?,
        predicate: map_text(work, index.predicate.as_deref(), columns)?,
        parent: index.parent.as_ref().map(|parent| road.renames.object(parent)),
        ..index.clone()
    };
    if !road.same {
        to.options.clear();
        to.clustered = false;
        if to.method == "btree" {
            to.method.clear();
        }
        if !to.method.is_empty() {
            return Err(Why::Unspeakable(format!("index method {}", to.method)));
        }
    }
    let parser = to.options.iter().find(|(option, _)| option == "parser").map(|(_, parser)| parser);
    if let Some(parser) = parser.filter(|parser| !road.target.parsers.contains(parser)) {
        return Err(Why::Unspeakable(format!("parser {}, which the target has not", show(parser))));
    }
    match road.to.refuse_index(want, &to) {
        Some(unspeakable) => Err(Why::Unspeakable(unspeakable.what)),
        None => Ok(to),
    }
}

/// Foreign keys that come, with their parents' names on the target. Whether the parent has the
/// key they need is seen once all tables are mapped.
pub(super) fn map_foreign_keys(
    work: &Work<'_, '_>,
    want: &Table,
    columns: &Columns,
    found: &mut Found,
) -> Vec<ForeignKey> {
    let (mut keys, mut unwanted) = (Vec::new(), Vec::new());
    for key in &work.table.foreign_keys {
        let label = foreign_label(key);
        if !work.intent.policy.keys.foreign {
            unwanted.push(label.clone());
            found.left("foreign key", place(work, &label), "not among keys:");
            continue;
        }
        match map_foreign_key(work, want, key, columns) {
            Ok(to) => {
                ask_orphans(work, key, found);
                warn_filtered(work, key, &label, found);
                check_types(work, want, key, &to, &label, found);
                keys.push(to);
            }
            Err(why) => refuse(work, "foreign key", &label, &why, "K306", found),
        }
    }
    if !unwanted.is_empty() {
        let at = work.road.spot(&work.table.name, None).at;
        let what = format!("foreign keys left out on request: {}", unwanted.join(", "));
        found.hazard("K308", at, what, &[]);
    }
    keys
}

fn foreign_label(key: &ForeignKey) -> String {
    if key.name.is_empty() { format!("({})", key.columns.join(", ")) } else { key.name.clone() }
}

fn map_foreign_key(
    work: &Work<'_, '_>,
    want: &Table,
    key: &ForeignKey,
    columns: &Columns,
) -> Result<ForeignKey, Why> {
    let road = work.road;
    if road.table(&key.parent).is_none() {
        return Err(Why::Unspeakable(format!("a parent that does not exist: {}", key.parent)));
    }
    let parent = |name: &String| road.column(&key.parent, name).ok_or_else(|| Why::Skipped(name.clone()));
    let to = ForeignKey {
        name: constraint_name(work, &key.name),
        columns: map_names(&key.columns, columns)?,
        parent: road.renames.object(&key.parent),
        parent_columns: named_parent_columns(work, key).iter().map(parent).collect::<Result<_, _>>()?,
        set_columns: map_names(&key.set_columns, columns)?,
        ..key.clone()
    };
    match road.to.refuse_foreign_key(want, &to) {
        Some(unspeakable) => Err(Why::Unspeakable(unspeakable.what)),
        None => Ok(to),
    }
}

/// The parent's columns in the target's words. One that names none stays so on the same engine.
fn named_parent_columns(work: &Work<'_, '_>, key: &ForeignKey) -> Vec<String> {
    if work.road.same { key.parent_columns.clone() } else { parent_columns(work, key) }
}

/// The parent's columns as said, or its primary key where the key does not say.
fn parent_columns(work: &Work<'_, '_>, key: &ForeignKey) -> Vec<String> {
    if !key.parent_columns.is_empty() {
        return key.parent_columns.clone();
    }
    let primary = work.road.table(&key.parent).and_then(Table::primary_key);
    primary.into_iter().flat_map(|key| &key.parts).filter_map(|part| part.column.clone()).collect()
}

/// What K303 says of a foreign key over these columns of the source.
pub fn orphans_of(columns: &[String]) -> String {
    format!("rows without a parent by ({})", columns.join(", "))
}

fn ask_orphans(work: &Work<'_, '_>, key: &ForeignKey, found: &mut Found) {
    let later = work.road.to.features().validates_later;
    let doubtful = work.road.from.holds().orphans || !key.validated;
    if !doubtful || (!key.validated && later) || work.intent.policy.load == Load::None {
        return;
    }
    let question = Question::Orphan {
        columns: key.columns.clone(),
        parent: key.parent.clone(),
        parent_columns: parent_columns(work, key),
    };
    let spot = work.road.spot(&work.table.name, None);
    let what = orphans_of(&key.columns);
    let ways = ["keys: [primary, unique] leaves foreign keys out", "accept it: it is added unchecked"];
    found.ask_as("K303", &spot, question, &what, &ways, Verdict::Rows, Some(Level::Warn));
}

/// A filter on the parent may leave rows behind that children need; a filter on the table itself
/// does so where it references itself.
fn warn_filtered(work: &Work<'_, '_>, key: &ForeignKey, label: &str, found: &mut Found) {
    let filtered = work.road.intent(&key.parent).is_some_and(|parent| parent.filter.is_some());
    if filtered && work.intent.policy.load != Load::None {
        let at = work.road.spot(&work.table.name, None).at;
        let what = format!("{} is filtered: foreign key {label} fails where a parent stays", key.parent);
        let ways = ["filter the children alike", "keys: [primary, unique] leaves foreign keys out"];
        found.hazard_as("K303", Level::Warn, &at, what, &ways);
    }
}

/// Both sides of a foreign key must be of one kind after mapping.
fn check_types(
    work: &Work<'_, '_>,
    want: &Table,
    from: &ForeignKey,
    to: &ForeignKey,
    label: &str,
    found: &mut Found,
) {
    let road = work.road;
    let untouched = |table: &Name, column: &str| {
        let intent = road.intent(table);
        intent.is_none_or(|intent| {
            !intent.columns.iter().any(|rule| rule.column == column && rule.ty.is_some())
        })
    };
    for ((child, own), parent) in to.columns.iter().zip(&from.columns).zip(&parent_columns(work, from)) {
        let Some(theirs) = road.table(&from.parent).and_then(|table| table.column(parent)) else { continue };
        let kept = road.plan.types.is_empty() && untouched(&work.table.name, own);
        if road.same && kept && untouched(&from.parent, parent) {
            continue;
        }
        let Some(column) = want.column(child) else { continue };
        let theirs = road.planned_type(&from.parent, theirs);
        if !road.to.joins(&column.ty, &theirs) {
            let at = road.spot(&work.table.name, Some(own)).at;
            let what = format!(
                "foreign key {label}: {} here, a type at its parent that it cannot join",
                column.native
            );
            found.hazard("K305", at, what, &["give both columns the same type in columns:"]);
        }
    }
}
