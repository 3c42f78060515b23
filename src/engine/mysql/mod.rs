//! MySQL and MariaDB as a source: the door and the reading end. One engine for both; where the two
//! differ, the server says which it is: changes are followed of MariaDB alone. Nothing is written to
//! a server but the triggers of a fence, and it cannot be a target yet.

mod capture;
mod charset;
mod chunks;
mod connect;
mod decode;
mod dialect;
mod error;
mod events;
mod facts;
mod fence;
mod followed;
mod grants;
mod image;
mod inflate;
mod inspect;
mod moment;
mod obstacle;
mod place;
mod probe;
mod quote;
mod read;
mod relation;
mod replication;
mod select;
mod snapshot;
mod source;
mod statement;
mod summary;
mod text;
mod tls;
mod types;
mod view;

use async_trait::async_trait;

use super::{Cause, Engine, EngineError, Limits, Source, Target, Url, UrlError};
use crate::catalog::Dialect;

/// The door.
pub struct Mysql;

#[async_trait]
impl Engine for Mysql {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["mysql", "mariadb"]
    }

    fn password_variable(&self) -> Option<&'static str> {
        Some(connect::PASSWORD_VARIABLE)
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &dialect::DIALECT
    }

    fn check_url(&self, url: &Url) -> Result<(), UrlError> {
        connect::check_url(url)
    }

    async fn source(&self, url: &Url, limits: &Limits) -> Result<Box<dyn Source>, EngineError> {
        Ok(Box::new(source::Readable::open(url, limits).await?))
    }

    async fn target(
        &self,
        url: &Url,
        _limits: &Limits,
        _read_only: bool,
    ) -> Result<Box<dyn Target>, EngineError> {
        let message = "MySQL and MariaDB can be read from, not written to, in this version";
        Err(EngineError::new(Cause::NotFound, "use as a target", message)
            .on(url)
            .contract("E132")
            .hint("a target is a postgres:// URL or sqlite:PATH"))
    }
}
