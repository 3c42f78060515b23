//! Towpath: plan and apply for moving a live database. This page is the map.
//!
//! A YAML plan is compared with the catalogs of source and target and becomes a dependency-ordered
//! graph of steps, which is reviewed, then applied.
//!
//! ```text
//!  plan file ──> Plan ─┐
//!                      ├─> Diff ──> Graph ──> execution ──> report
//!  two Catalogs ───────┤
//!  Progress ───────────┘
//! ```
//!
//! The floors, from the ground up. A floor names only those below it; a test holds that.
//!
//! - [`catalog`]: the neutral picture of a database: tables, types, values, and what a dialect is.
//! - [`change`]: a place in a source's history.
//! - [`checkpoint`]: one durable mark in the target, and all of them read back.
//! - [`plan`]: what the user asked for, with the places in the file where he did.
//! - [`diff`]: what the target lacks, and every risk with its code and number. Pure.
//! - [`graph`]: in what order it is put right. Pure, deterministic.
//! - [`engine`]: the edges, one folder per database. An engine knows nothing of plans.
//! - [`runtime`]: the doing: copies, retries, resumes, verifies. Names no engine, prints nothing.
//! - [`cli`]: the face. Opens no database itself, decides nothing about data.
//!
//! What always holds:
//!
//! - Planning writes nothing, on either end.
//! - What was approved is what runs: apply makes the graph again and refuses one that differs.
//! - Progress commits in the target, in the transaction that wrote the data it describes. Resuming
//!   is running apply again.
//! - Nothing is silent: every object of the source is carried, mapped, or listed as left behind;
//!   every value arrives as it was, or is refused.

pub mod catalog;
pub mod change;
pub mod checkpoint;
pub mod cli;
pub mod diff;
pub mod engine;
pub mod graph;
pub mod plan;
pub mod runtime;
