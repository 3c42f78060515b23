//! Row by row: what is found, what must be found, and what is said where it is not.

use super::*;

const ITEMS: &str = "CREATE TABLE items (id bigint PRIMARY KEY, code text UNIQUE, big text, more int)";

fn items() -> Followed {
    let columns = [("id", "bigint"), ("code", "text"), ("big", "text"), ("more", "integer")];
    keyed(table_of("items", &columns))
}

#[test]
fn g_06_rows_arrive_in_the_order_of_the_log() {
    let server = need_server!();
    let to = server.database("order");
    to.execute(ITEMS);
    run(async {
        let mut applier = Applier::new(&to.url(), &[items()]).await;
        let mut log = Log::default();
        log.insert(0, &[t("1"), t("a"), t("x"), NULL]).update(0, &[], &[t("1"), t("b"), ABSENT, t("7")]);
        log.insert(0, &[t("2"), t("a"), NULL, NULL]).delete(0, &[t("2"), ABSENT, ABSENT, ABSENT]);
        log.insert(0, &[t("2"), NULL, NULL, t("-1")]).insert(0, &[t("3"), NULL, t(""), NULL]);
        applier.rows(&log).await.unwrap();
        // Prepared statements are used again in the next transaction.
        let mut log = Log::default();
        log.update(0, &[], &[t("1"), t("c"), ABSENT, t("8")]).delete(0, &[t("3"), ABSENT, ABSENT, ABSENT]);
        applier.rows(&log).await.unwrap();
    });
    assert_eq!(to.value("SELECT string_agg(i::text, ' ' ORDER BY id) FROM items i"), "(1,c,x,8) (2,,,-1)");
}

#[test]
fn r6_an_update_or_delete_of_a_row_that_is_not_there_stops() {
    let server = need_server!();
    let to = server.database("missing");
    to.execute(ITEMS);
    to.execute("INSERT INTO items VALUES (1, 'a')");
    run(async {
        let mut applier = Applier::new(&to.url(), &[items()]).await;
        let mut update = Log::default();
        update.update(0, &[], &[t("1"), t("kept?"), NULL, NULL]);
        update.update(0, &[], &[t("77"), t("canary"), t("canary"), NULL]);
        // After the first row that is missing nothing else counts.
        update.insert(0, &[t("1"), t("canary"), NULL, NULL]);
        let mut delete = Log::default();
        delete.delete(0, &[t("77"), ABSENT, ABSENT, ABSENT]);
        let mut moved = Log::default();
        moved.update(0, &[t("77"), ABSENT, ABSENT, ABSENT], &[t("78"), t("canary"), NULL, NULL]);
        for (log, says) in [(&update, "an update"), (&delete, "a delete"), (&moved, "an update")] {
            let error = applier.rows(log).await.expect_err("the row is missing");
            let text = told(&error);
            assert_eq!(error.cause, Cause::Diverged, "{text}");
            assert!(text.contains(says) && text.contains("public.items") && text.contains("(77)"), "{text}");
            assert!(!text.contains("canary"), "{text}");
        }
        // The session goes on.
        let mut log = Log::default();
        log.insert(0, &[t("2"), t("b"), NULL, NULL]);
        applier.rows(&log).await.unwrap();
    });
    assert_eq!(to.value("SELECT string_agg(code, ',' ORDER BY id) FROM items"), "a,b");
}

#[test]
fn r6_an_insert_of_a_row_that_is_there_stops() {
    let server = need_server!();
    let to = server.database("extra");
    to.execute(ITEMS);
    to.execute("INSERT INTO items VALUES (1, 'a')");
    run(async {
        let mut applier = Applier::new(&to.url(), &[items()]).await;
        for (row, constraint) in [(["1", "new"], "items_pkey"), (["2", "a"], "items_code_key")] {
            let mut log = Log::default();
            log.insert(0, &[t(row[0]), t(row[1]), t("canary"), NULL]);
            let error = applier.rows(&log).await.expect_err("a duplicate");
            let text = told(&error);
            assert_eq!(error.cause, Cause::Diverged, "{text}");
            assert_eq!(error.code.as_deref(), Some("23505"));
            for word in ["an insert", "public.items", constraint, &format!("({})", row[0])] {
                assert!(text.contains(word), "{word}: {text}");
            }
            assert!(!text.contains("canary"), "{text}");
        }
    });
    assert_eq!(to.value("SELECT count(*) FROM items"), "1");
}

#[test]
fn g_06_what_was_applied_is_refused_the_second_time() {
    let server = need_server!();
    let to = server.database("twice");
    to.execute(ITEMS);
    run(async {
        let mut applier = Applier::new(&to.url(), &[items()]).await;
        let mut log = Log::default();
        log.insert(0, &[t("1"), t("a"), NULL, NULL]).insert(0, &[t("2"), t("b"), NULL, NULL]);
        log.delete(0, &[t("2"), ABSENT, ABSENT, ABSENT]);
        applier.rows(&log).await.unwrap();
        assert_eq!(applier.rows(&log).await.expect_err("again").cause, Cause::Diverged);
    });
    assert_eq!(to.value("SELECT count(*) FROM items"), "1");
}

#[test]
fn r6_a_key_that_is_not_unique_on_the_target_is_noticed() {
    let server = need_server!();
    let to = server.database("double");
    to.execute("CREATE TABLE items (id bigint, code text, big text, more int)");
    to.execute("INSERT INTO items VALUES (1, 'a'), (1, 'b')");
    run(async {
        let mut applier = Applier::new(&to.url(), &[items()]).await;
        let mut log = Log::default();
        log.delete(0, &[t("1"), ABSENT, ABSENT, ABSENT]);
        let error = applier.rows(&log).await.expect_err("two rows");
        assert_eq!(error.cause, Cause::Diverged);
        assert!(told(&error).contains("2 times"), "{error}");
    });
    assert_eq!(to.value("SELECT count(*) FROM items"), "2");
}

#[test]
fn s_sec_3_keys_are_shown_on_one_line_and_not_in_full() {
    let server = need_server!();
    let to = server.database("shown");
    to.execute("CREATE TABLE words (word text PRIMARY KEY)");
    run(async {
        let words = keyed(table_of("words", &[("word", "text")]));
        let mut applier = Applier::new(&to.url(), &[words]).await;
        let mut log = Log::default();
        let long = format!("a\n\u{1b}[2J{}", "x".repeat(10_000));
        log.delete(0, &[t(&long)]);
        let error = applier.rows(&log).await.expect_err("not there");
        assert!(!error.message.contains(['\n', '\u{1b}']), "{error}");
        assert!(error.message.len() < 300, "{} bytes", error.message.len());
    });
}

#[test]
fn s_02_of_equal_rows_exactly_one_goes() {
    let server = need_server!();
    let to = server.database("whole");
    to.execute("CREATE TABLE bag (n numeric, word text, doc json, at point, x xml)");
    to.execute(
        "INSERT INTO bag SELECT 1.0, 'a', '{\"k\": 1}', '(1,2)', '<a/>' FROM generate_series(1, 3); \
         INSERT INTO bag VALUES (1.00, 'a', '{\"k\": 1}', '(1,2)', '<a/>'), (NULL, NULL, NULL, NULL, NULL), \
         (NULL, NULL, NULL, NULL, NULL), (2, '', '{}', NULL, NULL), (2, NULL, '{}', NULL, NULL)",
    );
    run(async {
        let columns = [("n", "numeric"), ("word", "text"), ("doc", "json"), ("at", "point"), ("x", "xml")];
        let mut applier = Applier::new(&to.url(), &[whole_rows(table_of("bag", &columns))]).await;
        let first = [t("1.0"), t("a"), t("{\"k\": 1}"), t("(1,2)"), t("<a/>")];
        let mut log = Log::default();
        log.delete(0, &first).delete(0, &[NULL; 5]);
        // 1.00 is equal to 1.0 and is another row.
        let other = [t("1.00"), first[1], first[2], first[3], first[4]];
        log.update(0, &other, &[t("3.000"), ABSENT, ABSENT, ABSENT, ABSENT]);
        log.update(0, &first, &[t("1.0"), t("b"), ABSENT, NULL, ABSENT]);
        log.delete(0, &[t("2"), NULL, t("{}"), NULL, NULL]);
        log.insert(0, &[t("9"), NULL, NULL, NULL, NULL]);
        applier.rows(&log).await.unwrap();
        // Nothing changes, and the row is looked for all the same.
        let mut log = Log::default();
        log.update(0, &[NULL; 5], &[ABSENT; 5]);
        applier.rows(&log).await.unwrap();
        let mut log = Log::default();
        log.delete(0, &other);
        let error = applier.rows(&log).await.expect_err("none is left");
        assert_eq!(error.cause, Cause::Diverged);
        assert!(!told(&error).contains("1.00"), "no key, no value: {error}");
    });
    let rows = to.rows("SELECT b::text FROM bag b ORDER BY n, word");
    let rows: Vec<String> = rows.into_iter().map(|row| row[0].clone().unwrap()).collect();
    let doc = "\"{\"\"k\"\": 1}\"";
    assert_eq!(
        rows,
        [
            format!("(1.0,a,{doc},\"(1,2)\",<a/>)"),
            format!("(1.0,b,{doc},,<a/>)"),
            "(2,\"\",{},,)".into(),
            format!("(3.000,a,{doc},\"(1,2)\",<a/>)"),
            "(9,,,,)".into(),
            "(,,,,)".into(),
        ]
    );
}

#[test]
fn s_02_whole_rows_in_partitions_and_tables_without_columns() {
    let server = need_server!();
    let to = server.database("leaves");
    to.execute(
        "CREATE TABLE parts (a int, b text) PARTITION BY LIST (a); \
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1); \
         CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2); \
         INSERT INTO parts VALUES (1, 'x'), (2, 'x'), (2, 'x'); \
         CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES",
    );
    run(async {
        let parts = whole_rows(table_of("parts", &[("a", "integer"), ("b", "text")]));
        let mut applier = Applier::new(&to.url(), &[parts, whole_rows(table_of("bare", &[]))]).await;
        let mut log = Log::default();
        log.delete(0, &[t("2"), t("x")]).update(0, &[t("1"), t("x")], &[t("2"), t("y")]);
        log.insert(1, &[]).insert(1, &[]).delete(1, &[]);
        applier.rows(&log).await.unwrap();
    });
    assert_eq!(to.value("SELECT string_agg(p::text, ' ' ORDER BY b) FROM parts p"), "(2,x) (2,y)");
    assert_eq!(to.value("SELECT count(*) FROM bare"), "2");
}

#[test]
fn s_06_and_s_12_keys_change_and_what_is_absent_stays() {
    let server = need_server!();
    let to = server.database("keys");
    to.execute(ITEMS);
    to.execute("INSERT INTO items SELECT i, 'c' || i, repeat('big', 5000), i FROM generate_series(1, 3) i");
    run(async {
        let mut applier = Applier::new(&to.url(), &[items()]).await;
        let old = |key: &'static str| [t(key), ABSENT, ABSENT, ABSENT];
        let mut log = Log::default();
        // The key moves and the large value is not in the log.
        log.update(0, &old("1"), &[t("11"), t("c11"), ABSENT, t("1")]);
        // Two keys are exchanged by way of a third.
        log.update(0, &old("2"), &[t("99"), t("c2"), ABSENT, t("2")]);
        log.update(0, &old("3"), &[t("2"), t("c3"), ABSENT, t("3")]);
        log.update(0, &old("99"), &[t("3"), t("c2"), ABSENT, t("2")]);
        // An old row that tells what it was anyway.
        log.update(0, &[t("3"), t("c2"), NULL, t("2")], &[t("3"), t("c22"), ABSENT, t("22")]);
        // Nothing is different, and the row must be there.
        log.update(0, &[], &[t("11"), ABSENT, ABSENT, ABSENT]);
        applier.rows(&log).await.unwrap();
        let mut log = Log::default();
        log.update(0, &[], &[t("12"), ABSENT, ABSENT, ABSENT]);
        assert_eq!(applier.rows(&log).await.expect_err("missing").cause, Cause::Diverged);
    });
    assert_eq!(
        to.value(
            "SELECT string_agg(concat_ws(' ', id, code, length(big), more), ',' ORDER BY id) FROM items"
        ),
        "2 c3 15000 3,3 c22 15000 22,11 c11 15000 1"
    );
}

#[test]
fn s_07_and_s_09_what_the_source_deferred_is_deferred() {
    let server = need_server!();
    for superuser in [true, false] {
        let to = server.database("deferred");
        to.execute(
            "CREATE TABLE ranks (id int PRIMARY KEY, rank int UNIQUE DEFERRABLE INITIALLY IMMEDIATE); \
             CREATE TABLE notes (id int PRIMARY KEY, rank int REFERENCES ranks DEFERRABLE INITIALLY IMMEDIATE); \
             INSERT INTO ranks VALUES (1, 10), (2, 20)",
        );
        let url = if superuser { to.url() } else { plain_role(&to) };
        run(async {
            let ranks = keyed(table_of("ranks", &[("id", "integer"), ("rank", "integer")]));
            let notes = keyed(table_of("notes", &[("id", "integer"), ("rank", "integer")]));
            let mut applier = Applier::new(&url, &[ranks, notes]).await;
            let mut log = Log::default();
            log.update(0, &[], &[t("1"), t("20")]).update(0, &[], &[t("2"), t("10")]);
            log.insert(1, &[t("1"), t("3")]).insert(0, &[t("3"), t("30")]);
            applier.rows(&log).await.unwrap();
            if superuser {
                return;
            }
            let mut log = Log::default();
            log.insert(1, &[t("2"), t("4")]);
            let error = applier.rows(&log).await.expect_err("no such parent at the end either");
            assert_eq!(error.code.as_deref(), Some("23503"), "{error}");
        });
        assert_eq!(to.value("SELECT string_agg(rank::text, ',' ORDER BY id) FROM ranks"), "20,10,30");
        assert_eq!(to.value("SELECT count(*) FROM notes"), "1");
    }
}

#[test]
fn s_28_triggers_and_cascades_act_only_where_the_role_cannot_say_otherwise() {
    let server = need_server!();
    for superuser in [true, false] {
        let to = server.database("triggers");
        to.execute(
            "CREATE TABLE parents (id int PRIMARY KEY); \
             CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE); \
             INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1, 1)",
        );
        let url = if superuser { to.url() } else { plain_role(&to) };
        let result = run(async {
            let parents = keyed(table_of("parents", &[("id", "integer")]));
            let children = keyed(table_of("children", &[("id", "integer"), ("parent", "integer")]));
            let mut applier = Applier::new(&url, &[parents, children]).await;
            let mut log = Log::default();
            // As the source's log has it: the parent first, then what its cascade did.
            log.delete(0, &[t("1")]).delete(1, &[t("1"), ABSENT]);
            applier.rows(&log).await
        });
        match result {
            Ok(()) => assert!(superuser),
            Err(error) => {
                assert_eq!((superuser, error.cause), (false, Cause::Diverged));
                assert!(told(&error).contains("session_replication_role"), "{}", told(&error));
            }
        }
        assert_eq!(to.value("SELECT count(*) FROM children"), if superuser { "0" } else { "1" });
    }
}

#[test]
fn s_13_identity_always_and_generated_columns() {
    let server = need_server!();
    let to = server.database("identity");
    to.execute(
        "CREATE TABLE made (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, \
         twice int GENERATED ALWAYS AS (a * 2) STORED)",
    );
    run(async {
        let made = keyed(table_of("made", &[("id", "bigint"), ("a", "integer")]));
        let mut applier = Applier::new(&to.url(), &[made]).await;
        let mut log = Log::default();
        log.insert(0, &[t("5"), t("1")]).insert(0, &[t("6"), t("1")]);
        log.update(0, &[], &[t("5"), t("4")]).delete(0, &[t("6"), ABSENT]);
        applier.rows(&log).await.unwrap();
    });
    assert_eq!(to.value("SELECT string_agg(m::text, ' ') FROM made m"), "(5,4,8)");
    assert_eq!(
        to.value("SELECT attidentity FROM pg_attribute WHERE attrelid = 'made'::regclass AND attnum = 1"),
        "a"
    );
}

#[test]
fn s_13_an_identity_always_that_changes() {
    let server = need_server!();
    let to = server.database("always");
    to.execute(
        "CREATE TABLE made (id int PRIMARY KEY, n bigint GENERATED ALWAYS AS IDENTITY, big text, own text DEFAULT 'own', \
         twice bigint GENERATED ALWAYS AS (n * 2) STORED, UNIQUE (n)); \
         CREATE TABLE points (id int REFERENCES made ON DELETE CASCADE); \
         CREATE TABLE bag (n bigint GENERATED ALWAYS AS IDENTITY, a text); \
         CREATE TABLE moved (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text)",
    );
    run(async {
        let made = keyed(table_of("made", &[("id", "integer"), ("n", "bigint"), ("big", "text")]));
        let bag = whole_rows(table_of("bag", &[("n", "bigint"), ("a", "text")]));
        let moved = keyed(table_of("moved", &[("id", "bigint"), ("a", "text")]));
        let mut applier = Applier::new(&to.url(), &[made, bag, moved]).await;
        let mut log = Log::default();
        for id in ["1", "2", "3"] {
            log.insert(0, &[t(id), t(id), t("large")]);
        }
        log.insert(1, &[t("1"), t("a")]).insert(1, &[t("1"), t("a")]).insert(2, &[t("1"), t("a")]);
        applier.rows(&log).await.unwrap();
        outside(|| to.execute("UPDATE made SET own = 'mine'; INSERT INTO points VALUES (1)"));
        let mut log = Log::default();
        log.update(0, &[], &[t("1"), t("1"), t("other")]).update(0, &[], &[t("2"), t("22"), ABSENT]);
        log.update(1, &[t("1"), t("a")], &[t("1"), t("b")]).update(1, &[t("1"), t("a")], &[t("11"), ABSENT]);
        log.update(2, &[t("1"), ABSENT], &[t("12"), ABSENT]);
        applier.rows(&log).await.unwrap();
        let updates = NetUpdates {
            columns: vec![1],
            keys: rows_of(1, &[&[t("1")], &[t("3")]]),
            rows: rows_of(1, &[&[t("1")], &[t("33")]]),
        };
        let table =
            NetTable { table: 0, deletes: Rows::new(1), updates: vec![updates], inserts: Rows::new(3) };
        assert_eq!(applier.net(&Net { tables: vec![table] }).await.unwrap(), Applied::Done);
        let mut log = Log::default();
        log.update(0, &[], &[t("4"), t("4"), ABSENT]);
        assert_eq!(applier.rows(&log).await.expect_err("missing").cause, Cause::Diverged);
    });
    assert_eq!(
        to.value("SELECT string_agg(m::text, ' ' ORDER BY id) FROM made m"),
        "(1,1,other,mine,2) (2,22,large,mine,44) (3,33,large,mine,66)"
    );
    assert_eq!(to.value("SELECT count(*) FROM points"), "1");
    assert_eq!(to.value("SELECT string_agg(b::text, ' ' ORDER BY n) FROM bag b"), "(1,b) (11,a)");
    assert_eq!(to.value("SELECT string_agg(m::text, ' ') FROM moved m"), "(12,a)");
}

#[test]
fn s_13_an_identity_always_without_the_privilege_to_replace_its_row() {
    let server = need_server!();
    let to = server.database("unprivileged");
    to.execute("CREATE TABLE made (id int PRIMARY KEY, n bigint GENERATED ALWAYS AS IDENTITY)");
    let url = plain_role(&to);
    run(async {
        let made = keyed(table_of("made", &[("id", "integer"), ("n", "bigint")]));
        let mut applier = Applier::new(&url, &[made]).await;
        let mut log = Log::default();
        log.insert(0, &[t("1"), t("1")]).update(0, &[], &[t("1"), t("2")]);
        let error = applier.rows(&log).await.expect_err("not allowed");
        assert_eq!(error.cause, Cause::Privilege, "{error}");
        assert!(told(&error).contains("GRANT SET ON PARAMETER") && told(&error).contains("(1)"), "{error}");
    });
    assert_eq!(to.value("SELECT count(*) FROM made"), "0");
}

#[test]
fn s_17_and_s_21_exactly_the_listed_tables_are_emptied() {
    let server = need_server!();
    let to = server.database("truncate");
    to.execute(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY REFERENCES a); \
         CREATE TABLE heir () INHERITS (a); CREATE TABLE other (id int PRIMARY KEY); \
         CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id); \
         CREATE TABLE leaf PARTITION OF parts DEFAULT; \
         INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); INSERT INTO heir VALUES (1); \
         INSERT INTO other VALUES (1); INSERT INTO parts VALUES (1)",
    );
    run(async {
        let names = ["a", "b", "other", "parts"];
        let tables: Vec<Followed> =
            names.iter().map(|name| keyed(table_of(name, &[("id", "integer")]))).collect();
        let mut applier = Applier::new(&to.url(), &tables).await;
        let mut log = Log::default();
        log.insert(0, &[t("2")]).truncate(&[1, 0, 3]).insert(0, &[t("3")]).insert(3, &[t("4")]);
        applier.rows(&log).await.unwrap();
        // Only its own rows are the table's: the heir has a row with this key too.
        let mut log = Log::default();
        log.delete(0, &[t("1")]);
        assert_eq!(applier.rows(&log).await.expect_err("the heir's").cause, Cause::Diverged);
        // A table that another one still points to is not emptied.
        let mut log = Log::default();
        log.truncate(&[0]);
        let error = applier.rows(&log).await.expect_err("b points to it");
        assert!(told(&error).contains("public.a"), "{error}");
    });
    let count = "SELECT concat_ws(',', (SELECT count(*) FROM ONLY a), (SELECT count(*) FROM b), \
         (SELECT count(*) FROM heir), (SELECT count(*) FROM other), (SELECT string_agg(id::text, '') FROM parts))";
    assert_eq!(to.value(count), "1,0,1,1,4");
}

#[test]
fn a_table_that_is_not_there_is_said_at_once() {
    let server = need_server!();
    let to = server.database("nowhere");
    run(async {
        let lock = locked(&to).await;
        let mut session = lock.session().await.unwrap();
        let error = session.follow(&[items()]).await.expect_err("no such table");
        assert_eq!(error.cause, Cause::Stale);
        assert!(error.to_string().contains("public.items"), "{error}");
    });
}
