//! What can go wrong at the edges. The engine classifies, the runtime decides, the face explains.

use std::fmt;

/// Why it failed, as far as it changes what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection, or it broke. Trying again may help.
    Connection,
    /// Deadlock, serialization failure, lock timeout: trying again may help.
    Busy,
    /// User or password refused.
    Authentication,
    /// A privilege is missing.
    Privilege,
    /// The database, file or server is not what was expected, or does not exist.
    NotFound,
    /// TLS could not be established as asked.
    Tls,
    /// A row breaks a constraint, or a value does not fit.
    Data,
    /// The target does not hold the rows that the source's changes speak of.
    Diverged,
    /// The structure is not as it was when the plan was made.
    Stale,
    /// Another run holds the lock or has taken it over.
    Locked,
    /// No space, no memory, too many connections. Trying again may help: others make room.
    Resources,
    /// The server said something that fits nowhere else.
    Other,
}

/// An error at one end. The message is lower case, names the object, and never holds a password
/// or the value of a cell.
#[derive(Debug)]
pub struct EngineError {
    pub cause: Cause,
    /// What we were doing: `read the catalog`.
    pub doing: String,
    /// On what: `public.orders`, `postgres://app@db:5432/shop`.
    pub object: Option<String>,
    /// The server's own message, stripped of row data.
    pub message: String,
    /// SQLSTATE or the engine's code.
    pub code: Option<String>,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
    /// The contract's code where one fits (`E310`).
    pub contract: Option<&'static str>,
}

impl EngineError {
    pub fn new(cause: Cause, doing: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            cause,
            doing: doing.into(),
            object: None,
            message: message.into(),
            code: None,
            hint: None,
            contract: None,
        }
    }

    pub fn on(mut self, object: impl fmt::Display) -> Self {
        self.object = Some(object.to_string());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    pub fn contract(mut self, code: &'static str) -> Self {
        self.contract = Some(code);
        self
    }

    /// Whether the same work may succeed when tried again.
    pub fn retryable(&self) -> bool {
        matches!(self.cause, Cause::Connection | Cause::Busy | Cause::Resources)
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "cannot {}", self.doing)?;
        if let Some(object) = &self.object {
            write!(out, " {object}")?;
        }
        write!(out, ": {}", self.message)?;
        match &self.code {
            Some(code) => write!(out, " ({code})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for EngineError {}
