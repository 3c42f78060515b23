//! What each engine promises through its traits, on real servers: no command, no plan.

mod mysql;
mod postgres;
