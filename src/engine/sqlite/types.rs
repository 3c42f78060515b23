//! Types: SQLite's declared types to the neutral ones and back. A declared type is a wish, not a
//! rule: what a row holds is checked when it is read.

use crate::catalog::Type;

/// What SQLite tries to store in a column (manual: "Datatypes", section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

/// The affinity of a declared type, by SQLite's own rules and their order. `ANY` is not one of
/// them: it only means something in a strict table, where it keeps values as they come.
pub(super) fn affinity(declared: &str) -> Affinity {
    let upper = declared.to_ascii_uppercase();
    let has = |part: &str| upper.contains(part);
    if has("INT") {
        Affinity::Integer
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        Affinity::Text
    } else if upper.is_empty() || has("BLOB") || upper == "ANY" {
        Affinity::Blob
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

/// A declared type taken apart: upper-case words, one space between them, and its numbers.
fn parts(declared: &str) -> (String, Vec<u32>) {
    let (words, rest) = declared.split_once('(').unwrap_or((declared, ""));
    let words: Vec<_> = words.split_whitespace().map(str::to_ascii_uppercase).collect();
    let numbers = rest.split(')').next().unwrap_or("");
    (words.join(" "), numbers.split(',').filter_map(|number| number.trim().parse().ok()).collect())
}

/// The neutral meaning of a declared type. Integers are 64 bits wide whatever they are called, and
/// so are booleans: SQLite stores both alike and the name promises nothing (contract L-08). Dates
/// and times are the texts that they are stored as (contract L-07).
pub(super) fn parse_type(declared: &str) -> Type {
    let (name, numbers) = parts(declared);
    match name.as_str() {
        "" | "ANY" => return Type::Any,
        "BOOL" | "BOOLEAN" => return Type::Int { bits: 64 },
        "DEC" | "DECIMAL" | "NUMERIC" | "NUMBER" => return Type::Decimal { precision: None, scale: None },
        "DATE" | "DATETIME" | "TIMESTAMP" | "TIME" | "TIMESTAMPTZ" | "TIMETZ" => return Type::Text,
        "TIMESTAMP WITH TIME ZONE" | "TIMESTAMP WITHOUT TIME ZONE" | "TIME WITHOUT TIME ZONE" => {
            return Type::Text;
        }
        "JSON" | "JSONB" | "UUID" | "GUID" | "STRING" | "XML" | "ENUM" | "INET" => return Type::Text,
        "BINARY" | "VARBINARY" | "BYTEA" => return Type::Blob,
        _ => {}
    }
    match affinity(&name) {
        Affinity::Integer => Type::Int { bits: 64 },
        Affinity::Text => match numbers.first() {
            Some(&length) if length > 0 && name.contains("CHAR") => Type::VarChar { length },
            _ => Type::Text,
        },
        Affinity::Blob => Type::Blob,
        Affinity::Real => Type::Float { bits: 64 },
        Affinity::Numeric => Type::Any,
    }
}

/// The declared type for columns that come from another engine; one of the five that strict
/// tables know. None where no class of value keeps the meaning.
pub(super) fn spell_type(ty: &Type) -> Option<&'static str> {
    Some(match ty {
        Type::Bool | Type::Int { .. } | Type::UInt { .. } => "INTEGER",
        Type::Float { .. } => "REAL",
        Type::Binary { .. } | Type::Blob => "BLOB",
        Type::Any => "ANY",
        Type::Time { zone: true, .. } | Type::Interval | Type::Array { .. } | Type::Native { .. } => {
            return None;
        }
        _ => "TEXT",
    })
}

/// The canonical spelling of a declared type as a user writes it: upper case, single spaces.
pub(super) fn normal_type(native: &str) -> Option<String> {
    let (name, numbers) = parts(native);
    let known = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ' || c == '_');
    if !known || (parse_type(native) == Type::Any && name != "ANY") {
        return None;
    }
    let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
    Some(if numbers.is_empty() { name } else { format!("{name}({})", numbers.join(", ")) })
}

/// True for the declared types that a strict table takes.
pub(super) fn strict_type(native: &str) -> bool {
    ["INT", "INTEGER", "REAL", "TEXT", "BLOB", "ANY"].iter().any(|name| native.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l_08_declared_types_read_as_they_are_stored() {
        for (declared, ty) in [
            ("", Type::Any),
            ("any", Type::Any),
            ("INTEGER", Type::Int { bits: 64 }),
            ("unsigned big int", Type::Int { bits: 64 }),
            ("tinyint(1)", Type::Int { bits: 64 }),
            ("Boolean", Type::Int { bits: 64 }),
            ("VARCHAR(255)", Type::VarChar { length: 255 }),
            ("native character ( 70 )", Type::VarChar { length: 70 }),
            ("TEXT", Type::Text),
            ("datetime", Type::Text),
            ("DECIMAL(10,2)", Type::Decimal { precision: None, scale: None }),
            ("double precision", Type::Float { bits: 64 }),
            ("FLOAT", Type::Float { bits: 64 }),
            ("blob", Type::Blob),
            ("POINT", Type::Int { bits: 64 }),
            ("geometry", Type::Any),
        ] {
            assert_eq!(parse_type(declared), ty, "{declared}");
        }
    }

    #[test]
    fn a_spelled_type_is_strict_and_stable() {
        for ty in [
            Type::Bool,
            Type::Int { bits: 16 },
            Type::Float { bits: 32 },
            Type::Text,
            Type::Blob,
            Type::Any,
            Type::Decimal { precision: Some(9), scale: Some(2) },
            Type::TimestampTz { precision: 6 },
        ] {
            let spelled = spell_type(&ty).expect("spelled");
            assert!(strict_type(spelled), "{spelled}");
            assert_eq!(spell_type(&parse_type(spelled)), Some(spelled), "stable: {spelled}");
        }
        assert_eq!(spell_type(&Type::Interval), None);
    }

    #[test]
    fn a_written_type_is_normalised() {
        assert_eq!(normal_type(" varchar ( 10 ) ").as_deref(), Some("VARCHAR(10)"));
        assert_eq!(normal_type("integer").as_deref(), Some("INTEGER"));
        assert_eq!(normal_type("wibble"), None);
    }
}
