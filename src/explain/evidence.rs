//! Facts and where they are written.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Origin;
use crate::sla::fact::{Fact, Value};
use crate::sla::instant::Instant;
use crate::wire::record::{Partition, Topic};

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The topic, or the file.
    pub topic: String,
    /// The partition; `None` in a file.
    pub partition: Option<Partition>,
    /// The offset, or the number of the line from 1.
    pub offset: i64,
}

/// A fact that decided something, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// When it happened.
    pub time: Instant,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// The `event_id`, if it has one.
    pub event_id: Option<String>,
    /// Where it is written.
    #[serde(flatten)]
    pub place: Place,
}

/// A fact with all it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Which it is.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// Whether it is dated at or before what is judged, and before a merge.
    pub counts: bool,
    /// Its fields, nested ones by dotted path; what no policy could name is `…`.
    pub fields: BTreeMap<String, Json>,
}

impl Evidence {
    /// Of a fact.
    pub(super) fn of(fact: &Fact, origin: Origin<'_>) -> Evidence {
        Evidence {
            time: fact.time,
            kind: fact.kind.as_str().to_owned(),
            event_id: fact.event_id().map(str::to_owned),
            place: Place {
                topic: name(fact.topic, origin),
                partition: origin.partition,
                offset: fact.offset,
            },
        }
    }
}

impl Told {
    pub(super) fn of(fact: &Fact, origin: Origin<'_>) -> Told {
        let stage = fact.stage().map(|stage| ("stage".to_owned(), Json::from(stage)));
        let fields = fact.fields().map(|(path, value)| (path.to_owned(), json(value)));
        let fields = fields.chain(stage).collect();
        Told { evidence: Evidence::of(fact, origin), counts: true, fields }
    }
}

/// The name of a topic or file.
pub(super) fn name(topic: Topic, origin: Origin<'_>) -> String {
    origin.names.get(usize::from(topic)).cloned().unwrap_or_default()
}

/// A value of a field as JSON; a whole number has no fraction.
pub(super) fn json(value: Value<'_>) -> Json {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Null => Json::Null,
        Value::Bool(bool) => Json::from(bool),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < EXACT => Json::from(number as i64),
        Value::Number(number) => Json::from(number),
        Value::Text(text) => Json::from(text),
        Value::Other => Json::from("…"),
    }
}

/// `lead-events[2]@17`, `events.jsonl:3`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partition {
            Some(partition) => write!(f, "{}[{partition}]@{}", self.topic, self.offset),
            None => write!(f, "{}:{}", self.topic, self.offset),
        }
    }
}

/// `contacted (events.jsonl:3, event e2)`
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.kind, self.place)?;
        self.event_id.iter().try_for_each(|id| write!(f, ", event {id}"))?;
        f.write_str(")")
    }
}
