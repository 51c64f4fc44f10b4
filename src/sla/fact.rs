//! What happened to a lead: facts, their identity and their order. Rules F1-F8.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::instant::Instant;
use super::policy::Scalar;

/// What kind of thing happened. Rule F4. The numbers are part of the changelog's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Kind {
    /// `lead-created`
    LeadCreated,
    /// `lead-updated`
    LeadUpdated,
    /// `lead-assigned`
    LeadAssigned,
    /// `contacted`
    Contacted,
    /// `stage-changed`
    StageChanged,
    /// `paused`
    Paused,
    /// `resumed`
    Resumed,
    /// `lead-merged`
    LeadMerged,
    /// `lead-deleted`
    LeadDeleted,
    /// `breach-waived`
    BreachWaived,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Kind; 10] = [
        Kind::LeadCreated,
        Kind::LeadUpdated,
        Kind::LeadAssigned,
        Kind::Contacted,
        Kind::StageChanged,
        Kind::Paused,
        Kind::Resumed,
        Kind::LeadMerged,
        Kind::LeadDeleted,
        Kind::BreachWaived,
    ];

    /// The `type` of an event of this kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::LeadCreated => "lead-created",
            Kind::LeadUpdated => "lead-updated",
            Kind::LeadAssigned => "lead-assigned",
            Kind::Contacted => "contacted",
            Kind::StageChanged => "stage-changed",
            Kind::Paused => "paused",
            Kind::Resumed => "resumed",
            Kind::LeadMerged => "lead-merged",
            Kind::LeadDeleted => "lead-deleted",
            Kind::BreachWaived => "breach-waived",
        }
    }

    /// The kind of an event of this `type`.
    pub fn parse(text: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether its fields become attributes of the lead. Rule F8.
    pub const fn sets_attributes(self) -> bool {
        matches!(self, Kind::LeadCreated | Kind::LeadUpdated | Kind::LeadAssigned | Kind::StageChanged)
    }

    /// Whether its `owner` assigns the lead. Rule F8.
    pub const fn assigns(self) -> bool {
        matches!(self, Kind::LeadCreated | Kind::LeadUpdated | Kind::LeadAssigned)
    }
}

/// One input event as it bears on a lead.
///
/// What the event says lies in one block of memory that is shared by every copy, so that a lead can be kept
/// as it was before a transaction at the price of a counter.
#[derive(Debug, Clone)]
pub struct Fact {
    /// When it happened. Rule F1.
    pub time: Instant,
    /// Its offset in its topic, or its line in its file.
    pub offset: i64,
    /// The input topic or file it came from, in the order of the configuration.
    pub topic: u16,
    /// What kind of thing happened.
    pub kind: Kind,
    /// In which of its lead's chunks it is kept; no part of what it says.
    pub chunk: u32,
    identity_hash: u32,
    body: Arc<[u8]>,
}

impl PartialEq for Fact {
    fn eq(&self, other: &Fact) -> bool {
        self.order() == other.order()
            && self.kind == other.kind
            && (Arc::ptr_eq(&self.body, &other.body) || self.body == other.body)
    }
}

impl Eq for Fact {}

/// What makes two events one fact. Rule F2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity<'a> {
    /// The digest of the whole JSON value of an event without `event_id`.
    Content([u8; 16]),
    /// `event_id` within a topic or, where `source` is given, of a CloudEvents source.
    Event {
        /// The CloudEvents `source`, if there is one.
        source: Option<&'a str>,
        /// The `event_id`.
        id: &'a str,
    },
}

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number.
    Number(f64),
    /// A string of at most [`TEXT_BYTES_MAX`] bytes.
    Text(&'a str),
    /// An array, an empty object or a longer string: present, and equal to nothing.
    Other,
}

/// Longer strings are kept as [`Value::Other`]: no policy names one.
pub const TEXT_BYTES_MAX: usize = 1024;

impl Value<'_> {
    /// Whether this is the policy's value. Values of two types never are.
    pub fn is(&self, scalar: &Scalar) -> bool {
        match (self, scalar) {
            (Value::Bool(a), Scalar::Bool(b)) => a == b,
            (Value::Number(a), Scalar::Number(b)) => a == b,
            (Value::Text(a), Scalar::Text(b)) => a == b,
            _ => false,
        }
    }
}

/// What a fact is made of, before it is put into its block of memory.
#[derive(Debug)]
pub struct Draft<'a> {
    /// When it happened.
    pub time: Instant,
    /// The topic or file.
    pub topic: u16,
    /// The offset or line.
    pub offset: i64,
    /// What kind of thing happened.
    pub kind: Kind,
    /// What makes it the same fact as another.
    pub identity: Identity<'a>,
    /// Equal for equal contents, whatever the order of their keys.
    pub fingerprint: u64,
    /// The stage entered.
    pub stage: Option<&'a str>,
    /// Every other field.
    pub fields: &'a FieldsBuf,
}

/// Fields under construction: dotted paths and their values, as a fact keeps them.
#[derive(Debug, Default)]
pub struct FieldsBuf(Vec<u8>);

impl FieldsBuf {
    /// Forgets what it holds, not its memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Adds a leaf.
    pub fn push(&mut self, path: &str, value: Value<'_>) {
        put_bytes(&mut self.0, path.as_bytes());
        match value {
            Value::Null => self.0.push(0),
            Value::Bool(false) => self.0.push(1),
            Value::Bool(true) => self.0.push(2),
            Value::Number(number) => {
                self.0.push(3);
                self.0.extend_from_slice(&number.to_le_bytes());
            }
            Value::Text(text) if text.len() <= TEXT_BYTES_MAX => {
                self.0.push(4);
                put_bytes(&mut self.0, text.as_bytes());
            }
            Value::Text(_) | Value::Other => self.0.push(5),
        }
    }
}

impl Fact {
    /// Puts a fact together.
    pub fn new(draft: &Draft<'_>) -> Fact {
        let mut body = Vec::with_capacity(48 + draft.fields.0.len());
        body.extend_from_slice(&draft.fingerprint.to_le_bytes());
        match draft.identity {
            Identity::Content(digest) => {
                body.push(0);
                body.extend_from_slice(&digest);
            }
            Identity::Event { source: None, id } => {
                body.push(1);
                put_bytes(&mut body, id.as_bytes());
            }
            Identity::Event { source: Some(source), id } => {
                body.push(2);
                put_bytes(&mut body, source.as_bytes());
                put_bytes(&mut body, id.as_bytes());
            }
        }
        match draft.stage {
            None => body.push(0),
            Some(stage) => {
                body.push(1);
                put_bytes(&mut body, stage.as_bytes());
            }
        }
        body.extend_from_slice(&draft.fields.0);
        Fact {
            time: draft.time,
            offset: draft.offset,
            topic: draft.topic,
            kind: draft.kind,
            chunk: 0,
            identity_hash: identity_hash(&draft.identity),
            body: body.into(),
        }
    }

    /// Forgets its stage and its fields.
    pub fn slim(&mut self) {
        let mut reader = self.read();
        let rest = reader.skip_identity().map_or(0, |()| reader.rest.len());
        let kept = self.body.len() - rest;
        if self.body.get(kept..) != Some(&[0]) {
            let mut body = self.body[..kept].to_vec();
            body.push(0);
            self.body = body.into();
        }
    }

    /// The same fact, kept in this chunk.
    pub fn in_chunk(self, chunk: u32) -> Fact {
        Fact { chunk, ..self }
    }

    /// About how many bytes it takes where it is written.
    pub fn bytes(&self) -> usize {
        self.body.len() + 24
    }

    /// The place of this fact among those of its lead. Rule F3.
    pub fn order(&self) -> (Instant, u16, i64) {
        (self.time, self.topic, self.offset)
    }

    /// Whether this is the same fact. Rule F2.
    pub fn is_same_as(&self, other: &Fact) -> bool {
        self.identity_hash == other.identity_hash
            && self.kind == other.kind
            && self.identity() == other.identity()
            && (self.topic == other.topic || !matches!(self.identity(), Identity::Event { source: None, .. }))
    }

    /// Whether a fact that is the same says the same.
    pub fn says_what(&self, other: &Fact) -> bool {
        self.body.get(..8) == other.body.get(..8)
    }

    /// A short hash of what makes it the same fact as another.
    pub fn identity_hash(&self) -> u32 {
        self.identity_hash
    }

    /// What makes it the same fact as another.
    pub fn identity(&self) -> Identity<'_> {
        self.read().identity().unwrap_or(Identity::Content([0; 16]))
    }

    /// The `event_id`, if it has one.
    pub fn event_id(&self) -> Option<&str> {
        match self.identity() {
            Identity::Content(_) => None,
            Identity::Event { id, .. } => Some(id),
        }
    }

    /// The stage it enters; of a contact, none.
    pub fn stage(&self) -> Option<&str> {
        let mut reader = self.read();
        reader.skip_identity()?;
        reader.stage()?
    }

    /// Its other fields, nested ones by dotted path.
    pub fn fields(&self) -> Fields<'_> {
        Fields { reader: self.read_fields() }
    }

    /// The value of one field; of one given twice, the last.
    pub fn field(&self, path: &str) -> Option<Value<'_>> {
        let mut reader = self.read_fields();
        let mut found = None;
        while let Some(field) = reader.raw_field() {
            if field.path == path.as_bytes() {
                found = field.value();
            }
        }
        found
    }

    /// Its other fields, undecoded.
    pub fn raw_fields(&self) -> impl Iterator<Item = RawField<'_>> {
        let mut reader = self.read_fields();
        std::iter::from_fn(move || reader.raw_field())
    }

    fn read_fields(&self) -> Reader<'_> {
        let mut reader = self.read();
        let sound = reader.skip_identity().is_some() && reader.skip_stage().is_some();
        if sound { reader } else { Reader { rest: &[] } }
    }

    fn read(&self) -> Reader<'_> {
        Reader { rest: self.body.get(8..).unwrap_or_default() }
    }

    /// Whether every part of its block can be read.
    fn is_sound(&self) -> bool {
        let mut reader = self.read();
        if self.body.len() < 8 || reader.identity().is_none() || reader.stage().is_none() {
            return false;
        }
        while !reader.rest.is_empty() {
            if reader.field().is_none() {
                return false;
            }
        }
        true
    }
}

fn identity_hash(identity: &Identity<'_>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    match identity {
        Identity::Content(digest) => hasher.update(digest),
        Identity::Event { source, id } => {
            hasher.update(source.unwrap_or_default().as_bytes());
            hasher.update(&[0]);
            hasher.update(id.as_bytes());
        }
    }
    hasher.finalize()
}

/// The fields of a fact, in the order of its event.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.reader.field()
    }
}

/// A field whose path and value have not been looked at.
#[derive(Debug, Clone, Copy)]
pub struct RawField<'a> {
    /// The dotted path.
    pub path: &'a [u8],
    tag: u8,
    bytes: &'a [u8],
}

impl<'a> RawField<'a> {
    /// Its value.
    pub fn value(&self) -> Option<Value<'a>> {
        match self.tag {
            0 => Some(Value::Null),
            1 => Some(Value::Bool(false)),
            2 => Some(Value::Bool(true)),
            3 => Some(Value::Number(f64::from_le_bytes(self.bytes.try_into().ok()?))),
            4 => std::str::from_utf8(self.bytes).ok().map(Value::Text),
            5 => Some(Value::Other),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let mut count = 0usize;
        for shift in (0..28).step_by(7) {
            let byte = self.byte()?;
            count |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return self.take(count);
            }
        }
        None
    }

    fn skip_identity(&mut self) -> Option<()> {
        match self.byte()? {
            0 => self.take(16).map(|_| ()),
            1 => self.bytes().map(|_| ()),
            2 => self.bytes().and_then(|_| self.bytes()).map(|_| ()),
            _ => None,
        }
    }

    fn skip_stage(&mut self) -> Option<()> {
        match self.byte()? {
            0 => Some(()),
            1 => self.bytes().map(|_| ()),
            _ => None,
        }
    }

    fn identity(&mut self) -> Option<Identity<'a>> {
        match self.byte()? {
            0 => Some(Identity::Content(self.take(16)?.try_into().ok()?)),
            1 => Some(Identity::Event { source: None, id: self.text()? }),
            2 => Some(Identity::Event { source: Some(self.text()?), id: self.text()? }),
            _ => None,
        }
    }

    fn stage(&mut self) -> Option<Option<&'a str>> {
        match self.byte()? {
            0 => Some(None),
            1 => Some(Some(self.text()?)),
            _ => None,
        }
    }

    fn raw_field(&mut self) -> Option<RawField<'a>> {
        let path = self.bytes()?;
        let tag = self.byte()?;
        let bytes = match tag {
            3 => self.take(8)?,
            4 => self.bytes()?,
            _ => &[],
        };
        Some(RawField { path, tag, bytes })
    }

    fn field(&mut self) -> Option<(&'a str, Value<'a>)> {
        let field = self.raw_field()?;
        Some((std::str::from_utf8(field.path).ok()?, field.value()?))
    }
}

fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    let mut count = bytes.len();
    while count >= 0x80 {
        into.push((count & 0x7f) as u8 | 0x80);
        count >>= 7;
    }
    into.push(count as u8);
    into.extend_from_slice(bytes);
}

impl Serialize for Fact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.time.millis(), self.offset, self.topic, self.kind, Bytes(&self.body)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fact, D::Error> {
        let (time, offset, topic, kind, body): (i64, i64, u16, Kind, &'de [u8]) =
            Deserialize::deserialize(deserializer)?;
        let mut fact = Fact {
            time: Instant::from_millis(time),
            offset,
            topic,
            kind,
            chunk: 0,
            identity_hash: 0,
            body: body.into(),
        };
        if !fact.is_sound() {
            return Err(serde::de::Error::custom("a fact that cannot be read"));
        }
        fact.identity_hash = identity_hash(&fact.identity());
        Ok(fact)
    }
}

/// Bytes that are written as such.
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// What adding a fact to a lead's facts did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It was not known.
    New,
    /// It was known; nothing changes.
    Duplicate,
    /// It was known with other content; the first in the log counts.
    Conflicting,
}

/// The facts of one lead, a set in the order of F3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts(Vec<Fact>);

impl FromIterator<Fact> for Facts {
    /// Takes facts that differ from each other, in any order.
    fn from_iter<I: IntoIterator<Item = Fact>>(facts: I) -> Facts {
        let mut facts: Vec<_> = facts.into_iter().collect();
        facts.sort_by_key(Fact::order);
        Facts(facts)
    }
}

impl Facts {
    /// Adds a fact. Rule F2: what is the same changes nothing, and the first in the log counts.
    pub fn add(&mut self, fact: Fact) -> Added {
        let known = self.0.iter().position(|known| known.is_same_as(&fact));
        let Some(index) = known else {
            self.insert(fact);
            return Added::New;
        };
        let says_the_same = self.0[index].says_what(&fact);
        if (fact.topic, fact.offset) < (self.0[index].topic, self.0[index].offset) {
            self.0.remove(index);
            self.insert(fact);
        }
        if says_the_same { Added::Duplicate } else { Added::Conflicting }
    }

    fn insert(&mut self, fact: Fact) {
        let place = match self.0.last() {
            Some(last) if fact.order() < last.order() => {
                self.0.partition_point(|known| known.order() <= fact.order())
            }
            _ => self.0.len(),
        };
        self.0.insert(place, fact);
    }

    /// The facts in order.
    pub fn as_slice(&self) -> &[Fact] {
        &self.0
    }

    /// For how many facts there is room.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Takes the first `count` facts away.
    pub fn drain_first(&mut self, count: usize) {
        self.0.drain(..count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(time: i64, offset: i64, id: &str, fingerprint: u64) -> Fact {
        let mut fields = FieldsBuf::default();
        fields.push("channel", Value::Text("phone"));
        fields.push("amount", Value::Number(12.5));
        Fact::new(&Draft {
            time: Instant::from_millis(time),
            topic: 0,
            offset,
            kind: Kind::Contacted,
            identity: Identity::Event { source: None, id },
            fingerprint,
            stage: None,
            fields: &fields,
        })
    }

    #[test]
    fn what_goes_in_comes_out() {
        let fact = fact(7, 1, "e1", 9);
        assert_eq!(fact.event_id(), Some("e1"));
        assert_eq!(fact.stage(), None);
        assert_eq!(fact.field("channel"), Some(Value::Text("phone")));
        assert_eq!(fact.field("amount"), Some(Value::Number(12.5)));
        assert_eq!(fact.field("nothing"), None);
    }

    #[test]
    fn the_changelog_gives_a_fact_back_and_refuses_a_broken_one() {
        let fact = fact(7, 1, "e1", 9);
        let mut bytes = postcard::to_stdvec(&fact).expect("encodes");
        assert_eq!(postcard::from_bytes::<Fact>(&bytes), Ok(fact));
        let last = bytes.len() - 9;
        bytes[last] = 77;
        assert!(postcard::from_bytes::<Fact>(&bytes).is_err());
    }

    #[test]
    fn the_first_in_the_log_counts_whenever_it_comes() {
        let mut facts = Facts::default();
        assert_eq!(facts.add(fact(50, 5, "e1", 1)), Added::New);
        assert_eq!(facts.add(fact(50, 6, "e1", 1)), Added::Duplicate);
        assert_eq!(facts.add(fact(90, 7, "e1", 2)), Added::Conflicting);
        assert_eq!(facts.as_slice(), [fact(50, 5, "e1", 1)]);
        assert_eq!(facts.add(fact(40, 3, "e1", 2)), Added::Conflicting);
        assert_eq!(facts.as_slice(), [fact(40, 3, "e1", 2)]);
    }

    #[test]
    fn facts_are_ordered_by_time_then_offset() {
        let mut facts = Facts::default();
        for (time, offset) in [(5, 1), (3, 2), (5, 0), (4, 9)] {
            facts.add(fact(time, offset, &format!("{time}-{offset}"), 0));
        }
        let order: Vec<_> = facts.as_slice().iter().map(|f| (f.time.millis(), f.offset)).collect();
        assert_eq!(order, [(3, 2), (4, 9), (5, 0), (5, 1)]);
    }
}
