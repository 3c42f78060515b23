//! One writer per plan: the second waits, a lost lock is noticed, and who lost it cannot commit.

use std::time::Duration;

use towpath::catalog::Sequence;
use towpath::engine::{Cause, SequenceValue};

use super::ends::{PLAN, Sql, block_on, each_target, goal, maria, postgres};

#[test]
fn f_04_the_second_is_told_who_holds_the_lock() {
    each_target(|_, target| async move {
        let first = target.lock().await;
        let second = target.target().await;
        let holder = second.holder(PLAN).await.unwrap().expect("nobody holds the lock");
        let Err(error) = second.lock(PLAN, &goal("sha256:00"), Duration::ZERO).await else {
            panic!("two hold one lock")
        };
        assert_eq!(error.cause, Cause::Locked, "{error}");
        assert!(error.to_string().contains(&holder.by), "{error} does not name {}", holder.by);
        // Another plan's lock is another lock.
        let other = second.lock("other", &goal("sha256:00"), Duration::ZERO).await;
        if target.engine.name() != "sqlite" {
            other.unwrap().close("done").await.unwrap();
        }
        first.heartbeat().await.unwrap();
        first.close("done").await.unwrap();
        assert_eq!(second.holder(PLAN).await.unwrap(), None);
        target.lock().await.close("done").await.unwrap();
    });
}

/// The lock's session dies; another run takes over; what the first still writes is refused.
#[test]
fn f_05_who_lost_the_lock_cannot_commit() {
    let Some(target) = postgres("target") else { return };
    let Sql::Postgres(database) = target.sql.clone() else { unreachable!() };
    target.sql.execute("CREATE TABLE t (id integer PRIMARY KEY)");
    block_on(async {
        let first = target.lock().await;
        let mut session = first.session().await.unwrap();
        session.begin().await.unwrap();
        session.execute(&["INSERT INTO public.t VALUES (1)".into()]).await.unwrap();
        // Every other session of that database that is not in the transaction: the lock's among them.
        target.sql.execute(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = '{database}' AND pid <> pg_backend_pid() AND state = 'idle'"
        ));
        let second =
            target.target().await.lock(PLAN, &goal("sha256:00"), Duration::from_secs(20)).await.unwrap();
        // Its session was ended with the lock; on a new one it is told why.
        let error = session.commit().await.expect_err("a run without the lock has committed");
        assert!(matches!(error.cause, Cause::Locked | Cause::Connection), "{error}");
        session.begin().await.unwrap();
        session.execute(&["INSERT INTO public.t VALUES (3)".into()]).await.unwrap();
        let error = session.commit().await.expect_err("a run without the lock has committed");
        assert_eq!(error.cause, Cause::Locked, "{error}");
        let error = first.heartbeat().await.expect_err("the lost lock was not noticed");
        assert!(matches!(error.cause, Cause::Locked | Cause::Connection), "{error}");
        drop(session);
        let mut session = second.session().await.unwrap();
        session.begin().await.unwrap();
        session.execute(&["INSERT INTO public.t VALUES (2)".into()]).await.unwrap();
        session.commit().await.unwrap();
        drop(session);
        second.close("done").await.unwrap();
    });
    assert_eq!(target.sql.rows("SELECT id FROM t"), ["'2'"]);
}

/// The same where sessions are ended by their numbers.
#[test]
fn f_05_who_lost_the_lock_cannot_commit_mariadb() {
    let Some(target) = maria("target") else { return };
    target.sql.execute("CREATE TABLE t (id integer PRIMARY KEY)");
    let insert = |id: u32| {
        vec![format!("INSERT INTO {} VALUES ({id})", target.engine.dialect().quote_name(&target.table("t")))]
    };
    block_on(async {
        let first = target.lock().await;
        let mut session = first.session().await.unwrap();
        session.begin().await.unwrap();
        session.execute(&insert(1)).await.unwrap();
        let ended = target.sql.rows(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID() \
             AND ID NOT IN (SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX)",
        );
        for id in ended {
            target.sql.execute(&format!("KILL CONNECTION {}", id.trim_matches('\'')));
        }
        let second =
            target.target().await.lock(PLAN, &goal("sha256:00"), Duration::from_secs(20)).await.unwrap();
        let error = session.commit().await.expect_err("a run without the lock has committed");
        assert!(matches!(error.cause, Cause::Locked | Cause::Connection), "{error}");
        session.begin().await.unwrap();
        session.execute(&insert(3)).await.unwrap();
        let error = session.commit().await.expect_err("a run without the lock has committed");
        assert_eq!(error.cause, Cause::Locked, "{error}");
        first.heartbeat().await.expect_err("the lost lock was not noticed");
        drop(session);
        let mut session = second.session().await.unwrap();
        session.begin().await.unwrap();
        session.execute(&insert(2)).await.unwrap();
        session.commit().await.unwrap();
        drop(session);
        second.close("done").await.unwrap();
    });
    assert_eq!(target.sql.rows("SELECT id FROM t"), ["'2'"]);
}

#[test]
fn the_state_remembers_its_runs() {
    each_target(|_, target| async move {
        assert_eq!(target.target().await.plans().await.unwrap(), [""; 0]);
        target.lock().await.close("partial").await.unwrap();
        target.lock().await.close("done").await.unwrap();
        let reading = target.target().await;
        assert_eq!(reading.plans().await.unwrap(), [PLAN]);
        let progress = reading.progress(PLAN).await.unwrap();
        let outcomes: Vec<_> = progress.runs.iter().map(|run| run.outcome.as_deref()).collect();
        assert_eq!(outcomes, [Some("partial"), Some("done")]);
        assert_eq!(progress.digest.as_deref(), Some("sha256:00"));
        assert_eq!(reading.progress("never heard of").await.unwrap(), Default::default());
    });
}

/// Set beyond the source's value in its own direction, never backwards.
#[test]
fn f_73_a_sequence_is_never_set_backwards() {
    let Some(target) = postgres("target") else { return };
    target.sql.execute(
        "CREATE SEQUENCE up; CREATE SEQUENCE down INCREMENT -2 MINVALUE -100 MAXVALUE 100 START 50;
         SELECT setval('up', 500), setval('down', -50);
         CREATE SEQUENCE ahead; CREATE SEQUENCE below INCREMENT -2 MINVALUE -100 MAXVALUE 100 START 50;
         SELECT setval('ahead', 500), setval('below', -50)",
    );
    let next = |name: &str| target.sql.rows(&format!("SELECT nextval('{name}')"))[0].clone();
    block_on(async {
        let lock = target.lock().await;
        let mut session = lock.session().await.unwrap();
        let cases = [("ahead", 1, 400, 0), ("below", -2, -40, 0), ("up", 1, 900, 10), ("down", -2, -60, 3)];
        for (name, increment, last, margin) in cases {
            let sequence = Sequence {
                name: target.table(name),
                data_type: "bigint".into(),
                start: 50,
                increment,
                min: if increment < 0 { -100 } else { 1 },
                max: if increment < 0 { 100 } else { i64::MAX },
                cache: 1,
                cycle: false,
                owner: None,
                comment: None,
            };
            let value = SequenceValue { name: target.table(name), last, called: true };
            session.begin().await.unwrap();
            session.set_sequence(&sequence, &value, margin).await.unwrap();
            session.commit().await.unwrap();
        }
        drop(session);
        lock.close("done").await.unwrap();
    });
    let (up, down): (i64, i64) =
        (next("up").trim_matches('\'').parse().unwrap(), next("down").trim_matches('\'').parse().unwrap());
    assert_eq!(
        [next("ahead"), next("below")].map(|cell| cell.trim_matches('\'').to_string()),
        ["501", "-52"]
    );
    assert!((901..=911).contains(&up), "{up}");
    assert!((-68..=-62).contains(&down), "{down}");
}
