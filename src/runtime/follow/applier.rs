//! Applies what the buffer holds: whole source transactions, each target transaction with its
//! mark, again where an error may pass. Decides where following ends.

use std::time::Duration;

use tokio::time::Instant;

use super::flow::Flow;
use super::group::{Cut, Group, Tally, Verdict, cut};
use super::{Ended, Goal, Mode};
use crate::change::{Position, Record, Records};
use crate::checkpoint::Checkpoint;
use crate::engine::crash::crash_point;
use crate::engine::{Applied, Cause, EngineError, Session};
use crate::runtime::batch::{Folded, fold};
use crate::runtime::buffer::{Kind, Taken};
use crate::runtime::event::Event;
use crate::runtime::retry::{Attempts, jitter};

/// How often a position that the log came to without changes for us is marked.
const MARK_IDLE: Duration = Duration::from_secs(10);
/// How often a waiting applier looks at goal and clock.
const LOOK: Duration = Duration::from_secs(1);
/// Rows and transactions that go into one commit in transactional mode: what a small transaction
/// costs is mostly its commit.
const GROUP_ROWS: u64 = 500;
const GROUP_TRANSACTIONS: u64 = 100;

pub(super) struct Applier<'r, 'a> {
    flow: &'r Flow<'a>,
    goal: &'r Goal,
    session: Option<Box<dyn Session>>,
    /// All that comes before it is applied.
    position: Position,
    /// The target's progress says so.
    marked: bool,
    marked_at: Instant,
    /// Nothing of what comes next belongs to the goal.
    complete: bool,
    /// Attempts at a transaction in parts since the last commit.
    tries: Attempts,
    /// It goes row by row, because as sets it failed.
    in_order: bool,
    /// What its commit would mark, once that was sent, and whether its outcome is unknown.
    doubt: Option<(Position, Tally)>,
    uncertain: bool,
}

/// What there is to do.
enum Work {
    Pieces(Vec<Taken>),
    /// A transaction in parts begins.
    Parts(Taken),
    Nothing,
    End(EngineError),
}

/// An attempt failed.
struct Slip {
    error: EngineError,
    /// The commit was sent and may have happened.
    uncertain: bool,
}

impl From<EngineError> for Slip {
    fn from(error: EngineError) -> Self {
        Self { error, uncertain: false }
    }
}

impl<'r, 'a> Applier<'r, 'a> {
    pub(super) fn new(flow: &'r Flow<'a>, goal: &'r Goal) -> Self {
        Self {
            flow,
            goal,
            session: None,
            position: flow.following.from.clone(),
            marked: true,
            marked_at: Instant::now(),
            complete: false,
            tries: Attempts::new(flow.following.options.attempts),
            in_order: false,
            doubt: None,
            uncertain: false,
        }
    }

    pub(super) fn is_at_goal(&self) -> bool {
        match self.goal {
            Goal::Exactly(goal) | Goal::Past(goal) => {
                self.complete || self.flow.reached(&self.position, goal)
            }
            Goal::Lag(most) => self.flow.lag().is_some_and(|lag| lag <= *most),
            Goal::Forever => false,
        }
    }

    pub(super) async fn run(&mut self) -> Result<Ended, EngineError> {
        loop {
            if self.is_at_goal() {
                self.mark_idle().await?;
                return Ok(Ended::Goal);
            }
            if self.flow.following.stop.asked() {
                self.mark_idle().await?;
                return Ok(Ended::Stopped);
            }
            match self.work().await {
                Work::Pieces(pieces) => self.apply_pieces(&pieces).await?,
                Work::Parts(first) => self.apply_parts(first).await?,
                Work::Nothing if self.marked_at.elapsed() >= MARK_IDLE => self.mark_idle().await?,
                Work::Nothing => {}
                Work::End(error) => {
                    // The error is what matters; what is not marked is only told again.
                    let _ = self.mark_idle().await;
                    return Err(error);
                }
            }
        }
    }

    /// What is there now, else what comes next.
    async fn work(&mut self) -> Work {
        let (flow, following) = (self.flow, self.flow.following);
        if let Some(work) = self.gather() {
            return work;
        }
        if let Some(error) = flow.buffer.end() {
            return Work::End(error);
        }
        tokio::select! {
            biased;
            () = following.stop.wait() => {}
            () = flow.buffer.arrived.notified() => {}
            () = following.clock.sleep(LOOK) => {}
        }
        Work::Nothing
    }

    /// Takes what is there, up to a batch. Waits for nothing.
    fn gather(&mut self) -> Option<Work> {
        let (buffer, options) = (&self.flow.buffer, self.flow.following.options);
        let (mut pieces, mut rows, mut bytes) = (Vec::new(), 0, 0);
        while let Some(kind) = buffer.peek() {
            if kind != Kind::Whole && !pieces.is_empty() {
                break;
            }
            let taken = buffer.take()?;
            if kind != Kind::Whole {
                return Some(Work::Parts(taken));
            }
            rows += taken.changes.rows();
            bytes += taken.changes.len();
            pieces.push(taken);
            if rows >= options.batch_rows as u64 || bytes >= options.batch_bytes {
                break;
            }
        }
        (!pieces.is_empty()).then_some(Work::Pieces(pieces))
    }

    async fn apply_pieces(&mut self, pieces: &[Taken]) -> Result<(), EngineError> {
        let found = self.cut(pieces);
        let last = found.groups.len().saturating_sub(1);
        for (at, (group, position)) in found.groups.iter().enumerate() {
            let end = pieces.last().and_then(|piece| piece.end.as_ref()).filter(|_| at == last);
            let position = match (found.stopped, end) {
                (false, Some(end)) => end,
                _ => position,
            };
            self.apply_group(group, position).await?;
        }
        if let (false, Some(end)) = (found.stopped, pieces.last().and_then(|piece| piece.end.as_ref())) {
            self.reach(end);
        }
        if found.stopped {
            self.finish();
        }
        self.flow.buffer.release();
        Ok(())
    }

    /// Groups of transactions in pieces, up to the goal.
    fn cut<'p>(&self, pieces: &'p [Taken]) -> Cut<'p> {
        let mode = self.flow.following.options.mode;
        let full = |tally: &Tally| {
            mode == Mode::Transactional
                && (tally.rows >= GROUP_ROWS || tally.transactions >= GROUP_TRANSACTIONS)
        };
        let records = pieces.iter().map(|piece| piece.changes.records());
        cut(records, &self.position, |begin, position| self.judge(begin, position), full)
    }

    fn judge(&self, begin: &str, position: &Position) -> Verdict {
        let begin = Position(begin.to_string());
        if !self.flow.reached(&begin, position) {
            return Verdict::Skip;
        }
        match self.goal {
            Goal::Exactly(goal) if self.flow.reached(&begin, goal) => Verdict::Stop,
            _ => Verdict::Apply,
        }
    }

    /// The log has come to a position, and all before it is applied.
    fn reach(&mut self, position: &Position) {
        if self.position != *position && self.flow.reached(position, &self.position) {
            self.position.clone_from(position);
            self.marked = false;
        }
    }

    /// A transaction after an exact goal was seen: all before the goal is applied.
    fn finish(&mut self) {
        self.complete = true;
        if let Goal::Exactly(goal) = self.goal {
            self.reach(goal);
        }
    }

    /// Applies and commits, again where that may help. A set that fails is never the last word.
    async fn apply_group(&mut self, group: &Group<'_>, position: &Position) -> Result<(), EngineError> {
        let tables = self.flow.following.tables;
        let mut folded = match self.flow.following.options.mode {
            Mode::Batch => Some(fold(&group.runs, tables)),
            Mode::Transactional => None,
        };
        let mut tries = Attempts::new(self.flow.following.options.attempts);
        let mut uncertain = false;
        loop {
            let mut slip = match self.attempt(group, folded.as_ref(), position).await {
                Ok(()) => break,
                Err(slip) => slip,
            };
            self.leave(Some(&slip.error)).await;
            uncertain |= slip.uncertain;
            if uncertain {
                match self.has_committed(position).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => slip.error = error,
                }
            }
            if is_final(&slip.error) && slip.error.cause != Cause::Locked && folded.take().is_some() {
                continue;
            }
            self.back_off(&mut tries, slip.error).await?;
        }
        self.committed(position, &group.tally);
        Ok(())
    }

    async fn attempt(
        &mut self,
        group: &Group<'_>,
        folded: Option<&Folded<'_>>,
        position: &Position,
    ) -> Result<(), Slip> {
        self.begin().await?;
        self.apply(&group.runs, folded).await?;
        self.seal(position, &group.tally).await
    }

    /// Begins a transaction on a session that applies.
    async fn begin(&mut self) -> Result<(), EngineError> {
        if self.session.is_none() {
            let mut session = self.flow.following.lock.session().await?;
            session.follow(self.flow.following.tables).await?;
            self.session = Some(session);
        }
        self.session().begin().await
    }

    fn session(&mut self) -> &mut dyn Session {
        self.session.as_mut().expect("broken invariant: a transaction was begun").as_mut()
    }

    async fn apply(&mut self, runs: &[Records<'_>], folded: Option<&Folded<'_>>) -> Result<(), EngineError> {
        let applied = match folded {
            Some(folded) if folded.net.tables.is_empty() => Applied::Done,
            Some(folded) => self.session().apply_net(&folded.net).await?,
            None => Applied::Clashed,
        };
        match (applied, folded) {
            (Applied::Done, Some(folded)) if folded.rest.is_empty() => Ok(()),
            (Applied::Done, Some(folded)) => self.session().apply_rows(folded.rest.records()).await,
            _ => {
                for run in runs {
                    self.session().apply_rows(*run).await?;
                }
                Ok(())
            }
        }
    }

    /// Marks and commits.
    async fn seal(&mut self, position: &Position, tally: &Tally) -> Result<(), Slip> {
        let following = self.flow.following;
        let mark = Checkpoint::Applied(tally.mark(position, following.tables));
        self.session().mark(following.plan, &mark).await?;
        self.session().commit().await.map_err(|error| {
            let uncertain = error.cause == Cause::Connection;
            Slip { error, uncertain }
        })
    }

    /// Notes a commit.
    fn committed(&mut self, position: &Position, tally: &Tally) {
        crash_point("apply::commit_ok_before_ack");
        self.position.clone_from(position);
        (self.marked, self.marked_at) = (true, Instant::now());
        self.tries = Attempts::new(self.flow.following.options.attempts);
        (self.in_order, self.doubt, self.uncertain) = (false, None, false);
        self.flow.note_applied(position, tally);
    }

    /// Marks the position that the log has come to, where the target does not know it yet.
    async fn mark_idle(&mut self) -> Result<(), EngineError> {
        if self.marked {
            return Ok(());
        }
        let position = self.position.clone();
        let nothing = Group::default();
        self.apply_group(&nothing, &position).await
    }

    /// Rolls back, or lets the session go where that is no more possible.
    async fn leave(&mut self, error: Option<&EngineError>) {
        let lost = error.is_some_and(|error| matches!(error.cause, Cause::Connection | Cause::Locked));
        if let Some(mut session) = self.session.take()
            && !lost
            && session.rollback().await.is_ok()
        {
            self.session = Some(session);
        }
    }

    /// Looks whether the target has come to `position`: only this stream's commits move it.
    async fn has_committed(&mut self, position: &Position) -> Result<bool, EngineError> {
        let following = self.flow.following;
        let mut tries = Attempts::new(following.options.attempts);
        loop {
            let error = match following.target.progress(following.plan).await {
                Ok(progress) => {
                    let there = progress.stream.map(|stream| stream.position);
                    return Ok(there.is_some_and(|there| self.flow.reached(&there, position)));
                }
                Err(error) => error,
            };
            self.back_off(&mut tries, error).await?;
        }
    }

    async fn back_off(&mut self, tries: &mut Attempts, error: EngineError) -> Result<(), EngineError> {
        let Some(wait) = tries.failed(&error, jitter()) else { return Err(error) };
        let following = self.flow.following;
        following.reporter.event(&Event::Retrying {
            step: "apply changes".into(),
            attempt: tries.made(),
            millis: wait.as_millis() as u64,
            error: error.to_string(),
        });
        following.clock.sleep(wait).await;
        Ok(())
    }

    /// Applies a transaction that comes in parts, in one target transaction.
    async fn apply_parts(&mut self, first: Taken) -> Result<(), EngineError> {
        let judged = match first.changes.records().next() {
            Some(Record::Begin { position }) => self.judge(position, &self.position),
            _ => unreachable!("broken invariant: a first part begins a transaction"),
        };
        if judged == Verdict::Stop {
            self.finish();
            return Ok(());
        }
        if judged == Verdict::Skip {
            return self.skip_parts().await;
        }
        match self.attempt_parts(first).await {
            Ok(Some((position, tally))) => {
                self.committed(&position, &tally);
                self.flow.buffer.release();
                Ok(())
            }
            // The connection to the source broke, and all of it comes again.
            Ok(None) => {
                self.leave(None).await;
                self.take_again();
                Ok(())
            }
            Err(slip) => self.failed_parts(slip).await,
        }
    }

    /// Applies part after part. None where they were withdrawn.
    async fn attempt_parts(&mut self, first: Taken) -> Result<Option<(Position, Tally)>, Slip> {
        let folds = self.flow.following.options.mode == Mode::Batch && !self.in_order;
        let mut tally = Tally::default();
        let mut parts = vec![first];
        self.begin().await?;
        loop {
            self.join_parts(&mut parts);
            let runs: Vec<Records<'_>> = parts.iter().map(|part| part.changes.records()).collect();
            runs.iter().flat_map(|run| *run).for_each(|record| tally.count(&record));
            let folded = folds.then(|| fold(&runs, self.flow.following.tables));
            self.apply(&runs, folded.as_ref()).await?;
            if let Some(end) = parts.last().and_then(|part| part.end.clone()) {
                self.doubt = Some((end.clone(), tally.clone()));
                self.seal(&end, &tally).await?;
                return Ok(Some((end, tally)));
            }
            let Some(next) = self.next_part().await else { return Ok(None) };
            parts = vec![next];
        }
    }

    /// Adds parts that are there, up to a batch.
    fn join_parts(&self, parts: &mut Vec<Taken>) {
        let (buffer, options) = (&self.flow.buffer, self.flow.following.options);
        let mut rows = parts.iter().map(|part| part.changes.rows()).sum::<u64>();
        let mut bytes = parts.iter().map(|part| part.changes.len()).sum::<usize>();
        while rows < options.batch_rows as u64
            && bytes < options.batch_bytes
            && parts.last().is_some_and(|part| part.end.is_none())
            && matches!(buffer.peek(), Some(Kind::Middle | Kind::Last))
        {
            let Some(part) = buffer.take() else { return };
            rows += part.changes.rows();
            bytes += part.changes.len();
            parts.push(part);
        }
    }

    /// Waits for the next part. None where those before it were withdrawn.
    async fn next_part(&mut self) -> Option<Taken> {
        let buffer = &self.flow.buffer;
        loop {
            if buffer.is_withdrawn() {
                return None;
            }
            if let Some(part) = buffer.take() {
                return Some(part);
            }
            buffer.arrived.notified().await;
        }
    }

    /// Passes over a transaction that is in the target already.
    async fn skip_parts(&mut self) -> Result<(), EngineError> {
        loop {
            match self.next_part().await {
                Some(Taken { end: Some(_), .. }) => break self.flow.buffer.release(),
                Some(_) => {}
                None => break self.take_again(),
            }
        }
        Ok(())
    }

    async fn failed_parts(&mut self, slip: Slip) -> Result<(), EngineError> {
        let Slip { mut error, uncertain } = slip;
        self.leave(Some(&error)).await;
        self.uncertain |= uncertain;
        if let (true, Some((position, tally))) = (self.uncertain, self.doubt.clone()) {
            match self.has_committed(&position).await {
                Ok(true) => {
                    self.committed(&position, &tally);
                    self.take_again();
                    return Ok(());
                }
                Ok(false) => {}
                Err(unknown) => error = unknown,
            }
        }
        let folded = self.flow.following.options.mode == Mode::Batch && !self.in_order;
        if is_final(&error) && error.cause != Cause::Locked && folded {
            self.in_order = true;
        } else {
            let mut tries = self.tries.clone();
            let passed = self.back_off(&mut tries, error).await;
            self.tries = tries;
            passed?;
        }
        self.take_again();
        Ok(())
    }

    /// What was taken since the last commit is taken again: from the buffer, else from the source.
    fn take_again(&self) {
        if !self.flow.buffer.rewind() {
            self.flow.again.notify_one();
        }
    }
}

fn is_final(error: &EngineError) -> bool {
    !error.retryable()
}
