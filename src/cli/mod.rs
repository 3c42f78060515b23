//! The face: commands, one file each. Opens no database itself and decides nothing about data.

pub mod args;
pub mod card;
pub mod escape;
pub mod exit;
pub mod look;
pub mod number;
pub mod review;
#[cfg(test)]
mod sample;
pub mod text;
