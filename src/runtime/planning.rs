//! From two ends to a graph: inspects, compares, probes, builds. Writes nothing anywhere.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use super::way_back;
use crate::catalog::probe::{End, Measured};
use crate::catalog::{Answer, Catalog, Dialect, Name, Probe};
use crate::change::Followed;
use crate::checkpoint::Progress;
use crate::diff::{self, Dialects, Diff, Finding, State};
use crate::engine::{CaptureSpec, Cause, EngineError, Obstacle, Source, Target, engine_named};
use crate::graph::build::{Cycle, Inputs, done_otherwise};
use crate::graph::{self, Graph};
use crate::plan::back::back_name;
use crate::plan::{self, Plan, Problem};

/// Live ends, saved catalogs, or one of each.
pub struct Ends {
    pub source: SourceEnd,
    pub target: TargetEnd,
    /// Both the other way round, where the plan asks for a way back and they can be opened.
    pub back: Option<BackEnds>,
}

/// The ends of the way back.
pub struct BackEnds {
    /// The target, as what is followed.
    pub source: Box<dyn Source>,
    /// The source, as what is written to.
    pub target: Box<dyn Target>,
}

pub enum SourceEnd {
    Live(Box<dyn Source>),
    Saved(Box<Catalog>),
}

pub enum TargetEnd {
    Live(Box<dyn Target>),
    Saved(Box<Catalog>),
}

/// How much planning may ask of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeLevel {
    None,
    Metadata,
    Standard,
    Full,
}

/// A plan, made.
pub struct Planned {
    pub graph: Graph,
    pub diff: Diff,
    pub progress: Progress,
    pub warnings: Vec<Problem>,
}

/// Why there is no plan.
#[derive(Debug)]
pub enum PlanFailure {
    Problems(Vec<Problem>),
    Cycle(Cycle),
    Engine(EngineError),
}

impl From<EngineError> for PlanFailure {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// Seconds that one question to the rows may take at the standard level.
const PROBE_SECONDS: u64 = 10;

/// Makes the graph. `today`: `YYYY-MM-DD`, UTC.
pub async fn make_plan(
    plan: &Plan,
    ends: &Ends,
    level: ProbeLevel,
    today: &str,
) -> Result<Planned, PlanFailure> {
    let (source, (target, progress)) =
        tokio::try_join!(inspect_source(&ends.source), inspect_target(&ends.target, &plan.name))?;
    let dialects = Dialects { source: dialect(&source)?, target: dialect(&target)? };
    let mut diff =
        diff::compare(plan, &source, &target, &progress, dialects).map_err(PlanFailure::Problems)?;
    diff.learn(look_at_capture(plan, &diff, ends, &progress).await?);
    diff.learn(look_at_fence(plan, &diff, ends, &progress).await?);
    diff.learn(look_at_way_back(plan, &source, &diff, ends, &progress).await?);
    let answers = ask(&diff, ends, level).await?;
    let settled = diff::settle(plan, &source, &diff, &answers, today);
    if !settled.problems.is_empty() {
        return Err(PlanFailure::Problems(settled.problems));
    }
    let inputs =
        Inputs { plan, source, target, diff: &diff, hazards: &settled.hazards, answers: &answers, dialects };
    let graph = graph::build(inputs).map_err(PlanFailure::Cycle)?;
    let (problems, stale) = done_otherwise(&graph, &progress);
    if !problems.is_empty() {
        return Err(PlanFailure::Problems(problems));
    }
    let warnings = [diff.warnings.as_slice(), &settled.warnings, &stale].concat();
    Ok(Planned { graph, diff, progress, warnings })
}

async fn inspect_source(end: &SourceEnd) -> Result<Cow<'_, Catalog>, PlanFailure> {
    match end {
        SourceEnd::Live(source) => Ok(Cow::Owned(source.inspect().await?)),
        SourceEnd::Saved(catalog) => Ok(Cow::Borrowed(catalog)),
    }
}

async fn inspect_target<'e>(
    end: &'e TargetEnd,
    plan: &str,
) -> Result<(Cow<'e, Catalog>, Progress), PlanFailure> {
    match end {
        TargetEnd::Live(target) => {
            let (catalog, progress) = tokio::try_join!(target.inspect(), target.progress(plan))?;
            Ok((Cow::Owned(catalog), progress))
        }
        TargetEnd::Saved(catalog) => Ok((Cow::Borrowed(catalog), Progress::default())),
    }
}

fn dialect(catalog: &Catalog) -> Result<&'static dyn Dialect, PlanFailure> {
    let engine = engine_named(&catalog.engine);
    engine.map(|engine| engine.dialect()).ok_or_else(|| {
        let message = format!("there is no engine called {:?}", catalog.engine);
        PlanFailure::Engine(EngineError::new(Cause::NotFound, "plan", message).contract("E132"))
    })
}

/// What the live source says about following it. Once the capture is open there is nothing more
/// to find out.
async fn look_at_capture(
    plan: &Plan,
    diff: &Diff,
    ends: &Ends,
    progress: &Progress,
) -> Result<Vec<Finding>, PlanFailure> {
    let SourceEnd::Live(source) = &ends.source else { return Ok(Vec::new()) };
    if diff.followed.is_empty() || progress.stream.is_some() {
        return Ok(Vec::new());
    }
    let Some(capture) = source.capture() else {
        let what = "this engine's change log cannot be followed".to_string();
        let way = "cdc: false".to_string();
        return Ok(vec![Finding { code: "C502".into(), at: "source".into(), what, way, blocks: true }]);
    };
    let spec = CaptureSpec { plan: &plan.name, tables: &diff.followed, cascades: plan.cdc.cascades };
    let found = capture.check(&spec).await?;
    Ok(found.into_iter().map(finding).collect())
}

fn finding(obstacle: Obstacle) -> Finding {
    let Obstacle { code, at, message, hint, blocks } = obstacle;
    Finding { code: code.to_string(), at, what: message, way: hint, blocks }
}

/// Whether a fence by roles would hold. After the cutover it does, or does not matter any more.
async fn look_at_fence(
    plan: &Plan,
    diff: &Diff,
    ends: &Ends,
    progress: &Progress,
) -> Result<Vec<Finding>, PlanFailure> {
    let fence = plan.cutover.as_ref().map(|cutover| &cutover.fence);
    let (SourceEnd::Live(source), Some(plan::Fence::Roles(roles))) = (&ends.source, fence) else {
        return Ok(Vec::new());
    };
    if diff.followed.is_empty() || super::cutover::is_decided(progress) {
        return Ok(Vec::new());
    }
    let tables: Vec<Name> = diff.followed.iter().map(|table| table.projection.source.clone()).collect();
    let found = source.check_roles(&tables, roles).await?.into_iter().map(finding);
    Ok(found
        .map(|finding| Finding { what: format!("the fence of a cutover: {}", finding.what), ..finding })
        .collect())
}

/// What both ends say about the way back, as far as its tables are there. After the cutover there
/// is nothing more to find out.
async fn look_at_way_back(
    plan: &Plan,
    source: &Catalog,
    diff: &Diff,
    ends: &Ends,
    progress: &Progress,
) -> Result<Vec<Finding>, PlanFailure> {
    let (Some(turned), Some(back)) = (&diff.back, &ends.back) else { return Ok(Vec::new()) };
    if super::cutover::is_decided(progress) {
        return Ok(Vec::new());
    }
    let missing = diff.tables.iter().filter(|table| table.state == State::Missing);
    let missing: HashSet<&Name> = missing.map(|table| &table.want.name).collect();
    let there = turned.followed.iter().filter(|followed| !missing.contains(&followed.projection.source));
    let there: Vec<Followed> = there.cloned().collect();
    let fenced = plan.cutover.as_ref().is_some_and(|cutover| cutover.fence == plan::Fence::Tables);
    let ends = (back.source.as_ref(), back.target.as_ref());
    let name = back_name(&plan.name);
    let spec = CaptureSpec { plan: &name, tables: &there, cascades: plan.cdc.cascades };
    let found = way_back::obstacles(ends, &spec, &turned.followed, fenced).await?;
    let finding = |(end, obstacle): (way_back::End, Obstacle)| {
        let Obstacle { code, at, message, hint, blocks } = obstacle;
        let table = turned.followed.iter().map(|followed| &followed.projection);
        let table =
            table.clone().find(|table| table.source.to_string() == at || table.target.to_string() == at);
        let (at, what) = match (table, end) {
            (Some(table), way_back::End::Followed) => (diff::shown(source, &table.target), "on the target, "),
            (Some(table), way_back::End::Written) => (diff::shown(source, &table.target), ""),
            (None, way_back::End::Followed) => ("target".to_string(), "where the target is the source: "),
            (None, way_back::End::Written) => ("source".to_string(), ""),
        };
        Finding {
            code: code.to_string(),
            at,
            what: format!("the way back: {what}{message}"),
            way: hint,
            blocks,
        }
    };
    Ok(found.into_iter().map(finding).collect())
}

/// Asks both ends at once; answers in the order of the questions. A saved end answers nothing.
async fn ask(diff: &Diff, ends: &Ends, level: ProbeLevel) -> Result<Vec<Answer>, PlanFailure> {
    let each = match level {
        ProbeLevel::None | ProbeLevel::Metadata => return Ok(Vec::new()),
        ProbeLevel::Standard => Some(Duration::from_secs(PROBE_SECONDS)),
        ProbeLevel::Full => None,
    };
    let probes = diff.probes();
    let (of_source, of_target): (Vec<_>, Vec<_>) =
        probes.iter().cloned().partition(|probe| probe.end == End::Source);
    let source = async {
        match &ends.source {
            SourceEnd::Live(source) if !of_source.is_empty() => source.probe(&of_source, each).await,
            _ => Ok(Vec::new()),
        }
    };
    let target = async {
        match &ends.target {
            TargetEnd::Live(target) if !of_target.is_empty() => target.probe(&of_target, each).await,
            _ => Ok(Vec::new()),
        }
    };
    let (source, target) = tokio::try_join!(source, target)?;
    let (mut source, mut target) = (source.into_iter(), target.into_iter());
    let unanswered = || Answer { rows: None, measured: Measured::Not, extremes: None };
    let mut answer = |probe: &Probe| match probe.end {
        End::Source => source.next(),
        End::Target => target.next(),
    };
    Ok(probes.iter().map(|probe| answer(probe).unwrap_or_else(unanswered)).collect())
}
