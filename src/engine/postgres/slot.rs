//! The replication slot of a capture: made with an exported snapshot, looked at, dropped. Making
//! one waits for every transaction that is running; whoever is waited for too long is named, and
//! nothing half made is left. Slots of other names, plugins or databases are never touched.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::error::{self, escape};
use super::lsn::Lsn;
use super::publication::foreign;
use super::quote::literal;
use super::wire::{Answer, Fault, Wire};
use crate::engine::crash::crash_point;
use crate::engine::{Cause, EngineError};

pub const PLUGIN: &str = "pgoutput";
const DOING: &str = "make the replication slot";
/// How long a slot that somebody reads from is waited for before it is reported.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a cancelled creation may take to end.
const CANCEL: Duration = Duration::from_secs(10);

/// A slot as the server shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// The log is kept from there on for transactions, and told from there on.
    pub confirmed: Option<Lsn>,
    pub restart: Option<Lsn>,
    /// Bytes of log kept for it.
    pub retained: u64,
    /// Bytes of log until the server gives it up; none where `max_slot_wal_keep_size` sets no limit.
    pub room: Option<u64>,
    /// Process that reads from it.
    pub active: Option<String>,
    /// Why it is of no use: `wal_status`, `invalidation_reason`, or a conflict on a standby.
    pub lost: Option<String>,
    /// Another kind, plugin or database than ours.
    pub foreign: bool,
}

pub async fn find(wire: &mut Wire, object: &str) -> Result<Option<Slot>, EngineError> {
    // As JSON: which columns there are depends on the version.
    let sql = format!(
        "SELECT s.slot_type, s.plugin, s.database = pg_catalog.current_database(), s.temporary, s.confirmed_flush_lsn, \
         s.restart_lsn, greatest(pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN \
         pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, s.restart_lsn), 0)::pg_catalog.int8, \
         s.active_pid, s.wal_status, pg_catalog.to_jsonb(s) ->> 'invalidation_reason', \
         pg_catalog.to_jsonb(s) ->> 'conflicting', s.safe_wal_size \
         FROM pg_catalog.pg_replication_slots AS s WHERE s.slot_name = {}",
        literal(object)
    );
    let answers =
        wire.query(&sql).await.map_err(|fault| fault.doing("look at the replication slot").on(object))?;
    Ok(answers.first().filter(|answer| !answer.rows.is_empty()).map(parse))
}

fn parse(answer: &Answer) -> Slot {
    let text = |at: usize| answer.cell(at).unwrap_or("");
    let lost = match (text(8), text(9), text(10)) {
        ("lost", "", _) => Some("the server removed log that it needs (wal_status lost)".to_string()),
        (_, reason, _) if !reason.is_empty() => {
            Some(format!("the server invalidated it ({})", escape(reason)))
        }
        (.., "true") => Some("it conflicted with recovery".to_string()),
        _ if text(5).is_empty() => Some("it keeps no log".to_string()),
        _ => None,
    };
    Slot {
        confirmed: text(4).parse().ok(),
        restart: text(5).parse().ok(),
        retained: text(6).parse().unwrap_or(0),
        room: text(11).parse::<i64>().ok().map(|room| room.max(0) as u64),
        active: answer.cell(7).map(str::to_string),
        lost,
        foreign: text(0) != "logical" || text(1) != PLUGIN || text(2) != "t" || text(3) != "f",
    }
}

/// A slot of our name that is none of ours.
pub fn refuse_foreign(object: &str) -> EngineError {
    let help = format!(
        "whoever it belongs to: drop it by SELECT pg_drop_replication_slot('{object}'), or rename the plan"
    );
    foreign("replication slot", object, help)
}

/// Drops the slot if it is there; says whether it was. A slot in use is waited for a while.
pub async fn drop(wire: &mut Wire, object: &str, patience: Duration) -> Result<bool, EngineError> {
    let deadline = Instant::now() + patience;
    let sql = format!("SELECT pg_catalog.pg_drop_replication_slot({})", literal(object));
    let mut pause = Duration::from_millis(20);
    loop {
        match find(wire, object).await? {
            None => return Ok(false),
            Some(slot) if slot.foreign => return Err(refuse_foreign(object)),
            // Still in the making, by a run that is gone: its server process waits on.
            Some(Slot { confirmed: None, active: Some(pid), .. }) => {
                if let Ok(pid) = pid.parse() {
                    cancel(wire, pid).await;
                }
            }
            Some(_) => {}
        }
        match wire.query(&sql).await {
            Ok(_) => return Ok(true),
            Err(Fault::Server(error)) if error.code == "42704" => return Ok(false),
            Err(Fault::Server(error)) if error.code == "55006" && Instant::now() < deadline => {}
            Err(fault) => {
                let made = fault.doing("drop the replication slot").on(object);
                let busy = made.cause == Cause::Busy;
                return Err(match busy {
                    true => made.hint("another run still reads from it; stop that run, then try again"),
                    false => made,
                });
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// What came of making a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Every transaction is in the snapshot or commits at this position or later.
    pub consistent: Lsn,
    /// The snapshot's identifier, of worth for as long as the session says nothing more.
    pub export: String,
}

/// Makes a slot with an exported snapshot on `holder`, a session of the replication protocol, and
/// waits up to `wait`. `asking` is a session for questions meanwhile.
pub async fn create(
    holder: &mut Wire,
    asking: &mut Wire,
    object: &str,
    temporary: bool,
    wait: Duration,
) -> Result<Made, EngineError> {
    // The form of PostgreSQL 14, which later servers still take.
    let kind = if temporary { " TEMPORARY" } else { "" };
    let sql = format!("CREATE_REPLICATION_SLOT \"{object}\"{kind} LOGICAL {PLUGIN} EXPORT_SNAPSHOT");
    let pid = holder.pid;
    holder.send_query(&sql).await.map_err(|fault| refused(fault, object))?;
    crash_point("slot::sent_no_reply");
    let answering = holder.answers();
    tokio::pin!(answering);
    let (answers, blockers) = match timeout(wait, &mut answering).await {
        Ok(answers) => (answers, None),
        Err(_) => {
            let blockers = blockers(asking, pid).await;
            cancel(asking, pid).await;
            match timeout(CANCEL, &mut answering).await {
                Ok(answers) => (answers, Some(blockers)),
                Err(_) => (Err(Fault::Io(std::io::ErrorKind::TimedOut.into())), Some(blockers)),
            }
        }
    };
    let made = match (answers, blockers) {
        (Ok(answers), _) => parse_made(&answers, object),
        (Err(_), Some(blockers)) => Err(waited(object, wait, &blockers)),
        (Err(fault), None) => Err(refused(fault, object)),
    };
    crash_point("slot::created_before_mark");
    made
}

fn parse_made(answers: &[Answer], object: &str) -> Result<Made, EngineError> {
    let answer = answers.first();
    let cell = |at: usize| answer.and_then(|answer| answer.cell(at));
    let consistent = cell(1).and_then(|text| text.parse().ok());
    match (consistent, cell(2)) {
        (Some(consistent), Some(export)) => Ok(Made { consistent, export: export.to_string() }),
        _ => Err(EngineError::new(Cause::Other, DOING, "the server exported no snapshot").on(object)),
    }
}

async fn cancel(asking: &mut Wire, pid: i32) {
    // If this fails, the session is dropped, and the server notices that.
    let _ = asking.query(&format!("SELECT pg_catalog.pg_cancel_backend({pid})")).await;
}

/// Transactions that were begun before and may write: those are waited for, one after the other.
async fn blockers(asking: &mut Wire, pid: i32) -> Vec<String> {
    let moment = format!(
        "coalesce((SELECT a.query_start FROM pg_catalog.pg_stat_get_activity({pid}) AS a), pg_catalog.now())"
    );
    let answers = asking.query(&old_transactions(&moment)).await.unwrap_or_default();
    answers.first().map(described).unwrap_or_default()
}

/// A query for the transactions with an id that are older than a moment, the oldest first.
pub fn old_transactions(moment: &str) -> String {
    format!(
        "SELECT * FROM (SELECT 'prepared' AS kind, p.gid::pg_catalog.text AS id, p.owner::pg_catalog.text AS who, \
           p.database::pg_catalog.text AS place, p.prepared AS since, \
           pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - p.prepared)::pg_catalog.text AS age \
         FROM pg_catalog.pg_prepared_xacts AS p WHERE p.prepared < {moment} \
         UNION ALL SELECT 'session', a.pid::pg_catalog.text, a.usename::pg_catalog.text, a.datname::pg_catalog.text, \
           a.xact_start, pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.text \
         FROM pg_catalog.pg_stat_activity AS a WHERE a.pid <> pg_catalog.pg_backend_pid() \
           AND a.backend_xid IS NOT NULL AND coalesce(a.xact_start < {moment}, true)) AS found \
         ORDER BY since NULLS FIRST LIMIT 5"
    )
}

/// The rows of [`old_transactions`] in words.
pub fn described(answer: &Answer) -> Vec<String> {
    let row = |row: &Vec<Option<String>>| {
        let text = |at: usize| escape(row.get(at).and_then(|cell| cell.as_deref()).unwrap_or("unknown"));
        let age = text(5);
        match text(0).as_str() {
            "prepared" => format!(
                "the prepared transaction '{}' of {} in database {}, prepared {age} ago",
                text(1),
                text(2),
                text(3)
            ),
            _ => {
                format!("pid {} of {} in database {}, in a transaction for {age}", text(1), text(2), text(3))
            }
        }
    };
    answer.rows.iter().map(row).collect()
}

fn waited(object: &str, wait: Duration, blockers: &[String]) -> EngineError {
    let who = match blockers {
        [] => "a transaction that was begun before".to_string(),
        some => some.join("; "),
    };
    let message = format!("waited {} s for {who}", wait.as_secs());
    EngineError::new(Cause::Busy, DOING, message).on(object).hint(
        "a slot starts between transactions: end the ones named (COMMIT, ROLLBACK, COMMIT PREPARED, ROLLBACK PREPARED), \
         then run the same command again; nothing was left behind",
    )
}

fn refused(fault: Fault, object: &str) -> EngineError {
    let Fault::Server(error) = &fault else { return fault.doing(DOING).on(object) };
    let made = error::engine_error(DOING, error).on(object);
    match error.code.as_str() {
        "42710" => refuse_foreign(object),
        "42501" => made.contract("P802").hint("ALTER ROLE ... REPLICATION for the role of this URL"),
        "53400" => made
            .hint("all slots are in use: raise max_replication_slots, or drop a slot that nobody reads from"),
        "55000" => made.contract("C502").hint("set wal_level = logical and restart the server"),
        _ => made,
    }
}
