//! Everything that is not a table or a type: the database itself, schemas, extensions, collations,
//! sequences, and the list of what is seen and left behind.

use super::{Fields, Reader, USERS, comment, not_member, users_relation};
use crate::catalog::{Catalog, Denied, Extension, Name, OtherObject, Schema, Sequence, SequenceOwner};
use crate::engine::EngineError;
use crate::engine::postgres::marks::NOT_OURS;
use crate::engine::postgres::quote;

/// A catalog with its head filled in.
pub async fn database(reader: &mut Reader<'_>) -> Result<Catalog, EngineError> {
    let sql = "SELECT pg_catalog.current_database()::pg_catalog.text AS name, \
               pg_catalog.current_setting('server_version') AS version, \
               pg_catalog.current_setting('server_encoding') AS encoding";
    let mut catalog = Catalog { engine: "postgres".to_string(), ..Catalog::default() };
    for row in reader.rows(sql).await? {
        catalog.database = row.text("name")?;
        // `15.18 (Debian 15.18-0+deb12u1)`: the packager's words are not the version.
        let version = row.text("version")?;
        catalog.version = version.split(' ').next().unwrap_or_default().to_string();
        catalog.encoding = row.text("encoding")?;
    }
    catalog.default_schema = "public".to_string();
    Ok(catalog)
}

pub async fn schemas(reader: &mut Reader<'_>) -> Result<Vec<Schema>, EngineError> {
    let member = not_member("pg_namespace", "n");
    let comment = comment("pg_namespace", "n");
    let sql = format!(
        "SELECT n.nspname::text AS name, words.description AS comment FROM pg_catalog.pg_namespace AS n \
         {comment} WHERE {USERS} AND {member} AND (n.nspname <> 'towpath' OR NOT EXISTS (SELECT 1 \
         FROM pg_catalog.pg_class AS c WHERE c.relnamespace = n.oid AND NOT ({NOT_OURS})))"
    );
    let rows = reader.rows(&sql).await?;
    let schema = |row: &Fields| Ok(Schema { name: row.text("name")?, comment: row.maybe("comment")? });
    rows.iter().map(schema).collect()
}

/// Those of this database, and those that its server could create.
pub async fn extensions(reader: &mut Reader<'_>) -> Result<Vec<Extension>, EngineError> {
    let sql = "SELECT coalesce(e.extname, a.name)::text AS name, coalesce(n.nspname, '')::text AS schema, \
               coalesce(e.extversion, a.default_version, '') AS version, e.oid IS NOT NULL AS installed \
               FROM pg_catalog.pg_extension AS e \
               JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace \
               FULL JOIN (SELECT x.name, x.default_version FROM pg_catalog.pg_available_extensions() AS x) \
               AS a ON a.name = e.extname";
    let rows = reader.rows(sql).await?;
    let extension = |row: &Fields| {
        Ok(Extension {
            name: row.text("name")?,
            schema: row.text("schema")?,
            version: row.text("version")?,
            installed: row.truth("installed")?,
        })
    };
    rows.iter().map(extension).collect()
}

/// Collations that somebody made here.
pub async fn collations(reader: &mut Reader<'_>) -> Result<Vec<Name>, EngineError> {
    let member = not_member("pg_collation", "c");
    let sql = format!(
        "SELECT n.nspname::text AS schema, c.collname::text AS name FROM pg_catalog.pg_collation AS c \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace WHERE {USERS} AND {member}"
    );
    let rows = reader.rows(&sql).await?;
    rows.iter().map(|row| Ok(Name::new(row.text("schema")?, row.text("name")?))).collect()
}

/// All sequences, those of `serial` and identity columns with their owners.
pub async fn sequences(reader: &mut Reader<'_>) -> Result<Vec<Sequence>, EngineError> {
    let member = not_member("pg_class", "c");
    let (comment, users) = (comment("pg_class", "c"), users_relation());
    let sql = format!(
        "SELECT n.nspname::text AS schema, c.relname::text AS name, \
         pg_catalog.format_type(s.seqtypid, NULL) AS data_type, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, \
         s.seqcache, s.seqcycle, tn.nspname::text AS table_schema, t.relname::text AS table_name, \
         a.attname::text AS column_name, d.deptype = 'i' AS identity, words.description AS comment \
         FROM pg_catalog.pg_sequence AS s \
         JOIN pg_catalog.pg_class AS c ON c.oid = s.seqrelid \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
           AND d.objid = c.oid AND d.objsubid = 0 AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
           AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') \
         LEFT JOIN pg_catalog.pg_class AS t ON t.oid = d.refobjid \
         LEFT JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace \
         LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
         {comment} WHERE {users} AND {member}"
    );
    let mut sequences = Vec::new();
    let take = |row: Fields| -> Result<(), EngineError> {
        sequences.push(sequence(&row)?);
        Ok(())
    };
    reader.each(&sql, take).await?;
    Ok(sequences)
}

fn sequence(row: &Fields) -> Result<Sequence, EngineError> {
    let owner = match row.maybe("column_name")? {
        Some(column) => Some(SequenceOwner {
            table: Name::new(row.text("table_schema")?, row.text("table_name")?),
            column,
            identity: row.truth("identity")?,
        }),
        None => None,
    };
    Ok(Sequence {
        name: Name::new(row.text("schema")?, row.text("name")?),
        data_type: row.text("data_type")?,
        start: row.need("seqstart")?,
        increment: row.need("seqincrement")?,
        min: row.need("seqmin")?,
        max: row.need("seqmax")?,
        cache: row.need("seqcache")?,
        cycle: row.need("seqcycle")?,
        owner,
        comment: row.maybe("comment")?,
    })
}

/// Which tables and sequences this role may not read. Row values of a table need `SELECT` on it
/// or on each of its columns, and `USAGE` of its schema.
pub async fn denied(reader: &mut Reader<'_>) -> Result<Vec<Denied>, EngineError> {
    let (member, users) = (not_member("pg_class", "c"), users_relation());
    let sql = format!(
        "SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind = 'S' AS sequence, \
         pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS usage, allowed.it AS allowed \
         FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         CROSS JOIN LATERAL (SELECT CASE WHEN c.relkind = 'S' \
           THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT') \
           ELSE pg_catalog.has_table_privilege(c.oid, 'SELECT') OR NOT EXISTS (SELECT 1 \
             FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
             AND NOT pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')) END AS it) AS allowed \
         WHERE c.relkind IN ('r', 'p', 'S') AND {users} AND {member} \
         AND NOT (allowed.it AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'))"
    );
    let rows = reader.rows(&sql).await?;
    let to = quote::identifier(&reader.role);
    let mut found = Vec::new();
    for row in &rows {
        let object = Name::new(row.text("schema")?, row.text("name")?);
        let mut push = |grant| found.push(Denied { object: object.clone(), grant, what: None });
        if !row.truth("usage")? {
            push(format!("GRANT USAGE ON SCHEMA {} TO {to}", quote::identifier(&object.schema)));
        }
        if !row.truth("allowed")? {
            let kind = if row.truth("sequence")? { "SEQUENCE" } else { "TABLE" };
            push(format!("GRANT SELECT ON {kind} {} TO {to}", quote::name(&object)));
        }
    }
    Ok(found)
}

/// Objects of the catalogs below that nobody's extension brought: kind, catalog, name and, where
/// there is one, schema.
const PLAIN: &[(&str, &str, &str, Option<&str>)] = &[
    ("aggregate or function", "pg_proc", "proname", Some("pronamespace")),
    ("operator", "pg_operator", "oprname", Some("oprnamespace")),
    ("operator class", "pg_opclass", "opcname", Some("opcnamespace")),
    ("operator family", "pg_opfamily", "opfname", Some("opfnamespace")),
    ("conversion", "pg_conversion", "conname", Some("connamespace")),
    ("text search configuration", "pg_ts_config", "cfgname", Some("cfgnamespace")),
    ("text search dictionary", "pg_ts_dict", "dictname", Some("dictnamespace")),
    ("text search parser", "pg_ts_parser", "prsname", Some("prsnamespace")),
    ("text search template", "pg_ts_template", "tmplname", Some("tmplnamespace")),
    ("publication", "pg_publication", "pubname", None),
    ("event trigger", "pg_event_trigger", "evtname", None),
    ("foreign data wrapper", "pg_foreign_data_wrapper", "fdwname", None),
    ("foreign server", "pg_foreign_server", "srvname", None),
    ("language", "pg_language", "lanname", None),
    ("access method", "pg_am", "amname", None),
];

/// What a fence of Towpath left on a source is no object of the user's.
fn not_of_a_fence(name: &str) -> String {
    format!(" AND o.{name} !~ {}", quote::literal(super::super::fence::NAMES))
}

/// Nor is the publication of a capture.
fn not_of_a_capture() -> String {
    let begin = quote::literal(super::super::publication::OURS);
    format!(
        " AND NOT pg_catalog.starts_with(COALESCE(pg_catalog.obj_description(o.oid, 'pg_publication'), ''), {begin})"
    )
}

/// First number that is given to an object of a user; the server's own are below.
const FIRST_USER_OID: u32 = 16_384;

/// The anti-join that leaves out what was made with a type and goes with it.
fn not_part(class: &str, alias: &str) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend AS part WHERE part.classid = \
         'pg_catalog.{class}'::pg_catalog.regclass AND part.objid = {alias}.oid AND part.refclassid = \
         'pg_catalog.pg_type'::pg_catalog.regclass AND part.deptype = 'i')"
    )
}

fn plain(kind: &str, class: &str, name: &str, schema: Option<&str>) -> String {
    let mut member = not_member(class, "o");
    if class == "pg_proc" {
        // The constructors of a range type come with it.
        member.push_str(&format!(" AND {}", not_part(class, "o")));
        member.push_str(&not_of_a_fence(name));
    }
    if class == "pg_publication" {
        member.push_str(&not_of_a_capture());
    }
    // Overloaded functions differ by their arguments only, and kinds of them by a letter.
    let (kind, name) = match class {
        "pg_proc" => (
            "CASE o.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END"
                .to_string(),
            "o.proname || '(' || pg_catalog.pg_get_function_identity_arguments(o.oid) || ')'".to_string(),
        ),
        _ => (format!("'{kind}'"), format!("o.{name}::text")),
    };
    match schema {
        Some(schema) => format!(
            "SELECT {kind} AS kind, n.nspname::text AS schema, {name} AS name, NULL::text AS table_schema, \
             NULL::text AS table_name FROM pg_catalog.{class} AS o JOIN pg_catalog.pg_namespace AS n ON n.oid = \
             o.{schema} WHERE {USERS} AND {member}"
        ),
        None => format!(
            "SELECT {kind}, '', {name}, NULL, NULL FROM pg_catalog.{class} AS o WHERE o.oid >= {FIRST_USER_OID} \
             AND {member}"
        ),
    }
}

/// A catalog whose rows hang on a table: kind, catalog, its alias `o`'s name and table columns, and
/// a condition.
const HANGING: &[(&str, &str, &str, &str, &str)] = &[
    ("trigger", "pg_trigger", "tgname", "tgrelid", "NOT o.tgisinternal"),
    ("rule", "pg_rewrite", "rulename", "ev_class", "o.rulename <> '_RETURN'"),
    ("policy", "pg_policy", "polname", "polrelid", "true"),
    ("statistics", "pg_statistic_ext", "stxname", "stxrelid", "true"),
    ("named not-null constraint", "pg_constraint", "conname", "conrelid", NAMED),
];

/// A not-null constraint (PostgreSQL 18) that is not called as the server calls it, which cuts long
/// names in ways of its own, or that has a comment.
const NAMED: &str = "o.contype = 'n' AND o.conislocal AND (EXISTS (SELECT 1 FROM pg_catalog.pg_description AS d \
     WHERE d.objoid = o.oid AND d.classoid = 'pg_catalog.pg_constraint'::pg_catalog.regclass) OR o.conname <> (SELECT \
     CASE WHEN pg_catalog.octet_length(own.name) < 64 THEN own.name ELSE o.conname END FROM (SELECT c.relname || \
     '_' || a.attname || '_not_null' AS name FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = o.conrelid \
     AND a.attnum = o.conkey[1]) AS own))";

fn hanging(kind: &str, class: &str, name: &str, table: &str, condition: &str) -> String {
    let (mut member, users) = (not_member(class, "o"), users_relation());
    if class == "pg_trigger" {
        member.push_str(&not_of_a_fence(name));
    }
    format!(
        "SELECT '{kind}', n.nspname::text, o.{name}::text, n.nspname::text, c.relname::text \
         FROM pg_catalog.{class} AS o JOIN pg_catalog.pg_class AS c ON c.oid = o.{table} \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE {users} AND {condition} AND {member}"
    )
}

/// What columns of a relation have that is not carried, in few rows: most have nothing.
const ODD: &str = "SELECT a.attrelid, pg_catalog.bool_or(a.attacl IS NOT NULL) AS granted, \
     pg_catalog.bool_or(a.attnum > 0 AND NOT a.attisdropped AND (a.attstattarget > 0 OR a.attoptions IS NOT NULL)) \
     AS tuned FROM pg_catalog.pg_attribute AS a \
     WHERE a.attacl IS NOT NULL OR a.attoptions IS NOT NULL OR a.attstattarget > 0 GROUP BY a.attrelid";

/// Relations, and properties of relations and columns, that are not carried: kind (an expression),
/// name and condition on `c`. All are looked for in one reading of the relations.
const RELATIONS: &[(&str, &str, &str)] = &[
    ("'replica identity'", "c.relname", "c.relkind IN ('r', 'p') AND c.relreplident <> 'd'"),
    (
        "'grant'",
        "c.relname",
        "c.relkind IN ('r', 'p', 'S') AND (c.relacl IS NOT NULL AND c.relacl <> pg_catalog.acldefault(CASE \
         c.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r'::\"char\" END, c.relowner) OR c.oid IN (SELECT odd.attrelid \
         FROM odd WHERE odd.granted))",
    ),
    ("'typed table'", "c.relname", "c.reloftype <> 0"),
    ("'forced row security'", "c.relname", "c.relforcerowsecurity"),
    (
        "'comment on the index of a key'",
        "c.relname",
        "c.relkind IN ('i', 'I') AND EXISTS (SELECT 1 FROM pg_catalog.pg_description AS d WHERE d.objoid = c.oid \
         AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0) AND EXISTS (SELECT 1 FROM \
         pg_catalog.pg_constraint AS k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))",
    ),
    (
        "'tablespace'",
        "(SELECT s.spcname FROM pg_catalog.pg_tablespace AS s WHERE s.oid = c.reltablespace)",
        "c.relkind IN ('r', 'p', 'i', 'I') AND c.reltablespace <> 0",
    ),
    (
        "'table access method'",
        "(SELECT am.amname FROM pg_catalog.pg_am AS am WHERE am.oid = c.relam)",
        "c.relkind = 'r' AND c.relam <> (SELECT am.oid FROM pg_catalog.pg_am AS am WHERE am.amname = 'heap')",
    ),
    (
        "'column statistics or options'",
        "c.relname",
        "c.relkind IN ('r', 'p') AND c.oid IN (SELECT odd.attrelid FROM odd WHERE odd.tuned)",
    ),
    (
        "CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END",
        "c.relname",
        "c.relkind IN ('v', 'm', 'f')",
    ),
    (
        "'unlogged sequence'",
        "c.relname",
        "c.relkind = 'S' AND c.relpersistence = 'u' AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend AS d \
         WHERE d.objid = c.oid AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
         AND d.deptype = 'i' AND d.refobjsubid > 0)",
    ),
];

/// Kinds of [`RELATIONS`] that hang on no table: they are relations themselves.
const STANDING: &str = "c.relkind IN ('v', 'm', 'f', 'S') AND found.kind <> 'grant'";

fn relations() -> String {
    let (member, users) = (not_member("pg_class", "c"), users_relation());
    let value =
        |(kind, name, condition): &(&str, &str, &str)| format!("({kind}, ({name})::text, {condition})");
    let values: Vec<String> = RELATIONS.iter().map(value).collect();
    let any: Vec<String> = RELATIONS.iter().map(|(_, _, condition)| format!("({condition})")).collect();
    format!(
        "SELECT found.kind, n.nspname::text, found.name, \
         CASE WHEN {STANDING} THEN NULL ELSE n.nspname::text END, \
         CASE WHEN {STANDING} THEN NULL ELSE c.relname::text END \
         FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         CROSS JOIN LATERAL (VALUES {}) AS found(kind, name, holds) \
         WHERE {users} AND ({}) AND found.holds AND {member}",
        values.join(", "),
        any.join(" OR ")
    )
}

/// What fits no pattern.
fn single() -> Vec<String> {
    let subscriptions = "SELECT 'subscription', '', o.subname::text, NULL, NULL FROM pg_catalog.pg_subscription \
         AS o JOIN pg_catalog.pg_database AS d ON d.oid = o.subdbid \
         WHERE d.datname = pg_catalog.current_database()";
    // The cast of a range to its multirange comes with the type.
    let casts = format!(
        "SELECT 'cast', '', pg_catalog.format_type(o.castsource, NULL) || ' as ' || \
         pg_catalog.format_type(o.casttarget, NULL), NULL, NULL FROM pg_catalog.pg_cast AS o \
         WHERE o.oid >= {FIRST_USER_OID} AND {} AND {}",
        not_member("pg_cast", "o"),
        not_part("pg_cast", "o")
    );
    let defaults = "SELECT 'default privileges', coalesce(n.nspname, '')::text, r.rolname::text, NULL, NULL \
         FROM pg_catalog.pg_default_acl AS o JOIN pg_catalog.pg_roles AS r ON r.oid = o.defaclrole \
         LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = o.defaclnamespace";
    let objects = "SELECT 'large objects', '', pg_catalog.count(*)::text, NULL, NULL \
         FROM pg_catalog.pg_largeobject_metadata HAVING pg_catalog.count(*) > 0";
    let shells = format!(
        "SELECT 'shell type', n.nspname::text, o.typname::text, NULL, NULL FROM pg_catalog.pg_type AS o \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = o.typnamespace WHERE NOT o.typisdefined AND {USERS} AND {}",
        not_member("pg_type", "o")
    );
    let transforms = format!(
        "SELECT 'transform', '', pg_catalog.format_type(o.trftype, NULL) || ' in ' || l.lanname, NULL, NULL \
         FROM pg_catalog.pg_transform AS o JOIN pg_catalog.pg_language AS l ON l.oid = o.trflang WHERE {}",
        not_member("pg_transform", "o")
    );
    vec![casts, subscriptions.to_string(), defaults.to_string(), objects.to_string(), shells, transforms]
}

/// What is seen and not carried, by one query.
pub async fn others(reader: &mut Reader<'_>) -> Result<Vec<OtherObject>, EngineError> {
    let mut parts: Vec<String> =
        PLAIN.iter().map(|(kind, class, name, schema)| plain(kind, class, name, *schema)).collect();
    parts.extend(
        HANGING.iter().map(|(kind, class, name, table, when)| hanging(kind, class, name, table, when)),
    );
    parts.push(relations());
    parts.extend(single());
    let mut others = Vec::new();
    let take = |row: Fields| -> Result<(), EngineError> {
        let table = match (row.maybe("table_schema")?, row.maybe("table_name")?) {
            (Some(schema), Some(name)) => Some(Name::new(schema, name)),
            _ => None,
        };
        let name = Name::new(row.text("schema")?, row.text("name")?);
        others.push(OtherObject { kind: row.text("kind")?, name, table });
        Ok(())
    };
    let sql = format!("WITH odd AS MATERIALIZED ({ODD}) {}", parts.join(" UNION ALL "));
    reader.each(&sql, take).await?;
    Ok(others)
}
