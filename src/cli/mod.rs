//! The face: commands, one file each. Opens no database itself and decides nothing about data.

pub mod args;
pub mod card;
pub mod dot;
pub mod escape;
pub mod exit;
pub mod json;
pub mod look;
pub mod markdown;
pub mod mermaid;
pub mod number;
pub mod picture;
pub mod review;
#[cfg(test)]
mod sample;
pub mod sql;
pub mod text;
