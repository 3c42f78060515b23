//! Whole commands on real databases, judged by the oracle and by planning again.

mod crash;
mod cut;
mod pairs;
mod pg_probe;
mod pg_schema;
mod resume;
mod runs;
mod stale;
mod verify;
