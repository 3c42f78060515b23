//! The fence of a cutover that is there for some roles only. Its transaction locks the tables
//! against everybody until the cutover is decided, and takes the roles' rights to write with it:
//! ROLLBACK, or the end of the session, gives all of it back. COMMIT lets the others in again, and
//! whoever of the roles waited for a table is refused, for rights are looked at behind the lock.
//!
//! What was taken is remembered by a function that comes with the same COMMIT. Its body grants
//! exactly that; its comment names the plan and the tables.

use super::connect::{Link, Role};
use super::fence::{self, PgFence};
use super::quote::{array, identifier, literal, name};
use super::wire::{Fault, Wire};
use crate::catalog::Name;
use crate::catalog::name::show;
use crate::engine::{Cause, EngineError, Obstacle};

const DOING: &str = "take rights to write from roles of";

/// A role that writes here is stopped by no fence of this kind.
const CODE: &str = "S604";

/// The tables, those above that rows come to them through, and those below. Parameters: arrays of
/// schemas, of names, of roles.
const REACH: &str = "WITH RECURSIVE wanted AS (SELECT c.oid \
     FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS w(s, t) \
     JOIN pg_catalog.pg_namespace n ON n.nspname = w.s \
     JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.t), \
     up AS (SELECT oid FROM wanted UNION SELECT i.inhparent FROM up \
     JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.oid), \
     down AS (SELECT oid FROM wanted UNION SELECT i.inhrelid FROM down \
     JOIN pg_catalog.pg_inherits i ON i.inhparent = down.oid), \
     reach AS (SELECT c.oid, c.relowner, c.relacl, n.nspname, c.relname \
     FROM (SELECT oid FROM up UNION SELECT oid FROM down) AS r \
     JOIN pg_catalog.pg_class c ON c.oid = r.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace), \
     named AS (SELECT r.oid, r.rolname, r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = ANY ($3::text[])), \
     held AS (SELECT t.oid, t.nspname, t.relname, t.relowner, x.* FROM reach t, LATERAL (\
     SELECT NULL::text AS attname, a.* FROM pg_catalog.aclexplode(t.relacl) AS a UNION ALL \
     SELECT c.attname::text, a.* FROM pg_catalog.pg_attribute c, pg_catalog.aclexplode(c.attacl) AS a \
     WHERE c.attrelid = t.oid AND NOT c.attisdropped) AS x \
     WHERE x.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'))";

/// What lets a role write that this fence does not stop: what it is, the role, by whom or what, a
/// table, and the number of tables.
const OBSTACLES: &str = ", via AS (SELECT r.oid AS role, r.rolname, q.oid, q.rolname AS other, q.rolsuper \
     FROM named r JOIN pg_catalog.pg_roles q ON NOT r.rolsuper AND pg_catalog.pg_has_role(r.oid, q.oid, 'MEMBER')), \
     views AS (SELECT oid AS over FROM reach UNION SELECT v.oid FROM views \
     JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = views.over \
     AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
     JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid JOIN pg_catalog.pg_class v ON v.oid = w.ev_class AND v.relkind = 'v'), \
     found(what, role, other, schema, object) AS (\
     SELECT 'super', r.rolname, r.rolname, NULL, NULL FROM named r WHERE r.rolsuper \
     UNION ALL SELECT 'self', r.rolname, r.rolname, NULL, NULL FROM named r WHERE r.rolname = CURRENT_USER \
     UNION ALL SELECT 'super', v.rolname, v.other, NULL, NULL FROM via v WHERE v.rolsuper \
     UNION ALL SELECT 'all', v.rolname, v.other, NULL, NULL FROM via v WHERE v.other = 'pg_write_all_data' \
     UNION ALL SELECT 'owner', v.rolname, v.other, t.nspname, t.relname FROM via v JOIN reach t ON t.relowner = v.oid \
     UNION ALL SELECT 'member', v.rolname, v.other, h.nspname, h.relname FROM via v JOIN held h ON h.grantee = v.oid \
     WHERE h.relowner <> v.oid AND v.oid NOT IN (SELECT oid FROM named) \
     UNION ALL SELECT 'public', r.rolname, 'PUBLIC', h.nspname, h.relname FROM named r, held h WHERE h.grantee = 0 \
     UNION ALL SELECT 'grantor', r.rolname, pg_catalog.pg_get_userbyid(h.grantor), h.nspname, h.relname \
     FROM named r JOIN held h ON h.grantee = r.oid WHERE h.grantor <> h.relowner \
     UNION ALL SELECT 'granted', r.rolname, CASE h.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(h.grantee) END, \
     h.nspname, h.relname FROM named r JOIN held h ON h.grantor = r.oid AND h.relowner <> r.oid \
     UNION ALL SELECT 'view', r.rolname, pg_catalog.format('%I.%I', n.nspname, c.relname), n.nspname, c.relname \
     FROM named r, views v JOIN pg_catalog.pg_class c ON c.oid = v.over AND c.relkind = 'v' \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE NOT r.rolsuper AND NOT COALESCE(c.reloptions && '{security_invoker=true,security_invoker=on}'::text[], false) \
     AND (pg_catalog.has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE') \
     OR pg_catalog.has_any_column_privilege(r.oid, c.oid, 'INSERT, UPDATE')) \
     UNION ALL SELECT 'function', r.rolname, pg_catalog.format('%I.%I', n.nspname, p.proname), n.nspname, p.proname \
     FROM named r, pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
     WHERE p.prosecdef AND NOT r.rolsuper AND p.proowner NOT IN (SELECT oid FROM named) \
     AND pg_catalog.has_function_privilege(r.oid, p.oid, 'EXECUTE') AND EXISTS (SELECT FROM reach t \
     WHERE pg_catalog.has_table_privilege(p.proowner, t.oid, 'INSERT, UPDATE, DELETE, TRUNCATE'))) \
     SELECT what, role, other, min(CASE WHEN object IS NOT NULL THEN pg_catalog.format('%I.%I', schema, object) END), \
     count(DISTINCT (schema, object)) \
     FROM found GROUP BY 1, 2, 3 UNION ALL \
     SELECT 'missing', w.r, w.r, NULL, 0 FROM pg_catalog.unnest($3::text[]) AS w(r) \
     WHERE w.r NOT IN (SELECT rolname FROM named) ORDER BY 2, 1, 3";

/// Every table that is reached.
const TABLES: &str = " SELECT nspname, relname, (SELECT count(*) FROM wanted) FROM reach ORDER BY 1, 2";

/// What the roles hold: table, role, right, column, whether it may be passed on.
const HELD: &str = " SELECT h.nspname, h.relname, r.rolname, h.privilege_type, h.attname, h.is_grantable \
     FROM held h JOIN named r ON r.oid = h.grantee ORDER BY 1, 2, 3, 6, 5 NULLS FIRST, 4";

/// A role that may write after all, and where.
const STILL: &str = " SELECT r.rolname, pg_catalog.format('%I.%I', t.nspname, t.relname) FROM named r, reach t \
     WHERE pg_catalog.has_table_privilege(r.oid, t.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') \
     OR pg_catalog.has_any_column_privilege(r.oid, t.oid, 'INSERT, UPDATE') LIMIT 1";

/// Which roles are kept out of what.
struct Aim {
    schemas: String,
    tables: String,
    roles: String,
}

impl Aim {
    fn new(tables: &[Name], roles: &[String]) -> Self {
        let part = |part: fn(&Name) -> &String| array(&tables.iter().map(part).collect::<Vec<_>>());
        Self { schemas: part(|table| &table.schema), tables: part(|table| &table.name), roles: array(roles) }
    }

    async fn ask(&self, wire: &mut Wire, sql: &str) -> Result<Vec<Vec<Option<String>>>, Fault> {
        let values = [&self.schemas, &self.tables, &self.roles].map(|value| Some(value.as_str()));
        wire.bind(&format!("{REACH}{sql}"), &values)?;
        Ok(wire.sync().await?.into_iter().next().unwrap_or_default().rows)
    }

    async fn obstacles(&self, wire: &mut Wire) -> Result<Vec<Obstacle>, Fault> {
        let rows = self.ask(wire, OBSTACLES).await?;
        Ok(rows.iter().filter_map(|row| obstacle(row)).collect())
    }
}

/// One of them, in words.
fn obstacle(row: &[Option<String>]) -> Option<Obstacle> {
    let [Some(what), Some(role), Some(other), object, Some(number)] = row else { return None };
    let shown = show(role);
    // Of what is no role the name comes as it is to be shown.
    let via = if matches!(what.as_str(), "view" | "function") { other.clone() } else { show(other) };
    let more = match number.parse::<u64>() {
        Ok(number) if number > 1 => format!(" and {} more", number - 1),
        _ => String::new(),
    };
    let object = format!("{}{more}", object.as_deref().unwrap_or_default());
    let mut by = String::new();
    if role != other {
        by = format!(" as a member of {via}");
    }
    const TABLES: &str = "cutover: { fence: tables }";
    let (message, hint) = match what.as_str() {
        "missing" => ("there is no such role".to_string(), "name the roles as the server does".to_string()),
        "super" => (format!("is a superuser{by}, whom no right stops"), TABLES.to_string()),
        "self" => ("is the role of the URL, which goes on writing".to_string(), "leave it out".to_string()),
        "all" => (format!("may write everywhere{by}"), format!("REVOKE {via} FROM {shown}, or {TABLES}")),
        "owner" => (format!("owns {object}{by}: an owner's rights cannot be taken"), TABLES.to_string()),
        "member" => (
            format!("may write to {object}{by}"),
            format!("name {via} beside it in fence.roles, or {TABLES}"),
        ),
        "public" => (
            format!("may write to {object}, as everybody may"),
            format!("REVOKE INSERT, UPDATE, DELETE, TRUNCATE ... FROM PUBLIC, or {TABLES}"),
        ),
        "grantor" => (
            format!("has a right to write to {object} from {via}, not from the owner"),
            format!("let the owner grant it instead, or {TABLES}"),
        ),
        "granted" => (
            format!("has passed a right to write to {object} on to {via}, which would go with its own"),
            format!("let the owner grant it instead, or {TABLES}"),
        ),
        "view" => (
            format!("may write through the view {via}, with the rights of its owner"),
            format!("REVOKE INSERT, UPDATE, DELETE ON {via} FROM {shown}, or {TABLES}"),
        ),
        "function" => (
            format!("may call {via}, which runs with the rights of an owner who may write"),
            format!("see that it does not write to these tables, or {TABLES}"),
        ),
        _ => return None,
    };
    let blocks = what != "function";
    Some(Obstacle { code: CODE, at: format!("role {shown}"), message, hint, blocks })
}

/// All that lets these roles write in spite of the fence. Reads only.
pub async fn check(link: &Link, tables: &[Name], roles: &[String]) -> Result<Vec<Obstacle>, EngineError> {
    let mut wire = link.wire(Role::Reader).await?;
    let found = Aim::new(tables, roles).obstacles(&mut wire).await;
    wire.terminate().await;
    found.map_err(|fault| fault.doing("look at rights to write to").on(link.shown()))
}

/// Locks the tables, and takes the rights in the same transaction.
pub async fn raise(
    link: &Link,
    plan: &str,
    tables: &[Name],
    roles: &[String],
) -> Result<PgFence, EngineError> {
    let mut wire = link.wire(Role::Writer).await?;
    let fail = |fault: Fault| fault.doing(DOING).on(link.shown());
    wire.query("SET synchronous_commit = on").await.map_err(fail)?;
    let aim = Aim::new(tables, roles);
    let reach = reached(&aim, &mut wire, tables.len()).await.map_err(fail)?;
    let begun = match reach.is_empty() {
        true => wire.query("BEGIN").await.map(drop),
        false => fence::lock_all(&mut wire, &fence::lock_sql(&reach), link.lock_wait()).await,
    };
    if let Err(fault) = begun {
        return Err(fence::blocked(link, fault).await);
    }
    let refused = |cause, what: String, hint: String| {
        Err(EngineError::new(cause, DOING, what).on(link.shown()).hint(hint).contract(CODE))
    };
    // What was true before the locks may be no more.
    let now = reached(&aim, &mut wire, tables.len()).await.map_err(fail)?;
    if now != reach || (now.is_empty() && !tables.is_empty()) {
        return refused(Cause::Busy, "its tables changed meanwhile".into(), "cut over again".into());
    }
    let obstacles = aim.obstacles(&mut wire).await.map_err(fail)?;
    if let Some(first) = obstacles.into_iter().find(|obstacle| obstacle.blocks) {
        return refused(Cause::Privilege, format!("{}: {}", first.at, first.message), first.hint);
    }
    // An earlier fence remembers what is not there to be seen any more.
    let earlier = records(&mut wire, link, plan).await?;
    let taken = match take(&mut wire, &aim, plan, tables, &earlier).await {
        Ok(still) => still,
        Err(fault) => return Err(fence::blocked(link, fault).await),
    };
    match taken.as_slice() {
        [Some(role), Some(table), ..] => {
            let what = format!("role {} may still write to {table}", show(role));
            refused(Cause::Privilege, what, "cutover: { fence: tables }".into())
        }
        _ => Ok(PgFence::new(wire, link)),
    }
}

/// All tables that are reached, sorted; none where one of those that are wanted is not there.
async fn reached(aim: &Aim, wire: &mut Wire, wanted: usize) -> Result<Vec<Name>, Fault> {
    let rows = aim.ask(wire, TABLES).await?;
    let name = |row: &Vec<Option<String>>| match row.as_slice() {
        [Some(schema), Some(table), Some(there)] if there.parse() == Ok(wanted) => {
            Some(Name::new(schema, table))
        }
        _ => None,
    };
    Ok(rows.iter().filter_map(name).collect())
}

/// Takes the rights and writes down which. Answers with one that is left, if any.
async fn take(
    wire: &mut Wire,
    aim: &Aim,
    plan: &str,
    tables: &[Name],
    earlier: &[Record],
) -> Result<Vec<Option<String>>, Fault> {
    for record in earlier {
        wire.query(&record.give_back()).await?;
    }
    let held = aim.ask(wire, HELD).await?;
    let Some(first) = tables.first() else { return Ok(Vec::new()) };
    let (revokes, grants) = statements(&held);
    let function = name(&Name::new(&first.schema, function_name(plan)));
    let body = grants.iter().map(|grant| format!("{grant}; ")).collect::<String>();
    let listed: Vec<[&str; 2]> = tables.iter().map(|table| [&*table.schema, &*table.name]).collect();
    let comment = format!("{}{}", comment(plan), serde_json::json!(listed));
    let remember = format!(
        "CREATE FUNCTION {function}() RETURNS void LANGUAGE plpgsql SET search_path = '' AS {}; \
         REVOKE EXECUTE ON FUNCTION {function}() FROM PUBLIC; COMMENT ON FUNCTION {function}() IS {}",
        literal(&format!("BEGIN {body}NULL; END")),
        literal(&comment)
    );
    wire.query(&revokes.into_iter().chain([remember]).collect::<Vec<_>>().join("; ")).await?;
    Ok(aim.ask(wire, STILL).await?.into_iter().next().unwrap_or_default())
}

/// What takes the rights in [`HELD`], and what gives back exactly those.
fn statements(held: &[Vec<Option<String>>]) -> (Vec<String>, Vec<String>) {
    let (mut revokes, mut grants) = (Vec::new(), Vec::new());
    for group in held.chunk_by(|one, other| one[..3] == other[..3] && one[5] == other[5]) {
        let [Some(schema), Some(table), Some(role), _, _, passes] = group[0].as_slice() else { continue };
        let (table, role) = (name(&Name::new(schema, table)), identifier(role));
        let rights = group.iter().filter_map(|row| match (row[3].as_deref()?, row[4].as_deref()) {
            (right, None) => Some(right.to_string()),
            (right, Some(column)) => Some(format!("{right} ({})", identifier(column))),
        });
        let rights = rights.collect::<Vec<_>>().join(", ");
        let option = if passes.as_deref() == Some("t") { " WITH GRANT OPTION" } else { "" };
        grants.push(format!("GRANT {rights} ON TABLE {table} TO {role}{option}"));
        revokes.push(format!("REVOKE {rights} ON TABLE {table} FROM {role}"));
    }
    (revokes, grants)
}

fn function_name(plan: &str) -> String {
    format!("{}_roles", fence::object_name(plan))
}

/// How the comment on the function begins; behind it come the tables.
fn comment(plan: &str) -> String {
    format!("{}, by roles, of ", fence::comment(plan))
}

/// What a sealed fence remembers.
pub struct Record {
    function: Name,
    pub tables: Vec<Name>,
}

impl Record {
    /// The statements that give back what was taken, and forget it.
    pub fn give_back(&self) -> String {
        let function = name(&self.function);
        format!("SELECT {function}(); DROP FUNCTION {function}()")
    }
}

/// The sealed fences of a plan. What one remembers is run, so it must be ours: a function of that
/// name can be made by whoever may make functions.
pub async fn records(wire: &mut Wire, link: &Link, plan: &str) -> Result<Vec<Record>, EngineError> {
    const DOING: &str = "look for a fence in";
    let comment = comment(plan);
    let sql = format!(
        "SELECT n.nspname, p.proname, pg_catalog.obj_description(p.oid, 'pg_proc'), o.rolname, \
         o.rolsuper OR o.rolname = CURRENT_USER FROM pg_catalog.pg_proc p \
         JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN pg_catalog.pg_roles o ON o.oid = p.proowner \
         WHERE p.proname = {} AND p.pronargs = 0 \
         AND pg_catalog.starts_with(pg_catalog.obj_description(p.oid, 'pg_proc'), {}) ORDER BY 1",
        literal(&function_name(plan)),
        literal(&comment),
    );
    let answers = wire.query(&sql).await.map_err(|fault| fault.doing(DOING).on(link.shown()))?;
    let mut records = Vec::new();
    for row in answers.into_iter().next().unwrap_or_default().rows {
        let [Some(schema), Some(function), Some(text), Some(owner), ours] = row.as_slice() else { continue };
        let function = Name::new(schema, function);
        if ours.as_deref() != Some("t") {
            let what = format!("what it took is remembered by a function of the role {}", show(owner));
            let error = EngineError::new(Cause::Privilege, DOING, what).on(&function);
            return Err(error.hint("use that role in the URL; or DROP FUNCTION, if nobody knows of it"));
        }
        let listed: Option<Vec<[String; 2]>> =
            text.strip_prefix(&comment).and_then(|json| serde_json::from_str(json).ok());
        let listed = listed.ok_or_else(|| {
            let what = "its comment does not tell the tables any more";
            EngineError::new(Cause::Other, DOING, what).on(&function)
        })?;
        let tables = listed.into_iter().map(|[schema, table]| Name::new(schema, table)).collect();
        records.push(Record { function, tables });
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [&str; 6]) -> Vec<Option<String>> {
        cells.iter().map(|cell| (!cell.is_empty()).then(|| cell.to_string())).collect()
    }

    #[test]
    fn i_01_what_is_taken_is_given_back_by_its_own_name() {
        let held = [
            row(["s", "b\"x", "App", "UPDATE", "", "f"]),
            row(["s", "b\"x", "App", "INSERT", "a b", "f"]),
            row(["s", "b\"x", "App", "DELETE", "", "t"]),
        ];
        let (revokes, grants) = statements(&held);
        assert_eq!(
            grants,
            [
                r#"GRANT UPDATE, INSERT ("a b") ON TABLE s."b""x" TO "App""#,
                r#"GRANT DELETE ON TABLE s."b""x" TO "App" WITH GRANT OPTION"#,
            ]
        );
        let revokes: Vec<String> = revokes
            .iter()
            .map(|revoke| revoke.replace("REVOKE", "GRANT").replace(" FROM ", " TO "))
            .collect();
        assert!(grants.iter().zip(&revokes).all(|(grant, revoke)| grant.starts_with(revoke)), "{revokes:?}");
    }
}
