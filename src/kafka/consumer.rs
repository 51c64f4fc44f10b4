//! The worker's member of the consumer group.
//!
//! It subscribes to the first input topic only: cooperative-sticky does not give partition `n` of several
//! topics to one member. The others are assigned by hand beside it, and the group never hears of them.
//!
//! A rebalance is answered by the first call that assigns (or, for partitions that go, unassigns) something,
//! whatever it was meant for (`rd_kafka_cgrp_incremental_unassign`). An early answer to a revocation would
//! let another member have partitions that this one still commits, so nothing is unassigned outside an
//! answer but in [`Group::restart`], which makes sure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Configs, Context};
use super::trouble::Trouble;
use super::{KafkaSettings, error, ffi};
use crate::runtime::port::{Committed, Error, Partition, Polled, Position, Record, Topic};
use crate::runtime::trouble::Kind;
use crate::sla::instant::Instant as Clock;

/// How long librdkafka may take over something that needs no broker.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a refusal is believed before the brokers are asked again.
const ASKED_AGAIN: Duration = Duration::from_secs(10);

/// A poll hands over no more once it has handed over so many bytes: large records must not gather in memory.
const POLL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A rebalance that has not been handed over.
#[derive(Debug)]
enum Rebalance {
    Assigned(Vec<Partition>),
    Revoked(Vec<Partition>),
    Lost(Vec<Partition>),
}

impl Rebalance {
    fn takes_away(&self) -> bool {
        !matches!(self, Rebalance::Assigned(_))
    }
}

/// Keeps rebalances until the worker polls: rust-rdkafka has them as events, which may be answered later.
pub struct GroupContext {
    base: Context,
    rebalances: Mutex<VecDeque<Rebalance>>,
    /// Whether there are any.
    waiting: AtomicBool,
    /// What is revoked next counts as lost.
    lost: AtomicBool,
    /// Nobody polls any more.
    closing: AtomicBool,
}

impl GroupContext {
    fn keep(&self, rebalance: Rebalance) {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
        self.waiting.store(true, Ordering::Release);
    }

    fn next(&self) -> Option<Rebalance> {
        let mut all = self.rebalances.lock().unwrap_or_else(PoisonError::into_inner);
        let next = all.pop_front();
        self.waiting.store(!all.is_empty(), Ordering::Release);
        next
    }

    fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.base.log(level, fac, log_message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.base.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Acquire) {
            // While a consumer closes, librdkafka takes this as the answer whatever the protocol.
            if let Err(e) = consumer.unassign() {
                tracing::warn!(target: "overdue::kafka", "giving up the partitions while closing: {e}");
            }
            return;
        }
        let partitions = ffi::entries(list).map(|entry| entry.partition).collect();
        let lost = consumer.assignment_lost();
        self.keep(match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assigned(partitions),
            _ if self.lost.swap(false, Ordering::AcqRel) || lost => Rebalance::Lost(partitions),
            _ => Rebalance::Revoked(partitions),
        });
    }
}

/// What the worker has been told and not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    Nothing,
    Accept,
    Release,
}

/// The member.
pub struct Group {
    consumer: BaseConsumer<GroupContext>,
    topics: Vec<String>,
    /// For each partition that is read, the next offset of each topic to hand over.
    taken: BTreeMap<Partition, Vec<Position>>,
    /// Partitions that are no longer read and still assigned, because nobody asked for them.
    aside: BTreeSet<Partition>,
    owed: Owed,
    /// Whether records are held back.
    is_held: bool,
    /// Who the group is, for whoever must change its rights.
    name: String,
    /// Whether the group has ever given anything, if only the word that there is nothing to have.
    has_joined: bool,
    /// Since the brokers refused to let it read.
    refusal: Option<Refusal>,
    /// How long a question for committed offsets waits at least.
    patience: Duration,
}

/// A predecessor's open transaction holds the answer back as well, and other partitions wait meanwhile.
const PATIENCE_MAX: Duration = Duration::from_secs(3);

/// The brokers do not let the input topics be read. They are asked again from time to time, because the client
/// library says so only once for a position.
struct Refusal {
    seen_at: Instant,
    asked_at: Instant,
}

impl Group {
    /// Joins the group.
    pub fn join(settings: &KafkaSettings, trouble: &Arc<Trouble>) -> Result<Group, Error> {
        let context = GroupContext {
            base: Context::new("group", trouble),
            rebalances: Mutex::default(),
            waiting: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        };
        let what = format!("joining group `{}`", settings.group);
        let consumer: BaseConsumer<_> = Configs::of(settings)
            .group()
            .create_with_context(context)
            .map_err(|e| error::of_creation(&what, &e))?;
        consumer.subscribe(&[settings.divided_topic()]).map_err(|e| error::of_creation(&what, &e))?;
        Ok(Group {
            consumer,
            topics: settings.input_topics.clone(),
            taken: BTreeMap::new(),
            aside: BTreeSet::new(),
            owed: Owed::Nothing,
            is_held: false,
            name: settings.group.clone(),
            has_joined: false,
            refusal: None,
            patience: Duration::ZERO,
        })
    }

    /// As [`crate::runtime::port::Port::poll`].
    pub fn poll(
        &mut self,
        wait: Duration,
        max: usize,
        sink: &mut dyn FnMut(Polled<'_>),
    ) -> Result<(), Error> {
        if self.owed != Owed::Nothing {
            return Ok(());
        }
        self.ask_again()?;
        let until = Instant::now() + wait;
        let (mut wait, mut handed, mut bytes) = (wait, 0, 0);
        while handed < max && bytes < POLL_BYTES_MAX && !self.consumer.context().is_waiting() {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    handed += usize::from(deliver(&mut self.taken, &self.topics, &message, sink));
                    bytes += message.payload_len();
                    wait = Duration::ZERO;
                }
                Some(Err(error)) => {
                    if self.weigh(&error)? {
                        // Alone, so that what the worker releases for it is not taken for an answer.
                        sink(Polled::OutOfRange);
                        return Ok(());
                    }
                }
                None if wait.is_zero() => break,
                None => wait = until.saturating_duration_since(Instant::now()),
            }
        }
        self.hand_rebalance(sink);
        Ok(())
    }

    /// As [`crate::runtime::port::Port::hold`].
    pub fn hold(&mut self, is_held: bool) -> Result<(), Error> {
        self.is_held = is_held;
        let mut list = TopicPartitionList::new();
        self.taken.keys().for_each(|partition| self.name(&mut list, *partition));
        self.pause_or_resume(&list, is_held).map_err(|e| local("holding records back", &e))
    }

    /// Pausing throws away what was fetched and has not been handed over; resuming fetches it again.
    fn pause_or_resume(&self, list: &TopicPartitionList, pause: bool) -> Result<(), KafkaError> {
        if pause { self.consumer.pause(list) } else { self.consumer.resume(list) }
    }

    fn hand_rebalance(&mut self, sink: &mut dyn FnMut(Polled<'_>)) {
        let Some(rebalance) = self.consumer.context().next() else { return };
        self.owed = if rebalance.takes_away() { Owed::Release } else { Owed::Accept };
        if self.owed == Owed::Accept {
            self.has_joined = true;
            self.refusal = None;
            self.trouble().over("group");
        }
        sink(match rebalance {
            Rebalance::Assigned(partitions) => Polled::Assigned(partitions),
            Rebalance::Revoked(partitions) => Polled::Revoked(partitions),
            Rebalance::Lost(partitions) => Polled::Lost(partitions),
        });
    }

    /// Whether an error between records is a position outside its log. The context has logged those of whole
    /// clients already.
    fn weigh(&mut self, error: &KafkaError) -> Result<bool, Error> {
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return Err(self.ended());
        }
        let text = error::text(error);
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset) => return Ok(true),
            Some(code) if error::refuses(code) => self.refused(code)?,
            Some(code) if error::is_outage(code) => {}
            _ => self.trouble().see("group", Kind::Other, &text),
        }
        Ok(false)
    }

    /// A refusal ends a service that starts; one that works waits until it is allowed to again.
    fn refused(&mut self, code: Code) -> Result<(), Error> {
        let text = match code {
            Code::GroupAuthorizationFailed => format!("the group `{}` may not be used: {code}", self.name),
            _ => format!("the input topics `{}` may not be read: {code}", self.topics.join("`, `")),
        };
        if !self.has_joined {
            return Err(Error::Refused(text));
        }
        self.trouble().refused_once("group", &text);
        let now = Instant::now();
        let asked_at = self.refusal.as_ref().map_or(now, |refusal| refusal.asked_at);
        self.refusal = Some(Refusal { seen_at: now, asked_at });
        Ok(())
    }

    /// Fetches anew from where it is, which makes the library say again that it is refused, if it still is.
    fn ask_again(&mut self) -> Result<(), Error> {
        let Some(refusal) = &mut self.refusal else { return Ok(()) };
        if refusal.asked_at.elapsed() < ASKED_AGAIN || self.taken.is_empty() {
            return Ok(());
        }
        if refusal.seen_at < refusal.asked_at {
            self.refusal = None;
            self.trouble().over("group");
            return Ok(());
        }
        refusal.asked_at = Instant::now();
        let partitions: Vec<_> = self.taken.keys().copied().collect();
        partitions.into_iter().try_for_each(|partition| {
            let at = self.positions(partition)?;
            self.seek(partition, &at).map(drop)
        })
    }

    /// Whether the group has ever let this worker in.
    pub fn has_joined(&self) -> bool {
        self.has_joined
    }

    fn trouble(&self) -> &Trouble {
        &self.consumer.context().base.trouble
    }

    /// Why librdkafka has given this consumer up.
    fn ended(&self) -> Error {
        match self.consumer.client().fatal_error() {
            Some((Code::FencedInstanceId, text)) => Error::Fenced(format!(
                "another process has this instance's name ({text}); give each process its own"
            )),
            Some((_, text)) => Error::Fatal(format!("reading the input topics: {text}")),
            None => Error::Fatal("reading the input topics: the consumer has ended".into()),
        }
    }

    /// Answers an assignment. An empty list is an answer; the partitions themselves come with `take`.
    pub fn accept(&mut self) -> Result<(), Error> {
        if self.owed != Owed::Accept {
            return Err(Error::Fatal("accepting partitions that the group has not given".into()));
        }
        self.assign(&TopicPartitionList::new(), "accepting an assignment")?;
        self.owed = Owed::Nothing;
        Ok(())
    }

    /// Answers a revocation or a loss: stops those of the partitions that are assigned. Where nothing is to be
    /// answered, the partitions are only no longer read: the group still thinks they are here.
    pub fn release(&mut self, partitions: &[Partition]) -> Result<(), Error> {
        if self.owed != Owed::Release {
            return self.set_aside(partitions);
        }
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            if self.taken.remove(partition).is_some() | self.aside.remove(partition) {
                self.name(&mut list, *partition);
            }
        }
        self.consumer.incremental_unassign(&list).map_err(|e| local("releasing partitions", &e))?;
        self.owed = Owed::Nothing;
        Ok(())
    }

    fn set_aside(&mut self, partitions: &[Partition]) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            if self.taken.remove(partition).is_some() {
                self.aside.insert(*partition);
                self.name(&mut list, *partition);
            }
        }
        self.consumer.pause(&list).map_err(|e| local("no longer reading partitions", &e))
    }

    /// Begins to read a partition of every topic.
    pub fn take(&mut self, partition: Partition, from: &[Position]) -> Result<(), Error> {
        if self.aside.contains(&partition) {
            return Err(Error::Fatal(format!("partition {partition} was given up and is still assigned")));
        }
        self.wait_until_stopped(partition)?;
        self.assign(&self.list(partition, from)?, "beginning to read a partition")?;
        self.taken.insert(partition, from.to_vec());
        if self.is_held { self.hold(true) } else { Ok(()) }
    }

    /// Waits until a partition that was released has really stopped: until then its position is the old one.
    fn wait_until_stopped(&self, partition: Partition) -> Result<(), Error> {
        let until = Instant::now() + LOCAL_TIMEOUT;
        let list = self.named(partition);
        loop {
            ffi::position(self.consumer.client(), &list);
            if ffi::entries(&list).all(|entry| entry.offset < 0) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(Error::NotYet(format!("partition {partition} is still being released")));
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Assigns; librdkafka then forgets that an earlier assignment was lost, so it is remembered here.
    fn assign(&self, list: &TopicPartitionList, what: &str) -> Result<(), Error> {
        if self.consumer.assignment_lost() {
            self.consumer.context().lost.store(true, Ordering::Release);
        }
        self.consumer.incremental_assign(list).map_err(|e| local(what, &e))
    }

    /// Moves a partition that is read.
    pub fn rewind(&mut self, partition: Partition, to: &[Position]) -> Result<(), Error> {
        if !self.taken.contains_key(&partition) {
            return Err(Error::Fatal(format!("rewinding partition {partition}, which is not being read")));
        }
        if !self.seek(partition, to)? {
            self.restart(partition, to)?;
        }
        self.taken.insert(partition, to.to_vec());
        Ok(())
    }

    /// Seeks, which discards what was fetched before, or says that the partition is not running: librdkafka
    /// stops one whose position is outside its log.
    fn seek(&self, partition: Partition, to: &[Position]) -> Result<bool, Error> {
        let sought = self.consumer.seek_partitions(self.list(partition, to)?, LOCAL_TIMEOUT);
        let sought = sought.map_err(|e| local("moving a partition", &e))?;
        Ok(ffi::entries(&sought).all(|entry| entry.error.is_none()))
    }

    /// Unassigns and assigns one partition. If the group asks for something back meanwhile, this may have been
    /// taken for the answer; such a revocation is then handed over as a loss, so that nothing more is committed.
    fn restart(&self, partition: Partition, to: &[Position]) -> Result<(), Error> {
        let what = "starting a partition again";
        if self.owed == Owed::Release {
            return Err(Error::NotYet(format!("{what}: the group asks for partitions back")));
        }
        let mut all = TopicPartitionList::new();
        self.taken.keys().for_each(|one| self.name(&mut all, *one));
        // Pausing throws away what was fetched and keeps the positions: no record can be lost below.
        self.consumer.pause(&all).map_err(|e| local(what, &e))?;
        let done = self.reassign(partition, to);
        self.pause_or_resume(&all, self.is_held).map_err(|e| local(what, &e))?;
        done.map_err(|e| local(what, &e))?;
        if self.consumer.context().is_waiting() {
            return Err(Error::NotYet(format!("{what}: the group rebalances")));
        }
        Ok(())
    }

    fn reassign(&self, partition: Partition, to: &[Position]) -> Result<(), KafkaError> {
        self.serve();
        let context = self.consumer.context();
        if context.is_waiting() {
            return Ok(());
        }
        context.lost.store(true, Ordering::Release);
        let list = self.named(partition);
        let done = self.consumer.incremental_unassign(&list).and_then(|()| {
            let mut list = TopicPartitionList::new();
            add(&self.topics, &mut list, partition, to)?;
            self.consumer.incremental_assign(&list)
        });
        self.serve();
        context.lost.store(false, Ordering::Release);
        done
    }

    /// Takes everything from a queue that holds no records.
    fn serve(&self) {
        while let Some(event) = self.consumer.poll(Duration::ZERO) {
            if let Err(e) = event {
                self.trouble().see("group", Kind::Other, &error::text(&e));
            }
        }
    }

    /// How far a partition was handed over. librdkafka's position passes control records, which never come.
    pub fn positions(&self, partition: Partition) -> Result<Vec<Position>, Error> {
        let Some(said) = self.taken.get(&partition) else {
            return Err(Error::Fatal(format!("partition {partition} is not being read")));
        };
        let list = self.named(partition);
        ffi::position(self.consumer.client(), &list);
        let passed = ffi::entries(&list)
            .map(|entry| Position { offset: entry.offset, leader_epoch: entry.leader_epoch });
        Ok(said.iter().zip(passed).map(|(said, passed)| further(*said, passed)).collect())
    }

    /// The group's committed positions; librdkafka asks for stable ones because it reads committed records.
    ///
    /// A slow broker answers no sooner for being asked again: each question that was in vain makes the next one
    /// wait twice as long, up to [`PATIENCE_MAX`].
    pub fn committed(
        &mut self,
        partition: Partition,
        wait: Duration,
    ) -> Result<Vec<Option<Committed>>, Error> {
        let what = format!("asking for the committed offsets of partition {partition}");
        let wait = wait.max(self.patience);
        let found = self.consumer.committed_offsets(self.named(partition), wait);
        self.patience = if found.is_ok() { Duration::ZERO } else { (wait * 2).min(PATIENCE_MAX) };
        let found = found.map_err(|e| error::of_question(&what, &e))?;
        let mut entries: Vec<_> = ffi::entries(&found).collect();
        entries.sort_by_key(|entry| self.topics.iter().position(|topic| topic == entry.topic));
        entries.iter().map(|entry| committed(entry, &what)).collect()
    }

    /// The group's metadata of this moment.
    pub fn metadata(&self) -> Option<ffi::GroupMetadata> {
        ffi::GroupMetadata::of(self.consumer.client())
    }

    fn named(&self, partition: Partition) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(self.topics.len());
        self.name(&mut list, partition);
        list
    }

    fn name(&self, list: &mut TopicPartitionList, partition: Partition) {
        for topic in &self.topics {
            list.add_partition(topic, partition);
        }
    }

    fn list(&self, partition: Partition, at: &[Position]) -> Result<TopicPartitionList, Error> {
        let mut list = TopicPartitionList::with_capacity(self.topics.len());
        self.add(&mut list, partition, at)?;
        Ok(list)
    }

    fn add(&self, list: &mut TopicPartitionList, partition: Partition, at: &[Position]) -> Result<(), Error> {
        add(&self.topics, list, partition, at).map_err(|e| local("naming positions", &e))
    }
}

/// Leaves the group at once, unless it is a named instance, which keeps its partitions for its next start.
impl Drop for Group {
    fn drop(&mut self) {
        let context = self.consumer.context();
        context.closing.store(true, Ordering::Release);
        let owed = match context.next() {
            Some(rebalance) if rebalance.takes_away() => Owed::Release,
            Some(_) => Owed::Accept,
            None => self.owed,
        };
        let answered = match owed {
            Owed::Nothing => Ok(()),
            Owed::Accept => self.consumer.incremental_assign(&TopicPartitionList::new()),
            Owed::Release => {
                let mut all = TopicPartitionList::new();
                self.taken.keys().chain(&self.aside).for_each(|one| self.name(&mut all, *one));
                self.consumer.incremental_unassign(&all)
            }
        };
        if let Err(e) = answered {
            tracing::debug!(target: "overdue::kafka", "answering a rebalance while closing: {e}");
        }
    }
}

/// Hands a record over, unless it is of a partition that is not read or from before its position.
fn deliver(
    taken: &mut BTreeMap<Partition, Vec<Position>>,
    topics: &[String],
    message: &BorrowedMessage<'_>,
    sink: &mut dyn FnMut(Polled<'_>),
) -> bool {
    let Some(topic) = topics.iter().position(|topic| topic == message.topic()) else { return false };
    let next = taken.get_mut(&message.partition()).and_then(|positions| positions.get_mut(topic));
    let Some(next) = next.filter(|next| message.offset() >= next.offset) else { return false };
    *next = Position { offset: message.offset() + 1, leader_epoch: ffi::leader_epoch(message) };
    sink(Polled::Record(Record {
        topic: Topic::try_from(topic).unwrap_or(Topic::MAX),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().map(Clock::from_millis),
        key: message.key(),
        value: message.payload(),
        headers: &ffi::headers(message),
    }));
    true
}

fn further(said: Position, passed: Position) -> Position {
    if passed.offset >= said.offset { passed } else { said }
}

fn committed(entry: &ffi::Entry<'_>, what: &str) -> Result<Option<Committed>, Error> {
    if let Some(code) = entry.error {
        return Err(error::of_question(what, &KafkaError::OffsetFetch(code)));
    }
    Ok((entry.offset >= 0).then(|| Committed {
        position: Position { offset: entry.offset, leader_epoch: entry.leader_epoch },
        nonce: String::from_utf8_lossy(entry.metadata).into_owned(),
    }))
}

/// Adds positions as plain offsets. Their epochs stay out: librdkafka would ask the leader whether they still
/// hold before it moves, and the worker asks by itself.
fn add(
    topics: &[String],
    list: &mut TopicPartitionList,
    partition: Partition,
    at: &[Position],
) -> Result<(), KafkaError> {
    topics
        .iter()
        .zip(at)
        .try_for_each(|(topic, at)| list.add_partition_offset(topic, partition, Offset::Offset(at.offset)))
}

/// An error of something that needs no broker.
fn local(what: &str, error: &KafkaError) -> Error {
    let text = match error {
        KafkaError::Subscription(text) | KafkaError::Seek(text) | KafkaError::PauseResume(text) => {
            text.clone()
        }
        other => error::text(other),
    };
    Error::Fatal(format!("{what}: {text}"))
}
