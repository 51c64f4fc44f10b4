//! Reading topics from offset to offset, outside the group: for those who look at what a service did.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::client::{Configs, Context, serve};
use super::lookup::Lookup;
use super::trouble::Trouble;
use super::{KafkaSettings, error, ffi};
use crate::runtime::port::{Error, Partition, Record, Topic};
use crate::sla::instant::Instant as Clock;

/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long reading may bring nothing before it is given up.
const STANDSTILL: Duration = Duration::from_secs(60);

/// How long one look for records may take.
const POLL: Duration = Duration::from_millis(100);

/// Positions are compared with the end no more often than after so many records.
const RECORDS_A_LOOK: u32 = 1000;

/// Reads committed records of some topics.
pub struct Reader {
    brokers: String,
    topics: Vec<String>,
    records: BaseConsumer<Context>,
    ends: BaseConsumer<Context>,
    trouble: Arc<Trouble>,
}

/// How far one partition's log reaches.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Extent {
    /// The topic's place in the reader's list.
    #[serde(skip)]
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// The first offset still there.
    pub first: i64,
    /// The last stable offset: an open transaction begins there, or the log ends.
    pub stable: i64,
    /// The next offset to be written.
    pub end: i64,
}

/// A piece of one partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The topic's place in the reader's list.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// The first offset to read.
    pub from: i64,
    /// The offset to stop before.
    pub to: i64,
}

impl Reader {
    /// A reader of these topics; nothing is asked of the brokers yet.
    pub fn new(settings: &KafkaSettings, topics: Vec<String>) -> Result<Reader, Error> {
        let trouble = Trouble::of_start(settings);
        let configs = Configs::of(settings);
        let create = |config: rdkafka::ClientConfig, role| {
            let client = config.create_with_context(Context::new(role, &trouble));
            client.map_err(|e| error::of_creation("creating a client that reads topics", &e))
        };
        Ok(Reader {
            brokers: settings.brokers.clone(),
            topics,
            records: create(configs.changelog(), "reader")?,
            ends: create(configs.lookup(), "ends")?,
            trouble,
        })
    }

    /// The name of a topic.
    pub fn name(&self, topic: Topic) -> &str {
        self.topics.get(usize::from(topic)).map_or("", String::as_str)
    }

    /// How many partitions each topic has; one that does not exist is refused.
    pub fn partition_counts(&self, settings: &KafkaSettings) -> Result<Vec<Partition>, Error> {
        let lookup = Lookup::new(settings, &self.trouble)?;
        let count = |topic: &String| {
            let found = lookup.partition_count(topic, ANSWER_TIMEOUT);
            lookup.serve();
            let found = found.map_err(|e| self.failed(&format!("asking for topic `{topic}`"), &e))?;
            found.ok_or_else(|| {
                Error::Refused(format!("topic `{topic}` does not exist on `{}`", self.brokers))
            })
        };
        self.topics.iter().map(count).collect()
    }

    /// How far the logs of these partitions reach, each with the later bound asked for first.
    pub fn extents(&self, places: &[(Topic, Partition)]) -> Result<Vec<Extent>, Error> {
        let stable = self.offsets(&self.records, places, Offset::End)?;
        let end = self.offsets(&self.ends, places, Offset::End)?;
        let first = self.offsets(&self.ends, places, Offset::Beginning)?;
        let extent = |(index, (topic, partition)): (usize, &(Topic, Partition))| Extent {
            topic: *topic,
            partition: *partition,
            first: first[index],
            stable: stable[index],
            end: end[index],
        };
        Ok(places.iter().enumerate().map(extent).collect())
    }

    /// Where the group reads on; `None` where it has committed nothing. [`Error::NotYet`] while a transaction
    /// that moves an offset is open.
    pub fn committed(&self, places: &[(Topic, Partition)]) -> Result<Vec<Option<i64>>, Error> {
        let what = "asking for the group's committed offsets";
        let mut list = TopicPartitionList::new();
        for (topic, partition) in places {
            list.add_partition(self.name(*topic), *partition);
        }
        let found = self.records.committed_offsets(list, ANSWER_TIMEOUT);
        let found = found.map_err(|e| self.failed(what, &e))?;
        ffi::entries(&found)
            .map(|entry| match entry.error {
                Some(code) => Err(self.failed(what, &KafkaError::OffsetFetch(code))),
                None => Ok((entry.offset >= 0).then_some(entry.offset)),
            })
            .collect()
    }

    /// Hands over every committed record of these pieces, those of a partition in order.
    pub fn read(&self, pieces: &[Piece], sink: &mut dyn FnMut(&Record<'_>)) -> Result<(), Error> {
        let mut open: Vec<Piece> = pieces.iter().copied().filter(|piece| piece.from < piece.to).collect();
        if open.is_empty() {
            return Ok(());
        }
        self.records.assign(&self.list(&open)?).map_err(|e| self.failed("beginning to read", &e))?;
        let done = self.read_assigned(&mut open, sink);
        let ended = self.records.unassign().map_err(|e| self.failed("ending to read", &e));
        done.and(ended)
    }

    fn read_assigned(&self, open: &mut Vec<Piece>, sink: &mut dyn FnMut(&Record<'_>)) -> Result<(), Error> {
        let (mut moved_at, mut count, mut was) = (Instant::now(), 0, self.positions(open));
        while !open.is_empty() {
            match self.records.poll(POLL) {
                Some(Ok(message)) => {
                    count += 1;
                    self.hand(open, &message, sink);
                    if count % RECORDS_A_LOOK != 0 && !self.is_at_an_end(open, &message) {
                        continue;
                    }
                }
                Some(Err(e)) if e.rdkafka_error_code().is_some_and(error::is_outage) => {}
                Some(Err(e)) => return Err(self.failed(&self.named(open), &e)),
                None => {}
            }
            let is = self.positions(open);
            if is != was {
                moved_at = Instant::now();
            } else if moved_at.elapsed() > STANDSTILL {
                return Err(self.stood_still(open));
            }
            self.close(open, &is)?;
            was = is;
        }
        Ok(())
    }

    /// Hands a record over that lies in one of the pieces.
    fn hand(&self, open: &[Piece], message: &BorrowedMessage<'_>, sink: &mut dyn FnMut(&Record<'_>)) {
        let offset = message.offset();
        if let Some(piece) = self.piece_of(open, message).filter(|p| p.from <= offset && offset < p.to) {
            sink(&Record {
                topic: piece.topic,
                partition: piece.partition,
                offset,
                timestamp: message.timestamp().to_millis().map(Clock::from_millis),
                key: message.key(),
                value: message.payload(),
                headers: &ffi::headers(message),
            });
        }
    }

    fn is_at_an_end(&self, open: &[Piece], message: &BorrowedMessage<'_>) -> bool {
        self.piece_of(open, message).is_some_and(|piece| piece.to <= message.offset() + 1)
    }

    fn piece_of<'a>(&self, open: &'a [Piece], message: &BorrowedMessage<'_>) -> Option<&'a Piece> {
        let is_it = |p: &&Piece| p.partition == message.partition() && self.name(p.topic) == message.topic();
        open.iter().find(is_it)
    }

    /// Stops reading those pieces that were read to their end.
    fn close(&self, open: &mut Vec<Piece>, positions: &[i64]) -> Result<(), Error> {
        let is_read = |(piece, position): (&Piece, &i64)| piece.to <= *position;
        let read: Vec<bool> = open.iter().zip(positions).map(is_read).collect();
        let mut flags = read.iter();
        let closed: Vec<Piece> = open.extract_if(.., |_| flags.next().is_some_and(|read| *read)).collect();
        if closed.is_empty() {
            return Ok(());
        }
        self.records.pause(&self.list(&closed)?).map_err(|e| self.failed(&self.named(&closed), &e))
    }

    /// The next offset of each piece, which passes control and aborted records.
    fn positions(&self, pieces: &[Piece]) -> Vec<i64> {
        let mut list = TopicPartitionList::new();
        for piece in pieces {
            list.add_partition(self.name(piece.topic), piece.partition);
        }
        ffi::position(self.records.client(), &list);
        ffi::entries(&list).map(|entry| entry.offset).collect()
    }

    fn list(&self, pieces: &[Piece]) -> Result<TopicPartitionList, Error> {
        let mut list = TopicPartitionList::new();
        for piece in pieces {
            list.add_partition_offset(self.name(piece.topic), piece.partition, Offset::Offset(piece.from))
                .map_err(|e| self.failed("naming what is read", &e))?;
        }
        Ok(list)
    }

    fn offsets(
        &self,
        client: &BaseConsumer<Context>,
        places: &[(Topic, Partition)],
        at: Offset,
    ) -> Result<Vec<i64>, Error> {
        let what = "asking for the ends of the logs";
        let mut list = TopicPartitionList::new();
        for (topic, partition) in places {
            let added = list.add_partition_offset(self.name(*topic), *partition, at);
            added.map_err(|e| self.failed(what, &e))?;
        }
        let found = client.offsets_for_times(list, ANSWER_TIMEOUT);
        let found = found.map_err(|e| self.failed(what, &e))?;
        ffi::entries(&found)
            .map(|entry| match entry.error {
                Some(code) => Err(self.failed(what, &KafkaError::OffsetFetch(code))),
                None if entry.offset < 0 => Err(self.failed(what, &KafkaError::OffsetFetch(Code::NoOffset))),
                None => Ok(entry.offset),
            })
            .collect()
    }

    fn named(&self, pieces: &[Piece]) -> String {
        let name = |piece: &Piece| format!("`{}` [{}]", self.name(piece.topic), piece.partition);
        format!("reading {}", pieces.iter().map(name).collect::<Vec<_>>().join(", "))
    }

    fn stood_still(&self, open: &[Piece]) -> Error {
        let seconds = STANDSTILL.as_secs();
        self.told(format!("{}: nothing came for {seconds} s", self.named(open)))
    }

    /// An error of a question, with what the clients saw of the brokers.
    fn failed(&self, what: &str, error: &KafkaError) -> Error {
        serve(&self.ends);
        match error::of_question(what, error) {
            Error::NotYet(text) => self.told(text),
            other => other,
        }
    }

    fn told(&self, text: String) -> Error {
        let trouble = self.trouble.recent().map_or_else(String::new, |trouble| format!(" ({trouble})"));
        Error::NotYet(format!("{text}, of `{}`{trouble}", self.brokers))
    }
}
