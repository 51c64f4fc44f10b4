//! What a worker asks of Kafka, and nothing more: the seam between the runtime and the broker.
//!
//! [`crate::kafka`] carries it out with a real client, the simulator (`sim`) with a model broker that loses
//! answers, delays them and deposes leaders. Every call belongs to one worker thread and none is called
//! from inside another. Offsets always mean the next record to read.

use std::sync::Arc;
use std::time::Duration;

use crate::sla::instant::Instant;
use crate::wire::changelog::Unreadable;
pub use crate::wire::record::{Partition, Position, Record, Topic};

/// Takes the key and the value of one record after another.
pub type KeysAndValues<'a> = &'a mut dyn FnMut(Option<&[u8]>, Option<&[u8]>);

/// What one worker asks of Kafka.
pub trait Port {
    // Clocks.

    /// The local wall clock, which may be set.
    fn now(&self) -> Instant;

    /// Milliseconds on a clock that nobody sets and that goes on while the machine sleeps.
    fn uptime_ms(&self) -> i64;

    /// By how much the local wall clock leads the brokers', as the append times of this worker's own changelog
    /// records show. `None` before the first and where
    /// the changelog topic does not keep append times. Rule H4.
    fn clock_lead(&self) -> Option<ClockLead>;

    // The consumer group.

    /// Waits at most `wait` for something to happen and hands over what has come, at most `max` records.
    /// Records of a partition come in the order of their offsets, only of partitions taken, and none
    /// that `take`, `rewind` or `release` has made stale.
    fn poll(&mut self, wait: Duration, max: usize, sink: &mut dyn FnMut(Polled<'_>)) -> Result<(), Error>;

    /// Answers [`Polled::Assigned`]. The partitions are this worker's from then on; records come after `take`.
    fn accept(&mut self, partitions: &[Partition]) -> Result<(), Error>;

    /// Answers [`Polled::Revoked`] and [`Polled::Lost`]: gives the partitions up, taken or not.
    fn release(&mut self, partitions: &[Partition]) -> Result<(), Error>;

    /// Begins to read a partition of every input topic, at these positions, one for each topic in order.
    fn take(&mut self, partition: Partition, from: &[Position]) -> Result<(), Error>;

    /// Stops handing over records, or goes on; events of the group come all the same.
    fn hold(&mut self, is_held: bool) -> Result<(), Error>;

    /// Moves a partition that is being read to these positions.
    fn rewind(&mut self, partition: Partition, to: &[Position]) -> Result<(), Error>;

    /// How far a taken partition has been handed over: for each input topic the offset below which every
    /// record has been given to a sink or is a control or aborted one, which never is. Where nothing came
    /// yet, what `take` or `rewind` said.
    fn positions(&mut self, partition: Partition) -> Result<Vec<Position>, Error>;

    // What is known of a partition before it is taken.

    /// The group's committed positions of a partition, one for each input topic. Waits at most `wait` for
    /// a predecessor's open transaction to end. [`Error::NotYet`] while one is open or nobody answers.
    fn committed(&mut self, partition: Partition, wait: Duration) -> Result<Vec<Option<Committed>>, Error>;

    /// First and end offset of each input topic's partition, as its leader has them.
    fn bounds(&mut self, partition: Partition) -> Result<Vec<Bounds>, Error>;

    /// The changelog's end (high watermark, read_uncommitted), and begins to read it from its start,
    /// read_committed, independently of the group.
    fn changelog_open(&mut self, partition: Partition) -> Result<i64, Error>;

    /// Hands over changelog records in order, waiting at most `wait`, and returns the read_committed position,
    /// which passes control and aborted records. Restored is what has reached the end that `changelog_open` gave.
    fn changelog_read(
        &mut self,
        partition: Partition,
        wait: Duration,
        sink: KeysAndValues<'_>,
    ) -> Result<i64, Error>;

    /// Ends what `changelog_open` began.
    fn changelog_close(&mut self, partition: Partition);

    // The transaction.

    /// Begins a transaction and remembers the group's metadata of this moment for its offsets.
    fn begin(&mut self) -> Result<(), Error>;

    /// Reads the group's metadata anew: only between a rebalance event and its answer.
    fn refresh_group(&mut self);

    /// Adds a record to the transaction.
    fn send(&mut self, record: Outgoing<'_>) -> Result<(), Error>;

    /// Adds offsets to the transaction, fenced by the group's metadata that `begin` or `refresh_group` took.
    /// After any error of this, `commit` or `abort` the outcome is unknown until `reinit` and `committed`.
    fn send_offsets(&mut self, offsets: &[Offsets]) -> Result<(), Error>;

    /// Commits; returns once the broker has answered.
    fn commit(&mut self) -> Result<(), Error>;

    /// Aborts; returns once the broker has answered.
    fn abort(&mut self) -> Result<(), Error>;

    /// Drops the producer and starts another of the same name: what it left open has ended when this returns.
    fn reinit(&mut self) -> Result<(), Error>;

    // Probes, rule H2.

    /// Asks the leaders of every input topic for the log ends of these partitions, read_uncommitted, without
    /// waiting. The clock is read before the question is sent.
    fn probe(&mut self, ticket: u64, partitions: &[Partition]);

    /// Hands over the answers that have come, errors too: one for each topic of each partition asked for.
    fn answers(&mut self, sink: &mut dyn FnMut(Answer));
}

/// By how many milliseconds a clock leads another; negative where it lags behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockLead {
    /// At least so many: a record is appended after it was sent.
    pub least_ms: i64,
    /// At most so many: it was appended before that was known.
    pub most_ms: i64,
}

/// What a poll finds.
#[derive(Debug)]
pub enum Polled<'a> {
    /// A record of an input topic.
    Record(Record<'a>),
    /// The group gave these partitions; answer with `accept`. Often empty: others moved.
    Assigned(Vec<Partition>),
    /// The group wants these back; finish with them and answer with `release`.
    Revoked(Vec<Partition>),
    /// These are somebody else's already; nothing of them can be committed. Answer with `release`.
    Lost(Vec<Partition>),
    /// A position is outside its log; which is not said: compare `positions` with `bounds`.
    OutOfRange,
}

/// A position as the group has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Where to read on.
    pub position: Position,
    /// The nonce of the transaction that committed it.
    pub nonce: String,
}

/// First offset still in a log, and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset still there.
    pub first: i64,
    /// The next offset to be written.
    pub end: i64,
    /// The topic's id, where the cluster gives one: another under the same name is another log.
    pub topic_id: Option<Arc<str>>,
}

/// Where a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// The breach topic.
    Breaches,
    /// The topic of warnings.
    Warnings,
    /// The topic of met and cancelled clocks.
    Outcomes,
    /// The dead-letter topic.
    DeadLetter,
    /// This partition of the changelog.
    Changelog(Partition),
}

/// A record to be written.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Where it goes. All but the changelog are partitioned by key, as Java's default partitioner does.
    pub target: Target,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Header names and values.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Offsets of one partition number to be committed with a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offsets {
    /// The partition.
    pub partition: Partition,
    /// One for each input topic, also where it has not moved: a transaction without offsets is not fenced.
    pub positions: Vec<Position>,
    /// Stored with each offset.
    pub nonce: String,
}

/// What a leader said of its log's end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What `probe` was given.
    pub ticket: u64,
    /// The local wall clock before the question was sent.
    pub asked_at: Instant,
    /// The partition asked about.
    pub partition: Partition,
    /// The input topic asked about.
    pub topic: Topic,
    /// The log end, or why there is none.
    pub end: Result<LogEnd, String>,
}

/// The end of a log as its leader has it, and what others said after that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEnd {
    /// The next offset to be written, whatever is committed.
    pub offset: i64,
    /// The leader epoch of the answer, or -1 where it is not known.
    pub leader_epoch: i32,
    /// Whether it was the leader that answered: a deposed one does not know that it is. Rule H2.
    pub second_opinion: SecondOpinion,
    /// The topic's id, where the cluster gives one: another under the same name is another log.
    pub topic_id: Option<Arc<str>>,
    /// How many partitions the topic has, where somebody said.
    pub partitions: Option<i32>,
}

/// What another broker said of who leads, asked after the leader had answered. Rule H2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondOpinion {
    /// The cluster has one broker, which nobody can depose.
    OnlyBroker,
    /// Another broker names the same leader.
    Same,
    /// Another broker names another leader, or none.
    Other,
    /// No other broker answered.
    None,
}

impl From<Unreadable> for Error {
    fn from(error: Unreadable) -> Error {
        Error::Fatal(error.to_string())
    }
}

/// Why something asked of Kafka did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing is wrong that waiting would not mend; ask again.
    #[error("{0}")]
    NotYet(String),
    /// The transaction has failed, or its outcome is unknown: `reinit`, then read `committed`.
    #[error("{0}")]
    Transaction(String),
    /// Another producer has this worker's transactional id.
    #[error("{0}")]
    Fenced(String),
    /// The service is not set up for what it finds; nothing but its configuration can mend it.
    #[error("{0}")]
    Refused(String),
    /// The worker cannot go on.
    #[error("{0}")]
    Fatal(String),
}
