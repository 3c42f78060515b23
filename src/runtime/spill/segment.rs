//! The form of a segment file. Pure: bytes in, bytes out.
//!
//! ```text
//!   segment = head, records one after the other
//!   head    = "TOWSPILL", version (4), purpose (1), identity (8), length (4) and text of the
//!             position before the first record, hash (8)
//!   record  = "TPrc", kind (1), length of the end (2; 0xffff: none), length of the changes (4),
//!             segment (8) and byte in it (8) up to which all was durable when it was written, end,
//!             changes, hash (8)
//! ```
//!
//! Numbers are little endian. A hash covers all of its head or record before it; a record's also
//! where it stands, so that bytes of an older file in the same blocks are not taken for it.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::change::{Changes, Position};
use crate::runtime::buffer::Kind;

const MAGIC: &[u8; 8] = b"TOWSPILL";
const VERSION: u32 = 1;
/// Bytes of a head before its position.
const HEAD: usize = 25;
const RECORD: &[u8; 4] = b"TPrc";
const RECORD_HEAD: usize = 27;
const HASH: usize = 8;
const NO_END: u16 = u16::MAX;

/// A segment, and a byte in it.
pub(super) type Place = (u64, u64);

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The source was told that it may forget what is here; else it is scratch.
    pub(super) spool: bool,
    /// Hash of the plan and the tables whose changes it holds.
    pub(super) identity: u64,
    /// What it holds comes after this position.
    pub(super) from: Position,
}

/// A record, as it stands in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) end: Option<Position>,
    /// Where in the bytes its changes are.
    pub(super) changes: Range<usize>,
    pub(super) durable: Place,
    /// Bytes it takes.
    pub(super) length: usize,
}

pub(super) fn head(head: &Head) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.push(u8::from(head.spool));
    bytes.extend_from_slice(&head.identity.to_le_bytes());
    bytes.extend_from_slice(&(head.from.0.len() as u32).to_le_bytes());
    bytes.extend_from_slice(head.from.0.as_bytes());
    seal(&mut bytes, 0, 0);
    bytes
}

/// The head of a segment and its length; none where it is none.
pub(super) fn read_head(bytes: &[u8]) -> Option<(Head, usize)> {
    let numbers = bytes.strip_prefix(MAGIC)?;
    let version = u32::from_le_bytes(numbers.get(..4)?.try_into().ok()?);
    let spool = *numbers.get(4)? != 0;
    let identity = u64::from_le_bytes(numbers.get(5..13)?.try_into().ok()?);
    let length = u32::from_le_bytes(numbers.get(13..17)?.try_into().ok()?) as usize;
    let end = HEAD.checked_add(length)?;
    let from = Position(std::str::from_utf8(bytes.get(HEAD..end)?).ok()?.into());
    let sealed = is_sealed(bytes, 0, end, 0)?;
    (version == VERSION && sealed).then(|| (Head { spool, identity, from }, end + HASH))
}

/// A record that will stand at a place. `durable`: all before that survives a loss of power.
pub(super) fn record(
    (number, at): Place,
    (kind, end): (Kind, Option<&Position>),
    changes: &Changes,
    durable: Place,
) -> Vec<u8> {
    let end_bytes = end.map_or(&[][..], |end| end.0.as_bytes());
    let mut bytes = Vec::with_capacity(RECORD_HEAD + end_bytes.len() + changes.len() + HASH);
    bytes.extend_from_slice(RECORD);
    bytes.push(code(kind));
    let length = u16::try_from(end_bytes.len()).expect("broken invariant: a position is a short text");
    bytes.extend_from_slice(&end.map_or(NO_END, |_| length).to_le_bytes());
    bytes.extend_from_slice(&(changes.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&durable.0.to_le_bytes());
    bytes.extend_from_slice(&durable.1.to_le_bytes());
    bytes.extend_from_slice(end_bytes);
    bytes.extend_from_slice(changes.as_bytes());
    seal(&mut bytes, number, at);
    bytes
}

/// The record that stands at `at` in segment `number`, of whose bytes `bytes` begin there; none
/// where there is no whole good one.
pub(super) fn read_record(number: u64, at: u64, bytes: &[u8]) -> Option<Found> {
    let fixed = bytes.get(..RECORD_HEAD)?.strip_prefix(RECORD)?;
    let kind = kind(fixed[0])?;
    let end_length = u16::from_le_bytes([fixed[1], fixed[2]]);
    let changes_length = u32::from_le_bytes(fixed[3..7].try_into().ok()?) as usize;
    let number_of = |at: usize| Some(u64::from_le_bytes(fixed[at..at + 8].try_into().ok()?));
    let durable = (number_of(7)?, number_of(15)?);
    let changes_at = RECORD_HEAD + if end_length == NO_END { 0 } else { usize::from(end_length) };
    let hash_at = changes_at.checked_add(changes_length)?;
    is_sealed(bytes, number, hash_at, at)?.then_some(())?;
    let end = match end_length {
        NO_END => None,
        _ => Some(Position(std::str::from_utf8(&bytes[RECORD_HEAD..changes_at]).ok()?.into())),
    };
    Some(Found { kind, end, changes: changes_at..hash_at, durable, length: hash_at + HASH })
}

/// Whether a good record somewhere in these bytes of a segment, from `at` on, says that what stands
/// at `place` was durable: then it was damaged later, and is not just the end of what was being
/// written when the power went.
pub(super) fn says_durable(number: u64, bytes: &[u8], at: usize, place: Place) -> bool {
    let rest = bytes.get(at..).unwrap_or_default();
    let starts = rest.windows(RECORD.len()).enumerate().filter(|(_, four)| four == RECORD);
    let mut found = starts.filter_map(|(start, _)| {
        let start = at + start;
        read_record(number, start as u64, &bytes[start..])
    });
    found.any(|found| found.durable > place)
}

fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Whole => 1,
        Kind::First => 2,
        Kind::Middle => 3,
        Kind::Last => 4,
    }
}

fn kind(code: u8) -> Option<Kind> {
    [Kind::Whole, Kind::First, Kind::Middle, Kind::Last].into_iter().find(|kind| self::code(*kind) == code)
}

fn hash(bytes: &[u8], number: u64, at: u64) -> u64 {
    xxh3_64_with_seed(bytes, number.rotate_left(40) ^ at)
}

fn seal(bytes: &mut Vec<u8>, number: u64, at: u64) {
    let hash = hash(bytes, number, at);
    bytes.extend_from_slice(&hash.to_le_bytes());
}

fn is_sealed(bytes: &[u8], number: u64, end: usize, at: u64) -> Option<bool> {
    let stored = bytes.get(end..end.checked_add(HASH)?)?;
    Some(u64::from_le_bytes(stored.try_into().ok()?) == hash(&bytes[..end], number, at))
}
