//! From a URL to sessions: where to dial, what to prove, and the settings that every session
//! gets in its start-up packet so that no role, database or server default can change what rows
//! look like. Makes both kinds of session: our own wire client's and sqlx's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Row};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use super::builds::Means;
use super::error::{self, escape};
use super::login::{Login, login};
use super::tls::{Mode, Tls};
use super::watch::{Keepalive, Watch};
use super::wire::{Answer, Wire};
use crate::engine::{Cause, EngineError, Limits, Url, UrlError};

/// The oldest server that has all we rely on (TID range scans, `pg_snapshot`, `idle_session_timeout`).
const VERSION_MIN: u32 = 14;
const DOING: &str = "connect to";
/// The message that asks for TLS, and its length.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Reader,
    Writer,
    /// Makes and drops what a capture needs at a source.
    Owner,
    /// Speaks the replication protocol, beside plain SQL.
    Replication,
}

/// libpq's `channel_binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binding {
    Disable,
    Prefer,
    Require,
}

impl Binding {
    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("disable") => Self::Disable,
            Some("require") => Self::Require,
            _ => Self::Prefer,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Tcp(String),
    Socket(PathBuf),
}

/// A checked URL. Its `Debug` is not derived: it holds the password.
#[derive(Clone)]
pub struct Address {
    host: Host,
    port: u16,
    user: String,
    password: Option<String>,
    database: String,
    tls: Tls,
    binding: Binding,
    application: String,
    /// Until a connection attempt fails.
    pub seconds: u64,
    lock_seconds: u64,
    pub keepalive: Keepalive,
    /// The URL without its secret.
    pub shown: String,
}

impl Address {
    /// Takes over what `Url` has checked, and checks the files that it names (contract, U-10).
    /// A password that the URL leaves out may come from `PGPASSWORD`, as the URL's own errors
    /// advise; nothing else is taken from the environment.
    pub fn from_url(url: &Url, limits: &Limits) -> Result<Self, UrlError> {
        let host = match url.host.as_deref().unwrap_or("") {
            socket if socket.starts_with('/') => Host::Socket(socket.into()),
            name => Host::Tcp(name.to_string()),
        };
        let tls = parse_tls(url, &host)?;
        let seconds = url.option("connect_timeout").and_then(|text| text.parse().ok());
        let password = url.password().map(str::to_string).or_else(|| std::env::var("PGPASSWORD").ok());
        Ok(Self {
            host,
            port: url.port.unwrap_or(5432),
            user: url.user.clone().unwrap_or_default(),
            password,
            database: url.path.clone(),
            tls,
            binding: Binding::parse(url.option("channel_binding")),
            application: url.option("application_name").unwrap_or("towpath").to_string(),
            seconds: seconds.unwrap_or(limits.connect_seconds),
            lock_seconds: limits.lock_seconds,
            keepalive: keepalive(url),
            shown: url.to_string(),
        })
    }
}

/// libpq's options; `Url` has checked that they are numbers.
fn keepalive(url: &Url) -> Keepalive {
    let usual = Keepalive::default();
    let number = |name| url.option(name).and_then(|text| text.parse::<u32>().ok());
    let seconds = |name, usual| number(name).map_or(usual, |given| Duration::from_secs(given.into()));
    Keepalive {
        idle: seconds("keepalives_idle", usual.idle),
        interval: seconds("keepalives_interval", usual.interval),
        count: number("keepalives_count").unwrap_or(usual.count),
        user_timeout: number("tcp_user_timeout")
            .map_or(usual.user_timeout, |given| Duration::from_millis(given.into())),
    }
}

fn parse_tls(url: &Url, host: &Host) -> Result<Tls, UrlError> {
    let mode = match url.option("sslmode") {
        // A socket is private as it is.
        None if matches!(host, Host::Socket(_)) => Mode::Disable,
        None => Mode::VerifyFull,
        Some(text) => Mode::parse(text)
            .ok_or_else(|| UrlError::new("E306", format!("unknown sslmode {}", escape(text))))?,
    };
    let path = |name| url.option(name).map(PathBuf::from);
    let tls = Tls { mode, root: path("sslrootcert"), cert: path("sslcert"), key: path("sslkey") };
    tls.check().map(|()| tls)
}

/// Settings of every session (contract, R8). They beat the defaults of role and database.
fn settings(address: &Address, role: Role) -> Vec<(String, String)> {
    let mut list = vec![
        ("application_name", address.application.clone()),
        ("client_encoding", "UTF8".into()),
        ("TimeZone", "UTC".into()),
        ("DateStyle", "ISO, YMD".into()),
        ("IntervalStyle", "postgres".into()),
        ("extra_float_digits", "3".into()),
        ("bytea_output", "hex".into()),
        ("xmloption", "content".into()),
        ("lc_monetary", "C".into()),
        ("search_path", String::new()),
        ("row_security", "off".into()),
        ("standard_conforming_strings", "on".into()),
        ("array_nulls", "on".into()),
        ("quote_all_identifiers", "off".into()),
        ("client_min_messages", "warning".into()),
        ("default_transaction_isolation", "read committed".into()),
        ("statement_timeout", "0".into()),
        ("idle_in_transaction_session_timeout", "0".into()),
        ("idle_session_timeout", "0".into()),
        // A dead client must be noticed by the server, or its lock would live for hours.
        ("tcp_keepalives_idle", "30".into()),
        ("tcp_keepalives_interval", "10".into()),
        ("tcp_keepalives_count", "6".into()),
        ("jit", "off".into()),
    ];
    match role {
        Role::Reader => list.push(("default_transaction_read_only", "on".into())),
        // The lock's last commit is synchronous and flushes all before it.
        Role::Writer => list.push(("synchronous_commit", "off".into())),
        Role::Owner => list.push(("synchronous_commit", "on".into())),
        // A word every ten seconds is well within this, whatever the server is set to.
        Role::Replication => {
            list.extend([("replication", "database".into()), ("wal_sender_timeout", "90s".into())]);
        }
    }
    // A slot that is made waits for old transactions; for how long is the caller's to say.
    let lock_seconds = if role == Role::Replication { 0 } else { address.lock_seconds };
    list.push(("lock_timeout", format!("{lock_seconds}s")));
    list.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

/// An address that was tried, and the server found there.
pub struct Link {
    address: Address,
    /// TLS is in use: decided once, so that later sessions cannot be talked out of it.
    encrypted: bool,
    pub server: Server,
    pub watch: Arc<Watch>,
}

/// What the first session found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// `150020`.
    pub version: u32,
    /// The cluster's system identifier, or `unknown` where this role may not ask.
    pub system: String,
    pub database_oid: String,
    /// When the server process started, in microseconds: its memory's birthday.
    pub started: String,
    /// What it has for index builds.
    pub means: Means,
}

impl Link {
    /// How long a lock on a table may be waited for.
    pub fn lock_wait(&self) -> Duration {
        Duration::from_secs(self.address.lock_seconds)
    }

    /// Connects once, to see that everything fits (E310 to E315).
    pub async fn open(address: Address) -> Result<Self, EngineError> {
        let (mut wire, encrypted) = dial_any(&address, Role::Reader).await?;
        check_settings(&wire, &address)?;
        let server = greet(&mut wire).await.map_err(|error| error.on(&address.shown))?;
        wire.terminate().await;
        let watch = Arc::new(Watch::new(address.clone(), encrypted));
        Ok(Self { address, encrypted, server, watch })
    }

    /// The URL without its secret.
    pub fn shown(&self) -> &str {
        &self.address.shown
    }

    /// A session of our own client, on the same database as the first one.
    pub async fn wire(&self, role: Role) -> Result<Wire, EngineError> {
        let mut wire = dial(&self.address, role, self.encrypted).await?;
        check_settings(&wire, &self.address)?;
        wire.watched_by(self.watch.clone());
        self.check_identity(&mut wire).await.map_err(|error| error.on(self.shown()))?;
        if let (Role::Writer, Some(memory)) = (role, self.server.means.session_memory()) {
            let sql = format!("SET maintenance_work_mem = {memory}");
            wire.query(&sql).await.map_err(|fault| fault.doing(DOING))?;
        }
        Ok(wire)
    }

    /// A reconnect may land on another server: after a failover, or by a changed DNS entry.
    async fn check_identity(&self, wire: &mut Wire) -> Result<(), EngineError> {
        if self.server.system == "unknown" {
            return Ok(());
        }
        let answers = wire.query(IDENTITY).await.map_err(|fault| fault.doing(DOING))?;
        let found = answers.first().and_then(|answer| Some((answer.cell(0)?, answer.cell(1)?)));
        match found == Some((&self.server.system, &self.server.database_oid)) {
            true => Ok(()),
            false => {
                Err(EngineError::new(Cause::NotFound, DOING, "another server answers at this address now")
                    .hint("a failover or a changed DNS entry? plan again against the server that is right"))
            }
        }
    }

    /// A session of sqlx, for catalog queries and locks, and its process at the server.
    pub async fn sqlx(&self, role: Role) -> Result<(PgConnection, i32), EngineError> {
        let deadline = Duration::from_secs(self.address.seconds);
        let connect = async {
            let mut connection = self.options(role).connect().await?;
            let own = sqlx::query("SELECT pg_catalog.pg_backend_pid()").fetch_one(&mut connection).await?;
            let pid: i32 = own.try_get(0)?;
            Ok((connection, pid))
        };
        match tokio::time::timeout(deadline, connect).await {
            Ok(result) => result.map_err(|error| error::from_sqlx(DOING, error).on(self.shown())),
            Err(_) => Err(silent(&self.address)),
        }
    }

    fn options(&self, role: Role) -> PgConnectOptions {
        let address = &self.address;
        let mode = match (self.encrypted, address.tls.mode) {
            (false, _) => PgSslMode::Disable,
            (true, Mode::VerifyFull) => PgSslMode::VerifyFull,
            (true, Mode::VerifyCa) => PgSslMode::VerifyCa,
            (true, Mode::Require) if address.tls.root.is_some() => PgSslMode::VerifyCa,
            (true, _) => PgSslMode::Require,
        };
        // Time zone, date style, encoding and float digits are in sqlx's own start-up packet.
        let own = ["application_name", "client_encoding", "TimeZone", "DateStyle", "extra_float_digits"];
        let settings = settings(address, role).into_iter().filter(|(name, _)| !own.contains(&name.as_str()));
        let mut options = PgConnectOptions::new_without_pgpass()
            .port(address.port)
            .username(&address.user)
            .database(&address.database)
            .application_name(&address.application)
            .extra_float_digits(3)
            .ssl_mode(mode)
            .statement_cache_capacity(0)
            .options(settings);
        options = match &address.host {
            Host::Tcp(host) => options.host(host),
            Host::Socket(path) => options.socket(path),
        };
        // An empty password stands for none: else sqlx would take one from the environment.
        options = options.password(address.password.as_deref().unwrap_or(""));
        if let Some(root) = &address.tls.root {
            options = options.ssl_root_cert(root);
        }
        if let (Some(cert), Some(key)) = (&address.tls.cert, &address.tls.key) {
            options = options.ssl_client_cert(cert).ssl_client_key(key);
        }
        options.disable_statement_logging()
    }
}

/// Dials with the mode's own rule for falling back.
async fn dial_any(address: &Address, role: Role) -> Result<(Wire, bool), EngineError> {
    match (&address.host, address.tls.mode) {
        (Host::Socket(_), _) | (_, Mode::Disable) => Ok((dial(address, role, false).await?, false)),
        (_, Mode::Allow) => match dial(address, role, false).await {
            Err(error) if error.code.as_deref() == Some("28000") => {
                Ok((dial(address, role, true).await?, true))
            }
            result => Ok((result?, false)),
        },
        (_, Mode::Prefer) => match dial(address, role, true).await {
            Err(error) if error.code.as_deref() == Some(NO_TLS) => {
                Ok((dial(address, role, false).await?, false))
            }
            result => Ok((result?, true)),
        },
        _ => Ok((dial(address, role, true).await?, true)),
    }
}

/// Our own code for a server that declines TLS.
const NO_TLS: &str = "no-tls";

pub(super) async fn dial(address: &Address, role: Role, encrypted: bool) -> Result<Wire, EngineError> {
    let deadline = Instant::now() + Duration::from_secs(address.seconds);
    let dialled = async {
        match &address.host {
            Host::Tcp(host) => {
                let stream = reach(host, address, deadline).await?;
                let start = start_tcp(stream, host, address, role, encrypted);
                timeout_at(deadline, start).await.map_err(|_| silent(address))?
            }
            Host::Socket(directory) => {
                let stream = reach_socket(directory, address).await?;
                let settings = settings(address, role);
                let who = login_of(address, &settings, true, None);
                timeout_at(deadline, login(Box::new(stream), &who)).await.map_err(|_| silent(address))?
            }
        }
    };
    dialled.await.map_err(|error: EngineError| error.on(&address.shown))
}

fn login_of<'a>(
    address: &'a Address,
    settings: &'a [(String, String)],
    private: bool,
    binding: Option<Vec<u8>>,
) -> Login<'a> {
    Login {
        user: &address.user,
        password: address.password.as_deref(),
        database: &address.database,
        settings,
        private,
        hash: binding.filter(|_| address.binding != Binding::Disable),
        must_bind: address.binding == Binding::Require,
    }
}

/// A TCP connection, by the first of the host's addresses that answers.
async fn reach(host: &str, address: &Address, deadline: Instant) -> Result<TcpStream, EngineError> {
    let found = timeout_at(deadline, tokio::net::lookup_host((host, address.port))).await;
    let unknown = || {
        EngineError::new(Cause::Connection, DOING, "the host name is not known to DNS")
            .contract("E310")
            .hint("check the spelling, and that this machine can resolve it")
    };
    let addresses: Vec<_> = found.map_err(|_| unknown())?.map_err(|_| unknown())?.collect();
    let mut failure = unknown();
    for (index, socket) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
        match tokio::time::timeout(share, TcpStream::connect(socket)).await {
            Ok(Ok(stream)) => return tuned(stream, &address.keepalive),
            Ok(Err(error)) => failure = unreachable(&error, address),
            Err(_) => {
                let message = format!("no answer within {} s", address.seconds);
                failure = EngineError::new(Cause::Connection, DOING, message)
                    .contract("E312")
                    .hint("a firewall, a wrong address, or a server that is down");
            }
        }
    }
    Err(failure)
}

fn unreachable(error: &std::io::Error, address: &Address) -> EngineError {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            EngineError::new(Cause::Connection, DOING, "connection refused").contract("E311").hint(format!(
                "nothing listens on port {}: is the server running, and is the port right?",
                address.port
            ))
        }
        _ => error::from_io(DOING, error).contract("E312"),
    }
}

async fn reach_socket(directory: &Path, address: &Address) -> Result<UnixStream, EngineError> {
    let path = directory.join(format!(".s.PGSQL.{}", address.port));
    UnixStream::connect(&path).await.map_err(|error| {
        let shown = crate::catalog::name::show(&path.display().to_string());
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                EngineError::new(Cause::Connection, DOING, format!("no server listens at {shown}"))
                    .contract("E311")
            }
            _ => error::from_io(DOING, &error).contract("E311"),
        }
    })
}

/// No delay for small messages, and a keepalive for a peer that vanished.
fn tuned(stream: TcpStream, keepalive: &Keepalive) -> Result<TcpStream, EngineError> {
    let tune = || -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = socket2::SockRef::from(&stream);
        let asking = socket2::TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.count);
        socket.set_tcp_keepalive(&asking)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(keepalive.user_timeout))?;
        Ok(())
    };
    match tune() {
        Ok(()) => Ok(stream),
        Err(error) => Err(error::from_io(DOING, &error)),
    }
}

async fn start_tcp(
    mut stream: TcpStream,
    host: &str,
    address: &Address,
    role: Role,
    encrypted: bool,
) -> Result<Wire, EngineError> {
    let settings = settings(address, role);
    if !encrypted {
        return login(Box::new(stream), &login_of(address, &settings, false, None)).await;
    }
    request_tls(&mut stream).await?;
    let (stream, binding) = address.tls.handshake(stream, host).await?;
    login(Box::new(stream), &login_of(address, &settings, true, binding)).await
}

/// Asks for TLS. Exactly one byte is read, so that nothing sent in the clear gets into the session.
async fn request_tls(stream: &mut TcpStream) -> Result<(), EngineError> {
    let io = |error: std::io::Error| error::from_io(DOING, &error);
    stream.write_all(&SSL_REQUEST).await.map_err(io)?;
    match stream.read_u8().await.map_err(io)? {
        b'S' => Ok(()),
        b'N' => Err(EngineError::new(Cause::Tls, DOING, "the server does not offer TLS").code(NO_TLS).hint(
            "switch ssl on at the server; or, where nobody can listen, add ?sslmode=disable to the URL",
        )),
        other => {
            let message =
                format!("not a PostgreSQL server: it answered byte {other:#04x} to a request for TLS");
            Err(EngineError::new(Cause::NotFound, DOING, message)
                .contract("E314")
                .hint("check host and port"))
        }
    }
}

fn silent(address: &Address) -> EngineError {
    let message = format!("connected, and then no answer within {} s", address.seconds);
    EngineError::new(Cause::Connection, DOING, message)
        .contract("E313")
        .on(&address.shown)
        .hint("is this a PostgreSQL server, and is it up?")
}

/// Settings that the server reports must be the ones we sent; a pooler may have dropped them.
fn check_settings(wire: &Wire, address: &Address) -> Result<(), EngineError> {
    let wanted = [("client_encoding", "UTF8"), ("TimeZone", "UTC"), ("standard_conforming_strings", "on")];
    match wanted.iter().find(|(name, value)| wire.parameter(name).is_some_and(|found| found != *value)) {
        None => Ok(()),
        Some((name, _)) => {
            let message = format!("the session's {name} is not the one that was asked for");
            Err(EngineError::new(Cause::NotFound, DOING, message).on(&address.shown).hint(POOLER))
        }
    }
}

const POOLER: &str = "this looks like a connection pooler; use the address of the server itself";

const IDENTITY: &str = "SELECT system_identifier, (SELECT oid FROM pg_catalog.pg_database \
     WHERE datname = pg_catalog.current_database()) FROM pg_catalog.pg_control_system()";

const GREETING: &str = "SELECT pg_catalog.version(), pg_catalog.current_setting('server_version_num'), \
     pg_catalog.pg_backend_pid(), \
     pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'execute'), \
     (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()), \
     (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint, \
     pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')) / 1024, \
     pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')) / 1024, \
     pg_catalog.current_setting('max_parallel_maintenance_workers')";

/// Looks at who answered: a PostgreSQL that is new enough, and without a pooler in between.
async fn greet(wire: &mut Wire) -> Result<Server, EngineError> {
    let reported = wire.parameter("server_version").unwrap_or("").to_string();
    check_product(&reported)?;
    if wire.parameter("crdb_version").is_some() {
        return Err(look_alike("CockroachDB"));
    }
    let answer = one(wire, GREETING).await?;
    let cell = |column| answer.cell(column).unwrap_or("");
    check_product(cell(0))?;
    let version: u32 = cell(1).parse().unwrap_or(0);
    if version / 10_000 < VERSION_MIN {
        let message = format!("PostgreSQL {} is too old", escape(&reported));
        return Err(EngineError::new(Cause::NotFound, DOING, message)
            .contract("E315")
            .hint(format!("version {VERSION_MIN} is the oldest that works")));
    }
    if cell(2) != wire.pid.to_string() {
        let message = "another process answers than the one that let us in";
        return Err(EngineError::new(Cause::NotFound, DOING, message).contract("C510").hint(POOLER));
    }
    let system = match cell(3) {
        "t" => one(wire, IDENTITY).await?.cell(0).unwrap_or("unknown").to_string(),
        _ => "unknown".to_string(),
    };
    let number = |column| cell(column).parse::<u64>().unwrap_or(0);
    Ok(Server {
        version,
        system,
        database_oid: cell(4).to_string(),
        started: cell(5).to_string(),
        means: Means { shared_buffers: number(6), memory: number(7), workers: number(8) },
    })
}

async fn one(wire: &mut Wire, sql: &str) -> Result<Answer, EngineError> {
    let answers = wire.query(sql).await.map_err(|fault| fault.doing(DOING))?;
    Ok(answers.into_iter().next().unwrap_or_default())
}

fn check_product(version: &str) -> Result<(), EngineError> {
    let products = [
        ("CockroachDB", "CockroachDB"),
        ("-YB-", "YugabyteDB"),
        ("Redshift", "Amazon Redshift"),
        ("Greenplum", "Greenplum"),
        ("Materialize", "Materialize"),
        ("CrateDB", "CrateDB"),
        ("QuestDB", "QuestDB"),
        ("RisingWave", "RisingWave"),
        ("H2", "H2"),
    ];
    match products.iter().find(|(mark, _)| version.contains(mark)) {
        Some((_, product)) => Err(look_alike(product)),
        None => Ok(()),
    }
}

fn look_alike(product: &str) -> EngineError {
    let message = format!("this is {product}, which speaks PostgreSQL's protocol and is another database");
    EngineError::new(Cause::NotFound, DOING, message).contract("E315")
}

#[cfg(test)]
impl Link {
    /// One that leads nowhere.
    pub fn nowhere() -> Self {
        let url = Url::parse("postgres://u@127.0.0.1:1/d?sslmode=disable").expect("a URL");
        let address = Address::from_url(&url, &Limits::default()).expect("an address");
        let watch = Arc::new(Watch::new(address.clone(), false));
        Self { address, encrypted: false, server: Server::default(), watch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u_13_look_alikes_are_named() {
        let error = check_product("PostgreSQL 11.2-YB-2.18.0.0-b0 on x86_64").expect_err("refused");
        assert!(error.to_string().contains("YugabyteDB"));
        assert_eq!(error.contract, Some("E315"));
        assert!(check_product("PostgreSQL 15.20 (Debian 15.20-1) on x86_64-pc-linux-gnu").is_ok());
    }
}
