//! The flags of `demo`, and the hidden parts that it runs as processes of their own.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::{ProgressFormat, duration};

#[derive(Debug, ClapArgs)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  towpath demo\n  towpath demo --dir shop-demo\n\n\
    An example shop is moved while another process goes on writing to it: plan, apply, follow, verify,\n\
    cut over, check, clean. It ends within half a minute and says how to do the same by hand."
)]
pub struct DemoArgs {
    /// Keep the databases and the plan file
    #[arg(long)]
    pub keep: bool,
    /// Where to put them; implies --keep
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How progress is shown on standard error
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub progress: ProgressFormat,
    #[command(subcommand)]
    pub part: Option<DemoPart>,
}

/// What the demo does beside the commands that everybody uses.
#[derive(Debug, Subcommand)]
pub enum DemoPart {
    /// Make the example database and its plan file here
    #[command(hide = true)]
    Make,
    /// Write to the example database, as its application does
    #[command(hide = true)]
    Write(DemoWriteArgs),
    /// Look at the target with the eyes of the application, and write to it
    #[command(hide = true)]
    Check,
}

#[derive(Debug, ClapArgs)]
pub struct DemoWriteArgs {
    /// End after this time at the latest
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub time: std::time::Duration,
    /// End as soon as standard input does, and tell how far it is meanwhile
    #[arg(long, hide = true)]
    pub attached: bool,
}
