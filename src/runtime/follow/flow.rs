//! What reader and applier share: the buffer, what may be acknowledged, and the figures.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::group::Tally;
use super::{Ended, FollowReport, Following, TableFlow};
use crate::change::{Counts, Position};
use crate::runtime::buffer::Buffer;
use crate::runtime::event::Event;

/// How often figures are told.
const TELL_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Flow<'a> {
    pub(super) following: &'a Following<'a>,
    pub(super) buffer: Buffer,
    /// Told when everything after the applied position has to be read again.
    pub(super) again: Notify,
    figures: Mutex<Figures>,
}

/// How far things are.
pub(super) struct Figures {
    /// Every change before it is in the target, and marked there.
    pub(super) applied: Position,
    /// The newest position that the source told of.
    pub(super) head: Option<Position>,
    committed_at: Option<i64>,
    transactions: u64,
    by_table: Vec<(Counts, Counts)>,
}

impl<'a> Flow<'a> {
    pub(super) fn new(following: &'a Following<'a>) -> Self {
        let figures = Figures {
            applied: following.from.clone(),
            head: None,
            committed_at: None,
            transactions: 0,
            by_table: vec![Default::default(); following.tables.len()],
        };
        Self {
            following,
            buffer: Buffer::new(following.options),
            again: Notify::new(),
            figures: Mutex::new(figures),
        }
    }

    pub(super) fn figures<T>(&self, look: impl FnOnce(&mut Figures) -> T) -> T {
        look(&mut self.figures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether `at` has come to `goal`.
    pub(super) fn reached(&self, at: &Position, goal: &Position) -> bool {
        self.following.capture.reached(at, goal)
    }

    /// Notes what the log told.
    pub(super) fn note_captured(&self, counts: &mut [Counts]) {
        self.figures(|figures| {
            for ((captured, _), new) in figures.by_table.iter_mut().zip(counts) {
                captured.add(std::mem::take(new));
            }
        });
    }

    /// Notes what the target holds for good.
    pub(super) fn note_applied(&self, position: &Position, tally: &Tally) {
        self.figures(|figures| {
            figures.applied = position.clone();
            figures.committed_at = tally.committed_at.or(figures.committed_at);
            figures.transactions += tally.transactions;
            for ((_, applied), new) in figures.by_table.iter_mut().zip(&tally.tables) {
                applied.add(*new);
            }
        });
    }

    /// What the source need not keep any more.
    pub(super) fn safe(&self) -> Position {
        self.figures(|figures| figures.applied.clone())
    }

    /// How far behind the source the target is; none where nobody knows yet.
    pub(super) fn lag(&self) -> Option<Duration> {
        self.figures(|figures| figures.lag(|at, goal| self.reached(at, goal)))
    }

    pub(super) async fn tell_figures(&self) {
        loop {
            self.following.clock.sleep(TELL_EVERY).await;
            self.tell_now();
        }
    }

    pub(super) fn tell_now(&self) {
        let (lag, gauge) = (self.lag(), self.buffer.gauge());
        let event = self.figures(|figures| {
            let head = figures.head.as_ref();
            let behind = head.map(|head| self.following.capture.distance(&figures.applied, head));
            Event::Streamed {
                position: figures.applied.clone(),
                lag_bytes: behind,
                lag,
                transactions: figures.transactions,
                rows: figures.by_table.iter().map(|(_, applied)| applied.rows()).sum(),
                buffered_bytes: gauge.memory,
                spilled_bytes: gauge.disk,
                tables: self.tables(figures),
            }
        });
        self.following.reporter.event(&event);
    }

    pub(super) fn report(&self, ended: Ended) -> FollowReport {
        self.figures(|figures| {
            let mut counts = Counts::default();
            figures.by_table.iter().for_each(|(_, applied)| counts.add(*applied));
            FollowReport {
                position: figures.applied.clone(),
                committed_at: figures.committed_at,
                transactions: figures.transactions,
                counts,
                tables: self.tables(figures),
                ended,
            }
        })
    }

    fn tables(&self, figures: &Figures) -> Vec<TableFlow> {
        let all = self.following.tables.iter().zip(&figures.by_table);
        let touched = all.filter(|(_, (captured, applied))| !captured.is_empty() || !applied.is_empty());
        touched
            .map(|(table, (captured, applied))| TableFlow {
                table: table.projection.target.clone(),
                captured: *captured,
                applied: *applied,
            })
            .collect()
    }
}

impl Figures {
    /// Zero at the source's head, else the age of the last applied commit: the clocks of source
    /// and this machine are taken to agree.
    fn lag(&self, reached: impl Fn(&Position, &Position) -> bool) -> Option<Duration> {
        if self.head.as_ref().is_some_and(|head| reached(&self.applied, head)) {
            return Some(Duration::ZERO);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let committed = Duration::from_micros(u64::try_from(self.committed_at?).unwrap_or(0));
        Some(now.saturating_sub(committed))
    }
}
