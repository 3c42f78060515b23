//! What a foreign key of the source did without a word in its log (contract, S-27), as one statement
//! of a target. Engines word tables and columns; the form is shared. Pure.

use super::{Cause, EngineError};
use crate::change::{Cascade, Datum, Path};

/// How an engine words what a cascade is made of. Tables and columns by their places.
pub trait Wording {
    fn table(&self, table: usize) -> String;
    fn column(&self, table: usize, place: usize) -> String;
    /// That two expressions are the same value of a column.
    fn equal(&self, table: usize, place: usize, left: &str, right: &str) -> String;
    /// A parameter, counted from 0, as a value of a column.
    fn given(&self, table: usize, place: usize, number: usize) -> String;
}

/// A value of a cascade, with its table and the place of its column.
pub type Value<'a> = (usize, usize, Datum<'a>);

/// The parameters of the statement in their order: what is set, then the key. `widths`: columns of
/// the followed tables.
pub fn values<'a>(
    path: &Path,
    cascade: Cascade<'a>,
    widths: &[usize],
) -> Result<Vec<Value<'a>>, EngineError> {
    if !path.fits(widths) {
        let message = "a cascade through a table that is not followed";
        return Err(EngineError::new(Cause::Other, "apply changes", message));
    }
    let (first, end) = (&path.hops[0], path.end().table);
    let set = path.set.iter().map(|place| (end, *place)).zip(cascade.set);
    let key = first.columns.iter().map(|place| (first.table, *place)).zip(cascade.key);
    Ok(set.chain(key).map(|((table, place), datum)| (table, place, datum)).collect())
}

/// All rows at the end of a path, however many there are. `update`: how an UPDATE begins.
pub fn statement(path: &Path, wording: &dyn Wording, update: &str) -> String {
    let (table, condition) = (wording.table(path.end().table), condition(path, wording));
    match path.set.is_empty() {
        true => format!("DELETE FROM {table} AS t0 WHERE {condition}"),
        false => format!("{update} {table} AS t0 SET {} WHERE {condition}", assignments(path, wording)),
    }
}

/// The condition on rows of the last table, in SQL that all engines share: nested EXISTS, from
/// the end of the path to its beginning. The last table goes by the name `t0`, those before it
/// by `t1`, `t2`, ... Parameters of the key are numbered behind those of `set`.
fn condition(path: &Path, wording: &dyn Wording) -> String {
    let depth = path.hops.len() - 1;
    let first = &path.hops[0];
    let column =
        |level: usize, table: usize, place: usize| format!("t{level}.{}", wording.column(table, place));
    let keys = first.columns.iter().enumerate().map(|(at, &place)| {
        let given = wording.given(first.table, place, path.set.len() + at);
        wording.equal(first.table, place, &column(depth, first.table, place), &given)
    });
    let mut condition = keys.collect::<Vec<_>>().join(" AND ");
    for (at, hop) in path.hops.iter().enumerate().skip(1) {
        let (upper, lower) = (depth + 1 - at, depth - at);
        let before = path.hops[at - 1].table;
        let pairs = hop.refer_to.iter().zip(&hop.columns).map(|(&other, &own)| {
            let referred = column(upper, before, other);
            wording.equal(before, other, &referred, &column(lower, hop.table, own))
        });
        let joined = pairs.collect::<Vec<_>>().join(" AND ");
        let table = wording.table(before);
        condition = format!("EXISTS (SELECT 1 FROM {table} AS t{upper} WHERE {joined} AND {condition})");
    }
    condition
}

/// What the columns of [`Path::set`] get, as a list of assignments.
fn assignments(path: &Path, wording: &dyn Wording) -> String {
    let table = path.end().table;
    let assign = |(at, &place): (usize, &usize)| {
        format!("{} = {}", wording.column(table, place), wording.given(table, place, at))
    };
    path.set.iter().enumerate().map(assign).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Hop;

    struct Plain;

    impl Wording for Plain {
        fn table(&self, table: usize) -> String {
            format!("x{table}")
        }
        fn column(&self, table: usize, place: usize) -> String {
            format!("c{table}{place}")
        }
        fn equal(&self, _: usize, _: usize, left: &str, right: &str) -> String {
            format!("{left} = {right}")
        }
        fn given(&self, _: usize, _: usize, number: usize) -> String {
            format!("${}", number + 1)
        }
    }

    fn hop(table: usize, columns: &[usize], refer_to: &[usize]) -> Hop {
        Hop { table, columns: columns.to_vec(), refer_to: refer_to.to_vec() }
    }

    #[test]
    fn s_27_the_condition_goes_from_the_end_of_a_path_to_its_beginning() {
        let path =
            Path { hops: vec![hop(1, &[2, 3], &[]), hop(2, &[1], &[0]), hop(2, &[1], &[0])], set: vec![] };
        assert!(path.fits(&[1, 4, 2]));
        let condition = condition(&path, &Plain);
        assert_eq!(
            condition,
            "EXISTS (SELECT 1 FROM x2 AS t1 WHERE t1.c20 = t0.c21 AND EXISTS (SELECT 1 FROM x1 AS t2 WHERE \
             t2.c10 = t1.c21 AND t2.c12 = $1 AND t2.c13 = $2))"
        );
    }
}
