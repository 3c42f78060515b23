//! One end of a world, whatever database it is: how it is reached, written to, recorded and broken.
//! What it records is what its own server logged, read by the vendor's tools and told in one form.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::proxy::{Fault, Proxy};

/// A row: its columns by name, values as texts, none for null.
pub type Row = BTreeMap<String, Option<String>>;

/// What a log says of a large value that did not change, and is not in it.
pub const UNCHANGED: &str = "unchanged-toast-datum";

/// What a server logged.
#[derive(Clone, Debug, PartialEq)]
pub enum Logged {
    /// A transaction begins. One that was not committed before is none.
    Begin,
    /// Of a table by its bare name; those of the tool's state begin with `towpath_`.
    Row {
        table: String,
        change: Change,
    },
    Truncate(Vec<String>),
    /// The transaction is done; where it ends in the log.
    Commit(u64),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Insert(Row),
    /// The old row is not told where its key is the new one's.
    Update {
        old: Option<Row>,
        new: Row,
    },
    Delete(Row),
}

/// A server's log, from the moment on at which it was opened.
pub trait Log {
    /// Everything that was logged since the last time.
    fn read(&mut self, take: &mut dyn FnMut(Logged));

    /// Lets the server forget it.
    fn stop(&self);
}

/// Somebody who writes.
pub trait Session: Send {
    /// Runs statements, one after the other, up to the first that fails.
    fn run(&mut self, sql: &str) -> Result<(), String>;
}

/// A database at one end.
pub trait End: Send + Sync {
    /// The same end, for a thread of its own.
    fn shared(&self) -> Arc<dyn End>;

    /// As a user writes it, through that port.
    fn url_at(&self, port: u16) -> String;

    fn port(&self) -> u16;

    /// A proxy before it, which knows its protocol as far as needed.
    fn proxy(&self) -> Proxy;

    /// None where the server is away.
    fn session(&self) -> Option<Box<dyn Session>>;

    fn execute(&self, sql: &str);

    /// The first column of all rows, as texts.
    fn column(&self, sql: &str) -> Vec<String>;

    /// Begins to record. `plain`: in texts that logs of another database have, too.
    fn log(&self, plain: bool) -> Box<dyn Log>;

    /// Makes its log tell whole rows of tables without a key that the tool will make.
    fn log_whole_rows(&self);

    fn is_postgres(&self) -> bool;

    /// A position of the tool's as a place in this end's log.
    fn place(&self, position: &str) -> u64;

    /// A table of the tool's state.
    fn state(&self, table: &str) -> String;

    /// Whether a transaction of that name is prepared; none where nobody can tell.
    fn is_prepared(&self, name: &str) -> Option<bool>;

    /// Loses the answer to the next COMMIT.
    fn lost_commit(&self) -> Fault;

    /// Ends the tool's sessions, as an administrator does.
    fn end_sessions(&self);

    /// How many ways there are to break this end in particular, the last one being its server's fall.
    fn harms(&self) -> u64;

    /// Breaks it in one of them.
    fn harm(&self, way: u64);

    /// What the tool made here, and should have removed after a cutover.
    fn leftovers(&self) -> Vec<String>;

    /// The only value of the only row; empty for null.
    fn value(&self, sql: &str) -> String {
        let mut found = self.column(sql);
        assert_eq!(found.len(), 1, "one row expected from {sql}");
        found.remove(0)
    }
}
