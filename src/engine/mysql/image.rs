//! Row images of the binary log: how each column is stored, and its value as the binary protocol
//! would have sent it for a SELECT, so that one decoder serves both. Pure; nothing here knows names.
//!
//! ```text
//!   row     = nulls (a bit for each column) + the columns that are not null
//!   string  = length (1 to 4 bytes, as the table map says) + bytes
//!   moment  = packed fields, the most significant byte first, + fraction of 0 to 3 bytes
//!   decimal = nine digits in four bytes, the sign in the first bit
//! ```

use std::net::Ipv4Addr;

use mysql_async::Value;

use super::charset::Charset;
use super::decode::Refused;
use super::json;

/// How a column is stored in a row image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// Whole number of so many bytes.
    Whole(u8),
    Float,
    Double,
    Year,
    Date,
    /// Digits of the fraction.
    Time(u8),
    Moment(u8),
    Stamp(u8),
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// Bytes behind a length of so many bytes.
    Bytes(u8),
    /// A JSON value of MySQL, behind a length of so many bytes.
    Json(u8),
    Label(u8),
    Set(u8),
    Bits(u8),
}

/// What the bytes of a column mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Signed,
    Unsigned,
    /// One way to read it only.
    Plain,
    Text(Charset),
    Bytes,
    /// Zeros at the end are not logged: filled up to so many.
    Filled(u32),
    Uuid,
    Inet4,
    Inet6,
    Json,
    Labels {
        labels: Vec<String>,
        /// The error value is null.
        null: bool,
        /// A question mark may stand for what the catalog cannot print.
        doubted: bool,
    },
    /// A year of which the last two digits are shown.
    ShortYear,
}

/// Type codes of a table map.
const TINY: u8 = 1;
const SHORT: u8 = 2;
const LONG: u8 = 3;
const FLOAT: u8 = 4;
const DOUBLE: u8 = 5;
const LONGLONG: u8 = 8;
const INT24: u8 = 9;
const DATE: u8 = 10;
const YEAR: u8 = 13;
const NEWDATE: u8 = 14;
const VARCHAR: u8 = 15;
const BIT: u8 = 16;
const TIMESTAMP2: u8 = 17;
const DATETIME2: u8 = 18;
const TIME2: u8 = 19;
const VECTOR: u8 = 242;
const JSON: u8 = 245;
const NEWDECIMAL: u8 = 246;
const ENUM: u8 = 247;
const SET: u8 = 248;
const TINY_BLOB: u8 = 249;
const BLOB: u8 = 252;
const VAR_STRING: u8 = 253;
const STRING: u8 = 254;
const GEOMETRY: u8 = 255;

impl Stored {
    /// By the code and the metadata of a table map, of which what belongs to the column is taken.
    /// None for a kind that is not read here (compressed columns, forms of old servers).
    pub fn read(code: u8, metadata: &mut &[u8]) -> Option<Self> {
        let mut byte = || {
            let (first, rest) = metadata.split_first()?;
            *metadata = rest;
            Some(*first)
        };
        Some(match code {
            TINY => Self::Whole(1),
            SHORT => Self::Whole(2),
            INT24 => Self::Whole(3),
            LONG => Self::Whole(4),
            LONGLONG => Self::Whole(8),
            FLOAT => byte().filter(|length| *length == 4).map(|_| Self::Float)?,
            DOUBLE => byte().filter(|length| *length == 8).map(|_| Self::Double)?,
            YEAR => Self::Year,
            DATE | NEWDATE => Self::Date,
            TIME2 => Self::Time(fraction(byte()?)?),
            DATETIME2 => Self::Moment(fraction(byte()?)?),
            TIMESTAMP2 => Self::Stamp(fraction(byte()?)?),
            NEWDECIMAL => {
                let (precision, scale) = (byte()?, byte()?);
                (precision <= 65 && scale <= precision).then_some(Self::Decimal { precision, scale })?
            }
            VARCHAR => Self::Bytes(if u16::from_le_bytes([byte()?, byte()?]) < 256 { 1 } else { 2 }),
            TINY_BLOB..=BLOB | GEOMETRY | VECTOR => {
                Self::Bytes(byte().filter(|length| (1..=4).contains(length))?)
            }
            JSON => Self::Json(byte().filter(|length| (1..=4).contains(length))?),
            BIT => {
                let (bits, bytes) = (byte()?, byte()?);
                Self::Bits(bytes.checked_add(u8::from(bits > 0)).filter(|length| (1..=8).contains(length))?)
            }
            STRING | VAR_STRING | ENUM | SET => string(byte()?, byte()?)?,
            _ => return None,
        })
    }

    /// Bytes before the value, and of the value, at the beginning of `data`.
    #[inline]
    pub fn extent(self, data: &[u8]) -> Option<(usize, usize)> {
        let length = match self {
            Self::Whole(bytes) | Self::Label(bytes) | Self::Set(bytes) | Self::Bits(bytes) => bytes.into(),
            Self::Float => 4,
            Self::Double => 8,
            Self::Year => 1,
            Self::Date => 3,
            Self::Time(digits) => 3 + fraction_bytes(digits),
            Self::Moment(digits) => 5 + fraction_bytes(digits),
            Self::Stamp(digits) => 4 + fraction_bytes(digits),
            Self::Decimal { precision, scale } => decimal_bytes(precision - scale) + decimal_bytes(scale),
            Self::Bytes(prefix) | Self::Json(prefix) => {
                let prefix = usize::from(prefix);
                let length = little(data.get(..prefix)?) as usize;
                return (data.len() - prefix >= length).then_some((prefix, length));
            }
        };
        (data.len() >= length).then_some((0, length))
    }

    /// The value of exactly its bytes. `spare` gives its memory to what needs some.
    #[inline]
    pub fn value(self, meaning: &Meaning, field: &[u8], mut spare: Vec<u8>) -> Result<Value, Refused> {
        spare.clear();
        Ok(match (self, meaning) {
            (Self::Whole(bytes), Meaning::Signed) => {
                let unused = 64 - 8 * u32::from(bytes);
                Value::Int((little(field) << unused) as i64 >> unused)
            }
            (Self::Whole(_), Meaning::Unsigned) => Value::UInt(little(field)),
            (Self::Float, Meaning::Plain) => Value::Float(f32::from_bits(little(field) as u32)),
            (Self::Double, Meaning::Plain) => Value::Double(f64::from_bits(little(field))),
            (Self::Year, Meaning::Plain) => Value::Int(match field[0] {
                0 => 0,
                years => 1900 + i64::from(years),
            }),
            (Self::Year, Meaning::ShortYear) => Value::Int(i64::from(field[0]) % 100),
            (Self::Date, Meaning::Plain) => {
                let packed = little(field) as u32;
                Value::Date((packed >> 9) as u16, (packed >> 5 & 15) as u8, (packed & 31) as u8, 0, 0, 0, 0)
            }
            (Self::Time(digits), Meaning::Plain) => time(field, digits),
            (Self::Moment(digits), Meaning::Plain) => moment(field, digits),
            (Self::Stamp(digits), Meaning::Plain) => stamp(field, digits),
            (Self::Decimal { precision, scale }, Meaning::Plain) => {
                decimal(field, precision, scale, &mut spare);
                Value::Bytes(spare)
            }
            (Self::Bits(_), Meaning::Plain) | (Self::Bytes(_), Meaning::Bytes) => {
                spare.extend_from_slice(field);
                Value::Bytes(spare)
            }
            (Self::Bytes(_), Meaning::Text(charset)) => {
                charset.put(field, &mut spare)?;
                Value::Bytes(spare)
            }
            (Self::Bytes(_), Meaning::Filled(length)) => {
                fill(field, *length as usize, &mut spare)?;
                Value::Bytes(spare)
            }
            (Self::Bytes(_), Meaning::Uuid) => {
                fill(field, 16, &mut spare)?;
                Value::Bytes(uuid(&spare))
            }
            (Self::Bytes(_), Meaning::Inet4) => {
                fill(field, 4, &mut spare)?;
                let address = Ipv4Addr::from_bits(big(&spare) as u32);
                Value::Bytes(address.to_string().into_bytes())
            }
            (Self::Bytes(_), Meaning::Inet6) => {
                fill(field, 16, &mut spare)?;
                Value::Bytes(inet6(&spare))
            }
            (Self::Json(_), Meaning::Json) => {
                json::print(field, &mut spare).ok_or(Refused::Class)?;
                Value::Bytes(spare)
            }
            (Self::Label(_), Meaning::Labels { labels, null, doubted }) => match little(field) as usize {
                // What is kept of a value that was none of the labels.
                0 if *null => Value::NULL,
                index => {
                    let label = index.checked_sub(1).and_then(|at| labels.get(at));
                    let label = label.ok_or(Refused::NoLabel)?;
                    if *doubted && label.contains('?') {
                        return Err(Refused::Unprinted);
                    }
                    spare.extend_from_slice(label.as_bytes());
                    Value::Bytes(spare)
                }
            },
            (Self::Set(_), Meaning::Labels { labels, doubted, .. }) => {
                let mask = little(field);
                // Of more than 64, which some servers take and print, those behind are never in a value.
                if u64::BITS - mask.leading_zeros() > labels.len() as u32 {
                    return Err(Refused::NoLabel);
                }
                for (at, label) in labels.iter().enumerate().take(64).filter(|(at, _)| mask >> at & 1 == 1) {
                    if *doubted && label.contains('?') {
                        return Err(Refused::Unprinted);
                    }
                    if mask & ((1 << at) - 1) != 0 {
                        spare.push(b',');
                    }
                    spare.extend_from_slice(label.as_bytes());
                }
                Value::Bytes(spare)
            }
            _ => return Err(Refused::Class),
        })
    }

    /// Whether values that are stored like this can have this meaning.
    pub fn can_mean(self, meaning: &Meaning) -> bool {
        match self {
            Self::Whole(_) => matches!(meaning, Meaning::Signed | Meaning::Unsigned),
            Self::Bytes(_) => {
                use Meaning::{Json, Labels, Plain, ShortYear, Signed, Unsigned};
                !matches!(meaning, Signed | Unsigned | Plain | ShortYear | Json | Labels { .. })
            }
            Self::Json(_) => *meaning == Meaning::Json,
            Self::Label(_) | Self::Set(_) => matches!(meaning, Meaning::Labels { .. }),
            Self::Year => matches!(meaning, Meaning::Plain | Meaning::ShortYear),
            _ => *meaning == Meaning::Plain,
        }
    }
}

fn fraction(digits: u8) -> Option<u8> {
    (digits <= 6).then_some(digits)
}

/// A string column keeps its real kind and its length in two bytes that share bits.
fn string(first: u8, second: u8) -> Option<Stored> {
    let (kind, length) = match first & 0x30 {
        0x30 => (first, u16::from(second)),
        bits => (first | 0x30, u16::from(second) | u16::from(bits ^ 0x30) << 4),
    };
    let few = |most: u8| u8::try_from(length).ok().filter(|length| (1..=most).contains(length));
    match kind {
        ENUM => few(2).map(Stored::Label),
        SET => few(8).map(Stored::Set),
        STRING | VAR_STRING => Some(Stored::Bytes(if length < 256 { 1 } else { 2 })),
        _ => None,
    }
}

#[inline]
fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[inline]
fn big(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn fraction_bytes(digits: u8) -> usize {
    usize::from(digits).div_ceil(2)
}

/// A fraction as microseconds.
fn micros(bytes: &[u8], digits: u8) -> u32 {
    let unit = [0, 10_000, 100, 1][fraction_bytes(digits)];
    big(bytes) as u32 * unit
}

fn moment(field: &[u8], digits: u8) -> Value {
    let packed = big(&field[..5]) & 0x7F_FFFF_FFFF;
    let (date, clock) = (packed >> 17, packed & 0x1_FFFF);
    let months = date >> 5;
    Value::Date(
        (months / 13) as u16,
        (months % 13) as u8,
        (date & 31) as u8,
        (clock >> 12) as u8,
        (clock >> 6 & 63) as u8,
        (clock & 63) as u8,
        micros(&field[5..], digits),
    )
}

/// Seconds since 1970; zero with no fraction is the date that is none.
fn stamp(field: &[u8], digits: u8) -> Value {
    let (seconds, micros) = (big(&field[..4]), micros(&field[4..], digits));
    if seconds == 0 && micros == 0 {
        return Value::Date(0, 0, 0, 0, 0, 0, 0);
    }
    let (year, month, day) = civil(seconds / 86_400);
    let clock = (seconds % 86_400) as u32;
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    Value::Date(year, month, day, hour as u8, minute as u8, second as u8, micros)
}

/// The date of a day since 1970, in eras of 400 years that begin in March.
fn civil(days: u64) -> (u16, u8, u8) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = (day - (153 * month + 2) / 5 + 1) as u8;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    ((era * 400 + year + later) as u16, month as u8, date)
}

/// A time of the sign that its offset has; negative ones count fractions backwards.
fn time(field: &[u8], digits: u8) -> Value {
    let bytes = fraction_bytes(digits);
    let packed = match bytes {
        // One number, whose last three bytes are the fraction.
        3 => big(field) as i64 - (1 << 47),
        _ => {
            let unit = [0, 10_000, 100][bytes];
            let (mut whole, mut part) = (big(&field[..3]) as i64 - (1 << 23), big(&field[3..]) as i64);
            if whole < 0 && part > 0 {
                whole += 1;
                part -= 1 << (8 * bytes);
            }
            (whole << 24) + part * unit
        }
    };
    let (negative, packed) = (packed < 0, packed.unsigned_abs());
    let (clock, micros) = ((packed >> 24) as u32, (packed & 0xFF_FFFF) as u32);
    let hours = clock >> 12 & 1023;
    Value::Time(negative, hours / 24, (hours % 24) as u8, (clock >> 6 & 63) as u8, (clock & 63) as u8, micros)
}

/// Bytes of so many digits.
fn decimal_bytes(digits: u8) -> usize {
    const REST: [usize; 9] = [0, 1, 1, 2, 2, 3, 3, 4, 4];
    usize::from(digits / 9) * 4 + REST[usize::from(digits % 9)]
}

/// The text of a decimal, with all digits of its scale.
pub(super) fn decimal(field: &[u8], precision: u8, scale: u8, out: &mut Vec<u8>) {
    let negative = field.first().is_some_and(|first| first & 0x80 == 0);
    // Turned over, a negative number looks like a positive one; the sign's own bit is set then.
    let flip = if negative { 0xFF } else { 0 };
    let whole = precision - scale;
    if negative {
        out.push(b'-');
    }
    let start = out.len();
    let mut at = 0;
    let mut group = |digits: u8, out: &mut Vec<u8>| {
        let bytes = decimal_bytes(digits);
        let number = field[at..at + bytes].iter().enumerate().fold(0_u32, |number, (place, byte)| {
            let sign = if at == 0 && place == 0 { 0x80 } else { 0 };
            number << 8 | u32::from(byte ^ flip ^ sign)
        });
        at += bytes;
        let mut unit = 10_u32.pow(digits.into());
        for _ in 0..digits {
            unit /= 10;
            out.push(b'0' + (number / unit % 10) as u8);
        }
    };
    let (first, last) = (whole % 9, scale % 9);
    if first > 0 {
        group(first, out);
    }
    for _ in 0..whole / 9 {
        group(9, out);
    }
    let zeros = out[start..].iter().take_while(|digit| **digit == b'0').count();
    out.drain(start..start + zeros);
    if out.len() == start {
        out.push(b'0');
    }
    if scale > 0 {
        out.push(b'.');
        for _ in 0..scale / 9 {
            group(9, out);
        }
        if last > 0 {
            group(last, out);
        }
    }
}

fn fill(field: &[u8], length: usize, out: &mut Vec<u8>) -> Result<(), Refused> {
    if field.len() > length {
        return Err(Refused::Class);
    }
    out.extend_from_slice(field);
    out.resize(length, 0);
    Ok(())
}

/// MariaDB stores a UUID with its parts from last to first, so that equal nodes and times lie
/// together, unless its version says that it is ordered already.
fn uuid(stored: &[u8]) -> Vec<u8> {
    let turned = stored[6] & 0x80 != 0 && stored[8] >> 4 < 6;
    let order: [usize; 16] = match turned {
        true => [12, 13, 14, 15, 10, 11, 8, 9, 6, 7, 0, 1, 2, 3, 4, 5],
        false => std::array::from_fn(|at| at),
    };
    let mut out = Vec::with_capacity(36);
    for (place, at) in order.into_iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        for digit in [stored[at] >> 4, stored[at] & 15] {
            out.push(b"0123456789abcdef"[usize::from(digit)]);
        }
    }
    out
}

/// As MariaDB prints it: the longest run of zeros left out, and the last four bytes as an address
/// of version 4 where the rest says that they are one.
fn inet6(stored: &[u8]) -> Vec<u8> {
    use std::fmt::Write;
    let words: Vec<u16> = stored.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let (mut gap, mut length) = (8, 0);
    let mut at = 0;
    while at < 8 {
        let run = words[at..].iter().take_while(|word| **word == 0).count();
        if run > length {
            (gap, length) = (at, run);
        }
        at += run.max(1);
    }
    let mut out = String::with_capacity(45);
    let mut at = 0;
    while at < 8 {
        if at == gap {
            out.push_str(if at == 0 { "::" } else { ":" });
            at += length;
            continue;
        }
        if at == 6 && gap == 0 && (length == 6 || length == 5 && words[5] == 0xFFFF) {
            let _ = write!(out, "{}.{}.{}.{}", stored[12], stored[13], stored[14], stored[15]);
            break;
        }
        let _ = write!(out, "{:x}", words[at]);
        at += 1;
        if at < 8 {
            out.push(':');
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(stored: Stored, meaning: Meaning, field: &[u8]) -> Result<Value, Refused> {
        assert_eq!(stored.extent(field), Some((0, field.len())));
        stored.value(&meaning, field, Vec::new())
    }

    #[test]
    fn m_01_a_negative_mediumint_stays_negative() {
        for (bytes, number) in
            [([0xFF, 0xFF, 0xFF], -1), ([0, 0, 0x80], -8_388_608), ([0xFF, 0xFF, 0x7F], 8_388_607)]
        {
            assert_eq!(value(Stored::Whole(3), Meaning::Signed, &bytes), Ok(Value::Int(number)));
        }
        let most = value(Stored::Whole(3), Meaning::Unsigned, &[0xFF; 3]);
        assert_eq!(most, Ok(Value::UInt(16_777_215)));
        assert_eq!(value(Stored::Whole(8), Meaning::Unsigned, &[0xFF; 8]), Ok(Value::UInt(u64::MAX)));
        assert_eq!(value(Stored::Whole(8), Meaning::Signed, &[0xFF; 8]), Ok(Value::Int(-1)));
    }

    #[test]
    fn m_03_decimals() {
        let text = |precision, scale, field: &[u8]| match value(
            Stored::Decimal { precision, scale },
            Meaning::Plain,
            field,
        ) {
            Ok(Value::Bytes(text)) => String::from_utf8(text).expect("ASCII"),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(14, 4, &[0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2]), "1234567890.1234");
        assert_eq!(text(14, 4, &[0x7E, 0xF2, 0x04, 0xC7, 0x2D, 0xFB, 0x2D]), "-1234567890.1234");
        assert_eq!(text(2, 2, &[0x80 | 5]), "0.05");
        assert_eq!(text(5, 0, &[0x80, 0, 0]), "0");
    }

    #[test]
    fn m_16_times_count_backwards_below_zero() {
        let time = |digits, field: &[u8]| value(Stored::Time(digits), Meaning::Plain, field);
        assert_eq!(time(0, &[0x80, 0x10, 0x83]), Ok(Value::Time(false, 0, 1, 2, 3, 0)));
        // One hundredth before zero.
        assert_eq!(time(2, &[0x7F, 0xFF, 0xFF, 0xFF]), Ok(Value::Time(true, 0, 0, 0, 0, 10_000)));
        assert_eq!(time(6, &[0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), Ok(Value::Time(true, 0, 0, 0, 0, 1)));
    }

    #[test]
    fn m_15_stamps_are_utc() {
        let stamp = |seconds: u32| value(Stored::Stamp(0), Meaning::Plain, &seconds.to_be_bytes());
        assert_eq!(stamp(0), Ok(Value::Date(0, 0, 0, 0, 0, 0, 0)));
        assert_eq!(stamp(i32::MAX as u32), Ok(Value::Date(2038, 1, 19, 3, 14, 7, 0)));
        assert_eq!(stamp(951_782_400), Ok(Value::Date(2000, 2, 29, 0, 0, 0, 0)));
        assert_eq!(stamp(u32::MAX), Ok(Value::Date(2106, 2, 7, 6, 28, 15, 0)));
    }

    #[test]
    fn m_22_addresses_as_the_server_prints_them() {
        let text = |bytes: [u8; 16]| String::from_utf8(inet6(&bytes)).expect("ASCII");
        let of = |words: [u16; 8]| {
            let mut bytes = [0; 16];
            words.iter().enumerate().for_each(|(at, word)| {
                bytes[2 * at..2 * at + 2].copy_from_slice(&word.to_be_bytes());
            });
            text(bytes)
        };
        assert_eq!(of([0; 8]), "::");
        assert_eq!(of([0, 0, 0, 0, 0, 0, 0, 1]), "::1");
        assert_eq!(of([0x2001, 0xdb8, 0, 0, 1, 0, 0, 1]), "2001:db8::1:0:0:1");
        assert_eq!(of([0, 0, 0, 0, 0, 0xFFFF, 0x0102, 0x0304]), "::ffff:1.2.3.4");
        assert_eq!(of([1, 2, 3, 4, 5, 6, 7, 0]), "1:2:3:4:5:6:7::");
    }

    #[test]
    fn m_12_sets_in_the_order_of_their_members() {
        let list = || ["a", "b?", "c"].map(String::from).to_vec();
        let labels = |null, doubted| Meaning::Labels { labels: list(), null, doubted };
        let (labels, nulls, doubted) = (labels(false, false), labels(true, false), labels(false, true));
        let set = |mask| Stored::Set(1).value(&labels, &[mask], Vec::new());
        assert_eq!(set(0b101), Ok(Value::Bytes(b"a,c".to_vec())));
        assert_eq!(set(0), Ok(Value::Bytes(Vec::new())));
        assert_eq!(set(8), Err(Refused::NoLabel));
        assert_eq!(Stored::Label(1).value(&labels, &[0], Vec::new()), Err(Refused::NoLabel));
        assert_eq!(Stored::Label(1).value(&nulls, &[0], Vec::new()), Ok(Value::NULL));
        assert_eq!(Stored::Label(1).value(&nulls, &[4], Vec::new()), Err(Refused::NoLabel));
        // What the catalog could not print may be another label.
        assert_eq!(Stored::Label(1).value(&doubted, &[2], Vec::new()), Err(Refused::Unprinted));
        assert_eq!(Stored::Set(1).value(&doubted, &[0b111], Vec::new()), Err(Refused::Unprinted));
        assert_eq!(Stored::Label(1).value(&doubted, &[3], Vec::new()), Ok(Value::Bytes(b"c".to_vec())));
        // Some servers print more members than a value has.
        let many = (0..70).map(|at| format!("m{at}")).collect();
        let many = Meaning::Labels { labels: many, null: false, doubted: false };
        assert!(Stored::Set(8).value(&many, &[0xFF; 8], Vec::new()).is_ok());
        assert_eq!(Stored::Year.value(&Meaning::ShortYear, &[99], Vec::new()), Ok(Value::Int(99)));
        assert_eq!(Stored::Year.value(&Meaning::ShortYear, &[101], Vec::new()), Ok(Value::Int(1)));
    }
}
