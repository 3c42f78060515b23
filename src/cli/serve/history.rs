//! Samples for curves: the last ten minutes second by second, and the whole run in ever wider
//! steps, so that neither grows with time. Pure: the moment is handed in.

use std::collections::VecDeque;

use serde::{Serialize, Serializer};

/// Samples of the recent past: ten minutes at one in a second.
const RECENT_MAX: usize = 600;
/// Samples of the whole run: at this many every other one goes, and the step doubles.
const WHOLE_MAX: usize = 360;

/// What there was when.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct History {
    /// What the numbers of a sample are.
    pub columns: [&'static str; 6],
    pub recent: VecDeque<Sample>,
    pub whole: Vec<Sample>,
    /// Seconds between two samples of the whole.
    #[serde(skip)]
    every: u64,
}

/// One moment: a plain list in JSON, because there are many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Seconds since the start.
    pub at: u64,
    /// Rows copied and rows of changes applied, both since the start.
    pub copied: u64,
    pub applied: u64,
    pub lag_seconds: Option<f64>,
    pub lag_bytes: Option<u64>,
    /// Bytes of log that the source keeps.
    pub kept_bytes: Option<u64>,
}

impl Default for History {
    fn default() -> Self {
        let columns = ["at", "copied", "applied", "lag_seconds", "lag_bytes", "kept_bytes"];
        Self { columns, recent: VecDeque::new(), whole: Vec::new(), every: 1 }
    }
}

impl History {
    pub fn push(&mut self, sample: Sample) {
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(sample);
        if self.whole.last().is_some_and(|last| sample.at < last.at + self.every) {
            return;
        }
        self.whole.push(sample);
        if self.whole.len() >= WHOLE_MAX {
            self.whole = self.whole.iter().step_by(2).copied().collect();
            self.every *= 2;
        }
    }
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { at, copied, applied, lag_seconds, lag_bytes, kept_bytes } = self;
        let millis = lag_seconds.map(|lag| (lag * 1000.0).round() / 1000.0);
        (at, copied, applied, millis, lag_bytes, kept_bytes).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_bounded_and_spans_the_whole_run() {
        let mut history = History::default();
        let last = 200_000;
        for at in 0..=last {
            history.push(Sample { at, copied: at, ..Sample::default() });
        }
        assert_eq!(history.recent.len(), RECENT_MAX);
        assert_eq!(history.recent.back().map(|sample| sample.at), Some(last));
        assert!((WHOLE_MAX / 2 - 1..WHOLE_MAX).contains(&history.whole.len()), "{}", history.whole.len());
        assert_eq!(history.whole[0].at, 0);
        let steps: Vec<u64> = history.whole.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        assert!(steps.iter().all(|step| *step == history.every), "{steps:?}");
        assert!(last - history.whole[history.whole.len() - 1].at <= history.every);
    }

    #[test]
    fn a_sample_is_a_list_in_the_order_of_the_columns() {
        let sample =
            Sample { at: 1, copied: 2, applied: 3, lag_seconds: Some(0.123_456), ..Sample::default() };
        let text = serde_json::to_string(&sample).expect("it serializes");
        assert_eq!(text, "[1,2,3,0.123,null,null]");
        assert_eq!(History::default().columns.len(), 6);
    }
}
