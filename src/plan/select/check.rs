//! Checks a plan's names against the source's catalog: patterns, columns, targets, parents, and
//! places of acceptances. Collects every problem; decides nothing.

use std::collections::{BTreeMap, HashMap};

use super::{Selection, Selector, TableIntent};
use crate::catalog::name::{self, show};
use crate::catalog::noun::counted;
use crate::catalog::{ForeignKey, IndexPart, Key, KeyKind, Name, Table};
use crate::plan::nearest::nearest;
use crate::plan::pattern::{Pattern, PlacePattern};
use crate::plan::{Accept, ColumnRule, Problem, Rule, Span};

/// Problems with a hint at a nearest name.
const NEAREST_MAX: usize = 50;

impl Selector<'_> {
    /// Patterns that match nothing, or that others leave nothing to decide.
    pub(super) fn check_patterns(&mut self) {
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
            .label(format!("not among the {} of the source", counted(self.source.tables.len(), "table")));
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
        // Nobody reads that many, and each looks at all tables.
        if self.problems.len() > NEAREST_MAX {
            return None;
        }
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

    /// E123: columns that no table of the rule has.
    pub(super) fn check_columns(&mut self, hits: &[Vec<bool>]) {
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
    pub(super) fn check_renames(&mut self, table: &Table, rules: &[ColumnRule]) {
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
    pub(super) fn check_targets(&mut self, selection: &Selection) {
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
    pub(super) fn check_parents(&mut self, selection: &Selection) {
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
    pub(super) fn check_accepts(&mut self) {
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
        // What a pattern of places finds is seen only with the hazards.
        if PlacePattern::parse(at).is_ok_and(|pattern| pattern.is_wild()) {
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

/// The word of `keys:` that would bring the key that a foreign key needs, where it is left out.
fn missing_key(parent: &Table, key: &ForeignKey, above: &TableIntent) -> Option<&'static str> {
    if !above.policy.create {
        return None;
    }
    let columns_of = |parts: &[IndexPart]| {
        let mut columns: Vec<_> = parts.iter().filter_map(|part| part.column.clone()).collect();
        columns.sort();
        columns
    };
    let mut wanted = key.parent_columns.clone();
    wanted.sort();
    let fits = |candidate: &&Key| {
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
pub(super) fn quoted(pattern: &str) -> String {
    format!("\"{}\"", show_path(pattern))
}

fn show_path(text: &str) -> String {
    let hidden = |c: char| if name::is_hidden(c) { format!("\\u{{{:x}}}", c as u32) } else { c.to_string() };
    text.chars().map(hidden).collect()
}
