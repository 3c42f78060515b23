//! Two recorded ends, and what must be true of them whatever happened in between.

use std::sync::Arc;

use super::end::End;
use super::recorder::{Recorder, Sums};
use super::shop::{ACCOUNTS, START, Shop, Table};

/// Changes that are told of each end where they differ.
const LAST: usize = 400;

/// Source and target, recorded from before the first row.
pub struct Judge {
    source: Arc<dyn End>,
    target: Arc<dyn End>,
    tables: Vec<Table>,
    before: Recorder,
    after: Recorder,
}

impl Judge {
    /// Both are empty yet.
    pub fn of(source: &dyn End, target: &dyn End, shop: &Shop) -> Self {
        let tables = shop.tables();
        let plain = !(source.is_postgres() && target.is_postgres());
        // The target does nothing by itself: it is told all.
        let before = Recorder::start(source, &tables, shop.silent(), plain);
        let after = Recorder::start(target, &tables, &[], plain);
        target.log_whole_rows();
        Self { source: source.shared(), target: target.shared(), tables, before, after }
    }

    /// Reads both logs to their ends, and judges. Nobody may write any more.
    pub fn judge(mut self) {
        self.before.read();
        self.after.read();
        self.ends_agree();
        self.each_commit_was_one_of_the_source();
        self.sums_hold();
        self.before.stop();
        self.after.stop();
    }

    fn ends_agree(&self) {
        for (table, _) in &self.tables {
            let (before, after) = (self.before.rows(table), self.after.rows(table));
            let only = |here: &[String], there: &[String]| -> Vec<String> {
                here.iter().filter(|row| !there.contains(row)).take(3).cloned().collect()
            };
            assert!(
                before == after,
                "C-01: {table} differs: {} and {} rows\n  at the source only {:#?}\n  at the target only {:#?}",
                before.len(),
                after.len(),
                only(&before, &after),
                only(&after, &before)
            );
        }
    }

    /// Once the last table was copied and the stream has come to the latest of their snapshots.
    fn each_commit_was_one_of_the_source(&self) {
        let marks = self.target.column(&format!("SELECT position FROM {}", self.target.state("copy")));
        let latest = marks.iter().map(|mark| self.source.place(mark)).max().expect("a mark of the copy");
        let (mut last, mut checked) = (0, 0);
        let copied = self.after.commits.iter().rposition(|commit| commit.copied);
        for (at, commit) in self.after.commits.iter().enumerate() {
            let Some(position) = &commit.position else { continue };
            let place = self.source.place(position);
            assert!(place >= last, "C-02: the position goes back from {last:X} to {place:X}");
            last = place;
            if Some(at) > copied && place >= latest {
                self.is_at(at, position, place);
                checked += 1;
            }
        }
        assert!(checked > 3, "C-02: only {checked} commits of the target were looked at");
    }

    /// The target was where the source had been at that place.
    fn is_at(&self, at: usize, position: &str, place: u64) {
        let (none, target) = (Sums::new(), &self.after.commits[at].sums);
        let source = self.before.sums_at(place).unwrap_or(&none);
        let of = |sums: &Sums, table: &str| sums.get(table).copied().unwrap_or_default();
        let differ = self.tables.iter().map(|(table, _)| *table);
        let differ: Vec<_> = differ.filter(|table| of(target, table) != of(source, table)).collect();
        let Some(first) = differ.first() else { return };
        self.tell(first, at, place);
        let where_so = |table: &&str| (table.to_string(), self.before.places_of(table, of(target, table)));
        panic!(
            "C-02: at {position} ({place:X}) the target is at no commit of the source; tables that differ, and from \
             where to where the source was so: {:X?}",
            differ.iter().map(where_so).collect::<Vec<_>>()
        );
    }

    /// Which rows differ, and how both ends came there.
    fn tell(&self, table: &str, at: usize, place: u64) {
        let Some(source) = self.before.commit_at(place) else { return };
        let ends = [(&self.before, source), (&self.after, at)];
        let [(here, before), (there, after)] = ends.map(|(recorder, at)| recorder.story(table, at));
        eprintln!("{table}, only at the source: {:#?}", here.difference(&there).collect::<Vec<_>>());
        eprintln!("{table}, only at the target: {:#?}", there.difference(&here).collect::<Vec<_>>());
        for (end, told) in [("source", before), ("target", after)] {
            eprintln!("{end}, the last of {}:", told.len());
            told[told.len().saturating_sub(LAST)..].iter().for_each(|line| eprintln!("  {line}"));
        }
    }

    fn sums_hold(&self) {
        let sum = self.target.value("SELECT sum(balance) FROM accounts");
        assert_eq!(sum, (START * ACCOUNTS as i64).to_string(), "C-03");
        let gaps = "SELECT count(*) FROM (SELECT client, count(*) - max(n) AS gap FROM lists GROUP BY client) l WHERE gap <> 0";
        assert_eq!(self.target.value(gaps), "0", "C-04");
    }

    /// After a cutover: the target takes its first rows, the source none, and nothing is left there.
    pub fn handed_over(source: &dyn End, target: &dyn End) {
        target.execute(
            "INSERT INTO born (name) VALUES ('first'); INSERT INTO ledger (source, target, amount) VALUES (1, 2, 3); \
             INSERT INTO children (parent) VALUES (NULL)",
        );
        Self::nothing_is_left(source);
        let mut writer = source.session().expect("the source is up");
        assert!(writer.run("UPDATE accounts SET balance = 0").is_err(), "the source is open");
    }

    /// Nothing of the tool's own but the fence.
    pub fn nothing_is_left(source: &dyn End) {
        assert_eq!(source.leftovers(), Vec::<String>::new(), "C-08");
    }
}
