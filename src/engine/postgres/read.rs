//! A chunk on its way out: COPY from the server, either as it comes or decoded into cells. The
//! end is only believed when the server has said CopyDone and its count, and when the table
//! proved to be the one that the snapshot knew.

use std::sync::Arc;

use async_trait::async_trait;

use super::rows::{Decode, decode_row};
use super::snapshot::{Reader, Readers};
use super::wire::{Answer, Fault, Piece};
use crate::catalog::{Form, Projection, RowBatch};
use crate::engine::{Batch, BatchStream, Cause, EngineError};

/// The stream of one chunk. Dropped before its end, it drops its session: a server that is not
/// listened to any more stops by itself.
pub struct CopyStream {
    readers: Arc<Readers>,
    reader: Option<Reader>,
    projection: Projection,
    decode: Vec<Decode>,
    batch_bytes: usize,
    spare: Vec<RowBatch>,
    /// Frames that end the stream without being rows, as far as they were not counted yet.
    trailing: u64,
    /// CopyDone was seen.
    over: bool,
}

impl CopyStream {
    /// Over a session on which the COPY has just started.
    pub fn new(readers: Arc<Readers>, reader: Reader, projection: Projection, batch_bytes: usize) -> Self {
        let side = readers.side;
        let decode = projection.columns.iter().map(|column| Decode::of(side.cell_type(column))).collect();
        // The binary form ends with a frame of its own.
        let trailing = u64::from(projection.form == Form::NativeFast);
        Self {
            readers,
            reader: Some(reader),
            trailing,
            projection,
            decode,
            batch_bytes,
            spare: Vec::new(),
            over: false,
        }
    }

    fn reader(&mut self) -> Result<&mut Reader, EngineError> {
        let over = || EngineError::new(Cause::Connection, "read", "the stream has ended or failed already");
        self.reader.as_mut().ok_or_else(over)
    }

    /// Failure ends the stream for good, and drops the session with it.
    fn fail(&mut self, fault: Fault) -> EngineError {
        self.reader = None;
        self.readers.failure(&self.projection, fault)
    }

    async fn native(&mut self) -> Result<Option<Batch>, EngineError> {
        match self.reader()?.wire.piece().await {
            Ok(Piece::Frames(bytes, frames)) => {
                let rows = frames.saturating_sub(self.trailing);
                self.trailing -= frames - rows;
                Ok(Some(Batch::Native { bytes, rows }))
            }
            Ok(Piece::Done) => Ok(None),
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// Rows until the batch is full; an empty batch after the last.
    async fn rows(&mut self) -> Result<RowBatch, EngineError> {
        let mut batch = self.spare.pop().unwrap_or_else(|| RowBatch::new(self.decode.len()));
        while !self.over && batch.bytes() < self.batch_bytes {
            if let Err(fault) = self.some_rows(&mut batch).await {
                return Err(self.fail(fault));
            }
        }
        Ok(batch)
    }

    /// Decodes what has arrived; waits for one row where nothing has.
    async fn some_rows(&mut self, batch: &mut RowBatch) -> Result<(), Fault> {
        let broken = || Fault::garbled("the stream has failed already");
        let wire = &mut self.reader.as_mut().ok_or_else(broken)?.wire;
        while let Some(line) = wire.row_here() {
            let length = line.len();
            decode_row(line, &self.decode, batch).map_err(Fault::garbled)?;
            wire.skip_row(length);
            if batch.bytes() >= self.batch_bytes {
                return Ok(());
            }
        }
        match wire.row_frame().await? {
            Some(line) => decode_row(&line, &self.decode, batch).map_err(Fault::garbled),
            None => {
                self.over = true;
                Ok(())
            }
        }
    }

    /// Takes the count and the checks, and gives the session back.
    async fn end(&mut self) -> Result<Batch, EngineError> {
        let answers = match self.reader()?.wire.answers().await {
            Ok(answers) => answers,
            Err(fault) => return Err(self.fail(fault)),
        };
        if let Some(reader) = self.reader.take() {
            self.readers.give(reader).await;
        }
        let fact = self.readers.fact(&self.projection)?;
        self.readers.check(&self.projection, fact, &answers)?;
        let rows = answers.first().filter(|answer| answer.tag.starts_with("COPY ")).and_then(Answer::count);
        let rows = rows.ok_or_else(|| {
            EngineError::new(Cause::Connection, "read", "the server did not say how many rows it sent")
                .on(self.readers.side.table(&self.projection))
        })?;
        Ok(Batch::End { rows })
    }
}

#[async_trait]
impl BatchStream for CopyStream {
    async fn next(&mut self) -> Result<Batch, EngineError> {
        if self.projection.form == Form::Rows {
            let batch = self.rows().await?;
            if !batch.is_empty() {
                // A server that is faster than we decode would leave no turn to whoever shares
                // our task, a connection attempt with its time limit for one.
                tokio::task::yield_now().await;
                return Ok(Batch::Rows(batch));
            }
        } else if let Some(batch) = self.native().await? {
            return Ok(batch);
        }
        self.end().await
    }

    fn recycle(&mut self, mut rows: RowBatch) {
        rows.clear();
        self.spare.push(rows);
    }
}
