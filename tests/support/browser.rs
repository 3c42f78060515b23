//! A real browser that loads a page and runs its scripts: what stands there then, and what it had
//! to complain about. Each look is a process and a profile of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a page may take to be loaded and drawn, on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// What a browser saw.
#[derive(Debug)]
pub struct Seen {
    /// The document after its scripts have run, as HTML.
    pub dom: String,
    /// Errors of scripts and violations of the page's policy, among other things.
    pub console: Vec<String>,
    pub took: Duration,
}

/// The browser; none where it was asked to go without (never in CI).
pub fn browser() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("TOWPATH_CHROMIUM") {
        return Some(program.into());
    }
    let folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let mut programs = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    if let Some(program) = programs.find(|program| program.is_file()) {
        return Some(program);
    }
    let allowed = std::env::var_os("TOWPATH_SKIP_BROWSER").is_some() && std::env::var_os("CI").is_none();
    assert!(allowed, "no Chromium found: run tests/run, or name it in TOWPATH_CHROMIUM");
    eprintln!("SKIPPED: no Chromium (TOWPATH_SKIP_BROWSER)");
    None
}

/// Leaves the test where there is no browser and that is allowed.
#[macro_export]
macro_rules! need_browser {
    () => {
        if $crate::support::browser::browser().is_none() {
            return;
        }
    };
}

/// Loads a page and lets its scripts run for so long by their own clock, which does not stand
/// still while they wait for an answer only.
pub fn look_at(url: &str, script_time: Duration) -> Seen {
    let profile = tempfile::Builder::new().prefix("towpath-browser-").tempdir().unwrap();
    let (out, err) = (profile.path().join("dom"), profile.path().join("console"));
    let started = Instant::now();
    let mut child = Command::new(browser().unwrap())
        // The sandbox cannot be had as root or in a container; only our own page is loaded.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--enable-logging=stderr", "--window-size=1280,1000"])
        .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
        .arg(format!("--virtual-time-budget={}", script_time.as_millis()))
        .args(["--dump-dom", url])
        .env("HOME", profile.path())
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(std::fs::File::create(&err).unwrap())
        .spawn()
        .unwrap();
    let read = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the browser hangs on {url}:\n{}", read(&err));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let said = read(&err);
    let console = said.lines().filter(|line| line.contains("CONSOLE")).map(str::to_string).collect();
    Seen { dom: read(&out), console, took: started.elapsed() }
}

impl Seen {
    /// No script failed, and nothing was refused.
    #[track_caller]
    pub fn is_clean(&self) {
        assert!(self.console.is_empty(), "the browser complains:\n{}", self.console.join("\n"));
    }

    /// How often a text is in the document.
    pub fn count(&self, text: &str) -> usize {
        self.dom.matches(text).count()
    }

    /// The text between the tags of an element that holds no other.
    #[track_caller]
    pub fn text(&self, id: &str) -> &str {
        let from = self.dom.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("there is no {id}"));
        let rest = &self.dom[from..];
        let rest = &rest[rest.find('>').unwrap() + 1..];
        &rest[..rest.find('<').unwrap()]
    }

    /// The HTML of a part, from its id to a later text.
    #[track_caller]
    pub fn part(&self, id: &str, to: &str) -> &str {
        let from = self.dom.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("there is no {id}"));
        let rest = &self.dom[from..];
        &rest[..rest.find(to).unwrap_or(rest.len())]
    }
}
