//! Outputs as they are read back: what tells them apart, and what in them must be the same every time.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::sla::clock::Step;
use crate::sla::identity::Said as Identity;
use crate::sla::instant::Instant;
use crate::wire::record::{Partition, Topic};

/// One objective running once on one lead.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockKey {
    /// The lead.
    pub lead_id: Arc<str>,
    /// The objective's name.
    pub objective: Arc<str>,
    /// When it started.
    pub started_at: Instant,
    /// Of the clocks that start together which it is, from 1; else 0.
    pub turn: u16,
}

/// A transition of a clock: what is said at most once at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The clock.
    pub clock: ClockKey,
    /// The transition.
    pub step: Step,
    /// Of warnings and escalations which one, from 1; else 0.
    pub level: u16,
    /// Its date.
    pub date: Instant,
}

impl Key {
    /// The identity of saying this, or of taking it back, after it was taken back so often. Rule I1.
    pub fn id(&self, is_retraction: bool, times_retracted: u32) -> Id {
        let said = Identity {
            lead_id: &self.clock.lead_id,
            objective: &self.clock.objective,
            started_at: self.clock.started_at,
            turn: self.clock.turn,
            step: self.step,
            level: self.level,
            date: self.date,
            times_retracted,
        };
        let id = if is_retraction { said.retraction_id() } else { said.id() };
        Id::parse(&id.to_string()).unwrap_or_default()
    }
}

/// The identity of an output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u128);

impl Id {
    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Id> {
        let is_right = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| is_right).map(Id)
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Where a record is: the topic by its place among those that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// The record's own offset.
    pub offset: i64,
}

/// One output.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Its identity.
    pub id: Id,
    /// When it was written.
    pub recorded_at: Instant,
    /// The version of the policies that it names.
    pub version: String,
    /// What it says.
    pub what: What,
}

/// What an output says.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A transition happened.
    Happened(Key, Content),
    /// A transition did not happen, although this id said so.
    Retracted(Key, Id),
}

/// What an output says of a transition besides its key, in one text for one meaning: without how it came to be
/// known (`late_data`, `uncertain`, `rejected`, `evidence`) and the version of the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content(Box<str>);

const NOT_COMPARED: [&str; 4] = ["late_data", "uncertain", "rejected", "evidence"];

/// A field that is not what it should be.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Difference {
    /// Its path.
    pub field: String,
    /// What was said.
    pub said: Value,
    /// What the input topics and the policies give.
    pub recomputed: Value,
}

impl Content {
    fn of(mut data: Map<String, Value>) -> Content {
        NOT_COMPARED.iter().for_each(|name| drop(data.remove(*name)));
        if let Some(Value::Object(policy)) = data.get_mut("policy") {
            policy.remove("version");
        }
        Content(Value::Object(data).to_string().into())
    }

    /// Every field that differs from what should have been said.
    pub fn differences(&self, recomputed: &Content) -> Vec<Difference> {
        let mut found = Vec::new();
        if self != recomputed {
            let (said, recomputed) = (self.value(), recomputed.value());
            differ("data", &said, &recomputed, &mut found);
        }
        found
    }

    fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

fn differ(path: &str, said: &Value, recomputed: &Value, found: &mut Vec<Difference>) {
    match (said, recomputed) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for name in names {
                let (a, b) = (a.get(name), b.get(name));
                let (a, b) = (a.unwrap_or(&Value::Null), b.unwrap_or(&Value::Null));
                differ(&format!("{path}.{name}"), a, b, found);
            }
        }
        _ if said == recomputed => {}
        _ => found.push(Difference {
            field: path.to_owned(),
            said: said.clone(),
            recomputed: recomputed.clone(),
        }),
    }
}

#[derive(Deserialize)]
struct Event {
    id: String,
    time: Instant,
    recordedtime: Instant,
    data: Map<String, Value>,
}

impl Said {
    /// Reads the value of a record; the error says what is wrong with it.
    pub fn parse(value: &[u8]) -> Result<Said, String> {
        let event: Event = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let id = Id::parse(&event.id).ok_or_else(|| format!("`id` is `{}`", event.id))?;
        let version = event.data.get("policy").and_then(|policy| policy.get("version"));
        let version = version.and_then(Value::as_str).unwrap_or_default().to_owned();
        let what = what(event.time, event.data)?;
        Ok(Said { id, recorded_at: event.recordedtime, version, what })
    }
}

fn what(date: Instant, data: Map<String, Value>) -> Result<What, String> {
    let data = Value::Object(data);
    let clock = ClockKey {
        lead_id: text(&data, "/lead_id")?.into(),
        objective: text(&data, "/objective")?.into(),
        started_at: Instant::parse(text(&data, "/clock/started_at")?)
            .ok_or("`data.clock.started_at` is no instant")?,
        turn: number(&data, "/clock/step")?,
    };
    let level = number(&data, "/level")?;
    let key = |word: &str| Ok::<_, String>(Key { clock: clock.clone(), step: step(word)?, level, date });
    match text(&data, "/transition")? {
        "retracted" => {
            let id = Id::parse(text(&data, "/retracts/id")?).ok_or("`data.retracts.id` is no id")?;
            Ok(What::Retracted(key(text(&data, "/retracts/transition")?)?, id))
        }
        word => {
            let key = key(word)?;
            let Value::Object(data) = data else { return Err("`data` is not an object".to_owned()) };
            Ok(What::Happened(key, Content::of(data)))
        }
    }
}

fn text<'a>(data: &'a Value, path: &str) -> Result<&'a str, String> {
    let found = data.pointer(path).and_then(Value::as_str);
    found.ok_or_else(|| format!("`data{}` is no text", path.replace('/', ".")))
}

/// A small number that is 0 where it is not given.
fn number(data: &Value, path: &str) -> Result<u16, String> {
    let Some(found) = data.pointer(path) else { return Ok(0) };
    let number = found.as_u64().and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| format!("`data{}` is no number", path.replace('/', ".")))
}

fn step(word: &str) -> Result<Step, String> {
    const ALL: [Step; 9] = [
        Step::Met,
        Step::Cancelled,
        Step::Breached,
        Step::Resolved,
        Step::Ended,
        Step::Undecidable,
        Step::AtRisk,
        Step::Escalated,
        Step::Waived,
    ];
    let found = ALL.into_iter().find(|step| step.as_str() == word);
    found.ok_or_else(|| format!("the transition `{word}` is not one that this version knows"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(transition: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut event = json!({
            "id": "00000000000000000000000000000001",
            "time": "2026-03-02T10:00:00.000Z",
            "recordedtime": "2026-03-02T10:00:05.000Z",
            "data": {
                "lead_id": "L1", "transition": transition, "objective": "first-response",
                "policy": {"name": "everyone", "version": "v1"},
                "clock": {"started_at": "2026-03-02T09:00:00.000Z", "due_at": "2026-03-02T10:00:00.000Z"},
                "owner": "ann", "late_data": false, "uncertain": false, "evidence": [{"offset": 3}],
            },
        });
        change(&mut event);
        event.to_string().into_bytes()
    }

    fn content(change: impl FnOnce(&mut Value)) -> Content {
        match Said::parse(&event("breached", change)).expect("an output").what {
            What::Happened(_, content) => content,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn how_a_breach_came_to_be_known_is_no_difference() {
        let plain = content(|_| {});
        let late = content(|event| {
            event["recordedtime"] = "2026-03-03T10:00:05.000Z".into();
            event["data"]["late_data"] = true.into();
            event["data"]["uncertain"] = true.into();
            event["data"]["rejected"] = json!([{"offset": 9}]);
            event["data"]["evidence"] = json!([]);
            event["data"]["policy"]["version"] = "v2".into();
        });
        assert_eq!(late.differences(&plain), []);
    }

    #[test]
    fn what_a_breach_says_of_its_lead_clock_and_policy_is_compared() {
        for path in ["/data/owner", "/data/clock/due_at", "/data/policy/name"] {
            let change = |event: &mut Value| *event.pointer_mut(path).expect("a field") = "else".into();
            let found = content(change).differences(&content(|_| {}));
            let fields: Vec<_> =
                found.iter().map(|one| format!("/{}", one.field.replace('.', "/"))).collect();
            assert_eq!(fields, [path]);
            assert_eq!(found[0].said, "else");
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (value, why) in [
            (event("yodelled", |_| {}), "the transition `yodelled` is not one that this version knows"),
            (event("breached", |event| event["id"] = "7".into()), "`id` is `7`"),
            (event("breached", |event| event["data"]["objective"] = 1.into()), "`data.objective` is no text"),
        ] {
            assert_eq!(Said::parse(&value).expect_err("an error"), why);
        }
    }
}
