//! Resolves `tables:`: patterns, what each entry says of its tables and columns, and what
//! contradicts itself within one entry.

use super::Resolver;
use crate::catalog::name::{self, show};
use crate::plan::file::{Key, Node, Value};
use crate::plan::keys::{self, Kind};
use crate::plan::nearest::nearest;
use crate::plan::pattern::Pattern;
use crate::plan::walk::Fields;
use crate::plan::{ColumnRule, Load, Policy, Problem, Rule, Span};

/// Entries of `tables:`; a catalog has about as many tables at most.
const TABLES_MAX: usize = 10_000;

impl Resolver<'_> {
    pub(super) fn rules(&mut self, node: &Node, defaults: &Policy) -> Vec<Rule> {
        let Some(entries) = self.walker.entries(node, "pattern: skip, or pattern: { ... }") else {
            return Vec::new();
        };
        if entries.is_empty() {
            let problem = Problem::error("E106", "tables names no table").at(node.span);
            self.walker.push(problem.help("write tables: { \"*\": {} } for all of them"));
        }
        if entries.len() > TABLES_MAX {
            let what = format!("the plan is too big: more than {TABLES_MAX} entries in tables");
            self.walker.push(Problem::error("E110", what).at(node.span).help("use patterns"));
            return Vec::new();
        }
        entries.iter().filter_map(|(key, value)| self.rule(key, value, defaults)).collect()
    }

    fn rule(&mut self, key: &Key, node: &Node, defaults: &Policy) -> Option<Rule> {
        self.walker.look(&key.text, key.span);
        let pattern = match Pattern::parse(&key.text) {
            Ok(pattern) => pattern,
            Err(error) => {
                let what = format!("{} is not a table pattern", show(&key.text));
                self.walker.push(Problem::error("E121", what).at(key.span).help(error.to_string()));
                return None;
            }
        };
        let mut rule = Rule::new(&key.text, key.span);
        if let Some(skip) = self.skip(node) {
            rule.skip = skip?;
            return Some(rule);
        }
        let fields = self.walker.fields(node, &keys::TABLE)?;
        let partial = self.partial(&fields, &keys::TABLE);
        rule.create = partial.create;
        rule.keys = partial.keys;
        rule.indexes = partial.indexes;
        rule.load = partial.load;
        rule.cdc = partial.cdc;
        rule.verify = partial.verify;
        rule.filter = fields.get("where").and_then(|node| self.walker.spanned(node));
        rule.to = fields.get("to").and_then(|node| self.target_name(node));
        rule.columns = fields.get("columns").map(|node| self.columns(node)).unwrap_or_default();
        self.contradictions(&rule, &fields, &pattern, &partial.over(defaults));
        Some(rule)
    }

    /// `skip` or a map; for any other text the outer option is set and the inner one is not.
    fn skip(&mut self, node: &Node) -> Option<Option<bool>> {
        match &node.value {
            Value::Scalar { text, .. } if text == "skip" => Some(Some(true)),
            Value::Scalar { text, .. } => {
                let got = node.kind();
                let problem = Problem::error("E106", format!("expected skip or a map, got {got}"));
                let problem = problem.at(node.span).label("expected skip or { ... }");
                let near = nearest(text, ["skip"]).is_some() && !node.is_null();
                let help = if near { "did you mean skip?" } else { "write {} for the defaults, or skip" };
                self.walker.push(problem.help(help));
                Some(None)
            }
            _ => None,
        }
    }

    fn target_name(&mut self, node: &Node) -> Option<(String, Span)> {
        let (text, span) = self.walker.spanned(node)?;
        self.walker.look(&text, span);
        match name::split(&text) {
            Ok(parts) if parts.len() <= 2 && parts.iter().all(|part| !part.is_empty()) => Some((text, span)),
            _ => {
                let problem = Problem::error("E106", "this is not a table name").at(span);
                self.walker.push(problem.help("write name, schema.name, or an odd name in double quotes"));
                None
            }
        }
    }

    fn contradictions(&mut self, rule: &Rule, fields: &Fields<'_>, pattern: &Pattern, policy: &Policy) {
        if let (Some((_, span)), true) = (&rule.to, pattern.is_wild()) {
            let what = "many tables cannot take one name";
            let problem = Problem::error("E129", what).at(*span);
            self.walker.push(problem.help("give each table an entry of its own"));
        }
        if let (Some((_, span)), Load::None) = (&rule.filter, policy.load) {
            let what = "where chooses rows, and load: none copies none";
            let span = fields.key_span("where").unwrap_or(*span);
            self.walker.push(Problem::error("E129", what).at(span).help("remove one of them"));
        }
        if policy.cdc && policy.load == Load::None {
            let span = fields.key_span("cdc").or_else(|| fields.key_span("load")).unwrap_or(rule.span);
            let problem =
                Problem::error("E129", "changes are followed from a load on, and load: none copies none");
            self.walker.push(problem.at(span).help("load: copy or replace; or cdc: false"));
        }
        if let Some((_, span)) = rule.filter.as_ref().filter(|(text, _)| text.contains("${")) {
            let problem = Problem::warning("W202", "variables are not filled in here").at(*span);
            let places = "they are in source.url, target.url and target.schema";
            self.walker.push(problem.note(format!("{places}; the source gets this text as it is")));
        }
    }

    fn columns(&mut self, node: &Node) -> Vec<ColumnRule> {
        let entries = self.walker.entries(node, "column: skip, or column: { ... }").unwrap_or_default();
        entries.iter().filter_map(|(key, value)| self.column(key, value)).collect()
    }

    fn column(&mut self, key: &Key, node: &Node) -> Option<ColumnRule> {
        self.walker.look(&key.text, key.span);
        let mut rule = ColumnRule {
            column: key.text.clone(),
            span: key.span,
            skip: false,
            to: None,
            ty: None,
            zone: None,
            zero_date: None,
            error_value: None,
        };
        if let Some(skip) = self.skip(node) {
            rule.skip = skip?;
            return Some(rule);
        }
        let Some(Kind::Named(shape)) = keys::TABLE.key("columns").map(|key| &key.kind) else { return None };
        let fields = self.walker.fields(node, shape)?;
        rule.to = fields.get("to").and_then(|node| self.walker.spanned(node));
        rule.ty = fields.get("type").and_then(|node| self.walker.spanned(node));
        rule.zone = fields.get("zone").and_then(|node| self.walker.spanned(node));
        rule.zero_date = fields.get("zero_date").and_then(|node| self.walker.null(node));
        rule.error_value = fields.get("error_value").and_then(|node| self.walker.null(node));
        if let Some((to, span)) = &rule.to {
            self.walker.look(to, *span);
        }
        Some(rule)
    }
}

impl Rule {
    fn new(pattern: &str, span: Span) -> Self {
        Self {
            pattern: pattern.into(),
            span,
            skip: false,
            create: None,
            keys: None,
            indexes: None,
            load: None,
            cdc: None,
            verify: None,
            filter: None,
            to: None,
            columns: Vec::new(),
        }
    }
}
