//! The crash points around a step, by what kind of step it is. Pure.

use crate::graph::{Action, Phase, Step};

/// Before a step's statements, while its transaction commits, and after that.
pub(super) struct Points {
    pub(super) before: &'static str,
    pub(super) ambiguous: &'static str,
    pub(super) after: &'static str,
}

const DDL: Points = Points { before: "ddl::before", ambiguous: "ddl::ambiguous", after: "ddl::after" };
const INDEX: Points =
    Points { before: "index::before", ambiguous: "index::ambiguous", after: "index::after" };
const FOREIGN: Points = Points { before: "fk::before", ambiguous: "fk::ambiguous", after: "fk::after" };

/// The points of a step that runs statements.
pub(super) fn points(step: &Step) -> Points {
    match &step.action {
        Action::Sql { index_build: true, .. } => INDEX,
        _ if step.id.ends_with("/analyze") => Points { before: "analyze", ..DDL },
        _ if step.phase != Phase::Key || !step.id.contains("/foreign/") => DDL,
        _ if step.id.ends_with("/validate") => Points { before: "validate::fk", ..FOREIGN },
        _ => FOREIGN,
    }
}
