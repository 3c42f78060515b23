//! The structure of a PostgreSQL database: what is read from one and made again in another is read
//! as the same, of every kind that is carried; what is not carried is listed.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use towpath::catalog::dialect::Inline;
use towpath::catalog::{Catalog, Dialect, Name, ReplicaIdentity, Table, Type, UserType};
use towpath::engine::EngineError;
use towpath::engine::postgres::dialect::DIALECT;
use towpath::engine::postgres::inspect;

use crate::need_server;
use crate::support::postgres::Database;
use crate::support::scenario::{EVERYTHING, Job};

fn with<T>(url: &str, work: impl AsyncFnOnce(&mut PgConnection, &mut PgConnection) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut first = PgConnection::connect(url).await.unwrap();
        let mut second = PgConnection::connect(url).await.unwrap();
        let out = work(&mut first, &mut second).await;
        first.close().await.unwrap();
        second.close().await.unwrap();
        out
    })
}

fn inspected(database: &Database) -> Catalog {
    with(&database.url(), async |first, second| inspect::inspect(first, second).await.unwrap())
}

/// Tables in an order in which parents come first.
fn ordered(catalog: &Catalog) -> Vec<&Table> {
    let mut done: Vec<&Name> = Vec::new();
    let mut rest: Vec<&Table> = catalog.tables.iter().collect();
    let mut order = Vec::new();
    while !rest.is_empty() {
        let (now, later): (Vec<_>, Vec<_>) = rest.into_iter().partition(|table| {
            let mut parents = table.inherits.iter().chain(table.partition().map(|of| &of.parent));
            parents.all(|parent| done.contains(&parent))
        });
        assert!(!now.is_empty(), "parents are missing");
        done.extend(now.iter().map(|table| &table.name));
        order.extend(now);
        rest = later;
    }
    order
}

/// Types in an order in which those that others name come first.
fn ordered_types(catalog: &Catalog) -> Vec<&UserType> {
    let mut rest: Vec<&UserType> = catalog.types.iter().collect();
    let mut order = Vec::new();
    while !rest.is_empty() {
        let names: Vec<String> = rest.iter().map(|of| DIALECT.quote_name(&of.name)).collect();
        let free = |user_type: &UserType| {
            let text = DIALECT.create_type(user_type).remove(0);
            let own = DIALECT.quote_name(&user_type.name);
            let named =
                |name: &&String| text.contains(&format!("{name} ")) || text.contains(&format!("{name})"));
            names.iter().filter(|name| **name != own).find(named).is_none()
        };
        let (now, later): (Vec<_>, Vec<_>) = rest.iter().partition(|user_type| free(user_type));
        assert!(!now.is_empty(), "types need each other");
        order.extend(now);
        rest = later;
    }
    order
}

fn every_statement(catalog: &Catalog) -> Vec<String> {
    let mut out = Vec::new();
    for schema in catalog.schemas.iter().filter(|schema| schema.name != "public") {
        out.extend(DIALECT.create_schema(schema));
    }
    for extension in catalog.extensions.iter().filter(|extension| extension.installed) {
        out.extend(DIALECT.create_extension(extension));
    }
    out.extend(ordered_types(catalog).into_iter().flat_map(|user_type| DIALECT.create_type(user_type)));
    let is_identity =
        |sequence: &&towpath::catalog::Sequence| sequence.owner.as_ref().is_some_and(|owner| owner.identity);
    let identity: Vec<_> = catalog.sequences.iter().filter(is_identity).collect();
    for sequence in catalog.sequences.iter().filter(|sequence| !is_identity(sequence)) {
        out.extend(DIALECT.create_sequence(sequence));
    }
    let tables = ordered(catalog);
    for table in &tables {
        out.extend(DIALECT.create_table(table, &identity, Inline::default()));
    }
    out.extend(catalog.sequences.iter().flat_map(|sequence| DIALECT.own_sequence(sequence)));
    for table in &tables {
        out.extend(table.keys.iter().flat_map(|key| DIALECT.add_key(table, key)));
        out.extend(table.indexes.iter().flat_map(|index| DIALECT.create_index(table, index)));
    }
    for table in &tables {
        for key in &table.foreign_keys {
            out.extend(DIALECT.add_foreign_key(table, key, false));
            out.extend(key.validated.then(|| DIALECT.validate_foreign_key(table, key)).into_iter().flatten());
        }
    }
    out
}

/// Paths at which two pictures differ; texts that mean the same by their form are equal.
fn differences(a: &Value, b: &Value, path: String, found: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let (a, b) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                differences(a, b, format!("{path}.{key}"), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                differences(a, b, format!("{path}[{at}]"), found);
            }
        }
        (Value::String(a), Value::String(b)) if DIALECT.same_expr(a, b) => {}
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{path}: {a} became {b}")),
    }
}

/// The picture without what is not carried and what is only estimated.
fn picture(mut catalog: Catalog) -> Value {
    catalog.place = towpath::catalog::Place::default();
    catalog.database.clear();
    catalog.others.clear();
    catalog.collations.clear();
    // It is there already, with the comment that the server gave it.
    catalog.schemas.retain(|schema| schema.name != "public");
    for table in &mut catalog.tables {
        (table.rows, table.bytes) = (0, 0);
        table.keys.iter_mut().for_each(|key| key.bytes = 0);
        table.indexes.iter_mut().for_each(|index| index.bytes = 0);
        // Of no use to a target; listed as left behind.
        table.replica_identity = ReplicaIdentity::default();
    }
    serde_json::to_value(&catalog).unwrap()
}

#[track_caller]
fn made_again_is_the_same(fixture: &'static str) {
    let server = need_server!();
    let (source, target) = (server.fixture(fixture), server.database("made_again"));
    let before = inspected(&source);
    with(&target.url(), async |connection, _| {
        for statement in every_statement(&before) {
            let ran = raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *connection).await;
            ran.unwrap_or_else(|error| panic!("{error}\n  {statement}"));
        }
    });
    let after = inspected(&target);
    let mut found = Vec::new();
    differences(&picture(before), &picture(after), String::new(), &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn s_34_structure_of_every_kind_is_made_again() {
    made_again_is_the_same("structure");
}

#[test]
fn s_34_the_other_fixtures_are_made_again() {
    made_again_is_the_same("chinook_like");
    made_again_is_the_same("sakila_like");
    made_again_is_the_same("types");
}

#[test]
fn u_901_what_is_not_carried_is_listed() {
    let server = need_server!();
    let catalog = inspected(&server.fixture("structure"));
    let listed: BTreeSet<(String, String)> =
        catalog.others.iter().map(|other| (other.kind.clone(), other.name.to_string())).collect();
    for (kind, name) in [
        ("view", "public.v"),
        ("materialized view", "public.mv"),
        ("function", "public.\"f(integer)\""),
        ("trigger", "public.tr"),
        ("rule", "public.ru"),
        ("policy", "public.po"),
        ("publication", "\"\".pub"),
        ("statistics", "public.st"),
        ("operator", "public.\"===\""),
        ("grant", "public.kid"),
        ("replica identity", "public.kid"),
        ("large objects", "\"\".1"),
        ("text search configuration", "public.words"),
    ] {
        assert!(listed.contains(&(kind.to_string(), name.to_string())), "{kind} {name} in {listed:?}");
    }
    assert_eq!(catalog.collations, [Name::new("public", "phone_book")]);
    let members =
        |name: &str| name.contains("gin_trgm") || name.contains("citext") || name.contains("hstore");
    assert!(!listed.iter().any(|(_, name)| members(name)), "members of extensions are not left behind");
}

/// The constructors of a range type come with it, and the cast to its multirange: nobody has to make
/// them by hand.
#[test]
fn u_901_what_comes_with_range_types_is_not_left_behind() {
    let server = need_server!();
    let catalog = inspected(&server.fixture("types"));
    assert!(catalog.types.iter().any(|known| known.name.name == "pg_30_floats"));
    let comes_along = |other: &&towpath::catalog::OtherObject| other.name.name.contains("pg_30_");
    assert_eq!(catalog.others.iter().filter(comes_along).collect::<Vec<_>>(), Vec::<&_>::new());
}

/// PostgreSQL 18: not-null constraints are objects, and temporal keys have classes from extensions. What
/// children do not inherit they need not keep.
#[test]
fn u_901_constraints_of_newer_servers_are_carried_or_listed() {
    let server = need_server!();
    let (source, target) = (server.database("newer"), server.database("target"));
    if source.value("SHOW server_version_num").parse::<u32>().unwrap() < 180_000 {
        return;
    }
    source.execute(
        "CREATE EXTENSION btree_gist;
         CREATE TABLE parent (a int CONSTRAINT called NOT NULL, b int NOT NULL NO INHERIT, c int, d int NOT NULL);
         COMMENT ON CONSTRAINT parent_d_not_null ON parent IS 'why';
         ALTER TABLE parent ADD CONSTRAINT later NOT NULL c NOT VALID;
         CREATE TABLE child () INHERITS (parent); INSERT INTO child VALUES (1, NULL, 1, 1);
         CREATE TABLE alone (a int NOT NULL NO INHERIT);
         CREATE TABLE rooms (id int, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
         CREATE TABLE stays (id int PRIMARY KEY, room int, during daterange,
           CONSTRAINT away FOREIGN KEY (room, PERIOD during) REFERENCES rooms (id, PERIOD during));
         CREATE TABLE lax (id int PRIMARY KEY, v int CONSTRAINT unkept CHECK (v > 0) NOT ENFORCED,
           twice int GENERATED ALWAYS AS (v * 2) VIRTUAL);
         INSERT INTO lax VALUES (1, -1); INSERT INTO rooms VALUES (1, '[2024-01-01,2024-02-01)')",
    );
    let catalog = inspected(&source);
    let listed: Vec<(&str, &str)> =
        catalog.others.iter().map(|other| (other.kind.as_str(), other.name.name.as_str())).collect();
    let expected = [
        ("check constraint that is not enforced", "unkept"),
        ("foreign key with a period", "away"),
        ("named not-null constraint", "called"),
        ("named not-null constraint", "later"),
        ("named not-null constraint", "parent_d_not_null"),
        ("not-null constraint that children do not inherit", "a"),
        ("not-null constraint that children do not inherit", "b"),
        ("not-null constraint that is not valid", "c"),
    ];
    assert_eq!(listed, expected);
    let accepted = "\naccept: [{ hazard: K302, reason: \"loaded once\" }]\n";
    Job::new(&source.url(), &target.url(), &format!("{EVERYTHING}{accepted}")).move_all();
    assert_eq!(target.value("SELECT twice::text FROM lax"), "-2");
    let overlaps = target.session().try_execute("INSERT INTO rooms VALUES (1, '[2024-01-10,2024-01-11)')");
    assert!(overlaps.unwrap_err().to_string().contains("rooms_pkey"));
}

/// A default that calls a function of a user cannot be made where that function is not.
#[test]
fn u_901_a_function_that_a_table_needs_stops_the_plan() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    let function = "CREATE FUNCTION public.next_code(a int, b text DEFAULT 'x') RETURNS text \
                    LANGUAGE sql AS $$ SELECT b || a $$;";
    source.execute(function);
    source.execute("CREATE TABLE t (id int PRIMARY KEY, code text DEFAULT public.next_code(1))");
    let job = Job::new(&source.url(), &target.url(), EVERYTHING);
    job.run(&["plan"]).expect(3).says("E207").says("public.next_code");
    target.execute(function);
    job.move_all();
}

/// A role called as our state's schema has that schema first in its search path. Its own tables
/// there are carried like any others, and are never taken for the state.
#[test]
fn i_06_a_role_named_towpath_and_its_own_schema() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    let theirs = "CREATE SCHEMA towpath AUTHORIZATION towpath; SET search_path = \"$user\", public;
         CREATE TABLE note (id int PRIMARY KEY, words text); INSERT INTO note VALUES (1, 'mine');
         CREATE TABLE public.t (id int PRIMARY KEY); INSERT INTO public.t VALUES (1), (2);";
    source.execute(theirs);
    target.execute(
        "CREATE SCHEMA towpath AUTHORIZATION towpath; SET search_path = \"$user\", public;
         CREATE TABLE note (id int PRIMARY KEY, words text); INSERT INTO note VALUES (7, 'theirs');",
    );
    assert_eq!(crate::support::postgres::USER, "towpath");
    let everything = "tables: { \"*.*\": {} }\n";
    let job = Job::new(&source.url(), &target.url(), everything);
    job.run(&["plan"]).says("E144").says("towpath");
    job.write_plan("tables: { \"t\": {}, \"towpath.note\": { to: public.note } }\n");
    job.run(&["status"]).expect(0).says("not begun");
    job.move_all();
    assert_eq!(target.value("SELECT words FROM public.note"), "mine");
    assert_eq!(target.value("SELECT words FROM towpath.note"), "theirs");
    // The target is a source like any other: its state stays, the tables beside it come along.
    let third = server.database("third");
    let job =
        Job::new(&target.url(), &third.url(), "tables: { \"*\": {}, \"towpath.note\": { to: app.note } }\n");
    let shown = job.run(&["plan"]).expect(0);
    assert!(shown.stdout.contains("app.note") && !shown.stdout.contains("towpath.step"), "{shown}");
}

#[test]
fn pg_25_to_37_only_types_that_travel_are_portable() {
    let server = need_server!();
    let catalog = inspected(&server.fixture("structure"));
    let table = catalog.table(&Name::new("public", "everything")).unwrap();
    let is_portable = |name: &str| table.column(name).unwrap().portable;
    for name in ["id", "n2", "t", "ba", "u", "jb", "ai", "at", "md", "p2", "em", "i4", "im", "ci", "bt", "o"]
    {
        assert!(is_portable(name), "{name}");
    }
    for name in ["m", "x", "mda", "pr", "fr", "rc", "hs", "lt"] {
        assert!(!is_portable(name), "{name}");
    }
    let ty = |name: &str| table.column(name).unwrap().ty.clone();
    let labels = ["ok", "it's", "a,b", "new\nline", ""].map(str::to_string).to_vec();
    assert_eq!(ty("md"), Type::Enum { name: Some(Name::new("public", "mood")), labels });
    assert_eq!(ty("p2"), Type::Int { bits: 32 }, "a domain over a domain is its base");
    assert_eq!(ty("vca"), Type::Array { of: Box::new(Type::VarChar { length: 5 }) });
    let serial = table.column("ser").unwrap().default.as_ref().unwrap();
    assert_eq!(serial.sequence, Some(Name::new("public", "everything_ser_seq")));
}

/// A role that may log in and nothing else, and the URL with it.
fn role(database: &Database, name: &str) -> String {
    database.execute(&format!(
        "drop role if exists {name}; create role {name} login password '{}'",
        crate::support::postgres::PASSWORD
    ));
    database.url().replacen(crate::support::postgres::USER, name, 1)
}

#[test]
fn p_802_missing_privileges_come_with_their_grants() {
    let server = need_server!();
    let database = server.database("denied");
    database.execute(
        "create schema \"S\"; create table \"S\".t (a serial); create table part (a int, b int); create table all_of (a int)",
    );
    let url = role(&database, "reader_of_some");
    database
        .execute("grant select (a) on part to reader_of_some; grant select (a) on all_of to reader_of_some");
    let denied = |url: &str| -> Vec<String> {
        let catalog = with(url, async |first, second| inspect::inspect(first, second).await.unwrap());
        catalog.denied.into_iter().map(|denied| denied.grant).collect()
    };
    let grants = denied(&url);
    assert_eq!(
        grants,
        [
            "GRANT SELECT ON TABLE \"S\".t TO reader_of_some",
            "GRANT USAGE ON SCHEMA \"S\" TO reader_of_some",
            "GRANT SELECT ON SEQUENCE \"S\".t_a_seq TO reader_of_some",
            "GRANT USAGE ON SCHEMA \"S\" TO reader_of_some",
            "GRANT SELECT ON TABLE public.part TO reader_of_some",
        ]
    );
    database.execute(&grants.join(";"));
    assert_eq!(denied(&url), Vec::<String>::new(), "the grants are what was missing");
    assert_eq!(denied(&database.url()), Vec::<String>::new());
    database.execute("drop owned by reader_of_some; drop role reader_of_some");
}

#[test]
fn p_801_rows_hidden_by_policies_are_told() {
    let server = need_server!();
    let database = server.database("hidden");
    database.execute(
        "create table t (a int); alter table t enable row level security; create policy few on t using (a > 1)",
    );
    let url = role(&database, "reader_of_few");
    database.execute("grant select on t to reader_of_few");
    let hidden = |url: &str| {
        let catalog = with(url, async |first, second| inspect::inspect(first, second).await.unwrap());
        catalog.tables[0].hidden_rows.clone()
    };
    assert!(hidden(&url).unwrap().contains("few"));
    assert_eq!(hidden(&database.url()), None, "the owner sees all");
    database.execute("drop owned by reader_of_few; drop role reader_of_few");
}

#[test]
fn u_14_the_place_is_the_databases_own() {
    let server = need_server!();
    let (one, other) = (server.database("place"), server.database("place"));
    let place = |url: &str| with(url, async |connection, _| inspect::place(connection).await.unwrap());
    assert_eq!(place(&one.url()), place(&one.url().replace("127.0.0.1", "localhost")));
    assert_ne!(place(&one.url()), place(&other.url()));
    assert_eq!(place(&one.url()).kind, "pg-system-identifier");
    // Where the provider takes the number away, another way is found, without an error.
    let url = role(&one, "without_number");
    one.execute("revoke execute on function pg_control_system() from public");
    assert_eq!(place(&url).kind, "pg-database-facts");
    assert_eq!(inspected(&one).place.kind, "pg-system-identifier");
    one.execute("grant execute on function pg_control_system() to public; drop role without_number");
}

#[test]
fn objects_of_users_do_not_stand_in_for_those_of_the_server() {
    let server = need_server!();
    let database = server.database("trap");
    // Functions and operators that would be preferred, were their schema searched.
    database.execute(
        "create table t (a int primary key);
         create function public.pg_get_expr(pg_node_tree, oid) returns text language sql as 'select ''trap''';
         create function public.raise_it(name, text) returns boolean language plpgsql as
           'begin raise exception ''trap''; end';
         create operator public.<> (leftarg = name, rightarg = text, function = public.raise_it);",
    );
    let database_name = &database.name;
    database.execute(&format!("alter database {database_name} set search_path = public, pg_catalog"));
    let catalog = inspected(&database);
    assert_eq!(catalog.tables.len(), 1);
}

#[test]
fn the_session_is_left_as_it_was() {
    let server = need_server!();
    let database = server.database("clean");
    let path = with(&database.url(), async |first, second| -> Result<Vec<String>, EngineError> {
        let mut seen = Vec::new();
        for _ in 0..2 {
            inspect::inspect(first, second).await?;
            let settings = "select concat_ws(' ', current_setting('search_path'), \
                            current_setting('transaction_read_only'), current_setting('transaction_isolation'))";
            for session in [&mut *first, &mut *second] {
                let row: (String,) = sqlx::query_as(settings).fetch_one(session).await.unwrap();
                seen.push(row.0);
            }
        }
        Ok(seen)
    });
    let clean = "\"$user\", public off read committed";
    assert_eq!(path.unwrap(), [clean; 4], "no transaction and no setting is left behind");
}
