//! Whether an expression still means the same when its columns change their kind on the way to
//! another engine: a number kept as text compares as text. Refuses when in doubt.

use crate::catalog::dialect::Unspeakable;
use crate::catalog::expr::Op;
use crate::catalog::{Expr, Type};

/// How much of a column's meaning is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    /// Null or not.
    Nullness,
    /// Equal or not, too.
    Equality,
    All,
}

/// The types of a column at the source, and as the target takes it.
type Types<'a> = dyn Fn(&str) -> (Type, Type) + 'a;

/// Fails on the first column that is used for more than is left of it.
pub(super) fn keep(expr: &Expr, types: &Types<'_>) -> Result<(), Unspeakable> {
    match expr {
        Expr::Column(name) => need(name, Left::All, types),
        Expr::IsNull { of, .. } => each(std::iter::once(&**of), Left::Nullness, types),
        Expr::In { of, list, .. } => each(std::iter::once(&**of).chain(list), Left::Equality, types),
        Expr::Binary { op: Op::Eq | Op::Ne, left, right } => {
            each([&**left, &**right].into_iter(), Left::Equality, types)
        }
        other => other.parts().into_iter().try_for_each(|part| keep(part, types)),
    }
}

/// Operands that are columns need `left` of their meaning, others are looked into.
fn each<'e>(
    mut operands: impl Iterator<Item = &'e Expr>,
    left: Left,
    types: &Types<'_>,
) -> Result<(), Unspeakable> {
    operands.try_for_each(|operand| match operand {
        Expr::Column(name) => need(name, left, types),
        other => keep(other, types),
    })
}

fn need(name: &str, wanted: Left, types: &Types<'_>) -> Result<(), Unspeakable> {
    let (from, to) = types(name);
    if left(&from, &to) >= wanted {
        return Ok(());
    }
    Err(Unspeakable { what: format!("an expression over {name}, which is of another kind on the target") })
}

fn left(from: &Type, to: &Type) -> Left {
    use Type::*;
    let text = |ty: &Type| matches!(ty, Text | VarChar { .. } | Char { .. });
    let whole = |ty: &Type| matches!(ty, Int { .. } | UInt { .. });
    match (from, to) {
        (from, to) if from == to || (text(from) && text(to)) => Left::All,
        (from, to) if whole(from) && (whole(to) || matches!(to, Decimal { .. } | Float { .. })) => Left::All,
        (Float { .. }, Float { .. }) | (Decimal { .. }, Decimal { .. }) => Left::All,
        (Binary { .. } | Blob, Binary { .. } | Blob) => Left::All,
        // A boolean is spelled as the target's own 0 and 1.
        (Bool, to) if whole(to) => Left::All,
        // Texts of dates have one form and sort as the dates do.
        (Date, to) if text(to) => Left::All,
        (Timestamp { .. }, Timestamp { .. }) | (TimestampTz { .. }, TimestampTz { .. }) => Left::All,
        (Time { zone: a, .. }, Time { zone: b, .. }) if a == b => Left::All,
        // Labels have an order of their own.
        (Enum { .. } | Uuid, to) if text(to) => Left::Equality,
        (Enum { .. }, Enum { .. }) => Left::Equality,
        _ => Left::Nullness,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(expr: Expr, from: Type, to: Type) -> bool {
        keep(&expr, &|_| (from.clone(), to.clone())).is_ok()
    }

    fn column() -> Box<Expr> {
        Box::new(Expr::Column("c".into()))
    }

    #[test]
    fn a_number_that_becomes_text_can_only_be_null_or_not() {
        let number = Type::Decimal { precision: Some(10), scale: Some(2) };
        let compare = |op| Expr::binary(op, *column(), Expr::Number("10".into()));
        assert!(!kept(compare(Op::Ge), number.clone(), Type::Text));
        assert!(!kept(compare(Op::Eq), number.clone(), Type::Text));
        assert!(kept(Expr::IsNull { of: column(), negated: true }, number.clone(), Type::Text));
        assert!(kept(compare(Op::Ge), number.clone(), number));
    }

    #[test]
    fn labels_keep_equality_and_lose_their_order() {
        let status = Type::Enum { name: None, labels: vec!["new".into(), "paid".into()] };
        let compare = |op| Expr::binary(op, *column(), Expr::Text("paid".into()));
        assert!(kept(compare(Op::Eq), status.clone(), Type::Text));
        assert!(!kept(compare(Op::Lt), status, Type::Text));
    }
}
