//! Everything at once: clients write to the source, the tool loads and follows, and things break.
//! One seed decides what the clients do and what breaks; it is printed when a run fails. Each pair of
//! databases has a test of its own.
//!
//! ```text
//!   TOWPATH_CHAOS_SEED=7      runs that seed alone
//!   TOWPATH_CHAOS_SECONDS=3600    runs fresh seeds until the time is over, of each pair
//!   TOWPATH_CHAOS_PAIR=mariadb-postgres    leaves the other pairs out
//! ```
//!
//! Checked by recorders that share no code with the tool (contract, 6.3): C-01 both ends are equal,
//! C-02 the target was at a commit point of the source after each of its commits, C-03 the bank's
//! sum, C-04 the lists, C-08 nothing is left on the source, C-10 the tool's own verdict agrees.

pub mod clients;
pub mod end;
pub mod judge;
mod mariadb;
mod plain;
mod postgres;
mod random;
mod recorder;
pub mod shop;
mod world;

use std::time::{Duration, Instant};

use end::End;
use world::World;

use crate::need_server;

/// Seeds of an ordinary run.
const SEEDS_OF_POSTGRES: u64 = 6;
const SEEDS: u64 = 2;

fn seeds(ordinary: u64) -> Box<dyn Iterator<Item = u64>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("TOWPATH_CHAOS_SEED") {
        return Box::new(std::iter::once(seed));
    }
    match number("TOWPATH_CHAOS_SECONDS") {
        Some(seconds) => {
            let until = Instant::now() + Duration::from_secs(seconds);
            let first = std::process::id().into();
            Box::new((first..).take_while(move |_| Instant::now() < until))
        }
        None => Box::new(1..=ordinary),
    }
}

/// Runs the seeds of a pair, each between two ends of its own.
fn try_pair(pair: &str, ordinary: u64, ends: impl Fn() -> (Box<dyn End>, Box<dyn End>)) {
    for seed in seeds(ordinary) {
        let began = Instant::now();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (source, target) = ends();
            World::run(&*source, &*target, seed);
        }));
        if let Err(panic) = outcome {
            let what = panic.downcast_ref::<String>().map_or("", String::as_str);
            panic!(
                "{pair}, seed {seed} (replay: TOWPATH_CHAOS_PAIR={pair} TOWPATH_CHAOS_SEED={seed}): {what}"
            );
        }
        eprintln!("{pair}, seed {seed}: {:?}", began.elapsed());
    }
}

fn is_left_out(pair: &str) -> bool {
    std::env::var("TOWPATH_CHAOS_PAIR").is_ok_and(|wanted| wanted != pair)
}

#[test]
fn c_01_to_c_10_whatever_breaks_the_target_is_at_a_commit_of_the_source() {
    let server = need_server!();
    if is_left_out("postgres-postgres") {
        return;
    }
    try_pair("postgres-postgres", SEEDS_OF_POSTGRES, || {
        (Box::new(server.database("chaos_source")), Box::new(server.database("chaos_target")))
    });
}

#[test]
fn c_01_to_c_10_of_mariadb_into_postgres() {
    let server = need_server!();
    if is_left_out("mariadb-postgres") {
        return;
    }
    let Some(maria) = mariadb::server() else { return };
    try_pair("mariadb-postgres", SEEDS, || {
        (Box::new(mariadb::Maria::of(&maria, "chaos_source")), Box::new(server.database("chaos_target")))
    });
}

#[test]
fn c_01_to_c_10_of_postgres_into_mariadb() {
    let server = need_server!();
    if is_left_out("postgres-mariadb") {
        return;
    }
    let Some(maria) = mariadb::server() else { return };
    try_pair("postgres-mariadb", SEEDS, || {
        (Box::new(server.database("chaos_source")), Box::new(mariadb::Maria::of(&maria, "chaos_target")))
    });
}

#[test]
fn c_01_to_c_10_of_mariadb_into_mariadb() {
    if is_left_out("mariadb-mariadb") {
        return;
    }
    let (Some(one), Some(other)) = (mariadb::server(), mariadb::server()) else { return };
    try_pair("mariadb-mariadb", SEEDS, || {
        (
            Box::new(mariadb::Maria::of(&one, "chaos_source")),
            Box::new(mariadb::Maria::of(&other, "chaos_target")),
        )
    });
}
