//! Whole commands on real databases, judged by the oracle and by planning again.

mod crash;
mod cut;
mod full_disk;
mod lag;
mod mariadb;
mod page;
mod pairs;
mod pg_probe;
mod pg_schema;
mod repair;
mod resume;
mod runs;
mod servers;
mod serving;
mod silence;
mod stale;
mod stream_crash;
mod to_mariadb;
mod verify;
mod watching;
