//! Producers of lead events, and the times in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overdue::sla::instant::Instant;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::Kafka;
use super::log::{Deliveries, send};

const WITHIN: Duration = Duration::from_secs(60);

/// A producer that spreads keys as one of the two usual clients does.
pub struct Feed {
    producer: BaseProducer<Deliveries>,
    failed: Arc<AtomicUsize>,
}

/// One record to be written.
#[derive(Clone, Copy, Default)]
pub struct Raw<'a> {
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, &'a str)],
}

impl Feed {
    /// As Java's producers.
    pub fn java(kafka: &Kafka) -> Self {
        Self::with(kafka, "murmur2_random")
    }

    /// As librdkafka's producers.
    pub fn librdkafka(kafka: &Kafka) -> Self {
        Self::with(kafka, "consistent_random")
    }

    fn with(kafka: &Kafka, partitioner: &str) -> Self {
        let deliveries = Deliveries::default();
        let failed = Arc::clone(&deliveries.failed);
        let mut config = kafka.client();
        config.set("partitioner", partitioner).set("enable.idempotence", "true").set("linger.ms", "0");
        config.set("message.max.bytes", "4000000");
        Self { producer: config.create_with_context(deliveries).expect("a producer"), failed }
    }

    /// Hands events over without waiting.
    pub fn hand<'a>(&self, topic: &str, events: impl IntoIterator<Item = &'a Event>) {
        for event in events {
            send(
                &self.producer,
                BaseRecord::to(topic).key(event.lead_id.as_str()).payload(event.line.as_str()),
            );
        }
        self.producer.poll(Duration::ZERO);
    }

    /// Writes events and waits until they are in the log.
    pub fn write<'a>(&self, topic: &str, events: impl IntoIterator<Item = &'a Event>) {
        self.hand(topic, events);
        self.finish();
    }

    /// Writes any bytes and waits until they are in the log.
    pub fn write_raw(&self, topic: &str, raw: &Raw<'_>) {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic);
        record.partition = raw.partition;
        record.key = raw.key;
        record.payload = raw.value;
        record.headers = (!raw.headers.is_empty()).then(|| {
            let header = |all: OwnedHeaders, (key, value): &(&str, &str)| {
                all.insert(Header { key, value: Some(*value) })
            };
            raw.headers.iter().fold(OwnedHeaders::new(), header)
        });
        send(&self.producer, record);
        self.finish();
    }

    /// Hands any record over, waiting only while there is no room.
    pub fn queue(&self, record: BaseRecord<'_, [u8], [u8]>) {
        send(&self.producer, record);
    }

    /// Waits until everything is in the log.
    pub fn finish(&self) {
        self.producer.flush(WITHIN).expect("all records delivered in time");
        assert_eq!(self.failed.load(Ordering::Relaxed), 0, "records were not delivered");
    }
}

/// One event as it is written.
#[derive(Clone, Debug)]
pub struct Event {
    pub lead_id: String,
    pub line: String,
}

impl Event {
    /// A lead is there.
    pub fn created(lead_id: &str, at: Instant) -> Self {
        Self::of(lead_id, "lead-created", at)
    }

    /// Somebody talked to a lead.
    pub fn contacted(lead_id: &str, at: Instant) -> Self {
        Self::of(lead_id, "contacted", at)
    }

    /// An event of any type without fields of its own.
    pub fn of(lead_id: &str, kind: &str, at: Instant) -> Self {
        let line = format!(
            r#"{{"type":"{kind}","event_id":"{lead_id} {kind} {at}","lead_id":"{lead_id}","time":"{at}"}}"#
        );
        Self { lead_id: lead_id.to_owned(), line }
    }
}

/// The wall clock.
pub fn now() -> Instant {
    overdue::serve::wall_clock()
}
