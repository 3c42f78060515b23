//! Simulations: models of the copy and its resume, and the real executor on a memory engine with
//! faults at any await. Every failure prints a seed; `TOWPATH_SIM_SEED=n` replays it alone,
//! `TOWPATH_SIM_RUNS=n` runs more of them.

mod applying;
mod chunk_resume;
mod executing;
mod following;
mod history;
mod memory;
mod random;
mod shapes;
mod stream;
mod verifying;
mod world;
