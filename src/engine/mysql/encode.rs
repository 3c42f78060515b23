//! Neutral cells, made into parameters of a statement. What the server would refuse it refuses by
//! itself, for its mode is strict; what it would take and silently change (a third decimal, blanks at
//! the end, bytes that it pads, a date in another form) is refused here. Pure.

use mysql_async::Value;

use super::types;
use crate::catalog::{Cell, ColumnMap, Projection, RowBatch, Type, ZeroDate};
use crate::change::Datum;

/// Makes rows of one projection. A column's values are all of one kind: a bulk takes no other.
pub(super) struct Encoder {
    columns: Vec<Put>,
}

/// A cell that cannot be written: which column, and why. Never the value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub column: usize,
    pub why: &'static str,
}

/// How cells go into one column.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Put {
    Int {
        min: i128,
        max: i128,
    },
    Unsigned {
        max: u64,
    },
    Decimal {
        scale: usize,
    },
    Float {
        single: bool,
    },
    Text {
        characters: Option<u32>,
    },
    Bytes {
        length: Option<u32>,
    },
    Bits {
        length: usize,
    },
    /// `zeros`: a year, month or day may be zero.
    Date {
        zeros: bool,
    },
    Time {
        precision: usize,
    },
    /// `utc`: what comes with a zone is in UTC, and kept so.
    Moment {
        precision: usize,
        utc: bool,
        zeros: bool,
    },
    /// Text or bytes, as they come.
    Verbatim,
}

/// What the other flavor than MariaDB does to a text that it takes for JSON.
const PARSED: &str = "MySQL keeps JSON parsed, and the source's text would not come back";

impl Encoder {
    /// The error says which column of the plan cannot be written.
    pub fn new(projection: &Projection, parses_json: bool) -> Result<Self, Bad> {
        let columns = projection.columns.iter().enumerate().map(|(column, map)| {
            let exact = !matches!(map.source_type, Type::Json { binary: true });
            if parses_json && exact && map.target_native.eq_ignore_ascii_case("json") {
                return Err(Bad { column, why: PARSED });
            }
            Put::of(map).map_err(|why| Bad { column, why })
        });
        Ok(Self { columns: columns.collect::<Result<_, _>>()? })
    }

    /// One row, and the bytes that it has as parameters.
    pub fn row(&self, batch: &RowBatch, index: usize) -> Result<(Vec<Value>, usize), Bad> {
        let mut bytes = 0;
        let mut values = Vec::with_capacity(self.columns.len());
        for (column, (put, cell)) in self.columns.iter().zip(batch.row(index)).enumerate() {
            let data = batch.data(*cell);
            let datum = match *cell {
                Cell::Null => Datum::Null,
                Cell::Bool(value) => Datum::Bool(value),
                Cell::Int(value) => Datum::Int(value),
                Cell::UInt(value) => Datum::UInt(value),
                Cell::Float(value) => Datum::Float(value),
                Cell::Text { .. } => Datum::Text(data),
                Cell::Bytes { .. } => Datum::Bytes(data),
            };
            let value = put.value(datum).map_err(|why| Bad { column, why })?;
            bytes += bytes_of(&value);
            values.push(value);
        }
        Ok((values, bytes))
    }

    /// One cell of a column.
    pub fn cell(&self, column: usize, datum: Datum<'_>) -> Result<Value, Bad> {
        let unknown = Bad { column, why: "the change has more columns than the plan" };
        let put = self.columns.get(column).ok_or(unknown)?;
        put.value(datum).map_err(|why| Bad { column, why })
    }
}

/// Bytes of a parameter, nine of its length at most.
pub(super) fn bytes_of(value: &Value) -> usize {
    10 + if let Value::Bytes(data) = value { data.len() } else { 8 }
}

impl Put {
    fn of(map: &ColumnMap) -> Result<Self, &'static str> {
        let zone = map.cast.as_ref().and_then(|cast| cast.zone.as_deref());
        let is_utc = |zone: &str| {
            ["utc", "gmt", "z", "etc/utc", "+00:00"].contains(&zone.to_ascii_lowercase().as_str())
        };
        let moved = matches!(map.source_type, Type::Timestamp { .. } | Type::TimestampTz { .. });
        if moved && zone.is_some_and(|zone| !is_utc(zone)) {
            return Err("a timestamp is moved to or from UTC only (`zone: UTC`) on its way to this target");
        }
        let zeros = map.zero_date == ZeroDate::Kept;
        let range = |bits: u8| 1_i128 << (bits - 1);
        Ok(match types::parse(&map.target_native) {
            Type::Int { .. } if map.target_type == Type::Bool => Self::Int { min: 0, max: 1 },
            Type::Int { bits } => Self::Int { min: -range(bits), max: range(bits) - 1 },
            Type::UInt { bits } => Self::Unsigned { max: u64::MAX >> (64 - u32::from(bits)) },
            Type::Decimal { scale, .. } => {
                Self::Decimal { scale: usize::try_from(scale.unwrap_or(0)).unwrap_or(0) }
            }
            Type::Float { bits } => Self::Float { single: bits == 32 },
            Type::Char { length } | Type::VarChar { length } => Self::Text { characters: Some(length) },
            Type::Text | Type::Json { .. } => Self::Text { characters: None },
            Type::Binary { length } => Self::Bytes { length: Some(length) },
            Type::Blob => Self::Bytes { length: None },
            Type::Bit { length, .. } => Self::Bits { length: length.unwrap_or(1) as usize },
            Type::Date => Self::Date { zeros },
            Type::Time { precision, .. } => Self::Time { precision: precision.into() },
            Type::Timestamp { precision } | Type::TimestampTz { precision } => Self::Moment {
                precision: precision.into(),
                utc: matches!(map.source_type, Type::TimestampTz { .. }) || zone.is_some(),
                zeros,
            },
            _ => Self::Verbatim,
        })
    }

    fn value(&self, datum: Datum<'_>) -> Result<Value, &'static str> {
        match datum {
            Datum::Null => Ok(Value::NULL),
            Datum::Absent => Err("the log does not tell the value"),
            Datum::Bool(value) => self.truth(value),
            Datum::Int(value) => self.number(value.into()),
            Datum::UInt(value) => self.number(value.into()),
            Datum::Float(value) => self.float(value),
            Datum::Bytes(data) => self.bytes(data),
            Datum::Text(data) => {
                let text = std::str::from_utf8(data).map_err(|_| "the text is not valid UTF-8")?;
                self.text(text)
            }
        }
    }

    fn truth(&self, value: bool) -> Result<Value, &'static str> {
        match self {
            Self::Text { .. } | Self::Verbatim => self.text(if value { "true" } else { "false" }),
            Self::Bits { .. } => self.text(if value { "1" } else { "0" }),
            _ => self.number(value.into()),
        }
    }

    fn number(&self, value: i128) -> Result<Value, &'static str> {
        const OUTSIDE: &str = "the number is outside the range of the column's type";
        match self {
            Self::Int { min, max } => match i64::try_from(value) {
                Ok(number) if (*min..=*max).contains(&value) => Ok(Value::Int(number)),
                _ => Err(OUTSIDE),
            },
            Self::Unsigned { max } => {
                let number = u64::try_from(value).ok().filter(|number| number <= max);
                number.map(Value::UInt).ok_or(OUTSIDE)
            }
            Self::Float { single } => {
                let exact = if *single { 1_i128 << 24 } else { 1 << 53 };
                if value.abs() > exact {
                    return Err("the whole number has more digits than this floating point type keeps");
                }
                Ok(real(value as f64, *single))
            }
            Self::Decimal { .. } | Self::Text { .. } | Self::Verbatim => self.text(&value.to_string()),
            _ => Err("a number does not fit this type"),
        }
    }

    fn float(&self, value: f64) -> Result<Value, &'static str> {
        if !value.is_finite() {
            return Err("NaN and infinity have no place in this column");
        }
        match self {
            Self::Float { single: true } if f64::from(value as f32) != value => {
                Err("the number has more digits than a 32-bit floating point column keeps")
            }
            Self::Float { single } => Ok(real(value, *single)),
            Self::Decimal { .. } | Self::Text { .. } | Self::Verbatim => self.text(&format!("{value}")),
            Self::Int { .. } | Self::Unsigned { .. }
                if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 =>
            {
                self.number(value as i128)
            }
            _ => Err("a number with a fraction does not fit this type"),
        }
    }

    fn bytes(&self, data: &[u8]) -> Result<Value, &'static str> {
        match self {
            Self::Bytes { length: Some(length) } if *length as usize != data.len() => {
                Err("the bytes have another length than the column's")
            }
            Self::Bytes { .. } | Self::Verbatim => Ok(Value::Bytes(data.to_vec())),
            _ => Err("bytes do not fit this type"),
        }
    }

    fn text(&self, text: &str) -> Result<Value, &'static str> {
        let kept = |text: &str| Ok(Value::Bytes(text.as_bytes().to_vec()));
        match self {
            Self::Text { characters: Some(most) }
                if text.len() > *most as usize && text.chars().count() > *most as usize =>
            {
                Err("the text is longer than the column allows")
            }
            Self::Text { .. } | Self::Verbatim => kept(text),
            Self::Int { max: 1, .. } if truth(text).is_some() => {
                Ok(Value::Int(truth(text).map_or(0, i64::from)))
            }
            Self::Int { .. } | Self::Unsigned { .. } => {
                let number: i128 = text.parse().map_err(|_| "the text is no whole number")?;
                self.number(number)
            }
            Self::Decimal { scale } => decimal(text, *scale).map(|text| Value::Bytes(text.into_bytes())),
            Self::Float { single } => {
                let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
                let value: f64 = Some(text)
                    .filter(|_| plain)
                    .and_then(|text| text.parse().ok())
                    .ok_or("the text is no number")?;
                match value.is_finite() {
                    true => Ok(real(value, *single)),
                    false => Err("the number is outside the range of the column's type"),
                }
            }
            Self::Bits { length } => bits(text, *length).map(Value::Bytes),
            Self::Date { zeros } => match day(text, *zeros) {
                Some("") => kept(text),
                _ => Err("the text is no date from 0001-01-01 to 9999-12-31"),
            },
            Self::Time { precision } => {
                let unsigned = text.strip_prefix('-').unwrap_or(text);
                match clock(unsigned, *precision)? {
                    "" => kept(cut(text)),
                    _ => Err("the time has something behind it that would be lost"),
                }
            }
            Self::Moment { precision, utc, zeros } => moment(text, *precision, *utc, *zeros).and_then(kept),
            Self::Bytes { .. } => Err("text does not fit bytes"),
        }
    }
}

fn real(value: f64, single: bool) -> Value {
    if single { Value::Float(value as f32) } else { Value::Double(value) }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "t" | "true" | "1" => Some(true),
        "f" | "false" | "0" => Some(false),
        _ => None,
    }
}

/// A decimal number without zeros beyond the column's scale, which the server would warn of.
fn decimal(text: &str, scale: usize) -> Result<String, &'static str> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, ""));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() == 0 {
        return Err("the value is no finite decimal number");
    }
    if unsigned.contains(['e', 'E']) {
        // From texts of other engines only; as many digits as it says.
        let power: i64 = exponent.parse().map_err(|_| "the text is no decimal number")?;
        if power.abs() > 400 {
            return Err("the number is outside the range of the column's type");
        }
        let all = format!("{whole}{fraction}");
        let point = whole.len() as i64 + power;
        let plain = match usize::try_from(point) {
            Ok(point) if point >= all.len() => format!("{all}{}", "0".repeat(point - all.len())),
            Ok(point) => format!("{}.{}", &all[..point], &all[point..]),
            Err(_) => format!("0.{}{all}", "0".repeat(point.unsigned_abs() as usize)),
        };
        let sign = if text.starts_with('-') { "-" } else { "" };
        return decimal(&format!("{sign}{plain}"), scale);
    }
    let kept = fraction.trim_end_matches('0');
    if kept.len() > scale {
        return Err("the number has more decimals than the column keeps");
    }
    let end = fraction.len().min(scale);
    let sign = if text.starts_with('-') { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    Ok(match end {
        0 => format!("{sign}{whole}"),
        end => format!("{sign}{whole}.{}", &fraction[..end]),
    })
}

/// Zeros and ones as bytes, the most significant first.
fn bits(text: &str, length: usize) -> Result<Vec<u8>, &'static str> {
    if text.len() != length {
        return Err("the bit string has another length than the column's");
    }
    let mut bytes = vec![0; length.div_ceil(8)];
    let all = bytes.len() * 8;
    for (at, bit) in text.bytes().enumerate() {
        let place = all - length + at;
        match bit {
            b'1' => bytes[place / 8] |= 1 << (7 - place % 8),
            b'0' => {}
            _ => return Err("the text is no bit string"),
        }
    }
    Ok(bytes)
}

fn two(text: &str) -> Option<(u32, &str)> {
    let digits = text.get(..2).filter(|two| two.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((digits.parse().ok()?, &text[2..]))
}

/// Takes `2024-02-29` in the years 1 to 9999, or with zeros; what follows. Whether there is such a day the
/// server knows.
fn day(text: &str, zeros: bool) -> Option<&str> {
    let year = text.get(..4).filter(|year| year.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (month, rest) = two(text[4..].strip_prefix('-')?)?;
    let (day, rest) = two(rest.strip_prefix('-')?)?;
    (zeros || year != "0000" && month > 0 && day > 0).then_some(rest)
}

/// Takes `23:59:59.5`, of which hours may have three digits; what follows.
fn clock(text: &str, precision: usize) -> Result<&str, &'static str> {
    const FORM: &str = "the text is no time in the form 23:59:59";
    let hours = text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = Some(&text[hours..]).filter(|_| (2..=3).contains(&hours)).ok_or(FORM)?;
    for _ in 0..2 {
        let (_, more) = rest.strip_prefix(':').and_then(two).ok_or(FORM)?;
        rest = more;
    }
    let Some(fraction) = rest.strip_prefix('.') else { return Ok(rest) };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if fraction[..digits].trim_end_matches('0').len() > precision {
        return Err("it has more decimals of a second than the column keeps");
    }
    Ok(&fraction[digits..])
}

/// Without zeros at the end of a fraction.
fn cut(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

fn moment(text: &str, precision: usize, utc: bool, zeros: bool) -> Result<&str, &'static str> {
    const FORM: &str = "the text is no moment from 0001-01-01 to 9999-12-31 in the form 2024-02-29 23:59:59";
    let rest = day(text, zeros).ok_or(FORM)?;
    if rest.is_empty() {
        return Ok(text);
    }
    let rest = rest.strip_prefix([' ', 'T']).ok_or(FORM)?;
    let zone = clock(rest, precision)?;
    match zone {
        "" => Ok(cut(text)),
        "+00" | "Z" | "+00:00" if utc => Ok(cut(&text[..text.len() - zone.len()])),
        "+00" | "Z" | "+00:00" => Err("the moment has a zone and the column has none"),
        _ => Err(FORM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(native: &str, source: Type) -> Put {
        let map = ColumnMap {
            source: "c".into(),
            target: "c".into(),
            source_type: source,
            source_native: String::new(),
            target_type: types::parse(native),
            target_native: native.into(),
            not_null: false,
            zero_date: ZeroDate::Refused,
            error_value_null: false,
            cast: None,
        };
        Put::of(&map).expect("can be written")
    }

    fn text(native: &str, value: &str) -> Result<String, &'static str> {
        match put(native, Type::Text).text(value)? {
            Value::Bytes(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            other => Ok(format!("{other:?}")),
        }
    }

    #[test]
    fn m_01_numbers_beyond_their_column_are_refused() {
        let number = |native: &str, value: i128| put(native, Type::Int { bits: 64 }).number(value);
        assert_eq!(number("bigint unsigned", u64::MAX.into()), Ok(Value::UInt(u64::MAX)));
        assert_eq!(number("mediumint", -8_388_608), Ok(Value::Int(-8_388_608)));
        assert_eq!(number("year(4)", 2155), Ok(Value::Int(2155)));
        for (native, value) in [("tinyint", 128), ("int unsigned", -1), ("double", (1 << 53) + 1)] {
            assert!(number(native, value).is_err(), "{native}");
        }
        assert_eq!(put("float", Type::Float { bits: 32 }).float(0.5), Ok(Value::Float(0.5)));
        assert!(put("float", Type::Float { bits: 64 }).float(0.1).is_err());
        assert!(put("double", Type::Float { bits: 64 }).float(f64::NAN).is_err());
    }

    #[test]
    fn pg_02_decimals_are_never_rounded() {
        for (given, kept) in [
            ("1.500", "1.50"),
            ("-0.10", "-0.10"),
            ("7", "7"),
            ("1e2", "100"),
            ("15e-1", "1.5"),
            (".5", "0.5"),
            ("5e-3", ""),
        ] {
            assert_eq!(text("decimal(10,2)", given).unwrap_or_default(), kept, "{given}");
        }
        for bad in ["NaN", "Infinity", "1.005", "x", "", "1e"] {
            assert!(text("decimal(10,2)", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn m_05_bits_are_packed() {
        assert_eq!(bits("10011", 5), Ok(vec![0b10011]));
        assert_eq!(bits("100000010", 9), Ok(vec![1, 2]));
        assert!(bits("1", 2).is_err() && bits("x", 1).is_err());
    }

    #[test]
    fn pg_18_moments_lose_nothing() {
        let zoned = |value: &str| put("datetime(6)", Type::TimestampTz { precision: 6 }).text(value);
        assert_eq!(zoned("2024-02-29 23:59:59.5+00"), Ok(Value::Bytes(b"2024-02-29 23:59:59.5".to_vec())));
        assert_eq!(text("datetime", "2024-02-29 23:59:59.000").as_deref(), Ok("2024-02-29 23:59:59"));
        assert_eq!(text("time(6)", "24:00:00").as_deref(), Ok("24:00:00"));
        assert_eq!(text("time", "-838:59:59").as_deref(), Ok("-838:59:59"));
        for (native, bad) in [
            ("datetime", "2024-02-29 23:59:59.5"),
            ("datetime", "infinity"),
            ("datetime", "2024-02-29 23:59:59+00"),
            ("datetime", "0044-03-15 00:00:00 BC"),
            ("date", "2024-02-29 00:00:00"),
            ("date", "0000-01-01"),
            ("date", "10000-01-01"),
            ("time", "12:00"),
        ] {
            assert!(text(native, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn v_204_text_and_bytes_keep_their_length() {
        assert_eq!(text("varchar(2)", "é💧").as_deref(), Ok("é💧"));
        assert!(text("varchar(2)", "ab ").is_err());
        assert!(put("binary(4)", Type::Blob).bytes(b"abc").is_err());
        assert!(put("longblob", Type::Blob).bytes(b"\xff\0").is_ok());
    }
}
