//! Changes on their way from the reader to the applier: pieces in order, in memory as far as they
//! may. What the applier has taken stays until it is committed, so that it can be taken again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::follow::FollowOptions;
use crate::change::{Changes, Position};
use crate::engine::EngineError;

/// Bytes that a piece is filled up to.
pub(super) const PIECE_BYTES: usize = 256 << 10;

/// What a piece holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whole transactions, or none where the log only went on.
    Whole,
    /// The first part of one transaction that is larger than a piece, one in between, the last.
    First,
    Middle,
    Last,
}

/// Changes that are handed on together.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) changes: Changes,
    pub(super) kind: Kind,
    /// The position after it, where that is a border between transactions.
    pub(super) end: Option<Position>,
}

impl Piece {
    pub(super) fn new(mut changes: Changes, kind: Kind, end: Option<Position>) -> Self {
        changes.fit(0);
        Self { changes, kind, end }
    }
}

/// A piece that the applier works on.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) changes: Arc<Changes>,
    pub(super) kind: Kind,
    pub(super) end: Option<Position>,
}

/// Bytes that are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gauge {
    pub(super) memory: u64,
    pub(super) disk: u64,
}

#[derive(Debug)]
struct Slot {
    kind: Kind,
    end: Option<Position>,
    bytes: usize,
    /// None: given up while it was applied, because there was no room for it.
    memory: Option<Arc<Changes>>,
}

#[derive(Debug, Default)]
struct State {
    slots: VecDeque<Slot>,
    /// Slots at the front that the applier has taken.
    taken: usize,
    memory: u64,
    /// What the applier has taken of an unfinished transaction is void.
    withdrawn: bool,
    /// No more comes, and why.
    closed: Option<EngineError>,
}

pub(super) struct Buffer {
    state: Mutex<State>,
    memory_max: u64,
    piece_bytes: usize,
    /// For the applier: something came, was withdrawn, or nothing comes any more.
    pub(super) arrived: Notify,
    /// For the reader: there may be room.
    pub(super) freed: Notify,
}

impl Buffer {
    pub(super) fn new(options: &FollowOptions) -> Self {
        Self {
            state: Mutex::default(),
            memory_max: options.memory_bytes,
            piece_bytes: PIECE_BYTES.min(options.batch_bytes.max(1)),
            arrived: Notify::new(),
            freed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn piece_bytes(&self) -> usize {
        self.piece_bytes
    }

    pub(super) fn gauge(&self) -> Gauge {
        Gauge { memory: self.state().memory, disk: 0 }
    }

    /// Whether more may be read. The applier never waits for changes that are not read because of
    /// a limit: where it has taken all there is, one piece more is always allowed, and parts of an
    /// unfinished transaction that it has taken are given up for it.
    pub(super) fn has_room(&self) -> bool {
        let mut state = self.state();
        if state.memory < self.memory_max {
            return true;
        }
        if state.slots.len() > state.taken {
            return false;
        }
        state.give_up();
        true
    }

    /// What there is too much of.
    pub(super) fn why_full(&self) -> String {
        format!("{} bytes of changes wait in memory, and no more are allowed", self.state().memory)
    }

    pub(super) fn push(&self, piece: Piece) {
        self.state().push(piece, self.piece_bytes);
        self.arrived.notify_one();
    }

    /// Takes back what was handed on of an unfinished transaction.
    pub(super) fn withdraw(&self) {
        self.state().withdraw();
        self.arrived.notify_one();
    }

    /// Nothing more comes.
    pub(super) fn close(&self, error: EngineError) {
        let mut state = self.state();
        state.closed = Some(error);
        drop(state);
        self.arrived.notify_one();
    }

    /// The next piece, if there is one. It stays here until it is released.
    pub(super) fn take(&self) -> Option<Taken> {
        let mut state = self.state();
        let slot = state.slots.get(state.taken)?;
        let changes = slot.memory.clone().expect("broken invariant: only what was taken is given up");
        let taken = Taken { changes, kind: slot.kind, end: slot.end.clone() };
        state.taken += 1;
        drop(state);
        self.freed.notify_one();
        Some(taken)
    }

    /// What kind of piece comes next.
    pub(super) fn peek(&self) -> Option<Kind> {
        let state = self.state();
        state.slots.get(state.taken).map(|slot| slot.kind)
    }

    /// Whether the unfinished transaction, of which parts were taken, was withdrawn.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.state().withdrawn
    }

    /// Why nothing more comes, where that is so; told once everything was taken.
    pub(super) fn end(&self) -> Option<EngineError> {
        let mut state = self.state();
        if state.slots.len() > state.taken {
            return None;
        }
        state.closed.take()
    }

    /// Everything that was taken is committed.
    pub(super) fn release(&self) {
        let mut state = self.state();
        for _ in 0..std::mem::take(&mut state.taken) {
            state.pop();
        }
        drop(state);
        self.freed.notify_one();
    }

    /// What was taken will be taken again. False where some of it is no more: then nothing is left
    /// here, and all after the last commit has to be read again.
    #[must_use]
    pub(super) fn rewind(&self) -> bool {
        let mut state = self.state();
        state.withdrawn = false;
        let whole = state.slots.iter().all(|slot| slot.memory.is_some());
        state.taken = 0;
        while !whole && !state.slots.is_empty() {
            state.pop();
        }
        drop(state);
        self.freed.notify_one();
        whole
    }
}

impl State {
    fn push(&mut self, piece: Piece, piece_bytes: usize) {
        let waiting = self.slots.len() > self.taken;
        let last = self.slots.back_mut().filter(|_| waiting);
        let bytes = piece.changes.len();
        if let Some(slot) = last
            && piece.kind == Kind::Whole
            && slot.append(&piece, piece_bytes)
        {
            self.memory += bytes as u64;
            return;
        }
        self.memory += bytes as u64;
        let memory = Some(Arc::new(piece.changes));
        self.slots.push_back(Slot { kind: piece.kind, end: piece.end, bytes, memory });
    }

    fn pop(&mut self) {
        let slot = self.slots.pop_front();
        self.memory -= slot.filter(|slot| slot.memory.is_some()).map_or(0, |slot| slot.bytes as u64);
    }

    fn withdraw(&mut self) {
        while self.slots.back().is_some_and(|slot| slot.end.is_none()) {
            let slot = self.slots.pop_back();
            self.memory -= slot.filter(|slot| slot.memory.is_some()).map_or(0, |slot| slot.bytes as u64);
            if self.taken > self.slots.len() {
                self.taken = self.slots.len();
                self.withdrawn = true;
            }
        }
    }

    /// Lets go of the parts of an unfinished transaction that were taken.
    fn give_up(&mut self) {
        for slot in &mut self.slots {
            if slot.kind != Kind::Whole && slot.memory.take().is_some() {
                self.memory -= slot.bytes as u64;
            }
        }
    }
}

impl Slot {
    /// Takes a piece of whole transactions in, where it waits and there is room in it.
    fn append(&mut self, piece: &Piece, piece_bytes: usize) -> bool {
        let more = piece.changes.len();
        if more > 0 && (self.kind != Kind::Whole || self.bytes + more > piece_bytes) {
            return false;
        }
        if more > 0 {
            let Some(changes) = self.memory.as_mut().and_then(Arc::get_mut) else { return false };
            changes.fit(piece_bytes);
            changes.extend(piece.changes.records());
            self.bytes += more;
        }
        if self.end.is_none() {
            return false;
        }
        self.end.clone_from(&piece.end);
        true
    }
}
