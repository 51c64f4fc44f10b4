//! Lines to facts: F1, F2, F3, F5, H7 and section 7.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde_json::{Map, Value};

const KINDS: [&str; 10] = [
    "lead-created",
    "lead-updated",
    "lead-assigned",
    "contacted",
    "stage-changed",
    "paused",
    "resumed",
    "lead-merged",
    "lead-deleted",
    "breach-waived",
];

/// One accepted event.
#[derive(Debug, Clone)]
pub struct Fact {
    pub lead: String,
    /// Milliseconds since the epoch.
    pub at: i64,
    pub kind: String,
    pub fields: Map<String, Value>,
}

/// The facts of every lead in the order of F3, and the instant up to which they are judged.
pub struct Log {
    pub horizon: i64,
    pub leads: BTreeMap<String, Vec<Fact>>,
}

/// Reads the lines of all files, in the order of the arguments. H7: judged until the latest time of
/// an accepted event where no instant is given.
pub fn read_log(lines: &[String], until: Option<i64>) -> Log {
    let mut leads: BTreeMap<String, Vec<Fact>> = BTreeMap::new();
    for fact in lines.iter().filter_map(|line| read(line)) {
        leads.entry(fact.lead.clone()).or_default().push(fact);
    }
    for said in leads.values_mut() {
        let end = end(said, until.unwrap_or(i64::MAX));
        said.retain(|fact| fact.at <= end);
        *said = each_once(said);
    }
    let latest = leads.values().flatten().map(|fact| fact.at).max();
    let leads = leads.into_iter().map(|(lead, said)| (lead, happened(&said))).collect();
    Log { horizon: until.or(latest).unwrap_or(0), leads }
}

/// The last instant of which one lead's facts are accepted: what is dated after the horizon is left
/// out (H7), what is dated after a merge is rejected (T11); neither has an identity.
fn end(said: &[Fact], horizon: i64) -> i64 {
    let known: Vec<Fact> = said.iter().filter(|fact| fact.at <= horizon).cloned().collect();
    let facts = each_once(&known);
    let merged_at = facts.iter().filter(|fact| fact.kind == "lead-merged").map(|fact| fact.at).min();
    match merged_at {
        Some(merged_at) if merged_at < horizon => end(said, merged_at),
        _ => horizon,
    }
}

/// F2: of the same identity, the first in the log counts.
fn each_once(said: &[Fact]) -> Vec<Fact> {
    let is_repeat = |i: usize| (0..i).any(|j| said[j].is_repeated_by(&said[i]));
    (0..said.len()).filter(|&i| !is_repeat(i)).map(|i| said[i].clone()).collect()
}

/// F3, without what is said of a lead while it is deleted. T11 holds of a deleted lead too.
fn happened(facts: &[Fact]) -> Vec<Fact> {
    let mut facts = facts.to_vec();
    facts.sort_by_key(|fact| fact.at); // stable
    let always = |i: usize| ["lead-created", "lead-merged"].contains(&facts[i].kind.as_str());
    let happens = |&i: &usize| always(i) || !is_deleted_before(&facts, i);
    (0..facts.len()).filter(happens).map(|i| facts[i].clone()).collect()
}

/// T10: a deleted lead comes back by `lead-created` only; until then nothing happens to it.
fn is_deleted_before(facts: &[Fact], i: usize) -> bool {
    let exists = |fact: &&Fact| ["lead-created", "lead-deleted"].contains(&fact.kind.as_str());
    facts[..i].iter().rfind(exists).is_some_and(|fact| fact.kind == "lead-deleted")
}

/// The fact that a line states, `None` where the line is rejected.
pub fn read(line: &str) -> Option<Fact> {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return None };
    let lead = match fields.get("lead_id")? {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() => number.to_string(),
        _ => return None,
    };
    let kind = fields.get("type")?.as_str()?.to_owned();
    let at = instant(fields.get("time")?.as_str()?)?;
    let stage_is_text = fields.get("stage").is_some_and(Value::is_string);
    let rejected = !KINDS.contains(&kind.as_str())
        || fields.contains_key("stage") && !stage_is_text
        || kind == "stage-changed" && !stage_is_text
        || fields.get("event_id").is_some_and(|id| !id.is_string())
        || kind == "lead-assigned" && !fields.contains_key("owner")
        || kind == "lead-merged" && !fields.get("into").is_some_and(Value::is_string)
        || kind == "breach-waived" && !fields.get("objective").is_some_and(Value::is_string);
    (!rejected).then_some(Fact { lead, at, kind, fields })
}

impl Fact {
    /// F2, for two facts of one lead.
    pub fn is_repeated_by(&self, other: &Fact) -> bool {
        match (self.fields.get("event_id"), other.fields.get("event_id")) {
            (Some(mine), Some(its)) => mine == its && self.kind == other.kind,
            (None, None) => self.fields == other.fields,
            _ => false,
        }
    }

    /// The stage that this fact puts the lead in, whether or not it is there already. F5, F6.
    pub fn stage(&self) -> Option<&str> {
        let moves = matches!(self.kind.as_str(), "lead-created" | "stage-changed");
        self.fields.get("stage").filter(|_| moves).and_then(Value::as_str)
    }

    /// The owner that this fact gives the lead; `Some(None)` takes it away. F8.
    pub fn owner(&self) -> Option<Option<&str>> {
        let assigns = matches!(self.kind.as_str(), "lead-created" | "lead-updated" | "lead-assigned");
        self.fields.get("owner").filter(|_| assigns).map(Value::as_str)
    }

    /// The instant that a field states.
    pub fn instant(&self, field: &str) -> Option<i64> {
        self.fields.get(field).and_then(Value::as_str).and_then(instant)
    }

    /// The attributes that this fact sets. F8.
    pub fn attributes(&self) -> Map<String, Value> {
        let sets = ["lead-created", "lead-updated", "lead-assigned", "stage-changed"];
        let reserved = ["event_id", "type", "lead_id", "time", "stage", "owner"];
        let mut fields = self.fields.clone();
        fields.retain(|name, _| sets.contains(&self.kind.as_str()) && !reserved.contains(&name.as_str()));
        fields
    }
}

/// RFC 3339 with an offset, in milliseconds. F1.
pub fn instant(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(number(0, 4)?).ok()?,
        u32::try_from(number(5, 7)?).ok()?,
        u32::try_from(number(8, 10)?).ok()?,
    )?;
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let rest = text.get(19..)?;
    let zone_at = rest.find(['Z', '+', '-'])?;
    let (fraction, zone) = rest.split_at(zone_at);
    let millis: i64 = format!("{:0<4}", fraction).get(1..4)?.parse().unwrap_or(0);
    let east_minutes = match zone {
        "Z" => 0,
        _ => {
            let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let of_minute = if second == 60 { 59_999 } else { second * 1000 + millis };
    let midnight = date - NaiveDate::from_ymd_opt(1970, 1, 1)?;
    Some(midnight.num_milliseconds() + (hour * 60 + minute - east_minutes) * 60_000 + of_minute)
}
