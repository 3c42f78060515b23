//! What InnoDB lets a snapshot see, as its monitor tells it to who has the privilege PROCESS: a
//! transaction sees those with a number below one limit and none from another one on. Where both
//! limits are the same, nothing was half way: that number alone says which rows there are, and two
//! snapshots of one run of the server that have it in common show the same.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

/// A moment without any transaction half way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// All transactions below this number are seen, and no other.
    pub below: u64,
    /// Second since 1970 at which the server started, give or take one: it may forget numbers when
    /// it starts again.
    pub started: u64,
}

impl View {
    /// What all these sessions see in their open snapshots; none where that is not one and the
    /// same, or the monitor does not tell.
    pub async fn of(conn: &mut Conn, sessions: &[u32]) -> Option<Self> {
        let monitor: Row = conn.query_first("SHOW ENGINE INNODB STATUS").await.ok()??;
        let monitor: String = monitor.get_opt(2)?.ok()?;
        let below = common(&monitor, sessions)?;
        let (_, uptime): (String, u64) =
            conn.query_first("SHOW GLOBAL STATUS LIKE 'Uptime'").await.ok()??;
        let now: u64 = conn.query_first("SELECT UNIX_TIMESTAMP()").await.ok()??;
        Some(Self { below, started: now.checked_sub(uptime)? })
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (below, started) = text.split_once('@')?;
        Some(Self { below: below.parse().ok()?, started: started.parse().ok()? })
    }

    pub fn shows_the_same(&self, other: &Self) -> bool {
        self.below == other.below && self.started.abs_diff(other.started) <= 1
    }
}

impl std::fmt::Display for View {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}@{}", self.below, self.started)
    }
}

/// The one limit that all these sessions have on both sides.
fn common(monitor: &str, sessions: &[u32]) -> Option<u64> {
    let mut limits = sessions.iter().map(|id| limit(monitor, *id));
    let first = limits.next()??;
    limits.all(|limit| limit == Some(first)).then_some(first)
}

/// The limit of one session's snapshot, where it has one and the same on both sides.
fn limit(monitor: &str, session: u32) -> Option<u64> {
    let own = |entry: &&str| {
        let mut lines = entry.lines();
        lines.any(|line| {
            let id =
                line.strip_prefix("MariaDB thread id ").or_else(|| line.strip_prefix("MySQL thread id "));
            id.and_then(|rest| rest.split(',').next()?.parse().ok()) == Some(session)
        })
    };
    let entry = monitor.split("---TRANSACTION ").skip(1).find(own)?;
    let line =
        entry.lines().find_map(|line| line.strip_prefix("Trx read view will not see trx with id >= "))?;
    let (unseen, seen) = line.split_once(", sees < ")?;
    let (unseen, seen): (u64, u64) = (unseen.trim().parse().ok()?, seen.trim().parse().ok()?);
    (unseen == seen).then_some(unseen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONITOR: &str = "Trx id counter 20\n\
        ---TRANSACTION (0x7f), ACTIVE 0 sec\n\
        MariaDB thread id 7, OS thread handle 1, query id 2 localhost root starting\n\
        Trx read view will not see trx with id >= 20, sees < 20\n\
        ---TRANSACTION 421, not started\n\
        MySQL thread id 8, OS thread handle 1, query id 2\n\
        Trx read view will not see trx with id >= 20, sees < 20\n\
        ---TRANSACTION 422, ACTIVE 3 sec\n\
        MySQL thread id 9, OS thread handle 1, query id 2\n\
        Trx read view will not see trx with id >= 20, sees < 18\n\
        ---TRANSACTION 423, not started\n\
        MySQL thread id 10, OS thread handle 1, query id 2\n";

    #[test]
    fn only_a_limit_that_all_have_on_both_sides_says_what_is_seen() {
        assert_eq!(common(MONITOR, &[7]), Some(20));
        assert_eq!(common(MONITOR, &[7, 8]), Some(20));
        for doubtful in [&[7, 9][..], &[10], &[1], &[70], &[]] {
            assert_eq!(common(MONITOR, doubtful), None, "{doubtful:?}");
        }
    }

    #[test]
    fn another_start_of_the_server_is_another_view() {
        let view = View { below: 20, started: 1_700_000_000 };
        assert_eq!(View::parse(&view.to_string()), Some(view));
        assert!(view.shows_the_same(&View { started: 1_700_000_001, ..view }));
        assert!(!view.shows_the_same(&View { started: 1_700_000_003, ..view }));
        assert!(!view.shows_the_same(&View { below: 21, ..view }));
        assert_eq!(View::parse(""), None);
    }
}
