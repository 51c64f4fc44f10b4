//! Input events: flat JSON or CloudEvents in, facts out. Rules F1, F2, F4-F9 and section 7.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::record::Record;
use crate::sla::fact::{Draft, Fact, FieldsBuf, Identity, Kind, TEXT_BYTES_MAX, Value};
use crate::sla::instant::Instant;

/// Longer records are rejected, reason `oversize`.
pub const RECORD_BYTES_MAX: usize = 1_000_000;

/// A fact whose fields take more is rejected, reason `oversize`: nested fields repeat the names above them, so
/// that a record may stand for a thousand times its own bytes.
pub const FIELDS_BYTES_MAX: usize = 256 * 1024;

/// A longer lead, event, source or stage is rejected, reason `oversize`: outputs and keys repeat their names.
pub const NAME_BYTES_MAX: usize = TEXT_BYTES_MAX;

/// Why a record cannot be used: a closed list, and the label of the metric. Section 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The value is not JSON.
    NotJson,
    /// No lead is named.
    NoLeadId,
    /// No type is named.
    NoType,
    /// The type is none of those that are known.
    UnknownType,
    /// A line of a file without `time`.
    NoTime,
    /// A field has the wrong type, or is missing where its type needs it.
    BadField,
    /// It is longer than [`RECORD_BYTES_MAX`], its fields than [`FIELDS_BYTES_MAX`], or a name than
    /// [`NAME_BYTES_MAX`].
    Oversize,
    /// The record's partition is not its lead's.
    Misrouted,
    /// It is dated too long after its record timestamp. Rule F9.
    Future,
    /// What it could change is settled. Rule F10.
    TooLate,
    /// Its lead is merged into another. Rule T11.
    Merged,
}

impl Reason {
    /// Every reason there is.
    pub const ALL: [Reason; 11] = [
        Reason::NotJson,
        Reason::NoLeadId,
        Reason::NoType,
        Reason::UnknownType,
        Reason::NoTime,
        Reason::BadField,
        Reason::Oversize,
        Reason::Misrouted,
        Reason::Future,
        Reason::TooLate,
        Reason::Merged,
    ];

    /// The word for it in dead letters and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::NotJson => "not_json",
            Reason::NoLeadId => "no_lead_id",
            Reason::NoType => "no_type",
            Reason::UnknownType => "unknown_type",
            Reason::NoTime => "no_time",
            Reason::BadField => "bad_field",
            Reason::Oversize => "oversize",
            Reason::Misrouted => "misrouted",
            Reason::Future => "future",
            Reason::TooLate => "too_late",
            Reason::Merged => "merged",
        }
    }
}

/// A record that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Why, in one word.
    pub reason: Reason,
    /// Why, for people.
    pub detail: String,
    /// The lead it names, where that can be read.
    pub lead_id: Option<String>,
}

/// An event as it bears on a lead.
#[derive(Debug, PartialEq)]
pub struct Event<'a> {
    /// The lead.
    pub lead_id: Cow<'a, str>,
    /// What happened to it.
    pub fact: Fact,
}

/// How records are read.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// An event dated later than this after its record timestamp is rejected. Rule F9.
    pub future_skew_max_ms: i64,
    /// Whether the records are lines of files: all files are one source, and there are no record timestamps.
    pub are_files: bool,
}

/// Reads records; it keeps its buffers between them.
#[derive(Debug)]
pub struct Decoder {
    settings: Settings,
    fields: FieldsBuf,
    path: String,
}

impl Decoder {
    /// A decoder of records of one kind of source.
    pub fn new(settings: Settings) -> Decoder {
        Decoder { settings, fields: FieldsBuf::default(), path: String::new() }
    }

    /// Reads one record.
    pub fn decode<'a>(&mut self, record: &Record<'a>) -> Result<Event<'a>, Rejected> {
        let Some(value) = record.value else { return self.tombstone(record) };
        if value.len() > RECORD_BYTES_MAX {
            return Err(reject(Reason::Oversize, None, format!("{} bytes", value.len())));
        }
        if let Some(envelope) = Envelope::of_headers(record.headers) {
            let data = parse(value)?;
            return self.cloud_event(record, envelope, data);
        }
        let flat = self.flat(value)?;
        if flat.is_cloud_event {
            let (envelope, data) = Envelope::of_value(parse(value)?);
            return self.cloud_event(record, envelope, data);
        }
        self.event(record, flat, None, || parse(value))
    }

    /// A tombstone is `lead-deleted` for its key.
    fn tombstone<'a>(&mut self, record: &Record<'a>) -> Result<Event<'a>, Rejected> {
        let key = record.key.and_then(|key| std::str::from_utf8(key).ok()).filter(|key| !key.is_empty());
        let Some(key) = key else {
            return Err(reject(Reason::NoLeadId, None, "a tombstone without a readable key".to_owned()));
        };
        let Some(time) = record.timestamp else {
            return Err(reject(Reason::NoTime, Some(key), "a tombstone without a timestamp".to_owned()));
        };
        check_name("the key", key)?;
        self.fields.clear();
        let id = format!("tombstone {}", record.offset);
        let fact =
            self.fact(record, time, Kind::LeadDeleted, Identity::Event { source: None, id: &id }, 0, None);
        Ok(Event { lead_id: Cow::Borrowed(key), fact })
    }

    /// Reads flat JSON in one pass.
    fn flat<'a>(&mut self, value: &'a [u8]) -> Result<Flat<'a>, Rejected> {
        self.fields.clear();
        self.path.clear();
        let mut flat = Flat::default();
        let visitor = FlatVisitor { flat: &mut flat, fields: &mut self.fields, path: &mut self.path };
        let mut json = serde_json::Deserializer::from_slice(value);
        let read = json.deserialize_any(visitor).and_then(|()| json.end());
        match read {
            Ok(()) => Ok(flat),
            Err(_) if flat.is_oversize => {
                let detail = format!("its fields take more than {FIELDS_BYTES_MAX} bytes");
                Err(Rejected {
                    lead_id: flat.take_lead_id().ok().map(Cow::into_owned),
                    ..reject(Reason::Oversize, None, detail)
                })
            }
            Err(error) => Err(reject(Reason::NotJson, None, error.to_string())),
        }
    }

    /// Reads the data of a CloudEvent, its envelope's attributes standing in for what the data lacks.
    fn cloud_event<'a>(
        &mut self,
        record: &Record<'a>,
        envelope: Envelope,
        data: Json,
    ) -> Result<Event<'a>, Rejected> {
        let Json::Object(mut data) = data else {
            return Err(reject(Reason::BadField, None, "`data` is not an object".to_owned()));
        };
        let source = envelope.source;
        for (name, value) in [
            ("event_id", envelope.id),
            ("type", envelope.kind),
            ("time", envelope.time),
            ("lead_id", envelope.subject),
        ] {
            if let Some(value) = value {
                data.entry(name).or_insert(Json::String(value));
            }
        }
        let whole = Json::Object(data);
        let text = whole.to_string();
        let event = self.flat(text.as_bytes()).and_then(|flat| {
            let event = self.event(record, flat, source.as_deref(), || Ok(whole))?;
            Ok(Event { lead_id: Cow::Owned(event.lead_id.into_owned()), fact: event.fact })
        })?;
        Ok(event)
    }

    fn event<'a>(
        &mut self,
        record: &Record<'_>,
        mut flat: Flat<'a>,
        source: Option<&str>,
        whole: impl FnOnce() -> Result<Json, Rejected>,
    ) -> Result<Event<'a>, Rejected> {
        let lead_id = flat.take_lead_id()?;
        check_name("lead_id", &lead_id)?;
        let bad = |rejected: Rejected| Rejected { lead_id: Some(lead_id.to_string()), ..rejected };
        let kind = flat.read_kind().map_err(bad)?;
        let time = self.read_time(&flat, record).map_err(bad)?;
        flat.check(kind).map_err(bad)?;
        if kind == Kind::Contacted {
            flat.stage.push("stage", &mut self.fields);
        }
        let digest;
        let source = source.or(self.settings.are_files.then_some(""));
        check_name("source", source.unwrap_or_default()).map_err(bad)?;
        let identity = match &flat.event_id {
            Leaf::Text(id) => Identity::Event { source, id },
            _ => {
                digest = content_digest(&whole()?);
                Identity::Content(digest)
            }
        };
        let fact = self.fact(record, time, kind, identity, flat.fingerprint, flat.stage_entered(kind));
        Ok(Event { lead_id, fact })
    }

    /// When it happened. Rules F1 and F9.
    fn read_time(&self, flat: &Flat<'_>, record: &Record<'_>) -> Result<Instant, Rejected> {
        let time = match &flat.time {
            Leaf::Text(text) => {
                Instant::parse(text).ok_or_else(|| bad_field("time", "is not RFC 3339 with an offset"))?
            }
            Leaf::Missing | Leaf::Null => record.timestamp.ok_or_else(|| {
                reject(Reason::NoTime, None, "`time` is missing, and a file has no timestamps".to_owned())
            })?,
            _ => return Err(bad_field("time", NOT_TEXT)),
        };
        match record.timestamp {
            Some(recorded) if recorded.plus(self.settings.future_skew_max_ms) < time => {
                Err(reject(Reason::Future, None, format!("`time` {time} is after its record's {recorded}")))
            }
            _ => Ok(time),
        }
    }

    fn fact(
        &self,
        record: &Record<'_>,
        time: Instant,
        kind: Kind,
        identity: Identity<'_>,
        fingerprint: u64,
        stage: Option<&str>,
    ) -> Fact {
        Fact::new(&Draft {
            time,
            topic: record.topic,
            offset: record.offset,
            kind,
            identity,
            fingerprint,
            stage,
            fields: &self.fields,
        })
    }
}

fn reject(reason: Reason, lead_id: Option<&str>, detail: String) -> Rejected {
    Rejected { reason, detail, lead_id: lead_id.map(str::to_owned) }
}

/// Refuses names that are too long to be repeated.
fn check_name(field: &str, name: &str) -> Result<(), Rejected> {
    match name.len() {
        0..=NAME_BYTES_MAX => Ok(()),
        bytes => Err(reject(
            Reason::Oversize,
            None,
            format!("`{field}` takes {bytes} bytes, at most {NAME_BYTES_MAX} are allowed"),
        )),
    }
}

const NOT_TEXT: &str = "is not a string";

fn bad_field(field: &str, what: &str) -> Rejected {
    reject(Reason::BadField, None, format!("`{field}` {what}"))
}

fn parse(value: &[u8]) -> Result<Json, Rejected> {
    serde_json::from_slice(value).map_err(|error| reject(Reason::NotJson, None, error.to_string()))
}

/// The beginning of a text that may be long, without what could drive a terminal.
fn short(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// What a CloudEvent says around its data.
struct Envelope {
    id: Option<String>,
    source: Option<String>,
    kind: Option<String>,
    time: Option<String>,
    subject: Option<String>,
}

impl Envelope {
    /// Binary mode: attributes are `ce_` headers.
    fn of_headers(headers: &[(&str, Option<&[u8]>)]) -> Option<Envelope> {
        let header = |name: &str| {
            let found = headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name))?;
            found.1.and_then(|value| std::str::from_utf8(value).ok()).map(str::to_owned)
        };
        header("ce_specversion")?;
        Some(Envelope {
            id: header("ce_id"),
            source: header("ce_source"),
            kind: header("ce_type"),
            time: header("ce_time"),
            subject: header("ce_subject"),
        })
    }

    /// Structured mode: attributes stand beside `data`.
    fn of_value(mut value: Json) -> (Envelope, Json) {
        let mut text = |name: &str| match value.get_mut(name).map(Json::take) {
            Some(Json::String(text)) => Some(text),
            _ => None,
        };
        let envelope = Envelope {
            id: text("id"),
            source: text("source"),
            kind: text("type"),
            time: text("time"),
            subject: text("subject"),
        };
        let data = value.get_mut("data").map(Json::take).unwrap_or_default();
        (envelope, data)
    }
}

/// One value at the top of an event.
#[derive(Debug, Default)]
enum Leaf<'a> {
    #[default]
    Missing,
    Null,
    Bool(bool),
    /// Its decimal text.
    Integer(String),
    Number(f64),
    Text(Cow<'a, str>),
    Other,
}

impl Leaf<'_> {
    fn push(&self, path: &str, fields: &mut FieldsBuf) {
        let value = match self {
            Leaf::Missing => return,
            Leaf::Null => Value::Null,
            Leaf::Bool(bool) => Value::Bool(*bool),
            Leaf::Integer(text) => text.parse().map_or(Value::Other, Value::Number),
            Leaf::Number(number) => Value::Number(*number),
            Leaf::Text(text) => Value::Text(text),
            Leaf::Other => Value::Other,
        };
        fields.push(path, value);
    }
}

/// An event's own fields; the others are in the decoder's buffer by then.
#[derive(Debug, Default)]
struct Flat<'a> {
    lead_id: Leaf<'a>,
    kind: Leaf<'a>,
    time: Leaf<'a>,
    event_id: Leaf<'a>,
    stage: Leaf<'a>,
    is_cloud_event: bool,
    is_oversize: bool,
    fingerprint: u64,
    owner: Sort,
    direction: Sort,
    by: Sort,
    until: Sort,
    into: Sort,
    objective: Sort,
    started_at: Sort,
}

/// What is known of a field that must be of one type.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Sort {
    #[default]
    Missing,
    Null,
    /// A string, and one of those allowed where only some are.
    Right,
    Wrong,
}

impl<'a> Flat<'a> {
    /// The lead it names; an integer is its decimal text.
    fn take_lead_id(&mut self) -> Result<Cow<'a, str>, Rejected> {
        match std::mem::take(&mut self.lead_id) {
            Leaf::Text(id) if !id.is_empty() => Ok(id),
            Leaf::Integer(id) => Ok(Cow::Owned(id)),
            Leaf::Missing | Leaf::Null | Leaf::Text(_) => {
                Err(reject(Reason::NoLeadId, None, "`lead_id` is missing or empty".to_owned()))
            }
            _ => Err(bad_field("lead_id", "is neither a string nor an integer")),
        }
    }

    fn read_kind(&self) -> Result<Kind, Rejected> {
        match &self.kind {
            Leaf::Missing | Leaf::Null => Err(reject(Reason::NoType, None, "`type` is missing".to_owned())),
            Leaf::Text(text) => Kind::parse(text)
                .ok_or_else(|| reject(Reason::UnknownType, None, format!("`type` is `{}`", short(text)))),
            _ => Err(bad_field("type", NOT_TEXT)),
        }
    }

    /// The stage that an event of this kind enters.
    fn stage_entered(&self, kind: Kind) -> Option<&str> {
        match (&self.stage, kind) {
            (Leaf::Text(stage), Kind::LeadCreated | Kind::StageChanged) => Some(stage),
            _ => None,
        }
    }

    /// Whether every field has the type that an event of this kind needs.
    fn check(&self, kind: Kind) -> Result<(), Rejected> {
        let is_stage_right = match (&self.stage, kind) {
            (Leaf::Text(stage), Kind::LeadCreated | Kind::StageChanged) => !stage.is_empty(),
            (Leaf::Missing | Leaf::Null, Kind::LeadCreated) => true,
            (_, Kind::LeadCreated | Kind::StageChanged) => false,
            _ => true,
        };
        if !is_stage_right {
            return Err(bad_field("stage", "is not a name"));
        }
        if !matches!(self.event_id, Leaf::Text(_) | Leaf::Missing | Leaf::Null) {
            return Err(bad_field("event_id", NOT_TEXT));
        }
        for (field, leaf) in [("stage", &self.stage), ("event_id", &self.event_id)] {
            if let Leaf::Text(name) = leaf {
                check_name(field, name)?;
            }
        }
        match self.wrong_field(kind) {
            Some((field, what)) => Err(bad_field(field, what)),
            None => Ok(()),
        }
    }

    /// The first field that has the wrong type, or is missing where the kind needs it.
    fn wrong_field(&self, kind: Kind) -> Option<(&'static str, &'static str)> {
        const TIME: &str = "is not RFC 3339 with an offset";
        let wrong = |sort: Sort| sort == Sort::Wrong;
        let absent = |sort: Sort| sort != Sort::Right;
        match kind {
            Kind::LeadCreated | Kind::LeadUpdated if wrong(self.owner) => Some(("owner", NOT_TEXT)),
            Kind::LeadAssigned if wrong(self.owner) => Some(("owner", NOT_TEXT)),
            Kind::LeadAssigned if self.owner == Sort::Missing => Some(("owner", "is missing")),
            Kind::Contacted if wrong(self.direction) => {
                Some(("direction", "is neither `outbound` nor `inbound`"))
            }
            Kind::Contacted if wrong(self.by) => Some(("by", "is neither `human` nor `automation`")),
            Kind::Paused if wrong(self.until) => Some(("until", TIME)),
            Kind::LeadMerged if absent(self.into) => Some(("into", NOT_TEXT)),
            Kind::BreachWaived if absent(self.objective) => Some(("objective", NOT_TEXT)),
            Kind::BreachWaived if wrong(self.started_at) => Some(("started_at", TIME)),
            _ => None,
        }
    }

    /// Notes a field that some kinds read.
    fn note(&mut self, name: &str, leaf: &Leaf<'_>) {
        let sort = |is_right: fn(&str) -> bool| match leaf {
            Leaf::Missing => Sort::Missing,
            Leaf::Null => Sort::Null,
            Leaf::Text(text) if is_right(text) => Sort::Right,
            _ => Sort::Wrong,
        };
        let any = |_: &str| true;
        let is_time = |text: &str| Instant::parse(text).is_some();
        match name {
            "owner" => self.owner = sort(any),
            "direction" => self.direction = sort(|text| matches!(text, "outbound" | "inbound")),
            "by" => self.by = sort(|text| matches!(text, "human" | "automation")),
            "until" => self.until = sort(is_time),
            "into" => self.into = sort(any),
            "objective" => self.objective = sort(any),
            "started_at" => self.started_at = sort(is_time),
            _ => {}
        }
    }
}

struct FlatVisitor<'v, 'de> {
    flat: &'v mut Flat<'de>,
    fields: &'v mut FieldsBuf,
    path: &'v mut String,
}

impl<'de> Visitor<'de> for FlatVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(TextSeed)? {
            let mut flatten = Flatten {
                fields: Some(&mut *self.fields),
                path: self.path,
                path_hash: crc32fast::Hasher::new(),
                fingerprint: &mut self.flat.fingerprint,
                is_oversize: &mut self.flat.is_oversize,
            };
            flatten.path.clear();
            flatten.path.push_str(&name);
            flatten.path_hash.update(name.as_bytes());
            let own = matches!(&*name, "lead_id" | "type" | "time" | "event_id" | "stage" | "specversion");
            if own {
                flatten.fields = None;
            }
            let leaf = map.next_value_seed(flatten)?;
            match &*name {
                "lead_id" => self.flat.lead_id = leaf,
                "type" => self.flat.kind = leaf,
                "time" => self.flat.time = leaf,
                "event_id" => self.flat.event_id = leaf,
                "stage" => self.flat.stage = leaf,
                "specversion" => self.flat.is_cloud_event = matches!(leaf, Leaf::Text(_)),
                name => self.flat.note(name, &leaf),
            }
        }
        Ok(())
    }

    // Any other value is JSON that names no lead.

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// A string, borrowed from the record where it has no escapes.
struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Takes a value apart into leaves under dotted paths, and gives back the value itself if it is one.
///
/// The fingerprint is a sum over leaves, so that the order of keys does not matter.
struct Flatten<'v> {
    /// Where leaves go; nowhere inside arrays.
    fields: Option<&'v mut FieldsBuf>,
    path: &'v mut String,
    /// Of the whole path, also inside arrays: hashing it anew for each leaf would take a time that grows with
    /// the square of the record.
    path_hash: crc32fast::Hasher,
    fingerprint: &'v mut u64,
    is_oversize: &'v mut bool,
}

impl Flatten<'_> {
    fn leaf<'de, E: Error>(self, leaf: Leaf<'de>) -> Result<Leaf<'de>, E> {
        let mut hash = self.path_hash;
        match &leaf {
            Leaf::Missing | Leaf::Null => hash.update(&[0]),
            Leaf::Bool(bool) => hash.update(&[1, u8::from(*bool)]),
            Leaf::Integer(text) => {
                let number: f64 = text.parse().unwrap_or_default();
                hash.update(&[2]);
                hash.update(&number.to_le_bytes());
            }
            Leaf::Number(number) => {
                hash.update(&[2]);
                hash.update(&number.to_le_bytes());
            }
            Leaf::Text(text) => {
                hash.update(&[3]);
                hash.update(text.as_bytes());
            }
            Leaf::Other => hash.update(&[4]),
        }
        // Spread over 64 bits, so that a sum of them keeps what tells them apart.
        let spread = (u64::from(hash.finalize()) | 1 << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        *self.fingerprint = self.fingerprint.wrapping_add(spread ^ (spread >> 29));
        if let Some(fields) = self.fields {
            if FIELDS_BYTES_MAX < fields.bytes() + self.path.len() {
                *self.is_oversize = true;
                return Err(E::custom("too many fields"));
            }
            leaf.push(self.path, fields);
        }
        Ok(leaf)
    }
}

impl<'de> DeserializeSeed<'de> for Flatten<'_> {
    type Value = Leaf<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Leaf<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flatten<'_> {
    type Value = Leaf<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Leaf<'de>, E> {
        self.leaf(Leaf::Null)
    }

    fn visit_bool<E: Error>(self, bool: bool) -> Result<Leaf<'de>, E> {
        self.leaf(Leaf::Bool(bool))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Leaf<'de>, E> {
        self.leaf(Leaf::Integer(number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Leaf<'de>, E> {
        self.leaf(Leaf::Integer(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Leaf<'de>, E> {
        self.leaf(Leaf::Number(number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Leaf<'de>, E> {
        self.leaf(Leaf::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Leaf<'de>, E> {
        self.leaf(Leaf::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Leaf<'de>, A::Error> {
        let above = self.path.len();
        let mut is_empty = true;
        while let Some(name) = map.next_key_seed(TextSeed)? {
            is_empty = false;
            let mut path_hash = self.path_hash.clone();
            path_hash.update(b".");
            path_hash.update(name.as_bytes());
            self.path.push('.');
            self.path.push_str(&name);
            map.next_value_seed(Flatten {
                fields: self.fields.as_deref_mut(),
                path: self.path,
                path_hash,
                fingerprint: self.fingerprint,
                is_oversize: self.is_oversize,
            })?;
            self.path.truncate(above);
        }
        if is_empty { self.leaf(Leaf::Other) } else { Ok(Leaf::Other) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Leaf<'de>, A::Error> {
        let mut index = 0u32;
        loop {
            let mut path_hash = self.path_hash.clone();
            path_hash.update(format!("[{index}]").as_bytes());
            let element = Flatten {
                fields: None,
                path: self.path,
                path_hash,
                fingerprint: self.fingerprint,
                is_oversize: self.is_oversize,
            };
            let found = seq.next_element_seed(element)?;
            if found.is_none() {
                break;
            }
            index += 1;
        }
        self.leaf(Leaf::Other)
    }
}

/// The digest of a JSON value, the order of keys and white space aside. Rule F2.
fn content_digest(value: &Json) -> [u8; 16] {
    let mut text = String::new();
    write_canonical(value, &mut text);
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    digest
}

fn write_canonical(value: &Json, into: &mut String) {
    match value {
        Json::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_unstable_by_key(|(name, _)| *name);
            into.push('{');
            for (name, value) in entries {
                into.push_str(&Json::from(name.as_str()).to_string());
                into.push(':');
                write_canonical(value, into);
                into.push(',');
            }
            into.push('}');
        }
        Json::Array(elements) => {
            into.push('[');
            for element in elements {
                write_canonical(element, into);
                into.push(',');
            }
            into.push(']');
        }
        Json::Number(number) => match number.as_f64().filter(|_| !number.is_i64() && !number.is_u64()) {
            // `1.0` and `1` are one number.
            Some(decimal) if decimal.fract() == 0.0 && decimal.abs() < 9e15 => {
                into.push_str(&(decimal as i64).to_string());
            }
            _ => into.push_str(&number.to_string()),
        },
        other => into.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: i64 = 1_767_225_600_000;

    fn record(value: &[u8]) -> Record<'_> {
        Record {
            topic: 0,
            partition: 0,
            offset: 7,
            timestamp: Some(Instant::from_millis(RECORDED)),
            key: None,
            value: Some(value),
            headers: &[],
        }
    }

    fn decode(value: &str) -> Result<(String, Fact), Reason> {
        let mut decoder = Decoder::new(Settings { future_skew_max_ms: 300_000, are_files: false });
        let decoded = decoder.decode(&record(value.as_bytes()));
        decoded.map(|event| (event.lead_id.into_owned(), event.fact)).map_err(|rejected| rejected.reason)
    }

    fn fact(value: &str) -> Fact {
        decode(value).expect("a fact").1
    }

    #[test]
    fn an_event_becomes_a_fact() {
        let (lead_id, fact) = decode(
            r#"{"event_id":"e1","type":"lead-created","lead_id":"L1","time":"2025-12-31T23:00:00+01:00",
                "stage":"new","amount":7,"deal":{"size":1.5,"tags":["a"],"none":null}}"#,
        )
        .expect("a fact");
        assert_eq!((lead_id.as_str(), fact.kind, fact.stage()), ("L1", Kind::LeadCreated, Some("new")));
        assert_eq!(fact.time.to_string(), "2025-12-31T22:00:00.000Z");
        let fields: Vec<_> = fact.fields().collect();
        assert_eq!(
            fields,
            [
                ("amount", Value::Number(7.0)),
                ("deal.size", Value::Number(1.5)),
                ("deal.tags", Value::Other),
                ("deal.none", Value::Null),
            ]
        );
    }

    #[test]
    fn what_is_wrong_has_a_reason() {
        let table = [
            (r#"{"type":"contacted""#, Reason::NotJson),
            (r#"{"type":"contacted","lead_id":"L"} x"#, Reason::NotJson),
            ("", Reason::NotJson),
            ("\u{0}", Reason::NotJson),
            ("[]", Reason::NoLeadId),
            ("7", Reason::NoLeadId),
            (r#""text""#, Reason::NoLeadId),
            ("null", Reason::NoLeadId),
            (r#"{"type":"contacted"}"#, Reason::NoLeadId),
            (r#"{"type":"contacted","lead_id":""}"#, Reason::NoLeadId),
            (r#"{"type":"contacted","lead_id":1.5}"#, Reason::BadField),
            (r#"{"type":"contacted","lead_id":{}}"#, Reason::BadField),
            (r#"{"lead_id":"L"}"#, Reason::NoType),
            (r#"{"lead_id":"L","type":7}"#, Reason::BadField),
            (r#"{"lead_id":"L","type":"called"}"#, Reason::UnknownType),
            (r#"{"lead_id":"L","type":"contacted","time":"yesterday"}"#, Reason::BadField),
            (r#"{"lead_id":"L","type":"contacted","time":12}"#, Reason::BadField),
            (r#"{"lead_id":"L","type":"contacted","time":"2026-01-01T00:05:00.001Z"}"#, Reason::Future),
            (r#"{"lead_id":"L","type":"stage-changed"}"#, Reason::BadField),
            (r#"{"lead_id":"L","type":"stage-changed","stage":7}"#, Reason::BadField),
            (r#"{"lead_id":"L","type":"lead-created","stage":false}"#, Reason::BadField),
            (r#"{"lead_id":"L","type":"lead-created","owner":7}"#, Reason::BadField),
            (r#"{"lead_id":"L","type":"lead-assigned"}"#, Reason::BadField),
            (r#"{"lead_id":"L","type":"lead-merged"}"#, Reason::BadField),
            (r#"{"lead_id":"L","type":"contacted","direction":"sideways"}"#, Reason::BadField),
            (r#"{"lead_id":"L","type":"contacted","by":true}"#, Reason::BadField),
            (r#"{"lead_id":"L","type":"contacted","event_id":7}"#, Reason::BadField),
        ];
        for (value, reason) in table {
            assert_eq!(decode(value).map(|(_, fact)| fact).err(), Some(reason), "{value}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(decode(&deep).err(), Some(Reason::NotJson));
        assert_eq!(decode(&" ".repeat(RECORD_BYTES_MAX + 1)).err(), Some(Reason::Oversize));
        assert_eq!(decode(&" ".repeat(RECORD_BYTES_MAX)).err(), Some(Reason::NotJson));
    }

    #[test]
    fn a_record_that_stands_for_much_more_than_its_bytes_is_oversize() {
        let (name, leaves) = ("n".repeat(200_000), r#""a":0,"#.repeat(100_000));
        let nested = format!(r#"{{"lead_id":"L","type":"contacted","{name}":{{{leaves}"b":1}}}}"#);
        assert_eq!(decode(&nested).err(), Some(Reason::Oversize));
        // An array keeps no fields, and its elements' paths are not written out.
        let array = format!(r#"{{"lead_id":"L","type":"contacted","{name}":[{}0]}}"#, "0,".repeat(300_000));
        assert_eq!(fact(&array).field(&name), Some(Value::Other));
        let flat: String = (0..60_000).map(|n| format!(r#""f{n}":{n},"#)).collect();
        assert_eq!(
            decode(&format!(r#"{{{flat}"lead_id":"L","type":"contacted"}}"#)).err(),
            Some(Reason::Oversize)
        );
    }

    #[test]
    fn names_that_are_repeated_have_a_limit() {
        let (most, long) = ("n".repeat(NAME_BYTES_MAX), "n".repeat(NAME_BYTES_MAX + 1));
        for (field, kind) in [("lead_id", "contacted"), ("event_id", "contacted"), ("stage", "stage-changed")]
        {
            let event = |name: &str| {
                let mut event = serde_json::json!({"lead_id": "L", "type": kind, "stage": "s"});
                event[field] = Json::from(name);
                decode(&event.to_string()).err()
            };
            assert_eq!((event(&most), event(&long)), (None, Some(Reason::Oversize)), "{field}");
        }
    }

    #[test]
    fn numbers_texts_and_dates_at_their_edges() {
        let odd = |field: &str, value: &str| {
            decode(&format!(r#"{{"type":"contacted","lead_id":"L","event_id":"e","{field}":{value}}}"#))
        };
        let table = [
            ("x", "1e999", Some(Reason::NotJson)),
            ("x", "-0", None),
            ("x", "123456789012345678901234567890", None),
            ("x", "NaN", Some(Reason::NotJson)),
            ("x", r#""\ud800""#, Some(Reason::NotJson)),
            ("x", "\"\u{0}\"", Some(Reason::NotJson)),
            ("x", r#""\u0000""#, None),
            ("lead_id", r#""\u0000""#, None),
            ("lead_id", "18446744073709551615", None),
            ("lead_id", "18446744073709551616", Some(Reason::BadField)),
            ("lead_id", "1e3", Some(Reason::BadField)),
            ("lead_id", "-0", Some(Reason::BadField)),
            ("time", r#""0000-01-01T00:00:00+23:59""#, None),
            ("time", r#""-001-01-01T00:00:00Z""#, Some(Reason::BadField)),
            ("time", r#""9999-12-31T23:59:59-23:59""#, Some(Reason::Future)),
            ("time", r#""10000-01-01T00:00:00Z""#, Some(Reason::BadField)),
            ("time", r#""2016-12-31T23:59:60Z""#, None),
            ("time", r#""2016-12-31T23:59:61Z""#, Some(Reason::BadField)),
            ("time", r#""2016-02-30T00:00:00Z""#, Some(Reason::BadField)),
            ("time", r#""2016-01-01T00:00:00+24:00""#, Some(Reason::BadField)),
        ];
        for (field, value, reason) in table {
            assert_eq!(odd(field, value).err(), reason, "{field}: {value}");
        }
        let bom = "\u{feff}{\"type\":\"contacted\",\"lead_id\":\"L\"}";
        assert_eq!(decode(bom).err(), Some(Reason::NotJson));
        let twice = fact(r#"{"type":"paused","type":"contacted","lead_id":"K","lead_id":"L","a":1,"a":2}"#);
        assert_eq!((twice.kind, twice.field("a")), (Kind::Contacted, Some(Value::Number(2.0))));
    }

    #[test]
    fn a_lead_id_that_is_an_integer_is_its_decimal_text() {
        let (lead_id, _) = decode(r#"{"lead_id":-12,"type":"contacted"}"#).expect("a fact");
        assert_eq!(lead_id, "-12");
    }

    #[test]
    fn an_event_without_time_has_its_records() {
        let fact = fact(r#"{"lead_id":"L","type":"contacted"}"#);
        assert_eq!(fact.time, Instant::from_millis(RECORDED));
    }

    #[test]
    fn without_an_event_id_the_same_value_is_the_same_fact() {
        let a = fact(r#"{"lead_id":"L","type":"contacted","x":{"a":1,"b":[1,2]},"n":1.0}"#);
        let b = fact(r#"{"n":1, "type":"contacted","x":{"b":[1,2],"a":1},"lead_id":"L"}"#);
        let c = fact(r#"{"n":1, "type":"contacted","x":{"b":[2,1],"a":1},"lead_id":"L"}"#);
        assert!(a.is_same_as(&b));
        assert!(!a.is_same_as(&c));
    }

    #[test]
    fn the_fingerprint_tells_contents_apart_and_orders_not() {
        let a = fact(r#"{"event_id":"1","lead_id":"L","type":"contacted","a":"x","b":"y"}"#);
        let b = fact(r#"{"b":"y","a":"x","type":"contacted","lead_id":"L","event_id":"1"}"#);
        let c = fact(r#"{"event_id":"1","lead_id":"L","type":"contacted","a":"y","b":"x"}"#);
        assert!(a.is_same_as(&b) && a.says_what(&b));
        assert!(a.is_same_as(&c) && !a.says_what(&c));
    }

    #[test]
    fn the_stage_of_a_contact_is_a_detail_of_it() {
        let fact = fact(r#"{"lead_id":"L","type":"contacted","stage":"new"}"#);
        assert_eq!((fact.stage(), fact.field("stage")), (None, Some(Value::Text("new"))));
    }

    #[test]
    fn cloud_events_are_recognised_in_both_modes() {
        let structured = fact(
            r#"{"specversion":"1.0","id":"ce1","source":"/crm","type":"contacted","time":"2025-12-31T00:00:00Z",
                "subject":"L9","data":{"channel":"phone"}}"#,
        );
        assert_eq!(structured.identity(), Identity::Event { source: Some("/crm"), id: "ce1" });
        assert_eq!(structured.field("channel"), Some(Value::Text("phone")));
        let headers: &[(&str, Option<&[u8]>)] = &[
            ("ce_specversion", Some(b"1.0")),
            ("ce_id", Some(b"ce1")),
            ("ce_source", Some(b"/crm")),
            ("ce_type", Some(b"contacted")),
        ];
        let mut decoder = Decoder::new(Settings { future_skew_max_ms: 0, are_files: false });
        let binary = Record { headers, ..record(br#"{"lead_id":"L9","channel":"phone"}"#) };
        let event = decoder.decode(&binary).expect("a fact");
        assert_eq!(event.lead_id, "L9");
        assert!(event.fact.is_same_as(&structured));
    }

    #[test]
    fn a_tombstone_deletes_the_lead_of_its_key() {
        let mut decoder = Decoder::new(Settings { future_skew_max_ms: 0, are_files: false });
        let event = decoder.decode(&Record { key: Some(b"L1"), value: None, ..record(b"") }).expect("a fact");
        assert_eq!((&*event.lead_id, event.fact.kind), ("L1", Kind::LeadDeleted));
        let nameless = decoder.decode(&Record { value: None, ..record(b"") });
        assert_eq!(nameless.map_err(|rejected| rejected.reason), Err(Reason::NoLeadId));
    }
}
