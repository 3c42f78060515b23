//! The face: commands, one file each. Opens no database itself and decides nothing about data.

pub mod apply;
pub mod args;
pub mod bars;
pub mod begin;
pub mod card;
pub mod clean;
pub mod cutover;
pub mod demo;
pub mod diff;
pub mod dot;
pub mod ends;
pub mod escape;
pub mod exit;
pub mod explain;
pub mod failure;
pub mod flow;
pub mod follow;
pub mod grants;
pub mod graph;
pub mod init;
pub mod inspect;
pub mod json;
pub mod look;
pub mod making;
pub mod manual;
pub mod markdown;
pub mod mermaid;
pub mod number;
pub mod picture;
pub mod plan;
pub mod plan_file;
pub mod problem;
pub mod progress;
pub mod repair;
pub mod report;
pub mod review;
#[cfg(test)]
mod sample;
pub mod saved_catalog;
pub mod schema;
pub mod screen;
pub mod serve;
pub mod show;
pub mod signals;
pub mod source_text;
pub mod sql;
pub mod status;
pub mod stream_status;
pub mod tally;
pub mod text;
pub mod validate;
pub mod verify;
pub mod watch;
pub mod write;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use args::{Args, Command, Global};
use failure::Failure;
use screen::Screen;

/// How long work that nobody waits for may take at the end, such as closing a session.
const LEAVE: Duration = Duration::from_secs(2);

/// What every command gets: the flags of all commands, and where text goes.
#[derive(Clone, Debug)]
pub struct Face {
    pub global: Global,
    pub screen: Screen,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(say_bug));
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return ExitCode::from(usage(&error)),
    };
    let face = Face { screen: Screen::new(&args.global), global: args.global };
    let run = std::panic::AssertUnwindSafe(|| run(&args.command, &face));
    match std::panic::catch_unwind(run) {
        Ok(code) => ExitCode::from(code),
        // The hook has said what happened.
        Err(_) => ExitCode::from(exit::INTERNAL),
    }
}

/// Help and versions are results; anything else is a usage error.
fn usage(error: &clap::Error) -> u8 {
    // A reader that went away is no reason to fail.
    let _ = error.print();
    if error.use_stderr() { exit::USAGE } else { exit::DONE }
}

/// A panic is a bug: say where, and that the data are safe.
fn say_bug(panic: &std::panic::PanicHookInfo<'_>) {
    use std::io::Write as _;
    let what = escape::line(panic.payload_as_str().unwrap_or("no message"));
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(
        std::io::stderr().lock(),
        "error: this is a bug in towpath {version}: {what}\n  at {at}\n  \
         help: what was open is rolled back and what is marked done is done; please report these lines"
    );
}

fn run(command: &Command, face: &Face) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Failure::new(exit::FAILED, format!("cannot start threads: {error}")).report(&face.screen);
            return exit::FAILED;
        }
    };
    let result = runtime.block_on(dispatch(command, face));
    runtime.shutdown_timeout(LEAVE);
    result.unwrap_or_else(|failure| {
        failure.report(&face.screen);
        failure.exit
    })
}

async fn dispatch(command: &Command, face: &Face) -> Result<u8, Failure> {
    match command {
        Command::Init(args) => begin::init(args, face).await,
        Command::Validate(args) => begin::check(args, face),
        Command::Inspect(args) => inspect::run(args, face).await,
        Command::Plan(args) => plan::run(args, face).await,
        Command::Show(args) => show::run(args, face),
        Command::Graph(args) => graph::run(args, face).await,
        Command::Apply(args) => apply::run(args, face).await,
        Command::Follow(args) => follow::run(args, face).await,
        Command::Clean(args) => clean::run(args, face).await,
        Command::Cutover(args) => cutover::run(args, face).await,
        Command::Grants(args) => grants::run(args, face).await,
        Command::Verify(args) => verify::run(args, face).await,
        Command::Status(args) => status::run(args, face).await,
        Command::Explain(args) => explain::run(args.code.as_deref(), face),
        Command::Schema => {
            face.screen.out(&schema::render_schema());
            Ok(exit::DONE)
        }
        Command::Completions(args) => manual::completions(args, face),
        Command::Man(args) => manual::man(args, face),
        Command::Diff(args) => diff::run(args, face).await,
        Command::Demo(args) => demo::run(args, face).await,
    }
}
