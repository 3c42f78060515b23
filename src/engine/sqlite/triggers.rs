//! What a capture adds to a source: a change table, and triggers that write each changed row into
//! it. A value has a column of its own there, without a type, so that its class and bytes stay.
//!
//! ```text
//!   n            number of the change; in the order of commits, without a gap
//!   t            number of the followed table
//!   k            what happened: 0 inserted, 1 updated, 2 deleted; 8 and more: a row with this value
//!                of a unique key (8 the first one) was there when a row was about to be written
//!   c0, c1 ...   inserted: the new row; updated: the old identity, the new row; deleted: the old
//!                identity; 8 and more: the identity of the row that was there, the key's values
//! ```
//!
//! REPLACE deletes rows without firing their triggers (unless the application asks for it). A row
//! that was there with a unique value that a new row has was replaced: that is how it is known.
//! Text only; nothing is read or written here.

use serde::{Deserialize, Serialize};

use super::dialect::quote;
use crate::change::{Followed, Identity};

pub(super) const INSERTED: i64 = 0;
pub(super) const UPDATED: i64 = 1;
pub(super) const DELETED: i64 = 2;
/// The first unique key's kind.
pub(super) const STOOD: i64 = 8;

/// Change tables and triggers start so; what follows is the plan's name.
const PREFIX: &str = "towpath_changes_";

/// The table that remembers what was made for which plan.
pub(super) const CAPTURES: &str = "towpath_capture";

/// Columns that SQLite takes in a table (`SQLITE_MAX_COLUMN`), less those before `c0`.
const SLOTS_MAX: usize = 2000 - 3;

/// True for names of what a capture or a fence adds to a file.
pub(super) fn ours(lower: &str) -> bool {
    lower.starts_with(PREFIX) || lower == CAPTURES || lower.starts_with("towpath_fence_")
}

/// The change table of a plan.
pub(super) fn table(plan: &str) -> String {
    format!("{PREFIX}{plan}")
}

/// Whether a trigger is one of the plan's: its name is the change table's, a number and a word.
pub(super) fn is_trigger_of(name: &str, plan: &str) -> bool {
    let rest = name.strip_prefix(&table(plan)).and_then(|rest| rest.strip_prefix('_'));
    let parts = rest.and_then(|rest| rest.split_once('_'));
    parts.is_some_and(|(number, word)| {
        number.bytes().all(|byte| byte.is_ascii_digit()) && WORDS.contains(&word)
    })
}

const WORDS: [&str; 5] = ["inserted", "updated", "deleted", "inserting", "updating"];

/// How the rows of one table are written into the change table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    pub table: String,
    /// The projection's source columns, then those that only unique keys have, and the row id
    /// where it is a key without a column.
    pub columns: Vec<String>,
    /// How many of the columns are the projection's.
    pub width: usize,
    /// Places of the identity; all of the projection where the whole row is.
    pub identity: Vec<usize>,
    pub whole: bool,
    pub keys: Vec<Key>,
}

/// A unique key that REPLACE would make room in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    /// Places in the columns, with the collation that compares them; none for the row id.
    pub parts: Vec<(usize, Option<String>)>,
}

/// A unique key as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UniqueKey {
    pub parts: Vec<(String, Option<String>)>,
}

impl Layout {
    pub fn new(followed: &Followed, keys: &[UniqueKey]) -> Self {
        let projection = &followed.projection;
        let mut columns: Vec<_> = projection.columns.iter().map(|column| column.source.clone()).collect();
        let width = columns.len();
        let mut place = |name: &String| {
            let found = columns.iter().position(|column| column.eq_ignore_ascii_case(name));
            found.unwrap_or_else(|| {
                columns.push(name.clone());
                columns.len() - 1
            })
        };
        let key = |key: &UniqueKey| Key {
            parts: key.parts.iter().map(|(name, collation)| (place(name), collation.clone())).collect(),
        };
        let keys = keys.iter().map(key).collect();
        let (identity, whole) = match &followed.identity {
            Identity::Columns(places) => (places.clone(), false),
            Identity::Whole => ((0..width).collect(), true),
        };
        Self { table: projection.source.name.clone(), columns, width, identity, whole, keys }
    }

    /// True for a layout that was made of the same followed table, whatever its unique keys.
    pub fn is_of(&self, followed: &Followed) -> bool {
        let now = Self::new(followed, &[]);
        let told = self.columns.get(..self.width).unwrap_or_default();
        (&self.table, told, &self.identity, self.whole)
            == (&now.table, now.columns.as_slice(), &now.identity, now.whole)
    }

    /// Value columns that its changes need.
    pub fn slots(&self) -> usize {
        let longest = self.keys.iter().map(|key| key.parts.len()).max().unwrap_or(0);
        self.identity.len() + self.columns.len().max(longest)
    }

    pub fn fits(&self) -> bool {
        self.slots() <= SLOTS_MAX
    }

    fn list(&self, before: &str, places: &[usize]) -> Vec<String> {
        places.iter().map(|&place| format!("{before}{}", quote(&self.columns[place]))).collect()
    }

    fn all(&self) -> Vec<usize> {
        (0..self.columns.len()).collect()
    }

    /// The condition for a row that has the new row's value of a key.
    fn stands(&self, key: &Key) -> String {
        let part = |(place, collation): &(usize, Option<String>)| {
            let name = quote(&self.columns[*place]);
            let collate = collation.as_ref().map(|name| format!(" COLLATE {}", quote(name)));
            format!("{name} = NEW.{name}{}", collate.unwrap_or_default())
        };
        key.parts.iter().map(part).collect::<Vec<_>>().join(" AND ")
    }

    /// The condition for an update that gives the row another value of a key.
    fn moves(&self, key: &Key) -> String {
        let part = |(place, _): &(usize, Option<String>)| {
            let name = quote(&self.columns[*place]);
            format!("NEW.{name} IS NOT OLD.{name} COLLATE BINARY")
        };
        format!("({})", key.parts.iter().map(part).collect::<Vec<_>>().join(" OR "))
    }
}

/// The statement that makes the change table.
pub(super) fn create_table(plan: &str, layouts: &[Layout]) -> String {
    let slots = layouts.iter().map(Layout::slots).max().unwrap_or(0);
    let slots: String = (0..slots).map(|slot| format!(", c{slot}")).collect();
    // Numbers are never given twice, even where somebody else empties the table.
    format!("CREATE TABLE main.{} (n INTEGER PRIMARY KEY AUTOINCREMENT, t, k{slots})", quote(&table(plan)))
}

/// The statements that make the triggers of a table.
pub(super) fn create_triggers(plan: &str, number: usize, layout: &Layout) -> Vec<String> {
    let log = Log { name: quote(&table(plan)), number };
    let (identity, all) = (&layout.identity, layout.all());
    let after = [
        ("inserted", "INSERT", log.values(layout, INSERTED, &[], &all)),
        ("updated", "UPDATE", log.values(layout, UPDATED, identity, &all)),
        ("deleted", "DELETE", log.values(layout, DELETED, identity, &[])),
    ];
    let on = quote(&layout.table);
    let name = |word: &str| quote(&format!("{}_{number}_{word}", table(plan)));
    let mut made: Vec<_> = after
        .into_iter()
        .map(|(word, event, body)| {
            format!("CREATE TRIGGER main.{} AFTER {event} ON {on} BEGIN {body}; END", name(word))
        })
        .collect();
    if layout.keys.is_empty() {
        return made;
    }
    for (word, event) in [("inserting", "INSERT"), ("updating", "UPDATE")] {
        let (when, body) = log.standing(layout, event == "UPDATE");
        made.push(format!(
            "CREATE TRIGGER main.{} BEFORE {event} ON {on} WHEN {when} BEGIN {body} END",
            name(word)
        ));
    }
    made
}

/// Where triggers write.
struct Log {
    name: String,
    number: usize,
}

impl Log {
    fn slots(&self, count: usize) -> String {
        (0..count).map(|slot| format!(", c{slot}")).collect()
    }

    fn values(&self, layout: &Layout, kind: i64, old: &[usize], new: &[usize]) -> String {
        let values = [layout.list("OLD.", old), layout.list("NEW.", new)].concat();
        let (name, number, slots) = (&self.name, self.number, self.slots(values.len()));
        format!("INSERT INTO {name} (t, k{slots}) VALUES ({number}, {kind}, {})", values.join(", "))
    }

    /// When, and what is written, where rows stand with the values that a new row has.
    fn standing(&self, layout: &Layout, update: bool) -> (String, String) {
        let (mut when, mut body) = (Vec::new(), String::new());
        let on = quote(&layout.table);
        for (key, kind) in layout.keys.iter().zip(STOOD..) {
            let places: Vec<_> = key.parts.iter().map(|(place, _)| *place).collect();
            let stands = layout.stands(key);
            let moves = if update { format!("{} AND ", layout.moves(key)) } else { String::new() };
            when.push(format!("({moves}EXISTS (SELECT 1 FROM {on} WHERE {stands}))"));
            let values = [layout.list("", &layout.identity), layout.list("NEW.", &places)].concat();
            let (name, number, slots) = (&self.name, self.number, self.slots(values.len()));
            body.push_str(&format!(
                "INSERT INTO {name} (t, k{slots}) SELECT {number}, {kind}, {} FROM {on} WHERE {moves}{stands}; ",
                values.join(", ")
            ));
        }
        (when.join(" OR "), body)
    }
}
