//! The fence of a cutover: whom it keeps out, by whatever name he writes, whose it is, and that
//! nothing is left of one that was given up.

use super::*;

const TABLES: &str = "CREATE TABLE plain (id int PRIMARY KEY); \
    CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent); \
    CREATE TABLE tree (id int PRIMARY KEY) PARTITION BY RANGE (id); \
    CREATE TABLE leaf PARTITION OF tree FOR VALUES FROM (0) TO (100); \
    CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id); \
    CREATE TABLE below PARTITION OF root FOR VALUES FROM (0) TO (100); \
    INSERT INTO plain VALUES (1); INSERT INTO child VALUES (1); INSERT INTO tree VALUES (1); INSERT INTO root VALUES (1)";

/// Writes that a sealed fence on plain, child, leaf and root refuses.
const REFUSED: [&str; 10] = [
    "INSERT INTO plain VALUES (2)",
    "UPDATE plain SET id = 3 WHERE false",
    "TRUNCATE plain",
    "DELETE FROM child",
    "UPDATE parent SET id = 7",
    "INSERT INTO tree VALUES (2)",
    "DELETE FROM tree",
    "TRUNCATE tree",
    "INSERT INTO root VALUES (2)",
    "INSERT INTO below VALUES (2)",
];

fn names(tables: &[&str]) -> Vec<Name> {
    tables.iter().map(|table| Name::new("public", *table)).collect()
}

#[test]
fn f_70_a_sealed_fence_keeps_every_writer_out_and_lets_a_replica_write() {
    let server = need_server!();
    let from = server.database("fence");
    from.execute(TABLES);
    let tables = names(&["child", "leaf", "plain", "root"]);
    run(async {
        let source = source(&from.url()).await.unwrap();
        source.fence(PLAN, &tables).await.unwrap().lift().await.unwrap();
        assert_eq!(source.fenced(PLAN).await.unwrap(), [], "nothing is left of one that was lifted");
        outside(|| from.execute("INSERT INTO plain VALUES (50); DELETE FROM plain WHERE id = 50"));
        source.fence(PLAN, &tables).await.unwrap().seal().await.unwrap();
        assert_eq!(source.fenced(PLAN).await.unwrap(), tables);
        outside(|| {
            let mut session = from.session();
            for sql in REFUSED {
                let error = session.try_execute(sql).expect_err(sql).to_string();
                assert!(error.contains("has moved to another database"), "{sql}: {error}");
            }
            session.execute("SET session_replication_role = replica; INSERT INTO plain VALUES (2), (3)");
        });
        // Again, as after a crash; and another plan's beside it.
        source.fence(PLAN, &tables).await.unwrap().seal().await.unwrap();
        source.fence("other", &tables[..3]).await.unwrap().seal().await.unwrap();
        let catalog = source.inspect().await.unwrap();
        assert_eq!(catalog.others, [], "a fence is no object of the user's");
        assert_eq!(source.unfence(PLAN).await.unwrap().len(), 4);
        assert_eq!(source.unfence(PLAN).await.unwrap(), [""; 0]);
        assert_eq!(source.fenced("other").await.unwrap(), tables[..3]);
        outside(|| {
            from.session().try_execute(REFUSED[0]).expect_err("the other plan's");
            from.execute("INSERT INTO root VALUES (2)");
        });
        source.unfence("other").await.unwrap();
        outside(|| from.execute("INSERT INTO plain VALUES (4); INSERT INTO tree VALUES (2)"));
    });
    assert_eq!(from.value("SELECT count(*) FROM pg_proc WHERE proname ~ 'towpath'"), "0");
    assert_eq!(from.value("SELECT count(*) FROM pg_trigger WHERE tgname ~ 'towpath'"), "0");
}
