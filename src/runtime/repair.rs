//! Puts rows of the target right that differ from the source's: finds them in two held snapshots,
//! and writes them as changes of the source are written, in one transaction, under the plan's lock.
//! Never touches a row that is equal, and no table whose rows nothing tells apart.
//!
//! The stream's position stays where it is. Only where the stream is stuck, because a change speaks
//! of a row that is not as it should be, both ends cannot meet before they are repaired: then all
//! followed tables become what the source holds now, and the stream is marked there with them.
//!
//! ```text
//!   sums by bucket (both ends) -> rows of buckets that differ -> keys -> their rows -> changes
//! ```
//!
//! Each arrow reads the table once more, so that no more is held than what differs.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::try_join;

use super::canonical::Canon;
use super::clock::Clock;
use super::cutover::refuse_decided;
use super::meeting::try_to_meet;
use super::serve::{Service, all_done, beat};
use super::sums;
use super::verify::{Listed, mirrored, zones};
use crate::catalog::{ColumnMap, Form, Name, Projection, Type};
use crate::change::{Changes, Followed, Identity, RowKind};
use crate::checkpoint::{Checkpoint, StreamMark, StreamProgress};
use crate::engine::{Cause, EngineError, Lock, Session, Snapshot, Summary};
use crate::graph::Action;

/// Rows that differ and are put right in one go. More are a table that was not copied.
const ROWS_MAX: u64 = 100_000;
/// Bytes of them, held in memory.
const BYTES_MAX: usize = 256 << 20;
/// Rows of buckets that are listed at once, at each end.
const LISTED_MAX: u64 = 200_000;
/// Buckets of a table: one row that differs makes all rows of its bucket to be listed.
const BUCKETS: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 18;
/// Rows of one bucket, as far as there are buckets.
const BUCKET_ROWS: u64 = 64;

/// Both ends, held together with the right to write.
pub struct Meeting {
    lock: Box<dyn Lock>,
    source: Box<dyn Snapshot>,
    stuck: Option<Stuck>,
}

/// The stream does not come to where the source is held.
struct Stuck {
    why: EngineError,
    at: StreamProgress,
}

/// What is to be put right.
#[derive(Default)]
pub struct Repair {
    pub tables: Vec<TableRepair>,
    /// Of each table two: as its rows come from the source, and as the target has them.
    followed: Vec<Followed>,
    /// Come first, so that unique values are free again.
    deletes: Changes,
    updates: Changes,
    inserts: Changes,
}

/// What differs in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRepair {
    pub target: Name,
    /// Rows that the target lacks.
    pub missing: u64,
    pub changed: u64,
    /// Rows that the source has not.
    pub extra: u64,
    /// Why nothing is done about them.
    pub refused: Option<String>,
}

impl TableRepair {
    pub fn rows(&self) -> u64 {
        self.missing + self.changed + self.extra
    }

    fn refuse(projection: &Projection, why: impl Into<String>) -> Self {
        let target = projection.target.clone();
        Self { target, missing: 0, changed: 0, extra: 0, refused: Some(why.into()) }
    }
}

impl Repair {
    /// Rows that will be written.
    pub fn rows(&self) -> u64 {
        [&self.deletes, &self.updates, &self.inserts].map(Changes::rows).iter().sum()
    }

    fn bytes(&self) -> usize {
        [&self.deletes, &self.updates, &self.inserts].map(Changes::len).iter().sum()
    }
}

impl Meeting {
    /// Takes the plan's lock and holds both ends: as of one commit where changes are followed, else
    /// as they are now. The second is the target's snapshot, which is given back to be let go of.
    pub async fn hold(
        service: &Service<'_>,
        follows: bool,
    ) -> Result<(Self, Box<dyn Snapshot>), EngineError> {
        let lock = service.lock().await?;
        match take(service, lock.as_ref(), follows).await {
            Ok((source, stuck, target)) => Ok((Self { lock, source, stuck }, target)),
            Err(error) => {
                // The error that is told is the first one.
                let _ = lock.close("failed").await;
                Err(error)
            }
        }
    }

    pub fn source(&self) -> &dyn Snapshot {
        self.source.as_ref()
    }

    /// Why the stream does not go on. Then only all followed tables together can be put right.
    pub fn stuck(&self) -> Option<&EngineError> {
        self.stuck.as_ref().map(|stuck| &stuck.why)
    }

    /// Returns once the lock is lost.
    pub async fn beat(&self, clock: &dyn Clock) -> EngineError {
        beat(self.lock.as_ref(), clock).await
    }

    /// Writes what was found, in one transaction.
    pub async fn put_right(&self, service: &Service<'_>, repair: &Repair) -> Result<(), EngineError> {
        let mut session = self.lock.session().await?;
        session.follow(&repair.followed).await?;
        if !session.keeps_still() {
            return Err(loud(&service.graph.name));
        }
        session.begin().await?;
        let written = async {
            // First, for where setting a counter ends the transaction it is in: all rows are in one
            // with the mark.
            set_sequences(service, repair, session.as_mut()).await?;
            for changes in [&repair.deletes, &repair.updates, &repair.inserts] {
                session.apply_rows(changes.records()).await?;
            }
            if let Some(Stuck { at, .. }) = &self.stuck {
                let mark = self.leap(at);
                session.mark(&service.graph.name, &Checkpoint::Applied(mark)).await?;
            }
            session.commit().await
        };
        match written.await {
            Ok(()) => Ok(()),
            Err(error) => {
                let _ = session.rollback().await;
                Err(explain(error))
            }
        }
    }

    /// From where the stream is stuck to where the source is held.
    fn leap(&self, at: &StreamProgress) -> StreamMark {
        StreamMark {
            after: Some(at.position.clone()),
            position: self.source.position().clone(),
            committed_at: at.committed_at,
            ..StreamMark::default()
        }
    }

    /// Lets go of all of it.
    pub async fn close(self, outcome: &str) -> Result<(), EngineError> {
        // It was only read from.
        let _ = self.source.close().await;
        self.lock.close(outcome).await
    }
}

type Taken = (Box<dyn Snapshot>, Option<Stuck>, Box<dyn Snapshot>);

async fn take(service: &Service<'_>, lock: &dyn Lock, follows: bool) -> Result<Taken, EngineError> {
    let plan = &service.graph.name;
    let progress = service.target.progress(plan).await?;
    refuse_decided(&progress, plan)?;
    all_done(service.graph, &progress)?;
    if !follows {
        let source = service.source.snapshot().await?;
        return Ok((source, None, service.target.snapshot().await?));
    }
    let (source, reached) = try_to_meet(service, lock).await?;
    let stuck = match reached {
        Ok(()) => None,
        Err(why) if why.cause == Cause::Diverged => {
            // What came before the row is applied by now.
            match service.target.progress(plan).await?.stream {
                Some(at) => Some(Stuck { why, at }),
                None => return Err(why),
            }
        }
        Err(error) => return Err(error),
    };
    Ok((source, stuck, service.target.snapshot().await?))
}

/// A trigger that acts on a repaired row makes another row differ.
fn loud(plan: &str) -> EngineError {
    let why = "this role may not keep the target's triggers and foreign keys from acting on the rows";
    EngineError::new(Cause::Privilege, "put rows right for", why).on(plan).hint(
        "PostgreSQL: GRANT SET ON PARAMETER session_replication_role TO the role (15 or newer), or use a superuser; \
         MySQL and MariaDB: DROP TRIGGER them until the cutover; nothing was written",
    )
}

fn explain(error: EngineError) -> EngineError {
    match error.cause {
        Cause::Diverged => error.hint(
            "nothing was written. Rows that exchanged unique values, or that others of the target hang on, \
             cannot be put right one by one: copy the table again",
        ),
        _ => error,
    }
}

/// Rows that were missing may be newer than what the sequences were set from. Where changes are
/// followed, the cutover sets them.
async fn set_sequences(
    service: &Service<'_>,
    repair: &Repair,
    session: &mut dyn Session,
) -> Result<(), EngineError> {
    let grown: Vec<&Name> =
        repair.tables.iter().filter(|table| table.missing > 0).map(|table| &table.target).collect();
    for step in &service.graph.steps {
        let Action::SetSequence { source, sequence, margin } = &step.action else { continue };
        // Of a sequence that no table owns nobody knows who draws from it.
        let draws = sequence.owner.as_ref().is_none_or(|owner| grown.contains(&&owner.table));
        if grown.is_empty() || !draws {
            continue;
        }
        for value in service.source.sequence_values(std::slice::from_ref(source)).await? {
            session.set_sequence(sequence, &value, *margin).await?;
        }
    }
    Ok(())
}

/// Finds what differs in these tables, one after the other. `same_engine`: rows go as the engine
/// has them.
pub async fn find(
    projections: &[&Projection],
    (source, target): (&dyn Snapshot, &dyn Snapshot),
    same_engine: bool,
) -> Result<Repair, EngineError> {
    let mut repair = Repair::default();
    for projection in projections {
        let table = match Search::new(projection, source, target, same_engine) {
            Err(why) => TableRepair::refuse(projection, why),
            Ok(search) => match search.run(&mut repair).await {
                // Rows that cannot be read as what their columns are cannot be written as such.
                Err(error) if error.cause == Cause::Data => {
                    TableRepair::refuse(projection, error.to_string())
                }
                found => found?,
            },
        };
        repair.tables.push(table);
    }
    Ok(repair)
}

/// One table at both ends.
struct Search<'a> {
    /// How its rows are written.
    written: Projection,
    /// The same, to be read here.
    read: Projection,
    mirror: Projection,
    source: &'a dyn Snapshot,
    target: &'a dyn Snapshot,
    same_engine: bool,
}

impl<'a> Search<'a> {
    fn new(
        projection: &Projection,
        source: &'a dyn Snapshot,
        target: &'a dyn Snapshot,
        same_engine: bool,
    ) -> Result<Self, &'static str> {
        if projection.key.is_empty() {
            return Err("it has no key: nothing tells one of its rows from another");
        }
        let written = as_is(projection, same_engine);
        let read = Projection { form: Form::Rows, ..written.clone() };
        let mirror = mirrored(&read);
        Ok(Self { written, read, mirror, source, target, same_engine })
    }

    async fn run(&self, repair: &mut Repair) -> Result<TableRepair, EngineError> {
        let zones = zones(&self.read, self.source, self.target, self.same_engine).await?;
        let canon = Canon::new(&self.read, self.same_engine, &zones)
            .map_err(|why| EngineError::new(Cause::Data, "compare the rows of", why).on(&self.read.source))?;
        let sought = self.seek(&canon).await?;
        if let Some(why) = sought.refusal(repair) {
            return Ok(sought.table(&self.read.target, Some(why)));
        }
        let table = repair.followed.len();
        let Some(picked) = self.fetch(&canon, &sought, table, BYTES_MAX - repair.bytes()).await? else {
            let why = format!("its rows would take more than {BYTES_MAX} bytes of memory: copy it again");
            return Ok(sought.table(&self.read.target, Some(why)));
        };
        for Picked { deletes, updates, inserts, .. } in picked {
            repair.deletes.extend(deletes.records());
            repair.updates.extend(updates.records());
            repair.inserts.extend(inserts.records());
        }
        let identity = Identity::Columns(self.read.key.clone());
        let mirror = Projection { form: self.written.form, ..self.mirror.clone() };
        for projection in [self.written.clone(), mirror] {
            repair.followed.push(Followed { projection, identity: identity.clone(), skipped: Vec::new() });
        }
        Ok(sought.table(&self.read.target, None))
    }

    /// Finds the keys of rows that differ.
    async fn seek(&self, canon: &Canon) -> Result<Sought, EngineError> {
        let counts = try_join(self.source.count(&self.read), self.target.count(&self.mirror)).await?;
        let of = bucket_count(counts.0.max(counts.1));
        let (source, target) = try_join(
            sums::summarize(self.source, &self.read, canon, of),
            sums::summarize(self.target, &self.mirror, canon, of),
        )
        .await?;
        let mut sought = Sought::default();
        for buckets in groups(&source, &target) {
            let (source, target) = try_join(
                sums::list(self.source, &self.read, canon, &buckets, of),
                sums::list(self.target, &self.mirror, canon, &buckets, of),
            )
            .await?;
            sought.sort_out(&source, &target);
            if sought.rows() > ROWS_MAX {
                break;
            }
        }
        Ok(sought)
    }

    /// Reads the rows of these keys, as changes of `table` and the one after it. None where they
    /// are more than `bytes`.
    async fn fetch(
        &self,
        canon: &Canon,
        sought: &Sought,
        table: usize,
        bytes: usize,
    ) -> Result<Option<Vec<Picked>>, EngineError> {
        let (mut picked, target) = try_join(
            sums::pick(self.source, &self.read, canon, &sought.at_source, table, bytes),
            sums::pick(self.target, &self.mirror, canon, &sought.at_target, table + 1, bytes),
        )
        .await?;
        picked.extend(target);
        if picked.iter().any(|picked| picked.full) || picked.iter().map(Picked::bytes).sum::<usize>() > bytes
        {
            return Ok(None);
        }
        let rows: u64 = picked.iter().map(Picked::rows).sum();
        match rows == sought.rows() {
            true => Ok(Some(picked)),
            false => {
                let why = format!("{} rows differ, and {rows} of them were found again", sought.rows());
                Err(EngineError::new(Cause::Other, "read the rows of", why).on(&self.read.source))
            }
        }
    }
}

/// Between equal engines a value that no cast changes goes as the engine has it, whatever its
/// column declares; so it is compared.
fn as_is(projection: &Projection, same_engine: bool) -> Projection {
    if !same_engine {
        return Projection { form: Form::Rows, ..projection.clone() };
    }
    let columns = projection.columns.iter().map(|column| match column.cast {
        None => ColumnMap { source_type: Type::Any, target_type: Type::Any, ..column.clone() },
        Some(_) => column.clone(),
    });
    let casts = projection.columns.iter().any(|column| column.cast.is_some());
    let form = if casts { Form::Rows } else { projection.form };
    Projection { columns: columns.collect(), form, ..projection.clone() }
}

fn bucket_count(rows: u64) -> u32 {
    (rows / BUCKET_ROWS).next_power_of_two().clamp(*BUCKETS.start(), *BUCKETS.end()) as u32
}

/// Buckets that do not match, as many together as may be listed at once.
fn groups(source: &Summary, target: &Summary) -> Vec<Vec<u32>> {
    let pairs = source.buckets.iter().zip(&target.buckets).zip(0..);
    let (mut groups, mut rows) = (Vec::<Vec<u32>>::new(), LISTED_MAX);
    for ((source, target), bucket) in pairs.filter(|((source, target), _)| source != target) {
        let here = source.0.max(target.0);
        match groups.last_mut().filter(|_| rows + here <= LISTED_MAX) {
            Some(group) => group.push(bucket),
            None => {
                groups.push(vec![bucket]);
                rows = 0;
            }
        }
        rows += here;
    }
    groups
}

/// Keys of rows that differ, by their hash.
#[derive(Default)]
struct Sought {
    /// Rows to be inserted or updated.
    at_source: HashMap<u128, RowKind>,
    /// Rows to be deleted.
    at_target: HashMap<u128, RowKind>,
    /// Keys that several rows of one end have.
    doubled: u64,
}

impl Sought {
    fn sort_out(&mut self, source: &[Listed], target: &[Listed]) {
        let mut by_key: HashMap<&str, [Vec<i128>; 2]> = HashMap::new();
        for (end, rows) in [source, target].into_iter().enumerate() {
            for row in rows {
                by_key.entry(&row.id).or_default()[end].push(row.hash);
            }
        }
        for (key, [mut here, mut there]) in by_key {
            here.sort_unstable();
            there.sort_unstable();
            if here == there {
                continue;
            }
            let key = u128::from_str_radix(key, 16).expect("broken invariant: lists name keys by their hash");
            match (here.len(), there.len()) {
                (1, 0) => drop(self.at_source.insert(key, RowKind::Insert)),
                (1, 1) => drop(self.at_source.insert(key, RowKind::Update)),
                (0, 1) => drop(self.at_target.insert(key, RowKind::Delete)),
                _ => self.doubled += 1,
            }
        }
    }

    fn rows(&self) -> u64 {
        (self.at_source.len() + self.at_target.len()) as u64 + self.doubled
    }

    fn refusal(&self, repair: &Repair) -> Option<String> {
        if self.doubled > 0 {
            return Some(format!("{} of its keys are on several rows of one end", self.doubled));
        }
        let all = repair.rows() + self.rows();
        (all > ROWS_MAX)
            .then(|| format!("more than {ROWS_MAX} rows in all would have to be put right: copy it again"))
    }

    fn table(&self, target: &Name, refused: Option<String>) -> TableRepair {
        let count = |kind| self.at_source.values().filter(|other| **other == kind).count() as u64;
        TableRepair {
            target: target.clone(),
            missing: count(RowKind::Insert),
            changed: count(RowKind::Update),
            extra: self.at_target.len() as u64,
            refused,
        }
    }
}

/// Rows of one end by what is to be done with them.
#[derive(Default)]
pub(super) struct Picked {
    deletes: Changes,
    updates: Changes,
    inserts: Changes,
    /// There was no room for more.
    pub(super) full: bool,
}

impl Picked {
    pub(super) fn of(&mut self, kind: RowKind) -> &mut Changes {
        match kind {
            RowKind::Insert => &mut self.inserts,
            RowKind::Update => &mut self.updates,
            RowKind::Delete => &mut self.deletes,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        [&self.deletes, &self.updates, &self.inserts].map(Changes::len).iter().sum()
    }

    fn rows(&self) -> u64 {
        [&self.deletes, &self.updates, &self.inserts].map(Changes::rows).iter().sum()
    }
}

/// What is looked for at one end, shared by those who read it.
pub(super) type Wanted = Arc<HashMap<u128, RowKind>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(key: u128, hash: i128) -> Listed {
        Listed { id: format!("{key:032x}"), hash, key: String::new() }
    }

    #[test]
    fn rows_are_sorted_out_by_their_keys() {
        let mut sought = Sought::default();
        sought.sort_out(
            &[listed(1, 10), listed(2, 20), listed(3, 30), listed(5, 50), listed(5, 51)],
            &[listed(5, 51), listed(5, 50), listed(4, 40), listed(2, 21), listed(1, 10)],
        );
        assert_eq!(sought.at_source, HashMap::from([(2, RowKind::Update), (3, RowKind::Insert)]));
        assert_eq!(sought.at_target, HashMap::from([(4, RowKind::Delete)]));
        assert_eq!((sought.doubled, sought.rows()), (0, 3));
        sought.sort_out(&[listed(6, 1)], &[listed(6, 1), listed(6, 2)]);
        assert_eq!(sought.doubled, 1);
        assert!(sought.refusal(&Repair::default()).is_some());
    }

    #[test]
    fn buckets_are_listed_in_groups_and_none_is_forgotten() {
        let most = LISTED_MAX;
        let source = Summary { buckets: vec![(most, 1), (5, 1), (5, 5), (most - 5, 1), (1, 1)] };
        let target = Summary { buckets: vec![(1, 2), (4, 2), (5, 5), (1, 2), (1, 2)] };
        assert_eq!(groups(&source, &target), vec![vec![0], vec![1, 3], vec![4]]);
        assert_eq!(groups(&source, &source), Vec::<Vec<u32>>::new());
        assert_eq!((bucket_count(0), bucket_count(u64::MAX / 2)), (1 << 10, 1 << 18));
    }
}
