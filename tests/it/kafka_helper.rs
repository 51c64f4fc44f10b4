//! The Kafka of the tests keeps its own promises.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::Kafka;

const WITHIN: Duration = Duration::from_secs(30);

#[test]
fn a_committed_reader_sees_no_aborted_record_and_passes_the_end() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("committed", 2, &[("cleanup.policy", "compact")]);
    let producer = transactional(kafka, &topic);
    in_transaction(&producer, &topic, "kept", true);
    in_transaction(&producer, &topic, "dropped", false);
    assert_eq!(values(kafka, &topic), ["kept", "kept"]);
}

#[test]
fn lines_go_to_the_partition_of_their_key() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("lines", 3, &[]);
    kafka.produce_lines(&topic, "lead-1\ta\nlead-2\tb\nlead-1\tc\n");
    kafka.produce(&topic, Some(2), "lead-1", "d");
    let records = kafka.read_committed(&topic);
    let of_lead_1: Vec<_> = records.iter().filter(|record| record.key.as_deref() == Some("lead-1")).collect();
    assert_eq!(of_lead_1[0].partition, of_lead_1[1].partition);
    assert!(records.iter().any(|record| record.partition == 2 && record.value.as_deref() == Some("d")));
    assert!(
        records
            .iter()
            .all(|record| record.timestamp_ms > 0 && record.offset >= 0 && record.headers.is_empty())
    );
}

#[test]
fn records_outlive_a_killed_broker() {
    let Some(kafka) = Kafka::start(3) else { return };
    let topic = kafka.create_topic("killed", 1, &[]);
    kafka.produce(&topic, None, "lead-1", "before");
    kafka.kill(1);
    kafka.produce(&topic, None, "lead-1", "without");
    kafka.restart(1);
    kafka.pause(2);
    kafka.resume(2);
    kafka.produce(&topic, None, "lead-1", "after");
    assert_eq!(values(&kafka, &topic), ["before", "without", "after"]);
}

fn transactional(kafka: &Kafka, id: &str) -> BaseProducer {
    let producer: BaseProducer =
        kafka.client().set("transactional.id", id).create().expect("a transactional producer");
    producer.init_transactions(WITHIN).expect("a transactional id");
    producer
}

fn in_transaction(producer: &BaseProducer, topic: &str, value: &str, commit: bool) {
    producer.begin_transaction().expect("a transaction");
    for partition in 0..2 {
        let record = BaseRecord::to(topic).partition(partition).key("lead-1").payload(value);
        producer.send(record).map_err(|(error, _)| error).expect("a record in the queue");
    }
    producer.flush(WITHIN).expect("records on the broker");
    let ended = if commit { producer.commit_transaction(WITHIN) } else { producer.abort_transaction(WITHIN) };
    ended.expect("the end of a transaction");
}

fn values(kafka: &Kafka, topic: &str) -> Vec<String> {
    kafka.read_committed(topic).into_iter().filter_map(|record| record.value).collect()
}
