//! Events of the binary log, made into changes. A transaction is told from its first row of a
//! followed table to its end; nothing of it counts before. Pure: events come in, records go out.
//!
//! ```text
//!   Gtid (its place is where it begins)
//!     TableMap  number -> table, how its columns are stored
//!     Write/Update/DeleteRows  number, columns present, rows
//!   Xid | Query COMMIT     done: going on from the end of this event repeats nothing
//!   Gtid + Payload              MySQL: the events from TableMap to the end, compressed
//!   Gtid standalone + Query     one statement: structure, TRUNCATE
//!   Gtid prepared ... XaPrepare    rows of a transaction whose end comes later, or never
//! ```

use std::collections::{BTreeSet, HashMap};

use super::begin::Begin;
use super::cascade::reached;
use super::connect::Flavor;
use super::followed::{self, Layout};
use super::gtids::{Gtids, Prior, Set};
use super::place::{self, At, Prepared, digest, split};
use super::relation::{Input, Map, Relation};
use super::row::{Field, Keys, Row, RowsHead, read_fields};
use super::statement::{Logged, Said};
use super::{inflate, kind};
use crate::catalog::{Name, RowBatch};
use crate::change::{Changes, RowKind};
use crate::engine::{CHANGED, Cause, EngineError};

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
    /// It was in a compressed transaction, and more of that comes after it.
    pub more: bool,
    pub body: &'a [u8],
}

/// Bytes of an event's sum.
const SUM_BYTES: usize = 4;

/// Maps that are kept; after a rotation their numbers begin anew.
const RELATIONS_MAX: usize = 10_000;
/// Prepared transactions that are remembered as being of no concern, in each position too.
const PREPARED_MAX: usize = 1_000;

pub(super) struct Decoder {
    tables: Vec<Layout>,
    names: Vec<Name>,
    /// They are the same in any case.
    pub folds: bool,
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
    /// The flag of rows that says so means it.
    logs_keys: bool,
    /// The log has said how its events are made.
    formatted: bool,
    relations: HashMap<u64, Relation>,
    transaction: Option<Transaction>,
    /// The events of a compressed transaction come, and its place is where it ends.
    inside: bool,
    /// The transaction before this place has no end.
    cut: bool,
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
    /// What its domain was at before it.
    prior: Option<Prior>,
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
    pub fn new(
        flavor: Flavor,
        tables: Vec<Layout>,
        from: &At,
        starts: &[At],
        endless: Endless,
    ) -> Result<Self, EngineError> {
        let number = |at: &At| split(&at.file).map_or(0, |(_, number)| number);
        let gtids = Gtids::parse(&from.gtid).unwrap_or_else(|| Gtids::Set(Set::default()));
        Ok(Self {
            folds: false,
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
            logs_keys: flavor == Flavor::MySql,
            gtids,
            formatted: false,
            relations: HashMap::new(),
            transaction: None,
            inside: false,
            cut: false,
            unconcerned: from.prepared.clone(),
            told: (number(from), from.offset),
            endless,
            scratch: Scratch::default(),
        })
    }

    /// Takes one event in. After one that holds a compressed transaction come the events of that.
    pub fn take(&mut self, event: &Event<'_>, into: &mut Changes) -> Result<(), EngineError> {
        let was_inside = std::mem::replace(&mut self.inside, event.more || event.kind == kind::PAYLOAD);
        if was_inside && kind::BETWEEN.contains(&event.kind) {
            return Err(broken("a compressed transaction cannot be unpacked"));
        }
        self.decode(event, into)?;
        match was_inside && !self.inside && self.transaction.is_some() {
            true => Err(broken("a compressed transaction without its end")),
            false => Ok(()),
        }
    }

    fn decode(&mut self, event: &Event<'_>, into: &mut Changes) -> Result<(), EngineError> {
        let beats = matches!(event.kind, kind::HEARTBEAT | kind::HEARTBEAT_V2);
        if event.end != 0 && !event.artificial && !beats {
            self.advance(event.end);
        }
        match event.kind {
            kind::ROTATE => self.rotate(event.body),
            kind::GTID => self.begin(event, Begin::mariadb(event.body)),
            kind::GTID_MYSQL => self.begin(event, Begin::mysql(event.body, false)),
            kind::ANONYMOUS => self.begin(event, Begin::mysql(event.body, true)),
            kind::GTID_TAGGED => self.begin(event, Begin::tagged(event.body)),
            kind::TABLE_MAP => self.map(event.body),
            kind::QUERY => self.query(event, event.body, false, into),
            kind::QUERY_PACKED => self.query(event, event.body, true, into),
            kind::XID => self.commit(event, into),
            kind::XA_PREPARE => self.prepared(event, into),
            code if kind::ROWS_V1.contains(&code) => self.rows(code - 23, event.body, 1, false, into),
            code if kind::ROWS_V2.contains(&code) => self.rows(code - 30, event.body, 2, false, into),
            code if kind::ROWS_V1_PACKED.contains(&code) => self.rows(code - 166, event.body, 1, true, into),
            code if kind::ROWS_V2_PACKED.contains(&code) => self.rows(code - 169, event.body, 2, true, into),
            kind::FORMAT | kind::STOP => self.file(event),
            kind::PARTIAL_UPDATE => self.partial(event.body),
            kind::PAYLOAD if self.transaction.is_none() => {
                Err(broken("a compressed transaction without its number"))
            }
            kind::PAYLOAD => Ok(()),
            kind::HEARTBEAT
            | kind::HEARTBEAT_V2
            | kind::IGNORABLE
            | kind::ROWS_QUERY
            | kind::PREVIOUS_GTIDS
            | kind::CONTEXT
            | kind::VIEW_CHANGE
            | kind::ANNOTATE
            | kind::CHECKPOINT
            | kind::GTID_LIST
            | kind::INTVAR
            | kind::RAND
            | kind::USER_VAR
            | kind::BEGIN_LOAD
            | kind::APPEND_BLOCK
            | kind::DELETE_FILE => Ok(()),
            kind::EXECUTE_LOAD => {
                Err(stopped("a LOAD DATA was logged as a statement, whose rows are in no log", UNLOGGED))
            }
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
        if self.inside
            || self.transaction.is_some()
            || into.is_open()
            || (self.number, self.offset) <= self.told
        {
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
            self.gtids.write(gtid);
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
        let open = self.transaction.take();
        self.cut |= open.is_some();
        if let Some(prior) = open.as_ref().and_then(|open| open.prior) {
            self.gtids.restore(prior);
        }
        match open {
            // Its rows were handed on already: it is read again, and then not told.
            Some(Transaction { told: true, begins, .. }) => {
                self.endless.insert(begins);
                Err(broken("a transaction has no end, for the server fell while it wrote it"))
            }
            _ => Ok(()),
        }
    }

    /// The file ends in the middle of an event, and the log is opened anew behind it. Its name, and all
    /// transactions up to there.
    pub fn tear(&mut self) -> Result<(&str, &Gtids), EngineError> {
        self.cut_off()?;
        self.formatted = false;
        Ok((&self.file, &self.gtids))
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

    /// A file of the log begins, or ends in order.
    fn file(&mut self, event: &Event<'_>) -> Result<(), EngineError> {
        let first = !self.formatted;
        self.formatted |= event.kind == kind::FORMAT;
        if event.kind == kind::FORMAT
            && let Gtids::Set(set) = &mut self.gtids
        {
            let born = std::mem::replace(&mut set.born, event.at);
            if first && born != 0 && born != event.at {
                return Err(anew("its files were replaced: the file of that name was begun at another time"));
            }
        }
        self.cut_off()
    }

    fn begin(&mut self, event: &Event<'_>, begin: Option<Begin<'_>>) -> Result<(), EngineError> {
        let begin = begin.ok_or_else(|| broken("a transaction whose number cannot be read"))?;
        if self.transaction.is_some() {
            return Err(broken("a transaction begins inside another"));
        }
        // The number of one that the server fell over is given again.
        let again = std::mem::take(&mut self.cut);
        let prior = begin.prior(&self.gtids);
        if !begin.count(event.server, &mut self.gtids) && !again {
            return Err(anew("a transaction comes after that place that was before it (its GTID is known)"));
        }
        self.by_gtid = true;
        self.transaction = Some(Transaction {
            begins: (self.number, self.offset.saturating_sub(event.size.into())),
            told: false,
            standalone: begin.standalone,
            prepared: begin.prepared,
            xid: None,
            prior,
        });
        Ok(())
    }

    fn commit(&mut self, event: &Event<'_>, into: &mut Changes) -> Result<(), EngineError> {
        let ended =
            self.transaction.take().ok_or_else(|| broken("a commit of a transaction that did not begin"))?;
        if self.inside {
            return Err(broken("a compressed transaction that goes on after its end"));
        }
        if ended.told {
            self.write_position();
            into.commit(&self.scratch.position, i64::from(event.at) * 1_000_000);
            self.told = (self.number, self.offset);
        }
        Ok(())
    }

    /// The end of a transaction's first phase, if none of what it changed is followed; one phase is a
    /// commit like any other.
    fn prepared(&mut self, event: &Event<'_>, into: &mut Changes) -> Result<(), EngineError> {
        if event.body.first() == Some(&1) {
            return self.commit(event, into);
        }
        let ended = self.transaction.take();
        // Only here MySQL says that the rows before belong to two phases.
        if ended.as_ref().is_some_and(|transaction| transaction.told) {
            return Err(stopped(IN_DOUBT, IN_DOUBT_WAY));
        }
        if self.unconcerned.len() < PREPARED_MAX {
            let xid = ended.and_then(|transaction| transaction.xid);
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
            Some(table) if !self.is_told(table) => Relation::copied(table),
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
        let logged = Logged::read(body).ok_or_else(|| broken("a statement that is too short"))?;
        let mut unpacked = Vec::new();
        let text = match packed {
            true => {
                inflate::unpack(logged.text, &mut unpacked)
                    .ok_or_else(|| broken("a statement that cannot be unpacked"))?;
                &unpacked
            }
            false => logged.text,
        };
        let said = logged.said(text, &self.names, self.folds);
        let standalone = self.transaction.as_ref().is_some_and(|transaction| transaction.standalone);
        match said {
            Said::Begin => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.standalone = false;
                }
                return Ok(());
            }
            Said::Other => {}
            Said::Commit => return self.commit(event, into),
            Said::Rollback | Said::PartialRollback => {
                if self.transaction.as_ref().is_some_and(|transaction| transaction.told) {
                    return Err(stopped(
                        "a transaction was rolled back after its rows were logged, because it also wrote to a table \
                         of a storage engine without transactions, or made or dropped a temporary one",
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
            Said::Rows(Some(table)) if self.is_told(table) => {
                let why =
                    "a statement that may have changed its rows was logged as a statement, without the rows";
                return Err(stopped(why, UNLOGGED).on(&self.names[table]));
            }
            Said::Rows(None)
                if (0..self.names.len()).any(|table| self.is_told(table))
                    && !logged.is_elsewhere(&self.names) =>
            {
                return Err(stopped(
                    "a statement was logged as a statement, without the rows: it names no followed table, but a \
                     trigger, a view or a routine may have changed one",
                    UNLOGGED,
                ));
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
        let head = RowsHead::read(&mut input, version, kind == RowKind::Update);
        let head = head.ok_or_else(|| broken(SHORT))?;
        let keys = Keys::of(head.flags, self.logs_keys);
        let acts = keys == Keys::Act && kind != RowKind::Insert && !self.tables[table].effects.is_empty();
        if acts {
            self.check_starts(table)?;
        }
        if !self.is_told(table) {
            return Ok(());
        }
        if head.width != relation.columns.len() {
            return Err(changed(&self.names[table], "its rows have another number of columns".into()));
        }
        self.check_told(table, &head)?;
        if self.transaction.as_ref().is_some_and(|transaction| transaction.prepared) {
            return Err(stopped(IN_DOUBT, IN_DOUBT_WAY).on(&self.names[table]));
        }
        self.tell_begin(into)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        let rows = (&head, packed, input.0);
        let told = self.tell_rows((number, table), (kind, acts, keys), rows, &mut scratch, into);
        self.scratch = scratch;
        told
    }

    /// Rows are told whole, but for what the server computes and nobody asks for.
    fn check_told(&self, table: usize, head: &RowsHead<'_>) -> Result<(), EngineError> {
        let layout = &self.tables[table];
        let Some(column) = head.lacking().find(|column| !layout.can_lack(*column)) else { return Ok(()) };
        let stop = match layout.generated.get(&column) {
            Some(name) => {
                let (why, way) = followed::not_logged(name);
                stopped(why, &format!("{way}; then `towpath apply --recopy` copies the tables again"))
            }
            None => stopped(
                "its rows are logged in part only (binlog_row_image of a session was not FULL)",
                "set binlog_row_image = FULL for all sessions, then `towpath apply --recopy` copies the tables again",
            ),
        };
        Err(stop.on(&self.names[table]))
    }

    /// Changed values of a row instead of the row (`binlog_row_value_options`).
    fn partial(&self, body: &[u8]) -> Result<(), EngineError> {
        let number = Input(body).number(6).ok_or_else(|| broken("rows that are too short"))?;
        let table = self.relations.get(&number).and_then(|relation| relation.table);
        match table.filter(|table| self.is_told(*table)) {
            None => Ok(()),
            Some(table) => Err(stopped(
                "the log tells JSON values of it in part only (binlog_row_value_options = PARTIAL_JSON)",
                "set binlog_row_value_options = '' for all sessions, then `towpath apply --recopy` copies the tables again",
            )
            .on(&self.names[table])),
        }
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

    /// `acts`: foreign keys do something, too, which is derived.
    fn tell_rows(
        &self,
        (number, table): (u64, usize),
        (kind, acts, keys): (RowKind, bool, Keys),
        (head, packed, rows): (&RowsHead<'_>, bool, &[u8]),
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
                    let end = read_fields(rest, relation, head.first, after).ok_or_else(short)?;
                    row.tell(table, kind, None, Some((rest, after)))?;
                    rest = &rest[end..];
                }
                RowKind::Delete => {
                    let end = read_fields(rest, relation, head.first, before).ok_or_else(short)?;
                    row.refuse_delete(keys)?;
                    if acts {
                        row.tell_effects((rest, before), None)?;
                    }
                    row.tell(table, kind, Some((rest, before)), None)?;
                    rest = &rest[end..];
                }
                RowKind::Update => {
                    let end = read_fields(rest, relation, head.first, before).ok_or_else(short)?;
                    let (old, new) = rest.split_at(end);
                    let end = read_fields(new, relation, head.after, after).ok_or_else(short)?;
                    row.refuse_cascade(keys, (old, before), (new, after))?;
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

const IN_DOUBT: &str = "a distributed transaction (XA) changes followed rows, and whether it will be committed is not known here";
const IN_DOUBT_WAY: &str =
    "XA transactions of two phases are not followed: `towpath apply --recopy` copies the tables again";

const UNLOGGED: &str =
    "set binlog_format = ROW for all sessions, then `towpath apply --recopy` copies the tables again";

/// The log does not hold together: another reading may.
pub(super) fn broken(why: &str) -> EngineError {
    EngineError::new(Cause::Connection, DOING, format!("the log cannot be read: {why}"))
        .hint("run the same command again; if it says so again, look at the log with mariadb-binlog")
}

/// Following cannot go on beyond here.
pub(super) fn stopped(why: impl Into<String>, way: &str) -> EngineError {
    EngineError::new(Cause::Stale, DOING, why).contract("C508").hint(way)
}

/// The place is none of this log any more.
fn anew(why: &str) -> EngineError {
    let why = format!("the log is another one than it was (RESET, or a server that was restored): {why}");
    EngineError::new(Cause::Stale, DOING, why).contract("G10").hint(super::capture::RECOPY)
}

fn changed(table: &Name, why: String) -> EngineError {
    stopped(why, CHANGED).on(table)
}
