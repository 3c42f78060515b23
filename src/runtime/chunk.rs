//! Which chunks of a table are still to be copied, and whether what an earlier run copied may
//! stay. There is no change log: rows stay only where the source proves that they are still
//! exactly those. Writes nothing.

use std::collections::HashMap;

use crate::catalog::{Name, Projection};
use crate::change::Position;
use crate::checkpoint::{ChunkMark, Progress};
use crate::engine::{Chunk, EngineError, Snapshot};

/// The marks of finished chunks by their tables, looked up once for all tables of a round.
pub(super) struct Marks<'p>(HashMap<&'p Name, Vec<&'p ChunkMark>>);

impl<'p> Marks<'p> {
    pub(super) fn new(progress: &'p Progress) -> Self {
        let mut marks: HashMap<&Name, Vec<&ChunkMark>> = HashMap::new();
        for mark in &progress.chunks {
            marks.entry(&mark.table).or_default().push(mark);
        }
        Self(marks)
    }

    /// Those of one table, in their order.
    pub(super) fn of(&self, table: &Name) -> &[&'p ChunkMark] {
        self.0.get(table).map_or(&[], Vec::as_slice)
    }
}

/// What becomes of the rows that a table already has from an earlier snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Keep,
    /// They are not what the snapshot shows, or cannot be shown to be.
    Recopy(&'static str),
}

/// One table on the way, as the marks have it.
pub(super) struct Loaded<'a> {
    pub(super) projection: &'a Projection,
    pub(super) marks: Vec<&'a ChunkMark>,
    pub(super) chunk_bytes: u64,
    /// Its copy step is done.
    pub(super) finished: bool,
}

impl Loaded<'_> {
    /// The rule: chunks of an earlier snapshot stay only when the source says that they are
    /// unchanged (at an equal position too: what a server forgets in a crash has no position),
    /// and an unfinished table also only when it is still cut at the same places.
    pub(super) async fn judge(&self, snapshot: &dyn Snapshot) -> Result<Fate, EngineError> {
        if self.finished && self.marks.is_empty() {
            return Ok(Fate::Recopy("nothing is known of how it was read"));
        }
        if self.finished && self.marks.len() != self.marks[0].of as usize {
            return Ok(Fate::Recopy("the marks of some chunks are missing"));
        }
        for (position, chunks) in self.by_position() {
            if !snapshot.unchanged(self.projection, position, &chunks).await? {
                return Ok(Fate::Recopy("its rows changed on the source since they were copied"));
            }
        }
        if self.finished || self.marks.is_empty() {
            return Ok(Fate::Keep);
        }
        let cut = snapshot.chunks(self.projection, self.chunk_bytes).await?;
        match same_cuts(&self.marks, &cut) {
            true => Ok(Fate::Keep),
            false => Ok(Fate::Recopy("it is cut into other chunks than before")),
        }
    }

    /// The chunks of each snapshot that an earlier run read in, in the order of the marks.
    fn by_position(&self) -> Vec<(&Position, Vec<(Chunk, u64)>)> {
        let mut groups: Vec<(&Position, Vec<(Chunk, u64)>)> = Vec::new();
        for mark in &self.marks {
            let chunk = (chunk_of(mark), mark.rows);
            match groups.iter_mut().find(|(position, _)| **position == mark.position) {
                Some((_, chunks)) => chunks.push(chunk),
                None => groups.push((&mark.position, vec![chunk])),
            }
        }
        groups
    }
}

fn chunk_of(mark: &ChunkMark) -> Chunk {
    Chunk {
        number: mark.number,
        of: mark.of,
        bounds: mark.bounds.clone(),
        rows: mark.rows,
        bytes: mark.bytes,
    }
}

/// Every mark is of a chunk that the table would be cut into now.
fn same_cuts(marks: &[&ChunkMark], cut: &[Chunk]) -> bool {
    marks.iter().all(|mark| {
        let now = cut.iter().find(|chunk| chunk.number == mark.number);
        now.is_some_and(|now| now.of == mark.of && now.bounds == mark.bounds)
    })
}

/// The chunks that have no mark.
pub(super) fn unmarked(cut: Vec<Chunk>, marks: &[&ChunkMark]) -> Vec<Chunk> {
    let marked = |chunk: &Chunk| marks.iter().any(|mark| mark.number == chunk.number);
    cut.into_iter().filter(|chunk| !marked(chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u32, of: u32, bounds: &str) -> Chunk {
        Chunk { number, of, bounds: bounds.into(), rows: 0, bytes: 0 }
    }

    fn mark(number: u32, of: u32, bounds: &str) -> ChunkMark {
        ChunkMark {
            table: Name::new("s", "t"),
            number,
            of,
            bounds: bounds.into(),
            position: Position("1".into()),
            rows: 0,
            bytes: 0,
        }
    }

    #[test]
    fn a_mark_counts_only_for_the_very_same_range() {
        let cut = [chunk(0, 2, "a"), chunk(1, 2, "b")];
        assert!(same_cuts(&[&mark(1, 2, "b")], &cut));
        assert!(!same_cuts(&[&mark(1, 2, "c")], &cut));
        assert!(!same_cuts(&[&mark(1, 3, "b")], &cut));
        assert!(!same_cuts(&[&mark(2, 2, "b")], &cut));
    }

    #[test]
    fn chunks_without_a_mark_remain() {
        let cut = vec![chunk(0, 3, "a"), chunk(1, 3, "b"), chunk(2, 3, "c")];
        assert_eq!(unmarked(cut.clone(), &[&mark(1, 3, "b")]), vec![cut[0].clone(), cut[2].clone()]);
    }
}
