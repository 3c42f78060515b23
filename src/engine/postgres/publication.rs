//! The publication of a capture: which tables the log tells of, by name, with the columns and rows
//! that the plan takes. Its comment says whose it is and what it was made for; one without that
//! comment is never touched, and one that was altered since is not read from.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::connect::{Link, Role};
use super::followed::{self, Present};
use super::quote::{identifier, literal, name};
use super::wire::{Fault, Wire};
use crate::change::{Followed, Identity};
use crate::engine::crash::crash_point;
use crate::engine::{CHANGED, Cause, EngineError};

const DOING: &str = "make the publication";
const READ: &str = "read the changes of";

/// The name of slot and publication: the server takes `[a-z0-9_]{1,63}`, and a slot's name is one
/// for all databases of a cluster.
pub fn object_name(plan: &str, database_oid: &str) -> String {
    let hash = Sha256::digest(format!("towpath capture\0{plan}\0{database_oid}"));
    let hash: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let readable: String = plan.chars().map(letter).take(32).collect();
    format!("towpath_{readable}_{hash}")
}

pub const NO_FILTER: &str = "a publication has no filter before PostgreSQL 15";

/// What the comment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub system: String,
    pub timeline: String,
    /// Hash of what the publication holds, and of the partition trees it touches.
    pub content: String,
}

impl Mark {
    fn text(&self, plan: &str) -> String {
        let Self { system, timeline, content } = self;
        format!("{}system {system} timeline {timeline} content {content}", prefix(plan))
    }

    fn parse(comment: &str, plan: &str) -> Option<Self> {
        let words: Vec<&str> = comment.strip_prefix(&prefix(plan))?.split(' ').collect();
        match words.as_slice() {
            ["system", system, "timeline", timeline, "content", content] => Some(Self {
                system: system.to_string(),
                timeline: timeline.to_string(),
                content: content.to_string(),
            }),
            _ => None,
        }
    }
}

/// How the comment of each begins.
pub const OURS: &str = "Towpath: capture of the plan ";

fn prefix(plan: &str) -> String {
    format!("{OURS}{plan}: ")
}

/// What goes by the name of the capture's publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// Ours, and what it holds now.
    Ours {
        mark: Mark,
        content: String,
    },
    Foreign,
}

/// Everything that decides what the publication tells, as one hash. Whole rows of the catalog, so
/// that no option of a later version is left out; the owner decides nothing.
fn content(version: u32) -> String {
    let schemas = match version >= 150_000 {
        true => {
            "(SELECT pg_catalog.string_agg(s.pnnspid::pg_catalog.text, ',' ORDER BY s.pnnspid) \
             FROM pg_catalog.pg_publication_namespace AS s WHERE s.pnpubid = p.oid)"
        }
        false => "''",
    };
    format!(
        "pg_catalog.md5(pg_catalog.concat_ws('|', pg_catalog.to_jsonb(p) - 'pubowner', {schemas}, \
         (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(':', pg_catalog.md5(pg_catalog.to_jsonb(r)::pg_catalog.text), \
           (SELECT pg_catalog.string_agg(t.relid::pg_catalog.oid::pg_catalog.text, ' ' ORDER BY t.relid::pg_catalog.oid) \
            FROM pg_catalog.pg_partition_tree(pg_catalog.pg_partition_root(r.prrelid)) AS t WHERE t.isleaf)), \
           ',' ORDER BY r.prrelid) FROM pg_catalog.pg_publication_rel AS r WHERE r.prpubid = p.oid)))"
    )
}

pub async fn find(wire: &mut Wire, plan: &str, object: &str, version: u32) -> Result<Found, EngineError> {
    let sql = format!(
        "SELECT pg_catalog.obj_description(p.oid, 'pg_publication'), {} FROM pg_catalog.pg_publication AS p \
         WHERE p.pubname = {}",
        content(version),
        literal(object)
    );
    let answers =
        wire.query(&sql).await.map_err(|fault| fault.doing("look at the publication").on(object))?;
    let Some(row) = answers.first().and_then(|answer| answer.rows.first()) else { return Ok(Found::Nothing) };
    let text = |column: usize| row.get(column).cloned().flatten().unwrap_or_default();
    Ok(match Mark::parse(&text(0), plan) {
        Some(mark) => Found::Ours { mark, content: text(1) },
        None => Found::Foreign,
    })
}

/// How often the catalog is asked for changes that the log does not tell: a partition that was
/// attached or detached, a table that was dropped, a publication that was altered, a column that a
/// list of columns hides.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks at what a stream cannot see.
pub struct Watch {
    pub link: Arc<Link>,
    pub plan: String,
    pub object: String,
    /// What the publication held when the stream began.
    pub content: String,
    pub tables: Vec<Followed>,
}

impl Watch {
    pub async fn look(&self) -> Result<(), EngineError> {
        let mut wire = self.link.wire(Role::Reader).await?;
        let seen = self.look_with(&mut wire).await;
        wire.terminate().await;
        seen
    }

    async fn look_with(&self, wire: &mut Wire) -> Result<(), EngineError> {
        let version = self.link.server.version;
        match find(wire, &self.plan, &self.object, version).await? {
            Found::Ours { content, .. } if content == self.content => {
                let present = followed::read(wire, &self.tables).await?;
                check_added(wire, &self.object, &self.tables, &present, version).await
            }
            _ => Err(EngineError::new(Cause::Stale, READ, ALTERED).on(&self.object).contract("C508").hint(
                "compare the source with the plan; then `towpath apply --recopy` copies the tables again",
            )),
        }
    }
}

/// What a publication that differs from its mark means.
pub const ALTERED: &str =
    "the publication was altered, or partitions of its tables were attached or detached";

/// Numbers of the tables that are published with a list of columns.
pub async fn listed(wire: &mut Wire, object: &str, version: u32) -> Result<HashSet<u32>, EngineError> {
    if version < 150_000 {
        return Ok(HashSet::new());
    }
    let sql = format!(
        "SELECT r.prrelid FROM pg_catalog.pg_publication AS p JOIN pg_catalog.pg_publication_rel AS r \
         ON r.prpubid = p.oid WHERE r.prattrs IS NOT NULL AND p.pubname = {}",
        literal(object)
    );
    let answers =
        wire.query(&sql).await.map_err(|fault| fault.doing("look at the publication").on(object))?;
    let rows = answers.iter().flat_map(|answer| &answer.rows);
    Ok(rows.filter_map(|row| row.first()?.as_deref()?.parse().ok()).collect())
}

/// Columns added to a table that is published with a list of columns: the log never shows them.
pub async fn check_added(
    asking: &mut Wire,
    object: &str,
    tables: &[Followed],
    present: &[Option<Present>],
    version: u32,
) -> Result<(), EngineError> {
    let listed = listed(asking, object, version).await?;
    for (followed, present) in tables.iter().zip(present) {
        let Some(present) = present.as_ref().filter(|present| listed.contains(&present.oid)) else {
            continue;
        };
        let known = |name: &String| {
            followed.skipped.contains(name)
                || followed.projection.columns.iter().any(|column| column.source == *name)
        };
        if let Some(added) = present.columns.iter().find(|column| !column.generated && !known(&column.name)) {
            let message = format!(
                "it has a column {} that the plan does not know",
                crate::catalog::name::show(&added.name)
            );
            return Err(EngineError::new(Cause::Stale, READ, message)
                .on(&followed.projection.source)
                .contract("C508")
                .hint(CHANGED));
        }
    }
    Ok(())
}

/// One of that name that we did not make.
pub fn foreign(kind: &str, object: &str, help: String) -> EngineError {
    EngineError::new(
        Cause::Locked,
        format!("use the {kind}"),
        format!("a {kind} of this name is there, and Towpath did not make it for this plan"),
    )
    .on(object)
    .hint(help)
}

pub async fn drop(wire: &mut Wire, object: &str) -> Result<(), EngineError> {
    let sql = format!("DROP PUBLICATION {}", identifier(object));
    wire.query(&sql).await.map(|_| ()).map_err(|fault| fault.doing("drop the publication").on(object))
}

/// The columns to publish: a list only where the plan leaves some behind and the server allows it.
/// With REPLICA IDENTITY FULL a list would break the application's own updates.
fn column_list(followed: &Followed, present: &Present, version: u32) -> Option<String> {
    let columns = &followed.projection.columns;
    let carried = |name: &str| columns.iter().any(|column| column.source == name);
    let plain = || present.columns.iter().filter(|column| !column.generated);
    let needs = version >= 150_000 && present.identity != 'f' && plain().any(|column| !carried(&column.name));
    let covers = present.columns.iter().all(|column| !column.key || carried(&column.name));
    (needs && covers && !columns.is_empty()).then(|| {
        let list: Vec<String> = columns.iter().map(|column| identifier(&column.source)).collect();
        format!(" ({})", list.join(", "))
    })
}

fn create_sql(object: &str, tables: &[(&Followed, &Present)], version: u32) -> String {
    let table = |(followed, present): &(&Followed, &Present)| {
        let filter = followed.projection.filter.as_deref();
        let filter = filter.map(|filter| format!(" WHERE ({filter})")).unwrap_or_default();
        let list = column_list(followed, present, version).unwrap_or_default();
        format!("ONLY {}{list}{filter}", name(&followed.projection.source))
    };
    let list: Vec<String> = tables.iter().map(table).collect();
    let list = if list.is_empty() { String::new() } else { format!(" FOR TABLE {}", list.join(", ")) };
    // A root is followed as one table: its partitions' rows come under its name.
    let via_root = tables.iter().any(|(_, present)| present.partitioned);
    format!("CREATE PUBLICATION {}{list} WITH (publish_via_partition_root = {via_root})", identifier(object))
}

/// Makes the publication with its comment, or nothing. A filter that uses more than the identity
/// would make the application's own updates fail: it is found before anybody sees the publication.
pub async fn create(
    wire: &mut Wire,
    plan: &str,
    object: &str,
    tables: &[(&Followed, &Present)],
    mark: Mark,
    version: u32,
) -> Result<(), EngineError> {
    let fail = |fault: Fault| refused(fault, object);
    if version < 150_000
        && let Some((followed, _)) = tables.iter().find(|(followed, _)| followed.projection.filter.is_some())
    {
        return Err(EngineError::new(Cause::Stale, "publish", NO_FILTER)
            .on(&followed.projection.source)
            .contract("C502")
            .hint("follow the whole table, or copy it without cdc"));
    }
    wire.query(&format!("BEGIN; {}", create_sql(object, tables, version))).await.map_err(fail)?;
    if version >= 150_000 {
        check_filters(wire, object, tables).await?;
    }
    let sql = format!(
        "SELECT {} FROM pg_catalog.pg_publication AS p WHERE p.pubname = {}",
        content(version),
        literal(object)
    );
    let answers = wire.query(&sql).await.map_err(fail)?;
    let content = answers.first().and_then(|answer| answer.cell(0)).unwrap_or_default().to_string();
    let comment = literal(&Mark { content, ..mark }.text(plan));
    let sql = format!("COMMENT ON PUBLICATION {} IS {comment}; COMMIT", identifier(object));
    wire.query(&sql).await.map_err(fail)?;
    crash_point("pub::created");
    Ok(())
}

async fn check_filters(
    wire: &mut Wire,
    object: &str,
    tables: &[(&Followed, &Present)],
) -> Result<(), EngineError> {
    let sql = format!(
        "SELECT DISTINCT r.prrelid, a.attname FROM pg_catalog.pg_publication AS p \
         JOIN pg_catalog.pg_publication_rel AS r ON r.prpubid = p.oid \
         CROSS JOIN LATERAL pg_catalog.regexp_matches(r.prqual::pg_catalog.text, ':varattno (\\d+)', 'g') AS used \
         JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.prrelid AND a.attnum = used[1]::pg_catalog.int2 \
         WHERE p.pubname = {} ORDER BY 1, 2",
        literal(object)
    );
    let answers = wire.query(&sql).await.map_err(|fault| refused(fault, object))?;
    for row in answers.iter().flat_map(|answer| &answer.rows) {
        let text = |column: usize| row.get(column).cloned().flatten().unwrap_or_default();
        let (oid, column) = (text(0), text(1));
        let Some((followed, present)) = tables.iter().find(|(_, present)| present.oid.to_string() == oid)
        else {
            continue;
        };
        let whole = present.identity == 'f';
        if !whole && !present.columns.iter().any(|found| found.key && found.name == column) {
            return Err(filter_outside(followed, &column));
        }
    }
    Ok(())
}

/// The error of a filter that cannot be decided for an old row.
pub fn filter_outside(followed: &Followed, column: &str) -> EngineError {
    let column = crate::catalog::name::show(column);
    let message = format!(
        "the filter uses the column {column}, which is no part of what identifies a row: with such a filter the \
         application's own updates and deletes would fail"
    );
    EngineError::new(Cause::Stale, "publish", message)
        .on(&followed.projection.source)
        .contract("E128")
        .hint("filter by columns of the replica identity only, follow the table without a filter, or copy it without cdc")
}

fn refused(fault: Fault, object: &str) -> EngineError {
    let made = fault.doing(DOING).on(object);
    match made.code.as_deref() {
        Some("42501") => made.contract("P802").hint(
            "the role needs CREATE on the database and has to own the published tables (or be a member of their owner)",
        ),
        Some("0A000" | "42P17" | "42809" | "42703" | "42883") => made
            .contract("E128")
            .hint("a filter in a publication may use plain columns, constants and built-in immutable functions only"),
        Some("42710") => foreign("publication", object, "drop or rename it, or rename the plan".to_string()),
        _ => made,
    }
}

/// The plan's way of telling rows apart needs nothing that the log does not tell.
pub fn identity_columns(followed: &Followed) -> Vec<&str> {
    match &followed.identity {
        Identity::Whole => Vec::new(),
        Identity::Columns(places) => {
            let columns = &followed.projection.columns;
            places
                .iter()
                .filter_map(|place| columns.get(*place))
                .map(|column| column.source.as_str())
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i_07_names_are_what_the_server_takes_and_one_for_each_plan() {
        for plan in ["shop", "", "Ünï \"x\"; DROP", &"long ".repeat(40), "a\nb"] {
            let name = object_name(plan, "5");
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(name.len() <= 55 && name.chars().all(plain), "{name}");
            assert_eq!(name, object_name(plan, "5"));
            assert_ne!(name, object_name(plan, "6"));
        }
        assert_ne!(object_name("a b", "5"), object_name("a_b", "5"));
    }

    #[test]
    fn f_20_a_comment_is_ours_for_its_own_plan_only() {
        let mark = Mark { system: "7".into(), timeline: "1".into(), content: "ab".into() };
        for plan in ["p", "p: system 1 timeline 2 content 3", "", "x\n'"] {
            assert_eq!(Mark::parse(&mark.text(plan), plan), Some(mark.clone()));
            assert_eq!(Mark::parse(&mark.text(plan), "other"), None);
        }
        assert_eq!(Mark::parse("", "p"), None);
    }
}
