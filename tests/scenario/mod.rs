//! Whole commands on real databases, judged by the oracle and by planning again.

mod crash;
mod cut;
mod fence_roles;
mod follow_faults;
pub mod follow_stops;
mod follow_to_mariadb;
mod followed;
mod full_disk;
mod handing_over;
mod lag;
mod mariadb;
mod mariadb_follow;
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
