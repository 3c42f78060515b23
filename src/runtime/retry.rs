//! When work that failed is tried again, and how long to wait before. Pure: draws no random
//! number and sleeps nowhere itself.

use std::time::Duration;

use crate::engine::EngineError;

/// First wait; each further one doubles it.
const FIRST: Duration = Duration::from_millis(250);
/// Longest wait, so that a server that comes back is found soon.
const LONGEST: Duration = Duration::from_secs(15);

/// Decides about one piece of work.
#[derive(Clone, Debug)]
pub struct Attempts {
    max: u32,
    made: u32,
}

impl Attempts {
    /// At most `max` attempts, the first included; zero counts as one.
    pub fn new(max: u32) -> Self {
        Self { max: max.max(1), made: 0 }
    }

    /// Attempts that have failed so far.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Counts a failure: how long to wait before trying again, none when it is final. `jitter`
    /// lies in `0.0..1.0`; it spreads workers that failed together over half of the wait.
    pub fn failed(&mut self, error: &EngineError, jitter: f64) -> Option<Duration> {
        let wait = self.passed(jitter);
        wait.filter(|_| error.retryable())
    }

    /// Counts something that always may be tried again, within the number of attempts.
    pub fn passed(&mut self, jitter: f64) -> Option<Duration> {
        self.made += 1;
        if self.made >= self.max {
            return None;
        }
        let doubled = FIRST.saturating_mul(1 << (self.made - 1).min(16));
        Some(doubled.min(LONGEST).mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0)))
    }
}

/// A number in `0.0..1.0` that differs from task to task.
pub fn jitter() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let drawn = std::hash::RandomState::new().build_hasher().finish();
    (drawn >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Cause;

    fn error(cause: Cause) -> EngineError {
        EngineError::new(cause, "load", "broken")
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for cause in [Cause::Data, Cause::Stale, Cause::Privilege, Cause::Locked, Cause::Other] {
            assert_eq!(Attempts::new(9).failed(&error(cause), 0.5), None, "{cause:?}");
        }
        for cause in [Cause::Connection, Cause::Busy, Cause::Resources] {
            assert!(Attempts::new(9).failed(&error(cause), 0.5).is_some(), "{cause:?}");
        }
    }

    #[test]
    fn attempts_are_counted_with_the_first() {
        let mut attempts = Attempts::new(3);
        assert!(attempts.failed(&error(Cause::Busy), 0.0).is_some());
        assert!(attempts.failed(&error(Cause::Busy), 0.0).is_some());
        assert_eq!(attempts.failed(&error(Cause::Busy), 0.0), None);
        assert_eq!(Attempts::new(0).failed(&error(Cause::Busy), 0.0), None);
    }

    #[test]
    fn waits_grow_to_a_limit_and_are_spread() {
        let mut attempts = Attempts::new(100);
        let mut last = Duration::ZERO;
        for _ in 0..90 {
            let wait = attempts.clone().failed(&error(Cause::Busy), 1.0);
            let short = attempts.failed(&error(Cause::Busy), 0.0).expect("still trying");
            let wait = wait.expect("still trying");
            assert!(wait >= last && wait <= LONGEST);
            assert_eq!(short * 2, wait);
            last = wait;
        }
        assert_eq!(last, LONGEST);
        assert!((0..100).all(|_| (0.0..1.0).contains(&jitter())));
    }
}
