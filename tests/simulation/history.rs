//! The change log of the simulated source: transactions that overlap and commit in another order
//! than they began, key changes, swaps of unique values, truncates, rollbacks. Positions are
//! numbers: a transaction begins at its commit record and ends behind it, where the next may begin.

use std::collections::{BTreeMap, BTreeSet};

use towpath::catalog::Name;

use super::world::{SourceTable, World};

/// A row: its key, and its other columns as one text, `v|w`.
pub type Row = (i64, String);

#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// From nothing, to nothing, or from one to the other.
    Row {
        table: Name,
        old: Option<Row>,
        new: Option<Row>,
    },
    Truncate(Vec<Name>),
}

/// A committed transaction.
#[derive(Clone, Debug)]
pub struct Logged {
    pub begin: u64,
    pub end: u64,
    pub changes: Vec<Change>,
}

/// A transaction that is still open, with what it has locked.
#[derive(Clone, Debug, Default)]
struct Open {
    changes: Vec<Change>,
    keys: BTreeSet<(Name, i64)>,
    values: BTreeSet<(Name, String)>,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub log: Vec<Logged>,
    /// The source after each position at which it changed.
    states: BTreeMap<u64, BTreeMap<Name, SourceTable>>,
    open: Vec<Open>,
}

const KEYS: u64 = 14;

/// The columns of a value.
pub fn split(value: &str) -> (&str, &str) {
    value.split_once('|').unwrap_or((value, ""))
}

pub fn join(v: &str, w: &str) -> String {
    if w.is_empty() { v.to_string() } else { format!("{v}|{w}") }
}

impl History {
    /// The source as it was at `position`.
    pub fn state(&self, position: u64) -> &BTreeMap<Name, SourceTable> {
        self.states.range(..=position).next_back().expect("the first state is recorded").1
    }

    pub fn after(&self, position: u64) -> impl Iterator<Item = &Logged> {
        self.log.iter().filter(move |logged| logged.begin >= position)
    }
}

impl World {
    /// Starts recording.
    pub fn record(&mut self) {
        let state = self.source.clone();
        self.history.states.insert(self.transaction, state);
    }

    /// Something happens on the source: a transaction begins, goes on, or ends; or the log grows by
    /// what is none of our tables'.
    pub fn write_logged(&mut self) {
        match self.random.below(8) {
            0 => self.transaction += self.random.between(1, 3),
            1 | 2 => self.history.open.push(Open::default()),
            3 if self.random.once_in(3) => drop(self.take_open()),
            3..=5 => {
                if let Some(open) = self.take_open() {
                    self.commit_source(open);
                }
            }
            _ => {}
        }
        let Some(mut open) = self.take_open() else { return };
        for _ in 0..self.random.between(1, 3) {
            self.write_one(&mut open);
        }
        match self.random.once_in(2) {
            true => self.commit_source(open),
            false => self.history.open.push(open),
        }
    }

    /// Commits what is open.
    pub fn quiesce_source(&mut self) {
        while let Some(open) = self.take_open() {
            self.commit_source(open);
        }
    }

    fn take_open(&mut self) -> Option<Open> {
        let count = self.history.open.len() as u64;
        (count > 0).then(|| self.history.open.remove(self.random.below(count) as usize))
    }

    fn commit_source(&mut self, open: Open) {
        if open.changes.is_empty() {
            return;
        }
        if self.random.once_in(4) {
            self.transaction += self.random.between(1, 3);
        }
        let begin = self.transaction;
        let end = begin + self.random.between(1, 3);
        for change in &open.changes {
            match change {
                Change::Row { table, old, new } => {
                    let rows = self.source.entry(table.clone()).or_default();
                    if let Some((key, _)) = old {
                        rows.remove(key);
                    }
                    rows.extend(new.clone().map(|(key, value)| (key, (value, end))));
                }
                Change::Truncate(tables) => {
                    for table in tables {
                        self.source.entry(table.clone()).or_default().clear();
                    }
                }
            }
        }
        self.transaction = end;
        self.history.log.push(Logged { begin, end, changes: open.changes });
        self.record();
    }

    /// The rows as the open transaction sees them.
    fn seen(&self, open: &Open, table: &Name) -> BTreeMap<i64, String> {
        let rows = self.source.get(table).into_iter().flatten();
        let mut rows: BTreeMap<i64, String> = rows.map(|(key, (value, _))| (*key, value.clone())).collect();
        for change in &open.changes {
            match change {
                Change::Row { table: name, old, new } if name == table => {
                    old.iter().for_each(|(key, _)| drop(rows.remove(key)));
                    rows.extend(new.clone());
                }
                Change::Truncate(tables) if tables.contains(table) => rows.clear(),
                _ => {}
            }
        }
        rows
    }

    fn write_one(&mut self, open: &mut Open) {
        let names: Vec<Name> = self.source.keys().cloned().collect();
        let Some(table) = self.random.pick(&names).cloned() else { return };
        if self.random.once_in(40) {
            return self.truncate(open, &names, table);
        }
        let key = self.random.below(KEYS) as i64;
        let rows = self.seen(open, &table);
        let Some(value) = rows.get(&key).cloned() else {
            let value = join(&self.random.below(40).to_string(), &self.random.below(9).to_string());
            return self.put(open, &table, None, Some((key, value)));
        };
        let (v, w) = split(&value);
        let old = Some((key, value.clone()));
        match self.random.below(8) {
            0 | 1 => self.put(open, &table, old, None),
            2 => {
                let to = self.random.below(KEYS) as i64;
                let w = if self.random.once_in(2) { w.to_string() } else { self.random.below(9).to_string() };
                self.put(open, &table, old, Some((to, join(v, &w))));
            }
            3 => self.swap(open, &table, (key, value)),
            4 => {
                // Deleted and inserted again.
                let w = self.random.below(9).to_string();
                let before = open.changes.len();
                self.put(open, &table, old, None);
                if open.changes.len() > before {
                    self.put(open, &table, None, Some((key, join(v, &w))));
                }
            }
            5 => self.put(open, &table, old.clone(), old),
            _ => {
                let v =
                    if self.random.once_in(2) { v.to_string() } else { self.random.below(40).to_string() };
                let w = if self.random.once_in(2) { w.to_string() } else { self.random.below(9).to_string() };
                self.put(open, &table, old, Some((key, join(&v, &w))));
            }
        }
    }

    /// Two rows exchange their `v` by way of a third value.
    fn swap(&mut self, open: &mut Open, table: &Name, one: Row) {
        let rows = self.seen(open, table);
        let others: Vec<Row> = rows.into_iter().filter(|(key, _)| *key != one.0).collect();
        let Some(two) = self.random.pick(&others).cloned() else { return };
        let with = |row: &Row, v: &str| (row.0, join(v, split(&row.1).1));
        let between = with(&one, "between");
        let free = [&one, &two].iter().all(|row| self.is_free(open, table, row));
        if !free || !self.is_free(open, table, &between) {
            return;
        }
        self.put(open, table, Some(one.clone()), Some(between.clone()));
        self.put(open, table, Some(two.clone()), Some(with(&two, split(&one.1).0)));
        self.put(open, table, Some(between), Some(with(&one, split(&two.1).0)));
    }

    fn truncate(&mut self, open: &mut Open, names: &[Name], table: Name) {
        let mut tables = vec![table];
        if self.random.once_in(2) {
            tables.extend(self.random.pick(names).cloned());
            tables.dedup();
        }
        let locked = |other: &Open| {
            let touched = other.keys.iter().any(|(name, _)| tables.contains(name));
            touched || other.changes.iter().any(|change| matches!(change, Change::Truncate(_)))
        };
        if self.history.open.iter().any(locked) {
            return;
        }
        // Nobody else touches any row of them until the end.
        for table in &tables {
            open.keys.extend((0..KEYS as i64).map(|key| (table.clone(), key)));
        }
        open.changes.push(Change::Truncate(tables));
    }

    /// No other open transaction has the row or its value.
    fn is_free(&self, open: &Open, table: &Name, row: &Row) -> bool {
        let (key, value) = ((table.clone(), row.0), (table.clone(), split(&row.1).0.to_string()));
        let others = || self.history.open.iter();
        (open.keys.contains(&key) || !others().any(|other| other.keys.contains(&key)))
            && (open.values.contains(&value) || !others().any(|other| other.values.contains(&value)))
    }

    /// Changes a row where keys and values stay unique and nobody else has them.
    fn put(&mut self, open: &mut Open, table: &Name, old: Option<Row>, new: Option<Row>) {
        if [&old, &new].into_iter().flatten().any(|row| !self.is_free(open, table, row)) {
            return;
        }
        if let Some((key, value)) = &new {
            let old_key = old.as_ref().map(|(key, _)| *key);
            let rows = self.seen(open, table);
            let clash = |(other, text): (&i64, &String)| {
                Some(*other) != old_key && (other == key || split(text).0 == split(value).0)
            };
            if rows.iter().any(clash) {
                return;
            }
        }
        for (key, value) in [&old, &new].into_iter().flatten() {
            open.keys.insert((table.clone(), *key));
            open.values.insert((table.clone(), split(value).0.to_string()));
        }
        open.changes.push(Change::Row { table: table.clone(), old, new });
    }
}
