//! Reads the log: owns the stream, hands pieces on, acknowledges, connects again. Never waits for
//! the applier: where there is no room it stops reading, and goes on talking to the source.

use std::time::Duration;

use tokio::time::Instant;

use super::flow::Flow;
use super::intake::Intake;
use crate::change::{Changes, Position};
use crate::engine::crash::crash_point;
use crate::engine::{CaptureSpec, ChangeStream, EngineError};
use crate::runtime::event::{Event, READ};
use crate::runtime::retry::{Attempts, jitter};

/// How often what is safe is told, while it changes.
const TELL_SAFE: Duration = Duration::from_secs(1);
/// How often the source hears of us in any case; the contract says ten seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long the last acknowledgement may take. Without it, changes are only told again.
const LAST_WORD: Duration = Duration::from_secs(2);

pub(super) struct Reader<'r, 'a> {
    flow: &'r Flow<'a>,
    intake: Intake,
    stream: Option<Box<dyn ChangeStream>>,
    inbox: Changes,
    /// The last border between transactions that is in the buffer, with all before it.
    handed_on: Position,
    tries: Attempts,
    /// What the source was told last, on this connection, and when.
    acknowledged: Option<Position>,
    spoke_at: Instant,
    /// When there was last a look at what is safe.
    looked_at: Instant,
    /// Since when reading is paused.
    paused: Option<Instant>,
}

/// Why reading on this connection ended.
enum Break {
    Failed(EngineError),
    /// All after the applied position is wanted again.
    Again,
}

impl From<EngineError> for Break {
    fn from(error: EngineError) -> Self {
        Self::Failed(error)
    }
}

impl<'r, 'a> Reader<'r, 'a> {
    /// Will read from a position on.
    pub(super) fn new(flow: &'r Flow<'a>, from: Position) -> Self {
        let following = flow.following;
        let intake = Intake::new(flow.buffer.piece_bytes(), from.clone(), following.tables.len());
        Self {
            flow,
            intake,
            stream: None,
            inbox: Changes::default(),
            handed_on: from,
            tries: Attempts::new(following.options.attempts),
            acknowledged: None,
            spoke_at: Instant::now(),
            looked_at: Instant::now(),
            paused: None,
        }
    }

    /// Reads until it is dropped. What ends it for good is told through the buffer.
    pub(super) async fn run(&mut self) {
        loop {
            let ended = self.read().await;
            self.stream = None;
            self.flow.note_held(0);
            self.inbox.clear();
            match ended {
                Break::Again => self.begin_anew(),
                Break::Failed(error) => {
                    self.flow.buffer.withdraw();
                    self.intake.restart(self.handed_on.clone());
                    if let Err(error) = self.back_off(error).await {
                        self.flow.buffer.close(error);
                        return std::future::pending().await;
                    }
                }
            }
        }
    }

    /// Goes back to what is applied: what was read since is no more.
    fn begin_anew(&mut self) {
        self.handed_on = self.flow.applied();
        self.intake.restart(self.handed_on.clone());
        self.flow.buffer.begin_anew();
    }

    async fn back_off(&mut self, error: EngineError) -> Result<(), EngineError> {
        let Some(wait) = self.tries.failed(&error, jitter()) else { return Err(error) };
        self.flow.following.reporter.event(&Event::Retrying {
            step: READ.into(),
            attempt: self.tries.made(),
            millis: wait.as_millis() as u64,
            error: error.to_string(),
        });
        tokio::select! {
            biased;
            // What the buffer holds is void too, so there is nothing more to wait for here.
            () = self.flow.again.notified() => self.begin_anew(),
            () = self.flow.following.clock.sleep(wait) => {}
        }
        Ok(())
    }

    /// Reads on one connection.
    async fn read(&mut self) -> Break {
        if let Err(error) = self.connect().await {
            return Break::Failed(error);
        }
        loop {
            if let Err(ended) = self.turn().await {
                return ended;
            }
        }
    }

    async fn connect(&mut self) -> Result<(), EngineError> {
        let following = self.flow.following;
        let spec = CaptureSpec {
            plan: following.plan,
            tables: following.tables,
            cascades: following.options.cascades,
        };
        let from = self.intake.position().clone();
        let stream = following.capture.changes(&spec, &from, following.starts).await?;
        crash_point("cdc::connected");
        following.reporter.event(&Event::Reading { position: from });
        self.stream = Some(stream);
        self.acknowledged = None;
        self.spoke_at = Instant::now();
        Ok(())
    }

    /// One turn: what the log says, or a word to the source.
    async fn turn(&mut self) -> Result<(), Break> {
        let flow = self.flow;
        self.watch_room();
        let silence = self.silence();
        let stream = self.stream.as_mut().expect("broken invariant: connected before the first turn");
        let bytes = flow.buffer.piece_bytes();
        let read = tokio::select! {
            biased;
            () = flow.again.notified() => return Err(Break::Again),
            () = flow.buffer.freed.notified(), if self.paused.is_some() => Ok(()),
            () = flow.following.clock.sleep(silence) => {
                flow.note_held(stream.held());
                self.speak().await?;
                return Ok(());
            }
            read = stream.next(&mut self.inbox, bytes), if self.paused.is_none() => read,
        };
        flow.note_held(stream.held());
        self.take_in().await?;
        read?;
        Ok(())
    }

    /// How long nothing need be said to the source.
    fn silence(&self) -> Duration {
        TELL_SAFE.saturating_sub(self.looked_at.elapsed())
    }

    /// Tells the source what is safe, where that is news or nothing was said for long.
    async fn speak(&mut self) -> Result<(), EngineError> {
        self.looked_at = Instant::now();
        self.flow.buffer.age(&self.flow.applied()).await?;
        let safe = self.flow.safe();
        let Some(stream) = self.stream.as_mut() else { return Ok(()) };
        let news = self.acknowledged.as_ref() != Some(&safe);
        if news || self.spoke_at.elapsed() >= KEEP_ALIVE {
            stream.acknowledge(&safe).await?;
            crash_point("ack::sent");
            self.acknowledged = Some(safe);
            self.spoke_at = Instant::now();
        }
        Ok(())
    }

    /// Hands on what came.
    async fn take_in(&mut self) -> Result<(), EngineError> {
        if self.inbox.is_empty() {
            return Ok(());
        }
        crash_point("cdc::row");
        let flow = self.flow;
        let commits = self.inbox.commits();
        let mut pieces = Vec::new();
        let taken = self.intake.take(self.inbox.records(), |at, goal| flow.reached(at, goal), &mut pieces);
        self.inbox.clear();
        flow.note_captured(self.intake.captured());
        if commits > 0 {
            crash_point("cdc::commit_seen");
        }
        if pieces.iter().any(|piece| piece.end.is_some()) {
            self.tries = Attempts::new(flow.following.options.attempts);
        }
        let applied = flow.applied();
        for piece in pieces {
            let end = piece.end.clone();
            flow.buffer.push(piece, &applied).await?;
            self.handed_on = end.unwrap_or_else(|| self.handed_on.clone());
        }
        taken
    }

    /// Stops reading where there is no room, and says so once; goes on where there is.
    fn watch_room(&mut self) {
        let room = self.flow.buffer.has_room();
        let reporter = self.flow.following.reporter;
        match self.paused {
            None if !room => {
                self.paused = Some(Instant::now());
                reporter.event(&Event::ReadingPaused { why: self.flow.buffer.why_full() });
            }
            Some(since) if room => {
                self.paused = None;
                reporter.event(&Event::ReadingResumed { millis: since.elapsed().as_millis() as u64 });
            }
            _ => {}
        }
    }

    /// Says the last word and lets go of the stream.
    pub(super) async fn close(mut self) {
        let last = async {
            let safe = self.flow.safe();
            if self.acknowledged.as_ref() != Some(&safe)
                && let Some(stream) = self.stream.as_mut()
                && stream.acknowledge(&safe).await.is_ok()
            {
                crash_point("ack::sent");
            }
        };
        tokio::select! {
            biased;
            () = last => {}
            () = self.flow.following.clock.sleep(LAST_WORD) => {}
        }
    }
}
