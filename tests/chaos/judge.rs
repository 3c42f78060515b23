//! Two recorded ends, and what must be true of them whatever happened in between.

use super::recorder::{Recorder, lsn};
use super::workload::{ACCOUNTS, KEYLESS, START, TABLES};
use crate::support::postgres::Database;

/// The target's recorder needs whole rows of tables without a key, too.
const WHOLE_ROWS: &str = "CREATE FUNCTION whole_rows() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE t regclass; BEGIN \
    FOR t IN SELECT objid FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'public.events' \
    LOOP EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', t); END LOOP; END $$; \
    CREATE EVENT TRIGGER whole_rows ON ddl_command_end WHEN tag IN ('CREATE TABLE') EXECUTE FUNCTION whole_rows()";

/// Source and target, recorded from before the first row.
pub struct Judge {
    target: Database,
    before: Recorder,
    after: Recorder,
}

impl Judge {
    /// Both are empty yet.
    pub fn of(source: &Database, target: &Database) -> Self {
        let recorded = || TABLES.into_iter().chain([KEYLESS]);
        let (before, after) = (Recorder::start(source, recorded()), Recorder::start(target, recorded()));
        target.execute(WHOLE_ROWS);
        Self { target: target.clone(), before, after }
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
        for (table, _) in TABLES.into_iter().chain([KEYLESS]) {
            assert_eq!(self.before.rows(table), self.after.rows(table), "C-01: {table} differs");
        }
    }

    /// Once the last table was copied and the stream has come to the latest of their snapshots.
    fn each_commit_was_one_of_the_source(&self) {
        let latest = self.target.value("SELECT max(position::pg_lsn) FROM towpath.copy");
        let (latest, mut last, mut checked) = (lsn(&latest), 0, 0);
        let copied = self.after.commits.iter().rposition(|commit| commit.copied);
        for (at, commit) in self.after.commits.iter().enumerate() {
            let Some(position) = commit.position else { continue };
            assert!(position >= last, "C-02: the position goes back from {last:X} to {position:X}");
            last = position;
            if Some(at) > copied && position >= latest {
                let there = self.before.sum_at(position);
                assert_eq!(
                    commit.sum, there,
                    "C-02: at {position:X} the target is at no commit of the source"
                );
                checked += 1;
            }
        }
        assert!(checked > 3, "C-02: only {checked} commits of the target were looked at");
    }

    fn sums_hold(&self) {
        let sum = self.target.value("SELECT sum(balance) FROM accounts");
        assert_eq!(sum, (START * ACCOUNTS as i64).to_string(), "C-03");
        let gaps = "SELECT count(*) FROM (SELECT client, count(*) - max(n) AS gap FROM lists GROUP BY client) l WHERE gap <> 0";
        assert_eq!(self.target.value(gaps), "0", "C-04");
    }

    /// After a cutover: the target takes its first rows, the source none, and nothing is left there.
    pub fn handed_over(source: &Database, target: &Database) {
        target.execute(
            "INSERT INTO born (name) VALUES ('first'); INSERT INTO ledger (source, target, amount) VALUES (1, 2, 3); \
             INSERT INTO children (parent) VALUES (NULL)",
        );
        Self::nothing_is_left(source);
        let mut writer = source.session();
        assert!(writer.try_execute("UPDATE accounts SET balance = 0").is_err(), "the source is open");
    }

    /// No slot and no publication of the tool's.
    pub fn nothing_is_left(source: &Database) {
        let slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND slot_name LIKE 'towpath%'";
        assert_eq!(source.value(slots), "0", "C-08: a slot is left");
        assert_eq!(source.value("SELECT count(*) FROM pg_publication"), "0", "C-08: a publication is left");
    }
}
