//! Where logs begin and end, asked by a client of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::{MetadataBroker, MetadataPartition, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Configs, Context, serve};
use super::trouble::Trouble;
use super::{KafkaSettings, LOOKUP_TIMEOUT, error, ffi};
use crate::runtime::port::{Bounds, Error, Partition};

/// A client without a group; it may be asked from several threads.
pub struct Lookup {
    client: BaseConsumer<Context>,
}

/// Who leads the partitions of a topic, as one broker has it.
pub struct Leaders {
    /// The leader of each partition that has one.
    pub leaders: BTreeMap<Partition, i32>,
    /// Every broker that has a copy of one, alive or not.
    pub replicas: BTreeSet<i32>,
    /// The brokers that are alive.
    pub brokers: Vec<i32>,
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

    /// First and end offset of a partition of each topic, and after them which topic that is.
    pub fn bounds(&self, topics: &[String], partition: Partition) -> Result<Vec<Bounds>, Error> {
        let found = self.first_and_end(topics, partition)?;
        let ids = self.described_by_any(topics)?;
        let id = |topic: &String| ids.get(topic).and_then(|one| one.id.as_deref()).map(Arc::from);
        let bound = |((first, end), topic)| Bounds { first, end, topic_id: id(topic) };
        Ok(found.into_iter().zip(topics).map(bound).collect())
    }

    /// What the first broker that answers knows of topics; the controller's place is asked first.
    fn described_by_any(&self, topics: &[String]) -> Result<BTreeMap<String, ffi::Description>, Error> {
        let ask = |broker| ffi::Asked::describe(self.client.client(), topics, broker, LOOKUP_TIMEOUT)?.wait();
        let what = || format!("asking which topics {} are", topics.join(", "));
        if let Some(found) = ask(None) {
            return Ok(found);
        }
        let first = topics.first().map_or("", String::as_str);
        let seen = self.who_leads(first, LOOKUP_TIMEOUT).map_err(|e| error::of_question(&what(), &e))?;
        let found = seen.brokers.into_iter().find_map(|broker| ask(Some(broker)));
        found.ok_or_else(|| Error::NotYet(format!("{}: no broker answers", what())))
    }

    /// First and end offset of a partition of each topic.
    pub fn first_and_end(&self, topics: &[String], partition: Partition) -> Result<Vec<(i64, i64)>, Error> {
        let asked: Vec<_> = topics.iter().map(|topic| (topic.as_str(), partition)).collect();
        let first = self.all(&asked, Offset::Beginning)?;
        let end = self.all(&asked, Offset::End)?;
        Ok(first.into_iter().zip(end).collect())
    }

    /// Who leads each partition of a topic, as some broker has it.
    pub fn who_leads(&self, topic: &str, timeout: Duration) -> Result<Leaders, KafkaError> {
        let metadata = self.client.fetch_metadata(Some(topic), timeout)?;
        let partitions = || metadata.topics().iter().flat_map(MetadataTopic::partitions);
        let led = partitions().filter(|one| one.leader() >= 0);
        Ok(Leaders {
            leaders: led.map(|one| (one.id(), one.leader())).collect(),
            replicas: partitions().flat_map(MetadataPartition::replicas).copied().collect(),
            brokers: metadata.brokers().iter().map(MetadataBroker::id).collect(),
        })
    }

    /// Asks certain brokers at once what they know of topics; `None` for one that does not answer.
    pub fn describe(
        &self,
        topics: &[String],
        brokers: &[i32],
        timeout: Duration,
    ) -> Vec<(i32, Option<BTreeMap<String, ffi::Description>>)> {
        let ask = |broker: &i32| {
            (*broker, ffi::Asked::describe(self.client.client(), topics, Some(*broker), timeout))
        };
        let asked: Vec<_> = brokers.iter().map(ask).collect();
        asked.into_iter().map(|(broker, asked)| (broker, asked.and_then(ffi::Asked::wait))).collect()
    }

    /// How many partitions a topic has, or `None` for one that does not exist.
    pub fn partition_count(&self, topic: &str, timeout: Duration) -> Result<Option<i32>, KafkaError> {
        let metadata = self.client.fetch_metadata(Some(topic), timeout)?;
        let found = metadata.topics().first();
        match found.and_then(MetadataTopic::error).map(Code::from) {
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
