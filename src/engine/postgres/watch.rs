//! Whether a session that has been silent for long still has a server at its other end. A peer
//! that vanished without a word, or a box in between that forgot the connection, would be waited
//! for for ever; an index build may be silent for hours and is not to be disturbed. So the server
//! is asked over another connection what that session is doing.
//!
//! ```text
//!   we wait, it works            wait on
//!   we wait, it waits for us     what was sent is lost: the connection is dead
//!   it is gone, or nobody answers at that address
//! ```

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use super::connect::{Address, dial};
use super::wire::Wire;
use super::{connect::Role, error};
use crate::engine::EngineError;

/// Keepalive of a connection, in libpq's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the other end is asked for.
    pub idle: Duration,
    /// Silence between two askings without an answer.
    pub interval: Duration,
    /// Askings by TCP itself before the connection is given up.
    pub count: u32,
    /// How long sent data may stay unacknowledged.
    pub user_timeout: Duration,
}

impl Default for Keepalive {
    /// A peer that vanished is noticed within about a minute.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30),
            interval: Duration::from_secs(10),
            count: 4,
            user_timeout: Duration::from_secs(70),
        }
    }
}

/// Asks about sessions.
pub struct Watch {
    address: Address,
    encrypted: bool,
}

/// What a session was found doing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    Working,
    /// It waits for us, since then.
    Waiting(String),
    Gone,
    Unreachable,
}

/// The rows of an answer.
type Asked = Result<Vec<Vec<Option<String>>>, EngineError>;

/// Of one's own sessions everything may be seen. `Client` is what a backend waits for that reads
/// from us or writes to us.
const LOOK: &str = "SELECT coalesce(wait_event_type, '') = 'Client', coalesce(state_change::text, '') \
     FROM pg_catalog.pg_stat_activity WHERE pid = $1::integer AND datname = pg_catalog.current_database() \
     AND usename = current_user";

const END: &str = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
     WHERE pid = $1::integer AND datname = pg_catalog.current_database() AND usename = current_user";

impl Watch {
    pub fn new(address: Address, encrypted: bool) -> Self {
        Self { address, encrypted }
    }

    fn keepalive(&self) -> &Keepalive {
        &self.address.keepalive
    }

    /// Waits for work that hangs on what the session `pid` answers; an error once nothing can
    /// come any more. Dropping `work` half-way must be allowed.
    pub async fn over<T>(&self, pid: i32, work: impl Future<Output = T>) -> io::Result<T> {
        let mut work = std::pin::pin!(work);
        let mut suspect = Look::Working;
        let mut wait = self.keepalive().idle;
        loop {
            if let Ok(done) = tokio::time::timeout(wait, work.as_mut()).await {
                return Ok(done);
            }
            let found = self.look(pid).await;
            // One look may have come between a question's end and its answer's arrival.
            if found == Look::Gone || (found != Look::Working && found == suspect) {
                return match tokio::time::timeout(Duration::ZERO, work.as_mut()).await {
                    Ok(done) => Ok(done),
                    Err(_) => Err(self.give_up(pid, &found).await),
                };
            }
            let keepalive = self.keepalive();
            wait = if found == Look::Working { keepalive.idle } else { keepalive.interval };
            suspect = found;
        }
    }

    /// As [`Self::over`], for the sessions of sqlx.
    pub async fn over_sqlx<T>(
        &self,
        pid: i32,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        match self.over(pid, work).await {
            Ok(done) => done,
            Err(silent) => Err(error::from_io("hear from", &silent).on(&self.address.shown)),
        }
    }

    async fn look(&self, pid: i32) -> Look {
        let limit = Duration::from_secs(self.address.seconds);
        match tokio::time::timeout(limit, self.ask(LOOK, pid)).await {
            Ok(Ok(rows)) => match rows.first().map(Vec::as_slice) {
                Some([Some(waits), since]) if waits == "t" => {
                    Look::Waiting(since.clone().unwrap_or_default())
                }
                Some(_) => Look::Working,
                None => Look::Gone,
            },
            // A server that refuses us lives: nothing is known of the session.
            Ok(Err(error)) if error.code.is_some() => Look::Working,
            Ok(Err(_)) | Err(_) => Look::Unreachable,
        }
    }

    /// The session it asks on is watched by nobody, and dialled in a box: sessions are dialled by
    /// what is watched.
    fn ask<'a>(&'a self, sql: &'a str, pid: i32) -> Pin<Box<dyn Future<Output = Asked> + Send + 'a>> {
        const DOING: &str = "ask about a silent session of";
        Box::pin(async move {
            let mut wire: Wire = dial(&self.address, Role::Reader, self.encrypted).await?;
            wire.bind(sql, &[Some(&pid.to_string())]).map_err(|fault| fault.doing(DOING))?;
            let answers = wire.sync().await.map_err(|fault| fault.doing(DOING))?;
            wire.terminate().await;
            Ok(answers.into_iter().next().map(|answer| answer.rows).unwrap_or_default())
        })
    }

    /// A session that nobody hears any more must not go on holding its locks.
    async fn give_up(&self, pid: i32, found: &Look) -> io::Error {
        if matches!(found, Look::Waiting(_)) {
            let limit = Duration::from_secs(self.address.seconds);
            // Where it fails, the server's own keepalive ends the session later.
            let _ = tokio::time::timeout(limit, self.ask(END, pid)).await;
        }
        io::ErrorKind::TimedOut.into()
    }
}
