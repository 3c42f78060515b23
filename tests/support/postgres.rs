//! Private PostgreSQL servers: made from installed programs in a fresh directory, on a free
//! loopback port, one per test process. A server is stopped by the shell that started it, when
//! the pipe to the test process breaks: at its end, its panic or its kill. No other is touched.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};

use super::fixture;

/// The superuser of the private servers. Its password is a canary: no output may hold it.
pub const USER: &str = "towpath";
pub const PASSWORD: &str = "canary-5ecret";

/// A running server.
pub struct Server {
    pub port: u16,
    templates: Mutex<HashMap<&'static str, Database>>,
    directory: PathBuf,
    /// Takes orders by the pipe whose end stops the server.
    keeper: Mutex<Child>,
}

/// A database of a private server. It goes with the last clone, for hundreds would fill a disk.
#[derive(Clone)]
pub struct Database {
    pub name: String,
    pub port: u16,
    _made: Option<Arc<Made>>,
}

/// A database that a test made.
struct Made {
    name: String,
    port: u16,
}

impl Drop for Made {
    fn drop(&mut self) {
        let (drop, port) = (format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name), self.port);
        // On a thread of its own: a test may end inside a runtime.
        let dropped =
            std::thread::spawn(move || Database::named("postgres", port).session().try_execute(&drop));
        let _ = dropped.join();
    }
}

/// The server of this process; none where it was asked to go without (never in CI).
pub fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[])).as_ref()
}

/// Another server, for what must cross from one to the other.
pub fn other_server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[])).as_ref()
}

/// A server for what follows changes: a slot waits for every transaction of its server, and reads
/// the log of all its databases.
pub fn moving_server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    // Two clients that wait for each other for a second write nothing while a small load runs.
    SERVER.get_or_init(|| Server::start(&["max_prepared_transactions=100", "deadlock_timeout=20ms"])).as_ref()
}

/// Leaves the test where there is no server and that is allowed.
#[macro_export]
macro_rules! need_server {
    () => {
        match $crate::support::postgres::server() {
            Some(server) => server,
            None => return,
        }
    };
}

fn version_of(bin: &Path) -> Option<u32> {
    let out = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    text.split_whitespace().nth(2)?.split(['.', 'b', 'd', 'r']).next()?.parse().ok()
}

/// The folder of the server programs: `TOWPATH_PG_BIN`, else the newest installed.
fn programs() -> Option<PathBuf> {
    if let Some(bin) = std::env::var_os("TOWPATH_PG_BIN") {
        let bin = PathBuf::from(bin);
        assert!(version_of(&bin).is_some(), "no PostgreSQL server in {}", bin.display());
        return Some(bin);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut bins: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    bins.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    bins.retain(|bin| bin.join("initdb").exists() && bin.join("postgres").exists());
    bins.into_iter().max_by_key(|bin| version_of(bin))
}

/// PostgreSQL refuses to run as root: then it runs as the user that its package made, or nobody.
fn unprivileged() -> Option<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?;
    if uid != "0" {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let ids = |user: &str| {
        let line = passwd.lines().find(|line| line.starts_with(&format!("{user}:")))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids("postgres").or_else(|| ids("nobody"))
}

fn command(program: &Path, as_user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = as_user {
        command.uid(uid).gid(gid);
    }
    // Locale and time zone must not depend on who runs the tests.
    command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
    command
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Server {
    /// A server of its own, with settings that others could not live with.
    pub fn with(settings: &[&str]) -> Option<Self> {
        Self::start(settings)
    }

    fn start(settings: &[&str]) -> Option<Self> {
        let Some(bin) = programs() else {
            let allowed =
                std::env::var_os("TOWPATH_SKIP_SERVERS").is_some() && std::env::var_os("CI").is_none();
            assert!(allowed, "no PostgreSQL server programs found: run tests/run, or set TOWPATH_PG_BIN");
            eprintln!("SKIPPED: no PostgreSQL server (TOWPATH_SKIP_SERVERS)");
            return None;
        };
        let as_user = unprivileged();
        let directory = tempfile::Builder::new().prefix("towpath-pg-").tempdir().unwrap().keep();
        if let Some((uid, gid)) = as_user {
            std::os::unix::fs::chown(&directory, Some(uid), Some(gid)).unwrap();
        }
        init(&bin, &directory, as_user);
        // Another process may take the free port before the server does.
        for _ in 0..5 {
            let port = free_port();
            if let Some(keeper) = run(&bin, &directory, as_user, port, settings) {
                return Some(Self {
                    port,
                    templates: Mutex::default(),
                    directory,
                    keeper: Mutex::new(keeper),
                });
            }
        }
        let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
        panic!("the private PostgreSQL server did not start:\n{log}");
    }

    /// A server of a test's own, which it may kill. Stopped when it is dropped.
    pub fn own() -> Option<Self> {
        Self::start(&[])
    }

    /// A directory that the server may write to.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a directory the server's own.
    pub fn give(&self, directory: &Path) {
        if let Some((uid, gid)) = unprivileged() {
            std::os::unix::fs::chown(directory, Some(uid), Some(gid)).unwrap();
        }
    }

    fn order(&self, order: &str) {
        use std::io::Write;
        let mut keeper = self.keeper.lock().unwrap();
        writeln!(keeper.stdin.as_mut().unwrap(), "{order}").unwrap();
    }

    fn is_up(&self) -> bool {
        let state = fs::read_to_string(self.directory.join("data/postmaster.pid"));
        state.is_ok_and(|text| text.contains("ready"))
    }

    /// `kill -9` of the server's main process; waits until its others have followed.
    pub fn kill(&self) {
        self.order("kill");
        let data = self.directory.join("data");
        super::wait_until("the server is gone", Duration::from_secs(60), || !works_in(&data));
        // It stands for a process that is gone, and so are all that might use its memory.
        let _ = fs::remove_file(data.join("postmaster.pid"));
    }

    /// `kill -9` of one of its sessions: the server ends all others and recovers by itself.
    pub fn crash(&self) {
        let mut victim = Database::named("postgres", self.port).session();
        let pid = victim.value("SELECT pg_backend_pid()::text");
        let started = victim.value("SELECT pg_postmaster_start_time()::text");
        assert!(!started.is_empty());
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        super::wait_until("the server has recovered", Duration::from_secs(60), || {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            let killed = log.rfind(&format!("(PID {pid}) was terminated by signal 9"));
            killed.is_some_and(|at| log[at..].contains("database system is ready to accept connections"))
        });
    }

    /// As an administrator does it in a hurry: no session is asked, nothing is written.
    pub fn stop_immediately(&self) {
        self.order("quit");
        let state = self.directory.join("data/postmaster.pid");
        super::wait_until("the server has stopped", Duration::from_secs(60), || !state.exists());
    }

    /// After [`Self::kill`] or [`Self::stop_immediately`]: it recovers and takes sessions again.
    pub fn start_again(&self) {
        self.order("start");
        super::wait_until("the server is up again", Duration::from_secs(60), || self.is_up());
    }

    /// A fresh, empty database. The name only helps whoever looks.
    pub fn database(&self, name: &str) -> Database {
        let database = self.unused_name(name);
        self.admin(&format!("CREATE DATABASE {database} TEMPLATE template0"));
        database
    }

    /// A copy of a fixture under `schemas/postgres/`, which is loaded once per process.
    pub fn fixture(&self, fixture: &'static str) -> Database {
        let mut templates = self.templates.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let template = templates.entry(fixture).or_insert_with(|| {
            let template = self.database(fixture);
            template.execute(&fixture::sql("postgres", fixture));
            template
        });
        let database = self.unused_name(fixture);
        self.admin(&format!("CREATE DATABASE {database} TEMPLATE {template}"));
        database
    }

    /// Runs a statement as superuser, outside any test's database.
    pub fn admin(&self, sql: &str) {
        Database::named("postgres", self.port).execute(sql);
    }

    fn unused_name(&self, name: &str) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (name, port) = (format!("{name}_{number}"), self.port);
        Database { _made: Some(Arc::new(Made { name: name.clone(), port })), name, port }
    }
}

/// Whether a process works in this directory, as all processes of a server do in its own.
fn works_in(directory: &Path) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .into_iter()
        .any(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|working| working == directory))
}

impl std::fmt::Display for Database {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.name)
    }
}

fn init(bin: &Path, directory: &Path, as_user: Option<(u32, u32)>) {
    let secret = directory.join("password");
    fs::write(&secret, PASSWORD).unwrap();
    if let Some((uid, gid)) = as_user {
        std::os::unix::fs::chown(&secret, Some(uid), Some(gid)).unwrap();
    }
    let out = command(&bin.join("initdb"), as_user)
        .arg("-D")
        .arg(directory.join("data"))
        .arg("--pwfile")
        .arg(&secret)
        .args(["-U", USER, "--auth-local=trust", "--auth-host=scram-sha-256"])
        .args(["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(out.status.success(), "initdb failed:\n{}", String::from_utf8_lossy(&out.stderr));
}

/// Starts the server under a shell that takes orders from its standard input, which is a pipe from
/// this process, and stops the server at the pipe's end. It has its own process group, so that
/// Ctrl-C reaches it that way only.
fn run(bin: &Path, directory: &Path, as_user: Option<(u32, u32)>, port: u16, more: &[&str]) -> Option<Child> {
    const KEEPER: &str = r#"
        directory=$1; shift
        start() { "$@" >>"$directory/log" 2>&1 </dev/null & server=$!; }
        start "$@"
        while read -r order; do
            case $order in
                kill) kill -KILL $server; wait $server ;;
                quit) kill -QUIT $server; wait $server ;;
                start) start "$@" ;;
            esac
        done
        kill -QUIT $server
        wait $server
        rm -rf "$directory"/*
        rmdir "$directory" 2>/dev/null"#;
    let settings = [
        format!("port={port}"),
        format!("unix_socket_directories={}", directory.display()),
        "listen_addresses=127.0.0.1".into(),
        "fsync=off".into(),
        "full_page_writes=off".into(),
        "shared_buffers=64MB".into(),
        "max_connections=200".into(),
        "wal_level=logical".into(),
        "max_prepared_transactions=10".into(),
        "max_wal_senders=50".into(),
        "max_replication_slots=50".into(),
        "max_wal_size=1GB".into(),
        // Its transactions and statistics would come at any moment.
        "autovacuum=off".into(),
    ];
    let mut keeper = command(Path::new("/bin/sh"), as_user);
    keeper.args(["-c", KEEPER, "keeper"]).arg(directory).arg(bin.join("postgres"));
    keeper.arg("-D").arg(directory.join("data"));
    settings.iter().map(String::as_str).chain(more.iter().copied()).for_each(|setting| {
        keeper.args(["-c", setting]);
    });
    let mut keeper = keeper
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let state = directory.join("data/postmaster.pid");
    let mut ready = false;
    super::wait_until("the server is ready", Duration::from_secs(60), || {
        ready = fs::read_to_string(&state).is_ok_and(|text| text.contains("ready"));
        ready || fs::read_to_string(directory.join("log")).is_ok_and(|log| log.contains("FATAL"))
    });
    if ready {
        return Some(keeper);
    }
    // The shell would clear the directory that the next attempt needs.
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    fs::remove_file(directory.join("log")).unwrap();
    None
}

impl Database {
    /// One that is nobody's to drop, or is not there.
    pub fn named(name: &str, port: u16) -> Self {
        Self { name: name.into(), port, _made: None }
    }

    /// The same one as reached through another port.
    pub fn through(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }

    /// As a user writes it; the private servers have no TLS.
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same database through another port: a proxy.
    pub fn url_at(&self, port: u16) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/{}?sslmode=disable", self.name)
    }

    /// A session that stays open, on a runtime of its own.
    pub fn session(&self) -> Session {
        self.try_session().unwrap_or_else(|error| panic!("cannot connect to {}: {error}", self.name))
    }

    /// As [`Self::session`], where the server may be gone.
    pub fn try_session(&self) -> Result<Session, sqlx::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = PgConnectOptions::new()
            .host("127.0.0.1")
            .port(self.port)
            .username(USER)
            .password(PASSWORD)
            .database(&self.name)
            .ssl_mode(PgSslMode::Disable)
            .options([("timezone", "UTC"), ("extra_float_digits", "3"), ("bytea_output", "hex")])
            .disable_statement_logging();
        let connection = runtime.block_on(PgConnection::connect_with(&options))?;
        Ok(Session { connection: Some(connection), runtime })
    }

    /// Runs statements, all in one implicit transaction unless they say otherwise.
    pub fn execute(&self, sql: &str) {
        self.session().execute(sql);
    }

    /// Rows in text form.
    pub fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.session().rows(sql)
    }

    /// The only value of the only row, as text; empty for null.
    pub fn value(&self, sql: &str) -> String {
        self.session().value(sql)
    }
}

/// An open session, used without async.
pub struct Session {
    connection: Option<PgConnection>,
    runtime: tokio::runtime::Runtime,
}

impl Session {
    pub fn try_execute(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let connection = self.connection.as_mut().unwrap();
        self.runtime.block_on(connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_string())))).map(drop)
    }

    pub fn execute(&mut self, sql: &str) {
        self.try_execute(sql).unwrap_or_else(|error| {
            let at = match error.as_database_error() {
                Some(error) => place(error, sql),
                None => String::new(),
            };
            panic!("{error}{at}")
        });
    }

    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        let connection = self.connection.as_mut().unwrap();
        let rows = self
            .runtime
            .block_on(connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql.to_string()))))
            .unwrap_or_else(|error| panic!("{error}\n  in {sql}"));
        rows.iter().map(|row| (0..row.len()).map(|at| text(row, at)).collect()).collect()
    }

    pub fn value(&mut self, sql: &str) -> String {
        let mut rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "one row expected from {sql}");
        rows.remove(0).remove(0).unwrap_or_default()
    }

    /// The whole output of a `COPY ... TO STDOUT`, in lines.
    pub fn copy_lines(&mut self, sql: &str) -> Vec<Vec<u8>> {
        use futures_util::TryStreamExt;
        let connection = self.connection.as_mut().unwrap();
        self.runtime.block_on(async {
            let stream =
                connection.copy_out_raw(sql).await.unwrap_or_else(|error| panic!("{error}\n  in {sql}"));
            let pieces: Vec<_> = stream.try_collect().await.unwrap();
            // Each piece of a text COPY is one row.
            pieces.iter().map(|piece| piece.strip_suffix(b"\n").unwrap_or(piece).to_vec()).collect()
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A database with a session that is still going away cannot be copied or dropped.
        if let Some(connection) = self.connection.take() {
            let _ = self.runtime.block_on(connection.close());
        }
    }
}

fn text(row: &sqlx::postgres::PgRow, at: usize) -> Option<String> {
    use sqlx::ValueRef;
    let value = row.try_get_raw(at).unwrap();
    if value.is_null() { None } else { Some(value.as_str().unwrap().to_string()) }
}

/// The line of `sql` in which the server found the error.
fn place(error: &dyn sqlx::error::DatabaseError, sql: &str) -> String {
    use sqlx::postgres::{PgDatabaseError, PgErrorPosition};
    let error = error.downcast_ref::<PgDatabaseError>();
    match error.position() {
        Some(PgErrorPosition::Original(at)) => {
            let before: String = sql.chars().take(at).collect();
            let number = before.lines().count();
            format!("\n  line {number}: {}", sql.lines().nth(number.saturating_sub(1)).unwrap_or_default())
        }
        _ => format!("\n  {}", error.r#where().unwrap_or_default()),
    }
}
