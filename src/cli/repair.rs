//! `verify --repair`: compares row by row, shows how many rows of which tables differ, asks, lets
//! the runtime put them right, and compares again. The plan's lock is held all the while. Decides
//! nothing about data.

use serde_json::{Value, json};

use super::args::{Plainness, ProbeArg, SavedArgs, VerifyArg, VerifyArgs};
use super::escape::line;
use super::failure::Failure;
use super::look::{Line, Look, Page, Tone};
use super::making::{self, Made};
use super::number::{count, exact};
use super::progress::Progress;
use super::tally::Tally;
use super::verify::{self, Groups, same_engine, until_stopped};
use super::{Face, ends, exit, signals};
use crate::catalog::Projection;
use crate::engine::{EngineError, Snapshot, Source, Target};
use crate::graph::digest;
use crate::plan::Load;
use crate::runtime::planning::SourceEnd;
use crate::runtime::repair::{Meeting, Repair, TableRepair, find};
use crate::runtime::serve::Service;
use crate::runtime::{Reporter, Stop, SystemClock, TableVerdict, VerifyLevel, stream};

/// What came of it.
struct Outcome {
    /// As it was found.
    before: Vec<TableVerdict>,
    /// As it is now; none where nothing was written.
    after: Option<Vec<TableVerdict>>,
    tables: Vec<TableRepair>,
}

pub async fn run(args: &VerifyArgs, face: &Face) -> Result<u8, Failure> {
    if !matches!(args.level, None | Some(VerifyArg::Rows)) {
        return Err(Failure::usage("--repair has to find the rows that differ: only --level rows does"));
    }
    if !args.yes && !face.screen.can_ask() {
        return Err(Failure::usage("verify --repair cannot ask here: no terminal").help("pass --yes"));
    }
    let made = making::make(face, &SavedArgs::default(), ProbeArg::None).await?;
    let SourceEnd::Live(source) = &made.ends.source else {
        return Err(Failure::usage("a saved catalog has no rows to compare"));
    };
    let groups = groups(&made, args)?;
    let target = ends::open_target(&made.loaded, false).await?;
    let stop = Stop::default();
    let work =
        Work { made: &made, source: source.as_ref(), target: target.as_ref(), args, face, stop: &stop };
    let outcome = tokio::select! {
        outcome = work.run(&groups) => outcome?,
        never = signals::listen(&stop) => match never {},
    };
    if args.format == Plainness::Json {
        let keys = args.show_keys || face.screen.stdout_terminal;
        face.screen.out(&super::json::pretty(&value(&outcome, keys)));
    }
    Ok(verify::exit_code(outcome.after.as_ref().unwrap_or(&outcome.before)))
}

/// All chosen tables, row by row. One whose rows the plan does not bring has none to be repaired.
fn groups(made: &Made, args: &VerifyArgs) -> Result<Groups, Failure> {
    let tables = &made.planned.diff.tables;
    let chosen = verify::chosen(tables, args)?;
    let brought = |projection: &Projection| {
        let table = tables.iter().find(|table| table.want.name == projection.target);
        table.is_some_and(|table| table.policy.load != Load::None)
    };
    let projections = chosen.into_iter().flat_map(|(_, projections)| projections).filter(brought);
    Ok(vec![(VerifyLevel::Rows, projections.collect())])
}

/// All tables of the plan, whatever was asked for.
fn everything(made: &Made) -> Groups {
    let tables = made.planned.diff.tables.iter();
    let brought = tables.filter(|table| table.want.holds_rows() && table.policy.load != Load::None);
    vec![(VerifyLevel::Rows, brought.map(|table| Projection::clone(&table.projection)).collect())]
}

/// What is worked with.
struct Work<'a> {
    made: &'a Made,
    source: &'a dyn Source,
    target: &'a dyn Target,
    args: &'a VerifyArgs,
    face: &'a Face,
    stop: &'a Stop,
}

impl Work<'_> {
    /// Holds both ends, and lets go of them however it ends.
    async fn run(&self, groups: &Groups) -> Result<Outcome, Failure> {
        let (meeting, snapshot) = self.hold().await?;
        let work = async {
            match meeting.stuck() {
                None => self.compare_and_repair(&meeting, snapshot, groups).await,
                Some(why) => {
                    self.say_stuck(why)?;
                    self.compare_and_repair(&meeting, snapshot, &everything(self.made)).await
                }
            }
        };
        let done = tokio::select! {
            biased;
            lost = meeting.beat(&SystemClock) => Err(lost.into()),
            done = work => done,
        };
        let closed = meeting.close(if done.is_ok() { "done" } else { "failed" }).await;
        let outcome = done?;
        closed?;
        Ok(outcome)
    }

    /// A stream that is stuck goes on from where all followed tables are right again.
    fn say_stuck(&self, why: &EngineError) -> Result<(), Failure> {
        if !self.args.tables.is_empty() {
            return Err(Failure::new(exit::MISMATCH, why.to_string()).help(
                "the stream is stuck at this row: leave --tables out, so that all of them are put right",
            ));
        }
        self.face.screen.say(&format!(
            "the stream is stuck: {}\nall followed tables are compared with what the source holds now; \
             once they are right, the stream goes on from there",
            line(&why.to_string())
        ));
        Ok(())
    }

    async fn hold(&self) -> Result<(Meeting, Box<dyn Snapshot>), Failure> {
        let progress = self.progress();
        let held = self.with_service(&progress, async |service| {
            Meeting::hold(service, verify::follows(self.made)).await
        });
        let held = held.await;
        progress.finish();
        held.map_err(verify::held)
    }

    async fn with_service<T>(&self, reporter: &dyn Reporter, work: impl AsyncFnOnce(&Service<'_>) -> T) -> T {
        let goal = digest::goal(&self.made.planned.graph);
        let follow = stream::follow_options(&self.made.loaded.plan, verify::ATTEMPTS);
        let ends = (self.source, self.target);
        work(&verify::service(self.made, ends, &follow, &goal, reporter, self.stop)).await
    }

    fn progress(&self) -> Progress {
        Progress::start(self.args.progress, &self.face.screen, Tally::default())
    }

    async fn compare_and_repair(
        &self,
        meeting: &Meeting,
        snapshot: Box<dyn Snapshot>,
        groups: &Groups,
    ) -> Result<Outcome, Failure> {
        let before = self.compare(meeting, snapshot.as_ref(), groups).await?;
        let different: Vec<&Projection> = groups
            .iter()
            .flat_map(|(_, projections)| projections)
            .filter(|projection| before.iter().any(|table| !table.equal && table.target == projection.target))
            .collect();
        let stuck = meeting.stuck().is_some();
        if different.is_empty() && !stuck {
            return Ok(Outcome { before, after: None, tables: Vec::new() });
        }
        let finding = async {
            let ends = (meeting.source(), snapshot.as_ref());
            Ok(find(&different, ends, same_engine(self.made)).await?)
        };
        let repair = until_stopped(self.stop, finding).await?;
        let found = render(&repair.tables, self.face.screen.message_look());
        self.face.screen.err(&format!("\n{found}"));
        let stays = repair.tables.iter().any(|table| table.refused.is_some());
        if let Some(why) = meeting.stuck().filter(|_| stays) {
            return Err(Failure::new(exit::MISMATCH, why.to_string())
                .help("nothing was written: a table that stays as it is keeps the stream from going on"));
        }
        if (repair.rows() == 0 && !stuck) || !self.agreed(&repair).await? {
            return Ok(Outcome { before, after: None, tables: repair.tables });
        }
        // An engine may let nobody write while it is held; it was only read from.
        let _ = snapshot.close().await;
        let quiet = self.progress();
        self.with_service(&quiet, async |service| meeting.put_right(service, &repair).await).await?;
        quiet.finish();
        self.face.screen.say(&format!("put right: {} of the target, in one transaction", rows(&repair)));
        let snapshot = self.target.snapshot().await?;
        let after = self.compare(meeting, snapshot.as_ref(), groups).await?;
        let _ = snapshot.close().await;
        Ok(Outcome { before, after: Some(after), tables: repair.tables })
    }

    /// Compares, and shows what was found.
    async fn compare(
        &self,
        meeting: &Meeting,
        target: &dyn Snapshot,
        groups: &Groups,
    ) -> Result<Vec<TableVerdict>, Failure> {
        let progress = self.progress();
        let snapshots = (meeting.source(), target);
        let compared =
            until_stopped(self.stop, verify::compare(groups, snapshots, self.made, &progress)).await;
        progress.finish();
        let mut verdicts = compared?;
        verdicts.sort_by(|a, b| a.target.cmp(&b.target));
        if self.args.format == Plainness::Text {
            let keys = self.args.show_keys || self.face.screen.stdout_terminal;
            self.face.screen.out(&verify::render(&verdicts, keys, self.face.screen.look()));
        }
        Ok(verdicts)
    }

    async fn agreed(&self, repair: &Repair) -> Result<bool, Failure> {
        if self.args.yes {
            return Ok(true);
        }
        let question = format!("Put {} of the target right?", rows(repair));
        let screen = self.face.screen.clone();
        // The lock is looked after meanwhile.
        let asking = async {
            let asked = tokio::task::spawn_blocking(move || screen.confirm(&question)).await;
            Ok(asked.unwrap_or(false))
        };
        let agreed = until_stopped(self.stop, asking).await?;
        if !agreed {
            self.face.screen.say("declined: nothing was changed");
        }
        Ok(agreed)
    }
}

/// `4 rows in 2 tables`
fn rows(repair: &Repair) -> String {
    let tables = repair.tables.iter().filter(|table| table.refused.is_none()).count();
    format!("{} in {}", count(repair.rows() as usize, "row"), count(tables, "table"))
}

/// What differs, and what is not put right.
fn render(tables: &[TableRepair], look: Look) -> String {
    let mut page = Page::new(look);
    let widest = tables.iter().map(|table| table.target.to_string().chars().count()).max().unwrap_or(0);
    for table in tables {
        let name = Line::new().text("  ").cell(Tone::Plain, &table.target.to_string(), widest.min(48));
        page.line(name.text("  ").text(counts(table)));
        if let Some(why) = &table.refused {
            page.line(
                Line::new().text("      ").add(Tone::Stop, "stays as it is").text(format!(": {}", line(why))),
            );
        }
    }
    page.finish()
}

fn counts(table: &TableRepair) -> String {
    let parts = [(table.missing, "missing"), (table.changed, "changed"), (table.extra, "only on the target")];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(rows, _)| *rows > 0)
        .map(|(rows, what)| format!("{} {what}", exact(*rows)))
        .collect();
    match parts.is_empty() {
        true => "rows differ".into(),
        false => parts.join(", "),
    }
}

fn value(outcome: &Outcome, keys: bool) -> Value {
    let mut value = verify::value(outcome.after.as_ref().unwrap_or(&outcome.before), keys);
    let tables = outcome.tables.iter().map(|table| {
        json!({
            "target": table.target,
            "missing": table.missing,
            "changed": table.changed,
            "extra": table.extra,
            "refused": table.refused,
        })
    });
    value["repair"] = json!({
        "equal_before": outcome.before.iter().all(|verdict| verdict.equal),
        "written": outcome.after.is_some(),
        "tables": tables.collect::<Vec<_>>(),
    });
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Name;

    #[test]
    fn what_differs_is_counted_and_what_stays_says_why() {
        let table = |name: &str, refused: Option<&str>| TableRepair {
            target: Name::new("app", name),
            missing: 1,
            changed: u64::from(refused.is_none()) * 1_200,
            extra: 0,
            refused: refused.map(Into::into),
        };
        let shown = render(&[table("orders", None), table("log", Some("it has no\nkey"))], Look::default());
        assert_eq!(
            shown,
            "  app.orders  1 missing, 1 200 changed\n  app.log     1 missing\n      stays as it is: it has no\\u{a}key\n"
        );
    }
}
