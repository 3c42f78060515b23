//! What to read of a table, as SQL: the columns of a projection in forms that lose nothing, a
//! range of a key, the filter. Pure; names are quoted by `quote`.

use serde::{Deserialize, Serialize};

use super::decode::Decode;
use super::facts::{Column, Facts};
use super::quote::{identifier, literal, name};
use crate::catalog::{ColumnMap, Projection, Type};
use crate::engine::{Cause, Chunk, EngineError};

/// Bounds of a table that is one chunk.
pub(super) const WHOLE: &str = "whole";

/// A value of a key column, in a form that any session reads as the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bound {
    /// A whole number.
    Number(#[serde(with = "number")] i128),
    /// Bytes in the column's own character set, as hexadecimal digits.
    Hex(String),
    /// A date, moment, decimal or UUID, as the server prints it.
    Printed(String),
}

impl Bound {
    /// Nothing is in it that could end a literal.
    fn is_plain(&self) -> bool {
        let (text, marks) = match self {
            Self::Number(_) => return true,
            Self::Hex(text) => (text, ""),
            Self::Printed(text) => (text, "-:. "),
        };
        text.chars().all(|c| c.is_ascii_hexdigit() || marks.contains(c))
    }
}

/// JSON has no numbers of this size.
mod number {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &i128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i128, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A range of a key: from a place on, up to before another one. Order is the server's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub index: String,
    pub columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Bound>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Bound>,
}

impl Range {
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("broken invariant: a plain struct is JSON")
    }

    /// The range of a chunk; none for a whole table.
    pub fn of(chunk: &Chunk) -> Result<Option<Self>, EngineError> {
        if chunk.bounds == WHOLE {
            return Ok(None);
        }
        let unreadable = || {
            let why = "the chunk's bounds were written by another engine or another version of Towpath";
            EngineError::new(Cause::Stale, "read", why)
        };
        let range: Self = serde_json::from_str(&chunk.bounds).map_err(|_| unreadable())?;
        // They come back from the target, and go into statements for the source.
        match range.from.iter().chain(&range.to).all(Bound::is_plain) {
            true => Ok(Some(range)),
            false => Err(unreadable()),
        }
    }

    /// False where the key is another one now.
    pub fn fits(&self, facts: &Facts) -> bool {
        let same = |key: &super::facts::Key| key.index == self.index && key.columns == self.columns;
        let deep = self.from.len().max(self.to.len()) <= self.columns.len();
        deep && facts.key.as_ref().is_some_and(same)
    }

    /// What holds for its rows; true for all where both ends are open.
    pub fn condition(&self, facts: &Facts) -> String {
        let conditions = self.conditions(facts);
        if conditions.is_empty() { "1 = 1".to_string() } else { conditions.join(" AND ") }
    }

    fn conditions(&self, facts: &Facts) -> Vec<String> {
        let columns: Vec<Option<&Column>> = self.columns.iter().map(|name| facts.column(name)).collect();
        let mut conditions = Vec::new();
        if !self.from.is_empty() {
            conditions.push(beyond(&columns, &self.from, ">", ">="));
        }
        if !self.to.is_empty() {
            conditions.push(beyond(&columns, &self.to, "<", "<"));
        }
        conditions
    }
}

/// A comparison of the first columns with as many values, written so that the server still sees a
/// range of the key: it makes none of a comparison of rows.
fn beyond(columns: &[Option<&Column>], values: &[Bound], strict: &str, last: &str) -> String {
    let (Some(Some(column)), Some(value)) = (columns.first(), values.first()) else {
        return "1 = 0".to_string();
    };
    let (quoted, value) = (identifier(&column.name), bound(column, value));
    if values.len() == 1 {
        return format!("{quoted} {last} {value}");
    }
    let rest = beyond(&columns[1..], &values[1..], strict, last);
    format!("({quoted} {strict}= {value} AND ({quoted} {strict} {value} OR {rest}))")
}

/// A literal that compares as a value of the column itself.
pub(super) fn bound(column: &Column, value: &Bound) -> String {
    match (value, &column.charset, &column.collation) {
        (Bound::Number(number), ..) => number.to_string(),
        (Bound::Hex(hex), Some(charset), Some(collation)) => {
            format!("_{charset} X'{hex}' COLLATE {}", identifier(collation))
        }
        (Bound::Hex(hex), ..) => format!("X'{hex}'"),
        (Bound::Printed(text), ..) => match column.data_type.as_str() {
            "date" => format!("DATE{}", literal(text)),
            "datetime" | "timestamp" => format!("TIMESTAMP{}", literal(text)),
            "uuid" => format!("CAST({} AS UUID)", literal(text)),
            // A literal with a point is a decimal.
            _ => text.clone(),
        },
    }
}

/// `FROM` and `WHERE` of a projection's rows in one range.
pub(super) fn from_where(projection: &Projection, facts: &Facts, range: Option<&Range>) -> String {
    let mut sql = format!("FROM {}", name(&projection.source));
    let mut conditions = Vec::new();
    if let Some(range) = range {
        sql.push_str(&format!(" FORCE INDEX ({})", identifier(&range.index)));
        conditions.extend(range.conditions(facts));
    }
    if let Some(filter) = &projection.filter {
        conditions.push(format!("({filter})"));
    }
    if !conditions.is_empty() {
        sql.push_str(" WHERE ");
        sql.push_str(&conditions.join(" AND "));
    }
    sql
}

/// A SELECT, and how what it returns is to be read.
pub(super) struct Select {
    pub sql: String,
    /// The number of the same rows.
    pub count: String,
    pub decode: Vec<Decode>,
    /// Further columns of the answer, which prove that a value arrived as it was.
    pub proofs: Vec<Proof>,
}

/// A number that the server computes beside a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// Position of the column.
    pub column: usize,
    pub kind: ProofKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProofKind {
    /// So many question marks are stored: one more was put for what has no other spelling.
    QuestionMarks,
    /// The index of the label; 0 is none.
    Label,
}

/// Character sets that are written in UTF-8: they come as they are stored, so that nothing is
/// converted and what is no text is seen.
const AS_STORED: [&str; 3] = ["utf8mb3", "utf8", "ascii"];
/// Character sets of which every value has a place in UTF-8 (or becomes no UTF-8 at all).
const COVERED: [&str; 6] = ["utf8mb4", "latin1", "ucs2", "utf16", "utf16le", "utf32"];

impl Select {
    pub fn new(projection: &Projection, facts: &Facts, range: Option<&Range>) -> Result<Self, EngineError> {
        let (mut list, mut decode, mut proofs) = (Vec::new(), Vec::new(), Vec::new());
        for (index, map) in projection.columns.iter().enumerate() {
            let column = facts.column(&map.source).ok_or_else(|| no_column(projection, &map.source))?;
            list.push(expression(map, column));
            let bytes = column.charset.is_none() && is_binary(column);
            decode.push(Decode::of(cell_type(map), bytes, map));
            proofs.extend(proof(map, column).map(|kind| Proof { column: index, kind }));
        }
        for proof in &proofs {
            let column = identifier(&projection.columns[proof.column].source);
            list.push(match proof.kind {
                ProofKind::QuestionMarks => {
                    let stored = format!("CONVERT({column} USING binary)");
                    format!("LENGTH({stored}) - LENGTH(REPLACE({stored}, '?', ''))")
                }
                ProofKind::Label => format!("{column} + 0"),
            });
        }
        if list.is_empty() {
            list.push("1".into());
        }
        let rows = from_where(projection, facts, range);
        let sql = format!("SELECT {} {rows}", list.join(", "));
        Ok(Self { sql, count: format!("SELECT COUNT(*) {rows}"), decode, proofs })
    }
}

fn no_column(projection: &Projection, column: &str) -> EngineError {
    let why = format!("it has no column {} any more", crate::catalog::name::show(column));
    EngineError::new(Cause::Stale, "read", why).on(&projection.source).hint("plan again")
}

/// Bytes that are no text.
pub(super) fn is_binary(column: &Column) -> bool {
    let kinds = ["binary", "blob", "bit", "geometry", "point", "linestring", "polygon", "vector"];
    kinds.iter().any(|kind| column.data_type.contains(kind)) || column.data_type.starts_with("multi")
}

fn expression(map: &ColumnMap, column: &Column) -> String {
    let quoted = identifier(&map.source);
    match (zone_shift(map), column.charset.as_deref()) {
        (Some(zone), _) => format!("CONVERT_TZ({quoted}, '+00:00', {})", literal(zone)),
        (None, Some(charset)) if AS_STORED.contains(&charset) => format!("CONVERT({quoted} USING binary)"),
        (None, _) => quoted,
    }
}

fn proof(map: &ColumnMap, column: &Column) -> Option<ProofKind> {
    if let Type::Enum { labels, .. } = &map.source_type
        && labels.iter().any(String::is_empty)
    {
        return Some(ProofKind::Label);
    }
    let charset = column.charset.as_deref()?;
    let safe = AS_STORED.contains(&charset) || COVERED.contains(&charset);
    (!safe).then_some(ProofKind::QuestionMarks)
}

/// The zone that a moment in UTC is moved to while it is read; what has no zone the target moves.
pub(super) fn zone_shift(map: &ColumnMap) -> Option<&str> {
    let zone = map.cast.as_ref()?.zone.as_deref()?;
    match (&map.source_type, &map.target_type) {
        (Type::TimestampTz { .. }, Type::Timestamp { .. }) => Some(zone),
        _ => None,
    }
}

/// A TIME is a span of time as much as a time of day, and one bit is a truth value to many: which, the
/// target's column says.
pub(super) fn reads_as(from: &Type, to: &Type) -> bool {
    matches!(
        (from, to),
        (Type::Time { .. }, Type::Interval) | (Type::Bit { length: Some(1), varying: false }, Type::Bool)
    )
}

/// The type that a cell of this column has, once it is read.
pub(super) fn cell_type(map: &ColumnMap) -> &Type {
    match reads_as(&map.source_type, &map.target_type) || zone_shift(map).is_some() {
        true => &map.target_type,
        false => &map.source_type,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Cast, Form, Name};
    use crate::engine::mysql::facts::Key;

    fn column(name: &str, data_type: &str, charset: Option<&str>) -> Column {
        let collation = charset.map(|charset| format!("{charset}_bin"));
        Column {
            name: name.into(),
            data_type: data_type.into(),
            charset: charset.map(str::to_string),
            collation,
        }
    }

    fn facts(columns: Vec<Column>, key: &[&str]) -> Facts {
        let columns_of_key = key.iter().map(|name| name.to_string()).collect();
        let key = Key { index: "PRIMARY".into(), columns: columns_of_key };
        Facts { columns, key: Some(key), innodb: true, rows: 0, bytes: 0 }
    }

    fn projection(columns: &[(&str, Type)]) -> Projection {
        let map = |(name, ty): &(&str, Type)| ColumnMap {
            source: (*name).into(),
            target: (*name).into(),
            source_type: ty.clone(),
            source_native: String::new(),
            target_type: ty.clone(),
            target_native: String::new(),
            not_null: false,
            zero_date: Default::default(),
            error_value_null: false,
            cast: None,
        };
        Projection {
            source: Name::new("d`b", "t"),
            target: Name::new("public", "t"),
            columns: columns.iter().map(map).collect(),
            filter: None,
            key: vec![],
            form: Form::Rows,
        }
    }

    fn range(columns: &[&str], from: &[Bound], to: &[Bound]) -> Range {
        Range {
            index: "PRIMARY".into(),
            columns: columns.iter().map(|name| name.to_string()).collect(),
            from: from.to_vec(),
            to: to.to_vec(),
        }
    }

    fn chunk(bounds: String) -> Chunk {
        Chunk { number: 0, of: 1, bounds, rows: 0, bytes: 0 }
    }

    #[test]
    fn i_01_names_are_quoted_and_the_filter_stays_one_condition() {
        let mut some = projection(&[("a`b", Type::Int { bits: 64 })]);
        some.filter = Some("x = 1 OR y = 2".into());
        let facts = facts(vec![column("a`b", "bigint", None)], &["a`b"]);
        let range = range(&["a`b"], &[Bound::Number(-5)], &[Bound::Number(7)]);
        let select = Select::new(&some, &facts, Some(&range)).expect("known columns");
        assert_eq!(
            select.sql,
            "SELECT `a``b` FROM `d``b`.`t` FORCE INDEX (`PRIMARY`) WHERE `a``b` >= -5 AND `a``b` < 7 AND (x = 1 OR y = 2)"
        );
    }

    #[test]
    fn s_31_texts_are_compared_in_the_columns_own_order() {
        let facts =
            facts(vec![column("k", "varchar", Some("latin1")), column("n", "int", None)], &["k", "n"]);
        let from = [Bound::Hex("E9".into()), Bound::Number(3)];
        let range = range(&["k", "n"], &from, &[]);
        let sql = from_where(&projection(&[]), &facts, Some(&range));
        let value = "_latin1 X'E9' COLLATE `latin1_bin`";
        assert!(sql.ends_with(&format!("(`k` >= {value} AND (`k` > {value} OR `n` >= 3))")), "{sql}");
    }

    #[test]
    fn m_08_what_a_character_set_could_lose_is_counted() {
        let facts = facts(
            vec![
                column("a", "varchar", Some("utf8mb4")),
                column("b", "varchar", Some("utf8mb3")),
                column("c", "varchar", Some("sjis")),
                column("d", "varchar", Some("latin1")),
            ],
            &[],
        );
        let some = projection(&[("a", Type::Text), ("b", Type::Text), ("c", Type::Text), ("d", Type::Text)]);
        let select = Select::new(&some, &facts, None).expect("known columns");
        assert_eq!(select.proofs, [Proof { column: 2, kind: ProofKind::QuestionMarks }]);
        assert!(
            select.sql.starts_with("SELECT `a`, CONVERT(`b` USING binary), `c`, `d`, LENGTH("),
            "{}",
            select.sql
        );
    }

    #[test]
    fn f_25_a_column_that_is_gone_is_stale() {
        let facts = facts(vec![], &[]);
        let error = Select::new(&projection(&[("a", Type::Text)]), &facts, None).err().expect("refused");
        assert_eq!(error.cause, Cause::Stale);
    }

    #[test]
    fn bounds_can_be_read_back() {
        let number = Bound::Number(i128::from(u64::MAX));
        for (from, to) in [(vec![], vec![number.clone()]), (vec![number, Bound::Hex("00FF".into())], vec![])]
        {
            let range = range(&["a", "b"], &from, &to);
            assert_eq!(Range::of(&chunk(range.text())).expect("readable"), Some(range));
        }
        assert_eq!(Range::of(&chunk(WHOLE.into())).expect("readable"), None);
        assert!(Range::of(&chunk("rowid 1..2".into())).is_err());
    }

    #[test]
    fn i_01_bounds_that_are_no_values_are_refused() {
        let read = |bound: Bound| Range::of(&chunk(range(&["a"], &[], &[bound]).text()));
        for plain in ["2024-02-29 23:59:59.500000", "-12.50", "123e4567-e89b-12d3-a456-426614174000"] {
            assert!(read(Bound::Printed(plain.into())).is_ok(), "{plain}");
        }
        for odd in ["1 OR 1=1", "1;x", "' OR ''='", "1/*", "(SELECT 1)"] {
            assert!(read(Bound::Printed(odd.into())).is_err(), "{odd}");
            assert!(read(Bound::Hex(odd.into())).is_err(), "{odd}");
        }
    }

    #[test]
    fn v_207_a_moment_is_moved_where_the_plan_names_a_zone() {
        let mut some = projection(&[("at", Type::TimestampTz { precision: 6 })]);
        some.columns[0].target_type = Type::Timestamp { precision: 6 };
        some.columns[0].cast = Some(Cast { native: "timestamp".into(), zone: Some("+02:00".into()) });
        let facts = facts(vec![column("at", "timestamp", None)], &[]);
        let select = Select::new(&some, &facts, None).expect("known columns");
        assert!(select.sql.starts_with("SELECT CONVERT_TZ(`at`, '+00:00', '+02:00') FROM"), "{}", select.sql);
        assert_eq!(select.decode, [Decode::Timestamp { zoned: false, zero_date: Default::default() }]);
    }
}
