//! What reader and applier share: the buffer, what may be acknowledged, and the figures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::group::Tally;
use super::{Acknowledge, Ended, FollowReport, Following, TableFlow};
use crate::change::{Counts, Position};
use crate::engine::EngineError;
use crate::runtime::buffer::{Bounds, Buffer, PIECE_BYTES};
use crate::runtime::event::Event;
use crate::runtime::spill::{Disk, Spill, identity};

/// How often figures are told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How often the source is asked where its log ends, and how long the answer is worth something.
const ASK_EVERY: Duration = Duration::from_secs(1);
const HEAD_HOLDS: Duration = Duration::from_secs(3);
/// Least time between two synchronizations of a spool: the source hears of them once a second.
const SYNC_EVERY: Duration = Duration::from_millis(200);

pub(super) struct Flow<'a> {
    pub(super) following: &'a Following<'a>,
    pub(super) buffer: Buffer<'a>,
    /// Told when everything after the applied position has to be read again.
    pub(super) again: Notify,
    /// Bytes that the stream itself keeps on disk.
    held: AtomicU64,
    figures: Mutex<Figures>,
}

/// How far things are.
pub(super) struct Figures {
    /// Every change before it is in the target, and marked there.
    applied: Position,
    /// As far as no crash of the target takes it back.
    durable: Position,
    /// As `applied`, but nothing was committed since the last mark.
    come_to: Position,
    /// Where the source's log ended, and when it was asked. The stream itself tells of no change
    /// that the source has yet to read.
    head: Option<(Position, Instant)>,
    committed_at: Option<i64>,
    transactions: u64,
    by_table: Vec<(Counts, Counts)>,
}

impl<'a> Flow<'a> {
    pub(super) fn new(following: &'a Following<'a>, disk: &'a dyn Disk) -> Self {
        let options = following.options;
        let bounds = Bounds {
            memory: options.waiting_bytes(),
            keep: options.memory_keep,
            piece: PIECE_BYTES.min(options.batch_bytes.max(1)),
            acknowledge: options.acknowledge,
        };
        let identity = identity(following.plan, following.tables, following.starts);
        let (on, of) = ((disk, following.clock.as_ref()), (following.plan, identity));
        let spill = Spill::new(on, of, options, bounds.piece);
        let figures = Figures {
            applied: following.from.clone(),
            durable: following.from.clone(),
            come_to: following.from.clone(),
            head: None,
            committed_at: None,
            transactions: 0,
            by_table: vec![Default::default(); following.tables.len()],
        };
        Self {
            following,
            buffer: Buffer::new(bounds, spill),
            again: Notify::new(),
            held: AtomicU64::new(0),
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

    /// Notes what the stream itself keeps on disk.
    pub(super) fn note_held(&self, bytes: u64) {
        self.held.store(bytes, Ordering::Relaxed);
    }

    /// Notes what the target holds; `durable`: for good, with all before it.
    pub(super) fn note_applied(&self, position: &Position, tally: &Tally, durable: bool) {
        self.figures(|figures| {
            figures.applied.clone_from(position);
            figures.come_to.clone_from(position);
            if durable {
                figures.durable.clone_from(position);
            }
            figures.committed_at = tally.committed_at.or(figures.committed_at);
            figures.transactions += tally.transactions;
            for ((_, applied), new) in figures.by_table.iter_mut().zip(&tally.tables) {
                applied.add(*new);
            }
        });
    }

    /// Notes that nothing for the target lies before a position.
    pub(super) fn note_reached(&self, position: &Position) {
        self.figures(|figures| figures.come_to.clone_from(position));
    }

    /// What the target holds.
    pub(super) fn applied(&self) -> Position {
        self.figures(|figures| figures.applied.clone())
    }

    /// What the source need not keep any more.
    pub(super) fn safe(&self) -> Position {
        let applied = self.figures(|figures| figures.durable.clone());
        let spooled = self.following.options.acknowledge == Acknowledge::Spooled;
        match self.buffer.spill.durable().filter(|_| spooled) {
            Some(durable) if self.reached(&durable, &applied) => durable,
            _ => applied,
        }
    }

    /// Makes the spool durable, again and again. Returns what keeps it from that.
    pub(super) async fn keep_durable(&self) -> EngineError {
        let spooled = self.following.options.acknowledge == Acknowledge::Spooled;
        loop {
            self.buffer.written.notified().await;
            if spooled
                && self.buffer.spill.is_dirty()
                && let Err(error) = self.buffer.spill.sync().await
            {
                return error;
            }
            self.following.clock.sleep(SYNC_EVERY).await;
        }
    }

    /// How far behind the source the target is; none where nobody knows yet.
    pub(super) fn lag(&self) -> Option<Duration> {
        self.figures(|figures| figures.lag(|at, goal| self.reached(at, goal)))
    }

    /// Asks the source where its log ends, again and again. Who cannot ask now asks again later:
    /// reading the log has its own errors.
    pub(super) async fn ask_head(&self) {
        loop {
            let asked = Instant::now();
            if let Ok(head) = self.following.capture.head().await {
                self.figures(|figures| figures.head = Some((head, asked)));
                // Whoever waits for the end may be there.
                self.buffer.arrived.notify_one();
            }
            self.following.clock.sleep(ASK_EVERY).await;
        }
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
            let behind = head.map(|(head, _)| self.following.capture.distance(&figures.come_to, head));
            Event::Streamed {
                position: figures.applied.clone(),
                lag_bytes: behind,
                lag,
                transactions: figures.transactions,
                rows: figures.by_table.iter().map(|(_, applied)| applied.rows()).sum(),
                buffered_bytes: gauge.memory,
                spilled_bytes: gauge.disk + self.held.load(Ordering::Relaxed),
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
    /// Zero at the source's head as it was a moment ago, else the age of the last applied commit:
    /// the clocks of source and this machine are taken to agree.
    fn lag(&self, reached: impl Fn(&Position, &Position) -> bool) -> Option<Duration> {
        let (head, asked) = self.head.as_ref()?;
        if asked.elapsed() <= HEAD_HOLDS && reached(&self.come_to, head) {
            return Some(Duration::ZERO);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let committed = Duration::from_micros(u64::try_from(self.committed_at?).unwrap_or(0));
        Some(now.saturating_sub(committed))
    }
}
