//! Where logs begin and end, asked by a client of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Configs, Context, serve};
use super::trouble::Trouble;
use super::{KafkaSettings, LOOKUP_TIMEOUT, error, ffi};
use crate::runtime::port::{Bounds, Error, Partition};

/// A client without a group; it may be asked from several threads.
pub struct Lookup {
    client: BaseConsumer<Context>,
}

/// What was asked about, and what came back: an offset and the leader epoch.
pub type Found = BTreeMap<(String, Partition), Result<(i64, i32), String>>;

impl Lookup {
    pub fn new(settings: &KafkaSettings, trouble: &Arc<Trouble>) -> Result<Lookup, Error> {
        let context = Context::new("lookup", trouble);
        let client = Configs::of(settings).lookup().create_with_context(context);
        let client =
            client.map_err(|e| error::of_creation("creating a client that asks for log ends", &e))?;
        Ok(Lookup { client })
    }

    /// Asks the leaders of all these partitions at once. One that does not answer fails the whole call; an
    /// element with an error or without an offset in a call that succeeds is no answer either.
    pub fn offsets(
        &self,
        asked: &[(&str, Partition)],
        at: Offset,
        timeout: Duration,
    ) -> Result<Found, KafkaError> {
        let mut list = TopicPartitionList::with_capacity(asked.len());
        for (topic, partition) in asked {
            list.add_partition_offset(topic, *partition, at)?;
        }
        let list = self.client.offsets_for_times(list, timeout)?;
        Ok(ffi::entries(&list)
            .map(|entry| ((entry.topic.to_owned(), entry.partition), answer(&entry)))
            .collect())
    }

    /// First and end offset of a partition of each topic.
    pub fn bounds(&self, topics: &[String], partition: Partition) -> Result<Vec<Bounds>, Error> {
        let asked: Vec<_> = topics.iter().map(|topic| (topic.as_str(), partition)).collect();
        let first = self.all(&asked, Offset::Beginning)?;
        let end = self.all(&asked, Offset::End)?;
        Ok(first.into_iter().zip(end).map(|(first, end)| Bounds { first, end, topic_id: None }).collect())
    }

    /// The leader of each partition of a topic, where it has one.
    pub fn leaders(&self, topic: &str, timeout: Duration) -> Result<BTreeMap<Partition, i32>, KafkaError> {
        let metadata = self.client.fetch_metadata(Some(topic), timeout)?;
        let partitions = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
        Ok(partitions.filter(|one| one.leader() >= 0).map(|one| (one.id(), one.leader())).collect())
    }

    /// How many partitions a topic has, or `None` for one that does not exist.
    pub fn partition_count(&self, topic: &str, timeout: Duration) -> Result<Option<i32>, KafkaError> {
        let metadata = self.client.fetch_metadata(Some(topic), timeout)?;
        let found = metadata.topics().first();
        match found.and_then(rdkafka::metadata::MetadataTopic::error).map(Code::from) {
            Some(Code::UnknownTopicOrPartition) => Ok(None),
            Some(code) if code != Code::LeaderNotAvailable => Err(KafkaError::MetadataFetch(code)),
            _ => Ok(found
                .and_then(|topic| i32::try_from(topic.partitions().len()).ok())
                .filter(|count| *count > 0)),
        }
    }

    /// Lets the client log.
    pub fn serve(&self) {
        serve(&self.client);
    }

    fn all(&self, asked: &[(&str, Partition)], at: Offset) -> Result<Vec<i64>, Error> {
        let what = || format!("asking the leaders of {} for log offsets", named(asked));
        let found = self.offsets(asked, at, LOOKUP_TIMEOUT).map_err(|e| error::of_question(&what(), &e))?;
        asked
            .iter()
            .map(|(topic, partition)| match found.get(&((*topic).to_owned(), *partition)) {
                Some(Ok((offset, _))) => Ok(*offset),
                Some(Err(reason)) => Err(Error::NotYet(format!("{}: {reason}", what()))),
                None => Err(Error::NotYet(format!("{}: no answer", what()))),
            })
            .collect()
    }
}

fn named(asked: &[(&str, Partition)]) -> String {
    let names: Vec<_> = asked.iter().map(|(topic, partition)| format!("`{topic}` [{partition}]")).collect();
    names.join(", ")
}

fn answer(entry: &ffi::Entry<'_>) -> Result<(i64, i32), String> {
    match entry.error {
        Some(code) => Err(code.to_string()),
        None if entry.offset < 0 => Err(Code::NoOffset.to_string()),
        None => Ok((entry.offset, entry.leader_epoch)),
    }
}
