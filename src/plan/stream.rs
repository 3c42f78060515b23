//! What a plan says about following changes and handing over: `cdc:` and `cutover:`, complete.
//! Data only; the file's grammar of them is in [`super::keys`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Span, Verify};

/// How changes are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cdc {
    pub mode: Mode,
    /// Bytes of log that the source may keep for the capture before it is given up.
    pub keep_log: Option<u64>,
    pub acknowledge: Acknowledge,
    pub memory_bytes: u64,
    pub memory_keep: Duration,
    /// Where the spill goes; none: the system's directory for such files.
    pub spill_dir: Option<String>,
    pub spill_bytes: u64,
    /// Transactions are read before they commit, where the source tells them.
    pub read_ahead: bool,
    /// The plan agrees to triggers and a change table in a source without a change log.
    pub triggers: bool,
    /// What foreign keys change without a word in the source's log is derived from them.
    pub cascades: bool,
}

impl Default for Cdc {
    fn default() -> Self {
        Self {
            mode: Mode::Batch,
            keep_log: None,
            acknowledge: Acknowledge::Applied,
            memory_bytes: 1 << 30,
            memory_keep: Duration::from_secs(60),
            spill_dir: None,
            spill_bytes: 10 << 30,
            read_ahead: false,
            triggers: false,
            cascades: false,
        }
    }
}

/// How changes reach the target. Both keep source transactions whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Net changes of several source transactions, set by set.
    Batch,
    /// Row by row in the source's order.
    Transactional,
}

/// What the source may forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acknowledge {
    /// What is in the target for good.
    Applied,
    /// What is in the spill on this machine's disk, too.
    Spooled,
}

/// How the target takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cutover {
    /// Most lag at its start.
    pub max_lag: Duration,
    pub sequences: SequencesFrom,
    /// Values left free beyond a sequence's.
    pub margin: u64,
    pub checks: Vec<CutoverCheck>,
    pub fence: Fence,
    /// Longest time without writes.
    pub budget: Duration,
    pub verify: Verify,
}

impl Default for Cutover {
    fn default() -> Self {
        Self {
            max_lag: Duration::from_secs(5),
            sequences: SequencesFrom::Source,
            margin: 0,
            checks: Vec::new(),
            fence: Fence::None,
            budget: Duration::from_secs(60),
            verify: Verify::Checksum,
        }
    }
}

/// Where the value of a sequence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SequencesFrom {
    /// The sequence's own value on the source.
    Source,
    /// The largest value in the columns that draw from it.
    Max,
}

/// A query that must return no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutoverCheck {
    pub db: Which,
    pub sql: String,
    pub span: Span,
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    Source,
    Target,
}

/// What keeps writers off the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fence {
    /// Nothing: the user does it.
    None,
    /// Locks on the followed tables.
    Tables,
    /// These roles may write no more.
    Roles(Vec<String>),
}
