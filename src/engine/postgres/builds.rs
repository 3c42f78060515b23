//! What an index build may take of the server: memory and workers, set for its transaction only.
//! Sorting is where an index costs: in much memory it is slower, not faster, because every row is
//! then fetched from a far place. Only speed hangs on this file.

use crate::engine::Build;

/// Kilobytes in which sorting stays near the processor's caches. 8 million rows with four indexes
/// took 18 s of CPU with 16 MB each, 20 with 64 MB, 25 with 256 MB and 31 with 1 GB.
const NEAR: u64 = 16 << 10;
/// Kilobytes that each of several processes must have, or the server starts fewer of them
/// (`plan_create_index_workers`).
const EACH: u64 = 32 << 10;
/// Kilobytes beyond which a build gains nothing.
const MOST: u64 = 1 << 20;
/// Kilobytes that merging takes for each sorted run (`tuplesort_merge_order`).
const RUN: f64 = 272.0;
/// Bytes of a row that is sorted, at least.
const ROW: u64 = 32;
/// A build of fewer rows is over before a setting would have been of use.
const FEW: u64 = 50_000;
/// `max_parallel_maintenance_workers` where nobody has set it.
const WORKERS: u64 = 2;

/// What the server has for builds, in kB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Means {
    pub shared_buffers: u64,
    /// `maintenance_work_mem`.
    pub memory: u64,
    /// `max_parallel_maintenance_workers`.
    pub workers: u64,
}

impl Means {
    /// `maintenance_work_mem` of a writing session, where more than the server's own is wise: an
    /// eighth of the shared buffers, so that eight at once take no more than the server keeps for
    /// itself.
    pub fn session_memory(&self) -> Option<u64> {
        Some(self.most()).filter(|memory| *memory > self.memory)
    }

    fn most(&self) -> u64 {
        (self.shared_buffers / 8).min(MOST)
    }

    /// Settings for a build by this statement, as SQL; none where the session's are right.
    ///
    /// Builds that run side by side keep as many processors busy as there are builds, and workers
    /// would only make them dearer, unless somebody has said that this server has processors to
    /// spare. A build that runs alone gets the server's workers.
    pub fn settings(&self, build: &Build, statement: &str) -> Option<String> {
        if build.rows < FEW || !sorts(statement) {
            return None;
        }
        let workers = if build.alone || self.workers > WORKERS { self.workers } else { 0 };
        let each = if workers > 0 { EACH } else { NEAR };
        let memory = near_memory(build).max(each) * (workers + 1);
        let memory = memory.min(self.most().max(self.memory));
        Some(format!(
            "SET LOCAL maintenance_work_mem = {memory}; SET LOCAL max_parallel_maintenance_workers = {workers}"
        ))
    }
}

/// Memory in which runs of its own size are merged in one pass: sorting a large index in little
/// memory would merge twice.
fn near_memory(build: &Build) -> u64 {
    let sorted = build.bytes.max(build.rows.saturating_mul(ROW)) as f64 / 1024.0;
    // Twice, because estimates may be old.
    (2.0 * sorted * RUN).sqrt() as u64
}

/// Whether a statement builds a B-tree. Other methods have other uses for memory.
fn sorts(statement: &str) -> bool {
    statement.starts_with("CREATE ")
        && (statement.contains(" USING btree (") || !statement.contains(" USING "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Means = Means { shared_buffers: 2 << 20, memory: 64 << 10, workers: 2 };
    const TREE: &str = "CREATE INDEX i ON s.t USING btree (a)";

    fn build(rows: u64, bytes: u64, alone: bool) -> Build {
        Build { rows, bytes, alone }
    }

    fn set(memory: u64, workers: u64) -> Option<String> {
        Some(format!(
            "SET LOCAL maintenance_work_mem = {memory}; SET LOCAL max_parallel_maintenance_workers = {workers}"
        ))
    }

    #[test]
    fn sessions_take_an_eighth_of_the_shared_buffers() {
        assert_eq!(SERVER.session_memory(), Some(256 << 10));
        assert_eq!(Means { shared_buffers: 128 << 10, ..SERVER }.session_memory(), None);
        assert_eq!(Means { shared_buffers: 64 << 20, ..SERVER }.session_memory(), Some(1 << 20));
    }

    #[test]
    fn builds_side_by_side_have_no_workers_and_one_alone_has_the_servers() {
        assert_eq!(SERVER.settings(&build(5_000_000, 100 << 20, false), TREE), set(16 << 10, 0));
        assert_eq!(SERVER.settings(&build(5_000_000, 100 << 20, true), TREE), set(96 << 10, 2));
        let none = Means { workers: 0, ..SERVER };
        assert_eq!(none.settings(&build(5_000_000, 100 << 20, true), TREE), set(16 << 10, 0));
        let large = Means { workers: 4, ..SERVER };
        assert_eq!(large.settings(&build(5_000_000, 100 << 20, false), TREE), set(160 << 10, 4));
    }

    #[test]
    fn large_indexes_have_the_memory_to_merge_once() {
        let memory = near_memory(&build(2_000_000_000, 40 << 30, false));
        assert!((100 << 10..200 << 10).contains(&memory), "{memory}");
        let largest = build(u64::MAX, u64::MAX, false);
        assert_eq!(SERVER.settings(&largest, TREE), set(256 << 10, 0));
    }

    #[test]
    fn small_builds_and_other_methods_are_left_alone() {
        assert_eq!(SERVER.settings(&build(20, 0, false), TREE), None);
        for other in
            ["CREATE INDEX i ON s.t USING gin (a)", "ALTER TABLE t ADD EXCLUDE USING gist (a WITH =)"]
        {
            assert_eq!(SERVER.settings(&build(5_000_000, 0, false), other), None);
        }
        let unique = "CREATE UNIQUE INDEX i ON s.t (a)";
        assert!(SERVER.settings(&build(5_000_000, 0, false), unique).is_some());
    }
}
