//! Compares the rows of source and target without changing anything: by count, by sums that the
//! servers compute, or by reading every row of both. Never says equal unless as many rows were
//! compared as an independent count found.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::try_join;

use super::canonical::{Canon, Zones, unknown_zones};
use super::event::{Event, Reporter};
use super::sums;
use crate::catalog::{Cast, ColumnMap, Form, Name, Projection, Type};
use crate::engine::crash::crash_point;
use crate::engine::{Cause, EngineError, Snapshot, Source, Summary, Target};

/// Buckets of a table: small enough to list a bucket of a large table, few enough to hold.
const BUCKETS: u32 = 1024;
/// Tables compared at once.
const TABLES: usize = 4;
/// Rows of mismatching buckets that are listed and compared one by one, per table.
const LISTED_ROWS_MAX: usize = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyLevel {
    Count,
    /// Sums over all rows: by the servers where both are the same engine.
    Checksum,
    /// Every row of both ends is read and compared here.
    Rows,
}

/// What was found of one table. Never equal when rows compared are not rows counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableVerdict {
    pub source: Name,
    pub target: Name,
    pub equal: bool,
    pub source_rows: u64,
    pub target_rows: u64,
    /// Keys found to differ, at most `keys_max`; shown on a terminal, never stored.
    pub findings: Vec<Finding>,
    /// Differences beyond those listed: at least this many.
    pub more: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    OnlySource { key: String },
    OnlyTarget { key: String },
    Differs { key: String },
}

/// Compares each projection's rows. `same_engine`: summaries may be computed by the servers.
pub async fn verify(
    projections: &[Projection],
    source: &dyn Source,
    target: &dyn Target,
    same_engine: bool,
    level: VerifyLevel,
    keys_max: usize,
    reporter: &dyn Reporter,
) -> Result<Vec<TableVerdict>, EngineError> {
    let (source, target) = try_join(source.snapshot(), target.snapshot()).await?;
    let ends = (source.as_ref(), target.as_ref());
    let verdicts = verify_in(projections, ends, same_engine, level, keys_max, reporter).await;
    // They were only read from: failing to let go of them changes no verdict.
    let _ = source.close().await;
    let _ = target.close().await;
    verdicts
}

/// As [`verify`], in snapshots of source and target that the caller holds.
pub async fn verify_in(
    projections: &[Projection],
    (source, target): (&dyn Snapshot, &dyn Snapshot),
    same_engine: bool,
    level: VerifyLevel,
    keys_max: usize,
    reporter: &dyn Reporter,
) -> Result<Vec<TableVerdict>, EngineError> {
    let by_servers = same_engine && level == VerifyLevel::Checksum && {
        let (here, there) = try_join(source.encoding(), target.encoding()).await?;
        here == there
    };
    let comparing = projections.iter().map(|projection| {
        let table = Comparison {
            projection: Projection { form: Form::Rows, ..projection.clone() },
            native: projection,
            mirror: mirrored(projection),
            source,
            target,
            same_engine,
            by_servers,
            keys_max,
        };
        async move { table.run(level, reporter).await }
    });
    let verdicts: Vec<Result<TableVerdict, EngineError>> =
        futures_util::stream::iter(comparing).buffered(TABLES).collect().await;
    verdicts.into_iter().collect()
}

/// The way back: reads at the target what the projection wrote there.
pub(super) fn mirrored(projection: &Projection) -> Projection {
    let columns = projection.columns.iter().map(|column| ColumnMap {
        source: column.target.clone(),
        source_type: column.target_type.clone(),
        source_native: column.target_native.clone(),
        cast: None::<Cast>,
        ..column.clone()
    });
    Projection {
        source: projection.target.clone(),
        target: projection.target.clone(),
        columns: columns.collect(),
        filter: None,
        key: projection.key.clone(),
        form: Form::Rows,
    }
}

/// The same columns, whatever class of value they hold.
fn untyped(projection: &Projection) -> Projection {
    let columns = projection.columns.iter().map(|column| ColumnMap {
        source_type: Type::Any,
        target_type: Type::Any,
        ..column.clone()
    });
    Projection { columns: columns.collect(), ..projection.clone() }
}

/// One table at both ends.
struct Comparison<'a> {
    /// As rows, for reading here.
    projection: Projection,
    /// As the plan has it, for what the source computes.
    native: &'a Projection,
    mirror: Projection,
    source: &'a dyn Snapshot,
    target: &'a dyn Snapshot,
    same_engine: bool,
    /// The sums of both servers can be compared.
    by_servers: bool,
    keys_max: usize,
}

/// What the sums say.
struct Compared {
    source: Summary,
    target: Summary,
}

impl Comparison<'_> {
    async fn run(&self, level: VerifyLevel, reporter: &dyn Reporter) -> Result<TableVerdict, EngineError> {
        let counts = try_join(self.source.count(self.native), self.target.count(&self.mirror)).await?;
        let (equal, findings, more) = match level {
            VerifyLevel::Count => (true, Vec::new(), 0),
            VerifyLevel::Checksum if self.by_servers => self.compare_summaries(counts).await?,
            VerifyLevel::Checksum | VerifyLevel::Rows => self.compare_rows(counts).await?,
        };
        let verdict = TableVerdict {
            source: self.native.source.clone(),
            target: self.native.target.clone(),
            equal: equal && counts.0 == counts.1,
            source_rows: counts.0,
            target_rows: counts.1,
            findings,
            more,
        };
        reporter.event(&Event::Verified {
            table: verdict.target.clone(),
            equal: verdict.equal,
            source_rows: counts.0,
            target_rows: counts.1,
        });
        Ok(verdict)
    }

    /// Sums computed by the servers, of texts in one form: another one may spell the same value otherwise.
    async fn compare_summaries(&self, counts: (u64, u64)) -> Result<(bool, Vec<Finding>, u64), EngineError> {
        let mirror = Projection { form: self.native.form, ..self.mirror.clone() };
        let (source, target) =
            try_join(self.source.summary(self.native, BUCKETS), self.target.summary(&mirror, BUCKETS))
                .await?;
        let compared = Compared { source, target };
        self.check_counted(&compared, counts)?;
        let Some(Suspect { buckets, rows, unlisted }) = compared.mismatches() else {
            return Ok((true, Vec::new(), 0));
        };
        crash_point("verify::mismatch");
        let (source, target) = try_join(
            self.source.bucket_rows(self.native, &buckets, BUCKETS, rows),
            self.target.bucket_rows(&mirror, &buckets, BUCKETS, rows),
        )
        .await?;
        let keyed = |rows: Vec<(String, i128)>| -> Vec<Listed> {
            rows.into_iter().map(|(key, hash)| Listed { id: key.clone(), hash, key }).collect()
        };
        let (findings, more) = self.cap(differences(keyed(source), keyed(target)));
        Ok((false, findings, more + unlisted))
    }

    /// Sums computed here. Rows of equal engines may hold values that their columns do not declare:
    /// then every value is compared as it is, its class included.
    async fn compare_rows(&self, counts: (u64, u64)) -> Result<(bool, Vec<Finding>, u64), EngineError> {
        match self.compare_cells(&self.projection, &self.mirror, counts).await {
            Err(error) if error.cause == Cause::Data && self.same_engine => {
                let (projection, mirror) = (untyped(&self.projection), untyped(&self.mirror));
                self.compare_cells(&projection, &mirror, counts).await
            }
            compared => compared,
        }
    }

    async fn compare_cells(
        &self,
        projection: &Projection,
        mirror: &Projection,
        counts: (u64, u64),
    ) -> Result<(bool, Vec<Finding>, u64), EngineError> {
        let zones = zones(projection, self.source, self.target, self.same_engine).await?;
        let canon = Canon::new(projection, self.same_engine, &zones).map_err(|why| {
            EngineError::new(Cause::Other, "compare the rows of", why)
                .on(&self.native.source)
                .hint("compare this table with --level count")
        })?;
        let (source, target) = try_join(
            sums::summarize(self.source, projection, &canon, BUCKETS),
            sums::summarize(self.target, mirror, &canon, BUCKETS),
        )
        .await?;
        let compared = Compared { source, target };
        self.check_counted(&compared, counts)?;
        let Some(Suspect { buckets, unlisted, .. }) = compared.mismatches() else {
            return Ok((true, Vec::new(), 0));
        };
        crash_point("verify::mismatch");
        let (source, target) = try_join(
            sums::list(self.source, projection, &canon, &buckets, BUCKETS),
            sums::list(self.target, mirror, &canon, &buckets, BUCKETS),
        )
        .await?;
        let (findings, more) = self.cap(differences(source, target));
        Ok((false, findings, more + unlisted))
    }

    /// A verdict stands on rows that were really compared: all that a count of its own found.
    fn check_counted(&self, compared: &Compared, counts: (u64, u64)) -> Result<(), EngineError> {
        let pairs = [
            (&self.native.source, compared.source.rows(), counts.0),
            (&self.native.target, compared.target.rows(), counts.1),
        ];
        for (table, rows, counted) in pairs {
            if rows != counted {
                let why = format!("{rows} rows were compared, but it has {counted}");
                return Err(EngineError::new(Cause::Other, "verify", why).on(table).hint("verify again"));
            }
        }
        Ok(())
    }

    fn cap(&self, mut findings: Vec<Finding>) -> (Vec<Finding>, u64) {
        findings.sort();
        let more = findings.len().saturating_sub(self.keys_max) as u64;
        findings.truncate(self.keys_max);
        (findings, more)
    }
}

/// The zones that timestamps are moved by, as the end that moves them has them.
pub(super) async fn zones(
    projection: &Projection,
    source: &dyn Snapshot,
    target: &dyn Snapshot,
    same_engine: bool,
) -> Result<Zones, EngineError> {
    let mut zones = Zones::new();
    let wanted = if same_engine { Vec::new() } else { unknown_zones(projection) };
    for name in wanted {
        if zones.contains_key(name) {
            continue;
        }
        let zone = match source.zone(name).await? {
            Some(zone) => Some(zone),
            None => target.zone(name).await?,
        };
        zones.extend(zone.map(|zone| (name.to_string(), Arc::new(zone))));
    }
    Ok(zones)
}

impl Compared {
    /// The buckets that do not match; none where all do.
    fn mismatches(&self) -> Option<Suspect> {
        let none = (0, 0);
        let length = self.source.buckets.len().max(self.target.buckets.len());
        let at = |summary: &Summary, bucket: usize| *summary.buckets.get(bucket).unwrap_or(&none);
        let rows = |bucket: usize| at(&self.source, bucket).0.max(at(&self.target, bucket).0) as usize;
        let mut differing =
            (0..length).filter(|&bucket| at(&self.source, bucket) != at(&self.target, bucket));
        let first = differing.next()?;
        let mut suspect = Suspect { buckets: vec![first as u32], rows: rows(first), unlisted: 0 };
        for bucket in differing {
            if suspect.unlisted > 0 || suspect.rows + rows(bucket) > LISTED_ROWS_MAX {
                suspect.unlisted += 1;
                continue;
            }
            suspect.buckets.push(bucket as u32);
            suspect.rows += rows(bucket);
        }
        Some(suspect)
    }
}

/// Buckets to look into.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Suspect {
    /// At least one, as many as [`LISTED_ROWS_MAX`] allows.
    buckets: Vec<u32>,
    /// Rows in them at the side that has more.
    rows: usize,
    /// Mismatching buckets beyond those.
    unlisted: u64,
}

/// A row of a mismatching bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    /// What two rows have in common that are the same row.
    pub(super) id: String,
    pub(super) hash: i128,
    /// For a human.
    pub(super) key: String,
}

/// Compares two lists as multisets: rows of one id that are not equal are paired, what remains
/// is on one side only.
fn differences(mut source: Vec<Listed>, mut target: Vec<Listed>) -> Vec<Finding> {
    source.sort();
    target.sort();
    let mut findings = Vec::new();
    let (mut source, mut target) = (&source[..], &target[..]);
    while let Some(id) = [source.first(), target.first()].into_iter().flatten().map(|row| &row.id).min() {
        let cut = |rows: &[Listed]| rows.iter().take_while(|row| row.id == *id).count();
        let (here, source_rest) = source.split_at(cut(source));
        let (there, target_rest) = target.split_at(cut(target));
        compare_group(here, there, &mut findings);
        (source, target) = (source_rest, target_rest);
    }
    findings
}

fn compare_group(source: &[Listed], target: &[Listed], findings: &mut Vec<Finding>) {
    let mut missing: Vec<&Listed> = Vec::new();
    let mut there: Vec<&Listed> = target.iter().collect();
    for row in source {
        match there.iter().position(|other| other.hash == row.hash) {
            Some(at) => drop(there.swap_remove(at)),
            None => missing.push(row),
        }
    }
    let pairs = missing.len().min(there.len());
    findings.extend(missing[..pairs].iter().map(|row| Finding::Differs { key: row.key.clone() }));
    findings.extend(missing[pairs..].iter().map(|row| Finding::OnlySource { key: row.key.clone() }));
    findings.extend(there[pairs..].iter().map(|row| Finding::OnlyTarget { key: row.key.clone() }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, hash: i128) -> Listed {
        Listed { id: id.into(), hash, key: id.into() }
    }

    #[test]
    fn rows_are_paired_by_id_and_counted() {
        let source = vec![row("1", 10), row("2", 20), row("3", 30), row("5", 50), row("5", 50)];
        let target = vec![row("5", 50), row("4", 40), row("2", 21), row("1", 10)];
        let mut found = differences(source, target);
        found.sort();
        let key = |key: &str| key.to_string();
        assert_eq!(
            found,
            vec![
                Finding::OnlySource { key: key("3") },
                Finding::OnlySource { key: key("5") },
                Finding::OnlyTarget { key: key("4") },
                Finding::Differs { key: key("2") },
            ]
        );
    }

    #[test]
    fn p_10_a_bucket_on_one_side_only_differs() {
        let compared = Compared {
            source: Summary { buckets: vec![(1, 5), (0, 0)] },
            target: Summary { buckets: vec![(1, 5)] },
        };
        assert_eq!(compared.mismatches(), None);
        let compared = Compared {
            source: Summary { buckets: vec![(1, 5), (0, 0), (1, 3)] },
            target: Summary { buckets: vec![(2, 5)] },
        };
        let found = Suspect { buckets: vec![0, 2], rows: 3, unlisted: 0 };
        assert_eq!(compared.mismatches(), Some(found));
    }

    #[test]
    fn buckets_are_listed_up_to_a_number_of_rows_and_at_least_one() {
        let big = LISTED_ROWS_MAX as u64;
        let compared = Compared {
            source: Summary { buckets: vec![(big * 2, 1), (1, 1), (1, 1)] },
            target: Summary { buckets: vec![(big * 2, 2), (1, 2), (1, 2)] },
        };
        let found = Suspect { buckets: vec![0], rows: LISTED_ROWS_MAX * 2, unlisted: 2 };
        assert_eq!(compared.mismatches(), Some(found));
    }
}
