//! The built command, as a user runs it: arguments, environment, exit code, both outputs. Every
//! output is searched for the canary password. Nothing runs for ever: a hang is a failure.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::postgres::PASSWORD;

/// A command may take this long on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// How to run the command: where, with what environment.
#[derive(Clone)]
pub struct Towpath {
    directory: PathBuf,
    environment: BTreeMap<OsString, OsString>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    arguments: String,
}

/// A command that still runs. Dropped, it is killed.
pub struct Running {
    child: Child,
    files: [PathBuf; 2],
    arguments: String,
}

impl Towpath {
    /// Runs in `directory`, with an environment of its own.
    pub fn new(directory: &Path) -> Self {
        let mut environment = BTreeMap::new();
        for name in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                environment.insert(name.into(), value);
            }
        }
        environment.insert("HOME".into(), directory.into());
        environment.insert("RUST_BACKTRACE".into(), "1".into());
        Self { directory: directory.into(), environment }
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(name.into(), value.as_ref().into());
        self
    }

    /// Starts it and returns at once. Standard input is empty.
    pub fn start(&self, arguments: &[&str]) -> Running {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let logs = self.directory.join("outputs");
        fs::create_dir_all(&logs).unwrap();
        let files = ["out", "err"].map(|which| logs.join(format!("{number}.{which}")));
        let child = Command::new(env!("CARGO_BIN_EXE_towpath"))
            .args(arguments)
            .current_dir(&self.directory)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(File::create(&files[0]).unwrap())
            .stderr(File::create(&files[1]).unwrap())
            .spawn()
            .unwrap();
        Running { child, files, arguments: arguments.join(" ") }
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.start(arguments).wait()
    }
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far, on both outputs.
    pub fn so_far(&self) -> String {
        self.files.each_ref().map(|file| fs::read_to_string(file).unwrap_or_default()).concat()
    }

    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends a signal by name, such as `INT`.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status().unwrap();
        assert!(status.success(), "cannot send {name}");
    }

    /// `kill -9`, now.
    pub fn kill(mut self) -> Outcome {
        let _ = self.child.kill();
        let status = self.child.wait().unwrap();
        self.outcome(status)
    }

    /// Waits for its end, however it comes.
    pub fn wait(mut self) -> Outcome {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return self.outcome(status);
            }
            assert!(
                start.elapsed() < LIMIT,
                "`towpath {}` hangs; so far:\n{}",
                self.arguments,
                self.so_far()
            );
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    fn outcome(&self, status: ExitStatus) -> Outcome {
        let [stdout, stderr] =
            self.files.each_ref().map(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned());
        let outcome = Outcome { code: status.code(), stdout, stderr, arguments: self.arguments.clone() };
        assert!(!outcome.both().contains(PASSWORD), "the output holds the password:\n{outcome}");
        outcome
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outcome {
    pub fn both(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Fails with everything it said where the exit code is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "another exit code than expected\n{self}");
        self
    }

    /// Fails where neither output holds `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.both().contains(text), "it does not say {text:?}\n{self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "$ towpath {}", self.arguments)?;
        writeln!(out, "--- stdout\n{}", self.stdout)?;
        writeln!(out, "--- stderr\n{}", self.stderr)?;
        write!(out, "--- exit {:?}", self.code)
    }
}
