//! `overdue explain`: why a lead is, or is not, in breach.

use std::path::PathBuf;
use std::sync::Arc;

use super::Failure;
use super::run::{secrets, sources, start_log_without};
use super::test::print;
use crate::config::{self, Config};
use crate::explain::{Explanation, table};
use crate::serve;
use crate::sla::instant::Instant;

mod ask;
mod files;
mod gather;
mod topics;

/// Say why a lead is, or is not, in breach
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Say why a lead is, or is not, in breach: its facts and where they are written, the policy that \
        covers it, and each of its clocks: what started it, what it counted, what it came to, and what comes next.\n\n\
        Reads files of events; without any, the input topics of a configuration; with --url it asks a running \
        service, which knows what it has said. Nothing is written, and no group is joined.",
    after_help = "Exit codes: 0 explained, 1 the lead is not known, 2 something could not be read, 78 configuration or \
        policies are refused.\n\n\
        Examples:\n  \
        overdue explain lead-42 --policies policies.yaml events.jsonl\n  \
        overdue explain lead-42 -p policies.yaml events.jsonl --at 2026-03-31T18:00:00Z\n  \
        overdue explain lead-42 --config overdue.yaml\n  \
        overdue explain lead-42 --url http://localhost:9464 --token-file token --output json"
)]
pub struct Args {
    /// The lead's `lead_id`
    #[arg(value_name = "LEAD")]
    lead: String,
    /// Files of events, one JSON object a line; `-` is standard input
    #[arg(value_name = "EVENTS", conflicts_with_all = ["url", "brokers"])]
    inputs: Vec<PathBuf>,
    /// The policies to judge by [default: those of the configuration]
    #[arg(short, long, value_name = "FILE", conflicts_with = "url")]
    policies: Option<PathBuf>,
    /// Judge until this instant (RFC 3339) [default: the latest event of the files; of topics, `input.grace` ago]
    #[arg(long, value_name = "INSTANT", value_parser = super::replay::instant, conflicts_with = "url")]
    at: Option<Instant>,
    /// A configuration file; repeated, later ones over earlier ones [default: overdue.yaml, if there is one]
    #[arg(long, value_name = "FILE", env = "OVERDUE_CONFIG", value_delimiter = ',')]
    config: Vec<PathBuf>,
    /// A setting by its path, over those of files and environment; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// The brokers to read from, over those of the configuration
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "url")]
    brokers: Option<String>,
    /// Ask the service at this address
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The file that holds the service's token
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// How it is written
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    output: Format,
    /// What is logged: error, warn, info, debug, trace, or a filter such as `warn,overdue=debug`
    #[arg(long, value_name = "FILTER", env = "OVERDUE_LOG", default_value = "error")]
    log: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs, an object for each partition that the lead is in.
    Json,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let explanations = match (&args.url, args.inputs.is_empty()) {
        (Some(url), _) => vec![args.ask(url)?],
        (None, false) => args.read_files()?,
        (None, true) => args.read_topics()?,
    };
    let written: Result<Vec<String>, Failure> = explanations.iter().map(|one| args.written(one)).collect();
    print(&written?.join("\n"))
}

impl Args {
    fn written(&self, explanation: &Explanation) -> Result<String, Failure> {
        match self.output {
            Format::Table => Ok(table(explanation)),
            Format::Json => serde_json::to_string_pretty(explanation)
                .map(|json| json + "\n")
                .map_err(|error| Failure::Failed(error.to_string())),
        }
    }

    fn ask(&self, url: &str) -> Result<Explanation, Failure> {
        let token = match &self.token_file {
            Some(path) => Some(token(path)?),
            None => None,
        };
        super::run::runtime()?.block_on(ask::ask(url, &self.lead, token.as_deref()))
    }

    fn read_files(&self) -> Result<Vec<Explanation>, Failure> {
        let policies = match &self.policies {
            Some(path) => config::load_policies(path.clone())?.policies,
            None => self.configured()?.policies.policies.clone(),
        };
        let now = serve::wall_clock();
        let found = files::explain(&self.lead, Arc::new(policies), &self.inputs, self.at, now)?;
        found.map(|found| vec![found]).ok_or_else(|| self.unknown("those files"))
    }

    fn read_topics(&self) -> Result<Vec<Explanation>, Failure> {
        let config = self.configured()?;
        let secrets = secrets(&config);
        start_log_without(&secrets, &self.log, None)?;
        let found = topics::explain(&self.lead, &config, self.at);
        let found = found.map_err(|failure| Failure::from(failure).without(&secrets))?;
        match found.is_empty() {
            true => Err(self.unknown(&format!("`{}`", config.input.topics.join("`, `")))),
            false => Ok(found),
        }
    }

    fn configured(&self) -> Result<Config, Failure> {
        let mut sources = sources(&self.config, &self.sets);
        sources.sets.extend(self.brokers.iter().map(|brokers| format!("kafka.brokers={brokers}")));
        sources.sets.extend(self.policies.iter().map(|path| format!("policies={}", path.display())));
        Ok(config::load(&sources)?)
    }

    fn unknown(&self, place: &str) -> Failure {
        let by = self.at.map_or_else(String::new, |at| format!(" until {at}"));
        Failure::Ended(format!("no event of lead `{}` is in {place}{by}", self.lead))
    }
}

fn token(path: &PathBuf) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::Failed(format!("cannot read `{}`: {error}", path.display())))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
