//! What following must not pass over: it stops, says what happened, where, and how to go on; and
//! from there it does go on, to the end.

use std::time::Duration;

use super::followed::{Followed, LONG, PLAN, ends};
use super::full_disk::SmallDisk;
use crate::support::command::Outcome;
use crate::support::postgres::{Database, Session, moving_server};
use crate::support::scenario::Job;
use crate::support::wait_until;

/// Where a recopy dies in the tests below: everything is void, and nothing is copied yet.
pub const RECOPIED: &str = "recopy::void";
const SPOOLED: &str = "defaults: { cdc: true }\ntables: { \"*\": {} }\n";

/// Changes are missing: every command says so and names the tables; copied again, all is well.
#[track_caller]
fn copies_again(followed: &Followed, stopped: &Outcome) {
    assert_eq!(stopped.code, Some(4), "{stopped}");
    for command in [&["follow"][..], &["cutover", "--yes"], &["apply", "--yes"]] {
        let outcome = followed.job.run(command).expect(4);
        for part in ["items", "notes", "--recopy"] {
            assert!(outcome.both().contains(part), "it does not say {part}\n{outcome}");
        }
    }
    assert!(followed.takes_writes(), "the source is closed");
    let dying = followed.job.towpath.clone().env("FAILPOINTS", format!("{RECOPIED}=return"));
    let died = dying.run(&["apply", "--yes", "--recopy"]);
    assert_eq!(died.code, None, "{died}");
    died.says("2 tables of the target emptied and copied again, 1 foreign key made again");
    followed.source.execute("INSERT INTO items (n) VALUES (5)");
    followed.job.run(&["apply", "--yes"]).expect(0);
    followed.source.execute("INSERT INTO items (n) VALUES (6)");
    followed.catches_up();
    followed.cuts_over();
}

#[test]
fn f_44_g_10_the_slot_is_dropped_while_it_is_followed() {
    let Some(followed) = Followed::new(PLAN) else { return };
    let mut running = followed.follow();
    followed.is_followed(&mut running);
    followed.source.execute(
        "INSERT INTO items (n) VALUES (3); \
         SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database()",
    );
    let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                WHERE database = current_database()";
    let mut admin = followed.source.session();
    wait_until("it is dropped", LONG, || admin.try_execute(drop).is_ok());
    let outcome = running.wait();
    copies_again(&followed, &outcome);
}

/// Rows that this plan did not copy are somebody's: copying again does not empty such a table.
#[test]
fn g_01_what_was_not_copied_is_not_emptied() {
    let Some(server) = moving_server() else { return };
    let followed = Followed::not_yet(server, server, PLAN);
    followed.job.run(&["apply", "--yes", "--until", "schema"]).expect(6);
    followed.target.execute("INSERT INTO items (id, n) VALUES (7000, 1)");
    let outcome = followed.job.run(&["apply", "--yes", "--recopy"]);
    assert_ne!(outcome.code, Some(0), "{outcome}");
    assert_eq!(followed.target.value("SELECT count(*)::text FROM items WHERE id = 7000"), "1", "{outcome}");
}

#[test]
fn f_45_a_table_is_taken_out_of_the_publication() {
    let Some(followed) = Followed::new(PLAN) else { return };
    let mut running = followed.follow();
    followed.is_followed(&mut running);
    let publication = followed.source.value("SELECT pubname FROM pg_publication");
    followed.source.execute(&format!("ALTER PUBLICATION {publication} DROP TABLE notes"));
    followed.source.execute("INSERT INTO notes (note) VALUES ('unseen')");
    let outcome = running.wait();
    copies_again(&followed, &outcome);
}

#[test]
fn f_45_the_publication_is_dropped_while_nobody_follows() {
    let Some(followed) = Followed::new(PLAN) else { return };
    let publication = followed.source.value("SELECT pubname FROM pg_publication");
    followed.source.execute(&format!("DROP PUBLICATION {publication}"));
    followed.source.execute("INSERT INTO notes (note) VALUES ('unseen')");
    let outcome = followed.job.run(&["follow"]);
    copies_again(&followed, &outcome);
}

#[test]
fn u_901_the_publication_of_the_capture_is_not_left_behind() {
    let Some(followed) = Followed::new(PLAN) else { return };
    followed.source.execute("CREATE PUBLICATION theirs; COMMENT ON PUBLICATION theirs IS 'Towpath: no'");
    let outcome = followed.job.run(&["plan", "--all"]);
    let listed = outcome.both();
    let left: Vec<_> = listed.lines().filter(|line| line.contains("- publication")).collect();
    assert!(left.len() == 1 && left[0].contains("theirs"), "{outcome}");
}

/// Changes by a statement that is not told stop it before anything of them is applied.
fn stops_at(sql: &str, names: &[&str]) {
    let Some(followed) = Followed::new(PLAN) else { return };
    let mut running = followed.follow();
    followed.is_followed(&mut running);
    followed.source.execute(sql);
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(4), "{sql}\n{outcome}");
    for name in names {
        assert!(outcome.both().contains(name), "{sql}: it does not say {name}\n{outcome}");
    }
    // Nor does it go on when it is asked again.
    let again = followed.job.run(&["follow", "--until-lag", "0s"]);
    assert!(matches!(again.code, Some(3 | 4)), "{sql}\n{again}");
    assert_eq!(followed.target.value("SELECT count(*)::text FROM items WHERE n = 99"), "0", "{sql}");
}

#[test]
fn f_46_the_replica_identity_is_changed() {
    stops_at(
        "ALTER TABLE items REPLICA IDENTITY NOTHING; INSERT INTO items (n) VALUES (99)",
        &["items", "identity"],
    );
}

#[test]
fn f_25_a_column_is_added_to_a_followed_table() {
    stops_at(
        "ALTER TABLE items ADD more text; INSERT INTO items (n, more) VALUES (99, 'x')",
        &["items", "more"],
    );
}

#[test]
fn f_25_a_column_of_a_followed_table_gets_another_type() {
    stops_at("ALTER TABLE items ALTER n TYPE numeric; INSERT INTO items (n) VALUES (99)", &["items", "n"]);
}

/// Somebody else wrote to the target: named by table and key, and nothing of the transaction is in.
#[test]
fn f_62_a_foreign_writer_changes_the_target() {
    let Some(followed) = Followed::new(PLAN) else { return };
    let mut running = followed.follow();
    followed.is_followed(&mut running);
    let (notes, items) =
        ("SELECT note FROM notes WHERE id = 8", "SELECT count(*)::text FROM items WHERE id = 4999");
    for (theirs, ours, back, untouched, as_before) in [
        (
            "DELETE FROM notes WHERE id = 7",
            "UPDATE notes SET note = 'n' WHERE id IN (7, 8)",
            "INSERT INTO notes VALUES (7, 7, 'note 7')",
            notes,
            "note 8",
        ),
        (
            "INSERT INTO items (id) VALUES (5000)",
            "INSERT INTO items (id, n) VALUES (4999, 1), (5000, 1)",
            "DELETE FROM items WHERE id = 5000",
            items,
            "0",
        ),
        (
            "DELETE FROM notes WHERE id = 9",
            "DELETE FROM notes WHERE id IN (8, 9)",
            "INSERT INTO notes VALUES (9, 9, 'note 9')",
            notes,
            "n",
        ),
    ] {
        followed.target.execute(theirs);
        followed.source.execute(ours);
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(7), "{theirs}\n{outcome}");
        let (table, key) = if theirs.contains("items") { ("items", "(5000)") } else { ("notes", "(") };
        outcome.says(table).says(key);
        assert_eq!(followed.target.value(untouched), as_before, "{theirs}: half of it was applied");
        followed.target.execute(back);
        running = followed.follow();
        followed.is_followed(&mut running);
    }
    ends(running);
    followed.catches_up();
}

/// The target is set back to what it was a while ago: what it lacks was acknowledged.
#[test]
fn f_40_the_target_is_restored_from_an_older_backup() {
    let Some(server) = moving_server() else { return };
    let mut followed = Followed::between(server, server, PLAN);
    followed.source.execute("INSERT INTO items (n) VALUES (1)");
    followed.catches_up();
    let backup = Database::named(&format!("backup_of_{}", followed.target), server.port);
    server.admin(&format!("CREATE DATABASE {backup} TEMPLATE {}", followed.target));
    followed.source.execute("INSERT INTO items (n) VALUES (2222)");
    let end = followed.source.value("SELECT pg_current_wal_lsn()::text");
    // The last acknowledgement is given up on a busy server: then it would be told once more.
    wait_until("all is acknowledged", LONG, || {
        followed.catches_up();
        followed.acknowledged(&end)
    });
    followed.job = followed.job.with_env("TARGET_URL", &backup.url());
    let stopped = followed.job.run(&["follow"]);
    assert_eq!(stopped.code, Some(4), "{stopped}");
    assert_eq!(backup.value("SELECT count(*)::text FROM items WHERE n = 2222"), "0", "{stopped}");
    let stopped = followed.job.run(&["cutover", "--yes"]);
    assert_eq!(stopped.code, Some(4), "{stopped}");
    assert!(followed.takes_writes(), "the source is closed");
    followed.job.run(&["apply", "--yes", "--recopy"]).expect(0);
    let followed = Followed { target: backup.clone(), ..followed };
    followed.cuts_over();
    drop(followed);
    server.admin(&format!("DROP DATABASE {backup} WITH (FORCE)"));
}

/// A move whose changes pile up in the spool, because a user of the target holds its tables.
struct Piled {
    followed: Followed,
    /// While it lives, nothing is applied.
    holder: Session,
    disk: Option<SmallDisk>,
    directory: tempfile::TempDir,
}

impl Piled {
    fn new(acknowledge: &str, disk: Option<u32>) -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("towpath-spool-").tempdir().unwrap();
        let place = directory.path().join("spool");
        let disk = match disk {
            Some(megabytes) => Some(SmallDisk::mount(&place, megabytes)?),
            None => None,
        };
        let plan = format!(
            "{SPOOLED}cutover: {{ fence: tables }}\n\
             cdc: {{ acknowledge: {acknowledge}, memory: {{ limit: 16MiB, keep: 100ms }}, spill: {{ dir: {} }} }}\n",
            place.display()
        );
        let followed = Followed::new(&plan)?;
        let mut holder = followed.target.session();
        holder.execute("BEGIN; LOCK TABLE items, notes IN SHARE MODE");
        Some(Self { followed, holder, disk, directory })
    }

    /// A follower with a backlog in its spool, all of it acknowledged; killed.
    fn dies_with_a_backlog(&self) {
        let mut running = self.followed.follow();
        for n in 1001..=1030 {
            self.followed.source.execute(&format!(
                "INSERT INTO items (n, body) VALUES ({n}, repeat('{n}', 3000)); UPDATE items SET n = {n} WHERE id = 1"
            ));
        }
        // What is logged of others need not be kept for us, either.
        self.followed.source.execute("SELECT pg_logical_emit_message(false, 'others', repeat('x', 100000))");
        let end = self.followed.source.value("SELECT pg_current_wal_lsn()::text");
        wait_until("all is acknowledged", LONG, || running.ended() || self.followed.acknowledged(&end));
        assert!(!running.ended(), "{}", running.so_far());
        running.kill();
        assert_eq!(self.followed.target.value("SELECT count(*)::text FROM items WHERE n = 1030"), "0");
    }
}

/// The reader is gone for good, and what it had received is applied all the same.
#[test]
fn h_24_a_backlog_outlives_its_receiver() {
    let Some(mut piled) = Piled::new("spooled", None) else { return };
    piled.dies_with_a_backlog();
    piled.holder.execute("ROLLBACK");
    piled.followed.catches_up();
    piled.followed.cuts_over();
}

/// The source must not be asked for what it was allowed to forget, and nothing may be left out.
#[test]
fn h_03_f_66_a_spool_that_is_lost_is_a_gap() {
    let Some(mut piled) = Piled::new("spooled", None) else { return };
    piled.dies_with_a_backlog();
    piled.holder.execute("ROLLBACK");
    std::fs::remove_dir_all(piled.directory.path().join("spool")).unwrap();
    let stopped = piled.followed.job.run(&["follow"]);
    assert_eq!(stopped.code, Some(4), "{stopped}");
    let stopped = piled.followed.job.run(&["cutover", "--yes"]);
    assert_eq!(stopped.code, Some(4), "{stopped}");
    assert!(piled.followed.takes_writes(), "the source is closed");
    piled.followed.job.run(&["apply", "--yes", "--recopy"]).expect(0);
    piled.followed.catches_up();
    piled.followed.cuts_over();
}

/// What the source was allowed to forget is damaged on the disk: none of it is applied.
#[test]
fn f_67_a_spool_that_was_damaged_is_told_and_not_applied() {
    let Some(mut piled) = Piled::new("spooled", None) else { return };
    piled.dies_with_a_backlog();
    let mut places = vec![piled.directory.path().join("spool")];
    let mut damaged = false;
    while let Some(place) = places.pop().filter(|_| !damaged) {
        if place.is_dir() {
            places.extend(std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let mut bytes = std::fs::read(&place).unwrap();
        // In a value: the record is as whole as before.
        if let Some(at) = bytes.windows(8).position(|some| some == b"10101010") {
            bytes[at] = b'x';
            std::fs::write(place, bytes).unwrap();
            damaged = true;
        }
    }
    assert!(damaged, "the backlog is not in the spool");
    piled.holder.execute("ROLLBACK");
    let stopped = piled.followed.job.run(&["follow", "--until-lag", "0s"]);
    assert_eq!(stopped.code, Some(4), "{stopped}");
    // By a later record that was durable after it, or by what the source was told it may forget.
    assert!(stopped.both().contains("damaged"), "{stopped}");
    assert_eq!(piled.followed.target.value("SELECT count(*)::text FROM items WHERE body LIKE '%x%'"), "0");
}

/// Without a spool that counts, all of it comes again from the source.
#[test]
fn f_66_another_machine_follows_on_without_the_spill() {
    let Some(mut piled) = Piled::new("applied", None) else { return };
    let running = piled.followed.follow();
    piled
        .followed
        .source
        .execute("INSERT INTO items (n, body) SELECT i, repeat('x', 3000) FROM generate_series(1, 300) i");
    std::thread::sleep(Duration::from_millis(500));
    running.kill();
    piled.holder.execute("ROLLBACK");
    let _ = std::fs::remove_dir_all(piled.directory.path().join("spool"));
    piled.followed.catches_up();
}

/// The disk of the spool is full: it says where, and goes on once there is room.
#[test]
fn f_54_the_disk_of_the_spool_is_full() {
    let Some(mut piled) = Piled::new("spooled", Some(4)) else { return };
    let mut running = piled.followed.follow();
    for n in 1001..=1012 {
        let sql = format!("INSERT INTO items (n, body) VALUES ({n}, repeat('{n}', 200000))");
        piled.followed.source.execute(&sql);
    }
    wait_until("the disk is full", LONG, || running.ended() || running.so_far().contains("No space left"));
    assert!(!running.ended(), "{}", running.so_far());
    assert!(running.so_far().contains("spool"), "it does not say where: {}", running.so_far());
    piled.disk.as_ref().unwrap().grow(100);
    piled.holder.execute("ROLLBACK");
    piled.followed.arrives(&mut running, "SELECT count(*)::text FROM items WHERE n > 1000", "12");
    ends(running);
    piled.followed.catches_up();
    piled.followed.cuts_over();
}

/// The source may keep so much log for us and no more: then the capture is given up.
#[test]
fn f_43_the_source_keeps_more_log_than_the_plan_allows() {
    let plan = format!("{PLAN}cdc: {{ keep_log: 16MiB, memory: {{ limit: 16MiB }} }}\n");
    let Some(followed) = Followed::new(&plan) else { return };
    let mut holder = followed.target.session();
    holder.execute("BEGIN; LOCK TABLE items, notes IN SHARE MODE");
    let mut running = followed.follow();
    wait_until("it begins", LONG, || {
        running.ended()
            || {
                let active = "SELECT count(*)::text FROM pg_replication_slots WHERE database = current_database() AND active";
                followed.source.value(active) == "1"
            }
    });
    followed.source.execute(
        "INSERT INTO items (n, body) SELECT i, repeat(md5(i::text), 8000) FROM generate_series(1, 100) i",
    );
    let outcome = running.wait();
    holder.execute("ROLLBACK");
    let outcome = outcome.says("keep_log");
    crate::chaos::judge::Judge::nothing_is_left(&followed.source);
    copies_again(&followed, &outcome);
}

/// A table that the plan takes up later was never in the log: its changes are not passed over.
#[test]
fn h_19_a_table_is_added_to_the_plan_later() {
    let Some(server) = moving_server() else { return };
    let followed =
        Followed::not_yet(server, server, "defaults: { cdc: true }\ntables: { public.items: {} }\n");
    followed.job.apply().expect(0);
    followed.job.write_plan(PLAN);
    followed.source.execute("INSERT INTO notes (note) VALUES ('later')");
    let outcome = followed.job.apply();
    if outcome.code == Some(0) {
        followed.source.execute("UPDATE notes SET note = 'changed' WHERE id < 10");
        followed.catches_up();
        return;
    }
    assert!(matches!(outcome.code, Some(3 | 4)), "{outcome}");
    outcome.says("notes");
}

/// What is in use as a database of its own takes no changes of the source any more.
#[test]
fn f_08_g_12_after_the_cutover_nothing_is_followed_or_applied() {
    let Some(followed) = Followed::new(PLAN) else { return };
    followed.cuts_over();
    let rows = followed.target.value("SELECT count(*)::text FROM items");
    for command in [&["follow"][..], &["apply", "--yes"], &["apply", "--yes", "--recopy"]] {
        let outcome = followed.job.run(command);
        assert_ne!(outcome.code, Some(0), "{outcome}");
    }
    followed.job.run(&["cutover", "--yes"]).expect(0).says("already");
    assert_eq!(followed.target.value("SELECT count(*)::text FROM items"), rows);
    assert!(!followed.takes_writes(), "the source was opened again");
}

/// Cleaning up dies half way; again, it leaves nothing.
#[test]
fn f_82_cleaning_up_dies_half_way() {
    let Some(followed) = Followed::new(PLAN) else { return };
    for point in ["clean::slot", "clean::pub"] {
        let dying = followed.job.towpath.clone().env("FAILPOINTS", format!("{point}=return"));
        let died = dying.run(&["clean"]);
        assert_eq!(died.code, None, "{point} was never reached\n{died}");
    }
    followed.job.run(&["clean"]).expect(0);
    crate::chaos::judge::Judge::nothing_is_left(&followed.source);
    let state = "SELECT count(*)::text FROM pg_namespace WHERE nspname = 'towpath'";
    assert_eq!(followed.target.value(state), "0");
    let fresh = Job::new(&followed.source.url(), &followed.target.url(), PLAN);
    assert_ne!(fresh.run(&["follow"]).code, Some(0));
}
