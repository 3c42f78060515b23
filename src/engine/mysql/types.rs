//! Types: what a server prints for a column, and the neutral type it means (contract, 3.2).

use super::quote;
use crate::catalog::Type;

/// A printed type taken apart: `int(10) unsigned` is `int`, `10`, `unsigned`.
struct Parts<'a> {
    name: &'a str,
    /// What stands between the first parenthesis and its partner.
    inside: &'a str,
    after: &'a str,
}

impl<'a> Parts<'a> {
    fn of(native: &'a str) -> Option<Self> {
        let native = native.trim();
        let Some(open) = native.find('(') else {
            let (name, after) = native.split_once(' ').unwrap_or((native, ""));
            return Some(Self { name, inside: "", after });
        };
        let close = closing(native, open)?;
        Some(Self {
            name: native[..open].trim_end(),
            inside: &native[open + 1..close],
            after: native[close + 1..].trim(),
        })
    }

    fn number(&self, at: usize) -> Option<u32> {
        self.inside.split(',').nth(at)?.trim().parse().ok()
    }

    fn has(&self, word: &str) -> bool {
        self.after.split_whitespace().any(|other| other.eq_ignore_ascii_case(word))
    }
}

/// The parenthesis that closes the one at `open`, past the ones in strings.
fn closing(text: &str, open: usize) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text[open..].char_indices().find_map(|(at, c)| {
        let plain = !std::mem::take(&mut escaped);
        escaped = plain && quoted && c == '\\';
        quoted ^= plain && c == '\'';
        (c == ')' && !quoted).then_some(open + at)
    })
}

/// The neutral meaning of a printed type; `Type::Native` where there is none. A `tinyint(1)` stays
/// a small integer: it may hold 2 and -1, and a plan can say that it is a boolean (contract, M-02).
pub(super) fn parse(native: &str) -> Type {
    let lower = native.to_lowercase();
    known(native, &lower).unwrap_or_else(|| Type::Native { text: native.to_string() })
}

fn known(native: &str, lower: &str) -> Option<Type> {
    let parts = Parts::of(lower)?;
    let whole = |bits: u8| match parts.has("unsigned") {
        true => Type::UInt { bits },
        false => Type::Int { bits },
    };
    // What follows the type itself, such as a character set, does not change what it holds.
    let precision = parts.number(0).and_then(|digits| u8::try_from(digits).ok()).unwrap_or(0);
    Some(match parts.name {
        "tinyint" | "bool" | "boolean" => whole(8),
        "smallint" => whole(16),
        "mediumint" => whole(24),
        "int" | "integer" => whole(32),
        "bigint" => whole(64),
        "decimal" | "numeric" | "dec" | "fixed" => Type::Decimal {
            precision: Some(parts.number(0).unwrap_or(10)),
            scale: Some(i32::try_from(parts.number(1).unwrap_or(0)).ok()?),
        },
        "float" => Type::Float {
            bits: if parts.number(0).is_some_and(|digits| digits > 24) && parts.number(1).is_none() {
                64
            } else {
                32
            },
        },
        "double" | "double precision" | "real" => Type::Float { bits: 64 },
        "bit" => Type::Bit { length: Some(parts.number(0).unwrap_or(1)), varying: false },
        "char" | "nchar" => Type::Char { length: parts.number(0).unwrap_or(1) },
        "varchar" | "nvarchar" => Type::VarChar { length: parts.number(0)? },
        "tinytext" | "text" | "mediumtext" | "longtext" => Type::Text,
        "binary" => Type::Binary { length: parts.number(0).unwrap_or(1) },
        "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Type::Blob,
        "enum" => Type::Enum { name: None, labels: labels(Parts::of(native)?.inside)? },
        "set" => Type::Set { labels: labels(Parts::of(native)?.inside)? },
        "date" => Type::Date,
        "time" => Type::Time { precision, zone: false },
        "datetime" => Type::Timestamp { precision },
        "timestamp" => Type::TimestampTz { precision },
        "year" => Type::Int { bits: 16 },
        "json" => Type::Json { binary: false },
        "uuid" => Type::Uuid,
        "inet4" | "inet6" => Type::Network { native: "inet".to_string() },
        _ => return None,
    })
}

/// Most characters of a column that counts its length: four bytes each, in a row of 65535.
const VARCHAR_MAX: u32 = 16_383;

/// The type of exactly this meaning, as a server prints it. The same words serve both flavors: where
/// they differ (UUID, JSON) the one that keeps every value on both is taken. None where there is none.
pub(super) fn spell(ty: &Type) -> Option<String> {
    let timed = |name: &str, precision: u8| match precision {
        0 => Some(name.to_string()),
        1..=6 => Some(format!("{name}({precision})")),
        _ => None,
    };
    Some(match ty {
        Type::Bool => "tinyint(1)".into(),
        Type::Int { bits } => whole(*bits)?.into(),
        Type::UInt { bits } => format!("{} unsigned", whole(*bits)?),
        Type::Decimal { precision: Some(precision), scale } => {
            let scale = u32::try_from(scale.unwrap_or(0)).ok()?;
            let fits = (1..=65).contains(precision) && scale <= 30 && scale <= *precision;
            fits.then(|| format!("decimal({precision},{scale})"))?
        }
        Type::Float { bits: 32 } => "float".into(),
        Type::Float { .. } => "double".into(),
        Type::Char { length } if (1..=255).contains(length) => format!("char({length})"),
        Type::VarChar { length } if *length <= VARCHAR_MAX => format!("varchar({length})"),
        Type::Text => "longtext".into(),
        Type::Binary { length } if (1..=255).contains(length) => format!("binary({length})"),
        Type::Blob => "longblob".into(),
        Type::Bit { length: Some(length), varying: false } if (1..=64).contains(length) => {
            format!("bit({length})")
        }
        Type::Date => "date".into(),
        Type::Time { precision, zone: false } => timed("time", *precision)?,
        Type::Timestamp { precision } => timed("datetime", *precision)?,
        Type::Uuid => "char(36)".into(),
        Type::Enum { labels, .. } => format!("enum({})", list(labels, false)?),
        Type::Set { labels } if labels.len() <= 64 => format!("set({})", list(labels, true)?),
        _ => return None,
    })
}

fn whole(bits: u8) -> Option<&'static str> {
    Some(match bits {
        8 => "tinyint",
        16 => "smallint",
        24 => "mediumint",
        32 => "int",
        64 => "bigint",
        _ => return None,
    })
}

/// Labels as they are printed. Blanks at their ends are cut off there, the empty one is like the
/// error value, and those of a SET are parted by commas.
fn list(labels: &[String], set: bool) -> Option<String> {
    let held = |label: &String| {
        let parted = set && label.contains(',');
        let odd = label.is_empty() || label.ends_with(' ') || label.contains('\0');
        !(parted || odd) && label.chars().count() <= 255
    };
    let quoted: Vec<_> = labels.iter().map(|label| quote::label(label)).collect();
    (!labels.is_empty() && labels.len() <= 65_535 && labels.iter().all(held)).then(|| quoted.join(","))
}

/// Labels as they are printed, or as a user writes them: string literals ("String Literals" in the manuals).
fn labels(inside: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    let mut rest = inside.trim();
    while !rest.is_empty() {
        rest = rest.strip_prefix('\'')?;
        let mut label = String::new();
        let mut letters = rest.chars();
        loop {
            match letters.next()? {
                '\'' if letters.as_str().starts_with('\'') => label.extend(letters.next()),
                '\'' => break,
                '\\' => match letters.next()? {
                    '0' => label.push('\0'),
                    'b' => label.push('\u{8}'),
                    'n' => label.push('\n'),
                    'r' => label.push('\r'),
                    't' => label.push('\t'),
                    'Z' => label.push('\u{1a}'),
                    wild @ ('%' | '_') => label.extend(['\\', wild]),
                    other => label.push(other),
                },
                letter => label.push(letter),
            }
        }
        rest = letters.as_str();
        all.push(label);
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some(all)
}

/// The canonical spelling of a type as a user writes it on the left side of `types:`; as a server
/// prints it, without display widths of integers. None where it is not known.
pub(super) fn normal(native: &str) -> Option<String> {
    let lower = native.trim().to_lowercase();
    let spaced = lower.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts = Parts::of(&spaced)?;
    if matches!(parse(&spaced), Type::Native { .. }) {
        return GEOMETRY.contains(&parts.name).then_some(spaced);
    }
    let name = match parts.name {
        "integer" => "int",
        "bool" | "boolean" => return Some("tinyint(1)".into()),
        "numeric" | "dec" | "fixed" => "decimal",
        "real" | "double precision" => "double",
        other => other,
    };
    if matches!(name, "enum" | "set") {
        return Some(native.trim().to_string());
    }
    // A width says how an integer is shown; `tinyint(1)` alone is a habit with a meaning.
    let width = matches!(name, "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year");
    let numbers: Vec<_> =
        parts.inside.split(',').map(str::trim).filter(|number| !number.is_empty()).collect();
    let numbers = match (name, numbers.as_slice()) {
        ("tinyint", ["1"]) if !parts.has("unsigned") => "(1)".to_string(),
        // It shows and takes two digits.
        ("year", ["2"]) => "(2)".to_string(),
        (_, _) if width => String::new(),
        ("decimal", []) => "(10,0)".to_string(),
        ("decimal", [precision]) => format!("({precision},0)"),
        ("char" | "binary" | "bit", []) => "(1)".to_string(),
        ("datetime" | "timestamp" | "time", ["0"]) | (_, []) => String::new(),
        (_, numbers) => format!("({})", numbers.join(",")),
    };
    let after = if parts.has("unsigned") { " unsigned" } else { "" };
    Some(format!("{name}{numbers}{after}"))
}

/// Spatial types, which have no neutral one.
pub(super) const GEOMETRY: [&str; 8] = [
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m_01_to_m_22_what_a_server_prints_is_known() {
        let labels = |list: &[&str]| list.iter().map(|label| label.to_string()).collect::<Vec<_>>();
        for (native, expected) in [
            ("tinyint(4)", Type::Int { bits: 8 }),
            ("tinyint(1)", Type::Int { bits: 8 }),
            ("smallint(5) unsigned", Type::UInt { bits: 16 }),
            ("mediumint(8) unsigned zerofill", Type::UInt { bits: 24 }),
            ("int", Type::Int { bits: 32 }),
            ("bigint(20) unsigned", Type::UInt { bits: 64 }),
            ("decimal(65,30)", Type::Decimal { precision: Some(65), scale: Some(30) }),
            ("decimal(10,0) unsigned", Type::Decimal { precision: Some(10), scale: Some(0) }),
            ("float", Type::Float { bits: 32 }),
            ("float(7,3)", Type::Float { bits: 32 }),
            ("double unsigned", Type::Float { bits: 64 }),
            ("bit(64)", Type::Bit { length: Some(64), varying: false }),
            ("char(3)", Type::Char { length: 3 }),
            ("varchar(300)", Type::VarChar { length: 300 }),
            ("mediumtext", Type::Text),
            ("binary(16)", Type::Binary { length: 16 }),
            ("varbinary(20)", Type::Blob),
            ("enum('a','it''s','(x),y')", Type::Enum { name: None, labels: labels(&["a", "it's", "(x),y"]) }),
            (r"enum('a\\b','\\','c\nd')", Type::Enum { name: None, labels: labels(&["a\\b", "\\", "c\nd"]) }),
            ("set('A','b')", Type::Set { labels: labels(&["A", "b"]) }),
            ("date", Type::Date),
            ("time(3)", Type::Time { precision: 3, zone: false }),
            ("datetime", Type::Timestamp { precision: 0 }),
            ("timestamp(6)", Type::TimestampTz { precision: 6 }),
            ("year(4)", Type::Int { bits: 16 }),
            ("uuid", Type::Uuid),
            ("inet6", Type::Network { native: "inet".into() }),
        ] {
            assert_eq!(parse(native), expected, "{native}");
        }
        for native in ["point", "geometry", "vector(3)", "no such"] {
            assert_eq!(parse(native), Type::Native { text: native.into() });
        }
    }

    #[test]
    fn types_as_users_write_them_become_those_that_are_printed() {
        for (written, printed) in [
            ("BIGINT UNSIGNED", "bigint unsigned"),
            ("bigint(20) unsigned", "bigint unsigned"),
            ("tinyint(1)", "tinyint(1)"),
            ("tinyint(4)", "tinyint"),
            ("boolean", "tinyint(1)"),
            ("Numeric ( 10 )", "decimal(10,0)"),
            ("decimal(10, 2)", "decimal(10,2)"),
            ("datetime(6)", "datetime(6)"),
            ("point", "point"),
        ] {
            assert_eq!(normal(written).as_deref(), Some(printed), "{written}");
        }
        assert_eq!(normal("nosuch"), None);
    }
}
