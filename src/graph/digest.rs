//! The saved plan: canonical JSON and its digest, and what differs between two of them.

use serde::{Deserialize, Serialize};

use super::Graph;

/// The plan file that `plan --out` writes and `apply` compares with. The digest covers all but
/// itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// `towpath.plan/1`.
    pub format: String,
    pub digest: String,
    /// Digest of the goal alone (steps without estimates, ends, hazards' standing): equal for two
    /// plans that would do the same, whenever they were made.
    pub goal: String,
    pub tool: Tool,
    pub created_at: String,
    pub expires_at: String,
    /// `sha256:` of the YAML.
    pub config: String,
    pub graph: Graph,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub version: String,
    /// Raised whenever planning changes its meaning.
    pub planner: u32,
}

/// This version's planner.
pub const PLANNER: u32 = 1;

/// Canonical JSON: sorted keys, no spare white space.
pub fn canonical<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).map(|value| value.to_string()).unwrap_or_default()
}

/// Digest of the goal alone.
pub fn goal(graph: &Graph) -> String {
    let mut bare = graph.clone();
    for step in &mut bare.steps {
        step.estimate = super::Estimate::default();
    }
    for card in &mut bare.tables {
        (card.rows, card.bytes) = (0, 0);
    }
    for hazard in &mut bare.hazards {
        hazard.rows = None;
    }
    bare.probes.clear();
    sha(&canonical(&bare))
}

/// Digest of everything but itself.
pub fn digest(saved: &SavedPlan) -> String {
    sha(&canonical(&SavedPlan { digest: String::new(), ..saved.clone() }))
}

fn sha(text: &str) -> String {
    use sha2::Digest as _;
    let hex: String = sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// What differs between two goals, most telling first.
pub fn differences(before: &Graph, after: &Graph) -> Vec<String> {
    let changed = after.steps.iter().filter(|step| before.step(&step.id) != Some(step));
    changed.map(|step| format!("step {} differs", step.id)).collect()
}
