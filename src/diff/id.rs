//! Names of steps: stable, readable, the same whoever asks. What a target remembers is filed under
//! them, so a change here needs another `PLANNER`.

use crate::catalog::name::show;
use crate::catalog::{ForeignKey, IndexPart, Key, KeyKind, Name};

pub fn schema(name: &str) -> String {
    format!("schema/{}", show(name))
}

pub fn extension(name: &str) -> String {
    format!("extension/{}", show(name))
}

pub fn user_type(name: &Name) -> String {
    format!("type/{name}")
}

pub fn sequence(name: &Name) -> String {
    format!("sequence/{name}")
}

/// Brings a sequence beyond its source's value.
pub fn set(sequence: &Name) -> String {
    format!("{sequence}/set")
}

pub fn create(table: &Name) -> String {
    format!("{table}/create")
}

pub fn copy(table: &Name) -> String {
    format!("{table}/copy")
}

pub fn analyze(table: &Name) -> String {
    format!("{table}/analyze")
}

pub fn key(table: &Name, key: &Key) -> String {
    format!("{table}/key/{}", show(&key_label(key)))
}

/// The long half of a key that is added in two parts: its index.
pub fn build(table: &Name, key: &Key) -> String {
    format!("{table}/key/{}/build", show(&key_label(key)))
}

pub fn index(table: &Name, name: &str) -> String {
    format!("{table}/index/{}", show(name))
}

/// Hangs a partition's index on its root's.
pub fn attach(table: &Name, index: &str) -> String {
    format!("{table}/index/{}/attach", show(index))
}

pub fn check(table: &Name, name: &str) -> String {
    format!("{table}/check/{}", show(name))
}

pub fn foreign(table: &Name, key: &ForeignKey) -> String {
    format!("{table}/foreign/{}", show(&foreign_label(key)))
}

pub fn validate(table: &Name, key: &ForeignKey) -> String {
    format!("{table}/foreign/{}/validate", show(&foreign_label(key)))
}

/// Drops a foreign key that was there, for the time of the load. The id keeps the key's name on the
/// target, which nothing else knows until it is made again.
pub fn drop_foreign(table: &Name, key: &ForeignKey) -> String {
    format!("{}{}", drops_foreign(table, key), key.name)
}

/// How the ids begin that drop a foreign key over these columns to that parent.
pub fn drops_foreign(table: &Name, key: &ForeignKey) -> String {
    format!("{table}/drop/{}->{}/", show(&key.columns.join("-")), key.parent)
}

/// A key's name, or words for it where it has none.
pub fn key_label(key: &Key) -> String {
    if !key.name.is_empty() {
        return key.name.clone();
    }
    match key.kind {
        KeyKind::Primary => "primary".into(),
        _ => parts_label(&key.parts),
    }
}

pub fn foreign_label(key: &ForeignKey) -> String {
    if key.name.is_empty() {
        format!("{}-{}", key.columns.join("-"), key.parent.name)
    } else {
        key.name.clone()
    }
}

fn parts_label(parts: &[IndexPart]) -> String {
    let label =
        |part: &IndexPart| part.column.clone().or_else(|| part.expression.clone()).unwrap_or_default();
    parts.iter().map(label).collect::<Vec<_>>().join("-")
}

/// Makes the source keep its changes.
pub const OPEN: &str = "capture/open";
/// Changes up to where all rows belong together.
pub const CONSISTENT: &str = "stream/consistent";
/// Changes up to the source's head.
pub const SYNCED: &str = "stream/synced";
