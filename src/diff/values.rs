//! What the rows must be asked before a column's values may travel: derived from the types and
//! from what the two engines hold, never from a value.

use super::columns::{Typed, Work};
use super::found::Found;
use super::hazard::{Level, Verdict};
use super::typemap::{self, Effect};
use crate::catalog::name::show;
use crate::catalog::{Column, Holds, IndexPart, Question, Type, ZeroDate};
use crate::plan::{ColumnRule, Load, Problem, Span};

/// Adds the questions and hazards of one carried column.
pub(super) fn ask(
    work: &Work<'_, '_>,
    column: &Column,
    typed: &Typed,
    rule: Option<&ColumnRule>,
    found: &mut Found,
) {
    if work.intent.policy.load == Load::None {
        return;
    }
    let loose = is_loose(work, column);
    if typed.overridden || loose {
        let from = if loose { loosened(&column.ty) } else { column.ty.clone() };
        let zone = rule.is_some_and(|rule| rule.zone.is_some());
        let effects = typemap::effects(&from, &typed.fit.ty, zone).unwrap_or_default();
        for effect in effects {
            raise(work, column, &typed.fit.ty, effect, found);
        }
    }
    if undeclared(work) && is_textual(&column.ty) {
        let spot = work.road.spot(&work.table.name, Some(&column.name));
        let what = "text in a database that does not say its encoding";
        found.ask("V211", &spot, Question::BadEncoding, what, &["carry the column as bytes"]);
    }
    match work.road.same {
        true => ask_read(work, column, rule, found),
        false => ask_limits(work, column, &typed.fit.ty, (loose, rule), found),
    }
    ask_labels(work, column, rule, found);
}

/// What an engine stores and does not take again from a strict session, or calls no value itself.
fn ask_read(work: &Work<'_, '_>, column: &Column, rule: Option<&ColumnRule>, found: &mut Found) {
    let days = matches!(column.ty, Type::Date | Type::Timestamp { .. });
    if days && work.road.has_zero_dates(&column.ty) && rule.is_none_or(|rule| rule.zero_date.is_none()) {
        let spot = work.road.spot(&work.table.name, Some(&column.name));
        let ways = ["zero_date: null", "mend the rows on the source", "leave the rows out: where:"];
        found.ask("V202", &spot, Question::NoSuchDay, "days that their month does not have", &ways);
    }
}

fn ask_labels(work: &Work<'_, '_>, column: &Column, rule: Option<&ColumnRule>, found: &mut Found) {
    if let Type::Enum { labels, .. } = &column.ty
        && work.road.from.holds().loose_labels
        && rule.is_none_or(|rule| rule.error_value.is_none())
    {
        let spot = work.road.spot(&work.table.name, Some(&column.name));
        let question = Question::NotIn { values: labels.clone() };
        let ways = ["error_value: null", "mend the rows on the source", "leave the rows out: where:"];
        found.ask("V210", &spot, question, "values that are none of the labels", &ways);
    }
}

/// `SQL_ASCII` is PostgreSQL's word for bytes that nobody has checked.
const UNCHECKED: &str = "SQL_ASCII";

fn undeclared(work: &Work<'_, '_>) -> bool {
    let (source, target) = (&work.road.source.encoding, &work.road.target.encoding);
    source.eq_ignore_ascii_case(UNCHECKED) && source != target
}

/// True where the declared type is only a wish. An identity column of such an engine is not: it
/// is the row's number.
fn is_loose(work: &Work<'_, '_>, column: &Column) -> bool {
    let strict = work.table.option("strict") == Some("true") && column.ty != Type::Any;
    !work.road.same && work.road.from.holds().loose_values && !strict && column.identity.is_none()
}

/// What such a column may hold as far as its class goes.
fn loosened(ty: &Type) -> Type {
    match ty {
        Type::Int { .. } | Type::UInt { .. } => Type::Int { bits: 64 },
        Type::Char { .. } | Type::VarChar { .. } => Type::Text,
        Type::Decimal { .. } => Type::Decimal { precision: None, scale: None },
        Type::Float { .. } => Type::Float { bits: 64 },
        other => other.clone(),
    }
}

fn raise(work: &Work<'_, '_>, column: &Column, to: &Type, effect: Effect, found: &mut Found) {
    let spot = work.road.spot(&work.table.name, Some(&column.name));
    match effect {
        Effect::Asks { code, question, what } => {
            let verdict = match code {
                "V201" | "V206" => Verdict::RangeOrNote,
                _ => Verdict::Rows,
            };
            let ways = ["choose a type that takes all values, or mend the rows on the source"];
            found.ask_as(code, &spot, question, &what, &ways, verdict, Some(Level::Warn));
        }
        Effect::Has { code: "V217", what } if is_text(&column.ty) && !is_text(to) => {
            found.hazard_as("V217", Level::Warn, &spot.at, what, &["type: text keeps values as they are"]);
        }
        Effect::Has { code: "V207", what } => {
            found.hazard("V207", spot.at, what, &["zone: UTC"]);
        }
        Effect::Has { code, what } => found.hazard(code, spot.at, what, &[]),
    }
}

fn is_text(ty: &Type) -> bool {
    matches!(ty, Type::Text | Type::VarChar { .. } | Type::Char { .. })
}

fn is_textual(ty: &Type) -> bool {
    is_text(ty) || matches!(ty, Type::Json { .. } | Type::Xml | Type::Enum { .. } | Type::Any)
}

/// What becomes of dates that no calendar has.
pub(super) fn zero_date(
    work: &Work<'_, '_>,
    basis: &Column,
    want: &mut Column,
    rule: Option<&ColumnRule>,
    found: &mut Found,
) -> ZeroDate {
    let Some(span) = rule.and_then(|rule| rule.zero_date) else {
        let kept = work.road.keeps_zero_dates(&basis.ty, &want.ty);
        return if kept { ZeroDate::Kept } else { ZeroDate::Refused };
    };
    let no = (!work.road.has_zero_dates(&basis.ty)).then_some("holds no dates that no calendar has");
    let becomes = ("V202", "zero and impossible dates become null");
    match nulls(work, basis, want, (("zero_date", span), no, becomes), found) {
        true => ZeroDate::Null,
        false => ZeroDate::Refused,
    }
}

/// Whether the error value of an ENUM becomes null.
pub(super) fn error_value(
    work: &Work<'_, '_>,
    basis: &Column,
    want: &mut Column,
    rule: Option<&ColumnRule>,
    found: &mut Found,
) -> bool {
    let Some(span) = rule.and_then(|rule| rule.error_value) else { return false };
    let no = match &basis.ty {
        _ if !work.road.from.holds().loose_labels => Some("is not an enum of MySQL or MariaDB"),
        Type::Enum { labels, .. } if labels.iter().any(String::is_empty) => {
            Some("has an empty label, which looks like the error value")
        }
        Type::Enum { .. } => None,
        _ => Some("is no enum"),
    };
    let becomes = ("V210", "error values of the enum (index 0) become null");
    nulls(work, basis, want, (("error_value", span), no, becomes), found)
}

/// Whether values that the target has not become null there, as a key of the plan says. Their column may be
/// null then, whatever it was: the source's own default is such a value as a rule.
fn nulls(
    work: &Work<'_, '_>,
    basis: &Column,
    want: &mut Column,
    ((key, span), no, (code, what)): ((&str, Span), Option<&str>, (&'static str, &str)),
    found: &mut Found,
) -> bool {
    let place = format!("{}.{}", work.table.name, show(&basis.name));
    let mut refuse = |why: &str, help: &str| {
        let message = format!("{key}: {place} {why}");
        found.problems.push(Problem::error("E125", message).at(span).help(help));
        false
    };
    if let Some(why) = no {
        return refuse(why, &format!("remove {key}"));
    }
    let primary = work.table.primary_key();
    let is_own = |part: &IndexPart| part.column.as_ref() == Some(&basis.name);
    if primary.is_some_and(|key| key.parts.iter().any(is_own)) {
        return refuse("is part of the primary key, which holds no null", "mend the rows on the source");
    }
    let at = work.road.spot(&work.table.name, Some(&basis.name)).at;
    let nullable = if want.not_null { ", and the column may be null" } else { "" };
    want.not_null = false;
    found.hazard_as(code, Level::Note, &at, format!("{what}{nullable}"), &[]);
    true
}

/// Values are of these labels, or what is asked about by itself (V210).
fn has_plain_labels(from: Holds, ty: &Type) -> bool {
    let plain = |labels: &[String]| labels.iter().all(|label| !label.contains('\0'));
    from.loose_labels && matches!(ty, Type::Enum { labels, .. } | Type::Set { labels } if plain(labels))
}

/// What the source's engine holds and the target's does not.
fn ask_limits(
    work: &Work<'_, '_>,
    column: &Column,
    to: &Type,
    (loose, rule): (bool, Option<&ColumnRule>),
    found: &mut Found,
) {
    let spot = work.road.spot(&work.table.name, Some(&column.name));
    let (from, holds) = (work.road.from.holds(), work.road.to.holds());
    if loose && !holds.loose_values {
        let what = "values of another class than the column declares";
        let ways = ["type: text", "mend the rows on the source"];
        found.ask("V215", &spot, Question::NotOfType { ty: to.clone() }, what, &ways);
    }
    if from.nul && !holds.nul && is_textual(to) && !has_plain_labels(from, &column.ty) {
        found.ask("V203", &spot, Question::HoldsNul, "text with NUL bytes", &["carry the column as bytes"]);
    }
    if from.bad_text && !holds.bad_text && is_textual(to) {
        let what = "text that is not valid in its encoding";
        found.ask("V211", &spot, Question::BadEncoding, what, &["carry the column as bytes"]);
    }
    if column.unchecked_text && is_textual(to) {
        let what = "characters that have no counterpart in Unicode";
        found.ask("V211", &spot, Question::BadEncoding, what, &["carry the column as bytes"]);
    }
    // Its largest values have no place in an integer that is signed.
    if column.ty == (Type::UInt { bits: 64 })
        && matches!(to, Type::UInt { bits: 64 } | Type::Int { bits: 64 })
    {
        let question = Question::OutsideRange { min: "0".into(), max: i64::MAX.to_string() };
        let (what, ways) = ("integers outside the target's range", ["type: text"]);
        found.ask_as("V201", &spot, question, what, &ways, Verdict::RangeOrNote, Some(Level::Warn));
    }
    if work.road.has_zero_dates(&column.ty)
        && !work.road.keeps_zero_dates(&column.ty, to)
        && rule.is_none_or(|rule| rule.zero_date.is_none())
    {
        let what = "zero or impossible dates";
        let ways = ["zero_date: null", "mend the rows on the source", "leave the rows out: where:"];
        found.ask("V202", &spot, Question::ZeroDate, what, &ways);
    }
    if from.long_times
        && !holds.long_times
        && matches!((&column.ty, to), (Type::Time { .. }, Type::Time { .. }))
    {
        let what = "times that are negative, or of 24 hours and more";
        let interval = work.road.to.normal_type("interval", None).map(|_| "type: interval");
        let ways: Vec<&str> = interval.into_iter().chain(["type: text"]).collect();
        found.ask("V209", &spot, Question::TimeBeyond, what, &ways);
    }
    let number = matches!(column.ty, Type::Float { .. } | Type::Decimal { .. });
    let (nan, infinity) = (from.nan && !holds.nan, from.infinity && !holds.infinity);
    let decimal = matches!(column.ty, Type::Decimal { .. });
    if number && (nan || infinity) {
        let nan_only = !infinity && !decimal;
        let what = if nan_only { "NaN" } else { "NaN or infinity" };
        found.ask("V216", &spot, Question::NotFinite { nan_only }, what, &["leave the rows out: where:"]);
    }
    let dated = matches!(column.ty, Type::Date | Type::Timestamp { .. } | Type::TimestampTz { .. });
    if dated && from.far_dates && !holds.far_dates {
        let what = "infinite dates, or years outside 1 to 9999";
        found.ask("V216", &spot, Question::DateBeyond, what, &["leave the rows out: where:"]);
    }
}
