//! What happened, told by the servers themselves: a slot with `test_decoding` on each end, folded
//! into the state of the tables after each commit. Shares no code with the tool.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::support::postgres::{Database, Session};

const SLOT: &str = "recorder";
/// Changes taken at once.
const BATCH: u32 = 50_000;

/// A row: its columns by name, values in the server's text.
type Row = BTreeMap<String, String>;

/// The tables, and an additive sum over their rows.
#[derive(Clone, Debug, Default)]
struct State {
    tables: HashMap<String, Table>,
    sum: u128,
}

#[derive(Clone, Debug, Default)]
struct Table {
    /// Rows by key; rows without a key by themselves, with how often they are there.
    rows: HashMap<String, (Row, u32)>,
}

/// One commit as a server logged it.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The end of the commit record.
    pub lsn: u64,
    /// Sum over all rows of the recorded tables after it.
    pub sum: u128,
    /// What `towpath.stream` said the position was, where this commit wrote it.
    pub position: Option<u64>,
    /// It brought rows of the first copy.
    pub copied: bool,
}

/// A slot, and the state that its changes come to.
pub struct Recorder {
    database: Database,
    slot: String,
    state: State,
    /// Columns that tell rows of a table apart, by table.
    keys: HashMap<&'static str, &'static [&'static str]>,
    pub commits: Vec<Commit>,
}

/// `1/2A` as a number.
pub fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap_or_else(|| panic!("no LSN: {text:?}"));
    (u64::from_str_radix(high, 16).unwrap() << 32) | u64::from_str_radix(low, 16).unwrap()
}

impl Recorder {
    /// Begins to record. `keys`: recorded tables (`public.t`) and their key columns; none for a
    /// table without a key.
    pub fn start(
        database: &Database,
        keys: impl IntoIterator<Item = (&'static str, &'static [&'static str])>,
    ) -> Self {
        let slot = format!("{SLOT}_{}", database.name);
        database.execute(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')"));
        let (database, keys) = (database.clone(), keys.into_iter().collect());
        Self { database, slot, state: State::default(), keys, commits: Vec::new() }
    }

    /// Takes everything that was logged since the last time.
    pub fn read(&mut self) {
        let mut session = self.database.session();
        while self.read_some(&mut session) {}
    }

    fn read_some(&mut self, session: &mut Session) -> bool {
        let sql =
            format!("SELECT lsn, data FROM pg_logical_slot_get_changes('{}', NULL, {BATCH})", self.slot);
        let rows = session.rows(&sql);
        let (mut position, mut copied) = (None, false);
        for row in &rows {
            let (Some(at), Some(data)) = (&row[0], &row[1]) else { continue };
            if data.starts_with("COMMIT") {
                let (position, copied) = (position.take(), std::mem::take(&mut copied));
                self.commits.push(Commit { lsn: lsn(at), sum: self.state.sum, position, copied });
            } else if let Some(change) = data.strip_prefix("table ") {
                copied |= change.starts_with("towpath.copy: INSERT");
                position = self.state.take(change, &self.keys).or(position);
            }
        }
        !rows.is_empty()
    }

    /// The state after the last commit at or before `position`.
    pub fn sum_at(&self, position: u64) -> u128 {
        let after = self.commits.partition_point(|commit| commit.lsn <= position);
        after.checked_sub(1).map_or(0, |last| self.commits[last].sum)
    }

    /// Rows of a table now, as sorted texts.
    pub fn rows(&self, table: &str) -> Vec<String> {
        let table = self.state.tables.get(table);
        let rows = table.into_iter().flat_map(|table| table.rows.values());
        let mut rows: Vec<String> =
            rows.flat_map(|(row, count)| vec![format!("{row:?}"); *count as usize]).collect();
        rows.sort();
        rows
    }

    /// Lets the server forget its log.
    pub fn stop(&self) {
        self.database.execute(&format!("SELECT pg_drop_replication_slot('{}')", self.slot));
    }
}

impl State {
    /// Takes one line of `test_decoding`, such as `public.t: UPDATE: id[integer]:1 b[text]:'x'`.
    /// Returns the position, where it is the stream's row.
    fn take(&mut self, line: &str, keys: &HashMap<&'static str, &'static [&'static str]>) -> Option<u64> {
        let (tables, rest) = split_name(line);
        let (what, cells) = rest.split_once(": ").unwrap_or((rest, ""));
        if tables == "towpath.stream" && what != "DELETE" {
            return parse(cells).0.get("position").map(|text| lsn(text.trim_matches('\'')));
        }
        if what.trim_end_matches(':') == "TRUNCATE" {
            for table in tables.split(", ").filter(|table| keys.contains_key(table)) {
                self.clear(table);
            }
            return None;
        }
        let key = *keys.get(tables)?;
        let (new, old) = parse(cells);
        match what {
            "INSERT" => self.add(tables, key, new),
            "DELETE" => drop(self.remove(tables, key, &new)),
            "UPDATE" => {
                let gone = self.remove(tables, key, old.as_ref().unwrap_or(&new));
                let mut row = new;
                for (column, value) in &mut row {
                    if value == "unchanged-toast-datum" {
                        value.clone_from(&gone[column]);
                    }
                }
                self.add(tables, key, row);
            }
            _ => panic!("not understood: {line}"),
        }
        None
    }

    fn add(&mut self, table: &str, key: &[&str], row: Row) {
        self.sum = self.sum.wrapping_add(hash(table, &row));
        let rows = &mut self.tables.entry(table.to_string()).or_default().rows;
        rows.entry(id(key, &row)).or_insert((row, 0)).1 += 1;
    }

    fn remove(&mut self, table: &str, key: &[&str], old: &Row) -> Row {
        let rows = &mut self.tables.entry(table.to_string()).or_default().rows;
        let id = id(key, old);
        let (row, count) = rows.get_mut(&id).unwrap_or_else(|| panic!("{table} has no row {id}"));
        let row = row.clone();
        *count -= 1;
        if *count == 0 {
            rows.remove(&id);
        }
        self.sum = self.sum.wrapping_sub(hash(table, &row));
        row
    }

    fn clear(&mut self, table: &str) {
        let rows = self.tables.remove(table).unwrap_or_default().rows;
        for (row, count) in rows.values() {
            self.sum = self.sum.wrapping_sub(hash(table, row).wrapping_mul(u128::from(*count)));
        }
    }
}

/// What tells a row apart. Old rows are told without their nulls.
fn id(key: &[&str], row: &Row) -> String {
    match key {
        [] => row.iter().filter(|(_, value)| *value != "null").map(|cell| format!("{cell:?}")).collect(),
        key => key.iter().map(|column| format!("{}\u{1}", row[*column])).collect(),
    }
}

fn hash(table: &str, row: &Row) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, table, row).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    (half(1) << 64) | half(2)
}

/// The table's name and what follows its colon; names of the harness hold no colon.
fn split_name(line: &str) -> (&str, &str) {
    line.split_once(": ").unwrap_or((line, ""))
}

/// Cells `name[type]:value`, and those of `old-key:` where it is told.
fn parse(cells: &str) -> (Row, Option<Row>) {
    if let Some(rest) = cells.strip_prefix("old-key: ") {
        let (old, new) = rest.split_once(" new-tuple: ").expect("both tuples");
        return (parse_row(new), Some(parse_row(old)));
    }
    (parse_row(cells), None)
}

fn parse_row(mut cells: &str) -> Row {
    let mut row = Row::new();
    while !cells.is_empty() && !cells.starts_with("(no-tuple-data)") {
        let bracket = cells.find('[').expect("a type");
        let colon = bracket + cells[bracket..].find("]:").expect("a value") + 2;
        let name = cells[..bracket].trim().trim_matches('"').to_string();
        let end = colon + value_length(&cells[colon..]);
        row.insert(name, cells[colon..end].to_string());
        cells = cells[end..].trim_start();
    }
    row
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

#[test]
fn the_recorder_reads_what_test_decoding_writes() {
    let keys = HashMap::from([("public.t", &["id"][..]), ("public.k", &[][..])]);
    let mut state = State::default();
    let mut take = |line: &str| state.take(line, &keys);
    take("public.t: INSERT: id[integer]:1 b[text]:'it''s [x]: y' c[text]:'long'");
    take("public.t: INSERT: id[integer]:2 b[text]:null c[text]:''");
    take(
        "public.t: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:3 b[text]:'z' c[text]:unchanged-toast-datum",
    );
    take("public.k: INSERT: a[integer]:1 b[text]:null");
    take("public.k: INSERT: a[integer]:1 b[text]:null");
    take("public.k: DELETE: a[integer]:1");
    assert_eq!(
        take("towpath.stream: UPDATE: plan[text]:'job' position[text]:'1/2A' at[timestamp]:null"),
        Some(0x1_0000_002A)
    );
    assert_eq!(state.tables["public.t"].rows["3\u{1}"].0["c"], "'long'");
    assert_eq!(state.tables["public.k"].rows.values().map(|(_, count)| count).sum::<u32>(), 1);
    let before = state.sum;
    state.take("public.t: DELETE: id[integer]:2", &keys);
    state.take("public.t: INSERT: id[integer]:2 b[text]:null c[text]:''", &keys);
    assert_eq!(state.sum, before);
    state.take("public.t: TRUNCATE: (no-flags)", &keys);
    state.take("public.k: TRUNCATE: (no-flags)", &keys);
    assert_eq!(state.sum, 0);
}
