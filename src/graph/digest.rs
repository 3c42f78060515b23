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
