//! How changes of one followed table are written as SQL: row by row with one value per parameter,
//! or as sets with one array of texts per column. Pure; every name is quoted, values are bound.
//!
//! ```text
//!   row   UPDATE ONLY s.t AS t SET a = $1 WHERE t.id = $2
//!   set   UPDATE ONLY s.t AS t SET a = u.c1::bigint FROM unnest($1::text[], $2::text[]) AS u(c1, c2) WHERE t.id = u.c2::bigint
//!   whole DELETE FROM ONLY s.t AS t USING (SELECT ... LIMIT 1) AS m WHERE t.ctid = m.c
//! ```

use super::encode::Encoder;
use super::quote;
use super::select::zone_shift;
use super::types::unlimited;
use crate::catalog::{ColumnMap, Form, Projection, Type};
use crate::change::{Followed, Identity};

/// What only the target's catalog can tell of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// A partition tree, whose rows lie in its leaves.
    pub partitioned: bool,
    /// Columns that are GENERATED ALWAYS AS IDENTITY.
    pub always: Vec<String>,
    /// All columns that hold a value of their own, where one of them is GENERATED ALWAYS.
    pub columns: Vec<String>,
    /// Equality of types whose operators are not found without their schema.
    pub operators: Vec<(String, String)>,
    /// Native types of the source that are none here: casts start at their text.
    pub unknown: Vec<String>,
}

/// A followed table as the target writes it.
pub struct Table {
    pub projection: Projection,
    pub identity: Identity,
    pub encoder: Encoder,
    /// With `ONLY`, where rows of children are not its own.
    only: String,
    name: String,
    partitioned: bool,
    columns: Vec<Column>,
    /// Columns of the target that no source column feeds, where rows have to be put in anew.
    others: Vec<String>,
}

struct Column {
    name: String,
    /// The type without length or precision: a cast to it never cuts anything off.
    bare: String,
    /// The type as it is.
    native: String,
    cast: Option<Cast>,
    equals: String,
    /// GENERATED ALWAYS AS IDENTITY: an UPDATE may not set it.
    always: bool,
    /// Can be searched by its equality: never null, and of a type that has one.
    searchable: bool,
}

/// The change of type that the source makes in a copy, made by the target.
struct Cast {
    /// None where the source's type is not known here: its text is cast.
    from: Option<String>,
    zone: Option<String>,
    native: String,
}

impl Column {
    fn of(column: &ColumnMap, form: Form, facts: &Facts) -> Self {
        let operator = facts.operators.iter().find(|(name, _)| *name == column.target);
        Self {
            name: quote::identifier(&column.target),
            bare: unlimited(&column.target_native),
            native: column.target_native.clone(),
            cast: Cast::of(column, facts).filter(|_| form != Form::Rows),
            equals: operator.map_or("=".to_string(), |(_, operator)| operator.clone()),
            always: facts.always.contains(&column.target),
            searchable: column.not_null && has_equality(&column.target_type),
        }
    }

    /// What is given as text, as a value of this column. The server infers the type of a bare
    /// parameter from where it stands; the text of an array's element it has to be told.
    fn value(&self, given: &str, inferred: bool) -> String {
        match &self.cast {
            None if inferred => given.to_string(),
            None => format!("{given}::{}", self.bare),
            Some(cast) => cast.expression(given),
        }
    }

    /// As [`Self::value`], with length and precision, as the column would hold it.
    fn stored(&self, given: &str) -> String {
        match &self.cast {
            None => format!("{given}::{}", self.native),
            Some(cast) => cast.expression(given),
        }
    }
}

impl Cast {
    fn of(column: &ColumnMap, facts: &Facts) -> Option<Self> {
        let cast = column.cast.as_ref()?;
        let from = &column.source_native;
        // The text of an enum is its label, whatever is made of it.
        let text = matches!(column.source_type, Type::Enum { .. }) || facts.unknown.contains(from);
        Some(Self {
            from: (!text && !from.is_empty()).then(|| unlimited(from)),
            zone: zone_shift(column).map(quote::literal),
            native: cast.native.clone(),
        })
    }

    fn expression(&self, given: &str) -> String {
        let from = match &self.from {
            Some(from) => format!("{given}::{from}"),
            None => given.to_string(),
        };
        match &self.zone {
            Some(zone) => format!("({from} AT TIME ZONE {zone})::{}", self.native),
            None => format!("{from}::{}", self.native),
        }
    }
}

/// Whether `=` of the type says that values are the same, or nearly.
fn has_equality(ty: &Type) -> bool {
    !matches!(
        ty,
        Type::Json { binary: false } | Type::Xml | Type::Native { .. } | Type::Array { .. } | Type::Any
    )
}

impl Table {
    pub fn new(followed: &Followed, facts: &Facts) -> Self {
        let projection = followed.projection.clone();
        let name = quote::name(&projection.target);
        let column = |column: &ColumnMap| Column::of(column, projection.form, facts);
        // Whole only where it is needed.
        let known: &[String] = if facts.always.is_empty() { &[] } else { &facts.columns };
        let is_unfed = |name: &&String| !projection.columns.iter().any(|column| column.target == **name);
        let others = known.iter().filter(is_unfed).map(|name| quote::identifier(name)).collect();
        Self {
            identity: followed.identity.clone(),
            encoder: Encoder::of_changes(&projection),
            only: if facts.partitioned { name.clone() } else { format!("ONLY {name}") },
            name,
            partitioned: facts.partitioned,
            columns: projection.columns.iter().map(column).collect(),
            others,
            projection,
        }
    }

    /// The columns of the identity; all where it is the whole row.
    pub fn identity(&self) -> &[usize] {
        match &self.identity {
            Identity::Columns(columns) => columns,
            Identity::Whole => &[],
        }
    }

    pub fn is_whole(&self) -> bool {
        self.identity == Identity::Whole
    }

    /// Rows go in by COPY as they are, with nothing to be made of their text.
    pub fn copies(&self) -> bool {
        self.columns.iter().all(|column| column.cast.is_none()) && !self.columns.is_empty()
    }

    pub fn is_always(&self, column: usize) -> bool {
        self.columns[column].always
    }

    /// One of these columns can be set by no UPDATE: the row is taken out and put in anew.
    pub fn replaces(&self, set: &[usize]) -> bool {
        set.iter().any(|column| self.columns[*column].always)
    }

    /// Without rows that are those of a child.
    pub fn only(&self) -> &str {
        &self.only
    }

    pub fn column_name(&self, column: usize) -> &str {
        &self.columns[column].name
    }

    pub fn equals(&self, column: usize) -> &str {
        &self.columns[column].equals
    }

    /// A parameter, counted from 0, as a value of a column.
    pub fn given(&self, column: usize, at: usize) -> String {
        self.columns[column].value(&parameter(at), false)
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        names.join(", ")
    }

    /// `OVERRIDING SYSTEM VALUE`: the values of identity columns are the source's (S-13).
    fn insert(&self, rows: &str) -> String {
        format!("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE {rows}", self.name, self.names())
    }

    /// Parameters: all columns.
    pub fn insert_row(&self) -> String {
        if self.columns.is_empty() {
            return format!("INSERT INTO {} DEFAULT VALUES", self.name);
        }
        let values = self.columns.iter().enumerate();
        let values: Vec<String> = values.map(|(at, column)| column.value(&parameter(at), true)).collect();
        self.insert(&format!("VALUES ({})", values.join(", ")))
    }

    /// Parameters: `set`, then the identity.
    pub fn update_row(&self, set: &[usize]) -> String {
        if self.replaces(set) {
            let gone =
                format!("DELETE FROM {} AS t WHERE {}", self.only, self.key(set.len(), &parameter, true));
            return self.replace(&gone, set, &[], &parameter);
        }
        let key = self.key(set.len(), &parameter, true);
        match self.assignments(set, &parameter, true) {
            Some(set) => format!("UPDATE {} AS t SET {set} WHERE {key}", self.only),
            // Nothing changes, and yet the row must be there.
            None => format!("SELECT FROM {} AS t WHERE {key} FOR KEY SHARE", self.only),
        }
    }

    /// Parameters: the identity.
    pub fn delete_row(&self) -> String {
        format!("DELETE FROM {} AS t WHERE {}", self.only, self.key(0, &parameter, true))
    }

    /// Parameters: `set`, then the `known` columns of the old row.
    pub fn update_whole(&self, set: &[usize], known: &[usize]) -> String {
        let (one, place) = self.one_row(set.len(), known);
        if self.replaces(set) {
            let gone = format!("DELETE FROM {} AS t USING {one} WHERE {place}", self.only);
            return self.replace(&gone, set, &[], &parameter);
        }
        match self.assignments(set, &parameter, true) {
            Some(set) => format!("UPDATE {} AS t SET {set} FROM {one} WHERE {place}", self.only),
            None => format!("SELECT FROM {one}"),
        }
    }

    /// Parameters: the `known` columns of the row.
    pub fn delete_whole(&self, known: &[usize]) -> String {
        let (one, place) = self.one_row(0, known);
        format!("DELETE FROM {} AS t USING {one} WHERE {place}", self.only)
    }

    /// Any one of the rows with these values, and the condition that `t` is that row. Values are
    /// the same when their texts are: `=` takes 1.0 for 1.00, and json has none (S-02).
    fn one_row(&self, first: usize, known: &[usize]) -> (String, String) {
        let searched = known.iter().enumerate().filter(|(_, column)| self.columns[**column].searchable);
        let searched = searched.map(|(at, column)| {
            let column = &self.columns[*column];
            format!("w.{} {} {}", column.name, column.equals, column.stored(&parameter(first + at)))
        });
        let same = known.iter().enumerate().map(|(at, column)| {
            let column = &self.columns[*column];
            let given = column.stored(&parameter(first + at));
            format!("w.{}::text COLLATE pg_catalog.\"C\" IS NOT DISTINCT FROM ({given})::text", column.name)
        });
        let conditions: Vec<String> = searched.chain(same).collect();
        let condition = if conditions.is_empty() { "true".to_string() } else { conditions.join(" AND ") };
        let one = format!(
            "(SELECT w.ctid AS c, w.tableoid AS o FROM {} AS w WHERE {condition} LIMIT 1) AS m",
            self.only
        );
        // A ctid is unique in one table only, and a tree of partitions is many.
        let place = if self.partitioned { "t.ctid = m.c AND t.tableoid = m.o" } else { "t.ctid = m.c" };
        (one, place.to_string())
    }

    /// Takes all columns in COPY's text form.
    pub fn copy_in(&self) -> String {
        format!("COPY {} ({}) FROM STDIN", self.name, self.names())
    }

    /// Parameters: arrays of all columns.
    pub fn insert_set(&self) -> String {
        let values = self.columns.iter().enumerate();
        let values: Vec<String> = values.map(|(at, column)| column.value(&element(at), false)).collect();
        self.insert(&format!("SELECT {} FROM {}", values.join(", "), unnest(self.columns.len())))
    }

    /// Parameters: arrays of `set`, then of the identity.
    pub fn update_set(&self, set: &[usize]) -> String {
        let rows = unnest(set.len() + self.identity().len());
        let key = self.key(set.len(), &element, false);
        if self.replaces(set) {
            let gone = format!("DELETE FROM {} AS t USING {rows} WHERE {key}", self.only);
            let brought: Vec<String> = (0..set.len()).map(element).collect();
            return self.replace(&gone, set, &brought, &|at| format!("m.c{}", at + 1));
        }
        match self.assignments(set, &element, false) {
            Some(set) => format!("UPDATE {} AS t SET {set} FROM {rows} WHERE {key}", self.only),
            None => format!("SELECT FROM {} AS t, {rows} WHERE {key} FOR KEY SHARE OF t", self.only),
        }
    }

    /// Parameters: arrays of the identity.
    pub fn delete_set(&self) -> String {
        let rows = unnest(self.identity().len());
        format!("DELETE FROM {} AS t USING {rows} WHERE {}", self.only, self.key(0, &element, false))
    }

    /// Rows that `gone` deletes, put in again with other values of `set`. Everything else, values
    /// that the log does not tell among it, goes from the old row to the new one inside the server.
    fn replace(
        &self,
        gone: &str,
        set: &[usize],
        brought: &[String],
        given: &dyn Fn(usize) -> String,
    ) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().chain(self.others.iter().map(String::as_str)).collect();
        let old = names.iter().enumerate().map(|(at, name)| format!("t.{name} AS o{at}"));
        let returned: Vec<String> = old.chain(brought.iter().cloned()).collect();
        let value = |at: usize| match set.iter().position(|column| *column == at) {
            Some(place) => self.columns[at].value(&given(place), false),
            None => format!("m.o{at}"),
        };
        let values: Vec<String> = (0..names.len()).map(value).collect();
        format!(
            "WITH m AS ({gone} RETURNING {}) INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM m",
            returned.join(", "),
            self.name,
            names.join(", "),
            values.join(", ")
        )
    }

    fn assignments(&self, set: &[usize], given: &dyn Fn(usize) -> String, inferred: bool) -> Option<String> {
        let assign = |(at, column): (usize, &usize)| {
            let column = &self.columns[*column];
            format!("{} = {}", column.name, column.value(&given(at), inferred))
        };
        let set: Vec<String> = set.iter().enumerate().map(assign).collect();
        (!set.is_empty()).then(|| set.join(", "))
    }

    fn key(&self, first: usize, given: &dyn Fn(usize) -> String, inferred: bool) -> String {
        let equal = |(at, column): (usize, &usize)| {
            let column = &self.columns[*column];
            format!("t.{} {} {}", column.name, column.equals, column.value(&given(first + at), inferred))
        };
        let key: Vec<String> = self.identity().iter().enumerate().map(equal).collect();
        key.join(" AND ")
    }
}

/// The parameter at this place, counted from 0.
fn parameter(at: usize) -> String {
    format!("${}", at + 1)
}

/// The same in the rows of [`unnest`].
fn element(at: usize) -> String {
    format!("u.c{}", at + 1)
}

/// Rows out of arrays, one array per column.
fn unnest(columns: usize) -> String {
    let arrays: Vec<String> = (1..=columns).map(|at| format!("${at}::text[]")).collect();
    let names: Vec<String> = (1..=columns).map(|at| format!("c{at}")).collect();
    format!("unnest({}) AS u({})", arrays.join(", "), names.join(", "))
}
