//! What a run looks like right now, added up from its events, for whoever asks over HTTP: the
//! steps with their states, the tables with their rows, the stream with its lag, and a short
//! history for curves. Holds names and numbers, never a value of a row or a URL.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::graph::{Action, Graph};
use crate::runtime::{Event, Reporter};

/// Samples kept: ten minutes at one in a second.
const SAMPLES_MAX: usize = 600;
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// The state of a run. Events go in from many tasks, looks come out.
pub struct Board {
    began: Instant,
    state: Mutex<State>,
}

/// One look at the board; the shape of `/status.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct State {
    pub plan: String,
    /// `postgres 15.6 shop`.
    pub source: String,
    pub target: String,
    /// `running`, `stopping`, `done`, `failed`.
    pub phase: &'static str,
    pub seconds: u64,
    pub steps: Vec<StepNow>,
    pub rows_copied: u64,
    pub bytes_copied: u64,
    pub rows_expected: u64,
    pub stream: Option<StreamNow>,
    /// Why reading from the source is paused, while it is.
    pub paused: Option<String>,
    pub history: VecDeque<Sample>,
    #[serde(skip)]
    pub(super) places: HashMap<String, usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepNow {
    pub id: String,
    pub phase: String,
    pub table: Option<String>,
    pub needs: Vec<String>,
    /// `waiting`, `running`, `done`, `failed`.
    pub state: &'static str,
    pub rows: u64,
    pub bytes: u64,
    pub rows_expected: u64,
    pub chunks: u32,
    pub chunks_done: u32,
    pub millis: u64,
    pub error: Option<String>,
}

/// The stream of changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StreamNow {
    pub position: String,
    pub lag_bytes: u64,
    pub lag_seconds: f64,
    pub transactions: u64,
    pub rows: u64,
    pub buffered_bytes: u64,
    pub spilled_bytes: u64,
}

/// One moment, for curves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the start.
    pub at: u64,
    /// Rows copied and rows of changes applied, both since the start.
    pub copied: u64,
    pub applied: u64,
    pub lag_seconds: f64,
}

impl Board {
    pub fn new(graph: &Graph) -> Self {
        let end = |end: &crate::graph::EndFacts| format!("{} {} {}", end.engine, end.version, end.database);
        let steps: Vec<StepNow> = graph.steps.iter().map(StepNow::of).collect();
        let state = State {
            plan: graph.name.clone(),
            source: end(&graph.source),
            target: end(&graph.target),
            phase: "running",
            rows_expected: steps.iter().map(|step| step.rows_expected).sum(),
            places: steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at)).collect(),
            steps,
            ..State::default()
        };
        Self { began: Instant::now(), state: Mutex::new(state) }
    }

    /// How it is now.
    pub fn look(&self) -> State {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.seconds = self.began.elapsed().as_secs();
        state.clone()
    }

    /// Adds to the history for as long as it is polled.
    pub async fn sample(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(SAMPLE_EVERY).await;
            let at = self.began.elapsed().as_secs();
            self.state.lock().unwrap_or_else(PoisonError::into_inner).sample(at);
        }
    }
}

impl Reporter for Board {
    fn event(&self, event: &Event) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).take(event);
    }
}

impl StepNow {
    fn of(step: &crate::graph::Step) -> Self {
        Self {
            id: step.id.clone(),
            phase: format!("{:?}", step.phase).to_lowercase(),
            table: step.table.as_ref().map(ToString::to_string),
            needs: step.needs.clone(),
            state: "waiting",
            rows_expected: if matches!(step.action, Action::Copy { .. }) { step.estimate.rows } else { 0 },
            ..Self::default()
        }
    }
}

impl State {
    fn step(&mut self, id: &str) -> Option<&mut StepNow> {
        self.steps.get_mut(*self.places.get(id)?)
    }

    fn with(&mut self, id: &str, change: impl FnOnce(&mut StepNow)) {
        if let Some(step) = self.step(id) {
            change(step);
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step } => self.with(step, |step| step.state = "running"),
            Event::StepSkipped { step } => self.with(step, |step| step.state = "done"),
            Event::StepFailed { step, error } => self.with(step, |step| {
                step.state = "failed";
                step.error = Some(error.clone());
            }),
            Event::Chunked { step, chunks, done, rows, .. } => self.with(step, |step| {
                step.state = "running";
                (step.chunks, step.chunks_done, step.rows_expected) = (*chunks, *done, *rows);
            }),
            Event::ChunkDone { step, .. } => self.with(step, |step| step.chunks_done += 1),
            Event::Moved { step, rows, bytes } => {
                // What an attempt that failed had brought is taken back.
                self.rows_copied = self.rows_copied.saturating_add_signed(*rows);
                self.bytes_copied = self.bytes_copied.saturating_add_signed(*bytes);
                self.with(step, |step| {
                    step.rows = step.rows.saturating_add_signed(*rows);
                    step.bytes = step.bytes.saturating_add_signed(*bytes);
                });
            }
            Event::StepDone { step, rows, bytes, millis } => self.with(step, |step| {
                (step.state, step.rows, step.bytes, step.millis) = ("done", *rows, *bytes, *millis);
                step.error = None;
            }),
            Event::Recopying { table, .. } => self.forget(&table.to_string()),
            Event::Stopping => self.phase = "stopping",
            Event::Finished { failed, .. } => self.phase = if *failed > 0 { "failed" } else { "done" },
            _ => {}
        }
    }

    /// A table is copied again.
    fn forget(&mut self, table: &str) {
        let copies = self.steps.iter_mut().filter(|step| step.phase == "load");
        for step in copies.filter(|step| step.table.as_deref() == Some(table)) {
            (step.state, step.rows, step.bytes, step.chunks_done) = ("waiting", 0, 0, 0);
        }
    }

    fn sample(&mut self, at: u64) {
        if self.history.len() >= SAMPLES_MAX {
            self.history.pop_front();
        }
        let stream = self.stream.as_ref();
        self.history.push_back(Sample {
            at,
            copied: self.rows_copied,
            applied: stream.map_or(0, |stream| stream.rows),
            lag_seconds: stream.map_or(0.0, |stream| stream.lag_seconds),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample;

    #[test]
    fn a_step_goes_from_waiting_to_done_and_its_rows_add_up() {
        let graph = sample::graph();
        let copy = graph.steps.iter().find(|step| matches!(step.action, Action::Copy { .. }));
        let id = copy.expect("the sample copies").id.clone();
        let board = Board::new(&graph);
        let state = |board: &Board| board.look().step(&id).expect("known").clone();
        assert_eq!(state(&board).state, "waiting");
        board.event(&Event::StepStarted { step: id.clone() });
        board.event(&Event::Moved { step: id.clone(), rows: 7, bytes: 70 });
        assert_eq!((state(&board).state, state(&board).rows), ("running", 7));
        board.event(&Event::StepDone { step: id.clone(), rows: 9, bytes: 90, millis: 1 });
        assert_eq!((state(&board).state, state(&board).rows), ("done", 9));
        board.event(&Event::Finished { done: 1, failed: 0, left: 0, millis: 1 });
        assert_eq!(board.look().phase, "done");
    }

    #[test]
    fn the_history_is_bounded() {
        let board = Board::new(&sample::graph());
        for at in 0..(2 * SAMPLES_MAX as u64) {
            board.state.lock().unwrap_or_else(PoisonError::into_inner).sample(at);
        }
        assert_eq!(board.look().history.len(), SAMPLES_MAX);
    }
}
