//! What a foreign key did at the source without a word in its log: rows of children that went, or
//! got other values, because a row that they referred to did. Which rows those are, only the
//! target can say: the children of the children of that row.

use serde::{Deserialize, Serialize};

/// A way down from a row through tables that refer to each other, and what becomes of the rows at
/// its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// From the table that refers to the row on; at least one.
    pub hops: Vec<Hop>,
    /// Columns of the last table that get the values that come with a cascade, by their places in
    /// its projection; none: the rows are deleted.
    pub set: Vec<usize>,
}

/// A table, and how its rows refer to those of the table before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Place in the list of followed tables.
    pub table: usize,
    /// Places of the columns that refer.
    pub columns: Vec<usize>,
    /// Places of what they refer to in the table before. Of the first hop that is the key that
    /// comes with a cascade, in its order, and here are none.
    pub refer_to: Vec<usize>,
}

impl Path {
    /// The table whose rows are changed.
    ///
    /// # Panics
    ///
    /// Where it has no hop.
    pub fn end(&self) -> &Hop {
        self.hops.last().expect("broken invariant: a path has a hop")
    }

    /// Whether places are in their tables, and each list is as long as its fellow.
    pub fn fits(&self, widths: &[usize]) -> bool {
        let there = |table: usize, columns: &[usize]| {
            widths.get(table).is_some_and(|width| columns.iter().all(|column| column < width))
        };
        let mut before: Option<&Hop> = None;
        for hop in &self.hops {
            let referred = match before {
                None => hop.refer_to.is_empty(),
                Some(before) => hop.refer_to.len() == hop.columns.len() && there(before.table, &hop.refer_to),
            };
            if hop.columns.is_empty() || !there(hop.table, &hop.columns) || !referred {
                return false;
            }
            before = Some(hop);
        }
        before.is_some_and(|last| there(last.table, &self.set))
    }

    /// The condition on rows of the last table, in SQL that all engines share: nested EXISTS, from
    /// the end of the path to its beginning. The last table goes by the name `t0`, those before it
    /// by `t1`, `t2`, ... Parameters of the key are numbered behind those of `set`.
    pub fn condition(&self, wording: &dyn Wording) -> String {
        let depth = self.hops.len() - 1;
        let first = &self.hops[0];
        let column =
            |level: usize, table: usize, place: usize| format!("t{level}.{}", wording.column(table, place));
        let keys = first.columns.iter().enumerate().map(|(at, &place)| {
            let given = wording.given(first.table, place, self.set.len() + at);
            wording.equal(first.table, place, &column(depth, first.table, place), &given)
        });
        let mut condition = keys.collect::<Vec<_>>().join(" AND ");
        for (at, hop) in self.hops.iter().enumerate().skip(1) {
            let (upper, lower) = (depth + 1 - at, depth - at);
            let before = self.hops[at - 1].table;
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

    /// What the columns of [`Self::set`] get, as a list of assignments.
    pub fn assignments(&self, wording: &dyn Wording) -> String {
        let table = self.end().table;
        let assign = |(at, &place): (usize, &usize)| {
            format!("{} = {}", wording.column(table, place), wording.given(table, place, at))
        };
        self.set.iter().enumerate().map(assign).collect::<Vec<_>>().join(", ")
    }
}

/// How an engine words what a cascade is made of. Tables and columns by their places.
pub trait Wording {
    fn table(&self, table: usize) -> String;
    fn column(&self, table: usize, place: usize) -> String;
    /// That two expressions are the same value of a column.
    fn equal(&self, table: usize, place: usize, left: &str, right: &str) -> String;
    /// A parameter, counted from 0, as a value of a column.
    fn given(&self, table: usize, place: usize, number: usize) -> String;
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let condition = path.condition(&Plain);
        assert_eq!(
            condition,
            "EXISTS (SELECT 1 FROM x2 AS t1 WHERE t1.c20 = t0.c21 AND EXISTS (SELECT 1 FROM x1 AS t2 WHERE \
             t2.c10 = t1.c21 AND t2.c12 = $1 AND t2.c13 = $2))"
        );
    }

    #[test]
    fn a_path_that_leaves_its_tables_does_not_fit() {
        let bad = [
            Path { hops: vec![], set: vec![] },
            Path { hops: vec![hop(0, &[], &[])], set: vec![] },
            Path { hops: vec![hop(0, &[1], &[])], set: vec![] },
            Path { hops: vec![hop(0, &[0], &[0])], set: vec![] },
            Path { hops: vec![hop(0, &[0], &[])], set: vec![1] },
            Path { hops: vec![hop(0, &[0], &[]), hop(0, &[0], &[])], set: vec![] },
            Path { hops: vec![hop(0, &[0], &[]), hop(1, &[0], &[0])], set: vec![] },
        ];
        for path in bad {
            assert!(!path.fits(&[1]), "{path:?}");
        }
    }
}
