//! Shows a run while it happens, on standard error: bars on a terminal, else plain lines or JSON
//! lines. Events only add to the tally; one thread draws, so that a run never waits for a screen.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::args::{LogFormat, ProgressFormat};
use super::bars::Bars;
use super::escape::line;
use super::number::{bytes, count, exact, millis, plural, seconds, short};
use super::screen::Screen;
use super::tally::Tally;
use crate::engine::Standing;
use crate::runtime::{Event, Reporter};

/// How often bars are drawn: smooth to the eye, nothing to the processor.
const DRAW: Duration = Duration::from_millis(120);
/// How often a line is written off a terminal.
const LINE: Duration = Duration::from_secs(10);
/// How often JSON tells the sums.
const JSON: Duration = Duration::from_secs(1);

/// Shows events until it is finished.
pub struct Progress {
    shared: Arc<Shared>,
    wake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    start: Instant,
    tally: Mutex<Tally>,
    /// Lines to show above the bars, in order.
    notes: Mutex<Vec<Note>>,
    verbose: u8,
    json: bool,
}

enum Note {
    Line(String),
    Json(Value),
}

/// What draws. Called from one thread.
trait View: Send {
    fn note(&mut self, note: &Note);
    fn draw(&mut self, tally: &Tally, at: Duration);
    fn end(&mut self);
}

/// The format that `auto` stands for here.
pub fn chosen(format: ProgressFormat, screen: &Screen) -> ProgressFormat {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    match format {
        _ if screen.quiet => ProgressFormat::None,
        ProgressFormat::Auto if screen.log == LogFormat::Json => ProgressFormat::Json,
        ProgressFormat::Auto if screen.stderr_terminal && !dumb => ProgressFormat::Bar,
        ProgressFormat::Auto => ProgressFormat::Plain,
        other => other,
    }
}

impl Progress {
    pub fn start(format: ProgressFormat, screen: &Screen, tally: Tally) -> Self {
        let format = chosen(format, screen);
        let shared = Arc::new(Shared {
            start: Instant::now(),
            tally: Mutex::new(tally),
            notes: Mutex::new(Vec::new()),
            verbose: screen.verbose,
            json: format == ProgressFormat::Json,
        });
        let (view, every): (Box<dyn View>, Duration) = match format {
            ProgressFormat::None => return Self { shared, wake: None, thread: None },
            ProgressFormat::Bar => (Box::new(BarView(Bars::new(screen.ascii))), DRAW),
            ProgressFormat::Json => (Box::new(JsonView(screen.clone())), JSON),
            ProgressFormat::Auto | ProgressFormat::Plain => (Box::new(PlainView(screen.clone())), LINE),
        };
        let (wake, asleep) = channel();
        let drawn = Arc::clone(&shared);
        let thread = std::thread::spawn(move || draw_until_told(&drawn, view, &asleep, every));
        Self { shared, wake: Some(wake), thread: Some(thread) }
    }

    /// Draws the last state, takes the bars away and waits until all is written.
    pub fn finish(mut self) {
        self.close();
    }

    fn close(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // A drawing thread that panicked has already said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.close();
    }
}

impl Reporter for Progress {
    fn event(&self, event: &Event) {
        let at = self.shared.start.elapsed();
        lock(&self.shared.tally).take(event, at);
        let Some(wake) = &self.wake else { return };
        if let Some(note) = self.shared.note_of(event) {
            lock(&self.shared.notes).push(note);
            let _ = wake.send(());
        }
    }
}

impl Shared {
    fn note_of(&self, event: &Event) -> Option<Note> {
        match self.json {
            true => json_of(event).map(Note::Json),
            false => line_of(event, self.verbose).map(Note::Line),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn draw_until_told(shared: &Shared, mut view: Box<dyn View>, wake: &Receiver<()>, every: Duration) {
    let mut next = Instant::now() + every;
    loop {
        let told = wake.recv_timeout(next.saturating_duration_since(Instant::now()));
        for note in std::mem::take(&mut *lock(&shared.notes)) {
            view.note(&note);
        }
        if told == Err(RecvTimeoutError::Disconnected) {
            return view.end();
        }
        if Instant::now() >= next {
            let tally = lock(&shared.tally).clone();
            view.draw(&tally, shared.start.elapsed());
            next = Instant::now() + every;
        }
    }
}

struct BarView(Bars);

impl View for BarView {
    fn note(&mut self, note: &Note) {
        if let Note::Line(text) = note {
            self.0.above(text);
        }
    }

    fn draw(&mut self, tally: &Tally, at: Duration) {
        self.0.draw(tally, at);
    }

    fn end(&mut self) {
        self.0.clear();
    }
}

struct PlainView(Screen);

impl View for PlainView {
    fn note(&mut self, note: &Note) {
        if let Note::Line(text) = note {
            self.0.say(text);
        }
    }

    fn draw(&mut self, tally: &Tally, at: Duration) {
        self.0.say(&sums(tally, at));
    }

    fn end(&mut self) {}
}

struct JsonView(Screen);

impl View for JsonView {
    fn note(&mut self, note: &Note) {
        if let Note::Json(value) = note {
            self.0.err_json(value);
        }
    }

    fn draw(&mut self, tally: &Tally, at: Duration) {
        let (rows_per_second, bytes_per_second) = tally.rate(at);
        self.0.err_json(&json!({
            "event": "progress",
            "steps": tally.steps,
            "done": tally.done,
            "failed": tally.failed,
            "running": tally.running.len(),
            "rows": tally.rows,
            "rows_total": tally.rows_total,
            "bytes": tally.bytes,
            "rows_per_second": rows_per_second.round(),
            "bytes_per_second": bytes_per_second.round(),
            "seconds_left": tally.seconds_left(at).map(f64::round),
            "stream": tally.flow.as_ref().map(|flow| json!({
                "tables": flow.tables,
                "lag_bytes": flow.lag_bytes,
                "lag_seconds": flow.lag.map(|lag| lag.as_secs_f64()),
                "transactions": flow.transactions,
                "rows": flow.rows,
                "rows_per_second": flow.rate(at).round(),
                "buffered_bytes": flow.buffered_bytes,
                "spilled_bytes": flow.spilled_bytes,
                "paused": flow.paused,
            })),
        }));
    }

    fn end(&mut self) {}
}

/// The whole run in one line.
pub fn sums(tally: &Tally, at: Duration) -> String {
    let stopping = if tally.stopping { ", stopping" } else { "" };
    match &tally.flow {
        Some(flow) if tally.done >= tally.steps => format!("following: {}{stopping}", flow.line(at)),
        Some(flow) => format!("{}; changes: {}{stopping}", steps(tally, at), flow.line(at)),
        None => format!("{}{stopping}", steps(tally, at)),
    }
}

fn steps(tally: &Tally, at: Duration) -> String {
    let mut text = format!("{} of {} steps", tally.done, tally.steps);
    if tally.rows_total > 0 {
        text.push_str(&format!(", {} of {} rows", short(tally.rows), short(tally.rows_total)));
    }
    if tally.bytes > 0 {
        text.push_str(&format!(", {}", bytes(tally.bytes)));
    }
    let (_, rate) = tally.rate(at);
    if rate >= 1.0 && tally.rows < tally.rows_total {
        text.push_str(&format!(", {}/s", bytes(rate as u64)));
    }
    if let Some(left) = tally.seconds_left(at) {
        text.push_str(&format!(", {} left", seconds(left)));
    }
    text
}

/// What is worth a line of its own.
fn line_of(event: &Event, verbose: u8) -> Option<String> {
    match event {
        Event::StepDone { step, rows, millis: took, .. } if verbose > 0 => {
            let rows = if *rows > 0 { format!(", {} rows", short(*rows)) } else { String::new() };
            Some(format!("done {}{rows} in {}", line(step), millis(*took)))
        }
        Event::StepStarted { step } if verbose > 1 => Some(format!("start {}", line(step))),
        Event::StepSkipped { step } if verbose > 1 => Some(format!("{}: done before", line(step))),
        Event::ChunkDone { step, chunk, of, rows, .. } if verbose > 1 => {
            Some(format!("chunk {chunk} of {of} of {}: {} rows", line(step), short(*rows)))
        }
        Event::SequenceSet { step, value } if verbose > 0 => {
            Some(format!("{}: next value after {value}", line(step)))
        }
        Event::StepFailed { step, error } => Some(format!("failed {}: {}", line(step), line(error))),
        Event::Retrying { step, attempt, millis: wait, error } => {
            Some(format!("{}: {}; attempt {attempt} in {}", line(step), line(error), millis(*wait)))
        }
        Event::Recopying { table, why, .. } => Some(format!("{table} is copied again: {}", line(why))),
        Event::StreamOpened { position, tables } if verbose > 0 => {
            Some(format!("changes of {} are read from {position} on", count(*tables, "table")))
        }
        Event::LogKept { bytes: kept, limit } => Some(format!(
            "the source keeps {} of log for this plan; at {} (cdc.keep_log) it is given up",
            bytes(*kept),
            bytes(*limit)
        )),
        Event::ReadingPaused { why } => Some(format!("reading from the source is paused: {}", line(why))),
        Event::ReadingResumed { millis: after } => {
            Some(format!("reading from the source goes on after {}", millis(*after)))
        }
        Event::Fenced { by_us: true } => Some("the tables are closed for writes".into()),
        Event::Fenced { by_us: false } => Some(
            "from here on nobody should write to the tables; nothing keeps them out (fence: none)".into(),
        ),
        Event::Unfenced => Some("writers may write to the tables again".into()),
        Event::Stopping => {
            Some("stopping: what runs is finished, nothing new starts (again: abort at once)".into())
        }
        Event::Verified { table, equal, source_rows, target_rows } => {
            verified_line(table, *equal, *source_rows, *target_rows, verbose)
        }
        _ => None,
    }
}

fn exact_rows(rows: u64) -> String {
    format!("{} {}", exact(rows), plural(rows as usize, "row"))
}

fn verified_line(
    table: &crate::catalog::Name,
    equal: bool,
    source_rows: u64,
    target_rows: u64,
    verbose: u8,
) -> Option<String> {
    match equal {
        true if verbose == 0 => None,
        true => {
            Some(format!("{table}: equal, {} {}", short(source_rows), plural(source_rows as usize, "row")))
        }
        false => Some(format!(
            "{table}: different, {} on the source, {} on the target",
            exact_rows(source_rows),
            exact_rows(target_rows)
        )),
    }
}

/// An event as a JSON object; what moves is told in sums instead.
fn json_of(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Moved { .. } => return None,
        Event::Started { steps, done, rows, bytes } => {
            json!({ "event": "started", "steps": steps, "done": done, "rows": rows, "bytes": bytes })
        }
        Event::StepStarted { step } => json!({ "event": "step_started", "step": step }),
        Event::Chunked { step, chunks, done, rows, bytes } => json!({
            "event": "chunked", "step": step, "chunks": chunks, "done": done, "rows": rows, "bytes": bytes
        }),
        Event::ChunkDone { step, chunk, of, rows, bytes } => json!({
            "event": "chunk_done", "step": step, "chunk": chunk, "of": of, "rows": rows, "bytes": bytes
        }),
        Event::StepDone { step, rows, bytes, millis } => json!({
            "event": "step_done", "step": step, "rows": rows, "bytes": bytes, "millis": millis
        }),
        Event::StepSkipped { step } => json!({ "event": "step_skipped", "step": step }),
        Event::StepFailed { step, error } => {
            json!({ "event": "step_failed", "step": step, "error": error })
        }
        Event::Retrying { step, attempt, millis, error } => json!({
            "event": "retrying", "step": step, "attempt": attempt, "millis": millis, "error": error
        }),
        Event::Recopying { step, table, done, why } => json!({
            "event": "recopying", "step": step, "table": table, "done": done, "why": why
        }),
        Event::StreamOpened { position, tables } => {
            json!({ "event": "stream_opened", "position": position, "tables": tables })
        }
        Event::Streamed {
            position,
            lag_bytes,
            lag,
            transactions,
            rows,
            buffered_bytes,
            spilled_bytes,
            tables: _,
        } => json!({
            "event": "streamed", "position": position, "lag_bytes": lag_bytes,
            "lag_seconds": lag.map(|lag| lag.as_secs_f64()), "transactions": transactions, "rows": rows,
            "buffered_bytes": buffered_bytes, "spilled_bytes": spilled_bytes
        }),
        Event::Reading { position } => json!({ "event": "reading", "position": position }),
        Event::SourceKeeps { standing, limit } => kept_json(standing, *limit),
        Event::LogKept { bytes, limit } => json!({ "event": "log_kept", "bytes": bytes, "limit": limit }),
        Event::ReadingPaused { why } => json!({ "event": "reading_paused", "why": why }),
        Event::ReadingResumed { millis } => json!({ "event": "reading_resumed", "millis": millis }),
        Event::Fenced { by_us } => json!({ "event": "fenced", "by_us": by_us }),
        Event::Unfenced => json!({ "event": "unfenced" }),
        Event::SequenceSet { step, value } => {
            json!({ "event": "sequence_set", "step": step, "value": value })
        }
        Event::Stopping => json!({ "event": "stopping" }),
        Event::Verified { table, equal, source_rows, target_rows } => json!({
            "event": "verified", "table": table, "equal": equal,
            "source_rows": source_rows, "target_rows": target_rows
        }),
        Event::Finished { done, failed, left, millis } => json!({
            "event": "finished", "done": done, "failed": failed, "left": left, "millis": millis
        }),
    })
}

/// What the source keeps for the plan.
fn kept_json(standing: &Standing, limit: Option<u64>) -> Value {
    match standing {
        Standing::Kept { retained, room, active, .. } => json!({
            "event": "source_keeps", "retained_bytes": retained, "limit_bytes": limit, "room_bytes": room,
            "active": active
        }),
        Standing::Lost(why) => json!({ "event": "source_keeps", "lost": why }),
        Standing::Missing => json!({ "event": "source_keeps", "lost": "it is not there" }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::review::Done;
    use super::super::sample;
    use super::*;

    #[test]
    fn the_sums_say_how_far_how_fast_and_how_long_still() {
        let mut tally = Tally::new(&sample::graph(), &Done::new());
        let step = "app.orders/copy".to_string();
        tally.take(&Event::StepStarted { step: step.clone() }, Duration::ZERO);
        for at in [0, 10] {
            let event = Event::Moved { step: step.clone(), rows: 1_000_000, bytes: 500_000_000 };
            tally.take(&event, Duration::from_secs(at));
        }
        let text = sums(&tally, Duration::from_secs(10));
        assert_eq!(text, "0 of 6 steps, 2.0 M of 34.3 M rows, 1.0 GB, 50.0 MB/s, 5 min left");
    }

    #[test]
    fn failures_and_retries_are_always_said_and_steps_only_when_asked() {
        let failed = Event::StepFailed { step: "a".into(), error: "no\nspace".into() };
        assert_eq!(line_of(&failed, 0).as_deref(), Some("failed a: no\\u{a}space"));
        let done = Event::StepDone { step: "a".into(), rows: 0, bytes: 0, millis: 10 };
        assert_eq!(line_of(&done, 0), None);
        assert_eq!(line_of(&done, 1).as_deref(), Some("done a in 0.01 s"));
    }

    #[test]
    fn what_is_said_is_written_before_finish_returns() {
        let shared = Shared {
            start: Instant::now(),
            tally: Mutex::default(),
            notes: Mutex::new(vec![Note::Line("last words".into())]),
            verbose: 0,
            json: false,
        };
        struct Kept(Arc<Mutex<Vec<String>>>);
        impl View for Kept {
            fn note(&mut self, note: &Note) {
                if let Note::Line(text) = note {
                    lock(&self.0).push(text.clone());
                }
            }
            fn draw(&mut self, _: &Tally, _: Duration) {}
            fn end(&mut self) {
                lock(&self.0).push("end".into());
            }
        }
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (wake, asleep) = channel();
        drop(wake);
        draw_until_told(&shared, Box::new(Kept(Arc::clone(&kept))), &asleep, LINE);
        assert_eq!(*lock(&kept), ["last words", "end"]);
    }
}
