//! The queries that answer probes: one row each, a count and two extremes or nulls. They hold
//! identifiers and checked conditions only; how long one may run is the session's affair. Pure.

use crate::catalog::probe::Question;
use crate::catalog::{Name, Probe, Type};

use super::quote::{identifier, literal, name};

/// The query, or none where the question makes no sense here.
pub(super) fn query(probe: &Probe) -> Option<String> {
    let from = format!("FROM {} AS t", name(&probe.table));
    if let Some(text) = whole_row(probe, &from) {
        return Some(text);
    }
    if let Question::OutsideRange { min, max } = &probe.question {
        let column = format!("t.{}", identifier(probe.column.as_deref()?));
        let (min, max) = (number(min)?, number(max)?);
        let extreme = |which: &str| format!("CAST({which}({column}) AS CHAR)");
        return Some(format!(
            "SELECT COALESCE(SUM({column} < {min} OR {column} > {max}), 0), {}, {} {from}{}",
            extreme("MIN"),
            extreme("MAX"),
            filtered(probe)
        ));
    }
    if probe.question == Question::Extremes {
        let column = format!("t.{}", identifier(probe.column.as_deref()?));
        let extreme = |which: &str| format!("CAST({which}({column}) AS CHAR)");
        return Some(format!("SELECT 0, {}, {} {from}{}", extreme("MIN"), extreme("MAX"), filtered(probe)));
    }
    let condition = within(probe, &condition(probe)?);
    Some(format!("SELECT COUNT(*), NULL, NULL {from} WHERE {condition}"))
}

/// Rows of a table that one session looks at.
pub(super) struct Part {
    pub index: String,
    pub condition: String,
}

/// The answers to several questions about the columns of one table in one pass over it, or over a part
/// of it: a row with a count for each. All of them have a [`condition`], and the same table and filter.
pub(super) fn together(probes: &[&Probe], part: Option<&Part>) -> Option<String> {
    let first = probes.first()?;
    let counts = probes.iter().map(|probe| Some(format!("COALESCE(SUM({}), 0)", condition(probe)?)));
    let counts = counts.collect::<Option<Vec<_>>>()?;
    let counts = counts.join(", ");
    let from = format!("FROM {} AS t", name(&first.table));
    Some(match part {
        None => format!("SELECT {counts} {from}{}", filtered(first)),
        Some(Part { index, condition }) => {
            let index = identifier(index);
            format!("SELECT {counts} {from} FORCE INDEX ({index}) WHERE {}", within(first, condition))
        }
    })
}

/// The words of a question about one column of one row; none for other questions.
pub(super) fn condition(probe: &Probe) -> Option<String> {
    let column = format!("t.{}", identifier(probe.column.as_deref()?));
    Some(match &probe.question {
        Question::NotNull => format!("{column} IS NOT NULL"),
        Question::Null => format!("{column} IS NULL"),
        Question::NotOfType { ty } => not_of_type(&column, ty)?,
        Question::LongerThan { characters } => {
            format!("CHAR_LENGTH(CAST({column} AS CHAR CHARACTER SET utf8mb4)) > {characters}")
        }
        // By bytes: collations give U+0000 no weight, and find it everywhere. Its own bytes are looked at
        // first, because few values have such a byte and most need no other form.
        Question::HoldsNul => {
            let nul = |bytes: &str| format!("LOCATE(x'00', CAST({bytes} AS BINARY)) > 0");
            format!("{} AND {}", nul(&column), nul(&format!("CONVERT({column} USING utf8mb4)")))
        }
        // What has no counterpart in Unicode becomes a question mark.
        Question::BadEncoding => {
            let marks = |text: &str| format!("CHAR_LENGTH(REPLACE({text}, '?', ''))");
            let unicode = format!("CONVERT({column} USING utf8mb4)");
            format!("{column} IS NOT NULL AND {} <> {}", marks(&unicode), marks(&column))
        }
        Question::NotFinite { .. } | Question::DateBeyond => return None,
        Question::ZeroDate => {
            // Three calls tell of nearly all dates, where all that must be known takes many.
            let plain = format!(
                "DAYOFMONTH({column}) BETWEEN 1 AND 28 AND MONTH({column}) > 0 AND YEAR({column}) > 0"
            );
            format!("{column} IS NOT NULL AND NOT ({plain}) AND NOT ({})", real_date(&column))
        }
        Question::NoSuchDay => format!("DAYOFMONTH({column}) > 28 AND NOT ({})", day_of_month(&column)),
        Question::TimeBeyond => {
            format!("NOT ({column} BETWEEN TIME'00:00:00' AND TIME'23:59:59.999999')")
        }
        Question::DecimalBeyond { precision, scale } => {
            let scale = u32::try_from(*scale).ok()?;
            let whole = precision.checked_sub(scale)?;
            format!("ABS({column}) >= 1e{whole} OR TRUNCATE({column}, {scale}) <> {column}")
        }
        Question::NotIn { values } => {
            // By bytes: the collation would take one label for another.
            let values: Vec<_> =
                values.iter().map(|value| format!("CAST({} AS BINARY)", literal(value))).collect();
            let own = format!("CAST(CONVERT({column} USING utf8mb4) AS BINARY)");
            match values.is_empty() {
                true => format!("{column} IS NOT NULL"),
                false => format!("{own} NOT IN ({})", values.join(", ")),
            }
        }
        _ => return None,
    })
}

/// A day of the calendar: year, month and day are there, and the month has the day.
fn real_date(column: &str) -> String {
    format!(
        "YEAR({column}) > 0 AND MONTH({column}) > 0 AND DAYOFMONTH({column}) > 0 AND {}",
        day_of_month(column)
    )
}

/// A day that the month has. Counted out, as the server's own arithmetic gives null for days that are not.
fn day_of_month(column: &str) -> String {
    let (year, month, day) =
        (format!("YEAR({column})"), format!("MONTH({column})"), format!("DAYOFMONTH({column})"));
    format!(
        "{day} <= CASE WHEN {month} IN (4, 6, 9, 11) THEN 30 WHEN {month} <> 2 THEN 31 \
         WHEN {year} % 4 = 0 AND {year} % 100 <> 0 OR {year} % 400 = 0 THEN 29 ELSE 28 END"
    )
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

fn number(text: &str) -> Option<&str> {
    text.parse::<i128>().ok().map(|_| text)
}

/// Questions that are not about one column.
fn whole_row(probe: &Probe, from: &str) -> Option<String> {
    Some(match &probe.question {
        Question::AnyRow => {
            format!("SELECT EXISTS (SELECT 1 {from}{}), NULL, NULL", filtered(probe))
        }
        Question::FilteredOut => {
            let filter = probe.filter.as_deref()?;
            let kept = format!("COALESCE(SUM(CASE WHEN ({filter}) THEN 1 ELSE 0 END), 0)");
            format!("SELECT COUNT(*) - {kept}, CAST({kept} AS CHAR), CAST({kept} AS CHAR) {from}")
        }
        Question::CheckFails { condition } => {
            let condition = within(probe, &format!("NOT ({condition})"));
            format!("SELECT COUNT(*), NULL, NULL {from} WHERE {condition}")
        }
        Question::Orphan { columns, parent, parent_columns } => {
            orphans(probe, from, columns, parent, parent_columns)?
        }
        Question::Duplicate { columns, .. } => {
            let list: Vec<_> = columns.iter().map(|column| format!("t.{}", identifier(column))).collect();
            let known: Vec<_> = list.iter().map(|column| format!("{column} IS NOT NULL")).collect();
            format!(
                "SELECT COALESCE(SUM(same.n), 0), NULL, NULL FROM (SELECT COUNT(*) AS n {from} WHERE {} \
                 GROUP BY {} HAVING COUNT(*) > 1) AS same",
                within(probe, &known.join(" AND ")),
                list.join(", ")
            )
        }
        _ => return None,
    })
}

/// Rows without a parent. The parent is looked for as the server compares, which an index answers,
/// and must then be the same by bytes, as the target compares. A join, because in a sub-query the
/// server puts one side of the equality into the other comparison too, which then always holds.
fn orphans(
    probe: &Probe,
    from: &str,
    columns: &[String],
    parent: &Name,
    parent_columns: &[String],
) -> Option<String> {
    if columns.is_empty() || columns.len() != parent_columns.len() {
        return None;
    }
    let pairs: Vec<_> = columns
        .iter()
        .zip(parent_columns)
        .map(|(child, parent)| (format!("t.{}", identifier(child)), format!("p.{}", identifier(parent))))
        .collect();
    let all = |word: &str, text: &dyn Fn(&String, &String) -> String| {
        pairs.iter().map(|(child, parent)| text(child, parent)).collect::<Vec<_>>().join(word)
    };
    let equal = all(" AND ", &|child, parent| format!("{parent} = {child}"));
    let same = all(" AND ", &|child, parent| format!("CAST({parent} AS BINARY) <=> CAST({child} AS BINARY)"));
    let known = all(" AND ", &|child, _| format!("{child} IS NOT NULL"));
    // A filter names columns of its own table; the parent's may have the same names.
    let table = match &probe.filter {
        Some(filter) => format!("FROM (SELECT t.* {from} WHERE ({filter})) AS t"),
        None => from.to_string(),
    };
    Some(format!(
        "SELECT COUNT(*), NULL, NULL {table} LEFT JOIN {} AS p ON {equal} WHERE {known} AND NOT ({same})",
        name(parent)
    ))
}

/// Text that is no literal of a type.
fn not_of_type(column: &str, ty: &Type) -> Option<String> {
    let text = format!("CONVERT({column} USING utf8mb4)");
    let not = |pattern: &str| format!("{column} IS NOT NULL AND {text} NOT REGEXP {}", literal(pattern));
    Some(match ty {
        Type::Int { .. } => not("^[+-]?[0-9]+$"),
        Type::UInt { .. } => not("^[+]?[0-9]+$"),
        Type::Decimal { .. } | Type::Float { .. } => {
            not("^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?$")
        }
        Type::Bool => not("^([tT]([rR][uU][eE])?|[fF]([aA][lL][sS][eE])?|[01])$"),
        Type::Uuid => not("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"),
        Type::Bit { .. } => not("^[01]*$"),
        Type::Json { .. } => format!("{column} IS NOT NULL AND NOT JSON_VALID({text})"),
        Type::Date => not("^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"),
        Type::Timestamp { .. } | Type::TimestampTz { .. } => not(
            "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])([ T]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?)?$",
        ),
        Type::Time { .. } => not("^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?$"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::probe::End;

    fn sql(question: Question, filter: Option<&str>) -> Option<String> {
        query(&Probe {
            code: "V202".into(),
            end: End::Source,
            table: Name::new("d", "t"),
            column: Some("c".into()),
            question,
            filter: filter.map(str::to_string),
        })
    }

    #[test]
    fn questions_stay_within_the_filter() {
        let text = sql(Question::HoldsNul, Some("a = 1 OR b = 2")).expect("asked");
        assert!(text.contains("WHERE (a = 1 OR b = 2) AND (LOCATE"), "{text}");
        assert_eq!(sql(Question::NotFinite { nan_only: false }, None), None);
    }
}
