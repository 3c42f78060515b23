//! What a connection pooler in transaction mode does: each transaction of a client runs in
//! whichever of two server sessions has its turn. Relays the start-up and the password to the
//! first, and opens the second at the server's socket, where it trusts.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::postgres::Server;

/// A running pooler. Dropped, it closes everything.
pub struct Pooler {
    pub port: u16,
    switched: Arc<AtomicU32>,
    _runtime: tokio::runtime::Runtime,
}

/// Where the server is.
#[derive(Clone)]
struct Place {
    port: u16,
    socket: PathBuf,
}

impl Pooler {
    pub fn before(server: &Server) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = server.directory().join(format!(".s.PGSQL.{}", server.port));
        let place = Place { port: server.port, socket };
        let switched = Arc::new(AtomicU32::new(0));
        let counted = switched.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (place, counted) = (place.clone(), counted.clone());
                tokio::spawn(async move {
                    // A broken connection is the tool's to tell of.
                    let _ = serve(client, &place, &counted).await;
                });
            }
        });
        Self { port, switched, _runtime: runtime }
    }

    /// How often a transaction was given the other session.
    pub fn switched(&self) -> u32 {
        self.switched.load(Ordering::Relaxed)
    }
}

async fn serve(mut client: TcpStream, place: &Place, switched: &AtomicU32) -> std::io::Result<()> {
    let length = client.read_u32().await?;
    let mut start = length.to_be_bytes().to_vec();
    start.resize(length as usize, 0);
    client.read_exact(&mut start[4..]).await?;
    let mut first = TcpStream::connect(("127.0.0.1", place.port)).await?;
    first.write_all(&start).await?;
    until_ready(&mut first, &mut client).await?;
    let mut second = UnixStream::connect(&place.socket).await?;
    second.write_all(&start).await?;
    while message(&mut second).await?.0 != b'Z' {}
    loop {
        // The second has its turn first: the client has seen the first one's process number.
        switched.fetch_add(1, Ordering::Relaxed);
        transaction(&mut client, &mut second).await?;
        transaction(&mut client, &mut first).await?;
    }
}

/// Relays the authentication, whole messages each way, until the session is ready.
async fn until_ready(server: &mut TcpStream, client: &mut TcpStream) -> std::io::Result<()> {
    loop {
        let (kind, bytes) = message(server).await?;
        client.write_all(&bytes).await?;
        if kind == b'Z' {
            return Ok(());
        }
        // All but "you are in" and the last word of SCRAM want an answer.
        if kind == b'R' && !matches!(bytes.get(8), Some(0 | 12)) {
            server.write_all(&message(client).await?.1).await?;
        }
    }
}

/// One transaction of the client in this session.
async fn transaction<S>(client: &mut TcpStream, server: &mut S) -> std::io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        // Requests up to a query or a sync, then their answers up to the end.
        loop {
            let (kind, bytes) = message(client).await?;
            server.write_all(&bytes).await?;
            if matches!(kind, b'Q' | b'S') {
                break;
            }
        }
        loop {
            let (kind, bytes) = message(server).await?;
            client.write_all(&bytes).await?;
            if kind == b'Z' {
                if bytes[5] == b'I' {
                    return Ok(());
                }
                break;
            }
        }
    }
}

/// The next whole message, header included, and its kind.
async fn message<S: tokio::io::AsyncRead + Unpin>(from: &mut S) -> std::io::Result<(u8, Vec<u8>)> {
    let kind = from.read_u8().await?;
    let length = from.read_u32().await?;
    let mut bytes = vec![kind];
    bytes.extend(length.to_be_bytes());
    bytes.resize(1 + length as usize, 0);
    from.read_exact(&mut bytes[5..]).await?;
    Ok((kind, bytes))
}
