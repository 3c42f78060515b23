//! The types that columns may have: enums, domains, composites and ranges as user types, and for
//! every type what it means neutrally and whether its binary form travels.

use std::collections::HashMap;

use super::{Fields, Reader, USERS, comment};
use crate::catalog::{Check, Name, OtherObject, Type, UserType, UserTypeKind};
use crate::engine::EngineError;
use crate::engine::postgres::{quote, types};

/// All types but the row types of tables.
pub struct Types {
    by_oid: HashMap<u32, Info>,
}

struct Info {
    name: Name,
    kind: Kind,
    /// In `pg_catalog`.
    system: bool,
    /// The extension that brought it.
    extension: Option<String>,
    /// Of a schema whose objects are looked at, and no extension's.
    users: bool,
    comment: Option<String>,
}

enum Kind {
    Base,
    Array {
        of: u32,
    },
    Enum {
        labels: Vec<String>,
    },
    Domain {
        base: u32,
        native: String,
        details: UserTypeKind,
    },
    Composite {
        fields: Vec<(String, String)>,
    },
    /// None where it needs functions that are not carried.
    Range {
        details: Option<UserTypeKind>,
    },
}

/// Built-in types whose binary form is the same on every server. Not among them: what holds the
/// number of an object of this cluster, what depends on a locale (money) and what rewrites itself
/// on the way in (xml).
const PORTABLE: &[&str] = &[
    "bit",
    "bool",
    "box",
    "bpchar",
    "bytea",
    "char",
    "cidr",
    "circle",
    "date",
    "datemultirange",
    "daterange",
    "float4",
    "float8",
    "inet",
    "int2",
    "int4",
    "int4multirange",
    "int4range",
    "int8",
    "int8multirange",
    "int8range",
    "interval",
    "json",
    "jsonb",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "name",
    "numeric",
    "nummultirange",
    "numrange",
    "oid",
    "path",
    "pg_lsn",
    "point",
    "polygon",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "tsmultirange",
    "tsrange",
    "tstzmultirange",
    "tstzrange",
    "tsvector",
    "uuid",
    "varbit",
    "varchar",
];

impl Types {
    /// What a column of that type holds; `native` is the type as printed for the column.
    pub fn neutral(&self, oid: u32, native: &str) -> Type {
        let Some(info) = self.by_oid.get(&oid) else { return Type::Native { text: native.to_string() } };
        match &info.kind {
            Kind::Array { of } => {
                let element = native.strip_suffix("[]").unwrap_or(native);
                Type::Array { of: Box::new(self.neutral(*of, element)) }
            }
            Kind::Enum { labels } => Type::Enum { name: Some(info.name.clone()), labels: labels.clone() },
            Kind::Domain { base, native, .. } => self.neutral(*base, native),
            Kind::Base if info.system => types::parse(native),
            _ => Type::Native { text: native.to_string() },
        }
    }

    /// True where the binary form of the type means the same on any server.
    pub fn portable(&self, oid: u32) -> bool {
        let Some(info) = self.by_oid.get(&oid) else { return false };
        match &info.kind {
            Kind::Array { of } => {
                info.system && self.by_oid.get(of).is_some_and(|of| of.system) && self.portable(*of)
            }
            Kind::Enum { .. } => true,
            Kind::Domain { base, .. } => self.portable(*base),
            Kind::Base | Kind::Range { .. } if info.system => {
                PORTABLE.binary_search(&info.name.name.as_str()).is_ok()
            }
            Kind::Base => info.extension.as_deref() == Some("citext") && info.name.name == "citext",
            Kind::Composite { .. } | Kind::Range { .. } => false,
        }
    }

    /// The type whose operator classes are the default for a column: a domain's base.
    pub fn base(&self, oid: u32) -> u32 {
        match self.by_oid.get(&oid).map(|info| &info.kind) {
            Some(Kind::Domain { base, .. }) => self.base(*base),
            _ => oid,
        }
    }

    /// The name of a built-in type, as in `pg_type`.
    pub fn system_name(&self, oid: u32) -> Option<&str> {
        self.by_oid.get(&oid).filter(|info| info.system).map(|info| info.name.name.as_str())
    }

    /// The types that are created on a target.
    pub fn carried(&self) -> Vec<UserType> {
        let users = self.by_oid.values().filter(|info| info.users);
        users
            .filter_map(|info| {
                let kind = match &info.kind {
                    Kind::Enum { labels } => UserTypeKind::Enum { labels: labels.clone() },
                    Kind::Domain { details, .. } => details.clone(),
                    Kind::Composite { fields } => UserTypeKind::Composite { fields: fields.clone() },
                    Kind::Range { details } => details.clone()?,
                    Kind::Base | Kind::Array { .. } => return None,
                };
                Some(UserType { name: info.name.clone(), kind, comment: info.comment.clone() })
            })
            .collect()
    }

    /// The types that are not.
    pub fn notes(&self, into: &mut Vec<OtherObject>) {
        for info in self.by_oid.values().filter(|info| info.users) {
            let kind = match &info.kind {
                Kind::Base => "base type",
                Kind::Range { details: None } => "range type with functions of its own",
                _ => continue,
            };
            into.push(OtherObject { kind: kind.to_string(), name: info.name.clone(), table: None });
        }
    }
}

pub async fn read(reader: &mut Reader<'_>) -> Result<Types, EngineError> {
    let mut checks = domain_checks(reader).await?;
    let mut fields = composite_fields(reader).await?;
    let mut ranges = ranges(reader).await?;
    let comment = comment("pg_type", "t");
    // Row types of tables, and arrays of them, are left out: there is one of each per table.
    let sql = format!(
        "SELECT t.oid, n.nspname::text AS schema, t.typname::text AS name, t.typtype::text AS kind, \
         el.oid AS element, t.typbasetype AS base, pg_catalog.format_type(t.typbasetype, t.typtypmod) AS native, \
         t.typnotnull, pg_catalog.pg_get_expr(t.typdefaultbin, 0) AS default_text, co.collname::text AS \
         collation, cn.nspname::text AS collation_schema, x.extname::text AS extension, {USERS} AS users, \
         CASE WHEN t.typtype = 'e' THEN ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum AS e \
           WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) END AS labels, words.description AS comment \
         FROM pg_catalog.pg_type AS t \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace \
         LEFT JOIN pg_catalog.pg_type AS el ON el.oid = t.typelem AND el.typarray = t.oid \
         LEFT JOIN pg_catalog.pg_type AS bt ON bt.oid = t.typbasetype \
         LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = t.typcollation AND t.typtype = 'd' \
           AND t.typcollation <> bt.typcollation \
         LEFT JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace \
         LEFT JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass \
           AND d.objid = t.oid AND d.deptype = 'e' \
         LEFT JOIN pg_catalog.pg_extension AS x ON x.oid = d.refobjid {comment} \
         WHERE t.typisdefined AND {own} AND (el.oid IS NULL OR {of_element})",
        own = no_row_type("t"),
        of_element = no_row_type("el"),
    );
    let mut by_oid = HashMap::new();
    let take = |row: Fields| -> Result<(), EngineError> {
        let oid = row.oid("oid")?;
        let kind = match row.text("kind")?.as_str() {
            _ if !row.is_null("element")? => Kind::Array { of: row.oid("element")? },
            "e" => Kind::Enum { labels: row.need("labels")? },
            "d" => domain(&row, checks.remove(&oid).unwrap_or_default())?,
            "c" => Kind::Composite { fields: fields.remove(&oid).unwrap_or_default() },
            "r" => Kind::Range { details: ranges.remove(&oid).flatten() },
            "b" => Kind::Base,
            // Multiranges come with their ranges; pseudo-types are no column's type.
            "m" if row.text("schema")? == "pg_catalog" => Kind::Base,
            _ => return Ok(()),
        };
        by_oid.insert(oid, info(&row, kind)?);
        Ok(())
    };
    reader.each(&sql, take).await?;
    Ok(Types { by_oid })
}

/// True of a type that is no table's row type.
fn no_row_type(alias: &str) -> String {
    format!(
        "({alias}.typrelid = 0 OR {alias}.typrelid IN (SELECT c.oid FROM pg_catalog.pg_class AS c \
         WHERE c.relkind = 'c'))"
    )
}

fn info(row: &Fields, kind: Kind) -> Result<Info, EngineError> {
    let name = Name::new(row.text("schema")?, row.text("name")?);
    let extension = row.maybe("extension")?;
    Ok(Info {
        kind,
        system: name.schema == "pg_catalog",
        users: extension.is_none() && row.truth("users")?,
        name,
        extension,
        comment: row.maybe("comment")?,
    })
}

fn domain(row: &Fields, checks: Vec<Check>) -> Result<Kind, EngineError> {
    let native = row.text("native")?;
    let collation = match row.maybe("collation")? {
        Some(collation) => Some(Name::new(row.text("collation_schema")?, collation)),
        None => None,
    };
    let details = UserTypeKind::Domain {
        base: native.clone(),
        not_null: row.truth("typnotnull")?,
        default: row.maybe("default_text")?,
        collation,
        checks,
    };
    Ok(Kind::Domain { base: row.oid("base")?, native, details })
}

/// Checks by domain, sorted by name.
async fn domain_checks(reader: &mut Reader<'_>) -> Result<HashMap<u32, Vec<Check>>, EngineError> {
    let comment = comment("pg_constraint", "k");
    let sql = format!(
        "SELECT k.contypid, k.conname::text AS name, pg_catalog.pg_get_expr(k.conbin, 0) AS native, \
         k.convalidated, words.description AS comment FROM pg_catalog.pg_constraint AS k {comment} \
         WHERE k.contypid <> 0 AND k.contype = 'c' ORDER BY k.conname"
    );
    let mut all: HashMap<u32, Vec<Check>> = HashMap::new();
    for row in reader.rows(&sql).await? {
        all.entry(row.oid("contypid")?).or_default().push(Check {
            name: row.text("name")?,
            native: row.text("native")?,
            validated: row.truth("convalidated")?,
            no_inherit: false,
            inherited: false,
            comment: row.maybe("comment")?,
        });
    }
    Ok(all)
}

/// Fields by composite type, a collation of their own in the text.
async fn composite_fields(
    reader: &mut Reader<'_>,
) -> Result<HashMap<u32, Vec<(String, String)>>, EngineError> {
    let sql = "SELECT c.reltype, a.attname::text AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS \
               native, co.collname::text AS collation, cn.nspname::text AS collation_schema \
               FROM pg_catalog.pg_class AS c \
               JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid \
               JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid \
               LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = a.attcollation \
                 AND a.attcollation <> t.typcollation \
               LEFT JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace \
               WHERE c.relkind = 'c' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.oid, a.attnum";
    let mut all: HashMap<u32, Vec<(String, String)>> = HashMap::new();
    for row in reader.rows(sql).await? {
        let mut native = row.text("native")?;
        if let Some(collation) = row.maybe("collation")? {
            let collation = Name::new(row.text("collation_schema")?, collation);
            native += &format!(" COLLATE {}", quote::name(&collation));
        }
        all.entry(row.oid("reltype")?).or_default().push((row.text("name")?, native));
    }
    Ok(all)
}

/// Definitions by range type; none for one that needs functions of a user.
async fn ranges(reader: &mut Reader<'_>) -> Result<HashMap<u32, Option<UserTypeKind>>, EngineError> {
    let foreign = |function: &str| {
        format!(
            "EXISTS (SELECT 1 FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n \
             ON n.oid = p.pronamespace WHERE p.oid = r.{function} AND {USERS} AND {})",
            super::not_member("pg_proc", "p")
        )
    };
    let sql = format!(
        "SELECT r.rngtypid, pg_catalog.format_type(r.rngsubtype, NULL) AS subtype, \
         CASE WHEN NOT o.opcdefault THEN o.opcname::text END AS opclass, opn.nspname::text AS opclass_schema, \
         co.collname::text AS collation, cn.nspname::text AS collation_schema, \
         nullif(r.rngcanonical::pg_catalog.oid, 0)::pg_catalog.regproc::text AS canonical, \
         nullif(r.rngsubdiff::pg_catalog.oid, 0)::pg_catalog.regproc::text AS subtype_diff, \
         mn.nspname::text AS multirange_schema, m.typname::text AS multirange, \
         {} OR {} AS foreign_functions \
         FROM pg_catalog.pg_range AS r \
         JOIN pg_catalog.pg_type AS s ON s.oid = r.rngsubtype \
         JOIN pg_catalog.pg_opclass AS o ON o.oid = r.rngsubopc \
         JOIN pg_catalog.pg_namespace AS opn ON opn.oid = o.opcnamespace \
         LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = r.rngcollation AND r.rngcollation <> s.typcollation \
         LEFT JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace \
         LEFT JOIN pg_catalog.pg_type AS m ON m.oid = r.rngmultitypid \
         LEFT JOIN pg_catalog.pg_namespace AS mn ON mn.oid = m.typnamespace \
         WHERE r.rngtypid >= 16384",
        foreign("rngcanonical"),
        foreign("rngsubdiff")
    );
    let mut all = HashMap::new();
    for row in reader.rows(&sql).await? {
        let details = if row.truth("foreign_functions")? { None } else { Some(range(&row)?) };
        all.insert(row.oid("rngtypid")?, details);
    }
    Ok(all)
}

fn range(row: &Fields) -> Result<UserTypeKind, EngineError> {
    let named = |schema: &str, name: &str| -> Result<Option<Name>, EngineError> {
        match (row.maybe(schema)?, row.maybe(name)?) {
            (Some(schema), Some(name)) => Ok(Some(Name::new(schema, name))),
            _ => Ok(None),
        }
    };
    let mut options = vec![format!("subtype = {}", row.text("subtype")?)];
    if let Some(opclass) = named("opclass_schema", "opclass")? {
        options.push(format!("subtype_opclass = {}", quote::name(&opclass)));
    }
    if let Some(collation) = named("collation_schema", "collation")? {
        options.push(format!("collation = {}", quote::name(&collation)));
    }
    for function in ["canonical", "subtype_diff"] {
        if let Some(name) = row.maybe(function)? {
            options.push(format!("{function} = {name}"));
        }
    }
    let multirange = named("multirange_schema", "multirange")?;
    Ok(UserTypeKind::Range { options: options.join(", "), multirange })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_portable_types_are_sorted() {
        assert!(super::PORTABLE.is_sorted());
    }
}
