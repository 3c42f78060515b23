//! PostgreSQL as an end: recorded by a slot with `test_decoding`, whose lines say
//! `table public.t: UPDATE: id[integer]:1 b[text]:'x'`.

use std::sync::Arc;

use super::end::{self, Change, End, Log, Logged, Row, UNCHANGED};
use super::plain;
use crate::support::postgres::{Database, Session};
use crate::support::proxy::{Fault, Proxy};

/// Changes taken at once.
const BATCH: u32 = 50_000;

const WHOLE_ROWS: &str = "CREATE FUNCTION whole_rows() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE t regclass; BEGIN \
    FOR t IN SELECT objid FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'public.events' \
    LOOP EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', t); END LOOP; END $$; \
    CREATE EVENT TRIGGER whole_rows ON ddl_command_end WHEN tag IN ('CREATE TABLE') EXECUTE FUNCTION whole_rows()";

impl end::Session for Session {
    fn run(&mut self, sql: &str) -> Result<(), String> {
        self.try_execute(sql).map_err(|error| error.to_string())
    }
}

impl End for Database {
    fn shared(&self) -> Arc<dyn End> {
        Arc::new(self.clone())
    }

    fn url_at(&self, port: u16) -> String {
        self.url_at(port)
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn proxy(&self) -> Proxy {
        Proxy::before(self.port)
    }

    fn session(&self) -> Option<Box<dyn end::Session>> {
        Some(Box::new(self.try_session().ok()?))
    }

    fn execute(&self, sql: &str) {
        self.execute(sql);
    }

    fn column(&self, sql: &str) -> Vec<String> {
        self.rows(sql).into_iter().map(|mut row| row.swap_remove(0).unwrap_or_default()).collect()
    }

    fn log(&self, plain: bool) -> Box<dyn Log> {
        // The least there is: more transactions are told while they go on.
        self.execute(&format!("ALTER DATABASE {self} SET logical_decoding_work_mem = '64kB'"));
        let slot = format!("recorder_{}", self.name);
        self.execute(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')"));
        Box::new(Slot { database: self.clone(), slot, plain })
    }

    fn log_whole_rows(&self) {
        self.execute(WHOLE_ROWS);
    }

    fn is_postgres(&self) -> bool {
        true
    }

    fn place(&self, position: &str) -> u64 {
        lsn(position)
    }

    fn state(&self, table: &str) -> String {
        format!("towpath.{table}")
    }

    fn is_prepared(&self, name: &str) -> Option<bool> {
        let sql = format!("SELECT count(*)::text FROM pg_prepared_xacts WHERE gid = '{name}'");
        Some(self.try_session().ok()?.value(&sql) != "0")
    }

    fn lost_commit(&self) -> Fault {
        Fault::LoseMessage { kind: b'C', body: b"COMMIT\0" }
    }

    fn end_sessions(&self) {
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'towpath'",
        );
    }

    fn harms(&self) -> u64 {
        0
    }

    fn harm(&self, way: u64) {
        unreachable!("there is no way {way}");
    }

    fn leftovers(&self) -> Vec<String> {
        self.column(
            "SELECT 'slot ' || slot_name FROM pg_replication_slots \
             WHERE database = current_database() AND slot_name LIKE 'towpath%' \
             UNION ALL SELECT 'publication ' || pubname FROM pg_publication",
        )
    }
}

/// A slot of the recorder's own.
struct Slot {
    database: Database,
    slot: String,
    plain: bool,
}

impl Log for Slot {
    fn read(&mut self, take: &mut dyn FnMut(Logged)) {
        let mut session = self.database.session();
        let sql =
            format!("SELECT lsn, data FROM pg_logical_slot_get_changes('{}', NULL, {BATCH})", self.slot);
        loop {
            let rows = session.rows(&sql);
            for row in &rows {
                let (Some(at), Some(data)) = (&row[0], &row[1]) else { continue };
                if data.starts_with("BEGIN") {
                    take(Logged::Begin);
                } else if data.starts_with("COMMIT") {
                    take(Logged::Commit(lsn(at)));
                } else if let Some(change) = data.strip_prefix("table ") {
                    take(read_line(change, self.plain));
                }
            }
            if rows.is_empty() {
                return;
            }
        }
    }

    fn stop(&self) {
        self.database.execute(&format!("SELECT pg_drop_replication_slot('{}')", self.slot));
    }
}

/// `1/2A` as a number.
fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap_or_else(|| panic!("no LSN: {text:?}"));
    (u64::from_str_radix(high, 16).unwrap() << 32) | u64::from_str_radix(low, 16).unwrap()
}

/// `public.t` and `towpath.stream` by their bare names.
fn bare(table: &str) -> String {
    match table.split_once('.') {
        Some(("public", table)) => table.to_string(),
        Some((schema, table)) => format!("{schema}_{table}"),
        None => table.to_string(),
    }
}

fn read_line(line: &str, plain: bool) -> Logged {
    // Names of the harness hold no colon.
    let (tables, rest) = line.split_once(": ").unwrap_or((line, ""));
    let (what, cells) = rest.split_once(": ").unwrap_or((rest, ""));
    if what.trim_end_matches(':') == "TRUNCATE" {
        return Logged::Truncate(tables.split(", ").map(bare).collect());
    }
    let row = |cells| read_row(cells, plain);
    let change = match what {
        "INSERT" => Change::Insert(row(cells)),
        "DELETE" => Change::Delete(row(cells)),
        "UPDATE" => match cells.strip_prefix("old-key: ") {
            Some(rest) => {
                let (old, new) = rest.split_once(" new-tuple: ").expect("both tuples");
                Change::Update { old: Some(row(old)), new: row(new) }
            }
            None => Change::Update { old: None, new: row(cells) },
        },
        _ => panic!("not understood: {line}"),
    };
    Logged::Row { table: bare(tables), change }
}

/// Cells `name[type]:value`.
fn read_row(mut cells: &str, plain: bool) -> Row {
    let mut row = Row::new();
    while !cells.is_empty() && !cells.starts_with("(no-tuple-data)") {
        let bracket = cells.find('[').expect("a type");
        let colon = bracket + cells[bracket..].find("]:").expect("a value") + 2;
        let name = cells[..bracket].trim().trim_matches('"').to_string();
        let kind = &cells[bracket + 1..colon - 2];
        let end = colon + value_length(&cells[colon..]);
        row.insert(name, value(kind, &cells[colon..end], plain));
        cells = cells[end..].trim_start();
    }
    row
}

fn value(kind: &str, text: &str, plain: bool) -> Option<String> {
    let text = match text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(quoted) => quoted.replace("''", "'"),
        None if text == "null" => return None,
        None => text.to_string(),
    };
    Some(match kind {
        _ if !plain || text == UNCHANGED => text,
        "real" => plain::float(&text),
        "timestamp with time zone" => plain::moment(&text),
        _ => text,
    })
}

/// A value is quoted, with quotes doubled, or ends at the next space.
fn value_length(text: &str) -> usize {
    let Some(rest) = text.strip_prefix('\'') else { return text.find(' ').unwrap_or(text.len()) };
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return at + 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorder_reads_what_test_decoding_writes() {
        let read = |line| read_line(line, false);
        let cell = |name: &str, value: Option<&str>| (name.to_string(), value.map(str::to_string));
        let table = || "t".to_string();
        let new = Row::from([
            cell("id", Some("1")),
            cell("b", Some("it's [x]: y")),
            cell("c", Some("null")),
            cell("d", None),
        ]);
        assert_eq!(
            read("public.t: INSERT: id[integer]:1 b[text]:'it''s [x]: y' c[text]:'null' d[text]:null"),
            Logged::Row { table: table(), change: Change::Insert(new) }
        );
        let old = Some(Row::from([cell("id", Some("1"))]));
        let new = Row::from([cell("id", Some("3")), cell("b", Some("z")), cell("c", Some(UNCHANGED))]);
        assert_eq!(
            read(
                "public.t: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:3 b[text]:'z' c[text]:unchanged-toast-datum"
            ),
            Logged::Row { table: table(), change: Change::Update { old, new } }
        );
        let gone = Row::from([cell("id", Some("2"))]);
        assert_eq!(
            read("towpath.stream: DELETE: id[integer]:2"),
            Logged::Row { table: "towpath_stream".into(), change: Change::Delete(gone) }
        );
        assert_eq!(
            read("public.t, public.k: TRUNCATE: (no-flags)"),
            Logged::Truncate(vec![table(), "k".into()])
        );
        assert_eq!(lsn("1/2A"), 0x1_0000_002A);
    }
}
