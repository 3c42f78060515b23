//! What the target remembers: schema `towpath` with tables `run`, `step`, `copy`, `lock`, `goal`, `stream` and
//! `stream_table`.
//! Reading tolerates that nothing is there and never creates it; marks are written by the
//! session that wrote the data, in its transaction. The schema may hold a user's tables, too (a
//! role of that name has it in its search path): ours are the ones with our comment.

use std::collections::HashSet;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Executor, Row};

use super::error::from_sqlx;
use super::quote;
use crate::catalog::Name;
use crate::change::{Counts, Position};
use crate::checkpoint::{
    Checkpoint, ChunkMark, PlannedStep, Progress, RunRecord, StepMark, StreamMark, StreamProgress,
};
use crate::engine::{Cause, EngineError};

/// The layout below, as the comment on each table. Another one than ours is refused, never
/// guessed at; a table more does not make it another.
const FORMAT: &str = "towpath state, format 1";
const DOING: &str = "read the state of the plan in";

/// A state table.
#[derive(Debug)]
pub struct StateTable {
    name: &'static str,
    columns: &'static str,
}

const TABLES: &[StateTable] = &[
    StateTable {
        name: "run",
        columns: "plan text NOT NULL, epoch bigint NOT NULL, digest text NOT NULL, \
                  started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), finished_at timestamptz, \
                  outcome text, holder text NOT NULL, tool text NOT NULL, PRIMARY KEY (plan, epoch)",
    },
    StateTable {
        name: "step",
        columns: "plan text NOT NULL, step text NOT NULL, inputs text NOT NULL, rows bigint NOT NULL, \
                  bytes bigint NOT NULL, millis bigint NOT NULL, \
                  at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), unit text NOT NULL, \
                  PRIMARY KEY (plan, step)",
    },
    StateTable {
        name: "copy",
        columns: "plan text NOT NULL, table_schema text NOT NULL, table_name text NOT NULL, \
                  number bigint NOT NULL, of bigint NOT NULL, bounds text NOT NULL, position text NOT NULL, \
                  rows bigint NOT NULL, bytes bigint NOT NULL, \
                  at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), unit text NOT NULL, \
                  PRIMARY KEY (plan, table_schema, table_name, number)",
    },
    StateTable {
        name: "lock",
        columns: "plan text PRIMARY KEY, epoch bigint NOT NULL, holder text NOT NULL, \
                  since timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()",
    },
    StateTable {
        name: "goal",
        columns: "plan text NOT NULL, place bigint NOT NULL, step text NOT NULL, phase text NOT NULL, \
                  PRIMARY KEY (plan, place)",
    },
    StateTable {
        name: "stream",
        columns: "plan text PRIMARY KEY, opened text NOT NULL, position text NOT NULL, committed_at bigint, \
                  transactions bigint NOT NULL, unit text NOT NULL, \
                  at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()",
    },
    StateTable {
        name: "stream_table",
        columns: "plan text NOT NULL, table_schema text NOT NULL, table_name text NOT NULL, \
                  inserts bigint NOT NULL, updates bigint NOT NULL, deletes bigint NOT NULL, \
                  truncates bigint NOT NULL, PRIMARY KEY (plan, table_schema, table_name)",
    },
];

pub const HAS_SCHEMA: &str = "SELECT pg_catalog.to_regnamespace('towpath') IS NOT NULL";

impl StateTable {
    pub fn create(&self) -> String {
        format!("CREATE TABLE towpath.{} ({})", self.name, self.columns)
    }

    /// Says whose table it is, and in what layout.
    pub fn stamp(&self) -> String {
        format!("COMMENT ON TABLE towpath.{} IS '{FORMAT}'", self.name)
    }
}

/// A condition on relation `c` in schema `n`: not a state table of ours, in whatever layout.
pub const NOT_OURS: &str = "NOT (n.nspname = 'towpath' AND coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), '') \
     ~ '^towpath state, format [0-9]+$')";

/// The state tables that are there. One of those names that is not ours, or in another layout,
/// is an error.
async fn present(connection: &mut PgConnection) -> Result<HashSet<String>, EngineError> {
    let sql = "SELECT c.relname::text, pg_catalog.obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = 'towpath' AND c.relkind NOT IN ('i', 'I')";
    let found = sqlx::query(sql).fetch_all(connection).await.map_err(|error| from_sqlx(DOING, error))?;
    let found: Vec<(String, Option<String>)> =
        found.iter().map(|row| Ok((cell(row, 0)?, cell(row, 1)?))).collect::<Result<_, EngineError>>()?;
    // The first version wrote its format on `run` alone.
    let stamped = found.iter().any(|(name, words)| name == "run" && words.as_deref() == Some(FORMAT));
    let mut ours = HashSet::new();
    for (name, words) in found {
        if !TABLES.iter().any(|table| table.name == name) {
            continue;
        }
        match words.as_deref() {
            Some(FORMAT) => {}
            None if stamped && FIRST.contains(&name.as_str()) => {}
            _ => return Err(foreign(&name)),
        }
        ours.insert(name);
    }
    Ok(ours)
}

/// The tables of the first version.
const FIRST: [&str; 3] = ["step", "copy", "lock"];

fn foreign(table: &str) -> EngineError {
    let message = format!("towpath.{table} is not in the form this version writes");
    EngineError::new(Cause::Stale, DOING, message).hint(
        "another version of Towpath made it, or it is not Towpath's; use that version, or move it to another schema",
    )
}

/// The state tables that are still to be made.
pub async fn missing(connection: &mut PgConnection) -> Result<Vec<&'static StateTable>, EngineError> {
    let present = present(connection).await?;
    Ok(TABLES.iter().filter(|table| !present.contains(table.name)).collect())
}

/// Whether this target was ever written to by a plan.
pub async fn is_present(connection: &mut PgConnection) -> Result<bool, EngineError> {
    Ok(present(connection).await?.contains("run"))
}

fn cell<'r, T>(row: &'r PgRow, column: usize) -> Result<T, EngineError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(|error| from_sqlx(DOING, error))
}

fn unsigned(row: &PgRow, column: usize) -> Result<u64, EngineError> {
    Ok(u64::try_from(cell::<i64>(row, column)?).unwrap_or(0))
}

fn small(row: &PgRow, column: usize) -> Result<u32, EngineError> {
    Ok(u32::try_from(cell::<i64>(row, column)?).unwrap_or(u32::MAX))
}

/// RFC 3339 in UTC.
macro_rules! rfc3339 {
    ($column:literal) => {
        concat!("pg_catalog.to_char(", $column, " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")
    };
}
pub(super) use rfc3339;

const RUNS: &str = concat!(
    "SELECT epoch::text, ",
    rfc3339!("started_at"),
    ", ",
    rfc3339!("finished_at"),
    ", outcome, holder, tool, digest FROM towpath.run WHERE plan = $1 ORDER BY epoch"
);
const STEPS: &str = concat!(
    "SELECT step, inputs, rows, bytes, millis, ",
    rfc3339!("at"),
    " FROM towpath.step WHERE plan = $1 ORDER BY at, step"
);
const PLANNED: &str = "SELECT step, phase FROM towpath.goal WHERE plan = $1 ORDER BY place";
const CHUNKS: &str = "SELECT table_schema, table_name, number, of, bounds, position, rows, bytes \
     FROM towpath.copy WHERE plan = $1 ORDER BY table_schema, table_name, number";

const STREAM: &str = concat!(
    "SELECT opened, position, committed_at, transactions, ",
    rfc3339!("at"),
    " FROM towpath.stream WHERE plan = $1"
);
const STREAM_TABLES: &str = "SELECT table_schema, table_name, inserts, updates, deletes, truncates \
     FROM towpath.stream_table WHERE plan = $1 ORDER BY table_schema, table_name";

async fn rows(
    connection: &mut PgConnection,
    sql: &'static str,
    plan: &str,
) -> Result<Vec<PgRow>, EngineError> {
    let query = sqlx::query(sql).bind(plan.to_string());
    query.fetch_all(connection).await.map_err(|error| from_sqlx(DOING, error))
}

/// Everything about one plan.
pub async fn progress(connection: &mut PgConnection, plan: &str) -> Result<Progress, EngineError> {
    let present = present(connection).await?;
    if !present.contains("run") {
        return Ok(Progress::default());
    }
    let mut progress = Progress::default();
    for row in rows(connection, RUNS, plan).await? {
        if progress.digest.is_none() {
            progress.digest = Some(cell(&row, 6)?);
        }
        progress.runs.push(RunRecord {
            run: cell(&row, 0)?,
            started_at: cell(&row, 1)?,
            finished_at: cell(&row, 2)?,
            outcome: cell(&row, 3)?,
            by: cell(&row, 4)?,
            tool: cell(&row, 5)?,
        });
    }
    for row in rows(connection, STEPS, plan).await? {
        progress.steps.push(StepMark {
            step: cell(&row, 0)?,
            inputs: cell(&row, 1)?,
            rows: unsigned(&row, 2)?,
            bytes: unsigned(&row, 3)?,
            millis: unsigned(&row, 4)?,
            at: cell(&row, 5)?,
        });
    }
    for row in rows(connection, CHUNKS, plan).await? {
        progress.chunks.push(ChunkMark {
            table: Name::new(cell::<String>(&row, 0)?, cell::<String>(&row, 1)?),
            number: small(&row, 2)?,
            of: small(&row, 3)?,
            bounds: cell(&row, 4)?,
            position: Position(cell(&row, 5)?),
            rows: unsigned(&row, 6)?,
            bytes: unsigned(&row, 7)?,
        });
    }
    if present.contains("goal") {
        for row in rows(connection, PLANNED, plan).await? {
            progress.planned.push(PlannedStep { step: cell(&row, 0)?, phase: cell(&row, 1)? });
        }
    }
    if present.contains("stream") {
        progress.stream = stream(connection, plan).await?;
    }
    Ok(progress)
}

async fn stream(connection: &mut PgConnection, plan: &str) -> Result<Option<StreamProgress>, EngineError> {
    let Some(row) = rows(connection, STREAM, plan).await?.into_iter().next() else { return Ok(None) };
    let mut stream = StreamProgress {
        opened: Position(cell(&row, 0)?),
        position: Position(cell(&row, 1)?),
        committed_at: cell(&row, 2)?,
        transactions: unsigned(&row, 3)?,
        tables: Vec::new(),
        at: cell(&row, 4)?,
    };
    for row in rows(connection, STREAM_TABLES, plan).await? {
        let counts = Counts {
            inserts: unsigned(&row, 2)?,
            updates: unsigned(&row, 3)?,
            deletes: unsigned(&row, 4)?,
            truncates: unsigned(&row, 5)?,
        };
        stream.tables.push((Name::new(cell::<String>(&row, 0)?, cell::<String>(&row, 1)?), counts));
    }
    Ok(Some(stream))
}

/// Removes all rows of a plan; where it was the last one, the tables and the schema too, but not
/// what somebody else has put there. True where the schema is gone.
pub async fn forget(connection: &mut PgConnection, plan: &str) -> Result<bool, EngineError> {
    const DOING: &str = "remove the state of plan";
    let fail = |error| from_sqlx(DOING, error).on(plan);
    for table in TABLES {
        let sql = safe(format!("DELETE FROM towpath.{} WHERE plan = $1", table.name));
        sqlx::query(sql).bind(plan.to_string()).execute(&mut *connection).await.map_err(fail)?;
    }
    if !plans(connection).await?.is_empty() {
        return Ok(false);
    }
    for table in TABLES {
        let sql = safe(format!("DROP TABLE towpath.{}", table.name));
        connection.execute(sql).await.map_err(fail)?;
    }
    let empty = "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.refclassid = \
         'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = n.oid) \
         FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'towpath'";
    let row = sqlx::query(empty).fetch_one(&mut *connection).await.map_err(fail)?;
    let empty: bool = cell(&row, 0)?;
    if empty {
        connection.execute("DROP SCHEMA towpath").await.map_err(fail)?;
    }
    Ok(empty)
}

/// Names of the plans.
pub async fn plans(connection: &mut PgConnection) -> Result<Vec<String>, EngineError> {
    if !is_present(connection).await? {
        return Ok(Vec::new());
    }
    let sql = "SELECT DISTINCT plan FROM towpath.run ORDER BY plan";
    let rows = sqlx::query(sql).fetch_all(connection).await.map_err(|error| from_sqlx(DOING, error))?;
    rows.iter().map(|row| cell(row, 0)).collect()
}

/// A statement with its values, to be run in the session's transaction.
pub struct Bound {
    pub sql: &'static str,
    pub values: Vec<Option<String>>,
    /// It leaves the transaction's name behind, by which a lost commit is found.
    pub proves: bool,
}

impl Bound {
    fn new<const N: usize>(sql: &'static str, values: [&dyn ToString; N]) -> Self {
        Self { sql, values: values.iter().map(|value| Some(value.to_string())).collect(), proves: false }
    }

    fn proof(self) -> Self {
        Self { proves: true, ..self }
    }
}

/// What a mark writes. `unit` names the transaction: found again, it proves that it committed.
pub fn statements(plan: &str, mark: &Checkpoint, unit: &str) -> Vec<Bound> {
    match mark {
        Checkpoint::Step(mark) => {
            let StepMark { step, inputs, rows, bytes, millis, .. } = mark;
            vec![Bound::new(STEP, [&plan, step, inputs, rows, bytes, millis, &unit]).proof()]
        }
        Checkpoint::Chunk(mark) => {
            let ChunkMark { table, number, of, bounds, position, rows, bytes } = mark;
            let values: [&dyn ToString; 10] =
                [&plan, &table.schema, &table.name, number, of, bounds, position, rows, bytes, &unit];
            vec![Bound::new(CHUNK, values).proof()]
        }
        Checkpoint::Opened(position) => vec![
            Bound::new(OPENED, [&plan, position, &unit]).proof(),
            Bound::new("DELETE FROM towpath.stream_table WHERE plan = $1", [&plan]),
        ],
        Checkpoint::Applied(mark) => applied(plan, mark, unit),
        Checkpoint::Void(step) => vec![Bound::new(VOID, [&plan, step])],
        Checkpoint::Recopy { table, step } => vec![
            Bound::new(
                "DELETE FROM towpath.copy WHERE plan = $1 AND table_schema = $2 AND table_name = $3",
                [&plan, &table.schema, &table.name],
            ),
            Bound::new(VOID, [&plan, step]),
        ],
    }
}

fn applied(plan: &str, mark: &StreamMark, unit: &str) -> Vec<Bound> {
    let mut stream = Bound::new(APPLIED, [&plan, &mark.position, &mark.transactions, &unit]).proof();
    stream.values.push(mark.committed_at.map(|at| at.to_string()));
    stream.values.push(mark.after.as_ref().map(ToString::to_string));
    if mark.tables.is_empty() {
        return vec![stream];
    }
    let texts = |of: fn(&Name) -> &str| {
        let texts: Vec<&str> = mark.tables.iter().map(|(name, _)| of(name)).collect();
        quote::array(&texts)
    };
    let numbers = |of: fn(&Counts) -> u64| {
        let numbers: Vec<String> = mark.tables.iter().map(|(_, counts)| of(counts).to_string()).collect();
        quote::array(&numbers)
    };
    let values: [&dyn ToString; 7] = [
        &plan,
        &texts(|name| &name.schema),
        &texts(|name| &name.name),
        &numbers(|counts| counts.inserts),
        &numbers(|counts| counts.updates),
        &numbers(|counts| counts.deletes),
        &numbers(|counts| counts.truncates),
    ];
    vec![stream, Bound::new(APPLIED_TABLES, values)]
}

// A mark is written once: what would be marked again was done twice, and must not commit.
const STEP: &str = "INSERT INTO towpath.step (plan, step, inputs, rows, bytes, millis, unit) \
     VALUES ($1, $2, $3, $4::bigint, $5::bigint, $6::bigint, $7)";

const VOID: &str = "DELETE FROM towpath.step WHERE plan = $1 AND step = $2";

const CHUNK: &str = "INSERT INTO towpath.copy \
     (plan, table_schema, table_name, number, of, bounds, position, rows, bytes, unit) \
     VALUES ($1, $2, $3, $4::bigint, $5::bigint, $6, $7, $8::bigint, $9::bigint, $10)";

/// Whether the newest run of the plan had this goal, and its steps are remembered.
pub const KNOWN_GOAL: &str = "SELECT EXISTS (SELECT FROM towpath.goal WHERE plan = $1) AND coalesce((SELECT digest = $2 \
     FROM towpath.run WHERE plan = $1 ORDER BY epoch DESC LIMIT 1), false)";

/// Writes the steps of a goal: their ids and phases, in their order.
pub const INSERT_GOAL: &str = "INSERT INTO towpath.goal (plan, place, step, phase) SELECT $1, s.place, s.step, s.phase \
     FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) WITH ORDINALITY \
     AS s (step, phase, place)";
/// A capture that is opened again begins a new stream.
const OPENED: &str = "INSERT INTO towpath.stream (plan, opened, position, transactions, unit) \
     VALUES ($1, $2, $2, 0, $3) \
     ON CONFLICT (plan) DO UPDATE SET opened = excluded.opened, position = excluded.position, \
     committed_at = NULL, transactions = 0, unit = excluded.unit, at = excluded.at";

/// Fails with a division by zero where no capture was opened (what is counted from nowhere would
/// look like a stream that is complete), and where the stream does not stand where it should.
const APPLIED: &str = "WITH applied AS (UPDATE towpath.stream SET position = $2, \
     transactions = transactions + $3::bigint, unit = $4, \
     committed_at = COALESCE($5::bigint, committed_at), at = pg_catalog.clock_timestamp() \
     WHERE plan = $1 AND ($6::text IS NULL OR position = $6) RETURNING 1) SELECT 1 / pg_catalog.count(*) FROM applied";

/// Several source tables may feed one target table.
const APPLIED_TABLES: &str = "INSERT INTO towpath.stream_table AS s \
     (plan, table_schema, table_name, inserts, updates, deletes, truncates) \
     SELECT $1, n.s, n.t, pg_catalog.sum(n.i), pg_catalog.sum(n.u), pg_catalog.sum(n.d), pg_catalog.sum(n.c) \
     FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), \
     pg_catalog.unnest($4::bigint[]), pg_catalog.unnest($5::bigint[]), pg_catalog.unnest($6::bigint[]), \
     pg_catalog.unnest($7::bigint[])) AS n(s, t, i, u, d, c) GROUP BY n.s, n.t \
     ON CONFLICT (plan, table_schema, table_name) DO UPDATE SET inserts = s.inserts + excluded.inserts, \
     updates = s.updates + excluded.updates, deletes = s.deletes + excluded.deletes, \
     truncates = s.truncates + excluded.truncates";

/// Whether the transaction of that name committed.
pub const COMMITTED: &str = "SELECT EXISTS (SELECT FROM towpath.step WHERE plan = $1 AND unit = $2) \
     OR EXISTS (SELECT FROM towpath.copy WHERE plan = $1 AND unit = $2) \
     OR EXISTS (SELECT FROM towpath.stream WHERE plan = $1 AND unit = $2)";

/// Fails with a division by zero when the fence is no longer ours, so that a COMMIT behind it in
/// the same message is never reached; else holds it until the transaction ends. Nor may it commit
/// when nobody holds the plan's lock: then its session went down with the server, and commits
/// that were not on disk yet with it; what builds on them must not be kept.
pub const FENCE: &str = "SELECT 1 / pg_catalog.count(*) FROM (SELECT FROM towpath.lock \
     WHERE plan = $1 AND epoch = $2::bigint AND NOT pg_catalog.pg_try_advisory_xact_lock_shared($3::bigint) \
     FOR SHARE) AS held";

/// SQL made of constants and of texts that the dialect quoted.
pub fn safe(sql: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql)
}
