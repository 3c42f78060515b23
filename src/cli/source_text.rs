//! Reads a plan file's bytes: from a path or standard input, bounded, never from a pipe or a
//! device by name. The only file that touches the file system for a plan.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::escape;
use crate::plan::Problem;
use crate::plan::file::BYTES_MAX;

/// What was read.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// As the user gave it, safe to print; `<stdin>` for `-`.
    pub path: String,
    pub bytes: Vec<u8>,
    /// About the file itself, such as that anybody may write to it.
    pub warnings: Vec<Problem>,
}

/// Reads a plan. `-` is standard input. Errors are E115 (the file) and E110 (too big).
pub fn read_source(path: &str) -> Result<SourceText, Box<Problem>> {
    if path == "-" {
        let bytes = read_bounded(io::stdin().lock(), "standard input")?;
        return Ok(SourceText { path: "<stdin>".into(), bytes, warnings: Vec::new() });
    }
    let shown = escape::line(path);
    let facts = std::fs::metadata(path).map_err(|error| unreadable(&shown, &error))?;
    check_kind(&shown, &facts)?;
    let file = File::open(path).map_err(|error| unreadable(&shown, &error))?;
    // It may have been exchanged since.
    let facts = file.metadata().map_err(|error| unreadable(&shown, &error))?;
    check_kind(&shown, &facts)?;
    let bytes = read_bounded(file, &shown)?;
    let warnings = world_writable(&shown, &facts).into_iter().collect();
    Ok(SourceText { path: shown, bytes, warnings })
}

fn check_kind(shown: &str, facts: &Metadata) -> Result<(), Box<Problem>> {
    if facts.is_dir() {
        let problem = Problem::error("E115", format!("{shown} is a directory, not a plan"));
        let inner = Path::new(shown).join("towpath.yaml");
        return Err(Box::new(problem.help(format!("name the file: {}", inner.display()))));
    }
    if !facts.is_file() {
        let problem = Problem::error("E115", format!("{shown} is not a regular file"));
        return Err(Box::new(problem.help("use - to read the plan from standard input")));
    }
    Ok(())
}

fn unreadable(shown: &str, error: &io::Error) -> Box<Problem> {
    let (what, help) = match error.kind() {
        ErrorKind::NotFound => {
            let what = format!("there is no file {shown}");
            (what, "`towpath init` writes a first plan; -f FILE names another one".to_string())
        }
        ErrorKind::PermissionDenied => {
            (format!("{shown} may not be read"), "check its owner and mode".to_string())
        }
        kind => (format!("{shown} cannot be read: {kind}"), "check the path".to_string()),
    };
    Box::new(Problem::error("E115", what).help(help))
}

fn read_bounded(from: impl Read, shown: &str) -> Result<Vec<u8>, Box<Problem>> {
    let mut bytes = Vec::new();
    let limit = BYTES_MAX as u64 + 1;
    from.take(limit).read_to_end(&mut bytes).map_err(|error| unreadable(shown, &error))?;
    if bytes.len() > BYTES_MAX {
        let what = format!("{shown} is too big for a plan: the limit is {} MiB", BYTES_MAX >> 20);
        return Err(Box::new(Problem::error("E110", what).help("is it the right file?")));
    }
    Ok(bytes)
}

#[cfg(unix)]
fn world_writable(shown: &str, facts: &Metadata) -> Option<Problem> {
    use std::os::unix::fs::MetadataExt;
    let writable = facts.mode() & 0o002 != 0;
    writable.then(|| {
        Problem::warning("E115", format!("anybody on this machine can change {shown}"))
            .help(format!("chmod o-w {shown}"))
    })
}

#[cfg(not(unix))]
fn world_writable(_shown: &str, _facts: &Metadata) -> Option<Problem> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Severity;

    fn error(path: &Path) -> Problem {
        *read_source(&path.to_string_lossy()).expect_err("refused")
    }

    #[test]
    fn y_16_what_is_no_plan_file_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(error(dir.path()).code, "E115");
        let missing = error(&dir.path().join("no\u{1b}[2J.yaml"));
        assert_eq!(missing.code, "E115");
        assert!(missing.message.contains("there is no file") && !missing.message.contains('\u{1b}'));
    }

    #[cfg(unix)]
    #[test]
    fn y_16_a_pipe_is_refused_without_waiting_for_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        assert!(error(&pipe).message.contains("not a regular file"));
    }

    #[cfg(unix)]
    #[test]
    fn y_16_a_world_writable_file_is_read_with_a_warning() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("plan.yaml");
        std::fs::write(&file, "version: 1\n").expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("mode");
        let link = dir.path().join("link.yaml");
        symlink(&file, &link).expect("a link");
        let read = read_source(&link.to_string_lossy()).expect("read");
        assert_eq!(read.bytes, b"version: 1\n");
        assert_eq!(read.warnings[0].severity, Severity::Warning);
    }

    #[test]
    fn y_11_a_huge_file_is_refused_after_its_limit() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("huge.yaml");
        // Sparse: a gigabyte by size, nothing on disk.
        File::create(&path).and_then(|file| file.set_len(1 << 30)).expect("a sparse file");
        assert_eq!(error(&path).code, "E110");
    }
}
