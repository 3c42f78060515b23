//! The change log of a PostgreSQL source: a publication says what is told, a slot keeps it and
//! gives the snapshot that it starts at. Makes nothing beyond these two, and says of each name,
//! comment or position that is not ours why it is refused.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::End;
use super::connect::Role;
use super::decode::{DOING, Decoder, Known};
use super::followed::{self, Present};
use super::lsn::Lsn;
use super::publication::{self, ALTERED, Found, Mark, Watch, object_name};
use super::relation::How;
use super::replication::{self, PgChanges};
use super::select::Side;
use super::slot::{self, Made, PATIENCE, Slot};
use super::snapshot::{Held, PgSnapshot};
use super::streamed::Streamed;
use super::wire::{Fault, Wire};
use crate::catalog::{Form, Type};
use crate::change::{Followed, Position};
use crate::engine::crash::crash_point;
use crate::engine::{
    Capture, CaptureSpec, Cause, ChangeStream, EngineError, Obstacle, Scratch, Snapshot, Standing,
};

/// The first version that tells transactions in progress.
const STREAMS_SINCE: u32 = 140_000;

#[async_trait]
impl Capture for End {
    async fn check(&self, spec: &CaptureSpec<'_>) -> Result<Vec<Obstacle>, EngineError> {
        let mut wire = self.link.wire(Role::Reader).await?;
        let object = self.object(spec.plan);
        let found = super::obstacle::all(&self.link, &mut wire, spec, &object).await;
        wire.terminate().await;
        found.map_err(|error| self.here(error))
    }

    async fn standing(&self, plan: &str) -> Result<Standing, EngineError> {
        let object = self.object(plan);
        let mut wire = self.link.wire(Role::Reader).await?;
        let slot = slot::find(&mut wire, &object).await?;
        let publication = publication::find(&mut wire, plan, &object, self.link.server.version).await?;
        wire.terminate().await;
        Ok(standing(&object, slot, &publication))
    }

    async fn open(&self, spec: &CaptureSpec<'_>, wait: Duration) -> Result<Box<dyn Snapshot>, EngineError> {
        let object = self.object(spec.plan);
        let mut session = self.link.wire(Role::Owner).await?;
        let opened = self.open_with(&mut session, spec, &object, wait).await;
        session.terminate().await;
        opened.map(|snapshot| Box::new(snapshot) as Box<dyn Snapshot>).map_err(|error| self.here(error))
    }

    async fn snapshot(&self, plan: &str, wait: Duration) -> Result<Box<dyn Snapshot>, EngineError> {
        let mut asking = self.link.wire(Role::Reader).await?;
        let facts = PgSnapshot::facts(&mut asking).await.map_err(|error| self.here(error))?;
        let mut holder = self.link.wire(Role::Replication).await?;
        // It goes with its session, so the name need only be free now.
        let object = format!("{}_{}", self.object(plan), holder.pid);
        let made = slot::create(&mut holder, &mut asking, &object, true, wait).await;
        asking.terminate().await;
        Ok(Box::new(self.held(holder, made.map_err(|error| self.here(error))?, facts)))
    }

    async fn head(&self) -> Result<Position, EngineError> {
        let mut looking = self.looking.lock().await;
        if let Some(mut wire) = looking.take()
            && let Ok(head) = head(&mut wire).await
        {
            *looking = Some(wire);
            return Ok(head.position());
        }
        // There was none, or it was cut since.
        let mut wire = self.link.wire(Role::Reader).await?;
        let head = head(&mut wire)
            .await
            .map_err(|fault| fault.doing("find the end of the log of").on(self.link.shown()))?;
        *looking = Some(wire);
        Ok(head.position())
    }

    fn reached(&self, at: &Position, goal: &Position) -> bool {
        matches!((Lsn::of(at), Lsn::of(goal)), (Some(at), Some(goal)) if at >= goal)
    }

    fn distance(&self, at: &Position, goal: &Position) -> u64 {
        let number = |position| Lsn::of(position).unwrap_or_default().0;
        number(goal).saturating_sub(number(at))
    }

    async fn changes(
        &self,
        spec: &CaptureSpec<'_>,
        from: &Position,
        starts: &[Position],
    ) -> Result<Box<dyn ChangeStream>, EngineError> {
        let from = parse_position(from)?;
        let starts = starts.iter().map(parse_position).collect::<Result<Vec<_>, _>>()?;
        let object = self.object(spec.plan);
        let mut asking = self.link.wire(Role::Reader).await?;
        let known = self.known(&mut asking, spec, &object, from, starts).await;
        let stream = match known {
            Ok((mark, known)) => self.stream(&mut asking, spec.plan, &mark, from, known).await,
            Err(error) => Err(error),
        };
        asking.terminate().await;
        Ok(Box::new(stream.map_err(|error| self.here(error))?))
    }

    async fn close(&self, plan: &str) -> Result<Vec<String>, EngineError> {
        let object = self.object(plan);
        let mut session = self.link.wire(Role::Owner).await?;
        let removed = self.remove(&mut session, plan, &object).await;
        session.terminate().await;
        removed.map_err(|error| self.here(error))
    }
}

fn parse_position(position: &Position) -> Result<Lsn, EngineError> {
    Lsn::of(position).ok_or_else(|| {
        EngineError::new(Cause::Stale, DOING, format!("{position} is no position of a PostgreSQL log"))
            .hint("it was written for a snapshot that belongs to no capture; `towpath apply --recopy` copies the tables again")
    })
}

/// What slot and publication come to.
fn standing(object: &str, slot: Option<Slot>, publication: &Found) -> Standing {
    // One that is still in the making, by a run that is gone, is as good as none.
    let Some(slot) = slot.filter(|slot| slot.foreign || slot.confirmed.is_some()) else {
        return Standing::Missing;
    };
    if slot.foreign {
        return Standing::Lost(format!("the slot {object} is not one that Towpath made here"));
    }
    if let Some(lost) = slot.lost {
        return Standing::Lost(format!("slot {object}: {lost}"));
    }
    match publication {
        Found::Ours { mark, content } if mark.content == *content => {}
        Found::Ours { .. } => {
            return Standing::Lost(format!("publication {object}: {ALTERED}"));
        }
        Found::Nothing => return Standing::Lost(format!("the publication {object} was dropped")),
        Found::Foreign => {
            return Standing::Lost(format!(
                "the publication {object} is not one that Towpath made for this plan"
            ));
        }
    }
    Standing::Kept {
        acknowledged: slot.confirmed.unwrap_or_default().position(),
        retained: slot.retained,
        room: slot.room,
        active: slot.active.is_some(),
    }
}

/// A commit that brings everything that was written before it onto the disk. Nobody else need do so
/// for what an open transaction wrote, and a stream never goes beyond the last whole record on the
/// disk: without it, waiting for the head of an idle server may take until its next checkpoint.
const FLUSH: &str = "BEGIN; SET LOCAL synchronous_commit = local; \
     SELECT pg_catalog.pg_logical_emit_message(true, 'towpath', ''); COMMIT";

/// The end of all that was committed before now. Where a session has written without committing,
/// an empty message is put into the log behind it. A role that may not do that waits three rounds
/// of the log writer, which flush every commit (manual, section 30.4).
async fn head(wire: &mut Wire) -> Result<Lsn, Fault> {
    const ENDS: &str = "SELECT CASE WHEN r THEN pg_catalog.pg_last_wal_replay_lsn() ELSE \
         pg_catalog.pg_current_wal_insert_lsn() END, CASE WHEN r THEN pg_catalog.pg_last_wal_replay_lsn() ELSE \
         pg_catalog.pg_current_wal_flush_lsn() END, pg_catalog.current_setting('wal_block_size'), \
         pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')), \
         extract(epoch FROM pg_catalog.current_setting('wal_writer_delay')::pg_catalog.interval) * 1000, r \
         FROM pg_catalog.pg_is_in_recovery() AS r";
    let mut written = None;
    let mut asked = false;
    let started = Instant::now();
    loop {
        let answers = wire.query(ENDS).await?;
        let answer = answers.first();
        let cell = |at: usize| answer.and_then(|answer| answer.cell(at)).unwrap_or("");
        let lsn = |at: usize| {
            cell(at).parse::<Lsn>().map_err(|_| Fault::garbled("no position where one was asked for"))
        };
        let number = |at: usize, default: u64| cell(at).parse().unwrap_or(default).max(1);
        let (inserted, flushed) = (lsn(0)?.end(number(2, 8192), number(3, 16 << 20)), lsn(1)?);
        let written = *written.get_or_insert(inserted);
        let delay = cell(4).parse::<f64>().unwrap_or(200.0).clamp(0.0, 10_000.0);
        if flushed >= written {
            return Ok(written);
        }
        if started.elapsed() > Duration::from_millis(4 * delay as u64 + 100) {
            return Ok(flushed);
        }
        if !asked && cell(5) == "f" {
            asked = true;
            if let Err(Fault::Server(_)) = wire.query(FLUSH).await {
                wire.query("ROLLBACK").await?;
            }
            continue;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

impl End {
    /// The name of slot and publication.
    fn object(&self, plan: &str) -> String {
        object_name(plan, &self.link.server.database_oid)
    }

    fn here(&self, error: EngineError) -> EngineError {
        if error.object.is_some() { error } else { error.on(self.link.shown()) }
    }

    fn held(&self, holder: Wire, made: Made, facts: super::snapshot::Facts) -> PgSnapshot {
        let held = Held {
            wire: holder,
            export: made.export,
            position: made.consistent.position(),
            seen: String::new(),
        };
        PgSnapshot::over(self.link.clone(), Side::Source, &self.limits, facts, held)
    }

    /// Publication first, then the slot: the log knows no publication that was made after it.
    async fn open_with(
        &self,
        session: &mut Wire,
        spec: &CaptureSpec<'_>,
        object: &str,
        wait: Duration,
    ) -> Result<PgSnapshot, EngineError> {
        self.remove(session, spec.plan, object).await?;
        let present = followed::read(session, spec.tables).await?;
        let tables = to_publish(spec.tables, &present)?;
        let mut holder = self.link.wire(Role::Replication).await?;
        let (system, timeline, _) = identify(&mut holder).await?;
        let mark = Mark { system, timeline, content: String::new() };
        let version = self.link.server.version;
        publication::create(session, spec.plan, object, &tables, mark, version).await?;
        let made = match PgSnapshot::facts(session).await {
            Ok(facts) => {
                let made = slot::create(&mut holder, session, object, false, wait).await;
                made.map(|made| (made, facts))
            }
            Err(error) => Err(error),
        };
        match made {
            Ok((made, facts)) => Ok(self.held(holder, made, facts)),
            Err(error) => {
                // The session that made the slot must be gone before the slot can be dropped.
                drop(holder);
                let removed = self.remove(session, spec.plan, object).await;
                Err(removed.err().map_or(error, |left| with_leftover(object, &left)))
            }
        }
    }

    /// Removes what is ours: the slot, then the publication.
    async fn remove(&self, session: &mut Wire, plan: &str, object: &str) -> Result<Vec<String>, EngineError> {
        let publication = publication::find(session, plan, object, self.link.server.version).await?;
        if publication == Found::Foreign {
            let help = format!("whoever it belongs to: DROP PUBLICATION {object}, or rename the plan");
            return Err(publication::foreign("publication", object, help));
        }
        let mut removed = Vec::new();
        if slot::drop(session, object, PATIENCE).await? {
            crash_point("clean::slot");
            removed.push(format!("replication slot {object}"));
        }
        if publication != Found::Nothing {
            publication::drop(session, object).await?;
            crash_point("clean::pub");
            removed.push(format!("publication {object}"));
        }
        Ok(removed)
    }

    /// Checks that the log from `from` on is there and is the one that the capture was opened on,
    /// and gathers what the decoder has to know.
    async fn known(
        &self,
        asking: &mut Wire,
        spec: &CaptureSpec<'_>,
        object: &str,
        from: Lsn,
        starts: Vec<Lsn>,
    ) -> Result<(Mark, Known), EngineError> {
        let slot = slot::find(asking, object).await?;
        let publication = publication::find(asking, spec.plan, object, self.link.server.version).await?;
        let acknowledged = slot.as_ref().and_then(|slot| slot.confirmed).unwrap_or_default();
        match standing(object, slot, &publication) {
            Standing::Kept { .. } => {}
            Standing::Missing => return Err(gone(&format!("there is no slot {object}"))),
            Standing::Lost(why) => return Err(gone(&why)),
        }
        if acknowledged > from {
            let message = format!(
                "the log was acknowledged beyond: it is kept from {acknowledged} on, and the target has come to {from} only"
            );
            return Err(EngineError::new(Cause::Stale, DOING, message).contract("C508").hint(
                "the target was set back (restored, or failed over to a copy that lags), the spool was lost or \
                 damaged, or another reader used the slot; `towpath apply --recopy` copies the tables again",
            ));
        }
        let Found::Ours { mark, .. } = publication else { return Err(gone("the publication is not ours")) };
        let present = followed::read(asking, spec.tables).await?;
        let expected = followed::expected(asking, spec.tables, &present).await?;
        check_shifts(spec.tables)?;
        publication::check_added(asking, object, spec.tables, &present, self.link.server.version).await?;
        let leaves =
            present.iter().flatten().flat_map(|table| table.leaves.iter().map(|leaf| leaf.oid)).collect();
        Ok((mark, Known { tables: spec.tables.to_vec(), expected, starts, leaves }))
    }

    /// Connects and starts; a slot that somebody reads from is waited for.
    async fn stream(
        &self,
        asking: &mut Wire,
        plan: &str,
        mark: &Mark,
        from: Lsn,
        known: Known,
    ) -> Result<PgChanges, EngineError> {
        let object = &self.object(plan);
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        loop {
            let wire = self.log_session(mark, from, &known.tables).await?;
            let decoder = Decoder::new(known.clone(), from);
            let watch = Watch {
                link: self.link.clone(),
                plan: plan.to_string(),
                object: object.to_string(),
                content: mark.content.clone(),
                tables: known.tables.clone(),
            };
            let streamed = Streamed::new(self.scratch(), &self.whole);
            let refused = match replication::start(wire, from, decoder, streamed, watch).await {
                Ok(stream) => return Ok(stream),
                Err(Fault::Server(error)) => replication::refused_start(&error, object),
                Err(fault) => return Err(fault.doing(DOING).on(object)),
            };
            if refused.cause != Cause::Busy {
                return Err(refused);
            }
            if Instant::now() >= deadline {
                let pid = slot::find(asking, object).await?.and_then(|slot| slot.active);
                let hint = format!(
                    "pid {} reads from this slot: another run, or one that the server has not missed yet",
                    pid.as_deref().unwrap_or("unknown")
                );
                return Err(refused.hint(hint));
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// What transactions in progress may take here; nothing where the server does not tell them.
    fn scratch(&self) -> Scratch {
        match self.link.server.version >= STREAMS_SINCE {
            true => self.limits.scratch.clone(),
            false => Scratch::default(),
        }
    }

    /// A session of the replication protocol on the server that the capture was opened on.
    async fn log_session(&self, mark: &Mark, from: Lsn, tables: &[Followed]) -> Result<Wire, EngineError> {
        let mut wire = self.link.wire(Role::Replication).await?;
        let (system, timeline, end) = identify(&mut wire).await?;
        if system != mark.system {
            return Err(gone("another server answers than the one that the capture was opened on"));
        }
        if timeline != mark.timeline {
            return Err(gone(&format!(
                "the source is on timeline {timeline} and was on {} when the capture was opened: a standby was \
                 promoted, or a backup was restored",
                mark.timeline
            )));
        }
        if end < from {
            return Err(gone(&format!(
                "the source's log ends at {end}, before {from} that the target has: its last transactions were lost"
            )));
        }
        if prints_intervals(tables) {
            let set = wire.query("SET IntervalStyle = 'iso_8601'").await;
            set.map_err(|fault| fault.doing(DOING))?;
        }
        Ok(wire)
    }
}

/// Neutral cells hold intervals in ISO form, which a native target reads as well.
fn prints_intervals(tables: &[Followed]) -> bool {
    let rows = tables.iter().filter(|followed| followed.projection.form == Form::Rows);
    rows.flat_map(|followed| &followed.projection.columns)
        .any(|column| matches!(Side::Source.cell_type(column), Type::Interval))
}

/// System identifier, timeline, and end of the flushed log.
async fn identify(wire: &mut Wire) -> Result<(String, String, Lsn), EngineError> {
    let answers = wire.query("IDENTIFY_SYSTEM").await.map_err(|fault| fault.doing("identify the source"))?;
    let answer = answers.into_iter().next().unwrap_or_default();
    let text = |at: usize| answer.cell(at).unwrap_or("").to_string();
    let end = text(2).parse().map_err(|_| gone("the source does not say where its log ends"))?;
    Ok((text(0), text(1), end))
}

/// The tables to publish, all of which must be there. A root whose leaves are followed one by one
/// is not published itself: their rows would come under its name.
fn to_publish<'a>(
    tables: &'a [Followed],
    present: &'a [Option<Present>],
) -> Result<Vec<(&'a Followed, &'a Present)>, EngineError> {
    let oids: HashSet<u32> = present.iter().flatten().map(|table| table.oid).collect();
    let by_leaf = |table: &Present| table.leaves.iter().any(|leaf| oids.contains(&leaf.oid));
    let mut all = there(tables, present)?;
    all.retain(|(_, table)| !by_leaf(table));
    Ok(all)
}

fn there<'a>(
    tables: &'a [Followed],
    present: &'a [Option<Present>],
) -> Result<Vec<(&'a Followed, &'a Present)>, EngineError> {
    let pair = |(followed, present): (&'a Followed, &'a Option<Present>)| match present {
        Some(present) => Ok((followed, present)),
        None => Err(EngineError::new(Cause::Stale, "publish", "the table is not there")
            .on(&followed.projection.source)
            .hint("it was dropped or renamed since the plan was made: plan again")),
    };
    tables.iter().zip(present).map(pair).collect()
}

fn check_shifts(tables: &[Followed]) -> Result<(), EngineError> {
    for followed in tables {
        let columns = &followed.projection.columns;
        if let Some(column) =
            columns.iter().find(|column| How::of(column, followed.projection.form).is_none())
        {
            let message = format!(
                "the column {} is moved to another zone, which only the source can do while it copies",
                crate::catalog::name::show(&column.source)
            );
            return Err(EngineError::new(Cause::Stale, DOING, message)
                .on(&followed.projection.source)
                .contract("C502")
                .hint("take the zone UTC, or copy this table without cdc"));
        }
    }
    Ok(())
}

/// The log is not there any more (contract, F-41, F-42, F-45).
fn gone(why: &str) -> EngineError {
    EngineError::new(Cause::Stale, DOING, why).contract("C508").hint(
        "what was changed meanwhile cannot be read any more; `towpath apply --recopy` copies the tables again",
    )
}

fn with_leftover(object: &str, left: &EngineError) -> EngineError {
    EngineError::new(Cause::Other, "take the capture back", left.message.clone()).on(object).hint(format!(
        "it keeps log at the source: SELECT pg_drop_replication_slot('{object}'); DROP PUBLICATION {object}"
    ))
}
