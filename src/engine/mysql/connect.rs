//! From a URL to sessions: where to dial, what to prove, who answered, and the settings that every
//! session gets first so that no user, server or global default can change what rows look like
//! (contract, R8). All sessions but a target's writers are read-only.

use std::net::IpAddr;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, IoError, OptsBuilder};

use super::error::{self, escape};
use super::quote;
use super::tls::{self, Mode, Tls};
use crate::engine::{Cause, EngineError, Limits, Url, UrlError};

pub(super) const DOING: &str = "connect to";
/// The oldest releases that have all that is relied on.
const MARIADB_MIN: Version = Version(10, 6, 0);
const MYSQL_MIN: Version = Version(8, 0, 0);
/// Largest row that the protocol carries.
const PACKET_BYTES_MAX: usize = 1 << 30;
/// Rows of one answer: all. `DEFAULT` would be what somebody has set for the whole server.
const ROWS_MAX: u64 = u64::MAX;
/// Seconds that a session may stand still: while the target works, nothing is read.
const IDLE_SECONDS: usize = 28_800;

/// Options of a URL that mean nothing to this protocol, or that the driver cannot keep to.
const NOT_TAKEN: [&str; 5] =
    ["channel_binding", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "application_name"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Tcp(String),
    Socket(String),
}

/// A checked URL. Its `Debug` is not derived: it holds the password.
#[derive(Clone)]
pub(super) struct Address {
    host: Host,
    port: u16,
    user: String,
    password: Option<String>,
    pub database: String,
    tls: Tls,
    seconds: u64,
    keepalive: Duration,
    pub lock_seconds: u64,
    /// The URL without its secret.
    pub shown: String,
}

/// The variable that a password may come from, as with the servers' own clients.
pub(super) const PASSWORD_VARIABLE: &str = "MYSQL_PWD";

impl Address {
    /// Takes over what `Url` has checked, and checks the files that it names.
    pub fn from_url(url: &Url, limits: &Limits) -> Result<Self, UrlError> {
        if let Some(option) = NOT_TAKEN.iter().find(|name| url.option(name).is_some()) {
            return Err(UrlError::new("E306", format!("option {option} is not taken in a {} URL", url.scheme()))
                .help("options here are sslmode, sslrootcert, sslcert, sslkey, connect_timeout, keepalives_idle and host"));
        }
        let host = match url.host.as_deref().unwrap_or("") {
            socket if socket.starts_with('/') => Host::Socket(socket.to_string()),
            name => Host::Tcp(name.to_string()),
        };
        let number = |name| url.option(name).and_then(|text| text.parse::<u64>().ok());
        let password = url.password().map(str::to_string).or_else(|| std::env::var(PASSWORD_VARIABLE).ok());
        Ok(Self {
            tls: Tls::from_url(url, matches!(host, Host::Socket(_)))?,
            host,
            port: url.port.unwrap_or(3306),
            user: url.user.clone().unwrap_or_default(),
            password,
            database: url.path.clone(),
            seconds: number("connect_timeout").unwrap_or(limits.connect_seconds),
            keepalive: Duration::from_secs(number("keepalives_idle").unwrap_or(30)),
            lock_seconds: limits.lock_seconds,
            shown: url.to_string(),
        })
    }
}

/// Which of the family answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavor {
    MariaDb,
    MySql,
}

impl Flavor {
    pub fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub u16, pub u16, pub u16);

impl std::fmt::Display for Version {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(|c: char| !c.is_ascii_digit());
        let mut next = || parts.next()?.parse().ok();
        Some(Self(next()?, next()?, next().unwrap_or(0)))
    }
}

/// What the first session found out.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub flavor: Flavor,
    pub version: Version,
    /// What tells this server from any other.
    pub identity: String,
    /// Names of tables are the same in any case (`lower_case_table_names`).
    pub folds: bool,
}

/// An address that was tried, and the server found there.
pub(super) struct Link {
    pub address: Address,
    /// TLS is in use: decided once, so that later sessions cannot be talked out of it.
    encrypted: bool,
    pub server: Server,
}

impl Link {
    /// Connects once, to see that everything fits (E310 to E315).
    pub async fn open(address: Address) -> Result<Self, EngineError> {
        let (mut conn, encrypted) = dial_any(&address).await?;
        let server = greet(&mut conn, &address).await.map_err(|error| error.on(&address.shown))?;
        close(conn).await;
        Ok(Self { address, encrypted, server })
    }

    /// The URL without its secret.
    pub fn shown(&self) -> &str {
        &self.address.shown
    }

    /// A session on the same server as the first one; read-only, with all settings pinned.
    pub async fn session(&self) -> Result<Conn, EngineError> {
        self.session_as(Role::Reader).await
    }

    /// As [`Self::session`], to write.
    pub async fn writer(&self) -> Result<Conn, EngineError> {
        self.session_as(Role::Writer).await
    }

    async fn session_as(&self, role: Role) -> Result<Conn, EngineError> {
        let mut conn = dial(&self.address, self.encrypted, role).await?;
        let found = identity(&mut conn).await.map_err(|error| error.on(self.shown()))?;
        if found.0 != self.server.identity {
            return Err(EngineError::new(
                Cause::NotFound,
                DOING,
                "another server answers at this address now",
            )
            .on(self.shown())
            .hint("a failover or a changed DNS entry? plan again against the server that is right"));
        }
        Ok(conn)
    }

    /// Ends what a session is doing, from another one.
    pub async fn kill_query(&self, id: u32) {
        if let Ok(mut other) = dial(&self.address, self.encrypted, Role::Reader).await {
            let _ = other.query_drop(format!("KILL QUERY {id}")).await;
            close(other).await;
        }
    }
}

/// Says goodbye; whether the server hears it does not matter.
pub(super) async fn close(conn: Conn) {
    let _ = conn.disconnect().await;
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Reader,
    Writer,
}

/// The modes of a writing session: what does not fit is an error, and a zero in a column that
/// counts up is a zero. A division by zero is null, for only a generated column divides here.
const STRICT: &str = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION";

/// Settings of every session, as statements. A text that one flavor alone knows stands in a comment
/// that the other skips.
fn settings(address: &Address, role: Role) -> Vec<String> {
    let (mode, access) = match role {
        Role::Reader => ("NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION", "READ ONLY"),
        Role::Writer => (STRICT, "READ WRITE"),
    };
    let mut settings = general(address, mode, access);
    if role == Role::Writer {
        settings.push(
            // How many errors are listed is a right to set on MySQL.
            "SET SESSION foreign_key_checks = 1, unique_checks = 1, autocommit = 1 \
             /*M!100802 , explicit_defaults_for_timestamp = 1 */ \
             /*M! , check_constraint_checks = 1, max_error_count = 64 */"
                .to_string(),
        );
    }
    settings
}

fn general(address: &Address, mode: &str, access: &str) -> Vec<String> {
    let lock = address.lock_seconds.max(1);
    vec![
        "SET NAMES utf8mb4".to_string(),
        format!(
            "SET SESSION sql_mode = '{mode}', time_zone = '+00:00', \
             sql_select_limit = {ROWS_MAX}, sql_auto_is_null = 0, sql_safe_updates = 0, sql_big_selects = 1, \
             sql_quote_show_create = 1, div_precision_increment = 4, lc_messages = 'en_US', \
             lc_time_names = 'en_US', net_write_timeout = {IDLE_SECONDS}, net_read_timeout = {IDLE_SECONDS}, \
             wait_timeout = {IDLE_SECONDS}, group_concat_max_len = 1048576, lock_wait_timeout = {lock}, \
             innodb_lock_wait_timeout = {lock} /*M! , max_statement_time = 0, \
             idle_transaction_timeout = 0, idle_readonly_transaction_timeout = 0 */ \
             /*!80000 , max_execution_time = 0, information_schema_stats_expiry = 0 */"
        ),
        format!("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, {access}"),
    ]
}

/// Dials with the mode's own rule for falling back.
async fn dial_any(address: &Address) -> Result<(Conn, bool), EngineError> {
    match (&address.host, address.tls.mode) {
        (Host::Socket(_), _) | (_, Mode::Disable) => Ok((dial(address, false, Role::Reader).await?, false)),
        (_, Mode::Prefer) => match dial(address, true, Role::Reader).await {
            Err(error) if error.code.as_deref() == Some(NO_TLS) => {
                Ok((dial(address, false, Role::Reader).await?, false))
            }
            result => Ok((result?, true)),
        },
        _ => Ok((dial(address, true, Role::Reader).await?, true)),
    }
}

/// Our own code for a server that declines TLS.
const NO_TLS: &str = "no-tls";

async fn dial(address: &Address, encrypted: bool, role: Role) -> Result<Conn, EngineError> {
    let options = options(address, encrypted, role).await.map_err(|error| error.on(&address.shown))?;
    let limit = Duration::from_secs(address.seconds);
    let made = match tokio::time::timeout(limit, Conn::new(options)).await {
        Ok(Ok(conn)) => return Ok(conn),
        Ok(Err(error)) => refused(error, address),
        Err(_) => {
            let message = format!("no answer within {} s", address.seconds);
            EngineError::new(Cause::Connection, DOING, message).contract("E312").hint(
                "a firewall, a wrong address, a server that is down, or one that is no MySQL or MariaDB server",
            )
        }
    };
    Err(made.on(&address.shown))
}

async fn options(address: &Address, encrypted: bool, role: Role) -> Result<OptsBuilder, EngineError> {
    let mut options = OptsBuilder::default()
        .user(Some(address.user.as_str()))
        .pass(address.password.as_deref())
        .db_name(Some(address.database.as_str()))
        .prefer_socket(false)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(address.keepalive))
        .max_allowed_packet(Some(PACKET_BYTES_MAX))
        .wait_timeout(Some(IDLE_SECONDS))
        .stmt_cache_size(0)
        // Of an update the rows that were found count, also those that were so already.
        .client_found_rows(role == Role::Writer)
        .setup(settings(address, role));
    match &address.host {
        Host::Socket(path) => options = options.socket(Some(path.as_str())),
        Host::Tcp(host) => {
            let found = resolve(host, address).await?;
            options = options.ip_or_hostname(host.as_str()).tcp_port(address.port).resolved_ips(Some(found));
        }
    }
    if encrypted {
        let tls = address.tls.options();
        options =
            options.ssl_opts(tls.map_err(|why| EngineError::new(Cause::Tls, DOING, why).contract("E308"))?);
    }
    Ok(options)
}

async fn resolve(host: &str, address: &Address) -> Result<Vec<IpAddr>, EngineError> {
    let limit = Duration::from_secs(address.seconds);
    let found = tokio::time::timeout(limit, tokio::net::lookup_host((host, address.port))).await;
    let unknown = || {
        EngineError::new(Cause::Connection, DOING, "the host name is not known to DNS")
            .contract("E310")
            .hint("check the spelling, and that this machine can resolve it")
    };
    let found: Vec<_> = found.map_err(|_| unknown())?.map_err(|_| unknown())?.map(|at| at.ip()).collect();
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

/// What kept a session from being made.
fn refused(error: Error, address: &Address) -> EngineError {
    use std::io::ErrorKind;
    let foreign = || {
        EngineError::new(
            Cause::NotFound,
            DOING,
            "not a MySQL or MariaDB server: it answers in another protocol",
        )
        .contract("E314")
        .hint("check host and port")
    };
    match &error {
        Error::Io(IoError::Io(io)) if error::tls_error(io).is_some() => error::from_driver(DOING, error),
        Error::Io(IoError::Io(io)) => match io.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
                let made = EngineError::new(Cause::Connection, DOING, "connection refused").contract("E311");
                match &address.host {
                    Host::Tcp(_) => made.hint(format!(
                        "nothing listens on port {}: is the server running, and is the port right?",
                        address.port
                    )),
                    Host::Socket(path) => {
                        made.hint(format!("no server listens at {}", crate::catalog::name::show(path)))
                    }
                }
            }
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Other => foreign(),
            _ => error::from_driver(DOING, error).contract("E312"),
        },
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            error::from_driver(DOING, error).code(NO_TLS)
        }
        Error::Driver(DriverError::PacketTooLarge | DriverError::PacketOutOfOrder) => foreign(),
        Error::Server(server) if server.code == 1193 || server.code == 1231 => {
            EngineError::new(Cause::NotFound, DOING, "the server does not know a setting that sessions need")
                .code(server.code.to_string())
                .contract("E315")
                .hint(format!("MariaDB {MARIADB_MIN} and MySQL {MYSQL_MIN} are the oldest that work"))
        }
        _ => error::from_driver(DOING, error),
    }
}

/// What tells this server from any other, and what else it says of itself.
async fn identity(conn: &mut Conn) -> Result<(String, Vec<(String, String)>), EngineError> {
    let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uid', 'server_uuid', 'hostname', 'port', \
               'datadir', 'version', 'version_comment', 'aurora_version', 'tidb_config', 'lower_case_table_names')";
    let facts: Vec<(String, String)> =
        conn.query(sql).await.map_err(|error| error::from_driver(DOING, error))?;
    let fact = |name: &str| facts.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    // A copy of a data directory has the same identifier: where it lives tells the two apart.
    let own = fact("server_uid").or(fact("server_uuid")).unwrap_or("unknown");
    let place = ["hostname", "port", "datadir"].map(|name| fact(name).unwrap_or(""));
    let identity = format!("{own} {}", place.join(" "));
    Ok((identity, facts))
}

/// Looks at who answered: a server of the family that is new enough, and no look-alike.
async fn greet(conn: &mut Conn, address: &Address) -> Result<Server, EngineError> {
    let fail = |error| error::from_driver(DOING, error);
    let version: Option<String> = conn.query_first("SELECT VERSION()").await.map_err(fail)?;
    let reported = version.unwrap_or_default();
    let (identity, facts) = identity(conn).await?;
    let fact = |name: &str| facts.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let (flavor, version) = check_product(&reported, fact("version_comment"))?;
    if !fact("tidb_config").is_empty() {
        return Err(look_alike("TiDB"));
    }
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
        quote::literal(&address.database)
    );
    let there: Option<u64> = conn.query_first(sql).await.map_err(fail)?;
    if there != Some(1) {
        return Err(EngineError::new(
            Cause::NotFound,
            DOING,
            "the user of this URL sees no database of that name",
        )
        .hint("check the spelling: on many servers upper and lower case differ"));
    }
    let folds = fact("lower_case_table_names") != "0";
    Ok(Server { flavor, version, identity, folds })
}

/// Flavor and version; other products and too old ones are refused by name.
fn check_product(reported: &str, comment: &str) -> Result<(Flavor, Version), EngineError> {
    let products = [
        ("TiDB", "TiDB"),
        ("OceanBase", "OceanBase"),
        ("SingleStore", "SingleStore"),
        ("MemSQL", "SingleStore"),
        ("Vitess", "Vitess"),
        ("ProxySQL", "ProxySQL"),
        ("doris", "Apache Doris"),
        ("StarRocks", "StarRocks"),
        ("Dolt", "Dolt"),
        ("Clickhouse", "ClickHouse"),
        ("MaxScale", "MaxScale"),
    ];
    let holds = |mark: &str| {
        let mark = mark.to_ascii_lowercase();
        [reported, comment].iter().any(|text| text.to_ascii_lowercase().contains(&mark))
    };
    if let Some((_, product)) = products.iter().find(|(mark, _)| holds(mark)) {
        return Err(look_alike(product));
    }
    let flavor = if reported.contains("MariaDB") { Flavor::MariaDb } else { Flavor::MySql };
    let version = Version::parse(reported.strip_prefix("5.5.5-").unwrap_or(reported)).unwrap_or_default();
    let least = match flavor {
        Flavor::MariaDb => MARIADB_MIN,
        Flavor::MySql => MYSQL_MIN,
    };
    if version < least {
        let message = format!("{} {} is too old", flavor.name(), escape(reported));
        return Err(EngineError::new(Cause::NotFound, DOING, message)
            .contract("E315")
            .hint(format!("MariaDB {MARIADB_MIN} and MySQL {MYSQL_MIN} are the oldest that work")));
    }
    Ok((flavor, version))
}

fn look_alike(product: &str) -> EngineError {
    let message = format!("this is {product}, which speaks MySQL's protocol and is another product");
    EngineError::new(Cause::NotFound, DOING, message)
        .contract("E315")
        .hint("give the URL of the MySQL or MariaDB server itself")
}

/// Checks a URL without connecting.
pub(super) fn check_url(url: &Url) -> Result<(), UrlError> {
    Address::from_url(url, &Limits::default()).and_then(|address| {
        // Client certificates are read when they are needed; here they only must be readable.
        tls::check(&address.tls)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u_13_versions_and_look_alikes_are_told_apart() {
        let product = |version: &str, comment: &str| check_product(version, comment);
        assert_eq!(
            product("10.11.19-MariaDB-0+deb12u1", "Debian 12").ok(),
            Some((Flavor::MariaDb, Version(10, 11, 19)))
        );
        assert_eq!(product("5.5.5-10.6.2-MariaDB", "").ok(), Some((Flavor::MariaDb, Version(10, 6, 2))));
        assert_eq!(product("8.4.3", "MySQL Community").ok(), Some((Flavor::MySql, Version(8, 4, 3))));
        for (version, comment, named) in [
            ("8.0.11-TiDB-v8.5.0", "TiDB Server", "TiDB"),
            ("8.0.30-Vitess", "", "Vitess"),
            ("8.0.30", "(ProxySQL)", "ProxySQL"),
            ("10.5.9-MariaDB", "", "MariaDB 10.5.9-MariaDB is too old"),
            ("5.7.44", "", "MySQL 5.7.44 is too old"),
        ] {
            let error = product(version, comment).expect_err(version);
            assert!(error.to_string().contains(named), "{error}");
            assert_eq!(error.contract, Some("E315"));
        }
    }

    #[test]
    fn u_07_options_that_the_protocol_does_not_have_are_e306() {
        for text in ["mysql://u@h/d?channel_binding=require", "mariadb://u@h/d?sslmode=allow"] {
            let url = Url::parse(text).expect("a URL");
            assert_eq!(check_url(&url).expect_err("refused").code, "E306", "{text}");
        }
        for text in ["mysql://u@h/d", "mariadb://u@/d?host=/run/mysqld/mysqld.sock"] {
            assert_eq!(check_url(&Url::parse(text).expect("a URL")), Ok(()), "{text}");
        }
    }
}
