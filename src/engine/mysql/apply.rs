//! Applying changes. One statement is prepared for each table, act and set of columns; rows of one
//! statement that follow each other in the log go out together, with MariaDB's bulk of parameters.
//! Each update and delete must find exactly one row, and each insert must be new. A bulk says only
//! how many rows it found in all: where that is wrong it is taken back, and the same rows go one by
//! one, which names the row that differs.

use std::collections::HashMap;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Statement, Value};

use super::apply_sql::{Table, Taken};
use super::connect::Flavor;
use super::encode::Bad;
use super::error::from_driver;
use super::fence;
use super::insert::{self, PACKET_SPARE, ROWS_MAX, STATEMENT_BYTES};
use super::marks::State;
use super::quote::{identifier, literal, name};
use crate::change::{Cascade, Followed, Net, NetTable, Path, Record, Records, RowChange, RowKind, Rows};
use crate::engine::cascade;
use crate::engine::crash::crash_point;
use crate::engine::{Applied, Cause, EngineError, Obstacle};

pub(super) const APPLY: &str = "apply changes to";

/// Statements that one connection keeps prepared.
const STATEMENTS_MAX: usize = 512;

/// The applying side of a session.
pub(super) struct Follower {
    tables: Vec<Table>,
    flavor: Flavor,
    /// Bytes of the largest packet that the server takes.
    packet: usize,
    /// Triggers of the target act on what is applied: no setting keeps them from it.
    pub triggers: bool,
    /// Prepared on the connection at hand, by table, act and columns.
    statements: HashMap<Vec<u16>, Statement>,
    /// Where a statement's key is made.
    key: Vec<u16>,
    /// The connection at hand has the settings.
    settled: bool,
}

/// What a statement does, for one table.
#[derive(Clone, Debug)]
struct Shape {
    table: usize,
    kind: RowKind,
    set: Vec<usize>,
    by: Vec<usize>,
}

/// Rows that follow each other and take the same statement.
#[derive(Default)]
struct Run<'a> {
    shape: Option<Shape>,
    changes: Vec<RowChange<'a>>,
    rows: Vec<Vec<Value>>,
    bytes: usize,
}

impl Run<'_> {
    fn takes(&self, change: &RowChange<'_>, taken: &Taken<'_>, bytes: usize, most: usize) -> bool {
        let like = self.shape.as_ref().is_some_and(|shape| {
            (shape.table, shape.kind) == (change.table, change.kind)
                && shape.set == taken.set
                && shape.by == taken.by
        });
        like && self.rows.len() < ROWS_MAX && self.bytes + bytes <= most
    }
}

impl Follower {
    /// Looks the tables up and makes the connection one that applies.
    pub async fn open(conn: &mut Conn, tables: &[Followed], flavor: Flavor) -> Result<Self, EngineError> {
        let packet = insert::packet(conn).await.map_err(|error| from_driver(APPLY, error))?;
        let mut found = Vec::with_capacity(tables.len());
        for followed in tables {
            found.push(Table::read(conn, followed, flavor).await?);
        }
        let triggers = !triggers(conn, tables).await?.is_empty();
        let mut follower = Self {
            tables: found,
            flavor,
            packet,
            triggers,
            statements: HashMap::new(),
            key: Vec::new(),
            settled: false,
        };
        follower.settle(conn).await?;
        Ok(follower)
    }

    /// The connection was replaced: nothing of it is known.
    pub fn unsettle(&mut self) {
        self.settled = false;
        self.statements.clear();
    }

    /// Makes a connection one that applies, unless it is.
    pub async fn settle(&mut self, conn: &mut Conn) -> Result<(), EngineError> {
        if !self.settled {
            // What foreign keys did at the source is in the log already.
            let still = format!("SET SESSION foreign_key_checks = 0, {} = 1", fence::PASSES);
            conn.query_drop(still).await.map_err(|error| from_driver(APPLY, error))?;
            self.settled = true;
        }
        Ok(())
    }

    fn table(&self, index: usize) -> Result<&Table, EngineError> {
        let unknown = || EngineError::new(Cause::Other, APPLY, "a change of a table that is not followed");
        self.tables.get(index).ok_or_else(unknown)
    }

    /// Applies rows and truncates in their order.
    pub async fn rows(&mut self, conn: &mut Conn, records: Records<'_>) -> Result<(), EngineError> {
        let most = STATEMENT_BYTES.min(self.packet / 2);
        let (mut taken, mut run) = (Taken::default(), Run::default());
        for record in records {
            match record {
                Record::Row(change) => {
                    let (values, bytes) = self.take(&change, &mut taken)?;
                    if !run.takes(&change, &taken, bytes, most) {
                        self.send(conn, &mut run).await?;
                        let (set, by) = (taken.set.clone(), taken.by.clone());
                        run.shape = Some(Shape { table: change.table, kind: change.kind, set, by });
                    }
                    run.bytes += bytes;
                    run.rows.push(values);
                    run.changes.push(change);
                }
                Record::Truncate { tables, .. } => {
                    self.send(conn, &mut run).await?;
                    for table in tables.iter() {
                        self.empty(conn, table).await?;
                    }
                }
                Record::Cascade(cascade) => {
                    self.send(conn, &mut run).await?;
                    self.cascade(conn, cascade).await?;
                }
                Record::Begin { .. } | Record::Commit { .. } | Record::Reached { .. } => {}
            }
        }
        self.send(conn, &mut run).await?;
        crash_point("apply::mid_tx");
        Ok(())
    }

    /// The parameters of a change.
    fn take<'a>(
        &self,
        change: &RowChange<'a>,
        taken: &mut Taken<'a>,
    ) -> Result<(Vec<Value>, usize), EngineError> {
        let table = self.table(change.table)?;
        table.take(change, taken)?;
        let (values, bytes) = table.values(taken).map_err(|bad| {
            let error = table.bad(&bad);
            EngineError { message: format!("{}: {}", table.the_row(taken), error.message), ..error }
        })?;
        if bytes + PACKET_SPARE > self.packet {
            let message = format!(
                "{} has {bytes} bytes, and the server takes packets of {}",
                table.the_row(taken),
                self.packet
            );
            return Err(EngineError::new(Cause::Data, APPLY, message)
                .on(&table.projection.target)
                .hint("raise max_allowed_packet on the target's server (1073741824 at most)"));
        }
        Ok((values, bytes))
    }

    /// Not TRUNCATE, which ends the transaction that it is in. Counters are set at the cutover.
    async fn empty(&self, conn: &mut Conn, table: usize) -> Result<(), EngineError> {
        let target = &self.table(table)?.projection.target;
        let emptied = conn.query_drop(format!("DELETE FROM {}", name(target))).await;
        emptied.map_err(|error| from_driver("empty", error).on(target))
    }

    /// What a foreign key of the source did without a word in its log (S-27).
    async fn cascade(&self, conn: &mut Conn, cascade: Cascade<'_>) -> Result<(), EngineError> {
        let path = cascade.path();
        let widths: Vec<usize> = self.tables.iter().map(|table| table.projection.columns.len()).collect();
        let values = cascade::values(&path, cascade, &widths)?.into_iter();
        let values = values.map(|(table, place, datum)| self.tables[table].value(place, datum));
        let values = values.collect::<Result<Vec<Value>, EngineError>>()?;
        let done = conn.exec_drop(self.cascade_sql(&path), Params::Positional(values)).await;
        done.map_err(|error| from_driver(APPLY, error).on(&self.tables[path.end().table].projection.target))
    }

    /// No server lets a statement read the table that it writes, but for what is read into a table of
    /// its own first: hence DISTINCT, which keeps the optimizer from merging the two.
    fn cascade_sql(&self, path: &Path) -> String {
        let names = |table: usize, places: &[usize]| {
            let names: Vec<&str> = places.iter().map(|place| self.tables[table].column(*place)).collect();
            names.join(", ")
        };
        let first = &path.hops[0];
        let keys = first.columns.iter().map(|place| {
            let table = &self.tables[first.table];
            format!("{} = {}", table.column(*place), table.given(*place))
        });
        let mut condition = keys.collect::<Vec<_>>().join(" AND ");
        for (at, pair) in path.hops.windows(2).enumerate() {
            let [before, hop] = pair else { break };
            let (own, other) = (names(hop.table, &hop.columns), names(before.table, &hop.refer_to));
            let from = name(&self.tables[before.table].projection.target);
            condition = format!(
                "({own}) IN (SELECT {other} FROM (SELECT DISTINCT {other} FROM {from} WHERE {condition}) AS d{at})"
            );
        }
        let end = &self.tables[path.end().table];
        let table = name(&end.projection.target);
        match path.set.is_empty() {
            true => format!("DELETE FROM {table} WHERE {condition}"),
            false => format!("UPDATE {table} SET {} WHERE {condition}", end.assignments(&path.set)),
        }
    }

    /// Sends the rows that are gathered.
    async fn send(&mut self, conn: &mut Conn, run: &mut Run<'_>) -> Result<(), EngineError> {
        let Some(shape) = run.shape.take() else { return Ok(()) };
        let rows = std::mem::take(&mut run.rows);
        run.bytes = 0;
        if let [change] = run.changes[..] {
            for values in rows {
                self.one(conn, &shape, &change, values).await?;
            }
            run.changes.clear();
            return Ok(());
        }
        savepoint(conn, "SAVEPOINT towpath_run").await?;
        if !self.set(conn, &shape, rows).await? {
            savepoint(conn, "ROLLBACK TO SAVEPOINT towpath_run").await?;
            let mut taken = Taken::default();
            for change in &run.changes {
                let (values, _) = self.take(change, &mut taken)?;
                self.one(conn, &shape, change, values).await?;
            }
        }
        run.changes.clear();
        Ok(())
    }

    /// Applies one row, which must be there, or must not.
    async fn one(
        &mut self,
        conn: &mut Conn,
        shape: &Shape,
        change: &RowChange<'_>,
        values: Vec<Value>,
    ) -> Result<(), EngineError> {
        let statement = self.statement(conn, shape).await?;
        let table = self.table(shape.table)?;
        let row = || {
            let mut taken = Taken::default();
            // It was taken before.
            let _ = table.take(change, &mut taken);
            table.the_row(&taken)
        };
        let doing = doing(shape.kind);
        let diverged = |message: String| {
            let error = EngineError::new(Cause::Diverged, doing, message).on(&table.projection.target);
            match self.triggers {
                false => error,
                true => error.hint(
                    "triggers of the target act on replayed rows: DROP TRIGGER them until the cutover, and see \
                     with `towpath verify` what they did",
                ),
            }
        };
        if let Err(error) = conn.exec_drop(&statement, Params::Positional(values)).await {
            let made = from_driver(doing, error);
            return Err(match made.code.as_deref() {
                Some(code @ DUPLICATE) => diverged(format!("{}: {}", row(), made.message)).code(code),
                _ if made.cause == Cause::Data => {
                    let message = format!("{}: {}", row(), made.message);
                    EngineError { message, ..made }.on(&table.projection.target)
                }
                _ => made.on(&table.projection.target),
            });
        }
        match (shape.kind, conn.affected_rows()) {
            (_, 1) => insert::warned(conn, doing, &table.projection.target).await,
            (RowKind::Insert, _) => Err(diverged(format!("{} did not go in", row()))),
            (_, 0) => Err(diverged(format!("{} is not there", row()))),
            (_, found) => Err(diverged(format!("{} is there {found} times", row()))),
        }
    }

    /// Applies rows together; false where not each of them is as the change says.
    async fn set(
        &mut self,
        conn: &mut Conn,
        shape: &Shape,
        rows: Vec<Vec<Value>>,
    ) -> Result<bool, EngineError> {
        let statement = self.statement(conn, shape).await?;
        let table = self.table(shape.table)?;
        let target = &table.projection.target;
        let sent = rows.len() as u64;
        let rows = rows.into_iter().map(Params::Positional);
        let bulk = self.flavor == Flavor::MariaDb && (table.finds_one || shape.kind == RowKind::Insert);
        let done = match bulk {
            true => conn.exec_batch(&statement, rows).await.map(|()| conn.affected_rows() == sent),
            false => each(conn, &statement, rows).await,
        };
        match done.map_err(|error| from_driver(APPLY, error).on(target)) {
            Ok(true) => Ok(insert::warned(conn, APPLY, target).await.is_ok()),
            Ok(false) => Ok(false),
            Err(error) if error.cause == Cause::Data => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Prepares it, unless it is.
    async fn statement(&mut self, conn: &mut Conn, shape: &Shape) -> Result<Statement, EngineError> {
        let Shape { table, kind, set, by } = shape;
        let small = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        self.key.clear();
        self.key.extend([small(table >> 15), small(table & 0x7fff), *kind as u16]);
        self.key.extend(set.iter().map(|place| small(*place)));
        self.key.push(u16::MAX);
        self.key.extend(by.iter().map(|place| small(*place)));
        if let Some(statement) = self.statements.get(&self.key) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= STATEMENTS_MAX {
            for (_, statement) in self.statements.drain() {
                // The session ends them, too.
                let _ = conn.close(statement).await;
            }
        }
        let table = self.table(*table)?;
        let made = conn.prep(table.statement(*kind, set, by)).await;
        let made = made.map_err(|error| from_driver(APPLY, error).on(&table.projection.target))?;
        self.statements.insert(self.key.clone(), made.clone());
        Ok(made)
    }

    /// Applies net changes; where they do not go as sets, nothing of them is kept.
    pub async fn net(&mut self, conn: &mut Conn, net: &Net<'_>) -> Result<Applied, EngineError> {
        savepoint(conn, "SAVEPOINT towpath_net").await?;
        let done = self.sets(conn, net).await?;
        crash_point("apply::mid_tx");
        match done {
            true => Ok(Applied::Done),
            false => {
                savepoint(conn, "ROLLBACK TO SAVEPOINT towpath_net").await?;
                Ok(Applied::Clashed)
            }
        }
    }

    async fn sets(&mut self, conn: &mut Conn, net: &Net<'_>) -> Result<bool, EngineError> {
        for table in net.tables.iter().rev() {
            let by = self.table(table.table)?.identity().to_vec();
            let shape = Shape { table: table.table, kind: RowKind::Delete, set: Vec::new(), by };
            if !self.pieces(conn, &shape, None, Some(&table.deletes)).await? {
                return Ok(false);
            }
        }
        for table in &net.tables {
            if !self.updates_and_inserts(conn, table).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn updates_and_inserts(
        &mut self,
        conn: &mut Conn,
        net: &NetTable<'_>,
    ) -> Result<bool, EngineError> {
        let table = self.table(net.table)?;
        let (by, width) = (table.identity().to_vec(), table.projection.columns.len());
        for updates in &net.updates {
            let (set, by) = (updates.columns.clone(), by.clone());
            let shape = Shape { table: net.table, kind: RowKind::Update, set, by };
            if !self.pieces(conn, &shape, Some(&updates.rows), Some(&updates.keys)).await? {
                return Ok(false);
            }
        }
        let shape =
            Shape { table: net.table, kind: RowKind::Insert, set: (0..width).collect(), by: Vec::new() };
        self.pieces(conn, &shape, Some(&net.inserts), None).await
    }

    /// Rows in as many bulks as it takes.
    async fn pieces(
        &mut self,
        conn: &mut Conn,
        shape: &Shape,
        set: Option<&Rows<'_>>,
        by: Option<&Rows<'_>>,
    ) -> Result<bool, EngineError> {
        let most = STATEMENT_BYTES.min(self.packet / 2);
        let count = set.or(by).map_or(0, |rows| rows.count);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for index in 0..count {
            let Ok((values, own)) = self.net_row(shape, index, set, by)? else { return Ok(false) };
            if own + PACKET_SPARE > self.packet {
                return Ok(false);
            }
            if !rows.is_empty() && (bytes + own > most || rows.len() == ROWS_MAX) {
                if !self.set(conn, shape, std::mem::take(&mut rows)).await? {
                    return Ok(false);
                }
                bytes = 0;
            }
            bytes += own;
            rows.push(values);
        }
        if rows.is_empty() { Ok(true) } else { self.set(conn, shape, rows).await }
    }

    fn net_row(
        &self,
        shape: &Shape,
        index: usize,
        set: Option<&Rows<'_>>,
        by: Option<&Rows<'_>>,
    ) -> Result<Result<(Vec<Value>, usize), Bad>, EngineError> {
        let (set, by) =
            (set.map_or(&[][..], |rows| rows.row(index)), by.map_or(&[][..], |rows| rows.row(index)));
        if (set.len(), by.len()) != (shape.set.len(), shape.by.len()) {
            return Err(EngineError::new(Cause::Other, APPLY, "rows of another width than their table's"));
        }
        let set = shape.set.iter().copied().zip(set.iter().copied());
        let by = shape.by.iter().copied().zip(by.iter().copied());
        Ok(self.table(shape.table)?.parameters(set, by))
    }
}

/// What keeps changes of these tables from being applied, found by reading only: a statement that
/// is prepared and not run shows whether it might.
pub(super) async fn check(
    conn: &mut Conn,
    state: &State,
    tables: &[Followed],
    flavor: Flavor,
) -> Result<Vec<Obstacle>, EngineError> {
    let mut found = Vec::new();
    for followed in tables {
        let target = &followed.projection.target;
        let stop = |code, message: String, hint: String| Obstacle {
            code,
            at: target.to_string(),
            message,
            hint,
            blocks: true,
        };
        let table = match Table::read(conn, followed, flavor).await {
            Ok(table) => table,
            Err(error) if matches!(error.cause, Cause::Stale | Cause::Data) => {
                found.push(stop("C502", error.message, error.hint.unwrap_or_else(|| "plan again".into())));
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(right) = table.missing_right(conn).await? {
            let message = format!("this user may not {} its rows", right.to_lowercase());
            found.push(stop(
                "P802",
                message,
                format!("GRANT {right} ON {} TO the user of this URL", name(target)),
            ));
        }
    }
    if let Err(error) = state.may_be_made(conn).await {
        let hint = error.hint.unwrap_or_default();
        let message = format!("this user may not make the state tables (towpath_...): {}", error.message);
        found.push(Obstacle { code: "P802", at: "server".into(), message, hint, blocks: true });
    }
    for (table, trigger) in triggers(conn, tables).await? {
        found.push(Obstacle {
            code: "C509",
            at: table,
            message: format!("its trigger {trigger} acts on what is applied, too"),
            hint: "DROP TRIGGER it, if what it does is done on the other end already".into(),
            blocks: true,
        });
    }
    Ok(found)
}

/// A value that must be unique is another row's.
const DUPLICATE: &str = "1062";

fn doing(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Insert => "apply an insert to",
        RowKind::Update => "apply an update to",
        RowKind::Delete => "apply a delete to",
    }
}

async fn savepoint(conn: &mut Conn, sql: &str) -> Result<(), EngineError> {
    conn.query_drop(sql).await.map_err(|error| from_driver(APPLY, error))
}

/// One by one; whether each found or made one row.
async fn each(
    conn: &mut Conn,
    statement: &Statement,
    rows: impl Iterator<Item = Params>,
) -> Result<bool, mysql_async::Error> {
    for row in rows {
        conn.exec_drop(statement, row).await?;
        if conn.affected_rows() != 1 || conn.get_warnings() > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Triggers on the tables that are not a fence's.
pub(super) async fn triggers(
    conn: &mut Conn,
    tables: &[Followed],
) -> Result<Vec<(String, String)>, EngineError> {
    let sql = format!(
        "SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME FROM information_schema.TRIGGERS \
         WHERE TRIGGER_SCHEMA = DATABASE() AND LEFT(TRIGGER_NAME, {}) <> {} ORDER BY 1, 2",
        fence::PREFIX.len(),
        literal(fence::PREFIX)
    );
    let found: Vec<(String, String)> = conn.query(sql).await.map_err(|error| from_driver(APPLY, error))?;
    let ours = |table: &str| tables.iter().any(|followed| followed.projection.target.name == *table);
    Ok(found
        .into_iter()
        .filter(|(table, _)| ours(table))
        .map(|(table, name)| (table, identifier(&name)))
        .collect())
}
