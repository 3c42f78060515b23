//! MariaDB as an end, on a server of its own that may be killed: recorded by its binary log, which
//! the vendor's `mariadb-binlog` asks the server for and prints.
//!
//! ```text
//!   #... server id 1  end_log_pos 1331 CRC32 0x...  GTID 0-1-6 trans
//!   ### UPDATE `shop`.`t`
//!   ### WHERE
//!   ###   @1=1 /* INT meta=0 nullable=0 is_null=0 */
//!   ### SET
//!   ###   @1=2 /* INT meta=0 nullable=0 is_null=0 */
//!   #... end_log_pos 1793 ...  Xid = 7
//!   COMMIT/*!*/;
//! ```

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::runtime::Runtime;

use super::end::{self, Change, End, Log, Logged, Row};
use super::plain;
use crate::support::mariadb::{Database, Server, USER, program};
use crate::support::postgres::PASSWORD;
use crate::support::proxy::{Fault, Proxy};

/// A server that is killed must keep what it said it has; its triggers are the fence.
const SETTINGS: [&str; 3] =
    ["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1", "--log-bin-trust-function-creators=ON"];

/// A packet of the protocol: its length, its number, a query.
const COMMIT: &[u8] = b"\x07\0\0\0\x03COMMIT";

/// Bits of a place that count the bytes in a log file.
const FILE_SHIFT: u32 = 40;

#[derive(Clone)]
pub struct Maria {
    server: Arc<Server>,
    database: Database,
}

/// A server for [`Maria`]; none where the tests go without.
pub fn server() -> Option<Arc<Server>> {
    Server::start(&SETTINGS).map(Arc::new)
}

impl Maria {
    pub fn of(server: &Arc<Server>, name: &str) -> Self {
        Self { server: server.clone(), database: server.database(name) }
    }

    fn open(&self) -> Option<Session> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let conn = runtime.block_on(self.database.try_session()).ok()?;
        Some(Session { conn: Some(conn), runtime })
    }

    /// Ends sessions other than the one that asks.
    fn kill(&self, which: &str) {
        let sql =
            format!("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND {which}");
        for id in self.column(&sql) {
            // It may have ended by itself.
            let _ = self.database.try_execute(&format!("KILL CONNECTION {id}"));
        }
    }
}

impl End for Maria {
    fn shared(&self) -> Arc<dyn End> {
        Arc::new(self.clone())
    }

    fn url_at(&self, port: u16) -> String {
        self.database.through(port).url()
    }

    fn port(&self) -> u16 {
        self.database.port
    }

    fn proxy(&self) -> Proxy {
        Proxy::before_foreign(self.database.port)
    }

    fn session(&self) -> Option<Box<dyn end::Session>> {
        Some(Box::new(self.open()?))
    }

    fn execute(&self, sql: &str) {
        self.database.execute(sql);
    }

    fn column(&self, sql: &str) -> Vec<String> {
        self.database.rows(sql).into_iter().map(|mut row| row.swap_remove(0).unwrap_or_default()).collect()
    }

    fn log(&self, plain: bool) -> Box<dyn Log> {
        assert!(plain, "its log tells values in one way only");
        let mut at = self.database.rows("SHOW MASTER STATUS").remove(0);
        let (file, offset) = (at[0].take().unwrap(), at[1].take().unwrap().parse().unwrap());
        Box::new(Binlog { end: self.clone(), file, offset })
    }

    fn log_whole_rows(&self) {}

    fn is_postgres(&self) -> bool {
        false
    }

    /// `my1/SERVER/binlog.000002:1793//0-1-8`.
    fn place(&self, position: &str) -> u64 {
        let log = position.split('/').nth(2).and_then(|log| log.split_once(':'));
        let (file, offset) = log.unwrap_or_else(|| panic!("no place in a log: {position:?}"));
        place(file, offset.parse().unwrap())
    }

    fn state(&self, table: &str) -> String {
        format!("towpath_{table}")
    }

    fn is_prepared(&self, name: &str) -> Option<bool> {
        let mut session = self.open()?;
        let conn = session.conn.as_mut()?;
        let prepared: Vec<(i64, i64, i64, String)> =
            session.runtime.block_on(conn.query("XA RECOVER")).ok()?;
        Some(prepared.iter().any(|(.., prepared)| prepared == name))
    }

    fn lost_commit(&self) -> Fault {
        Fault::LoseAnswer { to: COMMIT }
    }

    fn end_sessions(&self) {
        self.kill("db = DATABASE()");
    }

    fn harms(&self) -> u64 {
        4
    }

    fn harm(&self, way: u64) {
        match way {
            0 => self.kill("command LIKE 'Binlog Dump%'"),
            1 | 2 => self.database.execute("FLUSH BINARY LOGS"),
            _ => self.server.crash(),
        }
    }

    /// No reader of the log is left; the fence stays.
    fn leftovers(&self) -> Vec<String> {
        self.column(
            "SELECT CONCAT('reader ', id) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%' \
             UNION ALL SELECT CONCAT('table ', table_name) FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_name LIKE 'towpath%'",
        )
    }
}

struct Session {
    conn: Option<Conn>,
    runtime: Runtime,
}

impl end::Session for Session {
    fn run(&mut self, sql: &str) -> Result<(), String> {
        let conn = self.conn.as_mut().unwrap();
        self.runtime.block_on(conn.query_drop(sql)).map_err(|error| error.to_string())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            let _ = self.runtime.block_on(conn.disconnect());
        }
    }
}

/// The log from a place on.
struct Binlog {
    end: Maria,
    file: String,
    offset: u64,
}

impl Log for Binlog {
    fn read(&mut self, take: &mut dyn FnMut(Logged)) {
        let database = &self.end.database;
        let mut child = Command::new(program("mariadb-binlog"))
            .args(["--no-defaults", "--read-from-remote-server", "--host=127.0.0.1", "--protocol=tcp"])
            .arg(format!("--port={}", database.port))
            .arg(format!("--user={USER}"))
            .env("MYSQL_PWD", PASSWORD)
            .args(["--base64-output=DECODE-ROWS", "-vv", "--skip-annotate-row-events", "--to-last-log"])
            .arg(format!("--start-position={}", self.offset))
            .arg(&self.file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut printed = Printed::new(&database.name, &self.file, columns(database));
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).unwrap() > 0 {
            // Other databases of the server may hold any bytes.
            printed.line(String::from_utf8_lossy(&line).trim_end_matches('\n'), take);
            line.clear();
        }
        assert!(child.wait().unwrap().success(), "mariadb-binlog failed");
        (self.file, self.offset) = (printed.file, printed.end);
    }

    /// The server keeps its log by its own rules.
    fn stop(&self) {}
}

/// Names of the columns of all tables, in their order.
fn columns(database: &Database) -> HashMap<String, Vec<String>> {
    let sql = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE() \
               ORDER BY table_name, ordinal_position";
    let mut columns: HashMap<String, Vec<String>> = HashMap::new();
    for row in database.rows(sql) {
        let [table, column] = row.try_into().unwrap();
        columns.entry(table.unwrap()).or_default().push(column.unwrap());
    }
    columns
}

/// `binlog.000002` and a byte in it as a number.
fn place(file: &str, offset: u64) -> u64 {
    let number: u64 = file.rsplit_once('.').and_then(|(_, number)| number.parse().ok()).expect("a log file");
    number << FILE_SHIFT | offset
}

/// What `mariadb-binlog` prints, line by line.
struct Printed {
    database: String,
    columns: HashMap<String, Vec<String>>,
    file: String,
    /// Where the last event ends that is in a file.
    end: u64,
    /// The database of statements that name none.
    used: String,
    /// The row whose cells come now.
    row: Option<Open>,
}

struct Open {
    /// None for one of another database.
    table: Option<String>,
    what: &'static str,
    old: Row,
    new: Row,
    /// Cells are of the new row.
    sets: bool,
}

impl Printed {
    fn new(database: &str, file: &str, columns: HashMap<String, Vec<String>>) -> Self {
        let (database, file) = (database.to_string(), file.to_string());
        Self { database, columns, file, end: 4, used: String::new(), row: None }
    }

    fn line(&mut self, line: &str, take: &mut dyn FnMut(Logged)) {
        if let Some(told) = line.strip_prefix("### ") {
            self.row_line(told, take);
            return;
        }
        self.row_ends(take);
        if let Some((_, rest)) = line.split_once(" end_log_pos ").filter(|_| line.starts_with('#')) {
            self.event(rest, take);
        } else if line == "COMMIT/*!*/;" || line == "COMMIT" {
            take(Logged::Commit(place(&self.file, self.end)));
        } else if let Some(database) = line.strip_prefix("use `") {
            self.used = database.split('`').next().unwrap_or_default().to_string();
        } else if let Some(table) = line.strip_prefix("TRUNCATE ")
            && let Some(table) = self.own(table.trim_start_matches("TABLE ").trim())
        {
            take(Logged::Begin);
            take(Logged::Truncate(vec![table]));
            take(Logged::Commit(place(&self.file, self.end)));
        }
    }

    /// What stands behind `end_log_pos`.
    fn event(&mut self, rest: &str, take: &mut dyn FnMut(Logged)) {
        let end = rest.split_whitespace().next().and_then(|end| end.parse().ok()).expect("a place");
        if end > 0 {
            self.end = end;
        }
        if rest.contains("\tGTID ") || rest.contains("\tStart: binlog") {
            take(Logged::Begin);
        } else if let Some((_, to)) = rest.split_once("\tRotate to ") {
            let (file, offset) = to.split_once("  pos: ").expect("a file and a place");
            (self.file, self.end) = (file.to_string(), offset.trim().parse().expect("a place"));
        }
    }

    /// The bare name of a table, where it is of the recorded database.
    fn own(&self, name: &str) -> Option<String> {
        let name = name.replace('`', "");
        let (database, table) = name.split_once('.').unwrap_or((&self.used, &name));
        (database == self.database).then(|| table.to_string())
    }

    fn row_line(&mut self, told: &str, take: &mut dyn FnMut(Logged)) {
        let kinds = [("INSERT INTO ", "insert"), ("UPDATE ", "update"), ("DELETE FROM ", "delete")];
        let begins = kinds.iter().find_map(|(word, what)| Some((told.strip_prefix(word)?, *what)));
        if let Some((table, what)) = begins {
            self.row_ends(take);
            let (table, sets) = (self.own(table), what == "insert");
            self.row = Some(Open { table, what, old: Row::new(), new: Row::new(), sets });
        }
        let Some(row) = &mut self.row else { return };
        match told {
            "SET" => row.sets = true,
            "WHERE" => row.sets = false,
            _ => {
                let (Some(cell), Some(table)) = (told.strip_prefix("  @"), &row.table) else { return };
                let (number, cell) = cell.split_once('=').expect("a cell");
                let name = self.columns.get(table).map(|names| &names[number.parse::<usize>().unwrap() - 1]);
                // A table that is there no more is none that is compared.
                let Some(name) = name else { return };
                let into = if row.sets { &mut row.new } else { &mut row.old };
                into.insert(name.clone(), value(cell));
            }
        }
    }

    fn row_ends(&mut self, take: &mut dyn FnMut(Logged)) {
        let Some(Open { table: Some(table), what, old, new, .. }) = self.row.take() else { return };
        let change = match what {
            "insert" => Change::Insert(new),
            "update" => Change::Update { old: Some(old), new },
            _ => Change::Delete(old),
        };
        take(Logged::Row { table, change });
    }
}

/// `'x' /* VARSTRING(400) meta=400 nullable=1 is_null=0 */`.
fn value(cell: &str) -> Option<String> {
    let (text, kind) = cell.rsplit_once(" /* ").expect("a value and its type");
    let text = text.trim_end();
    if text == "NULL" {
        return None;
    }
    let kind = kind.split(['(', ' ']).next().unwrap_or_default();
    if let Some(quoted) = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return Some(if kind == "DATETIME" { plain::moment(quoted) } else { shown(quoted) });
    }
    Some(match kind {
        "FLOAT" => plain::float(text),
        "TIMESTAMP" => plain::micros(text),
        // What it would be without its sign stands behind.
        _ => text.split(' ').next().unwrap_or_default().to_string(),
    })
}

/// Only what is below a blank is written as `\x0a`.
fn shown(text: &str) -> String {
    let mut pieces = text.split("\\x");
    let mut shown = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        match piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|byte| *byte < 32)
        {
            Some(byte) => {
                shown.push(char::from(byte));
                shown.push_str(&piece[2..]);
            }
            None => {
                shown.push_str("\\x");
                shown.push_str(piece);
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r"#261127  0:29:20 server id 1  end_log_pos 1331 CRC32 0xdeda26f1 	GTID 0-1-6 trans
/*M!100001 SET @@session.gtid_seq_no=6*//*!*/;
START TRANSACTION
/*!*/;
# at 1331
#261127  0:29:20 server id 1  end_log_pos 1605 CRC32 0xc8491c62 	Table_map: `s`.`a` mapped to number 18
#261127  0:29:20 server id 1  end_log_pos 1762 CRC32 0xe5a3bb71 	Update_rows: table id 18 flags: STMT_END_F
### UPDATE `s`.`a`
### WHERE
###   @1=-5 (4294967291) /* INT meta=0 nullable=0 is_null=0 */
###   @2='it's \N\x09 x' /* VARSTRING(400) meta=400 nullable=1 is_null=0 */
### SET
###   @1=6 /* INT meta=0 nullable=0 is_null=0 */
###   @2=NULL /* VARSTRING(400) meta=400 nullable=1 is_null=1 */
### INSERT INTO `other`.`a`
### SET
###   @1=1 /* INT meta=0 nullable=0 is_null=0 */
# Number of rows: 2
# at 1552
#261127  0:29:20 server id 1  end_log_pos 1793 CRC32 0x3cc3566b 	Xid = 7
COMMIT/*!*/;
#261127  0:29:20 server id 1  end_log_pos 3124 CRC32 0xdfa6a9f2 	Rotate to binlog.000002  pos: 4
#700101  0:00:00 server id 1  end_log_pos 0 CRC32 0xf7c38353 	Rotate to binlog.000002  pos: 4
#261127  0:29:20 server id 1  end_log_pos 2618 CRC32 0x6784de55 	Query	thread_id=5	exec_time=0	error_code=0	xid=0
use `s`/*!*/;
TRUNCATE TABLE a
/*!*/;
";

    #[test]
    fn the_recorder_reads_what_mariadb_binlog_prints() {
        let columns = HashMap::from([("a".to_string(), vec!["id".to_string(), "b".to_string()])]);
        let mut printed = Printed::new("s", "binlog.000001", columns);
        let mut logged = Vec::new();
        LINES.lines().for_each(|line| printed.line(line, &mut |told| logged.push(told)));
        let row = |id: &str, b: Option<&str>| {
            Row::from([("id".to_string(), Some(id.to_string())), ("b".to_string(), b.map(str::to_string))])
        };
        let old = Some(row("-5", Some("it's \\N\t x")));
        let change = Change::Update { old, new: row("6", None) };
        let first = 1 << FILE_SHIFT;
        assert_eq!(
            logged,
            [
                Logged::Begin,
                Logged::Row { table: "a".into(), change },
                Logged::Commit(first + 1793),
                Logged::Begin,
                Logged::Truncate(vec!["a".into()]),
                Logged::Commit(2 * first + 2618),
            ]
        );
        assert_eq!(
            value("0.333333             /* FLOAT meta=4 nullable=1 is_null=0 */").unwrap(),
            plain::float("0.33333334")
        );
        assert_eq!(value("1767261600.000000 /* TIMESTAMP(6) meta=6 */").unwrap(), "1767261600000000");
        assert_eq!(
            value("'2026-01-01 10:00:00.500000' /* DATETIME(6) meta=6 */").unwrap(),
            "1767261600500000"
        );
        assert_eq!(value("-0.10 /* DECIMAL(10,2) meta=2562 nullable=1 is_null=0 */").unwrap(), "-0.10");
    }
}
