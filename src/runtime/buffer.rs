//! Changes on their way from the reader to the applier: pieces in order, each in memory, on disk,
//! or both. What the applier has taken stays until it is committed, so that it can be taken again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::follow::Acknowledge;
use super::spill::{Spill, Stored};
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
    pub(super) end: Option<Position>,
    /// It is on disk, and the source may have been told so.
    pub(super) stored: bool,
}

/// Bytes that are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gauge {
    pub(super) memory: u64,
    pub(super) disk: u64,
}

/// A piece's place. Neither in memory nor on disk: given up while it was applied.
#[derive(Debug)]
struct Slot {
    /// Ascends; never used twice.
    id: u64,
    kind: Kind,
    end: Option<Position>,
    bytes: usize,
    since: Instant,
    memory: Option<Arc<Changes>>,
    disk: Option<Stored>,
}

#[derive(Debug, Default)]
struct State {
    slots: VecDeque<Slot>,
    next_id: u64,
    /// Slots at the front that the applier has taken.
    taken: usize,
    memory: u64,
    /// What the applier has taken of an unfinished transaction is void.
    withdrawn: bool,
    /// Part of a transaction was given up, so that nothing can be added to the spool before all
    /// that is here is applied.
    unspooled: bool,
    /// There may be files that nothing is wanted of any more.
    gave_up: bool,
    /// Nothing is taken in until reading begins anew.
    refuses: bool,
    /// No more comes, and why.
    closed: Option<EngineError>,
}

/// What may be held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) memory: u64,
    pub(super) keep: Duration,
    pub(super) piece: usize,
    pub(super) acknowledge: Acknowledge,
}

pub(super) struct Buffer<'a> {
    state: Mutex<State>,
    bounds: Bounds,
    pub(super) spill: Spill<'a>,
    /// For the applier: something came, was withdrawn, or nothing comes any more.
    pub(super) arrived: Notify,
    /// For the reader: there may be room.
    pub(super) freed: Notify,
    /// For whoever makes the spool durable.
    pub(super) written: Notify,
}

impl<'a> Buffer<'a> {
    pub(super) fn new(bounds: Bounds, spill: Spill<'a>) -> Self {
        Self {
            state: Mutex::default(),
            bounds,
            spill,
            arrived: Notify::new(),
            freed: Notify::new(),
            written: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn piece_bytes(&self) -> usize {
        self.bounds.piece
    }

    pub(super) fn gauge(&self) -> Gauge {
        Gauge { memory: self.state().memory, disk: self.spill.used() }
    }

    fn spools(&self) -> bool {
        self.bounds.acknowledge == Acknowledge::Spooled
    }

    /// Takes back what a spool held at the start. The position after it.
    pub(super) async fn recover(
        &self,
        applied: &Position,
        reached: impl Fn(&Position, &Position) -> bool,
    ) -> Result<Position, EngineError> {
        let (pieces, end) = self.spill.recover(applied, reached).await?;
        let mut state = self.state();
        for piece in pieces {
            state.add(piece.kind, piece.end, piece.bytes, None, Some(piece.stored));
        }
        drop(state);
        self.written.notify_one();
        Ok(end)
    }

    /// Whether more may be read. The applier never waits for changes that are not read because of
    /// a limit: where it has taken all there is, one piece more is always allowed, and parts of an
    /// unfinished transaction that it has taken are given up for it.
    pub(super) fn has_room(&self) -> bool {
        let disk = self.spill.has_room();
        let mut state = self.state();
        let waiting = state.slots.len() > state.taken;
        let memory = state.memory < self.bounds.memory && (state.unspooled || !self.spools());
        let room = memory || (disk && !state.unspooled);
        // One that is complete may have been acknowledged.
        let unfinished = state.slots.back().is_some_and(|slot| slot.end.is_none());
        if !room && !waiting && unfinished {
            state.give_up(&self.spill);
            state.unspooled = self.spools();
        }
        // What would be read behind a part that is not in the spool could not be added to it.
        if state.unspooled { !waiting } else { room || !waiting }
    }

    /// What there is too much of.
    pub(super) fn why_full(&self) -> String {
        let Gauge { memory, disk } = self.gauge();
        format!(
            "{memory} bytes of changes wait in memory and {disk} on disk in {}, and no more are allowed; \
             it goes on when the target has taken some",
            self.spill.place()
        )
    }

    /// Adds a piece. `applied`: what the target holds for good.
    pub(super) async fn push(&self, piece: Piece, applied: &Position) -> Result<(), EngineError> {
        if std::mem::take(&mut self.state().gave_up) {
            self.spill.sweep().await?;
        }
        let (fits, unspooled, tells) = {
            let mut state = self.state();
            if state.refuses {
                return Ok(());
            }
            let empty = piece.changes.is_empty();
            let fits = empty || state.memory + piece.changes.len() as u64 <= self.bounds.memory;
            // Where the log goes on with nothing for us while changes wait here, the source may forget
            // that too: once for each time that the spool is made durable.
            let tells = empty && self.spools() && !state.unspooled && !state.slots.is_empty();
            let tells = tells && !self.spill.is_dirty() && self.spill.has_room();
            let joins = fits && !tells && (empty || state.unspooled || !self.spools());
            if joins && state.append(&piece, self.bounds.piece) {
                self.arrived.notify_one();
                return Ok(());
            }
            (fits, state.unspooled, tells)
        };
        let spool = tells || self.spools() && !unspooled && !piece.changes.is_empty();
        let spill = !self.spools() && !fits && self.spill.has_room();
        let Piece { changes, kind, end } = piece;
        let disk = match spool || spill {
            true => Some(self.spill.write((kind, end.as_ref()), &changes, applied).await?),
            false => None,
        };
        let bytes = changes.len();
        let memory = (disk.is_none() || fits).then(|| Arc::new(changes));
        self.state().add(kind, end, bytes, memory, disk);
        self.arrived.notify_one();
        if spool {
            self.written.notify_one();
        }
        Ok(())
    }

    /// Moves what has waited in memory for too long to disk.
    pub(super) async fn age(&self, applied: &Position) -> Result<(), EngineError> {
        while let Some((id, changes, kind, end)) = self.oldest() {
            let stored = match self.spill.has_room() {
                true => self.spill.write((kind, end.as_ref()), &changes, applied).await?,
                false => return Ok(()),
            };
            self.state().moved(id, stored, &self.spill);
        }
        Ok(())
    }

    /// The first waiting piece, if it has been in memory alone for too long. In a spool it is on
    /// disk anyway, and only memory has to be freed.
    fn oldest(&self) -> Option<(u64, Arc<Changes>, Kind, Option<Position>)> {
        let mut state = self.state();
        let keep = self.bounds.keep;
        loop {
            let taken = state.taken;
            let late =
                |slot: &&mut Slot| slot.memory.is_some() && slot.bytes > 0 && slot.since.elapsed() >= keep;
            let slot = state.slots.iter_mut().skip(taken).find(late)?;
            let changes = slot.memory.clone()?;
            if slot.disk.is_none() {
                return (!self.spools()).then(|| (slot.id, changes, slot.kind, slot.end.clone()));
            }
            slot.memory = None;
            state.memory -= changes.len() as u64;
        }
    }

    /// Takes back what was handed on of an unfinished transaction.
    pub(super) fn withdraw(&self) {
        self.state().withdraw(&self.spill);
        self.arrived.notify_one();
    }

    /// Nothing more comes.
    pub(super) fn close(&self, error: EngineError) {
        self.state().closed = Some(error);
        self.arrived.notify_one();
    }

    /// The next piece, if there is one. It stays here until it is released.
    pub(super) async fn take(&self) -> Result<Option<Taken>, EngineError> {
        let (id, stored, open) = {
            let mut state = self.state();
            let at = state.taken;
            let Some(slot) = state.slots.get(at) else { return Ok(None) };
            if let Some(changes) = slot.memory.clone() {
                let taken = Taken { changes, end: slot.end.clone(), stored: slot.disk.is_some() };
                state.taken += 1;
                drop(state);
                self.freed.notify_one();
                return Ok(Some(taken));
            }
            let stored = slot.disk.expect("broken invariant: only what was taken is given up");
            (slot.id, stored, matches!(slot.kind, Kind::Middle | Kind::Last))
        };
        let changes = Arc::new(self.spill.read(&stored, open).await?);
        let mut state = self.state();
        let at = state.taken;
        // It may have been withdrawn meanwhile.
        let Some(slot) = state.slots.get(at).filter(|slot| slot.id == id) else { return Ok(None) };
        let taken = Taken { changes, end: slot.end.clone(), stored: true };
        state.taken += 1;
        drop(state);
        self.freed.notify_one();
        Ok(Some(taken))
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
    pub(super) async fn release(&self) -> Result<(), EngineError> {
        self.state().release(&self.spill);
        let swept = self.spill.sweep().await;
        self.freed.notify_one();
        swept
    }

    /// What was taken will be taken again. False where some of it is no more: then nothing is left
    /// here, and all after the last commit has to be read again.
    pub(super) async fn rewind(&self) -> Result<bool, EngineError> {
        let whole = self.state().rewind(&self.spill);
        let swept = self.spill.sweep().await;
        self.freed.notify_one();
        swept.map(|()| whole)
    }

    /// Reading begins anew.
    pub(super) fn begin_anew(&self) {
        self.state().refuses = false;
    }
}

impl State {
    fn add(
        &mut self,
        kind: Kind,
        end: Option<Position>,
        bytes: usize,
        memory: Option<Arc<Changes>>,
        disk: Option<Stored>,
    ) {
        self.memory += memory.as_ref().map_or(0, |changes| changes.len() as u64);
        let id = self.next_id;
        self.next_id += 1;
        self.slots.push_back(Slot { id, kind, end, bytes, since: Instant::now(), memory, disk });
    }

    /// Adds whole transactions to the last piece, where that waits in memory and has room.
    fn append(&mut self, piece: &Piece, piece_bytes: usize) -> bool {
        let waiting = self.slots.len() > self.taken;
        let Some(slot) = self.slots.back_mut().filter(|_| waiting && piece.kind == Kind::Whole) else {
            return false;
        };
        let appended = slot.append(piece, piece_bytes);
        self.memory += if appended { piece.changes.len() as u64 } else { 0 };
        appended
    }

    /// A piece is on disk now, and need not be in memory.
    fn moved(&mut self, id: u64, stored: Stored, spill: &Spill<'_>) {
        let Ok(at) = self.slots.binary_search_by_key(&id, |slot| slot.id) else {
            // It was released or withdrawn meanwhile.
            return spill.forget(&stored);
        };
        let slot = &mut self.slots[at];
        slot.disk = Some(stored);
        self.memory -= slot.memory.take().map_or(0, |changes| changes.len() as u64);
    }

    fn pop(&mut self, spill: &Spill<'_>) {
        if let Some(slot) = self.slots.pop_front() {
            self.free(slot, spill);
        }
    }

    fn free(&mut self, mut slot: Slot, spill: &Spill<'_>) {
        self.memory -= slot.lose(spill);
    }

    fn release(&mut self, spill: &Spill<'_>) {
        for _ in 0..std::mem::take(&mut self.taken) {
            self.pop(spill);
        }
        self.unspooled &= !self.slots.is_empty();
    }

    fn rewind(&mut self, spill: &Spill<'_>) -> bool {
        let whole = self.slots.iter().all(|slot| slot.memory.is_some() || slot.disk.is_some());
        (self.withdrawn, self.taken, self.refuses) = (false, 0, !whole);
        while !whole && !self.slots.is_empty() {
            self.pop(spill);
        }
        self.unspooled &= !self.slots.is_empty();
        whole
    }

    fn withdraw(&mut self, spill: &Spill<'_>) {
        while self.slots.back().is_some_and(|slot| slot.end.is_none()) {
            let slot = self.slots.pop_back();
            slot.into_iter().for_each(|slot| self.free(slot, spill));
            if self.taken > self.slots.len() {
                self.taken = self.slots.len();
                self.withdrawn = true;
            }
        }
    }

    /// Lets go of the parts of an unfinished transaction that were taken.
    fn give_up(&mut self, spill: &Spill<'_>) {
        let slots = self.slots.iter_mut().filter(|slot| slot.kind != Kind::Whole);
        self.memory -= slots.map(|slot| slot.lose(spill)).sum::<u64>();
        self.gave_up = true;
    }
}

impl Slot {
    /// Lets go of the changes. Bytes of memory that were freed.
    fn lose(&mut self, spill: &Spill<'_>) -> u64 {
        self.disk.take().iter().for_each(|stored| spill.forget(stored));
        self.memory.take().map_or(0, |changes| changes.len() as u64)
    }

    fn append(&mut self, piece: &Piece, piece_bytes: usize) -> bool {
        let more = piece.changes.len();
        if self.end.is_none() {
            return false;
        }
        if more > 0 {
            // What is on disk is complete there.
            let room = self.kind == Kind::Whole && self.disk.is_none() && self.bytes + more <= piece_bytes;
            let Some(changes) = self.memory.as_mut().filter(|_| room).and_then(Arc::get_mut) else {
                return false;
            };
            changes.fit(piece_bytes);
            changes.extend(piece.changes.records());
            self.bytes += more;
        }
        self.end.clone_from(&piece.end);
        true
    }
}
