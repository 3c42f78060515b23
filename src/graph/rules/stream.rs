//! Where changes are followed: the capture opens before any row is read, foreign keys wait until
//! all rows belong together, and the last step comes up to the source's head.

use std::collections::{BTreeSet, HashSet};

use super::{Draft, Rules};
use crate::diff::id;
use crate::graph::digest;
use crate::graph::step::{Action, CatchUpTo, Phase, Step};

impl Rules<'_> {
    pub(super) fn stream(&mut self) {
        if self.inputs.diff.followed.is_empty() {
            return;
        }
        let followed = digest::followed(&self.inputs.diff.followed);
        let rows: BTreeSet<String> = ends(self.steps.iter().filter(|step| step.phase < Phase::Key));
        for step in &mut self.steps {
            match (&step.action, step.phase) {
                // One snapshot for all rows, those of tables that are not followed among them.
                (Action::Copy { .. }, _) => add(&mut step.needs, id::OPEN),
                (_, phase) if phase >= Phase::Key => add(&mut step.needs, id::CONSISTENT),
                _ => {}
            }
        }
        let mut all = ends(self.steps.iter());
        all.insert(id::CONSISTENT.to_string());
        let open = Action::OpenCapture { followed: followed.clone() };
        self.step(id::OPEN, Phase::Capture, BTreeSet::new(), open);
        let consistent = Action::CatchUp { followed: followed.clone(), to: CatchUpTo::Consistent };
        self.step(id::CONSISTENT, Phase::Key, rows, consistent);
        let synced = Action::CatchUp { followed, to: CatchUpTo::Head };
        self.step(id::SYNCED, Phase::Sync, all, synced);
    }

    fn step(&mut self, id: &str, phase: Phase, needs: BTreeSet<String>, action: Action) {
        let draft = Draft::sql(id.to_string(), phase, Vec::new());
        self.add(Draft { needs, action, ..draft });
    }
}

fn add(needs: &mut Vec<String>, id: &str) {
    if let Err(place) = needs.binary_search_by(|need| need.as_str().cmp(id)) {
        needs.insert(place, id.to_string());
    }
}

/// Of these steps, those that no other one waits for: who waits for them waits for all.
fn ends<'s>(steps: impl Iterator<Item = &'s Step> + Clone) -> BTreeSet<String> {
    let waited: HashSet<&String> = steps.clone().flat_map(|step| &step.needs).collect();
    steps.map(|step| &step.id).filter(|id| !waited.contains(id)).cloned().collect()
}
