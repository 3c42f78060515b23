//! `status --watch`: off a terminal and on one, while a stream flows, while the target is away,
//! and its end.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::serving::{FOLLOWED, follow, small_source};
use crate::need_server;
use crate::support::command::Running;
use crate::support::postgres::Server;
use crate::support::scenario::Job;
use crate::support::wait_until;

fn until(running: &mut Running, what: &str, mut good: impl FnMut(&str) -> bool) {
    wait_until(what, Duration::from_secs(60), || {
        assert!(!running.ended(), "it ended: {}", running.so_far());
        good(&running.so_far())
    });
}

#[test]
fn blocks_follow_each_other_off_a_terminal_until_ctrl_c() {
    let server = need_server!();
    let Some(mortal) = Server::own() else { return };
    let (source, target) = (small_source(server), mortal.database("target"));
    let job = Job::new(&source.url(), &target.url(), FOLLOWED);
    job.apply().expect(0);
    let (following, site) = follow(&job, &[]);
    let mut watching = job.towpath.start(&["status", "--watch"]);
    until(&mut watching, "it is shown twice", |said| said.matches("  at      ").count() >= 2);
    source.execute("UPDATE t SET n = 1 WHERE id <= 30");
    site.until("it is applied", |now| now["stream"]["rows"] == 30);
    until(&mut watching, "the counts are new", |said| {
        said.contains("          public.t: 0 inserted, 30 updated, 0 deleted\n")
    });
    let said = watching.so_far();
    for line in [
        "job: running\n",
        "  phase   following\n",
        "  stream  1 transaction applied, up to ",
        "  lag     ",
        " of 5.0 GB allowed (cdc.keep_log), somebody reads it now\n",
        "  next    towpath status\n",
    ] {
        assert!(said.contains(line), "{line:?} is missing in\n{said}");
    }
    assert!(!said.contains('\u{1b}'), "{said:?}");
    // An end that is away is waited for.
    mortal.kill();
    until(&mut watching, "it says what is wrong", |said| {
        said.contains("cannot be looked at now, trying again")
    });
    mortal.start_again();
    let before = watching.so_far().matches("job: running\n").count();
    until(&mut watching, "it goes on", |said| said.matches("job: running\n").count() > before);
    watching.signal("INT");
    watching.wait().expect(0);
    following.signal("TERM");
    following.wait().expect(0);
}

#[test]
fn json_looks_are_lines() {
    let server = need_server!();
    let (source, target) = (small_source(server), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), FOLLOWED);
    job.apply().expect(0);
    let mut watching = job.towpath.start(&["status", "--watch", "--format", "json"]);
    until(&mut watching, "it looked twice", |said| said.lines().count() >= 2);
    watching.signal("TERM");
    let outcome = watching.wait().expect(0);
    for line in outcome.stdout.lines() {
        let look: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&look["phase"], &look["next"]), (&"following".into(), &"towpath follow".into()));
        let capture = &look["stream"]["capture"];
        assert_eq!((&capture["state"], &capture["room_bytes"]), (&"kept".into(), &Value::Null));
        assert!(look["stream"]["lag_bytes"].is_u64() && capture["retained_bytes"].is_u64(), "{look}");
    }
}

/// What cannot be seen at the first look is no passing trouble.
#[test]
fn a_target_that_is_not_there_ends_it_at_once() {
    let server = need_server!();
    let source = small_source(server);
    let nowhere = "postgres://towpath@127.0.0.1:1/none?sslmode=disable";
    Job::new(&source.url(), nowhere, FOLLOWED).run(&["status", "--watch"]).expect(69);
}

/// On a terminal each look is drawn over the one before, and Ctrl-C leaves it in order.
#[test]
fn on_a_terminal_it_is_drawn_over_itself() {
    const TABLES: usize = 12;
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    (0..TABLES).for_each(|table| source.execute(&format!("CREATE TABLE t{table} (id int PRIMARY KEY)")));
    let job = Job::new(&source.url(), &target.url(), FOLLOWED);
    job.apply().expect(0);
    let (following, site) = follow(&job, &[]);
    (0..TABLES).for_each(|table| source.execute(&format!("INSERT INTO t{table} VALUES (1)")));
    site.until("each table was changed", |now| now["stream"]["rows"] == TABLES);
    following.signal("TERM");
    following.wait().expect(0);
    let screen = job.path().join("screen");
    // `script` gives it a terminal; its exit code is the command's.
    let mut terminal = Command::new("script")
        .args(["--quiet", "--flush", "--return", "--command"])
        .arg(format!("stty rows 16 cols 60; exec {} status --watch", env!("CARGO_BIN_EXE_towpath")))
        .arg(&screen)
        .current_dir(job.path())
        .env("SOURCE_URL", source.url())
        .env("TARGET_URL", target.url())
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let shown = || String::from_utf8_lossy(&std::fs::read(&screen).unwrap_or_default()).into_owned();
    wait_until("it is drawn three times", Duration::from_secs(60), || {
        shown().matches("\u{1b}[?7l").count() >= 3
    });
    terminal.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let status = terminal.wait().unwrap();
    let shown = shown();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert_eq!(shown.matches("\u{1b}[2J").count(), 1, "cleared once, then drawn over: {shown:?}");
    let frames: Vec<&str> = shown.split("\u{1b}[?7l").skip(1).collect();
    for frame in &frames[..frames.len() - 1] {
        assert!(frame.contains("\u{1b}[?7h"), "lines wrap again: {frame:?}");
        let (drawn, _) = frame.split_once("\u{1b}[J").unwrap();
        assert!(drawn.lines().count() < 16, "it fits: {frame:?}");
        assert!(drawn.lines().all(|line| line.contains("\u{1b}[K")), "nothing is left of a line: {frame:?}");
        assert!(
            drawn.contains(" 1 inserted") && drawn.contains(" more\u{1b}[K"),
            "what is cut is counted: {frame:?}"
        );
        assert!(frame.contains("towpath follow"), "the next command is seen: {frame:?}");
    }
}
