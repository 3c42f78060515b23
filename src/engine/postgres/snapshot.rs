//! A consistent read point. One session holds the snapshot open and touches no table; readers
//! import it, copy one chunk and end their transaction, so that no lock on a table outlives a
//! chunk. A table rewritten or emptied since then would read as empty without any error, so its
//! file and columns are noted before the snapshot and compared after each chunk.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::connect::{Link, Role};
use super::quote;
use super::read::CopyStream;
use super::select::{Blocks, Side, WHOLE, copy_out, from_where};
use super::summary;
use super::wire::{Answer, Fault, Wire};
use super::zone;
use crate::catalog::{Form, Name, Projection, Type};
use crate::change::Position;
use crate::engine::crash::fault_point;
use crate::engine::source::Zone;
use crate::engine::{BatchStream, Cause, Chunk, EngineError, Limits, Read, Snapshot, Summary};

/// A snapshot of one database, seen from one side of the projections.
pub struct PgSnapshot {
    readers: Arc<Readers>,
    /// Says nothing any more: the snapshot of a slot ends with the next word of its session.
    holder: Mutex<Wire>,
    position: Position,
    /// `pg_current_snapshot()`: `xmin:xmax:in progress`. Empty for the snapshot of a slot.
    seen: String,
}

/// What the catalog says of all tables, read before a snapshot of them.
pub type Facts = HashMap<Name, Fact>;

/// A session that holds a snapshot for others to import.
pub struct Held {
    pub wire: Wire,
    /// Identifier of the exported snapshot.
    pub export: String,
    pub position: Position,
    /// `pg_current_snapshot()`; empty where it is not known.
    pub seen: String,
}

/// What the catalog said of a table just before the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    pub oid: String,
    pub filenode: String,
    /// Hash of the columns' numbers, names and types.
    pub columns: String,
    pub partitioned: bool,
    /// Some of its columns are generated.
    pub computes: bool,
    pub logged: bool,
    /// Rows lie in blocks that can be read by their number.
    pub heap: bool,
    pub rows: u64,
    pub pages: u64,
    pub bytes: u64,
}

impl Fact {
    /// Which version of the table block numbers belong to.
    fn file(&self) -> String {
        format!("{}.{}.{}", self.oid, self.filenode, self.columns.get(..8).unwrap_or(""))
    }
}

/// The reading sessions, and what they share.
pub struct Readers {
    link: Arc<Link>,
    idle: Mutex<Vec<Wire>>,
    permits: Arc<Semaphore>,
    /// Identifier of the exported snapshot.
    export: String,
    pub side: Side,
    facts: Facts,
}

/// A reading session while it is used; it counts against the limit.
pub struct Reader {
    pub wire: Wire,
    _permit: OwnedSemaphorePermit,
}

const DOING: &str = "take a snapshot of";

/// Facts of all tables. A table that somebody holds exclusively is not measured: that would wait.
const FACTS: &str = "WITH locked AS MATERIALIZED (SELECT relation FROM pg_catalog.pg_locks \
       WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND granted) \
     SELECT n.nspname, c.relname, c.oid, pg_catalog.pg_relation_filenode(c.oid), \
       a.columns, c.relkind, c.relpersistence, m.amname, c.reltuples::bigint, \
       CASE WHEN l.relation IS NULL THEN pg_catalog.pg_relation_size(c.oid) \
         / pg_catalog.current_setting('block_size')::bigint END, \
       CASE WHEN l.relation IS NULL THEN pg_catalog.pg_table_size(c.oid) END, \
       EXISTS (SELECT 1 FROM pg_catalog.pg_attribute g WHERE g.attrelid = c.oid AND g.attgenerated <> '') \
     FROM pg_catalog.pg_class c \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       LEFT JOIN pg_catalog.pg_am m ON m.oid = c.relam \
       LEFT JOIN locked l ON l.relation = c.oid \
       CROSS JOIN LATERAL (SELECT COLUMNS_HASH AS columns) a \
     WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// The columns of table `c`, as one hash.
const COLUMNS_HASH: &str = "(SELECT pg_catalog.to_hex(pg_catalog.hashtextextended(coalesce( \
     pg_catalog.string_agg(pg_catalog.concat_ws(':', t.attnum, t.attname, t.atttypid, t.atttypmod, \
     t.attgenerated), ',' ORDER BY t.attnum), '') COLLATE pg_catalog.\"C\", 0)) FROM pg_catalog.pg_attribute t WHERE t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped)";

/// Exports the snapshot and finds the oldest transaction running in it that may write to this
/// database. Functions in place of views: the holder locks no relation at all.
const HOLD: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
     SELECT pg_catalog.pg_export_snapshot(), s, coalesce((SELECT pg_catalog.min(x::text::bigint) \
       FROM pg_catalog.pg_snapshot_xip(s) AS x WHERE NOT EXISTS (SELECT \
         FROM pg_catalog.pg_lock_status() AS l JOIN pg_catalog.pg_stat_get_activity(NULL) AS a ON a.pid = l.pid \
         WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted \
         AND l.transactionid = x::pg_catalog.xid AND a.datid NOT IN (0, THIS_DATABASE))), \
       pg_catalog.pg_snapshot_xmax(s)::text::bigint) FROM pg_catalog.pg_current_snapshot() AS s";

impl PgSnapshot {
    /// Takes a snapshot; `side` says which tables and columns of a projection are meant.
    pub async fn open(link: Arc<Link>, side: Side, limits: &Limits) -> Result<Self, EngineError> {
        let mut holder = link.wire(Role::Reader).await?;
        let facts = Self::facts(&mut holder).await.map_err(|error| error.on(link.shown()))?;
        let server = &link.server;
        let hold = HOLD.replace("THIS_DATABASE", &server.database_oid);
        let held = holder.query(&hold).await.map_err(|fault| fault.doing(DOING).on(link.shown()))?;
        let held = held.get(1).and_then(|answer| Some((answer.cell(0)?, answer.cell(1)?, answer.cell(2)?)));
        let Some((export, seen, oldest)) = held else {
            return Err(EngineError::new(Cause::Other, DOING, "the server exported no snapshot"));
        };
        fault_point("snapshot::exported")
            .map_err(|error| Fault::from(error).doing(DOING).on(link.shown()))?;
        let position =
            format!("pg1/{}/{}/{}/{seen}/{oldest}", server.system, server.database_oid, server.started);
        let held = Held {
            wire: holder,
            export: export.to_string(),
            position: Position(position),
            seen: seen.to_string(),
        };
        Ok(Self::over(link, side, limits, facts, held))
    }

    /// Facts of all tables. They must be read before the snapshot is taken: a table that was
    /// rewritten in between shows another file from then on.
    pub async fn facts(wire: &mut Wire) -> Result<Facts, EngineError> {
        let answers = wire.query(&FACTS.replace("COLUMNS_HASH", COLUMNS_HASH)).await;
        let answers = answers.map_err(|fault| fault.doing(DOING))?;
        Ok(answers.first().map(parse_facts).unwrap_or_default())
    }

    /// Over a snapshot that somebody holds.
    pub fn over(link: Arc<Link>, side: Side, limits: &Limits, facts: Facts, held: Held) -> Self {
        let readers = Readers {
            link,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(limits.readers.max(1))),
            export: held.export,
            side,
            facts,
        };
        Self {
            readers: Arc::new(readers),
            position: held.position,
            seen: held.seen,
            holder: Mutex::new(held.wire),
        }
    }

    /// How many rows a chunk shows now, and how many of them were surely there, committed, at
    /// the snapshot in whose time no writer to this database older than `old_xmin` was running.
    ///
    /// A row version never changes in place, so rows whose writer is older than `old_xmin` were
    /// in the old snapshot too; when their number is still the same, they are the same rows. The
    /// column `xmin` has 32 bits: what may have wrapped around counts as new. Later writers are
    /// in doubt even when the old snapshot does not list them as running: it lists no
    /// subtransactions, and those come after the transaction they belong to.
    async fn old_rows(
        &self,
        projection: &Projection,
        fact: &Fact,
        chunk: &Chunk,
        old_xmin: u64,
    ) -> Result<(u64, u64), EngineError> {
        let blocks = Blocks::of(chunk)?;
        let (_, xmax) = limits_of(&self.seen).unwrap_or_default();
        let distance = xmax.saturating_sub(old_xmin);
        let rows = from_where(projection, self.readers.side, fact.partitioned, blocks.as_ref());
        let sql = format!(
            "SELECT count(*), count(*) FILTER (WHERE (({xmax} - xmin::text::bigint) & 4294967295) > {distance}) {rows}"
        );
        let answer = self.readers.ask(projection, &sql).await?;
        let number = |column| answer.cell(column).and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
        Ok((number(0), number(1)))
    }
}

/// What a position says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Was<'a> {
    /// Which server process, in which cluster, and which database.
    server: &'a str,
    /// `pg_current_snapshot()`.
    seen: &'a str,
    /// The oldest transaction then running that may have written to this database.
    oldest: &'a str,
}

impl<'a> Was<'a> {
    fn parse(position: &'a str) -> Option<Self> {
        let (rest, oldest) = position.strip_prefix("pg1/")?.rsplit_once('/')?;
        let (server, seen) = rest.rsplit_once('/')?;
        Some(Self { server, seen, oldest })
    }
}

/// `xmin` and `xmax` of a `pg_snapshot` text.
fn limits_of(snapshot: &str) -> Option<(u64, u64)> {
    let mut parts = snapshot.split(':');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn parse_facts(answer: &Answer) -> Facts {
    let fact = |row: &Vec<Option<String>>| {
        let text = |column: usize| row.get(column).cloned().flatten().unwrap_or_default();
        let number = |column: usize| text(column).parse().unwrap_or(0);
        let fact = Fact {
            oid: text(2),
            filenode: text(3),
            columns: text(4),
            partitioned: text(5) == "p",
            logged: text(6) == "p",
            heap: text(7) == "heap",
            rows: number(8),
            pages: number(9),
            bytes: number(10),
            computes: text(11) == "t",
        };
        (Name::new(text(0), text(1)), fact)
    };
    answer.rows.iter().map(fact).collect()
}

impl Readers {
    /// The table that a projection means on this side.
    pub fn fact(&self, projection: &Projection) -> Result<&Fact, EngineError> {
        let table = self.side.table(projection);
        self.facts.get(table).ok_or_else(|| {
            EngineError::new(Cause::Stale, "read", "the table is not there")
                .on(table)
                .hint("it was dropped or renamed since the plan was made: plan again")
        })
    }

    /// A session for one chunk, its transaction not yet begun.
    pub async fn take(&self) -> Result<Reader, EngineError> {
        let closed = |_| EngineError::new(Cause::Other, "read", "the snapshot is closed");
        let permit = self.permits.clone().acquire_owned().await.map_err(closed)?;
        let idle = self.idle.lock().await.pop();
        let wire = match idle {
            Some(wire) => wire,
            None => self.link.wire(Role::Reader).await?,
        };
        Ok(Reader { wire, _permit: permit })
    }

    /// Takes a session back that has nothing left to say.
    pub async fn give(&self, reader: Reader) {
        if reader.wire.is_ready() && reader.wire.status == b'I' {
            self.idle.lock().await.push(reader.wire);
        }
    }

    /// One message: import the snapshot, do the work, look which table that was, end the
    /// transaction, look at its columns. The name and the file are looked up under the lock that
    /// the work took, and not in the snapshot (the functions ask the current catalog); the
    /// columns in a transaction of their own, because a SELECT would see the snapshot's.
    pub fn frame(&self, projection: &Projection, fact: &Fact, work: &str) -> String {
        let needs_iso = projection.columns.iter().any(|column| {
            projection.form == Form::Rows && matches!(self.side.cell_type(column), Type::Interval)
        });
        let interval = if needs_iso { "SET LOCAL IntervalStyle = 'iso_8601'; " } else { "" };
        let table = quote::literal(&quote::name(self.side.table(projection)));
        let hash = COLUMNS_HASH.replace("c.oid", &fact.oid);
        format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; {interval}{work}; \
             SELECT {table}::pg_catalog.regclass::pg_catalog.oid, \
             pg_catalog.pg_relation_filenode({table}::pg_catalog.regclass); COMMIT; SELECT {hash}",
            quote::literal(&self.export)
        )
    }

    /// Compares what [`Self::frame`]'s last two queries found with the facts.
    pub fn check(&self, projection: &Projection, fact: &Fact, answers: &[Answer]) -> Result<(), EngineError> {
        let [.., place, _commit, columns] = answers else {
            return Err(EngineError::new(Cause::Other, "read", "answers are missing"));
        };
        let same_table = place.cell(0) == Some(fact.oid.as_str());
        // A partitioned table has no file; its columns still tell.
        let same_file = place.cell(1).unwrap_or("") == fact.filenode;
        let same_columns = columns.cell(0) == Some(fact.columns.as_str());
        let why = match (same_table, same_file, same_columns) {
            (true, true, true) => return Ok(()),
            (false, ..) => "another table has taken its name since the snapshot",
            (_, false, _) => {
                "it was emptied or rewritten since the snapshot, which therefore shows none of its rows"
            }
            _ => "its columns were changed since the snapshot",
        };
        Err(EngineError::new(Cause::Stale, "read", why)
            .on(self.side.table(projection))
            .hint("run the same command again: the table is compared and copied from a fresh snapshot"))
    }

    /// The error of a failed read, in words for this table.
    pub fn failure(&self, projection: &Projection, fault: Fault) -> EngineError {
        let table = self.side.table(projection);
        if let Fault::Server(error) = &fault
            && error.code == "22023"
        {
            return EngineError::new(
                Cause::Connection,
                "read",
                "the snapshot is gone: the session that held it has ended",
            )
            .on(table)
            .hint("run the same command again: it continues with a fresh snapshot");
        }
        fault.doing("read").on(table)
    }

    /// Runs one query in the snapshot, with the same checks as a copy.
    pub async fn ask(&self, projection: &Projection, sql: &str) -> Result<Answer, EngineError> {
        let fact = self.fact(projection)?;
        let mut reader = self.take().await?;
        let answers = reader.wire.query(&self.frame(projection, fact, sql)).await;
        let mut answers = answers.map_err(|fault| self.failure(projection, fault))?;
        self.give(reader).await;
        self.check(projection, fact, &answers)?;
        // BEGIN, SET, (SET,) the query, the place, COMMIT, the columns.
        let at = answers.len().checked_sub(4);
        let missing = || EngineError::new(Cause::Other, "read", "an answer is missing");
        at.filter(|at| *at >= 2).map(|at| answers.swap_remove(at)).ok_or_else(missing)
    }
}

#[async_trait]
impl Snapshot for PgSnapshot {
    fn position(&self) -> &Position {
        &self.position
    }

    async fn alive(&self) -> bool {
        let import = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; COMMIT",
            quote::literal(&self.readers.export)
        );
        // Beside the readers, all of which may be at work.
        match self.readers.link.wire(Role::Reader).await {
            Ok(mut wire) => wire.query(&import).await.is_ok(),
            Err(_) => false,
        }
    }

    async fn chunks(&self, projection: &Projection, chunk_bytes: u64) -> Result<Vec<Chunk>, EngineError> {
        let fact = self.readers.fact(projection)?;
        Ok(cut(fact, chunk_bytes.max(1)))
    }

    async fn read(&self, read: &Read<'_>) -> Result<Box<dyn BatchStream>, EngineError> {
        let readers = &self.readers;
        let projection = read.projection;
        let fact = readers.fact(projection)?;
        let blocks = Blocks::of(read.chunk)?;
        if blocks.as_ref().is_some_and(|blocks| blocks.file != fact.file()) {
            return Err(EngineError::new(
                Cause::Stale,
                "read",
                "the chunk belongs to an earlier version of the table",
            )
            .on(readers.side.table(projection)));
        }
        let copy = copy_out(projection, readers.side, fact, blocks.as_ref());
        let mut reader = readers.take().await?;
        let started = match fault_point("snapshot::worker_import") {
            Ok(()) => reader.wire.copy_out(&readers.frame(projection, fact, &copy)).await,
            Err(error) => Err(error.into()),
        };
        started.map_err(|fault| readers.failure(projection, fault))?;
        Ok(Box::new(CopyStream::new(readers.clone(), reader, projection.clone(), read.batch_bytes)))
    }

    async fn unchanged(
        &self,
        projection: &Projection,
        position: &Position,
        chunks: &[(Chunk, u64)],
    ) -> Result<bool, EngineError> {
        let Ok(fact) = self.readers.fact(projection) else { return Ok(false) };
        let file = fact.file();
        for (chunk, _) in chunks {
            match Blocks::of(chunk) {
                Ok(Some(blocks)) if blocks.file == file => {}
                Ok(None) => {}
                _ => return Ok(false),
            }
        }
        let (Some(ours), Some(theirs)) = (Was::parse(&self.position.0), Was::parse(&position.0)) else {
            return Ok(false);
        };
        // A restart may have lost transactions that were seen, and given their ids to others.
        if ours.server != theirs.server {
            return Ok(false);
        }
        // No transaction has got an id since: nothing can have changed. Unlogged tables are
        // emptied by a crash, which takes no id.
        if fact.logged && ours.seen == theirs.seen {
            return Ok(true);
        }
        let Ok(old_xmin) = theirs.oldest.parse() else { return Ok(false) };
        for (chunk, rows) in chunks {
            let (now, old) = self.old_rows(projection, fact, chunk, old_xmin).await?;
            if now != *rows || old != *rows {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn summary(&self, projection: &Projection, buckets: u32) -> Result<Summary, EngineError> {
        let fact = self.readers.fact(projection)?;
        let sql = summary::query(projection, self.readers.side, fact.partitioned, buckets);
        let answer = self.readers.ask(projection, &sql).await?;
        summary::parse(&answer, buckets)
    }

    async fn bucket_rows(
        &self,
        projection: &Projection,
        buckets: &[u32],
        of: u32,
        limit: usize,
    ) -> Result<Vec<(String, i128)>, EngineError> {
        let fact = self.readers.fact(projection)?;
        let side = self.readers.side;
        let sql = summary::rows_query(projection, side, fact.partitioned, buckets, of, limit);
        let answer = self.readers.ask(projection, &sql).await?;
        summary::parse_rows(answer)
    }

    async fn count(&self, projection: &Projection) -> Result<u64, EngineError> {
        let fact = self.readers.fact(projection)?;
        let rows = from_where(projection, self.readers.side, fact.partitioned, None);
        let answer = self.readers.ask(projection, &format!("SELECT pg_catalog.count(*) {rows}")).await?;
        let count = answer.cell(0).and_then(|text| text.parse().ok());
        count.ok_or_else(|| EngineError::new(Cause::Other, "count", "the server sent no number"))
    }

    async fn encoding(&self) -> Result<String, EngineError> {
        let mut wire = self.readers.link.wire(Role::Reader).await?;
        let answers = wire.query("SHOW server_encoding").await;
        let answers =
            answers.map_err(|fault| fault.doing("ask for the encoding of").on(self.readers.link.shown()))?;
        wire.terminate().await;
        Ok(answers.first().and_then(|answer| answer.cell(0)).unwrap_or_default().to_string())
    }

    /// On a session of its own: a zone that the server does not know would end a transaction.
    async fn zone(&self, name: &str) -> Result<Option<Zone>, EngineError> {
        let mut wire = self.readers.link.wire(Role::Reader).await?;
        let doing = |fault: Fault| fault.doing("ask for the time zone").on(name);
        let answers = wire.query(&zone::query(name)).await.map_err(doing)?;
        wire.terminate().await;
        Ok(answers.first().and_then(zone::parse))
    }

    async fn close(self: Box<Self>) -> Result<(), EngineError> {
        for wire in self.readers.idle.lock().await.drain(..) {
            wire.terminate().await;
        }
        self.holder.into_inner().terminate().await;
        Ok(())
    }
}

/// Ranges of equal numbers of blocks. The stride does not depend on the table's end, so that a
/// table that grows keeps its first ranges.
fn cut(fact: &Fact, chunk_bytes: u64) -> Vec<Chunk> {
    let whole = |fact: &Fact| {
        vec![Chunk { number: 0, of: 1, bounds: WHOLE.into(), rows: fact.rows, bytes: fact.bytes }]
    };
    if fact.partitioned || !fact.heap || fact.pages < 2 || fact.bytes <= chunk_bytes {
        return whole(fact);
    }
    let stride = u128::from(fact.pages) * u128::from(chunk_bytes) / u128::from(fact.bytes);
    let stride = u64::try_from(stride).unwrap_or(u64::MAX).max(1);
    // A remainder of less than a quarter goes with the range before it.
    let count = (fact.pages + stride - stride / 4 - 1) / stride;
    if count < 2 {
        return whole(fact);
    }
    let of = u32::try_from(count).unwrap_or(u32::MAX);
    let share = |total: u64, pages: u64| {
        u64::try_from(u128::from(total) * u128::from(pages) / u128::from(fact.pages)).unwrap_or(0)
    };
    (0..of)
        .map(|number| {
            let from = u64::from(number) * stride;
            let to = (number + 1 < of).then_some(from + stride);
            let pages = to.unwrap_or(fact.pages).saturating_sub(from);
            let bounds = Blocks { from, to, file: fact.file() }.text();
            Chunk { number, of, bounds, rows: share(fact.rows, pages), bytes: share(fact.bytes, pages) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(pages: u64, bytes: u64) -> Fact {
        Fact {
            oid: "1".into(),
            filenode: "2".into(),
            columns: "0123456789".into(),
            partitioned: false,
            computes: false,
            logged: true,
            heap: true,
            rows: 1000,
            pages,
            bytes,
        }
    }

    #[test]
    fn p_06_ranges_cover_all_blocks_without_overlap() {
        for pages in [2, 3, 7, 100, 131_072, 131_073, 1_000_003] {
            for chunk_bytes in [8192, 100_000, 1 << 20, 1 << 30] {
                let chunks = cut(&fact(pages, pages * 8192 + 40_000), chunk_bytes);
                if chunks.len() == 1 {
                    assert_eq!(chunks[0].bounds, WHOLE);
                    continue;
                }
                let mut next = 0;
                for (index, chunk) in chunks.iter().enumerate() {
                    let blocks = Blocks::of(chunk).expect("readable").expect("a range");
                    assert_eq!(blocks.from, next);
                    assert_eq!(blocks.to.is_none(), index + 1 == chunks.len());
                    assert!(blocks.from < pages);
                    next = blocks.to.unwrap_or(pages);
                }
            }
        }
    }

    #[test]
    fn a_table_that_grows_keeps_its_first_ranges() {
        let (small, large) = (cut(&fact(1000, 8_192_000), 819_200), cut(&fact(1200, 9_830_400), 819_200));
        assert_eq!(small[0].bounds, large[0].bounds);
        assert_eq!(small[8].bounds, large[8].bounds);
    }

    #[test]
    fn limits_of_snapshots() {
        assert_eq!(limits_of("10:20:10,14"), Some((10, 20)));
        assert_eq!(limits_of("10:10:"), Some((10, 10)));
        assert_eq!(limits_of("x"), None);
    }
}
