//! How the memory engine applies changes: strictly, with unique keys and unique values `v`, as
//! operations of its transactions.

use towpath::catalog::Name;
use towpath::change::{Cells, Datum, Followed, Identity, Net, Record, Records, RowKind, Rows};
use towpath::engine::{Cause, EngineError};

use super::history::{join, split};
use super::world::{Op, Target, TargetTable};

/// Columns of a row, those unknown or unchanged being none.
pub type Parts = [Option<String>; 3];

/// A change of one row.
#[derive(Clone, Debug)]
pub enum RowOp {
    Insert(Name, Parts),
    /// The columns given say which row; the others what it becomes.
    Update(Name, Parts, Parts),
    Delete(Name, Parts),
    Truncate(Vec<Name>),
}

fn diverged(table: &Name, why: &str) -> EngineError {
    EngineError::new(Cause::Diverged, "apply changes", why).on(table)
}

fn text(datum: Datum<'_>) -> Option<String> {
    match datum {
        Datum::Int(number) => Some(number.to_string()),
        Datum::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Datum::Absent => None,
        other => panic!("no cell of the memory engine: {other:?}"),
    }
}

fn parts(cells: Cells<'_>) -> Parts {
    let mut parts = Parts::default();
    cells.zip(&mut parts).for_each(|(datum, part)| *part = text(datum));
    parts
}

/// Operations of records, one by one.
pub fn of_records(records: Records<'_>, tables: &[Followed]) -> Vec<Op> {
    let mut ops = Vec::new();
    for record in records {
        match record {
            Record::Row(change) => {
                let followed = &tables[change.table];
                let name = followed.projection.target.clone();
                let (old, new) = (parts(change.old), parts(change.new));
                ops.push(Op::Row(match change.kind {
                    RowKind::Insert => RowOp::Insert(name, new),
                    RowKind::Delete => RowOp::Delete(name, old),
                    RowKind::Update if change.old.is_empty() => {
                        assert_eq!(followed.identity, Identity::Columns(vec![0]), "an update tells its row");
                        RowOp::Update(name, [new[0].clone(), None, None], new)
                    }
                    RowKind::Update => RowOp::Update(name, old, new),
                }));
            }
            Record::Truncate { tables: emptied, .. } => {
                let names = emptied.iter().map(|table| tables[table].projection.target.clone());
                ops.push(Op::Row(RowOp::Truncate(names.collect())));
            }
            Record::Cascade(_) => unreachable!("no source of the model hides what its keys do"),
            Record::Begin { .. } | Record::Commit { .. } | Record::Reached { .. } => {}
        }
    }
    ops
}

fn spread(rows: &Rows<'_>, row: usize, columns: &[usize]) -> Parts {
    let mut parts = Parts::default();
    for (&column, datum) in columns.iter().zip(rows.row(row)) {
        parts[column] = text(*datum);
    }
    parts
}

/// Operations of net changes, in the order of sets.
pub fn of_net(net: &Net<'_>, tables: &[Followed]) -> Vec<Op> {
    let mut ops = Vec::new();
    for table in &net.tables {
        let followed = &tables[table.table];
        let name = &followed.projection.target;
        let key: &[usize] = match &followed.identity {
            Identity::Columns(places) => places,
            Identity::Whole => &[],
        };
        for row in 0..table.deletes.count {
            ops.push(RowOp::Delete(name.clone(), spread(&table.deletes, row, key)));
        }
        for updates in &table.updates {
            assert!(!updates.columns.is_empty(), "an update without columns is none");
            for row in 0..updates.keys.count {
                let which = spread(&updates.keys, row, key);
                ops.push(RowOp::Update(name.clone(), which, spread(&updates.rows, row, &updates.columns)));
            }
        }
        for row in 0..table.inserts.count {
            ops.push(RowOp::Insert(name.clone(), spread(&table.inserts, row, &[0, 1, 2])));
        }
    }
    ops.into_iter().map(Op::Row).collect()
}

fn columns_of(row: &(i64, String)) -> [String; 3] {
    let (v, w) = split(&row.1);
    [row.0.to_string(), v.to_string(), w.to_string()]
}

fn row_of(parts: &Parts, before: Option<&[String; 3]>) -> Option<(i64, String)> {
    let part = |at: usize| parts[at].clone().or_else(|| before.map(|row| row[at].clone()));
    Some((part(0)?.parse().ok()?, join(&part(1)?, &part(2)?)))
}

/// The one row that the columns given tell.
fn find(rows: &TargetTable, which: &Parts) -> Option<usize> {
    let fits = |row: &&(i64, String)| {
        let columns = columns_of(row);
        which.iter().zip(&columns).all(|(part, column)| part.as_ref().is_none_or(|part| part == column))
    };
    let found: Vec<usize> = (0..rows.len()).filter(|at| fits(&&rows[*at])).collect();
    (found.len() == 1).then(|| found[0])
}

fn is_new(rows: &TargetTable, row: &(i64, String), but: Option<usize>) -> bool {
    let clash = |other: &(i64, String)| other.0 == row.0 || split(&other.1).0 == split(&row.1).0;
    !rows.iter().enumerate().any(|(at, other)| Some(at) != but && clash(other))
}

/// Applies one change. `upsert`: a planted fault, not strict at all.
pub fn apply(target: &mut Target, op: &RowOp, upsert: bool) -> Result<(), EngineError> {
    let name = match op {
        RowOp::Insert(name, _) | RowOp::Update(name, ..) | RowOp::Delete(name, _) => name,
        RowOp::Truncate(names) => {
            names.iter().for_each(|name| target.tables.entry(name.clone()).or_default().clear());
            return Ok(());
        }
    };
    let rows = target.tables.entry(name.clone()).or_default();
    let missing = || diverged(name, "no such row, or several");
    let doubled = || diverged(name, "a key or value is there already");
    match op {
        RowOp::Insert(_, new) => {
            let row = row_of(new, None).ok_or_else(|| diverged(name, "an insert lacks a column"))?;
            if upsert {
                rows.retain(|other| other.0 != row.0);
            }
            is_new(rows, &row, None).then(|| rows.push(row)).ok_or_else(doubled)
        }
        RowOp::Update(_, which, new) => {
            let Some(at) = find(rows, which) else {
                return if upsert { Ok(()) } else { Err(missing()) };
            };
            let row = row_of(new, Some(&columns_of(&rows[at]))).ok_or_else(missing)?;
            is_new(rows, &row, Some(at)).then(|| rows[at] = row).ok_or_else(doubled)
        }
        RowOp::Delete(_, which) => match find(rows, which) {
            Some(at) => {
                rows.remove(at);
                Ok(())
            }
            None if upsert => Ok(()),
            None => Err(missing()),
        },
        RowOp::Truncate(_) => Ok(()),
    }
}

/// Two open transactions cannot both do these.
pub fn conflicts(one: &RowOp, other: &RowOp) -> bool {
    let names = |op: &RowOp| match op {
        RowOp::Insert(name, _) | RowOp::Update(name, ..) | RowOp::Delete(name, _) => vec![name.clone()],
        RowOp::Truncate(names) => names.clone(),
    };
    names(one).iter().any(|name| names(other).contains(name))
}
