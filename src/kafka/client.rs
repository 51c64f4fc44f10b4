//! What all clients of a worker share: configuration and logging.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;

use super::trouble::Trouble;
use super::{KafkaSettings, RECORD_BYTES_MAX, TRANSACTION_TIMEOUT};

/// Where a client's log lines and errors go.
#[derive(Clone)]
pub struct Context {
    pub role: &'static str,
    pub trouble: Arc<Trouble>,
}

impl Context {
    pub fn new(role: &'static str, trouble: &Arc<Trouble>) -> Context {
        Context { role, trouble: Arc::clone(trouble) }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        if fac == "ADDPARTS" {
            self.trouble.meet_refused_topic(self.role, log_message);
        }
        log(self.role, level, fac, log_message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.meet(self.role, &error, reason);
    }
}

impl ConsumerContext for Context {}

/// What librdkafka logs of things that are said better, and less often, elsewhere.
const TOLD_ELSEWHERE: &[&str] = &["FAIL", "ADDPARTS", "TXNERR", "GETPID"];

/// Hands a line of librdkafka's log on. Connections come and go, so what it calls an error is a warning here.
fn log(role: &str, level: RDKafkaLogLevel, fac: &str, line: &str) {
    match level {
        // Of a connection that failed the library tells twice; the other time is [`Context::error`].
        // Of a transaction that failed the worker tells, once for many.
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning if TOLD_ELSEWHERE.contains(&fac) => {
            tracing::debug!(target: "librdkafka", client = role, "{fac}: {line}");
        }
        // A pass-through property for producers is told of every consumer, and the other way round.
        _ if fac == "CONFWARN" => tracing::debug!(target: "librdkafka", client = role, "{line}"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", client = role, "{fac}: {line}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", client = role, "{fac}: {line}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", client = role, "{fac}: {line}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", client = role, "{fac}: {line}"),
    }
}

/// The properties of each kind of client: first what may be changed, then what the user changed, then what
/// must be as it is.
pub struct Configs<'a> {
    settings: &'a KafkaSettings,
}

type Properties = [(&'static str, &'static str)];

/// Prefetch deep enough for a batch, shallow enough for memory: a queued record costs 300-500 bytes more
/// than itself. The default back-off of a second stalls whoever is slower than the fetcher.
const FETCHING: &Properties = &[
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.wait.max.ms", "50"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "32768"),
];

impl<'a> Configs<'a> {
    pub fn of(settings: &'a KafkaSettings) -> Configs<'a> {
        Configs { settings }
    }

    /// The member of the group.
    pub fn group(&self) -> ClientConfig {
        let mut config = self.merged(&[
            FETCHING,
            &[
                ("session.timeout.ms", "10000"),
                ("heartbeat.interval.ms", "1000"),
                ("max.poll.interval.ms", "60000"),
                // A question that nobody waits for any more is asked again for so long, and on a slow connection
                // the heartbeats stand in line behind it: the default of a minute costs the membership.
                ("socket.timeout.ms", "10000"),
            ],
        ]);
        config.set("group.id", &self.settings.group);
        config.set("partition.assignment.strategy", "cooperative-sticky");
        if let Some(member) = self.settings.static_member() {
            config.set("group.instance.id", member);
        }
        self.reading(config, "read_committed")
    }

    /// Reads changelogs; it names the group, because librdkafka assigns nothing without one, and never joins.
    pub fn changelog(&self) -> ClientConfig {
        let mut config = self.merged(&[FETCHING, &[("fetch.message.max.bytes", "4194304")]]);
        config.set("group.id", &self.settings.group);
        self.reading(config, "read_committed")
    }

    /// Asks where logs begin and end. Read_committed would give the last stable offset instead and hide
    /// the records of an open transaction.
    pub fn lookup(&self) -> ClientConfig {
        self.reading(self.merged(&[]), "read_uncommitted")
    }

    /// Creates and describes topics.
    pub fn admin(&self) -> ClientConfig {
        self.merged(&[])
    }

    /// The transactional producer.
    pub fn producer(&self, transactional_id: &str) -> ClientConfig {
        let mut config = self.merged(&[&[
            ("linger.ms", "2"),
            ("compression.type", "lz4"),
            ("queue.buffering.max.messages", "500000"),
            ("queue.buffering.max.kbytes", "524288"),
            // Offsets and the end of a transaction are retried after this, not after the default 100 ms.
            ("retry.backoff.ms", "15"),
        ]]);
        let timeout = TRANSACTION_TIMEOUT.as_millis().to_string();
        config.set("transactional.id", transactional_id);
        config.set("transaction.timeout.ms", &timeout);
        config.set("message.timeout.ms", &timeout);
        config.set("partitioner", "murmur2_random");
        // The value, and room for its key and headers.
        config.set("message.max.bytes", (RECORD_BYTES_MAX + 1024 * 1024).to_string());
        config
    }

    fn reading(&self, mut config: ClientConfig, isolation: &str) -> ClientConfig {
        config.set("isolation.level", isolation);
        config.set("auto.offset.reset", "error");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("enable.partition.eof", "false");
        config.set("allow.auto.create.topics", "false");
        config
    }

    fn merged(&self, defaults: &[&Properties]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("client.id", "overdue");
        config.set("socket.nagle.disable", "true");
        config.set("reconnect.backoff.max.ms", "2000");
        // A topic that became allowed is noticed so late.
        config.set("topic.metadata.refresh.interval.ms", "30000");
        for (key, value) in defaults.iter().copied().flatten() {
            config.set(*key, *value);
        }
        for (key, value) in &self.settings.properties {
            config.set(key, value);
        }
        if self.needs_trust_store() {
            config.set("ssl.ca.location", "probe");
        }
        config.set("bootstrap.servers", &self.settings.brokers);
        config
    }

    /// OpenSSL may be linked statically and then looks for certificates where its builder had them; `probe`
    /// makes librdkafka go through the usual places (`rdkafka_ssl.c`).
    fn needs_trust_store(&self) -> bool {
        let property = |key: &str| self.settings.properties.get(key).map(|value| value.to_lowercase());
        let encrypted = matches!(property("security.protocol").as_deref(), Some("ssl" | "sasl_ssl"));
        encrypted && property("ssl.ca.location").is_none() && property("ssl.ca.pem").is_none()
    }
}

/// So many polls in a row that give nothing mean that nothing is there.
const POLLS_OF_NOTHING: usize = 10;

/// Lets a client log and report what it has to, where nobody else polls it.
pub fn serve<C: ConsumerContext>(client: &BaseConsumer<C>) {
    // A log line is taken without a word: only after some polls of nothing is there nothing.
    let mut nothing = 0;
    for _ in 0..100 {
        nothing = if client.poll(Duration::ZERO).is_none() { nothing + 1 } else { 0 };
        if nothing == POLLS_OF_NOTHING {
            break;
        }
    }
    debug_assert!(client.client().fatal_error().is_none(), "a client without a group has no fatal errors");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Configs, KafkaSettings};

    fn settings(properties: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            brokers: "localhost:9092".into(),
            group: "g".into(),
            instance: "a".into(),
            worker: 1,
            properties: properties
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            input_topics: vec!["leads".into()],
            breaches: "breaches".into(),
            warnings: String::new(),
            outcomes: None,
            dead_letter: "dead".into(),
            changelog: "changelog".into(),
            troubles: std::sync::Arc::default(),
        }
    }

    #[test]
    fn encrypted_connections_look_for_the_systems_certificates() {
        let found = |properties: &[(&str, &str)]| {
            Configs::of(&settings(properties)).lookup().get("ssl.ca.location").map(str::to_owned)
        };
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[("security.protocol", "SASL_SSL")]).as_deref(), Some("probe"));
        let own = [("security.protocol", "ssl"), ("ssl.ca.location", "/ca.pem")];
        assert_eq!(found(&own).as_deref(), Some("/ca.pem"));
    }

    #[test]
    fn users_tune_fetching_but_not_isolation() {
        let settings = settings(&[("fetch.wait.max.ms", "7"), ("isolation.level", "read_uncommitted")]);
        let config = Configs::of(&settings).group();
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
    }

    #[test]
    fn passwords_are_not_printed() {
        let printed = format!("{:?}", settings(&[("sasl.password", "hunter2")]));
        assert!(printed.contains("sasl.password") && !printed.contains("hunter2"), "{printed}");
    }
}
