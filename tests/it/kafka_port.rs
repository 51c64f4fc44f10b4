//! What a worker may rely on, tried on a real Apache Kafka.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use overdue::kafka::mock::{Feeder, From, MockBroker, Tail};
use overdue::kafka::{KafkaPort, KafkaSettings, admin};
use overdue::runtime::port::{
    Answer, Committed, Error, LogEnd, Offsets, Outgoing, Partition, Polled, Port, Position, SecondOpinion,
    Target,
};
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::support::Kafka;

const SECOND: Duration = Duration::from_secs(1);

/// The addresses of the broker that the tests share.
pub fn broker() -> Option<String> {
    Kafka::shared().map(|kafka| kafka.bootstrap().to_owned())
}

/// Topics that no other test has.
pub fn fresh(brokers: &str) -> KafkaSettings {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = |what: &str| format!("{what}-{}-{count}", std::process::id());
    KafkaSettings {
        brokers: brokers.to_owned(),
        group: name("group"),
        instance: String::new(),
        worker: 0,
        properties: BTreeMap::new(),
        input_topics: vec![name("leads"), name("touches")],
        breaches: name("breaches"),
        warnings: name("warnings"),
        outcomes: Some(name("outcomes")),
        dead_letter: name("dead"),
        changelog: name("changelog"),
        troubles: Default::default(),
    }
}

pub fn create(settings: &KafkaSettings, partitions: i32) {
    for topic in &settings.input_topics {
        admin::create_topic(settings, topic, partitions, &[]).expect("the input topic is created");
    }
    admin::prepare(settings, true).expect("the other topics are created");
}

pub fn at(offset: i64) -> Position {
    Position { offset, leader_epoch: -1 }
}

/// A worker that takes what it is given from the committed position, or from 0.
struct Worker {
    port: KafkaPort,
    records: Vec<(u16, Partition, i64, String)>,
    events: Vec<String>,
    mine: Vec<Partition>,
}

impl Worker {
    fn start(settings: &KafkaSettings) -> Worker {
        let port = KafkaPort::new(settings.clone()).expect("the port connects");
        Worker { port, records: Vec::new(), events: Vec::new(), mine: Vec::new() }
    }

    /// Polls once without answering; returns what asks for an answer.
    fn look(&mut self) -> Option<(String, Vec<Partition>)> {
        let mut asked = None;
        let records = &mut self.records;
        let mut out_of_range = 0;
        self.port
            .poll(Duration::from_millis(50), 500, &mut |polled| match polled {
                Polled::Record(record) => records.push((
                    record.topic,
                    record.partition,
                    record.offset,
                    String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned(),
                )),
                Polled::Assigned(partitions) => asked = Some(("assigned".to_owned(), partitions)),
                Polled::Revoked(partitions) => asked = Some(("revoked".to_owned(), partitions)),
                Polled::Lost(partitions) => asked = Some(("lost".to_owned(), partitions)),
                Polled::OutOfRange => out_of_range += 1,
            })
            .expect("the poll succeeds");
        (0..out_of_range).for_each(|_| self.events.push("out of range".to_owned()));
        if let Some((kind, partitions)) = &asked {
            self.events.push(format!("{kind} {partitions:?}"));
        }
        asked
    }

    fn step(&mut self) {
        match self.look() {
            Some((kind, partitions)) if kind == "assigned" => {
                self.port.accept(&partitions).expect("accepting succeeds");
                for partition in partitions {
                    let from = self.committed(partition);
                    let from: Vec<_> =
                        from.iter().map(|one| one.as_ref().map_or(at(0), |one| one.position)).collect();
                    self.port.take(partition, &from).expect("taking succeeds");
                    self.mine.push(partition);
                }
            }
            Some((_, partitions)) => self.give_up(&partitions),
            None => {}
        }
    }

    fn give_up(&mut self, partitions: &[Partition]) {
        self.port.release(partitions).expect("releasing succeeds");
        self.mine.retain(|one| !partitions.contains(one));
    }

    fn committed(&mut self, partition: Partition) -> Vec<Option<Committed>> {
        let until = Instant::now() + 20 * SECOND;
        loop {
            match self.port.committed(partition, Duration::from_millis(100)) {
                Ok(found) => return found,
                Err(Error::NotYet(_)) if Instant::now() < until => {}
                Err(e) => panic!("asking for committed offsets: {e}"),
            }
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&Worker) -> bool) {
        let until = Instant::now() + 40 * SECOND;
        while !done(self) {
            assert!(
                Instant::now() < until,
                "waiting until {what}; {:?}, {:?}",
                self.events,
                self.records.len()
            );
            self.step();
        }
    }

    fn positions(&mut self, partition: Partition) -> Vec<i64> {
        self.port.positions(partition).expect("positions are known").iter().map(|one| one.offset).collect()
    }

    /// One transaction with a changelog record and the offsets of a partition.
    fn commit(&mut self, partition: Partition, positions: &[i64], nonce: &str) -> Result<(), Error> {
        self.begin(partition, positions, nonce)?;
        self.port.commit()
    }

    fn begin(&mut self, partition: Partition, positions: &[i64], nonce: &str) -> Result<(), Error> {
        self.port.begin()?;
        self.fill(partition, positions, nonce)
    }

    fn fill(&mut self, partition: Partition, positions: &[i64], nonce: &str) -> Result<(), Error> {
        self.port.send(Outgoing {
            target: Target::Changelog(partition),
            key: Some(b"k"),
            value: Some(nonce.as_bytes()),
            headers: &[("h", Some(b"v")), ("none", None)],
        })?;
        let positions = positions.iter().map(|offset| at(*offset)).collect();
        self.port.send_offsets(&[Offsets { partition, positions, nonce: nonce.to_owned() }])
    }

    fn nonces(&mut self, partition: Partition) -> Vec<Option<(i64, String)>> {
        let found = self.committed(partition).into_iter();
        found.map(|one| one.map(|one| (one.position.offset, one.nonce))).collect()
    }
}

fn feed(settings: &KafkaSettings, topic: usize, partition: Partition, values: &[&str]) {
    let feeder = Feeder::connect(&settings.brokers).expect("the feeder connects");
    for value in values {
        let sent = feeder.send_to(&settings.input_topics[topic], partition, b"key", value.as_bytes());
        sent.expect("the record is queued");
    }
    feeder.flush(60 * SECOND).expect("the records are written");
}

fn answers(port: &mut KafkaPort, count: usize) -> Vec<Answer> {
    let mut all = Vec::new();
    let until = Instant::now() + 20 * SECOND;
    while all.len() < count && Instant::now() < until {
        port.answers(&mut |answer| all.push(answer));
        std::thread::sleep(Duration::from_millis(5));
    }
    all
}

/// Starts a worker that has the one partition of new topics.
fn alone(settings: &KafkaSettings) -> Worker {
    create(settings, 1);
    let mut worker = Worker::start(settings);
    worker.until("the partition is taken", |worker| worker.mine == [0]);
    worker
}

#[test]
fn a_worker_reads_its_partitions_of_every_topic() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    create(&settings, 2);
    feed(&settings, 0, 1, &["a", "b"]);
    feed(&settings, 1, 1, &["c"]);
    let mut worker = Worker::start(&settings);
    worker.until("three records have come", |worker| worker.records.len() == 3);
    worker.records.sort();
    let expected = [(0, 1, 0, "a"), (0, 1, 1, "b"), (1, 1, 0, "c")];
    let expected =
        expected.map(|(topic, partition, offset, value)| (topic, partition, offset, value.to_owned()));
    assert_eq!(worker.records, expected);
    assert_eq!(worker.positions(1), [2, 1]);
    assert_eq!(worker.positions(0), [0, 0], "nothing has come, so it is where it was told to begin");
}

#[test]
fn a_commit_is_read_back_with_its_nonce_and_an_abort_leaves_nothing() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    let mut worker = alone(&settings);
    assert_eq!(worker.nonces(0), [None, None]);
    worker.commit(0, &[0, 0], "first").expect("it commits");
    let first = [Some((0, "first".to_owned())), Some((0, "first".to_owned()))];
    assert_eq!(worker.nonces(0), first);

    worker.begin(0, &[7, 8], "second").expect("it begins");
    worker.port.abort().expect("it aborts");
    assert_eq!(worker.nonces(0), first);

    let begun = Instant::now();
    worker.commit(0, &[0, 0], "third").expect("it commits after an abort");
    println!("a transaction took {:?}", begun.elapsed());
    assert_eq!(worker.nonces(0)[0], Some((0, "third".to_owned())));
}

#[test]
fn a_position_passes_control_records() {
    let Some(brokers) = broker() else { return };
    let mut settings = fresh(&brokers);
    settings.breaches = settings.input_topics[1].clone();
    let mut worker = alone(&settings);
    let record = Outgoing { target: Target::Breaches, key: None, value: Some(b"r"), headers: &[("h", None)] };
    worker.begin(0, &[0, 0], "n").expect("it begins");
    worker.port.send(record).expect("it is queued");
    worker.port.commit().expect("it commits");
    let until = Instant::now() + 10 * SECOND;
    while worker.positions(0) != [0, 2] {
        assert!(Instant::now() < until, "{:?}", worker.positions(0));
        worker.step();
    }
    assert_eq!(worker.records, [(1, 0, 0, "r".to_owned())]);
    assert_eq!(worker.port.positions(0).expect("it is known")[1].leader_epoch, 0);
}

#[test]
fn a_worker_that_ends_leaves_no_transaction_open() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    let mut worker = alone(&settings);
    worker.begin(0, &[3, 3], "open").expect("it begins");
    drop(worker);
    let begun = Instant::now();
    let mut next = Worker::start(&settings);
    next.until("the partition is taken", |next| next.mine == [0]);
    assert_eq!(next.nonces(0), [None, None]);
    assert!(begun.elapsed() < 8 * SECOND, "{:?}", begun.elapsed());
}

#[test]
fn nobody_reads_what_an_aborted_transaction_had_queued() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    let mut worker = alone(&settings);
    worker.begin(0, &[0, 0], "n").expect("it begins");
    for n in 0..20_000_u32 {
        let value = n.to_string();
        let record =
            Outgoing { target: Target::Breaches, key: None, value: Some(value.as_bytes()), headers: &[] };
        worker.port.send(record).expect("it is queued");
    }
    worker.port.abort().expect("it aborts");
    worker.commit(0, &[0, 0], "after").expect("it commits after that");
    let tail = Tail::follow(&brokers, &settings.breaches, From::Beginning).expect("the topic is read");
    assert_eq!(tail.poll(SECOND), None, "nothing of an aborted transaction is read");
}

#[test]
fn a_partition_changes_hands_with_a_commit_before_its_release() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    create(&settings, 2);
    feed(&settings, 0, 0, &["a"]);
    feed(&settings, 0, 1, &["b"]);
    let mut one = Worker::start(&settings);
    one.until("it has both", |one| one.mine.len() == 2 && one.records.len() == 2);
    // Begun before the other joins, so that only the metadata read while it is asked back can commit.
    one.port.begin().expect("it begins");
    let mut other = Worker::start(&KafkaSettings { worker: 1, ..settings.clone() });
    let until = Instant::now() + 30 * SECOND;
    let partition = loop {
        assert!(Instant::now() < until, "nothing is asked back: {:?}", one.events);
        other.step();
        match one.look() {
            Some((kind, partitions)) if kind == "revoked" => break partitions[0],
            Some(_) => one.port.accept(&[]).expect("accepting succeeds"),
            None => {}
        }
    };
    one.port.refresh_group();
    one.fill(partition, &[1, 0], "last").expect("the transaction is filled");
    one.port.commit().expect("it commits while the partition is asked back");
    one.give_up(&[partition]);
    let until = Instant::now() + 30 * SECOND;
    while other.mine != [partition] {
        assert!(Instant::now() < until, "it is not given: {:?}", other.events);
        one.step();
        other.step();
    }
    assert_eq!(other.nonces(partition)[0], Some((1, "last".to_owned())));
    assert_eq!(one.mine.len(), 1);
    feed(&settings, 1, partition, &["c"]);
    other.until("the other reads on", |other| !other.records.is_empty());
    assert_eq!(other.records, [(1, partition, 0, "c".to_owned())]);

    drop(other);
    one.until("the partition comes back", |one| one.mine.len() == 2);
}

#[test]
fn a_worker_that_lost_its_membership_commits_nothing() {
    let Some(brokers) = broker() else { return };
    let mut settings = fresh(&brokers);
    settings.properties.insert("max.poll.interval.ms".into(), "6000".into());
    settings.properties.insert("session.timeout.ms".into(), "6000".into());
    let mut zombie = alone(&settings);
    zombie.port.begin().expect("it begins");
    // It does not poll for longer than the group waits.
    std::thread::sleep(8 * SECOND);
    let sent = zombie.fill(0, &[5, 5], "zombie");
    assert!(matches!(sent, Err(Error::Transaction(_))), "{sent:?}");
    zombie.port.reinit().expect("the producer starts again");
    let begun = zombie.begin(0, &[5, 5], "zombie again");
    assert!(matches!(begun, Err(Error::Transaction(_))), "offsets of no member are refused here: {begun:?}");
    zombie.port.reinit().expect("the producer starts again");
    zombie.until("it is told and comes back", |zombie| {
        zombie.events.iter().any(|event| event == "lost [0]") && zombie.mine == [0]
    });
    assert_eq!(zombie.nonces(0), [None, None]);
    zombie.commit(0, &[0, 0], "member").expect("a member commits");
}

#[test]
fn starting_again_ends_what_was_left_open() {
    let Some(brokers) = broker() else { return };
    let mut settings = fresh(&brokers);
    settings.instance = "name".into();
    let mut worker = alone(&settings);
    worker.begin(0, &[0, 0], "open").expect("it begins");
    let held = worker.port.committed(0, Duration::from_millis(100));
    assert!(matches!(held, Err(Error::NotYet(_))), "an open transaction holds the offsets: {held:?}");
    let begun = Instant::now();
    worker.port.reinit().expect("the producer starts again");
    assert_eq!(worker.nonces(0), [None, None]);
    println!("freed in {:?}", begun.elapsed());
    assert!(begun.elapsed() < 5 * SECOND);
}

#[test]
fn a_named_worker_comes_back_to_its_partitions_at_once() {
    let Some(brokers) = broker() else { return };
    let mut settings = fresh(&brokers);
    settings.instance = "name".into();
    let mut worker = alone(&settings);
    worker.commit(0, &[0, 0], "before").expect("it commits");
    drop(worker);
    let begun = Instant::now();
    let mut worker = Worker::start(&settings);
    worker.until("the partition is taken again", |worker| worker.mine == [0]);
    println!("back in {:?}", begun.elapsed());
    assert!(begun.elapsed() < 8 * SECOND, "{:?}", begun.elapsed());
    assert_eq!(worker.nonces(0)[0], Some((0, "before".to_owned())));
}

#[test]
fn a_second_process_of_the_same_name_ends_the_first() {
    let Some(brokers) = broker() else { return };
    let mut settings = fresh(&brokers);
    settings.instance = "name".into();
    let mut first = alone(&settings);
    let mut second = Worker::start(&settings);
    second.until("the second has it", |second| second.mine == [0]);
    assert!(matches!(first.commit(0, &[5, 5], "first"), Err(Error::Fenced(_))));
    let until = Instant::now() + 20 * SECOND;
    let ended = loop {
        assert!(Instant::now() < until, "the first is not told");
        if let Err(e) = first.port.poll(Duration::from_millis(50), 500, &mut |_| {}) {
            break e;
        }
    };
    assert!(matches!(&ended, Error::Fenced(text) if text.contains("this instance's name")), "{ended:?}");
    second.commit(0, &[0, 0], "second").expect("the second commits");
}

#[test]
fn a_worker_ends_quickly_whatever_it_still_owes_the_group() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    create(&settings, 2);
    let mut owing = Worker::start(&settings);
    let until = Instant::now() + 20 * SECOND;
    while owing.look().is_none() {
        assert!(Instant::now() < until, "nothing is assigned");
    }
    let begun = Instant::now();
    drop(owing);
    let mut next = Worker::start(&settings);
    next.until("the partitions are free", |next| next.mine.len() == 2);
    let mut other = Worker::start(&KafkaSettings { worker: 1, ..settings.clone() });
    while !next.events.iter().any(|event| event.starts_with("revoked")) {
        if let Some((kind, _)) = next.look() {
            assert!(kind == "revoked" || next.port.accept(&[]).is_ok());
        }
        other.step();
    }
    drop(next);
    other.until("the partitions are free again", |other| other.mine.len() == 2);
    assert!(begun.elapsed() < 20 * SECOND, "{:?}", begun.elapsed());
}

#[test]
fn probes_are_answered_for_every_topic() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    create(&settings, 2);
    feed(&settings, 1, 1, &["a", "b", "c"]);
    let ids = admin::prepare(&settings, false).expect("all is there").topic_ids.expect("topics have ids");
    let mut worker = Worker::start(&settings);
    let before = worker.port.now();
    worker.port.probe(9, &[0, 1]);
    let mut found: Vec<_> = answers(&mut worker.port, 4)
        .into_iter()
        .map(|answer| {
            assert!(answer.ticket == 9 && answer.asked_at >= before);
            let end = answer.end.expect("it is answered");
            assert_eq!(end.second_opinion, SecondOpinion::OnlyBroker);
            assert_eq!(end.topic_id.as_deref(), Some(ids[usize::from(answer.topic)].as_str()));
            assert_eq!(end.partitions, Some(2));
            (answer.topic, answer.partition, end)
        })
        .map(|(topic, partition, end)| (topic, partition, end.offset, end.leader_epoch))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(0, 0, 0, 0), (0, 1, 0, 0), (1, 0, 0, 0), (1, 1, 3, 0)]);
    worker.port.probe(10, &[7]);
    let absent = answers(&mut worker.port, 2);
    assert!(absent.len() == 2 && absent.iter().all(|answer| answer.end.is_err()), "{absent:?}");
}

#[test]
fn a_changelog_is_read_past_control_records_to_its_end() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    create(&settings, 2);
    let mut worker = Worker::start(&settings);
    worker.until("the partitions are taken", |worker| worker.mine.len() == 2);
    worker.commit(0, &[0, 0], "one").expect("it commits");
    worker.begin(0, &[0, 0], "aborted").expect("it begins");
    let until = Instant::now() + 10 * SECOND;
    while worker.port.changelog_open(0) != Ok(3) {
        assert!(Instant::now() < until, "the record that is aborted is not written");
    }
    worker.port.abort().expect("it aborts");
    worker.commit(1, &[0, 0], "other").expect("it commits");
    for round in 0..3 {
        let end = worker.port.changelog_open(0).expect("it opens");
        let other_end = worker.port.changelog_open(1).expect("it opens");
        assert_eq!((end, other_end), (4, 2), "two records, two markers; one record, one marker");
        let until = Instant::now() + 10 * SECOND;
        let (mut values, mut others) = (Vec::new(), Vec::new());
        let (mut position, mut other) = (0, 0);
        while (position, other) != (end, other_end) {
            assert!(Instant::now() < until, "at {position} and {other}, round {round}");
            let wait = Duration::from_millis(20);
            let mut keep = |value: Option<&[u8]>| values.push(value.map(<[u8]>::to_vec));
            position = worker.port.changelog_read(0, wait, &mut |_, value| keep(value)).expect("it is read");
            let mut keep = |value: Option<&[u8]>| others.push(value.map(<[u8]>::to_vec));
            other = worker.port.changelog_read(1, wait, &mut |_, value| keep(value)).expect("it is read");
        }
        assert_eq!(values, [Some(b"one".to_vec())]);
        assert_eq!(others, [Some(b"other".to_vec())]);
        worker.port.changelog_close(0);
        worker.port.changelog_close(1);
    }
    let empty = fresh(&brokers);
    create(&empty, 1);
    let mut worker = Worker::start(&empty);
    let until = Instant::now() + 10 * SECOND;
    while let Err(error) = worker.port.changelog_open(0) {
        assert!(matches!(error, Error::NotYet(_)) && Instant::now() < until, "{error}");
    }
    assert_eq!(worker.port.changelog_read(0, Duration::ZERO, &mut |_, _| {}), Ok(0));
}

#[test]
fn a_rewind_hands_the_records_over_again() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    create(&settings, 1);
    feed(&settings, 0, 0, &["a", "b", "c"]);
    let mut worker = Worker::start(&settings);
    worker.until("all have come", |worker| worker.records.len() == 3);
    assert_eq!(worker.positions(0), [3, 0]);
    worker.port.rewind(0, &[at(1), at(0)]).expect("it is rewound");
    assert_eq!(worker.positions(0), [1, 0], "the position is the new one at once");
    worker.records.clear();
    worker.until("two come again", |worker| worker.records.len() == 2);
    assert_eq!(worker.records[0], (0, 0, 1, "b".to_owned()));
    // Before anything has been fetched, and to the very beginning.
    worker.port.rewind(0, &[at(2), at(0)]).expect("it is rewound");
    worker.port.rewind(0, &[at(0), at(0)]).expect("it is rewound again");
    worker.records.clear();
    worker.until("three come again", |worker| worker.records.len() == 3);
    assert_eq!(worker.positions(0), [3, 0]);
}

#[test]
fn a_position_outside_the_log_is_told_and_can_be_moved() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    create(&settings, 1);
    feed(&settings, 0, 0, &["a", "b"]);
    let mut worker = Worker::start(&settings);
    worker.until("both have come", |worker| worker.records.len() == 2);
    worker.port.rewind(0, &[at(1_000), at(0)]).expect("it is moved");
    worker.until("it is told", |worker| worker.events.iter().any(|event| event == "out of range"));
    assert_eq!(worker.positions(0), [1_000, 0]);
    let bounds = worker.port.bounds(0).expect("the leaders answer");
    assert_eq!((bounds[0].first, bounds[0].end, bounds[1].end), (0, 2, 0));
    let ids = admin::prepare(&settings, false).expect("all is there").topic_ids.expect("topics have ids");
    let found: Vec<_> = bounds.iter().map(|bound| bound.topic_id.as_deref().expect("an id")).collect();
    assert_eq!(found, ids);
    worker.records.clear();
    worker.port.rewind(0, &[at(1), at(0)]).expect("it is moved back");
    worker.until("it reads on", |worker| worker.records.len() == 1);
    assert_eq!(worker.records, [(0, 0, 1, "b".to_owned())]);
    feed(&settings, 1, 0, &["c"]);
    worker.until("the other topic is read on", |worker| worker.records.len() == 2);
}

#[test]
fn topics_are_checked_before_the_first_worker() {
    let Some(brokers) = broker() else { return };
    let refused = |settings: &KafkaSettings, create| match admin::prepare(settings, create) {
        Err(admin::Error::Refused(text)) => text,
        other => panic!("it is not refused: {other:?}"),
    };
    let settings = fresh(&brokers);
    assert!(refused(&settings, true).contains("does not exist"));
    for (topic, partitions) in settings.input_topics.iter().zip([2, 3]) {
        admin::create_topic(&settings, topic, partitions, &[]).expect("it is created");
    }
    assert!(refused(&settings, true).contains("has 2, "), "{}", refused(&settings, true));

    let settings = fresh(&brokers);
    for topic in &settings.input_topics {
        admin::create_topic(&settings, topic, 2, &[]).expect("it is created");
    }
    let commands = refused(&settings, false);
    assert_eq!(commands.matches("kafka-topics.sh").count(), 5, "{commands}");
    let layout = admin::prepare(&settings, true).expect("they are created");
    assert_eq!(layout.partitions, 2);
    let ids = layout.topic_ids.clone().expect("topics have ids");
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
    assert_eq!(admin::prepare(&settings, false), Ok(layout), "all is there now");

    let compacted = fresh(&brokers);
    for topic in &compacted.input_topics {
        admin::create_topic(&compacted, topic, 1, &[("cleanup.policy", "compact")]).expect("it is created");
    }
    assert!(refused(&compacted, true).contains("compaction"));

    let deleting = KafkaSettings { changelog: fresh(&brokers).changelog, ..settings };
    admin::create_topic(&deleting, &deleting.changelog, 2, &[]).expect("it is created");
    assert!(refused(&deleting, true).contains("must have `compact`"));
}

#[test]
fn nobody_answering_is_not_a_refusal() {
    let settings = fresh("127.0.0.1:1");
    match admin::prepare(&settings, true) {
        Err(admin::Error::NotYet(text)) => assert!(text.contains("127.0.0.1:1"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_port_works_on_the_broker_inside_the_process() {
    let mut settings = fresh("");
    let topics = [
        settings.input_topics[0].as_str(),
        settings.input_topics[1].as_str(),
        settings.breaches.as_str(),
        settings.changelog.as_str(),
    ];
    let mock = MockBroker::start(2, &topics).expect("the broker starts");
    settings.brokers = mock.bootstrap().to_owned();
    assert_eq!(admin::assume(&settings).map(|layout| layout.partitions), Ok(2));
    feed(&settings, 0, 0, &["a"]);
    feed(&settings, 1, 1, &["b"]);
    let begun = Instant::now();
    let mut worker = Worker::start(&settings);
    worker.until("both have come", |worker| worker.records.len() == 2);
    println!("joined and read in {:?}", begun.elapsed());
    let breach = Outgoing { target: Target::Breaches, key: Some(b"k"), value: Some(b"late"), headers: &[] };
    worker.begin(0, &[1, 0], "n").expect("it begins");
    worker.port.send(breach).expect("it is sent");
    worker.port.commit().expect("it commits");
    let end = worker.port.changelog_open(0).expect("it opens");
    let until = Instant::now() + 10 * SECOND;
    while worker.port.changelog_read(0, Duration::from_millis(50), &mut |_, _| {}) != Ok(end) {
        assert!(Instant::now() < until, "the changelog's end {end} is not reached");
    }
    worker.port.probe(1, &[0, 1]);
    let opinion = |answer: &Answer| answer.end.as_ref().map(|end| (end.second_opinion, end.partitions)).ok();
    let expected = Some((SecondOpinion::OnlyBroker, Some(2)));
    assert!(answers(&mut worker.port, 4).iter().all(|answer| opinion(answer) == expected));
    let tail = Tail::follow(mock.bootstrap(), &settings.breaches, From::Beginning).expect("it is read");
    assert_eq!(tail.poll(5 * SECOND), Some((b"k".to_vec(), b"late".to_vec())));
}

#[test]
fn a_partition_given_up_early_is_released_when_it_is_asked_back() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    create(&settings, 2);
    let mut one = Worker::start(&settings);
    one.until("it has both", |one| one.mine.len() == 2);
    one.give_up(&[0, 1]);
    feed(&settings, 0, 0, &["a"]);
    feed(&settings, 0, 1, &["b"]);
    let mut other = Worker::start(&KafkaSettings { worker: 1, ..settings.clone() });
    let until = Instant::now() + 30 * SECOND;
    while other.records.is_empty() {
        assert!(Instant::now() < until, "the other gets nothing: {:?} {:?}", one.events, other.events);
        one.step();
        other.step();
    }
    assert_eq!(one.records, [], "what was given up is not read");
    drop(one);
    other.until("it has both", |other| other.records.len() == 2);
}

#[test]
fn leaders_that_live_answer_while_another_is_silent() {
    let Some(kafka) = Kafka::start(3) else { return };
    let settings = fresh(kafka.bootstrap());
    create(&settings, 6);
    let partitions: Vec<_> = (0..6).collect();
    let mut worker = Worker::start(&settings);
    let until = Instant::now() + 30 * SECOND;
    loop {
        worker.port.probe(1, &partitions);
        if answers(&mut worker.port, 12).iter().all(|answer| answer.end.is_ok()) {
            break;
        }
        assert!(Instant::now() < until, "not all leaders answer");
    }
    kafka.pause(1);
    for ticket in 2..4 {
        worker.port.probe(ticket, &partitions);
        let all = answers(&mut worker.port, 12);
        the_living_answer(&all, ticket);
    }
    kafka.resume(1);
}

/// One answer for each place, and log ends among them: a leader that is silent takes nobody's answer away. Once
/// another leads in its place, all have one.
fn the_living_answer(all: &[Answer], ticket: u64) {
    let places: std::collections::BTreeSet<_> = all.iter().map(|one| (one.topic, one.partition)).collect();
    assert_eq!((all.len(), places.len()), (12, 12), "{all:?}");
    assert!(all.iter().all(|one| one.ticket == ticket));
    assert!(all.iter().any(|one| one.end.is_ok()), "{all:?}");
}

#[test]
fn the_end_of_a_deposed_leader_counts_for_nothing() {
    let Some(kafka) = Kafka::start(3) else { return };
    let mut settings = fresh(kafka.bootstrap());
    settings.input_topics.truncate(1);
    create(&settings, 1);
    let mut worker = Worker::start(&settings);
    let mut written = 0;
    for round in 0..3 {
        until_counted(&mut worker.port, written);
        let deposed = leader(&settings, kafka.bootstrap()).expect("a leader");
        let others: Vec<_> = kafka.addresses().into_iter().filter(|(id, _)| *id != deposed).collect();
        let others = others.iter().map(|(_, address)| address.as_str()).collect::<Vec<_>>().join(",");
        kafka.pause(deposed);
        let begun = Instant::now();
        let until = Instant::now() + 30 * SECOND;
        while leader(&settings, &others).is_none_or(|leader| leader == deposed) {
            assert!(Instant::now() < until, "no other leader is chosen");
        }
        feed(&KafkaSettings { brokers: others, ..settings.clone() }, 0, 0, &["a", "b", "c"]);
        println!("round {round}: broker {deposed} deposed, and written to another, in {:?}", begun.elapsed());
        let stale_end = written;
        written += 3;
        // One question waits for it already, the others come at once.
        worker.port.probe(0, &[0]);
        std::thread::sleep(SECOND / 10);
        kafka.resume(deposed);
        (1..20).for_each(|ticket| worker.port.probe(ticket, &[0]));
        let answers = answers(&mut worker.port, 20);
        let ends: Vec<_> = answers.into_iter().filter_map(|answer| answer.end.ok()).collect();
        let stale = ends.iter().filter(|end| end.offset == stale_end).count();
        println!("round {round}: {stale} of {} ends were stale: {:?}", ends.len(), ends.first());
        assert!(ends.iter().all(|end| end.offset == written || !counts(end)), "{ends:?}");
    }
}

fn counts(end: &LogEnd) -> bool {
    matches!(end.second_opinion, SecondOpinion::Same | SecondOpinion::OnlyBroker)
}

/// Probes until the answers count and have this end.
fn until_counted(port: &mut KafkaPort, end: i64) {
    let until = Instant::now() + 30 * SECOND;
    loop {
        port.probe(100, &[0]);
        let answers = answers(port, 1);
        if answers.iter().any(|one| one.end.as_ref().is_ok_and(|found| counts(found) && found.offset == end))
        {
            return;
        }
        assert!(Instant::now() < until, "{answers:?}");
    }
}

/// The leader of the only partition of the first topic, as these brokers have it.
fn leader(settings: &KafkaSettings, brokers: &str) -> Option<usize> {
    let mut config = rdkafka::ClientConfig::new();
    let client: BaseConsumer = config.set("bootstrap.servers", brokers).create().expect("a client");
    let metadata = client.fetch_metadata(Some(&settings.input_topics[0]), 5 * SECOND).ok()?;
    usize::try_from(metadata.topics().first()?.partitions().first()?.leader()).ok()
}

#[test]
fn another_broker_confirms_every_leader() {
    let Some(kafka) = Kafka::start(3) else { return };
    let settings = fresh(kafka.bootstrap());
    create(&settings, 6);
    let mut worker = Worker::start(&settings);
    let partitions: Vec<_> = (0..6).collect();
    let until = Instant::now() + 30 * SECOND;
    loop {
        worker.port.probe(1, &partitions);
        let answers = answers(&mut worker.port, 12);
        let opinions: Vec<_> =
            answers.iter().map(|one| one.end.as_ref().map(|end| end.second_opinion)).collect();
        if opinions == [Ok(SecondOpinion::Same); 12] {
            break;
        }
        assert!(Instant::now() < until, "{answers:?}");
    }
    kafka.kill(1);
    kafka.kill(2);
    let until = Instant::now() + 30 * SECOND;
    loop {
        worker.port.probe(2, &partitions);
        let found = answers(&mut worker.port, 12);
        let ends: Vec<_> = found.iter().filter_map(|one| one.end.as_ref().ok()).collect();
        if !ends.is_empty() && !ends.iter().any(|end| counts(end)) {
            break;
        }
        assert!(Instant::now() < until, "the last broker of three proves something alone: {found:?}");
    }
}

#[test]
fn append_times_tell_how_far_the_local_clock_leads() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    let mut worker = alone(&settings);
    assert_eq!(worker.port.clock_lead(), None);
    worker.commit(0, &[0, 0], "n").expect("it commits");
    // The broker is on this machine: it was appended between what was read before and after.
    let lead = worker.port.clock_lead().expect("the changelog keeps append times");
    assert!((-60_000..=0).contains(&lead.least_ms), "{lead:?}");
    assert!((0..60_000).contains(&lead.most_ms), "{lead:?}");
    worker.port.reinit().expect("the producer starts again");
    assert_eq!(worker.port.clock_lead(), Some(lead), "what is known is kept");

    let plain = fresh(&brokers);
    for topic in plain.input_topics.iter().chain([&plain.changelog]) {
        let config = if *topic == plain.changelog { &[("cleanup.policy", "compact")][..] } else { &[] };
        admin::create_topic(&plain, topic, 1, config).expect("it is created");
    }
    let mut worker = alone(&plain);
    worker.commit(0, &[0, 0], "n").expect("it commits");
    assert_eq!(worker.port.clock_lead(), None, "the times of producers say nothing");
}

#[test]
fn records_held_back_come_later_each_once() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    create(&settings, 2);
    let values: Vec<_> = (0..3_000).map(|n| n.to_string()).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    (0..2).for_each(|partition| feed(&settings, 0, partition, &values));
    let mut worker = Worker::start(&settings);
    worker.until("it has both and the first records", |worker| {
        worker.mine.len() == 2 && (1..2_500).contains(&worker.records.len())
    });
    worker.port.hold(true).expect("it is held");
    let before = worker.records.len();
    let mut other = Worker::start(&KafkaSettings { worker: 1, ..settings.clone() });
    let until = Instant::now() + 30 * SECOND;
    while other.records.len() < values.len() {
        assert!(Instant::now() < until, "a held worker gives nothing up: {:?}", worker.events);
        other.step();
        worker.step();
    }
    assert_eq!(worker.records.len(), before, "a held worker is handed nothing");
    let (kept, moved) = (worker.mine[0], other.mine[0]);
    drop(other);
    worker.until("the other's partition comes back", |worker| worker.mine.len() == 2);
    // Started again while it is held: a partition whose position was outside its log.
    worker.port.rewind(moved, &[at(9_000), at(0)]).expect("it is moved");
    let quiet = Instant::now() + 2 * SECOND;
    while Instant::now() < quiet {
        worker.step();
    }
    worker.port.rewind(moved, &[at(0), at(0)]).expect("it is moved back");
    let quiet = Instant::now() + 2 * SECOND;
    while Instant::now() < quiet {
        worker.step();
    }
    assert_eq!(worker.records.len(), before, "nor of partitions that it takes meanwhile");
    worker.records.retain(|record| record.1 == kept);
    worker.port.hold(false).expect("it goes on");
    worker.until("all have come", |worker| worker.records.len() >= 2 * values.len());
    worker.step();
    for partition in [kept, moved] {
        let offsets: Vec<_> =
            worker.records.iter().filter(|one| one.1 == partition).map(|one| one.2).collect();
        assert_eq!(offsets, (0..3_000).collect::<Vec<_>>(), "partition {partition}");
    }
}

/// Not a promise but a figure: `cargo test --release --test it -- --ignored --nocapture what_a_probe_costs`.
#[test]
#[ignore = "a measurement"]
fn what_a_probe_costs() {
    for brokers in [1, 3] {
        let Some(kafka) = Kafka::start(brokers) else { return };
        let settings = fresh(kafka.bootstrap());
        create(&settings, 12);
        let mut worker = Worker::start(&settings);
        let partitions: Vec<_> = (0..12).collect();
        let mut took = Vec::new();
        for ticket in 0..600 {
            let begun = Instant::now();
            worker.port.probe(ticket, &partitions);
            let mut count = 0;
            while count < 24 {
                worker.port.answers(&mut |_| count += 1);
                std::thread::sleep(Duration::from_micros(50));
            }
            took.push(begun.elapsed());
        }
        took.drain(..100);
        took.sort_unstable();
        println!(
            "{brokers} brokers: median {:?}, 99 % {:?}",
            took[took.len() / 2],
            took[took.len() * 99 / 100]
        );
    }
}

/// Not a promise but a figure: `cargo test --release --test it -- --ignored --nocapture what_reports_cost`.
#[test]
#[ignore = "a measurement"]
fn what_reports_cost() {
    let Some(brokers) = broker() else { return };
    for only_errors in ["true", "false", "true", "false"] {
        let mut settings = fresh(&brokers);
        settings.properties.insert("delivery.report.only.error".into(), only_errors.into());
        let mut worker = alone(&settings);
        let (begun, cpu) = (Instant::now(), cpu_ticks());
        for _ in 0..20 {
            worker.port.begin().expect("it begins");
            for n in 0..20_000_u32 {
                let record = Outgoing {
                    target: Target::Changelog(0),
                    key: Some(&n.to_be_bytes()),
                    value: Some(&[b'v'; 150]),
                    headers: &[],
                };
                worker.port.send(record).expect("it is sent");
            }
            worker.fill(0, &[0, 0], "n").expect("it is filled");
            worker.port.commit().expect("it commits");
        }
        println!(
            "only errors {only_errors}: 400,000 records in {:?}, {} ms of CPU",
            begun.elapsed(),
            10 * (cpu_ticks() - cpu)
        );
    }
}

/// Hundredths of a second that this process has used.
fn cpu_ticks() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("the figures of this process");
    let fields: Vec<_> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum()
}

/// Not a promise but a figure: `cargo test --release --test it -- --ignored --nocapture records_a_second`.
#[test]
#[ignore = "a measurement"]
fn records_a_second() {
    let Some(brokers) = broker() else { return };
    let settings = fresh(&brokers);
    create(&settings, 4);
    let feeder = Feeder::connect(&brokers).expect("the feeder connects");
    let value = [b'v'; 250];
    for n in 0..1_000_000_u32 {
        feeder.send(&settings.input_topics[0], &n.to_be_bytes(), &value).expect("it is queued");
    }
    feeder.flush(60 * SECOND).expect("the records are written");
    let mut worker = Worker::start(&settings);
    worker.until("the partitions are taken", |worker| worker.mine.len() == 4);
    let (mut count, mut bytes) = (0, 0);
    let begun = Instant::now();
    while count < 1_000_000 {
        let mut sink = |polled: Polled<'_>| {
            if let Polled::Record(record) = polled {
                count += 1;
                bytes += record.value.map_or(0, <[u8]>::len);
            }
        };
        worker.port.poll(Duration::from_millis(50), 10_000, &mut sink).expect("the poll succeeds");
    }
    println!("{count} records of {bytes} bytes in {:?}", begun.elapsed());
}
