//! From the file as written to a complete plan: defaults merged, variables filled, contradictions
//! found. Pure; all problems at once, sorted by place. Knows no database.

mod stream;
mod tables;

use sha2::{Digest, Sha256};

use super::file::{self, Node, PlanFile, Value};
use super::keys::{self, Kind, Shape};
use super::secret::{self, Missing};
use super::walk::{Fields, Walker};
use super::{
    Accept, End, Indexes, Keys, Load, Plan, PlanLimits, Policy, Problem, Rule, Severity, Span, TypeRule,
    Variables, Verify,
};
use crate::catalog::name::show;

/// Which ends will be connected to. Only their variables must be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    pub source: bool,
    pub target: bool,
}

impl Connect {
    pub const BOTH: Self = Self { source: true, target: true };
    pub const NONE: Self = Self { source: false, target: false };
}

/// Parses and resolves a plan file. All problems at once, sorted by place; warnings come back
/// with the plan.
pub fn resolve(path: &str, text: &[u8], variables: &Variables) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
    resolve_for(path, text, variables, Connect::BOTH)
}

/// As [`resolve`], for a run that connects only to some ends. The URL of an end that is not
/// connected to is empty when its variable is not set, and a warning `W203` says so.
pub fn resolve_for(
    path: &str,
    text: &[u8],
    variables: &Variables,
    connect: Connect,
) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
    let file::Parsed { file, problems } = file::parse(text);
    let mut walker = Walker { problems };
    let plan =
        file.and_then(|file| Resolver { walker: &mut walker, variables, connect }.plan(&file, path, text));
    let problems = sorted(walker.problems);
    match plan {
        Some(plan) if problems.iter().all(|problem| problem.severity == Severity::Warning) => {
            Ok((plan, problems))
        }
        _ => Err(problems),
    }
}

/// By place, each once (an alias can bring the same problem twice).
pub fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| {
        (problem.span.unwrap_or_default().offset, problem.severity, problem.code.clone())
    });
    problems.dedup();
    problems
}

struct Resolver<'a> {
    walker: &'a mut Walker,
    variables: &'a Variables,
    connect: Connect,
}

/// The policy keys as one map gives them.
#[derive(Clone, Copy, Default)]
struct Partial {
    create: Option<bool>,
    keys: Option<Keys>,
    indexes: Option<Indexes>,
    load: Option<Load>,
    cdc: Option<bool>,
    verify: Option<Verify>,
}

impl Resolver<'_> {
    fn plan(&mut self, file: &PlanFile, path: &str, text: &[u8]) -> Option<Plan> {
        self.version(&file.root)?;
        let fields = self.walker.fields(&file.root, &keys::PLAN)?;
        let name = fields.get("name").and_then(|node| self.name(node));
        let source = fields.get("source").and_then(|node| self.end(node, "source", self.connect.source));
        let target = fields.get("target").and_then(|node| self.end(node, "target", self.connect.target));
        let partial = fields.get("defaults").map(|node| self.defaults(node)).unwrap_or_default();
        let defaults = partial.over(&BUILT_IN);
        let rules = fields.get("tables").map(|node| self.rules(node, &defaults)).unwrap_or_default();
        let types = fields.get("types").map(|node| self.types(node)).unwrap_or_default();
        let accept = fields.get("accept").map(|node| self.accepts(node)).unwrap_or_default();
        let limits = fields.get("limits").map(|node| self.limits(node)).unwrap_or_default();
        let cdc = fields.get("cdc").map(|node| self.cdc(node)).unwrap_or_default();
        let cutover = fields.get("cutover").map(|node| self.cutover(node));
        let reverse = fields.get("reverse").filter(|node| self.walker.boolean(node) == Some(true));
        let reverse = reverse.map(|node| node.span);
        let (source, target) = (source?, target?);
        self.same_ends(&source, &target);
        self.stream_contradictions(&fields, &source, &defaults, &rules, &cdc);
        self.back_contradictions(reverse, &target, &defaults, &rules, &cdc);
        Some(Plan {
            name: name?,
            source,
            target,
            defaults,
            rules,
            types,
            accept,
            limits,
            cdc,
            cutover,
            reverse,
            path: path.into(),
            digest: format!("sha256:{:x}", Sha256::digest(text)),
        })
    }

    /// The version comes first: a later one may have another grammar altogether.
    fn version(&mut self, root: &Node) -> Option<()> {
        let Value::Map(entries) = &root.value else {
            self.walker.fields(root, &keys::PLAN);
            return None;
        };
        let Some((_, node)) = entries.iter().find(|(key, _)| key.text == "version") else {
            let near = super::nearest::nearest("version", entries.iter().map(|(key, _)| key.text.as_str()));
            let problem = Problem::error("E107", "the plan has no version").at(root.span);
            self.walker.push(problem.help(match near {
                Some(near) => format!("add `version: 1`; is {} meant to be it?", show(near)),
                None => "add `version: 1`".into(),
            }));
            // The rest is judged by the only grammar there is.
            return Some(());
        };
        let problem = match &node.value {
            Value::Scalar { text, .. } if text == "1" => return Some(()),
            Value::Scalar { text, .. } if text.parse::<u64>().is_ok_and(|version| version > 1) => {
                Problem::error("E107", "the plan is written for a later towpath")
                    .label("this one reads version 1")
                    .help("use a later towpath")
            }
            _ => Problem::error("E107", "version must be the whole number 1").help("write `version: 1`"),
        };
        self.walker.push(problem.at(node.span));
        None
    }

    fn name(&mut self, node: &Node) -> Option<String> {
        let name = self.walker.text(node)?;
        self.walker.look(&name, node.span);
        let good = name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        if good {
            return Some(name);
        }
        let problem = Problem::error("E106", "this cannot be a plan's name").at(node.span);
        self.walker.push(problem.help("use up to 63 letters, digits, -, _ and ., a letter or digit first"));
        None
    }

    fn end(&mut self, node: &Node, which: &'static str, connect: bool) -> Option<End> {
        let shape = keys::PLAN.key(which).map(|key| &key.kind);
        let Some(Kind::Map(shape)) = shape else { return None };
        let fields = self.walker.fields(node, shape)?;
        let schema = fields.get("schema").and_then(|node| self.schema(node));
        let url = fields.get("url")?;
        let text = self.walker.text(url)?;
        // A line break hides nothing.
        if !secret::find(&text.replace('\n', " ")).is_empty() {
            let problem = Problem::error("E114", "a password is written into the plan").at(url.span);
            self.walker.push(
                problem
                    .label("holds a password")
                    .help(format!(
                        "put the URL into a variable: url: \"${{{}_URL}}\"",
                        which.to_ascii_uppercase()
                    ))
                    .note("a plan is shared and reviewed; change that password if it was"),
            );
            return None;
        }
        let filled = self.substitute(&text, url.span, connect)?;
        Some(End { url: filled, url_span: url.span, schema })
    }

    fn schema(&mut self, node: &Node) -> Option<String> {
        let text = self.walker.text(node)?;
        let filled = self.substitute(&text, node.span, true)?;
        self.walker.look(&filled, node.span);
        Some(filled)
    }

    /// Variables filled in. What is not `needed` may be unset: then the text is empty.
    fn substitute(&mut self, text: &str, span: Span, needed: bool) -> Option<String> {
        let missing = match secret::substitute(text, self.variables) {
            Ok(filled) => return Some(filled),
            Err(missing) => missing,
        };
        let (what, help) = match &missing {
            Missing::Form => (
                "a variable is written ${NAME}".to_string(),
                "letters, digits and _ between the braces, nothing nested; $$ stands for one $".to_string(),
            ),
            Missing::Unset(name) => (format!("variable {name} is not set"), set_it(name)),
            Missing::Empty(name) => (format!("variable {name} is empty"), set_it(name)),
        };
        if missing == Missing::Form || needed {
            self.walker.push(Problem::error("E113", what).at(span).help(help));
            return None;
        }
        self.walker.push(Problem::warning("W203", what).at(span).note("it is needed to connect"));
        Some(String::new())
    }

    fn same_ends(&mut self, source: &End, target: &End) {
        if !source.url.is_empty() && source.url == target.url {
            let what = "source and target are the same URL";
            let problem = Problem::error("E124", what).at(target.url_span);
            self.walker.push(problem.label("the same database as the source"));
        }
    }

    fn defaults(&mut self, node: &Node) -> Partial {
        let shape = keys::PLAN.key("defaults").map(|key| &key.kind);
        let Some(Kind::Map(shape)) = shape else { return Partial::default() };
        match self.walker.fields(node, shape) {
            Some(fields) => self.partial(&fields, shape),
            None => Partial::default(),
        }
    }

    fn partial(&mut self, fields: &Fields<'_>, shape: &'static Shape) -> Partial {
        let walker = &mut *self.walker;
        let mut word = |name: &str| {
            let node = fields.get(name)?;
            match &shape.key(name)?.kind {
                Kind::Choice { words, unbuilt } => walker.choice(node, words, unbuilt),
                _ => None,
            }
        };
        let indexes = word("indexes").map(|word| match word {
            "after_load" => Indexes::AfterLoad,
            "before_load" => Indexes::BeforeLoad,
            _ => Indexes::None,
        });
        let load = word("load").map(|word| match word {
            "copy" => Load::Copy,
            "replace" => Load::Replace,
            _ => Load::None,
        });
        let verify = word("verify").map(|word| match word {
            "checksum" => Verify::Checksum,
            "count" => Verify::Count,
            _ => Verify::None,
        });
        let create = fields.get("create").and_then(|node| walker.boolean(node));
        let words = fields.get("keys").and_then(|node| walker.words(node, keys::KEY_WORDS));
        let keys = words.map(|words| Keys {
            primary: words.contains(&"primary"),
            unique: words.contains(&"unique"),
            foreign: words.contains(&"foreign"),
        });
        let cdc = fields.get("cdc").and_then(|node| walker.boolean(node));
        Partial { create, keys, indexes, load, cdc, verify }
    }

    fn types(&mut self, node: &Node) -> Vec<TypeRule> {
        let Some(Kind::List(shape)) = keys::PLAN.key("types").map(|key| &key.kind) else { return Vec::new() };
        let help = "write - { from: money, to: \"numeric(19,4)\" }";
        let mut found: Vec<TypeRule> = Vec::new();
        for item in self.walker.list(node, help).unwrap_or_default() {
            let Some(fields) = self.walker.fields(item, shape) else { continue };
            let from = fields.get("from").and_then(|node| self.walker.spanned(node));
            let to = fields.get("to").and_then(|node| self.walker.text(node));
            let (Some((from, span)), Some(to)) = (from, to) else { continue };
            if let Some(first) = found.iter().find(|rule| rule.from.eq_ignore_ascii_case(&from)) {
                let what = format!("type {} is mapped twice", show(&from));
                let note = format!("first at {}:{}", first.span.line, first.span.column);
                self.walker.push(Problem::error("E120", what).at(span).note(note));
            }
            found.push(TypeRule { from, to, span });
        }
        found
    }

    fn accepts(&mut self, node: &Node) -> Vec<Accept> {
        let help = "write - { hazard: D105, at: users.legacy_flags, reason: \"...\" }";
        let mut found: Vec<Accept> = Vec::new();
        for item in self.walker.list(node, help).unwrap_or_default() {
            let Some(accept) = self.accept(item) else { continue };
            let twin = |other: &&Accept| other.hazard == accept.hazard && other.at == accept.at;
            if let Some(first) = found.iter().find(twin) {
                let what = format!("hazard {} is accepted twice for one place", accept.hazard);
                let note = format!("first at {}:{}", first.span.line, first.span.column);
                self.walker.push(Problem::error("E120", what).at(accept.span).note(note));
            }
            found.push(accept);
        }
        found
    }

    fn accept(&mut self, item: &Node) -> Option<Accept> {
        let Some(Kind::List(shape)) = keys::PLAN.key("accept").map(|key| &key.kind) else { return None };
        let fields = self.walker.fields(item, shape)?;
        let hazard = fields.get("hazard").and_then(|node| self.hazard(node));
        let reason = fields.get("reason").and_then(|node| self.walker.text(node));
        let at = fields.get("at").and_then(|node| self.walker.text(node));
        let until = fields.get("until").and_then(|node| self.walker.date(node));
        let max_rows = fields.get("max_rows").and_then(|node| self.whole(node, shape, "max_rows"));
        let span = fields.get("hazard").map_or(item.span, |node| node.span);
        Some(Accept { hazard: hazard?, at, max_rows, reason: reason?, until, span })
    }

    fn hazard(&mut self, node: &Node) -> Option<String> {
        let code = self.walker.text(node)?;
        match keys::HAZARDS.iter().find(|(known, _)| *known == code) {
            Some((_, true)) => Some(code),
            Some((_, false)) => {
                let problem = Problem::error("E129", format!("hazard {code} cannot be accepted"));
                let more = format!("`towpath explain {code}` tells the ways out");
                self.walker.push(problem.at(node.span).label("always stops").help(more));
                None
            }
            None => {
                let problem = Problem::error("E105", "unknown hazard code").at(node.span);
                let near = super::nearest::nearest(&code, keys::HAZARDS.iter().map(|(code, _)| *code));
                self.walker.push(match near {
                    Some(near) => problem.help(format!("did you mean {near}?")),
                    None => problem.help("codes are a letter and three digits, such as D105"),
                });
                None
            }
        }
    }

    fn whole(&mut self, node: &Node, shape: &'static Shape, name: &str) -> Option<u64> {
        match shape.key(name)?.kind {
            Kind::Whole { min, max } => self.walker.whole(node, min, max),
            Kind::Size { min, max } => self.walker.size(node, min, max),
            _ => None,
        }
    }

    fn limits(&mut self, node: &Node) -> PlanLimits {
        let mut limits = PlanLimits::default();
        let Some(fields) = self.walker.fields(node, &keys::LIMITS) else { return limits };
        let mut number = |name: &str| self.whole(fields.get(name)?, &keys::LIMITS, name);
        // The bounds of the table keep every number within usize.
        let count = |value: Option<u64>, usual: usize| {
            value.and_then(|value| usize::try_from(value).ok()).unwrap_or(usual)
        };
        limits.readers = count(number("readers"), limits.readers);
        limits.writers = count(number("writers"), limits.writers);
        limits.index_builds = count(number("index_builds"), limits.index_builds);
        limits.rows_per_second = number("rows_per_second");
        limits.chunk_bytes = number("chunk").unwrap_or(limits.chunk_bytes);
        limits
    }
}

fn set_it(name: &str) -> String {
    format!("set it: export {name}=... or --var {name}=...")
}

/// What holds where the file says nothing.
const BUILT_IN: Policy = Policy {
    create: true,
    keys: Keys { primary: true, unique: true, foreign: true },
    indexes: Indexes::AfterLoad,
    load: Load::Copy,
    cdc: false,
    verify: Verify::Checksum,
};

impl Partial {
    fn over(&self, base: &Policy) -> Policy {
        Policy {
            create: self.create.unwrap_or(base.create),
            keys: self.keys.unwrap_or(base.keys),
            indexes: self.indexes.unwrap_or(base.indexes),
            load: self.load.unwrap_or(base.load),
            cdc: self.cdc.unwrap_or(base.cdc),
            verify: self.verify.unwrap_or(base.verify),
        }
    }
}

impl Rule {
    /// The whole policy of a table that this entry decides.
    pub fn policy(&self, defaults: &Policy) -> Policy {
        let Self { create, keys, indexes, load, cdc, verify, .. } = *self;
        Partial { create, keys, indexes, load, cdc, verify }.over(defaults)
    }
}
