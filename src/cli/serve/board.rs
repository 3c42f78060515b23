//! What a command looks like right now, added up from its events, for whoever asks over HTTP: the
//! steps with their states, the tables with their rows, the stream with its lag, and samples for
//! curves. Holds names and numbers, never a value of a row or a URL.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use super::history::{History, Sample};
use super::stream::Flowing;
use crate::catalog::Name;
use crate::checkpoint::Progress;
use crate::graph::{Action, EndFacts, Graph, Step};
use crate::runtime::{Event, Reporter};

const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// The state of a command. Events go in from many tasks, looks come out.
pub struct Board {
    began: Instant,
    state: Mutex<State>,
    ready: watch::Sender<bool>,
}

/// One look at the board; the shape of `/status.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct State {
    pub format: &'static str,
    /// `apply`, `follow`.
    pub command: &'static str,
    pub plan: String,
    /// `postgres 15.6 shop`.
    pub source: String,
    pub target: String,
    pub phase: Phase,
    /// Why the command as a whole failed.
    pub error: Option<String>,
    /// The stream is followed, and nothing is in its way.
    pub ready: bool,
    /// UTC, RFC 3339.
    pub started_at: String,
    pub seconds: u64,
    pub steps: Vec<StepNow>,
    /// In this run, what was taken back not counted.
    pub rows_copied: u64,
    pub bytes_copied: u64,
    #[serde(flatten)]
    pub flowing: Flowing,
    pub history: History,
    #[serde(skip)]
    pub(super) sums: Sums,
    /// Places of the steps.
    #[serde(skip)]
    pub(super) places: HashMap<String, usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Both ends are compared.
    #[default]
    Planning,
    Running,
    /// All steps are done, and the stream is not followed yet.
    Connecting,
    Following,
    /// Followed before, and something is in the way.
    Retrying,
    Stopping,
    Done,
    /// At a clean point, with something left.
    Stopped,
    Failed,
}

/// What only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    pub rows: u64,
    pub bytes: u64,
    pub retries: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepNow {
    pub id: String,
    pub phase: &'static str,
    pub table: Option<String>,
    pub needs: Vec<String>,
    pub state: StepState,
    /// It copies a table.
    pub copy: bool,
    /// Of the table in the target, by earlier runs too.
    pub rows: u64,
    pub bytes: u64,
    pub rows_expected: u64,
    pub chunks: u32,
    pub chunks_done: u32,
    pub millis: u64,
    /// Failed attempts at what it does now.
    pub attempts: u32,
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    #[default]
    Waiting,
    Running,
    Done,
    Failed,
}

impl Board {
    /// Nothing is planned yet.
    pub fn new(command: &'static str) -> Self {
        let started_at = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let state = State { format: "towpath.board/1", command, started_at, ..State::default() };
        Self { began: Instant::now(), state: Mutex::new(state), ready: watch::Sender::new(false) }
    }

    /// There is a plan. `progress`: what the target remembers of it.
    pub fn planned(&self, graph: &Graph, is_done: impl Fn(&str) -> bool, progress: &Progress) {
        let end = |end: &EndFacts| format!("{} {} {}", end.engine, end.version, end.database);
        let brought = brought(progress);
        let mut steps: Vec<StepNow> = graph.steps.iter().map(StepNow::of).collect();
        for (now, step) in steps.iter_mut().zip(&graph.steps) {
            now.remember(is_done(&step.id), step.table.as_ref().and_then(|table| brought.get(table)));
        }
        self.with(|state| {
            state.plan.clone_from(&graph.name);
            (state.source, state.target) = (end(&graph.source), end(&graph.target));
            state.phase = Phase::Running;
            state.places = steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at)).collect();
            state.steps = steps;
        });
    }

    /// The command is over. A failure of a step was told by its event.
    pub fn end(&self, phase: Phase, error: Option<String>) {
        self.with(|state| {
            state.error = error.or(state.error.take());
            // The first word about it is the most exact, unless it was too good.
            if !state.is_over() || phase == Phase::Failed {
                state.phase = phase;
            }
        });
    }

    /// How it is now.
    pub fn look(&self) -> State {
        let seconds = self.began.elapsed().as_secs();
        let mut state = self.with(|state| state.clone());
        state.seconds = seconds;
        state.ready = state.is_ready();
        state.phase = state.phase_now();
        state
    }

    /// Whether the stream is followed, and nothing is in its way.
    pub fn is_ready(&self) -> bool {
        self.with(|state| state.is_ready())
    }

    /// As [`Self::is_ready`], for who waits for it.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Adds to the history for as long as it is polled.
    pub async fn sample(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(SAMPLE_EVERY).await;
            let at = self.began.elapsed().as_secs();
            self.with(|state| state.sample(at));
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reporter for Board {
    fn event(&self, event: &Event) {
        let at = self.began.elapsed().as_secs();
        let ready = self.with(|state| {
            state.take(event, at);
            state.is_ready()
        });
        self.ready.send_if_modified(|before| std::mem::replace(before, ready) != ready);
    }
}

/// Rows and bytes of tables that are half copied.
fn brought(progress: &Progress) -> HashMap<&Name, Brought> {
    let mut tables: HashMap<&Name, Brought> = HashMap::new();
    for chunk in &progress.chunks {
        let table = tables.entry(&chunk.table).or_default();
        (table.rows, table.bytes) = (table.rows + chunk.rows, table.bytes + chunk.bytes);
        (table.chunks, table.of) = (table.chunks + 1, chunk.of);
    }
    tables
}

#[derive(Clone, Copy, Debug, Default)]
struct Brought {
    rows: u64,
    bytes: u64,
    chunks: u32,
    of: u32,
}

impl StepNow {
    fn of(step: &Step) -> Self {
        let copy = matches!(step.action, Action::Copy { .. });
        Self {
            id: step.id.clone(),
            phase: step.phase.word(),
            table: step.table.as_ref().map(ToString::to_string),
            needs: step.needs.clone(),
            copy,
            rows_expected: if copy { step.estimate.rows } else { 0 },
            ..Self::default()
        }
    }

    /// What earlier runs did of it.
    fn remember(&mut self, done: bool, brought: Option<&Brought>) {
        if done {
            self.state = StepState::Done;
        }
        let Some(brought) = brought.filter(|_| self.copy) else { return };
        (self.rows, self.bytes) = (brought.rows, brought.bytes);
        (self.chunks, self.chunks_done) = (brought.of, brought.chunks);
        if done {
            self.rows_expected = brought.rows;
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::StepStarted { .. } => {
                (self.state, self.attempts, self.error) = (StepState::Running, 0, None);
            }
            Event::StepSkipped { .. } => self.state = StepState::Done,
            Event::StepFailed { error, .. } => {
                (self.state, self.error) = (StepState::Failed, Some(error.clone()));
            }
            Event::Retrying { attempt, error, .. } => {
                (self.attempts, self.error) = (*attempt, Some(error.clone()));
            }
            Event::Chunked { chunks, done, rows, .. } => {
                self.state = StepState::Running;
                (self.chunks, self.chunks_done) = (*chunks, *done);
                // Nothing is known of the rows where it says zero.
                self.rows_expected = if *rows > 0 { *rows } else { self.rows_expected };
            }
            Event::ChunkDone { of, .. } => {
                self.chunks_done = (self.chunks_done + 1).min(*of);
                (self.attempts, self.error) = (0, None);
            }
            // What an attempt that failed had brought is taken back.
            Event::Moved { rows, bytes, .. } => {
                self.rows = self.rows.saturating_add_signed(*rows);
                self.bytes = self.bytes.saturating_add_signed(*bytes);
                self.rows_expected = self.rows_expected.max(self.rows);
            }
            Event::StepDone { rows, bytes, millis, .. } => {
                (self.state, self.attempts, self.error) = (StepState::Done, 0, None);
                (self.rows, self.bytes, self.millis) = (*rows, *bytes, *millis);
                self.chunks_done = self.chunks;
                self.rows_expected = if self.copy { *rows } else { 0 };
            }
            // A table is copied again.
            Event::Recopying { .. } => {
                (self.state, self.rows, self.bytes, self.chunks_done) = (StepState::Waiting, 0, 0, 0);
            }
            _ => {}
        }
    }
}

impl State {
    fn take(&mut self, event: &Event, at: u64) {
        self.flowing.take(event, at);
        if let Some(place) = step_of(event).and_then(|step| self.places.get(step)) {
            self.steps[*place].take(event);
        }
        match event {
            Event::Moved { rows, bytes, .. } => {
                self.rows_copied = self.rows_copied.saturating_add_signed(*rows);
                self.bytes_copied = self.bytes_copied.saturating_add_signed(*bytes);
                self.sums.rows += u64::try_from(*rows).unwrap_or(0);
                self.sums.bytes += u64::try_from(*bytes).unwrap_or(0);
            }
            Event::Retrying { .. } => self.sums.retries += 1,
            Event::Stopping => self.phase = Phase::Stopping,
            Event::Finished { failed, left, .. } => {
                self.phase = match (failed, left) {
                    (1.., _) => Phase::Failed,
                    (0, 1..) => Phase::Stopped,
                    (0, 0) => Phase::Done,
                };
            }
            _ => {}
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Done | Phase::Stopped | Phase::Failed)
    }

    fn is_ready(&self) -> bool {
        !self.is_over() && self.phase != Phase::Planning && self.flowing.is_followed()
    }

    /// Where all steps are done, what is going on is the stream.
    fn phase_now(&self) -> Phase {
        let all_done = self.steps.iter().all(|step| step.state == StepState::Done);
        if self.command != "follow" || self.phase != Phase::Running || !all_done {
            return self.phase;
        }
        match &self.flowing {
            flowing if flowing.is_followed() => Phase::Following,
            Flowing { retrying: Some(_), .. } => Phase::Retrying,
            _ => Phase::Connecting,
        }
    }

    fn sample(&mut self, at: u64) {
        let stream = self.flowing.stream.as_ref();
        self.history.push(Sample {
            at,
            copied: self.rows_copied,
            applied: stream.map_or(0, |stream| stream.rows),
            lag_seconds: stream.and_then(|stream| stream.lag_seconds),
            lag_bytes: stream.and_then(|stream| stream.lag_bytes),
            kept_bytes: self.flowing.kept.as_ref().and_then(|kept| kept.retained_bytes),
        });
    }
}

/// The step that an event is about.
fn step_of(event: &Event) -> Option<&str> {
    match event {
        Event::StepStarted { step }
        | Event::StepSkipped { step }
        | Event::StepFailed { step, .. }
        | Event::Retrying { step, .. }
        | Event::Chunked { step, .. }
        | Event::ChunkDone { step, .. }
        | Event::Moved { step, .. }
        | Event::StepDone { step, .. }
        | Event::Recopying { step, .. } => Some(step),
        _ => None,
    }
}

impl Phase {
    pub const ALL: [Self; 9] = [
        Self::Planning,
        Self::Running,
        Self::Connecting,
        Self::Following,
        Self::Retrying,
        Self::Stopping,
        Self::Done,
        Self::Stopped,
        Self::Failed,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Connecting => "connecting",
            Self::Following => "following",
            Self::Retrying => "retrying",
            Self::Stopping => "stopping",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

impl StepState {
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Running, Self::Done, Self::Failed];

    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Name;
    use crate::change::Position;
    use crate::checkpoint::ChunkMark;
    use crate::cli::sample;
    use crate::runtime::event::READ;

    const COPY: &str = "app.orders/copy";

    fn planned(progress: &Progress, done: &[&str]) -> Board {
        let board = Board::new("apply");
        board.planned(&sample::graph(), |step| done.contains(&step), progress);
        board
    }

    fn copy(board: &Board) -> StepNow {
        board.look().steps.into_iter().find(|step| step.id == COPY).expect("the sample copies")
    }

    fn moved(rows: i64) -> Event {
        Event::Moved { step: COPY.into(), rows, bytes: rows * 10 }
    }

    #[test]
    fn a_step_goes_from_waiting_to_done_and_its_rows_add_up() {
        let board = Board::new("apply");
        assert_eq!(board.look().phase, Phase::Planning);
        let board = planned(&Progress::default(), &[]);
        assert_eq!((copy(&board).state, board.look().phase), (StepState::Waiting, Phase::Running));
        board.event(&Event::StepStarted { step: COPY.into() });
        board.event(&moved(7));
        assert_eq!((copy(&board).state, copy(&board).rows), (StepState::Running, 7));
        board.event(&Event::StepDone { step: COPY.into(), rows: 9, bytes: 90, millis: 1 });
        assert_eq!((copy(&board).state, copy(&board).rows), (StepState::Done, 9));
        board.event(&Event::Finished { done: 1, failed: 0, left: 0, millis: 1 });
        assert_eq!(board.look().phase, Phase::Done);
    }

    #[test]
    fn h_13_what_was_moved_in_vain_counts_as_work_and_not_as_rows() {
        let board = planned(&Progress::default(), &[]);
        [1_000, -1_000, 2_000].into_iter().for_each(|rows| board.event(&moved(rows)));
        let state = board.look();
        assert_eq!((state.rows_copied, state.sums.rows, copy(&board).rows), (2_000, 3_000, 2_000));
        let table = Name::new("app", "orders");
        board.event(&Event::Recopying { step: COPY.into(), table, done: false, why: "lost".into() });
        board.event(&moved(-2_000));
        assert_eq!((copy(&board).state, copy(&board).rows), (StepState::Waiting, 0));
        assert_eq!(board.look().rows_copied, 0);
    }

    #[test]
    fn a_failure_is_shown_and_outlives_the_end() {
        let board = planned(&Progress::default(), &[]);
        let retrying = Event::Retrying { step: COPY.into(), attempt: 1, millis: 1, error: "away".into() };
        board.event(&retrying);
        assert_eq!((copy(&board).attempts, copy(&board).error.as_deref()), (1, Some("away")));
        board.event(&Event::StepFailed { step: COPY.into(), error: "too long".into() });
        board.event(&Event::Finished { done: 0, failed: 1, left: 5, millis: 1 });
        board.end(Phase::Stopped, None);
        assert_eq!((copy(&board).state, board.look().phase), (StepState::Failed, Phase::Failed));
        assert_eq!(copy(&board).error.as_deref(), Some("too long"));
    }

    #[test]
    fn what_earlier_runs_brought_is_there_from_the_start() {
        let chunk = |table: &str, number| ChunkMark {
            table: Name::new("app", table),
            number,
            of: 9,
            bounds: String::new(),
            position: Position::default(),
            rows: 100,
            bytes: 1,
        };
        let chunks = vec![chunk("accounts", 1), chunk("orders", 1), chunk("orders", 2)];
        let progress = Progress { chunks, ..Progress::default() };
        let board = planned(&progress, &["app.accounts/copy"]);
        let half = copy(&board);
        assert_eq!((half.rows, half.chunks_done, half.chunks, half.state), (200, 2, 9, StepState::Waiting));
        let whole = board.look().steps.into_iter().find(|step| step.id == "app.accounts/copy");
        let whole = whole.expect("the sample copies");
        assert_eq!((whole.rows, whole.rows_expected, whole.state), (100, 100, StepState::Done));
    }

    #[test]
    fn following_is_a_phase_of_its_own_once_all_steps_are_done() {
        let board = Board::new("follow");
        board.planned(&sample::followed(), |_| true, &Progress::default());
        assert_eq!(board.look().phase, Phase::Connecting);
        let position = || Position("0/1".into());
        board.event(&Event::StreamOpened { position: position(), tables: 1 });
        board.event(&Event::Reading { position: position() });
        board.event(&Event::Streamed {
            position: position(),
            lag_bytes: Some(0),
            lag: None,
            transactions: 0,
            rows: 0,
            buffered_bytes: 0,
            spilled_bytes: 0,
            tables: Vec::new(),
        });
        assert_eq!((board.look().phase, board.is_ready()), (Phase::Following, true));
        board.event(&Event::Retrying { step: READ.into(), attempt: 1, millis: 1, error: "away".into() });
        assert_eq!((board.look().phase, board.is_ready()), (Phase::Retrying, false));
        board.event(&Event::Reading { position: position() });
        board.end(Phase::Stopped, None);
        assert_eq!((board.look().phase, board.look().ready), (Phase::Stopped, false));
    }
}
