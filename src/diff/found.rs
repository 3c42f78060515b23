//! What a comparison collects beside the wanted objects: problems, warnings, hazards, questions and
//! what stays behind. All at once, in a fixed order at the end.

use super::LeftBehind;
use super::hazard::{Asked, Hazard, Level, Standing, Verdict, kind};
use crate::catalog::probe::{End, Measured};
use crate::catalog::{Name, Probe, Question};
use crate::plan::Problem;

#[derive(Debug, Default)]
pub(super) struct Found {
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    pub hazards: Vec<Hazard>,
    pub asked: Vec<Asked>,
    pub left_behind: Vec<LeftBehind>,
}

/// A place on the source: what a hazard is about, and where its probe goes.
#[derive(Clone, Debug)]
pub(super) struct Spot<'a> {
    pub table: &'a Name,
    pub column: Option<&'a str>,
    /// `users.legacy_flags`, the plan file's spelling.
    pub at: String,
    pub filter: Option<&'a str>,
}

impl Found {
    /// A hazard at its catalogue level.
    pub fn hazard(&mut self, code: &str, at: impl Into<String>, what: impl Into<String>, ways: &[&str]) {
        self.hazards.push(hazard(code, level(code), at.into(), what.into(), ways));
    }

    /// A hazard at another level than the catalogue's.
    pub fn hazard_as(&mut self, code: &str, level: Level, at: &str, what: impl Into<String>, ways: &[&str]) {
        self.hazards.push(hazard(code, level, at.into(), what.into(), ways));
    }

    /// A question to the source whose rows make the hazard. Left unmeasured it is a warning: the
    /// load refuses such a row when it meets it.
    pub fn ask(&mut self, code: &str, spot: &Spot<'_>, question: Question, what: &str, ways: &[&str]) {
        self.ask_as(code, spot, question, what, ways, Verdict::Rows, Some(Level::Warn));
    }

    #[expect(clippy::too_many_arguments, reason = "one call shape for all questions")]
    pub fn ask_as(
        &mut self,
        code: &str,
        spot: &Spot<'_>,
        question: Question,
        what: &str,
        ways: &[&str],
        verdict: Verdict,
        unmeasured: Option<Level>,
    ) {
        let probe = Probe {
            code: code.to_string(),
            end: End::Source,
            table: spot.table.clone(),
            column: spot.column.map(str::to_string),
            question,
            filter: spot.filter.map(str::to_string),
        };
        let hazard = hazard(code, level(code), spot.at.clone(), what.into(), ways);
        let asked = Asked { probe, hazard, verdict, unmeasured };
        if !self.asked.contains_same(&asked) {
            self.asked.push(asked);
        }
    }

    pub fn left(&mut self, kind: &str, name: Name, why: impl Into<String>) {
        self.left_behind.push(LeftBehind { kind: kind.into(), name, why: why.into() });
    }
}

/// Two ways may lead to one question; the newest few are enough to look at.
trait ContainsSame {
    fn contains_same(&self, asked: &Asked) -> bool;
}

impl ContainsSame for Vec<Asked> {
    fn contains_same(&self, asked: &Asked) -> bool {
        self.iter().rev().take(8).any(|known| known.probe == asked.probe)
    }
}

pub(super) fn level(code: &str) -> Level {
    kind(code).map_or(Level::Block, |kind| kind.level)
}

pub(super) fn hazard(code: &str, level: Level, at: String, what: String, ways: &[&str]) -> Hazard {
    Hazard {
        code: code.to_string(),
        level,
        at,
        what,
        rows: None,
        // The catalog says so; what is asked of rows gets its measure with the answer.
        measured: Measured::Exact,
        ways: ways.iter().map(|way| way.to_string()).collect(),
        state: Standing::Open,
    }
}
