//! The way back: what a plan carries, turned around, so that a source can be kept up to date after
//! its cutover. It is made of what goes forward, table by table and column by column, and not of
//! another look at both catalogs: what was renamed on the way there cannot be forgotten on the way
//! back. What would not come back as it is, is said here.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::following::{self, Told};
use super::found::Found;
use super::road::Road;
use super::{Diff, SequencePair, State, TableDiff, Wanted, tables, typemap};
use crate::catalog::name::show;
use crate::catalog::noun::counted;
use crate::catalog::{
    Action, Cast, ChangeLog, Column, ColumnMap, ForeignKey, Form, KeyKind, Name, Projection, Sequence, Table,
    Type, ZeroDate,
};
use crate::change::{Followed, Identity};
use crate::plan::back::back_name;
use crate::plan::{Indexes, Keys, Load, Policy};

/// What is made for it.
const MADE: &str = "C512";
/// Something may stop it, or stay behind.
const RISK: &str = "C513";
/// Rows change there without a word.
const SILENT: &str = "C504";
/// There is none.
const CLOSED: &str = "C514";

/// Turns around what is followed; none where nothing is.
pub(super) fn look(road: &Road<'_>, diff: &Diff, found: &mut Found) -> Option<Diff> {
    if diff.followed.is_empty() {
        return None;
    }
    let mut back = Diff { begun: diff.begun, ..Diff::default() };
    for table in diff.tables.iter().filter(|table| table.want.holds_rows()) {
        if table.identity.is_none() {
            let what = "its changes are not followed: what is written to it on the target stays there";
            found.hazard(RISK, road.at(&table.source), what, &["cdc: true", "accept it", "reverse: false"]);
            continue;
        }
        let Some(turned) = Turning::new(road, table, found).and_then(Turning::table) else { continue };
        back.followed.push(turned.0);
        back.tables.push(turned.1);
    }
    back.sequences = sequences(road, diff, found);
    say_what_is_made(road, back.followed.len(), found);
    Some(back)
}

fn say_what_is_made(road: &Road<'_>, tables: usize, found: &mut Found) {
    let name = back_name(&road.plan.name);
    let what = match road.to.features().capture {
        ChangeLog::Triggers => format!("the cutover makes a change table and triggers there, for {name}"),
        ChangeLog::WholeRows => {
            format!("its own log is read for {name}, which has to be kept as long as that takes")
        }
        _ => format!("the cutover makes a replication slot and a publication there, for {name}"),
    };
    let what = format!("the way back: {what}");
    found.hazard(MADE, "target", what, &[]);
    let state = if road.from.features().schemas { "in schema towpath" } else { "in tables towpath_*" };
    let what = format!(
        "the way back: from the cutover on it holds the state of {name} ({state}), and changes of {} are \
         written to it",
        counted(tables, "table")
    );
    found.hazard(MADE, "source", what, &[]);
    if road.to.features().capture == ChangeLog::Log && road.plan.cdc.keep_log.is_none() {
        let what = "from the cutover on it keeps its log for as long as the way back is not followed";
        found.hazard("C506", "target", what, &["cdc: { keep_log: 20GB }"]);
    }
}

/// A table, being turned around.
struct Turning<'a, 'f> {
    road: &'a Road<'a>,
    forward: &'a TableDiff,
    /// As the source has it: what is written to.
    source: &'a Table,
    /// As the target has it, or will: what is followed.
    target: &'a Table,
    at: String,
    found: &'f mut Found,
    closed: bool,
}

impl<'a, 'f> Turning<'a, 'f> {
    fn new(road: &'a Road<'a>, forward: &'a TableDiff, found: &'f mut Found) -> Option<Self> {
        let there = road.target.tables.iter().find(|table| table.name == forward.want.name);
        Some(Self {
            road,
            forward,
            source: road.table(&forward.source)?,
            target: there.unwrap_or(&forward.want),
            at: road.at(&forward.source),
            found,
            closed: false,
        })
    }

    fn close(&mut self, at: &str, what: impl Into<String>, ways: &[&str]) {
        let ways: Vec<&str> = ways.iter().copied().chain(["reverse: false"]).collect();
        self.found.hazard(CLOSED, at, format!("no way back: {}", what.into()), &ways);
        self.closed = true;
    }

    fn risk(&mut self, at: &str, what: impl Into<String>) {
        let ways = ["accept it", "reverse: false"];
        self.found.hazard(RISK, at, format!("the way back: {}", what.into()), &ways);
    }

    fn column_at(&self, column: &str) -> String {
        format!("{}.{}", self.at, show(column))
    }

    /// What is followed, and how it is compared; none where something keeps it from coming back.
    fn table(mut self) -> Option<(Followed, TableDiff)> {
        if self.forward.projection.filter.is_some() {
            let what = "where: leaves rows on the source that a row of the target may collide with";
            let at = self.at.clone();
            self.close(&at, what, &["remove where:"]);
        }
        self.columns_left_there();
        self.columns_only_here();
        self.rules_only_there();
        self.silent_keys();
        let projection = self.projection();
        let identity = self.identity(&projection);
        let (false, Some(identity)) = (self.closed, identity) else { return None };
        following::check_key_comes(self.source, &projection, &identity, &self.at, self.found);
        let carried: BTreeSet<&str> = projection.columns.iter().map(|map| map.source.as_str()).collect();
        let skipped = self.target.columns.iter().filter(|column| !carried.contains(column.name.as_str()));
        let skipped = skipped.map(|column| column.name.clone()).collect();
        let followed = Followed { projection: projection.clone(), identity: identity.clone(), skipped };
        Some((followed, self.turned(projection, identity)))
    }

    fn turned(&self, projection: Projection, identity: Identity) -> TableDiff {
        let none = Keys { primary: false, unique: false, foreign: false };
        TableDiff {
            source: self.forward.want.name.clone(),
            want: self.source.clone(),
            state: State::Present,
            projection: Arc::new(projection),
            policy: Policy {
                create: false,
                keys: none,
                indexes: Indexes::None,
                load: Load::None,
                cdc: true,
                verify: self.forward.policy.verify,
            },
            identity: Some(identity),
            differences: Vec::new(),
            keys: Vec::new(),
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            behind: BTreeSet::new(),
            rows: self.forward.rows,
            bytes: self.forward.bytes,
            span: self.forward.span,
        }
    }

    /// Columns of the source that the plan leaves behind: new rows come without them.
    fn columns_left_there(&mut self) {
        let maps = &self.forward.projection.columns;
        let carried: BTreeSet<&str> = maps.iter().map(|map| map.source.as_str()).collect();
        let left = self.source.columns.iter().filter(|column| !carried.contains(column.name.as_str()));
        for column in left.filter(|column| column.generated.is_none()) {
            let at = self.column_at(&column.name);
            match column.not_null && column.default.is_none() && column.identity.is_none() {
                true => {
                    let what = "a new row has no value for this column, which must have one";
                    self.close(&at, what, &["carry the column", "give it a default on the source"]);
                }
                false => self.risk(&at, "rows written after the cutover come back without this column"),
            }
        }
    }

    /// Columns that only the target has, where the table was there before.
    fn columns_only_here(&mut self) {
        let want = &self.forward.want;
        let extra = self.target.columns.iter().filter(|column| want.column(&column.name).is_none());
        let names: Vec<String> = extra.map(|column| show(&column.name)).collect();
        if !names.is_empty() {
            let at = self.at.clone();
            self.risk(&at, format!("columns that only the target has stay there: {}", names.join(", ")));
        }
    }

    /// Rules that rows of the source obey and those of the target need not.
    fn rules_only_there(&mut self) {
        let at = self.at.clone();
        let foreign = self.source.foreign_keys.len().saturating_sub(self.forward.foreign_keys.len());
        if foreign > 0 {
            let what = format!(
                "{} of the source not on the target: rows that break such a rule go back unchecked",
                counted(foreign, "foreign key")
            );
            self.risk(&at, what);
        }
        let unique = uniques(self.source).saturating_sub(uniques(&self.forward.want));
        if unique > 0 {
            let what = format!(
                "{} of the source not on the target: a row that breaks such a rule stops it",
                counted(unique, "unique key")
            );
            self.risk(&at, what);
        }
    }

    /// Foreign keys that are still to be made, and whose deeds the target's log will not tell. Of those
    /// that are there the target itself says so.
    fn silent_keys(&mut self) {
        if self.road.to.features().capture != ChangeLog::WholeRows || self.road.plan.cdc.cascades {
            return;
        }
        let missing = self.forward.foreign_keys.iter().filter(|key| key.state == State::Missing);
        for ForeignKey { name, parent, on_delete, .. } in missing.map(|key| &key.want) {
            if matches!(on_delete, Action::NoAction | Action::Restrict) {
                continue;
            }
            let what = format!(
                "the way back: on the target, foreign key {} to {parent}: deletes of the parent change its rows, \
                 and the server logs nothing of that",
                show(name)
            );
            let ways =
                ["cdc: { cascades: emulate }", "keys: [primary, unique] on the table", "reverse: false"];
            self.found.hazard(SILENT, &self.at, what, &ways);
        }
    }

    fn projection(&mut self) -> Projection {
        let forward = &self.forward.projection;
        let columns: Vec<ColumnMap> = forward.columns.iter().filter_map(|map| self.column(map)).collect();
        Projection {
            source: forward.target.clone(),
            target: forward.source.clone(),
            filter: None,
            key: tables::key_places(self.target, &columns),
            form: match forward.form {
                Form::NativeFast if columns.iter().any(|map| map.cast.is_some()) => Form::NativeText,
                form => form,
            },
            columns,
        }
    }

    fn column(&mut self, map: &ColumnMap) -> Option<ColumnMap> {
        let column: &Column = self.source.column(&map.source)?;
        let at = self.column_at(&map.source);
        if column.generated.is_some() {
            self.close(
                &at,
                "the source makes this column itself, and takes no value for it",
                &["skip the column"],
            );
            return None;
        }
        let mut turned = ColumnMap {
            source: map.target.clone(),
            target: map.source.clone(),
            source_type: map.target_type.clone(),
            source_native: map.target_native.clone(),
            target_type: map.source_type.clone(),
            target_native: map.source_native.clone(),
            not_null: column.not_null,
            error_value_null: false,
            zero_date: if map.zero_date == ZeroDate::Kept { ZeroDate::Kept } else { ZeroDate::Refused },
            cast: None,
        };
        if map.zero_date == ZeroDate::Null {
            self.risk(&at, "zero and impossible dates have become null, and go back as null".to_string());
        }
        if map.error_value_null {
            self.risk(&at, "error values of the enum have become null, and go back as null".to_string());
        }
        if self.road.same && map.cast.is_none() {
            return Some(turned);
        }
        if !self.road.same {
            // What the target itself takes the column for: a number kept as text is text to it.
            turned.source_type = self.road.to.parse_type(&map.target_native);
        }
        self.convert(&at, map, turned)
    }

    /// A column whose type is another one on the target.
    fn convert(&mut self, at: &str, map: &ColumnMap, mut turned: ColumnMap) -> Option<ColumnMap> {
        let zone = map.cast.as_ref().and_then(|cast| cast.zone.clone());
        // Without a zone of its own, it holds what had one in UTC.
        let lost = matches!(map.source_type, Type::TimestampTz { .. })
            && matches!(turned.source_type, Type::Timestamp { .. });
        let zone = zone.or_else(|| lost.then(|| "UTC".to_string()));
        let (here, there) = (&turned.source_native, &turned.target_native);
        match typemap::effects(&turned.source_type, &turned.target_type, zone.is_some()) {
            Err(why) => {
                let what = format!("{here} does not become {there} again: {why}");
                self.close(at, what, &["let the column keep its type", "skip the column"]);
                return None;
            }
            Ok(effects) => {
                for effect in effects {
                    let (typemap::Effect::Asks { what, .. } | typemap::Effect::Has { what, .. }) = effect;
                    let text = format!("{here} becomes {there} again, which not every value does: {what}");
                    self.risk(at, text);
                }
            }
        }
        let plain =
            typemap::fit(&turned.source_type, self.road.from).is_some_and(|fit| fit.ty == turned.target_type);
        if self.road.same || zone.is_some() || !plain {
            turned.cast = Some(Cast { native: turned.target_native.clone(), zone });
        }
        Some(turned)
    }

    /// By what the target's log tells rows apart.
    fn identity(&mut self, projection: &Projection) -> Option<Identity> {
        let own = match projection.key.is_empty() {
            true => Identity::Whole,
            false => Identity::Columns(projection.key.clone()),
        };
        let place = |name: &String| projection.columns.iter().position(|map| map.source == *name);
        let identity = match following::told_by(self.target, self.road.to.features().capture) {
            Told::Whole => own,
            Told::By(columns) => match columns.iter().map(place).collect::<Option<Vec<usize>>>() {
                Some(places) => Identity::Columns(places),
                None if self.closed => return None,
                None => {
                    let at = self.at.clone();
                    let what = format!("the target tells its rows apart by {}", columns.join(", "));
                    self.close(&at, what, &["carry these columns"]);
                    return None;
                }
            },
            Told::Nothing(why) => {
                let alter = format!(
                    "once the table is there: ALTER TABLE {} REPLICA IDENTITY FULL, or USING INDEX one of its \
                     unique indexes",
                    self.road.to.quote_name(&self.target.name)
                );
                let at = self.at.clone();
                self.close(&at, format!("on the target, {why}"), &["give it a primary key", &alter]);
                return None;
            }
        };
        if identity == Identity::Whole {
            let what = "the way back: no key, so that changes find their rows by all columns, each by reading \
                        the whole table";
            let ways = ["give it a key", "accept it for a small table", "reverse: false"];
            self.found.hazard("K302", &self.at, what, &ways);
        }
        Some(identity)
    }
}

/// Rules that no two rows may break.
fn uniques(table: &Table) -> usize {
    let keys = table.keys.iter().filter(|key| key.kind != KeyKind::Primary).count();
    let primary = usize::from(table.primary_key().is_some());
    keys + primary + table.indexes.iter().filter(|index| index.unique).count()
}

/// Each sequence of the source, set from the one on the target.
fn sequences(road: &Road<'_>, diff: &Diff, found: &mut Found) -> Vec<Wanted<SequencePair>> {
    let known: HashMap<&Name, &Sequence> = road.source.sequences.iter().map(|s| (&s.name, s)).collect();
    let turned = diff.sequences.iter().filter_map(|wanted| {
        let SequencePair { source, want, drawn } = &wanted.want;
        let there = |(table, column): &(Name, String)| {
            let table = diff.tables.iter().find(|carried| carried.source == *table)?;
            Some((table.want.name.clone(), road.column(&table.source, column)?))
        };
        let drawn = drawn.iter().filter_map(there).collect();
        let want = SequencePair { source: want.name.clone(), want: (*known.get(source)?).clone(), drawn };
        Some(Wanted { want, state: State::Present })
    });
    let pairs: Vec<Wanted<SequencePair>> = turned.collect();
    let set: BTreeSet<&Name> = pairs.iter().map(|wanted| &wanted.want.want.name).collect();
    for table in diff.tables.iter().filter(|table| table.identity.is_some()) {
        for sequence in drawn_from(road, &table.source).filter(|(_, sequence)| !set.contains(sequence)) {
            let at = format!("{}.{}", road.at(&table.source), show(&sequence.0));
            let what = format!(
                "the way back: {} is not on the target and cannot be set: its next value may be in use",
                sequence.1
            );
            found.hazard(
                RISK,
                at,
                what,
                &["set it by hand after the way back, and accept it", "reverse: false"],
            );
        }
    }
    pairs
}

/// Columns of a table and the sequences that they draw from.
fn drawn_from<'a>(road: &'a Road<'_>, table: &'a Name) -> impl Iterator<Item = (String, &'a Name)> {
    let columns = road.table(table).into_iter().flat_map(|table| &table.columns);
    columns.filter(|column| road.column(table, &column.name).is_some()).filter_map(move |column| {
        let owned = road.source.sequences.iter().find(|sequence| {
            let owner = sequence.owner.as_ref();
            owner.is_some_and(|owner| owner.table == *table && owner.column == column.name)
        });
        let named = column.default.as_ref().and_then(|default| default.sequence.as_ref());
        Some((column.name.clone(), named.or(owned.map(|sequence| &sequence.name))?))
    })
}
