//! Reading the binary log as a replica does: the one file that names the driver's log reader. The
//! session registers under a number of its own, asks for checksums, GTIDs and heartbeats, and then
//! only listens: nothing is ever told back, and the server keeps its log as long as its own
//! settings say.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest, Error};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

use super::capture::Shared;
use super::connect::{Flavor, Link};
use super::error::{escape, from_driver};
use super::events::{DOING, Decoder, Event, broken};
use super::gtids::Gtids;
use super::kind;
use super::payload;
use super::place::{At, Prepared};
use crate::change::{Changes, Position};
use crate::engine::{Cause, ChangeStream, EngineError};

/// How often the server speaks where it has nothing to say.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Silence after which the other end counts as gone.
const SILENCE: Duration = Duration::from_secs(30);
/// Between two calls that are further apart, reading was paused, and silence says nothing.
const PAUSE: Duration = Duration::from_secs(10);
/// Bytes of events that one call reads at most, be there changes for us in them or not.
const CALL_BYTES: usize = 4 << 20;
/// Flag of events that were made for the reader.
const ARTIFICIAL: u16 = 0x20;
/// Largest place that a request has room for.
const OFFSET_MAX: u64 = u32::MAX as u64;

/// A stream of changes.
pub(super) struct Reading {
    log: BinlogStream,
    decoder: Decoder,
    /// Bytes of events of a compressed transaction that are next.
    inside: u64,
    shared: Arc<Shared>,
    link: Arc<Link>,
    plan: String,
    heard_at: Instant,
    called_at: Instant,
    /// What ended it; nothing more comes.
    ended: bool,
}

/// The number to register under: of the plan and the database, far above those that people give. A
/// reader that was left behind by a crash has the same one, and is ended by the server when a new
/// one comes.
fn replica_number(plan: &str, database: &str, own: u32) -> u32 {
    let digest = Sha256::digest(format!("towpath\0{database}\0{plan}").as_bytes());
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) | 0x8000_0000;
    if number == own { number ^ 1 } else { number }
}

/// Opens the log at a place.
pub(super) async fn open(link: &Link, plan: &str, from: &At) -> Result<BinlogStream, EngineError> {
    let mut conn = link.session().await?;
    let fail = |error| refused(error).on(link.shown());
    let own: Option<u32> = conn.query_first("SELECT @@GLOBAL.server_id").await.map_err(fail)?;
    let number = replica_number(plan, &link.address.database, own.unwrap_or(0));
    let heartbeat = HEARTBEAT.as_nanos();
    let mut settings = format!(
        "SET @master_heartbeat_period = {heartbeat}, @source_heartbeat_period = {heartbeat}, \
         @mariadb_slave_capability = 4, @slave_gtid_ignore_duplicates = 0"
    );
    // A place beyond what the request holds is told by GTID, which must then be known.
    let by_gtid = from.offset > OFFSET_MAX;
    if by_gtid {
        if from.gtid.is_empty() || link.server.flavor == Flavor::MySql {
            let why = format!(
                "the place is beyond 4 GiB in the log file {}, where the log cannot be entered",
                from.file
            );
            return Err(EngineError::new(Cause::Stale, DOING, why)
                .on(link.shown())
                .hint(super::capture::RECOPY));
        }
        let gtid = super::quote::literal(&from.gtid);
        settings.push_str(&format!(", @slave_connect_state = {gtid}, @slave_gtid_strict_mode = 1"));
    }
    conn.query_drop(settings).await.map_err(fail)?;
    let request = BinlogStreamRequest::new(number).with_hostname(b"towpath");
    let request = match by_gtid {
        true => request,
        false => request.with_filename(from.file.as_bytes()).with_pos(from.offset),
    };
    conn.get_binlog_stream(request).await.map_err(fail)
}

/// Reads the first event and lets go: whether the log can be read shows only so.
pub(super) async fn try_out(link: &Link, plan: &str, from: &At) -> Result<(), EngineError> {
    // Under a number of its own: somebody may follow this plan now.
    first(link, &format!("{plan} tried out"), from, |_| true).await.map(drop)
}

/// The second at which a log file was begun, as its first event has it.
pub(super) async fn born(link: &Link, asker: &str, at: &At) -> Result<u32, EngineError> {
    first(link, asker, at, |kind| kind == kind::FORMAT).await
}

/// Reads to the first event of a kind that is wanted: its time.
async fn first(link: &Link, plan: &str, from: &At, wanted: impl Fn(u8) -> bool) -> Result<u32, EngineError> {
    let mut log = open(link, plan, from).await?;
    let end = Instant::now() + SILENCE;
    let told = loop {
        match timeout_at(end, log.next()).await {
            Ok(Some(Ok(event))) if wanted(event.header().event_type_raw()) => {
                break Ok(event.header().timestamp());
            }
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => break Err(refused(error)),
            Ok(None) => break Err(silent("the server ended the log at once")),
            Err(_) => break Err(silent("the server says nothing")),
        }
    };
    let _ = log.close().await;
    told.map_err(|error| error.on(link.shown()))
}

impl Reading {
    pub fn new(
        log: BinlogStream,
        decoder: Decoder,
        shared: Arc<Shared>,
        (link, plan): (Arc<Link>, &str),
    ) -> Self {
        shared.reading(true);
        let now = Instant::now();
        Self {
            log,
            decoder,
            inside: 0,
            shared,
            link,
            plan: plan.to_string(),
            heard_at: now,
            called_at: now,
            ended: false,
        }
    }

    /// Takes in what the log said; the bytes of it.
    fn take(&mut self, said: Said, into: &mut Changes) -> Result<usize, EngineError> {
        self.heard_at = Instant::now();
        let event = match said {
            Some(Ok(event)) => event,
            Some(Err(error)) => return Err(refused(error)),
            None => {
                return Err(silent(
                    "the server ended the log: it is being shut down, or another reader came",
                ));
            }
        };
        let header = event.header();
        let size = header.event_size();
        let inside = self.inside > 0;
        if inside {
            let uneven = || broken("a compressed transaction of another size than it says");
            self.inside = self.inside.checked_sub(size.into()).ok_or_else(uneven)?;
        } else {
            check(&event)?;
        }
        let event = Event {
            kind: header.event_type_raw(),
            at: header.timestamp(),
            server: header.server_id(),
            size,
            // Its place is the one of the event that holds it.
            end: if inside { 0 } else { header.log_pos() },
            artificial: header.flags_raw() & ARTIFICIAL != 0,
            more: self.inside > 0,
            body: event.data(),
        };
        let taken = self.decoder.take(&event, into);
        taken.inspect_err(|_| self.shared.endless(self.decoder.endless()))?;
        if event.kind == kind::PAYLOAD {
            self.inside = payload::unpacked(event.body)?;
        }
        Ok(size as usize)
    }

    async fn read(&mut self, into: &mut Changes, bytes: usize) -> Result<(), EngineError> {
        let now = Instant::now();
        if now.duration_since(self.called_at) > PAUSE {
            self.heard_at = now;
        }
        self.called_at = now;
        let said = timeout_at(self.heard_at + SILENCE, self.log.next()).await;
        let said = said.map_err(|_| silent("the other end stopped answering"))?;
        let mut read = self.take_or_hop(said, into).await?;
        while into.len() < bytes && read < CALL_BYTES {
            let Some(said) = self.log.next().now_or_never() else { break };
            read += self.take_or_hop(said, into).await?;
        }
        self.decoder.settle(into);
        Ok(())
    }

    async fn take_or_hop(&mut self, said: Said, into: &mut Changes) -> Result<usize, EngineError> {
        match said {
            Some(Err(error)) if is_torn(&error) => self.hop(error).await.map(|()| 0),
            said => self.take(said, into),
        }
    }

    /// A server that falls may leave half an event at the end of its log file, behind which it sends
    /// nothing of that file (MariaDB; MySQL cuts it off). What it has committed is before that, if the
    /// next file begins with just these transactions: then the log goes on there.
    async fn hop(&mut self, error: Error) -> Result<(), EngineError> {
        let torn = self.decoder.tear().map(|(file, done)| (file.to_string(), done.clone()));
        let (file, done) = torn.inspect_err(|_| self.shared.endless(self.decoder.endless()))?;
        let mut conn = self.link.session().await?;
        let files = super::capture::log_files(&mut conn).await?.unwrap_or_default();
        let next = files.into_iter().map(|(file, _)| file).skip_while(|known| *known != file).nth(1);
        let Some(next) = next else { return Err(refused(error)) };
        let sql = format!("SELECT BINLOG_GTID_POS({}, 4)", super::quote::literal(&next));
        let begins: Result<Option<Option<String>>, Error> = conn.query_first(sql).await;
        super::connect::close(conn).await;
        let begins = begins.ok().flatten().flatten().and_then(|text| Gtids::parse(&text));
        if begins != Some(done) {
            return Err(refused(error));
        }
        let from = At {
            server: String::new(),
            file: next,
            offset: 4,
            gtid: String::new(),
            prepared: Prepared::new(),
        };
        self.log = open(&self.link, &self.plan, &from).await?;
        Ok(())
    }
}

/// One event, the end of the log, or what the server says instead.
type Said = Option<Result<mysql_async::binlog::events::Event, Error>>;

/// True where the server came to half an event.
fn is_torn(error: &Error) -> bool {
    matches!(error, Error::Server(server) if server.code == 1236 && server.message.contains("in the middle of event"))
}

/// Checks the sum that the server sent with an event.
fn check(event: &mysql_async::binlog::events::Event) -> Result<(), EngineError> {
    let header = event.header();
    if header.event_type_raw() == kind::FORMAT || header.log_pos() == 0 {
        return Ok(());
    }
    let algorithm = event.footer().get_checksum_alg().ok().flatten();
    match (algorithm, event.checksum()) {
        (Some(algorithm), Some(sum)) if event.calc_checksum(algorithm) != u32::from_le_bytes(sum) => {
            Err(EngineError::new(
                Cause::Connection,
                DOING,
                "an event of the log arrived damaged (its checksum differs)",
            )
            .hint("it is read again; if it says so again, the log on the server's disk is damaged"))
        }
        _ => Ok(()),
    }
}

fn silent(why: &str) -> EngineError {
    EngineError::new(Cause::Connection, DOING, why)
        .hint("check the network and the server's log; the same command goes on from where it was")
}

/// What the server says instead of the log.
fn refused(error: Error) -> EngineError {
    let Error::Server(server) = &error else { return from_driver(DOING, error) };
    let said = server.message.to_ascii_lowercase();
    let made =
        |cause, why: &str| EngineError::new(cause, DOING, why.to_string()).code(server.code.to_string());
    match server.code {
        // MariaDB has a code of its own for it.
        4052 | 1236 if server.code == 4052 || said.contains("same server") => made(
            Cause::Other,
            "another replica reads this log under the same number, and took this one's place",
        )
        .hint(
            "is the same plan followed elsewhere, for another target? stop one of them, or rename the plan: \
                       its name and the database make the number",
        ),
        1236 if said.contains("checksum") => {
            made(Cause::Other, "the server cannot read its own log: a checksum differs").hint(
                "the log on the server's disk is damaged: see its error log, then `towpath apply --recopy`",
            )
        }
        1236 => made(
            Cause::Stale,
            &format!(
                "the log from there on is not there any more, or was begun anew; the server says: {}",
                escape(&server.message)
            ),
        )
        .contract("G10")
        .hint(super::capture::RECOPY),
        1227 | 1045 => made(Cause::Privilege, "this user may not read the log")
            .contract("P802")
            .hint("GRANT REPLICATION SLAVE ON *.* TO the user of this URL; `towpath grants` prints it"),
        _ => from_driver(DOING, error),
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.shared.reading(false);
    }
}

#[async_trait]
impl ChangeStream for Reading {
    async fn next(&mut self, into: &mut Changes, bytes: usize) -> Result<(), EngineError> {
        if into.len() >= bytes && !into.is_empty() {
            return Ok(());
        }
        if self.ended {
            return Err(silent("the log was read to an error before").on(self.link.shown()));
        }
        let read = self.read(into, bytes).await;
        self.ended = read.is_err();
        read.map_err(|error| if error.object.is_none() { error.on(self.link.shown()) } else { error })
    }

    /// Nothing is told to the server: it keeps its log by its own rules.
    async fn acknowledge(&mut self, safe: &Position) -> Result<(), EngineError> {
        self.shared.acknowledge(safe);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_51_the_number_is_the_plans_own_and_not_the_servers() {
        let number = replica_number("shop", "d", 1);
        assert!(number > i32::MAX as u32);
        assert_eq!(number, replica_number("shop", "d", 2));
        assert_ne!(number, replica_number("other", "d", 1));
        assert_ne!(number, replica_number("shop", "e", 1));
        assert_ne!(number, replica_number("shop", "d", number));
    }
}
