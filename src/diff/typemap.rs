//! From a source type to a target type: one loop over wider types with what each step gives up,
//! and the table of what a change of type may do to values. Knows types, not engines.

use crate::catalog::{Dialect, Question, Type};

/// A type the target has, and what was given up on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The meaning that values keep on the target.
    pub ty: Type,
    /// The target's spelling.
    pub native: String,
    /// In words, in the order of the steps: `no limit on length`.
    pub losses: Vec<&'static str>,
}

/// The nearest type that the target can spell; none where only an override in the plan can say
/// what is meant.
pub fn fit(ty: &Type, target: &dyn Dialect) -> Option<Fit> {
    let mut ty = ty.clone();
    let mut losses = Vec::new();
    loop {
        if let Some(native) = target.spell_type(&ty) {
            return Some(Fit { ty, native, losses });
        }
        let (next, loss) = wider(&ty)?;
        losses.extend((!loss.is_empty()).then_some(loss));
        ty = next;
    }
}

/// The next wider type and what is lost by taking it. Intervals, times with a zone, arrays and
/// types of one engine have none: their text means nothing elsewhere unless somebody says so.
fn wider(ty: &Type) -> Option<(Type, &'static str)> {
    Some(match ty {
        Type::Bool => (Type::Int { bits: 16 }, "kept as 0 and 1"),
        Type::Int { bits } if *bits < 64 => (Type::Int { bits: wider_bits(*bits) }, ""),
        Type::Int { .. } => (Type::Decimal { precision: Some(19), scale: Some(0) }, ""),
        Type::UInt { bits: 64 } => (Type::Decimal { precision: Some(20), scale: Some(0) }, ""),
        // The next wider one that is signed; three bytes fit in four.
        Type::UInt { bits } => {
            (Type::Int { bits: if *bits == 24 { 32 } else { (2 * bits).clamp(16, 64) } }, "")
        }
        Type::Decimal { precision: Some(_), .. } => {
            (Type::Decimal { precision: None, scale: None }, "no limit on digits")
        }
        Type::Decimal { .. } => (Type::Text, "kept as text"),
        Type::Float { bits: 32 } => (Type::Float { bits: 64 }, ""),
        Type::Char { length } => (Type::VarChar { length: *length }, "not padded with blanks"),
        Type::VarChar { .. } => (Type::Text, "no limit on length"),
        Type::Binary { .. } => (Type::Blob, "no limit on length"),
        Type::Bit { varying: false, length } => (Type::Bit { length: *length, varying: true }, ""),
        Type::Json { binary: true } => (Type::Json { binary: false }, ""),
        Type::Json { .. } => (Type::Text, "not checked to be json"),
        Type::Xml => (Type::Text, "not checked to be xml"),
        Type::Time { zone: true, .. } => return None,
        Type::TimestampTz { precision } => {
            (Type::Timestamp { precision: *precision }, "kept in UTC, without a zone")
        }
        Type::Bit { .. }
        | Type::Date
        | Type::Time { .. }
        | Type::Timestamp { .. }
        | Type::Uuid
        | Type::Network { .. } => (Type::Text, "kept as text"),
        Type::Enum { .. } => (Type::Text, "kept as text, labels by a check"),
        Type::Set { .. } => (Type::Text, "kept as text, members by commas"),
        _ => return None,
    })
}

fn wider_bits(bits: u8) -> u8 {
    [16, 24, 32].into_iter().find(|wider| *wider > bits).unwrap_or(64)
}

/// What a change of type may do to values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Hazard `code` exists for the rows that this question counts.
    Asks { code: &'static str, question: Question, what: String },
    /// Hazard `code` exists for the column, whatever its rows.
    Has { code: &'static str, what: String },
}

/// What values of one type meet on their way into another. An error says why that way is closed.
pub fn effects(from: &Type, to: &Type, zone: bool) -> Result<Vec<Effect>, String> {
    use Type::*;
    if from == to {
        return Ok(Vec::new());
    }
    let effects = match (from, to) {
        (Int { .. } | UInt { .. } | Bool, Int { .. } | UInt { .. }) => integers(from, to),
        (Int { .. } | UInt { .. }, Bool) => {
            let question = Question::OutsideRange { min: "0".into(), max: "1".into() };
            asks("V206", question, "values other than 0 and 1 going to a boolean")
        }
        (Bool | Int { .. } | UInt { .. } | Decimal { .. }, Decimal { .. }) => decimals(from, to),
        (Decimal { .. } | Float { .. }, Int { bits } | UInt { bits }) => {
            let question = Question::DecimalBeyond { precision: digits(*bits), scale: 0 };
            asks("V205", question, "fractions, or numbers too large for an integer")
        }
        (Int { bits } | UInt { bits }, Float { bits: wide }) if bits < wide => Vec::new(),
        (Float { bits: 32 }, Float { bits: 64 }) => Vec::new(),
        (Int { .. } | UInt { .. } | Decimal { .. } | Float { .. }, Float { .. }) => {
            has("V213", "numbers are rounded to binary floating point")
        }
        (Set { labels }, Array { of }) if **of == Text => return members(labels),
        (Float { .. }, Decimal { .. }) => has("V213", "binary floating point becomes decimal"),
        (_, Text | VarChar { .. } | Char { .. }) => texts(from, to),
        (Char { .. } | VarChar { .. } | Text | Any, Enum { labels, .. })
        | (Enum { .. }, Enum { labels, .. }) => labels_within(from, labels),
        (Char { .. } | VarChar { .. } | Text | Any, Native { .. } | Network { .. }) => {
            has("V217", "values pass through the cast to a type known to one engine only")
        }
        (Char { .. } | VarChar { .. } | Text | Any | Enum { .. }, _) => asks(
            "V215",
            Question::NotOfType { ty: to.clone() },
            "values that are not of the column's new type",
        ),
        (Json { binary: false }, Json { binary: true }) => {
            has("V212", "json is stored parsed: duplicate keys, key order and spelling of numbers go")
        }
        (Timestamp { .. }, TimestampTz { .. }) | (TimestampTz { .. }, Timestamp { .. }) => {
            zones(from, to, zone)
        }
        (Timestamp { precision: a }, Timestamp { precision: b })
        | (TimestampTz { precision: a }, TimestampTz { precision: b }) => fractions(*a, *b),
        (Time { precision: a, zone: x }, Time { precision: b, zone: y }) if x == y => fractions(*a, *b),
        (Json { .. }, Json { .. })
        | (Date, Timestamp { .. })
        | (Binary { .. }, Blob)
        | (Bit { .. }, Bit { length: None, varying: true }) => Vec::new(),
        (Native { .. } | Network { .. }, _) | (_, Native { .. } | Network { .. }) => {
            has("V217", "values pass through a cast of a type known to one engine only")
        }
        _ => return Err("no conversion between these types keeps every value".into()),
    };
    Ok(effects)
}

fn asks(code: &'static str, question: Question, what: &str) -> Vec<Effect> {
    vec![Effect::Asks { code, question, what: what.into() }]
}

fn has(code: &'static str, what: &str) -> Vec<Effect> {
    vec![Effect::Has { code, what: what.into() }]
}

/// Decimal digits that every value of so many bits fits in, and that fit in them.
fn digits(bits: u8) -> u32 {
    match bits {
        0..=8 => 3,
        9..=16 => 5,
        17..=24 => 8,
        25..=32 => 10,
        _ => 19,
    }
}

/// Smallest and largest value of an integer type.
pub fn range(ty: &Type) -> Option<(i128, i128)> {
    match ty {
        Type::Bool => Some((0, 1)),
        Type::Int { bits } => Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1)),
        Type::UInt { bits } => Some((0, (1 << bits) - 1)),
        _ => None,
    }
}

fn integers(from: &Type, to: &Type) -> Vec<Effect> {
    let (Some((low, high)), Some((min, max))) = (range(from), range(to)) else { return Vec::new() };
    if low >= min && high <= max {
        return Vec::new();
    }
    let question = Question::OutsideRange { min: min.to_string(), max: max.to_string() };
    asks("V201", question, "integers outside the target's range")
}

fn decimals(from: &Type, to: &Type) -> Vec<Effect> {
    let (whole, fraction) = match from {
        Type::Decimal { precision: Some(precision), scale } => {
            let scale = scale.unwrap_or(0);
            (i64::from(*precision) - i64::from(scale), i64::from(scale))
        }
        Type::Int { bits } | Type::UInt { bits } => (i64::from(digits(*bits)), 0),
        Type::Bool => (1, 0),
        _ => (i64::MAX, i64::MAX),
    };
    let Type::Decimal { precision: Some(precision), scale } = to else { return Vec::new() };
    let scale = scale.unwrap_or(0);
    if whole <= i64::from(*precision) - i64::from(scale) && fraction <= i64::from(scale) {
        return Vec::new();
    }
    let question = Question::DecimalBeyond { precision: *precision, scale };
    asks("V205", question, "numbers with more digits than the target keeps")
}

/// Everything has a text form; what counts is its length, and blanks at the end.
fn texts(from: &Type, to: &Type) -> Vec<Effect> {
    let known = match from {
        Type::Char { length } | Type::VarChar { length } => Some(*length),
        Type::Uuid => Some(36),
        _ => None,
    };
    let mut effects = Vec::new();
    if let Type::VarChar { length } | Type::Char { length } = to
        && known.is_none_or(|known| known > *length)
    {
        let question = Question::LongerThan { characters: *length };
        effects = asks("V204", question, "text longer than the target column");
    }
    if matches!(from, Type::Char { .. }) != matches!(to, Type::Char { .. }) {
        effects.extend(has("V214", "blanks at the end compare differently"));
    }
    if *from == Type::Any {
        let question = Question::NotOfType { ty: to.clone() };
        effects.extend(asks("V215", question, "values that are not text"));
    }
    effects
}

fn labels_within(from: &Type, labels: &[String]) -> Vec<Effect> {
    if let Type::Enum { labels: own, .. } = from
        && own.iter().all(|label| labels.contains(label))
    {
        return Vec::new();
    }
    asks("V210", Question::NotIn { values: labels.to_vec() }, "values that are not a label of the target")
}

/// Each value is an array of the members that it has.
fn members(labels: &[String]) -> Result<Vec<Effect>, String> {
    let odd = |label: &String| label.is_empty() || label.starts_with('{');
    match labels.iter().any(odd) {
        true => {
            Err("an array does not tell a member that is empty, or begins with a brace, from others".into())
        }
        false => Ok(Vec::new()),
    }
}

fn zones(from: &Type, to: &Type, zone: bool) -> Vec<Effect> {
    let mut effects = match (from, to) {
        (Type::Timestamp { precision: a }, Type::TimestampTz { precision: b })
        | (Type::TimestampTz { precision: a }, Type::Timestamp { precision: b }) => fractions(*a, *b),
        _ => Vec::new(),
    };
    if !zone {
        effects.extend(has("V207", "timestamps change their meaning: the plan does not say in which zone"));
    }
    effects
}

fn fractions(from: u8, to: u8) -> Vec<Effect> {
    if to >= from { Vec::new() } else { has("V208", "fractions of a second are cut") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_that_fit_ask_nothing_and_others_ask_their_range() {
        let int = |bits| Type::Int { bits };
        assert_eq!(effects(&int(32), &int(64), false), Ok(Vec::new()));
        let asked = effects(&int(64), &int(32), false).expect("possible");
        let [Effect::Asks { code: "V201", question: Question::OutsideRange { min, max }, .. }] = &asked[..]
        else {
            panic!("{asked:?}")
        };
        assert_eq!((min.as_str(), max.as_str()), ("-2147483648", "2147483647"));
    }

    #[test]
    fn y_21_a_change_that_would_drop_the_time_of_day_is_refused() {
        assert!(effects(&Type::Timestamp { precision: 6 }, &Type::Date, false).is_err());
        assert!(effects(&Type::Interval, &Type::Blob, false).is_err());
    }

    #[test]
    fn m_12_sets_become_arrays_where_every_member_can_be_told() {
        let set = |labels: &[&str]| Type::Set { labels: labels.iter().map(ToString::to_string).collect() };
        let array = |of| Type::Array { of: Box::new(of) };
        assert_eq!(effects(&set(&["a", "b}"]), &array(Type::Text), false), Ok(Vec::new()));
        assert!(effects(&set(&["a", ""]), &array(Type::Text), false).is_err());
        assert!(effects(&set(&["{a}"]), &array(Type::Text), false).is_err());
        assert!(effects(&set(&["a"]), &array(Type::VarChar { length: 1 }), false).is_err());
    }

    #[test]
    fn a_timestamp_needs_a_zone_to_change_its_kind() {
        let (plain, zoned) = (Type::Timestamp { precision: 6 }, Type::TimestampTz { precision: 6 });
        let codes = |zone| effects(&plain, &zoned, zone).expect("possible").len();
        assert_eq!((codes(false), codes(true)), (1, 0));
    }

    #[test]
    fn a_decimal_that_loses_digits_is_asked_about() {
        let decimal = |p, s| Type::Decimal { precision: Some(p), scale: Some(s) };
        assert_eq!(effects(&decimal(10, 2), &decimal(12, 2), false), Ok(Vec::new()));
        assert_eq!(effects(&decimal(10, 2), &decimal(12, 1), false).map(|found| found.len()), Ok(1));
        assert_eq!(effects(&decimal(10, 2), &decimal(10, 4), false).map(|found| found.len()), Ok(1));
    }
}
