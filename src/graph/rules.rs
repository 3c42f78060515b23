//! From wanted objects to steps: one function per kind of object, with the rule that orders it.
//! A step needs what must be there before it; nothing else decides its place.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::build::Inputs;
use super::step::{Action, Estimate, Phase, Step};
use super::{digest, pace};
use crate::catalog::dialect::Inline;
use crate::catalog::{Dialect, ForeignKey, Index, Key, KeyKind, Name, Sequence, Table, TableKind};
use crate::diff::hazard::{Hazard, Standing};
use crate::diff::{State, TableDiff, Wanted, id, mentions, orphans_of, shown};
use crate::plan::{Indexes, Load};

/// A table this small goes through in one transaction, its keys and indexes included: the commit
/// would cost more than the work.
const SMALL_BYTES: u64 = 16 << 20;

/// What rules look things up in.
pub(super) struct Rules<'a> {
    inputs: &'a Inputs<'a>,
    to: &'a dyn Dialect,
    tables: HashMap<&'a Name, &'a TableDiff>,
    /// Tables that hang below another: partitions and children by inheritance.
    below: HashMap<&'a Name, Vec<&'a TableDiff>>,
    /// Sequences that a step makes on its own, and those of identity columns by table.
    sequences: HashMap<&'a Name, &'a Sequence>,
    identities: HashMap<&'a Name, Vec<&'a Sequence>>,
    /// Tables that draw from a sequence of the target.
    drawers: HashMap<Name, BTreeSet<&'a Name>>,
    types: HashSet<&'a Name>,
    /// Steps of keys and indexes by the object's name, for attached ones.
    parents: HashMap<Name, String>,
    /// Accepted K303: place and words.
    accepted: Vec<(&'a str, &'a str)>,
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

/// All steps, each with its needs, in no order yet.
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
    rules.keep_known_needs();
    rules.steps
}

/// The steps of an index, the second only where it is attached.
fn index_ids(table: &Name, index: &str) -> [String; 2] {
    [id::index(table, index), id::attach(table, index)]
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
        let mut rules = Self {
            inputs,
            to: inputs.dialects.target,
            tables: diff.tables.iter().map(|table| (&table.want.name, table)).collect(),
            below,
            sequences: HashMap::new(),
            identities: HashMap::new(),
            drawers: HashMap::new(),
            types: diff
                .types
                .iter()
                .filter(|wanted| missing(wanted))
                .map(|wanted| &wanted.want.name)
                .collect(),
            parents: HashMap::new(),
            accepted: accepted_orphans(inputs.hazards),
            steps: Vec::new(),
        };
        rules.know_sequences();
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
                let named = mentioned(&default.native).into_iter().chain(default.sequence.clone());
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
            inputs: digest::inputs(&draft.id, &draft.action),
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

    /// Needs on objects that are there already have no step.
    fn keep_known_needs(&mut self) {
        let known: HashSet<String> = self.steps.iter().map(|step| step.id.clone()).collect();
        for step in &mut self.steps {
            step.needs.retain(|need| known.contains(need));
        }
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
            for name in statements.iter().flat_map(|text| mentioned(text)) {
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
        let now = Table {
            checks: want.checks.iter().filter(|check| check.validated || inline).cloned().collect(),
            ..want.clone()
        };
        let with = Inline { keys: inline, foreign_keys: inline };
        let mut statements = self.to.create_table(&now, identities, with);
        statements.extend(self.owned_statements(&want.name));
        let mut draft = Draft::sql(id::create(&want.name), Phase::Schema, statements);
        draft.needs.insert(id::schema(&want.name.schema));
        draft.needs.extend(self.extension_ids());
        draft.needs.extend(self.named_needs(want));
        for parent in want.partition().map(|partition| &partition.parent).into_iter().chain(&want.inherits) {
            draft.needs.insert(id::create(parent));
        }
        draft.locks.extend(want.partition().map(|partition| partition.parent.clone()));
        draft.table = Some(want.name.clone());
        draft.unit = self.create_unit(table);
        self.add(draft);
    }

    fn owned_statements(&self, table: &Name) -> Vec<String> {
        let owns = |sequence: &&&Sequence| sequence.owner.as_ref().is_some_and(|owner| owner.table == *table);
        let mut owned: Vec<_> = self.sequences.values().filter(owns).collect();
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
        for name in texts.filter(|text| text.contains('.')).flat_map(mentioned) {
            if self.types.contains(&name) {
                needs.insert(id::user_type(&name));
            } else if self.sequences.contains_key(&name) {
                needs.insert(id::sequence(&name));
            }
        }
        needs
    }

    /// The top of the tree that a table hangs in, or itself.
    fn root(&self, table: &'a TableDiff) -> &'a TableDiff {
        let mut at = table;
        for _ in 0..self.tables.len() {
            let parent = at.want.partition().and_then(|partition| self.tables.get(&partition.parent));
            match parent {
                Some(parent) => at = parent,
                None => break,
            }
        }
        at
    }

    /// The table and all that hangs below it.
    fn tree(&self, table: &'a TableDiff) -> Vec<&'a TableDiff> {
        let mut tree = vec![table];
        let mut seen: HashSet<&Name> = HashSet::from([&table.want.name]);
        let mut at = 0;
        while at < tree.len() {
            for below in self.below.get(&tree[at].want.name).into_iter().flatten() {
                if seen.insert(&below.want.name) {
                    tree.push(below);
                }
            }
            at += 1;
        }
        tree
    }

    /// A partition tree is created as a whole: attaching locks its root. A table of one chunk is
    /// created in the transaction that loads it.
    fn create_unit(&self, table: &'a TableDiff) -> String {
        let root = self.root(table);
        if !std::ptr::eq(root, table) || matches!(table.want.kind, TableKind::Partitioned { .. }) {
            return id::create(&root.want.name);
        }
        if self.is_fused(table) { table.want.name.to_string() } else { id::create(&table.want.name) }
    }

    /// Created and loaded in one transaction.
    fn is_fused(&self, table: &TableDiff) -> bool {
        let features = self.to.features();
        table.want.kind == TableKind::Plain
            && made(table)
            && table.bytes <= self.inputs.plan.limits.chunk_bytes
            && (features.frozen_load || features.transactional_ddl)
    }

    fn is_small(&self, table: &TableDiff) -> bool {
        self.is_fused(table) && table.bytes <= SMALL_BYTES
    }

    /// The unit of a step on a table's structure: the table's own where all is one transaction.
    fn part_unit(&self, table: &'a TableDiff, id: &str) -> String {
        if self.is_small(table) || (self.is_early(table) && self.is_fused(table)) {
            return table.want.name.to_string();
        }
        if !table.want.holds_rows() {
            return self.create_unit(table);
        }
        id.to_string()
    }

    /// Keys and indexes come before the rows: where the plan says so, and on roots, which have
    /// none of their own.
    fn is_early(&self, table: &TableDiff) -> bool {
        table.policy.indexes == Indexes::BeforeLoad || !table.want.holds_rows()
    }

    fn part_phase(&self, table: &TableDiff) -> Phase {
        if self.is_early(table) { Phase::Schema } else { Phase::Index }
    }

    /// What a key or index waits for: its table, and the rows unless it comes before them. On a
    /// root: all partitions, for attaching one later would make indexes of its own.
    fn part_needs(&self, table: &'a TableDiff) -> BTreeSet<String> {
        let tree = if table.want.holds_rows() { vec![table] } else { self.tree(table) };
        let mut needs: BTreeSet<String> = tree.iter().map(|table| id::create(&table.want.name)).collect();
        if !self.is_early(table) {
            needs.insert(id::copy(&table.want.name));
        }
        needs
    }

    /// Primary, unique and exclusion keys. One that hangs on a root's key comes after that.
    fn keys(&mut self, table: &'a TableDiff) {
        if !self.to.features().alter_adds_constraints {
            return;
        }
        for key in table.keys.iter().filter(|key| missing(key)).map(|wanted| &wanted.want) {
            let name = &table.want.name;
            let own = id::key(name, key);
            let mut needs = self.part_needs(table);
            needs.extend(key.parent.as_ref().and_then(|parent| self.parents.get(parent)).cloned());
            let estimate = pace::index(table.rows, key.bytes);
            let phase = self.part_phase(table);
            let draft = match self.to.add_key_in_parts(&table.want, key) {
                Some((build, attach)) => {
                    let first = id::build(name, key);
                    let mut draft = Draft::sql(first.clone(), phase, build);
                    draft.needs = needs;
                    draft.unit = self.part_unit(table, &first);
                    self.add_part(table, draft, estimate, true);
                    let mut draft = Draft::sql(own.clone(), phase, attach);
                    draft.needs = BTreeSet::from([first]);
                    draft.locks = self.attach_locks(table, key.parent.is_some());
                    draft.estimate = pace::statement();
                    draft.table = Some(name.clone());
                    draft.unit = self.part_unit(table, &own);
                    self.add(draft);
                    continue;
                }
                None => Draft::sql(own.clone(), phase, self.to.add_key(&table.want, key)),
            };
            let unit = self.part_unit(table, &own);
            let locks = self.attach_locks(table, key.parent.is_some());
            self.add_part(table, Draft { needs, unit, locks, ..draft }, estimate, true);
        }
    }

    /// Attaching makes the root's index whole when it finds all others attached. Two that do so at
    /// once do not see each other, and the root's stays unusable: one at a time.
    fn attach_locks(&self, table: &'a TableDiff, attaches: bool) -> Vec<Name> {
        let root = attaches.then(|| self.root(table).want.name.clone());
        [table.want.name.clone()].into_iter().chain(root).collect()
    }

    fn add_part(&mut self, table: &TableDiff, mut draft: Draft, estimate: Estimate, build: bool) {
        if let Action::Sql { index_build, .. } = &mut draft.action {
            *index_build = build && table.want.holds_rows();
        }
        draft.table = Some(table.want.name.clone());
        draft.estimate = if self.is_early(table) { pace::statement() } else { estimate };
        self.add(draft);
    }

    /// Secondary indexes, as keys; several on one table build side by side. One that hangs on a
    /// root's index is attached on its own, so that builds need not wait for each other.
    fn indexes(&mut self, table: &'a TableDiff) {
        for index in table.indexes.iter().filter(|index| missing(index)).map(|wanted| &wanted.want) {
            let own = id::index(&table.want.name, &index.name);
            let whole = self.to.create_index(&table.want, index);
            let alone = self.to.create_index(&table.want, &Index { parent: None, ..index.clone() });
            let attach: Vec<String> = whole.into_iter().filter(|text| !alone.contains(text)).collect();
            let mut draft = Draft::sql(own.clone(), self.part_phase(table), alone);
            draft.needs = self.part_needs(table);
            draft.unit = self.part_unit(table, &own);
            self.add_part(table, draft, pace::index(table.rows, index.bytes), true);
            let Some(parent) = index.parent.as_ref().filter(|_| !attach.is_empty()) else { continue };
            let id = id::attach(&table.want.name, &index.name);
            let mut draft = Draft::sql(id.clone(), self.part_phase(table), attach);
            draft.needs = self.parents.get(parent).cloned().into_iter().chain([own]).collect();
            draft.locks = self.attach_locks(table, true);
            draft.table = Some(table.want.name.clone());
            draft.unit = self.part_unit(table, &id);
            self.add(draft);
        }
    }

    fn loads(&self, table: &TableDiff) -> bool {
        table.policy.load != Load::None && table.want.holds_rows()
    }

    /// Rows need their table, and the keys and indexes that come before them.
    fn copy(&mut self, table: &'a TableDiff) {
        if !self.loads(table) {
            return;
        }
        let name = &table.want.name;
        let fused = self.is_fused(table);
        let own = id::copy(name);
        let mut draft = Draft::sql(own.clone(), Phase::Load, Vec::new());
        draft.action = Action::Copy {
            projection: Box::new(table.projection.clone()),
            empty: self.to.empty_table(name),
            replace: table.policy.load == Load::Replace,
            frozen: self.to.features().frozen_load && made(table),
            chunk_bytes: self.inputs.plan.limits.chunk_bytes,
        };
        draft.needs.insert(id::create(name));
        if self.is_early(table) {
            draft.needs.extend(self.part_ids(table));
        }
        draft.table = Some(name.clone());
        draft.estimate = pace::copy(table.rows, table.bytes);
        draft.unit = if fused { name.to_string() } else { own };
        self.add(draft);
    }

    fn part_ids(&self, table: &TableDiff) -> Vec<String> {
        let name = &table.want.name;
        let keys = table.keys.iter().map(|key| id::key(name, &key.want));
        keys.chain(table.indexes.iter().flat_map(|index| index_ids(name, &index.want.name))).collect()
    }

    /// The rows of a table and of all that hangs below it are in.
    fn rows_in(&self, table: &'a TableDiff) -> Vec<String> {
        let tree = self.tree(table);
        tree.iter().flat_map(|table| [id::create(&table.want.name), id::copy(&table.want.name)]).collect()
    }

    /// A check that is not valid holds for new rows only: it comes after the old ones.
    fn checks(&mut self, table: &'a TableDiff) {
        if !made(table) || !self.to.features().alter_adds_constraints {
            return;
        }
        for check in table.want.checks.iter().filter(|check| !check.validated && !check.inherited) {
            let own = id::check(&table.want.name, &check.name);
            let mut draft = Draft::sql(own, Phase::Key, self.to.add_check(&table.want, check));
            draft.needs = self.rows_in(table).into_iter().collect();
            draft.table = Some(table.want.name.clone());
            draft.locks = vec![table.want.name.clone()];
            self.add(draft);
        }
    }

    /// Foreign keys come after the rows of both tables and the parent's unique keys; those of one
    /// child go together. An engine that made them with the table checks them at the end.
    fn foreign_keys(&mut self, table: &'a TableDiff) {
        for key in table.foreign_keys.iter().filter(|key| missing(key)).map(|wanted| &wanted.want) {
            if self.to.features().alter_adds_constraints {
                self.add_foreign_key(table, key);
            } else if made(table) && key.validated && !self.orphans_accepted(table, key) {
                self.check_foreign_key(table, key);
            }
        }
    }

    fn foreign_needs(&self, table: &'a TableDiff, key: &ForeignKey) -> BTreeSet<String> {
        let mut needs: BTreeSet<String> = self.rows_in(table).into_iter().collect();
        if let Some(parent) = self.tables.get(&key.parent) {
            needs.extend(self.rows_in(parent));
            // The key of a root is whole when those of all its partitions are.
            let trees = if parent.want.holds_rows() { vec![*parent] } else { self.tree(parent) };
            needs.extend(trees.iter().flat_map(|table| self.unique_ids(table, key)));
        }
        needs
    }

    /// The keys and unique indexes that a foreign key may lean on.
    fn unique_ids(&self, parent: &TableDiff, key: &ForeignKey) -> Vec<String> {
        let name = &parent.want.name;
        let wanted: BTreeSet<&str> = key.parent_columns.iter().map(String::as_str).collect();
        let leans = |parts: &[crate::catalog::IndexPart], primary: bool| {
            let columns: BTreeSet<&str> = parts.iter().filter_map(|part| part.column.as_deref()).collect();
            columns == wanted || (wanted.is_empty() && primary)
        };
        let is_primary = |key: &Key| key.kind == KeyKind::Primary;
        let keys = parent.keys.iter().filter(|key| leans(&key.want.parts, is_primary(&key.want)));
        let indexes =
            parent.indexes.iter().filter(|index| index.want.unique && leans(&index.want.parts, false));
        let keys = keys.map(|key| id::key(name, &key.want));
        keys.chain(indexes.flat_map(|index| index_ids(name, &index.want.name))).collect()
    }

    /// Roots cannot have unchecked foreign keys.
    fn is_tree(&self, table: &TableDiff, key: &ForeignKey) -> bool {
        let rooted = |table: &TableDiff| matches!(table.want.kind, TableKind::Partitioned { .. });
        rooted(table) || self.tables.get(&key.parent).is_some_and(|parent| rooted(parent))
    }

    fn add_foreign_key(&mut self, table: &'a TableDiff, key: &ForeignKey) {
        let name = &table.want.name;
        let at_once = !self.to.features().validates_later || self.is_tree(table, key);
        let own = id::foreign(name, key);
        let mut draft =
            Draft::sql(own.clone(), Phase::Key, self.to.add_foreign_key(&table.want, key, at_once));
        draft.needs = self.foreign_needs(table, key);
        draft.table = Some(name.clone());
        draft.locks = vec![name.clone(), key.parent.clone()];
        draft.estimate = if at_once { pace::check(table.rows) } else { pace::statement() };
        draft.unit = format!("{name}/foreign");
        self.add(draft);
        if at_once || !key.validated || self.orphans_accepted(table, key) {
            return;
        }
        let validate = id::validate(name, key);
        let statements = self.to.validate_foreign_key(&table.want, key);
        let mut draft = Draft::sql(validate.clone(), Phase::Key, statements);
        draft.needs = BTreeSet::from([own]);
        draft.table = Some(name.clone());
        // Two validations of one table wait for each other anyway.
        draft.locks = vec![name.clone()];
        draft.estimate = pace::check(table.rows);
        draft.unit = if self.is_small(table) { format!("{name}/foreign") } else { validate };
        self.add(draft);
    }

    fn check_foreign_key(&mut self, table: &'a TableDiff, key: &ForeignKey) {
        let name = &table.want.name;
        let Some(query) = self.to.validate_foreign_key(&table.want, key).into_iter().next() else { return };
        let label = id::foreign_label(key);
        let message = format!("rows of {name} have no parent in {} by foreign key {label}", key.parent);
        let mut draft = Draft::sql(id::validate(name, key), Phase::Key, Vec::new());
        draft.action = Action::Check { query, message };
        draft.needs = self.foreign_needs(table, key);
        draft.table = Some(name.clone());
        draft.estimate = pace::check(table.rows);
        draft.unit = format!("{name}/foreign");
        self.add(draft);
    }

    /// An accepted K303 adds the key and leaves the old rows unchecked.
    fn orphans_accepted(&self, table: &TableDiff, key: &ForeignKey) -> bool {
        let source = |name: &String| {
            let map = table.projection.columns.iter().find(|map| map.target == *name);
            map.map_or_else(|| name.clone(), |map| map.source.clone())
        };
        let columns: Vec<String> = key.columns.iter().map(source).collect();
        let (what, at) = (orphans_of(&columns), shown(self.inputs.source, &table.source));
        self.accepted.iter().any(|(place, words)| *place == at && words.starts_with(&what))
    }

    /// Statistics come after rows and indexes; a partition tree is looked at from its root.
    fn analyze(&mut self, table: &'a TableDiff) {
        let below = table.want.partition().is_some() && !std::ptr::eq(self.root(table), table);
        let rooted = matches!(table.want.kind, TableKind::Partitioned { .. });
        let tree = if rooted { self.tree(table) } else { vec![table] };
        if !self.to.features().analyze || below || !tree.iter().any(|table| self.loads(table)) {
            return;
        }
        let name = &table.want.name;
        let own = id::analyze(name);
        let mut draft = Draft::sql(own.clone(), Phase::Index, self.to.analyze(name));
        for table in &tree {
            draft.needs.extend([id::create(&table.want.name), id::copy(&table.want.name)]);
            draft.needs.extend(self.part_ids(table));
        }
        draft.table = Some(name.clone());
        draft.estimate = pace::analyze(tree.iter().map(|table| table.rows).sum());
        draft.unit = self.part_unit_small(table, own);
        self.add(draft);
    }

    fn part_unit_small(&self, table: &TableDiff, id: String) -> String {
        if self.is_small(table) { table.want.name.to_string() } else { id }
    }

    /// Sequences are set after the rows of all tables that draw from them.
    fn set_sequences(&mut self) {
        for wanted in &self.inputs.diff.sequences {
            let sequence = &wanted.want.want;
            let drawers = self.drawers.get(&sequence.name);
            let tables: Vec<_> =
                drawers.into_iter().flatten().filter_map(|name| self.tables.get(*name)).collect();
            let tables: Vec<&'a TableDiff> = tables.into_iter().copied().collect();
            let load = tables.iter().any(|table| self.tree(table).iter().any(|table| self.loads(table)));
            if !load && !tables.is_empty() {
                continue;
            }
            let mut draft = Draft::sql(id::set(&sequence.name), Phase::Sequence, Vec::new());
            draft.action = Action::SetSequence {
                source: wanted.want.source.clone(),
                sequence: sequence.clone(),
                margin: 0,
            };
            draft.needs = tables.iter().flat_map(|table| self.rows_in(table)).collect();
            draft.needs.insert(id::sequence(&sequence.name));
            draft.unit = "sequences".into();
            self.add(draft);
        }
    }
}

fn accepted_orphans(hazards: &[Hazard]) -> Vec<(&str, &str)> {
    let accepted = hazards
        .iter()
        .filter(|hazard| hazard.code == "K303" && matches!(hazard.state, Standing::Accepted { .. }));
    accepted.map(|hazard| (hazard.at.as_str(), hazard.what.as_str())).collect()
}

/// Names in a text, without whether they are called.
fn mentioned(text: &str) -> Vec<Name> {
    mentions(text).into_iter().map(|(name, _)| name).collect()
}
