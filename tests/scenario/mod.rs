//! Whole commands on real databases, judged by the oracle and by planning again.

mod crash;
mod cut;
mod full_disk;
mod pairs;
mod pg_probe;
mod pg_schema;
mod repair;
mod resume;
mod runs;
mod servers;
mod silence;
mod stale;
mod verify;
