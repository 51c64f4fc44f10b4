//! Outputs as CloudEvents 1.0, JSON structured, with the same attributes as `ce_` headers.

use serde::Serialize;

use crate::sla::clock::{Cause, Clock, Step};
use crate::sla::engine::{Output, Saying};
use crate::sla::fact::{Fact, Value};
use crate::sla::instant::Instant;
use crate::sla::policy::Objective;
use crate::sla::rules::Rules;
use crate::sla::store::RejectedAt;

/// The `source` of every output.
pub const SOURCE: &str = "/overdue";

/// Writes outputs of one service.
#[derive(Debug, Clone)]
pub struct Encoder {
    topics: Vec<String>,
}

/// An output as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The identity, also `ce_id`.
    pub id: String,
    /// The type, also `ce_type`.
    pub kind: &'static str,
    /// The transition's date, also `ce_time`.
    pub time: String,
    /// The lead, also `ce_subject`.
    pub subject: String,
    /// The whole event.
    pub value: Vec<u8>,
}

impl Encoded {
    /// The headers that go with it.
    pub fn headers(&self) -> [(&str, Option<&[u8]>); 7] {
        [
            ("content-type", Some(b"application/cloudevents+json")),
            ("ce_specversion", Some(b"1.0")),
            ("ce_id", Some(self.id.as_bytes())),
            ("ce_source", Some(SOURCE.as_bytes())),
            ("ce_type", Some(self.kind.as_bytes())),
            ("ce_time", Some(self.time.as_bytes())),
            ("ce_subject", Some(self.subject.as_bytes())),
        ]
    }
}

/// The `type` of an output.
pub const fn kind_of(output: &Output) -> &'static str {
    match (&output.saying, output.step) {
        (Saying::Retracted { .. }, _) => "dev.overdue.retracted.v1",
        (_, Step::Met) => "dev.overdue.met.v1",
        (_, Step::Cancelled) => "dev.overdue.cancelled.v1",
        (_, Step::Breached) => "dev.overdue.breached.v1",
        (_, Step::Resolved) => "dev.overdue.resolved.v1",
        (_, Step::Ended) => "dev.overdue.ended.v1",
        (_, Step::Undecidable) => "dev.overdue.undecidable.v1",
        (_, Step::AtRisk) => "dev.overdue.at-risk.v1",
        (_, Step::Escalated) => "dev.overdue.escalated.v1",
        (_, Step::Waived) => "dev.overdue.waived.v1",
    }
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'a str,
    time: &'a str,
    recordedtime: Instant,
    datacontenttype: &'static str,
    partitionkey: &'a str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    lead_id: &'a str,
    transition: &'static str,
    /// Of warnings and escalations which one, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    policy: PolicyRef<'a>,
    objective: &'a str,
    severity: Option<&'a str>,
    labels: &'a std::collections::BTreeMap<String, String>,
    clock: ClockRef<'a>,
    owner: Option<&'a str>,
    team: Option<&'a str>,
    stage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    penalty: Option<PenaltyRef<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiver: Option<WaiverRef<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    late_by: Option<LateBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retracts: Option<Retracts>,
    late_data: bool,
    uncertain: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<Place<'a>>,
    evidence: Vec<Evidence<'a>>,
}

#[derive(Serialize)]
struct PolicyRef<'a> {
    name: &'a str,
    version: &'a str,
}

/// A clock; of one that was taken back only its identity is left.
#[derive(Serialize)]
struct ClockRef<'a> {
    id: String,
    started_at: Instant,
    /// Of the clocks that start together which it is, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calendar: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counted_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_ms: Option<i64>,
}

/// What the breach costs. Rule T19.
#[derive(Serialize)]
struct PenaltyRef<'a> {
    amount: serde_json::Number,
    currency: &'a str,
}

/// Who waived the breach, and why. Rule T17.
#[derive(Serialize)]
struct WaiverRef<'a> {
    at: Instant,
    who: Option<&'a str>,
    why: Option<&'a str>,
}

/// How much later than the deadline a breached clock stopped running. Rule T5.
#[derive(Serialize)]
struct LateBy {
    counted_ms: i64,
    elapsed_ms: i64,
}

#[derive(Serialize)]
struct Retracts {
    id: String,
    transition: &'static str,
}

#[derive(Serialize)]
struct Place<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

#[derive(Serialize)]
struct Evidence<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    event_id: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'static str,
    time: Instant,
}

impl Encoder {
    /// Writes outputs from facts of these topics.
    pub fn new(topics: Vec<String>) -> Encoder {
        Encoder { topics }
    }

    /// Writes one output of a partition.
    pub fn encode(&self, rules: &Rules, output: &Output, partition: i32, recorded_at: Instant) -> Encoded {
        let (id, kind) = (output.id.to_string(), kind_of(output));
        let (time, subject) = (output.date.to_string(), output.lead_id.to_string());
        let event = CloudEvent {
            specversion: "1.0",
            id: &id,
            source: SOURCE,
            kind,
            subject: &subject,
            time: &time,
            recordedtime: recorded_at,
            datacontenttype: "application/json",
            partitionkey: &subject,
            data: self.data(rules, output, partition),
        };
        let mut value = Vec::with_capacity(1024);
        if serde_json::to_writer(&mut value, &event).is_err() {
            // Writing to memory fails only for maps whose keys are no strings; there are none.
            value.clear();
        }
        Encoded { id, kind, time, subject, value }
    }

    fn data<'a>(&'a self, rules: &'a Rules, output: &'a Output, partition: i32) -> Data<'a> {
        let policy = rules.policy(output.policy);
        let objective = rules.policies.name(output.name);
        let (clock, is_late_data, rejected, retracts) = match &output.saying {
            Saying::Happened { clock, is_late_data, uncertain } => {
                (Some(&**clock), *is_late_data, uncertain.as_slice(), None)
            }
            Saying::Retracted { id, .. } => {
                let retracts = Retracts { id: id.to_string(), transition: output.step.as_str() };
                (None, true, [].as_slice(), Some(retracts))
            }
        };
        let promise = policy.objectives.iter().find(|promise| promise.name == output.name);
        let context = &output.context;
        Data {
            lead_id: &output.lead_id,
            transition: if retracts.is_some() { "retracted" } else { output.step.as_str() },
            level: (0 < output.level).then_some(output.level),
            cause: output.cause.map(Cause::as_str),
            policy: PolicyRef { name: &policy.name, version: &rules.edition_of(output.policy).version },
            objective,
            severity: promise.and_then(|promise| promise.severity.as_deref()),
            labels: &policy.labels,
            clock: clock_ref(rules, output, objective, clock),
            owner: context.owner.as_deref(),
            team: context.team.as_deref().or(policy.labels.get("team").map(String::as_str)),
            stage: context.stage.as_deref(),
            penalty: promise.and_then(|promise| penalty(promise, output)),
            waiver: clock.filter(|_| output.step == Step::Waived).and_then(waiver),
            late_by: clock.and_then(|clock| late_by(rules, clock, output.date)),
            retracts,
            late_data: is_late_data,
            uncertain: !rejected.is_empty(),
            rejected: rejected.iter().map(|rejected| self.rejected(rejected)).collect(),
            evidence: clock.map_or_else(Vec::new, |clock| self.evidence(clock, output.step, partition)),
        }
    }

    fn evidence<'a>(&'a self, clock: &'a Clock, step: Step, partition: i32) -> Vec<Evidence<'a>> {
        let is_end = matches!(step, Step::Met | Step::Cancelled | Step::Resolved | Step::Ended);
        let end = clock.end.as_ref().and_then(|end| end.fact.as_ref()).filter(|_| is_end);
        let waiver = clock.waiver.as_ref().map(|waiver| &waiver.fact).filter(|_| step == Step::Waived);
        let evidence = |fact: &'a Fact| Evidence {
            topic: self.topic(fact.topic),
            partition,
            offset: fact.offset,
            event_id: fact.event_id(),
            kind: fact.kind.as_str(),
            time: fact.time,
        };
        std::iter::once(&clock.start_fact).chain(end).chain(waiver).map(evidence).collect()
    }

    fn rejected(&self, rejected: &RejectedAt) -> Place<'_> {
        let RejectedAt { topic, partition, offset, .. } = *rejected;
        Place { topic: self.topic(topic), partition, offset }
    }

    fn topic(&self, topic: u16) -> &str {
        self.topics.get(usize::from(topic)).map_or("", String::as_str)
    }
}

/// A clock as it is at the date of an output; of one that was taken back only its identity.
fn clock_ref<'a>(rules: &'a Rules, output: &Output, name: &str, clock: Option<&Clock>) -> ClockRef<'a> {
    let Output { lead_id, started_at, turn, date, .. } = output;
    let step = (0 < *turn).then_some(*turn);
    let id = match step {
        Some(step) => format!("{lead_id}/{name}/{started_at}/{step}"),
        None => format!("{lead_id}/{name}/{started_at}"),
    };
    let calendar = clock.and_then(|clock| clock.allowed.calendar);
    ClockRef {
        id,
        started_at: *started_at,
        step,
        due_at: clock.and_then(|clock| clock.deadline(*date)),
        target_ms: clock.and_then(|clock| rules.target_ms(&clock.allowed, *started_at)),
        counts: clock.map(|clock| if clock.allowed.counting().is_some() { "open" } else { "elapsed" }),
        calendar: calendar.map(|index| rules.policies.calendars[usize::from(index)].name.as_str()),
        counted_ms: clock.map(|clock| clock.counted_ms(rules, *started_at, *date)),
        paused_ms: clock.map(|clock| clock.paused_ms(*started_at, *date)),
    }
}

/// How late a clock is at a date. Rule T5.
fn late_by(rules: &Rules, clock: &Clock, date: Instant) -> Option<LateBy> {
    let due_at = clock.breach()?.due_at;
    (due_at < date)
        .then(|| LateBy { counted_ms: clock.counted_ms(rules, due_at, date), elapsed_ms: date.since(due_at) })
}

fn penalty<'a>(promise: &'a Objective, output: &Output) -> Option<PenaltyRef<'a>> {
    let penalty = promise.penalty.as_ref().filter(|_| output.step == Step::Breached)?;
    let amount = serde_json::from_str(&penalty.amount.to_string()).ok()?;
    Some(PenaltyRef { amount, currency: &penalty.currency })
}

fn waiver(clock: &Clock) -> Option<WaiverRef<'_>> {
    let waiver = clock.waiver.as_deref()?;
    let text = |name: &str| match waiver.fact.field(name) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    };
    Some(WaiverRef { at: waiver.at, who: text("who"), why: text("why") })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::read_policies;
    use crate::sla::engine::{Arrival, Effects, Engine, Settings};
    use crate::sla::rules::Rules;
    use crate::wire::decode::{self, Decoder};
    use crate::wire::record::Record;

    const POLICIES: &str = "
policies:
  - name: everyone
    labels: {team: emea}
    objectives: {first-response: {start: created, stop: contacted, within: 1h, severity: critical}}
";

    fn at(time: &str) -> Instant {
        Instant::parse(time).expect("an instant")
    }

    fn hear(engine: &mut Engine, offset: i64, event: &Value) {
        let value = event.to_string();
        let (key, value, headers) = (None, Some(value.as_bytes()), [].as_slice());
        let record = Record { topic: 0, partition: 3, offset, timestamp: None, key, value, headers };
        let settings = decode::Settings { future_skew_max_ms: 0, are_files: true };
        let mut decoder = Decoder::new(settings);
        let event = decoder.decode(&record).expect("an event");
        let arrival = Arrival { at: event.fact.time, recorded_at: None };
        engine.apply(&event.lead_id, event.fact, arrival);
    }

    fn said(engine: &mut Engine, until: &str) -> Vec<Value> {
        let mut effects = Effects::default();
        while engine.advance(at(until), 10, &mut effects) {}
        let encoder = Encoder::new(vec!["lead-events".to_owned()]);
        let rules = Arc::clone(engine.rules());
        let value = |output| encoder.encode(&rules, output, 3, at("2026-03-02T10:00:05Z")).value;
        effects.outputs.iter().map(|output| serde_json::from_slice(&value(output)).expect("JSON")).collect()
    }

    #[test]
    fn a_breach_and_its_retraction_are_written_for_those_who_read_them() {
        let policies =
            read_policies("policies.yaml", POLICIES).unwrap_or_else(|problems| panic!("{problems}"));
        let policies = Arc::new(policies);
        let settings = Settings {
            grace_ms: 5_000,
            lateness_max_ms: 86_400_000,
            facts_max: 100,
            retention_closed_ms: 86_400_000,
            retention_idle_ms: 86_400_000,
            speak_from: Instant::MIN,
        };
        let mut engine = Engine::new(Arc::new(Rules::new(Arc::clone(&policies))), settings);
        let (created_at, due_at) = ("2026-03-02T09:00:00.000Z", "2026-03-02T10:00:00.000Z");
        let created = json!({"event_id": "e1", "type": "lead-created", "lead_id": "L1", "time": created_at, "owner": "ann"});
        hear(&mut engine, 7, &created);
        let breach = said(&mut engine, "2026-03-02T10:00:00Z").remove(0);
        let mut expected = json!({
            "specversion": "1.0",
            "id": breach["id"],
            "source": "/overdue",
            "type": "dev.overdue.breached.v1",
            "subject": "L1",
            "time": due_at,
            "recordedtime": "2026-03-02T10:00:05.000Z",
            "datacontenttype": "application/json",
            "partitionkey": "L1",
            "data": {
                "lead_id": "L1",
                "transition": "breached",
                "policy": {"name": "everyone", "version": policies.version},
                "objective": "first-response",
                "severity": "critical",
                "labels": {"team": "emea"},
                "clock": {
                    "id": format!("L1/first-response/{created_at}"),
                    "started_at": created_at,
                    "due_at": due_at,
                    "target_ms": 3_600_000,
                    "counts": "elapsed",
                    "counted_ms": 3_600_000,
                    "paused_ms": 0,
                },
                "owner": "ann",
                "team": "emea",
                "stage": null,
                "late_data": false,
                "uncertain": false,
                "evidence": [{
                    "topic": "lead-events",
                    "partition": 3,
                    "offset": 7,
                    "event_id": "e1",
                    "type": "lead-created",
                    "time": created_at,
                }],
            },
        });
        assert_eq!(breach, expected);

        hear(&mut engine, 8, &json!({"type": "contacted", "lead_id": "L1", "time": "2026-03-02T09:30:00Z"}));
        let retraction = said(&mut engine, "2026-03-02T10:00:00Z").remove(0);
        expected["id"] = retraction["id"].clone();
        expected["type"] = "dev.overdue.retracted.v1".into();
        expected["data"]["transition"] = "retracted".into();
        expected["data"]["clock"] = json!({"id": breach["data"]["clock"]["id"], "started_at": created_at});
        expected["data"]["retracts"] = json!({"id": breach["id"], "transition": "breached"});
        expected["data"]["late_data"] = true.into();
        expected["data"]["evidence"] = json!([]);
        assert_eq!(retraction, expected);
        assert_ne!(retraction["id"], breach["id"]);
    }
}
