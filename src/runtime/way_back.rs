//! The way back, in the making: before a cutover fences anybody, a capture is opened on the target
//! and the plan's lock is taken on the source; from a position that the cutover finds while both
//! are closed, what is written to the target is kept for the source. The slot is made early because
//! making one waits for every transaction of the server, and the fence is one where both databases
//! are on the same; what we apply between is before that position. A cutover that does not come off
//! leaves nothing of it.

use super::serve::{Service, stream_of};
use super::stream::{OPEN_WAIT, capture_of};
use crate::change::{Followed, Position};
use crate::checkpoint::Checkpoint;
use crate::engine::crash::crash_point;
use crate::engine::{Capture, CaptureSpec, Cause, EngineError, Lock, Obstacle, Source, Standing, Target};
use crate::plan::keys::HAZARDS;

/// Where an obstacle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The target of the plan.
    Followed,
    /// Its source.
    Written,
}

/// Everything in the way of following the one and writing to the other, found by reading only.
/// `spec`: with those of the tables that the first one has by now.
pub async fn obstacles(
    (source, target): (&dyn Source, &dyn Target),
    spec: &CaptureSpec<'_>,
    tables: &[Followed],
    fenced: bool,
) -> Result<Vec<(End, Obstacle)>, EngineError> {
    let mut found = Vec::new();
    match source.capture() {
        Some(capture) => {
            let obstacles = capture.check(spec).await?;
            found.extend(obstacles.into_iter().map(|obstacle| (End::Followed, obstacle)));
        }
        None => found.push((
            End::Followed,
            Obstacle {
                code: "C502",
                at: "server".into(),
                message: "this engine's change log cannot be followed".into(),
                hint: "reverse: false".into(),
                blocks: true,
            },
        )),
    }
    let obstacles = target.check(tables, fenced).await?;
    found.extend(obstacles.into_iter().map(|obstacle| (End::Written, obstacle)));
    Ok(found)
}

/// What stands in the way now and can be accepted by nobody, the first of it. The rest is for who
/// makes the plan to decide.
pub async fn obstacle(service: &Service<'_>, fenced: bool) -> Result<Option<(End, Obstacle)>, EngineError> {
    let ends = (service.source, service.target);
    let tables = &stream_of(service.graph)?.tables;
    let spec = CaptureSpec { plan: &service.graph.name, tables, cascades: service.follow.cascades };
    let found = obstacles(ends, &spec, tables, fenced).await?;
    let accepted = |code: &str| HAZARDS.iter().any(|(known, may)| *known == code && *may);
    Ok(found.into_iter().find(|(_, obstacle)| obstacle.blocks && !accepted(obstacle.code)))
}

/// A way back whose capture stands and whose lock is held.
pub struct WayBack<'a> {
    service: &'a Service<'a>,
    capture: &'a dyn Capture,
    lock: Box<dyn Lock>,
}

impl<'a> WayBack<'a> {
    /// Opens it. `again`: the cutover was decided before, and what stands then is kept.
    pub async fn open(service: &'a Service<'a>, again: bool) -> Result<Self, EngineError> {
        let way = Self::lock(service, again).await?;
        if again && matches!(way.capture.standing(way.name()).await?, Standing::Kept { .. }) {
            return Ok(way);
        }
        let spec = CaptureSpec {
            plan: way.name(),
            tables: &stream_of(service.graph)?.tables,
            cascades: service.follow.cascades,
        };
        // The rows are there: of the snapshot nothing is needed.
        match way.capture.open(&spec, OPEN_WAIT).await {
            Ok(snapshot) => {
                let _ = snapshot.close().await;
                crash_point("cut::back_opened");
                Ok(way)
            }
            Err(error) if again => Err(error),
            Err(error) => Err(way.undo_after(error).await),
        }
    }

    /// Only takes the lock, which makes the state.
    pub async fn lock(service: &'a Service<'a>, again: bool) -> Result<Self, EngineError> {
        let capture = capture_of(service.source)?;
        let earlier = service.target.progress(&service.graph.name).await?;
        if !again && (earlier.stream.is_some() || !earlier.steps.is_empty()) {
            let what = "the source still holds the state of an earlier way back";
            return Err(EngineError::new(Cause::Stale, "make", what)
                .on(&service.graph.name)
                .hint("towpath clean --back removes it"));
        }
        let lock = service.lock().await?;
        Ok(Self { service, capture, lock })
    }

    fn name(&self) -> &'a str {
        &self.service.graph.name
    }

    /// The end of the target's log: while nobody can write, all that we applied is before it, and
    /// all that is written later behind.
    pub async fn head(&self) -> Result<Position, EngineError> {
        self.capture.head().await
    }

    /// Lets the stream begin there, unless it does.
    pub async fn begin(&self, at: &Position) -> Result<(), EngineError> {
        let progress = self.service.target.progress(self.name()).await?;
        if progress.stream.is_some_and(|stream| stream.opened == *at) {
            return Ok(());
        }
        let mut session = self.lock.session().await?;
        session.follow(&[]).await?;
        session.begin().await?;
        session.mark(self.name(), &Checkpoint::Opened(at.clone())).await?;
        session.commit().await
    }

    pub async fn close(self) -> Result<(), EngineError> {
        self.lock.close("done").await
    }

    /// Takes all of it away.
    pub async fn undo(self) -> Result<(), EngineError> {
        self.capture.close(self.name()).await?;
        self.lock.forget().await.map(drop)
    }

    /// Takes all of it away after an error, which is what is told.
    pub async fn undo_after(self, error: EngineError) -> EngineError {
        match self.undo().await {
            Ok(()) => error,
            Err(_) => {
                let left = "what was made for the way back is left; `towpath clean --back` removes it";
                let hint = error.hint.clone().map_or(left.to_string(), |hint| format!("{hint}; {left}"));
                error.hint(hint)
            }
        }
    }
}
