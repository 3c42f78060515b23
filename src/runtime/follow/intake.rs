//! Makes pieces of what the log tells: whole transactions together, one that is larger than a
//! piece in parts. Does no I/O.

use super::group::Tally;
use crate::change::{Changes, Counts, Position, Record, Records};
use crate::engine::{Cause, EngineError};
use crate::runtime::buffer::{Kind, Piece};

pub(super) struct Intake {
    /// Bytes of an unfinished transaction from which on it is handed on in parts.
    piece_bytes: usize,
    /// Whole transactions, then what there is of an unfinished one.
    open: Changes,
    /// Parts of the unfinished transaction were handed on already.
    parted: bool,
    /// The last border between transactions; all before it was handed on.
    position: Position,
    /// A transaction after `position` came on this connection: what comes now must be newer.
    fresh: bool,
    /// In a transaction that was handed on before.
    skipping: bool,
    tally: Tally,
    /// Rows of whole transactions since they were last taken.
    captured: Vec<Counts>,
}

impl Intake {
    pub(super) fn new(piece_bytes: usize, position: Position, tables: usize) -> Self {
        Self {
            piece_bytes,
            open: Changes::default(),
            parted: false,
            position,
            fresh: false,
            skipping: false,
            tally: Tally::default(),
            captured: vec![Counts::default(); tables],
        }
    }

    /// Where reading goes on, should the connection break.
    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    /// Rows of whole transactions, by table, to be taken.
    pub(super) fn captured(&mut self) -> &mut [Counts] {
        &mut self.captured
    }

    /// Begins anew: what there is of an unfinished transaction will be told again.
    pub(super) fn restart(&mut self, position: Position) {
        self.open.clear();
        self.tally = Tally::default();
        (self.parted, self.fresh, self.skipping) = (false, false, false);
        self.position = position;
    }

    /// Takes records as they came, and adds the pieces that can be handed on. `reached` tells
    /// whether the first position has come to the second.
    pub(super) fn take(
        &mut self,
        records: Records<'_>,
        reached: impl Fn(&Position, &Position) -> bool,
        out: &mut Vec<Piece>,
    ) -> Result<(), EngineError> {
        let (mut rest, mut run) = (records, records);
        let mut moved = false;
        loop {
            let here = rest;
            let Some(record) = rest.next() else { break };
            if !self.skipping {
                self.tally.count(&record);
            }
            match record {
                Record::Begin { position } => {
                    let new = reached(&Position(position.to_string()), &self.position);
                    if !new && self.fresh {
                        self.open.extend(run.before(here));
                        self.hand_on(moved, out);
                        return Err(went_back(position, &self.position));
                    }
                    if !new {
                        self.open.extend(run.before(here));
                        self.skipping = true;
                    }
                    self.fresh |= new;
                }
                Record::Commit { .. } if self.skipping => {
                    self.skipping = false;
                    run = rest;
                }
                Record::Commit { position, .. } => {
                    self.commit(position);
                    moved = true;
                    if self.parted {
                        self.open.extend(run.before(rest));
                        run = rest;
                        self.part(Kind::Last, out);
                    }
                }
                Record::Reached { position } => {
                    self.open.extend(run.before(here));
                    run = rest;
                    let position = Position(position.to_string());
                    // What is told again may begin with an old position.
                    if reached(&position, &self.position) {
                        self.position = position;
                        moved = true;
                    }
                }
                Record::Row(_) | Record::Truncate { .. } | Record::Cascade(_) => {}
            }
        }
        if !self.skipping {
            self.open.extend(run);
        }
        self.hand_on(moved, out);
        Ok(())
    }

    fn commit(&mut self, position: &str) {
        self.position.0.clear();
        self.position.0.push_str(position);
        let tally = std::mem::take(&mut self.tally);
        self.captured.iter_mut().zip(&tally.tables).for_each(|(captured, new)| captured.add(*new));
    }

    /// Hands on what is whole, and of the rest what is too much to be kept here.
    fn hand_on(&mut self, moved: bool, out: &mut Vec<Piece>) {
        if self.open.boundary() > 0 {
            let whole = self.open.split_whole();
            out.push(Piece::new(whole, Kind::Whole, Some(self.position.clone())));
        } else if moved && !self.parted {
            out.push(Piece::new(Changes::default(), Kind::Whole, Some(self.position.clone())));
        }
        if self.open.len() >= self.piece_bytes {
            let kind = if self.parted { Kind::Middle } else { Kind::First };
            self.part(kind, out);
        }
        self.open.fit(self.piece_bytes);
    }

    fn part(&mut self, kind: Kind, out: &mut Vec<Piece>) {
        let end = (kind == Kind::Last).then(|| self.position.clone());
        self.parted = kind != Kind::Last;
        out.push(Piece::new(self.open.take(), kind, end));
    }
}

fn went_back(begin: &str, position: &Position) -> EngineError {
    let message = format!("a transaction that begins at {begin} came after {position} had been told");
    EngineError::new(Cause::Other, "read changes", message)
        .hint("the log went backwards: nothing of it was applied; this must be looked into")
}
