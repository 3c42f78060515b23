//! Structure: what is there is read in few questions, and is spelled as it was read.

use towpath::catalog::{Catalog, Type};

use super::ends::{End, block_on, postgres_fixture, sqlite_fixture};
use crate::need_server;
use crate::support::proxy::{Proxy, Way};

fn all_fixtures() -> Vec<End> {
    let mut ends = Vec::new();
    for fixture in ["chinook_like", "sakila_like", "types"] {
        ends.extend(postgres_fixture(fixture));
        ends.push(sqlite_fixture(fixture));
    }
    ends
}

async fn inspect(end: &End) -> Catalog {
    end.source().await.inspect().await.unwrap()
}

/// What is spelled for a type is read as a type that is spelled the same: no widening in circles.
#[test]
fn p_05_spelling_a_type_is_stable() {
    for end in all_fixtures() {
        let catalog = block_on(inspect(&end));
        let dialect = end.engine.dialect();
        for column in catalog.tables.iter().flat_map(|table| &table.columns) {
            let Some(spelled) = dialect.spell_type(&column.ty) else {
                let own = matches!(
                    column.ty,
                    Type::Native { .. } | Type::Any | Type::Enum { .. } | Type::Array { .. }
                );
                assert!(own, "{}: {:?} cannot be spelled", column.name, column.ty);
                continue;
            };
            let again = dialect.spell_type(&dialect.parse_type(&spelled));
            let named = matches!(column.ty, Type::Enum { .. } | Type::Array { .. });
            assert!(named || again.as_ref() == Some(&spelled), "{spelled} is read and spelled {again:?}");
        }
    }
}

/// A structure survives being saved for review.
#[test]
fn a_catalog_is_read_back_as_it_was_saved() {
    for end in all_fixtures() {
        let catalog = block_on(inspect(&end));
        let json = serde_json::to_string(&catalog).unwrap();
        assert_eq!(serde_json::from_str::<Catalog>(&json).unwrap(), catalog);
    }
}

#[test]
fn inspecting_twice_sees_the_same() {
    for end in all_fixtures() {
        assert_eq!(block_on(inspect(&end)), block_on(inspect(&end)));
    }
}

/// Everything that is left behind is seen.
#[test]
fn u901_what_is_not_carried_is_listed() {
    let Some(end) = postgres_fixture("sakila_like") else { return };
    let catalog = block_on(inspect(&end));
    let kinds: Vec<&str> = catalog.others.iter().map(|other| other.kind.as_str()).collect();
    for kind in ["view", "materialized view", "function", "trigger", "policy"] {
        assert!(kinds.contains(&kind), "no {kind} among {kinds:?}");
    }
    let end = sqlite_fixture("sakila_like");
    let catalog = block_on(inspect(&end));
    let kinds: Vec<&str> = catalog.others.iter().map(|other| other.kind.as_str()).collect();
    for kind in ["view", "trigger"] {
        assert!(kinds.contains(&kind), "no {kind} among {kinds:?}");
    }
}

/// No question per table: a hundred tables more cost no byte more to ask.
#[test]
fn a_fixed_number_of_questions_however_many_tables() {
    let server = need_server!();
    let asked = |tables: u32| {
        let database = server.database("wide");
        database.execute(&format!(
            "DO $$ BEGIN FOR i IN 1..{tables} LOOP
               EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY, v text UNIQUE, p int REFERENCES t%s)', i, i);
             END LOOP; END $$"
        ));
        let proxy = Proxy::before(server.port);
        let through = database.through(proxy.port);
        let url = towpath::engine::Url::parse(&through.url()).unwrap();
        let end = End {
            engine: towpath::engine::engine(&url).unwrap(),
            url,
            sql: super::ends::Sql::Postgres(database),
        };
        let catalog = block_on(inspect(&end));
        assert_eq!(catalog.tables.len(), tables as usize);
        proxy.carried(Way::ToServer)
    };
    let (few, many) = (asked(2), asked(120));
    // Names of backends and random proofs of passwords differ by a few bytes.
    assert!(many < few + 200, "{few} bytes of questions for 2 tables, {many} for 120");
}
