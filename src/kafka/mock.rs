//! A broker inside the process, and plain clients for it: what the demo needs and no cluster has to give.
//!
//! It is librdkafka's mock cluster. Transactions succeed there and mean nothing: records of an aborted one are
//! read, committed offsets of one are not kept, and nothing is fenced. It keeps 5 MiB a partition.

use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::client::Context;
use super::trouble::Trouble;
use super::{error, ffi};
use crate::runtime::port::Error;

/// When this broker says it appended any record: it has no clock.
/// Source: librdkafka 2.x, `rd_kafka_mock_handle_Produce`.
pub const APPEND_TIME_MS: i64 = 1234;

/// How long a topic's description may take.
const TIMEOUT: Duration = Duration::from_secs(10);

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::message::DeliveryResult<'_>, (): ()) {
        if let Err((e, message)) = result {
            self.error(e.clone(), &format!("writing to `{}`: {}", message.topic(), error::text(e)));
        }
    }
}

/// The broker. It ends when this is dropped, and everything in it is gone.
pub struct MockBroker {
    client: BaseProducer<Context>,
    bootstrap: String,
}

impl MockBroker {
    /// Starts a broker with these topics.
    pub fn start(partitions: i32, topics: &[&str]) -> Result<MockBroker, Error> {
        let what = "starting a broker inside the process";
        let client: BaseProducer<Context> = client("mock", &[("test.mock.num.brokers", "1")], what)?;
        ffi::start_groups_at_once(client.client());
        let bootstrap = {
            let cluster = client.client().mock_cluster();
            let cluster = cluster.ok_or_else(|| Error::Fatal(format!("{what}: librdkafka has none")))?;
            for topic in topics {
                cluster.create_topic(topic, partitions, 1).map_err(|e| error::of_creation(what, &e))?;
            }
            cluster.bootstrap_servers()
        };
        Ok(MockBroker { client, bootstrap })
    }

    /// `host:port` of the broker, for any client of this machine.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Lets the broker's own client log.
    pub fn serve(&self) {
        self.client.poll(Duration::ZERO);
    }
}

/// Writes records as any producer of events would.
pub struct Feeder {
    producer: BaseProducer<Context>,
}

impl Feeder {
    /// Connects to these brokers.
    pub fn connect(brokers: &str) -> Result<Feeder, Error> {
        let properties = [
            ("bootstrap.servers", brokers),
            ("enable.idempotence", "true"),
            ("partitioner", "murmur2_random"),
            ("linger.ms", "2"),
        ];
        Ok(Feeder { producer: client("feeder", &properties, "creating a producer")? })
    }

    /// Writes a record; the partition is that of its key.
    pub fn send(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.enqueue(BaseRecord::to(topic).key(key).payload(value))
    }

    /// Writes a record to this partition.
    pub fn send_to(&self, topic: &str, partition: i32, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.enqueue(BaseRecord::to(topic).partition(partition).key(key).payload(value))
    }

    fn enqueue(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<(), Error> {
        self.producer.poll(Duration::ZERO);
        let what = format!("writing to `{}`", record.topic);
        while let Err((e, back)) = self.producer.send(record) {
            match e {
                KafkaError::MessageProduction(Code::QueueFull) => record = back,
                e => return Err(error::of_question(&what, &e)),
            }
            self.producer.poll(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until everything has been written.
    pub fn flush(&self, wait: Duration) -> Result<(), Error> {
        self.producer.flush(wait).map_err(|e| error::of_question("writing records", &e))
    }
}

/// Where a [`Tail`] begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At the first record that is still there.
    Beginning,
    /// After the last one.
    End,
}

/// Key and value of a record.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Reads the committed records of a topic.
pub struct Tail {
    consumer: BaseConsumer<Context>,
}

impl Tail {
    /// Begins to read all partitions of a topic.
    pub fn follow(brokers: &str, topic: &str, from: From) -> Result<Tail, Error> {
        let what = format!("reading `{topic}`");
        let properties = [
            ("bootstrap.servers", brokers),
            ("group.id", "overdue-tail"),
            ("isolation.level", "read_committed"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
            ("fetch.wait.max.ms", "20"),
        ];
        let consumer: BaseConsumer<Context> = client("tail", &properties, &what)?;
        let metadata =
            consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(|e| error::of_question(&what, &e))?;
        let mut list = TopicPartitionList::new();
        let offset = if from == From::Beginning { Offset::Beginning } else { Offset::End };
        for partition in metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions) {
            list.add_partition_offset(topic, partition.id(), offset)
                .map_err(|e| error::of_question(&what, &e))?;
        }
        consumer.assign(&list).map_err(|e| error::of_creation(&what, &e))?;
        Ok(Tail { consumer })
    }

    /// The next record, empty where it has no key or no value, or `None` where none comes in time.
    pub fn poll(&self, wait: Duration) -> Option<Pair> {
        let message = self.consumer.poll(wait)?.ok()?;
        let owned = |bytes: Option<&[u8]>| bytes.unwrap_or_default().to_vec();
        Some((owned(message.key()), owned(message.payload())))
    }
}

fn client<C: FromClientConfigAndContext<Context>>(
    role: &'static str,
    properties: &[(&str, &str)],
    what: &str,
) -> Result<C, Error> {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Warning);
    for (key, value) in properties {
        config.set(*key, *value);
    }
    let context = Context::new(role, &Trouble::unheard());
    config.create_with_context(context).map_err(|e| error::of_creation(what, &e))
}
