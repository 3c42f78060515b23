//! Followed tables as the catalog has them now, and how the log will tell their rows. By default a
//! log names no columns, so that their order in the catalog is what a row image is read by: reads
//! only, and refuses what has changed since the plan was made.

use std::collections::{BTreeMap, HashMap};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::cascade::{self, Effect, Keys};
use super::charset::Charset;
use super::connect::Link;
use super::decode::Decode;
use super::error::from_driver;
use super::image::Meaning;
use super::select::{cell_type, is_binary, zone_shift};
use super::{facts, inspect, quote, types};
use crate::catalog::name::show;
use crate::catalog::{Action, ColumnMap, Name, Type};
use crate::change::{Followed, Identity};
use crate::engine::{CHANGED, Cause, EngineError};

const DOING: &str = "look at the followed tables of";

/// A table as it is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Present {
    /// In the order of row images.
    pub columns: Vec<PresentColumn>,
    /// Columns behind these that no catalog shows: hashes of long unique keys (MariaDB).
    pub hidden: usize,
    pub engine: String,
    /// Keeps the history of its rows.
    pub versioned: bool,
}

#[derive(Clone, Debug)]
pub(super) struct PresentColumn {
    pub facts: facts::Column,
    /// The type as the server prints it.
    pub printed: String,
    /// The same in the catalog's terms; none for a column that a catalog leaves out.
    pub native: Option<String>,
    /// The server computes it from others.
    pub generated: bool,
}

/// A foreign key whose action changes rows without a word in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignKey {
    pub child: Name,
    pub name: String,
    pub columns: Vec<String>,
    pub parent: Name,
    pub parent_columns: Vec<String>,
    pub on_delete: Action,
    pub on_update: Action,
}

/// What there is of the followed tables, by their places in the list.
pub(super) struct Found {
    pub tables: Vec<Option<Present>>,
    /// Of all children that are followed.
    pub keys: Vec<ForeignKey>,
    /// What foreign keys do is in the log like any other change (MySQL 9.6 and newer, unless told not to).
    pub keys_logged: bool,
}

/// Table, column, type, character set, collation, printed type.
type ColumnRow = (String, String, String, Option<String>, Option<String>, String);

pub(super) async fn read(conn: &mut Conn, link: &Link, tables: &[Followed]) -> Result<Found, EngineError> {
    let catalog = inspect::inspect(conn, link).await?;
    let fail = |error| from_driver(DOING, error);
    let here = quote::literal(&link.address.database);
    let sql = format!(
        "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, COLUMN_TYPE \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {here} ORDER BY TABLE_NAME, ORDINAL_POSITION"
    );
    let rows: Vec<ColumnRow> = conn.query(sql).await.map_err(fail)?;
    let sql = format!(
        "SELECT TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = {here}"
    );
    let kinds: Vec<(String, String, Option<String>)> = conn.query(sql).await.map_err(fail)?;
    let kinds: HashMap<String, (String, Option<String>)> =
        kinds.into_iter().map(|(name, kind, engine)| (name, (kind, engine))).collect();
    // Engines without transactions, whose hashes are no columns, are not followed.
    let sql = format!(
        "SELECT TABLE_NAME, COUNT(DISTINCT INDEX_NAME) FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = {here} AND NON_UNIQUE = 0 AND INDEX_TYPE = 'HASH' GROUP BY TABLE_NAME"
    );
    let hidden: Vec<(String, usize)> = conn.query(sql).await.map_err(fail)?;
    let hidden: HashMap<String, usize> = hidden.into_iter().collect();
    let mut columns: HashMap<String, Vec<PresentColumn>> = HashMap::new();
    for (table, name, data_type, charset, collation, printed) in rows {
        let listed = catalog.tables.iter().find(|known| known.name.name == table);
        let listed = listed.and_then(|known| known.columns.iter().find(|column| column.name == name));
        let native = listed.map(|column| column.native.clone());
        let generated = listed.is_some_and(|column| column.generated.is_some());
        let data_type = data_type.to_ascii_lowercase();
        let facts = facts::Column { name, data_type, charset, collation };
        columns.entry(table).or_default().push(PresentColumn { facts, printed, native, generated });
    }
    let present = |followed: &Followed| {
        let name = &followed.projection.source;
        let (kind, engine) = kinds.get(&name.name)?;
        Some(Present {
            columns: columns.get(&name.name)?.clone(),
            hidden: hidden.get(&name.name).copied().unwrap_or(0),
            engine: engine.clone().unwrap_or_default(),
            versioned: kind == "SYSTEM VERSIONED",
        })
    };
    let is_followed = |name: &Name| tables.iter().any(|followed| followed.projection.source == *name);
    let children = catalog.tables.iter().filter(|table| is_followed(&table.name));
    let keys = children.flat_map(|table| {
        table.foreign_keys.iter().map(|key| ForeignKey {
            child: table.name.clone(),
            name: key.name.clone(),
            columns: key.columns.clone(),
            parent: key.parent.clone(),
            parent_columns: key.parent_columns.clone(),
            on_delete: key.on_delete,
            on_update: key.on_update,
        })
    });
    let keys = keys.filter(|key| acts(key.on_delete) || acts(key.on_update)).collect();
    let native: Option<(String, String)> = conn
        .query_first("SHOW GLOBAL VARIABLES LIKE 'innodb\\_native\\_foreign\\_keys'")
        .await
        .map_err(fail)?;
    let keys_logged = native.is_some_and(|(_, native)| native.eq_ignore_ascii_case("OFF"));
    Ok(Found { tables: tables.iter().map(present).collect(), keys, keys_logged })
}

pub(super) fn acts(action: Action) -> bool {
    matches!(action, Action::Cascade | Action::SetNull | Action::SetDefault)
}

/// How one followed table's row images are read.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub name: Name,
    /// Columns of a row image.
    pub width: usize,
    /// In the projection's order.
    pub places: Vec<Place>,
    /// Columns of the image that the server computes, with their names, and those that it hides. Newer
    /// MariaDB servers leave them out of updates and deletes.
    pub generated: BTreeMap<usize, String>,
    /// Places of the identity in the projection; none: the whole row.
    pub identity: Option<Vec<usize>>,
    /// Columns of the image that others refer to with an action on update that is not derived, and
    /// who does.
    pub referred: Vec<(usize, Name)>,
    /// Who refers to it with an action on delete that is not derived, where the log should tell it.
    pub taken: Option<Name>,
    /// What its rows take along, where that is derived.
    pub effects: Vec<Effect>,
}

/// Where a column of the projection is in a row image.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub at: usize,
    pub name: String,
    pub meaning: Meaning,
    pub decode: Decode,
}

impl Layout {
    /// Of all followed tables. `derive`: what foreign keys do is told, too.
    pub fn all(tables: &[Followed], found: &Found, derive: bool) -> Result<Vec<Self>, EngineError> {
        let keys = derive.then(|| Keys::new(tables, found));
        let layout = |(place, followed): (usize, &Followed)| {
            let effects = keys.as_ref().map_or(Some(Vec::new()), |keys| keys.effects(place));
            if effects.is_none() && !found.keys_logged {
                let (why, hint) = cascade::too_many();
                return Err(EngineError::new(Cause::NotFound, "follow", why)
                    .on(&followed.projection.source)
                    .contract("C504")
                    .hint(hint));
            }
            let told = effects.is_some();
            let derived = |key: &ForeignKey| derive && told && cascade::look(tables, found, key).is_ok();
            Self::of(followed, found, place, effects.unwrap_or_default(), &derived)
        };
        tables.iter().enumerate().map(layout).collect()
    }

    fn of(
        followed: &Followed,
        found: &Found,
        place: usize,
        effects: Vec<Effect>,
        derived: &dyn Fn(&ForeignKey) -> bool,
    ) -> Result<Self, EngineError> {
        let name = &followed.projection.source;
        let present = found.tables[place]
            .as_ref()
            .ok_or_else(|| stale("it is not there any more; it was dropped or renamed").on(name))?;
        check_same(followed, present).map_err(|error| error.on(name))?;
        let position = |column: &str| present.columns.iter().position(|found| found.facts.name == column);
        let mut places = Vec::with_capacity(followed.projection.columns.len());
        for map in &followed.projection.columns {
            let gone = || stale(format!("it has no column {} any more", show(&map.source))).on(name);
            let at = position(&map.source).ok_or_else(gone)?;
            let column = &present.columns[at];
            let meaning = meaning(map, column).map_err(|(why, hint)| {
                EngineError::new(Cause::Data, "follow", why).on(name).contract("C502").hint(hint)
            })?;
            let binary = column.facts.charset.is_none() && is_binary(&column.facts);
            let decode = Decode::of(cell_type(map), binary, map);
            places.push(Place { at, name: map.source.clone(), meaning, decode });
        }
        let referring = || found.keys.iter().filter(|key| key.parent == *name && !derived(key));
        let taken = referring().find(|key| found.keys_logged && acts(key.on_delete));
        let referred = referring().filter(|key| acts(key.on_update)).flat_map(|key| {
            let columns = key.parent_columns.iter().filter_map(|column| position(column));
            columns.map(|at| (at, key.child.clone()))
        });
        let width = present.columns.len() + present.hidden;
        let computed = present.columns.iter().enumerate().filter(|(_, column)| column.generated);
        let computed = computed.map(|(at, column)| (at, column.facts.name.clone()));
        let hidden = (present.columns.len()..width).map(|at| (at, String::new()));
        Ok(Self {
            name: name.clone(),
            width,
            places,
            generated: computed.chain(hidden).collect(),
            identity: match &followed.identity {
                Identity::Columns(places) => Some(places.clone()),
                Identity::Whole => None,
            },
            referred: referred.collect(),
            taken: taken.map(|key| key.child.clone()),
            effects,
        })
    }

    /// Whether rows can be told without a column of the image.
    pub fn can_lack(&self, column: usize) -> bool {
        let told = self.places.iter().any(|place| place.at == column);
        let compared = self.referred.iter().any(|(at, _)| *at == column);
        self.generated.contains_key(&column) && !told && !compared
    }
}

/// Why a generated column cannot be followed where the log leaves it out, and what to do.
pub(super) fn not_logged(column: &str) -> (String, String) {
    let column = show(column);
    (
        format!("values of its generated column {column} are not in the log when a row changes"),
        format!(
            "leave it behind (`{column}: skip`), or give it an expression that the target can compute, too"
        ),
    )
}

fn stale(why: impl Into<String>) -> EngineError {
    EngineError::new(Cause::Stale, "follow", why).contract("C508").hint(CHANGED)
}

/// The table has the columns that the plan knows, of the types that the plan knows.
fn check_same(followed: &Followed, present: &Present) -> Result<(), EngineError> {
    for column in &present.columns {
        let (name, Some(native)) = (&column.facts.name, &column.native) else { continue };
        let carried = followed.projection.columns.iter().find(|map| map.source == *name);
        match carried {
            Some(map) if map.source_native != *native => {
                return Err(stale(format!(
                    "the type of its column {} is {}, and was {} when the plan was made",
                    show(name),
                    show(native),
                    show(&map.source_native)
                )));
            }
            None if !followed.skipped.contains(name) => {
                return Err(stale(format!("its column {} was added since", show(name))));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a column's bytes mean; why they cannot be read, and what to do, where that is not known.
pub(super) fn meaning(map: &ColumnMap, column: &PresentColumn) -> Result<Meaning, (String, String)> {
    let named = |why: &str| format!("the column {} {why}", show(&map.source));
    let leave = "or write cdc: false for this table: it is copied once";
    if column.printed.contains("COMPRESSED") {
        return Err((
            named("is stored compressed, which the log has in a form that is not read here"),
            format!("ALTER TABLE ... MODIFY the column without COMPRESSED, {leave}"),
        ));
    }
    if column.printed.contains("mariadb-5.3") {
        return Err((
            named("is stored in a form of old servers, without its precision"),
            format!("ALTER TABLE ... FORCE with mysql56_temporal_format = ON rewrites it, {leave}"),
        ));
    }
    if zone_shift(map).is_some_and(|zone| !matches!(zone, "UTC" | "+00:00")) {
        return Err((
            named("is moved to another zone, which a stream cannot do"),
            "take the zone UTC, or write cdc: false for this table".to_string(),
        ));
    }
    let labels = || match types::parse(&column.printed) {
        Type::Enum { labels, .. } | Type::Set { labels } => {
            // A catalog prints characters of the basic plane only.
            let plain = matches!(
                column.facts.charset.as_deref(),
                Some("utf8mb3" | "utf8" | "latin1" | "ascii" | "ucs2")
            );
            Meaning::Labels { labels, null: map.error_value_null, doubted: !plain }
        }
        _ => Meaning::Bytes,
    };
    Ok(match column.facts.data_type.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
            match column.printed.to_ascii_lowercase().contains("unsigned") {
                true => Meaning::Unsigned,
                false => Meaning::Signed,
            }
        }
        "year" if column.printed.starts_with("year(2)") => Meaning::ShortYear,
        "float" | "double" | "decimal" | "bit" | "year" | "date" | "time" | "datetime" | "timestamp" => {
            Meaning::Plain
        }
        "enum" | "set" => labels(),
        "binary" => match types::parse(&column.printed) {
            Type::Binary { length } => Meaning::Filled(length),
            _ => Meaning::Bytes,
        },
        "uuid" => Meaning::Uuid,
        "inet4" => Meaning::Inet4,
        "inet6" => Meaning::Inet6,
        // Of MySQL: of MariaDB it is a longtext.
        "json" => Meaning::Json,
        kind => match &column.facts.charset {
            None => Meaning::Bytes,
            Some(name) => match Charset::of(name) {
                // Blanks are cut off such values byte by byte, which no longer says where they ended.
                Some(charset) if !(charset.is_wide() && kind == "char") => Meaning::Text(charset),
                _ => {
                    let why =
                        format!("is a {kind} in the character set {name}, which only the server can convert");
                    let hint = format!("ALTER TABLE ... CONVERT TO CHARACTER SET utf8mb4, {leave}");
                    return Err((named(&why), hint));
                }
            },
        },
    })
}
