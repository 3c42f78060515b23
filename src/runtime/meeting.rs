//! One commit point at both ends: brings the target exactly to where a snapshot of the source is,
//! and holds both. While the source is written, that is the only moment at which they can be
//! compared.

use super::follow::{Ended, Goal};
use super::serve::{Service, follow_locked, stream_of};
use super::stream::{OPEN_WAIT, capture_of, check_standing};
use crate::engine::{Cause, EngineError, Lock, Snapshot};

/// Both ends as of one commit of the source.
pub struct CommonPoint {
    pub source: Box<dyn Snapshot>,
    pub target: Box<dyn Snapshot>,
}

/// Takes the plan's lock for the time of catching up; what is held then needs none.
pub async fn common_point(service: &Service<'_>) -> Result<CommonPoint, EngineError> {
    let lock = service.lock().await?;
    let met = meet(service, lock.as_ref()).await;
    let known = runs(service).await;
    let closed = lock.close(if met.is_ok() { "done" } else { "failed" }).await;
    let (source, known) = (met?, known?);
    closed?;
    // The lock goes first: an engine may let nobody write while a snapshot is held, and its end is
    // written down. Whoever takes it in between is found by the run that he leaves.
    let target = service.target.snapshot().await?;
    if runs(service).await? != known {
        let why = "another run of the plan began in between, and may have written";
        return Err(EngineError::new(Cause::Locked, "compare both ends of", why).on(&service.graph.name));
    }
    Ok(CommonPoint { source, target })
}

/// The runs of the plan that the target remembers.
async fn runs(service: &Service<'_>) -> Result<Vec<String>, EngineError> {
    let progress = service.target.progress(&service.graph.name).await?;
    Ok(progress.runs.into_iter().map(|run| run.run).collect())
}

async fn meet(service: &Service<'_>, lock: &dyn Lock) -> Result<Box<dyn Snapshot>, EngineError> {
    let (source, reached) = try_to_meet(service, lock).await?;
    reached.map(|()| source)
}

/// Takes a snapshot of the source and brings the target to it. The second says what kept it back.
pub(super) async fn try_to_meet(
    service: &Service<'_>,
    lock: &dyn Lock,
) -> Result<(Box<dyn Snapshot>, Result<(), EngineError>), EngineError> {
    let capture = capture_of(service.source)?;
    check_standing(capture, service.graph, stream_of(service.graph)?).await?;
    let source = capture.snapshot(&service.graph.name, OPEN_WAIT).await?;
    let goal = Goal::Exactly(source.position().clone());
    let reached = match follow_locked(service, lock, &goal).await {
        Ok(report) if report.ended == Ended::Stopped => {
            Err(EngineError::new(Cause::Other, "catch up", "stopping was asked for"))
        }
        followed => followed.map(drop),
    };
    Ok((source, reached))
}
