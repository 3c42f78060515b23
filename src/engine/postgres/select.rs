//! What to read of a table, as SQL: the columns of a projection on its source side or on its
//! target side, a range of blocks, the filter. Pure; every name is quoted by the dialect.

use super::quote::{identifier, literal, name};
use super::snapshot::Fact;
use crate::catalog::{ColumnMap, Form, Name, Projection, Type};
use crate::engine::{Cause, Chunk, EngineError};

/// Which end of a projection a snapshot looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

impl Side {
    pub fn table(self, projection: &Projection) -> &Name {
        match self {
            Self::Source => &projection.source,
            Self::Target => &projection.target,
        }
    }

    /// The type that a cell of this column has on this side, once it is read.
    pub fn cell_type(self, column: &ColumnMap) -> &Type {
        match self {
            Self::Source if zone_shift(column).is_none() => &column.source_type,
            _ => &column.target_type,
        }
    }

    /// The column as an expression. Casts are the source's to make, between equal engines; a
    /// shift of zone it makes for any target, since not every engine knows time zones.
    fn expression(self, column: &ColumnMap, form: Form) -> String {
        if self == Self::Target {
            return identifier(&column.target);
        }
        let column_name = identifier(&column.source);
        let Some(cast) = &column.cast else { return column_name };
        match (zone_shift(column), form) {
            (Some(zone), Form::Rows) => format!("({column_name} AT TIME ZONE {})", zone_literal(zone)),
            (Some(zone), _) => {
                format!("({column_name} AT TIME ZONE {})::{}", zone_literal(zone), cast.native)
            }
            (None, Form::Rows) => column_name,
            (None, _) => format!("{column_name}::{}", cast.native),
        }
    }

    /// The filter belongs to the source: what is on the target has passed it.
    fn filter(self, projection: &Projection) -> Option<&str> {
        projection.filter.as_deref().filter(|_| self == Self::Source)
    }
}

/// The zone that a column is shifted by while it is read.
pub fn zone_shift(column: &ColumnMap) -> Option<&str> {
    let zone = column.cast.as_ref()?.zone.as_deref()?;
    match (&column.source_type, &column.target_type) {
        (Type::Timestamp { .. }, Type::TimestampTz { .. })
        | (Type::TimestampTz { .. }, Type::Timestamp { .. }) => Some(zone),
        _ => None,
    }
}

/// A zone as `AT TIME ZONE` takes it. A bare `+02:00` would be read as POSIX has it, with the
/// sign the other way round; as an interval it is east of Greenwich, as in a timestamp's text.
fn zone_literal(zone: &str) -> String {
    let offset =
        zone.strip_prefix(['+', '-']).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if !offset {
        return literal(zone);
    }
    // `+0230` would be an interval of 230 hours.
    let parts = match zone.len() == 5 && !zone.contains(':') {
        true => format!("{}:{}", &zone[..3], &zone[3..]),
        false => zone.to_string(),
    };
    let hours = if parts.contains(':') { parts } else { format!("{parts}:00") };
    format!("INTERVAL {}", literal(&hours))
}

/// A range of heap blocks of one version of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub from: u64,
    /// None: to the end, however far it has grown.
    pub to: Option<u64>,
    /// `OID.FILENODE.COLUMNS`: what the block numbers are worth anything for.
    pub file: String,
}

impl Blocks {
    pub fn text(&self) -> String {
        let to = self.to.map(|to| to.to_string()).unwrap_or_default();
        format!("blocks {}-{to} of {}", self.from, self.file)
    }

    fn parse(text: &str) -> Option<Self> {
        let (range, file) = text.strip_prefix("blocks ")?.split_once(" of ")?;
        let (from, to) = range.split_once('-')?;
        let to = if to.is_empty() { None } else { Some(to.parse().ok()?) };
        Some(Self { from: from.parse().ok()?, to, file: file.to_string() })
    }

    /// The range of a chunk; none for a whole table.
    pub fn of(chunk: &Chunk) -> Result<Option<Self>, EngineError> {
        if chunk.bounds == WHOLE {
            return Ok(None);
        }
        let unreadable = || {
            EngineError::new(
                Cause::Stale,
                "read",
                "the chunk's bounds were written by another version of Towpath",
            )
        };
        Self::parse(&chunk.bounds).map(Some).ok_or_else(unreadable)
    }

    fn condition(&self) -> String {
        let from = format!("ctid >= '({},0)'::pg_catalog.tid", self.from);
        match self.to {
            Some(to) => format!("{from} AND ctid < '({to},0)'::pg_catalog.tid"),
            None => from,
        }
    }
}

/// Bounds of a table that is one chunk.
pub const WHOLE: &str = "whole";

/// `FROM ONLY t WHERE ...`: rows of children are theirs, but a partition tree is read whole.
pub fn from_where(projection: &Projection, side: Side, partitioned: bool, blocks: Option<&Blocks>) -> String {
    let only = if partitioned { "" } else { "ONLY " };
    let mut sql = format!("FROM {only}{}", name(side.table(projection)));
    let conditions: Vec<String> = blocks
        .map(Blocks::condition)
        .into_iter()
        .chain(side.filter(projection).map(|filter| format!("({filter})")))
        .collect();
    if !conditions.is_empty() {
        sql.push_str(" WHERE ");
        sql.push_str(&conditions.join(" AND "));
    }
    sql
}

/// The columns in the projection's order.
pub fn columns(projection: &Projection, side: Side, form: Form) -> Vec<String> {
    projection.columns.iter().map(|column| side.expression(column, form)).collect()
}

/// The COPY that reads a chunk. That of a table itself takes no generated column.
pub fn copy_out(projection: &Projection, side: Side, fact: &Fact, blocks: Option<&Blocks>) -> String {
    let form = projection.form;
    let format = if form == Form::NativeFast { " (FORMAT binary)" } else { "" };
    let list = columns(projection, side, form);
    let plain = side == Side::Target || projection.columns.iter().all(|column| column.cast.is_none());
    let whole = !fact.partitioned && !fact.computes;
    if plain && whole && blocks.is_none() && side.filter(projection).is_none() {
        let table = name(side.table(projection));
        return format!("COPY {table}{} TO STDOUT{format}", in_parentheses(&list));
    }
    let rows = from_where(projection, side, fact.partitioned, blocks);
    format!("COPY (SELECT {} {rows}) TO STDOUT{format}", list.join(", "))
}

/// The COPY that takes the projection's columns, in its binary or its text form.
pub fn copy_in(projection: &Projection, binary: bool, frozen: bool) -> String {
    let list: Vec<String> = projection.columns.iter().map(|column| identifier(&column.target)).collect();
    let mut options = Vec::new();
    if binary {
        options.push("FORMAT binary");
    }
    if frozen {
        options.push("FREEZE");
    }
    let options = if options.is_empty() { String::new() } else { format!(" ({})", options.join(", ")) };
    format!("COPY {}{} FROM STDIN{options}", name(&projection.target), in_parentheses(&list))
}

/// A column list, which a table without columns must not have.
fn in_parentheses(list: &[String]) -> String {
    if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Cast;

    fn column(name: &str, cast: Option<Cast>) -> ColumnMap {
        ColumnMap {
            source: name.into(),
            target: format!("{name}_t"),
            source_type: Type::Text,
            source_native: "text".into(),
            target_type: Type::Text,
            target_native: "text".into(),
            not_null: false,
            zero_date: Default::default(),
            error_value_null: false,
            cast,
        }
    }

    fn projection(columns: Vec<ColumnMap>) -> Projection {
        Projection {
            source: Name::new("a\"b", "t"),
            target: Name::new("c", "u"),
            columns,
            filter: None,
            key: vec![],
            form: Form::NativeFast,
        }
    }

    #[test]
    fn i_01_names_are_quoted_and_whole_tables_copied_directly() {
        let plain = projection(vec![column("x y", None)]);
        assert_eq!(
            copy_out(&plain, Side::Source, &Fact::default(), None),
            r#"COPY "a""b".t ("x y") TO STDOUT (FORMAT binary)"#
        );
        let computes = Fact { computes: true, ..Fact::default() };
        assert_eq!(
            copy_out(&plain, Side::Source, &computes, None),
            r#"COPY (SELECT "x y" FROM ONLY "a""b".t) TO STDOUT (FORMAT binary)"#
        );
        assert_eq!(copy_in(&plain, true, true), r#"COPY c.u ("x y_t") FROM STDIN (FORMAT binary, FREEZE)"#);
    }

    #[test]
    fn s_17_a_filter_and_a_range_read_only_the_table_itself() {
        let mut some = projection(vec![column("a", Some(Cast { native: "bigint".into(), zone: None }))]);
        some.filter = Some("a > 1 OR b".into());
        some.form = Form::NativeText;
        let blocks = Blocks { from: 8, to: Some(16), file: "1.2.x".into() };
        assert_eq!(
            copy_out(&some, Side::Source, &Fact::default(), Some(&blocks)),
            r#"COPY (SELECT a::bigint FROM ONLY "a""b".t WHERE ctid >= '(8,0)'::pg_catalog.tid AND ctid < '(16,0)'::pg_catalog.tid AND (a > 1 OR b)) TO STDOUT"#
        );
        assert_eq!(copy_out(&some, Side::Target, &Fact::default(), None), "COPY c.u (a_t) TO STDOUT");
    }

    #[test]
    fn a_fixed_offset_is_east_of_greenwich() {
        for (zone, sql) in [
            ("Europe/Zurich", "'Europe/Zurich'"),
            ("+02:00", "INTERVAL '+02:00'"),
            ("-0930", "INTERVAL '-09:30'"),
            ("+2", "INTERVAL '+2:00'"),
        ] {
            assert_eq!(zone_literal(zone), sql);
        }
    }

    #[test]
    fn s_20_a_table_without_columns() {
        let none = projection(vec![]);
        assert_eq!(
            copy_out(&none, Side::Source, &Fact::default(), None),
            r#"COPY "a""b".t TO STDOUT (FORMAT binary)"#
        );
    }

    #[test]
    fn bounds_can_be_read_back() {
        for to in [None, Some(9)] {
            let blocks = Blocks { from: 3, to, file: "1.2.abc".into() };
            assert_eq!(Blocks::parse(&blocks.text()), Some(blocks));
        }
        assert_eq!(Blocks::parse("rows 1-2 of x"), None);
    }
}
