//! Reads typed values out of a plan file's tree by the table of [`super::keys`] and collects every
//! problem on the way. Never shows a value that it did not expect: it may be a secret.

use std::time::Duration;

use super::file::{Key, Node, Value};
use super::keys::{self, Shape};
use super::nearest::nearest;
use super::problem::{Problem, Span};
use super::{lookalike, unit};
use crate::catalog::name::show;

/// Problems that are kept; a file with more is no plan, and each costs memory and time.
pub const PROBLEMS_MAX: usize = 1_000;

/// The problems so far.
#[derive(Default)]
pub struct Walker {
    pub problems: Vec<Problem>,
}

/// The known keys of one map.
pub struct Fields<'n> {
    entries: Vec<(&'n Key, &'n Node)>,
}

impl<'n> Fields<'n> {
    /// The value of a key that the file gives.
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| *node)
    }

    /// Where a key stands.
    pub fn key_span(&self, name: &str) -> Option<Span> {
        self.entries.iter().find(|(key, _)| key.text == name).map(|(key, _)| key.span)
    }
}

impl Walker {
    /// Keeps a problem, up to [`PROBLEMS_MAX`].
    pub fn push(&mut self, problem: Problem) {
        if !self.is_full() {
            self.problems.push(problem);
        }
    }

    fn is_full(&self) -> bool {
        self.problems.len() >= PROBLEMS_MAX
    }

    fn wrong(&mut self, node: &Node, wanted: &str, help: Option<String>) {
        let problem = Problem::error("E106", format!("expected {wanted}, got {}", node.kind()))
            .at(node.span)
            .label(format!("expected {wanted}"));
        self.push(match help {
            Some(help) => problem.help(help),
            None => problem,
        });
    }

    /// The entries of a map with the user's own keys.
    pub fn entries<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [(Key, Node)]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            _ => {
                self.wrong(node, &format!("a map: {what}"), None);
                None
            }
        }
    }

    pub fn list<'n>(&mut self, node: &'n Node, help: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            _ => {
                self.wrong(node, "a list", Some(help.into()));
                None
            }
        }
    }

    /// The known keys of a map. Unknown, unbuilt and missing ones are problems.
    pub fn fields<'n>(&mut self, node: &'n Node, shape: &'static Shape) -> Option<Fields<'n>> {
        let Value::Map(map) = &node.value else {
            let names: Vec<_> = shape.keys.iter().map(|key| key.name).collect();
            self.wrong(node, "a map", Some(format!("keys of {} are {}", shape.title, names.join(", "))));
            return None;
        };
        let mut entries = Vec::new();
        for (key, value) in map {
            if self.is_full() {
                return None;
            }
            if shape.key(&key.text).is_some() {
                entries.push((key, value));
            } else {
                self.push(unknown(key, shape));
            }
        }
        let fields = Fields { entries };
        for key in shape.keys.iter().filter(|key| key.required && fields.get(key.name).is_none()) {
            // The version has a code of its own.
            if !matches!(key.kind, keys::Kind::Version) {
                let what = format!("{} has no {}", shape.title, key.name);
                self.push(Problem::error("E106", what).at(node.span).help(format!("add {}", key.name)));
            }
        }
        Some(fields)
    }

    /// Any scalar as text; whatever it looks like unquoted.
    pub fn text(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Scalar { text, .. } if !node.is_null() && !text.trim().is_empty() => Some(text.clone()),
            Value::Scalar { .. } => {
                self.wrong(node, "text", None);
                None
            }
            _ => {
                self.wrong(node, "text", None);
                None
            }
        }
    }

    /// Nothing but `null`, quoted or not; its place.
    pub fn null(&mut self, node: &Node) -> Option<Span> {
        if node.is_null() || matches!(&node.value, Value::Scalar { text, .. } if text == "null") {
            return Some(node.span);
        }
        self.wrong(node, "null", None);
        None
    }

    /// Text with its place.
    pub fn spanned(&mut self, node: &Node) -> Option<(String, Span)> {
        self.text(node).map(|text| (text, node.span))
    }

    /// A plain `true` or `false` of YAML 1.2.
    pub fn boolean(&mut self, node: &Node) -> Option<bool> {
        let Value::Scalar { text, plain: true } = &node.value else {
            self.wrong(node, "true or false", None);
            return None;
        };
        match text.as_str() {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            other => {
                let means = match other.to_ascii_lowercase().as_str() {
                    "yes" | "y" | "on" => Some("write true"),
                    "no" | "n" | "off" => Some("write false"),
                    _ => None,
                };
                self.wrong(node, "true or false", means.map(String::from));
                None
            }
        }
    }

    /// One of `words`.
    pub fn choice(
        &mut self,
        node: &Node,
        words: &'static [&'static str],
        not_built: &'static [&'static str],
    ) -> Option<&'static str> {
        let Value::Scalar { text, .. } = &node.value else {
            self.wrong(node, &words.join(", "), None);
            return None;
        };
        if let Some(word) = words.iter().find(|word| *word == text) {
            return Some(word);
        }
        if let Some(word) = not_built.iter().find(|word| *word == text) {
            self.push(unbuilt(word, node.span, &format!("choose {}", words.join(", "))));
            return None;
        }
        let near = nearest(text, words.iter().copied());
        let help = near.map(|near| format!("did you mean {near}?"));
        self.wrong(node, &format!("one of {}", words.join(", ")), help);
        None
    }

    /// A list of distinct words.
    pub fn words(&mut self, node: &Node, words: &'static [&'static str]) -> Option<Vec<&'static str>> {
        let help = format!("write a list such as [{}], or [] for none", words.join(", "));
        let items = self.list(node, &help)?;
        let mut found: Vec<&'static str> = Vec::new();
        for item in items {
            match self.choice(item, words, &[]) {
                Some(word) if found.contains(&word) => {
                    self.push(Problem::error("E106", format!("{word} is given twice")).at(item.span));
                }
                Some(word) => found.push(word),
                None => {}
            }
        }
        Some(found)
    }

    /// A whole number within bounds, in plain decimal digits.
    pub fn whole(&mut self, node: &Node, min: u64, max: u64) -> Option<u64> {
        let wanted = format!("a whole number from {min} to {max}");
        let Value::Scalar { text, plain } = &node.value else {
            self.wrong(node, &wanted, None);
            return None;
        };
        if !plain {
            let help = "remove the quotes".to_string();
            self.wrong(node, &wanted, Some(help));
            return None;
        }
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let is_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let leading = digits.len() > 1 && digits.starts_with('0');
        if is_digits && !leading {
            let value = text.parse::<u64>().ok().filter(|value| (min..=max).contains(value));
            if value.is_none() {
                self.push(out_of_range(node, min, max));
            }
            return value;
        }
        match text.parse::<f64>() {
            Ok(value) if is_digits || value >= min as f64 && value <= max as f64 => {
                self.wrong(node, &wanted, Some("write plain digits: 1000, not 1e3, 1_000 or 01000".into()));
            }
            Ok(_) => self.push(out_of_range(node, min, max)),
            Err(_) => {
                let help = text.contains('_').then(|| "write plain digits: 1000, not 1_000".to_string());
                self.wrong(node, &wanted, help);
            }
        }
        None
    }

    /// Bytes with a unit, within bounds.
    pub fn size(&mut self, node: &Node, min: u64, max: u64) -> Option<u64> {
        let text = self.text(node)?;
        match unit::parse_size(&text) {
            Ok(bytes) if (min..=max).contains(&bytes) => Some(bytes),
            Ok(_) => {
                let what = format!("the size is not between {} and {}", show_size(min), show_size(max));
                self.push(Problem::error("E108", what).at(node.span));
                None
            }
            Err(error) => {
                self.push(Problem::error("E109", "this is not a size").at(node.span).help(error.to_string()));
                None
            }
        }
    }

    /// Time with a unit, within bounds in milliseconds.
    pub fn duration(&mut self, node: &Node, min: u64, max: u64) -> Option<Duration> {
        let text = self.text(node)?;
        let bounds = Duration::from_millis(min)..=Duration::from_millis(max);
        match unit::parse_duration(&text) {
            Ok(time) if bounds.contains(&time) => Some(time),
            Ok(_) => {
                let what = format!("the time is not between {} and {}", show_time(min), show_time(max));
                self.push(Problem::error("E108", what).at(node.span));
                None
            }
            Err(error) => {
                let what = "this is not a duration";
                self.push(Problem::error("E109", what).at(node.span).help(error.to_string()));
                None
            }
        }
    }

    /// A list of distinct names, at least one.
    pub fn names(&mut self, node: &Node, example: &str) -> Option<Vec<String>> {
        let items = self.list(node, &format!("write a list such as [{example}]"))?;
        if items.is_empty() {
            self.push(Problem::error("E106", "the list names nothing").at(node.span));
            return None;
        }
        let mut found = Vec::new();
        for item in items {
            let Some((name, span)) = self.spanned(item) else { continue };
            self.look(&name, span);
            if found.contains(&name) {
                self.push(Problem::error("E106", format!("{} is given twice", show(&name))).at(span));
                continue;
            }
            found.push(name);
        }
        Some(found)
    }

    /// `YYYY-MM-DD`, a day that exists.
    pub fn date(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node)?;
        if is_date(&text) {
            return Some(text);
        }
        let what = "expected a date as YYYY-MM-DD";
        self.push(Problem::error("E106", what).at(node.span).label("not a day of the calendar"));
        None
    }

    /// Warns about a name that is not what it seems.
    pub fn look(&mut self, name: &str, span: Span) {
        if let Some(why) = lookalike::find(name) {
            let what = format!("the name {} {why}", show(name));
            let problem = Problem::warning("W201", what).at(span);
            self.push(problem.note(format!("character by character: {}", lookalike::spell(name))));
        }
    }
}

fn unknown(key: &Key, shape: &Shape) -> Problem {
    if let Some((name, instead)) = shape.unbuilt.iter().find(|(name, _)| *name == key.text) {
        return unbuilt(name, key.span, instead);
    }
    let names = shape.keys.iter().map(|key| key.name);
    let what = format!("unknown key {} in {}", show(&key.text), shape.title);
    let problem = Problem::error("E105", what).at(key.span).label("not a key");
    let all: Vec<_> = names.clone().collect();
    let problem = match nearest(&key.text, names) {
        Some(near) => problem.help(format!("did you mean {near}?")),
        None => problem,
    };
    problem.note(format!("keys are {}", all.join(", ")))
}

fn unbuilt(name: &str, span: Span, instead: &str) -> Problem {
    Problem::error("E132", format!("{name} is not built yet"))
        .at(span)
        .label("not honoured by this version")
        .help(instead)
}

fn out_of_range(node: &Node, min: u64, max: u64) -> Problem {
    Problem::error("E108", format!("the number is not between {min} and {max}"))
        .at(node.span)
        .label("out of range")
}

fn show_size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |(shift, _): &&(u32, &str)| bytes >= 1 << shift && bytes.trailing_zeros() >= *shift;
    match units.iter().find(fits) {
        Some((shift, name)) => format!("{}{name}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

fn show_time(millis: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.iter().find(|(unit, _)| millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let form = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !form {
        return false;
    }
    let number = |range: std::ops::Range<usize>| text[range].parse::<u32>().unwrap_or(0);
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return false,
    };
    year >= 1 && (1..=days).contains(&day)
}
