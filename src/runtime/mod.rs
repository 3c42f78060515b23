//! The doing: makes a graph of two live ends and executes it. Prints nothing, names no engine;
//! tells a [`Reporter`] what happens.

mod batch;
mod buffer;
mod canonical;
mod chunk;
pub mod clock;
mod copy;
pub mod cutover;
mod drive;
pub mod event;
pub mod executor;
pub mod follow;
mod goal;
pub mod meeting;
mod perform;
pub mod planning;
mod points;
mod pool;
mod rate;
mod resume;
pub mod retry;
mod run;
pub mod serve;
mod shared;
pub mod spill;
pub mod stream;
mod sums;
mod table;
mod trouble;
pub mod verify;

pub use clock::{Clock, SystemClock};
pub use event::{Event, Reporter};
pub use executor::{Failure, Outcome, Report, RunOptions, Stop, execute, execute_with};
pub use follow::{Acknowledge, Ended, FollowOptions, FollowReport, Following, Goal, Mode, TableFlow, follow};
pub use planning::{Ends, PlanFailure, Planned, ProbeLevel, make_plan};
pub use verify::{TableVerdict, VerifyLevel, verify};
