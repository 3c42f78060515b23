//! Disks that are full: the load stops, keeps what is committed, and goes on once there is room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::pairs::{postgres_arrived, sqlite_arrived};
use super::resume::small_chunks;
use crate::need_server;
use crate::support::postgres::Database;
use crate::support::scenario::Job;
use crate::support::sqlite::{self, File};
use crate::support::wait_until;

/// A small file system in memory. Unmounted when it is dropped.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// None where mounting is not allowed: then there is nothing to test on.
    pub fn mount(path: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={megabytes}m,mode=0777");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "towpath-test"]).arg(path).output();
        if mounted.is_ok_and(|out| out.status.success()) {
            return Some(Self { path: path.to_path_buf() });
        }
        eprintln!("SKIPPED: this user may not mount a small disk");
        None
    }

    pub fn grow(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.path).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server may have files open there until its database is dropped.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn chunks_in(target: &Database) -> u64 {
    let there = !target.value("SELECT to_regclass('towpath.copy')::text").is_empty();
    if there { target.value("SELECT count(*)::text FROM towpath.copy").parse().unwrap() } else { 0 }
}

/// The target's tables lie on a disk that is too small for them.
#[test]
fn f_56_the_disk_of_the_target_is_full() {
    let server = need_server!();
    let place = tempfile::Builder::new().prefix("towpath-disk-").tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&place.path().join("disk"), 5) else { return };
    fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let folder = disk.path.join("tablespace");
    fs::create_dir(&folder).unwrap();
    server.give(&folder);
    let name = format!("small_{}", std::process::id());
    server.admin(&format!("CREATE TABLESPACE {name} LOCATION '{}'", folder.display()));
    {
        let (source, target) = (server.fixture("bulk"), server.database("target"));
        // Only what the move makes lies there, not the database itself.
        server.admin(&format!("ALTER DATABASE {target} SET default_tablespace = {name}"));
        let one_by_one = small_chunks().replace("readers: 2, writers: 2", "readers: 1, writers: 1");
        let job = Job::new(&source.url(), &target.url(), &one_by_one);
        let outcome = job.apply();
        assert_eq!(outcome.code, Some(6), "{outcome}");
        outcome.says("53100").says("disk is full");
        let kept = chunks_in(&target);
        assert!(kept > 0, "nothing had been copied before the disk was full");
        disk.grow(200);
        job.apply().expect(0);
        postgres_arrived(&source, &target);
        job.is_done();
    }
    // The database went first, and its files with it.
    server.admin(&format!("DROP TABLESPACE {name}"));
}

/// The same of a file, where room is made in time.
#[test]
fn f_79_the_disk_of_a_sqlite_target_is_full() {
    let place = TempDir::new().unwrap();
    let Some(disk) = SmallDisk::mount(&place.path().join("disk"), 6) else { return };
    let source = sqlite::fixture("bulk", place.path());
    let target = File::new(&disk.path, "target.db");
    let job = Job::new(&source.url(), &target.url(), &small_chunks());
    let mut run = job.start_apply();
    wait_until("the disk is full", Duration::from_secs(60), || {
        run.ended() || run.so_far().contains("SQLITE_FULL")
    });
    assert!(!run.ended(), "it did not try again: {}", run.so_far());
    // Somebody makes room while it tries again.
    disk.grow(200);
    run.wait().expect(0).says("SQLITE_FULL");
    sqlite_arrived(&source, &target);
    job.is_done();
}

/// `kill -9` at many moments of a load into a file: whole chunks or nothing, and no damage.
#[test]
fn f_79_a_load_into_a_file_is_killed() {
    let directory = TempDir::new().unwrap();
    let source = sqlite::fixture("bulk", directory.path());
    let target = File::new(directory.path(), "target.db");
    let slow = small_chunks().replace("chunk:", "rows_per_second: 60000, chunk:");
    let job = Job::new(&source.url(), &target.url(), &slow);
    let size = || {
        let of =
            |end: &str| fs::metadata(format!("{}{end}", target.path.display())).map_or(0, |file| file.len());
        of("") + of("-wal") + of("-journal")
    };
    let mut killed = 0;
    for bytes in [1, 200_000, 1_500_000, 3_000_000, 5_000_000] {
        let mut run = job.start_apply();
        wait_until("the file has grown", Duration::from_secs(60), || run.ended() || size() >= bytes);
        killed += u32::from(!run.ended());
        run.kill();
        if target.path.exists() {
            assert_eq!(target.rows("PRAGMA integrity_check"), [["'ok'".to_string()]]);
        }
    }
    assert!(killed > 1, "it always ended before it could be killed");
    job.apply().expect(0);
    sqlite_arrived(&source, &target);
    job.is_done();
}
