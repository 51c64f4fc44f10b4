//! A lead as the input topics tell of it, read to their present ends outside the service's group.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::gather::Gathered;
use crate::config::{Config, KeyedBy};
use crate::explain::{Explanation, Origin};
use crate::kafka::reader::{Extent, Piece, Reader};
use crate::runtime::port::Error;
use crate::serve;
use crate::sla::instant::Instant;
use crate::sla::rules::Rules;
use crate::sla::store::RejectedAt;
use crate::wire::decode::{Decoder, Settings};
use crate::wire::record::{Partition, Record, Topic};
use crate::wire::routing::Routing;

/// Explains a lead, once for each partition number that tells of it: the service judges each by itself.
pub(super) fn explain(
    lead_id: &str,
    config: &Config,
    at: Option<Instant>,
) -> Result<Vec<Explanation>, Error> {
    let settings = serve::kafka_settings(config, 0);
    let reader = Reader::new(&settings, config.input.topics.clone())?;
    let counts = reader.partition_counts(&settings)?;
    let partitions = counts.iter().copied().max().unwrap_or_default();
    // The clock first: what was in the log by then lies below the ends. Rule H2.
    let known_until = serve::wall_clock().minus(config.input.grace_ms);
    let wanted = partition_of(lead_id, config, partitions);
    let is_wanted = |partition: &Partition| wanted.is_none_or(|wanted| wanted == *partition);
    let places: Vec<(Topic, Partition)> = (0..)
        .zip(&counts)
        .flat_map(|(topic, count)| (0..*count).filter(is_wanted).map(move |partition| (topic, partition)))
        .collect();
    let extents = reader.extents(&places)?;
    extents.iter().filter(|extent| 0 < extent.first).for_each(|extent| {
        let (topic, first) = (reader.name(extent.topic), extent.first);
        eprintln!(
            "note: `{topic}` [{}] begins at offset {first}: earlier records are gone",
            extent.partition
        );
    });
    let mut listener = Listener::new(lead_id, config, partitions);
    let pieces: Vec<_> = extents.iter().map(piece).collect();
    reader.read(&pieces, &mut |record| listener.hear(record))?;
    let rules = Arc::new(Rules::new(Arc::new(config.policies.policies.clone())));
    let until = at.unwrap_or(known_until);
    let explain = |(partition, gathered): (Partition, Gathered)| {
        let origin = Origin { names: &config.input.topics, partition: Some(partition), is_service: false };
        gathered.explain(lead_id, &rules, until, origin)
    };
    Ok(listener.gathered.into_iter().filter_map(explain).collect())
}

/// The partition of a lead, where the configuration says how it is found.
fn partition_of(lead_id: &str, config: &Config, partitions: Partition) -> Option<Partition> {
    let partitioner = serve::partitioner(config).filter(|_| config.input.keyed_by == KeyedBy::LeadId)?;
    partitioner.partition(lead_id.as_bytes(), partitions)
}

fn piece(extent: &Extent) -> Piece {
    let to = extent.stable.min(extent.end);
    Piece { topic: extent.topic, partition: extent.partition, from: extent.first, to }
}

/// Keeps what is about the lead, by partition number.
struct Listener<'a> {
    lead_id: &'a str,
    config: &'a Config,
    partitions: Partition,
    decoder: Decoder,
    routing: BTreeMap<Partition, Routing>,
    gathered: BTreeMap<Partition, Gathered>,
}

impl<'a> Listener<'a> {
    fn new(lead_id: &'a str, config: &'a Config, partitions: Partition) -> Listener<'a> {
        let decoder =
            Decoder::new(Settings { future_skew_max_ms: config.input.future_skew_max_ms, are_files: false });
        let (routing, gathered) = (BTreeMap::new(), BTreeMap::new());
        Listener { lead_id, config, partitions, decoder, routing, gathered }
    }

    fn hear(&mut self, record: &Record<'_>) {
        let event = match self.decoder.decode(record) {
            Ok(event) if self.is_routed(record, &event.lead_id) => event,
            Ok(event) if event.lead_id == self.lead_id => return self.reject(record),
            Ok(_) => return,
            Err(rejected) => {
                let is_its = rejected.lead_id.as_deref() == Some(self.lead_id)
                    || (rejected.lead_id.is_none() && record.key == Some(self.lead_id.as_bytes()));
                return if is_its {
                    self.reject(record)
                };
            }
        };
        if event.lead_id == self.lead_id {
            self.gathered.entry(record.partition).or_default().take(event.fact);
        }
    }

    /// Every record is looked at, for the first ones show how keys are partitioned.
    fn is_routed(&mut self, record: &Record<'_>, lead_id: &str) -> bool {
        if self.config.input.keyed_by != KeyedBy::LeadId {
            return true;
        }
        let (partitions, partitioner) = (self.partitions, serve::partitioner(self.config));
        let new = || Routing::new(partitions, partitioner);
        let routing = self.routing.entry(record.partition).or_insert_with(new);
        routing.check(record.key, lead_id, record.partition).is_ok()
    }

    fn reject(&mut self, record: &Record<'_>) {
        self.gathered.entry(record.partition).or_default().reject(RejectedAt {
            recorded_at: record.timestamp,
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
        });
    }
}
