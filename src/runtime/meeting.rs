//! One commit point at both ends: brings the target exactly to where a snapshot of the source is,
//! and holds both. While the source is written, that is the only moment at which they can be
//! compared.

use super::follow::{Ended, Goal};
use super::serve::{Service, follow_locked, stream_of};
use super::stream::{OPEN_WAIT, capture_of, check_standing};
use crate::change::Position;
use crate::engine::{Cause, EngineError, Lock, Snapshot};

/// Both ends as of one commit of the source.
pub struct CommonPoint {
    pub source: Box<dyn Snapshot>,
    pub target: Box<dyn Snapshot>,
}

/// Takes the plan's lock for the time of catching up; what is held then needs none. The target's
/// snapshot comes after the lock has gone, for a file that is read cannot be written to, and letting
/// go is a mark; whoever has moved the target on in between is found by where it stands.
pub async fn common_point(service: &Service<'_>) -> Result<CommonPoint, EngineError> {
    let lock = service.lock().await?;
    let met = meet(service, lock.as_ref()).await;
    let closed = lock.close(if met.is_ok() { "done" } else { "failed" }).await;
    let (source, at) = met?;
    closed?;
    let target = service.target.snapshot().await?;
    let progress = service.target.progress(&service.graph.name).await?;
    if progress.stream.is_some_and(|stream| stream.position != at) {
        let why = "another run has moved the target on in between";
        return Err(EngineError::new(Cause::Locked, "compare", why).on(&service.graph.name));
    }
    Ok(CommonPoint { source, target })
}

async fn meet(service: &Service<'_>, lock: &dyn Lock) -> Result<(Box<dyn Snapshot>, Position), EngineError> {
    let capture = capture_of(service.source)?;
    check_standing(capture, service.graph, stream_of(service.graph)?).await?;
    let source = capture.snapshot(&service.graph.name, OPEN_WAIT).await?;
    let goal = Goal::Exactly(source.position().clone());
    let report = follow_locked(service, lock, &goal).await?;
    if report.ended == Ended::Stopped {
        return Err(EngineError::new(Cause::Other, "catch up", "stopping was asked for"));
    }
    Ok((source, report.position))
}
