//! The process dies at each crash point on the way of changes, while clients write to the source:
//! the same command goes on from there, to the end of the cutover. The recorders of the chaos run
//! then tell that every commit of the target was one of the source, and nothing is left there. A
//! point that is never reached fails.

use std::collections::BTreeSet;
use std::time::Duration;

use towpath::engine::crash::STREAM_POINTS;

use crate::chaos::clients::Clients;
use crate::chaos::judge::Judge;
use crate::chaos::shop::Shop;
use crate::reverse::crash::OF_THE_WAY_BACK;
use crate::scenario::follow_stops::RECOPIED;
use crate::support::postgres::moving_server;
use crate::support::scenario::Job;

/// Where a run dies, and at which of its hits.
type Death = (&'static str, u32);

/// One move, and the deaths on its way.
struct Way {
    cdc: &'static str,
    /// Of each command, in the order in which they come.
    apply: &'static [Death],
    follow: &'static [Death],
    cutover: &'static [Death],
}

/// Row by row, each point at its first hit.
const AT_ONCE: Way = Way {
    cdc: "mode: transactional",
    apply: &[
        ("pub::created", 1),
        ("slot::sent_no_reply", 1),
        ("slot::created_before_mark", 1),
        ("slot::created_before_mark", 2),
        ("clean::slot", 1),
        ("clean::pub", 1),
        ("slot::after_mark", 1),
        ("cdc::connected", 1),
        ("cdc::row", 1),
        ("cdc::commit_seen", 1),
        ("apply::mid_tx", 1),
        ("apply::progress_updated", 1),
        ("apply::commit_sent", 1),
        ("apply::commit_ok_before_ack", 1),
        ("ack::sent", 1),
        ("stream::caught_up", 1),
    ],
    follow: &[("cdc::connected", 1), ("apply::progress_updated", 1), ("apply::commit_ok_before_ack", 1)],
    cutover: &[
        ("cut::fence_before", 1),
        ("cut::fence_after", 1),
        ("cut::drained", 1),
        ("cut::seq", 1),
        ("cut::verified", 1),
        ("cut::point_of_no_return", 1),
        ("cut::sealed", 1),
        ("clean::slot", 1),
        ("clean::pub", 1),
        ("cut::closed", 1),
        ("cut::done_mark", 1),
    ],
};

/// By sets, in following at later hits (another command may end before them); cutting over dies
/// while it still follows.
const LATER: Way = Way {
    cdc: "mode: batch",
    apply: &[("slot::after_mark", 1), ("apply::mid_tx", 1), ("apply::commit_sent", 1), ("cdc::row", 1)],
    follow: &[
        ("cdc::row", 2),
        ("cdc::commit_seen", 2),
        ("apply::mid_tx", 1),
        ("apply::mid_tx", 2),
        ("apply::progress_updated", 2),
        ("apply::commit_sent", 1),
        ("apply::commit_sent", 2),
        ("apply::commit_ok_before_ack", 2),
        ("ack::sent", 1),
    ],
    cutover: &[
        ("cdc::connected", 2),
        ("apply::mid_tx", 1),
        ("apply::commit_sent", 1),
        ("apply::commit_ok_before_ack", 1),
        ("ack::sent", 1),
        ("cut::seq", 3),
        ("cut::point_of_no_return", 1),
        ("clean::pub", 1),
    ],
};

/// Through the disk, which is what the source is told.
const SPOOLED: Way = Way {
    cdc: "mode: batch, acknowledge: spooled, memory: { limit: 16MiB, keep: 100ms }",
    apply: &[("cdc::spill_write", 1), ("cdc::spill_sync", 1), ("apply::commit_sent", 1)],
    follow: &[
        ("cdc::spill_write", 1),
        ("cdc::spill_sync", 1),
        ("apply::mid_tx", 1),
        ("ack::sent", 1),
        ("cdc::spill_write", 3),
        ("apply::commit_ok_before_ack", 1),
        ("cdc::spill_sync", 2),
    ],
    cutover: &[("cdc::spill_write", 1), ("cdc::spill_sync", 1), ("cut::drained", 1), ("ack::sent", 2)],
};

fn dies_all_along(way: &Way) {
    let Some(server) = moving_server() else { return };
    let (source, target) = (server.database("dying"), server.database("target"));
    let shop = Shop::of(&source, &target, false);
    let judge = Judge::of(&source, &target, &shop);
    shop.open(&source);
    let spill = tempfile::tempdir().unwrap();
    let plan = format!(
        "defaults: {{ cdc: true }}\ntables: {{ \"*\": {{}} }}\n\
         cdc: {{ {}, spill: {{ dir: {} }} }}\n\
         cutover: {{ fence: tables, sequences: {{ margin: 10 }} }}\n\
         accept:\n  - {{ hazard: K302, at: events, reason: test }}\n",
        way.cdc,
        spill.path().display()
    );
    let job = Job::new(&source.url(), &target.url(), &plan);
    let clients = Clients::start(&source, &shop, 7, 2, Duration::from_millis(6));
    dies_and_goes_on(&job, &["apply", "--yes"], way.apply);
    dies_and_goes_on(&job, &["follow"], way.follow);
    dies_and_goes_on(&job, &["cutover", "--yes"], way.cutover);
    clients.stop();
    job.run(&["cutover", "--yes"]).expect(0).says("already");
    judge.judge();
    Judge::handed_over(&source, &target);
}

/// Dies of each death in turn, then ends well.
fn dies_and_goes_on(job: &Job, command: &[&str], deaths: &[Death]) {
    for (point, hit) in deaths {
        let action = if *hit == 1 { "return".to_string() } else { format!("{}*off->return", hit - 1) };
        let told = format!("{point}={action}");
        let died = job.towpath.clone().env("FAILPOINTS", &told).run(command);
        assert_eq!(died.code, None, "{point} was never reached, or not so often as {hit}\n{died}");
    }
    // Following has no end of its own.
    let rest: &[&str] = if command == ["follow"] { &["--until-lag", "1s"] } else { &[] };
    job.run(&[command, rest].concat()).expect(0);
}

#[test]
fn f_01_every_crash_point_of_the_stream_is_on_a_way() {
    let ways = [&AT_ONCE, &LATER, &SPOOLED];
    let deaths = ways.into_iter().flat_map(|way| [way.apply, way.follow, way.cutover]).flatten();
    let elsewhere = OF_THE_WAY_BACK.into_iter().chain([RECOPIED]);
    let reached: BTreeSet<_> = deaths.map(|(point, _)| *point).chain(elsewhere).collect();
    let listed: BTreeSet<_> = STREAM_POINTS.iter().copied().collect();
    assert_eq!(reached, listed);
}

#[test]
fn f_01_f_71_killed_at_each_crash_point_of_the_stream() {
    dies_all_along(&AT_ONCE);
}

#[test]
fn f_01_f_71_killed_at_later_hits_of_the_stream() {
    dies_all_along(&LATER);
}

#[test]
fn f_01_killed_at_each_crash_point_of_the_spool() {
    dies_all_along(&SPOOLED);
}
