//! Resolves `cdc:` and `cutover:`, and finds what contradicts itself between them, the tables and
//! the ends.

use std::time::Duration;

use super::Resolver;
use crate::plan::file::{Node, Value};
use crate::plan::keys::{self, Kind, Shape};
use crate::plan::walk::Fields;
use crate::plan::{
    Acknowledge, Cdc, Cutover, CutoverCheck, End, Fence, Mode, Policy, Problem, Rule, SequencesFrom, Span,
    Verify, Which,
};

/// How the URL of a source begins that has no change log of its own.
const WITHOUT_LOG: &str = "sqlite:";

impl Resolver<'_> {
    pub(super) fn cdc(&mut self, node: &Node) -> Cdc {
        let mut cdc = Cdc::default();
        let shape = &keys::CDC_MAP;
        let Some(fields) = self.walker.fields(node, shape) else { return cdc };
        if self.word(&fields, shape, "mode") == Some("transactional") {
            cdc.mode = Mode::Transactional;
        }
        if self.word(&fields, shape, "acknowledge") == Some("spooled") {
            cdc.acknowledge = Acknowledge::Spooled;
        }
        self.word(&fields, shape, "on_ddl");
        cdc.triggers = self.word(&fields, shape, "sqlite").is_some();
        cdc.cascades = self.word(&fields, shape, "cascades").is_some();
        if let Some(node) = fields.get("read_ahead") {
            cdc.read_ahead = self.walker.boolean(node).unwrap_or(cdc.read_ahead);
        }
        cdc.keep_log = self.number(&fields, shape, "keep_log");
        if let Some(node) = fields.get("memory")
            && let Some(fields) = self.walker.fields(node, &keys::CDC_MEMORY)
        {
            let limit = self.number(&fields, &keys::CDC_MEMORY, "limit");
            cdc.memory_bytes = limit.unwrap_or(cdc.memory_bytes);
            let keep = self.time(&fields, &keys::CDC_MEMORY, "keep");
            cdc.memory_keep = keep.unwrap_or(cdc.memory_keep);
        }
        if let Some(node) = fields.get("spill")
            && let Some(fields) = self.walker.fields(node, &keys::CDC_SPILL)
        {
            cdc.spill_dir = fields.get("dir").and_then(|node| self.walker.text(node));
            let limit = self.number(&fields, &keys::CDC_SPILL, "limit");
            cdc.spill_bytes = limit.unwrap_or(cdc.spill_bytes);
        }
        cdc
    }

    pub(super) fn cutover(&mut self, node: &Node) -> Cutover {
        let mut cutover = Cutover::default();
        let shape = &keys::CUTOVER;
        let Some(fields) = self.walker.fields(node, shape) else { return cutover };
        cutover.max_lag = self.time(&fields, shape, "max_lag").unwrap_or(cutover.max_lag);
        cutover.budget = self.time(&fields, shape, "budget").unwrap_or(cutover.budget);
        if self.word(&fields, shape, "verify") == Some("count") {
            cutover.verify = Verify::Count;
        }
        if let Some(node) = fields.get("sequences")
            && let Some(fields) = self.walker.fields(node, &keys::CUTOVER_SEQUENCES)
        {
            if self.word(&fields, &keys::CUTOVER_SEQUENCES, "from") == Some("max") {
                cutover.sequences = SequencesFrom::Max;
            }
            let margin = self.number(&fields, &keys::CUTOVER_SEQUENCES, "margin");
            cutover.margin = margin.unwrap_or(cutover.margin);
        }
        cutover.checks = fields.get("checks").map(|node| self.checks(node)).unwrap_or_default();
        let fence = fields.get("fence").and_then(|node| self.fence(node));
        cutover.fence = fence.unwrap_or(cutover.fence);
        cutover
    }

    fn checks(&mut self, node: &Node) -> Vec<CutoverCheck> {
        let Some(Kind::List(shape)) = keys::CUTOVER.key("checks").map(|key| &key.kind) else {
            return Vec::new();
        };
        let help = "write - { db: target, sql: \"select ...\" }";
        let items = self.walker.list(node, help).unwrap_or_default();
        items.iter().filter_map(|item| self.check(item, shape)).collect()
    }

    fn check(&mut self, item: &Node, shape: &'static Shape) -> Option<CutoverCheck> {
        let fields = self.walker.fields(item, shape)?;
        let db = self.word(&fields, shape, "db");
        let (sql, span) = fields.get("sql").and_then(|node| self.walker.spanned(node))?;
        let db = if db? == "source" { Which::Source } else { Which::Target };
        Some(CutoverCheck { db, sql, span })
    }

    fn fence(&mut self, node: &Node) -> Option<Fence> {
        let Some(Kind::WordOr(words, shape)) = keys::CUTOVER.key("fence").map(|key| &key.kind) else {
            return None;
        };
        if let Value::Map(_) = &node.value {
            let fields = self.walker.fields(node, shape)?;
            return self.walker.names(fields.get("roles")?, "app").map(Fence::Roles);
        }
        Some(match self.walker.choice(node, words, &[])? {
            "tables" => Fence::Tables,
            _ => Fence::None,
        })
    }

    fn word(&mut self, fields: &Fields<'_>, shape: &'static Shape, name: &str) -> Option<&'static str> {
        let node = fields.get(name)?;
        match &shape.key(name)?.kind {
            Kind::Choice { words, unbuilt } => self.walker.choice(node, words, unbuilt),
            _ => None,
        }
    }

    fn number(&mut self, fields: &Fields<'_>, shape: &'static Shape, name: &str) -> Option<u64> {
        self.whole(fields.get(name)?, shape, name)
    }

    fn time(&mut self, fields: &Fields<'_>, shape: &'static Shape, name: &str) -> Option<Duration> {
        let node = fields.get(name)?;
        match shape.key(name)?.kind {
            Kind::Span { min, max } => self.walker.duration(node, min, max),
            _ => None,
        }
    }

    /// E129 between tables, `cdc:`, `cutover:` and the source.
    pub(super) fn stream_contradictions(
        &mut self,
        fields: &Fields<'_>,
        source: &End,
        defaults: &Policy,
        rules: &[Rule],
        cdc: &Cdc,
    ) {
        let carried = || rules.iter().filter(|rule| !rule.skip);
        let followed = || carried().filter(|rule| rule.policy(defaults).cdc);
        let Some(first) = followed().next() else {
            for name in ["cdc", "cutover"] {
                if let Some(span) = fields.key_span(name) {
                    let problem = Problem::error("E129", format!("{name} is set, and no table is followed"));
                    let help = "add cdc: true to defaults or to tables, or remove it";
                    self.walker.push(problem.at(span).help(help));
                }
            }
            return;
        };
        if source.url.starts_with(WITHOUT_LOG) && !cdc.triggers {
            let what = "the source has no change log: following it needs triggers and a change table in it";
            let problem = Problem::error("E129", what).at(first.span);
            self.walker
                .push(problem.help("agree to them with cdc: { sqlite: triggers }, or write cdc: false"));
        }
        let unverified = followed().find(|rule| rule.policy(defaults).verify == Verify::None);
        if let (Some(rule), true) = (unverified, fields.get("cutover").is_some()) {
            let what = "a cutover hands over only what was compared, and verify: none compares nothing";
            let problem = Problem::error("E129", what).at(rule.span);
            self.walker.push(problem.help("verify: checksum or count"));
        }
    }

    /// E129 between `reverse:`, the tables and the target.
    pub(super) fn back_contradictions(
        &mut self,
        reverse: Option<Span>,
        target: &End,
        defaults: &Policy,
        rules: &[Rule],
        cdc: &Cdc,
    ) {
        let Some(span) = reverse else { return };
        let followed = |rule: &Rule| !rule.skip && rule.policy(defaults).cdc;
        let problem = if !rules.iter().any(followed) {
            let what = "reverse: true keeps followed tables up to date, and no table is followed";
            Problem::error("E129", what).help("add cdc: true to defaults or to tables, or remove it")
        } else if target.url.starts_with(WITHOUT_LOG) && !cdc.triggers {
            let what = "the way back follows the target, which has no change log: it needs triggers and a \
                        change table in it";
            Problem::error("E129", what)
                .help("agree to them with cdc: { sqlite: triggers }, or write reverse: false")
        } else {
            return;
        };
        self.walker.push(problem.at(span));
    }
}
