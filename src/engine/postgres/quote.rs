//! Quoting as the server prints it: identifiers bare where that is safe, names always with their
//! schema, strings safe whatever `standard_conforming_strings` says. The only place that quotes.

use crate::catalog::Name;

/// Key words of PostgreSQL 14 to 18 that are not free to be a bare name
/// (`pg_get_keywords()`, all categories but `U`).
const KEY_WORDS: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "json",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "merge_action",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// True for words that mean something else than a name when they stand bare.
pub fn is_key_word(word: &str) -> bool {
    KEY_WORDS.binary_search(&word).is_ok()
}

/// An identifier, in quotes where it needs them.
pub fn identifier(name: &str) -> String {
    let plain = |(at, c): (usize, char)| c.is_ascii_lowercase() || c == '_' || at > 0 && c.is_ascii_digit();
    match !name.is_empty() && name.char_indices().all(plain) && !is_key_word(name) {
        true => name.to_string(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// `schema.name`; a name without a schema stays alone.
pub fn name(name: &Name) -> String {
    match name.schema.is_empty() {
        true => identifier(&name.name),
        false => format!("{}.{}", identifier(&name.schema), identifier(&name.name)),
    }
}

/// A list of identifiers with commas between.
pub fn identifiers<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| identifier(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A string literal. One with backslashes is written so that they stay what they are under
/// either setting of `standard_conforming_strings`.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!("E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

/// The text form of a one-dimensional array, to be bound as a value.
pub fn array<S: AsRef<str>>(texts: &[S]) -> String {
    let element = |text: &S| format!("\"{}\"", text.as_ref().replace('\\', "\\\\").replace('"', "\\\""));
    format!("{{{}}}", texts.iter().map(element).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_words_are_sorted() {
        assert!(KEY_WORDS.is_sorted());
    }

    #[test]
    fn i_01_quoting_takes_any_text() {
        for (plain, quoted) in [
            ("abc_1", "abc_1"),
            ("1a", "\"1a\""),
            ("a$b", "\"a$b\""),
            ("Abc", "\"Abc\""),
            ("select", "\"select\""),
            ("value", "value"),
            ("a\"b", "\"a\"\"b\""),
            ("x\"; DROP TABLE y; --", "\"x\"\"; DROP TABLE y; --\""),
            ("", "\"\""),
            ("ä", "\"ä\""),
        ] {
            assert_eq!(identifier(plain), quoted);
        }
        assert_eq!(name(&Name::new("a.b", "c")), "\"a.b\".c");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }
}
