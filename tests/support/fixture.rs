//! The sample databases under `schemas/`, as text.

use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn path(engine: &str, name: &str) -> PathBuf {
    root().join("schemas").join(engine).join(name).with_extension("sql")
}

pub fn sql(engine: &str, name: &str) -> String {
    let path = path(engine, name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
