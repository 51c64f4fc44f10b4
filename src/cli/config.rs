//! `overdue config`: the settings that are in force, and where each was written.

use std::path::PathBuf;

use clap::Subcommand;

use super::Failure;
use super::run::sources;
use crate::config;

/// Look at the configuration
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(Show),
}

/// Print the settings that are in force, as YAML with where each comes from; secrets are `***`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Settings: defaults, then files, then the environment (OVERDUE__KAFKA__BROKERS=localhost:9092), \
                        then --set. Nothing is connected to.\n\n\
                        Example:\n  \
                        overdue config show --config overdue.yaml --set input.grace=1s"
)]
struct Show {
    /// A configuration file; repeated, later ones over earlier ones [default: overdue.yaml, if there is one]
    #[arg(long, value_name = "FILE", env = "OVERDUE_CONFIG", value_delimiter = ',')]
    config: Vec<PathBuf>,
    /// A setting by its path, over those of files and environment; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// Prints what is asked for.
pub fn run(args: &Args) -> Result<(), Failure> {
    let Command::Show(show) = &args.command;
    println!("{}", config::shown(&sources(&show.config, &show.sets))?);
    Ok(())
}
