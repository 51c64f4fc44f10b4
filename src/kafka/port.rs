//! The port of a worker to a real cluster.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use super::KafkaSettings;
use super::changelog::Changelogs;
use super::consumer::Group;
use super::lookup::Lookup;
use super::probe::{Probes, boot_clock_ms, wall_clock};
use super::producer::Producer;
use super::trouble::Trouble;
use crate::runtime::port::{
    Answer, Bounds, ClockLead, Committed, Error, KeysAndValues, Offsets, Outgoing, Partition, Polled, Port,
    Position,
};
use crate::runtime::trouble::Kind;
use crate::sla::instant::Instant;

/// How long brokers are let be that have refused something: whoever asks will ask again.
const REFUSED_WAIT: Duration = Duration::from_millis(200);

/// A worker's clients.
///
/// The group is left before the producer goes: an open transaction is never committed by leaving.
pub struct KafkaPort {
    topics: Vec<String>,
    group: Group,
    producer: Producer,
    changelogs: Changelogs,
    lookup: Lookup,
    probes: Probes,
    trouble: Arc<Trouble>,
}

impl KafkaPort {
    /// Connects, ends what a predecessor of the same name left open, and joins the group.
    /// [`Error::NotYet`] where nobody answers in time; then it can be tried again.
    pub fn new(settings: KafkaSettings) -> Result<KafkaPort, Error> {
        let trouble = Trouble::of_worker(&settings);
        Ok(KafkaPort {
            // The producer first: no partition is asked for by a worker that could not commit.
            producer: Producer::start(&settings, &trouble)?,
            changelogs: Changelogs::new(&settings, &trouble)?,
            lookup: Lookup::new(&settings, &trouble)?,
            probes: Probes::start(&settings, &trouble)?,
            group: Group::join(&settings, &trouble)?,
            topics: settings.input_topics,
            trouble,
        })
    }

    /// What the clients are struggling with at the moment, if anything.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.recent()
    }

    /// A refusal ends a service that starts; one that works waits until it is allowed to again.
    fn patiently<T>(&self, asked: Result<T, Error>) -> Result<T, Error> {
        match asked {
            Err(Error::Refused(text)) if self.group.has_joined() => {
                self.trouble.see("lookup", Kind::Authorization, &text);
                sleep(REFUSED_WAIT);
                Err(Error::NotYet(text))
            }
            other => other,
        }
    }

    /// First and end offset of the changelog's partition.
    fn changelog_bounds(&self, partition: Partition) -> Result<(i64, i64), Error> {
        let topic = [self.changelogs.topic().to_owned()];
        let bounds = self.lookup.first_and_end(&topic, partition)?;
        bounds.into_iter().next().ok_or_else(|| Error::NotYet("no answer about the changelog".into()))
    }
}

impl Port for KafkaPort {
    fn now(&self) -> Instant {
        wall_clock()
    }

    fn uptime_ms(&self) -> i64 {
        boot_clock_ms()
    }

    fn clock_lead(&self) -> Option<ClockLead> {
        self.producer.clock_lead()
    }

    fn hold(&mut self, is_held: bool) -> Result<(), Error> {
        self.group.hold(is_held)
    }

    fn poll(&mut self, wait: Duration, max: usize, sink: &mut dyn FnMut(Polled<'_>)) -> Result<(), Error> {
        self.producer.serve();
        self.group.poll(wait, max, sink)
    }

    fn accept(&mut self, _partitions: &[Partition]) -> Result<(), Error> {
        self.group.accept()
    }

    fn release(&mut self, partitions: &[Partition]) -> Result<(), Error> {
        self.group.release(partitions)
    }

    fn take(&mut self, partition: Partition, from: &[Position]) -> Result<(), Error> {
        self.group.take(partition, from)
    }

    fn rewind(&mut self, partition: Partition, to: &[Position]) -> Result<(), Error> {
        self.group.rewind(partition, to)
    }

    fn positions(&mut self, partition: Partition) -> Result<Vec<Position>, Error> {
        self.group.positions(partition)
    }

    fn committed(&mut self, partition: Partition, wait: Duration) -> Result<Vec<Option<Committed>>, Error> {
        let committed = self.group.committed(partition, wait);
        self.patiently(committed)
    }

    fn bounds(&mut self, partition: Partition) -> Result<Vec<Bounds>, Error> {
        let bounds = self.lookup.bounds(&self.topics, partition);
        self.patiently(bounds)
    }

    fn changelog_open(&mut self, partition: Partition) -> Result<i64, Error> {
        let bounds = self.changelog_bounds(partition);
        let (first, end) = self.patiently(bounds)?;
        let opened = self.changelogs.open(partition, first);
        self.patiently(opened)?;
        Ok(end)
    }

    fn changelog_read(
        &mut self,
        partition: Partition,
        wait: Duration,
        sink: KeysAndValues<'_>,
    ) -> Result<i64, Error> {
        let read = self.changelogs.read(partition, wait, sink);
        self.patiently(read)
    }

    fn changelog_close(&mut self, partition: Partition) {
        self.changelogs.close(partition);
    }

    fn begin(&mut self) -> Result<(), Error> {
        self.producer.begin(self.group.metadata())
    }

    fn refresh_group(&mut self) {
        self.producer.refresh(self.group.metadata());
    }

    fn send(&mut self, record: Outgoing<'_>) -> Result<(), Error> {
        self.producer.send(record)
    }

    fn send_offsets(&mut self, offsets: &[Offsets]) -> Result<(), Error> {
        self.producer.send_offsets(offsets)
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.producer.commit()
    }

    fn abort(&mut self) -> Result<(), Error> {
        self.producer.abort()
    }

    fn reinit(&mut self) -> Result<(), Error> {
        self.producer.restart()
    }

    fn probe(&mut self, ticket: u64, partitions: &[Partition]) {
        if let Err(error) = self.probes.ask(ticket, partitions) {
            self.trouble.see("lookup", Kind::Other, &error.to_string());
        }
    }

    fn answers(&mut self, sink: &mut dyn FnMut(Answer)) {
        self.probes.take(sink);
    }
}
