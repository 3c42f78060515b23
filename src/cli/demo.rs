//! `demo`: the whole tool on an example database that it makes itself. Runs the same commands that
//! it prints, through the same code, in a directory of its own.

use std::path::{Path, PathBuf};

use clap::Parser as _;

use super::args::{Args, DemoArgs, ProgressFormat};
use super::escape::line;
use super::failure::Failure;
use super::look::Tone;
use super::{Face, dispatch, exit};
use crate::engine::create_from_sql;

const SQL: &str = include_str!("demo.sql");
const PLAN: &str = include_str!("demo.yaml");
/// What is run and shown, in order, with what it is for.
const STEPS: &[(&str, &[&str])] = &[
    ("what would be done, saved for review", &["plan", "--out", "plan.json"]),
    ("do exactly that", &["apply", "plan.json"]),
    ("compare the rows of both", &["verify"]),
    ("plan again: is anything left?", &["plan"]),
];

pub async fn run(args: &DemoArgs, face: &Face) -> Result<u8, Failure> {
    let keep = args.keep || args.dir.is_some();
    let home = std::env::current_dir().map_err(|error| io_failure("find", Path::new("."), &error))?;
    let folder = folder(args.dir.as_deref())?;
    std::env::set_current_dir(&folder).map_err(|error| io_failure("enter", &folder, &error))?;
    let result = walk(args, face).await;
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

/// Makes the database and the plan file, then runs the commands.
async fn walk(args: &DemoArgs, face: &Face) -> Result<u8, Failure> {
    face.screen.say("making shop.db: an example shop, 25 tables, 290 000 rows");
    make()?;
    let mut worst = exit::DONE;
    for (why, words) in STEPS {
        let look = face.screen.look();
        let command = format!("$ towpath {}", words.join(" "));
        let heading = format!(
            "\n{}   {}\n\n",
            look.paint(Tone::Strong, &command),
            look.paint(Tone::Dim, &format!("# {why}"))
        );
        face.screen.out(&heading);
        let code = step(words, args.progress, face).await?;
        worst = exit::worse(worst, code);
        if code != exit::DONE {
            break;
        }
    }
    Ok(worst)
}

fn make() -> Result<(), Failure> {
    create_from_sql(Path::new("shop.db"), SQL)?;
    let file = Path::new("towpath.yaml");
    if file.exists() {
        return Err(
            Failure::usage("towpath.yaml exists here already").help("name another directory with --dir")
        );
    }
    std::fs::write(file, PLAN).map_err(|error| io_failure("write", file, &error))
}

/// Runs a command line as if it had been typed.
async fn step(words: &[&str], progress: ProgressFormat, face: &Face) -> Result<u8, Failure> {
    let all = std::iter::once("towpath").chain(words.iter().copied());
    let mut args = Args::try_parse_from(all)
        .map_err(|error| Failure::new(exit::INTERNAL, format!("a command of the demo is wrong: {error}")))?;
    match &mut args.command {
        super::args::Command::Apply(apply) => apply.progress = progress,
        super::args::Command::Verify(verify) => verify.progress = progress,
        _ => {}
    }
    let face = Face { global: args.global, screen: face.screen.clone() };
    Box::pin(dispatch(&args.command, &face)).await
}

/// Says how to repeat it by hand, and takes the files away unless they are wanted.
fn finish(folder: &Path, keep: bool, face: &Face) {
    let shown = super::text::shell_word(&folder.display().to_string());
    if keep {
        face.screen.say(&format!("\nThe files are in {shown}. By hand:\n  cd {shown}"));
        face.screen.say("  rm -f moved.db");
    } else {
        // A temporary directory that stays is no failure of the demo.
        let _ = std::fs::remove_dir_all(folder);
        face.screen.say("\nTo keep the files and repeat it by hand:\n  towpath demo --dir shop-demo\n  cd shop-demo\n  rm moved.db");
    }
    for (_, words) in STEPS {
        face.screen.say(&format!("  towpath {}", words.join(" ")));
    }
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
