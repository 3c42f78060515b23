//! The board in Prometheus' text format (version 0.0.4): counters end in `_total` and only grow,
//! units are seconds and bytes, what is not known has no line. Names of tables are label values
//! and escaped as the format asks; nothing else comes from a database.

use std::fmt::Write as _;

use super::board::{Phase, State, StepState};
use super::stream::{Flowing, Kept, StreamNow};

/// The whole answer of `/metrics`.
pub fn render(state: &State) -> String {
    let mut text = Text(String::new());
    command(&mut text, state);
    copies(&mut text, state);
    flowing(&mut text, &state.flowing);
    text.0
}

fn command(text: &mut Text, state: &State) {
    let version = env!("CARGO_PKG_VERSION");
    text.head("towpath_info", "gauge", "Which plan, command and version this is.");
    let labels = [("plan", state.plan.as_str()), ("command", state.command), ("version", version)];
    text.line("towpath_info", &labels, 1.0);
    let began = state.started_at.parse().map_or(0, jiff::Timestamp::as_second);
    text.gauge("towpath_start_time_seconds", "When the command began, since 1970 UTC.", began as f64);
    text.head("towpath_phase", "gauge", "1 for what the command is doing, 0 for the others.");
    for phase in Phase::ALL {
        text.line("towpath_phase", &[("phase", phase.word())], flag(state.phase == phase));
    }
    let help = "1 while the stream of changes is followed and nothing is in its way.";
    text.gauge("towpath_ready", help, flag(state.ready));
    let help = "Attempts that failed and were made again.";
    text.counter("towpath_retries_total", help, state.sums.retries as f64);
    text.head("towpath_steps", "gauge", "Steps by state.");
    for word in StepState::ALL {
        let count = state.steps.iter().filter(|step| step.state == word).count();
        text.line("towpath_steps", &[("state", word.word())], count as f64);
    }
}

fn copies(text: &mut Text, state: &State) {
    let help = "Rows copied by this run; those that had to be copied again count again.";
    text.counter("towpath_copied_rows_total", help, state.sums.rows as f64);
    let help = "Bytes copied by this run; those that had to be copied again count again.";
    text.counter("towpath_copied_bytes_total", help, state.sums.bytes as f64);
    let tables = || state.steps.iter().filter(|step| step.copy);
    let name = |step: &super::board::StepNow| step.table.clone().unwrap_or_else(|| step.id.clone());
    text.head("towpath_table_copied_rows", "gauge", "Copied rows of a table that are in the target.");
    for step in tables() {
        text.line("towpath_table_copied_rows", &[("table", &name(step))], step.rows as f64);
    }
    text.head("towpath_table_expected_rows", "gauge", "Rows of a table that are to be copied, estimated.");
    for step in tables() {
        text.line("towpath_table_expected_rows", &[("table", &name(step))], step.rows_expected as f64);
    }
}

fn flowing(text: &mut Text, flowing: &Flowing) {
    let paused = flag(flowing.paused.is_some());
    text.gauge(
        "towpath_reading_paused",
        "1 while reading from the source is paused for want of room.",
        paused,
    );
    if let Some(stream) = &flowing.stream {
        stream_now(text, stream);
    }
    if let Some(kept) = &flowing.kept {
        source(text, kept);
    }
}

fn stream_now(text: &mut Text, stream: &StreamNow) {
    if let Some(lag) = stream.lag_seconds {
        let help = "Age of the newest applied transaction, 0 at the head of the log.";
        text.gauge("towpath_stream_lag_seconds", help, lag);
    }
    if let Some(lag) = stream.lag_bytes {
        let help = "Log between the target and the source's head.";
        text.gauge("towpath_stream_lag_bytes", help, lag as f64);
    }
    text.gauge("towpath_stream_tables", "Tables that are followed.", stream.tables_followed as f64);
    let help = "Source transactions applied.";
    text.counter("towpath_stream_transactions_total", help, stream.transactions as f64);
    text.head("towpath_stream_changes_total", "counter", "Changes applied, by table and kind.");
    for (table, counts) in &stream.tables {
        let kinds = [
            ("insert", counts.inserts),
            ("update", counts.updates),
            ("delete", counts.deletes),
            ("truncate", counts.truncates),
        ];
        for (kind, count) in kinds {
            text.line("towpath_stream_changes_total", &[("table", table), ("kind", kind)], count as f64);
        }
    }
    text.head("towpath_buffer_bytes", "gauge", "Changes received and not applied yet, by place.");
    text.line("towpath_buffer_bytes", &[("place", "memory")], stream.buffered_bytes as f64);
    text.line("towpath_buffer_bytes", &[("place", "disk")], stream.spilled_bytes as f64);
}

fn source(text: &mut Text, kept: &Kept) {
    let help = "1 while the source keeps its log for this plan, 0 once it was lost.";
    text.gauge("towpath_source_capture_up", help, flag(kept.state == "kept"));
    let help = "1 while somebody reads the log that the source keeps for this plan.";
    text.gauge("towpath_source_capture_active", help, flag(kept.active));
    let figures = [
        (
            "towpath_source_retained_log_bytes",
            "Log that the source keeps for this plan.",
            kept.retained_bytes,
        ),
        (
            "towpath_source_retained_log_limit_bytes",
            "Log at which the capture is given up (cdc.keep_log).",
            kept.limit_bytes,
        ),
        (
            "towpath_source_log_room_bytes",
            "Log that may be written before the source gives the capture up by itself.",
            kept.room_bytes,
        ),
    ];
    for (name, help, bytes) in figures {
        if let Some(bytes) = bytes {
            text.gauge(name, help, bytes as f64);
        }
    }
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.line(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "counter", help);
        self.line(name, &[], value);
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::change::Counts;
    use crate::cli::serve::board::StepNow;

    fn whole() -> State {
        let counts = Counts { inserts: 3, updates: 2, ..Counts::default() };
        let stream = StreamNow {
            lag_seconds: Some(1.5),
            lag_bytes: Some(80),
            buffered_bytes: 9,
            spilled_bytes: 4,
            tables: BTreeMap::from([("app.users".to_string(), counts)]),
            ..StreamNow::default()
        };
        let kept = Kept {
            state: "kept",
            retained_bytes: Some(7),
            room_bytes: Some(8),
            limit_bytes: Some(20),
            active: true,
            ..Kept::default()
        };
        let copy = StepNow { table: Some("app.users".into()), copy: true, rows: 3, ..StepNow::default() };
        State {
            plan: "shop".into(),
            started_at: "2026-11-22T09:00:00Z".into(),
            steps: vec![copy],
            flowing: Flowing { stream: Some(stream), kept: Some(kept), ..Flowing::default() },
            ..State::default()
        }
    }

    #[test]
    fn i_02_hostile_names_stay_inside_their_label() {
        let mut state = whole();
        state.steps[0].table = Some("a\"b\\c\nd{x=\"1\"} 9".into());
        let text = render(&state);
        let line = "towpath_table_copied_rows{table=\"a\\\"b\\\\c\\nd{x=\\\"1\\\"} 9\"} 3\n";
        assert!(text.contains(line), "{text}");
        assert!(text.lines().all(|line| line.starts_with('#') || line.starts_with("towpath_")));
    }

    #[test]
    fn a_stream_tells_its_lag_its_buffers_and_what_the_source_keeps() {
        let text = render(&whole());
        for line in [
            "towpath_start_time_seconds 1795338000",
            "towpath_phase{phase=\"planning\"} 1",
            "towpath_stream_lag_seconds 1.5",
            "towpath_stream_lag_bytes 80",
            "towpath_stream_changes_total{table=\"app.users\",kind=\"insert\"} 3",
            "towpath_stream_changes_total{table=\"app.users\",kind=\"delete\"} 0",
            "towpath_buffer_bytes{place=\"memory\"} 9",
            "towpath_buffer_bytes{place=\"disk\"} 4",
            "towpath_source_capture_up 1",
            "towpath_source_retained_log_bytes 7",
            "towpath_source_retained_log_limit_bytes 20",
            "towpath_source_log_room_bytes 8",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn what_is_not_known_has_no_line() {
        let mut state = whole();
        state.flowing.stream = Some(StreamNow::default());
        state.flowing.kept = None;
        let text = render(&state);
        assert!(!text.contains("lag_seconds") && !text.contains("lag_bytes"), "{text}");
        assert!(!text.contains("towpath_source"), "{text}");
    }

    /// The conventions of names and of the format, whatever is rendered.
    #[test]
    fn each_metric_is_described_once_before_its_lines_and_counters_are_totals() {
        let text = render(&whole());
        let mut described = Vec::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["#", "HELP", name, ..] => {
                    assert!(!described.contains(name), "{name} is described twice");
                    described.push(name);
                }
                ["#", "TYPE", name, kind] => {
                    assert_eq!(described.last(), Some(name));
                    assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
                }
                _ => {
                    let name = line.split(['{', ' ']).next();
                    assert_eq!(described.last().copied(), name, "{line}");
                    assert!(line.rsplit(' ').next().is_some_and(|value| value.parse::<f64>().is_ok()));
                }
            }
        }
    }
}
