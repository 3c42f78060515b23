//! `diff`: how two structures differ, object by object and line by line: live ends, saved
//! catalogs, or one of each. Reads only; what it prints is for people, not a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::json;
use similar::{ChangeTag, TextDiff};

use super::args::{DiffArgs, Plainness};
use super::escape::line;
use super::failure::Failure;
use super::look::{Line, Look, Page, Tone};
use super::number::count;
use super::{Face, exit, inspect, saved_catalog};
use crate::catalog::Catalog;
use crate::diff::definition;

/// Objects by kind and name, each as lines.
type Objects = BTreeMap<String, Vec<String>>;

pub async fn run(args: &DiffArgs, face: &Face) -> Result<u8, Failure> {
    let before = objects(&read(&args.before, face).await?);
    let after = objects(&read(&args.after, face).await?);
    let found = compare(&before, &after);
    let text = match args.format {
        Plainness::Text => render(&found, args, face.screen.look()),
        Plainness::Json => super::json::pretty(&value(&found)),
    };
    face.screen.out(&text);
    let equal = found.iter().all(|object| object.state == State::Equal);
    Ok(if equal { exit::DONE } else { exit::DIFFERENT })
}

/// A file that is there is a saved catalog; else an end of the plan or a URL.
async fn read(what: &str, face: &Face) -> Result<Catalog, Failure> {
    match Path::new(what).is_file() {
        true => saved_catalog::read(Path::new(what)),
        false => inspect::read(what, face).await,
    }
}

fn objects(catalog: &Catalog) -> Objects {
    let mut objects = Objects::new();
    for table in &catalog.tables {
        objects.insert(format!("table {}", table.name), definition::table(table));
    }
    for sequence in &catalog.sequences {
        objects.insert(format!("sequence {}", sequence.name), definition::sequence(sequence));
    }
    for one in &catalog.types {
        objects.insert(format!("type {}", one.name), definition::user_type(one));
    }
    for extension in catalog.extensions.iter().filter(|extension| extension.installed) {
        let name = crate::catalog::name::show(&extension.name);
        objects.insert(format!("extension {name}"), definition::extension(extension));
    }
    for other in &catalog.others {
        objects.insert(format!("{} {}", other.kind, other.name), Vec::new());
    }
    objects
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Equal,
    OnlyBefore,
    OnlyAfter,
    Changed,
}

struct Object<'a> {
    name: &'a str,
    state: State,
    before: &'a [String],
    after: &'a [String],
}

fn compare<'a>(before: &'a Objects, after: &'a Objects) -> Vec<Object<'a>> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let object = |name: &'a String| {
        let (old, new) = (before.get(name), after.get(name));
        let state = match (old, new) {
            (Some(old), Some(new)) if old == new => State::Equal,
            (Some(_), None) => State::OnlyBefore,
            (None, _) => State::OnlyAfter,
            _ => State::Changed,
        };
        let lines = |found: Option<&'a Vec<String>>| found.map(Vec::as_slice).unwrap_or_default();
        Object { name, state, before: lines(old), after: lines(new) }
    };
    names.into_iter().map(object).collect()
}

fn render(found: &[Object<'_>], args: &DiffArgs, look: Look) -> String {
    let mut page = Page::new(look);
    for object in found {
        if object.state == State::Equal && !args.all {
            continue;
        }
        let (mark, tone) = mark(object.state);
        page.line(Line::new().add(tone, mark).text(" ").add(Tone::Strong, line(object.name)));
        if !args.stat {
            lines(&mut page, object, args.all);
        }
    }
    page.gap();
    page.say(&totals(found));
    page.finish()
}

fn mark(state: State) -> (&'static str, Tone) {
    match state {
        State::Equal => ("=", Tone::Dim),
        State::OnlyBefore => ("-", Tone::Leave),
        State::OnlyAfter => ("+", Tone::Create),
        State::Changed => ("~", Tone::Differ),
    }
}

fn lines(page: &mut Page, object: &Object<'_>, all: bool) {
    let old: Vec<&str> = object.before.iter().map(String::as_str).collect();
    let new: Vec<&str> = object.after.iter().map(String::as_str).collect();
    let diff = TextDiff::from_slices(&old, &new);
    for change in diff.iter_all_changes() {
        let (mark, tone) = match change.tag() {
            ChangeTag::Equal if !all => continue,
            ChangeTag::Equal => (" ", Tone::Dim),
            ChangeTag::Delete => ("-", Tone::Leave),
            ChangeTag::Insert => ("+", Tone::Create),
        };
        page.line(Line::new().text("    ").add(tone, format!("{mark} {}", line(change.value()))));
    }
}

fn totals(found: &[Object<'_>]) -> String {
    let number = |state: State| found.iter().filter(|object| object.state == state).count();
    let equal = count(number(State::Equal), "object");
    match found.iter().all(|object| object.state == State::Equal) {
        true => format!("Equal: {equal}."),
        false => format!(
            "{equal} equal, {} different, {} only in the first, {} only in the second.",
            number(State::Changed),
            number(State::OnlyBefore),
            number(State::OnlyAfter)
        ),
    }
}

fn value(found: &[Object<'_>]) -> serde_json::Value {
    let different = found.iter().filter(|object| object.state != State::Equal).map(|object| {
        json!({
            "object": object.name,
            "state": match object.state {
                State::Equal => "equal",
                State::OnlyBefore => "only_first",
                State::OnlyAfter => "only_second",
                State::Changed => "different",
            },
            "first": object.before,
            "second": object.after,
        })
    });
    let equal = found.iter().filter(|object| object.state == State::Equal).count();
    json!({ "equal": equal, "different": different.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(list: &[(&str, &[&str])]) -> Objects {
        let lines = |lines: &[&str]| lines.iter().map(|text| (*text).to_string()).collect();
        list.iter().map(|(name, text)| ((*name).to_string(), lines(text))).collect()
    }

    fn args(stat: bool, all: bool) -> DiffArgs {
        DiffArgs { before: String::new(), after: String::new(), stat, all, format: Plainness::Text }
    }

    #[test]
    fn each_object_shows_its_changed_lines_only() {
        let before =
            objects(&[("table a", &["column x int", "column y text"]), ("table b", &["column z int"])]);
        let after = objects(&[("table a", &["column x bigint", "column y text"]), ("table c\u{1b}", &[])]);
        let found = compare(&before, &after);
        let shown = render(&found, &args(false, false), Look::default());
        assert_eq!(
            shown,
            "~ table a\n    - column x int\n    + column x bigint\n- table b\n    - column z int\n\
             + table c\\u{1b}\n\n0 objects equal, 1 different, 1 only in the first, 1 only in the second.\n"
        );
        let stat = render(&found, &args(true, false), Look::default());
        assert!(!stat.contains("column"), "{stat}");
        assert_eq!(value(&found)["different"][0]["state"], "different");
    }

    #[test]
    fn equal_structures_are_said_to_be_equal() {
        let same = objects(&[("table a", &["column x int"])]);
        let shown = render(&compare(&same, &same), &args(false, false), Look::default());
        assert_eq!(shown, "Equal: 1 object.\n");
    }
}
