//! The edges: one folder per database, equal file names in each. An engine answers questions; it
//! does not know why they are asked. Adding one is a folder and an entry in [`ENGINES`].

pub mod capture;
pub mod cascade;
pub mod crash;
pub mod error;
pub mod fence;
pub mod mysql;
pub mod postgres;
pub mod source;
pub mod sqlite;
pub mod stand;
pub mod target;
pub mod url;

use std::fs::File;
use std::path::PathBuf;

use async_trait::async_trait;

pub use capture::{CHANGED, Capture, CaptureSpec, ChangeStream, Obstacle, Standing};
pub use error::{Cause, EngineError};
pub use fence::Fence;
pub use source::{Batch, BatchStream, Chunk, Read, SequenceValue, Snapshot, Source, Summary};
pub use sqlite::{Application, Wrote, create_from_sql};
pub use target::{Applied, Build, Load, Loaded, Lock, LockHolder, Session, Target};
pub use url::{Url, UrlError};

use crate::catalog::{Dialect, Name};

/// All engines there are.
pub static ENGINES: &[&dyn Engine] = &[&postgres::Postgres, &mysql::Mysql, &sqlite::Sqlite];

/// A database product: the door to its two ends.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Name as in `Catalog::engine`.
    fn name(&self) -> &'static str;
    /// URL schemes it answers to.
    fn schemes(&self) -> &'static [&'static str];
    /// Its databases are files: a URL is a scheme and a literal path.
    fn is_file(&self) -> bool {
        false
    }
    /// The environment variable that a password may come from which the URL leaves out.
    fn password_variable(&self) -> Option<&'static str> {
        None
    }
    fn dialect(&self) -> &'static dyn Dialect;
    /// Checks everything about a URL that can be checked without connecting, and returns it in
    /// the engine's terms. Errors are `E3xx` of the contract's section 4.2 and never show a secret.
    fn check_url(&self, url: &Url) -> Result<(), UrlError>;
    /// Connects to read. Never writes, never creates the database.
    async fn source(&self, url: &Url, limits: &Limits) -> Result<Box<dyn Source>, EngineError>;
    /// Connects to write. `read_only`: for planning; creates nothing, not even an empty file.
    async fn target(
        &self,
        url: &Url,
        limits: &Limits,
        read_only: bool,
    ) -> Result<Box<dyn Target>, EngineError>;
}

/// The engine that answers to a URL's scheme.
pub fn engine(url: &Url) -> Result<&'static dyn Engine, UrlError> {
    let found = ENGINES.iter().find(|engine| engine.schemes().contains(&url.scheme()));
    found.copied().ok_or_else(|| UrlError::scheme(url.scheme()))
}

/// The engine of that name.
pub fn engine_named(name: &str) -> Option<&'static dyn Engine> {
    ENGINES.iter().find(|engine| engine.name() == name).copied()
}

/// What a role is to do at one end.
#[derive(Clone, Copy, Debug)]
pub struct Duties<'a> {
    /// None: the role of the session.
    pub role: Option<&'a str>,
    /// Plan, apply and verify.
    pub load: bool,
    /// Keep and apply changes.
    pub follow: bool,
    /// Hand over.
    pub cutover: bool,
    /// Keep the writers out while that is done.
    pub fence: bool,
    /// Source: what is read. Target: what is written and there already.
    pub tables: &'a [Name],
    pub sequences: &'a [Name],
    /// Target: schemas that are there and get new objects.
    pub schemas: &'a [String],
}

/// Everything an engine may grow to.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sessions that read rows at once.
    pub readers: usize,
    /// Sessions that write at once, index builds included.
    pub writers: usize,
    /// Bytes of one batch on its way; four are alive per reader at most, so 1 MiB keeps eight
    /// readers under the 64 MiB that a copy may use.
    pub batch_bytes: usize,
    /// Seconds until a connection attempt fails.
    pub connect_seconds: u64,
    /// Seconds a statement waits for a lock before it is tried again.
    pub lock_seconds: u64,
    /// Seconds one probe may run at the `standard` level.
    pub probe_seconds: u64,
    /// What a stream of changes may put on this machine's disk.
    pub scratch: Scratch,
}

/// Files for what a source tells before it is known whether it counts.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Made where it is not there.
    pub dir: PathBuf,
    /// In all files of one stream. Zero: none is made.
    pub bytes: u64,
}

impl Scratch {
    /// A file without a name: it goes with this process, however that ends.
    pub(crate) fn file(&self) -> std::io::Result<File> {
        std::fs::create_dir_all(&self.dir)?;
        tempfile::tempfile_in(&self.dir)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            readers: 4,
            writers: 8,
            batch_bytes: 1 << 18,
            connect_seconds: 10,
            lock_seconds: 10,
            probe_seconds: 10,
            scratch: Scratch::default(),
        }
    }
}
