//! The house rules that the compiler does not hold: who may name whom, how files look, and that
//! what the repository shows (plans, schema, README) is what the command does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::command::Towpath;
use crate::support::fixture::root;

/// A Rust file of `src/` or `tests/`, with its path below the root and its text without comments
/// and string contents, line by line.
struct File {
    path: String,
    text: String,
    code: Vec<String>,
    /// The first line of the unit tests at its end; the number of lines where there are none.
    tests_from: usize,
}

impl File {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let code: Vec<String> = bare(&text).lines().map(str::to_string).collect();
        let tests_from = code.iter().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(code.len());
        let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        Self { path, text, code, tests_from }
    }

    /// Where it stands in the crate: `engine/postgres/load.rs` is `engine::postgres::load`.
    fn module(&self) -> Vec<String> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let parts = inner.split('/').map(str::to_string);
        parts.filter(|part| !["mod", "lib", "main"].contains(&part.as_str())).collect()
    }

    /// The floor it lives on: its first module.
    fn floor(&self) -> String {
        self.module().first().cloned().unwrap_or_else(|| "lib".into())
    }
}

fn files(directory: &str) -> Vec<File> {
    rust_files(&root().join(directory)).iter().map(|path| File::read(path)).collect()
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The text with comments and the insides of string literals blanked, lines kept.
fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let bytes: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['r', '"' | '#', ..] if at == 0 || !bytes[at - 1].is_alphanumeric() => raw_string(rest),
            ['"', ..] => string(rest),
            ['\'', '"', '\'', ..] => 3,
            ['\'', '\\', ..] => 2 + rest[2..].iter().position(|c| *c == '\'').unwrap_or(0) + 1,
            _ => 0,
        };
        if length == 0 {
            out.push(rest[0]);
            at += 1;
            continue;
        }
        out.extend(rest[..length].iter().filter(|c| **c == '\n'));
        at += length;
    }
    out
}

fn block_comment(rest: &[char]) -> usize {
    rest.windows(2).position(|pair| pair == ['*', '/']).map_or(rest.len(), |at| at + 2)
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `r"..."` or `r#"..."#`; zero where it is only a name that starts so.
fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let mut end = vec!['"'];
    end.extend(std::iter::repeat_n('#', hashes));
    let body = &rest[2 + hashes..];
    body.windows(end.len())
        .position(|window| window == end)
        .map_or(rest.len(), |at| 2 + hashes + at + end.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `word` stands in `line` as a word of its own, or as a path or macro that starts so.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(|c| is_word(c) || c == '.')
            && !after.is_some_and(|c| is_word(c) && is_word(word.chars().next_back().unwrap()))
    })
}

#[track_caller]
fn none(offences: Vec<String>) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

/// Modules of the house that a line names, as paths from the crate's root: `crate::a::b`,
/// `super::c` of the module it stands in, and each of `crate::{a, b::c}`.
fn named_modules(line: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        if line[..at].chars().next_back().is_none_or(|c| !is_word(c) && c != '$') {
            found.extend(paths(&line[at + 7..], Vec::new()));
        }
    }
    for (at, _) in line.match_indices("super::") {
        // Only the first of a chain; the chain is followed from there.
        if line[..at].ends_with("super::") || line[..at].chars().next_back().is_some_and(is_word) {
            continue;
        }
        let mut rest = &line[at..];
        let mut from = module.to_vec();
        while let Some(next) = rest.strip_prefix("super::") {
            from.pop();
            rest = next;
        }
        found.extend(paths(rest, from));
    }
    found
}

/// The paths that `rest` starts with, under `from`: one, or several in braces.
fn paths(rest: &str, from: Vec<String>) -> Vec<Vec<String>> {
    if let Some(group) = rest.strip_prefix('{') {
        let mut depth = 0;
        let end = group.find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth < 0
        });
        let inside = &group[..end.unwrap_or(group.len())];
        return split_group(inside).into_iter().flat_map(|part| paths(part.trim(), from.clone())).collect();
    }
    let word: String = rest.chars().take_while(|c| is_word(*c)).collect();
    if word.is_empty() {
        return vec![from];
    }
    let mut path = from;
    let after = &rest[word.len()..];
    path.push(word);
    match after.strip_prefix("::") {
        Some(after) => paths(after, path),
        None => vec![path],
    }
}

/// Splits at commas that are in no inner braces.
fn split_group(inside: &str) -> Vec<&str> {
    let mut depth = 0;
    inside
        .split(move |c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0 && c == ','
        })
        .collect()
}

/// What each floor may name of ours (design, section 2).
fn may_name(floor: &str) -> &'static [&'static str] {
    match floor {
        "catalog" => &["catalog"],
        "change" => &["change", "catalog"],
        "checkpoint" => &["checkpoint", "change", "catalog"],
        "plan" => &["plan", "catalog"],
        "diff" => &["diff", "plan", "checkpoint", "change", "catalog"],
        "graph" => &["graph", "diff", "plan", "checkpoint", "change", "catalog"],
        "engine" => &["engine", "checkpoint", "change", "catalog"],
        "runtime" => &["runtime", "engine", "graph", "diff", "plan", "checkpoint", "change", "catalog"],
        _ => &["cli", "runtime", "engine", "graph", "diff", "plan", "checkpoint", "change", "catalog"],
    }
}

const FLOORS: [&str; 9] =
    ["catalog", "change", "checkpoint", "plan", "diff", "graph", "engine", "runtime", "cli"];

/// The files of `engine/` that are no engine.
const SHARED: [&str; 6] = ["mod", "source", "target", "error", "marks", "url"];

/// `use` statements over several lines, joined into their first.
fn joined(code: &[String]) -> Vec<String> {
    let mut lines = code.to_vec();
    for at in 0..lines.len() {
        let opens = lines[at].trim_start().trim_start_matches("pub ").starts_with("use ");
        let mut next = at + 1;
        while opens && !lines[at].contains(';') && next < lines.len() {
            let more = std::mem::take(&mut lines[next]);
            lines[at].push_str(more.trim());
            next += 1;
        }
    }
    lines
}

fn layer_offences(file: &File) -> Vec<String> {
    let (floor, module) = (file.floor(), file.module());
    let engines: BTreeSet<String> = fs::read_dir(root().join("src/engine"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let own_engine = module.get(1).filter(|_| floor == "engine");
    let mut offences = Vec::new();
    for (at, line) in joined(&file.code).iter().enumerate() {
        for path in named_modules(line, &module) {
            let Some(first) = path.first().filter(|first| FLOORS.contains(&first.as_str())) else { continue };
            let place = format!("{}:{}", file.path, at + 1);
            if !may_name(&floor).contains(&first.as_str()) {
                offences.push(format!("{place}: {floor} must not import {first}"));
            }
            let Some(engine) = path.get(1).filter(|name| first == "engine" && engines.contains(*name)) else {
                continue;
            };
            let door = floor == "engine" && own_engine.is_none_or(|own| SHARED.contains(&own.as_str()));
            if own_engine != Some(engine) && !door {
                let who = own_engine.map_or(floor.clone(), |own| format!("engine/{own}"));
                offences.push(format!("{place}: {who} must not import engine/{engine}"));
            }
        }
    }
    offences
}

#[test]
fn each_floor_names_only_those_below_it() {
    none(files("src").iter().flat_map(layer_offences).collect());
}

#[test]
fn the_layer_rule_bites() {
    let offences = |path: &str, text: &str| {
        let code: Vec<String> = bare(text).lines().map(str::to_string).collect();
        let tests_from = code.len();
        layer_offences(&File { path: path.into(), text: text.into(), code, tests_from })
    };
    let bad = [
        (
            "src/engine/postgres/load.rs",
            "use crate::graph::Step;",
            "src/engine/postgres/load.rs:1: engine must not import graph",
        ),
        (
            "src/engine/postgres/load.rs",
            "//! x\nuse super::super::sqlite::Sqlite;",
            "src/engine/postgres/load.rs:2: engine/postgres must not import engine/sqlite",
        ),
        (
            "src/engine/sqlite/mod.rs",
            "use crate::engine::{Engine, postgres::Postgres};",
            "src/engine/sqlite/mod.rs:1: engine/sqlite must not import engine/postgres",
        ),
        (
            "src/catalog/name.rs",
            "use crate::{\n    change::Position,\n    catalog::Name,\n};",
            "src/catalog/name.rs:1: catalog must not import change",
        ),
        (
            "src/runtime/copy.rs",
            "fn f() { crate::engine::sqlite::open() }",
            "src/runtime/copy.rs:1: runtime must not import engine/sqlite",
        ),
        ("src/plan/mod.rs", "use super::engine::Url;", "src/plan/mod.rs:1: plan must not import engine"),
    ];
    for (path, text, offence) in bad {
        assert_eq!(offences(path, text), [offence]);
    }
    let good = [
        (
            "src/engine/postgres/load.rs",
            "use super::wire::Wire;\nuse crate::catalog::Name; // not crate::graph\nlet x = \"crate::graph\";",
        ),
        (
            "src/engine/mod.rs",
            "pub static ENGINES: &[&dyn Engine] = &[&postgres::Postgres, &crate::engine::sqlite::Sqlite];",
        ),
        ("src/runtime/copy.rs", "use crate::engine::{Batch, source::Read};"),
    ];
    for (path, text) in good {
        assert_eq!(offences(path, text), [""; 0]);
    }
}

/// Crates and parts of std, and where alone they may be named.
const PLACES: [(&str, &[&str]); 23] = [
    ("petgraph", &["src/graph/", "src/diff/acting.rs"]),
    ("sqlx", &["src/engine/postgres/"]),
    ("postgres_protocol", &["src/engine/postgres/"]),
    ("mysql_async", &["src/engine/mysql/"]),
    ("rusqlite", &["src/engine/sqlite/"]),
    ("tokio_rustls", &["src/engine/"]),
    ("indicatif", &["src/cli/"]),
    ("clap", &["src/cli/"]),
    ("anstream", &["src/cli/"]),
    ("anstyle", &["src/cli/"]),
    ("annotate_snippets", &["src/cli/"]),
    ("serde_yaml", &["src/plan/file.rs", "src/plan/problem.rs", "src/plan/resolve.rs", "src/cli/"]),
    ("tokio", &["src/engine/", "src/runtime/", "src/cli/", "src/main.rs"]),
    ("async_trait", &["src/engine/", "src/runtime/", "src/cli/"]),
    ("std::fs", &["src/engine/", "src/runtime/", "src/cli/", "src/main.rs"]),
    ("std::env", &["src/engine/", "src/runtime/", "src/cli/", "src/main.rs"]),
    ("std::net", &["src/engine/", "src/cli/"]),
    ("std::process", &["src/engine/", "src/runtime/", "src/cli/", "src/main.rs"]),
    ("SystemTime", &["src/engine/", "src/runtime/", "src/cli/"]),
    ("Instant", &["src/engine/", "src/runtime/", "src/cli/"]),
    ("println!", &["src/cli/", "src/main.rs"]),
    ("eprintln!", &["src/cli/", "src/main.rs"]),
    ("print!", &["src/cli/", "src/main.rs"]),
];

#[test]
fn crates_and_the_world_are_named_in_their_places_only() {
    let mut offences = Vec::new();
    for file in files("src") {
        for (word, places) in PLACES {
            if places.iter().any(|place| file.path.starts_with(place)) {
                continue;
            }
            let lines = file.code[..file.tests_from].iter().enumerate().filter(|(_, line)| names(line, word));
            offences
                .extend(lines.map(|(at, _)| format!("{}:{}: {word} has no place here", file.path, at + 1)));
        }
    }
    none(offences);
}

#[test]
fn nothing_panics_by_carelessness() {
    let mut offences = Vec::new();
    for file in files("src") {
        for (at, line) in file.code[..file.tests_from].iter().enumerate() {
            for word in [".unwrap()", "todo!", "unimplemented!", "dbg!", "unsafe "] {
                if line.contains(word) {
                    offences.push(format!("{}:{}: {}", file.path, at + 1, word.trim()));
                }
            }
        }
    }
    none(offences);
}

#[test]
fn files_say_what_they_are_and_stay_readable() {
    const LINES_MAX: usize = 700;
    let mut offences = Vec::new();
    for file in files("src").iter().chain(&files("tests")) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            offences.push(format!("{}: {lines} lines; {LINES_MAX} at most", file.path));
        }
        if !file.text.starts_with("//!") {
            offences
                .push(format!("{}:1: opens without `//!`: what is it, what does it never do?", file.path));
        }
        let name = Path::new(&file.path).file_stem().unwrap().to_string_lossy().into_owned();
        if ["util", "utils", "common", "helper", "helpers", "misc"].contains(&name.as_str()) {
            offences.push(format!("{}: {name} says nothing", file.path));
        }
    }
    none(offences);
}

#[test]
fn every_test_file_is_a_module() {
    let mut offences = Vec::new();
    for file in files("tests") {
        let path = root().join(&file.path);
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let folder = path.parent().unwrap();
        let (name, parents) = match name.as_str() {
            "main" => continue,
            "mod" => {
                (folder.file_name().unwrap().to_string_lossy().into_owned(), homes(folder.parent().unwrap()))
            }
            _ => (name, homes(folder)),
        };
        let declared = |parent: &PathBuf| {
            let text = fs::read_to_string(parent).unwrap_or_default();
            text.lines().any(|line| line.trim_start_matches("pub ").trim() == format!("mod {name};"))
        };
        if !parents.iter().any(declared) {
            offences.push(format!("{}: no `mod {name};`: its tests never run", file.path));
        }
    }
    none(offences);
}

/// The files that may declare the modules of a folder.
fn homes(folder: &Path) -> [PathBuf; 3] {
    [folder.join("main.rs"), folder.join("mod.rs"), folder.with_extension("rs")]
}

fn towpath(directory: &Path) -> Towpath {
    Towpath::new(directory)
}

fn listing(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(root().join(folder)).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        path.extension().is_some_and(|end| extensions.contains(&end.to_string_lossy().as_ref()))
    });
    found.sort();
    found
}

/// The names in `${...}` of a plan file.
fn variables(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("${").map(|(at, _)| &text[at + 2..]);
    starts.filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_string()).collect()
}

#[test]
fn every_example_plan_is_valid() {
    let plans = listing("plans", &["yaml", "yml"]);
    assert!(!plans.is_empty(), "plans/ holds no plan");
    let directory = tempfile::tempdir().unwrap();
    for plan in plans {
        let mut towpath = towpath(directory.path());
        for name in variables(&fs::read_to_string(&plan).unwrap()) {
            let url = if name.contains("TARGET") {
                "postgres://app@localhost/target"
            } else {
                "postgres://app@localhost/source"
            };
            towpath = towpath.env(&name, url);
        }
        towpath.run(&["validate", plan.to_str().unwrap()]).expect(0);
    }
}

#[test]
fn the_grammar_of_the_plan_file_is_current() {
    let directory = tempfile::tempdir().unwrap();
    let now = towpath(directory.path()).run(&["schema"]).expect(0).stdout;
    let saved = fs::read_to_string(root().join("schemas/plan.v1.json")).unwrap();
    let (now, saved): (serde_json::Value, serde_json::Value) =
        (serde_json::from_str(&now).unwrap(), serde_json::from_str(&saved).unwrap());
    assert_eq!(now, saved, "make it new: towpath schema > schemas/plan.v1.json");
}

/// Command lines of the README's code blocks that run the tool: subcommand and long options.
fn commands_of_readme() -> BTreeMap<String, BTreeSet<String>> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut commands: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
            continue;
        }
        let words: Vec<&str> =
            line.trim().trim_start_matches("$ ").split('#').next().unwrap().split_whitespace().collect();
        let rest = match words.as_slice() {
            ["towpath", rest @ ..] => rest,
            ["cargo", "run", "--release", "--", rest @ ..] => rest,
            _ => continue,
        };
        let Some(command) = rest.iter().find(|word| !word.starts_with('-')).filter(|_| inside) else {
            continue;
        };
        let options = rest.iter().filter(|word| word.starts_with("--") && word.len() > 2);
        let options = options.map(|word| word.split('=').next().unwrap().to_string());
        commands.entry((*command).to_string()).or_default().extend(options);
    }
    commands
}

#[test]
fn the_commands_of_the_readme_exist() {
    let commands = commands_of_readme();
    assert!(commands.contains_key("demo"), "README.md does not show the demo");
    let directory = tempfile::tempdir().unwrap();
    for (command, options) in commands {
        let help = towpath(directory.path()).run(&[&command, "--help"]).expect(0).stdout;
        for option in options {
            assert!(help.contains(&option), "README.md: towpath {command} has no {option}");
        }
    }
}

/// Without these files a clone does not pass its own tests, or may not be used.
#[test]
fn the_repository_is_whole() {
    for name in [
        "README.md",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        ".ci/run",
        "tests/run",
        "Cargo.lock",
        "benches/README.md",
    ] {
        assert!(root().join(name).exists(), "{name} is missing");
    }
}

/// No committed text names a place on somebody's machine.
#[test]
fn no_file_holds_a_path_of_one_machine() {
    let mut offences = Vec::new();
    for file in files("src").iter().chain(&files("tests")) {
        for (at, line) in file.text.lines().enumerate() {
            // Split, so that this line is not found.
            for place in
                [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/tm", "p/")]
            {
                if line.contains(place) {
                    offences.push(format!("{}:{}: {place}", file.path, at + 1));
                }
            }
        }
    }
    none(offences);
}
