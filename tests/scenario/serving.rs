//! `--serve` while a command is at work: what the page's data, the metrics and the answers for
//! supervisors say is true, and only who may ask is told.

use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::Value;

use super::resume::small_chunks;
use crate::need_server;
use crate::support::command::Running;
use crate::support::postgres::{Database, Server};
use crate::support::scenario::Job;
use crate::support::wait_until;
use crate::support::web::Site;

const TOKEN: &str = "a-token-of-many-letters";

/// Slow enough to be looked at.
fn slow() -> String {
    small_chunks().replace("chunk:", "rows_per_second: 20000, chunk:")
}

pub const FOLLOWED: &str = "defaults: { cdc: true }\ntables: { \"*\": {} }\ncdc: { keep_log: 5GB }\n";

/// Two small tables of which one is changed later.
pub fn small_source(server: &Server) -> Database {
    let source = server.database("source");
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 500) i;
         CREATE TABLE still (id int PRIMARY KEY); INSERT INTO still VALUES (1), (2)",
    );
    source
}

/// Follows, and is followed.
pub fn follow(job: &Job, arguments: &[&str]) -> (Running, Site) {
    let mut running = job.towpath.start(&[&["follow", "--serve", "127.0.0.1:0"], arguments].concat());
    let site = Site::of(&mut running);
    site.until("it follows", |now| now["ready"] == true);
    (running, site)
}

fn stop(running: Running) {
    running.signal("TERM");
    running.wait().expect(0).says("Stopped at a whole transaction");
}

fn step<'s>(now: &'s Value, id: &str) -> &'s Value {
    let steps = now["steps"].as_array().unwrap();
    steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no {id} in {now}"))
}

fn copy_of<'s>(now: &'s Value, table: &str) -> &'s Value {
    step(now, &format!("public.{table}/copy"))
}

/// The last look at a run is its end, and its numbers are those of the tables.
#[test]
fn a_run_is_shown_from_its_planning_to_its_end() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), &slow());
    let mut run = job.towpath.start(&["apply", "--yes", "--serve", "0"]);
    let site = Site::of(&mut run);
    assert!(site.0.starts_with("127.0.0.1:"), "{site:?}");
    let half = site.until("rows are copied", |now| now["rows_copied"].as_u64() > Some(0));
    assert_eq!(
        (&half["phase"], &half["command"], &half["ready"]),
        (&"running".into(), &"apply".into(), &false.into())
    );
    assert!(site.metric("towpath_copied_rows_total").unwrap() > 0.0);
    assert_eq!(site.get("/ready").status, 503, "a load is no stream");
    let end = site.until("it ends", |now| now["phase"] == "done");
    run.wait().expect(0);
    let mut rows = 0;
    for table in ["big", "small", "keyless", "empty"] {
        let count: u64 = source.value(&format!("SELECT count(*)::text FROM {table}")).parse().unwrap();
        let copy = copy_of(&end, table);
        assert_eq!((copy["rows"].as_u64(), &copy["state"]), (Some(count), &"done".into()), "{table}");
        rows += count;
    }
    assert_eq!(end["rows_copied"].as_u64(), Some(rows));
    assert!(end["bytes_copied"].as_u64() > Some(rows));
    let steps = end["steps"].as_array().unwrap();
    assert!(steps.len() > 10 && steps.iter().all(|step| step["state"] == "done"), "{steps:?}");
    let sampled = end["history"]["recent"].as_array().unwrap();
    assert!(sampled.len() >= 2 && sampled.windows(2).all(|two| two[0][1].as_u64() <= two[1][1].as_u64()));
    assert!(site.look().is_none(), "nobody answers after the end");
}

/// A failure is the last thing that is seen, by name.
#[test]
fn a_run_that_fails_shows_which_step_and_why() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    source.execute(
        "CREATE TABLE fine (id int PRIMARY KEY); INSERT INTO fine SELECT generate_series(1, 50);
         CREATE TABLE gone (id int PRIMARY KEY, n int); CREATE INDEX gone_n ON gone (n)",
    );
    // What the target refuses when it comes to it, and planning cannot see.
    target.execute(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
           IF current_query() LIKE '%gone_n%' THEN PERFORM pg_sleep(1); RAISE EXCEPTION 'not here'; END IF; END $$;
         CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION refuse()",
    );
    let job = Job::new(&source.url(), &target.url(), "tables: { \"*\": {} }\n");
    let mut run = job.towpath.start(&["apply", "--yes", "--keep-going", "--serve", "127.0.0.1:0"]);
    let site = Site::of(&mut run);
    let end =
        site.until("it fails", |now| ["failed", "done", "stopped"].contains(&now["phase"].as_str().unwrap()));
    let outcome = run.wait();
    assert_eq!(end["phase"], "failed", "{outcome}");
    let failed = step(&end, "public.gone/index/gone_n");
    assert_eq!(failed["state"], "failed", "{end}");
    assert!(failed["error"].as_str().unwrap().contains("not here"), "{failed}");
    assert_eq!(copy_of(&end, "fine")["state"], "done");
}

#[test]
fn a_stream_is_counted_table_by_table_and_its_lag_ends_at_zero() {
    let server = need_server!();
    // One where nobody else writes: its head stands still.
    let Some(quiet) = Server::own() else { return };
    let (source, target) = (small_source(&quiet), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), FOLLOWED);
    job.apply().expect(0);
    let (running, site) = follow(&job, &[]);
    source.execute("INSERT INTO t SELECT i, 1 FROM generate_series(501, 520) i");
    source.execute("UPDATE t SET n = 2 WHERE id <= 7; DELETE FROM t WHERE id = 9");
    let now = site.until("the changes are counted", |now| {
        now["stream"]["rows"] == 28 && now["stream"]["lag_bytes"] == 0
    });
    let stream = &now["stream"];
    let counts = serde_json::json!({ "inserts": 20, "updates": 7, "deletes": 1, "truncates": 0 });
    assert_eq!(stream["tables"], serde_json::json!({ "public.t": counts }), "still was not touched");
    assert_eq!((&stream["transactions"], &stream["lag_seconds"]), (&2.into(), &0.0.into()));
    assert_eq!((&now["phase"], &stream["tables_followed"]), (&"following".into(), &2.into()));
    assert_eq!(
        (&now["kept"]["state"], &now["kept"]["limit_bytes"]),
        (&"kept".into(), &5_000_000_000_u64.into())
    );
    assert!(now["kept"]["retained_bytes"].as_u64() < Some(5_000_000_000));
    assert_eq!(copy_of(&now, "t")["rows"], 500, "of the load, which another run did");
    for (line, value) in [
        ("towpath_ready", 1.0),
        ("towpath_phase{phase=\"following\"}", 1.0),
        ("towpath_stream_lag_bytes", 0.0),
        ("towpath_stream_transactions_total", 2.0),
        ("towpath_stream_changes_total{table=\"public.t\",kind=\"insert\"}", 20.0),
        ("towpath_stream_changes_total{table=\"public.t\",kind=\"update\"}", 7.0),
        ("towpath_stream_changes_total{table=\"public.t\",kind=\"delete\"}", 1.0),
        ("towpath_source_capture_up", 1.0),
        ("towpath_source_retained_log_limit_bytes", 5_000_000_000.0),
    ] {
        assert_eq!(site.metric(line), Some(value), "{line} in\n{}", site.get("/metrics").body);
    }
    stop(running);
    assert_eq!(target.value("SELECT count(*)::text FROM t"), "519");
}

/// 200 while the stream is followed, 503 while a server is away, 200 again; alive all the time.
#[test]
fn readiness_goes_with_the_stream() {
    let server = need_server!();
    let Some(mortal) = Server::own() else { return };
    let (source, target) = (small_source(server), mortal.database("target"));
    let job = Job::new(&source.url(), &target.url(), FOLLOWED);
    job.apply().expect(0);
    let socket = job.path().join("notify");
    let supervisor = UnixDatagram::bind(&socket).unwrap();
    supervisor.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let job = job.with_env("NOTIFY_SOCKET", socket.to_str().unwrap());
    let (running, site) = follow(&job, &[]);
    assert_eq!((site.get("/ready").status, site.get("/live").status), (200, 200));
    mortal.kill();
    let ready = |wanted: u16| {
        wait_until("readiness changes", Duration::from_secs(60), || site.get("/ready").status == wanted);
    };
    ready(503);
    let failing = site.look().unwrap();
    assert_eq!((&failing["phase"], site.get("/live").status), (&"retrying".into(), 200));
    assert!(failing["retrying"]["error"].as_str().is_some_and(|error| !error.is_empty()), "{failing}");
    assert_eq!(site.metric("towpath_ready"), Some(0.0));
    mortal.start_again();
    ready(200);
    assert!(site.metric("towpath_retries_total") > Some(0.0));
    source.execute("UPDATE t SET n = 5 WHERE id = 1");
    site.until("it goes on", |now| now["stream"]["rows"] == 1);
    stop(running);
    let mut heard = Vec::new();
    let mut buffer = [0; 200];
    while !heard.iter().any(|word: &String| word.contains("STOPPING=1")) {
        let length = supervisor.recv(&mut buffer).unwrap();
        heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    assert!(heard[0].starts_with("READY=1\n"), "{heard:?}");
    assert!(heard.iter().any(|word| word.starts_with("STATUS=not following")), "{heard:?}");
}

#[test]
fn g_17_only_who_has_the_token_is_told_and_nobody_can_change_a_thing() {
    let server = need_server!();
    let (source, target) = (small_source(server), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), FOLLOWED);
    job.apply().expect(0);
    let job = job.with_env("TOWPATH_SERVE_TOKEN", TOKEN);
    let mut running = job.towpath.start(&["follow", "--serve", "127.0.0.1:0"]);
    let site = Site::of(&mut running);
    let bearer = format!("Bearer {TOKEN}");
    let with = |path: &str, headers: &[(&str, &str)]| site.ask("GET", path, headers).unwrap();
    for path in ["/status.json", "/metrics", "/elsewhere"] {
        assert_eq!(site.get(path).status, 401, "{path}");
        assert_eq!(with(path, &[("Authorization", "Bearer a-token-of-many-letterz")]).status, 401);
    }
    assert_eq!(with("/status.json", &[("Authorization", &bearer)]).status, 200);
    assert_eq!(with("/metrics", &[("Authorization", &bearer)]).status, 200);
    assert_eq!(with("/elsewhere", &[("Authorization", &bearer)]).status, 404);
    // A name in front of it is fine then: whoever asks has proved himself.
    assert_eq!(with("/status.json", &[("Authorization", &bearer), ("Host", "towpath:9180")]).status, 200);
    let page = site.get("/");
    assert_eq!(page.status, 200);
    assert!(!page.body.contains(TOKEN) && !page.head.contains(TOKEN));
    assert!(
        page.head.to_lowercase().contains("content-security-policy: default-src 'none'"),
        "{}",
        page.head
    );
    wait_until("it is ready", Duration::from_secs(60), || site.get("/ready").body == "ready\n");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = site.ask(method, "/status.json", &[("Authorization", &bearer), ("Content-Length", "0")]);
        assert_eq!(answer.unwrap().status, 405, "{method}");
    }
    running.signal("INT");
    let outcome = running.wait().expect(0);
    assert!(!outcome.both().contains(TOKEN), "{outcome}");
}

/// A page elsewhere whose name leads here asks with that name.
#[test]
fn without_a_token_only_an_address_or_localhost_is_answered() {
    let server = need_server!();
    let (source, target) = (small_source(server), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), FOLLOWED);
    job.apply().expect(0);
    let (running, site) = follow(&job, &[]);
    for path in ["/", "/status.json", "/metrics", "/ready", "/live"] {
        for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""] {
            let answer = site.ask("GET", path, &[("Host", host)]).unwrap();
            assert_eq!(answer.status, 421, "{path} as {host}");
            assert!(!answer.body.contains("public.t"));
        }
        for host in ["localhost:1234", "127.0.0.1", "[::1]:80"] {
            assert_eq!(site.ask("GET", path, &[("Host", host)]).unwrap().status, 200, "{path} as {host}");
        }
    }
    // Who connects and says nothing is in nobody's way.
    let silent: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(&site.0).unwrap()).collect();
    assert_eq!(site.get("/live").status, 200);
    drop(silent);
    stop(running);
}

/// It is bound before anything else is begun, and refused like any other usage error.
#[test]
fn a_place_that_cannot_be_served_ends_it_before_any_work() {
    let directory = tempfile::tempdir().unwrap();
    let plan = "version: 1\nname: job\nsource: { url: \"sqlite:none.db\" }\n\
                target: { url: \"sqlite:new.db\" }\ntables: { \"*\": {} }\n";
    std::fs::write(directory.path().join("towpath.yaml"), plan).unwrap();
    let towpath = crate::support::command::Towpath::new(directory.path());
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for command in [&["apply", "--yes"][..], &["follow"]] {
        let run = |towpath: &crate::support::command::Towpath, address: &str| {
            towpath.run(&[command, &["--serve", address]].concat())
        };
        run(&towpath, &taken).expect(64).says("cannot serve on 127.0.0.1");
        run(&towpath, "0.0.0.0:0").expect(64).says("TOWPATH_SERVE_TOKEN");
        run(&towpath, "shop.example:80").expect(64).says("IP address and a port");
        let short = towpath.clone().env("TOWPATH_SERVE_TOKEN", "short");
        let outcome = run(&short, "127.0.0.1:0").expect(64).says("fewer than 16");
        assert!(!outcome.both().contains("\"short\""));
        // Bound, it goes on to what is wrong with the ends.
        run(&towpath, "127.0.0.1:0").expect(69).says("status page: http://127.0.0.1:");
    }
    assert!(!directory.path().join("new.db").exists());
}

/// While it cannot plan yet, it is alive and says so.
#[test]
fn a_run_that_waits_for_the_lock_is_shown_as_planning() {
    let server = need_server!();
    let (source, target) = (server.fixture("bulk"), server.database("target"));
    let job = Job::new(&source.url(), &target.url(), &slow());
    let mut first = job.towpath.start(&["apply", "--yes", "--serve", "0"]);
    let site = Site::of(&mut first);
    site.until("it copies", |now| now["rows_copied"].as_u64() > Some(0));
    let mut second = job.towpath.start(&["apply", "--yes", "--serve", "0", "--lock-timeout", "2m"]);
    let waiting = Site::of(&mut second);
    let now = waiting.look().unwrap();
    assert_eq!((&now["phase"], &now["steps"]), (&"planning".into(), &Value::Array(Vec::new())));
    assert_eq!((waiting.get("/live").status, waiting.get("/ready").status), (200, 503));
    first.wait().expect(0);
    second.wait().expect(0);
    let mut rest = Vec::new();
    assert!(std::net::TcpStream::connect(&waiting.0).and_then(|mut s| s.read_to_end(&mut rest)).is_err());
}
