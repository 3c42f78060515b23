//! Transactions that the server tells before they commit (manual, section 55.9: Stream Start, Stop,
//! Commit, Abort): a large one does not wait at the source, nor is it written to the source's disk.
//! What is told waits in a file without a name, one per transaction, which is gone with this process.
//!
//! ```text
//!   S xid   R I U ...   E      S xid  D ...  E      A xid subxid      c xid
//!   |       `-- each with the number of its (sub)transaction          `-- all of it, as if it came now
//!   `-- what follows belongs to this transaction
//! ```
//!
//! A commit gives back the messages that the server would have sent for the whole transaction at
//! that moment: the decoder knows of no other form. Nothing here need survive: the server keeps its
//! log from the transaction's beginning on and tells all of it again on another connection.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::decode::{DOING, garbled};
use super::input::Input;
use crate::engine::{Cause, EngineError, Scratch};

/// Bytes of messages that are written to a file at once, and read at once.
const WRITE_BYTES: usize = 64 << 10;
const READ_BYTES: usize = 256 << 10;

/// What is known of transactions in progress on one connection.
pub struct Streamed {
    scratch: Scratch,
    /// Set where they cannot be kept: then streams tell whole transactions only.
    whole: Arc<AtomicBool>,
    /// By the transaction's number.
    unfinished: HashMap<u32, Unfinished>,
    /// The transaction that messages belong to now.
    current: Option<u32>,
    /// Bytes in their files.
    held: u64,
    /// One that has committed: it comes before all else.
    replay: Option<Replay>,
}

struct Unfinished {
    file: BufWriter<File>,
    bytes: u64,
    /// Where the first message of each subtransaction is. Those of a subtransaction within it come
    /// later, and nothing else does until it ends.
    parts: Vec<(u32, u64)>,
}

/// The messages of a transaction that has committed.
struct Replay {
    begin: Option<Vec<u8>>,
    rows: BufReader<io::Take<File>>,
    left: u64,
    commit: Option<Vec<u8>>,
    message: Vec<u8>,
}

impl Streamed {
    pub fn new(scratch: Scratch, whole: &Arc<AtomicBool>) -> Self {
        Self {
            scratch,
            whole: whole.clone(),
            unfinished: HashMap::new(),
            current: None,
            held: 0,
            replay: None,
        }
    }

    /// Whether transactions in progress can be kept.
    pub fn wanted(&self) -> bool {
        self.scratch.bytes > 0 && !self.whole.load(Ordering::Relaxed)
    }

    /// Bytes in files, of transactions that have not committed.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// The next message of a transaction that was in progress and has committed, as if it came on the
    /// connection now. To be decoded before [`Self::take`] is called again.
    pub fn next(&mut self) -> Result<Option<&[u8]>, EngineError> {
        let Some(replay) = &mut self.replay else { return Ok(None) };
        match replay.advance() {
            Ok(true) => {}
            Ok(false) => self.replay = None,
            Err(error) => {
                self.whole.store(true, Ordering::Relaxed);
                return Err(no_room(&error));
            }
        }
        Ok(self.replay.as_ref().map(|replay| replay.message.as_slice()))
    }

    /// Takes a message, and says whether it belongs to a transaction in progress. An error ends the
    /// connection; on the next one, the server keeps what it must until it is whole.
    pub fn take(&mut self, message: &[u8]) -> Result<bool, EngineError> {
        let taken = self.told(message);
        if taken.is_err() {
            self.whole.store(true, Ordering::Relaxed);
        }
        taken
    }

    fn told(&mut self, message: &[u8]) -> Result<bool, EngineError> {
        let mut input = Input::new(message);
        let kind = input.u8()?;
        match (kind, self.current) {
            (b'S', None) => {
                let (xid, _first) = (input.u32()?, input.u8()?);
                input.end()?;
                self.current = Some(xid);
            }
            (b'E', Some(_)) => {
                input.end()?;
                self.current = None;
            }
            (b'A', None) => {
                let (xid, part) = (input.u32()?, input.u32()?);
                input.end()?;
                self.abort(xid, part).map_err(|error| no_room(&error))?;
            }
            (b'c', None) => {
                let (xid, flags) = (input.u32()?, input.u8()?);
                let rest = message.get(input.at()..).unwrap_or_default();
                self.replay = Some(self.commit(xid, flags, rest)?);
            }
            (b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M', Some(xid)) => {
                let part = input.u32()?;
                self.keep(xid, part, kind, &message[input.at()..])?;
            }
            // Where the transaction came from is of no concern, and stands once before the rest.
            (b'O', Some(_)) => {}
            (b'S' | b'E' | b'A' | b'c', _) | (_, Some(_)) => {
                let what =
                    format!("a message of the kind {kind:#04x} among those of a transaction in progress");
                return Err(garbled(&what));
            }
            (_, None) => return Ok(false),
        }
        Ok(true)
    }

    fn keep(&mut self, xid: u32, part: u32, kind: u8, rest: &[u8]) -> Result<(), EngineError> {
        let bytes = 4 + 1 + rest.len() as u64;
        if self.held + bytes > self.scratch.bytes {
            return Err(no_room(&io::Error::from(io::ErrorKind::QuotaExceeded)));
        }
        let unfinished = match self.unfinished.entry(xid) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => {
                let file = self.scratch.file().map_err(|error| no_room(&error))?;
                let file = BufWriter::with_capacity(WRITE_BYTES, file);
                place.insert(Unfinished { file, bytes: 0, parts: Vec::new() })
            }
        };
        if part != xid && unfinished.parts.last().is_none_or(|(last, _)| *last != part) {
            unfinished.note(part);
        }
        let length = u32::try_from(rest.len() + 1).map_err(|_| garbled("a message beyond 4 GiB"))?;
        let file = &mut unfinished.file;
        // Short writes into the page cache: worth no thread of their own.
        let written = file.write_all(&length.to_be_bytes()).and_then(|()| file.write_all(&[kind]));
        written.and_then(|()| file.write_all(rest)).map_err(|error| no_room(&error))?;
        unfinished.bytes += bytes;
        self.held += bytes;
        Ok(())
    }

    /// Forgets a transaction, or what it has told since the first message of a subtransaction.
    fn abort(&mut self, xid: u32, part: u32) -> io::Result<()> {
        if part == xid {
            self.held -= self.unfinished.remove(&xid).map_or(0, |gone| gone.bytes);
        } else if let Some(unfinished) = self.unfinished.get_mut(&xid) {
            self.held -= unfinished.cut(part)?;
        }
        Ok(())
    }

    /// `rest`: what stands behind the flags, as in the commit of any other transaction.
    fn commit(&mut self, xid: u32, flags: u8, rest: &[u8]) -> Result<Replay, EngineError> {
        let Some((commits_at, time)) = rest.first_chunk::<8>().zip(rest.get(16..)) else {
            return Err(garbled("a message ends early"));
        };
        let begin = [b"B", &commits_at[..], time, &xid.to_be_bytes()].concat();
        let commit = [&[b'C', flags], rest].concat();
        let (file, left) = match self.unfinished.remove(&xid) {
            Some(Unfinished { file, bytes, .. }) => {
                self.held -= bytes;
                let file = file.into_inner().map_err(|error| no_room(error.error()))?;
                (file, bytes)
            }
            // All that it held was taken back.
            None => (self.scratch.file().map_err(|error| no_room(&error))?, 0),
        };
        Replay::new(file, left, begin, commit).map_err(|error| no_room(&error))
    }
}

impl Unfinished {
    /// Notes a subtransaction that tells something.
    fn note(&mut self, part: u32) {
        // Numbers ascend as subtransactions begin to write, but an outer one may go on after an inner.
        if !self.parts.iter().rev().any(|(known, _)| *known == part) {
            self.parts.push((part, self.bytes));
        }
    }

    /// Takes back all since the first message of a subtransaction. Bytes that were taken back.
    fn cut(&mut self, part: u32) -> io::Result<u64> {
        let Some(at) = self.parts.iter().rposition(|(known, _)| *known == part) else { return Ok(0) };
        let (_, kept) = self.parts[at];
        self.parts.truncate(at);
        self.file.flush()?;
        self.file.get_ref().set_len(kept)?;
        self.file.seek(SeekFrom::Start(kept))?;
        let cut = self.bytes - kept;
        self.bytes = kept;
        Ok(cut)
    }
}

impl Replay {
    fn new(mut file: File, left: u64, begin: Vec<u8>, commit: Vec<u8>) -> io::Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        let rows = BufReader::with_capacity(READ_BYTES, file.take(left));
        Ok(Self { begin: Some(begin), rows, left, commit: Some(commit), message: Vec::new() })
    }

    /// Goes on to the next message. False behind the last one.
    fn advance(&mut self) -> io::Result<bool> {
        if let Some(begin) = self.begin.take() {
            self.message = begin;
        } else if self.left > 0 {
            let mut length = [0; 4];
            self.rows.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length) as usize;
            self.message.resize(length, 0);
            self.rows.read_exact(&mut self.message)?;
            self.left = self.left.saturating_sub(4 + length as u64);
        } else if let Some(commit) = self.commit.take() {
            self.message = commit;
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// No room, or no disk that works.
fn no_room(error: &io::Error) -> EngineError {
    let message = format!(
        "a transaction in progress could not be kept on this machine's disk ({error}): from now on each is read once \
         it has committed"
    );
    EngineError::new(Cause::Connection, DOING, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streamed(bytes: u64) -> Streamed {
        Streamed::new(Scratch { dir: std::env::temp_dir(), bytes }, &Arc::default())
    }

    fn number(number: u32) -> [u8; 4] {
        number.to_be_bytes()
    }

    fn start(xid: u32) -> Vec<u8> {
        [b"S", &number(xid)[..], &[1]].concat()
    }

    fn row(part: u32, word: &str) -> Vec<u8> {
        [b"I", &number(part)[..], word.as_bytes()].concat()
    }

    fn abort(xid: u32, part: u32) -> Vec<u8> {
        [b"A", &number(xid)[..], &number(part)].concat()
    }

    fn commit(xid: u32, at: u64) -> Vec<u8> {
        [b"c", &number(xid)[..], &[0], &at.to_be_bytes(), &(at + 1).to_be_bytes(), &9u64.to_be_bytes()]
            .concat()
    }

    /// A block of one transaction.
    fn block(xid: u32, rows: &[(u32, &str)]) -> Vec<Vec<u8>> {
        let rows = rows.iter().map(|(part, word)| row(*part, word));
        std::iter::once(start(xid)).chain(rows).chain([b"E".to_vec()]).collect()
    }

    /// What the decoder gets of these messages, in words.
    fn told(streamed: &mut Streamed, messages: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
        let mut told = Vec::new();
        let mut tell = |message: &[u8]| {
            told.push(match message[0] {
                b'B' => format!("begin {}", message[8]),
                b'C' => format!("commit {} {}", message[9], message[17]),
                _ => String::from_utf8(message.to_vec()).expect("words"),
            });
        };
        for message in messages {
            if !streamed.take(&message).expect("good messages") {
                tell(&message);
            }
            while let Some(message) = streamed.next().expect("a disk that works") {
                tell(message);
            }
        }
        told
    }

    #[test]
    fn s_25_what_commits_comes_whole_and_what_does_not_never() {
        let mut streamed = streamed(1 << 20);
        let messages = [
            block(7, &[(7, "a"), (7, "b")]),
            block(8, &[(8, "lost")]),
            vec![b"Iother".to_vec()],
            block(7, &[(7, "c")]),
            vec![abort(8, 8), commit(7, 50)],
            block(9, &[(9, "open")]),
        ];
        let words = told(&mut streamed, messages.concat());
        assert_eq!(words, ["Iother", "begin 50", "Ia", "Ib", "Ic", "commit 50 51"]);
        assert_eq!(streamed.held, 4 + 1 + 4);
        assert!(told(&mut streamed, [abort(9, 9)]).is_empty());
        assert_eq!(streamed.held, 0);
        // All of it was taken back, or it had nothing for us.
        assert_eq!(told(&mut streamed, [commit(10, 60)]), ["begin 60", "commit 60 61"]);
    }

    #[test]
    fn s_25_a_subtransaction_that_is_taken_back_takes_those_in_it_along() {
        let mut streamed = streamed(1 << 20);
        let messages = [
            block(7, &[(7, "a"), (71, "b"), (72, "c")]),
            // The inner one is gone, the outer one goes on, over a border of blocks.
            vec![abort(7, 72)],
            block(7, &[(71, "d"), (7, "never without the end of 71"), (73, "e")]),
            vec![abort(7, 73), abort(7, 99)],
            block(7, &[(74, "f"), (75, "g"), (74, "h")]),
            vec![abort(7, 75), abort(7, 74)],
            block(7, &[(7, "i")]),
            vec![commit(7, 50)],
        ];
        let words = told(&mut streamed, messages.concat());
        let kept = ["begin 50", "Ia", "Ib", "Id", "Inever without the end of 71", "Ii", "commit 50 51"];
        assert_eq!(words, kept);
        assert_eq!(streamed.held, 0);
    }

    #[test]
    fn f_52_what_does_not_fit_is_left_to_the_server() {
        let mut one = streamed(20);
        assert!(one.wanted() && !streamed(0).wanted());
        assert!(told(&mut one, block(7, &[(7, "123456")])).is_empty());
        assert!(one.take(&start(8)).expect("a good message"));
        let error = one.take(&row(8, "123456")).expect_err("more than twenty bytes");
        assert!(error.retryable() && error.to_string().contains("once it has committed"), "{error}");
        assert!(!one.wanted(), "the next connection tells whole transactions");
    }

    #[test]
    fn h_03_what_is_out_of_place_ends_the_connection() {
        for messages in [
            vec![b"E".to_vec()],
            vec![start(7), start(8)],
            vec![start(7), b"B".to_vec()],
            vec![start(7), commit(7, 5)],
            vec![start(7), abort(7, 7)],
            vec![start(7), b"I\0\0".to_vec()],
            vec![b"S\0".to_vec()],
            vec![b"c\0\0\0\x07\0\0".to_vec()],
        ] {
            let mut streamed = streamed(1 << 20);
            let (last, before) = messages.split_last().expect("some");
            assert!(told(&mut streamed, before.iter().cloned()).is_empty());
            assert!(streamed.take(last).expect_err("out of place").retryable(), "{messages:?}");
        }
    }
}
