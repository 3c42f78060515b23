//! What folds and what does not, and that folded changes come to the same as changes in order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::catalog::{ColumnMap, Form, Name, Projection, Type};

/// Folds at once.
fn fold<'a>(runs: &[Records<'a>], tables: &[Followed]) -> Folded<'a> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(super::fold(runs, tables))
}

/// A cell: a number, absent where it is none.
type Cell = Option<i64>;

fn column(name: &str) -> ColumnMap {
    ColumnMap {
        source: name.into(),
        target: name.into(),
        source_type: Type::Int { bits: 64 },
        source_native: String::new(),
        target_type: Type::Int { bits: 64 },
        target_native: String::new(),
        not_null: false,
        zero_date: Default::default(),
        error_value_null: false,
        cast: None,
    }
}

fn followed(columns: usize, identity: Identity) -> Followed {
    let name = Name::new("main", "t");
    let columns = (0..columns).map(|at| column(&at.to_string())).collect();
    let (source, target) = (name.clone(), name);
    let projection = Projection { source, target, columns, filter: None, key: Vec::new(), form: Form::Rows };
    Followed { projection, identity, skipped: Vec::new() }
}

/// A key in the middle, one of two columns, none, and nothing but a key.
fn tables() -> Vec<Followed> {
    vec![
        followed(3, Identity::Columns(vec![1])),
        followed(4, Identity::Columns(vec![2, 0])),
        followed(2, Identity::Whole),
        followed(1, Identity::Columns(vec![0])),
    ]
}

fn put(changes: &mut Changes, table: usize, kind: RowKind, old: &[Cell], new: &[Cell]) {
    changes.begin_row(table, kind, old.len(), new.len());
    for cell in old.iter().chain(new) {
        changes.push(cell.map_or(Datum::Absent, Datum::Int));
    }
    changes.end_row();
}

fn numbers(row: &[Datum<'_>]) -> Vec<i64> {
    let number = |datum: &Datum<'_>| match datum {
        Datum::Int(number) => *number,
        other => panic!("{other:?}"),
    };
    row.iter().map(number).collect()
}

/// The net changes and the rest, as text.
fn shown(changes: &Changes) -> (String, usize) {
    let tables = tables();
    let folded = fold(&[changes.records()], &tables);
    let mut text = Vec::new();
    for net in &folded.net.tables {
        for row in 0..net.deletes.count {
            text.push(format!("{} -{:?}", net.table, numbers(net.deletes.row(row))));
        }
        for updates in &net.updates {
            for row in 0..updates.keys.count {
                let (key, cells) = (numbers(updates.keys.row(row)), numbers(updates.rows.row(row)));
                text.push(format!("{} {key:?}: {:?}={cells:?}", net.table, updates.columns));
            }
        }
        for row in 0..net.inserts.count {
            text.push(format!("{} +{:?}", net.table, numbers(net.inserts.row(row))));
        }
    }
    (text.join("; "), folded.rest.rows() as usize)
}

use RowKind::{Delete, Insert, Update};

/// A change, its old cells and its new ones.
type Row<'a> = (RowKind, &'a [Cell], &'a [Cell]);

/// Changes of the first table, whose key is its second column.
fn of_first(rows: &[Row<'_>]) -> (String, usize) {
    let mut changes = Changes::default();
    changes.begin("1");
    for (kind, old, new) in rows {
        put(&mut changes, 0, *kind, old, new);
    }
    changes.commit("2", 0);
    shown(&changes)
}

const N: Cell = None;

fn some(cells: [i64; 3]) -> [Cell; 3] {
    cells.map(Some)
}

#[test]
fn changes_of_one_row_become_one() {
    let (one, other) = (some([1, 7, 2]), some([3, 7, 4]));
    let gone = [N, Some(7), N];
    let part = [N, Some(7), Some(9)];
    let cases: [(&[Row<'_>], &str); 9] = [
        (&[(Insert, &[], &one), (Update, &[], &part)], "0 +[1, 7, 9]"),
        (&[(Insert, &[], &one), (Delete, &gone, &[])], ""),
        (&[(Update, &[], &other), (Update, &[], &part)], "0 [7]: [0, 2]=[3, 9]"),
        (&[(Update, &[], &part), (Update, &[], &part)], "0 [7]: [2]=[9]"),
        (&[(Update, &[], &one), (Delete, &gone, &[])], "0 -[7]"),
        (&[(Delete, &gone, &[]), (Insert, &[], &one)], "0 [7]: [0, 2]=[1, 2]"),
        (&[(Delete, &gone, &[]), (Insert, &[], &one), (Update, &[], &part)], "0 [7]: [0, 2]=[1, 9]"),
        (&[(Delete, &gone, &[]), (Insert, &[], &one), (Delete, &gone, &[])], "0 -[7]"),
        (&[(Insert, &[], &one), (Delete, &gone, &[]), (Insert, &[], &other)], "0 +[3, 7, 4]"),
    ];
    for (rows, expected) in cases {
        assert_eq!(of_first(rows), (expected.to_string(), 0), "{rows:?}");
    }
}

#[test]
fn what_cannot_be_is_left_for_whoever_applies_in_order() {
    let row = some([1, 7, 2]);
    let gone = [N, Some(7), N];
    assert_eq!(of_first(&[(Insert, &[], &row), (Insert, &[], &row)]), ("0 +[1, 7, 2]".into(), 1));
    assert_eq!(of_first(&[(Delete, &gone, &[]), (Delete, &gone, &[])]), ("0 -[7]".into(), 1));
    assert_eq!(of_first(&[(Delete, &gone, &[]), (Update, &[], &row)]), ("0 -[7]".into(), 1));
    // And what follows it on the same row, but not on others.
    let rows: [Row<'_>; 4] = [
        (Insert, &[], &row),
        (Insert, &[], &row),
        (Delete, &gone, &[]),
        (Update, &[], &[N, Some(8), Some(1)]),
    ];
    assert_eq!(of_first(&rows), ("0 [8]: [2]=[1]; 0 +[1, 7, 2]".into(), 2));
}

#[test]
fn s_06_a_change_of_key_takes_both_its_rows_out() {
    let rows: [Row<'_>; 5] = [
        (Update, &[], &[N, Some(7), Some(1)]),
        (Update, &[N, Some(7), N], &[Some(5), Some(8), N]),
        (Update, &[], &[N, Some(8), Some(3)]),
        (Insert, &[], &[Some(1), Some(7), Some(1)]),
        (Update, &[], &[N, Some(9), Some(4)]),
    ];
    assert_eq!(of_first(&rows), ("0 [7]: [2]=[1]; 0 [9]: [2]=[4]".into(), 3));
    // An old row that tells the same key is no change of key.
    let same: [Row<'_>; 1] = [(Update, &[N, Some(7), N], &[Some(5), Some(7), N])];
    assert_eq!(of_first(&same), ("0 [7]: [0]=[5]".into(), 0));
}

#[test]
fn s_21_a_truncate_ends_the_folding_of_its_tables_only() {
    let mut changes = Changes::default();
    changes.begin("1");
    put(&mut changes, 0, Insert, &[], &some([1, 7, 2]));
    changes.truncate(&[0, 1], false);
    put(&mut changes, 0, Insert, &[], &some([1, 7, 2]));
    put(&mut changes, 2, Insert, &[], &[Some(1), Some(1)]);
    put(&mut changes, 2, Insert, &[], &[Some(1), Some(1)]);
    changes.commit("2", 0);
    assert_eq!(shown(&changes), ("0 +[1, 7, 2]; 2 +[1, 1]; 2 +[1, 1]".into(), 1));
}

#[test]
fn s_02_rows_that_only_the_whole_row_tells_are_changed_in_order() {
    let mut changes = Changes::default();
    let row = [Some(1), Some(1)];
    put(&mut changes, 2, Insert, &[], &row);
    put(&mut changes, 2, Delete, &row, &[]);
    put(&mut changes, 2, Insert, &[], &row);
    assert_eq!(shown(&changes), ("2 +[1, 1]".into(), 2));
}

#[test]
fn updates_without_anything_to_set_are_checked_row_by_row() {
    let mut changes = Changes::default();
    put(&mut changes, 3, Update, &[], &[Some(1)]);
    put(&mut changes, 0, Update, &[], &[N, Some(7), N]);
    put(&mut changes, 3, Delete, &[Some(2)], &[]);
    put(&mut changes, 3, Insert, &[], &[Some(2)]);
    assert_eq!(shown(&changes), ("3 -[2]".into(), 3));
}

#[test]
fn keys_are_compared_to_the_bit_and_by_table() {
    let tables = [followed(2, Identity::Columns(vec![0])), followed(2, Identity::Columns(vec![0]))];
    let mut changes = Changes::default();
    for (table, key) in [(0, Datum::Float(0.0)), (0, Datum::Float(-0.0)), (1, Datum::Float(0.0))] {
        changes.begin_row(table, Insert, 0, 2);
        changes.push(key);
        changes.push(Datum::Null);
        changes.end_row();
    }
    for key in [Datum::Text(b"a"), Datum::Bytes(b"a"), Datum::Int(1), Datum::UInt(1), Datum::Bool(true)] {
        changes.begin_row(1, Insert, 0, 2);
        changes.push(key);
        changes.push(Datum::Null);
        changes.end_row();
    }
    let folded = fold(&[changes.records()], &tables);
    assert_eq!((folded.net.rows(), folded.rest.is_empty()), (8, true));
}

/// Tables as a database holds them; rows of the one without key are counted.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    rows: BTreeMap<(usize, Vec<i64>), Vec<i64>>,
    loose: BTreeMap<Vec<i64>, u32>,
}

fn key_of(table: usize, row: &[i64]) -> Vec<i64> {
    match &tables()[table].identity {
        Identity::Columns(places) => places.iter().map(|&place| row[place]).collect(),
        Identity::Whole => row.to_vec(),
    }
}

impl Model {
    fn insert(&mut self, table: usize, row: Vec<i64>) {
        if table == 2 {
            *self.loose.entry(row).or_default() += 1;
            return;
        }
        let before = self.rows.insert((table, key_of(table, &row)), row);
        assert_eq!(before, None, "an insert is new");
    }

    fn delete(&mut self, table: usize, key: Vec<i64>) -> Vec<i64> {
        if table == 2 {
            let count = self.loose.get_mut(&key).expect("a row like this is there");
            *count -= 1;
            if *count == 0 {
                self.loose.remove(&key);
            }
            return key;
        }
        self.rows.remove(&(table, key)).expect("a delete finds its row")
    }

    fn truncate(&mut self, table: usize) {
        self.rows.retain(|(of, _), _| *of != table);
        if table == 2 {
            self.loose.clear();
        }
    }

    /// As a target applies them one by one.
    fn apply_rows(&mut self, records: Records<'_>) {
        for record in records {
            match record {
                Record::Row(change) => self.apply_row(&change),
                Record::Truncate { tables, .. } => tables.iter().for_each(|table| self.truncate(table)),
                _ => {}
            }
        }
    }

    fn apply_row(&mut self, change: &RowChange<'_>) {
        let table = change.table;
        let cells = |cells: Cells<'_>| {
            let cell = |datum| if let Datum::Int(number) = datum { Some(number) } else { None };
            cells.map(cell).collect::<Vec<Cell>>()
        };
        let (old, new) = (cells(change.old), cells(change.new));
        let told = if old.is_empty() { &new } else { &old };
        let key = match &tables()[table].identity {
            Identity::Columns(places) => places.iter().map(|&place| told[place].expect("a key")).collect(),
            Identity::Whole => told.iter().map(|cell| cell.unwrap_or(i64::MIN)).collect(),
        };
        match change.kind {
            Insert => self.insert(table, new.into_iter().map(|cell| cell.expect("whole")).collect()),
            Delete => drop(self.delete(table, key)),
            Update => {
                let mut row = self.delete(table, key);
                row.iter_mut().zip(new).for_each(|(cell, new)| *cell = new.unwrap_or(*cell));
                self.insert(table, row);
            }
        }
    }

    /// As a target applies sets: deletes, updates, inserts.
    fn apply_net(&mut self, net: &Net<'_>) {
        for table in &net.tables {
            for row in 0..table.deletes.count {
                self.delete(table.table, numbers(table.deletes.row(row)));
            }
            for updates in &table.updates {
                for at in 0..updates.keys.count {
                    let key = (table.table, numbers(updates.keys.row(at)));
                    let row = self.rows.get_mut(&key).expect("an update finds its row");
                    let cells = numbers(updates.rows.row(at));
                    updates.columns.iter().zip(cells).for_each(|(&column, cell)| row[column] = cell);
                }
            }
            for row in 0..table.inserts.count {
                self.insert(table.table, numbers(table.inserts.row(row)));
            }
        }
    }
}

/// What somebody wants to do; it is done as far as the rows allow.
#[derive(Clone, Debug)]
struct Wish {
    what: u8,
    table: usize,
    cells: [i64; 4],
    to: i64,
    absent: u8,
}

fn wish() -> impl Strategy<Value = Wish> {
    let cells = [0..3i64, 0..3i64, 0..3i64, 0..3i64];
    (0..40u8, 0..4usize, cells, 0..3i64, 0..16u8).prop_map(|(what, table, cells, to, absent)| Wish {
        what,
        table,
        cells,
        to,
        absent,
    })
}

/// Writes the change that a wish comes to, and does it in the model.
fn grant(wish: &Wish, model: &mut Model, changes: &mut Changes) {
    let (table, followed) = (wish.table, &tables()[wish.table]);
    let width = followed.projection.columns.len();
    let row = wish.cells[..width].to_vec();
    let key = key_of(table, &row);
    let before = match table {
        2 => model.loose.contains_key(&row).then(|| row.clone()),
        _ => model.rows.get(&(table, key.clone())).cloned(),
    };
    let mut change = Changes::default();
    let places = match &followed.identity {
        Identity::Columns(places) => places.clone(),
        Identity::Whole => (0..width).collect(),
    };
    let known = |row: &[i64]| -> Vec<Cell> {
        row.iter().enumerate().map(|(at, cell)| places.contains(&at).then_some(*cell)).collect()
    };
    match (wish.what, before) {
        (0, _) => change.truncate(&[table], false),
        (1..20, None) => {
            put(&mut change, table, Insert, &[], &row.iter().copied().map(Some).collect::<Vec<_>>());
        }
        (20..30, Some(before)) => put(&mut change, table, Delete, &known(&before), &[]),
        (_, Some(before)) => {
            let mut after = row.clone();
            let moves = wish.what >= 36;
            if moves {
                after[places[0]] = wish.to;
            }
            let taken = |key: &[i64]| model.rows.contains_key(&(table, key.to_vec()));
            if table != 2 && key_of(table, &after) != key && taken(&key_of(table, &after)) {
                return;
            }
            // What is as it was may be left out, but of a key only together with the old one.
            let told = moves || table == 2 || wish.absent.is_multiple_of(2);
            let cell = |at: usize| {
                let same = after[at] == before[at] && wish.absent & (1 << at) != 0;
                let may = !places.contains(&at) || told;
                (!(same && may)).then_some(after[at])
            };
            let new: Vec<Cell> = (0..width).map(cell).collect();
            let old = if told { known(&before) } else { Vec::new() };
            put(&mut change, table, Update, &old, &new);
        }
        _ => return,
    }
    model.apply_rows(change.records());
    changes.extend(change.records());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn folded_changes_come_to_the_same_as_changes_in_order(
        first in proptest::collection::vec(wish(), 0..30),
        then in proptest::collection::vec(wish(), 0..80),
        cut in 0..80usize,
    ) {
        let mut source = Model::default();
        let mut ignored = Changes::default();
        first.iter().for_each(|wish| grant(wish, &mut source, &mut ignored));
        let mut target = source.clone();
        // The second run goes on where the first ends, be it inside a transaction.
        let mut runs = [Changes::default(), Changes::default()];
        for (at, wish) in then.iter().enumerate() {
            grant(wish, &mut source, &mut runs[usize::from(at >= cut)]);
        }
        let tables = tables();
        let folded = fold(&[runs[0].records(), runs[1].records()], &tables);
        target.apply_net(&folded.net);
        target.apply_rows(folded.rest.records());
        prop_assert_eq!(&target, &source);
        prop_assert!(folded.net.rows() as u64 + folded.rest.rows() <= runs[0].rows() + runs[1].rows());
    }
}
