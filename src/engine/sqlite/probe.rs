//! Questions about rows, as queries that SQLite's shell runs as well (but for the test of UTF-8).
//! Each answers with one row: a count, and two texts or nulls. Pure.

use super::dialect::{literal, quote};
use crate::catalog::{Name, Probe, Question, Type};

/// The query for a probe; none where SQLite cannot tell.
pub(super) fn query(probe: &Probe) -> Option<String> {
    let filter = probe.filter.as_deref();
    let of = |filter: Option<&str>| from(&probe.table, filter);
    match &probe.question {
        Question::AnyRow => Some(format!("SELECT EXISTS (SELECT 1 {}), NULL, NULL", of(filter))),
        Question::FilteredOut => {
            let filter = filter?;
            let kept = format!("CAST(count(*) FILTER (WHERE ({filter})) AS TEXT)");
            let from = of(None);
            Some(format!("SELECT count(*) FILTER (WHERE NOT coalesce(({filter}), 0)), {kept}, {kept} {from}"))
        }
        Question::OutsideRange { min, max } => {
            let column = quote(probe.column.as_deref()?);
            let integers = format!("typeof({column}) = 'integer'");
            let extreme = |which: &str| format!("CAST({which}({column}) FILTER (WHERE {integers}) AS TEXT)");
            let outside =
                format!("{integers} AND ({column} < {} OR {column} > {})", number(min)?, number(max)?);
            Some(format!(
                "SELECT count(*) FILTER (WHERE {outside}), {}, {} {}",
                extreme("min"),
                extreme("max"),
                of(filter)
            ))
        }
        Question::Extremes => {
            let column = quote(probe.column.as_deref()?);
            let extreme = |which: &str| {
                format!("CAST({which}({column}) FILTER (WHERE typeof({column}) = 'integer') AS TEXT)")
            };
            Some(format!("SELECT 0, {}, {} {}", extreme("min"), extreme("max"), of(filter)))
        }
        Question::Duplicate { columns, ignoring_case } => {
            let key = |column: &String| match ignoring_case {
                true => format!("lower({})", quote(column)),
                false => format!("{} COLLATE BINARY", quote(column)),
            };
            let keys = columns.iter().map(key).collect::<Vec<_>>().join(", ");
            let groups = grouped(&probe.table, filter, columns);
            Some(format!(
                "SELECT coalesce(sum(n), 0), NULL, NULL FROM (SELECT count(*) AS n {groups} GROUP BY {keys} HAVING count(*) > 1)"
            ))
        }
        question => {
            let condition = condition(question, probe)?;
            Some(format!("SELECT count(*), NULL, NULL {}", and(&of(filter), filter.is_some(), &condition)))
        }
    }
}

/// Whether the answer is a count of rows that are looked at one by one, each soon: one reading of
/// the table answers several such questions.
pub(super) fn is_of_rows(probe: &Probe) -> bool {
    let slow = matches!(probe.question, Question::Orphan { .. } | Question::CheckFails { .. });
    !slow && condition(&probe.question, probe).is_some()
}

/// `FROM` and `WHERE` of the rows that are asked about.
pub(super) fn from(table: &Name, filter: Option<&str>) -> String {
    let from = format!("FROM main.{} AS t", quote(&table.name));
    match filter {
        Some(filter) => format!("{from} WHERE ({filter})"),
        None => from,
    }
}

fn and(from: &str, filtered: bool, condition: &str) -> String {
    format!("{from} {} ({condition})", if filtered { "AND" } else { "WHERE" })
}

fn grouped(table: &Name, filter: Option<&str>, columns: &[String]) -> String {
    let known: Vec<_> = columns.iter().map(|column| format!("{} IS NOT NULL", quote(column))).collect();
    and(&from(table, filter), filter.is_some(), &known.join(" AND "))
}

/// The words of the question for one row.
pub(super) fn condition(question: &Question, probe: &Probe) -> Option<String> {
    let column = probe.column.as_deref().map(quote);
    let column = column.as_deref();
    Some(match question {
        Question::NotNull => format!("{} IS NOT NULL", column?),
        Question::Null => format!("{} IS NULL", column?),
        Question::NotOfType { ty } => not_of_type(column?, ty),
        Question::LongerThan { characters } => format!("length({}) > {characters}", column?),
        Question::HoldsNul => {
            let column = column?;
            format!("typeof({column}) = 'text' AND instr(CAST({column} AS BLOB), x'00') > 0")
        }
        Question::BadEncoding => format!("NOT towpath_is_text({})", column?),
        Question::NotFinite { nan_only: true } => "0".to_string(),
        Question::NotFinite { nan_only: false } => {
            let column = column?;
            format!("typeof({column}) = 'real' AND abs({column}) > 1.7976931348623157e308")
        }
        Question::DateBeyond => {
            let column = column?;
            format!("typeof({column}) = 'text' AND NOT ({})", year_in_range(column))
        }
        Question::DecimalBeyond { precision, scale } => decimal_beyond(column?, *precision, *scale),
        Question::NotIn { values } => {
            let values: Vec<_> = values.iter().map(|value| literal(value)).collect();
            format!("CAST({} AS TEXT) NOT IN ({})", column?, values.join(", "))
        }
        Question::Orphan { columns, parent, parent_columns } => orphan(columns, parent, parent_columns)?,
        Question::CheckFails { condition } => format!("NOT coalesce(({condition}), 1)"),
        _ => return None,
    })
}

fn number(text: &str) -> Option<&str> {
    text.parse::<i128>().ok().map(|_| text)
}

fn year_in_range(column: &str) -> String {
    format!(
        "substr({column}, 1, 5) GLOB '[0-9][0-9][0-9][0-9]-' AND substr({column}, 1, 4) <> '0000' AND {column} NOT LIKE '%BC'"
    )
}

/// Classes first, then the form of the text.
fn not_of_type(column: &str, ty: &Type) -> String {
    let class = |classes: &str| format!("typeof({column}) NOT IN ({classes}, 'null')");
    let text = |form: &str| format!("{column} IS NOT NULL AND NOT (typeof({column}) = 'text' AND {form})");
    match ty {
        Type::Any | Type::Native { .. } => "0".to_string(),
        Type::Bool => {
            format!("{column} IS NOT NULL AND NOT (typeof({column}) = 'integer' AND {column} IN (0, 1))")
        }
        Type::Int { .. } => class("'integer'"),
        Type::UInt { .. } => format!("{} OR {column} < 0", class("'integer'")),
        Type::Float { .. } => class("'real', 'integer'"),
        Type::Binary { .. } | Type::Blob => class("'blob'"),
        Type::Decimal { .. } => format!(
            "{} AND NOT (typeof({column}) = 'text' AND {column} GLOB '*[0-9]*' AND {column} NOT GLOB '*[^0-9.eE+-]*')",
            class("'integer', 'real'")
        ),
        Type::Date => text(&format!("date({column}) IS {column} AND {}", year_in_range(column))),
        Type::Time { .. } => text(&format!("strftime('%H:%M:%S', {column}) IS substr({column}, 1, 8)")),
        Type::Timestamp { .. } | Type::TimestampTz { .. } => text(&format!(
            "strftime('%Y-%m-%d', substr({column}, 1, 10)) IS substr({column}, 1, 10) AND datetime({column}) IS NOT NULL AND {}",
            year_in_range(column)
        )),
        Type::Uuid => {
            let hex = |digits: usize| "[0-9a-fA-F]".repeat(digits);
            let form = [8, 4, 4, 4, 12].map(hex).join("-");
            text(&format!("{column} GLOB '{form}'"))
        }
        Type::Json { .. } => text(&format!("json_valid({column})")),
        Type::Bit { .. } => text(&format!("{column} NOT GLOB '*[^01]*'")),
        _ => class("'text'"),
    }
}

fn decimal_beyond(column: &str, precision: u32, scale: i32) -> String {
    let whole = i64::from(precision) - i64::from(scale);
    let value = format!("CAST({column} AS NUMERIC)");
    let digits = scale.clamp(0, 30);
    format!("abs({value}) >= 1e{whole} OR round({value}, {digits}) <> {value}")
}

fn orphan(columns: &[String], parent: &Name, parent_columns: &[String]) -> Option<String> {
    if columns.is_empty() || columns.len() != parent_columns.len() {
        return None;
    }
    let known: Vec<_> = columns.iter().map(|column| format!("t.{} IS NOT NULL", quote(column))).collect();
    let pairs = columns.iter().zip(parent_columns);
    let equal: Vec<_> =
        pairs.map(|(child, parent)| format!("p.{} = t.{}", quote(parent), quote(child))).collect();
    Some(format!(
        "{} AND NOT EXISTS (SELECT 1 FROM main.{} AS p WHERE {})",
        known.join(" AND "),
        quote(&parent.name),
        equal.join(" AND ")
    ))
}
