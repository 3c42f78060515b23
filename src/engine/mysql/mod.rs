//! MySQL and MariaDB: the door to a database's two ends. One engine for both; where the two differ,
//! the server says which it is. Nothing is written to a source but the triggers of a fence.

mod apply;
mod apply_sql;
mod begin;
mod capture;
mod cascade;
mod charset;
mod chunks;
mod connect;
mod ddl;
mod decode;
mod dialect;
mod encode;
mod error;
mod events;
mod facts;
mod fence;
mod followed;
mod grants;
mod gtids;
mod halve;
mod image;
mod inflate;
mod insert;
mod inspect;
mod intent;
mod json;
mod kind;
mod load;
mod lock;
mod marks;
mod moment;
mod obstacle;
mod payload;
mod place;
mod probe;
mod prober;
mod quote;
mod read;
mod rebuilt;
mod refuse;
mod relation;
mod rename;
mod replication;
mod row;
mod select;
mod sequence;
mod snapshot;
mod source;
mod statement;
mod summary;
mod target;
mod text;
mod tls;
mod types;
mod view;

use async_trait::async_trait;

use super::{Engine, EngineError, Limits, Source, Target, Url, UrlError};
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
        limits: &Limits,
        _read_only: bool,
    ) -> Result<Box<dyn Target>, EngineError> {
        Ok(Box::new(target::Writable::open(url, limits).await?))
    }
}
