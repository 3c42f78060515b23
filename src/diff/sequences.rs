//! Sequences: those that carried columns draw from or own, and the counters that identity columns
//! of another engine become.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::found::Found;
use super::hazard::{Level, Verdict};
use super::naming::shorten;
use super::needed::Used;
use super::road::Road;
use super::typemap;
use super::{SequencePair, TableDiff};
use crate::catalog::dialect::Length;
use crate::catalog::{Name, Question, Sequence, SequenceOwner, Type};
use crate::plan::pattern::Pattern;
use crate::plan::{Load, Rule, SequencesFrom};

/// Who draws from each sequence of the source: carried tables and their columns.
type Users<'t> = BTreeMap<Name, Vec<(&'t TableDiff, String)>>;

pub(super) fn map_sequences(
    road: &Road<'_>,
    tables: &[TableDiff],
    used: &Used,
    found: &mut Found,
) -> Vec<SequencePair> {
    let by_name: HashMap<&Name, &Sequence> = road.source.sequences.iter().map(|s| (&s.name, s)).collect();
    let users = users(road, tables);
    let mut pairs = Vec::new();
    let mut carried: BTreeSet<&Name> = BTreeSet::new();
    for sequence in &road.source.sequences {
        let drawn = users.get(&sequence.name).map_or(&[][..], Vec::as_slice);
        if drawn.is_empty() && !used.sequences.contains(&sequence.name) && !comes_alone(road, sequence) {
            continue;
        }
        carried.insert(&sequence.name);
        shared(road, sequence, drawn, found);
        near_limit(road, sequence, drawn, found);
        let numbers = numbers(road, sequence, drawn, found);
        // Where only some databases of an engine have such objects, their counters are none.
        if road.makes_sequences() && (road.to.features().sequences || sequence.owner.is_none()) {
            let (source, want) = (sequence.name.clone(), moved(road, sequence));
            pairs.push(SequencePair { source, want, drawn: numbers });
        } else {
            let made = counters(sequence, drawn, &numbers, road.to.features().identifier_max);
            if made.is_empty() && sequence.owner.is_none() {
                found.left(
                    "sequence",
                    sequence.name.clone(),
                    "the target is given no sequence and no counter for it",
                );
            }
            pairs.extend(made);
        }
    }
    left_over(road, &carried, &by_name, found);
    pairs
}

/// A sequence that nothing owns shares its name space with tables: the patterns that choose
/// tables choose it too.
fn comes_alone(road: &Road<'_>, sequence: &Sequence) -> bool {
    if !road.makes_sequences() || sequence.owner.is_some() {
        return false;
    }
    let (schema, folds) = (&road.source.default_schema, road.from.features().folds_case);
    let names = |rule: &&Rule| {
        Pattern::parse(&rule.pattern).is_ok_and(|pattern| pattern.matches(&sequence.name, schema, folds))
    };
    let mut rules = road.plan.rules.iter().filter(names).peekable();
    rules.peek().is_some() && rules.all(|rule| !rule.skip)
}

fn users<'t>(road: &Road<'_>, tables: &'t [TableDiff]) -> Users<'t> {
    let places: HashMap<&Name, &TableDiff> = tables.iter().map(|table| (&table.source, table)).collect();
    let mut users: Users<'t> = BTreeMap::new();
    for sequence in &road.source.sequences {
        let Some(owner) = &sequence.owner else { continue };
        let Some(table) = places.get(&owner.table) else { continue };
        if road.column(&owner.table, &owner.column).is_some() {
            users.entry(sequence.name.clone()).or_default().push((table, owner.column.clone()));
        }
    }
    for table in tables {
        let columns = road.table(&table.source).into_iter().flat_map(|source| &source.columns);
        for column in columns {
            let sequence = column.default.as_ref().and_then(|default| default.sequence.as_ref());
            let Some(sequence) = sequence else { continue };
            let entry = users.entry(sequence.clone()).or_default();
            let known = entry.iter().any(|(by, name)| by.source == table.source && *name == column.name);
            if !known && road.column(&table.source, &column.name).is_some() {
                entry.push((table, column.name.clone()));
            }
        }
    }
    users
}

/// The columns whose largest value says how far the sequence is, where the plan goes by that. Of one
/// that begins again, and of texts, no value does.
fn numbers(
    road: &Road<'_>,
    sequence: &Sequence,
    drawn: &[(&TableDiff, String)],
    found: &mut Found,
) -> Vec<(Name, String)> {
    let from = road.plan.cutover.as_ref().map(|cutover| cutover.sequences);
    if from != Some(SequencesFrom::Max) || sequence.cycle {
        return Vec::new();
    }
    let mut numbers = Vec::new();
    for (table, column) in drawn {
        let columns = road.table(&table.source).into_iter().flat_map(|source| &source.columns);
        let is_number = |ty: &Type| matches!(ty, Type::Int { .. } | Type::UInt { .. } | Type::Decimal { .. });
        if columns.clone().any(|known| known.name == *column && is_number(&road.basis_type(known))) {
            numbers.push((table.source.clone(), column.clone()));
            continue;
        }
        let at = road.spot(&table.source, Some(column)).at;
        let what = format!("its values do not tell how far {} is", sequence.name);
        let ways = ["cutover: { sequences: { from: source } }", "accept it: what else draws from it counts"];
        found.hazard("S601", at, what, &ways);
    }
    numbers
}

/// The same sequence on the same engine, with its owner where that comes too.
fn moved(road: &Road<'_>, sequence: &Sequence) -> Sequence {
    let owner = sequence.owner.as_ref().and_then(|owner| {
        road.intent(&owner.table)?;
        let column = road.column(&owner.table, &owner.column)?;
        Some(SequenceOwner { table: road.renames.object(&owner.table), column, identity: owner.identity })
    });
    Sequence { name: road.renames.object(&sequence.name), owner, ..sequence.clone() }
}

/// One counter for each identity column that draws from the sequence.
fn counters(
    sequence: &Sequence,
    drawn: &[(&TableDiff, String)],
    numbers: &[(Name, String)],
    most: Option<Length>,
) -> Vec<SequencePair> {
    let counter = |(table, column): &(&TableDiff, String)| {
        let map = table.projection.columns.iter().find(|map| map.source == *column)?;
        let want = table.want.column(&map.target)?;
        want.identity?;
        let (low, high) = typemap::range(&want.ty)?;
        let fits = |value: i64| i128::from(value).clamp(low, high) as i64;
        let own = |number: &&(Name, String)| number.0 == table.source && number.1 == *column;
        Some(SequencePair {
            source: sequence.name.clone(),
            drawn: numbers.iter().filter(own).cloned().collect(),
            want: Sequence {
                name: Name::new(
                    &table.want.name.schema,
                    shorten(&format!("{}_{}_seq", table.want.name.name, want.name), most),
                ),
                data_type: want.native.clone(),
                min: fits(sequence.min),
                max: fits(sequence.max),
                owner: Some(SequenceOwner {
                    table: table.want.name.clone(),
                    column: want.name.clone(),
                    identity: true,
                }),
                ..sequence.clone()
            },
        })
    };
    drawn.iter().filter_map(counter).collect()
}

fn shared(road: &Road<'_>, sequence: &Sequence, drawn: &[(&TableDiff, String)], found: &mut Found) {
    if drawn.len() < 2 {
        return;
    }
    let places: Vec<_> =
        drawn.iter().map(|(table, column)| road.spot(&table.source, Some(column)).at).collect();
    let what = match road.same {
        true => format!("shared by {}", places.join(", ")),
        false => format!("shared by {}: each gets a counter of its own", places.join(", ")),
    };
    found.hazard("S603", road.at(&sequence.name), what, &[]);
}

/// Asks for the largest value where as many rows as the estimates say could come near the limit.
fn near_limit(road: &Road<'_>, sequence: &Sequence, drawn: &[(&TableDiff, String)], found: &mut Found) {
    if sequence.increment < 0 || sequence.cycle {
        return;
    }
    for (table, column) in drawn.iter().filter(|(table, _)| table.policy.load != Load::None) {
        let map = table.projection.columns.iter().find(|map| map.source == *column);
        let Some((_, high)) = map.and_then(|map| match map.target_type {
            Type::Int { .. } => typemap::range(&map.target_type),
            _ => None,
        }) else {
            continue;
        };
        let limit = high.min(i128::from(sequence.max));
        let step = i128::from(sequence.increment.max(1));
        if i128::from(table.rows) * step < limit / 10 {
            continue;
        }
        let question =
            Question::OutsideRange { min: sequence.min.to_string(), max: (limit / 10 * 9).to_string() };
        let spot = road.spot(&table.source, Some(column));
        let ways = ["carry the column as a wider type"];
        let what = "values in the last tenth of the range of their sequence";
        found.ask_as("S602", &spot, question, what, &ways, Verdict::Rows, Some(Level::Note));
    }
}

/// Sequences that stay, but for those that go with a table or column that stays.
fn left_over(
    road: &Road<'_>,
    carried: &BTreeSet<&Name>,
    by_name: &HashMap<&Name, &Sequence>,
    found: &mut Found,
) {
    let mut free = 0;
    for sequence in &road.source.sequences {
        if carried.contains(&sequence.name) {
            continue;
        }
        let owned = by_name[&sequence.name].owner.as_ref();
        free += usize::from(owned.is_none());
        let why = match owned {
            Some(owner) => {
                format!("belongs to {}, which stays", road.spot(&owner.table, Some(&owner.column)).at)
            }
            None => "no carried column uses it, and no pattern names it".to_string(),
        };
        found.left("sequence", sequence.name.clone(), why);
    }
    if free > 0 {
        let plural = if free == 1 {
            "sequence that no carried column uses stays"
        } else {
            "sequences that no carried column uses stay"
        };
        found.hazard("S603", "source", format!("{free} {plural} behind"), &[]);
    }
}
