//! Events of the binary log, made into changes. A transaction is told from its first row of a
//! followed table to its end; nothing of it counts before. Pure: events come in, records go out.
//!
//! ```text
//!   Gtid (its place is where it begins)
//!     TableMap  number -> table, how its columns are stored
//!     Write/Update/DeleteRows  number, columns present, rows
//!   Xid | Query COMMIT     done: going on from the end of this event repeats nothing
//!   Gtid standalone + Query     one statement: structure, TRUNCATE
//!   Gtid prepared ... XaPrepare    rows of a transaction whose end comes later, or never
//! ```

use std::collections::{BTreeSet, HashMap};

use super::cascade::reached;
use super::followed::{CHANGED, Layout};
use super::inflate;
use super::place::{self, At, Gtids, Prepared, digest, split};
use super::relation::{Input, Map, Relation};
use super::row::{Field, Row, read_fields};
use super::statement::{self, Said};
use crate::catalog::{Name, RowBatch};
use crate::change::{Changes, RowKind};
use crate::engine::{Cause, EngineError};

pub(super) const DOING: &str = "follow";

/// An event, whose checksum was right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event<'a> {
    pub kind: u8,
    /// Seconds since 1970.
    pub at: u32,
    /// Of the server that it comes from first.
    pub server: u32,
    /// Bytes of it in the log.
    pub size: u32,
    /// The lower half of the place where it ends; 0 for one that is not in the file.
    pub end: u32,
    /// Made for us, and not in the file.
    pub artificial: bool,
    pub body: &'a [u8],
}

/// Kinds of events.
pub(super) mod kind {
    pub const QUERY: u8 = 2;
    pub const STOP: u8 = 3;
    pub const ROTATE: u8 = 4;
    pub const INTVAR: u8 = 5;
    pub const APPEND_BLOCK: u8 = 9;
    pub const DELETE_FILE: u8 = 11;
    pub const RAND: u8 = 13;
    pub const USER_VAR: u8 = 14;
    pub const FORMAT: u8 = 15;
    pub const XID: u8 = 16;
    pub const BEGIN_LOAD: u8 = 17;
    pub const EXECUTE_LOAD: u8 = 18;
    pub const TABLE_MAP: u8 = 19;
    pub const ROWS_V1: std::ops::RangeInclusive<u8> = 23..=25;
    pub const INCIDENT: u8 = 26;
    pub const HEARTBEAT: u8 = 27;
    pub const ROWS_V2: std::ops::RangeInclusive<u8> = 30..=32;
    pub const XA_PREPARE: u8 = 38;
    pub const ANNOTATE: u8 = 160;
    pub const CHECKPOINT: u8 = 161;
    pub const GTID: u8 = 162;
    pub const GTID_LIST: u8 = 163;
    pub const START_ENCRYPTION: u8 = 164;
    pub const QUERY_PACKED: u8 = 165;
    pub const ROWS_V1_PACKED: std::ops::RangeInclusive<u8> = 166..=168;
    pub const ROWS_V2_PACKED: std::ops::RangeInclusive<u8> = 169..=171;
}

/// Flags of a GTID event.
const STANDALONE: u8 = 1;
const PREPARED_XA: u8 = 64;

/// A flag of rows: the session did not look at foreign keys, which then do nothing either.
const NO_KEYS: u64 = 2;

/// Bytes of an event's sum.
const SUM_BYTES: usize = 4;

/// Maps that are kept; after a rotation their numbers begin anew.
const RELATIONS_MAX: usize = 10_000;
/// Prepared transactions that are remembered as being of no concern, in each position too.
const PREPARED_MAX: usize = 1_000;

pub(super) struct Decoder {
    tables: Vec<Layout>,
    names: Vec<Name>,
    places: HashMap<(Vec<u8>, Vec<u8>), usize>,
    /// Where the stream of each table begins.
    starts: Vec<(u64, u64)>,
    server: String,
    file: String,
    number: u64,
    offset: u64,
    gtids: Gtids,
    /// False where the start was not told by GTID: then none is told either.
    by_gtid: bool,
    /// The log has said how its events are made.
    formatted: bool,
    relations: HashMap<u64, Relation>,
    transaction: Option<Transaction>,
    /// Prepared transactions that touched nothing that is followed.
    unconcerned: Prepared,
    /// The last position that was told, as file and byte.
    told: (u64, u64),
    /// Where transactions begin that have no end, for the server fell while it wrote them.
    endless: Endless,
    scratch: Scratch,
}

/// Places of transactions, as file and byte.
pub(super) type Endless = BTreeSet<(u64, u64)>;

#[derive(Debug)]
struct Transaction {
    begins: (u64, u64),
    told: bool,
    standalone: bool,
    prepared: bool,
    xid: Option<String>,
}

/// Memory that rows use in turn.
#[derive(Default)]
struct Scratch {
    position: String,
    gtid: String,
    before: Vec<Field>,
    after: Vec<Field>,
    cells: RowBatch,
    spare: Vec<u8>,
    unpacked: Vec<u8>,
}

impl Decoder {
    /// `from` and `starts` are of the server whose log is read, and so are the places in `endless`,
    /// where nothing is told.
    pub fn new(tables: Vec<Layout>, from: &At, starts: &[At], endless: Endless) -> Result<Self, EngineError> {
        let number = |at: &At| split(&at.file).map_or(0, |(_, number)| number);
        let gtids = place::parse_gtids(&from.gtid).unwrap_or_default();
        Ok(Self {
            names: tables.iter().map(|table| table.name.clone()).collect(),
            places: tables
                .iter()
                .enumerate()
                .map(|(at, table)| {
                    ((table.name.schema.clone().into_bytes(), table.name.name.clone().into_bytes()), at)
                })
                .collect(),
            tables,
            starts: starts.iter().map(|start| (number(start), start.offset)).collect(),
            server: from.server.clone(),
            file: from.file.clone(),
            number: number(from),
            offset: from.offset,
            by_gtid: !from.gtid.is_empty(),
            gtids,
            formatted: false,
            relations: HashMap::new(),
            transaction: None,
            unconcerned: from.prepared.clone(),
            told: (number(from), from.offset),
            endless,
            scratch: Scratch::default(),
        })
    }

    /// Takes one event in.
    pub fn take(&mut self, event: &Event<'_>, into: &mut Changes) -> Result<(), EngineError> {
        if event.end != 0 && !event.artificial && event.kind != kind::HEARTBEAT {
            self.advance(event.end);
        }
        match event.kind {
            kind::ROTATE => self.rotate(event.body),
            kind::GTID => self.begin(event),
            kind::TABLE_MAP => self.map(event.body),
            kind::QUERY => self.query(event, event.body, false, into),
            kind::QUERY_PACKED => self.query(event, event.body, true, into),
            kind::XID => self.commit(event, into),
            kind::XA_PREPARE => self.prepared(event, into),
            code if kind::ROWS_V1.contains(&code) => self.rows(code - 23, event.body, 1, false, into),
            code if kind::ROWS_V2.contains(&code) => self.rows(code - 30, event.body, 2, false, into),
            code if kind::ROWS_V1_PACKED.contains(&code) => self.rows(code - 166, event.body, 1, true, into),
            code if kind::ROWS_V2_PACKED.contains(&code) => self.rows(code - 169, event.body, 2, true, into),
            kind::FORMAT | kind::STOP => {
                self.formatted |= event.kind == kind::FORMAT;
                self.cut_off()
            }
            kind::HEARTBEAT
            | kind::ANNOTATE
            | kind::CHECKPOINT
            | kind::GTID_LIST
            | kind::INTVAR
            | kind::RAND
            | kind::USER_VAR
            | kind::BEGIN_LOAD
            | kind::APPEND_BLOCK
            | kind::DELETE_FILE => Ok(()),
            kind::EXECUTE_LOAD => Err(stopped(
                "a LOAD DATA was logged as a statement, whose rows are in no log",
                "set binlog_format = ROW for all sessions, then `towpath apply --recopy` copies the tables again",
            )),
            kind::INCIDENT => Err(stopped(
                "the server could not log something that changed rows (an incident event)",
                "`towpath apply --recopy` copies the tables again and follows them from there",
            )),
            kind::START_ENCRYPTION => Err(stopped(
                "the log is sent encrypted, which is not read here",
                "set encrypt_binlog = OFF on the source, then `towpath apply --recopy`",
            )),
            other => Err(stopped(
                format!("the log holds an event of a kind that is not known (type {other})"),
                "a newer Towpath may know it; nothing of the log is skipped",
            )),
        }
    }

    /// Tells how far the log has come without anything for us. To be called when there is nothing
    /// more to decode for now.
    pub fn settle(&mut self, into: &mut Changes) {
        if self.transaction.is_some() || into.is_open() || (self.number, self.offset) <= self.told {
            return;
        }
        self.told = (self.number, self.offset);
        self.write_position();
        into.reached(&self.scratch.position);
    }

    /// Places have 32 bits in an event, and files may be longer.
    fn advance(&mut self, end: u32) {
        const TURN: u64 = 1 << 32;
        let end = self.offset & !(TURN - 1) | u64::from(end);
        self.offset = if end < self.offset { end + TURN } else { end };
    }

    fn write_position(&mut self) {
        let gtid = &mut self.scratch.gtid;
        gtid.clear();
        if self.by_gtid {
            place::write_gtids(gtid, &self.gtids);
        }
        let position = &mut self.scratch.position;
        place::write(position, &self.server, &self.file, self.offset, &self.unconcerned, gtid);
    }

    fn rotate(&mut self, body: &[u8]) -> Result<(), EngineError> {
        let mut input = Input(body);
        let offset = input.number(8).ok_or_else(|| broken("a rotation without a place"))?;
        let file = self.file_name(input.0);
        let known = split(&file).filter(|(base, _)| split(&self.file).is_some_and(|(own, _)| own == *base));
        let Some((_, number)) = known else {
            return Err(broken("the log goes on in a file of another kind of name"));
        };
        self.cut_off()?;
        if (number, offset) < (self.number, self.offset) {
            return Err(broken("the log goes back"));
        }
        (self.number, self.offset) = (number, offset);
        self.file = file;
        if self.relations.len() > RELATIONS_MAX {
            self.relations.clear();
        }
        Ok(())
    }

    /// A transaction is in one file: what is open at its end is none. The server fell while it wrote it.
    fn cut_off(&mut self) -> Result<(), EngineError> {
        match self.transaction.take() {
            // Its rows were handed on already: it is read again, and then not told.
            Some(Transaction { told: true, begins, .. }) => {
                self.endless.insert(begins);
                Err(broken("a transaction has no end, for the server fell while it wrote it"))
            }
            _ => Ok(()),
        }
    }

    /// The transactions without an end that were found so far.
    pub fn endless(&self) -> &Endless {
        &self.endless
    }

    /// The name in a rotation. The first one comes before the log has said that sums are sent, and has
    /// its own one at its end.
    fn file_name(&self, bytes: &[u8]) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if self.formatted {
            return text(bytes);
        }
        match bytes.len().checked_sub(SUM_BYTES).map(|end| text(&bytes[..end])) {
            Some(cut) if cut == self.file || split(&text(bytes)).is_none() => cut,
            _ => text(bytes),
        }
    }

    fn begin(&mut self, event: &Event<'_>) -> Result<(), EngineError> {
        let mut input = Input(event.body);
        let (sequence, domain, flags) = (input.number(8), input.number(4), input.number(1));
        let (Some(sequence), Some(domain), Some(flags)) = (sequence, domain, flags) else {
            return Err(broken("a GTID event that is too short"));
        };
        if self.transaction.is_some() {
            return Err(broken("a transaction begins inside another"));
        }
        self.gtids.insert(domain as u32, (event.server, sequence));
        self.by_gtid = true;
        self.transaction = Some(Transaction {
            begins: (self.number, self.offset.saturating_sub(event.size.into())),
            told: false,
            standalone: flags as u8 & STANDALONE != 0,
            prepared: flags as u8 & PREPARED_XA != 0,
            xid: None,
        });
        Ok(())
    }

    fn commit(&mut self, event: &Event<'_>, into: &mut Changes) -> Result<(), EngineError> {
        let ended =
            self.transaction.take().ok_or_else(|| broken("a commit of a transaction that did not begin"))?;
        if ended.told {
            self.write_position();
            into.commit(&self.scratch.position, i64::from(event.at) * 1_000_000);
            self.told = (self.number, self.offset);
        }
        Ok(())
    }

    /// The end of a transaction's first phase. None of what it changed is followed, else it had
    /// been refused; one phase is a commit like any other.
    fn prepared(&mut self, event: &Event<'_>, into: &mut Changes) -> Result<(), EngineError> {
        if event.body.first() == Some(&1) {
            return self.commit(event, into);
        }
        let xid = self.transaction.take().and_then(|transaction| transaction.xid);
        if self.unconcerned.len() < PREPARED_MAX {
            self.unconcerned.extend(xid.map(|xid| digest(&xid)));
        }
        Ok(())
    }

    fn map(&mut self, body: &[u8]) -> Result<(), EngineError> {
        let map = Map::parse(body).ok_or_else(|| broken("a table map that is too short"))?;
        if self.relations.get(&map.number).is_some_and(|known| known.is_of(body)) {
            return Ok(());
        }
        let relation = match self.places.get(&(map.schema.to_vec(), map.name.to_vec())).copied() {
            None => Relation::ignored(body),
            // What is in its copy may have had another form.
            Some(table) if !self.is_told(table) => Relation::ignored(&[]),
            Some(table) => {
                let made = Relation::new(body, &map, table, &self.tables[table]);
                made.map_err(|why| changed(&self.names[table], why))?
            }
        };
        self.relations.insert(map.number, relation);
        Ok(())
    }

    /// False for what is in the table's copy, and for what was never committed.
    fn is_told(&self, table: usize) -> bool {
        self.transaction.as_ref().is_none_or(|transaction| {
            transaction.begins >= self.starts[table] && !self.endless.contains(&transaction.begins)
        })
    }

    fn query(
        &mut self,
        event: &Event<'_>,
        body: &[u8],
        packed: bool,
        into: &mut Changes,
    ) -> Result<(), EngineError> {
        let parts = query_parts(body).ok_or_else(|| broken("a statement that is too short"))?;
        let (schema, text) = parts;
        let mut unpacked = Vec::new();
        let text = match packed {
            true => {
                inflate::unpack(text, &mut unpacked)
                    .ok_or_else(|| broken("a statement that cannot be unpacked"))?;
                &unpacked
            }
            false => text,
        };
        let said = statement::read(text, &String::from_utf8_lossy(schema), &self.names);
        let standalone = self.transaction.as_ref().is_some_and(|transaction| transaction.standalone);
        match said {
            Said::Begin | Said::Other => {}
            Said::Commit => return self.commit(event, into),
            Said::Rollback | Said::PartialRollback => {
                if self.transaction.as_ref().is_some_and(|transaction| transaction.told) {
                    return Err(stopped(
                        "a transaction was rolled back after its rows were logged, because it also wrote to a table \
                         of a storage engine without transactions",
                        "`towpath apply --recopy` copies the tables again and follows them from there",
                    ));
                }
                if said == Said::Rollback {
                    self.transaction = None;
                }
            }
            Said::XaEnd(xid) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.xid = Some(xid);
                }
            }
            Said::XaCommit(xid) => {
                if !self.unconcerned.remove(&digest(&xid)) {
                    return Err(stopped(
                        "a distributed transaction (XA) was committed whose rows were logged before: whether they \
                         belong to followed tables is not known",
                        "`towpath apply --recopy` copies the tables again; XA transactions are not followed",
                    ));
                }
                self.transaction = None;
            }
            Said::XaRollback(xid) => {
                self.unconcerned.remove(&digest(&xid));
                self.transaction = None;
            }
            Said::Truncate(table) if self.is_told(table) => {
                self.tell_begin(into)?;
                into.truncate(&[table], false);
            }
            Said::Structure(table) if self.is_told(table) => {
                return Err(changed(&self.names[table], "its structure changed".into()));
            }
            Said::Rows(table) if self.is_told(table) => {
                return Err(stopped(
                    "a statement that may have changed its rows was logged as a statement, without the rows",
                    "set binlog_format = ROW for all sessions, then `towpath apply --recopy` copies the tables again",
                )
                .on(&self.names[table]));
            }
            Said::Truncate(_) | Said::Structure(_) | Said::Rows(_) => {}
        }
        if standalone && self.transaction.is_some() {
            return self.commit(event, into);
        }
        Ok(())
    }

    /// Tells the beginning of the transaction before the first change in it.
    fn tell_begin(&mut self, into: &mut Changes) -> Result<(), EngineError> {
        let transaction =
            self.transaction.as_mut().ok_or_else(|| broken("a change outside of any transaction"))?;
        if !transaction.told {
            transaction.told = true;
            // A transaction is in one file, from its beginning to its end.
            let (_, offset) = transaction.begins;
            let position = &mut self.scratch.position;
            place::write(position, &self.server, &self.file, offset, &Prepared::new(), "");
            into.begin(&self.scratch.position);
        }
        Ok(())
    }

    fn rows(
        &mut self,
        what: u8,
        body: &[u8],
        version: u8,
        packed: bool,
        into: &mut Changes,
    ) -> Result<(), EngineError> {
        const SHORT: &str = "rows that are too short";
        let mut input = Input(body);
        let number = input.number(6).ok_or_else(|| broken(SHORT))?;
        let Some(relation) = self.relations.get(&number) else {
            return Err(broken("rows of a table that was not described"));
        };
        let Some(table) = relation.table else { return Ok(()) };
        let kind = [RowKind::Insert, RowKind::Update, RowKind::Delete][usize::from(what)];
        let acts = kind != RowKind::Insert && !self.tables[table].effects.is_empty();
        if acts {
            self.check_starts(table)?;
        }
        if !self.is_told(table) {
            return Ok(());
        }
        let head = rows_head(&mut input, version, kind == RowKind::Update);
        let RowsHead { width, whole, keys_act } = head.ok_or_else(|| broken(SHORT))?;
        if width != relation.columns.len() {
            return Err(changed(&self.names[table], "its rows have another number of columns".into()));
        }
        if !whole {
            return Err(stopped(
                "its rows are logged in part only (binlog_row_image of a session was not FULL)",
                "set binlog_row_image = FULL for all sessions, then `towpath apply --recopy` copies the tables again",
            )
            .on(&self.names[table]));
        }
        if self.transaction.as_ref().is_some_and(|transaction| transaction.prepared) {
            return Err(stopped(
                "a distributed transaction (XA) changes its rows, and whether it will be committed is not known here",
                "XA transactions are not followed: `towpath apply --recopy` copies the tables again",
            )
            .on(&self.names[table]));
        }
        self.tell_begin(into)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        let told =
            self.tell_rows((number, table), (kind, acts && keys_act), packed, input.0, &mut scratch, into);
        self.scratch = scratch;
        told
    }

    /// What foreign keys do is found through tables that stand at the same moment.
    fn check_starts(&self, table: usize) -> Result<(), EngineError> {
        let told = self.is_told(table);
        match reached(&self.tables[table].effects).find(|other| self.is_told(*other) != told) {
            None => Ok(()),
            Some(other) => Err(stopped(
                format!(
                    "its foreign keys change rows of {}, which was copied at another moment",
                    self.names[other]
                ),
                "`towpath apply --recopy` copies the tables again, all at one moment",
            )
            .on(&self.names[table])),
        }
    }

    /// `acts`: foreign keys do something, too.
    fn tell_rows(
        &self,
        (number, table): (u64, usize),
        (kind, acts): (RowKind, bool),
        packed: bool,
        rows: &[u8],
        scratch: &mut Scratch,
        into: &mut Changes,
    ) -> Result<(), EngineError> {
        let (relation, layout) = (&self.relations[&number], &self.tables[table]);
        let Scratch { before, after, cells, spare, unpacked, .. } = scratch;
        let mut rest = rows;
        if packed {
            inflate::unpack(rows, unpacked).ok_or_else(|| broken("rows that cannot be unpacked"))?;
            rest = unpacked;
        }
        if cells.width() != layout.places.len() {
            *cells = RowBatch::new(layout.places.len());
        }
        let short = || broken("a row that is too short");
        while !rest.is_empty() {
            let mut row = Row { relation, layout, cells: &mut *cells, spare: &mut *spare, into: &mut *into };
            match kind {
                RowKind::Insert => {
                    let end = read_fields(rest, relation, after).ok_or_else(short)?;
                    row.tell(table, kind, None, Some((rest, after)))?;
                    rest = &rest[end..];
                }
                RowKind::Delete => {
                    let end = read_fields(rest, relation, before).ok_or_else(short)?;
                    if acts {
                        row.tell_effects((rest, before), None)?;
                    }
                    row.tell(table, kind, Some((rest, before)), None)?;
                    rest = &rest[end..];
                }
                RowKind::Update => {
                    let end = read_fields(rest, relation, before).ok_or_else(short)?;
                    let (old, new) = rest.split_at(end);
                    let end = read_fields(new, relation, after).ok_or_else(short)?;
                    row.refuse_cascade((old, before), (new, after))?;
                    if acts {
                        row.tell_effects((old, before), Some((new, after)))?;
                    }
                    let same = row.same_identity((old, before), (new, after));
                    row.tell(table, kind, (!same).then_some((old, before)), Some((new, after)))?;
                    rest = &new[end..];
                }
            }
        }
        Ok(())
    }
}

/// What stands before rows.
struct RowsHead {
    width: usize,
    whole: bool,
    /// Foreign keys were looked at, and acted.
    keys_act: bool,
}

/// What comes behind are the rows.
fn rows_head(input: &mut Input<'_>, version: u8, update: bool) -> Option<RowsHead> {
    let flags = input.number(2)?;
    if version == 2 {
        let extra = input.number(2)? as usize;
        input.take(extra.checked_sub(2)?)?;
    }
    let width = input.packed()?;
    let mut whole = true;
    for _ in 0..=u8::from(update) {
        let present = input.take(width.div_ceil(8))?;
        whole &= (0..width).all(|column| present[column / 8] >> (column % 8) & 1 == 1);
    }
    Some(RowsHead { width, whole, keys_act: flags & NO_KEYS == 0 })
}

/// Database and text of a statement.
fn query_parts(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut input = Input(body);
    let (_thread, _seconds) = (input.number(4)?, input.number(4)?);
    let length = input.number(1)? as usize;
    let _error = input.number(2)?;
    let variables = input.number(2)? as usize;
    input.take(variables)?;
    let schema = input.take(length)?;
    input.take(1)?;
    Some((schema, input.0))
}

/// The log does not hold together: another reading may.
fn broken(why: &str) -> EngineError {
    EngineError::new(Cause::Connection, DOING, format!("the log cannot be read: {why}"))
        .hint("run the same command again; if it says so again, look at the log with mariadb-binlog")
}

/// Following cannot go on beyond here.
fn stopped(why: impl Into<String>, way: &str) -> EngineError {
    EngineError::new(Cause::Stale, DOING, why).contract("C508").hint(way)
}

fn changed(table: &Name, why: String) -> EngineError {
    stopped(why, CHANGED).on(table)
}
