//! Segment files on a real disk: they come back as they were written, and damage is told from what
//! was only not written to the end.

use std::path::{Path, PathBuf};

use super::*;
use crate::change::{Datum, Identity, RowKind};
use crate::runtime::SystemClock;

const PLAN: &str = "Plan/../with: odd name";

fn options(acknowledge: Acknowledge) -> FollowOptions {
    FollowOptions { acknowledge, spill_bytes: 4_000, ..FollowOptions::default() }
}

fn at(position: u64) -> Position {
    Position(position.to_string())
}

fn number(position: &Position) -> u64 {
    position.0.parse().expect("a number")
}

fn reached(at: &Position, goal: &Position) -> bool {
    number(at) >= number(goal)
}

/// A transaction that ends at a position.
fn transaction(end: u64) -> Changes {
    let mut changes = Changes::default();
    changes.begin(&(end - 1).to_string());
    changes.begin_row(0, RowKind::Insert, 0, 1);
    changes.push(Datum::Text("x".repeat(100).as_bytes()));
    changes.end_row();
    changes.commit(&end.to_string(), 0);
    changes
}

fn simulate<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

struct Ground {
    folder: tempfile::TempDir,
    options: FollowOptions,
    tables: Vec<Followed>,
}

impl Ground {
    fn new(acknowledge: Acknowledge) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        Self { folder, options: options(acknowledge), tables: Vec::new() }
    }

    /// Uses a spill of a process of its own.
    fn with<T>(&self, work: impl AsyncFnOnce(&Spill<'_>) -> T) -> T {
        let files = Files::new(self.folder.path(), PLAN);
        let identity = identity(PLAN, &self.tables, &[]);
        let spill = Spill::new((&files, &SystemClock), (PLAN, identity), &self.options, 200);
        simulate(work(&spill))
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in std::fs::read_dir(self.folder.path()).expect("listable").flatten() {
            let entries = std::fs::read_dir(folder.path()).expect("listable").flatten();
            found.extend(entries.map(|entry| entry.path()));
        }
        found.retain(|path| path.extension().is_some_and(|end| end == "changes"));
        found.sort();
        found
    }

    /// Writes transactions that end at 10, 20, and so on, and makes them durable.
    fn fill(&self, count: u64) -> Vec<Stored> {
        self.with(async |spill| {
            let mut stored = Vec::new();
            for end in (1..=count).map(|at| at * 10) {
                stored.push(write(spill, end).await);
                spill.sync().await.expect("durable");
            }
            stored
        })
    }

    /// The ends of what a new process finds, and the position after it.
    fn recovered(&self, applied: u64) -> Result<(Vec<u64>, u64), EngineError> {
        self.with(async |spill| {
            let (pieces, end) = spill.recover(&at(applied), reached).await?;
            let mut ends = Vec::new();
            for piece in &pieces {
                let changes = spill.read(&piece.stored, false).await?;
                let end = piece.end.as_ref().map_or(0, number);
                assert_eq!(changes.as_bytes(), transaction(end).as_bytes(), "they come back as written");
                assert_eq!(changes.len(), piece.bytes);
                ends.push(end);
            }
            Ok((ends, number(&end)))
        })
    }
}

async fn write(spill: &Spill<'_>, end: u64) -> Stored {
    let of = (Kind::Whole, Some(&at(end)));
    spill.write(of, &transaction(end), &at(0)).await.expect("written")
}

#[test]
fn a_spool_comes_back_in_order_and_goes_on() {
    let ground = Ground::new(Acknowledge::Spooled);
    ground.fill(9);
    assert!(ground.files().len() > 1, "several segments");
    let ends = |from: u64, to: u64| (from..=to).map(|end| end * 10).collect::<Vec<_>>();
    assert_eq!(ground.recovered(0).expect("readable"), (ends(1, 9), 90));
    let (rest, end) = ground.recovered(55).expect("readable");
    assert_eq!((rest.last(), end), (Some(&90), 90));
    assert!(rest[0] <= 60 && rest.len() < 9, "{rest:?}: what is applied is removed by files");
    ground.with(async |spill| {
        spill.recover(&at(55), reached).await.expect("readable");
        write(spill, 100).await;
        spill.sync().await.expect("durable");
        assert_eq!(spill.durable(), Some(at(100)));
    });
    assert_eq!(ground.recovered(90).expect("readable"), (vec![100], 100));
    assert_eq!(ground.recovered(100).expect("readable"), (vec![], 100));
    assert_eq!(ground.files(), Vec::<PathBuf>::new());
}

#[test]
fn scratch_is_removed_at_the_next_start_and_files_once_all_in_them_is_consumed() {
    let ground = Ground::new(Acknowledge::Applied);
    let stored = ground.fill(9);
    assert!(!ground.files().is_empty());
    assert_eq!(ground.recovered(0).expect("readable"), (vec![], 0));
    assert_eq!(ground.files(), Vec::<PathBuf>::new());
    ground.with(async |spill| {
        for end in 1..=9 {
            assert_eq!(write(spill, end * 10).await, stored[end as usize - 1]);
        }
        let before = spill.used();
        stored.iter().take(5).for_each(|stored| spill.forget(stored));
        spill.sweep().await.expect("swept");
        assert!(spill.used() < before && spill.used() > 0);
        stored.iter().skip(5).for_each(|stored| spill.forget(stored));
        spill.sweep().await.expect("swept");
        assert_eq!(spill.used(), 0);
    });
    assert_eq!(ground.files(), Vec::<PathBuf>::new());
}

#[test]
fn a_spool_is_not_thrown_away_when_acknowledging_changes() {
    let mut ground = Ground::new(Acknowledge::Spooled);
    ground.fill(3);
    ground.options = options(Acknowledge::Applied);
    assert_eq!(ground.recovered(0).expect("readable"), (vec![10, 20, 30], 30));
    ground.with(async |spill| {
        spill.recover(&at(0), reached).await.expect("readable");
        spill.discard().await.expect("discarded");
    });
    assert_eq!(ground.recovered(10).expect("readable").1, 30);
}

/// The last file, and a copy of what is in it.
fn last(ground: &Ground) -> (PathBuf, Vec<u8>) {
    let path = ground.files().pop().expect("a file");
    let bytes = std::fs::read(&path).expect("readable");
    (path, bytes)
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("writable");
}

#[test]
fn f_67_a_file_that_ends_early_anywhere_gives_what_is_whole() {
    let ground = Ground::new(Acknowledge::Spooled);
    ground.fill(2);
    let (path, bytes) = last(&ground);
    assert_eq!(ground.files().len(), 1);
    let mut seen = std::collections::BTreeSet::new();
    for cut in 0..bytes.len() {
        put(&path, &bytes[..cut]);
        let (ends, end) = ground.recovered(0).expect("what is not there is not damaged");
        assert_eq!(ends.last().copied().unwrap_or(0), end, "cut at {cut}");
        seen.insert(ends.len());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn f_67_a_bit_that_flips_in_what_was_durable_is_told() {
    let ground = Ground::new(Acknowledge::Spooled);
    ground.fill(3);
    let (path, bytes) = last(&ground);
    let first_two = bytes.len() * 2 / 3 - 10;
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        put(&path, &flipped);
        match ground.recovered(0) {
            // Nothing after the last record says that it was durable: the source decides.
            Ok((ends, _)) => assert!(at > first_two && ends.len() < 3, "byte {at}: {ends:?}"),
            Err(error) => {
                assert!(error.cause == Cause::Stale, "byte {at}: {error:?}");
                let object = error.object.as_deref().unwrap_or_default();
                assert!(object.ends_with(".changes"), "it names the segment: {error:?}");
                assert!(error.hint.is_some());
            }
        }
        put(&path, &bytes);
    }
    assert_eq!(ground.recovered(0).expect("whole again").0, [10, 20, 30]);
}

#[test]
fn f_67_a_segment_that_is_missing_in_the_middle_is_told() {
    let ground = Ground::new(Acknowledge::Spooled);
    ground.fill(12);
    let files = ground.files();
    assert!(files.len() >= 3);
    std::fs::remove_file(&files[1]).expect("removed");
    let error = ground.recovered(0).expect_err("a gap");
    assert_eq!(error.cause, Cause::Stale, "{error:?}");
    assert!(error.message.contains("missing"), "{error}");
}

#[test]
fn damage_while_it_runs_is_told_and_never_applied() {
    let ground = Ground::new(Acknowledge::Applied);
    ground.with(async |spill| {
        let stored = write(spill, 10).await;
        let (path, mut bytes) = last(&ground);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        put(&path, &bytes);
        let error = spill.read(&stored, false).await.expect_err("damaged");
        assert_eq!(error.cause, Cause::Stale);
        std::fs::remove_file(&path).expect("removed");
    });
}

#[test]
fn a_spool_of_other_tables_is_refused() {
    let mut ground = Ground::new(Acknowledge::Spooled);
    ground.fill(2);
    let name = crate::catalog::Name::new("main", "t");
    ground.tables.push(Followed {
        projection: crate::catalog::Projection {
            source: name.clone(),
            target: name,
            columns: Vec::new(),
            filter: None,
            key: Vec::new(),
            form: crate::catalog::Form::Rows,
        },
        identity: Identity::Whole,
        skipped: Vec::new(),
    });
    let error = ground.recovered(0).expect_err("other tables");
    assert_eq!(error.cause, Cause::Stale, "{error:?}");
    ground.tables.clear();
    assert_eq!(ground.recovered(0).expect("as it was").0, [10, 20]);
}

#[test]
fn one_process_at_a_time_has_the_directory() {
    let ground = Ground::new(Acknowledge::Spooled);
    let files = Files::new(ground.folder.path(), "plan");
    let others = Files::new(ground.folder.path(), "plan");
    simulate(async {
        files.open(true).await.expect("taken");
        let error = others.open(true).await.expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let mine = Files::new(ground.folder.path(), "other plan");
        mine.open(true).await.expect("another plan has its own");
    });
    drop(files);
    simulate(async { others.open(true).await }).expect("it is free again");
}

#[cfg(unix)]
#[test]
fn i_12_names_and_rows_are_private_and_stay_in_the_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let ground = Ground::new(Acknowledge::Spooled);
    ground.fill(1);
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    for entry in std::fs::read_dir(ground.folder.path()).expect("listable").flatten() {
        assert!(entry.file_name().to_string_lossy().starts_with("plan----with--odd-name-"), "{entry:?}");
        assert_eq!(mode(&entry.path()), 0o700);
    }
    ground.files().iter().for_each(|path| assert_eq!(mode(path), 0o600));
}

#[cfg(target_os = "linux")]
#[test]
fn f_54_a_full_disk_is_told_with_what_to_do() {
    let ground = Ground::new(Acknowledge::Applied);
    ground.with(async |spill| {
        spill.open(true).await.expect("taken");
        let folder = std::fs::read_dir(ground.folder.path()).expect("listable").flatten().next();
        let path = folder.expect("made").path().join(format!("{:012}.changes", 0));
        std::os::unix::fs::symlink("/dev/full", &path).expect("a disk that is always full");
        let of = (Kind::Whole, Some(&at(10)));
        let error = spill.write(of, &transaction(10), &at(0)).await.expect_err("full");
        assert_eq!(error.cause, Cause::Resources, "{error:?}");
        let hint = error.hint.unwrap_or_default();
        assert!(hint.contains("free some space") && hint.contains("it continues"), "{hint}");
    });
}
