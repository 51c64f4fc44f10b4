//! The cluster: its logs, its clock, and what is under way in the network.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::rc::Rc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::faults::{Faults, hit};
use super::group::Group;
use super::log::{Entry, Log, Payload};
use super::seeds;
use super::transactions::{OffsetWrite, Producer, Transactions};
use crate::runtime::port::{Answer, LogEnd, Partition, SecondOpinion, Target, Topic};
use crate::sla::instant::Instant;

/// How many lines of the trace are kept.
const TRACE_LINES: usize = 4000;

/// The model's time begins here.
pub const BEGINNING: Instant = Instant::from_millis(1_780_000_000_000);

/// A cluster that its ports share.
pub type Shared = Rc<RefCell<Cluster>>;

/// A topic of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicName {
    /// An input topic.
    Input(Topic),
    /// The breach topic.
    Breaches,
    /// The topic of met and cancelled clocks.
    Outcomes,
    /// The dead-letter topic.
    DeadLetter,
    /// The changelog, the only one that is compacted.
    Changelog,
}

/// How large the cluster is and how patient.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Number of input topics.
    pub topics: Topic,
    /// Partitions of each topic.
    pub partitions: i32,
    /// Heartbeats may be missing for so long.
    pub session_timeout_ms: i64,
    /// A rebalance waits so long for a member.
    pub rebalance_timeout_ms: i64,
    /// A transaction may be open for so long.
    pub transaction_timeout_ms: i64,
    /// A process's clock is at most so far from the model's.
    pub skew_ms_max: i64,
    /// Whether a port knows better than to send offsets under metadata without a member, which the
    /// coordinator would not check. Only a mutation check says no.
    pub is_member_guarded: bool,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            topics: 1,
            partitions: 4,
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 30_000,
            transaction_timeout_ms: 10_000,
            skew_ms_max: 1_000,
            is_member_guarded: true,
        }
    }
}

/// A record of an upstream producer, and when it does what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstream {
    /// The input topic.
    pub topic: Topic,
    /// Its partition.
    pub partition: Partition,
    /// Milliseconds after [`BEGINNING`] at which it is in the log.
    pub appended_ms: i64,
    /// Its record timestamp, in milliseconds after [`BEGINNING`].
    pub timestamp_ms: i64,
    /// What is written.
    pub payload: Payload,
    /// When the transaction it is written in ends, in milliseconds after [`BEGINNING`], and whether it
    /// commits; `None` where it is in no transaction.
    pub transaction: Option<(i64, bool)>,
}

/// What happens at a later instant of the model.
#[derive(Debug, Clone)]
pub(super) enum Later {
    /// An upstream producer writes.
    Append(Upstream),
    /// An upstream transaction ends.
    UpstreamEnd { of: (TopicName, Partition), producer: u64, commit: bool },
    /// The coordinator writes the markers of a prepared transaction.
    Markers { name: String },
    /// An EndTxn arrives that its client has given up.
    EndTransaction { name: String, producer: Producer, commit: bool },
    /// A TxnOffsetCommit arrives that its client has given up.
    Offsets { name: String, producer: Producer, metadata: Option<(u64, i32)>, offsets: Vec<OffsetWrite> },
    /// The leader reads its log end for a probe.
    Sample { client: u64, answer: Answer },
    /// The answer reaches the process.
    Answered { client: u64, answer: Answer },
}

/// Everything but the processes.
#[derive(Debug)]
pub struct Cluster {
    /// Sizes and timeouts.
    pub shape: Shape,
    /// What may go wrong from now on.
    pub faults: Faults,
    /// Calls of all ports so far.
    pub calls: u64,
    /// Calls that the contract of `Port` forbids, in words; a scenario fails on any.
    pub misuses: Vec<String>,
    pub(super) group: Group,
    pub(super) transactions: Transactions,
    pub(super) answers: BTreeMap<u64, Vec<Answer>>,
    rng: ChaCha8Rng,
    now: Instant,
    logs: BTreeMap<(TopicName, Partition), Log>,
    agenda: BTreeMap<(Instant, u64), Later>,
    next_later: u64,
    next_client: u64,
    trace: VecDeque<String>,
}

impl Cluster {
    /// An empty cluster. All that happens on it follows from the seed.
    pub fn new(seed: u64, shape: Shape) -> Cluster {
        Cluster {
            shape,
            faults: Faults::none(),
            calls: 0,
            misuses: Vec::new(),
            group: Group::default(),
            transactions: Transactions::default(),
            answers: BTreeMap::new(),
            rng: seeds::rng(seed),
            now: BEGINNING,
            logs: BTreeMap::new(),
            agenda: BTreeMap::new(),
            next_later: 0,
            next_client: 0,
            trace: VecDeque::new(),
        }
    }

    /// The true time, which no process knows.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The generator of all choices.
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    /// Draws a number.
    pub fn draw(&mut self, range: RangeInclusive<i64>) -> i64 {
        self.rng.random_range(range)
    }

    /// A partition's log.
    pub fn log(&mut self, topic: TopicName, partition: Partition) -> &Log {
        self.log_mut(topic, partition)
    }

    /// A partition's log, to be hurt.
    pub fn log_mut(&mut self, topic: TopicName, partition: Partition) -> &mut Log {
        self.logs.entry((topic, partition)).or_default()
    }

    /// What a read_committed reader of a whole topic sees, partition by partition.
    pub fn committed_records(&self, topic: TopicName) -> Vec<(Partition, &Entry)> {
        let logs = self.logs.iter().filter(|((name, _), _)| *name == topic);
        logs.flat_map(|((_, partition), log)| log.committed().map(|e| (*partition, e))).collect()
    }

    /// Number of committed records in the three output topics.
    pub fn spoken(&self) -> usize {
        let outputs = [TopicName::Breaches, TopicName::Outcomes, TopicName::DeadLetter];
        outputs.iter().map(|topic| self.committed_records(*topic).len()).sum()
    }

    /// Transactional ids whose transaction has not ended.
    pub fn unfinished_transactions(&self) -> Vec<String> {
        self.transactions.unfinished()
    }

    /// Compacts the changelog.
    pub fn compact(&mut self) {
        let now = self.now;
        let changelogs = self.logs.iter_mut().filter(|((name, _), _)| *name == TopicName::Changelog);
        changelogs.for_each(|(_, log)| log.compact(now));
        self.note(|| "the changelog is compacted".to_owned());
    }

    /// Forgets the group's offsets.
    pub fn expire_offsets(&mut self) {
        self.group.expire_offsets();
        self.note(|| "the group's offsets expire".to_owned());
    }

    /// Lets the upstream producers write.
    pub fn schedule(&mut self, records: impl IntoIterator<Item = Upstream>) {
        for record in records {
            let at = BEGINNING.plus(record.appended_ms);
            self.at(at, Later::Append(record));
        }
    }

    /// Puts something off by `delay_ms`; by zero, it happens when time is next looked at.
    pub(super) fn later(&mut self, delay_ms: i64, what: Later) {
        self.at(self.now.plus(delay_ms), what);
    }

    fn at(&mut self, at: Instant, what: Later) {
        self.next_later += 1;
        self.agenda.insert((at, self.next_later), what);
    }

    /// Moves time on, and with it everything that is due on the way.
    pub fn advance(&mut self, ms: i64) {
        let to = self.now.plus(ms);
        while let Some(due) = self.agenda.first_entry().filter(|e| e.key().0 <= to) {
            let ((at, _), what) = due.remove_entry();
            self.now = self.now.max(at);
            self.carry_out(what);
        }
        self.now = to;
        self.time_out_transactions();
        self.beat();
    }

    fn carry_out(&mut self, what: Later) {
        match what {
            Later::Append(record) => self.append(record),
            Later::Markers { name } => self.write_markers(&name),
            Later::UpstreamEnd { of, producer, commit } => {
                let now = self.now;
                self.log_mut(of.0, of.1).end_transaction(producer, commit, now);
            }
            Later::EndTransaction { name, producer, commit } => {
                let ended = self.end_transaction(&name, producer, commit);
                self.note(|| format!("a late EndTxn of {name}, epoch {}: {ended:?}", producer.epoch));
            }
            Later::Offsets { name, producer, metadata, offsets } => {
                let added = self.add_late_offsets(&name, producer, metadata, &offsets);
                self.note(|| format!("late offsets of {name}, epoch {}: {added:?}", producer.epoch));
            }
            Later::Sample { client, answer } => self.sample(client, answer),
            Later::Answered { client, answer } => self.answers.entry(client).or_default().push(answer),
        }
    }

    fn append(&mut self, record: Upstream) {
        let (of, timestamp) = ((TopicName::Input(record.topic), record.partition), record.timestamp_ms);
        // Each upstream transaction has a producer id of its own, far from those of the processes.
        let producer = record.transaction.map(|_| (1 << 32) + self.next_later);
        self.log_mut(of.0, of.1).append(record.payload, BEGINNING.plus(timestamp), producer);
        if let (Some(producer), Some((end_ms, commit))) = (producer, record.transaction) {
            self.at(BEGINNING.plus(end_ms).max(self.now), Later::UpstreamEnd { of, producer, commit });
        }
    }

    /// The end is read at some moment between question and answer.
    fn sample(&mut self, client: u64, mut answer: Answer) {
        let rate = self.faults.probe_error;
        let end = match hit(&mut self.rng, rate) {
            true => Err("the leader is not to be reached".to_owned()),
            false => Ok(self.log_end(answer.topic, answer.partition)),
        };
        answer.end = end;
        let delay = self.draw(0..=400) * self.draw(0..=1);
        self.later(delay, Later::Answered { client, answer });
    }

    fn log_end(&mut self, topic: Topic, partition: Partition) -> LogEnd {
        let (offset, leader_epoch) = self.log(TopicName::Input(topic), partition).leader_end();
        let partitions = Some(self.shape.partitions);
        let second_opinion = SecondOpinion::OnlyBroker;
        LogEnd { offset, leader_epoch, second_opinion, topic_id: None, partitions }
    }

    /// A new consumer, not in the group yet.
    pub(super) fn new_client(&mut self) -> u64 {
        self.next_client += 1;
        self.group.client(self.next_client);
        self.next_client
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.trace.len() == TRACE_LINES {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>8} {}", self.now.since(BEGINNING), line()));
    }

    /// What has happened, a line each, with milliseconds since [`BEGINNING`].
    pub fn trace(&self) -> String {
        self.trace.iter().fold(String::new(), |text, line| text + line + "\n")
    }
}

impl From<Target> for TopicName {
    fn from(target: Target) -> TopicName {
        match target {
            Target::Breaches => TopicName::Breaches,
            Target::Outcomes => TopicName::Outcomes,
            Target::DeadLetter => TopicName::DeadLetter,
            Target::Changelog(_) => TopicName::Changelog,
        }
    }
}
