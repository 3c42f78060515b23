//! The fence of a cutover: whom it keeps out, whose it is, and that the applying side passes it.

use super::*;

#[tokio::test]
async fn f_70_a_sealed_fence_keeps_writers_out_and_belongs_to_a_plan() {
    let place = Place::new();
    let conn = place.make(
        "s.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE insert_t (a); INSERT INTO t VALUES (1)",
    );
    let source = place.source("s.db").await;
    let both = [name("insert_t"), name("t")];
    source.fence("x", &both).await.expect("raised").lift().await.expect("lifted");
    assert_eq!(source.fenced("x").await.expect("asked"), []);
    source.fence("x", &both).await.expect("raised").seal().await.expect("sealed");
    source.fence("x", &both).await.expect("raised again").seal().await.expect("sealed");
    // Run together, its names would be those of plan x.
    source.fence("x_insert", &both[1..]).await.expect("raised").seal().await.expect("sealed");
    assert_eq!(source.fenced("x").await.expect("asked"), both);
    let refused = |sql: &str| {
        let error = conn.execute_batch(sql).expect_err(sql).to_string();
        assert!(error.contains("has moved to another database"), "{sql}: {error}");
    };
    ["INSERT INTO t VALUES (2)", "UPDATE t SET id = 5", "DELETE FROM t", "REPLACE INTO t VALUES (1)"]
        .into_iter()
        .for_each(refused);
    assert_eq!(source.inspect().await.expect("inspected").others, []);
    assert_eq!(source.unfence("x").await.expect("removed").len(), 2);
    refused("INSERT INTO t VALUES (2)");
    conn.execute_batch("INSERT INTO insert_t VALUES (1)").expect("open");
    // Changes that are applied are no writer's.
    let target = place.target("s.db").await;
    let lock = lock(target.as_ref()).await;
    let mut session = lock.session().await.expect("a session");
    session.begin().await.expect("begun");
    session.execute(&["INSERT INTO t VALUES (3)".into()]).await.expect("let through");
    session.commit().await.expect("committed");
    assert_eq!(source.unfence("x_insert").await.expect("removed").len(), 1);
    assert!(source.unfence("x_insert").await.expect("nothing").is_empty());
    conn.execute_batch("INSERT INTO t VALUES (2)").expect("open");
}
