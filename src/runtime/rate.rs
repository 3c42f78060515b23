//! Holds all readers together under one number of rows per second. Knows nothing of rows but
//! their count.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A shared limit. Each reader asks after a batch how long it has to wait.
#[derive(Debug)]
pub(super) struct RateLimit {
    rows_per_second: f64,
    /// When the rows let through so far are paid for.
    paid: Mutex<Instant>,
}

impl RateLimit {
    pub(super) fn new(rows_per_second: u64, now: Instant) -> Self {
        Self { rows_per_second: rows_per_second.max(1) as f64, paid: Mutex::new(now) }
    }

    /// How long to wait after `rows` rows. Time in which nobody read is not saved up.
    pub(super) fn wait_after(&self, rows: f64, now: Instant) -> Duration {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = Duration::try_from_secs_f64(rows / self.rows_per_second).unwrap_or_default();
        *paid = (*paid).max(now) + cost;
        *paid - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_all_readers_count_together() {
        let now = Instant::now();
        let limit = RateLimit::new(100, now);
        assert_eq!(limit.wait_after(50.0, now), Duration::from_millis(500));
        assert_eq!(limit.wait_after(100.0, now), Duration::from_millis(1500));
        let later = now + Duration::from_secs(60);
        assert_eq!(limit.wait_after(1.0, later), Duration::from_millis(10));
    }
}
