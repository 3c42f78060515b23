//! Where segment files lie. A simulation puts its own disk here, which forgets what was not
//! synchronized; the real one is a directory that one process has at a time.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use xxhash_rust::xxh3::xxh3_64;

/// Segment files by their numbers.
#[async_trait]
pub trait Disk: Send + Sync {
    /// Takes it for this process alone, where it exists or `create` says so; the numbers of the
    /// segments that are there. With `create`, those that were removed before stay so, whatever
    /// happens: their numbers are used again. `ErrorKind::WouldBlock`: another process has it.
    async fn open(&self, create: bool) -> io::Result<Vec<u64>>;
    /// Bytes of a segment.
    async fn length(&self, segment: u64) -> io::Result<u64>;
    /// Adds to the end of a segment, and makes it where there is none.
    async fn append(&self, segment: u64, bytes: Vec<u8>) -> io::Result<()>;
    async fn read(&self, segment: u64, at: u64, length: usize) -> io::Result<Vec<u8>>;
    /// Returns when all that was added, and the file itself, will survive a loss of power.
    async fn sync(&self, segment: u64) -> io::Result<()>;
    async fn truncate(&self, segment: u64, length: u64) -> io::Result<()>;
    /// No error where it is gone already.
    async fn remove(&self, segment: u64) -> io::Result<()>;
    /// Where a segment lies, for messages.
    fn place(&self, segment: Option<u64>) -> String;
}

/// A directory.
pub struct Files(Arc<Directory>);

struct Directory {
    path: PathBuf,
    /// Locked while the process lives.
    lock: Mutex<Option<File>>,
    open: Mutex<HashMap<u64, Arc<Mutex<File>>>>,
}

impl Files {
    /// The directory of a plan under `base`. Nothing is made yet.
    pub fn new(base: &Path, plan: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let name: String = plan.chars().take(40).map(plain).collect();
        let path = base.join(format!("{name}-{:016x}", xxh3_64(plan.as_bytes())));
        Self(Arc::new(Directory { path, lock: Mutex::default(), open: Mutex::default() }))
    }

    /// Runs file work on a thread that may wait.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let directory = self.0.clone();
        let done = tokio::task::spawn_blocking(move || work(&directory)).await;
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Only its owner reads changes: they are rows.
#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// A directory that only its owner enters. One that is there and is somebody else's is an error.
#[cfg(unix)]
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mut permissions = std::fs::metadata(path)?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o700);
        std::fs::set_permissions(path, permissions)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_private(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

#[cfg(unix)]
fn sync_names(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_names(_path: &Path) -> io::Result<()> {
    Ok(())
}

impl Directory {
    fn path_of(&self, segment: u64) -> PathBuf {
        self.path.join(format!("{segment:012}.changes"))
    }

    fn take(&self, create: bool) -> io::Result<Vec<u64>> {
        if create {
            make_private(&self.path)?;
        }
        let mut held = locked(&self.lock);
        if held.is_none() && self.path.exists() {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true);
            let file = private(&mut options).open(self.path.join("lock"))?;
            file.try_lock().map_err(io::Error::from)?;
            *held = Some(file);
        }
        drop(held);
        if create {
            sync_names(&self.path)?;
        }
        self.list()
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".changes"));
            found.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The file of a segment, opened once.
    fn file(&self, segment: u64, create: bool) -> io::Result<Arc<Mutex<File>>> {
        if let Some(file) = locked(&self.open).get(&segment) {
            return Ok(file.clone());
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create);
        let file = Arc::new(Mutex::new(private(&mut options).open(self.path_of(segment))?));
        locked(&self.open).insert(segment, file.clone());
        Ok(file)
    }
}

#[async_trait]
impl Disk for Files {
    async fn open(&self, create: bool) -> io::Result<Vec<u64>> {
        self.run(move |directory| directory.take(create)).await
    }

    async fn length(&self, segment: u64) -> io::Result<u64> {
        self.run(move |directory| {
            let file = directory.file(segment, false)?;
            let length = locked(&file).metadata()?.len();
            Ok(length)
        })
        .await
    }

    async fn append(&self, segment: u64, bytes: Vec<u8>) -> io::Result<()> {
        self.run(move |directory| {
            let file = directory.file(segment, true)?;
            let mut file = locked(&file);
            file.seek(SeekFrom::End(0))?;
            file.write_all(&bytes)
        })
        .await
    }

    async fn read(&self, segment: u64, at: u64, length: usize) -> io::Result<Vec<u8>> {
        self.run(move |directory| {
            let file = directory.file(segment, false)?;
            let mut file = locked(&file);
            file.seek(SeekFrom::Start(at))?;
            let mut bytes = vec![0; length];
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        })
        .await
    }

    async fn sync(&self, segment: u64) -> io::Result<()> {
        self.run(move |directory| {
            let file = directory.file(segment, false)?;
            let copy = locked(&file).try_clone()?;
            copy.sync_all()?;
            sync_names(&directory.path)
        })
        .await
    }

    async fn truncate(&self, segment: u64, length: u64) -> io::Result<()> {
        self.run(move |directory| {
            let file = directory.file(segment, false)?;
            let file = locked(&file);
            file.set_len(length)?;
            file.sync_all()
        })
        .await
    }

    async fn remove(&self, segment: u64) -> io::Result<()> {
        self.run(move |directory| {
            locked(&directory.open).remove(&segment);
            match std::fs::remove_file(directory.path_of(segment)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }

    fn place(&self, segment: Option<u64>) -> String {
        segment.map_or_else(|| self.0.path.clone(), |segment| self.0.path_of(segment)).display().to_string()
    }
}
