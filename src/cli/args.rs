//! The command line: commands, flags and their help. Only what is built is listed. Reads nothing
//! and opens nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

mod demo;

pub use demo::{DemoArgs, DemoPart, DemoWriteArgs};

/// Moves a live database to another one: plan, review, apply, verify.
#[derive(Debug, Parser)]
#[command(
    name = "towpath",
    version,
    about = "Moves a live database to another one: plan, review, apply, verify.",
    after_help = "A first run, nothing needed:\n  towpath demo\n\n\
        Your own databases:\n  \
        towpath init --from '${SOURCE_URL}' --to '${TARGET_URL}'\n  \
        towpath plan --out plan.json\n  \
        towpath apply plan.json\n  \
        towpath verify",
    propagate_version = true,
    disable_help_subcommand = true
)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, ClapArgs)]
pub struct Global {
    /// The plan file to read (`-`: standard input)
    #[arg(short, long, global = true, value_name = "PATH", default_value = "towpath.yaml")]
    pub file: String,
    /// A value for ${NAME} in the plan file; wins over the environment
    #[arg(long = "var", global = true, value_name = "NAME=VALUE")]
    pub vars: Vec<String>,
    /// When to use colour; NO_COLOR is honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: When,
    /// Draw with ASCII characters only
    #[arg(long, global = true)]
    pub ascii: bool,
    /// Say nothing but results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice for every step
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// How messages on standard error are written
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at both databases and write a first plan file
    Init(InitArgs),
    /// Check plan files without any database
    Validate(ValidateArgs),
    /// Print or save the structure of a database
    Inspect(InspectArgs),
    /// Show how two structures differ
    Diff(DiffArgs),
    /// Compare both ends and show what would be done
    Plan(PlanArgs),
    /// Show a saved plan
    Show(ShowArgs),
    /// Draw the steps and what they wait for
    Graph(GraphArgs),
    /// Execute a plan, or continue it
    Apply(ApplyArgs),
    /// Keep applying the source's changes
    Follow(FollowArgs),
    /// Compare the rows of source and target
    Verify(VerifyArgs),
    /// Show how far a plan is
    Status(StatusArgs),
    /// Remove what a plan made to work with: the capture and its state
    Clean(CleanArgs),
    /// Hand over to the target: drain, sequences, comparison, source closed
    Cutover(CutoverArgs),
    /// Print the statements that give a role what it needs
    Grants(GrantsArgs),
    /// Explain a hazard, an error or an exit code
    Explain(ExplainArgs),
    /// Print the grammar of the plan file (JSON Schema)
    Schema,
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print the manual pages
    Man(ManArgs),
    /// Move an example database, with everything shown
    Demo(DemoArgs),
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    towpath init --from sqlite:shop.db --to sqlite:new.db\n  \
    towpath init --from '${SOURCE_URL}' --to '${TARGET_URL}' -f shop.yaml\n\n\
    A variable's name keeps passwords out of the command line.")]
pub struct InitArgs {
    /// The database that rows come from; '${NAME}' stands for a variable
    #[arg(long, value_name = "URL")]
    pub from: Option<String>,
    /// The database that rows go to
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// Ask nothing
    #[arg(long)]
    pub non_interactive: bool,
    /// Overwrite a plan file that exists
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  towpath validate\n  towpath validate plans/*.yaml --format github")]
pub struct ValidateArgs {
    /// Plan files; without any, the one of --file
    pub files: Vec<String>,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: ProblemFormat,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProblemFormat {
    Text,
    Json,
    Github,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    towpath inspect sqlite:shop.db\n  \
    towpath inspect source --out schemas/shop.yaml")]
pub struct InspectArgs {
    /// A URL without password, '${NAME}' for one in a variable, or `source` or `target` of the plan file
    #[arg(value_name = "URL")]
    pub url: String,
    /// Save it here; the ending tells the format
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<CatalogFormat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CatalogFormat {
    Yaml,
    Json,
    Sql,
    Mermaid,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    towpath diff\n  \
    towpath diff schemas/before.yaml source --stat")]
pub struct DiffArgs {
    /// `source`, `target`, a saved structure, a URL without password, or '${NAME}'
    #[arg(default_value = "source", value_name = "A")]
    pub before: String,
    #[arg(default_value = "target", value_name = "B")]
    pub after: String,
    /// One line per object
    #[arg(long)]
    pub stat: bool,
    /// Also the lines that are equal
    #[arg(long)]
    pub all: bool,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Plainness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plainness {
    Text,
    Json,
}

/// Structures read from files instead of databases.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct SavedArgs {
    /// Use a saved structure as the source; no connection is made
    #[arg(long, value_name = "FILE")]
    pub source_catalog: Option<PathBuf>,
    /// Use a saved structure as the target; no connection is made
    #[arg(long, value_name = "FILE")]
    pub target_catalog: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    towpath plan\n  \
    towpath plan --out plan.json --emit markdown=plan.md --emit sql=plan.sql\n  \
    towpath plan --source-catalog schemas/shop.yaml --target-catalog schemas/empty.yaml\n\n\
    Planning writes to neither database.")]
pub struct PlanArgs {
    /// Save the plan here, for review and for apply
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// Also write the plan in another form; repeatable (`-`: standard output)
    #[arg(long, value_name = "FORMAT=PATH", value_parser = emit)]
    pub emit: Vec<(PlanFormat, PathBuf)>,
    /// How much the rows may be asked
    #[arg(long, value_name = "LEVEL", default_value = "standard")]
    pub probe: ProbeArg,
    #[command(flatten)]
    pub saved: SavedArgs,
    /// How long a saved plan may be applied: 90m, 12h, 7d
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = duration)]
    pub valid_for: std::time::Duration,
    /// Exit with 2 when there is something to do
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Show also what is unchanged, done or left behind
    #[arg(long)]
    pub all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    Text,
    Json,
    Markdown,
    Sql,
    Mermaid,
    Dot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProbeArg {
    /// Ask nothing
    None,
    /// Catalogs only
    Metadata,
    /// Bounded read-only queries
    Standard,
    /// Exact answers, however long they take
    Full,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    towpath show plan.json\n  \
    towpath show plan.json --sql\n  \
    towpath show plan.json --step app.orders/copy")]
pub struct ShowArgs {
    /// A plan saved by `plan --out`
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Also write the plan in another form; repeatable (`-`: standard output)
    #[arg(long, value_name = "FORMAT=PATH", value_parser = emit)]
    pub emit: Vec<(PlanFormat, PathBuf)>,
    /// Show one step in full
    #[arg(long, value_name = "ID")]
    pub step: Option<String>,
    /// Show the statements, in order
    #[arg(long)]
    pub sql: bool,
    /// Show also what is unchanged or left behind
    #[arg(long)]
    pub all: bool,
    /// Exit with 2 when there is something to do
    #[arg(long)]
    pub detailed_exitcode: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    towpath graph\n  \
    towpath graph plan.json --format mermaid --level step\n  \
    towpath graph plan.json --critical-path")]
pub struct GraphArgs {
    /// A plan saved by `plan --out`; without it, the plan is made now
    #[arg(value_name = "PLAN")]
    pub plan: Option<PathBuf>,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: GraphFormat,
    /// What a node stands for
    #[arg(long, value_name = "LEVEL", default_value = "table")]
    pub level: GraphLevel,
    /// Only the steps that decide how long it takes
    #[arg(long)]
    pub critical_path: bool,
    #[command(flatten)]
    pub saved: SavedArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    Text,
    Mermaid,
    Dot,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphLevel {
    Phase,
    Table,
    Step,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    towpath apply plan.json\n  \
    towpath apply plan.json --expect 7f3a91c2e0b8\n  \
    towpath apply --yes\n\n\
    Apply never runs text out of PLAN: it plans again and refuses anything but the same plan.\n\
    After a crash or Ctrl-C, the same command continues.\n\n\
    --serve shows a page about the run at /, and /status.json and /metrics (Prometheus). Anybody on\n\
    this machine may look at a loopback address; any other address needs a token of 16 letters or\n\
    more in TOWPATH_SERVE_TOKEN, which the page asks for and others send as\n\
    `Authorization: Bearer TOKEN`. Nothing can be changed there.")]
pub struct ApplyArgs {
    /// A plan saved by `plan --out`; without it: plan, show, ask
    #[arg(value_name = "PLAN")]
    pub plan: Option<PathBuf>,
    /// Apply only a plan with this digest (at least 8 hexadecimal digits)
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    pub expect: Option<String>,
    /// Stop after this part
    #[arg(long, value_name = "PART")]
    pub until: Option<Until>,
    /// Readers and writers at once; less than in the plan file
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// After a failure, go on with steps that do not need the failed one
    #[arg(long, conflicts_with = "fail_fast")]
    pub keep_going: bool,
    /// After a failure, cancel what runs
    #[arg(long)]
    pub fail_fast: bool,
    /// How long to wait for another run of the same plan
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub lock_timeout: std::time::Duration,
    /// Copy all followed tables again, where the source no longer keeps the changes since their copy
    #[arg(long)]
    pub recopy: bool,
    /// Rows per second at most
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// How progress is shown on standard error
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub progress: ProgressFormat,
    /// Show the run at http://ADDR/ while it lasts: PORT, or IP:PORT; port 0 takes any
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub serve: Option<SocketAddr>,
    /// Print the report as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// Tables are there
    Schema,
    /// Rows are there
    Loaded,
    /// And the changes that happened meanwhile: everything
    Synced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressFormat {
    Auto,
    Bar,
    Plain,
    Json,
    None,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    towpath follow\n  \
    towpath follow --until-lag 5s\n  \
    towpath follow --for 10m --progress json\n  \
    towpath follow --serve 127.0.0.1:9180\n  \
    towpath follow --back\n\n\
    A service: it goes on after a server was away, until a first Ctrl-C or SIGTERM ends it at a\n\
    whole transaction. `towpath apply` comes before it.\n\n\
    --serve shows a page at /, and /status.json and /metrics (Prometheus); for supervisors, which need\n\
    no token: /live answers 200 while the process works, /ready answers 200 while the stream is\n\
    followed, and 503 before that and while it fails and is tried again. Under systemd\n\
    (Type=notify) the service is told ready at the same moment, with --serve or without. Anybody on\n\
    this machine may look at a loopback address; any other address needs a token of 16 letters or\n\
    more in TOWPATH_SERVE_TOKEN, which the page asks for and others send as\n\
    `Authorization: Bearer TOKEN`. Nothing can be changed there.")]
pub struct FollowArgs {
    /// The way back of a plan that was cut over
    #[arg(long)]
    pub back: bool,
    /// End as soon as the target is no more than this behind
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub until_lag: Option<std::time::Duration>,
    /// End after this time at the latest
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub time: Option<std::time::Duration>,
    /// How long to wait for another run of the same plan
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub lock_timeout: std::time::Duration,
    /// How progress is shown on standard error
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub progress: ProgressFormat,
    /// Show it at http://ADDR/ while it lasts: PORT, or IP:PORT; port 0 takes any
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub serve: Option<SocketAddr>,
    /// Print the report as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    towpath cutover --dry-run\n  \
    towpath cutover --expect 7f3a91c2e0b8\n\n\
    Catches up, keeps the writers out (cutover.fence), drains what they wrote last, sets the sequences,\n\
    compares both ends, and only then closes the source. A gate that fails lets the writers in\n\
    again; until the end nothing is decided, and after a crash the same command begins anew.\n\n\
    With reverse: true in the plan the source is kept for a way back. `towpath follow --back` writes to it\n\
    what is written to the target; `towpath cutover --back` hands over to it again, in the same steps.")]
pub struct CutoverArgs {
    /// The way back of a plan that was cut over
    #[arg(long)]
    pub back: bool,
    /// Cut over only a plan with this digest (at least 8 hexadecimal digits)
    #[arg(long, value_name = "DIGEST", value_parser = digest, conflicts_with = "back")]
    pub expect: Option<String>,
    /// Longest lag at which the writers are kept out; wins over the plan file
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub max_lag: Option<std::time::Duration>,
    /// Catch up and say how it would go; keep nobody out, decide nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long to wait for another run of the same plan
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub lock_timeout: std::time::Duration,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// How progress is shown on standard error
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub progress: ProgressFormat,
    /// Print the report as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    towpath clean --dry-run\n  \
    towpath clean\n\n\
    It removes what keeps the source's log (slot and publication, or triggers and change table)\n\
    and what the target remembers of the plan, never a row of either. Where nothing is left it\n\
    finds nothing. Tables that a cutover closed for writes stay closed, and are listed, unless\n\
    --open-source asks for more: two databases could be written then.")]
pub struct CleanArgs {
    /// The way back of a plan that was cut over
    #[arg(long)]
    pub back: bool,
    /// Say what is there, remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Leave what the target remembers of the plan
    #[arg(long)]
    pub keep_state: bool,
    /// Take the fence of a cutover away too: the source can be written again, beside the target
    #[arg(long)]
    pub open_source: bool,
    /// Not built yet: tables that the plan made stay
    #[arg(long, hide = true)]
    pub target_tables: bool,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Plainness,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    towpath grants\n  \
    towpath grants --phase load --role mover\n\n\
    Prints SQL for an administrator of either end; runs nothing.")]
pub struct GrantsArgs {
    /// What the role is to do; without it, all of it that the plan needs
    #[arg(long, value_name = "PHASE", value_delimiter = ',')]
    pub phase: Vec<PhaseArg>,
    /// The role; without it, that of each end's URL
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Plainness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum PhaseArg {
    /// Plan, apply and verify
    Load,
    /// Keep and apply changes
    Follow,
    /// Hand over
    Cutover,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    towpath verify\n  \
    towpath verify --level rows --tables 'order*'\n  \
    towpath verify --repair\n\n\
    Verifying changes nothing. It exits with 7 when a row differs.\n\
    With --repair it compares row by row, says how many rows of which tables differ, asks, makes these\n\
    rows of the target what they are on the source, all in one transaction and without firing its\n\
    triggers, and compares once more: 0 if all is equal then. A table without a key is left as it is.\n\
    After the cutover it refuses: the target is in use.")]
pub struct VerifyArgs {
    /// The way back of a plan that was cut over
    #[arg(long)]
    pub back: bool,
    /// How closely to look; without it, each table as its plan says
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<VerifyArg>,
    /// Only these tables (source or target names; * and ? are wildcards); repeatable
    #[arg(long, value_name = "GLOB")]
    pub tables: Vec<String>,
    /// Put rows of the target right that differ, then compare again
    #[arg(long)]
    pub repair: bool,
    /// With --repair: do not ask
    #[arg(short, long, requires = "repair")]
    pub yes: bool,
    /// List keys of rows that differ also when not on a terminal
    #[arg(long)]
    pub show_keys: bool,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Plainness,
    /// How progress is shown on standard error
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub progress: ProgressFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyArg {
    /// Row counts
    Count,
    /// Sums over all values
    Checksum,
    /// Sums, then the rows that differ
    Rows,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  towpath status\n  towpath status --format json --exit-code")]
pub struct StatusArgs {
    /// The way back of a plan that was cut over
    #[arg(long)]
    pub back: bool,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Plainness,
    /// Exit with 2 unless the last run finished everything
    #[arg(long)]
    pub exit_code: bool,
    /// Show it again every two seconds, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  towpath explain V215\n  towpath explain E105\n  towpath explain 6")]
pub struct ExplainArgs {
    /// A hazard (V215), an error (E105) or an exit code (6); without it, all are listed
    pub code: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub struct CompletionsArgs {
    pub shell: clap_complete::Shell,
}

#[derive(Debug, ClapArgs)]
pub struct ManArgs {
    /// Write one page per command into this directory
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

fn emit(text: &str) -> Result<(PlanFormat, PathBuf), String> {
    let (format, path) = text.split_once('=').ok_or("write FORMAT=PATH, such as markdown=plan.md")?;
    if path.is_empty() {
        return Err("the path after = is missing".into());
    }
    let format = PlanFormat::from_str(format, false)
        .map_err(|_| "formats are text, json, markdown, sql, mermaid and dot".to_string())?;
    Ok((format, path.into()))
}

/// `30s`, `90m`, `12h`, `7d`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let bad = || "write a number and a unit: 30s, 90m, 12h or 7d".to_string();
    let unit = text.chars().last().ok_or_else(bad)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| bad())?;
    let total = number.checked_mul(seconds).filter(|total| *total <= 3650 * 86_400).ok_or_else(bad)?;
    Ok(std::time::Duration::from_secs(total))
}

/// `9180`, `127.0.0.1:9180`, `localhost:9180`, `[::1]:9180`.
fn address(text: &str) -> Result<SocketAddr, String> {
    let near = text.strip_prefix("localhost:").unwrap_or(text);
    if let Ok(port) = near.parse() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse()
        .map_err(|_| "write a port, or an IP address and a port: 9180, 127.0.0.1:9180, [::]:9180".into())
}

fn digest(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    let good = (8..=64).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
    if good { Ok(hex) } else { Err("a digest is 8 to 64 hexadecimal digits".into()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations_and_digests_are_checked() {
        assert_eq!(duration("90m"), Ok(std::time::Duration::from_secs(5400)));
        for bad in ["", "7", "d", "-5s", "1h30", "99999999d", "5µ"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(digest("sha256:7F3A91C2"), Ok("7f3a91c2".into()));
        assert!(digest("7f3a").is_err());
        assert!(digest("not a digest").is_err());
    }

    #[test]
    fn an_address_to_serve_on_is_a_port_of_this_machine_or_an_ip() {
        for near in ["9180", "localhost:9180", "127.0.0.1:9180"] {
            assert_eq!(address(near).map(|found| found.to_string()), Ok("127.0.0.1:9180".into()), "{near}");
        }
        assert_eq!(address("[::]:0").map(|found| found.to_string()), Ok("[::]:0".into()));
        for bad in ["", ":9180", "example.org:80", "127.0.0.1", "99999", "::1:80:"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_emit_names_a_format_and_a_path() {
        assert_eq!(emit("sql=a=b.sql"), Ok((PlanFormat::Sql, "a=b.sql".into())));
        assert!(emit("pdf=x").is_err());
        assert!(emit("sql").is_err());
        assert!(emit("sql=").is_err());
    }
}
