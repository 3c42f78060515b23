//! What happened, told by the servers themselves: the log of an end, folded into the state of the
//! tables after each commit. Shares no code with the tool.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::end::{Change, End, Log, Logged, Row, UNCHANGED};
use super::shop::{Act, Cascade, Table};

/// The tables, and sums over their rows.
#[derive(Clone, Debug, Default)]
struct State {
    /// Columns that tell rows of a table apart, by table.
    keys: HashMap<&'static str, &'static [&'static str]>,
    /// What foreign keys do without a word in the log.
    silent: &'static [Cascade],
    tables: HashMap<String, Rows>,
    sums: Sums,
}

/// An additive sum over the rows of each table.
pub type Sums = BTreeMap<&'static str, u128>;

/// Rows by key; rows without a key by themselves, with how often they are there.
type Rows = HashMap<String, (Row, u32)>;

/// One commit as a server logged it.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Where it ends in the log.
    pub place: u64,
    /// Of the recorded tables after it.
    pub sums: Sums,
    /// What the stream's mark said the position was, where this commit wrote it.
    pub position: Option<String>,
    /// It brought rows of the first copy.
    pub copied: bool,
    /// All of it, for whoever wants to see what went wrong.
    changes: Vec<Logged>,
}

/// A log, and the state that its changes come to.
pub struct Recorder {
    log: Box<dyn Log>,
    state: State,
    pub commits: Vec<Commit>,
}

impl Recorder {
    /// Begins to record. `plain`: to be held against a log of another database. `silent`: what the
    /// foreign keys of this end do that its log does not tell.
    pub fn start(end: &dyn End, tables: &[Table], silent: &'static [Cascade], plain: bool) -> Self {
        let state = State { keys: tables.iter().copied().collect(), silent, ..State::default() };
        Self { log: end.log(plain), state, commits: Vec::new() }
    }

    /// Takes everything that was logged since the last time.
    pub fn read(&mut self) {
        let (state, commits) = (&mut self.state, &mut self.commits);
        let mut open = Vec::new();
        self.log.read(&mut |logged| match logged {
            Logged::Begin => open.clear(),
            Logged::Commit(place) => {
                let (mut position, mut copied) = (None, false);
                let changes = std::mem::take(&mut open);
                for logged in &changes {
                    copied |= is_copied(logged);
                    position = state.take(logged.clone()).or(position.take());
                }
                commits.push(Commit { place, sums: state.sums.clone(), position, copied, changes });
            }
            change => open.push(change),
        });
    }

    /// The tables after the last commit at or before a place; none where nothing was there yet.
    pub fn sums_at(&self, place: u64) -> Option<&Sums> {
        Some(&self.commits[self.commit_at(place)?].sums)
    }

    /// The rows of a table after a commit, and what commits up to it did to the table, the last ones.
    pub fn story(&self, table: &str, at: usize) -> (BTreeSet<String>, Vec<String>) {
        let State { keys, silent, .. } = &self.state;
        let mut state = State { keys: keys.clone(), silent, ..State::default() };
        let mut told = Vec::new();
        for (number, commit) in self.commits[..=at].iter().enumerate() {
            for logged in &commit.changes {
                let is_own = matches!(logged, Logged::Row { table: of, .. } if of == table);
                let mut parents = silent.iter().filter(|key| key.child == table);
                if is_own || parents.any(|key| is_of(logged, key.parent)) {
                    told.push(format!("{number} ({:X}): {logged:?}", commit.place));
                }
                state.take(logged.clone());
            }
        }
        let rows = state.tables.get(table).into_iter().flat_map(Rows::values);
        (rows.map(|(row, count)| format!("{count} {row:?}")).collect(), told)
    }

    /// The last commit at or before a place.
    pub fn commit_at(&self, place: u64) -> Option<usize> {
        self.commits.partition_point(|commit| commit.place <= place).checked_sub(1)
    }

    /// Where a table was as this sum says: its first and last place.
    pub fn places_of(&self, table: &str, sum: u128) -> Option<(u64, u64)> {
        let same = |commit: &&Commit| commit.sums.get(table) == Some(&sum);
        let mut found = self.commits.iter().filter(same).map(|commit| commit.place);
        let first = found.next()?;
        Some((first, found.next_back().unwrap_or(first)))
    }

    /// Rows of a table now, as sorted texts.
    pub fn rows(&self, table: &str) -> Vec<String> {
        let rows = self.state.tables.get(table).into_iter().flat_map(Rows::values);
        let mut rows: Vec<String> =
            rows.flat_map(|(row, count)| vec![format!("{row:?}"); *count as usize]).collect();
        rows.sort();
        rows
    }

    /// Lets the server forget its log.
    pub fn stop(&self) {
        self.log.stop();
    }
}

fn is_of(logged: &Logged, name: &str) -> bool {
    matches!(logged, Logged::Row { table, .. } if table == name)
}

fn is_copied(logged: &Logged) -> bool {
    matches!(logged, Logged::Row { table, change: Change::Insert(_) } if table == "towpath_copy")
}

impl State {
    /// Takes what was logged. Returns the position, where it is the stream's row.
    fn take(&mut self, logged: Logged) -> Option<String> {
        match logged {
            Logged::Row { table, change: Change::Insert(row) | Change::Update { new: row, .. } }
                if table == "towpath_stream" =>
            {
                return row["position"].clone();
            }
            Logged::Row { table, change } => {
                if let Some((table, key)) = self.keys.get_key_value(table.as_str()) {
                    let (table, key) = (*table, *key);
                    self.change(table, key, change);
                }
            }
            Logged::Truncate(tables) => {
                for table in &tables {
                    if self.keys.contains_key(table.as_str()) {
                        self.clear(table);
                    }
                }
            }
            Logged::Begin | Logged::Commit(_) => {}
        }
        None
    }

    fn change(&mut self, table: &'static str, key: &[&str], change: Change) {
        match change {
            Change::Insert(row) => self.add(table, key, row),
            Change::Delete(row) => {
                let gone = self.remove(table, key, &row);
                self.cascade(table, &gone, None);
            }
            Change::Update { old, new } => {
                let gone = self.remove(table, key, old.as_ref().unwrap_or(&new));
                let mut row = new;
                for (column, value) in &mut row {
                    if value.as_deref() == Some(UNCHANGED) {
                        value.clone_from(&gone[column]);
                    }
                }
                self.add(table, key, row.clone());
                self.cascade(table, &gone, Some(&row));
            }
        }
    }

    /// What the foreign keys that point at a row do when it goes, or becomes another.
    fn cascade(&mut self, table: &str, old: &Row, new: Option<&Row>) {
        for key in self.silent.iter().filter(|key| key.parent == table) {
            let value = new.map(|new| &new[key.of]);
            if value == Some(&old[key.of]) || old[key.of].is_none() {
                continue;
            }
            let act = if new.is_some() { key.on_update } else { key.on_delete };
            let children = self.tables.get(key.child).into_iter().flat_map(Rows::values);
            let children: Vec<Row> = children
                .filter(|(row, _)| row[key.column] == old[key.of])
                .map(|(row, _)| row.clone())
                .collect();
            for child in children {
                let told = self.keys[key.child];
                let change = match (act, value) {
                    (Act::Follow, None) => Change::Delete(child),
                    (Act::Follow, Some(value)) => changed(child, key.column, value.clone()),
                    (Act::Null, _) => changed(child, key.column, None),
                };
                self.change(key.child, told, change);
            }
        }
    }

    fn add(&mut self, table: &'static str, key: &[&str], row: Row) {
        let sum = self.sums.entry(table).or_default();
        *sum = sum.wrapping_add(hash(table, &row));
        let rows = self.tables.entry(table.to_string()).or_default();
        rows.entry(id(key, &row)).or_insert((row, 0)).1 += 1;
    }

    fn remove(&mut self, table: &'static str, key: &[&str], old: &Row) -> Row {
        let rows = self.tables.entry(table.to_string()).or_default();
        let id = id(key, old);
        let (row, count) = rows.get_mut(&id).unwrap_or_else(|| panic!("{table} has no row {id}"));
        let row = row.clone();
        *count -= 1;
        if *count == 0 {
            rows.remove(&id);
        }
        let sum = self.sums.entry(table).or_default();
        *sum = sum.wrapping_sub(hash(table, &row));
        row
    }

    fn clear(&mut self, table: &str) {
        self.tables.remove(table);
        if let Some(sum) = self.sums.get_mut(table) {
            *sum = 0;
        }
    }
}

fn changed(old: Row, column: &str, value: Option<String>) -> Change {
    let mut new = old.clone();
    new.insert(column.to_string(), value);
    Change::Update { old: Some(old), new }
}

/// What tells a row apart. Old rows are told without their nulls.
fn id(key: &[&str], row: &Row) -> String {
    let cell = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_string());
    match key {
        [] => row.iter().filter(|(_, value)| value.is_some()).map(|cell| format!("{cell:?}")).collect(),
        key => key.iter().map(|column| format!("{}\u{1}", cell(&row[*column]))).collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[(&str, &str)]) -> Row {
        cells.iter().map(|(name, value)| (name.to_string(), Some(value.to_string()))).collect()
    }

    fn state() -> State {
        const SILENT: &[Cascade] = &[Cascade {
            parent: "p",
            of: "id",
            child: "c",
            column: "p",
            on_delete: Act::Follow,
            on_update: Act::Follow,
        }];
        let keys = HashMap::from([("p", &["id"][..]), ("c", &["id"][..]), ("k", &[][..])]);
        State { keys, silent: SILENT, ..State::default() }
    }

    fn insert(state: &mut State, table: &str, cells: &[(&str, &str)]) {
        state.take(Logged::Row { table: table.into(), change: Change::Insert(row(cells)) });
    }

    #[test]
    fn a_state_is_what_its_changes_come_to() {
        let mut state = state();
        insert(&mut state, "p", &[("id", "1"), ("long", "text")]);
        let update =
            Change::Update { old: Some(row(&[("id", "1")])), new: row(&[("id", "3"), ("long", UNCHANGED)]) };
        state.take(Logged::Row { table: "p".into(), change: update });
        assert_eq!(state.tables["p"]["3\u{1}"].0["long"].as_deref(), Some("text"));
        let before = state.sums["p"];
        for _ in 0..3 {
            insert(&mut state, "k", &[("a", "1")]);
        }
        state.take(Logged::Row { table: "k".into(), change: Change::Delete(row(&[("a", "1")])) });
        assert_eq!(state.tables["k"].values().map(|(_, count)| count).sum::<u32>(), 2);
        state.take(Logged::Truncate(vec!["k".into(), "other".into()]));
        assert_eq!(state.sums, Sums::from([("p", before), ("k", 0)]));
        let mark = Change::Update { old: None, new: row(&[("position", "1/2A")]) };
        let mark = Logged::Row { table: "towpath_stream".into(), change: mark };
        assert_eq!(state.take(mark).as_deref(), Some("1/2A"));
    }

    #[test]
    fn foreign_keys_do_what_the_log_does_not_tell() {
        let mut state = state();
        for id in ["1", "2"] {
            insert(&mut state, "p", &[("id", id)]);
            insert(&mut state, "c", &[("id", id), ("p", id)]);
        }
        let update = Change::Update { old: Some(row(&[("id", "1")])), new: row(&[("id", "9")]) };
        state.take(Logged::Row { table: "p".into(), change: update });
        state.take(Logged::Row { table: "p".into(), change: Change::Delete(row(&[("id", "2")])) });
        let left: Vec<&Row> = state.tables["c"].values().map(|(row, _)| row).collect();
        assert_eq!(left, [&row(&[("id", "1"), ("p", "9")])]);
    }
}
