//! What is about to be made. A server commits before and after each statement that changes
//! structure, so that none is in one transaction with its mark: between the two a run may be killed.
//! Before such a statement runs, a row says what it makes; the row goes in the transaction of the
//! mark. What a row is left of is hidden from the next plan, which then is the same plan as before,
//! and is taken for made where it is there. Nothing is ever dropped.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use sha2::{Digest, Sha256};

use super::error::from_driver;
use super::marks::State;
use super::quote::literal;
use crate::catalog::{Catalog, KeyKind};
use crate::engine::EngineError;

const DOING: &str = "note what is made in";

/// An object that a statement makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    /// `table`, `index`, `foreign`, `check`.
    kind: &'static str,
    table: String,
    /// Empty for a table.
    name: String,
    statement: String,
}

/// Takes a name in backticks; what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('`')?;
    let mut name = String::new();
    let mut rest = inside;
    loop {
        let end = rest.find('`')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('`') {
            Some(more) => {
                name.push('`');
                rest = more;
            }
            None => return Some((name, rest)),
        }
    }
}

/// Takes `database`.`table`.
fn table(text: &str) -> Option<(String, &str)> {
    let (_, rest) = name(text)?;
    name(rest.strip_prefix('.')?)
}

impl Intent {
    /// What a statement makes, in the words that `ddl` writes; none where it makes nothing.
    pub fn of(statement: &str) -> Option<Self> {
        let digest: String =
            Sha256::digest(statement.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let made = |kind, table, name| Some(Self { kind, table, name, statement: digest.clone() });
        if let Some(rest) = statement.strip_prefix("CREATE TABLE ") {
            let (table, _) = table(rest)?;
            return made("table", table, String::new());
        }
        // It is a table, too.
        if let Some(rest) = statement.strip_prefix("CREATE SEQUENCE ") {
            let (table, _) = table(rest)?;
            return made("table", table, String::new());
        }
        if let Some(rest) = statement.strip_prefix("ALTER TABLE ") {
            let (table, rest) = table(rest)?;
            let rest = rest.strip_prefix(" ADD ")?;
            if rest.starts_with("PRIMARY KEY") {
                return made("index", table, "PRIMARY".into());
            }
            if let Some(rest) = rest.strip_prefix("UNIQUE KEY ") {
                return made("index", table, name(rest)?.0);
            }
            let (constraint, rest) = name(rest.strip_prefix("CONSTRAINT ")?)?;
            let kind = if rest.starts_with(" FOREIGN KEY") { "foreign" } else { "check" };
            return made(kind, table, constraint);
        }
        let (kind, rest) = statement.strip_prefix("CREATE ")?.split_once("INDEX ")?;
        if !["", "UNIQUE ", "FULLTEXT ", "SPATIAL "].contains(&kind) {
            return None;
        }
        let (index, rest) = name(rest)?;
        let (table, _) = table(rest.strip_prefix(" ON ")?)?;
        made("index", table, index)
    }

    /// Notes it in the open transaction. True where it was noted before, for this very statement.
    pub async fn note(&self, conn: &mut Conn, state: &State, plan: &str) -> Result<bool, EngineError> {
        let fail = |error| from_driver(DOING, error);
        let place = state.table("towpath_intent");
        let sql = format!(
            "SELECT `statement` FROM {place} WHERE `plan` = ? AND `kind` = ? AND `table_name` = ? AND `name` = ?"
        );
        let noted: Option<String> =
            conn.exec_first(sql, (plan, self.kind, &self.table, &self.name)).await.map_err(fail)?;
        if noted.as_ref() == Some(&self.statement) {
            return Ok(true);
        }
        let sql = format!(
            "REPLACE INTO {place} (`plan`, `kind`, `table_name`, `name`, `statement`) VALUES (?, ?, ?, ?, ?)"
        );
        let values = (plan, self.kind, &self.table, &self.name, &self.statement);
        conn.exec_drop(sql, values).await.map_err(fail)?;
        Ok(false)
    }

    /// Takes the note away, in the transaction of the mark.
    pub async fn done(&self, conn: &mut Conn, state: &State, plan: &str) -> Result<(), EngineError> {
        let sql = format!(
            "DELETE FROM {} WHERE `plan` = ? AND `kind` = ? AND `table_name` = ? AND `name` = ?",
            state.table("towpath_intent")
        );
        let values = (plan, self.kind, &self.table, &self.name);
        conn.exec_drop(sql, values).await.map_err(|error| from_driver(DOING, error))
    }

    /// Whether the object is there.
    pub async fn is_there(&self, conn: &mut Conn, database: &str) -> Result<bool, EngineError> {
        let (place, table, name) = (literal(database), literal(&self.table), literal(&self.name));
        let (from, what) = match self.kind {
            "table" => ("TABLES WHERE TABLE_SCHEMA", "TABLE_TYPE <> 'VIEW'".to_string()),
            "index" => ("STATISTICS WHERE TABLE_SCHEMA", format!("INDEX_NAME = {name}")),
            _ => ("TABLE_CONSTRAINTS WHERE TABLE_SCHEMA", format!("CONSTRAINT_NAME = {name}")),
        };
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM information_schema.{from} = {place} AND TABLE_NAME = {table} AND {what})"
        );
        let found: Option<u8> = conn.query_first(sql).await.map_err(|error| from_driver(DOING, error))?;
        Ok(found == Some(1))
    }
}

/// Takes what is noted out of a catalog: a plan that is made now is the one that was interrupted.
pub(super) async fn hide(conn: &mut Conn, state: &State, catalog: &mut Catalog) -> Result<(), EngineError> {
    if !state.is_there(conn).await? {
        return Ok(());
    }
    let sql = format!("SELECT `kind`, `table_name`, `name` FROM {}", state.table("towpath_intent"));
    let noted: Vec<(String, String, String)> =
        conn.query(sql).await.map_err(|error| from_driver(DOING, error))?;
    for (kind, table, name) in noted {
        if kind == "table" {
            catalog.tables.retain(|other| other.name.name != table);
            catalog.sequences.retain(|sequence| match &sequence.owner {
                Some(owner) => owner.table.name != table,
                None => sequence.name.name != table,
            });
            continue;
        }
        for other in catalog.tables.iter_mut().filter(|other| other.name.name == table) {
            match kind.as_str() {
                "index" => {
                    other.indexes.retain(|index| index.name != name);
                    let primary = name == "PRIMARY";
                    other.keys.retain(|key| match key.kind {
                        KeyKind::Primary => !primary,
                        _ => key.name != name,
                    });
                }
                "foreign" => other.foreign_keys.retain(|key| key.name != name),
                _ => other.checks.retain(|check| check.name != name),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_12_what_a_statement_makes_is_read_from_it() {
        let read = |text: &str| Intent::of(text).map(|made| (made.kind, made.table, made.name));
        let some = |kind, name: &str| Some((kind, "t`x".to_string(), name.to_string()));
        assert_eq!(read("CREATE TABLE `d`.`t``x` (\n `a` int)"), some("table", ""));
        assert_eq!(read("CREATE SEQUENCE `d`.`t``x` START WITH 1"), some("table", ""));
        assert_eq!(read("ALTER TABLE `d`.`t``x` ADD PRIMARY KEY (`a`)"), some("index", "PRIMARY"));
        assert_eq!(read("ALTER TABLE `d`.`t``x` ADD UNIQUE KEY `u` (`a`)"), some("index", "u"));
        assert_eq!(read("CREATE UNIQUE INDEX `i` ON `d`.`t``x` (`a`)"), some("index", "i"));
        assert_eq!(
            read("ALTER TABLE `d`.`t``x` ADD CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES"),
            some("foreign", "f")
        );
        assert_eq!(read("ALTER TABLE `d`.`t``x` ADD CONSTRAINT `c` CHECK (`a` > 0)"), some("check", "c"));
        assert_eq!(read("ANALYZE TABLE `d`.`t`"), None);
        assert_eq!(read("ALTER TABLE `d`.`t` AUTO_INCREMENT = 5"), None);
    }
}
