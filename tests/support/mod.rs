//! What the tests stand on: private servers, the built command, a proxy that breaks connections,
//! and an oracle that compares databases without a line of the tool's own code.

pub mod browser;
pub mod command;
pub mod compare;
pub mod fixture;
pub mod mariadb;
pub mod mysql;
pub mod pooler;
pub mod postgres;
pub mod proxy;
pub mod scenario;
pub mod sqlite;
pub mod web;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The processor's time that this thread has taken so far, which does not pass faster where the
/// machine is busy with other things; the clock's, where the system does not say.
pub fn thread_time() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| BEGAN.elapsed(), Duration::from_nanos)
}

/// Waits for something that another process does. Looks often, gives up loudly.
pub fn wait_until(what: &str, limit: Duration, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}
