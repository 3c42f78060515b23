//! Failures inside the runtime: an engine's error, the step it happened in, and what it means
//! for the run. Decides nothing about trying again.

use super::run::Shared;
use crate::engine::{Cause, EngineError};
use crate::graph::Step;

/// One attempt failed.
pub(super) struct Slip {
    pub(super) step: String,
    pub(super) error: EngineError,
    /// The commit was sent and may have happened.
    pub(super) uncertain: bool,
    /// Reading in this snapshot failed; it may be gone.
    pub(super) snapshot: Option<Shared>,
}

impl Slip {
    pub(super) fn new(step: &Step, error: EngineError) -> Self {
        Self { step: step.id.clone(), error, uncertain: false, snapshot: None }
    }

    pub(super) fn at_source(step: &Step, mut error: EngineError, snapshot: &Shared) -> Self {
        if error.cause == Cause::Stale && error.hint.is_none() {
            error = error.hint(
                "the table was rewritten or emptied on the source while it was read; run the same \
                 command again: it is then read in a new snapshot",
            );
        }
        Self { snapshot: Some(snapshot.clone()), ..Self::new(step, error) }
    }

    pub(super) fn into_trouble(self, way: Way) -> Trouble {
        Trouble { step: self.step, error: self.error, way }
    }
}

/// Work ended without being done.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) step: String,
    pub(super) error: EngineError,
    pub(super) way: Way,
}

/// What becomes of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The step failed for good.
    Failed,
    /// Stopping was asked for before it could be tried again: the step is just not done.
    Stopped,
    /// The source's snapshot is gone: everything goes on in a new one.
    SnapshotLost,
    /// Another run may write: this one must not.
    LockLost,
}
