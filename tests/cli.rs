//! The face as a user meets it: exit codes, usage errors, first mistakes. No server is needed.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::command::{Outcome, Towpath};

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("towpath-cli-").tempdir().unwrap()
}

fn run(folder: &Path, arguments: &[&str]) -> Outcome {
    Towpath::new(folder).run(arguments)
}

const PLAN: &str = "version: 1\nname: shop\nsource: { url: \"sqlite:shop.db\" }\n\
    target: { url: \"sqlite:new.db\" }\ntables: { \"*\": {} }\n";

/// A directory with a small plan and no database.
fn with_plan(text: &str) -> TempDir {
    let folder = folder();
    fs::write(folder.path().join("towpath.yaml"), text).unwrap();
    folder
}

#[test]
fn usage_errors_exit_64_and_help_exits_0() {
    let folder = folder();
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["plan", "--no-such-flag"],
        &["plan", "--emit", "pdf=x"],
        &["plan", "--valid-for", "soon"],
        &["apply", "--expect", "xyz"],
        &["apply", "--keep-going", "--fail-fast"],
        &["explain", "X999"],
        &["show", "nothing.json"],
        &["--var", "NOVALUE", "validate"],
    ] {
        run(folder.path(), arguments).expect(64);
    }
    for arguments in [&["--help"][..], &["--version"], &["plan", "--help"]] {
        let outcome = run(folder.path(), arguments).expect(0);
        assert!(!outcome.stdout.is_empty() && outcome.stderr.is_empty(), "{outcome}");
    }
}

#[test]
fn commands_that_are_not_built_are_not_listed() {
    let folder = folder();
    let help = run(folder.path(), &["--help"]).expect(0).stdout;
    for absent in ["doctor", "rehearse", "drift", "unlock"] {
        assert!(!help.contains(absent), "{absent} is listed:\n{help}");
        run(folder.path(), &[absent]).expect(64);
    }
}

#[test]
fn y_16_no_plan_file_is_65_and_says_how_to_get_one() {
    let folder = folder();
    for command in ["validate", "plan", "status", "verify", "graph"] {
        run(folder.path(), &[command]).expect(65).says("towpath.yaml").says("towpath init");
    }
    run(folder.path(), &["plan", "-f", "other.yaml"]).expect(65).says("other.yaml");
}

#[test]
fn y_05_a_typo_is_underlined_with_the_nearest_name() {
    let folder = with_plan(&PLAN.replace("tables:", "tabels:"));
    for command in ["validate", "plan"] {
        run(folder.path(), &[command]).expect(65).says("E105").says("towpath.yaml:5:1").says("tables");
    }
    let github = run(folder.path(), &["validate", "--format", "github"]).expect(65);
    assert!(github.stdout.contains("::error file=towpath.yaml,line=5"), "{github}");
    let json = run(folder.path(), &["validate", "--format", "json"]).expect(65);
    assert!(serde_json::from_str::<serde_json::Value>(&json.stdout).is_ok(), "{json}");
}

#[test]
fn a_good_plan_validates_without_its_databases() {
    let folder = with_plan(PLAN);
    run(folder.path(), &["validate"]).expect(0);
    assert!(!folder.path().join("new.db").exists());
}

#[test]
fn a_missing_source_is_69_and_makes_nothing() {
    let folder = with_plan(PLAN);
    run(folder.path(), &["plan"]).expect(69).says("shop.db");
    assert!(!folder.path().join("shop.db").exists(), "the source was made");
    assert!(!folder.path().join("new.db").exists(), "planning made the target");
}

#[test]
fn apply_never_waits_for_an_answer_that_cannot_come() {
    let folder = with_plan(PLAN);
    run(folder.path(), &["apply"]).expect(64).says("--yes");
}

#[test]
fn u_18_a_password_in_the_arguments_is_refused_and_not_repeated() {
    let folder = folder();
    let url = "postgres://app:an0ther-canary@127.0.0.1:1/shop";
    for arguments in [&["inspect", url][..], &["init", "--from", url], &["diff", url, "source"]] {
        let outcome = run(folder.path(), arguments).expect(64).says("E309");
        assert!(!outcome.both().contains("an0ther-canary"), "{outcome}");
    }
}

#[test]
fn y_27_what_is_no_saved_plan_is_stale() {
    let folder = with_plan(PLAN);
    fs::write(folder.path().join("plan.json"), "{ \"format\": \"towpath.plan/1\" }").unwrap();
    for command in ["show", "apply", "graph"] {
        run(folder.path(), &[command, "plan.json"]).expect(4).says("towpath plan --out");
    }
}

#[test]
fn messages_can_be_json_lines() {
    let folder = folder();
    let outcome = run(folder.path(), &["show", "nothing.json", "--log-format", "json"]).expect(64);
    for line in outcome.stderr.lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(message["exit"], 64);
    }
    assert!(!outcome.stderr.is_empty());
}

#[test]
fn init_writes_a_plan_that_validates_and_overwrites_nothing() {
    let folder = folder();
    run(folder.path(), &["init"]).expect(0);
    run(folder.path(), &["validate"]).expect(0);
    let file = folder.path().join("towpath.yaml");
    fs::write(&file, PLAN).unwrap();
    run(folder.path(), &["init"]).expect(64).says("--force");
    assert_eq!(fs::read_to_string(&file).unwrap(), PLAN);
    run(folder.path(), &["init", "--force"]).expect(0);
    assert_ne!(fs::read_to_string(&file).unwrap(), PLAN);
}

#[test]
fn pages_schema_completions_and_explanations_need_nothing() {
    let folder = folder();
    run(folder.path(), &["explain"]).expect(0).says("D101").says("E105");
    run(folder.path(), &["explain", "d101"]).expect(0).says("D101");
    run(folder.path(), &["explain", "6"]).expect(0).says("run the same command again");
    run(folder.path(), &["completions", "bash"]).expect(0).says("_towpath");
    run(folder.path(), &["man", "--dir", "man"]).expect(0);
    assert!(folder.path().join("man/towpath-apply.1").exists());
    let schema = run(folder.path(), &["schema"]).expect(0).stdout;
    assert!(serde_json::from_str::<serde_json::Value>(&schema).is_ok());
}

#[test]
fn colour_is_never_written_where_it_was_not_asked_for() {
    let folder = with_plan("version: 2\n");
    for arguments in [&["validate"][..], &["plan"], &["explain"], &["--help"]] {
        let outcome = run(folder.path(), arguments);
        assert!(!outcome.both().contains('\u{1b}'), "{outcome}");
    }
    let painted = run(folder.path(), &["explain", "--color", "always"]);
    assert!(painted.stdout.contains('\u{1b}'), "{painted}");
}

#[test]
fn the_demo_moves_its_shop_and_leaves_nothing_behind() {
    let (folder, temporary) = (folder(), folder());
    let towpath = Towpath::new(folder.path()).env("TMPDIR", temporary.path());
    let moved = towpath.run(&["demo"]).expect(0).says("D105 accepted").says("Equal: ").says("Cut over: ");
    moved.says("right  money").says("right  insert").says("removed  state of plan shop-demo");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "the demo left files");
}
