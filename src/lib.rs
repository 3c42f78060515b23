//! Towpath: plan and apply for moving a live database.
pub mod catalog;
pub mod change;
pub mod checkpoint;
pub mod engine;
