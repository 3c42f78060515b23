//! A hand-made graph for the tests of the renderers: two tables, a rename, hazards of each
//! standing, names that try to break out of every format.

use std::sync::Arc;

use crate::catalog::probe::Measured;
use crate::catalog::{ColumnMap, Form, Name, Place, Projection, Type};
use crate::change::{Followed, Identity};
use crate::diff::difference::{Change, Difference};
use crate::diff::hazard::{Hazard, Level, Standing};
use crate::diff::{LeftBehind, id};
use crate::graph::{Action, CatchUpTo, EndFacts, Estimate, Graph, Phase, Step, Stream, TableCard};
use crate::plan::Mode;

pub fn graph() -> Graph {
    Graph {
        name: "shop-to-pg17".into(),
        source: end("15.6", "shop"),
        target: end("17.2", "shop"),
        steps: steps(),
        tables: vec![accounts(), orders()],
        hazards: hazards(),
        probes: Vec::new(),
        left_behind: vec![
            left("view", "recent", "not carried yet"),
            left("view", "totals", "not carried yet"),
            left("table", "tmp_a", "skipped by \"tmp_*\""),
        ],
        stream: None,
        back: None,
    }
}

/// The graph with the changes of one of its tables followed.
pub fn followed() -> Graph {
    let mut graph = graph();
    graph.hazards.clear();
    graph.tables[0].changes = Some("by id".into());
    let table = Followed {
        projection: projection("users", "accounts"),
        identity: Identity::Columns(vec![0]),
        skipped: Vec::new(),
    };
    graph.stream =
        Some(Stream { tables: vec![table], mode: Mode::Batch, sequences: Vec::new(), there: false });
    let hash = || "sha256:00".to_string();
    let mut open = sql(id::OPEN, Phase::Capture, &[], 0.005, "");
    open.action = Action::OpenCapture { followed: hash() };
    graph.steps.insert(2, open);
    for (id, phase, to) in
        [(id::CONSISTENT, Phase::Key, CatchUpTo::Consistent), (id::SYNCED, Phase::Sync, CatchUpTo::Head)]
    {
        let mut step = sql(id, phase, &["app.orders/copy"], 0.005, "");
        step.action = Action::CatchUp { followed: hash(), to };
        graph.steps.push(step);
    }
    graph
}

/// A graph whose every name and text tries to break the format it is shown in.
pub fn hostile() -> Graph {
    let evil = "x\u{1b}[2J|`</details>\n\"]; DROP -- \u{202e}";
    let mut graph = graph();
    graph.name = evil.into();
    graph.tables[0].source = Name::new("public", evil);
    graph.tables[0].filter = Some(evil.into());
    graph.tables[0].indexes.push(evil.into());
    graph.tables[0].differences.push(Difference {
        kind: Change::Retyped,
        what: evil.into(),
        before: evil.into(),
        after: evil.into(),
        note: Some(evil.into()),
    });
    graph.hazards.push(Hazard {
        what: evil.into(),
        ways: vec![evil.into()],
        ..hazard("V215", Level::Block, evil)
    });
    graph.left_behind.push(left("view", evil, evil));
    let name = Name::new("app", evil);
    let mut step = sql(&format!("{name}/create"), Phase::Schema, &[], 1.0, "create table x ()");
    step.table = Some(name);
    graph.steps.push(step);
    graph
}

pub fn hazard(code: &str, level: Level, at: &str) -> Hazard {
    Hazard {
        code: code.into(),
        level,
        at: at.into(),
        what: "something was found".into(),
        rows: Some(4_102),
        measured: Measured::Exact,
        ways: Vec::new(),
        state: Standing::Open,
    }
}

fn hazards() -> Vec<Hazard> {
    vec![
        Hazard {
            what: "values left behind".into(),
            state: Standing::Accepted {
                reason: "unused since 2021".into(),
                max_rows: Some(5_000),
                until: Some("2026-12-31".into()),
                line: 46,
            },
            ..hazard("D105", Level::Block, "users.legacy_flags")
        },
        Hazard { what: "rows outside the filter".into(), ..hazard("D104", Level::Note, "orders") },
        Hazard {
            what: "dates that do not exist".into(),
            rows: Some(1_204),
            ways: vec!["columns: { paid_at: { type: text } }".into()],
            ..hazard("V202", Level::Block, "orders.paid_at")
        },
    ]
}

fn left(kind: &str, name: &str, why: &str) -> LeftBehind {
    LeftBehind { kind: kind.into(), name: Name::new("public", name), why: why.into() }
}

fn end(version: &str, database: &str) -> EndFacts {
    EndFacts {
        engine: "postgres".into(),
        version: version.into(),
        database: database.into(),
        place: Place { kind: "pg-system-identifier".into(), hash: format!("sha256:{version}") },
        objects: Default::default(),
        definitions: Default::default(),
    }
}

fn accounts() -> TableCard {
    TableCard {
        source: Name::new("public", "users"),
        target: Name::new("app", "accounts"),
        create: true,
        load: "copy".into(),
        rows: 4_100_000,
        bytes: 1_900_000_000,
        columns: 9,
        form: "binary".into(),
        filter: None,
        changes: None,
        differences: vec![
            difference(Change::Renamed, "full_name", "text", "display_name text"),
            difference(Change::Skipped, "legacy_flags", "integer", ""),
        ],
        primary_key: Some("(id)".into()),
        keys: vec!["accounts_email_key (email)".into()],
        indexes: vec!["accounts_created_at_idx (created_at)".into()],
        foreign_keys: Vec::new(),
    }
}

fn difference(kind: Change, what: &str, before: &str, after: &str) -> Difference {
    Difference { kind, what: what.into(), before: before.into(), after: after.into(), note: None }
}

fn orders() -> TableCard {
    TableCard {
        source: Name::new("public", "orders"),
        target: Name::new("app", "orders"),
        rows: 30_200_000,
        bytes: 14_100_000_000,
        columns: 14,
        filter: Some("created_at >= '2025-01-01'".into()),
        differences: Vec::new(),
        keys: Vec::new(),
        indexes: vec!["a (user_id)".into(), "b (created_at)".into(), "c (status)".into()],
        foreign_keys: vec!["orders_user_fk (user_id) -> app.accounts (id)".into()],
        ..accounts()
    }
}

fn steps() -> Vec<Step> {
    vec![
        of(
            "app",
            "accounts",
            sql("app.accounts/create", Phase::Schema, &[], 1.0, "create table app.accounts ()"),
        ),
        of("app", "orders", sql("app.orders/create", Phase::Schema, &[], 1.0, "create table app.orders ()")),
        copy("accounts", "users", 4_100_000, 140.0),
        copy("orders", "orders", 30_200_000, 1800.0),
        of(
            "app",
            "orders",
            sql(
                "app.orders/index/orders_created_idx",
                Phase::Index,
                &["app.orders/copy"],
                600.0,
                "create index orders_created_idx on app.orders (created_at)",
            ),
        ),
        of(
            "app",
            "orders",
            sql(
                "app.orders/fk/orders_user_fk",
                Phase::Key,
                &["app.accounts/copy", "app.orders/copy", "app.orders/index/orders_created_idx"],
                180.0,
                "alter table app.orders add foreign key (user_id) references app.accounts",
            ),
        ),
    ]
}

fn of(schema: &str, table: &str, mut step: Step) -> Step {
    step.table = Some(Name::new(schema, table));
    step
}

fn sql(id: &str, phase: Phase, needs: &[&str], seconds: f64, statement: &str) -> Step {
    Step {
        id: id.into(),
        phase,
        needs: needs.iter().map(|need| (*need).into()).collect(),
        action: Action::Sql { statements: vec![statement.into()], index_build: phase == Phase::Index },
        table: None,
        locks: Vec::new(),
        estimate: Estimate { rows: 0, bytes: 0, seconds },
        inputs: "sha256:00".into(),
        unit: id.into(),
    }
}

fn copy(target: &str, source: &str, rows: u64, seconds: f64) -> Step {
    let id = format!("app.{target}/copy");
    let create = format!("app.{target}/create");
    let mut step = of("app", target, sql(&id, Phase::Load, &[&create], seconds, ""));
    step.estimate = Estimate { rows, bytes: rows * 464, seconds };
    step.action = Action::Copy {
        projection: Arc::new(projection(source, target)),
        empty: Vec::new(),
        replace: false,
        frozen: false,
        chunk_bytes: 1 << 30,
    };
    step
}

fn projection(source: &str, target: &str) -> Projection {
    let column = ColumnMap {
        source: "id".into(),
        target: "id".into(),
        source_type: Type::Int { bits: 64 },
        source_native: "bigint".into(),
        target_type: Type::Int { bits: 64 },
        target_native: "bigint".into(),
        not_null: true,
        zero_date: Default::default(),
        error_value_null: false,
        cast: None,
    };
    Projection {
        source: Name::new("public", source),
        target: Name::new("app", target),
        columns: vec![column],
        filter: None,
        key: vec![0],
        form: Form::NativeFast,
    }
}
