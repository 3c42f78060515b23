//! The doing: makes a graph of two live ends and executes it. Prints nothing, names no engine;
//! tells a [`Reporter`] what happens.

pub mod event;
pub mod executor;
pub mod planning;
pub mod verify;

pub use event::{Event, Reporter};
pub use executor::{Failure, Outcome, Report, RunOptions, Stop, execute};
pub use planning::{Ends, PlanFailure, Planned, ProbeLevel, make_plan};
pub use verify::{TableVerdict, VerifyLevel, verify};
