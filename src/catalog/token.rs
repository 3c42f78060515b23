//! A tokenizer for SQL texts that databases print and users write in plans. It cuts a text into
//! pieces in one pass, in time linear to its length, and gives an error, never a panic, for what
//! it cannot cut. It knows nothing of grammar.

use std::borrow::Cow;

/// What differs between engines on the level of characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `` `name` `` is an identifier.
    pub backticks: bool,
    /// `[name]` is an identifier; else brackets are punctuation.
    pub brackets: bool,
    /// `E'a\n'` is a string with backslash escapes.
    pub escapes: bool,
    /// `$tag$ text $tag$` is a string, and `$1` a parameter.
    pub dollar_quotes: bool,
    /// A `/*` inside a block comment opens another.
    pub nested_comments: bool,
    /// Operators are runs of operator characters that users may add to (PostgreSQL), else the
    /// few fixed ones.
    pub open_operators: bool,
    /// `?`, `?1`, `:name`, `@name` and `$name` are parameters.
    pub named_params: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bare identifier or key word, as written.
    Word,
    /// An identifier in quotes of any kind.
    Quoted,
    /// A string in any of its spellings.
    Text,
    /// `x'00ff'`.
    Hex,
    /// `b'0101'`.
    Bits,
    /// A number without sign.
    Number,
    /// A parameter to be bound.
    Param,
    /// An operator, `::` included.
    Op,
    /// One of `( ) [ ] , . ; :`.
    Punct,
    /// A comment, its marks included.
    Comment,
}

/// A piece of the text; `start` is its byte offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    pub start: usize,
}

/// Where a text cannot be cut, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at character {}", at + 1)]
pub struct TokenError {
    /// Byte offset.
    pub at: usize,
    pub what: &'static str,
}

impl<'a> Token<'a> {
    /// Byte offset behind the token.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// True for this operator or punctuation mark.
    pub fn is(&self, mark: &str) -> bool {
        matches!(self.kind, Kind::Op | Kind::Punct) && self.text == mark
    }

    /// True for this bare word, whatever its case.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// The identifier meant: bare ones as written (folding is the dialect's), quoted ones bared.
    pub fn name(&self) -> Option<Cow<'a, str>> {
        match self.kind {
            Kind::Word => Some(Cow::Borrowed(self.text)),
            Kind::Quoted => {
                let close = &self.text[self.text.len() - 1..];
                let inner = &self.text[1..self.text.len() - 1];
                match close {
                    "]" => Some(Cow::Borrowed(inner)),
                    _ if inner.contains(close) => Some(Cow::Owned(inner.replace(&close.repeat(2), close))),
                    _ => Some(Cow::Borrowed(inner)),
                }
            }
            _ => None,
        }
    }

    /// The content of a string; none for other tokens and for escapes that name no character.
    pub fn string(&self) -> Option<Cow<'a, str>> {
        if self.kind != Kind::Text {
            return None;
        }
        if let Some(inner) = self.text.strip_prefix('\'') {
            let inner = &inner[..inner.len() - 1];
            return Some(match inner.contains('\'') {
                true => Cow::Owned(inner.replace("''", "'")),
                false => Cow::Borrowed(inner),
            });
        }
        if self.text.starts_with('$') {
            let tag = self.text[1..].find('$')? + 2;
            return Some(Cow::Borrowed(&self.text[tag..self.text.len() - tag]));
        }
        unescape(&self.text[2..self.text.len() - 1]).map(Cow::Owned)
    }

    /// The bytes of a `x'..'` token.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self.kind {
            Kind::Hex => from_hex(&self.text[2..self.text.len() - 1]),
            _ => None,
        }
    }
}

/// Bytes from pairs of hexadecimal digits.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Undoes the backslash escapes of `E'...'` (PostgreSQL manual, 4.1.2.2).
fn unescape(inner: &str) -> Option<String> {
    let mut out: Vec<u8> = Vec::with_capacity(inner.len());
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                chars.next();
                out.push(b'\'');
            }
            '\\' => unescape_one(&mut chars, &mut out)?,
            c => push_char(c, &mut out),
        }
    }
    String::from_utf8(out).ok()
}

fn unescape_one(chars: &mut Chars<'_>, out: &mut Vec<u8>) -> Option<()> {
    match chars.next()? {
        'b' => out.push(8),
        'f' => out.push(12),
        'n' => out.push(b'\n'),
        'r' => out.push(b'\r'),
        't' => out.push(b'\t'),
        'x' => out.push(u8::try_from(digits(chars, 16, String::new(), 2)?).ok()?),
        c @ '0'..='7' => out.push(u8::try_from(digits(chars, 8, c.to_string(), 3)?).ok()?),
        'u' => push_char(char::from_u32(digits(chars, 16, String::new(), 4)?)?, out),
        'U' => push_char(char::from_u32(digits(chars, 16, String::new(), 8)?)?, out),
        c => push_char(c, out),
    }
    Some(())
}

/// The value of up to `most` digits, `read` among them.
fn digits(chars: &mut Chars<'_>, radix: u32, mut read: String, most: usize) -> Option<u32> {
    while read.len() < most {
        match chars.next_if(|c| c.is_digit(radix)) {
            Some(digit) => read.push(digit),
            None => break,
        }
    }
    u32::from_str_radix(&read, radix).ok()
}

fn push_char(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Cuts a whole text. Comments are tokens; white space is not.
pub fn tokenize<'a>(text: &'a str, rules: &Rules) -> Result<Vec<Token<'a>>, TokenError> {
    let mut cutter = Cutter { text, at: 0, rules };
    let mut tokens = Vec::new();
    while let Some(token) = cutter.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Cutter<'a, 'r> {
    text: &'a str,
    at: usize,
    rules: &'r Rules,
}

impl<'a> Cutter<'a, '_> {
    fn next(&mut self) -> Result<Option<Token<'a>>, TokenError> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}', '\u{b}']).len();
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(None) };
        let (kind, length) = match self.special(first)? {
            Some(found) => found,
            None => self.plain(first)?,
        };
        let token = Token { kind, text: &rest[..length], start: self.at };
        self.at += length;
        Ok(Some(token))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error<T>(&self, what: &'static str) -> Result<T, TokenError> {
        Err(TokenError { at: self.at, what })
    }

    /// Tokens that depend on the rules, and comments: kind and length in bytes.
    fn special(&self, first: char) -> Result<Option<(Kind, usize)>, TokenError> {
        let rest = self.rest();
        let rules = self.rules;
        let found = match first {
            '-' if rest.starts_with("--") => {
                (Kind::Comment, rest.find('\n').map_or(rest.len(), |newline| newline + 1))
            }
            '/' if rest.starts_with("/*") => (Kind::Comment, self.comment()?),
            '`' if rules.backticks => (Kind::Quoted, self.quoted(1, "`")?),
            '[' if rules.brackets => match rest.find(']') {
                Some(end) => (Kind::Quoted, end + 1),
                None => return self.error("[ without ]"),
            },
            'E' | 'e' if rules.escapes && rest[1..].starts_with('\'') => (Kind::Text, self.escaped()?),
            'X' | 'x' if rest[1..].starts_with('\'') => (Kind::Hex, self.quoted(2, "'")?),
            'B' | 'b' if rules.escapes && rest[1..].starts_with('\'') => (Kind::Bits, self.quoted(2, "'")?),
            '$' if rules.dollar_quotes => match self.dollar()? {
                Some(found) => found,
                None => return Ok(None),
            },
            '?' | '@' | '$' | ':' if rules.named_params => match self.param(first) {
                Some(length) => (Kind::Param, length),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(found))
    }

    fn plain(&self, first: char) -> Result<(Kind, usize), TokenError> {
        let rest = self.rest();
        let found = match first {
            '\'' => (Kind::Text, self.quoted(1, "'")?),
            '"' => (Kind::Quoted, self.quoted(1, "\"")?),
            c if starts_word(c) => (Kind::Word, word_length(rest)),
            c if c.is_ascii_digit() => (Kind::Number, number_length(rest)),
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => (Kind::Number, number_length(rest)),
            ':' if rest.starts_with("::") || rest.starts_with(":=") => (Kind::Op, 2),
            '(' | ')' | '[' | ']' | ',' | '.' | ';' | ':' => (Kind::Punct, 1),
            c if is_operator(c) => (Kind::Op, self.operator_length()),
            _ => return self.error("a character that starts nothing"),
        };
        Ok(found)
    }

    /// Length of a quoted token whose quote, at byte `open - 1`, is doubled inside.
    fn quoted(&self, open: usize, quote: &str) -> Result<usize, TokenError> {
        let rest = self.rest();
        let mut at = open;
        loop {
            match rest[at..].find(quote) {
                Some(found) if rest[at + found + 1..].starts_with(quote) => at += found + 2,
                Some(found) => return Ok(at + found + 1),
                None => return self.error("a quote that is never closed"),
            }
        }
    }

    fn escaped(&self) -> Result<usize, TokenError> {
        let bytes = self.rest().as_bytes();
        let mut at = 2;
        while at < bytes.len() {
            match bytes[at] {
                b'\\' => at += 2,
                b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
                b'\'' => return Ok(at + 1),
                _ => at += 1,
            }
        }
        self.error("a quote that is never closed")
    }

    fn comment(&self) -> Result<usize, TokenError> {
        let bytes = self.rest().as_bytes();
        let (mut at, mut depth) = (2, 1);
        while at + 1 < bytes.len() {
            match &bytes[at..at + 2] {
                b"*/" => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        return Ok(at);
                    }
                }
                b"/*" if self.rules.nested_comments => {
                    depth += 1;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        self.error("a comment that is never closed")
    }

    /// `$1`, or `$tag$ ... $tag$`.
    fn dollar(&self) -> Result<Option<(Kind, usize)>, TokenError> {
        let rest = self.rest();
        let numbers = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
        if numbers > 0 {
            return Ok(Some((Kind::Param, 1 + numbers)));
        }
        let name = match rest[1..].chars().next() {
            Some(c) if starts_word(c) => {
                rest[1..].find(|c: char| !continues_word(c) || c == '$').unwrap_or(rest.len() - 1)
            }
            _ => 0,
        };
        if !rest[1 + name..].starts_with('$') {
            return Ok(None);
        }
        let tag = &rest[..name + 2];
        match rest[tag.len()..].find(tag) {
            Some(end) => Ok(Some((Kind::Text, end + 2 * tag.len()))),
            None => self.error("a dollar quote that is never closed"),
        }
    }

    fn param(&self, first: char) -> Option<usize> {
        let rest = &self.rest()[1..];
        let length = match first {
            '?' => rest.bytes().take_while(u8::is_ascii_digit).count(),
            _ => rest.find(|c: char| !continues_word(c)).unwrap_or(rest.len()),
        };
        (first == '?' || length > 0).then_some(1 + length)
    }

    fn operator_length(&self) -> usize {
        let rest = self.rest();
        if !self.rules.open_operators {
            let fixed = ["->>", "||", "->", "<<", ">>", "<=", ">=", "<>", "!=", "=="];
            return fixed.iter().find(|op| rest.starts_with(**op)).map_or(1, |op| op.len());
        }
        // The server's own rule (manual, 4.1.3): a run ends before a comment, and ends in + or -
        // only where it holds one of the characters that no SQL operator has.
        // No operator has a longer name; the bound keeps a text of nothing but minus signs linear.
        let run = rest.bytes().take(63).take_while(|b| is_operator(char::from(*b))).count();
        let comment = |mark: &str| rest[..run].find(mark).unwrap_or(run);
        let run = &rest[..comment("--").min(comment("/*"))];
        match run.contains(['~', '!', '@', '#', '%', '^', '&', '|', '`', '?']) {
            true => run.len(),
            false => run.trim_end_matches(['+', '-']).len().max(1),
        }
    }
}

fn starts_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn continues_word(c: char) -> bool {
    starts_word(c) || c.is_ascii_digit() || c == '$'
}

fn is_operator(c: char) -> bool {
    "+-*/<>=~!@#%^&|`?".contains(c)
}

fn word_length(rest: &str) -> usize {
    rest.find(|c: char| !continues_word(c)).unwrap_or(rest.len())
}

/// Digits, a fraction, an exponent; `0x` numbers; whatever letters hang on are left to the next token.
fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let run = |from: usize, is: fn(&u8) -> bool| bytes[from..].iter().take_while(|b| is(b)).count();
    if bytes.len() > 2 && bytes[0] == b'0' && matches!(bytes[1], b'x' | b'X') && bytes[2].is_ascii_hexdigit()
    {
        return 2 + run(2, u8::is_ascii_hexdigit);
    }
    let mut at = run(0, u8::is_ascii_digit);
    if bytes.get(at) == Some(&b'.') {
        at += 1 + run(at + 1, u8::is_ascii_digit);
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let power = run((at + 1 + sign).min(bytes.len()), u8::is_ascii_digit);
        if power > 0 {
            at += 1 + sign + power;
        }
    }
    at
}

/// Are these tokens one scalar condition: no `;`, no comment, no list, balanced, and none of the
/// words that make more of it? Else what is wrong.
pub fn one_condition(tokens: &[Token<'_>], more: &[&str]) -> Result<(), String> {
    if tokens.is_empty() {
        return Err("it is empty".into());
    }
    let mut depth = 0;
    for token in tokens {
        depth += i32::from(token.is("(")) - i32::from(token.is(")"));
        let what = match token.kind {
            Kind::Comment => "a comment".to_string(),
            Kind::Param => "a parameter".to_string(),
            _ if token.is(";") => "a semicolon".to_string(),
            _ if token.is(",") && depth == 0 => "a comma between two expressions".to_string(),
            _ if depth < 0 => "a closing parenthesis without its opening one".to_string(),
            _ => match more.iter().find(|word| token.is_word(word)) {
                Some(word) => format!("{word}; only one condition is taken"),
                None => continue,
            },
        };
        return Err(format!("it holds {what}"));
    }
    if depth == 0 { Ok(()) } else { Err("a parenthesis is never closed".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Rules = Rules {
        backticks: false,
        brackets: false,
        escapes: true,
        dollar_quotes: true,
        nested_comments: true,
        open_operators: true,
        named_params: false,
    };
    const LITE: Rules = Rules {
        backticks: true,
        brackets: true,
        escapes: false,
        dollar_quotes: false,
        nested_comments: false,
        open_operators: false,
        named_params: true,
    };

    fn cut<'a>(text: &'a str, rules: &Rules) -> Vec<(Kind, &'a str)> {
        let tokens = tokenize(text, rules).expect("cut");
        for token in &tokens {
            assert_eq!(&text[token.start..token.end()], token.text);
        }
        tokens.iter().map(|token| (token.kind, token.text)).collect()
    }

    #[test]
    fn every_kind_of_token_is_cut() {
        use Kind::*;
        assert_eq!(
            cut("a.\"b\"\"c\" = 'it''s'::text -- end", &SERVER),
            [
                (Word, "a"),
                (Punct, "."),
                (Quoted, "\"b\"\"c\""),
                (Op, "="),
                (Text, "'it''s'"),
                (Op, "::"),
                (Word, "text"),
                (Comment, "-- end")
            ]
        );
        assert_eq!(
            cut("E'a\\'b' $$x'y$$ $t$ $$ $t$ $1 /* a /* b */ c */ X'0f' b'01'", &SERVER),
            [
                (Text, "E'a\\'b'"),
                (Text, "$$x'y$$"),
                (Text, "$t$ $$ $t$"),
                (Param, "$1"),
                (Comment, "/* a /* b */ c */"),
                (Hex, "X'0f'"),
                (Bits, "b'01'")
            ]
        );
        assert_eq!(
            cut("[a b]`c``d` ?1 :n @v 0x1F .5e-3 1. x=-1 a||b", &LITE),
            [
                (Quoted, "[a b]"),
                (Quoted, "`c``d`"),
                (Param, "?1"),
                (Param, ":n"),
                (Param, "@v"),
                (Number, "0x1F"),
                (Number, ".5e-3"),
                (Number, "1."),
                (Word, "x"),
                (Op, "="),
                (Op, "-"),
                (Number, "1"),
                (Word, "a"),
                (Op, "||"),
                (Word, "b")
            ]
        );
    }

    #[test]
    fn operators_of_a_server_end_as_its_manual_says() {
        let ops = |text| cut(text, &SERVER).iter().map(|(_, text)| *text).collect::<Vec<_>>();
        assert_eq!(ops("a=-1"), ["a", "=", "-", "1"]);
        assert_eq!(ops("a!~~*b"), ["a", "!~~*", "b"]);
        assert_eq!(ops("a@-b"), ["a", "@-", "b"]);
        assert_eq!(ops("a*--x"), ["a", "*", "--x"]);
        assert_eq!(ops("c[1:2]"), ["c", "[", "1", ":", "2", "]"]);
    }

    #[test]
    fn contents_lose_their_quotes() {
        let one = |text| tokenize(text, &SERVER).expect("cut")[0];
        assert_eq!(one("'it''s'").string().as_deref(), Some("it's"));
        assert_eq!(one(r"E'a\n\x41\101\u00e9\\\'b''c'").string().as_deref(), Some("a\nAA\u{e9}\\'b'c"));
        assert_eq!(one(r"E'\xff'").string(), None);
        assert_eq!(one("$q$a$$b$q$").string().as_deref(), Some("a$$b"));
        assert_eq!(one("\"a\"\"b\"").name().as_deref(), Some("a\"b"));
        assert_eq!(one("\"\"").name().as_deref(), Some(""));
        assert_eq!(tokenize("[a]", &LITE).expect("cut")[0].name().as_deref(), Some("a"));
        assert_eq!(one("x'00fF'").bytes(), Some(vec![0, 255]));
        assert_eq!(one("x'0'").bytes(), None);
    }

    #[test]
    fn what_is_never_closed_is_an_error_with_its_place() {
        for text in ["a 'b", "a \"b", "a /* b /* */", "a $t$ b", "a E'b\\'"] {
            assert_eq!(tokenize(text, &SERVER).map_err(|error| error.at), Err(2), "{text}");
        }
        assert!(tokenize("[a", &LITE).is_err());
        assert!(tokenize("a \0", &LITE).is_err());
    }

    proptest::proptest! {
        #[test]
        fn p_13_any_text_is_cut_or_refused(text in "\\PC{0,40}|[-'\"$/*E\\\\xb\\[\\]`:@?.0-9eé ]{0,40}") {
            for rules in [SERVER, LITE] {
                let Ok(tokens) = tokenize(&text, &rules) else { continue };
                let mut at = 0;
                for token in tokens {
                    proptest::prop_assert!(text[at..token.start].trim().is_empty());
                    proptest::prop_assert!(!token.text.is_empty());
                    at = token.end();
                    let _ = (token.name(), token.string(), token.bytes());
                }
                proptest::prop_assert!(text[at..].trim().is_empty());
            }
        }
    }
}
