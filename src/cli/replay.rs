//! `overdue replay`: judges finished logs.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::load_policies;
use crate::replay::{Error, Inputs, Outputs, Report, Request, Sink, replay, table};
use crate::sla::instant::Instant;
use chrono::Utc;
use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;

/// Judge past events: who was promised what, what was kept, and how fast.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Judge past events by policies: who was promised what, what was kept, and how fast.\n\n\
        Reads files of events, one JSON object a line, in any order, and prints attainment and response times by \
        policy and objective. The rules and the code are those of the service, so breaches have the same ids.",
    after_help = EXAMPLES
)]
pub struct Args {
    /// The file of policies.
    #[arg(short, long, value_name = "FILE")]
    policies: PathBuf,
    /// Judge until this instant (RFC 3339) and leave later events out [default: the latest event, at most now].
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    until: Option<Instant>,
    /// Write every breach, and what became of it, as the service would have; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    breaches: Option<PathBuf>,
    /// Write one line a clock: when it started, was due and ended, and how; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    clocks: Option<PathBuf>,
    /// How the report is written. It goes to standard error where standard output is taken.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    output: Format,
    /// Files of events, one JSON object a line; `-` is standard input.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  overdue replay --policies policies.yaml events.jsonl
  overdue replay -p policies.yaml --until 2026-03-31T23:59:59Z --breaches breaches.jsonl q1/*.jsonl
  zcat events.jsonl.gz | overdue replay -p policies.yaml --clocks - - | grep breached";

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

pub(super) fn instant(text: &str) -> Result<Instant, String> {
    Instant::parse(text)
        .ok_or_else(|| "not RFC 3339 with an offset, as in `2026-03-31T18:00:00+02:00`".to_owned())
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match &error {
            Error::Output(_, source) if source.kind() == io::ErrorKind::BrokenPipe => Failure::NobodyReads,
            _ => Failure::Failed(error.to_string()),
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let policies = Arc::new(load_policies(args.policies.clone())?.policies);
    let mut inputs = Inputs::open(&args.inputs)?;
    args.refuse_outputs_that_clash()?;
    let mut outputs =
        Outputs { breaches: sink(args.breaches.as_deref())?, clocks: sink(args.clocks.as_deref())? };
    let request =
        Request { policies, until: args.until, now: Instant::from_millis(Utc::now().timestamp_millis()) };
    let bar = bar(inputs.bytes());
    let report = replay(&request, &mut inputs, &mut outputs, &mut |bytes| bar.set_position(bytes))?;
    bar.finish_and_clear();
    outputs.finish()?;
    for rejection in &report.rejections {
        eprintln!("{rejection}");
    }
    args.print(&report)
}

impl Args {
    fn takes_stdout(&self) -> bool {
        self.outputs().any(is_stdout)
    }

    fn outputs(&self) -> impl Iterator<Item = &Path> {
        [&self.breaches, &self.clocks].into_iter().filter_map(|path| path.as_deref())
    }

    /// An output must not empty an input, nor be written twice.
    fn refuse_outputs_that_clash(&self) -> Result<(), Failure> {
        for output in self.outputs() {
            let others = self.inputs.iter().chain([&self.policies]).map(PathBuf::as_path);
            if let Some(same) = others.into_iter().find(|other| is_same_file(output, other)) {
                return Err(Failure::Failed(format!("`{}` is both read and written", same.display())));
            }
        }
        match (&self.breaches, &self.clocks) {
            (Some(a), Some(b)) if a == b || is_same_file(a, b) => {
                Err(Failure::Failed("`--breaches` and `--clocks` go to the same file".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn print(&self, report: &Report) -> Result<(), Failure> {
        let is_stderr = self.takes_stdout();
        let is_terminal = if is_stderr { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        let text = match self.output {
            Format::Table => table(report, is_terminal),
            Format::Json => serde_json::to_string_pretty(report)
                .map(|json| json + "\n")
                .map_err(|error| Failure::Failed(error.to_string()))?,
        };
        let done = match is_stderr {
            true => io::stderr().write_all(text.as_bytes()),
            false => io::stdout().write_all(text.as_bytes()),
        };
        done.map_err(|error| Error::Output("-".to_owned(), error).into())
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn sink(path: Option<&Path>) -> Result<Option<Sink>, Error> {
    path.map(|path| if is_stdout(path) { Sink::stdout() } else { Sink::file(path) }).transpose()
}

/// Whether both are one file on disk.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let about = |path: &Path| fs::metadata(path).ok().filter(|about| about.is_file());
    match (about(a), about(b)) {
        (Some(a), Some(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// A bar on a terminal, nothing elsewhere.
fn bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    let style = "{bar:40} {percent:>3} % of {total_bytes}, {binary_bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}
