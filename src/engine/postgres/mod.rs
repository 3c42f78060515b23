//! The postgres engine: the door.

mod ddl;
pub mod dialect;
mod keys;
mod probe;
mod quote;
mod text;
mod types;

use async_trait::async_trait;

use super::{Engine, EngineError, Limits, Source, Target, Url, UrlError};
use crate::catalog::Dialect;

/// The door.
pub struct Postgres;

#[async_trait]
impl Engine for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["postgres", "postgresql"]
    }

    fn dialect(&self) -> &'static dyn Dialect {
        unimplemented!()
    }

    fn check_url(&self, _url: &Url) -> Result<(), UrlError> {
        Ok(())
    }

    async fn source(&self, _url: &Url, _limits: &Limits) -> Result<Box<dyn Source>, EngineError> {
        unimplemented!()
    }

    async fn target(
        &self,
        _url: &Url,
        _limits: &Limits,
        _read_only: bool,
    ) -> Result<Box<dyn Target>, EngineError> {
        unimplemented!()
    }
}
