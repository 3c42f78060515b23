//! One table's columns in the target's terms: names, types, defaults, generated expressions,
//! identity, collation. What each change of type may do to values is asked in `values`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::difference::{Change, Difference};
use super::found::Found;
use super::hazard::{Level, Verdict};
use super::road::{MOST_NESTED, Road};
use super::typemap::{self, Fit};
use super::{definition, values};
use crate::catalog::expr::Op;
use crate::catalog::members;
use crate::catalog::name::show;
use crate::catalog::table::{Default as ColumnDefault, Generated};
use crate::catalog::{
    Cast, Check, Column, ColumnMap, Expr, Identity, IndexPart, Name, Question, Table, Type, UserTypeKind,
};
use crate::plan::{ColumnRule, Load, Problem, Span, TableIntent};

/// The columns of a wanted table, and what came up on the way.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub columns: Vec<Column>,
    pub maps: Vec<ColumnMap>,
    /// Target name by source name, where they differ.
    pub renamed: BTreeMap<String, String>,
    pub skipped: BTreeSet<String>,
    /// Checks that say what the target's types do not.
    pub checks: Vec<Check>,
    pub differences: Vec<Difference>,
    /// Storage attributes were dropped.
    pub stripped: bool,
}

/// The table at work.
pub(super) struct Work<'a, 'r> {
    pub road: &'r Road<'a>,
    pub table: &'r Table,
    pub intent: &'r TableIntent,
}

/// A column's type on the target.
pub(super) struct Typed {
    pub fit: Fit,
    pub cast: Option<Cast>,
    /// The plan says so, not the type map.
    pub overridden: bool,
}

pub(super) fn map_columns(work: &Work<'_, '_>, found: &mut Found) -> Columns {
    let mut out = Columns::default();
    for column in &work.table.columns {
        let rule = work.intent.columns.iter().find(|rule| rule.column == column.name);
        match rule {
            Some(rule) if rule.skip => {
                out.skipped.insert(column.name.clone());
            }
            _ => {
                let to = work.road.column(&work.table.name, &column.name).unwrap_or_default();
                if to != column.name {
                    out.renamed.insert(column.name.clone(), to);
                }
            }
        }
    }
    for column in &work.table.columns {
        let rule = work.intent.columns.iter().find(|rule| rule.column == column.name);
        if out.skipped.contains(&column.name) {
            skip_column(work, column, &mut out, found);
        } else {
            map_column(work, column, rule, &mut out, found);
        }
    }
    out
}

fn skip_column(work: &Work<'_, '_>, column: &Column, out: &mut Columns, found: &mut Found) {
    out.differences.push(Difference {
        kind: Change::Skipped,
        what: column.name.clone(),
        before: definition::attributes(column),
        after: String::new(),
        note: None,
    });
    if column.generated.is_none() && work.intent.policy.load != Load::None {
        let spot = work.road.spot(&work.table.name, Some(&column.name));
        let ways = ["accept it, or carry the column"];
        let what = "values left behind";
        let block = Some(Level::Block);
        found.ask_as("D105", &spot, Question::NotNull, what, &ways, Verdict::RowsOrNote, block);
    }
}

fn map_column(
    work: &Work<'_, '_>,
    column: &Column,
    rule: Option<&ColumnRule>,
    out: &mut Columns,
    found: &mut Found,
) {
    let road = work.road;
    let span = rule.map_or(work.intent.span, |rule| rule.span);
    let (basis, own_checks) = neutral_column(work, column, out, found);
    let typed = match type_of(work, &basis, rule) {
        Ok(typed) => typed,
        Err(problem) => return found.problems.push(*problem),
    };
    let name = out.renamed.get(&column.name).unwrap_or(&column.name).clone();
    check_name(road, work, &name, span, found);
    // Default, stamp, generation and collation follow below, where they come.
    let mut want = Column {
        name: name.clone(),
        ty: typed.fit.ty.clone(),
        native: typed.fit.native.clone(),
        not_null: basis.not_null,
        default: None,
        generated: None,
        identity: basis.identity,
        collation: None,
        storage: basis.storage.clone(),
        compression: basis.compression.clone(),
        unchecked_text: false,
        inherited: basis.inherited,
        portable: basis.portable,
        stamped: false,
        comment: basis.comment.clone(),
    };
    if !road.same {
        out.stripped |= want.storage.take().is_some() | want.compression.take().is_some();
        want.inherited = false;
    }
    defaults(work, &basis, &mut want, out, found);
    stamp(work, &basis, &mut want, found);
    generated(work, &basis, &mut want, out, found);
    collation(work, &basis, &mut want, out, found);
    out.checks.extend(own_checks);
    out.checks.extend(type_checks(road, &basis.ty, &want));
    let zero_date = values::zero_date(work, &basis, &mut want, rule, found);
    let error_value_null = values::error_value(work, &basis, &mut want, rule, found);
    note_difference(road, column, &want, &typed, rule, out);
    if want.generated.is_none() {
        values::ask(work, &basis, &typed, rule, found);
        out.maps.push(ColumnMap {
            source: column.name.clone(),
            target: name,
            source_type: basis.ty.clone(),
            source_native: column.native.clone(),
            target_type: want.ty.clone(),
            target_native: want.native.clone(),
            not_null: want.not_null,
            zero_date,
            error_value_null,
            cast: typed.cast,
        });
    }
    out.columns.push(want);
}

/// A name must be one that the target can hold, and no column of its own.
fn check_name(road: &Road<'_>, work: &Work<'_, '_>, name: &str, span: Span, found: &mut Found) {
    let place = format!("{}.{}", work.table.name, show(name));
    let (code, why) = match (road.to.bad_identifier(name), road.to.bad_column(name)) {
        (Some(why), _) => ("E141", why),
        (_, Some(why)) => ("E140", why),
        _ => return,
    };
    let help = "rename the column in columns: { old_name: { to: new_name } }";
    let message = format!("{} cannot have a column {place}: {why}", road.to.name());
    found.problems.push(Problem::error(code, message).at(span).help(help));
}

/// The column with what its domain says about it taken over, where the target has no domains.
fn neutral_column<'c>(
    work: &Work<'_, '_>,
    column: &'c Column,
    out: &Columns,
    found: &mut Found,
) -> (Cow<'c, Column>, Vec<Check>) {
    let mut checks = Vec::new();
    if work.road.same {
        return (Cow::Borrowed(column), checks);
    }
    let mut basis = column.clone();
    let name = out.renamed.get(&column.name).unwrap_or(&column.name);
    for _ in 0..MOST_NESTED {
        let Some(kind) = user_type(work.road, &basis) else { break };
        match kind {
            UserTypeKind::Enum { labels } => {
                if !matches!(basis.ty, Type::Enum { .. }) {
                    basis.ty = Type::Enum { name: None, labels: labels.clone() };
                }
                break;
            }
            UserTypeKind::Domain { base, not_null, default, checks: conditions, .. } => {
                basis.not_null |= not_null;
                let inherited = default.clone().map(|native| ColumnDefault { native, sequence: None });
                basis.default = basis.default.or(inherited);
                checks.extend(domain_checks(work, column, name, conditions, found));
                basis.native = base.clone();
                basis.ty = work.road.from.parse_type(base);
            }
            _ => break,
        }
    }
    (Cow::Owned(basis), checks)
}

/// The user type that a column is of; none for arrays of it.
fn user_type<'a>(road: &Road<'a>, column: &Column) -> Option<&'a UserTypeKind> {
    if column.native.ends_with(']') {
        return None;
    }
    let names = road.from.mentions(&column.native);
    let mut types = names.iter().filter_map(|(name, _)| road.user_type(name));
    types.next().map(|user_type| &user_type.kind)
}

fn domain_checks(
    work: &Work<'_, '_>,
    column: &Column,
    name: &str,
    conditions: &[Check],
    found: &mut Found,
) -> Vec<Check> {
    let mut checks = Vec::new();
    for condition in conditions {
        let value = Column { name: "value".into(), ..column.clone() };
        let of = Table { columns: vec![value], ..Table::default() };
        let mut expr = work.road.from.parse_expr_of(&condition.native, &of);
        if let Some(expr) = &mut expr {
            expr.rename(&|word| word.eq_ignore_ascii_case("value").then(|| name.to_string()));
        }
        let native = expr.and_then(|expr| work.road.to.spell_expr(&expr).ok());
        match native {
            Some(native) => checks.push(plain_check(native)),
            None => {
                let at = work.road.spot(&work.table.name, Some(&column.name)).at;
                let what = format!("the check of its domain cannot be said: {}", condition.native);
                found.hazard("K306", at, what, &["accept it: the check is left out"]);
            }
        }
    }
    checks
}

fn plain_check(native: String) -> Check {
    Check { name: String::new(), native, validated: true, no_inherit: false, inherited: false, comment: None }
}

/// The target's type: what the plan says, else the same words for the same engine, else the
/// nearest the target can spell.
fn type_of(work: &Work<'_, '_>, column: &Column, rule: Option<&ColumnRule>) -> Result<Typed, Box<Problem>> {
    let road = work.road;
    let place = || format!("{}.{}", work.table.name, show(&column.name));
    let said = rule.and_then(|rule| rule.ty.as_ref());
    let said = said.map(|(text, span)| (text.as_str(), *span));
    if let Some((text, span)) = said.or_else(|| road.type_rule(column)) {
        return overridden(work, column, text, rule, span);
    }
    let span = rule.map_or(work.intent.span, |rule| rule.span);
    if road.same {
        let native = road.reword_bare(&column.native).map_err(|unspeakable| {
            let message = format!("the type of {} cannot be written: {}", place(), unspeakable.what);
            Box::new(Problem::error("E125", message).at(span))
        })?;
        let fit = Fit { ty: renamed_type(road, &column.ty), native, losses: Vec::new() };
        return Ok(Typed { fit, cast: None, overridden: false });
    }
    match typemap::fit(&column.ty, road.to) {
        Some(fit) => Ok(Typed { fit, cast: None, overridden: false }),
        None => {
            let message = format!("{} has no type for {}: {}", road.to.name(), place(), column.native);
            let (ty, what) = match column.ty {
                Type::Any => {
                    ("T", "carries it with the type T that all its values are of; the others are counted")
                }
                _ => ("text", "carries its text form"),
            };
            let help =
                format!("columns: {{ {}: {{ type: {ty} }} }} {what}; or skip the column", show(&column.name));
            Err(Box::new(Problem::error("E125", message).at(span).help(help)))
        }
    }
}

fn overridden(
    work: &Work<'_, '_>,
    column: &Column,
    text: &str,
    rule: Option<&ColumnRule>,
    span: Span,
) -> Result<Typed, Box<Problem>> {
    let road = work.road;
    let problem = |why: String| {
        let place = format!("{}.{}", work.table.name, show(&column.name));
        Box::new(Problem::error("E125", format!("{place} cannot become {text}: {why}")).at(span))
    };
    let unknown = || problem(format!("{} does not know this type", road.to.name()));
    let native = road.to.normal_type(text, Some(road.known())).ok_or_else(unknown)?;
    let ty = road.to.parse_type(&native);
    let zone = rule.and_then(|rule| rule.zone.as_ref()).map(|(zone, _)| zone.clone());
    let own = road.reword_type(&column.native);
    let is_read_so = !road.same && road.from.reads_as(&column.ty, &ty);
    if !is_read_so && let Err(why) = typemap::effects(&column.ty, &ty, zone.is_some()) {
        return Err(problem(why));
    }
    let changes = zone.is_some() || own.as_deref() != Some(native.as_str());
    let cast = changes.then(|| Cast { native: native.clone(), zone });
    Ok(Typed { fit: Fit { ty, native, losses: Vec::new() }, cast, overridden: true })
}

/// A type of the same engine, with the names in it moved.
fn renamed_type(road: &Road<'_>, ty: &Type) -> Type {
    match ty {
        Type::Enum { name: Some(name), labels } => {
            Type::Enum { name: Some(road.renames.object(name)), labels: labels.clone() }
        }
        Type::Array { of } => Type::Array { of: Box::new(renamed_type(road, of)) },
        Type::Native { text } => {
            Type::Native { text: road.reword_type(text).unwrap_or_else(|| text.clone()) }
        }
        other => other.clone(),
    }
}

/// Default and identity. A sequence behind a default becomes an identity where the engines differ.
fn defaults(work: &Work<'_, '_>, basis: &Column, want: &mut Column, out: &mut Columns, found: &mut Found) {
    let road = work.road;
    let counts =
        basis.identity.is_some() || basis.default.as_ref().is_some_and(|default| default.sequence.is_some());
    let Some(default) = basis.default.as_ref().filter(|_| road.same || !counts) else {
        if counts && !road.same {
            count_up(work, basis, want, out, found);
        }
        return;
    };
    if road.same && !road.makes_sequences() && draws(road, default) {
        want.default = None;
        lost(work, basis, None, "its default draws from a sequence, and the target has none", out, found);
        return;
    }
    let native = if road.same {
        road.reword_bare(&default.native).ok()
    } else {
        let expr = road.neutral(&default.native, &Table::default(), &BTreeMap::new()).ok();
        let expr = expr.and_then(|expr| adapt(expr, &basis.ty, &want.ty));
        if expr == Some(Expr::Null) {
            want.default = None;
            return;
        }
        expr.and_then(|expr| road.to.spell_expr(&expr).ok())
    };
    let sequence = default.sequence.as_ref().map(|name| road.renames.object(name));
    want.default = native.map(|native| ColumnDefault { native, sequence });
    match &want.default {
        None => lost(work, basis, None, "its default cannot be said", out, found),
        Some(kept)
            if kept.native.to_uppercase().contains("CURRENT_")
                && matches!((&basis.ty, &want.ty), (Type::TimestampTz { .. }, Type::Timestamp { .. }))
                && !road.same =>
        {
            let what = "its default is the time of the session's zone, and the column holds UTC";
            let kept = kept.native.clone();
            lost(work, basis, Some(&kept), what, out, found);
        }
        Some(kept) if kept.native.to_uppercase().contains("CURRENT_") && !road.same => {
            let timed =
                matches!(basis.ty, Type::Timestamp { .. } | Type::TimestampTz { .. } | Type::Time { .. });
            if timed && matches!(road.to.parse_type(&want.native), Type::Text) {
                lost(work, basis, Some(&kept.native), "its default writes time in another form", out, found);
            }
        }
        Some(_) => {}
    }
}

fn draws(road: &Road<'_>, default: &ColumnDefault) -> bool {
    let names = || road.from.mentions(&default.native).into_iter().map(|(name, _)| name);
    default.sequence.is_some() || names().any(|name| road.source.sequence(&name).is_some())
}

/// What stays of a column that another engine, or another type, cannot set to the present moment.
pub(super) const ON_UPDATE: &str = "on update clause";

/// What sets a column to the present moment goes where columns of that engine can have it.
fn stamp(work: &Work<'_, '_>, basis: &Column, want: &mut Column, found: &mut Found) {
    if !basis.stamped {
        return;
    }
    want.stamped = work.road.same && matches!(want.ty, Type::Timestamp { .. } | Type::TimestampTz { .. });
    if !want.stamped {
        let place = format!("{}.{}", work.table.name.name, basis.name);
        found.left(ON_UPDATE, Name::new(&work.table.name.schema, place), "not carried yet");
    }
}

/// A column that counts up by itself, on another engine.
fn count_up(work: &Work<'_, '_>, basis: &Column, want: &mut Column, out: &mut Columns, found: &mut Found) {
    want.default = None;
    want.identity = None;
    let whole = matches!(work.road.to.parse_type(&want.native), Type::Int { .. });
    let primary = work.table.primary_key().filter(|_| work.intent.policy.keys.primary);
    let own = |part: &IndexPart| part.column.as_deref() == Some(basis.name.as_str());
    let keyed = primary.is_some_and(|key| key.parts.iter().any(own));
    let alone = keyed && primary.is_some_and(|key| key.parts.len() == 1);
    // An identity column holds no nulls.
    let filled = basis.not_null || basis.identity.is_some() || keyed;
    if whole && (alone || filled && work.road.to.features().sequences) {
        want.identity = Some(basis.identity.unwrap_or(Identity::ByDefault));
        return;
    }
    let what = "it no longer counts up by itself";
    match basis.ty {
        // Columns that point here must be of the same type, so the way out is one for all.
        Type::UInt { bits: 64 } => {
            let way = format!("types: [{{ from: {}, to: bigint }}] lets it", basis.native);
            lost(work, basis, None, &format!("{what}; {way}"), out, found);
        }
        _ => lost(work, basis, None, what, out, found),
    }
}

fn lost(
    work: &Work<'_, '_>,
    basis: &Column,
    after: Option<&str>,
    what: &str,
    out: &mut Columns,
    found: &mut Found,
) {
    let spot = work.road.spot(&work.table.name, Some(&basis.name));
    found.hazard("U903", spot.at, what, &["set the default on the target by hand"]);
    let before = basis.default.as_ref().map_or("identity", |default| default.native.as_str());
    out.differences.push(Difference {
        kind: if after.is_some() { Change::Reworded } else { Change::Dropped },
        what: basis.name.clone(),
        before: format!("default {before}"),
        after: after.map(|text| format!("default {text}")).unwrap_or_default(),
        note: Some(what.into()),
    });
}

/// A default's literal in the target column's type; none where it has no sense there.
fn adapt(expr: Expr, from: &Type, to: &Type) -> Option<Expr> {
    let text = matches!(to, Type::Text | Type::VarChar { .. } | Type::Char { .. });
    let number =
        matches!(to, Type::Int { .. } | Type::UInt { .. } | Type::Float { .. } | Type::Decimal { .. });
    match (expr, to) {
        (Expr::Number(digit) | Expr::Text(digit), Type::Bool) => match digit.as_str() {
            "0" => Some(Expr::Bool(false)),
            "1" => Some(Expr::Bool(true)),
            _ => None,
        },
        (Expr::Bool(bit), _) if number => Some(Expr::Number(u8::from(bit).to_string())),
        (Expr::Number(digits), _) if text => Some(Expr::Text(digits)),
        (Expr::Text(digits), _) if number => digits.parse::<f64>().is_ok().then_some(Expr::Number(digits)),
        (Expr::Text(set), Type::Array { .. }) if matches!(from, Type::Set { .. }) => {
            let mut array = String::new();
            members::append_array(&set, &mut array);
            Some(Expr::Text(array))
        }
        (Expr::Text(word), Type::Blob) => word.is_empty().then(|| Expr::Bytes(Vec::new())),
        (Expr::Number(_) | Expr::Bool(_), Type::Blob) => None,
        (Expr::Now(_), _) if text || number || *to == Type::Blob => None,
        (expr, _) => Some(expr),
    }
}

/// Whether it is computed from what is computed, where the target cannot.
fn from_generated(work: &Work<'_, '_>, basis: &Column, native: &str) -> bool {
    if work.road.to.features().generated_from_generated {
        return false;
    }
    let others =
        work.table.columns.iter().filter(|other| other.generated.is_some() && other.name != basis.name);
    let others: BTreeSet<String> = others.map(|other| other.name.clone()).collect();
    work.road.names_one_of(native, &others).is_some()
}

/// A generated column stays one where its expression can be said; else its values are copied.
fn generated(work: &Work<'_, '_>, basis: &Column, want: &mut Column, out: &mut Columns, found: &mut Found) {
    let Some(generated) = &basis.generated else { return };
    let why = match work.road.names_one_of(&generated.native, &out.skipped) {
        Some(column) => Err(format!("it is generated from {}, which is skipped", show(&column))),
        None if from_generated(work, basis, &generated.native) => {
            Err("it is generated from a column that is generated itself".to_string())
        }
        None => work
            .road
            .reword(&generated.native, work.table, &out.renamed)
            .map_err(|unspeakable| unspeakable.what),
    };
    match why {
        Ok(native) => {
            // Not every server of another engine can compute on reading; the values are the same.
            let stored = generated.stored || !work.road.same;
            want.generated = Some(Generated { native, stored });
        }
        Err(why) => {
            want.generated = None;
            let at = work.road.spot(&work.table.name, Some(&basis.name)).at;
            let what = format!("becomes a plain column with the source's values: {why}");
            let ways = ["accept it, or skip the column"];
            found.hazard_as("U903", Level::Block, &at, what, &ways);
            out.differences.push(Difference {
                kind: Change::Dropped,
                what: basis.name.clone(),
                before: format!("generated ({})", generated.native),
                after: String::new(),
                note: Some("a plain column".into()),
            });
        }
    }
}

/// A type that the plan chose says how it compares.
fn collation(work: &Work<'_, '_>, basis: &Column, want: &mut Column, out: &mut Columns, found: &mut Found) {
    let Some(collation) = &basis.collation else { return };
    let road = work.road;
    if road.same {
        let moved = road.renames.object(collation);
        if !road.has_collation(collation, &moved) {
            let at = road.spot(&work.table.name, Some(&basis.name)).at;
            let what = format!("collation {moved} is missing on the target");
            found.hazard("P803", at, what, &["create the collation on the target"]);
        }
        want.collation = Some(moved);
        return;
    }
    want.collation = None;
    if road.is_overridden(&work.table.name, basis) || road.leaves_collation(collation) {
        return;
    }
    out.differences.push(Difference {
        kind: Change::Dropped,
        what: basis.name.clone(),
        before: format!("collate {collation}"),
        after: String::new(),
        note: Some("compares by bytes".into()),
    });
}

/// Conditions that a narrower source type stood for.
fn type_checks(road: &Road<'_>, from: &Type, want: &Column) -> Vec<Check> {
    if road.same {
        return Vec::new();
    }
    let column = || Expr::Column(want.name.clone());
    let kept = road.to.parse_type(&want.native);
    let condition = match (from, &kept, &want.ty) {
        (Type::Enum { labels, .. }, Type::Text, _) => Expr::In {
            of: Box::new(column()),
            list: labels.iter().cloned().map(Expr::Text).collect(),
            negated: false,
        },
        (
            Type::VarChar { length } | Type::Char { length },
            Type::Text,
            Type::VarChar { .. } | Type::Char { .. },
        ) if !road.from.holds().loose_values => {
            let characters = Expr::Call { name: "length".into(), args: vec![column()] };
            Expr::binary(Op::Le, characters, Expr::Number(length.to_string()))
        }
        _ => return Vec::new(),
    };
    road.to.spell_expr(&condition).ok().map(plain_check).into_iter().collect()
}

/// True where a type says as much as another, or counts further.
fn holds_all(to: &Type, from: &Type) -> bool {
    match (typemap::range(to), typemap::range(from)) {
        (Some((min, max)), Some((low, high))) if *from != Type::Bool => min <= low && high <= max,
        _ => to == from,
    }
}

/// What a reader should see of the way from one column to the other.
fn note_difference(
    road: &Road<'_>,
    column: &Column,
    want: &Column,
    typed: &Typed,
    rule: Option<&ColumnRule>,
    out: &mut Columns,
) {
    let renamed = want.name != column.name;
    let meaning = road.same || holds_all(&road.to.parse_type(&want.native), &column.ty);
    let retyped = typed.overridden && typed.cast.is_some() || !meaning;
    if !renamed && !retyped {
        return;
    }
    let after = match (renamed, retyped) {
        (true, true) => format!("{} {}", show(&want.name), want.native),
        (true, false) => show(&want.name),
        _ => want.native.clone(),
    };
    let zone = rule.and_then(|rule| rule.zone.as_ref()).map(|(zone, _)| format!("read as {zone}"));
    let losses = (!typed.fit.losses.is_empty()).then(|| typed.fit.losses.join(", "));
    out.differences.push(Difference {
        kind: if retyped { Change::Retyped } else { Change::Renamed },
        what: column.name.clone(),
        before: if retyped { column.native.clone() } else { show(&column.name) },
        after,
        note: zone.or(losses),
    });
}
