//! One migration as a user runs it: a directory with a plan file, both URLs in the environment,
//! and the two assertions that every scenario ends with.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::command::{Outcome, Running, Towpath};

/// A plan file in a directory of its own.
pub struct Job {
    pub towpath: Towpath,
    directory: TempDir,
}

/// Carries all tables and says nothing more.
pub const EVERYTHING: &str = "tables: { \"*\": {} }\n";

impl Job {
    /// `rest` is the plan file without its head: tables, acceptances, limits.
    pub fn new(source: &str, target: &str, rest: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("towpath-job-").tempdir().unwrap();
        // All jobs have one name: what they spill must not meet.
        let towpath = Towpath::new(directory.path())
            .env("SOURCE_URL", source)
            .env("TARGET_URL", target)
            .env("TMPDIR", directory.path());
        let job = Self { towpath, directory };
        job.write_plan(rest);
        job
    }

    /// Replaces the plan file; its name and ends stay.
    pub fn write_plan(&self, rest: &str) {
        let head =
            "version: 1\nname: job\nsource: { url: \"${SOURCE_URL}\" }\ntarget: { url: \"${TARGET_URL}\" }\n";
        fs::write(self.path().join("towpath.yaml"), format!("{head}{rest}")).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.towpath = self.towpath.env(name, value);
        self
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.towpath.run(arguments)
    }

    /// Plans into `p.json`, which must show something to do and nothing in its way.
    #[track_caller]
    pub fn plan(&self) -> Outcome {
        self.run(&["plan", "--out", "p.json", "--detailed-exitcode"]).expect(2)
    }

    /// The digest of the goal in `p.json`: the same for every plan that would do the same.
    pub fn digest(&self) -> String {
        let text = fs::read_to_string(self.path().join("p.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["goal"].as_str().unwrap().to_string()
    }

    /// Applies the saved plan and nothing else.
    pub fn apply_planned(&self) -> Outcome {
        self.run(&["apply", "p.json", "--expect", &self.digest()])
    }

    /// Plans and applies in one go. The sessions of a run that was killed may live on for a moment.
    pub fn apply(&self) -> Outcome {
        self.run(&["apply", "--yes", "--lock-timeout", "1m"])
    }

    pub fn start_apply(&self) -> Running {
        self.towpath.start(&["apply", "--yes"])
    }

    /// The whole way of a reviewed plan.
    #[track_caller]
    pub fn move_all(&self) {
        self.plan();
        self.apply_planned().expect(0);
        self.is_done();
    }

    /// Planning again has nothing to do, applying again does nothing, and the tool's own
    /// verification agrees.
    #[track_caller]
    pub fn is_done(&self) {
        self.has_nothing_to_do();
        self.run(&["verify", "--level", "rows"]).expect(0);
    }

    #[track_caller]
    pub fn has_nothing_to_do(&self) {
        self.run(&["plan", "--detailed-exitcode"]).expect(0);
    }
}
