//! Where text goes: results to standard output, everything else to standard error. A reader that
//! went away (EPIPE) never ends us: a commit may be under way.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::args::{Global, LogFormat, When};
use super::look::{Look, Tone};

/// The terminal, or what stands in for it.
#[derive(Clone, Debug)]
pub struct Screen {
    pub quiet: bool,
    pub verbose: u8,
    pub ascii: bool,
    pub log: LogFormat,
    pub stdin_terminal: bool,
    pub stdout_terminal: bool,
    pub stderr_terminal: bool,
    stdout_color: bool,
    stderr_color: bool,
    width: usize,
}

impl Screen {
    pub fn new(global: &Global) -> Self {
        let stdout_terminal = std::io::stdout().is_terminal();
        let stderr_terminal = std::io::stderr().is_terminal();
        Self {
            quiet: global.quiet,
            verbose: global.verbose,
            ascii: global.ascii,
            log: global.log_format,
            stdin_terminal: std::io::stdin().is_terminal(),
            stdout_terminal,
            stderr_terminal,
            stdout_color: wants_color(global.color, stdout_terminal),
            stderr_color: wants_color(global.color, stderr_terminal),
            width: 79,
        }
    }

    /// How results look.
    pub fn look(&self) -> Look {
        Look { color: self.stdout_color, ascii: self.ascii, all: false, width: self.width }
    }

    /// How messages look.
    pub fn message_look(&self) -> Look {
        Look { color: self.stderr_color, ..self.look() }
    }

    /// A result.
    pub fn out(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        // Nobody may be reading any more; that is theirs to decide.
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }

    /// A message of one line, unless silence was asked for.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.message("info", text);
        }
    }

    /// A line that is said only with --verbose.
    pub fn detail(&self, text: &str) {
        if self.verbose > 0 {
            self.say(text);
        }
    }

    pub fn warn(&self, text: &str) {
        if self.log == LogFormat::Json {
            return self.message("warning", text);
        }
        let mark = self.message_look().paint(Tone::Warn, "warning");
        self.err(&format!("{mark}: {text}\n"));
    }

    fn message(&self, level: &str, text: &str) {
        match self.log {
            LogFormat::Text => self.err(&format!("{text}\n")),
            LogFormat::Json => self.err_json(&serde_json::json!({ "level": level, "message": text })),
        }
    }

    /// One JSON object on one line.
    pub fn err_json(&self, value: &serde_json::Value) {
        self.err(&format!("{value}\n"));
    }

    /// Text to standard error as it is.
    pub fn err(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes());
    }

    /// Whether a question can be asked: the answer comes from a person who sees it.
    pub fn can_ask(&self) -> bool {
        self.stdin_terminal && self.stderr_terminal
    }

    /// Asks for `yes`; anything else, or the end of the input, is no.
    pub fn confirm(&self, question: &str) -> bool {
        self.err(&format!("{question} Type yes to go on: "));
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        read.is_ok() && answer.trim() == "yes"
    }
}

fn wants_color(when: When, terminal: bool) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            terminal && !set("NO_COLOR") && !dumb
        }
    }
}
