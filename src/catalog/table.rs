//! Tables and what hangs on them. Native texts (`native`, definitions, expressions) are the
//! server's own printing with every name outside the table qualified.

use serde::{Deserialize, Serialize};

use super::{Name, Type};

/// What [`Table::options`] calls the partitioning that is part of a table, as MySQL's is: its text behind
/// `PARTITION BY`, where another server can be told it.
pub const PARTITION_BY: &str = "partition by";

/// What such a table is listed as, where that is not carried.
pub const PARTITIONING: &str = "partitioning";

/// A table. Columns are in their order, everything else is sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    pub name: Name,
    #[serde(default)]
    pub kind: TableKind,
    pub columns: Vec<Column>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// Primary, unique and exclusion constraints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Key>,
    /// Indexes that belong to no constraint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<Index>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_keys: Vec<ForeignKey>,
    /// Parents by inheritance (not partitioning), in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inherits: Vec<Name>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub unlogged: bool,
    /// Storage parameters: `fillfactor` = `70`; SQLite: `strict`, `without_rowid`, `autoincrement`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<(String, String)>,
    /// How texts of columns compare that are added without a word on it, where not by their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// By what the change log tells a row of this table from the others.
    #[serde(default, skip_serializing_if = "ReplicaIdentity::is_primary")]
    pub replica_identity: ReplicaIdentity,
    /// Why a snapshot does not cover its rows (an engine without transactions), if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside_snapshot: Option<String>,
    /// Why this role may not see all its rows (row-level security), if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_rows: Option<String>,
    /// Estimates from statistics; zero where there are none. Never part of a digest.
    #[serde(default)]
    pub rows: u64,
    /// Bytes of the heap with out-of-line values, without indexes. An estimate, as `rows`.
    #[serde(default)]
    pub bytes: u64,
}

/// What the change log says of the old row when a row is changed or deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaIdentity {
    /// Its primary key; nothing where there is none.
    #[default]
    Primary,
    /// The columns of this unique index.
    Index(String),
    /// All columns.
    Full,
    Nothing,
}

impl ReplicaIdentity {
    fn is_primary(&self) -> bool {
        *self == Self::Primary
    }
}

/// What kind of table it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TableKind {
    #[default]
    Plain,
    /// The root (or an inner node) of a partition tree; holds no rows itself. `by` is the
    /// native partition clause: `RANGE (created_at)`.
    Partitioned {
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Partition>,
    },
    /// A leaf of a partition tree.
    Leaf(Partition),
}

/// Where a partition hangs. `bound` is native: `FOR VALUES FROM (1) TO (9)` or `DEFAULT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    pub parent: Name,
    pub bound: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: Type,
    /// The type as the server prints it, qualified.
    pub native: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub not_null: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Default>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Generated>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// A collation other than the type's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<Name>,
    /// Native storage mode and compression, where not the type's own: `EXTERNAL`, `lz4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Its character set has characters without a counterpart in Unicode.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unchecked_text: bool,
    /// Inherited from a parent and not declared here.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inherited: bool,
    /// An update of its row that does not set it makes it the present moment, in its own digits (MySQL:
    /// `ON UPDATE CURRENT_TIMESTAMP`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub stamped: bool,
    /// The native binary form of the type means the same on any server of this engine.
    #[serde(default, skip_serializing_if = "is_false")]
    pub portable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A default value. The engine's printer text, and what it is where that can be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Default {
    pub native: String,
    /// The sequence it draws from (`nextval`), if it does nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    pub native: String,
    pub stored: bool,
}

/// An identity column; its sequence is in the catalog with this column as identity owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    Always,
    ByDefault,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Empty where the engine has unnamed constraints.
    pub name: String,
    /// The condition alone, without `CHECK` and its parentheses.
    pub native: String,
    /// False for `NOT VALID`.
    #[serde(default = "truth")]
    pub validated: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_inherit: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub inherited: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Empty where the engine has unnamed constraints.
    pub name: String,
    pub kind: KeyKind,
    /// Key columns in order; for an exclusion constraint its parts with their operators.
    pub parts: Vec<IndexPart>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub nulls_not_distinct: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub deferrable: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub initially_deferred: bool,
    /// Index method of an exclusion constraint (`gist`); else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Predicate of an exclusion constraint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicate: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<(String, String)>,
    /// The partitioned parent's key that this one is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Name>,
    /// This key's index is what replication identifies rows by / the table is clustered on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub clustered: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// An estimate of the index's bytes, never part of a digest.
    #[serde(default)]
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    Primary,
    Unique,
    Exclusion,
}

/// One column or expression of a key or index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexPart {
    /// A plain column's name, or
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// an expression in native text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<Name>,
    /// Operator class where not the default one, with its parameters, qualified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opclass: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub descending: bool,
    /// Where it differs from the direction's own habit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nulls: Option<Nulls>,
    /// Operator of an exclusion constraint, qualified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nulls {
    First,
    Last,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    pub name: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub unique: bool,
    /// `btree`, `gin`...; empty where the engine has one method.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    pub parts: Vec<IndexPart>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub nulls_not_distinct: bool,
    /// Condition of a partial index, native.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicate: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<(String, String)>,
    /// The partitioned parent's index that this one is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Name>,
    /// False for a leftover of a failed concurrent build.
    #[serde(default = "truth")]
    pub valid: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub clustered: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// An estimate, never part of a digest.
    #[serde(default)]
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignKey {
    /// Empty where the engine has unnamed constraints.
    pub name: String,
    pub columns: Vec<String>,
    pub parent: Name,
    /// Empty: the parent's primary key (SQLite).
    pub parent_columns: Vec<String>,
    #[serde(default)]
    pub on_delete: Action,
    #[serde(default)]
    pub on_update: Action,
    /// `ON DELETE SET NULL (a, b)`: the columns named, where not all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_columns: Vec<String>,
    #[serde(default)]
    pub matching: MatchKind,
    #[serde(default, skip_serializing_if = "is_false")]
    pub deferrable: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub initially_deferred: bool,
    #[serde(default = "truth")]
    pub validated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// What happens to children when the parent row goes or its key changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    #[default]
    NoAction,
    Restrict,
    Cascade,
    SetNull,
    SetDefault,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchKind {
    #[default]
    Simple,
    Full,
}

impl Table {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub fn primary_key(&self) -> Option<&Key> {
        self.keys.iter().find(|key| key.kind == KeyKind::Primary)
    }

    /// The value of a storage option.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// True where rows are stored in the table itself (not the root of a partition tree).
    pub fn holds_rows(&self) -> bool {
        !matches!(self.kind, TableKind::Partitioned { .. })
    }

    /// Where it hangs in a partition tree, if it does.
    pub fn partition(&self) -> Option<&Partition> {
        match &self.kind {
            TableKind::Leaf(partition) => Some(partition),
            TableKind::Partitioned { of, .. } => of.as_ref(),
            TableKind::Plain => None,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn truth() -> bool {
    true
}
