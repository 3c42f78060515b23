//! What the clients write to, in the words of each database: transfers that keep a sum, lists that
//! grow by one, rows that are born and die, keys that change places, values too long for their row,
//! a table without a key, families that foreign keys hold together.

use super::end::End;
use super::random::Random;

pub const ACCOUNTS: u64 = 200;
pub const START: i64 = 1_000;

/// A recorded table and its key.
pub type Table = (&'static str, &'static [&'static str]);

const TABLES: [Table; 9] = [
    ("accounts", &["id"]),
    ("ledger", &["id"]),
    ("lists", &["client", "n"]),
    ("born", &["id"]),
    ("places", &["id"]),
    ("documents", &["id"]),
    ("parents", &["id"]),
    ("children", &["id"]),
    // Without a key, told apart by whole rows.
    ("events", &[]),
];
const TOYS: Table = ("toys", &["id"]);

/// What a foreign key does to the rows that refer to one that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// They go, or take the new value.
    Follow,
    Null,
}

/// A foreign key whose acts no log tells.
#[derive(Clone, Copy, Debug)]
pub struct Cascade {
    pub parent: &'static str,
    pub of: &'static str,
    pub child: &'static str,
    pub column: &'static str,
    pub on_delete: Act,
    pub on_update: Act,
}

const SILENT: [Cascade; 2] = [
    Cascade {
        parent: "parents",
        of: "id",
        child: "children",
        column: "parent",
        on_delete: Act::Follow,
        on_update: Act::Follow,
    },
    Cascade {
        parent: "children",
        of: "id",
        child: "toys",
        column: "child",
        on_delete: Act::Null,
        on_update: Act::Follow,
    },
];

/// The words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// `own`: with what no other database has.
    Postgres { own: bool },
    /// `cascades`: foreign keys act, unheard by the log.
    MariaDb { cascades: bool },
}

#[derive(Clone, Copy, Debug)]
pub struct Shop {
    dialect: Dialect,
}

const POSTGRES: &str = "
CREATE TABLE accounts (id integer PRIMARY KEY, balance bigint NOT NULL, note text);
CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, source integer NOT NULL,
  target integer NOT NULL, amount bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ledger_source_idx ON ledger (source);
CREATE TABLE lists (client integer, n integer, PRIMARY KEY (client, n));
CREATE TABLE born (id serial PRIMARY KEY, name text);
CREATE TABLE places (id integer PRIMARY KEY, seat integer NOT NULL UNIQUE DEFERRABLE INITIALLY IMMEDIATE, price numeric(10,2));
CREATE TABLE documents (id integer PRIMARY KEY, title text, body text, meta jsonb);
ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
CREATE TABLE parents (id integer PRIMARY KEY, name text UNIQUE);
CREATE TABLE children (id serial PRIMARY KEY, parent integer REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE, x real);
CREATE TABLE events (kind text, at integer, extra text);
ALTER TABLE events REPLICA IDENTITY FULL;
";

/// `notes` is not followed: transactions of two phases write to it.
const MARIADB: &str = "
CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL, note text);
CREATE TABLE ledger (id bigint AUTO_INCREMENT PRIMARY KEY, source int NOT NULL, target int NOT NULL, amount bigint NOT NULL,
  at timestamp(6) NOT NULL DEFAULT current_timestamp(6), KEY (source));
CREATE TABLE lists (client int, n int, PRIMARY KEY (client, n));
CREATE TABLE born (id int AUTO_INCREMENT PRIMARY KEY, name text);
CREATE TABLE places (id int PRIMARY KEY, seat int NOT NULL UNIQUE, price decimal(10,2));
CREATE TABLE documents (id int PRIMARY KEY, title text, body longtext, meta json);
CREATE TABLE parents (id int PRIMARY KEY, name varchar(40) COLLATE utf8mb4_nopad_bin UNIQUE);
CREATE TABLE children (id int AUTO_INCREMENT PRIMARY KEY, parent int, x float,
  FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE events (kind varchar(20), at int, extra varchar(50));
CREATE TABLE notes (id int AUTO_INCREMENT PRIMARY KEY, name text);
";

const MARIADB_TOYS: &str = "
CREATE TABLE toys (id int PRIMARY KEY, child int,
  FOREIGN KEY (child) REFERENCES children (id) ON DELETE SET NULL ON UPDATE CASCADE);
INSERT INTO toys SELECT seq, 1 + seq % 120 FROM seq_1_to_90;
";

impl Shop {
    /// For a move between these two.
    pub fn of(source: &dyn End, target: &dyn End, cascades: bool) -> Self {
        let dialect = match source.is_postgres() {
            true => Dialect::Postgres { own: target.is_postgres() },
            false => Dialect::MariaDb { cascades },
        };
        Self { dialect }
    }

    /// Makes the tables, and the rows that are there before anybody writes.
    pub fn open(&self, source: &dyn End) {
        let rows = |n: u32| match self.dialect {
            Dialect::Postgres { .. } => format!("generate_series(1, {n}) i"),
            Dialect::MariaDb { .. } => format!("(SELECT seq AS i FROM seq_1_to_{n}) s"),
        };
        let (schema, object) = match self.dialect {
            Dialect::Postgres { own: true } => (POSTGRES.to_string(), "jsonb_build_object('n', i)"),
            Dialect::Postgres { own: false } => {
                let plain = POSTGRES.replace(" DEFERRABLE INITIALLY IMMEDIATE", "");
                (plain.replace("name text UNIQUE", "name varchar(40) UNIQUE"), "jsonb_build_object('n', i)")
            }
            Dialect::MariaDb { cascades: true } => (MARIADB.to_string(), "json_object('n', i)"),
            Dialect::MariaDb { cascades: false } => {
                (MARIADB.replace(" ON DELETE CASCADE ON UPDATE CASCADE", ""), "json_object('n', i)")
            }
        };
        source.execute(&schema);
        source.execute(&format!(
            "INSERT INTO accounts SELECT i, {START}, concat('account ', i) FROM {accounts};
             INSERT INTO places SELECT i, i, i FROM {sixty};
             INSERT INTO documents SELECT i, concat('title ', i), repeat(md5(concat(i, '')), 120), {object} FROM {sixty};
             INSERT INTO parents SELECT i, concat('parent ', i) FROM {parents};
             INSERT INTO children (parent, x) SELECT 1 + i % 40, i / 3.0 FROM {children};
             INSERT INTO events SELECT concat('k', i % 3), i % 5, NULL FROM {parents};",
            accounts = rows(ACCOUNTS as u32),
            sixty = rows(60),
            parents = rows(40),
            children = rows(120),
        ));
        if self.has_toys() {
            source.execute(MARIADB_TOYS);
        }
    }

    pub fn tables(&self) -> Vec<Table> {
        TABLES.into_iter().chain(self.has_toys().then_some(TOYS)).collect()
    }

    fn has_toys(&self) -> bool {
        self.dialect == Dialect::MariaDb { cascades: true }
    }

    /// Foreign keys that act unheard by the source's log.
    pub fn silent(&self) -> &'static [Cascade] {
        if self.has_toys() { &SILENT } else { &[] }
    }

    /// The plan's tables and what follows them. `mode`: how changes are applied.
    pub fn plan(&self, mode: &str) -> String {
        let (tables, cdc) = match self.dialect {
            Dialect::Postgres { .. } => ("\"*\": {}", ", read_ahead: true"),
            Dialect::MariaDb { cascades: false } => ("\"*\": {}, notes: skip", ""),
            Dialect::MariaDb { cascades: true } => ("\"*\": {}, notes: skip", ", cascades: emulate"),
        };
        format!(
            "defaults: {{ cdc: true }}\ntables: {{ {tables} }}\ncdc: {{ mode: {mode}{cdc} }}\n\
             cutover: {{ fence: tables, sequences: {{ margin: 10 }} }}\n\
             accept:\n  - {{ hazard: K302, at: events, reason: test }}\n"
        )
    }

    /// A transaction of two phases may not touch what is followed.
    pub fn two_phases_apart(&self) -> bool {
        matches!(self.dialect, Dialect::MariaDb { .. })
    }

    /// The first phase of one.
    pub fn prepare(&self, name: &str, body: &str) -> String {
        match self.dialect {
            Dialect::Postgres { .. } => format!("BEGIN;\n{body};\nPREPARE TRANSACTION '{name}'"),
            Dialect::MariaDb { .. } => format!(
                "XA START '{name}'; INSERT INTO notes (name) VALUES ('{name}'); UPDATE notes SET name = 'seen' ORDER BY id DESC LIMIT 3; \
                 XA END '{name}'; XA PREPARE '{name}'"
            ),
        }
    }

    /// The second phase of one.
    pub fn commit_prepared(&self, name: &str) -> String {
        match self.dialect {
            Dialect::Postgres { .. } => format!("COMMIT PREPARED '{name}'"),
            Dialect::MariaDb { .. } => format!("XA COMMIT '{name}'"),
        }
    }

    pub fn sleep(&self) -> &'static str {
        match self.dialect {
            Dialect::Postgres { .. } => "SELECT pg_sleep(0.05)",
            Dialect::MariaDb { .. } => "DO sleep(0.05)",
        }
    }

    /// Something that somebody does.
    pub fn operation(&self, random: &mut Random) -> String {
        let (a, b) = (1 + random.below(ACCOUNTS), 1 + random.below(ACCOUNTS));
        let (x, amount) = (1 + random.below(60), random.below(90));
        let p = 1 + x % 40;
        match random.below(16) {
            0..5 => format!(
                "UPDATE accounts SET balance = balance - {amount} WHERE id = {a};\
                 UPDATE accounts SET balance = balance + {amount} WHERE id = {b};\
                 INSERT INTO ledger (source, target, amount) VALUES ({a}, {b}, {amount})"
            ),
            5 => {
                let escape = if self.two_phases_apart() { "\\\\N" } else { "\\N" };
                format!("INSERT INTO born (name) VALUES ('it''s {amount}{escape}\t'), (NULL), ('')")
            }
            6 => self.dies().into(),
            7 => self.change_places(x, 1 + (x + amount) % 60),
            8 => format!("UPDATE documents SET title = 'new {amount}' WHERE id = {x}"),
            9 => format!(
                "UPDATE documents SET id = id + 100 WHERE id = {x}; UPDATE documents SET id = id - 100 WHERE id = {}",
                x + 100
            ),
            10 => format!(
                "UPDATE documents SET body = repeat(md5('{amount}'), {}) WHERE id = {x}",
                1 + amount * 3
            ),
            11 => format!(
                "{}DELETE FROM parents WHERE id = {p}; INSERT INTO parents VALUES ({p}, 'again {p}'); \
                 INSERT INTO children (parent, x) VALUES ({p}, {amount}), ({p}, NULL)",
                self.before_death(p)
            ),
            12 if self.dialect == (Dialect::MariaDb { cascades: false }) => {
                format!("UPDATE parents SET name = 'named {p} {amount}' WHERE id = {p}")
            }
            12 => format!(
                "UPDATE parents SET id = id + 1000 WHERE id = {p}; UPDATE parents SET id = id - 1000 WHERE id = {p} + 1000"
            ),
            13 => format!("INSERT INTO events VALUES ('k{}', {}, NULL)", amount % 3, amount % 5),
            14 => self.seen(amount),
            _ => self.of_no_effect(a, x),
        }
    }

    fn dies(&self) -> &'static str {
        match self.dialect {
            Dialect::Postgres { .. } => "DELETE FROM born WHERE id = (SELECT min(id) FROM born)",
            Dialect::MariaDb { .. } => "DELETE FROM born ORDER BY id LIMIT 1",
        }
    }

    fn change_places(&self, x: u64, y: u64) -> String {
        let seats = match self.dialect {
            Dialect::Postgres { own: true } => format!(
                "SET CONSTRAINTS places_seat_key DEFERRED; UPDATE places SET seat = CASE seat WHEN {x} THEN {y} ELSE {x} END \
                 WHERE seat IN ({x}, {y})"
            ),
            _ => format!(
                "UPDATE places SET seat = -id WHERE seat = {x}; UPDATE places SET seat = {x} WHERE seat = {y}; \
                 UPDATE places SET seat = {y} WHERE seat < 0"
            ),
        };
        format!("{seats}; UPDATE places SET price = price + 0.10 WHERE id = {x}")
    }

    /// What a parent without acting keys has to do first.
    fn before_death(&self, parent: u64) -> String {
        match self.dialect {
            Dialect::MariaDb { cascades: false } => format!("DELETE FROM children WHERE parent = {parent}; "),
            _ => String::new(),
        }
    }

    fn seen(&self, amount: u64) -> String {
        match self.dialect {
            Dialect::Postgres { .. } => format!(
                "DELETE FROM events WHERE ctid = (SELECT min(ctid) FROM events); \
                 UPDATE events SET extra = 'x{amount}' WHERE ctid = (SELECT max(ctid) FROM events)"
            ),
            Dialect::MariaDb { .. } => format!(
                "DELETE FROM events WHERE at = {0} LIMIT 1; UPDATE events SET extra = 'x{amount}' WHERE at = {0} LIMIT 1",
                amount % 5
            ),
        }
    }

    fn of_no_effect(&self, a: u64, x: u64) -> String {
        let toys = format!("; UPDATE toys SET child = (SELECT min(id) + {x} FROM children) WHERE id = {x}");
        let toys = if self.has_toys() { toys.as_str() } else { "" };
        format!("UPDATE accounts SET note = note WHERE id = {a}{toys}")
    }
}
