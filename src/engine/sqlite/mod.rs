//! SQLite: the door to a file's two ends. SQLite runs in this process; every connection has a
//! thread of its own. The source file is opened read-only and never made.

mod apply;
mod capture;
mod connect;
mod ddl;
mod decode;
mod demo;
mod dialect;
mod error;
mod estimate;
mod exact;
mod fence;
mod filter;
mod inspect;
mod ledger;
mod load;
mod lock;
mod look;
mod marks;
mod obstacles;
mod park;
mod parse;
mod probe;
mod read;
mod road;
mod snapshot;
mod source;
mod stream;
mod summary;
mod target;
#[cfg(test)]
mod tests;
mod triggers;
mod types;
mod unique;
mod value;

use async_trait::async_trait;

pub use demo::{Application, Wrote, create_from_sql};

use super::{Engine, EngineError, Limits, Source, Target, Url, UrlError};
use crate::catalog::Dialect;

/// The one schema of a file: SQLite's name for the database that was opened.
const SCHEMA: &str = "main";

/// The door.
pub struct Sqlite;

#[async_trait]
impl Engine for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["sqlite"]
    }

    fn is_file(&self) -> bool {
        true
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &dialect::DIALECT
    }

    fn check_url(&self, url: &Url) -> Result<(), UrlError> {
        connect::check_path(&url.path)
    }

    async fn source(&self, url: &Url, limits: &Limits) -> Result<Box<dyn Source>, EngineError> {
        let file = connect::File::find(url, "open")?;
        Ok(Box::new(source::Readable::open(file, limits)?))
    }

    async fn target(
        &self,
        url: &Url,
        limits: &Limits,
        read_only: bool,
    ) -> Result<Box<dyn Target>, EngineError> {
        let file = connect::File::find(url, "open")?;
        Ok(Box::new(target::Writable::open(file, limits, read_only)?))
    }
}
