//! The wanted objects against the target's: missing, there and right, made by this plan, or in the
//! way. A difference is a problem; nothing of the target is ever changed to fit.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use super::difference::State;
use super::found::{Found, hazard, level};
use super::hazard::{Asked, Level, Verdict};
use super::road::Road;
use super::same::Same;
use super::{TableDiff, Wanted, definition, id};
use crate::catalog::probe::End;
use crate::catalog::{ForeignKey, Index, Key, KeyKind, Name, Probe, Question, Table};
use crate::checkpoint::Progress;
use crate::plan::{Load, Problem};

/// The target, ready to be asked by name.
pub(super) struct There<'a> {
    pub tables: HashMap<&'a Name, &'a Table>,
    /// The same by their names in small letters, where the target tells names apart so.
    folded: HashMap<String, &'a Table>,
    /// What takes a relation's name, by name: `view`, `index`...
    relations: HashMap<Name, String>,
    triggers: HashMap<&'a Name, Vec<&'a Name>>,
    done: BTreeSet<&'a str>,
    /// Tables that this plan has put rows into.
    begun: HashSet<&'a Name>,
}

impl<'a> There<'a> {
    pub fn new(road: &Road<'a>, progress: &'a Progress) -> Self {
        let target = road.target;
        let mut relations = HashMap::new();
        for table in &target.tables {
            for index in &table.indexes {
                relations
                    .insert(Name::new(&table.name.schema, &index.name), format!("index on {}", table.name));
            }
        }
        for sequence in &target.sequences {
            relations.insert(sequence.name.clone(), "sequence".into());
        }
        let mut triggers: HashMap<&Name, Vec<&Name>> = HashMap::new();
        for other in &target.others {
            match (&other.table, other.kind.as_str()) {
                (Some(table), "trigger") => triggers.entry(table).or_default().push(&other.name),
                (None, kind) if kind.ends_with("view") || kind.ends_with("table") => {
                    relations.insert(other.name.clone(), kind.to_string());
                }
                _ => {}
            }
        }
        let folds = road.to.features().folds_case;
        let alike = target.tables.iter().filter(|_| folds);
        Self {
            folded: alike.map(|table| (table.name.name.to_ascii_lowercase(), table)).collect(),
            tables: target.tables.iter().map(|table| (&table.name, table)).collect(),
            relations,
            triggers,
            done: progress.steps.iter().map(|mark| mark.step.as_str()).collect(),
            begun: progress.chunks.iter().map(|mark| &mark.table).collect(),
        }
    }

    /// True when this plan has finished the step.
    pub fn did(&self, step: &str) -> bool {
        self.done.contains(step)
    }

    /// The name that a foreign key had on the target, where this plan has dropped it for the load.
    fn dropped(&self, table: &Name, key: &ForeignKey) -> Option<&'a str> {
        let begin = id::drops_foreign(table, key);
        let known = self
            .done
            .range::<str, _>((Bound::Included(begin.as_str()), Bound::Unbounded))
            .take_while(|step| step.starts_with(&begin));
        let names: Vec<&str> = known.map(|step| &step[begin.len()..]).collect();
        names.iter().find(|name| **name == key.name).or(names.first()).copied()
    }

    fn table(&self, name: &Name) -> Option<&'a Table> {
        let known = self.tables.get(name).copied();
        known.or_else(|| self.folded.get(&name.name.to_ascii_lowercase()).copied())
    }
}

/// How an object stands: `there` says whether the target has it.
pub(super) fn state(there: bool, ours: bool) -> State {
    match (there, ours) {
        (false, _) => State::Missing,
        (true, true) => State::Ours,
        (true, false) => State::Present,
    }
}

/// An object that a finished step made and that is not there any more.
pub(super) fn gone(what: &str, found: &mut Found) {
    let message = format!("{what} was created by this plan and is no longer there");
    let help = "put it back, or start over under another plan name";
    found.problems.push(Problem::error("E206", message).help(help));
}

/// An object that is there and is not what is wanted.
pub(super) fn conflict(what: &str, ours: bool, changes: Vec<String>) -> Problem {
    let problem = if ours {
        let message =
            format!("{what} is not as this plan created it, or the plan or the source has changed since");
        let help = "undo the change, or start over under another plan name";
        Problem::error("E203", message).help(help)
    } else {
        let message = format!("{what} exists on the target and differs from what the plan wants");
        let help = "drop or change it yourself, map the table elsewhere with to:, or skip it";
        Problem::error("E201", message).help(help)
    };
    changes.into_iter().fold(problem, Problem::note)
}

/// Sets the states of a table and all that hangs on it.
pub(super) fn compare_table(road: &Road<'_>, table: &mut TableDiff, there: &There<'_>, found: &mut Found) {
    let name = table.want.name.clone();
    let created = there.did(&id::create(&name));
    let Some(have) = there.table(&name) else {
        return compare_missing(table, created, there, found);
    };
    table.state = state(true, created);
    let same = Same { road, lenient: created };
    let changes = same.body_changes(have, &table.want);
    if !changes.is_empty() {
        found.problems.push(conflict(&format!("table {name}"), created, changes).at(table.span));
    }
    let lacks = compare_parts(road, table, have, there, &same, found);
    if !lacks.is_empty() {
        let (code, message) = match (table.policy.create, created) {
            (false, _) => ("E205", format!("table {name} must be complete (create: false)")),
            (true, true) => ("E203", format!("table {name} is not as this plan created it")),
            (true, false) => ("E201", format!("table {name} cannot get keys any more once it exists")),
        };
        let problem = Problem::error(code, message).at(table.span);
        found.problems.push(lacks.into_iter().fold(problem, Problem::note));
    }
    if table.state == State::Present {
        leave_comments(table, have, found);
        warn_extra(road, table, have, found);
        guard_rows(road, table, there, found);
    }
}

/// What was there before keeps its own comment, or none: the other one is left behind.
pub(super) fn leave_comment(
    kind: &str,
    name: Name,
    want: &Option<String>,
    have: Option<&String>,
    found: &mut Found,
) {
    if want.is_some() && want.as_ref() != have {
        let why = format!("the {kind} was there already, and what is there is not changed");
        found.left(&format!("comment on {kind}"), name, why);
    }
}

fn leave_comments(table: &TableDiff, have: &Table, found: &mut Found) {
    let name = &table.want.name;
    leave_comment("table", name.clone(), &table.want.comment, have.comment.as_ref(), found);
    for column in &table.want.columns {
        let there = have.column(&column.name).and_then(|there| there.comment.as_ref());
        if column.comment.is_some() && column.comment.as_ref() != there {
            let why = format!("table {name} was there already, and what is there is not changed");
            found.left("comment on column", Name::new(&name.schema, &column.name), why);
        }
    }
}

fn compare_missing(table: &mut TableDiff, created: bool, there: &There<'_>, found: &mut Found) {
    let name = &table.want.name;
    table.state = State::Missing;
    if created {
        return gone(&format!("table {name}"), found);
    }
    if let Some(kind) = there.relations.get(name) {
        let message = format!("{name} is taken on the target by another object: {kind}");
        let help = "rename the table with to:, or remove what is there";
        found.problems.push(Problem::error("E202", message).at(table.span).help(help));
    }
    if !table.policy.create {
        let message = format!("table {name} does not exist on the target (create: false)");
        found
            .problems
            .push(Problem::error("E205", message).at(table.span).help("create it first, or create: true"));
    }
    for index in &table.indexes {
        taken_index(name, &index.want, there, found);
    }
}

/// An index name may be taken by an index of another table.
fn taken_index(table: &Name, index: &Index, there: &There<'_>, found: &mut Found) {
    let name = Name::new(&table.schema, &index.name);
    if let Some(kind) = there.relations.get(&name) {
        let message = format!("index {name} of {table} is taken on the target: {kind}");
        found.problems.push(Problem::error("E202", message).help("rename what is there, or indexes: none"));
    }
}

/// Keys, indexes and foreign keys of a table that is there. Returns what it lacks and cannot get.
fn compare_parts(
    road: &Road<'_>,
    table: &mut TableDiff,
    have: &Table,
    there: &There<'_>,
    same: &Same<'_, '_>,
    found: &mut Found,
) -> Vec<String> {
    let name = table.want.name.clone();
    let inline = !road.to.features().alter_adds_constraints;
    let created = there.did(&id::create(&name));
    let (with_table, clustered) = (inline && created, road.to.features().clustered && created);
    let mut lacks = Vec::new();
    let mut take = |state: State, line: String, addable: bool| {
        if state == State::Missing && (!table.policy.create || !addable) {
            lacks.push(format!("lacks {line}"));
        }
    };
    for key in &mut table.keys {
        let own = clustered && key.want.kind == KeyKind::Primary;
        let ours = with_table || own || there.did(&id::key(&name, &key.want));
        key.state = compare_key(&name, &key.want, have, ours, same, found);
        take(key.state, definition::key(&key.want), !inline);
    }
    for index in &mut table.indexes {
        let ours = there.did(&id::index(&name, &index.want.name));
        index.state = compare_index(&name, &index.want, have, ours, same, found);
        if index.state == State::Missing {
            taken_index(&name, &index.want, there, found);
        }
        take(index.state, definition::index(&index.want), true);
    }
    for key in &mut table.foreign_keys {
        let dropped = there.dropped(&name, &key.want);
        key.want.name = dropped.map_or_else(|| key.want.name.clone(), str::to_string);
        let ours = with_table || there.did(&id::foreign(&name, &key.want));
        let compared = compare_foreign(&name, &mut key.want, have, ours, same, found);
        key.state = if dropped.is_some() { State::Suspended } else { compared };
        take(key.state, definition::foreign_key(&key.want), !inline);
    }
    lacks
}

fn compare_key(
    table: &Name,
    want: &Key,
    have: &Table,
    ours: bool,
    same: &Same<'_, '_>,
    found: &mut Found,
) -> State {
    let named = have.keys.iter().find(|key| !want.name.is_empty() && key.name == want.name);
    let alike = || have.keys.iter().find(|key| same.key(key, want, have));
    let primary =
        || have.keys.iter().find(|key| key.kind == KeyKind::Primary && want.kind == KeyKind::Primary);
    let Some(key) = named.or_else(alike).or_else(primary) else {
        if ours {
            gone(&format!("key {} of {table}", id::key_label(want)), found);
        }
        return State::Missing;
    };
    if !same.key(key, want, have) {
        let what = format!("key {} of {table}", id::key_label(want));
        let changes = definition::changes(&[definition::key(key)], &[definition::key(want)]);
        found.problems.push(conflict(&what, ours, changes));
    }
    state(true, ours)
}

fn compare_index(
    table: &Name,
    want: &Index,
    have: &Table,
    ours: bool,
    same: &Same<'_, '_>,
    found: &mut Found,
) -> State {
    let named = have.indexes.iter().find(|index| index.name == want.name);
    let alike = || have.indexes.iter().find(|index| same.index(index, want, have));
    let Some(index) = named.or_else(alike) else {
        if ours {
            gone(&format!("index {} of {table}", want.name), found);
        }
        return State::Missing;
    };
    // One of ours on a root is not valid until all partitions have theirs.
    if !index.valid && !ours {
        let ways = ["drop it on the target, then plan again"];
        found.hazard("I404", same.road.at(table), format!("index {} is not valid", index.name), &ways);
    } else if !same.index(index, want, have) {
        let what = format!("index {} of {table}", want.name);
        let changes = definition::changes(&[definition::index(index)], &[definition::index(want)]);
        found.problems.push(conflict(&what, ours, changes));
    }
    state(true, ours)
}

/// One that is there keeps its name.
fn compare_foreign(
    table: &Name,
    want: &mut ForeignKey,
    have: &Table,
    ours: bool,
    same: &Same<'_, '_>,
    found: &mut Found,
) -> State {
    let named = have.foreign_keys.iter().find(|key| !want.name.is_empty() && key.name == want.name);
    let alike = || have.foreign_keys.iter().find(|key| same.foreign_key(key, want));
    let Some(key) = named.or_else(alike) else {
        if ours {
            gone(&format!("foreign key {} of {table}", id::foreign_label(want)), found);
        }
        return State::Missing;
    };
    if !same.foreign_key(key, want) || (!ours && want.validated && !key.validated) {
        let what = format!("foreign key {} of {table}", id::foreign_label(want));
        let changes = definition::changes(&[definition::foreign_key(key)], &[definition::foreign_key(want)]);
        found.problems.push(conflict(&what, ours, changes));
    }
    want.name.clone_from(&key.name);
    state(true, ours)
}

/// Columns that only the target has are filled by their defaults; the reader is told.
fn warn_extra(road: &Road<'_>, table: &TableDiff, have: &Table, found: &mut Found) {
    let known = |name: &str| table.want.columns.iter().any(|column| column.name == name);
    let extra: Vec<_> = have.columns.iter().filter(|column| !known(&column.name)).collect();
    let _ = road;
    if !extra.is_empty() {
        let names: Vec<_> = extra.iter().map(|column| column.name.as_str()).collect();
        let message = format!(
            "table {} has columns that nothing is copied into: {}",
            table.want.name,
            names.join(", ")
        );
        found.warnings.push(Problem::warning("W205", message).at(table.span));
    }
}

/// Rows and triggers of a table that was there before this plan.
fn guard_rows(road: &Road<'_>, table: &TableDiff, there: &There<'_>, found: &mut Found) {
    if table.policy.load == Load::None || !table.want.holds_rows() {
        return;
    }
    let name = &table.want.name;
    let at = road.at(&table.source);
    if let Some(triggers) = there.triggers.get(&table.want.name) {
        let names: Vec<_> = triggers.iter().map(|name| name.name.as_str()).collect();
        let what = format!("triggers on {}: {}", table.want.name, names.join(", "));
        found.hazard("C509", &at, what, &["disable or drop them for the load"]);
    }
    if there.did(&id::copy(name)) || there.begun.contains(name) {
        return;
    }
    let (code, what, ways): (_, _, &[&str]) = match table.policy.load {
        Load::Replace => ("D102", "the rows of the target table are removed", &["accept it"]),
        _ => ("D101", "the target table has rows already", &["load: replace", "load: none"]),
    };
    let probe = Probe {
        code: code.to_string(),
        end: End::Target,
        table: table.want.name.clone(),
        column: None,
        question: Question::AnyRow,
        filter: None,
    };
    let hazard = hazard(code, level(code), at, what.into(), ways);
    let unmeasured = Some(if code == "D102" { Level::Block } else { Level::Warn });
    found.asked.push(Asked { probe, hazard, verdict: Verdict::AnyRow, unmeasured });
}

/// States of objects that are told by name and compared by one function.
pub(super) fn compare_objects<T>(
    wanted: Vec<T>,
    there: &There<'_>,
    describe: impl Fn(&T) -> (String, String),
    find: impl Fn(&T) -> Option<Vec<String>>,
    found: &mut Found,
) -> Vec<Wanted<T>> {
    let mut out = Vec::new();
    for want in wanted {
        let (what, step) = describe(&want);
        let ours = there.did(&step);
        let state = match find(&want) {
            None => {
                if ours {
                    gone(&what, found);
                }
                State::Missing
            }
            Some(changes) => {
                if !changes.is_empty() {
                    found.problems.push(conflict(&what, ours, changes));
                }
                state(true, ours)
            }
        };
        out.push(Wanted { want, state });
    }
    out
}
