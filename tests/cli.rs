//! The face as a user meets it: exit codes, usage errors, first mistakes. No server is needed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::command::{Outcome, Towpath};
use crate::support::wait_until;

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

/// Processes that run a part of the demo in this directory or below it.
fn applications(folder: &Path) -> Vec<String> {
    let folder = folder.canonicalize().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let ours = processes.filter(|process| {
        fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder))
            && fs::read(process.join("cmdline"))
                .is_ok_and(|line| line.windows(5).any(|word| word == b"write"))
    });
    ours.map(|process| process.display().to_string()).collect()
}

#[test]
fn the_demo_moves_a_shop_that_goes_on_selling_and_leaves_nothing_behind() {
    let (folder, temporary) = (folder(), folder());
    let towpath = Towpath::new(folder.path()).env("TMPDIR", temporary.path());
    let moved = towpath.run(&["demo"]).expect(0);
    let moved = moved.says("D105 accepted").says("Caught up").says("Equal: 24 tables").says("Cut over:");
    let moved = moved.says("then it was refused: table ").says("Moved while it was written to");
    let moved = moved.says("removed  state of plan shop-demo");
    assert!(!moved.both().contains("WRONG") && moved.both().matches("  right").count() == 5, "{moved}");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "the demo left files");
    assert_eq!(applications(temporary.path()), [""; 0], "the demo left a process");
    let kept = towpath.run(&["demo", "--dir", "kept"]).expect(0);
    for file in ["shop.db", "moved.db", "towpath.yaml", "plan.json"] {
        assert!(folder.path().join("kept").join(file).exists(), "{file} is missing\n{kept}");
    }
    towpath.run(&["demo", "--dir", "kept"]).expect(64).says("exists here already");
}

/// What it prints is done by hand, line by line, and a lost row is seen.
#[test]
fn the_steps_that_the_demo_prints_are_those_of_a_new_user() {
    let folder = folder();
    let shown = run(folder.path(), &["demo", "--progress", "none"]).expect(0);
    let by_hand = shown.stderr.split("The same by hand:\n").nth(1).unwrap().to_string();
    let lines: Vec<&str> = by_hand.lines().filter_map(|line| line.trim().strip_prefix("towpath ")).collect();
    assert!(lines.len() >= 10, "{by_hand}");
    let home = Towpath::new(folder.path());
    let mut application = None;
    for line in lines {
        match line.strip_suffix(" &") {
            Some(line) => application = Some(home.start(&line.split(' ').collect::<Vec<_>>())),
            None => drop(home.run(&line.split(' ').collect::<Vec<_>>()).expect(0)),
        }
    }
    application.unwrap().wait().expect(0).says("has moved to another database and is closed for writes");
    let target = rusqlite::Connection::open(folder.path().join("moved.db")).unwrap();
    target.execute_batch("DELETE FROM payments WHERE id = 5").unwrap();
    home.run(&["demo", "check"]).expect(7).says("WRONG  money");
}

/// However it ends, the application ends with it.
#[test]
fn an_interrupted_demo_leaves_no_process() {
    for signal in ["INT", "TERM", "KILL"] {
        let folder = folder();
        let towpath = Towpath::new(folder.path());
        let mut demo = towpath.start(&["demo", "--dir", "cut"]);
        let begun = || !applications(folder.path()).is_empty();
        wait_until("the application is at work", Duration::from_secs(60), || begun() || demo.ended());
        assert!(begun(), "it ended before: {}", demo.so_far());
        match signal {
            "KILL" => drop(demo.kill()),
            _ => {
                demo.signal(signal);
                let outcome = demo.wait();
                assert_ne!(outcome.code, Some(0), "{signal}: {outcome}");
            }
        }
        wait_until("the application has ended", Duration::from_secs(20), || !begun());
    }
}
