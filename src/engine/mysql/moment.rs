//! One moment for several sessions. A snapshot cannot be handed from one session to another here,
//! so all sessions begin at once, and what the server says of each must prove that they see the
//! same. In this order:
//!
//! 1. The status `Binlog_snapshot_*` (MariaDB, Percona) tells where in the log each snapshot stands,
//!    without any lock: begin again until all stand at one place.
//! 2. InnoDB's monitor tells what each snapshot sees (see `view`): begin again a few times, for that
//!    needs a moment at which no transaction is half way.
//! 3. `FLUSH TABLES WITH READ LOCK` for the time of beginning: no commit falls in between.
//! 4. Where none is to be had, one session alone: one snapshot is of one moment by itself.
//!
//! A snapshot of MySQL that changes are to be followed from is taken under that lock always: nothing
//! else tells where in the log it stands.
//!
//! Never several sessions on a guess: a log position read before and after proves nothing, for a
//! commit is in the log before other sessions see its rows.

use std::time::Duration;

use futures_util::future::try_join_all;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

use super::connect::{Flavor, Link, close};
use super::error::from_driver;
use super::place::{At, digest};
use super::replication;
use super::view::View;
use crate::catalog::Name;
use crate::change::Position;
use crate::engine::{Cause, EngineError};

pub(super) const DOING: &str = "take a snapshot of";

/// The server's code for a statement that it does not know.
const SYNTAX: u16 = 1064;

/// Attempts to begin all sessions between two commits.
const ATTEMPTS: u32 = 100;

/// Attempts to begin all sessions while no transaction is half way.
const QUIET_ATTEMPTS: u32 = 5;

/// Equal answers in a row that are believed.
const HEARD_MIN: u32 = 4;

/// Where all sessions return to after each read: it lets go of the locks on the table's structure.
pub(super) const SAVEPOINT: &str = "towpath";

/// Sessions that see one moment.
pub(super) struct Together {
    pub conns: Vec<Conn>,
    pub position: Position,
}

/// A place in the binary log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// File and byte; none where there is no log or where its place is not known exactly.
    pub log: Option<(String, u64)>,
    /// All transactions up to here, as `gtids` reads it; empty where there are none.
    pub gtid: String,
    pub view: Option<View>,
}

/// Opens up to `readers` sessions that see one moment; fewer where that cannot be had for all.
/// `logged`: changes are followed from there, so that its place in the log has to be known.
pub(super) async fn together(link: &Link, readers: usize, logged: bool) -> Result<Together, EngineError> {
    let mut conns = try_join_all((0..readers.max(1)).map(|_| reader(link))).await?;
    let at = |error: EngineError| error.on(link.shown());
    let by_log = match logged && link.server.flavor == Flavor::MySql {
        true => Some(locked(link, &mut conns).await.map_err(at)?),
        false => by_log(&mut conns).await.map_err(at)?,
    };
    let place = match by_log {
        Some(place) => place,
        None if conns.len() > 1 => without_log(link, &mut conns).await.map_err(at)?,
        None => alone(&mut conns).await.map_err(at)?,
    };
    for conn in &mut conns {
        let savepoint = conn.query_drop(format!("SAVEPOINT {SAVEPOINT}")).await;
        savepoint.map_err(|error| from_driver(DOING, error).on(link.shown()))?;
    }
    Ok(Together { conns, position: position(&link.server.identity, &place) })
}

/// The ways without the log's help; where none is to be had, all sessions but one are closed.
async fn without_log(link: &Link, conns: &mut Vec<Conn>) -> Result<Place, EngineError> {
    // A log that was only written to without a pause still tells a place to who waits for one.
    let logged = alone(&mut conns[..1]).await?.log.is_some();
    end_all(&mut conns[..1]).await?;
    if !logged && let Some(place) = by_view(conns).await? {
        return Ok(place);
    }
    match by_lock(link, conns).await {
        Ok(place) => return Ok(place),
        Err(error) if matches!(error.cause, Cause::Privilege | Cause::Busy) => {}
        Err(error) => return Err(error),
    }
    for spare in conns.drain(1..) {
        close(spare).await;
    }
    alone(conns).await
}

/// One session: where its snapshot stands, nobody has to agree to.
async fn alone(conns: &mut [Conn]) -> Result<Place, EngineError> {
    begin_all(conns).await?;
    let log = snapshot_place(&mut conns[0]).await?;
    let gtid = gtid_at(&mut conns[0], log.as_ref()).await?;
    Ok(Place { gtid, log, view: view(conns).await })
}

async fn view(conns: &mut [Conn]) -> Option<View> {
    let sessions: Vec<u32> = conns.iter().map(Conn::id).collect();
    View::of(conns.first_mut()?, &sessions).await
}

async fn by_view(conns: &mut [Conn]) -> Result<Option<Place>, EngineError> {
    for _ in 0..QUIET_ATTEMPTS {
        begin_all(conns).await?;
        if let Some(view) = view(conns).await {
            return Ok(Some(Place { view: Some(view), ..Place::default() }));
        }
        end_all(conns).await?;
    }
    Ok(None)
}

/// A session that reads. Only without the binary log does a return to the savepoint let go of the
/// locks on structure (seen on MariaDB 10.11); who may not go without keeps them until the end.
async fn reader(link: &Link) -> Result<Conn, EngineError> {
    let mut conn = link.session().await?;
    match conn.query_drop("SET SESSION sql_log_bin = 0").await {
        Ok(()) | Err(Error::Server(_)) => Ok(conn),
        Err(error) => Err(from_driver(DOING, error).on(link.shown())),
    }
}

/// Begins in all sessions at once.
async fn begin_all(conns: &mut [Conn]) -> Result<(), EngineError> {
    let begin = |conn| Queryable::query_drop::<&str>(conn, "START TRANSACTION WITH CONSISTENT SNAPSHOT");
    try_join_all(conns.iter_mut().map(begin)).await.map_err(|error| from_driver(DOING, error))?;
    Ok(())
}

async fn end_all(conns: &mut [Conn]) -> Result<(), EngineError> {
    let end = |conn| Queryable::query_drop::<&str>(conn, "ROLLBACK");
    try_join_all(conns.iter_mut().map(end)).await.map_err(|error| from_driver(DOING, error))?;
    Ok(())
}

/// The way without a lock; none where the server does not say where a snapshot stands, or where
/// it is written to without any pause.
async fn by_log(conns: &mut [Conn]) -> Result<Option<Place>, EngineError> {
    for attempt in 0..ATTEMPTS {
        begin_all(conns).await?;
        let mut places = Vec::with_capacity(conns.len());
        for conn in conns.iter_mut() {
            places.push(snapshot_place(conn).await?);
        }
        match &places[0] {
            None => {
                end_all(conns).await?;
                return Ok(None);
            }
            first if places.iter().all(|place| place == first) => {
                let log = places.into_iter().next().flatten();
                let gtid = gtid_at(&mut conns[0], log.as_ref()).await?;
                return Ok(Some(Place { gtid, log, view: view(conns).await }));
            }
            _ => {}
        }
        end_all(conns).await?;
        // Writers that commit without pause need us to fall between two of their commits.
        tokio::time::sleep(Duration::from_millis(u64::from(attempt.min(20)))).await;
    }
    Ok(None)
}

/// Where the session's snapshot stands in the log. The server keeps the answer in variables that all
/// sessions share while they ask (MariaDB's `set_status_variables`): who asks at the same time as
/// another may hear of the other's. So ours ask one after the other, and each until it has heard
/// the same several times in a row, since anybody may ask for a server's status.
pub(super) async fn snapshot_place(conn: &mut Conn) -> Result<Option<(String, u64)>, EngineError> {
    let (mut place, mut heard) = (told_place(conn).await?, 1);
    while heard < HEARD_MIN && place.is_some() {
        let again = told_place(conn).await?;
        heard = if again == place { heard + 1 } else { 1 };
        place = again;
    }
    Ok(place)
}

async fn told_place(conn: &mut Conn) -> Result<Option<(String, u64)>, EngineError> {
    let status: Vec<(String, String)> = conn
        .query("SHOW STATUS LIKE 'binlog\\_snapshot\\_%'")
        .await
        .map_err(|error| from_driver(DOING, error))?;
    let value = |wanted: &str| {
        let found = status.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    };
    let (file, at) = (value("binlog_snapshot_file"), value("binlog_snapshot_position"));
    Ok(file.zip(at.and_then(|at| at.parse().ok())))
}

/// The GTID of a place, where the server has such; what it does not tell is left empty.
async fn gtid_at(conn: &mut Conn, log: Option<&(String, u64)>) -> Result<String, EngineError> {
    let Some((file, at)) = log else { return Ok(String::new()) };
    let sql = format!("SELECT BINLOG_GTID_POS({}, {at})", super::quote::literal(file));
    match conn.query_first::<Option<String>, _>(sql).await {
        Ok(found) => Ok(found.flatten().unwrap_or_default()),
        // Percona Server has the status but not the function.
        Err(Error::Server(_)) => Ok(String::new()),
        Err(error) => Err(from_driver(DOING, error)),
    }
}

/// The place of a snapshot under the lock, with all that proves later that it is still the same one.
async fn locked(link: &Link, conns: &mut [Conn]) -> Result<Place, EngineError> {
    let place = by_lock(link, conns).await.map_err(|error| match error.cause {
        Cause::Privilege => error.contract("P802").hint(
            "a snapshot with its place in the log is taken under FLUSH TABLES WITH READ LOCK, for milliseconds: GRANT \
             FLUSH_TABLES (before 8.0.23: RELOAD) ON *.* TO the user of this URL; `towpath grants` prints it",
        ),
        Cause::Busy => error.hint(
            "a statement is running that is longer than others may be let wait: end it (SHOW FULL PROCESSLIST), or try \
             again when it is quiet",
        ),
        _ => error,
    })?;
    let Some((file, offset)) = place.log else { return Ok(place) };
    let asker = conns.first().map_or(0, Conn::id);
    let at = At { server: String::new(), file, offset, ..At::default() };
    let born = replication::born(link, &format!("session {asker}"), &at).await?;
    Ok(Place { log: Some((at.file, at.offset)), gtid: format!("{born}@{}", place.gtid), view: place.view })
}

/// Under the lock of all tables. `Cause::Privilege` where this user may not take it, and
/// `Cause::Busy` where it is not to be had in time, because a statement runs that is longer than we
/// may let others wait.
async fn by_lock(link: &Link, conns: &mut [Conn]) -> Result<Place, EngineError> {
    let mut locker = link.session().await?;
    let fail = |error| from_driver(DOING, error);
    locker.query_drop("SET SESSION TRANSACTION READ WRITE").await.map_err(fail)?;
    if let Err(error) = locker.query_drop("FLUSH TABLES WITH READ LOCK").await {
        close(locker).await;
        return Err(fail(error));
    }
    let begun = match begin_all(conns).await {
        Ok(()) => place_now(link.server.flavor, &mut locker).await,
        Err(error) => Err(error),
    };
    // Its end is the end of the lock, however this went.
    let unlocked = locker.query_drop("UNLOCK TABLES").await.map_err(fail);
    close(locker).await;
    unlocked?;
    Ok(Place { view: view(conns).await, ..begun? })
}

/// Whether this user may take that lock, without taking it: a table that is not there wants the same
/// right.
pub(super) async fn may_lock(conn: &mut Conn, database: &str) -> Result<(), EngineError> {
    let table = super::quote::name(&Name::new(database, "towpath_no_table"));
    conn.query_drop(format!("FLUSH LOCAL TABLES {table}")).await.map_err(|error| from_driver(DOING, error))
}

/// Where the log stands now. Who may not see that still gets the snapshot.
async fn place_now(flavor: Flavor, conn: &mut Conn) -> Result<Place, EngineError> {
    let found = match log_status(conn).await {
        Ok(row) => row.and_then(|row| Some((row.get_opt(0)?.ok()?, row.get_opt(1)?.ok()?))),
        Err(error) if error.cause == Cause::Privilege => None,
        Err(error) => return Err(error),
    };
    let gtid = match flavor {
        Flavor::MariaDb => gtid_at(conn, found.as_ref()).await?,
        Flavor::MySql => {
            let executed: Option<Option<String>> = conn
                .query_first("SELECT @@GLOBAL.gtid_executed")
                .await
                .map_err(|error| from_driver(DOING, error))?;
            executed.flatten().unwrap_or_default().split_whitespace().collect()
        }
    };
    Ok(Place { log: found, gtid, view: None })
}

/// File and byte of the log's end, and which databases are kept out of it; none without a log.
pub(super) async fn log_status(conn: &mut Conn) -> Result<Option<mysql_async::Row>, EngineError> {
    // MySQL 8.4 has only the newer word, and all others have only the older one.
    match conn.query_first("SHOW BINARY LOG STATUS").await {
        Err(Error::Server(error)) if error.code == SYNTAX => {}
        other => return other.map_err(|error| from_driver(DOING, error)),
    }
    conn.query_first("SHOW MASTER STATUS").await.map_err(|error| from_driver(DOING, error))
}

/// `my1/SERVER/FILE:BYTE/VIEW/GTID`, as `place` reads it; without a place in a log it is none that
/// can be followed from.
fn position(identity: &str, place: &Place) -> Position {
    let log = place.log.as_ref().map(|(file, at)| format!("{file}:{at}")).unwrap_or_default();
    let view = place.view.map(|view| view.to_string()).unwrap_or_default();
    Position(format!("my1/{}/{log}/{view}/{}", digest(identity), place.gtid))
}

/// True where snapshots of these positions are sure to show the same rows of InnoDB's tables.
pub(super) fn shows_the_same(one: &Position, other: &Position) -> bool {
    let parts = |position: &Position| {
        let parts: Vec<String> = position.0.split('/').map(str::to_string).collect();
        (parts.len() == 5 && parts[0] == "my1").then(|| Some((parts[1].clone(), View::parse(&parts[3])?)))?
    };
    match (parts(one), parts(other)) {
        (Some((server, view)), Some((same, other))) => server == same && view.shows_the_same(&other),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_names_server_place_and_gtid() {
        let view = Some(View { below: 7, started: 99 });
        let place = Place { log: Some(("binlog.000003".into(), 1234)), gtid: "0-1-15".into(), view };
        let Position(text) = position("uuid host", &place);
        assert!(text.starts_with("my1/") && text.ends_with("/binlog.000003:1234/7@99/0-1-15"), "{text}");
        assert_ne!(position("other", &place), position("uuid host", &place));
        assert!(position("uuid", &Place::default()).0.ends_with("///"));
    }

    #[test]
    fn only_a_view_of_the_same_server_proves_that_nothing_changed() {
        let at = |server: &str, below: Option<u64>, byte: u64| {
            let view = below.map(|below| View { below, started: 99 });
            position(server, &Place { log: Some(("b".into(), byte)), gtid: String::new(), view })
        };
        assert!(shows_the_same(&at("a", Some(7), 1), &at("a", Some(7), 2)));
        assert!(!shows_the_same(&at("a", Some(7), 1), &at("a", Some(8), 1)));
        assert!(!shows_the_same(&at("a", Some(7), 1), &at("b", Some(7), 1)));
        assert!(!shows_the_same(&at("a", None, 1), &at("a", None, 1)));
        assert!(!shows_the_same(&Position("pg1/x".into()), &at("a", Some(7), 1)));
    }
}
