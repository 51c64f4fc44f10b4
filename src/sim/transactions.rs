//! The transaction coordinator.
//!
//! It knows a producer by id and epoch and nothing finer, as Kafka does before KIP-890 part 2 and as
//! librdkafka speaks to it: an EndTxn that comes late ends whatever transaction of that epoch runs then.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::cluster::{Cluster, Later, TopicName};
use super::log::{Entry, Payload};
use crate::runtime::port::{Committed, Error, Partition, Topic};

/// A producer as brokers know it. The epoch is bumped by each initialisation and by a time-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Given to the transactional id once and for all.
    pub id: u64,
    /// Requests of an older one are refused.
    pub epoch: i16,
}

/// Where a transaction stands. A prepared one can't change its mind, but its markers are still to be
/// written: its records hold the last stable offset and its offsets are pending until they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty { committed: Option<bool> },
    Ongoing,
    Prepared { commit: bool },
}

/// An offset of one partition of one topic on its way into the group.
#[derive(Debug, Clone)]
pub struct OffsetWrite {
    /// Which.
    pub at: (Topic, Partition),
    /// The offset and its nonce.
    pub committed: Committed,
    /// The records that it says are applied: what the process was handed since it took or rewound the
    /// partition. No broker knows these; they are for the judge.
    pub read: Rc<[Entry]>,
}

#[derive(Debug)]
struct Transactional {
    producer: Producer,
    state: State,
    started_ms: i64,
    logs: BTreeSet<(TopicName, Partition)>,
    offsets: Vec<(u64, OffsetWrite)>,
}

/// All transactional ids there are.
#[derive(Debug, Default)]
pub struct Transactions {
    by_name: BTreeMap<String, Transactional>,
    next_id: u64,
    next_write: u64,
}

impl Transactions {
    /// Whether an unfinished transaction holds offsets of this partition: UNSTABLE_OFFSET_COMMIT to
    /// whoever fetches them with require_stable.
    pub fn hold_offsets(&self, partition: Partition) -> bool {
        let held = |t: &Transactional| t.offsets.iter().any(|(_, write)| write.at.1 == partition);
        self.by_name.values().any(held)
    }

    /// Names of the transactions that have not ended.
    pub fn unfinished(&self) -> Vec<String> {
        let open = self.by_name.iter().filter(|(_, t)| !t.state.is_empty());
        open.map(|(name, _)| name.clone()).collect()
    }
}

impl Cluster {
    /// InitProducerId: aborts what is open, completes what is prepared, then bumps the epoch. The client
    /// repeats CONCURRENT_TRANSACTIONS until it has ended.
    pub fn init_producer(&mut self, name: &str) -> Producer {
        self.abort_ongoing(name);
        self.write_markers(name);
        let transactions = &mut self.transactions;
        if !transactions.by_name.contains_key(name) {
            transactions.next_id += 1;
            let producer = Producer { id: transactions.next_id, epoch: -1 };
            transactions.by_name.insert(name.to_owned(), Transactional::new(producer));
        }
        let own = self.transactional(name);
        own.producer.epoch += 1;
        let producer = own.producer;
        self.note(|| format!("{name} is initialised, epoch {}", producer.epoch));
        producer
    }

    /// AddPartitionsToTxn and Produce.
    pub fn produce(
        &mut self,
        name: &str,
        producer: Producer,
        to: (TopicName, Partition),
        payload: Payload,
    ) -> Result<(), Error> {
        self.join_transaction(name, producer)?;
        self.transactional(name).logs.insert(to);
        let now = self.now();
        self.log_mut(to.0, to.1).append(payload, now, Some(producer.id));
        Ok(())
    }

    /// AddOffsetsToTxn and TxnOffsetCommit. The coordinator of classic groups checks the member id and the
    /// generation and not who owns the partition; metadata without a member is not checked at all,
    /// because old clients send none.
    pub fn add_offsets(
        &mut self,
        name: &str,
        producer: Producer,
        metadata: Option<(u64, i32)>,
        offsets: &[OffsetWrite],
    ) -> Result<(), Error> {
        self.join_transaction(name, producer)?;
        if metadata.is_some_and(|(member, generation)| !self.group.is_current(member, generation)) {
            self.note(|| format!("{name}: ILLEGAL_GENERATION for {metadata:?}"));
            return Err(Error::Transaction("ILLEGAL_GENERATION".to_owned()));
        }
        for write in offsets {
            self.transactions.next_write += 1;
            let order = self.transactions.next_write;
            let pending = &mut self.transactional(name).offsets;
            pending.retain(|(_, earlier)| earlier.at != write.at);
            pending.push((order, write.clone()));
        }
        Ok(())
    }

    /// A TxnOffsetCommit that was under way for too long: the group coordinator asks whether a transaction
    /// of this epoch runs, not whether it is the same one (KIP-890 part 1).
    pub fn add_late_offsets(
        &mut self,
        name: &str,
        producer: Producer,
        metadata: Option<(u64, i32)>,
        offsets: &[OffsetWrite],
    ) -> Result<(), Error> {
        self.check_epoch(name, producer)?;
        match self.transactional(name).state {
            State::Ongoing => self.add_offsets(name, producer, metadata, offsets),
            State::Empty { .. } | State::Prepared { .. } => {
                Err(Error::Transaction("INVALID_TXN_STATE".to_owned()))
            }
        }
    }

    /// EndTxn. Answered when the decision is durable; the markers may be written later.
    pub fn end_transaction(&mut self, name: &str, producer: Producer, commit: bool) -> Result<(), Error> {
        self.check_epoch(name, producer)?;
        let own = self.transactional(name);
        match own.state {
            State::Ongoing => own.state = State::Prepared { commit },
            // A repeated EndTxn of the same kind is answered as the first was.
            State::Prepared { commit: decided } if decided == commit => return Ok(()),
            State::Empty { committed: Some(decided) } if decided == commit => return Ok(()),
            State::Empty { .. } | State::Prepared { .. } => {
                return Err(Error::Transaction("INVALID_TXN_STATE".to_owned()));
            }
        }
        self.note(|| format!("{name} {}", if commit { "commits" } else { "aborts" }));
        let delay = self.draw(0..=30) * self.draw(0..=1);
        self.later(delay, Later::Markers { name: name.to_owned() });
        Ok(())
    }

    /// Whether a producer has a transaction at the coordinator, which its client knows.
    pub fn has_begun(&self, name: &str, producer: Producer) -> Result<bool, Error> {
        let found = self.transactions.by_name.get(name).filter(|t| t.producer == producer);
        let found = found.ok_or_else(|| Error::Fenced(format!("`{name}` has another producer")))?;
        Ok(found.state == State::Ongoing)
    }

    /// Aborts the transactions that are open for too long and bumps their epochs: the producer finds
    /// itself fenced.
    pub fn time_out_transactions(&mut self) {
        let oldest = self.now().millis() - self.shape.transaction_timeout_ms;
        let late = |t: &Transactional| t.state == State::Ongoing && t.started_ms < oldest;
        let late = self.transactions.by_name.iter().filter(|(_, t)| late(t));
        for name in late.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.note(|| format!("the transaction of {name} times out"));
            self.transactional(&name).producer.epoch += 1;
            self.abort_ongoing(&name);
            self.write_markers(&name);
        }
    }

    /// Writes the markers of a prepared transaction and moves its offsets into the group.
    pub fn write_markers(&mut self, name: &str) {
        let now = self.now();
        let Some(own) = self.transactions.by_name.get_mut(name) else { return };
        let State::Prepared { commit } = own.state else { return };
        own.state = State::Empty { committed: Some(commit) };
        let (id, logs, offsets) =
            (own.producer.id, std::mem::take(&mut own.logs), std::mem::take(&mut own.offsets));
        for (topic, partition) in logs {
            self.log_mut(topic, partition).end_transaction(id, commit, now);
        }
        if commit {
            offsets.into_iter().for_each(|(order, write)| self.group.store_offset(order, write));
        }
    }

    /// Begins a transaction where none runs. The client repeats CONCURRENT_TRANSACTIONS until the one
    /// before has its markers.
    fn join_transaction(&mut self, name: &str, producer: Producer) -> Result<(), Error> {
        self.check_epoch(name, producer)?;
        self.write_markers(name);
        let started_ms = self.now().millis();
        let own = self.transactional(name);
        if own.state.is_empty() {
            (own.state, own.started_ms) = (State::Ongoing, started_ms);
        }
        Ok(())
    }

    /// INVALID_PRODUCER_EPOCH and PRODUCER_FENCED are both `_FENCED` in librdkafka.
    fn check_epoch(&mut self, name: &str, producer: Producer) -> Result<(), Error> {
        match self.transactional(name).producer == producer {
            true => Ok(()),
            false => Err(Error::Fenced(format!("`{name}` has another producer"))),
        }
    }

    fn abort_ongoing(&mut self, name: &str) {
        let Some(own) = self.transactions.by_name.get_mut(name) else { return };
        if own.state == State::Ongoing {
            own.state = State::Prepared { commit: false };
            self.note(|| format!("what {name} left open is aborted"));
        }
    }

    fn transactional(&mut self, name: &str) -> &mut Transactional {
        let found = self.transactions.by_name.get_mut(name);
        found.expect("a transactional id is used after its initialisation")
    }
}

impl State {
    fn is_empty(self) -> bool {
        matches!(self, State::Empty { .. })
    }
}

impl Transactional {
    fn new(producer: Producer) -> Transactional {
        let (logs, offsets) = (BTreeSet::new(), Vec::new());
        Transactional { producer, state: State::Empty { committed: None }, started_ms: 0, logs, offsets }
    }
}
