//! `overdue run`: the service.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

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
    let secrets = secrets(&config);
    start_log_without(&secrets, &args.log, args.log_format)?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let runtime = runtime()?;
    let ended = runtime.block_on(service(&config)).map_err(Failure::from);
    // A worker that was left behind would be waited for.
    runtime.shutdown_background();
    ended.map_err(|failure| failure.without(&secrets))
}

/// What no output may hold.
pub(super) fn secrets(config: &Config) -> Vec<String> {
    config.secrets().into_iter().map(str::to_owned).collect()
}

async fn service(config: &Config) -> Result<(), serve::Failure> {
    let listener = serve::bind(config.http.listen).await?;
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
    serve::reload::heed_hang_up();
    let voice = serve::Voice::new(config)?;
    let pages = serve::Pages::open(listener, config, &voice);
    let end = serve::asked_to_end();
    tokio::pin!(end);
    let layout = tokio::select! {
        layout = serve::prepare_topics(config, &voice) => layout?,
        () = &mut end => return Ok(()),
    };
    let shared = serve::share(config, &layout, 0, &voice);
    serve::serve(config, &shared, &voice, pages, end).await
}

/// The sources that these files and flags name, with the default file where there is one.
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
    start_log_without(&[], filter, format)
}

/// Logs to stderr, with stars where a line would hold one of these.
pub(super) fn start_log_without(
    secrets: &[String],
    filter: &str,
    format: Option<LogFormat>,
) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| Failure::Failed(format!("--log: {error}")))?;
    let is_terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if is_terminal { LogFormat::Text } else { LogFormat::Json });
    let secrets: Arc<[String]> = secrets.into();
    let clean = move || Clean(Arc::clone(&secrets));
    // A log that cannot be written, on a full disk, is not reported to where it cannot be written: that would end
    // the process.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(clean).log_internal_errors(false);
    let started = match format {
        LogFormat::Text => log.with_ansi(is_terminal).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::Failed(format!("logging cannot be started: {error}")))
}

/// Standard error without secrets. The log hands over a line at a time.
struct Clean(Arc<[String]>);

impl Write for Clean {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        std::io::stderr().write_all(config::redacted(&text, &self.0).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
