//! How a command ends badly: what happened, what to do next, and the exit code. Errors of the
//! lower floors become readable text here and nowhere else.

use serde_json::{Value, json};

use super::args::LogFormat;
use super::escape::{block, line};
use super::exit;
use super::look::Tone;
use super::screen::Screen;
use crate::engine::{Cause, EngineError, UrlError};
use crate::graph::build::Cycle;
use crate::plan::{Problem, Severity};
use crate::runtime::PlanFailure;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    pub exit: u8,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    /// Said already, or nothing to say.
    Silent,
    Message(Box<Message>),
    /// Problems of a plan file, with its path and text for the snippets.
    Problems {
        path: String,
        text: Vec<u8>,
        problems: Vec<Problem>,
    },
}

/// One error as a person reads it.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub code: Option<String>,
    pub text: String,
    /// Lines under the message, each shown as it is.
    pub details: Vec<String>,
    pub help: Option<String>,
    /// What to run next.
    pub next: Option<String>,
}

impl Failure {
    pub fn silent(exit: u8) -> Self {
        Self { exit, what: What::Silent }
    }

    pub fn new(exit: u8, text: impl Into<String>) -> Self {
        let message = Message { text: text.into(), ..Message::default() };
        Self { exit, what: What::Message(Box::new(message)) }
    }

    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(exit::USAGE, text)
    }

    pub fn problems(path: &str, text: &[u8], problems: Vec<Problem>) -> Self {
        let exit = if problems.iter().all(is_conflict) { exit::BLOCKED } else { exit::INVALID };
        let what = What::Problems { path: path.into(), text: text.into(), problems };
        Self { exit, what }
    }

    fn edit(mut self, change: impl FnOnce(&mut Message)) -> Self {
        if let What::Message(message) = &mut self.what {
            change(message);
        }
        self
    }

    pub fn code(self, code: impl Into<String>) -> Self {
        self.edit(|message| message.code = Some(code.into()))
    }

    pub fn help(self, help: impl Into<String>) -> Self {
        self.edit(|message| message.help = Some(help.into()))
    }

    pub fn next(self, next: impl Into<String>) -> Self {
        self.edit(|message| message.next = Some(next.into()))
    }

    pub fn detail(self, detail: impl Into<String>) -> Self {
        self.edit(|message| message.details.push(detail.into()))
    }

    /// Writes it to standard error.
    pub fn report(&self, screen: &Screen) {
        match &self.what {
            What::Silent => {}
            What::Message(message) => message.report(screen, self.exit),
            What::Problems { path, text, problems } => report_problems(screen, path, text, problems),
        }
    }
}

/// The plan file is well formed, but something at an end stands in its way.
fn is_conflict(problem: &Problem) -> bool {
    problem.severity == Severity::Warning || problem.code.starts_with("E2") || problem.code == "E316"
}

fn report_problems(screen: &Screen, path: &str, text: &[u8], problems: &[Problem]) {
    if screen.log == LogFormat::Json {
        return screen.err(&super::problem::render_json(path, text, problems));
    }
    screen.err(&super::problem::render(path, text, problems, screen.message_look().color));
}

impl Message {
    fn report(&self, screen: &Screen, exit: u8) {
        if screen.log == LogFormat::Json {
            return screen.err_json(&self.json(exit));
        }
        screen.err(&self.render(screen.message_look()));
    }

    pub fn render(&self, look: super::look::Look) -> String {
        let label = match &self.code {
            Some(code) => format!("error[{}]", line(code)),
            None => "error".into(),
        };
        let mut out = format!("{}: {}\n", look.paint(Tone::Stop, &label), block(&self.text));
        for detail in &self.details {
            out.push_str(&format!("  {}\n", block(detail).replace('\n', "\n  ")));
        }
        if let Some(help) = &self.help {
            out.push_str(&format!("  {} {}\n", look.paint(Tone::Strong, "help:"), block(help)));
        }
        if let Some(next) = &self.next {
            out.push_str(&format!("  {} {}\n", look.paint(Tone::Strong, "next:"), line(next)));
        }
        out
    }

    fn json(&self, exit: u8) -> Value {
        json!({
            "level": "error",
            "code": self.code,
            "message": self.text,
            "details": self.details,
            "help": self.help,
            "next": self.next,
            "exit": exit,
        })
    }
}

/// The exit code of an error at an end, when nothing was changed.
pub fn exit_of(cause: Cause) -> u8 {
    match cause {
        Cause::Connection | Cause::Authentication | Cause::NotFound | Cause::Tls => exit::UNREACHABLE,
        Cause::Privilege => exit::PRIVILEGE,
        Cause::Stale => exit::STALE,
        Cause::Locked => exit::LOCKED,
        Cause::Diverged => exit::MISMATCH,
        Cause::Busy | Cause::Data | Cause::Resources | Cause::Other => exit::FAILED,
    }
}

/// What usually helps, where the engine did not say.
fn usual_help(cause: Cause) -> Option<&'static str> {
    match cause {
        Cause::Connection => Some("is the server running, and does the URL name its host and port?"),
        Cause::Authentication => Some("check the user and the password in the URL's variables"),
        Cause::Privilege => Some("grant what is missing to the role in the URL, then run the same command"),
        Cause::Locked => Some("wait for the other run, or see it with `towpath status`"),
        Cause::Stale => Some("something changed since the plan was made: plan again"),
        Cause::Resources => Some("free space or connections, then run the same command again"),
        Cause::Diverged => Some(
            "something else wrote to the target: `towpath verify --repair` makes its rows the source's again",
        ),
        Cause::NotFound | Cause::Tls | Cause::Busy | Cause::Data | Cause::Other => None,
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let mut failure = Self::new(exit_of(error.cause), error.to_string());
        if let Some(code) = error.contract {
            failure = failure.code(code);
        }
        match error.hint.or_else(|| usual_help(error.cause).map(Into::into)) {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

impl From<UrlError> for Failure {
    fn from(error: UrlError) -> Self {
        let failure = Self::new(exit::INVALID, error.message).code(error.code);
        match error.help {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

impl From<Cycle> for Failure {
    fn from(cycle: Cycle) -> Self {
        Self::new(exit::BLOCKED, cycle.to_string()).code("E130")
    }
}

/// Why there is no plan, with the plan file for its snippets.
pub fn of_planning(failure: PlanFailure, path: &str, text: &[u8]) -> Failure {
    match failure {
        PlanFailure::Problems(problems) => Failure::problems(path, text, problems),
        PlanFailure::Cycle(cycle) => cycle.into(),
        PlanFailure::Engine(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::Look;
    use super::*;

    fn text(failure: &Failure) -> String {
        match &failure.what {
            What::Message(message) => message.render(Look::default()),
            _ => String::new(),
        }
    }

    #[test]
    fn an_engine_error_reads_well_and_has_its_exit_code() {
        let error = EngineError::new(Cause::Connection, "connect to", "connection refused")
            .on("postgres://app@db:5432/shop")
            .contract("E311");
        let failure = Failure::from(error).next("towpath plan");
        assert_eq!(failure.exit, exit::UNREACHABLE);
        assert_eq!(
            text(&failure),
            "error[E311]: cannot connect to postgres://app@db:5432/shop: connection refused\n  \
             help: is the server running, and does the URL name its host and port?\n  \
             next: towpath plan\n"
        );
    }

    #[test]
    fn s_sec_5_a_server_message_cannot_act_on_the_terminal() {
        let error = EngineError::new(Cause::Other, "read", "bad\u{1b}[2J\u{202e}");
        let shown = text(&Failure::from(error));
        assert!(!shown.chars().any(|c| c != '\n' && crate::catalog::name::is_hidden(c)), "{shown:?}");
    }

    #[test]
    fn what_is_in_the_way_at_an_end_is_no_fault_of_the_file() {
        let exit = |codes: &[&str]| {
            let problems = codes.iter().map(|code| Problem::error(code, "x")).collect();
            Failure::problems("p", b"", problems).exit
        };
        assert_eq!(exit(&["E201", "E316"]), exit::BLOCKED);
        assert_eq!(exit(&["E201", "E121"]), exit::INVALID);
    }

    #[test]
    fn every_cause_has_its_exit_code() {
        for (cause, code) in [
            (Cause::Authentication, 69),
            (Cause::Tls, 69),
            (Cause::NotFound, 69),
            (Cause::Privilege, 77),
            (Cause::Stale, 4),
            (Cause::Locked, 5),
            (Cause::Data, 1),
        ] {
            assert_eq!(exit_of(cause), code, "{cause:?}");
        }
    }
}
