//! What keeps the binary log from being followed, or makes it a danger: settings, privileges, tables
//! whose rows the log does not tell whole, keys that change rows without a word in it. Found by
//! reading only; each with a code and a way out.

use std::collections::HashMap;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::capture::{log_files, place_of_head};
use super::cascade::{self, Keys};
use super::connect::{Flavor, Link, Server, Version};
use super::error::{escape, from_driver};
use super::followed::{self, ForeignKey, Found, Present, acts};
use super::moment::{self, log_status};
use super::place::{At, digest};
use super::quote::{identifier, name};
use super::{grants, replication};
use crate::catalog::name::show;
use crate::change::{Followed, Identity};
use crate::engine::{CaptureSpec, Cause, EngineError, Obstacle};

const DOING: &str = "look at what following needs at";
/// What an obstacle of the whole server is at.
const SERVER: &str = "server";
/// A copy and the pauses of a follow should fit into this many seconds of log.
const KEPT_SECONDS: u64 = 3 * 86_400;

/// All obstacles.
pub(super) async fn all(
    link: &Link,
    conn: &mut Conn,
    spec: &CaptureSpec<'_>,
) -> Result<Vec<Obstacle>, EngineError> {
    let mut found = Vec::new();
    let settings = Settings::read(conn).await?;
    found.extend(settings.wrong());
    server(link, conn, &settings, &mut found).await?;
    let present = followed::read(conn, link, spec.tables).await?;
    for (place, followed) in spec.tables.iter().enumerate() {
        match &present.tables[place] {
            Some(there) => {
                table(followed, there, &mut found);
                computed(&link.server, followed, there, &mut found);
            }
            None => {
                found.push(stop("C502", &followed.projection.source, "the table is not there", "plan again"))
            }
        }
    }
    cascades(spec, &present, &mut found);
    // The last word is the server's own: a privilege, or a proxy in between, shows only there.
    if !found.iter().any(|obstacle| obstacle.blocks && obstacle.at == SERVER)
        && let Err(error) = try_out(link, conn, spec.plan).await
    {
        found.push(unreadable(link, conn, error).await?);
    }
    Ok(found)
}

/// Does what following does first.
async fn try_out(link: &Link, conn: &mut Conn, plan: &str) -> Result<(), EngineError> {
    let Some((file, offset)) = place_of_head(conn, link.server.flavor).await? else { return Ok(()) };
    let at = At { server: digest(&link.server.identity), file, offset, ..At::default() };
    replication::try_out(link, plan, &at).await?;
    match link.server.flavor {
        Flavor::MariaDb => Ok(()),
        Flavor::MySql => moment::may_lock(conn, &link.address.database).await,
    }
}

fn stop(
    code: &'static str,
    at: impl ToString,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Obstacle {
    Obstacle { code, at: at.to_string(), message: message.into(), hint: hint.into(), blocks: true }
}

fn warn(
    code: &'static str,
    at: impl ToString,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Obstacle {
    Obstacle { blocks: false, ..stop(code, at, message, hint) }
}

/// Settings of the server that decide what is in its log.
struct Settings(HashMap<String, String>);

impl Settings {
    async fn read(conn: &mut Conn) -> Result<Self, EngineError> {
        let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'binlog_row_image', \
                   'binlog_expire_logs_seconds', 'binlog_expire_logs_auto_purge', 'expire_logs_days', \
                   'log_slave_updates', 'log_replica_updates', 'gtid_slave_pos', 'wsrep_on', 'sync_binlog', \
                   'innodb_flush_log_at_trx_commit', 'binlog_row_value_options', 'binlog_transaction_compression')";
        let rows: Vec<(String, String)> = conn.query(sql).await.map_err(|error| from_driver(DOING, error))?;
        Ok(Self(rows.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect()))
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.text(name).eq_ignore_ascii_case(value)
    }

    /// Seconds after which log files go; zero: never.
    fn expires(&self) -> u64 {
        if self.is("binlog_expire_logs_auto_purge", "OFF") {
            return 0;
        }
        let number = |name| self.text(name).parse::<f64>().unwrap_or(0.0);
        match number("binlog_expire_logs_seconds") as u64 {
            0 => (number("expire_logs_days") * 86_400.0) as u64,
            seconds => seconds,
        }
    }

    /// Nothing that comes from another server is logged.
    fn logs_own_only(&self) -> bool {
        self.is("log_slave_updates", "OFF") || self.is("log_replica_updates", "OFF")
    }

    /// What makes following impossible.
    fn wrong(&self) -> Option<Obstacle> {
        let set = |name: &str, value: &str| {
            format!(
                "SET GLOBAL {name} = '{value}', keep it in the server's configuration, and let sessions that are \
                     open reconnect: they keep what they began with"
            )
        };
        if !self.is("log_bin", "ON") {
            let way = "set log_bin and server_id in the server's configuration, then restart it";
            return Some(stop("C502", SERVER, "log_bin is off: the server keeps no binary log", way));
        }
        // A server without that setting knows rows only.
        if self.0.contains_key("binlog_format") && !self.is("binlog_format", "ROW") {
            let message = format!(
                "binlog_format is {}: the log does not tell rows",
                escape(self.text("binlog_format"))
            );
            return Some(stop("C502", SERVER, message, set("binlog_format", "ROW")));
        }
        if !self.is("binlog_row_image", "FULL") {
            let image = escape(self.text("binlog_row_image"));
            let message = format!("binlog_row_image is {image}: the log tells rows in part only");
            return Some(stop("C502", SERVER, message, set("binlog_row_image", "FULL")));
        }
        if !self.text("binlog_row_value_options").is_empty() {
            let message = "binlog_row_value_options is PARTIAL_JSON: the log tells JSON values in part only";
            return Some(stop("C502", SERVER, message, set("binlog_row_value_options", "")));
        }
        None
    }
}

/// The settings still are what following needs.
pub(super) async fn check_settings(conn: &mut Conn) -> Result<(), EngineError> {
    match Settings::read(conn).await?.wrong() {
        None => Ok(()),
        Some(Obstacle { message, hint, .. }) => Err(EngineError::new(Cause::Stale, "follow", message)
            .contract("C502")
            .hint(format!("{hint}; what was logged meanwhile is not known: `towpath apply --recopy`"))),
    }
}

async fn server(
    link: &Link,
    conn: &mut Conn,
    settings: &Settings,
    found: &mut Vec<Obstacle>,
) -> Result<(), EngineError> {
    if settings.is("wsrep_on", "ON") {
        found.push(stop(
            "C502",
            SERVER,
            "this is a node of a Galera cluster, whose nodes have logs of their own order",
            "follow a replica outside of the cluster, with log_slave_updates = ON",
        ));
    }
    if settings.logs_own_only() && is_replica(conn, settings).await? {
        found.push(stop(
            "C502",
            SERVER,
            "this is a replica that does not log what it replicates (log_slave_updates is off)",
            "use the address of its primary, or set log_slave_updates = ON and restart it",
        ));
    }
    retention(link, conn, settings, found).await?;
    if settings.is("binlog_transaction_compression", "ON") {
        found.push(warn(
            "C502",
            SERVER,
            "binlog_transaction_compression is on: each transaction is unpacked as a whole, in the memory of this machine",
            "SET SESSION binlog_transaction_compression = OFF in sessions whose transactions are larger than that",
        ));
    }
    if !settings.is("sync_binlog", "1") || !settings.is("innodb_flush_log_at_trx_commit", "1") {
        found.push(warn(
            "C511",
            SERVER,
            "its log and its tables are not both on the disk at each commit: a source that falls may forget \
             transactions that were followed already",
            "SET GLOBAL sync_binlog = 1, innodb_flush_log_at_trx_commit = 1; compare with verify after a fall",
        ));
    }
    let prepared: Vec<Row> = conn.query("XA RECOVER").await.unwrap_or_default();
    if !prepared.is_empty() {
        found.push(stop(
            "C502",
            SERVER,
            format!(
                "{} distributed transactions (XA) are prepared: their rows are in the log already",
                prepared.len()
            ),
            "XA COMMIT or XA ROLLBACK them; XA RECOVER lists them",
        ));
    }
    filters(conn, found).await
}

async fn is_replica(conn: &mut Conn, settings: &Settings) -> Result<bool, EngineError> {
    if !settings.text("gtid_slave_pos").is_empty() {
        return Ok(true);
    }
    // In doubt it is none: who may read the log may see this, too.
    let rows: Vec<Row> = conn.query("SHOW REPLICA STATUS").await.unwrap_or_default();
    Ok(!rows.is_empty())
}

async fn retention(
    link: &Link,
    conn: &mut Conn,
    settings: &Settings,
    found: &mut Vec<Obstacle>,
) -> Result<(), EngineError> {
    match settings.expires() {
        0 => {}
        seconds => {
            let hours = seconds / 3600;
            let message = format!(
                "the server removes its log after {hours} h, whether it was followed or not{}",
                if seconds < KEPT_SECONDS {
                    ": a copy or a pause that takes longer loses the way on"
                } else {
                    ""
                }
            );
            let way =
                "SET GLOBAL binlog_expire_logs_seconds above the longest copy or pause (7 days: 604800)";
            found.push(warn("C505", SERVER, message, way));
        }
    }
    if log_files(conn).await?.is_none() {
        found.push(warn(
            "P802",
            SERVER,
            "this user may not see the log files: how much log is kept, and that it is gone, shows late",
            format!("GRANT {} ON *.* TO the user of this URL", grants::look(link.server.flavor)),
        ));
    }
    Ok(())
}

/// Databases that are kept out of the log.
async fn filters(conn: &mut Conn, found: &mut Vec<Obstacle>) -> Result<(), EngineError> {
    let row = log_status(conn).await.unwrap_or_default();
    let text = |at| row.as_ref().and_then(|row| row.get_opt::<String, _>(at)?.ok()).unwrap_or_default();
    let (only, never) = (text(2), text(3));
    if !only.is_empty() || !never.is_empty() {
        let option = if only.is_empty() { "binlog_ignore_db" } else { "binlog_do_db" };
        found.push(stop(
            "C502",
            SERVER,
            format!("{option} is set: writes are kept out of the log by the database that a session is in"),
            format!("remove {option} from the server's configuration and restart it"),
        ));
    }
    Ok(())
}

/// One table: does the log tell its rows whole, and can they be read?
fn table(followed: &Followed, present: &Present, found: &mut Vec<Obstacle>) {
    let at = &followed.projection.source;
    if !present.engine.eq_ignore_ascii_case("innodb") {
        found.push(stop(
            "C507",
            at,
            format!(
                "its storage engine {} has no transactions: no snapshot goes with a place in the log",
                escape(&present.engine)
            ),
            format!("ALTER TABLE {} ENGINE = InnoDB, or cdc: false", name(at)),
        ));
    }
    if present.versioned {
        let way = "ALTER TABLE ... DROP SYSTEM VERSIONING, or cdc: false";
        found.push(stop(
            "C502",
            at,
            "it keeps the history of its rows, which the log tells as rows of its own",
            way,
        ));
    }
    if followed.projection.filter.is_some() {
        found.push(stop(
            "C502",
            at,
            "where: only this server can decide its condition, and its log tells all rows",
            "follow the whole table, or cdc: false for it",
        ));
    }
    for map in &followed.projection.columns {
        let column = present.columns.iter().find(|column| column.facts.name == map.source);
        match column.map(|column| followed::meaning(map, column)) {
            Some(Ok(_)) => {}
            Some(Err((message, hint))) => found.push(stop("C502", at, message, hint)),
            None => {
                let message = format!("it has no column {} any more", show(&map.source));
                found.push(stop("C502", at, message, "plan again"));
            }
        }
    }
    let float = followed.projection.columns.iter().find(|map| {
        matches!(map.source_type, crate::catalog::Type::Float { .. }) && followed.identity == Identity::Whole
    });
    if let Some(map) = float {
        found.push(stop(
            "C503",
            at,
            format!("no key: rows would be told apart by {} too, an approximate number", show(&map.source)),
            "give it a primary key, or cdc: false",
        ));
    }
}

/// From here on a MariaDB may leave generated columns out of updates and deletes: 10.11 tells them, 11.8
/// does not.
const COMPUTED_UNTOLD: Version = Version(11, 0, 0);

/// A generated column whose values are carried: the target does not compute it itself.
fn computed(server: &Server, followed: &Followed, present: &Present, found: &mut Vec<Obstacle>) {
    if server.flavor == Flavor::MySql || server.version < COMPUTED_UNTOLD {
        return;
    }
    let at = &followed.projection.source;
    let carried = |name: &str| followed.projection.columns.iter().any(|map| map.source == name);
    let columns = present.columns.iter().filter(|column| column.generated);
    for column in columns.filter(|column| carried(&column.facts.name)) {
        let (why, way) = followed::not_logged(&column.facts.name);
        found.push(stop("C502", at, why, format!("{way}, or write cdc: false for this table")));
    }
}

/// Foreign keys that change rows of a followed table: InnoDB does so without a word in the log, unless
/// the server does it itself.
fn cascades(spec: &CaptureSpec<'_>, present: &Found, found: &mut Vec<Obstacle>) {
    if present.keys_logged {
        return;
    }
    for key in &present.keys {
        let ForeignKey { child, name: label, parent, on_delete, .. } = key;
        let alter = format!(
            "ALTER TABLE {} DROP FOREIGN KEY {}, and add it without the action (the application then changes children \
             itself); or cdc: false for {child}",
            name(child),
            identifier(label)
        );
        let label = format!("foreign key {} to {parent}", show(label));
        let looked = cascade::look(spec.tables, present, key);
        match looked {
            Ok(None) if spec.cascades => {}
            Ok(Some((why, way))) if spec.cascades => {
                found.push(stop("C504", child, format!("{label}: {why}"), format!("{way}; or {alter}")));
            }
            Ok(_) if !acts(*on_delete) => found.push(warn(
                "C504",
                child,
                format!("{label}: a changed key there changes its rows, and the server logs nothing of that"),
                "the follow stops at such a change; cdc: { cascades: emulate } does the same on the target",
            )),
            Ok(_) => found.push(stop(
                "C504",
                child,
                format!("{label}: deletes of the parent change its rows, and the server logs nothing of that"),
                format!("cdc: {{ cascades: emulate }} does the same on the target; or {alter}"),
            )),
            Err((why, way)) => found.push(stop(
                "C504",
                child,
                format!("{label} changes its rows, the server logs nothing of that, and it cannot be derived: {why}"),
                format!("{way}; or {alter}"),
            )),
        }
    }
    let keys = Keys::new(spec.tables, present);
    for (place, followed) in spec.tables.iter().enumerate().filter(|_| spec.cascades) {
        if keys.effects(place).is_none() {
            let (why, way) = cascade::too_many();
            found.push(stop("C504", &followed.projection.source, why, way));
        }
    }
}

/// Why the log could not be read, as an obstacle. A connection that breaks is none: the next one may
/// come through.
async fn unreadable(link: &Link, conn: &mut Conn, error: EngineError) -> Result<Obstacle, EngineError> {
    if error.cause == Cause::Connection {
        return Err(error);
    }
    if error.cause != Cause::Privilege {
        return Ok(stop(
            "C502",
            SERVER,
            format!("the log cannot be read: {}", error.message),
            error.hint.unwrap_or_default(),
        ));
    }
    let user: Option<String> =
        conn.query_first("SELECT CURRENT_USER()").await.map_err(|error| from_driver(DOING, error))?;
    let user = user.unwrap_or_default();
    let (user, host) = user.rsplit_once('@').unwrap_or((&user, "%"));
    let account = super::source::account(user, host);
    Ok(stop(
        "P802",
        SERVER,
        "this user may not do what following needs: read the log, see where it ends, and take a snapshot there",
        grants::log(&link.server, &account),
    ))
}
