//! Lays a plan over a source catalog: which tables come, and how. Every name that the plan says
//! is checked against the catalog here; the target is not known yet.

mod check;

use std::collections::{HashMap, HashSet};

use check::quoted;

use super::pattern::Pattern;
use super::{ColumnRule, Plan, Policy, Problem, Rule, Severity, Span, resolve};
use crate::catalog::name;
use crate::catalog::{Catalog, Dialect, Name, Table};

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
    /// Pairs of rules that have been reported.
    ties: HashSet<(usize, usize)>,
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
            ties: HashSet::new(),
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
            // Both are at fault; neither is to be called useless as well.
            self.wins[*other] += 1;
            if self.ties.insert((*first, *other)) {
                self.problems.push(self.tie(*first, *other, table));
            }
        }
        Some(*first)
    }

    fn tie(&self, first: usize, second: usize, table: &Table) -> Problem {
        let (one, two) = (&self.plan.rules[first], &self.plan.rules[second]);
        let (left, right) = (quoted(&one.pattern), quoted(&two.pattern));
        let help = match self.is_wild(second) {
            true => format!("add an entry for {} alone", table.name),
            false => "they are one table: remove one of them".into(),
        };
        Problem::error("E120", format!("{left} and {right} both decide about table {}", table.name))
            .at(two.span)
            .label("neither is more specific")
            .note(format!("the other one is at {}:{}", one.span.line, one.span.column))
            .help(help)
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
}

/// All that an entry says, for telling whether two entries say the same.
#[derive(PartialEq)]
struct Said<'a> {
    skip: bool,
    policy: Option<Policy>,
    filter: Option<&'a str>,
    to: Option<&'a str>,
    /// Without their places.
    columns: Vec<ColumnRule>,
}

impl<'a> Said<'a> {
    fn of(rule: &'a Rule, defaults: &Policy) -> Self {
        let text = |spanned: &'a Option<(String, Span)>| spanned.as_ref().map(|(text, _)| text.as_str());
        let bare = |spanned: &Option<(String, Span)>| {
            spanned.as_ref().map(|(text, _)| (text.clone(), Span::default()))
        };
        let column = |rule: &ColumnRule| ColumnRule {
            column: rule.column.clone(),
            span: Span::default(),
            skip: rule.skip,
            to: bare(&rule.to),
            ty: bare(&rule.ty),
            zone: bare(&rule.zone),
            zero_date: rule.zero_date.map(|_| Span::default()),
            error_value: rule.error_value.map(|_| Span::default()),
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
