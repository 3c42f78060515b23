//! The HTTP server of `--serve`. On a loopback address anybody on this machine may ask; any other
//! address needs a token. Where there is none, the Host must be an address or `localhost`, so that
//! no web page can ask in a visitor's name.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::{Board, metrics};
use crate::cli::failure::Failure;

/// The variable that holds the token, which so appears in no list of processes.
pub const TOKEN: &str = "TOWPATH_SERVE_TOKEN";
/// Fewer letters could be guessed.
const TOKEN_MIN: usize = 16;
/// Connections at once.
const CONNECTIONS_MAX: usize = 64;
/// Seconds to send a request's head.
const HEAD_SECONDS: u64 = 10;
/// Somebody who looked so lately looks again soon: the page does every second.
const LOOKS: Duration = Duration::from_secs(3);
/// How long the end of a command waits for him at most.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// How long an answer may take to leave.
const LEAVE: Duration = Duration::from_millis(100);

const PAGE: &str = include_str!("page.html");
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
     connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A socket that listens, and who may ask.
pub struct Server {
    listener: TcpListener,
    guard: Arc<Guard>,
}

/// What a request is answered by.
struct Guard {
    /// Hash of the token; none where no token is needed.
    token: Option<[u8; 32]>,
    /// When somebody last asked for the state.
    looked: Mutex<Option<Instant>>,
    look: Notify,
}

impl Server {
    /// Listens. `token`: what [`TOKEN`] holds.
    pub async fn bind(address: SocketAddr, token: Option<&str>) -> Result<Self, Failure> {
        let token = token.filter(|token| !token.is_empty());
        if token.is_some_and(|token| token.len() < TOKEN_MIN) {
            let what = format!("the token in {TOKEN} has fewer than {TOKEN_MIN} characters");
            return Err(Failure::usage(what).help("make one with: openssl rand -hex 24"));
        }
        if token.is_none() && !address.ip().is_loopback() {
            let what = format!("--serve {address} can be reached from other machines and needs a token");
            return Err(Failure::usage(what)
                .help(format!("set {TOKEN} to a long random text, or serve on 127.0.0.1")));
        }
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::usage(format!("cannot serve on {address}: {error}"))
                .help("choose another port; 0 takes any")
        })?;
        let token = token.map(|token| Sha256::digest(token).into());
        let guard = Arc::new(Guard { token, looked: Mutex::default(), look: Notify::new() });
        Ok(Self { listener, guard })
    }

    /// Where the page is.
    pub fn url(&self) -> String {
        match self.listener.local_addr() {
            Ok(address) => format!("http://{address}/"),
            Err(_) => "an unknown address".into(),
        }
    }

    /// Answers for as long as it is polled. Dropped, it lets its connections go.
    pub async fn run(&self, board: Arc<Board>) -> std::convert::Infallible {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = places.clone().acquire_owned().await else { std::future::pending().await };
            let Ok((stream, _)) = self.listener.accept().await else {
                // Too many files are open, most likely: others must close first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (board, guard) = (board.clone(), self.guard.clone());
            connections.spawn(async move {
                let answer = service_fn(|request| {
                    let response = respond(&request, &board, &guard);
                    async move { Ok::<_, std::convert::Infallible>(response) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(HEAD_SECONDS))
                    .serve_connection(TokioIo::new(stream), answer);
                // Whoever asks may go away at any time.
                let _ = connection.await;
                drop(place);
            });
        }
    }

    /// Waits, not for long, until whoever looks all the time has looked once more.
    pub async fn last_look(&self) {
        let again = self.guard.look.notified();
        let looked = *self.guard.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|at| at.elapsed() < LOOKS)
            && tokio::time::timeout(LAST_LOOK, again).await.is_ok()
        {
            tokio::time::sleep(LEAVE).await;
        }
    }
}

impl Guard {
    fn note_look(&self) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.look.notify_waiters();
    }
}

fn respond(request: &Request<Incoming>, board: &Board, guard: &Guard) -> Response<Full<Bytes>> {
    let headers = request.headers();
    // With a token a web page cannot ask: it does not know it.
    if guard.token.is_none() && !is_direct(headers.get(HOST)) {
        return plain(StatusCode::MISDIRECTED_REQUEST, "ask by address or localhost\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match request.uri().path() {
        // The page holds nothing but itself: it asks for the token where one is needed.
        "/" => return answer(StatusCode::OK, "text/html; charset=utf-8", PAGE.into()),
        // Supervisors know no token; what they get is yes or no.
        "/live" => return plain(StatusCode::OK, "live\n"),
        "/ready" if board.is_ready() => return plain(StatusCode::OK, "ready\n"),
        "/ready" => return plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        _ => {}
    }
    if let Some(token) = &guard.token
        && !is_known(headers.get(AUTHORIZATION), token)
    {
        return plain(StatusCode::UNAUTHORIZED, "a token is needed: Authorization: Bearer TOKEN\n");
    }
    match request.uri().path() {
        "/status.json" => status(board, guard),
        "/metrics" => {
            answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics::render(&board.look()))
        }
        _ => plain(StatusCode::NOT_FOUND, "there are /, /status.json, /metrics, /ready and /live\n"),
    }
}

fn status(board: &Board, guard: &Guard) -> Response<Full<Bytes>> {
    // In this order: who is told of a look is sure that it saw all before.
    guard.note_look();
    match serde_json::to_string(&board.look()) {
        Ok(json) => answer(StatusCode::OK, "application/json", json),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

/// A name could be made to point here by somebody else; an address or `localhost` cannot.
fn is_direct(host: Option<&HeaderValue>) -> bool {
    let Some(host) = host.and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok()
}

/// Compared by hash, so that the time it takes tells nothing of the token.
fn is_known(header: Option<&HeaderValue>, token: &[u8; 32]) -> bool {
    let given = header.and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
    given.is_some_and(|given| Sha256::digest(given).as_slice() == token)
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", text.into())
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_asked() {
        let direct = |host: &str| is_direct(Some(&HeaderValue::from_str(host).expect("a header")));
        assert!(direct("127.0.0.1:9000") && direct("localhost") && direct("[::1]:80") && direct("10.0.0.1"));
        assert!(!direct("example.org") && !direct("127.0.0.1.example.org:80") && !direct(""));
        assert!(!is_direct(None));
    }

    #[tokio::test]
    async fn an_open_address_needs_a_token_and_a_long_one() {
        let open: SocketAddr = "0.0.0.0:0".parse().expect("an address");
        assert!(Server::bind(open, None).await.is_err());
        assert!(Server::bind(open, Some("short")).await.is_err());
        assert!(Server::bind(open, Some("a-token-of-many-letters")).await.is_ok());
        let near: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let server = Server::bind(near, None).await.expect("loopback is free");
        assert!(server.url().starts_with("http://127.0.0.1:"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_only_for_who_looks_and_not_for_long() {
        let near: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let server = Server::bind(near, None).await.expect("loopback is free");
        let took = |from: tokio::time::Instant| from.elapsed();
        let began = tokio::time::Instant::now();
        server.last_look().await;
        assert_eq!(took(began), Duration::ZERO);
        server.guard.note_look();
        server.last_look().await;
        assert_eq!(took(began), LAST_LOOK);
        let began = tokio::time::Instant::now();
        let look = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.guard.note_look();
        };
        tokio::join!(server.last_look(), look);
        assert_eq!(took(began), Duration::from_millis(300) + LEAVE);
    }

    #[test]
    fn g_17_tokens_are_compared_whole() {
        let token: [u8; 32] = Sha256::digest("a-token-of-many-letters").into();
        let header = |text: &str| HeaderValue::from_str(text).expect("a header");
        assert!(is_known(Some(&header("Bearer a-token-of-many-letters")), &token));
        assert!(!is_known(Some(&header("Bearer a-token-of-many-letter")), &token));
        assert!(!is_known(Some(&header("a-token-of-many-letters")), &token));
        assert!(!is_known(None, &token));
    }
}
