//! Writes a neutral expression in an engine's syntax, every inner operation in parentheses, so
//! that no engine's precedence matters.

use super::{BytesStyle, Expr, LikeStyle, Now, Syntax};
use crate::catalog::dialect::Unspeakable;

/// The text of an expression, or what in it the engine has no words for.
pub fn spell(expr: &Expr, syntax: &Syntax) -> Result<String, Unspeakable> {
    match expr {
        Expr::Not(of) => Ok(format!("NOT {}", inner(of, syntax)?)),
        Expr::Negate(of) => Ok(format!("- {}", inner(of, syntax)?)),
        Expr::And(all) => joined(all, " AND ", syntax),
        Expr::Or(all) => joined(all, " OR ", syntax),
        Expr::Binary { op, left, right } => {
            Ok(format!("{} {} {}", inner(left, syntax)?, op.sign(), inner(right, syntax)?))
        }
        Expr::IsNull { of, negated } => Ok(format!("{} IS {}NULL", inner(of, syntax)?, not(*negated))),
        Expr::In { of, list, negated } => {
            Ok(format!("{} {}IN ({})", inner(of, syntax)?, not(*negated), commas(list, syntax)?))
        }
        Expr::Between { of, low, high, negated } => {
            let (low, high) = (inner(low, syntax)?, inner(high, syntax)?);
            Ok(format!("{} {}BETWEEN {low} AND {high}", inner(of, syntax)?, not(*negated)))
        }
        Expr::Like { of, pattern, negated } => {
            Ok(format!("{} {}{}", inner(of, syntax)?, not(*negated), like(pattern, syntax)?))
        }
        atom => spell_atom(atom, syntax),
    }
}

fn spell_atom(expr: &Expr, syntax: &Syntax) -> Result<String, Unspeakable> {
    Ok(match expr {
        Expr::Column(name) => (syntax.quote)(name),
        Expr::Null => "NULL".to_string(),
        Expr::Bool(value) => match (value, syntax.boolean_words) {
            (true, true) => "true".to_string(),
            (false, true) => "false".to_string(),
            (value, false) => u8::from(*value).to_string(),
        },
        Expr::Number(digits) => digits.clone(),
        Expr::Text(text) if text.contains('\0') => return Err(unspeakable("a string with a zero character")),
        Expr::Text(text) => (syntax.literal)(text),
        Expr::Bytes(bytes) => spell_bytes(bytes, syntax.bytes),
        Expr::Now(now) => spell_now(*now, syntax)?.to_string(),
        Expr::Call { name, args } => {
            let known = syntax.functions.iter().find(|(_, neutral)| neutral == name);
            let (native, _) = known.ok_or_else(|| unspeakable(format!("function {name}")))?;
            format!("{native}({})", commas(args, syntax)?)
        }
        operation => format!("({})", spell(operation, syntax)?),
    })
}

/// An operand: atoms bare, operations in parentheses.
fn inner(expr: &Expr, syntax: &Syntax) -> Result<String, Unspeakable> {
    spell_atom(expr, syntax)
}

fn joined(all: &[Expr], word: &str, syntax: &Syntax) -> Result<String, Unspeakable> {
    let parts: Result<Vec<String>, Unspeakable> = all.iter().map(|expr| inner(expr, syntax)).collect();
    Ok(parts?.join(word))
}

fn commas(all: &[Expr], syntax: &Syntax) -> Result<String, Unspeakable> {
    joined(all, ", ", syntax)
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

fn spell_bytes(bytes: &[u8], style: BytesStyle) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match style {
        BytesStyle::Hex => format!("x'{hex}'"),
        BytesStyle::Bytea => format!("'\\x{hex}'::bytea"),
    }
}

fn spell_now(now: Now, syntax: &Syntax) -> Result<&'static str, Unspeakable> {
    let known = syntax.now.iter().find(|(_, kind)| *kind == now);
    known.map(|(spelling, _)| *spelling).ok_or_else(|| unspeakable("the present moment"))
}

fn like(pattern: &Expr, syntax: &Syntax) -> Result<String, Unspeakable> {
    if syntax.like == LikeStyle::CaseAndEscape {
        return Ok(format!("LIKE {}", inner(pattern, syntax)?));
    }
    let Expr::Text(text) = pattern else {
        return Err(unspeakable("a case-sensitive LIKE whose pattern is not a literal"));
    };
    if !text.contains(|c: char| c.is_ascii_alphabetic() || c == '\\') {
        return Ok(format!("LIKE {}", (syntax.literal)(text)));
    }
    let glob = to_glob(text).ok_or_else(|| unspeakable("a LIKE pattern that ends in its escape"))?;
    Ok(format!("GLOB {}", (syntax.literal)(&glob)))
}

fn to_glob(pattern: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let (c, literal) = match c {
            '\\' => (chars.next()?, true),
            c => (c, false),
        };
        match c {
            '%' if !literal => out.push('*'),
            '_' if !literal => out.push('?'),
            '*' | '?' | '[' => out.extend(['[', c, ']']),
            c => out.push(c),
        }
    }
    Some(out)
}

fn unspeakable(what: impl Into<String>) -> Unspeakable {
    Unspeakable { what: what.into() }
}
