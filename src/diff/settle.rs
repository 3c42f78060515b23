//! Answers and acceptances laid over the hazards: which stand in the way, and by how much. Pure;
//! the day is handed in.

use std::collections::BTreeMap;

use super::Diff;
use super::hazard::{Asked, Hazard, Level, Standing, Verdict, kind};
use crate::catalog::probe::Measured;
use crate::catalog::{Answer, Catalog, name};
use crate::plan::pattern::PlacePattern;
use crate::plan::{Accept, Plan, Problem};

/// Hazards as they stand, and what is to be said about `accept:`.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Most severe first, then by code and place.
    pub hazards: Vec<Hazard>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

/// `answers` in the order of `diff.asked`; one that is missing counts as not measured. `today`:
/// `YYYY-MM-DD` in UTC.
pub fn settle(plan: &Plan, source: &Catalog, diff: &Diff, answers: &[Answer], today: &str) -> Settled {
    let none = Answer { rows: None, measured: Measured::Not, extremes: None };
    let answer = |place: usize| answers.get(place).unwrap_or(&none);
    let measured =
        diff.asked.iter().enumerate().filter_map(|(place, asked)| read_answer(asked, answer(place)));
    let hazards = measured.chain(diff.hazards.iter().cloned()).collect();
    let mut settled = Settled { hazards, ..Settled::default() };
    let mut used = vec![false; plan.accept.len()];
    let index = index(&plan.accept);
    for hazard in &mut settled.hazards {
        accept(plan, source, &index, hazard, today, &mut used, &mut settled.problems);
    }
    speak(plan, &used, diff.begun, &mut settled);
    settled
        .hazards
        .sort_by(|a, b| (b.level, &a.code, &a.at, &a.what).cmp(&(a.level, &b.code, &b.at, &b.what)));
    settled.hazards.dedup();
    settled
}

/// What an answer makes of a question; none where nothing is to be said.
fn read_answer(asked: &Asked, answer: &Answer) -> Option<Hazard> {
    let mut hazard = asked.hazard.clone();
    let Some(rows) = answer.rows.filter(|_| answer.measured != Measured::Not) else {
        hazard.level = asked.unmeasured?;
        hazard.measured = Measured::Not;
        return Some(hazard);
    };
    hazard.measured = answer.measured;
    hazard.rows = Some(rows);
    match asked.verdict {
        Verdict::AnyRow if rows > 0 => hazard.rows = None,
        Verdict::Filter => return Some(read_filter(hazard, answer)),
        _ if rows > 0 => {}
        Verdict::RowsOrNote => {
            hazard.level = Level::Note;
            hazard.what = "holds no values".into();
            hazard.rows = None;
        }
        Verdict::RangeOrNote => {
            let (_, largest) = answer.extremes.as_ref()?;
            hazard.level = Level::Note;
            hazard.rows = None;
            hazard.what = format!("the largest value {largest} fits");
        }
        _ => return None,
    }
    Some(hazard)
}

/// The first extreme of a filter's answer is the number of rows that come.
fn read_filter(mut hazard: Hazard, answer: &Answer) -> Hazard {
    if answer.extremes.as_ref().is_some_and(|(comes, _)| comes == "0") {
        hazard.level = Level::Block;
        hazard.what = "the filter holds for no row".into();
        hazard.ways = vec!["correct where:".into(), "accept an empty table".into()];
    }
    hazard
}

/// Entries of `accept:` by code.
fn index(accepts: &[Accept]) -> BTreeMap<&str, Vec<usize>> {
    let mut index: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, accept) in accepts.iter().enumerate() {
        index.entry(&accept.hazard).or_default().push(place);
    }
    index
}

/// Applies the entries that name a hazard and its place.
fn accept(
    plan: &Plan,
    source: &Catalog,
    index: &BTreeMap<&str, Vec<usize>>,
    hazard: &mut Hazard,
    today: &str,
    used: &mut [bool],
    problems: &mut Vec<Problem>,
) {
    for &place in index.get(hazard.code.as_str()).map_or(&[][..], Vec::as_slice) {
        let entry = &plan.accept[place];
        if !matches_place(entry, hazard, source) {
            continue;
        }
        used[place] = true;
        if hazard.level == Level::Stop {
            let message = format!("{} at {} cannot be accepted: {}", hazard.code, hazard.at, hazard.what);
            problems.push(Problem::error("E150", message).at(entry.span));
            continue;
        }
        if let Some(why) = refusal(entry, hazard, today) {
            hazard.ways.insert(0, why);
        } else if hazard.state == Standing::Open {
            hazard.state = Standing::Accepted {
                reason: entry.reason.clone(),
                max_rows: entry.max_rows,
                until: entry.until.clone(),
                line: entry.span.line,
            };
        }
    }
}

/// Why an entry no longer covers a hazard.
fn refusal(entry: &Accept, hazard: &Hazard, today: &str) -> Option<String> {
    if let Some(until) = entry.until.as_ref().filter(|until| until.as_str() < today) {
        return Some(format!("it was accepted until {until} (line {})", entry.span.line));
    }
    match (entry.max_rows, hazard.rows) {
        (Some(most), Some(rows)) if rows > most => {
            Some(format!("it was accepted up to {most} rows (line {})", entry.span.line))
        }
        _ => None,
    }
}

/// Places are compared by their parts, each of which may be a pattern, the default schema said or not.
fn matches_place(entry: &Accept, hazard: &Hazard, source: &Catalog) -> bool {
    let Some(at) = &entry.at else { return true };
    match (PlacePattern::parse(at), name::split(&hazard.at)) {
        (Ok(said), Ok(place)) => said.matches(&place, &source.default_schema),
        _ => *at == hazard.at,
    }
}

/// Entries that do nothing, and codes that are none. Once a plan has begun, hazards of tables that
/// are loaded are over; their entries may stay in the file.
fn speak(plan: &Plan, used: &[bool], begun: bool, settled: &mut Settled) {
    for (place, entry) in plan.accept.iter().enumerate() {
        let at = entry.at.as_deref().map(|at| format!(" at {at}")).unwrap_or_default();
        if kind(&entry.hazard).is_none() {
            let message = format!("there is no hazard {}", entry.hazard);
            settled.problems.push(Problem::error("E151", message).at(entry.span));
        } else if !used[place] && !begun {
            let message = format!("nothing to accept: {}{at} was not found", entry.hazard);
            settled.warnings.push(Problem::warning("W207", message).at(entry.span));
        }
        let before = &plan.accept[..place];
        if before.iter().any(|other| other.hazard == entry.hazard && other.at == entry.at) {
            let message = format!("{}{at} is accepted twice", entry.hazard);
            settled.warnings.push(Problem::warning("W208", message).at(entry.span));
        }
    }
}
