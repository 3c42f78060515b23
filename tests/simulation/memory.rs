//! An engine in memory: both ends of it, over a [`World`]. Statements are words: `create t`,
//! `empty t`, `object name`. A table is cut into chunks of `chunk_bytes` rows.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use towpath::catalog::{Answer, Catalog, Cell, Name, Place, Probe, Projection, RowBatch, Sequence};
use towpath::change::{Followed, Net, Position, Records};
use towpath::checkpoint::{Checkpoint, Goal, Progress};
use towpath::engine::{
    Applied, Batch, BatchStream, Cause, Chunk, EngineError, Fence, Load, Loaded, Lock, LockHolder, Read,
    SequenceValue, Session, Snapshot, Source, Summary, Target,
};

use super::applying;
use super::stream::nap;
use super::world::{InDoubt, Op, Shared, SourceTable, broken, lock, pass};

pub struct MemorySource(pub Shared);
pub struct MemoryTarget(pub Shared);

fn name_of(text: &str) -> Name {
    Name::new("main", text)
}

#[async_trait]
impl Source for MemorySource {
    async fn inspect(&self) -> Result<Catalog, EngineError> {
        Ok(Catalog::default())
    }

    async fn place(&self) -> Result<Place, EngineError> {
        Ok(Place::default())
    }

    async fn probe(&self, _: &[Probe], _: Option<Duration>) -> Result<Vec<Answer>, EngineError> {
        Ok(Vec::new())
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        pass(&self.0).await?;
        let mut world = lock(&self.0);
        world.snapshots += 1;
        let tables = world.source.clone();
        world.last_snapshot = Some(tables.clone());
        let position = Position(world.transaction.to_string());
        Ok(Box::new(MemorySnapshot { world: self.0.clone(), tables, position, dead: Default::default() }))
    }

    async fn sequence_values(&self, sequences: &[Name]) -> Result<Vec<SequenceValue>, EngineError> {
        pass(&self.0).await?;
        let world = lock(&self.0);
        let value = |name: &Name| SequenceValue {
            name: name.clone(),
            last: world.sequences.get(name).copied().unwrap_or(0),
            called: true,
        };
        Ok(sequences.iter().map(value).collect())
    }

    async fn violations(&self, _: &str) -> Result<u64, EngineError> {
        Ok(0)
    }

    async fn fence(&self, _: &str, _: &[Name]) -> Result<Box<dyn Fence>, EngineError> {
        Err(EngineError::new(Cause::Other, "fence", "this model has no writers of its own"))
    }

    async fn fenced(&self, _: &str) -> Result<Vec<Name>, EngineError> {
        Ok(Vec::new())
    }

    async fn unfence(&self, _: &str) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }
}

pub struct MemorySnapshot {
    world: Shared,
    tables: BTreeMap<Name, SourceTable>,
    position: Position,
    dead: std::sync::atomic::AtomicBool,
}

impl MemorySnapshot {
    /// A fault may kill the whole snapshot.
    async fn pass(&self) -> Result<(), EngineError> {
        use std::sync::atomic::Ordering::SeqCst;
        if self.dead.load(SeqCst) {
            return Err(EngineError::new(Cause::Other, "read", "the snapshot is gone"));
        }
        let passed = pass(&self.world).await;
        if passed.is_err() && lock(&self.world).random.once_in(3) {
            self.dead.store(true, SeqCst);
        }
        passed
    }

    fn dies(&self) -> bool {
        let left = &mut lock(&self.world).faults.dying_snapshots;
        let dies = *left > 0;
        *left = left.saturating_sub(1);
        dies
    }

    fn rows(&self, projection: &Projection, chunk: &Chunk) -> Vec<(i64, String, u64)> {
        let (from, to) = chunk.bounds.split_once("..").unwrap_or(("", ""));
        let from = from.parse().unwrap_or(i64::MIN);
        let to = to.parse().unwrap_or(i64::MAX);
        let Some(table) = self.tables.get(&projection.source) else { return Vec::new() };
        let inside = |key: i64| key >= from && (key < to || to == i64::MAX);
        let rows = table.iter().filter(|(key, _)| inside(**key));
        rows.map(|(key, (value, by))| (*key, value.clone(), *by)).collect()
    }

    fn whole(&self, projection: &Projection) -> Vec<(i64, String, u64)> {
        self.rows(projection, &Chunk { number: 0, of: 1, bounds: "..".into(), rows: 0, bytes: 0 })
    }
}

#[async_trait]
impl Snapshot for MemorySnapshot {
    fn position(&self) -> &Position {
        &self.position
    }

    async fn alive(&self) -> bool {
        !self.dead.load(std::sync::atomic::Ordering::SeqCst)
    }

    async fn chunks(&self, projection: &Projection, chunk_bytes: u64) -> Result<Vec<Chunk>, EngineError> {
        self.pass().await?;
        let keys: Vec<i64> = self.whole(projection).iter().map(|(key, ..)| *key).collect();
        let starts: Vec<String> =
            keys.chunks(chunk_bytes as usize).skip(1).map(|keys| keys[0].to_string()).collect();
        let of = starts.len() as u32 + 1;
        let cut = |number: u32| {
            let start = |at: u32| starts.get(at as usize).cloned().unwrap_or_default();
            let from = if number == 0 { String::new() } else { start(number - 1) };
            Chunk { number, of, bounds: format!("{from}..{}", start(number)), rows: 0, bytes: 0 }
        };
        Ok((0..of).map(cut).collect())
    }

    async fn read(&self, read: &Read<'_>) -> Result<Box<dyn BatchStream>, EngineError> {
        self.pass().await?;
        if self.dies() {
            self.dead.store(true, std::sync::atomic::Ordering::SeqCst);
            return Err(EngineError::new(Cause::Other, "read", "the snapshot is gone"));
        }
        *lock(&self.world).reads.entry(read.projection.target.clone()).or_default() += 1;
        let rows = self.rows(read.projection, read.chunk);
        Ok(Box::new(MemoryStream { world: self.world.clone(), rows: rows.into(), sent: 0 }))
    }

    async fn unchanged(
        &self,
        projection: &Projection,
        position: &Position,
        chunks: &[(Chunk, u64)],
    ) -> Result<bool, EngineError> {
        self.pass().await?;
        let at: u64 = position.0.parse().unwrap_or(0);
        Ok(chunks.iter().all(|(chunk, copied)| {
            let rows = self.rows(projection, chunk);
            rows.len() as u64 == *copied && rows.iter().all(|(_, _, by)| *by <= at)
        }))
    }

    async fn summary(&self, _: &Projection, _: u32) -> Result<Summary, EngineError> {
        Err(broken("the memory engine computes no sums"))
    }

    async fn bucket_rows(
        &self,
        _: &Projection,
        _: &[u32],
        _: u32,
        _: usize,
    ) -> Result<Vec<(String, i128)>, EngineError> {
        Err(broken("the memory engine computes no sums"))
    }

    async fn count(&self, projection: &Projection) -> Result<u64, EngineError> {
        Ok(self.whole(projection).len() as u64)
    }

    async fn close(self: Box<Self>) -> Result<(), EngineError> {
        pass(&self.world).await
    }
}

struct MemoryStream {
    world: Shared,
    rows: std::collections::VecDeque<(i64, String, u64)>,
    sent: u64,
}

#[async_trait]
impl BatchStream for MemoryStream {
    async fn next(&mut self) -> Result<Batch, EngineError> {
        pass(&self.world).await?;
        let mut batch = RowBatch::new(2);
        while let Some((key, value, _)) = self.rows.pop_front() {
            batch.push(Cell::Int(key));
            batch.push_text(value.as_bytes());
            batch.end_row();
            self.sent += 1;
            if batch.rows() == 2 {
                break;
            }
        }
        Ok(if batch.is_empty() { Batch::End { rows: self.sent } } else { Batch::Rows(batch) })
    }
}

#[async_trait]
impl Target for MemoryTarget {
    async fn inspect(&self) -> Result<Catalog, EngineError> {
        Ok(Catalog::default())
    }

    async fn place(&self) -> Result<Place, EngineError> {
        Ok(Place::default())
    }

    async fn probe(&self, _: &[Probe], _: Option<Duration>) -> Result<Vec<Answer>, EngineError> {
        Ok(Vec::new())
    }

    async fn progress(&self, _: &str) -> Result<Progress, EngineError> {
        pass(&self.0).await?;
        let world = lock(&self.0);
        Ok(Progress {
            steps: world.target.steps.values().cloned().collect(),
            chunks: world.target.chunks.values().cloned().collect(),
            stream: world.target.stream.clone(),
            ..Progress::default()
        })
    }

    async fn plans(&self) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }

    async fn lock(&self, _: &str, _: &Goal, _: Duration) -> Result<Box<dyn Lock>, EngineError> {
        pass(&self.0).await?;
        let mut world = lock(&self.0);
        if world.holder.is_some() && !world.steal {
            return Err(EngineError::new(Cause::Locked, "lock", "another run holds it"));
        }
        // Raising the fence waits for every commit that has passed it.
        world.settle(|_| true);
        world.fence += 1;
        // That commit is durable, and all before it with it.
        world.durable = None;
        world.holder = Some(world.fence);
        Ok(Box::new(MemoryLock { world: self.0.clone(), fence: world.fence }))
    }

    async fn holder(&self, _: &str) -> Result<Option<LockHolder>, EngineError> {
        Ok(None)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        let world = lock(&self.0);
        let tables = world.target.tables.iter().map(|(name, rows)| {
            (name.clone(), rows.iter().map(|(key, value)| (*key, (value.clone(), 0))).collect())
        });
        let tables = tables.collect();
        let position = Position::default();
        Ok(Box::new(MemorySnapshot { world: self.0.clone(), tables, position, dead: Default::default() }))
    }
}

pub struct MemoryLock {
    world: Shared,
    fence: u64,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut world = lock(&self.world);
        if world.holder == Some(self.fence) {
            world.holder = None;
        }
    }
}

fn fenced() -> EngineError {
    EngineError::new(Cause::Locked, "commit", "another run has taken over")
}

#[async_trait]
impl Lock for MemoryLock {
    async fn session(&self) -> Result<Box<dyn Session>, EngineError> {
        pass(&self.world).await?;
        Ok(Box::new(MemorySession {
            world: self.world.clone(),
            fence: self.fence,
            open: None,
            gone: false,
            followed: None,
        }))
    }

    async fn heartbeat(&self) -> Result<(), EngineError> {
        tokio::task::yield_now().await;
        match lock(&self.world).fence == self.fence {
            true => Ok(()),
            false => Err(fenced()),
        }
    }

    async fn close(self: Box<Self>, _: &str) -> Result<(), EngineError> {
        pass(&self.world).await
    }

    async fn forget(self: Box<Self>) -> Result<Vec<String>, EngineError> {
        unreachable!("a run that goes on forgets nothing")
    }
}

struct MemorySession {
    world: Shared,
    fence: u64,
    /// The open transaction.
    open: Option<Vec<Op>>,
    /// The connection broke: nothing works any more.
    gone: bool,
    followed: Option<Vec<Followed>>,
}

impl MemorySession {
    async fn end(&mut self, lazily: bool) -> Result<(), EngineError> {
        self.pass().await?;
        while lock(&self.world).stalled {
            tokio::time::sleep(Duration::from_millis(128)).await;
        }
        let mut ops = self.open.take().expect("the executor commits transactions only");
        let is_mark = |op: &Op| matches!(op, Op::Mark(Checkpoint::Applied(_)));
        if lock(&self.world).plants.mark_apart && ops.iter().any(is_mark) {
            let (marks, rows) = ops.into_iter().partition::<Vec<Op>, _>(is_mark);
            lock(&self.world).commit(&rows)?;
            self.pass().await?;
            ops = marks;
        }
        let mut world = lock(&self.world);
        if world.durable.is_some() && world.strikes() {
            world.crash_target();
            self.gone = true;
            return Err(EngineError::new(Cause::Connection, "commit", "the server is gone"));
        }
        if world.fence != self.fence && !world.plants.no_fence {
            return Err(fenced());
        }
        if !world.strikes() {
            let lazily = lazily || world.plants.all_lazy;
            return if lazily { world.commit_lazily(&ops) } else { world.commit(&ops) };
        }
        // The commit was sent, and the connection broke before the answer.
        self.gone = true;
        let fence = self.fence;
        match world.random.below(3) {
            0 if lazily => drop(world.commit_lazily(&ops)),
            0 => drop(world.commit(&ops)),
            1 => world.in_doubt.push(InDoubt { ops, fence }),
            _ => {}
        }
        Err(EngineError::new(Cause::Connection, "commit", "the connection broke"))
    }

    async fn pass(&mut self) -> Result<(), EngineError> {
        if self.gone {
            return Err(EngineError::new(Cause::Connection, "write", "the connection is gone"));
        }
        let passed = pass(&self.world).await;
        if passed.as_ref().is_err_and(|error| error.cause == Cause::Connection) {
            self.gone = true;
            self.open = None;
        }
        passed
    }

    /// Adds to the transaction what would not fail at once.
    fn add(&mut self, op: Op) -> Result<(), EngineError> {
        let mut world = lock(&self.world);
        world.wait_for(&op);
        let ops = self.open.as_mut().expect("the executor writes in transactions only");
        ops.push(op);
        let mut trial = super::world::World::new(0);
        trial.target = world.target.clone();
        trial.plants = world.plants;
        trial.commit(ops)
    }

    /// Adds changes, one after the other.
    async fn add_rows(&mut self, ops: Vec<Op>) -> Result<(), EngineError> {
        for op in ops {
            if lock(&self.world).random.once_in(4) {
                self.pass().await?;
            }
            nap(&self.world, 12).await;
            if lock(&self.world).is_busy() {
                return Err(EngineError::new(Cause::Busy, "apply changes", "a deadlock"));
            }
            self.add(op)?;
        }
        Ok(())
    }

    fn followed(&self) -> &[Followed] {
        self.followed.as_deref().expect("a session follows before it applies")
    }
}

#[async_trait]
impl Session for MemorySession {
    async fn begin(&mut self) -> Result<(), EngineError> {
        assert!(self.open.is_none(), "a transaction in a transaction");
        self.pass().await?;
        let mut world = lock(&self.world);
        if world.random.once_in(3) {
            world.settle(|_| true);
        }
        drop(world);
        self.open = Some(Vec::new());
        Ok(())
    }

    async fn execute(&mut self, statements: &[String]) -> Result<(), EngineError> {
        for statement in statements {
            self.pass().await?;
            let (verb, rest) = statement.split_once(' ').unwrap_or((statement, ""));
            self.add(match verb {
                "create" => Op::Create(name_of(rest)),
                "empty" => Op::Empty(name_of(rest)),
                "object" => Op::Object(rest.to_string()),
                _ => return Err(broken(format!("no statement: {statement}"))),
            })?;
        }
        Ok(())
    }

    async fn violations(&mut self, _: &str) -> Result<u64, EngineError> {
        self.pass().await?;
        Ok(0)
    }

    async fn load(&mut self, load: &Load<'_>, stream: &mut dyn BatchStream) -> Result<Loaded, EngineError> {
        let table = &load.projection.target;
        if lock(&self.world).faults.poisoned.contains(table) {
            return Err(broken("a value does not fit"));
        }
        if load.frozen {
            let ops = self.open.as_deref().unwrap_or_default();
            let fresh = |op: &Op| matches!(op, Op::Create(name) | Op::Empty(name) if name == table);
            assert!(ops.iter().any(fresh), "a frozen load needs a table that is new in its transaction");
        }
        let mut loaded = Loaded::default();
        loop {
            self.pass().await?;
            match stream.next().await? {
                Batch::Rows(rows) => {
                    for row in 0..rows.rows() {
                        let cells = rows.row(row);
                        let Cell::Int(key) = cells[0] else { return Err(broken("no key")) };
                        let value = String::from_utf8_lossy(rows.data(cells[1])).into_owned();
                        self.add(Op::Insert(table.clone(), key, value))?;
                        loaded.rows += 1;
                        loaded.bytes += 10;
                    }
                    (load.gauge)(10 * rows.rows() as u64, rows.rows() as u64);
                }
                Batch::Native { .. } => return Err(broken("no bytes here")),
                Batch::End { rows } if rows == loaded.rows => return Ok(loaded),
                Batch::End { .. } => return Err(broken("rows are missing")),
            }
        }
    }

    async fn set_sequence(
        &mut self,
        sequence: &Sequence,
        value: &SequenceValue,
        margin: u64,
    ) -> Result<Option<i64>, EngineError> {
        self.pass().await?;
        let set = value.last + margin as i64;
        self.add(Op::Sequence(sequence.name.clone(), set))?;
        Ok(Some(set))
    }

    async fn mark(&mut self, _: &str, mark: &Checkpoint) -> Result<(), EngineError> {
        self.pass().await?;
        self.add(Op::Mark(mark.clone()))
    }

    async fn commit(&mut self) -> Result<(), EngineError> {
        self.end(false).await
    }

    async fn commit_lazily(&mut self) -> Result<(), EngineError> {
        self.end(true).await
    }

    async fn rollback(&mut self) -> Result<(), EngineError> {
        self.pass().await?;
        self.open = None;
        Ok(())
    }

    async fn follow(&mut self, tables: &[Followed]) -> Result<(), EngineError> {
        assert!(self.open.is_none(), "outside of a transaction");
        self.pass().await?;
        self.followed = Some(tables.to_vec());
        Ok(())
    }

    async fn apply_rows(&mut self, records: Records<'_>) -> Result<(), EngineError> {
        self.pass().await?;
        let ops = applying::of_records(records, self.followed());
        self.add_rows(ops).await
    }

    async fn apply_net(&mut self, net: &Net<'_>) -> Result<Applied, EngineError> {
        self.pass().await?;
        let before = self.open.as_ref().map_or(0, Vec::len);
        let ops = applying::of_net(net, self.followed());
        match self.add_rows(ops).await {
            Ok(()) => Ok(Applied::Done),
            Err(error) if error.cause == Cause::Diverged => {
                self.open.iter_mut().for_each(|ops| ops.truncate(before));
                lock(&self.world).note("sets clash");
                Ok(Applied::Clashed)
            }
            Err(error) => Err(error),
        }
    }

    async fn any_row(&mut self, table: &Name) -> Result<bool, EngineError> {
        self.pass().await?;
        let world = lock(&self.world);
        let mut trial = super::world::World::new(0);
        trial.target = world.target.clone();
        trial.commit(self.open.as_deref().unwrap_or_default())?;
        Ok(trial.target.tables.get(table).is_some_and(|rows| !rows.is_empty()))
    }
}
