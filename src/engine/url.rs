//! Connection URLs: taken apart without ever being shown. Display rebuilds `scheme://user@host/db`
//! from parts, so that no password can leak through an error. Everything that is odd is refused
//! with a code of the contract's section 4.2; nothing is guessed, nothing defaults in silence.

use std::fmt;
use std::net::Ipv6Addr;

use super::ENGINES;
use crate::catalog::name::{is_hidden, show};

/// A parsed URL. Its `Debug` and `Display` hold no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    pub user: Option<String>,
    password: Option<String>,
    /// One host name or address, without brackets, or a socket directory (begins with `/`);
    /// none for files.
    pub host: Option<String>,
    pub port: Option<u16>,
    /// Database name, or the literal file path.
    pub path: String,
    /// Options in their order, decoded. All are known ones, each at most once; `host` is not
    /// among them, it is the field.
    pub options: Vec<(String, String)>,
}

/// Why a URL is refused. Never contains the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UrlError {
    /// `E301`...
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
}

impl UrlError {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// No engine answers to the scheme.
    pub fn scheme(scheme: &str) -> Self {
        let accepted = format!("accepted schemes are {}", accepted());
        let family = scheme.split(['+', ':']).next().unwrap_or_default();
        match family {
            "sqlserver" | "mssql" | "oracle" | "mongodb" => {
                Self::new("E301", format!("{family} is not built yet")).help(accepted)
            }
            _ => Self::new("E301", format!("no engine for URL scheme {}", show(scheme))).help(accepted),
        }
    }
}

impl Url {
    /// Parses a URL of any engine. `sqlite:PATH` and `sqlite://PATH` take the path literally: no
    /// percent-decoding, no tilde, no options.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim_matches(['\n', '\r']);
        if text.trim().is_empty() {
            return Err(no_scheme("the connection URL is empty"));
        }
        let (scheme, rest) =
            text.split_once(':').ok_or_else(|| no_scheme("a connection URL starts with a scheme"))?;
        let good = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !good {
            // What stands there may be a user and a password: it is not repeated.
            return Err(no_scheme("a connection URL starts with a scheme"));
        }
        let scheme = scheme.to_ascii_lowercase();
        if let Some(engine) = ENGINES.iter().find(|engine| engine.schemes().contains(&scheme.as_str())) {
            return if engine.is_file() { parse_sqlite(rest) } else { parse_server(&scheme, rest) };
        }
        match scheme.as_str() {
            scheme if rest.starts_with("//") || scheme == "jdbc" || scheme == "file" => {
                Err(UrlError::scheme(scheme))
            }
            // `localhost:5432`, `user:password@host`, `C:\data`: no scheme at all.
            _ => Err(no_scheme("a connection URL starts with a scheme")),
        }
    }

    /// As [`Url::parse`], for a URL on the command line, where others can read it: a password is
    /// refused with E309.
    pub fn parse_argument(text: &str) -> Result<Self, UrlError> {
        let url = Self::parse(text)?;
        if url.password.is_some() {
            let engine = ENGINES.iter().find(|engine| engine.schemes().contains(&url.scheme.as_str()));
            let variable = engine.and_then(|engine| engine.password_variable());
            let or = variable.map(|name| format!("; or set {name}")).unwrap_or_default();
            return Err(UrlError::new("E309", "a password on the command line can be read by others").help(
                format!("put the URL into a variable and name it in the plan: url: \"${{SOURCE_URL}}\"{or}"),
            ));
        }
        Ok(url)
    }

    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The TLS mode, where it is one that does not prove whom we talk to. Sockets need none.
    pub fn weak_tls(&self) -> Option<&str> {
        let socket = self.host.as_deref().is_some_and(|host| host.starts_with('/'));
        let weak = |mode: &&str| matches!(*mode, "disable" | "allow" | "prefer" | "require");
        self.option("sslmode").filter(weak).filter(|_| !socket)
    }
}

/// How the URLs of all engines start, in a sentence.
fn accepted() -> String {
    let starts = ENGINES.iter().flat_map(|engine| {
        let slashes = if engine.is_file() { "" } else { "//" };
        engine.schemes().iter().map(move |scheme| format!("{scheme}:{slashes}"))
    });
    let starts: Vec<_> = starts.collect();
    match starts.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => starts.concat(),
    }
}

fn no_scheme(what: &str) -> UrlError {
    UrlError::new("E301", what).help("write postgres://user@host/database or sqlite:path/to/file.db")
}

fn parse_sqlite(rest: &str) -> Result<Url, UrlError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.trim().is_empty() {
        return Err(
            UrlError::new("E305", "the sqlite URL names no file").help("write sqlite:path/to/file.db")
        );
    }
    if path.contains('\0') {
        return Err(UrlError::new("E302", "the sqlite path holds a NUL byte"));
    }
    if path.rsplit_once('?').is_some_and(|(_, after)| after.contains('=')) {
        let what = "a sqlite URL takes no options";
        return Err(
            UrlError::new("E306", what).help("remove what follows the ?; the path is taken literally")
        );
    }
    Ok(Url {
        scheme: "sqlite".into(),
        user: None,
        password: None,
        host: None,
        port: None,
        path: path.into(),
        options: Vec::new(),
    })
}

/// `//user:password@host:port/database?options`.
fn parse_server(scheme: &str, rest: &str) -> Result<Url, UrlError> {
    let rest = rest
        .strip_prefix("//")
        .ok_or_else(|| no_scheme(&format!("after {scheme}: two slashes are missing")))?;
    if rest.chars().any(|c| c.is_control() || c == ' ') {
        return Err(raw("a space, line break or control character"));
    }
    if rest.contains('#') {
        return Err(raw("a #"));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    // A raw @ further on means that a password holds what was taken for its end: no part of it
    // may reach a message.
    if path.contains('@') || query.contains('@') {
        return Err(raw("an @, / or ?"));
    }
    let (user_info, place) = match authority.rsplit_once('@') {
        Some((user_info, place)) => (Some(user_info), place),
        None => (None, authority),
    };
    let (user, password) = parse_user(user_info)?;
    let mut options = parse_options(query)?;
    let (host, port) = parse_place(place, &mut options)?;
    let path = parse_database(path)?;
    Ok(Url { scheme: scheme.into(), user: Some(user), password, host: Some(host), port, path, options })
}

/// Something stands raw that must be percent-encoded.
fn raw(what: &str) -> UrlError {
    UrlError::new("E302", format!("the URL holds {what} that is not percent-encoded")).help(
        "in user, password and database write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, % as %25, \
         [ as %5B, ] as %5D and a space as %20",
    )
}

fn parse_user(user_info: Option<&str>) -> Result<(String, Option<String>), UrlError> {
    let nobody = || {
        UrlError::new("E305", "the URL names no user").help("write //USER@host/database; no user is guessed")
    };
    let user_info = user_info.ok_or_else(nobody)?;
    let (user, password) = match user_info.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (user_info, None),
    };
    if user_info.contains(['@', '[', ']']) || password.is_some_and(|password| password.contains(':')) {
        return Err(raw("one of @ : [ ]"));
    }
    let user = decode(user, "user")?;
    if user.is_empty() {
        return Err(nobody());
    }
    let password = password.map(|password| decode(password, "password")).transpose()?;
    Ok((user, password.filter(|password| !password.is_empty())))
}

/// Percent-decoding, strict: two hexadecimal digits, no NUL, UTF-8.
fn decode(text: &str, part: &str) -> Result<String, UrlError> {
    let bad = |why: &str| {
        UrlError::new("E302", format!("the {part} in the URL {why}"))
            .help("a % is written %25; other characters are the bytes of their UTF-8, such as %C3%A4")
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(bad("holds a % without two hexadecimal digits"));
        };
        bytes.push((high * 16 + low) as u8);
    }
    if bytes.contains(&0) {
        return Err(bad("holds a NUL byte"));
    }
    String::from_utf8(bytes).map_err(|_| bad("is not UTF-8"))
}

/// Host and port; a `host` option (a socket directory) takes the place of an empty host.
fn parse_place(place: &str, options: &mut Vec<(String, String)>) -> Result<(String, Option<u16>), UrlError> {
    let host_option = options.iter().position(|(key, _)| key == "host").map(|at| options.remove(at).1);
    let (host, port) = split_port(place)?;
    let port = port.map(parse_port).transpose()?;
    let host = match (host.is_empty(), host_option) {
        (false, None) => parse_host(host)?,
        (true, Some(host)) if host.starts_with('/') => host,
        (true, Some(_)) => {
            let what = "the option host takes the path of a socket, which begins with /";
            return Err(
                UrlError::new("E304", what).help("put a host name before the database: //user@HOST/database")
            );
        }
        (false, Some(_)) => return Err(UrlError::new("E306", "the URL names a host and an option host")),
        (true, None) => {
            return Err(UrlError::new("E304", "the URL names no host")
                .help("write //user@HOST/database, or //user@/database?host=/socket/directory"));
        }
    };
    Ok((host, port))
}

fn split_port(place: &str) -> Result<(&str, Option<&str>), UrlError> {
    if place.contains(',') {
        return Err(UrlError::new("E304", "the URL names more than one host")
            .help("name the one server that this plan is about"));
    }
    if let Some(inner) = place.strip_prefix('[') {
        let bad = || UrlError::new("E304", "the address in brackets is not closed").help("write [::1]:5432");
        let (_, after) = inner.split_once(']').ok_or_else(bad)?;
        let host = &place[..place.len() - after.len()];
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(bad()),
        };
    }
    match place.matches(':').count() {
        0 => Ok((place, None)),
        1 => Ok(place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)))),
        _ => Err(UrlError::new("E304", "an IPv6 address stands in brackets")
            .help("write //user@[::1]:PORT/database")),
    }
}

fn parse_port(port: &str) -> Result<u16, UrlError> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse::<u16>().ok().filter(|port| digits && *port > 0);
    number.ok_or_else(|| {
        UrlError::new("E303", "the port is not a number from 1 to 65535")
            .help("leave the colon out for the usual port")
    })
}

fn parse_host(host: &str) -> Result<String, UrlError> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address = inner.parse::<Ipv6Addr>();
        let what = "what stands in brackets is not an IPv6 address (zones are not supported)";
        return address.map(|_| inner.to_string()).map_err(|_| UrlError::new("E304", what));
    }
    let host = decode(host, "host")?;
    let name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.starts_with('/') || host.chars().all(name) {
        return Ok(host);
    }
    Err(UrlError::new("E304", "the host is no name, address or socket directory")
        .help("letters, digits, -, . and _; write an international name in its xn-- form"))
}

fn parse_database(path: &str) -> Result<String, UrlError> {
    let database = path.strip_prefix('/').unwrap_or(path);
    if database.contains(['/', '[', ']', ':']) {
        return Err(raw("a / or one of [ ] : in the database"));
    }
    let database = decode(database, "database")?;
    if database.is_empty() {
        return Err(UrlError::new("E305", "the URL names no database")
            .help("write //user@host/DATABASE; no database is guessed"));
    }
    Ok(database)
}

/// What a URL may ask for; everything else about a session is ours.
const OPTIONS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "connect_timeout",
    "host",
    "channel_binding",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
];

const SSL_MODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
const BINDINGS: &[&str] = &["disable", "prefer", "require"];

/// Options that would change what a session means or may do.
const OURS: &[&str] = &[
    "options",
    "replication",
    "init_command",
    "sessionvariables",
    "allowloadlocalinfile",
    "allow_local_infile",
    "local_infile",
    "statement_timeout",
    "search_path",
    "client_encoding",
    "default_transaction_read_only",
];

fn parse_options(query: &str) -> Result<Vec<(String, String)>, UrlError> {
    let mut options: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name, "name of an option")?;
        let value = decode(value, "value of an option")?;
        check_option(&name, &value)?;
        if options.iter().any(|(other, _)| *other == name) {
            return Err(UrlError::new("E306", format!("option {name} is given twice")));
        }
        options.push((name, value));
    }
    Ok(options)
}

fn check_option(name: &str, value: &str) -> Result<(), UrlError> {
    if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(UrlError::new("E307", format!("option {} is not taken from a URL", show(name)))
            .help("sessions are set up by towpath itself; remove the option"));
    }
    match name {
        "password" | "user" | "dbname" | "port" | "sslpassword" => {
            Err(UrlError::new("E306", format!("{name} is not taken as an option"))
                .help("write //user:password@host:port/database"))
        }
        "target_session_attrs" | "load_balance_hosts" => {
            Err(UrlError::new("E304", format!("option {name} is for more than one host"))
                .help("name the one server that this plan is about"))
        }
        _ if !OPTIONS.contains(&name) => {
            let error = UrlError::new("E306", format!("unknown option {}", show_short(name)));
            Err(match near(name, OPTIONS) {
                Some(near) => error.help(format!("did you mean {near}?")),
                None => error.help(format!("options are {}", OPTIONS.join(", "))),
            })
        }
        _ if value.is_empty() => Err(UrlError::new("E306", format!("option {name} has no value"))),
        "sslmode" => one_of(name, value, SSL_MODES),
        "channel_binding" => one_of(name, value, BINDINGS),
        "connect_timeout" | "keepalives_idle" | "keepalives_interval" => number(name, value, "seconds", 3600),
        "keepalives_count" => number(name, value, "attempts", 100),
        "tcp_user_timeout" => number(name, value, "milliseconds", 3_600_000),
        _ => Ok(()),
    }
}

fn number(name: &str, value: &str, unit: &str, most: u64) -> Result<(), UrlError> {
    match value.parse::<u64>() {
        Ok(given) if (1..=most).contains(&given) => Ok(()),
        _ => Err(UrlError::new("E306", format!("{name} is not a number of {unit} from 1 to {most}"))),
    }
}

fn one_of(name: &str, value: &str, words: &[&str]) -> Result<(), UrlError> {
    if words.contains(&value) {
        return Ok(());
    }
    let error = UrlError::new("E306", format!("option {name} is none of {}", words.join(", ")));
    Err(match near(value, words) {
        Some(near) => error.help(format!("did you mean {near}?")),
        None => error,
    })
}

fn near<'a>(wrong: &str, words: &[&'a str]) -> Option<&'a str> {
    let most = (wrong.len() / 3).clamp(1, 3);
    let distance = |word: &str| strsim::damerau_levenshtein(&wrong.to_ascii_lowercase(), word);
    if wrong.len() > 64 {
        return None;
    }
    words.iter().copied().filter(|word| distance(word) <= most).min_by_key(|word| distance(word))
}

/// A name for a message, not longer than a name is.
fn show_short(name: &str) -> String {
    show(&name.chars().take(40).collect::<String>())
}

/// Text with nothing in it that a terminal would act on.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if is_hidden(c) { format!("\\u{{{:x}}}", c as u32) } else { c.to_string() })
        .collect()
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(host) = &self.host else {
            return write!(out, "{}:{}", self.scheme, visible(&self.path));
        };
        write!(out, "{}://", self.scheme)?;
        if let Some(user) = &self.user {
            write!(out, "{}@", visible(user))?;
        }
        match host {
            socket if socket.starts_with('/') => {}
            address if address.contains(':') => write!(out, "[{address}]")?,
            name => write!(out, "{}", visible(name))?,
        }
        if let Some(port) = self.port {
            write!(out, ":{port}")?;
        }
        write!(out, "/{}", visible(&self.path))?;
        if host.starts_with('/') {
            write!(out, "?host={}", visible(host))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Url({self})")
    }
}
