//! How the stream flows, added up from its events: lag, rate, what waits in memory and on disk.
//! Pure: time is handed in; whoever draws asks for the line.

use std::collections::VecDeque;
use std::time::Duration;

use super::number::{bytes, seconds, short};
use crate::runtime::Event;

/// Time over which the present rate is taken.
const WINDOW: Duration = Duration::from_secs(15);

/// The stream of one run.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// Tables followed.
    pub tables: usize,
    pub lag_bytes: Option<u64>,
    pub lag: Option<Duration>,
    pub transactions: u64,
    pub rows: u64,
    pub buffered_bytes: u64,
    pub spilled_bytes: u64,
    /// Why nothing is read from the source.
    pub paused: Option<String>,
    /// Moments with the rows by then, oldest first.
    history: VecDeque<(Duration, u64)>,
}

impl Flow {
    /// Takes an event in. `at`: time since the start.
    pub fn take(&mut self, event: &Event, at: Duration) {
        match event {
            // Counts begin anew with each following.
            Event::StreamOpened { tables, .. } => *self = Self { tables: *tables, ..Self::default() },
            Event::Streamed { lag_bytes, lag, transactions, rows, buffered_bytes, spilled_bytes, .. } => {
                (self.lag_bytes, self.lag) = (*lag_bytes, *lag);
                (self.transactions, self.rows) = (*transactions, *rows);
                (self.buffered_bytes, self.spilled_bytes) = (*buffered_bytes, *spilled_bytes);
                self.history.push_back((at, *rows));
                while self.history.front().is_some_and(|(moment, _)| at.saturating_sub(*moment) > WINDOW) {
                    self.history.pop_front();
                }
            }
            Event::ReadingPaused { why } => self.paused = Some(why.clone()),
            Event::ReadingResumed { .. } => self.paused = None,
            _ => {}
        }
    }

    /// Rows per second of late.
    pub fn rate(&self, at: Duration) -> f64 {
        let Some((since, rows)) = self.history.front() else { return 0.0 };
        let time = at.saturating_sub(*since).as_secs_f64();
        if time < 0.5 { 0.0 } else { self.rows.saturating_sub(*rows) as f64 / time }
    }

    /// `at the head, 12.3 k rows, 1.2 k rows/s, 3.4 MB waiting`
    pub fn line(&self, at: Duration) -> String {
        let mut parts = vec![self.behind(), format!("{} rows", short(self.rows))];
        let rate = self.rate(at);
        if rate >= 1.0 {
            parts.push(format!("{} rows/s", short(rate.round() as u64)));
        }
        if self.buffered_bytes > 0 {
            parts.push(format!("{} waiting", bytes(self.buffered_bytes)));
        }
        if self.spilled_bytes > 0 {
            parts.push(format!("{} of it on disk", bytes(self.spilled_bytes)));
        }
        if self.paused.is_some() {
            parts.push("reading is paused".into());
        }
        parts.join(", ")
    }

    fn behind(&self) -> String {
        match (self.lag_bytes, self.lag) {
            (Some(0), _) | (_, Some(Duration::ZERO)) => "at the head".into(),
            (Some(log), Some(lag)) => format!("{} and {} behind", bytes(log), seconds(lag.as_secs_f64())),
            (Some(log), None) => format!("{} behind", bytes(log)),
            (None, Some(lag)) => format!("{} behind", seconds(lag.as_secs_f64())),
            (None, None) => "connecting".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Position;

    fn streamed(lag_bytes: u64, lag: u64, rows: u64, buffered_bytes: u64) -> Event {
        Event::Streamed {
            position: Position("0/1".into()),
            lag_bytes: Some(lag_bytes),
            lag: Some(Duration::from_secs(lag)),
            transactions: rows / 10,
            rows,
            buffered_bytes,
            spilled_bytes: buffered_bytes / 2,
            tables: Vec::new(),
        }
    }

    #[test]
    fn the_line_says_how_far_behind_how_fast_and_what_waits() {
        let mut flow = Flow::default();
        let second = Duration::from_secs;
        flow.take(&Event::StreamOpened { position: Position("0/1".into()), tables: 2 }, second(0));
        assert_eq!(flow.line(second(0)), "connecting, 0 rows");
        flow.take(&streamed(5_000_000, 9, 1_000, 0), second(0));
        flow.take(&streamed(3_000_000, 7, 21_000, 2_000_000), second(10));
        assert_eq!(
            flow.line(second(10)),
            "3.0 MB and 7 s behind, 21 k rows, 2 000 rows/s, 2.0 MB waiting, 1.0 MB of it on disk"
        );
        flow.take(&Event::ReadingPaused { why: "full".into() }, second(11));
        assert!(flow.line(second(11)).ends_with("reading is paused"));
        flow.take(&Event::ReadingResumed { millis: 5 }, second(12));
        flow.take(&streamed(0, 0, 21_000, 0), second(30));
        assert_eq!(flow.line(second(30)), "at the head, 21 k rows");
    }
}
