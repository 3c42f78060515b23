//! The process dies at each point of a cutover that keeps a way back, and of the one that undoes
//! it. The same command then reaches the same end, with whatever was written in between.

use super::*;
use crate::need_server;

/// Before the source is closed: who writes after the death is let in again, and drained.
const OPEN: [&str; 8] = [
    "cut::back_opened",
    "cut::fence_before",
    "cut::fence_after",
    "cut::drained",
    "cut::seq",
    "cut::verified",
    "cut::point_of_no_return",
    "apply::commit_sent",
];

/// After it: what is left to do needs nobody to stand still.
const CLOSED: [&str; 4] = ["cut::sealed", "cut::back_begun", "cut::closed", "cut::done_mark"];

/// The points that only a way back has; one or the other test below dies at each.
pub const OF_THE_WAY_BACK: [&str; 3] = ["cut::back_opened", "cut::back_begun", "cut::source_opened"];

fn world() -> Option<World> {
    Some(World::new(crate::support::postgres::server()?, PLAN).moved())
}

#[test]
fn f_71_killed_before_the_source_is_closed_the_cutover_begins_again() {
    need_server!();
    for point in OPEN {
        let world = world().unwrap();
        world.source.execute(&work(&OLD, "one", 1));
        world.dies(point, &["cutover", "--yes"]);
        world.source.execute(&work(&OLD, "two", 2));
        world.run(&["cutover", "--yes"]);
        world.are_equal();
        comes_back(&world, point);
    }
}

#[test]
fn f_71_killed_after_the_source_is_closed_the_cutover_goes_on() {
    need_server!();
    for point in CLOSED {
        let world = world().unwrap();
        world.source.execute(&work(&OLD, "one", 1));
        world.dies(point, &["cutover", "--yes"]);
        world.source.session().try_execute(&work(&OLD, "two", 2)).expect_err("closed");
        // Somebody has not waited for the end of the command: it is not lost, and nothing stops.
        world.target.execute(&work(&NEW, "early", 2));
        if point != "cut::done_mark" {
            world.job.run(&["follow", "--back"]).expect(1).says("is not cut over");
        }
        world.run(&["cutover", "--yes"]);
        comes_back(&world, point);
        world.has_all(&world.source, &OLD, "early", 1);
    }
}

/// Writers on the target, and their writes on the source.
#[track_caller]
fn comes_back(world: &World, point: &str) {
    world.target.execute(&work(&NEW, "after", 3));
    world.run(&["follow", "--back", "--until-lag", "0s"]);
    world.are_equal();
    assert_eq!(world.source.value("SELECT count(*) FROM users WHERE email = 'after 3'"), "1", "{point}");
}

#[test]
fn f_71_killed_on_the_way_back_the_same_command_goes_on() {
    need_server!();
    for point in OPEN.iter().skip(1).chain(&CLOSED).chain(&OF_THE_WAY_BACK[2..]) {
        if *point == "cut::back_begun" {
            continue;
        }
        let world = world().unwrap();
        world.run(&["cutover", "--yes"]);
        world.target.execute(&work(&NEW, "one", 1));
        world.dies(point, &["cutover", "--back", "--yes"]);
        // Whoever may write now, that is where it counts.
        let new_is_open = OPEN.contains(point);
        let old_is_open = ["cut::source_opened", "cut::done_mark"].contains(point);
        let (mut new, mut old) = (world.target.session(), world.source.session());
        assert_eq!(new.try_execute(&work(&NEW, "two", 2)).is_ok(), new_is_open, "{point}");
        assert_eq!(old.try_execute(&work(&OLD, "old", 3)).is_ok(), old_is_open, "{point}");
        world.run(&["cutover", "--back", "--yes"]);
        world.has_all(&world.source, &OLD, "old", u32::from(old_is_open));
        if old_is_open {
            continue;
        }
        world.are_equal();
        world.has_all(&world.source, &OLD, "one", 1);
        world.has_all(&world.source, &OLD, "two", u32::from(new_is_open));
        World::takes_first_inserts(&world.source, &OLD);
    }
}

#[test]
fn f_71_killed_while_it_follows_back_nothing_is_lost_or_doubled() {
    need_server!();
    for point in ["cdc::commit_seen", "apply::progress_updated", "apply::commit_ok_before_ack"] {
        let world = world().unwrap();
        world.run(&["cutover", "--yes"]);
        (1..6).for_each(|n| world.target.execute(&work(&NEW, "after", n)));
        world.dies(point, &["follow", "--back", "--until-lag", "0s"]);
        world.target.execute(&work(&NEW, "after", 6));
        world.run(&["follow", "--back", "--until-lag", "0s"]);
        world.are_equal();
        world.has_all(&world.source, &OLD, "after", 6);
    }
}

/// The user keeps the writers out himself, so nothing on the source tells that it was closed.
#[test]
fn f_71_killed_once_it_is_decided_without_a_fence_an_early_writer_is_not_lost() {
    let world = World::new(need_server!(), &PLAN.replace("fence: tables", "fence: none")).moved();
    world.dies("cut::point_of_no_return", &["cutover", "--yes"]);
    world.target.execute(&work(&NEW, "early", 2));
    world.run(&["cutover", "--yes"]);
    comes_back(&world, "cut::point_of_no_return");
    world.has_all(&world.source, &OLD, "early", 1);
}
