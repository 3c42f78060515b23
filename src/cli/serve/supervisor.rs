//! Tells systemd that a service is ready (`Type=notify`): one datagram to the socket it names in
//! the environment. Where there is no such socket, nothing is told.

use super::board::Board;
use crate::runtime::Stop;

/// Tells of the first time that the stream is followed, of each time it fails or goes on, and that
/// the service is stopping. Never returns.
pub async fn keep_informed(board: &Board, stop: &Stop) -> std::convert::Infallible {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return std::future::pending().await };
    let mut ready = board.ready();
    loop {
        tokio::select! {
            () = stop.wait() => break,
            changed = ready.changed() => if changed.is_err() { break },
        }
        let followed = *ready.borrow_and_update();
        let word = if followed { "READY=1\nSTATUS=following" } else { "STATUS=not following, trying again" };
        tell(&socket, word);
    }
    tell(&socket, "STOPPING=1\nSTATUS=stopping");
    std::future::pending().await
}

/// A supervisor that does not listen is its own trouble.
#[cfg(unix)]
fn tell(socket: &std::ffi::OsStr, word: &str) {
    use std::os::unix::net::UnixDatagram;
    let Ok(from) = UnixDatagram::unbound() else { return };
    // The datagram is dropped rather than waited for.
    let _ = from.set_nonblocking(true);
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.to_str().and_then(|socket| socket.strip_prefix('@')) {
        use std::os::linux::net::SocketAddrExt;
        if let Ok(address) = std::os::unix::net::SocketAddr::from_abstract_name(name) {
            let _ = from.send_to_addr(word.as_bytes(), &address);
        }
        return;
    }
    let _ = from.send_to(word.as_bytes(), socket);
}

#[cfg(not(unix))]
fn tell(_: &std::ffi::OsStr, _: &str) {}
