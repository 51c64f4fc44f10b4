//! `overdue run`: the service.

use std::io::IsTerminal;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::config::{self, Config, Sources};
use crate::serve;

/// Watch the input topics and write what is overdue: the service
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Settings: files, then the environment (OVERDUE__KAFKA__BROKERS=localhost:9092), then --set.\n\n\
        Examples:\n  \
        overdue run --config overdue.yaml\n  \
        overdue run --config overdue.yaml --set kafka.brokers=localhost:9092 --log warn,overdue=debug"
)]
pub struct Args {
    /// A configuration file; repeated, later ones over earlier ones [default: overdue.yaml, if there is one]
    #[arg(long, value_name = "FILE", env = "OVERDUE_CONFIG", value_delimiter = ',')]
    pub config: Vec<PathBuf>,
    /// A setting by its path, over those of files and environment; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// What is logged: error, warn, info, debug, trace, or a filter such as `warn,overdue=debug`
    #[arg(long, value_name = "FILTER", env = "OVERDUE_LOG", default_value = "info")]
    pub log: String,
    /// How it is logged [default: text on a terminal, else json]
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs, an object a line.
    Json,
}

/// Runs until it is asked to end.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = config::load(&sources(&args.config, &args.sets))?;
    start_log(&args.log, args.log_format)?;
    runtime()?.block_on(service(&config)).map_err(Failure::from)
}

async fn service(config: &Config) -> Result<(), serve::Failure> {
    let listener = serve::bind(config.http_listen).await?;
    let listens = listener.local_addr().map_err(|error| serve::Failure::Failed(error.to_string()))?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        brokers = config.kafka.brokers,
        group = config.kafka.group,
        topics = ?config.input.topics,
        policies = config.policies.policies.version,
        http = %listens,
        "starting"
    );
    let pages = serve::Pages::open(listener);
    let end = serve::asked_to_end();
    tokio::pin!(end);
    let layout = tokio::select! {
        layout = serve::prepare_topics(config) => layout?,
        () = &mut end => return Ok(()),
    };
    let shared = serve::share(config, &layout, 0)?;
    serve::serve(config, &shared, pages, end).await
}

/// Files, by default the usual one where it is there, the environment, and settings of the command line.
pub(super) fn sources(files: &[PathBuf], sets: &[String]) -> Sources {
    let mut sources = Sources::of_process(files.to_vec(), sets.to_vec());
    let default = PathBuf::from(super::check::CONFIG_FILE);
    if sources.files.is_empty() && default.exists() {
        sources.files.push(default);
    }
    sources
}

/// The threads that serve HTTP and signals; workers have threads of their own.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("no threads can be started: {error}")))
}

/// Logs to stderr.
pub(super) fn start_log(filter: &str, format: Option<LogFormat>) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| Failure::Failed(format!("--log: {error}")))?;
    let is_terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if is_terminal { LogFormat::Text } else { LogFormat::Json });
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => log.with_ansi(is_terminal).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::Failed(format!("logging cannot be started: {error}")))
}
