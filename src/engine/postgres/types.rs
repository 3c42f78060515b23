//! The types of PostgreSQL: what `format_type` prints, what users write, and the neutral types
//! between. User-defined types are known to the catalog only, never guessed from their text.

use crate::catalog::expr::{CastKind, Now, type_end, type_text};
use crate::catalog::token::{self, Token};
use crate::catalog::{Catalog, Name, Type};

use super::quote;
use super::text::SYNTAX;

/// Built-in types without modifiers and of one spelling.
const SIMPLE: &[&str] = &[
    "aclitem",
    "bigint",
    "boolean",
    "box",
    "bytea",
    "cid",
    "cidr",
    "circle",
    "date",
    "datemultirange",
    "daterange",
    "double precision",
    "inet",
    "int4multirange",
    "int4range",
    "int8multirange",
    "int8range",
    "integer",
    "json",
    "jsonb",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "nummultirange",
    "numrange",
    "oid",
    "path",
    "pg_lsn",
    "pg_snapshot",
    "point",
    "polygon",
    "real",
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "smallint",
    "text",
    "tid",
    "tsmultirange",
    "tsquery",
    "tsrange",
    "tstzmultirange",
    "tstzrange",
    "tsvector",
    "txid_snapshot",
    "uuid",
    "xid",
    "xid8",
    "xml",
];

/// Types that extensions bring, for plans that name one before the target has it.
const OF_EXTENSIONS: &[(&str, &[&str])] = &[
    ("citext", &["citext"]),
    ("cube", &["cube"]),
    ("hstore", &["hstore"]),
    ("intarray", &["query_int"]),
    ("isn", &["ean13", "isbn", "isbn13", "ismn", "ismn13", "issn", "issn13", "upc"]),
    ("lo", &["lo"]),
    ("ltree", &["lquery", "ltree", "ltxtquery"]),
    ("postgis", &["box2d", "box3d", "geography", "geometry"]),
    ("seg", &["seg"]),
    ("vector", &["halfvec", "sparsevec", "vector"]),
];

/// Longest `varchar(n)` and `char(n)`, and most digits of a `numeric(p, s)`.
const LENGTH_MAX: u32 = 10_485_760;
const PRECISION_MAX: u32 = 1000;
const BITS_MAX: u32 = 83_886_080;

/// The neutral type of a native one as `format_type` prints it, or as users abbreviate it.
pub fn parse(native: &str) -> Type {
    let Some(canonical) = normal(native, None) else {
        return Type::Native { text: native.to_string() };
    };
    if let Some(element) = canonical.strip_suffix("[]") {
        return Type::Array { of: Box::new(parse(element)) };
    }
    let (word, modifiers) = cut(&canonical);
    let first = modifiers.first().and_then(|text| text.parse::<u32>().ok());
    let precision = first.map_or(6, |digits| digits.min(6) as u8);
    match word.as_str() {
        "boolean" => Type::Bool,
        "smallint" => Type::Int { bits: 16 },
        "integer" => Type::Int { bits: 32 },
        "bigint" => Type::Int { bits: 64 },
        "numeric" => {
            let scale = modifiers.get(1).and_then(|text| text.parse().ok());
            Type::Decimal { precision: first, scale }
        }
        "real" => Type::Float { bits: 32 },
        "double precision" => Type::Float { bits: 64 },
        "character" => Type::Char { length: first.unwrap_or(1) },
        "character varying" => first.map_or(Type::Text, |length| Type::VarChar { length }),
        "text" | "bpchar" => Type::Text,
        "\"char\"" => Type::VarChar { length: 1 },
        "name" => Type::VarChar { length: 63 },
        "bytea" => Type::Blob,
        "bit" => Type::Bit { length: first, varying: false },
        "bit varying" => Type::Bit { length: first, varying: true },
        "date" => Type::Date,
        "time without time zone" => Type::Time { precision, zone: false },
        "time with time zone" => Type::Time { precision, zone: true },
        "timestamp without time zone" => Type::Timestamp { precision },
        "timestamp with time zone" => Type::TimestampTz { precision },
        "uuid" => Type::Uuid,
        "json" => Type::Json { binary: false },
        "jsonb" => Type::Json { binary: true },
        "xml" => Type::Xml,
        "inet" | "cidr" | "macaddr" | "macaddr8" => Type::Network { native: word },
        word if word.starts_with("interval") => Type::Interval,
        _ => Type::Native { text: canonical },
    }
}

/// A canonical spelling without its modifiers, and the modifiers.
fn cut(canonical: &str) -> (String, Vec<&str>) {
    let Some((before, rest)) = canonical.split_once('(') else {
        return (canonical.to_string(), Vec::new());
    };
    let (inside, after) = rest.split_once(')').unwrap_or((rest, ""));
    (format!("{before}{after}"), inside.split(',').collect())
}

/// A type as the server prints it, without length or precision: a cast to it cuts nothing off
/// and rounds nothing.
pub fn unlimited(native: &str) -> String {
    if let Some(element) = native.strip_suffix("[]") {
        return format!("{}[]", unlimited(element));
    }
    let mut quoted = false;
    let outside = |c: char| {
        quoted ^= c == '"';
        !quoted && c == '('
    };
    let word = match native.find(outside) {
        Some(open) => {
            let close = native[open..].find(')').map_or(native.len(), |close| open + close + 1);
            format!("{}{}", &native[..open], &native[close..])
        }
        None => native.to_string(),
    };
    // Some names alone mean a length of one.
    match word.as_str() {
        "character" | "char" => "pg_catalog.bpchar".to_string(),
        "bit" => "pg_catalog.\"bit\"".to_string(),
        word if word.starts_with("interval ") => "interval".to_string(),
        _ => word,
    }
}

/// The native spelling of exactly this type; none where there is no such type.
pub fn spell(ty: &Type) -> Option<String> {
    let fits = |length: &u32| (1..=LENGTH_MAX).contains(length);
    Some(match ty {
        Type::Bool => "boolean".to_string(),
        Type::Int { bits: 16 } => "smallint".to_string(),
        Type::Int { bits: 32 } => "integer".to_string(),
        Type::Int { bits: 64 } => "bigint".to_string(),
        Type::Decimal { precision: None, .. } => "numeric".to_string(),
        Type::Decimal { precision: Some(precision), scale } => {
            let scale = scale.unwrap_or(0);
            let legal = (1..=PRECISION_MAX).contains(precision) && (-1000..=1000).contains(&scale);
            return legal.then(|| format!("numeric({precision},{scale})"));
        }
        Type::Float { bits: 32 } => "real".to_string(),
        Type::Float { bits: 64 } => "double precision".to_string(),
        Type::Char { length } if fits(length) => format!("character({length})"),
        Type::VarChar { length } if fits(length) => format!("character varying({length})"),
        Type::Text => "text".to_string(),
        Type::Blob => "bytea".to_string(),
        Type::Bit { length, varying } => return spell_bits(*length, *varying),
        Type::Date => "date".to_string(),
        Type::Time { precision, zone } => spell_time("time", *precision, *zone)?,
        Type::Timestamp { precision } => spell_time("timestamp", *precision, false)?,
        Type::TimestampTz { precision } => spell_time("timestamp", *precision, true)?,
        Type::Interval => "interval".to_string(),
        Type::Uuid => "uuid".to_string(),
        Type::Json { binary: false } => "json".to_string(),
        Type::Json { binary: true } => "jsonb".to_string(),
        Type::Xml => "xml".to_string(),
        Type::Enum { name: Some(name), .. } => quote::name(name),
        Type::Array { of } => match of.as_ref() {
            Type::Array { .. } => return None,
            of => format!("{}[]", spell(of)?),
        },
        Type::Network { native } => {
            let known = ["inet", "cidr", "macaddr", "macaddr8"].contains(&native.as_str());
            return known.then(|| native.clone());
        }
        _ => return None,
    })
}

fn spell_bits(length: Option<u32>, varying: bool) -> Option<String> {
    match (length, varying) {
        (None, true) => Some("bit varying".to_string()),
        (Some(length), _) if !(1..=BITS_MAX).contains(&length) => None,
        (Some(length), true) => Some(format!("bit varying({length})")),
        (length, false) => Some(format!("bit({})", length.unwrap_or(1))),
    }
}

fn spell_time(word: &str, precision: u8, zone: bool) -> Option<String> {
    let digits = match precision {
        0..=5 => format!("({precision})"),
        6 => String::new(),
        _ => return None,
    };
    Some(format!("{word}{digits} {} time zone", if zone { "with" } else { "without" }))
}

/// The spelling that `format_type` would print for a type as a user writes it; none where it is
/// unknown, cannot be a column's type (`serial` is a sequence, not a type), or has impossible
/// modifiers.
pub fn normal(native: &str, catalog: Option<&Catalog>) -> Option<String> {
    let tokens = token::tokenize(native, &SYNTAX.tokens).ok()?;
    let (tokens, arrays) = without_brackets(&tokens);
    if type_end(tokens, 0) != Some(tokens.len()) {
        return None;
    }
    let tokens = match tokens {
        [schema, dot, rest @ ..] if schema.is_word("pg_catalog") && dot.is(".") => rest,
        tokens => tokens,
    };
    let element = match tokens.get(1).is_some_and(|token| token.is(".")) {
        true => user_type(tokens, catalog)?,
        false => built_in(tokens).or_else(|| user_type(tokens, catalog))?,
    };
    Some(if arrays { format!("{element}[]") } else { element })
}

/// The element's tokens, and whether `[]`, `[3]` or `ARRAY` follows. The server keeps no number of
/// dimensions.
fn without_brackets<'a, 'b>(tokens: &'b [Token<'a>]) -> (&'b [Token<'a>], bool) {
    let mut end = tokens.len();
    loop {
        match &tokens[..end] {
            [.., open, close] if open.is("[") && close.is("]") => end -= 2,
            [.., open, _, close] if open.is("[") && close.is("]") => end -= 3,
            [_, .., last] if last.is_word("array") => end -= 1,
            _ => return (&tokens[..end], end < tokens.len()),
        }
    }
}

fn built_in(tokens: &[Token<'_>]) -> Option<String> {
    let (word, modifiers) = split(tokens)?;
    let numbers: Option<Vec<i64>> = modifiers.iter().map(|text| text.parse().ok()).collect();
    let numbers = numbers?;
    let bare = |name: &str| numbers.is_empty().then(|| name.to_string());
    match word.as_str() {
        "int" | "int4" => bare("integer"),
        "int2" => bare("smallint"),
        "int8" => bare("bigint"),
        "bool" => bare("boolean"),
        "float4" => bare("real"),
        "float8" => bare("double precision"),
        "float" => match numbers.as_slice() {
            [] => Some("double precision".to_string()),
            [1..=24] => Some("real".to_string()),
            [25..=53] => Some("double precision".to_string()),
            _ => None,
        },
        "decimal" | "dec" | "numeric" => match numbers.as_slice() {
            [] => Some("numeric".to_string()),
            [p] if (1..=1000).contains(p) => Some(format!("numeric({p},0)")),
            [p, s] if (1..=1000).contains(p) && (-1000..=1000).contains(s) => {
                Some(format!("numeric({p},{s})"))
            }
            _ => None,
        },
        "varchar" | "character varying" | "char varying" => {
            with_length("character varying", "", &numbers, LENGTH_MAX)
        }
        "char" | "character" => with_length("character", "(1)", &numbers, LENGTH_MAX),
        "bpchar" => {
            with_length(if numbers.is_empty() { "bpchar" } else { "character" }, "", &numbers, LENGTH_MAX)
        }
        "varbit" | "bit varying" => with_length("bit varying", "", &numbers, BITS_MAX),
        "bit" => with_length("bit", "(1)", &numbers, BITS_MAX),
        "\"bit\"" => with_length("bit", "", &numbers, BITS_MAX),
        "\"char\"" => bare("\"char\""),
        "timestamptz" | "timestamp with time zone" => {
            with_precision("timestamp", " with time zone", &numbers)
        }
        "timestamp" | "timestamp without time zone" => {
            with_precision("timestamp", " without time zone", &numbers)
        }
        "timetz" | "time with time zone" => with_precision("time", " with time zone", &numbers),
        "time" | "time without time zone" => with_precision("time", " without time zone", &numbers),
        word if word == "interval" || word.starts_with("interval ") => with_precision(word, "", &numbers),
        word => SIMPLE.binary_search(&word).ok().and_then(|_| bare(word)),
    }
}

fn with_length(word: &str, absent: &str, numbers: &[i64], most: u32) -> Option<String> {
    match numbers {
        [] => Some(format!("{word}{absent}")),
        [length] if (1..=i64::from(most)).contains(length) => Some(format!("{word}({length})")),
        _ => None,
    }
}

/// More than six digits are cut to six by the server, with a warning only.
fn with_precision(word: &str, after: &str, numbers: &[i64]) -> Option<String> {
    match numbers {
        [] => Some(format!("{word}{after}")),
        [digits @ 0..=6] => Some(format!("{word}({digits}){after}")),
        _ => None,
    }
}

/// Words of the type in one spacing, and its modifiers as written.
fn split(tokens: &[Token<'_>]) -> Option<(String, Vec<String>)> {
    let open = tokens.iter().position(|token| token.is("("));
    let Some(open) = open else { return Some((type_text(tokens), Vec::new())) };
    let close = open + tokens[open..].iter().position(|token| token.is(")"))?;
    let mut words = tokens[..open].to_vec();
    words.extend_from_slice(&tokens[close + 1..]);
    let inside = tokens[open + 1..close].split(|token| token.is(","));
    let modifiers = inside.map(|part| part.iter().map(|token| token.text).collect()).collect();
    Some((type_text(&words), modifiers))
}

/// A type of the catalog, or of one of its extensions; modifiers are kept as written.
fn user_type(tokens: &[Token<'_>], catalog: Option<&Catalog>) -> Option<String> {
    let catalog = catalog?;
    let open = tokens.iter().position(|token| token.is("(")).unwrap_or(tokens.len());
    let parts: Vec<String> = tokens[..open].iter().filter_map(fold).collect();
    let name = match parts.as_slice() {
        [schema, name] => Name::new(schema, name),
        [name] => Name::new(&catalog.default_schema, name),
        _ => return None,
    };
    let known = catalog.user_type(&name).is_some();
    let modifiers: String = tokens[open..].iter().map(|token| token.text).collect();
    if known {
        return modifiers.is_empty().then(|| quote::name(&name));
    }
    let owner = OF_EXTENSIONS.iter().find(|(_, types)| types.contains(&name.name.as_str()))?.0;
    let extension = catalog.extensions.iter().find(|extension| extension.name == owner)?;
    let schema = if extension.schema.is_empty() { &name.schema } else { &extension.schema };
    let asked = parts.len() == 1 || *schema == name.schema;
    asked.then(|| format!("{}{modifiers}", quote::name(&Name::new(schema, &name.name))))
}

/// The name that a token means: bare words fold to lower case.
pub fn fold(token: &Token<'_>) -> Option<String> {
    let name = token.name()?;
    Some(if token.kind == token::Kind::Word { name.to_lowercase() } else { name.into_owned() })
}

/// What a cast to a type does to a literal; see [`CastKind`].
pub fn cast_kind(native: &str) -> CastKind {
    match native {
        "text" | "character varying" | "pg_catalog.text" => return CastKind::Text,
        "bpchar" | "name" => return CastKind::LimitedText,
        _ => {}
    }
    match parse(native) {
        Type::VarChar { .. } | Type::Char { .. } | Type::Text => CastKind::LimitedText,
        // A 32-bit float is itself only as long as it is a small integer.
        Type::Int { .. } | Type::Float { bits: 32 } => CastKind::Integer,
        Type::Decimal { precision: None, .. } | Type::Float { .. } => CastKind::Number,
        Type::Blob => CastKind::Bytes,
        Type::Bool => CastKind::Bool,
        Type::Date => CastKind::Moment(Now::Date),
        Type::Time { precision: 6, .. } => CastKind::Moment(Now::Time),
        Type::Timestamp { precision: 6 } | Type::TimestampTz { precision: 6 } => {
            CastKind::Moment(Now::Timestamp)
        }
        Type::Uuid | Type::Json { .. } | Type::Xml | Type::Array { .. } | Type::Network { .. } => {
            CastKind::Canonical
        }
        Type::Bit { .. } => CastKind::Canonical,
        // A qualified name is a user's type: an enum, or a domain or composite whose literals are
        // its text form as well.
        Type::Native { text } if text.contains('.') && !text.starts_with("pg_catalog.") => {
            CastKind::Canonical
        }
        _ => CastKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Extension, UserType, UserTypeKind};

    #[test]
    fn the_simple_types_are_sorted() {
        assert!(SIMPLE.is_sorted());
    }

    #[test]
    fn pg_01_to_40_what_the_server_prints_is_known() {
        let array = |of| Type::Array { of: Box::new(of) };
        let network = |native: &str| Type::Network { native: native.to_string() };
        for (native, expected) in [
            ("smallint", Type::Int { bits: 16 }),
            ("integer", Type::Int { bits: 32 }),
            ("bigint", Type::Int { bits: 64 }),
            ("numeric", Type::Decimal { precision: None, scale: None }),
            ("numeric(10,2)", Type::Decimal { precision: Some(10), scale: Some(2) }),
            ("numeric(5,-2)", Type::Decimal { precision: Some(5), scale: Some(-2) }),
            ("real", Type::Float { bits: 32 }),
            ("double precision", Type::Float { bits: 64 }),
            ("boolean", Type::Bool),
            ("character(3)", Type::Char { length: 3 }),
            ("character varying(20)", Type::VarChar { length: 20 }),
            ("character varying", Type::Text),
            ("text", Type::Text),
            ("bytea", Type::Blob),
            ("date", Type::Date),
            ("time(3) without time zone", Type::Time { precision: 3, zone: false }),
            ("time with time zone", Type::Time { precision: 6, zone: true }),
            ("timestamp(0) without time zone", Type::Timestamp { precision: 0 }),
            ("timestamp with time zone", Type::TimestampTz { precision: 6 }),
            ("interval day to second(2)", Type::Interval),
            ("uuid", Type::Uuid),
            ("json", Type::Json { binary: false }),
            ("jsonb", Type::Json { binary: true }),
            ("xml", Type::Xml),
            ("integer[]", array(Type::Int { bits: 32 })),
            ("character varying(5)[]", array(Type::VarChar { length: 5 })),
            ("inet", network("inet")),
            ("macaddr8", network("macaddr8")),
            ("bit(5)", Type::Bit { length: Some(5), varying: false }),
            ("\"bit\"", Type::Bit { length: None, varying: false }),
            ("bit varying", Type::Bit { length: None, varying: true }),
            ("\"char\"", Type::VarChar { length: 1 }),
            ("name", Type::VarChar { length: 63 }),
        ] {
            assert_eq!(parse(native), expected, "{native}");
        }
        for native in
            ["money", "tsvector", "point", "oid", "regclass", "int4range", "public.citext", "no such"]
        {
            assert_eq!(parse(native), Type::Native { text: native.to_string() });
        }
    }

    #[test]
    fn types_without_their_limits() {
        for (native, bare) in [
            ("bigint", "bigint"),
            ("numeric(10,2)", "numeric"),
            ("character(3)", "pg_catalog.bpchar"),
            ("character(3)[]", "pg_catalog.bpchar[]"),
            ("character varying(5)", "character varying"),
            ("bit(5)", "pg_catalog.\"bit\""),
            ("bit varying(5)", "bit varying"),
            ("\"char\"", "\"char\""),
            ("timestamp(3) with time zone", "timestamp with time zone"),
            ("interval day to second(2)", "interval"),
            ("interval(3)", "interval"),
            ("public.geometry(Point,4326)", "public.geometry"),
            ("\"O(d\"\"d)\".\"t(1)\"(3)", "\"O(d\"\"d)\".\"t(1)\""),
        ] {
            assert_eq!(unlimited(native), bare);
        }
    }

    #[test]
    fn what_is_spelled_means_the_same_again() {
        for native in SIMPLE.iter().copied().chain([
            "numeric(10,2)",
            "numeric(5,-2)",
            "character(3)",
            "character varying(20)",
            "bit(5)",
            "bit varying(9)",
            "time(3) without time zone",
            "time with time zone",
            "timestamp(0) with time zone",
            "timestamp without time zone",
            "integer[]",
            "timestamp with time zone[]",
        ]) {
            let ty = parse(native);
            let Some(spelled) = spell(&ty) else { continue };
            assert_eq!(parse(&spelled), ty, "{native}");
            assert_eq!(normal(&spelled, None).as_deref(), Some(spelled.as_str()));
        }
        for ty in [
            Type::UInt { bits: 32 },
            Type::Int { bits: 8 },
            Type::Binary { length: 16 },
            Type::VarChar { length: 0 },
            Type::Decimal { precision: Some(1001), scale: None },
            Type::Set { labels: vec![] },
            Type::Any,
            Type::Native { text: "money".into() },
            Type::Timestamp { precision: 9 },
        ] {
            assert_eq!(spell(&ty), None, "{ty:?}");
        }
    }

    #[test]
    fn types_as_users_write_them_become_those_that_are_printed() {
        for (written, printed) in [
            ("INT", "integer"),
            ("int8", "bigint"),
            ("bool", "boolean"),
            ("float", "double precision"),
            ("float(24)", "real"),
            ("decimal(10)", "numeric(10,0)"),
            ("Numeric ( 10 , 2 )", "numeric(10,2)"),
            ("varchar(5)", "character varying(5)"),
            ("char", "character(1)"),
            ("bpchar", "bpchar"),
            ("timestamptz", "timestamp with time zone"),
            ("timestamptz(3)", "timestamp(3) with time zone"),
            ("timestamp", "timestamp without time zone"),
            ("time(0)", "time(0) without time zone"),
            ("varbit(3)", "bit varying(3)"),
            ("bit", "bit(1)"),
            ("int4[][]", "integer[]"),
            ("text[3]", "text[]"),
            ("text ARRAY", "text[]"),
            ("pg_catalog.int4", "integer"),
            ("interval year to month", "interval year to month"),
        ] {
            assert_eq!(normal(written, None).as_deref(), Some(printed), "{written}");
        }
        for unknown in [
            "serial",
            "bigserial",
            "nosuch",
            "varchar(0)",
            "varchar(10485761)",
            "numeric(1001)",
            "integer(4)",
            "int; drop table x",
            "text -- x",
            "",
            "public.mood",
            "timestamp(7)",
            "float(54)",
            "text text",
        ] {
            assert_eq!(normal(unknown, None), None, "{unknown}");
        }
    }

    #[test]
    fn types_of_the_catalog_are_known_by_either_name() {
        let kind = UserTypeKind::Enum { labels: vec!["x".into()] };
        let user = |schema: &str, name: &str| UserType {
            name: Name::new(schema, name),
            kind: kind.clone(),
            comment: None,
        };
        let catalog = Catalog {
            default_schema: "public".into(),
            types: vec![user("public", "mood"), user("Odd", "T")],
            extensions: vec![Extension {
                name: "citext".into(),
                schema: "ext".into(),
                version: "1.6".into(),
                installed: true,
            }],
            ..Catalog::default()
        };
        for (written, printed) in [
            ("mood", Some("public.mood")),
            ("public.mood[]", Some("public.mood[]")),
            ("\"Odd\".\"T\"", Some("\"Odd\".\"T\"")),
            ("odd.t", None),
            ("citext", Some("ext.citext")),
            ("ext.citext", Some("ext.citext")),
            ("hstore", None),
        ] {
            assert_eq!(normal(written, Some(&catalog)).as_deref(), printed, "{written}");
        }
    }
}
