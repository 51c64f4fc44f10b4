//! The worker's transactional producer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant as Moment};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Configs, Context};
use super::probe::wall_clock;
use super::trouble::{Trouble, plain};
use super::{COMMIT_TIMEOUT, INIT_TIMEOUT, KafkaSettings, TRANSACTION_TIMEOUT, error, ffi, mock};
use crate::runtime::port::{ClockLead, Error, Offsets, Outgoing, Target};
use crate::runtime::trouble::Kind;
use crate::sla::instant::Instant;

/// How many records go out between two looks at the delivery reports.
const SENDS_PER_SERVE: u32 = 512;

/// How much longer each producer waits than the one before it that committed nothing, and at most.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(2);

/// How long a producer that is given up may take to abort.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What delivery reports say. Reports of an earlier transaction's records may come after it has ended: each
/// record carries the number of its own.
struct Deliveries {
    base: Context,
    transaction: AtomicUsize,
    /// Why a record of the transaction was not delivered.
    failed: Mutex<Option<String>>,
    clock: Mutex<Clock>,
}

/// The local clock beside the brokers'. One record of each transaction is timed.
struct Clock {
    /// The transaction of the record that was timed last, and the local wall clock before it was sent.
    sent: Option<(usize, Instant)>,
    /// By how much the local clock led when such a record was appended.
    lead: Option<ClockLead>,
}

/// What a record carries: the number of its transaction, and whether it is timed.
#[derive(Clone, Copy)]
struct Tag {
    transaction: usize,
    is_timed: bool,
}

impl From<Tag> for usize {
    fn from(tag: Tag) -> usize {
        tag.transaction << 1 | usize::from(tag.is_timed)
    }
}

impl From<usize> for Tag {
    fn from(tag: usize) -> Tag {
        Tag { transaction: tag >> 1, is_timed: tag & 1 == 1 }
    }
}

impl Deliveries {
    fn failed(&self) -> MutexGuard<'_, Option<String>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tags a record of the transaction; reads the clock for the first that may be timed.
    fn tag(&self, may_be_timed: bool) -> Tag {
        let transaction = self.transaction.load(Ordering::Relaxed);
        let mut is_timed = false;
        if may_be_timed {
            let mut clock = self.clock();
            is_timed = clock.sent.is_none_or(|(timed, _)| timed != transaction);
            if is_timed {
                clock.sent = Some((transaction, wall_clock()));
            }
        }
        Tag { transaction, is_timed }
    }

    /// A timed record was appended after it was sent and before this is known, whatever the clocks say. A topic that
    /// keeps the times of producers says nothing, nor does a broker without a clock.
    fn appended(&self, transaction: usize, at: Timestamp) {
        let mut clock = self.clock();
        if let Some((timed, sent)) = clock.sent
            && timed == transaction
        {
            clock.lead = match at {
                Timestamp::LogAppendTime(at) if at != mock::APPEND_TIME_MS => {
                    let since = |local: Instant| local.since(Instant::from_millis(at));
                    Some(ClockLead { least_ms: since(sent), most_ms: since(wall_clock()) })
                }
                _ => None,
            };
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.base.log(level, fac, log_message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.base.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        use rdkafka::Message;
        let Tag { transaction, is_timed } = tag.into();
        match result {
            Ok(message) if is_timed => self.appended(transaction, message.timestamp()),
            Ok(_) => {}
            Err((e, message)) if transaction == self.transaction.load(Ordering::Relaxed) => {
                let text = format!("writing to `{}`: {}", message.topic(), error::text(e));
                self.base.trouble.see_refusal(self.base.role, e.rdkafka_error_code(), &text);
                self.failed().get_or_insert(text);
            }
            Err(_) => {}
        }
    }
}

/// The producer; none while it could not be started.
pub struct Producer {
    config: ClientConfig,
    trouble: Arc<Trouble>,
    topics: Topics,
    inputs: Vec<String>,
    producer: Option<BaseProducer<Deliveries>>,
    group: Option<ffi::GroupMetadata>,
    /// Whether a transaction has begun that has not ended well.
    is_open: bool,
    /// What the last producer knew of the clocks.
    lead: Option<ClockLead>,
    sends: u32,
    /// Whether a producer of this name has ever been let in.
    has_run: bool,
    /// How often one was started since something was committed.
    starts: u32,
}

/// The names of the topics that are written to.
struct Topics {
    breaches: String,
    warnings: String,
    outcomes: Option<String>,
    dead_letter: String,
    changelog: String,
}

impl Producer {
    /// Starts a producer; what another of its name left open has ended then.
    pub fn start(settings: &KafkaSettings, trouble: &Arc<Trouble>) -> Result<Producer, Error> {
        let mut producer = Producer {
            config: Configs::of(settings).producer(&transactional_id(settings)),
            trouble: Arc::clone(trouble),
            topics: Topics {
                breaches: settings.breaches.clone(),
                warnings: settings.warnings.clone(),
                outcomes: settings.outcomes.clone(),
                dead_letter: settings.dead_letter.clone(),
                changelog: settings.changelog.clone(),
            },
            inputs: settings.input_topics.clone(),
            producer: None,
            group: None,
            is_open: false,
            lead: None,
            sends: 0,
            has_run: false,
            starts: 0,
        };
        producer.restart()?;
        Ok(producer)
    }

    /// Drops the producer and starts another of the same name.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.lead = self.clock_lead();
        self.producer = None;
        self.group = None;
        self.is_open = false;
        self.wait_before_another();
        let base = Context::new("producer", &self.trouble);
        let context = Deliveries {
            base,
            transaction: AtomicUsize::new(0),
            failed: Mutex::new(None),
            clock: Mutex::new(Clock { sent: None, lead: self.lead }),
        };
        let producer = self.config.create_with_context(context);
        let producer = producer.map_err(|e| error::of_creation("creating the producer", &e))?;
        initialise(&producer).map_err(|error| self.patiently(error))?;
        self.has_run = true;
        self.producer = Some(producer);
        Ok(())
    }

    /// Lets brokers be that refuse one producer after another.
    fn wait_before_another(&mut self) {
        let wait = AGAIN_AFTER.saturating_mul(self.starts.saturating_sub(1)).min(AGAIN_AFTER_MAX);
        self.starts = self.starts.saturating_add(1);
        sleep(wait);
    }

    /// A refusal ends a service that starts; one that works waits until it is allowed to again.
    fn patiently(&self, error: Error) -> Error {
        match error {
            Error::Refused(text) if self.has_run => {
                self.trouble.see("producer", Kind::Authorization, &text);
                Error::NotYet(text)
            }
            other => other,
        }
    }

    fn failed(&self, what: &str, error: &KafkaError) -> Error {
        let failed = error::of_transaction(what, error);
        self.trouble.see_refusal("producer", error.rdkafka_error_code(), &failed.to_string());
        failed
    }

    /// Begins a transaction fenced by this metadata.
    pub fn begin(&mut self, group: Option<ffi::GroupMetadata>) -> Result<(), Error> {
        let producer = self.running()?;
        producer.context().transaction.fetch_add(1, Ordering::Relaxed);
        producer.context().failed().take();
        producer.begin_transaction().map_err(|e| self.failed("beginning a transaction", &e))?;
        self.group = group;
        self.is_open = true;
        Ok(())
    }

    /// Fences the transaction by newer metadata.
    pub fn refresh(&mut self, group: Option<ffi::GroupMetadata>) {
        self.group = group;
    }

    /// Adds a record; where the queue is full, waits for the broker to take some.
    pub fn send(&mut self, record: Outgoing<'_>) -> Result<(), Error> {
        let (topic, partition) = self.destination(record.target)?;
        let producer = self.running()?;
        let tag = producer.context().tag(matches!(record.target, Target::Changelog(_)));
        let mut base = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, tag.into());
        base.partition = partition;
        base.key = record.key;
        base.payload = record.value;
        base.headers = headers(record.headers);
        enqueue(producer, base).map_err(|e| self.failed(&format!("writing to `{topic}`"), &e))?;
        self.sends = self.sends.wrapping_add(1);
        if self.sends.is_multiple_of(SENDS_PER_SERVE) {
            self.serve();
        }
        Ok(())
    }

    fn destination(&self, target: Target) -> Result<(&str, Option<i32>), Error> {
        match target {
            Target::Breaches => Ok((&self.topics.breaches, None)),
            Target::Warnings => Ok((&self.topics.warnings, None)),
            Target::DeadLetter => Ok((&self.topics.dead_letter, None)),
            Target::Changelog(partition) => Ok((&self.topics.changelog, Some(partition))),
            Target::Outcomes => match &self.topics.outcomes {
                Some(topic) => Ok((topic, None)),
                None => {
                    Err(Error::Fatal("writing an outcome, and no topic for outcomes is configured".into()))
                }
            },
        }
    }

    /// Adds offsets. Refuses what would not be fenced: no offsets at all, or offsets of no member.
    pub fn send_offsets(&mut self, offsets: &[Offsets]) -> Result<(), Error> {
        let what = "adding offsets to a transaction";
        let list = self.offset_list(offsets).map_err(|e| error::of_transaction(what, &e))?;
        let Some(group) = self.group.as_ref().filter(|group| group.is_member() && list.count() > 0) else {
            return Err(Error::Transaction(format!("{what}: this worker is not a member of the group now")));
        };
        let sent = ffi::send_offsets(self.running()?.client(), &list, group, COMMIT_TIMEOUT);
        sent.map_err(|failure| {
            let text = format!("{what}: {}", plain(&failure.text));
            self.trouble.see_refusal("producer", Some(failure.code), &text);
            if error::fences(failure.code) { Error::Fenced(text) } else { Error::Transaction(text) }
        })
    }

    fn offset_list(&self, offsets: &[Offsets]) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::with_capacity(offsets.len() * self.inputs.len());
        for one in offsets {
            for (topic, position) in self.inputs.iter().zip(&one.positions) {
                let mut element = list.add_partition(topic, one.partition);
                element.set_offset(Offset::Offset(position.offset))?;
                element.set_metadata(&one.nonce);
                ffi::set_last_leader_epoch(&mut list, position.leader_epoch);
            }
        }
        Ok(list)
    }

    /// Commits. `commit_transaction` of rust-rdkafka 0.39 polls for 100 ms while anything is on its way, so
    /// the records are waited for here first.
    pub fn commit(&mut self) -> Result<(), Error> {
        let what = "committing a transaction";
        let producer = self.running()?;
        drain(producer, what, COMMIT_TIMEOUT)?;
        if let Some(text) = producer.context().failed().take() {
            return Err(Error::Transaction(text));
        }
        producer.commit_transaction(COMMIT_TIMEOUT).map_err(|e| self.failed(what, &e))?;
        self.is_open = false;
        self.starts = 0;
        self.trouble.over("producer");
        Ok(())
    }

    /// Aborts.
    pub fn abort(&mut self) -> Result<(), Error> {
        abort(self.running()?, COMMIT_TIMEOUT)?;
        self.is_open = false;
        Ok(())
    }

    /// By how much the local clock leads the brokers', where records were timed. Rule H4.
    pub fn clock_lead(&self) -> Option<ClockLead> {
        match &self.producer {
            Some(producer) => producer.context().clock().lead,
            None => self.lead,
        }
    }

    /// Takes delivery reports and log lines.
    pub fn serve(&self) {
        if let Some(producer) = &self.producer {
            producer.poll(Duration::ZERO);
        }
    }

    fn running(&self) -> Result<&BaseProducer<Deliveries>, Error> {
        self.producer.as_ref().ok_or_else(|| Error::Transaction("the producer has not been started".into()))
    }
}

/// Ends what it left open, if the brokers answer soon: otherwise it would hold the offsets of its partitions
/// until its time is up.
impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.as_ref().filter(|_| self.is_open)
            && let Err(e) = abort(producer, CLOSE_TIMEOUT)
        {
            tracing::debug!(target: "overdue::kafka", "while closing the producer: {e}");
        }
    }
}

/// `{group}-{instance}-{worker}`, which a restart has again and so ends what its predecessor left open; a
/// process without a name draws one.
fn transactional_id(settings: &KafkaSettings) -> String {
    let KafkaSettings { group, instance, worker, .. } = settings;
    match instance.as_str() {
        "" => format!("{group}-{:016x}-{worker}", random()),
        name => format!("{group}-{name}-{worker}"),
    }
}

fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

fn initialise(producer: &BaseProducer<Deliveries>) -> Result<(), Error> {
    let what = "starting the producer";
    let until = Moment::now() + INIT_TIMEOUT;
    loop {
        let left = until.saturating_duration_since(Moment::now());
        match producer.init_transactions(left.min(Duration::from_secs(10))) {
            Ok(()) => return Ok(()),
            Err(e) if left.is_zero() => return Err(Error::NotYet(unanswered(what, &e, producer))),
            Err(KafkaError::Transaction(e)) if e.is_retriable() => producer.poll(Duration::from_millis(100)),
            Err(e) => return Err(refused(what, &e)),
        }
    }
}

fn unanswered(what: &str, error: &KafkaError, producer: &BaseProducer<Deliveries>) -> String {
    match producer.context().base.trouble.recent() {
        Some(trouble) => format!("{what}: {} ({trouble})", error::text(error)),
        None => format!("{what}: {}", error::text(error)),
    }
}

fn refused(what: &str, error: &KafkaError) -> Error {
    match error::of_question(what, error) {
        Error::NotYet(text) if error.rdkafka_error_code().is_some_and(error::fences) => Error::Fenced(text),
        other => other,
    }
}

fn enqueue(
    producer: &BaseProducer<Deliveries>,
    mut record: BaseRecord<'_, [u8], [u8], usize>,
) -> Result<(), KafkaError> {
    let until = Moment::now() + TRANSACTION_TIMEOUT;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(Code::QueueFull), back)) if Moment::now() < until => {
                record = back;
                producer.poll(Duration::from_millis(10));
            }
            Err((e, _)) => return Err(e),
        }
    }
}

/// Aborts. `abort_transaction` waits for delivery reports that only polling takes away, so they are waited for
/// here first. Records are not purged: librdkafka 2.12.1 moves the idempotence base past purged ones only in
/// its own purge of an abort (`rd_kafka_toppar_purge_queues`), and after any other the next transaction fails.
fn abort(producer: &BaseProducer<Deliveries>, timeout: Duration) -> Result<(), Error> {
    let what = "aborting a transaction";
    drain(producer, what, timeout)?;
    producer.abort_transaction(timeout).map_err(|e| error::of_transaction(what, &e))
}

fn drain(producer: &BaseProducer<Deliveries>, what: &str, timeout: Duration) -> Result<(), Error> {
    let until = Moment::now() + timeout;
    while producer.in_flight_count() > 0 {
        if Moment::now() >= until {
            let left = producer.in_flight_count();
            return Err(Error::Transaction(format!("{what}: {left} records have not been acknowledged")));
        }
        producer.poll(Duration::from_millis(1));
    }
    Ok(())
}

fn headers(all: &[(&str, Option<&[u8]>)]) -> Option<OwnedHeaders> {
    (!all.is_empty()).then(|| {
        let empty = OwnedHeaders::new_with_capacity(all.len());
        all.iter().fold(empty, |headers, (key, value)| headers.insert(Header { key, value: *value }))
    })
}
