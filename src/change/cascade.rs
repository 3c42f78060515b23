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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(table: usize, columns: &[usize], refer_to: &[usize]) -> Hop {
        Hop { table, columns: columns.to_vec(), refer_to: refer_to.to_vec() }
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
