//! The stream of changes over a replication connection (manual, section 55.4). The only file that
//! knows START_REPLICATION and what is said while it runs.
//!
//! ```text
//!   START_REPLICATION  ->  W
//!   <- d w  log data: one message of pgoutput      <- d k  keepalive: how far the server has come
//!   -> d r  status: received, durable, applied     (asked for by k, and every few seconds)
//! ```
//!
//! Whatever breaks ends the stream; nothing that was appended before is half. An end that the
//! server announces is no success either: a log has no end.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::BufMut;

use super::decode::{DOING, Decoder, EPOCH};
use super::error::{self, ServerError};
use super::input::{Input, Short};
use super::lsn::Lsn;
use super::publication::{LOOK_EVERY, Watch};
use super::streamed::Streamed;
use super::wire::{Fault, Wire};
use crate::change::{Changes, Position};
use crate::engine::{Cause, ChangeStream, EngineError};

/// The server is asked where it is no more often than that.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Changes as they come.
pub struct PgChanges {
    wire: Wire,
    watch: Watch,
    looked: Instant,
    decoder: Decoder,
    streamed: Streamed,
    /// Whose changes: for messages.
    slot: String,
    /// How far the log has come to us.
    received: Lsn,
    /// What the caller has said to be safe.
    safe: Lsn,
    asked: Option<Instant>,
    /// What ended the stream: told after what came before it.
    failed: Option<EngineError>,
}

/// Starts a stream on a session of the replication protocol. Where transactions in progress can be
/// kept, they are told before they commit: version 2 of the protocol, since PostgreSQL 14.
pub async fn start(
    mut wire: Wire,
    from: Lsn,
    decoder: Decoder,
    streamed: Streamed,
    watch: Watch,
) -> Result<PgChanges, Fault> {
    let object = &watch.object;
    let protocol = if streamed.wanted() { "proto_version '2', streaming 'on'" } else { "proto_version '1'" };
    let sql = format!(
        "START_REPLICATION SLOT \"{object}\" LOGICAL {from} ({protocol}, publication_names '\"{object}\"')"
    );
    wire.copy_both(&sql).await?;
    Ok(PgChanges {
        wire,
        decoder,
        streamed,
        slot: object.clone(),
        watch,
        looked: Instant::now(),
        received: from,
        safe: Lsn::default(),
        asked: None,
        failed: None,
    })
}

impl PgChanges {
    /// Takes all that has arrived, up to `bytes` in all.
    fn take(&mut self, into: &mut Changes, bytes: usize) -> Result<(), EngineError> {
        while into.len() < bytes {
            if let Some(message) = self.streamed.next()? {
                self.decoder.decode(message, into)?;
                continue;
            }
            let Some((tag, body)) = self.wire.frame_here().map_err(|fault| broken(fault, &self.slot))? else {
                break;
            };
            let length = body.len();
            match (tag, body.first()) {
                (b'd', Some(b'w')) => {
                    // Start and end in the log and the server's time come first.
                    let message = body.get(25..).ok_or(Short)?;
                    if !self.streamed.take(message)? {
                        self.decoder.decode(message, into)?;
                    }
                }
                (b'd', Some(b'k')) => {
                    let (end, asks) = read_keepalive(body)?;
                    self.received = self.received.max(end);
                    self.decoder.keepalive(end);
                    if asks {
                        self.report(false);
                    }
                }
                (b'N', _) => check_notice(body, &self.slot)?,
                (b'S' | b'A', _) => {}
                (b'E', _) => return Err(refused(&ServerError::parse(body), &self.slot)),
                (b'c' | b'C', _) => {
                    let what = "the server has ended the stream: it is shutting down, or has become another";
                    return Err(EngineError::new(Cause::Connection, DOING, what).on(&self.slot));
                }
                _ => {
                    let fault = Fault::garbled(&format!("message {tag:#04x} in a stream of changes"));
                    return Err(broken(fault, &self.slot));
                }
            }
            self.wire.skip_row(length);
        }
        self.received = self.received.max(self.decoder.come_to());
        Ok(())
    }

    /// Puts a status update into the outgoing buffer.
    fn report(&mut self, ask: bool) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX).saturating_sub(EPOCH);
        let out = self.wire.out();
        out.put_u8(b'd');
        out.put_u32(4 + 1 + 8 * 4 + 1);
        out.put_u8(b'r');
        out.put_u64(self.received.max(self.safe).0);
        out.put_u64(self.safe.0);
        out.put_u64(self.safe.0);
        out.put_i64(now);
        out.put_u8(ask.into());
    }

    async fn advance(&mut self, into: &mut Changes, bytes: usize) -> Result<(), EngineError> {
        let before = into.len();
        loop {
            self.take(into, bytes)?;
            if into.len() >= bytes {
                // What is here already is enough: only a reply that waits goes out.
                return self.wire.send_now().await.map_err(|fault| broken(fault, &self.slot));
            }
            let more = self.wire.exchange_now().await.map_err(|fault| broken(fault, &self.slot))?;
            if more {
                continue;
            }
            self.decoder.settle(into);
            if into.len() > before {
                return Ok(());
            }
            self.wire.exchange().await.map_err(|fault| broken(fault, &self.slot))?;
        }
    }
}

#[async_trait]
impl ChangeStream for PgChanges {
    fn held(&self) -> u64 {
        self.streamed.held()
    }

    async fn next(&mut self, into: &mut Changes, bytes: usize) -> Result<(), EngineError> {
        if let Some(error) = self.failed.take() {
            self.failed = Some(ended(&self.slot));
            return Err(error);
        }
        let before = into.len();
        let Err(error) = self.advance(into, bytes).await else { return Ok(()) };
        self.decoder.settle(into);
        if into.len() > before {
            self.failed = Some(error);
            return Ok(());
        }
        self.failed = Some(ended(&self.slot));
        Err(error)
    }

    async fn acknowledge(&mut self, safe: &Position) -> Result<(), EngineError> {
        let position = Lsn::of(safe).ok_or_else(|| {
            EngineError::new(Cause::Other, "acknowledge", format!("{safe} is no position of this log"))
                .on(&self.slot)
        })?;
        self.safe = self.safe.max(position);
        let due = self.asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY);
        if due {
            self.asked = Some(Instant::now());
        }
        self.report(due);
        self.wire.send_out().await.map_err(|fault| broken(fault, &self.slot))?;
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            match self.watch.look().await {
                // It is looked at again; the stream has its own connection.
                Err(error) if error.cause != Cause::Stale => {}
                looked => looked?,
            }
        }
        Ok(())
    }
}

fn ended(slot: &str) -> EngineError {
    EngineError::new(Cause::Connection, DOING, "the stream has ended").on(slot)
}

/// The end that a keepalive tells, and whether an answer is wanted.
fn read_keepalive(body: &[u8]) -> Result<(Lsn, bool), Short> {
    let mut input = Input::new(body);
    let (_kind, end, _time) = (input.u8()?, Lsn(input.u64()?), input.u64()?);
    let asks = input.u8()? != 0;
    input.end()?;
    Ok((end, asks))
}

fn broken(fault: Fault, slot: &str) -> EngineError {
    match fault {
        Fault::Server(error) => refused(&error, slot),
        Fault::Io(error) => error::from_io(DOING, &error).on(slot),
    }
}

/// Since PostgreSQL 18 a missing publication is a warning, and its tables are left out.
fn check_notice(body: &[u8], slot: &str) -> Result<(), EngineError> {
    let notice = ServerError::parse(body);
    match notice.code.as_str() {
        "55000" | "42704" => Err(refused(&notice, slot)),
        _ => Ok(()),
    }
}

/// A refusal to start, told apart by what it means for the log (contract, F-42, F-44). Texts may
/// be in any language; only codes count.
pub fn refused_start(error: &ServerError, slot: &str) -> EngineError {
    match error.code.as_str() {
        "42704" => stale(
            error,
            slot,
            "the slot was dropped, and the log with it; `towpath apply --recopy` copies the tables again",
        ),
        "55006" => EngineError { cause: Cause::Busy, ..error::engine_error(DOING, error) }.on(slot),
        _ => refused(error, slot),
    }
}

/// What ends a stream that has started (contract, F-42, F-45).
fn refused(error: &ServerError, slot: &str) -> EngineError {
    match error.code.as_str() {
        "42704" => stale(
            error,
            slot,
            "the publication was dropped or made again: what was changed meanwhile is not in the log; \
             `towpath apply --recopy` copies the tables again",
        ),
        // `can no longer get changes from replication slot`, `cannot read from logical replication
        // slot`, `requested WAL segment ... has already been removed`; and, as a warning, a
        // publication that is missing.
        "55000" | "58P01" => stale(
            error,
            slot,
            "log that was not read yet is gone (max_slot_wal_keep_size, an invalidated slot, or a publication that \
             was dropped); `towpath apply --recopy` copies the tables again",
        ),
        _ => error::engine_error(DOING, error).on(slot),
    }
}

fn stale(error: &ServerError, slot: &str, hint: &str) -> EngineError {
    let mut made = EngineError { cause: Cause::Stale, ..error::engine_error(DOING, error) };
    made.hint = Some(hint.to_string());
    made.on(slot).contract("C508")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::super::connect::Link;
    use super::super::decode::Known;
    use super::*;
    use crate::change::Record;
    use crate::engine::Scratch;

    fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend(u32::try_from(body.len() + 4).expect("small").to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// A message of the log.
    fn data(parts: &[&[u8]]) -> Vec<u8> {
        frame(b'd', &[b"w", &[0; 24][..], &parts.concat()].concat())
    }

    fn keepalive(end: u64, asks: bool) -> Vec<u8> {
        frame(b'd', &[b"k", &end.to_be_bytes()[..], &[0; 8], &[asks.into()]].concat())
    }

    /// An empty transaction.
    fn transaction(at: u64) -> Vec<u8> {
        let (at, end) = (at.to_be_bytes(), (at + 1).to_be_bytes());
        [data(&[b"B", &at, &[0; 12]]), data(&[b"C\0", &at, &end, &[0; 8]])].concat()
    }

    async fn started() -> (PgChanges, DuplexStream) {
        started_with(Scratch::default()).await
    }

    async fn started_with(scratch: Scratch) -> (PgChanges, DuplexStream) {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(&frame(b'W', &[0, 0, 0])).await.expect("fits");
        let watch = Watch {
            link: std::sync::Arc::new(Link::nowhere()),
            plan: "p".into(),
            object: "slot".into(),
            content: String::new(),
            tables: Vec::new(),
        };
        let from = Lsn(10);
        let decoder = Decoder::new(Known::default(), from);
        let protocol =
            if scratch.bytes > 0 { "proto_version '2', streaming 'on'" } else { "proto_version '1'" };
        let streamed = Streamed::new(scratch, &std::sync::Arc::default());
        let stream = start(Wire::new(Box::new(near)), from, decoder, streamed, watch).await.expect("starts");
        let mut request = vec![0; 1 << 16];
        let length = far.read(&mut request).await.expect("a request");
        let request = String::from_utf8_lossy(&request[..length]);
        assert!(request.contains(&format!("SLOT \"slot\" LOGICAL 0/A ({protocol}, ")), "{request}");
        (stream, far)
    }

    fn reached(changes: &Changes) -> Vec<String> {
        let position = |record| match record {
            Record::Reached { position } => position.to_string(),
            other => panic!("{other:?}"),
        };
        changes.records().map(position).collect()
    }

    /// Received, durable, applied; and whether an answer is wanted.
    async fn status(far: &mut DuplexStream) -> ([u64; 3], bool) {
        let mut bytes = [0; 39];
        far.read_exact(&mut bytes).await.expect("a status update");
        assert_eq!((bytes[0], bytes[5]), (b'd', b'r'));
        let number = |at: usize| u64::from_be_bytes(*bytes[at..].first_chunk().expect("eight bytes"));
        ([number(6), number(14), number(22)], bytes[38] != 0)
    }

    #[tokio::test]
    async fn r_03_only_what_the_caller_calls_safe_is_acknowledged() {
        let (mut stream, mut far) = started().await;
        let mut changes = Changes::default();
        far.write_all(&keepalive(50, true)).await.expect("fits");
        stream.next(&mut changes, 1 << 20).await.expect("tells");
        assert_eq!(reached(&changes), ["0/32"]);
        // The answer goes out by itself, and promises nothing.
        assert_eq!(status(&mut far).await, ([50, 0, 0], false));
        stream.acknowledge(&Lsn(30).position()).await.expect("sent");
        assert_eq!(status(&mut far).await, ([50, 30, 30], true));
        // Never backwards, and not asked again at once.
        stream.acknowledge(&Lsn(20).position()).await.expect("sent");
        assert_eq!(status(&mut far).await, ([50, 30, 30], false));
        assert!(stream.acknowledge(&Position("elsewhere".into())).await.is_err());
    }

    #[tokio::test]
    async fn f_32_a_call_that_is_dropped_loses_nothing() {
        let (mut stream, mut far) = started().await;
        let bytes = [transaction(20), keepalive(30, true), transaction(40), keepalive(44, false)].concat();
        let (mut changes, mut told) = (Changes::default(), Vec::new());
        for byte in bytes {
            far.write_all(&[byte]).await.expect("fits");
            // Dropped in the middle of whatever it was doing.
            tokio::select! {
                biased;
                next = stream.next(&mut changes, 1 << 20) => next.expect("good bytes"),
                () = tokio::task::yield_now() => {}
            }
            told.extend(reached(&changes));
            changes.clear();
        }
        assert_eq!(told, ["0/15", "0/1E", "0/29", "0/2C"]);
        assert_eq!(status(&mut far).await.0[0], 30);
    }

    /// One that is told before it commits moves no position, and nothing that is known between its
    /// parts is taken for its end.
    #[tokio::test]
    async fn h_02_a_transaction_in_progress_moves_no_position() {
        let scratch = Scratch { dir: std::env::temp_dir(), bytes: 1 << 20 };
        let (mut stream, mut far) = started_with(scratch).await;
        let begins = [data(&[b"S\0\0\0\x07\x01"]), keepalive(15, true), data(&[b"E"])].concat();
        let commits = data(&[b"c\0\0\0\x07\0", &30u64.to_be_bytes(), &31u64.to_be_bytes(), &[0; 8]]);
        let mut told = Vec::new();
        let mut changes = Changes::default();
        for bytes in [begins, transaction(20), keepalive(25, false), commits, transaction(40)] {
            far.write_all(&bytes).await.expect("fits");
            stream.next(&mut changes, 1 << 20).await.expect("good bytes");
            told.extend(reached(&changes));
            changes.clear();
        }
        assert_eq!(told, ["0/F", "0/15", "0/19", "0/1F", "0/29"]);
        assert_eq!(status(&mut far).await, ([15, 0, 0], false));
    }

    #[tokio::test]
    async fn h_15_no_end_is_a_success_and_what_came_before_it_is_told() {
        let lost = b"SWARNING\0VWARNING\0C55000\0Mskipped loading publication\0\0";
        let gone = b"SERROR\0C42704\0Mpublication is not there\0\0";
        for (end, cause) in [
            (frame(b'c', b""), Cause::Connection),
            (frame(b'C', b"COPY 0\0"), Cause::Connection),
            (frame(b'N', lost), Cause::Stale),
            (frame(b'E', gone), Cause::Stale),
            (frame(b'E', b"SFATAL\0C57P01\0Mterminating\0\0"), Cause::Connection),
            (data(&[b"?"]), Cause::Connection),
            (vec![b'd', 0, 0, 0, 1], Cause::Connection),
            (Vec::new(), Cause::Connection),
        ] {
            let (mut stream, mut far) = started().await;
            far.write_all(&[transaction(20), end.clone()].concat()).await.expect("fits");
            drop(far);
            let mut changes = Changes::default();
            let mut next = stream.next(&mut changes, 1 << 20).await;
            if changes.is_empty() {
                panic!("{end:?}: {next:?}");
            }
            assert_eq!(reached(&changes), ["0/15"], "{end:?}");
            if next.is_ok() {
                changes.clear();
                next = stream.next(&mut changes, 1 << 20).await;
            }
            assert_eq!(next.expect_err("an end").cause, cause, "{end:?}");
            assert!(stream.next(&mut changes, 1 << 20).await.is_err());
        }
    }

    #[tokio::test]
    async fn g_21_a_run_stops_at_its_size_and_nothing_more_is_read() {
        let (mut stream, mut far) = started().await;
        far.write_all(&[transaction(20), transaction(40)].concat()).await.expect("fits");
        let mut changes = Changes::default();
        changes.reached("0/1");
        let full = changes.len();
        stream.next(&mut changes, full).await.expect("is full already");
        assert_eq!(changes.len(), full);
    }
}
