//! What a reviewer wants to know of a graph: sums, phases, the critical path, which hazard hangs
//! on which table. Pure facts for all renderers; writes no text of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::catalog::Name;
use crate::catalog::name::split;
use crate::diff::hazard::{Hazard, Level, Standing};
use crate::graph::{Action, Graph, Phase, Step, TableCard};

/// Ids of finished steps.
pub type Done = BTreeSet<String>;

/// The plan in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub tables: usize,
    pub rows: u64,
    pub bytes: u64,
    pub keys: usize,
    pub indexes: usize,
    pub foreign_keys: usize,
    pub sequences: usize,
    /// Tables whose changes are followed.
    pub streams: usize,
    /// What is dropped on the target, be it made again.
    pub removed: usize,
    pub blocking: usize,
    pub accepted: usize,
    pub warnings: usize,
    pub notes: usize,
    pub steps: usize,
    pub done: usize,
}

pub fn summary(graph: &Graph, done: &Done) -> Summary {
    let loaded = || graph.tables.iter().filter(|card| card.load != "none");
    let standing = |test: fn(&Hazard) -> bool| graph.hazards.iter().filter(|h| test(h)).count();
    let sequence = |step: &&Step| matches!(step.action, Action::SetSequence { .. });
    Summary {
        tables: graph.tables.len(),
        rows: loaded().map(|card| card.rows).sum(),
        bytes: loaded().map(|card| card.bytes).sum(),
        keys: graph.tables.iter().map(|card| card.keys.len()).sum(),
        indexes: graph.tables.iter().map(|card| card.indexes.len()).sum(),
        foreign_keys: graph.tables.iter().map(|card| card.foreign_keys.len()).sum(),
        sequences: graph.steps.iter().filter(sequence).count()
            + graph.stream.as_ref().map_or(0, |stream| stream.sequences.len()),
        streams: graph.stream.as_ref().map_or(0, |stream| stream.tables.len()),
        removed: graph.steps.iter().filter(|step| drops(step)).count(),
        blocking: standing(Hazard::blocks),
        accepted: standing(|h| !h.blocks() && accepted(h)),
        warnings: standing(|h| h.level == Level::Warn && !accepted(h)),
        notes: standing(|h| h.level == Level::Note && !accepted(h)),
        steps: graph.steps.len(),
        done: graph.steps.iter().filter(|step| done.contains(&step.id)).count(),
    }
}

pub fn accepted(hazard: &Hazard) -> bool {
    matches!(hazard.state, Standing::Accepted { .. })
}

/// True when apply must refuse.
pub fn blocked(graph: &Graph) -> bool {
    graph.hazards.iter().any(Hazard::blocks)
}

/// True when every step is done.
pub fn nothing_left(graph: &Graph, done: &Done) -> bool {
    graph.steps.iter().all(|step| done.contains(&step.id))
}

/// Blocking ones first, then by level, code and place.
pub fn sorted_hazards(graph: &Graph) -> Vec<&Hazard> {
    let mut hazards: Vec<&Hazard> = graph.hazards.iter().collect();
    hazards.sort_by(|a, b| rank(b).cmp(&rank(a)).then_with(|| (&a.code, &a.at).cmp(&(&b.code, &b.at))));
    hazards
}

fn rank(hazard: &Hazard) -> (bool, bool, Level) {
    (hazard.blocks(), accepted(hazard), hazard.level)
}

/// A hazard, with the column its place names if it names one.
pub type Found<'a> = (&'a Hazard, Option<String>);

/// Hazards by the tables that their places name: looked up once, however many tables there are.
pub struct Hazards<'a> {
    /// By the table's name on the target, as sorted.
    of: HashMap<&'a Name, Vec<Found<'a>>>,
    /// Those that hang on no table, as sorted.
    pub general: Vec<&'a Hazard>,
}

impl<'a> Hazards<'a> {
    pub fn new(graph: &'a Graph) -> Self {
        let places = Places::new(graph);
        let mut hazards = Self { of: HashMap::new(), general: Vec::new() };
        for hazard in sorted_hazards(graph) {
            match places.find(&hazard.at) {
                Some((card, column)) => {
                    hazards.of.entry(&card.target).or_default().push((hazard, column));
                }
                None => hazards.general.push(hazard),
            }
        }
        hazards
    }

    /// Those of a table.
    pub fn of(&self, card: &TableCard) -> &[Found<'a>] {
        self.of.get(&card.target).map_or(&[], Vec::as_slice)
    }
}

/// Tables by their names on the source.
struct Places<'a> {
    qualified: HashMap<(&'a str, &'a str), &'a TableCard>,
    /// The first of that name.
    named: HashMap<&'a str, &'a TableCard>,
}

impl<'a> Places<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut places = Self { qualified: HashMap::new(), named: HashMap::new() };
        for card in &graph.tables {
            let Name { schema, name } = &card.source;
            places.qualified.entry((schema, name)).or_insert(card);
            places.named.entry(name).or_insert(card);
        }
        places
    }

    /// The table that a place names, and the column if it names one.
    fn find(&self, at: &str) -> Option<(&'a TableCard, Option<String>)> {
        let parts = split(at).ok()?;
        let named = |name: &String| self.named.get(name.as_str()).copied();
        let qualified =
            |schema: &String, name: &String| self.qualified.get(&(schema.as_str(), name.as_str())).copied();
        match parts.as_slice() {
            [table] => named(table).map(|card| (card, None)),
            [first, second] => match qualified(first, second) {
                Some(card) => Some((card, None)),
                None => named(first).map(|card| (card, Some(second.clone()))),
            },
            [schema, table, column] => qualified(schema, table).map(|card| (card, Some(column.clone()))),
            _ => None,
        }
    }
}

/// Phases that have steps, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseFacts {
    pub phase: Phase,
    pub steps: usize,
    pub done: usize,
    /// What the steps are, with counts, in the order they first appear.
    pub kinds: Vec<(String, usize)>,
    /// Seconds that the critical path spends in it.
    pub seconds: f64,
}

pub fn phases(graph: &Graph, done: &Done, path: &CriticalPath) -> Vec<PhaseFacts> {
    let mut phases: BTreeMap<Phase, PhaseFacts> = BTreeMap::new();
    for step in &graph.steps {
        let facts = phases.entry(step.phase).or_insert_with(|| PhaseFacts {
            phase: step.phase,
            steps: 0,
            done: 0,
            kinds: Vec::new(),
            seconds: 0.0,
        });
        facts.steps += 1;
        facts.done += usize::from(done.contains(&step.id));
        count_kind(&mut facts.kinds, kind(step));
    }
    for at in &path.steps {
        let step = &graph.steps[*at];
        if let Some(facts) = phases.get_mut(&step.phase) {
            facts.seconds += step.estimate.seconds;
        }
    }
    phases.into_values().collect()
}

fn count_kind(kinds: &mut Vec<(String, usize)>, kind: String) {
    match kinds.iter_mut().find(|(name, _)| *name == kind) {
        Some((_, count)) => *count += 1,
        None => kinds.push((kind, 1)),
    }
}

/// What a step makes or does, as a noun: `table`, `index`, `foreign key`.
pub fn kind(step: &Step) -> String {
    match &step.action {
        Action::Copy { .. } => return "copy".into(),
        Action::SetSequence { .. } => return "sequence".into(),
        Action::Check { .. } => return "check".into(),
        Action::OpenCapture { .. } => return "change log".into(),
        Action::CatchUp { .. } => return "catch-up".into(),
        Action::Sql { .. } => {}
    }
    if step.id.ends_with("/validate") {
        return "validation".into();
    }
    // A key is made of an index that was built before.
    if step.id.ends_with("/build") {
        return "unique index".into();
    }
    match id_word(step) {
        "create" | "table" => "table",
        "fk" | "foreign" => "foreign key",
        "analyze" => "table analyzed",
        "drop" => "foreign key dropped",
        "own" => "sequence owner",
        word => word,
    }
    .to_string()
}

fn drops(step: &Step) -> bool {
    id_word(step) == "drop"
}

/// The word of a step's id that says what it does.
fn id_word(step: &Step) -> &str {
    let rest = step.table.as_ref().and_then(|table| step.id.strip_prefix(&table.to_string()));
    let rest = rest.and_then(|rest| rest.strip_prefix('/')).unwrap_or(&step.id);
    rest.split('/').next().unwrap_or(rest)
}

/// The longest chain of steps that are still to do, by estimated seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CriticalPath {
    /// Positions in `graph.steps`, first to last.
    pub steps: Vec<usize>,
    pub seconds: f64,
}

pub fn critical_path(graph: &Graph, done: &Done) -> CriticalPath {
    let mut at: HashMap<&str, usize> = HashMap::with_capacity(graph.steps.len());
    let mut best: Vec<(f64, Option<usize>)> = Vec::with_capacity(graph.steps.len());
    for (number, step) in graph.steps.iter().enumerate() {
        let own = if done.contains(&step.id) { 0.0 } else { step.estimate.seconds };
        let before = step.needs.iter().filter_map(|id| at.get(id.as_str()).copied());
        let longest = before.max_by(|a, b| best[*a].0.total_cmp(&best[*b].0).then(b.cmp(a)));
        best.push((own + longest.map_or(0.0, |from| best[from].0), longest));
        at.insert(&step.id, number);
    }
    let last = (0..best.len()).max_by(|a, b| best[*a].0.total_cmp(&best[*b].0).then(b.cmp(a)));
    let seconds = last.map_or(0.0, |last| best[last].0);
    let mut steps: Vec<usize> = std::iter::successors(last, |at| best[*at].1).collect();
    steps.reverse();
    steps.retain(|at| !done.contains(&graph.steps[*at].id));
    CriticalPath { steps, seconds }
}

/// What stays on the source, by kind and reason, with the names.
pub fn left_behind(graph: &Graph) -> Vec<(String, String, Vec<&Name>)> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Name>> = BTreeMap::new();
    for left in &graph.left_behind {
        groups.entry((&left.kind, &left.why)).or_default().push(&left.name);
    }
    groups.into_iter().map(|((kind, why), names)| (kind.into(), why.into(), names)).collect()
}

/// The steps that work on each table, in their order: one pass, however many tables there are.
pub fn steps_by_table(graph: &Graph) -> HashMap<&Name, Vec<&Step>> {
    let mut steps: HashMap<&Name, Vec<&Step>> = HashMap::new();
    for step in &graph.steps {
        if let Some(table) = &step.table {
            steps.entry(table).or_default().push(step);
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_critical_path_is_the_longest_chain_of_what_is_left() {
        let graph = sample::graph();
        let path = critical_path(&graph, &Done::new());
        let ids: Vec<&str> = path.steps.iter().map(|at| graph.steps[*at].id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "app.orders/create",
                "app.orders/copy",
                "app.orders/index/orders_created_idx",
                "app.orders/fk/orders_user_fk"
            ]
        );
        assert_eq!(path.seconds, 1.0 + 1800.0 + 600.0 + 180.0);
        let done: Done = ["app.orders/create", "app.orders/copy"].map(String::from).into();
        let path = critical_path(&graph, &done);
        assert_eq!(path.seconds, 780.0);
        assert_eq!(path.steps.len(), 2);
    }

    #[test]
    fn a_hazard_finds_its_table_in_every_spelling() {
        let graph = sample::graph();
        let places = Places::new(&graph);
        let found = |at: &str| places.find(at).map(|(card, column)| (card.target.to_string(), column));
        let column = Some(("app.accounts".to_string(), Some("legacy_flags".to_string())));
        assert_eq!(found("users.legacy_flags"), column);
        assert_eq!(found("public.users"), Some(("app.accounts".into(), None)));
        assert_eq!(found("public.users.legacy_flags"), column);
        assert_eq!(found("nothing"), None);
    }

    #[test]
    fn sums_count_what_is_carried() {
        let graph = sample::graph();
        let sums = summary(&graph, &["app.orders/copy".to_string()].into());
        assert_eq!((sums.tables, sums.rows, sums.indexes, sums.foreign_keys), (2, 34_300_000, 4, 1));
        assert_eq!((sums.blocking, sums.accepted, sums.notes), (1, 1, 1));
        assert_eq!(sums.done, 1);
    }

    #[test]
    fn what_blocks_comes_first() {
        let graph = sample::graph();
        let codes: Vec<&str> = sorted_hazards(&graph).iter().map(|h| h.code.as_str()).collect();
        assert_eq!(codes, ["V202", "D105", "D104"]);
    }
}
