//! Lays a plan over a source catalog: which tables come, and how. Every name that the plan says
//! is checked against the catalog here; the target is not known yet.

use std::collections::{BTreeMap, HashMap};

use super::nearest::nearest;
use super::pattern::Pattern;
use super::{Accept, ColumnRule, Plan, Policy, Problem, Rule, Severity, Span, resolve};
use crate::catalog::name::{self, show};
use crate::catalog::{Catalog, Dialect, ForeignKey, KeyKind, Name, Table};

/// What the plan says about each table of the source.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Tables that come, sorted by source name.
    pub tables: Vec<TableIntent>,
    /// Tables that stay, with the pattern that said so (none: no pattern matched).
    pub skipped: Vec<(Name, Option<String>)>,
    /// What is odd but no error.
    pub warnings: Vec<Problem>,
}

/// One table that comes.
#[derive(Clone, Debug)]
pub struct TableIntent {
    pub source: Name,
    /// With the plan's target schema in place of the source's default one. Where the plan names
    /// no target schema, a table of the source's default schema still carries that schema's name.
    pub target: Name,
    pub policy: Policy,
    /// One condition in the source's SQL, already checked to be one.
    pub filter: Option<String>,
    /// Rules for columns that exist on the source.
    pub columns: Vec<ColumnRule>,
    /// The entry of `tables:` that decided.
    pub span: Span,
}

/// Matches patterns (the narrowest one decides; a tie, or a pattern that matches nothing, is a
/// problem) and checks every name in the rules against the catalog, with the nearest name as a
/// hint. `dialect`: the source's.
pub fn select(plan: &Plan, source: &Catalog, dialect: &dyn Dialect) -> Result<Selection, Vec<Problem>> {
    let mut selector = Selector::new(plan, source, dialect);
    selector.decide();
    selector.follow_roots();
    selector.check_patterns();
    let mut selection = selector.selection();
    selector.check_targets(&selection);
    selector.check_parents(&selection);
    selector.check_accepts();
    selector.problems.extend(check_conditions(plan, dialect));
    let (errors, warnings) = resolve::sorted(selector.problems)
        .into_iter()
        .partition::<Vec<_>, _>(|problem| problem.severity == Severity::Error);
    if errors.is_empty() {
        selection.warnings = warnings;
        return Ok(selection);
    }
    Err(resolve::sorted([errors, warnings].concat()))
}

/// Checks that every `where:` is one condition of the source's dialect. Needs no catalog.
pub fn check_conditions(plan: &Plan, dialect: &dyn Dialect) -> Vec<Problem> {
    let filters = plan.rules.iter().filter_map(|rule| rule.filter.as_ref());
    let check = |(text, span): &(String, Span)| {
        let why = dialect.check_condition(text).err()?;
        let problem = Problem::error("E127", format!("where is not one condition: {why}")).at(*span);
        Some(problem.help("write what follows WHERE: comparisons joined by and, or, not; nothing else"))
    };
    filters.filter_map(check).collect()
}

struct Selector<'a> {
    plan: &'a Plan,
    source: &'a Catalog,
    folds: bool,
    /// As many as rules; none where the pattern cannot be read (resolve has said so).
    patterns: Vec<Option<Pattern>>,
    /// By table, as in the catalog: the rule that decides.
    decided: Vec<Option<usize>>,
    /// By rule: how many tables it matches, and how many it decides.
    matched: Vec<usize>,
    wins: Vec<usize>,
    positions: HashMap<&'a Name, usize>,
    problems: Vec<Problem>,
}

impl<'a> Selector<'a> {
    fn new(plan: &'a Plan, source: &'a Catalog, dialect: &'a dyn Dialect) -> Self {
        Self {
            plan,
            source,
            folds: dialect.features().folds_case,
            patterns: plan.rules.iter().map(|rule| Pattern::parse(&rule.pattern).ok()).collect(),
            decided: vec![None; source.tables.len()],
            matched: vec![0; plan.rules.len()],
            wins: vec![0; plan.rules.len()],
            positions: source.tables.iter().enumerate().map(|(at, table)| (&table.name, at)).collect(),
            problems: Vec::new(),
        }
    }

    fn table(&self, name: &Name) -> Option<(usize, &'a Table)> {
        self.positions.get(name).map(|at| (*at, &self.source.tables[*at]))
    }

    /// The table that a user's spelling means, by exact parts or, where names fold, in any case.
    fn meant(&self, wanted: &Name) -> Option<&'a Table> {
        if let Some((_, table)) = self.table(wanted) {
            return Some(table);
        }
        let same = |name: &Name| {
            name.schema.eq_ignore_ascii_case(&wanted.schema) && name.name.eq_ignore_ascii_case(&wanted.name)
        };
        self.folds.then(|| self.source.tables.iter().find(|table| same(&table.name))).flatten()
    }

    fn same(&self, a: &str, b: &str) -> bool {
        if self.folds { a.eq_ignore_ascii_case(b) } else { a == b }
    }

    /// The narrowest pattern of each table.
    fn decide(&mut self) {
        let default = self.source.default_schema.as_str();
        for (at, table) in self.source.tables.iter().enumerate() {
            let hit = |pattern: &Option<Pattern>| {
                pattern.as_ref().is_some_and(|pattern| pattern.matches(&table.name, default, self.folds))
            };
            let rules: Vec<usize> =
                (0..self.patterns.len()).filter(|rule| hit(&self.patterns[*rule])).collect();
            for rule in &rules {
                self.matched[*rule] += 1;
            }
            self.decided[at] = self.narrowest(&rules, table);
        }
    }

    /// Of the rules that match a table, the one whose pattern lies within all others. Rules that
    /// say the same tie without harm.
    fn narrowest(&mut self, rules: &[usize], table: &Table) -> Option<usize> {
        let best: Vec<usize> = rules
            .iter()
            .copied()
            .filter(|rule| !rules.iter().any(|other| self.narrower(*other, *rule)))
            .collect();
        let (first, rest) = best.split_first()?;
        let says = |rule: usize| Said::of(&self.plan.rules[rule], &self.plan.defaults);
        if let Some(other) = rest.iter().find(|other| says(**other) != says(*first)) {
            let (one, two) = (&self.plan.rules[*first], &self.plan.rules[*other]);
            let what = format!(
                "{} and {} both decide about table {}",
                quoted(&one.pattern),
                quoted(&two.pattern),
                table.name
            );
            self.problems.push(
                Problem::error("E120", what)
                    .at(two.span)
                    .label("neither is more specific")
                    .note(format!("the other one is at {}:{}", one.span.line, one.span.column))
                    .help(format!("add an entry for {} alone", table.name)),
            );
        }
        Some(*first)
    }

    /// True where `a` is strictly narrower than `b`. A name without wildcards is narrower than
    /// any pattern that matches it.
    fn narrower(&self, a: usize, b: usize) -> bool {
        let default = self.source.default_schema.as_str();
        match (&self.patterns[a], &self.patterns[b]) {
            (Some(a), Some(b)) => a.within(b, default, self.folds) && !b.within(a, default, self.folds),
            _ => false,
        }
    }

    /// A partition goes where its root goes, unless the plan names the partition itself.
    fn follow_roots(&mut self) {
        for at in 0..self.decided.len() {
            let table = &self.source.tables[at];
            let Some(root) = self.root(table) else { continue };
            let by_name = |rule: Option<usize>| rule.filter(|rule| !self.is_wild(*rule));
            let own = by_name(self.decided[at]);
            let root_rule = self.decided[root];
            if own.is_none() && (self.decided[at].is_none() || by_name(root_rule).is_some()) {
                self.decided[at] = root_rule;
            }
        }
        for rule in self.decided.iter().flatten() {
            self.wins[*rule] += 1;
        }
    }

    fn is_wild(&self, rule: usize) -> bool {
        self.patterns[rule].as_ref().is_some_and(Pattern::is_wild)
    }

    /// The top of a table's partition tree, if it hangs in one.
    fn root(&self, table: &Table) -> Option<usize> {
        let mut parent = &table.partition()?.parent;
        let mut found = None;
        // A catalog that was edited by hand may hold a circle.
        for _ in 0..=self.source.tables.len() {
            let Some((at, above)) = self.table(parent) else { break };
            found = Some(at);
            match above.partition() {
                Some(partition) => parent = &partition.parent,
                None => break,
            }
        }
        found
    }

    /// Patterns that match nothing, or that others leave nothing to decide.
    fn check_patterns(&mut self) {
        for (at, rule) in self.plan.rules.iter().enumerate() {
            let Some(pattern) = &self.patterns[at] else { continue };
            if self.matched[at] == 0 {
                let problem = self.no_match(rule, pattern);
                self.problems.push(problem);
            } else if self.wins[at] == 0 && !matches!(rule.pattern.as_str(), "*" | "*.*") {
                let what = format!("{} decides about no table", quoted(&rule.pattern));
                let problem = Problem::error("E122", what).at(rule.span);
                let problem = problem.label("other entries decide about all it matches");
                self.problems.push(problem.help("remove it"));
            }
        }
    }

    fn no_match(&self, rule: &Rule, pattern: &Pattern) -> Problem {
        let problem = Problem::error("E121", format!("{} matches no table", quoted(&rule.pattern)))
            .at(rule.span)
            .label(format!("not among the {} of the source", count(self.source.tables.len(), "table")));
        if self.source.tables.is_empty() {
            return problem.help("the source has no tables: is this the right database?");
        }
        let Some(wanted) = pattern.exact(&self.source.default_schema) else {
            let note = "a pattern without a schema means the default one";
            return problem.note(format!("{note}: {}", show(&self.source.default_schema)));
        };
        match self.near_table(&wanted) {
            Some(near) => problem.help(format!("did you mean {near}?")),
            None => match self.source.others.iter().find(|other| other.name == wanted) {
                Some(other) => problem.note(format!("there is a {} of that name", other.kind)),
                None => problem,
            },
        }
    }

    /// The nearest table, as the plan would spell it.
    fn near_table(&self, wanted: &Name) -> Option<String> {
        let elsewhere = self.source.tables.iter().find(|table| table.name.name == wanted.name);
        if let Some(table) = elsewhere {
            return Some(self.spell(&table.name));
        }
        let spelt: Vec<String> = self.source.tables.iter().map(|table| self.spell(&table.name)).collect();
        nearest(&self.spell(wanted), spelt.iter().map(String::as_str)).map(String::from)
    }

    /// A table as a plan spells it: without the default schema.
    fn spell(&self, table: &Name) -> String {
        if table.schema == self.source.default_schema { show(&table.name) } else { table.to_string() }
    }

    fn selection(&mut self) -> Selection {
        let mut selection = Selection::default();
        // Rules for columns are checked once per rule: over all tables it decides.
        let mut hits: Vec<Vec<bool>> =
            self.plan.rules.iter().map(|rule| vec![false; rule.columns.len()]).collect();
        for (at, table) in self.source.tables.iter().enumerate() {
            let rule = self.decided[at].map(|rule| (rule, &self.plan.rules[rule]));
            match rule {
                Some((index, rule)) if !rule.skip => {
                    let intent = self.intent(table, rule, &mut hits[index]);
                    selection.tables.push(intent);
                }
                rule => {
                    let why = rule.map(|(_, rule)| rule.pattern.clone());
                    selection.skipped.push((table.name.clone(), why));
                }
            }
        }
        self.check_columns(&hits);
        selection.tables.sort_by(|a, b| a.source.cmp(&b.source));
        selection.skipped.sort();
        selection
    }

    fn intent(&mut self, table: &Table, rule: &Rule, hits: &mut [bool]) -> TableIntent {
        let columns = match self.root_rule(table).filter(|root| root.span != rule.span) {
            // All parts of a partitioned table have the columns of its root.
            Some(root) => {
                self.check_partition_columns(table, rule, root);
                hits.fill(true);
                self.columns_of(table, root, &mut vec![false; root.columns.len()])
            }
            None => self.columns_of(table, rule, hits),
        };
        self.check_renames(table, &columns);
        let is_root_rule = table.partition().is_some() && !self.names_itself(table, rule);
        let to = rule.to.as_ref().filter(|_| !is_root_rule);
        TableIntent {
            source: table.name.clone(),
            target: self.target(&table.name, to.map(|(text, _)| text.as_str())),
            policy: rule.policy(&self.plan.defaults),
            filter: rule.filter.as_ref().map(|(text, _)| text.clone()),
            columns,
            span: rule.span,
        }
    }

    /// The rules for columns that the table has, by their names in the catalog.
    fn columns_of(&self, table: &Table, rule: &Rule, hits: &mut [bool]) -> Vec<ColumnRule> {
        let mut columns = Vec::new();
        for (at, wanted) in rule.columns.iter().enumerate() {
            let found = table.columns.iter().find(|column| self.same(&column.name, &wanted.column));
            if let Some(column) = found {
                hits[at] = true;
                columns.push(ColumnRule { column: column.name.clone(), ..wanted.clone() });
            }
        }
        columns
    }

    /// The entry that carries the root of a table's partition tree.
    fn root_rule(&self, table: &Table) -> Option<&'a Rule> {
        let rule = self.decided[self.root(table)?]?;
        Some(&self.plan.rules[rule]).filter(|rule| !rule.skip)
    }

    fn check_partition_columns(&mut self, table: &Table, rule: &Rule, root: &Rule) {
        let Some(first) = rule.columns.first().filter(|_| !self.wild_rule(rule)) else { return };
        let what = format!("{} is a partition and has the columns of its root", table.name);
        let problem = Problem::error("E129", what).at(first.span);
        self.problems.push(problem.help(format!("write columns under {}", quoted(&root.pattern))));
    }

    fn wild_rule(&self, rule: &Rule) -> bool {
        Pattern::parse(&rule.pattern).is_ok_and(|pattern| pattern.is_wild())
    }

    /// True where a rule's pattern matches the table itself, not only the root it hangs on.
    fn names_itself(&self, table: &Table, rule: &Rule) -> bool {
        let default = self.source.default_schema.as_str();
        Pattern::parse(&rule.pattern).is_ok_and(|pattern| pattern.matches(&table.name, default, self.folds))
    }

    fn target(&self, source: &Name, to: Option<&str>) -> Name {
        let default = &self.source.default_schema;
        let here = self.plan.target.schema.as_ref().unwrap_or(default);
        let moved = if source.schema == *default { here } else { &source.schema };
        let mut parts = to.and_then(|to| name::split(to).ok()).unwrap_or_default();
        match (parts.pop(), parts.pop()) {
            (Some(name), Some(schema)) => Name::new(schema, name),
            // A new name without a schema stays where the table would have gone.
            (Some(name), None) => Name::new(moved, name),
            _ => Name::new(moved, &source.name),
        }
    }

    /// E123: columns that no table of the rule has.
    fn check_columns(&mut self, hits: &[Vec<bool>]) {
        for (index, rule) in self.plan.rules.iter().enumerate() {
            let decided = self.decided.iter().enumerate();
            let tables: Vec<&Table> = decided
                .filter(|(_, by)| **by == Some(index))
                .map(|(at, _)| &self.source.tables[at])
                .collect();
            let Some(first) = tables.first() else { continue };
            for (column, hit) in rule.columns.iter().zip(&hits[index]) {
                if !hit {
                    self.problems.push(no_column(first, tables.len(), &column.column, column.span));
                }
            }
        }
    }

    /// E124: two columns of one table under one name.
    fn check_renames(&mut self, table: &Table, rules: &[ColumnRule]) {
        let mut names: HashMap<&str, &str> = HashMap::new();
        let rule_of = |column: &str| rules.iter().find(|rule| rule.column == column);
        for column in &table.columns {
            let rule = rule_of(&column.name);
            if rule.is_some_and(|rule| rule.skip) {
                continue;
            }
            let to = rule.and_then(|rule| rule.to.as_ref()).map_or(column.name.as_str(), |(to, _)| to);
            let Some(other) = names.insert(to, &column.name) else { continue };
            let span =
                rule.or_else(|| rule_of(other)).map(|rule| rule.to.as_ref().map_or(rule.span, |(_, at)| *at));
            let what = format!("two columns of {} would be called {}", table.name, show(to));
            let problem = Problem::error("E124", what).at(span.unwrap_or_default());
            self.problems.push(problem.note(format!("they are {} and {}", show(other), show(&column.name))));
        }
    }

    /// E124: two tables under one name.
    fn check_targets(&mut self, selection: &Selection) {
        let mut taken: BTreeMap<&Name, &TableIntent> = BTreeMap::new();
        for intent in &selection.tables {
            let Some(other) = taken.insert(&intent.target, intent) else { continue };
            let what = format!("{} and {} would both be {}", other.source, intent.source, intent.target);
            let renamed = if intent.source.name == intent.target.name { other } else { intent };
            let rule = self.plan.rules.iter().find(|rule| rule.span == renamed.span);
            let span = rule.and_then(|rule| rule.to.as_ref()).map_or(renamed.span, |(_, span)| *span);
            let problem = Problem::error("E124", what).at(span).label("this name is taken");
            self.problems.push(problem.help("give one of them another name with to:"));
        }
    }

    /// E126 and E129: what a table needs and the plan leaves behind.
    fn check_parents(&mut self, selection: &Selection) {
        let carried: HashMap<&Name, &TableIntent> =
            selection.tables.iter().map(|intent| (&intent.source, intent)).collect();
        for intent in &selection.tables {
            let Some((_, table)) = self.table(&intent.source) else { continue };
            let above = table.partition().map(|partition| &partition.parent);
            for parent in above.into_iter().chain(&table.inherits) {
                if self.table(parent).is_some() && !carried.contains_key(parent) {
                    let what = format!("{} is part of {parent}, which is left behind", table.name);
                    let problem = Problem::error("E126", what).at(intent.span);
                    self.problems.push(problem.help(format!("carry {parent} too, or skip {}", table.name)));
                }
            }
            if intent.policy.keys.foreign && intent.policy.create {
                self.check_foreign_keys(table, intent, &carried);
            }
        }
    }

    fn check_foreign_keys(
        &mut self,
        table: &Table,
        intent: &TableIntent,
        carried: &HashMap<&Name, &TableIntent>,
    ) {
        for key in &table.foreign_keys {
            let skips =
                |column: &String| intent.columns.iter().any(|rule| rule.skip && rule.column == *column);
            // A key whose column stays behind does not come.
            let Some(parent) = self.meant(&key.parent).filter(|_| !key.columns.iter().any(skips)) else {
                continue;
            };
            match carried.get(&parent.name) {
                None => {
                    let what = format!("{} refers to {}, which is left behind", table.name, parent.name);
                    let parent = self.spell(&parent.name);
                    let problem = Problem::error("E126", what).at(intent.span);
                    let problem = problem.note(format!("foreign key on ({})", key.columns.join(", ")));
                    self.problems.push(problem.help(format!(
                        "carry {parent} too, or leave foreign keys out here: keys: [primary, unique]"
                    )));
                }
                Some(above) => {
                    if let Some(word) = missing_key(parent, key, above) {
                        let what = format!(
                            "{} refers to {}, whose {word} keys are left out",
                            table.name, parent.name
                        );
                        let problem = Problem::error("E129", what).at(intent.span);
                        let help = format!("add {word} to its keys, or leave foreign keys out here");
                        self.problems.push(problem.help(help));
                    }
                }
            }
        }
    }

    /// E123: places of acceptances that do not exist.
    fn check_accepts(&mut self) {
        for accept in &self.plan.accept {
            if let Some(problem) = self.bad_place(accept) {
                self.problems.push(problem);
            }
        }
    }

    fn bad_place(&self, accept: &Accept) -> Option<Problem> {
        let at = accept.at.as_ref()?;
        // Other families are about servers, sequences and the like.
        if !accept.hazard.starts_with(['D', 'V', 'K', 'I']) {
            return None;
        }
        let shown = show_path(at);
        let parts = match name::split(at) {
            Ok(parts) if (1..=3).contains(&parts.len()) => parts,
            _ => {
                let problem = Problem::error("E123", format!("{shown} is not a place")).at(accept.span);
                return Some(problem.help("write table or table.column"));
            }
        };
        let default = &self.source.default_schema;
        let named = |schema: &str, table: &str| self.meant(&Name::new(schema, table));
        let whole = match parts.as_slice() {
            [table] => named(default, table),
            [schema, table] => named(schema, table),
            _ => None,
        };
        if whole.is_some() {
            return None;
        }
        let (table, object) = match parts.as_slice() {
            [table, object] => (Name::new(default, table), object),
            [schema, table, object] => (Name::new(schema, table), object),
            _ => (Name::new(default, &parts[0]), &parts[0]),
        };
        let Some(found) = named(&table.schema, &table.name) else {
            let what = format!("there is no table {} to accept a hazard for", self.spell(&table));
            let problem = Problem::error("E123", what).at(accept.span);
            return Some(match self.near_table(&table) {
                Some(near) => problem.help(format!("did you mean {near}?")),
                None => problem,
            });
        };
        // Keys and indexes are named too; columns only for what concerns values.
        let about_values = accept.hazard.starts_with('V') || accept.hazard == "D105";
        let has = found.columns.iter().any(|column| self.same(&column.name, object));
        (about_values && !has).then(|| no_column(found, 1, object, accept.span))
    }
}

/// All that an entry says, for telling whether two entries say the same.
#[derive(PartialEq)]
struct Said<'a> {
    skip: bool,
    policy: Option<Policy>,
    filter: Option<&'a str>,
    to: Option<&'a str>,
    columns: Vec<(&'a str, bool, Option<&'a str>, Option<&'a str>, Option<&'a str>)>,
}

impl<'a> Said<'a> {
    fn of(rule: &'a Rule, defaults: &Policy) -> Self {
        fn text(spanned: &Option<(String, Span)>) -> Option<&str> {
            spanned.as_ref().map(|(text, _)| text.as_str())
        }
        let column = |rule: &'a ColumnRule| {
            (rule.column.as_str(), rule.skip, text(&rule.to), text(&rule.ty), text(&rule.zone))
        };
        Self {
            skip: rule.skip,
            policy: (!rule.skip).then(|| rule.policy(defaults)),
            filter: text(&rule.filter),
            to: text(&rule.to),
            columns: rule.columns.iter().map(column).collect(),
        }
    }
}

/// The word of `keys:` that would bring the key that a foreign key needs, where it is left out.
fn missing_key(parent: &Table, key: &ForeignKey, above: &TableIntent) -> Option<&'static str> {
    if !above.policy.create {
        return None;
    }
    let columns_of = |parts: &[crate::catalog::IndexPart]| {
        let mut columns: Vec<_> = parts.iter().filter_map(|part| part.column.clone()).collect();
        columns.sort();
        columns
    };
    let mut wanted = key.parent_columns.clone();
    wanted.sort();
    let fits = |candidate: &&crate::catalog::Key| {
        wanted.is_empty() && candidate.kind == KeyKind::Primary || columns_of(&candidate.parts) == wanted
    };
    let mut words = parent.keys.iter().filter(fits).map(|key| match key.kind {
        KeyKind::Primary => ("primary", above.policy.keys.primary),
        _ => ("unique", above.policy.keys.unique),
    });
    let first = words.next()?;
    let any = first.1 || words.any(|(_, comes)| comes);
    (!any).then_some(first.0)
}

fn no_column(table: &Table, tables: usize, wrong: &str, span: Span) -> Problem {
    let what = match tables {
        1 => format!("table {} has no column {}", table.name, show(wrong)),
        more => format!("none of {more} tables has a column {}", show(wrong)),
    };
    let problem = Problem::error("E123", what).at(span).label(format!("not in {} on the source", table.name));
    let near = nearest(wrong, table.columns.iter().map(|column| column.name.as_str()));
    let problem = match near {
        Some(near) => problem.help(format!("did you mean {}?", show(near))),
        None => problem,
    };
    let shown: Vec<_> = table.columns.iter().take(8).map(|column| show(&column.name)).collect();
    let rest = table.columns.len().saturating_sub(shown.len());
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    problem.note(format!("columns are {}{more}", shown.join(", ")))
}

/// A pattern as a message shows it.
fn quoted(pattern: &str) -> String {
    format!("\"{}\"", show_path(pattern))
}

fn show_path(text: &str) -> String {
    let hidden = |c: char| if name::is_hidden(c) { format!("\\u{{{:x}}}", c as u32) } else { c.to_string() };
    text.chars().map(hidden).collect()
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
