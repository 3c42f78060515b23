//! The statements that apply changes to one table, and what they are made of. A row is found by an
//! index, and then by its bytes: what a collation takes for equal is not the same row. Reads the
//! table's structure once and writes nothing itself.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};

use super::apply::APPLY;
use super::connect::Flavor;
use super::encode::{Bad, Encoder, bytes_of};
use super::error::from_driver;
use super::quote::{identifier, literal, name};
use super::types::GEOMETRY;
use super::{facts, insert};
use crate::catalog::Projection;
use crate::catalog::name::show;
use crate::change::{Datum, Followed, Identity, RowChange, RowKind};
use crate::engine::{Cause, EngineError};

/// A followed table, as changes are written to it.
pub(super) struct Table {
    pub projection: Projection,
    encoder: Encoder,
    /// Places of the columns that tell a row from others.
    identity: Vec<usize>,
    /// Nothing but the whole row tells it from others, and others may be equal.
    whole: bool,
    /// In the projection's order.
    columns: Vec<Column>,
    /// Columns that an update would set to the present time, and their places in the projection.
    stamped: Vec<(String, Option<usize>)>,
    /// One statement finds one row at most.
    pub finds_one: bool,
}

/// A column: its name, the condition that a row has the given value in it, and how often the value
/// is given there.
struct Column {
    name: String,
    is: String,
    times: usize,
}

/// A change taken apart, into vectors that are used again.
#[derive(Default)]
pub(super) struct Taken<'a> {
    old: Vec<Datum<'a>>,
    new: Vec<Datum<'a>>,
    /// Places of the columns that are written.
    pub set: Vec<usize>,
    /// Places of the columns by which the row is found.
    pub by: Vec<usize>,
}

impl<'a> Taken<'a> {
    /// The value by which the row is found: the log tells the old one where it changed.
    fn before(&self, place: usize) -> Datum<'a> {
        match self.old.get(place) {
            None | Some(Datum::Absent) => self.new.get(place).copied().unwrap_or(Datum::Absent),
            Some(datum) => *datum,
        }
    }
}

/// A column's name, type, printed type, character set, collation, and what else there is to it.
type ColumnRow = (String, String, String, Option<String>, Option<String>, String);

impl Table {
    /// Looks the table up; one that is missing or has changed is `Cause::Stale`.
    pub async fn read(conn: &mut Conn, followed: &Followed, flavor: Flavor) -> Result<Self, EngineError> {
        let Followed { projection, identity, .. } = followed;
        let target = &projection.target;
        let fail = |error| from_driver(APPLY, error).on(target);
        let stale = |message: String| EngineError::new(Cause::Stale, APPLY, message).on(target);
        let encoder =
            Encoder::new(projection, flavor == Flavor::MySql).map_err(|bad| bad_cell(projection, &bad))?;
        let here =
            format!("TABLE_SCHEMA = {} AND TABLE_NAME = {}", literal(&target.schema), literal(&target.name));
        let sql = format!("SELECT COALESCE(ENGINE, '') FROM information_schema.TABLES WHERE {here}");
        let engine: Option<String> = conn.query_first(sql).await.map_err(fail)?;
        match engine {
            None => return Err(stale("the table is not on the target".into())),
            Some(engine) if !facts::keeps_still(Some(&engine)) => {
                let what = format!("its rows are kept by {}, which has no transactions", show(&engine));
                return Err(stale(what).hint("ALTER TABLE ... ENGINE = InnoDB"));
            }
            Some(_) => {}
        }
        let sql = format!(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, EXTRA \
             FROM information_schema.COLUMNS WHERE {here} ORDER BY ORDINAL_POSITION"
        );
        let there: Vec<ColumnRow> = conn.query(sql).await.map_err(fail)?;
        let whole = *identity == Identity::Whole;
        let identity = match identity {
            Identity::Columns(places) => places.clone(),
            Identity::Whole => (0..projection.columns.len()).collect(),
        };
        if identity.is_empty() {
            return Err(stale("a table without columns has no rows that could be told apart".into()));
        }
        let place = |column: &str| projection.columns.iter().position(|map| same(&map.target, column));
        let mut columns = Vec::with_capacity(projection.columns.len());
        for map in &projection.columns {
            let found = there.iter().find(|row| same(&row.0, &map.target));
            let row = found
                .ok_or_else(|| stale(format!("column {} is no longer there", identifier(&map.target))))?;
            columns.push(Column::of(row, whole));
        }
        let stamped = there.iter().filter(|row| row.5.to_ascii_lowercase().contains("on update"));
        let stamped = stamped.map(|row| (identifier(&row.0), place(&row.0))).collect();
        let sql = format!(
            "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART IS NOT NULL FROM information_schema.STATISTICS \
             WHERE {here} AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX"
        );
        let parts: Vec<(String, Option<String>, u8)> = conn.query(sql).await.map_err(fail)?;
        let tells = |(_, column, prefix): &(String, Option<String>, u8)| {
            let place = column.as_deref().and_then(place);
            *prefix == 0 && place.is_some_and(|place| identity.contains(&place))
        };
        let unique = parts.chunk_by(|a, b| a.0 == b.0).any(|parts| parts.iter().all(tells));
        let projection = projection.clone();
        Ok(Self { projection, encoder, identity, whole, columns, stamped, finds_one: whole || unique })
    }

    /// The right that this user lacks to write changes, if any.
    pub async fn missing_right(&self, conn: &mut Conn) -> Result<Option<&'static str>, EngineError> {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        for (kind, right) in
            [(RowKind::Insert, "INSERT"), (RowKind::Update, "SELECT, UPDATE"), (RowKind::Delete, "DELETE")]
        {
            match conn.prep(self.statement(kind, &all, &self.identity)).await {
                Ok(statement) => drop(conn.close(statement).await),
                Err(error) => {
                    let error = from_driver(APPLY, error).on(&self.projection.target);
                    return if error.cause == Cause::Privilege { Ok(Some(right)) } else { Err(error) };
                }
            }
        }
        Ok(None)
    }

    pub fn identity(&self) -> &[usize] {
        &self.identity
    }

    /// Takes a change apart: its cells, what is written, and by what the row is found.
    pub fn take<'a>(&self, change: &RowChange<'a>, taken: &mut Taken<'a>) -> Result<(), EngineError> {
        taken.old.clear();
        taken.old.extend(change.old);
        taken.new.clear();
        taken.new.extend(change.new);
        taken.set.clear();
        taken.by.clear();
        let width = self.columns.len();
        let has_row = |row: &[Datum<'_>]| row.len() == width;
        let fits = match change.kind {
            RowKind::Insert => has_row(&taken.new),
            RowKind::Update => has_row(&taken.new) && (taken.old.is_empty() || has_row(&taken.old)),
            RowKind::Delete => has_row(&taken.old),
        };
        if !fits {
            let message = "a change has another number of columns than its table";
            return Err(EngineError::new(Cause::Other, APPLY, message).on(&self.projection.target));
        }
        match change.kind {
            RowKind::Insert => taken.set.extend(0..width),
            RowKind::Update => {
                for place in 0..width {
                    let new = taken.new[place];
                    let stays = self.identity.contains(&place) && taken.before(place) == new;
                    if new != Datum::Absent && (self.whole || !stays) {
                        taken.set.push(place);
                    }
                }
            }
            RowKind::Delete => {}
        }
        match change.kind {
            RowKind::Insert => {}
            _ if self.whole => {
                taken.by.extend((0..width).filter(|place| taken.old.get(*place) != Some(&Datum::Absent)))
            }
            _ => taken.by.extend_from_slice(&self.identity),
        }
        Ok(())
    }

    /// The parameters of a change, and the bytes that they have.
    pub fn values(&self, taken: &Taken<'_>) -> Result<(Vec<Value>, usize), Bad> {
        let set = taken.set.iter().map(|place| (*place, taken.new[*place]));
        self.parameters(set, taken.by.iter().map(|place| (*place, taken.before(*place))))
    }

    /// Parameters: what is set, then what finds the row.
    pub fn parameters<'a>(
        &self,
        set: impl Iterator<Item = (usize, Datum<'a>)>,
        by: impl Iterator<Item = (usize, Datum<'a>)>,
    ) -> Result<(Vec<Value>, usize), Bad> {
        let mut values = Vec::with_capacity(2 * self.columns.len());
        for (place, datum) in set {
            values.push(self.encoder.cell(place, datum)?);
        }
        for (place, datum) in by {
            let value = self.encoder.cell(place, datum)?;
            for _ in 1..self.columns[place].times {
                values.push(value.clone());
            }
            values.push(value);
        }
        let bytes = values.iter().map(bytes_of).sum();
        Ok((values, bytes))
    }

    /// The statement of a change of this shape.
    pub fn statement(&self, kind: RowKind, set: &[usize], by: &[usize]) -> String {
        let table = name(&self.projection.target);
        match kind {
            RowKind::Insert => insert::statement(&self.projection, 1),
            RowKind::Update => format!("UPDATE {table} SET {} WHERE {}", self.assignments(set), self.row(by)),
            RowKind::Delete => format!("DELETE FROM {table} WHERE {}", self.row(by)),
        }
    }

    pub fn column(&self, place: usize) -> &str {
        &self.columns[place].name
    }

    /// A parameter, as it is compared with a column.
    pub fn given(&self, place: usize) -> &str {
        let Column { name, is, times } = &self.columns[place];
        let given = is.strip_prefix(name.as_str()).filter(|_| *times == 1);
        given.and_then(|rest| rest.trim_start().split_once(' ')).map_or("?", |(_, given)| given)
    }

    pub fn value(&self, place: usize, datum: Datum<'_>) -> Result<Value, EngineError> {
        self.encoder.cell(place, datum).map_err(|bad| self.bad(&bad))
    }

    pub fn assignments(&self, set: &[usize]) -> String {
        let given = set.iter().map(|place| format!("{} = ?", self.columns[*place].name));
        // What the log does not bring stays as it is, whatever the column would do by itself.
        let left = |place: &Option<usize>| place.is_none_or(|place| !set.contains(&place));
        let kept = self.stamped.iter().filter(|(_, place)| left(place));
        let kept = kept.map(|(column, _)| format!("{column} = {column}"));
        let all: Vec<String> = given.chain(kept).collect();
        match all.is_empty() {
            false => all.join(", "),
            // The row must be there all the same.
            true => format!("{0} = {0}", self.columns[self.identity[0]].name),
        }
    }

    /// Which row. Of equal rows, any one.
    fn row(&self, by: &[usize]) -> String {
        let terms: Vec<&str> = by.iter().map(|place| self.columns[*place].is.as_str()).collect();
        let terms = terms.join(" AND ");
        if self.whole { format!("{terms} LIMIT 1") } else { terms }
    }

    /// `the row with the key (5)`: by the values of the identity and no others.
    pub fn the_row(&self, taken: &Taken<'_>) -> String {
        if self.whole {
            return "the row (its table has no key)".to_string();
        }
        let values: Vec<String> =
            self.identity.iter().map(|place| crate::change::shown(taken.before(*place))).collect();
        format!("the row with the key ({})", values.join(", "))
    }

    pub fn bad(&self, bad: &Bad) -> EngineError {
        bad_cell(&self.projection, bad)
    }
}

fn bad_cell(projection: &Projection, bad: &Bad) -> EngineError {
    let column = projection.columns.get(bad.column).map_or("", |map| map.target.as_str());
    EngineError::new(Cause::Data, APPLY, bad.why)
        .on(format!("{}, column {}", projection.target, identifier(column)))
        .hint("map the column to a type that holds such values, and copy the table again")
}

/// Names of columns are the same in any case.
fn same(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

/// Whose equality is that of bytes, blanks at the end included.
const OF_BYTES: [&str; 2] = ["utf8mb4_nopad_bin", "utf8mb4_0900_bin"];

impl Column {
    /// `whole`: it may be null, and zeros differ by their sign.
    fn of((column, kind, printed, charset, collation, _): &ColumnRow, whole: bool) -> Self {
        let name = identifier(column);
        let equals = if whole { "<=>" } else { "=" };
        let kind = kind.to_ascii_lowercase();
        let (is, times) = match (kind.as_str(), charset, collation) {
            // An index holds texts by their collation; the value is what it was by its bytes.
            (_, Some(charset), Some(collation)) => {
                let given = format!("{name} {equals} CONVERT(? USING {charset}) COLLATE {collation}");
                match OF_BYTES.contains(&collation.as_str()) {
                    true => (given, 1),
                    false => (
                        format!(
                            "{given} AND CAST(CONVERT({name} USING utf8mb4) AS BINARY) {equals} CAST(? AS BINARY)"
                        ),
                        2,
                    ),
                }
            }
            // A number would be compared with a text as one in floating point.
            ("decimal", ..) => (format!("{name} {equals} CAST(? AS DECIMAL{})", digits(printed)), 1),
            ("bit", ..) => (format!("{name} {equals} CAST(CONV(HEX(?), 16, 10) AS UNSIGNED)"), 1),
            ("json", ..) => (format!("{name} {equals} CAST(? AS JSON)"), 1),
            ("float" | "double", ..) if whole => {
                let sign = format!("(CAST({name} AS CHAR) LIKE '-%') {equals} (CAST(? AS CHAR) LIKE '-%')");
                (format!("{name} {equals} ? AND {sign}"), 2)
            }
            (kind, ..) if GEOMETRY.contains(&kind) => {
                (format!("CAST({name} AS BINARY) {equals} CAST(? AS BINARY)"), 1)
            }
            _ => (format!("{name} {equals} ?"), 1),
        };
        Self { name, is, times }
    }
}

/// `(10,2)` of `decimal(10,2) unsigned`.
fn digits(printed: &str) -> &str {
    match (printed.find('('), printed.find(')')) {
        (Some(start), Some(end)) if start < end => &printed[start..=end],
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(
        kind: &str,
        printed: &str,
        charset: Option<&str>,
        collation: Option<&str>,
        whole: bool,
    ) -> (String, usize) {
        let text = |text: Option<&str>| text.map(str::to_string);
        let row = ("a`b".into(), kind.into(), printed.into(), text(charset), text(collation), String::new());
        let Column { is, times, .. } = Column::of(&row, whole);
        assert_eq!(is.matches('?').count(), times, "{is}");
        (is, times)
    }

    #[test]
    fn k_301_a_row_is_found_by_the_bytes_of_its_key() {
        let (is, _) = term("varchar", "varchar(9)", Some("latin1"), Some("latin1_swedish_ci"), false);
        assert_eq!(
            is,
            "`a``b` = CONVERT(? USING latin1) COLLATE latin1_swedish_ci \
             AND CAST(CONVERT(`a``b` USING utf8mb4) AS BINARY) = CAST(? AS BINARY)"
        );
        let (is, times) = term("varchar", "varchar(9)", Some("utf8mb4"), Some("utf8mb4_nopad_bin"), true);
        assert_eq!((is.contains("BINARY"), is.contains("<=>"), times), (false, true, 1), "{is}");
        let (is, _) = term("decimal", "decimal(65,30) unsigned", None, None, false);
        assert_eq!(is, "`a``b` = CAST(? AS DECIMAL(65,30))");
        assert_eq!(term("double", "double", None, None, true).1, 2);
        assert_eq!(term("bigint", "bigint(20)", None, None, false).0, "`a``b` = ?");
    }
}
