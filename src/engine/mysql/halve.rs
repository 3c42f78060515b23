//! A value between two values of a key column, guessed by what is known of the column's order. A bad
//! guess makes uneven pieces and nothing worse: it is never a bound itself. Pure.

use super::decode::check_day;
use super::facts::Column;
use super::select::Bound;

/// How the values of a key column are halved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Number,
    /// Bytes in the order of their numbers.
    Bytes,
    /// Texts of which ASCII characters are the same in any of these character sets.
    Text,
    Day,
    /// A day and a time of day.
    Moment,
    /// A number with digits behind the point.
    Decimal,
    Uuid,
}

impl Scale {
    /// None where values are not halved.
    pub fn of(column: &Column) -> Option<Self> {
        match (column.data_type.as_str(), column.charset.as_deref()) {
            ("tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year", _) => Some(Self::Number),
            ("binary" | "varbinary", _) => Some(Self::Bytes),
            ("char" | "varchar", Some("utf8mb4" | "utf8mb3" | "utf8" | "ascii" | "latin1")) => {
                Some(Self::Text)
            }
            ("date", _) => Some(Self::Day),
            ("datetime" | "timestamp", _) => Some(Self::Moment),
            ("decimal", _) => Some(Self::Decimal),
            ("uuid", _) => Some(Self::Uuid),
            _ => None,
        }
    }

    /// How a quoted column is asked for.
    pub fn shown(self, column: &str) -> String {
        match self {
            Self::Bytes | Self::Text => format!("HEX({column})"),
            _ => column.to_string(),
        }
    }

    /// What the server answered. None for what no literal spells, such as a date that is none.
    pub fn read(self, text: &str) -> Option<Bound> {
        let known = match self {
            Self::Number => return text.parse().ok().map(Bound::Number),
            Self::Bytes | Self::Text => return Some(Bound::Hex(text.to_string())),
            Self::Uuid => uuid(text).is_some(),
            Self::Day | Self::Moment | Self::Decimal => self.place(text).is_some(),
        };
        known.then(|| Bound::Printed(text.to_string()))
    }

    /// A value above `low` and not above `high`, as far as can be told from here.
    pub fn between(self, low: &Bound, high: &Bound) -> Option<Bound> {
        match (self, low, high) {
            (Self::Number, Bound::Number(low), Bound::Number(high)) => {
                Some(Bound::Number(low + (high - low + 1) / 2))
            }
            (Self::Bytes, Bound::Hex(low), Bound::Hex(high)) => {
                let digit = |byte| Some(u32::from(byte));
                let (mut bytes, digit) = middle(&unhex(low)?, &unhex(high)?, 0, digit)?;
                bytes.push(digit as u8);
                Some(hex(&bytes))
            }
            (Self::Text, Bound::Hex(low), Bound::Hex(high)) => {
                let (mut bytes, digit) = middle(&unhex(low)?, &unhex(high)?, FIGURES, rank)?;
                bytes.push(unrank(digit)?);
                Some(hex(&bytes))
            }
            (Self::Uuid, Bound::Printed(low), Bound::Printed(high)) => {
                middle_uuid(uuid(low)?, uuid(high)?).map(|id| Bound::Printed(spell_uuid(id)))
            }
            (_, Bound::Printed(low), Bound::Printed(high)) => {
                let ((first, digits), (last, _)) = (self.place(low)?, self.place(high)?);
                let half = last.checked_sub(first)?.checked_add(1)? / 2;
                Some(Bound::Printed(self.print(first + half, digits)))
            }
            _ => None,
        }
    }

    /// A whole number in the order of the values, and the digits of its fraction.
    fn place(self, text: &str) -> Option<(i128, usize)> {
        match self {
            Self::Day => Some((day(text)?, 0)),
            Self::Moment => {
                let (date, clock) = text.split_once(' ')?;
                let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
                let mut parts = clock.splitn(3, ':').map(|part| part.parse::<i128>().ok());
                let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
                let seconds = day(date)? * DAY + hour * 3600 + minute * 60 + second;
                Some((format!("{seconds}{fraction}").parse().ok()?, fraction.len()))
            }
            Self::Decimal => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                Some((format!("{whole}{fraction}").parse().ok()?, fraction.len()))
            }
            _ => None,
        }
    }

    /// The value at a place. One on a day that no calendar has is moved to the beginning of the next.
    fn print(self, place: i128, digits: usize) -> String {
        let point = |whole: String, fraction: i128| match digits {
            0 => whole,
            _ => format!("{whole}.{fraction:0digits$}"),
        };
        let unit = 10_i128.pow(digits as u32);
        match self {
            Self::Day => print_day(place).0,
            Self::Moment => {
                let (seconds, fraction) = (place / unit, place % unit);
                let (date, moved) = print_day(seconds / DAY);
                let (clock, fraction) = if moved { (0, 0) } else { (seconds % DAY, fraction) };
                let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
                point(format!("{date} {hour:02}:{minute:02}:{second:02}"), fraction)
            }
            _ => {
                let sign = if place < 0 { "-" } else { "" };
                let place = place.abs();
                point(format!("{sign}{}", place / unit), place % unit)
            }
        }
    }
}

/// Seconds.
const DAY: i128 = 86_400;

/// A place for each day, in months of 32 days and years of 13 months.
fn day(text: &str) -> Option<i128> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) =
        (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    check_day(year, month, day).ok()?;
    (month <= 12).then(|| (i128::from(year) * 13 + i128::from(month)) * 32 + i128::from(day))
}

/// The day at a place, or the next one there is; true for that.
fn print_day(place: i128) -> (String, bool) {
    let (year, month, day) = (place / 416, place / 32 % 13, place % 32);
    let real = check_day(year as u16, month as u8, day as u8).is_ok();
    let (year, month, day) = match (month, day) {
        _ if real => (year, month, day),
        (0, _) => (year, 1, 1),
        (_, 0) => (year, month, 1),
        (12, _) => (year + 1, 1, 1),
        _ => (year, month + 1, 1),
    };
    (format!("{year:04}-{month:02}-{day:02}"), !real)
}

fn uuid(text: &str) -> Option<u128> {
    let digits = text.replace('-', "");
    let is_id = text.len() == 36 && digits.len() == 32;
    is_id.then(|| u128::from_str_radix(&digits, 16).ok()).flatten()
}

fn spell_uuid(id: u128) -> String {
    let text = format!("{id:032x}");
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// Where the version stands, and the variant.
const VERSION: u128 = 0xf << 76;
const VARIANT: u128 = 0x3 << 62;

/// MariaDB compares the groups of versions 1 to 5 from the last to the first, and others as they are
/// written. The one in the middle is of the lower one's version.
fn middle_uuid(low: u128, high: u128) -> Option<u128> {
    let turned = |id: u128| matches!((id & VERSION) >> 76, 1..=5) && id >> 63 & 1 == 1;
    let turns = turned(low) && turned(high);
    let order = |id| if turns { turn(id) } else { id };
    let (first, last) = (order(low), order(high));
    let place = first + last.checked_sub(first)?.div_ceil(2);
    let id = if turns { turn_back(place) } else { place };
    Some(id & !(VERSION | VARIANT) | low & (VERSION | VARIANT))
}

/// The groups of four, two, two, two and six bytes, from the last to the first.
fn turn(id: u128) -> u128 {
    let group = |from: u32, bits: u32| id >> from & ((1 << bits) - 1);
    group(0, 48) << 80 | group(48, 16) << 64 | group(64, 16) << 48 | group(80, 16) << 32 | group(96, 32)
}

fn turn_back(id: u128) -> u128 {
    let group = |from: u32, bits: u32| id >> from & ((1 << bits) - 1);
    group(0, 32) << 96 | group(32, 16) << 80 | group(48, 16) << 64 | group(64, 16) << 48 | group(80, 48)
}

/// What both have in common, and the digit half way between what follows. Where nothing follows in
/// `low`, half way from `least`. What is no digit is taken to lie outside the digits, if the other is
/// one: then both begin with the same whole characters.
fn middle(low: &[u8], high: &[u8], least: u32, digit: impl Fn(u8) -> Option<u32>) -> Option<(Vec<u8>, u32)> {
    let same = |(a, b): &(&u8, &u8)| a == b || digit(**a).is_some() && digit(**a) == digit(**b);
    let common = low.iter().zip(high).take_while(same).count();
    let (own, other) = (low.get(common).map(|byte| digit(*byte)), digit(*high.get(common)?));
    let (first, last) = match (own, other) {
        (Some(None), None) => return None,
        (Some(None), Some(last)) => (least, last),
        (None, Some(last)) if last <= least => (0, last),
        (own, last) => (own.flatten().unwrap_or(least), last.unwrap_or(ORDER.len() as u32)),
    };
    (last > first).then(|| (high[..common].to_vec(), first + (last - first).div_ceil(2)))
}

/// Where letters of both cases are one and follow the figures, as nearly all collations have it.
/// Other marks come before the figures in some and behind them in others: they are left out.
const ORDER: &[u8] = b" !\"#$%&'()*+,-./0123456789abcdefghijklmnopqrstuvwxyz";
/// The place of the figure 0.
const FIGURES: u32 = 16;

fn rank(byte: u8) -> Option<u32> {
    let lower = byte.to_ascii_lowercase();
    ORDER.iter().position(|known| *known == lower).map(|at| at as u32)
}

fn unrank(digit: u32) -> Option<u8> {
    ORDER.get(digit as usize).copied()
}

fn hex(bytes: &[u8]) -> Bound {
    Bound::Hex(bytes.iter().map(|byte| format!("{byte:02X}")).collect())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Bound {
        hex(text.as_bytes())
    }

    /// The value between two that a server printed.
    fn printed(scale: Scale, low: &str, high: &str) -> Option<String> {
        match scale.between(&scale.read(low)?, &scale.read(high)?)? {
            Bound::Printed(text) => Some(text),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn halves_lie_above_the_low_end_and_not_above_the_high_one() {
        let number = |low: i128, high: i128| Scale::Number.between(&Bound::Number(low), &Bound::Number(high));
        assert_eq!(number(1, 2), Some(Bound::Number(2)));
        assert_eq!(number(-5, 5), Some(Bound::Number(0)));
        assert_eq!(number(0, u64::MAX.into()), Some(Bound::Number(1 << 63)));
        assert_eq!(Scale::Bytes.between(&hex(&[1, 0]), &hex(&[1, 9])), Some(hex(&[1, 5])));
        assert_eq!(Scale::Bytes.between(&hex(&[1]), &hex(&[1, 9])), Some(hex(&[1, 5])));
        let between = |low: &str, high: &str| Scale::Text.between(&text(low), &text(high));
        assert_eq!(between("0a", "ff"), Some(text("8")));
        assert_eq!(between("key-1", "key-9"), Some(text("key-5")));
        assert_eq!(between("key-1", "key-18"), Some(text("key-14")));
        assert_eq!(ORDER[FIGURES as usize], b'0');
        // What is no digit lies beyond the digits, on its own side.
        assert_eq!(between("Straße a", "Straße ж"), Some(text("Straße n")));
        assert_eq!(between("äa", "z"), Some(text("i")));
        assert_eq!(between("a", "é"), Some(text("n")));
    }

    #[test]
    fn days_and_moments_are_halved_to_real_ones() {
        assert_eq!(printed(Scale::Day, "2000-01-01", "2000-01-02").as_deref(), Some("2000-01-02"));
        assert_eq!(printed(Scale::Day, "2023-02-27", "2023-03-03").as_deref(), Some("2023-03-01"));
        assert_eq!(printed(Scale::Day, "1999-12-31", "2000-01-01").as_deref(), Some("2000-01-01"));
        assert_eq!(printed(Scale::Day, "0001-01-01", "9999-12-31").as_deref(), Some("5000-07-01"));
        let moment = |low, high| printed(Scale::Moment, low, high);
        assert_eq!(
            moment("2000-01-01 00:00:00", "2000-01-01 00:00:01").as_deref(),
            Some("2000-01-01 00:00:01")
        );
        assert_eq!(
            moment("2000-01-01 00:00:00.500000", "2000-01-01 00:00:01.500000").as_deref(),
            Some("2000-01-01 00:00:01.000000")
        );
        assert_eq!(
            moment("2000-01-31 23:59:59.9", "2000-02-01 00:00:00.1").as_deref(),
            Some("2000-02-01 00:00:00.0")
        );
    }

    #[test]
    fn decimals_keep_their_digits_and_sign() {
        assert_eq!(printed(Scale::Decimal, "-1.50", "0.10").as_deref(), Some("-0.70"));
        assert_eq!(printed(Scale::Decimal, "-0.02", "-0.01").as_deref(), Some("-0.01"));
        assert_eq!(printed(Scale::Decimal, "0000.0", "0010.0").as_deref(), Some("5.0"));
        assert_eq!(
            printed(Scale::Decimal, "1", "18446744073709551616").as_deref(),
            Some("9223372036854775809")
        );
        let long = "9".repeat(39);
        assert_eq!(printed(Scale::Decimal, "1", &long), None);
    }

    #[test]
    fn identifiers_are_halved_in_the_order_of_their_version() {
        let low = "ffffffff-ffff-4fff-8000-000000000000";
        let high = "00000000-0000-4000-bfff-ffffffffffff";
        let between = printed(Scale::Uuid, low, high).expect("there is one");
        assert!(between.ends_with("-800000000000") && &between[14..15] == "4", "{between}");
        let (low, high) = ("00000000-0000-7000-bfff-ffffffffffff", "80000000-0000-7000-8000-000000000000");
        let between = printed(Scale::Uuid, low, high).expect("there is one");
        assert!(between.starts_with("40000000-0000-7"), "{between}");
        let id = uuid("00112233-4455-4677-8899-aabbccddeeff").expect("an identifier");
        assert_eq!(spell_uuid(turn(id)), "aabbccdd-eeff-8899-4677-445500112233");
        assert_eq!(turn_back(turn(id)), id);
    }

    #[test]
    fn what_cannot_be_halved_stays_whole() {
        assert_eq!(Scale::Text.between(&text("äa"), &text("éa")), None);
        assert_eq!(Scale::Text.between(&text("a"), &text("A")), None);
        assert_eq!(Scale::Bytes.between(&hex(&[1]), &hex(&[1])), None);
        assert_eq!(Scale::Number.between(&text("1"), &text("2")), None);
        for (scale, none) in [
            (Scale::Day, "0000-00-00"),
            (Scale::Day, "2023-02-31"),
            (Scale::Moment, "2023-00-10 00:00:00"),
            (Scale::Uuid, "no identifier"),
        ] {
            assert_eq!(scale.read(none), None, "{none}");
        }
    }
}
