//! The planted bugs that `tests/planted/run` puts in, looked at without building any: each still
//! fits the source, says what it is, and names tests that exist.

use std::fs;
use std::path::PathBuf;

use crate::support::fixture::root;

/// One change of one file: the lines that it wants to find, and those that it leaves.
#[derive(Debug, Default)]
struct Hunk {
    path: String,
    before: String,
    after: String,
}

fn patches() -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join("tests/planted")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "patch")).collect();
    paths.sort();
    let named = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (named(path), fs::read_to_string(path).unwrap())).collect()
}

fn header(patch: &str) -> impl Iterator<Item = &str> {
    patch.lines().take_while(|line| !line.starts_with("--- "))
}

fn caught_by(patch: &str) -> Vec<&str> {
    let lines = header(patch).filter_map(|line| line.strip_prefix("caught by: "));
    lines.flat_map(str::split_whitespace).collect()
}

fn hunks(patch: &str) -> Vec<Hunk> {
    let mut hunks: Vec<Hunk> = Vec::new();
    let mut path = String::new();
    for line in patch.lines().skip(header(patch).count()) {
        if let Some(name) = line.strip_prefix("+++ b/") {
            path = name.to_string();
        } else if line.starts_with("@@ ") {
            hunks.push(Hunk { path: path.clone(), ..Hunk::default() });
        } else if let Some(hunk) = hunks.last_mut().filter(|_| !line.starts_with("--- a/")) {
            let (sign, text) = line.split_at(line.len().min(1));
            if sign != "+" {
                hunk.before += text;
                hunk.before.push('\n');
            }
            if sign != "-" {
                hunk.after += text;
                hunk.after.push('\n');
            }
        }
    }
    hunks
}

/// Whether a test of this full name is written down where its name says.
fn exists(name: &str) -> bool {
    let Some((module, name)) = name.rsplit_once("::") else { return false };
    let place = root().join("tests").join(module.replace("::", "/"));
    let files = [place.with_extension("rs"), place.join("mod.rs")];
    let text: String = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.windows(2).any(|pair| pair[0] == "#[test]" && pair[1].starts_with(&format!("fn {name}()")))
}

#[test]
fn every_planted_bug_still_fits_and_names_its_tests() {
    let patches = patches();
    assert!(patches.len() >= 12, "{} bugs are planted", patches.len());
    let mut wrong = Vec::new();
    for (bug, patch) in &patches {
        let tests = caught_by(patch);
        if header(patch).next().is_none_or(|line| line.starts_with("caught by")) || tests.is_empty() {
            wrong.push(format!("{bug}: it must say what it is, and by which tests it is caught"));
        }
        let unknown = tests.iter().filter(|name| !exists(name));
        wrong.extend(unknown.map(|name| format!("{bug}: there is no test {name}")));
        let hunks = hunks(patch);
        if hunks.is_empty() {
            wrong.push(format!("{bug}: it changes nothing"));
        }
        for hunk in hunks {
            let text = fs::read_to_string(root().join(&hunk.path)).unwrap_or_default();
            if !hunk.path.starts_with("src/") || hunk.before == hunk.after || !text.contains(&hunk.before) {
                wrong.push(format!("{bug}: it no longer fits {}; make it again", hunk.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_does_not_fit_any_more_is_seen() {
    let patch = "What it is.\ncaught by: a::b c::d\n\n--- a/src/x.rs\n+++ b/src/x.rs\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n\n three\n";
    assert_eq!(caught_by(patch), ["a::b", "c::d"]);
    let hunks = hunks(patch);
    assert_eq!(hunks.len(), 1);
    assert_eq!(
        (hunks[0].before.as_str(), hunks[0].after.as_str()),
        ("one\ntwo\n\nthree\n", "one\n2\n\nthree\n")
    );
    assert!(exists("planted::what_does_not_fit_any_more_is_seen"));
    assert!(!exists("planted::exists") && !exists("planted::nothing_of_that_name"));
}
