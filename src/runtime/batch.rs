//! Joins whole source transactions, and folds the changes of one row into one net change. Pure.
//!
//! ```text
//!   insert, update  -> insert of the merged row     update, delete -> delete
//!   insert, delete  -> nothing                      delete, insert -> update of all other columns
//!   update, update  -> merged update; an absent cell keeps the earlier value
//! ```
//!
//! What does not fold is left to be applied row by row, after the net changes: from the first such
//! change of a row on, all of that row; from a truncate, a cascade through a table, or a change of a
//! row that only the whole row tells, all of that table. Rows of different keys do not depend on each other but through
//! unique values, and those make the sets clash.
//!
//! Identities are compared by their bytes. Where an engine holds two texts for equal (`1.0` and
//! `1.00`), they are two rows here; should their changes meet, the sets clash.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use tokio::task::yield_now;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::change::{
    Cells, Changes, Datum, Followed, Identity, Net, NetTable, NetUpdates, Record, Records, RowChange,
    RowKind, Rows,
};

/// What a batch comes to: first the net changes, then the rest in its order.
#[derive(Debug, Default)]
pub(super) struct Folded<'a> {
    pub(super) net: Net<'a>,
    pub(super) rest: Changes,
}

/// Folds records, which may begin and end inside a transaction. Others have their turn between the
/// runs: whoever waits for the target meanwhile.
pub(super) async fn fold<'a>(runs: &[Records<'a>], tables: &[Followed]) -> Folded<'a> {
    let rows = runs.iter().map(|run| run.rest().len() / 64).sum();
    let mut fold = Fold::new(tables, rows);
    for run in runs {
        fold.take(*run);
        yield_now().await;
    }
    fold.end()
}

const NONE: u32 = u32::MAX;

/// What becomes of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing, so far.
    Untouched,
    Insert,
    Update,
    Delete,
    /// Inserted and deleted.
    Gone,
    /// Deleted and inserted: updated in all columns but the identity.
    Replace,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    table: u32,
    state: State,
    /// What comes now is applied row by row.
    closed: bool,
    /// Where its cells begin: the identity in `keys`, the row in `cells`.
    key: u32,
    row: u32,
    /// The next entry of equal hash.
    next: u32,
}

/// Hashes of keys are good hashes already.
#[derive(Clone, Copy, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("broken invariant: only numbers are looked up")
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

struct Fold<'a, 'f> {
    tables: &'f [Followed],
    /// Entries by the hash of table and identity: the last one of that hash.
    places: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    /// In the order of their first touch.
    entries: Vec<Entry>,
    keys: Vec<Datum<'a>>,
    cells: Vec<Datum<'a>>,
    /// Tables of which nothing folds any more.
    closed: Vec<bool>,
    rest: Changes,
    old: Vec<Datum<'a>>,
    new: Vec<Datum<'a>>,
    key: Vec<Datum<'a>>,
}

impl<'a, 'f> Fold<'a, 'f> {
    fn new(tables: &'f [Followed], rows: usize) -> Self {
        Self {
            tables,
            places: HashMap::with_capacity_and_hasher(rows, BuildHasherDefault::default()),
            entries: Vec::with_capacity(rows),
            keys: Vec::with_capacity(rows),
            cells: Vec::with_capacity(rows * 4),
            closed: vec![false; tables.len()],
            rest: Changes::default(),
            old: Vec::new(),
            new: Vec::new(),
            key: Vec::new(),
        }
    }

    fn take(&mut self, run: Records<'a>) {
        let mut rest = run;
        loop {
            let here = rest;
            let Some(record) = rest.next() else { return };
            let folds = match record {
                Record::Row(change) => self.row(&change),
                Record::Truncate { tables, .. } => {
                    tables.iter().for_each(|table| self.closed[table] = true);
                    false
                }
                // It finds its rows through all of these.
                Record::Cascade(cascade) => {
                    cascade.path().hops.iter().for_each(|hop| self.closed[hop.table] = true);
                    false
                }
                Record::Begin { .. } | Record::Commit { .. } | Record::Reached { .. } => true,
            };
            if !folds {
                self.rest.extend(here.before(rest));
            }
        }
    }

    /// False where the change has to be applied by itself.
    fn row(&mut self, change: &RowChange<'a>) -> bool {
        if self.closed[change.table] {
            return false;
        }
        let tables = self.tables;
        match &tables[change.table].identity {
            Identity::Columns(places) => self.row_of_key(change, places),
            Identity::Whole if change.kind == RowKind::Insert => self.insert_without_key(change),
            Identity::Whole => {
                self.closed[change.table] = true;
                false
            }
        }
    }

    fn insert_without_key(&mut self, change: &RowChange<'a>) -> bool {
        let (row, key) = (self.cells.len() as u32, self.keys.len() as u32);
        self.cells.extend(change.new);
        let table = change.table as u32;
        self.entries.push(Entry { table, state: State::Insert, closed: true, key, row, next: NONE });
        true
    }

    fn row_of_key(&mut self, change: &RowChange<'a>, places: &[usize]) -> bool {
        decode(&mut self.old, change.old);
        decode(&mut self.new, change.new);
        if !self.find_key(places) {
            self.closed[change.table] = true;
            return false;
        }
        let at = self.entry(change.table);
        if change.kind == RowKind::Update && self.moves(places) {
            self.entries[at].closed = true;
            for (cell, &place) in self.key.iter_mut().zip(places) {
                if self.new[place] != Datum::Absent {
                    *cell = self.new[place];
                }
            }
            let to = self.entry(change.table);
            self.entries[to].closed = true;
            return false;
        }
        let folds = !self.entries[at].closed && self.change(at, change.kind, places);
        self.entries[at].closed |= !folds;
        folds
    }

    /// Reads the identity that the row had before the change. False where the log does not tell it.
    fn find_key(&mut self, places: &[usize]) -> bool {
        let row = if self.old.is_empty() { &self.new } else { &self.old };
        self.key.clear();
        self.key.extend(places.iter().map(|&place| row[place]));
        !self.key.contains(&Datum::Absent)
    }

    /// Whether the update gives the row another identity.
    fn moves(&self, places: &[usize]) -> bool {
        let moved = |(cell, &place): (&Datum<'a>, &usize)| {
            let new = self.new[place];
            new != Datum::Absent && !same(*cell, new)
        };
        self.key.iter().zip(places).any(moved)
    }

    /// The entry of the identity in `self.key`.
    fn entry(&mut self, table: usize) -> usize {
        let hash = hash(table, &self.key);
        let first = self.places.get(&hash).copied().unwrap_or(NONE);
        let mut at = first;
        while at != NONE {
            let entry = &self.entries[at as usize];
            let key = &self.keys[entry.key as usize..][..self.key.len()];
            if entry.table as usize == table && key.iter().zip(&self.key).all(|(one, two)| same(*one, *two)) {
                return at as usize;
            }
            at = entry.next;
        }
        let (at, key) = (self.entries.len(), self.keys.len() as u32);
        self.keys.extend_from_slice(&self.key);
        let table = table as u32;
        self.entries.push(Entry {
            table,
            state: State::Untouched,
            closed: false,
            key,
            row: NONE,
            next: first,
        });
        self.places.insert(hash, at as u32);
        at
    }

    /// Folds a change that leaves the identity as it is into the entry. False where it does not fold.
    fn change(&mut self, at: usize, kind: RowKind, places: &[usize]) -> bool {
        use State::*;
        let whole = || !self.new.contains(&Datum::Absent);
        let others = || self.new.len() > places.len();
        let told = || (0..self.new.len()).any(|at| self.new[at] != Datum::Absent && !places.contains(&at));
        let next = match (self.entries[at].state, kind) {
            (Untouched | Gone, RowKind::Insert) if whole() => Insert,
            (Delete, RowKind::Insert) if whole() && others() => Replace,
            (Untouched, RowKind::Update) if told() => Update,
            (state @ (Insert | Update | Replace), RowKind::Update) => state,
            (Untouched | Update | Replace, RowKind::Delete) => Delete,
            (Insert, RowKind::Delete) => Gone,
            _ => return false,
        };
        if kind != RowKind::Delete {
            self.put(at, kind == RowKind::Update);
        }
        self.entries[at].state = next;
        true
    }

    /// Puts the new row into the entry; `merge`: what is absent stays as it is there.
    fn put(&mut self, at: usize, merge: bool) {
        let start = self.entries[at].row;
        if start == NONE {
            self.entries[at].row = self.cells.len() as u32;
            return self.cells.extend_from_slice(&self.new);
        }
        for (cell, new) in self.cells[start as usize..].iter_mut().zip(&self.new) {
            if !merge || *new != Datum::Absent {
                *cell = *new;
            }
        }
    }

    /// What there is to do, by table. Rows that are there already come in the order of their keys,
    /// in which they lie as a rule: neighbours are found in the page that was just read.
    fn order(&self) -> Vec<u32> {
        let touched = |entry: &Entry| !matches!(entry.state, State::Untouched | State::Gone);
        let all = self.entries.iter().enumerate().filter(|(_, entry)| touched(entry));
        let mut order: Vec<u32> = all.map(|(at, _)| at as u32).collect();
        order.sort_by(|one, two| {
            let (one, two) = (&self.entries[*one as usize], &self.entries[*two as usize]);
            one.table.cmp(&two.table).then_with(|| {
                let inserts = [one, two].map(|entry| entry.state == State::Insert);
                match inserts {
                    [false, false] => self.compare_keys(one, two),
                    // Inserts stay as they came.
                    [one, two] => one.cmp(&two),
                }
            })
        });
        order
    }

    fn compare_keys(&self, one: &Entry, two: &Entry) -> Ordering {
        let Identity::Columns(places) = &self.tables[one.table as usize].identity else {
            return Ordering::Equal;
        };
        let key = |entry: &Entry| self.keys[entry.key as usize..][..places.len()].iter();
        key(one)
            .zip(key(two))
            .map(|(one, two)| near(one, two))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    fn end(self) -> Folded<'a> {
        let mut nets: Vec<Option<NetTable<'a>>> = vec![None; self.tables.len()];
        let mut there = Vec::new();
        for entry in self.order().into_iter().map(|at| &self.entries[at as usize]) {
            let table = entry.table as usize;
            let followed = &self.tables[table];
            let places: &[usize] = match &followed.identity {
                Identity::Columns(places) => places,
                Identity::Whole => &[],
            };
            let width = followed.projection.columns.len();
            let net = nets[table].get_or_insert_with(|| NetTable {
                table,
                deletes: Rows::new(places.len()),
                updates: Vec::new(),
                inserts: Rows::new(width),
            });
            let key = &self.keys[entry.key as usize..][..places.len()];
            if entry.state == State::Delete {
                net.deletes.push(key.iter().copied());
                continue;
            }
            let row = &self.cells[entry.row as usize..][..width];
            if entry.state == State::Insert {
                net.inserts.push(row.iter().copied());
                continue;
            }
            there.clear();
            there.extend((0..width).filter(|at| row[*at] != Datum::Absent && !places.contains(at)));
            let updates = updates_of(&mut net.updates, &there, places.len());
            updates.keys.push(key.iter().copied());
            updates.rows.push(there.iter().map(|&at| row[at]));
        }
        Folded { net: Net { tables: nets.into_iter().flatten().collect() }, rest: self.rest }
    }
}

/// The updates that bring these columns.
fn updates_of<'a, 'n>(
    all: &'n mut Vec<NetUpdates<'a>>,
    columns: &[usize],
    key: usize,
) -> &'n mut NetUpdates<'a> {
    let at = all.iter().position(|updates| updates.columns == columns).unwrap_or_else(|| {
        all.push(NetUpdates {
            columns: columns.to_vec(),
            keys: Rows::new(key),
            rows: Rows::new(columns.len()),
        });
        all.len() - 1
    });
    &mut all[at]
}

fn decode<'a>(row: &mut Vec<Datum<'a>>, cells: Cells<'a>) {
    row.clear();
    row.extend(cells);
}

/// Equal to the bit: two spellings of zero, or of not-a-number, are two values.
fn same(one: Datum<'_>, two: Datum<'_>) -> bool {
    match (one, two) {
        (Datum::Float(one), Datum::Float(two)) => one.to_bits() == two.to_bits(),
        _ => one == two,
    }
}

/// Roughly the order in which databases keep values; of whole numbers exactly, where their texts
/// have no sign.
fn near(one: &Datum<'_>, two: &Datum<'_>) -> Ordering {
    let kind = |datum: &Datum<'_>| match datum {
        Datum::Null => 0,
        Datum::Absent => 1,
        Datum::Bool(_) => 2,
        Datum::Int(_) => 3,
        Datum::UInt(_) => 4,
        Datum::Float(_) => 5,
        Datum::Text(_) => 6,
        Datum::Bytes(_) => 7,
    };
    match (one, two) {
        (Datum::Bool(one), Datum::Bool(two)) => one.cmp(two),
        (Datum::Int(one), Datum::Int(two)) => one.cmp(two),
        (Datum::UInt(one), Datum::UInt(two)) => one.cmp(two),
        (Datum::Float(one), Datum::Float(two)) => one.total_cmp(two),
        (Datum::Text(one), Datum::Text(two)) | (Datum::Bytes(one), Datum::Bytes(two)) => {
            one.len().cmp(&two.len()).then_with(|| one.cmp(two))
        }
        _ => kind(one).cmp(&kind(two)),
    }
}

fn hash(table: usize, key: &[Datum<'_>]) -> u64 {
    let mut hash = table as u64;
    for datum in key {
        hash = match *datum {
            Datum::Null => xxh3_64_with_seed(b"null", hash),
            Datum::Absent => xxh3_64_with_seed(b"absent", hash),
            Datum::Bool(value) => xxh3_64_with_seed(&[u8::from(value)], hash),
            Datum::Int(value) => xxh3_64_with_seed(&value.to_le_bytes(), hash),
            Datum::UInt(value) => xxh3_64_with_seed(&value.to_le_bytes(), hash),
            Datum::Float(value) => xxh3_64_with_seed(&value.to_bits().to_le_bytes(), hash),
            Datum::Text(bytes) | Datum::Bytes(bytes) => xxh3_64_with_seed(bytes, hash),
        };
    }
    hash
}

#[cfg(test)]
mod tests;
