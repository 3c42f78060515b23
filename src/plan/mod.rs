//! Floor 3: what the user asked for, complete and checked. `file` is the YAML as written,
//! `resolve` makes a [`Plan`] of it, `select` lays the plan over a source catalog. Reads no files
//! and no environment: text and variables are handed in.

pub mod back;
pub mod explain;
pub mod file;
pub mod keys;
pub mod lookalike;
pub mod nearest;
pub mod pattern;
pub mod problem;
pub mod resolve;
pub mod schema;
pub mod secret;
pub mod select;
pub mod stream;
pub mod unit;
mod walk;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use problem::{Problem, Severity, Span};
pub use resolve::{Connect, resolve, resolve_for};
pub use schema::plan_schema;
pub use select::{Selection, TableIntent, select};
pub use stream::{Acknowledge, Cdc, Cutover, CutoverCheck, Fence, Mode, SequencesFrom, Which};

/// Variables for `${NAME}` in the plan file.
pub type Variables = BTreeMap<String, String>;

/// A resolved plan. Spans point into the plan file, for findings of later floors.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    pub source: End,
    pub target: End,
    pub defaults: Policy,
    /// In the order of the file.
    pub rules: Vec<Rule>,
    pub types: Vec<TypeRule>,
    pub accept: Vec<Accept>,
    pub limits: PlanLimits,
    pub cdc: Cdc,
    pub cutover: Option<Cutover>,
    /// Where the file asks for a way back, if it does.
    pub reverse: Option<Span>,
    /// The path as the user gave it, for messages.
    pub path: String,
    /// `sha256:` of the file's bytes.
    pub digest: String,
}

/// One end of a plan. The URL holds secrets: no `Debug`, no serde.
#[derive(Clone)]
pub struct End {
    pub url: String,
    pub url_span: Span,
    /// Target only: the schema that takes the place of the source's default one.
    pub schema: Option<String>,
}

impl std::fmt::Debug for End {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("End").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// What is done with a table. All fields set: defaults are already merged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// False: the table must exist on the target and match.
    pub create: bool,
    pub keys: Keys,
    pub indexes: Indexes,
    pub load: Load,
    /// Changes are followed after the load.
    pub cdc: bool,
    pub verify: Verify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    pub primary: bool,
    pub unique: bool,
    pub foreign: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Indexes {
    AfterLoad,
    BeforeLoad,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    Copy,
    /// Empty the target table first.
    Replace,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    Checksum,
    Count,
    None,
}

/// One entry of `tables:`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `users`, `app.users`, `tmp_*`, `*`.
    pub pattern: String,
    pub span: Span,
    pub skip: bool,
    /// Only what the entry itself says.
    pub create: Option<bool>,
    pub keys: Option<Keys>,
    pub indexes: Option<Indexes>,
    pub load: Option<Load>,
    pub cdc: Option<bool>,
    pub verify: Option<Verify>,
    pub filter: Option<(String, Span)>,
    /// New name, without or with a schema.
    pub to: Option<(String, Span)>,
    pub columns: Vec<ColumnRule>,
}

/// One entry of `columns:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnRule {
    pub column: String,
    pub span: Span,
    pub skip: bool,
    pub to: Option<(String, Span)>,
    /// Native type of the target.
    pub ty: Option<(String, Span)>,
    pub zone: Option<(String, Span)>,
    /// Dates that no calendar has become null: where that was said.
    pub zero_date: Option<Span>,
    /// The error value of an ENUM becomes null: where that was said.
    pub error_value: Option<Span>,
}

/// One entry of `types:`: native type of the source to native type of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeRule {
    pub from: String,
    pub to: String,
    pub span: Span,
}

/// A reviewed risk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    pub hazard: String,
    /// `table` or `table.column` of the source, in the plan file's spelling.
    pub at: Option<String>,
    pub max_rows: Option<u64>,
    pub reason: String,
    /// `YYYY-MM-DD`; the acceptance ends with this day, UTC.
    pub until: Option<String>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanLimits {
    pub readers: usize,
    pub writers: usize,
    pub index_builds: usize,
    pub rows_per_second: Option<u64>,
    /// Bytes of one chunk.
    pub chunk_bytes: u64,
}

impl Default for PlanLimits {
    /// A chunk of 1 GiB keeps marks rare and resume useful; see the copy bench for its cost.
    fn default() -> Self {
        Self { readers: 4, writers: 8, index_builds: 2, rows_per_second: None, chunk_bytes: 1 << 30 }
    }
}
