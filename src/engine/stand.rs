//! Where a sequence has to stand so that its next value is one the source has not used. Pure
//! arithmetic; `setval` is not undone by a rollback, so doing it twice must be harmless.

use crate::catalog::Sequence;

/// A position: `last` was handed out (`called`), or is the first to be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    pub last: i64,
    pub called: bool,
}

/// Why a sequence cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// The source's value lies outside the target sequence's bounds.
    Outside,
}

/// What to set `sequence` to, when the source stands at `source` and the target at `present`:
/// none where the target is there already or beyond. `margin` is a number of values to leave
/// free for what the source may still hand out. It shrinks near the end of the sequence: a
/// margin must not be what exhausts it. A cycling sequence stops at its end and wraps as the
/// source's will.
pub fn target(
    sequence: &Sequence,
    source: Stand,
    present: Stand,
    margin: u64,
) -> Result<Option<Stand>, Unset> {
    let step = i128::from(sequence.increment);
    let (min, max) = (i128::from(sequence.min), i128::from(sequence.max));
    let inside = |value: i128| (min..=max).contains(&value);
    // A counter of MySQL, or sequence of MariaDB, that has given out its last value stands behind it.
    let source = match i128::from(source.last) {
        last if !source.called && step > 0 && last > max => Stand { last: sequence.max, called: true },
        last if !source.called && step < 0 && last < min => Stand { last: sequence.min, called: true },
        _ => source,
    };
    if !inside(source.last.into()) {
        return Err(Unset::Outside);
    }
    let wanted = wanted(source, step, margin, inside);
    let wanted = Stand { last: i64::try_from(wanted.0).map_err(|_| Unset::Outside)?, called: wanted.1 };
    let next = |stand: Stand| i128::from(stand.last) + if stand.called { step } else { 0 };
    // In a cycle no value is before another.
    let beyond = match sequence.cycle {
        true => present == wanted,
        false if step > 0 => next(present) >= next(wanted),
        false => next(present) <= next(wanted),
    };
    Ok((!beyond).then_some(wanted))
}

/// The source's position moved on by as much of the margin as leaves a next value.
fn wanted(source: Stand, step: i128, margin: u64, inside: impl Fn(i128) -> bool) -> (i128, bool) {
    let last = i128::from(source.last);
    if source.called && !inside(last + step) {
        // Used up at the source: as used up here.
        return (last, true);
    }
    let next = if source.called { last + step } else { last };
    let (mut low, mut high) = (0_u64, margin);
    // The largest part of the margin whose next value still exists.
    while low < high {
        let middle = high - (high - low) / 2;
        match inside(next.saturating_add(step.saturating_mul(middle.into()))) {
            true => low = middle,
            false => high = middle - 1,
        }
    }
    let next = next + step * i128::from(low);
    match (source.called, low) {
        (false, 0) => (next, false),
        _ => (next - step, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Name;

    fn sequence(increment: i64, min: i64, max: i64, cycle: bool) -> Sequence {
        Sequence {
            name: Name::new("s", "q"),
            data_type: "bigint".into(),
            start: min,
            increment,
            min,
            max,
            cache: 1,
            cycle,
            owner: None,
            comment: None,
        }
    }

    const FRESH: Stand = Stand { last: 1, called: false };

    fn called(last: i64) -> Stand {
        Stand { last, called: true }
    }

    #[test]
    fn s_15_the_next_value_is_unused_in_its_direction() {
        let up = sequence(1, 1, i64::MAX, false);
        assert_eq!(target(&up, called(42), FRESH, 0), Ok(Some(called(42))));
        assert_eq!(target(&up, called(42), FRESH, 100), Ok(Some(called(142))));
        let down = sequence(-5, -1000, -1, false);
        let fresh = Stand { last: -1, called: false };
        assert_eq!(target(&down, called(-11), fresh, 2), Ok(Some(called(-21))));
    }

    #[test]
    fn s_15_never_called() {
        let up = sequence(1, 1, 100, false);
        assert_eq!(target(&up, FRESH, FRESH, 0), Ok(None));
        let from_seven = Stand { last: 7, called: false };
        assert_eq!(target(&up, from_seven, FRESH, 0), Ok(Some(from_seven)));
        // The next value is 7 + 3: three values stay free.
        assert_eq!(target(&up, from_seven, FRESH, 3), Ok(Some(called(9))));
    }

    #[test]
    fn f_73_never_backwards() {
        let up = sequence(1, 1, 1000, false);
        assert_eq!(target(&up, called(42), called(42), 0), Ok(None));
        assert_eq!(target(&up, called(42), called(500), 100), Ok(None));
        assert_eq!(target(&up, called(42), Stand { last: 43, called: false }, 0), Ok(None));
        let down = sequence(-1, -1000, -1, false);
        assert_eq!(target(&down, called(-42), called(-50), 0), Ok(None));
    }

    #[test]
    fn f_73_near_and_at_the_end() {
        let up = sequence(10, 1, 100, false);
        // 81 was used, 91 is left; a margin of 100 must not take it away.
        assert_eq!(target(&up, called(81), FRESH, 100), Ok(Some(called(81))));
        assert_eq!(target(&up, called(71), FRESH, 100), Ok(Some(called(81))));
        // 91 was used: nothing is left, here as there.
        assert_eq!(target(&up, called(91), FRESH, 5), Ok(Some(called(91))));
        assert_eq!(target(&up, called(101), FRESH, 0), Err(Unset::Outside));
        // A counter of MySQL stands behind the last value that it gave out.
        assert_eq!(target(&up, Stand { last: 101, called: false }, FRESH, 5), Ok(Some(called(100))));
        let huge = sequence(i64::MAX, 1, i64::MAX, false);
        assert_eq!(target(&huge, called(1), FRESH, u64::MAX), Ok(Some(called(1))));
    }

    #[test]
    fn s_15_cycles_follow_the_source() {
        let cycle = sequence(1, 1, 10, true);
        assert_eq!(target(&cycle, called(3), called(9), 0), Ok(Some(called(3))));
        assert_eq!(target(&cycle, called(10), FRESH, 4), Ok(Some(called(10))));
        assert_eq!(target(&cycle, called(3), called(3), 0), Ok(None));
    }
}
