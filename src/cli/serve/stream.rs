//! The stream of changes as the board shows it: how far behind, what was applied of each table
//! since the command began, what the source keeps, and whether it flows. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::change::Counts;
use crate::engine::Standing;
use crate::runtime::event::{APPLY, FOLLOW, READ};
use crate::runtime::{Event, TableFlow};

/// The stream of changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StreamNow {
    /// Every change before it is in the target.
    pub position: String,
    /// From there to the newest position that the source told of; none while nobody knows.
    pub lag_bytes: Option<u64>,
    /// Age of the last applied commit, zero at the source's head; none while nobody knows.
    pub lag_seconds: Option<f64>,
    /// Applied since the command began.
    pub transactions: u64,
    pub rows: u64,
    /// Changes that wait or are being applied: in memory, and on disk.
    pub buffered_bytes: u64,
    pub spilled_bytes: u64,
    /// Tables that are followed.
    pub tables_followed: usize,
    /// Those that were touched, by their names on the target.
    pub tables: BTreeMap<String, Counts>,
    /// The source's log is being read.
    pub reading: bool,
    /// What was counted before the present following began: each counts anew.
    #[serde(skip)]
    pub(super) before: Sums,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sums {
    transactions: u64,
    rows: u64,
    tables: BTreeMap<String, Counts>,
}

/// What the source keeps for the plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Kept {
    /// `kept`, `lost`.
    pub state: &'static str,
    /// Why it is lost.
    pub why: Option<String>,
    /// Everything before it may be forgotten by the source.
    pub acknowledged: Option<String>,
    /// Bytes of log that the source keeps.
    pub retained_bytes: Option<u64>,
    /// Bytes that may be logged before the source gives it up by itself; none where it never does.
    pub room_bytes: Option<u64>,
    /// Bytes at which it is given up by us (`cdc.keep_log`).
    pub limit_bytes: Option<u64>,
    /// Somebody reads from it.
    pub active: bool,
}

/// Something that failed and is tried again.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Retry {
    /// `follow`, `read changes`, `apply changes`.
    pub what: String,
    pub attempt: u32,
    pub error: String,
    /// Seconds since the start.
    pub at: u64,
    /// Where the stream was then: it flows again once it is elsewhere.
    #[serde(skip)]
    position: String,
}

/// Nothing is read from the source.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Paused {
    pub why: String,
    /// Seconds since the start.
    pub at: u64,
}

/// All that the board knows of following.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Flowing {
    pub stream: Option<StreamNow>,
    pub kept: Option<Kept>,
    pub paused: Option<Paused>,
    pub retrying: Option<Retry>,
}

impl Flowing {
    /// The source is read and what it tells is applied: nothing is being tried again.
    pub fn is_followed(&self) -> bool {
        self.retrying.is_none()
            && self.stream.as_ref().is_some_and(|stream| stream.reading && stream.lag_bytes.is_some())
    }

    /// Takes an event in. `at`: seconds since the start.
    pub fn take(&mut self, event: &Event, at: u64) {
        match event {
            Event::StreamOpened { position, tables } => {
                let stream = self.stream.get_or_insert_default();
                stream.begin(&position.0, *tables);
                self.paused = None;
            }
            Event::Reading { .. } => self.read_again(),
            Event::Streamed { .. } => self.streamed(event),
            Event::SourceKeeps { standing, limit } => self.kept = Some(Kept::of(standing, *limit)),
            Event::ReadingPaused { why } => self.paused = Some(Paused { why: why.clone(), at }),
            Event::ReadingResumed { .. } => self.paused = None,
            Event::Retrying { step, attempt, error, .. }
                if [FOLLOW, READ, APPLY].contains(&step.as_str()) =>
            {
                let stream = self.stream.get_or_insert_default();
                match step.as_str() {
                    FOLLOW => stream.cut_off(),
                    READ => stream.reading = false,
                    _ => {}
                }
                let (what, error, position) = (step.clone(), error.clone(), stream.position.clone());
                self.retrying = Some(Retry { what, attempt: *attempt, error, at, position });
            }
            _ => {}
        }
    }

    /// What failed to read reads; what failed to apply may do so still.
    fn read_again(&mut self) {
        self.stream.get_or_insert_default().reading = true;
        self.retrying.take_if(|retry| retry.what != APPLY);
    }

    fn streamed(&mut self, event: &Event) {
        let stream = self.stream.get_or_insert_default();
        stream.take(event);
        self.retrying.take_if(|retry| retry.what == APPLY && retry.position != stream.position);
    }
}

impl StreamNow {
    fn begin(&mut self, position: &str, tables: usize) {
        self.before = Sums { transactions: self.transactions, rows: self.rows, tables: self.tables.clone() };
        (self.tables_followed, self.position) = (tables, position.to_string());
        self.cut_off();
    }

    /// While nothing is followed, nobody looks how far the end of the log is.
    fn cut_off(&mut self) {
        (self.reading, self.lag_bytes, self.lag_seconds) = (false, None, None);
    }

    fn take(&mut self, event: &Event) {
        let Event::Streamed {
            position,
            lag_bytes,
            lag,
            transactions,
            rows,
            buffered_bytes,
            spilled_bytes,
            tables,
        } = event
        else {
            return;
        };
        self.position.clone_from(&position.0);
        (self.lag_bytes, self.lag_seconds) = (*lag_bytes, lag.map(|lag| lag.as_secs_f64()));
        (self.buffered_bytes, self.spilled_bytes) = (*buffered_bytes, *spilled_bytes);
        self.transactions = self.before.transactions + transactions;
        self.rows = self.before.rows + rows;
        for TableFlow { table, applied, .. } in tables.iter().filter(|flow| !flow.applied.is_empty()) {
            let name = table.to_string();
            let mut counts = self.before.tables.get(&name).copied().unwrap_or_default();
            counts.add(*applied);
            self.tables.insert(name, counts);
        }
    }
}

impl Kept {
    fn of(standing: &Standing, limit_bytes: Option<u64>) -> Self {
        let none = Self { limit_bytes, ..Self::default() };
        match standing {
            Standing::Kept { acknowledged, retained, room, active } => Self {
                state: "kept",
                acknowledged: Some(acknowledged.0.clone()),
                retained_bytes: Some(*retained),
                room_bytes: *room,
                active: *active,
                ..none
            },
            Standing::Lost(why) => Self { state: "lost", why: Some(why.clone()), ..none },
            Standing::Missing => Self { state: "lost", why: Some("it is not there".into()), ..none },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalog::Name;
    use crate::change::Position;

    fn streamed(position: &str, lag_bytes: Option<u64>, inserts: u64) -> Event {
        let counts = Counts { inserts, ..Counts::default() };
        Event::Streamed {
            position: Position(position.into()),
            lag_bytes,
            lag: Some(Duration::from_millis(1_500)),
            transactions: 1,
            rows: inserts,
            buffered_bytes: 0,
            spilled_bytes: 0,
            tables: vec![TableFlow { table: Name::new("app", "users"), captured: counts, applied: counts }],
        }
    }

    fn opened(position: &str) -> Event {
        Event::StreamOpened { position: Position(position.into()), tables: 1 }
    }

    fn reading() -> Event {
        Event::Reading { position: Position("1".into()) }
    }

    fn retrying(step: &str) -> Event {
        Event::Retrying { step: step.into(), attempt: 2, millis: 9, error: "gone".into() }
    }

    #[test]
    fn it_is_followed_once_the_source_has_answered_and_not_while_something_fails() {
        let mut flowing = Flowing::default();
        let mut after = |event: Event| {
            flowing.take(&event, 0);
            flowing.is_followed()
        };
        assert!(!after(opened("1")));
        assert!(!after(reading()));
        assert!(!after(streamed("1", None, 0)));
        assert!(after(streamed("1", Some(7), 0)));
        assert!(!after(retrying(READ)));
        assert!(!after(streamed("1", Some(7), 0)), "figures go on while nothing is read");
        assert!(after(reading()));
        // The target is away: reading on changes nothing about that.
        assert!(!after(retrying(APPLY)));
        assert!(!after(reading()));
        assert!(!after(streamed("1", Some(7), 0)));
        assert!(after(streamed("2", Some(0), 3)));
        assert!(!after(retrying(FOLLOW)));
        assert!(!after(opened("2")));
        assert!(!after(reading()), "nobody knows yet how far the source is");
        assert!(after(streamed("2", Some(0), 0)));
        assert!(after(retrying("app.users/copy")), "a step's own trouble is none of the stream");
    }

    #[test]
    fn counts_go_on_where_a_following_begins_anew() {
        let mut flowing = Flowing::default();
        for event in
            [opened("1"), streamed("2", Some(0), 5), opened("2"), reading(), streamed("3", Some(0), 2)]
        {
            flowing.take(&event, 0);
        }
        let stream = flowing.stream.expect("it was told of");
        assert_eq!((stream.transactions, stream.rows), (2, 7));
        assert_eq!(stream.tables["app.users"].inserts, 7);
        assert_eq!((stream.lag_seconds, stream.position.as_str()), (Some(1.5), "3"));
    }

    #[test]
    fn what_the_source_keeps_and_why_reading_is_paused_is_shown() {
        let mut flowing = Flowing::default();
        let standing =
            Standing::Kept { acknowledged: Position("1".into()), retained: 5, room: Some(9), active: true };
        flowing.take(&Event::SourceKeeps { standing, limit: Some(20) }, 1);
        flowing.take(&Event::ReadingPaused { why: "full".into() }, 7);
        let kept = flowing.kept.clone().expect("told");
        assert_eq!((kept.state, kept.retained_bytes, kept.room_bytes), ("kept", Some(5), Some(9)));
        assert_eq!(kept.limit_bytes, Some(20));
        assert_eq!(flowing.paused, Some(Paused { why: "full".into(), at: 7 }));
        flowing.take(&Event::ReadingResumed { millis: 1 }, 9);
        flowing.take(&Event::SourceKeeps { standing: Standing::Lost("gone".into()), limit: None }, 9);
        assert_eq!(flowing.paused, None);
        assert_eq!(flowing.kept.and_then(|kept| kept.why).as_deref(), Some("gone"));
    }
}
