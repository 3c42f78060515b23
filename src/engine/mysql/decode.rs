//! Values of the binary protocol, made into neutral cells. The binary form is the exact one: text
//! shortens FLOAT. A value that its type cannot carry is refused with the reason, never the value.

use std::io::Write;

use mysql_async::Value;

use crate::catalog::{Cell, ColumnMap, RowBatch, Type, ZeroDate};

/// How a column's values become cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decode {
    Bool,
    Int,
    UInt,
    Decimal,
    Float,
    Text,
    /// The blanks at the end are padding.
    Padded,
    Uuid,
    /// `empty`: the empty text is one of the labels. If not, it is what the server keeps of a
    /// value that was none, which is read as null with `null`.
    Enum {
        empty: bool,
        null: bool,
    },
    Bytes,
    /// Text of so many zeros and ones.
    Bits {
        length: u32,
    },
    Date {
        zero_date: ZeroDate,
    },
    Time,
    Timestamp {
        zoned: bool,
        zero_date: ZeroDate,
    },
    Interval,
    /// Whatever the server says it is; `bytes`: the column holds no text.
    Any {
        bytes: bool,
    },
}

/// Why a value is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A zero year, month or day.
    ZeroDate,
    /// A day that its month does not have.
    NoSuchDay,
    /// The year 0, of which the server's calendar and others think differently.
    YearZero,
    /// Index 0 of an ENUM.
    NoLabel,
    /// A label of which the catalog may not have all characters.
    Unprinted,
    /// Bytes that are no text.
    NotText,
    /// A number that the neutral type does not hold.
    Range,
    /// Not the class of value that the type has.
    Class,
}

impl Refused {
    /// A date with zeros in it is none where such dates are kept.
    fn unless(self, zero_date: ZeroDate) -> Result<(), Self> {
        match self {
            Self::ZeroDate | Self::YearZero if zero_date == ZeroDate::Kept => Ok(()),
            refused => Err(refused),
        }
    }

    pub fn why(self) -> &'static str {
        match self {
            Self::ZeroDate => "a date has a year, month or day of zero, which is no date",
            Self::NoSuchDay => "a date names a day that its month does not have",
            Self::YearZero => "a date lies in the year 0, which the two ends count differently",
            Self::NoLabel => "an ENUM holds the error value (index 0), which is none of its labels",
            Self::Unprinted => {
                "an ENUM or SET has a label that the server prints with a question mark, which may stand for another \
                 character"
            }
            Self::NotText => "a text holds bytes that are not valid in its character set",
            Self::Range => "a number is outside the range of the column's type",
            Self::Class => "the value is not of the class that the column's type has",
        }
    }

    /// What to do; `column` is quoted.
    pub fn hint(self, column: &str) -> String {
        let find = |condition: String| {
            format!("find such rows with WHERE {condition}; mend them, or leave them out with where:")
        };
        match self {
            Self::ZeroDate => find(format!("MONTH({column}) = 0 OR DAYOFMONTH({column}) = 0")),
            Self::NoSuchDay => find(format!(
                "DAYOFMONTH({column}) > DAYOFMONTH(LAST_DAY({column} - INTERVAL DAYOFMONTH({column}) - 1 DAY))"
            )),
            Self::YearZero => find(format!("YEAR({column}) = 0")),
            Self::NoLabel => find(format!("{column} + 0 = 0")),
            Self::Unprinted => {
                "rename the label, or write cdc: false for this table: it is copied once".to_string()
            }
            Self::NotText => {
                "mend those rows, or read the column as bytes by a type of its own in the plan".to_string()
            }
            Self::Range | Self::Class => {
                "map the column to a type that takes such values, or leave those rows out with where:"
                    .to_string()
            }
        }
    }
}

impl Decode {
    /// By the type that the cell shall have. `bytes`: the column holds no text.
    pub fn of(ty: &Type, bytes: bool, map: &ColumnMap) -> Self {
        let zero_date = map.zero_date;
        match ty {
            Type::Bool => Self::Bool,
            Type::Int { .. } => Self::Int,
            Type::UInt { .. } => Self::UInt,
            Type::Decimal { .. } => Self::Decimal,
            Type::Float { .. } => Self::Float,
            Type::Char { .. } => Self::Padded,
            Type::Uuid => Self::Uuid,
            Type::Enum { labels, .. } => {
                Self::Enum { empty: labels.iter().any(String::is_empty), null: map.error_value_null }
            }
            Type::Binary { .. } | Type::Blob => Self::Bytes,
            Type::Bit { length, .. } => Self::Bits { length: length.unwrap_or(64) },
            Type::Date => Self::Date { zero_date },
            Type::Time { .. } => Self::Time,
            Type::Timestamp { .. } => Self::Timestamp { zoned: false, zero_date },
            Type::TimestampTz { .. } => Self::Timestamp { zoned: true, zero_date },
            Type::Interval => Self::Interval,
            Type::Any => Self::Any { bytes },
            // Shapes: number of the reference system, then WKB.
            Type::Native { .. } if bytes => Self::Bytes,
            Type::VarChar { .. }
            | Type::Text
            | Type::Json { .. }
            | Type::Xml
            | Type::Set { .. }
            | Type::Array { .. }
            | Type::Network { .. }
            | Type::Native { .. } => Self::Text,
        }
    }

    /// Appends one value.
    #[inline]
    pub fn push(self, value: &Value, batch: &mut RowBatch) -> Result<(), Refused> {
        match (self, value) {
            (_, Value::NULL) => batch.push(Cell::Null),
            (Self::Any { bytes }, value) => return any(value, bytes, batch),
            (Self::Bool, value) => batch.push(Cell::Bool(match number(value)? {
                0 => false,
                1 => true,
                _ => return Err(Refused::Range),
            })),
            (Self::Int, value) => {
                let number = i64::try_from(number(value)?).map_err(|_| Refused::Range)?;
                batch.push(Cell::Int(number));
            }
            (Self::UInt, value) => {
                let number = u64::try_from(number(value)?).map_err(|_| Refused::Range)?;
                batch.push(Cell::UInt(number));
            }
            (Self::Float, Value::Float(value)) => batch.push(Cell::Float((*value).into())),
            (Self::Float, Value::Double(value)) => batch.push(Cell::Float(*value)),
            (Self::Decimal, Value::Bytes(text)) => decimal(text, batch),
            (Self::Decimal, Value::Int(_) | Value::UInt(_)) => {
                let number = number(value)?;
                batch.push_text_with(|arena| written(write!(arena, "{number}")));
            }
            (Self::Bytes, Value::Bytes(bytes)) => batch.push_bytes(bytes),
            (Self::Bits { length }, Value::Bytes(bytes)) => bits(bytes, length, batch)?,
            (Self::Padded, Value::Bytes(bytes)) => batch.push_text(text(bytes)?.trim_ascii_end_blanks()),
            (Self::Uuid, Value::Bytes(bytes)) => {
                let text = text(bytes)?;
                batch.push_text_with(|arena| arena.extend(text.iter().map(u8::to_ascii_lowercase)));
            }
            (Self::Enum { empty: false, null }, Value::Bytes(bytes)) if bytes.is_empty() => match null {
                true => batch.push(Cell::Null),
                false => return Err(Refused::NoLabel),
            },
            (Self::Text | Self::Enum { .. }, Value::Bytes(bytes)) => batch.push_text(text(bytes)?),
            // The host's own texts for numbers, where a plan keeps them as text.
            (Self::Text, Value::Int(_) | Value::UInt(_)) => {
                let number = number(value)?;
                batch.push_text_with(|arena| written(write!(arena, "{number}")));
            }
            (
                Self::Date { zero_date: ZeroDate::Null } | Self::Timestamp { zero_date: ZeroDate::Null, .. },
                Value::Date(year, month, day, ..),
            ) if check_day(*year, *month, *day).is_err() => batch.push(Cell::Null),
            (Self::Date { zero_date }, Value::Date(year, month, day, 0, 0, 0, 0)) => {
                check_day(*year, *month, *day).or_else(|refused| refused.unless(zero_date))?;
                batch.push_text_with(|arena| put_day(arena, *year, *month, *day));
            }
            (
                Self::Timestamp { zoned, zero_date },
                Value::Date(year, month, day, hour, minute, second, micros),
            ) => {
                check_day(*year, *month, *day).or_else(|refused| refused.unless(zero_date))?;
                batch.push_text_with(|arena| {
                    put_day(arena, *year, *month, *day);
                    arena.push(b' ');
                    put_clock(arena, u32::from(*hour), *minute, *second, *micros);
                    if zoned {
                        arena.extend_from_slice(b"+00");
                    }
                });
            }
            (Self::Time, Value::Time(negative, days, hours, minutes, seconds, micros)) => {
                batch.push_text_with(|arena| {
                    if *negative {
                        arena.push(b'-');
                    }
                    put_clock(arena, days * 24 + u32::from(*hours), *minutes, *seconds, *micros);
                });
            }
            (Self::Interval, Value::Time(negative, days, hours, minutes, seconds, micros)) => {
                let hours = days * 24 + u32::from(*hours);
                batch.push_text_with(|arena| {
                    put_interval(arena, *negative, hours, *minutes, *seconds, *micros);
                });
            }
            _ => return Err(Refused::Class),
        }
        Ok(())
    }
}

/// Writing into memory does not fail.
fn written(result: std::io::Result<()>) {
    debug_assert!(result.is_ok());
}

trait TrimBlanks {
    fn trim_ascii_end_blanks(&self) -> &[u8];
}

impl TrimBlanks for [u8] {
    fn trim_ascii_end_blanks(&self) -> &[u8] {
        let end = self.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        &self[..end]
    }
}

/// A text that is UTF-8: where the server converts, it does so without a word about what it could
/// not; where it does not, what comes is what was stored.
fn text(bytes: &[u8]) -> Result<&[u8], Refused> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(Refused::NotText),
    }
}

/// A whole number; BIT comes as bytes, the most significant first.
fn number(value: &Value) -> Result<i128, Refused> {
    match value {
        Value::Int(value) => Ok(i128::from(*value)),
        Value::UInt(value) => Ok(i128::from(*value)),
        Value::Bytes(bytes) if bytes.len() <= 8 => {
            Ok(bytes.iter().fold(0, |number, byte| number << 8 | i128::from(*byte)))
        }
        _ => Err(Refused::Class),
    }
}

/// Without the zeros that ZEROFILL puts in front.
fn decimal(text: &[u8], batch: &mut RowBatch) {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (&text[..1], digits),
        digits => (&text[..0], digits),
    };
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let kept = match digits.get(zeros) {
        Some(b'0'..=b'9') => zeros,
        _ => zeros.saturating_sub(1),
    };
    batch.push_text_with(|arena| {
        arena.extend_from_slice(sign);
        arena.extend_from_slice(&digits[kept..]);
    });
}

fn bits(bytes: &[u8], length: u32, batch: &mut RowBatch) -> Result<(), Refused> {
    let all = bytes.len() * 8;
    let skip = all.checked_sub(length as usize).ok_or(Refused::Range)?;
    let bit = |at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
    if (0..skip).any(|at| bit(at) == 1) {
        return Err(Refused::Range);
    }
    batch.push_text_with(|arena| arena.extend((skip..all).map(|at| b'0' + bit(at))));
    Ok(())
}

/// A value as the server describes it: for comparing rows of equal engines.
fn any(value: &Value, bytes: bool, batch: &mut RowBatch) -> Result<(), Refused> {
    match value {
        Value::NULL => batch.push(Cell::Null),
        Value::Int(value) => batch.push(Cell::Int(*value)),
        Value::UInt(value) => batch.push(Cell::UInt(*value)),
        Value::Float(value) => batch.push(Cell::Float((*value).into())),
        Value::Double(value) => batch.push(Cell::Float(*value)),
        Value::Bytes(value) if bytes => batch.push_bytes(value),
        Value::Bytes(value) => batch.push_text(text(value)?),
        Value::Date(year, month, day, hour, minute, second, micros) => batch.push_text_with(|arena| {
            put_day(arena, *year, *month, *day);
            arena.push(b' ');
            put_clock(arena, u32::from(*hour), *minute, *second, *micros);
        }),
        Value::Time(..) => return Decode::Time.push(value, batch),
    }
    Ok(())
}

pub(super) fn check_day(year: u16, month: u8, day: u8) -> Result<(), Refused> {
    let days = match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    match (year, month, day) {
        (_, 0, _) | (_, _, 0) => Err(Refused::ZeroDate),
        (0, ..) => Err(Refused::YearZero),
        _ if day > days => Err(Refused::NoSuchDay),
        _ => Ok(()),
    }
}

/// Two digits.
#[inline]
fn put_two(arena: &mut Vec<u8>, number: u8) {
    arena.extend_from_slice(&[b'0' + number / 10 % 10, b'0' + number % 10]);
}

#[inline]
fn put_day(arena: &mut Vec<u8>, year: u16, month: u8, day: u8) {
    put_two(arena, (year / 100) as u8);
    put_two(arena, (year % 100) as u8);
    arena.push(b'-');
    put_two(arena, month);
    arena.push(b'-');
    put_two(arena, day);
}

/// `23:59:59.5`; hours may have three digits.
#[inline]
fn put_clock(arena: &mut Vec<u8>, hours: u32, minutes: u8, seconds: u8, micros: u32) {
    match u8::try_from(hours) {
        Ok(hours @ 0..100) => put_two(arena, hours),
        _ => written(write!(arena, "{hours}")),
    }
    arena.push(b':');
    put_two(arena, minutes);
    arena.push(b':');
    put_two(arena, seconds);
    put_fraction(arena, micros);
}

/// A point and the digits behind it, without trailing zeros.
fn put_fraction(arena: &mut Vec<u8>, micros: u32) {
    if micros == 0 {
        return;
    }
    arena.push(b'.');
    written(write!(arena, "{micros:06}"));
    while arena.last() == Some(&b'0') {
        arena.pop();
    }
}

/// ISO 8601 as PostgreSQL prints it, each part with its sign: `PT-1H-2.5S`.
fn put_interval(arena: &mut Vec<u8>, negative: bool, hours: u32, minutes: u8, seconds: u8, micros: u32) {
    let sign = if negative { "-" } else { "" };
    arena.extend_from_slice(b"PT");
    if hours > 0 {
        written(write!(arena, "{sign}{hours}H"));
    }
    if minutes > 0 {
        written(write!(arena, "{sign}{minutes}M"));
    }
    let nothing = hours == 0 && minutes == 0;
    if seconds > 0 || micros > 0 || nothing {
        let sign = if seconds > 0 || micros > 0 { sign } else { "" };
        written(write!(arena, "{sign}{seconds}"));
        put_fraction(arena, micros);
        arena.push(b'S');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(decode: Decode, value: Value) -> Result<String, Refused> {
        let mut batch = RowBatch::new(1);
        decode.push(&value, &mut batch)?;
        batch.end_row();
        Ok(match batch.row(0)[0] {
            cell @ Cell::Text { .. } => String::from_utf8_lossy(batch.data(cell)).into_owned(),
            cell @ Cell::Bytes { .. } => format!("{:?}", batch.data(cell)),
            cell => format!("{cell:?}"),
        })
    }

    fn bytes(text: &str) -> Value {
        Value::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn m_01_whole_numbers_of_any_size() {
        assert_eq!(cell(Decode::Int, Value::Int(-8_388_608)), Ok("Int(-8388608)".into()));
        assert_eq!(cell(Decode::UInt, Value::UInt(u64::MAX)), Ok(format!("UInt({})", u64::MAX)));
        assert_eq!(cell(Decode::UInt, Value::Int(7)), Ok("UInt(7)".into()));
        assert_eq!(cell(Decode::Int, Value::UInt(u64::MAX)), Err(Refused::Range));
        assert_eq!(cell(Decode::Decimal, Value::UInt(u64::MAX)), Ok(u64::MAX.to_string()));
        assert_eq!(cell(Decode::Bool, Value::Int(1)), Ok("Bool(true)".into()));
        assert_eq!(cell(Decode::Bool, Value::Int(2)), Err(Refused::Range));
    }

    #[test]
    fn m_03_decimals_keep_their_scale_and_lose_filling_zeros() {
        for (given, kept) in
            [("0001.50", "1.50"), ("0.00", "0.00"), ("-00.5", "-0.5"), ("10", "10"), ("0", "0"), ("000", "0")]
        {
            assert_eq!(cell(Decode::Decimal, bytes(given)), Ok(kept.into()), "{given}");
        }
    }

    #[test]
    fn m_04_a_float_is_widened_exactly() {
        assert_eq!(cell(Decode::Float, Value::Float(16_777_216.0)), Ok("Float(16777216.0)".into()));
        assert_eq!(cell(Decode::Float, Value::Float(0.1)), Ok(format!("Float({})", f64::from(0.1_f32))));
        assert_eq!(cell(Decode::Float, bytes("0.1")), Err(Refused::Class));
    }

    #[test]
    fn m_05_bits() {
        let bits = |length, bytes: &[u8]| cell(Decode::Bits { length }, Value::Bytes(bytes.to_vec()));
        assert_eq!(bits(5, &[0b10011]), Ok("10011".into()));
        assert_eq!(bits(9, &[1, 2]), Ok("100000010".into()));
        assert_eq!(bits(64, &[255; 8]), Ok("1".repeat(64)));
        assert_eq!(bits(3, &[8]), Err(Refused::Range));
        assert_eq!(cell(Decode::Bool, Value::Bytes(vec![1])), Ok("Bool(true)".into()));
    }

    #[test]
    fn m_08_text_that_is_none_is_refused() {
        assert_eq!(cell(Decode::Text, Value::Bytes(b"a\xff".to_vec())), Err(Refused::NotText));
        assert_eq!(cell(Decode::Padded, bytes("ab  ")), Ok("ab".into()));
    }

    #[test]
    fn m_11_the_error_value_is_no_label() {
        let label = |empty, null| cell(Decode::Enum { empty, null }, bytes(""));
        assert_eq!(label(false, false), Err(Refused::NoLabel));
        assert_eq!(label(true, false), Ok(String::new()));
        assert_eq!(label(false, true), Ok("Null".to_string()));
    }

    #[test]
    fn m_13_dates_that_are_none_are_refused() {
        let date = |year, month, day| {
            cell(Decode::Date { zero_date: ZeroDate::Refused }, Value::Date(year, month, day, 0, 0, 0, 0))
        };
        assert_eq!(date(2024, 2, 29), Ok("2024-02-29".into()));
        assert_eq!(date(1, 1, 1), Ok("0001-01-01".into()));
        assert_eq!(date(0, 0, 0), Err(Refused::ZeroDate));
        assert_eq!(date(2023, 0, 10), Err(Refused::ZeroDate));
        assert_eq!(date(2023, 2, 29), Err(Refused::NoSuchDay));
        assert_eq!(date(0, 3, 1), Err(Refused::YearZero));
        let kept = |year, month, day| {
            cell(Decode::Date { zero_date: ZeroDate::Kept }, Value::Date(year, month, day, 0, 0, 0, 0))
        };
        assert_eq!(kept(0, 0, 0), Ok("0000-00-00".into()));
        assert_eq!(kept(2023, 0, 10), Ok("2023-00-10".into()));
        assert_eq!(kept(2023, 2, 31), Err(Refused::NoSuchDay));
        let moment = Decode::Timestamp { zoned: true, zero_date: ZeroDate::Refused };
        assert_eq!(cell(moment, Value::Date(0, 0, 0, 0, 0, 0, 0)), Err(Refused::ZeroDate));
    }

    #[test]
    fn m_14_moments_lose_only_trailing_zeros() {
        let moment = |zoned, micros| {
            cell(
                Decode::Timestamp { zoned, zero_date: ZeroDate::Refused },
                Value::Date(2038, 1, 19, 3, 14, 7, micros),
            )
        };
        assert_eq!(moment(false, 0), Ok("2038-01-19 03:14:07".into()));
        assert_eq!(moment(true, 999_999), Ok("2038-01-19 03:14:07.999999+00".into()));
        assert_eq!(moment(true, 500_000), Ok("2038-01-19 03:14:07.5+00".into()));
        assert_eq!(moment(false, 10), Ok("2038-01-19 03:14:07.00001".into()));
    }

    #[test]
    fn m_16_times_beyond_a_day() {
        let longest = |negative| Value::Time(negative, 34, 22, 59, 59, 999_999);
        assert_eq!(cell(Decode::Time, longest(false)), Ok("838:59:59.999999".into()));
        assert_eq!(cell(Decode::Time, longest(true)), Ok("-838:59:59.999999".into()));
        assert_eq!(cell(Decode::Time, Value::Time(false, 0, 1, 2, 3, 0)), Ok("01:02:03".into()));
        assert_eq!(cell(Decode::Interval, longest(true)), Ok("PT-838H-59M-59.999999S".into()));
        assert_eq!(cell(Decode::Interval, Value::Time(false, 0, 0, 0, 0, 0)), Ok("PT0S".into()));
        assert_eq!(cell(Decode::Interval, Value::Time(true, 0, 0, 0, 0, 500_000)), Ok("PT-0.5S".into()));
        assert_eq!(cell(Decode::Interval, Value::Time(false, 0, 3, 0, 0, 0)), Ok("PT3H".into()));
    }
}
