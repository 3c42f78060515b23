//! The queries that answer probes: one row each, a count and two extremes or nulls. They hold
//! identifiers and checked conditions only; how long one may run is the session's timeout.

use crate::catalog::probe::Question;
use crate::catalog::{Name, Probe, Type};

use super::quote::{identifier, literal, name};
use super::types;

/// For questions without extremes.
const NO_EXTREMES: &str = "NULL::pg_catalog.text, NULL::pg_catalog.text";

/// The query, or none where the question makes no sense here.
pub fn query(probe: &Probe) -> Option<String> {
    let column = probe.column.as_deref().map(|column| format!("t.{}", identifier(column)));
    let from = format!("FROM ONLY {} AS t", name(&probe.table));
    if let Some(text) = whole_row(probe, &from) {
        return Some(text);
    }
    let column = column?;
    let condition = match &probe.question {
        Question::NotNull => format!("{column} IS NOT NULL"),
        Question::Null => format!("{column} IS NULL"),
        Question::OutsideRange { min, max } => return outside(probe, &from, &column, min, max),
        Question::Extremes => {
            return Some(format!(
                "SELECT 0, pg_catalog.min({column})::pg_catalog.text, pg_catalog.max({column})::pg_catalog.text \
                 FROM {} AS t{}",
                name(&probe.table),
                filtered(probe)
            ));
        }
        Question::NotOfType { ty } => not_of_type(&column, ty)?,
        Question::LongerThan { characters } => {
            format!("pg_catalog.length({column}::pg_catalog.text) > {characters}")
        }
        Question::NotFinite { nan_only: true } => {
            format!("{column}::pg_catalog.text = 'NaN'")
        }
        Question::NotFinite { nan_only: false } => {
            format!("{column}::pg_catalog.text IN ('NaN', 'Infinity', '-Infinity')")
        }
        Question::DateBeyond => date_beyond(&column),
        Question::DecimalBeyond { precision, scale } => decimal_beyond(&column, *precision, *scale)?,
        Question::NotIn { values } => {
            let values: Vec<String> = values.iter().map(|value| literal(value)).collect();
            match values.is_empty() {
                true => format!("{column} IS NOT NULL"),
                false => format!("{column}::pg_catalog.text NOT IN ({})", values.join(", ")),
            }
        }
        // The server lets neither into a text.
        Question::HoldsNul | Question::BadEncoding => return None,
        _ => return None,
    };
    Some(format!("SELECT pg_catalog.count(*), {NO_EXTREMES} {from} WHERE {}", within(probe, &condition)))
}

/// The condition, within the rows that the plan takes.
fn within(probe: &Probe, condition: &str) -> String {
    match &probe.filter {
        Some(filter) => format!("({filter}) AND ({condition})"),
        None => condition.to_string(),
    }
}

fn filtered(probe: &Probe) -> String {
    probe.filter.as_ref().map(|filter| format!(" WHERE ({filter})")).unwrap_or_default()
}

/// Questions that are not about one column.
fn whole_row(probe: &Probe, from: &str) -> Option<String> {
    Some(match &probe.question {
        Question::AnyRow => format!(
            "SELECT pg_catalog.count(*), {NO_EXTREMES} FROM (SELECT 1 {from}{} LIMIT 1) AS found",
            filtered(probe)
        ),
        Question::FilteredOut => {
            let filter = probe.filter.as_deref()?;
            let kept = format!("pg_catalog.count(*) FILTER (WHERE ({filter}))");
            format!(
                "SELECT pg_catalog.count(*) - {kept}, {kept}::pg_catalog.text, NULL::pg_catalog.text {from}"
            )
        }
        Question::CheckFails { condition } => {
            let condition = within(probe, &format!("NOT ({condition})"));
            format!("SELECT pg_catalog.count(*), {NO_EXTREMES} {from} WHERE {condition}")
        }
        Question::Orphan { columns, parent, parent_columns } => {
            orphans(probe, from, columns, parent, parent_columns)
        }
        Question::Duplicate { columns, ignoring_case } => duplicates(probe, from, columns, *ignoring_case),
        _ => return None,
    })
}

fn not_null(columns: &[String]) -> String {
    let condition = |column: &String| format!("t.{} IS NOT NULL", identifier(column));
    columns.iter().map(condition).collect::<Vec<_>>().join(" AND ")
}

fn orphans(
    probe: &Probe,
    from: &str,
    columns: &[String],
    parent: &Name,
    parent_columns: &[String],
) -> String {
    let pairs = columns.iter().zip(parent_columns);
    let equal = pairs.map(|(child, parent)| format!("p.{} = t.{}", identifier(parent), identifier(child)));
    let equal = equal.collect::<Vec<_>>().join(" AND ");
    let missing = format!("NOT EXISTS (SELECT 1 FROM {} AS p WHERE {equal})", name(parent));
    let condition = within(probe, &format!("{} AND {missing}", not_null(columns)));
    format!("SELECT pg_catalog.count(*), {NO_EXTREMES} {from} WHERE {condition}")
}

fn duplicates(probe: &Probe, from: &str, columns: &[String], ignoring_case: bool) -> String {
    let list = columns.iter().map(|column| match ignoring_case {
        true => {
            format!("pg_catalog.lower(t.{}::pg_catalog.text COLLATE pg_catalog.\"C\")", identifier(column))
        }
        false => format!("t.{}", identifier(column)),
    });
    let list = list.collect::<Vec<_>>().join(", ");
    let condition = within(probe, &not_null(columns));
    format!(
        "SELECT coalesce(pg_catalog.sum(same.rows), 0)::pg_catalog.int8, {NO_EXTREMES} FROM (SELECT \
         pg_catalog.count(*) AS rows {from} WHERE {condition} GROUP BY {list} HAVING pg_catalog.count(*) > 1) \
         AS same"
    )
}

fn outside(probe: &Probe, from: &str, column: &str, min: &str, max: &str) -> Option<String> {
    let number = |text: &str| text.parse::<i128>().is_ok().then(|| format!("{text}::pg_catalog.numeric"));
    let (min, max) = (number(min)?, number(max)?);
    let outside = format!("{column} < {min} OR {column} > {max}");
    Some(format!(
        "SELECT pg_catalog.count(*) FILTER (WHERE {outside}), pg_catalog.min({column})::pg_catalog.text, \
         pg_catalog.max({column})::pg_catalog.text {from}{}",
        filtered(probe)
    ))
}

/// Infinite, before Christ, or with a year of more than four digits.
fn date_beyond(column: &str) -> String {
    // Not cast: a date may lie beyond what a timestamp holds.
    format!("NOT pg_catalog.isfinite({column}) OR {column} < '0001-01-01' OR {column} >= '10000-01-01'")
}

/// Too many digits before the point, or digits behind it that would be rounded away. NaN and
/// infinity fit nowhere.
fn decimal_beyond(column: &str, precision: u32, scale: i32) -> Option<String> {
    let whole = i64::from(precision) - i64::from(scale);
    let number = format!("{column}::pg_catalog.numeric");
    (0..=1000).contains(&whole).then(|| {
        format!(
            "pg_catalog.abs({number}) >= pg_catalog.power(10::pg_catalog.numeric, {whole}::pg_catalog.numeric) OR \
             pg_catalog.round({number}, {scale}) <> {number}"
        )
    })
}

/// Texts that are not a literal of the type; only for types whose literals a pattern can tell.
fn not_of_type(column: &str, ty: &Type) -> Option<String> {
    let text = format!("{column}::pg_catalog.text");
    let matches = |pattern: &str| Some(format!("{text} !~ {}", literal(pattern)));
    match ty {
        Type::Int { .. } | Type::UInt { .. } => matches("^\\s*[-+]?[0-9]+\\s*$"),
        Type::Decimal { .. } | Type::Float { .. } => {
            matches("^\\s*([-+]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE][-+]?[0-9]+)?|NaN|[-+]?Infinity)\\s*$")
        }
        Type::Uuid => matches("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"),
        Type::Date => matches("^[0-9]{4,7}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])( BC)?$"),
        Type::Bool => matches("^(t|f|true|false|0|1|y|n|yes|no|on|off)$"),
        ty => types::spell(ty).filter(|native| native == "text").map(|_| "false".to_string()),
    }
}
