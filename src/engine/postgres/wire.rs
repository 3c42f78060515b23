//! A thin client of the frontend/backend protocol 3.0 (manual, chapter 55), for what sqlx cannot
//! do: COPY data in pieces of any size, passed on unread, and DDL, COPY and marks on one session.
//!
//! ```text
//!   frame = tag (1 byte) + length (4 bytes, counts itself) + body
//!   COPY OUT:  Query ->  H  d d d d ... d  c  C "COPY n"  ...  Z
//!   COPY IN:   Query ->  G ;  d d d ... c ->  C "COPY n"  ...  Z
//! ```
//!
//! Only headers of `d` frames are looked at; their bodies go to the other server as they came. This
//! file knows no table and makes no SQL. A connection that fails in mid-frame is never used again.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::error::{self, ServerError};
use super::frames::{Run, Stop, cells, header, join, tag_text, walk};
use super::watch::Watch;
use crate::engine::EngineError;

/// Bytes asked of the socket at once. A full socket buffer is taken in one call; more was no faster.
pub const READ_BYTES: usize = 256 << 10;
/// The largest answer outside COPY that is kept in memory: a frame beyond it is an error.
const FRAME_BYTES_MAX: usize = 1 << 30;

/// Bytes of the outgoing buffer that are kept for reuse.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Both directions of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Why a request failed.
#[derive(Debug)]
pub enum Fault {
    /// The connection broke or spoke nonsense; it is of no use any more.
    Io(std::io::Error),
    /// The server refused. The connection lives, its transaction has failed.
    Server(Box<ServerError>),
}

impl Fault {
    pub fn garbled(what: &str) -> Self {
        Self::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, format!("protocol error: {what}")))
    }

    /// For the caller, who knows what was going on.
    pub fn doing(self, doing: &str) -> EngineError {
        match self {
            Self::Io(error) => error::from_io(doing, &error),
            Self::Server(error) => error::engine_error(doing, &error),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

type Result<T> = std::result::Result<T, Fault>;

/// A message from the server.
pub struct Frame {
    pub tag: u8,
    pub body: Bytes,
}

/// What one statement answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Cells in text form.
    pub rows: Vec<Vec<Option<String>>>,
    /// `INSERT 0 3`, `COPY 17`.
    pub tag: String,
}

impl Answer {
    /// The cell of the first row, if it is there and not null.
    pub fn cell(&self, column: usize) -> Option<&str> {
        self.rows.first()?.get(column)?.as_deref()
    }

    /// The number at the end of the tag.
    pub fn count(&self) -> Option<u64> {
        self.tag.rsplit(' ').next()?.parse().ok()
    }
}

/// A piece of a COPY from the server.
#[derive(Debug)]
pub enum Piece {
    /// Whole and half `d` frames, headers included, one after the other; and how many of the
    /// server's own frames end in them.
    Frames(Bytes, u64),
    /// CopyDone came.
    Done,
}

/// A session.
pub struct Wire {
    pipe: Box<dyn Duplex>,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// Bytes of a `d` frame that have yet to arrive.
    frame_rest: usize,
    /// Process id that the server announced.
    pub pid: i32,
    pub parameters: Vec<(String, String)>,
    /// `I` idle, `T` in a transaction, `E` in a failed one.
    pub status: u8,
    /// Requests sent whose ReadyForQuery has not come.
    awaited: usize,
    /// Looks after it where it is silent for long.
    watch: Option<Arc<Watch>>,
}

impl Wire {
    /// Over a pipe on which nothing was said yet. [`super::login::login`] does the start-up.
    pub fn new(pipe: Box<dyn Duplex>) -> Self {
        Self {
            pipe,
            incoming: BytesMut::with_capacity(READ_BYTES),
            outgoing: BytesMut::new(),
            frame_rest: 0,
            pid: 0,
            parameters: Vec::new(),
            status: b'I',
            awaited: 0,
            watch: None,
        }
    }

    /// From now on a server that does not answer any more is noticed.
    pub fn watched_by(&mut self, watch: Arc<Watch>) {
        self.watch = Some(watch);
    }

    /// A session setting that the server reported.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// True when a new request may be sent.
    pub fn is_ready(&self) -> bool {
        self.awaited == 0 && self.frame_rest == 0
    }

    /// The buffer for messages to send; [`Self::flush`] sends them.
    pub fn out(&mut self) -> &mut BytesMut {
        &mut self.outgoing
    }

    pub async fn flush(&mut self) -> Result<()> {
        let bytes = self.outgoing.split();
        self.pipe.write_all(&bytes).await?;
        self.pipe.flush().await?;
        self.outgoing = bytes;
        self.outgoing.clear();
        Ok(())
    }

    /// Begins a pipeline, which [`Self::close_pipeline`] ends. Until its end is answered the
    /// session is not ready for anything else.
    pub fn open_pipeline(&mut self) {
        self.awaited += 1;
    }

    pub fn close_pipeline(&mut self) {
        frontend::sync(&mut self.outgoing);
    }

    /// As [`Self::flush`], listening meanwhile: a server whose answers nobody takes stops reading.
    pub async fn push(&mut self) -> Result<()> {
        let mut bytes = self.outgoing.split();
        let mut sent = 0;
        while sent < bytes.len() {
            sent += self.put_some(&bytes[sent..]).await?;
        }
        self.pipe.flush().await?;
        // One huge value must not be kept for all that follow.
        if bytes.capacity() <= KEPT_BYTES_MAX {
            bytes.clear();
            self.outgoing = bytes;
        }
        Ok(())
    }

    /// The next frame that has arrived whole, without waiting.
    pub async fn arrived(&mut self) -> Result<Option<Frame>> {
        while self.incoming.len() >= 5 {
            let (_, body) = header(&self.incoming)?;
            if self.incoming.len() < 5 + body {
                return Ok(None);
            }
            if let Some(frame) = self.step().await? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    async fn fill(&mut self) -> Result<()> {
        if self.incoming.capacity() - self.incoming.len() < 16 << 10 {
            self.incoming.reserve(READ_BYTES);
        }
        let read = self.pipe.read_buf(&mut self.incoming);
        let read = match &self.watch {
            Some(watch) => watch.over(self.pid, read).await?,
            None => read.await,
        };
        match read? {
            0 => Err(Fault::Io(std::io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }

    /// The header of the next frame, whose body may not be here yet.
    async fn peek(&mut self) -> Result<(u8, usize)> {
        while self.incoming.len() < 5 {
            self.fill().await?;
        }
        header(&self.incoming)
    }

    /// The next frame, whole.
    pub async fn frame(&mut self, bytes_max: usize) -> Result<Frame> {
        let (tag, body) = self.peek().await?;
        if body > bytes_max {
            return Err(Fault::garbled("the server announced a message that is too long"));
        }
        while self.incoming.len() < 5 + body {
            if self.incoming.capacity() < 5 + body {
                self.incoming.reserve(5 + body - self.incoming.len());
            }
            self.fill().await?;
        }
        self.incoming.advance(5);
        Ok(Frame { tag, body: self.incoming.split_to(body).freeze() })
    }

    /// As [`Self::frame`], refusing a tag not among `tags` before any more is read.
    pub async fn frame_of(&mut self, tags: &[u8], bytes_max: usize) -> Result<Frame> {
        let (tag, _) = self.peek().await?;
        if !tags.contains(&tag) {
            let shown = String::from_utf8_lossy(&self.incoming[..5]).into_owned();
            return Err(Fault::garbled(&format!("got {shown:?}")));
        }
        self.frame(bytes_max).await
    }

    /// The next frame that is not a notice or a changed parameter.
    pub async fn event(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.step().await? {
                return Ok(frame);
            }
        }
    }

    /// One frame; none when it was a notice or a changed parameter, which may come at any time.
    async fn step(&mut self) -> Result<Option<Frame>> {
        let frame = self.frame(FRAME_BYTES_MAX).await?;
        match frame.tag {
            b'N' | b'A' => return Ok(None),
            b'S' => {
                self.keep_parameter(&frame.body);
                return Ok(None);
            }
            b'Z' => {
                self.status = frame.body.first().copied().unwrap_or(b'I');
                self.awaited = self.awaited.saturating_sub(1);
            }
            _ => {}
        }
        Ok(Some(frame))
    }

    pub fn keep_parameter(&mut self, body: &[u8]) {
        let mut parts = body.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { return };
        self.parameters.retain(|(key, _)| *key != name);
        self.parameters.push((name, value));
    }

    /// Runs statements that answer with rows of text; one answer for each statement.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Answer>> {
        self.send_query(sql).await?;
        self.answers().await
    }

    /// Sends a simple query and does not wait.
    pub async fn send_query(&mut self, sql: &str) -> Result<()> {
        frontend::query(sql, &mut self.outgoing)?;
        self.awaited += 1;
        self.flush().await
    }

    /// Adds a statement with bound text values to a pipeline; [`Self::sync`] runs it. A failure
    /// skips all that follow.
    pub fn bind(&mut self, sql: &str, values: &[Option<&str>]) -> Result<()> {
        frontend::parse("", sql, [], &mut self.outgoing)?;
        let write = |value: &Option<&str>, out: &mut BytesMut| {
            Ok(match value {
                None => postgres_protocol::IsNull::Yes,
                Some(text) => {
                    out.extend_from_slice(text.as_bytes());
                    postgres_protocol::IsNull::No
                }
            })
        };
        frontend::bind("", "", [], values.iter(), |value, out| write(value, out), [], &mut self.outgoing)
            .map_err(|error| match error {
                frontend::BindError::Serialization(error) => {
                    Fault::Io(std::io::Error::other(error.to_string()))
                }
                frontend::BindError::Conversion(error) => Fault::garbled(&error.to_string()),
            })?;
        frontend::execute("", 0, &mut self.outgoing)?;
        Ok(())
    }

    /// Ends a pipeline and takes its answers.
    pub async fn sync(&mut self) -> Result<Vec<Answer>> {
        self.send_sync().await?;
        self.answers().await
    }

    /// Ends a pipeline and does not wait.
    pub async fn send_sync(&mut self) -> Result<()> {
        frontend::sync(&mut self.outgoing);
        self.awaited += 1;
        self.flush().await
    }

    /// Answers up to ReadyForQuery. The first error wins and is returned after it.
    pub async fn answers(&mut self) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        let mut current = Answer::default();
        let mut failed = None;
        loop {
            let frame = self.event().await?;
            match frame.tag {
                b'D' => current.rows.push(cells(&frame.body)?),
                b'C' => {
                    current.tag = tag_text(&frame.body);
                    answers.push(std::mem::take(&mut current));
                }
                b'I' => answers.push(std::mem::take(&mut current)),
                b'E' if failed.is_none() => {
                    let mut error = ServerError::parse(&frame.body);
                    error.statement = answers.len();
                    failed = Some(error);
                }
                b'Z' => break,
                b'G' => return Err(Fault::garbled("the server waits for COPY data nobody offered")),
                _ => {}
            }
        }
        match failed {
            Some(error) => Err(Fault::Server(Box::new(error))),
            None => Ok(answers),
        }
    }

    /// Waits until the server answers `tag`, skipping answers of the statements before it.
    async fn until(&mut self, tag: u8) -> Result<()> {
        loop {
            let frame = self.event().await?;
            match frame.tag {
                b'E' => return Err(self.failed(ServerError::parse(&frame.body)).await),
                b'Z' => return Err(Fault::garbled("the COPY did not start")),
                found if found == tag => return Ok(()),
                _ => {}
            }
        }
    }

    /// Reads on to ReadyForQuery after an error, so that the session can be used again.
    async fn failed(&mut self, error: ServerError) -> Fault {
        while self.awaited > 0 {
            if let Err(fault) = self.event().await {
                return fault;
            }
        }
        Fault::Server(Box::new(error))
    }

    /// Sends statements of which one is a COPY ... TO STDOUT, and waits until it starts.
    pub async fn copy_out(&mut self, sql: &str) -> Result<()> {
        self.send_query(sql).await?;
        self.until(b'H').await
    }

    /// What has come of the COPY's frames, at least one byte.
    pub async fn piece(&mut self) -> Result<Piece> {
        loop {
            let run = walk(&self.incoming, &mut self.frame_rest)?;
            if run.bytes > 0 {
                return Ok(Piece::Frames(self.take_run(&run)?, run.ended));
            }
            match run.stop {
                Stop::More => self.fill().await?,
                Stop::Other => {
                    let Some(frame) = self.step().await? else { continue };
                    match frame.tag {
                        b'c' => return Ok(Piece::Done),
                        b'E' => return Err(self.failed(ServerError::parse(&frame.body)).await),
                        tag => return Err(Fault::garbled(&format!("message {tag:#04x} in a COPY"))),
                    }
                }
            }
        }
    }

    /// Takes what was found out of the buffer, narrow rows many in one frame.
    fn take_run(&mut self, run: &Run) -> Result<Bytes> {
        let mut bytes = self.incoming.split_to(run.bytes);
        if run.is_narrow() {
            let joined = run.whole.start + join(&mut bytes[run.whole.clone()])?;
            bytes.copy_within(run.whole.end.., joined);
            bytes.truncate(joined + run.bytes - run.whole.end);
        }
        Ok(bytes.freeze())
    }

    /// The next row of a COPY in text form, without its line end; none after the last. PostgreSQL
    /// sends one row in each CopyData message (manual, 55.2.6).
    pub async fn row_frame(&mut self) -> Result<Option<Bytes>> {
        let frame = self.event().await?;
        match frame.tag {
            b'd' => Ok(Some(frame.body)),
            b'c' => Ok(None),
            b'E' => Err(self.failed(ServerError::parse(&frame.body)).await),
            tag => Err(Fault::garbled(&format!("message {tag:#04x} in a COPY"))),
        }
    }

    /// The body of a `d` frame that is here in full already, without waiting: rows are decoded
    /// in place, from the buffer.
    pub fn row_here(&mut self) -> Option<&[u8]> {
        let (tag, body) = (self.incoming.len() >= 5).then(|| header(&self.incoming).ok())??;
        (tag == b'd' && self.incoming.len() >= 5 + body).then(|| &self.incoming[5..5 + body])
    }

    /// Drops the frame that [`Self::row_here`] showed.
    pub fn skip_row(&mut self, body: usize) {
        self.incoming.advance(5 + body);
    }

    /// Sends a START_REPLICATION, and waits until both sides may send.
    pub async fn copy_both(&mut self, sql: &str) -> Result<()> {
        self.send_query(sql).await?;
        self.until(b'W').await
    }

    /// Tag and body of the next frame if it is here in full already, without waiting. It stays
    /// until [`Self::skip_row`].
    pub fn frame_here(&self) -> Result<Option<(u8, &[u8])>> {
        if self.incoming.len() < 5 {
            return Ok(None);
        }
        let (tag, body) = header(&self.incoming)?;
        if body > FRAME_BYTES_MAX {
            return Err(Fault::garbled("the server announced a message that is too long"));
        }
        Ok(self.incoming.get(5..5 + body).map(|bytes| (tag, bytes)))
    }

    /// Sends of the outgoing buffer what the connection takes, and waits for bytes to come. May
    /// be dropped at any point: nothing is lost or sent twice.
    pub async fn exchange(&mut self) -> Result<()> {
        self.make_room()?;
        poll_fn(|context| self.poll_exchange(context)).await
    }

    /// As [`Self::exchange`], without waiting; false when nothing has come.
    pub async fn exchange_now(&mut self) -> Result<bool> {
        self.make_room()?;
        poll_fn(|context| match self.poll_exchange(context) {
            Poll::Ready(result) => Poll::Ready(result.map(|()| true)),
            Poll::Pending => Poll::Ready(Ok(false)),
        })
        .await
    }

    /// Sends all of the outgoing buffer. May be dropped at any point, as [`Self::exchange`].
    pub async fn send_out(&mut self) -> Result<()> {
        poll_fn(|context| self.poll_send(context)).await
    }

    /// Sends of the outgoing buffer what the connection takes, without waiting.
    pub async fn send_now(&mut self) -> Result<()> {
        poll_fn(|context| match self.poll_send(context) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Room for the rest of the next frame, in the same memory wherever that is possible.
    fn make_room(&mut self) -> Result<()> {
        let whole = match self.incoming.len() {
            0..5 => 5,
            _ => 5 + header(&self.incoming)?.1,
        };
        let missing = whole.saturating_sub(self.incoming.len());
        if self.incoming.capacity() - self.incoming.len() < missing.max(16 << 10) {
            self.incoming.reserve(missing.max(READ_BYTES));
        }
        Ok(())
    }

    fn poll_exchange(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let sent = self.poll_send(context);
        let read = pin!(self.pipe.read_buf(&mut self.incoming));
        match (read.poll(context), sent) {
            // What the server still had to say tells more than that it does not listen.
            (Poll::Ready(Ok(1..)), _) => Poll::Ready(Ok(())),
            (_, Poll::Ready(Err(fault))) => Poll::Ready(Err(fault)),
            (Poll::Ready(Ok(_)), _) => Poll::Ready(Err(Fault::Io(std::io::ErrorKind::UnexpectedEof.into()))),
            (Poll::Ready(Err(error)), _) => Poll::Ready(Err(error.into())),
            (Poll::Pending, _) => Poll::Pending,
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.outgoing.is_empty() {
            let write = pin!(self.pipe.write_buf(&mut self.outgoing));
            match write.poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
            }
        }
        Pin::new(&mut *self.pipe).poll_flush(context).map_err(Fault::Io)
    }

    /// Sends statements of which the last is a COPY ... FROM STDIN, and waits until the server
    /// is ready to take rows.
    pub async fn copy_in(&mut self, sql: &str) -> Result<()> {
        self.send_query(sql).await?;
        self.until(b'G').await
    }

    /// Writes bytes that are `d` frames, listening meanwhile: a server that talks must be heard,
    /// or both would wait for ever, and its refusal ends the sending at once. After an error here
    /// the session is of no use.
    pub async fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            sent += self.put_some(&bytes[sent..]).await?;
            self.refusal()?;
        }
        Ok(())
    }

    async fn put_some(&mut self, bytes: &[u8]) -> Result<usize> {
        let Self { pipe, incoming, watch, pid, .. } = self;
        let put = poll_fn(|context| {
            let mut space = [0_u8; 4096];
            let mut space = ReadBuf::new(&mut space);
            match Pin::new(&mut **pipe).poll_read(context, &mut space) {
                Poll::Pending => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Fault::Io(error))),
                Poll::Ready(Ok(())) if space.filled().is_empty() => {
                    return Poll::Ready(Err(Fault::Io(std::io::ErrorKind::UnexpectedEof.into())));
                }
                Poll::Ready(Ok(())) => {
                    incoming.extend_from_slice(space.filled());
                    return Poll::Ready(Ok(0));
                }
            }
            Pin::new(&mut **pipe).poll_write(context, bytes).map(|written| match written {
                Ok(0) => Err(Fault::Io(std::io::ErrorKind::WriteZero.into())),
                Ok(written) => Ok(written),
                Err(error) => Err(Fault::Io(error)),
            })
        });
        match watch {
            Some(watch) => watch.over(*pid, put).await?,
            None => put.await,
        }
    }

    /// An error that has arrived while we were sending.
    fn refusal(&mut self) -> Result<()> {
        while self.incoming.len() >= 5 {
            let (tag, body) = header(&self.incoming)?;
            if self.incoming.len() < 5 + body {
                return Ok(());
            }
            match tag {
                b'E' => {
                    return Err(Fault::Server(Box::new(ServerError::parse(&self.incoming[5..5 + body]))));
                }
                b'N' | b'A' | b'S' => self.incoming.advance(5 + body),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Ends a COPY FROM STDIN and returns the rows that the server took.
    pub async fn copy_end(&mut self) -> Result<u64> {
        frontend::copy_done(&mut self.outgoing);
        self.flush().await?;
        let answers = self.answers().await?;
        let count = answers.last().and_then(Answer::count);
        count.ok_or_else(|| Fault::garbled("the COPY ended without a count"))
    }

    /// Says good-bye. Not needed; it spares a line in the server's log.
    pub async fn terminate(mut self) {
        frontend::terminate(&mut self.outgoing);
        // The session ends either way: nothing hangs on this message.
        let _ = self.flush().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend(u32::try_from(body.len() + 4).expect("small").to_be_bytes());
        bytes.extend(body);
        bytes
    }

    async fn talk(script: Vec<u8>) -> (Wire, tokio::io::DuplexStream) {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(&script).await.expect("fits");
        (Wire::new(Box::new(near)), far)
    }

    #[tokio::test]
    async fn f_28_a_stream_that_ends_without_its_end_is_an_error() {
        let script = [frame(b'H', &[0, 0, 0]), frame(b'd', b"row\n")].concat();
        let (mut wire, far) = talk(script).await;
        wire.copy_out("COPY t TO STDOUT").await.expect("starts");
        assert!(matches!(wire.piece().await.expect("rows"), Piece::Frames(bytes, 1) if bytes.len() == 9));
        drop(far);
        assert!(matches!(wire.piece().await, Err(Fault::Io(_))));
    }

    #[tokio::test]
    async fn notices_inside_a_copy_are_not_passed_on() {
        let script = [
            frame(b'H', &[0, 0, 0]),
            frame(b'd', b"one\n"),
            frame(b'N', b"SNOTICE\0\0"),
            frame(b'd', b"two\n"),
            frame(b'c', b""),
            frame(b'C', b"COPY 2\0"),
            frame(b'Z', b"T"),
        ]
        .concat();
        let (mut wire, _far) = talk(script).await;
        wire.copy_out("COPY t TO STDOUT").await.expect("starts");
        let mut data = Vec::new();
        while let Piece::Frames(bytes, _) = wire.piece().await.expect("pieces") {
            data.extend_from_slice(&bytes);
        }
        assert_eq!(data, [frame(b'd', b"one\n"), frame(b'd', b"two\n")].concat());
        assert_eq!(wire.answers().await.expect("end")[0].count(), Some(2));
        assert!(wire.is_ready());
    }

    #[tokio::test]
    async fn an_error_in_a_copy_leaves_the_session_usable() {
        let script =
            [frame(b'H', &[0, 0, 0]), frame(b'E', b"C53100\0Mdisk full\0\0"), frame(b'Z', b"E")].concat();
        let (mut wire, _far) = talk(script).await;
        wire.copy_out("COPY t TO STDOUT").await.expect("starts");
        match wire.piece().await {
            Err(Fault::Server(error)) => assert_eq!(error.code, "53100"),
            other => panic!("{other:?}"),
        }
        assert!(wire.is_ready());
    }
}
