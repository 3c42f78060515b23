//! A private MariaDB server, as the PostgreSQL ones: made from installed programs in a fresh
//! directory, on a free loopback port, one per test process, ended by the shell that started it when
//! the pipe to the test process breaks. And the oracle's side of it: rows as texts that can be held
//! against those of another engine.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Row};

use super::fixture;
use super::postgres::PASSWORD;

/// The user with all rights. Its password is the canary: no output may hold it.
pub const USER: &str = "towpath";

/// Of users that a test makes: a canary too, for it begins as the other one does.
pub const PASSWORD_OF_OTHERS: &str = PASSWORD;

/// What a server writes into its log when it is up; MySQL's other protocol says a part of it.
const READY: &str = "ready for connections";

/// A running server.
pub struct Server {
    pub port: u16,
    pub directory: PathBuf,
    /// Stops the server when the pipe to it ends.
    keeper: Mutex<Child>,
}

/// A database of it.
#[derive(Clone)]
pub struct Database {
    pub name: String,
    pub port: u16,
}

/// The server of this process; none where it was asked to go without (never in CI).
pub fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[])).as_ref()
}

/// Leaves the test where there is no server and that is allowed.
#[macro_export]
macro_rules! need_mariadb {
    () => {
        match $crate::support::mariadb::server() {
            Some(server) => server,
            None => return,
        }
    };
}

/// The folders of the server program and of the one that makes its directory.
struct Programs {
    server: PathBuf,
    install: PathBuf,
}

/// From `TOWPATH_MARIA_BIN`, else where packages put them.
fn programs() -> Option<Programs> {
    let own = own_folder();
    let folders: Vec<PathBuf> = own.clone().map_or_else(folders, |own| vec![own]);
    let found =
        find(&folders, &["mariadbd"]).zip(find(&folders, &["mariadb-install-db", "mysql_install_db"]));
    assert!(found.is_some() || own.is_none(), "no mariadbd and mariadb-install-db in TOWPATH_MARIA_BIN");
    found.map(|(server, install)| Programs { server, install })
}

/// A program of the vendor's beside the server.
pub fn program(name: &str) -> PathBuf {
    let folders: Vec<PathBuf> = own_folder().into_iter().chain(folders()).collect();
    find(&folders, &[name]).unwrap_or_else(|| panic!("no {name}: it comes with MariaDB's client programs"))
}

fn own_folder() -> Option<PathBuf> {
    std::env::var_os("TOWPATH_MARIA_BIN").map(PathBuf::from)
}

/// Where packages put programs.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    folders.extend(["/usr/sbin", "/usr/bin", "/usr/libexec", "/opt/homebrew/bin"].map(PathBuf::from));
    folders
}

fn find(folders: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
    let mut paths = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
    paths.find(|path| path.exists())
}

/// The server does not like to run as root: then it runs as the user that its package made.
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
    ids("mysql").or_else(|| ids("nobody"))
}

pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = unprivileged() {
        command.uid(uid).gid(gid);
    }
    command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
    command
}

impl Server {
    /// A server with settings that others could not live with. Stopped when it is dropped.
    pub fn start(settings: &[&str]) -> Option<Self> {
        let Some(programs) = programs() else {
            let allowed =
                std::env::var_os("TOWPATH_SKIP_SERVERS").is_some() && std::env::var_os("CI").is_none();
            assert!(allowed, "no MariaDB server programs found: run tests/run, or set TOWPATH_MARIA_BIN");
            eprintln!("SKIPPED: no MariaDB server (TOWPATH_SKIP_SERVERS)");
            return None;
        };
        let made = Self::launch("maria", settings, |directory, port, settings| {
            if !directory.join("data").exists() {
                let out = command(&programs.install)
                    .arg("--no-defaults")
                    .arg(format!("--datadir={}", directory.join("data").display()))
                    .arg(format!("--tmpdir={}", directory.display()))
                    .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
                    // Two that are made at once must not meet in a shared one.
                    .env("TMPDIR", directory)
                    .stdin(Stdio::null())
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&out.stderr);
                assert!(out.status.success(), "mariadb-install-db:\n{said}");
            }
            let own = ["--binlog-format=ROW", "--gtid-strict-mode=ON", "--innodb-buffer-pool-size=64M"];
            let settings = own.iter().chain(settings).copied();
            run((&programs.server, "--no-defaults"), directory, port, settings)
        });
        Some(made)
    }

    /// Makes a directory, and a server in it on a free port, as `start` says.
    pub(super) fn launch(
        name: &str,
        settings: &[&str],
        start: impl Fn(&Path, u16, &[&str]) -> Option<Child>,
    ) -> Self {
        let prefix = format!("towpath-{name}-");
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap().keep();
        if let Some((uid, gid)) = unprivileged() {
            std::os::unix::fs::chown(&directory, Some(uid), Some(gid)).unwrap();
        }
        for _ in 0..5 {
            let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
            if let Some(keeper) = start(&directory, port, settings) {
                let server = Self { port, directory, keeper: Mutex::new(keeper) };
                server.admin(&format!("CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'"));
                server.admin(&format!("GRANT ALL ON *.* TO {USER}@'127.0.0.1' WITH GRANT OPTION"));
                return server;
            }
        }
        let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
        panic!("the private {name} server did not start:\n{log}");
    }

    /// `kill -9`, and up again.
    pub fn crash(&self) {
        use std::io::Write;
        let ready = || {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            log.matches(READY).count()
        };
        let before = ready();
        writeln!(self.keeper.lock().unwrap().stdin.as_mut().unwrap(), "crash").unwrap();
        super::wait_until("the server has recovered", Duration::from_secs(60), || ready() > before);
    }

    /// Begins another log file and removes the one before it. The server keeps a file until its tables
    /// are on the disk as far as it tells.
    pub fn purge(&self, old: &str, new: &str) {
        self.admin("FLUSH BINARY LOGS");
        let file = self.directory.join("data").join(old);
        super::wait_until("the log file is gone", Duration::from_secs(60), || {
            self.admin("FLUSH ENGINE LOGS");
            self.admin(&format!("PURGE BINARY LOGS TO '{new}'"));
            !file.exists()
        });
    }

    fn options(&self) -> OptsBuilder {
        OptsBuilder::default()
            .socket(Some(self.directory.join("socket").display().to_string()))
            .user(Some("root"))
    }

    /// Runs statements as root, outside any database.
    pub fn admin(&self, sql: &str) {
        block(async {
            let mut conn = Conn::new(self.options()).await.unwrap();
            conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{error}\n  in {sql}"));
            conn.disconnect().await.unwrap();
        });
    }

    /// A fresh, empty database.
    pub fn database(&self, name: &str) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.admin(&format!("CREATE DATABASE `{name}` CHARACTER SET utf8mb4"));
        Database { name, port: self.port }
    }

    /// A database with what a file under `schemas/mysql/` makes.
    pub fn fixture(&self, fixture: &str) -> Database {
        let database = self.database(fixture);
        database.execute(&fixture::sql("mysql", fixture));
        database
    }
}

pub(super) fn run<'a>(
    (program, defaults): (&Path, &str),
    directory: &Path,
    port: u16,
    more: impl Iterator<Item = &'a str>,
) -> Option<Child> {
    const KEEPER: &str = r#"
        directory=$1; shift
        start() { "$@" >>"$directory/log" 2>&1 </dev/null & server=$!; }
        start "$@"
        while read -r order; do
            case $order in
                crash) kill -KILL $server; wait $server; start "$@" ;;
            esac
        done
        kill -KILL $server
        wait $server
        rm -rf "$directory"/*
        rmdir "$directory" 2>/dev/null"#;
    let at = |name: &str| directory.join(name).display().to_string();
    let mut keeper = command(Path::new("/bin/sh"));
    keeper.args(["-c", KEEPER, "keeper"]).arg(directory).arg(program).arg(defaults);
    let settings = [
        format!("--datadir={}", at("data")),
        format!("--tmpdir={}", directory.display()),
        format!("--socket={}", at("socket")),
        format!("--pid-file={}", at("pid")),
        format!("--port={port}"),
        "--bind-address=127.0.0.1".into(),
        "--skip-name-resolve".into(),
        "--server-id=1".into(),
        "--log-bin=binlog".into(),
        "--innodb-flush-log-at-trx-commit=0".into(),
        "--innodb-flush-method=nosync".into(),
        "--max-connections=200".into(),
        "--local-infile=ON".into(),
    ];
    keeper.args(settings).args(more);
    let mut keeper = keeper
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let log = directory.join("log");
    let said = |what: &str| fs::read_to_string(&log).is_ok_and(|log| log.contains(what));
    let mut ready = false;
    super::wait_until("the server is ready", Duration::from_secs(60), || {
        ready = said(READY);
        ready || said("[ERROR] Aborting") || said("[Server] Aborting")
    });
    if ready {
        return Some(keeper);
    }
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    fs::remove_file(log).unwrap();
    None
}

/// Runs a future of the driver where no runtime is.
fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

impl Database {
    /// As a user writes it; the private server has no TLS.
    pub fn url(&self) -> String {
        self.url_of(USER, PASSWORD)
    }

    /// The same one through another port: a proxy.
    pub fn through(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }

    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("mysql://{user}:{password}@127.0.0.1:{}/{}?sslmode=disable", self.port, self.name)
    }

    fn options(&self) -> OptsBuilder {
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some(USER))
            .pass(Some(PASSWORD))
            .db_name(Some(&self.name))
            .prefer_socket(false)
    }

    /// A session that stays open, for use where a runtime is.
    pub async fn session(&self) -> Conn {
        self.try_session().await.unwrap()
    }

    /// As [`Self::session`], where the server may be down.
    pub async fn try_session(&self) -> Result<Conn, mysql_async::Error> {
        Conn::new(self.options()).await
    }

    /// Runs statements, one after the other.
    pub fn execute(&self, sql: &str) {
        block(async {
            let mut conn = Conn::new(self.options()).await.unwrap();
            // Each statement has a result of its own, and an error may be in any.
            let done = conn.query_drop(sql).await;
            done.unwrap_or_else(|error| panic!("{error}\n  in {sql:.300}"));
            conn.disconnect().await.unwrap();
        });
    }

    /// As [`Self::execute`]; what the server says against it.
    pub fn try_execute(&self, sql: &str) -> Result<(), String> {
        block(async {
            let mut conn = Conn::new(self.options()).await.unwrap();
            let done = conn.query_drop(sql).await.map_err(|error| error.to_string());
            conn.disconnect().await.unwrap();
            done
        })
    }

    /// Rows as the server prints them.
    pub fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        block(async {
            let mut conn = Conn::new(self.options()).await.unwrap();
            conn.query_drop("SET NAMES utf8mb4, time_zone = '+00:00'").await.unwrap();
            let rows: Vec<Row> = conn.query(sql).await.unwrap_or_else(|error| panic!("{error}\n  in {sql}"));
            let text = |value: mysql_async::Value| match value {
                mysql_async::Value::NULL => None,
                mysql_async::Value::Bytes(bytes) => Some(String::from_utf8(bytes).unwrap()),
                other => panic!("{other:?} is no text"),
            };
            let rows = rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect();
            conn.disconnect().await.unwrap();
            rows
        })
    }

    /// The only value of the only row; empty for null.
    pub fn value(&self, sql: &str) -> String {
        let mut rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "one row expected from {sql}");
        rows.remove(0).remove(0).unwrap_or_default()
    }

    /// Each row of a table as one line, cells in the canonical form of [`canonical`], sorted.
    pub fn lines(&self, table: &str) -> (Vec<Meant>, Vec<String>) {
        let sql = format!(
            "SELECT column_name, data_type, numeric_precision FROM information_schema.columns \
             WHERE table_schema = DATABASE() AND table_name = '{table}' ORDER BY ordinal_position"
        );
        let columns: Vec<Meant> = self
            .rows(&sql)
            .into_iter()
            .map(|row| {
                let [name, kind, bits] = row.try_into().unwrap();
                Meant { name: name.unwrap(), kind: kind.unwrap(), bits: bits.unwrap_or_default() }
            })
            .collect();
        let select: Vec<_> = columns.iter().map(Meant::here).collect();
        let rows = self.rows(&format!("SELECT {} FROM `{table}`", select.join(", ")));
        let mut lines: Vec<_> = rows.iter().map(|row| line(&columns, row)).collect();
        lines.sort_unstable();
        (columns, lines)
    }
}

/// A column and what its texts mean.
pub struct Meant {
    pub name: String,
    kind: String,
    bits: String,
}

impl Meant {
    /// The expression that prints it without loss on MariaDB.
    fn here(&self) -> String {
        let name = format!("`{}`", self.name);
        match self.kind.as_str() {
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                format!("LOWER(HEX({name}))")
            }
            "float" => format!("CAST({name} AS DOUBLE)"),
            "bit" => format!("LPAD(BIN({name} + 0), {}, '0')", self.bits),
            "int" | "year" => format!("{name} + 0"),
            _ => name,
        }
    }

    /// The expression that prints it on a target.
    fn there(&self, sqlite: bool) -> String {
        let name = format!("\"{}\"", self.name);
        match (self.kind.ends_with("blob") || self.kind.ends_with("binary"), sqlite) {
            (true, false) => format!("encode({name}, 'hex')"),
            (true, true) => format!("iif({name} IS NULL, NULL, lower(hex({name})))"),
            (false, true) if matches!(self.kind.as_str(), "float" | "double") => {
                format!("iif({name} IS NULL, NULL, printf('%!.17g', {name}))")
            }
            (false, true) => format!("CAST({name} AS TEXT)"),
            (false, false) if self.kind.starts_with("inet") => format!("host({name})"),
            (false, false) => format!("{name}::text"),
        }
    }
}

/// A cell in a form that all engines agree on.
fn canonical(meant: &Meant, text: &str) -> String {
    match meant.kind.as_str() {
        "float" => format!("{:?}", text.parse::<f32>().unwrap()),
        "double" => format!("{:?}", text.parse::<f64>().unwrap()),
        "char" => text.trim_end_matches(' ').to_string(),
        "datetime" | "timestamp" | "time" => {
            let text = text.trim_end_matches("+00").trim_end_matches('Z');
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
                false => text.to_string(),
            }
        }
        _ => text.to_string(),
    }
}

fn line(columns: &[Meant], row: &[Option<String>]) -> String {
    let cells = columns.iter().zip(row).map(|(meant, cell)| match cell {
        Some(text) => format!("{:?}", canonical(meant, text)),
        None => "NULL".to_string(),
    });
    cells.collect::<Vec<_>>().join(" | ")
}

/// Fails where a table's rows differ from those on PostgreSQL.
#[track_caller]
pub fn same_as_postgres(
    source: &Database,
    target: &super::postgres::Database,
    schema: &str,
    tables: &[&str],
) {
    for table in tables {
        let (columns, here) = source.lines(table);
        let select: Vec<_> = columns.iter().map(|column| column.there(false)).collect();
        let rows = target.rows(&format!("SELECT {} FROM {schema}.\"{table}\"", select.join(", ")));
        let mut there: Vec<_> = rows.iter().map(|row| line(&columns, row)).collect();
        there.sort_unstable();
        assert_eq!(here, there, "{table}");
    }
}

/// Fails where a table's rows differ from those in a SQLite file.
#[track_caller]
pub fn same_as_sqlite(source: &Database, target: &super::sqlite::File, tables: &[&str]) {
    for table in tables {
        let (columns, here) = source.lines(table);
        let select: Vec<_> = columns.iter().map(|column| column.there(true)).collect();
        let connection = target.open();
        let sql = format!("SELECT {} FROM \"{table}\"", select.join(", "));
        let mut statement = connection.prepare(&sql).unwrap();
        let cells = |row: &rusqlite::Row<'_>| {
            (0..columns.len()).map(|at| row.get::<_, Option<String>>(at)).collect::<Result<Vec<_>, _>>()
        };
        let rows: Vec<_> = statement.query_map([], cells).unwrap().collect::<Result<_, _>>().unwrap();
        let mut there: Vec<_> = rows.iter().map(|row| line(&columns, row)).collect();
        there.sort_unstable();
        assert_eq!(here, there, "{table}");
    }
}
