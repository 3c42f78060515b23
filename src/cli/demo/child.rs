//! The application as a process of its own, started and ended by `demo`. It ends with us however we
//! end: it reads a pipe of which we hold the other side.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::escape::block;
use super::super::exit;
use super::super::failure::Failure;
use super::write::Account;

/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// It has to have written something by then.
const FIRST: Duration = Duration::from_secs(20);

/// The running application. Dropped, it is ended.
pub struct Writer {
    child: Child,
    account: Arc<Mutex<Account>>,
    reader: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts this very program as the application, in this directory.
    pub fn start(folder: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(exit::FAILED, format!("cannot start the application of the demo: {error}"))
        };
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["demo", "write", "--attached"])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let account = Arc::new(Mutex::new(Account::default()));
        let shared = Arc::clone(&account);
        let reader = child.stdout.take().map(|told| std::thread::spawn(move || read(told, &shared)));
        Ok(Self { child, account, reader })
    }

    /// How far it is.
    pub fn account(&self) -> Account {
        self.account.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has written something.
    pub async fn has_begun(&mut self) -> Result<(), Failure> {
        let since = Instant::now();
        while self.account().committed == 0 {
            if self.has_ended() || since.elapsed() > FIRST {
                return Err(self.failure("wrote nothing"));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Fails where it is no longer at work.
    pub fn must_run(&mut self) -> Result<(), Failure> {
        if self.has_ended() { Err(self.failure("ended early")) } else { Ok(()) }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end, and hands over its last account.
    pub async fn ended(mut self, wait: Duration) -> Result<Account, Failure> {
        let since = Instant::now();
        while !self.has_ended() {
            if since.elapsed() > wait {
                return Err(self.failure("goes on writing though its tables are closed"));
            }
            tokio::time::sleep(LOOK).await;
        }
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has already said so.
            let _ = reader.join();
        }
        match self.child.wait() {
            Ok(status) if status.success() => Ok(self.account()),
            _ => Err(self.failure("failed")),
        }
    }

    fn failure(&mut self, what: &str) -> Failure {
        let failure = Failure::new(exit::FAILED, format!("the application of the demo {what}"));
        let _ = self.child.kill();
        let mut said = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            let _ = pipe.read_to_string(&mut said);
        }
        match said.trim() {
            "" => failure,
            said => failure.detail(block(said)),
        }
    }
}

/// Takes its accounts in, line by line.
fn read(told: ChildStdout, account: &Mutex<Account>) {
    for text in BufReader::new(told).lines().map_while(Result::ok) {
        if let Ok(now) = serde_json::from_str(&text) {
            *account.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A transaction that is cut off was never there.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
