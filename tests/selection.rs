//! A plan laid over a catalog, by the ids of the contract's section 4.1: which tables come, how,
//! and what is said about names that are not there. No database is opened.

use towpath::catalog::{
    Catalog, Column, ForeignKey, IndexPart, Key, KeyKind, Name, OtherObject, Partition, Table, TableKind,
    Type,
};
use towpath::engine::postgres::dialect::DIALECT;
use towpath::plan::{Indexes, Plan, Problem, Selection, Variables, resolve, select};

use crate::support::thread_time;

fn column(name: &str) -> Column {
    Column {
        name: name.into(),
        ty: Type::Text,
        native: "text".into(),
        not_null: false,
        default: None,
        generated: None,
        identity: None,
        collation: None,
        storage: None,
        compression: None,
        unchecked_text: false,
        inherited: false,
        portable: true,
        stamped: false,
        comment: None,
    }
}

fn table(name: &str, columns: &[&str]) -> Table {
    let name = match name.split_once('.') {
        Some((schema, name)) => Name::new(schema, name),
        None => Name::new("public", name),
    };
    let part = IndexPart { column: Some("id".into()), ..IndexPart::default() };
    let primary = Key {
        name: "pk".into(),
        kind: KeyKind::Primary,
        parts: vec![part],
        include: Vec::new(),
        nulls_not_distinct: false,
        deferrable: false,
        initially_deferred: false,
        method: String::new(),
        predicate: None,
        options: Vec::new(),
        parent: None,
        clustered: false,
        comment: None,
        bytes: 0,
    };
    let columns = columns.iter().map(|name| column(name)).collect();
    Table { name, columns, keys: vec![primary], ..Table::default() }
}

fn refers(mut child: Table, column: &str, parent: &str) -> Table {
    child.foreign_keys.push(ForeignKey {
        name: "fk".into(),
        columns: vec![column.into()],
        parent: Name::new("public", parent),
        parent_columns: vec!["id".into()],
        on_delete: Default::default(),
        on_update: Default::default(),
        set_columns: Vec::new(),
        matching: Default::default(),
        deferrable: false,
        initially_deferred: false,
        validated: true,
        comment: None,
    });
    child
}

fn partitioned() -> Vec<Table> {
    let root = Table {
        kind: TableKind::Partitioned { by: "RANGE (id)".into(), of: None },
        ..table("events", &["id", "note"])
    };
    let leaf = |name: &str| Table {
        kind: TableKind::Leaf(Partition { parent: root.name.clone(), bound: "DEFAULT".into() }),
        ..table(name, &["id", "note"])
    };
    vec![leaf("events_1"), leaf("events_2"), root.clone()]
}

/// users, orders (refers to users), tmp_a, tmp_log, app_log, "Odd.Name", billing.invoices, and a view.
fn catalog() -> Catalog {
    let mut tables = vec![
        table("users", &["id", "email", "shipped_at", "Upper"]),
        refers(table("orders", &["id", "user_id", "total"]), "user_id", "users"),
        table("tmp_a", &["id"]),
        table("tmp_log", &["id"]),
        table("app_log", &["id"]),
        table("Odd", &["id"]),
        table("billing.invoices", &["id", "total"]),
    ];
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    Catalog {
        engine: "postgres".into(),
        default_schema: "public".into(),
        tables,
        others: vec![OtherObject { kind: "view".into(), name: Name::new("public", "totals"), table: None }],
        ..Catalog::default()
    }
}

fn plan(rest: &str) -> Plan {
    let text = format!("version: 1\nname: x\nsource: {{ url: a }}\ntarget: {{ url: b }}\n{rest}");
    match resolve("p", text.as_bytes(), &Variables::new()) {
        Ok((plan, _)) => plan,
        Err(problems) => panic!("{problems:?}"),
    }
}

fn over(catalog: &Catalog, rest: &str) -> Result<Selection, Vec<Problem>> {
    select(&plan(rest), catalog, &DIALECT)
}

fn chosen(rest: &str) -> Selection {
    over(&catalog(), rest).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn names(selection: &Selection) -> Vec<String> {
    selection.tables.iter().map(|intent| intent.source.to_string()).collect()
}

fn refused(rest: &str) -> Vec<Problem> {
    over(&catalog(), rest).expect_err(rest)
}

fn only(rest: &str) -> Problem {
    let mut problems = refused(rest);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[test]
fn the_narrowest_pattern_decides_and_the_rest_is_listed() {
    let selection = chosen(
        "defaults: { indexes: none }\n\
         tables: { \"*\": {}, \"tmp_*\": skip, tmp_log: { indexes: before_load }, Odd: skip }",
    );
    assert_eq!(names(&selection), ["public.app_log", "public.orders", "public.tmp_log", "public.users"]);
    assert_eq!(selection.tables[2].policy.indexes, Indexes::BeforeLoad);
    assert_eq!(selection.tables[0].policy.indexes, Indexes::None);
    let skipped: Vec<_> =
        selection.skipped.iter().map(|(name, by)| (name.to_string(), by.as_deref())).collect();
    assert_eq!(
        skipped,
        [
            ("billing.invoices".to_string(), None),
            ("public.Odd".to_string(), Some("Odd")),
            ("public.tmp_a".to_string(), Some("tmp_*")),
        ]
    );
}

#[test]
fn names_move_with_the_target_schema_and_to() {
    let text = "tables: { \"*\": {}, \"*.*\": {}, users: { to: accounts }, tmp_a: { to: \"\\\"Other\\\".\\\"T.1\\\"\" } }";
    let text = text.to_string();
    let plan_text =
        format!("version: 1\nname: x\nsource: {{ url: a }}\ntarget: {{ url: b, schema: app }}\n{text}");
    let (plan, _) = resolve("p", plan_text.as_bytes(), &Variables::new()).expect("a plan");
    let selection = select(&plan, &catalog(), &DIALECT).expect("a selection");
    let target = |name: &str| {
        let intent = selection.tables.iter().find(|intent| intent.source.to_string() == name);
        intent.map(|intent| intent.target.clone())
    };
    assert_eq!(target("public.users"), Some(Name::new("app", "accounts")));
    assert_eq!(target("public.orders"), Some(Name::new("app", "orders")));
    assert_eq!(target("public.tmp_a"), Some(Name::new("Other", "T.1")));
    assert_eq!(target("billing.invoices"), Some(Name::new("billing", "invoices")));
}

#[test]
fn y_17_two_patterns_that_disagree_are_e120() {
    let problem = only("tables: { \"*\": {}, \"tmp_*\": skip, \"*_log\": { indexes: none } }");
    assert_eq!(problem.code, "E120");
    assert!(problem.message.contains("public.tmp_log"), "{problem:?}");
    assert_eq!(only("tables: { \"*\": {}, users: {}, public.users: { indexes: none } }").code, "E120");
    // Agreement is no conflict, and the table's own entry ends one.
    chosen("tables: { \"*\": {}, \"tmp_*\": skip, \"*_log\": skip }");
    chosen("tables: { \"*\": {}, \"tmp_*\": skip, \"*_log\": { indexes: none }, tmp_log: {} }");
}

#[test]
fn y_18_a_pattern_without_effect_is_said() {
    let problem = only("tables: { \"*\": {}, usres: skip }");
    assert_eq!((problem.code.as_str(), problem.help.as_deref()), ("E121", Some("did you mean users?")));
    let problem = only("tables: { \"*\": {}, odd: skip }");
    assert_eq!(problem.help.as_deref(), Some("did you mean Odd?"));
    let problem = only("tables: { \"*\": {}, invoices: skip }");
    assert_eq!(problem.help.as_deref(), Some("did you mean billing.invoices?"));
    let problem = only("tables: { \"*\": {}, totals: skip }");
    assert!(problem.notes[0].contains("view"), "{problem:?}");
    assert_eq!(only("tables: { \"*\": {}, \"zzz_*\": skip }").code, "E121");
    assert_eq!(only("tables: { \"*\": {}, \"tmp_?\": skip, tmp_a: {} }").code, "E122");
    // A star that is wholly overruled is no mistake.
    chosen("tables: { \"*\": {}, \"?*\": skip }");
}

#[test]
fn y_18_an_empty_source_is_said() {
    let problems = over(&Catalog::default(), "tables: { \"*\": {} }").expect_err("nothing there");
    assert!(problems[0].help.as_deref().is_some_and(|help| help.contains("no tables")));
}

#[test]
fn y_19_columns_that_are_not_there_are_e123_with_the_nearest() {
    let problem = only("tables: { \"*\": {}, users: { columns: { shiped_at: { type: timestamptz } } } }");
    assert_eq!((problem.code.as_str(), problem.help.as_deref()), ("E123", Some("did you mean shipped_at?")));
    assert!(problem.notes[0].contains("id, email, shipped_at, Upper"));
    let problem = only("tables: { \"*\": {}, users: { columns: { upper: skip } } }");
    assert_eq!(problem.help.as_deref(), Some("did you mean Upper?"));
    // Under a pattern one table with the column is enough.
    let selection = chosen("tables: { \"*\": { columns: { total: { to: sum } } } }");
    let with: Vec<_> = selection.tables.iter().filter(|intent| !intent.columns.is_empty()).collect();
    assert_eq!(with.len(), 1);
    assert_eq!(only("tables: { \"*\": { columns: { nowhere: skip } } }").code, "E123");
}

#[test]
fn y_19_places_of_acceptances_must_exist() {
    let accept = |hazard: &str, at: &str| {
        over(
            &catalog(),
            &format!("tables: {{ \"*\": {{}} }}\naccept:\n  - {{ hazard: {hazard}, at: {at}, reason: x }}"),
        )
    };
    for (hazard, at) in [
        ("D105", "users.email"),
        ("D105", "public.users.email"),
        ("K302", "users"),
        ("K302", "public.users"),
        ("I402", "users.some_index"),
        ("D102", "billing.invoices"),
        ("S602", "some_sequence"),
        ("D105", "'usres.*'"),
    ] {
        accept(hazard, at).unwrap_or_else(|problems| panic!("{at}: {problems:?}"));
    }
    for (hazard, at, near) in [
        ("D105", "users.emial", "did you mean email?"),
        ("K302", "usres", "did you mean users?"),
        ("D105", "usres.email", "did you mean users?"),
    ] {
        let problems = accept(hazard, at).expect_err(at);
        assert_eq!((problems[0].code.as_str(), problems[0].help.as_deref()), ("E123", Some(near)), "{at}");
    }
}

#[test]
fn y_20_one_name_for_two_is_e124() {
    assert_eq!(only("tables: { \"*\": {}, users: { to: orders } }").code, "E124");
    assert_eq!(only("tables: { \"*\": {}, users: { to: x }, Odd: { to: public.x } }").code, "E124");
    assert_eq!(only("tables: { \"*\": {}, users: { columns: { email: { to: id } } } }").code, "E124");
    let both = "tables: { \"*\": {}, users: { columns: { email: { to: a }, Upper: { to: a } } } }";
    assert_eq!(only(both).code, "E124");
    // A swap is none, and a skipped column leaves its name free.
    chosen("tables: { \"*\": {}, users: { to: orders }, orders: { to: users } }");
    chosen("tables: { \"*\": {}, users: { columns: { email: { to: id }, id: { to: email } } } }");
    chosen("tables: { \"*\": {}, users: { columns: { email: { to: Upper }, Upper: skip } } }");
}

#[test]
fn y_22_a_child_without_its_parent_is_e126() {
    let problem = only("tables: { \"*\": {}, users: skip }");
    assert_eq!(problem.code, "E126");
    assert!(problem.message.contains("public.orders") && problem.message.contains("public.users"));
    chosen("tables: { \"*\": {}, users: skip, orders: { keys: [primary, unique] } }");
    chosen("tables: { \"*\": {}, users: skip, orders: { columns: { user_id: skip } } }");
    chosen("tables: { \"*\": {}, users: skip, orders: skip }");
}

#[test]
fn y_25_a_foreign_key_needs_the_key_it_refers_to() {
    let problem = only("tables: { \"*\": {}, users: { keys: [unique] } }");
    assert_eq!(problem.code, "E129");
    chosen("defaults: { keys: [primary] }\ntables: { \"*\": {} }");
    chosen("tables: { \"*\": {}, users: { keys: [], create: false } }");
}

#[test]
fn y_23_where_is_one_condition_or_e127() {
    for bad in [
        "a = 1; drop table users",
        "a = 1 -- rest",
        "a = 1 /* x */",
        "a = 'x",
        "a = (1",
        "a = 1)",
        "id in (select id from orders)",
        "a, b",
        "",
    ] {
        if bad.is_empty() {
            continue;
        }
        let yaml = bad.replace('"', "\\\"");
        let problem = only(&format!("tables: {{ \"*\": {{}}, users: {{ where: \"{yaml}\" }} }}"));
        assert_eq!(problem.code, "E127", "{bad}");
    }
    let selection = chosen("tables: { \"*\": {}, users: { where: \"email like 'a;--%' and id > 5\" } }");
    let users = selection.tables.iter().find(|intent| intent.source.name == "users").expect("users");
    assert_eq!(users.filter.as_deref(), Some("email like 'a;--%' and id > 5"));
}

#[test]
fn partitions_go_where_their_root_goes() {
    let parts = Catalog { tables: partitioned(), default_schema: "public".into(), ..Catalog::default() };
    let run = |rest: &str| over(&parts, rest);
    let all = ["public.events", "public.events_1", "public.events_2"];
    let root_only =
        run("tables: { events: { where: \"id > 1\", columns: { note: { to: remark } }, to: log } }")
            .expect("a selection");
    assert_eq!(names(&root_only), all);
    for intent in &root_only.tables {
        assert_eq!(intent.filter.as_deref(), Some("id > 1"));
        assert_eq!(intent.columns.len(), 1);
    }
    assert_eq!(root_only.tables[0].target.name, "log");
    assert_eq!(root_only.tables[1].target.name, "events_1");
    // The root's own entry also wins over a pattern that matches its parts.
    assert_eq!(names(&run("tables: { \"*\": {}, events: skip }").expect("nothing left")), [""; 0]);
    assert_eq!(
        names(&run("tables: { events: {}, events_1: skip }").expect("one part stays")),
        [all[0], all[2]]
    );
    assert_eq!(run("tables: { events: skip, events_1: {} }").expect_err("no root")[0].code, "E126");
    assert_eq!(run("tables: { events_1: {} }").expect_err("no root")[0].code, "E126");
    let own = run("tables: { events: {}, events_1: { columns: { note: skip } } }").expect_err("own columns");
    assert_eq!(own[0].code, "E129");
}

#[test]
fn thousands_of_tables_and_entries_are_matched_in_a_moment() {
    let tables: Vec<_> = (0..2_000).map(|at| table(&format!("t{at:04}"), &["id"])).collect();
    let many = Catalog { tables, default_schema: "public".into(), ..Catalog::default() };
    let entries: String = (0..2_000).map(|at| format!("  t{at:04}: {{ indexes: none }}\n")).collect();
    let start = thread_time();
    let selection = over(&many, &format!("tables:\n  \"*\": {{}}\n{entries}")).expect("a selection");
    assert_eq!(selection.tables.len(), 2_000);
    assert!((thread_time() - start).as_secs() < 10);
}
