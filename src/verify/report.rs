//! What verifying came to.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::finding::{Excuse, Finding, Kind};
use super::said::{Difference, Id, Place};
use crate::kafka::reader::Extent;
use crate::sla::instant::Instant;

/// What verifying came to.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Breaches dated later were not judged.
    pub judged_until: Instant,
    /// The version of the policies that judged.
    pub policies: String,
    /// What was read of each topic.
    pub topics: Vec<TopicRead>,
    /// How many records of the input topics were read.
    pub events: u64,
    /// How many leads they are about.
    pub leads: usize,
    /// How many of them the service left out, by the reason in the dead-letter topic.
    pub rejected: BTreeMap<String, u64>,
    /// How many outputs were read.
    pub said: u64,
    /// How many transitions stand as they should.
    pub matched: u64,
    /// How many findings there are of each kind.
    #[serde(serialize_with = "kinds")]
    pub counts: BTreeMap<Kind, u64>,
    /// What cannot be judged, and why.
    pub not_checkable: BTreeMap<Excuse, u64>,
    /// How many outputs name other versions of the policies.
    pub other_policies: BTreeMap<String, u64>,
    /// Everything that is not as it should be.
    pub findings: Vec<Shown>,
}

/// What was read of a topic.
#[derive(Debug, Serialize)]
pub struct TopicRead {
    /// Its name.
    pub topic: String,
    /// What it is to the service.
    pub role: &'static str,
    /// Its partitions.
    pub partitions: Vec<Extent>,
}

impl TopicRead {
    /// How many offsets lie between the logs' starts and ends.
    pub fn offsets(&self) -> i64 {
        self.partitions.iter().map(|extent| extent.stable - extent.first).sum()
    }

    /// How many offsets were deleted from the logs' starts.
    pub fn deleted(&self) -> i64 {
        self.partitions.iter().map(|extent| extent.first).sum()
    }
}

/// A finding as it is shown.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// What is wrong.
    pub kind: Kind,
    /// The lead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead_id: Option<String>,
    /// The objective.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objective: Option<String>,
    /// When the clock started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Instant>,
    /// The transition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition: Option<&'static str>,
    /// Its date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<Instant>,
    /// The id in the record, or of the record that should be there.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "id")]
    pub id: Option<Id>,
    /// Where the record is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<ShownPlace>,
    /// What differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// More, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Where a record is.
#[derive(Debug, Serialize)]
pub struct ShownPlace {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

impl std::fmt::Display for ShownPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}] {}", self.topic, self.partition, self.offset)
    }
}

impl Shown {
    /// A finding, with the names of the topics.
    pub fn of(finding: Finding, name: impl Fn(Place) -> String) -> Shown {
        let key = finding.key.as_ref();
        let clock = key.map(|key| &key.clock);
        Shown {
            kind: finding.kind,
            lead_id: clock.map(|clock| clock.lead_id.to_string()),
            objective: clock.map(|clock| clock.objective.to_string()),
            started_at: clock.map(|clock| clock.started_at),
            transition: key.map(|key| key.step.as_str()),
            date: key.map(|key| key.date),
            id: finding.id,
            at: finding.at.map(|at| ShownPlace {
                topic: name(at),
                partition: at.partition,
                offset: at.offset,
            }),
            differences: finding.differences,
            detail: finding.detail,
        }
    }
}

/// How many findings there are of each kind.
pub fn count(findings: &[Shown]) -> BTreeMap<Kind, u64> {
    let mut counts: BTreeMap<Kind, u64> = Kind::ALL.into_iter().map(|kind| (kind, 0)).collect();
    for finding in findings {
        *counts.entry(finding.kind).or_default() += 1;
    }
    counts
}

fn kinds<S: Serializer>(counts: &BTreeMap<Kind, u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().map(|(kind, count)| (kind.as_str(), count)))
}

fn id<S: Serializer>(id: &Option<Id>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => serializer.collect_str(id),
        None => serializer.serialize_none(),
    }
}
