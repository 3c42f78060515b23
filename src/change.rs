//! Floor 1: places in a change log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in the source's history, opaque outside its engine: compare it only by asking that
/// engine. Every chunk mark carries the position of the snapshot it was read in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position(pub String);

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
