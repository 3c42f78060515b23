//! Patterns over table names: `users`, `app.users`, `tmp_*`, `*.log_?`, `"odd.name"`. Matching
//! takes linear space and at most length x length time, whatever the pattern.

use crate::catalog::Name;
use crate::catalog::name;

/// A pattern of one identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part(Vec<Token>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`: one character.
    One,
    /// `*`: any number of characters.
    Any,
}

/// A pattern of table names. Without a schema it means the source's default one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    schema: Option<Part>,
    name: Part,
}

/// A text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(&'static str);

impl Pattern {
    /// Reads `name` or `schema.name`; a part in double quotes is taken literally, as
    /// [`name::split`] reads it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut parts = parse_parts(text)?;
        if parts.len() > 2 {
            return Err(PatternError("a pattern is name or schema.name"));
        }
        let name = parts.pop().ok_or(PatternError("a pattern must not be empty"))?;
        Ok(Self { schema: parts.pop(), name })
    }

    /// True where `*` or `?` stand for something.
    pub fn is_wild(&self) -> bool {
        self.name.is_wild() || self.schema.as_ref().is_some_and(Part::is_wild)
    }

    /// Does it match? `folds`: names that differ only in ASCII case are the same name.
    pub fn matches(&self, table: &Name, default_schema: &str, folds: bool) -> bool {
        let schema = match &self.schema {
            Some(part) => part.matches(&table.schema, folds),
            None => same(default_schema, &table.schema, folds),
        };
        schema && self.name.matches(&table.name, folds)
    }

    /// True where every name that `self` matches is also matched by `other`.
    pub fn within(&self, other: &Self, default_schema: &str, folds: bool) -> bool {
        let literal = Part(default_schema.chars().map(Token::Char).collect());
        let mine = self.schema.as_ref().unwrap_or(&literal);
        let theirs = other.schema.as_ref().unwrap_or(&literal);
        glob(&theirs.0, &mine.0, folds) && glob(&other.name.0, &self.name.0, folds)
    }

    /// The one name it stands for; none for a wild pattern.
    pub fn exact(&self, default_schema: &str) -> Option<Name> {
        let schema = self.schema.as_ref().map_or(Some(default_schema.to_string()), Part::literal)?;
        Some(Name::new(schema, self.name.literal()?))
    }
}

/// A pattern of places in a database: `users`, `users.legacy_*`, `app.users.*`. Each part is one of a
/// [`Pattern`], and matches one part of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacePattern(Vec<Part>);

impl PlacePattern {
    /// Reads parts as [`Pattern::parse`] does, any number of them.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        parse_parts(text).map(Self)
    }

    /// True where `*` or `?` stand for something.
    pub fn is_wild(&self) -> bool {
        self.0.iter().any(Part::is_wild)
    }

    /// Does it match a place of these parts? The default schema may be said where the place leaves it out.
    pub fn matches(&self, place: &[String], default_schema: &str) -> bool {
        let match_all = |parts: &[Part]| {
            parts.len() == place.len()
                && parts.iter().zip(place).all(|(part, text)| part.matches(text, false))
        };
        let in_default =
            |(schema, rest): (&Part, &[Part])| schema.matches(default_schema, false) && match_all(rest);
        match_all(&self.0) || self.0.split_first().is_some_and(in_default)
    }
}

fn parse_parts(text: &str) -> Result<Vec<Part>, PatternError> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = parse_part(rest)?;
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None => return Ok(parts),
        }
    }
}

fn parse_part(text: &str) -> Result<(Part, &str), PatternError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        let (plain, after) = text.split_at(end);
        if plain.is_empty() {
            return Err(PatternError("a pattern must not have an empty part"));
        }
        if plain.contains('"') {
            return Err(PatternError("a double quote stands at the ends of a name: \"odd \"\"name\"\"\""));
        }
        return Ok((Part(plain.chars().map(token).collect()), after));
    };
    let end = closing_quote(quoted).ok_or(PatternError("a double quote is not closed"))?;
    let (whole, after) = text.split_at(end + 2);
    if !after.is_empty() && !after.starts_with('.') {
        return Err(PatternError("after a closing quote comes a dot or nothing"));
    }
    let bad =
        PatternError("a quoted name has \"\" for a quote, \\\\ for a backslash, \\u{..} for a character");
    let [literal] = <[String; 1]>::try_from(name::split(whole).map_err(|_| bad.clone())?).map_err(|_| bad)?;
    Ok((Part(literal.chars().map(Token::Char).collect()), after))
}

/// Where the quote that ends a quoted part stands.
fn closing_quote(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '"' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                chars.next();
            }
            '"' => return Some(at),
            _ => {}
        }
    }
    None
}

fn token(c: char) -> Token {
    match c {
        '*' => Token::Any,
        '?' => Token::One,
        c => Token::Char(c),
    }
}

fn same(a: &str, b: &str, folds: bool) -> bool {
    if folds { a.eq_ignore_ascii_case(b) } else { a == b }
}

impl Part {
    fn is_wild(&self) -> bool {
        self.0.iter().any(|token| !matches!(token, Token::Char(_)))
    }

    fn matches(&self, text: &str, folds: bool) -> bool {
        let text: Vec<Token> = text.chars().map(Token::Char).collect();
        glob(&self.0, &text, folds)
    }

    fn literal(&self) -> Option<String> {
        let char_of = |token: &Token| match token {
            Token::Char(c) => Some(*c),
            _ => None,
        };
        self.0.iter().map(char_of).collect()
    }
}

/// Matches `pattern` against tokens: plain text, or another pattern, whose wildcards only the
/// same or a wider wildcard covers.
fn glob(pattern: &[Token], text: &[Token], folds: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the last `*` takes one more.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == Token::Any {
            retry = Some((p + 1, t));
            p += 1;
        } else if p < pattern.len() && covers(pattern[p], text[t], folds) {
            p += 1;
            t += 1;
        } else if let Some((after, taken)) = retry {
            retry = Some((after, taken + 1));
            (p, t) = (after, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|token| *token == Token::Any)
}

fn covers(wide: Token, narrow: Token, folds: bool) -> bool {
    match (wide, narrow) {
        (Token::One, Token::One | Token::Char(_)) => true,
        (Token::Char(a), Token::Char(b)) => a == b || folds && a.eq_ignore_ascii_case(&b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, schema: &str, name: &str) -> bool {
        Pattern::parse(pattern).expect(pattern).matches(&Name::new(schema, name), "public", false)
    }

    fn within(a: &str, b: &str) -> bool {
        Pattern::parse(a).expect(a).within(&Pattern::parse(b).expect(b), "public", false)
    }

    #[test]
    fn patterns_match_what_they_say() {
        assert!(matches("users", "public", "users"));
        assert!(!matches("users", "app", "users"));
        assert!(!matches("users", "public", "Users"));
        assert!(matches("*", "public", "x"));
        assert!(!matches("*", "app", "x"));
        assert!(matches("*.*", "app", "x"));
        assert!(matches("app.log_??", "app", "log_01"));
        assert!(!matches("app.log_??", "app", "log_1"));
        assert!(matches("*a*b", "public", "xaxab"));
        assert!(matches("\"a.b\"", "public", "a.b"));
        assert!(matches("\"*\"", "public", "*"));
        assert!(!matches("\"*\"", "public", "x"));
        assert!(matches("app.\"say \"\"hi\"\"\"", "app", "say \"hi\""));
        assert!(matches("\"\\u{202e}x\"", "public", "\u{202e}x"));
    }

    #[test]
    fn patterns_of_places_match_part_by_part() {
        let matches = |pattern: &str, place: &[&str]| {
            let place: Vec<String> = place.iter().map(ToString::to_string).collect();
            PlacePattern::parse(pattern).expect(pattern).matches(&place, "public")
        };
        assert!(matches("users.legacy_*", &["users", "legacy_flags"]));
        assert!(matches("*.legacy_flags", &["users", "legacy_flags"]));
        assert!(matches("public.users.*", &["users", "legacy_flags"]));
        assert!(matches("*.users.legacy_flags", &["app", "users", "legacy_flags"]));
        assert!(!matches("*", &["users", "legacy_flags"]));
        assert!(!matches("app.users.*", &["users", "legacy_flags"]));
        assert!(!matches("users", &["users", "legacy_flags"]));
        assert!(!matches("\"users.legacy_*\"", &["users", "legacy_flags"]));
        assert!(PlacePattern::parse("a..b").is_err());
    }

    #[test]
    fn y_18_a_bad_pattern_is_refused() {
        for bad in ["", ".", "a.", ".a", "a.b.c", "\"a", "a\"b\"", "\"a\"b", "\"\\x\""] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn y_18_no_pattern_is_catastrophic() {
        let pattern = format!("{}b", "a*".repeat(500));
        let text = "a".repeat(10_000);
        let start = std::time::Instant::now();
        assert!(!matches(&pattern, "public", &text));
        assert!(start.elapsed().as_secs() < 5);
    }

    #[test]
    fn a_narrower_pattern_lies_within_a_wider_one() {
        assert!(within("users", "*"));
        assert!(within("tmp_*", "*"));
        assert!(within("*_x_*", "*"));
        assert!(within("a?c*", "a*"));
        assert!(within("public.users", "users"));
        assert!(within("users", "*.users"));
        assert!(!within("*", "tmp_*"));
        assert!(!within("tmp_*", "*_log"));
        assert!(!within("a*", "a?"));
    }
}
