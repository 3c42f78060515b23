//! How an engine writes SQL and types: pure, sync, no connection. SQL text is made behind this
//! trait only; every identifier is quoted there and nowhere else.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::mentions::mentions;
use super::{
    Catalog, Check, Column, Expr, Extension, ForeignKey, Index, Key, Name, Probe, Schema, Sequence, Table,
    Type, UserType,
};

/// Facts about an engine that decide how a graph is built.
#[derive(Clone, Debug)]
pub struct Features {
    /// Keys and foreign keys can be added to a table that exists. Else they are created with it.
    pub alter_adds_constraints: bool,
    /// A foreign key can be added unchecked and validated later.
    pub validates_later: bool,
    /// DDL is part of a transaction.
    pub transactional_ddl: bool,
    /// There are named schemas beyond one fixed one.
    pub schemas: bool,
    /// There are sequence objects.
    pub sequences: bool,
    /// Rows carry statistics that want an ANALYZE after a load.
    pub analyze: bool,
    /// Sessions that may write at once.
    pub writers_max: usize,
    /// Longest identifier; none: no limit that matters.
    pub identifier_max: Option<Length>,
    /// Names that differ only in the case of ASCII letters are the same name.
    pub folds_case: bool,
    /// Index names share one space per schema (else per table).
    pub index_names_per_schema: bool,
    /// A generated column may be computed from another one.
    pub generated_from_generated: bool,
    /// Constraints carry names.
    pub named_constraints: bool,
    /// Names of foreign keys and checks share one space per schema (else per table).
    pub constraint_names_per_schema: bool,
    /// Names of columns that differ only in the case of letters are the same name.
    pub folds_columns: bool,
    /// Rows lie in the order of their primary key, so that it is made with the table.
    pub clustered: bool,
    /// Changes of a source are applied to it.
    pub applies: bool,
    /// A table emptied or created in the transaction that loads it is loaded cheaper
    /// (PostgreSQL: COPY FREEZE).
    pub frozen_load: bool,
    /// Rows are loaded without a look at foreign keys.
    pub loads_unchecked: bool,
    /// Where the changes of a source are known from.
    pub capture: ChangeLog,
}

/// What an engine knows of the changes that are made to its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeLog {
    /// Nothing: its rows can be copied, not followed.
    None,
    /// It keeps a log of its own, of all that is committed, for as long as whoever reads it needs. Of
    /// a row as it was it has the columns that tell it from others.
    Log,
    /// A log of its own that has each changed row whole, as it was and as it is. It goes when the
    /// server's own settings say, read or not.
    WholeRows,
    /// Triggers and a table for what they write, which are added to the source. They cost each
    /// write of the application, so that the plan has to ask for them.
    Triggers,
}

/// What an engine's rows may hold beyond what their columns promise everywhere. Where a source
/// holds what its target does not, a plan asks the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// U+0000 in text.
    pub nul: bool,
    /// Text that is not valid in the database's encoding.
    pub bad_text: bool,
    /// NaN, infinity among numbers.
    pub nan: bool,
    pub infinity: bool,
    /// Dates that are infinite, BC, or beyond year 9999.
    pub far_dates: bool,
    /// Values of another class, or wider, than their column declares.
    pub loose_values: bool,
    /// Rows that break a declared foreign key.
    pub orphans: bool,
    /// Dates that no calendar has: without a year, month or day, or with a day too many.
    pub zero_dates: bool,
    /// Values of an enumeration that are none of its labels.
    pub loose_labels: bool,
    /// Times of day that are negative, or of 24 hours and more.
    pub long_times: bool,
}

/// Why an object cannot be written in a dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unspeakable {
    /// What has no counterpart, for a human: `index method gin`.
    pub what: String,
}

/// How names change on their way to the target, for texts that the source printed.
#[derive(Clone, Debug, Default)]
pub struct Renames {
    /// Columns of the table the text belongs to, where they are renamed.
    pub columns: BTreeMap<String, String>,
    /// Tables, sequences and types by old name, where they move. Shared: every text has columns of
    /// its own, these are the same for all.
    pub objects: Arc<BTreeMap<Name, Name>>,
    /// Schemas that move as a whole.
    pub schemas: Arc<BTreeMap<String, String>>,
}

impl Renames {
    /// Where an object goes: its own rename, else its schema's.
    pub fn object(&self, name: &Name) -> Name {
        if let Some(to) = self.objects.get(name) {
            return to.clone();
        }
        match self.schemas.get(&name.schema) {
            Some(schema) => Name::new(schema, &name.name),
            None => name.clone(),
        }
    }
}

/// How one engine writes things down. All methods are pure.
pub trait Dialect: Send + Sync {
    /// `postgres`, `sqlite`.
    fn name(&self) -> &'static str;
    fn features(&self) -> &Features;
    /// What rows may hold; the default is that of a strict engine.
    fn holds(&self) -> Holds {
        Holds::default()
    }
    /// Whether values of one type are read as another where a plan says so, each of them exactly.
    fn reads_as(&self, _from: &Type, _to: &Type) -> bool {
        false
    }

    fn quote(&self, identifier: &str) -> String;
    fn quote_name(&self, name: &Name) -> String;
    /// A string literal.
    fn literal(&self, text: &str) -> String;
    /// Why the engine cannot hold an identifier (too long, reserved, empty, NUL), if so.
    fn bad_identifier(&self, identifier: &str) -> Option<String>;
    /// Why a table cannot have a column of that name (clash with a system column), if so.
    fn bad_column(&self, _name: &str) -> Option<String> {
        None
    }
    /// True for schemas that belong to the engine itself.
    fn system_schema(&self, name: &str) -> bool;

    /// The neutral meaning of a native type; `Type::Native` where there is none.
    fn parse_type(&self, native: &str) -> Type;
    /// The native spelling of exactly this type; none where the engine has no such type.
    fn spell_type(&self, ty: &Type) -> Option<String>;
    /// The canonical spelling of a native type as written by a user (`int8` is `bigint`); none
    /// where the engine does not know it (user types of the catalog count as known).
    fn normal_type(&self, native: &str, catalog: Option<&Catalog>) -> Option<String>;

    /// Reads an expression of this dialect into the neutral subset, if it lies within it.
    fn parse_expr(&self, native: &str) -> Option<Expr>;
    /// As [`Self::parse_expr`], for an expression of that table (one without columns for a default):
    /// the types of the columns decide what may be translated, so this is the safer one.
    fn parse_expr_of(&self, native: &str, _table: &Table) -> Option<Expr> {
        self.parse_expr(native)
    }
    /// Writes a neutral expression.
    fn spell_expr(&self, expr: &Expr) -> Result<String, Unspeakable>;
    /// Renames inside a native text that this dialect printed (expression, type, bound).
    fn rename(&self, native: &str, renames: &Renames) -> Result<String, Unspeakable>;
    /// True where two native texts mean the same by their form alone (white space, outer
    /// parentheses, redundant casts).
    fn same_expr(&self, a: &str, b: &str) -> bool;
    /// Is `text` one scalar condition of this dialect: no `;`, no comment, no sub-select, balanced?
    fn check_condition(&self, text: &str) -> Result<(), String>;

    // DDL: statements in order, each complete, without a closing semicolon; none for what the engine
    // has no such objects of.
    fn create_schema(&self, _schema: &Schema) -> Vec<String> {
        Vec::new()
    }
    fn create_extension(&self, _extension: &Extension) -> Vec<String> {
        Vec::new()
    }
    fn create_type(&self, _user_type: &UserType) -> Vec<String> {
        Vec::new()
    }
    /// Qualified names in a text that the engine prints, and whether an opening parenthesis follows.
    fn mentions(&self, native: &str) -> HashSet<(Name, bool)> {
        mentions(native)
    }
    /// Whether this database can be given a sequence that is an object of its own.
    fn makes_sequences(&self, _catalog: &Catalog) -> bool {
        self.features().sequences
    }
    /// A sequence that stands alone or belongs to a `serial` column; identity ones come with the
    /// table. Ownership is set by [`Self::own_sequence`] once the table is there.
    fn create_sequence(&self, _sequence: &Sequence) -> Vec<String> {
        Vec::new()
    }
    fn own_sequence(&self, _sequence: &Sequence) -> Vec<String> {
        Vec::new()
    }
    /// The table with columns, defaults, checks, generated columns, comments, options, parents
    /// and partition bound; with `identity` the sequences of its identity columns. Keys and
    /// foreign keys only where `inline` asks for them.
    fn create_table(&self, table: &Table, identity: &[&Sequence], inline: Inline) -> Vec<String>;
    fn add_check(&self, table: &Table, check: &Check) -> Vec<String>;
    fn add_key(&self, table: &Table, key: &Key) -> Vec<String>;
    /// [`Self::add_key`] in two parts, where the engine can: the long one builds the key's index
    /// beside other builds on the table, the short one makes it a key and needs the table alone.
    fn add_key_in_parts(&self, _table: &Table, _key: &Key) -> Option<(Vec<String>, Vec<String>)> {
        None
    }
    fn create_index(&self, table: &Table, index: &Index) -> Vec<String>;
    /// `validate`: check the rows at once; else as [`Features::validates_later`].
    fn add_foreign_key(&self, table: &Table, key: &ForeignKey, validate: bool) -> Vec<String>;
    /// Takes a foreign key away that [`Self::add_foreign_key`] made; nothing where it came with the
    /// table.
    fn drop_foreign_key(&self, _table: &Name, _key: &ForeignKey) -> Vec<String> {
        Vec::new()
    }
    /// Checks rows against a foreign key that was added unchecked or created with the table.
    /// For engines that cannot, a query that must return no row.
    fn validate_foreign_key(&self, table: &Table, key: &ForeignKey) -> Vec<String>;
    fn analyze(&self, table: &Name) -> Vec<String>;
    fn empty_table(&self, table: &Name) -> Vec<String>;

    /// Why this engine cannot have such an object at all; none when it can. Called with the
    /// object in this engine's own terms, before any DDL is asked for.
    fn refuse_key(&self, _table: &Table, _key: &Key) -> Option<Unspeakable> {
        None
    }
    fn refuse_index(&self, _table: &Table, _index: &Index) -> Option<Unspeakable> {
        None
    }
    fn refuse_foreign_key(&self, _table: &Table, _key: &ForeignKey) -> Option<Unspeakable> {
        None
    }
    fn refuse_column(&self, _table: &Table, _column: &Column) -> Option<Unspeakable> {
        None
    }
    /// What a target that keeps a table's rows another way than the source does is told by, where this
    /// option of the source's table is not kept: a name and why.
    fn leaves_option(&self, _key: &str, _value: &str) -> Option<(String, String)> {
        None
    }
    /// Whether the values of a column are names of tables, which must be there before the rows.
    fn names_tables(&self, _column: &Column) -> bool {
        false
    }
    /// Whether a foreign key may lead from a column of the one type to one of the other.
    fn joins(&self, own: &Type, parent: &Type) -> bool {
        family(own) == family(parent)
    }

    /// The read-only query that answers a probe with one row: count, and two extremes or nulls.
    fn probe(&self, probe: &Probe) -> Option<String>;
}

/// How long a name may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Bytes(usize),
    Characters(usize),
}

impl Length {
    /// As much of a name as it leaves room for beside so many more ASCII characters.
    pub fn cut(self, name: &str, beside: usize) -> &str {
        let end = match self {
            Self::Bytes(most) => name.floor_char_boundary(most.saturating_sub(beside)),
            Self::Characters(most) => {
                let mut places = name.char_indices().map(|(place, _)| place);
                places.nth(most.saturating_sub(beside)).unwrap_or(name.len())
            }
        };
        &name[..end]
    }
}

/// What is created together with a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inline {
    pub keys: bool,
    pub foreign_keys: bool,
}

/// Types of one family are compared with each other.
pub fn family(ty: &Type) -> Type {
    match ty {
        Type::Int { .. } | Type::UInt { .. } | Type::Decimal { .. } | Type::Float { .. } => {
            Type::Decimal { precision: None, scale: None }
        }
        Type::Char { .. } | Type::VarChar { .. } | Type::Text => Type::Text,
        Type::Timestamp { .. } | Type::Date | Type::TimestampTz { .. } => Type::Date,
        Type::Binary { .. } | Type::Blob => Type::Blob,
        other => other.clone(),
    }
}
