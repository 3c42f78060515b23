//! Writes files whole or not at all: a temporary file beside them, synced, then renamed.

use std::io::Write as _;
use std::path::Path;

use super::escape::line;
use super::exit;
use super::failure::Failure;
use crate::engine::crash::crash_point;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only its owner: plans.
    Private,
    /// As the process's mask says: renderings.
    Usual,
}

/// Writes a file in one step; a crash leaves the old one or the new one.
pub fn atomic(path: &Path, bytes: &[u8], access: Access) -> Result<(), Failure> {
    let shown = line(&path.display().to_string());
    atomic_io(path, bytes, access)
        .map_err(|error| Failure::new(exit::FAILED, format!("cannot write {shown}: {error}")))
}

fn atomic_io(path: &Path, bytes: &[u8], access: Access) -> std::io::Result<()> {
    if path.is_dir() {
        return Err(std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a directory"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    crash_point("plan::before_write");
    let written = write_new(&temporary, bytes, access).and_then(|()| {
        crash_point("plan::after_tmp_before_rename");
        std::fs::rename(&temporary, path)
    });
    if written.is_err() {
        // The first error is the one that matters.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    crash_point("plan::after_rename");
    sync_folder(folder)
}

fn write_new(path: &Path, bytes: &[u8], access: Access) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    restrict(&mut options, access);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
fn restrict(options: &mut std::fs::OpenOptions, access: Access) {
    use std::os::unix::fs::OpenOptionsExt as _;
    if access == Access::Private {
        options.mode(0o600);
    }
}

#[cfg(not(unix))]
fn restrict(_options: &mut std::fs::OpenOptions, _access: Access) {}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_sec_4_a_plan_is_private_whole_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("plan.json");
        std::fs::write(&path, "old").expect("writable");
        atomic(&path, b"new", Access::Private).map_err(|f| f.exit).expect("written");
        assert_eq!(std::fs::read(&path).expect("readable"), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listable").count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_directory_is_never_replaced() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        assert!(atomic(folder.path(), b"x", Access::Usual).is_err());
    }
}
