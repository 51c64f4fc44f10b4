//! The events of a test: written as YAML, read as the service reads JSON.

use serde_json::{Map, Value as Json};

use super::LEAD;
use crate::config::{Cursor, Fields, Kind, Node, Value, did_you_mean, setting_ms};
use crate::sla::fact::{self, Fact};
use crate::sla::instant::Instant;
use crate::wire::decode::{Decoder, Settings};
use crate::wire::record::Record;

/// What happens to the lead.
pub(super) struct Story {
    /// The instant of the first event as it is written, from which the others may count.
    pub first: Instant,
    pub facts: Vec<Fact>,
}

/// Reads the events of a test, the lead's attributes on those that create it.
pub(super) fn story(test: &Cursor<'_>, fields: &Fields<'_>) -> Option<Story> {
    let Some(events) = fields.get("events") else { return test.refuse("needs `events`") };
    let items = events.items()?;
    let attributes = match fields.get("lead") {
        Some(lead) => object(lead)?,
        None => Map::new(),
    };
    let Some(head) = items.first() else { return events.refuse("must hold an event") };
    let first = head.entries()?.iter().find(|(name, _)| *name == "at").and_then(|(_, at)| when(at, None));
    let mut script = Script {
        first,
        attributes: Some(attributes).filter(|attributes| !attributes.is_empty()),
        decoder: Decoder::new(Settings { future_skew_max_ms: 0, are_files: true }),
    };
    let facts: Vec<_> = (1..).zip(&items).map(|(number, item)| script.event(item, number)).collect();
    if let (Some(_), Some(lead)) = (script.attributes, fields.get("lead")) {
        lead.key_problem("no event is `lead-created`, which would carry these");
    }
    Some(Story { first: first?, facts: facts.into_iter().collect::<Option<_>>()? })
}

/// The events of a test as they are read one after the other.
struct Script {
    first: Option<Instant>,
    /// Those of the lead, until an event carries them.
    attributes: Option<Map<String, Json>>,
    decoder: Decoder,
}

impl Script {
    /// Reads one event; what the service would reject is a problem.
    fn event(&mut self, item: &Cursor<'_>, number: i64) -> Option<Fact> {
        let entries = item.entries()?;
        let get = |name: &str| entries.iter().find(|(found, _)| *found == name).map(|(_, cursor)| cursor);
        for (name, instead) in [("time", "use `at`"), ("lead_id", "a test is about one lead")] {
            get(name)
                .into_iter()
                .for_each(|field| field.key_problem(format!("must not be given: {instead}")));
        }
        let at = match get("at") {
            // What is wrong with the first is said already.
            Some(at) if number > 1 => when(at, self.first),
            Some(_) => self.first,
            None => item.refuse("needs `at`, an instant or a time after the first event such as `+4m`"),
        };
        let Some(kind) = get("type") else { return item.refuse("needs `type`") };
        let kind = known(kind);
        let (at, kind) = (at?, kind?);
        let mut json = object(item)?;
        if kind == fact::Kind::LeadCreated {
            json = self.attributes.take().into_iter().flatten().chain(json).collect();
        }
        json.remove("at");
        json.insert("lead_id".to_owned(), Json::from(LEAD));
        json.insert("time".to_owned(), Json::from(at.to_string()));
        for name in ["until", "started_at"] {
            if matches!(json.get(name), Some(Json::String(text)) if text.starts_with('+')) {
                let at = when(get(name)?, self.first)?;
                json.insert(name.to_owned(), Json::from(at.to_string()));
            }
        }
        self.decoded(item, number, json)
    }

    /// The fact that the service would read from the event.
    fn decoded(&mut self, item: &Cursor<'_>, number: i64, json: Map<String, Json>) -> Option<Fact> {
        let value = Json::Object(json).to_string().into_bytes();
        let record = Record {
            topic: 0,
            partition: 0,
            offset: number,
            timestamp: None,
            key: None,
            value: Some(&value),
            headers: &[],
        };
        match self.decoder.decode(&record) {
            Ok(event) => Some(event.fact),
            Err(rejected) => {
                item.refuse(format!("would be rejected, {}: {}", rejected.reason.as_str(), rejected.detail))
            }
        }
    }
}

/// Reads a type of event.
fn known(field: &Cursor<'_>) -> Option<fact::Kind> {
    let text = field.text()?;
    fact::Kind::parse(text).or_else(|| {
        let near = did_you_mean(text, fact::Kind::ALL.map(fact::Kind::as_str));
        field.refuse(format!("unknown type{near}"))
    })
}

/// Reads an instant, or a time after the first event.
pub(super) fn when(cursor: &Cursor<'_>, first: Option<Instant>) -> Option<Instant> {
    let text = cursor.written()?;
    let Some(after) = text.strip_prefix('+') else {
        let form = "must be an instant such as `2026-12-31T09:00:00+01:00`";
        let or =
            if first.is_some() { ", or a time after the first event such as `+4m` or `+1d2h`" } else { "" };
        return Instant::parse(text).or_else(|| cursor.refuse(format!("{form}{or}")));
    };
    match (first, setting_ms(after)) {
        (Some(first), Ok(ms)) => Some(first.plus(ms)),
        (None, _) => cursor.refuse("must be an instant in the first event, from which the others count"),
        (_, Err(message)) => cursor.refuse(message),
    }
}

fn object(cursor: &Cursor<'_>) -> Option<Map<String, Json>> {
    cursor.entries()?;
    match json(cursor.node) {
        Json::Object(map) => Some(map),
        _ => None,
    }
}

/// A value of YAML as JSON. A number that JSON cannot hold is a text.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::Scalar(Kind::Null, _) => Json::Null,
        Value::Scalar(Kind::Bool(bool), _) => Json::from(*bool),
        Value::Scalar(Kind::Number(number), text) => match text.parse::<i64>() {
            Ok(whole) => Json::from(whole),
            Err(_) => {
                serde_json::Number::from_f64(*number).map_or_else(|| Json::from(text.as_str()), Json::from)
            }
        },
        Value::Scalar(Kind::Text, text) => Json::from(text.as_str()),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), json(&entry.node))).collect(),
    }
}
