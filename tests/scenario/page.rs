//! The page of `--serve` in a real browser, while real commands are at work and with two thousand
//! steps of hostile names: all is drawn, nothing is refused, nothing fails, nothing hangs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use towpath::catalog::Name;
use towpath::checkpoint::Progress;
use towpath::cli::serve::{self, Board};
use towpath::graph::Graph;
use towpath::runtime::{Event, Reporter};

use super::resume::small_chunks;
use super::serving::{FOLLOWED, follow, small_source};
use crate::support::browser::{Seen, look_at};
use crate::support::postgres::Server;
use crate::support::scenario::Job;
use crate::support::web::Site;
use crate::{need_browser, need_server};

/// Three looks of the page.
const THREE_LOOKS: Duration = Duration::from_millis(2_500);
const NODE: &str = "class=\"step ";

fn samples(now: &Value) -> usize {
    now["history"]["recent"].as_array().unwrap().len()
}

/// Curves with a line that has points.
fn lines(seen: &Seen) -> usize {
    seen.dom.split("<path d=\"M").skip(1).filter(|path| path.contains("class=\"line")).count()
}

#[test]
fn a_run_is_drawn_while_it_copies() {
    let server = need_server!();
    need_browser!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(
        &source.url(),
        &target.url(),
        &small_chunks().replace("chunk:", "rows_per_second: 3000, chunk:"),
    );
    let mut run = job.towpath.start(&["apply", "--yes", "--serve", "127.0.0.1:0"]);
    let site = Site::of(&mut run);
    let now =
        site.until("it copies for a while", |now| now["rows_copied"].as_u64() > Some(0) && samples(now) > 3);
    let seen = look_at(&site.url(), THREE_LOOKS);
    seen.is_clean();
    assert_eq!((seen.text("plan"), seen.text("phase")), ("job", "running"));
    assert_eq!(seen.count(NODE), now["steps"].as_array().unwrap().len(), "each step is a node");
    assert!(seen.count("class=\"step running\"") >= 1 && seen.count("class=\"step done\"") >= 1);
    assert!(seen.count("class=\"edge\"") >= 5, "edges are drawn");
    assert!(lines(&seen) >= 1, "rows per second are drawn");
    let tables = seen.part("tables", "</tbody>");
    for table in ["public.big", "public.small", "public.keyless", "public.empty"] {
        assert!(tables.contains(table), "{table} has a row in {tables}");
    }
    assert!(tables.contains("class=\"running\" style=\"width: "), "{tables}");
    assert!(seen.text("done").contains(" steps, "), "{}", seen.text("done"));
    run.kill();
}

#[test]
fn a_stream_is_drawn_while_it_is_followed() {
    let server = need_server!();
    need_browser!();
    // One where nobody else writes: its head stands still.
    let Some(quiet) = Server::own() else { return };
    let (source, target) = (small_source(&quiet), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), FOLLOWED);
    job.apply().expect(0);
    let (running, site) = follow(&job, &[]);
    source.execute("UPDATE t SET n = 1 WHERE id <= 123");
    site.until("it is applied and sampled", |now| {
        now["stream"]["rows"] == 123 && now["stream"]["lag_bytes"] == 0 && samples(now) > 3
    });
    let seen = look_at(&site.url(), THREE_LOOKS);
    seen.is_clean();
    assert_eq!((seen.text("plan"), seen.text("phase")), ("job", "following"));
    assert!(lines(&seen) >= 3, "changes, lag and log are drawn: {}", lines(&seen));
    let figures = seen.part("figures", "</section>");
    for figure in
        ["<b>none</b><span>lag</span>", "<b>123</b><span>changes applied</span>", "log kept, of 5.0"]
    {
        assert!(figures.contains(figure), "{figure} in {figures}");
    }
    assert!(seen.part("lag-text", "</figcaption>").contains("lag <b>0.0 s</b>"));
    let tables = seen.part("tables", "</tbody>");
    assert!(tables.contains("public.t</td>") && tables.contains(">123</td>"), "{tables}");
    running.signal("TERM");
    running.wait().expect(0);
}

/// The token is asked for, and nothing is shown without it.
#[test]
fn g_17_a_page_without_its_token_shows_nothing() {
    let server = need_server!();
    need_browser!();
    let (source, target) = (small_source(server), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), FOLLOWED);
    job.apply().expect(0);
    let job = job.with_env("TOWPATH_SERVE_TOKEN", "a-token-of-many-letters");
    let mut running = job.towpath.start(&["follow", "--serve", "127.0.0.1:0"]);
    let site = Site::of(&mut running);
    let seen = look_at(&site.url(), THREE_LOOKS);
    assert!(seen.console.iter().all(|line| line.contains("401")), "{:?}", seen.console);
    assert!(seen.dom.contains("<section id=\"ask\">"), "the token is asked for");
    assert!(!seen.dom.contains("public.t") && seen.count(NODE) == 0);
    running.kill();
}

/// A server of this process, on a board that is no command's.
struct Shown {
    site: Site,
    _runtime: tokio::runtime::Runtime,
}

impl Shown {
    fn new(board: Arc<Board>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let bound = runtime.block_on(serve::Server::bind("127.0.0.1:0".parse().unwrap(), None));
        let server = bound.unwrap_or_else(|failure| panic!("{failure:?}"));
        let site = Site(server.url().trim_start_matches("http://").trim_end_matches('/').to_string());
        runtime.spawn(async move { server.run(board).await });
        Self { site, _runtime: runtime }
    }
}

/// A name that tries to leave its place, with a number.
fn hostile(number: usize) -> String {
    format!("x\u{202e}<img src=x onerror=\"console.error(1)\"></script><b>`${{1}}\n__proto__ {number}")
}

/// A graph of `tables` times five steps.
fn wide(tables: usize) -> Graph {
    let end = |version: &str| {
        serde_json::json!({
            "engine": "postgres", "version": version, "database": "<i>shop</i>",
            "place": { "kind": "none", "hash": "" }, "objects": {}, "definitions": {}
        })
    };
    let mut steps = Vec::new();
    for number in 0..tables {
        let table = hostile(number);
        let before = |kind: &str| vec![format!("{table}/{kind}")];
        for (kind, phase, needs) in [
            ("create", "schema", Vec::new()),
            ("copy", "load", before("create")),
            ("index/a", "index", before("copy")),
            ("index/b", "index", before("copy")),
            ("foreign/f", "key", [before("copy"), before("index/a")].concat()),
        ] {
            steps.push(serde_json::json!({
                "id": format!("{table}/{kind}"), "phase": phase, "needs": needs,
                "action": { "sql": { "statements": [], "index_build": false } },
                "table": Name::new("", table.as_str()), "locks": [], "inputs": "", "unit": format!("{table}/{kind}"),
                "estimate": { "rows": 0, "bytes": 0, "seconds": 0.0 }
            }));
        }
    }
    let graph = serde_json::json!({
        "name": hostile(0), "source": end("15"), "target": end("17"), "steps": steps, "tables": [],
        "hazards": [], "probes": [], "left_behind": []
    });
    serde_json::from_value(graph).unwrap()
}

#[test]
fn i_02_two_thousand_steps_of_hostile_names_are_text_and_hang_no_browser() {
    need_browser!();
    let graph = wide(400);
    let board = Arc::new(Board::new("apply"));
    board.planned(&graph, |_| false, &Progress::default());
    for step in graph.steps.iter().take(1_000) {
        board.event(&Event::StepDone { step: step.id.clone(), rows: 1, bytes: 1, millis: 1 });
    }
    let failed = graph.steps[1_001].id.clone();
    board.event(&Event::StepFailed { step: failed, error: hostile(7) });
    let shown = Shown::new(board);
    let seen = look_at(&shown.site.url(), Duration::from_secs(20));
    seen.is_clean();
    assert_eq!(seen.count(NODE), 2_000);
    assert_eq!((seen.count("class=\"step done\""), seen.count("class=\"step failed\"")), (1_000, 1));
    assert!(seen.text("plan").starts_with("x\\u{202e}&lt;img src=x"), "{}", seen.text("plan"));
    assert!(!seen.dom.contains("<img") && !seen.dom.contains("<i>shop"), "a name became markup");
    assert!(!seen.dom.contains('\u{202e}'), "a mark of direction is in effect");
    // Twenty looks of the page at two thousand steps.
    assert!(seen.took < Duration::from_secs(45), "it took {:?}", seen.took);
}

/// What is small enough has its edges; what failed, is tried again or paused is said first.
#[test]
fn what_is_wrong_stands_at_the_top() {
    need_browser!();
    let graph = wide(4);
    let board = Arc::new(Board::new("follow"));
    board.planned(&graph, |_| true, &Progress::default());
    let retrying = Event::Retrying {
        step: "apply changes".into(),
        attempt: 3,
        millis: 1,
        error: "it is <b>away".into(),
    };
    board.event(&retrying);
    board.event(&Event::ReadingPaused { why: "64 MiB wait".into() });
    let shown = Shown::new(board);
    let seen = look_at(&shown.site.url(), THREE_LOOKS);
    seen.is_clean();
    assert_eq!(seen.text("phase"), "retrying");
    let notes = seen.part("notes", "id=\"shown\"");
    for note in [
        "Cannot apply changes",
        "(attempt 4): it is &lt;b&gt;away",
        "Reading from the source is paused",
        "64 MiB wait",
    ] {
        assert!(notes.contains(note), "{note} in {notes}");
    }
    // Of the two ways to a foreign key one is by the other.
    assert_eq!((seen.count(NODE), seen.count("class=\"edge\"")), (20, 16));
}
