//! From wanted objects to steps: one function per kind of object, with the rule that orders it.
//! A step needs what must be there before it; nothing else decides its place.

use std::collections::{BTreeSet, HashMap, HashSet};

mod after;
mod foreign;
mod parts;
mod stream;

use super::build::Inputs;
use super::step::{Action, Estimate, Phase, Step};
use super::{digest, pace};
use crate::catalog::dialect::Inline;
use crate::catalog::{Check, Column, Dialect, Name, Sequence, Table};
use crate::diff::{State, TableDiff, Wanted, id};
use crate::plan::Load;

/// What rules look things up in.
pub(super) struct Rules<'a> {
    inputs: &'a Inputs<'a>,
    to: &'a dyn Dialect,
    tables: HashMap<&'a Name, &'a TableDiff>,
    /// Tables that hang below another: partitions and children by inheritance.
    below: HashMap<&'a Name, Vec<&'a TableDiff>>,
    /// Sequences that a step makes on its own, and those of identity columns by table.
    sequences: HashMap<&'a Name, &'a Sequence>,
    /// Those of them that a table owns, by the table.
    owned: HashMap<&'a Name, Vec<&'a Sequence>>,
    identities: HashMap<&'a Name, Vec<&'a Sequence>>,
    /// Tables that draw from a sequence of the target.
    drawers: HashMap<Name, BTreeSet<&'a Name>>,
    types: HashSet<&'a Name>,
    /// Steps of keys and indexes by the object's name, for attached ones.
    parents: HashMap<Name, String>,
    /// Steps that drop foreign keys, by the tables that the keys hold or look at.
    drops: HashMap<&'a Name, Vec<String>>,
    /// The unit of each table that shares its transaction with others.
    shared: HashMap<&'a Name, String>,
    /// Accepted K303: place and words.
    accepted: Vec<(&'a str, &'a str)>,
    hasher: digest::Hasher,
    pub steps: Vec<Step>,
}

/// Everything of a step but what is worked out from it.
struct Draft {
    id: String,
    phase: Phase,
    needs: BTreeSet<String>,
    action: Action,
    table: Option<Name>,
    locks: Vec<Name>,
    estimate: Estimate,
    unit: String,
}

impl Draft {
    fn sql(id: String, phase: Phase, statements: Vec<String>) -> Self {
        Self {
            unit: id.clone(),
            id,
            phase,
            needs: BTreeSet::new(),
            action: Action::Sql { statements, index_build: false },
            table: None,
            locks: Vec::new(),
            estimate: pace::statement(),
        }
    }
}

/// The unit of what comes before all tables.
const FIRST: &str = "schema";

/// All steps, each with its needs, in no order yet. What a need names may be there already: then no
/// step is called so.
pub(super) fn steps(inputs: &Inputs<'_>) -> Vec<Step> {
    let mut rules = Rules::new(inputs);
    rules.schemas();
    rules.extensions();
    rules.types();
    rules.sequences();
    for table in &inputs.diff.tables {
        rules.create(table);
        rules.keys(table);
        rules.indexes(table);
        rules.copy(table);
        rules.checks(table);
        rules.foreign_keys(table);
        rules.analyze(table);
    }
    rules.set_sequences();
    rules.stream();
    rules.steps
}

fn missing<T>(wanted: &Wanted<T>) -> bool {
    wanted.state != State::Present
}

fn made(table: &TableDiff) -> bool {
    table.state != State::Present
}

impl<'a> Rules<'a> {
    fn new(inputs: &'a Inputs<'a>) -> Self {
        let diff = inputs.diff;
        let mut below: HashMap<&Name, Vec<&TableDiff>> = HashMap::new();
        for table in &diff.tables {
            let parents = table.want.partition().map(|partition| &partition.parent);
            for parent in parents.into_iter().chain(&table.want.inherits) {
                below.entry(parent).or_default().push(table);
            }
        }
        let tables = diff.tables.iter().map(|table| (&table.want.name, table)).collect();
        let mut rules = Self {
            inputs,
            to: inputs.dialects.target,
            tables,
            below,
            sequences: HashMap::new(),
            owned: HashMap::new(),
            identities: HashMap::new(),
            drawers: HashMap::new(),
            types: diff
                .types
                .iter()
                .filter(|wanted| missing(wanted))
                .map(|wanted| &wanted.want.name)
                .collect(),
            parents: HashMap::new(),
            drops: HashMap::new(),
            shared: HashMap::new(),
            accepted: foreign::accepted_orphans(inputs.hazards),
            hasher: digest::Hasher::default(),
            steps: Vec::new(),
        };
        rules.know_sequences();
        rules.know_drops();
        rules.share_units();
        for table in &diff.tables {
            let name = &table.want.name;
            for key in &table.keys {
                rules.parents.insert(Name::new(&name.schema, &key.want.name), id::key(name, &key.want));
            }
            for index in &table.indexes {
                let object = Name::new(&name.schema, &index.want.name);
                rules.parents.insert(object, id::index(name, &index.want.name));
            }
        }
        rules
    }

    fn know_sequences(&mut self) {
        for wanted in &self.inputs.diff.sequences {
            let sequence = &wanted.want.want;
            match &sequence.owner {
                Some(owner) if owner.identity => {
                    let Some((table, _)) = self.tables.get_key_value(&owner.table) else { continue };
                    self.identities.entry(table).or_default().push(sequence);
                }
                _ if missing(wanted) => {
                    self.sequences.insert(&sequence.name, sequence);
                    if let Some(owner) = &sequence.owner {
                        self.owned.entry(&owner.table).or_default().push(sequence);
                    }
                }
                _ => {}
            }
            if let Some(owner) = &sequence.owner
                && let Some((table, _)) = self.tables.get_key_value(&owner.table)
            {
                self.drawers.entry(sequence.name.clone()).or_default().insert(table);
            }
        }
        let known: HashSet<&Name> =
            self.inputs.diff.sequences.iter().map(|pair| &pair.want.want.name).collect();
        for table in &self.inputs.diff.tables {
            for default in table.want.columns.iter().filter_map(|column| column.default.as_ref()) {
                let named = self.mentioned(&default.native).into_iter().chain(default.sequence.clone());
                for name in named.filter(|name| known.contains(name)) {
                    self.drawers.entry(name).or_default().insert(&table.want.name);
                }
            }
        }
    }

    fn add(&mut self, mut draft: Draft) {
        draft.needs.remove(&draft.id);
        draft.locks.sort();
        draft.locks.dedup();
        self.steps.push(Step {
            inputs: self.hasher.inputs(&draft.id, &draft.action),
            id: draft.id,
            phase: draft.phase,
            needs: draft.needs.into_iter().collect(),
            action: draft.action,
            table: draft.table,
            locks: draft.locks,
            estimate: draft.estimate,
            unit: draft.unit,
        });
    }

    /// Schemas come first.
    fn schemas(&mut self) {
        for wanted in self.inputs.diff.schemas.iter().filter(|wanted| missing(wanted)) {
            let statements = self.to.create_schema(&wanted.want);
            let draft = Draft::sql(id::schema(&wanted.want.name), Phase::Schema, statements);
            self.add(Draft { unit: FIRST.into(), ..draft });
        }
    }

    /// Extensions need their schema.
    fn extensions(&mut self) {
        for wanted in self.inputs.diff.extensions.iter().filter(|wanted| missing(wanted)) {
            let statements = self.to.create_extension(&wanted.want);
            let mut draft = Draft::sql(id::extension(&wanted.want.name), Phase::Schema, statements);
            draft.needs.insert(id::schema(&wanted.want.schema));
            self.add(Draft { unit: FIRST.into(), ..draft });
        }
    }

    fn extension_ids(&self) -> impl Iterator<Item = String> {
        let wanted = self.inputs.diff.extensions.iter().filter(|wanted| missing(wanted));
        wanted.map(|wanted| id::extension(&wanted.want.name))
    }

    /// Types need their schema, the extensions, and the types they are made of.
    fn types(&mut self) {
        let wanted = self.inputs.diff.types.iter().filter(|wanted| missing(wanted));
        for want in wanted.map(|wanted| &wanted.want) {
            let statements = self.to.create_type(want);
            let mut draft = Draft::sql(id::user_type(&want.name), Phase::Schema, statements.clone());
            draft.needs.insert(id::schema(&want.name.schema));
            draft.needs.extend(self.extension_ids());
            for name in statements.iter().flat_map(|text| self.mentioned(text)) {
                if self.types.contains(&name) && name != want.name {
                    draft.needs.insert(id::user_type(&name));
                }
            }
            self.add(Draft { unit: FIRST.into(), ..draft });
        }
    }

    /// Sequences need their schema. One that a single table draws from is made with that table.
    fn sequences(&mut self) {
        let mut names: Vec<&Name> = self.sequences.keys().copied().collect();
        names.sort();
        for name in names {
            let statements = self.to.create_sequence(self.sequences[name]);
            let mut draft = Draft::sql(id::sequence(name), Phase::Schema, statements);
            draft.needs.insert(id::schema(&name.schema));
            draft.unit = match self.drawers.get(name).map(|tables| tables.iter().collect::<Vec<_>>()) {
                Some(tables) if tables.len() == 1 => match self.tables.get(*tables[0]) {
                    Some(table) if made(table) => self.create_unit(table),
                    _ => FIRST.into(),
                },
                _ => FIRST.into(),
            };
            self.add(draft);
        }
    }

    /// A table needs its schema, what its texts name, and the tables it hangs below. Sequences that
    /// it owns are given to it right away.
    fn create(&mut self, table: &'a TableDiff) {
        if !made(table) {
            return;
        }
        let want = &table.want;
        let inline = !self.to.features().alter_adds_constraints;
        let none = Vec::new();
        let identities = self.identities.get(&want.name).unwrap_or(&none);
        let with = Inline { keys: inline, foreign_keys: inline };
        let later = |check: &Check| !check.validated && !inline;
        let inherited = self.generated_above(want);
        let mut statements = match want.checks.iter().any(later) || !inherited.is_empty() {
            false => self.to.create_table(want, identities, with),
            true => {
                let mut now = want.clone();
                now.checks.retain(|check| !later(check));
                inherited.into_iter().for_each(|at| now.columns[at].generated = None);
                self.to.create_table(&now, identities, with)
            }
        };
        statements.extend(self.owned_statements(&want.name));
        let mut draft = Draft::sql(id::create(&want.name), Phase::Schema, statements);
        draft.needs.insert(id::schema(&want.name.schema));
        draft.needs.extend(self.extension_ids());
        draft.needs.extend(self.named_needs(want));
        let owned = self.owned.get(&want.name).into_iter().flatten();
        draft.needs.extend(owned.map(|sequence| id::sequence(&sequence.name)));
        for parent in want.partition().map(|partition| &partition.parent).into_iter().chain(&want.inherits) {
            draft.needs.insert(id::create(parent));
        }
        draft.locks.extend(want.partition().map(|partition| partition.parent.clone()));
        draft.table = Some(want.name.clone());
        draft.unit = self.create_unit(table);
        self.add(draft);
    }

    /// Columns whose expression a parent brings: up to PostgreSQL 15 a child must not repeat it.
    fn generated_above(&self, want: &Table) -> Vec<usize> {
        let parents: Vec<_> = want.inherits.iter().filter_map(|parent| self.tables.get(parent)).collect();
        let is_above = |column: &Column| {
            let mut theirs = parents.iter().filter_map(|parent| parent.want.column(&column.name));
            !column.inherited
                && column.generated.is_some()
                && theirs.any(|theirs| theirs.generated == column.generated)
        };
        (0..want.columns.len()).filter(|at| is_above(&want.columns[*at])).collect()
    }

    fn owned_statements(&self, table: &Name) -> Vec<String> {
        let mut owned: Vec<&Sequence> = self.owned.get(table).cloned().unwrap_or_default();
        owned.sort_by(|a, b| a.name.cmp(&b.name));
        owned.into_iter().flat_map(|sequence| self.to.own_sequence(sequence)).collect()
    }

    /// Types and sequences that a table's texts name.
    fn named_needs(&self, want: &Table) -> BTreeSet<String> {
        let mut needs = BTreeSet::new();
        if self.types.is_empty() && self.sequences.is_empty() {
            return needs;
        }
        let columns = want.columns.iter();
        let natives = columns.clone().map(|column| column.native.as_str());
        let defaults = columns.clone().filter_map(|column| column.default.as_ref());
        let generated = columns.filter_map(|column| column.generated.as_ref());
        let texts = natives
            .chain(defaults.map(|default| default.native.as_str()))
            .chain(generated.map(|generated| generated.native.as_str()))
            .chain(want.checks.iter().map(|check| check.native.as_str()));
        for name in texts.filter(|text| text.contains('.')).flat_map(|text| self.mentioned(text)) {
            if self.types.contains(&name) {
                needs.insert(id::user_type(&name));
            } else if self.sequences.contains_key(&name) {
                needs.insert(id::sequence(&name));
            }
        }
        needs
    }

    /// Objects that a text of the target names.
    fn mentioned(&self, text: &str) -> Vec<Name> {
        self.to.mentions(text).into_iter().map(|(name, _)| name).collect()
    }

    fn loads(&self, table: &TableDiff) -> bool {
        table.policy.load != Load::None && table.want.holds_rows()
    }

    /// Rows need their table, the keys and indexes that come before them, the rows that foreign
    /// keys which are there already look for, and that those are gone which would hold them back;
    /// and all tables, where they name some.
    fn copy(&mut self, table: &'a TableDiff) {
        if !self.loads(table) {
            return;
        }
        let name = &table.want.name;
        let own = id::copy(name);
        let mut draft = Draft::sql(own.clone(), Phase::Load, Vec::new());
        draft.action = Action::Copy {
            projection: table.projection.clone(),
            empty: self.to.empty_table(name),
            replace: table.policy.load == Load::Replace,
            frozen: self.to.features().frozen_load && made(table),
            chunk_bytes: self.inputs.plan.limits.chunk_bytes,
        };
        draft.needs.insert(id::create(name));
        if self.names_tables(table) {
            draft.needs.extend(self.inputs.diff.tables.iter().map(|table| id::create(&table.want.name)));
        }
        draft.needs.extend(table.behind.iter().map(id::copy));
        draft.needs.extend(self.drops.get(&self.root(table).want.name).into_iter().flatten().cloned());
        if self.is_early(table) {
            draft.needs.extend(self.part_ids(table));
        }
        draft.table = Some(name.clone());
        draft.estimate = pace::copy(table.rows, table.bytes);
        draft.unit = if self.is_fused(table) || self.is_small(table) { self.unit_of(table) } else { own };
        self.add(draft);
    }

    /// The rows of a table and of all that hangs below it are in.
    fn rows_in(&self, table: &'a TableDiff) -> Vec<String> {
        let tree = self.tree(table);
        tree.iter().flat_map(|table| [id::create(&table.want.name), id::copy(&table.want.name)]).collect()
    }
}
