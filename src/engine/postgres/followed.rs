//! Followed tables as the catalog has them now: what a publication of them may say, and what the
//! log will say of their rows. Reads only.

use super::quote::literal;
use super::relation::{Expected, Modifier};
use super::wire::{Answer, Wire};
use crate::change::Followed;
use crate::engine::EngineError;

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    pub oid: u32,
    pub partitioned: bool,
    /// `pg_class.relpersistence`.
    pub persistence: char,
    /// `pg_class.relreplident`.
    pub identity: char,
    /// The role that owns it.
    pub owner: String,
    /// Whether this role is its owner, or a member of it.
    pub owned: bool,
    /// Row-level security acts on this role.
    pub hides: bool,
    pub columns: Vec<PresentColumn>,
    /// Partitions that hold rows, of a partitioned table.
    pub leaves: Vec<Leaf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentColumn {
    pub name: String,
    pub ty: u32,
    pub modifier: i32,
    /// The type as the server prints it.
    pub native: String,
    pub generated: bool,
    /// In the index that identifies rows.
    pub key: bool,
}

/// A partition at the end of its tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub oid: u32,
    pub name: String,
    pub persistence: char,
    pub identity: char,
    /// Columns of the index that identifies rows, in the order of their names, a line each.
    pub key: String,
}

const DOING: &str = "look at the followed tables";

/// The index that tells rows of table `c` apart in the log, as a condition on index `i`. One that
/// is checked at the end of a transaction does not count.
const IDENTIFIES: &str = "i.indrelid = c.oid AND i.indisvalid AND i.indimmediate AND \
     CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END";

/// The columns that [`IDENTIFIES`] finds, as a condition on column `a`.
fn in_key() -> String {
    format!(
        "EXISTS (SELECT 1 FROM pg_catalog.pg_index AS i WHERE {IDENTIFIES} AND a.attnum = ANY \
         ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]))"
    )
}

/// The tables of the list by their place in it; none for one that is not there.
pub async fn read(wire: &mut Wire, tables: &[Followed]) -> Result<Vec<Option<Present>>, EngineError> {
    let mut found = vec![None; tables.len()];
    if tables.is_empty() {
        return Ok(found);
    }
    let entry = |(at, followed): (usize, &Followed)| {
        let name = &followed.projection.source;
        format!("({at}, {}, {})", literal(&name.schema), literal(&name.name))
    };
    let wanted: Vec<String> = tables.iter().enumerate().map(entry).collect();
    let wanted = format!(
        "(VALUES {}) AS w(at, schema, name) JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema \
         JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name",
        wanted.join(", ")
    );
    let sql = format!(
        "SELECT w.at, c.oid, c.relkind, c.relpersistence, c.relreplident, pg_catalog.pg_get_userbyid(c.relowner), \
         pg_catalog.pg_has_role(c.relowner, 'USAGE'), c.relrowsecurity AND pg_catalog.row_security_active(c.oid) \
         FROM {wanted} WHERE c.relkind IN ('r', 'p'); \
         SELECT w.at, a.attname, a.atttypid, a.atttypmod, pg_catalog.format_type(a.atttypid, a.atttypmod), \
         a.attgenerated <> '', {key} FROM {wanted} JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid \
         WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY w.at, a.attnum; \
         SELECT r.at, c.oid, c.oid::pg_catalog.regclass::pg_catalog.text, c.relpersistence, c.relreplident, \
         (SELECT pg_catalog.string_agg(a.attname, E'\\n' ORDER BY a.attname) FROM pg_catalog.pg_attribute AS a \
           WHERE a.attrelid = c.oid AND {key}) \
         FROM (SELECT w.at, t.relid FROM {wanted} CROSS JOIN LATERAL pg_catalog.pg_partition_tree(c.oid) AS t \
           WHERE c.relkind = 'p' AND t.isleaf) AS r JOIN pg_catalog.pg_class AS c ON c.oid = r.relid ORDER BY 1, 2",
        key = in_key()
    );
    let answers = wire.query(&sql).await.map_err(|fault| fault.doing(DOING))?;
    if let [relations, columns, leaves] = answers.as_slice() {
        relations.rows.iter().for_each(|row| table(&mut found, &Row(row)));
        columns.rows.iter().for_each(|row| column(&mut found, &Row(row)));
        leaves.rows.iter().for_each(|row| leaf(&mut found, &Row(row)));
    }
    Ok(found)
}

/// Cells of one row.
struct Row<'a>(&'a [Option<String>]);

impl Row<'_> {
    fn text(&self, at: usize) -> &str {
        self.0.get(at).and_then(|cell| cell.as_deref()).unwrap_or("")
    }

    fn number<T: std::str::FromStr + Default>(&self, at: usize) -> T {
        self.text(at).parse().unwrap_or_default()
    }

    fn letter(&self, at: usize) -> char {
        self.text(at).chars().next().unwrap_or(' ')
    }

    fn truth(&self, at: usize) -> bool {
        self.text(at) == "t"
    }
}

fn table(found: &mut [Option<Present>], row: &Row<'_>) {
    let Some(place) = found.get_mut(row.number::<usize>(0)) else { return };
    *place = Some(Present {
        oid: row.number(1),
        partitioned: row.letter(2) == 'p',
        persistence: row.letter(3),
        identity: row.letter(4),
        owner: row.text(5).to_string(),
        owned: row.truth(6),
        hides: row.truth(7),
        columns: Vec::new(),
        leaves: Vec::new(),
    });
}

fn column(found: &mut [Option<Present>], row: &Row<'_>) {
    let Some(Some(present)) = found.get_mut(row.number::<usize>(0)) else { return };
    present.columns.push(PresentColumn {
        name: row.text(1).to_string(),
        ty: row.number(2),
        modifier: row.number(3),
        native: row.text(4).to_string(),
        generated: row.truth(5),
        key: row.truth(6),
    });
}

fn leaf(found: &mut [Option<Present>], row: &Row<'_>) {
    let Some(Some(present)) = found.get_mut(row.number::<usize>(0)) else { return };
    present.leaves.push(Leaf {
        oid: row.number(1),
        name: row.text(2).to_string(),
        persistence: row.letter(3),
        identity: row.letter(4),
        key: row.text(5).to_string(),
    });
}

/// The types that the plan takes the columns for, in this server's numbers. A column that has
/// another type by now is looked up by the name of the one that the plan knew.
pub async fn expected(
    wire: &mut Wire,
    tables: &[Followed],
    present: &[Option<Present>],
) -> Result<Vec<Vec<Expected>>, EngineError> {
    let column_now = |table: &Option<Present>, name: &str| {
        table.iter().flat_map(|table| &table.columns).find(|column| column.name == name).cloned()
    };
    let mut others: Vec<String> = Vec::new();
    for (followed, present) in tables.iter().zip(present) {
        for column in &followed.projection.columns {
            if column_now(present, &column.source).is_none_or(|now| now.native != column.source_native) {
                others.push(column.source_native.clone());
            }
        }
    }
    let mut numbers = numbers(wire, &others).await?.into_iter();
    let of = |(followed, present): (&Followed, &Option<Present>)| {
        let columns = followed.projection.columns.iter().map(|column| {
            let now = column_now(present, &column.source);
            match now {
                Some(now) if now.native == column.source_native => {
                    Expected { ty: Some(now.ty), modifier: Modifier::Is(now.modifier) }
                }
                now => {
                    let ty = numbers.next().flatten();
                    let same = now.filter(|now| Some(now.ty) == ty);
                    Expected { ty, modifier: same.map_or(Modifier::Any, |now| Modifier::IsNot(now.modifier)) }
                }
            }
        });
        columns.collect()
    };
    Ok(tables.iter().zip(present).map(of).collect())
}

/// Numbers of types by their names.
async fn numbers(wire: &mut Wire, natives: &[String]) -> Result<Vec<Option<u32>>, EngineError> {
    if natives.is_empty() {
        return Ok(Vec::new());
    }
    let entry = |(at, native): (usize, &String)| format!("({at}, {})", literal(native));
    let list: Vec<String> = natives.iter().enumerate().map(entry).collect();
    let sql = format!(
        "SELECT pg_catalog.to_regtype(w.native)::pg_catalog.oid FROM (VALUES {}) AS w(at, native) ORDER BY w.at",
        list.join(", ")
    );
    let answers = wire.query(&sql).await.map_err(|fault| fault.doing(DOING))?;
    let answer = answers.into_iter().next().unwrap_or_else(Answer::default);
    Ok(answer.rows.iter().map(|row| row.first()?.as_deref()?.parse().ok()).collect())
}
