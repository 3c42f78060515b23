//! Towpath: plan and apply for moving a live database.
pub mod catalog;
pub mod change;
pub mod checkpoint;
pub mod cli;
pub mod diff;
pub mod engine;
pub mod graph;
pub mod plan;
pub mod runtime;
