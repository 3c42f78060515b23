//! What a target remembers: tables with the prefix `towpath_` in the target's own database, for
//! which a user needs no right beyond those for the tables that are carried. Written in the
//! transaction that wrote what they describe. Reading tolerates that nothing is there.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Row, Value};

use super::error::from_driver;
use super::quote::{identifier, literal};
use crate::catalog::Name;
use crate::change::{Counts, Position};
use crate::checkpoint::{
    Checkpoint, ChunkMark, PlannedStep, Progress, RunRecord, StepMark, StreamMark, StreamProgress,
};
use crate::engine::{Cause, EngineError};

const READ: &str = "read the progress in";
const WRITE: &str = "write the progress into";

/// The layout below. A later one is refused, never guessed at.
const FORMAT: i64 = 2;
/// The first one, which had no streams.
const WITHOUT_STREAMS: i64 = 1;

/// The tables with their columns, those of streams last.
const TABLES: [(&str, &str); 9] = [
    (
        "towpath_run",
        "`plan` varchar(100) NOT NULL, `epoch` bigint NOT NULL, `digest` varchar(100) NOT NULL, \
         `started_at` datetime(6) NOT NULL, `finished_at` datetime(6) NULL, `outcome` varchar(50) NULL, \
         `holder` varchar(500) NOT NULL, `tool` varchar(100) NOT NULL, PRIMARY KEY (`plan`, `epoch`)",
    ),
    (
        "towpath_step",
        "`plan` varchar(100) NOT NULL, `step` varchar(600) NOT NULL, `inputs` varchar(100) NOT NULL, \
         `rows` bigint NOT NULL, `bytes` bigint NOT NULL, `millis` bigint NOT NULL, `at` datetime(6) NOT NULL, \
         `unit` varchar(100) NOT NULL, PRIMARY KEY (`plan`, `step`)",
    ),
    (
        "towpath_copy",
        "`plan` varchar(100) NOT NULL, `table_schema` varchar(64) NOT NULL, `table_name` varchar(64) NOT NULL, \
         `number` bigint NOT NULL, `of` bigint NOT NULL, `bounds` longtext NOT NULL, `position` longtext NOT NULL, \
         `rows` bigint NOT NULL, `bytes` bigint NOT NULL, `unit` varchar(100) NOT NULL, \
         PRIMARY KEY (`plan`, `table_schema`, `table_name`, `number`)",
    ),
    (
        "towpath_lock",
        "`plan` varchar(100) NOT NULL PRIMARY KEY, `epoch` bigint NOT NULL, `holder` varchar(500) NOT NULL, \
         `since` datetime(6) NOT NULL",
    ),
    (
        "towpath_goal",
        "`plan` varchar(100) NOT NULL, `place` bigint NOT NULL, `step` varchar(600) NOT NULL, \
         `phase` varchar(50) NOT NULL, PRIMARY KEY (`plan`, `place`)",
    ),
    // What is about to be made: see `intent`.
    (
        "towpath_intent",
        "`plan` varchar(100) NOT NULL, `kind` varchar(20) NOT NULL, `table_name` varchar(64) NOT NULL, \
         `name` varchar(64) NOT NULL, `statement` varchar(100) NOT NULL, \
         PRIMARY KEY (`plan`, `kind`, `table_name`, `name`)",
    ),
    ("towpath_format", "`format` bigint NOT NULL PRIMARY KEY"),
    (
        "towpath_stream",
        "`plan` varchar(100) NOT NULL PRIMARY KEY, `opened` longtext NOT NULL, `position` longtext NOT NULL, \
         `committed_at` bigint NULL, `transactions` bigint NOT NULL, `at` datetime(6) NOT NULL, \
         `unit` varchar(100) NOT NULL",
    ),
    (
        "towpath_stream_table",
        "`plan` varchar(100) NOT NULL, `table_schema` varchar(64) NOT NULL, `table_name` varchar(64) NOT NULL, \
         `inserts` bigint NOT NULL, `updates` bigint NOT NULL, `deletes` bigint NOT NULL, `truncates` bigint NOT NULL, \
         PRIMARY KEY (`plan`, `table_schema`, `table_name`)",
    ),
];

/// Tables of the first format.
const TABLES_WITHOUT_STREAMS: usize = 7;

/// The table of the state's format: it is of no plan.
const OF_NO_PLAN: &str = "towpath_format";

/// A target's database, as the state sees it.
#[derive(Clone, Debug)]
pub(super) struct State {
    database: String,
}

impl State {
    pub fn of(database: &str) -> Self {
        Self { database: database.to_string() }
    }

    /// One of the tables, with its database.
    pub fn table(&self, name: &str) -> String {
        format!("{}.{}", identifier(&self.database), identifier(name))
    }

    /// Names of the state tables that are there.
    async fn present(&self, conn: &mut Conn) -> Result<Vec<String>, EngineError> {
        let sql = format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME LIKE 'towpath\\_%'",
            literal(&self.database)
        );
        let found: Vec<String> = conn.query(sql).await.map_err(|error| from_driver(READ, error))?;
        Ok(found.into_iter().filter(|name| is_state(name)).collect())
    }

    /// True where there is a state; a later format's is refused.
    pub async fn is_there(&self, conn: &mut Conn) -> Result<bool, EngineError> {
        Ok(self.format(conn).await?.is_some())
    }

    /// The format of the state; none where there is none.
    async fn format(&self, conn: &mut Conn) -> Result<Option<i64>, EngineError> {
        let present = self.present(conn).await?;
        let has = |(name, _): &(&str, &str)| present.iter().any(|there| there == name);
        if !TABLES[..TABLES_WITHOUT_STREAMS].iter().all(has) {
            return Ok(None);
        }
        let sql = format!("SELECT `format` FROM {}", self.table(OF_NO_PLAN));
        let format: Option<i64> = conn.query_first(sql).await.map_err(|error| from_driver(READ, error))?;
        match format {
            Some(FORMAT | WITHOUT_STREAMS) => Ok(format),
            // Its tables were made, and then the run ended.
            None => Ok(None),
            Some(other) => {
                let message =
                    format!("the state in it has format {other}; this version knows up to {FORMAT}");
                Err(EngineError::new(Cause::Stale, READ, message)
                    .hint("a later version of Towpath wrote it: use that version for this target"))
            }
        }
    }

    /// Makes the tables where they are missing, and raises an older state to the present format. Each
    /// statement is its own, and may be repeated.
    pub async fn create(&self, conn: &mut Conn) -> Result<(), EngineError> {
        const DOING: &str = "create the state tables (towpath_...) in";
        if self.format(conn).await? == Some(FORMAT) {
            return Ok(());
        }
        let fail = |error| from_driver(DOING, error);
        for (name, columns) in TABLES {
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {} ({columns}) ENGINE=InnoDB ROW_FORMAT=DYNAMIC \
                 DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                self.table(name)
            );
            conn.query_drop(sql).await.map_err(fail)?;
        }
        let format = self.table(OF_NO_PLAN);
        conn.query_drop(format!("INSERT IGNORE INTO {format} VALUES ({FORMAT})")).await.map_err(fail)?;
        conn.query_drop(format!("DELETE FROM {format} WHERE `format` < {FORMAT}")).await.map_err(fail)
    }

    /// Fails where this user may not make the tables. Makes none: a statement is prepared only.
    pub async fn may_be_made(&self, conn: &mut Conn) -> Result<(), EngineError> {
        for (name, columns) in TABLES {
            let sql = format!("CREATE TABLE IF NOT EXISTS {} ({columns})", self.table(name));
            let statement = conn.prep(sql).await.map_err(|error| from_driver("create", error))?;
            // The session ends it, too.
            let _ = conn.close(statement).await;
        }
        Ok(())
    }

    /// Removes the plan's rows; where no other plan is left, the tables too. True where they are gone.
    pub async fn forget(&self, conn: &mut Conn, plan: &str) -> Result<bool, EngineError> {
        let fail = |error| from_driver("remove the state of plan", error).on(plan);
        for (name, _) in TABLES.iter().filter(|(name, _)| *name != OF_NO_PLAN) {
            let sql = format!("DELETE FROM {} WHERE `plan` = ?", self.table(name));
            conn.exec_drop(sql, (plan,)).await.map_err(fail)?;
        }
        conn.query_drop("COMMIT").await.map_err(fail)?;
        let sql = format!("SELECT COUNT(*) FROM {}", self.table("towpath_run"));
        let others: Option<u64> = conn.query_first(sql).await.map_err(fail)?;
        if others != Some(0) {
            return Ok(false);
        }
        let all: Vec<_> = TABLES.iter().map(|(name, _)| self.table(name)).collect();
        conn.query_drop(format!("DROP TABLE IF EXISTS {}", all.join(", "))).await.map_err(fail)?;
        Ok(true)
    }

    /// Names of all plans.
    pub async fn plans(&self, conn: &mut Conn) -> Result<Vec<String>, EngineError> {
        if !self.is_there(conn).await? {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT DISTINCT `plan` FROM {} ORDER BY 1", self.table("towpath_run"));
        conn.query(sql).await.map_err(|error| from_driver(READ, error))
    }

    /// Everything remembered of one plan, from one moment.
    pub async fn progress(&self, conn: &mut Conn, plan: &str) -> Result<Progress, EngineError> {
        let Some(format) = self.format(conn).await? else { return Ok(Progress::default()) };
        let fail = |error| from_driver(READ, error);
        conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await.map_err(fail)?;
        let moment = |column: &str| format!("DATE_FORMAT({column}, '%Y-%m-%dT%H:%i:%s.%fZ')");
        let runs = format!(
            "SELECT `epoch`, {}, {}, `outcome`, `holder`, `tool`, `digest` FROM {} WHERE `plan` = ? ORDER BY `epoch`",
            moment("`started_at`"),
            moment("`finished_at`"),
            self.table("towpath_run")
        );
        let steps = format!(
            "SELECT `step`, `inputs`, `rows`, `bytes`, `millis`, {} FROM {} WHERE `plan` = ? ORDER BY `at`, `step`",
            moment("`at`"),
            self.table("towpath_step")
        );
        let chunks = format!(
            "SELECT `table_schema`, `table_name`, `number`, `of`, `bounds`, `position`, `rows`, `bytes` FROM {} \
             WHERE `plan` = ? ORDER BY 1, 2, 3",
            self.table("towpath_copy")
        );
        let planned = format!(
            "SELECT `step`, `phase` FROM {} WHERE `plan` = ? ORDER BY `place`",
            self.table("towpath_goal")
        );
        let mut digest = None;
        let mut progress = Progress::default();
        for mut row in all(conn, &runs, plan).await? {
            let own = text(&mut row, 6);
            digest.get_or_insert(own);
            progress.runs.push(run(&mut row));
        }
        progress.digest = digest;
        progress.steps = all(conn, &steps, plan).await?.iter_mut().map(step).collect();
        progress.chunks = all(conn, &chunks, plan).await?.iter_mut().map(chunk).collect();
        progress.planned = all(conn, &planned, plan)
            .await?
            .iter_mut()
            .map(|row| PlannedStep { step: text(row, 0), phase: text(row, 1) })
            .collect();
        if format > WITHOUT_STREAMS {
            progress.stream = self.stream(conn, plan).await?;
        }
        conn.query_drop("COMMIT").await.map_err(fail)?;
        Ok(progress)
    }

    async fn stream(&self, conn: &mut Conn, plan: &str) -> Result<Option<StreamProgress>, EngineError> {
        let sql = format!(
            "SELECT `opened`, `position`, `committed_at`, `transactions`, DATE_FORMAT(`at`, '%Y-%m-%dT%H:%i:%s.%fZ') \
             FROM {} WHERE `plan` = ?",
            self.table("towpath_stream")
        );
        let Some(mut row) = all(conn, &sql, plan).await?.pop() else { return Ok(None) };
        let sql = format!(
            "SELECT `table_schema`, `table_name`, `inserts`, `updates`, `deletes`, `truncates` FROM {} \
             WHERE `plan` = ? ORDER BY 1, 2",
            self.table("towpath_stream_table")
        );
        let tables = all(conn, &sql, plan).await?.iter_mut().map(counts).collect();
        Ok(Some(StreamProgress {
            opened: Position(text(&mut row, 0)),
            position: Position(text(&mut row, 1)),
            committed_at: row.take_opt::<Option<i64>, _>(2).and_then(Result::ok).flatten(),
            transactions: number(&mut row, 3),
            tables,
            at: text(&mut row, 4),
        }))
    }

    /// Writes one mark in the open transaction. What is marked already was done twice, and fails.
    pub async fn write(
        &self,
        conn: &mut Conn,
        plan: &str,
        mark: &Checkpoint,
        unit: &str,
    ) -> Result<(), EngineError> {
        let statements: Vec<(String, Params)> = match mark {
            Checkpoint::Step(mark) => vec![self.step_sql(plan, mark, unit)],
            Checkpoint::Chunk(mark) => vec![self.chunk_sql(plan, mark, unit)],
            Checkpoint::Recopy { table, step } => vec![
                (
                    format!(
                        "DELETE FROM {} WHERE `plan` = ? AND `table_schema` = ? AND `table_name` = ?",
                        self.table("towpath_copy")
                    ),
                    (plan, &table.schema, &table.name).into(),
                ),
                self.void_sql(plan, step),
            ],
            Checkpoint::Void(step) => vec![self.void_sql(plan, step)],
            Checkpoint::Opened(position) => self.opened_sql(plan, position, unit),
            Checkpoint::Applied(mark) => return self.applied(conn, plan, mark, unit).await,
        };
        for (sql, values) in statements {
            conn.exec_drop(sql, values).await.map_err(|error| from_driver(WRITE, error))?;
        }
        Ok(())
    }

    fn void_sql(&self, plan: &str, step: &str) -> (String, Params) {
        let sql = format!("DELETE FROM {} WHERE `plan` = ? AND `step` = ?", self.table("towpath_step"));
        (sql, (plan, step).into())
    }

    fn step_sql(&self, plan: &str, mark: &StepMark, unit: &str) -> (String, Params) {
        let sql = format!(
            "INSERT INTO {} (`plan`, `step`, `inputs`, `rows`, `bytes`, `millis`, `at`, `unit`) \
             VALUES (?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6), ?)",
            self.table("towpath_step")
        );
        (sql, (plan, &mark.step, &mark.inputs, mark.rows, mark.bytes, mark.millis, unit).into())
    }

    fn chunk_sql(&self, plan: &str, mark: &ChunkMark, unit: &str) -> (String, Params) {
        let sql = format!(
            "INSERT INTO {} (`plan`, `table_schema`, `table_name`, `number`, `of`, `bounds`, `position`, `rows`, \
             `bytes`, `unit`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self.table("towpath_copy")
        );
        let values: Vec<Value> = vec![
            plan.into(),
            mark.table.schema.as_str().into(),
            mark.table.name.as_str().into(),
            mark.number.into(),
            mark.of.into(),
            mark.bounds.as_str().into(),
            mark.position.0.as_str().into(),
            mark.rows.into(),
            mark.bytes.into(),
            unit.into(),
        ];
        (sql, Params::Positional(values))
    }

    /// A new stream: what was remembered of an earlier one is void.
    fn opened_sql(&self, plan: &str, position: &Position, unit: &str) -> Vec<(String, Params)> {
        let at = &position.0;
        let forget = format!("DELETE FROM {} WHERE `plan` = ?", self.table("towpath_stream_table"));
        let open = format!(
            "REPLACE INTO {} (`plan`, `opened`, `position`, `transactions`, `at`, `unit`) \
             VALUES (?, ?, ?, 0, UTC_TIMESTAMP(6), ?)",
            self.table("towpath_stream")
        );
        vec![(forget, (plan,).into()), (open, (plan, at, at, unit).into())]
    }

    /// The stream must have been opened, and stand where the mark goes on.
    async fn applied(
        &self,
        conn: &mut Conn,
        plan: &str,
        mark: &StreamMark,
        unit: &str,
    ) -> Result<(), EngineError> {
        let fail = |error| from_driver(WRITE, error);
        let sql = format!(
            "UPDATE {} SET `position` = ?, `committed_at` = COALESCE(?, `committed_at`), \
             `transactions` = `transactions` + ?, `at` = UTC_TIMESTAMP(6), `unit` = ? \
             WHERE `plan` = ? AND (? IS NULL OR `position` = ?)",
            self.table("towpath_stream")
        );
        let after = mark.after.as_ref().map(|after| after.0.as_str());
        let values = (&mark.position.0, mark.committed_at, mark.transactions, unit, plan, after, after);
        conn.exec_drop(sql, values).await.map_err(fail)?;
        if conn.affected_rows() != 1 {
            let message = "the stream of the plan is not where these changes go on";
            return Err(EngineError::new(Cause::Stale, WRITE, message)
                .on(plan)
                .hint("nothing of them was kept; run the same command again"));
        }
        if mark.tables.is_empty() {
            return Ok(());
        }
        let row = "(?, ?, ?, ?, ?, ?, ?)";
        let added = ["inserts", "updates", "deletes", "truncates"];
        let added: Vec<_> =
            added.iter().map(|name| format!("`{name}` = `{name}` + VALUES(`{name}`)")).collect();
        let sql = format!(
            "INSERT INTO {} VALUES {} ON DUPLICATE KEY UPDATE {}",
            self.table("towpath_stream_table"),
            vec![row; mark.tables.len()].join(", "),
            added.join(", ")
        );
        let mut values: Vec<Value> = Vec::with_capacity(7 * mark.tables.len());
        for (table, Counts { inserts, updates, deletes, truncates }) in &mark.tables {
            values.extend([plan, &table.schema, &table.name].map(Value::from));
            values.extend([inserts, updates, deletes, truncates].map(Value::from));
        }
        conn.exec_drop(sql, values).await.map_err(fail)
    }

    /// Whether the transaction of that name left a mark.
    pub async fn committed(&self, conn: &mut Conn, plan: &str, unit: &str) -> Result<bool, EngineError> {
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM {} WHERE `plan` = ? AND `unit` = ?) \
             OR EXISTS (SELECT 1 FROM {} WHERE `plan` = ? AND `unit` = ?) \
             OR EXISTS (SELECT 1 FROM {} WHERE `plan` = ? AND `unit` = ?)",
            self.table("towpath_step"),
            self.table("towpath_copy"),
            self.table("towpath_stream")
        );
        let values = (plan, unit, plan, unit, plan, unit);
        let found: Option<u8> =
            conn.exec_first(sql, values).await.map_err(|error| from_driver(READ, error))?;
        Ok(found == Some(1))
    }
}

/// True for a table of the state.
pub(super) fn is_state(table: &str) -> bool {
    TABLES.iter().any(|(name, _)| *name == table)
}

async fn all(conn: &mut Conn, sql: &str, plan: &str) -> Result<Vec<Row>, EngineError> {
    conn.exec(sql, (plan,)).await.map_err(|error| from_driver(READ, error))
}

fn maybe(row: &mut Row, at: usize) -> Option<String> {
    row.take_opt::<Option<String>, _>(at)?.ok().flatten()
}

fn text(row: &mut Row, at: usize) -> String {
    maybe(row, at).unwrap_or_default()
}

fn number(row: &mut Row, at: usize) -> u64 {
    row.take_opt::<u64, _>(at).and_then(Result::ok).unwrap_or_default()
}

fn run(row: &mut Row) -> RunRecord {
    RunRecord {
        run: number(row, 0).to_string(),
        started_at: text(row, 1),
        finished_at: maybe(row, 2),
        outcome: maybe(row, 3),
        by: text(row, 4),
        tool: text(row, 5),
    }
}

fn step(row: &mut Row) -> StepMark {
    StepMark {
        step: text(row, 0),
        inputs: text(row, 1),
        rows: number(row, 2),
        bytes: number(row, 3),
        millis: number(row, 4),
        at: text(row, 5),
    }
}

fn chunk(row: &mut Row) -> ChunkMark {
    ChunkMark {
        table: Name::new(text(row, 0), text(row, 1)),
        number: number(row, 2) as u32,
        of: number(row, 3) as u32,
        bounds: text(row, 4),
        position: Position(text(row, 5)),
        rows: number(row, 6),
        bytes: number(row, 7),
    }
}

fn counts(row: &mut Row) -> (Name, Counts) {
    let [inserts, updates, deletes, truncates] = [2, 3, 4, 5].map(|at| number(row, at));
    (Name::new(text(row, 0), text(row, 1)), Counts { inserts, updates, deletes, truncates })
}
