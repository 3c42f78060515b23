//! Floor 5: in what order the differences are put right.

pub mod build;
mod canonical;
pub mod digest;
mod facts;
mod order;
mod pace;
mod rules;
pub mod schedule;
pub mod step;

use serde::{Deserialize, Serialize};

pub use build::build;
pub use order::critical_path;
pub use step::{Action, CatchUpTo, Estimate, Phase, Step};

use crate::catalog::{Answer, Name, Place, Probe, Sequence};
use crate::change::Followed;
use crate::diff::{Difference, Hazard, LeftBehind};
use crate::plan::Mode;
use crate::plan::back::back_name;

/// The whole goal of a plan, ready to review and to execute. Serialized, it is the plan file's
/// core; nothing in it is a secret or a row value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    pub name: String,
    pub source: EndFacts,
    pub target: EndFacts,
    /// In the order of execution on one worker; every step after those it needs.
    pub steps: Vec<Step>,
    pub tables: Vec<TableCard>,
    pub hazards: Vec<Hazard>,
    pub probes: Vec<ProbeResult>,
    pub left_behind: Vec<LeftBehind>,
    /// Where changes of tables are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Stream>,
    /// What is followed after the cutover, from the target to the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Stream>,
}

/// What is followed after the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// In the order of the list that capture and target get.
    pub tables: Vec<Followed>,
    pub mode: Mode,
    /// Set at the cutover: until then they move on at the source.
    pub sequences: Vec<SequenceAim>,
    /// The rows are there: each table's stream begins where the capture was opened.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub there: bool,
}

/// A sequence that is set from its source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequenceAim {
    pub source: Name,
    pub sequence: Sequence,
    /// Columns of the source by whose largest value it is set; none: by its own value there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub largest_of: Vec<(Name, String)>,
}

/// One end as the plan saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndFacts {
    pub engine: String,
    pub version: String,
    pub database: String,
    pub place: Place,
    /// Every object in scope by its name, with the hash of its definition (estimates excluded):
    /// what a stale plan is compared by. Target: as first seen, without what this plan created.
    pub objects: std::collections::BTreeMap<String, String>,
    /// The definitions behind the hashes, one line per attribute, for saying what changed.
    pub definitions: std::collections::BTreeMap<String, Vec<String>>,
}

/// What a reviewer sees of one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableCard {
    pub source: Name,
    pub target: Name,
    /// `create`, `reuse`.
    pub create: bool,
    /// `copy`, `replace`, `none`.
    pub load: String,
    pub rows: u64,
    pub bytes: u64,
    pub columns: usize,
    /// `binary`, `text`, `values`: how rows travel, in words for the reader.
    pub form: String,
    pub filter: Option<String>,
    /// By what its rows are told apart while its changes are followed: `by id`; none: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<String>,
    pub differences: Vec<Difference>,
    pub primary_key: Option<String>,
    pub keys: Vec<String>,
    pub indexes: Vec<String>,
    pub foreign_keys: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeResult {
    pub probe: Probe,
    pub sql: Option<String>,
    pub answer: Answer,
}

impl Graph {
    /// The graph of the way back, which has a stream and no steps; none where there is no way back.
    pub fn turned(&self) -> Option<Self> {
        let stream = self.back.clone()?;
        Some(Self {
            name: back_name(&self.name),
            source: self.target.clone(),
            target: self.source.clone(),
            steps: Vec::new(),
            tables: Vec::new(),
            hazards: Vec::new(),
            probes: Vec::new(),
            left_behind: Vec::new(),
            stream: Some(stream),
            back: None,
        })
    }

    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }
}
