//! The plan file as written: YAML to a tree in which every key and value knows its place. The
//! only file that names the YAML reader. Judges form only (encoding, syntax, duplicate keys,
//! size), never meaning; never expands anything beyond [`NODES_MAX`].
//!
//! Scalars keep their text and whether they were quoted: what a plain `no` or `012` means is
//! decided by the key that wants it, so nothing turns into a boolean or an octal number by itself.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde_yaml::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, ScanError, Tag};

use super::problem::{Problem, Span};
use super::walk::PROBLEMS_MAX;
use crate::catalog::name::show;

/// Bytes of a plan file. A plan for 10,000 tables with ten lines each is about 4 MiB.
pub const BYTES_MAX: usize = 16 << 20;
/// Nodes of a tree, aliases expanded: keeps the tree under 100 MB.
pub const NODES_MAX: usize = 200_000;
/// Anchors in a file.
const ANCHORS_MAX: usize = 1_000;
/// Nesting of lists and maps; the grammar needs five.
const DEPTH_MAX: usize = 64;

/// A plan file's tree.
#[derive(Clone, Debug)]
pub struct PlanFile {
    pub root: Node,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub span: Span,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Value {
    /// `plain`: written without quotes, so that `true` or `12` may be meant.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// In the order of the file, keys unique.
    Map(Vec<(Key, Node)>),
}

/// A key and its place.
#[derive(Clone, Debug)]
pub struct Key {
    pub text: String,
    pub span: Span,
}

impl Node {
    /// True for a plain `null`, `~` or nothing at all.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, in words for a message; never its text.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Scalar { .. } if self.is_null() => "nothing",
            Value::Scalar { plain: true, text } if matches!(text.as_str(), "true" | "false") => "a boolean",
            Value::Scalar { plain: true, text } if text.parse::<f64>().is_ok() => "a number",
            Value::Scalar { .. } => "text",
        }
    }
}

/// What reading found.
#[derive(Debug)]
pub struct Parsed {
    /// The tree, where there is one to go on with: of two equal keys it has the first.
    pub file: Option<PlanFile>,
    pub problems: Vec<Problem>,
}

/// Reads the tree. All duplicate keys, tags and merge keys at once; a syntax error ends the
/// reading, because what follows it means nothing.
pub fn parse(bytes: &[u8]) -> Parsed {
    let text = match decode(bytes) {
        Ok(text) => text,
        Err(problem) => return Parsed { file: None, problems: vec![*problem] },
    };
    let mut builder =
        Builder { text, problems: Vec::new(), nodes: 0, anchors: HashMap::new(), tagged: false };
    let root = builder.document();
    let tagged = builder.tagged;
    let mut problems = builder.problems;
    match root {
        // What a tag was to make of its value is not known, so the value is not judged.
        Ok(Some(root)) => return Parsed { file: (!tagged).then_some(PlanFile { root }), problems },
        Ok(None) if tagged => {}
        Ok(None) => problems.push(empty(text)),
        Err(problem) => problems.push(*problem),
    }
    Parsed { file: None, problems }
}

fn empty(text: &str) -> Problem {
    let length = text.len().min(1);
    Problem::error("E101", "the plan is empty")
        .at(Span { offset: 0, length, line: 1, column: 1 })
        .help("the smallest plan has version, name, source, target and tables; `towpath init` writes one")
}

/// Bytes to text: UTF-8, with or without its mark.
fn decode(bytes: &[u8]) -> Result<&str, Stop> {
    if bytes.len() > BYTES_MAX {
        let what = format!("the plan has {} bytes, the limit is {BYTES_MAX}", bytes.len());
        return Err(Box::new(Problem::error("E110", what)));
    }
    let encoding = |what: String| Box::new(Problem::error("E102", what).help("save the file as UTF-8"));
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(encoding("the plan is UTF-16, not UTF-8".into()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let good = std::str::from_utf8(&bytes[..at]).unwrap_or_default();
        let problem = encoding(format!("the plan is not UTF-8: invalid byte at offset {at}"));
        Box::new(problem.at(place(good, at, 1)))
    })?;
    match text.find('\0') {
        Some(at) => {
            let problem = Problem::error("E102", format!("the plan holds a NUL byte at offset {at}"));
            Err(Box::new(problem.at(place(text, at, 1)).help("remove the byte")))
        }
        None => Ok(text),
    }
}

/// The span that starts at byte `offset` of `text`.
pub fn place(text: &str, offset: usize, length: usize) -> Span {
    let before = &text[..offset.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    Span { offset, length, line, column: before[line_start..].chars().count() + 1 }
}

/// Stops the reading.
type Stop = Box<Problem>;

struct Builder<'a> {
    text: &'a str,
    problems: Vec<Problem>,
    /// A tag was met.
    tagged: bool,
    nodes: usize,
    /// Finished anchored nodes with the number of nodes in them.
    anchors: HashMap<usize, (Node, usize)>,
}

type Events<'a> = Parser<'a, granit_parser::StrInput<'a>>;

impl<'a> Builder<'a> {
    /// The one document; none where there is no content.
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let options = granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: DEPTH_MAX,
            block_nesting_limit: DEPTH_MAX,
        };
        let mut events = Parser::new_from_str_with_options(self.text, options);
        let mut root = None;
        let mut documents = 0;
        loop {
            let (event, span) = self.next(&mut events)?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        let problem = Problem::error("E112", "the file holds more than one document");
                        return Err(Box::new(
                            problem.at(span).help("one plan per file: remove what follows the second `---`"),
                        ));
                    }
                }
                Event::StreamStart | Event::DocumentEnd => {}
                event => root = Some(self.node(event, span, &mut events)?),
            }
        }
        Ok(root.filter(|node| !node.is_null()))
    }

    fn push(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    fn next(&self, events: &mut Events<'a>) -> Result<(Event<'a>, Span), Stop> {
        match events.next() {
            Some(Ok((event, span))) => Ok((event, self.span(span))),
            Some(Err(error)) => Err(Box::new(self.syntax(&error))),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn span(&self, span: granit_parser::Span) -> Span {
        let range = span.byte_range().unwrap_or_default();
        // Collections begin with an empty span; an underline needs one character.
        let length = range.len().max(usize::from(range.start < self.text.len()));
        Span { offset: range.start, length, line: span.start.line(), column: span.start.col() + 1 }
    }

    fn node(&mut self, event: Event<'a>, span: Span, events: &mut Events<'a>) -> Result<Node, Stop> {
        let before = self.nodes;
        self.count(1, span)?;
        if let Some(tag) = event.tag() {
            self.tag(tag, span);
        }
        let (anchor, value) = match event {
            Event::Alias(id) => return self.alias(id, span),
            Event::Scalar(text, style, anchor, tag) => {
                let plain =
                    style == ScalarStyle::Plain && !tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                (anchor, Value::Scalar { text: text.into_owned(), plain })
            }
            Event::SequenceStart(_, anchor, _) => (anchor, Value::List(self.list(events)?)),
            Event::MappingStart(_, anchor, _) => (anchor, Value::Map(self.map(events)?)),
            _ => return Err(Box::new(Problem::error("E103", "the file cannot be read as YAML").at(span))),
        };
        let node = Node { value, span };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
            // The clone counts too, and so many anchors are nobody's plan.
            self.count(self.nodes - before, span)?;
            if self.anchors.len() > ANCHORS_MAX {
                return Err(Box::new(limit(format!("more than {ANCHORS_MAX} anchors"), span)));
            }
        }
        Ok(node)
    }

    fn list(&mut self, events: &mut Events<'a>) -> Result<Vec<Node>, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next(events)?;
            match event {
                Event::SequenceEnd => return Ok(items),
                event => items.push(self.node(event, span, events)?),
            }
        }
    }

    fn map(&mut self, events: &mut Events<'a>) -> Result<Vec<(Key, Node)>, Stop> {
        let mut entries = Vec::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        loop {
            let (event, span) = self.next(events)?;
            if matches!(event, Event::MappingEnd) {
                return Ok(entries);
            }
            let key = self.node(event, span, events)?;
            let (event, span) = self.next(events)?;
            let value = self.node(event, span, events)?;
            if let Some(key) = self.key(key) {
                match seen.entry(key.text.clone()) {
                    Entry::Vacant(slot) => {
                        slot.insert(key.span);
                        entries.push((key, value));
                    }
                    Entry::Occupied(first) => self.push(duplicate(&key, *first.get())),
                }
            }
        }
    }

    /// A key is one scalar, and not a merge.
    fn key(&mut self, node: Node) -> Option<Key> {
        match node.value {
            Value::Scalar { text, plain: true } if text == "<<" => {
                let problem = Problem::error("E111", "merge keys are not supported").at(node.span);
                self.push(problem.help("write the keys out, or put them under defaults"));
                None
            }
            Value::Scalar { text, .. } => Some(Key { text, span: node.span }),
            _ => {
                let what = "a key must be text, not a list or a map";
                self.push(
                    Problem::error("E106", what)
                        .at(node.span)
                        .help("put a key that begins with [, {, * or & in quotes"),
                );
                None
            }
        }
    }

    fn tag(&mut self, tag: &Tag, span: Span) {
        let known = ["str", "int", "bool", "null", "float", "map", "seq"];
        if known.iter().any(|name| tag.is_yaml_core_schema_tag(name)) {
            return;
        }
        let problem = Problem::error("E111", "tags such as !include are not supported").at(span);
        self.tagged = true;
        self.push(problem.help("remove the tag; one file holds the whole plan"));
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Node, Stop> {
        let Some((node, nodes)) = self.anchors.get(&id) else {
            return Err(Box::new(Problem::error("E103", "an alias stands inside its own anchor").at(span)));
        };
        let (node, nodes) = (node.value.clone(), *nodes);
        self.count(nodes, span)?;
        Ok(Node { value: node, span })
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Stop> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            let what = format!("more than {NODES_MAX} values, aliases expanded");
            return Err(Box::new(limit(what, span)));
        }
        Ok(())
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        let mark = error.marker();
        let kind = error.kind();
        let mut offset = mark.byte_offset().unwrap_or(0).min(self.text.len());
        if is_tab(kind) {
            // The mark may be where the text before the tab began.
            offset += self.text[offset..].find('\t').unwrap_or(0);
        }
        let length = self.text[offset..].chars().next().map_or(0, char::len_utf8);
        let span = place(self.text, offset, length);
        if matches!(kind, ErrorKind::RecursionLimitExceeded) {
            return limit(format!("nesting deeper than {DEPTH_MAX}"), span);
        }
        let code = if is_escape(kind) { "E102" } else { "E103" };
        let problem = Problem::error(code, format!("not YAML: {}", printable(&error.info()))).at(span);
        match hint(kind) {
            Some(help) => problem.help(help),
            None => problem,
        }
    }
}

fn duplicate(key: &Key, first: Span) -> Problem {
    Problem::error("E104", format!("key {} is given twice", show(&key.text)))
        .at(key.span)
        .label("second time")
        .note(format!("first at {}:{}", first.line, first.column))
        .help("keep one of them")
}

fn limit(what: String, span: Span) -> Problem {
    Problem::error("E110", format!("the plan is too big: {what}")).at(span)
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if crate::catalog::name::is_hidden(c) { ' ' } else { c }).collect()
}

/// Escapes that stand for no character, such as half of a surrogate pair.
fn is_escape(kind: &ErrorKind) -> bool {
    let name = format!("{kind:?}");
    name.contains("Surrogate") || name.contains("HexEscape") || name.contains("Unicode")
}

fn is_tab(kind: &ErrorKind) -> bool {
    format!("{kind:?}").starts_with("Tab")
}

fn hint(kind: &ErrorKind) -> Option<&'static str> {
    match kind {
        kind if is_tab(kind) => Some("indent with spaces, not tabs"),
        ErrorKind::UnclosedQuotedScalar => Some("close the quote"),
        ErrorKind::UnclosedFlowCollection { .. } => Some("close the bracket"),
        ErrorKind::UnknownAnchor => Some("put a pattern that begins with * in quotes: \"*\""),
        ErrorKind::InvalidIndentation => Some("keys of one map start in the same column"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> PlanFile {
        let parsed = parse(text.as_bytes());
        assert_eq!(parsed.problems, []);
        parsed.file.expect("good YAML")
    }

    #[test]
    fn spans_point_at_keys_and_values() {
        let text = "a: 1\nlist:\n  - ä: \"x y\"\n";
        let file = tree(text);
        let Value::Map(root) = &file.root.value else { panic!("a map") };
        let slice = |span: Span| &text[span.offset..span.offset + span.length];
        assert_eq!(slice(root[1].0.span), "list");
        let Value::List(items) = &root[1].1.value else { panic!("a list") };
        let Value::Map(item) = &items[0].value else { panic!("a map") };
        assert_eq!(slice(item[0].0.span), "ä");
        assert_eq!(slice(item[0].1.span), "\"x y\"");
        assert_eq!((item[0].1.span.line, item[0].1.span.column), (3, 8));
    }

    #[test]
    fn an_alias_repeats_its_anchor_at_its_own_place() {
        let file = tree("a: &x {k: v}\nb: *x\n");
        let Value::Map(root) = &file.root.value else { panic!("a map") };
        assert_eq!(root[1].1.span.line, 2);
        assert!(matches!(&root[1].1.value, Value::Map(entries) if entries[0].0.text == "k"));
    }

    #[test]
    fn one_problem_does_not_hide_the_next() {
        let parsed = parse(b"a: 1\na: 2\nb: !x 3\n<<: {c: 1}\n");
        let codes: Vec<_> = parsed.problems.iter().map(|problem| problem.code.as_str()).collect();
        assert_eq!(codes, ["E104", "E111", "E111"]);
        assert!(parsed.file.is_none());
    }
}
