//! Writing and reading topics: what a producer before the detector and a consumer after it would do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, DeliveryResult, Headers, ToBytes};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};

use super::Kafka;
use super::kafka::unique;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// One record as a consumer got it; a null key or value is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<String>,
    pub value: Option<String>,
    pub headers: Vec<(String, String)>,
}

impl Kafka {
    /// Returns the configuration of a client of this Kafka.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap()).set("log_level", "3");
        config
    }

    /// Makes a topic that no other test uses, and waits until every partition has a leader.
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) -> String {
        let name = unique(name);
        let fresh = NewTopic::new(&name, partitions, TopicReplication::Fixed(-1));
        let topic = config.iter().fold(fresh, |topic, (key, value)| topic.set(key, value));
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client");
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_WITHIN));
        let asked = admin.create_topics([&topic], &options);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let results = runtime.block_on(asked).expect("an answer of the controller");
        results.into_iter().for_each(|result| drop(result.expect("a new topic")));
        self.wait_for_leaders(&name, partitions);
        name
    }

    /// Gives a topic more partitions, and waits until every one has a leader.
    pub fn add_partitions(&self, topic: &str, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client");
        let asked = [NewPartitions::new(topic, partitions)];
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let asked = admin.create_partitions(&asked, &AdminOptions::new());
        let results = runtime.block_on(asked).expect("an answer of the controller");
        results.into_iter().for_each(|result| drop(result.expect("more partitions")));
        self.wait_for_leaders(topic, partitions as i32);
    }

    /// Deletes everything in a partition up to its end, as retention would.
    pub fn delete_records(&self, topic: &str, partition: i32) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::End).expect("a valid offset");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let asked = admin.delete_records(&list, &AdminOptions::new());
        runtime.block_on(asked).expect("an answer of the leader");
    }

    /// Deletes a topic and makes another of its name, which may take the brokers a moment.
    pub fn recreate_topic(&self, topic: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_WITHIN));
        let deleted = runtime.block_on(admin.delete_topics(&[topic], &options)).expect("an answer");
        deleted.into_iter().for_each(|result| drop(result.expect("a topic to delete")));
        let fresh = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            let made = runtime.block_on(admin.create_topics([&fresh], &options)).expect("an answer");
            if made.into_iter().all(|result| result.is_ok()) {
                break;
            }
            assert!(Instant::now() < deadline, "`{topic}` can't be made anew");
        }
        self.wait_for_leaders(topic, partitions);
    }

    /// Counts the members of a consumer group.
    pub fn members(&self, group: &str) -> usize {
        let groups = self.reader().fetch_group_list(Some(group), ANSWER_WITHIN).expect("the group");
        groups.groups().iter().map(|group| group.members().len()).sum()
    }

    /// Writes one record, to the partition of its key where none is given, and waits until it is there.
    pub fn produce(&self, topic: &str, partition: Option<i32>, key: &str, value: &str) {
        self.produce_all(topic, partition, [(key, value)]);
    }

    /// Writes lines of `key<TAB>value`, each to the partition of its key, and waits until they are there.
    pub fn produce_lines(&self, topic: &str, lines: &str) {
        let split = |line| str::split_once(line, '\t').expect("a tab between key and value");
        self.produce_all(topic, None, lines.lines().map(split));
    }

    /// Reads a topic as a read_committed consumer does, to its end at the time of the call.
    ///
    /// The records come partition by partition. Fails after a while where an open transaction hides the end.
    pub fn read_committed(&self, topic: &str) -> Vec<Record> {
        let mut records = Vec::new();
        self.read_raw(topic, |message| records.push(Record::of(message)));
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// Hands over what a read_committed consumer gets of a topic up to its end at the time of the call.
    pub fn read_raw(&self, topic: &str, mut sink: impl FnMut(&BorrowedMessage<'_>)) {
        let consumer = self.reader();
        let ends = ends(&consumer, topic);
        let mut assignment = TopicPartitionList::new();
        for (partition, _) in &ends {
            assignment.add_partition_offset(topic, *partition, Offset::Beginning).expect("a valid offset");
        }
        consumer.assign(&assignment).expect("an assignment");
        let mut deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            match consumer.poll(Duration::from_millis(5)) {
                Some(Ok(message)) => {
                    sink(&message);
                    deadline = Instant::now() + ANSWER_WITHIN;
                }
                Some(Err(error)) => assert!(is_passing(&error), "reading `{topic}`: {error}"),
                // The last offsets may be markers or aborted: the position passes them, records do not tell.
                None if has_reached(&consumer, topic, &ends) => break,
                None => {}
            }
            assert!(Instant::now() < deadline, "`{topic}` ends at {ends:?}, read {:?}", consumer.position());
        }
    }

    /// Tells whether there is a topic of this name.
    pub fn has_topic(&self, name: &str) -> bool {
        // Asked for all of them: a question about one may bring it into being.
        let metadata = self.reader().fetch_metadata(None, ANSWER_WITHIN).expect("the cluster's metadata");
        metadata.topics().iter().any(|topic| topic.name() == name && !topic.partitions().is_empty())
    }

    fn produce_all<'a>(
        &self,
        topic: &str,
        partition: Option<i32>,
        records: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) {
        let deliveries = Deliveries::default();
        let failed = deliveries.failed.clone();
        let mut config = self.client();
        // The partition that Java's producers choose for a key.
        config.set("partitioner", "murmur2_random").set("enable.idempotence", "true");
        let producer: BaseProducer<_> = config.create_with_context(deliveries).expect("a producer");
        for (key, value) in records {
            let record = BaseRecord::to(topic).key(key).payload(value);
            send(&producer, partition.into_iter().fold(record, BaseRecord::partition));
        }
        producer.flush(ANSWER_WITHIN).expect("all records delivered in time");
        assert_eq!(failed.load(Ordering::Relaxed), 0, "records of `{topic}` were not delivered");
    }

    fn reader(&self) -> BaseConsumer {
        let mut config = self.client();
        config.set("group.id", unique("reader")).set("isolation.level", "read_committed");
        config.set("enable.auto.commit", "false").set("fetch.queue.backoff.ms", "5");
        config.set("fetch.wait.max.ms", "50").create().expect("a consumer")
    }

    fn wait_for_leaders(&self, topic: &str, partitions: i32) {
        let consumer = self.reader();
        let deadline = Instant::now() + ANSWER_WITHIN;
        while !has_leaders(&consumer, topic, partitions) {
            assert!(Instant::now() < deadline, "`{topic}` got no leaders");
        }
    }
}

impl Record {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let header = |header: rdkafka::message::Header<'_, &[u8]>| {
            (header.key.to_owned(), text(header.value.unwrap_or_default()))
        };
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key().map(text),
            value: message.payload().map(text),
            headers: message.headers().into_iter().flat_map(|all| all.iter().map(header)).collect(),
        }
    }
}

/// Counts the records that were not delivered.
#[derive(Default)]
pub struct Deliveries {
    pub failed: Arc<AtomicUsize>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.failed.fetch_add(usize::from(result.is_err()), Ordering::Relaxed);
    }
}

/// Hands a record to a producer, waiting while its queue is full.
pub fn send<K, V>(producer: &BaseProducer<Deliveries>, mut record: BaseRecord<'_, K, V>)
where
    K: ToBytes + ?Sized,
    V: ToBytes + ?Sized,
{
    while let Err((error, back)) = producer.send(record) {
        assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "producing: {error}");
        producer.poll(Duration::from_millis(10));
        record = back;
    }
}

/// Returns the partitions that hold anything, with the offset after their last record, committed or not.
fn ends(consumer: &BaseConsumer, topic: &str) -> Vec<(i32, i64)> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_WITHIN).expect("the topic's metadata");
    let partitions = metadata.topics()[0].partitions().iter().map(|partition| partition.id());
    let watermarks = |partition| watermarks(consumer, topic, partition);
    let with_ends = partitions.map(|partition| (partition, watermarks(partition)));
    with_ends.filter(|(_, (low, high))| low < high).map(|(partition, (_, high))| (partition, high)).collect()
}

/// Asks for the ends of a partition, again where a topic is so new that its leader does not know yet.
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    let deadline = Instant::now() + ANSWER_WITHIN;
    loop {
        match consumer.fetch_watermarks(topic, partition, ANSWER_WITHIN) {
            Ok(ends) => return ends,
            Err(error) => assert!(Instant::now() < deadline, "the ends of `{topic}` {partition}: {error}"),
        }
    }
}

fn has_reached(consumer: &BaseConsumer, topic: &str, ends: &[(i32, i64)]) -> bool {
    let positions = consumer.position().expect("the positions of a consumer");
    ends.iter().all(|(partition, end)| {
        let position = positions.find_partition(topic, *partition).map(|element| element.offset());
        matches!(position, Some(Offset::Offset(next)) if next >= *end)
    })
}

/// Tells the errors of a broker that is away, which the client gets over by itself.
fn is_passing(error: &KafkaError) -> bool {
    let passing = [
        RDKafkaErrorCode::BrokerTransportFailure,
        RDKafkaErrorCode::AllBrokersDown,
        RDKafkaErrorCode::NotLeaderForPartition,
        RDKafkaErrorCode::UnknownTopicOrPartition,
    ];
    error.rdkafka_error_code().is_some_and(|code| passing.contains(&code))
}

fn has_leaders(consumer: &BaseConsumer, topic: &str, partitions: i32) -> bool {
    let Ok(metadata) = consumer.fetch_metadata(Some(topic), ANSWER_WITHIN) else { return false };
    let seen = metadata.topics()[0].partitions();
    seen.len() == partitions as usize && seen.iter().all(|partition| partition.leader() >= 0)
}
