//! The grammar of the plan file as one table of keys: what the walker accepts, what a
//! did-you-mean proposes and what the JSON Schema says all come from here. Data only.

/// A map of known keys.
pub struct Shape {
    /// What it describes, for messages: `an entry of tables`.
    pub title: &'static str,
    pub keys: &'static [KeyFacts],
    /// Keys that the design names and this version does not honour: key and what to do instead.
    pub unbuilt: &'static [(&'static str, &'static str)],
}

/// One key.
pub struct KeyFacts {
    pub name: &'static str,
    pub required: bool,
    pub kind: Kind,
    /// One sentence for editors.
    pub about: &'static str,
}

/// What a key's value may be.
pub enum Kind {
    /// The format's version, `1`.
    Version,
    /// Any text; `example` is shown by editors.
    Text {
        example: &'static str,
    },
    /// `null` and nothing else.
    Null,
    /// The plan's own name.
    PlanName,
    Bool,
    /// One word of `words`; `unbuilt` ones are refused by name.
    Choice {
        words: &'static [&'static str],
        unbuilt: &'static [&'static str],
    },
    /// A list of distinct words.
    Words(&'static [&'static str]),
    /// A whole number within bounds, both included.
    Whole {
        min: u64,
        max: u64,
    },
    /// Bytes with a unit, within bounds, both included.
    Size {
        min: u64,
        max: u64,
    },
    /// Time with a unit, within bounds in milliseconds, both included.
    Span {
        min: u64,
        max: u64,
    },
    /// A list of the user's own names.
    Names {
        example: &'static str,
    },
    /// One word, or a map of that shape.
    WordOr(&'static [&'static str], &'static Shape),
    /// `YYYY-MM-DD`.
    Date,
    /// A hazard code.
    Hazard,
    Map(&'static Shape),
    /// A list of such maps.
    List(&'static Shape),
    /// A map with the user's own keys; each value is `skip` or a map of that shape.
    Named(&'static Shape),
}

impl Shape {
    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&'static KeyFacts> {
        self.keys.iter().find(|key| key.name == name)
    }
}

const fn key(name: &'static str, kind: Kind, about: &'static str) -> KeyFacts {
    KeyFacts { name, required: false, kind, about }
}

const fn required(name: &'static str, kind: Kind, about: &'static str) -> KeyFacts {
    KeyFacts { name, required: true, kind, about }
}

/// The words of `keys:`.
pub static KEY_WORDS: &[&str] = &["primary", "unique", "foreign"];

const BY_SCHEME: &str = "the engine follows from the URL's scheme: postgres://, mysql:// or sqlite:";

const CREATE: KeyFacts =
    key("create", Kind::Bool, "Create the table; false: it must exist on the target and match.");
const KEYS: KeyFacts = key("keys", Kind::Words(KEY_WORDS), "Which keys come; foreign keys follow the load.");
const INDEXES: KeyFacts = key(
    "indexes",
    Kind::Choice { words: &["after_load", "before_load", "none"], unbuilt: &[] },
    "When secondary indexes are built.",
);
const LOAD: KeyFacts = key(
    "load",
    Kind::Choice { words: &["copy", "replace", "none"], unbuilt: &["upsert"] },
    "copy: into an empty table; replace: empty the target table first; none: structure only.",
);
const CDC: KeyFacts =
    key("cdc", Kind::Bool, "Follow the table's changes after its load; false: one full load.");
const VERIFY: KeyFacts = key(
    "verify",
    Kind::Choice { words: &["checksum", "count", "none"], unbuilt: &[] },
    "How the table is compared after its load.",
);

/// The whole file.
pub static PLAN: Shape = Shape {
    title: "the plan",
    keys: &[
        required("version", Kind::Version, "Version of this format: 1."),
        required("name", Kind::PlanName, "Identity of the migration: state and lock carry it."),
        required("source", Kind::Map(&SOURCE), "The database that is read."),
        required("target", Kind::Map(&TARGET), "The database that is written."),
        key("defaults", Kind::Map(&DEFAULTS), "The policy of every table."),
        required("tables", Kind::Named(&TABLE), "Tables by pattern; the most specific one decides."),
        key("types", Kind::List(&TYPE), "Types, where the built-in mapping is not wanted; first match wins."),
        key("cdc", Kind::Map(&CDC_MAP), "How changes of the tables with cdc: true are followed."),
        key("cutover", Kind::Map(&CUTOVER), "How the target takes over."),
        key(
            "reverse",
            Kind::Bool,
            "After the cutover the source is kept up to date, so that it can be undone.",
        ),
        key("accept", Kind::List(&ACCEPT), "Reviewed risks: what, where, how much, why, until when."),
        key("limits", Kind::Map(&LIMITS), "How much is done at once."),
    ],
    unbuilt: &[("after", "steps are ordered by their rules")],
};

/// `cdc:` of the whole plan.
pub static CDC_MAP: Shape = Shape {
    title: "cdc",
    keys: &[
        key(
            "mode",
            Kind::Choice { words: &["batch", "transactional"], unbuilt: &[] },
            "batch: net changes of several source transactions; transactional: row by row in their order.",
        ),
        key(
            "keep_log",
            Kind::Size { min: 16 << 20, max: 1 << 50 },
            "Give the capture up before the source keeps more log than this for it.",
        ),
        key(
            "on_ddl",
            Kind::Choice { words: &["fail"], unbuilt: &["pause"] },
            "fail: stop when a followed table's structure changes on the source.",
        ),
        key(
            "acknowledge",
            Kind::Choice { words: &["applied", "spooled"], unbuilt: &[] },
            "What the source may forget: changes that are in the target, or in the spill on disk.",
        ),
        key("memory", Kind::Map(&CDC_MEMORY), "How much of the changes stays in memory."),
        key("spill", Kind::Map(&CDC_SPILL), "Where changes go that do not fit in memory."),
        key(
            "read_ahead",
            Kind::Bool,
            "Large transactions of PostgreSQL are read before they commit, and wait on this machine's disk, not the source's.",
        ),
        key(
            "sqlite",
            Kind::Choice { words: &["triggers"], unbuilt: &[] },
            "Consent to triggers and a change table in a SQLite source, which has no change log.",
        ),
        key(
            "cascades",
            Kind::Choice { words: &["emulate"], unbuilt: &[] },
            "What foreign keys of MariaDB and MySQL delete and update without a word in the log is done on the target too.",
        ),
    ],
    unbuilt: &[],
};

/// `cdc.memory:`.
pub static CDC_MEMORY: Shape = Shape {
    title: "cdc.memory",
    keys: &[
        key("limit", Kind::Size { min: 16 << 20, max: 1 << 40 }, "Bytes of changes in memory: 1GiB."),
        key("keep", Kind::Span { min: 100, max: 86_400_000 }, "How long changes stay in memory: 60s."),
    ],
    unbuilt: &[],
};

/// `cdc.spill:`.
pub static CDC_SPILL: Shape = Shape {
    title: "cdc.spill",
    keys: &[
        key("dir", Kind::Text { example: "/var/lib/towpath" }, "Directory on the machine that runs towpath."),
        key(
            "limit",
            Kind::Size { min: 16 << 20, max: 1 << 50 },
            "Bytes on disk; then reading pauses: 10GiB. With read_ahead, as many again for it.",
        ),
    ],
    unbuilt: &[],
};

/// `cutover:`.
pub static CUTOVER: Shape = Shape {
    title: "cutover",
    keys: &[
        key("max_lag", Kind::Span { min: 100, max: 86_400_000 }, "Most lag at its start: 5s."),
        key("sequences", Kind::Map(&CUTOVER_SEQUENCES), "How sequences are set."),
        key("checks", Kind::List(&CUTOVER_CHECK), "Queries that must return no row."),
        key(
            "fence",
            Kind::WordOr(&["none", "tables"], &CUTOVER_FENCE),
            "How writers are kept off the source: not at all, by locks on its tables, or by what their roles may do.",
        ),
        key("budget", Kind::Span { min: 1_000, max: 86_400_000 }, "Longest time without writes: 1m."),
        key(
            "verify",
            Kind::Choice { words: &["checksum", "count"], unbuilt: &[] },
            "How both ends are compared before the target takes over.",
        ),
    ],
    unbuilt: &[],
};

/// `cutover.sequences:`.
pub static CUTOVER_SEQUENCES: Shape = Shape {
    title: "cutover.sequences",
    keys: &[
        key(
            "from",
            Kind::Choice { words: &["source", "max"], unbuilt: &[] },
            "source: the sequence's value there; max: the largest value in the columns that draw from it, where there are any.",
        ),
        key("margin", Kind::Whole { min: 0, max: 1_000_000_000_000 }, "Values left free beyond it: 0."),
    ],
    unbuilt: &[],
};

/// `cutover.fence:` as a map.
pub static CUTOVER_FENCE: Shape = Shape {
    title: "cutover.fence",
    keys: &[required("roles", Kind::Names { example: "app" }, "Roles of the source that may write no more.")],
    unbuilt: &[],
};

static CUTOVER_CHECK: Shape = Shape {
    title: "an entry of cutover.checks",
    keys: &[
        required("db", Kind::Choice { words: &["source", "target"], unbuilt: &[] }, "Which end is asked."),
        required(
            "sql",
            Kind::Text { example: "select id from app.orders where total < 0" },
            "A query that must return no row.",
        ),
    ],
    unbuilt: &[],
};

static SOURCE: Shape = Shape {
    title: "source",
    keys: &[required("url", URL, "Where it is; `${NAME}` stands for a variable.")],
    unbuilt: &[("engine", BY_SCHEME)],
};

static TARGET: Shape = Shape {
    title: "target",
    keys: &[
        required("url", URL, "Where it is; `${NAME}` stands for a variable."),
        key("schema", Kind::Text { example: "app" }, "Takes the place of the source's default schema."),
    ],
    unbuilt: &[("engine", BY_SCHEME)],
};

const URL: Kind = Kind::Text { example: "${SOURCE_URL}" };

static DEFAULTS: Shape = Shape {
    title: "defaults",
    keys: &[CREATE, KEYS, INDEXES, LOAD, CDC, VERIFY],
    unbuilt: &[("protect", "protection is not built yet"), ("after", "steps are ordered by their rules")],
};

/// An entry of `tables:`.
pub static TABLE: Shape = Shape {
    title: "an entry of tables",
    keys: &[
        CREATE,
        KEYS,
        INDEXES,
        LOAD,
        CDC,
        VERIFY,
        key(
            "where",
            Kind::Text { example: "created_at >= '2025-01-01'" },
            "One condition in the source's SQL; other rows stay.",
        ),
        key("to", Kind::Text { example: "accounts" }, "New name, without or with a schema."),
        key("columns", Kind::Named(&COLUMN), "Columns that differ from the source."),
    ],
    unbuilt: &[
        ("protect", "protection is not built yet; nothing is dropped in any case"),
        ("after", "steps are ordered by their rules"),
        ("cutover", "a cutover concerns the whole plan: write it at the top"),
    ],
};

static COLUMN: Shape = Shape {
    title: "an entry of columns",
    keys: &[
        key("to", Kind::Text { example: "display_name" }, "New name."),
        key("type", Kind::Text { example: "timestamptz" }, "Type in the target's spelling."),
        key("zone", Kind::Text { example: "UTC" }, "The zone that times without one are in."),
        key("zero_date", Kind::Null, "null: dates of MySQL that no calendar has (0000-00-00) become null."),
        key("error_value", Kind::Null, "null: the error value of MySQL's enums (index 0) becomes null."),
    ],
    unbuilt: &[
        ("collation", "choosing a collation is not built yet"),
        ("format", "reading dates by a format is not built yet"),
    ],
};

static TYPE: Shape = Shape {
    title: "an entry of types",
    keys: &[
        required("from", Kind::Text { example: "money" }, "Type in the source's spelling."),
        required("to", Kind::Text { example: "numeric(19,4)" }, "Type in the target's spelling."),
    ],
    unbuilt: &[],
};

static ACCEPT: Shape = Shape {
    title: "an entry of accept",
    keys: &[
        required("hazard", Kind::Hazard, "Code of the hazard, such as D105."),
        key(
            "at",
            Kind::Text { example: "users.legacy_flags" },
            "Table or table.column of the source, or a pattern of such: `legacy_*.*`.",
        ),
        key(
            "max_rows",
            Kind::Whole { min: 0, max: u64::MAX >> 1 },
            "Most rows it may concern, at each place.",
        ),
        required("reason", Kind::Text { example: "unused since 2021" }, "Why it is acceptable."),
        key("until", Kind::Date, "Last day of the acceptance, UTC."),
    ],
    unbuilt: &[],
};

/// `limits:`.
pub static LIMITS: Shape = Shape {
    title: "limits",
    keys: &[
        key("readers", Kind::Whole { min: 1, max: 64 }, "Sessions that read rows at once."),
        key("writers", Kind::Whole { min: 1, max: 64 }, "Sessions that write at once."),
        key("index_builds", Kind::Whole { min: 1, max: 64 }, "Indexes that are built at once."),
        key("rows_per_second", Kind::Whole { min: 1, max: 1_000_000_000 }, "Most rows read per second."),
        key("chunk", Kind::Size { min: 1 << 20, max: 1 << 40 }, "Bytes of one chunk: 1GiB."),
    ],
    unbuilt: &[
        ("memory", "write cdc: { memory: { limit: 1GiB } }"),
        ("spill", "write cdc: { spill: { limit: 10GiB } }"),
    ],
};

/// Every hazard code there is, in this version or announced; those marked cannot be accepted.
pub static HAZARDS: &[(&str, bool)] = &[
    ("D101", false),
    ("D102", true),
    ("D103", true),
    ("D104", true),
    ("D105", true),
    ("D106", false),
    ("D107", true),
    ("D108", true),
    ("D109", true),
    ("V201", true),
    ("V202", true),
    ("V203", true),
    ("V204", true),
    ("V205", true),
    ("V206", true),
    ("V207", true),
    ("V208", true),
    ("V209", true),
    ("V210", true),
    ("V211", true),
    ("V212", true),
    ("V213", true),
    ("V214", true),
    ("V215", true),
    ("V216", true),
    ("V217", true),
    ("V218", true),
    ("V219", false),
    ("K301", true),
    ("K302", true),
    ("K303", true),
    ("K304", true),
    ("K305", false),
    ("K306", true),
    ("K307", true),
    ("K308", true),
    ("I401", true),
    ("I402", true),
    ("I403", true),
    ("I404", true),
    ("I405", true),
    ("I406", true),
    ("C501", true),
    ("C502", false),
    ("C503", true),
    ("C504", true),
    ("C505", true),
    ("C506", true),
    ("C507", true),
    ("C508", true),
    ("C509", true),
    ("C510", false),
    ("C511", true),
    ("C512", true),
    ("C513", true),
    ("C514", false),
    ("S601", true),
    ("S602", true),
    ("S603", true),
    ("S604", false),
    ("S605", true),
    ("S606", false),
    ("S607", true),
    ("R701", true),
    ("R702", true),
    ("R703", true),
    ("R704", true),
    ("R705", true),
    ("R706", true),
    ("R707", true),
    ("P801", false),
    ("P802", false),
    ("P803", false),
    ("P804", true),
    ("P805", false),
    ("U901", true),
    ("U902", true),
    ("U903", true),
    ("U904", true),
];
