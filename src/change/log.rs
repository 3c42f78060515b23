//! Changes in the order of the log, in one run of bytes. The form in memory is the form on disk.
//!
//! ```text
//!   record = tag (1 byte) + length of the body (4 bytes, little endian) + body
//!   begin       position, UTF-8
//!   row         table (4), kind (1), cells of the old row (2), cells of the new row (2), cells
//!   truncate    flags (1), tables (4 each)
//!   cascade     length of the path (4), path (JSON), cells of the key (2), cells to set (2), cells
//!   commit      microseconds since 1970 (8), position, UTF-8
//!   reached     position, UTF-8
//!   cell        tag (1), then 1 or 8 bytes of a number, or length (4) and bytes
//! ```

use super::cascade::Path;

/// One value of a changed row. For rows in native form `Text` is the source engine's own text of
/// the value; else cells are those of [`crate::catalog::RowBatch`], as each `Type` says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Datum<'a> {
    Null,
    /// Not in the log: in a new row a large value that did not change, in an old row a column
    /// that is no part of the identity.
    Absent,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    Insert,
    Update,
    Delete,
}

/// Everything a log says, as far as the target has to know it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Record<'a> {
    /// A transaction begins. `position` is what table starts and exact goals are compared with.
    Begin {
        position: &'a str,
    },
    Row(RowChange<'a>),
    /// These tables were emptied at once, and nothing else with them.
    Truncate {
        tables: Tables<'a>,
        restart_identity: bool,
    },
    /// Rows were changed by a foreign key, and the log does not say which.
    Cascade(Cascade<'a>),
    /// The transaction is complete. Going on from `position` repeats none of it.
    Commit {
        position: &'a str,
        /// When it committed at the source, microseconds since 1970 UTC.
        at: i64,
    },
    /// Between transactions: the log has come to `position`, and there was nothing for us.
    Reached {
        position: &'a str,
    },
}

/// One changed row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowChange<'a> {
    /// Place in the list of followed tables.
    pub table: usize,
    pub kind: RowKind,
    /// The row as it was: all columns of the projection, those that the log does not tell being
    /// absent. Empty for an insert, and for an update that left the identity as it is, unless the
    /// log tells it anyway.
    pub old: Cells<'a>,
    /// The row as it is. Empty for a delete.
    pub new: Cells<'a>,
}

/// What a foreign key did, to be found again on the target. It comes before the change of the row
/// that caused it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cascade<'a> {
    path: &'a [u8],
    /// Of the row that was referred to, as it was; as many as the first hop has columns.
    pub key: Cells<'a>,
    /// Values of [`Path::set`].
    pub set: Cells<'a>,
}

impl Cascade<'_> {
    /// Which rows, and which of their columns.
    pub fn path(&self) -> Path {
        serde_json::from_slice(self.path).expect("broken invariant: records are checked when they come in")
    }
}

/// The bytes are not a run of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a run of changes: bad record at byte {0}")]
pub struct Malformed(pub usize);

const BEGIN: u8 = 1;
const ROW: u8 = 2;
const TRUNCATE: u8 = 3;
const COMMIT: u8 = 4;
const REACHED: u8 = 5;
const CASCADE: u8 = 6;

const NULL: u8 = 0;
const ABSENT: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const INT: u8 = 4;
const UINT: u8 = 5;
const FLOAT: u8 = 6;
const TEXT: u8 = 7;
const BYTES: u8 = 8;

/// Bytes before a record's body.
const HEAD: usize = 5;
/// Bytes of a row's body before its cells.
const ROW_HEAD: usize = 9;
/// Bytes of a run that are copied when they are taken off. More go as they are, with the room that
/// they lie in: a copy of a large row would be as large again.
const COPIED_MAX: usize = 1 << 20;

/// A run of records, cleared and reused. It may end inside a transaction, never inside a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    bytes: Vec<u8>,
    rows: u64,
    commits: u64,
    /// Where the record that is being written begins.
    record: usize,
    /// End of the last commit or reached record.
    boundary: usize,
    /// Ends inside a transaction.
    open: bool,
}

impl Changes {
    /// Takes bytes that were written by [`Self::as_bytes`], after a look at each record. `open` is
    /// whether they begin inside a transaction, which an empty run would otherwise not tell.
    pub fn from_bytes(bytes: Vec<u8>, open: bool) -> Result<Self, Malformed> {
        let noted = Self::noted(&bytes, open)?;
        Ok(Self { bytes, ..noted })
    }

    /// What is known of a run with these bytes, without them.
    fn noted(bytes: &[u8], open: bool) -> Result<Self, Malformed> {
        let mut changes = Self { open, ..Self::default() };
        let mut at = 0;
        while at < bytes.len() {
            let (record, end) = read_record(bytes, at).ok_or(Malformed(at))?;
            changes.note(&record, end);
            at = end;
        }
        Ok(changes)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn clear(&mut self) {
        *self = Self { bytes: std::mem::take(&mut self.bytes), ..Self::default() };
        self.bytes.clear();
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Changed rows in it.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Transactions that end in it.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// True where it ends inside a transaction.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Bytes up to the end of the last whole transaction.
    pub fn boundary(&self) -> usize {
        self.boundary
    }

    /// All records.
    pub fn records(&self) -> Records<'_> {
        Records { bytes: &self.bytes }
    }

    pub fn begin(&mut self, position: &str) {
        self.start(BEGIN);
        self.bytes.extend_from_slice(position.as_bytes());
        self.end();
        self.open = true;
    }

    pub fn commit(&mut self, position: &str, at: i64) {
        self.start(COMMIT);
        self.bytes.extend_from_slice(&at.to_le_bytes());
        self.bytes.extend_from_slice(position.as_bytes());
        self.end();
        self.commits += 1;
        self.open = false;
        self.boundary = self.bytes.len();
    }

    pub fn reached(&mut self, position: &str) {
        debug_assert!(!self.open, "between transactions only");
        self.start(REACHED);
        self.bytes.extend_from_slice(position.as_bytes());
        self.end();
        self.boundary = self.bytes.len();
    }

    pub fn truncate(&mut self, tables: &[usize], restart_identity: bool) {
        self.start(TRUNCATE);
        self.bytes.push(u8::from(restart_identity));
        for &table in tables {
            self.bytes.extend_from_slice(&(table as u32).to_le_bytes());
        }
        self.end();
    }

    /// Begins a cascade: cells of the key follow by [`Self::push`], then those to set, and then
    /// [`Self::end_cascade`].
    pub fn begin_cascade(&mut self, path: &Path) {
        self.start(CASCADE);
        let text = serde_json::to_vec(path).expect("broken invariant: plain data");
        self.bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&text);
        let key = path.hops.first().map_or(0, |hop| hop.columns.len());
        self.bytes.extend_from_slice(&(key as u16).to_le_bytes());
        self.bytes.extend_from_slice(&(path.set.len() as u16).to_le_bytes());
    }

    pub fn end_cascade(&mut self) {
        self.end();
        debug_assert!(read_record(&self.bytes, self.record).is_some(), "as many cells as announced");
    }

    /// Begins a row of `old` and `new` cells, which follow by [`Self::push`], and then
    /// [`Self::end_row`].
    pub fn begin_row(&mut self, table: usize, kind: RowKind, old: usize, new: usize) {
        self.start(ROW);
        self.bytes.extend_from_slice(&(table as u32).to_le_bytes());
        self.bytes.push(match kind {
            RowKind::Insert => 0,
            RowKind::Update => 1,
            RowKind::Delete => 2,
        });
        self.bytes.extend_from_slice(&(old as u16).to_le_bytes());
        self.bytes.extend_from_slice(&(new as u16).to_le_bytes());
    }

    pub fn push(&mut self, datum: Datum<'_>) {
        let bytes = &mut self.bytes;
        match datum {
            Datum::Null => bytes.push(NULL),
            Datum::Absent => bytes.push(ABSENT),
            Datum::Bool(value) => bytes.push(if value { TRUE } else { FALSE }),
            Datum::Int(value) => put(bytes, INT, &value.to_le_bytes()),
            Datum::UInt(value) => put(bytes, UINT, &value.to_le_bytes()),
            Datum::Float(value) => put(bytes, FLOAT, &value.to_le_bytes()),
            Datum::Text(text) => put_long(bytes, TEXT, text),
            Datum::Bytes(data) => put_long(bytes, BYTES, data),
        }
    }

    pub fn end_row(&mut self) {
        self.end();
        self.rows += 1;
        debug_assert!(read_record(&self.bytes, self.record).is_some(), "as many cells as announced");
    }

    /// Takes the row or cascade that was begun back.
    pub fn cancel_row(&mut self) {
        self.bytes.truncate(self.record);
    }

    /// Appends a copy of records of another run, which go on where this one ends.
    pub fn extend(&mut self, records: Records<'_>) {
        let mut rest = records;
        while let Some(record) = rest.next() {
            let end = self.bytes.len() + records.before(rest).rest().len();
            self.note(&record, end);
        }
        self.bytes.extend_from_slice(records.rest());
    }

    /// Room for so many bytes in all, and no more.
    pub fn fit(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes.len()) {
            Some(more) if self.bytes.capacity() < bytes => self.bytes.reserve_exact(more),
            _ => self.bytes.shrink_to(bytes),
        }
    }

    /// Takes everything off, as a run of just its size. The room stays, for what comes next.
    pub fn take(&mut self) -> Self {
        let bytes = self.detach(self.bytes.len());
        let (open, boundary) = (self.open, self.boundary);
        let (rows, commits) = (self.rows, self.commits);
        self.clear();
        Self { bytes, rows, commits, record: 0, boundary, open }
    }

    /// Takes the whole transactions off the front, as a run of just their size. What follows them
    /// stays, and the room.
    pub fn split_whole(&mut self) -> Self {
        let tail = Self::noted(&self.bytes[self.boundary..], false);
        let tail = tail.expect("broken invariant: own records are readable");
        let bytes = self.detach(self.boundary);
        let rows = self.rows - tail.rows;
        let whole =
            Self { bytes, rows, commits: self.commits, record: 0, boundary: self.boundary, open: false };
        *self = Self { bytes: std::mem::take(&mut self.bytes), ..tail };
        whole
    }

    /// Takes the first bytes off.
    fn detach(&mut self, end: usize) -> Vec<u8> {
        if end > COPIED_MAX {
            let tail = self.bytes.split_off(end);
            return std::mem::replace(&mut self.bytes, tail);
        }
        let head = self.bytes[..end].to_vec();
        self.bytes.drain(..end);
        head
    }

    fn start(&mut self, tag: u8) {
        self.record = self.bytes.len();
        self.bytes.extend_from_slice(&[tag, 0, 0, 0, 0]);
    }

    fn end(&mut self) {
        let body = self.bytes.len() - self.record - HEAD;
        let body = u32::try_from(body).expect("broken invariant: a record is less than 4 GiB");
        self.bytes[self.record + 1..self.record + HEAD].copy_from_slice(&body.to_le_bytes());
    }

    fn note(&mut self, record: &Record<'_>, end: usize) {
        match record {
            Record::Begin { .. } => self.open = true,
            Record::Row(_) => self.rows += 1,
            Record::Truncate { .. } | Record::Cascade(_) => {}
            Record::Commit { .. } => {
                self.commits += 1;
                self.open = false;
                self.boundary = end;
            }
            Record::Reached { .. } => self.boundary = end,
        }
    }
}

fn put(bytes: &mut Vec<u8>, tag: u8, value: &[u8; 8]) {
    bytes.push(tag);
    bytes.extend_from_slice(value);
}

fn put_long(bytes: &mut Vec<u8>, tag: u8, value: &[u8]) {
    let length = u32::try_from(value.len()).expect("broken invariant: a value is less than 4 GiB");
    bytes.push(tag);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(value);
}

/// A look at a run of records. Copied freely; yields records of bytes that were checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Records<'a> {
    bytes: &'a [u8],
}

impl<'a> Records<'a> {
    /// What is left, from the next record on.
    pub fn rest(self) -> &'a [u8] {
        self.bytes
    }

    /// The records of this look that come before `later`, which was made of it by going on.
    pub fn before(self, later: Self) -> Self {
        Self { bytes: &self.bytes[..self.bytes.len() - later.bytes.len()] }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.bytes.is_empty() {
            return None;
        }
        let (record, end) =
            read_record(self.bytes, 0).expect("broken invariant: records are checked when they come in");
        self.bytes = &self.bytes[end..];
        Some(record)
    }
}

/// The cells of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cells<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Cells<'a> {
    /// Cells left.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Datum<'a>;

    fn next(&mut self) -> Option<Datum<'a>> {
        self.count = self.count.checked_sub(1)?;
        let (datum, size) =
            read_cell(self.bytes).expect("broken invariant: cells are checked when they come in");
        self.bytes = &self.bytes[size..];
        Some(datum)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Cells<'_> {}

/// Places in the list of followed tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tables<'a>(&'a [u8]);

impl<'a> Tables<'a> {
    pub fn iter(self) -> impl Iterator<Item = usize> + 'a {
        self.0.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]) as usize)
    }
}

/// The record at `at`, and where the next one begins; none where there is no whole good one.
fn read_record(bytes: &[u8], at: usize) -> Option<(Record<'_>, usize)> {
    let head = bytes.get(at..at + HEAD)?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let end = at.checked_add(HEAD)?.checked_add(length)?;
    let body = bytes.get(at + HEAD..end)?;
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let record = match head[0] {
        BEGIN => Record::Begin { position: text(body)? },
        ROW => Record::Row(read_row(body)?),
        TRUNCATE => {
            let tables = body.get(1..)?;
            (tables.len() % 4 == 0).then_some(())?;
            Record::Truncate { tables: Tables(tables), restart_identity: body[0] != 0 }
        }
        COMMIT => {
            let at = i64::from_le_bytes(body.get(..8)?.try_into().ok()?);
            Record::Commit { position: text(&body[8..])?, at }
        }
        REACHED => Record::Reached { position: text(body)? },
        CASCADE => Record::Cascade(read_cascade(body)?),
        _ => return None,
    };
    Some((record, end))
}

fn read_row(body: &[u8]) -> Option<RowChange<'_>> {
    let head = body.get(..ROW_HEAD)?;
    let table = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let kind = match head[4] {
        0 => RowKind::Insert,
        1 => RowKind::Update,
        2 => RowKind::Delete,
        _ => return None,
    };
    let (old, new) = (u16::from_le_bytes([head[5], head[6]]), u16::from_le_bytes([head[7], head[8]]));
    let old = Cells { count: old.into(), bytes: &body[ROW_HEAD..] };
    let new = Cells { count: new.into(), bytes: skip_cells(old)? };
    skip_cells(new)?.is_empty().then_some(RowChange { table, kind, old, new })
}

fn read_cascade(body: &[u8]) -> Option<Cascade<'_>> {
    let length = u32::from_le_bytes(body.get(..4)?.try_into().ok()?) as usize;
    let path = body.get(4..)?.get(..length)?;
    let rest = &body[4 + length..];
    let count = |at: usize| Some(usize::from(u16::from_le_bytes(rest.get(at..at + 2)?.try_into().ok()?)));
    let key = Cells { count: count(0)?, bytes: rest.get(4..)? };
    let set = Cells { count: count(2)?, bytes: skip_cells(key)? };
    let told: Path = serde_json::from_slice(path).ok()?;
    let as_told = told.hops.first()?.columns.len() == key.count && told.set.len() == set.count;
    (as_told && skip_cells(set)?.is_empty()).then_some(Cascade { path, key, set })
}

/// What follows the cells.
fn skip_cells(cells: Cells<'_>) -> Option<&[u8]> {
    let mut bytes = cells.bytes;
    for _ in 0..cells.count {
        let (_, size) = read_cell(bytes)?;
        bytes = &bytes[size..];
    }
    Some(bytes)
}

/// A cell and its size.
fn read_cell(bytes: &[u8]) -> Option<(Datum<'_>, usize)> {
    let eight = || bytes.get(1..9)?.try_into().ok();
    Some(match *bytes.first()? {
        NULL => (Datum::Null, 1),
        ABSENT => (Datum::Absent, 1),
        FALSE => (Datum::Bool(false), 1),
        TRUE => (Datum::Bool(true), 1),
        INT => (Datum::Int(i64::from_le_bytes(eight()?)), 9),
        UINT => (Datum::UInt(u64::from_le_bytes(eight()?)), 9),
        FLOAT => (Datum::Float(f64::from_le_bytes(eight()?)), 9),
        tag @ (TEXT | BYTES) => {
            let length = u32::from_le_bytes(bytes.get(1..5)?.try_into().ok()?) as usize;
            let data = bytes.get(5..5 + length)?;
            (if tag == TEXT { Datum::Text(data) } else { Datum::Bytes(data) }, 5 + length)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> Path {
        let hop = crate::change::Hop { table: 2, columns: vec![1], refer_to: vec![] };
        Path { hops: vec![hop], set: vec![1] }
    }

    fn sample() -> Changes {
        let mut changes = Changes::default();
        changes.begin("0/1");
        changes.begin_row(3, RowKind::Update, 2, 2);
        for datum in [Datum::Int(-1), Datum::Absent, Datum::Text(b"x"), Datum::Null] {
            changes.push(datum);
        }
        changes.end_row();
        changes.truncate(&[1, 2], true);
        changes.begin_cascade(&path());
        [Datum::Int(7), Datum::Null].into_iter().for_each(|datum| changes.push(datum));
        changes.end_cascade();
        changes.commit("0/2", 77);
        changes.reached("0/3");
        changes.begin("0/4");
        changes.begin_row(0, RowKind::Insert, 0, 4);
        for datum in [Datum::Bool(true), Datum::UInt(u64::MAX), Datum::Float(-0.0), Datum::Bytes(&[0, 255])] {
            changes.push(datum);
        }
        changes.end_row();
        changes
    }

    #[test]
    fn p_01_records_come_back_as_they_went_in() {
        let changes = sample();
        let again = Changes::from_bytes(changes.as_bytes().to_vec(), false).expect("good bytes");
        assert_eq!((again.rows(), again.commits(), again.is_open()), (2, 1, true));
        let records: Vec<_> = again.records().collect();
        assert_eq!(records.len(), 8);
        let Record::Row(row) = records[1] else { panic!("{:?}", records[1]) };
        assert_eq!((row.table, row.kind), (3, RowKind::Update));
        assert_eq!(row.old.collect::<Vec<_>>(), [Datum::Int(-1), Datum::Absent]);
        assert_eq!(row.new.collect::<Vec<_>>(), [Datum::Text(b"x"), Datum::Null]);
        let Record::Truncate { tables, restart_identity: true } = records[2] else { panic!() };
        assert_eq!(tables.iter().collect::<Vec<_>>(), [1, 2]);
        let Record::Cascade(cascade) = records[3] else { panic!() };
        assert_eq!(cascade.path(), path());
        assert_eq!(cascade.key.chain(cascade.set).collect::<Vec<_>>(), [Datum::Int(7), Datum::Null]);
        assert_eq!(records[4], Record::Commit { position: "0/2", at: 77 });
        let Record::Row(row) = records[7] else { panic!() };
        let cells: Vec<_> = row.new.collect();
        assert_eq!(
            cells,
            [Datum::Bool(true), Datum::UInt(u64::MAX), Datum::Float(-0.0), Datum::Bytes(&[0, 255])]
        );
    }

    #[test]
    fn whole_transactions_can_be_taken_off() {
        let mut changes = sample();
        let whole = changes.split_whole();
        assert_eq!((whole.rows(), whole.commits(), whole.is_open()), (1, 1, false));
        assert_eq!((changes.rows(), changes.commits(), changes.is_open()), (1, 0, true));
        assert_eq!(whole.boundary(), whole.len());
        assert_eq!([whole.as_bytes(), changes.as_bytes()].concat(), sample().as_bytes());
        assert_eq!(changes.boundary(), 0);
    }

    /// Short ones are copied, long ones go with the memory that they lie in.
    #[test]
    fn all_can_be_taken_off() {
        for text in [vec![b'x'; 100], vec![b'x'; COPIED_MAX + 1]] {
            let mut changes = Changes::default();
            changes.fit(3 * COPIED_MAX);
            changes.extend(sample().records());
            changes.begin_row(0, RowKind::Insert, 0, 1);
            changes.push(Datum::Text(&text));
            changes.end_row();
            let (before, place) = (changes.clone(), changes.as_bytes().as_ptr());
            let all = changes.take();
            assert_eq!(all.as_bytes(), before.as_bytes());
            assert_eq!((all.rows(), all.commits(), all.is_open()), (3, 1, true));
            assert_eq!(all.boundary(), before.boundary());
            assert_eq!(changes, Changes::default());
            assert_eq!(all.as_bytes().as_ptr() == place, text.len() > COPIED_MAX);
        }
    }

    #[test]
    fn a_run_takes_records_of_another_where_it_ends() {
        let sample = sample();
        let mut copy = Changes::default();
        let mut rest = sample.records();
        loop {
            let here = rest;
            if rest.next().is_none() {
                break;
            }
            copy.extend(here.before(rest));
        }
        copy.fit(0);
        assert_eq!(copy.as_bytes(), sample.as_bytes());
        assert_eq!((copy.rows(), copy.commits(), copy.is_open()), (2, 1, true));
        copy.split_whole();
        assert_eq!(copy.records().count(), 2);
    }

    #[test]
    fn p_14_cut_or_flipped_bytes_are_an_error_or_records_and_never_a_panic() {
        let bytes = sample().as_bytes().to_vec();
        for cut in 0..bytes.len() {
            if let Ok(changes) = Changes::from_bytes(bytes[..cut].to_vec(), false) {
                for record in changes.records() {
                    match record {
                        Record::Row(row) => assert!(row.old.count() + row.new.count() < 5),
                        Record::Cascade(cascade) => assert_eq!(cascade.path().hops.len(), 1),
                        _ => {}
                    }
                }
            }
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[cut] ^= 1 << bit;
                let _ = Changes::from_bytes(flipped, false).map(|changes| changes.records().count());
            }
        }
    }
}
