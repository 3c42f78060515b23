//! Statements sent one after the other without waiting for their answers, which come in the same
//! order. Each says how many rows it is to touch; the first that touches another number, or
//! fails, is remembered and everything behind it is void.
//!
//! ```text
//!   we      Parse Bind Execute  Bind Execute  ...  Flush  ...  Sync
//!   server         1 2 C        2 C           ...         ...  Z
//! ```

use std::collections::VecDeque;

use postgres_protocol::message::frontend;

use super::error::ServerError;
use super::wire::{Fault, Frame, Wire};

/// Bytes collected before they are sent.
pub const SEND_BYTES: usize = 64 << 10;
/// Statements whose answers may be outstanding.
const AWAITED_MAX: usize = 8192;

/// A run of statements on a session. `T` tells the caller what a statement was about.
pub struct Pipeline<'w, T> {
    pub wire: &'w mut Wire,
    awaited: VecDeque<(Option<u64>, T)>,
    failure: Option<Failure<T>>,
}

/// The first statement that did not go as it should.
#[derive(Debug)]
pub enum Failure<T> {
    Server(Box<ServerError>, T),
    /// It touched `found` rows.
    Rows {
        found: u64,
        of: T,
    },
}

impl<'w, T: Copy> Pipeline<'w, T> {
    pub fn begin(wire: &'w mut Wire) -> Self {
        wire.open_pipeline();
        Self { wire, awaited: VecDeque::new(), failure: None }
    }

    /// Adds a statement without values.
    pub fn run(&mut self, sql: &str, what: T) -> Result<(), Fault> {
        self.wire.bind(sql, &[])?;
        self.awaited.push_back((None, what));
        Ok(())
    }

    /// Adds the execution of what was bound; `rows` is what it must touch.
    pub fn execute(&mut self, rows: Option<u64>, what: T) -> Result<(), Fault> {
        frontend::execute("", 0, self.wire.out())?;
        self.awaited.push_back((rows, what));
        Ok(())
    }

    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Sends what has come together, once it is worth it.
    pub async fn flow(&mut self) -> Result<(), Fault> {
        if self.wire.out().len() < SEND_BYTES && self.awaited.len() < AWAITED_MAX {
            return Ok(());
        }
        frontend::flush(self.wire.out());
        self.wire.push().await?;
        while let Some(frame) = self.wire.arrived().await? {
            self.take(&frame)?;
        }
        while self.awaited.len() > AWAITED_MAX / 2 && !self.has_failed() {
            let frame = self.wire.event().await?;
            self.take(&frame)?;
        }
        Ok(())
    }

    /// Ends the pipeline and takes what is left of its answers.
    pub async fn finish(mut self) -> Result<Option<Failure<T>>, Fault> {
        self.wire.close_pipeline();
        self.wire.push().await?;
        loop {
            let frame = self.wire.event().await?;
            if frame.tag == b'Z' {
                return Ok(self.failure);
            }
            self.take(&frame)?;
        }
    }

    fn take(&mut self, frame: &Frame) -> Result<(), Fault> {
        match frame.tag {
            b'C' => self.take_tag(&frame.body),
            b'E' => {
                let error = Box::new(ServerError::parse(&frame.body));
                // About nothing that was sent: the server says good-bye.
                let Some((_, what)) = self.awaited.front() else { return Err(Fault::Server(error)) };
                self.failure.get_or_insert(Failure::Server(error, *what));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A statement is done: `INSERT 0 3`, `UPDATE 1`, `SELECT 1`, `COPY 7`.
    fn take_tag(&mut self, body: &[u8]) -> Result<(), Fault> {
        let Some((wanted, what)) = self.awaited.pop_front() else {
            return Err(Fault::garbled("an answer to nothing that was sent"));
        };
        let Some(wanted) = wanted else { return Ok(()) };
        let tag = body.strip_suffix(&[0]).unwrap_or(body);
        let digits = tag.rsplit(|byte| *byte == b' ').next().unwrap_or(&[]);
        let found = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
        let found = found.ok_or_else(|| Fault::garbled("a statement without a number of rows"))?;
        if found != wanted {
            self.failure.get_or_insert(Failure::Rows { found, of: what });
        }
        Ok(())
    }
}
