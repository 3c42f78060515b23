//! The board in Prometheus' text format (version 0.0.4). Names of tables are label values and
//! escaped as the format asks; nothing else comes from a database.

use std::fmt::Write as _;

use super::board::State;

/// The whole answer of `/metrics`.
pub fn render(state: &State) -> String {
    let mut text = Text(String::new());
    text.head("towpath_info", "gauge", "Which migration this is.");
    text.line("towpath_info", &[("plan", &state.plan), ("version", env!("CARGO_PKG_VERSION"))], 1.0);
    text.single("towpath_run_seconds", "gauge", "Seconds since the run began.", state.seconds as f64);
    text.head("towpath_steps", "gauge", "Steps by state.");
    for word in ["waiting", "running", "done", "failed"] {
        let count = state.steps.iter().filter(|step| step.state == word).count();
        text.line("towpath_steps", &[("state", word)], count as f64);
    }
    text.single("towpath_copied_rows_total", "counter", "Rows copied.", state.rows_copied as f64);
    text.single("towpath_copied_bytes_total", "counter", "Bytes copied.", state.bytes_copied as f64);
    text.head("towpath_table_copied_rows", "gauge", "Rows of a table that are in the target.");
    for step in state.steps.iter().filter(|step| step.phase == "load") {
        let table = step.table.as_deref().unwrap_or(&step.id);
        text.line("towpath_table_copied_rows", &[("table", table)], step.rows as f64);
    }
    stream(&mut text, state);
    text.0
}

fn stream(text: &mut Text, state: &State) {
    let paused = f64::from(u8::from(state.paused.is_some()));
    text.single("towpath_reading_paused", "gauge", "1 while reading from the source is paused.", paused);
    let Some(stream) = &state.stream else { return };
    text.single(
        "towpath_stream_lag_seconds",
        "gauge",
        "Age of the newest applied transaction, 0 at the head of the log.",
        stream.lag_seconds,
    );
    text.single(
        "towpath_stream_lag_bytes",
        "gauge",
        "Log between the target and the source's head.",
        stream.lag_bytes as f64,
    );
    text.single(
        "towpath_stream_transactions_total",
        "counter",
        "Source transactions applied.",
        stream.transactions as f64,
    );
    text.single("towpath_stream_rows_total", "counter", "Changed rows applied.", stream.rows as f64);
    text.head("towpath_buffer_bytes", "gauge", "Changes received and not applied yet, by place.");
    text.line("towpath_buffer_bytes", &[("place", "memory")], stream.buffered_bytes as f64);
    text.line("towpath_buffer_bytes", &[("place", "spill")], stream.spilled_bytes as f64);
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
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
    use super::*;
    use crate::cli::serve::board::{StepNow, StreamNow};

    #[test]
    fn i_02_hostile_names_stay_inside_their_label() {
        let step = StepNow {
            phase: "load".into(),
            table: Some("a\"b\\c\nd{x=\"1\"} 9".into()),
            state: "done",
            rows: 3,
            ..StepNow::default()
        };
        let state = State { steps: vec![step], ..State::default() };
        let text = render(&state);
        assert!(
            text.contains("towpath_table_copied_rows{table=\"a\\\"b\\\\c\\nd{x=\\\"1\\\"} 9\"} 3\n"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.starts_with('#') || line.starts_with("towpath_")));
    }

    #[test]
    fn a_stream_tells_its_lag_and_buffers() {
        let stream = StreamNow { lag_seconds: 1.5, spilled_bytes: 9, ..StreamNow::default() };
        let text = render(&State { stream: Some(stream), ..State::default() });
        assert!(text.contains("\ntowpath_stream_lag_seconds 1.5\n"), "{text}");
        assert!(text.contains("\ntowpath_buffer_bytes{place=\"spill\"} 9\n"), "{text}");
    }
}
