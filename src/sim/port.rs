//! One process's view of the model: every call of `Port`, and the places where it can be hurt.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::time::Duration;

use rand::RngExt;

use super::cluster::{BEGINNING, Later, Shared, TopicName};
use super::faults::{Fate, Risk};
use super::group::Event;
use super::log::{Entry, Headers, Payload};
use super::transactions::{OffsetWrite, Producer};
use crate::runtime::port::{
    Answer, Bounds, ClockLead, Committed, Error, KeysAndValues, Offsets, Outgoing, Partition, Polled, Port,
    Position, Record, Target, Topic,
};
use crate::sla::instant::Instant;

/// A commit, an abort or offsets whose client gave up arrive at most so much later.
const LATE_MS_MAX: i64 = 15_000;

/// The rest of the world, which goes on while one process is inside a call.
pub trait Others {
    /// Others act for a while; `pause_ms` of model time pass where the process stands still.
    fn act(&self, process: usize, pause_ms: Option<i64>);
}

/// Where the local transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Local {
    Idle,
    Open,
    /// Something went wrong; only `abort` and `reinit` are left.
    Failed,
}

/// What a process finds on its disk, also when it is started again.
pub struct Disk {
    cluster: Shared,
    process: usize,
}

impl Disk {
    /// How often its policies were written anew.
    pub fn edition(&self) -> usize {
        self.cluster.borrow().edition(self.process)
    }
}

/// A process's consumer, producer and clock. Dropped, it leaves the group, as a consumer that is closed.
pub struct SimPort {
    cluster: Shared,
    others: Weak<dyn Others>,
    process: usize,
    client: u64,
    name: String,
    dead: bool,
    is_held: bool,
    clock_lead: Option<ClockLead>,
    producer: Producer,
    local: Local,
    /// Records that the client has not sent to the broker yet.
    queue: Vec<Queued>,
    metadata: Option<(u64, i32)>,
    reading: BTreeMap<Partition, Vec<Position>>,
    /// Inputs whose position is not in their log, which is said once.
    out_of_range: BTreeSet<(Topic, Partition)>,
    /// What was handed over since `take` or `rewind` and is not committed.
    read: BTreeMap<(Topic, Partition), Vec<Entry>>,
    /// Offsets of the transaction that is open.
    sent: Vec<OffsetWrite>,
    /// Whether the broker was asked to end the last transaction.
    has_ended: bool,
    changelogs: BTreeMap<Partition, Position>,
}

impl SimPort {
    /// Starts process number `process` under a transactional id, which fences whoever had it before.
    pub fn new(cluster: &Shared, others: Weak<dyn Others>, process: usize, name: String) -> SimPort {
        let mut model = cluster.borrow_mut();
        let (client, producer) = (model.new_client(), model.init_producer(&name));
        model.note(|| format!("process {process} starts as client {client}"));
        model.processes.insert(client, process);
        model.discipline_clock(process);
        if model.draw(1..=10) <= model.shape.clocks_astray {
            let off_ms = model.draw(-20_000..=20_000);
            model.set_clock(process, off_ms);
        }
        SimPort {
            cluster: cluster.clone(),
            others,
            process,
            client,
            name,
            dead: false,
            is_held: false,
            clock_lead: None,
            producer,
            local: Local::Idle,
            queue: Vec::new(),
            metadata: None,
            reading: BTreeMap::new(),
            out_of_range: BTreeSet::new(),
            read: BTreeMap::new(),
            sent: Vec::new(),
            has_ended: false,
            changelogs: BTreeMap::new(),
        }
    }

    /// The disk that the process reads its policies from.
    pub fn disk(&self) -> Disk {
        Disk { cluster: self.cluster.clone(), process: self.process }
    }

    /// How many partitions the input topics have.
    pub fn partitions(&self) -> Partition {
        self.cluster.borrow().shape.partitions
    }

    /// The ids of the input topics.
    pub fn topic_ids(&self) -> Vec<String> {
        let topics = self.topics();
        topics.into_iter().map(|topic| self.cluster.borrow().topic_id(topic).to_string()).collect()
    }

    /// Names the client that this process is.
    pub fn client(&self) -> u64 {
        self.client
    }

    /// The fault point that every call passes first: others may act, and the call gets its fate.
    fn enter(&mut self, call: &str, risk: Risk) -> Result<Fate, Error> {
        self.alive()?;
        self.stall();
        let fate = {
            let mut model = self.cluster.borrow_mut();
            let faults = model.faults.clone();
            let fate = model.chaos.fate(&faults, risk);
            if fate != Fate::Go {
                model.note(|| format!("client {} calls {call}: {fate:?}", self.client));
            }
            fate
        };
        match fate {
            Fate::KillBefore => Err(self.die()),
            Fate::NotYet => Err(Error::NotYet(format!("the broker is busy: `{call}`"))),
            fate => Ok(fate),
        }
    }

    /// Ends a call that had its effect.
    fn leave<T>(&mut self, fate: Fate, answer: T) -> Result<T, Error> {
        match fate {
            Fate::KillAfter => Err(self.die()),
            _ => Ok(answer),
        }
    }

    fn alive(&self) -> Result<(), Error> {
        if self.dead { Err(killed()) } else { Ok(()) }
    }

    fn die(&mut self) -> Error {
        self.dead = true;
        self.cluster.borrow_mut().kill(self.client);
        killed()
    }

    /// Lets the others act before the call has its effect, sometimes for longer than a session lasts.
    fn stall(&mut self) {
        let Some(others) = self.others.upgrade() else { return };
        let stalled = {
            let mut model = self.cluster.borrow_mut();
            let (faults, longest) = (model.faults.clone(), 2 * model.shape.session_timeout_ms);
            model.chaos.stall(&faults, longest)
        };
        match stalled {
            Some(Some(pause_ms)) => {
                self.cluster.borrow_mut().freeze(self.client, true);
                others.act(self.process, Some(pause_ms));
                self.cluster.borrow_mut().freeze(self.client, false);
            }
            Some(None) => others.act(self.process, None),
            None => {}
        }
    }

    /// A call that the contract forbids: reported to the scenario, and fatal.
    fn misuse<T>(&mut self, what: &str) -> Result<T, Error> {
        let line = format!("client {} misuses the port: {what}", self.client);
        let mut model = self.cluster.borrow_mut();
        model.note(|| line.clone());
        model.misuses.push(line.clone());
        Err(Error::Fatal(line))
    }

    /// The topics of one partition number.
    fn topics(&self) -> Vec<Topic> {
        (0..self.cluster.borrow().shape.topics).collect()
    }

    /// Sends the first `count` queued records; the broker refuses those of a stale epoch.
    fn flush(&mut self, count: usize) -> Result<(), Error> {
        let batch: Vec<_> = self.queue.drain(..count.min(self.queue.len())).collect();
        let mut model = self.cluster.borrow_mut();
        for Queued { to, payload, queued_at } in batch {
            model.produce(&self.name, self.producer, to, payload)?;
            if to.0 == TopicName::Changelog {
                let (sent, known) = (queued_at, model.now().plus(model.clock_ms(self.process)));
                let since = |local: Instant| local.since(model.now());
                self.clock_lead = Some(ClockLead { least_ms: since(sent), most_ms: since(known) });
            }
        }
        Ok(())
    }

    fn end(&mut self, commit: bool) -> Result<(), Error> {
        let began = self.cluster.borrow().has_begun(&self.name, self.producer);
        self.has_ended |= began == Ok(true);
        // A client that sent nothing asks nothing of the broker.
        match began {
            Ok(false) if self.local == Local::Idle && self.has_ended => {
                self.cluster.borrow_mut().end_transaction(&self.name, self.producer, commit)
            }
            Ok(false) => Ok(()),
            Ok(true) => self.cluster.borrow_mut().end_transaction(&self.name, self.producer, commit),
            Err(error) => Err(error),
        }
    }

    fn late(&mut self, what: Later) {
        let mut model = self.cluster.borrow_mut();
        let delay = model.draw(0..=LATE_MS_MAX);
        model.later(delay, what);
    }

    /// Carries out a write by its fate; `late` is what arrives later where that is its fate.
    fn write(
        &mut self,
        fate: Fate,
        mut effect: impl FnMut(&mut SimPort) -> Result<(), Error>,
        late: Later,
    ) -> Result<(), Error> {
        let done = match fate {
            Fate::LostDropped => Ok(()),
            Fate::LostDelayed => {
                self.late(late);
                Ok(())
            }
            Fate::Repeated => effect(self).and_then(|()| effect(self)),
            _ => effect(self),
        };
        if done.is_err() {
            self.local = Local::Failed;
        }
        done?;
        match fate {
            Fate::LostApplied | Fate::LostDropped | Fate::LostDelayed => {
                self.local = Local::Failed;
                Err(Error::Transaction("no answer in time".to_owned()))
            }
            fate => self.leave(fate, ()),
        }
    }

    fn failed<T>(&self) -> Result<T, Error> {
        Err(Error::Transaction("the transaction has failed already".to_owned()))
    }

    /// Records of the partitions being read: a few, in the order of their offsets within a partition.
    fn fetch(&mut self, max: usize) -> (Vec<Fetched>, bool) {
        let mut guard = self.cluster.borrow_mut();
        let (mut fetched, mut out_of_range) = (Vec::new(), false);
        let mut places: Vec<_> = self
            .reading
            .iter_mut()
            .flat_map(|(p, at)| at.iter_mut().enumerate().map(|(topic, at)| (*p, topic, at)))
            .collect();
        let rounds = guard.draw(0..=4);
        for _ in 0..rounds {
            if places.is_empty() || fetched.len() >= max {
                break;
            }
            let (chosen, few) = (guard.rng().random_range(0..places.len()), guard.rng().random_range(1..=4));
            let (partition, topic, at) = &mut places[chosen];
            let topic = Topic::try_from(*topic).unwrap_or(Topic::MAX);
            if guard.is_silent((topic, *partition)) {
                continue;
            }
            let log = guard.log(TopicName::Input(topic), *partition);
            if !log.holds(at.offset) || !log.continues(**at) {
                // Said once; from then on the client is silent about it.
                out_of_range |= self.out_of_range.insert((topic, *partition));
                continue;
            }
            let entries = log.read(at, few.min(max - fetched.len()));
            self.read.entry((topic, *partition)).or_default().extend(entries.iter().copied().cloned());
            fetched.extend(entries.into_iter().map(|e| Fetched::new(topic, *partition, e)));
        }
        (fetched, out_of_range)
    }

    /// Whether something of the group comes first. Which of the two comes first is chance.
    fn next_event(&mut self) -> Option<Polled<'static>> {
        let mut model = self.cluster.borrow_mut();
        if model.draw(0..=2) == 0 {
            return None;
        }
        let client = self.client;
        match model.next_event(client)? {
            Event::Assigned(partitions) => Some(Polled::Assigned(partitions.into_iter().collect())),
            Event::Revoked(partitions) => Some(Polled::Revoked(partitions.into_iter().collect())),
            Event::Lost => Some(Polled::Lost(model.group.client(client).held.iter().copied().collect())),
        }
    }

    /// What the background thread knows, and whether it may be without a member.
    fn group_metadata(&self) -> (Option<(u64, i32)>, bool) {
        let mut model = self.cluster.borrow_mut();
        (model.group.client(self.client).metadata, model.shape.is_member_guarded)
    }

    /// A partition is read from somewhere else: nothing handed over before counts.
    fn begin_reading(&mut self, partition: Partition) {
        self.out_of_range.retain(|(_, p)| *p != partition);
        self.read.retain(|(_, p), _| *p != partition);
    }

    /// Offsets on their way, each with the records that it covers.
    fn writes(&self, offsets: &Offsets) -> Vec<OffsetWrite> {
        let write = |(topic, position): (usize, &Position)| {
            let at = (Topic::try_from(topic).unwrap_or(Topic::MAX), offsets.partition);
            let read = self.read.get(&at).into_iter().flatten();
            let read: Rc<[Entry]> = read.filter(|entry| entry.offset < position.offset).cloned().collect();
            OffsetWrite {
                at,
                committed: Committed { position: *position, nonce: offsets.nonce.clone() },
                read,
            }
        };
        offsets.positions.iter().enumerate().map(write).collect()
    }

    fn holds(&self, partition: Partition) -> bool {
        self.cluster.borrow_mut().group.client(self.client).held.contains(&partition)
    }

    fn partition_of(&self, target: Target, key: Option<&[u8]>) -> Partition {
        let partitions = i64::from(self.cluster.borrow().shape.partitions);
        match target {
            Target::Changelog(partition) => partition,
            // Which partition a key goes to matters to nobody here.
            _ => Partition::try_from(i64::from(crc32fast::hash(key.unwrap_or_default())) % partitions)
                .unwrap_or_default(),
        }
    }
}

impl Port for SimPort {
    fn now(&self) -> Instant {
        let model = self.cluster.borrow();
        model.now().plus(model.clock_ms(self.process))
    }

    fn uptime_ms(&self) -> i64 {
        self.cluster.borrow().now().since(BEGINNING)
    }

    fn clock_lead(&self) -> Option<ClockLead> {
        self.clock_lead
    }

    fn hold(&mut self, is_held: bool) -> Result<(), Error> {
        let fate = self.enter("hold", Risk::Local)?;
        self.is_held = is_held;
        self.leave(fate, ())
    }

    fn poll(&mut self, _wait: Duration, max: usize, sink: &mut dyn FnMut(Polled<'_>)) -> Result<(), Error> {
        let fate = self.enter("poll", Risk::Local)?;
        if let Some(event) = self.next_event() {
            sink(event);
            return self.leave(fate, ());
        }
        let (fetched, out_of_range) = if self.is_held { (Vec::new(), false) } else { self.fetch(max) };
        if out_of_range {
            sink(Polled::OutOfRange);
        }
        fetched.iter().for_each(|record| record.hand_over(sink));
        self.leave(fate, ())
    }

    fn accept(&mut self, partitions: &[Partition]) -> Result<(), Error> {
        let fate = self.enter("accept", Risk::Local)?;
        if partitions.iter().any(|p| self.reading.contains_key(p)) {
            return self.misuse("accepts what it is reading");
        }
        self.cluster.borrow_mut().accept(self.client);
        self.leave(fate, ())
    }

    fn release(&mut self, partitions: &[Partition]) -> Result<(), Error> {
        let fate = self.enter("release", Risk::Local)?;
        self.reading.retain(|p, _| !partitions.contains(p));
        self.cluster.borrow_mut().release(self.client, partitions);
        self.leave(fate, ())
    }

    fn take(&mut self, partition: Partition, from: &[Position]) -> Result<(), Error> {
        let fate = self.enter("take", Risk::Local)?;
        if !self.holds(partition) || self.reading.contains_key(&partition) {
            return self.misuse("takes what it was not given, or twice");
        }
        self.begin_reading(partition);
        self.reading.insert(partition, from.to_vec());
        self.leave(fate, ())
    }

    fn rewind(&mut self, partition: Partition, to: &[Position]) -> Result<(), Error> {
        let fate = self.enter("rewind", Risk::Local)?;
        self.begin_reading(partition);
        if self.reading.insert(partition, to.to_vec()).is_none() {
            return self.misuse("rewinds what it is not reading");
        }
        self.leave(fate, ())
    }

    fn positions(&mut self, partition: Partition) -> Result<Vec<Position>, Error> {
        self.alive()?;
        match self.reading.get(&partition).cloned() {
            Some(positions) => Ok(positions),
            None => self.misuse("asks for positions of what it is not reading"),
        }
    }

    fn committed(&mut self, partition: Partition, _wait: Duration) -> Result<Vec<Option<Committed>>, Error> {
        let fate = self.enter("committed", Risk::Read)?;
        let topics = self.topics();
        let found = {
            let model = self.cluster.borrow();
            if model.transactions.hold_offsets(partition) {
                return Err(Error::NotYet("UNSTABLE_OFFSET_COMMIT".to_owned()));
            }
            topics.iter().map(|topic| model.group.offset((*topic, partition))).collect()
        };
        self.leave(fate, found)
    }

    fn bounds(&mut self, partition: Partition) -> Result<Vec<Bounds>, Error> {
        let fate = self.enter("bounds", Risk::Read)?;
        let topics = self.topics();
        let bounds = |topic: &Topic| self.cluster.borrow_mut().bounds((*topic, partition));
        match topics.iter().map(bounds).collect() {
            Some(found) => self.leave(fate, found),
            None => Err(Error::NotYet("a leader is not to be reached".to_owned())),
        }
    }

    fn changelog_open(&mut self, partition: Partition) -> Result<i64, Error> {
        let fate = self.enter("changelog_open", Risk::Read)?;
        let bounds = self.cluster.borrow_mut().log(TopicName::Changelog, partition).bounds();
        self.changelogs.insert(partition, Position { offset: bounds.first, leader_epoch: -1 });
        self.leave(fate, bounds.end)
    }

    fn changelog_read(
        &mut self,
        partition: Partition,
        _wait: Duration,
        sink: KeysAndValues<'_>,
    ) -> Result<i64, Error> {
        let fate = self.enter("changelog_read", Risk::Local)?;
        let Some(mut at) = self.changelogs.get(&partition).copied() else {
            return self.misuse("reads a changelog that it has not opened");
        };
        let entries: Vec<Entry> = {
            let mut model = self.cluster.borrow_mut();
            let few = model.rng().random_range(0..=6);
            model.log(TopicName::Changelog, partition).read(&mut at, few).into_iter().cloned().collect()
        };
        entries.iter().for_each(|e| sink(e.payload.key.as_deref(), e.payload.value.as_deref()));
        self.changelogs.insert(partition, at);
        self.leave(fate, at.offset)
    }

    fn changelog_close(&mut self, partition: Partition) {
        self.changelogs.remove(&partition);
    }

    fn begin(&mut self) -> Result<(), Error> {
        let fate = self.enter("begin", Risk::Local)?;
        match self.local {
            Local::Idle => {}
            Local::Open => return self.misuse("begins inside a transaction"),
            Local::Failed => return self.failed(),
        }
        let (metadata, is_guarded) = self.group_metadata();
        self.metadata = metadata;
        if is_guarded && metadata.is_none() {
            return Err(Error::NotYet("not a member of the group".to_owned()));
        }
        (self.local, self.has_ended) = (Local::Open, false);
        self.sent.clear();
        self.leave(fate, ())
    }

    fn refresh_group(&mut self) {
        // The process may stand still between the event and its answer, and be put out meanwhile.
        self.stall();
        let (metadata, is_guarded) = self.group_metadata();
        if metadata.is_some() || !is_guarded {
            self.metadata = metadata;
        }
    }

    fn send(&mut self, record: Outgoing<'_>) -> Result<(), Error> {
        let fate = self.enter("send", Risk::Local)?;
        match self.local {
            Local::Idle => return self.misuse("sends outside a transaction"),
            Local::Failed => return self.failed(),
            Local::Open => {}
        }
        let partition = self.partition_of(record.target, record.key);
        let (to, queued_at) = ((record.target.into(), partition), self.now());
        self.queue.push(Queued { to, payload: Payload::from(record), queued_at });
        // The client sends in the background, so part of a transaction may be in the logs at any moment.
        let sent = self.cluster.borrow_mut().rng().random_range(0..=self.queue.len());
        if let Err(error) = self.flush(sent) {
            self.local = Local::Failed;
            return Err(error);
        }
        self.leave(fate, ())
    }

    fn send_offsets(&mut self, offsets: &[Offsets]) -> Result<(), Error> {
        let fate = self.enter("send_offsets", Risk::Write)?;
        match self.local {
            Local::Idle => return self.misuse("sends offsets outside a transaction"),
            Local::Failed => return self.failed(),
            Local::Open => {}
        }
        let (name, producer, metadata) = (self.name.clone(), self.producer, self.metadata);
        let offsets: Vec<OffsetWrite> = offsets.iter().flat_map(|o| self.writes(o)).collect();
        self.sent.clone_from(&offsets);
        let late = Later::Offsets { name, producer, metadata, offsets: offsets.clone() };
        let effect = |port: &mut SimPort| {
            port.cluster.borrow_mut().add_offsets(&port.name, producer, metadata, &offsets)
        };
        self.write(fate, effect, late)
    }

    fn commit(&mut self) -> Result<(), Error> {
        let fate = self.enter("commit", Risk::Write)?;
        match self.local {
            Local::Idle => return self.misuse("commits outside a transaction"),
            Local::Failed => return self.failed(),
            Local::Open => {}
        }
        if let Err(error) = self.flush(usize::MAX) {
            self.local = Local::Failed;
            return Err(error);
        }
        let late = Later::EndTransaction { name: self.name.clone(), producer: self.producer, commit: true };
        let ended = |port: &mut SimPort| {
            port.end(true)?;
            port.local = Local::Idle;
            for write in std::mem::take(&mut port.sent) {
                let read = port.read.entry(write.at).or_default();
                read.retain(|entry| entry.offset >= write.committed.position.offset);
            }
            Ok(())
        };
        self.write(fate, ended, late)
    }

    fn abort(&mut self) -> Result<(), Error> {
        let fate = self.enter("abort", Risk::Write)?;
        if self.local == Local::Idle {
            return self.misuse("aborts outside a transaction");
        }
        self.queue.clear();
        let late = Later::EndTransaction { name: self.name.clone(), producer: self.producer, commit: false };
        let ended = |port: &mut SimPort| {
            port.end(false)?;
            port.local = Local::Idle;
            Ok(())
        };
        self.write(fate, ended, late)
    }

    fn reinit(&mut self) -> Result<(), Error> {
        let fate = self.enter("reinit", Risk::Read)?;
        self.queue.clear();
        self.producer = self.cluster.borrow_mut().init_producer(&self.name);
        self.local = Local::Idle;
        self.leave(fate, ())
    }

    fn probe(&mut self, ticket: u64, partitions: &[Partition]) {
        let (asked_at, client) = (self.now(), self.client);
        // The process may stand still between its clock and its question.
        self.stall();
        let topics = self.topics();
        for (partition, topic) in partitions.iter().flat_map(|p| topics.iter().map(move |t| (*p, *t))) {
            let answer = Answer { ticket, asked_at, partition, topic, end: Err(String::new()) };
            let mut model = self.cluster.borrow_mut();
            let delay = model.draw(0..=400) * model.draw(0..=1);
            model.later(delay, Later::Sample { client, answer });
        }
    }

    fn answers(&mut self, sink: &mut dyn FnMut(Answer)) {
        let answers = self.cluster.borrow_mut().answers.remove(&self.client);
        answers.into_iter().flatten().for_each(sink);
    }
}

impl Drop for SimPort {
    fn drop(&mut self) {
        if let Ok(mut model) = self.cluster.try_borrow_mut() {
            model.leave(self.client);
        }
    }
}

/// The error of a call that a killed process never sees the answer of.
pub fn killed() -> Error {
    Error::Fatal("killed".to_owned())
}

/// A record that the client has not sent yet.
struct Queued {
    to: (TopicName, Partition),
    payload: Payload,
    /// By the process's own clock.
    queued_at: Instant,
}

/// A record on its way from the log to a sink.
struct Fetched {
    topic: Topic,
    partition: Partition,
    entry: Entry,
}

impl Fetched {
    fn new(topic: Topic, partition: Partition, entry: &Entry) -> Fetched {
        Fetched { topic, partition, entry: entry.clone() }
    }

    fn hand_over(&self, sink: &mut dyn FnMut(Polled<'_>)) {
        let (entry, payload) = (&self.entry, &self.entry.payload);
        let headers: Vec<_> = payload.headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
        sink(Polled::Record(Record {
            topic: self.topic,
            partition: self.partition,
            offset: entry.offset,
            timestamp: Some(entry.timestamp),
            key: payload.key.as_deref(),
            value: payload.value.as_deref(),
            headers: &headers,
        }));
    }
}

impl From<Outgoing<'_>> for Payload {
    fn from(record: Outgoing<'_>) -> Payload {
        let headers: Headers =
            record.headers.iter().map(|(k, v)| ((*k).to_owned(), v.map(<[u8]>::to_vec))).collect();
        Payload { key: record.key.map(<[u8]>::to_vec), value: record.value.map(<[u8]>::to_vec), headers }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::{Rc, Weak};
    use std::time::Duration;

    use super::{Others, SimPort};
    use crate::runtime::port::{Answer, Error, Offsets, Outgoing, Polled, Port, Position, Target};
    use crate::sim::cluster::{Cluster, Shape, Shared, TopicName};
    use crate::sim::log::Payload;

    struct Nobody;

    impl Others for Nobody {
        fn act(&self, _: usize, _: Option<i64>) {}
    }

    fn cluster() -> Shared {
        Rc::new(RefCell::new(Cluster::new(1, Shape { partitions: 1, ..Shape::default() })))
    }

    fn port(cluster: &Shared, name: &str) -> SimPort {
        let nobody: Weak<dyn Others> = Weak::<Nobody>::new();
        SimPort::new(cluster, nobody, 0, name.to_owned())
    }

    /// Polls until the group gives the partition.
    fn joined(cluster: &Shared, port: &mut SimPort) {
        let mut given = false;
        while !given {
            cluster.borrow_mut().advance(10);
            let mut answer = None;
            let polled = port.poll(Duration::ZERO, 1, &mut |p| answer = assigned(&p));
            assert_eq!(polled, Ok(()));
            if let Some(partitions) = answer {
                assert_eq!(port.accept(&partitions), Ok(()));
                given = !partitions.is_empty();
            }
        }
    }

    fn assigned(polled: &Polled<'_>) -> Option<Vec<i32>> {
        if let Polled::Assigned(partitions) = polled { Some(partitions.clone()) } else { None }
    }

    fn record() -> Outgoing<'static> {
        Outgoing { target: Target::Breaches, key: Some(b"k"), value: None, headers: &[] }
    }

    fn offsets() -> [Offsets; 1] {
        let positions = vec![Position { offset: 0, leader_epoch: -1 }];
        [Offsets { partition: 0, positions, nonce: "n".to_owned() }]
    }

    #[test]
    fn a_transaction_that_timed_out_finds_itself_fenced() {
        let cluster = cluster();
        let mut port = port(&cluster, "a");
        joined(&cluster, &mut port);
        assert_eq!(port.begin(), Ok(()));
        assert_eq!(port.send_offsets(&offsets()), Ok(()));
        cluster.borrow_mut().advance(20_000);
        assert!(matches!(port.commit(), Err(Error::Fenced(_))));
        assert_eq!(port.reinit(), Ok(()));
        assert_eq!(port.begin(), Ok(()));
    }

    #[test]
    fn committed_waits_for_a_predecessor_and_initialising_its_name_frees_it() {
        let cluster = cluster();
        let mut first = port(&cluster, "a");
        joined(&cluster, &mut first);
        assert_eq!(first.begin(), Ok(()));
        assert_eq!(first.send_offsets(&offsets()), Ok(()));
        let mut second = port(&cluster, "b");
        assert!(matches!(second.committed(0, Duration::ZERO), Err(Error::NotYet(_))));
        let _restarted = port(&cluster, "a");
        assert_eq!(second.committed(0, Duration::ZERO), Ok(vec![None]));
        assert!(matches!(first.commit(), Err(Error::Fenced(_))));
    }

    #[test]
    fn a_commit_outlives_a_rebalance_only_under_metadata_read_anew() {
        for fresh in [true, false] {
            let cluster = cluster();
            let (mut first, mut second) = (port(&cluster, "a"), port(&cluster, "b"));
            joined(&cluster, &mut first);
            assert_eq!(first.begin(), Ok(()));
            assert_eq!(first.send(record()), Ok(()));
            while first.metadata == cluster.borrow_mut().group.client(first.client()).metadata {
                assert_eq!(second.poll(Duration::ZERO, 1, &mut |_| {}), Ok(()));
                cluster.borrow_mut().advance(10);
            }
            if fresh {
                first.refresh_group();
            }
            assert_eq!(first.send_offsets(&offsets()).is_ok(), fresh);
        }
    }

    #[test]
    fn an_expired_member_has_no_generation_to_begin_under() {
        let cluster = cluster();
        let mut port = port(&cluster, "a");
        joined(&cluster, &mut port);
        cluster.borrow_mut().freeze(port.client(), true);
        cluster.borrow_mut().advance(60_000);
        cluster.borrow_mut().freeze(port.client(), false);
        cluster.borrow_mut().advance(10);
        assert!(matches!(port.begin(), Err(Error::NotYet(_))));
    }

    #[test]
    fn a_probe_covers_all_that_was_in_the_log_when_its_clock_was_read() {
        let cluster = cluster();
        let mut port = port(&cluster, "a");
        for ticket in 0..200 {
            let before = cluster.borrow_mut().log(TopicName::Input(0), 0).bounds().end;
            let asked = port.now();
            port.probe(ticket, &[0]);
            cluster.borrow_mut().advance(100);
            let now = cluster.borrow().now();
            cluster.borrow_mut().log_mut(TopicName::Input(0), 0).append(
                Payload::default(),
                now,
                Some(ticket),
            );
            cluster.borrow_mut().advance(12_000);
            let mut answers: Vec<Answer> = Vec::new();
            port.answers(&mut |answer| answers.push(answer));
            let ends: Vec<_> =
                answers.iter().filter_map(|a| a.end.as_ref().ok()).map(|end| end.offset).collect();
            assert!(matches!(ends[..], [end] if end == before || end == before + 1), "{ends:?}");
            assert_eq!((answers[0].ticket, answers[0].asked_at), (ticket, asked));
        }
    }
}
