//! The makers of expressions: equal meanings get equal trees here, whoever builds them.

use super::{Expr, Op};

pub(super) fn negate(of: Expr) -> Expr {
    match of {
        Expr::Number(digits) => Expr::Number(match digits.strip_prefix('-') {
            Some(positive) => positive.to_string(),
            None if digits == "0" => digits,
            None => format!("-{digits}"),
        }),
        of => Expr::Negate(Box::new(of)),
    }
}

pub(super) fn is_null(of: Expr, negated: bool) -> Expr {
    Expr::IsNull { of: Box::new(of), negated }
}

pub(super) fn between(of: Expr, low: Expr, high: Expr, negated: bool) -> Expr {
    Expr::Between { of: Box::new(of), low: Box::new(low), high: Box::new(high), negated }
}

pub(super) fn like(of: Expr, pattern: Expr, negated: bool) -> Expr {
    Expr::Like { of: Box::new(of), pattern: Box::new(pattern), negated }
}

pub(super) fn among(of: Expr, mut list: Vec<Expr>, negated: bool) -> Option<Expr> {
    match list.len() {
        0 => None,
        1 => Some(Expr::binary(if negated { Op::Ne } else { Op::Eq }, of, list.remove(0))),
        _ => Some(Expr::In { of: Box::new(of), list, negated }),
    }
}

pub(super) fn not(of: Expr) -> Expr {
    match of {
        Expr::IsNull { of, negated } => Expr::IsNull { of, negated: !negated },
        Expr::In { of, list, negated } => Expr::In { of, list, negated: !negated },
        Expr::Between { of, low, high, negated } => Expr::Between { of, low, high, negated: !negated },
        Expr::Like { of, pattern, negated } => Expr::Like { of, pattern, negated: !negated },
        of => Expr::Not(Box::new(of)),
    }
}

pub(super) fn and(all: Vec<Expr>) -> Expr {
    let flat = all.into_iter().flat_map(|expr| match expr {
        Expr::And(inner) => inner,
        expr => vec![expr],
    });
    let mut all = fold_ranges(flat.collect(), Op::Ge, Op::Le, false);
    if all.len() > 1 { fold_list(all, Op::Ne, true).unwrap_or_else(Expr::And) } else { all.remove(0) }
}

pub(super) fn or(all: Vec<Expr>) -> Expr {
    let flat = all.into_iter().flat_map(|expr| match expr {
        Expr::Or(inner) => inner,
        expr => vec![expr],
    });
    let mut all = fold_ranges(flat.collect(), Op::Lt, Op::Gt, true);
    if all.len() > 1 { fold_list(all, Op::Eq, false).unwrap_or_else(Expr::Or) } else { all.remove(0) }
}

/// Neighbours such as `a >= 1, a <= 5`, which is how PostgreSQL keeps a BETWEEN, become one.
pub(super) fn fold_ranges(all: Vec<Expr>, lower: Op, upper: Op, negated: bool) -> Vec<Expr> {
    let mut out: Vec<Expr> = Vec::with_capacity(all.len());
    for expr in all {
        let last = out.pop();
        match (last, expr) {
            (
                Some(Expr::Binary { op, left: a, right: low }),
                Expr::Binary { op: next, left: b, right: high },
            ) if op == lower && next == upper && a == b => {
                out.push(Expr::Between { of: a, low, high, negated });
            }
            (last, expr) => {
                out.extend(last);
                out.push(expr);
            }
        }
    }
    out
}

/// `a = 1 or a = 2` is `a in (1, 2)`, which PostgreSQL takes apart where members are not constant.
pub(super) fn fold_list(all: Vec<Expr>, sign: Op, negated: bool) -> Result<Expr, Vec<Expr>> {
    let subject = |expr: &Expr| match expr {
        Expr::Binary { op, left, .. } if *op == sign => Some(left.as_ref().clone()),
        _ => None,
    };
    let Some(of) = all.first().and_then(subject) else { return Err(all) };
    if !all.iter().all(|expr| matches!(expr, Expr::Binary { op, left, .. } if *op == sign && **left == of)) {
        return Err(all);
    }
    let values = all.into_iter().filter_map(|expr| match expr {
        Expr::Binary { right, .. } => Some(*right),
        _ => None,
    });
    Ok(Expr::In { of: Box::new(of), list: values.collect(), negated })
}

/// A LIKE pattern in which only `%`, `_` and the backslash are escaped; none if it ends in one.
pub(super) fn normal_pattern(pattern: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                c @ ('%' | '_' | '\\') => out.extend(['\\', c]),
                c => out.push(c),
            },
            c => out.push(c),
        }
    }
    Some(out)
}

/// A GLOB pattern as a LIKE pattern with escapes; none where it holds a set of characters.
pub(super) fn from_glob(pattern: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => out.push('%'),
            '?' => out.push('_'),
            '[' => {
                let c = chars.next().filter(|c| "*?[".contains(*c))?;
                chars.next().filter(|c| *c == ']')?;
                out.push(c);
            }
            '%' | '_' | '\\' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    Some(out)
}
