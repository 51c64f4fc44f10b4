//! The cluster: its logs, its clock, and what is under way in the network.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::faults::{Chaos, Faults, Script, Strike};
use super::group::Group;
use super::leaders::{Broker, HEARD_MS_MAX, Leadership};
use super::log::{Entry, Log, Payload};
use super::seeds;
use super::transactions::{OffsetWrite, Producer, Transactions};
use crate::runtime::port::{Answer, Bounds, LogEnd, Partition, SecondOpinion, Target, Topic};
use crate::safeguard::{Safeguard, holds};
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
    /// The topic of warnings.
    Warnings,
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
    /// Number of brokers.
    pub brokers: Broker,
    /// Heartbeats may be missing for so long.
    pub session_timeout_ms: i64,
    /// A rebalance waits so long for a member.
    pub rebalance_timeout_ms: i64,
    /// A transaction may be open for so long.
    pub transaction_timeout_ms: i64,
    /// A process's clock is at most so far from the model's.
    pub skew_ms_max: i64,
    /// Out of ten processes that start, how many have a clock that is further off.
    pub clocks_astray: i64,
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
            clocks_astray: 0,
            brokers: 1,
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
    /// The date of the event in it, where that is in the log in time: what a horizon at or after it vouches for.
    pub event_ms: Option<i64>,
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
    /// Another broker is asked who leads, after `broker` has answered.
    Opinion { client: u64, answer: Answer, broker: Broker },
    /// A follower has caught up.
    CaughtUp { of: (TopicName, Partition) },
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
    /// What goes wrong.
    pub chaos: Chaos,
    /// Calls that the contract of `Port` forbids, in words; a scenario fails on any.
    pub misuses: Vec<String>,
    /// Input partitions of which something was lost.
    pub hurt: BTreeSet<(Topic, Partition)>,
    /// Whether the input topics got another partition.
    pub has_grown: bool,
    /// Records that were readable when they were lost.
    pub lost: Vec<(Topic, Partition, Entry)>,
    pub(super) group: Group,
    pub(super) transactions: Transactions,
    pub(super) answers: BTreeMap<u64, Vec<Answer>>,
    rng: ChaCha8Rng,
    now: Instant,
    logs: BTreeMap<(TopicName, Partition), Log>,
    leaders: BTreeMap<(Topic, Partition), Leadership>,
    /// How often each input topic was made.
    made: BTreeMap<Topic, u32>,
    /// Which process each client is of.
    pub(super) processes: BTreeMap<u64, usize>,
    /// By how much each process's wall clock is off.
    clocks: BTreeMap<usize, i64>,
    /// How often each process's policies were written anew.
    editions: BTreeMap<usize, usize>,
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
            chaos: Chaos::new(seeds::rng(seed ^ 0xc4a05), None),
            misuses: Vec::new(),
            hurt: BTreeSet::new(),
            has_grown: false,
            lost: Vec::new(),
            group: Group::default(),
            transactions: Transactions::default(),
            answers: BTreeMap::new(),
            rng: seeds::rng(seed),
            now: BEGINNING,
            logs: BTreeMap::new(),
            leaders: BTreeMap::new(),
            made: BTreeMap::new(),
            processes: BTreeMap::new(),
            clocks: BTreeMap::new(),
            editions: BTreeMap::new(),
            agenda: BTreeMap::new(),
            next_later: 0,
            next_client: 0,
            trace: VecDeque::new(),
        }
    }

    /// Lets go wrong what a script says, and nothing else.
    pub fn follow(&mut self, seed: u64, script: Option<Script>) {
        self.chaos = Chaos::new(seeds::rng(seed ^ 0xc4a05), script);
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

    /// The records of an input partition that committed transactions applied, in their order.
    pub fn applied(&self, at: (Topic, Partition)) -> &[Entry] {
        self.group.applied(at)
    }

    /// Whether a client's state of a partition must be what is committed: it owns it, nothing is pending, and no
    /// zombie's transaction hides the end of the changelog.
    pub fn is_settled(&self, client: u64, partition: Partition) -> bool {
        let changelog = self.logs.get(&(TopicName::Changelog, partition));
        let is_readable = changelog.is_none_or(|log| log.stable_end() == log.high_watermark());
        is_readable && self.group.owns(client, partition) && !self.transactions.hold_offsets(partition)
    }

    /// Number of committed records in the four output topics.
    pub fn spoken(&self) -> usize {
        let outputs = [TopicName::Breaches, TopicName::Warnings, TopicName::Outcomes, TopicName::DeadLetter];
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
                if self.log_mut(of.0, of.1).has_open(producer) {
                    self.log_mut(of.0, of.1).end_transaction(producer, commit, now);
                }
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
            Later::Opinion { client, answer, broker } => self.opinion(client, answer, broker),
            Later::CaughtUp { of } => self.log_mut(of.0, of.1).hold_watermark(false),
            Later::Answered { client, mut answer } => {
                if !holds(Safeguard::ClockBeforeQuestion) {
                    let process = self.processes.get(&client).copied().unwrap_or_default();
                    let off_ms = self.clock_ms(process);
                    answer.asked_at = self.now.plus(off_ms);
                }
                self.answers.entry(client).or_default().push(answer);
            }
        }
    }

    fn append(&mut self, mut record: Upstream) {
        record.partition = self.partition_now(&record);
        let (of, timestamp) = ((TopicName::Input(record.topic), record.partition), record.timestamp_ms);
        // Each upstream transaction has a producer id of its own, far from those of the processes.
        let producer = record.transaction.map(|_| (1 << 32) + self.next_later);
        let log = self.log_mut(of.0, of.1);
        log.append(record.payload, BEGINNING.plus(timestamp), producer);
        log.date_last(record.event_ms.map(|ms| BEGINNING.plus(ms)));
        if let (Some(producer), Some((end_ms, commit))) = (producer, record.transaction) {
            self.at(BEGINNING.plus(end_ms).max(self.now), Later::UpstreamEnd { of, producer, commit });
        }
    }

    /// Where a record goes: half of the keys go elsewhere once there are more partitions.
    fn partition_now(&self, record: &Upstream) -> Partition {
        let hash = crc32fast::hash(record.payload.key.as_deref().unwrap_or_default());
        if self.has_grown && hash.is_multiple_of(2) { self.shape.partitions - 1 } else { record.partition }
    }

    /// The dates of events that are still to be written to a partition number, and in time then.
    pub fn events_to_come(&self, partition: Partition) -> impl Iterator<Item = Instant> {
        self.agenda.values().filter_map(move |later| match later {
            Later::Append(record) if record.partition == partition => {
                record.event_ms.map(|ms| BEGINNING.plus(ms))
            }
            _ => None,
        })
    }

    /// The end is read at some moment between question and answer, by whoever believes that it leads.
    fn sample(&mut self, client: u64, mut answer: Answer) {
        let at = (answer.topic, answer.partition);
        let (rate, now, coin) = (self.faults.probe_error, self.now, self.draw(0..=1) == 0);
        let end = self.log(TopicName::Input(at.0), at.1).leader_end();
        let leaders = self.leaders.entry(at).or_default();
        let asked = match leaders.deposed(now).filter(|_| coin) {
            Some(deposed) => Some(deposed),
            None if leaders.is_silent(now) => None,
            None => Some((leaders.leader(), end)),
        };
        let delay = self.network_ms();
        match asked.filter(|_| !self.chaos.hits(Strike::ProbeError, rate)) {
            None => {
                answer.end = Err("the leader is not to be reached".to_owned());
                self.later(delay, Later::Answered { client, answer });
            }
            Some((broker, (offset, leader_epoch))) => {
                answer.end = Ok(LogEnd {
                    offset,
                    leader_epoch,
                    second_opinion: SecondOpinion::None,
                    topic_id: None,
                    partitions: None,
                });
                self.later(delay, Later::Opinion { client, answer, broker });
            }
        }
    }

    /// How long an answer takes, mostly little.
    fn network_ms(&mut self) -> i64 {
        match self.draw(0..=15) {
            0 => self.draw(0..=5_000),
            1..8 => self.draw(0..=400),
            _ => 0,
        }
    }

    /// Another broker says who leads, which topic it is, and how many partitions it has.
    fn opinion(&mut self, client: u64, mut answer: Answer, broker: Broker) {
        let (at, now, rate) = ((answer.topic, answer.partition), self.now, self.faults.no_opinion);
        let second_opinion = match self.shape.brokers {
            0 | 1 => SecondOpinion::OnlyBroker,
            _ if self.chaos.hits(Strike::NoOpinion, rate) => SecondOpinion::None,
            brokers => {
                let step = Broker::try_from(self.draw(1..=i64::from(brokers) - 1)).unwrap_or(1);
                let other = (broker + step) % brokers;
                let is_named = self.leaders.entry(at).or_default().named_by(other, now) == broker;
                let is_same = is_named && self.still_leads(at, broker, &answer);
                if is_same { SecondOpinion::Same } else { SecondOpinion::Other }
            }
        };
        let (topic_id, partitions) = (Some(self.topic_id(at.0)), Some(self.shape.partitions));
        if let Ok(end) = &mut answer.end {
            let (offset, leader_epoch) = (end.offset, end.leader_epoch);
            self.note(|| format!("client {client} hears from broker {broker} of {at:?}: {offset} in epoch {leader_epoch}, {second_opinion:?}"));
        }
        if let Ok(end) = &mut answer.end {
            *end = LogEnd { second_opinion, topic_id, partitions, ..end.clone() };
        }
        let delay = self.network_ms();
        self.later(delay, Later::Answered { client, answer });
    }

    /// Whether the broker that answered would answer again in the same epoch: one that was deposed and elected
    /// again meanwhile is named by the others, and does not.
    fn still_leads(&mut self, at: (Topic, Partition), broker: Broker, answer: &Answer) -> bool {
        if !holds(Safeguard::SameEpochAfterwards) {
            return true;
        }
        let now = self.now;
        let current = self.log(TopicName::Input(at.0), at.1).leader_end().1;
        let leaders = self.leaders.entry(at).or_default();
        let epoch = match leaders.deposed(now) {
            _ if leaders.leader() == broker => current,
            Some((deposed, (_, epoch))) if deposed == broker => epoch,
            _ => return false,
        };
        answer.end.as_ref().is_ok_and(|end| end.leader_epoch == epoch)
    }

    /// First offset and end of an input partition, if its leader can be asked.
    pub fn bounds(&mut self, at: (Topic, Partition)) -> Option<Bounds> {
        let now = self.now;
        let is_silent = self.leaders.entry(at).or_default().is_silent(now);
        let topic_id = Some(self.topic_id(at.0));
        let bounds = self.log(TopicName::Input(at.0), at.1).bounds();
        (!is_silent).then_some(Bounds { topic_id, ..bounds })
    }

    /// Whether records of an input partition can be fetched.
    pub fn is_silent(&mut self, at: (Topic, Partition)) -> bool {
        let now = self.now;
        self.leaders.entry(at).or_default().is_silent(now)
    }

    /// The id of an input topic: another after it was made anew.
    pub fn topic_id(&self, topic: Topic) -> Arc<str> {
        Arc::from(format!("id-{topic}-{}", self.made.get(&topic).copied().unwrap_or_default()))
    }

    /// Another broker leads an input partition; where there is one broker only, it starts anew. The one before
    /// does not know it for `deposed_ms`.
    pub fn elect(&mut self, at: (Topic, Partition), deposed_ms: i64) {
        let (now, brokers) = (self.now, self.shape.brokers);
        let end = self.log(TopicName::Input(at.0), at.1).leader_end();
        let loses_tail = brokers > 1 && self.draw(0..=1) == 0;
        let log = self.log_mut(TopicName::Input(at.0), at.1);
        if loses_tail {
            log.drop_unreplicated();
        }
        log.move_leader();
        if brokers > 1 {
            let step = Broker::try_from(self.draw(1..=i64::from(brokers) - 1)).unwrap_or(1);
            let heard_at = (0..brokers).map(|_| now.plus(self.draw(0..=HEARD_MS_MAX))).collect();
            let leaders = self.leaders.entry(at).or_default();
            let leader = (leaders.leader() + step) % brokers;
            leaders.elect(leader, heard_at, end, now.plus(deposed_ms));
            self.note(|| {
                format!("broker {leader} leads {at:?}; the one before stands at {end:?} for {deposed_ms} ms")
            });
        }
    }

    /// Nobody reaches a partition's leader for so long.
    pub fn silence(&mut self, at: (Topic, Partition), ms: i64) {
        let until = self.now.plus(ms);
        self.leaders.entry(at).or_default().fall_silent(until);
        self.note(|| format!("the leader of {at:?} is not to be reached for {ms} ms"));
    }

    /// A follower falls behind for so long.
    pub fn fall_behind(&mut self, at: (Topic, Partition), ms: i64) {
        let of = (TopicName::Input(at.0), at.1);
        self.log_mut(of.0, of.1).hold_watermark(true);
        self.later(ms, Later::CaughtUp { of });
        self.note(|| format!("a follower of {at:?} falls behind for {ms} ms"));
    }

    /// Retention removes all but the last `left` records of an input partition.
    pub fn expire(&mut self, at: (Topic, Partition), left: i64) {
        let log = self.log_mut(TopicName::Input(at.0), at.1);
        let first = log.bounds().end - left;
        let gone = log.delete_before(first);
        let committed = self.group.offset(at).map_or(0, |committed| committed.position.offset);
        if first > committed {
            self.hurt.insert(at);
        }
        self.lose(at, gone, &format!("what lies below {first} expires"));
    }

    /// An unclean election loses the last `count` records of an input partition.
    pub fn truncate(&mut self, at: (Topic, Partition), count: i64) {
        let log = self.log_mut(TopicName::Input(at.0), at.1);
        let end = log.bounds().end - count;
        let gone = log.truncate(end);
        self.hurt.insert(at);
        self.lose(at, gone, &format!("all from {end} on is lost to another leader"));
    }

    /// An input topic is deleted and made again.
    pub fn recreate(&mut self, topic: Topic) {
        *self.made.entry(topic).or_default() += 1;
        for partition in 0..self.shape.partitions {
            let gone = self.log_mut(TopicName::Input(topic), partition).recreate();
            self.hurt.insert((topic, partition));
            self.lose((topic, partition), gone, "the topic is made anew");
        }
    }

    /// Notes what is gone, and whether anybody can know: what went before anybody began to read, or where the log
    /// now ends no lower than what was read, is as if it had never been written.
    fn lose(&mut self, at: (Topic, Partition), gone: Vec<Entry>, why: &str) {
        self.note(|| format!("{at:?}: {why}; {} records", gone.len()));
        let end = self.log(TopicName::Input(at.0), at.1).bounds().end;
        let is_below = |first: &Entry| first.offset < end;
        let read = self.group.offset(at).map(|committed| committed.position.offset);
        if read.is_some_and(|read| end < read || gone.first().is_some_and(is_below)) {
            self.lost.extend(gone.into_iter().map(|entry| (at.0, at.1, entry)));
        }
    }

    /// The input topics get another partition.
    pub fn grow(&mut self) {
        self.shape.partitions += 1;
        self.has_grown = true;
        self.group.partitions_changed(self.now.millis());
        self.note(|| "the input topics have another partition".to_owned());
    }

    /// How often a process's policies were written anew.
    pub fn edition(&self, process: usize) -> usize {
        self.editions.get(&process).copied().unwrap_or_default()
    }

    /// A process's policies are written anew.
    pub fn write_policies(&mut self, process: usize) {
        let edition = self.editions.entry(process).or_default();
        *edition += 1;
        let edition = *edition;
        self.note(|| format!("process {process} has edition {edition} of the policies"));
    }

    /// By how much a process's wall clock is off.
    pub fn clock_ms(&self, process: usize) -> i64 {
        self.clocks.get(&process).copied().unwrap_or_default()
    }

    /// A process's wall clock is set to be off by so much.
    pub fn set_clock(&mut self, process: usize, off_ms: i64) {
        self.clocks.insert(process, off_ms);
        self.note(|| format!("the clock of process {process} is off by {off_ms} ms"));
    }

    /// A process's wall clock is as far off as a clock is that is looked after.
    pub fn discipline_clock(&mut self, process: usize) {
        let most = self.shape.skew_ms_max;
        let off_ms = self.draw(-most..=most);
        self.set_clock(process, off_ms);
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
            Target::Warnings => TopicName::Warnings,
            Target::Outcomes => TopicName::Outcomes,
            Target::DeadLetter => TopicName::DeadLetter,
            Target::Changelog(_) => TopicName::Changelog,
        }
    }
}
