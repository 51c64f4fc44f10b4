//! Kafka, and the only code that names its client library.
//!
//! [`KafkaPort`] carries out what a worker asks through [`crate::runtime::port::Port`]; [`admin`] looks at
//! the topics before the first worker starts; [`mock`] is a broker inside the process for the demo.
//!
//! A worker has four kinds of client, because they must not wait for one another: the group's consumer, the
//! transactional producer, a consumer without a group that reads changelogs, and one that only asks where
//! logs end. A broker answers the requests of one connection in turn, so a question behind a parked fetch
//! waits for the fetch (`SocketServer` of Apache Kafka 4.1). What leaders say of log ends is believed only
//! where another broker says that they lead; how that is found out says `witness`.
//!
//! What is said here about the client library was read in the source of librdkafka 2.12.1 and
//! rust-rdkafka 0.39 and tried on Apache Kafka 4.1.1 (`tests/kafka_port.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::trouble::Troubles;

pub mod admin;
mod changelog;
mod client;
mod consumer;
mod error;
mod ffi;
mod handshake;
mod lookup;
pub mod mock;
mod port;
mod probe;
mod producer;
pub mod reader;
mod trouble;
mod witness;

pub use port::KafkaPort;

/// How long a transaction may stay open; the coordinator aborts it after that.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);

/// How long one call that ends a transaction may take; longer than the transaction itself, because a call
/// that gives up early leaves the transaction undecided.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long starting a producer may take altogether.
pub const INIT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a probe of a partition's leader may take.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the worker itself waits for a partition's leader before it polls again.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_millis(500);

/// The largest record that is written; the changelog is created to take it.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Which cluster, group and topics, and as whom.
#[derive(Clone)]
pub struct KafkaSettings {
    /// `host:port` of some brokers, comma separated.
    pub brokers: String,
    /// The consumer group, which is also the prefix of the transactional ids.
    pub group: String,
    /// The name of this process that survives its restarts, or empty.
    pub instance: String,
    /// Which worker of this process it is.
    pub worker: usize,
    /// Properties handed to librdkafka as they are, none of those that are set here.
    pub properties: BTreeMap<String, String>,
    /// The input topics, in the order of the configuration. The group divides the partitions of the first.
    pub input_topics: Vec<String>,
    /// Where breaches go.
    pub breaches: String,
    /// Where warnings go.
    pub warnings: String,
    /// Where met and cancelled clocks go, if anywhere.
    pub outcomes: Option<String>,
    /// Where records go that cannot be used.
    pub dead_letter: String,
    /// Where the state goes.
    pub changelog: String,
    /// Where it is told what is wrong with the brokers.
    pub troubles: Arc<Troubles>,
}

impl KafkaSettings {
    /// `{instance}-{worker}`, or `None` for a process without a name.
    fn static_member(&self) -> Option<String> {
        (!self.instance.is_empty()).then(|| format!("{}-{}", self.instance, self.worker))
    }

    /// The first input topic, whose partitions the group divides.
    fn divided_topic(&self) -> &str {
        self.input_topics.first().map_or("", String::as_str)
    }
}

/// Without the values of the properties: there are passwords among them.
impl std::fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSettings")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("instance", &self.instance)
            .field("worker", &self.worker)
            .field("properties", &self.properties.keys())
            .field("input_topics", &self.input_topics)
            .field("breaches", &self.breaches)
            .field("warnings", &self.warnings)
            .field("outcomes", &self.outcomes)
            .field("dead_letter", &self.dead_letter)
            .field("changelog", &self.changelog)
            .finish()
    }
}
