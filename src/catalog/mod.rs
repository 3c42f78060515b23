//! Floor 0: the neutral picture of a database. Plain data and pure functions; imports nothing of
//! ours, opens nothing, knows no engine by name.

pub mod dialect;
pub mod expr;
pub mod members;
pub mod mentions;
pub mod name;
pub mod noun;
pub mod probe;
pub mod projection;
pub mod table;
pub mod token;
pub mod types;
pub mod value;

use serde::{Deserialize, Serialize};

pub use dialect::{ChangeLog, Dialect, Features, Holds};
pub use expr::Expr;
pub use name::Name;
pub use probe::{Answer, Probe, Question};
pub use projection::{Cast, ColumnMap, Form, Projection, ZeroDate};
pub use table::{
    Action, Check, Column, Default, ForeignKey, Generated, Identity, Index, IndexPart, Key, KeyKind,
    MatchKind, Nulls, Partition, ReplicaIdentity, Table, TableKind,
};
pub use types::Type;
pub use value::{Cell, RowBatch};

/// The structure of one database at one moment. Lists are sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The engine's name, as `Dialect::name` gives it.
    pub engine: String,
    /// The server's (or library's) version, such as `15.20`.
    pub version: String,
    /// Which database this is, whatever the URL said; see [`Place`].
    pub place: Place,
    /// The database's name, for humans.
    pub database: String,
    /// The schema that a table name without one means.
    pub default_schema: String,
    /// Character encoding of the database, in the engine's own spelling (`UTF8`).
    pub encoding: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<Schema>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<UserType>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collations: Vec<Name>,
    /// What may take texts apart for an index over their words, where an index names it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parsers: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sequences: Vec<Sequence>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Table>,
    /// What Towpath sees and does not carry: views, functions, triggers, policies, grants...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherObject>,
    /// Tables and sequences whose rows or values this role may not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<Denied>,
}

/// A privilege that is missing to read an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denied {
    pub object: Name,
    /// The statement that grants it, ready to be run by the object's owner.
    pub grant: String,
    /// What may not be read, where it is not the rows or the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
}

/// The identity of a database, equal for two URLs that reach the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// How the identity was found, such as `pg-system-identifier` or `sqlite-file`.
    pub kind: String,
    /// `sha256:...` of the identifying facts; never a host, path or user.
    pub hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// An extension that carried objects need (PostgreSQL `CREATE EXTENSION`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    pub name: String,
    pub schema: String,
    pub version: String,
    /// True where it is installed in this database; false where it could be created.
    pub installed: bool,
}

/// A named type that tables use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserType {
    pub name: Name,
    pub kind: UserTypeKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Native texts are the server's own printing with every name qualified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum UserTypeKind {
    Enum {
        labels: Vec<String>,
    },
    Domain {
        base: String,
        #[serde(default)]
        not_null: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        default: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        collation: Option<Name>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        checks: Vec<Check>,
    },
    /// Fields in order: name and native type.
    Composite {
        fields: Vec<(String, String)>,
    },
    /// `options` are the words after `AS RANGE`, without parentheses: `subtype = float8`.
    Range {
        options: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        multirange: Option<Name>,
    },
}

/// A sequence generator. Its present value is not structure and is read when it is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    pub name: Name,
    /// Native integer type, such as `bigint`.
    pub data_type: String,
    pub start: i64,
    pub increment: i64,
    pub min: i64,
    pub max: i64,
    pub cache: i64,
    pub cycle: bool,
    /// Table and column that own it (`serial`, identity); it goes when they go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<SequenceOwner>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceOwner {
    pub table: Name,
    pub column: String,
    /// True where the sequence belongs to an identity column and is created with it.
    pub identity: bool,
}

/// Something that is seen and left behind, always listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherObject {
    /// Singular, lower case: `view`, `materialized view`, `function`, `trigger`, `policy`...
    pub kind: String,
    pub name: Name,
    /// The table it hangs on, where it hangs on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Name>,
}

impl Catalog {
    /// The table of that name.
    pub fn table(&self, name: &Name) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == *name)
    }

    /// The sequence of that name.
    pub fn sequence(&self, name: &Name) -> Option<&Sequence> {
        self.sequences.iter().find(|sequence| sequence.name == *name)
    }

    /// The user type of that name.
    pub fn user_type(&self, name: &Name) -> Option<&UserType> {
        self.types.iter().find(|user_type| user_type.name == *name)
    }
}
