//! Keeping writers out of the source while it is cut over: one open transaction that holds the
//! tables and has put a trigger on each that refuses every write, or has taken from some roles what
//! lets them write. Given up, or lost in a crash, it has never been there; sealed, it stays.

use async_trait::async_trait;

use super::EngineError;

/// A fence that stands as long as this is held. Dropping it lets the writers in again.
#[async_trait]
pub trait Fence: Send {
    /// Fails once the transaction that is the fence has ended: writers may have been at work since.
    async fn holds(&mut self) -> Result<(), EngineError>;
    /// Keeps the writers out for good.
    async fn seal(self: Box<Self>) -> Result<(), EngineError>;
    /// Lets the writers in again.
    async fn lift(self: Box<Self>) -> Result<(), EngineError>;
}
