//! Rows of one chunk on their way out. A task of its own reads them in the binary protocol and
//! fills batches, so that the server is listened to while the target writes. The end is only
//! believed when the server's own count of the rows it sent is the number that arrived.

use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Error, Row, Statement, Value};
use tokio::sync::mpsc;

use super::error::from_driver;
use super::facts::Facts;
use super::quote::{identifier, literal};
use super::select::{ProofKind, Range, Select, zone_shift};
use super::snapshot::Lease;
use crate::catalog::{Cell, Projection, RowBatch};
use crate::engine::{Batch, BatchStream, Cause, EngineError, Read};

pub(super) const READ: &str = "read rows of";

/// Batches on their way at once: one being filled, one waiting, one being written.
const QUEUE: usize = 1;

/// Warnings after which a value is not what is stored: a result that was too long and became
/// null, text that its character set does not have.
const VALUE_WARNINGS: [u16; 6] = [1300, 1301, 1366, 1977, 3854, 3857];

/// The stream of one chunk.
pub(super) struct RowStream {
    batches: mpsc::Receiver<Result<Batch, EngineError>>,
    empties: mpsc::UnboundedSender<RowBatch>,
    batch_bytes: usize,
    ended: bool,
}

impl RowStream {
    /// Starts the task. The lease goes back when it is done, also where nobody listens any more.
    pub async fn open(mut lease: Lease, facts: &Facts, read: &Read<'_>) -> Result<Self, EngineError> {
        let prepared = Self::prepare(&mut lease, facts, read).await;
        let (select, statement) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return lease.done(Err(error)).await,
        };
        let (queue, batches) = mpsc::channel(QUEUE);
        let (empties, returned) = mpsc::unbounded_channel();
        let projection = read.projection.clone();
        let scan = Scan { projection, select, batch_bytes: read.batch_bytes, queue, returned, lost: false };
        tokio::spawn(scan.run(lease, statement));
        Ok(Self { batches, empties, batch_bytes: read.batch_bytes, ended: false })
    }

    async fn prepare(
        lease: &mut Lease,
        facts: &Facts,
        read: &Read<'_>,
    ) -> Result<(Select, Statement), EngineError> {
        let table = &read.projection.source;
        let range = Range::of(read.chunk).map_err(|error| error.on(table))?;
        if range.as_ref().is_some_and(|range| !range.fits(facts)) {
            let why = "the chunk belongs to another key than the table has now";
            return Err(EngineError::new(Cause::Stale, READ, why).on(table));
        }
        check_zones(lease, read.projection).await?;
        let select = Select::new(read.projection, facts, range.as_ref())?;
        let statement = lease.prep(select.sql.as_str()).await;
        Ok((select, statement.map_err(|error| from_driver(READ, error).on(table))?))
    }
}

/// The server makes nulls of moments in a zone that it does not know.
async fn check_zones(lease: &mut Lease, projection: &Projection) -> Result<(), EngineError> {
    for map in &projection.columns {
        let Some(zone) = zone_shift(map) else { continue };
        let sql =
            format!("SELECT CONVERT_TZ('2000-01-01 00:00:00', '+00:00', {}) IS NOT NULL", literal(zone));
        let known: Option<bool> =
            lease.query_first(sql).await.map_err(|error| from_driver(READ, error).on(&projection.source))?;
        if known != Some(true) {
            let why = format!(
                "the server does not know the time zone {zone} of column {}",
                identifier(&map.source)
            );
            return Err(EngineError::new(Cause::NotFound, READ, why).on(&projection.source).hint(
                "load its time zone tables (mariadb-tzinfo-to-sql), or write an offset such as +02:00",
            ));
        }
    }
    Ok(())
}

#[async_trait]
impl BatchStream for RowStream {
    async fn next(&mut self) -> Result<Batch, EngineError> {
        if self.ended {
            return Err(EngineError::new(Cause::Other, READ, "the stream has ended or failed already"));
        }
        let batch = self.batches.recv().await.unwrap_or_else(|| {
            Err(EngineError::new(Cause::Connection, READ, "the rows ended without their end mark"))
        });
        self.ended = !matches!(batch, Ok(Batch::Rows(_)));
        batch
    }

    fn recycle(&mut self, mut rows: RowBatch) {
        // One huge row must not leave every batch as large as itself.
        if rows.bytes() > 4 * self.batch_bytes {
            return;
        }
        rows.clear();
        // A scan that is over needs no batches any more.
        let _ = self.empties.send(rows);
    }
}

/// The half that reads.
struct Scan {
    projection: Projection,
    select: Select,
    batch_bytes: usize,
    queue: mpsc::Sender<Result<Batch, EngineError>>,
    returned: mpsc::UnboundedReceiver<RowBatch>,
    /// Nobody listens any more.
    lost: bool,
}

impl Scan {
    async fn run(mut self, mut lease: Lease, statement: Statement) {
        let ended = match self.rows(&mut lease, &statement).await {
            Ok(rows) if !self.lost => self.end(&mut lease, rows).await,
            Ok(_) => Ok(Batch::End { rows: 0 }),
            Err(error) => Err(error),
        };
        let broken = matches!(&ended, Err(error) if error.cause == Cause::Connection);
        // The session first: who hears of the end may ask for it.
        if broken {
            drop(lease);
        } else if lease.close(statement).await.is_ok() {
            lease.give().await;
        }
        if !self.lost {
            let _ = self.queue.send(ended).await;
        }
    }

    /// Sends all rows; how many there were.
    async fn rows(&mut self, lease: &mut Lease, statement: &Statement) -> Result<u64, EngineError> {
        let table = self.projection.source.clone();
        let fail = |error| from_driver(READ, error).on(&table);
        let readers = Arc::clone(lease.readers());
        let id = lease.id();
        let mut result = lease.exec_iter(statement, ()).await.map_err(fail)?;
        let mut batch = self.empty();
        let mut done = 0u64;
        let mut refused = None;
        while let Some(row) = result.next().await.map_err(fail)? {
            if let Err(error) = self.push(&row, &mut batch, done) {
                refused = Some(error);
                break;
            }
            done += 1;
            if batch.bytes() >= self.batch_bytes {
                let full = std::mem::replace(&mut batch, self.empty());
                if self.queue.send(Ok(Batch::Rows(full))).await.is_err() {
                    self.lost = true;
                    break;
                }
            }
        }
        if refused.is_some() || self.lost {
            // The rest would have to be read before the session says anything else.
            readers.link().kill_query(id).await;
            let _ = result.drop_result().await;
        } else if !batch.is_empty() && self.queue.send(Ok(Batch::Rows(batch))).await.is_err() {
            self.lost = true;
        }
        refused.map_or(Ok(done), Err)
    }

    fn empty(&mut self) -> RowBatch {
        let width = self.projection.columns.len();
        self.returned.try_recv().unwrap_or_else(|_| RowBatch::new(width))
    }

    #[inline]
    fn push(&self, row: &Row, batch: &mut RowBatch, done: u64) -> Result<(), EngineError> {
        for (column, decode) in self.select.decode.iter().enumerate() {
            let value = row.as_ref(column).unwrap_or(&Value::NULL);
            if let Err(refused) = decode.push(value, batch) {
                return Err(self.refuse(column, done, refused.why(), |name| refused.hint(name)));
            }
        }
        batch.end_row();
        if !self.select.proofs.is_empty() {
            self.prove(row, batch, done)?;
        }
        Ok(())
    }

    /// Looks at what the server said beside the last row.
    fn prove(&self, row: &Row, batch: &RowBatch, done: u64) -> Result<(), EngineError> {
        let cells = batch.row(batch.rows() - 1);
        for (at, proof) in self.select.proofs.iter().enumerate() {
            let cell = cells[proof.column];
            let told = match row.as_ref(self.select.decode.len() + at) {
                _ if cell == Cell::Null => continue,
                Some(Value::Int(told)) => *told,
                Some(Value::UInt(told)) => *told as i64,
                Some(Value::Double(told)) => *told as i64,
                _ => -1,
            };
            let (kept, why) = match proof.kind {
                ProofKind::QuestionMarks => {
                    let marks = batch.data(cell).iter().filter(|byte| **byte == b'?').count();
                    (marks as i64 == told, "a text holds bytes that have no place in UTF-8")
                }
                ProofKind::Label => (told > 0, super::decode::Refused::NoLabel.why()),
            };
            if !kept {
                return Err(self.refuse(proof.column, done, why, |_| {
                    "mend those rows, or leave them out with where:".to_string()
                }));
            }
        }
        Ok(())
    }

    fn refuse(&self, column: usize, done: u64, why: &str, hint: impl Fn(&str) -> String) -> EngineError {
        let name = identifier(&self.projection.columns[column].source);
        let place = format!("{}, column {name}, row {} of the chunk", self.projection.source, done + 1);
        EngineError::new(Cause::Data, READ, why).on(place).hint(hint(&name))
    }

    /// The end mark, with the server's own count.
    async fn end(&self, lease: &mut Lease, rows: u64) -> Result<Batch, EngineError> {
        let table = &self.projection.source;
        let fail = |error| from_driver(READ, error).on(table);
        let sent = match lease.get_warnings() {
            0 => lease.query_first("SELECT FOUND_ROWS()").await,
            _ => {
                // Asking for the warnings must come first, and takes the place of the number.
                self.check_warnings(lease).await?;
                Ok(None)
            }
        };
        let told: Option<u64> = match sent {
            Ok(Some(told)) => Some(told),
            // A version to come may have done away with the function.
            Ok(None) | Err(Error::Server(_)) => {
                lease.query_first(self.select.count.as_str()).await.map_err(fail)?
            }
            Err(error) => return Err(fail(error)),
        };
        match told {
            Some(told) if told == rows => {
                lease.check(table).await?;
                Ok(Batch::End { rows })
            }
            told => {
                let why = format!("{rows} rows arrived of {} that the server sent", told.unwrap_or(0));
                Err(EngineError::new(Cause::Connection, READ, why)
                    .on(table)
                    .hint("run the same command again"))
            }
        }
    }

    async fn check_warnings(&self, lease: &mut Lease) -> Result<(), EngineError> {
        let table = &self.projection.source;
        let warnings: Vec<(String, u16, String)> =
            lease.query("SHOW WARNINGS").await.map_err(|error| from_driver(READ, error).on(table))?;
        match warnings.iter().find(|(_, code, _)| VALUE_WARNINGS.contains(code)) {
            // Its text may quote a value.
            Some((_, code, _)) => {
                let why = "the server warned that it could not give a value as it is stored";
                Err(EngineError::new(Cause::Data, READ, why).on(table).code(code.to_string()).hint(
                    "raise max_allowed_packet on the server above its longest value, or mend what is no text",
                ))
            }
            None => Ok(()),
        }
    }
}
