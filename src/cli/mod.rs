//! The command line: one file a command, each with its arguments and `run`.

pub mod check;
pub mod config;
pub mod demo;
pub mod explain;
pub mod replay;
pub mod run;
pub mod simulate;
pub mod test;
pub mod verify;

use std::process::ExitCode;

use crate::config::{Problems, redacted};
use crate::serve;
use clap::{Parser, Subcommand};

/// Says the moment a promise to a sales lead lapses.
#[derive(Debug, Parser)]
#[command(
    name = "overdue",
    version,
    about,
    long_about = "Says the moment a promise to a sales lead lapses.\n\n\
        Sales events in; breaches and figures out. A promise is called broken once every event that could show \
        it kept has been read.",
    after_help = "Examples:\n  \
        overdue demo                                     see it at work, without Kafka\n  \
        overdue replay -p policies.yaml events.jsonl     judge what happened\n  \
        overdue explain lead-42 -p policies.yaml events.jsonl   why one lead is where it is\n  \
        overdue check --config overdue.yaml              before it runs\n  \
        overdue test config/policies.test.yaml           policies tried out on stories\n  \
        overdue config show --config overdue.yaml        which setting comes from where\n  \
        overdue run --config overdue.yaml                the service\n  \
        overdue verify --config overdue.yaml             whether what it said is right\n\n\
        Exit codes: 0 done, 1 findings, or the service could not go on, 2 wrong usage or something could not be read or \
        written, 78 configuration or policies are refused.",
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Demo(demo::Args),
    Check(check::Args),
    Test(test::Args),
    Config(config::Args),
    Replay(replay::Args),
    Explain(explain::Args),
    Verify(verify::Args),
    Simulate(simulate::Args),
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is refused.
    #[error(transparent)]
    Refused(#[from] Problems),
    /// The configuration does not fit what was found.
    #[error("{0}")]
    Misfit(String),
    /// The service could not go on.
    #[error("{0}")]
    Ended(String),
    /// Something could not be read, written or understood.
    #[error("{0}")]
    Failed(String),
    /// Whoever read the output has gone.
    #[error("nobody reads the output")]
    NobodyReads,
}

impl From<serve::Failure> for Failure {
    fn from(failure: serve::Failure) -> Failure {
        match failure {
            serve::Failure::Refused(why) => Failure::Misfit(why),
            serve::Failure::Failed(why) => Failure::Ended(why),
        }
    }
}

impl Failure {
    /// The same, with stars where a text would hold one of these.
    fn without(self, secrets: &[String]) -> Failure {
        let clean = |text: String| redacted(&text, secrets).into_owned();
        match self {
            Failure::Misfit(why) => Failure::Misfit(clean(why)),
            Failure::Ended(why) => Failure::Ended(clean(why)),
            Failure::Failed(why) => Failure::Failed(clean(why)),
            other => other,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Refused(_) | Failure::Misfit(_) => ExitCode::from(78),
            Failure::Ended(_) => ExitCode::FAILURE,
            Failure::Failed(_) => ExitCode::from(2),
            Failure::NobodyReads => ExitCode::SUCCESS,
        }
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => exit_code(run::run(&args)),
        Command::Demo(args) => exit_code(demo::run(&args)),
        Command::Check(args) => check::check(&args),
        Command::Test(args) => test::run(&args).unwrap_or_else(|failure| exit_code(Err(failure))),
        Command::Config(args) => exit_code(config::run(&args)),
        Command::Replay(args) => exit_code(replay::run(&args)),
        Command::Explain(args) => exit_code(explain::run(&args)),
        Command::Verify(args) => verify::run(&args).unwrap_or_else(|failure| exit_code(Err(failure))),
        Command::Simulate(args) => exit_code(simulate::run(&args)),
    }
}

/// Says why a command failed, if it did.
fn exit_code(done: Result<(), Failure>) -> ExitCode {
    let Err(failure) = done else { return ExitCode::SUCCESS };
    match &failure {
        Failure::NobodyReads => {}
        Failure::Refused(problems) => eprintln!("{problems}"),
        Failure::Failed(why) | Failure::Misfit(why) | Failure::Ended(why) => eprintln!("error: {why}"),
    }
    failure.exit_code()
}
