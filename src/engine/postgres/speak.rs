//! Stand-in for the dialect's quoting until it lands.
use crate::catalog::Name;

pub fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

pub fn quote_name(name: &Name) -> String {
    format!("{}.{}", quote(&name.schema), quote(&name.name))
}

pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
