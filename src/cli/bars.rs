//! Progress bars on a terminal: one line per running step and one for the whole. Draws what the
//! tally says; keeps no numbers of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::escape::capped;
use super::number::{bytes, seconds, short};
use super::progress::sums;
use super::tally::{Running, Tally};

/// Lines for running steps; more are counted in one line, so that a small terminal does not flicker.
const LINES_MAX: usize = 12;
const NAME_WIDTH: usize = 36;

pub struct Bars {
    multi: MultiProgress,
    total: ProgressBar,
    more: ProgressBar,
    steps: BTreeMap<String, ProgressBar>,
    ascii: bool,
}

impl Bars {
    pub fn new(ascii: bool) -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let more = multi.add(ProgressBar::new_spinner());
        more.set_style(style("  {msg:.dim}", ascii));
        let total = multi.add(ProgressBar::new(1));
        total.set_style(style("{bar:36.green/dim} {percent:>3}%  {msg}", ascii));
        Self { multi, total, more, steps: BTreeMap::new(), ascii }
    }

    /// A line that stays, above the bars.
    pub fn above(&self, text: &str) {
        // A terminal that cannot be written to is no reason to stop.
        let _ = self.multi.println(text);
    }

    pub fn draw(&mut self, tally: &Tally, at: Duration) {
        self.drop_finished(tally);
        for (step, running) in &tally.running {
            self.draw_step(step, running, at);
        }
        let hidden = tally.running.len().saturating_sub(self.steps.len());
        let text = if hidden > 0 { format!("and {hidden} more steps") } else { String::new() };
        self.more.set_message(text);
        self.draw_total(tally, at);
    }

    fn drop_finished(&mut self, tally: &Tally) {
        let multi = &self.multi;
        self.steps.retain(|step, bar| {
            let running = tally.running.contains_key(step);
            if !running {
                bar.finish_and_clear();
                multi.remove(bar);
            }
            running
        });
    }

    fn draw_step(&mut self, step: &str, running: &Running, at: Duration) {
        if !self.steps.contains_key(step) {
            if self.steps.len() >= LINES_MAX {
                return;
            }
            let bar = self.multi.insert_before(&self.more, ProgressBar::new(1));
            bar.set_style(self.step_style(running));
            bar.set_prefix(capped(step, NAME_WIDTH));
            self.steps.insert(step.to_string(), bar);
        }
        let Some(bar) = self.steps.get(step) else { return };
        bar.set_length(running.rows_total.max(1));
        bar.set_position(running.rows);
        bar.set_message(step_text(running, at));
        bar.tick();
    }

    fn step_style(&self, running: &Running) -> ProgressStyle {
        match running.copy {
            true => style("  {prefix:36} {bar:20.cyan/dim} {msg}", self.ascii),
            false => style("  {prefix:36} {spinner:.cyan} {msg}", self.ascii),
        }
    }

    fn draw_total(&self, tally: &Tally, at: Duration) {
        let (done, all) = match tally.rows_total {
            0 => (tally.done as u64, tally.steps as u64),
            rows => (tally.rows, rows),
        };
        self.total.set_length(all.max(1));
        self.total.set_position(done);
        self.total.set_message(sums(tally, at));
    }

    pub fn clear(&mut self) {
        for bar in self.steps.values() {
            bar.finish_and_clear();
        }
        self.more.finish_and_clear();
        self.total.finish_and_clear();
        let _ = self.multi.clear();
    }
}

fn style(template: &str, ascii: bool) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    match ascii {
        true => style.progress_chars("#>-").tick_chars("-\\|/ "),
        false => style.progress_chars("━╸─"),
    }
}

fn step_text(running: &Running, at: Duration) -> String {
    let since = at.saturating_sub(running.since).as_secs_f64();
    let again = match running.attempt {
        0 | 1 => String::new(),
        attempt => format!(", attempt {attempt}"),
    };
    if !running.copy {
        return format!("{}{again}", seconds(since));
    }
    let chunks = match running.chunks {
        0 | 1 => String::new(),
        of => format!(", chunk {} of {of}", running.chunks_done),
    };
    format!("{} rows, {}{chunks}{again}", short(running.rows), bytes(running.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_one_that_indicatif_takes() {
        for template in [
            "  {msg:.dim}",
            "{bar:36.green/dim} {percent:>3}%  {msg}",
            "  {prefix:36} {bar:20.cyan/dim} {msg}",
            "  {prefix:36} {spinner:.cyan} {msg}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_step_says_its_rows_chunks_and_attempt() {
        let running = Running {
            copy: true,
            rows: 2_000_000,
            bytes: 1_000_000_000,
            chunks: 9,
            chunks_done: 3,
            attempt: 2,
            ..Running::default()
        };
        assert_eq!(
            step_text(&running, Duration::from_secs(5)),
            "2.0 M rows, 1.0 GB, chunk 3 of 9, attempt 2"
        );
    }
}
