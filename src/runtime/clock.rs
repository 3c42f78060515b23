//! Time and crashes, as far as the executor depends on them: a simulation puts its own clock
//! here, and tests name the places where the process shall die. Never reads the date.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What waits. Replaced in simulations, where waiting is only a turn given to others.
pub trait Clock: Send + Sync {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Real time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// A named place where a test may kill the process as `kill -9` would: `FAILPOINTS=name=return`
/// (`3*off->return` for the fourth time). Nothing at all without the feature.
#[cfg(feature = "failpoints")]
pub(super) fn crash_point(name: &str) {
    fail::fail_point!(name, |_| -> () { std::process::abort() });
}

/// Nothing, in a release.
#[cfg(not(feature = "failpoints"))]
pub(super) fn crash_point(_name: &str) {}
