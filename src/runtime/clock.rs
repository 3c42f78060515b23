//! Time, as far as the executor depends on it: a simulation puts its own clock here. Never reads
//! the date.

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
