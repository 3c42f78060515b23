//! There and back between two PostgreSQL databases, with writers at work all the time.

use super::*;
use crate::need_server;
use crate::support::postgres::other_server;

#[test]
fn a_cutover_is_undone_and_nothing_that_was_written_is_lost() {
    there_and_back(World::new(need_server!(), PLAN));
}

#[test]
fn a_cutover_is_undone_between_two_servers() {
    let (server, Some(other)) = (need_server!(), other_server()) else { return };
    there_and_back(World::of(server.database("old"), other.database("new"), PLAN));
}

fn there_and_back(world: World) {
    world
        .job
        .plan()
        .says("C512")
        .says("the way back: the cutover makes a replication slot")
        .says("towpath follow --back");
    let before = Writer::start(&world.source, &OLD, "before");
    let world = world.moved();
    world.job.run(&["follow", "--back"]).expect(1).says("is not cut over");
    world.run(&["follow", "--until-lag", "5s"]);
    world.run(&["cutover", "--yes"]).says("Cut over: the target has").says("towpath follow --back");
    let before = before.shut_out();
    assert!(before > 5, "only {before} transactions");
    world.has_all(&world.target, &NEW, "before", before);
    world.are_equal();
    World::takes_first_inserts(&world.target, &NEW);
    // No loop can arise: nothing reads the source any more, and one stream reads the target.
    for (database, read) in [(&world.source, "0"), (&world.target, "1")] {
        let slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
        assert_eq!(database.value(slots), read);
        assert_eq!(database.value("SELECT count(*) FROM pg_publication"), read);
    }
    world.run(&["status"]).says("closed  5 tables of the source").says("next    towpath follow --back");
    world.run(&["cutover", "--yes"]).says("already");

    // The old source still refuses its writers, and gets what is written to the new one.
    let after = Writer::start(&world.target, &NEW, "after");
    let mut following = world.job.towpath.start(&["follow", "--back"]);
    let arrived = "SELECT count(*) > 20 FROM users WHERE email LIKE 'after %'";
    crate::support::wait_until("changes come back", std::time::Duration::from_secs(60), || {
        assert!(!following.ended(), "{}", following.so_far());
        world.source.value(arrived) == "t"
    });
    world.source.session().try_execute("INSERT INTO users (email) VALUES ('late')").expect_err("closed");
    following.signal("TERM");
    following.wait().expect(0);
    world.run(&["status", "--back"]).says("next    towpath follow --back");
    world.run(&["verify", "--back", "--level", "rows"]);

    let dry = world.run(&["cutover", "--back", "--dry-run"]);
    dry.says("Ready");
    world
        .run(&["cutover", "--back", "--yes"])
        .says("the source has every change")
        .says("opened     5 fences, of public.lines and the like");
    let after = after.shut_out();
    world.has_all(&world.source, &OLD, "after", after);
    world.has_all(&world.source, &OLD, "before", before);
    world.are_equal();
    assert_eq!(
        world.source.value("SELECT count(*) FROM users WHERE legacy LIKE 'old %'"),
        "200",
        "it was never touched"
    );
    World::takes_first_inserts(&world.source, &OLD);

    // The source is written again, and nothing of it goes to the target, which is closed.
    let again = Writer::start(&world.source, &OLD, "again");
    std::thread::sleep(std::time::Duration::from_millis(100));
    again.stop();
    assert_eq!(world.target.value("SELECT count(*) FROM accounts WHERE mail LIKE 'again %'"), "0");
    world.target.session().try_execute("DELETE FROM sales.lines").expect_err("closed");
    world.run(&["status"]).says("the source is in use again").says("next    towpath clean --back");
    for refused in [&["apply", "--yes"][..], &["follow"], &["follow", "--back"]] {
        world.job.run(refused).expect(4).says("it was cut over");
    }
    is_cleaned(&world);
}

/// The way back goes first; then nothing is left but the fence of the target, which is said.
fn is_cleaned(world: &World) {
    world.job.run(&["clean"]).expect(3).says("still has its way back").says("towpath clean --back");
    let back = world.run(&["clean", "--back"]);
    let back = back.says("5 tables of the target closed for writes");
    back.says("towpath clean --back --open-source");
    world.run(&["clean"]);
    world.run(&["clean", "--back", "--open-source"]).says("5 fences, of public.accounts and the like");
    world.target.execute("DELETE FROM sales.lines");
    for database in [&world.source, &world.target] {
        assert_eq!(database.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'towpath'"), "0");
        assert_eq!(database.value("SELECT count(*) FROM pg_publication"), "0");
        assert_eq!(database.value("SELECT count(*) FROM pg_trigger WHERE tgname ~ 'towpath'"), "0");
        assert_eq!(database.value("SELECT count(*) FROM pg_proc WHERE proname ~ 'towpath'"), "0");
        let slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
        assert_eq!(database.value(slots), "0");
    }
}

/// Whoever keeps the writers out himself has a way back as well.
#[test]
fn without_a_fence_the_way_back_is_the_same() {
    let world = World::new(need_server!(), &PLAN.replace("fence: tables", "fence: none")).moved();
    let before = Writer::start(&world.source, &OLD, "before");
    std::thread::sleep(std::time::Duration::from_millis(60));
    let before = before.stop();
    world.run(&["cutover", "--yes"]);
    world.has_all(&world.target, &NEW, "before", before);
    let after = Writer::start(&world.target, &NEW, "after");
    std::thread::sleep(std::time::Duration::from_millis(60));
    let after = after.stop();
    world.run(&["follow", "--back", "--until-lag", "0s"]);
    world.are_equal();
    world.run(&["cutover", "--back", "--yes"]);
    world.has_all(&world.source, &OLD, "after", after);
    world.are_equal();
    World::takes_first_inserts(&world.source, &OLD);
}
