//! `overdue verify`: whether what was said is what should have been said.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;
use super::run::{secrets, sources, start_log_without};
use crate::config::{self, Config};
use crate::runtime::port::Error;
use crate::sla::instant::Instant;
use crate::verify::{Progress, Report, Request, table, verify};

/// Recompute every breach from the input topics and compare with the breach topic
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Recompute every breach from the input topics and the policies, and compare with what the \
        service said: what is missing, extra, said twice or different, which rejected records lack a dead letter, \
        and which transactions hang.\n\n\
        The service may run meanwhile. It is given some time to read what is in the log and to say what is missing; \
        breaches that it cannot know yet are not judged. Nothing is written, and no group is joined.",
    after_help = "Exit codes: 0 everything is as it should be, 1 findings, 2 something could not be read, \
        78 configuration or policies are refused.\n\n\
        Examples:\n  \
        overdue verify --config overdue.yaml\n  \
        overdue verify --config overdue.yaml --until 2026-03-31T23:59:59Z --output json | jq .counts"
)]
pub struct Args {
    /// A configuration file; repeated, later ones over earlier ones [default: overdue.yaml, if there is one]
    #[arg(long, value_name = "FILE", env = "OVERDUE_CONFIG", value_delimiter = ',')]
    config: Vec<PathBuf>,
    /// A setting by its path, over those of files and environment; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Judge breaches dated until this instant (RFC 3339) [default: `input.grace` ago]
    #[arg(long, value_name = "INSTANT", value_parser = super::replay::instant)]
    until: Option<Instant>,
    /// How long the service may take to read what is in the log, and again to say what is missing
    /// [default: 30s and `input.grace`]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,
    /// A transaction that is open for longer hangs; more where producers of the input may take longer
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "20s")]
    transaction_timeout: Duration,
    /// How many findings the table shows
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    findings: usize,
    /// How the report is written
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    output: Format,
    /// What is logged: error, warn, info, debug, trace, or a filter such as `warn,overdue=debug`
    #[arg(long, value_name = "FILTER", env = "OVERDUE_LOG", default_value = "error")]
    log: String,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

const WAIT_MS: i64 = 30_000;

fn duration(text: &str) -> Result<Duration, String> {
    config::setting_ms(text).map(|ms| Duration::from_millis(ms.unsigned_abs()))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Refused(why) => Failure::Misfit(why),
            other => Failure::Failed(other.to_string()),
        }
    }
}

/// Runs the command; findings make the exit code 1.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let config = config::load(&sources(&args.config, &args.sets))?;
    let secrets = secrets(&config);
    start_log_without(&secrets, &args.log, None)?;
    let bar = bar();
    let report = verify(&args.request(&config), &mut |progress| show(&bar, progress));
    let report = report.map_err(|failure| Failure::from(failure).without(&secrets))?;
    bar.finish_and_clear();
    args.print(&report)?;
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Args {
    fn request<'a>(&self, config: &'a Config) -> Request<'a> {
        let wait_ms = WAIT_MS.saturating_add(config.input.grace_ms).unsigned_abs();
        Request {
            config,
            until: self.until,
            wait: self.wait.unwrap_or(Duration::from_millis(wait_ms)),
            transaction_timeout: self.transaction_timeout,
        }
    }

    fn print(&self, report: &Report) -> Result<(), Failure> {
        let text = match self.output {
            Format::Table => table(report, self.findings, io::stdout().is_terminal()),
            Format::Json => {
                let json = serde_json::to_string_pretty(report);
                json.map_err(|error| Failure::Failed(error.to_string()))? + "\n"
            }
        };
        match io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done.map_err(|error| Failure::Failed(format!("cannot write the report: {error}"))),
        }
    }
}

/// A bar on a terminal, nothing elsewhere.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {percent:>3} % of {len}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_message(progress.what);
    bar.set_length(progress.total);
    bar.set_position(progress.done);
}
