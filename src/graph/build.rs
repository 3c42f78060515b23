//! From a diff to a graph: steps by rules, in order, with what a reviewer sees of each table.

use std::borrow::Cow;

use super::step::{Action, Step};
use super::{Graph, ProbeResult, SequenceAim, Stream, TableCard, facts, order, rules};
use crate::catalog::name::show;
use crate::catalog::probe::{End, Measured};
use crate::catalog::{Answer, Catalog, Form, KeyKind, Name};
use crate::change::Identity;
use crate::checkpoint::Progress;
use crate::diff::{Dialects, Diff, Hazard, SequencePair, State, TableDiff, definition, id};
use crate::plan::{Load, Mode, Plan, Problem};

/// A cycle that no rule can break, as the path of step ids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("steps wait for each other: {}", .0.join(" -> "))]
pub struct Cycle(pub Vec<String>);

/// Everything the graph is made of.
pub struct Inputs<'a> {
    pub plan: &'a Plan,
    pub source: Cow<'a, Catalog>,
    pub target: Cow<'a, Catalog>,
    pub diff: &'a Diff,
    /// Settled: with answers and acceptances laid over them.
    pub hazards: &'a [Hazard],
    /// In the order of `diff.asked`; what is missing was not asked.
    pub answers: &'a [Answer],
    pub dialects: Dialects<'a>,
}

/// Builds the graph: same inputs, same bytes.
pub fn build(mut inputs: Inputs<'_>) -> Result<Graph, Cycle> {
    let (source, target) = (facts::source(&inputs), facts::target(&inputs));
    // All else is made from the diff: the tables as they were make room for it.
    forget_tables(&mut inputs.source);
    forget_tables(&mut inputs.target);
    let inputs = &inputs;
    Ok(Graph {
        name: inputs.plan.name.clone(),
        source,
        target,
        steps: order::sort(rules::steps(inputs))?,
        tables: inputs.diff.tables.iter().map(card).collect(),
        hazards: inputs.hazards.to_vec(),
        probes: probes(inputs),
        left_behind: inputs.diff.left_behind.clone(),
        stream: stream(inputs.diff, inputs.plan.cdc.mode, false),
        back: inputs.diff.back.as_ref().and_then(|back| stream(back, inputs.plan.cdc.mode, true)),
    })
}

fn forget_tables(catalog: &mut Cow<'_, Catalog>) {
    if let Cow::Owned(catalog) = catalog {
        catalog.tables = Vec::new();
    }
}

fn stream(diff: &Diff, mode: Mode, there: bool) -> Option<Stream> {
    let Diff { followed, sequences, .. } = diff;
    let aim = |pair: &SequencePair| SequenceAim {
        source: pair.source.clone(),
        sequence: pair.want.clone(),
        largest_of: pair.drawn.clone(),
    };
    (!followed.is_empty()).then(|| Stream {
        tables: followed.clone(),
        mode,
        sequences: sequences.iter().map(|wanted| aim(&wanted.want)).collect(),
        there,
    })
}

/// Steps that were finished with other inputs than they would have now: never reused in silence.
/// And steps that are done and no longer wanted, as warnings.
pub fn done_otherwise(graph: &Graph, progress: &Progress) -> (Vec<Problem>, Vec<Problem>) {
    if progress.steps.is_empty() {
        return Default::default();
    }
    let steps: std::collections::HashMap<&str, &Step> =
        graph.steps.iter().map(|step| (step.id.as_str(), step)).collect();
    let opened = (progress.step(id::OPEN), steps.get(id::OPEN));
    let opened_otherwise = matches!(opened, (Some(mark), Some(step)) if mark.inputs != step.inputs);
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for mark in &progress.steps {
        match steps.get(mark.step.as_str()) {
            Some(step) if step.inputs != mark.inputs => {
                // One word for all steps of a stream is enough.
                if matches!(step.action, Action::CatchUp { .. }) && opened_otherwise {
                    continue;
                }
                let help =
                    "undo the change of the plan or of the source, or start over under another plan name";
                problems.push(Problem::error("E204", done_with(graph, step, progress)).help(help));
            }
            // What a cutover has decided is asked for by no plan.
            None if mark.step.starts_with("cutover/") => {}
            None => {
                let message = format!("step {} is done and the plan no longer asks for it", mark.step);
                warnings.push(Problem::warning("W204", message));
            }
            _ => {}
        }
    }
    (problems, warnings)
}

fn done_with(graph: &Graph, step: &Step, progress: &Progress) -> String {
    let stream = graph.stream.as_ref().filter(|_| matches!(step.action, Action::OpenCapture { .. }));
    let Some(stream) = stream else { return format!("step {} was done with other inputs", step.id) };
    let unknown = |table: &&Name| progress.chunks_of(table).next().is_none();
    let tables = stream.tables.iter().map(|followed| &followed.projection.target);
    let new: Vec<String> = tables.filter(unknown).map(Name::to_string).collect();
    let how = match new.is_empty() {
        true => "tables, columns or keys of what is followed were others".to_string(),
        false => format!("without {}", new.join(", ")),
    };
    format!("the change log was opened for what the plan followed then ({}): {how}", step.id)
}

fn probes(inputs: &Inputs<'_>) -> Vec<ProbeResult> {
    let none = Answer { rows: None, measured: Measured::Not, extremes: None };
    let result = |(at, probe)| {
        let dialect = match probe {
            crate::catalog::Probe { end: End::Source, .. } => inputs.dialects.source,
            _ => inputs.dialects.target,
        };
        ProbeResult {
            sql: dialect.probe(&probe),
            answer: inputs.answers.get(at).unwrap_or(&none).clone(),
            probe,
        }
    };
    inputs.diff.probes().into_iter().enumerate().map(result).collect()
}

fn card(table: &TableDiff) -> TableCard {
    let primary = table.keys.iter().find(|key| key.want.kind == KeyKind::Primary);
    let others = table.keys.iter().filter(|key| key.want.kind != KeyKind::Primary);
    TableCard {
        source: table.source.clone(),
        target: table.want.name.clone(),
        create: table.state != State::Present,
        load: match table.policy.load {
            _ if !table.want.holds_rows() => "none",
            Load::Copy => "copy",
            Load::Replace => "replace",
            Load::None => "none",
        }
        .into(),
        rows: table.rows,
        bytes: table.bytes,
        columns: table.want.columns.len(),
        form: match table.projection.form {
            Form::NativeFast => "binary",
            Form::NativeText => "text",
            Form::Rows => "values",
        }
        .into(),
        filter: table.projection.filter.clone(),
        changes: table.identity.as_ref().map(|identity| told_apart(table, identity)),
        differences: table.differences.clone(),
        primary_key: primary.map(|key| definition::parts(&key.want.parts)),
        keys: others
            .map(|key| format!("{} ({})", id::key_label(&key.want), definition::parts(&key.want.parts)))
            .collect(),
        indexes: table.indexes.iter().map(|index| index.want.name.clone()).collect(),
        foreign_keys: table.foreign_keys.iter().map(|key| foreign_line(&key.want)).collect(),
    }
}

fn told_apart(table: &TableDiff, identity: &Identity) -> String {
    let Identity::Columns(places) = identity else { return "by all columns".into() };
    let names: Vec<String> =
        places.iter().map(|place| show(&table.projection.columns[*place].source)).collect();
    format!("by {}", names.join(", "))
}

/// `user_id -> app.accounts, on delete cascade`
fn foreign_line(key: &crate::catalog::ForeignKey) -> String {
    let mut line = format!("{} -> {}", key.columns.join(", "), key.parent);
    if key.on_delete != crate::catalog::Action::NoAction {
        line.push_str(&format!(", on delete {}", definition::action_words(key.on_delete)));
    }
    line
}
