//! A running service: its workers, its HTTP listener, and how it ends.

pub mod reload;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::config::{self, Config};
use crate::http;
use crate::kafka::admin::{self, Layout};
use crate::kafka::{KafkaPort, KafkaSettings};
use crate::metrics::Metrics;
use crate::runtime::desk::Desk;
use crate::runtime::history::Shelf;
use crate::runtime::port::Error;
use crate::runtime::service::Service;
use crate::runtime::shared::{Board, Health, InputTopic, Shared, StateBytes};
use crate::runtime::trouble::{Repeats, Troubles};
use crate::sla::engine;
use crate::sla::instant::Instant;
use crate::wire::decode;
use crate::wire::encode::Encoder;
use crate::wire::routing::Partitioner;

/// Brokers that cannot be reached are tried again after this time.
const RETRY: Duration = Duration::from_secs(2);

/// Why a service ended.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It is not set up for what it found.
    #[error("{0}")]
    Refused(String),
    /// It could not go on.
    #[error("{0}")]
    Failed(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Refused(why) => Failure::Refused(why),
            other => Failure::Failed(other.to_string()),
        }
    }
}

/// The wall clock of this machine.
pub fn wall_clock() -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Resolves when the process is asked to end; asked twice, it ends at once.
pub async fn asked_to_end() {
    signalled().await;
    tokio::spawn(async {
        signalled().await;
        std::process::exit(130);
    });
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// How a process says how it is, from before its brokers have answered.
pub struct Voice {
    metrics: Metrics,
    troubles: Arc<Troubles>,
}

impl Voice {
    /// That of a service of this configuration.
    pub fn new(config: &Config) -> Result<Voice, Failure> {
        let metrics = Metrics::new(&config.policies.policies, &config.input.topics);
        let metrics = metrics.map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Voice { troubles: Arc::new(Troubles::counted(metrics.clone())), metrics })
    }
}

/// How a service reaches Kafka, for one of its workers.
pub fn kafka_settings(config: &Config, worker: usize) -> KafkaSettings {
    KafkaSettings {
        brokers: config.kafka.brokers.clone(),
        group: config.kafka.group.clone(),
        instance: config.kafka.instance.clone().unwrap_or_default(),
        worker,
        properties: config.kafka.properties.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        input_topics: config.input.topics.clone(),
        breaches: config.output.breaches.clone(),
        warnings: config.output.warnings.clone(),
        outcomes: config.output.outcomes.clone(),
        dead_letter: config.output.dead_letter.clone(),
        changelog: config.changelog.clone(),
        troubles: Arc::default(),
    }
}

/// Looks at the topics and makes what is missing, for as long as it takes the brokers to answer.
pub async fn prepare_topics(config: &Config, voice: &Voice) -> Result<Layout, Failure> {
    let mut told = Repeats::default();
    loop {
        let troubles = Arc::clone(&voice.troubles);
        let settings = KafkaSettings { troubles, ..kafka_settings(config, 0) };
        let create = config.kafka.create_topics;
        let prepared = tokio::task::spawn_blocking(move || admin::prepare(&settings, create)).await;
        match prepared.map_err(|error| Failure::Failed(error.to_string()))? {
            Ok(layout) => return Ok(layout),
            Err(admin::Error::Refused(why)) => return Err(Failure::Refused(why)),
            Err(admin::Error::NotYet(why)) => {
                if told.is_news(&why, wall_clock().millis()) {
                    tracing::warn!(why, "the brokers cannot be used; trying again");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// How many workers a configuration asks for, of so many partitions.
pub fn worker_count(config: &Config, partitions: i32) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = if config.workers == 0 { cores } else { config.workers };
    wanted.clamp(1, usize::try_from(partitions).unwrap_or(1).max(1))
}

/// Puts together what the workers have in common.
pub fn share(config: &Config, layout: &Layout, board_rows: usize, voice: &Voice) -> Arc<Shared> {
    let ids = layout.topic_ids.clone().unwrap_or_default();
    let topic =
        |(index, name): (usize, &String)| InputTopic { name: name.clone(), id: ids.get(index).cloned() };
    Arc::new(Shared {
        policies: Shelf::new(Arc::clone(&config.policies)),
        engine: engine::Settings {
            grace_ms: config.input.grace_ms,
            lateness_max_ms: config.input.lateness_max_ms,
            facts_max: config.input.facts_max,
            retention_closed_ms: config.retention.closed_ms,
            retention_idle_ms: config.retention.idle_ms,
            speak_from: config.input.speak_from.unwrap_or(Instant::MIN),
        },
        decode: decode::Settings { future_skew_max_ms: config.input.future_skew_max_ms, are_files: false },
        encoder: Encoder::new(config.input.topics.clone()),
        topics: config.input.topics.iter().enumerate().map(topic).collect(),
        partitions: layout.partitions,
        is_keyed_by_lead: config.input.keyed_by == config::KeyedBy::LeadId,
        partitioner: partitioner(config),
        ignores_unknown_types: config.input.unknown_types == config::UnknownTypes::Ignore,
        writes_outcomes: config.output.outcomes.is_some(),
        commit_interval_ms: config.commit_interval_ms,
        clock_skew_max_ms: config.input.clock_skew_max_ms,
        state: StateBytes::new(worker_count(config, layout.partitions), config.state_bytes_max),
        metrics: voice.metrics.clone(),
        health: Health::new(worker_count(config, layout.partitions)),
        board: Board::new(board_rows),
        desk: Desk::new(worker_count(config, layout.partitions)),
    })
}

/// How producers partition keys, where the configuration says it.
pub fn partitioner(config: &Config) -> Option<Partitioner> {
    match config.input.partitioner {
        config::Partitioner::Auto => None,
        config::Partitioner::Murmur2 => Some(Partitioner::Murmur2),
        config::Partitioner::Crc32 => Some(Partitioner::Crc32),
        config::Partitioner::Other => Some(Partitioner::Other),
    }
}

/// Binds the address that metrics and health are asked at.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::Failed(format!("`http.listen`: {address} cannot be listened at: {error}")))
}

/// What others may ask, from before the brokers have answered to the end; gone when it is dropped.
pub struct Pages {
    shared: Arc<OnceLock<Arc<Shared>>>,
    http: JoinHandle<()>,
}

impl Pages {
    /// Begins to answer: alive, and not ready.
    pub fn open(listener: TcpListener, config: &Config, voice: &Voice) -> Pages {
        let shared = Arc::default();
        let token = config.http.token.as_ref().map(|token| http::guard::Token::new(token.reveal()));
        let asked = http::Asked {
            shared: Arc::clone(&shared),
            metrics: voice.metrics.clone(),
            troubles: Arc::clone(&voice.troubles),
            now: wall_clock,
        };
        Pages { shared, http: tokio::spawn(http::serve(listener, token, asked)) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.http.abort();
    }
}

/// Runs workers until `end` resolves or one of them ends by itself.
pub async fn serve(
    config: &Config,
    shared: &Arc<Shared>,
    voice: &Voice,
    pages: Pages,
    end: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let ended = Arc::new(Notify::new());
    let settings = KafkaSettings { troubles: Arc::clone(&voice.troubles), ..kafka_settings(config, 0) };
    let connect =
        move |worker, stop: &AtomicBool| connect(&KafkaSettings { worker, ..settings.clone() }, stop);
    let notify = Arc::clone(&ended);
    let workers = worker_count(config, shared.partitions);
    let service = Service::start(shared, workers, connect, move || notify.notify_one());
    let service = service.map_err(|error| Failure::Failed(format!("no thread can be started: {error}")))?;
    pages.shared.get_or_init(|| Arc::clone(shared));
    let watching = tokio::spawn(reload::watch(Arc::clone(shared), Arc::clone(&config.policies)));
    tokio::select! {
        () = end => tracing::info!("ending: the last transaction is committed and the group left"),
        () = ended.notified() => {}
    }
    watching.abort();
    let stopping = tokio::task::spawn_blocking(|| service.stop());
    match tokio::time::timeout(END_WITHIN, stopping).await {
        Ok(stopped) => stopped.map_err(|error| Failure::Failed(error.to_string()))?.map_err(Failure::from),
        Err(_) => {
            tracing::error!(
                waited = ?END_WITHIN,
                "a worker does not end: it is left behind; what it has not committed is done again by whoever takes over"
            );
            Ok(())
        }
    }
}

/// How long workers may take to commit and to leave their group. To leave without them does no harm: a process
/// may be killed at any moment.
const END_WITHIN: Duration = Duration::from_secs(25);

/// Connects a worker, for as long as it takes the brokers to answer.
fn connect(settings: &KafkaSettings, stop: &AtomicBool) -> Result<KafkaPort, Error> {
    let mut told = Repeats::default();
    loop {
        match KafkaPort::new(settings.clone()) {
            Err(Error::NotYet(why)) if !stop.load(Ordering::Relaxed) => {
                if told.is_news(&why, wall_clock().millis()) {
                    tracing::warn!(worker = settings.worker, why, "the brokers cannot be used; trying again");
                }
                std::thread::sleep(RETRY);
            }
            connected => return connected,
        }
    }
}
