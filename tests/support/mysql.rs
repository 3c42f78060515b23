//! A private MySQL server, started and ended as the MariaDB ones are, where `TOWPATH_MYSQL_BIN` names a
//! folder with `mysqld`; `tests/run` unpacks one where it can be had.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use super::fixture;
use super::mariadb::{Database, Server, command, run};

/// Settings that keep it small and quick.
const SETTINGS: [&str; 8] = [
    "--mysqlx=OFF",
    "--secure-file-priv=NULL",
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=32M",
    "--innodb-redo-log-capacity=32M",
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    "--log-bin-trust-function-creators=ON",
];

/// The server of this process; none where there is no such program.
pub fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(|| start(&[])).as_ref()
}

/// Leaves the test where there is no server.
#[macro_export]
macro_rules! need_mysql {
    () => {
        match $crate::support::mysql::server() {
            Some(server) => server,
            None => return,
        }
    };
}

fn program() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("TOWPATH_MYSQL_BIN").filter(|folder| !folder.is_empty())?);
    let program = folder.join("mysqld");
    assert!(program.exists(), "no mysqld in TOWPATH_MYSQL_BIN");
    Some(program)
}

/// A server with settings that others could not live with. Stopped when it is dropped.
pub fn start(settings: &[&str]) -> Option<Server> {
    let Some(program) = program() else {
        eprintln!("SKIPPED: no MySQL server (TOWPATH_MYSQL_BIN)");
        return None;
    };
    let server = Server::launch("mysql", settings, |directory, port, settings| {
        let data = directory.join("data");
        if !data.exists() {
            let out = command(&program)
                .args(["--no-defaults", "--initialize-insecure"])
                .arg(format!("--datadir={}", data.display()))
                .args(["--innodb-flush-method=nosync", "--innodb-redo-log-capacity=32M"])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(out.status.success(), "mysqld --initialize:\n{}", String::from_utf8_lossy(&out.stderr));
        }
        let defaults = defaults(directory);
        fs::write(&defaults, "").unwrap();
        let defaults = format!("--defaults-file={}", defaults.display());
        run((&program, &defaults), directory, port, SETTINGS.iter().chain(settings).copied())
    });
    server.admin(
        "CREATE DATABASE numbers; USE numbers; CREATE TABLE numbers (seq int PRIMARY KEY); \
         SET cte_max_recursion_depth = 100000; INSERT INTO numbers WITH RECURSIVE s (seq) AS \
         (SELECT 1 UNION ALL SELECT seq + 1 FROM s WHERE seq < 100000) SELECT seq FROM s",
    );
    Some(server)
}

fn defaults(directory: &Path) -> PathBuf {
    directory.join("my.cnf")
}

/// `kill -9`, and up again with another setting.
pub fn restart(server: &Server, setting: &str) {
    fs::write(defaults(&server.directory), format!("[mysqld]\n{setting}\n")).unwrap();
    server.crash();
}

/// A text that was written for MariaDB, whose sequences of numbers are a table elsewhere here.
pub fn told(sql: &str) -> String {
    const WORD: &str = "seq_1_to_";
    let mut parts = sql.split(WORD);
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let digits = part.chars().take_while(char::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        out.push_str(&format!("(SELECT seq FROM numbers.numbers WHERE seq <= {number}) AS numbered{rest}"));
    }
    out
}

/// The fixture with one column of each type, less those that MySQL has not.
pub fn types() -> String {
    let mut sql = fixture::sql("mysql", "types");
    for (there, here) in [
        (",\n  uu uuid, i4 inet4, i6 inet6", ""),
        (",\n   '123e4567-e89b-12d3-a456-426614174000', '192.0.2.1', '2001:db8::1'", ""),
        ("'[]', NULL, NULL, NULL, NULL)", "'[]', NULL)"),
        (", '00000000-0000-0000-0000-000000000000', '0.0.0.0', '::ffff:1.2.3.4'", ""),
    ] {
        assert!(sql.contains(there), "{there}");
        sql = sql.replace(there, here);
    }
    sql
}

impl Database {
    /// Runs a text that was written for MariaDB.
    pub fn execute_told(&self, sql: &str) {
        self.execute(&told(sql));
    }
}
