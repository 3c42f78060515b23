//! What a run did, in words and as JSON: done, failed, left because of what, and the one command
//! that goes on. Also the exit code of a run. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::escape::line;
use super::exit;
use super::failure::exit_of;
use super::look::{Line, Look, Page, Tone};
use super::number::{bytes, count, millis, plural, short};
use crate::diff::id;
use crate::engine::Cause;
use crate::runtime::{Failure, Outcome, Report};

/// Steps named one by one; more are counted.
const NAMED_MAX: usize = 10;

/// The exit code of a run.
pub fn exit_code(report: &Report) -> u8 {
    match report.outcome {
        Outcome::Done | Outcome::Nothing => exit::DONE,
        Outcome::Partial => exit::PARTIAL,
        Outcome::Failed => failed_code(report),
    }
}

fn failed_code(report: &Report) -> u8 {
    let worst =
        report.failures.iter().map(|failure| exit_of(failure.error.cause)).fold(exit::FAILED, exit::worse);
    match (report.untouched, worst) {
        // A crash of the target takes commits back and the lock with them: what is missing then is
        // nothing that another plan would mend.
        _ if lost_lock(report) => {
            if report.untouched {
                exit::LOCKED
            } else {
                exit::PARTIAL
            }
        }
        // Nothing was written: the cause says what to do.
        (true, worst) => worst,
        // The ends are no longer those of the plan: running the same command again is no way on.
        (false, exit::STALE) => worst,
        (false, _) => exit::PARTIAL,
    }
}

/// The closing report. `command`: what goes on with the run.
pub fn render(report: &Report, name: &str, command: &str, look: Look) -> String {
    let mut page = Page::new(look);
    page.line(verdict(report, name));
    for failure in &report.failures {
        failed(&mut page, failure);
    }
    left(&mut page, report);
    match report.outcome {
        // What is copied of a live source is old already.
        Outcome::Done if report.done.iter().any(|step| step == id::SYNCED) => {
            page.say("Keep up with the source:  towpath follow");
            page.say("Move to the target:       towpath cutover");
        }
        Outcome::Done => page.say("Compare the rows:  towpath verify"),
        Outcome::Nothing => {}
        Outcome::Partial | Outcome::Failed if again_helps(report) => {
            page.line(Line::new().text("Go on with:  ").add(Tone::Strong, command.to_string()));
        }
        Outcome::Partial | Outcome::Failed => page.say("Plan again:  towpath plan"),
    }
    page.finish()
}

fn lost_lock(report: &Report) -> bool {
    report.failures.iter().any(|failure| failure.error.cause == Cause::Locked)
}

fn again_helps(report: &Report) -> bool {
    lost_lock(report) || !report.failures.iter().any(|failure| failure.error.cause == Cause::Stale)
}

fn verdict(report: &Report, name: &str) -> Line {
    let name = line(name);
    let took = millis(report.elapsed.as_millis() as u64);
    let rows = format!("{} {}", short(report.rows), plural(report.rows as usize, "row"));
    let size = if report.bytes > 0 { format!(" ({})", bytes(report.bytes)) } else { String::new() };
    let did = format!("{} done, {rows}{size} in {took}", count(report.done.len(), "step"));
    match report.outcome {
        Outcome::Done => Line::new().add(Tone::Good, "Done").text(format!(": {name} is complete. {did}.")),
        Outcome::Nothing => {
            Line::new().add(Tone::Good, "Nothing to do").text(format!(": {name} is complete."))
        }
        Outcome::Partial => Line::new().add(Tone::Warn, "Stopped").text(format!(" at a clean point: {did}.")),
        Outcome::Failed if report.untouched => {
            Line::new().add(Tone::Stop, "Failed").text(": nothing was changed.")
        }
        Outcome::Failed => Line::new().add(Tone::Stop, "Failed").text(format!(" after {did}.")),
    }
}

fn failed(page: &mut Page, failure: &Failure) {
    let step = failure.step.as_ref().map(|step| format!("{}: ", line(step))).unwrap_or_default();
    let text = format!("{step}{}", line(&failure.error.to_string()));
    page.line(Line::new().text("  ").add(Tone::Stop, "failed").text(format!("  {text}")));
    if let Some(hint) = &failure.error.hint {
        page.say(&format!("          {}", line(hint)));
    }
}

/// Steps that did not run, by the failed step they wait for.
fn left(page: &mut Page, report: &Report) {
    let mut waiting: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut others = 0;
    for (step, blamed) in &report.left {
        match blamed {
            Some(blamed) => waiting.entry(blamed).or_default().push(step),
            None => others += 1,
        }
    }
    for (blamed, steps) in waiting {
        page.say(&format!("  left    {} because of {}", count(steps.len(), "step"), line(blamed)));
        for step in steps.iter().take(NAMED_MAX) {
            page.line(Line::new().add(Tone::Dim, format!("          {}", line(step))));
        }
        if steps.len() > NAMED_MAX {
            page.say(&format!("          and {} more", steps.len() - NAMED_MAX));
        }
    }
    if others > 0 {
        page.say(&format!("  left    {} not begun", count(others, "step")));
    }
}

/// The report for machines.
pub fn value(report: &Report, name: &str, goal: &str) -> Value {
    let failures = report.failures.iter().map(|failure| {
        json!({
            "step": failure.step,
            "cause": format!("{:?}", failure.error.cause).to_lowercase(),
            "error": failure.error.to_string(),
            "code": failure.error.code,
            "hint": failure.error.hint,
        })
    });
    let left = report.left.iter().map(|(step, blamed)| json!({ "step": step, "because_of": blamed }));
    json!({
        "format": "towpath.report/1",
        "tool": env!("CARGO_PKG_VERSION"),
        "name": name,
        "goal": goal,
        "outcome": format!("{:?}", report.outcome).to_lowercase(),
        "exit": exit_code(report),
        "done": report.done,
        "failures": failures.collect::<Vec<_>>(),
        "left": left.collect::<Vec<_>>(),
        "rows": report.rows,
        "bytes": report.bytes,
        "millis": report.elapsed.as_millis() as u64,
        "untouched": report.untouched,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::EngineError;

    fn report(outcome: Outcome, untouched: bool, causes: &[Cause]) -> Report {
        let failure = |cause: &Cause| Failure {
            step: Some("app.orders/copy".into()),
            error: EngineError::new(*cause, "load", "value too long").on("app.orders").hint("widen it"),
        };
        Report {
            outcome,
            done: vec!["app.orders/create".into()],
            failures: causes.iter().map(failure).collect(),
            left: vec![
                ("app.orders/index/a".into(), Some("app.orders/copy".into())),
                ("b/copy".into(), None),
            ],
            rows: 1_000,
            bytes: 20_000,
            elapsed: Duration::from_millis(1_500),
            untouched,
        }
    }

    #[test]
    fn exit_codes_tell_what_to_do_next() {
        for (outcome, untouched, causes, code) in [
            (Outcome::Done, false, &[][..], 0),
            (Outcome::Nothing, true, &[], 0),
            (Outcome::Partial, false, &[], 6),
            (Outcome::Failed, true, &[Cause::Locked], 5),
            (Outcome::Failed, true, &[Cause::Privilege], 77),
            (Outcome::Failed, true, &[Cause::Data], 1),
            (Outcome::Failed, true, &[Cause::Connection], 69),
            (Outcome::Failed, false, &[Cause::Connection], 6),
            (Outcome::Failed, false, &[Cause::Data, Cause::Locked], 6),
            (Outcome::Failed, false, &[Cause::Stale], 4),
            (Outcome::Failed, false, &[Cause::NotFound, Cause::Locked], 6),
            (Outcome::Failed, false, &[Cause::Stale, Cause::Locked], 6),
        ] {
            assert_eq!(exit_code(&report(outcome, untouched, causes)), code, "{outcome:?} {causes:?}");
        }
    }

    #[test]
    fn a_failed_run_says_what_failed_what_waits_and_how_to_go_on() {
        let shown = render(
            &report(Outcome::Failed, false, &[Cause::Data]),
            "shop",
            "towpath apply plan.json",
            Look::default(),
        );
        assert_eq!(
            shown,
            "Failed after 1 step done, 1 000 rows (20.0 kB) in 1.50 s.\n  \
             failed  app.orders/copy: cannot load app.orders: value too long\n          \
             widen it\n  \
             left    1 step because of app.orders/copy\n          \
             app.orders/index/a\n  \
             left    1 step not begun\n\
             Go on with:  towpath apply plan.json\n"
        );
    }

    #[test]
    fn the_json_report_holds_the_same() {
        let value = value(&report(Outcome::Failed, false, &[Cause::Data]), "shop", "sha256:1");
        assert_eq!(value["outcome"], "failed");
        assert_eq!(value["exit"], 6);
        assert_eq!(value["failures"][0]["step"], "app.orders/copy");
        assert_eq!(value["left"][0]["because_of"], "app.orders/copy");
    }
}
