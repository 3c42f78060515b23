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

/// What roles may do to the tables of the test, to the last option.
const RIGHTS: &str = "SELECT COALESCE(string_agg(concat_ws(' ', c.relname, x.attname, x.grantor::regrole, x.grantee::regrole, \
    x.privilege_type, x.is_grantable), ',' ORDER BY 1), '') FROM pg_class c, LATERAL ( \
    SELECT NULL::name AS attname, a.* FROM aclexplode(c.relacl) a UNION ALL \
    SELECT t.attname, a.* FROM pg_attribute t, aclexplode(t.attacl) a WHERE t.attrelid = c.oid) AS x \
    WHERE c.relnamespace = 'public'::regnamespace";

/// The concatenation is sorted as a whole.
fn rights(of: &Database) -> Vec<String> {
    let mut rights: Vec<String> = of.value(RIGHTS).split(',').map(String::from).collect();
    rights.sort();
    rights
}

fn as_role(of: &Database, role: &str, sql: &str) -> Result<(), String> {
    let mut session = of.session();
    session.execute(&format!("SET ROLE {role}"));
    session.try_execute(sql).map_err(|error| error.to_string())
}

#[test]
fn g_12_f_70_a_fence_of_roles_gives_back_exactly_what_it_took() {
    let server = need_server!();
    let from = server.database("roles");
    from.execute(TABLES);
    from.execute(
        "CREATE ROLE fence_app; CREATE ROLE \"Fence jobs\"; CREATE ROLE fence_other; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON plain, tree, leaf, root TO fence_app; \
         GRANT DELETE ON child TO fence_app WITH GRANT OPTION; GRANT UPDATE (id) ON parent TO fence_app; \
         GRANT INSERT (id), SELECT (id) ON plain TO \"Fence jobs\"; GRANT TRUNCATE, TRIGGER ON plain TO \"Fence jobs\"; \
         GRANT ALL ON plain, root TO fence_other",
    );
    let before = rights(&from);
    let tables = names(&["child", "leaf", "plain", "root"]);
    let roles = ["fence_app".to_string(), "Fence jobs".to_string()];
    run(async {
        let source = source(&from.url()).await.unwrap();
        assert_eq!(source.check_roles(&tables, &roles).await.unwrap(), []);
        // Given up by name, and by the end of its session.
        source.fence_roles(PLAN, &tables, &roles).await.unwrap().lift().await.unwrap();
        drop(source.fence_roles(PLAN, &tables, &roles).await.unwrap());
        outside(|| {
            wait_until("the session ended", Duration::from_secs(60), || {
                as_role(&from, "fence_app", "DELETE FROM child").is_ok()
            })
        });
        assert_eq!(source.fenced(PLAN).await.unwrap(), []);
        assert_eq!(outside(|| rights(&from)), before);
        // Sealed twice, as after a crash: what it remembers is what there was before the first time.
        for _ in 0..2 {
            source.fence_roles(PLAN, &tables, &roles).await.unwrap().seal().await.unwrap();
        }
        assert_eq!(source.fenced(PLAN).await.unwrap(), tables);
        outside(|| {
            for sql in REFUSED {
                let error = as_role(&from, "fence_app", sql).expect_err(sql);
                assert!(error.contains("permission denied"), "{sql}: {error}");
            }
            as_role(&from, "\"Fence jobs\"", REFUSED[0]).expect_err("it may not write");
            as_role(&from, "fence_app", "SELECT * FROM plain").expect("it may read");
            as_role(&from, "fence_other", "INSERT INTO plain VALUES (60)").expect("it was not named");
        });
        let mut others = source.inspect().await.unwrap().others;
        others.retain(|other| other.kind != "grant");
        assert_eq!(others, [], "a fence is no object of the user's");
        assert_eq!(source.unfence(PLAN).await.unwrap().len(), 4);
        assert_eq!(source.unfence(PLAN).await.unwrap(), [""; 0]);
    });
    assert_eq!(rights(&from), before);
    as_role(&from, "fence_app", "INSERT INTO tree VALUES (3)").expect("it may write again");
    assert_eq!(from.value("SELECT count(*) FROM pg_proc WHERE proname ~ 'towpath'"), "0");
}

/// Whom the taking of his own rights does not stop is refused, and told how to go on.
#[test]
fn g_12_roles_that_would_write_all_the_same_are_refused() {
    let server = need_server!();
    let from = server.database("roles");
    from.execute(TABLES);
    from.execute(
        "CREATE ROLE w_super SUPERUSER; CREATE ROLE w_owner; CREATE ROLE w_group; CREATE ROLE w_member NOINHERIT IN ROLE w_group; \
         CREATE ROLE w_all IN ROLE pg_write_all_data; CREATE ROLE w_view; CREATE ROLE w_passed; CREATE ROLE w_got; CREATE ROLE w_fine; \
         ALTER TABLE root OWNER TO w_owner; GRANT INSERT ON plain TO w_group; GRANT SELECT, DELETE ON plain TO w_fine; \
         CREATE VIEW seen AS SELECT * FROM plain; GRANT INSERT ON seen TO w_view; \
         GRANT INSERT ON plain TO w_passed WITH GRANT OPTION; SET ROLE w_passed; GRANT INSERT ON plain TO w_got; RESET ROLE; \
         CREATE FUNCTION writes() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM public.plain'; \
         REVOKE EXECUTE ON FUNCTION writes() FROM PUBLIC; GRANT EXECUTE ON FUNCTION writes() TO w_fine",
    );
    let tables = names(&["plain", "below"]);
    run(async {
        let source = source(&from.url()).await.unwrap();
        for (role, why) in [
            ("w_super", "is a superuser"),
            ("w_owner", "owns public.root"),
            ("w_member", "as a member of w_group"),
            ("w_all", "may write everywhere"),
            ("w_view", "through the view public.seen"),
            ("w_passed", "on to w_got"),
            ("w_got", "from w_passed, not from the owner"),
            ("w_none", "no such role"),
            (crate::support::postgres::USER, "is a superuser"),
        ] {
            let roles = ["w_fine".to_string(), role.to_string()];
            let found = source.check_roles(&tables, &roles).await.unwrap();
            let told =
                found.iter().any(|one| one.blocks && one.message.contains(why) && !one.hint.is_empty());
            assert!(told, "{role}: {found:?}");
            let error = source.fence_roles(PLAN, &tables, &roles).await.err().expect(role);
            assert_eq!(error.contract, Some("S604"), "{role}: {error}");
        }
        // With the group beside it, its member is stopped.
        let roles = ["w_member", "w_group", "w_fine"].map(String::from);
        let found = source.check_roles(&tables, &roles).await.unwrap();
        assert!(
            matches!(found.as_slice(), [one] if !one.blocks && one.message.contains("public.writes")),
            "{found:?}"
        );
        source.fence_roles(PLAN, &tables, &roles).await.unwrap().seal().await.unwrap();
        outside(|| as_role(&from, "w_group", "INSERT INTO plain VALUES (9)").expect_err("stopped"));
        // What is remembered is run: not for whom it was not made.
        outside(|| from.execute("ALTER TABLE below OWNER TO w_fine; CREATE ROLE w_thief LOGIN"));
        let function = outside(|| {
            from.value("SELECT oid::regprocedure::text FROM pg_proc WHERE proname ~ 'towpath_fence'")
        });
        outside(|| from.execute(&format!("ALTER FUNCTION {function} OWNER TO w_thief")));
        let error = source.unfence(PLAN).await.expect_err("it is another's");
        assert!(error.to_string().contains("of the role w_thief"), "{error}");
    });
    from.execute("GRANT INSERT ON below TO PUBLIC");
    run(async {
        let source = source(&from.url()).await.unwrap();
        let found = source.check_roles(&tables, &["w_fine".to_string()]).await.unwrap();
        assert!(found.iter().any(|one| one.message.contains("as everybody may")), "{found:?}");
    });
}
