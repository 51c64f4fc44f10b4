//! The real worker on the model: no false, no missed and no double breach, whatever happens to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::{ChaCha8Rng, ChaCha12Rng};
use serde_json::Value;

use super::cluster::{BEGINNING, Cluster, TopicName, Upstream};
use super::log::Payload;
use super::port::SimPort;
use super::scenario::{Process, Scenario, Setup};
use super::seeds;
use crate::config::read_policies;
use crate::metrics::Metrics;
use crate::runtime::port::{Error, Record};
use crate::runtime::shared::{Board, Health, InputTopic, Shared, StateBytes};
use crate::runtime::worker::Worker;
use crate::sla::engine::{self, Arrival, Effects, Engine};
use crate::sla::instant::Instant;
use crate::sla::policy::Rules;
use crate::sla::timeline::Step;
use crate::wire::decode::{self, Decoder};
use crate::wire::encode::Encoder;
use crate::wire::routing::Partitioner;

/// Longer than any record takes on its way plus what a process's clock is off.
const GRACE_MS: i64 = 3_000;
/// How long a record that is in time takes at most.
const DELAY_MS_MAX: i64 = 1_500;
const LEADS: i64 = 12;
const WEEK_MS: i64 = 7 * 86_400_000;
const SPAN_MS: i64 = 60_000;

const POLICIES: &str = "
pipeline: {open: [new, working, qualified], won: [won], lost: [lost]}
policies:
  - name: owned
    match: {owner: [ann, bob]}
    objectives:
      first-response: {start: created, stop: contacted, within: 10s, severity: critical}
      next-reply: {start: {contacted: {direction: inbound}}, stop: contacted, within: 8s}
    stages: {new: 20s, working: 15s}
  - name: everyone
    objectives:
      first-response: {start: [created, reopened], stop: {contacted: {channel: phone}}, within: 15s, restart: true}
";

impl Process for Worker<SimPort> {
    fn turn(&mut self) -> Result<(), Error> {
        Worker::turn(self)
    }
}

fn rules() -> Arc<Rules> {
    let policies = read_policies("policies.yaml", POLICIES).unwrap_or_else(|problems| panic!("{problems}"));
    Arc::new(Rules::new(Arc::new(policies)))
}

fn engine_settings(lateness_max_ms: i64) -> engine::Settings {
    engine::Settings {
        grace_ms: GRACE_MS,
        lateness_max_ms,
        facts_max: 10_000,
        retention_closed_ms: 7 * 86_400_000,
        retention_idle_ms: 400 * 86_400_000,
    }
}

fn shared(rules: &Arc<Rules>, setup: &Setup, lateness_max_ms: i64) -> Arc<Shared> {
    let topics: Vec<_> = (0..setup.shape.topics).map(|topic| format!("leads-{topic}")).collect();
    let policies = Arc::clone(&rules.policies);
    Arc::new(Shared {
        rules: Arc::clone(rules),
        engine: engine_settings(lateness_max_ms),
        decode: decode::Settings { future_skew_max_ms: 300_000, are_files: false },
        metrics: Metrics::new(&policies, &topics).expect("metrics have names of their own"),
        encoder: Encoder::new(policies, topics.clone()),
        topics: topics.into_iter().map(|name| InputTopic { name, id: None }).collect(),
        partitions: setup.shape.partitions,
        is_keyed_by_lead: true,
        partitioner: Some(Partitioner::Other),
        ignores_unknown_types: false,
        writes_outcomes: true,
        commit_interval_ms: 100,
        clock_skew_max_ms: 5_000,
        state: StateBytes::new(1, 0),
        health: Health::new(1),
        board: Board::new(0),
    })
}

/// Leads and what happens to them; where `lateness_ms` is more than nothing, some of it is told too late.
fn upstream(setup: &Setup, lateness_ms: i64) -> Vec<Upstream> {
    let mut rng = seeds::rng(setup.seed ^ 0x1ead);
    let mut records = Vec::new();
    for lead in 0..LEADS {
        let partition = (lead % i64::from(setup.shape.partitions)) as i32;
        let born_ms = rng.random_range(0..SPAN_MS / 2);
        for number in 0..rng.random_range(1..8) {
            let at_ms =
                if number == 0 { born_ms } else { born_ms + rng.random_range(-2_000..SPAN_MS / 2).max(0) };
            let is_late = lateness_ms > 0 && rng.random_ratio(1, 8);
            let delay_ms =
                if is_late { rng.random_range(0..lateness_ms) } else { rng.random_range(0..DELAY_MS_MAX) };
            let ends_ms = at_ms + delay_ms + rng.random_range(0..15_000);
            let record = Upstream {
                topic: rng.random_range(0..setup.shape.topics),
                partition,
                appended_ms: at_ms + delay_ms,
                timestamp_ms: at_ms + delay_ms,
                payload: event(&mut rng, lead, number, at_ms),
                transaction: rng.random_ratio(1, 10).then_some((ends_ms, rng.random_ratio(2, 3))),
            };
            if rng.random_ratio(1, 10) {
                records.push(Upstream { transaction: None, ..record.clone() });
            }
            records.push(record);
        }
    }
    records
}

fn event(rng: &mut ChaCha8Rng, lead: i64, number: i64, at_ms: i64) -> Payload {
    let lead_id = format!("L{lead}");
    let head = format!(
        r#""event_id":"{lead_id}-{number}","lead_id":"{lead_id}","time":"{}""#,
        BEGINNING.plus(at_ms)
    );
    let stage = ["new", "working", "qualified", "won", "lost"][rng.random_range(0..5)];
    let owner = ["ann", "bob", "cat"][rng.random_range(0..3)];
    let rest = match (number, rng.random_range(0..10)) {
        (0, _) => format!(r#""type":"lead-created","stage":"new","owner":"{owner}""#),
        (_, 0..3) => r#""type":"contacted","channel":"phone""#.to_owned(),
        (_, 3) => r#""type":"contacted","by":"automation""#.to_owned(),
        (_, 4) => r#""type":"contacted","direction":"inbound""#.to_owned(),
        (_, 5) => format!(r#""type":"lead-assigned","owner":"{owner}""#),
        (_, 6) => r#""type":"nonsense""#.to_owned(),
        (_, 7) if number > 5 => r#""type":"lead-deleted""#.to_owned(),
        _ => format!(r#""type":"stage-changed","stage":"{stage}""#),
    };
    Payload {
        key: Some(lead_id.into_bytes()),
        value: Some(format!("{{{head},{rest}}}").into_bytes()),
        headers: Vec::new(),
    }
}

fn setup(seed: u64, lateness_ms: i64) -> Setup {
    let mut setup = Setup { quiet_ms: 120_000, ..Setup::drawn(seed) };
    setup.upstream = upstream(&setup, lateness_ms);
    setup
}

/// What tells a transition apart, whatever happened to its record: clock, transition, date.
type Claim = (String, String, String);

/// The transitions that stand once the whole log has been read, judged by the engine on its own.
fn replayed(cluster: &Cluster, rules: &Arc<Rules>) -> Result<BTreeSet<Claim>, String> {
    let mut engine = Engine::new(Arc::clone(rules), engine_settings(WEEK_MS));
    let mut decoder = Decoder::new(decode::Settings { future_skew_max_ms: 300_000, are_files: false });
    for topic in 0..cluster.shape.topics {
        for (partition, entry) in cluster.committed_records(TopicName::Input(topic)) {
            let record = Record {
                topic,
                partition,
                offset: entry.offset,
                timestamp: Some(entry.timestamp),
                key: entry.payload.key.as_deref(),
                value: entry.payload.value.as_deref(),
                headers: &[],
            };
            if let Ok(event) = decoder.decode(&record) {
                let arrival = Arrival { at: entry.timestamp, recorded_at: None };
                engine.apply(&event.lead_id, event.fact, arrival);
            }
        }
    }
    let mut effects = Effects::default();
    while engine.advance(BEGINNING.plus(100 * SPAN_MS), 100, &mut effects) {}
    let encoder = Encoder::new(Arc::clone(&rules.policies), Vec::new());
    effects.outputs.iter().map(|output| claim(&encoder.encode(output, 0, Instant::MIN).value)).collect()
}

fn claim(value: &[u8]) -> Result<Claim, String> {
    let event: Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let data = &event["data"];
    Ok((text(&data["clock"]["id"]), text(&data["transition"]), text(&event["time"])))
}

/// The transitions that stand for a reader of the output topics, each id being there once.
fn standing(cluster: &Cluster) -> Result<(BTreeSet<Claim>, usize), String> {
    let mut by_id = BTreeMap::new();
    let mut retracted = Vec::new();
    for topic in [TopicName::Breaches, TopicName::Outcomes] {
        for (_, entry) in cluster.committed_records(topic) {
            let value = entry.payload.value.as_deref().unwrap_or_default();
            let event: Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
            let id = event["id"].as_str().unwrap_or_default().to_owned();
            if let Some(named) = event["data"]["retracts"]["id"].as_str() {
                retracted.push(named.to_owned());
            }
            if by_id.insert(id.clone(), claim(value)?).is_some() {
                return Err(format!("`{id}` was said twice: {}", String::from_utf8_lossy(value)));
            }
        }
    }
    for id in &retracted {
        if by_id.remove(id).is_none() {
            return Err(format!("`{id}` was retracted and never said"));
        }
    }
    let claims = by_id.into_values().filter(|(_, transition, _)| transition != "retracted").collect();
    Ok((claims, retracted.len()))
}

fn run(setup: Setup, is_in_time: bool, lateness_max_ms: i64) -> Result<(), String> {
    let rules = rules();
    let (made_for, made_of, seed) = (Arc::clone(&rules), setup.clone(), setup.seed);
    let mut started = 0u64;
    let scenario = Scenario::new(setup, move |port| {
        started += 1;
        let random = ChaCha12Rng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(started));
        Worker::new(port, shared(&made_for, &made_of, lateness_max_ms), 0, random)
    });
    scenario.judge(|cluster| compare(cluster, &rules, is_in_time))
}

/// What was said against what the log implies.
fn compare(cluster: &Cluster, rules: &Arc<Rules>, is_in_time: bool) -> Result<(), String> {
    let expected = replayed(cluster, rules)?;
    let (found, retracted) = standing(cluster)?;
    if is_in_time && retracted > 0 {
        return Err(format!("{retracted} retractions, and every record was in time"));
    }
    let differences: Vec<_> = found.symmetric_difference(&expected).collect();
    if let Some(first) = differences.first() {
        let what = if found.contains(*first) { "is false" } else { "is missing" };
        return Err(format!("{first:?} {what}, of {} differences", differences.len()));
    }
    dead_letters(cluster)
}

/// Each record that cannot be used is in the dead-letter topic once.
fn dead_letters(cluster: &Cluster) -> Result<(), String> {
    let is_nonsense = |value: &[u8]| String::from_utf8_lossy(value).contains("nonsense");
    let inputs =
        (0..cluster.shape.topics).flat_map(|topic| cluster.committed_records(TopicName::Input(topic)));
    let bad =
        inputs.filter(|(_, entry)| is_nonsense(entry.payload.value.as_deref().unwrap_or_default())).count();
    match cluster.committed_records(TopicName::DeadLetter).len() {
        letters if letters == bad => Ok(()),
        letters => Err(format!("{letters} dead letters of {bad} bad records")),
    }
}

#[test]
fn no_breach_is_false_or_missed_or_said_twice() {
    seeds::check("no_breach_is_false_or_missed_or_said_twice", 1_000, |seed| {
        run(setup(seed, 0), true, WEEK_MS)
    });
}

#[test]
fn what_is_folded_stays_said() {
    seeds::check("what_is_folded_stays_said", 500, |seed| run(setup(seed, 0), true, 4_000));
}

#[test]
fn late_truth_is_put_right() {
    seeds::check("late_truth_is_put_right", 500, |seed| run(setup(seed, 30_000), false, WEEK_MS));
}

#[test]
fn a_kill_at_any_call_does_no_harm() {
    let calm = |call| Setup {
        processes: 2,
        named: true,
        steps: 300,
        faults: super::faults::Faults { kill_at: Some(call), ..super::faults::Faults::none() },
        upsets: 0,
        ..setup(7, 0)
    };
    for call in 1..400 {
        let outcome = run(calm(call), true, WEEK_MS);
        assert_eq!(outcome, Ok(()), "killed at call {call}");
    }
}

#[test]
fn the_scenarios_have_something_to_say() {
    let mut steps = BTreeMap::<Step, usize>::new();
    for seed in 0..20 {
        let setup = setup(seed, 0);
        let mut cluster = Cluster::new(seed, setup.shape.clone());
        cluster.schedule(setup.upstream.iter().cloned());
        cluster.advance(10 * SPAN_MS);
        for (_, transition, _) in replayed(&cluster, &rules()).expect("replays") {
            let all =
                [Step::Met, Step::Cancelled, Step::Breached, Step::Resolved, Step::Ended, Step::Undecidable];
            let step = all.into_iter().find(|step| step.as_str() == transition).expect("a transition");
            *steps.entry(step).or_default() += 1;
        }
    }
    assert_eq!(steps.len(), 5, "{steps:?}");
}
