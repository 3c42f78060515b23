//! The face: commands, one file each. Opens no database itself and decides nothing about data.

pub mod args;
pub mod bars;
pub mod card;
pub mod dot;
pub mod ends;
pub mod escape;
pub mod exit;
pub mod failure;
pub mod init;
pub mod json;
pub mod look;
pub mod markdown;
pub mod mermaid;
pub mod number;
pub mod picture;
pub mod problem;
pub mod progress;
pub mod review;
#[cfg(test)]
mod sample;
pub mod saved_catalog;
pub mod schema;
pub mod screen;
pub mod source_text;
pub mod sql;
pub mod tally;
pub mod text;
pub mod validate;
pub mod write;
