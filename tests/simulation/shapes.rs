//! Tables of all shapes and the graphs that move them, made by hand: no planner takes part.

use std::sync::Arc;

use towpath::catalog::{ColumnMap, Form, Name, Place, Projection, Sequence, Type};
use towpath::graph::{Action, EndFacts, Estimate, Graph, Phase, Step, TableCard};

use super::random::Random;
use super::world::World;

pub fn table(number: usize) -> Name {
    Name::new("main", format!("t{number}"))
}

fn column(name: &str, ty: &Type) -> ColumnMap {
    ColumnMap {
        source: name.to_string(),
        target: name.to_string(),
        source_type: ty.clone(),
        source_native: String::new(),
        target_type: ty.clone(),
        target_native: String::new(),
        not_null: false,
        zero_date: Default::default(),
        error_value_null: false,
        cast: None,
    }
}

pub fn projection(name: &Name) -> Projection {
    Projection {
        source: name.clone(),
        target: name.clone(),
        columns: vec![column("k", &Type::Int { bits: 64 }), column("v", &Type::Text)],
        filter: None,
        key: vec![0],
        form: Form::Rows,
    }
}

fn step(name: &Name, kind: &str, phase: Phase, needs: &[String], unit: &str, action: Action) -> Step {
    Step {
        id: format!("{}/{kind}", name.name),
        phase,
        needs: needs.to_vec(),
        action,
        table: Some(name.clone()),
        locks: Vec::new(),
        estimate: Estimate { rows: 5, bytes: 50, seconds: 1.0 },
        inputs: format!("inputs of {kind}"),
        unit: unit.to_string(),
    }
}

fn sql(statement: String, index_build: bool) -> Action {
    Action::Sql { statements: vec![statement], index_build }
}

/// How one table is moved.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub create: bool,
    pub replace: bool,
    pub fused: bool,
    /// In one unit with all others that are so.
    pub shared: bool,
    pub frozen: bool,
    pub chunk: u64,
    pub indexes: usize,
}

impl Shape {
    pub fn random(random: &mut Random) -> Self {
        let create = !random.once_in(4);
        let replace = !create && random.once_in(2);
        Self {
            create,
            replace,
            fused: random.once_in(2),
            shared: random.once_in(3),
            frozen: random.once_in(2),
            chunk: if random.once_in(2) { 100 } else { random.between(2, 5) },
            indexes: random.below(3) as usize,
        }
    }
}

fn steps_of(name: &Name, shape: Shape) -> Vec<Step> {
    let unit = |kind: &str| match (shape.shared, shape.fused) {
        (true, _) => "tables/1".to_string(),
        (false, true) => name.name.clone(),
        (false, false) => format!("{} {kind}", name.name),
    };
    let mut steps = Vec::new();
    if shape.create {
        let create = sql(format!("create {}", name.name), false);
        steps.push(step(name, "create", Phase::Schema, &[], &unit("create"), create));
    }
    let created: Vec<String> = steps.iter().map(|step| step.id.clone()).collect();
    let copy = Action::Copy {
        projection: Arc::new(projection(name)),
        empty: vec![format!("empty {}", name.name)],
        replace: shape.replace,
        frozen: shape.frozen,
        chunk_bytes: shape.chunk,
    };
    steps.push(step(name, "copy", Phase::Load, &created, &unit("copy"), copy));
    let copied = [format!("{}/copy", name.name)];
    for index in 0..shape.indexes {
        let kind = format!("index/{index}");
        let build = sql(format!("object {}-{index}", name.name), true);
        steps.push(step(name, &kind, Phase::Index, &copied, &unit(&kind), build));
    }
    steps
}

fn key_steps(name: &Name, other: &Name, shape: Shape) -> Vec<Step> {
    let unit = |kind: &str| match shape.shared {
        true => "tables/1/foreign".to_string(),
        false => format!("{} {kind}", name.name),
    };
    let copies = [format!("{}/copy", name.name), format!("{}/copy", other.name)];
    let key = sql(format!("object {}-to-{}", name.name, other.name), false);
    let set = Action::SetSequence { source: name.clone(), sequence: Box::new(sequence(name)), margin: 3 };
    let query = Action::Check { query: "select".into(), message: "orphans".into() };
    let key_id = [format!("{}/key", name.name)];
    vec![
        step(name, "key", Phase::Key, &copies, &unit("key"), key),
        step(name, "check", Phase::Finish, &key_id, &unit("check"), query),
        step(name, "sequence", Phase::Sequence, &[], &format!("{} sequence", name.name), set),
    ]
}

fn sequence(name: &Name) -> Sequence {
    Sequence {
        name: name.clone(),
        data_type: "bigint".into(),
        start: 1,
        increment: 1,
        min: 1,
        max: i64::MAX,
        cache: 1,
        cycle: false,
        owner: None,
        comment: None,
    }
}

fn end() -> EndFacts {
    EndFacts {
        engine: "memory".into(),
        version: "1".into(),
        database: "world".into(),
        place: Place::default(),
        objects: Default::default(),
        definitions: Default::default(),
    }
}

fn card(name: &Name, shape: Shape) -> TableCard {
    TableCard {
        source: name.clone(),
        target: name.clone(),
        create: shape.create,
        load: if shape.replace { "replace" } else { "copy" }.into(),
        rows: 5,
        bytes: 50,
        columns: 2,
        form: "values".into(),
        filter: None,
        changes: None,
        differences: Vec::new(),
        primary_key: None,
        keys: Vec::new(),
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
    }
}

/// A world with tables of these shapes and the graph that moves them.
pub fn build(world: &mut World, shapes: &[Shape]) -> Graph {
    let (mut steps, mut late, mut cards) = (Vec::new(), Vec::new(), Vec::new());
    for (number, shape) in shapes.iter().enumerate() {
        let name = table(number);
        let rows = world.random.below(11);
        let keys: Vec<i64> = (0..rows).map(|_| world.random.below(14) as i64).collect();
        let rows = keys.into_iter().map(|key| (key, (format!("old {key}"), 1))).collect();
        world.source.insert(name.clone(), rows);
        world.sequences.insert(name.clone(), 40);
        if !shape.create {
            let foreign = if shape.replace { vec![(99, "foreign".to_string())] } else { Vec::new() };
            world.target.tables.insert(name.clone(), foreign);
        }
        steps.extend(steps_of(&name, *shape));
        late.extend(key_steps(&name, &table((number + 1) % shapes.len()), *shape));
        cards.push(card(&name, *shape));
    }
    late.sort_by_key(|step| step.phase);
    steps.extend(late);
    Graph {
        name: "simulated".into(),
        source: end(),
        target: end(),
        steps,
        tables: cards,
        hazards: Vec::new(),
        probes: Vec::new(),
        left_behind: Vec::new(),
        stream: None,
        back: None,
    }
}
