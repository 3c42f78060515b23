//! A TCP proxy on loopback that breaks connections as told. It reads the headers of what a PostgreSQL
//! server says, so that it can lose one message of a kind; of what another server says it can lose
//! the answer to a request. Each fault strikes once and is counted: a test that broke nothing proved
//! nothing.
//!
//! ```text
//!   towpath ──ToServer──> proxy ──> server
//!           <─ToClient───       <──
//! ```

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
}

/// What goes wrong. Bytes count per connection.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection that first carries this many bytes that way is closed at that byte.
    Cut { way: Way, after: u64 },
    /// The server's next message of this kind whose body starts so never arrives, and the
    /// connection is closed.
    LoseMessage { kind: u8, body: &'static [u8] },
    /// The next request that begins with these bytes reaches the server, and the answer never arrives:
    /// the connection is closed instead.
    LoseAnswer { to: &'static [u8] },
    /// So many rows of a COPY never arrive, while everything after them does.
    SwallowRows { after: u64, count: u64 },
}

/// Connections up to such a number carry nothing any more, and are open all the same; those up to
/// the other have been closed since.
#[derive(Clone, Copy, Debug, Default)]
struct Silence {
    silent: u64,
    closed: u64,
}

/// A running proxy. Dropped, it closes everything.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    faults: Mutex<Vec<Fault>>,
    /// Connections made so far.
    connections: AtomicU64,
    silence: watch::Sender<Silence>,
    struck: AtomicU32,
    /// Bytes carried each way by all connections.
    carried: [AtomicU64; 2],
    /// Milliseconds that each piece waits.
    delay: AtomicU64,
    /// The server speaks another protocol: its messages are not looked at.
    foreign: bool,
}

impl Proxy {
    /// A proxy before the server on this loopback port.
    pub fn before(server: u16) -> Self {
        Self::open(server, false)
    }

    /// Before a server of another protocol, whose messages are not told apart.
    pub fn before_foreign(server: u16) -> Self {
        Self::open(server, true)
    }

    fn open(server: u16, foreign: bool) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            faults: Mutex::default(),
            connections: AtomicU64::new(0),
            silence: watch::Sender::default(),
            struck: AtomicU32::new(0),
            carried: Default::default(),
            delay: AtomicU64::new(0),
            foreign,
        });
        let each = shared.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, server, each.clone()));
            }
        });
        Self { port, shared, _runtime: runtime }
    }

    pub fn fault(&self, fault: Fault) {
        self.shared.faults.lock().unwrap().push(fault);
    }

    /// From now on nothing passes on the connections there are, and none of them ends: the other
    /// side has vanished without a word. New ones are not concerned. Returns how many there are.
    pub fn swallow(&self) -> u64 {
        let silent = self.shared.connections.load(Ordering::Relaxed);
        self.shared.silence.send_modify(|silence| silence.silent = silent);
        self.shared.struck.fetch_add(1, Ordering::Relaxed);
        silent
    }

    /// The silent connections end, at both sides.
    pub fn close_silent(&self) {
        self.shared.silence.send_modify(|silence| silence.closed = silence.silent);
    }

    pub fn delay(&self, delay: Duration) {
        self.shared.delay.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// How many faults have struck.
    pub fn struck(&self) -> u32 {
        self.shared.struck.load(Ordering::Relaxed)
    }

    /// Bytes carried that way so far.
    pub fn carried(&self, way: Way) -> u64 {
        self.shared.carried[way as usize].load(Ordering::Relaxed)
    }
}

async fn connection(client: TcpStream, server: u16, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let (closed, hears) = watch::channel(false);
    let both = Arc::new(Both { closed, lost: AtomicBool::new(false) });
    let up = Pump::new(number, Way::ToServer, client_in, server_out, &shared, &both);
    let down = Pump::new(number, Way::ToClient, server_in, client_out, &shared, &both);
    tokio::join!(up.run(hears.clone()), down.run(hears));
}

/// What the two directions of a connection tell each other.
struct Both {
    closed: watch::Sender<bool>,
    /// What the server says next is not to arrive.
    lost: AtomicBool,
}

/// One direction of one connection.
struct Pump {
    number: u64,
    way: Way,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    shared: Arc<Shared>,
    both: Arc<Both>,
    bytes: u64,
    rows: u64,
    /// Bytes of a message that is not whole yet.
    rest: Vec<u8>,
}

impl Pump {
    fn new(
        number: u64,
        way: Way,
        from: OwnedReadHalf,
        to: OwnedWriteHalf,
        shared: &Arc<Shared>,
        both: &Arc<Both>,
    ) -> Self {
        let (shared, both) = (shared.clone(), both.clone());
        Self { number, way, from, to, shared, both, bytes: 0, rows: 0, rest: Vec::new() }
    }

    async fn run(mut self, mut hears: watch::Receiver<bool>) {
        tokio::select! {
            () = self.carry() => {}
            _ = hears.wait_for(|closed| *closed) => {}
        }
        let _ = self.both.closed.send(true);
    }

    async fn carry(&mut self) {
        let mut piece = vec![0; 64 * 1024];
        let (mut hears, number) = (self.shared.silence.subscribe(), self.number);
        loop {
            let read = tokio::select! {
                biased;
                _ = hears.wait_for(|silence| silence.silent >= number) => None,
                read = self.from.read(&mut piece) => Some(read),
            };
            let length = match read {
                Some(Ok(length @ 1..)) => length,
                Some(_) => return,
                None => {
                    let _ = hears.wait_for(|silence| silence.closed >= number).await;
                    return;
                }
            };
            let delay = self.shared.delay.load(Ordering::Relaxed);
            if delay > 0 {
                tokio::time::sleep(Duration::from_millis(delay)).await;
            }
            let (send, close) = self.judge(&piece[..length]);
            self.shared.carried[self.way as usize].fetch_add(send.len() as u64, Ordering::Relaxed);
            if self.to.write_all(&send).await.is_err() || close {
                let _ = self.to.flush().await;
                return;
            }
        }
    }

    /// What of a piece goes on, and whether the connection ends after it.
    fn judge(&mut self, piece: &[u8]) -> (Vec<u8>, bool) {
        let (mut send, mut close) = match self.way {
            Way::ToServer => {
                let loses =
                    |fault: &Fault| matches!(fault, Fault::LoseAnswer { to } if piece.starts_with(to));
                if self.strike(loses).is_some() {
                    self.both.lost.store(true, Ordering::Relaxed);
                }
                (piece.to_vec(), false)
            }
            Way::ToClient if self.both.lost.load(Ordering::Relaxed) => return (Vec::new(), true),
            Way::ToClient if self.shared.foreign => (piece.to_vec(), false),
            Way::ToClient => self.messages(piece),
        };
        let from = self.bytes;
        self.bytes += send.len() as u64;
        let upto = self.bytes;
        let way = self.way;
        let reached = |fault: &Fault| match fault {
            Fault::Cut { way: at, after } => *at == way && upto >= *after,
            _ => false,
        };
        if let Some(Fault::Cut { after, .. }) = self.strike(reached) {
            send.truncate(after.saturating_sub(from) as usize);
            close = true;
        }
        (send, close)
    }

    /// Takes the first fault for which it is time.
    fn strike(&self, time: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut faults = self.shared.faults.lock().unwrap();
        let at = faults.iter().position(time)?;
        self.shared.struck.fetch_add(1, Ordering::Relaxed);
        Some(faults.remove(at))
    }

    /// Splits the server's bytes into messages and loses what is to be lost.
    fn messages(&mut self, piece: &[u8]) -> (Vec<u8>, bool) {
        self.rest.extend_from_slice(piece);
        let mut send = Vec::new();
        let mut at = 0;
        while let Some(length) = message(&self.rest[at..]) {
            let (kind, body) = (self.rest[at], &self.rest[at + 5..at + length]);
            if kind == b'd' {
                self.rows += 1;
            }
            let loses = |fault: &Fault| matches!(fault, Fault::LoseMessage { kind: k, body: b } if *k == kind && body.starts_with(b));
            if self.strike(loses).is_some() {
                return (send, true);
            }
            if kind != b'd' || !self.swallows() {
                send.extend_from_slice(&self.rest[at..at + length]);
            }
            at += length;
        }
        self.rest.drain(..at);
        (send, false)
    }

    fn swallows(&self) -> bool {
        let mut faults = self.shared.faults.lock().unwrap();
        let rows = self.rows;
        let due = |fault: &mut Fault| match fault {
            Fault::SwallowRows { after, count } if rows > *after && *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        };
        let swallowed = faults.iter_mut().any(due);
        if swallowed {
            self.shared.struck.fetch_add(1, Ordering::Relaxed);
        }
        swallowed
    }
}

/// Length of the whole message that `bytes` start with, header included.
fn message(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?) as usize + 1;
    (bytes.len() >= length).then_some(length)
}
