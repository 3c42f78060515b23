//! The session that applies changes: its settings, the tables it knows, the statements it has
//! prepared on the connection at hand. What is applied how is in `apply_rows` and `apply_net`.

use std::collections::HashMap;

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::apply_sql::{Facts, Table};
use super::quote;
use super::wire::{Answer, Fault, Wire};
use crate::catalog::{Form, Projection};
use crate::change::Followed;
use crate::engine::{Cause, EngineError};

const DOING: &str = "prepare to apply changes";

/// Settings of an applying session. Every row is found by an index, whatever the statistics say
/// of a table that was just filled; and a plan is made once for all the times it is used.
const SETTINGS: &str = "SET synchronous_commit = on; SET plan_cache_mode = force_generic_plan; \
     SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off; SET enable_memoize = off";

/// Triggers and foreign keys have acted at the source already; what they did is in the log.
const REPLICA: &str = "SET session_replication_role = replica";

/// Statements that one connection keeps prepared.
const STATEMENTS_MAX: usize = 512;

/// Begins a transaction of changes. What may be deferred at the source may be here (S-07, S-09).
pub const BEGIN: [&str; 2] = ["BEGIN", "SET CONSTRAINTS ALL DEFERRED"];

/// What can be told of a table by its catalog only, in one query for all of them: rows for the
/// columns of types outside `pg_catalog`, with the equality of their default btree class (of the
/// type under any domain), and for all columns of tables with one that is GENERATED ALWAYS.
const FACTS: &str = "SELECT w.n::text, c.relkind = 'p', a.attname, a.attidentity = 'a', a.attgenerated = '', \
     (SELECT 'OPERATOR(' || pg_catalog.quote_ident(s.nspname) || '.' || o.oprname || ')' \
     FROM pg_catalog.pg_opclass k \
     JOIN pg_catalog.pg_am m ON m.oid = k.opcmethod AND m.amname = 'btree' \
     JOIN pg_catalog.pg_amop e ON e.amopfamily = k.opcfamily AND e.amopstrategy = 3 \
     AND e.amoplefttype = k.opcintype AND e.amoprighttype = k.opcintype \
     JOIN pg_catalog.pg_operator o ON o.oid = e.amopopr \
     JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace AND s.nspname <> 'pg_catalog' \
     WHERE k.opcdefault AND k.opcintype = (WITH RECURSIVE base AS \
     (SELECT t.oid, t.typbasetype UNION ALL SELECT b.oid, b.typbasetype FROM base \
     JOIN pg_catalog.pg_type b ON b.oid = base.typbasetype) \
     SELECT base.oid FROM base WHERE base.typbasetype = 0)) \
     FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) \
     WITH ORDINALITY AS w(s, t, n) \
     JOIN pg_catalog.pg_namespace p ON p.nspname = w.s \
     JOIN pg_catalog.pg_class c ON c.relnamespace = p.oid AND c.relname = w.t \
     LEFT JOIN (pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid) \
     ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
     AND (t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace OR EXISTS (SELECT \
     FROM pg_catalog.pg_attribute i WHERE i.attrelid = c.oid AND i.attidentity = 'a'))";

/// Which of these types there are not.
const UNKNOWN: &str =
    "SELECT w.t FROM pg_catalog.unnest($1::text[]) AS w(t) WHERE pg_catalog.to_regtype(w.t) IS NULL";

/// The applying side of a session.
pub struct Follower {
    pub tables: Vec<Table>,
    pub statements: Statements,
    /// Triggers and foreign keys keep still on this connection.
    pub replica: bool,
    /// The connection at hand has the settings.
    is_set: bool,
    pub scratch: Vec<u8>,
}

impl Follower {
    /// Looks the tables up and makes the connection one that applies.
    pub async fn open(wire: &mut Wire, tables: &[Followed]) -> Result<Self, EngineError> {
        let facts = facts(wire, tables).await?;
        let tables = tables.iter().zip(&facts).map(|(followed, facts)| Table::new(followed, facts)).collect();
        let mut follower = Self {
            tables,
            statements: Statements::default(),
            replica: false,
            is_set: false,
            scratch: Vec::new(),
        };
        follower.settle(wire).await?;
        Ok(follower)
    }

    /// The connection was replaced: nothing of it is known.
    pub fn unsettle(&mut self) {
        self.is_set = false;
    }

    /// Makes a connection one that applies, unless it is.
    pub async fn settle(&mut self, wire: &mut Wire) -> Result<(), EngineError> {
        if self.is_set {
            return Ok(());
        }
        self.statements = Statements::default();
        wire.query(SETTINGS).await.map_err(|fault| fault.doing(DOING))?;
        self.replica = match wire.query(REPLICA).await {
            Ok(_) => true,
            // Without the privilege rows go in as a user's would: their order matters then, and
            // sets that it does not allow are applied row by row.
            Err(Fault::Server(error)) if error.code == "42501" => false,
            Err(fault) => return Err(fault.doing(DOING)),
        };
        self.is_set = true;
        Ok(())
    }

    pub fn table(&self, index: usize) -> Result<&Table, EngineError> {
        let unknown =
            || EngineError::new(Cause::Other, "apply changes", "a change of a table that is not followed");
        self.tables.get(index).ok_or_else(unknown)
    }
}

/// The facts of each table, in their order.
async fn facts(wire: &mut Wire, tables: &[Followed]) -> Result<Vec<Facts>, EngineError> {
    let doing = |fault: Fault| fault.doing(DOING);
    let names = tables.iter().map(|followed| &followed.projection.target);
    let schemas: Vec<&str> = names.clone().map(|name| name.schema.as_str()).collect();
    let relations: Vec<&str> = names.map(|name| name.name.as_str()).collect();
    let casts: Vec<&str> = tables.iter().flat_map(|followed| cast_types(&followed.projection)).collect();
    wire.bind(FACTS, &[Some(&quote::array(&schemas)), Some(&quote::array(&relations))]).map_err(doing)?;
    wire.bind(UNKNOWN, &[Some(&quote::array(&casts))]).map_err(doing)?;
    let answers = wire.sync().await.map_err(doing)?;
    let mut answers = answers.into_iter();
    let (rows, unknown) = (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
    let unknown: Vec<String> = unknown.rows.into_iter().filter_map(|row| row.into_iter().next()?).collect();
    let mut facts: Vec<Option<Facts>> = tables.iter().map(|_| None).collect();
    read_facts(&rows, &unknown, &mut facts);
    let missing = |(followed, facts): (&Followed, Option<Facts>)| {
        facts.ok_or_else(|| {
            EngineError::new(Cause::Stale, DOING, "the table is not on the target")
                .on(&followed.projection.target)
        })
    };
    tables.iter().zip(facts).map(missing).collect()
}

/// Source types that casts begin with. Those of another engine are no words to ask this one about:
/// the server takes some of them for bad syntax.
fn cast_types(projection: &Projection) -> impl Iterator<Item = &str> {
    let columns = projection.columns.iter().filter(|_| projection.form != Form::Rows);
    let columns = columns.filter(|column| column.cast.is_some() && !column.source_native.is_empty());
    columns.map(|column| column.source_native.as_str())
}

/// Rows of [`FACTS`]: one for each odd column, or one without a column.
fn read_facts(rows: &Answer, unknown: &[String], facts: &mut [Option<Facts>]) {
    for row in &rows.rows {
        let cell = |column: usize| row.get(column).and_then(Option::as_deref);
        let number = cell(0).and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        let Some(slot) = number.checked_sub(1).and_then(|at| facts.get_mut(at)) else { continue };
        let facts: &mut Facts =
            slot.get_or_insert_with(|| Facts { unknown: unknown.to_vec(), ..Facts::default() });
        facts.partitioned = cell(1) == Some("t");
        let Some(column) = cell(2) else { continue };
        if cell(3) == Some("t") {
            facts.always.push(column.to_string());
        }
        if cell(4) == Some("t") {
            facts.columns.push(column.to_string());
        }
        if let Some(operator) = cell(5) {
            facts.operators.push((column.to_string(), operator.to_string()));
        }
    }
}

/// What a statement does, for one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Insert,
    Update,
    Delete,
    InsertSet,
    UpdateSet,
    DeleteSet,
    CopyIn,
}

/// Statements prepared on a connection, by table, act and columns.
#[derive(Default)]
pub struct Statements {
    names: HashMap<Vec<u16>, String>,
    /// Never used twice on a connection.
    number: u64,
    shape: Vec<u16>,
    /// After an error nobody knows which of the last ones the server has seen.
    doubtful: bool,
}

impl Statements {
    /// The name of the statement; it is prepared with the next message where it is not yet.
    pub fn name(
        &mut self,
        out: &mut BytesMut,
        table: usize,
        act: Act,
        columns: [&[usize]; 2],
        sql: impl FnOnce() -> String,
    ) -> Result<&str, Fault> {
        self.set_shape(table, act, columns);
        // A second look, because a borrow that is returned would forbid the insertion below.
        if !self.names.contains_key(&self.shape) {
            self.make_room(out)?;
            self.number += 1;
            let name = format!("t{}", self.number);
            frontend::parse(&name, &sql(), [], out)?;
            self.names.insert(self.shape.clone(), name);
        }
        let missing = "broken invariant: the statement was just put there";
        Ok(self.names.get(&self.shape).expect(missing))
    }

    fn set_shape(&mut self, table: usize, act: Act, columns: [&[usize]; 2]) {
        let small = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        self.shape.clear();
        self.shape.extend([small(table >> 15), small(table & 0x7fff), act as u16]);
        for columns in columns {
            self.shape.extend(columns.iter().map(|column| small(*column)));
            self.shape.push(u16::MAX);
        }
    }

    fn make_room(&mut self, out: &mut BytesMut) -> Result<(), Fault> {
        if self.names.len() < STATEMENTS_MAX {
            return Ok(());
        }
        for (_, name) in self.names.drain() {
            frontend::close(b'S', &name, out)?;
        }
        Ok(())
    }

    /// To be called after an error: the server skipped what came behind it.
    pub fn doubt(&mut self) {
        self.names.clear();
        self.doubtful = true;
    }

    /// True once after an error: what is prepared has to go first.
    pub fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubtful)
    }
}
