//! What carried tables need besides themselves: schemas, extensions and types. Found by the names
//! in printed texts; nothing else of the source is taken along.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::found::Found;
use super::road::Road;
use crate::catalog::{Catalog, Extension, Name, OtherObject, Schema, Table, UserType, UserTypeKind};
use crate::plan::{Problem, Selection};

/// Names that carried tables use, by their source names.
#[derive(Debug, Default)]
pub(super) struct Used {
    /// Types that come along; on a road to another engine none.
    pub types: BTreeSet<Name>,
    /// Types of the source that no carried table has any use for.
    pub idle_types: BTreeSet<Name>,
    pub sequences: BTreeSet<Name>,
    pub extensions: BTreeSet<String>,
    /// Names that belong to them, and to which.
    pub members: BTreeMap<Name, String>,
}

/// Follows all texts of the carried tables, and the texts of what they name.
pub(super) fn follow(road: &Road<'_>, selection: &Selection, found: &mut Found) -> Used {
    let mut used = Used::default();
    let carried = || selection.tables.iter().filter_map(|intent| road.table(&intent.source));
    if !road.same {
        used.idle_types = idle_types(road, carried());
        return used;
    }
    let world = World::new(road);
    let mut seen: HashSet<&str> = HashSet::new();
    for table in carried() {
        for text in texts(table) {
            if seen.insert(text) {
                world.look(text, &mut used, &table.name, found);
            }
        }
    }
    let mut queue: Vec<Name> = used.types.iter().cloned().collect();
    while let Some(name) = queue.pop() {
        let before = used.types.clone();
        for text in road.user_type(&name).map(type_texts).unwrap_or_default() {
            world.look(text, &mut used, &name, found);
        }
        queue.extend(used.types.difference(&before).cloned());
    }
    let names = road.source.types.iter().map(|known| &known.name);
    used.idle_types = names.filter(|name| !used.types.contains(name)).cloned().collect();
    used
}

/// Where no type comes along: those that no text names, directly or through another one.
fn idle_types<'t>(road: &Road<'_>, tables: impl Iterator<Item = &'t Table>) -> BTreeSet<Name> {
    let mut idle: BTreeSet<Name> = road.source.types.iter().map(|known| known.name.clone()).collect();
    if idle.is_empty() {
        return idle;
    }
    let texts: HashSet<&str> = tables.flat_map(texts).collect();
    let mut queue: Vec<Name> =
        texts.into_iter().flat_map(|text| road.from.mentions(text)).map(|(name, _)| name).collect();
    while let Some(name) = queue.pop() {
        if idle.remove(&name) {
            let texts = road.user_type(&name).map(type_texts).unwrap_or_default();
            queue.extend(texts.into_iter().flat_map(|text| road.from.mentions(text)).map(|(name, _)| name));
        }
    }
    idle
}

/// Objects of the source by name.
struct World<'a, 'r> {
    road: &'r Road<'a>,
    sequences: HashSet<&'a Name>,
    /// What texts name and is not carried, with its kind.
    uncarried: HashMap<Name, &'a str>,
    /// Those of the target.
    there: HashSet<Name>,
    extensions: HashMap<&'a str, Vec<&'a Extension>>,
}

/// Kinds of objects that are not carried, and that texts of tables and types may name.
const NAMED: [&str; 8] = [
    "function",
    "procedure",
    "aggregate",
    "base type",
    "range type with functions of its own",
    "operator class",
    "text search configuration",
    "text search dictionary",
];

impl<'a, 'r> World<'a, 'r> {
    fn new(road: &'r Road<'a>) -> Self {
        // Texts call a function by its bare name; the catalog lists it with its arguments.
        let bare = |other: &OtherObject| {
            let name = other.name.name.split_once('(').map_or(other.name.name.as_str(), |(name, _)| name);
            Name::new(&other.name.schema, name)
        };
        let of =
            |catalog: &'a Catalog| catalog.others.iter().filter(|other| NAMED.contains(&other.kind.as_str()));
        let mut extensions: HashMap<&str, Vec<&Extension>> = HashMap::new();
        for extension in road.source.extensions.iter().filter(|extension| extension.installed) {
            extensions.entry(&extension.schema).or_default().push(extension);
        }
        Self {
            road,
            sequences: road.source.sequences.iter().map(|sequence| &sequence.name).collect(),
            uncarried: of(road.source).map(|other| (bare(other), other.kind.as_str())).collect(),
            there: of(road.target).map(bare).collect(),
            extensions,
        }
    }

    fn look(&self, text: &str, used: &mut Used, place: &Name, found: &mut Found) {
        for (name, _) in self.road.from.mentions(text) {
            if self.road.user_type(&name).is_some() {
                used.types.insert(name);
            } else if self.sequences.contains(&name) {
                used.sequences.insert(name);
            } else if let Some(kind) = self.uncarried.get(&name) {
                self.need_uncarried(kind, &name, place, found);
            } else if !self.road.from.system_schema(&name.schema) {
                self.need_extension(&name, used);
            }
        }
    }

    fn need_uncarried(&self, kind: &str, name: &Name, place: &Name, found: &mut Found) {
        if self.there.contains(name) {
            return;
        }
        let message = format!("{place} uses {kind} {name}, which is not carried");
        let help = "create it on the target first, or skip what uses it";
        found.problems.push(Problem::error("E207", message).help(help));
    }

    /// A name that is nobody's is an extension's: the one that is called so, else any in its schema.
    fn need_extension(&self, name: &Name, used: &mut Used) {
        let Some(extensions) = self.extensions.get(name.schema.as_str()) else { return };
        let named = extensions.iter().filter(|extension| extension.name == name.name);
        let mut named: Vec<_> = named.map(|extension| extension.name.clone()).collect();
        if named.is_empty() {
            named = extensions.iter().map(|extension| extension.name.clone()).collect();
        }
        if let Some(first) = named.first() {
            used.members.insert(name.clone(), first.clone());
        }
        used.extensions.extend(named);
    }
}

fn texts(table: &Table) -> Vec<&str> {
    let mut texts = Vec::new();
    for column in &table.columns {
        texts.push(column.native.as_str());
        texts.extend(column.default.iter().map(|default| default.native.as_str()));
        texts.extend(column.generated.iter().map(|generated| generated.native.as_str()));
    }
    texts.extend(table.checks.iter().map(|check| check.native.as_str()));
    let parts = table.keys.iter().flat_map(|key| &key.parts);
    for part in parts.chain(table.indexes.iter().flat_map(|index| &index.parts)) {
        texts.extend(
            [&part.expression, &part.opclass, &part.operator].into_iter().flatten().map(String::as_str),
        );
    }
    texts.extend(table.keys.iter().filter_map(|key| key.predicate.as_deref()));
    texts.extend(table.indexes.iter().filter_map(|index| index.predicate.as_deref()));
    if let Some(partition) = table.partition() {
        texts.push(&partition.bound);
    }
    if let crate::catalog::TableKind::Partitioned { by, .. } = &table.kind {
        texts.push(by);
    }
    texts
}

fn type_texts(user_type: &UserType) -> Vec<&str> {
    match &user_type.kind {
        UserTypeKind::Enum { .. } => Vec::new(),
        UserTypeKind::Domain { base, default, checks, .. } => {
            let checks = checks.iter().map(|check| check.native.as_str());
            [base.as_str()].into_iter().chain(default.as_deref()).chain(checks).collect()
        }
        UserTypeKind::Composite { fields } => fields.iter().map(|(_, native)| native.as_str()).collect(),
        UserTypeKind::Range { options, .. } => vec![options],
    }
}

/// The used types with the names in them moved, each after those it is made of.
pub(super) fn map_types(road: &Road<'_>, used: &Used, found: &mut Found) -> Vec<UserType> {
    let mut order: Vec<&Name> = Vec::new();
    for name in &used.types {
        place_type(road, used, name, &mut order, 0);
    }
    let types = order.into_iter().filter_map(|name| road.user_type(name));
    types.filter_map(|user_type| map_type(road, user_type, found)).collect()
}

/// Types nest a few deep; a doctored catalog may nest them in a circle.
const MOST_NESTED: usize = 32;

fn place_type<'a>(road: &Road<'_>, used: &'a Used, name: &'a Name, order: &mut Vec<&'a Name>, depth: usize) {
    if order.contains(&name) || depth > MOST_NESTED {
        return;
    }
    for text in road.user_type(name).map(type_texts).unwrap_or_default() {
        let mut below: Vec<_> = road.from.mentions(text).into_iter().map(|(name, _)| name).collect();
        below.sort();
        for inner in below.iter().filter(|inner| *inner != name) {
            if let Some(inner) = used.types.get(inner) {
                place_type(road, used, inner, order, depth + 1);
            }
        }
    }
    order.push(name);
}

fn map_type(road: &Road<'_>, user_type: &UserType, found: &mut Found) -> Option<UserType> {
    let mut failed = None;
    let mut say = |text: &str| match road.reword_bare(text) {
        Ok(text) => text,
        Err(unspeakable) => {
            failed = Some(unspeakable.what);
            String::new()
        }
    };
    let kind = match &user_type.kind {
        UserTypeKind::Enum { labels } => UserTypeKind::Enum { labels: labels.clone() },
        UserTypeKind::Domain { base, not_null, default, collation, checks } => UserTypeKind::Domain {
            base: say(base),
            not_null: *not_null,
            default: default.as_deref().map(&mut say),
            collation: collation.as_ref().map(|name| road.renames.object(name)),
            checks: checks
                .iter()
                .map(|check| crate::catalog::Check { native: say(&check.native), ..check.clone() })
                .collect(),
        },
        UserTypeKind::Composite { fields } => UserTypeKind::Composite {
            fields: fields.iter().map(|(name, native)| (name.clone(), say(native))).collect(),
        },
        UserTypeKind::Range { options, multirange } => UserTypeKind::Range {
            options: say(options),
            multirange: multirange.as_ref().map(|name| road.renames.object(name)),
        },
    };
    if let Some(what) = failed {
        let message = format!("type {} cannot be written for the target: {what}", user_type.name);
        found.problems.push(Problem::error("E125", message));
        return None;
    }
    Some(UserType { name: road.renames.object(&user_type.name), kind, comment: user_type.comment.clone() })
}

/// The used extensions, and a hazard for each that the target does not offer.
pub(super) fn map_extensions(road: &Road<'_>, used: &Used, found: &mut Found) -> Vec<Extension> {
    let offered: HashSet<&str> = road.target.extensions.iter().map(|known| known.name.as_str()).collect();
    let mut wanted = Vec::new();
    for extension in &road.source.extensions {
        if !used.extensions.contains(&extension.name) {
            continue;
        }
        if !offered.contains(extension.name.as_str()) {
            let what = format!("extension {} cannot be created on the target", extension.name);
            let ways = ["install it on the target's server", "map the columns that need it to another type"];
            found.hazard("P803", "target", what, &ways);
        }
        let there =
            road.target.extensions.iter().find(|known| known.installed && known.name == extension.name);
        let schema = there.map_or(&extension.schema, |there| &there.schema).clone();
        wanted.push(Extension { schema, ..extension.clone() });
    }
    wanted
}

/// The schemas that wanted objects live in, with their comments.
pub(super) fn map_schemas<'n>(road: &Road<'_>, names: impl Iterator<Item = &'n str>) -> Vec<Schema> {
    if !road.to.features().schemas {
        return Vec::new();
    }
    let wanted: BTreeSet<&str> = names.collect();
    // A schema under another name is another one: its comment would speak of the old.
    let comment = |to: &str| {
        let schema = road.source.schemas.iter().find(|schema| schema.name == to && road.same)?;
        schema.comment.clone()
    };
    let schemas = wanted.into_iter().filter(|name| !road.to.system_schema(name));
    schemas.map(|name| Schema { name: name.to_string(), comment: comment(name) }).collect()
}
