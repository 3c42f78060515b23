//! Set by set: the same strictness, one statement for many rows, and a way back.

use super::*;

const ITEMS: &str = "CREATE TABLE items (id bigint PRIMARY KEY, code text UNIQUE, more int)";

fn items() -> Followed {
    keyed(table_of("items", &[("id", "bigint"), ("code", "text"), ("more", "integer")]))
}

fn updates<'a>(columns: &[usize], keys: &[&[Datum<'a>]], rows: &[&[Datum<'a>]]) -> NetUpdates<'a> {
    NetUpdates {
        columns: columns.to_vec(),
        keys: rows_of(keys.first().map_or(1, |key| key.len()), keys),
        rows: rows_of(columns.len(), rows),
    }
}

fn net<'a>(deletes: &[&[Datum<'a>]], updates: Vec<NetUpdates<'a>>, inserts: &[&[Datum<'a>]]) -> Net<'a> {
    let inserts = rows_of(3, inserts);
    Net { tables: vec![NetTable { table: 0, deletes: rows_of(1, deletes), updates, inserts }] }
}

fn all(to: &Database) -> String {
    to.value("SELECT string_agg(i::text, ' ' ORDER BY id) FROM items i")
}

#[test]
fn sets_delete_update_and_insert() {
    let server = need_server!();
    let to = server.database("sets");
    to.execute(ITEMS);
    to.execute("INSERT INTO items SELECT i, 'c' || i, i FROM generate_series(1, 6) i");
    run(async {
        let mut applier = Applier::new(&to.url(), &[items()]).await;
        let changed = vec![
            updates(&[1, 2], &[&[t("2")], &[t("3")]], &[&[t("x,\"\\"), NULL], &[t(""), t("-3")]]),
            updates(&[2], &[&[t("4")]], &[&[t("44")]]),
            // No column changes, and the row must be there.
            updates(&[], &[&[t("5")]], &[&[]]),
        ];
        let made =
            net(&[&[t("1")], &[t("6")]], changed, &[&[t("1"), t("c1"), NULL], &[t("7"), NULL, t("7")]]);
        assert_eq!(applier.net(&made).await.unwrap(), Applied::Done);
    });
    assert_eq!(all(&to), "(1,c1,) (2,\"x,\"\"\\\\\",) (3,\"\",-3) (4,c4,44) (5,c5,5) (7,,7)");
}

#[test]
fn r6_a_set_that_does_not_fit_the_target_leaves_nothing() {
    let server = need_server!();
    let to = server.database("misfits");
    to.execute(ITEMS);
    to.execute("INSERT INTO items VALUES (1, 'a', 1), (2, 'b', 2)");
    let before = all(&to);
    run(async {
        let mut applier = Applier::new(&to.url(), &[items()]).await;
        let new: &[Datum<'_>] = &[t("5"), t("new"), NULL];
        let many: Vec<Vec<Datum<'_>>> = (0..200).map(|_| new.to_vec()).collect();
        let many: Vec<&[Datum<'_>]> = many.iter().map(Vec::as_slice).collect();
        let misfits = [
            net(&[&[t("1")], &[t("77")]], vec![], &[new]),
            net(&[], vec![updates(&[2], &[&[t("1")], &[t("77")]], &[&[t("0")], &[t("0")]])], &[new]),
            net(&[], vec![updates(&[], &[&[t("77")]], &[&[]])], &[new]),
            net(&[&[t("1")]], vec![], &[new, &[t("2"), NULL, NULL]]),
            net(&[], vec![updates(&[1], &[&[t("1")]], &[&[t("b")]])], &[]),
            net(&[], vec![updates(&[2], &[&[t("1")]], &[&[t("99999999999")]])], &[]),
            // Enough for a COPY.
            net(&[], vec![], &many),
        ];
        for misfit in &misfits {
            assert_eq!(applier.net(misfit).await.unwrap(), Applied::Clashed, "{misfit:?}");
            // Behind other changes of the transaction, which stay.
            applier.session.begin().await.unwrap();
            let mut log = Log::default();
            log.insert(0, &[t("8"), t("kept"), NULL]);
            applier.session.apply_rows(log.0.records()).await.unwrap();
            assert_eq!(applier.session.apply_net(misfit).await.unwrap(), Applied::Clashed, "{misfit:?}");
            assert_eq!(applier.session.apply_net(misfit).await.unwrap(), Applied::Clashed, "{misfit:?}");
            let good = net(&[&[t("8")]], vec![], &[]);
            assert_eq!(applier.session.apply_net(&good).await.unwrap(), Applied::Done);
            assert_eq!(applier.session.apply_net(&good).await.unwrap(), Applied::Clashed);
            applier.session.commit().await.unwrap();
        }
    });
    assert_eq!(all(&to), before);
}

#[test]
fn s_06_unique_values_that_are_exchanged_go_in_order_instead() {
    let server = need_server!();
    let to = server.database("exchange");
    to.execute(ITEMS);
    to.execute("INSERT INTO items VALUES (1, 'a', 1), (2, 'b', 2)");
    run(async {
        let mut applier = Applier::new(&to.url(), &[items()]).await;
        let mut log = Log::default();
        log.update(0, &[], &[t("1"), t("-"), t("1")]).update(0, &[], &[t("2"), t("a"), t("2")]);
        log.update(0, &[], &[t("1"), t("b"), t("1")]);
        let folded = net(
            &[],
            vec![updates(&[1, 2], &[&[t("1")], &[t("2")]], &[&[t("b"), t("1")], &[t("a"), t("2")]])],
            &[],
        );
        applier.session.begin().await.unwrap();
        assert_eq!(applier.session.apply_net(&folded).await.unwrap(), Applied::Clashed);
        applier.session.apply_rows(log.0.records()).await.unwrap();
        applier.session.commit().await.unwrap();
    });
    assert_eq!(all(&to), "(1,b,1) (2,a,2)");
}

#[test]
fn p_02_large_sets_are_cut_and_none_of_their_rows_is_lost() {
    let server = need_server!();
    let to = server.database("large");
    to.execute(ITEMS);
    const ROWS: usize = 25_000;
    let keys: Vec<String> = (0..ROWS).map(|i| i.to_string()).collect();
    let words: Vec<String> = (0..ROWS).map(|i| format!("{i} {}", "w".repeat(i % 300))).collect();
    let others: Vec<String> = words.iter().rev().map(|word| format!("new {word}")).collect();
    run(async {
        let mut applier = Applier::new(&to.url(), &[items()]).await;
        let inserts: Vec<[Datum<'_>; 3]> =
            (0..ROWS).map(|i| [t(&keys[i]), t(&words[i]), t(&keys[i])]).collect();
        let inserts: Vec<&[Datum<'_>]> = inserts.iter().map(|row| row.as_slice()).collect();
        assert_eq!(applier.net(&net(&[], vec![], &inserts)).await.unwrap(), Applied::Done);
        let ids: Vec<[Datum<'_>; 1]> = keys.iter().map(|key| [t(key)]).collect();
        let ids: Vec<&[Datum<'_>]> = ids.iter().map(|id| id.as_slice()).collect();
        let values: Vec<[Datum<'_>; 2]> = others.iter().map(|word| [t(word), NULL]).collect();
        let values: Vec<&[Datum<'_>]> = values.iter().map(|row| row.as_slice()).collect();
        let (gone, kept) = ids.split_at(ROWS / 2);
        let changed = updates(&[1, 2], kept, &values[..kept.len()]);
        assert_eq!(applier.net(&net(gone, vec![changed], &[])).await.unwrap(), Applied::Done);
    });
    let wrong = "SELECT count(*) || ' ' || count(*) FILTER (WHERE more IS NOT NULL \
         OR code <> 'new ' || (37499 - id) || ' ' || repeat('w', ((37499 - id) % 300)::int)) FROM items";
    assert_eq!(to.value(wrong), "12500 0");
}

#[test]
fn s_13_s_16_sets_into_identity_always_partitions_and_parents() {
    let server = need_server!();
    let to = server.database("kinds");
    to.execute(
        "CREATE TABLE items (id bigint GENERATED ALWAYS AS IDENTITY, code text, more int, \
         twice int GENERATED ALWAYS AS (more * 2) STORED, PRIMARY KEY (id)) PARTITION BY RANGE (id); \
         CREATE TABLE low PARTITION OF items FOR VALUES FROM (0) TO (100); \
         CREATE TABLE high PARTITION OF items DEFAULT; \
         CREATE TABLE top (id int PRIMARY KEY); CREATE TABLE heir () INHERITS (top); \
         INSERT INTO top VALUES (1); INSERT INTO heir VALUES (1), (2)",
    );
    run(async {
        let top = keyed(table_of("top", &[("id", "integer")]));
        let mut applier = Applier::new(&to.url(), &[items(), top]).await;
        for many in [1, 100] {
            let keys: Vec<String> = (0..many).map(|i| (i * 3 + many * 1000).to_string()).collect();
            let rows: Vec<[Datum<'_>; 3]> = keys.iter().map(|key| [t(key), t("x"), t("4")]).collect();
            let rows: Vec<&[Datum<'_>]> = rows.iter().map(|row| row.as_slice()).collect();
            assert_eq!(applier.net(&net(&[], vec![], &rows)).await.unwrap(), Applied::Done);
            let changed = updates(&[2], &[&[t(&keys[0])]], &[&[t("5")]]);
            assert_eq!(applier.net(&net(&[], vec![changed], &[])).await.unwrap(), Applied::Done);
        }
        let of_top = |key: &'static str| {
            let deletes = rows_of(1, &[&[t(key)]]);
            Net { tables: vec![NetTable { table: 1, deletes, inserts: Rows::new(1), updates: vec![] }] }
        };
        assert_eq!(applier.net(&of_top("1")).await.unwrap(), Applied::Done);
        assert_eq!(applier.net(&of_top("2")).await.unwrap(), Applied::Clashed);
    });
    assert_eq!(to.value("SELECT count(*) || ' ' || sum(twice) FROM items"), "101 812");
    assert_eq!(to.value("SELECT count(*) FROM top"), "2");
}

#[test]
fn s_09_children_and_parents_of_one_set_where_foreign_keys_act() {
    let server = need_server!();
    let to = server.database("family");
    to.execute(
        "CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents); \
         INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1, 1)",
    );
    let url = plain_role(&to);
    run(async {
        let parents = keyed(table_of("parents", &[("id", "integer")]));
        let children = keyed(table_of("children", &[("id", "integer"), ("parent", "integer")]));
        let mut applier = Applier::new(&url, &[parents, children]).await;
        let one = rows_of(1, &[&[t("1")]]);
        let two = rows_of(1, &[&[t("2")]]);
        let child = rows_of(2, &[&[t("2"), t("2")]]);
        let family = Net {
            tables: vec![
                NetTable { table: 0, deletes: one.clone(), updates: vec![], inserts: two },
                NetTable { table: 1, deletes: one, updates: vec![], inserts: child },
            ],
        };
        assert_eq!(applier.net(&family).await.unwrap(), Applied::Done);
    });
    assert_eq!(to.value("SELECT string_agg(c::text, ' ') FROM children c"), "(2,2)");
}
