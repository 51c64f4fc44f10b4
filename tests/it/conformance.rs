//! The model of Kafka (`overdue::sim`) and a real Kafka give the same answers: what is proven on the one holds on
//! the other.
//!
//! A script does the same on both through `Port` and writes down what it was answered. Each is judged on the model
//! under many seeds, whose choices are part of every answer, and once on a real broker.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};

use overdue::kafka::{KafkaPort, KafkaSettings, admin};
use overdue::runtime::port::{Error, Offsets, Outgoing, Partition, Polled, Port, Position, Target};
use overdue::sim::cluster::{Cluster, Shape, Shared, TopicName};
use overdue::sim::log::{Log, Payload};
use overdue::sim::port::{Others, SimPort};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::kafka_port::{at, broker, create, fresh};
use crate::support::Kafka;

/// How many histories of the model each script is judged on.
const SEEDS: u64 = 50;

/// No answer takes so long.
const WITHIN_MS: i64 = 60_000;

/// Nothing more comes after so long without anything.
const QUIET_MS: i64 = 1_500;

const PARTITION: Partition = 0;

// What a script has.

/// A cluster with one input topic, and those who write to it.
trait World {
    type Worker: Port;

    /// Starts a worker of this name, or one without.
    fn worker(&mut self, name: &str) -> Self::Worker;

    /// Writes a record outside of any transaction.
    fn write(&mut self, value: &str);

    /// Writes a record in the open transaction of an upstream producer, which begins with it.
    fn write_in(&mut self, producer: u64, value: &str);

    /// Ends an upstream producer's transaction.
    fn end(&mut self, producer: u64, commit: bool);

    /// Deletes the input topic and makes it again.
    fn recreate(&mut self);

    /// Lets time pass.
    fn pass(&mut self, ms: i64);

    /// How much has passed.
    fn passed_ms(&self) -> i64;
}

/// A worker, and what it was told.
struct Actor<P> {
    port: P,
    records: Vec<String>,
    is_out_of_range: bool,
    mine: Vec<Partition>,
    /// What has been asked back and not been answered.
    asked_back: Vec<Partition>,
}

impl<P: Port> Actor<P> {
    fn start<W: World<Worker = P>>(world: &mut W, name: &str) -> Self {
        let port = world.worker(name);
        Self { port, records: Vec::new(), is_out_of_range: false, mine: Vec::new(), asked_back: Vec::new() }
    }

    /// A worker that has the partition.
    fn joined<W: World<Worker = P>>(world: &mut W, name: &str) -> Self {
        let mut actor = Self::start(world, name);
        actor.until(world, "it has the partition", |actor| actor.mine.contains(&PARTITION));
        actor
    }

    /// Polls once; takes what is given from the committed position, and notes what is asked back.
    fn step<W: World<Worker = P>>(&mut self, world: &mut W) {
        let (mut given, mut lost) = (None, None);
        let mut sink = |polled: Polled<'_>| match polled {
            Polled::Record(record) => {
                self.records.push(String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned());
            }
            Polled::Assigned(partitions) => given = Some(partitions),
            Polled::Revoked(partitions) => self.asked_back = partitions,
            Polled::Lost(partitions) => lost = Some(partitions),
            Polled::OutOfRange => self.is_out_of_range = true,
        };
        self.port.poll(Duration::from_millis(20), 100, &mut sink).expect("a poll succeeds");
        world.pass(20);
        if let Some(partitions) = given {
            self.port.accept(&partitions).expect("accepting succeeds");
            for partition in partitions {
                let from = self.committed_of(world, partition).map_or(0, |(offset, _)| offset);
                self.port.take(partition, &[at(from)]).expect("taking succeeds");
                self.mine.push(partition);
            }
        }
        if let Some(partitions) = lost {
            self.release(&partitions);
        }
    }

    fn release(&mut self, partitions: &[Partition]) {
        self.port.release(partitions).expect("releasing succeeds");
        self.mine.retain(|one| !partitions.contains(one));
        self.asked_back.clear();
    }

    fn until<W: World<Worker = P>>(
        &mut self,
        world: &mut W,
        what: &str,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) {
        let until = world.passed_ms() + WITHIN_MS;
        while !is_so(self) {
            assert!(world.passed_ms() < until, "waited in vain until {what}: {:?}", self.records);
            self.step(world);
        }
    }

    /// Reads until nothing has come for a while, and says how far it is.
    fn position<W: World<Worker = P>>(&mut self, world: &mut W) -> i64 {
        let mut found = (-1, 0);
        let mut quiet_since = world.passed_ms();
        while world.passed_ms() - quiet_since < QUIET_MS {
            self.step(world);
            let position = self.port.positions(PARTITION).expect("positions are known")[0].offset;
            if found != (position, self.records.len()) {
                found = (position, self.records.len());
                quiet_since = world.passed_ms();
            }
        }
        found.0
    }

    /// The log's end, as its leader has it.
    fn end<W: World<Worker = P>>(&mut self, world: &mut W) -> i64 {
        let until = world.passed_ms() + WITHIN_MS;
        loop {
            self.port.probe(1, &[PARTITION]);
            let (mut end, asked) = (None, world.passed_ms());
            while end.is_none() && world.passed_ms() < asked + 5_000 {
                world.pass(20);
                self.port.answers(&mut |answer| end = Some(answer.end));
            }
            match end {
                Some(Ok(end)) => return end.offset,
                other => assert!(world.passed_ms() < until, "no log end: {other:?}"),
            }
        }
    }

    fn committed<W: World<Worker = P>>(&mut self, world: &mut W) -> String {
        self.committed_for(world, PARTITION)
    }

    fn committed_for<W: World<Worker = P>>(&mut self, world: &mut W, partition: Partition) -> String {
        match self.committed_of(world, partition) {
            Some((offset, nonce)) => format!("{offset} {nonce}"),
            None => "nothing".to_owned(),
        }
    }

    fn committed_of<W: World<Worker = P>>(
        &mut self,
        world: &mut W,
        partition: Partition,
    ) -> Option<(i64, String)> {
        let until = world.passed_ms() + WITHIN_MS;
        loop {
            match self.port.committed(partition, Duration::from_millis(200)) {
                Ok(found) => return found[0].clone().map(|one| (one.position.offset, one.nonce)),
                Err(error) => assert!(world.passed_ms() < until, "no committed position: {error}"),
            }
            world.pass(20);
        }
    }

    /// Whether the committed position can be read at once.
    fn committed_at_once(&mut self) -> &'static str {
        outcome(&self.port.committed(PARTITION, Duration::from_millis(500)))
    }

    fn begin(&mut self) {
        self.port.begin().expect("it begins");
    }

    /// Fills a transaction: one record of the changelog, and a position.
    fn fill(&mut self, offset: i64, nonce: &str) -> Result<(), Error> {
        self.fill_for(PARTITION, offset, nonce)
    }

    fn fill_for(&mut self, partition: Partition, offset: i64, nonce: &str) -> Result<(), Error> {
        let record = Outgoing {
            target: Target::Changelog(partition),
            key: Some(nonce.as_bytes()),
            value: Some(nonce.as_bytes()),
            headers: &[],
        };
        self.port.send(record)?;
        let positions = vec![Position { offset, leader_epoch: -1 }];
        self.port.send_offsets(&[Offsets { partition, positions, nonce: nonce.to_owned() }])
    }

    fn commit(&mut self, offset: i64, nonce: &str) -> Result<(), Error> {
        self.begin();
        self.fill(offset, nonce)?;
        self.port.commit()
    }

    fn records(&self) -> String {
        self.records.join(" ")
    }
}

/// What became of a call, without words that differ.
fn outcome<T>(result: &Result<T, Error>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(Error::NotYet(_)) => "not yet",
        Err(Error::Transaction(_)) => "transaction",
        Err(Error::Fenced(_)) => "fenced",
        Err(Error::Refused(_)) => "refused",
        Err(Error::Fatal(_)) => "fatal",
    }
}

// The scripts.

/// What is done, and what is answered on any Kafka.
macro_rules! scripts {
    ($($claim:ident($world:ident) $script:block == $answers:expr;)*) => {$(
        mod $claim {
            use super::*;

            fn script<W: World>($world: &mut W) -> Vec<String> $script

            #[test]
            fn on_the_model() {
                for seed in 0..SEEDS {
                    assert_eq!(script(&mut Model::new(seed)), $answers, "seed {seed}");
                }
            }

            #[test]
            fn on_a_real_broker() {
                let Some(mut world) = Real::new() else { return };
                assert_eq!(script(&mut world), $answers);
            }
        }
    )*};
}

scripts! {
    an_open_transaction_holds_plain_records_behind_it(world) {
        ["a", "b"].iter().for_each(|value| world.write_in(1, value));
        world.end(1, true);
        ["c", "d"].iter().for_each(|value| world.write_in(2, value));
        world.end(2, false);
        world.write_in(3, "e");
        world.write("f");
        let mut actor = Actor::joined(world, "a");
        let mut answers = vec![format!("{} of {}: {}", actor.position(world), actor.end(world), actor.records())];
        world.end(3, false);
        answers.push(format!("{} of {}: {}", actor.position(world), actor.end(world), actor.records()));
        answers
    } == ["6 of 8: a b", "9 of 9: a b f"];

    a_position_passes_trailing_markers(world) {
        world.write("a");
        world.write_in(1, "b");
        world.end(1, true);
        let mut actor = Actor::joined(world, "a");
        vec![format!("{} of {}: {}", actor.position(world), actor.end(world), actor.records())]
    } == ["3 of 3: a b"];

    a_position_passes_an_aborted_tail(world) {
        world.write_in(1, "a");
        world.end(1, false);
        let mut actor = Actor::joined(world, "a");
        vec![format!("{} of {}: {}", actor.position(world), actor.end(world), actor.records())]
    } == ["2 of 2: "];

    an_idle_partition_is_where_it_was_told_to_begin(world) {
        ["a", "b"].iter().for_each(|value| world.write(value));
        let mut actor = Actor::joined(world, "a");
        let read = actor.position(world);
        actor.port.rewind(PARTITION, &[at(2)]).expect("it is moved");
        vec![format!("{read}, then {}: {}", actor.position(world), actor.records())]
    } == ["2, then 2: a b"];

    a_rewind_hands_over_again(world) {
        ["a", "b", "c"].iter().for_each(|value| world.write(value));
        let mut actor = Actor::joined(world, "a");
        actor.position(world);
        actor.port.rewind(PARTITION, &[at(1)]).expect("it is moved");
        vec![format!("{}: {}", actor.position(world), actor.records())]
    } == ["3: a b c b c"];

    records_held_back_come_later(world) {
        let mut actor = Actor::joined(world, "a");
        actor.port.hold(true).expect("it is held");
        ["a", "b"].iter().for_each(|value| world.write(value));
        let held = format!("{}: {}", actor.position(world), actor.records());
        actor.port.hold(false).expect("it goes on");
        vec![held, format!("{}: {}", actor.position(world), actor.records())]
    } == ["0: ", "2: a b"];

    a_nonce_is_kept_by_a_commit_and_untouched_by_an_abort(world) {
        let mut actor = Actor::joined(world, "a");
        let mut answers = vec![actor.committed(world)];
        actor.commit(0, "first").expect("it commits");
        answers.push(actor.committed(world));
        actor.begin();
        actor.fill(7, "second").expect("it is filled");
        actor.port.abort().expect("it aborts");
        answers.push(actor.committed(world));
        actor.commit(0, "third").expect("it commits");
        answers.push(actor.committed(world));
        answers
    } == ["nothing", "0 first", "0 first", "0 third"];

    an_open_transaction_holds_the_offsets_until_its_name_is_taken_again(world) {
        let mut actor = Actor::joined(world, "a");
        actor.commit(0, "before").expect("it commits");
        actor.begin();
        actor.fill(3, "open").expect("it is filled");
        let held = actor.committed_at_once().to_owned();
        actor.port.reinit().expect("the producer starts again");
        vec![held, actor.committed(world)]
    } == ["not yet", "0 before"];

    a_transaction_that_the_coordinator_timed_out_is_fenced(world) {
        let mut actor = Actor::joined(world, "a");
        actor.begin();
        actor.fill(3, "late").expect("it is filled");
        let until = world.passed_ms() + 19_000;
        while world.passed_ms() < until {
            actor.step(world);
        }
        let freed = actor.committed(world);
        let late = actor.port.commit();
        actor.port.reinit().expect("the producer starts again");
        let again = actor.commit(1, "again");
        vec![freed, outcome(&late).to_owned(), outcome(&again).to_owned(), actor.committed(world)]
    } == ["nothing", "fenced", "ok", "1 again"];

    a_successor_of_the_same_name_fences(world) {
        let mut first = Actor::joined(world, "a");
        first.begin();
        first.fill(3, "first").expect("it is filled");
        let mut second = Actor::start(world, "a");
        let late = first.port.commit();
        vec![outcome(&late).to_owned(), second.committed(world)]
    } == ["fenced", "nothing"];

    metadata_of_before_a_rebalance_commits_nothing_in_it(world) {
        vec![commit_when_asked_back(world, false)]
    } == ["transaction, then nothing"];

    metadata_read_in_a_rebalance_commits_in_it(world) {
        vec![commit_when_asked_back(world, true)]
    } == ["ok, then 0 n"];

    a_topic_made_again_with_fewer_records_is_out_of_range(world) {
        ["a", "b", "c", "d", "e"].iter().for_each(|value| world.write(value));
        let mut actor = Actor::joined(world, "a");
        actor.position(world);
        world.recreate();
        ["x", "y"].iter().for_each(|value| world.write(value));
        actor.until(world, "it is told", |actor| actor.is_out_of_range);
        vec![format!("{} of {}: {}", actor.position(world), actor.end(world), actor.records())]
    } == ["5 of 2: a b c d e"];

    a_topic_made_again_with_more_records_skips_the_first(world) {
        ["a", "b"].iter().for_each(|value| world.write(value));
        let mut actor = Actor::joined(world, "a");
        actor.position(world);
        actor.port.hold(true).expect("it is held");
        world.recreate();
        ["x", "y", "z"].iter().for_each(|value| world.write(value));
        actor.port.hold(false).expect("it goes on");
        actor.until(world, "it reads on", |actor| actor.records.len() > 2);
        vec![format!("{} of {}: {}", actor.position(world), actor.end(world), actor.records())]
    } == ["3 of 3: a b z"];

    a_changelog_ends_behind_its_last_marker(world) {
        let mut actor = Actor::joined(world, "a");
        actor.commit(0, "kept").expect("it commits");
        actor.until(world, "its marker is in the log", |actor| actor.port.changelog_open(PARTITION) == Ok(2));
        vec![actor.restore(world, 2)]
    } == ["2 of 2: kept"];
}

/// Begins a transaction, lets another worker join, and commits while a partition is asked back for it.
fn commit_when_asked_back<W: World>(world: &mut W, reads_metadata_anew: bool) -> String {
    let mut first = Actor::joined(world, "");
    first.until(world, "it has all", |first| first.mine.len() == 2);
    first.begin();
    let mut second = Actor::start(world, "");
    let until = world.passed_ms() + WITHIN_MS;
    while first.asked_back.is_empty() {
        assert!(world.passed_ms() < until, "nothing is asked back");
        second.step(world);
        first.step(world);
    }
    if reads_metadata_anew {
        first.port.refresh_group();
    }
    let asked_back = first.asked_back.clone();
    let filled = first.fill_for(asked_back[0], 0, "n");
    let ended = if filled.is_ok() { first.port.commit() } else { first.port.reinit() };
    ended.expect("the transaction ends");
    first.release(&asked_back);
    format!("{}, then {}", outcome(&filled), second.committed_for(world, asked_back[0]))
}

impl<P: Port> Actor<P> {
    /// Reads the changelog that was opened, until it has reached an offset and for a while after that.
    fn restore<W: World<Worker = P>>(&mut self, world: &mut W, end: i64) -> String {
        let (mut values, mut position) = (Vec::new(), 0);
        let until = world.passed_ms() + WITHIN_MS;
        let mut quiet = 0;
        while quiet < 10 {
            assert!(world.passed_ms() < until, "at {position} of {end}");
            let mut keep = |_: Option<&[u8]>, value: Option<&[u8]>| {
                values.push(String::from_utf8_lossy(value.unwrap_or_default()).into_owned());
            };
            position = self
                .port
                .changelog_read(PARTITION, Duration::from_millis(20), &mut keep)
                .expect("it is read");
            world.pass(20);
            quiet += i32::from(position >= end);
        }
        self.port.changelog_close(PARTITION);
        format!("{position} of {end}: {}", values.join(" "))
    }
}

// The model.

struct Nobody;

impl Others for Nobody {
    fn act(&self, _: usize, _: Option<i64>) {}
}

struct Model {
    cluster: Shared,
    workers: usize,
    passed_ms: i64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let shape = Shape { partitions: 2, transaction_timeout_ms: 15_000, ..Shape::default() };
        Self { cluster: Rc::new(RefCell::new(Cluster::new(seed, shape))), workers: 0, passed_ms: 0 }
    }

    fn append(&mut self, value: &str, producer: Option<u64>) {
        let mut cluster = self.cluster.borrow_mut();
        let now = cluster.now();
        let payload = Payload {
            key: Some(b"key".to_vec()),
            value: Some(value.as_bytes().to_vec()),
            ..Payload::default()
        };
        cluster.log_mut(TopicName::Input(0), PARTITION).append(payload, now, producer);
    }
}

impl World for Model {
    type Worker = SimPort;

    fn worker(&mut self, name: &str) -> SimPort {
        let nobody: Weak<dyn Others> = Weak::<Nobody>::new();
        self.workers += 1;
        let name = if name.is_empty() { format!("unnamed-{}", self.workers) } else { name.to_owned() };
        SimPort::new(&self.cluster, nobody, self.workers, name)
    }

    fn write(&mut self, value: &str) {
        self.append(value, None);
    }

    fn write_in(&mut self, producer: u64, value: &str) {
        self.append(value, Some(1 << 40 | producer));
    }

    fn end(&mut self, producer: u64, commit: bool) {
        let mut cluster = self.cluster.borrow_mut();
        let now = cluster.now();
        cluster.log_mut(TopicName::Input(0), PARTITION).end_transaction(1 << 40 | producer, commit, now);
    }

    fn recreate(&mut self) {
        *self.cluster.borrow_mut().log_mut(TopicName::Input(0), PARTITION) = Log::default();
    }

    fn pass(&mut self, ms: i64) {
        self.passed_ms += ms;
        self.cluster.borrow_mut().advance(ms);
    }

    fn passed_ms(&self) -> i64 {
        self.passed_ms
    }
}

// The real one.

struct Real {
    kafka: &'static Kafka,
    settings: KafkaSettings,
    begun: Instant,
    upstream: Vec<(u64, BaseProducer)>,
}

impl Real {
    fn new() -> Option<Self> {
        let kafka = Kafka::shared()?;
        let mut settings = fresh(&broker()?);
        settings.input_topics.truncate(1);
        create(&settings, 2);
        Some(Self { kafka, settings, begun: Instant::now(), upstream: Vec::new() })
    }

    fn input(&self) -> &str {
        &self.settings.input_topics[0]
    }

    fn put(&self, producer: &BaseProducer, value: &str) {
        let record = BaseRecord::to(self.input()).partition(PARTITION).key("key").payload(value);
        producer.send(record).map_err(|(error, _)| error).expect("a record in the queue");
        producer.flush(Duration::from_secs(30)).expect("a record in the log");
    }

    fn place(&mut self, producer: u64) -> usize {
        if let Some(place) = self.upstream.iter().position(|one| one.0 == producer) {
            return place;
        }
        let id = format!("{}-upstream-{producer}", self.settings.group);
        let client: BaseProducer =
            self.kafka.client().set("transactional.id", id).create().expect("a transactional producer");
        client.init_transactions(Duration::from_secs(30)).expect("a transactional id");
        client.begin_transaction().expect("a transaction");
        self.upstream.push((producer, client));
        self.upstream.len() - 1
    }
}

impl World for Real {
    type Worker = KafkaPort;

    fn worker(&mut self, name: &str) -> KafkaPort {
        let settings = KafkaSettings { instance: name.to_owned(), ..self.settings.clone() };
        KafkaPort::new(settings).expect("the port connects")
    }

    fn write(&mut self, value: &str) {
        let client: BaseProducer =
            self.kafka.client().set("enable.idempotence", "true").create().expect("a producer");
        self.put(&client, value);
    }

    fn write_in(&mut self, producer: u64, value: &str) {
        let place = self.place(producer);
        self.put(&self.upstream[place].1, value);
    }

    fn end(&mut self, producer: u64, commit: bool) {
        let place = self.place(producer);
        let (_, client) = self.upstream.remove(place);
        let within = Duration::from_secs(30);
        let ended = if commit { client.commit_transaction(within) } else { client.abort_transaction(within) };
        ended.expect("the end of a transaction");
    }

    fn recreate(&mut self) {
        let client: AdminClient<DefaultClientContext> =
            self.kafka.client().create().expect("an admin client");
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let deleted = runtime.block_on(client.delete_topics(&[self.input()], &options)).expect("an answer");
        deleted.into_iter().for_each(|result| drop(result.expect("a topic that was there")));
        while self.kafka.has_topic(self.input()) {
            self.pass(20);
        }
        admin::create_topic(&self.settings, self.input(), 2, &[]).expect("the topic is created");
    }

    fn pass(&mut self, ms: i64) {
        sleep(Duration::from_millis(u64::try_from(ms).unwrap_or_default() / 2));
    }

    fn passed_ms(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}
