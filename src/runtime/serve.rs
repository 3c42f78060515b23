//! Follows as a service: holds the plan's lock for as long as it lives, goes on after what passes
//! (a server that restarts, a lock whose session was lost), and gives the capture up before the
//! source keeps more log than the plan allows. Applies nothing itself.

use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::event::{Event, FOLLOW, Reporter};
use super::executor::{Stop, goal_of};
use super::follow::{Ended, FollowOptions, FollowReport, Following, Goal, follow};
use super::goal::done_steps;
use super::retry::{Attempts, jitter};
use super::stream::{capture_of, check_standing, lost, origin};
use crate::change::Position;
use crate::engine::{Capture, Cause, EngineError, Lock, Source, Standing, Target};
use crate::graph::{Graph, Stream};

/// Seconds between two looks at the lock.
const BEAT: Duration = Duration::from_secs(3);
/// Seconds between two looks at what the source keeps.
const LOOK: Duration = Duration::from_secs(10);

/// What is followed, for whom, and how.
pub struct Service<'a> {
    pub graph: &'a Graph,
    pub source: &'a dyn Source,
    pub target: &'a dyn Target,
    pub follow: &'a FollowOptions,
    /// The digest of the goal, recorded with the run.
    pub digest: &'a str,
    pub lock_wait: Duration,
    /// Bytes of log that the source may keep.
    pub keep_log: Option<u64>,
    pub reporter: &'a dyn Reporter,
    pub stop: &'a Stop,
    pub clock: Arc<dyn Clock>,
}

impl Service<'_> {
    /// Takes the plan's lock.
    pub async fn lock(&self) -> Result<Box<dyn Lock>, EngineError> {
        let goal = goal_of(self.graph, self.digest);
        self.target.lock(&self.graph.name, &goal, self.lock_wait).await
    }
}

/// Follows until the goal, until stopping is asked for, or until an error that does not pass.
pub async fn serve(service: &Service<'_>, goal: &Goal) -> Result<FollowReport, EngineError> {
    let mut tries = Attempts::new(u32::MAX);
    let mut at: Option<Position> = None;
    let progress = service.target.progress(&service.graph.name).await?;
    super::cutover::refuse_decided(&progress, &service.graph.name)?;
    if progress.steps.is_empty() {
        // Nobody has begun: there is nothing to wait for, and no run to remember.
        all_done(service.graph, &progress)?;
    }
    loop {
        let held = Held::take(service).await;
        let ended = match held {
            Ok(held) => held.follow(service, goal).await,
            Err(error) => Err((error, false)),
        };
        let (error, had_lock) = match ended {
            Ok(report) => return Ok(report),
            Err(failed) => failed,
        };
        // A lock that was lost with its session is taken anew; one that another has ends it.
        let passes = error.retryable() || (had_lock && error.cause == Cause::Locked);
        if !passes {
            return Err(error);
        }
        let now = position(service).await;
        if now.is_some() && now != at {
            tries = Attempts::new(u32::MAX);
            at = now;
        }
        let Some(wait) = tries.passed(jitter()) else { return Err(error) };
        service.reporter.event(&Event::Retrying {
            step: FOLLOW.into(),
            attempt: tries.made(),
            millis: wait.as_millis() as u64,
            error: error.to_string(),
        });
        tokio::select! {
            () = service.clock.sleep(wait) => {}
            () = service.stop.wait() => {}
        }
        if service.stop.asked() {
            return stopped(service, error).await;
        }
    }
}

/// Where the target is; none where it cannot say now.
async fn position(service: &Service<'_>) -> Option<Position> {
    let progress = service.target.progress(&service.graph.name).await.ok()?;
    progress.stream.map(|stream| stream.position)
}

/// The end of a service that was stopped while it waited for a server to come back. What keeps the
/// target from telling where it stands says more than what came of it before.
async fn stopped(service: &Service<'_>, error: EngineError) -> Result<FollowReport, EngineError> {
    let progress = service.target.progress(&service.graph.name).await?;
    let stream = progress.stream.ok_or(error)?;
    Ok(FollowReport {
        position: stream.position,
        committed_at: stream.committed_at,
        transactions: 0,
        counts: Default::default(),
        tables: Vec::new(),
        ended: Ended::Stopped,
    })
}

/// The lock, while following.
struct Held {
    lock: Box<dyn Lock>,
}

impl Held {
    async fn take(service: &Service<'_>) -> Result<Self, EngineError> {
        let lock = service.lock().await?;
        Ok(Self { lock })
    }

    /// Follows; with an error, whether the lock was held when it came.
    async fn follow(self, service: &Service<'_>, goal: &Goal) -> Result<FollowReport, (EngineError, bool)> {
        let result = follow_locked(service, self.lock.as_ref(), goal).await;
        let word = match &result {
            Ok(_) => "done",
            Err(_) => "failed",
        };
        let closed = self.lock.close(word).await;
        match result {
            Ok(report) => closed.map(|()| report).map_err(|error| (error, true)),
            Err(error) => Err((error, true)),
        }
    }
}

/// Follows under a lock that the caller holds and closes.
pub async fn follow_locked(
    service: &Service<'_>,
    lock: &dyn Lock,
    goal: &Goal,
) -> Result<FollowReport, EngineError> {
    let stream = stream_of(service.graph)?;
    let progress = service.target.progress(&service.graph.name).await?;
    all_done(service.graph, &progress)?;
    let capture = capture_of(service.source)?;
    check_standing(capture, service.graph, stream).await?;
    let origin = origin(stream, &progress)?;
    let following = Following {
        plan: &service.graph.name,
        capture,
        target: service.target,
        lock,
        tables: &stream.tables,
        starts: &origin.starts,
        from: origin.progress.position,
        options: service.follow,
        reporter: service.reporter,
        stop: service.stop,
        clock: service.clock.clone(),
    };
    let why = tokio::select! {
        biased;
        error = beat(lock, service.clock.as_ref()) => return Err(error),
        why = watch_log(capture, service.graph, service.keep_log, service.reporter, service.clock.as_ref()) => why,
        report = follow(&following, goal) => return report,
    };
    Err(give_up(capture, service.graph, why).await)
}

/// A graph that follows nothing cannot be followed.
pub fn stream_of(graph: &Graph) -> Result<&Stream, EngineError> {
    graph.stream.as_ref().ok_or_else(|| {
        EngineError::new(Cause::Other, "follow", "the plan follows no table")
            .hint("add cdc: true to defaults or to tables, then plan and apply again")
    })
}

/// Following goes on where apply has brought everything together.
pub(super) fn all_done(graph: &Graph, progress: &crate::checkpoint::Progress) -> Result<(), EngineError> {
    let done = done_steps(graph, progress)?;
    let left = graph.steps.iter().filter(|step| !done.contains(&step.id)).count();
    if left == 0 {
        return Ok(());
    }
    let why = format!("{left} of {} steps of the plan are not done yet", graph.steps.len());
    Err(EngineError::new(Cause::Other, "follow", why).hint("towpath apply does them; then follow"))
}

/// Returns once the lock is lost.
pub(super) async fn beat(lock: &dyn Lock, clock: &dyn Clock) -> EngineError {
    loop {
        clock.sleep(BEAT).await;
        if let Err(error) = lock.heartbeat().await {
            return error;
        }
    }
}

/// Returns once the source keeps more than it may, and why that is too much. Warns at half and at
/// four fifths of it. What is kept is told at each look.
pub(super) async fn watch_log(
    capture: &dyn Capture,
    graph: &Graph,
    limit: Option<u64>,
    reporter: &dyn Reporter,
    clock: &dyn Clock,
) -> String {
    // Judged only once there was time to catch up after a pause.
    look(capture, graph, limit, reporter).await;
    let mut told = 0;
    loop {
        clock.sleep(LOOK).await;
        let kept = look(capture, graph, limit, reporter).await;
        let (Some(retained), Some(limit)) = (kept, limit) else { continue };
        if retained > limit {
            return format!("the source keeps {retained} bytes of log, and cdc.keep_log allows {limit}");
        }
        let reached = |percent: &u64| retained >= limit / 100 * percent;
        let level = [80, 50].into_iter().find(reached).unwrap_or(0);
        if level > told {
            reporter.event(&Event::LogKept { bytes: retained, limit });
        }
        told = level;
    }
}

/// Bytes of log that the source keeps. Who cannot ask now asks again later: reading the log has
/// its own errors. Nothing is told of a capture that is not opened yet.
async fn look(
    capture: &dyn Capture,
    graph: &Graph,
    limit: Option<u64>,
    reporter: &dyn Reporter,
) -> Option<u64> {
    let standing = capture.standing(&graph.name).await.ok().filter(|found| *found != Standing::Missing)?;
    let retained = match &standing {
        Standing::Kept { retained, .. } => Some(*retained),
        Standing::Missing | Standing::Lost(_) => None,
    };
    reporter.event(&Event::SourceKeeps { standing, limit });
    retained
}

/// Closes the capture, so that the source's disk does not fill. Whoever read from it has let go of
/// it before: what is read from stays.
pub(super) async fn give_up(capture: &dyn Capture, graph: &Graph, why: String) -> EngineError {
    match (capture.close(&graph.name).await, stream_of(graph)) {
        (Ok(_), Ok(stream)) => lost(stream, format!("{why}: it was given up")),
        (Err(error), _) | (_, Err(error)) => error,
    }
}
