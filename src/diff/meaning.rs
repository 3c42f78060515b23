//! Whether an expression still means the same when its columns change their kind on the way to
//! another engine: a number kept as text compares as text. Says it so that it does where that can
//! be done, and refuses when in doubt.

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

/// Digits that binary floating point keeps apart: with so many, numbers kept as text compare as
/// the numbers they are once they are made numbers again.
const DIGITS_MAX: u32 = 15;

/// Makes numbers of the columns that are kept as text: adding zero does, and changes nothing.
pub(super) fn restore(expr: &mut Expr, types: &Types<'_>) {
    match expr {
        Expr::Column(name) if counts_as_text(&types(name)) => {
            let column = std::mem::replace(expr, Expr::Null);
            *expr = Expr::binary(Op::Add, column, Expr::Number("0".into()));
        }
        Expr::IsNull { of, .. } if matches!(**of, Expr::Column(_)) => {}
        Expr::Not(of) | Expr::Negate(of) | Expr::IsNull { of, .. } => restore(of, types),
        Expr::And(all) | Expr::Or(all) | Expr::Call { args: all, .. } => {
            all.iter_mut().for_each(|part| restore(part, types));
        }
        Expr::Binary { left, right, .. } => {
            restore(left, types);
            restore(right, types);
        }
        Expr::In { of, list, .. } => {
            restore(of, types);
            list.iter_mut().for_each(|part| restore(part, types));
        }
        Expr::Between { of, low, high, .. } => {
            [of, low, high].into_iter().for_each(|part| restore(part, types));
        }
        _ => {}
    }
}

fn counts_as_text((from, to): &(Type, Type)) -> bool {
    let few = matches!(from, Type::Decimal { precision: Some(digits), .. } if *digits <= DIGITS_MAX);
    few && matches!(to, Type::Text)
}

/// Fails on the first column that is used for more than is left of it.
pub(super) fn keep(expr: &Expr, types: &Types<'_>) -> Result<(), Unspeakable> {
    match expr {
        Expr::Column(name) => need(name, Left::All, types),
        Expr::IsNull { of, .. } => each(std::iter::once(&**of), Left::Nullness, types),
        Expr::In { of, list, .. } => each(std::iter::once(&**of).chain(list), Left::Equality, types),
        // As `restore` writes it.
        Expr::Binary { op: Op::Add, left, right }
            if **right == Expr::Number("0".into())
                && matches!(&**left, Expr::Column(name) if counts_as_text(&types(name))) =>
        {
            Ok(())
        }
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
    fn a_short_number_kept_as_text_is_made_a_number_to_compare() {
        let types =
            |digits| move |_: &str| (Type::Decimal { precision: Some(digits), scale: Some(2) }, Type::Text);
        let compare = Expr::binary(Op::Ge, *column(), Expr::Number("10".into()));
        let mut short = compare.clone();
        restore(&mut short, &types(10));
        assert!(keep(&short, &types(10)).is_ok());
        let sum = Expr::binary(Op::Add, *column(), Expr::Number("0".into()));
        assert_eq!(short, Expr::binary(Op::Ge, sum, Expr::Number("10".into())));
        let mut long = compare.clone();
        restore(&mut long, &types(30));
        assert_eq!(long, compare);
        assert!(keep(&long, &types(30)).is_err());
    }

    #[test]
    fn labels_keep_equality_and_lose_their_order() {
        let status = Type::Enum { name: None, labels: vec!["new".into(), "paid".into()] };
        let compare = |op| Expr::binary(op, *column(), Expr::Text("paid".into()));
        assert!(kept(compare(Op::Eq), status.clone(), Type::Text));
        assert!(!kept(compare(Op::Lt), status, Type::Text));
    }
}
