//! Finds the transactions in pieces: which of them are applied already, where the goal is, and
//! which go into one target transaction. Counts what they change. Pure.

use crate::catalog::Name;
use crate::change::{Counts, Followed, Position, Record, Records, RowKind};
use crate::checkpoint::StreamMark;

/// Whole transactions for one target transaction.
#[derive(Debug, Default)]
pub(super) struct Group<'a> {
    pub(super) runs: Vec<Records<'a>>,
    pub(super) tally: Tally,
}

/// What transactions come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) transactions: u64,
    pub(super) rows: u64,
    pub(super) committed_at: Option<i64>,
    /// By place in the list of followed tables; may be short.
    pub(super) tables: Vec<Counts>,
}

impl Tally {
    pub(super) fn count(&mut self, record: &Record<'_>) {
        match record {
            Record::Row(change) => {
                self.rows += 1;
                let counts = self.of(change.table);
                match change.kind {
                    RowKind::Insert => counts.inserts += 1,
                    RowKind::Update => counts.updates += 1,
                    RowKind::Delete => counts.deletes += 1,
                }
            }
            Record::Truncate { tables, .. } => tables.iter().for_each(|table| self.of(table).truncates += 1),
            Record::Commit { at, .. } => {
                self.transactions += 1;
                self.committed_at = Some(*at);
            }
            // How many rows it is shows when it is applied, and the log counts none.
            Record::Cascade(_) | Record::Begin { .. } | Record::Reached { .. } => {}
        }
    }

    fn of(&mut self, table: usize) -> &mut Counts {
        if self.tables.len() <= table {
            self.tables.resize(table + 1, Counts::default());
        }
        &mut self.tables[table]
    }

    /// The mark at `position`, of a stream that is marked at `after` now.
    pub(super) fn mark(&self, after: Position, position: &Position, tables: &[Followed]) -> StreamMark {
        let all = tables.iter().zip(&self.tables).filter(|(_, counts)| !counts.is_empty());
        let named = |(table, counts): (&Followed, &Counts)| (table.projection.target.clone(), *counts);
        let tables: Vec<(Name, Counts)> = all.map(named).collect();
        let (committed_at, transactions) = (self.committed_at, self.transactions);
        StreamMark { after: Some(after), position: position.clone(), committed_at, transactions, tables }
    }
}

/// What to do with a transaction, by where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Apply,
    /// It is in the target: told again after a reconnection.
    Skip,
    /// It belongs to what comes after the goal.
    Stop,
}

/// What was found in pieces.
#[derive(Debug, Default)]
pub(super) struct Cut<'a> {
    /// Each with the position after it.
    pub(super) groups: Vec<(Group<'a>, Position)>,
    /// Ended before a transaction that comes after the goal.
    pub(super) stopped: bool,
}

/// Cuts pieces of whole transactions. `judge` is asked at each begin, with where the transaction
/// before it ended; `full` says when a group takes no more.
pub(super) fn cut<'a>(
    pieces: impl Iterator<Item = Records<'a>>,
    from: &Position,
    judge: impl Fn(&str, &Position) -> Verdict,
    full: impl Fn(&Group<'_>) -> bool,
) -> Cut<'a> {
    let mut cut = Cut::default();
    let mut group = Group::default();
    let mut position = from.clone();
    for piece in pieces {
        let (mut rest, mut run, mut skipping) = (piece, piece, false);
        loop {
            let here = rest;
            let Some(record) = rest.next() else { break };
            match record {
                Record::Begin { position: begin } => match judge(begin, &position) {
                    Verdict::Apply => {}
                    Verdict::Skip => {
                        group.push(run.before(here));
                        skipping = true;
                    }
                    Verdict::Stop => {
                        group.push(run.before(here));
                        cut.close(group, &position);
                        cut.stopped = true;
                        return cut;
                    }
                },
                Record::Commit { .. } if skipping => {
                    skipping = false;
                    run = rest;
                }
                Record::Commit { position: end, .. } => {
                    group.tally.count(&record);
                    position.0.clear();
                    position.0.push_str(end);
                    if full(&group) {
                        group.push(run.before(rest));
                        run = rest;
                        cut.close(std::mem::take(&mut group), &position);
                    }
                }
                _ if skipping => {}
                _ => group.tally.count(&record),
            }
        }
        group.push(run);
    }
    cut.close(group, &position);
    cut
}

impl<'a> Group<'a> {
    /// Of the runs that are complete.
    pub(super) fn bytes(&self) -> usize {
        self.runs.iter().map(|run| run.rest().len()).sum()
    }

    fn push(&mut self, run: Records<'a>) {
        if !run.rest().is_empty() {
            self.runs.push(run);
        }
    }
}

impl<'a> Cut<'a> {
    fn close(&mut self, group: Group<'a>, position: &Position) {
        if group.tally.transactions > 0 {
            self.groups.push((group, position.clone()));
        }
    }
}
