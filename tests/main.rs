//! All tests that run from outside, in one binary: one build, one server per process.
//! `engines` tries what one engine alone promises, `tidy` holds the house rules, `scenario` runs
//! whole commands on real databases.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod bad_input;
mod bad_url;
mod chaos;
mod cli;
mod contract;
mod engines;
mod golden;
mod oracle;
mod planted;
mod reverse;
mod scenario;
mod selection;
mod simulation;
mod support;
mod tidy;
