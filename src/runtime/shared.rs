//! Small tables that share a unit to save commits: done together, and one by one where that fails,
//! so that no table is held up by another. Copies no row itself.

use std::collections::{HashMap, HashSet};

use super::chunk::Marks;
use super::perform::{Act, Advance, Road};
use super::run::Run;
use super::trouble::{Trouble, Way};
use crate::catalog::Name;
use crate::graph::Action;

impl Run<'_> {
    /// Tables of one chunk go together; one that is larger than was thought comes after them.
    pub(super) async fn advance_shared(
        &self,
        marks: &Marks<'_>,
        steps: &[usize],
    ) -> Result<Advance, Trouble> {
        let mut roads = HashMap::new();
        let mut large = HashSet::new();
        for &place in steps.iter().filter(|place| matches!(self.step(**place).action, Action::Copy { .. })) {
            let road = self.cut(marks, place).await?;
            match road.is_single() {
                true => drop(roads.insert(place, road)),
                false => drop(large.insert(self.table(place))),
            }
        }
        let (rest, small): (Vec<usize>, Vec<usize>) =
            steps.iter().partition(|place| large.contains(&self.table(**place)));
        self.transact_together(&small, &roads).await?;
        self.advance_in_order(marks, &rest, false).await
    }

    fn table(&self, place: usize) -> Option<&Name> {
        self.step(place).table.as_ref()
    }

    async fn transact_together(&self, steps: &[usize], roads: &HashMap<usize, Road>) -> Result<(), Trouble> {
        let together = self.transact(&acts(steps), roads).await;
        let tables = self.by_table(steps);
        match together {
            Err(trouble) if trouble.way == Way::Failed && tables.len() > 1 => {
                self.transact_one_by_one(&tables, roads).await
            }
            end => end,
        }
    }

    /// Up to the first table that fails; all of them where failures are to be gone past.
    async fn transact_one_by_one(
        &self,
        tables: &[Vec<usize>],
        roads: &HashMap<usize, Road>,
    ) -> Result<(), Trouble> {
        let mut failed: Option<Trouble> = None;
        for steps in tables {
            let Err(trouble) = self.transact(&acts(steps), roads).await else { continue };
            let last = trouble.way != Way::Failed || !self.options.keep_going;
            if let Some(before) = failed.replace(trouble) {
                self.fail(before);
            }
            if last {
                break;
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The steps of each table, in their order.
    fn by_table(&self, steps: &[usize]) -> Vec<Vec<usize>> {
        let mut tables: Vec<Vec<usize>> = Vec::new();
        let mut places: HashMap<Option<&Name>, usize> = HashMap::new();
        for &step in steps {
            let at = *places.entry(self.table(step)).or_insert_with(|| {
                tables.push(Vec::new());
                tables.len() - 1
            });
            tables[at].push(step);
        }
        tables
    }
}

fn acts(steps: &[usize]) -> Vec<Act> {
    steps.iter().map(|&place| Act::Step(place)).collect()
}
