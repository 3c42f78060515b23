//! Applies what the buffer holds: whole source transactions, each target transaction with its
//! mark, again where an error may pass. Decides where following ends.

use std::time::Duration;

use tokio::time::Instant;

use super::flow::Flow;
use super::group::{Cut, Group, Tally, Verdict, cut};
use super::{Acknowledge, Ended, Goal, Mode};
use crate::change::{Position, Record, Records};
use crate::checkpoint::Checkpoint;
use crate::engine::crash::crash_point;
use crate::engine::{Applied, Cause, EngineError, Session};
use crate::runtime::batch::{Folded, fold};
use crate::runtime::buffer::{Kind, Taken};
use crate::runtime::event::{APPLY, Event};
use crate::runtime::retry::{Attempts, jitter};

/// How often a position that the log came to without changes for us is marked.
const MARK_IDLE: Duration = Duration::from_secs(10);
/// How often a waiting applier looks at goal and clock.
const LOOK: Duration = Duration::from_secs(1);
/// How long commits may be lazy: until one is durable, the source keeps what they brought.
const LAZY_MOST: Duration = Duration::from_secs(5);
/// Rows and transactions that go into one commit in transactional mode: what a small transaction
/// costs is mostly its commit.
const GROUP_ROWS: u64 = 4_000;
const GROUP_TRANSACTIONS: u64 = 1_000;
/// Batches that are taken at once: while the target works on one the next is folded. Of rows so
/// many times a batch, of bytes one in all.
const ROUND: usize = 4;

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
    /// Attempts since the last commit.
    tries: Attempts,
    /// What comes next goes row by row, because as sets it failed.
    in_order: bool,
    /// Commits of unknown outcome. At most one of them can have happened: each begins at the same
    /// mark.
    doubts: Vec<Doubt>,
    /// Since when a crash of the target may take commits back.
    lazy_since: Option<Instant>,
}

/// What a commit of unknown outcome would have marked, and what it would have brought.
#[derive(Clone)]
struct Doubt {
    position: Position,
    tally: Tally,
    lazily: bool,
}

/// What there is to do.
enum Work {
    Pieces(Vec<Taken>),
    /// A transaction in parts begins.
    Parts(Taken),
    Nothing,
    End(EngineError),
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
            doubts: Vec::new(),
            lazy_since: None,
        }
    }

    pub(super) fn is_at_goal(&self) -> bool {
        if !self.doubts.is_empty() {
            return false;
        }
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
            // A commit of unknown outcome is settled by what comes next, where that is there.
            let settled = self.doubts.is_empty() || self.flow.buffer.peek().is_none();
            if self.flow.following.stop.asked() && settled {
                self.mark_idle().await?;
                return Ok(Ended::Stopped);
            }
            match self.work().await? {
                Work::Pieces(pieces) => self.apply_pieces(&pieces).await?,
                Work::Parts(first) => self.apply_parts(first).await?,
                Work::Nothing if self.lazy_since.is_some() => self.mark_idle().await?,
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
    async fn work(&mut self) -> Result<Work, EngineError> {
        let (flow, following) = (self.flow, self.flow.following);
        if let Some(work) = self.gather().await? {
            return Ok(work);
        }
        if let Some(error) = flow.buffer.end() {
            return Ok(Work::End(error));
        }
        tokio::select! {
            biased;
            () = following.stop.wait() => {}
            () = flow.buffer.arrived.notified() => {}
            () = following.clock.sleep(LOOK) => {}
        }
        Ok(Work::Nothing)
    }

    /// Rows and bytes that are enough for some batches.
    fn is_round(&self, rows: u64, bytes: usize) -> bool {
        let options = self.flow.following.options;
        rows >= (options.batch_rows * ROUND) as u64 || bytes >= options.round_bytes()
    }

    /// Rows and bytes that are enough for one.
    fn is_batch(&self, rows: u64, bytes: usize) -> bool {
        let options = self.flow.following.options;
        rows >= options.batch_rows as u64 || bytes >= options.round_bytes() / ROUND
    }

    /// Takes what is there, up to a round of batches. Waits for nothing.
    async fn gather(&mut self) -> Result<Option<Work>, EngineError> {
        let buffer = &self.flow.buffer;
        let (mut pieces, mut rows, mut bytes) = (Vec::new(), 0, 0);
        while let Some(kind) = buffer.peek() {
            if kind != Kind::Whole && !pieces.is_empty() {
                break;
            }
            let Some(taken) = buffer.take().await? else { break };
            if kind != Kind::Whole {
                return Ok(Some(Work::Parts(taken)));
            }
            rows += taken.changes.rows();
            bytes += taken.changes.len();
            pieces.push(taken);
            if self.is_round(rows, bytes) {
                break;
            }
        }
        Ok((!pieces.is_empty()).then_some(Work::Pieces(pieces)))
    }

    async fn apply_pieces(&mut self, pieces: &[Taken]) -> Result<(), EngineError> {
        let found = self.cut(pieces);
        let last = found.groups.len().saturating_sub(1);
        let mut folded = match found.groups.first() {
            Some((group, _)) if self.folds() => self.fold(Some(&group.runs)).await,
            _ => None,
        };
        for (at, (group, position)) in found.groups.iter().enumerate() {
            let end = pieces.last().and_then(|piece| piece.end.as_ref()).filter(|_| at == last);
            let position = match (found.stopped, end) {
                (false, Some(end)) => end,
                _ => position,
            };
            let next = found.groups.get(at + 1).map(|(group, _)| group.runs.as_slice());
            let next = self.fold(next.filter(|_| self.flow.following.options.mode == Mode::Batch));
            let (applied, next) = tokio::join!(self.apply_group(group, folded.as_ref(), position), next);
            if let Err(error) = applied {
                self.failed(error).await?;
                return self.take_again().await;
            }
            folded = next;
        }
        if found.stopped {
            // What comes after the goal stays, be it in a spool that outlives this following.
            self.finish();
            return Ok(());
        }
        if let Some(end) = pieces.last().and_then(|piece| piece.end.as_ref()) {
            self.reach(end);
        }
        let spooled = self.flow.following.options.acknowledge == Acknowledge::Spooled;
        if spooled && found.groups.is_empty() && pieces.iter().any(|piece| piece.stored) {
            // What the source was told of must not go from the disk before the target knows it.
            self.mark_idle().await?;
        }
        self.flow.buffer.release().await
    }

    /// Groups of transactions in pieces, up to the goal.
    fn cut<'p>(&self, pieces: &'p [Taken]) -> Cut<'p> {
        let full = |group: &Group<'_>| match self.flow.following.options.mode {
            Mode::Batch => self.is_batch(group.tally.rows, group.bytes()),
            Mode::Transactional => {
                group.tally.rows >= GROUP_ROWS || group.tally.transactions >= GROUP_TRANSACTIONS
            }
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
            self.flow.note_reached(position);
        }
    }

    /// A transaction after an exact goal was seen: all before the goal is applied.
    fn finish(&mut self) {
        self.complete = true;
        if let Goal::Exactly(goal) = self.goal {
            self.reach(goal);
        }
    }

    async fn apply_group(
        &mut self,
        group: &Group<'_>,
        folded: Option<&Folded<'_>>,
        position: &Position,
    ) -> Result<(), EngineError> {
        self.begin().await?;
        self.apply(&group.runs, folded).await?;
        self.seal(position, &group.tally).await
    }

    /// Folds runs, where there are any. Holds nothing of the applier, which may be at work meanwhile.
    fn fold<'t>(
        &self,
        runs: Option<&'t [Records<'t>]>,
    ) -> impl Future<Output = Option<Folded<'t>>> + Send + use<'t, 'r, 'a> {
        let tables = self.flow.following.tables;
        async move {
            match runs {
                Some(runs) => Some(fold(runs, tables).await),
                None => None,
            }
        }
    }

    fn folds(&self) -> bool {
        self.flow.following.options.mode == Mode::Batch && !self.in_order
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
    async fn seal(&mut self, position: &Position, tally: &Tally) -> Result<(), EngineError> {
        let following = self.flow.following;
        let mark = Checkpoint::Applied(tally.mark(self.flow.applied(), position, following.tables));
        self.session().mark(following.plan, &mark).await?;
        let lazily = tally.transactions > 0 && self.may_be_lazy();
        let committed = match lazily {
            true => self.session().commit_lazily().await,
            false => self.session().commit().await,
        };
        if let Err(error) = committed {
            // A mark that stays where it was says nothing of whether it was written again.
            if error.cause == Cause::Connection && *position != self.flow.applied() {
                self.doubts.push(Doubt { position: position.clone(), tally: tally.clone(), lazily });
            }
            return Err(error);
        }
        self.committed(position, tally, lazily);
        Ok(())
    }

    /// More is waiting, and the source still has what a crash of the target would take back.
    fn may_be_lazy(&self) -> bool {
        self.flow.following.options.acknowledge == Acknowledge::Applied
            && self.flow.buffer.peek().is_some()
            && self.lazy_since.is_none_or(|since| since.elapsed() < LAZY_MOST)
    }

    /// Notes a commit.
    fn committed(&mut self, position: &Position, tally: &Tally, lazily: bool) {
        crash_point("apply::commit_ok_before_ack");
        self.position.clone_from(position);
        (self.marked, self.marked_at) = (true, Instant::now());
        self.tries = Attempts::new(self.flow.following.options.attempts);
        self.in_order = false;
        self.doubts.clear();
        self.lazy_since = lazily.then(|| self.lazy_since.unwrap_or_else(Instant::now));
        self.flow.note_applied(position, tally, !lazily);
    }

    /// Marks the position that the log has come to, where the target does not know it yet or may
    /// forget it.
    async fn mark_idle(&mut self) -> Result<(), EngineError> {
        while !self.marked || self.lazy_since.is_some() {
            let position = self.position.clone();
            if let Err(error) = self.apply_group(&Group::default(), None, &position).await {
                self.failed(error).await?;
            }
        }
        Ok(())
    }

    /// Sees what is to be done about a failure before all since the last commit is tried again: a
    /// commit of unknown outcome is looked for, and sets that failed are not the last word.
    async fn failed(&mut self, mut error: EngineError) -> Result<(), EngineError> {
        self.leave(Some(&error)).await;
        if !self.doubts.is_empty() {
            match self.look().await {
                Ok(Some(doubt)) => {
                    self.committed(&doubt.position, &doubt.tally, doubt.lazily);
                    return Ok(());
                }
                Ok(None) => {}
                Err(unknown) => error = unknown,
            }
        }
        if !error.retryable() && error.cause != Cause::Locked && self.folds() {
            self.in_order = true;
            return Ok(());
        }
        if !error.retryable()
            && let Err(lost) = self.flow.following.lock.heartbeat().await
        {
            // Whoever has the lock now may have applied the same, or a crash has taken commits back.
            return Err(lost);
        }
        let mut tries = self.tries.clone();
        let passed = self.back_off(&mut tries, error).await;
        self.tries = tries;
        passed
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

    /// Looks which of the commits of unknown outcome happened: only they move the target's mark.
    async fn look(&mut self) -> Result<Option<Doubt>, EngineError> {
        let following = self.flow.following;
        let mut tries = Attempts::new(following.options.attempts);
        loop {
            let error = match following.target.progress(following.plan).await {
                Ok(progress) => {
                    let there = progress.stream.map(|stream| stream.position);
                    let happened = self.doubts.iter().find(|doubt| Some(&doubt.position) == there.as_ref());
                    return Ok(happened.cloned());
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
            step: APPLY.into(),
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
            Ok(true) => self.flow.buffer.release().await,
            // The connection to the source broke, and all of it comes again.
            Ok(false) => {
                self.leave(None).await;
                self.take_again().await
            }
            Err(error) => {
                self.failed(error).await?;
                self.take_again().await
            }
        }
    }

    /// Applies part after part, and commits. False where they were withdrawn.
    async fn attempt_parts(&mut self, first: Taken) -> Result<bool, EngineError> {
        let mut tally = Tally::default();
        let mut parts = vec![first];
        self.begin().await?;
        loop {
            self.join_parts(&mut parts).await?;
            self.apply_joined(&parts, &mut tally).await?;
            if let Some(end) = parts.last().and_then(|part| part.end.clone()) {
                self.seal(&end, &tally).await?;
                return Ok(true);
            }
            let Some(next) = self.next_part().await? else { return Ok(false) };
            parts = vec![next];
        }
    }

    /// Applies parts batch by batch, folding the next one meanwhile.
    async fn apply_joined(&mut self, parts: &[Taken], tally: &mut Tally) -> Result<(), EngineError> {
        let mut batches: Vec<Vec<Records<'_>>> = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        for part in parts {
            part.changes.records().for_each(|record| tally.count(&record));
            match batches.last_mut().filter(|_| !self.is_batch(rows, bytes)) {
                Some(batch) => batch.push(part.changes.records()),
                None => {
                    batches.push(vec![part.changes.records()]);
                    (rows, bytes) = (0, 0);
                }
            }
            rows += part.changes.rows();
            bytes += part.changes.len();
        }
        let folds = self.folds();
        let runs = |at: usize| batches.get(at).map(Vec::as_slice).filter(|_| folds);
        let mut folded = self.fold(runs(0)).await;
        for (at, batch) in batches.iter().enumerate() {
            let next = self.fold(runs(at + 1));
            let (applied, next) = tokio::join!(self.apply(batch, folded.as_ref()), next);
            applied?;
            folded = next;
        }
        Ok(())
    }

    /// Adds parts that are there, up to a round of batches.
    async fn join_parts(&mut self, parts: &mut Vec<Taken>) -> Result<(), EngineError> {
        let buffer = &self.flow.buffer;
        let mut rows = parts.iter().map(|part| part.changes.rows()).sum::<u64>();
        let mut bytes = parts.iter().map(|part| part.changes.len()).sum::<usize>();
        while !self.is_round(rows, bytes)
            && parts.last().is_some_and(|part| part.end.is_none())
            && matches!(buffer.peek(), Some(Kind::Middle | Kind::Last))
        {
            let Some(part) = buffer.take().await? else { break };
            rows += part.changes.rows();
            bytes += part.changes.len();
            parts.push(part);
        }
        Ok(())
    }

    /// Waits for the next part. None where those before it were withdrawn.
    async fn next_part(&mut self) -> Result<Option<Taken>, EngineError> {
        let buffer = &self.flow.buffer;
        loop {
            if buffer.is_withdrawn() {
                return Ok(None);
            }
            if let Some(part) = buffer.take().await? {
                return Ok(Some(part));
            }
            buffer.arrived.notified().await;
        }
    }

    /// Passes over a transaction that is in the target already.
    async fn skip_parts(&mut self) -> Result<(), EngineError> {
        loop {
            match self.next_part().await? {
                Some(Taken { end: Some(_), .. }) => return self.flow.buffer.release().await,
                Some(_) => {}
                None => return self.take_again().await,
            }
        }
    }

    /// What was taken since the last commit is taken again: from the buffer, else from the source.
    async fn take_again(&mut self) -> Result<(), EngineError> {
        if !self.flow.buffer.rewind().await? {
            self.flow.again.notify_one();
        }
        Ok(())
    }
}
