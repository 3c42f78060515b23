//! What the tests stand on: private servers, the built command, a proxy that breaks connections,
//! and an oracle that compares databases without a line of the tool's own code.

pub mod browser;
pub mod command;
pub mod compare;
pub mod fixture;
pub mod mariadb;
pub mod pooler;
pub mod postgres;
pub mod proxy;
pub mod scenario;
pub mod sqlite;
pub mod web;

use std::time::{Duration, Instant};

/// Waits for something that another process does. Looks often, gives up loudly.
pub fn wait_until(what: &str, limit: Duration, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}
