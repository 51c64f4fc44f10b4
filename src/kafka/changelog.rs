//! Reading changelogs: one client for all partitions that are being restored, a queue for each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::client::{Configs, Context, serve};
use super::trouble::Trouble;
use super::{KafkaSettings, error, ffi};
use crate::runtime::port::{Error, KeysAndValues, Partition};

/// How long librdkafka may take over something that needs no broker.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How many records one call hands over at most.
const RECORDS_PER_READ_MAX: usize = 10_000;

/// The changelogs that are open.
pub struct Changelogs {
    consumer: Arc<BaseConsumer<Context>>,
    topic: String,
    open: BTreeMap<Partition, Open>,
}

struct Open {
    queue: PartitionQueue<Context>,
    first: i64,
}

impl Changelogs {
    pub fn new(settings: &KafkaSettings, trouble: &Arc<Trouble>) -> Result<Changelogs, Error> {
        let context = Context::new("changelog", trouble);
        let consumer = Configs::of(settings).changelog().create_with_context(context);
        let consumer = consumer.map_err(|e| error::of_creation("creating the reader of changelogs", &e))?;
        Ok(Changelogs {
            consumer: Arc::new(consumer),
            topic: settings.changelog.clone(),
            open: BTreeMap::new(),
        })
    }

    /// The changelog's topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Begins to read a partition at this offset.
    pub fn open(&mut self, partition: Partition, first: i64) -> Result<(), Error> {
        self.close(partition);
        let what = self.what(partition);
        self.wait_until_stopped(partition)?;
        let opened = self.start(partition, first).map_err(|e| error::of_question(&what, &e))?;
        let queue = opened.ok_or_else(|| Error::NotYet(format!("{what}: it could not be started")))?;
        self.open.insert(partition, Open { queue, first });
        Ok(())
    }

    /// Assigns, then splits the partition's queue off. Seeking makes librdkafka throw away what has come to
    /// the common queue before; a seek works once the partition has been started, which is when the split lasts.
    fn start(&self, partition: Partition, first: i64) -> Result<Option<PartitionQueue<Context>>, KafkaError> {
        let list = self.list(partition, first)?;
        self.consumer.incremental_assign(&list)?;
        let until = Instant::now() + LOCAL_TIMEOUT;
        while !self.seek(&list)? {
            if Instant::now() >= until {
                return Ok(None);
            }
            sleep(Duration::from_millis(1));
        }
        let queue = self.consumer.split_partition_queue(&self.topic, partition);
        self.seek(&list)?;
        Ok(queue)
    }

    fn seek(&self, list: &TopicPartitionList) -> Result<bool, KafkaError> {
        let sought = self.consumer.seek_partitions(list.clone(), LOCAL_TIMEOUT)?;
        Ok(ffi::entries(&sought).all(|entry| entry.error.is_none()))
    }

    /// Hands records over and returns the position, which passes control and aborted records.
    pub fn read(
        &mut self,
        partition: Partition,
        mut wait: Duration,
        sink: KeysAndValues<'_>,
    ) -> Result<i64, Error> {
        serve(&self.consumer);
        let Some(open) = self.open.get(&partition) else {
            return Err(Error::Fatal(format!("{}: it is not open", self.what(partition))));
        };
        for _ in 0..RECORDS_PER_READ_MAX {
            match open.queue.poll(wait) {
                Some(Ok(message)) => sink(message.key(), message.payload()),
                Some(Err(e)) if e.rdkafka_error_code().is_some_and(error::is_outage) => {}
                Some(Err(e)) if e.rdkafka_error_code().is_some_and(error::refuses) => {
                    return Err(error::of_question(&self.what(partition), &e));
                }
                Some(Err(e)) => {
                    return Err(Error::Fatal(format!("{}: {}", self.what(partition), error::text(&e))));
                }
                None => break,
            }
            wait = Duration::ZERO;
        }
        Ok(self.position(partition).max(open.first))
    }

    /// Ends the reading of a partition.
    pub fn close(&mut self, partition: Partition) {
        let Some(open) = self.open.remove(&partition) else { return };
        drop(open);
        let ended = self.list(partition, 0).and_then(|list| self.consumer.incremental_unassign(&list));
        if let Err(e) = ended {
            tracing::warn!(target: "overdue::kafka", "{}: closing: {e}", self.what(partition));
        }
    }

    fn wait_until_stopped(&self, partition: Partition) -> Result<(), Error> {
        let until = Instant::now() + LOCAL_TIMEOUT;
        while self.position(partition) >= 0 {
            if Instant::now() >= until {
                return Err(Error::NotYet(format!("{}: it is still being closed", self.what(partition))));
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn position(&self, partition: Partition) -> i64 {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.topic, partition);
        ffi::position(self.consumer.client(), &list);
        ffi::entries(&list).next().map_or(-1, |entry| entry.offset)
    }

    fn list(&self, partition: Partition, offset: i64) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))?;
        Ok(list)
    }

    fn what(&self, partition: Partition) -> String {
        format!("reading changelog `{}` [{partition}]", self.topic)
    }
}
