//! Changes that wait on disk: pieces in segment files, each deleted once all its pieces are
//! consumed. As scratch they are discarded at the next start; as a spool they are what the source
//! was told it may forget, and are read back.

mod disk;
mod segment;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use self::segment::{Head, Place};
use super::buffer::Kind;
use super::clock::Clock;
use super::follow::{Acknowledge, FollowOptions};
use crate::change::{Changes, Followed, Position};
use crate::engine::crash::crash_point;
use crate::engine::{Cause, EngineError};

pub use disk::{Disk, Files};

/// A segment takes no more from this size on: small enough to give space back soon, large enough
/// to be few files.
const SEGMENT_BYTES: u64 = 64 << 20;
/// How often, and how long apart, a directory that another process has is asked for: one that was
/// left a moment ago may still be about to close its files.
const ASKED: u32 = 20;
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// A piece on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    segment: u64,
    at: u64,
    length: usize,
}

/// A piece that was there at the start.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) stored: Stored,
    pub(super) kind: Kind,
    pub(super) end: Option<Position>,
    /// Bytes of its changes.
    pub(super) bytes: usize,
}

/// What a segment held at the start.
struct Held {
    /// What it holds comes after this position.
    from: Position,
    pieces: Vec<Recovered>,
    /// Where it cannot be read any more.
    torn: Option<usize>,
}

pub(super) struct Spill<'a> {
    disk: &'a dyn Disk,
    clock: &'a dyn Clock,
    plan: &'a str,
    identity: u64,
    bytes_max: u64,
    piece_bytes: u64,
    segment_bytes: u64,
    /// The source is told that it may forget what is durable here.
    spool: bool,
    segments: Mutex<Segments>,
}

#[derive(Debug, Default)]
struct Segments {
    opened: bool,
    there: BTreeMap<u64, Segment>,
    /// The last one, where it takes more.
    current: Option<u64>,
    next: u64,
    used: u64,
    /// Something that was written in part could not be taken back.
    spoiled: bool,
    /// Written since they were last synchronized, and the position after all that.
    dirty: Vec<u64>,
    written: Option<Position>,
    durable: Option<Position>,
    durable_to: Place,
}

#[derive(Debug, Default)]
struct Segment {
    spool: bool,
    bytes: u64,
    /// Pieces in it that are still wanted.
    pieces: usize,
}

impl<'a> Spill<'a> {
    /// `identity`: as [`identity`] tells it.
    pub(super) fn new(
        (disk, clock): (&'a dyn Disk, &'a dyn Clock),
        (plan, identity): (&'a str, u64),
        options: &FollowOptions,
        piece_bytes: usize,
    ) -> Self {
        let bytes_max = options.spill_bytes;
        Self {
            disk,
            clock,
            plan,
            identity,
            bytes_max,
            piece_bytes: piece_bytes as u64,
            segment_bytes: SEGMENT_BYTES.min(bytes_max / 8).max(1),
            spool: options.acknowledge == Acknowledge::Spooled,
            segments: Mutex::default(),
        }
    }

    fn segments(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of files.
    pub(super) fn used(&self) -> u64 {
        self.segments().used
    }

    /// Whether one more piece may be written.
    pub(super) fn has_room(&self) -> bool {
        let used = self.used();
        self.bytes_max > 0 && (used == 0 || used + self.piece_bytes <= self.bytes_max)
    }

    pub(super) fn place(&self) -> String {
        self.disk.place(None)
    }

    /// The position up to which everything is durable here.
    pub(super) fn durable(&self) -> Option<Position> {
        self.segments().durable.clone()
    }

    /// Writes a piece. Where nothing is on disk, `from` is where it goes on.
    pub(super) async fn write(
        &self,
        (kind, end): (Kind, Option<&Position>),
        changes: &Changes,
        from: &Position,
    ) -> Result<Stored, EngineError> {
        self.open(true).await?;
        if self.segments().spoiled {
            return Err(self.spoiled());
        }
        let (number, head) = self.reserve(from);
        let stored = self.add(number, head, (kind, end), changes).await;
        match &stored {
            Ok(_) => crash_point("cdc::spill_write"),
            Err(_) => self.take_back(number).await,
        }
        if let (Ok(_), Some(end)) = (&stored, end) {
            self.segments().written = Some(end.clone());
        }
        stored
    }

    async fn add(
        &self,
        number: u64,
        head: Option<Head>,
        (kind, end): (Kind, Option<&Position>),
        changes: &Changes,
    ) -> Result<Stored, EngineError> {
        if let Some(head) = head {
            self.append(number, segment::head(&head)).await?;
        }
        let (at, durable) = {
            let segments = self.segments();
            (segments.there[&number].bytes, segments.durable_to)
        };
        let bytes = segment::record((number, at), (kind, end), changes, durable);
        let length = bytes.len();
        self.append(number, bytes).await?;
        Ok(Stored { segment: number, at, length })
    }

    /// A piece was not written, or only in part: what comes next must not stand behind that.
    async fn take_back(&self, number: u64) {
        let bytes = self.segments().there.get(&number).map_or(0, |segment| segment.bytes);
        let taken = match bytes {
            0 => self.disk.remove(number).await,
            _ => self.disk.truncate(number, bytes).await,
        };
        let mut segments = self.segments();
        segments.spoiled |= taken.is_err();
        if bytes == 0 {
            segments.there.remove(&number);
            segments.current = None;
        } else if let Some(segment) = segments.there.get_mut(&number) {
            segment.pieces -= 1;
        }
    }

    /// The segment that takes the next piece, which keeps it from being swept; its head, where it
    /// has none yet.
    fn reserve(&self, from: &Position) -> (u64, Option<Head>) {
        let mut segments = self.segments();
        if let Some(number) = segments.current
            && let Some(segment) = segments.there.get_mut(&number)
            && segment.bytes < self.segment_bytes
        {
            segment.pieces += 1;
            return (number, None);
        }
        if segments.there.is_empty() || segments.written.is_none() {
            segments.written = Some(from.clone());
        }
        let number = segments.next;
        segments.next += 1;
        segments.there.insert(number, Segment { spool: self.spool, pieces: 1, ..Segment::default() });
        segments.current = Some(number);
        let from = segments.written.clone().unwrap_or_default();
        (number, Some(Head { spool: self.spool, identity: self.identity, from }))
    }

    async fn append(&self, number: u64, bytes: Vec<u8>) -> Result<(), EngineError> {
        let length = bytes.len() as u64;
        let appended = self.disk.append(number, bytes).await;
        appended.map_err(|error| self.trouble("write changes to", Some(number), &error))?;
        let mut segments = self.segments();
        segments.used += length;
        if !segments.dirty.contains(&number) {
            segments.dirty.push(number);
        }
        let segment = segments.there.get_mut(&number).expect("broken invariant: it is written to");
        segment.bytes += length;
        Ok(())
    }

    pub(super) async fn read(&self, stored: &Stored, open: bool) -> Result<Changes, EngineError> {
        let Stored { segment, at, length } = *stored;
        let bytes = self.disk.read(segment, at, length).await;
        let mut bytes = bytes.map_err(|error| self.trouble("read changes from", Some(segment), &error))?;
        let found = segment::read_record(segment, at, &bytes).filter(|found| found.length == length);
        let Some(found) = found else { return Err(self.damaged(segment, at)) };
        bytes.truncate(found.changes.end);
        bytes.drain(..found.changes.start);
        Changes::from_bytes(bytes, open).map_err(|_| self.damaged(segment, at))
    }

    /// A piece is not wanted any more. Its file goes at the next [`Self::sweep`].
    pub(super) fn forget(&self, stored: &Stored) {
        if let Some(segment) = self.segments().there.get_mut(&stored.segment) {
            segment.pieces -= 1;
        }
    }

    /// Removes the files in which no piece is wanted any more.
    pub(super) async fn sweep(&self) -> Result<(), EngineError> {
        let empty: Vec<u64> = {
            let mut segments = self.segments();
            let there = segments.there.iter().filter(|(_, segment)| segment.pieces == 0);
            let empty: Vec<u64> = there.map(|(number, _)| *number).collect();
            for number in &empty {
                segments.used -= segments.there.remove(number).map_or(0, |segment| segment.bytes);
                segments.dirty.retain(|dirty| dirty != number);
                segments.current = segments.current.filter(|current| current != number);
            }
            empty
        };
        for number in empty {
            self.remove(number).await?;
        }
        Ok(())
    }

    async fn remove(&self, number: u64) -> Result<(), EngineError> {
        let removed = self.disk.remove(number).await;
        removed.map_err(|error| self.trouble("remove", Some(number), &error))
    }

    /// Whether anything was written that is not durable.
    pub(super) fn is_dirty(&self) -> bool {
        !self.segments().dirty.is_empty()
    }

    /// Makes durable what was written before the call.
    pub(super) async fn sync(&self) -> Result<(), EngineError> {
        let (dirty, written) = {
            let mut segments = self.segments();
            (std::mem::take(&mut segments.dirty), segments.written.clone())
        };
        let mut durable_to = Place::default();
        for number in dirty {
            let length = self.segments().there.get(&number).map(|segment| segment.bytes);
            // One that was swept meanwhile holds nothing that is wanted.
            let Some(length) = length else { continue };
            match self.disk.sync(number).await {
                Ok(()) => durable_to = durable_to.max((number, length)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.has(number) => {}
                Err(error) => return Err(self.trouble("make changes durable in", Some(number), &error)),
            }
        }
        crash_point("cdc::spill_sync");
        let mut segments = self.segments();
        segments.durable_to = segments.durable_to.max(durable_to);
        segments.durable = written;
        Ok(())
    }

    fn has(&self, number: u64) -> bool {
        self.segments().there.contains_key(&number)
    }

    /// Takes the directory. What is there when this is first called is left as it is.
    async fn open(&self, create: bool) -> Result<Vec<u64>, EngineError> {
        if self.segments().opened {
            return Ok(Vec::new());
        }
        let mut asked = 0;
        let found = loop {
            asked += 1;
            match self.disk.open(create).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && asked < ASKED => {
                    self.clock.sleep(ASK_AGAIN).await;
                }
                opened => break opened.map_err(|error| self.trouble("open", None, &error))?,
            }
        };
        let mut segments = self.segments();
        segments.opened = create;
        segments.next = segments.next.max(found.last().map_or(0, |last| last + 1));
        Ok(found)
    }

    /// What is here as scratch goes.
    pub(super) async fn discard(&self) -> Result<(), EngineError> {
        let scratch: Vec<u64> = {
            let mut segments = self.segments();
            let all = segments.there.iter().filter(|(_, segment)| !segment.spool);
            let scratch: Vec<u64> = all.map(|(number, _)| *number).collect();
            segments.current = None;
            segments.there.retain(|_, segment| segment.spool);
            scratch
        };
        for number in scratch {
            self.remove(number).await?;
        }
        Ok(())
    }

    /// Reads a spool back: the pieces that are to be applied after `applied`, and the position
    /// after them. What was being written when the power went is cut off; scratch is removed.
    pub(super) async fn recover(
        &self,
        applied: &Position,
        reached: impl Fn(&Position, &Position) -> bool,
    ) -> Result<(Vec<Recovered>, Position), EngineError> {
        let found = self.open(self.spool).await?;
        let mut pieces: Vec<Recovered> = Vec::new();
        let mut end = applied.clone();
        for (at, &number) in found.iter().enumerate() {
            let Some(Held { from, pieces: more, torn }) = self.read_segment(number).await? else {
                self.remove(number).await?;
                continue;
            };
            if let Some(torn) = torn {
                self.cut_off((number, torn), &found[at..]).await?;
            }
            if torn == Some(0) {
                break;
            }
            let after = more.iter().rev().find_map(|piece| piece.end.clone()).unwrap_or(from.clone());
            let open = more.last().is_some_and(|piece| piece.end.is_none());
            if end != from && reached(applied, &from) {
                // Left over from before, back after a loss of power: all of it is applied.
                pieces.drain(..).for_each(|piece| self.forget(&piece.stored));
            }
            if let Some(last) = pieces.last().map(|piece: &Recovered| piece.stored)
                && end != from
            {
                // The end of the segment before it, or one between them, was not written.
                more.iter().for_each(|piece| self.forget(&piece.stored));
                let cut = (last.segment, last.at as usize + last.length);
                let cut = self.cut_off(cut, &found[at..]).await;
                cut.map_err(|error| if error.cause == Cause::Stale { self.missing(number) } else { error })?;
                break;
            }
            // What begins after the target's position cannot follow it: the source has to tell it.
            let follows = !pieces.is_empty() || reached(applied, &from);
            if !follows || (pieces.is_empty() && !open && reached(applied, &after)) {
                more.iter().for_each(|piece| self.forget(&piece.stored));
            } else {
                pieces.extend(more);
                end = after;
            }
            if torn.is_some() {
                break;
            }
        }
        if let Some(orphan) = first_orphan(&pieces, |end| reached(applied, end)) {
            // What came before it was not written to the end.
            let Stored { segment, at, .. } = pieces[orphan].stored;
            let later = found.partition_point(|number| *number < segment);
            self.cut_off((segment, at as usize), &found[later..]).await?;
            pieces.drain(orphan..).for_each(|piece| self.forget(&piece.stored));
        }
        self.drop_parts(&mut pieces);
        self.sweep().await?;
        let end = pieces.last().and_then(|piece| piece.end.clone()).unwrap_or_else(|| applied.clone());
        self.segments().written = Some(end.clone());
        Ok((pieces, if reached(applied, &end) { applied.clone() } else { end }))
    }

    /// Drops parts whose transaction was not completed because the connection broke: it comes, or
    /// came, again. And those of one that is applied, whose first parts are gone already.
    fn drop_parts(&self, pieces: &mut Vec<Recovered>) {
        let mut keep = vec![true; pieces.len()];
        let mut open: Option<usize> = None;
        for (at, piece) in pieces.iter().enumerate() {
            let begins = matches!(piece.kind, Kind::Whole | Kind::First);
            if begins && let Some(from) = open.take() {
                keep[from..at].fill(false);
            }
            keep[at] = begins || open.is_some();
            match piece.kind {
                Kind::First => open = Some(at),
                Kind::Whole | Kind::Last => open = None,
                Kind::Middle => {}
            }
        }
        if let Some(from) = open {
            keep[from..].fill(false);
        }
        let mut kept = keep.into_iter();
        pieces.retain(|piece| {
            let keep = kept.next().unwrap_or(true);
            if !keep {
                self.forget(&piece.stored);
            }
            keep
        });
    }

    /// What a segment of a spool holds. None for scratch.
    async fn read_segment(&self, number: u64) -> Result<Option<Held>, EngineError> {
        let bytes = self.read_file(number).await?;
        let Some((head, mut at)) = segment::read_head(&bytes) else {
            let (from, pieces) = (Position::default(), Vec::new());
            return Ok(Some(Held { from, pieces, torn: Some(0) }));
        };
        if !head.spool {
            return Ok(None);
        }
        if head.identity != self.identity {
            return Err(self.foreign(number));
        }
        let mut pieces = Vec::new();
        while let Some(found) = segment::read_record(number, at as u64, &bytes[at..]) {
            let stored = Stored { segment: number, at: at as u64, length: found.length };
            at += found.length;
            pieces.push(Recovered { stored, kind: found.kind, end: found.end, bytes: found.changes.len() });
        }
        let mut segments = self.segments();
        segments.used += at as u64;
        // Written by another process, and perhaps never made durable.
        segments.dirty.push(number);
        segments.there.insert(number, Segment { spool: true, bytes: at as u64, pieces: pieces.len() });
        let torn = (at < bytes.len()).then_some(at);
        Ok(Some(Held { from: head.from, pieces, torn }))
    }

    async fn read_file(&self, number: u64) -> Result<Vec<u8>, EngineError> {
        let read = match self.disk.length(number).await {
            Ok(length) => self.disk.read(number, 0, length as usize).await,
            Err(error) => Err(error),
        };
        read.map_err(|error| self.trouble("read changes from", Some(number), &error))
    }

    /// Cuts a spool off where it cannot be read any more, if that is the end of what was being
    /// written when the power went. `later`: the segments from that one on.
    async fn cut_off(&self, (number, at): (u64, usize), later: &[u64]) -> Result<(), EngineError> {
        let place = (number, at as u64);
        for &other in later {
            let bytes = self.read_file(other).await?;
            let from = if other == number { at + 1 } else { 0 };
            if segment::says_durable(other, &bytes, from, place) {
                return Err(self.damaged(number, place.1));
            }
        }
        for &other in later.iter().rev().filter(|other| **other != number || at == 0) {
            self.remove(other).await?;
        }
        if at > 0 && later.contains(&number) {
            let cut = self.disk.truncate(number, place.1).await;
            cut.map_err(|error| {
                self.trouble("cut off what was not written to the end of", Some(number), &error)
            })?;
        }
        Ok(())
    }

    fn trouble(&self, doing: &str, segment: Option<u64>, error: &io::Error) -> EngineError {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull, WouldBlock};
        let (cause, hint) = match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => (
                Cause::Resources,
                "free some space, or give the plan another cdc.spill.dir; then run the same command \
                 again: it continues",
            ),
            WouldBlock => (
                Cause::Locked,
                "another process follows changes there; end it, or give this plan another cdc.spill.dir",
            ),
            _ => (
                Cause::Resources,
                "see that the directory is there and can be written; then run the same command again",
            ),
        };
        let message = match error.kind() {
            WouldBlock => "another process has taken it".to_string(),
            _ => error.to_string(),
        };
        EngineError::new(cause, doing, message).on(self.disk.place(segment)).hint(hint)
    }

    fn spoiled(&self) -> EngineError {
        let message = "what was written in part before could not be taken back";
        EngineError::new(Cause::Other, "write changes to", message)
            .on(self.disk.place(None))
            .hint("see that the disk works and has space; then run the same command again: it continues")
    }

    fn damaged(&self, segment: u64, at: u64) -> EngineError {
        let message = format!("the record at byte {at} is damaged");
        EngineError::new(Cause::Stale, "read changes from", message)
            .on(self.disk.place(Some(segment)))
            .contract("C508")
            .hint(
                "look at the disk; move the segment files away and run the same command again: what the \
                 source still keeps is read from it anew, and if it keeps no more, `towpath apply --recopy` \
                 copies the tables again",
            )
    }

    fn missing(&self, segment: u64) -> EngineError {
        let message = "it does not go on where the segment before it ends: a file is missing between";
        EngineError { message: message.into(), ..self.damaged(segment, 0) }
    }

    fn foreign(&self, segment: u64) -> EngineError {
        let message =
            format!("it holds changes of plan {} as it was with other tables or columns", self.plan);
        EngineError::new(Cause::Stale, "read changes from", message).on(self.disk.place(Some(segment))).hint(
            "run once with the plan as it was until it has caught up, then change it; or move the \
             segment files away and copy the tables again: towpath apply --recopy",
        )
    }
}

/// The first of the parts that complete a transaction which is not applied, and which lacks its
/// first part.
fn first_orphan(pieces: &[Recovered], is_applied: impl Fn(&Position) -> bool) -> Option<usize> {
    let (mut begun, mut lone) = (false, None);
    for (at, piece) in pieces.iter().enumerate() {
        match piece.kind {
            Kind::Whole => (begun, lone) = (false, None),
            Kind::First => (begun, lone) = (true, None),
            Kind::Middle | Kind::Last if begun => {}
            Kind::Middle | Kind::Last => lone = lone.or(Some(at)),
        }
        if piece.kind == Kind::Last {
            if lone.is_some() && !piece.end.as_ref().is_some_and(&is_applied) {
                return lone;
            }
            (begun, lone) = (false, None);
        }
    }
    None
}

/// Changes name tables and columns by their places: only the same tables, followed from the same
/// positions, may read them.
pub(super) fn identity(plan: &str, tables: &[Followed], starts: &[Position]) -> u64 {
    let text = serde_json::to_vec(&(plan, tables, starts)).expect("broken invariant: plain data");
    xxh3_64(&text)
}

#[cfg(test)]
mod tests;
