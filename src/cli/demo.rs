//! `demo`: the whole tool on an example database that it makes itself, while an application in a
//! process of its own goes on writing to it. Runs the same commands that it prints, through the same
//! code, in a directory of its own. Leaves neither a process nor, unless it is wanted, a file.

mod check;
mod child;
mod write;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser as _;

use super::args::{Args, Command, DemoArgs, DemoPart, ProgressFormat};
use super::escape::line;
use super::failure::Failure;
use super::look::Tone;
use super::number::exact;
use super::text::shell_word;
use super::{Face, dispatch, exit, signals};
use crate::engine::create_from_sql;
use crate::runtime::Stop;
use child::Writer;

const SQL: &str = include_str!("demo.sql");
const PLAN: &str = include_str!("demo.yaml");
/// Files of the demo, in the directory where it runs.
const SOURCE: &str = "shop.db";
const TARGET: &str = "moved.db";
const PLAN_FILE: &str = "towpath.yaml";

/// It ends in a few seconds, on any machine by then: a demo never hangs.
const LONGEST: Duration = Duration::from_secs(300);
/// How long the application may take to notice that it is shut out.
const GOODBYE: Duration = Duration::from_secs(20);

/// What is run and shown, in order, with what it is for.
const STEPS: &[(&str, &[&str])] = &[
    ("an example shop: 25 tables, 290 000 rows, and a plan", &["demo", "make"]),
    ("its application, another process, sells all the time", WRITE),
    ("what would be done, saved for review", &["plan", "--out", "plan.json"]),
    ("do exactly that", &["apply", "plan.json"]),
    ("apply what was written since, until the target is near", &["follow", "--until-lag", "1s"]),
    ("how far is it?", &["status"]),
    ("compare all rows of both at one moment, under load", &["verify"]),
    ("shut the application out, drain, compare, hand over", CUTOVER),
    ("sums, completeness, first inserts on the target", &["demo", "check"]),
    ("take away what was made to work with", &["clean"]),
];
const WRITE: &[&str] = &["demo", "write"];
const CUTOVER: &[&str] = &["cutover", "--yes"];

pub async fn run(args: &DemoArgs, face: &Face) -> Result<u8, Failure> {
    match &args.part {
        Some(DemoPart::Make) => make(face),
        Some(DemoPart::Write(args)) => write::run(args, face),
        Some(DemoPart::Check) => check::run(face),
        None => show(args, face).await,
    }
}

async fn show(args: &DemoArgs, face: &Face) -> Result<u8, Failure> {
    let keep = args.keep || args.dir.is_some();
    let home = std::env::current_dir().map_err(|error| io_failure("find", Path::new("."), &error))?;
    let folder = folder(args.dir.as_deref())?;
    std::env::set_current_dir(&folder).map_err(|error| io_failure("enter", &folder, &error))?;
    let result = guarded(args, face).await;
    let _ = std::env::set_current_dir(home);
    finish(&folder, keep, face);
    result
}

/// A directory that is ours: made now, empty.
fn folder(wanted: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(folder) = wanted {
        std::fs::create_dir_all(folder).map_err(|error| io_failure("make", folder, &error))?;
        return Ok(folder.to_path_buf());
    }
    let temporary = std::env::temp_dir();
    for number in 0..100 {
        let folder = temporary.join(format!("towpath-demo-{}-{number}", std::process::id()));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_failure("make", &folder, &error)),
        }
    }
    Err(Failure::new(exit::FAILED, format!("no free name in {}", line(&temporary.display().to_string()))))
}

fn io_failure(doing: &str, path: &Path, error: &std::io::Error) -> Failure {
    let shown = line(&path.display().to_string());
    Failure::new(exit::FAILED, format!("cannot {doing} {shown}: {error}"))
}

/// Runs everything, but not for ever, and not beyond a signal.
async fn guarded(args: &DemoArgs, face: &Face) -> Result<u8, Failure> {
    let stop = Stop::default();
    // Dropped in any case, and with it the application.
    let mut demo = Demo { progress: args.progress, face, writer: None, last_write: None };
    tokio::select! {
        ended = demo.walk(&stop) => ended,
        never = signals::listen(&stop) => match never {},
        () = tokio::time::sleep(LONGEST) => {
            let text = format!("the demo did not end within {} s", LONGEST.as_secs());
            Err(Failure::new(exit::FAILED, text).help("is the machine very busy, or its disk full?"))
        }
    }
}

struct Demo<'a> {
    progress: ProgressFormat,
    face: &'a Face,
    /// The application, as long as it is at work.
    writer: Option<Writer>,
    /// When it wrote for the last time, microseconds since 1970.
    last_write: Option<i64>,
}

impl Demo<'_> {
    async fn walk(&mut self, stop: &Stop) -> Result<u8, Failure> {
        let since = Instant::now();
        for &(why, words) in STEPS {
            self.announce(why, words);
            let step = self.step(words).await;
            if stop.asked() {
                // Whatever failed then failed because of it.
                self.face.screen.say("\nstopped; the application was ended");
                return Ok(exit::INTERRUPTED);
            }
            let code = step?;
            if code != exit::DONE {
                return Ok(code);
            }
        }
        let took = format!("\nMoved while it was written to, in {:.1} s.", since.elapsed().as_secs_f64());
        self.face.screen.say(&took);
        Ok(exit::DONE)
    }

    fn announce(&self, why: &str, words: &[&str]) {
        let look = self.face.screen.look();
        let command = look.paint(Tone::Strong, &format!("$ {}", typed(words)));
        let why = look.paint(Tone::Dim, &format!("# {why}"));
        self.face.screen.out(&format!("\n{command}   {why}\n\n"));
    }

    async fn step(&mut self, words: &[&str]) -> Result<u8, Failure> {
        if words == WRITE {
            return self.begin_writing().await;
        }
        let code = run_words(words, self.progress, self.face).await?;
        if words == ["demo", "check"] {
            self.say_pause();
        }
        if code == exit::DONE {
            self.look_after(words).await?;
        }
        Ok(code)
    }

    async fn begin_writing(&mut self) -> Result<u8, Failure> {
        let mut writer = Writer::start(Path::new("."))?;
        writer.has_begun().await?;
        self.writer = Some(writer);
        self.face.screen.say("it is at work");
        Ok(exit::DONE)
    }

    /// The application goes on until the cutover shuts it out, and no longer.
    async fn look_after(&mut self, words: &[&str]) -> Result<(), Failure> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        if words == CUTOVER {
            let account = writer.ended(GOODBYE).await?;
            self.last_write = Some(account.last);
            self.face.screen.say(&format!("\n{}", write::closing(&account).trim_end()));
            return match account.ended {
                Some(write::Ended::Closed(_)) => Ok(()),
                _ => Err(Failure::new(exit::FAILED, "the application was not shut out")),
            };
        }
        writer.must_run()?;
        let committed = exact(writer.account().committed);
        self.face.screen.say(&format!("\n(the application has written {committed} transactions so far)"));
        self.writer = Some(writer);
        Ok(())
    }

    /// What the outage is for an application: from its last write here to the first one there.
    fn say_pause(&mut self) {
        let Some(last) = self.last_write.take() else { return };
        let micros = (jiff::Timestamp::now().as_microsecond() - last).max(0);
        let text = format!(
            "\nFrom the last write on the source to the first ones on the target: {:.2} s.",
            micros as f64 / 1e6
        );
        self.face.screen.say(&text);
    }
}

/// Makes the database and the plan file here.
fn make(face: &Face) -> Result<u8, Failure> {
    let file = Path::new(PLAN_FILE);
    for path in [file, Path::new(SOURCE), Path::new(TARGET)] {
        if path.exists() {
            let text = format!("{} exists here already", path.display());
            return Err(Failure::usage(text).help("go to another directory, or name one with `demo --dir`"));
        }
    }
    create_from_sql(Path::new(SOURCE), SQL)?;
    std::fs::write(file, PLAN).map_err(|error| io_failure("write", file, &error))?;
    face.screen.say(&format!("made {SOURCE} and {PLAN_FILE}"));
    Ok(exit::DONE)
}

/// Runs a command line as if it had been typed.
async fn run_words(words: &[&str], progress: ProgressFormat, face: &Face) -> Result<u8, Failure> {
    let all = std::iter::once("towpath").chain(words.iter().copied());
    let mut args = Args::try_parse_from(all)
        .map_err(|error| Failure::new(exit::INTERNAL, format!("a command of the demo is wrong: {error}")))?;
    match &mut args.command {
        Command::Apply(apply) => apply.progress = progress,
        Command::Follow(follow) => follow.progress = progress,
        Command::Verify(verify) => verify.progress = progress,
        Command::Cutover(cutover) => cutover.progress = progress,
        _ => {}
    }
    let face = Face { global: args.global, screen: face.screen.clone() };
    Box::pin(dispatch(&args.command, &face)).await
}

/// The command as it is typed into a shell.
fn typed(words: &[&str]) -> String {
    let background = if words == WRITE { " &" } else { "" };
    format!("towpath {}{background}", words.join(" "))
}

/// Says how to repeat it by hand, and takes the files away unless they are wanted.
fn finish(folder: &Path, keep: bool, face: &Face) {
    match keep {
        true => {
            let shown = shell_word(&folder.display().to_string());
            face.screen.say(&format!("\nThe files are in {shown}."));
        }
        // A temporary directory that stays is no failure of the demo.
        false => drop(std::fs::remove_dir_all(folder)),
    }
    face.screen.say("\nThe same by hand:");
    if let Some(program) = not_on_path() {
        face.screen.say(&format!("  alias towpath={program}"));
    }
    face.screen.say("  mkdir shop-by-hand && cd shop-by-hand");
    for (_, words) in STEPS {
        face.screen.say(&format!("  {}", typed(words)));
    }
}

/// Where this program is, if a shell would not find it by its name.
fn not_on_path() -> Option<String> {
    let this = std::env::current_exe().ok()?;
    let found = std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join("towpath"))
        .find_map(|path| path.canonicalize().ok());
    (found != this.canonicalize().ok()).then(|| shell_word(&this.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_the_demo_are_commands() {
        for (_, words) in STEPS {
            let all = std::iter::once("towpath").chain(words.iter().copied());
            assert!(Args::try_parse_from(all).is_ok(), "{words:?}");
        }
    }

    #[test]
    fn the_plan_of_the_demo_is_valid() {
        let found = crate::plan::resolve("demo.yaml", PLAN.as_bytes(), &crate::plan::Variables::new());
        let (_, warnings) = found.unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(warnings, []);
    }

    #[test]
    fn the_example_is_as_large_as_promised() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        create_from_sql(&folder.path().join("shop.db"), SQL).expect("made");
        assert_eq!(SQL.matches("create table ").count(), 25);
        assert!(std::fs::metadata(folder.path().join("shop.db")).expect("there").len() > 10_000_000);
    }
}
