//! Which objects a text that a catalog prints names.

use std::collections::HashSet;

use super::Name;
use super::token::{Rules, tokenize};

/// Printers of catalogs quote in the standard way; only words are looked for.
pub const PRINTED: Rules = Rules {
    backticks: true,
    brackets: false,
    escapes: true,
    dollar_quotes: true,
    nested_comments: false,
    open_operators: true,
    named_params: false,
};

/// Qualified names in a printed text, those in its strings (`'app.s'::regclass`) among them, and
/// whether an opening parenthesis follows.
pub(super) fn mentions(native: &str) -> HashSet<(Name, bool)> {
    let mut found = HashSet::new();
    collect_mentions(native, true, &mut found);
    found
}

fn collect_mentions(native: &str, strings: bool, found: &mut HashSet<(Name, bool)>) {
    let Ok(tokens) = tokenize(native, &PRINTED) else { return };
    for (at, token) in tokens.iter().enumerate() {
        if let Some(text) = token.string().filter(|_| strings) {
            collect_mentions(&text, false, found);
        }
        let next = tokens.get(at + 1).is_some_and(|next| next.is("."));
        if let (Some(schema), true, Some(name)) =
            (token.name(), next, tokens.get(at + 2).and_then(|t| t.name()))
        {
            let call = tokens.get(at + 3).is_some_and(|next| next.is("("));
            found.insert((Name::new(schema, name), call));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_14_sequences_are_seen_in_strings_and_calls_are_told_from_types() {
        let found = mentions("app.f(nextval('app.\"Odd s\"'::regclass)) || 'x'::app.status");
        let names = |call: bool| {
            let mut names: Vec<_> =
                found.iter().filter(|(_, is)| *is == call).map(|(name, _)| name.to_string()).collect();
            names.sort();
            names
        };
        assert_eq!(names(true), ["app.f"]);
        assert_eq!(names(false), ["app.\"Odd s\"", "app.status"]);
    }
}
