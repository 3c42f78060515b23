//! What every engine promises at its two ends, asked through the traits and nothing else.

mod changes;
mod ends;
mod load;
mod lock;
mod structure;
