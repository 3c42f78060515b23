//! Before a round: decides which rows of earlier snapshots may stay, and empties the tables of
//! those that may not. All rows of a finished load are of one moment. Copies nothing.

use std::collections::HashSet;

use futures_util::StreamExt;

use super::chunk::{Fate, Loaded, Marks};
use super::event::Event;
use super::goal::{is_copy, needed_by, within};
use super::retry::Attempts;
use super::run::{Run, Shared};
use super::trouble::{Slip, Trouble, Way};
use crate::catalog::{Name, Projection};
use crate::checkpoint::{Checkpoint, Progress};
use crate::engine::crash::crash_point;
use crate::engine::{Cause, EngineError};
use crate::graph::{Action, Phase, Step};

const LOST_HALF_WAY: &str = "it was half copied when the snapshot was lost";

/// A copy that has rows in the target.
struct Earlier<'p> {
    place: usize,
    projection: &'p Projection,
    loaded: Loaded<'p>,
}

impl Run<'_> {
    /// Applies the rule of [`Loaded::judge`] where copies remain: finished tables count too.
    /// Returns the tables that are to be copied again; their marks are void by then.
    pub(super) async fn settle_rows(
        &self,
        progress: &Progress,
        done: &HashSet<String>,
    ) -> Result<Vec<usize>, Trouble> {
        let earlier = self.earlier(progress, done);
        if earlier.is_empty() || !self.copies_remain(done) {
            return Ok(Vec::new());
        }
        let first = self.step(earlier[0].place);
        let snapshot = self.open_snapshot(first).await?;
        let judging = earlier.iter().map(|table| self.judge(table, &snapshot));
        let fates: Vec<Result<(usize, Fate), Trouble>> =
            futures_util::stream::iter(judging).buffer_unordered(self.options.readers.max(1)).collect().await;
        let mut again = Vec::new();
        for fate in fates {
            let (place, fate) = fate?;
            if let Fate::Recopy(why) = fate {
                again.push((place, why));
            }
        }
        again.sort_unstable();
        for &(place, _) in &again {
            self.may_empty(place, done)?;
        }
        for &(place, why) in &again {
            let was_done = done.contains(&self.step(place).id);
            self.recopy(place, was_done, why).await?;
        }
        Ok(again.into_iter().map(|(place, _)| place).collect())
    }

    fn earlier<'p>(&'p self, progress: &'p Progress, done: &HashSet<String>) -> Vec<Earlier<'p>> {
        let known = Marks::new(progress);
        let copies = (0..self.graph.steps.len()).filter_map(|place| {
            let Action::Copy { projection, chunk_bytes, .. } = &self.step(place).action else { return None };
            let marks = known.of(&projection.target).to_vec();
            let finished = done.contains(&self.step(place).id);
            (finished || !marks.is_empty()).then_some(Earlier {
                place,
                projection,
                loaded: Loaded { projection, marks, chunk_bytes: *chunk_bytes, finished },
            })
        });
        copies.collect()
    }

    fn copies_remain(&self, done: &HashSet<String>) -> bool {
        let failed = self.book(|book| {
            let steps = book.failures.iter().filter_map(|failure| failure.step.clone());
            steps.collect::<HashSet<_>>()
        });
        self.graph.steps.iter().any(|step| {
            let open = !done.contains(&step.id) && !failed.contains(&step.id);
            is_copy(step) && open && within(step, self.options.until)
        })
    }

    async fn open_snapshot(&self, step: &Step) -> Result<Shared, Trouble> {
        let mut tries = Attempts::new(self.options.attempts);
        loop {
            match self.snapshot().await {
                Ok(snapshot) => return Ok(snapshot),
                Err(error) => self.again(&mut tries, Slip::new(step, error)).await?,
            }
        }
    }

    async fn judge(&self, table: &Earlier<'_>, snapshot: &Shared) -> Result<(usize, Fate), Trouble> {
        let step = self.step(table.place);
        if self.is_followed(&table.projection.target) {
            // Whole tables have a start of their own; the stream brings them up to the others.
            let fate = if table.loaded.finished { Fate::Keep } else { Fate::Recopy(LOST_HALF_WAY) };
            return Ok((table.place, fate));
        }
        let mut tries = Attempts::new(self.options.attempts);
        loop {
            match table.loaded.judge(snapshot.as_ref().as_ref()).await {
                Ok(fate) => return Ok((table.place, fate)),
                Err(error) => {
                    let error = error.on(&table.projection.source);
                    self.again(&mut tries, Slip::at_source(step, error, snapshot)).await?;
                }
            }
        }
    }

    /// Foreign keys and sequences were made for the rows that are there now: such a table is
    /// not emptied under them.
    fn may_empty(&self, place: usize, done: &HashSet<String>) -> Result<(), Trouble> {
        let copy = self.step(place);
        let late = |step: &&Step| {
            let late = matches!(step.phase, Phase::Key | Phase::Sequence) && done.contains(&step.id);
            late && (step.table == copy.table
                || step.locks.iter().any(|name| Some(name) == copy.table.as_ref())
                || needed_by(self.graph, &[self.place(step)]).contains(&place))
        };
        let Some(step) = self.graph.steps.iter().find(late) else { return Ok(()) };
        let why = format!("its rows changed on the source since they were copied, but {} is done", step.id);
        let error = EngineError::new(Cause::Stale, "copy again", why);
        Err(Trouble {
            step: copy.id.clone(),
            error: error.on(table_of(copy)).hint(
                "more tables were added to a plan that was finished: move them with a plan of their own, \
                 or drop what this plan made and apply it again",
            ),
            way: Way::Failed,
        })
    }

    /// Empties the table and voids its marks, in one transaction.
    async fn recopy(&self, place: usize, done: bool, why: &str) -> Result<(), Trouble> {
        let step = self.step(place);
        let (id, table) = (step.id.clone(), table_of(step).clone());
        self.tell(Event::Recopying { step: id, table, done, why: why.to_string() });
        let mut tries = Attempts::new(self.options.attempts);
        loop {
            match self.recopy_once(step).await {
                Ok(()) => break,
                Err(error) => self.again(&mut tries, Slip::new(step, error)).await?,
            }
        }
        self.forget_copy(&step.id);
        Ok(())
    }

    /// May be done twice: emptying an empty table and voiding no marks change nothing.
    async fn recopy_once(&self, step: &Step) -> Result<(), EngineError> {
        let Action::Copy { empty, .. } = &step.action else { return Ok(()) };
        let table = table_of(step);
        if empty.is_empty() {
            let why = "its rows changed on the source since they were copied, and the plan cannot empty it";
            return Err(EngineError::new(Cause::Stale, "copy again", why).on(table));
        }
        let mark = Checkpoint::Recopy { table: table.clone(), step: step.id.clone() };
        let mut session = self.pool.take().await?;
        session.begin().await?;
        session.execute(empty).await?;
        crash_point("copy::emptied");
        session.mark(&self.graph.name, &mark).await?;
        session.commit().await?;
        self.pool.give(session);
        Ok(())
    }
}

/// The target table of a copy.
fn table_of(copy: &Step) -> &Name {
    match &copy.action {
        Action::Copy { projection, .. } => &projection.target,
        _ => unreachable!("broken invariant: only copies are copied again"),
    }
}
