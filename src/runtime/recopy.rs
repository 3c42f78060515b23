//! Copying again all that is followed, where changes between the rows and what can still be read
//! are missing: the tables are emptied, and everything that was built on the lost stream is void,
//! in one transaction. The next run of the plan opens the change log anew and copies. Structure
//! stays, but for foreign keys: rows that come table by table would break them on the way.

use std::collections::BTreeSet;
use std::time::Duration;

use super::executor::goal_of;
use super::follow::FollowOptions;
use super::planning::Planned;
use super::spill::{Disk, Files};
use crate::catalog::{ForeignKey, Name};
use crate::checkpoint::{Checkpoint, Progress, StepMark};
use crate::diff::{State, TableDiff, id};
use crate::engine::crash::crash_point;
use crate::engine::{Cause, EngineError, Lock, Target, engine_named};
use crate::graph::{Action, digest};

const DOING: &str = "copy again";

/// What is to be done again.
#[derive(Debug, Default)]
pub struct Recopy {
    /// Tables of the target that are emptied.
    pub tables: Vec<Name>,
    /// Foreign keys that are taken away first, and made again when all rows are there.
    pub foreign_keys: usize,
    /// Undoes foreign keys, then empties tables.
    statements: Vec<String>,
    /// What is void, and what is done by that.
    marks: Vec<Checkpoint>,
}

/// Works it out from a plan that follows tables; writes nothing. `Cause::Other` where it follows none,
/// or cannot empty one.
pub fn prepare(planned: &Planned) -> Result<Recopy, EngineError> {
    let Planned { graph, diff, progress, .. } = planned;
    let refuse = |why: &str| EngineError::new(Cause::Other, DOING, why).on(&graph.name);
    let Some(stream) = graph.stream.as_ref().filter(|stream| !stream.there) else {
        return Err(refuse("the plan follows no table").hint(
            "without cdc a finished copy stays as it is: start over under another plan name, with load: replace",
        ));
    };
    let engine = engine_named(&graph.target.engine).ok_or_else(|| refuse("its engine is not known"))?;
    let followed: BTreeSet<&Name> = stream.tables.iter().map(|table| &table.projection.target).collect();
    let mut out = Recopy::default();
    for table in &diff.tables {
        let undone = undone_keys(table, &followed, progress);
        for key in undone {
            out.statements.extend(engine.dialect().drop_foreign_key(&table.want.name, key));
            out.void_step(progress, &id::foreign(&table.want.name, key));
            out.void_step(progress, &id::validate(&table.want.name, key));
            out.foreign_keys += 1;
        }
        if !engine.dialect().features().loads_unchecked {
            let held = table.foreign_keys.iter().filter(|key| key.state == State::Present);
            for key in held.map(|key| &key.want).filter(|key| is_touched(table, key, &followed)) {
                out.suspend(table, key, engine.dialect().drop_foreign_key(&table.want.name, key));
            }
        }
    }
    for step in &graph.steps {
        match &step.action {
            // What was not copied by this plan is not emptied by it: rows there are somebody's.
            Action::Copy { projection, empty, .. }
                if followed.contains(&projection.target)
                    && is_copied(progress, &step.id, &projection.target) =>
            {
                if empty.is_empty() {
                    return Err(refuse("the plan cannot empty it").on(&projection.target));
                }
                let table = projection.target.clone();
                out.marks.push(Checkpoint::Recopy { table: table.clone(), step: step.id.clone() });
                out.void_step(progress, &id::analyze(&table));
                out.statements.extend(empty.iter().cloned());
                out.tables.push(table);
            }
            Action::OpenCapture { .. } | Action::CatchUp { .. } => out.void_step(progress, &step.id),
            _ => {}
        }
    }
    out.tables.sort();
    out.tables.dedup();
    Ok(out)
}

/// True where rows of the plan are in the table, be it a part of them.
fn is_copied(progress: &Progress, step: &str, table: &Name) -> bool {
    progress.step(step).is_some() || progress.chunks_of(table).next().is_some()
}

/// Foreign keys that the plan has made or checked, and that hold for a followed table.
fn undone_keys<'d>(
    table: &'d TableDiff,
    followed: &'d BTreeSet<&Name>,
    progress: &'d Progress,
) -> impl Iterator<Item = &'d ForeignKey> {
    let name = &table.want.name;
    table.foreign_keys.iter().map(|key| &key.want).filter(move |key| {
        let made = [id::foreign(name, key), id::validate(name, key)];
        is_touched(table, key, followed) && made.iter().any(|step| progress.step(step).is_some())
    })
}

fn is_touched(table: &TableDiff, key: &ForeignKey, followed: &BTreeSet<&Name>) -> bool {
    followed.contains(&table.want.name) || followed.contains(&key.parent)
}

impl Recopy {
    /// Drops a key that was there before this plan, as the plan would for a load, so that the next one
    /// makes it again.
    fn suspend(&mut self, table: &TableDiff, key: &ForeignKey, statements: Vec<String>) {
        let step = id::drop_foreign(&table.want.name, key);
        let action = Action::Sql { statements, index_build: false };
        let inputs = digest::inputs(&step, &action);
        if let Action::Sql { statements, .. } = action {
            self.statements.extend(statements);
        }
        self.marks.push(Checkpoint::Step(StepMark { step, inputs, ..StepMark::default() }));
        self.foreign_keys += 1;
    }

    fn void_step(&mut self, progress: &Progress, step: &str) {
        if progress.step(step).is_some() {
            self.marks.push(Checkpoint::Void(step.to_string()));
        }
    }

    /// Does it, under the plan's lock. What a spool kept of the lost stream goes last: a crash
    /// before that leaves files that say that they are of another stream.
    pub async fn run(
        &self,
        planned: &Planned,
        target: &dyn Target,
        spill: &FollowOptions,
        lock_wait: Duration,
    ) -> Result<(), EngineError> {
        let graph = &planned.graph;
        let lock = target.lock(&graph.name, &goal_of(graph, &digest::goal(graph)), lock_wait).await?;
        let voided = self.void_all(&graph.name, lock.as_ref()).await;
        let closed = lock.close(if voided.is_ok() { "partial" } else { "failed" }).await;
        voided?;
        closed?;
        crash_point("recopy::void");
        discard(spill, &graph.name).await
    }

    async fn void_all(&self, plan: &str, lock: &dyn Lock) -> Result<(), EngineError> {
        let mut session = lock.session().await?;
        // The source's log is given up next: what says so must be on the disk.
        session.follow(&[]).await?;
        session.begin().await?;
        let hint = |error: EngineError| {
            error.hint(
                "nothing was changed; where another table refers to one that is to be emptied, take its foreign \
                 key away first",
            )
        };
        session.execute(&self.statements).await.map_err(hint)?;
        for mark in &self.marks {
            session.mark(plan, mark).await?;
        }
        session.commit().await
    }
}

/// Removes what was kept of the stream on this machine.
async fn discard(options: &FollowOptions, plan: &str) -> Result<(), EngineError> {
    let files = Files::new(&options.spill_dir, plan);
    let remove = async {
        for segment in files.open(false).await? {
            files.remove(segment).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    remove.await.map_err(|error| {
        EngineError::new(Cause::Resources, "remove the changes kept in", error.to_string())
            .on(files.place(None))
            .hint("remove its files by hand; then run the same command again")
    })
}
