//! The stream's part of `status`: what was applied of each table, how far behind the target is, and
//! what the source keeps for it. The source is asked if it can be reached; that it cannot is said.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::ends::{self, Loaded};
use super::escape::line;
use super::failure::{Failure, What};
use super::look::{Line, Page, Tone};
use super::number::{bytes, exact, plural, seconds};
use crate::change::Counts;
use crate::checkpoint::StreamProgress;
use crate::diff::id;
use crate::engine::{Source, Standing};

/// What is known of a stream.
pub struct StreamStatus {
    pub progress: StreamProgress,
    /// What the source says, or why it says nothing.
    pub source: Result<AtSource, String>,
    /// Bytes of log that the source may keep (`cdc.keep_log`).
    pub limit: Option<u64>,
}

/// The source's side.
pub struct AtSource {
    pub standing: Standing,
    /// Bytes of log from the target's position to the source's head.
    pub lag_bytes: u64,
}

/// Asks the source about the stream that the target remembers. `open`: the source, kept for the
/// next time while it answers.
pub async fn read(
    loaded: &Loaded,
    open: &mut Option<Box<dyn Source>>,
    progress: StreamProgress,
) -> StreamStatus {
    let source = ask(loaded, open, &progress).await.map_err(|failure| match failure.what {
        What::Message(message) => message.text,
        _ => "it cannot be asked".to_string(),
    });
    StreamStatus { progress, source, limit: loaded.plan.cdc.keep_log }
}

async fn ask(
    loaded: &Loaded,
    open: &mut Option<Box<dyn Source>>,
    progress: &StreamProgress,
) -> Result<AtSource, Failure> {
    let source = match open.take() {
        Some(source) => source,
        None => ends::open_source(loaded).await?,
    };
    let Some(capture) = source.capture() else {
        return Err(Failure::usage("its engine has no change log that is followed"));
    };
    let standing = capture.standing(&loaded.plan.name).await?;
    let head = capture.head().await?;
    let lag_bytes = capture.distance(&progress.position, &head);
    *open = Some(source);
    Ok(AtSource { standing, lag_bytes })
}

impl StreamStatus {
    /// Seconds since the last applied commit; zero at the source's head.
    fn lag(&self, now: Timestamp) -> Option<f64> {
        if matches!(&self.source, Ok(AtSource { lag_bytes: 0, .. })) {
            return Some(0.0);
        }
        let micros = now.as_microsecond() - self.progress.committed_at?;
        Some(micros.max(0) as f64 / 1e6)
    }

    /// True where nothing can be followed any more.
    pub fn is_gone(&self) -> bool {
        matches!(&self.source, Ok(AtSource { standing: Standing::Missing | Standing::Lost(_), .. }))
    }

    pub fn render(&self, page: &mut Page, now: Timestamp) {
        let StreamProgress { position, transactions, tables, .. } = &self.progress;
        let count = format!("{} {}", exact(*transactions), plural(*transactions as usize, "transaction"));
        page.say(&format!("  stream  {count} applied, up to {}", line(&position.0)));
        for (table, counts) in tables {
            page.say(&format!("          {table}: {}", counts_text(counts)));
        }
        match &self.source {
            Err(why) => {
                page.line(Line::new().text("  lag     ").add(Tone::Warn, format!("unknown: {}", line(why))))
            }
            Ok(source) => {
                let time = self.lag(now).map(|lag| format!(", {}", seconds(lag))).unwrap_or_default();
                let lag = match source.lag_bytes {
                    0 => "none, at the source's head".to_string(),
                    log => format!("{} of log{time}", bytes(log)),
                };
                page.say(&format!("  lag     {lag}"));
                page.line(kept(&source.standing, self.limit));
            }
        }
    }

    pub fn value(&self, now: Timestamp) -> Value {
        let tables =
            self.progress.tables.iter().map(|(table, counts)| json!({ "table": table, "counts": counts }));
        let source = self.source.as_ref();
        let standing = source.map(|source| match &source.standing {
            Standing::Missing => json!({ "state": "missing" }),
            Standing::Lost(why) => json!({ "state": "lost", "why": why }),
            Standing::Kept { acknowledged, retained, room, active } => json!({
                "state": "kept", "acknowledged": acknowledged, "retained_bytes": retained,
                "limit_bytes": self.limit, "room_bytes": room, "active": active
            }),
        });
        json!({
            "opened": self.progress.opened,
            "position": self.progress.position,
            "committed_at": self.progress.committed_at,
            "transactions": self.progress.transactions,
            "at": self.progress.at,
            "tables": tables.collect::<Vec<_>>(),
            "lag_bytes": source.map(|source| source.lag_bytes).ok(),
            "lag_seconds": self.lag(now),
            "capture": standing.ok(),
            "source_error": source.err(),
        })
    }
}

fn kept(standing: &Standing, limit: Option<u64>) -> Line {
    let line_of = |tone, text: String| Line::new().text("  source  ").add(tone, text);
    match standing {
        Standing::Missing => line_of(Tone::Stop, "keeps no changes for this plan any more".into()),
        Standing::Lost(why) => line_of(Tone::Stop, format!("has given its changes up: {}", line(why))),
        Standing::Kept { retained, room, active, .. } => {
            let reader = if *active { "somebody reads it now" } else { "nobody reads it now" };
            let may = limit.map(|limit| format!(" of {} allowed (cdc.keep_log)", bytes(limit)));
            let mut text = format!("keeps {} of log{}, {reader}", bytes(*retained), may.unwrap_or_default());
            if let Some(room) = room {
                text.push_str(&format!("; after {} more the server gives it up", bytes(*room)));
            }
            let full = limit.is_some_and(|limit| *retained >= limit / 2)
                || room.is_some_and(|room| room <= *retained);
            line_of(if full { Tone::Warn } else { Tone::Plain }, text)
        }
    }
}

fn counts_text(counts: &Counts) -> String {
    let Counts { inserts, updates, deletes, truncates } = *counts;
    let mut text =
        format!("{} inserted, {} updated, {} deleted", exact(inserts), exact(updates), exact(deletes));
    if truncates > 0 {
        text.push_str(&format!(", emptied {} times", exact(truncates)));
    }
    text
}

/// How far a plan that follows changes has come, by its marks.
pub fn phase(is_done: impl Fn(&str) -> bool) -> &'static str {
    match () {
        () if is_done(id::SYNCED) => "following",
        () if is_done(id::CONSISTENT) => "catching up",
        () if is_done(id::OPEN) => "copying",
        () => "creating",
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::Look;
    use super::*;
    use crate::catalog::Name;
    use crate::change::Position;

    fn status(standing: Standing, lag_bytes: u64) -> StreamStatus {
        let counts = Counts { inserts: 3, updates: 1_200, deletes: 0, truncates: 2 };
        StreamStatus {
            progress: StreamProgress {
                opened: Position("0/10".into()),
                position: Position("0/20".into()),
                committed_at: Some(5_000_000),
                transactions: 12,
                tables: vec![(Name::new("app", "users"), counts)],
                at: String::new(),
            },
            source: Ok(AtSource { standing, lag_bytes }),
            limit: None,
        }
    }

    fn shown(status: &StreamStatus) -> String {
        let mut page = Page::new(Look::default());
        status.render(&mut page, Timestamp::from_second(9).expect("a moment"));
        page.finish()
    }

    #[test]
    fn a_stream_says_what_it_applied_how_far_behind_it_is_and_what_is_kept() {
        let kept = Standing::Kept {
            acknowledged: Position("0/20".into()),
            retained: 5_000_000,
            room: None,
            active: false,
        };
        assert_eq!(
            shown(&status(kept.clone(), 7_000)),
            "  stream  12 transactions applied, up to 0/20\n          \
             app.users: 3 inserted, 1 200 updated, 0 deleted, emptied 2 times\n  \
             lag     7.0 kB of log, 4 s\n  \
             source  keeps 5.0 MB of log, nobody reads it now\n"
        );
        assert!(shown(&status(kept, 0)).contains("lag     none, at the source's head\n"));
    }

    #[test]
    fn how_much_more_may_be_kept_is_said() {
        let standing = Standing::Kept {
            acknowledged: Position::default(),
            retained: 5_000,
            room: Some(70),
            active: true,
        };
        let status = StreamStatus { limit: Some(20_000_000), ..status(standing, 0) };
        let line = "  source  keeps 5.0 kB of log of 20.0 MB allowed (cdc.keep_log), somebody reads it now; \
            after 70 B more the server gives it up\n";
        assert!(shown(&status).ends_with(line), "{}", shown(&status));
        let capture = &status.value(Timestamp::UNIX_EPOCH)["capture"];
        assert_eq!((&capture["room_bytes"], &capture["limit_bytes"]), (&70.into(), &20_000_000.into()));
    }

    #[test]
    fn g_10_a_capture_that_is_gone_is_said() {
        let gone = status(Standing::Lost("removed".into()), 1);
        assert!(gone.is_gone() && shown(&gone).contains("has given its changes up: removed"));
        assert_eq!(gone.value(Timestamp::UNIX_EPOCH)["capture"]["state"], "lost");
        let unreachable = StreamStatus { source: Err("no route".into()), ..gone };
        assert!(!unreachable.is_gone() && shown(&unreachable).contains("unknown: no route"));
        assert_eq!(unreachable.value(Timestamp::UNIX_EPOCH)["source_error"], "no route");
    }
}
