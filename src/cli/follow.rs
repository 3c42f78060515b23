//! `follow`: keeps applying the source's changes until it is stopped, or has caught up. Plans again
//! to know what is followed; decides nothing about data.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::FollowArgs;
use super::escape::line;
use super::failure::Failure;
use super::making::{self, Made};
use super::number::{count, short};
use super::progress::Progress;
use super::serve::{Board, Both, Phase, Serving, supervisor};
use super::tally::Tally;
use super::{Face, ends, exit, signals};
use crate::engine::Source;
use crate::graph::digest;
use crate::runtime::follow::{Ended, FollowReport, Goal};
use crate::runtime::planning::SourceEnd;
use crate::runtime::serve::{Service, serve, stream_of};
use crate::runtime::{Event, Reporter, Stop, SystemClock, stream};

/// Attempts at one piece of work before the whole is begun anew, which goes on for ever.
const ATTEMPTS: u32 = 5;

pub async fn run(args: &FollowArgs, face: &Face) -> Result<u8, Failure> {
    let serving = Serving::start("follow", args.serve, face).await?;
    let result = plan_and_follow(args, &serving.board, face).await;
    serving.end(&result).await;
    result
}

async fn plan_and_follow(args: &FollowArgs, board: &Board, face: &Face) -> Result<u8, Failure> {
    let made = making::make_either(face, args.back).await?;
    board.planned(&made.planned.graph, |step| made.done.contains(step), &made.planned.progress);
    stream_of(&made.planned.graph)?;
    let report = follow_made(&made, args, board, face).await?;
    if report.ended == Ended::Stopped {
        board.end(Phase::Stopped, None);
    }
    if args.json {
        face.screen.out(&super::json::pretty(&value(&report, &made.planned.graph.name)));
    } else if !face.screen.quiet {
        face.screen.err(&render(&report, args.back));
    }
    // Who asked for a lag and did not get it has something left to do.
    let short_of = args.until_lag.is_some() && report.ended == Ended::Stopped;
    Ok(if short_of { exit::PARTIAL } else { exit::DONE })
}

async fn follow_made(
    made: &Made,
    args: &FollowArgs,
    board: &Board,
    face: &Face,
) -> Result<FollowReport, Failure> {
    let SourceEnd::Live(source) = &made.ends.source else {
        return Err(Failure::usage("a saved catalog has no changes to follow"));
    };
    let source: &dyn Source = source.as_ref();
    let target = ends::open_target(&made.loaded, false).await?;
    let graph = &made.planned.graph;
    let progress = Progress::start(args.progress, &face.screen, Tally::new(graph, &made.done));
    let (told, stop) = (Both(&progress, board), Stop::default());
    let service = Service {
        graph,
        source,
        target: target.as_ref(),
        follow: &stream::follow_options(&made.loaded.plan, ATTEMPTS),
        digest: &digest::goal(graph),
        lock_wait: args.lock_timeout,
        keep_log: made.loaded.plan.cdc.keep_log,
        reporter: &told,
        stop: &stop,
        clock: Arc::new(SystemClock),
    };
    let goal = args.until_lag.map_or(Goal::Forever, Goal::Lag);
    let report = tokio::select! {
        report = serve(&service, &goal) => report,
        never = signals::listen(&stop) => match never {},
        never = end_after(args.time, &stop) => match never {},
        never = announce(&stop, &told) => match never {},
        never = supervisor::keep_informed(board, &stop) => match never {},
    };
    progress.finish();
    Ok(report?)
}

/// Asks to stop after that time; never returns.
async fn end_after(time: Option<Duration>, stop: &Stop) -> std::convert::Infallible {
    if let Some(time) = time {
        tokio::time::sleep(time).await;
        stop.ask();
    }
    std::future::pending().await
}

/// Tells that stopping was asked for; never returns.
async fn announce(stop: &Stop, told: &dyn Reporter) -> std::convert::Infallible {
    stop.wait().await;
    told.event(&Event::Stopping);
    std::future::pending().await
}

fn render(report: &FollowReport, back: bool) -> String {
    let how = match report.ended {
        Ended::Goal => "Caught up",
        Ended::Stopped => "Stopped at a whole transaction",
    };
    format!(
        "{how}: {}, {} rows; the {} has every change before {}.\n",
        count(report.transactions as usize, "transaction"),
        short(report.counts.rows()),
        if back { "source" } else { "target" },
        line(&report.position.0)
    )
}

fn value(report: &FollowReport, name: &str) -> Value {
    json!({
        "format": "towpath.follow/1",
        "name": name,
        "ended": match report.ended { Ended::Goal => "goal", Ended::Stopped => "stopped" },
        "position": report.position,
        "committed_at": report.committed_at,
        "transactions": report.transactions,
        "rows": report.counts.rows(),
        "counts": report.counts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Counts, Position};

    #[test]
    fn the_end_says_how_far_it_came() {
        let report = FollowReport {
            position: Position("0/16B3748".into()),
            committed_at: None,
            transactions: 1,
            counts: Counts { inserts: 2, ..Counts::default() },
            tables: Vec::new(),
            ended: Ended::Goal,
        };
        let text = render(&report, false);
        assert_eq!(text, "Caught up: 1 transaction, 2 rows; the target has every change before 0/16B3748.\n");
        assert_eq!(value(&report, "shop")["ended"], "goal");
        assert!(
            render(&FollowReport { ended: Ended::Stopped, ..report }, true).starts_with("Stopped at a whole")
        );
    }
}
