//! What a run has done so far, added up from its events. Pure: time is handed in; whoever draws
//! asks it for numbers.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Duration;

use super::flow::Flow;
use super::review::Done;
use crate::graph::{Action, Graph};
use crate::runtime::Event;

/// Time over which the present rate is taken: long enough to be calm, short enough to be true.
const WINDOW: Duration = Duration::from_secs(15);

/// The sums of a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub steps: usize,
    pub done: usize,
    pub failed: usize,
    /// Rows expected in all, refined as tables turn out larger or smaller.
    pub rows_total: u64,
    pub rows: u64,
    pub bytes: u64,
    pub stopping: bool,
    /// The stream, once it has begun.
    pub flow: Option<Flow>,
    /// Steps at work, by id.
    pub running: BTreeMap<String, Running>,
    /// Rows expected of each copy that is not finished.
    expected: BTreeMap<String, u64>,
    /// Moments with the rows and bytes by then, oldest first.
    history: VecDeque<(Duration, u64, u64)>,
}

/// One step at work.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Running {
    pub since: Duration,
    pub copy: bool,
    pub rows: u64,
    pub bytes: u64,
    pub rows_total: u64,
    pub chunks: u32,
    pub chunks_done: u32,
    pub attempt: u32,
}

impl Tally {
    /// Nothing has happened yet: totals are the plan's estimates of what is left.
    pub fn new(graph: &Graph, done: &Done) -> Self {
        let mut tally = Self { steps: graph.steps.len(), ..Self::default() };
        for step in graph.steps.iter().filter(|step| !done.contains(&step.id)) {
            if matches!(step.action, Action::Copy { .. }) {
                tally.expected.insert(step.id.clone(), step.estimate.rows);
                tally.rows_total += step.estimate.rows;
            }
        }
        tally.done = tally.steps - graph.steps.iter().filter(|step| !done.contains(&step.id)).count();
        tally
    }

    /// Takes an event in. `at`: time since the start.
    pub fn take(&mut self, event: &Event, at: Duration) {
        match event {
            Event::Started { steps, done, .. } => (self.steps, self.done) = (*steps, *done),
            Event::StepStarted { step } => self.begin(step, at),
            Event::Chunked { step, chunks, done, rows, .. } => self.chunked(step, *chunks, *done, *rows),
            Event::Moved { step, rows, bytes } => self.moved(step, *rows, *bytes, at),
            Event::ChunkDone { step, chunk: _, of, .. } => {
                let running = self.running.entry(step.clone()).or_default();
                running.chunks = *of;
                running.chunks_done = (running.chunks_done + 1).min(*of);
            }
            Event::StepDone { step, rows, .. } => self.finished(step, *rows),
            Event::StepFailed { step, .. } => {
                self.running.remove(step);
                self.failed += 1;
            }
            Event::Retrying { step, attempt, .. } => {
                self.running.entry(step.clone()).or_default().attempt = *attempt;
            }
            Event::Stopping => self.stopping = true,
            Event::Recopying { done: true, .. } => self.done = self.done.saturating_sub(1),
            Event::StreamOpened { .. }
            | Event::Streamed { .. }
            | Event::ReadingPaused { .. }
            | Event::ReadingResumed { .. } => {
                self.flow.get_or_insert_default().take(event, at);
            }
            Event::StepSkipped { .. }
            | Event::Recopying { .. }
            | Event::Reading { .. }
            | Event::SourceKeeps { .. }
            | Event::LogKept { .. }
            | Event::Fenced { .. }
            | Event::Unfenced
            | Event::SequenceSet { .. }
            | Event::Verified { .. }
            | Event::Finished { .. } => {}
        }
    }

    fn begin(&mut self, step: &str, at: Duration) {
        let expected = self.expected.get(step).copied();
        let running = Running {
            since: at,
            copy: expected.is_some(),
            rows_total: expected.unwrap_or(0),
            ..Running::default()
        };
        self.running.insert(step.to_string(), running);
    }

    fn chunked(&mut self, step: &str, chunks: u32, done: u32, rows: u64) {
        let running = self.running.entry(step.to_string()).or_default();
        (running.copy, running.chunks, running.chunks_done) = (true, chunks, done);
        if rows > 0 {
            running.rows_total = rows;
            self.expect(step, rows);
        }
    }

    fn moved(&mut self, step: &str, rows: i64, bytes: i64, at: Duration) {
        if rows < 0 && !self.expected.contains_key(step) {
            // Of a copy that was over: its rows are expected anew when it begins again.
            self.rows_total = self.rows_total.saturating_add_signed(rows);
        }
        self.rows = self.rows.saturating_add_signed(rows);
        self.bytes = self.bytes.saturating_add_signed(bytes);
        if rows <= 0 && bytes <= 0 && !self.running.contains_key(step) {
            return self.remember(at);
        }
        let running = self.running.entry(step.to_string()).or_default();
        running.copy = true;
        running.rows = running.rows.saturating_add_signed(rows);
        running.bytes = running.bytes.saturating_add_signed(bytes);
        let (so_far, total) = (running.rows, running.rows_total);
        if so_far > total {
            running_total(&mut self.running, step, so_far);
            self.expect(step, so_far);
        }
        self.remember(at);
    }

    fn finished(&mut self, step: &str, rows: u64) {
        self.done += 1;
        let Some(running) = self.running.remove(step) else { return };
        if running.copy {
            // What the step did in all, whatever the statistics had promised.
            self.rows = self.rows - running.rows + rows.max(running.rows);
            self.expect(step, rows.max(running.rows));
            self.expected.remove(step);
        }
    }

    /// A better number for the rows of one copy.
    fn expect(&mut self, step: &str, rows: u64) {
        let before = self.expected.insert(step.to_string(), rows).unwrap_or(0);
        self.rows_total = (self.rows_total - before.min(self.rows_total)) + rows;
    }

    fn remember(&mut self, at: Duration) {
        let last = self.history.back().map_or(Duration::ZERO, |(moment, ..)| *moment);
        if self.history.is_empty() || at.saturating_sub(last) >= Duration::from_millis(200) {
            self.history.push_back((at, self.rows, self.bytes));
        }
        while self.history.front().is_some_and(|(moment, ..)| at.saturating_sub(*moment) > WINDOW) {
            self.history.pop_front();
        }
    }

    /// Rows and bytes per second of late; zero while nothing is known.
    pub fn rate(&self, at: Duration) -> (f64, f64) {
        let Some((since, rows, bytes)) = self.history.front() else { return (0.0, 0.0) };
        let seconds = at.saturating_sub(*since).as_secs_f64();
        if seconds < 0.5 {
            return (0.0, 0.0);
        }
        let since = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        (since(self.rows, *rows), since(self.bytes, *bytes))
    }

    /// Seconds until the rows are in, at the present rate.
    pub fn seconds_left(&self, at: Duration) -> Option<f64> {
        let (rows, _) = self.rate(at);
        let left = self.rows_total.saturating_sub(self.rows);
        (rows > 1.0 && left > 0).then(|| left as f64 / rows)
    }
}

fn running_total(running: &mut BTreeMap<String, Running>, step: &str, rows: u64) {
    if let Some(running) = running.get_mut(step) {
        running.rows_total = rows;
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    const COPY: &str = "app.orders/copy";

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn moved(rows: i64) -> Event {
        Event::Moved { step: COPY.into(), rows, bytes: rows * 100 }
    }

    #[test]
    fn rate_and_time_left_follow_what_moved() {
        let mut tally = Tally::new(&sample::graph(), &Done::new());
        assert_eq!(tally.rows_total, 34_300_000);
        tally.take(&Event::StepStarted { step: COPY.into() }, second(0));
        tally.take(&moved(0), second(0));
        tally.take(&moved(1_000_000), second(10));
        assert_eq!(tally.rate(second(10)), (100_000.0, 10_000_000.0));
        assert_eq!(tally.seconds_left(second(10)), Some(333.0));
    }

    #[test]
    fn h_13_what_an_attempt_moved_in_vain_does_not_count() {
        let mut tally = Tally::new(&sample::graph(), &Done::new());
        tally.take(&Event::StepStarted { step: COPY.into() }, second(0));
        for rows in [1_000, -1_000, 2_000, -500] {
            tally.take(&moved(rows), second(1));
        }
        assert_eq!((tally.rows, tally.bytes, tally.rows_total), (1_500, 150_000, 34_300_000));
        let done = Event::StepDone { step: COPY.into(), rows: 1_500, bytes: 0, millis: 1 };
        tally.take(&done, second(2));
        // All of it is to come again.
        let table = crate::catalog::Name::new("app", "orders");
        let again = Event::Recopying { step: COPY.into(), table, done: true, why: "it changed".into() };
        tally.take(&again, second(3));
        tally.take(&moved(-1_500), second(3));
        assert_eq!((tally.rows, tally.done, tally.rows_total), (0, 0, 4_100_000));
        assert!(tally.running.is_empty());
    }

    #[test]
    fn wrong_statistics_are_put_right() {
        let mut tally = Tally::new(&sample::graph(), &Done::new());
        tally.take(&Event::StepStarted { step: COPY.into() }, second(0));
        let chunked = Event::Chunked { step: COPY.into(), chunks: 2, done: 0, rows: 40_000_000, bytes: 0 };
        tally.take(&chunked, second(0));
        assert_eq!(tally.rows_total, 44_100_000);
        tally.take(&moved(50_000_000), second(9));
        assert_eq!(tally.rows_total, 54_100_000);
        let done = Event::StepDone { step: COPY.into(), rows: 50_000_000, bytes: 0, millis: 1 };
        tally.take(&done, second(9));
        assert_eq!((tally.rows, tally.rows_total, tally.done), (50_000_000, 54_100_000, 1));
        assert!(tally.running.is_empty());
    }

    #[test]
    fn what_was_done_before_is_not_expected_again() {
        let done: Done = [COPY.to_string()].into();
        let tally = Tally::new(&sample::graph(), &done);
        assert_eq!((tally.rows_total, tally.done), (4_100_000, 1));
    }

    #[test]
    fn events_of_unknown_steps_break_nothing() {
        let mut tally = Tally::default();
        tally.take(&moved(5), second(1));
        tally.take(&Event::StepDone { step: "x".into(), rows: 5, bytes: 0, millis: 0 }, second(2));
        tally.take(&Event::StepFailed { step: COPY.into(), error: String::new() }, second(3));
        assert_eq!((tally.rows, tally.failed), (5, 1));
        assert_eq!(tally.seconds_left(second(9)), None);
    }
}
