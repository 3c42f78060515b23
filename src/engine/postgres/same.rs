//! Tells whether two texts mean the same by their form alone: the server prints one expression in
//! several ways, depending on how it was entered. Never evaluates anything.

use crate::catalog::expr;
use crate::catalog::token::{self, Kind, Token};

use super::text::SYNTAX;

/// True where two texts mean the same by their form: equal but for white space and redundant
/// parentheses, or equal neutral expressions.
pub fn same(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let cut = |text| token::tokenize(text, &SYNTAX.tokens).ok();
    let (Some(left), Some(right)) = (cut(a), cut(b)) else { return false };
    if bared(&left) == bared(&right) {
        return true;
    }
    matches!((expr::parse(a, &SYNTAX), expr::parse(b, &SYNTAX)), (Some(a), Some(b)) if a == b)
}

/// The tokens, words in lower case, without parentheses around what is one operand or all, and
/// with a cast of a whole `ARRAY[..]` moved to its members: PostgreSQL prints a list of varchar
/// literals the one way, and the same text read back and printed again the other way.
fn bared(tokens: &[Token<'_>]) -> Vec<String> {
    let partner = partners(tokens);
    let redundant = |at: usize| {
        let Some(close) = partner[at] else { return false };
        let called = at > 0 && tokens[at - 1].name().is_some() && !is_operator_word(&tokens[at - 1]);
        let whole = at == 0 && close + 1 == tokens.len();
        whole || !called && operand_end(tokens, &partner, at + 1) == close
    };
    let kept = tokens.iter().enumerate().filter(|(at, token)| match () {
        () if token.is("(") => !redundant(*at),
        () if token.is(")") => !partner[*at].is_some_and(redundant),
        () => token.kind != Kind::Comment,
    });
    let kept: Vec<Token<'_>> = kept.map(|(_, token)| *token).collect();
    distributed(&kept)
}

/// For each parenthesis and bracket the place of its other half.
fn partners(tokens: &[Token<'_>]) -> Vec<Option<usize>> {
    let mut partner = vec![None; tokens.len()];
    let mut open = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.is("(") || token.is("[") {
            open.push(at);
        } else if token.is(")") || token.is("]") {
            let start: Option<usize> = open.pop();
            partner[at] = start;
            if let Some(start) = start {
                partner[start] = Some(at);
            }
        }
    }
    partner
}

/// The index behind the operand at `at`: a name that may be qualified and called, a literal, a
/// group, an array, with the casts that follow.
fn operand_end(tokens: &[Token<'_>], partner: &[Option<usize>], at: usize) -> usize {
    let is = |at: usize, mark: &str| tokens.get(at).is_some_and(|token| token.is(mark));
    let Some(first) = tokens.get(at) else { return at };
    if first.kind == Kind::Op || first.is(")") || is_operator_word(first) {
        return at;
    }
    let behind = |open: usize| partner[open].map_or(open, |close| close + 1);
    let mut end = if first.is("(") { behind(at) } else { at + 1 };
    while is(end, ".") {
        end += 2;
    }
    let named = first.name().is_some();
    if named && (is(end, "(") || is(end, "[")) {
        end = behind(end);
    }
    while is(end, "::") {
        match expr::type_end(tokens, end + 1) {
            Some(behind) => end = behind,
            None => return end,
        }
    }
    end
}

/// Writes the tokens out, the cast behind an `ARRAY[..]` after each of its members instead.
fn distributed(tokens: &[Token<'_>]) -> Vec<String> {
    let partner = partners(tokens);
    let mut out = Vec::with_capacity(tokens.len());
    // For each open bracket the cast that the members of its array take, if any.
    let mut open: Vec<Vec<String>> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let mut next = at + 1;
        if token.is("(") || token.is("[") {
            let array = at > 0 && tokens[at - 1].is_word("array");
            let cast = partner[at].filter(|_| array).and_then(|close| array_cast(tokens, close));
            open.push(cast.map(|(words, _)| words).unwrap_or_default());
        } else if token.is(",") {
            out.extend(open.last().into_iter().flatten().cloned());
        } else if token.is(")") || token.is("]") {
            let cast = open.pop().unwrap_or_default();
            if !cast.is_empty() {
                next = array_cast(tokens, at).map_or(next, |(_, end)| end);
            }
            out.extend(cast);
        }
        out.push(word(token));
        at = next;
    }
    out
}

/// The cast to an array type behind the `]` at `close`: the words of its element's cast, and the
/// index behind it.
fn array_cast(tokens: &[Token<'_>], close: usize) -> Option<(Vec<String>, usize)> {
    tokens.get(close + 1).filter(|token| token.is("::"))?;
    let end = expr::type_end(tokens, close + 2)?;
    let (cast, brackets) = tokens[close + 1..end].split_at_checked((end - close).checked_sub(3)?)?;
    let array = brackets.len() == 2 && brackets[0].is("[") && brackets[1].is("]");
    array.then(|| (cast.iter().map(word).collect(), end))
}

fn word(token: &Token<'_>) -> String {
    match token.kind {
        Kind::Word => token.text.to_ascii_lowercase(),
        _ => token.text.to_string(),
    }
}

fn is_operator_word(token: &Token<'_>) -> bool {
    ["and", "or", "not", "when", "then", "else", "case", "between", "like", "is"]
        .iter()
        .any(|word| token.is_word(word))
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn one_meaning_in_two_prints_is_the_same() {
        for (a, b) in [
            ("a", "(a)"),
            ("((a)::text = 'x'::text)", "(a::text = 'x'::text)"),
            ("(x ~ 'a'::text)", "x ~ 'a'::text"),
            ("((lower(x)) ~ 'a')", "lower(x)   ~ ('a')"),
            (
                "((vc)::text ~ ANY ((ARRAY['x'::character varying, 'b'::character varying])::text[]))",
                "((vc)::text ~ ANY (ARRAY[('x'::character varying)::text, ('b'::character varying)::text]))",
            ),
            ("(a = ANY (ARRAY[1, 2]))", "a IN (1, 2)"),
            ("NULL", "null"),
        ] {
            assert!(same(a, b), "{a} and {b}");
        }
    }

    #[test]
    fn another_meaning_is_not_the_same() {
        for (a, b) in [
            ("(a + b) * c", "a + b * c"),
            ("a", "\"A\""),
            ("'a'", "'A'"),
            ("f(a)", "f (b)"),
            ("(a)::integer", "(a)::bigint"),
            ("f((a, b))", "f(a, b)"),
            ("- (a)::text", "(- a)::text"),
            ("x ~ ANY ((ARRAY['a', 'b'])::text[])", "x ~ ANY ((ARRAY['a', 'b'])::citext[])"),
            ("a AND (b OR c)", "a AND b OR c"),
            ("'unclosed", "'unclosed "),
        ] {
            assert!(!same(a, b), "{a} and {b}");
        }
    }

    #[test]
    fn a_long_list_takes_no_longer_than_it_is() {
        let list = "('x'::character varying)::text, ".repeat(50_000);
        let a = format!("(v)::text ~ ANY (ARRAY[{list}'y'::text])");
        assert!(same(&a, &a.replace("('x'::character varying)", "'x'::character varying")));
    }
}
