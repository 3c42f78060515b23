//! What InnoDB's foreign keys do without a word in the log (contract, S-27): which rows of which
//! followed tables a deleted or changed row takes along, derived from the keys themselves. Pure.
//!
//! ```text
//!   delete of a row      ON DELETE CASCADE: its children go, and theirs; SET NULL: they change
//!   change of its key    ON UPDATE CASCADE: children get the new key, and so on; SET NULL as above
//! ```

use super::followed::{ForeignKey, Found};
use crate::catalog::name::show;
use crate::catalog::{Action, ColumnMap, Name};
use crate::change::{Followed, Hop, Path};

/// Deeper ones InnoDB refuses itself.
const DEPTH_MAX: usize = 15;
/// Paths from one table: each is a statement on the target for each row that is deleted.
const PATHS_MAX: usize = 64;

/// What the change of a row of one table does further down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    pub path: Path,
    /// Places of the key that goes with it, in the projection of the row's table.
    pub key: Vec<usize>,
    /// What the path sets.
    pub set: Vec<Given>,
    pub when: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Null,
    /// The new value of a column of the row, by its place in the projection.
    New(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum When {
    Deleted,
    /// One of these columns has another value.
    Changed(Vec<usize>),
}

/// Why a key cannot be derived, and what to do.
pub(super) type Why = (String, String);

/// The keys that act on rows of followed tables, and where they lead.
pub(super) struct Keys<'a> {
    keys: Vec<Joined<'a>>,
}

/// A key between two followed tables.
struct Joined<'a> {
    key: &'a ForeignKey,
    parent: usize,
    child: usize,
    refer_to: Vec<usize>,
    columns: Vec<usize>,
}

/// What happens to a row on the way.
enum Change {
    Deleted,
    /// Column, what it gets, and columns of the first row on whose change that depends.
    Set(Vec<(usize, Given, Vec<usize>)>),
}

impl<'a> Keys<'a> {
    /// Leaves out those that cannot be derived.
    pub fn new(tables: &[Followed], found: &'a Found) -> Self {
        let keys =
            found.keys.iter().filter_map(|key| join(tables, found, key).ok().map(|(joined, _)| joined));
        Self { keys: keys.collect() }
    }

    /// All that a row of this table takes along, the furthest first: once a row is gone, nothing
    /// tells any more which rows referred to it. None where it is too much.
    pub fn effects(&self, table: usize) -> Option<Vec<Effect>> {
        let mut effects = Vec::new();
        for joined in self.keys.iter().filter(|joined| joined.parent == table) {
            let all = joined.refer_to.clone();
            if let Some(change) = deleted(joined, &[]) {
                self.walk(joined, &change, &When::Deleted, &mut vec![], &all, &mut effects)?;
            }
            let new = |place: &usize| (*place, Given::New(*place), all.clone());
            let moved = Change::Set(joined.refer_to.iter().map(new).collect());
            if let Some(change) = moved_on(joined, &moved) {
                let when = When::Changed(all.clone());
                self.walk(joined, &change, &when, &mut vec![], &all, &mut effects)?;
            }
        }
        effects.sort_by_key(|effect| std::cmp::Reverse(effect.path.hops.len()));
        Some(effects)
    }

    fn walk(
        &self,
        joined: &Joined<'_>,
        change: &Change,
        when: &When,
        hops: &mut Vec<Hop>,
        key: &[usize],
        effects: &mut Vec<Effect>,
    ) -> Option<()> {
        let refer_to = if hops.is_empty() { Vec::new() } else { joined.refer_to.clone() };
        hops.push(Hop { table: joined.child, columns: joined.columns.clone(), refer_to });
        let (columns, set, when) = match change {
            Change::Deleted => (vec![], vec![], when.clone()),
            Change::Set(set) => {
                let mut on: Vec<usize> = set.iter().flat_map(|(.., on)| on.iter().copied()).collect();
                on.sort_unstable();
                on.dedup();
                let when = if *when == When::Deleted { When::Deleted } else { When::Changed(on) };
                let (columns, given) = set.iter().map(|(column, given, _)| (*column, *given)).unzip();
                (columns, given, when)
            }
        };
        let path = Path { hops: hops.clone(), set: columns };
        effects.push(Effect { path, key: key.to_vec(), set, when: when.clone() });
        if effects.len() > PATHS_MAX {
            return None;
        }
        if hops.len() < DEPTH_MAX {
            for next in self.keys.iter().filter(|next| next.parent == joined.child) {
                // A table that an update comes to a second time, the server refuses.
                let again = hops.iter().any(|hop| hop.table == next.child);
                let onward = match change {
                    Change::Deleted => deleted(next, &[]),
                    Change::Set(_) => moved_on(next, change),
                };
                match onward {
                    Some(Change::Set(_)) if again => {}
                    Some(onward) => self.walk(next, &onward, &when, hops, key, effects)?,
                    None => {}
                }
            }
        }
        hops.pop();
        Some(())
    }
}

/// Tables whose rows are taken along, and those on the way.
pub(super) fn reached(effects: &[Effect]) -> impl Iterator<Item = usize> + '_ {
    effects.iter().flat_map(|effect| effect.path.hops.iter().map(|hop| hop.table))
}

/// What happens to the children of a row that is deleted.
fn deleted(joined: &Joined<'_>, on: &[usize]) -> Option<Change> {
    match joined.key.on_delete {
        Action::Cascade => Some(Change::Deleted),
        Action::SetNull => Some(nulls(joined, on)),
        _ => None,
    }
}

/// What happens to the children of a row that gets other values.
fn moved_on(joined: &Joined<'_>, change: &Change) -> Option<Change> {
    let Change::Set(set) = change else { return None };
    let pairs = joined.columns.iter().zip(&joined.refer_to);
    let moved = pairs.filter_map(|(own, other)| {
        let (_, given, on) = set.iter().find(|(column, ..)| column == other)?;
        Some((*own, *given, on.clone()))
    });
    let moved: Vec<_> = moved.collect();
    let on: Vec<usize> = moved.iter().flat_map(|(.., on)| on.iter().copied()).collect();
    match joined.key.on_update {
        _ if moved.is_empty() => None,
        Action::Cascade => Some(Change::Set(moved)),
        Action::SetNull => Some(nulls(joined, &on)),
        _ => None,
    }
}

fn nulls(joined: &Joined<'_>, on: &[usize]) -> Change {
    Change::Set(joined.columns.iter().map(|column| (*column, Given::Null, on.to_vec())).collect())
}

/// Why nothing is derived for a table.
pub(super) fn too_many() -> Why {
    let why = format!("more than {PATHS_MAX} ways lead from it through foreign keys with an action");
    (
        why,
        "a key without its action (the application then changes children itself); or cdc: false".to_string(),
    )
}

/// Why the rows that this key changes cannot be derived; or what has to be known of it.
pub(super) fn look(tables: &[Followed], found: &Found, key: &ForeignKey) -> Result<Option<Why>, Why> {
    join(tables, found, key).map(|(_, doubt)| doubt)
}

fn join<'a>(
    tables: &[Followed],
    found: &Found,
    key: &'a ForeignKey,
) -> Result<(Joined<'a>, Option<Why>), Why> {
    let place = |name: &Name| tables.iter().position(|followed| followed.projection.source == *name);
    let child = place(&key.child).ok_or_else(|| unfollowed(&key.child))?;
    let parent = place(&key.parent).ok_or_else(|| unfollowed(&key.parent))?;
    let column = |table: usize, name: &String| -> Result<usize, Why> {
        let projection = &tables[table].projection;
        let place = projection.columns.iter().position(|map| map.source == *name);
        let left = || {
            let why = format!("the column {} of {} stays behind", show(name), projection.source);
            (why, "carry it".to_string())
        };
        place.ok_or_else(left)
    };
    let columns = key.columns.iter().map(|name| column(child, name)).collect::<Result<Vec<_>, _>>()?;
    let refer_to =
        key.parent_columns.iter().map(|name| column(parent, name)).collect::<Result<Vec<_>, _>>()?;
    let mut doubt = None;
    for (&own, &other) in columns.iter().zip(&refer_to) {
        let (own, other) =
            (&tables[child].projection.columns[own], &tables[parent].projection.columns[other]);
        if !alike(own, other) {
            let why = format!(
                "{} and {} become unlike types on the target",
                show(&own.source),
                show(&other.source)
            );
            return Err((why, "map both to the same type".to_string()));
        }
        let present = found.tables[child].as_ref();
        let present =
            present.and_then(|table| table.columns.iter().find(|column| column.facts.name == own.source));
        let collation = present.and_then(|column| column.facts.collation.as_deref());
        if let Some(collation) = collation.filter(|name| !name.ends_with("_bin") && *name != "binary") {
            let why = format!(
                "{} is compared by {collation}: rows of children that spell a value otherwise than the parent does are \
                 not found on the target",
                show(&own.source)
            );
            doubt = Some((why, "accept it where each value is spelled in one way".to_string()));
        }
    }
    Ok((Joined { key, parent, child, refer_to, columns }, doubt))
}

fn unfollowed(table: &Name) -> Why {
    (format!("{table} is not followed"), "follow both tables or neither".to_string())
}

/// A value of the one is the same in the other.
fn alike(one: &ColumnMap, two: &ColumnMap) -> bool {
    one.target_type == two.target_type && one.source_type == two.source_type && one.cast == two.cast
}
