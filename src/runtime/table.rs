//! Tables inside transactions: cuts one into chunks, makes it ready for rows, copies all of it
//! in a unit's transaction or a chunk of it in one of its own. Chooses no order among chunks.

use super::chunk::{Marks, unmarked};
use super::copy::{Passage, Share};
use super::event::Event;
use super::perform::{Deeds, Hand, Road};
use super::retry::Attempts;
use super::run::{Run, Shared};
use super::trouble::{Slip, Trouble};
use crate::catalog::Name;
use crate::checkpoint::{Checkpoint, ChunkMark};
use crate::engine::crash::crash_point;
use crate::engine::{Cause, Chunk, EngineError, Loaded, Read};
use crate::graph::{Action, Step};

/// Bytes of one batch on its way.
const BATCH_BYTES: usize = 1 << 18;

impl Run<'_> {
    /// Cuts a table into chunks, in the snapshot of the run.
    pub(super) async fn cut(&self, marks: &Marks<'_>, place: usize) -> Result<Road, Trouble> {
        let mut tries = Attempts::new(self.options.attempts);
        loop {
            match self.cut_once(marks, place).await {
                Ok(road) => return Ok(road),
                Err(slip) => self.again(&mut tries, slip).await?,
            }
        }
    }

    async fn cut_once(&self, marks: &Marks<'_>, place: usize) -> Result<Road, Slip> {
        let step = self.step(place);
        let Action::Copy { projection, chunk_bytes, .. } = &step.action else {
            unreachable!("broken invariant: only copies are cut");
        };
        let snapshot = self.snapshot().await.map_err(|error| Slip::new(step, error))?;
        let cut = snapshot.chunks(projection, *chunk_bytes).await;
        let cut = cut.map_err(|error| Slip::at_source(step, error, &snapshot))?;
        let marks = marks.of(&projection.target);
        let before = marks.iter().fold(Loaded::default(), |sum, mark| Loaded {
            rows: sum.rows + mark.rows,
            bytes: sum.bytes + mark.bytes,
        });
        let of = cut.len() as u32;
        if of == 0 {
            let error = EngineError::new(Cause::Other, "cut into chunks", "the source named no chunk");
            return Err(Slip::new(step, error.on(&projection.source)));
        }
        crash_point("copy::chunk_planned");
        Ok(Road { snapshot, chunks: unmarked(cut, marks), of, before })
    }

    pub(super) fn tell_chunked(&self, place: usize, road: &Road, chunks: u32, done: u32) {
        let rows = road.before.rows + road.chunks.iter().map(|chunk| chunk.rows).sum::<u64>();
        let bytes = road.before.bytes + road.chunks.iter().map(|chunk| chunk.bytes).sum::<u64>();
        self.tell(Event::Chunked { step: self.step(place).id.clone(), chunks, done, rows, bytes });
    }

    /// A copy of one chunk, in the open transaction.
    pub(super) async fn copy_whole(
        &self,
        hand: &mut Hand,
        deeds: &mut Deeds,
        step: &Step,
        road: &Road,
        first: bool,
    ) -> Result<Loaded, Slip> {
        if first {
            self.tell_chunked(self.place(step), road, 1, 0);
        }
        let frozen = self.open_table(hand, step).await.map_err(|error| Slip::new(step, error))?;
        let mark = self.copy_chunk(hand, step, &road.snapshot, &road.chunks[0], frozen).await?;
        let loaded = Loaded { rows: mark.rows, bytes: mark.bytes };
        deeds.loaded.push((step.id.clone(), mark));
        Ok(loaded)
    }

    /// Makes sure that rows may go in: none are there that this plan did not put there. True
    /// where a frozen load is possible, because the table was made or emptied just now.
    pub(super) async fn open_table(&self, hand: &mut Hand, step: &Step) -> Result<bool, EngineError> {
        let Action::Copy { projection, empty, replace, frozen, .. } = &step.action else {
            unreachable!("broken invariant: only copies open tables");
        };
        let target = &projection.target;
        let new = hand.created.contains(target);
        if *replace && !empty.is_empty() {
            hand.session().execute(empty).await?;
            return Ok(*frozen);
        }
        if hand.session().any_row(target).await? {
            return Err(foreign_rows(target));
        }
        if *frozen && !new && !empty.is_empty() && self.is_created(target) {
            hand.session().execute(empty).await?;
            return Ok(true);
        }
        Ok(*frozen && new)
    }

    /// One chunk of several: a transaction of its own, with its mark.
    pub(super) async fn transact_chunk(
        &self,
        place: usize,
        snapshot: &Shared,
        chunk: &Chunk,
    ) -> Result<Loaded, Trouble> {
        let mut tries = Attempts::new(self.options.attempts);
        let mut uncertain = false;
        loop {
            let mut slip = match self.attempt_chunk(place, snapshot, chunk).await {
                Ok(mark) => return Ok(self.record_chunk(place, &mark)),
                Err(slip) => slip,
            };
            uncertain |= slip.uncertain;
            if uncertain {
                self.book(|book| book.written = true);
                match self.committed_chunk(place, snapshot, chunk).await {
                    Ok(Some(mark)) => {
                        self.gauge(&self.step(place).id).add(mark.rows, mark.bytes);
                        return Ok(self.record_chunk(place, &mark));
                    }
                    Ok(None) => {}
                    Err(error) => slip.error = error,
                }
            }
            let again = self.again(&mut tries, slip).await;
            self.book(|book| book.in_doubt |= uncertain && again.is_err());
            again?;
        }
    }

    async fn attempt_chunk(&self, place: usize, snapshot: &Shared, chunk: &Chunk) -> Result<ChunkMark, Slip> {
        let step = self.step(place);
        let session = self.pool.take().await.map_err(|error| Slip::new(step, error))?;
        let mut hand = Hand::new(session);
        let filled = match hand.session().begin().await {
            Ok(()) => self.copy_chunk(&mut hand, step, snapshot, chunk, false).await,
            Err(error) => Err(Slip::new(step, error)),
        };
        self.seal(hand, step, filled).await
    }

    /// Reads a chunk and loads it into the open transaction, with its mark.
    async fn copy_chunk(
        &self,
        hand: &mut Hand,
        step: &Step,
        snapshot: &Shared,
        chunk: &Chunk,
        frozen: bool,
    ) -> Result<ChunkMark, Slip> {
        let projection = self.projection(step);
        let read =
            Read { projection: &projection, chunk, batch_bytes: BATCH_BYTES, paced: self.rate.is_some() };
        let stream = snapshot.read(&read).await.map_err(|error| Slip::at_source(step, error, snapshot))?;
        let passage = Passage {
            projection: projection.clone(),
            frozen,
            share: Share::of(self.gauge(&step.id)),
            rate: self.rate.clone(),
            clock: self.clock.clone(),
        };
        let session = hand.session.take().expect("broken invariant: one load at a time");
        let passed = passage.load(session, stream).await;
        hand.session = Some(passed.session);
        hand.shares.push(passed.share);
        let loaded = passed.loaded.map_err(|error| match passed.at_source {
            true => Slip::at_source(step, error, snapshot),
            false => Slip::new(step, error),
        })?;
        let mark = ChunkMark {
            table: projection.target.clone(),
            number: chunk.number,
            of: chunk.of,
            bounds: chunk.bounds.clone(),
            position: snapshot.position().clone(),
            rows: loaded.rows,
            bytes: loaded.bytes,
        };
        let marked = hand.session().mark(&self.graph.name, &Checkpoint::Chunk(mark.clone())).await;
        marked.map_err(|error| Slip::new(step, error))?;
        Ok(mark)
    }

    async fn committed_chunk(
        &self,
        place: usize,
        snapshot: &Shared,
        chunk: &Chunk,
    ) -> Result<Option<ChunkMark>, EngineError> {
        let progress = self.target.progress(&self.graph.name).await?;
        let projection = self.projection(self.step(place));
        let mark = progress.chunks_of(&projection.target).find(|mark| {
            mark.number == chunk.number
                && mark.of == chunk.of
                && mark.bounds == chunk.bounds
                && mark.position == *snapshot.position()
        });
        Ok(mark.cloned())
    }

    fn record_chunk(&self, place: usize, mark: &ChunkMark) -> Loaded {
        let step = &self.step(place).id;
        self.tell_chunk(step, mark);
        let loaded = Loaded { rows: mark.rows, bytes: mark.bytes };
        self.book(|book| {
            book.written = true;
            book.bring(step, loaded);
        });
        loaded
    }

    pub(super) fn tell_chunk(&self, step: &str, mark: &ChunkMark) {
        self.flush_gauge(step);
        let ChunkMark { number, of, rows, bytes, .. } = *mark;
        self.tell(Event::ChunkDone { step: step.to_string(), chunk: number, of, rows, bytes });
    }
}

fn foreign_rows(target: &Name) -> EngineError {
    EngineError::new(Cause::Data, "copy into", "it already has rows that this plan did not put there")
        .on(target)
        .contract("D101")
        .hint("empty the table, say `load: replace` for it, or `load: none` to leave its rows alone")
}
