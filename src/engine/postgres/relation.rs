//! What a table looks like in the change log, compared with what the plan carries of it: names,
//! types, and what tells its rows apart. The first difference is put into words. Pure.

use super::rows::Decode;
use super::select::{Side, zone_shift};
use crate::catalog::name::show;
use crate::catalog::{ColumnMap, Form};
use crate::change::{Followed, Identity};

/// A table as a Relation message describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// `pg_class.relreplident`: `d`, `i`, `f`, `n`.
    pub identity: u8,
    pub columns: Vec<ShapeColumn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeColumn {
    /// Part of what identifies a row.
    pub key: bool,
    pub name: String,
    pub ty: u32,
    pub modifier: i32,
}

/// The type that the plan takes a column for, in the numbers of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// None where the server knows no such type any more.
    pub ty: Option<u32>,
    pub modifier: Modifier,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modifier {
    Is(i32),
    /// The column has this one now, and the plan was made with another.
    IsNot(i32),
    Any,
}

impl Expected {
    fn fits(self, column: &ShapeColumn) -> bool {
        self.ty == Some(column.ty)
            && match self.modifier {
                Modifier::Is(modifier) => modifier == column.modifier,
                Modifier::IsNot(modifier) => modifier != column.modifier,
                Modifier::Any => true,
            }
    }
}

/// Where a cell of the projection is found in a row of the log, and how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub at: usize,
    pub how: How,
}

/// How the server's text becomes a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As it is.
    Native,
    Cell(Decode),
    /// A time without a zone that is meant in UTC.
    AddUtc,
    /// A time in UTC whose zone is not wanted.
    CutUtc,
}

impl How {
    /// None for a shift to another zone: it takes the server's own tables to make it.
    pub fn of(column: &ColumnMap, form: Form) -> Option<Self> {
        if form != Form::Rows {
            return Some(Self::Native);
        }
        match zone_shift(column) {
            None => Some(Self::Cell(Decode::of(Side::Source.cell_type(column)))),
            Some(zone) if !matches!(zone, "UTC" | "Etc/UTC" | "Z") => None,
            Some(_) => match column.source_type {
                crate::catalog::Type::Timestamp { .. } => Some(Self::AddUtc),
                _ => Some(Self::CutUtc),
            },
        }
    }
}

/// Finds the projection's columns by their names; else what is not as the plan has it.
pub fn fit(followed: &Followed, expected: &[Expected], shape: &Shape) -> Result<Vec<Place>, String> {
    let projection = &followed.projection;
    let mut places = Vec::with_capacity(projection.columns.len());
    for (column, expected) in projection.columns.iter().zip(expected) {
        let found = shape.columns.iter().position(|found| found.name == column.source);
        let at = found.ok_or_else(|| {
            format!("the column {} that the plan carries is gone or renamed", show(&column.source))
        })?;
        if !expected.fits(&shape.columns[at]) {
            return Err(format!(
                "the column {} is no longer of the type {} that the plan carries (it is type {} with modifier {})",
                show(&column.source),
                show_type(&column.source_native),
                shape.columns[at].ty,
                shape.columns[at].modifier
            ));
        }
        let how = How::of(column, projection.form);
        let how = how.ok_or_else(|| format!("the column {} changes its zone", show(&column.source)))?;
        places.push(Place { at, how });
    }
    let carried = |name: &str| projection.columns.iter().any(|column| column.source == name);
    let added = shape
        .columns
        .iter()
        .find(|column| !carried(&column.name) && !followed.skipped.contains(&column.name));
    if let Some(added) = added {
        return Err(format!("it has a column {} that the plan does not know", show(&added.name)));
    }
    check_identity(followed, shape).map(|()| places)
}

/// A type's text is the server's own and may hold a user's names.
fn show_type(native: &str) -> String {
    super::error::escape(native)
}

fn check_identity(followed: &Followed, shape: &Shape) -> Result<(), String> {
    let keys = || shape.columns.iter().filter(|column| column.key).map(|column| column.name.as_str());
    let planned = match (&followed.identity, shape.identity) {
        (_, b'f') => return Ok(()),
        (Identity::Whole, _) => return Err("its replica identity is no longer FULL".to_string()),
        (Identity::Columns(places), _) => {
            let name = |place: &usize| followed.projection.columns.get(*place).map(|c| c.source.as_str());
            places.iter().filter_map(name).collect::<Vec<_>>()
        }
    };
    if shape.identity == b'n' || keys().next().is_none() {
        return Err("its replica identity is gone: the log no longer tells which row was changed".to_string());
    }
    let same =
        keys().all(|key| planned.contains(&key)) && planned.iter().all(|name| keys().any(|key| key == *name));
    match same {
        true => Ok(()),
        false => {
            let list = |names: Vec<&str>| names.into_iter().map(show).collect::<Vec<_>>().join(", ");
            Err(format!(
                "its replica identity is ({}) and was ({}) when the plan was made",
                list(keys().collect()),
                list(planned)
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Cast, Name, Projection, Type};

    fn column(name: &str) -> ColumnMap {
        ColumnMap {
            source: name.into(),
            target: name.into(),
            source_type: Type::Int { bits: 32 },
            source_native: "integer".into(),
            target_type: Type::Int { bits: 32 },
            target_native: "integer".into(),
            not_null: false,
            zero_date: Default::default(),
            error_value_null: false,
            cast: None,
        }
    }

    fn followed() -> Followed {
        let projection = Projection {
            source: Name::new("public", "t"),
            target: Name::new("public", "t"),
            columns: vec![column("id"), column("n")],
            filter: None,
            key: vec![0],
            form: Form::NativeText,
        };
        Followed { projection, identity: Identity::Columns(vec![0]), skipped: vec!["old".into()] }
    }

    fn shape(columns: &[(&str, bool, u32)], identity: u8) -> Shape {
        let column = |(name, key, ty): &(&str, bool, u32)| ShapeColumn {
            key: *key,
            name: name.to_string(),
            ty: *ty,
            modifier: -1,
        };
        Shape { identity, columns: columns.iter().map(column).collect() }
    }

    const INTEGER: Expected = Expected { ty: Some(23), modifier: Modifier::Is(-1) };

    #[test]
    fn s_20_columns_are_found_by_name() {
        let shape = shape(&[("n", false, 23), ("old", false, 25), ("id", true, 23)], b'd');
        let places = fit(&followed(), &[INTEGER, INTEGER], &shape).expect("fits");
        assert_eq!(places.iter().map(|place| place.at).collect::<Vec<_>>(), [2, 0]);
    }

    #[test]
    fn s_22_f_46_each_difference_is_named() {
        let says = |columns: &[(&str, bool, u32)], identity| {
            fit(&followed(), &[INTEGER, INTEGER], &shape(columns, identity)).expect_err("differs")
        };
        assert!(says(&[("id", true, 23)], b'd').contains("column n that the plan carries is gone"));
        assert!(says(&[("id", true, 23), ("n", false, 25)], b'd').contains("no longer of the type integer"));
        assert!(says(&[("id", true, 23), ("n", false, 23), ("x", false, 23)], b'd').contains("a column x"));
        assert!(says(&[("id", false, 23), ("n", false, 23)], b'n').contains("is gone"));
        assert!(says(&[("id", false, 23), ("n", false, 23)], b'd').contains("is gone"));
        assert!(says(&[("id", false, 23), ("n", true, 23)], b'i').contains("is (n) and was (id)"));
        let whole = Followed { identity: Identity::Whole, ..followed() };
        let keyed = shape(&[("id", true, 23), ("n", false, 23)], b'd');
        assert!(fit(&whole, &[INTEGER, INTEGER], &keyed).expect_err("differs").contains("FULL"));
        let full = shape(&[("id", true, 23), ("n", true, 23)], b'f');
        assert!(fit(&followed(), &[INTEGER, INTEGER], &full).is_ok());
    }

    #[test]
    fn only_utc_is_a_zone_that_needs_no_server() {
        let shifted = |zone: &str| ColumnMap {
            source_type: Type::Timestamp { precision: 6 },
            target_type: Type::TimestampTz { precision: 6 },
            cast: Some(Cast { native: "timestamptz".into(), zone: Some(zone.into()) }),
            ..column("at")
        };
        assert_eq!(How::of(&shifted("UTC"), Form::Rows), Some(How::AddUtc));
        assert_eq!(How::of(&shifted("Europe/Berlin"), Form::Rows), None);
        assert_eq!(How::of(&shifted("Europe/Berlin"), Form::NativeText), Some(How::Native));
    }
}
