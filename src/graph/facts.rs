//! What a plan saw of its two ends: every object in scope with its definition and hash. Of the
//! target only what was there before this plan.

use std::collections::{BTreeMap, HashMap};

use super::EndFacts;
use super::build::Inputs;
use crate::catalog::{Catalog, Name, Sequence, Table, UserType};
use crate::diff::{State, TableDiff, definition};

/// Definitions by the object's name.
type Definitions = BTreeMap<String, Vec<String>>;

pub(super) fn source(inputs: &Inputs<'_>) -> EndFacts {
    let mut found = Definitions::new();
    let tables: HashMap<&Name, &Table> =
        inputs.source.tables.iter().map(|table| (&table.name, table)).collect();
    for carried in &inputs.diff.tables {
        if let Some(table) = tables.get(&carried.source) {
            found.insert(carried.source.to_string(), definition::table(table));
        }
    }
    let sequences: HashMap<&Name, &Sequence> = inputs.source.sequences.iter().map(|s| (&s.name, s)).collect();
    for pair in &inputs.diff.sequences {
        let name = &pair.want.source;
        let known = sequences.get(name).map(|sequence| definition::sequence(sequence));
        found.insert(format!("sequence {name}"), known.unwrap_or_default());
    }
    for wanted in &inputs.diff.types {
        // By its wanted form: names that moved are the plan's doing.
        found.insert(format!("type {}", wanted.want.name), definition::user_type(&wanted.want));
    }
    for wanted in &inputs.diff.extensions {
        found.insert(format!("extension {}", wanted.want.name), definition::extension(&wanted.want));
    }
    sealed(&inputs.source, found)
}

pub(super) fn target(inputs: &Inputs<'_>) -> EndFacts {
    let (target, diff) = (&inputs.target, inputs.diff);
    let mut found = Definitions::new();
    let tables: HashMap<&Name, &Table> = target.tables.iter().map(|table| (&table.name, table)).collect();
    for table in diff.tables.iter().filter(|table| table.state == State::Present) {
        if let Some(have) = tables.get(&table.want.name) {
            found.insert(table.want.name.to_string(), definition::table(&without_ours(have, table)));
        }
    }
    let sequences: HashMap<&Name, &Sequence> = target.sequences.iter().map(|s| (&s.name, s)).collect();
    for pair in diff.sequences.iter().filter(|pair| pair.state == State::Present) {
        if let Some(have) = sequences.get(&pair.want.want.name) {
            found.insert(format!("sequence {}", have.name), definition::sequence(have));
        }
    }
    let types: HashMap<&Name, &UserType> = target.types.iter().map(|known| (&known.name, known)).collect();
    for wanted in diff.types.iter().filter(|wanted| wanted.state == State::Present) {
        if let Some(have) = types.get(&wanted.want.name) {
            found.insert(format!("type {}", have.name), definition::user_type(have));
        }
    }
    for wanted in diff.extensions.iter().filter(|wanted| wanted.state == State::Present) {
        found.insert(format!("extension {}", wanted.want.name), definition::extension(&wanted.want));
    }
    for wanted in diff.schemas.iter().filter(|wanted| wanted.state == State::Present) {
        found.insert(format!("schema {}", wanted.want.name), vec!["schema".into()]);
    }
    sealed(target, found)
}

/// A table that was there, without the keys and indexes that this plan adds to it.
fn without_ours(have: &Table, table: &TableDiff) -> Table {
    let mut bare = have.clone();
    let ours = |state: State| matches!(state, State::Ours | State::Suspended);
    let keys: Vec<&str> = named(table.keys.iter().map(|key| (key.state, &key.want.name)), ours);
    bare.keys.retain(|key| !keys.contains(&key.name.as_str()));
    let indexes = named(table.indexes.iter().map(|index| (index.state, &index.want.name)), ours);
    bare.indexes.retain(|index| !indexes.contains(&index.name.as_str()));
    let foreign = named(table.foreign_keys.iter().map(|key| (key.state, &key.want.name)), ours);
    bare.foreign_keys.retain(|key| !foreign.contains(&key.name.as_str()));
    bare
}

fn named<'a>(parts: impl Iterator<Item = (State, &'a String)>, ours: impl Fn(State) -> bool) -> Vec<&'a str> {
    parts.filter(|(state, _)| ours(*state)).map(|(_, name)| name.as_str()).collect()
}

fn sealed(catalog: &Catalog, definitions: Definitions) -> EndFacts {
    EndFacts {
        engine: catalog.engine.clone(),
        version: catalog.version.clone(),
        database: catalog.database.clone(),
        place: catalog.place.clone(),
        objects: definitions.iter().map(|(name, lines)| (name.clone(), definition::hash(lines))).collect(),
        definitions,
    }
}
